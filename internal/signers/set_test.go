package signers

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
	k1, k2 := newKey(t), newKey(t)
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
		scoped, disabled, future, present, past,
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
	if s.InForce("", noon) || s.Len() != 0 || len(s.Keys("", noon)) != 0 || s.NextBoundary(noon) != nil {
		t.Error("the zero set holds something")
	}
	if _, ok := s.Nearest([]facts.Signature{certified(google, "dev@example.com")}, "", noon); ok {
		t.Error("something is near to nothing")
	}
}

func TestCompileReportsEverySigner(t *testing.T) {
	_, err := Compile([]Signer{
		keyless("a", "", "dev@example.com"),
		keyless("b", google, "b@example.com"),
		keyless("b", google, "c@example.com"),
		{Name: "c", Type: KMS},
	})
	for _, want := range []string{`signer "a": invalid signer: issuer:`, `signer "b": invalid signer: name: is taken`, `signer "c": not supported`} {
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
	scoped := Signer{Name: "scoped", Type: PublicKey, Keys: []Key{k2}, Images: []string{"ghcr.io/org/**"}, Enabled: true}
	expired := Signer{Name: "expired", Type: PublicKey, Keys: []Key{k3}, ExpiresAt: &noon, Enabled: true}
	set := mustCompile(t, scoped, expired,
		Signer{Name: "a", Type: PublicKey, Keys: []Key{k1}, Enabled: true},
		Signer{Name: "b", Type: PublicKey, Keys: []Key{k1}, Enabled: true},
		Signer{Name: "off", Type: PublicKey, Keys: []Key{k3}},
	)
	fingerprints := func(name string) []string {
		var out []string
		for _, pub := range set.Keys(name, noon) {
			k, err := NewKey(pub)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, k.Fingerprint)
		}
		return out
	}
	if diff := cmp.Diff([]string{k1.Fingerprint}, fingerprints("")); diff != "" {
		t.Errorf("no name (-want +got):\n%s", diff)
	}
	want := []string{k1.Fingerprint, k2.Fingerprint}
	slices.Sort(want)
	if diff := cmp.Diff(want, fingerprints("ghcr.io/org/app")); diff != "" {
		t.Errorf("in scope (-want +got):\n%s", diff)
	}
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

func BenchmarkMatchAmong10000(b *testing.B) {
	var list []Signer
	for i := range 5000 {
		list = append(list,
			keyless(fmt.Sprint("exact", i), google, fmt.Sprintf("u%d@example.com", i)),
			matching(fmt.Sprint("org", i), github, fmt.Sprintf("https://github.com/org%d/.*", i)))
	}
	set := mustCompile(b, list...)
	sig := certified(github, "https://github.com/org4711/app/.github/workflows/release.yml@refs/heads/main")
	b.ReportAllocs()
	for b.Loop() {
		if len(set.Match(sig, "ghcr.io/org/app", noon)) != 1 {
			b.Fatal("no match")
		}
	}
}
