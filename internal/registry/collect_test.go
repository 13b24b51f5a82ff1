package registry

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
)

func TestCollectBundle(t *testing.T) {
	s, img := served(t, registrytest.Options{}, `{"a":1}`)
	sub, found := find(t, insecure(t, s), v1(s))
	ref := bundle(img, `{"a":1}`)
	want := evidence.Found{
		Items: []evidence.Item{{
			Kind: evidence.KindBundle, MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json", SubjectDigest: sub.Digest,
			Where: ref.Digest() + " (referrer of " + sub.Digest + ")",
			Bytes: []byte(`{"a":1}`), ID: facts.Digest([]byte(`{"a":1}`)),
		}},
		Search: evidence.Search{
			Complete: true, Repositories: []string{s.Host() + "/app"},
			ReferrersAPI: evidence.ProbeFound, FallbackTag: evidence.ProbeNotAsked, CosignTags: evidence.ProbeEmpty,
		},
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The number of requests is part of the contract: what a verdict costs.
func TestRequestCount(t *testing.T) {
	for _, tc := range []struct {
		name    string
		bundles int
		opts    registrytest.Options
		want    int
	}{
		{"unsigned", 0, registrytest.Options{}, 5},                                // manifest, referrers, fallback, .sig, .att
		{"unsigned, no API", 0, registrytest.Options{NoReferrers: true}, 5},       // the same
		{"one bundle", 1, registrytest.Options{}, 6},                              // manifest, referrers, .sig, .att, referrer, blob
		{"five bundles", 5, registrytest.Options{}, 14},                           // and two for each further one
		{"five bundles in three pages", 5, registrytest.Options{PageSize: 2}, 16}, // and two further pages
	} {
		t.Run(tc.name, func(t *testing.T) {
			var bundles []string
			for i := range tc.bundles {
				bundles = append(bundles, fmt.Sprintf(`{"n":%d}`, i))
			}
			s, _ := served(t, tc.opts, bundles...)
			_, found := find(t, insecure(t, s), v1(s))
			complete(t, found)
			if len(found.Items) != tc.bundles {
				t.Errorf("%d items", len(found.Items))
			}
			if n := len(s.Requests()); n != tc.want {
				t.Errorf("%d requests, want %d: %v", n, tc.want, s.Counts())
			}
		})
	}
}

// Blobs and manifests that several probes lead to are fetched once.
func TestEachBlobOnce(t *testing.T) {
	s, img := served(t, registrytest.Options{})
	s.Push("app", ocitest.Tag(img.Digest(), ".sig"), simple("payload", "payload", "other"))
	second := ocitest.Bundle(img.Subject(), []byte(`{"same":1}`), ocitest.BundleOptions{Annotations: map[string]string{"n": "2"}})
	s.Push("app", "", bundle(img, `{"same":1}`))
	s.Push("app", "", second)
	_, found := find(t, insecure(t, s), v1(s))
	complete(t, found)
	for what, n := range s.Counts() {
		if n > 1 {
			t.Errorf("%s: %d times", what, n)
		}
	}
	got := summary(found.Items)
	slices.Sort(got)
	if diff := cmp.Diff([]string{`bundle {"same":1}`, "cosign-signature other", "cosign-signature payload"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestCollectOldFormats(t *testing.T) {
	s, img := served(t, registrytest.Options{})
	s.Push("app", ocitest.Tag(img.Digest(), ".sig"), simple("signed"))
	s.Push("app", ocitest.Tag(img.Digest(), ".att"), envelope(`{"payload":""}`))
	s.Push("app", ocitest.Tag(img.Digest(), ".sbom"), simple("never looked at"))
	sub, found := find(t, insecure(t, s), v1(s))
	complete(t, found)
	if s.Count("", ".sbom") > 0 {
		t.Error("the .sbom tag was asked for")
	}
	if len(found.Items) != 2 || found.Search.CosignTags != evidence.ProbeFound {
		t.Fatalf("%+v", found)
	}
	sig := found.Items[slices.IndexFunc(found.Items, func(i evidence.Item) bool { return i.Kind == evidence.KindSimpleSigning })]
	want := evidence.Item{
		Kind: evidence.KindSimpleSigning, MediaType: evidence.MediaTypeSimpleSigning, SubjectDigest: sub.Digest,
		Where: "tag " + ocitest.Tag(sub.Digest, ".sig"), Bytes: []byte("signed"), Annotations: map[string]string{evidence.AnnotationSignature: "c2ln"},
	}
	want.ID = evidence.Identify(want.Kind, want.Bytes, want.Annotations)
	if diff := cmp.Diff(want, sig); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Cosign's old manifest behind the referrers API.
func TestCollectOldSignatureAsReferrer(t *testing.T) {
	s, img := served(t, registrytest.Options{PlainReferrers: true})
	m := simple("signed")
	withSubject := ocitest.Raw(m.MediaType, bytes.Replace(m.Raw, []byte(`{`), []byte(fmt.Sprintf(`{"artifactType":%q,"subject":{"mediaType":%q,"digest":%q,"size":%d},`, ocitest.ArtifactTypeCosignSig, img.MediaType, img.Digest(), len(img.Raw))), 1), m.Blobs...)
	s.Push("app", "", withSubject)
	_, found := find(t, insecure(t, s), v1(s))
	complete(t, found)
	if diff := cmp.Diff([]string{"cosign-signature signed"}, summary(found.Items)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Threat 35: an API that answers an empty list, or that does not exist, does not
// hide the fallback tag; both probes are recorded.
func TestFallbackTag(t *testing.T) {
	for _, tc := range []struct {
		name   string
		action registrytest.Action
		api    evidence.Probe
	}{
		{"empty list", registrytest.EmptyIndex(), evidence.ProbeEmpty},
		{"null list", registrytest.Body(mediaTypeIndex, []byte(`{"schemaVersion":2,"manifests":null}`)), evidence.ProbeEmpty},
		{"404", registrytest.Status(404), evidence.ProbeUnsupported},
		{"400", registrytest.Status(400), evidence.ProbeUnsupported},
		{"405", registrytest.Status(405), evidence.ProbeUnsupported},
		{"406", registrytest.Status(406), evidence.ProbeUnsupported},
		{"501", registrytest.Status(501), evidence.ProbeUnsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, img := served(t, registrytest.Options{NoReferrers: true}, "one", "two")
			s.Fallback("app", img.Digest(), bundle(img, "one"), bundle(img, "two"))
			s.On(registrytest.Referrers(""), tc.action)
			_, found := find(t, insecure(t, s), v1(s))
			complete(t, found)
			if found.Search.ReferrersAPI != tc.api || found.Search.FallbackTag != evidence.ProbeFound {
				t.Errorf("%+v", found.Search)
			}
			got := summary(found.Items)
			slices.Sort(got)
			if diff := cmp.Diff([]string{"bundle one", "bundle two"}, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestFallbackTagThatIsNone(t *testing.T) {
	for name, a := range map[string]*ocitest.Artifact{
		"an image":   image(),
		"not a list": ocitest.Raw(mediaTypeIndex, []byte(`{"schemaVersion":2,"mediaType":"`+mediaTypeIndex+`","manifests":{}}`)),
		"ambiguous":  ocitest.Raw(mediaTypeIndex, []byte(`{"schemaVersion":2,"layers":[],"manifests":[]}`)),
		"bad entry":  ocitest.Raw(mediaTypeIndex, []byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x","size":1}]}`)),
	} {
		t.Run(name, func(t *testing.T) {
			s, img := served(t, registrytest.Options{NoReferrers: true})
			s.Serve("app", ocitest.Tag(img.Digest(), ""), a)
			_, found := find(t, insecure(t, s), v1(s))
			complete(t, found)
			if diff := cmp.Diff([]string{"unsigned broken malformed"}, summary(found.Items)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Threat 36: all pages, and whatever the Content-Type says beside the type.
func TestReferrersPages(t *testing.T) {
	s, _ := served(t, registrytest.Options{PageSize: 1, ReferrersType: "application/vnd.oci.image.index.v1+json; charset=utf-8"}, "a", "b", "c")
	_, found := find(t, insecure(t, s), v1(s))
	complete(t, found)
	if len(found.Items) != 3 {
		t.Errorf("%v", summary(found.Items))
	}
}

// Threats 34, 36, 38, 45: whatever keeps us from seeing all referrers leaves the
// search incomplete, with its cause; what was seen stays.
func TestReferrersProblems(t *testing.T) {
	body := func(s string) registrytest.Action { return registrytest.Body(mediaTypeIndex, []byte(s)) }
	for _, tc := range []struct {
		name   string
		action registrytest.Action
		want   string
	}{
		{"401", registrytest.Status(401), evidence.CodeUnauthorized},
		{"403", registrytest.Status(403), evidence.CodeUnauthorized},
		{"429", registrytest.RetryAfter(429, 77), evidence.CodeRateLimited},
		{"500", registrytest.Status(500), evidence.CodeUnavailable},
		{"timeout", registrytest.Hang(), evidence.CodeUnavailable},
		{"drip", registrytest.Drip(1, 50*time.Millisecond), evidence.CodeUnavailable},
		{"418", registrytest.Status(418), evidence.CodeUnavailable},
		{"login page", registrytest.Body("text/html", []byte("<html>")), evidence.CodeUnavailable},
		{"no list", body(`{}`), evidence.CodeUnavailable},
		{"two lists", body(`{"manifests":[],"manifests":[]}`), evidence.CodeUnavailable},
		{"not a list", body(`{"manifests":{}}`), evidence.CodeUnavailable},
		{"gzip unasked", registrytest.Change(func(_ *int, h http.Header, _ *[]byte) { h.Set("Content-Encoding", "gzip") }), evidence.CodeUnavailable},
		{"too large", body(strings.Repeat(" ", 5<<20)), evidence.CodeEvidenceTooLarge},
		{"redirect without TLS", registrytest.RedirectTo("http://evil.example.com/"), evidence.CodeRedirectRefused},
		{"Link to another host", registrytest.Link(`<https://evil.example.com/next>; rel="next"`), evidence.CodeRedirectRefused},
		{"Link inward", registrytest.Link(`<http://169.254.169.254/>; rel="next"`), evidence.CodeRedirectRefused},
		{"Link with credentials", registrytest.Link(`<//user@evil.example.com/>; rel="next"`), evidence.CodeRedirectRefused},
		{"Link in circles", registrytest.Change(func(_ *int, h http.Header, _ *[]byte) { h.Set("Link", `<?page=1>; rel="next"`) }), evidence.CodeUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, img := served(t, registrytest.Options{}, "one")
			s.Push("app", ocitest.Tag(img.Digest(), ".sig"), simple("signed"))
			s.On(registrytest.Referrers(""), tc.action)
			c := insecure(t, s, limits(func(l *evidence.Limits) { l.RequestTimeout = time.Second }))
			_, found := find(t, c, v1(s))
			p := incomplete(t, found, tc.want)
			if found.Search.ReferrersAPI != evidence.ProbeFailed || found.Search.FallbackTag != evidence.ProbeNotAsked {
				t.Errorf("%+v", found.Search)
			}
			if strings.HasPrefix(tc.name, "429") && p.RetryAfter != 77*time.Second {
				t.Errorf("retry after %s", p.RetryAfter)
			}
			if !slices.Contains(summary(found.Items), "cosign-signature signed") {
				t.Errorf("what was seen is lost: %v", summary(found.Items))
			}
		})
	}
}

// Threat 34: what a retry may mend while reading one referrer is a problem; what
// it will not mend is a broken item. Threat 41: neither hides another.
func TestOneBrokenReferrer(t *testing.T) {
	for _, tc := range []struct {
		name     string
		manifest registrytest.Action
		blob     registrytest.Action
		problem  string
		broken   string
	}{
		{"manifest 429", registrytest.RetryAfter(429, 60), nil, evidence.CodeRateLimited, ""},
		{"manifest 401", registrytest.Status(401), nil, evidence.CodeUnauthorized, ""},
		{"manifest 500", registrytest.Status(500), nil, evidence.CodeUnavailable, ""},
		{"manifest timeout", registrytest.Hang(), nil, evidence.CodeUnavailable, ""},
		{"blob 503", nil, registrytest.Status(503), evidence.CodeUnavailable, ""},
		{"blob 403", nil, registrytest.Status(403), evidence.CodeUnauthorized, ""},
		{"blob drips", nil, registrytest.Drip(1, time.Second), evidence.CodeUnavailable, ""},
		{"blob cut off", nil, registrytest.Truncate(3), evidence.CodeUnavailable, ""},
		{"manifest 404", registrytest.Status(404), nil, "", "bundle broken not_found"},
		{"blob 404", nil, registrytest.Status(404), "", "bundle broken not_found"},
		{"manifest is something else", registrytest.Body(mediaTypeManifest, []byte(imageBody)), nil, "", "bundle broken content_mismatch"},
		{"manifest too large", registrytest.Endless(mediaTypeManifest), nil, "", "bundle broken too_large"},
		{"manifest of schema 1", registrytest.ContentType("application/vnd.docker.distribution.manifest.v1+json"), nil, "", "bundle broken unsupported"},
		{"blob is something else", nil, registrytest.Body("", []byte("XXXXXXXXX")), "", "bundle broken content_mismatch"},
		{"threat 39: blob longer than declared", nil, registrytest.Endless(""), "", "bundle broken content_mismatch"},
		{"blob shorter than declared", nil, registrytest.Body("", []byte("x")), "", "bundle broken content_mismatch"},
		{"threat 39: gzip bomb", nil, registrytest.Change(gzipped), "", "bundle broken content_mismatch"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bomb()
			s, img := served(t, registrytest.Options{}, "good one", "bad one!!")
			bad := bundle(img, "bad one!!")
			if tc.manifest != nil {
				s.On(registrytest.Manifest(bad.Digest()), tc.manifest)
			}
			if tc.blob != nil {
				s.On(registrytest.Blob(facts.Digest([]byte("bad one!!"))), tc.blob)
			}
			c := insecure(t, s, limits(func(l *evidence.Limits) {
				if tc.problem != "" { // what hangs or drips is given up soon; anything else may take its time on a busy machine
					l.RequestTimeout = 2 * time.Second
				}
			}))
			_, found := find(t, c, v1(s))
			want := []string{"bundle good one"}
			if tc.problem != "" {
				incomplete(t, found, tc.problem)
			} else {
				complete(t, found)
				want = append([]string{tc.broken}, want...)
			}
			got := summary(found.Items)
			slices.SortFunc(got, func(a, b string) int { return strings.Compare(b, a) })
			slices.SortFunc(want, func(a, b string) int { return strings.Compare(b, a) })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// gzipped answers a bomb of 64 MiB under a content encoding that nobody asked for.
func gzipped(_ *int, h http.Header, body *[]byte) {
	h.Set("Content-Encoding", "gzip")
	*body = bomb()
}

var bomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	zeros := make([]byte, 1<<20)
	for range 64 {
		_, _ = w.Write(zeros)
	}
	_ = w.Close()
	return b.Bytes()
})

// Threat 39: no compression is asked for, so nothing is unpacked.
func TestNoCompression(t *testing.T) {
	s, _ := served(t, registrytest.Options{}, "one")
	var asked atomic.Int32
	s.On(func(r *http.Request) bool {
		if r.Header.Get("Accept-Encoding") != "" {
			asked.Add(1)
		}
		return false
	}, registrytest.Status(500))
	find(t, insecure(t, s), v1(s))
	if n := asked.Load(); n > 0 {
		t.Errorf("%d requests ask for compression", n)
	}
}

// Threat 39: a layer that declares too much is not fetched at all.
func TestDeclaredTooLarge(t *testing.T) {
	s, img := served(t, registrytest.Options{}, "small")
	m := ocitest.Manifest{MediaType: mediaTypeManifest, ArtifactType: evidence.MediaTypeBundlePrefix + ".v0.3+json", Config: &ocitest.Descriptor{}, Subject: &ocitest.Descriptor{}}
	*m.Subject = img.Subject()
	m.Layers = []ocitest.Descriptor{{MediaType: evidence.MediaTypeBundlePrefix + ".v0.3+json", Digest: "sha256:" + hex64, Size: 5 << 30}}
	huge := ocitest.New(m)
	s.Serve("app", huge.Digest(), huge)
	s.On(registrytest.Referrers(""), list(huge, bundle(img, "small")))
	_, found := find(t, insecure(t, s), v1(s))
	complete(t, found)
	got := summary(found.Items)
	slices.Sort(got)
	if diff := cmp.Diff([]string{"bundle broken too_large", "bundle small"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if s.Count("", hex64) > 0 {
		t.Error("it was fetched")
	}
}

// Threat 39: a declared size that is not the content's breaks the item, even when
// the digest is right, and does not break another item with the same blob.
func TestDeclaredSize(t *testing.T) {
	for _, size := range []int64{1, 4, 100} {
		s, img := served(t, registrytest.Options{}, "right")
		wrong := ocitest.Describe(evidence.MediaTypeBundlePrefix+".v0.3+json", []byte("right"))
		wrong.Size = size
		sub := img.Subject()
		m := ocitest.New(ocitest.Manifest{MediaType: mediaTypeManifest, Config: &ocitest.Descriptor{}, Subject: &sub, Layers: []ocitest.Descriptor{wrong}})
		s.Serve("app", m.Digest(), m)
		s.On(registrytest.Referrers(""), list(m, bundle(img, "right")))
		_, found := find(t, insecure(t, s), v1(s))
		complete(t, found)
		got := summary(found.Items)
		slices.Sort(got)
		if diff := cmp.Diff([]string{"bundle broken content_mismatch", "bundle right"}, got); diff != "" {
			t.Errorf("size %d: -want +got:\n%s", size, diff)
		}
	}
}

// Threat 39: what says that it is too large is not read.
func TestReadCapped(t *testing.T) {
	untouched := iotest.ErrReader(errors.New("it was read"))
	if _, err := readCapped(untouched, 10, 11); brokenCode(err) != facts.CodeTooLarge {
		t.Error(err)
	}
	r := strings.NewReader(strings.Repeat("x", 1000))
	if _, err := readCapped(r, 10, -1); brokenCode(err) != facts.CodeTooLarge || r.Len() < 980 {
		t.Errorf("%v, %d bytes left", err, r.Len())
	}
	if b, err := readCapped(strings.NewReader("0123456789"), 10, 10); err != nil || len(b) != 10 {
		t.Errorf("%q, %v", b, err)
	}
}

// list answers the referrers API with these.
func list(referrers ...*ocitest.Artifact) registrytest.Action {
	return registrytest.Body(mediaTypeIndex, ocitest.Fallback(referrers...).Raw)
}

// Threat 38: counts are capped; what is beyond makes the search incomplete.
func TestCountLimits(t *testing.T) {
	many := func(n int) []string {
		var out []string
		for i := range n {
			out = append(out, fmt.Sprintf("bundle %d", i))
		}
		return out
	}
	for _, tc := range []struct {
		name  string
		opts  registrytest.Options
		edit  func(*evidence.Limits)
		items int
		says  string
	}{
		{"referrers", registrytest.Options{}, func(l *evidence.Limits) { l.Referrers = 3 }, 3, "limit referrers"},
		{"referrers over pages", registrytest.Options{PageSize: 2}, func(l *evidence.Limits) { l.Referrers = 3 }, 3, "limit referrers"},
		{"pages", registrytest.Options{PageSize: 1}, func(l *evidence.Limits) { l.ReferrerPages = 2 }, 2, "limit referrer_pages"},
		{"items", registrytest.Options{}, func(l *evidence.Limits) { l.Items = 4 }, 4, "limit items"},
		{"bytes", registrytest.Options{}, func(l *evidence.Limits) { l.MemoryBytes = 20 }, 2, "limit memory_bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, _ := served(t, tc.opts, many(5)...)
			c := insecure(t, s, limits(tc.edit))
			_, found := find(t, c, v1(s))
			p := incomplete(t, found, evidence.CodeEvidenceTooLarge)
			if !strings.Contains(p.Message, tc.says) {
				t.Errorf("message %q does not name the limit %q", p.Message, tc.says)
			}
			if len(found.Items) != tc.items {
				t.Errorf("%d items, want %d", len(found.Items), tc.items)
			}
			_, again := find(t, c, v1(s))
			if diff := cmp.Diff(summary(found.Items), summary(again.Items)); diff != "" {
				t.Errorf("the second time other items were cut:\n%s", diff)
			}
		})
	}
	t.Run("layers", func(t *testing.T) {
		s, img := served(t, registrytest.Options{})
		s.Push("app", ocitest.Tag(img.Digest(), ".sig"), simple(many(5)...))
		_, found := find(t, insecure(t, s, limits(func(l *evidence.Limits) { l.Layers = 3 })), v1(s))
		incomplete(t, found, evidence.CodeEvidenceTooLarge)
		if len(found.Items) != 3 {
			t.Errorf("%d items", len(found.Items))
		}
	})
	t.Run("100,000 referrers", func(t *testing.T) {
		s, _ := served(t, registrytest.Options{})
		entry := `{"mediaType":"x","digest":"sha256:` + hex64 + `","size":1},`
		s.On(registrytest.Referrers(""), registrytest.Body(mediaTypeIndex, []byte(`{"schemaVersion":2,"manifests":[`+strings.Repeat(entry, 40000)+`{}]}`)))
		start := time.Now()
		_, found := find(t, insecure(t, s), v1(s))
		incomplete(t, found, evidence.CodeEvidenceTooLarge)
		if d := time.Since(start); d > time.Minute {
			t.Errorf("took %s", d)
		}
	})
	t.Run("fallback tag", func(t *testing.T) {
		s, img := served(t, registrytest.Options{NoReferrers: true}, "a", "b")
		s.Fallback("app", img.Digest(), bundle(img, "a"), bundle(img, "b"))
		_, found := find(t, insecure(t, s, limits(func(l *evidence.Limits) { l.Referrers = 1 })), v1(s))
		incomplete(t, found, evidence.CodeEvidenceTooLarge)
		if len(found.Items) != 1 {
			t.Errorf("%d items", len(found.Items))
		}
	})
}
