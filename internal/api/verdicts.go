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
	"strings"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// verdictRequest is the body of POST /api/v1/verdicts.
type verdictRequest struct {
	Image        string            `json:"image"`
	Platform     string            `json:"platform"`
	Context      map[string]string `json:"context"`
	Refresh      bool              `json:"refresh"`
	AssessmentID string            `json:"assessment_id"`
	Labels       map[string]string `json:"labels"`
}

const verdictExample = `{"image": "ghcr.io/org/app:v1"}`

// laterFields are refused by name until they do something.
func laterFields() []string { return []string{"attest", "evidence"} }

// postVerdict answers with a verdict.
func (s *Server) postVerdict(ctx context.Context, c *call, req *verdictRequest) (reply, error) {
	if p := req.check(); p != nil {
		return reply{}, p
	}
	c.image = req.Image
	out, decision, err := s.decide(ctx, c, req)
	c.decision, c.cache = decision, out.cache
	return out, err
}

// decide asks the engine about what was checked. Allow and deny are 200, and so is what an audit
// policy lets pass; an unknown that does not is 503 with the same body. It
// changes nothing of c, so that the items of a batch can share one.
func (s *Server) decide(ctx context.Context, c *call, req *verdictRequest) (reply, verdict.Decision, error) {
	ans, err := s.ask(ctx, c, req)
	if err != nil {
		return reply{}, "", err
	}
	out := reply{contentType: mediaJSON, body: ans.Body, cache: ans.From}
	if ans.Allowed || ans.Decision == verdict.Deny {
		// Whatever is answered with 200 was recorded, so it can be read again.
		out.status, out.location = http.StatusOK, locationOf(ans.Body)
	} else {
		out.status, out.retryAfter = http.StatusServiceUnavailable, max(ans.RetryAfter, 1)
	}
	return out, ans.Decision, nil
}

// check refuses what the engine need not see.
func (req *verdictRequest) check() *problem {
	if p := checkImage(req.Image); p != nil {
		return p
	}
	if p := checkPlatform(req.Platform); p != nil {
		return p
	}
	return checkRecorded(req.AssessmentID, req.Labels)
}

// Bounds of what a caller has recorded beside a verdict, in bytes.
const (
	longestAssessment = 200
	mostLabels        = 16
	longestLabel      = 63
	longestLabelValue = 256
)

// checkRecorded looks at what is recorded and nothing else.
func checkRecorded(assessment string, labels map[string]string) *problem {
	if assessment == "" && len(labels) == 0 {
		return nil
	}
	bad := func(field, detail string) *problem {
		return &problem{code: codeInvalidField, field: field, detail: detail}
	}
	switch {
	case len(assessment) > longestAssessment:
		return bad("assessment_id", `The field "assessment_id" has more than 200 bytes. It is a name of yours, for finding the verdict again.`)
	case !printable(assessment):
		return bad("assessment_id", `The field "assessment_id" has characters that cannot be printed.`)
	case len(labels) > mostLabels:
		return bad("labels", fmt.Sprintf(`The field "labels" has %d labels; 16 are the most.`, len(labels)))
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		field := "labels." + key
		switch {
		case key == "":
			return bad("labels", `The field "labels" has a label without a name.`)
		case len(key) > longestLabel || !printable(key):
			return bad(field, "The label "+shown(key)+" should have a name of 63 bytes at most, all of them printable.")
		case len(labels[key]) > longestLabelValue || !printable(labels[key]):
			return bad(field, "The label "+shown(key)+" should have a value of 256 bytes at most, all of them printable.")
		}
	}
	return nil
}

func known(d verdict.Decision) bool {
	return d == verdict.Allow || d == verdict.Deny || d == verdict.Unknown
}

// decideProblem names the field that the engine found wrong. Its messages begin
// with the field's name.
func decideProblem(err error, req *verdictRequest) error {
	if !errors.Is(err, engine.ErrInvalid) {
		return err
	}
	detail := strings.TrimPrefix(err.Error(), engine.ErrInvalid.Error()+": ")
	p := &problem{code: codeInvalidField, cause: err}
	for _, field := range append([]string{"image", "platform"}, contextFields(req)...) {
		if rest, ok := strings.CutPrefix(detail, field+": "); ok {
			p.field, p.detail = field, fmt.Sprintf("The field %s is not right: %s.", shown(field), strings.TrimSuffix(rest, "."))
			return p
		}
	}
	p.detail = "The request is not right: " + strings.TrimSuffix(detail, ".") + "."
	return p
}

func contextFields(req *verdictRequest) []string {
	fields := make([]string, 0, len(req.Context))
	for k := range req.Context {
		fields = append(fields, "context."+k)
	}
	return fields
}

// locationOf reads the id from the front of a verdict, where the engine's
// encoder puts it; "" when it is not there.
func locationOf(body []byte) string {
	rest, ok := bytes.CutPrefix(body, []byte(`{"id":"`))
	if !ok || len(rest) <= idLength || rest[idLength] != '"' || !isID(string(rest[:idLength])) {
		return ""
	}
	return "/api/v1/verdicts/" + string(rest[:idLength])
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
	return reply{status: http.StatusOK, contentType: mediaJSON, body: body}, nil
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
