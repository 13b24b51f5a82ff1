package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/signet-policy/signet/internal/evidence"
)

const (
	// challengeAge is how long it is remembered how a registry wants to be asked.
	challengeAge = 10 * time.Minute
	// Token lifetimes: what is assumed when nothing is said (distribution, "Token
	// Authentication"), the longest that is believed, and how long before its end
	// a token is no longer used.
	defaultTokenAge = time.Minute
	maxTokenAge     = time.Hour
	tokenMargin     = 5 * time.Second

	maxTokenBody = 64 << 10
	maxToken     = 16 << 10
	// maxRemembered bounds each of the maps below; a full one is emptied.
	maxRemembered = 4096
)

// authState remembers how registries want to be asked, and what they gave.
type authState struct {
	mu         sync.Mutex
	challenges map[string]remembered[challenge] // by endpoint address
	tokens     map[sessionKey]remembered[string]
	creds      map[sessionKey]remembered[credential]
	flights    singleflight.Group
}

type remembered[T any] struct {
	value T
	until time.Time
}

// sessionKey binds tokens and credentials to the exact host:port, protocol and
// repository that they are for (threat 46).
type sessionKey struct{ base, repo string }

func (s session) key() sessionKey { return sessionKey{s.base, s.repo} }

func recall[K comparable, T any](a *authState, m map[K]remembered[T], k K, now time.Time) (T, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r, ok := m[k]
	if ok && !now.Before(r.until) {
		delete(m, k)
		r, ok = remembered[T]{}, false
	}
	return r.value, ok
}

func remember[K comparable, T any](a *authState, m map[K]remembered[T], k K, v T, until time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(m) >= maxRemembered {
		clear(m)
	}
	m[k] = remembered[T]{v, until}
}

// authorization is the Authorization header to send from the start: what is known
// from earlier challenges, "" where nothing is.
func (c *Client) authorization(ctx context.Context, s session) (string, error) {
	if s.Token != "" {
		return bearer(string(s.Token)), nil
	}
	ch, ok := recall(c.auth, c.auth.challenges, s.base, c.cfg.Now())
	if !ok {
		return "", nil
	}
	if ch.scheme == "basic" {
		cred := c.credentials(ctx, s)
		return cred.basic(), nil
	}
	t, err := c.token(ctx, s, ch, nil)
	if err != nil {
		return "", err
	}
	return bearer(t), nil
}

func bearer(token string) string { return "Bearer " + token }

// answer gives the Authorization header for another try after a 401 to a request
// that was sent with the header used.
func (c *Client) answer(ctx context.Context, s session, h http.Header, used string) (string, error) {
	var basic, tokens *challenge
	var others []string
	for _, ch := range parseChallenges(h.Values("WWW-Authenticate")) {
		switch {
		case ch.scheme == "bearer" && ch.params["realm"] != "" && tokens == nil:
			tokens = &ch
		case ch.scheme == "basic" && basic == nil:
			basic = &ch
		default:
			others = append(others, clip(ch.scheme, 20))
		}
	}
	unauthorized := func(format string, args ...any) (string, error) {
		return "", problem(evidence.CodeUnauthorized, s.name(), format, args...)
	}
	switch {
	case s.Token != "":
		return unauthorized("the token configured for %s is refused", s.Host)
	case tokens != nil:
		ch := challenge{scheme: "bearer", params: map[string]string{"realm": tokens.params["realm"], "service": tokens.params["service"]}}
		remember(c.auth, c.auth.challenges, s.base, ch, c.cfg.Now().Add(challengeAge))
		c.auth.mu.Lock()
		if t, ok := c.auth.tokens[s.key()]; ok && bearer(t.value) == used {
			delete(c.auth.tokens, s.key())
		}
		c.auth.mu.Unlock()
		t, err := c.token(ctx, s, ch, c.scopes(tokens.params["scope"]))
		if err != nil {
			return "", err
		}
		return bearer(t), nil
	case basic != nil:
		cred := c.credentials(ctx, s)
		switch {
		case cred.basic() == "" && cred.err != nil:
			return unauthorized("%s wants a user name and password; %s", s.Host, cred.err)
		case cred.basic() == "":
			return unauthorized("%s wants a user name and password, and none is known for it", s.Host)
		case cred.basic() == used:
			return unauthorized("the user name and password for %s are refused", s.Host)
		}
		remember(c.auth, c.auth.challenges, s.base, challenge{scheme: "basic"}, c.cfg.Now().Add(challengeAge))
		return cred.basic(), nil
	case len(others) > 0:
		return unauthorized("%s wants authentication by %s, which is not supported", s.Host, strings.Join(others, ", "))
	}
	return unauthorized("%s wants authentication and does not say how", s.Host)
}

// scopes are those of pullScopes; of a client that writes, with pushing.
func (c *Client) scopes(asked string) []string {
	list := pullScopes(asked)
	if c.cfg.Writes {
		for i := range list {
			list[i] += ",push"
		}
	}
	return list
}

// pullScopes reduces the scopes that a registry asks for to reading: "" and what
// is not about pulling a repository give nothing.
func pullScopes(scope string) []string {
	var out []string
	for _, sc := range strings.Fields(scope) {
		name, ok := strings.CutPrefix(sc, "repository:")
		i := strings.LastIndexByte(name, ':')
		if !ok || i < 0 || !isPath(name[:i]) || len(out) == 4 {
			continue
		}
		for _, action := range strings.Split(name[i+1:], ",") {
			if action == "pull" {
				out = append(out, "repository:"+name[:i]+":pull")
				break
			}
		}
	}
	return out
}

// token gives a token for reading the repository; from memory, or by asking once
// for all who want it. Who asks first may leave: the others still get theirs.
func (c *Client) token(ctx context.Context, s session, ch challenge, scopes []string) (string, error) {
	if t, ok := recall(c.auth, c.auth.tokens, s.key(), c.cfg.Now()); ok {
		return t, nil
	}
	if len(scopes) == 0 {
		scopes = c.scopes("repository:" + s.repo + ":pull")
	}
	flight := strings.Join(append([]string{s.base, s.repo, ch.params["realm"], ch.params["service"]}, scopes...), "\n")
	done := c.auth.flights.DoChan(flight, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.Limits.SearchTimeout)
		defer cancel()
		t, age, err := c.requestToken(ctx, s, ch, scopes)
		if err != nil {
			return "", err
		}
		remember(c.auth, c.auth.tokens, s.key(), t, c.cfg.Now().Add(age-tokenMargin))
		return t, nil
	})
	select {
	case r := <-done:
		t, _ := r.Val.(string)
		return t, r.Err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// requestToken asks a realm for a token (distribution, "Token Authentication
// Specification"). Credentials go to the registry itself and to its known token
// hosts; any other realm is asked anonymously (threat 45).
func (c *Client) requestToken(ctx context.Context, s session, ch challenge, scopes []string) (string, time.Duration, error) {
	realm, err := s.realm(ch.params["realm"])
	if err != nil {
		return "", 0, err
	}
	rq := request{session: s, url: realm, where: s.name() + " (token)", max: maxTokenBody, token: true}
	cred, known := credential{}, s.address == addressOf(realm) || s.tokenHosts[addressOf(realm)]
	if known {
		cred = c.credentials(ctx, s)
	}
	if cred.RegistryToken != "" {
		return cred.RegistryToken, defaultTokenAge, nil
	}
	query := realm.Query()
	if service := ch.params["service"]; service != "" {
		query.Set("service", service)
	}
	query["scope"] = scopes
	if cred.IdentityToken != "" {
		query.Set("grant_type", "refresh_token")
		query.Set("refresh_token", cred.IdentityToken)
		query.Set("client_id", "signet")
		query["scope"] = []string{strings.Join(scopes, " ")}
		realm.RawQuery, rq.form = "", query
	} else {
		realm.RawQuery, rq.authorization = query.Encode(), cred.basic()
	}
	rp, err := c.fetch(ctx, rq)
	if err == nil && rp.status != http.StatusOK {
		err = c.tokenRefused(rq, rp, realm, cred, known)
	}
	if err != nil {
		return "", 0, err
	}
	t, age, ok := readToken(rp.body)
	if !ok {
		return "", 0, problem(evidence.CodeUnavailable, rq.where, "%s did not answer with a token", realm.Host)
	}
	return t, age, nil
}

// realm checks the URL that tokens are to be had from: https, or the registry
// itself where that is spoken to without TLS.
func (s session) realm(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Opaque != "" {
		return nil, problem(evidence.CodeUnauthorized, s.name(), "the token realm is not a plain URL")
	}
	if _, err := normaliseHost(u.Host); err != nil {
		return nil, problem(evidence.CodeUnauthorized, s.name(), "token realm %q: %s", clip(u.Host, 100), err)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !s.Insecure || addressOf(u) != s.address) {
		return nil, problem(evidence.CodeUnauthorized, s.name(), "the token realm at %s is not https", clip(u.Host, 100))
	}
	u.Fragment = ""
	return u, nil
}

// tokenRefused says why no token was given.
func (c *Client) tokenRefused(rq request, rp reply, realm *url.URL, cred credential, known bool) error {
	code, msg := evidence.CodeUnavailable, fmt.Sprintf("%s answered %d instead of a token", realm.Host, rp.status)
	switch rp.status {
	case http.StatusTooManyRequests:
		code = evidence.CodeRateLimited
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		code = evidence.CodeUnauthorized
		switch {
		case !known:
			msg += fmt.Sprintf("; it was asked anonymously, because it is not a known token host of %s", rq.Host)
		case cred.err != nil:
			msg += "; asked anonymously, because " + cred.err.Error()
		case cred.anonymous():
			msg += fmt.Sprintf("; asked anonymously, because no credentials are known for %s", rq.Host)
		default:
			msg += fmt.Sprintf("; the credentials for %s are refused", rq.Host)
		}
	}
	p := problem(code, rq.where, "%s", msg)
	p.RetryAfter = retryAfter(rp.header, c.cfg.Now())
	return p
}

// readToken reads a token response. A token that could not be sent in a header
// is none.
func readToken(body []byte) (string, time.Duration, bool) {
	var r struct {
		Token       string  `json:"token"`
		AccessToken string  `json:"access_token"`
		ExpiresIn   float64 `json:"expires_in"`
	}
	if json.Unmarshal(body, &r) != nil {
		return "", 0, false
	}
	t := r.Token
	if t == "" {
		t = r.AccessToken
	}
	if t == "" || len(t) > maxToken || strings.IndexFunc(t, func(c rune) bool { return c <= ' ' || c >= 0x7f }) >= 0 {
		return "", 0, false
	}
	age := defaultTokenAge
	if r.ExpiresIn > 0 && r.ExpiresIn <= maxTokenAge.Seconds() {
		age = time.Duration(r.ExpiresIn * float64(time.Second))
	} else if r.ExpiresIn > 0 {
		age = maxTokenAge
	}
	return t, age, true
}

func basicHeader(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}
