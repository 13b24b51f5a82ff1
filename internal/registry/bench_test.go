package registry

import (
	"testing"

	"github.com/signet-policy/signet/internal/testkit/registrytest"
)

// BenchmarkFind is what finding one bundle costs, registry included: six
// requests over kept connections.
func BenchmarkFind(b *testing.B) {
	s, _ := served(b, registrytest.Options{}, `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`)
	c := insecure(b, s)
	find(b, c, v1(s))
	b.ReportAllocs()
	for b.Loop() {
		find(b, c, v1(s))
	}
}

func BenchmarkParseManifest(b *testing.B) {
	body := bundle(image(), "x").Raw
	b.ReportAllocs()
	for b.Loop() {
		m, err := parseManifest(body, mediaTypeManifest, 128)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := descriptors(m.Layers, 128, 128, nil); err != nil {
			b.Fatal(err)
		}
	}
}
