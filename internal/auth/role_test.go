package auth

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRoleAllows(t *testing.T) {
	want := map[Role][]string{
		Viewer:    {"read"},
		Verifier:  {"verify"},
		Author:    {"read", "verify", "policy"},
		Admin:     {"read", "verify", "policy", "administer"},
		"":        nil,
		"root":    nil,
		"ADMIN":   nil,
		"admin\t": nil,
	}
	for role, perms := range want {
		var got []string
		for p := range Permission(255) {
			if role.Allows(p) {
				got = append(got, p.String())
			}
		}
		if d := cmp.Diff(perms, got); d != "" {
			t.Errorf("role %q: %s", role, d)
		}
	}
}

func TestZeroValuesDeny(t *testing.T) {
	for p := range Permission(255) {
		if (Principal{}).May(p) {
			t.Errorf("the zero principal may %s", p)
		}
		if (Principal{Role: Admin}).May(p) {
			t.Errorf("a principal without a name may %s", p)
		}
	}
	for _, r := range Roles() {
		if r.Allows(Permission(0)) {
			t.Errorf("role %s has the zero permission", r)
		}
	}
	if !(Principal{Name: "n", Role: Verifier}).May(Verify) {
		t.Error("a verifier may not verify")
	}
}

func TestParseRole(t *testing.T) {
	for _, r := range Roles() {
		if got, err := ParseRole(string(r)); err != nil || got != r {
			t.Errorf("ParseRole(%q) = %q, %v", r, got, err)
		}
	}
	if _, err := ParseRole("owner"); err == nil || err.Error() != `role "owner" is not known: want one of viewer, verifier, author, admin` {
		t.Errorf("ParseRole(owner): %v", err)
	}
}

func TestRolesFor(t *testing.T) {
	if d := cmp.Diff([]Role{Verifier, Author, Admin}, RolesFor(Verify)); d != "" {
		t.Error(d)
	}
	if got := RolesFor(Permission(0)); got != nil {
		t.Errorf("RolesFor(nothing) = %v", got)
	}
	if got := Permission(0).String(); got != "none" {
		t.Errorf("the zero permission is called %q", got)
	}
}
