package verify_test

import (
	"maps"
	"sync"
	"testing"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verify"
)

// memo is a Memo that counts.
type memo struct {
	mu         sync.Mutex
	values     map[[32]byte][]byte
	hits, puts int
	get        func()
}

func (m *memo) Get(key [32]byte) ([]byte, bool) {
	if m.get != nil {
		m.get()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.values[key]
	if ok {
		m.hits++
	}
	return v, ok
}

func (m *memo) Put(key [32]byte, value []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil {
		m.values = map[[32]byte][]byte{}
	}
	m.values[key] = value
	m.puts++
}

func TestMemo(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	m := &memo{}
	build := func(name string, limits evidence.Limits, roots ...*trust.Root) *verify.Verifier {
		t.Helper()
		v, err := verify.New(verify.Config{Roots: roots, Limits: limits, Memo: m, Build: name})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	key, other := b.Key("k", sigstack.ECDSAP256SHA256), b.Key("other", sigstack.ECDSAP256SHA256)
	bad := keylessV1()
	bad.Cert.SCT = sigstack.SCTNone
	// Without a hint the keys in scope are tried in turn.
	unnamed := b.Sign(sigstack.SignRequest{Image: image, Key: key})
	unnamed.Hint = ""
	items := []evidence.Item{
		b.bundle(unnamed),
		b.bundle(b.Sign(keylessV2())), b.layer(b.Sign(sigstack.SignRequest{Image: image, Identity: dev, Log: sigstack.RekorV1SET(), Legacy: true})),
		b.bundle(b.Sign(attestationOf("x", keylessV1()))), b.bundle(b.Sign(sigstack.SignRequest{Image: image, Key: key})), b.bundle(b.Sign(bad)),
	}
	limits := evidence.DefaultLimits()
	plain := inMemory(t, verifierWith(t, limits, b.root), items, other.Public(), key.Public())
	v := build("one", limits, b.root)
	run := func(v *verify.Verifier, wantHits bool) {
		t.Helper()
		m.hits, m.puts = 0, 0
		f := inMemory(t, v, items, other.Public(), key.Public())
		if f.Digest() != plain.Digest() {
			t.Errorf("facts differ: %+v, want %+v", f, plain)
		}
		if wantHits && (m.puts != 0 || m.hits != 7) || !wantHits && m.hits != 0 {
			t.Errorf("%d hits, %d puts", m.hits, m.puts)
		}
	}
	run(v, false)
	run(v, true)
	run(build("one", limits, b.root), true)
	// Whatever goes in is in the key.
	run(build("two", limits, b.root), false)
	more := limits
	more.JSONDepth++
	run(build("one", more, b.root), false)
	m.hits = 0
	lax := b.editedRoot("stack", &trust.Requires{}, func(*sigstack.TrustedRoot) {})
	if f := inMemory(t, build("one", limits, lax), items, key.Public()); m.hits != 2 || len(f.Signatures()) != 5 {
		t.Errorf("%d hits under a root that requires less, %d signatures; want those 2 that no root has a part in", m.hits, len(f.Signatures()))
	}
	twin := newBench(t, sigstack.Options{Seed: "twin"})
	if f := inMemory(t, build("one", limits, parseRoot(t, "stack", twin.TrustedRootJSON())), items[1:2]); len(f.Signatures()) != 0 {
		t.Errorf("what another root of the same name proved: %+v", f.Signatures())
	}
	// Another image: the same bytes are another question.
	st := &sigstack.Statement{Subjects: []sigstack.Subject{sigstack.SubjectOf("a", image), sigstack.SubjectOf("b", otherImage)}, PredicateType: "x"}
	shared := b.bundle(b.Sign(sigstack.SignRequest{Statement: st, Identity: dev, Log: sigstack.RekorV1()}))
	oneAttestation(t, inMemory(t, v, []evidence.Item{shared}))
	moved := shared
	moved.SubjectDigest = otherImage
	m.hits = 0
	f, err := v.Image(t.Context(), facts.Subject{Digest: otherImage}, []evidence.Item{moved}, nil)
	if err != nil || len(f.Attestations()) != 1 || m.hits != 0 {
		t.Errorf("%d hits, %v", m.hits, err)
	}
	// A value that cannot be read is a miss.
	run(v, true)
	for _, spoiled := range [][]byte{nil, []byte("x"), []byte("{}"), []byte(`{"proof":{},"rejection":{}}`), []byte(`{"Proof":{}}`), []byte(`{"proof":{"principal":"x"}}{}`)} {
		kept := maps.Clone(m.values)
		for k := range m.values {
			m.values[k] = spoiled
		}
		if f := inMemory(t, v, items, other.Public(), key.Public()); f.Digest() != plain.Digest() {
			t.Errorf("%q was believed", spoiled)
		}
		m.values = kept
	}
}
