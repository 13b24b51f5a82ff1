package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// RequirementSignature is the requirement of a policy that wants signatures;
// input.matches names it.
const RequirementSignature = "signature"

// judged is one policy's part.
type judged struct {
	verdict    verdict.PolicyVerdict
	frame      facts.Frame
	slsa       verdict.SLSA
	exceptions []verdict.Exception
	validUntil *time.Time
	coverage   []verdict.Covered
	// counting are the keys of the signatures that count for this policy.
	counting map[string]bool
	// platformOnly: it is the platform asked for that is allowed, not the index.
	platformOnly bool
	// alarm is why the policy gave no usable answer.
	alarm error
}

// decided is a verdict with the frames, by policy, of the documents that it was
// decided on, and which policies gave no usable answer.
type decided struct {
	verdict *verdict.Verdict
	frames  map[string]facts.Frame
	alarms  map[string]error
}

// judge decides over facts on a basis, as of now: nothing else has a part in it
// but the build. It asks nobody, and records and caches nothing.
func judge(ctx context.Context, build string, st *State, b *Basis, f facts.Facts, now time.Time) decided {
	subject := b.Subject
	if subject.Digest == "" { // not resolved
		subject = facts.Subject{Registry: b.Asked.Registry, Repository: b.Asked.Repository, Digest: b.Asked.Digest}
	}
	v := blank(build, st, b.Image, subject.Digest, subject, now)
	v.FactsDigest, v.Given = f.Digest(), b.Given
	v.ExpiresAt = expiry(st, b, now)
	d := decided{verdict: v, frames: map[string]facts.Frame{}, alarms: map[string]error{}}
	// Keys of signatures: those that count for a policy, and for one that decides.
	counting, deciding := map[string]bool{}, map[string]bool{}
	required := map[string][]verdict.Requirement{} // by digest
	apart, onlyPlatform, alone := false, false, false
	var tried []verdict.Reason

	policies := st.scope(subject.Name(), b.Context)
	enforced := slices.ContainsFunc(policies, func(p Policy) bool { return p.Mode == verdict.Enforce })
	for _, p := range policies {
		// What a policy says that is tried out counts for nothing where another is
		// enforced: neither for what is pinned nor for the level.
		decides := p.Mode == verdict.Enforce || !enforced
		j := judgeOne(ctx, st, p, b, f, now)
		if decides {
			j.ofIndex(ctx, st, p, b, f, now)
		}
		v.Policies = append(v.Policies, j.verdict)
		if p.Mode == verdict.Disabled {
			continue
		}
		d.frames[p.Name] = j.frame
		if j.alarm != nil {
			d.alarms[p.Name] = j.alarm
		}
		maps.Copy(counting, j.counting)
		if decides {
			maps.Copy(deciding, j.counting)
		}
		for _, c := range j.coverage {
			required[c.Digest] = append(required[c.Digest], verdict.Requirement{Policy: p.Name, Requirement: c.Requirement, Met: c.Met})
		}
		apart = apart || p.Platforms == facts.PlatformsRequested || p.Platforms == facts.PlatformsEvery
		alone = alone || p.Platforms == facts.PlatformsRequested && decides
		if decides { // why it was decided so comes first, as many read the first reason only
			v.Reasons = append(v.Reasons, j.verdict.Reasons...)
		} else {
			tried = append(tried, j.verdict.Reasons...)
		}
		v.Warnings = append(v.Warnings, j.verdict.Warnings...)
		v.Exceptions = append(v.Exceptions, j.exceptions...)
		if decides && tellsMore(j.slsa, v.SLSA) {
			v.SLSA = j.slsa
		}
		onlyPlatform = onlyPlatform || j.platformOnly
		if j.validUntil == nil {
			continue
		}
		if j.validUntil.Before(v.ExpiresAt) {
			v.ExpiresAt = *j.validUntil
		}
		if v.ValidUntil == nil || j.validUntil.Before(*v.ValidUntil) {
			v.ValidUntil = j.validUntil
		}
	}
	v.Reasons = append(v.Reasons, tried...)
	combine(v, st, policies, b)
	sumUp(v, st, b, f, counting, facts.Frame{EvaluatedAt: now, ClockSkew: b.Terms.ClockSkew, StaleRoots: staleRoots(st, b, now)})
	v.Coverage = coverage(b.Subject, f.Signatures(), counting, apart, required)
	if onlyPlatform || onlySigned(b.Subject, b.Platform, f.Signatures(), deciding, alone) {
		pinPlatform(v, b.Subject, b.Platform)
	}
	if v.Decision == verdict.Unknown {
		v.ExpiresAt, v.ValidUntil = now, nil
		v.RetryAfter = retryAfter(b.RetryAfter)
	}
	return d
}

// combine gives the verdict its decision, and the reasons that no policy gives.
func combine(v *verdict.Verdict, st *State, policies []Policy, b *Basis) {
	switch {
	case len(st.Policies) == 0:
		v.Decision = verdict.Unknown
		v.Reasons = append(v.Reasons, engineReason(ReasonNoActivePolicy, "No policy is in force.",
			"Write a signing_policy in the configuration, or start with --policy FILE."))
		return
	case len(policies) == 0:
		v.Decision = verdict.Deny
		v.Reasons = append(v.Reasons, engineReason(ReasonNoPolicy, fmt.Sprintf("No policy speaks of image %s.", b.Image),
			"Write a policy whose images match it, or one without images, which speaks of all."))
		return
	}
	v.Decision, v.Allowed = verdict.Combine(v.Policies)
	if !slices.ContainsFunc(policies, func(p Policy) bool { return p.Mode != verdict.Disabled }) {
		v.Warnings = append(v.Warnings, engineReason(ReasonPolicyDisabled,
			fmt.Sprintf("Every policy that speaks of image %s is disabled, so nothing was checked.", b.Image),
			"Set the policy's mode to enforce or audit."))
	}
	if b.GraceNote != "" {
		v.Warnings = append(v.Warnings, engineReason(ReasonGrace, b.GraceNote, "Bring the store back."))
	}
}

// judgeOne evaluates one policy and applies the engine's own rules, first line
// that applies: could not find out → unknown; policy error → deny; allow; deny.
func judgeOne(ctx context.Context, st *State, p Policy, b *Basis, f facts.Facts, now time.Time) judged {
	j := judged{verdict: verdict.PolicyVerdict{
		Name: p.Name, Revision: p.Set.Revision(), Digest: p.Set.Digest(), ParamsDigest: p.Set.ParamsDigest(),
		Mode: p.Mode, Decision: verdict.Unknown,
		Reasons: []verdict.Reason{}, Warnings: []verdict.Reason{}, SatisfiedBy: []verdict.Satisfied{},
	}}
	if p.Mode == verdict.Disabled {
		return j
	}
	j.verdict.SignersDigest = p.Signers.Digest()
	j.frame = frame(st, p, b, f, now)
	if b.Problem != nil {
		problem := b.Problem.evidence()
		j.verdict.Decision = decisionOf(problem)
		j.verdict.Reasons = append(j.verdict.Reasons, problemReason(problem, b.Image))
		return j
	}
	if problem := platformsProblem(p, b); problem != nil {
		j.verdict.Reasons = append(j.verdict.Reasons, problemReason(problem, b.Image))
		return j
	}
	in := facts.NewInput(f, j.frame)
	j.counting = countingSignatures(p, in)

	res, err := p.Set.Evaluate(ctx, &in)
	switch {
	case errors.Is(err, ErrTimeLimit):
		j.verdict.Reasons = append(j.verdict.Reasons, timeLimitReason(p, b))
		return j
	case errors.Is(err, ErrInputTooLarge):
		j.verdict.Reasons = append(j.verdict.Reasons, engineReason(evidence.CodeEvidenceTooLarge,
			fmt.Sprintf("What is known of image %s is more than policy %s can be asked about: %s.", b.Image, p.Name, err),
			"Remove evidence that nobody needs, or raise limits.policy_input_bytes."))
		return j
	case errors.Is(err, ErrNoRules):
		j.verdict.Reasons = append(j.verdict.Reasons, engineReason(ReasonNoBundle,
			fmt.Sprintf("Policy %s has no rules to decide by: %s.", p.Name, err), "Bring its bundle back; signet bundles list shows what is wrong with it."))
		return j
	case err != nil:
		j.alarm = err
		j.verdict.Decision = verdict.Deny
		j.verdict.Reasons = append(j.verdict.Reasons, engineReason(ReasonPolicyError,
			fmt.Sprintf("Policy %s gave no usable answer: %s.", p.Name, err), "Mend the policy; its tests do not cover this input."))
		return j
	}
	j.verdict.Reasons = append(j.verdict.Reasons, res.Violations...)
	j.verdict.Warnings = append(j.verdict.Warnings, res.Warnings...)
	j.verdict.SatisfiedBy = append(j.verdict.SatisfiedBy, res.SatisfiedBy...)
	j.slsa, j.validUntil = res.SLSA, res.ValidUntil
	j.exceptions, j.coverage = exceptionsOf(p.Name, res), res.Coverage
	allows := res.Allow && len(res.Violations) == 0
	monotone := p.Set.Monotone() && !waives(res)
	switch {
	case !in.Search.Complete && !(allows && monotone):
		j.verdict.Decision = verdict.Unknown
		j.verdict.Reasons = []verdict.Reason{incompleteReason(in.Search, b.Image)}
	case has(in, facts.CodeTrustRootStale) && !(allows && monotone):
		j.verdict.Decision = verdict.Unknown
		j.verdict.Reasons = []verdict.Reason{engineReason(ReasonTrustRootStale, staleMessage(st, j.frame, b),
			"Let this machine reach the root's TUF repository, or run offline with a root that you keep fresh yourself (--offline).")}
	case allows:
		j.verdict.Decision = verdict.Allow
	case has(in, facts.CodeArtifactNeeded):
		j.verdict.Decision = verdict.Unknown
		j.verdict.Reasons = []verdict.Reason{engineReason(facts.CodeArtifactNeeded,
			"An Ed25519 signature is over the artifact itself, and only its digest was given.", "Give the file instead of its digest.")}
	default:
		j.verdict.Decision = verdict.Deny
		if len(j.verdict.Reasons) == 0 {
			j.verdict.Reasons = append(j.verdict.Reasons, engineReason(ReasonPolicyDenied,
				fmt.Sprintf("Policy %s denies, and gives no reason.", p.Name), "Give the rule a violation that says what is missing."))
		}
		explain(j.verdict.Reasons, p, in, now)
	}
	j.secondOpinion(p, b, f, now)
	return j
}

// frame matches signers, once, in Go.
func frame(st *State, p Policy, b *Basis, f facts.Facts, now time.Time) facts.Frame {
	fr := facts.Frame{
		EvaluatedAt: now, ClockSkew: b.Terms.ClockSkew,
		Request: facts.Request{
			Image: b.Image, Context: b.Context, Roles: b.Roles, Platform: b.Platform, PlatformDigest: b.Subject.PlatformDigest(b.Platform),
		},
		Platform: b.Platform, Platforms: p.Platforms, AllPlatforms: p.readsAll(),
		Registry: b.Subject.Registry, Repository: b.Subject.Repository, Tag: b.Subject.Tag,
		Search: b.Search, TrustedSigners: map[string][]string{}, Trust: trustInfo(st, now),
		StaleRoots: staleRoots(st, b, now), Given: b.Given,
	}
	name := b.Subject.Name()
	ask, accept := targets(p, b.Subject, b.Platform), b.Subject.Accepts(p.Platforms, b.Platform)
	for _, s := range f.Signatures() {
		if _, withheld := fr.Withhold(s); withheld {
			continue
		}
		names := p.Signers.Match(s, name, now)
		if len(names) == 0 {
			continue
		}
		fr.TrustedSigners[facts.FactKey(s)] = names
		for _, t := range ask {
			if t.accept[s.SubjectDigest] && p.Counts(s, fr.Trust) {
				t.edges[s.Principal] = append(t.edges[s.Principal], names...)
			}
		}
	}
	for _, a := range f.Attestations() {
		if _, withheld := fr.Withhold(a.Signature); withheld {
			continue
		}
		if names := p.Signers.Match(a.Signature, name, now); len(names) > 0 {
			fr.TrustedSigners[facts.FactKey(a.Signature)] = names
		}
		p.weigh(&fr, a, accept)
	}
	if p.Signers.InForce(name, now) { // no match at all says that nobody is trusted
		if p.RequireSignature {
			fr.Matches = matches(p, ask)
		}
		fr.Matches = append(fr.Matches, attestationMatches(p, b, f, fr)...)
	}
	return fr
}

// has says that evidence was rejected for this reason.
func has(in facts.Input, code string) bool {
	return slices.ContainsFunc(in.Rejections, func(r facts.Rejection) bool { return r.Code == code })
}

func countingSignatures(p Policy, in facts.Input) map[string]bool {
	counting := map[string]bool{}
	for _, s := range in.Signatures {
		if len(s.TrustedSigners) > 0 && p.Counts(s.Signature, in.Trust) {
			counting[facts.FactKey(s.Signature)] = true
		}
	}
	return counting
}

// staleRoots names the roots past their permitted staleness. What was verified
// with them is unknown: a policy that more evidence can only help may still allow
// on the rest, so that nobody's signature under a stale root spoils a good one.
func staleRoots(st *State, b *Basis, now time.Time) []string {
	var stale []string
	for _, r := range st.Roots {
		if !r.RefreshedAt.IsZero() && now.Sub(r.RefreshedAt) > b.Terms.MaxStaleness {
			stale = append(stale, r.Name)
		}
	}
	return stale
}

func staleMessage(st *State, fr facts.Frame, b *Basis) string {
	for _, r := range st.Roots {
		if slices.Contains(fr.StaleRoots, r.Name) {
			return fmt.Sprintf("Trust root %s was last refreshed at %s, longer ago than the permitted %s, so what was verified with it is not known.",
				r.Name, r.RefreshedAt.UTC().Format(time.RFC3339), b.Terms.MaxStaleness)
		}
	}
	return ""
}

// expiry is the next boundary that Go knows of.
func expiry(st *State, b *Basis, now time.Time) time.Time {
	until := now.Add(b.Terms.DecisionMaxAge)
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(until) {
			until = t
		}
	}
	sooner(b.TagUntil)
	sooner(b.SearchUntil)
	for _, r := range st.Roots {
		if !r.RefreshedAt.IsZero() {
			if end := r.RefreshedAt.Add(b.Terms.MaxStaleness); end.After(now) {
				sooner(end)
			}
		}
	}
	for _, p := range st.Policies {
		if t := p.NextBoundary(now); t != nil {
			sooner(*t)
		}
	}
	if until.Before(now) {
		return now
	}
	return until.UTC().Truncate(time.Microsecond)
}

func blank(build string, st *State, image, digest string, s facts.Subject, now time.Time) *verdict.Verdict {
	v := &verdict.Verdict{
		ID: newID(now), Image: image, Digest: digest,
		Policies: []verdict.PolicyVerdict{}, Reasons: []verdict.Reason{}, Warnings: []verdict.Reason{}, Coverage: []verdict.Coverage{},
		Active: st.Active, Build: build, EvaluatedAt: now, ExpiresAt: now,
	}
	if digest != "" {
		v.Pinned = s.Pinned()
	}
	return v
}

func trustInfo(st *State, now time.Time) []facts.TrustInfo {
	info := make([]facts.TrustInfo, 0, len(st.Roots))
	for _, r := range st.Roots {
		t := facts.TrustInfo{Name: r.Name, Digest: r.Digest, TransparencyLog: r.HasLog}
		if !r.RefreshedAt.IsZero() && now.After(r.RefreshedAt) {
			t.Age = int64(now.Sub(r.RefreshedAt) / time.Second)
		}
		info = append(info, t)
	}
	return info
}

// retryAfter is in seconds: what the registry asked for, at least 5, at most an hour.
func retryAfter(d time.Duration) int {
	return int(math.Ceil(min(max(d, 5*time.Second), time.Hour).Seconds()))
}

func engineReason(code, message, remediation string) verdict.Reason {
	return verdict.Reason{Code: code, Message: message, Remediation: remediation, Rule: "engine"}
}

func timeLimitReason(p Policy, b *Basis) verdict.Reason {
	return engineReason(ReasonTimeLimit, fmt.Sprintf("Policy %s did not answer within %s.", p.Name, b.Terms.PolicyTime),
		"Simplify the policy, or raise limits.policy_time.")
}

func incompleteReason(s facts.Search, image string) verdict.Reason {
	var why []string
	for _, p := range s.Problems {
		why = append(why, p.Where+": "+p.Message)
	}
	code := ReasonSearchIncomplete
	if len(s.Problems) > 0 {
		code = s.Problems[0].Code
	}
	return engineReason(code,
		fmt.Sprintf("The search for signatures of image %s could not be completed: %s.", image, strings.Join(why, "; ")),
		"Ask again; if it stays so, check the registry and our access to it.")
}

// decisionOf is deny where the registry answered and the answer contradicts
// itself, unknown where we could not find out.
func decisionOf(p *evidence.Problem) verdict.Decision {
	switch p.Code {
	case evidence.CodeDigestMismatch, evidence.CodeManifestAmbiguous, evidence.CodeManifestUnsupported:
		return verdict.Deny
	}
	return verdict.Unknown
}
