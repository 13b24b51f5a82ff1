package verify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/require"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verify"
)

// spooled has every envelope in a file, however small.
func spooled(t testing.TB, items []evidence.Item) []evidence.Item {
	t.Helper()
	out := slices.Clone(items)
	for i := range out {
		if out[i].Kind != evidence.KindBundle && out[i].Kind != evidence.KindDSSE || out[i].Broken != nil || !bytes.Contains(out[i].Bytes, []byte(`"payload"`)) || bytes.Contains(out[i].Bytes, []byte(`"payload":""`)) {
			continue
		}
		s, err := evidence.NewSpool(bytes.NewReader(out[i].Bytes), 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		out[i].Large, out[i].Bytes = s, nil
	}
	return out
}

// sameFacts wants the same of evidence in a file and in memory: all that was proved,
// and what was rejected, with its code. (Messages may differ: other code looks.)
func sameFacts(t testing.TB, small, large facts.Facts) {
	t.Helper()
	if diff := cmp.Diff(small.Signatures(), large.Signatures()); diff != "" {
		t.Errorf("signatures in memory and in a file:\n%s", diff)
	}
	if diff := cmp.Diff(small.Attestations(), large.Attestations()); diff != "" {
		t.Errorf("attestations in memory and in a file:\n%s", diff)
	}
	codes := func(f facts.Facts) (out []string) {
		for _, r := range f.Rejections() {
			out = append(out, r.ID+" "+r.Code)
		}
		return out
	}
	if diff := cmp.Diff(codes(small), codes(large)); diff != "" {
		t.Errorf("rejections in memory and in a file:\n%s\n%+v\n%+v", diff, small.Rejections(), large.Rejections())
	}
}

// Evidence in a file proves what it proves in memory: over everything real there is.
func TestLargeCorpus(t *testing.T) {
	dir := require.Corpus(t)
	b, err := os.ReadFile(filepath.Join(dir, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []corpusCase
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	attested := 0
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			v := newVerifier(t, rootFile(t, filepath.Join(dir, c.Trust))...)
			if c.Kind == "oci-layout" {
				s, items := layout{t, filepath.Join(dir, c.Path)}.image(c.Digest)
				small, err := v.Image(t.Context(), s, items, nil)
				if err != nil {
					t.Fatal(err)
				}
				large, err := v.Image(t.Context(), s, spooled(t, items), nil)
				if err != nil {
					t.Fatal(err)
				}
				sameFacts(t, small, large)
				attested += len(large.Attestations())
				return
			}
			body, err := os.ReadFile(filepath.Join(dir, c.Path))
			if err != nil {
				t.Fatal(err)
			}
			items := []evidence.Item{{Kind: evidence.KindBundle, Bytes: body}}
			a := c.artifact(t, dir, check{})
			sameFacts(t, artifactFacts(t, v, a, items), artifactFacts(t, v, a, spooled(t, items)))
		})
	}
	if attested < 5 {
		t.Errorf("%d attestations were compared", attested)
	}
}

// The samples are signed with every kind of log, with keys and certificates.
func TestLargeSamples(t *testing.T) {
	for _, name := range []string{"attested", "attested-r1", "key-attested", "old-attest", "old-attest02", "old-key-attest", "keyless-r1", "keyless-r2", "key-r2", "multi-arch"} {
		t.Run(name, func(t *testing.T) {
			v := newVerifier(t, rootFile(t, filepath.Join(samplesDir, "trusted-root.json"))...)
			s, items := layout{t, filepath.Join(samplesDir, "layouts", name)}.image(sampleDigest(t, name))
			key := verify.KeyList(publicKey(t, filepath.Join(samplesDir, "signer.pub")))
			small, err := v.Image(t.Context(), s, items, key)
			if err != nil {
				t.Fatal(err)
			}
			large, err := v.Image(t.Context(), s, spooled(t, items), key)
			if err != nil {
				t.Fatal(err)
			}
			sameFacts(t, small, large)
			if len(small.Attestations())+len(small.Signatures()) == 0 {
				t.Error("nothing was proved")
			}
		})
	}
}

// sampleDigest is the digest of the image of a sample.
func sampleDigest(t *testing.T, name string) string {
	t.Helper()
	var cases []struct{ Name, Digest string }
	body, err := os.ReadFile(filepath.Join(samplesDir, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.Name == name {
			return c.Digest
		}
	}
	t.Fatalf("no sample %s", name)
	return ""
}

// Bundles that came with a request are verified like others: one that was signed for
// another image is a rejection, and spoils nothing (threat 1).
func TestGivenBundles(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	ours := b.Stack.Bundle(sigstack.SignRequest{Image: image, Identity: dev, Log: sigstack.RekorV1(), Timestamps: 1})
	theirs := b.Stack.Bundle(sigstack.SignRequest{Image: otherImage, Identity: dev, Log: sigstack.RekorV1(), Timestamps: 1})
	items := []evidence.Item{
		evidence.Given(ours, []string{image}), evidence.Given(theirs, []string{image}),
		evidence.Given([]byte(`{"mediaType":null,"dsseEnvelope":null}`), []string{image}),
	}
	f, err := b.v.Image(t.Context(), facts.Subject{Digest: image}, items, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Signatures()) != 1 || f.Signatures()[0].ID != facts.Digest(ours) {
		t.Errorf("%+v", f.Signatures())
	}
	codes := map[string]string{}
	for _, r := range f.Rejections() {
		codes[r.ID] = r.Code
		if r.Where != evidence.GivenWhere {
			t.Errorf("%+v", r)
		}
	}
	if len(codes) != 2 || codes[facts.Digest(theirs)] != facts.CodeSubjectMismatch {
		t.Errorf("%+v", f.Rejections())
	}
}

// What a document lists and nobody keeps leaves no garbage, or pieces of evidence of
// many megabytes would be felt by whoever verifies several: one of five times the size
// allocates what the small one does.
func TestLargeLeavesNoGarbage(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	key := b.Stack.Key("builder", sigstack.ECDSAP256SHA256)
	scope := verify.KeyList(key.Public())
	allocated := func(files int) (size, bytes int64) {
		var doc strings.Builder
		fmt.Fprintf(&doc, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":"https://spdx.dev/Document","predicate":{"spdxVersion":"SPDX-2.3","packages":[{"name":"openssl"}],"files":[{"fileName":"first"}`, strings.TrimPrefix(image, "sha256:"))
		for i := range files {
			fmt.Fprintf(&doc, `,{"fileName":"/usr/share/doc/%d\u002fcopyright","SPDXID":"SPDXRef-%d","checksums":[{"algorithm":"SHA1","checksumValue":"%040x"}],"licenseConcluded":"NOASSERTION"}`, i, i, i)
		}
		doc.WriteString("]}}")
		items := spooled(t, []evidence.Item{{Kind: evidence.KindBundle, SubjectDigest: image, Bytes: b.Stack.Bundle(sigstack.SignRequest{Payload: []byte(doc.String()), Key: key})}})
		least := int64(math.MaxInt64)
		for range 3 { // what else runs in the process allocates as well
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			f, err := b.v.Image(t.Context(), facts.Subject{Digest: image}, items, scope)
			runtime.ReadMemStats(&after)
			if err != nil || len(f.Attestations()) != 1 || len(f.Attestations()[0].Projection.Packages) != 1 {
				t.Fatalf("%v: %+v", err, f.Rejections())
			}
			least = min(least, int64(after.TotalAlloc-before.TotalAlloc))
		}
		return items[0].Size(), least
	}
	size, few := allocated(4_000)
	larger, many := allocated(20_000)
	if more := larger - size; many-few > more/20 {
		t.Errorf("%d bytes allocated for evidence of %d, and %d for %d", few, size, many, larger)
	}
}

// Large evidence does not meet: while some is read more of it waits, and small evidence
// does not.
func TestLargeDoesNotMeet(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	key := b.Stack.Key("builder", sigstack.ECDSAP256SHA256)
	scope := verify.KeyList(key.Public())
	doc := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":"https://spdx.dev/Document","predicate":{"spdxVersion":"SPDX-2.3"}}`, strings.TrimPrefix(image, "sha256:"))
	small := []evidence.Item{{Kind: evidence.KindBundle, SubjectDigest: image, Bytes: b.Stack.Bundle(sigstack.SignRequest{Payload: []byte(doc), Key: key})}}
	counts := func(items []evidence.Item) {
		t.Helper()
		f, err := b.v.Image(t.Context(), facts.Subject{Digest: image}, items, scope)
		if err != nil || len(f.Attestations()) != 1 {
			t.Fatalf("%v: %+v", err, f.Rejections())
		}
	}
	large := spooled(t, small)
	release := b.v.HoldLarge()
	counts(small)
	patience, end := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer end()
	if _, err := b.v.Image(patience, facts.Subject{Digest: image}, large, scope); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it did not wait: %v", err)
	}
	release()
	counts(large)
}

// That a file cannot be read says nothing of what is in it: whoever asked is told,
// whenever it happens, and nothing is remembered.
func TestFileThatCannotBeRead(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	for name, key := range map[string]*sigstack.Key{"pure Ed25519": b.Key("ed", sigstack.Ed25519), "SHA-384": b.Key("p384", sigstack.ECDSAP384SHA384)} {
		ev := b.Sign(attestationOf("x", sigstack.SignRequest{Image: image, Key: key}))
		v := func(m *memo) *verify.Verifier {
			v, err := verify.New(verify.Config{Roots: []*trust.Root{b.root}, Limits: evidence.DefaultLimits(), Memo: m, Build: "one"})
			b.must(err)
			return v
		}
		for _, when := range []string{"before", "while its signature is verified"} {
			items := spooled(t, []evidence.Item{b.bundle(ev)})
			m := &memo{}
			if when == "before" {
				items[0].Large.Close()
			} else {
				m.get = items[0].Large.Close
			}
			f, err := v(m).Image(t.Context(), facts.Subject{Digest: image}, items, verify.KeyList(key.Public()))
			if !errors.Is(err, evidence.ErrSpoolRead) || m.puts != 0 {
				t.Errorf("%s, %s: %v, %d results were kept; %+v", name, when, err, m.puts, f.Rejections())
			}
			oneAttestation(t, inMemory(t, v(m), []evidence.Item{b.bundle(ev)}, key.Public()))
		}
	}
}
