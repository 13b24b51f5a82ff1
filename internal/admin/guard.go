package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/glob"
)

// view is one request on its way: who asks, and how the answer names places.
type view struct {
	echo.Context
	page *Page
	who  visitor
	// api asks the REST face as who.
	api *client.Client
	// base is [Root] as the browser knows it, behind a trusted proxy's prefix.
	base string
	// secure says that the browser speaks TLS.
	secure bool
	// csrf is the token of the pages that we give now; csrfBefore counts too, being of
	// pages that are open for long.
	csrf, csrfBefore string
	// embedded says that the page is a part of another one.
	embedded bool
}

// visitor is who asks, once that is known.
type visitor struct {
	client.Whoami
	// token is the bearer token that was sent; principal is who a session or a
	// gateway stands for. Neither: the connection vouches.
	token     string
	principal *auth.Principal
	// credential names whom a CSRF token belongs to; ambient says that a browser
	// sends by itself what says who asks, so that one is needed.
	credential string
	ambient    bool
	// how is how they logged in: "token", "oidc", "gateway", "bearer" or "connection".
	how string
}

func (w visitor) vouched() *auth.Principal { return w.principal }

// May says whether the role includes the permission. The REST face decides; this
// is for what is shown.
func (w visitor) May(p auth.Permission) bool { return auth.Role(w.Role).Allows(p) }

// MayAdminister and the like are for templates.
func (w visitor) MayAdminister() bool { return w.May(auth.Administer) }

// ofTeam says whether what a team owns, or nobody, is within this person's reach.
func (w visitor) ofTeam(owner string) bool { return w.Team == "" || w.Team == owner }

// MayOwn says whether what a team owns, and counts for images, is this person's to
// administer.
func (w visitor) MayOwn(owner string, images []string) bool {
	return w.MayAdminister() && w.ofTeam(owner) && glob.Within(images, w.Images)
}

// MayWrite says whether a team's policy for images is this person's to write.
func (w visitor) MayWrite(owner string, images []string) bool {
	return w.MayPolicy() && w.ofTeam(owner) && glob.Within(images, w.Images)
}

// MayDraft says whether a team's bundle is this person's to work on.
func (w visitor) MayDraft(owner string) bool { return w.MayPolicy() && w.ofTeam(owner) }

// MayWhole says whether what concerns all of the installation may be changed.
func (w visitor) MayWhole() bool { return w.MayAdminister() && w.Team == "" && len(w.Images) == 0 }

// MayPolicy says whether policies may be written.
func (w visitor) MayPolicy() bool { return w.May(auth.Policy) }

// MayVerify says whether verdicts may be asked for.
func (w visitor) MayVerify() bool { return w.May(auth.Verify) }

// MayRead says whether what is stored may be read.
func (w visitor) MayRead() bool { return w.May(auth.Read) }

// isPart says that the answer takes the place of a part of the page.
func (v *view) isPart() bool {
	return v.scripted() && v.Request().Header.Get("HX-Boosted") != "true"
}

// headers are those of every answer: the browser runs, loads and keeps nothing but
// what is ours, and tells nobody where it was.
func (v *view) headers() {
	h := v.Response().Header()
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "SAMEORIGIN")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Cookie, HX-Request")
	if v.Request().TLS != nil { // behind a proxy the host is the proxy's, and so is this
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// newView reads where the browser thinks it is.
func (p *Page) newView(c echo.Context) *view {
	r := c.Request()
	v := &view{Context: c, page: p, base: Root, secure: r.TLS != nil, embedded: r.Header.Get(headerEmbedded) == "1"}
	if p.fromProxy(r) {
		if prefix := r.Header.Get("X-Forwarded-Prefix"); goodPrefix(prefix) {
			v.base = strings.TrimRight(prefix, "/") + Root
		}
		v.secure = v.secure || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
	}
	v.headers()
	return v
}

// fromProxy says whether the peer is a trusted proxy.
func (p *Page) fromProxy(r *http.Request) bool {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	addr := at.Addr().Unmap().WithZone("")
	for _, n := range p.cfg.TrustedProxies {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// goodPrefix takes plain paths: what is written into links must not lead to
// another host ("//evil") or out of an attribute.
func goodPrefix(s string) bool {
	if len(s) < 2 || len(s) > 200 || s[0] != '/' || strings.Contains(s, "//") || strings.Contains(s, "..") {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/-._~", r))
	}) < 0
}

// anybody serves without a login.
func (p *Page) anybody(h func(*view) error) echo.HandlerFunc {
	return func(c echo.Context) error {
		v := p.newView(c)
		return v.run(func() error {
			if err := v.readForm(mostLogin); err != nil {
				return err
			}
			if err := v.prelogin(); err != nil {
				return err
			}
			return h(v)
		})
	}
}

// known serves who has logged in, and sends others there.
func (p *Page) known(h func(*view) error) echo.HandlerFunc {
	return func(c echo.Context) error {
		v := p.newView(c)
		return v.run(func() error {
			err := v.identify()
			if anonymous(err) {
				return v.toLogin()
			}
			if err != nil {
				return err
			}
			if err := v.readForm(mostForm); err != nil {
				return err
			}
			if err := v.sameOrigin(v.who.ambient); err != nil {
				return err
			}
			return h(v)
		})
	}
}

// run answers errors and panics with a page.
func (v *view) run(serve func() error) (err error) {
	defer func() {
		if x := recover(); x != nil {
			if x == http.ErrAbortHandler { //nolint:errorlint,err113 // as net/http compares it
				panic(x)
			}
			v.page.cfg.Log.ErrorContext(v.Request().Context(), "panic while answering the page", "path", v.Path(), "panic", fmt.Sprint(x), "stack", string(debug.Stack()))
			err = v.fail(errors.New("panic"))
		}
	}()
	if err := serve(); err != nil {
		return v.fail(err)
	}
	return nil
}

// Bounds of what a form may send, in bytes. The largest are a policy, which is sent as
// a form and as YAML, and a bundle's file; the encoding of a form makes three bytes of
// many. Who has not logged in sends a token.
const (
	mostForm  = 8 << 20
	mostLogin = 64 << 10
)

// reads says whether the request asks for something, and changes nothing.
func (v *view) reads() bool {
	return v.Request().Method == http.MethodGet || v.Request().Method == http.MethodHead
}

// readForm reads the form of a request that has one. Reading one field would say nothing
// of a form that ended early, or is too large.
func (v *view) readForm(most int64) error {
	r := v.Request()
	if v.reads() || r.Body == nil {
		return nil
	}
	r.Body = http.MaxBytesReader(v.Response(), r.Body, most)
	err := r.ParseForm()
	var tooLarge *http.MaxBytesError
	if err == nil || errors.As(err, &tooLarge) {
		return err
	}
	return &client.Problem{Status: http.StatusBadRequest, Detail: "The form cannot be read: it ended early, or is not encoded as forms are. Nothing was changed; send it again."}
}

var errAnonymous = errors.New("nobody has logged in")

func anonymous(err error) bool {
	return errors.Is(err, errAnonymous) || client.IsUnauthorized(err)
}

// identify finds out who asks, the surest way first, and makes the client that
// asks as them.
func (v *view) identify() error {
	r := v.Request()
	who, err := v.visitor(r)
	if err != nil {
		return err
	}
	if v.api, err = v.page.client(r, who.principal, who.token); err != nil {
		return err
	}
	if who.Whoami, err = v.api.Whoami(r.Context()); err != nil {
		return err
	}
	v.who = who
	k, err := v.page.keys(r.Context())
	if err != nil {
		return err
	}
	return v.setCSRF(k)
}

// setCSRF makes the CSRF tokens of who asks. They belong to the principal and not to one
// session, so that a form outlives its session: who logs in again as the same principal
// can send it. That gives nothing away. Another site can guess such a token as little, and
// still needs a browser to send the session's cookie along, which SameSite and
// [view.sameOrigin] keep it from. Who fixes a session of theirs in somebody's browser, or
// logs it in as themselves, knew that session's token before too, and can do with it what
// they may do anyway. And a principal's token is nobody else's: after logging in as another
// one, a page of before changes nothing. One that got out counts for two weeks at most.
func (v *view) setCSRF(k keys) (err error) {
	period := v.page.cfg.Now().Unix() / int64(csrfTime.Seconds())
	of := func(period int64) string { return fmt.Sprintf("%s\n%s\n%d", v.who.how, v.who.credential, period) }
	if v.csrf, err = k.csrf(of(period)); err != nil {
		return err
	}
	v.csrfBefore, err = k.csrf(of(period - 1))
	return err
}

// still finds out anew who asks, for what takes long: it must not outlast a session, nor
// the token that the session stands for.
func (v *view) still() error {
	r := v.Request()
	who, err := v.visitor(r)
	if err != nil {
		return err
	}
	v.api, err = v.page.client(r, who.principal, who.token)
	return err
}

func (v *view) visitor(r *http.Request) (visitor, error) {
	if header := r.Header["Authorization"]; len(header) > 0 {
		scheme, token, ok := strings.Cut(header[0], " ")
		if len(header) > 1 || !ok || !strings.EqualFold(scheme, "Bearer") {
			return visitor{}, errAnonymous
		}
		if v.page.cfg.Gateway != nil && strings.Count(token, ".") == 2 { // a JWT is none of our tokens
			return v.page.cfg.Gateway.visitor(r.Context(), "", token)
		}
		return visitor{token: token, credential: digestOf(token), how: "bearer"}, nil
	}
	if p, ok := api.Principal(r.Context()); ok { // with two answers to who asks, somebody would be mistaken
		return visitor{credential: p.Name, ambient: true, how: "connection"}, nil
	}
	if c, err := r.Cookie(cookieSession); err == nil {
		who, err := v.fromSession(r.Context(), c.Value)
		if !anonymous(err) {
			return who, err
		}
	}
	if g := v.page.cfg.Gateway; g != nil {
		if cookie := g.cookie(r); cookie != "" {
			return g.visitor(r.Context(), cookie, "")
		}
	}
	return visitor{}, errAnonymous
}

// fromSession is whom a cookie stands for.
func (v *view) fromSession(ctx context.Context, value string) (visitor, error) {
	k, err := v.page.keys(ctx)
	if err != nil {
		return visitor{}, err
	}
	var s session
	if k.unseal(cookieSession, value, &s) != nil || !v.page.cfg.Now().Before(s.Until) {
		return visitor{}, errAnonymous
	}
	who := visitor{ambient: true}
	switch {
	case s.Person != nil:
		if o := v.page.cfg.OIDC; o == nil || s.Person.Rules != o.rules() {
			return visitor{}, errAnonymous
		}
		who.how, who.credential = "oidc", s.Person.Name
		who.principal = &auth.Principal{Name: s.Person.Name, Role: s.Person.Role, Team: s.Person.Team, Images: s.Person.Images, ExpiresAt: s.Until}
	case s.TokenID != "":
		from, _ := netip.ParseAddr(v.RealIP()) // no address is in no network
		principal, err := v.page.cfg.Token(ctx, s.TokenID, from.Unmap())
		switch {
		case errors.Is(err, auth.ErrUnknown), errors.Is(err, auth.ErrRevoked), errors.Is(err, auth.ErrExpired), errors.Is(err, auth.ErrSource):
			return visitor{}, errAnonymous
		case err != nil:
			return visitor{}, err
		}
		who.how, who.credential, who.principal = "token", s.TokenID, &principal
	default:
		return visitor{}, errAnonymous
	}
	return who, nil
}

func digestOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

const (
	headerCSRF = "X-Signet-CSRF"
	// headerEmbedded comes with the requests of a fragment, so that what follows it is
	// a part of the other page too.
	headerEmbedded = "X-Signet-Embedded"
	// headerPage is on the HTML that is ours: what a proxy says in our place is not put
	// where a form stands.
	headerPage = "X-Signet-Page"
)

// crossSite is an attempt of another site to have something done.
type crossSite struct{ detail string }

func (e crossSite) Error() string { return e.detail }

// sameOrigin refuses changes that another site makes a browser ask for. Where the
// browser itself sends what says who asks, only our own pages have the token.
func (v *view) sameOrigin(ambient bool) error {
	r := v.Request()
	if v.reads() {
		return nil
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return crossSite{"Another site asked for this in your name. Open the page itself and do it there."}
	}
	if origin := r.Header.Get("Origin"); origin != "" && r.Header.Get("Sec-Fetch-Site") == "" && !v.own(origin) {
		return crossSite{"Another site asked for this in your name. Open the page itself and do it there."}
	}
	if !ambient {
		return nil
	}
	got := r.Header.Get(headerCSRF)
	if got == "" {
		got = r.PostFormValue("csrf")
	}
	if !sameToken(got, v.csrf) && !sameToken(got, v.csrfBefore) {
		return crossSite{"The page was open for too long, or you are logged in as somebody else by now. Copy what you wrote, load the page again and put it in there."}
	}
	return nil
}

func sameToken(got, want string) bool {
	return want != "" && subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1
}

// own says whether an origin is the one that the browser asked.
func (v *view) own(origin string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	hosts := []string{v.Request().Host}
	if v.page.fromProxy(v.Request()) {
		hosts = append(hosts, v.Request().Header.Get("X-Forwarded-Host"))
	}
	for _, host := range hosts {
		if host != "" && strings.EqualFold(u.Host, host) {
			return true
		}
	}
	return false
}
