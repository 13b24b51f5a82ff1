package api

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/auth"
)

// bearer takes the token from the one Authorization header (RFC 6750, section
// 2.1; the scheme's name has no case, RFC 9110, section 11.1). Two headers are
// malformed: two readers could each believe another one.
func bearer(h http.Header) (string, error) {
	values := h["Authorization"]
	switch len(values) {
	case 0:
		return "", auth.ErrMissing
	case 1:
	default:
		return "", auth.ErrMalformed
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", auth.ErrMissing
	}
	return token, nil
}

// credential is the token that the request presents; none where the connection
// vouches for a principal.
func (s *Server) credential(c *call) (string, error) {
	r := c.echo.Request()
	if p, ok := Principal(r.Context()); ok {
		c.principal, c.vouched = p, true
		if len(r.Header["Authorization"]) > 0 {
			return "", &problem{code: codeTokenUnexpected, field: "header.Authorization", detail: "The connection says who asks, so no token is read here. Leave out the header Authorization, or use a listener that takes tokens."}
		}
		return "", nil
	}
	if c.route.page {
		if _, password, ok := r.BasicAuth(); ok && len(r.Header["Authorization"]) == 1 {
			return password, nil
		}
	}
	return bearer(r.Header)
}

// authenticate finds the principal of c, after its credential, under c.state.
func (s *Server) authenticate(c *call, token string) (err error) {
	if c.vouched {
		if _, err := auth.ParseRole(string(c.principal.Role)); err != nil || c.principal.Name == "" {
			return &problem{
				code: codeRoleMissing, roles: auth.Roles(),
				detail: "The connection is to say who asks, and gives no name or no role. The operator mends it in the configuration of the listener.",
			}
		}
		return nil
	}
	from := s.source(c)
	if s.guesses.any() {
		if wait, empty := s.guesses.blocked(sourceOf(from), token, c.begun); empty {
			return tooManyGuesses(wait)
		}
	}
	c.principal, err = c.state.Tokens.Authenticate(token, from, c.begun)
	if err == nil && s.cfg.TokenUsed != nil {
		s.cfg.TokenUsed(c.principal.TokenID, c.begun)
	}
	if errors.Is(err, auth.ErrUnknown) {
		id, _, _ := auth.Parse(token) // what is unknown is well-formed
		if wait, over := s.guesses.failed(sourceOf(from), id, c.begun); over {
			return tooManyGuesses(wait)
		}
	}
	return err
}

func tooManyGuesses(wait time.Duration) *problem {
	return rateLimited("Too many tokens that are not known came from this address. Ask again later, with the right one.", wait)
}

// source is the address that the request came from, the zero one where it has
// none, as on a Unix socket.
func (s *Server) source(c *call) netip.Addr {
	if len(s.cfg.TrustedProxies) == 0 {
		at, _ := netip.ParseAddrPort(c.echo.Request().RemoteAddr) // what is no address is in no network
		return at.Addr().Unmap()
	}
	addr, _ := netip.ParseAddr(c.echo.RealIP())
	return addr.Unmap()
}

// admit takes n out of what the principal may ask for.
func (s *Server) admit(c *call, n int) error {
	if s.limits == nil || n < 1 {
		return nil
	}
	who := c.principal.TokenID
	if who == "" {
		who = " " + c.principal.Name // no token's id has a space
	}
	if wait, ok := s.limits.take(who, n, c.begun); !ok {
		return rateLimited("The principal "+shown(c.principal.Name)+" asks more often than it may. Ask again after Retry-After.", wait)
	}
	return nil
}

// permit says whether the route is open to the principal.
func (rt *route) permit(p auth.Principal) *problem {
	if rt.anyRole || p.May(rt.need) {
		return nil
	}
	enough := auth.RolesFor(rt.need)
	return &problem{
		code: codeRoleMissing, roles: enough,
		detail: "This needs a token with the role " + oneOf(enough) + "; the token " + shown(p.Name) + " has the role " + string(p.Role) + ".",
	}
}
