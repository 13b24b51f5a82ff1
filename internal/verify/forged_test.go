package verify_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

// Threat 7, for every field of a fact: evidence that verifies, with something
// forged beside it that a reader of the whole bundle would take for a fact.

// An entry of an unknown log, with an invented time and index, beside the true one.
func TestForeignEntryIsNoFactThreat7(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	for _, first := range []bool{true, false} {
		ev := b.Sign(keylessV2())
		foreign, err := b.ForeignEntry(ev, sigstack.LogSpec{Log: 1, At: b.At.Add(-1000 * time.Hour)})
		b.must(err)
		foreign.LogIndex = 666
		if first {
			ev.Entries = append([]*sigstack.Entry{foreign}, ev.Entries...)
		} else {
			ev.Entries = append(ev.Entries, foreign)
		}
		s := b.signature(b.bundle(ev))
		if len(s.Transparency) != 1 || s.Transparency[0].Log != b.Rekor2.URL() || !s.SignedAt.Equal(b.At) {
			t.Errorf("%+v, signed at %s", s.Transparency, s.SignedAt)
		}
	}
	// Alone it is no entry at all.
	ev := b.Sign(sigstack.SignRequest{Image: image, Identity: dev, Timestamps: 1})
	foreign, err := b.ForeignEntry(ev, sigstack.RekorV1())
	b.must(err)
	ev.Entries = []*sigstack.Entry{foreign}
	b.rejected(facts.CodeLogEntryMissing, b.bundle(ev))
}

// Even one that no parser reads must not disturb.
func TestUnreadableForeignEntryIsIgnored(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	ev := b.Sign(keylessV2())
	foreign, err := b.ForeignEntry(ev, sigstack.RekorV1())
	b.must(err)
	foreign.Body = []byte(`{"kind":"who","apiVersion":"9","spec":{}}`)
	ev.Entries = append(ev.Entries, foreign)
	if s := b.signature(b.bundle(ev)); len(s.Transparency) != 1 {
		t.Errorf("%+v", s.Transparency)
	}
}

// A proof-only entry with another time: nobody signed it.
func TestProofOnlyEntryHasNoTimeThreat7(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	ev := b.Sign(sigstack.SignRequest{Image: image, Identity: dev, Log: sigstack.RekorV1(), Timestamps: 1})
	ev.Entries[0] = ev.Entries[0].WithoutSET(b.At.Add(3 * time.Minute))
	s := b.signature(b.bundle(ev))
	want := []facts.LogEntry{{Log: b.Rekor1.URL(), LogID: s.Transparency[0].LogID, Index: ev.Entries[0].Proof.LogIndex, Proof: facts.ProofInclusion}}
	if diff := cmp.Diff(want, s.Transparency); diff != "" {
		t.Error(diff)
	}
	if !s.SignedAt.Equal(b.At) {
		t.Errorf("signed at %s, want the timestamp's %s", s.SignedAt, b.At)
	}
	// And without a timestamp there is no time at all.
	ev = b.Sign(keylessV1())
	ev.Entries[0] = ev.Entries[0].WithoutSET(b.At)
	b.rejected(facts.CodeTimestampMissing, b.bundle(ev))
}

// Another time under the old signed entry timestamp.
func TestTimeOfSETIsSigned(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	for name, req := range map[string]sigstack.SignRequest{
		"alone":                            keylessV1(),
		"beside a timestamp that would do": {Image: image, Identity: dev, Log: sigstack.RekorV1(), Timestamps: 1},
	} {
		ev := b.Sign(req)
		ev.Entries[0] = ev.Entries[0].At(b.At.Add(time.Minute))
		r := b.rejected(facts.CodeLogEntryInvalid, b.bundle(ev))
		t.Log(name, r.Message)
	}
}

// A forged second entry of a known log spoils the item, whichever comes first.
// sigstore-go alone passes over an entry whose SET does not verify.
func TestEveryKnownEntryMustVerify(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	for _, first := range []bool{true, false} {
		ev := b.Sign(keylessV2())
		second, err := b.LogEntry(ev, sigstack.LogSpec{Log: 1})
		b.must(err)
		second = second.At(b.At.Add(-time.Minute))
		ev.Entries = append(ev.Entries, second)
		if first {
			ev.Entries[0], ev.Entries[1] = ev.Entries[1], ev.Entries[0]
		}
		b.rejected(facts.CodeLogEntryInvalid, b.bundle(ev))
	}
	ev := b.Sign(keylessV2())
	b.must(b.AddEntry(ev, sigstack.RekorV1()))
	if s := b.signature(b.bundle(ev)); len(s.Transparency) != 2 {
		t.Errorf("two good entries: %+v", s.Transparency)
	}
	ev.Entries = append(ev.Entries, ev.Entries[0].Clone())
	b.rejected(facts.CodeLogEntryInvalid, b.bundle(ev))
}

// The index of a proof-only entry of Rekor v1: the path leads to the same root
// from another index if the size of the tree is forged, too.
func TestIndexOfProofIsProved(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	// A tree of three entries. The path of the last one has one hash, that of the
	// first two; in a tree of two it would be the path of index 1.
	for range 2 {
		b.Sign(keylessV1())
	}
	ev := b.Sign(sigstack.SignRequest{Image: image, Identity: dev, Log: sigstack.RekorV1(), Timestamps: 1})
	e := ev.Entries[0].WithoutSET(b.At)
	if e.Proof.TreeSize != 3 || e.Proof.LogIndex != 2 || len(e.Proof.Hashes) != 1 {
		t.Fatalf("the tree is not as this test wants it: %+v", e.Proof)
	}
	ev.Entries[0] = e
	if s := b.signature(b.bundle(ev)); s.Transparency[0].Index != 2 {
		t.Errorf("index %d", s.Transparency[0].Index)
	}
	e.Proof.TreeSize, e.Proof.LogIndex = 2, 1
	b.rejected(facts.CodeLogEntryInvalid, b.bundle(ev))
}

// An index that stands beside the signed one.
func TestIndexOfSETIsSigned(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	ev := b.Sign(keylessV1())
	ev.Entries[0].LogIndex += 7
	b.rejected(facts.CodeLogEntryInvalid, b.bundle(ev))
	ev = b.Sign(keylessV2())
	ev.Entries[0].LogIndex += 7
	b.rejected(facts.CodeLogEntryInvalid, b.bundle(ev))
}

// A body of one Rekor version in the tree of the other: sigstore-go would prove
// one index and show another, or not compare the body with the evidence at all.
func TestBodyAndCheckpointOfOneVersion(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	ev := b.Sign(keylessV2())
	v1, err := ev.LogBody(sigstack.KindDSSE, "0.0.1", false)
	b.must(err)
	e := ev.Entries[0]
	e.Kind, e.Version, e.Body = v1.Kind, v1.Version, v1.JSON
	e.Proof.LogIndex = 666
	b.rejected(facts.CodeLogEntryInvalid, b.bundle(ev))

	ev = b.Sign(sigstack.SignRequest{Image: image, Identity: dev, Timestamps: 1})
	v2, err := ev.LogBody(sigstack.KindHashedRekord, "0.0.2", false)
	b.must(err)
	other, err := b.Rekor1.Append(v2, b.At, sigstack.ProofInclusion)
	b.must(err)
	ev.Entries = []*sigstack.Entry{other}
	b.rejected(facts.CodeLogEntryInvalid, b.bundle(ev))
}

// Timestamps: of another signature, of an unknown authority, and a second one of
// a known authority that was made when the certificate did not exist.
func TestTimestampsThreat7(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	other := b.Sign(keylessV2())

	ev := b.Sign(keylessV1())
	ev.Timestamps = other.Timestamps
	b.rejected(facts.CodeTimestampInvalid, b.bundle(ev))
	ev = b.Sign(keylessV2())
	ev.Timestamps = append(ev.Timestamps, other.Timestamps...)
	b.rejected(facts.CodeTimestampInvalid, b.bundle(ev))

	ev = b.Sign(keylessV2())
	b.must(b.ForeignTimestamp(ev, sigstack.TimestampSpec{At: b.At.Add(-time.Hour)}))
	if s := b.signature(b.bundle(ev)); len(s.Timestamps) != 1 || !s.SignedAt.Equal(b.At) {
		t.Errorf("an unknown authority: %+v", s.Timestamps)
	}

	ev = b.Sign(keylessV1())
	ev.Timestamps = [][]byte{[]byte("not a token")}
	b.rejected(facts.CodeTimestampInvalid, b.bundle(ev))

	ev = b.Sign(keylessV2())
	b.must(b.AddTimestamp(ev, sigstack.TimestampSpec{At: b.At.Add(-time.Hour)}))
	b.rejected(facts.CodeCertificateUntrusted, b.bundle(ev))

	ev = b.Sign(keylessV2())
	b.must(b.AddTimestamp(ev, sigstack.TimestampSpec{At: b.At.Add(time.Minute)}))
	ev.Timestamps = append(ev.Timestamps, ev.Timestamps[0])
	if s := b.signature(b.bundle(ev)); len(s.Timestamps) != 2 || !s.SignedAt.Equal(b.At) {
		t.Errorf("two good tokens and one of them twice: %+v", s.Timestamps)
	}
}

// Threat 26 (CVE-2026-39984): the authority is the one whose certificate verified,
// not the first certificate in the token.
func TestTimestampAuthorityThreat26(t *testing.T) {
	b := newBench(t, sigstack.Options{TSAs: 2})
	noLeaf := b.editedRoot("no-leaf", nil, func(tr *sigstack.TrustedRoot) {
		for i := range tr.TSAs {
			tr.TSAs[i].CertChain.Certificates = tr.TSAs[i].CertChain.Certificates[1:]
		}
	})
	v := newVerifier(t, noLeaf)
	ev := b.Sign(sigstack.SignRequest{Image: image, Identity: dev, Log: sigstack.RekorV2()})
	b.must(b.AddTimestamp(ev, sigstack.TimestampSpec{TSA: 1, Certificates: append(b.TSAs[0].Chain()[:1:1], b.TSAs[1].Chain()...)}))
	s := oneSignature(t, imageFacts(t, v, []evidence.Item{b.bundle(ev)}))
	if got, want := s.Timestamps[0].Authority, b.TSAs[1].Leaf.Subject.String(); got != want {
		t.Errorf("authority %q, want %q", got, want)
	}
}

// Members of a statement that another reader would take for the real ones.
func TestForgedStatementMembersThreat7(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	sign := func(payload []byte) evidence.Item {
		return b.bundle(b.Sign(sigstack.SignRequest{Payload: payload, Identity: dev, Log: sigstack.RekorV1()}))
	}
	st := sigstack.Statement{Subjects: []sigstack.Subject{sigstack.SubjectOf("app", image)}, PredicateType: sigstack.PredicateSPDX}
	good, err := st.JSON()
	b.must(err)
	oneAttestation(t, b.facts([]evidence.Item{sign(good)}))
	for _, member := range []string{"PredicateType", "predicateType", "PREDICATETYPE", "predicatetype"} {
		for _, front := range []bool{true, false} {
			forged, err := sigstack.WithMember(good, front, member, sigstack.PredicateSLSA1)
			b.must(err)
			b.rejected(facts.CodeMalformed, sign(forged))
		}
	}
	for name, edit := range map[string][2]string{
		"other case of subject": {`"subject"`, `"Subject"`},
		"other case of digest":  {`"digest"`, `"Digest"`},
		"invalid UTF-8":         {`"app"`, "\"\xff\""},
		"NUL":                   {`"app"`, `"a\u0000"`},
		"trailing bytes":        {`{}}`, `{}}{}`},
	} {
		forged := bytes.Replace(good, []byte(edit[0]), []byte(edit[1]), 1)
		if bytes.Equal(forged, good) {
			t.Fatalf("%s: nothing to replace in %s", name, good)
		}
		b.rejected(facts.CodeMalformed, sign(forged))
	}
	// A member that nobody knows is no harm: in-toto says to ignore it.
	more, err := sigstack.WithMember(good, false, "more", 1)
	b.must(err)
	oneAttestation(t, b.facts([]evidence.Item{sign(more)}))
}

// Threats 2 and 3: what counts is the signed predicate type, not an annotation.
func TestSignedPredicateTypeCountsThreat2(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	for _, predicate := range []string{sigstack.PredicateSLSA1, "https://sigstore.dev/cosign/sign/v2", "https://sigstore.dev/cosign/sign/v1/"} {
		ev := b.Sign(attestationOf(predicate, keylessV1()))
		item := b.bundle(ev)
		item.Annotations = map[string]string{"dev.sigstore.bundle.predicateType": facts.CosignSignV1, "dev.sigstore.bundle.content": "message-signature"}
		if a := oneAttestation(t, b.facts([]evidence.Item{item})); a.PredicateType != predicate {
			t.Errorf("%s, want %s", a.PredicateType, predicate)
		}
	}
	// The other way round: a sign/v1 statement is a signature, wherever it hangs.
	req := attestationOf(facts.CosignSignV1, keylessV1())
	req.Legacy = true
	if s := b.signature(b.layer(b.Sign(req))); s.Format != facts.FormatCosignDSSE {
		t.Errorf("%s", s.Format)
	}
}

// Threat 8: two subjects, ours and another's: a fact for ours only, with the
// annotations that were signed for ours.
func TestTwoSubjectsThreat8(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	other := sigstack.SubjectOf("app", otherImage)
	other.Annotations = map[string]string{"env": "prod"}
	mine := sigstack.SubjectOf("other", image)
	mine.Annotations = map[string]string{"env": "test"}
	st := sigstack.Statement{Subjects: []sigstack.Subject{other, mine}, PredicateType: facts.CosignSignV1}
	s := b.signature(b.bundle(b.Sign(sigstack.SignRequest{Statement: &st, Identity: dev, Log: sigstack.RekorV1()})))
	if s.SubjectDigest != image || s.Annotations["env"] != "test" {
		t.Errorf("%s %v", s.SubjectDigest, s.Annotations)
	}
	st.Subjects = st.Subjects[:1]
	b.rejected(facts.CodeSubjectMismatch, b.bundle(b.Sign(sigstack.SignRequest{Statement: &st, Identity: dev, Log: sigstack.RekorV1()})))
	// Our digest under another algorithm, or beside one that is not ours.
	for _, d := range []map[string]string{{"sha512": image[7:]}, {"SHA256": image[7:]}, {}, nil} {
		st.Subjects = []sigstack.Subject{{Name: image, Digest: d}}
		b.rejected(facts.CodeSubjectMismatch, b.bundle(b.Sign(sigstack.SignRequest{Statement: &st, Identity: dev, Log: sigstack.RekorV1()})))
	}
}

// Annotations that are not strings are shown as JSON.
func TestAnnotationsThatAreNotStrings(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	payload, err := json.Marshal(map[string]any{
		"critical": map[string]any{
			"identity": map[string]string{"docker-reference": "x"}, "image": map[string]string{"docker-manifest-digest": image},
			"type": "cosign container image signature",
		},
		"optional": map[string]any{"creator": "me", "n": 1.50, "list": []int{1, 2}, "null": nil},
	})
	b.must(err)
	ev := b.Sign(sigstack.SignRequest{Artifact: payload, Identity: dev, Log: sigstack.RekorV1SET()})
	got := b.signature(b.layer(ev)).Annotations
	if diff := cmp.Diff(map[string]string{"creator": "me", "n": "1.5", "list": "[1,2]", "null": "null"}, got); diff != "" {
		t.Error(diff)
	}
}
