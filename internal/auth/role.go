package auth

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/glob"
)

// Role is what a principal may do, as a whole. The zero value may do nothing.
type Role string

// The four roles.
const (
	// Viewer reads: verdicts, facts, signers, policies, the audit log.
	Viewer Role = "viewer"
	// Verifier asks for verdicts.
	Verifier Role = "verifier"
	// Author reads, asks, and writes policies.
	Author Role = "author"
	// Admin may do everything.
	Admin Role = "admin"
)

// Permission is one kind of action. The zero value is granted to nobody.
type Permission uint8

// The permissions, which the faces ask for.
const (
	_ Permission = iota
	// Read is looking at what is stored.
	Read
	// Verify is asking for a verdict.
	Verify
	// Policy is writing policies and their parameters.
	Policy
	// Administer is everything else: signers, tokens, trust roots.
	Administer
)

// Roles lists all roles, from the least to the most.
func Roles() []Role { return []Role{Viewer, Verifier, Author, Admin} }

// ParseRole reads a role as it is written in a flag or a request.
func ParseRole(s string) (Role, error) {
	for _, r := range Roles() {
		if s == string(r) {
			return r, nil
		}
	}
	return "", fmt.Errorf("role %q is not known: want one of %s", s, roleNames())
}

// Allows says whether the role includes the permission. A role or a permission
// that is not listed here is refused.
func (r Role) Allows(p Permission) bool {
	switch r {
	case Viewer:
		return p == Read
	case Verifier:
		return p == Verify
	case Author:
		return p == Read || p == Verify || p == Policy
	case Admin:
		return p == Read || p == Verify || p == Policy || p == Administer
	default:
		return false
	}
}

// String names the permission for messages, for example "verify".
func (p Permission) String() string {
	switch p {
	case Read:
		return "read"
	case Verify:
		return "verify"
	case Policy:
		return "policy"
	case Administer:
		return "administer"
	default:
		return "none"
	}
}

// RolesFor lists the roles that include the permission, to tell a caller what
// would be enough.
func RolesFor(p Permission) []Role {
	var roles []Role
	for _, r := range Roles() {
		if r.Allows(p) {
			roles = append(roles, r)
		}
	}
	return roles
}

// Principal is who asks, once authenticated. The zero value may do nothing.
type Principal struct {
	// Name is the token's name, for the audit log and for verdict rows.
	Name string
	Role Role
	// Team is whose signers, policies and tokens it may change; "" is the whole
	// installation.
	Team string
	// Images are globs of the images that it may ask about and read of; none: all.
	Images []string
	// Sources are the networks that its token may come from; none: any.
	Sources []netip.Prefix
	// TokenID is the public part of the token that was presented.
	TokenID string
	// ExpiresAt is when the authentication ends.
	ExpiresAt time.Time

	// scope is Images compiled, for a principal that a token gave; else nil.
	scope *glob.Scope
}

// May says whether the principal may do p.
func (p Principal) May(perm Permission) bool { return p.Name != "" && p.Role.Allows(perm) }

// Sees says whether an image is one that the principal may ask about and read
// of. imageName is as facts.Subject.Name gives it, without tag or digest; an
// image without a name ("") is seen only by who is not bound to images. Images
// that cannot be compiled see nothing.
func (p Principal) Sees(imageName string) bool {
	if len(p.Images) == 0 {
		return true
	}
	if p.scope != nil {
		return p.scope.Covers(imageName)
	}
	scope, err := glob.NewScope(p.Images)
	return err == nil && scope.Covers(imageName)
}

// Includes says whether the role may do everything that other may. A role that
// is not known includes nothing, and is included in nothing.
func (r Role) Includes(other Role) bool {
	some := false
	for _, p := range []Permission{Read, Verify, Policy, Administer} {
		if other.Allows(p) && !r.Allows(p) {
			return false
		}
		some = some || other.Allows(p)
	}
	return some
}

func roleNames() string {
	names := make([]string, 0, len(Roles()))
	for _, r := range Roles() {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}
