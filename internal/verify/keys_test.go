package verify_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/verify"
)

// Every algorithm, as a bare key and in a certificate, in every format, with and
// without a log.
func TestAlgorithms(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	names := map[sigstack.Algorithm]string{
		sigstack.ECDSAP256SHA256: "ecdsa-p256", sigstack.ECDSAP384SHA384: "ecdsa-p384", sigstack.ECDSAP384SHA256: "ecdsa-p384",
		sigstack.ECDSAP521SHA512: "ecdsa-p521", sigstack.ECDSAP521SHA256: "ecdsa-p521", sigstack.Ed25519: "ed25519", sigstack.Ed25519ph: "ed25519",
		sigstack.RSA2048PKCS1SHA256: "rsa-2048", sigstack.RSA2048PSSSHA256: "rsa-2048",
	}
	for _, alg := range sigstack.Algorithms() {
		t.Run(alg.String(), func(t *testing.T) {
			b := &bench{Stack: b.Stack, t: t, v: b.v}
			key := b.Key("k"+alg.String(), alg)
			noise := b.Key("noise"+alg.String(), alg)
			for name, req := range map[string]sigstack.SignRequest{
				"bundle":          {Image: image, Key: key},
				"old signature":   {Image: image, Key: key, Legacy: true},
				"old attestation": attestationOf(sigstack.PredicateSLSA1, sigstack.SignRequest{Key: key, Legacy: true}),
			} {
				item := b.item(b.Sign(req), req.Legacy)
				f := b.facts([]evidence.Item{item}, noise.Public(), key.Public())
				if len(f.Rejections()) != 0 {
					t.Errorf("%s: %+v", name, f.Rejections())
					continue
				}
				b.rejected(facts.CodeNoMatchingKey, item, noise.Public())
				b.rejected(facts.CodeNoMatchingKey, item)
				if name == "old signature" && (alg == sigstack.Ed25519 || alg == sigstack.RSA2048PSSSHA256) {
					continue // Rekor v1 does not take these as a hashedrekord
				}
				s := b.proves(b.Sign(withLog(req)), req.Legacy)
				if s.Signer.Fingerprint != key.Fingerprint() || s.Signer.Algorithm != names[alg] || s.Signer.Kind != facts.KindKey ||
					s.Principal != key.Fingerprint() || s.Signer.Issuer != "" || s.Signer.Subject != "" || len(s.Transparency) != 1 {
					t.Errorf("%s with a log: %+v", name, s)
				}
			}
		})
	}
}

// The same keys in certificates, as far as sigstore-go knows how they sign.
func TestCertificateAlgorithms(t *testing.T) {
	b := newBench(t, sigstack.Options{Fulcio: sigstack.ECDSAP384SHA384})
	for _, alg := range sigstack.Algorithms() {
		if alg == sigstack.RSA2048PSSSHA256 || alg == sigstack.Ed25519ph {
			continue // a certificate stands for PKCS#1 v1.5, and for pure Ed25519 in an envelope
		}
		key := b.Key("c"+alg.String(), alg)
		for name, req := range map[string]sigstack.SignRequest{
			"dsse":   {Image: image, Identity: dev, Key: key, Log: sigstack.RekorV1()},
			"intoto": attestationOf("x", sigstack.SignRequest{Identity: dev, Key: key, Log: sigstack.RekorV1().As("intoto", "0.0.1"), Legacy: true}),
		} {
			if s := b.proves(b.Sign(req), req.Legacy); s.Signer.Fingerprint != key.Fingerprint() || s.Signer.Kind != facts.KindCertificate {
				t.Errorf("%s %s: %+v", alg, name, s)
			}
		}
	}
}

// withLog asks for an entry in Rekor v1, which logs DSSE envelopes of any key.
func withLog(req sigstack.SignRequest) sigstack.SignRequest {
	req.Log = sigstack.RekorV1()
	return req
}

// The key of the evidence's own log entry is tried, so that an unknown signer is
// seen and can be shown; matching decides whether it counts.
func TestOwnLogKeyIsTried(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	key := b.Key("k", sigstack.ECDSAP256SHA256)
	for name, req := range map[string]sigstack.SignRequest{
		"Rekor v1":            {Image: image, Key: key, Log: sigstack.RekorV1()},
		"Rekor v2":            {Image: image, Key: key, Log: sigstack.RekorV2(), Timestamps: 1},
		"old signature":       {Image: image, Key: key, Log: sigstack.RekorV1(), Legacy: true},
		"intoto":              attestationOf("x", sigstack.SignRequest{Key: key, Log: sigstack.RekorV1().As("intoto", "0.0.1"), Legacy: true}),
		"intoto with a proof": attestationOf("x", sigstack.SignRequest{Key: key, Log: sigstack.RekorV1().As("intoto", "0.0.2")}),
	} {
		if s := b.proves(b.Sign(req), req.Legacy); s.Principal != key.Fingerprint() || len(s.Transparency) != 1 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	// A key beside the entry that is not the entry's.
	ev := b.Sign(sigstack.SignRequest{Image: image, Key: key, Log: sigstack.RekorV1()})
	other := b.Key("other", sigstack.ECDSAP256SHA256)
	forged := b.Sign(sigstack.SignRequest{Image: image, Key: other})
	forged.Entries = ev.Entries
	b.rejected(facts.CodeLogEntryInvalid, b.bundle(forged), other.Public())
}

// An entry of a known log must verify for keys, too, and nothing is retried with
// less; an entry of an unknown log is no reason to turn a signature down.
func TestKeyWithEntries(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	key := b.Key("k", sigstack.ECDSAP256SHA256)
	req := sigstack.SignRequest{Image: image, Key: key, Log: sigstack.RekorV1()}
	ev := b.Sign(req)
	ev.Entries[0] = ev.Entries[0].At(b.At.Add(time.Second))
	b.rejected(facts.CodeLogEntryInvalid, b.bundle(ev), key.Public())

	ev = b.Sign(sigstack.SignRequest{Image: image, Key: key})
	foreign, err := b.ForeignEntry(ev, sigstack.RekorV1())
	b.must(err)
	ev.Entries = []*sigstack.Entry{foreign}
	if s := b.signature(b.bundle(ev), key.Public()); len(s.Transparency) != 0 || s.SignedAt != nil {
		t.Errorf("%+v", s)
	}
	// Two entries, one forged.
	ev = b.Sign(req)
	b.must(b.AddEntry(ev, sigstack.RekorV2()))
	b.must(b.AddTimestamp(ev, sigstack.TimestampSpec{}))
	if s := b.signature(b.bundle(ev), key.Public()); len(s.Transparency) != 2 || len(s.Timestamps) != 1 {
		t.Errorf("%+v", s)
	}
	good := ev.Entries[1]
	ev.Entries[1] = good.CorruptProof()
	b.rejected(facts.CodeLogEntryInvalid, b.bundle(ev), key.Public())
	// sigstore-go passes over an entry with a SET that does not verify.
	ev.Entries[0], ev.Entries[1] = ev.Entries[0].At(b.At.Add(-time.Minute)), good
	b.rejected(facts.CodeLogEntryInvalid, b.bundle(ev), key.Public())
	// A timestamp alone: it is a fact if it verifies, and must if it is known.
	ev = b.Sign(sigstack.SignRequest{Image: image, Key: key, Timestamps: 1})
	if s := b.signature(b.bundle(ev), key.Public()); len(s.Timestamps) != 1 || !s.SignedAt.Equal(b.At) {
		t.Errorf("%+v", s)
	}
	ev.Timestamps = b.Sign(keylessV2()).Timestamps
	b.rejected(facts.CodeTimestampInvalid, b.bundle(ev), key.Public())
	ev.Timestamps = nil
	b.must(b.ForeignTimestamp(ev, sigstack.TimestampSpec{}))
	if s := b.signature(b.bundle(ev), key.Public()); len(s.Timestamps) != 0 {
		t.Errorf("%+v", s)
	}
}

// The root that knows an entry is the one that verifies a key-signed item,
// wherever it stands; none where none does, whichever they are.
func TestRootsOfKeys(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	other := newBench(t, sigstack.Options{Name: "other", Seed: "other"})
	otherRoot := parseRoot(t, "other", other.TrustedRootJSON())
	both := &bench{t: t, v: newVerifier(t, otherRoot, b.root)}
	key := b.Key("k", sigstack.ECDSAP256SHA256)
	for name, tt := range map[string]struct {
		req  sigstack.SignRequest
		root string
	}{
		"log":       {sigstack.SignRequest{Image: image, Key: key, Log: sigstack.RekorV1()}, "stack"},
		"timestamp": {sigstack.SignRequest{Image: image, Key: key, Timestamps: 1}, "stack"},
		"neither":   {sigstack.SignRequest{Image: image, Key: key}, ""},
	} {
		if s := both.signature(b.bundle(b.Sign(tt.req)), key.Public()); s.TrustRoot != tt.root {
			t.Errorf("%s: %q, want %q", name, s.TrustRoot, tt.root)
		}
	}
	// What is nobody's proves nothing, and spoils nothing.
	ev := b.Sign(sigstack.SignRequest{Image: image, Key: key, Log: sigstack.RekorV1(), Timestamps: 1})
	strangers := &bench{t: t, v: newVerifier(t, otherRoot)}
	if s := strangers.signature(b.bundle(ev), key.Public()); s.TrustRoot != "" || len(s.Transparency)+len(s.Timestamps) != 0 || s.SignedAt != nil {
		t.Errorf("%+v", s)
	}
}

// A hint names a key by its SHA-256, and is no more than a hint.
func TestHints(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	limits := evidence.DefaultLimits()
	limits.CandidateKeys = 2
	v := verifierWith(t, limits, b.root)
	key := b.Key("k", sigstack.ECDSAP256SHA256)
	scope := keys(key.Public())
	for i := range 5 {
		scope = append(scope, b.Key(fmt.Sprint("noise", i), sigstack.ECDSAP256SHA256).Public())
	}
	raw, err := hex.DecodeString(key.Fingerprint())
	b.must(err)
	ev := b.Sign(sigstack.SignRequest{Image: image, Key: key})
	for _, hint := range []string{key.Hint(), key.Fingerprint(), hex.EncodeToString(raw), strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(key.Hint()), "=")} {
		ev.Hint = hint
		oneSignature(t, imageFacts(t, v, []evidence.Item{b.bundle(ev)}, scope...))
	}
	// More keys than may be tried, and none of them named: nothing is tried, in
	// whatever order they come.
	for _, hint := range []string{"", "another", b.Key("noise1", sigstack.ECDSAP256SHA256).Hint()} {
		ev.Hint = hint
		oneRejection(t, facts.CodeTooManyCandidateKeys, imageFacts(t, v, []evidence.Item{b.bundle(ev)}, scope...))
	}
	ev.Hint = "another"
	oneSignature(t, imageFacts(t, v, []evidence.Item{b.bundle(ev)}, scope[:2]...))
	oneSignature(t, imageFacts(t, v, []evidence.Item{b.bundle(ev)}, scope[0], scope[0], scope[0]))
	// The log entry's own key is always tried.
	logged := b.Sign(sigstack.SignRequest{Image: image, Key: key, Log: sigstack.RekorV1()})
	logged.Hint = ""
	oneSignature(t, imageFacts(t, v, []evidence.Item{b.bundle(logged)}, scope[1:]...))
}

// Keys that cannot be used are passed over.
func TestUnusableKeys(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	key := b.Key("k", sigstack.ECDSAP256SHA256)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	b.must(err)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	b.must(err)
	item := b.bundle(b.Sign(sigstack.SignRequest{Image: image, Key: key}))
	b.signature(item, p224.Public(), small.Public(), "not a key", nil, key.Public())
	b.rejected(facts.CodeNoMatchingKey, item, p224.Public(), small.Public(), "not a key", nil)
	// Not even for what they did sign.
	weak := sigstack.KeyFrom(small, sigstack.RSA2048PKCS1SHA256)
	b.rejected(facts.CodeNoMatchingKey, b.bundle(b.Sign(sigstack.SignRequest{Image: image, Key: weak})), small.Public())
}

// Ed25519 signs the bytes: an artifact that is known by its digest only leaves the
// question open, and a signature over nothing does not answer it.
func TestArtifactNeeded(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	artifact := []byte("an artifact")
	key := b.Key("ed", sigstack.Ed25519)
	ev := b.Sign(sigstack.SignRequest{Artifact: artifact, Key: key})
	items := []evidence.Item{b.bundle(ev)}
	s := oneSignature(t, artifactFacts(t, b.v, artifactOf(artifact), items, key.Public()))
	if s.Signer.Algorithm != "ed25519" {
		t.Errorf("%+v", s)
	}
	oneRejection(t, facts.CodeArtifactNeeded, artifactFacts(t, b.v, digestOf(artifact), items, key.Public()))
	oneRejection(t, facts.CodeSubjectMismatch, artifactFacts(t, b.v, artifactOf([]byte("x")), items, key.Public()))

	nothing, err := key.SignMessage(nil)
	b.must(err)
	forged := ev.Clone()
	forged.Message.Signature = nothing
	oneRejection(t, facts.CodeArtifactNeeded, artifactFacts(t, b.v, digestOf(artifact), []evidence.Item{b.bundle(forged)}, key.Public()))
	oneRejection(t, facts.CodeNoMatchingKey, artifactFacts(t, b.v, artifactOf(artifact), []evidence.Item{b.bundle(forged)}, key.Public()))

	// Ed25519ph signs the SHA-512: that digest is enough, the SHA-256 is not.
	ph := b.Key("ph", sigstack.Ed25519ph)
	items = []evidence.Item{b.bundle(b.Sign(sigstack.SignRequest{Artifact: artifact, Key: ph}))}
	oneSignature(t, artifactFacts(t, b.v, artifactOf(artifact), items, ph.Public()))
	oneRejection(t, facts.CodeArtifactNeeded, artifactFacts(t, b.v, digestOf(artifact), items, ph.Public()))
	sum := sha512.Sum512(artifact)
	by512 := verify.Artifact{Digests: map[string]string{"sha512": hex.EncodeToString(sum[:])}}
	if s := oneSignature(t, artifactFacts(t, b.v, by512, items, ph.Public())); s.SubjectDigest != "sha512:"+hex.EncodeToString(sum[:]) {
		t.Errorf("%s", s.SubjectDigest)
	}
	// A certificate with such a key.
	cert := b.Sign(sigstack.SignRequest{Artifact: artifact, Identity: dev, Key: ph, Log: sigstack.RekorV1()})
	oneSignature(t, artifactFacts(t, b.v, by512, []evidence.Item{b.bundle(cert)}))
	// The other algorithms do with the digest.
	for _, alg := range []sigstack.Algorithm{sigstack.ECDSAP256SHA256, sigstack.RSA2048PKCS1SHA256, sigstack.RSA2048PSSSHA256} {
		k := b.Key("d"+alg.String(), alg)
		items := []evidence.Item{b.bundle(b.Sign(sigstack.SignRequest{Artifact: artifact, Key: k}))}
		oneSignature(t, artifactFacts(t, b.v, digestOf(artifact), items, k.Public()))
	}
}

// The interface of a key in a log entry: certificates are not keys.
func TestCertificateEntryForKey(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	key := b.Key("k", sigstack.ECDSAP256SHA256)
	certified := b.Sign(sigstack.SignRequest{Image: image, Identity: dev, Key: key, Log: sigstack.RekorV1()})
	bare := certified.Clone()
	bare.Certificate, bare.Chain = nil, nil
	b.rejected(facts.CodeLogEntryInvalid, b.bundle(bare), key.Public())
	keyed := b.Sign(sigstack.SignRequest{Image: image, Key: key, Log: sigstack.RekorV1()})
	certified.Entries = keyed.Entries
	certified.Envelope = keyed.Envelope
	b.rejected(facts.CodeLogEntryInvalid, b.bundle(certified))
}

// askedKeys counts what is asked of the keys in scope.
type askedKeys struct {
	verify.Keys
	lookups, lists int
}

func (k *askedKeys) ByFingerprint(fingerprint string) crypto.PublicKey {
	k.lookups++
	return k.Keys.ByFingerprint(fingerprint)
}

func (k *askedKeys) InScope(most int) ([]crypto.PublicKey, bool) {
	k.lists++
	return k.Keys.InScope(most)
}

// Thousands of keys may be in scope, so an item that names its key costs a look-up,
// and they are listed once however many items name none.
func TestKeysAreLookedUp(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	key := b.Key("k", sigstack.ECDSAP256SHA256)
	ev := b.Sign(sigstack.SignRequest{Image: image, Key: key})
	ev.Hint = key.Hint()
	named := b.bundle(ev)
	ev.Hint = ""
	unnamed := b.bundle(ev)
	again := ev.Clone()
	again.Hint = "another"
	for name, tt := range map[string]struct {
		items          []evidence.Item
		lookups, lists int
	}{
		"named":              {[]evidence.Item{named}, 1, 0},
		"not named":          {[]evidence.Item{unnamed}, 0, 1},
		"two that are not":   {[]evidence.Item{unnamed, b.bundle(again)}, 0, 1},
		"keyless":            {[]evidence.Item{b.bundle(b.Sign(keylessV2()))}, 0, 0},
		"its log entry's":    {[]evidence.Item{b.bundle(b.Sign(sigstack.SignRequest{Image: image, Key: key, Log: sigstack.RekorV1()}))}, 1, 0},
		"nothing whatsoever": {nil, 0, 0},
	} {
		keys := &askedKeys{Keys: verify.KeyList(b.Key("other", sigstack.ECDSAP256SHA256).Public(), key.Public())}
		f, err := b.v.Image(t.Context(), facts.Subject{Digest: image}, tt.items, keys)
		b.must(err)
		if len(f.Signatures()) != len(tt.items) {
			t.Errorf("%s: %d signatures of %d items: %+v", name, len(f.Signatures()), len(tt.items), f.Rejections())
		}
		if keys.lookups != tt.lookups || keys.lists != tt.lists {
			t.Errorf("%s: %d look-ups and %d lists, want %d and %d", name, keys.lookups, keys.lists, tt.lookups, tt.lists)
		}
	}
}

func TestTogether(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	k1, k2, k3 := b.Key("1", sigstack.ECDSAP256SHA256), b.Key("2", sigstack.ECDSAP256SHA256), b.Key("3", sigstack.ECDSAP256SHA256)
	keys := verify.Together(verify.KeyList(k1.Public(), k2.Public()), verify.KeyList(k2.Public(), k3.Public()))
	for _, k := range []*sigstack.Key{k1, k2, k3} {
		if got := keys.ByFingerprint(k.Fingerprint()); got == nil || fingerprint(t, got) != k.Fingerprint() {
			t.Errorf("%v is not found", k.Fingerprint())
		}
	}
	if got := keys.ByFingerprint("00"); got != nil {
		t.Errorf("a stranger's key is %v", got)
	}
	for most, want := range map[int]struct {
		keys int
		more bool
	}{1: {1, true}, 2: {2, true}, 3: {3, false}, 4: {3, false}} {
		got, more := keys.InScope(most)
		if len(got) != want.keys || more != want.more {
			t.Errorf("%d at most: %d keys, more %v; want %d, %v", most, len(got), more, want.keys, want.more)
		}
	}
}
