package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// Decision is one of three answers. The zero value is none and allows nothing.
type Decision string

// The three answers. Unknown means "could not find out".
const (
	Allow   Decision = "allow"
	Deny    Decision = "deny"
	Unknown Decision = "unknown"
)

// Verdict is the answer to "may this image run?". The zero value allows nothing.
type Verdict struct {
	ID       string   `json:"id"`
	Decision Decision `json:"decision"`
	// Allowed is what an enforcement point acts on: no enforcing policy says deny
	// or unknown.
	Allowed bool   `json:"allowed"`
	Image   string `json:"image"`
	Digest  string `json:"digest"`
	// Pinned is the reference to deploy: name@digest. Where a platform was asked for it
	// is the index only where that is allowed by itself, else the platform.
	Pinned   string          `json:"pinned"`
	Policies []PolicyVerdict `json:"policies"`
	Reasons  []Reason        `json:"reasons"`
	Warnings []Reason        `json:"warnings"`
	// Exceptions waived something; absent where nothing was waived.
	Exceptions      []UsedException `json:"exceptions,omitempty"`
	Signature       SignatureInfo   `json:"signature"`
	TransparencyLog LogInfo         `json:"transparency_log"`
	SLSA            SLSA            `json:"slsa"`
	Coverage        []Coverage      `json:"coverage"`
	FactsDigest     string          `json:"facts_digest"`
	// Given are the ids of evidence that came with the request.
	Given       []string  `json:"given,omitempty"`
	Active      Active    `json:"active"`
	Build       string    `json:"build"`
	EvaluatedAt time.Time `json:"evaluated_at"`
	// ExpiresAt is when the answer must be asked for again.
	ExpiresAt time.Time `json:"expires_at"`
	// ValidUntil is when time alone may end what the policies say: an exception ends, or
	// an attestation gets too old. Nil where nothing of the kind has a part in it.
	ValidUntil *time.Time `json:"valid_until,omitempty"`
	// RetryAfter is in seconds, set for unknown only.
	RetryAfter int `json:"retry_after,omitempty"`
	// Link is the verdict's page, where the server knows its own address.
	Link string `json:"link,omitempty"`
	// Attestation is there where it was asked for.
	Attestation *Attestation `json:"attestation,omitempty"`

	// Raw is the answer as it came.
	Raw json.RawMessage `json:"-"`
}

// Reason is one violation or warning, in words that a person can act on.
type Reason struct {
	Code        string   `json:"code"`
	Message     string   `json:"message"`
	Remediation string   `json:"remediation"`
	Rule        string   `json:"rule"`
	Fact        string   `json:"fact,omitempty"`
	Nearest     *Nearest `json:"nearest,omitempty"`
}

// Nearest is the evidence that came closest to what is wanted, and what differed.
type Nearest struct {
	Fact      string `json:"fact"`
	Principal string `json:"principal"`
	Signer    string `json:"signer,omitempty"`
	Field     string `json:"field"`
	Want      string `json:"want"`
	Have      string `json:"have"`
	Why       string `json:"why"`
}

// PolicyVerdict is one policy's part in a verdict. Mode is "enforce", "audit" or
// "disabled".
type PolicyVerdict struct {
	Name         string `json:"name"`
	Revision     string `json:"revision"`
	Digest       string `json:"digest"`
	ParamsDigest string `json:"params_digest"`
	// SignersDigest names whom it trusted.
	SignersDigest string      `json:"signers_digest,omitempty"`
	Mode          string      `json:"mode"`
	Decision      Decision    `json:"decision"`
	Reasons       []Reason    `json:"reasons"`
	Warnings      []Reason    `json:"warnings"`
	SatisfiedBy   []Satisfied `json:"satisfied_by"`
}

// Satisfied names how one requirement was met: by facts, or waived by an exception.
type Satisfied struct {
	Requirement string   `json:"requirement"`
	Facts       []string `json:"facts,omitempty"`
	Exception   string   `json:"exception,omitempty"`
}

// UsedException is an exception that waived violations, until it ends.
type UsedException struct {
	Policy string `json:"policy"`
	Name   string `json:"name"`
	// Codes of the violations that it waived.
	Codes     []string  `json:"codes"`
	Owner     string    `json:"owner"`
	Reason    string    `json:"reason"`
	ExpiresAt time.Time `json:"expires_at"`
}

// SLSA is the proven build level, 0 to 3, and the builder it was proven for.
type SLSA struct {
	Level   int     `json:"level"`
	Builder *string `json:"builder"`
	// Missing says per level ("1", "2", "3") what it lacked; absent where there is no
	// provenance, and for level 3.
	Missing map[string][]string `json:"missing,omitempty"`
}

// SignatureInfo sums up the signature that counted, or the first verified one.
type SignatureInfo struct {
	Found    bool       `json:"found"`
	Valid    bool       `json:"valid"`
	Signer   string     `json:"signer"`
	Issuer   string     `json:"issuer"`
	SignedAt *time.Time `json:"signed_at"`
}

// LogInfo sums up the transparency log for that signature.
type LogInfo struct {
	Verified bool   `json:"verified"`
	Reason   string `json:"reason,omitempty"`
}

// Coverage says whether a signature that counts speaks of one digest of the image.
type Coverage struct {
	Digest   string `json:"digest"`
	Platform string `json:"platform"`
	Signed   bool   `json:"signed"`
	// Requirements are what policies that say what they ask of an index ask of this
	// digest, and whether it is met.
	Requirements []Covered `json:"requirements,omitempty"`
}

// Covered says whether a digest meets one requirement of a policy.
type Covered struct {
	Policy      string `json:"policy"`
	Requirement string `json:"requirement"`
	Met         bool   `json:"met"`
}

// Active names everything in force when it was decided.
type Active struct {
	Revision int64  `json:"revision"`
	Digest   string `json:"digest"`
}

// Verify asks whether an image may run. While Signet cannot find out it is asked
// again, as for every repeatable request; then the verdict is Unknown. The error
// is nil only together with a verdict that was understood whole.
func (c *Client) Verify(ctx context.Context, req VerdictRequest) (Verdict, error) {
	r := call{method: http.MethodPost, path: "/verdicts", repeatable: true}.json(req)
	a, err := c.do(ctx, r)
	if err != nil {
		return Verdict{}, fmt.Errorf("asking for a verdict on %s: %w", req.Image, err)
	}
	return answered(a, req)
}

// answered reads the answer to a request for a verdict: 200, or 503 with a
// verdict in its body.
func answered(a answer, req VerdictRequest) (Verdict, error) {
	var v Verdict
	var err error
	switch {
	case a.status == http.StatusOK, a.status == http.StatusServiceUnavailable && isJSON(a.header):
		v, err = readVerdict(a.body)
	case a.status < http.StatusBadRequest:
		err = fmt.Errorf("%w: a verdict with status %d", ErrAnswer, a.status)
	default:
		return Verdict{}, problemOf(a)
	}
	switch {
	case err != nil:
	case a.status != http.StatusOK && (v.Allowed || v.Decision != Unknown):
		err = fmt.Errorf("%w: it says %s with status %d", ErrAnswer, v.Decision, a.status)
	case v.Image != req.Image: // somebody else's answer allows nothing here
		err = fmt.Errorf("%w: it speaks of another image", ErrAnswer)
	}
	if err != nil {
		return Verdict{}, fmt.Errorf("verdict on %s: %w", req.Image, err)
	}
	return v, nil
}

func isJSON(h http.Header) bool {
	media := h.Get("Content-Type")
	return media == mediaJSON || media == mediaJSON+"; charset=utf-8"
}

// readVerdict reads a verdict so that nothing but a plain "allowed": true allows.
// Package json takes "Allowed" for "allowed", so the two members that count are
// also read by their exact names.
func readVerdict(body []byte) (Verdict, error) {
	var exact map[string]json.RawMessage
	if err := json.Unmarshal(body, &exact); err != nil {
		return Verdict{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	var v Verdict
	if err := json.Unmarshal(body, &v); err != nil {
		return Verdict{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	allowed := string(exact["allowed"])
	switch {
	case allowed != "true" && allowed != "false", v.Allowed != (allowed == "true"):
		return Verdict{}, fmt.Errorf("%w: it does not say plainly whether the image is allowed", ErrAnswer)
	case v.Decision != Allow && v.Decision != Deny && v.Decision != Unknown, string(exact["decision"]) != `"`+string(v.Decision)+`"`:
		return Verdict{}, fmt.Errorf("%w: its decision is none of allow, deny and unknown", ErrAnswer)
	case v.Decision == Allow && !v.Allowed:
		return Verdict{}, fmt.Errorf("%w: it decides allow and does not allow", ErrAnswer)
	}
	v.Raw = bytes.Clone(body)
	return v, nil
}

// VerdictResult is the answer to one item of a batch.
type VerdictResult struct {
	Verdict Verdict
	// Err is why there is no verdict, a [*Problem] where the server says so.
	Err error
}

// VerifyBatch asks for up to 100 verdicts at once. Results are in the order of
// reqs, each as [Client.Verify] would give it, but that a single one which is
// unknown is not asked for again.
func (c *Client) VerifyBatch(ctx context.Context, reqs []VerdictRequest) ([]VerdictResult, error) {
	r := call{method: http.MethodPost, repeatable: true}.json(VerdictBatch{Items: reqs})
	out, err := ask[VerdictBatchAnswer](ctx, c, r, "verdicts", "batch")
	if err != nil {
		return nil, fmt.Errorf("asking for %d verdicts: %w", len(reqs), err)
	}
	if len(out.Items) != len(reqs) {
		return nil, fmt.Errorf("%w: %d answers to %d requests", ErrAnswer, len(out.Items), len(reqs))
	}
	results := make([]VerdictResult, len(reqs))
	for i, item := range out.Items {
		a := answer{
			status: item.Status, header: http.Header{"Content-Type": {mediaJSON}}, body: item.Verdict,
			retryAfter: time.Duration(item.RetryAfter) * time.Second,
		}
		if len(item.Problem) > 0 {
			a.header, a.body = http.Header{"Content-Type": {"application/problem+json"}}, item.Problem
		}
		results[i].Verdict, results[i].Err = answered(a, reqs[i])
	}
	return results, nil
}

// VerdictFilter chooses verdicts of the past; zero fields choose all.
type VerdictFilter struct {
	// Image is the reference as it was asked for, Name the image's name without
	// tag and digest.
	Image, Name, Digest string
	Decision            Decision
	// Signer is the name that a trusted signer had then, Identity who signed.
	Signer, Identity string
	AssessmentID     string
	// ReasonCode is the code of the first reason why it was not allowed.
	ReasonCode string
	// Since and Until bound when it was decided.
	Since, Until time.Time
	// Limit and Cursor choose the page.
	Limit  int
	Cursor string
}

func (f VerdictFilter) query() url.Values {
	q := url.Values{}
	set(q, "image", f.Image)
	set(q, "name", f.Name)
	set(q, "digest", f.Digest)
	set(q, "decision", string(f.Decision))
	set(q, "signer", f.Signer)
	set(q, "identity", f.Identity)
	set(q, "assessment_id", f.AssessmentID)
	set(q, "reason_code", f.ReasonCode)
	setTime(q, "since", f.Since)
	setTime(q, "until", f.Until)
	return pageOf(q, f.Limit, f.Cursor)
}

// Verdicts lists verdicts of the past, the latest first.
func (c *Client) Verdicts(ctx context.Context, f VerdictFilter) (Page[Verification], error) {
	return ask[Page[Verification]](ctx, c, get(f.query()), "verdicts")
}

// AllVerdicts walks them.
func (c *Client) AllVerdicts(ctx context.Context, f VerdictFilter) iter.Seq2[Verification, error] {
	return all(ctx, f.Cursor, func(ctx context.Context, cursor string) (Page[Verification], error) {
		f.Cursor, f.Limit = cursor, cmp.Or(f.Limit, walkLimit)
		return c.Verdicts(ctx, f)
	})
}

// Verdict reads a verdict of the past. It tells what was decided then; it is no
// leave to run the image now.
func (c *Client) Verdict(ctx context.Context, id string) (Verdict, error) {
	a, err := c.bytes(ctx, get(nil), "verdicts", id)
	if err != nil {
		return Verdict{}, err
	}
	return readVerdict(a.body)
}

// VerdictInput is the document that a policy read for a verdict. Policy may be ""
// where one policy decided.
func (c *Client) VerdictInput(ctx context.Context, id, policy string) (json.RawMessage, error) {
	q := url.Values{}
	set(q, "policy", policy)
	return ask[json.RawMessage](ctx, c, get(q), "verdicts", id, "input")
}

// VerdictUses tells how often a verdict was given again from a cache.
func (c *Client) VerdictUses(ctx context.Context, id string) ([]Use, error) {
	out, err := ask[Page[Use]](ctx, c, get(nil), "verdicts", id, "uses")
	return out.Items, err
}

// ReproduceVerdict decides a verdict of the past again, and tells whether it came
// out the same.
func (c *Client) ReproduceVerdict(ctx context.Context, id string) (Reproduction, error) {
	return ask[Reproduction](ctx, c, get(nil), "verdicts", id, "reproduction")
}

// VerdictAt tells what was, and what would have been, answered about an image, as
// it was asked for, at a time.
func (c *Client) VerdictAt(ctx context.Context, image string, at time.Time) (PastVerdict, error) {
	q := url.Values{}
	set(q, "image", image)
	setTime(q, "at", at)
	return ask[PastVerdict](ctx, c, get(q), "verdicts")
}
