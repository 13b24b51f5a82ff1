package registry

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// An address inside is dialled only where that is allowed, whatever name leads to
// it, and a redirect is not followed.
func TestOutbound(t *testing.T) {
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer srv.Close()
	get := func(cfg OutboundConfig, url string) (int, error) {
		t.Helper()
		c, err := NewOutbound(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Do(req)
		if err != nil {
			return 0, err
		}
		return res.StatusCode, res.Body.Close()
	}
	for _, url := range []string{srv.URL, strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)} {
		if _, err := get(OutboundConfig{}, url); err == nil || !strings.Contains(err.Error(), "is refused: loopback") {
			t.Errorf("%s: %v", url, err)
		}
	}
	if _, err := get(OutboundConfig{ProxyURL: srv.URL}, "http://10.0.0.1/"); err == nil || !strings.Contains(err.Error(), "is refused") {
		t.Errorf("through a proxy: %v", err)
	}
	if asked != 0 {
		t.Errorf("it was asked %d times", asked)
	}
	if status, err := get(OutboundConfig{AllowPrivate: true}, srv.URL); err != nil || status != http.StatusFound || asked != 1 {
		t.Errorf("allowed: status %d, %v, asked %d times", status, err, asked)
	}
}
