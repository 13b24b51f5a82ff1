package admin

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/auth"
)

// face plays the REST face: it knows one token, and keeps what it was asked.
type face struct {
	asked     []*http.Request
	bodies    []string // of what was asked, one for each
	principal auth.Principal
	answers   map[string]string // by method and path; "412 {…}" is a problem
	pages     []string          // of verdicts, one after the other
	// vouched is the principal of the last request, where it had one.
	vouched auth.Principal
}

const plain = "sgn_abcdefghijklmnop_secret"

func (f *face) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.asked = append(f.asked, r)
	sent, _ := io.ReadAll(r.Body)
	f.bodies = append(f.bodies, string(sent))
	f.vouched, _ = api.Principal(r.Context())
	if _, ok := api.Principal(r.Context()); !ok && r.Header.Get("Authorization") != "Bearer "+plain {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"code": "token_unknown", "detail": "That token is not known."}`))
		return
	}
	if r.URL.Path == "/api/v1/whoami" {
		_ = json.NewEncoder(w).Encode(map[string]any{"name": f.principal.Name, "role": f.principal.Role, "token_id": f.principal.TokenID, "team": f.principal.Team, "images": append([]string{}, f.principal.Images...)})
		return
	}
	body, ok := f.answers[r.Method+" "+r.URL.Path]
	if r.URL.Path == "/api/v1/verdicts" && len(f.pages) > 0 {
		body, ok, f.pages = f.pages[0], true, f.pages[1:]
	}
	if ok {
		if status, problem, _ := strings.Cut(body, " {"); len(status) == 3 {
			code, _ := strconv.Atoi(status)
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(code)
			body = "{" + problem
		}
		_, _ = w.Write([]byte(body))
		return
	}
	_, _ = w.Write([]byte(`{"items": []}`))
}

// world is a page before a face that is played.
type world struct {
	*testing.T
	page *Page
	face *face
	// revoked ends the token.
	revoked bool
	now     time.Time
	secret  auth.Secret
	cookies map[string]string
}

func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	w := &world{
		T: t, now: time.Date(2025, 7, 1, 12, 0, 0, 0, time.UTC), cookies: map[string]string{},
		face: &face{principal: auth.Principal{Name: "jane", Role: auth.Admin, TokenID: "abcdefghijklmnop"}, answers: map[string]string{}},
	}
	var err error
	if w.secret, err = auth.NewSecret(); err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Log:    slog.New(slog.NewTextHandler(t.Output(), nil)),
		API:    w.face,
		Secret: func(context.Context) (auth.Secret, error) { return w.secret, nil },
		Counts: func(context.Context, time.Time, time.Time) ([]DayCount, error) { return nil, nil },
		Now:    func() time.Time { return w.now },
		Token: func(_ context.Context, id string, _ netip.Addr) (auth.Principal, error) {
			if w.revoked || id != w.face.principal.TokenID {
				return auth.Principal{}, auth.ErrRevoked
			}
			return w.face.principal, nil
		},
	}
	if change != nil {
		change(&cfg)
	}
	if w.page, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

// ask sends a request with the cookies that came before.
func (w *world) ask(method, path string, form url.Values, header ...string) *http.Response {
	w.Helper()
	r := httptest.NewRequestWithContext(w.Context(), method, "http://signet.example"+path, strings.NewReader(form.Encode()))
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range w.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "peer" {
			r.RemoteAddr = header[i+1]
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	out := httptest.NewRecorder()
	w.page.ServeHTTP(out, r)
	res := out.Result()
	for _, c := range res.Cookies() {
		if c.MaxAge < 0 {
			delete(w.cookies, c.Name)
			continue
		}
		w.cookies[c.Name] = c.Value
	}
	return res
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	var out strings.Builder
	buf := make([]byte, 1<<16)
	for {
		n, err := res.Body.Read(buf)
		out.Write(buf[:n])
		if err != nil {
			return out.String()
		}
	}
}

// csrfOf takes the token out of a page.
func csrfOf(t *testing.T, page string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, `name="csrf" value="`)
	if !ok {
		t.Fatalf("there is no form on the page:\n%s", page)
	}
	token, _, _ := strings.Cut(rest, `"`)
	return token
}

// login logs in with the token, and gives the CSRF token of the session.
func (w *world) login() string {
	w.Helper()
	csrf := csrfOf(w.T, body(w.T, w.ask("GET", Root+"/login", nil)))
	res := w.ask("POST", Root+"/login", url.Values{"token": {plain}, "csrf": {csrf}})
	if res.StatusCode != http.StatusSeeOther || w.cookies[cookieSession] == "" {
		w.Fatalf("the login answers %d: %s", res.StatusCode, body(w.T, res))
	}
	return csrfOf(w.T, body(w.T, w.ask("GET", Root+"/signers/new", nil)))
}
