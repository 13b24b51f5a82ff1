package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/signingpolicy"
)

// bundlePage is the editor of a policy bundle.
type bundlePage struct {
	Draft client.Draft
	// Bundle is what is in force of the name; nil: nothing yet.
	Bundle *client.Bundle
	// Seen is the digest of the release that the person looks at.
	Seen string
	// File is the one that is looked at, and Text what stands in it here, which may
	// not be kept yet.
	File, Text string
	Groups     []fileGroup
	Verdicts   []client.Verification
	// Older says that there are more verdicts than were looked through.
	Older bool
	// Verdict is the one that was chosen to run on.
	Verdict string
	Mine    bool
	// Words are the names of the parameters, for completion, as JSON.
	Words string
	// Why is what is to stand in the audit log, and NewName what a new file is to be called,
	// as they were typed.
	Why, NewName string
	// Outcome is what was found out last.
	Outcome *outcome
}

// Outdated says that another archive is in force than the one that the draft began
// from.
func (p bundlePage) Outdated() bool {
	return p.Draft.Version > 0 && p.Bundle != nil && p.Bundle.Digest != p.Draft.Base
}

// Unsaved says that what stands here is not in the draft.
func (p bundlePage) Unsaved() bool { return p.Text != p.Draft.Files[p.File] }

// Signed says that the bundle wants signatures, which nobody makes in a browser.
func (p bundlePage) Signed() bool { return p.Bundle != nil && len(p.Bundle.Keys) > 0 }

// Fetched says that the bundle comes from a source of the configuration.
func (p bundlePage) Fetched() bool { return p.Bundle != nil && p.Bundle.Source == "configuration" }

// CanPublish says whether it can be put into force from here.
func (p bundlePage) CanPublish() bool { return p.Mine && !p.Signed() && !p.Fetched() }

type fileGroup struct {
	Name  string
	Files []string
}

// outcome is what one button gave; what is nil was not asked.
type outcome struct {
	// Problem is why there is nothing else, a sentence.
	Problem string
	Checked *client.PolicyChecked
	Tested  *client.PolicyTested
	Ran     *ran
	Flips   *flips
}

// Faults are the tests that did not pass.
func (o outcome) Faults() []client.PolicyTest {
	var out []client.PolicyTest
	for _, t := range o.Tested.Tests {
		if t.Outcome != "passed" && t.Outcome != "skipped" {
			out = append(out, t)
		}
	}
	return out
}

// Passed counts the tests that did.
func (o outcome) Passed() (n int) {
	for _, t := range o.Tested.Tests {
		if t.Outcome == "passed" {
			n++
		}
	}
	return n
}

// ran is what a bundle says of an input.
type ran struct {
	client.PolicyEvaluated
	Verdict string
	Result  result
	// Fired are rules that held, and Silent how many others of the author's did not.
	Fired  []client.PolicyFired
	Silent []client.PolicyFired
}

// result is what data.signing.verdict is made of, as far as it is shown.
type result struct {
	Violations, Warnings []struct{ Code, Message, Remediation, Rule string }
	SatisfiedBy          []struct {
		Requirement, Exception string
		Facts                  []string
	} `json:"satisfied_by"`
}

// newBundle leads to the editor of a bundle that is not there yet.
func newBundle(v *view) error {
	name := strings.TrimSpace(v.QueryParam("name"))
	if !signingpolicy.IsName(name) {
		return &client.Problem{Status: http.StatusUnprocessableEntity, Detail: "A bundle's name is at most 63 lower-case letters, digits and dashes."}
	}
	return v.Redirect(http.StatusSeeOther, v.base+"/bundle/"+url.PathEscape(name))
}

func showBundle(v *view) error {
	p, err := v.bundlePage()
	if err != nil {
		return err
	}
	return v.bundleEditor(http.StatusOK, p)
}

// bundlePage reads the draft, and what of the form is not kept yet.
func (v *view) bundlePage() (*bundlePage, error) {
	ctx, name := v.Request().Context(), v.Param("name")
	draft, err := v.api.Draft(ctx, name, true)
	if err != nil {
		return nil, err
	}
	p := &bundlePage{Draft: draft, Mine: v.who.MayDraft(draft.Owner), Words: parameterNames(draft.Files["schemas/params.json"]), Why: v.FormValue("why"), NewName: v.FormValue("newname")}
	switch b, err := v.api.Bundle(ctx, name); {
	case err == nil:
		p.Bundle, p.Seen = &b, b.Digest
	case !client.IsNotFound(err):
		return nil, err
	}
	p.Groups = groupsOf(draft.Files)
	p.File = v.FormValue("file")
	if _, there := draft.Files[p.File]; !there {
		p.File = firstFile(p.Groups)
	}
	p.Text, p.Verdict = draft.Files[p.File], v.FormValue("verdict")
	return p, nil
}

func (v *view) bundleEditor(status int, p *bundlePage) error {
	f := client.VerdictFilter{Limit: mostInputs}
	for range mostLooks {
		page, err := v.api.Verdicts(v.Request().Context(), f)
		if err != nil {
			return err
		}
		for _, one := range page.Items {
			if one.FactsDigest != nil { // else there is no input
				p.Verdicts = append(p.Verdicts, one)
			}
		}
		f.Cursor, p.Older = page.Next, page.Next != ""
		if !p.Older || len(p.Verdicts) > 0 {
			break
		}
	}
	return v.render(status, "bundle", "policy", "Bundle "+p.Draft.Name, p)
}

const (
	// mostInputs is how many recent verdicts are offered to run on.
	mostInputs = 50
	// mostLooks is how often it is looked further back for one: for who sees some
	// images only, a page may be empty and have a next.
	mostLooks = 5
)

// groupsOf sorts files by what they are to their author.
func groupsOf(files map[string]string) []fileGroup {
	groups := []fileGroup{{Name: "Rules"}, {Name: "Tests"}, {Name: "Parameters and data"}, {Name: "Other files"}}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		at := 3
		switch {
		case strings.HasSuffix(name, "_test.rego"):
			at = 1
		case path.Ext(name) == ".rego":
			at = 0
		case path.Ext(name) == ".json" || name == ".manifest":
			at = 2
		}
		groups[at].Files = append(groups[at].Files, name)
	}
	return slices.DeleteFunc(groups, func(g fileGroup) bool { return len(g.Files) == 0 })
}

func firstFile(groups []fileGroup) string {
	if len(groups) == 0 {
		return ""
	}
	return groups[0].Files[0]
}

// parameterNames are those that a schema knows, as a JSON list.
func parameterNames(schema string) string {
	type object struct {
		Properties map[string]json.RawMessage `json:"properties"`
		AllOf      []struct {
			Properties map[string]json.RawMessage `json:"properties"`
		} `json:"allOf"`
	}
	var s object
	if json.Unmarshal([]byte(schema), &s) != nil {
		return "[]"
	}
	names := slices.Collect(maps.Keys(s.Properties))
	for _, one := range s.AllOf {
		names = slices.AppendSeq(names, maps.Keys(one.Properties))
	}
	slices.Sort(names)
	body, err := json.Marshal(slices.Compact(names))
	if err != nil || names == nil {
		return "[]"
	}
	return string(body)
}

// postBundle does what a button of the editor says. Saving, and what comes after it,
// keeps the file as it stands in the form; all else only looks at it so.
func postBundle(v *view) error {
	p, err := v.bundlePage()
	if err != nil {
		return err
	}
	do := v.FormValue("do")
	if do == "enter" { // in a field: what was typed there is what is meant
		do = "check"
		if strings.TrimSpace(p.NewName) != "" {
			do = "add"
		}
	}
	name, opens := strings.CutPrefix(do, "open:")
	if (opens || slices.Contains([]string{"save", "add", "remove", "publish"}, do)) && !v.fresh(p) {
		return v.draftMoved(p)
	}
	if opens {
		return v.keep(p, func() error { return v.toFile(p.Draft.Name, name, "") })
	}
	v.typed(p)
	switch do {
	case "save":
		return v.keep(p, func() error { return v.toFile(p.Draft.Name, p.File, "draft-kept") })
	case "add":
		return v.addFile(p)
	case "remove":
		return v.removeFile(p)
	case "discard":
		return v.discardDraft(p)
	case "publish":
		return v.publishDraft(p)
	case "source", "archive":
		return v.downloadDraft(p, do == "source")
	}
	p.Outcome = v.found(p, do)
	if v.isPart() {
		return v.part(http.StatusOK, "bundle", "outcome", p)
	}
	return v.bundleEditor(http.StatusOK, p)
}

// fresh says whether the draft is the one that the form was made of: what would be
// kept is one file of the form and all others of the draft. One that is not kept yet
// is made of the release in force.
func (v *view) fresh(p *bundlePage) bool {
	version, _ := strconv.ParseInt(v.FormValue("version"), 10, 64) // 0 is none
	if version != p.Draft.Version {
		return false
	}
	seen := "" // of a bundle that is not in force, nobody has seen a release
	if p.Bundle != nil {
		seen = p.Bundle.Digest
	}
	return version > 0 || v.FormValue("seen") == seen
}

// draftMoved shows what was written, as it was written and where, and keeps nothing.
func (v *view) draftMoved(p *bundlePage) error {
	p.Draft.Version, _ = strconv.ParseInt(v.FormValue("version"), 10, 64) // so that it is not kept the next time either
	p.Seen = v.FormValue("seen")
	if file := v.FormValue("file"); file != "" {
		p.File, p.Text = file, strings.ReplaceAll(v.FormValue("text"), "\r\n", "\n")
	}
	p.Outcome = &outcome{Problem: "Somebody else has changed the draft meanwhile, or published it. Nothing was kept: copy what you wrote, load the page again and put it in there."}
	return v.bundleEditor(http.StatusPreconditionFailed, p)
}

// typed takes the text of the form, where it is that of the file.
func (v *view) typed(p *bundlePage) {
	if _, edited := v.Request().PostForm["text"]; edited && v.FormValue("file") == p.File {
		p.Text = strings.ReplaceAll(v.FormValue("text"), "\r\n", "\n")
	}
}

// files are those of the draft with the form's text in its place.
func (p *bundlePage) files() map[string]string {
	files := maps.Clone(p.Draft.Files)
	if p.File != "" {
		files[p.File] = p.Text
	}
	return files
}

// found looks at the bundle in one of four ways.
func (v *view) found(p *bundlePage, do string) *outcome {
	ctx, files := v.Request().Context(), p.files()
	out := &outcome{}
	var err error
	switch do {
	case "test":
		var tested client.PolicyTested
		tested, err = v.api.TestPolicy(ctx, files)
		out.Tested = &tested
	case "run":
		out.Ran, err = v.tryOn(p, files)
	case "preview":
		var archive []byte
		if archive, err = v.api.BuildPolicy(ctx, client.BuildPolicy{Files: files, Sequence: p.next()}); err == nil {
			f := v.flips(client.Operation{Op: client.OpPutBundle, Name: p.Draft.Name, Archive: archive})
			out.Flips = &f
		}
	default:
		var checked client.PolicyChecked
		checked, err = v.api.CheckPolicy(ctx, files)
		out.Checked = &checked
	}
	if err != nil {
		return &outcome{Problem: v.sentenceOf(err)}
	}
	return out
}

// sentenceOf says what went wrong; what is not the caller's to mend is logged.
func (v *view) sentenceOf(err error) string {
	var p *client.Problem
	if errors.As(err, &p) && p.Status < http.StatusInternalServerError {
		return p.Error()
	}
	if text := mistake(err); text != "" {
		return text
	}
	v.page.cfg.Log.ErrorContext(v.Request().Context(), "the editor of a bundle failed", "path", v.Path(), "error", err.Error())
	return "Something went wrong inside Signet. Try again; the operator finds the cause in the server's log."
}

// tryOn asks the bundle about the input of the verdict that was chosen.
func (v *view) tryOn(p *bundlePage, files map[string]string) (*ran, error) {
	ctx := v.Request().Context()
	if p.Verdict == "" {
		return nil, &client.Problem{Status: http.StatusUnprocessableEntity, Detail: "Choose a verdict to run on. Where there is none yet, ask for one on the tab Verify."}
	}
	ask := client.EvaluatePolicy{Files: files, Verdict: p.Verdict}
	if p.Bundle != nil && len(p.Bundle.Policies) > 0 {
		policy, err := v.api.Policy(ctx, p.Bundle.Policies[0])
		if err != nil && !client.IsNotFound(err) {
			return nil, err
		}
		ask.SigningPolicy = policy.SigningPolicy
	}
	got, err := v.api.EvaluatePolicy(ctx, ask)
	var problem *client.Problem
	if errors.As(err, &problem) && problem.Code == "policy_needed" {
		ask.Policy, err = v.policyOf(p)
		if err == nil {
			got, err = v.api.EvaluatePolicy(ctx, ask)
		}
	}
	if err != nil {
		return nil, err
	}
	out := &ran{PolicyEvaluated: got, Verdict: p.Verdict}
	if len(got.Result) > 0 {
		if err := json.Unmarshal(got.Result, &out.Result); err != nil {
			return nil, fmt.Errorf("reading what the bundle says: %w", err)
		}
	}
	for _, r := range got.Rules {
		_, own := files[r.File]
		switch {
		case r.Fired:
			out.Fired = append(out.Fired, r)
		case own:
			out.Silent = append(out.Silent, r)
		}
	}
	return out, nil
}

// policyOf is a policy that was evaluated for the chosen verdict: one that names the
// bundle where there is one, else the first.
func (v *view) policyOf(p *bundlePage) (string, error) {
	body, err := v.api.Verdict(v.Request().Context(), p.Verdict)
	if err != nil {
		return "", err
	}
	if len(body.Policies) == 0 {
		return "", &client.Problem{Status: http.StatusUnprocessableEntity, Detail: "No policy was evaluated for this verdict, so there is no input to run on. Choose another."}
	}
	for _, one := range body.Policies {
		if p.Bundle != nil && slices.Contains(p.Bundle.Policies, one.Name) {
			return one.Name, nil
		}
	}
	return body.Policies[0].Name, nil
}

// next is the sequence of the next release.
func (p *bundlePage) next() int64 {
	if p.Bundle == nil {
		return 0
	}
	return p.Bundle.HighestSequence + 1
}

// keep keeps what stands in the form, where it is different, and goes on.
func (v *view) keep(p *bundlePage, then func() error) error {
	v.typed(p)
	return v.keepFiles(p, p.files(), p.Draft.Base, then)
}

func (v *view) keepFiles(p *bundlePage, files map[string]string, base string, then func() error) error {
	if p.Draft.Version > 0 && base == p.Draft.Base && maps.Equal(files, p.Draft.Files) {
		return then()
	}
	version, _ := strconv.ParseInt(v.FormValue("version"), 10, 64) // 0 is none
	at := &version
	if version == 0 {
		at = nil
	}
	kept, err := v.api.PutDraft(v.Request().Context(), p.Draft.Name, client.PutDraft{Base: base, Files: files}, at)
	if err != nil {
		if client.IsStale(err) {
			err = &client.Problem{Status: http.StatusPreconditionFailed, Detail: "Somebody else has changed the draft meanwhile. Copy what you wrote, load the page again and put it in there."}
		}
		if v.FormValue("do") == "publish" {
			return err
		}
		p.Outcome = &outcome{Problem: v.sentenceOf(err)}
		return v.bundleEditor(http.StatusUnprocessableEntity, p)
	}
	p.Draft = kept
	return then()
}

func (v *view) toFile(bundle, file, done string) error {
	place := "/bundle/" + url.PathEscape(bundle) + "?file=" + url.QueryEscape(file)
	return v.to(place, done)
}

func (v *view) addFile(p *bundlePage) error {
	name := strings.TrimSpace(p.NewName)
	if name != "" && !strings.Contains(name, "/") { // rules are what most people add
		name = "signing/rules/" + name
		if path.Ext(name) == "" {
			name += ".rego"
		}
	}
	if _, there := p.Draft.Files[name]; there || name == "" {
		p.Outcome = &outcome{Problem: "Give the new file a name that no other has."}
		return v.bundleEditor(http.StatusUnprocessableEntity, p)
	}
	files := p.files()
	files[name] = ""
	if path.Ext(name) == ".rego" {
		files[name] = beginning(name)
	}
	return v.keepFiles(p, files, p.Draft.Base, func() error { return v.toFile(p.Draft.Name, name, "") })
}

// beginning is what a new module begins with.
func beginning(name string) string {
	folder, file := path.Split(strings.TrimSuffix(name, ".rego"))
	parts := strings.Split(strings.Trim(folder, "/"), "/")
	parts = append(parts, file)
	for i, s := range parts {
		parts[i] = strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' {
				return r
			}
			return '_'
		}, strings.ToLower(s))
	}
	return "package " + strings.Join(parts, ".") + "\n\nimport data.signing.lib\n"
}

func (v *view) removeFile(p *bundlePage) error {
	files := maps.Clone(p.Draft.Files)
	delete(files, p.File)
	return v.keepFiles(p, files, p.Draft.Base, func() error { return v.toFile(p.Draft.Name, "", "draft-kept") })
}

func (v *view) discardDraft(p *bundlePage) error {
	if p.Draft.Version > 0 {
		version, _ := strconv.ParseInt(v.FormValue("version"), 10, 64) // 0 is none, and stale
		if err := v.api.DeleteDraft(v.Request().Context(), p.Draft.Name, version); err != nil {
			return err
		}
	}
	return v.to("/policy", "draft-discarded")
}

// publishDraft keeps the draft, builds it and puts it into force, in place of the
// release that the person has seen.
func (v *view) publishDraft(p *bundlePage) error {
	ctx := v.Request().Context()
	return v.keep(p, func() error {
		if p.Bundle != nil && v.FormValue("seen") != p.Bundle.Digest {
			p.Outcome = &outcome{Problem: "Another release of the bundle came into force since this page was opened. The draft is kept; look at what changed before you publish it over that release."}
			return v.bundleEditor(http.StatusConflict, p)
		}
		fail := func(err error) error {
			var problem *client.Problem
			if !errors.As(err, &problem) || problem.Status >= http.StatusInternalServerError {
				return err
			}
			p.Outcome = &outcome{Problem: problem.Error()}
			return v.bundleEditor(http.StatusUnprocessableEntity, p)
		}
		archive, err := v.api.BuildPolicy(ctx, client.BuildPolicy{Files: p.Draft.Files, Sequence: p.next()})
		if err != nil {
			return fail(err)
		}
		var version *int64
		owner := p.Draft.Owner // a new one is of who owns the draft, whoever publishes it
		if p.Bundle != nil {
			version, owner = &p.Bundle.Version, ""
		}
		published, err := v.api.WithWhy(strings.TrimSpace(v.FormValue("why"))).PutBundle(ctx, p.Draft.Name, owner, archive, version)
		if err != nil {
			return fail(err)
		}
		// The draft stays, for its tests, and begins from here now.
		if _, err := v.api.PutDraft(ctx, p.Draft.Name, client.PutDraft{Base: published.Digest, Files: p.Draft.Files}, &p.Draft.Version); err != nil && !client.IsStale(err) {
			return err
		}
		done := "bundle-published"
		if len(published.Policies) == 0 {
			done = "bundle-unnamed"
		}
		return v.toFile(p.Draft.Name, p.File, done)
	})
}

// downloadDraft gives the built archive, or the whole folder.
func (v *view) downloadDraft(p *bundlePage, source bool) error {
	body, err := v.api.BuildPolicy(v.Request().Context(), client.BuildPolicy{Files: p.files(), Sequence: p.next(), Source: source})
	if err != nil {
		var problem *client.Problem
		if !errors.As(err, &problem) || problem.Status >= http.StatusInternalServerError {
			return err
		}
		p.Outcome = &outcome{Problem: problem.Error()}
		return v.bundleEditor(http.StatusUnprocessableEntity, p)
	}
	name := p.Draft.Name + ".tar.gz"
	if source {
		name = p.Draft.Name + "-source.tar.gz"
	}
	v.Response().Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	return v.Blob(http.StatusOK, "application/gzip", body)
}

// checkBundle is asked while one types: the problems as JSON.
func checkBundle(v *view) error {
	p, err := v.bundlePage()
	if err != nil {
		return err
	}
	v.typed(p)
	checked, err := v.api.CheckPolicy(v.Request().Context(), p.files())
	if err != nil {
		return v.JSON(http.StatusOK, map[string]any{"problems": []any{}, "trouble": v.sentenceOf(err)})
	}
	return v.JSON(http.StatusOK, checked)
}
