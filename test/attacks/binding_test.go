package attacks

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/verdict"
)

// legacy asks for cosign's old format.
func legacy(r *sigstack.SignRequest) { r.Legacy = true }

// about asks for a signature of another image.
func about(digest string) func(*sigstack.SignRequest) {
	return func(r *sigstack.SignRequest) { r.Image = digest }
}

// stating asks for a statement about the image.
func (w *world) stating(predicateType string, predicate any) func(*sigstack.SignRequest) {
	return func(r *sigstack.SignRequest) {
		r.Image = ""
		r.Statement = &sigstack.Statement{Subjects: []sigstack.Subject{sigstack.SubjectOf("", w.digest())}, PredicateType: predicateType, Predicate: predicate}
	}
}

// payload asks for exactly these signed bytes.
func payload(b []byte) func(*sigstack.SignRequest) {
	return func(r *sigstack.SignRequest) { r.Image, r.Payload = "", b }
}

// Binding and type: threats 1 to 11.
func TestBinding(t *testing.T) {
	t.Parallel()
	play(t, []attack{
		{
			threat: "1 .sig copied from another image",
			do: func(w *world) {
				w.server.Legacy(repo, w.digest(), w.sign(legacy, about(w.other().Digest())))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeSubjectMismatch},
		},
		{
			threat:   "1 bundle copied from another image",
			do:       func(w *world) { w.attach(w.sign(about(w.other().Digest()))) },
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeSubjectMismatch},
		},
		{
			threat: "2 provenance in place of a signature",
			do: func(w *world) {
				w.attach(w.sign(w.stating(sigstack.PredicateSLSA1, sigstack.Provenance{}.V1())))
			},
			decision: verdict.Deny, reason: "unsigned", attestations: 1,
		},
		{
			threat: "2 old attestation in place of a signature",
			do: func(w *world) {
				w.server.Legacy(repo, w.digest(), w.sign(legacy, w.stating(sigstack.PredicateSLSA1, sigstack.Provenance{}.V1())))
			},
			decision: verdict.Deny, reason: "unsigned", attestations: 1,
		},
		{
			threat: "3 annotation says signature, signed is an SBOM",
			do: func(w *world) {
				ev := w.sign(w.stating(sigstack.PredicateSPDX, map[string]any{"spdxVersion": "SPDX-2.3"}))
				ev.PredicateType = sigstack.PredicateCosignSign
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "unsigned", attestations: 1,
			check: func(w *world, _ verdict.Verdict, f facts.Facts) {
				if got := f.Attestations()[0].PredicateType; got != sigstack.PredicateSPDX {
					w.Errorf("predicate type %s, want the signed one", got)
				}
			},
		},
		{
			threat: "3 old annotation says provenance, signed is an SBOM",
			do: func(w *world) {
				ev := w.sign(legacy, w.stating(sigstack.PredicateSPDX, nil))
				ev.PredicateType = sigstack.PredicateSLSA1
				w.server.Legacy(repo, w.digest(), ev)
			},
			decision: verdict.Deny, reason: "unsigned", attestations: 1,
			check: func(w *world, _ verdict.Verdict, f facts.Facts) {
				if got := f.Attestations()[0].PredicateType; got != sigstack.PredicateSPDX {
					w.Errorf("predicate type %s, want the signed one", got)
				}
			},
		},
		{
			threat: "5 log entry of another signature",
			do: func(w *world) {
				ev := w.sign()
				ev.Entries = w.sign(about(w.other().Digest())).Entries
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeLogEntryInvalid},
		},
		{
			threat: "5 log entry of another signature, old format",
			do: func(w *world) {
				ev := w.sign(legacy)
				ev.Entries = w.sign(legacy, about(w.other().Digest())).Entries
				w.server.Legacy(repo, w.digest(), ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeLogEntryInvalid},
		},
		{
			threat: "5 intoto entry of another attestation",
			do: func(w *world) {
				intoto := func(r *sigstack.SignRequest) { r.Log = sigstack.RekorV1SET().As(sigstack.KindInToto, "0.0.1") }
				ev := w.sign(legacy, w.stating(sigstack.PredicateSLSA1, nil), intoto)
				ev.Entries = w.sign(legacy, w.stating(sigstack.PredicateSPDX, nil), intoto).Entries
				w.server.Legacy(repo, w.digest(), ev)
			},
			// A rejected attestation says nothing about signatures: there is none.
			decision: verdict.Deny, reason: "unsigned", rejections: []string{facts.CodeLogEntryInvalid},
		},
		{
			threat: "6 payload swapped",
			do: func(w *world) {
				ev := w.sign(about(w.other().Digest()))
				ev.Envelope.Payload = must(sigstack.CosignStatement(w.digest(), nil))(w)
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeLogEntryInvalid},
		},
		{
			threat: "6 payload swapped, key, no log",
			do: func(w *world) {
				ev := w.byKey("release", about(w.other().Digest()))
				ev.Envelope.Payload = must(sigstack.CosignStatement(w.digest(), nil))(w)
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeNoMatchingKey},
		},
		{
			threat: "6 signature of another envelope",
			do: func(w *world) {
				key := w.stack.Key("release", sigstack.ECDSAP256SHA256)
				with := func(r *sigstack.SignRequest) { r.Key = key }
				ev := w.sign(with)
				ev.Envelope.Signatures = w.sign(with, about(w.other().Digest())).Envelope.Signatures
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeLogEntryInvalid},
		},
		{
			threat: "6 two signatures in one envelope",
			do: func(w *world) {
				ev := w.sign()
				w.ok(ev.AddSignature(w.stack.Key("release", sigstack.ECDSAP256SHA256)))
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeMalformed},
		},
		{
			threat: "6 no signature in the envelope",
			do: func(w *world) {
				ev := w.sign()
				ev.Envelope.Signatures = nil
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "unsigned", rejections: []string{facts.CodeNoSignature},
		},
		{
			threat: "7 entry of an unknown log with an invented time",
			do: func(w *world) {
				ev := w.sign()
				e := must(w.stack.ForeignEntry(ev, sigstack.LogSpec{Log: 1, At: w.stack.At.Add(-300 * 24 * time.Hour)}))(w)
				ev.Entries = append([]*sigstack.Entry{e}, ev.Entries...)
				w.attach(ev)
			},
			decision: verdict.Allow, signatures: 1,
			check: func(w *world, v verdict.Verdict, f facts.Facts) {
				s := f.Signatures()[0]
				if len(s.Transparency) != 1 || !s.SignedAt.Equal(w.stack.At) || !v.Signature.SignedAt.Equal(w.stack.At) {
					w.Errorf("signed at %v with %+v, want the entry of the known log only, at %v", s.SignedAt, s.Transparency, w.stack.At)
				}
			},
		},
		{
			threat: "7 two entries of a known log, one about another signature",
			do: func(w *world) {
				ev := w.sign()
				ev.Entries = append(ev.Entries, w.sign(about(w.other().Digest())).Entries...)
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeLogEntryInvalid},
		},
		{
			threat: "7 nothing but an entry of an unknown log",
			do: func(w *world) {
				ev := w.sign()
				ev.Entries = []*sigstack.Entry{must(w.stack.ForeignEntry(ev, sigstack.RekorV1()))(w)}
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeLogEntryMissing},
		},
		{
			threat: "7 proof-only entry with another time",
			do: func(w *world) {
				ev := w.sign()
				w.ok(w.stack.AddTimestamp(ev, sigstack.TimestampSpec{At: w.stack.At.Add(5 * time.Minute)}))
				ev.Entries[0] = ev.Entries[0].WithoutSET(w.stack.At.Add(time.Minute))
				w.attach(ev)
			},
			decision: verdict.Allow, signatures: 1,
			check: func(w *world, _ verdict.Verdict, f facts.Facts) {
				s := f.Signatures()[0]
				if s.Transparency[0].IntegratedAt != nil || !s.SignedAt.Equal(w.stack.At.Add(5*time.Minute)) {
					w.Errorf("signed at %v, log entry %+v: nobody signed that entry's time", s.SignedAt, s.Transparency)
				}
			},
		},
		{
			threat: "7 proof-only entry as the only time",
			do: func(w *world) {
				ev := w.sign()
				ev.Entries[0] = ev.Entries[0].WithoutSET(w.stack.At)
				w.attach(ev)
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeTimestampMissing},
		},
		{
			threat: "7 PredicateType beside predicateType",
			do: func(w *world) {
				w.attach(w.sign(payload(w.member(sigstack.PredicateSLSA1, false, "PredicateType", sigstack.PredicateCosignSign))))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeMalformed},
		},
		{
			threat: "7 predicateType twice",
			do: func(w *world) {
				w.attach(w.sign(payload(w.member(sigstack.PredicateSLSA1, true, "predicateType", sigstack.PredicateCosignSign))))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeMalformed},
		},
		{
			threat: "7 message signature over another manifest",
			do: func(w *world) {
				other := w.other().Raw
				w.attach(w.sign(func(r *sigstack.SignRequest) { r.Image, r.Artifact = "", other }))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeSubjectMismatch},
		},
		{
			threat: "7 Ed25519 over a manifest, whose bytes nobody compares",
			do: func(w *world) {
				key := w.stack.Key("ed", sigstack.Ed25519)
				w.attach(w.sign(func(r *sigstack.SignRequest) {
					r.Image, r.Artifact, r.Key, r.Log, r.Timestamps = "", w.image.Raw, key, sigstack.RekorV2(), 1
				}))
			},
			// Never "artifact_needed", which would turn a denial into an unknown.
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeLogEntryInvalid},
		},
		{
			threat: "7 Ed25519 by a bare key over a manifest",
			do: func(w *world) {
				key := w.stack.Key("ed", sigstack.Ed25519)
				w.policy = policyOf(map[string]any{"verify_transparency_log": false, "trusted_signers": []any{
					map[string]any{"type": "public_key", "key": string(key.PublicPEM())}, map[string]any{"type": "keyless", "issuer": issuer, "subject": release},
				}})
				w.attach(w.sign(func(r *sigstack.SignRequest) {
					r.Image, r.Artifact, r.Key, r.Identity, r.Log = "", w.image.Raw, key, nil, sigstack.LogSpec{}
				}))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeNoMatchingKey},
		},
		{
			threat: "8 two subjects, ours and another's",
			do: func(w *world) {
				other := sigstack.SubjectOf("ghcr.io/acme/app", w.other().Digest())
				w.attach(w.sign(func(r *sigstack.SignRequest) {
					r.Image = ""
					r.Statement = &sigstack.Statement{
						PredicateType: sigstack.PredicateCosignSign, Subjects: []sigstack.Subject{other, sigstack.SubjectOf("", w.digest())},
					}
				}))
			},
			decision: verdict.Allow, signatures: 1,
			check: func(w *world, _ verdict.Verdict, f facts.Facts) {
				if got := f.Signatures()[0].SubjectDigest; got != w.digest() {
					w.Errorf("the fact speaks of %s", got)
				}
			},
		},
		{
			threat: "8 our name on another's digest",
			do: func(w *world) {
				w.attach(w.sign(func(r *sigstack.SignRequest) {
					r.Image = ""
					r.Statement = &sigstack.Statement{
						PredicateType: sigstack.PredicateCosignSign, Subjects: []sigstack.Subject{sigstack.SubjectOf(w.ask.Image, w.other().Digest())},
					}
				}))
			},
			decision: verdict.Deny, reason: "signature_rejected", rejections: []string{facts.CodeSubjectMismatch},
		},
		{
			threat: "9 referrer that says in-toto and carries no signature",
			do: func(w *world) {
				w.push(w.plain("application/vnd.in-toto+json", must(sigstack.CosignStatement(w.digest(), nil))(w)))
			},
			decision: verdict.Deny, reason: "unsigned", rejections: []string{facts.CodeNoSignature},
		},
		{
			threat: "10 unsigned SBOM",
			do: func(w *world) {
				w.push(w.plain("application/spdx+json", []byte(`{"spdxVersion":"SPDX-2.3"}`)))
			},
			decision: verdict.Deny, reason: "unsigned", rejections: []string{facts.CodeNoSignature},
		},
		{
			threat: "10 BuildKit attestation in an index",
			do: func(w *world) {
				statement := must(sigstack.Statement{
					Subjects: []sigstack.Subject{sigstack.SubjectOf("", w.digest())}, PredicateType: sigstack.PredicateSLSA1, Predicate: sigstack.Provenance{}.V1(),
				}.JSON())(w)
				w.image = ocitest.Index(w.image, ocitest.BuildKitAttestation(w.image, statement))
				w.server.Push(repo, tag, w.image)
			},
			decision: verdict.Deny, reason: "unsigned", rejections: []string{facts.CodeNoSignature},
		},
		{
			threat: "11 a stranger's predicate beside a trusted signer's",
			do: func(w *world) {
				w.attach(w.sign(w.stating(sigstack.PredicateSLSA1, sigstack.Provenance{BuilderID: "trusted"}.V1())))
				w.attach(w.sign(w.stating(sigstack.PredicateSLSA1, sigstack.Provenance{BuilderID: "stranger"}.V1()), func(r *sigstack.SignRequest) {
					r.Identity = sigstack.Workflow{Repository: "evil/app"}.Identity()
				}))
			},
			decision: verdict.Deny, reason: "unsigned", attestations: 2,
			check: func(w *world, _ verdict.Verdict, f facts.Facts) {
				in := facts.NewInput(f, w.record.last().Frames[w.signet.State.Policies[0].Name])
				for _, a := range in.Attestations {
					trusted := a.Signer.Subject == release
					switch {
					case trusted != (len(a.TrustedSigners) > 0), trusted != bytes.Contains(a.Predicate, []byte(`"trusted"`)), bytes.Contains(a.Predicate, []byte("stranger")):
						w.Errorf("%s, trusted signers %v, predicate %s", a.Signer.Subject, a.TrustedSigners, a.Predicate)
					case trusted != (a.Provenance != nil), trusted && a.Provenance.BuilderID != "trusted", a.Build == nil || a.Build.Level > 0 || a.Build.Believed():
						w.Errorf("%s: provenance %+v that proves %+v", a.Signer.Subject, a.Provenance, a.Build)
					}
				}
			},
		},
	})
}

// byKey makes a signature with a key and no log.
func (w *world) byKey(name string, edit ...func(*sigstack.SignRequest)) *sigstack.Evidence {
	w.Helper()
	key := w.stack.Key(name, sigstack.ECDSAP256SHA256)
	return w.sign(append(edit, func(r *sigstack.SignRequest) {
		r.Identity, r.Log, r.Key = nil, sigstack.LogSpec{}, key
	})...)
}

// loggedKey is the same with an entry in the log.
func (w *world) loggedKey(name string) *sigstack.Evidence {
	w.Helper()
	key := w.stack.Key(name, sigstack.ECDSAP256SHA256)
	return w.sign(func(r *sigstack.SignRequest) { r.Identity, r.Key = nil, key })
}

// member is a statement about the image with one more member.
func (w *world) member(predicateType string, front bool, name string, value any) []byte {
	w.Helper()
	s := sigstack.Statement{Subjects: []sigstack.Subject{sigstack.SubjectOf("", w.digest())}, PredicateType: predicateType}
	return must(sigstack.WithMember(must(s.JSON())(w), front, name, value))(w)
}

// plain is a referrer with one layer of a type that carries no signature.
func (w *world) plain(mediaType string, body []byte) *ocitest.Artifact {
	subject := w.image.Subject()
	empty := ocitest.Describe(ocitest.MediaTypeEmpty, []byte("{}"))
	return ocitest.New(ocitest.Manifest{
		SchemaVersion: 2, MediaType: ocitest.MediaTypeManifest, ArtifactType: mediaType, Config: &empty,
		Layers: []ocitest.Descriptor{ocitest.Describe(mediaType, body)}, Subject: &subject,
	}, []byte("{}"), body)
}

// A statement that is signed for two images is a fact about each, found at each:
// the other's digest in it does not make it less of one.
func TestThreat8EachSubjectForItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, registrytest.Options{})
	other := w.other()
	ev := w.sign(func(r *sigstack.SignRequest) {
		r.Image = ""
		r.Statement = &sigstack.Statement{PredicateType: sigstack.PredicateCosignSign, Subjects: []sigstack.Subject{
			sigstack.SubjectOf("", w.digest()), sigstack.SubjectOf("", other.Digest()),
		}}
	})
	w.attach(ev)
	w.server.Attach(repo, other, ev)
	for _, image := range []string{w.digest(), other.Digest()} {
		req := w.ask
		req.Image = w.server.Image(repo, image)
		_, v := w.decide(req)
		sigs := w.record.last().Facts.Signatures()
		if v.Decision != verdict.Allow || len(sigs) != 1 || sigs[0].SubjectDigest != image {
			body, _ := json.Marshal(sigs)
			t.Errorf("%s: %s on %s", image, v.Decision, body)
		}
	}
}
