package browser

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/testkit/kmstest"
)

// Adding a signer takes at most four clicks; what is wrong is said while one types,
// and beside the field.
func TestAddSigner(t *testing.T) {
	s := demo(t)
	s.verify("keyless")
	p := s.visit()
	p.login(s.token)
	p.clicks("Add a signer")
	p.types("#name", "release")
	p.changes("select[data-fill=issuer]", "https://token.actions.githubusercontent.com")
	p.until(`document.querySelector("#issuer").value === "https://token.actions.githubusercontent.com"`)
	p.presses("input[name=match][value=regex]")
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
	p.changes("#expires_at", "2031-07-31T18:00")
	p.changes("#zone", "Europe/Berlin")
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

// A pasted or dropped key shows its algorithm and fingerprint before it is trusted.
func TestAddKey(t *testing.T) {
	s := demo(t)
	pem := s.publicKey("acme-key")
	p := s.visit()
	p.login(s.token)
	p.open("/signers/new?type=public_key")
	p.types("#name", "laptop")
	p.types("#public_key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
	p.until(`document.querySelector("#checked .error") !== null`)
	p.do(chromedp.Evaluate(`document.querySelector("#public_key").value = ""`, nil))
	quoted, _ := json.Marshal(pem)
	p.do(chromedp.Evaluate(`(() => {
		const dropped = new DataTransfer();
		dropped.items.add(new File([`+string(quoted)+`], "signer.pub"));
		document.querySelector("#public_key").dispatchEvent(new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: dropped}));
	})()`, nil))
	p.until(`document.querySelector("#public_key").value.startsWith("-----BEGIN PUBLIC KEY-----")`)
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
	admin.presses(`td.actions a`)
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

// A key in a KMS is tried before it is saved; when the service has another key later,
// an administrator compares and accepts it.
func TestAddKMS(t *testing.T) {
	vault := kmstest.NewVault(t)
	key := vault.Key("release", kmstest.ECDSAP256)
	s := started(t, settings{offline: "false", environment: vault.Environment()})
	p := s.visit()
	p.login(s.token)
	p.clicks("Add the first signer")
	p.clicks("Key in a KMS\nAWS, Google, Azure or Vault")
	p.types("#name", "release-key")
	p.types("#kms_key_ref", "vault://release")
	p.clicks("Trust this signer")
	p.sees("hashivault://") // what would be right
	tries := func(ref, expect string) {
		t.Helper()
		p.types("#kms_key_ref", ref)
		p.clicks("Try the key")
		p.until(`document.querySelector("#tried").innerText.includes("` + expect + `")`)
	}
	tries("release", "hashivault://") // which schemes there are
	tries("hashivault://nothing", "no such key")
	vault.Seal()
	tries(key.Reference(), "sealed")
	vault.Heal()
	tries(key.Reference(), "ECDSA P-256")
	tried := p.text(`document.querySelector("#tried dd.mono").innerText`)
	p.types("#kms_key_ref", key.Reference()+"2")
	p.until(`document.querySelector("#tried").innerText === ""`)
	tries(key.Reference(), tried)
	p.clicks("Trust this signer")
	p.sees("The signer is trusted from now on.")
	p.sees(tried)

	key.Rotate()
	p.clicks("Read the key now")
	p.sees("The service has another key now.")
	p.open("/signers")
	p.sees("new key waits")
	p.clicks("release-key")
	p.sees("do not count until it is accepted")
	next := p.text(`document.querySelector(".note.warn .mono").innerText`)
	if next == tried {
		t.Errorf("%s is the key that waits, and was tried first", next)
	}
	p.clicks("Accept the new key")
	p.sees("The new key is in use.")
	p.sees(next)
	p.sees("signer.accept_key")
	found, err := s.api.Signers(t.Context(), client.SignerFilter{Query: "release-key"})
	if err != nil || len(found.Items) != 1 || found.Items[0].KMS == nil || found.Items[0].KMS.Pending != nil {
		t.Errorf("%+v, %v", found.Items, err)
	}
}

// What is found out about a key says of which, and nothing of a reference that was written
// since: nobody waits for that.
func TestTryOfAnotherKey(t *testing.T) {
	vault := kmstest.NewVault(t)
	key := vault.Key("release", kmstest.ECDSAP256)
	s := started(t, settings{offline: "false", environment: vault.Environment()})
	tried, left := make(chan struct{}, 10), make(chan struct{})
	var once sync.Once
	g := s.proxied(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/signers/try-key") {
			tried <- struct{}{}
			once.Do(func() {
				_ = r.ParseForm() // its end is seen once it was read
				select {
				case <-r.Context().Done():
					close(left)
				case <-t.Context().Done():
				}
			})
		}
		return false
	})
	p := s.visit()
	p.url = g.URL + place
	p.login(s.token)
	p.open("/signers/new?type=kms")
	p.types("#kms_key_ref", key.Reference())
	p.clicks("Try the key")
	soon(t, tried)
	p.do(chromedp.SendKeys("#kms_key_ref", "2"))
	soon(t, left)
	p.until(idle + ` && !document.querySelector("[aria-busy], .busy") && document.querySelector("#tried").innerText === "" && !document.querySelector("#signet-notice").firstChild`)
	p.clicks("Try the key")
	soon(t, tried)
	p.until(`document.querySelector("#tried").innerText.includes("` + key.Reference() + `2") && document.querySelector("#tried .error")`)
}

// The list is searched, filtered and sorted, and the address keeps how; who is removed
// is gone from it, and stays in the audit log.
func TestFindAndRemove(t *testing.T) {
	s := demo(t)
	furnish(s)
	p := s.visit()
	p.login(s.token)
	rows := func(want ...string) {
		t.Helper()
		list, _ := json.Marshal(want)
		p.until(`JSON.stringify([...document.querySelectorAll("tbody a.name")].map((a) => a.innerText)) === ` + "`" + string(list) + "`")
	}
	p.changes("#f-type", "public_key")
	p.until(`location.search.includes("type=public_key")`)
	rows("acme-key")
	p.changes("#f-type", "keyless")
	rows("acme-release", "platform-team", "release-tags", "old-laptop") // as they came
	p.presses(`th a[href*="sort=name"]`)
	rows("acme-release", "old-laptop", "platform-team", "release-tags")
	p.presses(`th a[href*="sort=-name"]`)
	rows("release-tags", "platform-team", "old-laptop", "acme-release")
	p.changes("#f-state", "disabled")
	rows("old-laptop")
	p.do(chromedp.Reload())
	rows("old-laptop")
	p.text(`window.here = "yes"`) // a search does not leave the page, which may be another program's
	p.types("#f-query", "no-one")
	p.clicks("Search")
	p.sees("No signer matches")
	p.clicks("Clear")
	p.clicks("old-laptop")
	p.clicks("Remove")
	p.sees("No recent image would be denied that is allowed now.")
	p.types("#why", "the pipeline signs")
	p.clicks("Remove old-laptop")
	p.sees("The signer is removed.")
	rows("acme-release", "acme-key", "platform-team", "release-tags")
	if here := p.text(`String(window.here)`); here != "yes" {
		t.Errorf("the page was left on the way: %s", here)
	}
	p.open("/audit")
	p.sees("the pipeline signs")
}

// The zone of a new expiry moves no other time: one that nobody has touched is shown by
// the zone's clock, and stays the moment that it was.
func TestZoneOfOneTime(t *testing.T) {
	s := demo(t)
	until := time.Date(2031, 3, 4, 5, 6, 7, 890_123_000, time.UTC)
	made, err := s.api.CreateSigner(t.Context(), client.Signer{Name: "laptop", Type: "keyless", Issuer: "https://accounts.google.com", Subject: "jane@example.com", Enabled: true, SignedUntil: &until})
	if err != nil {
		t.Fatal(err)
	}
	p := s.visit()
	p.login(s.token)
	p.open("/signers/" + made.ID + "/edit")
	p.changes("#expires_at", "2031-07-31T18:00")
	p.changes("#zone", "Europe/Berlin")
	p.until(`document.querySelector("#signed_until").value === "2031-03-04T06:06:07" && document.querySelector("#expires_at").value === "2031-07-31T18:00"`)
	p.changes("#zone", "Asia/Tokyo")
	p.until(`document.querySelector("#signed_until").value === "2031-03-04T14:06:07"`)
	p.clicks("Save")
	p.sees("The signer is saved, and in force.")
	got, err := s.api.Signer(t.Context(), made.ID)
	if err != nil || got.SignedUntil == nil || !got.SignedUntil.Equal(until) || got.ExpiresAt == nil || got.ExpiresAt.UTC().Format(time.RFC3339) != "2031-07-31T09:00:00Z" {
		t.Errorf("%+v, %v", got, err)
	}
}

// Long lists go on, and are narrowed to a team's.
func TestManySigners(t *testing.T) {
	s := demo(t)
	for i := range 56 {
		owner := "web"
		if i == 55 {
			owner = "data"
		}
		if _, err := s.api.CreateSigner(t.Context(), client.Signer{Name: fmt.Sprintf("%s-%02d", owner, i), Type: "keyless", Issuer: "https://accounts.google.com", Subject: fmt.Sprintf("p%d@example.com", i), Enabled: true, Owner: owner}); err != nil {
			t.Fatal(err)
		}
	}
	p := s.visit()
	p.login(s.token)
	p.sees("More than 50 signers; these are the first.")
	rows := func(n int, first string) {
		t.Helper()
		p.until(fmt.Sprintf(`(() => { const names = [...document.querySelectorAll("tbody a.name")].map((a) => a.innerText); return names.length === %d && names[0] === %q; })()`, n, first))
	}
	p.types("#f-owner", "web")
	p.clicks("Search")
	rows(50, "web-00")
	p.clicks("Next page")
	rows(5, "web-50")
	p.clicks("First page")
	rows(50, "web-00")
	p.types("#f-owner", "data")
	p.clicks("Search")
	rows(1, "data-55")
	p.sees("1 signer matches.")
}

// The form of a signer: what any type has outlives a change of the type, each well-known
// issuer can be chosen, and one comes to what is wrong.
func TestSignerFields(t *testing.T) {
	s := demo(t)
	p := s.visit()
	p.login(s.token)
	p.clicks("Add a signer")
	p.types("#name", "bound")
	p.clicks("Public key\nA PEM, pasted or dropped")
	p.until(`document.querySelector("#name").value === "bound" && !!document.querySelector("#public_key")`)
	p.clicks("Keyless identity\nA CI workflow or a person, by their certificate")
	p.until(`document.querySelector("#name").value === "bound" && !!document.querySelector("#subject")`)
	var issuers []string
	p.do(chromedp.Evaluate(`[...document.querySelectorAll("select[data-fill=issuer] option")].map((o) => o.value).filter(Boolean)`, &issuers))
	if len(issuers) != 5 {
		t.Errorf("the issuers are %q", issuers)
	}
	for _, issuer := range issuers {
		p.changes("select[data-fill=issuer]", issuer)
		p.until(fmt.Sprintf(`document.querySelector("#issuer").value === %q && document.activeElement.id === "issuer"`, issuer))
	}
	p.types("#issuer", "https://accounts.google.com")
	p.types("#subject", "builder@example.com")
	p.clicks("Claims and trust roots")
	p.types("#claims", "source_repository_ref")
	p.changes("input[name=trust_roots]", "on")
	p.clicks("What would change?")
	p.sees("What is typed is not right yet")
	p.clicks("Trust this signer")
	p.sees("Not saved.")
	p.until(idle + ` && document.activeElement.id === "claims" && document.activeElement.checkVisibility()`)
	p.accessible(axeScript(t), "a form with an error")
	p.types("#claims", "source_repository_ref: refs/tags/**")
	p.clicks("Trust this signer")
	p.sees("The signer is trusted from now on.")
	p.sees("refs/tags/**")
	found, err := s.api.Signers(t.Context(), client.SignerFilter{Query: "bound"})
	if err != nil || len(found.Items) != 1 || found.Items[0].Claims["source_repository_ref"] != "refs/tags/**" || len(found.Items[0].TrustRoots) != 1 {
		t.Errorf("%+v, %v", found.Items, err)
	}
}

// A preview ends when its page is left, so that the next one is not kept waiting.
func TestPreviewIsLeft(t *testing.T) {
	s := demo(t)
	to, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	found, err := s.api.Signers(t.Context(), client.SignerFilter{Query: "acme-release"})
	if err != nil || len(found.Items) != 1 {
		t.Fatalf("%d signers, %v", len(found.Items), err)
	}
	begun, left := make(chan struct{}), make(chan struct{})
	server := httputil.NewSingleHostReverseProxy(to)
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("preview") == "part" {
			close(begun)
			<-r.Context().Done()
			close(left)
			return
		}
		server.ServeHTTP(w, r)
	}))
	t.Cleanup(slow.Close)
	t.Cleanup(slow.CloseClientConnections)
	p := s.visit()
	p.url = slow.URL + place
	p.login(s.token)
	p.open("/signers/" + found.Items[0].ID + "/change?action=disable")
	comes := func(what string, when <-chan struct{}) {
		t.Helper()
		select {
		case <-when:
		case <-time.After(patience):
			t.Fatal(what)
		}
	}
	comes("no preview was asked for", begun)
	p.do(chromedp.Evaluate(`[...document.querySelectorAll("main a")].find((a) => a.innerText === "Cancel").click()`, nil))
	p.sees("What relies on it")
	comes("the preview goes on", left)
}
