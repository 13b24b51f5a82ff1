package bench

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	sigstore "github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verdict"
	"github.com/signet-policy/signet/test/wire"
)

// cold is an engine that remembers nothing from one verdict to the next but its
// connections to the registry: no cache, no leases, no remembered verification.
type cold struct {
	*wire.Signet
	image string
}

func newCold(tb testing.TB, host, sample string) *cold {
	tb.Helper()
	issuer, subject := signerOf(tb, sample)
	policy, err := signingpolicy.OneOff(nil, issuer, subject, "")
	if err != nil {
		tb.Fatal(err)
	}
	roots, err := trust.ParseAll("trusted-root", read(tb, "trusted-root.json"))
	if err != nil {
		tb.Fatal(err)
	}
	return &cold{image: host + "/bench/" + sample + ":v1", Signet: wire.New(tb, wire.Config{
		Roots: roots, Policy: policy,
		Registry: registry.Config{Registries: []registry.Settings{{Host: host, Insecure: true}}},
	})}
}

// decide goes all the way: resolve, collect, verify, match, decide, encode.
func (c *cold) decide(tb testing.TB) {
	a, err := c.Engine.Decide(tb.Context(), c.State, engine.Request{Image: c.image})
	if err != nil || a.Decision != verdict.Allow || a.From != engine.FromMiss || len(a.Body) == 0 {
		tb.Fatalf("want an allow, computed; got %s %s, error %v", a.Decision, a.From, err)
	}
}

// A verdict on an image with one bundle takes six requests: the manifest; the
// three places where evidence can be; the bundle's manifest, and the bundle. Of
// an image with nothing attached, the fallback tag is asked, too.
func TestColdRequests(t *testing.T) {
	s := registrytest.New(t, registrytest.Options{})
	for _, sample := range []string{"keyless-gha", "keyless-r1"} {
		t.Run(sample, func(t *testing.T) {
			repo := "bench/" + sample
			layout := s.For(t).PushLayout(filepath.Join(samples, "layouts", sample), repo)
			manifest, blob := bundleOf(t, layout)
			digest := digestOf(t, sample)
			tag := strings.Replace(digest, ":", "-", 1)
			want := map[string]int{}
			for _, path := range []string{
				"manifests/v1", "referrers/" + digest, "manifests/" + tag + ".sig", "manifests/" + tag + ".att", "manifests/" + manifest, "blobs/" + blob,
			} {
				want[http.MethodGet+" /v2/"+repo+"/"+path] = 1
			}
			c := newCold(t, s.Host(), sample)
			for range 2 { // and nothing is remembered, or this benchmark measures something else
				s.Forget()
				c.decide(t)
				if diff := cmp.Diff(want, s.Counts()); diff != "" {
					t.Errorf("requests (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// The floor is a verification: it accepts the sample, and nothing else.
func TestFloorVerifies(t *testing.T) {
	for _, sample := range []string{"keyless-gha", "keyless-r1"} {
		f := newFloor(t, sample)
		if err := f.verify(); err != nil {
			t.Errorf("%s: %v", sample, err)
		}
		f.policy = policyFor(t, digestOf(t, "unsigned"), sample)
		if err := f.verify(); err == nil {
			t.Errorf("%s: verifies for another image", sample)
		}
	}
}

const (
	verdictsATurn = 50
	coldRounds    = 25
)

// BenchmarkColdVerdict measures the CPU time of this process. The registry is in
// a child, so its work is not in the figure; sending requests to it and reading
// its answers is.
func BenchmarkColdVerdict(b *testing.B) {
	for _, bm := range []struct {
		name, sample string
		row          Row
	}{{"rekor-v2", "keyless-gha", rowCold}, {"rekor-v1", "keyless-r1", rowColdV1}} {
		b.Run(bm.name, func(b *testing.B) {
			c, f := newCold(b, registryOf(b, bm.sample), bm.sample), newFloor(b, bm.sample)
			verdicts := func() {
				for range verdictsATurn {
					c.decide(b)
				}
			}
			floor := func() {
				for range verdictsATurn {
					if err := f.verify(); err != nil {
						b.Fatal(err)
					}
				}
			}
			verdicts()
			floor()
			var ours, theirs []float64
			for b.Loop() {
				for i := range coldRounds {
					if i%2 == 0 {
						ours = append(ours, cpu(b, verdicts))
						theirs = append(theirs, cpu(b, floor))
					} else {
						theirs = append(theirs, cpu(b, floor))
						ours = append(ours, cpu(b, verdicts))
					}
				}
			}
			o, t := Median(ours), Median(theirs)
			measured(b, bm.row, o/t, "verdict/verification", "%.2f ms of %.2f ms, 6 requests in it; medians of %d turns", o, t, len(ours))
		})
	}
}

// cpu is the CPU time that f took of this process, the kernel's included, in
// milliseconds for each of its turns. Garbage of before is not in it.
func cpu(b *testing.B, f func()) float64 {
	b.Helper()
	runtime.GC()
	before := usage(b)
	f()
	return (usage(b) - before).Seconds() * 1000 / verdictsATurn
}

func usage(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// floor is sigstore-go alone: it parses a bundle and verifies it under a root
// that is parsed already, for the digest and the identity that it should have.
type floor struct {
	raw      []byte
	verifier *sigstore.Verifier
	policy   sigstore.PolicyBuilder
}

func newFloor(tb testing.TB, sample string) *floor {
	tb.Helper()
	layout, err := ocitest.ReadLayout(filepath.Join(samples, "layouts", sample))
	if err != nil {
		tb.Fatal(err)
	}
	_, blob := bundleOf(tb, layout)
	material, err := root.NewTrustedRootFromJSON(read(tb, "trusted-root.json"))
	if err != nil {
		tb.Fatal(err)
	}
	verifier, err := sigstore.NewVerifier(material, sigstore.WithObserverTimestamps(1), sigstore.WithTransparencyLog(1), sigstore.WithSignedCertificateTimestamps(1))
	if err != nil {
		tb.Fatal(err)
	}
	return &floor{layout.Blobs[blob], verifier, policyFor(tb, digestOf(tb, sample), sample)}
}

func policyFor(tb testing.TB, digest, sample string) sigstore.PolicyBuilder {
	tb.Helper()
	raw, err := hex.DecodeString(strings.TrimPrefix(digest, "sha256:"))
	if err != nil {
		tb.Fatal(err)
	}
	issuer, subject := signerOf(tb, sample)
	id, err := sigstore.NewShortCertificateIdentity(issuer, "", subject, "")
	if err != nil {
		tb.Fatal(err)
	}
	return sigstore.NewPolicy(sigstore.WithArtifactDigest("sha256", raw), sigstore.WithCertificateIdentity(id))
}

func (f *floor) verify() error {
	var b bundle.Bundle
	if err := b.UnmarshalJSON(f.raw); err != nil {
		return err
	}
	_, err := f.verifier.Verify(&b, f.policy)
	return err
}

// bundleOf finds the one Sigstore bundle of a layout: its manifest and its blob.
func bundleOf(tb testing.TB, l *ocitest.Layout) (manifest, blob string) {
	tb.Helper()
	for _, e := range l.Entries {
		var m ocitest.Manifest
		if err := json.Unmarshal(l.Blobs[e.Digest], &m); err != nil {
			tb.Fatal(err)
		}
		if len(m.Layers) == 1 && strings.HasPrefix(m.Layers[0].MediaType, "application/vnd.dev.sigstore.bundle") {
			if manifest != "" {
				tb.Fatal("several bundles")
			}
			manifest, blob = e.Digest, m.Layers[0].Digest
		}
	}
	if manifest == "" {
		tb.Fatal("no bundle")
	}
	return manifest, blob
}

type sampleCase struct {
	Name       string
	Digest     string
	Signatures []struct{ Issuer, Subject string }
}

func caseOf(tb testing.TB, sample string) sampleCase {
	tb.Helper()
	var cases []sampleCase
	if err := json.Unmarshal(read(tb, "cases.json"), &cases); err != nil {
		tb.Fatal(err)
	}
	for _, c := range cases {
		if c.Name == sample {
			return c
		}
	}
	tb.Fatalf("no sample %s", sample)
	return sampleCase{}
}

func digestOf(tb testing.TB, sample string) string { tb.Helper(); return caseOf(tb, sample).Digest }

func signerOf(tb testing.TB, sample string) (issuer, subject string) {
	tb.Helper()
	s := caseOf(tb, sample).Signatures
	if len(s) != 1 {
		tb.Fatalf("%s has %d signatures, not one", sample, len(s))
	}
	return s[0].Issuer, s[0].Subject
}

func read(tb testing.TB, name string) []byte {
	tb.Helper()
	body, err := os.ReadFile(filepath.Join(samples, name))
	if err != nil {
		tb.Fatal(err)
	}
	return body
}
