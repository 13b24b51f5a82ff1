package verify_test

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verify"
)

func TestNew(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	good := verify.Config{Roots: []*trust.Root{b.root}, Limits: evidence.DefaultLimits()}
	if _, err := verify.New(good); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*verify.Config){
		"needs a trust root":         func(c *verify.Config) { c.Roots = nil },
		"is missing":                 func(c *verify.Config) { c.Roots = []*trust.Root{nil} },
		"two trust roots":            func(c *verify.Config) { c.Roots = []*trust.Root{b.root, b.root} },
		"limit bundle_bytes is 0":    func(c *verify.Config) { c.Limits.BundleBytes = 0 },
		"limit json_depth is -1":     func(c *verify.Config) { c.Limits.JSONDepth = -1 },
		"limit candidate_keys is 0":  func(c *verify.Config) { c.Limits.CandidateKeys = 0 },
		"limit log_entries is 33":    func(c *verify.Config) { c.Limits.LogEntries = 33 },
		"needs the name of the buil": func(c *verify.Config) { c.Memo = &memo{} },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := verify.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, have %v", want, err)
		}
	}
}

func TestNothingToVerify(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	f, err := b.v.Image(t.Context(), facts.Subject{Digest: image, MediaType: "m"}, nil, nil)
	if err != nil || f.Digest() == "" || f.Subject().Digest != image || f.Subject().MediaType != "m" || len(f.Rejections()) != 0 {
		t.Errorf("%+v, %v", f, err)
	}
	// A subject without a digest has no evidence.
	f, err = b.v.Image(t.Context(), facts.Subject{}, []evidence.Item{b.bundle(b.Sign(keylessV2()))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	oneRejection(t, facts.CodeSubjectMismatch, f)
}

func TestContextEnds(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	items := []evidence.Item{b.bundle(b.Sign(keylessV2())), b.bundle(b.Sign(keylessV1()))}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for n := range 3 {
		if f, err := b.v.Image(ctx, facts.Subject{Digest: image}, items[:n], nil); !errors.Is(err, context.Canceled) || f.Digest() != "" {
			t.Errorf("%d items: %v", n, err)
		}
	}
	// It ends while the first attempt is under way.
	ctx, cancel = context.WithCancel(t.Context())
	m := &memo{get: func() { cancel() }}
	v, err := verify.New(verify.Config{Roots: []*trust.Root{b.root, parseRoot(t, "again", b.TrustedRootJSON())}, Limits: evidence.DefaultLimits(), Memo: m, Build: "b"})
	if err != nil {
		t.Fatal(err)
	}
	bad := keylessV1()
	bad.Cert.SCT = sigstack.SCTNone
	if _, err := v.Image(ctx, facts.Subject{Digest: image}, []evidence.Item{b.bundle(b.Sign(bad))}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Threat 40: a panic is a rejection of that item alone, and is reported.
func TestPanicIsRejectionThreat40(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	var told []verify.Panic
	var mu sync.Mutex
	first := true
	m := &memo{get: func() {
		mu.Lock()
		defer mu.Unlock()
		if first {
			first = false
			panic("boom")
		}
	}}
	v, err := verify.New(verify.Config{
		Roots: []*trust.Root{b.root}, Limits: evidence.DefaultLimits(), Memo: m, Build: "b",
		OnPanic: func(p any) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, p.(verify.Panic))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	items := []evidence.Item{b.bundle(b.Sign(keylessV2())), b.bundle(b.Sign(keylessV1()))}
	f, err := v.Image(t.Context(), facts.Subject{Digest: image}, items, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Signatures()) != 1 || len(f.Rejections()) != 1 || f.Rejections()[0].Code != facts.CodePanic {
		t.Fatalf("%+v %+v", f.Signatures(), f.Rejections())
	}
	if len(told) != 1 || told[0].Value != "boom" || !strings.Contains(string(told[0].Stack), "verify") || told[0].Item != f.Rejections()[0].ID {
		t.Errorf("%+v", told)
	}
	// Without anybody to tell it is a rejection all the same.
	first = true
	quiet, err := verify.New(verify.Config{Roots: []*trust.Root{b.root}, Limits: evidence.DefaultLimits(), Memo: m, Build: "b"})
	if err != nil {
		t.Fatal(err)
	}
	oneRejection(t, facts.CodePanic, inMemory(t, quiet, items[:1]))
}

// One verifier, many callers; run with -race.
func TestConcurrentUse(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	key := b.Key("k", sigstack.ECDSAP256SHA256)
	items := []evidence.Item{
		b.bundle(b.Sign(keylessV2())), b.bundle(b.Sign(keylessV1())), b.layer(b.Sign(sigstack.SignRequest{Image: image, Identity: dev, Log: sigstack.RekorV1SET(), Legacy: true})),
		b.bundle(b.Sign(sigstack.SignRequest{Image: image, Key: key})), b.layer(b.Sign(intotoRequest("0.0.1", true))),
	}
	want := b.facts(items, key.Public()).Digest()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			f, err := b.v.Image(context.Background(), facts.Subject{Digest: image}, items, verify.KeyList(key.Public()))
			if err != nil || f.Digest() != want {
				t.Errorf("%s, %v", f.Digest(), err)
			}
		})
	}
	wg.Wait()
}

func TestArtifact(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	artifact := []byte("an artifact")
	st := &sigstack.Statement{Subjects: []sigstack.Subject{{Name: "x", Digest: map[string]string{"sha256": facts.Digest(artifact)[7:]}}}, PredicateType: "x"}
	ev := b.Sign(sigstack.SignRequest{Statement: st, Identity: dev, Log: sigstack.RekorV2(), Timestamps: 1})
	items := []evidence.Item{{Kind: evidence.KindBundle, Bytes: b.bundle(ev).Bytes}}
	for _, a := range []verify.Artifact{artifactOf(artifact), digestOf(artifact)} {
		if got := oneAttestation(t, artifactFacts(t, b.v, a, items)); got.SubjectDigest != facts.Digest(artifact) {
			t.Errorf("%s", got.SubjectDigest)
		}
		s, err := a.Subject()
		if err != nil || s.Digest != facts.Digest(artifact) {
			t.Errorf("%+v, %v", s, err)
		}
	}
	oneRejection(t, facts.CodeSubjectMismatch, artifactFacts(t, b.v, artifactOf([]byte{}), items))
	// Two digests of one subject must both be the artifact's.
	st.Subjects[0].Digest["sha512"] = strings.Repeat("00", 64)
	forged := b.Sign(sigstack.SignRequest{Statement: st, Identity: dev, Log: sigstack.RekorV2(), Timestamps: 1})
	items[0].Bytes = b.bundle(forged).Bytes
	oneRejection(t, facts.CodeSubjectMismatch, artifactFacts(t, b.v, artifactOf(artifact), items))

	digest := facts.Digest(artifact)[7:]
	for name, a := range map[string]verify.Artifact{
		"nothing":          {},
		"only sha384":      {Digests: map[string]string{"sha384": hex.EncodeToString(make([]byte, 48))}},
		"unknown":          {Digests: map[string]string{"md5": "00"}},
		"short":            {Digests: map[string]string{"sha256": "00"}},
		"capitals":         {Digests: map[string]string{"sha256": strings.ToUpper(digest)}},
		"with prefix":      {Digests: map[string]string{"sha256": "sha256:" + digest}},
		"not hexadecimal":  {Digests: map[string]string{"sha256": strings.Repeat("x", 64)}},
		"of another bytes": {Bytes: []byte("other"), Digests: map[string]string{"sha256": digest}},
	} {
		if _, err := b.v.Artifact(t.Context(), a, nil, nil); !errors.Is(err, verify.ErrArtifact) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := a.Subject(); !errors.Is(err, verify.ErrArtifact) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
