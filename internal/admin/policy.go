package admin

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/verdict"
)

// registered are the registered signers that a policy counts: those of names, or
// all of them.
func registered(document string) (names []string, all bool) {
	p, err := signingpolicy.Parse([]byte(document))
	if err != nil || !p.UseRegistered {
		return nil, false
	}
	return p.RegisteredNames, len(p.RegisteredNames) == 0
}

// policiesPage is the list of policies in force.
type policiesPage struct {
	Policies   []client.Policy
	Bundles    map[string]client.Bundle
	Exceptions []endingException
	Drafts     map[string]client.DraftSummary
	// Names are those of bundles and drafts.
	Names []string
	Now   time.Time
}

// endingException is one of any policy; those that end soon come first.
type endingException struct {
	client.Exception
	Policy string
	Ended  bool
}

// EndsAt is for comparing.
func (e endingException) EndsAt() *time.Time { return &e.ExpiresAt }

func listPolicies(v *view) error {
	ctx := v.Request().Context()
	p := policiesPage{Bundles: map[string]client.Bundle{}, Now: v.page.cfg.Now()}
	for policy, err := range v.api.AllPolicies(ctx) {
		if err != nil {
			return err
		}
		p.Policies = append(p.Policies, policy)
		for _, e := range policy.Exceptions {
			p.Exceptions = append(p.Exceptions, endingException{e, policy.Name, !p.Now.Before(e.ExpiresAt)})
		}
	}
	for b, err := range v.api.AllBundles(ctx) {
		if err != nil {
			return err
		}
		p.Bundles[b.Name] = b
	}
	if p.Drafts = map[string]client.DraftSummary{}; v.who.MayPolicy() {
		for d, err := range v.api.AllDrafts(ctx) {
			if err != nil {
				return err
			}
			p.Drafts[d.Name] = d
		}
	}
	all := map[string]bool{}
	for name := range p.Bundles {
		all[name] = true
	}
	for name := range p.Drafts {
		all[name] = true
	}
	p.Names = slices.Sorted(maps.Keys(all))
	slices.SortFunc(p.Exceptions, func(a, b endingException) int {
		if a.Ended != b.Ended { // what has ended is of the least interest
			if a.Ended {
				return 1
			}
			return -1
		}
		return a.ExpiresAt.Compare(b.ExpiresAt)
	})
	return v.render(http.StatusOK, "policies", "policy", "Policy", p)
}

// policyPage is one policy.
type policyPage struct {
	Policy client.Policy
	Bundle *client.Bundle
	Shadow *client.ShadowReport
	Mine   bool
	Now    time.Time
	// Exception is the form for a new one, with what is wrong with it.
	Exception exceptionForm
}

// exceptionForm is a new exception as it was typed.
type exceptionForm struct {
	Images, Codes, Reason, Owner, Expires, Zone string
	Zones                                       []string
	Mistakes                                    mistakes
}

// Ended says whether an exception waives nothing any more.
func (p policyPage) Ended(e client.Exception) bool { return !p.Now.Before(e.ExpiresAt) }

// Configured says whether it changes only in the servers' configuration.
func (p policyPage) Configured() bool { return p.Policy.Source == "configuration" }

func showPolicy(v *view) error {
	return v.policyPage(http.StatusOK, exceptionForm{})
}

func (v *view) policyPage(status int, e exceptionForm) error {
	ctx := v.Request().Context()
	policy, err := v.api.Policy(ctx, v.Param("name"))
	if err != nil {
		return err
	}
	e.Zones = zones()
	if e.Owner == "" {
		e.Owner = v.who.Team
	}
	p := policyPage{Policy: policy, Mine: v.mayWrite(policy.Owner), Now: v.page.cfg.Now(), Exception: e}
	if policy.Bundle != "" {
		if b, err := v.api.Bundle(ctx, policy.Bundle); err == nil {
			p.Bundle = &b
		}
	}
	if policy.Mode == "shadow" {
		if s, err := v.api.Shadow(ctx, policy.Name, 10, ""); err == nil {
			p.Shadow = &s
		}
	}
	return v.render(status, "policy", "policy", policy.Name, p)
}

func (v *view) mayWrite(owner string) bool {
	return v.who.MayPolicy() && (v.who.Team == "" || v.who.Team == owner)
}

// editorPage is the form of a policy beside its YAML.
type editorPage struct {
	Name, Document, Owner, Why string
	Version                    int64
	New                        bool
	Form                       policyForm
	// Mistakes are those of the document, each with its line.
	Mistakes []string
	Signers  []string
	Modes    []string
}

// policyForm are the parameters that the form has. What else the document says
// stays as it is.
type policyForm struct {
	Mode, Threshold, Images, Sources, Registered, Names, ShadowOf string
	RequireSignature, VerifyLog                                   bool
	Inline                                                        int
	// Readable is false while the document cannot be read.
	Readable bool
}

func formOf(p *signingpolicy.Policy) policyForm {
	f := policyForm{
		Mode: string(p.Mode), Threshold: strconv.Itoa(p.Threshold), Images: strings.Join(p.Images, "\n"), Sources: strings.Join(p.TrustedSources, "\n"),
		Registered: "none", Names: strings.Join(p.RegisteredNames, "\n"), ShadowOf: p.ShadowOf, RequireSignature: p.RequireSignature,
		VerifyLog: p.VerifyTransparencyLog, Inline: len(p.Inline), Readable: true,
	}
	switch {
	case p.UseRegistered && len(p.RegisteredNames) > 0:
		f.Registered = "names"
	case p.UseRegistered:
		f.Registered = "all"
	}
	return f
}

// apply puts what the form says into a policy.
func (f policyForm) apply(p *signingpolicy.Policy) string {
	n, err := strconv.Atoi(f.Threshold)
	if err != nil {
		return "threshold: write a whole number, 1 or more."
	}
	p.Mode, p.Threshold, p.RequireSignature, p.VerifyTransparencyLog = verdict.Mode(f.Mode), n, f.RequireSignature, f.VerifyLog
	p.Images, p.TrustedSources, p.ShadowOf = listOf(f.Images), listOf(f.Sources), ""
	if f.Mode == string(verdict.Shadow) {
		p.ShadowOf = f.ShadowOf
	}
	p.UseRegistered, p.RegisteredNames = f.Registered != "none", nil
	if f.Registered == "names" {
		if p.RegisteredNames = listOf(f.Names); len(p.RegisteredNames) == 0 {
			return "trusted signers: name at least one registered signer, or take all of them."
		}
	}
	return ""
}

func (v *view) readPolicyForm() policyForm {
	return policyForm{
		Mode: v.FormValue("mode"), Threshold: strings.TrimSpace(v.FormValue("threshold")), Images: v.FormValue("images"), Sources: v.FormValue("sources"),
		Registered: v.FormValue("registered"), Names: v.FormValue("names"), ShadowOf: strings.TrimSpace(v.FormValue("shadow_of")),
		RequireSignature: v.FormValue("require_signature") == "on", VerifyLog: v.FormValue("verify_transparency_log") == "on", Readable: true,
	}
}

func policyModes() []string {
	return []string{string(verdict.Enforce), string(verdict.Audit), string(verdict.Shadow), string(verdict.Disabled)}
}

func (v *view) editor(status int, e editorPage) error {
	e.Modes = policyModes()
	return v.render(status, "policyedit", "policy", "Edit "+e.Name, e)
}

// newPolicy leads to the editor of a policy that is not there yet.
func newPolicy(v *view) error {
	name := strings.TrimSpace(v.QueryParam("name"))
	if !signingpolicy.IsName(name) {
		return &client.Problem{Status: http.StatusUnprocessableEntity, Detail: "A policy's name is at most 63 lower-case letters, digits and dashes."}
	}
	return v.Redirect(http.StatusSeeOther, v.base+"/policy/"+url.PathEscape(name)+"/edit?new=1")
}

func editPolicy(v *view) error {
	name := v.Param("name")
	policy, err := v.api.Policy(v.Request().Context(), name)
	e := editorPage{Name: name, Document: policy.SigningPolicy, Owner: policy.Owner, Version: policy.Version}
	switch {
	case client.IsNotFound(err) && v.QueryParam("new") == "1" && signingpolicy.IsName(name):
		p := signingpolicy.Default()
		p.Name = name
		body, err := p.Canonical()
		if err != nil {
			return err
		}
		e.Document, e.New, e.Owner = string(body), true, v.who.Team
	case err != nil:
		return err
	}
	e.read()
	return v.editor(http.StatusOK, e)
}

// read makes the form of the document, or its mistakes.
func (e *editorPage) read() {
	p, err := signingpolicy.ParseAs(e.Name, []byte(e.Document))
	if err != nil {
		e.Mistakes, e.Form = linesOf(err), policyForm{}
		return
	}
	e.Mistakes, e.Form = nil, formOf(p)
}

func linesOf(err error) []string {
	var out []string
	for line := range strings.SplitSeq(strings.TrimPrefix(err.Error(), signingpolicy.ErrInvalid.Error()+": "), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

func (v *view) readEditor() editorPage {
	version, _ := strconv.ParseInt(v.FormValue("version"), 10, 64) // 0 is none
	return editorPage{
		Name: v.Param("name"), Document: strings.ReplaceAll(v.FormValue("document"), "\r\n", "\n"), Owner: strings.TrimSpace(v.FormValue("owner")),
		Why: strings.TrimSpace(v.FormValue("why")), Version: version, New: version == 0, Modes: policyModes(),
	}
}

// formPolicy makes the one side of the editor anew from the other: from=form the
// YAML, from=yaml the form.
func formPolicy(v *view) error {
	e := v.readEditor()
	e.read()
	if v.QueryParam("from") == "form" && len(e.Mistakes) == 0 {
		e.Mistakes = e.applied(v.readPolicyForm())
	}
	return v.part(http.StatusOK, "policyedit", "sides", e)
}

// applied puts a form into the document; it returns what is wrong with the form.
func (e *editorPage) applied(f policyForm) []string {
	p, err := signingpolicy.ParseAs(e.Name, []byte(e.Document))
	if err != nil {
		return linesOf(err)
	}
	f.Inline = len(p.Inline)
	e.Form = f
	if problem := f.apply(p); problem != "" {
		return []string{problem}
	}
	body, err := p.Canonical()
	if err != nil {
		return []string{err.Error()}
	}
	e.Document = string(body)
	if _, err := signingpolicy.ParseAs(e.Name, body); err != nil {
		return linesOf(err)
	}
	return nil
}

func savePolicy(v *view) error {
	ctx := v.Request().Context()
	e := v.readEditor()
	if v.FormValue("use") == "form" { // without a script the form is not in the YAML yet
		e.read()
		if len(e.Mistakes) == 0 {
			e.Mistakes = e.applied(v.readPolicyForm())
		}
		if len(e.Mistakes) > 0 {
			return v.editor(http.StatusUnprocessableEntity, e)
		}
	}
	var version *int64
	if !e.New {
		version = &e.Version
	}
	saved, err := v.api.WithWhy(e.Why).PutPolicy(ctx, e.Name, e.Owner, []byte(e.Document), version)
	if err == nil {
		done := "policy-saved"
		if version != nil && saved.Version == *version {
			done = "policy-unchanged"
		}
		return v.to("/policy/"+url.PathEscape(e.Name), done)
	}
	m, ok := mistakesOf(err, "")
	if !ok {
		return err
	}
	e.read()
	e.Mistakes = m.Other
	return v.editor(http.StatusUnprocessableEntity, e)
}

func previewPolicy(v *view) error {
	e := v.readEditor()
	return v.part(http.StatusOK, "change", "flips", v.flips(client.Operation{Op: client.OpPutPolicy, Name: e.Name, Owner: e.Owner, SigningPolicy: e.Document}))
}

func addException(v *view) error {
	name := v.Param("name")
	f := exceptionForm{
		Images: v.FormValue("images"), Codes: v.FormValue("codes"), Reason: strings.TrimSpace(v.FormValue("reason")), Owner: strings.TrimSpace(v.FormValue("owner")),
		Expires: v.FormValue("expires_at"), Zone: v.FormValue("zone"),
	}
	ends, problem := formTime(f.Expires, f.Zone)
	if ends == nil && problem == "" {
		problem = "Say when it ends; an exception without an end is a policy."
	}
	if problem != "" {
		f.Mistakes.add("expires_at", problem)
		return v.policyPage(http.StatusUnprocessableEntity, f)
	}
	version, _ := strconv.ParseInt(v.FormValue("version"), 10, 64) // 0 is never current
	_, err := v.api.WithWhy(f.Reason).AddException(v.Request().Context(), name, client.NewException{
		Images: listOf(f.Images), Codes: listOf(f.Codes), Reason: f.Reason, Owner: f.Owner, ExpiresAt: *ends,
	}, version)
	if err == nil {
		return v.to("/policy/"+url.PathEscape(name), "exception-added")
	}
	m, ok := mistakesOf(err, "", "images", "codes", "reason", "owner", "expires_at")
	if !ok {
		return err
	}
	f.Mistakes = m
	return v.policyPage(http.StatusUnprocessableEntity, f)
}

func removeException(v *view) error {
	name := v.Param("name")
	version, _ := strconv.ParseInt(v.FormValue("version"), 10, 64) // 0 is never current
	place, _ := strconv.Atoi(v.FormValue("place"))                 // 0 is none
	if _, err := v.api.RemoveException(v.Request().Context(), name, place, version); err != nil {
		return err
	}
	return v.to("/policy/"+url.PathEscape(name), "exception-removed")
}
