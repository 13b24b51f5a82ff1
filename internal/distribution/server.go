package distribution

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
)

// server is an HTTP(S) bundle server.
type server struct {
	cfg  Config
	url  *url.URL
	wire *wire
}

// Fetch asks with the conditions of RFC 9110, section 13. The Content-Type is not
// looked at: bundle servers say all sorts of things.
func (s *server) Fetch(ctx context.Context, since Validator) (Fetched, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	place := s.url.Scheme + "://" + s.url.Host + s.url.EscapedPath()
	location := locationOf("url", s.url.String())
	since = since.here(location)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url.String(), nil)
	if err != nil {
		return Fetched{}, fmt.Errorf("%s: %w", place, err)
	}
	if err := s.authorize(req); err != nil {
		return Fetched{}, fmt.Errorf("%s: %w: %w", place, ErrDenied, err)
	}
	for name, value := range map[string]string{"If-None-Match": since.ETag, "If-Modified-Since": since.LastModified, "User-Agent": s.cfg.UserAgent} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	client := http.Client{Transport: s.wire, CheckRedirect: s.redirect}
	res, err := client.Do(req)
	if err != nil {
		return Fetched{}, explain(ctx, place, err)
	}
	defer func() { _ = res.Body.Close() }()
	switch {
	case res.StatusCode == http.StatusNotModified && since.ETag+since.LastModified != "":
		return Fetched{}, ErrNotModified
	case res.StatusCode != http.StatusOK:
		return Fetched{}, ofStatus(place, res.StatusCode)
	}
	body, err := readAll(res.Body, s.cfg.MaxBytes)
	if err != nil {
		return Fetched{}, explain(ctx, place, err)
	}
	return answer(body, since, Validator{
		Location: location, Digest: digestOf(body), ETag: res.Header.Get("ETag"), LastModified: res.Header.Get("Last-Modified"),
	})
}

// authorize adds the credentials, which may have been renewed since the last time.
func (s *server) authorize(req *http.Request) error {
	switch {
	case s.cfg.BearerTokenFile != "":
		token, err := readSecret(s.cfg.BearerTokenFile)
		if err != nil {
			return fmt.Errorf("bearer_token_file: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
	case s.cfg.Username != "":
		password, err := readSecret(s.cfg.PasswordFile)
		if err != nil {
			return fmt.Errorf("password_file: %w", err)
		}
		req.SetBasicAuth(s.cfg.Username, password)
	}
	return nil
}

// redirect takes the credentials off a request that has left its host, for good:
// net/http would keep them for other ports and for subdomains.
func (s *server) redirect(req *http.Request, via []*http.Request) error {
	for _, r := range append(via, req) {
		if r.URL.Scheme != s.url.Scheme || hostPort(r.URL) != s.wire.home {
			req.Header.Del("Authorization")
		}
	}
	return nil
}
