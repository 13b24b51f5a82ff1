package bench

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/testkit"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

const (
	// largeBytes is the size of one bill of materials; a bundle has it in base64.
	largeBytes   = 50 << 20
	manyLarge    = 11
	largePackage = 500
)

// BenchmarkLargePredicates verifies an image with eleven attested bills of materials
// of 50 MB, and one with one of them, and looks at the most memory that the process
// ever had. The bills are projected and read by the policy's input; what makes them
// large are the files that they list.
func BenchmarkLargePredicates(b *testing.B) {
	program := builtSignet(b)
	one, many := newLargeImage(b, 1), newLargeImage(b, manyLarge)
	var ratios, peaks, single []float64
	for b.Loop() {
		m, l := many.peak(b, program), one.peak(b, program)
		ratios, peaks, single = append(ratios, m/l), append(peaks, m), append(single, l)
	}
	measured(b, rowLargeMemory, Median(peaks), "MB", "%d SPDX documents of %d MB with %d packages each, one bundle %d MB; %.0f MB for one of them", manyLarge, largeBytes>>20, largePackage, (largeBytes*4/3)>>20, Median(single))
	measured(b, rowLargeRatio, Median(ratios), "eleven/one", "%.0f MB of %.0f MB", Median(peaks), Median(single))
}

// largeImage is a layout with a signed image and its attestations.
type largeImage struct {
	dir, key string
	index    []map[string]any
}

func newLargeImage(b *testing.B, n int) *largeImage {
	b.Helper()
	l := &largeImage{dir: b.TempDir()}
	stack := testkit.NewStack(b, sigstack.Options{Seed: "large"})
	key := stack.Key("builder", sigstack.ECDSAP256SHA256)
	config := l.blob(b, []byte("{}"))
	image := l.manifest(b, map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": described("application/vnd.oci.image.config.v1+json", config, 2), "layers": []any{},
	}, map[string]string{"org.opencontainers.image.ref.name": "v1"})
	subject := sigstack.SubjectOf("app", image)
	l.attach(b, image, config, stack.Bundle(sigstack.SignRequest{Image: image, Key: key}))
	for i := range n {
		digest := subject.Digest
		payload := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"app","digest":%s}],"predicateType":"https://spdx.dev/Document","predicate":`, mustJSON(b, digest))
		payload = append(payload, billOf(i)...)
		l.attach(b, image, config, stack.Bundle(sigstack.SignRequest{Payload: append(payload, '}'), Key: key}))
	}
	l.write(b, "index.json", mustJSON(b, map[string]any{"schemaVersion": 2, "manifests": l.index}))
	l.write(b, "oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	root := stack.TrustedRootJSON()
	l.write(b, "trusted-root.json", root)
	l.key = filepath.Join(l.dir, "key.pub")
	l.write(b, "key.pub", key.PublicPEM())
	return l
}

// billOf is an SPDX document of largeBytes.
func billOf(n int) []byte {
	var doc bytes.Buffer
	doc.Grow(largeBytes + 1000)
	fmt.Fprintf(&doc, `{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"app-%d","creationInfo":{"created":"2025-06-01T00:00:00Z","creators":["Tool: syft-1.0.0"]},"packages":[`, n)
	for i := range largePackage {
		if i > 0 {
			doc.WriteByte(',')
		}
		fmt.Fprintf(&doc, `{"name":"package-%d","SPDXID":"SPDXRef-%d","versionInfo":"%d.0","licenseConcluded":"MIT","externalRefs":[{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":"pkg:deb/debian/package-%d@%d.0"}]}`, i, i, n, i, n)
	}
	doc.WriteString(`],"files":[{"fileName":"first"}`)
	for i := 0; doc.Len() < largeBytes; i++ {
		fmt.Fprintf(&doc, `,{"fileName":"/usr/share/doc/package-%d/copyright","SPDXID":"SPDXRef-File-%d-%d","checksums":[{"algorithm":"SHA1","checksumValue":"%040x"}],"licenseConcluded":"NOASSERTION"}`, i, n, i, i)
	}
	doc.WriteString(`]}`)
	return doc.Bytes()
}

func mustJSON(b *testing.B, v any) []byte {
	b.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		b.Fatal(err)
	}
	return body
}

func described(mediaType, digest string, size int) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": digest, "size": size}
}

func (l *largeImage) write(b *testing.B, name string, body []byte) {
	b.Helper()
	path := filepath.Join(l.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, body, 0o600); err != nil {
		b.Fatal(err)
	}
}

func (l *largeImage) blob(b *testing.B, body []byte) string {
	b.Helper()
	sum := sha256.Sum256(body)
	name := hex.EncodeToString(sum[:])
	l.write(b, "blobs/sha256/"+name, body)
	return "sha256:" + name
}

// manifest writes one and lists it in the index.
func (l *largeImage) manifest(b *testing.B, m map[string]any, annotations map[string]string) string {
	b.Helper()
	body := mustJSON(b, m)
	digest := l.blob(b, body)
	d := described("application/vnd.oci.image.manifest.v1+json", digest, len(body))
	if annotations != nil {
		d["annotations"] = annotations
	}
	l.index = append(l.index, d)
	return digest
}

// attach writes a bundle as a referrer of the image.
func (l *largeImage) attach(b *testing.B, image, config string, bundle []byte) {
	b.Helper()
	const mediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	l.manifest(b, map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": mediaType,
		"config":  described("application/vnd.oci.empty.v1+json", config, 2),
		"layers":  []any{described(mediaType, l.blob(b, bundle), len(bundle))},
		"subject": described("application/vnd.oci.image.manifest.v1+json", image, 0),
	}, nil)
}

// peak runs `signet verify`, wants an allow, and returns the most memory that the
// process had, in MB.
func (l *largeImage) peak(b *testing.B, program string) float64 {
	b.Helper()
	cmd := exec.Command(program, "verify", "oci-layout:"+l.dir+":v1", "--offline", "--json",
		"--trusted-root", filepath.Join(l.dir, "trusted-root.json"), "--key", l.key, "--config", l.config(b))
	cmd.Env = append(os.Environ(), "HOME="+l.dir)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	// What the kernel says of a process that has ended counts the memory of the one
	// that started it; so it is asked while it runs.
	most := 0.0
	for {
		if mb, err := peakMB(cmd.Process.Pid); err == nil {
			most = max(most, mb)
		}
		select {
		case err := <-ended:
			if err != nil || !strings.Contains(out.String(), `"decision":"allow"`) {
				b.Fatalf("%v: %.2000s", err, out.String())
			}
			if most == 0 {
				b.Skip("needs Linux")
			}
			return most
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// config gives the slowest machine the time that it needs.
func (l *largeImage) config(b *testing.B) string {
	b.Helper()
	l.write(b, "signet.yaml", []byte("limits: {search_timeout: 5m, policy_time: 1m}\n"))
	return filepath.Join(l.dir, "signet.yaml")
}
