package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
)

// referrer is a manifest about img with one layer for each type.
func referrer(img *ocitest.Artifact, artifactType string, layerTypes ...string) *ocitest.Artifact {
	sub := img.Subject()
	empty := []byte("{}")
	config := ocitest.Describe(ocitest.MediaTypeEmpty, empty)
	m := ocitest.Manifest{MediaType: mediaTypeManifest, ArtifactType: artifactType, Config: &config, Subject: &sub}
	blobs := [][]byte{empty}
	for i, lt := range layerTypes {
		blob := []byte(fmt.Sprintf("%s %d", lt, i))
		m.Layers = append(m.Layers, ocitest.Describe(lt, blob))
		blobs = append(blobs, blob)
	}
	return ocitest.New(m, blobs...)
}

// Layers are told by their types; threats 9, 10: what carries no signature is
// reported as such and not fetched, whatever the manifest claims. Threat 40:
// claims without content are rejected.
func TestWhatReferrersCarry(t *testing.T) {
	const (
		bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
		inToto     = "application/vnd.in-toto+json"
	)
	for _, tc := range []struct {
		name         string
		artifactType string
		layers       []string
		want         []string
	}{
		{"bundle 0.1", "", []string{"application/vnd.dev.sigstore.bundle+json;version=0.1"}, []string{"bundle application/vnd.dev.sigstore.bundle+json;version=0.1 0"}},
		{"bundle under another artifact type", "application/vnd.example+json", []string{bundleType}, []string{"bundle " + bundleType + " 0"}},
		{"two bundles", bundleType, []string{bundleType, bundleType}, []string{"bundle " + bundleType + " 0", "bundle " + bundleType + " 1"}},
		{"bundle beside something else", bundleType, []string{"text/plain", bundleType}, []string{"bundle " + bundleType + " 1"}},
		{"envelope", "", []string{evidence.MediaTypeDSSE}, []string{"cosign-attestation " + evidence.MediaTypeDSSE + " 0"}},
		{"envelope of in-toto", "", []string{"application/vnd.in-toto.provenance+dsse"}, []string{"cosign-attestation application/vnd.in-toto.provenance+dsse 0"}},
		{"threat 40: bundle without layers", bundleType, nil, []string{"bundle broken malformed"}},
		{"threat 40: bundle of another type", bundleType, []string{"application/octet-stream"}, []string{"bundle broken malformed"}},
		{"cosign signature without layers", ocitest.ArtifactTypeCosignSig, nil, []string{"cosign-signature broken malformed"}},
		{"threat 9: in-toto that is a blob", inToto, []string{"application/octet-stream"}, []string{"unsigned"}},
		{"threat 9: in-toto without layers", inToto, nil, []string{"unsigned"}},
		{"threat 10: statement", inToto, []string{inToto}, []string{"unsigned"}},
		{"threat 10: SPDX", "application/spdx+json", []string{"application/spdx+json"}, []string{"unsigned"}},
		{"threat 10: SPDX as text", "", []string{"text/spdx"}, []string{"unsigned"}},
		{"threat 10: CycloneDX", "application/vnd.cyclonedx+json", []string{"application/vnd.cyclonedx+json"}, []string{"unsigned"}},
		{"threat 10: SARIF", "", []string{"application/sarif+json"}, []string{"unsigned"}},
		{"helm chart", "application/vnd.cncf.helm.config.v1+json", []string{"application/vnd.cncf.helm.chart.content.v1.tar+gzip"}, []string{}},
		{"nothing at all", "", nil, []string{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, img := served(t, registrytest.Options{})
			ref := referrer(img, tc.artifactType, tc.layers...)
			s.Push("app", "", ref)
			s.On(registrytest.Referrers(""), list(ref))
			_, found := find(t, insecure(t, s), v1(s))
			complete(t, found)
			got := summary(found.Items)
			slices.Sort(got)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			for _, i := range found.Items {
				if !strings.HasPrefix(i.ID, "sha256:") || i.Where == "" || i.SubjectDigest != img.Digest() {
					t.Errorf("%+v", i)
				}
				if i.Kind == evidence.KindUnsigned && s.Count("GET", "/blobs/") > 0 {
					t.Error("a blob without signature was fetched")
				}
			}
		})
	}
}

// A referrer listed for our digest that names another subject, or none, is not
// evidence for ours.
func TestSubjectOfReferrer(t *testing.T) {
	other := ocitest.Image(ocitest.ImageOptions{Content: "other"})
	none := ocitest.New(ocitest.Manifest{MediaType: mediaTypeManifest, Config: &ocitest.Descriptor{}, Layers: []ocitest.Descriptor{ocitest.Describe(evidence.MediaTypeBundlePrefix, []byte("x"))}}, []byte("x"))
	for name, ref := range map[string]*ocitest.Artifact{"another": bundle(other, "x"), "none": none} {
		t.Run(name, func(t *testing.T) {
			s, _ := served(t, registrytest.Options{})
			s.Push("app", "", ref)
			s.On(registrytest.Referrers(""), list(ref))
			_, found := find(t, insecure(t, s), v1(s))
			complete(t, found)
			if len(found.Items) != 1 || found.Items[0].Broken == nil || found.Items[0].Broken.Code != facts.CodeContentMismatch {
				t.Errorf("%+v", found.Items)
			}
		})
	}
	t.Run("malformed", func(t *testing.T) {
		s, img := served(t, registrytest.Options{})
		ref := ocitest.Raw(mediaTypeManifest, []byte(`{"schemaVersion":2,"layers":[],"subject":"x"}`))
		s.Serve("app", ref.Digest(), ref)
		s.On(registrytest.Referrers(""), list(ref))
		_, found := find(t, insecure(t, s), v1(s))
		if diff := cmp.Diff([]string{"unsigned broken malformed"}, summary(found.Items)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", img.Digest(), diff)
		}
	})
}

func TestReferrerManifests(t *testing.T) {
	s, img := served(t, registrytest.Options{})
	child := bundle(img, "x")
	ix := ocitest.Index(child)
	sub := img.Subject()
	ixSubject := ocitest.New(ocitest.Manifest{MediaType: mediaTypeIndex, ArtifactType: evidence.MediaTypeBundlePrefix, Subject: &sub, Manifests: []ocitest.Descriptor{child.Descriptor()}})
	ixSubject.ArtifactType = evidence.MediaTypeBundlePrefix
	ambiguousManifest := ocitest.Raw(mediaTypeManifest, []byte(`{"schemaVersion":2,"layers":[],"Layers":[]}`))
	badLayer := ocitest.Raw(mediaTypeManifest, []byte(fmt.Sprintf(`{"schemaVersion":2,"artifactType":%q,"subject":{"mediaType":"x","digest":%q,"size":1},"layers":[{"digest":"sha256:../x","size":1},{"mediaType":%q,"digest":%q,"size":5}]}`,
		evidence.MediaTypeBundlePrefix, img.Digest(), evidence.MediaTypeBundlePrefix, facts.Digest([]byte("layer")))), []byte("layer"))
	notList := ocitest.Raw(mediaTypeManifest, []byte(fmt.Sprintf(`{"schemaVersion":2,"subject":{"mediaType":"x","digest":%q,"size":1},"layers":7}`, img.Digest())))
	for name, tc := range map[string]struct {
		ref  *ocitest.Artifact
		want []string
	}{
		"an index without claims":   {ix, []string{}},
		"an index that claims":      {ixSubject, []string{"bundle broken unsupported"}},
		"ambiguous":                 {ambiguousManifest, []string{"unsigned broken malformed"}},
		"a layer that cannot be":    {badLayer, []string{"bundle broken malformed", "bundle layer"}},
		"layers that are no list":   {notList, []string{"unsigned broken malformed"}},
		"size other than listed":    {&ocitest.Artifact{MediaType: child.MediaType, Raw: child.Raw, Blobs: child.Blobs}, []string{"unsigned broken content_mismatch"}},
		"listed twice, differently": {child, []string{"bundle broken content_mismatch", "bundle x"}},
	} {
		t.Run(name, func(t *testing.T) {
			s.Behave()
			s.Serve("app", tc.ref.Digest(), tc.ref)
			fallback := ocitest.Fallback(tc.ref).Raw
			size := fmt.Sprintf(`"size":%d`, len(tc.ref.Raw))
			switch {
			case strings.HasPrefix(name, "size"):
				fallback = []byte(strings.Replace(string(fallback), size, `"size":7`, 1))
				fallback = []byte(strings.ReplaceAll(string(fallback), evidence.MediaTypeBundlePrefix, "x"))
			case strings.HasPrefix(name, "listed twice"):
				fallback = []byte(strings.Replace(string(ocitest.Fallback(tc.ref, tc.ref).Raw), size, `"size":7`, 1))
			}
			s.On(registrytest.Referrers(""), registrytest.Body(mediaTypeIndex, fallback))
			_, found := find(t, insecure(t, s), v1(s))
			complete(t, found)
			got := summary(found.Items)
			slices.Sort(got)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Tags of cosign's that hold something else, and tags that cannot be read.
func TestCosignTags(t *testing.T) {
	for _, tc := range []struct {
		name    string
		sig     *ocitest.Artifact
		action  registrytest.Action
		want    []string
		problem string
		tags    evidence.Probe
	}{
		{"empty", simple(), nil, []string{"cosign-signature broken malformed"}, "", evidence.ProbeFound},
		{"image", image(), nil, []string{"cosign-signature broken unsupported"}, "", evidence.ProbeFound},
		{"index", ocitest.Index(image()), nil, []string{"cosign-signature broken unsupported"}, "", evidence.ProbeFound},
		{"ambiguous", ocitest.Raw(mediaTypeManifest, []byte(`{"schemaVersion":2}`)), nil, []string{"cosign-signature broken malformed"}, "", evidence.ProbeFound},
		{"of another subject", bundle(ocitest.Image(ocitest.ImageOptions{Content: "other"}), "x"), nil, []string{"cosign-signature broken content_mismatch"}, "", evidence.ProbeFound},
		{"a bundle in the tag", bundle(image(), "x"), nil, []string{"bundle x"}, "", evidence.ProbeFound},
		{"digest lie", simple("x"), registrytest.LieDigest("sha256:" + hex64), []string{"cosign-signature broken content_mismatch"}, "", evidence.ProbeFound},
		{"too large", simple("x"), registrytest.Endless(mediaTypeManifest), []string{"cosign-signature broken too_large"}, "", evidence.ProbeFound},
		{"schema 1", simple("x"), registrytest.ContentType(mediaTypeSchema1 + "json"), []string{"cosign-signature broken unsupported"}, "", evidence.ProbeFound},
		{"404", simple("x"), registrytest.Status(404), []string{}, "", evidence.ProbeEmpty},
		{"403", simple("x"), registrytest.Status(403), []string{}, evidence.CodeUnauthorized, evidence.ProbeFailed},
		{"429", simple("x"), registrytest.RetryAfter(429, 60), []string{}, evidence.CodeRateLimited, evidence.ProbeFailed},
		{"500", simple("x"), registrytest.Status(500), []string{}, evidence.CodeUnavailable, evidence.ProbeFailed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, img := served(t, registrytest.Options{})
			tag := ocitest.Tag(img.Digest(), ".sig")
			s.Serve("app", tag, tc.sig)
			if tc.action != nil {
				s.On(registrytest.Manifest(tag), tc.action)
			}
			_, found := find(t, insecure(t, s), v1(s))
			if tc.problem != "" {
				incomplete(t, found, tc.problem)
			} else {
				complete(t, found)
			}
			if diff := cmp.Diff(tc.want, summary(found.Items)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if found.Search.CosignTags != tc.tags {
				t.Errorf("tags %s, want %s", found.Search.CosignTags, tc.tags)
			}
		})
	}
}

// Threat 1: a signature copied from another image is collected under the digest
// that it was found for, for verify to compare with its payload.
func TestCopiedSignature(t *testing.T) {
	s, img := served(t, registrytest.Options{})
	s.Push("app", ocitest.Tag(img.Digest(), ".sig"), simple(`{"critical":{"image":{"docker-manifest-digest":"sha256:other"}}}`))
	_, found := find(t, insecure(t, s), v1(s))
	if len(found.Items) != 1 || found.Items[0].SubjectDigest != img.Digest() {
		t.Errorf("%+v", found.Items)
	}
}

func TestCollectIndex(t *testing.T) {
	s, ix := multiArch(t)
	amd, arm := ix.Children[0], ix.Children[1]
	s.Push("app", "", bundle(ix, "index"))
	s.Push("app", "", bundle(amd, "amd"))
	s.Push("app", "", bundle(arm, "arm"))
	s.Push("app", ocitest.Tag(arm.Digest(), ".sig"), simple("arm sig"))
	s.Push("app", "", bundle(ix.Children[2], "attestation manifests are no subjects"))
	c := insecure(t, s)
	// Threat 10: BuildKit's attestation manifests are reported and not fetched.
	buildkit := []string{"unsigned", "unsigned"}
	for _, tc := range []struct {
		name string
		q    evidence.Query
		want []string
	}{
		{"the index alone", v1(s), []string{"bundle index"}},
		{"one platform", evidence.Query{Image: s.Image("app", "v1"), Platform: "linux/arm64"}, []string{"bundle index", "bundle arm", "cosign-signature arm sig"}},
		{"all platforms", evidence.Query{Image: s.Image("app", "v1"), AllPlatforms: true}, []string{"bundle index", "bundle amd", "bundle arm", "cosign-signature arm sig"}},
		{"all, and one", evidence.Query{Image: s.Image("app", "v1"), AllPlatforms: true, Platform: "linux/amd64"}, []string{"bundle index", "bundle amd", "bundle arm", "cosign-signature arm sig"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.Forget()
			_, found := find(t, c, tc.q)
			complete(t, found)
			got, want := summary(found.Items), append(slices.Clone(buildkit), tc.want...)
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if n := s.Count("", ix.Digest()); n > 1 { // the referrers; the manifest was asked for by tag
				t.Errorf("the index was asked for again: %v", s.Counts())
			}
		})
	}
	t.Run("each says of what", func(t *testing.T) {
		_, found := find(t, c, evidence.Query{Image: s.Image("app", "v1"), AllPlatforms: true})
		for _, i := range found.Items {
			want := map[string]string{"amd": amd.Digest(), "arm": arm.Digest(), "arm sig": arm.Digest()}[string(i.Bytes)]
			if want == "" {
				want = ix.Digest()
			}
			if i.SubjectDigest != want {
				t.Errorf("%s: subject %s, want %s", i.Where, i.SubjectDigest, want)
			}
		}
	})
	t.Run("from a lease", func(t *testing.T) { // another process resolved it
		sub, err := c.Resolve(t.Context(), v1(s))
		if err != nil {
			t.Fatal(err)
		}
		fresh := insecure(t, s)
		found, err := fresh.Collect(t.Context(), sub, v1(s))
		if err != nil || len(found.Items) != 3 {
			t.Errorf("%v, %v", summary(found.Items), err)
		}
		_, err = fresh.Collect(t.Context(), sub, evidence.Query{Image: s.Image("app", "v1"), Platform: "linux/s390x"})
		wantProblem(t, err, evidence.CodePlatformNotFound)
		s.On(registrytest.Manifest(ix.Digest()), registrytest.Status(500))
		found, err = insecure(t, s).Collect(t.Context(), sub, v1(s))
		if err != nil {
			t.Fatal(err)
		}
		incomplete(t, found, evidence.CodeUnavailable)
	})
}

func TestCollectWithoutDigest(t *testing.T) {
	s, _ := served(t, registrytest.Options{})
	for _, d := range []string{"", "sha256:x", "sha512:" + hex64 + hex64, "../"} {
		_, err := insecure(t, s).Collect(t.Context(), facts.Subject{Digest: d}, v1(s))
		wantProblem(t, err, evidence.CodeInvalidReference)
	}
	_, err := insecure(t, s).Collect(t.Context(), facts.Subject{}, evidence.Query{Image: "A/../b"})
	wantProblem(t, err, evidence.CodeInvalidReference)
}

// The signatures of these images are kept in another repository, as with
// COSIGN_REPOSITORY; the longest entry counts and replaces the image's own.
func TestEvidenceRepositories(t *testing.T) {
	s, img := served(t, registrytest.Options{}, "in the image's repository")
	s.Push("signatures", "", bundle(img, "elsewhere"))
	c := insecure(t, s, func(c *Config) {
		c.EvidenceRepositories = map[string]string{
			s.Host(): s.Host() + "/all", s.Host() + "/app": s.Host() + "/signatures", s.Host() + "/ap": s.Host() + "/wrong",
			"docker.io": "ghcr.io/org/hub", "docker.io/library/nginx": "ghcr.io/org/nginx", "index.docker.io/bitnami": "ghcr.io/org/bitnami",
		}
	})
	sub, found := find(t, c, v1(s))
	complete(t, found)
	if diff := cmp.Diff([]string{"bundle elsewhere"}, summary(found.Items)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{s.Host() + "/signatures"}, found.Search.Repositories); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if sub.Repository != "app" {
		t.Errorf("subject in %s", sub.Repository)
	}
	for image, want := range map[string]string{
		s.Image("app", ""): s.Host() + "/signatures", s.Image("app/x/y", ""): s.Host() + "/signatures", s.Image("apple", ""): s.Host() + "/all",
		"nginx:1": "ghcr.io/org/nginx", "redis": "ghcr.io/org/hub", "bitnami/redis": "ghcr.io/org/bitnami", "quay.io/x": "quay.io/x", "A": "", "oci-layout:x": "",
	} {
		if got := c.EvidenceRepository(image); got != want {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
	}
}

// An index is found in the image's repository, its evidence elsewhere.
func TestEvidenceRepositoryOfIndex(t *testing.T) {
	s, ix := multiArch(t)
	s.Push("signatures", "", bundle(ix, "elsewhere"))
	c := insecure(t, s, func(c *Config) { c.EvidenceRepositories = map[string]string{s.Host(): s.Host() + "/signatures"} })
	sub, err := c.Resolve(t.Context(), v1(s))
	if err != nil {
		t.Fatal(err)
	}
	c.indexes.m = map[string]index{}
	found, err := c.Collect(t.Context(), sub, v1(s))
	if err != nil || !slices.Contains(summary(found.Items), "bundle elsewhere") || len(found.Items) != 3 {
		t.Errorf("%v, %v", summary(found.Items), err)
	}
}

// A panic while reading evidence is a problem, not the end.
func TestPanicWhileReading(t *testing.T) {
	sr := &search{src: panicking{}, lim: evidence.DefaultLimits(), subjects: []string{"sha256:" + hex64}, listed: map[string][]lead{}}
	sr.probe(t.Context())
	f := sr.found()
	if p := incomplete(t, f, evidence.CodeUnavailable); !strings.Contains(p.Message, "on purpose") {
		t.Errorf("%+v", p)
	}
}

type panicking struct{}

func (panicking) name() string { return "panicking" }
func (panicking) manifest(context.Context, string) (content, error) {
	panic("on purpose")
}
func (panicking) attached(context.Context, string, string) (content, error) { panic("on purpose") }
func (panicking) blob(context.Context, descriptor, int64) (blob, error)     { panic("on purpose") }
func (panicking) referrers(context.Context, string, func(json.RawMessage, error)) ([]descriptor, error) {
	panic("on purpose")
}

// A registry that fails at everything does not fill the verdict.
func TestManyProblems(t *testing.T) {
	var bundles []string
	for i := range 50 {
		bundles = append(bundles, fmt.Sprintf("bundle %d", i))
	}
	s, img := served(t, registrytest.Options{}, bundles...)
	s.On(func(r *http.Request) bool {
		return strings.Contains(r.URL.Path, "/manifests/sha256:") && !strings.HasSuffix(r.URL.Path, img.Digest())
	}, registrytest.RetryAfter(429, 60))
	_, found := find(t, insecure(t, s), v1(s))
	if p := incomplete(t, found, evidence.CodeRateLimited); p.RetryAfter != time.Minute {
		t.Errorf("retry after %s", p.RetryAfter)
	}
	if n := len(found.Search.Problems); n != maxProblems || !strings.Contains(found.Search.Problems[n-1].Message, "and 18 further") {
		t.Errorf("%d problems, the last: %v", n, found.Search.Problems[n-1])
	}
}

// Order never decides (threat 41): the same items in the same order, whoever
// answers first.
func TestOrder(t *testing.T) {
	s, _ := served(t, registrytest.Options{}, "a", "b", "c", "d", "e")
	c := insecure(t, s)
	_, first := find(t, c, v1(s))
	for i := range 5 {
		slow := first.Items[i%len(first.Items)]
		s.Behave()
		s.On(registrytest.Blob(slow.ID), func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			registrytest.Delay(20e6)(w, r, next)
		})
		_, again := find(t, c, v1(s))
		if diff := cmp.Diff(first, again); diff != "" {
			t.Fatalf("-first +again:\n%s", diff)
		}
	}
}
