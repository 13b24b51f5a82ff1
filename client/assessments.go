package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// The states of a verdict that was asked for to be fetched later.
const (
	RequestWaiting = "waiting"
	RequestDone    = "done"
)

// VerdictRequestStatus is how it stands with a verdict that was asked for to be
// fetched later.
type VerdictRequestStatus struct {
	// ID is a ULID.
	ID string `json:"id"`
	// State is RequestWaiting or RequestDone.
	State        string `json:"state"`
	Image        string `json:"image"`
	Platform     string `json:"platform,omitempty"`
	AssessmentID string `json:"assessment_id,omitempty"`
	// Attempts came to nothing so far. Message is the first reason of the answer, or of
	// the last attempt.
	Attempts   int        `json:"attempts"`
	CreatedAt  time.Time  `json:"created_at"`
	FinishedAt *time.Time `json:"finished_at"`
	Message    string     `json:"message,omitempty"`
	// Decision is there once it is done, and VerdictID where the verdict is recorded.
	Decision  Decision `json:"decision,omitempty"`
	VerdictID string   `json:"verdict_id,omitempty"`
	// Verdict is the answer as it would have been given at once; absent where there is
	// none.
	Verdict json.RawMessage `json:"verdict,omitempty"`
}

// VerifyLater asks for a verdict that is fetched later, with [Client.VerdictRequest]:
// for images in slow registries. Webhooks of the kind "verdict" tell when it is there.
func (c *Client) VerifyLater(ctx context.Context, req VerdictRequest) (VerdictRequestStatus, error) {
	r := call{method: http.MethodPost, header: http.Header{"Prefer": {"respond-async"}}}.json(req)
	out, err := ask[VerdictRequestStatus](ctx, c, r, "verdicts")
	if err == nil && (out.ID == "" || out.Image != req.Image) {
		err = fmt.Errorf("%w: it is no request for a verdict on %s", ErrAnswer, req.Image)
	}
	return out, err
}

// VerdictRequest tells how it stands with a verdict that was asked for by
// [Client.VerifyLater].
func (c *Client) VerdictRequest(ctx context.Context, id string) (VerdictRequestStatus, error) {
	return ask[VerdictRequestStatus](ctx, c, call{method: http.MethodGet}, "verdict-requests", id)
}

// Answer reads the verdict of a request that is done.
func (s VerdictRequestStatus) Answer() (Verdict, error) {
	if s.State != RequestDone || len(s.Verdict) == 0 {
		return Verdict{}, fmt.Errorf("%w: there is no verdict on %s (%s)", ErrAnswer, s.Image, s.State)
	}
	v, err := readVerdict(s.Verdict)
	if err == nil && v.Image != s.Image {
		err = fmt.Errorf("%w: it speaks of another image", ErrAnswer)
	}
	if err != nil {
		return Verdict{}, err
	}
	return v, nil
}

// Assessment is what is known of the images of one assessment.
type Assessment struct {
	ID string `json:"id"`
	// SignedImage is true when each image's newest verdict allows it, over a signature
	// that counts.
	SignedImage bool `json:"signed_image"`
	// Decision is the worst of the images', and Allowed true when all are.
	Decision Decision `json:"decision"`
	Allowed  bool     `json:"allowed"`
	// Images have the newest verdict of each image, platform and context, the newest
	// first.
	Images []AssessedImage `json:"images"`
	// Verdicts are all verdicts, whole, the newest first. Truncated says that there are
	// older ones, which the list of verdicts has.
	Verdicts  []json.RawMessage `json:"verdicts"`
	Truncated bool              `json:"truncated,omitempty"`
}

// AssessedImage is one image of an [Assessment].
type AssessedImage struct {
	Image string `json:"image"`
	// Platform that was asked for, where the image has several verdicts.
	Platform string   `json:"platform,omitempty"`
	Digest   string   `json:"digest"`
	Decision Decision `json:"decision"`
	Allowed  bool     `json:"allowed"`
	// Signed: it is allowed, and a signature that counts speaks of the digest.
	Signed bool `json:"signed"`
	// Reasons are the messages of the verdict's reasons.
	Reasons   []string  `json:"reasons"`
	VerdictID string    `json:"verdict_id"`
	DecidedAt time.Time `json:"decided_at"`
}

// Assessment tells what came of the verdicts that were asked for under an assessment's
// id.
func (c *Client) Assessment(ctx context.Context, id string) (Assessment, error) {
	return ask[Assessment](ctx, c, call{method: http.MethodGet}, "assessments", id)
}
