package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// Draft is a policy bundle that somebody works on: the author's own files, tests
// included. Nothing of it is in force until it is published.
type Draft struct {
	// Name is that of the bundle that it is to become.
	Name  string `json:"name"`
	Owner string `json:"owner"`
	// Files are texts by name. Signet's library, which the manifest names, is not
	// among them: it is put beside them whenever they are looked at.
	Files map[string]string `json:"files"`
	// Base is the digest of the archive that it began from, "" for none.
	Base string `json:"base"`
	// Replaced are files of the library, of the archive that it begins from, that are
	// not this Signet's: this Signet's take their place.
	Replaced []string `json:"replaced"`
	// Version is 0 for one that is not kept yet.
	Version   int64      `json:"version"`
	CreatedBy string     `json:"created_by"`
	CreatedAt *time.Time `json:"created_at"`
	UpdatedBy string     `json:"updated_by"`
	UpdatedAt *time.Time `json:"updated_at"`
}

// DraftSummary is a kept draft in a list, without its files.
type DraftSummary struct {
	Name      string    `json:"name"`
	Owner     string    `json:"owner"`
	Base      string    `json:"base"`
	Version   int64     `json:"version"`
	UpdatedBy string    `json:"updated_by"`
	UpdatedAt time.Time `json:"updated_at"`
}

// PutDraft is what is kept of a draft.
type PutDraft struct {
	// Owner is the team that it belongs to; "": the bundle's, as it was, or the caller's.
	Owner string            `json:"owner,omitempty"`
	Base  string            `json:"base,omitempty"`
	Files map[string]string `json:"files"`
}

// PolicyFiles are the files of a bundle that is looked at and not kept.
type PolicyFiles struct {
	Files map[string]string `json:"files"`
}

// PolicyProblem is something in a bundle that its author should change.
type PolicyProblem struct {
	File string `json:"file"`
	// Line counts from 1; 0 is the file as a whole.
	Line int    `json:"line"`
	Code string `json:"code"`
	// Severity is "error" or "warning".
	Severity string `json:"severity"`
	Message  string `json:"message"`
	// Instead is what to write.
	Instead string `json:"instead"`
}

// PolicyChecked is what is wrong with a bundle.
type PolicyChecked struct {
	Problems []PolicyProblem `json:"problems"`
}

// PolicyTest is one test, and how it ended.
type PolicyTest struct {
	Package string `json:"package"`
	Name    string `json:"name"`
	File    string `json:"file"`
	Line    int    `json:"line"`
	// Outcome is "passed", "failed", "error" or "skipped".
	Outcome string  `json:"outcome"`
	Message string  `json:"message,omitempty"`
	Seconds float64 `json:"seconds"`
	Output  string  `json:"output,omitempty"`
}

// PolicyUncovered is a line of a rule that no test evaluated.
type PolicyUncovered struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

// PolicyTested is the outcome of the tests of a bundle.
type PolicyTested struct {
	// OK says that all of them passed, or were skipped by their names.
	OK bool `json:"ok"`
	// Error says why they could not be run.
	Error string       `json:"error,omitempty"`
	Tests []PolicyTest `json:"tests"`
	// Coverage of the author's own lines, in percent.
	Coverage  float64           `json:"coverage"`
	Uncovered []PolicyUncovered `json:"uncovered"`
}

// EvaluatePolicy asks a bundle about one input: that of a verdict which is kept, or
// one that is given.
type EvaluatePolicy struct {
	Files map[string]string `json:"files"`
	// Verdict is the id of one that is kept, and Policy says which policy's input it
	// is where there are several.
	Verdict string `json:"verdict,omitempty"`
	Policy  string `json:"policy,omitempty"`
	// Input is a document of the schema signet/input/v1, instead of Verdict.
	Input json.RawMessage `json:"input,omitempty"`
	// SigningPolicy is a document whose parameters are taken; "": those of
	// params/params.json.
	SigningPolicy string `json:"signing_policy,omitempty"`
}

// PolicyFired is one rule in one evaluation.
type PolicyFired struct {
	Rule string `json:"rule"`
	File string `json:"file"`
	Line int    `json:"line"`
	// Fired says that its body held, for Facts where it spoke of some.
	Fired bool     `json:"fired"`
	Facts []string `json:"facts"`
}

// PolicyEvaluated is what a bundle says of an input.
type PolicyEvaluated struct {
	// Decision is what a server with this bundle alone would answer.
	Decision Decision `json:"decision"`
	// Error says why there is no result: the bundle cannot be loaded, or its rules
	// met an error.
	Error string `json:"error,omitempty"`
	// Result is the object of data.signing.verdict; null beside an error.
	Result json.RawMessage `json:"result"`
	Rules  []PolicyFired   `json:"rules"`
}

// BuildPolicy asks for the archive of a bundle.
type BuildPolicy struct {
	Files map[string]string `json:"files"`
	// Sequence is that of the release; 0: the manifest's.
	Sequence int64 `json:"sequence,omitempty"`
	// Revision names it for people; "": the manifest's, or one made from the contents.
	Revision string `json:"revision,omitempty"`
	// Source asks for the whole folder as it would be on an author's machine, tests
	// and library included, neither checked nor tested.
	Source bool `json:"source,omitempty"`
}

// AllDrafts walks the drafts that are kept and the caller may work on, by name.
func (c *Client) AllDrafts(ctx context.Context) iter.Seq2[DraftSummary, error] {
	return all(ctx, "", func(ctx context.Context, cursor string) (Page[DraftSummary], error) {
		return ask[Page[DraftSummary]](ctx, c, get(pageOf(url.Values{}, walkLimit, cursor)), "drafts")
	})
}

// Draft reads the draft of a bundle. Where none is kept it is made from the archive
// in force, with Version 0; where there is none either and begin is true, from what
// signet policy init begins with.
func (c *Client) Draft(ctx context.Context, name string, begin bool) (Draft, error) {
	q := url.Values{}
	if begin {
		q.Set("begin", "true")
	}
	return ask[Draft](ctx, c, get(q), "drafts", name)
}

// PutDraft keeps a draft. Version is that of what it replaces; nil: none must be kept.
func (c *Client) PutDraft(ctx context.Context, name string, d PutDraft, version *int64) (Draft, error) {
	return ask[Draft](ctx, c, call{method: http.MethodPut}.json(d).newOr(version), "drafts", name)
}

// DeleteDraft forgets a draft. It is refused ([IsStale]) where version is not the
// current one.
func (c *Client) DeleteDraft(ctx context.Context, name string, version int64) error {
	_, err := c.bytes(ctx, call{method: http.MethodDelete}.ifVersion(version), "drafts", name)
	return err
}

// CheckPolicy looks for mistakes in the files of a bundle.
func (c *Client) CheckPolicy(ctx context.Context, files map[string]string) (PolicyChecked, error) {
	return ask[PolicyChecked](ctx, c, tried(PolicyFiles{files}), "drafts", "check")
}

// TestPolicy runs the tests of a bundle.
func (c *Client) TestPolicy(ctx context.Context, files map[string]string) (PolicyTested, error) {
	return ask[PolicyTested](ctx, c, tried(PolicyFiles{files}), "drafts", "test")
}

// EvaluatePolicy asks a bundle about one input.
func (c *Client) EvaluatePolicy(ctx context.Context, e EvaluatePolicy) (PolicyEvaluated, error) {
	return ask[PolicyEvaluated](ctx, c, tried(e), "drafts", "evaluate")
}

// BuildPolicy gives the archive of a bundle, unsigned.
func (c *Client) BuildPolicy(ctx context.Context, b BuildPolicy) ([]byte, error) {
	a, err := c.bytes(ctx, tried(b), "drafts", "build")
	return a.body, err
}

// tried is a POST that changes nothing.
func tried(v any) call {
	r := post(v)
	r.repeatable = true
	return r
}
