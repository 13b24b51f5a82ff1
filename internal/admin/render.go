package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/web"
)

// templates are the pages by name, each together with what they share.
type templates map[string]*template.Template

// sharedTemplates begin with an underscore: the frame, and parts of several pages.
const sharedTemplates = "_*.html"

func loadTemplates() (templates, error) {
	all := web.Templates()
	shared, err := template.New("").Funcs(functions()).ParseFS(all, sharedTemplates)
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(all, "[a-z]*.html")
	if err != nil {
		return nil, err
	}
	out := templates{}
	for _, name := range names {
		t, err := shared.Clone()
		if err != nil {
			return nil, err
		}
		if out[strings.TrimSuffix(name, ".html")], err = t.ParseFS(all, name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// frame is what every page is given; Body is its own.
type frame struct {
	Title, Tab string
	Tabs       []tab
	Who        visitor
	LoggedIn   bool
	Base, CSRF string
	Embedded   bool
	// Script and what follows are the hashed names of assets.
	Script, HTMX, Style, PageStyle, Icon, Editor string
	// Done says what the request before has changed.
	Done string
	Body any
}

// Asset is the address of one.
func (f frame) Asset(name string) string { return f.Base + "/static/" + name }

// CanLogOut says whether there is a session of ours to end.
func (f frame) CanLogOut() bool { return f.Who.how == "token" || f.Who.how == "oidc" }

// Sees says whether a tab is shown.
func (f frame) Sees(t tab) bool { return f.Who.May(t.Need) }

// page answers with a template inside the frame; tab is the one that it belongs to.
func (v *view) render(status int, name, tab, title string, body any) error {
	names := v.page.assets.names
	f := frame{
		Title: title, Tab: tab, Tabs: v.page.tabs, Who: v.who, LoggedIn: v.who.Name != "", Base: v.base, CSRF: v.csrf, Embedded: v.embedded,
		Script: names["app.js"], HTMX: names["htmx.js"], Style: names["signet.css"], PageStyle: names["page.css"], Icon: names["icon.svg"], Editor: names["editor.js"],
		Done: doneMessages()[v.QueryParam("done")], Body: body,
	}
	root := "page"
	if v.embedded {
		root = "embedded"
	}
	if status >= http.StatusBadRequest && !v.reads() { // at a form's address there may be nothing to load again
		v.Response().Header().Set("HX-Push-Url", "false")
	}
	return v.execute(status, name, root, f)
}

// part answers with one template of a page, without the frame.
func (v *view) part(status int, name, part string, body any) error {
	return v.execute(status, name, part, frame{Who: v.who, LoggedIn: true, Base: v.base, CSRF: v.csrf, Body: body})
}

func (v *view) execute(status int, name, root string, data any) error {
	body, err := v.html(name, root, data)
	if err != nil {
		return err
	}
	v.Response().Header().Set(headerPage, "1")
	return v.HTMLBlob(status, body)
}

// scripted says that htmx, or a script of ours, asks.
func (v *view) scripted() bool { return v.Request().Header.Get("HX-Request") == "true" }

// note answers a form's script above the form, which stays as it was filled in.
func (v *view) note(status int, name string, f failure) error {
	h := v.Response().Header()
	h.Set("HX-Retarget", "#signet-notice")
	h.Set("HX-Reswap", "innerHTML")
	h.Set("HX-Reselect", "unset")
	h.Set("HX-Push-Url", "false")
	return v.execute(status, "error", name, frame{Base: v.base, Body: f})
}

// html renders to bytes first, so that a page that fails is not sent half.
func (v *view) html(name, root string, data any) ([]byte, error) {
	t := v.page.templates[name]
	if t == nil {
		return nil, fmt.Errorf("there is no template %q", name)
	}
	var out bytes.Buffer
	if err := t.ExecuteTemplate(&out, root, data); err != nil {
		return nil, fmt.Errorf("rendering %s: %w", name, err)
	}
	return out.Bytes(), nil
}

// doneMessages are what ?done= says; nothing else is ever shown of it.
func doneMessages() map[string]string {
	return map[string]string{ //nolint:gosec // sentences, and no credentials
		"signer-created":    "The signer is trusted from now on.",
		"signer-saved":      "The signer is saved, and in force.",
		"signer-enabled":    "The signer is enabled. Verdicts count it from now on.",
		"signer-disabled":   "The signer is disabled. Verdicts do not count it any more.",
		"signer-deleted":    "The signer is removed.",
		"key-accepted":      "The new key is in use.",
		"key-read":          "The key was read from its service.",
		"policy-saved":      "The policy is saved, and in force.",
		"policy-unchanged":  "Nothing was different, so nothing was changed.",
		"policy-removed":    "The policy is removed. Nothing is asked of images because of it any more.",
		"bundle-removed":    "The bundle is removed.",
		"rolled-back":       "The earlier state of the policy is in force again.",
		"exception-added":   "The exception is in force.",
		"exception-removed": "The exception is removed.",
		"gateway-saved":     "The gateway is saved. The next tool call through it is decided on this image.",
		"gateway-removed":   "What stands behind the gateway is forgotten.",
		"root-saved":        "The trust root is saved, and in force.",
		"root-removed":      "The trust root is removed. Nothing counts because of it any more.",
		"draft-kept":        "The draft is kept. It is in force once it is published.",
		"draft-discarded":   "The draft is forgotten. What is in force stays as it is.",
		"bundle-published":  "The bundle is published: its policies decide by these rules from now on.",
		"bundle-unnamed":    "The bundle is published. No policy names it yet: write bundle: and its name into one.",
		"root-refreshed":    "The trust root was refreshed.",
		"token-revoked":     "The token is revoked. The next request with it is refused.",
		"logged-out":        "You are logged out.",
	}
}

// to sends the browser to a place below base, after a change.
func (v *view) to(place, done string) error {
	if done != "" {
		sep := "?"
		if strings.Contains(place, "?") {
			sep = "&"
		}
		place += sep + "done=" + url.QueryEscape(done)
	}
	return v.Redirect(http.StatusSeeOther, v.base+place)
}

// toLogin sends whom we do not know to the login, and back afterwards. Who is filling in a
// form is told of it there, as what is written would be gone, and so is who looks at another
// page that we are a part of: that one is not ours to leave.
func (v *view) toLogin() error {
	switch {
	case v.scripted() && v.Path() == partialPath: // its status is that of an answer, as in [view.fail]
		return v.execute(http.StatusOK, "error", "embeddedlogin", frame{Base: v.base, Style: v.page.assets.names["signet.css"], Tab: v.Param("tab")})
	case v.scripted() && (!v.reads() || v.embedded):
		return v.note(http.StatusUnauthorized, "ended", failure{})
	}
	place := v.base + "/login"
	if next := v.after(); next != "" {
		place += "?next=" + url.QueryEscape(next)
	}
	if v.isPart() { // a fragment would show the login in its own place
		v.Response().Header().Set("HX-Redirect", place)
		return v.NoContent(http.StatusUnauthorized)
	}
	return v.Redirect(http.StatusSeeOther, place)
}

// after is the place below the base to go to after the login: the page that was asked for,
// or the one that a part of was; "" for the first.
func (v *view) after() string {
	r := v.Request()
	at, root := r.URL, Root
	if v.isPart() {
		open, err := url.Parse(r.Header.Get("HX-Current-URL"))
		if err != nil {
			return ""
		}
		at, root = open, v.base
	}
	next, ours := strings.CutPrefix(at.EscapedPath(), root)
	if r.Method != http.MethodGet || !strings.HasPrefix(next, "/") || !ours || strings.HasPrefix(next, "/partial/") {
		return ""
	}
	if at.RawQuery != "" {
		next += "?" + at.RawQuery
	}
	return next
}

// failure is what the page of an error shows.
type failure struct {
	Heading, Detail, Do string
	RequestID           string
}

// fail answers an error in words. What is not the caller's to mend is logged.
func (v *view) fail(err error) error {
	status, f := http.StatusInternalServerError, failure{
		Heading: "Something went wrong inside Signet", Detail: "Nothing was changed by this request that is not shown as changed.",
		Do: "Try again. The operator finds the cause in the server's log.",
	}
	var p *client.Problem
	var cross crossSite
	var tooLarge *http.MaxBytesError
	switch {
	case v.Response().Committed:
		return nil
	case anonymous(err):
		return v.toLogin()
	case errors.As(err, &cross):
		status, f = http.StatusForbidden, failure{Heading: "This was not done", Detail: cross.detail}
	case errors.As(err, &tooLarge):
		kept := "go back, and what you wrote is there"
		if v.scripted() {
			kept = "what you wrote is still here"
		}
		status, f = http.StatusRequestEntityTooLarge, failure{Heading: "That is too large", Detail: fmt.Sprintf("A form may have %d kB. Nothing was changed; %s.", tooLarge.Limit>>10, kept)}
	case errors.Is(err, client.ErrRequest):
		status, f = http.StatusUnprocessableEntity, failure{Heading: "This was not done", Detail: mistake(err)}
	case client.IsStale(err):
		status, f = http.StatusPreconditionFailed, failure{Heading: "Somebody else has changed this", Detail: staleText}
	case errors.As(err, &p):
		status, f = p.Status, failure{Heading: headingOf(p), Detail: p.Error(), RequestID: p.RequestID}
	}
	if status >= http.StatusInternalServerError {
		v.page.cfg.Log.ErrorContext(v.Request().Context(), "the page failed", "path", v.Path(), "error", err.Error())
	}
	switch {
	case v.scripted() && !v.reads():
		return v.note(status, "problem", f)
	case v.scripted() && v.Path() == partialPath:
		// By itself htmx shows nothing of a status that is an error, and the script that
		// has it do so comes with the fragment.
		names := v.page.assets.names
		return v.execute(http.StatusOK, "error", "embeddedproblem", frame{Base: v.base, Style: names["signet.css"], Body: f})
	case v.isPart():
		return v.execute(status, "error", "problem", frame{Base: v.base, Body: f})
	}
	return v.render(status, "error", "", f.Heading, f)
}

// staleText is what a person does where a program sends another version.
const staleText = "It was changed since this page was opened, and what you sent was not saved. Load it again, and make your change to what is there now."

func headingOf(p *client.Problem) string {
	switch p.Status {
	case http.StatusNotFound:
		return "There is nothing here"
	case http.StatusForbidden:
		return "You may not do that"
	case http.StatusPreconditionFailed:
		return "Somebody else has changed this"
	case http.StatusConflict:
		return "That contradicts what is there"
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return "Not now"
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return "That is not right"
	}
	return "It did not work"
}

// unrouted answers what Echo has no handler for.
func (p *Page) unrouted(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	v := p.newView(c)
	if errors.Is(err, echo.ErrNotFound) || errors.Is(err, echo.ErrMethodNotAllowed) {
		_ = v.run(func() error {
			if err := v.identify(); err != nil {
				return err
			}
			return v.render(http.StatusNotFound, "error", "", "There is nothing here", failure{Heading: "There is nothing here", Detail: "The address may be of another version of Signet."})
		})
		return
	}
	_ = v.fail(err)
}

// partialPath is where the fragments for other pages are.
const partialPath = Root + "/partial/:tab"

// showPartial is one tab as a part of another page, with the style sheet and the
// script that it needs.
func showPartial(v *view) error {
	for _, t := range v.page.tabs {
		if t.Path == v.Param("tab") {
			v.embedded = true
			v.Response().Header().Set(headerCSRF, v.csrf)
			return t.serve(v)
		}
	}
	return &client.Problem{Status: http.StatusNotFound, Detail: "There is no tab of this name."}
}

// mostJSON bounds what is decoded of our own REST face, in bytes.
const mostJSON = 64 << 20

func decodeJSON(r io.Reader, into any) error {
	return json.NewDecoder(io.LimitReader(r, mostJSON)).Decode(into)
}
