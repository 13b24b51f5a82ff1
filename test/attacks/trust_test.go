package attacks

import (
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/testkit"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verdict"
)

// trustNoLog is what a root asks for where it asks for a timestamp only.
var trustNoLog = trust.Requires{SCT: true, Timestamp: true}

func registeredKey(t *testing.T, key *sigstack.Key, from, until time.Time) signers.Signer {
	t.Helper()
	keys := must(signers.ParseKeys(string(key.PublicPEM())))(t)
	return signers.Signer{Name: "registered", Type: signers.PublicKey, Keys: keys, Enabled: true, NotBefore: &from, ExpiresAt: &until}
}

// threshold is a policy that wants two of several signers.
func (w *world) threshold(n int, signers ...any) string {
	return policyOf(map[string]any{"verify_transparency_log": false, "threshold": n, "trusted_signers": signers})
}

func (w *world) keySigner(name string) map[string]any {
	return map[string]any{"type": "public_key", "key": string(w.stack.Key(name, sigstack.ECDSAP256SHA256).PublicPEM())}
}

// Thresholds, time, trust: threats 21 to 29.
func TestTrust(t *testing.T) {
	t.Parallel()
	workflow := map[string]any{"type": "keyless", "issuer": issuer, "subject": release}
	var attacks []attack
	add := func(a ...attack) { attacks = append(attacks, a...) }
	add(
		attack{
			threat: "21 one key signs twice",
			do: func(w *world) {
				w.policy = w.threshold(2, w.keySigner("release"), workflow)
				w.attach(w.byKey("release"))
				w.attach(w.byKey("release", func(r *sigstack.SignRequest) { r.Annotations = map[string]string{"n": "2"} }))
			},
			decision: verdict.Deny, reason: "threshold_not_met", signatures: 2,
		},
		attack{
			threat: "21 one identity with two keys",
			do: func(w *world) {
				w.policy = w.threshold(2, workflow, w.keySigner("release"), map[string]any{"type": "keyless", "issuer": issuer, "subject_regex": `https://github\.com/acme/.*`})
				w.attach(w.sign())
				w.attach(w.sign())
			},
			decision: verdict.Deny, reason: "threshold_not_met", signatures: 2,
			// A third signature by the same identity is no second signer either.
			beside: verdict.Deny,
		},
		attack{
			threat: "21 two signers in one entry's pattern",
			do: func(w *world) {
				w.policy = w.threshold(2, map[string]any{"type": "keyless", "issuer": issuer, "subject_regex": `https://github\.com/acme/.*`}, w.keySigner("release"))
				w.attach(w.sign(as(sigstack.Workflow{Repository: "acme/one"}.Identity())))
				w.attach(w.sign(as(sigstack.Workflow{Repository: "acme/two"}.Identity())))
			},
			decision: verdict.Deny, reason: "threshold_not_met", signatures: 2, beside: verdict.Deny,
		},
		attack{
			threat: "21 one log entry twice",
			do: func(w *world) {
				ev := w.sign()
				ev.Entries = append(ev.Entries, ev.Entries[0].Clone())
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeLogEntryInvalid},
		},
		attack{
			threat: "23 Rekor v2 without a timestamp",
			do: func(w *world) {
				w.attach(w.sign(func(r *sigstack.SignRequest) { r.Log = sigstack.RekorV2() }))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeTimestampMissing},
		},
		attack{
			threat: "23 Rekor v2, key, without a timestamp",
			do: func(w *world) {
				ev := w.byKey("release")
				w.ok(w.stack.AddEntry(ev, sigstack.RekorV2()))
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeTimestampMissing},
		},
		attack{
			threat: "23 neither promise nor proof",
			do: func(w *world) {
				w.attach(w.sign(func(r *sigstack.SignRequest) {
					r.Log, r.Timestamps = sigstack.LogSpec{Log: 1, Proofs: sigstack.ProofNone}, 1
				}))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeMalformed},
		},
		attack{
			threat: "23 corrupt inclusion proof",
			do: func(w *world) {
				ev := w.sign()
				ev.Entries[0] = ev.Entries[0].CorruptProof()
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeLogEntryInvalid},
		},
		attack{
			threat: "23 hint of a key that nobody knows",
			do: func(w *world) {
				w.policy = w.threshold(1, workflow)
				w.attach(w.byKey("stranger"))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeNoMatchingKey},
		},
		attack{
			threat: "23 hint of a trusted key on a stranger's signature",
			do: func(w *world) {
				ev := w.byKey("stranger")
				ev.Hint = w.stack.Key("release", sigstack.ECDSAP256SHA256).Hint()
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeNoMatchingKey},
		},
	)
	for _, log := range []struct {
		name string
		spec sigstack.LogSpec
		tsa  int
	}{
		{"v1", sigstack.RekorV1(), 0},
		{"v1, proof only", sigstack.LogSpec{Log: 1, Proofs: sigstack.ProofInclusion}, 1},
		{"v2", sigstack.RekorV2(), 1},
	} {
		for _, flaw := range sigstack.Flaws() {
			if flaw == sigstack.FlawOrigin && log.spec.Log == 1 {
				continue // see TestThreat23OriginOfRekorV1
			}
			add(attack{
				threat: fmt.Sprintf("23 Rekor %s, checkpoint with %s", log.name, flaw),
				do: func(w *world) {
					ev := w.sign(func(r *sigstack.SignRequest) { r.Log, r.Timestamps = log.spec, log.tsa })
					ev.Entries[0] = must(w.stack.FlawCheckpoint(ev.Entries[0], flaw))(w)
					w.attach(ev)
				},
				decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeLogEntryInvalid},
			})
		}
	}
	add(
		attack{
			threat: "24 logged after the certificate had ended",
			do: func(w *world) {
				w.attach(w.sign(func(r *sigstack.SignRequest) { r.Log.At = w.stack.At.Add(time.Hour) }))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeLogEntryInvalid},
		},
		attack{
			threat: "24 stamped before the certificate began",
			do: func(w *world) {
				ev := w.sign(func(r *sigstack.SignRequest) { r.Log = sigstack.RekorV2() })
				w.ok(w.stack.AddTimestamp(ev, sigstack.TimestampSpec{At: w.stack.At.Add(-time.Hour)}))
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeCertificateUntrusted},
		},
		attack{
			threat: "24 one time within the certificate's, one without",
			do: func(w *world) {
				ev := w.sign()
				w.ok(w.stack.AddTimestamp(ev, sigstack.TimestampSpec{At: w.stack.At.Add(time.Hour)}))
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeCertificateUntrusted},
		},
		attack{
			threat: "24 before the instance began",
			do: func(w *world) {
				at := w.stack.From.Add(-24 * time.Hour)
				w.attach(w.sign(func(r *sigstack.SignRequest) {
					r.At, r.Log.At = at, at
				}))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeLogEntryInvalid},
		},
		attack{
			threat: "24 time in another's SET",
			do: func(w *world) {
				ev := w.sign()
				ev.Entries[0] = ev.Entries[0].At(w.stack.At.Add(time.Minute))
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeLogEntryInvalid},
		},
		attack{
			threat: "24 signed in the future",
			do: func(w *world) {
				at := w.now.Add(time.Hour)
				w.attach(w.sign(func(r *sigstack.SignRequest) { r.At = at }))
			},
			decision: verdict.Deny, reason: "signed_in_future", signatures: 1,
			check: func(w *world, v verdict.Verdict, _ facts.Facts) {
				if v.Signature.Valid {
					w.Errorf("the verdict calls it valid: %+v", v.Signature)
				}
			},
		},
		attack{
			threat: "24 token after the authority's certificate had ended",
			do: func(w *world) {
				short := testkit.NewStack(w, sigstack.Options{Name: "short", Seed: w.Name(), TSAUntil: w.stack.At.Add(-time.Hour)})
				w.stack = short
				w.attach(w.sign(func(r *sigstack.SignRequest) { r.Timestamps = 1 }))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeTimestampInvalid},
		},
		attack{
			threat: "25 intermediate ended, no log asked for",
			do: func(w *world) {
				w.stack = testkit.NewStack(w, sigstack.Options{Name: "short", Seed: w.Name(), IntermediateUntil: w.stack.At.Add(-time.Hour)})
				w.requires = &trustNoLog
				w.policy = policyOf(map[string]any{"verify_transparency_log": false, "trusted_signers": []any{workflow, w.keySigner("release")}})
				w.attach(w.sign(func(r *sigstack.SignRequest) { r.Log, r.Timestamps = sigstack.LogSpec{}, 1 }))
			},
			// The good neighbour has the same ended intermediate.
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeCertificateUntrusted}, beside: verdict.Deny,
		},
		attack{
			threat: "25 no log asked of keys, a certificate is asked all the same",
			do: func(w *world) {
				w.requires = &trustNoLog
				w.good = func(r *sigstack.SignRequest) { r.Timestamps = 1 }
				w.policy = policyOf(map[string]any{"verify_transparency_log": false, "trusted_signers": []any{workflow}})
				w.attach(w.sign(func(r *sigstack.SignRequest) { r.Log, r.Timestamps = sigstack.LogSpec{}, 1 }))
			},
			decision: verdict.Deny, reason: "transparency_log_missing", signatures: 1,
		},
		attack{
			threat: "25 no log, and a stranger's SCT",
			do: func(w *world) {
				w.attach(w.sign(func(r *sigstack.SignRequest) { r.Cert.SCT = sigstack.SCTForeign }))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeSCTMissing},
		},
		attack{
			threat:   "25 no SCT",
			do:       func(w *world) { w.attach(w.sign(func(r *sigstack.SignRequest) { r.Cert.SCT = sigstack.SCTNone })) },
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeSCTMissing},
		},
		attack{
			threat:   "25 broken SCT",
			do:       func(w *world) { w.attach(w.sign(func(r *sigstack.SignRequest) { r.Cert.SCT = sigstack.SCTCorrupt })) },
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeSCTMissing},
		},
		attack{
			threat:   "25 key signature without a log, where keys are asked for it",
			do:       func(w *world) { w.attach(w.byKey("release")) },
			decision: verdict.Deny, reason: "transparency_log_missing", signatures: 1,
		},
		attack{
			threat: "26 token with a stranger's certificate in front",
			do: func(w *world) {
				stranger := testkit.NewStack(w, sigstack.Options{Name: "stranger", Seed: "stranger " + w.Name()})
				ev := w.sign(func(r *sigstack.SignRequest) { r.Log = sigstack.RekorV2() })
				chain := append([]*x509.Certificate{stranger.TSAs[0].Leaf}, w.stack.TSAs[0].Chain()...)
				w.ok(w.stack.AddTimestamp(ev, sigstack.TimestampSpec{Certificates: chain}))
				w.attach(ev)
			},
			decision: verdict.Allow, signatures: 1,
			check: func(w *world, _ verdict.Verdict, f facts.Facts) {
				if got, want := f.Signatures()[0].Timestamps[0].Authority, w.stack.TSAs[0].Leaf.Subject.String(); got != want {
					w.Errorf("the authority is %s, want the one that signed, %s", got, want)
				}
			},
		},
		attack{
			threat: "26 a stranger's token",
			do: func(w *world) {
				ev := w.sign(func(r *sigstack.SignRequest) { r.Log = sigstack.RekorV2() })
				w.ok(w.stack.ForeignTimestamp(ev, sigstack.TimestampSpec{}))
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeTimestampMissing},
		},
		attack{
			threat: "28 trust root past its staleness",
			do: func(w *world) {
				w.stale = 15 * 24 * time.Hour
				w.attach(w.sign())
			},
			decision: verdict.Unknown, reason: "trust_root_stale", signatures: 1, beside: verdict.Unknown,
		},
		attack{
			threat: "28 trust root within its staleness",
			do: func(w *world) {
				w.stale = 13 * 24 * time.Hour
				w.attach(w.sign())
			},
			decision: verdict.Allow, signatures: 1,
		},
		attack{
			threat: "28 a stranger's signature under a stale root, beside a fresh one",
			do: func(w *world) {
				other := testkit.NewStack(w, sigstack.Options{Name: "other", Seed: "other " + w.Name()})
				w.roots = [][]byte{w.stack.TrustedRootJSON(), other.TrustedRootJSON()}
				w.stale = 15 * 24 * time.Hour
				req := w.request()
				req.Identity = sigstack.Workflow{Repository: "evil/app"}.Identity()
				w.attach(other.Sign(req))
			},
			// What a root that nobody vouches for says is withheld, and spoils nothing.
			decision: verdict.Unknown, reason: "trust_root_stale", signatures: 1,
		},
		attack{
			threat: "28 a key's signature beside a stale root, which has no part in it",
			do: func(w *world) {
				w.stale = 15 * 24 * time.Hour
				w.policy = w.threshold(1, w.keySigner("release"))
				w.attach(w.byKey("release"))
			},
			decision: verdict.Allow, signatures: 1,
		},
		attack{
			threat: "28 a key's signature with an entry of a stale root's log",
			do: func(w *world) {
				w.stale = 15 * 24 * time.Hour
				w.policy = w.threshold(1, w.keySigner("release"))
				w.attach(w.loggedKey("release"))
			},
			decision: verdict.Unknown, reason: "trust_root_stale", signatures: 1, beside: verdict.Unknown,
		},
		attack{
			threat: "28 a key's signature without the log entry that is asked for, beside a stale root",
			do: func(w *world) {
				w.stale = 15 * 24 * time.Hour
				w.attach(w.byKey("release"))
			},
			decision: verdict.Deny, reason: "transparency_log_missing", signatures: 1, beside: verdict.Unknown,
		},
		attack{
			threat: "26 a token of another signature",
			do: func(w *world) {
				ev := w.sign(func(r *sigstack.SignRequest) { r.Log = sigstack.RekorV2() })
				w.ok(w.stack.AddTimestamp(ev, sigstack.TimestampSpec{Over: []byte("another signature")}))
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeTimestampInvalid},
		},
	)
	for _, m := range []struct {
		name     string
		material sigstack.Material
		code     string
	}{
		{"with its root", sigstack.MaterialFullChain, facts.CodeCertificateUntrusted},
		{"with its intermediate", sigstack.MaterialChain, facts.CodeCertificateUntrusted},
		{"as an empty chain", sigstack.MaterialEmpty, facts.CodeMalformed},
	} {
		add(attack{
			threat: "27 a stranger's certificate " + m.name + " in the bundle",
			do: func(w *world) {
				stranger := testkit.NewStack(w, sigstack.Options{Name: "stranger", Seed: "stranger " + w.Name()})
				req := w.request()
				req.Log = sigstack.LogSpec{}
				ev := stranger.Sign(req)
				w.ok(w.stack.AddEntry(ev, sigstack.RekorV1()))
				w.attachBytes(must(ev.BundleWith(sigstack.V02, m.material))(w))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{m.code},
		})
	}
	play(t, attacks)
}

// The origin of a Rekor v1 checkpoint is not compared with the log's host: Rekor
// v1 calls itself by a name of its own, which need not be the one in the trust
// root. The log's key is what says which log it is, and a stranger's under the
// right name is refused (above).
func TestThreat23OriginOfRekorV1(t *testing.T) {
	t.Parallel()
	w := newWorld(t, registrytest.Options{})
	ev := w.sign()
	ev.Entries[0] = must(w.stack.FlawCheckpoint(ev.Entries[0], sigstack.FlawOrigin))(w)
	w.attach(ev)
	w.alone(attack{decision: verdict.Allow, signatures: 1})
}

// A stranger's chain in the old format's annotation is as useless (threat 27).
func TestThreat27OldFormat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, registrytest.Options{})
	stranger := testkit.NewStack(w, sigstack.Options{Name: "stranger", Seed: "stranger " + w.Name()})
	req := w.request()
	req.Legacy, req.Log = true, sigstack.LogSpec{}
	ev := stranger.Sign(req)
	w.ok(w.stack.AddEntry(ev, sigstack.RekorV1SET()))
	w.server.Legacy(repo, w.digest(), ev)
	w.alone(attack{decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeCertificateUntrusted}})
}
