package verify_test

import (
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/trust"
)

// Threat 23: Rekor v2 without a timestamp, without a proof, with a checkpoint that
// lacks or changes a part.
func TestRekorV2Threat23(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	noTime := keylessV2()
	noTime.Timestamps = 0
	b.rejected(facts.CodeTimestampMissing, b.bundle(b.Sign(noTime)))

	k := b.Key("k", sigstack.ECDSAP256SHA256)
	key := sigstack.SignRequest{Image: image, Key: k, Log: sigstack.RekorV2()}
	b.rejected(facts.CodeTimestampMissing, b.bundle(b.Sign(key)))
	key.Timestamps = 1
	b.signature(b.bundle(b.Sign(key)))

	noProof := b.Sign(keylessV2())
	noProof.Entries[0].Proof = nil
	b.rejected(facts.CodeMalformed, b.bundle(noProof))

	for _, req := range []sigstack.SignRequest{keylessV2(), key} {
		for _, flaw := range sigstack.Flaws() {
			ev := b.Sign(req)
			e, err := b.FlawCheckpoint(ev.Entries[0], flaw)
			b.must(err)
			ev.Entries[0] = e
			r := b.rejected(facts.CodeLogEntryInvalid, b.bundle(ev), k.Public())
			t.Log(flaw, r.Message)
		}
		ev := b.Sign(req)
		ev.Entries[0] = ev.Entries[0].CorruptProof()
		b.rejected(facts.CodeLogEntryInvalid, b.bundle(ev), k.Public())
	}
	// A Rekor v2 whose log signs with ECDSA.
	ec := newBench(t, sigstack.Options{Rekor2ECDSA: true})
	ec.signature(ec.bundle(ec.Sign(keylessV2())))
}

// The same for Rekor v1.
func TestRekorV1Checkpoints(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	for _, flaw := range sigstack.Flaws() {
		if flaw == sigstack.FlawOrigin || flaw == sigstack.FlawSize {
			continue // with a SET the index and the time are signed by it
		}
		ev := b.Sign(keylessV1())
		e, err := b.FlawCheckpoint(ev.Entries[0], flaw)
		b.must(err)
		ev.Entries[0] = e
		b.rejected(facts.CodeLogEntryInvalid, b.bundle(ev))
	}
	ev := b.Sign(keylessV1())
	ev.Entries[0] = ev.Entries[0].CorruptProof()
	b.rejected(facts.CodeLogEntryInvalid, b.bundle(ev))
	// Neither promise nor proof.
	ev = b.Sign(sigstack.SignRequest{Image: image, Identity: dev, Log: sigstack.LogSpec{Log: 1, Proofs: sigstack.ProofNone}})
	b.rejected(facts.CodeMalformed, b.bundle(ev))
	b.rejected(facts.CodeMalformed, b.bundleAs(ev, sigstack.V01))
}

// Bundle versions and what each wants.
func TestBundleVersions(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	ev := b.Sign(keylessV1())
	for _, v := range []sigstack.Version{sigstack.V01, sigstack.V02, sigstack.V03, sigstack.V03Old} {
		b.signature(b.bundleAs(ev, v))
	}
	setOnly := b.Sign(sigstack.SignRequest{Image: image, Identity: dev, Log: sigstack.RekorV1SET()})
	b.signature(b.bundleAs(setOnly, sigstack.V01))
	b.rejected(facts.CodeMalformed, b.bundleAs(setOnly, sigstack.V02))
	proofOnly := b.Sign(sigstack.SignRequest{Image: image, Identity: dev, Log: sigstack.LogSpec{Log: 1, Proofs: sigstack.ProofInclusion}, Timestamps: 1})
	b.rejected(facts.CodeMalformed, b.bundleAs(proofOnly, sigstack.V01))
	b.signature(b.bundleAs(proofOnly, sigstack.V02))
}

// Threat 24: a verified time outside the validity of the certificate, of the
// timestamp authority, of a CA, or of a log.
func TestValidityThreat24(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	// The certificate had ended, or had not begun.
	for _, d := range []time.Duration{time.Hour, -time.Hour} {
		late := keylessV1()
		late.Log.At = b.At.Add(d)
		b.rejected(facts.CodeLogEntryInvalid, b.bundle(b.Sign(late)))
		ev := b.Sign(sigstack.SignRequest{Image: image, Identity: dev, Log: sigstack.RekorV2()})
		b.must(b.AddTimestamp(ev, sigstack.TimestampSpec{At: b.At.Add(d)}))
		b.rejected(facts.CodeCertificateUntrusted, b.bundle(ev))
	}
	// Parts of the trust root begin after the signing or ended before it.
	v1, v2 := b.bundle(b.Sign(keylessV1())), b.bundle(b.Sign(keylessV2()))
	before, after := b.At.Add(-time.Hour), b.At.Add(time.Hour)
	for name, tt := range map[string]struct {
		item   evidence.Item
		change func(*sigstack.TrustedRoot, sigstack.Validity)
		code   string
	}{
		"certificate authority": {v1, func(tr *sigstack.TrustedRoot, v sigstack.Validity) { tr.Authorities[0].ValidFor = v }, facts.CodeCertificateUntrusted},
		"log of a SET":          {v1, func(tr *sigstack.TrustedRoot, v sigstack.Validity) { eachLog(tr, v) }, facts.CodeLogEntryInvalid},
		"log of a proof":        {v2, func(tr *sigstack.TrustedRoot, v sigstack.Validity) { eachLog(tr, v) }, facts.CodeLogEntryInvalid},
		"timestamp authority":   {v2, func(tr *sigstack.TrustedRoot, v sigstack.Validity) { tr.TSAs[0].ValidFor = v }, facts.CodeTimestampInvalid},
		"CT log":                {v1, func(tr *sigstack.TrustedRoot, v sigstack.Validity) { tr.CT[0].PublicKey.ValidFor = v }, facts.CodeSCTMissing},
	} {
		for _, v := range []sigstack.Validity{{Start: after}, {Start: b.From, End: &before}} {
			r := b.editedRoot("edited", nil, func(tr *sigstack.TrustedRoot) { tt.change(tr, v) })
			got := oneRejection(t, tt.code, imageFacts(t, newVerifier(t, r), []evidence.Item{tt.item}))
			t.Log(name, got.Message)
		}
		// A period that contains the signing is fine.
		r := b.editedRoot("edited", nil, func(tr *sigstack.TrustedRoot) { tt.change(tr, sigstack.Validity{Start: before, End: &after}) })
		oneSignature(t, imageFacts(t, newVerifier(t, r), []evidence.Item{tt.item}))
	}
	// The authority's own certificate had ended.
	ended := newBench(t, sigstack.Options{TSAUntil: b.At.Add(-time.Hour)})
	ended.rejected(facts.CodeTimestampInvalid, ended.bundle(ended.Sign(keylessV2())))
	// Signed in the future: verification reads no clock, so it is a fact with that
	// time; the input document turns it into a rejection.
	future := keylessV1()
	future.At = time.Now().Add(24 * time.Hour).UTC().Truncate(time.Second)
	if s := b.signature(b.bundle(b.Sign(future))); !s.InFuture(time.Now()) {
		t.Errorf("signed at %s", s.SignedAt)
	}
}

func eachLog(tr *sigstack.TrustedRoot, v sigstack.Validity) {
	for i := range tr.Rekor {
		tr.Rekor[i].PublicKey.ValidFor = v
	}
}

// Threat 25 (CVE-2026-24122, GHSA-wqqc-jjcq-vfxm): an expired intermediate is
// noticed also where no log is required; turning one check off turns no other off.
func TestChecksAreIndependentThreat25(t *testing.T) {
	all := sigstack.SignRequest{Image: image, Identity: dev, Log: sigstack.RekorV1(), Timestamps: 1}
	for name, req := range map[string]*trust.Requires{
		"all":            {Log: true, SCT: true, Timestamp: true},
		"no log":         {SCT: true, Timestamp: true},
		"no SCT":         {Log: true, Timestamp: true},
		"no timestamp":   {Log: true, SCT: true},
		"nothing at all": {},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, sigstack.Options{})
			b.v = newVerifier(t, b.editedRoot("edited", req, func(*sigstack.TrustedRoot) {}))
			b.signature(b.bundle(b.Sign(all)))

			without := func(required bool, code string, change func(*sigstack.SignRequest)) {
				t.Helper()
				r := all
				change(&r)
				item := b.bundle(b.Sign(r))
				if required {
					b.rejected(code, item)
				} else {
					b.signature(item)
				}
			}
			without(req.Log, facts.CodeLogEntryMissing, func(r *sigstack.SignRequest) { r.Log = sigstack.LogSpec{} })
			without(req.Timestamp, facts.CodeTimestampMissing, func(r *sigstack.SignRequest) { r.Timestamps = 0 })
			for _, sct := range []sigstack.SCTMode{sigstack.SCTNone, sigstack.SCTForeign, sigstack.SCTCorrupt} {
				without(req.SCT, facts.CodeSCTMissing, func(r *sigstack.SignRequest) { r.Cert.SCT = sct })
			}
			without(false, "", func(r *sigstack.SignRequest) { r.Cert.SCT = sigstack.SCTTwice })
			// A time is always needed.
			without(true, noTimeCode(req), func(r *sigstack.SignRequest) { r.Log, r.Timestamps = sigstack.LogSpec{}, 0 })

			expired := newBench(t, sigstack.Options{IntermediateUntil: b.At.Add(-time.Minute)})
			expired.v = newVerifier(t, expired.editedRoot("expired", req, func(*sigstack.TrustedRoot) {}))
			expired.rejected(facts.CodeCertificateUntrusted, expired.bundle(expired.Sign(all)))
			for _, r := range []sigstack.SignRequest{keylessV1(), {Image: image, Identity: dev, Timestamps: 1}} {
				if f := expired.facts([]evidence.Item{expired.bundle(expired.Sign(r))}); len(f.Signatures()) != 0 {
					t.Errorf("an expired intermediate: %+v", f.Signatures())
				}
			}
		})
	}
}

func noTimeCode(req *trust.Requires) string {
	if req.Log {
		return facts.CodeLogEntryMissing
	}
	return facts.CodeTimestampMissing
}

// A root of the kind of GitHub's instance: timestamps only.
func TestTimestampsAlone(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	r := b.editedRoot("github", nil, func(tr *sigstack.TrustedRoot) { tr.Rekor, tr.CT = nil, nil })
	if r.Requires() != (trust.Requires{Timestamp: true}) {
		t.Fatalf("%+v", r.Requires())
	}
	b.v = newVerifier(t, r)
	s := b.signature(b.bundle(b.Sign(sigstack.SignRequest{Image: image, Identity: dev, Timestamps: 1, Cert: sigstack.CertSpec{SCT: sigstack.SCTNone}})))
	if len(s.Transparency) != 0 || len(s.Timestamps) != 1 || s.TrustRoot != "github" {
		t.Errorf("%+v", s)
	}
	// An entry of a log that this root does not know is no time.
	b.rejected(facts.CodeTimestampMissing, b.bundle(b.Sign(keylessV1())))
}

// What every attempt says is told by the one that came furthest.
func TestFurthestAttemptExplains(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	other := newBench(t, sigstack.Options{Name: "other", Seed: "other"})
	otherRoot := parseRoot(t, "other", other.TrustedRootJSON())
	noSCT := keylessV1()
	noSCT.Cert.SCT = sigstack.SCTNone
	item := b.bundle(b.Sign(noSCT))
	for _, roots := range [][]*trust.Root{{b.root, otherRoot}, {otherRoot, b.root}} {
		r := oneRejection(t, facts.CodeSCTMissing, imageFacts(t, newVerifier(t, roots...), []evidence.Item{item}))
		t.Log(r.Message)
	}
}
