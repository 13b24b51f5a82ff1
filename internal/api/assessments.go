package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/verdict"
)

// mostAssessed bounds the verdicts of an assessment that are shown whole.
const mostAssessed = 200

// getAssessment tells what came of the verdicts of one assessment.
func (s *Server) getAssessment(ctx context.Context, c *call) (reply, error) {
	id := c.echo.Param("id")
	if len(id) > longestAssessment || !printable(id) {
		return reply{}, noAssessment(id)
	}
	rows, err := s.seenVerdicts(ctx, c, VerdictFilter{AssessmentID: id}, "", mostAssessed)
	if err != nil {
		return reply{}, err
	}
	if len(rows.Items) == 0 {
		return reply{}, noAssessment(id)
	}
	out := client.Assessment{
		ID: id, SignedImage: true, Allowed: true, Decision: client.Allow, Images: []client.AssessedImage{},
		Verdicts: make([]json.RawMessage, 0, len(rows.Items)), Truncated: rows.Next != "",
	}
	seen := map[string]bool{}
	for _, row := range rows.Items {
		body, err := s.cfg.Verdicts.Verdict(ctx, row.ID)
		if err != nil { // it was removed meanwhile, or cannot be read: half of an assessment is none
			return reply{}, fmt.Errorf("reading verdict %s: %w", row.ID, err)
		}
		out.Verdicts = append(out.Verdicts, s.linked(body))
		if seen[row.ImageRef] {
			continue
		}
		seen[row.ImageRef] = true
		image, err := assessed(row, body)
		if err != nil {
			return reply{}, err
		}
		out.Images = append(out.Images, image)
		out.SignedImage = out.SignedImage && image.Signed
		out.Allowed = out.Allowed && image.Allowed
		out.Decision = worse(out.Decision, image.Decision)
	}
	if out.Truncated { // the newest verdict of another image may be among the older ones
		out.SignedImage, out.Allowed = false, false
	}
	return jsonOf(http.StatusOK, out, nil)
}

func noAssessment(id string) *problem {
	return &problem{code: codeNotFound, field: "id", detail: "No verdict was asked for under the assessment " + shown(id) + ". Send it as assessment_id with the request for a verdict."}
}

// assessed sums up an image by its newest verdict.
func assessed(row client.Verification, body []byte) (client.AssessedImage, error) {
	var v verdict.Verdict
	if err := json.Unmarshal(body, &v); err != nil {
		return client.AssessedImage{}, fmt.Errorf("reading verdict %s: %w", row.ID, err)
	}
	image := client.AssessedImage{
		Image: row.ImageRef, Digest: v.Digest, Decision: client.Decision(v.Decision), Allowed: v.Allowed, Signed: countsAsSigned(&v),
		Reasons: []string{}, VerdictID: row.ID, DecidedAt: row.CreatedAt,
	}
	for _, r := range v.Reasons {
		image.Reasons = append(image.Reasons, r.Message)
	}
	return image, nil
}

// countsAsSigned: a signature that somebody made is not enough, a policy must have
// counted it, for the digest that is to be deployed.
func countsAsSigned(v *verdict.Verdict) bool {
	if v.Decision != verdict.Allow || !v.Allowed {
		return false
	}
	for _, c := range v.Coverage {
		if c.Signed && pinnedTo(v.Pinned, c.Digest) {
			return true
		}
	}
	return false
}

func pinnedTo(pinned, digest string) bool {
	return len(pinned) > len(digest) && pinned[len(pinned)-len(digest)-1] == '@' && pinned[len(pinned)-len(digest):] == digest
}

// worse is the one that lets less in.
func worse(a, b client.Decision) client.Decision {
	rank := map[client.Decision]int{client.Allow: 1, client.Deny: 2}
	if rank[a] == 0 || rank[b] == 0 {
		return client.Unknown
	}
	if rank[b] > rank[a] {
		return b
	}
	return a
}
