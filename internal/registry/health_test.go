package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
)

// A registry that answers is well, whatever it says of an image; one that does not is
// told with the reason, and without the names of images.
func TestHealth(t *testing.T) {
	s, _ := served(t, registrytest.Options{})
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := insecure(t, s, func(cfg *Config) { cfg.Now = func() time.Time { return now } })
	if got := c.Health(); len(got) != 0 {
		t.Fatalf("before anything was asked: %+v", got)
	}
	state := func() Health {
		t.Helper()
		got := c.Health()
		if len(got) != 1 || got[0].Host != s.Host() {
			t.Fatalf("health %+v", got)
		}
		return got[0]
	}
	find(t, c, v1(s))
	if h := state(); !h.LastSuccess.Equal(now) || !h.LastFailure.IsZero() || h.Failure != "" {
		t.Errorf("it answers, and is %+v", h)
	}
	first := now
	now = now.Add(time.Minute)
	s.On(registrytest.Manifest("v1"), registrytest.Status(503))
	if _, err := c.Resolve(t.Context(), v1(s)); err == nil {
		t.Fatal("resolved")
	}
	if h := state(); !h.LastSuccess.Equal(first) || !h.LastFailure.Equal(now) || h.Failure != "it answered "+http.StatusText(http.StatusServiceUnavailable) {
		t.Errorf("it answers 503, and is %+v", h)
	}
	now = now.Add(time.Minute)
	s.Behave()
	s.On(registrytest.Manifest("v1"), registrytest.Status(404))
	if _, err := c.Resolve(t.Context(), v1(s)); err == nil {
		t.Fatal("resolved")
	}
	if h := state(); !h.LastSuccess.Equal(now) {
		t.Errorf("it says that there is no such image, and is %+v", h)
	}
	now = now.Add(time.Minute)
	s.Behave()
	s.On(registrytest.Manifest("v1"), registrytest.Hangup())
	if _, err := c.Resolve(t.Context(), v1(s)); err == nil {
		t.Fatal("resolved")
	}
	if h := state(); !h.LastFailure.Equal(now) || !strings.HasPrefix(h.Failure, "connection failed") || strings.Contains(h.Failure, "manifests") {
		t.Errorf("it hangs up, and is %+v", h)
	}
}

func TestHealthNotes(t *testing.T) {
	h := health{hosts: map[string]Health{}}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	gone, leave := context.WithCancel(t.Context())
	leave()
	h.note(gone, "a", reply{}, errors.New("connection failed"), at)
	if len(h.hosts) != 0 {
		t.Errorf("a caller who left says of the registry: %+v", h.hosts)
	}
	h.note(t.Context(), "a", reply{}, problem(evidence.CodeUnauthorized, "a/b", "refused"), at)
	if got := h.hosts["a"]; !got.LastSuccess.Equal(at) || got.Failure != "" {
		t.Errorf("a registry that refuses has answered: %+v", got)
	}
	for i := range mostHosts {
		h.note(t.Context(), fmt.Sprintf("host-%d", i), reply{status: http.StatusOK}, nil, at.Add(time.Duration(i+1)*time.Second))
	}
	if _, there := h.hosts["a"]; there || len(h.hosts) != mostHosts {
		t.Errorf("%d hosts are remembered, the oldest among them: %t", len(h.hosts), there)
	}
}
