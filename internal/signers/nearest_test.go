package signers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/signet-policy/signet/internal/facts"
)

func TestNearest(t *testing.T) {
	k, other := newKey(t), newKey(t)
	expired := keyless("expired", google, "old@example.com")
	expired.ExpiresAt = &noon
	future := keyless("future", google, "new@example.com")
	future.NotBefore = ptr(noon.Add(time.Hour))
	disabled := keyless("disabled", google, "off@example.com")
	disabled.Enabled = false
	scoped := keyless("scoped", google, "dev@example.com")
	scoped.Images = []string{"ghcr.io/org/**"}
	tagged := keyless("tagged", google, "tags@example.com")
	tagged.Claims = map[string]string{"build_trigger": "push", "source_repository_ref": "refs/tags/v*"}
	rooted := keyless("rooted", google, "rooted@example.com")
	rooted.TrustRoots = []string{"public-good", "ours"}
	within := keyless("within", google, "within@example.com")
	within.SignedFrom, within.SignedUntil = &noon, ptr(noon.Add(time.Hour))
	limited := []Signer{tagged, rooted, within}
	until := Signer{Name: "until", Type: KMS, KMSKeyRef: "hashivault://k", Keys: []Key{k}, SignedUntil: &noon, Enabled: true}
	people := []Signer{expired, future, disabled, scoped, matching("org", github, "https://github.com/acme/.*")}
	pub := Signer{Name: "key", Type: PublicKey, Keys: []Key{k}, Enabled: true}
	tests := []struct {
		name    string
		signers []Signer
		sig     facts.Signature
		image   string
		want    Near
		why     string
	}{
		{"expired", people, certified(google, "old@example.com"), "", Near{Signer: "expired", Field: "expires_at", Want: "2026-06-01T12:00:00Z", Have: "2026-06-01T12:00:00Z"}, "expired at 2026-06-01"},
		{"not yet", people, certified(google, "new@example.com"), "", Near{Signer: "future", Field: "not_before", Want: "2026-06-01T13:00:00Z", Have: "2026-06-01T12:00:00Z"}, "only from 2026-06-01T13"},
		{"disabled", people, certified(google, "off@example.com"), "", Near{Signer: "disabled", Field: "enabled", Want: "true", Have: "false"}, "is disabled"},
		{"out of scope", people, certified(google, "dev@example.com"), "quay.io/org/app", Near{Signer: "scoped", Field: "images", Want: "ghcr.io/org/**", Have: "quay.io/org/app"}, "may sign other images only"},
		{"out of scope without a name", people, certified(google, "dev@example.com"), "", Near{Signer: "scoped", Field: "images", Want: "ghcr.io/org/**", Have: "no name"}, "may sign other images only"},
		{"another subject", people, certified(github, "https://github.com/acme-evil/app"), "", Near{Signer: "org", Field: "subject", Want: "https://github.com/acme/.*", Have: "https://github.com/acme-evil/app"}, "anchored at both ends"},
		{"the subject with most in common", people, certified(google, "de@example.com"), "", Near{Signer: "scoped", Field: "subject", Want: "dev@example.com", Have: "de@example.com"}, "the subject is another"},
		{"case of the subject", people, certified(google, "Dev@Example.com"), "", Near{Signer: "scoped", Field: "subject", Want: "dev@example.com", Have: "Dev@Example.com"}, "upper and lower case only"},
		{"slash of the issuer", people, certified(google+"/", "dev@example.com"), "", Near{Signer: "scoped", Field: "issuer", Want: google, Have: google + "/"}, "by a slash at the end only"},
		{"another issuer", people, certified("https://evil.example", "dev@example.com"), "", Near{Signer: "scoped", Field: "issuer", Want: google, Have: "https://evil.example"}, "vouched for by another issuer"},
		{"another issuer, pattern", people, certified("https://evil.example", "https://github.com/acme/app"), "", Near{Signer: "org", Field: "issuer", Want: github, Have: "https://evil.example"}, "vouched for by another issuer"},
		{"nothing in common", []Signer{scoped}, certified("https://evil.example", "evil"), "", Near{Signer: "scoped", Field: "issuer", Want: google, Have: "https://evil.example"}, "Neither issuer nor subject"},
		{"another key", append(people, pub), keyed(other), "", Near{Signer: "key", Field: "key", Want: k.Fingerprint, Have: other.Fingerprint}, "has another key, " + k.Fingerprint[:16]},
		{"a key where an identity is trusted", []Signer{scoped}, keyed(other), "", Near{Signer: "scoped", Field: "type", Want: "keyless", Have: "public_key"}, "is a keyless identity"},
		{"an identity where a key is trusted", []Signer{pub}, certified(google, "dev@example.com"), "", Near{Signer: "key", Field: "type", Want: "public_key", Have: "keyless"}, "is a public key"},
		{"a claim of another value", limited, withClaims(certified(google, "tags@example.com"), "build_trigger", "push", "source_repository_ref", "refs/heads/main"), "", Near{Signer: "tagged", Field: "claims.source_repository_ref", Want: "refs/tags/v*", Have: "refs/heads/main"}, "wants another source_repository_ref"},
		{"a claim that is not there", limited, withClaims(certified(google, "tags@example.com"), "source_repository_ref", "refs/tags/v1"), "", Near{Signer: "tagged", Field: "claims.build_trigger", Want: "push", Have: "none"}, "wants a build_trigger, and the certificate has none"},
		{"another trust root", limited, withRoot(certified(google, "rooted@example.com"), "theirs"), "", Near{Signer: "rooted", Field: "trust_roots", Want: "public-good, ours", Have: "theirs"}, "no other trust root may vouch for than public-good or ours"},
		{"signed too early", limited, signedAt(certified(google, "within@example.com"), noon.Add(-time.Hour)), "", Near{Signer: "within", Field: "signed_from", Want: "2026-06-01T12:00:00Z", Have: "2026-06-01T11:00:00Z"}, "made it at 2026-06-01T11:00:00Z, but its signatures count only from 2026-06-01T12"},
		{"signed too late", limited, signedAt(certified(google, "within@example.com"), noon.Add(2*time.Hour)), "", Near{Signer: "within", Field: "signed_until", Want: "2026-06-01T13:00:00Z", Have: "2026-06-01T14:00:00Z"}, "count only until 2026-06-01T13"},
		{"signed who knows when", limited, certified(google, "within@example.com"), "", Near{Signer: "within", Field: "signed_from", Want: "2026-06-01T12:00:00Z", Have: "no verified time"}, "no time of signing is verified"},
		{"signed with a key who knows when", []Signer{until}, keyed(k), "", Near{Signer: "until", Field: "signed_until", Want: "2026-06-01T12:00:00Z", Have: "no verified time"}, "no time of signing is verified"},
		{"an identity where a kms key is trusted", []Signer{until}, certified(google, "dev@example.com"), "", Near{Signer: "until", Field: "type", Want: "kms", Have: "keyless"}, "is a public key"},
		{"a key of a disabled signer", []Signer{{Name: "off", Type: PublicKey, Keys: []Key{k}}}, keyed(k), "", Near{Signer: "off", Field: "enabled", Want: "true", Have: "false"}, "is disabled"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.Fact, tt.want.Principal = tt.sig.ID, tt.sig.Principal
			got, ok := mustCompile(t, tt.signers...).Nearest([]facts.Signature{tt.sig}, tt.image, noon)
			if !ok {
				t.Fatal("nothing is near")
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(Near{}, "Why")); diff != "" {
				t.Errorf("Nearest (-want +got):\n%s", diff)
			}
			if !strings.Contains(got.Why, tt.why) || strings.Contains(got.Why, "%!") {
				t.Errorf("why %q, want it to say %q", got.Why, tt.why)
			}
		})
	}
}

func TestNearestChoosesTheNearest(t *testing.T) {
	expired := keyless("expired", google, "old@example.com")
	expired.ExpiresAt = &noon
	set := mustCompile(t, expired, matching("org", github, "https://github.com/acme/.*"), keyless("ok", google, "ok@example.com"))
	sigs := []facts.Signature{
		certified("https://evil.example", "evil"),
		certified(google, "ok@example.com"), // trusted: never "near"
		certified(github, "https://github.com/other/app"),
		certified(google, "old@example.com"),
	}
	got, ok := set.Nearest(sigs, "", noon)
	if !ok || got.Signer != "expired" || got.Fact != sigs[3].ID {
		t.Errorf("nearest is %+v, want the expired signer's", got)
	}
	if _, ok := set.Nearest(sigs[1:2], "", noon); ok {
		t.Error("a trusted signature is reported as near")
	}
	if _, ok := set.Nearest([]facts.Signature{{ID: "x"}}, "", noon); ok {
		t.Error("a signature of no kind is near to something")
	}
}

// The claim of the signer that meets most of them is named.
func TestNearestOfSeveralClaims(t *testing.T) {
	far, near := keyless("far", google, "dev@example.com"), keyless("near", google, "dev@example.com")
	far.Claims = map[string]string{"build_trigger": "schedule", "source_repository_ref": "refs/heads/main"}
	near.Claims = map[string]string{"build_trigger": "push", "source_repository_ref": "refs/heads/main"}
	sig := withClaims(certified(google, "dev@example.com"), "build_trigger", "push", "source_repository_ref", "refs/heads/dev")
	got, ok := mustCompile(t, far, near).Nearest([]facts.Signature{sig}, "", noon)
	if !ok || got.Signer != "near" || got.Field != "claims.source_repository_ref" {
		t.Errorf("nearest is %+v, want the one that meets a claim", got)
	}
}

// What a stranger's subject has most in common with is found without looking at
// everybody.
func TestNearestAmongMany(t *testing.T) {
	var list []Signer
	for i := range 3000 {
		list = append(list, keyless(fmt.Sprint("s", i), google, fmt.Sprintf("u%04d@example.com", i)),
			matching(fmt.Sprint("org", i), github, fmt.Sprintf("https://github.com/org%04d/.*", i)))
	}
	set := mustCompile(t, list...)
	for _, tt := range []struct{ issuer, subject, want, field string }{
		{google, "u1234@example.org", "s1234", "subject"},
		{google, "U1234@Example.com", "s1234", "subject"},
		{google + "/", "u1234@example.com", "s1234", "issuer"},
		{github, "https://github.com/org2999", "org2999", "subject"},
		{"https://evil.example", "https://github.com/org0000/app", "org0", "issuer"},
	} {
		near, ok := set.Nearest([]facts.Signature{certified(tt.issuer, tt.subject)}, "", noon)
		if !ok || near.Signer != tt.want || near.Field != tt.field {
			t.Errorf("%s %s: nearest is %+v, want %s by its %s", tt.issuer, tt.subject, near, tt.want, tt.field)
		}
	}
}

// An explanation must stay cheap, however many signers and strangers' signatures
// there are: the search for the nearest stops after maxCompared.
func TestNearestIsBounded(t *testing.T) {
	var list []Signer
	for i := range 500 { // one identity in many entries, none of them for this image
		s := keyless(fmt.Sprint("s", i), google, "dev@example.com")
		s.Images = []string{fmt.Sprintf("ghcr.io/org%d/**", i)}
		list = append(list, s)
	}
	expired := keyless("expired", google, "old@example.com")
	expired.ExpiresAt = &noon
	set := mustCompile(t, append(list, expired)...)
	var sigs []facts.Signature
	for range 10 {
		sigs = append(sigs, certified(google, "dev@example.com"))
	}
	nearer := certified(google, "old@example.com")
	near, ok := set.Nearest(append(sigs, nearer), "quay.io/a/b", noon)
	if !ok || near.Fact == nearer.ID {
		t.Errorf("nearest is %+v: 5,000 comparisons were made for an explanation", near)
	}
	if near, ok := set.Nearest(append(sigs[:1], nearer), "quay.io/a/b", noon); !ok || near.Fact != nearer.ID {
		t.Errorf("nearest is %+v, want the one within the bound", near)
	}
}
