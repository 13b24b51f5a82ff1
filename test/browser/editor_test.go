package browser

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/testkit/eventually"
)

// inEditor is an expression about the editor's own tree, which is in a shadow root.
const inEditor = `document.querySelector("[data-host]").shadowRoot`

// goesToEnd puts the cursor behind all text of the editor, as Ctrl+End does.
func (p *person) goesToEnd() {
	p.Helper()
	p.until(`document.querySelector("[data-host]")?.shadowRoot.querySelector(".cm-content")`)
	p.do(chromedp.Evaluate(inEditor+`.querySelector(".cm-content").focus()`, nil), chromedp.KeyEvent(kb.End, chromedp.KeyModifiers(2)))
}

// enters presses Enter in the editor. The key alone is sent: what it does is the
// editor's to say, which takes an offer or begins a line.
func (p *person) enters() {
	p.Helper()
	p.do(input.DispatchKeyEvent(input.KeyRawDown).WithKey("Enter").WithCode("Enter").WithWindowsVirtualKeyCode(13),
		input.DispatchKeyEvent(input.KeyUp).WithKey("Enter").WithCode("Enter").WithWindowsVirtualKeyCode(13))
}

// takes waits until a word is the one that the editor offers first, and takes it. The
// editor minds no Enter right after it made an offer (75 ms), so that nobody takes what
// they have not seen; nothing tells when that time is over.
func (p *person) takes(word string) {
	p.Helper()
	p.until(inEditor + `.querySelector(".cm-tooltip-autocomplete [aria-selected] .cm-completionLabel")?.innerText === "` + word + `"`)
	p.do(chromedp.Sleep(300 * time.Millisecond))
	p.enters()
}

// One writes rules of one's own in the browser: a mistake is shown at its line,
// fields of the input are offered, the tests run, it runs on what was known of an
// image, it shows what would change, and once it is published the next verdict
// follows.
func TestRegoEditor(t *testing.T) {
	s := demo(t)
	s.verify("keyless")
	p := s.visit()
	p.login(s.token)
	p.open("/policy")
	p.types("#bundle", "our-rules")
	p.clicks("Write the rules")
	p.sees("Nothing is in force until you publish them")
	p.clicks("signing/rules/registries.rego")
	p.until(`document.querySelector("[data-editor]").dataset.file === "signing/rules/registries.rego"`)

	// A mistake, at its line.
	p.goesToEnd()
	p.enters()
	p.do(chromedp.KeyEvent("broken if {"))
	p.enters() // the bracket has its other one by now
	p.do(chromedp.KeyEvent("input.sub"))
	p.takes("subject")
	p.until(`document.querySelector("#text").value.includes("input.subject")`)
	p.do(chromedp.KeyEvent(".regi"))
	p.takes("registry")
	p.until(`document.querySelector("#text").value.includes("input.subject.registry\n}")`)
	p.do(chromedp.KeyEvent(" == nosuchthing"))
	p.until(inEditor + `.querySelector(".cm-lint-marker-error")`)
	p.until(inEditor + `.querySelector(".cm-lintRange-error")?.innerText.includes("nosuchthing")`)
	p.clicks("Check")
	p.sees("nosuchthing")
	p.until(`(() => { const v = document.querySelector("[data-host]").signetView; const at = v.state.doc.toString().indexOf("\nbroken if"); if (at >= 0) v.dispatch({changes: {from: at, to: v.state.doc.length}}); return !v.state.doc.toString().includes("nosuchthing"); })()`)
	p.until(`!` + inEditor + `.querySelector(".cm-lint-marker-error")`)

	// The tests, and a run on what is kept of a verdict.
	p.clicks("Run the tests")
	p.sees("tests passed")
	p.until(`document.querySelector("#outcome .note.good")`)
	p.clicks("Run")
	p.sees("registry_not_allowed") // the demo's registry is none of those that the starter allows
	p.sees("signing.rules.registries.violation")

	// It is kept with its tests, published, and decides once a policy names it.
	p.clicks("Save the draft")
	p.sees("The draft is kept.")
	p.clicks("Publish")
	p.sees("No policy names it yet")
	policy, err := s.api.Policy(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	p.open("/policy/default/edit")
	p.do(chromedp.Evaluate(`(() => {
		const d = document.querySelector("#document");
		d.value += "  bundle: our-rules\n  parameters: {registries: [\"`+s.registry+`\"]}\n";
		d.dispatchEvent(new Event("change", {bubbles: true}));
	})()`, nil))
	p.until(`document.querySelector("#document").value.includes("registries:")`)
	p.clicks("Save, and put in force")
	p.sees("The policy is saved, and in force.")
	if v, err := s.api.Verify(t.Context(), client.VerdictRequest{Image: s.image("keyless")}); err != nil || v.Decision != client.Allow {
		t.Fatalf("before: %+v, %v (the policy was %s)", v, err, policy.SigningPolicy)
	}
	p.open("/bundle/our-rules?file=signing/rules/registries.rego")
	p.goesToEnd()
	p.do(chromedp.Evaluate(`(() => { const v = document.querySelector("[data-host]").signetView; const text = v.state.doc.toString(); const at = text.indexOf("_allowed if input"); v.dispatch({changes: {from: at, to: text.indexOf("\n", at), insert: "_allowed if {\n\tinput.subject.registry in _registries\n\tinput.subject.repository != \"demo/keyless\"\n}"}}); })()`, nil))
	p.clicks("What would change?")
	p.sees("1 recent image would now be denied")
	p.types("#why", "it is retired")
	p.clicks("Publish")
	p.sees("its policies decide by these rules from now on")
	v, err := s.api.Verify(t.Context(), client.VerdictRequest{Image: s.image("keyless")})
	if err != nil || v.Decision != client.Deny || len(v.Reasons) != 1 || v.Reasons[0].Code != "registry_not_allowed" {
		t.Errorf("after: %+v, %v", v, err)
	}
	draft, err := s.api.Draft(t.Context(), "our-rules", false)
	if err != nil || draft.Files["signing/rules/registries_test.rego"] == "" {
		t.Errorf("the tests are not kept: %v", err)
	}

	bundle, err := s.api.Bundle(t.Context(), "our-rules")
	if err != nil || bundle.Sequence != 2 {
		t.Errorf("sequence %d, %v", bundle.Sequence, err)
	}

	// Somebody publishes another release beside it: it is not replaced unseen.
	archive, err := s.api.BuildPolicy(t.Context(), client.BuildPolicy{Files: draft.Files, Sequence: 3, Revision: "by-ci"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.api.PutBundle(t.Context(), "our-rules", "", archive, &bundle.Version); err != nil {
		t.Fatal(err)
	}
	p.clicks("Publish")
	p.sees("Another release of the bundle came into force")
	if bundle, err = s.api.Bundle(t.Context(), "our-rules"); err != nil || bundle.Revision != "by-ci" {
		t.Errorf("in force is %q, %v", bundle.Revision, err)
	}
}

// The editor looks well in both themes, and keeps nobody out.
func TestRegoEditorLooks(t *testing.T) {
	s := demo(t)
	s.verify("keyless", "unsigned")
	p := s.visit()
	p.login(s.token)
	script := axeScript(t)
	for _, theme := range []string{"light", "dark"} {
		p.do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}))
		p.open("/bundle/our-rules?file=signing/rules/registries.rego")
		p.goesToEnd()
		p.enters()
		p.do(chromedp.KeyEvent("late if {"))
		p.enters()
		p.do(chromedp.KeyEvent("input.subject.tag == latest"))
		p.until(inEditor + `.querySelector(".cm-lint-marker-error")`)
		p.clicks("Run the tests")
		p.until(`document.querySelector("#outcome .card")`)
		p.accessible(script, "the editor ("+theme+")")
		p.keep("policy-editor-"+theme, os.Getenv("SIGNET_SCREENSHOTS") != "")
		p.do(chromedp.Evaluate(`document.querySelector("#bundle-form").removeAttribute("data-guard")`, nil)) // nothing is lost that is to be kept
	}
	p.do(emulation.SetDeviceMetricsOverride(360, 740, 1, true))
	p.open("/bundle/our-rules")
	p.until(`document.querySelector("[data-host]")`)
	if p.text(`String(document.documentElement.scrollWidth)`) != "360" {
		t.Errorf("the editor is wider than 360 px")
	}
	// Without a script the text is there to read and to save.
	p.do(emulation.SetScriptExecutionDisabled(true))
	p.do(chromedp.Navigate(p.url+"/bundle/plain?file=signing/rules/registries.rego"), chromedp.WaitVisible(`#text`),
		chromedp.SendKeys(`#text`, "\n# by hand\n"), chromedp.Click(`button[value=save]`), chromedp.WaitVisible(`[role=status].good`))
	draft, err := s.api.Draft(t.Context(), "plain", false)
	if err != nil || draft.Version != 1 {
		t.Errorf("not kept without a script: version %d, %v", draft.Version, err)
	}
}

// A file comes to a bundle and goes again, the folder is a download of all of it, and
// whoever leaves what is not saved is asked.
func TestBundleFiles(t *testing.T) {
	s := demo(t)
	p := s.visit()
	p.login(s.token)
	p.open("/policy")
	p.types("#bundle", "our-rules")
	p.clicks("Write the rules")
	p.clicks("Add a file")
	p.types("#newname", "labels.rego")
	p.clicks("Add it")
	added := `document.querySelector("[data-editor]")?.dataset.file.endsWith("labels.rego")`
	p.until(added)
	p.goesToEnd()
	p.enters()
	p.do(chromedp.KeyEvent("# of mine"))
	p.until(`document.querySelector("#text").value.includes("# of mine")`)
	p.until(`(window.asked = 0, window.confirm = () => { window.asked++; return false; }, true)`)
	p.clicks("Results")
	p.until(`window.asked === 1 && document.querySelector("#text").value.includes("# of mine")`)
	p.clicks("Save the draft")
	p.sees("The draft is kept.")

	dir := t.TempDir()
	p.do(browser.SetDownloadBehavior(browser.SetDownloadBehaviorBehaviorAllow).WithDownloadPath(dir))
	p.clicks("Download the folder")
	var archive []byte
	eventually.Holds(t, "the folder is there", func() bool {
		files, _ := filepath.Glob(filepath.Join(dir, "*.tar.gz"))
		if len(files) == 1 {
			archive, _ = os.ReadFile(files[0])
		}
		return len(archive) > 0
	})
	if files := filesOf(t, archive); !slices.ContainsFunc(files, func(name string) bool { return strings.HasSuffix(name, "labels.rego") }) {
		t.Errorf("the folder has %q", files)
	}

	name := p.text(`document.querySelector("[data-editor]").dataset.file`)
	p.clicks("Remove " + name)
	p.clicks("Remove the file for good")
	p.until(`!` + added + ` && ![...document.querySelectorAll(".files button")].some((e) => e.innerText.includes("labels.rego"))`)
}

// filesOf are the names in a tar.gz.
func filesOf(t *testing.T, archive []byte) (names []string) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}
