package ocitest_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

// go-containerregistry reads a layout of ours and finds its images whole.
func TestLayoutsAreValid(t *testing.T) {
	t.Parallel()
	var l ocitest.Layout
	plain := ocitest.Image(ocitest.ImageOptions{Content: "plain", Annotations: map[string]string{"a": "b"}})
	docker := ocitest.Image(ocitest.ImageOptions{Content: "docker", Docker: true})
	index := ocitest.Index(plain, ocitest.Image(ocitest.ImageOptions{Content: "arm", Platform: ocitest.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}}))
	l.Add(plain, "plain")
	l.Add(docker, "docker")
	l.Add(index, "v1")
	l.Add(plain, "plain") // once more changes nothing
	dir := t.TempDir()
	if err := l.Write(dir); err != nil {
		t.Fatal(err)
	}
	path, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	root, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	m, err := root.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	tags := map[string]types.MediaType{}
	for _, d := range m.Manifests {
		tags[d.Annotations[ocitest.AnnotationRef]] = d.MediaType
		if d.MediaType.IsIndex() {
			idx, err := root.ImageIndex(d.Digest)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate.Index(idx); err != nil {
				t.Error(err)
			}
			continue
		}
		img, err := root.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(img); err != nil {
			t.Errorf("%s: %v", d.Digest, err)
		}
	}
	want := map[string]types.MediaType{
		"plain": types.OCIManifestSchema1, "docker": types.DockerManifestSchema2, "v1": types.OCIImageIndex, "": types.OCIManifestSchema1,
	}
	if d := cmp.Diff(want, tags); d != "" {
		t.Errorf("tags (-want +got):\n%s", d)
	}
	again, err := ocitest.ReadLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range again.Entries {
		got = append(got, e.Tag+" "+e.Digest)
	}
	var had []string
	for _, e := range l.Entries {
		had = append(had, e.Tag+" "+e.Digest)
	}
	if d := cmp.Diff(had, got); d != "" {
		t.Errorf("read back (-written +read):\n%s", d)
	}
	if d := cmp.Diff(l.Blobs, again.Blobs); d != "" {
		t.Errorf("blobs (-written +read):\n%s", d)
	}
}

func TestImagesAreTheSameEveryTime(t *testing.T) {
	t.Parallel()
	o := ocitest.ImageOptions{Content: "x", Labels: map[string]string{"a": "1", "b": "2"}}
	if a, b := ocitest.Image(o), ocitest.Image(o); a.Digest() != b.Digest() {
		t.Errorf("digests %s and %s", a.Digest(), b.Digest())
	}
	if a, b := ocitest.Image(o), ocitest.Image(ocitest.ImageOptions{Content: "y"}); a.Digest() == b.Digest() {
		t.Error("another content gave the same image")
	}
}

func TestReadLayoutKnowsTheShapesAround(t *testing.T) {
	t.Parallel()
	image := ocitest.Image(ocitest.ImageOptions{Content: "x"})
	index := ocitest.Index(image)
	hollow := ocitest.Index(ocitest.Image(ocitest.ImageOptions{Content: "absent"}))
	sig := ocitest.Cosign(sigstack.Layer{MediaType: sigstack.MediaTypeSimpleSigning, Content: []byte("{}")})
	att := ocitest.Cosign(sigstack.Layer{MediaType: sigstack.MediaTypeDSSE, Content: []byte("{}")})
	for _, tt := range []struct {
		name    string
		entries []ocitest.Descriptor
		want    []string // tag and digest of each
	}{
		{"cosign save", []ocitest.Descriptor{
			annotated(image, ocitest.AnnotationKind, "dev.cosignproject.cosign/image"),
			annotated(sig, ocitest.AnnotationKind, "dev.cosignproject.cosign/sigs"),
			annotated(att, ocitest.AnnotationKind, "dev.cosignproject.cosign/atts"),
		}, []string{" " + image.Digest(), ocitest.Tag(image.Digest(), ".sig") + " " + sig.Digest(), ocitest.Tag(image.Digest(), ".att") + " " + att.Digest()}},
		{"buildx: a full reference, children not listed", []ocitest.Descriptor{
			annotated(index, ocitest.AnnotationRef, "localhost:5000/app:v2"),
		}, []string{" " + image.Digest(), "v2 " + index.Digest()}},
		{"children that are absent", []ocitest.Descriptor{
			annotated(hollow, ocitest.AnnotationRef, "v3"),
		}, []string{"v3 " + hollow.Digest()}},
		{"signatures of an image that is elsewhere", []ocitest.Descriptor{
			annotated(sig, ocitest.AnnotationRef, "sha256-00.sig"),
		}, []string{"sha256-00.sig " + sig.Digest()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, ocitest.Manifest{SchemaVersion: 2, Manifests: tt.entries}, image, index, hollow, sig, att)
			l, err := ocitest.ReadLayout(dir)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range l.Entries {
				got = append(got, e.Tag+" "+e.Digest)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("entries (-want +got):\n%s", d)
			}
		})
	}
	t.Run("a manifest that is not there", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, ocitest.Manifest{Manifests: []ocitest.Descriptor{image.Descriptor()}})
		if _, err := ocitest.ReadLayout(dir); err == nil || !strings.Contains(err.Error(), image.Digest()) {
			t.Errorf("error %v, want one that names it", err)
		}
	})
	t.Run("no layout", func(t *testing.T) {
		if _, err := ocitest.ReadLayout(t.TempDir()); err == nil {
			t.Error("an empty folder was read")
		}
	})
}

func annotated(a *ocitest.Artifact, key, value string) ocitest.Descriptor {
	d := a.Descriptor()
	d.Platform = nil
	d.Annotations = map[string]string{key: value}
	return d
}

func write(t *testing.T, dir string, index ocitest.Manifest, artifacts ...*ocitest.Artifact) {
	t.Helper()
	raw, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "index.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o750); err != nil {
		t.Fatal(err)
	}
	for _, a := range artifacts {
		name := strings.TrimPrefix(a.Digest(), "sha256:")
		if err := os.WriteFile(filepath.Join(blobs, name), a.Raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The manifests that carry evidence look like those that cosign wrote for the
// samples.
func TestManifestsLookLikeCosigns(t *testing.T) {
	t.Parallel()
	stack, err := sigstack.New(sigstack.Options{Seed: "x"})
	if err != nil {
		t.Fatal(err)
	}
	image := ocitest.Image(ocitest.ImageOptions{Content: "x"})
	key, err := sigstack.NewKey(sigstack.ECDSAP256SHA256)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(legacy bool) *sigstack.Evidence {
		ev, err := stack.Sign(sigstack.SignRequest{Image: image.Digest(), Key: key, Legacy: legacy})
		if err != nil {
			t.Fatal(err)
		}
		return ev
	}
	bundle, err := ocitest.Evidence(image.Subject(), sign(false), sigstack.V03)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := sign(true).Layer()
	if err != nil {
		t.Fatal(err)
	}
	samples := filepath.Join("..", "..", "..", "test", "testdata", "samples", "layouts")
	for _, tt := range []struct {
		sample string
		is     func(ocitest.Entry) bool
		ours   *ocitest.Artifact
	}{
		{"key-none", func(e ocitest.Entry) bool { return e.Tag == "" }, bundle},
		{"old-key", func(e ocitest.Entry) bool { return strings.HasSuffix(e.Tag, ".sig") }, ocitest.Cosign(layer)},
		{"old-key-oci11", func(e ocitest.Entry) bool { return e.Tag == "" }, ocitest.CosignReferrer(image.Subject(), layer)},
	} {
		t.Run(tt.sample, func(t *testing.T) {
			l, err := ocitest.ReadLayout(filepath.Join(samples, tt.sample))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range l.Entries {
				if !tt.is(e) {
					continue
				}
				if d := cmp.Diff(shape(t, l.Blobs[e.Digest]), shape(t, tt.ours.Raw)); d != "" {
					t.Errorf("manifest (-cosign +ours):\n%s", d)
				}
				return
			}
			t.Fatal("the sample has no such manifest")
		})
	}
}

// shape is a manifest with all that differs from image to image blanked out.
func shape(t *testing.T, raw []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	var blank func(v any) any
	blank = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				switch k {
				case "digest", "size", "org.opencontainers.image.created", sigstack.AnnotationSignature:
					v[k] = "…"
				default:
					v[k] = blank(x)
				}
			}
		case []any:
			for i, x := range v {
				v[i] = blank(x)
			}
		}
		return v
	}
	return blank(v)
}

func TestBuildKitAttestationIsNoImage(t *testing.T) {
	t.Parallel()
	image := ocitest.Image(ocitest.ImageOptions{})
	a := ocitest.BuildKitAttestation(image, []byte(`{}`))
	var m ocitest.Manifest
	if err := json.Unmarshal(ocitest.Index(image, a).Raw, &m); err != nil {
		t.Fatal(err)
	}
	d := m.Manifests[1]
	if d.Platform.OS != "unknown" || d.Annotations["vnd.docker.reference.type"] != "attestation-manifest" ||
		d.Annotations["vnd.docker.reference.digest"] != image.Digest() {
		t.Errorf("descriptor %+v", d)
	}
}
