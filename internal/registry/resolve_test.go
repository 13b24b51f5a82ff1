package registry

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
)

func TestResolve(t *testing.T) {
	s, img := served(t, registrytest.Options{})
	c := insecure(t, s)
	tag := "v1"
	for _, tc := range []struct {
		image string
		want  facts.Subject
	}{
		{s.Image("app", "v1"), facts.Subject{Tag: &tag}},
		{s.Image("app", img.Digest()), facts.Subject{}},
		{s.Image("app", "v1") + "@" + img.Digest(), facts.Subject{Tag: &tag}},
	} {
		s.Forget()
		tc.want.Registry, tc.want.Repository, tc.want.Digest = s.Host(), "app", img.Digest()
		tc.want.MediaType, tc.want.Platforms = mediaTypeManifest, []facts.Platform{}
		got, err := c.Resolve(t.Context(), evidence.Query{Image: tc.image})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tc.image, diff)
		}
		if n := len(s.Requests()); n != 1 {
			t.Errorf("%s: %d requests, want 1: %v", tc.image, n, s.Counts())
		}
	}
	if got := s.Requests()[0].UserAgent; got != "signet/test" {
		t.Errorf("User-Agent %q", got)
	}
}

func TestResolveDockerTypes(t *testing.T) {
	s := registrytest.New(t, registrytest.Options{})
	s.Push("app", "v1", ocitest.Image(ocitest.ImageOptions{Docker: true}))
	sub, err := insecure(t, s).Resolve(t.Context(), v1(s))
	if err != nil || sub.MediaType != mediaTypeDockerManifest {
		t.Errorf("%+v, %v", sub, err)
	}
}

func TestResolveIndex(t *testing.T) {
	s, ix := multiArch(t)
	c := insecure(t, s)
	sub, err := c.Resolve(t.Context(), v1(s))
	if err != nil {
		t.Fatal(err)
	}
	want := []facts.Platform{
		{OS: "linux", Architecture: "amd64", Digest: ix.Children[0].Digest()},
		{OS: "linux", Architecture: "arm64", Variant: "v8", Digest: ix.Children[1].Digest()},
	}
	if diff := cmp.Diff(want, sub.Platforms); diff != "" {
		t.Errorf("platforms: -want +got:\n%s", diff)
	}
	q := v1(s)
	q.Platform = "linux/arm64"
	if _, err := c.Resolve(t.Context(), q); err != nil {
		t.Errorf("%s: %v", q.Platform, err)
	}
	q.Platform = "linux/s390x"
	_, err = c.Resolve(t.Context(), q)
	if p := problemOf(t, err, evidence.CodePlatformNotFound); !strings.Contains(p.Message, "linux/amd64, linux/arm64/v8") {
		t.Errorf("message: %s", p.Message)
	}
	q.AllPlatforms = true
	_, err = c.Resolve(t.Context(), q)
	wantProblem(t, err, evidence.CodePlatformNotFound)
}

// multiArch is an index of two platforms with BuildKit's attestation manifests.
func multiArch(t testing.TB) (*registrytest.Server, *ocitest.Artifact) {
	t.Helper()
	s := registrytest.New(t, registrytest.Options{})
	amd := ocitest.Image(ocitest.ImageOptions{Content: "amd"})
	arm := ocitest.Image(ocitest.ImageOptions{Content: "arm", Platform: ocitest.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}})
	ix := ocitest.Index(amd, arm, ocitest.BuildKitAttestation(amd, []byte(`{"a":1}`)), ocitest.BuildKitAttestation(arm, []byte(`{"b":1}`)))
	s.Push("app", "v1", ix)
	return s, ix
}

func TestResolveProblems(t *testing.T) {
	const other = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	v1 := registrytest.Manifest("v1")
	body := func(contentType, body string) registrytest.Action {
		return registrytest.Body(contentType, []byte(body))
	}
	for _, tc := range []struct {
		name   string
		action registrytest.Action
		want   string
		retry  time.Duration
	}{
		{"404", registrytest.Status(404), evidence.CodeImageNotFound, 0},
		{"410", registrytest.Status(410), evidence.CodeImageNotFound, 0},
		{"401", registrytest.Status(401), evidence.CodeUnauthorized, 0},
		{"403", registrytest.Status(403), evidence.CodeUnauthorized, 0},
		{"429 for long", registrytest.RetryAfter(429, 60), evidence.CodeRateLimited, time.Minute},
		{"429", registrytest.Status(429), evidence.CodeRateLimited, 0},
		{"500", registrytest.Status(500), evidence.CodeUnavailable, 0},
		{"503 for long", registrytest.RetryAfter(503, 100000), evidence.CodeUnavailable, time.Hour},
		{"400", registrytest.Status(400), evidence.CodeUnavailable, 0},
		{"hang up", registrytest.Hangup(), evidence.CodeUnavailable, 0},
		{"cut short", registrytest.Truncate(10), evidence.CodeUnavailable, 0},
		{"login page", body("text/html", "<html>"), evidence.CodeUnavailable, 0},
		{"threat 31: another digest in the header", registrytest.LieDigest(other), evidence.CodeDigestMismatch, 0},
		{"threat 31: an odd digest in the header", registrytest.LieDigest("md5:x"), evidence.CodeDigestMismatch, 0},
		{"threat 31: sha512 of something else", registrytest.LieDigest("sha512:" + hex64 + hex64), evidence.CodeDigestMismatch, 0},
		{"threat 32: called an index", registrytest.ContentType(mediaTypeIndex), evidence.CodeManifestAmbiguous, 0},
		{"threat 32: called plain JSON", registrytest.ContentType("application/json"), evidence.CodeManifestAmbiguous, 0},
		{"threat 32: layers and manifests", body(mediaTypeManifest, `{"schemaVersion":2,"layers":[],"manifests":[]}`), evidence.CodeManifestAmbiguous, 0},
		{"threat 32: index in an index", body(mediaTypeIndex, `{"schemaVersion":2,"manifests":[{"mediaType":"`+mediaTypeIndex+`","digest":"`+other+`","size":1}]}`), evidence.CodeManifestAmbiguous, 0},
		{"threat 42: duplicate key", body(mediaTypeManifest, `{"schemaVersion":2,"layers":[],"layers":[]}`), evidence.CodeManifestAmbiguous, 0},
		{"no schema version", body(mediaTypeManifest, `{"layers":[]}`), evidence.CodeManifestAmbiguous, 0},
		{"schema 1", body("application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1}`), evidence.CodeManifestUnsupported, 0},
		{"another type", body("application/vnd.oci.artifact.manifest.v1+json", `{"schemaVersion":2,"mediaType":"application/vnd.oci.artifact.manifest.v1+json","config":{}}`), evidence.CodeManifestUnsupported, 0},
		{"too many platforms", body(mediaTypeIndex, `{"schemaVersion":2,"manifests":[`+strings.TrimSuffix(strings.Repeat(`{"mediaType":"x","digest":"`+other+`","size":1},`, 65), ",")+`]}`), evidence.CodeEvidenceTooLarge, 0},
		{"too large", body(mediaTypeManifest, strings.Repeat(" ", 5<<20)), evidence.CodeEvidenceTooLarge, 0},
		{"endless", registrytest.Endless(mediaTypeManifest), evidence.CodeEvidenceTooLarge, 0},
		{"gzip unasked", registrytest.Change(func(_ *int, h http.Header, _ *[]byte) { h.Set("Content-Encoding", "gzip") }), evidence.CodeDigestMismatch, 0},
		{"redirect without TLS", registrytest.RedirectTo("http://other.example.com/v2/app/manifests/v1"), evidence.CodeRedirectRefused, 0},
		{"redirect inward", registrytest.RedirectTo("https://127.0.0.1:1/v2/app/manifests/v1"), evidence.CodeAddressRefused, 0},
		{"redirect without end", registrytest.Redirect(""), evidence.CodeRedirectRefused, 0},
		{"redirect to nothing", registrytest.RedirectTo(""), evidence.CodeRedirectRefused, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, _ := served(t, registrytest.Options{})
			s.On(v1, tc.action)
			_, err := insecure(t, s).Resolve(t.Context(), evidence.Query{Image: s.Image("app", "v1")})
			p := problemOf(t, err, tc.want)
			if p.RetryAfter != tc.retry {
				t.Errorf("retry after %s, want %s", p.RetryAfter, tc.retry)
			}
			if p.Where == "" || p.Message == "" {
				t.Errorf("says nothing: %+v", p)
			}
		})
	}
}

// Threat 31: bytes that are not what was asked for by digest are refused, and a
// true sha512 digest in the header is no lie.
func TestResolveByDigest(t *testing.T) {
	s, img := served(t, registrytest.Options{})
	other := ocitest.Image(ocitest.ImageOptions{Content: "other"})
	s.Serve("app", img.Digest(), other)
	s.On(registrytest.Manifest(img.Digest()), registrytest.Change(func(_ *int, h http.Header, _ *[]byte) { h.Del("Docker-Content-Digest") }))
	_, err := insecure(t, s).Resolve(t.Context(), evidence.Query{Image: s.Image("app", img.Digest())})
	wantProblem(t, err, evidence.CodeDigestMismatch)

	if err := checkDigest(content{body: []byte("x"), digest: facts.Digest([]byte("x"))}, "v1", []string{
		"sha512:a4abd4448c49562d828115d13a1fccea927f52b4d5459297f8b43e42da89238bc13626e43dcb38ddb082488927ec904fb42057443983e88585179d50551afe62",
	}); err != nil {
		t.Errorf("a true sha512 digest: %v", err)
	}
}

// Threat 30: the tag moves after resolving; everything after speaks of the digest
// that was resolved.
func TestTagMoves(t *testing.T) {
	s := registrytest.New(t, registrytest.Options{})
	first, second := image(), ocitest.Image(ocitest.ImageOptions{Content: "second"})
	s.Push("app", "", first)
	s.Push("app", "", second)
	s.Push("app", "", bundle(first, `"first"`))
	s.Push("app", "", bundle(second, `"second"`))
	s.Serve("app", "v1", first, second)
	c := insecure(t, s)
	sub, found := find(t, c, v1(s))
	if sub.Digest != first.Digest() {
		t.Errorf("resolved %s", sub.Digest)
	}
	if diff := cmp.Diff([]string{`bundle "first"`}, summary(found.Items)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if again, err := c.Resolve(t.Context(), v1(s)); err != nil || again.Digest != second.Digest() {
		t.Errorf("resolved again: %s, %v", again.Digest, err)
	}
}

func TestRetries(t *testing.T) {
	for _, tc := range []struct {
		name   string
		action registrytest.Action
		want   int
	}{
		{"500", registrytest.Status(500), 3},
		{"502", registrytest.Status(502), 3},
		{"429", registrytest.Status(429), 3},
		{"hang up", registrytest.Hangup(), 3},
		{"429 for a moment", registrytest.RetryAfter(429, 1), 2},
		{"429 for long", registrytest.RetryAfter(429, 60), 1},
		{"404", registrytest.Status(404), 1},
		{"403", registrytest.Status(403), 1},
		{"501", registrytest.Status(501), 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, _ := served(t, registrytest.Options{})
			times := 2
			if tc.want == 2 {
				times = 1
			}
			s.Times(times, registrytest.Manifest("v1"), tc.action)
			start := time.Now()
			_, err := insecure(t, s).Resolve(t.Context(), v1(s))
			if n := s.Count("GET", "/manifests/"); n != tc.want {
				t.Errorf("%d requests, want %d", n, tc.want)
			}
			if (err == nil) != (tc.want > 1) {
				t.Errorf("error %v", err)
			}
			if tc.want == 2 && time.Since(start) < time.Second {
				t.Error("Retry-After was not waited for")
			}
		})
	}
	t.Run("no longer than the deadline", func(t *testing.T) {
		s, _ := served(t, registrytest.Options{})
		s.On(registrytest.Manifest("v1"), registrytest.RetryAfter(429, 60))
		_, err := insecure(t, s).Resolve(short(t, 20*time.Second), v1(s))
		if p := problemOf(t, err, evidence.CodeRateLimited); p.RetryAfter != time.Minute {
			t.Errorf("retry after %s", p.RetryAfter)
		}
	})
}

// Threats 34, 39: no answer, and one that drips, end with the request's time
// limit and are not asked for again.
func TestTimeouts(t *testing.T) {
	for name, action := range map[string]registrytest.Action{"hang": registrytest.Hang(), "drip": registrytest.Drip(1, 20*time.Millisecond)} {
		t.Run(name, func(t *testing.T) {
			s, _ := served(t, registrytest.Options{})
			s.On(registrytest.Manifest("v1"), action)
			c := insecure(t, s, limits(func(l *evidence.Limits) { l.RequestTimeout = 2 * time.Second }))
			start := time.Now()
			_, err := c.Resolve(t.Context(), v1(s))
			wantProblem(t, err, evidence.CodeUnavailable)
			if d := time.Since(start); d > 30*time.Second {
				t.Errorf("took %s", d)
			}
			if n := s.Count("GET", "/manifests/"); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
	t.Run("search", func(t *testing.T) {
		s, _ := served(t, registrytest.Options{})
		s.On(registrytest.Any(), registrytest.Hang())
		c := insecure(t, s, limits(func(l *evidence.Limits) { l.SearchTimeout = time.Second }))
		_, err := c.Resolve(t.Context(), v1(s))
		p := problemOf(t, err, evidence.CodeUnavailable)
		if !errors.Is(p, context.DeadlineExceeded) {
			t.Errorf("%v does not wrap the deadline", p)
		}
	})
	t.Run("caller leaves", func(t *testing.T) {
		s, _ := served(t, registrytest.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		s.On(registrytest.Any(), func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { cancel(); <-r.Context().Done() })
		_, err := insecure(t, s).Resolve(ctx, v1(s))
		if p := problemOf(t, err, evidence.CodeUnavailable); !errors.Is(p, context.Canceled) {
			t.Errorf("%v does not wrap the cancellation", p)
		}
	})
}

func TestEvidenceOnly(t *testing.T) {
	s, img := served(t, registrytest.Options{})
	c := insecure(t, s)
	absent := "sha256:" + hex64
	sub, err := c.Resolve(t.Context(), evidence.Query{Image: s.Image("app", absent), EvidenceOnly: true})
	if err != nil || sub.Digest != absent || sub.MediaType != "" || sub.Repository != "app" {
		t.Errorf("%+v, %v", sub, err)
	}
	sub, err = c.Resolve(t.Context(), evidence.Query{Image: s.Image("app", img.Digest()), EvidenceOnly: true})
	if err != nil || sub.MediaType != mediaTypeManifest {
		t.Errorf("a manifest that is there: %+v, %v", sub, err)
	}
	_, err = c.Resolve(t.Context(), evidence.Query{Image: s.Image("app", "v1"), EvidenceOnly: true})
	wantProblem(t, err, evidence.CodeInvalidReference)
	_, err = c.Resolve(t.Context(), evidence.Query{Image: s.Image("app", absent)})
	wantProblem(t, err, evidence.CodeImageNotFound)
	_, err = c.Resolve(t.Context(), evidence.Query{Image: s.Image("app", absent), EvidenceOnly: true, Platform: "linux/amd64"})
	if err == nil {
		_, err = c.Collect(t.Context(), facts.Subject{Digest: absent}, evidence.Query{Image: s.Image("app", absent), EvidenceOnly: true, Platform: "linux/amd64"})
	}
	wantProblem(t, err, evidence.CodePlatformNotFound)
	s.On(registrytest.Manifest(absent), registrytest.Status(403))
	if _, err = c.Resolve(t.Context(), evidence.Query{Image: s.Image("app", absent), EvidenceOnly: true}); err != nil {
		t.Errorf("a manifest that is withheld: %v", err)
	}
	s.Serve("app", absent, img)
	s.Behave()
	_, err = c.Resolve(t.Context(), evidence.Query{Image: s.Image("app", absent), EvidenceOnly: true})
	wantProblem(t, err, evidence.CodeDigestMismatch)
}

// Threat 46: only registries on the list are asked.
func TestAllowList(t *testing.T) {
	s, img := served(t, registrytest.Options{})
	c := insecure(t, s, func(c *Config) { c.Allow = []string{"ghcr.io/org/**", s.Host() + "/app"} })
	if _, err := c.Resolve(t.Context(), v1(s)); err != nil {
		t.Error(err)
	}
	s.Forget()
	for _, image := range []string{s.Image("app2", "v1"), "ghcr.io/other/app", "ghcr.io/org", "evil.example.com/ghcr.io/org/app", "nginx"} {
		_, err := c.Resolve(t.Context(), evidence.Query{Image: image})
		wantProblem(t, err, evidence.CodeNotAllowed)
		_, err = c.Collect(t.Context(), facts.Subject{Digest: img.Digest()}, evidence.Query{Image: image})
		wantProblem(t, err, evidence.CodeNotAllowed)
	}
	if n := len(s.Requests()); n > 0 {
		t.Errorf("%d requests", n)
	}
}

func TestProblemsMarshal(t *testing.T) { // they are kept in verdicts
	p := problem(evidence.CodeUnavailable, "x", "y")
	if _, err := json.Marshal(p); err != nil {
		t.Error(err)
	}
}
