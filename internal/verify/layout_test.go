package verify_test

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verify"
)

// The layouts of the samples and of the corpus, read without a registry: what is
// tested here is what becomes of the evidence, not how it is found.

type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	ArtifactType string            `json:"artifactType"`
	Annotations  map[string]string `json:"annotations"`
	Platform     *struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
	} `json:"platform"`
}

type manifest struct {
	descriptor
	Subject   *descriptor  `json:"subject"`
	Layers    []descriptor `json:"layers"`
	Manifests []descriptor `json:"manifests"`
}

type layout struct {
	t   testing.TB
	dir string
}

func (l layout) blob(digest string) []byte {
	b, err := os.ReadFile(filepath.Join(l.dir, "blobs", strings.Replace(digest, ":", "/", 1)))
	if err != nil {
		return nil
	}
	return b
}

func (l layout) manifest(b []byte) manifest {
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		l.t.Fatalf("%s: %v", l.dir, err)
	}
	return m
}

// image gives the subject with the digest and everything attached to it and to
// its platforms.
func (l layout) image(digest string) (facts.Subject, []evidence.Item) {
	l.t.Helper()
	s := facts.Subject{Digest: digest}
	if b := l.blob(digest); b != nil {
		m := l.manifest(b)
		s.MediaType = m.MediaType
		for _, p := range m.Manifests {
			if p.Platform != nil && p.Platform.OS != "unknown" {
				s.Platforms = append(s.Platforms, facts.Platform{OS: p.Platform.OS, Architecture: p.Platform.Architecture, Digest: p.Digest})
			}
		}
	}
	ours := map[string]bool{digest: true}
	for _, p := range s.Platforms {
		ours[p.Digest] = true
	}
	index, err := os.ReadFile(filepath.Join(l.dir, "index.json"))
	if err != nil {
		l.t.Fatal(err)
	}
	var items []evidence.Item
	for _, d := range l.manifest(index).Manifests {
		m := l.manifest(l.blob(d.Digest))
		of := attachedTo(d, m, digest)
		if !ours[of] {
			continue
		}
		for _, layer := range m.Layers {
			items = append(items, l.item(of, layer))
		}
	}
	return s, items
}

// attachedTo reads a manifest's subject, cosign's tag, or the kind that `cosign
// save` notes instead of a tag.
func attachedTo(d descriptor, m manifest, digest string) string {
	if m.Subject != nil {
		return m.Subject.Digest
	}
	tag := d.Annotations["org.opencontainers.image.ref.name"]
	if hexa, ok := strings.CutPrefix(tag, "sha256-"); ok {
		return "sha256:" + strings.TrimSuffix(strings.TrimSuffix(hexa, ".sig"), ".att")
	}
	switch d.Annotations["kind"] {
	case "dev.cosignproject.cosign/sigs", "dev.cosignproject.cosign/atts":
		return digest
	}
	return ""
}

func (l layout) item(of string, layer descriptor) evidence.Item {
	kind := evidence.KindUnsigned
	switch {
	case layer.MediaType == evidence.MediaTypeSimpleSigning:
		kind = evidence.KindSimpleSigning
	case layer.MediaType == evidence.MediaTypeDSSE:
		kind = evidence.KindDSSE
	case strings.HasPrefix(layer.MediaType, evidence.MediaTypeBundlePrefix):
		kind = evidence.KindBundle
	}
	return evidence.Item{Kind: kind, MediaType: layer.MediaType, SubjectDigest: of, Where: l.dir, Bytes: l.blob(layer.Digest), Annotations: layer.Annotations}
}

func publicKey(t testing.TB, file string) crypto.PublicKey {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		t.Fatalf("%s: no PEM", file)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil // the corpus has a key that is not on its curve
	}
	return key
}

func rootFile(t testing.TB, file string) []*trust.Root {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := trust.ParseAll(trust.FileName(file), b)
	if err != nil {
		t.Fatal(err)
	}
	return roots
}

func newVerifier(t testing.TB, roots ...*trust.Root) *verify.Verifier {
	t.Helper()
	v, err := verify.New(verify.Config{Roots: roots, Limits: evidence.DefaultLimits(), OnPanic: func(p any) {
		t.Errorf("panic: %v\n%s", p.(verify.Panic).Value, p.(verify.Panic).Stack)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func keys(list ...crypto.PublicKey) []crypto.PublicKey {
	var out []crypto.PublicKey
	for _, k := range list {
		if k != nil {
			out = append(out, k)
		}
	}
	return out
}
