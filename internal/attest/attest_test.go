package attest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/verdict"
)

const (
	id    = "https://signet.example.test/prod"
	hex64 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
)

func policy(name string, m verdict.Mode, d verdict.Decision) verdict.PolicyVerdict {
	return verdict.PolicyVerdict{
		Name: name, Digest: "sha256:rules", ParamsDigest: "sha256:params", SignersDigest: "sha256:signers", Mode: m, Decision: d,
		SatisfiedBy: []verdict.Satisfied{{Requirement: "signature", Facts: []string{"sha256:" + hex64, "sha256:" + hex64, "not a digest"}}},
	}
}

func verdictOf(d verdict.Decision, allowed bool, policies ...verdict.PolicyVerdict) *verdict.Verdict {
	return &verdict.Verdict{
		ID: "01JZ0000000000000000000000", Decision: d, Allowed: allowed, Image: "r.test/app:v1", Digest: "sha256:" + hex64, Pinned: "r.test/app@sha256:" + hex64,
		Build: "b", Policies: policies, EvaluatedAt: time.Date(2026, 6, 1, 12, 0, 0, 1000, time.UTC),
	}
}

// What is said of which verdict (threat 29: a soft failure is never a pass).
func TestSummarize(t *testing.T) {
	t.Parallel()
	enforced := policy("default", verdict.Enforce, verdict.Allow)
	with := func(v *verdict.Verdict, change func(*verdict.Verdict)) *verdict.Verdict { change(v); return v }
	for _, tt := range []struct {
		name   string
		v      *verdict.Verdict
		result string // or the code of why there is none
		levels []string
	}{
		{"an allow", verdictOf(verdict.Allow, true, enforced), "PASSED", []string{"SLSA_BUILD_LEVEL_0"}},
		{"an allow at a level", with(verdictOf(verdict.Allow, true, enforced), func(v *verdict.Verdict) { v.SLSA.Level = 3 }), "PASSED", []string{"SLSA_BUILD_LEVEL_3"}},
		{"a level that there is not", with(verdictOf(verdict.Allow, true, enforced), func(v *verdict.Verdict) { v.SLSA.Level = 7 }), "PASSED", []string{"SLSA_BUILD_LEVEL_3"}},
		{"beside an audit that denies", verdictOf(verdict.Allow, true, enforced, policy("more", verdict.Audit, verdict.Deny)), "PASSED", []string{"SLSA_BUILD_LEVEL_0"}},
		{"a denial", verdictOf(verdict.Deny, false, policy("default", verdict.Enforce, verdict.Deny)), "FAILED", []string{"FAILED"}},
		{"a denial that audit mode lets pass", verdictOf(verdict.Deny, true, policy("default", verdict.Audit, verdict.Deny)), "FAILED", []string{"FAILED"}},
		{"audit mode alone", verdictOf(verdict.Allow, true, policy("default", verdict.Audit, verdict.Allow)), CodeNotEnforced, nil},
		{"disabled policies alone", verdictOf(verdict.Allow, true, policy("default", verdict.Disabled, verdict.Unknown)), CodeNotEnforced, nil},
		{"no policy", verdictOf(verdict.Deny, false), CodeNotEnforced, nil},
		{"an exception", with(verdictOf(verdict.Allow, true, enforced), func(v *verdict.Verdict) { v.Exceptions = []verdict.Exception{{Name: "default/exceptions/1"}} }), CodeExcepted, nil},
		{"unknown", verdictOf(verdict.Unknown, false, policy("default", verdict.Enforce, verdict.Unknown)), CodeUnknown, nil},
		{"unknown that audit mode lets pass", verdictOf(verdict.Unknown, true, policy("default", verdict.Audit, verdict.Unknown)), CodeUnknown, nil},
		{"the last known state", with(verdictOf(verdict.Allow, true, enforced), func(v *verdict.Verdict) {
			v.Warnings = []verdict.Reason{{Code: "last_known_state", Rule: "engine"}}
		}), CodeGrace, nil},
		{"a denial under the last known state", with(verdictOf(verdict.Deny, false, enforced), func(v *verdict.Verdict) {
			v.Warnings = []verdict.Reason{{Code: "last_known_state", Rule: "engine"}}
		}), CodeGrace, nil},
		{"a contradiction", verdictOf(verdict.Allow, false, enforced), CodeIncomplete, nil},
		{"no decision", verdictOf("", true, enforced), CodeUnknown, nil},
		{"no digest", with(verdictOf(verdict.Deny, false, enforced), func(v *verdict.Verdict) { v.Digest, v.Pinned = "", "" }), CodeIncomplete, nil},
		{"a digest of another kind", with(verdictOf(verdict.Allow, true, enforced), func(v *verdict.Verdict) { v.Pinned = "sha512:" + hex64 + hex64 }), CodeIncomplete, nil},
		{"of an earlier version", with(verdictOf(verdict.Allow, true, enforced), func(v *verdict.Verdict) { v.Policies[0].SignersDigest = "" }), CodeIncomplete, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, why := Summarize(tt.v, id)
			got := ""
			switch {
			case s != nil && why == nil:
				got = s.Result
				if diff := cmp.Diff(tt.levels, s.VerifiedLevels); diff != "" {
					t.Error(diff)
				}
			case s == nil && why != nil:
				got = why.Code
			}
			if got != tt.result {
				t.Errorf("%q (%+v, %+v), want %q", got, s, why, tt.result)
			}
		})
	}
}

// A policy is named by all that decides: its name, rules, parameters and signers.
func TestPolicyDigest(t *testing.T) {
	t.Parallel()
	digest := func(change func(*verdict.PolicyVerdict)) string {
		p := policy("default", verdict.Enforce, verdict.Allow)
		change(&p)
		s, why := Summarize(verdictOf(verdict.Allow, true, p), id)
		if why != nil {
			t.Fatal(why)
		}
		return s.Policy.Digest
	}
	seen := map[string]string{}
	for name, change := range map[string]func(*verdict.PolicyVerdict){
		"as it was": func(*verdict.PolicyVerdict) {}, "name": func(p *verdict.PolicyVerdict) { p.Name = "x" }, "rules": func(p *verdict.PolicyVerdict) { p.Digest = "x" },
		"parameters": func(p *verdict.PolicyVerdict) { p.ParamsDigest = "x" }, "signers": func(p *verdict.PolicyVerdict) { p.SignersDigest = "x" },
	} {
		d := digest(change)
		if other, twice := seen[d]; twice {
			t.Errorf("another %s gives the digest of %s", name, other)
		}
		seen[d] = name
	}
	if digest(func(p *verdict.PolicyVerdict) { p.Revision = "x" }) != digest(func(*verdict.PolicyVerdict) {}) {
		t.Error("what a release is called changed the digest")
	}
}

func TestStatement(t *testing.T) {
	t.Parallel()
	s, _ := Summarize(verdictOf(verdict.Allow, true, policy("b", verdict.Enforce, verdict.Allow), policy("a", verdict.Enforce, verdict.Allow)), id+"/")
	got, err := s.Statement()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"_type":"https://in-toto.io/Statement/v1","predicate":{"inputAttestations":[{"digest":{"sha256":"` + hex64 + `"}}],` +
		`"policy":{"digest":{"sha256":"` + strings.TrimPrefix(s.Policy.Digest, "sha256:") + `"},"uri":"` + id + `/policies/a+b"},` +
		`"resourceUri":"r.test/app@sha256:` + hex64 + `","slsaVersion":"1.1","timeVerified":"2026-06-01T12:00:00.000001Z","verificationResult":"PASSED",` +
		`"verifiedLevels":["SLSA_BUILD_LEVEL_0"],"verifier":{"id":"` + id + `/","version":{"signet":"b"}}},` +
		`"predicateType":"https://slsa.dev/verification_summary/v1","subject":[{"digest":{"sha256":"` + hex64 + `"},"name":"r.test/app"}]}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAttester(t *testing.T, cfg Config) *Attester {
	t.Helper()
	if cfg.VerifierID == "" {
		cfg.VerifierID = id
	}
	if cfg.Key == nil {
		cfg.Key = newKey(t)
	}
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The same verdict is attested in the same bytes, and the signature is DSSE's.
func TestAttest(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	a := newAttester(t, Config{Key: key})
	v := verdictOf(verdict.Allow, true, policy("default", verdict.Enforce, verdict.Allow))
	first, again := a.Attest(t.Context(), v), a.Attest(t.Context(), v)
	if len(first.Bundle) == 0 || !bytes.Equal(first.Bundle, again.Bundle) {
		t.Errorf("%s\n%s", first.Bundle, again.Bundle)
	}
	raw, err := FromBundle(first.Bundle)
	if err != nil {
		t.Fatal(err)
	}
	var e Envelope
	if err := json.Unmarshal(raw, &e); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(pae(e.PayloadType, e.Payload))
	if !ecdsa.VerifyASN1(&key.PublicKey, sum[:], e.Signatures[0].Sig) {
		t.Error("the signature does not verify")
	}
	if got := string(pae("t", []byte("body"))); got != "DSSEv1 1 t 4 body" {
		t.Errorf("PAE %q", got)
	}
	if _, err := FromBundle([]byte(`{}`)); err == nil {
		t.Error("an envelope was taken out of nothing")
	}
}

// remote signs otherwise each time, as a KMS does, or fails, or never answers.
type remote struct {
	*ecdsa.PrivateKey
	mu    sync.Mutex
	calls int
	err   error
	wait  chan struct{}
}

func (r *remote) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	r.mu.Lock()
	r.calls++
	r.mu.Unlock()
	if r.wait != nil {
		<-r.wait
	}
	if r.err != nil {
		return nil, r.err
	}
	return r.PrivateKey.Sign(rand.Reader, digest, opts)
}

type memory map[string][]byte

func (m memory) Get(_ context.Context, purpose string, key [32]byte, _ time.Time) ([]byte, time.Time, string, bool) {
	v, ok := m[purpose+string(key[:])]
	return v, time.Time{}, "", ok
}

func (m memory) Put(_ context.Context, purpose string, key [32]byte, value []byte, _ time.Time) {
	m[purpose+string(key[:])] = value
}

// A key elsewhere is asked once for a verdict, and one that fails changes nothing
// but that there is no attestation.
func TestKeyElsewhere(t *testing.T) {
	t.Parallel()
	key := &remote{PrivateKey: newKey(t)}
	a := newAttester(t, Config{Key: key, Cache: memory{}})
	v := verdictOf(verdict.Allow, true, policy("default", verdict.Enforce, verdict.Allow))
	first, again := a.Attest(t.Context(), v), a.Attest(t.Context(), v)
	if key.calls != 1 || len(first.Bundle) == 0 || !bytes.Equal(first.Bundle, again.Bundle) {
		t.Errorf("%d calls; %s\n%s", key.calls, first.Bundle, again.Bundle)
	}
	key.err = errors.New("the vault is sealed: s3cret")
	v.EvaluatedAt = v.EvaluatedAt.Add(time.Second)
	failed := a.Attest(t.Context(), v)
	if failed.Result != verdict.AttestedNothing || failed.Reason == nil || failed.Reason.Code != CodeNotSigned || len(failed.Bundle) > 0 {
		t.Errorf("%+v", failed)
	}
	if strings.Contains(failed.Reason.Message, "s3cret") {
		t.Error("the caller was told what the service said")
	}
	key.err = nil
	if got := a.Attest(t.Context(), v); got.Result != verdict.AttestedPassed {
		t.Errorf("what failed was kept: %+v", got)
	}
	slow := &remote{PrivateKey: newKey(t), wait: make(chan struct{})}
	defer close(slow.wait)
	if got := newAttester(t, Config{Key: slow, Patience: time.Millisecond}).Attest(t.Context(), v); got.Result != verdict.AttestedNothing {
		t.Errorf("%+v", got)
	}
}

// pushed is a registry.
type pushed struct {
	mu   sync.Mutex
	got  []Pushed
	err  error
	gate chan struct{}
}

func (p *pushed) Push(_ context.Context, what Pushed) (string, error) {
	if p.gate != nil {
		<-p.gate
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return "", p.err
	}
	p.got = append(p.got, what)
	return "r.test/app@sha256:attestation", nil
}

func TestPush(t *testing.T) {
	t.Parallel()
	to := &pushed{err: errors.New("401")}
	a := newAttester(t, Config{Push: to, Cache: memory{}})
	v := verdictOf(verdict.Allow, true, policy("default", verdict.Enforce, verdict.Allow))
	push := func(wait bool) *verdict.Push {
		at := a.Attest(t.Context(), v)
		a.Push(t.Context(), v, at, wait)
		return at.Push
	}
	if got := push(true); got.State != StateFailed || got.Problem != "401" {
		t.Errorf("%+v", got)
	}
	to.err = nil
	if got := push(true); got.State != StatePushed || got.Where != "r.test/app@sha256:attestation" {
		t.Errorf("%+v", got)
	}
	v.EvaluatedAt = v.EvaluatedAt.Add(time.Hour) // says the same, later
	if got := push(true); got.State != StatePresent || len(to.got) != 1 {
		t.Errorf("%+v after %d", got, len(to.got))
	}
	v.SLSA.Level = 1
	to.gate = make(chan struct{})
	if got := push(false); got.State != StateQueued {
		t.Errorf("%+v", got)
	}
	close(to.gate)
	a.Close(t.Context())
	if len(to.got) != 2 {
		t.Errorf("%d pushed", len(to.got))
	}
	v.SLSA.Level = 2
	if got := push(false); got.State != StateFailed {
		t.Errorf("after the end: %+v", got)
	}
	excepted := verdictOf(verdict.Allow, true, policy("default", verdict.Audit, verdict.Allow))
	at := a.Attest(t.Context(), excepted)
	if a.Push(t.Context(), excepted, at, true); at.Push != nil {
		t.Errorf("nothing was pushed: %+v", at.Push)
	}
	denied := verdictOf(verdict.Deny, false, policy("default", verdict.Enforce, verdict.Deny))
	at = a.Attest(t.Context(), denied)
	if a.Push(t.Context(), denied, at, true); at.Result != verdict.AttestedFailed || at.Push != nil {
		t.Errorf("a denial was pushed: %+v", at.Push)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	small, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{Key: newKey(t)}, "verifier_id: is missing"},
		{Config{Key: newKey(t), VerifierID: "signet"}, "no absolute URI"},
		{Config{Key: newKey(t), VerifierID: "https://a.test/a b"}, "no absolute URI"},
		{Config{VerifierID: id}, "no key"},
		{Config{VerifierID: id, Key: small}, "curve"},
	} {
		if _, err := New(tt.cfg); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}
