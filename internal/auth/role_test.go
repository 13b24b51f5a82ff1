package auth

import (
	"net/netip"
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

func TestRoleIncludes(t *testing.T) {
	want := map[Role][]Role{
		Viewer: {Viewer}, Verifier: {Verifier}, Author: {Viewer, Verifier, Author}, Admin: Roles(), "": nil, "root": nil,
	}
	for role, includes := range want {
		var got []Role
		for _, other := range append(Roles(), "", "root") {
			if role.Includes(other) {
				got = append(got, other)
			}
		}
		if d := cmp.Diff(includes, got); d != "" {
			t.Errorf("role %q: %s", role, d)
		}
	}
}

func TestSees(t *testing.T) {
	plain, tok := newToken(t, Viewer)
	tests := []struct {
		name   string
		images []string
		want   map[string]bool
	}{
		{"no images", nil, map[string]bool{"ghcr.io/web/app": true, "": true}},
		{"some images", []string{"ghcr.io/web/**"}, map[string]bool{"ghcr.io/web/app": true, "GHCR.io:443/web/a/b": true, "ghcr.io/web-evil/app": false, "": false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tok.Images = tt.images
			set, err := NewTokens([]Token{tok})
			if err != nil {
				t.Fatal(err)
			}
			of, err := set.Authenticate(plain, netip.Addr{}, now)
			if err != nil {
				t.Fatal(err)
			}
			// A listener's principal was made by nobody's token.
			for from, p := range map[string]Principal{"token": of, "hand": {Name: "n", Role: Viewer, Images: tt.images}} {
				for image, want := range tt.want {
					if got := p.Sees(image); got != want {
						t.Errorf("by %s, %q: sees %v, want %v", from, image, got, want)
					}
				}
			}
		})
	}
	if (Principal{Images: []string{"nginx"}}).Sees("docker.io/library/nginx") {
		t.Error("images that cannot be compiled see something")
	}
}
