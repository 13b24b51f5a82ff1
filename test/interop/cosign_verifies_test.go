package interop

import (
	"testing"

	"github.com/signet-policy/signet/internal/testkit"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/test/interop/cosigntest"
)

const (
	issuer = "https://accounts.example.test"
	person = "dev@example.test"
)

// Everything that the test kit signs is verified by cosign under the stack's own
// trusted root, with no check turned off: that is what makes the test kit a
// Sigstore and not an imitation of our own verifier.
func TestCosignVerifiesTheTestKit(t *testing.T) {
	t.Parallel()
	cosign := cosigntest.New(t)
	stack := testkit.NewStack(t, sigstack.Options{})
	ecdsa := testkit.NewStack(t, sigstack.Options{Name: "ecdsa", Fulcio: sigstack.ECDSAP384SHA384, Rekor2ECDSA: true})
	registry := registrytest.New(t, registrytest.Options{})
	workflow := sigstack.Workflow{}.Identity()
	email := sigstack.Email(issuer, person)

	for _, tt := range []struct {
		name   string
		stack  *testkit.Stack
		req    sigstack.SignRequest
		attest bool
	}{
		{"keyless, rekor v1", stack, sigstack.SignRequest{Identity: email, Log: sigstack.RekorV1()}, false},
		{"keyless, rekor v1 and tsa", stack, sigstack.SignRequest{Identity: email, Log: sigstack.RekorV1(), Timestamps: 1}, false},
		{"keyless, rekor v2", stack, sigstack.SignRequest{Identity: email, Log: sigstack.RekorV2(), Timestamps: 1}, false},
		{"keyless, rekor v2 ecdsa, p384 fulcio", ecdsa, sigstack.SignRequest{Identity: email, Log: sigstack.RekorV2(), Timestamps: 1}, false},
		{"workflow, rekor v2", stack, sigstack.SignRequest{Identity: workflow, Log: sigstack.RekorV2(), Timestamps: 1}, false},
		{"old, keyless", stack, sigstack.SignRequest{Identity: email, Log: sigstack.RekorV1SET(), Legacy: true}, false},
		{"old, keyless with tsa", stack, sigstack.SignRequest{Identity: email, Log: sigstack.RekorV1SET(), Timestamps: 1, Legacy: true}, false},
		{"attestation, rekor v1 dsse", stack, sigstack.SignRequest{Identity: workflow, Log: sigstack.RekorV1()}, true},
		{"attestation, rekor v1 intoto 0.0.2", stack, sigstack.SignRequest{Identity: workflow, Log: sigstack.RekorV1().As(sigstack.KindInToto, "0.0.2")}, true},
		{"attestation, rekor v2", stack, sigstack.SignRequest{Identity: workflow, Log: sigstack.RekorV2(), Timestamps: 1}, true},
		{"old attestation, dsse", stack, sigstack.SignRequest{Identity: workflow, Log: sigstack.RekorV1SET(), Legacy: true}, true},
		{"old attestation, intoto 0.0.1", stack, sigstack.SignRequest{Identity: workflow, Log: sigstack.RekorV1SET().As(sigstack.KindInToto, "0.0.1"), Legacy: true}, true},
		{"old attestation, intoto 0.0.2", stack, sigstack.SignRequest{Identity: workflow, Log: sigstack.RekorV1SET().As(sigstack.KindInToto, "0.0.2"), Legacy: true}, true},
		{"old attestation with tsa", stack, sigstack.SignRequest{Identity: workflow, Log: sigstack.RekorV1SET(), Timestamps: 1, Legacy: true}, true},
		{"key, rekor v1", stack, sigstack.SignRequest{Key: stack.Key("k", sigstack.ECDSAP256SHA256), Log: sigstack.RekorV1()}, false},
		{"key, rekor v2", stack, sigstack.SignRequest{Key: stack.Key("k", sigstack.ECDSAP256SHA256), Log: sigstack.RekorV2(), Timestamps: 1}, false},
		// cosign reads keys in files as SHA-256 ones.
		{"key p384, rekor v1", stack, sigstack.SignRequest{Key: stack.Key("k", sigstack.ECDSAP384SHA256), Log: sigstack.RekorV1()}, false},
		{"key rsa, rekor v1", stack, sigstack.SignRequest{Key: stack.Key("k", sigstack.RSA2048PKCS1SHA256), Log: sigstack.RekorV1()}, false},
		{"old, key, rekor v1", stack, sigstack.SignRequest{Key: stack.Key("k", sigstack.ECDSAP256SHA256), Log: sigstack.RekorV1SET(), Legacy: true}, false},
		{"old attestation, key", stack, sigstack.SignRequest{Key: stack.Key("k", sigstack.ECDSAP256SHA256), Log: sigstack.RekorV1SET(), Legacy: true}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cosign, registry, stack := cosign.For(t), registry.For(t), tt.stack.For(t)
			repo := repository(tt.name)
			image := ocitest.Image(ocitest.ImageOptions{Content: tt.name})
			registry.Push(repo, "v1", image)
			req := tt.req
			if tt.attest {
				req.Statement = &sigstack.Statement{
					Type:          sigstack.StatementV01,
					Subjects:      []sigstack.Subject{sigstack.SubjectOf(registry.Image(repo, ""), image.Digest())},
					PredicateType: sigstack.PredicateSLSA1,
					Predicate:     sigstack.Provenance{}.V1(),
				}
			} else {
				req.Image = image.Digest()
				req.Reference = registry.Image(repo, "")
			}
			ev := stack.Sign(req)
			if req.Legacy {
				registry.Legacy(repo, image.Digest(), ev)
			} else {
				registry.Attach(repo, image, ev)
			}
			command := []string{"verify"}
			if tt.attest {
				command = []string{"verify-attestation", "--type", sigstack.PredicateSLSA1}
			}
			var signer, stranger []string
			if req.Identity == nil {
				root := cosign.TrustedRoot(stack.Stack)
				signer = []string{"--trusted-root", root, "--key", cosign.File("signer.pub", ev.Key.PublicPEM())}
				other := stack.Key("other", sigstack.ECDSAP256SHA256)
				stranger = []string{"--trusted-root", root, "--key", cosign.File("other.pub", other.PublicPEM())}
			} else {
				subject := append(append([]string{}, req.Identity.URIs...), req.Identity.Emails...)[0]
				signer = cosign.Keyless(stack.Stack, req.Identity.Issuer, subject)
				stranger = cosign.Keyless(stack.Stack, req.Identity.Issuer, "x"+subject)
			}
			ref := registry.Image(repo, "v1")
			if _, err := cosign.Run(append(append(append([]string{}, command...), signer...), ref)...); err != nil {
				t.Fatal(err)
			}
			if _, err := cosign.Run(append(append(append([]string{}, command...), stranger...), ref)...); !cosigntest.Exited(err) {
				t.Errorf("cosign took it for another signer's: %v", err)
			}
		})
	}
}
