package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/auth"
)

// Root is where the page is.
const Root = "/admin/security/signing"

// Config of the page. API, Token, Secret and Counts are needed.
type Config struct {
	// API is the REST face, which is asked in process.
	API http.Handler
	// Token tells whom an API token stands for now, by its id; an error when for
	// nobody any more. from is the caller's address.
	Token func(ctx context.Context, id string, from netip.Addr) (auth.Principal, error)
	// Secret is the installation's, from which the keys of sessions are derived.
	Secret func(ctx context.Context) (auth.Secret, error)
	// Counts counts verdicts by day and decision, for all images.
	Counts func(ctx context.Context, since, until time.Time) ([]DayCount, error)
	// Unsafe are the parts of the configuration that an administrator should know
	// to be unsafe, each as a sentence.
	Unsafe []string
	// Gateway asks a gateway about its own session; nil: there is none.
	Gateway *Gateway
	// OIDC logs people in at an identity provider; nil: there is none.
	OIDC *OIDC
	// TrustedProxies are the addresses whose X-Forwarded-For, -Proto and -Prefix are
	// believed.
	TrustedProxies []netip.Prefix
	Log            *slog.Logger
	Now            func() time.Time
}

// DayCount is how many verdicts of one decision a day (UTC) had.
type DayCount struct {
	Day      time.Time
	Decision string
	Count    int64
}

// Page is the page, an [http.Handler] that is safe for concurrent use.
type Page struct {
	cfg       Config
	echo      *echo.Echo
	assets    assets
	templates templates
	tabs      []tab
}

// New makes the page. It errs when cfg lacks something.
func New(cfg Config) (*Page, error) {
	switch {
	case cfg.API == nil:
		return nil, errors.New("admin: Config.API is missing")
	case cfg.Token == nil:
		return nil, errors.New("admin: Config.Token is missing")
	case cfg.Secret == nil:
		return nil, errors.New("admin: Config.Secret is missing")
	case cfg.Counts == nil:
		return nil, errors.New("admin: Config.Counts is missing")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	p := &Page{cfg: cfg, echo: echo.New(), tabs: tabs()}
	var err error
	if p.assets, err = loadAssets(); err != nil {
		return nil, fmt.Errorf("admin: assets: %w", err)
	}
	if p.templates, err = loadTemplates(); err != nil {
		return nil, fmt.Errorf("admin: templates: %w", err)
	}
	p.echo.IPExtractor = api.IPExtractor(cfg.TrustedProxies)
	p.echo.HTTPErrorHandler = p.unrouted
	p.routes()
	return p, nil
}

// ServeHTTP answers one request.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.echo.ServeHTTP(w, r) }

// tab is one entry of the tab bar. What a tab shows is in the handler of its path.
type tab struct {
	// Path below [Root], which names the tab in /partial/<path> too.
	Path, Label string
	// Need is what a person must be allowed to do to see it.
	Need  auth.Permission
	serve func(*view) error
}

// tabs are the tab bar, in its order; [Root] itself shows the first that a person may see.
func tabs() []tab {
	return []tab{
		{"signers", "Signers", auth.Read, listSigners},
		{"verify", "Verify", auth.Verify, showVerify},
		{"results", "Results", auth.Read, listResults},
		{"policy", "Policy", auth.Read, listPolicies},
		{"gateways", "Gateways", auth.Read, listGateways},
		{"trust", "Trust", auth.Read, showTrust},
		{"tokens", "Tokens", auth.Read, listTokens},
		{"audit", "Audit", auth.Read, listAudit},
	}
}

// firstTab is the first that the person may see.
func firstTab(v *view) error {
	for _, t := range v.page.tabs {
		if v.who.May(t.Need) {
			return t.serve(v)
		}
	}
	return &client.Problem{Status: http.StatusForbidden, Detail: "Your role may see nothing here."}
}

func (p *Page) routes() {
	get := func(path string, h func(*view) error) { p.echo.GET(Root+path, p.known(h)) }
	post := func(path string, h func(*view) error) { p.echo.POST(Root+path, p.known(h)) }
	open := func(method, path string, h func(*view) error) { p.echo.Add(method, Root+path, p.anybody(h)) }

	p.echo.GET(Root+"/static/:name", p.serveAsset)
	open(http.MethodGet, "/login", showLogin)
	open(http.MethodPost, "/login", postLogin)
	open(http.MethodPost, "/setup", postSetup)
	open(http.MethodPost, "/logout", postLogout)
	if p.cfg.OIDC != nil {
		open(http.MethodGet, "/login/oidc", beginOIDC)
		open(http.MethodGet, "/login/oidc/callback", endOIDC)
	}

	get("", firstTab)
	get("/", firstTab)
	for _, t := range p.tabs {
		get("/"+t.Path, t.serve)
	}
	p.echo.GET(partialPath, p.known(showPartial))

	get("/signers/new", newSigner)
	post("/signers/new", createSigner)
	post("/signers/check", checkSigner)
	post("/signers/try-key", tryKey)
	get("/signers/:id", showSigner)
	get("/signers/:id/edit", editSigner)
	post("/signers/:id/edit", updateSigner)
	get("/signers/:id/change", confirmSigner)
	post("/signers/:id/change", changeSigner)
	post("/signers/preview", previewSigner)
	get("/signers/:id/compromise", askCompromise)
	post("/signers/:id/compromise", compromiseSigner)
	post("/signers/:id/accept-key", acceptKey)
	post("/signers/:id/refresh-key", refreshKey)

	post("/verify", postVerify)
	post("/verify/stream", streamVerify)

	get("/results/chart", showChart)
	get("/results/export", exportResults)
	get("/results/:id", showResult)

	get("/new-policy", newPolicy)
	get("/policy/:name", showPolicy)
	get("/policy/:name/edit", editPolicy)
	post("/policy/:name/edit", savePolicy)
	post("/policy/:name/form", formPolicy)
	post("/policy/:name/preview", previewPolicy)
	get("/policy/:name/history", policyHistory)
	get("/policy/:name/rollback", confirmRollback)
	post("/policy/:name/rollback", rollbackPolicy)
	get("/policy/:name/remove", confirmPolicyRemoval)
	post("/policy/:name/remove", removePolicy)
	post("/policy/:name/exceptions", addException)
	get("/policy/:name/exceptions/remove", confirmExceptionRemoval)
	post("/policy/:name/exceptions/remove", removeException)

	get("/gateways/new", newGateway)
	post("/gateways/new", createGateway)
	post("/gateways/check", checkGateway)
	get("/gateways/:name/edit", editGateway)
	post("/gateways/:name/edit", updateGateway)
	get("/gateways/:name/remove", confirmGateway)
	post("/gateways/:name/remove", removeGateway)

	get("/trust/new", newRoot)
	post("/trust/new", createRoot)
	post("/trust/preview", previewRoot)
	get("/trust/:name/edit", editRoot)
	post("/trust/:name/edit", updateRoot)
	get("/trust/:name/remove", confirmRoot)
	post("/trust/:name/remove", removeRoot)
	get("/new-bundle", newBundle)
	get("/bundle/:name", showBundle)
	post("/bundle/:name", postBundle)
	post("/bundle/:name/check", checkBundle)
	get("/bundle/:name/remove", confirmBundleRemoval)
	post("/bundle/:name/remove", removeBundle)

	post("/trust/:name/refresh", refreshRoot)

	get("/tokens/new", newToken)
	post("/tokens/new", createToken)
	post("/tokens/:id/revoke", revokeToken)
	get("/audit/export", exportAudit)
	post("/audit/check", checkAudit)
}
