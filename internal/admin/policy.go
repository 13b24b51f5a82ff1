package admin

import (
	"bytes"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/signingpolicy"
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

// MayDraft says whether a person may work on the bundle of a name, which is its owner's, or
// that of its first draft.
func (p policiesPage) MayDraft(who visitor, name string) bool {
	if b, there := p.Bundles[name]; there {
		return who.MayDraft(b.Owner)
	}
	return who.MayDraft(p.Drafts[name].Owner)
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

// showPolicy shows of a policy that was removed what it was.
func showPolicy(v *view) error {
	err := v.policyPage(http.StatusOK, exceptionForm{})
	if client.IsNotFound(err) {
		return policyHistory(v)
	}
	return err
}

func (v *view) policyPage(status int, e exceptionForm) error {
	ctx := v.Request().Context()
	policy, err := v.api.Policy(ctx, v.Param("name"))
	if err != nil {
		return err
	}
	e.Zones = zones()
	if e.Zone != "" {
		e.Zones = zonesWith(e.Zone)
	}
	if e.Owner == "" {
		e.Owner = v.who.Team
	}
	p := policyPage{Policy: policy, Mine: v.who.MayWrite(policy.Owner, policy.Images), Now: v.page.cfg.Now(), Exception: e}
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

// editorPage is the form of a policy beside its YAML.
type editorPage struct {
	Name, Document, Owner, Why string
	Version                    int64
	New                        bool
	// Unsaved says that what stands here was sent, and is not saved.
	Unsaved bool
	// Form are the values of the form's fields; nil while the document cannot be read.
	Form signingpolicy.Form
	// Mistakes are those of the document, each with its line; Wrong those of the form,
	// by the paths of its fields.
	Mistakes []string
	Wrong    map[string]string
	// Note is what else is to be known of the form.
	Note string
	// Focus says that what is wrong has the focus: nobody is in another field meanwhile.
	Focus bool
	// was is [editorPage.Beside] of the YAML that the form was made of, where it is
	// another one than stands beside it.
	was string
}

// Fields are those of the form, with what they have.
func (e editorPage) Fields() []formField {
	if e.Form == nil {
		return nil
	}
	return e.fields("", signingpolicy.FormFields())
}

// formField is one field with its value.
type formField struct {
	signingpolicy.Field
	// Path names it in the form, and ID in the page.
	Path, ID, Value, Wrong string
	// Inside are the fields of a part, Parts those of each part of a list.
	Inside []formField
	Parts  [][]formField
	// Open says that something is said in it, or is wrong.
	Open bool
	// focus is [editorPage.Focus].
	focus bool
}

// Mistake is what is wrong with it; nil for nothing.
func (f formField) Mistake() *wrongField {
	return mistakes{By: map[string]string{f.ID: f.Wrong}}.At(f.ID)
}

// Marks are those of [mistakes.Marks]. What folds a part or a list is marked in place of
// a field; it has no value that could be invalid.
func (f formField) Marks() template.HTMLAttr {
	wrong, help := "", []string{}
	if f.Kind != signingpolicy.FieldList && (f.Kind != signingpolicy.FieldPart || f.Optional) {
		wrong = ` aria-invalid="true"`
	}
	if f.focus {
		wrong += " autofocus"
	}
	if f.Help != "" {
		help = append(help, f.ID+"-help")
	}
	return marks(f.Mistake(), wrong, help...)
}

// Rows is how many lines a field shows.
func (f formField) Rows() int { return min(max(2, strings.Count(f.Value, "\n")+1), 12) }

// Chosen says whether a choice is taken.
func (f formField) Chosen(choice string) bool { return f.Value == choice }

// On says whether a box is ticked.
func (f formField) On() bool { return f.Value == "on" || f.Value == "true" }

// At is the path of a list's part.
func (f formField) At(i int) string { return fmt.Sprintf("%s[%d]", f.Path, i) }

func (e editorPage) fields(at string, list []signingpolicy.Field) []formField {
	out := make([]formField, 0, len(list))
	for _, field := range list {
		path := field.Name
		if at != "" {
			path = at + "." + path
		}
		one := formField{Field: field, Path: path, ID: strings.NewReplacer(".", "-", "[", "-", "]", "").Replace(path), Value: e.Form[path], Wrong: e.Wrong[path], focus: e.Focus}
		if field.For != "" && one.Value == "" && one.Wrong == "" && !slices.Contains(strings.Fields(field.For), e.Form[at+".type"]) {
			continue // it would say nothing of this type
		}
		switch field.Kind {
		case signingpolicy.FieldPart:
			one.Inside = e.fields(path, field.Fields)
			one.Open = one.On() || one.Wrong != ""
		case signingpolicy.FieldList:
			count, _ := strconv.Atoi(one.Value) // 0 has none
			for i := range count {
				one.Parts = append(one.Parts, e.fields(one.At(i), field.Fields))
			}
			one.Open = count > 0 || one.Wrong != ""
		default:
			one.Open = one.Value != "" || one.Wrong != ""
		}
		for _, in := range one.Inside {
			one.Open = one.Open || in.Wrong != "" || in.Open && in.Kind != signingpolicy.FieldFlag
		}
		out = append(out, one)
	}
	return out
}

// clippedWhy is a reason as the audit log takes one: a line of 500 bytes at most.
func clippedWhy(reason string) string {
	line := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, reason)
	const most = 500
	for len(line) > most {
		_, n := utf8.DecodeLastRuneInString(line)
		line = line[:len(line)-n]
	}
	return line
}

// formPrefix begins the names of the form's fields in a request.
const formPrefix = "p."

// readPolicyForm reads the values of the form; a box that is not ticked is not sent.
func (v *view) readPolicyForm() signingpolicy.Form {
	f := signingpolicy.Form{}
	for name, values := range v.Request().PostForm {
		if path, ok := strings.CutPrefix(name, formPrefix); ok && len(values) > 0 {
			f[path] = strings.ReplaceAll(values[0], "\r\n", "\n")
		}
	}
	if path, ok := strings.CutPrefix(v.FormValue("change"), "add:"); ok {
		f.With(path)
	}
	if path, ok := strings.CutPrefix(v.FormValue("change"), "remove:"); ok {
		f.Without(path)
	}
	return f
}

func (v *view) editor(status int, e editorPage) error {
	e.Unsaved, e.Focus = v.Request().Method == http.MethodPost, status == http.StatusUnprocessableEntity
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
	e.Wrong = map[string]string{}
	p, err := signingpolicy.ParseAs(e.Name, []byte(e.Document))
	if err == nil {
		e.Form, err = signingpolicy.FormOf(p)
	}
	if err != nil {
		e.Mistakes, e.Form = linesOf(err), nil
		return
	}
	e.Mistakes = nil
}

// take puts a form into the document. Where something is wrong with it, the form stays
// as it was filled in, and what is wrong stands at its fields.
func (e *editorPage) take(f signingpolicy.Form) {
	document, wrong := signingpolicy.FromForm(e.Name, f)
	e.Form, e.Mistakes, e.Wrong = f, nil, map[string]string{}
	if f.TooLong() {
		e.Form = nil
	}
	for _, m := range wrong {
		if m.Path == "" {
			e.Mistakes = append(e.Mistakes, m.Problem)
			continue
		}
		e.Wrong[m.Path] = strings.TrimPrefix(e.Wrong[m.Path]+"; "+m.Problem, "; ")
	}
	if document != nil {
		e.Document = string(document)
	}
	if len(wrong) > 0 {
		return
	}
	e.read()
	for path, value := range f { // a part that asks for nothing yet is not in the document, and is about to be filled in
		if _, there := e.Form[path]; !there && value == "on" && e.Form != nil {
			e.Form[path] = value
		}
	}
}

// Beside tells the YAML that the form stands beside from one that was changed since.
func (e editorPage) Beside() string {
	if e.was != "" {
		return e.was
	}
	return digestOf(strings.TrimSpace(e.Document))
}

// mayReplace says whether the form may take the place of the YAML: where there is a form,
// and the YAML says nothing that was not in it, being as it was then, or empty.
func (v *view) mayReplace(e editorPage) bool {
	beside := v.FormValue("beside")
	return beside == e.Beside() || beside != "" && strings.TrimSpace(e.Document) == ""
}

// apart keeps what was sent where the form may not take the place of the YAML.
func (e *editorPage) apart(f signingpolicy.Form, beside string) {
	if beside == "" || f.TooLong() {
		e.read()
		e.Mistakes = append(e.Mistakes, "There was no form that could be saved. What is saved is the YAML.")
		return
	}
	e.Form, e.was = f, beside
	e.Mistakes = []string{"The YAML was changed as well as the form. Save the YAML as it is, or empty it to have the form say everything."}
}

// current takes the form where it is what counts: where the YAML is as it was when the
// form was shown beside it, what differs was said in the form, and the YAML does not
// have it yet, or cannot have it for a mistake.
func (v *view) current(e *editorPage) {
	if v.FormValue("beside") != e.Beside() {
		return // the YAML was changed, or there was no form to fill in
	}
	if f := v.readPolicyForm(); !e.says(f) {
		e.take(f)
	}
}

// says whether the YAML is what a form makes.
func (e editorPage) says(f signingpolicy.Form) bool {
	p, err := signingpolicy.ParseAs(e.Name, []byte(e.Document))
	if err != nil {
		return false
	}
	mine, err := signingpolicy.FormOf(p)
	if err != nil {
		return false
	}
	want, wrongIn := signingpolicy.FromForm(e.Name, mine)
	got, wrong := signingpolicy.FromForm(e.Name, f)
	return bytes.Equal(want, got) && slices.Equal(wrongIn, wrong)
}

// Right says whether nothing is wrong.
func (e editorPage) Right() bool { return len(e.Mistakes)+len(e.Wrong) == 0 }

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
		Why: strings.TrimSpace(v.FormValue("why")), Version: version, New: version == 0,
	}
}

// formPolicy makes the one side of the editor anew from the other: from=form the
// YAML, from=yaml the form.
func formPolicy(v *view) error {
	e := v.readEditor()
	switch {
	case v.QueryParam("from") != "form":
		e.read()
	case v.mayReplace(e):
		e.take(v.readPolicyForm())
	default: // both were changed before either was answered
		if e.read(); e.Form != nil {
			e.Note = "The YAML was changed too, and the form was made of it anew. Look whether the form says all that you chose in it."
		}
	}
	return v.part(http.StatusOK, "policyedit", "sides", e)
}

func savePolicy(v *view) error {
	ctx := v.Request().Context()
	e := v.readEditor()
	change := v.FormValue("change") != ""
	switch form := change || v.FormValue("use") == "form"; { // without a script the form is not in the YAML yet
	case !form:
		v.current(&e)
	case v.mayReplace(e):
		e.take(v.readPolicyForm())
	default:
		e.apart(v.readPolicyForm(), v.FormValue("beside"))
	}
	switch {
	case change:
		return v.editor(http.StatusOK, e)
	case !e.Right():
		return v.editor(http.StatusUnprocessableEntity, e)
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
	if e.Mistakes = m.Other; client.IsStale(err) && e.New {
		e.Mistakes = []string{"There is a policy of this name already. Give this one another name, or change that one."}
	}
	return v.editor(http.StatusUnprocessableEntity, e)
}

func previewPolicy(v *view) error {
	e := v.readEditor()
	if v.current(&e); !e.Right() {
		return v.part(http.StatusOK, "change", "flips", flips{Problem: "The policy is not right yet: correct what stands beside the fields of the form."})
	}
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
	_, err := v.api.WithWhy(clippedWhy(f.Reason)).AddException(v.Request().Context(), name, client.NewException{
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
