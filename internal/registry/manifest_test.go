package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
)

const (
	imageBody = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[]}`
	indexBody = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
)

// Threat 32: bytes that two readers may see differently are no manifest
// (CVE-2021-41190).
func TestParseManifest(t *testing.T) {
	for _, tc := range []struct {
		name, body, contentType string
		want                    error
	}{
		{"image", imageBody, mediaTypeManifest, nil},
		{"index", indexBody, mediaTypeIndex, nil},
		{"docker image", strings.ReplaceAll(imageBody, mediaTypeManifest, mediaTypeDockerManifest), mediaTypeDockerManifest, nil},
		{"docker list", strings.ReplaceAll(indexBody, mediaTypeIndex, mediaTypeDockerList), mediaTypeDockerList, nil},
		{"no declared type", imageBody, "", nil},
		{"no own type", `{"schemaVersion":2,"layers":[]}`, mediaTypeManifest, nil},
		{"null layers", `{"schemaVersion":2,"layers":null}`, mediaTypeManifest, nil},
		{"unknown fields", `{"schemaVersion":2,"x":{"y":[1]},"layers":[]}`, mediaTypeManifest, nil},

		{"neither type", `{"schemaVersion":2,"layers":[]}`, "", errAmbiguous},
		{"types disagree", imageBody, mediaTypeIndex, errAmbiguous},
		{"the same bytes called an index", `{"schemaVersion":2,"config":{},"layers":[]}`, mediaTypeIndex, errAmbiguous},
		{"the same bytes called an image", `{"schemaVersion":2,"manifests":[]}`, mediaTypeManifest, errAmbiguous},
		{"oci and docker types", imageBody, mediaTypeDockerManifest, errAmbiguous},
		{"generic declared type", imageBody, "application/json", errAmbiguous},
		{"both lists", `{"schemaVersion":2,"layers":[],"manifests":[]}`, mediaTypeManifest, errAmbiguous},
		{"both lists, one null", `{"schemaVersion":2,"layers":null,"manifests":[]}`, mediaTypeIndex, errAmbiguous},
		{"config and manifests", `{"schemaVersion":2,"config":{},"manifests":[]}`, mediaTypeIndex, errAmbiguous},
		{"neither list", `{"schemaVersion":2}`, mediaTypeManifest, errAmbiguous},
		{"duplicate key", `{"schemaVersion":2,"layers":[],"layers":[1]}`, mediaTypeManifest, errAmbiguous},
		{"duplicate key further down", `{"schemaVersion":2,"layers":[],"x":{"a":1,"a":2}}`, mediaTypeManifest, errAmbiguous},
		{"key in other case", `{"schemaVersion":2,"manifests":[],"Layers":[]}`, mediaTypeIndex, errAmbiguous},
		{"key that folds", `{"ſchemaVersion":2,"layers":[]}`, mediaTypeManifest, errAmbiguous},
		{"trailing bytes", imageBody + `{}`, mediaTypeManifest, errAmbiguous},
		{"deep", `{"schemaVersion":2,"layers":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`, mediaTypeManifest, errAmbiguous},
		{"invalid UTF-8", "{\"schemaVersion\":2,\"layers\":[],\"a\":\"\xff\"}", mediaTypeManifest, errAmbiguous},
		{"not an object", `[]`, mediaTypeManifest, errAmbiguous},
		{"null", `null`, mediaTypeManifest, errAmbiguous},
		{"empty", ``, mediaTypeManifest, errAmbiguous},
		{"schema 1 by type", `{}`, "application/vnd.docker.distribution.manifest.v1+prettyjws", errSchema1},
		{"schema 1 by version", `{"schemaVersion":1,"fsLayers":[]}`, mediaTypeManifest, errSchema1},
		{"another type", `{"schemaVersion":2,"mediaType":"application/x","layers":[]}`, "application/x", errType},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, err := parseManifest([]byte(tc.body), tc.contentType, 128)
			if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
				t.Fatalf("error %v, want %v", err, tc.want)
			}
			if err == nil && (m.index != isIndexType(m.MediaType) || m.MediaType == "") {
				t.Errorf("index %t of type %q", m.index, m.MediaType)
			}
		})
	}
}

func TestDescriptors(t *testing.T) {
	entry := func(digest string) string { return `{"mediaType":"x","digest":"` + digest + `","size":1}` }
	good := entry("sha256:" + hex64)
	for _, tc := range []struct {
		name, raw string
		want, bad int
		err       error
	}{
		{"empty", `[]`, 0, 0, nil},
		{"null", `null`, 0, 0, nil},
		{"two", "[" + good + "," + good + "]", 2, 0, nil},
		{"over the limit", "[" + good + "," + good + "," + good + "," + good + "]", 3, 0, errTooMany},
		{"one bad digest", "[" + good + "," + entry("sha256:../..") + "]", 1, 1, nil},
		{"negative size", `[{"digest":"sha256:` + hex64 + `","size":-1}]`, 0, 1, nil},
		{"size too large for a number", `[{"digest":"sha256:` + hex64 + `","size":99999999999999999999}]`, 0, 1, nil},
		{"digest in other case", `[{"Digest":"sha256:` + hex64 + `","size":1}]`, 0, 1, nil},
		{"not objects", `[1,"x",null]`, 0, 3, nil},
		{"not a list", `{}`, 0, 0, errAmbiguous},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bad := 0
			list, err := descriptors(json.RawMessage(tc.raw), 3, 16, func(json.RawMessage, error) { bad++ })
			if len(list) != tc.want || bad != tc.bad || !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
				t.Errorf("%d entries, %d bad, error %v", len(list), bad, err)
			}
			if _, err := descriptors(json.RawMessage(tc.raw), 3, 16, nil); tc.bad > 0 && !errors.Is(err, errAmbiguous) {
				t.Errorf("without bad: %v", err)
			}
		})
	}
}

func TestReadIndex(t *testing.T) {
	d := func(n int) string { return fmt.Sprintf("sha256:%064x", n) }
	entry := func(n int, rest string) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":1%s}`, mediaTypeManifest, d(n), rest)
	}
	attestation := `,"annotations":{"vnd.docker.reference.type":"attestation-manifest"}`
	read := func(t *testing.T, entries ...string) (index, error) {
		t.Helper()
		m, err := parseManifest([]byte(`{"schemaVersion":2,"manifests":[`+strings.Join(entries, ",")+`]}`), mediaTypeIndex, 32)
		if err != nil {
			t.Fatal(err)
		}
		return readIndex(m, evidence.DefaultLimits())
	}
	ix, err := read(t,
		entry(1, `,"platform":{"os":"linux","architecture":"arm","variant":"v7"}`),
		entry(2, `,"platform":{"os":"unknown","architecture":"unknown"}`+attestation),
		entry(3, `,"platform":{"os":"unknown","architecture":"unknown"}`),
		// An image that a runtime could choose is an image, whatever it is called.
		entry(4, attestation),
		entry(5, `,"platform":{"os":"linux","architecture":"amd64"}`+attestation),
		entry(6, ``),
		entry(7, `,"platform":{"os":"unknown","architecture":"amd64"}`+attestation),
		entry(8, `,"platform":{"os":"","architecture":""}`+attestation),
	)
	if err != nil {
		t.Fatal(err)
	}
	want := []facts.Platform{
		{OS: "linux", Architecture: "arm", Variant: "v7", Digest: d(1)},
		{Digest: d(4)},
		{OS: "linux", Architecture: "amd64", Digest: d(5)},
		{Digest: d(6)},
		{OS: "unknown", Architecture: "amd64", Digest: d(7)},
		{Digest: d(8)},
	}
	if diff := cmp.Diff(want, ix.platforms); diff != "" {
		t.Errorf("platforms: -want +got:\n%s", diff)
	}
	if len(ix.attestations) != 2 {
		t.Errorf("%d attestation manifests, want 2", len(ix.attestations))
	}
	nested := strings.ReplaceAll(entry(1, ""), mediaTypeManifest, mediaTypeIndex)
	if _, err := read(t, nested); !errors.Is(err, errAmbiguous) {
		t.Errorf("an index in an index: %v", err)
	}
	if _, err := read(t, strings.Split(strings.Repeat(entry(1, "")+" ", 65), " ")[:65]...); !errors.Is(err, errTooMany) {
		t.Errorf("65 platforms: %v", err)
	}
	if _, err := read(t, `{"digest":"sha256:x"}`); !errors.Is(err, errAmbiguous) {
		t.Errorf("bad digest: %v", err)
	}
}

func TestMatchPlatforms(t *testing.T) {
	have := []facts.Platform{
		{OS: "linux", Architecture: "amd64", Digest: "1"},
		{OS: "linux", Architecture: "arm64", Variant: "v8", Digest: "2"},
		{OS: "linux", Architecture: "arm", Variant: "v5", Digest: "3"},
		{OS: "linux", Architecture: "arm", Variant: "v6", Digest: "4"},
		{OS: "windows", Architecture: "amd64", Digest: "5"},
		{OS: "windows", Architecture: "amd64", Digest: "6"},
	}
	for want, digests := range map[string]string{
		"linux/amd64": "1", "linux/amd64/v1": "1", "linux/amd64/v3": "", "linux/arm64": "2", "linux/arm64/v8": "2",
		"linux/arm": "34", "linux/arm/v6": "4", "linux/arm/v7": "", "windows/amd64": "56", "linux/riscv64": "", "linux": "", "": "", "/": "", "linux/": "",
	} {
		got := ""
		for _, p := range facts.MatchPlatforms(have, want) {
			got += p.Digest
		}
		if got != digests {
			t.Errorf("%q: %q, want %q", want, got, digests)
		}
	}
}

// FuzzManifest: whatever the bytes, they are an image, an index, or refused; and
// reading all there is in them does not panic.
func FuzzManifest(f *testing.F) {
	for _, body := range []string{imageBody, indexBody, `{"schemaVersion":1}`, `{"layers":null,"config":{"mediaType":"x"},"subject":{"digest":"sha256:` + hex64 + `"}}`, `{"manifests":[{"digest":"x","platform":{"os":1}}]}`, `{"Layers":[]}`, `[`} {
		f.Add([]byte(body), mediaTypeManifest)
		f.Add([]byte(body), mediaTypeIndex)
		f.Add([]byte(body), "")
	}
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		m, err := parseManifest(body, contentType, 32)
		if err != nil {
			return
		}
		if m.index != isIndexType(m.MediaType) {
			t.Fatalf("%q is both", body)
		}
		lim := evidence.DefaultLimits()
		if ix, err := readIndex(m, lim); err == nil && len(ix.platforms)+len(ix.attestations) > lim.Platforms {
			t.Fatalf("%d entries", len(ix.platforms)+len(ix.attestations))
		}
		s := &search{src: &layout{path: "fuzz"}, lim: lim, subjects: []string{"sha256:" + hex64}, listed: map[string][]lead{}}
		s.readManifest(content{body: body, mediaType: contentType, digest: facts.Digest(body)}, origin{subject: s.subjects[0], where: "here", kind: evidence.KindDSSE, tag: true})
		s.cut()
		if len(s.pending) > lim.Items || m.index && len(s.pending) == 0 {
			t.Fatalf("%d pending", len(s.pending))
		}
	})
}
