package browser

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// The setup token makes the first administrator, who is led on to the first signer.
func TestFirstStart(t *testing.T) {
	s, setup := first(t, settings{})
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

// Who has a session at the gateway is in, as long as the gateway says so: what its
// administrators change is audited under their name.
func TestGatewaySession(t *testing.T) {
	var mu sync.Mutex
	answer, status := `{"valid": true, "user": {"email": "jane@example.com", "is_admin": true, "is_active": true}}`, http.StatusOK
	says := func(code int, body string) { mu.Lock(); defer mu.Unlock(); status, answer = code, body }
	session := "session-" + t.Name()
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch cookie, err := r.Cookie("jwt_token"); {
		case r.URL.Path == "/login":
			http.SetCookie(w, &http.Cookie{Name: "jwt_token", Value: session, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
			_, _ = w.Write([]byte(`<h1 id="in">Welcome to the gateway</h1>`))
		case r.URL.Path != "/auth/validate" || err != nil || cookie.Value != session:
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.WriteHeader(status)
			_, _ = w.Write([]byte(answer))
		}
	}))
	t.Cleanup(gateway.Close)
	s := started(t, settings{more: "page:\n  gateway: {url: " + gateway.URL + ", role: viewer}\n"})
	p := s.visit()
	p.do(chromedp.Navigate(p.url+"/signers"), chromedp.WaitVisible(`#token`)) // no session yet
	p.do(chromedp.Navigate(gateway.URL+"/login"), chromedp.WaitVisible(`#in`))
	p.open("/signers")
	p.sees("gateway:jane@example.com")
	p.trustsFirst()
	p.audited("signer.create", "gateway:jane@example.com")

	// She is no administrator any more, then the gateway is ill, then her session ends:
	// each counts within seconds.
	becomes := func(code int, body, expression string) {
		t.Helper()
		says(code, body)
		p.until(`(() => { if (window.asked && Date.now() - window.asked < 5000) return false; if (` + expression + `) return true; window.asked = Date.now(); location.href = "` + p.url + `/signers"; return false; })()`)
	}
	becomes(http.StatusOK, `{"valid": true, "user": {"email": "jane@example.com", "is_admin": false, "is_active": true}}`,
		`document.body.innerText.includes("builder@example.com") && ![...document.querySelectorAll("main a")].some((a) => a.innerText === "Add a signer")`)
	becomes(http.StatusBadGateway, ``, `document.body.innerText.includes("The gateway, whose session you have, could not be asked who you are")`)
	becomes(http.StatusUnauthorized, `{}`, `!!document.querySelector("#token")`)
}

// Everything is done with the keyboard alone: the focus is seen, follows the order of
// the page, and comes to what one wants.
func TestKeyboard(t *testing.T) {
	s := demo(t)
	p := s.visit()
	p.do(chromedp.Navigate(p.url), chromedp.WaitVisible(`#token`))
	// tabs goes from one thing to the next until it is at what an expression tells.
	tabs := func(what string) {
		t.Helper()
		var seen []string
		for range 60 {
			p.do(chromedp.KeyEvent(kb.Tab))
			var at struct {
				There, Shown bool
				Name         string
			}
			p.do(chromedp.Evaluate(`(() => { const e = document.activeElement, s = getComputedStyle(e);
				const own = e === document.body || e.type === "datetime-local"; // the browser's parts of it have their own
				return {There: Boolean(`+what+`), Shown: own || e.matches(":focus-visible") && (s.outlineStyle !== "none" || s.boxShadow !== "none"), Name: (e.id || e.name || e.innerText || e.tagName).trim()}; })()`, &at))
			seen = append(seen, at.Name)
			if !at.Shown {
				t.Errorf("nobody sees that the focus is at %q", at.Name)
			}
			if at.There {
				return
			}
		}
		t.Fatalf("the keyboard does not come to %s, but to %q", what, seen)
	}
	called := func(name string) string { return `e.checkVisibility() && e.innerText.trim() === "` + name + `"` }
	if p.text(`document.activeElement.id`) != "token" {
		tabs(`e.id === "token"`)
	}
	p.do(chromedp.KeyEvent(s.token), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(`.tabs a[aria-current]`))
	tabs(called("Skip to the content"))
	p.do(chromedp.KeyEvent(kb.Enter))
	tabs(called("Add a signer"))
	p.do(chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(`#name`))
	tabs(`e.id === "name"`)
	p.do(chromedp.KeyEvent("by-keyboard"))
	tabs(`e.id === "issuer"`)
	p.do(chromedp.KeyEvent("https://accounts.google.com"))
	tabs(`e.id === "subject"`)
	p.do(chromedp.KeyEvent("builder@example.com"))
	p.until(`document.querySelector("#checked").innerText.includes("As it would be")`)
	tabs(called("Trust this signer"))
	p.do(chromedp.KeyEvent(kb.Enter))
	p.sees("The signer is trusted from now on.")
	tabs(called("Verify"))
	p.do(chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(`#image`))
	tabs(`e.id === "image"`)
	p.do(chromedp.KeyEvent(s.image("unsigned")), chromedp.KeyEvent(kb.Enter))
	p.sees("This image may not run")
	tabs(called("Results"))
	p.do(chromedp.KeyEvent(kb.Enter))
	p.sees("Decisions of the last 30 days")
	tabs(`e.matches("[data-fold]")`)
	p.do(chromedp.KeyEvent(kb.Enter))
	p.until(`document.querySelector("tr[data-more]")?.checkVisibility()`)
}

// A token that is none is refused, and what is to be copied is.
func TestWrongTokenAndCopy(t *testing.T) {
	s := demo(t)
	p := s.visit()
	p.do(chromedp.Navigate(p.url), chromedp.WaitVisible(`#token`), chromedp.SendKeys(`#token`, "sgn_abcdefghijklmnop_wrong"), chromedp.Submit(`#token`))
	p.until(`document.querySelector("[role=alert]")?.checkVisibility() && !!document.querySelector("#token") && !document.querySelector(".tabs a")`)
	p.login(s.token)
	p.open("/tokens/new")
	p.types("#name", "copied")
	p.clicks("Make the token")
	p.sees("Shown this once.")
	p.do(browser.GrantPermissions([]browser.PermissionType{browser.PermissionTypeClipboardReadWrite, browser.PermissionTypeClipboardSanitizedWrite}), emulation.SetFocusEmulationEnabled(true))
	p.clicks("Copy")
	p.sees("Copied")
	var copied string
	p.do(chromedp.Evaluate(`navigator.clipboard.readText()`, &copied, func(e *runtime.EvaluateParams) *runtime.EvaluateParams { return e.WithAwaitPromise(true) }))
	if token := p.text(`document.querySelector(".command pre").innerText`); copied != token || token == "" {
		t.Errorf("%q is copied of %q", copied, token)
	}
}
