package browser

import (
	"encoding/csv"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/signet-policy/signet/client"
)

// The setup token makes the first administrator, who is led on to the first signer.
func TestFirstStart(t *testing.T) {
	s, setup := first(t, "")
	p := s.visit()
	p.do(chromedp.Navigate(p.url), chromedp.WaitVisible(`#token`))
	p.clicks("First start: I have a setup token")
	p.types("#setup", "not-a-token")
	p.clicks("Make the administrator")
	p.until(`!!document.querySelector("[role=alert]")`)
	p.types("#setup", setup)
	p.clicks("Make the administrator")
	p.sees("shown this once")
	if token := p.text(`document.querySelector(".command pre").innerText`); !strings.HasPrefix(token, "sgn_") {
		t.Errorf("the token is %q", token)
	}
	p.clicks("Go on: add whom you trust")
	p.sees("Nobody is trusted yet")
	p.clicks("Add the first signer")
	p.sees("As it would be")
}

// Adding a signer takes at most four clicks; what is wrong is said while one types,
// and beside the field.
func TestAddSigner(t *testing.T) {
	s := demo(t)
	s.verify("keyless")
	p := s.visit()
	p.login(s.token)
	p.clicks("Add a signer")
	p.types("#name", "release")
	p.do(chromedp.SetValue(`select[data-fill=issuer]`, "https://token.actions.githubusercontent.com"))
	p.do(chromedp.Evaluate(`document.querySelector("select[data-fill=issuer]").dispatchEvent(new Event("change", {bubbles: true}))`, nil))
	p.until(`document.querySelector("#issuer").value === "https://token.actions.githubusercontent.com"`)
	p.do(chromedp.Click(`input[name=match][value=regex]`))
	p.types("#subject", `https://github\.com/acme/(.*`)
	p.sees("no RE2 pattern")
	p.types("#subject", `https://github\.com/acme/.*`)
	p.sees(`\A(?:https://github\.com/acme/.*)\z`)
	p.sees("https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main")
	p.until(`document.querySelector("#checked .badge.good") !== null`)
	p.types("#name", "acme-release") // is taken
	p.clicks("Trust this signer")
	p.sees("is taken by another signer")
	p.types("#name", "release")
	p.do(chromedp.SetValue(`#expires_at`, "2031-07-31T18:00"), chromedp.SetValue(`#zone`, "Europe/Berlin"))
	p.clicks("Trust this signer")
	p.sees("The signer is trusted from now on.")
	found, err := s.api.Signers(t.Context(), client.SignerFilter{Query: "release", Type: "keyless"})
	if err != nil || len(found.Items) != 2 {
		t.Fatalf("%d signers, %v", len(found.Items), err)
	}
	made := found.Items[1]
	if made.SubjectRegex != `https://github\.com/acme/.*` || made.ExpiresAt == nil || made.ExpiresAt.Format("15:04") != "16:00" || !made.Enabled {
		t.Errorf("%+v", made)
	}
	p.clicks("Edit")
	p.clicks("Owner, note, first day")
	p.types("#note", "from the page")
	p.clicks("Save")
	p.sees("The signer is saved, and in force.")
	p.sees("from the page")
	p.sees("signer.update")
}

// A pasted key shows its algorithm and fingerprint before it is trusted.
func TestAddKey(t *testing.T) {
	s := demo(t)
	pem := s.publicKey("acme-key")
	p := s.visit()
	p.login(s.token)
	p.open("/signers/new?type=public_key")
	p.types("#name", "laptop")
	p.types("#public_key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
	p.until(`document.querySelector("#checked .error") !== null`)
	p.types("#public_key", pem)
	p.sees("ECDSA P-256")
	p.sees("SHA256:")
	p.clicks("Trust this signer")
	p.sees("The signer is trusted from now on.")
	p.sees("ECDSA P-256")
}

// publicKey is the PEM of a registered signer.
func (s *server) publicKey(name string) string {
	s.Helper()
	found, err := s.api.Signers(s.Context(), client.SignerFilter{Query: name})
	if err != nil || len(found.Items) != 1 {
		s.Fatalf("%d signers, %v", len(found.Items), err)
	}
	return found.Items[0].PublicKey
}

// One disables a signer, after seeing what that does, while another verifies: the
// next verdict is a deny, with the way to mend it.
func TestDisableWhileVerifying(t *testing.T) {
	s := demo(t)
	s.verify("keyless")
	admin, other := s.visit(), s.visit()
	admin.login(s.token)
	other.login(s.token)
	verify := func(want string) {
		t.Helper()
		other.open("/verify")
		other.types("#image", s.image("keyless"))
		other.clicks("Verify")
		other.sees(want)
	}
	verify("This image may run")
	other.sees("Transparency log")
	admin.types("#f-query", "acme-release")
	admin.clicks("Search")
	admin.until(`document.querySelectorAll("tbody tr").length === 1`)
	admin.until(`[...document.querySelectorAll("main a")].some((a) => a.innerText.startsWith("Disable"))`)
	admin.do(chromedp.Click(`td.actions a`))
	admin.sees("1 recent image would now be denied")
	admin.types("#why", "the key was copied")
	admin.clicks("Disable acme-release")
	admin.sees("The signer is disabled.")
	admin.sees("the key was copied")
	verify("This image may not run")
	other.sees("The trusted signer acme-release made it, but is disabled.")
	other.clicks("Look at the signer acme-release")
	other.until(`document.querySelectorAll("tbody tr").length === 1`)
	admin.clicks("Enable")
	admin.clicks("Enable acme-release")
	admin.sees("The signer is enabled.")
	verify("This image may run")
}

// From the page, at most two clicks lead to why an image was refused; from there an
// administrator trusts who signed it.
func TestWhyRefused(t *testing.T) {
	s := demo(t)
	found, err := s.api.Signers(t.Context(), client.SignerFilter{Query: "acme-release"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.api.DeleteSigner(t.Context(), found.Items[0].ID, found.Items[0].Version); err != nil {
		t.Fatal(err)
	}
	s.verify("keyless")
	p := s.visit()
	p.login(s.token)
	p.clicks("Results")
	p.sees("Decisions of the last 30 days")
	p.do(chromedp.Click(`tbody .actions button`))
	p.sees("is signed, but by nobody whom this policy trusts")
	p.sees("signet signers add")
	p.clicks("Add this identity as a signer")
	p.until(`document.querySelector("#subject")?.value === "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"`)
	p.types("#name", "acme-release")
	p.clicks("Trust this signer")
	p.sees("The signer is trusted from now on.")
	p.open("/verify")
	p.types("#image", s.image("keyless"))
	p.clicks("Verify")
	p.sees("This image may run")
}

// What is wrong with a question, and what could not be found out, is said.
func TestVerifyErrors(t *testing.T) {
	s := demo(t)
	p := s.visit()
	p.login(s.token)
	p.open("/verify")
	p.types("#image", "no image at all")
	p.clicks("Verify")
	p.until(`!!document.querySelector("#answer [role=alert]")`)
	p.types("#image", s.image("unreachable"))
	p.clicks("Verify")
	p.sees("It could not be found out whether this image may run")
}

// The form and the YAML of a policy follow each other; a change is seen before it is
// saved, compared, and taken back.
func TestPolicy(t *testing.T) {
	s := demo(t)
	s.verify("keyless")
	p := s.visit()
	p.login(s.token)
	p.open("/policy/default")
	p.clicks("Edit")
	p.do(chromedp.WaitVisible(`#threshold`), chromedp.SetValue(`#threshold`, "2"), chromedp.Evaluate(`document.querySelector("#threshold").dispatchEvent(new Event("change", {bubbles: true}))`, nil))
	p.until(`document.querySelector("#document").value.includes("threshold: 2")`)
	edit := func(from, to string) {
		t.Helper()
		p.until(idle) // what was put in its place a moment ago listens from then on
		p.do(chromedp.Evaluate(`(() => { const d = document.querySelector("#document"); d.value = d.value.replace("mode: `+from+`", "mode: `+to+`"); d.dispatchEvent(new Event("change", {bubbles: true})); return true; })()`, nil))
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
	p.do(chromedp.Click(`td.actions button`))
	p.sees("The earlier state of the policy is in force again.")
	p.until(`document.querySelector("pre").innerText.includes("threshold: 1")`)
	p.clicks("Make an exception")
	p.types("#images", "ghcr.io/acme/legacy")
	p.types("#codes", "unsigned")
	p.types("#reason", "it is being moved")
	p.types("#owner", "platform")
	p.do(chromedp.SetValue(`#expires_at`, "2099-01-01T00:00"))
	p.do(chromedp.Evaluate(`document.querySelector("#expires_at").form.requestSubmit()`, nil))
	p.until(`document.querySelector(".wrong .error") !== null`) // too far ahead
}

// A token is shown once; when it is revoked, who has logged in with it is out.
func TestTokens(t *testing.T) {
	s := demo(t)
	admin, other := s.visit(), s.visit()
	admin.login(s.token)
	admin.open("/tokens")
	admin.clicks("New token")
	admin.types("#name", "colleague")
	admin.do(chromedp.SetValue(`#role`, "viewer"))
	admin.clicks("Make the token")
	admin.sees("Shown this once.")
	token := admin.text(`document.querySelector(".command pre").innerText`)
	admin.clicks("I have kept it")
	admin.sees("colleague")
	other.login(token)
	other.open("/signers")
	if other.text(`String([...document.querySelectorAll("a")].some((a) => a.innerText === "Add a signer"))`) != "false" {
		t.Error("a viewer is offered to add a signer")
	}
	if res, _ := s.get("/signers/new", "Authorization", "Bearer "+token); res.StatusCode != http.StatusOK {
		t.Errorf("the form: %d", res.StatusCode)
	}
	admin.do(chromedp.Evaluate(`[...document.querySelectorAll("tr")].find((r) => r.innerText.includes("colleague")).querySelector("details").open = true`, nil))
	admin.clicks("Revoke colleague for good")
	admin.sees("The token is revoked.")
	other.do(chromedp.Navigate(other.url+"/results"), chromedp.WaitVisible(`#token`))
	admin.open("/audit")
	admin.sees("token.revoke")
	admin.clicks("Check the chain")
	admin.sees("The chain is whole")
}

// Filters are in the address; files have what the list has.
func TestResults(t *testing.T) {
	s := demo(t)
	s.verify("keyless", "unsigned")
	p := s.visit()
	p.login(s.token)
	p.open("/results")
	p.do(chromedp.SetValue(`#f-decision`, "deny"), chromedp.Evaluate(`document.querySelector("#f-decision").dispatchEvent(new Event("change", {bubbles: true}))`, nil))
	p.until(`location.search.includes("decision=deny") && document.querySelectorAll("tbody tr").length === 1`)
	// A row expands to its verdict, folds, and unfolds.
	open := `document.querySelector("[data-fold]").getAttribute("aria-expanded") === "true" && document.querySelector("tr[data-more]").checkVisibility()`
	p.do(chromedp.Click(`[data-fold]`))
	p.until(open + ` && document.querySelector("tr[data-more]").textContent.includes("not signed")`)
	p.do(chromedp.Click(`[data-fold]`))
	p.until(`document.querySelector("[data-fold]").textContent.startsWith("Expand") && !document.querySelector("tr[data-more]").checkVisibility()`)
	p.do(chromedp.Click(`[data-fold]`))
	p.until(open + ` && document.querySelectorAll("tr[data-more]").length === 1`)
	res, body := s.get("/results/export?format=csv&decision=deny", "Authorization", "Bearer "+s.token)
	rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if err != nil || res.StatusCode != http.StatusOK || len(rows) != 2 || rows[1][4] != "deny" {
		t.Errorf("%d %v %v", res.StatusCode, err, rows)
	}
	if _, body := s.get("/results/export?format=ndjson", "Authorization", "Bearer "+s.token); strings.Count(body, "\n") != 2 {
		t.Errorf("NDJSON:\n%s", body)
	}
	p.open("/results?name=ghcr.io/none/such")
	p.sees("No verdict matches")
}

// Reading, logging in and asking for a verdict need no script.
func TestWithoutScript(t *testing.T) {
	s := demo(t)
	s.verify("keyless")
	p := s.visit()
	p.do(emulation.SetScriptExecutionDisabled(true))
	p.do(chromedp.Navigate(p.url), chromedp.WaitVisible(`#token`), chromedp.SendKeys(`#token`, s.token), chromedp.Click(`form.card button`), chromedp.WaitVisible(`.tabs a[aria-current]`))
	for _, tab := range tabs {
		p.do(chromedp.Navigate(p.url+"/"+tab.name), chromedp.WaitVisible(`.tabs a[aria-current]`))
	}
	p.do(chromedp.Navigate(p.url+"/verify"), chromedp.WaitVisible(`#image`), chromedp.SendKeys(`#image`, s.image("keyless")), chromedp.Click(`form.card button`), chromedp.WaitVisible(`.verdict.allow`))
	p.do(chromedp.Navigate(p.url+"/results/chart"), chromedp.WaitVisible(`svg.chart`))
}
