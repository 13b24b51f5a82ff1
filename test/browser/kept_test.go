package browser

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/testkit/eventually"
)

// another is the same person in a second tab of the browser.
func (p *person) another() *person {
	p.Helper()
	ctx, end := chromedp.NewContext(p.ctx)
	p.Cleanup(end)
	if err := chromedp.Run(ctx); err != nil {
		p.Fatal(err)
	}
	return &person{T: p.T, ctx: ctx, url: p.url}
}

// proxied puts something before the server, which answers in its place when it says so.
func (s *server) proxied(instead func(http.ResponseWriter, *http.Request) bool) *httptest.Server {
	s.Helper()
	behind, err := url.Parse(s.url)
	if err != nil {
		s.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(behind); r.Out.Host = r.In.Host }}
	out := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !instead(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	s.Cleanup(out.Close)
	return out
}

// A session that ends takes nothing of what is being written with it: who logs in again,
// in another tab, sends it then.
func TestSessionEndsMeanwhile(t *testing.T) {
	s := started(t, settings{})
	p := s.visit()
	p.login(s.token)
	p.open("/signers")
	p.trustsFirst()
	q := p.another()
	for _, tt := range []struct{ name, open, field, text, save, saved string }{
		{"a signer", "/signers", "#subject", "other@example.com", "Save", "The signer is saved, and in force."},
		{"a policy", "/policy/mine/edit?new=1", "#threshold", "3", "Save, and put in force", "The policy is saved, and in force."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p.open(tt.open)
			if tt.name == "a signer" {
				p.clicks("ci")
				p.clicks("Edit")
			}
			kept := `document.querySelector("` + tt.field + `").value === "` + tt.text + `"`
			q.open("/signers")
			q.clicks("Log out")
			q.sees("You are logged out.")
			p.types("#why", "it moved")
			p.changes(tt.field, tt.text) // which asks what is wrong with it, or for the YAML
			p.sees("Your session has ended.")
			p.until(`document.querySelector("#signet-notice a").target === "_blank" && ` + kept)
			p.clicks(tt.save)
			p.sees("Your session has ended.")
			p.until(idle + ` && location.pathname !== "` + place + `/login" && ` + kept + ` && document.querySelector("#why").value === "it moved"`)
			q.login(s.token)
			p.clicks(tt.save)
			p.sees(tt.saved)
			p.until(`!document.querySelector("#signet-notice").firstChild`)
			p.audited(map[bool]string{true: "signer.update", false: "policy."}[tt.name == "a signer"], "it moved")
		})
	}
}

// What answers in the server's place, and a server that is gone, leave the page as it is,
// and are told of.
func TestServerAway(t *testing.T) {
	s := started(t, settings{})
	var ill atomic.Bool
	g := s.proxied(func(w http.ResponseWriter, _ *http.Request) bool {
		if ill.Load() {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusBadGateway)
			_, _ = w.Write([]byte("<html><body><h1>502 Bad Gateway</h1></body></html>"))
		}
		return ill.Load()
	})
	p := s.visit()
	p.excused = "Failed to load resource"
	p.url = g.URL + place
	p.login(s.token)
	p.trustsFirst()
	p.clicks("Edit")
	leaves := func() { p.text(`(window.confirm = () => true, "")`) } // what is not saved, when one is asked
	leaves()
	p.types("#why", "it moved")
	told := func(what string) {
		t.Helper()
		for _, do := range []string{"Save", "What would change?", "Results"} {
			p.text(`(document.querySelector("#signet-notice").replaceChildren(), "")`)
			p.clicks(do)
			p.until(idle + ` && document.querySelector("#signet-notice [role=alert]")?.innerText.includes("` + what + `") && document.querySelector("#why").value === "it moved"`)
		}
		p.text(`(document.querySelector("#signet-notice").replaceChildren(), "")`)
		p.types("#subject", "other@example.com") // the check that goes on while one types
		p.until(`document.querySelector("#signet-notice [role=alert]")?.innerText.includes("` + what + `")`)
	}
	ill.Store(true)
	told("with 502")
	if address := p.text(`location.pathname`); !strings.HasSuffix(address, "/edit") {
		t.Errorf("the address is %s", address)
	}
	ill.Store(false)
	p.types("#subject", "third@example.com")
	p.until(`!document.querySelector("#signet-notice").firstChild`) // it answers again
	p.url = s.url + place                                           // where the cookie counts too
	p.open("/signers")
	p.clicks("ci")
	p.clicks("Edit")
	leaves()
	p.types("#why", "it moved")
	s.ends()
	told("The server could not be reached.")
}

// What a page waits for since it was loaded says there that it has not come, and is asked
// for again there.
func TestPanelsAskAgain(t *testing.T) {
	s := demo(t)
	s.verify("keyless")
	found, err := s.api.Signers(t.Context(), client.SignerFilter{Query: "acme-release"})
	if err != nil || len(found.Items) != 1 {
		t.Fatalf("%d signers, %v", len(found.Items), err)
	}
	var ill atomic.Bool
	away := false
	g := s.proxied(func(w http.ResponseWriter, r *http.Request) bool {
		if !ill.Load() || r.URL.Query().Get("preview") != "part" && !strings.HasSuffix(r.URL.Path, "/results/chart") {
			return false
		}
		if away {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	p := s.visit()
	p.excused = "Failed to load resource"
	p.url = g.URL + place
	p.login(s.token)
	for _, tt := range []struct{ path, says, comes string }{
		{"/results", "answered in its place, with 502", "Decisions of the last 30 days"},
		{"/signers/" + found.Items[0].ID + "/change?action=disable", "could not be reached", "1 recent image would now be denied"},
		{"/policy/default/rollback?to=1", "answered in its place, with 502", "recent image"},
	} {
		away = strings.Contains(tt.says, "reached")
		ill.Store(true)
		p.open(tt.path)
		p.until(idle + ` && document.querySelector("[hx-trigger=load] [role=alert]")?.innerText.includes("` + tt.says + `") && !document.querySelector("#signet-notice").firstChild`)
		p.clicks("Try again")
		p.until(idle + ` && document.querySelector("#signet-notice").innerText.includes("` + tt.says + `") && document.querySelector("[hx-trigger=load] button").checkVisibility()`)
		ill.Store(false)
		p.clicks("Try again")
		p.sees(tt.comes)
		p.until(idle + ` && !document.querySelector("main [role=alert]")`)
	}
}

// What is told while one types gives way to what is told later, when that is another thing.
func TestLaterNoticeIsTold(t *testing.T) {
	s := started(t, settings{})
	var away atomic.Bool
	g := s.proxied(func(http.ResponseWriter, *http.Request) bool {
		if away.Load() {
			panic(http.ErrAbortHandler)
		}
		return false
	})
	p := s.visit()
	p.excused = "Failed to load resource"
	p.url = g.URL + place
	p.login(s.token)
	p.open("/signers/new")
	away.Store(true)
	p.types("#subject", "a")
	p.sees("The server could not be reached.")
	away.Store(false)
	q := p.another()
	q.open("/signers")
	q.clicks("Log out")
	q.sees("You are logged out.")
	p.types("#subject", "ab")
	p.sees("Your session has ended.")
	p.text(`(document.querySelector("#signet-notice").firstChild.told = "once", "")`)
	p.types("#subject", "abc")
	p.until(idle)
	p.do(chromedp.Sleep(time.Second)) // the check waits until one stops typing
	p.until(idle + ` && document.querySelector("#signet-notice").firstChild.told === "once"`)
	away.Store(true)
	p.types("#subject", "abcd")
	p.sees("The server could not be reached.")
}

// What was not done is told above the form, and the form stays; what was done is told once.
func TestRefusedAboveTheForm(t *testing.T) {
	s := started(t, settings{})
	p := s.visit()
	p.login(s.token)
	p.trustsFirst()
	p.until(`location.pathname.includes("/signers") && !location.search.includes("done")`)
	p.do(chromedp.Reload(), chromedp.WaitVisible(`.tabs a[aria-current]`))
	p.until(`!document.body.innerText.includes("The signer is trusted from now on.")`)
	p.clicks("Remove")
	p.types("#why", "because")
	at := p.text(`location.href`)
	q := p.another() // where somebody else is faster
	q.open("/signers")
	q.clicks("ci")
	q.clicks("Disable")
	q.clicks("Disable ci")
	q.sees("The signer is disabled.")
	p.clicks("Remove ci")
	p.sees("Somebody else has changed this")
	p.until(idle + ` && document.querySelector("#signet-notice [role=alert]").checkVisibility() && document.querySelector("#why").value === "because" && location.href === ` + "`" + at + "`")
}

// What takes a while says so, and is asked for once.
func TestSlow(t *testing.T) {
	s := started(t, settings{})
	var mu sync.Mutex
	asked, goes := 0, make(chan struct{})
	g := s.proxied(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && (strings.HasSuffix(r.URL.Path, "/preview") || strings.HasSuffix(r.URL.Path, "/edit")) {
			mu.Lock()
			asked++
			mu.Unlock()
			select {
			case <-goes:
			case <-t.Context().Done():
			}
		}
		return false
	})
	p := s.visit()
	p.url = g.URL + place
	p.login(s.token)
	p.trustsFirst()
	p.clicks("Edit")
	p.types("#why", "because")
	for i, name := range []string{"What would change?", "Save"} {
		p.clicks(name)
		p.until(`[...document.querySelectorAll(".busy")].some((e) => getComputedStyle(e).visibility === "visible" && e.checkVisibility())`)
		p.until(`document.querySelector("[role=status]#signet-busy").textContent === "One moment …"`)
		again := `(() => { const e = [...document.querySelectorAll("main button")].find((e) => e.innerText.trim() === "` + name + `"); e.click(); e.click(); return e.getAttribute("aria-busy"); })()`
		if busy := p.text(again); busy != "true" {
			t.Errorf("%s: busy is %q", name, busy)
		}
		select {
		case goes <- struct{}{}:
		case <-time.After(patience):
			t.Fatalf("%s: nothing was asked", name)
		}
		if name == "Save" {
			p.sees("The signer is saved, and in force.")
		}
		p.until(idle + ` && !document.querySelector(".busy, [aria-busy]") && document.querySelector("#signet-busy").textContent === ""`)
		mu.Lock()
		if asked != i+1 {
			t.Errorf("%s: asked %d times in all", name, asked)
		}
		mu.Unlock()
	}
}

// What is pressed keeps the focus while it is busy.
func TestBusyKeepsFocus(t *testing.T) {
	s := started(t, settings{})
	goes := make(chan struct{})
	g := s.proxied(func(_ http.ResponseWriter, r *http.Request) bool {
		switch strings.TrimPrefix(r.URL.Path, place) {
		case "/gateways/check", "/trust/preview", "/verify/stream":
			select {
			case <-goes:
			case <-t.Context().Done():
			}
		}
		return false
	})
	p := s.visit()
	p.url = g.URL + place
	p.login(s.token)
	for path, name := range map[string]string{"/gateways/new": "What would it mean?", "/trust/new": "What would change?", "/verify": "Verify"} {
		p.open(path)
		p.until(idle)
		if path == "/verify" {
			p.types("#image", "not an image")
		}
		p.text(`(window.pressed = [...document.querySelectorAll("main button")].find((e) => e.innerText === "` + name + `"), window.pressed.focus(), window.pressed.click(), "")`)
		p.until(`document.querySelector("#signet-busy").textContent === "One moment …"`)
		p.text(`(window.pressed.click(), "")`) // is not asked for again
		p.until(`document.activeElement === window.pressed && window.pressed.hasAttribute("aria-busy")`)
		goes <- struct{}{}
		p.until(idle + ` && !document.querySelector("[aria-busy], .busy") && document.activeElement === window.pressed && document.querySelector("#signet-busy").textContent === ""`)
	}
}

// Who leaves what they have written into a form is asked, and nobody else is.
func TestUnsavedForms(t *testing.T) {
	s := demo(t)
	found, err := s.api.Signers(t.Context(), client.SignerFilter{Query: "acme-release"})
	if err != nil || len(found.Items) != 1 {
		t.Fatalf("%d signers, %v", len(found.Items), err)
	}
	signer := "/signers/" + found.Items[0].ID
	p := s.visit()
	p.login(s.token)
	opens := func(path string) {
		t.Helper()
		p.open(path)
		p.until(idle)
		p.text(`(window.questions = 0, window.confirm = () => { window.questions++; return false; }, "")`)
	}
	asked := func(times string) {
		t.Helper()
		if got := p.text(`String(window.questions)`); got != times {
			t.Errorf("asked %s times, want %s", got, times)
		}
	}
	for path, field := range map[string]string{
		"/signers/new": "#name", signer + "/edit": "#subject", signer + "/compromise": "#why", "/trust/new": "#trusted_root", "/gateways/new": "#value", "/tokens/new": "#images", "/policy/default": "#reason",
	} {
		opens(path)
		p.clicks("Audit")
		p.sees("Each entry holds the hash")
		asked("0")
		opens(path)
		if path == "/policy/default" {
			p.clicks("Make an exception")
		}
		p.types(field, "mine")
		p.clicks("Audit")
		p.until(idle + ` && window.questions === 1 && document.querySelector("` + field + `").value.includes("mine")`)
		before := p.asked.Load()
		p.open("/verify")
		if p.asked.Load() != before+1 {
			t.Errorf("%s: the browser does not ask", path)
		}
	}

	// Another type of signer is as unsaved as what was written, and loses nothing of it.
	key, keyless := "Public key\nA PEM, pasted or dropped", "Keyless identity\nA CI workflow or a person, by their certificate"
	opens("/signers/new")
	p.clicks(key)
	p.until(idle + ` && document.querySelector("#public_key")`)
	p.clicks("Cancel")
	p.sees("Add a signer")
	asked("0")
	opens("/signers/new")
	p.types("#subject", "builder@example.com")
	p.clicks(key)
	p.types("#public_key", "one\ntwo")
	p.clicks(keyless)
	p.until(idle + ` && document.querySelector("#subject")?.value === "builder@example.com"`)
	p.clicks(key)
	p.until(idle + ` && document.querySelector("#public_key")?.value.trim() === "one\ntwo"`)
	p.clicks("What would change?")
	p.sees("What would change")
	asked("0")
	p.clicks("Cancel")
	p.until(idle + ` && window.questions === 1 && document.querySelector("#public_key").value.trim() === "one\ntwo"`)

	// What is asked before does not save.
	opens(signer + "/compromise")
	p.changes("#since", "2025-01-01T00:00")
	p.clicks("What would change?")
	p.sees("recent image")
	p.until(idle + ` && document.querySelector("#since").value.startsWith("2025-01-01T00:00")`)
	asked("0")
	p.clicks("Cancel")
	p.until(`window.questions === 1`)
	p.types("#why", "the key was copied")
	p.clicks("End trust in later signatures")
	p.sees("To the signer")
	p.clicks("To the signer")
	p.sees("What relies on it")
	asked("1")
}

// Who does not leave after all, or stops what takes too long, asks again.
func TestStays(t *testing.T) {
	s := demo(t)
	logins, goes := make(chan struct{}, 10), make(chan struct{})
	g := s.proxied(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/login") {
			logins <- struct{}{}
			select {
			case <-goes:
			case <-t.Context().Done():
			}
		}
		return false
	})
	p := s.visit()
	p.url = g.URL + place
	p.do(chromedp.Navigate(p.url), chromedp.WaitVisible(`#token`), chromedp.SendKeys(`#token`, s.token))
	busy := `document.querySelector("button[aria-busy]")`
	for range 2 {
		p.clicks("Log in")
		soon(t, logins)
		p.do(page.StopLoading())
		p.until(`!` + busy)
	}
	p.clicks("Log in")
	close(goes)
	p.do(chromedp.WaitVisible(`.tabs a[aria-current]`))
	p.open("/policy/default/edit")
	p.types("#why", "not yet")
	p.stays.Store(true)
	for i := range int32(2) {
		if i == 1 { // a browser that tells nobody who stays
			p.until(`delete window.navigation && !window.navigation`)
		}
		p.clicks("Log out")
		eventually.Holds(t, "the browser asks", func() bool { return p.asked.Load() == i+1 })
		p.until(`!` + busy + ` && document.querySelector("#why").value === "not yet"`)
	}
	p.stays.Store(false)
	p.clicks("Log out")
	p.sees("You are logged out.")
}
