package registry

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/require"
)

const samples = "../../test/testdata/samples"

func layouts(t *testing.T, edit ...func(*Config)) *Client {
	t.Helper()
	return client(t, append(edit, func(c *Config) { c.AllowLayouts = true })...)
}

type sample struct {
	Name, Layout, Tag, Digest string
	Signatures, Attestations  []json.RawMessage
}

// Every sample that the real cosign signed gives the same evidence from its
// layout directory, from a registry with the referrers API, and from one without.
func TestSamples(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(samples, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []sample
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 20 {
		t.Fatalf("only %d samples", len(cases))
	}
	for _, tc := range cases {
		t.Run(tc.Name, func(t *testing.T) {
			dir := filepath.Join(samples, tc.Layout)
			local := layouts(t)
			q := evidence.Query{Image: LayoutPrefix + dir + ":" + tc.Tag, AllPlatforms: true}
			sub, found := find(t, local, q)
			complete(t, found)
			if sub.Digest != tc.Digest || sub.Registry != "" || sub.Repository != "" || *sub.Tag != tc.Tag {
				t.Errorf("subject %+v, want digest %s", sub, tc.Digest)
			}
			if n := len(tc.Signatures) + len(tc.Attestations); len(found.Items) < n {
				t.Errorf("%d items for %d signatures and attestations", len(found.Items), n)
			}
			for i := range found.Items {
				if found.Items[i].Broken != nil || found.Items[i].Kind == evidence.KindUnsigned {
					t.Errorf("%+v", found.Items[i])
				}
			}
			s := registrytest.New(t, registrytest.Options{})
			s.PushLayout(dir, "app")
			remote, there := find(t, insecure(t, s), evidence.Query{Image: s.Image("app", tc.Tag), AllPlatforms: true})
			complete(t, there)
			if diff := cmp.Diff(found.Items, there.Items); diff != "" {
				t.Errorf("-layout +registry:\n%s", diff)
			}
			remote.Registry, remote.Repository = "", ""
			if diff := cmp.Diff(sub, remote); diff != "" {
				t.Errorf("-layout +registry:\n%s", diff)
			}
		})
	}
}

// Every image of the corpus can be resolved and searched as its notes say, from
// its layout, with or without its manifest.
func TestCorpus(t *testing.T) {
	corpus := require.Corpus(t)
	raw, err := os.ReadFile(filepath.Join(corpus, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name, Kind, Path, Digest string
		SubjectManifest          string `json:"subject_manifest"`
		Formats                  []string
	}
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]evidence.Kind{"cosign-legacy-sig": evidence.KindSimpleSigning, "cosign-legacy-att": evidence.KindDSSE, "bundle-referrer-v0.3": evidence.KindBundle}
	n := 0
	for _, tc := range cases {
		if tc.Kind != "oci-layout" {
			continue
		}
		n++
		t.Run(tc.Name, func(t *testing.T) {
			dir := LayoutPrefix + filepath.Join(corpus, tc.Path)
			absent := tc.SubjectManifest == "absent"
			queries := []evidence.Query{{Image: dir + "@" + tc.Digest, EvidenceOnly: absent}}
			if !absent {
				queries = append(queries, evidence.Query{Image: dir})
			}
			for _, q := range queries {
				sub, found := find(t, layouts(t), q)
				complete(t, found)
				if sub.Digest != tc.Digest || absent != (sub.MediaType == "") {
					t.Errorf("subject %+v", sub)
				}
				for _, f := range tc.Formats {
					want, ok := kinds[f]
					if ok && !slices.ContainsFunc(found.Items, func(i evidence.Item) bool { return i.Kind == want }) {
						t.Errorf("no %s in %v", want, found.Items)
					}
				}
				if len(tc.Formats) == 1 && tc.Formats[0] == "none" {
					for _, i := range found.Items {
						if i.Kind != evidence.KindUnsigned {
							t.Errorf("%+v", i)
						}
					}
				}
			}
		})
	}
	if n == 0 {
		t.Error("the corpus has no layouts")
	}
}

// made is a layout of artifacts with tags.
func made(t *testing.T, tagged map[string]*ocitest.Artifact) (dir string, l *ocitest.Layout) {
	t.Helper()
	l = &ocitest.Layout{}
	for tag, a := range tagged {
		l.Add(a, strings.TrimLeft(tag, "-"))
	}
	dir = t.TempDir()
	if err := l.Write(dir); err != nil {
		t.Fatal(err)
	}
	return dir, l
}

func TestLayoutChoice(t *testing.T) {
	a, b := image(), ocitest.Image(ocitest.ImageOptions{Content: "b"})
	sig := simple("x")
	tag := ocitest.Tag(a.Digest(), ".sig")
	type m = map[string]*ocitest.Artifact
	for _, tc := range []struct {
		name string
		has  m
		want string
		says string
	}{
		{"only image", m{"v1": a}, a.Digest(), ""},
		{"untagged image", m{"": a}, a.Digest(), ""},
		{"latest", m{"latest": a, "v1": b}, a.Digest(), ""},
		{"image and signature", m{"v1": a, tag: sig}, a.Digest(), ""},
		{"image and referrer", m{"v1": a, "": bundle(a, "x")}, a.Digest(), ""},
		{"one image under two tags", m{"v1": a, "v2": a}, a.Digest(), ""},
		{"two images", m{"v1": a, "v2": b}, "", "the tags are v1, v2"},
		{"no image", m{tag: sig}, "", "no image"},
		{"nothing", m{}, "", "no image"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, _ := made(t, tc.has)
			sub, err := layouts(t).Resolve(t.Context(), evidence.Query{Image: LayoutPrefix + dir})
			if tc.says != "" {
				if p := problemOf(t, err, evidence.CodeInvalidReference); !strings.Contains(p.Message, tc.says) {
					t.Errorf("message: %s", p.Message)
				}
				return
			}
			if err != nil || sub.Digest != tc.want || sub.Tag != nil {
				t.Errorf("%+v, %v", sub, err)
			}
		})
	}
}

// The convention of `cosign save`: no tags, kinds instead.
func TestLayoutOfCosignSave(t *testing.T) {
	img, other := image(), ocitest.Image(ocitest.ImageOptions{Content: "other"})
	dir := t.TempDir()
	l := &ocitest.Layout{}
	for _, a := range []*ocitest.Artifact{img, other, simple("signed"), envelope("attested")} {
		l.Add(a, "")
	}
	if err := l.Write(dir); err != nil {
		t.Fatal(err)
	}
	edit(t, filepath.Join(dir, "index.json"), func(ix map[string]any) {
		entries, _ := ix["manifests"].([]any)
		for i, kind := range []string{kindImage, "", kindSignatures, kindAttestations} {
			if m, ok := entries[i].(map[string]any); ok && kind != "" {
				m["annotations"] = map[string]string{annotationKind: kind}
			}
		}
	})
	c := layouts(t)
	sub, found := find(t, c, evidence.Query{Image: LayoutPrefix + dir})
	complete(t, found)
	got := summary(found.Items)
	slices.Sort(got)
	if sub.Digest != img.Digest() {
		t.Errorf("subject %s", sub.Digest)
	}
	if diff := cmp.Diff([]string{"cosign-attestation attested", "cosign-signature signed"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// What `cosign save` calls signatures belongs to the image that it saved, not to
// its platforms.
func TestLayoutOfCosignSaveIndex(t *testing.T) {
	ix := ocitest.Index(image(), ocitest.Image(ocitest.ImageOptions{Content: "arm", Platform: ocitest.Platform{OS: "linux", Architecture: "arm64"}}))
	dir := t.TempDir()
	l := &ocitest.Layout{}
	l.Add(ix, "")
	l.Add(simple("signed"), "")
	must(t, l.Write(dir))
	edit(t, filepath.Join(dir, "index.json"), func(v map[string]any) {
		entries, _ := v["manifests"].([]any)
		for i, kind := range map[int]string{len(entries) - 2: kindIndex, len(entries) - 1: kindSignatures} {
			if m, ok := entries[i].(map[string]any); ok {
				m["annotations"] = map[string]string{annotationKind: kind}
			}
		}
	})
	sub, found := find(t, layouts(t), evidence.Query{Image: LayoutPrefix + dir, AllPlatforms: true})
	complete(t, found)
	if sub.Digest != ix.Digest() || len(sub.Platforms) != 2 {
		t.Errorf("%+v", sub)
	}
	if len(found.Items) != 1 || found.Items[0].SubjectDigest != ix.Digest() {
		t.Errorf("%+v", found.Items)
	}
}

func edit(t *testing.T, path string, change func(map[string]any)) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	change(v)
	if raw, err = json.Marshal(v); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func blobPath(dir, digest string) string {
	return filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}

// Threat 41: what is wrong with one file breaks one item; threat 33: nothing
// leads out of the directory.
func TestLayoutBroken(t *testing.T) {
	outside := write(t, "secret", []byte("secret"))
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, path string)
		want  string
	}{
		{"missing", func(t *testing.T, p string) { must(t, os.Remove(p)) }, "bundle broken not_found"},
		{"changed", func(t *testing.T, p string) { must(t, os.WriteFile(p, []byte("BAD"), 0o600)) }, "bundle broken content_mismatch"},
		{"cut", func(t *testing.T, p string) { must(t, os.Truncate(p, 1)) }, "bundle broken content_mismatch"},
		{"a directory", func(t *testing.T, p string) { must(t, os.Remove(p)); must(t, os.Mkdir(p, 0o700)) }, "bundle broken not_found"},
		{"a link out of the layout", func(t *testing.T, p string) { must(t, os.Remove(p)); must(t, os.Symlink(outside, p)) }, "bundle broken not_found"},
	} {
		for _, what := range []string{"blob", "manifest"} {
			t.Run(tc.name+" "+what, func(t *testing.T) {
				img := image()
				bad, good := bundle(img, "bad"), bundle(img, "good")
				dir := t.TempDir()
				l := &ocitest.Layout{}
				l.Add(img, "v1")
				l.Add(bad, "")
				l.Add(good, "")
				must(t, l.Write(dir))
				path := blobPath(dir, facts.Digest([]byte("bad")))
				if what == "manifest" {
					path = blobPath(dir, bad.Digest())
				}
				tc.spoil(t, path)
				_, found := find(t, layouts(t), evidence.Query{Image: LayoutPrefix + dir + ":v1"})
				complete(t, found)
				got := summary(found.Items)
				slices.Sort(got)
				if diff := cmp.Diff([]string{tc.want, "bundle good"}, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestNotALayout(t *testing.T) {
	good, _ := made(t, map[string]*ocitest.Artifact{"v1": image()})
	spoiled := func(name, content string) string {
		dir, _ := made(t, map[string]*ocitest.Artifact{"v1": image()})
		if content == "" {
			must(t, os.Remove(filepath.Join(dir, name)))
		} else {
			must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
		}
		return dir
	}
	for name, dir := range map[string]string{
		"missing":               "/nonexistent/layout",
		"a file":                write(t, "x", nil),
		"empty":                 t.TempDir(),
		"no index":              spoiled("index.json", ""),
		"no version":            spoiled("oci-layout", ""),
		"another version":       spoiled("oci-layout", `{"imageLayoutVersion":"2.0.0"}`),
		"broken index":          spoiled("index.json", `{`),
		"duplicate keys":        spoiled("index.json", `{"manifests":[],"manifests":[]}`),
		"digest with traversal": spoiled("index.json", `{"schemaVersion":2,"manifests":[{"digest":"sha256:../../../../etc/passwd","size":1}]}`),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := layouts(t).Resolve(t.Context(), evidence.Query{Image: LayoutPrefix + dir})
			wantProblem(t, err, evidence.CodeInvalidReference)
		})
	}
	c := layouts(t)
	_, err := c.Resolve(t.Context(), evidence.Query{Image: LayoutPrefix + good + ":v2"})
	wantProblem(t, err, evidence.CodeImageNotFound)
	_, err = c.Resolve(t.Context(), evidence.Query{Image: LayoutPrefix + good + "@sha256:" + hex64})
	wantProblem(t, err, evidence.CodeImageNotFound)
	_, err = client(t).Resolve(t.Context(), evidence.Query{Image: LayoutPrefix + good})
	wantProblem(t, err, evidence.CodeInvalidReference)
}

func TestLayoutTagTwice(t *testing.T) {
	dir, l := made(t, map[string]*ocitest.Artifact{"v1": image(), "v2": ocitest.Image(ocitest.ImageOptions{Content: "b"})})
	edit(t, filepath.Join(dir, "index.json"), func(ix map[string]any) {
		entries, _ := ix["manifests"].([]any)
		for _, e := range entries {
			if m, ok := e.(map[string]any); ok {
				m["annotations"] = map[string]string{annotationRefName: "v1"}
			}
		}
	})
	_, err := layouts(t).Resolve(t.Context(), evidence.Query{Image: LayoutPrefix + dir + ":v1"})
	wantProblem(t, err, evidence.CodeManifestAmbiguous)
	if len(l.Entries) != 2 {
		t.Error("the test made no two entries")
	}
}

// A layout is read with the limits of a registry.
func TestLayoutLimits(t *testing.T) {
	img := image()
	dir := t.TempDir()
	l := &ocitest.Layout{}
	l.Add(img, "v1")
	for i := range 6 {
		l.Add(bundle(img, fmt.Sprintf("bundle %d", i)), "")
	}
	must(t, l.Write(dir))
	q := evidence.Query{Image: LayoutPrefix + dir + ":v1"}
	_, found := find(t, layouts(t, limits(func(l *evidence.Limits) { l.Items = 2 })), q)
	incomplete(t, found, evidence.CodeEvidenceTooLarge)
	_, err := layouts(t, limits(func(l *evidence.Limits) { l.Referrers = 3 })).Resolve(t.Context(), q)
	wantProblem(t, err, evidence.CodeEvidenceTooLarge)
	_, err = layouts(t, limits(func(l *evidence.Limits) { l.ManifestBytes = 10 })).Resolve(t.Context(), q)
	wantProblem(t, err, evidence.CodeEvidenceTooLarge)
	_, found = find(t, layouts(t, limits(func(l *evidence.Limits) { l.BundleBytes = 3 })), q)
	complete(t, found)
	for _, i := range found.Items {
		if i.Broken == nil || i.Broken.Code != facts.CodeTooLarge {
			t.Errorf("%+v", i)
		}
	}
}
