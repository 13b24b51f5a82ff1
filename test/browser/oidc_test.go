package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/signet-policy/signet/internal/testkit/freeport"
	"github.com/signet-policy/signet/internal/testkit/oidctest"
)

// People log in at the organisation's identity provider: what they may do is what
// their groups may.
func TestOIDC(t *testing.T) {
	provider := oidctest.New(t, time.Now)
	address, err := freeport.Address() // a provider wants to know the page's
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "client-secret")
	if err := os.WriteFile(secret, []byte(oidctest.ClientSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := started(t, settings{address: address, more: fmt.Sprintf(`page:
  oidc:
    issuer: %s
    label: Example Login
    client_id: %s
    client_secret_file: %q
    redirect_url: http://%s%s/login/oidc/callback
    roles:
      - {group: platform, role: admin}
      - {group: web, role: viewer}
`, provider.URL, oidctest.ClientID, secret, address, place)})
	p := s.visit()
	begin := func(path string) {
		t.Helper()
		p.do(chromedp.Navigate(p.url+path), chromedp.WaitVisible(`#token`))
		p.clicks("Log in with Example Login")
	}

	// Nobody with a role here: it is said who they are, and what to do.
	provider.Is(map[string]any{"groups": []string{"sales"}, "email": "eve@example.com", "email_verified": true})
	begin("")
	p.sees("You are known as eve@example.com, and none of your groups has a role here.")
	p.until(`!!document.querySelector("[role=alert]") && !!document.querySelector("#token") && !document.querySelector(".tabs a")`)
	p.do(chromedp.Navigate(p.url+"/signers"), chromedp.WaitVisible(`#token`)) // they are not in

	// An administrator lands where they wanted to, and may change things.
	provider.Is(map[string]any{"groups": []string{"staff", "platform"}, "email": "jane@example.com", "email_verified": true})
	begin("/tokens")
	p.until(`location.pathname.endsWith("/tokens") && document.querySelector(".tabs a[aria-current]").innerText === "Tokens"`)
	p.sees("oidc:jane@example.com")
	p.clicks("Signers")
	p.trustsFirst()
	p.audited("signer.create", "oidc:jane@example.com")

	// Whoever logs out is out.
	p.clicks("Log out")
	p.do(chromedp.WaitVisible(`#token`))
	p.do(chromedp.Navigate(p.url+"/signers"), chromedp.WaitVisible(`#token`))

	// Somebody who may only look sees no way to change anything, and cannot.
	provider.Is(map[string]any{"groups": []string{"web"}, "email": "joe@example.com", "email_verified": true})
	begin("/signers")
	p.until(`location.pathname.endsWith("/signers") && !!document.querySelector(".tabs a[aria-current]")`)
	p.sees("oidc:joe@example.com")
	p.sees("builder@example.com")
	p.until(`!document.querySelector('main a[href*="/change"], main a[href$="/signers/new"]')`)
	p.open("/signers/new")
	p.types("#name", "mine")
	p.types("#issuer", "https://accounts.google.com")
	p.types("#subject", "joe@example.com")
	p.clicks("Trust this signer")
	p.sees("viewer")
	p.until(`[...document.querySelectorAll("[role=alert], main .error, main h1")].some((e) => /role|may not/i.test(e.innerText))`)
	p.open("/signers")
	p.until(`document.querySelectorAll("tbody tr").length === 1`)
}
