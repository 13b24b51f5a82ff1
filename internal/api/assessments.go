package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/verdict"
)

// mostAssessed bounds the verdicts of an assessment that are shown whole.
const mostAssessed = 200

// getAssessment tells what came of the verdicts of one assessment.
func (s *Server) getAssessment(ctx context.Context, c *call) (reply, error) {
	id := lastSegment(c.echo.Request())
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
	seen, questions := map[string]bool{}, s.questionsOf(ctx, rows.Items)
	for _, row := range rows.Items {
		body, err := s.cfg.Verdicts.Verdict(ctx, row.ID)
		if err != nil { // it was removed meanwhile, or cannot be read: half of an assessment is none
			return reply{}, fmt.Errorf("reading verdict %s: %w", row.ID, err)
		}
		out.Verdicts = append(out.Verdicts, s.linked(body))
		key := questions[row.ID].key(row.ImageRef)
		if seen[key] {
			continue
		}
		seen[key] = true
		image, err := assessed(row, body)
		if err != nil {
			return reply{}, err
		}
		image.Platform = questions[row.ID].Platform
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

// questionsOf tells, by id, verdicts apart that were asked for otherwise than by their
// image alone, where an image has several: one platform says nothing of another. What
// cannot be told is told apart from all others.
func (s *Server) questionsOf(ctx context.Context, rows []client.Verification) map[string]Question {
	times := map[string]int{}
	for _, row := range rows {
		times[row.ImageRef]++
	}
	questions := map[string]Question{}
	for _, row := range rows {
		if times[row.ImageRef] < 2 {
			continue
		}
		q, err := s.cfg.Verdicts.Question(ctx, row.ID)
		if err != nil {
			q = Question{Context: map[string]string{"id": row.ID}}
		}
		questions[row.ID] = q
	}
	return questions
}

// key is the same for the same question about an image.
func (q Question) key(image string) string {
	asked, err := json.Marshal([]any{image, q.Platform, q.Context})
	if err != nil { // strings always encode
		return image
	}
	return string(asked)
}

// lastSegment is the end of a path, unescaped: ids of others may have a slash.
func lastSegment(r *http.Request) string {
	path := r.URL.EscapedPath()
	last := path[strings.LastIndexByte(path, '/')+1:]
	plain, err := url.PathUnescape(last)
	if err != nil {
		return last
	}
	return plain
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
