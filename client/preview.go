package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"
)

// The changes that a preview takes.
const (
	OpPutPolicy        = "put_policy"
	OpDeletePolicy     = "delete_policy"
	OpRollbackPolicy   = "rollback_policy"
	OpPutSigner        = "put_signer"
	OpDisableSigner    = "disable_signer"
	OpEnableSigner     = "enable_signer"
	OpDeleteSigner     = "delete_signer"
	OpCompromiseSigner = "compromise_signer"
	OpPutTrustRoot     = "put_trust_root"
	OpDeleteTrustRoot  = "delete_trust_root"
	OpPutBundle        = "put_bundle"
)

// Operation is one change of what is in force, as a preview takes it. It is
// checked as the change itself would be.
type Operation struct {
	// Op is one of the constants above.
	Op string `json:"op"`
	// Name is that of the policy, bundle or trust root, or the name or id of the signer; ""
	// with put_signer registers a new one. What has the name is replaced, in
	// whatever version.
	Name string `json:"name,omitempty"`
	// Owner of a policy or bundle; "" is as before, or the caller's team.
	Owner string `json:"owner,omitempty"`
	// SigningPolicy is the document of put_policy, in YAML or JSON.
	SigningPolicy string `json:"signing_policy,omitempty"`
	// Archive of put_bundle is a policy bundle, as a .tar.gz; with put_policy it is
	// put beside, as by [Client.PutPolicyWith].
	Archive []byte `json:"archive,omitempty"`
	// Signer of put_signer is a [Signer] where it is new, else a merge patch (RFC
	// 7396).
	Signer json.RawMessage `json:"signer,omitempty"`
	// TrustRoot is for put_trust_root.
	TrustRoot *PutTrustRoot `json:"trust_root,omitempty"`
	// To of rollback_policy is the revision of everything in force whose policy, and
	// bundle, comes back; nil: before its last change.
	To *int64 `json:"to,omitempty"`
	// Since of compromise_signer is the last moment at which its signatures count.
	Since *time.Time `json:"since,omitempty"`
}

// PreviewRequest asks which verdicts would be different.
type PreviewRequest struct {
	// Operations are made in this order, all of them or none, and then taken back.
	// Without any, only At can make a difference.
	Operations []Operation `json:"operations,omitempty"`
	// Since and Until bound the verdicts that are looked at: times (RFC 3339), or how
	// long ago (30d). "" is 30 days ago, and now.
	Since string `json:"since,omitempty"`
	Until string `json:"until,omitempty"`
	// Image is a glob of image names, without tag and digest; "" is all.
	Image string `json:"image,omitempty"`
	// At is when the change is looked at, now or in the future; nil is now.
	At *time.Time `json:"at,omitempty"`
	// MaxFlips sets Exceeded where more questions than that would no longer be
	// allowed.
	MaxFlips *int64 `json:"max_flips,omitempty"`
	// Limit is how many flips are listed: 1 to 10000, 0 means 1000. All are counted.
	Limit int `json:"limit,omitempty"`
	// OnlyCheck tries the operations, and decides no verdict again. It does not count
	// among the previews under way, and stands beside Operations alone.
	OnlyCheck bool `json:"only_check,omitempty"`
}

// The directions of a [Flip].
const (
	AllowToDeny = "allow_to_deny"
	DenyToAllow = "deny_to_allow"
	ToUnknown   = "to_unknown"
	FromUnknown = "from_unknown"
)

// PreviewReason is why an answer would be, or was, no allow.
type PreviewReason struct {
	Policy  string `json:"policy"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Flip is a question whose answer would be different.
type Flip struct {
	// Image is as it was asked for.
	Image    string            `json:"image"`
	Digest   string            `json:"digest"`
	Platform string            `json:"platform,omitempty"`
	Context  map[string]string `json:"context,omitempty"`
	Roles    []string          `json:"roles,omitempty"`
	// Before and After say allow where the caller may go on.
	Before    Decision `json:"before"`
	After     Decision `json:"after"`
	Direction string   `json:"direction"`
	// Reasons are those of After, or of Before where After allows.
	Reasons []PreviewReason `json:"reasons"`
	// VerdictID is the newest verdict on the question.
	VerdictID string    `json:"verdict_id"`
	LastAsked time.Time `json:"last_asked"`
	// Verdicts is how many are kept of it, Uses how often it was answered in all. In a
	// stream they are those that were seen by then.
	Verdicts int64 `json:"verdicts"`
	Uses     int64 `json:"uses"`
}

// PreviewGroup are the flips of one direction for one reason: the first of the
// first policy that has one.
type PreviewGroup struct {
	Direction string `json:"direction"`
	PreviewReason
	Questions int64 `json:"questions"`
	Verdicts  int64 `json:"verdicts"`
	// Images are some of them, MoreImages says that there are others.
	Images     []string `json:"images"`
	MoreImages bool     `json:"more_images,omitempty"`
	// VerdictID is the newest verdict.
	VerdictID string `json:"verdict_id"`
}

// NotReplayable are questions of which it cannot be told what would be answered.
type NotReplayable struct {
	Reason    string `json:"reason"`
	Message   string `json:"message"`
	Questions int64  `json:"questions"`
	Verdicts  int64  `json:"verdicts"`
	// Images are some of them.
	Images     []string `json:"images"`
	MoreImages bool     `json:"more_images,omitempty"`
	VerdictID  string   `json:"verdict_id"`
}

// PreviewCount counts questions, and the verdicts that answered them.
type PreviewCount struct {
	Questions int64 `json:"questions"`
	Verdicts  int64 `json:"verdicts"`
}

// PreviewSummary is what a preview says in numbers. A question is one image as it
// was asked for, with its digest, platform, context, roles and facts.
type PreviewSummary struct {
	// Complete is false where the preview ended early: Why says it, and ReachedTo is
	// the oldest verdict that was looked at.
	Complete  bool       `json:"complete"`
	Why       string     `json:"why,omitempty"`
	ReachedTo *time.Time `json:"reached_to,omitempty"`
	// Since and At are as they were understood.
	Since time.Time    `json:"since"`
	Until *time.Time   `json:"until,omitempty"`
	At    time.Time    `json:"at"`
	Total PreviewCount `json:"total"`
	// Exact is false where there were more questions than can be told apart: some
	// are counted several times.
	Exact         bool         `json:"exact"`
	Unchanged     PreviewCount `json:"unchanged"`
	AllowToDeny   PreviewCount `json:"allow_to_deny"`
	DenyToAllow   PreviewCount `json:"deny_to_allow"`
	ToUnknown     PreviewCount `json:"to_unknown"`
	FromUnknown   PreviewCount `json:"from_unknown"`
	NotReplayable PreviewCount `json:"not_replayable"`
	// Exceeded says that AllowToDeny and ToUnknown are more than was asked for.
	Exceeded bool `json:"exceeded,omitempty"`
}

// Preview is what a change would do to the verdicts of the past.
type Preview struct {
	PreviewSummary
	Reasons []NotReplayable `json:"not_replayable_reasons"`
	Groups  []PreviewGroup  `json:"groups"`
	Flips   []Flip          `json:"flips"`
	// MoreFlips says that there are others than those listed.
	MoreFlips bool `json:"more_flips,omitempty"`
}

// The types of a [PreviewLine].
const (
	LineProgress = "progress"
	LineFlip     = "flip"
	LineGroup    = "group"
	LineSkipped  = "not_replayable"
	LineSummary  = "summary"
	LineError    = "error"
)

// PreviewLine is one line of a preview as it comes: of the members only that of
// its type is there. The last line is a summary, or an error.
type PreviewLine struct {
	Type     string           `json:"type"`
	Progress *PreviewProgress `json:"progress,omitempty"`
	Flip     *Flip            `json:"flip,omitempty"`
	Group    *PreviewGroup    `json:"group,omitempty"`
	Skipped  *NotReplayable   `json:"not_replayable,omitempty"`
	Summary  *PreviewSummary  `json:"summary,omitempty"`
	// Error says why the preview broke off.
	Error string `json:"error,omitempty"`
}

// PreviewProgress is how far a preview is, in verdicts.
type PreviewProgress struct {
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
	Flips int64 `json:"flips"`
}

const mediaNDJSON = "application/x-ndjson"

// Preview asks which verdicts of the past would be different after a change, or at
// a later time.
func (c *Client) Preview(ctx context.Context, req PreviewRequest) (Preview, error) {
	r := post(req)
	r.repeatable = true
	return ask[Preview](ctx, c, r, "policies", "preview")
}

// PreviewLines is [Client.Preview] line by line as the server finds out. After an
// error nothing more comes; a stream that ends without a summary is an error. It is
// not repeated when it fails.
func (c *Client) PreviewLines(ctx context.Context, req PreviewRequest) iter.Seq2[PreviewLine, error] {
	return func(yield func(PreviewLine, error) bool) {
		err := c.previewLines(ctx, req, func(l PreviewLine) bool { return yield(l, nil) })
		if err != nil && !errors.Is(err, errStopped) {
			yield(PreviewLine{}, err)
		}
	}
}

// longestLine bounds a line of a stream, in bytes.
const longestLine = 4 << 20

func (c *Client) previewLines(ctx context.Context, in PreviewRequest, yield func(PreviewLine) bool) error {
	r := post(in)
	r.path = "/policies/preview"
	if r.body == nil {
		return fmt.Errorf("%w: POST %s: the body is no JSON", ErrRequest, r.path)
	}
	res, err := c.open(ctx, r, mediaNDJSON)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var l PreviewLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return fmt.Errorf("%w: a line of the preview: %w", ErrAnswer, err)
		}
		if l.Type == LineError {
			return fmt.Errorf("%w: the preview broke off: %s", ErrAnswer, l.Error)
		}
		if !yield(l) {
			return errStopped
		}
		if l.Type == LineSummary {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading the preview: %w", err)
	}
	return fmt.Errorf("%w: the preview ended without a summary", ErrAnswer)
}

// open sends a request once, and hands over the answer while it comes. What is not
// 200 is an error.
func (c *Client) open(ctx context.Context, r call, accept string) (*http.Response, error) {
	req, err := c.request(ctx, r, accept)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%s %s: reading the answer: %w", r.method, req.URL.Path, err)
	}
	return nil, problemOf(answer{status: res.StatusCode, header: res.Header, body: body, retryAfter: retryAfter(res.Header.Get("Retry-After"), c.cfg.Now())})
}
