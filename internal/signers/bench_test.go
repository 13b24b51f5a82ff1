package signers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"testing"

	"github.com/signet-policy/signet/internal/facts"
)

// What a verdict asks of a set must cost the same whether 10 signers are in it or
// 10,000. test/bench measures the whole verdict.
func BenchmarkSigners10(b *testing.B)    { benchmarkSigners(b, 10) }
func BenchmarkSigners10000(b *testing.B) { benchmarkSigners(b, 10_000) }

func benchmarkSigners(b *testing.B, n int) {
	set, keys := many(b, n)
	const image = "ghcr.io/org3/app"
	exact := certified(google, "u3@example.com")
	prefix := certified(github, "https://github.com/org3/app/.github/workflows/release.yml@refs/heads/main")
	byKey := keyed(keys[0])
	for _, bm := range []struct {
		name string
		sig  facts.Signature
	}{{"exact", exact}, {"prefix", prefix}, {"key", byKey}} {
		b.Run("match/"+bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if len(set.Match(bm.sig, image, noon)) != 1 {
					b.Fatal("no match")
				}
			}
		})
	}
	b.Run("key with hint", func(b *testing.B) {
		for b.Loop() {
			if _, ok := set.KeyByFingerprint(keys[0].Fingerprint, image, noon); !ok {
				b.Fatal("no key")
			}
		}
	})
	b.Run("keys in scope", func(b *testing.B) {
		for b.Loop() {
			set.KeysInScope(image, noon, 64)
		}
	})
	b.Run("in force", func(b *testing.B) {
		for b.Loop() {
			if !set.InForce(image, noon) {
				b.Fatal("nobody")
			}
		}
	})
	b.Run("next boundary", func(b *testing.B) {
		for b.Loop() {
			set.NextBoundary(noon)
		}
	})
	strangers := []facts.Signature{certified(github, "https://github.com/orh/app"), certified("https://evil.example", "evil")}
	b.Run("nobody, nearest", func(b *testing.B) {
		for b.Loop() {
			if len(set.Match(strangers[0], image, noon)) != 0 {
				b.Fatal("a match")
			}
			if _, ok := set.Nearest(strangers, image, noon); !ok {
				b.Fatal("nothing is near")
			}
		}
	})
}

// many makes a set of n: keyless exact, keyless by pattern, and keys, each for the
// images of an organisation of its own, all of which end at different times.
func many(tb testing.TB, n int) (*Set, []Key) {
	tb.Helper()
	var list []Signer
	var keys []Key
	for i := range n {
		s := keyless(fmt.Sprint("exact", i), google, fmt.Sprintf("u%d@example.com", i))
		switch i % 3 {
		case 1:
			s = matching(fmt.Sprint("org", i), github, fmt.Sprintf("https://github.com/org%d/.*", i-1))
		case 2:
			private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				tb.Fatal(err)
			}
			k, err := NewKey(&private.PublicKey)
			if err != nil {
				tb.Fatal(err)
			}
			s = Signer{Name: fmt.Sprint("key", i), Type: PublicKey, Keys: []Key{k}, Enabled: true}
			keys = append(keys, k)
		}
		if i != 3 && i != 4 && i != 2 { // those that are asked for
			s.Images = []string{fmt.Sprintf("ghcr.io/org%d/**", i)}
		}
		s.ExpiresAt = ptr(noon.AddDate(0, 0, i+1))
		list = append(list, s)
	}
	return mustCompile(tb, list...), keys
}
