package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
)

// verifyPage is the form, and below it the stages or the verdict.
type verifyPage struct {
	Image, Platform string
	Refresh         bool
	Problem         string
	Shown           *shownVerdict
}

func showVerify(v *view) error {
	image := v.QueryParam("image")
	return v.render(http.StatusOK, "verify", "verify", "Verify", verifyPage{Image: image})
}

func (v *view) verdictRequest() client.VerdictRequest {
	return client.VerdictRequest{
		Image: strings.TrimSpace(v.FormValue("image")), Platform: strings.TrimSpace(v.FormValue("platform")), Refresh: v.FormValue("refresh") == "on",
	}
}

// postVerify is for browsers without a script: it answers when the verdict is there.
func postVerify(v *view) error {
	req := v.verdictRequest()
	p := verifyPage{Image: req.Image, Platform: req.Platform, Refresh: req.Refresh}
	verdict, problem, err := v.ask(v.Request().Context(), req)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if p.Problem = problem; problem != "" {
		status = http.StatusUnprocessableEntity
	} else {
		p.Shown = v.shown(v.Request().Context(), verdict)
	}
	return v.render(status, "verify", "verify", "Verify", p)
}

// ask gives a verdict, or what is wrong with the question.
func (v *view) ask(ctx context.Context, req client.VerdictRequest) (verdict client.Verdict, problem string, err error) {
	if req.Image == "" {
		return client.Verdict{}, "Name an image, like ghcr.io/org/app:v1.", nil
	}
	verdict, err = v.api.Verify(ctx, req)
	if err != nil {
		if problem = mistake(err); problem != "" {
			return client.Verdict{}, problem, nil
		}
	}
	return verdict, "", err
}

// stageShown is one stage on its way.
type stageShown struct{ Name, Label, What, State string }

func stages(reached engine.Stage, all bool) []stageShown {
	list := []stageShown{
		{Name: string(engine.StageResolve), Label: "Resolve", What: "Which digest is it?"},
		{Name: string(engine.StageCollect), Label: "Collect", What: "Which evidence is there?"},
		{Name: string(engine.StageVerify), Label: "Verify", What: "What does it prove?"},
		{Name: string(engine.StageDecide), Label: "Decide", What: "Is that enough?"},
	}
	at := slices.IndexFunc(list, func(s stageShown) bool { return s.Name == string(reached) })
	for i := range list {
		switch {
		case all || i < at:
			list[i].State = "done"
		case i == at:
			list[i].State = "now"
		}
	}
	return list
}

// streamVerify tells of each stage as it begins, and ends with the verdict, as
// server-sent events whose data is HTML of ours.
func streamVerify(v *view) error {
	req := v.verdictRequest()
	r := v.Request()
	if req.Image == "" {
		return v.part(http.StatusUnprocessableEntity, "verify", "refused", "Name an image, like ghcr.io/org/app:v1.")
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	begun := make(chan engine.Stage, 8) // there are four
	type answer struct {
		verdict client.Verdict
		problem string
		err     error
	}
	answered := make(chan answer, 1)
	go func() {
		defer func() {
			if x := recover(); x != nil {
				answered <- answer{err: fmt.Errorf("panic: %v", x)}
			}
		}()
		verdict, problem, err := v.ask(engine.WithProgress(ctx, func(s engine.Stage) {
			select {
			case begun <- s:
			default:
			}
		}), req)
		answered <- answer{verdict, problem, err}
	}()
	w := v.Response()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep the stages until the end
	w.WriteHeader(http.StatusOK)
	if err := v.event("stages", "stages", stages("", false)); err != nil {
		return err
	}
	for {
		select {
		case s := <-begun:
			if err := v.event("stages", "stages", stages(s, false)); err != nil {
				return err
			}
		case a := <-answered:
			switch {
			case a.err != nil:
				v.page.cfg.Log.ErrorContext(ctx, "a verdict for the page failed", "error", a.err.Error())
				return v.event("verdict", "refused", "Something went wrong inside Signet, so there is no verdict. Ask again; the operator finds the cause in the server's log.")
			case a.problem != "":
				return v.event("verdict", "refused", a.problem)
			}
			return v.event("verdict", "answered", v.shown(ctx, a.verdict))
		case <-ctx.Done():
			return nil
		}
	}
}

// eventTime bounds one write to a browser that does not read.
const eventTime = 30 * time.Second

// event writes one event with a template of the tab as its data.
func (v *view) event(name, part string, body any) error {
	html, err := v.html("verify", part, frame{Who: v.who, Base: v.base, CSRF: v.csrf, Body: body})
	if err != nil {
		return err
	}
	var out bytes.Buffer
	out.WriteString("event: " + name + "\n")
	for line := range bytes.Lines(html) {
		out.WriteString("data: ")
		out.Write(bytes.TrimRight(line, "\r\n"))
		out.WriteByte('\n')
	}
	out.WriteByte('\n')
	rc := http.NewResponseController(v.Response())
	_ = rc.SetWriteDeadline(time.Now().Add(eventTime)) // where there are no deadlines there is nothing to move
	if _, err := v.Response().Write(out.Bytes()); err != nil {
		return nil //nolint:nilerr // the browser is gone: nobody to tell
	}
	v.Response().Flush()
	return nil
}

// shownVerdict is a verdict with the evidence that it was decided on.
type shownVerdict struct {
	client.Verdict
	Cards      []card
	Rejections []facts.Rejection
	Search     facts.Search
	HasInput   bool
	// Policy is whose document the cards are of.
	Policy string
	JSON   string
}

// Headline says it in one sentence.
func (s shownVerdict) Headline() string {
	switch {
	case s.Decision == client.Allow:
		return "This image may run"
	case s.Allowed:
		return "No policy that enforces is against this image"
	case s.Decision == client.Deny:
		return "This image may not run"
	}
	return "It could not be found out whether this image may run"
}

// card is one signature or attestation.
type card struct {
	Kind, ID, Format, Predicate string
	Issuer, Subject             string
	Fingerprint, Algorithm      string
	Claims                      map[string]string
	SignedAt                    *time.Time
	TrustRoot                   string
	Transparency                []facts.LogEntry
	Timestamps                  []facts.Timestamp
	Trusted                     []string
	Builder                     string
	SourceURI, SourceRef        string
	// Stranger says that nobody whom we trust has signed it.
	Stranger bool
	Chain    []link
}

// link is one place of the chain from the image to what vouches for it.
type link struct {
	What, Value string
	Missing     bool
}

func (v *view) shown(ctx context.Context, verdict client.Verdict) *shownVerdict {
	s := &shownVerdict{Verdict: verdict}
	var pretty bytes.Buffer
	if json.Indent(&pretty, verdict.Raw, "", "  ") == nil {
		s.JSON = pretty.String()
	}
	if len(verdict.Policies) == 0 || verdict.ID == "" || !v.who.MayRead() {
		return s
	}
	s.Policy = verdict.Policies[0].Name
	for _, p := range verdict.Policies {
		if p.Decision != client.Allow {
			s.Policy = p.Name
			break
		}
	}
	body, err := v.api.VerdictInput(ctx, verdict.ID, s.Policy)
	if err != nil { // an unknown verdict is not recorded: there are no cards then
		return s
	}
	var in facts.Input
	if json.Unmarshal(body, &in) != nil {
		return s
	}
	s.HasInput, s.Rejections, s.Search = true, in.Rejections, in.Search
	for _, sig := range in.Signatures {
		s.Cards = append(s.Cards, cardOf("Signature", sig.Signature, sig.TrustedSigners))
	}
	for _, a := range in.Attestations {
		c := cardOf("Attestation", a.Signature, a.TrustedSigners)
		c.Predicate = a.PredicateType
		if a.BuilderProfile != nil {
			c.Builder, c.Stranger = *a.BuilderProfile, false
		}
		if a.Provenance != nil {
			c.SourceURI, c.SourceRef = a.Provenance.Source.URI, a.Provenance.Source.Ref
		}
		s.Cards = append(s.Cards, c)
	}
	for i := range s.Cards {
		s.Cards[i].Chain = chainOf(verdict, s.Cards[i])
	}
	return s
}

func cardOf(kind string, s facts.Signature, trusted []string) card {
	return card{
		Kind: kind, ID: s.ID, Format: s.Format, Issuer: s.Signer.Issuer, Subject: s.Signer.Subject, Fingerprint: s.Signer.Fingerprint,
		Algorithm: s.Signer.Algorithm, Claims: s.Signer.Claims, SignedAt: s.SignedAt, TrustRoot: s.TrustRoot, Transparency: s.Transparency,
		Timestamps: s.Timestamps, Trusted: trusted, Stranger: len(trusted) == 0,
	}
}

// chainOf is what leads from the image to those who vouch for its signer.
func chainOf(v client.Verdict, c card) []link {
	out := []link{{What: "Image", Value: short(v.Digest)}, {What: c.Kind, Value: lastPart(c.Predicate, c.Format)}}
	if c.Subject != "" {
		out = append(out, link{What: "Certificate", Value: c.Subject}, link{What: "Authority", Value: "of trust root " + c.TrustRoot})
	} else {
		out = append(out, link{What: "Public key", Value: short(c.Fingerprint)})
	}
	if len(c.Transparency) > 0 {
		t := c.Transparency[0]
		out = append(out, link{What: "Transparency log", Value: fmt.Sprintf("%s #%d", t.Log, t.Index)})
	} else {
		out = append(out, link{What: "Transparency log", Value: "no entry", Missing: true})
	}
	return out
}

func lastPart(predicate, format string) string {
	if predicate == "" {
		return format
	}
	return strings.TrimPrefix(strings.TrimPrefix(predicate, "https://"), "http://")
}
