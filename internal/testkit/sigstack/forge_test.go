package sigstack_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

// must unwraps a result in a place where only one value fits.
func must[T any](tb testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

// Every forgery is refused by sigstore-go, or ignored where that is right; this
// shows that the forgeries are what they claim to be, and that nothing else about
// them is wrong.
func TestForgeries(t *testing.T) {
	t.Parallel()
	s := newStack(t, sigstack.Options{TSAs: 2})
	tr := trustedRoot(t, s)
	other := "sha256:" + strings.Repeat("ab", 32)
	later := s.At.Add(5 * time.Minute)
	v1 := sigstack.SignRequest{Image: image, Identity: person, Log: sigstack.RekorV1()}
	v2 := sigstack.SignRequest{Image: image, Identity: person, Log: sigstack.RekorV2(), Timestamps: 1}
	entry := must[*sigstack.Entry](t)
	for _, tt := range []struct {
		name string
		req  sigstack.SignRequest
		edit func(t *testing.T, ev *sigstack.Evidence)
		want string // part of the error; "": it verifies
	}{
		{"foreign entry beside a good one", v1, func(t *testing.T, ev *sigstack.Evidence) {
			ev.Entries = append(ev.Entries, entry(s.ForeignEntry(ev, sigstack.LogSpec{Log: 1, At: later})))
		}, ""},
		{"foreign entry alone", v1, func(t *testing.T, ev *sigstack.Evidence) {
			ev.Entries = []*sigstack.Entry{entry(s.ForeignEntry(ev, sigstack.RekorV1()))}
		}, "not enough verified log entries"},
		{"foreign timestamp beside a good one", v2, func(t *testing.T, ev *sigstack.Evidence) {
			if err := s.ForeignTimestamp(ev, sigstack.TimestampSpec{At: later}); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"foreign timestamp alone", v2, func(t *testing.T, ev *sigstack.Evidence) {
			ev.Timestamps = nil
			if err := s.ForeignTimestamp(ev, sigstack.TimestampSpec{}); err != nil {
				t.Fatal(err)
			}
		}, "threshold not met"},
		{"proof without a signed time", v1, func(_ *testing.T, ev *sigstack.Evidence) {
			ev.Entries[0] = ev.Entries[0].WithoutSET(later)
		}, "threshold not met"},
		{"proof without a signed time, with a timestamp", v1, func(t *testing.T, ev *sigstack.Evidence) {
			ev.Entries[0] = ev.Entries[0].WithoutSET(later)
			if err := s.AddTimestamp(ev, sigstack.TimestampSpec{}); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"other time under the signature", v1, func(_ *testing.T, ev *sigstack.Evidence) {
			ev.Entries[0] = ev.Entries[0].At(later)
		}, "not enough verified log entries"},
		{"corrupt proof, rekor v1", v1, func(_ *testing.T, ev *sigstack.Evidence) { ev.Entries[0] = ev.Entries[0].CorruptProof() }, "does not match expected root"},
		{"corrupt proof, rekor v2", v2, func(_ *testing.T, ev *sigstack.Evidence) { ev.Entries[0] = ev.Entries[0].CorruptProof() }, "inclusion"},
		{"entry of another artifact, rekor v1", v1, func(t *testing.T, ev *sigstack.Evidence) {
			ev.Entries = sign(t, s, sigstack.SignRequest{Image: other, Identity: person, Log: sigstack.RekorV1()}).Entries
		}, "signature does not match"},
		{"entry of another artifact, rekor v2", v2, func(t *testing.T, ev *sigstack.Evidence) {
			ev.Entries = sign(t, s, sigstack.SignRequest{Image: other, Identity: person, Log: sigstack.RekorV2()}).Entries
		}, "inclusion"},
		{"timestamp of another signature", v2, func(t *testing.T, ev *sigstack.Evidence) {
			ev.Timestamps = sign(t, s, sigstack.SignRequest{Image: other, Identity: person, Timestamps: 1}).Timestamps
		}, "hashed messages don't match"},
		{"entry twice", v1, func(_ *testing.T, ev *sigstack.Evidence) { ev.Entries = append(ev.Entries, ev.Entries[0].Clone()) }, "duplicate"},
		{"entries of two logs", v1, func(t *testing.T, ev *sigstack.Evidence) {
			if err := s.AddEntry(ev, sigstack.RekorV2()); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"two authorities", v2, func(t *testing.T, ev *sigstack.Evidence) {
			if err := s.AddTimestamp(ev, sigstack.TimestampSpec{TSA: 1}); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"no signature", v1, func(_ *testing.T, ev *sigstack.Evidence) { ev.Envelope.Signatures = nil }, "signature"},
		{"two signatures", v1, func(t *testing.T, ev *sigstack.Evidence) {
			if err := ev.AddSignature(ev.Key); err != nil {
				t.Fatal(err)
			}
		}, "exactly one signature"},
		{"payload swapped", v1, func(t *testing.T, ev *sigstack.Evidence) {
			ev.Envelope.Payload = sign(t, s, sigstack.SignRequest{Image: other, Identity: person}).Envelope.Payload
		}, "does not match"},
		{"signed by a stranger's stack", v1, func(t *testing.T, ev *sigstack.Evidence) {
			*ev = *sign(t, newStack(t, sigstack.Options{Seed: "stranger"}), v1)
		}, "not enough verified log entries"},
		{"unchanged, rekor v1", v1, func(*testing.T, *sigstack.Evidence) {}, ""},
		{"unchanged, rekor v2", v2, func(*testing.T, *sigstack.Evidence) {}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.Rekor2.Size() // the tree has other entries, too
			ev := sign(t, s, tt.req).Clone()
			tt.edit(t, ev)
			res, err := check(t, tr, must[[]byte](t)(ev.Bundle(sigstack.V03)), nil, keyless()...)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				for _, ts := range res.VerifiedTimestamps {
					if !ts.Timestamp.Equal(s.At) {
						t.Errorf("the verifier believes %v, want %v", ts.Timestamp, s.At)
					}
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestFlawedCheckpoints(t *testing.T) {
	t.Parallel()
	s := newStack(t, sigstack.Options{})
	tr := trustedRoot(t, s)
	for _, req := range []sigstack.SignRequest{
		{Image: image, Identity: person, Log: sigstack.RekorV1()},
		{Image: image, Identity: person, Log: sigstack.RekorV2(), Timestamps: 1},
	} {
		for _, flaw := range sigstack.Flaws() {
			name := map[int]string{1: "rekor v1/", 2: "rekor v2/"}[req.Log.Log] + flaw.String()
			t.Run(name, func(t *testing.T) {
				ev := sign(t, s, req)
				good := ev.Entries[0]
				ev.Entries[0] = must[*sigstack.Entry](t)(s.FlawCheckpoint(good, flaw))
				if d := cmp.Diff(good, ev.Entries[0]); d == "" {
					t.Error("nothing changed")
				}
				_, err := check(t, tr, must[[]byte](t)(ev.Bundle(sigstack.V03)), nil, keyless()...)
				// Of a Rekor v1 checkpoint sigstore-go 1.3.0 looks at signature and root only.
				accepted := req.Log.Log == 1 && (flaw == sigstack.FlawOrigin || flaw == sigstack.FlawSize)
				if (err == nil) != accepted {
					t.Errorf("error %v, accepted should be %v", err, accepted)
				}
			})
		}
	}
	if _, err := s.FlawCheckpoint(&sigstack.Entry{}, sigstack.FlawRoot); err == nil {
		t.Error("an entry without proof was flawed")
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	past := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name string
		opts sigstack.Options
		cert sigstack.CertSpec
		want string
	}{
		{"as issued", sigstack.Options{}, sigstack.CertSpec{}, ""},
		{"two equal SCTs", sigstack.Options{}, sigstack.CertSpec{SCT: sigstack.SCTTwice}, ""},
		{"no SCT", sigstack.Options{}, sigstack.CertSpec{SCT: sigstack.SCTNone}, "SCT"},
		{"SCT of an unknown log", sigstack.Options{}, sigstack.CertSpec{SCT: sigstack.SCTForeign}, "SCT"},
		{"corrupt SCT", sigstack.Options{}, sigstack.CertSpec{SCT: sigstack.SCTCorrupt}, "SCT"},
		{"SCT before the log's time", sigstack.Options{}, sigstack.CertSpec{SCTTime: time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC)}, "SCT"},
		{"expired when logged", sigstack.Options{}, sigstack.CertSpec{NotBefore: past}, "integrated time outside certificate validity"},
		{"intermediates that the root lacks", sigstack.Options{}, sigstack.CertSpec{ExtraIntermediates: 2}, "certificate"},
		{"expired intermediate", sigstack.Options{IntermediateUntil: past}, sigstack.CertSpec{}, "certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStack(t, tt.opts)
			ev := sign(t, s, sigstack.SignRequest{Image: image, Identity: person, Cert: tt.cert, Log: sigstack.RekorV1()})
			if ev.Leaf() == nil || len(ev.Chain) != 2+tt.cert.ExtraIntermediates {
				t.Fatalf("leaf %v, %d certificates above it", ev.Leaf(), len(ev.Chain))
			}
			_, err := check(t, trustedRoot(t, s), must[[]byte](t)(ev.Bundle(sigstack.V03)), nil, keyless()...)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("expired authority", func(t *testing.T) {
		s := newStack(t, sigstack.Options{TSAUntil: past})
		ev := sign(t, s, sigstack.SignRequest{Image: image, Identity: person, Log: sigstack.RekorV2(), Timestamps: 1})
		if _, err := check(t, trustedRoot(t, s), must[[]byte](t)(ev.Bundle(sigstack.V03)), nil, keyless()...); err == nil {
			t.Error("the timestamp verified")
		}
	})
	t.Run("certificates in the token", func(t *testing.T) {
		s := newStack(t, sigstack.Options{})
		ev := sign(t, s, sigstack.SignRequest{Image: image, Identity: person, Log: sigstack.RekorV2()})
		if err := s.AddTimestamp(ev, sigstack.TimestampSpec{Certificates: s.TSAs[0].Chain()}); err != nil {
			t.Fatal(err)
		}
		if _, err := check(t, trustedRoot(t, s), must[[]byte](t)(ev.Bundle(sigstack.V03)), nil, keyless()...); err != nil {
			t.Error(err)
		}
	})
}

func TestMaterials(t *testing.T) {
	t.Parallel()
	s := newStack(t, sigstack.Options{})
	tr := trustedRoot(t, s)
	ev := sign(t, s, sigstack.SignRequest{Image: image, Identity: person, Log: sigstack.RekorV1()})
	for _, tt := range []struct {
		version  sigstack.Version
		material sigstack.Material
		ok       bool
	}{
		{sigstack.V02, sigstack.MaterialLeaf, true},
		{sigstack.V02, sigstack.MaterialChain, true},
		{sigstack.V02, sigstack.MaterialFullChain, true},
		{sigstack.V02, sigstack.MaterialEmpty, false},
		{sigstack.V03, sigstack.MaterialChain, false},
		{sigstack.V03, sigstack.MaterialKeyHint, false},
	} {
		_, err := check(t, tr, must[[]byte](t)(ev.BundleWith(tt.version, tt.material)), nil, keyless()...)
		if (err == nil) != tt.ok {
			t.Errorf("version %v, material %v: error %v", tt.version, tt.material, err)
		}
	}
	if _, err := (&sigstack.Evidence{}).Bundle(sigstack.V03); err == nil {
		t.Error("empty evidence became a bundle")
	}
	if _, err := (&sigstack.Evidence{}).Layer(); err == nil {
		t.Error("empty evidence became a layer")
	}
}

func TestWithMember(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in    string
		front bool
		want  string
	}{
		{`{"predicateType":"a"}`, true, `{"predicateType":"b","predicateType":"a"}`},
		{`{"predicateType":"a"}`, false, `{"predicateType":"a","predicateType":"b"}`},
		{`{}`, true, `{"predicateType":"b"}`},
	} {
		if got := must[[]byte](t)(sigstack.WithMember([]byte(tt.in), tt.front, "predicateType", "b")); string(got) != tt.want {
			t.Errorf("%s: %s, want %s", tt.in, got, tt.want)
		}
	}
	if _, err := sigstack.WithMember([]byte("[]"), true, "a", 1); err == nil {
		t.Error("a list took a member")
	}
}
