package api

import (
	"net/http"
	"strings"

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
