package signers

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/signet-policy/signet/internal/facts"
)

func certified(issuer, subject string) facts.Signature {
	return facts.Signature{
		ID: "sha256:" + subject, Principal: issuer + " " + subject,
		Signer: facts.Signer{Kind: facts.KindCertificate, Issuer: issuer, Subject: subject, Fingerprint: "00"},
	}
}

func keyed(k Key) facts.Signature {
	return facts.Signature{
		ID: "sha256:" + k.Fingerprint, Principal: k.Fingerprint,
		Signer: facts.Signer{Kind: facts.KindKey, Fingerprint: k.Fingerprint, Algorithm: k.Algorithm},
	}
}

func withClaims(sig facts.Signature, pairs ...string) facts.Signature {
	sig.Signer.Claims = map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		sig.Signer.Claims[pairs[i]] = pairs[i+1]
	}
	return sig
}

func withRoot(sig facts.Signature, root string) facts.Signature {
	sig.TrustRoot = root
	return sig
}

func signedAt(sig facts.Signature, t time.Time) facts.Signature {
	sig.SignedAt = &t
	return sig
}

func mustCompile(t testing.TB, list ...Signer) *Set {
	t.Helper()
	s, err := Compile(list)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var noon = at("2026-06-01T12:00:00Z")

func TestMatch(t *testing.T) {
	k1, k2, k3, k4 := newKey(t), newKey(t), newKey(t), newKey(t)
	tagged := keyless("tagged", google, "claims@example.com")
	tagged.Claims = map[string]string{"source_repository_ref": "refs/tags/v*", "build_trigger": "push"}
	claimed := certified(google, "claims@example.com")
	rooted := keyless("rooted", google, "rooted@example.com")
	rooted.TrustRoots = []string{"a", "b"}
	from := keyless("from", google, "from@example.com")
	from.SignedFrom = &noon
	scoped := keyless("scoped", google, "dev@example.com")
	scoped.Images = []string{"ghcr.io/org/**"}
	disabled := keyless("disabled", google, "off@example.com")
	disabled.Enabled = false
	future := keyless("future", google, "new@example.com")
	future.NotBefore = ptr(noon.Add(time.Second))
	present := keyless("present", google, "now@example.com")
	present.NotBefore, present.ExpiresAt = ptr(noon), ptr(noon.Add(time.Second))
	past := keyless("past", google, "old@example.com")
	past.ExpiresAt = ptr(noon)
	set := mustCompile(t,
		scoped, disabled, future, present, past, tagged, rooted, from,
		Signer{Name: "kms", Type: KMS, KMSKeyRef: "hashivault://k", Keys: []Key{k3}, Enabled: true},
		Signer{Name: "until", Type: PublicKey, Keys: []Key{k4}, SignedUntil: &noon, Enabled: true},
		keyless("exact", github, "https://github.com/acme/app"),
		matching("org", github, "https://github.com/acme/.*"),
		matching("apps", github, ".*/app"),
		matching("other", github, "https://github.com/other/.*"),
		Signer{Name: "keys", Type: PublicKey, Keys: []Key{k1, k2}, Enabled: true},
		Signer{Name: "key-again", Type: PublicKey, Keys: []Key{k1}, Enabled: true},
	)
	tests := []struct {
		name  string
		sig   facts.Signature
		image string
		want  []string
	}{
		{"exact and both patterns", certified(github, "https://github.com/acme/app"), "", []string{"apps", "exact", "org"}},
		{"pattern with a prefix", certified(github, "https://github.com/acme/web"), "", []string{"org"}},
		{"subject shorter than the prefix", certified(github, "https://g"), "", nil},
		{"threat 20: another issuer, same subject", certified("https://evil.example", "https://github.com/acme/app"), "", nil},
		{"issuer in other letters", certified(strings.ToUpper(github), "https://github.com/acme/app"), "", nil},
		{"issuer with a slash", certified(github+"/", "https://github.com/acme/app"), "", nil},
		{"subject in other letters", certified(google, "Now@example.com"), "", nil},
		{"image in scope", certified(google, "dev@example.com"), "ghcr.io/org/app", []string{"scoped"}},
		{"image out of scope", certified(google, "dev@example.com"), "ghcr.io/org-evil/app", nil},
		{"no name is out of every scope", certified(google, "dev@example.com"), "", nil},
		{"disabled", certified(google, "off@example.com"), "", nil},
		{"not yet", certified(google, "new@example.com"), "", nil},
		{"from this moment on", certified(google, "now@example.com"), "", []string{"present"}},
		{"threat 25: until this moment, exclusive", certified(google, "old@example.com"), "", nil},
		{"key", keyed(k2), "", []string{"keys"}},
		{"key in two entries", keyed(k1), "", []string{"key-again", "keys"}},
		{"unknown key", keyed(newKey(t)), "", nil},
		{"a certificate with a trusted key is an identity, not a key", facts.Signature{Signer: facts.Signer{Kind: facts.KindCertificate, Issuer: google, Subject: "x", Fingerprint: k1.Fingerprint}}, "", nil},
		{"a key that names an identity is a key", facts.Signature{Signer: facts.Signer{Kind: facts.KindKey, Issuer: github, Subject: "https://github.com/acme/app", Fingerprint: "00"}}, "", nil},
		{"kms key", keyed(k3), "", []string{"kms"}},
		{"claims", withClaims(claimed, "source_repository_ref", "refs/tags/v1.2", "build_trigger", "push"), "", []string{"tagged"}},
		{"claims: another value", withClaims(claimed, "source_repository_ref", "refs/heads/main", "build_trigger", "push"), "", nil},
		{"claims: one is missing", withClaims(claimed, "source_repository_ref", "refs/tags/v1.2"), "", nil},
		{"claims: none", claimed, "", nil},
		{"the trust root", withRoot(certified(google, "rooted@example.com"), "b"), "", []string{"rooted"}},
		{"another trust root", withRoot(certified(google, "rooted@example.com"), "c"), "", nil},
		{"signed before signed_from", signedAt(certified(google, "from@example.com"), noon.Add(-time.Nanosecond)), "", nil},
		{"signed at signed_from", signedAt(certified(google, "from@example.com"), noon), "", []string{"from"}},
		{"signed after signed_from, without a verified time", certified(google, "from@example.com"), "", nil},
		{"signed at signed_until", signedAt(keyed(k4), noon), "", []string{"until"}},
		{"signed after signed_until", signedAt(keyed(k4), noon.Add(time.Nanosecond)), "", nil},
		{"signed before signed_until, without a verified time", keyed(k4), "", nil},
		{"no kind", facts.Signature{Signer: facts.Signer{Issuer: github, Subject: "https://github.com/acme/app", Fingerprint: k1.Fingerprint}}, "", nil},
		{"empty identity", certified("", ""), "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, set.Match(tt.sig, tt.image, noon)); diff != "" {
				t.Errorf("Match (-want +got):\n%s", diff)
			}
		})
	}
}

func TestZeroSetTrustsNobody(t *testing.T) {
	var s Set
	if got := s.Match(certified(google, "dev@example.com"), "", noon); len(got) > 0 {
		t.Errorf("matches %v", got)
	}
	if s.InForce("", noon) || s.Len() != 0 || s.NextBoundary(noon) != nil {
		t.Error("the zero set holds something")
	}
	if keys, more := s.KeysInScope("", noon, 1); len(keys) > 0 || more {
		t.Errorf("has keys %v", keys)
	}
	if _, ok := s.KeyByFingerprint("00", "", noon); ok {
		t.Error("has a key")
	}
	for _, sig := range []facts.Signature{certified(google, "dev@example.com"), keyed(newKey(t))} {
		if _, ok := s.Nearest([]facts.Signature{sig}, "", noon); ok {
			t.Error("something is near to nothing")
		}
	}
}

func TestCompileReportsEverySigner(t *testing.T) {
	_, err := Compile([]Signer{
		keyless("a", "", "dev@example.com"),
		keyless("b", google, "b@example.com"),
		keyless("b", google, "c@example.com"),
		{Name: "c", Type: KMS, KMSKeyRef: "hashivault://k"},
	})
	for _, want := range []string{`signer "a": invalid signer: issuer:`, `signer "b": invalid signer: name: is taken`, `signer "c": invalid signer: kms_key_ref: has not been resolved`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Compile = %v, want it to say %q", err, want)
		}
	}
}

func TestCompileLimitsBarePatterns(t *testing.T) {
	list := make([]Signer, 0, MaxBarePatterns+1)
	for i := range MaxBarePatterns {
		list = append(list, matching(fmt.Sprint("s", i), google, fmt.Sprintf(".*@a%d.example.com", i)))
	}
	if _, err := Compile(list); err != nil {
		t.Fatalf("%d patterns: %v", len(list), err)
	}
	if _, err := Compile(append(slices.Clone(list), matching("elsewhere", github, ".*"))); err != nil {
		t.Errorf("one more, of another issuer: %v", err)
	}
	_, err := Compile(append(list, matching("last", google, ".*@b.example.com")))
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "101 patterns") {
		t.Errorf("one more: %v, want ErrInvalid", err)
	}
}

func TestKeys(t *testing.T) {
	k1, k2, k3 := newKey(t), newKey(t), newKey(t)
	scoped := Signer{Name: "scoped", Type: PublicKey, Keys: []Key{k2}, Images: []string{"ghcr.io/org/**", "ghcr.io/org/*"}, Enabled: true}
	expired := Signer{Name: "expired", Type: PublicKey, Keys: []Key{k3}, ExpiresAt: &noon, Enabled: true}
	future := Signer{Name: "future", Type: PublicKey, Keys: []Key{k3}, NotBefore: ptr(noon.Add(time.Hour)), Enabled: true}
	set := mustCompile(t, scoped, expired, future,
		Signer{Name: "a", Type: PublicKey, Keys: []Key{k1}, Enabled: true},
		Signer{Name: "b", Type: KMS, KMSKeyRef: "hashivault://b", Keys: []Key{k1}, Enabled: true},
		Signer{Name: "off", Type: PublicKey, Keys: []Key{k3}},
	)
	fingerprints := func(keys []Key) []string {
		var out []string
		for _, k := range keys {
			out = append(out, k.Fingerprint)
		}
		return out
	}
	both := []string{k1.Fingerprint, k2.Fingerprint}
	slices.Sort(both)
	all := []string{k1.Fingerprint, k2.Fingerprint, k3.Fingerprint}
	slices.Sort(all)
	for _, tt := range []struct {
		name, image string
		at          time.Time
		want        []string
	}{
		{"no name", "", noon, []string{k1.Fingerprint}},
		{"in scope", "ghcr.io/org/app", noon, both},
		{"before one expired", "ghcr.io/org/app", noon.Add(-time.Second), all},
		{"when another begins", "ghcr.io/org/app", noon.Add(time.Hour), all},
		{"out of scope", "ghcr.io/org-evil/app", noon, []string{k1.Fingerprint}},
	} {
		keys, more := set.KeysInScope(tt.image, tt.at, 3)
		if diff := cmp.Diff(tt.want, fingerprints(keys)); diff != "" || more {
			t.Errorf("%s: more %v (-want +got):\n%s", tt.name, more, diff)
		}
		for _, k := range []Key{k1, k2, k3} {
			got, ok := set.KeyByFingerprint(k.Fingerprint, tt.image, tt.at)
			if want := slices.Contains(tt.want, k.Fingerprint); ok != want || ok && got.Fingerprint != k.Fingerprint {
				t.Errorf("%s: key by fingerprint %s, %v; want it %v", tt.name, got.Fingerprint, ok, want)
			}
		}
	}
	if keys, more := set.KeysInScope("ghcr.io/org/app", noon, 1); len(keys) != 1 || !more {
		t.Errorf("of two keys, one at most: %d, more %v", len(keys), more)
	}
	if keys, more := set.KeysInScope("ghcr.io/org/app", noon, 2); len(keys) != 2 || more {
		t.Errorf("of two keys, two at most: %d, more %v", len(keys), more)
	}
}

// Whoever is in force, and whose keys, is what asking every signer in turn gives.
func TestScopesAgreeWithScan(t *testing.T) {
	var pool []Key
	for range 4 {
		pool = append(pool, newKey(t))
	}
	rapid.Check(t, func(t *rapid.T) {
		when := func(label string) *time.Time {
			if n := rapid.IntRange(-1, 4).Draw(t, label); n >= 0 {
				return ptr(noon.Add(time.Duration(n) * time.Hour))
			}
			return nil
		}
		patterns := []string{"ghcr.io/org/**", "ghcr.io/org/app", "ghcr.io/org/a*", "*/org/app", "**", "quay.io/**"}
		var list []Signer
		for i := range rapid.IntRange(0, 8).Draw(t, "signers") {
			s := Signer{
				Name: fmt.Sprint("s", i), Type: PublicKey, Keys: []Key{rapid.SampledFrom(pool).Draw(t, "key")}, Enabled: rapid.IntRange(0, 4).Draw(t, "enabled") > 0,
				NotBefore: when("not before"), ExpiresAt: when("expires"), Images: rapid.SliceOfN(rapid.SampledFrom(patterns), 0, 2).Draw(t, "images"),
			}
			if s.Validate() == nil {
				list = append(list, s)
			}
		}
		set, err := Compile(list)
		if err != nil {
			t.Fatal(err)
		}
		name := rapid.SampledFrom([]string{"ghcr.io/org/app", "GHCR.io/org/web", "quay.io/org/app", "docker.io/nginx", ""}).Draw(t, "name")
		at := noon.Add(time.Duration(rapid.IntRange(-1, 9).Draw(t, "at")) * 30 * time.Minute)
		var want []string
		for _, e := range set.entries {
			if e.trusts(name, at) {
				want = append(want, e.Keys[0].Fingerprint)
			}
		}
		slices.Sort(want)
		want = slices.Compact(want)
		if got := set.InForce(name, at); got != (len(want) > 0) {
			t.Fatalf("in force: %v, want %d keys of it", got, len(want))
		}
		keys, more := set.KeysInScope(name, at, len(pool))
		var got []string
		for _, k := range keys {
			got = append(got, k.Fingerprint)
		}
		if diff := cmp.Diff(want, got); diff != "" || more {
			t.Fatalf("more %v (-scan +index):\n%s", more, diff)
		}
		if _, more := set.KeysInScope(name, at, max(0, len(want)-1)); more != (len(want) > 0) {
			t.Fatalf("one less than there are: more is %v", more)
		}
	})
}

func TestBoundaries(t *testing.T) {
	a, b, off := keyless("a", google, "a"), keyless("b", google, "b"), keyless("off", google, "off")
	a.NotBefore, a.ExpiresAt = ptr(noon), ptr(noon.Add(2*time.Hour))
	b.ExpiresAt = ptr(noon.Add(time.Hour))
	off.Enabled, off.ExpiresAt = false, ptr(noon.Add(time.Minute))
	same := keyless("same", google, "same")
	same.ExpiresAt = ptr(noon)
	set := mustCompile(t, a, b, off, same)
	for _, tt := range []struct {
		at   time.Time
		want *time.Time
	}{
		{noon.Add(-time.Hour), ptr(noon)},
		{noon, ptr(noon.Add(time.Hour))},
		{noon.Add(time.Minute), ptr(noon.Add(time.Hour))},
		{noon.Add(time.Hour), ptr(noon.Add(2 * time.Hour))},
		{noon.Add(2 * time.Hour), nil},
		{noon.Add(3 * time.Hour), nil},
	} {
		if diff := cmp.Diff(tt.want, set.NextBoundary(tt.at)); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", tt.at, diff)
		}
	}
	if !set.InForce("", noon) {
		t.Error("nobody is in force at noon")
	}
	if set.InForce("", noon.Add(2*time.Hour)) {
		t.Error("somebody is in force after all expired")
	}
}

func TestDigest(t *testing.T) {
	k := newKey(t)
	base := func() []Signer {
		a := keyless("a", google, "a@example.com")
		a.Images = []string{"ghcr.io/org/**", "quay.io/org/**"}
		return []Signer{a, {Name: "k", Type: PublicKey, Keys: []Key{k}, Enabled: true}}
	}
	want := mustCompile(t, base()...).Digest()
	if !strings.HasPrefix(want, "sha256:") {
		t.Fatalf("digest %q", want)
	}
	same := map[string]func(l []Signer) []Signer{
		"order":              func(l []Signer) []Signer { slices.Reverse(l); return l },
		"order of images":    func(l []Signer) []Signer { slices.Reverse(l[0].Images); return l },
		"spelling of a host": func(l []Signer) []Signer { l[0].Images[0] = "GHCR.io:443/org/**"; return l },
		"owner and note":     func(l []Signer) []Signer { l[0].Owner, l[0].Note = "team", "why"; return l },
	}
	for name, change := range same {
		if got := mustCompile(t, change(base())...).Digest(); got != want {
			t.Errorf("%s changes the digest", name)
		}
	}
	other := map[string]func(l []Signer){
		"name":          func(l []Signer) { l[0].Name = "b" },
		"issuer":        func(l []Signer) { l[0].Issuer = github },
		"subject":       func(l []Signer) { l[0].Subject = "b@example.com" },
		"subject_regex": func(l []Signer) { l[0].Subject, l[0].SubjectRegex = "", "a@example.com" },
		"images":        func(l []Signer) { l[0].Images = nil },
		"enabled":       func(l []Signer) { l[0].Enabled = false },
		"not_before":    func(l []Signer) { l[0].NotBefore = &noon },
		"expires_at":    func(l []Signer) { l[0].ExpiresAt = &noon },
		"key":           func(l []Signer) { l[1].Keys = []Key{newKey(t)} },
		"claim":         func(l []Signer) { l[0].Claims = map[string]string{"build_trigger": "push"} },
		"trust root":    func(l []Signer) { l[0].TrustRoots = []string{"github"} },
		"signed_from":   func(l []Signer) { l[1].SignedFrom = &noon },
		"signed_until":  func(l []Signer) { l[1].SignedUntil = &noon },
		"type":          func(l []Signer) { l[1].Type, l[1].KMSKeyRef = KMS, "hashivault://k" },
	}
	for name, change := range other {
		l := base()
		change(l)
		if mustCompile(t, l...).Digest() == want {
			t.Errorf("another %s has the same digest", name)
		}
	}
}

// The index must find what trying every signer in turn finds.
func TestIndexAgreesWithScan(t *testing.T) {
	var list []Signer
	for i := range 60 {
		list = append(list,
			keyless(fmt.Sprint("exact", i), google, fmt.Sprintf("u%d@example.com", i)),
			matching(fmt.Sprint("org", i), github, fmt.Sprintf("https://github.com/org%d/.*", i)),
			matching(fmt.Sprint("bare", i), github, fmt.Sprintf(".*/app%d", i)))
	}
	set := mustCompile(t, list...)
	matched := 0
	for i := range 70 {
		for _, sig := range []facts.Signature{
			certified(google, fmt.Sprintf("u%d@example.com", i)),
			certified(github, fmt.Sprintf("https://github.com/org%d/app%d", i, i+1)),
		} {
			var want []string
			for _, e := range set.entries {
				if e.Issuer == sig.Signer.Issuer && (e.Subject == sig.Signer.Subject || e.pattern != nil && e.pattern.match(sig.Signer.Subject)) {
					want = append(want, e.Name)
				}
			}
			slices.Sort(want)
			matched += len(want)
			if diff := cmp.Diff(want, set.Match(sig, "", noon)); diff != "" {
				t.Errorf("%s (-scan +index):\n%s", sig.Principal, diff)
			}
		}
	}
	if matched == 0 {
		t.Error("nothing matched, so nothing was compared")
	}
}
