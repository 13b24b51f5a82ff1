package browser

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// gatewayPage is the admin page of a gateway as far as it matters here: it loads our
// fragment into a panel, with its own htmx, and says which theme is on.
const gatewayPage = `<!doctype html>
<html lang="en" class="dark"><head><meta charset="utf-8"><title>Gateway</title>
<script src="/mcp/static/htmx.js" defer></script></head>
<body><h1>Gateway</h1><div id="security-panel" hx-get="/mcp/admin/security/signing/partial/signers" hx-trigger="load" hx-swap="innerHTML"></div></body></html>`

// gatewayPolicy is its Content-Security-Policy, as strict as it can be read.
const gatewayPolicy = "default-src 'self'; script-src 'self'; script-src-elem 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: https:; connect-src 'self' ws: wss: https:; frame-ancestors 'none'"

// gateway plays one with us behind it, under a path of its own.
func gateway(t *testing.T, s *server) *httptest.Server {
	t.Helper()
	htmx, err := os.ReadFile("../../web/static/htmx.js")
	if err != nil {
		t.Fatal(err)
	}
	behind, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(behind)
		r.SetXForwarded()
		r.Out.URL.Path = strings.TrimPrefix(r.In.URL.Path, "/mcp")
		r.Out.Header.Set("X-Forwarded-Prefix", "/mcp")
	}}
	mux := http.NewServeMux()
	mux.HandleFunc("/mcp/admin/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", gatewayPolicy)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(gatewayPage))
	})
	mux.HandleFunc("/mcp/static/htmx.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = w.Write(htmx)
	})
	mux.Handle("/mcp/admin/security/signing/", proxy)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

// The page is a part of a gateway's: behind its proxy, under its CSP, with its htmx.
func TestEmbedded(t *testing.T) {
	s := started(t, settings{more: "trusted_proxies: [127.0.0.0/8]\n"})
	g := gateway(t, s)
	p := s.visit()
	p.url = g.URL + "/mcp" + place
	p.do(chromedp.Navigate(p.url+"/login"), chromedp.WaitVisible(`#token`), chromedp.SendKeys(`#token`, s.token), chromedp.Submit(`#token`), chromedp.WaitVisible(`.tabs a[aria-current]`))
	p.do(chromedp.Navigate(g.URL+"/mcp/admin/"), chromedp.WaitVisible(`#security-panel .signet-embedded`))
	p.sees("Nobody is trusted yet")
	p.until(`getComputedStyle(document.querySelector(".signet .card")).backgroundColor === "rgb(31, 41, 55)"`) // the gateway's theme, in our style sheet
	p.until(`[...document.querySelectorAll(".signet a[href]")].every((a) => a.getAttribute("href").startsWith("/mcp/admin/security/signing") || a.getAttribute("href").startsWith("#"))`)
	p.trustsFirst()
	p.until(`document.querySelector("h1").innerText === "Gateway" && location.pathname === "/mcp/admin/"`) // it is still the gateway's page
	p.clicks("Verify")
	p.types("#image", "not an image")
	p.clicks("Verify")
	p.until(`!!document.querySelector("#answer [role=alert]")`)

	const inside = `document.querySelector("h1").innerText === "Gateway" && location.pathname === "/mcp/admin/" && !!document.querySelector("#security-panel .signet-embedded")`
	for _, tab := range []string{"Signers", "Results", "Gateways", "Trust", "Tokens", "Audit", "Policy"} {
		p.clicks(tab)
		p.until(idle + ` && document.querySelector(".tabs a[aria-current]")?.innerText === "` + tab + `" && ` + inside)
	}
	p.types("#bundle", "our-rules")
	p.clicks("Write the rules")
	p.sees("Nothing is in force until you publish them")
	p.clicks("signing/rules/registries.rego")
	p.until(idle + ` && document.querySelector("[data-editor]").dataset.file === "signing/rules/registries.rego" && ` + inside)
	p.goesToEnd()
	p.enters()
	p.do(chromedp.KeyEvent("# of the gateway"))
	p.until(`document.querySelector("#text").value.includes("# of the gateway")`)
	p.do(chromedp.Click(`button[value=source]`)) // to another window; what is written here stays
	p.until(`document.querySelector("#text").value.includes("# of the gateway") && ` + inside)
	p.clicks("Save the draft")
	p.sees("The draft is kept.")
	p.until(`document.querySelector("#text").value.includes("# of the gateway") && ` + inside)
	p.clicks("Publish")
	p.sees("The bundle is published.")
	p.until(inside)
	p.clicks("Discard the draft")
	p.clicks("Discard the draft for good")
	p.sees("The draft is forgotten.")
	p.until(inside)
	p.clicks("our-rules")
	p.clicks("Remove the bundle")
	p.sees("so no verdict changes")
	p.clicks("Remove the bundle")
	p.sees("The bundle is removed.")
	p.until(inside)
}

// Who is not logged in is told so in the panel: the gateway's page stays, and goes on once
// they are.
func TestEmbeddedWithoutLogin(t *testing.T) {
	s := started(t, settings{more: "trusted_proxies: [127.0.0.0/8]\n"})
	g := gateway(t, s)
	p := s.visit()
	p.url = g.URL + "/mcp" + place
	p.do(chromedp.Navigate(g.URL + "/mcp/admin/"))
	const host = ` && document.querySelector("h1").innerText === "Gateway" && location.pathname === "/mcp/admin/"`
	p.until(`document.querySelector("#security-panel").innerText.includes("You are not logged in to Signet") && document.querySelector("#security-panel a[target=_blank]").getAttribute("href") === "/mcp` + place + `/login?next=/signers"` + host)
	p.clicks("I am logged in") // not yet
	p.until(idle + ` && document.querySelector("#security-panel").innerText.includes("You are not logged in to Signet")` + host)
	// As in another tab.
	p.do(chromedp.Evaluate(`(async () => {
		const at = "/mcp`+place+`/login", page = new DOMParser().parseFromString(await (await fetch(at)).text(), "text/html");
		await fetch(at, { method: "POST", body: new URLSearchParams({ csrf: page.querySelector("[name=csrf]").value, token: "`+s.token+`" }) });
	})()`, nil, func(e *runtime.EvaluateParams) *runtime.EvaluateParams { return e.WithAwaitPromise(true) }))
	p.clicks("I am logged in")
	p.sees("Nobody is trusted yet")
	p.until(idle + ` && document.querySelectorAll("#security-panel .signet").length === 1` + host)
	p.clicks("Trust")
	p.until(idle + ` && document.querySelector(".tabs a[aria-current]")?.innerText === "Trust"` + host)
	p.do(network.ClearBrowserCookies())
	p.clicks("Results")
	p.sees("Your session has ended.")
	p.until(idle + ` && document.querySelector(".tabs a[aria-current]")?.innerText === "Trust"` + host)
}
