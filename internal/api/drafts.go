package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/facts"
)

// Workbench looks at policy bundles that are files in memory. Its errors wrap
// [ErrFiles], [ErrUnfit], [ErrInput] or [ErrTooMuch].
type Workbench interface {
	// Begin gives the author's files of a new bundle, Unpack those of an archive with
	// the files of its library that are another's; document is a signing policy whose
	// parameters it is tried with, "" for none.
	Begin() (map[string]string, error)
	Unpack(archive []byte, document string) (files map[string]string, replaced []string, err error)
	// Valid says whether files can be kept.
	Valid(files map[string]string) error
	Check(ctx context.Context, files map[string]string) (client.PolicyChecked, error)
	Test(ctx context.Context, files map[string]string) (client.PolicyTested, error)
	Evaluate(ctx context.Context, files map[string]string, document string, input []byte) (client.PolicyEvaluated, error)
	// Build gives an archive, Source the whole folder as one.
	Build(ctx context.Context, files map[string]string, sequence int64, revision string) ([]byte, error)
	Source(files map[string]string) ([]byte, error)
}

// What a [Workbench] refuses.
var (
	ErrFiles   = errors.New("not the files of a bundle")
	ErrUnfit   = errors.New("not fit to be published")
	ErrInput   = errors.New("not an input document")
	ErrTooMuch = errors.New("took too much")
)

const (
	draftExample    = `{"files": {".manifest": "…", "signing/rules/mine.rego": "package signing.rules.mine\n"}}`
	evaluateExample = `{"files": {".manifest": "…"}, "verdict": "01JZ0000000000000000000000"}`

	// mostWork is how many bundles are looked at by a server at a time, and
	// mostWaiting how many of a principal's may wait for their turn: typing asks often.
	mostWork    = 2
	mostWaiting = 4
	retryWork   = 2 * time.Second
)

// work are the places at the workbench.
type work struct {
	places chan struct{}
	mu     sync.Mutex
	by     map[string]int
}

func newWork() *work { return &work{places: make(chan struct{}, mostWork), by: map[string]int{}} }

// begin waits for a place.
func (w *work) begin(ctx context.Context, principal string) (end func(), refused error) {
	w.mu.Lock()
	if w.by[principal] >= mostWaiting {
		w.mu.Unlock()
		return nil, rateLimited(fmt.Sprintf("%d requests of yours to look at bundles are under way; wait for them.", mostWaiting), retryWork)
	}
	w.by[principal]++
	w.mu.Unlock()
	leave := func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.by[principal]--; w.by[principal] == 0 {
			delete(w.by, principal)
		}
	}
	select {
	case w.places <- struct{}{}:
		return func() { <-w.places; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, &problem{code: codeBusy, detail: "As many bundles are looked at as this server does at a time. Ask again in a moment.", retryAfter: int(retryWork.Seconds()), cause: ctx.Err()}
	}
}

// draftRoutes are the paths for bundles that are worked on.
func (s *Server) draftRoutes() []*route {
	if s.cfg.Workbench == nil {
		return nil
	}
	return []*route{
		{method: http.MethodGet, path: v1 + "/drafts", need: auth.Policy, query: []string{"limit", "cursor"}, serve: s.by(listOf(s.cfg.Administration.Drafts))},
		{method: http.MethodGet, path: v1 + "/drafts/:name", need: auth.Policy, query: []string{"begin"}, serve: s.by(s.getDraft)},
		{method: http.MethodPut, path: v1 + "/drafts/:name", need: auth.Policy, body: true, large: true, serve: byJSON(s, draftExample, s.putDraft)},
		{method: http.MethodDelete, path: v1 + "/drafts/:name", need: auth.Policy, serve: s.by(s.deleteDraft)},
		{method: http.MethodPost, path: v1 + "/drafts/check", need: auth.Policy, body: true, large: true, serve: byJSON(s, draftExample, s.checkDraft)},
		{method: http.MethodPost, path: v1 + "/drafts/test", need: auth.Policy, body: true, large: true, serve: byJSON(s, draftExample, s.testDraft)},
		{method: http.MethodPost, path: v1 + "/drafts/evaluate", need: auth.Policy, body: true, large: true, serve: byJSON(s, evaluateExample, s.evaluateDraft)},
		{method: http.MethodPost, path: v1 + "/drafts/build", need: auth.Policy, body: true, large: true, serve: byJSON(s, draftExample, s.buildDraft)},
	}
}

// getDraft gives what is kept, else what a draft of the bundle would begin with.
func (s *Server) getDraft(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	a, name := s.cfg.Administration, c.echo.Param("name")
	q := paramsOf(c)
	begin := q.flag("begin")
	if err := q.problem(); err != nil {
		return reply{}, err
	}
	got, err := a.Draft(ctx, by, name)
	if !errors.Is(err, administration.ErrNotFound) {
		return versioned(http.StatusOK, got, got.Version, err)
	}
	none := err
	owner, err := a.MayDraft(ctx, by, name)
	if err != nil {
		return reply{}, err
	}
	got = client.Draft{Name: name, Owner: owner, Replaced: []string{}}
	bundle, err := a.Bundle(ctx, by, name)
	switch {
	case err == nil && bundle.Digest != "":
		err = s.unpack(ctx, by, bundle, &got)
	case (err == nil || errors.Is(err, administration.ErrNotFound)) && isTrue(begin):
		got.Files, err = s.cfg.Workbench.Begin()
	case err == nil:
		err = none
	}
	return jsonOf(http.StatusOK, got, ofWork(err))
}

// unpack begins a draft with the archive that is in force.
func (s *Server) unpack(ctx context.Context, by administration.Caller, bundle client.Bundle, d *client.Draft) error {
	archive, err := s.cfg.Administration.BundleArchive(ctx, by, bundle.Name)
	if err != nil {
		return err
	}
	document := ""
	if len(bundle.Policies) > 0 {
		p, err := s.cfg.Administration.Policy(ctx, by, bundle.Policies[0])
		if err != nil && !errors.Is(err, administration.ErrNotFound) {
			return err
		}
		document = p.SigningPolicy
	}
	files, replaced, err := s.cfg.Workbench.Unpack(archive, document)
	if err != nil {
		return err
	}
	d.Files, d.Base = files, bundle.Digest
	if replaced != nil {
		d.Replaced = replaced
	}
	return nil
}

func (s *Server) putDraft(ctx context.Context, c *call, by administration.Caller, req *client.PutDraft) (reply, error) {
	name := c.echo.Param("name")
	version, isNew, err := putVersion(c.echo.Request().Header)
	if err != nil {
		return reply{}, err
	}
	if err := s.validFiles(req.Files); err != nil {
		return reply{}, err
	}
	got, err := s.cfg.Administration.PutDraft(ctx, by, name, *req, version)
	if err != nil {
		return reply{}, putProblem(err, version, isNew, func() bool {
			_, err := s.cfg.Administration.Draft(ctx, by, name)
			return err == nil
		})
	}
	return putReply(c, version, name, got, got.Version)
}

func (s *Server) validFiles(files map[string]string) error {
	if len(files) == 0 {
		return invalidFields([]fieldProblem{{"files", "They are missing. Send the files of a bundle, each a text by its name."}})
	}
	return ofWork(s.cfg.Workbench.Valid(files))
}

func (s *Server) deleteDraft(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	version, err := needIfMatch(c.echo.Request().Header)
	if err != nil {
		return reply{}, err
	}
	return noContent(s.cfg.Administration.DeleteDraft(ctx, by, c.echo.Param("name"), version))
}

// atBench does a piece of work when there is a place for it.
func atBench[T any](ctx context.Context, s *Server, c *call, files map[string]string, do func(context.Context) (T, error)) (T, error) {
	var none T
	if err := s.validFiles(files); err != nil {
		return none, err
	}
	end, refused := s.work.begin(ctx, c.principal.Name)
	if refused != nil {
		return none, refused
	}
	defer end()
	out, err := do(ctx)
	return out, ofWork(err)
}

func (s *Server) checkDraft(ctx context.Context, c *call, _ administration.Caller, req *client.PolicyFiles) (reply, error) {
	got, err := atBench(ctx, s, c, req.Files, func(ctx context.Context) (client.PolicyChecked, error) { return s.cfg.Workbench.Check(ctx, req.Files) })
	return jsonOf(http.StatusOK, got, err)
}

func (s *Server) testDraft(ctx context.Context, c *call, _ administration.Caller, req *client.PolicyFiles) (reply, error) {
	got, err := atBench(ctx, s, c, req.Files, func(ctx context.Context) (client.PolicyTested, error) { return s.cfg.Workbench.Test(ctx, req.Files) })
	return jsonOf(http.StatusOK, got, err)
}

// evaluateDraft asks about the input of a verdict that the caller may see, or one
// that is given.
func (s *Server) evaluateDraft(ctx context.Context, c *call, _ administration.Caller, req *client.EvaluatePolicy) (reply, error) {
	input := []byte(req.Input)
	switch given := len(input) > 0 && string(input) != "null"; {
	case given && (req.Verdict != "" || req.Policy != ""):
		return reply{}, invalidFields([]fieldProblem{{"input", "It does not go with verdict and policy, which name one that is kept. Send either."}})
	case given:
	case req.Verdict == "":
		return reply{}, invalidFields([]fieldProblem{{"verdict", "It is missing. Name a verdict whose input is to be looked at, or send input."}})
	default:
		var err error
		if input, err = s.keptInput(ctx, c, req.Verdict, req.Policy); err != nil {
			return reply{}, err
		}
	}
	got, err := atBench(ctx, s, c, req.Files, func(ctx context.Context) (client.PolicyEvaluated, error) {
		return s.cfg.Workbench.Evaluate(ctx, req.Files, req.SigningPolicy, input)
	})
	return jsonOf(http.StatusOK, got, err)
}

// keptInput is the document that a policy read for a verdict.
func (s *Server) keptInput(ctx context.Context, c *call, id, policy string) ([]byte, error) {
	ofBody := func(err error) error { // it is not in the path here
		var p *problem
		if errors.As(err, &p) {
			at := *p
			at.field = map[string]string{"id": "verdict", "query.policy": "policy"}[p.field]
			return &at
		}
		return err
	}
	if !isID(id) {
		return nil, ofBody(verdictNotFound(id))
	}
	if _, err := s.stored(ctx, c, id); err != nil {
		return nil, ofBody(err)
	}
	f, frames, err := s.cfg.Verdicts.Basis(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil, ofBody(verdictNotFound(id))
	}
	if err != nil {
		return nil, fmt.Errorf("reading what verdict %s was decided on: %w", id, err)
	}
	frame, err := choose(frames, policy, policy != "")
	if err != nil {
		return nil, ofBody(err)
	}
	return encode(facts.NewInput(f, frame))
}

func (s *Server) buildDraft(ctx context.Context, c *call, _ administration.Caller, req *client.BuildPolicy) (reply, error) {
	if req.Sequence < 0 {
		return reply{}, invalidFields([]fieldProblem{{"sequence", "It is below 1; every release has a higher one, from 1 on."}})
	}
	archive, err := atBench(ctx, s, c, req.Files, func(ctx context.Context) ([]byte, error) {
		if req.Source {
			return s.cfg.Workbench.Source(req.Files)
		}
		return s.cfg.Workbench.Build(ctx, req.Files, req.Sequence, req.Revision)
	})
	return reply{status: http.StatusOK, contentType: mediaGzip, body: archive}, err
}

// ofWork says in the API's words what a workbench refuses.
func ofWork(err error) error {
	for _, known := range []struct {
		err   error
		field string
	}{{ErrFiles, "files"}, {ErrUnfit, "files"}, {ErrTooMuch, "files"}, {ErrInput, "input"}} {
		if err != nil && errors.Is(err, known.err) {
			text := err.Error()
			if known.err != ErrTooMuch { //nolint:errorlint // it is one of ours
				text = strings.TrimPrefix(text, known.err.Error()+": ")
			}
			return invalidFields([]fieldProblem{{known.field, sentence(text)}})
		}
	}
	return err
}
