package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/verdict"
)

// verdictRequest is the body of POST /api/v1/verdicts.
type verdictRequest struct {
	Image        string            `json:"image"`
	Platform     string            `json:"platform"`
	Context      map[string]string `json:"context"`
	Refresh      bool              `json:"refresh"`
	Evidence     []json.RawMessage `json:"evidence"`
	AssessmentID string            `json:"assessment_id"`
	Labels       map[string]string `json:"labels"`
	Attest       bool              `json:"attest"`
}

const verdictExample = `{"image": "ghcr.io/org/app:v1"}`

// postVerdict answers with a verdict.
func (s *Server) postVerdict(ctx context.Context, c *call, req *verdictRequest) (reply, error) {
	if len(req.Evidence) == 0 && int64(len(c.body)) > s.cfg.BodyLimit { // evidence alone has a reason to be large
		return reply{}, bodyTooLarge(s.cfg.BodyLimit)
	}
	// Neither evidence nor the wish for an attestation is kept for a question that is
	// answered later: it is answered now.
	keeps := len(req.Evidence) == 0 && !req.Attest
	out, decision, kept, err := s.asPreferred(ctx, c, s.question(c, req), keeps, func(ctx context.Context) (reply, verdict.Decision, error) {
		return s.decide(ctx, c, req)
	})
	if kept {
		return out, err
	}
	if m := (*pep.Mistake)(nil); !errors.As(err, &m) { // what is wrong is not logged as an image
		c.image = req.Image
	}
	c.decision, c.cache = decision, out.cache
	return out, err
}

// decide asks the engine. Allow and deny are 200, and so is what an audit
// policy lets pass; an unknown that does not is 503 with the same body. It
// changes nothing of c, so that the items of a batch can share one.
func (s *Server) decide(ctx context.Context, c *call, req *verdictRequest) (reply, verdict.Decision, error) {
	if req.Attest && s.cfg.Attester == nil {
		return reply{}, "", noAttester("attest")
	}
	ans, err := s.core.Decide(ctx, c.state, s.question(c, req))
	if err != nil {
		return reply{}, "", err
	}
	out := reply{status: http.StatusOK, contentType: mediaJSON, body: ans.Body, cache: ans.From}
	if !ans.Allowed && ans.Decision == verdict.Unknown {
		out.status, out.retryAfter = http.StatusServiceUnavailable, ans.RetryAfter
	} else { // whatever is answered with 200 was recorded, so it can be read again
		out.location = locationOf(ans.Body)
	}
	if ans.Recorded {
		out.body = s.linked(ans.Body)
	}
	s.metrics.verdict(ans.Decision, ans.From)
	return out, ans.Decision, nil
}

// given are the bundles as they were sent.
func given(raw []json.RawMessage) [][]byte {
	if len(raw) == 0 {
		return nil
	}
	out := make([][]byte, len(raw))
	for i, b := range raw {
		out[i] = b
	}
	return out
}

// question is what a request asks.
func (s *Server) question(c *call, req *verdictRequest) pep.Question {
	return pep.Question{
		Image: req.Image, Platform: req.Platform, Context: req.Context, Refresh: req.Refresh,
		AssessmentID: req.AssessmentID, Labels: req.Labels, Principal: c.principal, RequestID: c.id, BatchID: c.batch,
		Attest: req.Attest, Evidence: given(req.Evidence),
	}
}

// linked is a verdict with its page as last member, where this server knows its own
// address. What is recorded and cached has no such member: it is each server's own.
func (s *Server) linked(body []byte) []byte {
	if s.cfg.ExternalURL == "" {
		return body
	}
	id := verdictID(body)
	end := bytes.LastIndexByte(body, '}')
	if id == "" || end < 0 {
		return body
	}
	link, err := json.Marshal(s.core.Link(id))
	if err != nil {
		return body
	}
	out := make([]byte, 0, len(body)+len(link)+len(`,"link":`))
	out = append(append(append(out, body[:end]...), `,"link":`...), link...)
	return append(out, body[end:]...)
}

// locationOf is the path of a verdict, "" where its id cannot be read.
func locationOf(body []byte) string {
	id := verdictID(body)
	if id == "" {
		return ""
	}
	return v1 + "/verdicts/" + id
}

// verdictID reads the id from the front of a verdict, where the engine's
// encoder puts it; "" when it is not there.
func verdictID(body []byte) string {
	rest, ok := bytes.CutPrefix(body, []byte(`{"id":"`))
	if !ok || len(rest) <= idLength || rest[idLength] != '"' || !isID(string(rest[:idLength])) {
		return ""
	}
	return string(rest[:idLength])
}

const idLength = 26

// isID says whether id could be a verdict's: a ULID as the engine writes it, 26
// characters of Crockford's base 32 in upper case, 128 bits at most
// (https://github.com/ulid/spec).
func isID(id string) bool {
	if len(id) != idLength || id[0] > '7' {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z' || c == 'I' || c == 'L' || c == 'O' || c == 'U') {
			return false
		}
	}
	return true
}

func verdictNotFound(id string) *problem {
	detail := "No verdict with the id " + shown(id) + " is kept here. It may be older than what is kept."
	if !isID(id) {
		detail = shown(id) + " is not the id of a verdict, which has 26 characters like 01JZ0000000000000000000000."
	}
	return &problem{code: codeVerdictNotFound, field: "id", detail: detail}
}

// getVerdict gives the bytes that were answered.
func (s *Server) getVerdict(ctx context.Context, c *call) (reply, error) {
	id := c.echo.Param("id")
	if !isID(id) {
		return reply{}, verdictNotFound(id)
	}
	body, err := s.stored(ctx, c, id)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, contentType: mediaJSON, body: s.linked(body)}, nil
}

// stored is a verdict as it was answered. What the caller may not see is not
// there.
func (s *Server) stored(ctx context.Context, c *call, id string) ([]byte, error) {
	body, err := s.cfg.Verdicts.Verdict(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil, verdictNotFound(id)
	}
	if err != nil {
		return nil, fmt.Errorf("reading verdict %s: %w", id, err)
	}
	if !scoped(c.principal) {
		return body, nil
	}
	var of struct {
		Image string `json:"image"`
	}
	if err := json.Unmarshal(body, &of); err != nil {
		return nil, fmt.Errorf("reading the image of verdict %s: %w", id, err)
	}
	if !s.sees(c.principal, of.Image) {
		return nil, verdictNotFound(id)
	}
	return body, nil
}

// getUses tells how often a verdict was given again.
func (s *Server) getUses(ctx context.Context, c *call) (reply, error) {
	id := c.echo.Param("id")
	if !isID(id) {
		return reply{}, verdictNotFound(id)
	}
	if _, err := s.stored(ctx, c, id); err != nil {
		return reply{}, err
	}
	uses, err := s.cfg.Verdicts.Uses(ctx, id)
	return pageOf(client.Page[client.Use]{Items: uses}, err)
}

// getInput rebuilds the document that a policy read.
func (s *Server) getInput(ctx context.Context, c *call) (reply, error) {
	id := c.echo.Param("id")
	if !isID(id) {
		return reply{}, verdictNotFound(id)
	}
	if scoped(c.principal) {
		if _, err := s.stored(ctx, c, id); err != nil {
			return reply{}, err
		}
	}
	f, frames, err := s.cfg.Verdicts.Basis(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return reply{}, verdictNotFound(id)
	}
	if err != nil {
		return reply{}, fmt.Errorf("reading what verdict %s was decided on: %w", id, err)
	}
	frame, err := choose(frames, c.echo.QueryParam("policy"), c.echo.QueryParams().Has("policy"))
	if err != nil {
		return reply{}, err
	}
	body, err := encode(facts.NewInput(f, frame))
	if err != nil {
		return reply{}, fmt.Errorf("encoding the input of verdict %s: %w", id, err)
	}
	return reply{status: http.StatusOK, contentType: mediaJSON, body: body}, nil
}

// choose takes the named policy's frame, or the only one there is.
func choose(frames map[string]facts.Frame, name string, named bool) (facts.Frame, error) {
	names := slices.Sorted(maps.Keys(frames))
	switch {
	case len(names) == 0:
		return facts.Frame{}, &problem{code: codeInputNotFound, detail: "No policy was evaluated for this verdict, so there is no input document. Its reasons say why."}
	case named:
		if frame, ok := frames[name]; ok {
			return frame, nil
		}
		return facts.Frame{}, &problem{code: codeInputNotFound, field: "query.policy", policies: names, detail: "The policy " + shown(name) + " was not evaluated for this verdict; " + oneOf(names) + " was."}
	case len(names) > 1:
		return facts.Frame{}, &problem{code: codePolicyNeeded, field: "query.policy", policies: names, detail: "Several policies were evaluated, and each read a document of its own. Add ?policy= with " + oneOf(names) + "."}
	}
	return frames[names[0]], nil
}

func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
