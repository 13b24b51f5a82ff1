package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
)

// Who is bound to images learns of the registries that these are in.
func TestSeesHost(t *testing.T) {
	for _, tt := range []struct {
		images []string
		host   string
		want   bool
	}{
		{nil, "ghcr.io", true},
		{[]string{"ghcr.io/acme/**"}, "ghcr.io", true},
		{[]string{"ghcr.io/acme/**"}, "registry.example.com", false},
		{[]string{"ghcr.io/acme/**", "*.example.com/**"}, "registry.example.com", true},
		{[]string{"**"}, "registry.example.com:5000", true},
		{[]string{"[/x"}, "ghcr.io", false},
	} {
		if got := seesHost(auth.Principal{Images: tt.images}, tt.host); got != tt.want {
			t.Errorf("%v sees %s: %t, want %t", tt.images, tt.host, got, tt.want)
		}
	}
}

// The server's own checks come first, then registries, then what is fetched.
func TestDependencies(t *testing.T) {
	fails := func(context.Context) error { return errors.New("no route") }
	b := newBed(t, func(c *Config) {
		c.Checks = []Check{{Name: "redis", Run: fails, Optional: true}}
		c.MoreChecks = func(context.Context) []CheckOutcome {
			return []CheckOutcome{{Name: "kms.release", Optional: true, Error: "sealed"}}
		}
		c.Registries = func() []client.Dependency {
			return []client.Dependency{{Kind: client.DependencyRegistry, Name: "ghcr.io", State: "ok", Optional: true, LastSuccess: &testNow}}
		}
		c.Administration = &fakeAdministration{}
	})
	w := b.do(t, b.request(t, "viewer", http.MethodGet, v1+"/dependencies", ""))
	var got client.Page[client.Dependency]
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %v: %s", w.Code, err, w.Body)
	}
	type line struct{ Kind, Name, State, Error string }
	var lines []line
	for _, d := range got.Items {
		lines = append(lines, line{d.Kind, d.Name, d.State, d.Error})
	}
	want := []line{
		{"state", "state", "ok", ""}, {"redis", "redis", "failing", "no route"},
		{"registry", "ghcr.io", "ok", ""}, {"tuf", "own", "failing", "out of reach"},
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}
