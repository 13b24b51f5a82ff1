package engine

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/signers"
)

// The keys in scope for an image are those of all policies that speak of it, each
// once, at the time of the request.
func TestScopeKeys(t *testing.T) {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	names := map[string]string{}
	signer := func(name string, images ...string) signers.Signer {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		k, err := signers.NewKey(&private.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		names[k.Fingerprint] = name
		return signers.Signer{Name: name, Type: signers.PublicKey, Keys: []signers.Key{k}, Images: images, Enabled: true}
	}
	policy := func(list ...signers.Signer) Policy {
		set, err := signers.Compile(list)
		if err != nil {
			t.Fatal(err)
		}
		return Policy{Signers: set}
	}
	a, b, scoped, expired := signer("a"), signer("b"), signer("scoped", "ghcr.io/org/**"), signer("expired")
	expired.ExpiresAt = &now
	policies := []Policy{policy(a, b, expired), policy(b, scoped)}
	for _, tt := range []struct {
		name, image string
		most        int
		want        map[string]bool
		more        bool
	}{
		{"in scope", "ghcr.io/org/app", 3, map[string]bool{"a": true, "b": true, "scoped": true}, false},
		{"out of scope", "quay.io/org/app", 3, map[string]bool{"a": true, "b": true}, false},
		{"more in both together", "ghcr.io/org/app", 2, nil, true},
		{"more in one", "quay.io/org/app", 1, nil, true},
	} {
		keys := scopeKeys{policies, tt.image, now}
		found, more := keys.InScope(tt.most)
		if more != tt.more || len(found) > tt.most {
			t.Errorf("%s: %d keys, more is %v, want %v", tt.name, len(found), more, tt.more)
		}
		if more {
			continue
		}
		got := map[string]bool{}
		for _, pub := range found {
			k, err := signers.NewKey(pub)
			if err != nil {
				t.Fatal(err)
			}
			if got[names[k.Fingerprint]] {
				t.Errorf("%s: %s is there twice", tt.name, names[k.Fingerprint])
			}
			got[names[k.Fingerprint]] = true
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		for fingerprint, name := range names {
			if there := keys.ByFingerprint(fingerprint) != nil; there != tt.want[name] {
				t.Errorf("%s: %s is found by its fingerprint: %v", tt.name, name, there)
			}
		}
	}
}
