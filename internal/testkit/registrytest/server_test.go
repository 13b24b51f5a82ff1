package registrytest_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

type answer struct {
	code   int
	header http.Header
	body   []byte
	err    error
}

func get(t *testing.T, c *http.Client, url string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		return answer{err: err}
	}
	body, err := io.ReadAll(res.Body)
	if cerr := res.Body.Close(); err == nil {
		err = cerr
	}
	return answer{res.StatusCode, res.Header, body, err}
}

func digests(t *testing.T, body []byte) []string {
	t.Helper()
	var m ocitest.Manifest
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	out := []string{}
	for _, d := range m.Manifests {
		out = append(out, d.Digest)
	}
	return out
}

func evidence(t *testing.T, req sigstack.SignRequest) *sigstack.Evidence {
	t.Helper()
	s, err := sigstack.New(sigstack.Options{Seed: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	req.Identity = sigstack.Workflow{}.Identity()
	ev, err := s.Sign(req)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func TestPushedImageIsPulledByAnotherClient(t *testing.T) {
	t.Parallel()
	s := registrytest.New(t, registrytest.Options{})
	index := ocitest.Index(
		ocitest.Image(ocitest.ImageOptions{Content: "amd64"}),
		ocitest.Image(ocitest.ImageOptions{Content: "arm64", Platform: ocitest.Platform{OS: "linux", Architecture: "arm64"}}),
	)
	digest := s.Push("acme/app", "v1", index)
	ref, err := name.ParseReference(s.Image("acme/app", "v1"))
	if err != nil {
		t.Fatal(err)
	}
	idx, err := remote.Index(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if h, err := idx.Digest(); err != nil || h.String() != digest {
		t.Fatalf("digest %v, %v; want %s", h, err, digest)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	img, err := idx.Image(m.Manifests[1].Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil || config.Architecture != "arm64" {
		t.Fatalf("config %+v, %v", config, err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("layers %v, %v", layers, err)
	}
	if id, err := layers[0].DiffID(); err != nil || id != config.RootFS.DiffIDs[0] {
		t.Fatalf("diff id %v, %v", id, err)
	}
	want := map[string]int{
		"GET /v2/":                      1,
		"GET /v2/acme/app/manifests/v1": 1,
		"GET /v2/acme/app/manifests/" + m.Manifests[1].Digest.String(): 1,
	}
	got := s.Counts()
	for path := range got {
		if strings.Contains(path, "/blobs/") {
			delete(got, path)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("requests (-want +got):\n%s", d)
	}
}

func TestReferrersInPages(t *testing.T) {
	t.Parallel()
	s := registrytest.New(t, registrytest.Options{PageSize: 2, ReferrersType: "application/vnd.oci.image.index.v1+json; charset=utf-8"})
	image := ocitest.Image(ocitest.ImageOptions{Content: "x"})
	s.Push("r", "v1", image)
	want := map[string]bool{}
	for _, n := range []string{"a", "b", "c", "d", "e"} {
		ev := evidence(t, sigstack.SignRequest{Image: image.Digest(), Annotations: map[string]string{"n": n}})
		want[s.Attach("r", image, ev).Digest()] = true
	}
	got := map[string]bool{}
	url := s.URL() + "/v2/r/referrers/" + image.Digest()
	for page := 1; ; page++ {
		a := get(t, s.Client(), url)
		if a.code != http.StatusOK || !strings.HasSuffix(a.header.Get("Content-Type"), "charset=utf-8") {
			t.Fatalf("page %d: %d %q", page, a.code, a.header.Get("Content-Type"))
		}
		for _, d := range digests(t, a.body) {
			got[d] = true
		}
		link, ok := strings.CutSuffix(a.header.Get("Link"), `>; rel="next"`)
		if !ok {
			if page != 3 {
				t.Errorf("%d pages, want 3", page)
			}
			break
		}
		url = s.URL() + strings.TrimPrefix(link, "<")
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("referrers (-want +got):\n%s", d)
	}
}

func TestReferrersAreDescribedAsSpecified(t *testing.T) {
	t.Parallel()
	image := ocitest.Image(ocitest.ImageOptions{Content: "x"})
	ev := evidence(t, sigstack.SignRequest{Image: image.Digest()})
	for _, tt := range []struct {
		name  string
		opts  registrytest.Options
		query string
		want  string // artifactType of the only referrer, "" for none
		code  int
	}{
		{"as specified", registrytest.Options{}, "", sigstack.V03.MediaType(), 200},
		{"as go-containerregistry does", registrytest.Options{PlainReferrers: true}, "", ocitest.MediaTypeEmpty, 200},
		{"filtered, matching", registrytest.Options{}, "?artifactType=application/vnd.dev.sigstore.bundle.v0.3%2Bjson", sigstack.V03.MediaType(), 200},
		{"filtered, other", registrytest.Options{}, "?artifactType=x", "", 200},
		{"distribution v3", registrytest.Options{NoReferrers: true}, "", "", 404},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := registrytest.New(t, tt.opts)
			s.Push("r", "v1", image)
			s.Attach("r", image, ev)
			a := get(t, s.Client(), s.URL()+"/v2/r/referrers/"+image.Digest()+tt.query)
			if a.code != tt.code {
				t.Fatalf("status %d", a.code)
			}
			var m ocitest.Manifest
			if tt.code == 200 {
				if err := json.Unmarshal(a.body, &m); err != nil {
					t.Fatal(err)
				}
			}
			got := ""
			if len(m.Manifests) > 0 {
				got = m.Manifests[0].ArtifactType
				if p := m.Manifests[0].Annotations["dev.sigstore.bundle.predicateType"]; p != sigstack.PredicateCosignSign {
					t.Errorf("predicateType annotation %q", p)
				}
			}
			if got != tt.want {
				t.Errorf("artifactType %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMisbehaviour(t *testing.T) {
	t.Parallel()
	image := ocitest.Image(ocitest.ImageOptions{Content: "x"})
	lie := "sha256:" + strings.Repeat("0", 64)
	for _, tt := range []struct {
		name  string
		act   registrytest.Action
		check func(a answer) bool
	}{
		{"status", registrytest.Status(501), func(a answer) bool { return a.code == 501 && strings.Contains(string(a.body), "errors") }},
		{"retry after", registrytest.RetryAfter(429, 7), func(a answer) bool { return a.code == 429 && a.header.Get("Retry-After") == "7" }},
		{"delay", registrytest.Delay(time.Millisecond), func(a answer) bool { return string(a.body) == string(image.Raw) }},
		{"hangup", registrytest.Hangup(), func(a answer) bool { return a.err != nil }},
		{"drip", registrytest.Drip(100, time.Millisecond), func(a answer) bool { return string(a.body) == string(image.Raw) }},
		{"empty index", registrytest.EmptyIndex(), func(a answer) bool { return strings.Contains(string(a.body), `"manifests":[]`) }},
		{"lying digest", registrytest.LieDigest(lie), func(a answer) bool {
			return a.header.Get("Docker-Content-Digest") == lie && string(a.body) == string(image.Raw)
		}},
		{"content type", registrytest.ContentType("text/html"), func(a answer) bool { return a.header.Get("Content-Type") == "text/html" }},
		{"truncated", registrytest.Truncate(10), func(a answer) bool { return errors.Is(a.err, io.ErrUnexpectedEOF) && len(a.body) == 10 }},
		{"link", registrytest.Link("<https://other.test/>; rel=\"next\""), func(a answer) bool { return strings.Contains(a.header.Get("Link"), "other.test") }},
		{"redirect", registrytest.RedirectTo("http://127.0.0.1:1/"), func(a answer) bool { return a.err != nil && strings.Contains(a.err.Error(), "127.0.0.1:1") }},
		{"changed body", registrytest.Change(func(_ *int, _ http.Header, b *[]byte) { *b = append(*b, '\n') }), func(a answer) bool { return string(a.body) == string(image.Raw)+"\n" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := registrytest.New(t, registrytest.Options{})
			s.Push("r", "v1", image)
			s.Times(1, registrytest.Manifest("v1"), tt.act)
			if a := get(t, s.Client(), s.URL()+"/v2/r/manifests/v1"); !tt.check(a) {
				t.Errorf("answer %d %v %v %q", a.code, a.err, a.header, a.body)
			}
			if a := get(t, s.Client(), s.URL()+"/v2/r/manifests/v1"); a.code != 200 || string(a.body) != string(image.Raw) {
				t.Errorf("the second answer should be right: %d %v", a.code, a.err)
			}
			if n := s.Count("GET", "/manifests/v1"); n != 2 {
				t.Errorf("%d requests counted, want 2", n)
			}
		})
	}
}

func TestHangAndEndlessEndWithTheClient(t *testing.T) {
	t.Parallel()
	s := registrytest.New(t, registrytest.Options{})
	s.On(registrytest.Path("GET", "/hang"), registrytest.Hang())
	s.On(registrytest.Path("GET", "/endless"), registrytest.Endless("application/json"))
	c := s.Client()
	c.Timeout = 3 * time.Second
	if a := get(t, c, s.URL()+"/hang"); !os.IsTimeout(a.err) {
		t.Errorf("hang: %d %v", a.code, a.err)
	}
	a := get(t, c, s.URL()+"/endless")
	if !os.IsTimeout(a.err) || len(a.body) == 0 {
		t.Errorf("endless: %d bytes, %v", len(a.body), a.err)
	}
}

func TestTagThatMoves(t *testing.T) {
	t.Parallel()
	s := registrytest.New(t, registrytest.Options{})
	one, two := ocitest.Image(ocitest.ImageOptions{Content: "1"}), ocitest.Image(ocitest.ImageOptions{Content: "2"})
	s.Serve("r", "v1", one, two)
	var got []string
	for range 3 {
		got = append(got, get(t, s.Client(), s.URL()+"/v2/r/manifests/v1").header.Get("Docker-Content-Digest"))
	}
	if d := cmp.Diff([]string{one.Digest(), two.Digest(), two.Digest()}, got); d != "" {
		t.Errorf("digests (-want +got):\n%s", d)
	}
}

func TestAuth(t *testing.T) {
	t.Parallel()
	image := ocitest.Image(ocitest.ImageOptions{Content: "x"})
	right := &authn.Basic{Username: "u", Password: "p"}
	wrong := &authn.Basic{Username: "u", Password: "q"}
	for _, tt := range []struct {
		name string
		auth registrytest.Auth
		as   authn.Authenticator
		ok   bool
	}{
		{"basic, right", registrytest.Auth{Basic: true, Username: "u", Password: "p"}, right, true},
		{"basic, wrong", registrytest.Auth{Basic: true, Username: "u", Password: "p"}, wrong, false},
		{"basic, anonymous", registrytest.Auth{Basic: true, Username: "u", Password: "p"}, authn.Anonymous, false},
		{"bearer, right", registrytest.Auth{Username: "u", Password: "p"}, right, true},
		{"bearer, wrong", registrytest.Auth{Username: "u", Password: "p"}, wrong, false},
		{"bearer, anonymous", registrytest.Auth{Anonymous: true}, authn.Anonymous, true},
		{"bearer, refused", registrytest.Auth{Anonymous: true, Refuse: 503}, authn.Anonymous, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := registrytest.New(t, registrytest.Options{Auth: &tt.auth})
			s.Push("r", "v1", image)
			ref, err := name.ParseReference(s.Image("r", "v1"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = remote.Get(ref, remote.WithAuth(tt.as), remote.WithContext(t.Context()), remote.WithRetryBackoff(remote.Backoff{Steps: 1}))
			if (err == nil) != tt.ok {
				t.Fatalf("error %v, want success %v", err, tt.ok)
			}
			if asked := len(s.TokenRequests()) > 0; asked == tt.auth.Basic {
				t.Errorf("token endpoint asked: %v", asked)
			}
		})
	}
}

// go-containerregistry refuses realms on other loopback ports, so the flow is
// walked by hand.
func TestTokensFromAnotherHost(t *testing.T) {
	t.Parallel()
	s := registrytest.New(t, registrytest.Options{Auth: &registrytest.Auth{Username: "u", Password: "p", OtherHost: true}})
	digest := s.PutBlob("r", []byte("blob"))
	blob := s.URL() + "/v2/r/blobs/" + digest
	refused := get(t, s.Client(), blob)
	_, rest, _ := strings.Cut(refused.header.Get("WWW-Authenticate"), `Bearer realm="`)
	realm, _, _ := strings.Cut(rest, `"`)
	if refused.code != 401 || realm != "http://"+s.TokenHost()+"/token" || s.TokenHost() == s.Host() {
		t.Fatalf("%d, realm %q, hosts %s and %s", refused.code, realm, s.TokenHost(), s.Host())
	}
	ask := func(url string, prepare func(*http.Request)) answer {
		return get(t, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			prepare(r)
			return http.DefaultTransport.RoundTrip(r)
		})}, url)
	}
	var granted struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(ask(realm, func(r *http.Request) { r.SetBasicAuth("u", "p") }).body, &granted); err != nil {
		t.Fatal(err)
	}
	got := ask(blob, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+granted.Token) })
	if string(got.body) != "blob" {
		t.Errorf("%d %s", got.code, got.body)
	}
	if asked := s.TokenRequests(); len(asked) != 1 || !strings.HasPrefix(asked[0].Authorization, "Basic ") {
		t.Errorf("token requests %+v", asked)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTLSAndMirror(t *testing.T) {
	t.Parallel()
	s := registrytest.New(t, registrytest.Options{TLS: true})
	m := s.Mirror(true)
	s.On(registrytest.Blob(""), registrytest.Redirect(m.URL()))
	digest := s.PutBlob("r", []byte("blob"))
	if a := get(t, http.DefaultClient, s.URL()+"/v2/"); a.err == nil {
		t.Error("a client without the CA was served")
	}
	if a := get(t, s.Client(), s.URL()+"/v2/r/blobs/"+digest); string(a.body) != "blob" {
		t.Errorf("blob: %d %v %q", a.code, a.err, a.body)
	}
	if len(m.Requests()) != 1 || s.Count("GET", "/blobs/") != 1 {
		t.Errorf("mirror %v, registry %v", m.Requests(), s.Requests())
	}
	for _, ca := range [][]byte{s.CAPEM(), m.CAPEM()} {
		if !strings.HasPrefix(string(ca), "-----BEGIN CERTIFICATE-----") {
			t.Errorf("CA %q", ca)
		}
	}
	s.Forget()
	s.Behave()
	if a := get(t, s.Client(), s.URL()+"/v2/r/blobs/"+digest); string(a.body) != "blob" || len(s.Requests()) != 1 || len(m.Requests()) != 1 {
		t.Errorf("without rules: %d %v, %d requests", a.code, a.err, len(s.Requests()))
	}
}

func TestLegacyTagsAndFallback(t *testing.T) {
	t.Parallel()
	s := registrytest.New(t, registrytest.Options{NoReferrers: true})
	image := ocitest.Image(ocitest.ImageOptions{Content: "x"})
	s.Push("r", "v1", image)
	sig := evidence(t, sigstack.SignRequest{Image: image.Digest(), Legacy: true, Log: sigstack.RekorV1SET()})
	att := evidence(t, sigstack.SignRequest{Statement: &sigstack.Statement{Subjects: []sigstack.Subject{sigstack.SubjectOf("", image.Digest())}}, Legacy: true})
	s.Legacy("r", image.Digest(), sig, att)
	ref := s.LegacyReferrer("r", image, sig)
	bundle := s.Attach("r", image, evidence(t, sigstack.SignRequest{Image: image.Digest()}))
	s.Fallback("r", image.Digest(), ref, bundle)
	tag := "sha256-" + strings.TrimPrefix(image.Digest(), "sha256:")
	for suffix, want := range map[string]string{".sig": sigstack.MediaTypeSimpleSigning, ".att": sigstack.MediaTypeDSSE} {
		var m ocitest.Manifest
		if err := json.Unmarshal(get(t, s.Client(), s.URL()+"/v2/r/manifests/"+tag+suffix).body, &m); err != nil {
			t.Fatal(err)
		}
		if len(m.Layers) != 1 || m.Layers[0].MediaType != want {
			t.Errorf("%s: layers %+v", suffix, m.Layers)
		}
	}
	got := digests(t, get(t, s.Client(), s.URL()+"/v2/r/manifests/"+tag).body)
	if d := cmp.Diff([]string{ref.Digest(), bundle.Digest()}, got); d != "" {
		t.Errorf("fallback (-want +got):\n%s", d)
	}
}

func TestPushLayout(t *testing.T) {
	t.Parallel()
	samples := filepath.Join("..", "..", "..", "test", "testdata", "samples", "layouts")
	entries, err := os.ReadDir(samples)
	if err != nil {
		t.Fatal(err)
	}
	s := registrytest.New(t, registrytest.Options{})
	for _, e := range entries {
		l := s.PushLayout(filepath.Join(samples, e.Name()), e.Name())
		for _, m := range l.Entries {
			for _, ref := range []string{m.Tag, m.Digest} {
				if ref == "" {
					continue
				}
				if a := get(t, s.Client(), s.URL()+"/v2/"+e.Name()+"/manifests/"+ref); ocitest.Digest(a.body) != m.Digest {
					t.Errorf("%s %s: %d, digest %s, want %s", e.Name(), ref, a.code, ocitest.Digest(a.body), m.Digest)
				}
			}
		}
	}
}

func TestIndexWithoutItsChildrenIsServed(t *testing.T) {
	t.Parallel()
	s := registrytest.New(t, registrytest.Options{})
	index := ocitest.Index(ocitest.Image(ocitest.ImageOptions{}))
	s.PutManifest("r", "v1", index.MediaType, index.Raw)
	for _, ref := range []string{"v1", index.Digest()} {
		if a := get(t, s.Client(), s.URL()+"/v2/r/manifests/"+ref); a.code != 200 || string(a.body) != string(index.Raw) {
			t.Errorf("%s: %d %s", ref, a.code, a.body)
		}
	}
}
