package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
)

// keychain answers by host, and remembers who was asked for.
type keychain struct {
	mu    sync.Mutex
	creds map[string]authn.AuthConfig
	err   error
	wait  chan struct{}
	asked []string
}

func (k *keychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	if k.wait != nil {
		<-k.wait
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked = append(k.asked, r.String())
	if k.err != nil {
		return nil, k.err
	}
	if cfg, ok := k.creds[r.RegistryStr()]; ok {
		return authn.FromConfig(cfg), nil
	}
	return authn.Anonymous, nil
}

var right = registrytest.Auth{Username: "user", Password: "right"}

func basicAuth() *registrytest.Auth { a := right; a.Basic = true; return &a }

func TestBasic(t *testing.T) {
	s, _ := served(t, registrytest.Options{Auth: basicAuth()}, "one")
	cred := func(password string) func(*Config) {
		return func(c *Config) { c.Registries[0].Username, c.Registries[0].Password = "user", Secret(password) }
	}
	c := insecure(t, s, cred("right"))
	_, found := find(t, c, v1(s))
	complete(t, found)
	if n := s.Count("", ""); n != 7 { // six, and the challenge once
		t.Errorf("%d requests: %v", n, s.Counts())
	}
	_, err := insecure(t, s, cred("wrong")).Resolve(t.Context(), v1(s))
	if p := problemOf(t, err, evidence.CodeUnauthorized); strings.Contains(p.Error(), "wrong") {
		t.Errorf("the password is in the error: %s", p)
	}
	_, err = insecure(t, s).Resolve(t.Context(), v1(s))
	if p := problemOf(t, err, evidence.CodeUnauthorized); !strings.Contains(p.Message, "none is known") {
		t.Errorf("message: %s", p.Message)
	}
	k := &keychain{creds: map[string]authn.AuthConfig{s.Host(): {Auth: base64.StdEncoding.EncodeToString([]byte("user:right"))}}}
	if _, err := insecure(t, s, func(c *Config) { c.Keychain = k }).Resolve(t.Context(), v1(s)); err != nil {
		t.Errorf("credentials of the keychain: %v", err)
	}
	if len(k.asked) != 1 || k.asked[0] != s.Host()+"/app" {
		t.Errorf("the keychain was asked for %v", k.asked)
	}
}

func TestBearer(t *testing.T) {
	anonymous := right
	anonymous.Anonymous = true
	s, _ := served(t, registrytest.Options{Auth: &anonymous}, "one")
	c := insecure(t, s)
	_, found := find(t, c, v1(s))
	complete(t, found)
	if n := len(s.TokenRequests()); n != 1 {
		t.Errorf("%d requests for tokens, want 1", n)
	}
	q, err := url.ParseQuery(s.TokenRequests()[0].Query)
	if err != nil || q.Get("scope") != "repository:app:pull" || q.Get("service") != "registrytest" || s.TokenRequests()[0].Authorization != "" {
		t.Errorf("asked for %+v, %v", s.TokenRequests()[0], err)
	}
	// Another repository: the way to ask is known, so there is no challenge.
	s.Forget()
	s.Push("app2", "v1", image())
	if _, err := c.Resolve(t.Context(), evidence.Query{Image: s.Image("app2", "v1")}); err != nil {
		t.Error(err)
	}
	if n := s.Count("", "/v2/"); n != 1 {
		t.Errorf("%d requests: %v", n, s.Counts())
	}
}

func TestBearerWithCredentials(t *testing.T) {
	s, _ := served(t, registrytest.Options{Auth: &right}, "one")
	c := insecure(t, s, func(c *Config) { c.Registries[0].Username, c.Registries[0].Password = "user", "right" })
	if _, err := c.Resolve(t.Context(), v1(s)); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.Requests() {
		if strings.HasPrefix(r.Path, "/v2/") && strings.HasPrefix(r.Authorization, "Basic") {
			t.Error("the password went to the registry beside the token endpoint")
		}
	}
	_, err := insecure(t, s).Resolve(t.Context(), v1(s))
	if p := problemOf(t, err, evidence.CodeUnauthorized); !strings.Contains(p.Message, "no credentials are known") {
		t.Errorf("message: %s", p.Message)
	}
	_, err = insecure(t, s, func(c *Config) { c.Registries[0].Username, c.Registries[0].Password = "user", "wrong" }).Resolve(t.Context(), v1(s))
	if p := problemOf(t, err, evidence.CodeUnauthorized); !strings.Contains(p.Message, "are refused") {
		t.Errorf("message: %s", p.Message)
	}
	k := &keychain{err: errors.New("exec: docker-credential-x: not found")}
	_, err = insecure(t, s, func(c *Config) { c.Keychain = k }).Resolve(t.Context(), v1(s))
	if p := problemOf(t, err, evidence.CodeUnauthorized); !strings.Contains(p.Message, "docker-credential-x") {
		t.Errorf("message: %s", p.Message)
	}
}

func TestConfiguredToken(t *testing.T) {
	s, _ := served(t, registrytest.Options{Auth: &right})
	token := func(v Secret) func(*Config) { return func(c *Config) { c.Registries[0].Token = v } }
	if _, err := insecure(t, s, token("a-token-of-the-test-registry")).Resolve(t.Context(), v1(s)); err != nil {
		t.Error(err)
	}
	if n := len(s.Requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
	_, err := insecure(t, s, token("another")).Resolve(t.Context(), v1(s))
	wantProblem(t, err, evidence.CodeUnauthorized)
}

// secure is a registry with TLS and a client that trusts it; open are hosts that
// may be reached, tokens those that may see credentials.
func secure(t *testing.T, s *registrytest.Server, blobs, tokens []string, edit ...func(*Config)) *Client {
	t.Helper()
	ca := write(t, "ca.pem", s.CAPEM())
	return client(t, append([]func(*Config){func(c *Config) {
		c.Registries = []Settings{{Host: s.Host(), AllowPrivate: true, CAFile: ca, Username: "user", Password: "right", BlobHosts: blobs, TokenHosts: tokens}}
	}}, edit...)...)
}

// Threat 45: a token realm on another host is asked anonymously, and sees
// credentials only when it is a known token host of that registry.
func TestTokenRealmElsewhere(t *testing.T) {
	for _, tc := range []struct {
		name  string
		known bool
	}{{"unknown host", false}, {"token host", true}} {
		t.Run(tc.name, func(t *testing.T) {
			auth := right
			auth.OtherHost = true
			s, _ := served(t, registrytest.Options{TLS: true, Auth: &auth})
			hosts := []string{s.TokenHost()}
			c := secure(t, s, hosts, nil)
			if tc.known {
				c = secure(t, s, nil, hosts)
			}
			_, err := c.Resolve(t.Context(), v1(s))
			if tc.known {
				if err != nil {
					t.Fatal(err)
				}
			} else if p := problemOf(t, err, evidence.CodeUnauthorized); !strings.Contains(p.Message, "not a known token host") {
				t.Errorf("message: %s", p.Message)
			}
			if n := len(s.TokenRequests()); n != 1 {
				t.Fatalf("%d requests for tokens", n)
			}
			if sent := s.TokenRequests()[0].Authorization != ""; sent != tc.known {
				t.Errorf("credentials sent: %t", sent)
			}
		})
	}
}

// Threats 44, 45: realms that lead inward, speak plain HTTP or are no plain URL.
func TestTokenRealmsRefused(t *testing.T) {
	s, _ := served(t, registrytest.Options{})
	evil, _ := served(t, registrytest.Options{})
	for realm, code := range map[string]string{
		"https://" + evil.Host() + "/token":     evidence.CodeAddressRefused,
		"https://169.254.169.254/token":         evidence.CodeAddressRefused,
		"https://localhost/token":               evidence.CodeAddressRefused,
		"http://auth.example.com/token":         evidence.CodeUnauthorized,
		evil.URL() + "/token":                   evidence.CodeUnauthorized,
		"https://user:x@auth.example.com/token": evidence.CodeUnauthorized,
		"ftp://auth.example.com/":               evidence.CodeUnauthorized,
		"file:///etc/passwd":                    evidence.CodeUnauthorized,
		"token":                                 evidence.CodeUnauthorized,
		"https://":                              evidence.CodeUnauthorized,
		"https://auth.example.com./":            evidence.CodeUnauthorized,
	} {
		s.Behave()
		s.On(registrytest.Any(), challengeWith(`Bearer realm="`+realm+`"`))
		c := insecure(t, s, func(c *Config) { c.Registries[0].Username, c.Registries[0].Password = "user", "right" })
		_, err := c.Resolve(t.Context(), v1(s))
		if p := problemOf(t, err, code); strings.Contains(p.Error(), "right") {
			t.Errorf("the password is in the error: %s", p)
		}
	}
	if n := len(evil.Requests()); n > 0 {
		t.Errorf("%d requests to the other host", n)
	}
}

func challengeWith(value string) registrytest.Action {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		w.Header().Set("WWW-Authenticate", value)
		registrytest.Status(401)(w, r, next)
	}
}

func TestChallengesRefused(t *testing.T) {
	s, _ := served(t, registrytest.Options{})
	for value, says := range map[string]string{"Negotiate": "negotiate", `Digest realm="x"`: "digest", "Bearer": "bearer", "": "does not say how"} {
		s.Behave()
		s.On(registrytest.Any(), challengeWith(value))
		_, err := insecure(t, s).Resolve(t.Context(), v1(s))
		if p := problemOf(t, err, evidence.CodeUnauthorized); !strings.Contains(p.Message, says) {
			t.Errorf("%q: %s", value, p.Message)
		}
	}
}

func TestTokenEndpointProblems(t *testing.T) {
	for name, tc := range map[string]struct {
		refuse int
		code   string
	}{"429": {429, evidence.CodeRateLimited}, "500": {500, evidence.CodeUnavailable}, "418": {418, evidence.CodeUnavailable}, "403": {403, evidence.CodeUnauthorized}} {
		auth := right
		auth.Refuse = tc.refuse
		s, _ := served(t, registrytest.Options{Auth: &auth})
		_, err := insecure(t, s).Resolve(t.Context(), v1(s))
		if p := problemOf(t, err, tc.code); p.Where == "" {
			t.Errorf("%s: %+v", name, p)
		}
	}
	t.Run("no token in the answer", func(t *testing.T) {
		s, _ := served(t, registrytest.Options{Auth: &right})
		realm := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }))
		defer realm.Close()
		s.On(registrytest.Any(), challengeWith("x"))
		c := insecure(t, s)
		sess := session{c.endpoint(s.Host()), "app"}
		sess.address = realm.Listener.Addr().String() // as if the registry were there
		sess.open[sess.address] = true
		_, _, err := c.requestToken(t.Context(), sess, challenge{"bearer", map[string]string{"realm": realm.URL}}, nil)
		wantProblem(t, err, evidence.CodeUnavailable)
	})
}

// Threat 46: a caller names a hostile registry; it sees credentials of none other,
// not even those of the same address under another port.
func TestCredentialsBoundToHost(t *testing.T) {
	good, _ := served(t, registrytest.Options{Auth: basicAuth()})
	evil, _ := served(t, registrytest.Options{Auth: basicAuth()})
	c := client(t, func(c *Config) {
		c.Registries = []Settings{{Host: good.Host(), Insecure: true, Username: "user", Password: "right"}, {Host: evil.Host(), Insecure: true}}
	})
	if _, err := c.Resolve(t.Context(), v1(good)); err != nil {
		t.Fatal(err)
	}
	_, err := c.Resolve(t.Context(), v1(evil))
	wantProblem(t, err, evidence.CodeUnauthorized)
	for _, r := range evil.Requests() {
		if r.Authorization != "" {
			t.Errorf("sent %s", r.Authorization)
		}
	}
}

// An expired token is replaced; many who want one ask once; and who asked first
// may leave without spoiling it for the others (threat 57).
func TestTokens(t *testing.T) {
	var issued, now atomic.Int64
	now.Store(time.Now().Unix())
	release := make(chan struct{})
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	defer srv.Close()
	mux.HandleFunc("/token", func(w http.ResponseWriter, _ *http.Request) {
		<-release
		_ = json.NewEncoder(w).Encode(map[string]any{"token": fmt.Sprintf("t%d", issued.Add(1)), "expires_in": 60})
	})
	mux.HandleFunc("/v2/", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != fmt.Sprintf("Bearer t%d", issued.Load()) || issued.Load() == 0 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+srv.URL+`/token",service="x",scope="repository:app:pull,push"`)
			w.WriteHeader(401)
			return
		}
		w.Header().Set("Content-Type", mediaTypeManifest)
		_, _ = w.Write([]byte(imageBody))
	})
	host := strings.TrimPrefix(srv.URL, "http://")
	c := client(t, func(c *Config) {
		c.Registries = []Settings{{Host: host, Insecure: true}}
		c.Now = func() time.Time { return time.Unix(now.Load(), 0) }
	})
	q := evidence.Query{Image: host + "/app:v1"}

	leaving, leave := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { _, err := c.Resolve(leaving, q); first <- err }()
	time.Sleep(50 * time.Millisecond)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := c.Resolve(context.WithoutCancel(t.Context()), q); err != nil {
				t.Errorf("waiting: %v", err)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	leave()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("who left: %v", err)
	}
	close(release)
	wg.Wait()
	if n := issued.Load(); n != 1 {
		t.Errorf("%d tokens were asked for", n)
	}
	now.Add(61)
	if _, err := c.Resolve(t.Context(), q); err != nil || issued.Load() != 2 {
		t.Errorf("after a minute: %d tokens, %v", issued.Load(), err)
	}
	issued.Add(1) // the registry forgot ours
	if _, err := c.Resolve(t.Context(), q); err != nil || issued.Load() != 4 {
		t.Errorf("a token that is refused: %d tokens, %v", issued.Load(), err)
	}
}

// Docker's identity tokens are refresh tokens of OAuth 2.
func TestIdentityToken(t *testing.T) {
	var form url.Values
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	defer srv.Close()
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		form = r.PostForm
		_, _ = w.Write([]byte(`{"access_token":"t"}`))
	})
	mux.HandleFunc("/v2/", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer t" {
			challengeWith(`Bearer realm="`+srv.URL+`/token",service="x"`)(w, r, nil)
			return
		}
		w.Header().Set("Content-Type", mediaTypeManifest)
		_, _ = w.Write([]byte(imageBody))
	})
	host := strings.TrimPrefix(srv.URL, "http://")
	k := &keychain{creds: map[string]authn.AuthConfig{host: {Username: "<token>", IdentityToken: "refresh"}}}
	c := client(t, func(c *Config) { c.Registries, c.Keychain = []Settings{{Host: host, Insecure: true}}, k })
	if _, err := c.Resolve(t.Context(), evidence.Query{Image: host + "/app"}); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{"grant_type": "refresh_token", "refresh_token": "refresh", "service": "x", "scope": "repository:app:pull"} {
		if form.Get(k) != want {
			t.Errorf("%s = %q, want %q", k, form.Get(k), want)
		}
	}
	k.creds[host] = authn.AuthConfig{RegistryToken: "t"}
	c = client(t, func(c *Config) { c.Registries, c.Keychain = []Settings{{Host: host, Insecure: true}}, k })
	form = nil
	if _, err := c.Resolve(t.Context(), evidence.Query{Image: host + "/app"}); err != nil || form != nil {
		t.Errorf("a registry token: %v, %v", form, err)
	}
}

// Docker Hub is asked for by the key that docker's configuration uses, and its
// tokens come from its known host.
func TestDockerHub(t *testing.T) {
	k := &keychain{creds: map[string]authn.AuthConfig{"index.docker.io": {Username: "u", Password: "p"}}}
	c := client(t, func(c *Config) { c.Keychain = k })
	s := session{c.endpoint(dockerHub), "library/nginx"}
	if cred := c.credentials(t.Context(), s); cred.Username != "u" {
		t.Errorf("%+v", cred)
	}
	if k.asked[0] != "index.docker.io/library/nginx" {
		t.Errorf("asked for %v", k.asked)
	}
	if s.base != "https://registry-1.docker.io" || !s.tokenHosts["auth.docker.io:443"] || s.tokenHosts["gitlab.com:443"] {
		t.Errorf("%+v", s.endpoint)
	}
	if e := c.endpoint("registry.gitlab.com"); !e.tokenHosts["gitlab.com:443"] {
		t.Errorf("%+v", e)
	}
}

// A credential helper that hangs does not hold up more than the search.
func TestKeychainHangs(t *testing.T) {
	s, _ := served(t, registrytest.Options{Auth: basicAuth()})
	k := &keychain{wait: make(chan struct{})}
	defer close(k.wait)
	c := insecure(t, s, func(c *Config) { c.Keychain = k })
	_, err := c.Resolve(short(t, 200*time.Millisecond), v1(s))
	if p := problemOf(t, err, evidence.CodeUnauthorized); !strings.Contains(p.Message, "did not answer in time") {
		t.Errorf("message: %s", p.Message)
	}
}

// "Nothing found" in another repository is not believed when the keychain, which
// may have the credentials that make it visible, could not be read.
func TestHiddenEvidenceRepository(t *testing.T) {
	anonymous := right
	anonymous.Anonymous = true
	s, _ := served(t, registrytest.Options{Auth: &anonymous}, "one")
	k := &keychain{err: errors.New("no helper")}
	edit := func(c *Config) {
		c.Keychain = k
		c.EvidenceRepositories = map[string]string{s.Host(): s.Host() + "/signatures"}
	}
	_, found := find(t, insecure(t, s, edit), v1(s))
	if p := incomplete(t, found, evidence.CodeUnauthorized); !strings.Contains(p.Message, "no helper") {
		t.Errorf("message: %s", p.Message)
	}
	k.err = nil
	_, found = find(t, insecure(t, s, edit), v1(s))
	complete(t, found)
}

func TestScope(t *testing.T) {
	c := client(t, func(c *Config) {
		c.AllowLayouts = true
		c.Registries = []Settings{{Host: "a.example.com", Username: "u", Password: "secret"}, {Host: "b.example.com", Token: "secret"}}
		c.EvidenceRepositories = map[string]string{"b.example.com": "a.example.com/sigs"}
	})
	for image, want := range map[string]string{
		"a.example.com/x": "a.example.com#user:u a.example.com/x a.example.com#user:u",
		"b.example.com/x": "b.example.com#token a.example.com/sigs a.example.com#user:u",
		"nginx":           "docker.io#keychain docker.io/library/nginx docker.io#keychain",
		"oci-layout:x":    "layout",
		"A/..":            "",
	} {
		if got := c.Scope(image); got != want {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
	}
}

func TestSecret(t *testing.T) {
	s := Settings{Password: "hunter2", Token: "hunter2"}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "password", s.Password, "settings", s)
	body, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q", s, s, s, s.Token, s.Token), log.String(), string(body)} {
		if strings.Contains(out, "hunter2") {
			t.Errorf("shown: %s", out)
		}
	}
	if string(s.Password) != "hunter2" {
		t.Error("lost")
	}
}
