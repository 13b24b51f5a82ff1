package attacks

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/testkit"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/verdict"
)

// as signs with another identity.
func as(id *sigstack.Identity) func(*sigstack.SignRequest) {
	return func(r *sigstack.SignRequest) { r.Identity = id }
}

// edited is the trusted identity after an edit.
func (w *world) edited(edit func(id *sigstack.Identity)) func(*sigstack.SignRequest) {
	id := w.identity()
	edit(id)
	return as(id)
}

// trusting is a policy for one keyless signer.
func trusting(signer map[string]any) string {
	signer["type"] = "keyless"
	if signer["issuer"] == nil {
		signer["issuer"] = issuer
	}
	return policyOf(map[string]any{"trusted_signers": []any{signer}})
}

// Identity: threats 12 to 20.
func TestIdentity(t *testing.T) {
	t.Parallel()
	var attacks []attack
	add := func(a ...attack) { attacks = append(attacks, a...) }

	// The pattern is meant for acme's workflows; each of these wants to slip past it.
	for _, p := range []struct{ pattern, subject string }{
		{`https://github\.com/acme`, "https://github.com/acme-evil/app/.github/workflows/release.yml@refs/heads/main"},
		{`https://github.com/acme/.*`, "https://github.com.evil.io/acme/app/.github/workflows/release.yml@refs/heads/main"},
		{`https://github.com/acme/.*`, "https://githubXcom/acme/app/.github/workflows/release.yml@refs/heads/main"},
		{`https://github\.com/acme/.*`, "https://evil.io/?https://github.com/acme/app"},
		{`^https://github\.com/acme/app/\.github/workflows/release\.yml@refs/heads/main`, release + "-evil"},
		{`https://github\.com/(acme|example)/app/.*`, "https://github.com/acme/app-evil/.github/workflows/release.yml@refs/heads/main"},
	} {
		add(attack{
			threat: fmt.Sprintf("12 %s as %s", p.subject, p.pattern),
			do: func(w *world) {
				w.policy = policyOf(map[string]any{"trusted_signers": []any{
					map[string]any{"type": "keyless", "issuer": issuer, "subject_regex": p.pattern},
					map[string]any{"type": "keyless", "issuer": issuer, "subject": release},
				}})
				w.attach(w.sign(as(sigstack.URI(issuer, p.subject))))
			},
			decision: verdict.Deny, reason: "signer_not_trusted", signatures: 1,
		})
	}
	add(
		attack{
			threat: "12 issuer that begins like ours",
			do: func(w *world) {
				w.attach(w.sign(as(sigstack.URI(issuer+".evil.io", release))))
			},
			decision: verdict.Deny, reason: "signer_not_trusted", signatures: 1,
		},
		attack{
			threat:   "13 the subject from another issuer",
			do:       func(w *world) { w.attach(w.sign(as(sigstack.URI("https://accounts.evil.test", release)))) },
			decision: verdict.Deny, reason: "signer_not_trusted", signatures: 1,
		},
		attack{
			threat:   "13 no issuer in the certificate",
			do:       func(w *world) { w.attach(w.sign(as(sigstack.URI("", release)))) },
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeCertificateIdentity},
		},
		attack{
			threat:   "15 no SAN",
			do:       func(w *world) { w.attach(w.sign(w.edited(func(id *sigstack.Identity) { id.URIs = nil }))) },
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeCertificateIdentity},
		},
		attack{
			threat: "15 two SANs, ours among them",
			do: func(w *world) {
				w.attach(w.sign(w.edited(func(id *sigstack.Identity) { id.Emails = []string{"evil@example.test"} })))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeCertificateIdentity},
		},
		attack{
			threat: "15 two SANs of one type",
			do: func(w *world) {
				w.attach(w.sign(w.edited(func(id *sigstack.Identity) { id.URIs = append(id.URIs, "https://evil.test/x") })))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeCertificateIdentity},
		},
		attack{
			threat: "16 old and new issuer disagree",
			do: func(w *world) {
				w.attach(w.sign(w.edited(func(id *sigstack.Identity) {
					id.Raw = map[sigstack.Claim][]byte{sigstack.ClaimIssuerV1: []byte("https://evil.test")}
				})))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeCertificateIdentity},
		},
		attack{
			threat: "16 old and new ref disagree",
			do: func(w *world) {
				w.attach(w.sign(w.edited(func(id *sigstack.Identity) { id.Claims[sigstack.ClaimWorkflowRef] = "refs/heads/evil" })))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeCertificateIdentity},
		},
		attack{
			threat: "16 old and new repository disagree",
			do: func(w *world) {
				w.attach(w.sign(w.edited(func(id *sigstack.Identity) { id.Claims[sigstack.ClaimWorkflowRepository] = "evil/app" })))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeCertificateIdentity},
		},
		attack{
			threat: "16 issuer that is not DER",
			do: func(w *world) {
				w.attach(w.sign(w.edited(func(id *sigstack.Identity) {
					id.Raw = map[sigstack.Claim][]byte{sigstack.ClaimIssuerV2: []byte(issuer)}
				})))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeCertificateIdentity},
		},
		attack{
			threat: "16 bytes after the issuer",
			do: func(w *world) {
				w.attach(w.sign(w.edited(func(id *sigstack.Identity) {
					id.Raw = map[sigstack.Claim][]byte{sigstack.ClaimIssuerV2: append(sigstack.DERString(issuer), 0)}
				})))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeCertificateIdentity},
		},
		attack{
			threat: "17 trigger, ref and runner of a stranger's pull request are facts",
			do: func(w *world) {
				w.attach(w.sign(as(sigstack.Workflow{Trigger: "pull_request", Ref: "refs/pull/7/merge", Runner: "self-hosted"}.Identity())))
			},
			decision: verdict.Deny, reason: "signer_not_trusted", signatures: 1,
			check: func(w *world, _ verdict.Verdict, f facts.Facts) {
				claims := f.Signatures()[0].Signer.Claims
				got := []string{claims["build_trigger"], claims["source_repository_ref"], claims["runner_environment"]}
				if diff := cmp.Diff([]string{"pull_request", "refs/pull/7/merge", "self-hosted"}, got); diff != "" {
					w.Errorf("claims (-want +have):\n%s", diff)
				}
			},
		},
		attack{
			threat: "18 the signer's certificate names another source",
			do: func(w *world) {
				w.policy = policyOf(map[string]any{
					"trusted_signers": []any{map[string]any{"type": "keyless", "issuer": issuer, "subject": release}},
					"slsa":            map[string]any{"trusted_sources": []string{"github.com/acme/app"}},
				})
				// A workflow that others may call signs for whoever calls it.
				w.attach(w.sign(as(sigstack.Workflow{Repository: "evil/app", Signer: release}.Identity())))
			},
			decision: verdict.Deny, reason: "source_not_trusted", signatures: 1,
		},
		attack{
			threat: "18 a source that begins like ours",
			do: func(w *world) {
				w.policy = policyOf(map[string]any{
					"trusted_signers": []any{map[string]any{"type": "keyless", "issuer": issuer, "subject": release}},
					"slsa":            map[string]any{"trusted_sources": []string{"github.com/acme/app"}},
				})
				w.attach(w.sign(as(sigstack.Workflow{Repository: "acme/app-evil", Signer: release}.Identity())))
			},
			decision: verdict.Deny, reason: "source_not_trusted", signatures: 1,
		},
		attack{
			threat: "20 another instance with the same subject",
			do: func(w *world) {
				other := testkit.NewStack(w, sigstack.Options{Name: "other", Seed: "other " + w.Name()})
				w.attach(other.Sign(w.request()))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeCertificateUntrusted},
		},
		attack{
			threat: "20 another instance that calls itself like ours",
			do: func(w *world) {
				other := testkit.NewStack(w, sigstack.Options{Name: w.stack.Name, Seed: "impostor " + w.Name()})
				w.attach(other.Sign(w.request()))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeLogEntryMissing},
		},
		attack{
			threat: "20 an impostor's certificate in our log",
			do: func(w *world) {
				other := testkit.NewStack(w, sigstack.Options{Name: w.stack.Name, Seed: "impostor " + w.Name()})
				req := w.request()
				req.Log = sigstack.LogSpec{}
				ev := other.Sign(req)
				w.ok(w.stack.AddEntry(ev, sigstack.RekorV1()))
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeCertificateUntrusted},
		},
		attack{
			threat: "20 roots are not merged: one root's certificate, another's log",
			do: func(w *world) {
				other := testkit.NewStack(w, sigstack.Options{Name: "other", Seed: "other " + w.Name()})
				w.roots = [][]byte{w.stack.TrustedRootJSON(), other.TrustedRootJSON()}
				ev := w.sign(func(r *sigstack.SignRequest) { r.Log = sigstack.LogSpec{} })
				w.ok(other.AddEntry(ev, sigstack.RekorV1()))
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeLogEntryMissing},
		},
	)
	play(t, attacks)
}

// What must not even load: threats 4, 13, 14, 22.
func TestConfigurationRefused(t *testing.T) {
	t.Parallel()
	key := string(testkit.NewStack(t, sigstack.Options{}).Key("a", sigstack.ECDSAP256SHA256).PublicPEM())
	one := []any{map[string]any{"type": "public_key", "key": key}}
	for _, tt := range []struct {
		name, policy, says string
	}{
		{"13 subject without issuer", policyOf(map[string]any{"trusted_signers": []any{map[string]any{"type": "keyless", "subject": release}}}), "issuer"},
		{"13 issuer without subject", policyOf(map[string]any{"trusted_signers": []any{map[string]any{"type": "keyless", "issuer": issuer}}}), "subject"},
		{"13 no signers", policyOf(map[string]any{"trusted_signers": []any{}}), "trusted_signers"},
		{"13 no signers at all", policyOf(nil), "trusted_signers"},
		{"14 unknown field", policyOf(map[string]any{"trusted_signers": one, "require_signatures": true}), "require_signatures"},
		{"14 unknown field of a signer", policyOf(map[string]any{"trusted_signers": []any{map[string]any{"type": "public_key", "key": key, "subject_regexp": ".*"}}}), "subject_regexp"},
		{"14 unknown mode", policyOf(map[string]any{"trusted_signers": one, "mode": "enforced"}), "mode"},
		{"14 pattern that breaks out of its anchors", trusting(map[string]any{"subject_regex": "a)|(b"}), "subject_regex"},
		{"4 an attestation by nobody who is trusted", policyOf(map[string]any{"trusted_signers": one, "attestations": []any{map[string]any{"predicate_type": sigstack.PredicateSPDX, "signers": []any{"nobody"}}}}), "attestations[0].signers"},
		{"18 a level, and no builder is trusted", policyOf(map[string]any{"trusted_signers": one, "slsa": map[string]any{"require_attestation": true, "minimum_level": 2}}), "slsa.trusted_builders"},
		{"19 a builder at a branch that is only called main", policyOf(map[string]any{"trusted_signers": one, "slsa": map[string]any{"minimum_level": 2, "trusted_builders": []any{generator + "@main"}}}), "full ref"},
		{"22 threshold 0", policyOf(map[string]any{"trusted_signers": one, "threshold": 0}), "threshold"},
		{"22 negative threshold", policyOf(map[string]any{"trusted_signers": one, "threshold": -1}), "threshold"},
		{"22 threshold above the number of signers", policyOf(map[string]any{"trusted_signers": one, "threshold": 2}), "threshold"},
	} {
		t.Run("threat "+tt.name, func(t *testing.T) {
			_, err := signingpolicy.Parse([]byte(tt.policy))
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want one that names %s", err, tt.says)
			}
		})
	}
}

// A signer whose time is over, or has not come, is no signer (threat 25).
func TestThreat25SignersHaveTheirTime(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		from, until time.Duration
		want        verdict.Decision
	}{
		{"in force", -time.Hour, time.Hour, verdict.Allow},
		{"not yet", time.Hour, 2 * time.Hour, verdict.Deny},
		{"no more", -2 * time.Hour, -time.Second, verdict.Deny},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, registrytest.Options{})
			key := w.stack.Key("release", sigstack.ECDSAP256SHA256)
			w.registered = append(w.registered, registeredKey(t, key, w.now.Add(tt.from), w.now.Add(tt.until)))
			w.policy = policyOf(map[string]any{"verify_transparency_log": false, "trusted_signers": []any{map[string]any{"type": "registry"}}})
			w.attach(w.byKey("release"))
			if _, v := w.decide(w.ask); v.Decision != tt.want {
				t.Errorf("%s, want %s: %+v", v.Decision, tt.want, v.Reasons)
			}
		})
	}
}
