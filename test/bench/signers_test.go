package bench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verdict"
	"github.com/signet-policy/signet/test/wire"
)

// Verdicts among few and many registered signers: what is asked, and whose signature
// decides.
var amongSigners = []struct {
	name, sample string
	signer       func(testing.TB) signers.Signer
	want         verdict.Decision
	row          Row
}{
	{"exact", "keyless-gha", func(testing.TB) signers.Signer {
		return signers.Signer{Name: "wanted", Type: signers.Keyless, Issuer: workflowIssuer, Subject: workflow, Enabled: true}
	}, verdict.Allow, Row{Name: "cold verdict among 10,000 signers / among 10, keyless exact, CPU", Target: 1.20}},
	{"prefix", "keyless-gha", func(testing.TB) signers.Signer {
		return signers.Signer{Name: "wanted", Type: signers.Keyless, Issuer: workflowIssuer, SubjectRegex: "https://github.com/acme/.*", Enabled: true}
	}, verdict.Allow, Row{Name: "cold verdict among 10,000 signers / among 10, keyless prefix, CPU", Target: 1.20}},
	{"key", "key-none", sampleKey, verdict.Allow, Row{Name: "cold verdict among 10,000 signers / among 10, key with hint, CPU", Target: 1.20}},
	{"nobody", "keyless-gha", func(testing.TB) signers.Signer {
		return signers.Signer{Name: "wanted", Type: signers.Keyless, Issuer: workflowIssuer, Subject: workflow + "2", Enabled: true}
	}, verdict.Deny, Row{Name: "cold verdict among 10,000 signers / among 10, no match, CPU", Target: 1.20}},
}

func sampleKey(tb testing.TB) signers.Signer {
	tb.Helper()
	keys, err := signers.ParseKeys(string(read(tb, "signer.pub")))
	if err != nil {
		tb.Fatal(err)
	}
	return signers.Signer{Name: "wanted", Type: signers.PublicKey, Keys: keys, Enabled: true}
}

const few, many = 10, 10_000

// crowd is n signers, of which the last is the wanted one: an equal number of exact
// identities, patterns and keys, all of them for every image, and each with an end
// of its own.
func crowd(tb testing.TB, n int, wanted signers.Signer) []signers.Signer {
	tb.Helper()
	list := make([]signers.Signer, 0, n)
	for i := range n - 1 {
		end := time.Date(2090, 1, 1, 0, 0, i, 0, time.UTC)
		s := signers.Signer{Name: fmt.Sprint("s", i), Type: signers.Keyless, Issuer: workflowIssuer, Enabled: true, ExpiresAt: &end}
		switch i % 3 {
		case 0:
			s.Subject = fmt.Sprintf("https://github.com/acme%d/app/.github/workflows/release.yml@refs/heads/main", i)
		case 1:
			s.SubjectRegex = fmt.Sprintf("https://github.com/acme%d/.*", i)
		case 2:
			private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				tb.Fatal(err)
			}
			k, err := signers.NewKey(&private.PublicKey)
			if err != nil {
				tb.Fatal(err)
			}
			s.Type, s.Issuer, s.Keys = signers.PublicKey, "", []signers.Key{k}
		}
		list = append(list, s)
	}
	return append(list, wanted)
}

// newAmong is an engine as newCold makes it, whose policy takes registered signers.
func newAmong(tb testing.TB, host string, registered []signers.Signer) *wire.Signet {
	tb.Helper()
	policy, err := signingpolicy.Parse([]byte("verify_transparency_log: false\ntrusted_signers: [{type: registry}]\n"))
	if err != nil {
		tb.Fatal(err)
	}
	roots, err := trust.ParseAll("trusted-root", read(tb, "trusted-root.json"))
	if err != nil {
		tb.Fatal(err)
	}
	return wire.New(tb, wire.Config{
		Roots: roots, Policy: policy, Registered: registered,
		Registry: registry.Config{Registries: []registry.Settings{{Host: host, Insecure: true}}},
	})
}

func decideAmong(tb testing.TB, s *wire.Signet, image string, want verdict.Decision) engine.Answer {
	tb.Helper()
	a, err := s.Engine.Decide(tb.Context(), s.State, engine.Request{Image: image})
	if err != nil || a.Decision != want || a.From != engine.FromMiss {
		tb.Fatalf("want %s, computed; got %s %s, error %v: %s", want, a.Decision, a.From, err, a.Body)
	}
	return a
}

// Among 10,000 signers the one that signed is found, and a key that the evidence
// names is tried although more are in scope than may be tried.
func TestAmongManySigners(t *testing.T) {
	s := registrytest.New(t, registrytest.Options{})
	for _, tt := range amongSigners {
		t.Run(tt.name, func(t *testing.T) {
			repo := "bench/" + tt.sample
			s.For(t).PushLayout(filepath.Join(samples, "layouts", tt.sample), repo)
			among := newAmong(t, s.Host(), crowd(t, many, tt.signer(t)))
			a := decideAmong(t, among, s.Host()+"/"+repo+":v1", tt.want)
			if tt.want == verdict.Deny && !strings.Contains(string(a.Body), `"signer":"wanted"`) {
				t.Errorf("the nearest signer is not named: %s", a.Body)
			}
		})
	}
}

// BenchmarkAmongSigners measures the CPU time of a whole verdict, with nothing
// remembered, among 10,000 signers and among 10, in turns.
func BenchmarkAmongSigners(b *testing.B) {
	for _, bm := range amongSigners {
		b.Run(bm.name, func(b *testing.B) {
			host := registryOf(b, bm.sample)
			image := host + "/bench/" + bm.sample + ":v1"
			verdicts := func(n int) func() {
				s := newAmong(b, host, crowd(b, n, bm.signer(b)))
				return func() {
					for range verdictsATurn {
						decideAmong(b, s, image, bm.want)
					}
				}
			}
			among10, among10000 := verdicts(few), verdicts(many)
			among10()
			among10000()
			var little, much []float64
			for b.Loop() {
				for i := range coldRounds {
					if i%2 == 0 {
						little = append(little, cpu(b, among10))
						much = append(much, cpu(b, among10000))
					} else {
						much = append(much, cpu(b, among10000))
						little = append(little, cpu(b, among10))
					}
				}
			}
			m, l := Median(much), Median(little)
			measured(b, bm.row, m/l, "10000/10", "%.2f ms of %.2f ms; medians of %d turns", m, l, len(much))
		})
	}
}
