package sigstack_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

const image = "sha256:28eb4abd2aa6a4d82c6195ff023ca5ffece59c350fb3e748a0f6ff1041ddea01"

var person = sigstack.Email("https://accounts.example.test", "dev@example.test")

func newStack(tb testing.TB, opts sigstack.Options) *sigstack.Stack {
	tb.Helper()
	if opts.Seed == "" {
		opts.Seed = tb.Name()
	}
	s, err := sigstack.New(opts)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func sign(tb testing.TB, s *sigstack.Stack, req sigstack.SignRequest) *sigstack.Evidence {
	tb.Helper()
	ev, err := s.Sign(req)
	if err != nil {
		tb.Fatal(err)
	}
	return ev
}

func trustedRoot(tb testing.TB, s *sigstack.Stack) *root.TrustedRoot {
	tb.Helper()
	raw, err := s.TrustedRootJSON()
	if err != nil {
		tb.Fatal(err)
	}
	tr, err := root.NewTrustedRootFromJSON(raw)
	if err != nil {
		tb.Fatal(err)
	}
	return tr
}

// withKey is trusted material that also knows one bare key.
type withKey struct {
	*root.TrustedRoot
	verifier signature.Verifier
}

type anyTime struct{ signature.Verifier }

func (anyTime) ValidAtTime(time.Time) bool { return true }

func (w withKey) PublicKeyVerifier(string) (root.TimeConstrainedVerifier, error) {
	return anyTime{w.verifier}, nil
}

// check verifies a bundle with sigstore-go: an image digest or an artifact.
func check(tb testing.TB, material root.TrustedMaterial, raw, artifact []byte, opts ...verify.VerifierOption) (*verify.VerificationResult, error) {
	tb.Helper()
	var b bundle.Bundle
	if err := b.UnmarshalJSON(raw); err != nil {
		return nil, err
	}
	v, err := verify.NewVerifier(material, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	policy := verify.WithArtifact(bytes.NewReader(artifact))
	if artifact == nil {
		digest, err := hex.DecodeString(image[len("sha256:"):])
		if err != nil {
			tb.Fatal(err)
		}
		policy = verify.WithArtifactDigest("sha256", digest)
	}
	return v.Verify(&b, verify.NewPolicy(policy, verify.WithoutIdentitiesUnsafe()))
}

func keyless() []verify.VerifierOption {
	return []verify.VerifierOption{
		verify.WithObserverTimestamps(1), verify.WithTransparencyLog(1), verify.WithSignedCertificateTimestamps(1),
	}
}

func TestKeylessBundlesVerify(t *testing.T) {
	t.Parallel()
	artifact := []byte("an artifact\n")
	logs := []struct {
		name string
		log  sigstack.LogSpec
		tsa  int
	}{
		{"rekor v1", sigstack.RekorV1(), 0},
		{"rekor v1 and tsa", sigstack.RekorV1(), 1},
		{"rekor v2", sigstack.RekorV2(), 1},
		{"intoto 0.0.2", sigstack.RekorV1().As(sigstack.KindInToto, "0.0.2"), 0},
	}
	contents := []struct {
		name string
		req  sigstack.SignRequest
		data []byte
	}{
		{"image", sigstack.SignRequest{Image: image, Annotations: map[string]string{"env": "prod"}}, nil},
		{"statement", sigstack.SignRequest{Statement: &sigstack.Statement{
			Subjects:      []sigstack.Subject{sigstack.SubjectOf("registry.test/app", image)},
			PredicateType: sigstack.PredicateSLSA1,
		}}, nil},
		{"artifact", sigstack.SignRequest{Artifact: artifact}, artifact},
	}
	stacks := map[string]sigstack.Options{
		"p256 and ed25519": {Seed: "one"},
		"p384 and ecdsa":   {Seed: "two", Fulcio: sigstack.ECDSAP384SHA384, Rekor2ECDSA: true},
	}
	for stackName, opts := range stacks {
		s := newStack(t, opts)
		tr := trustedRoot(t, s)
		for _, l := range logs {
			for _, c := range contents {
				if c.data != nil && l.log.Kind == sigstack.KindInToto {
					continue
				}
				for _, v := range []sigstack.Version{sigstack.V01, sigstack.V02, sigstack.V03Old, sigstack.V03} {
					if v == sigstack.V01 && l.log.Log == 2 {
						continue // v0.1 wants a signed entry timestamp
					}
					t.Run(stackName+"/"+l.name+"/"+c.name+"/"+v.MediaType(), func(t *testing.T) {
						req := c.req
						req.Identity, req.Log, req.Timestamps = person, l.log, l.tsa
						raw, err := sign(t, s, req).Bundle(v)
						if err != nil {
							t.Fatal(err)
						}
						res, err := check(t, tr, raw, c.data, keyless()...)
						if err != nil {
							t.Fatalf("%v\n%s", err, raw)
						}
						if got := res.Signature.Certificate.SubjectAlternativeName; got != "dev@example.test" {
							t.Errorf("subject %q", got)
						}
						if got := res.Signature.Certificate.Issuer; got != person.Issuer {
							t.Errorf("issuer %q", got)
						}
						if len(res.VerifiedTimestamps) == 0 || !res.VerifiedTimestamps[0].Timestamp.Equal(s.At) {
							t.Errorf("timestamps %v", res.VerifiedTimestamps)
						}
					})
				}
			}
		}
	}
}

func TestKeyBundlesVerify(t *testing.T) {
	t.Parallel()
	s := newStack(t, sigstack.Options{})
	tr := trustedRoot(t, s)
	artifact := []byte("an artifact\n")
	for _, alg := range sigstack.Algorithms() {
		for _, data := range [][]byte{nil, artifact} {
			name := alg.String() + "/image"
			if data != nil {
				name = alg.String() + "/artifact"
			}
			t.Run(name, func(t *testing.T) {
				key, err := s.Key("signer", alg)
				if err != nil {
					t.Fatal(err)
				}
				req := sigstack.SignRequest{Image: image, Key: key}
				if data != nil {
					req = sigstack.SignRequest{Artifact: data, Key: key}
				}
				raw, err := sign(t, s, req).Bundle(sigstack.V03)
				if err != nil {
					t.Fatal(err)
				}
				material := withKey{tr, verifier(t, key)}
				if _, err := check(t, material, raw, data, verify.WithNoObserverTimestamps()); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// Certificates for keys of every type that sigstore-go verifies without options.
func TestKeylessWithEveryKeyType(t *testing.T) {
	t.Parallel()
	s := newStack(t, sigstack.Options{})
	tr := trustedRoot(t, s)
	artifact := []byte("an artifact\n")
	for _, alg := range sigstack.Algorithms() {
		for _, log := range []sigstack.LogSpec{sigstack.RekorV1(), sigstack.RekorV2()} {
			for _, data := range [][]byte{nil, artifact} {
				switch {
				case alg == sigstack.ECDSAP384SHA256, alg == sigstack.ECDSAP521SHA256, alg == sigstack.RSA2048PSSSHA256:
					continue // not the default of such a key
				case alg == sigstack.Ed25519 && data != nil, alg == sigstack.Ed25519ph && data == nil:
					continue // sigstore-go takes pure for envelopes and prehashed for messages
				}
				name := fmt.Sprintf("%v/rekor v%d/artifact %v", alg, log.Log, data != nil)
				t.Run(name, func(t *testing.T) {
					key, err := s.Key("leaf", alg)
					if err != nil {
						t.Fatal(err)
					}
					req := sigstack.SignRequest{Identity: person, Key: key, Log: log, Timestamps: 1, Artifact: data}
					if data == nil {
						req.Image = image
					}
					raw, err := sign(t, s, req).Bundle(sigstack.V03)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := check(t, tr, raw, data, keyless()...); err != nil {
						t.Errorf("%v\n%s", err, raw)
					}
				})
			}
		}
	}
}

func BenchmarkSign(b *testing.B) {
	s := newStack(b, sigstack.Options{})
	id := sigstack.Workflow{}.Identity()
	for b.Loop() {
		ev := sign(b, s, sigstack.SignRequest{Image: image, Identity: id, Log: sigstack.RekorV2(), Timestamps: 1})
		if _, err := ev.Bundle(sigstack.V03); err != nil {
			b.Fatal(err)
		}
	}
}
