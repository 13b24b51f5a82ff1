package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
)

// Gateway takes the session of a gateway in front of us, by asking the gateway
// itself (GET /auth/validate), which knows what it has revoked.
type Gateway struct {
	// URL is the gateway's, without /auth/validate.
	URL string
	// AdminRole and Role are what its administrators, and all others, may do; "" is
	// nothing.
	AdminRole, Role auth.Role
	// Cookies are the names of its session's cookies, the first that is there counts.
	Cookies []string
	// Client asks it; nil: one that waits 5 s.
	Client *http.Client

	mu    sync.Mutex
	known map[string]gatewaySession
}

type gatewaySession struct {
	principal *auth.Principal
	until     time.Time
}

const (
	// gatewayMemory is for how long an answer counts: a session that the gateway ends
	// ends here as much later.
	gatewayMemory  = 5 * time.Second
	gatewayTime    = 5 * time.Second
	mostGateway    = 1000
	mostGatewaySay = 64 << 10
)

func (g *Gateway) cookie(r *http.Request) string {
	for _, name := range g.Cookies {
		if c, err := r.Cookie(name); err == nil && c.Value != "" {
			return name + "=" + c.Value
		}
	}
	return ""
}

// visitor is whom the gateway knows by a cookie or a bearer token.
func (g *Gateway) visitor(ctx context.Context, cookie, bearer string) (visitor, error) {
	credential := digestOf(cookie + "\n" + bearer)
	g.mu.Lock()
	s, ok := g.known[credential]
	g.mu.Unlock()
	if !ok || time.Now().After(s.until) {
		principal, err := g.ask(ctx, cookie, bearer)
		if err != nil {
			return visitor{}, err
		}
		s = gatewaySession{principal, time.Now().Add(gatewayMemory)}
		g.mu.Lock()
		if g.known == nil || len(g.known) >= mostGateway {
			g.known = map[string]gatewaySession{}
		}
		g.known[credential] = s
		g.mu.Unlock()
	}
	if s.principal == nil {
		return visitor{}, errAnonymous
	}
	return visitor{credential: s.principal.Name, principal: s.principal, ambient: cookie != "", how: "gateway"}, nil
}

// ask is nil, without an error, for who has no session there, or no role here.
func (g *Gateway) ask(ctx context.Context, cookie, bearer string) (*auth.Principal, error) {
	ctx, cancel := context.WithTimeout(ctx, gatewayTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.URL+"/auth/validate", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	asker := g.Client
	if asker == nil {
		asker = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	res, err := asker.Do(req)
	if err != nil {
		return nil, unreachableGateway(err)
	}
	defer func() { _ = res.Body.Close() }()
	switch {
	case res.StatusCode == http.StatusUnauthorized, res.StatusCode == http.StatusForbidden:
		return nil, nil
	case res.StatusCode != http.StatusOK:
		return nil, unreachableGateway(fmt.Errorf("it answers %d", res.StatusCode))
	}
	var said struct {
		Valid *bool `json:"valid"`
		User  *struct {
			Email    string `json:"email"`
			IsAdmin  bool   `json:"is_admin"`
			IsActive *bool  `json:"is_active"`
		} `json:"user"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, mostGatewaySay)).Decode(&said); err != nil {
		return nil, unreachableGateway(errors.New("its answer is no JSON"))
	}
	if said.Valid == nil || !*said.Valid || said.User == nil || said.User.Email == "" || said.User.IsActive == nil || !*said.User.IsActive {
		return nil, nil
	}
	role := g.Role
	if said.User.IsAdmin {
		role = g.AdminRole
	}
	if role == "" {
		return nil, nil
	}
	return &auth.Principal{Name: "gateway:" + said.User.Email, Role: role}, nil
}

func unreachableGateway(cause error) error {
	return &client.Problem{
		Status: http.StatusServiceUnavailable,
		Detail: "The gateway, whose session you have, could not be asked who you are: " + cause.Error() + ". Try again, or log in with an API token.",
	}
}
