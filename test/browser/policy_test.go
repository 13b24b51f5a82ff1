package browser

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	neturl "net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/signet-policy/signet/client"
)

// The form and the YAML of a policy follow each other; a change is seen before it is
// saved, compared, and taken back.
func TestPolicy(t *testing.T) {
	s := demo(t)
	s.verify("keyless")
	p := s.visit()
	p.login(s.token)
	p.open("/policy/default")
	p.clicks("Edit")
	p.changes("#threshold", "2")
	p.until(`document.querySelector("#document").value.includes("threshold: 2")`)
	edit := func(from, to string) {
		t.Helper()
		p.changes("#document", strings.Replace(p.text(`document.querySelector("#document").value`), "mode: "+from, "mode: "+to, 1))
	}
	edit("enforce", "audit")
	p.until(`document.querySelector("#mode")?.value === "audit"`)
	edit("audit", "perhaps")
	p.sees(": mode")
	edit("perhaps", "enforce")
	p.until(`document.querySelector("#mode")?.value === "enforce"`)
	p.clicks("What would change?")
	p.sees("1 recent image would now be denied")
	p.types("#why", "two must sign")
	p.clicks("Save, and put in force")
	p.sees("The policy is saved, and in force.")
	p.clicks("History")
	p.sees("two must sign")
	p.clicks("Compare")
	p.sees("+  threshold: 2")
	p.do(emulation.SetDeviceMetricsOverride(360, 740, 1, true))
	p.until(`(() => { const at = document.querySelector("td.actions a").getBoundingClientRect(); return at.width > 0 && at.left >= 0 && at.right <= 360; })()`) // in sight
	p.do(emulation.SetDeviceMetricsOverride(1280, 900, 1, false))
	p.presses(`td.actions a`)
	p.sees("No recent image would be denied that is allowed now.")
	p.sees("-  threshold: 2")
	p.accessible(axeScript(t), "what is asked before")
	p.types("#why", "one is enough")
	p.presses(`button.danger`)
	p.sees("The earlier state of the policy is in force again.")
	p.until(`document.querySelector("pre").innerText.includes("threshold: 1")`)
}

// An exception says for what, why, who answers for it and when it ends; it is in the
// next verdict, and no longer when it was taken back.
func TestExceptions(t *testing.T) {
	s := demo(t)
	p := s.visit()
	p.login(s.token)
	decides := func(want client.Decision) client.Verdict {
		t.Helper()
		verdict, err := s.api.Verify(t.Context(), client.VerdictRequest{Image: s.image("unsigned")})
		if err != nil || verdict.Decision != want {
			t.Fatalf("%s, %v; want %s", verdict.Decision, err, want)
		}
		return verdict
	}
	decides(client.Deny)
	p.open("/policy/default")
	p.clicks("Make an exception")
	p.types("#images", s.registry+"/demo/unsigned")
	p.types("#codes", "unsigned")
	p.types("#reason", "it is being moved")
	p.types("#owner", "platform")
	p.changes("#expires_at", "2099-01-01T00:00")
	p.clicks("Make the exception")
	p.until(`document.querySelector("#expires_at").closest(".wrong")?.querySelector(".error")`) // too far ahead
	p.until(`location.pathname.endsWith("/policy/default")`)                                    // the form's own address shows nothing when it is loaded again
	p.changes("#expires_at", time.Now().Add(5*24*time.Hour).Format("2006-01-02T15:04"))
	p.clicks("Make the exception")
	p.sees("The exception is in force.")
	if applied := decides(client.Allow).Exceptions; len(applied) != 1 || applied[0].Owner != "platform" {
		t.Errorf("the verdict tells of %+v", applied)
	}
	p.open("/verify")
	p.types("#image", s.image("unsigned"))
	p.clicks("Verify")
	p.sees("An exception applies: it is being moved")
	p.open("/policy")
	p.until(`(() => { const row = document.querySelector("tbody tr"); return row.innerText.includes("/demo/unsigned") && row.querySelector(".badge.warn").innerText === "soon"; })()`)
	p.open("/policy/default")
	p.presses(`#exceptions a.danger`)
	p.sees("Remove an exception of default?")
	decides(client.Allow)
	p.sees("1 recent image would now be denied")
	p.clicks("Remove the exception")
	p.sees("The exception is removed.")
	decides(client.Deny)
	p.clicks("History")
	p.sees("it is being moved")
}

// The form has all of a signing policy: parts come and go, each side follows the
// other, and what is wrong stands at its field.
func TestPolicyForm(t *testing.T) {
	s := demo(t)
	p := s.visit()
	p.login(s.token)
	p.open("/policy/default/edit")
	document := `document.querySelector("#document").value`
	p.sees("What would change?") // the script is there
	p.clicks("SLSA provenance")
	p.changes(`[name="p.slsa"]`, "on")
	p.until(`document.querySelector('[name="p.slsa"]').closest("details").open`)
	p.changes(`#slsa-require_attestation`, "on")
	p.sees("The errors stand beside the fields.")
	p.until(`document.querySelector("details.part .error")`)
	p.clicks("Add to Trusted builders")
	p.until(`document.querySelector("#slsa-trusted_builders-0-builder")`)
	p.changes(`#slsa-trusted_builders-0-builder`, "https://github.com/slsa-framework/slsa-github-generator")
	p.until(document + `.includes("- https://github.com/slsa-framework/slsa-github-generator")`)
	p.changes(`#slsa-minimum_level`, "7")
	p.until(`document.querySelector("#slsa-minimum_level").closest(".wrong")?.innerText.includes("not a level")`)
	p.changes(`#slsa-minimum_level`, "2")
	p.until(document + `.includes("minimum_level: 2") && !document.querySelector(".policy-form .error")`)
	p.changes("#document", strings.Replace(p.text(document), "minimum_level: 2", "minimum_level: 3", 1)+"  attestations: [{predicate_type: spdx}]\n")
	p.until(`document.querySelector("#slsa-minimum_level")?.value === "3" && document.querySelector("#attestations-0-predicate_type")?.value`)
	p.clicks("Remove Attestations, 1")
	p.until(`!` + document + `.includes("attestations:")`)
	p.accessible(axeScript(t), "the form")
	p.keep("policy-form", false)
	p.types("#why", "builds must be proven")
	p.clicks("Save, and put in force")
	p.sees("The policy is saved, and in force.")
	policy, err := s.api.Policy(t.Context(), "default")
	if err != nil || !strings.Contains(policy.SigningPolicy, "minimum_level: 3") || strings.Contains(policy.SigningPolicy, "attestations") {
		t.Errorf("%s, %v", policy.SigningPolicy, err)
	}
}

// A mistake that only the form can have does not stand in the YAML: what is saved is the
// form all the same, or nothing.
func TestPolicyFormMistakeIsNotPassedOver(t *testing.T) {
	s := demo(t)
	p := s.visit()
	p.login(s.token)
	p.open("/policy/default/edit")
	p.changes("#threshold", "many")
	p.until(`document.querySelector("#threshold").closest(".wrong")?.querySelector(".error")`)
	p.changes("#mode", "audit")
	p.until(`document.querySelector("#threshold").closest(".wrong") && document.querySelector("#mode").value === "audit"`)
	p.clicks("What would change?")
	p.sees("correct what stands beside the fields")
	p.clicks("Save, and put in force")
	p.until(idle + ` && document.querySelector("#policy-form").dataset.guard === "unsaved"`)
	p.sees("The errors stand beside the fields.")
	p.until(`document.activeElement.id === "threshold" && document.getElementById(document.activeElement.getAttribute("aria-describedby").split(" ")[0]).innerText.includes("many")`)
	if policy, err := s.api.Policy(t.Context(), "default"); err != nil || policy.Mode != "enforce" {
		t.Errorf("saved: %s, %v", policy.Mode, err)
	}
	p.changes("#threshold", "2")
	p.until(`document.querySelector("#document").value.includes("threshold: 2")`)
	p.clicks("Save, and put in force")
	p.sees("The policy is saved, and in force.")
	if policy, err := s.api.Policy(t.Context(), "default"); err != nil || policy.Mode != "audit" || !strings.Contains(policy.SigningPolicy, "threshold: 2") {
		t.Errorf("saved: %s, %v", policy.SigningPolicy, err)
	}
}

// Enter in a field saves what was changed, and takes nothing of the YAML away: neither
// where it has a mistake, nor where there is no script.
func TestEnterInPolicyEditor(t *testing.T) {
	s := demo(t)
	p := s.visit()
	p.login(s.token)
	p.open("/policy/default/edit")
	p.sees("What would change?") // the script is there
	written := strings.Replace(p.text(`document.querySelector("#document").value`), "mode: enforce", "mode: perhaps", 1) + "  # by hand\n"
	p.changes("#document", written)
	p.sees("The form comes back when the YAML can be read.")
	p.do(chromedp.SendKeys("#why", "so\r", chromedp.ByQuery))
	p.until(idle + ` && document.querySelector("#policy-form").dataset.guard === "unsaved"`)
	if now := p.text(`document.querySelector("#document").value`); now != written {
		t.Errorf("of what was written is left:\n%s", now)
	}

	q := s.visit()
	q.login(s.token)
	q.do(emulation.SetScriptExecutionDisabled(true))
	q.do(chromedp.Navigate(q.url+"/policy/default/edit"), chromedp.WaitVisible("#why"),
		chromedp.SetValue("#document", strings.Replace(written, "mode: perhaps", "mode: audit", 1), chromedp.ByQuery),
		chromedp.SendKeys("#why", "without\r", chromedp.ByQuery), chromedp.WaitVisible(`[role=status].good`))
	if policy, err := s.api.Policy(t.Context(), "default"); err != nil || policy.Mode != "audit" {
		t.Errorf("saved: %s, %v", policy.Mode, err)
	}
	q.do(chromedp.Navigate(q.url+"/policy/default/edit"), chromedp.WaitVisible("#why"),
		chromedp.SetValue("#threshold", "2", chromedp.ByQuery), chromedp.SendKeys("#why", "the form\r", chromedp.ByQuery), chromedp.WaitVisible(`[role=status].good`))
	if policy, err := s.api.Policy(t.Context(), "default"); err != nil || !strings.Contains(policy.SigningPolicy, "threshold: 2") {
		t.Errorf("saved: %s, %v", policy.SigningPolicy, err)
	}
}

// Who leaves what they have written is asked, and what they have saved is not.
func TestUnsavedPolicy(t *testing.T) {
	s := demo(t)
	p := s.visit()
	asked, leave := make(chan string, 10), false
	chromedp.ListenTarget(p.ctx, func(event any) {
		if e, ok := event.(*page.EventJavascriptDialogOpening); ok {
			asked <- e.Message
			go func(leave bool) { _ = chromedp.Run(p.ctx, page.HandleJavaScriptDialog(leave)) }(leave)
		}
	})
	p.login(s.token)
	p.open("/policy/default/edit")
	p.changes("#threshold", "2")
	p.until(`document.querySelector("#document").value.includes("threshold: 2")`)
	p.clicks("Cancel")
	if text := soon(t, asked); text != "What you wrote is not saved. Leave it?" {
		t.Errorf("asked: %q", text)
	}
	p.until(idle + ` && document.querySelector("#threshold")?.value === "2"`)
	p.clicks("Save, and put in force")
	p.sees("The policy is saved, and in force.")
	p.clicks("Edit")
	p.until(idle + ` && document.querySelector("#threshold")?.value === "2"`)
	p.clicks("Cancel")
	p.sees("Where it comes from")
	p.clicks("Edit")
	p.changes("#threshold", "many") // a mistake, which comes back unsaved
	p.until(`document.querySelector("#threshold").closest(".wrong")`)
	p.clicks("Save, and put in force")
	p.until(idle + ` && document.querySelector("#policy-form").dataset.guard === "unsaved"`)
	if len(asked) > 0 {
		t.Errorf("asked: %q", <-asked)
	}
	leave = true
	p.clicks("Cancel")
	p.sees("Where it comes from")
	if len(asked) != 1 {
		t.Errorf("asked %d times", len(asked))
	}
}

// soon waits for what is to come.
func soon[T any](t *testing.T, comes <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-comes:
	case <-time.After(patience):
		t.Fatal("it has not come")
	}
	return got
}

// slowly puts a proxy before the server that keeps back what is asked of one path: came
// waits for a question, let lets it go.
func (s *server) slowly(path string) (url string, came, let func()) {
	s.Helper()
	behind, err := neturl.Parse(s.url)
	if err != nil {
		s.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(behind); r.Out.Host = r.In.Host }}
	comes, goes := make(chan struct{}), make(chan struct{})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == place+path {
			for _, turn := range []chan struct{}{comes, goes} {
				select {
				case turn <- struct{}{}:
				case <-s.Context().Done(): // the request's own does not end with its browser before its body is read
					return
				}
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	s.Cleanup(front.Close)
	return front.URL, func() { soon(s.T, comes) }, func() { soon(s.T, goes) }
}

// What is typed while the answer to another field is on its way stays, and is in the
// next one.
func TestPolicyFormSlowAnswer(t *testing.T) {
	s := demo(t)
	front, came, let := s.slowly("/policy/default/form")
	p := s.visit()
	p.url = front + place
	p.login(s.token)
	p.open("/policy/default/edit")
	p.sees("What would change?") // the script is there
	p.clicks("SLSA provenance")
	p.changes("#threshold", "2")
	came()
	p.do(chromedp.SendKeys("#images", "ghcr.io/acme/**"), chromedp.Evaluate(`document.querySelector("#images").setSelectionRange(4, 4)`, nil))
	let()
	p.until(`document.querySelector("#document").value.includes("threshold: 2")`)
	p.until(`(() => { const e = document.querySelector("#images"); return e.value === "ghcr.io/acme/**" && document.activeElement === e && e.selectionStart === 4; })()`)
	p.until(`document.querySelector('[name="p.slsa"]').closest("details").open`) // what was unfolded
	p.do(chromedp.Focus("#why"))
	came() // it is sent in its turn
	let()
	p.until(`document.querySelector("#document").value.includes("ghcr.io/acme/**")`)

	// Who saves at once saves what they see.
	p.changes("#threshold", "3")
	came()
	p.do(chromedp.Evaluate(`[...document.querySelectorAll("#policy-form button")].find((b) => b.innerText === "Save, and put in force").click()`, nil))
	let()
	p.sees("The policy is saved, and in force.")
	policy, err := s.api.Policy(t.Context(), "default")
	if err != nil || !strings.Contains(policy.SigningPolicy, "threshold: 3") || !strings.Contains(policy.SigningPolicy, "ghcr.io/acme/**") {
		t.Errorf("%s, %v", policy.SigningPolicy, err)
	}
}

// A field that one is writing in keeps what was written so far, spaces and new lines too,
// however often an answer to another field comes; it is sent when one leaves it, or with
// all of the form.
func TestPolicyFormKeepsWriting(t *testing.T) {
	s := demo(t)
	front, came, let := s.slowly("/policy/default/form")
	p := s.visit()
	p.url = front + place
	p.login(s.token)
	p.open("/policy/default/edit")
	p.sees("What would change?") // the script is there
	document, images := `document.querySelector("#document").value`, `document.querySelector("#images")`
	writes := func(field, text string) { // behind what is there
		t.Helper()
		p.do(chromedp.Evaluate(field+`.focus(), `+field+`.setSelectionRange(1000, 1000)`, nil), chromedp.KeyEvent(text))
	}
	meanwhile := func(threshold, written string) { // the answer to one field comes while another is written in
		t.Helper()
		p.changes("#threshold", threshold)
		came()
		writes(images, written)
		let()
		p.until(idle + ` && ` + document + `.includes("threshold: ` + threshold + `")`)
	}
	meanwhile("2", "ghcr.io/acme/**\n")
	p.do(chromedp.KeyEvent("ghcr.io/other "))
	p.until(images + `.value === "ghcr.io/acme/**\nghcr.io/other "`)
	if at := p.text(`document.activeElement.id + " " + ` + images + `.selectionEnd`); at != "images 30" {
		t.Errorf("one writes on in %s", at)
	}
	p.do(chromedp.KeyEvent(kb.Tab))
	came()
	let()
	p.until(idle + ` && ` + document + `.includes("- ghcr.io/other")`)
	p.do(chromedp.Sleep(100 * time.Millisecond)) // nothing else is sent
	p.changes("#threshold", "3")
	came()
	let()

	// The browser tells of a field when its window is left, and one comes back to it.
	p.until(idle)
	writes(images, "\n")
	p.do(chromedp.Evaluate(`document.activeElement.dispatchEvent(new Event("change", {bubbles: true}))`, nil))
	came()
	let()
	p.until(idle + ` && ` + images + `.value.endsWith("ghcr.io/other\n")`)

	// Whatever sends the form sends what is written.
	meanwhile("4", "ghcr.io/third ")
	p.do(chromedp.Evaluate(`[...document.querySelectorAll("#policy-form button")].find((b) => b.innerText === "Save, and put in force").click()`, nil))
	p.sees("The policy is saved, and in force.")
	saved := func(what string) {
		t.Helper()
		if policy, err := s.api.Policy(t.Context(), "default"); err != nil || !strings.Contains(policy.SigningPolicy, what) {
			t.Errorf("without %s: %s, %v", what, policy.SigningPolicy, err)
		}
	}
	saved("- ghcr.io/third")
	p.clicks("Edit")
	p.until(idle)
	p.changes("#mode", "audit")
	came()
	writes(`document.querySelector("#threshold")`, "2 ")
	let()
	p.until(idle + ` && ` + document + `.includes("mode: audit") && document.querySelector("#threshold").value === "42 "`)
	p.do(chromedp.KeyEvent(kb.Enter))
	p.sees("The policy is saved, and in force.")
	saved("threshold: 42")
}

// A policy of another name is written, decides beside the first one, and is removed.
func TestNewPolicy(t *testing.T) {
	s := demo(t)
	s.verify("unsigned")
	p := s.visit()
	p.login(s.token)
	p.clicks("Policy")
	p.types(`form[action$="/new-policy"] input`, "strict")
	p.clicks("Write it")
	p.sees("New policy strict")
	p.changes("#mode", "audit")
	p.until(`document.querySelector("#document").value.includes("mode: audit")`)
	p.types("#why", "to begin with")
	p.clicks("Save, and put in force")
	p.sees("The policy is saved, and in force.")
	if made, err := s.api.Policy(t.Context(), "strict"); err != nil || made.Mode != "audit" {
		t.Errorf("%+v, %v", made, err)
	}
	p.open("/verify")
	p.types("#image", s.image("unsigned"))
	p.clicks("Verify")
	p.sees("This image may not run")
	p.until(`document.querySelector("#answer .verdict").innerText.includes("strict")`)
	p.open("/policy")
	p.clicks("strict")
	p.clicks("Remove")
	p.sees("Remove strict?")
	p.sees("No recent image would be denied that is allowed now.")
	p.types("#why", "tried")
	p.clicks("Remove strict")
	p.sees("The policy is removed.")
	p.sees("strict was removed") // it is not lost
	p.sees("tried")
	p.accessible(axeScript(t), "what is left of a policy that was removed")
	p.presses(`td.actions a`)
	p.sees("Bring strict back")
	p.until(`document.querySelector("pre.diff").innerText.includes("+  mode: audit")`)
	p.presses(`button.danger`)
	p.sees("The earlier state of the policy is in force again.")
	if back, err := s.api.Policy(t.Context(), "strict"); err != nil || back.Mode != "audit" {
		t.Errorf("brought back: %+v, %v", back, err)
	}
	p.clicks("Remove")
	p.types("#why", "tried again")
	p.clicks("Remove strict")
	p.sees("strict was removed")
	p.open("/policy")
	p.until(`document.querySelector("tbody a.name") && ![...document.querySelectorAll("tbody a.name")].some((a) => a.innerText === "strict")`)
	if _, err := s.api.Policy(t.Context(), "strict"); !client.IsNotFound(err) {
		t.Errorf("it is still there: %v", err)
	}
}
