package engine

import "errors"

var (
	// ErrInvalid wraps what is wrong with a request: the caller can mend it.
	ErrInvalid = errors.New("invalid request")
	// ErrTimeLimit is what a PolicySet wraps when its time was up.
	ErrTimeLimit = errors.New("policy time limit")
	// ErrInputTooLarge is what a PolicySet wraps when there was more to judge than its
	// limits allow.
	ErrInputTooLarge = errors.New("policy input too large")
	// ErrNoRules is what a PolicySet wraps that has no rules to ask, because its
	// bundle is not there.
	ErrNoRules = errors.New("no rules")
	// ErrForgotten is what a Recorder wraps when a verdict to be repeated is not
	// kept any more.
	ErrForgotten = errors.New("the verdict is not kept any more")
	// ErrState says that what is in force could not be read.
	ErrState = errors.New("cannot read what is in force")
)

// Reason codes that the engine itself gives. They are part of the public
// contract, beside those of the policies and of package evidence.
const (
	ReasonSearchIncomplete = "search_incomplete"
	ReasonTimeLimit        = "policy_time_limit"
	ReasonTrustRootStale   = "trust_root_stale"
	ReasonNoActivePolicy   = "no_active_policy"
	ReasonNoBundle         = "no_bundle"
	ReasonNoPolicy         = "no_policy"
	ReasonPolicyDisabled   = "policy_disabled"
	ReasonPolicyError      = "policy_error"
	ReasonPolicyDenied     = "policy_denied"
	ReasonStoreUnavailable = "store_unavailable"
	ReasonInternal         = "internal_error"
	ReasonStillVerifying   = "still_verifying"
	// ReasonVerifiersDisagree and ReasonSecondUnavailable are of the second opinion.
	ReasonVerifiersDisagree = "verifiers_disagree"
	ReasonSecondUnavailable = "second_opinion_unavailable"
	ReasonGrace             = "last_known_state"

	// ReasonPlatformsNotSearched: a policy asks for the evidence of every platform,
	// which was not looked for.
	ReasonPlatformsNotSearched = "platforms_not_searched"
)
