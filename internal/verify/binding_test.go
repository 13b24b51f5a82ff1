package verify_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

// Threat 1: a signature copied from one image to another.
func TestCopiedSignatureThreat1(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	for _, legacy := range []bool{false, true} {
		req := keylessV1()
		req.Image, req.Legacy = otherImage, legacy
		r := b.rejected(facts.CodeSubjectMismatch, b.item(b.Sign(req), legacy))
		if !strings.Contains(r.Message, otherImage) || !strings.Contains(r.Message, image) {
			t.Errorf("the message names neither: %s", r.Message)
		}
	}
}

// Threat 5 (CVE-2022-23649, CVE-2026-22703): a valid signature with the log entry
// of another one, in every kind of entry.
func TestEntryOfOtherEvidenceThreat5(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	signature := func(r sigstack.SignRequest) sigstack.SignRequest { r.Legacy = true; return r }
	attestation := func(r sigstack.SignRequest) sigstack.SignRequest {
		r = attestationOf(sigstack.PredicateSLSA1, r)
		r.Legacy = true
		return r
	}
	key := b.Key("mine", sigstack.ECDSAP256SHA256)
	keyed := func(log sigstack.LogSpec) sigstack.SignRequest {
		return sigstack.SignRequest{Image: image, Key: key, Log: log, Timestamps: 1}
	}
	for name, tt := range map[string]struct {
		req    sigstack.SignRequest
		legacy bool
	}{
		"hashedrekord, old signature":         {signature(keylessV1()), true},
		"hashedrekord, old signature by key":  {signature(keyed(sigstack.RekorV1())), true},
		"dsse, bundle":                        {keylessV1(), false},
		"dsse, bundle by key":                 {keyed(sigstack.RekorV1()), false},
		"dsse, old attestation":               {attestation(keylessV1()), true},
		"intoto 0.0.1, old attestation":       {attestation(sigstack.SignRequest{Identity: dev, Log: sigstack.RekorV1().As("intoto", "0.0.1")}), true},
		"intoto 0.0.1 by key":                 {attestation(keyed(sigstack.RekorV1().As("intoto", "0.0.1"))), true},
		"intoto 0.0.2, old attestation":       {attestation(sigstack.SignRequest{Identity: dev, Log: sigstack.RekorV1().As("intoto", "0.0.2")}), true},
		"intoto 0.0.2 in a bundle":            {sigstack.SignRequest{Image: image, Identity: dev, Log: sigstack.RekorV1().As("intoto", "0.0.2")}, false},
		"hashedrekord of Rekor v2":            {keylessV2(), false},
		"hashedrekord of Rekor v2, by key":    {keyed(sigstack.RekorV2()), false},
		"intoto 0.0.1 in a bundle":            {sigstack.SignRequest{Image: image, Identity: dev, Log: sigstack.RekorV1().As("intoto", "0.0.1")}, false},
		"intoto 0.0.1 without a payload hash": {attestation(sigstack.SignRequest{Identity: dev, Log: sigstack.LogSpec{Log: 1, Kind: "intoto", Version: "0.0.1", NoPayloadHash: true}}), true},
	} {
		t.Run(name, func(t *testing.T) {
			b.t = t
			mine := b.Sign(tt.req)
			b.proves(mine, tt.legacy)
			others := []*sigstack.Evidence{b.Sign(differently(tt.req))}
			if tt.req.Key == nil {
				others = append(others, b.Sign(tt.req)) // the same, by another certificate
			}
			for _, other := range others {
				mine.Entries = other.Entries
				b.rejected(facts.CodeLogEntryInvalid, b.item(mine, tt.legacy))
			}
		})
	}
}

// differently is the same request for the same image with other words.
func differently(req sigstack.SignRequest) sigstack.SignRequest {
	if req.Statement != nil {
		st := *req.Statement
		st.Predicate = "other"
		req.Statement = &st
		return req
	}
	req.Annotations = map[string]string{"other": "yes"}
	return req
}

// proves wants the evidence to be a fact.
func (b *bench) proves(ev *sigstack.Evidence, legacy bool) facts.Signature {
	b.t.Helper()
	f := b.facts([]evidence.Item{b.item(ev, legacy)})
	if len(f.Rejections()) != 0 {
		b.t.Fatalf("%+v", f.Rejections())
	}
	if s := f.Signatures(); len(s) == 1 {
		return s[0]
	}
	return f.Attestations()[0].Signature
}

// Threat 6: the payload swapped, the signature of another envelope, several
// signatures, none. Without a log (GitHub's instance has none) the signature
// itself must tell.
func TestEnvelopeThreat6(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	noLog := b.editedRoot("no-log", nil, func(tr *sigstack.TrustedRoot) { tr.Rekor = nil })
	for name, v := range map[string]struct {
		req              sigstack.SignRequest
		payload, swapped string // codes for another payload and for another signature
	}{
		"with a log":    {keylessV1(), facts.CodeLogEntryInvalid, facts.CodeLogEntryInvalid},
		"with Rekor v2": {keylessV2(), facts.CodeLogEntryInvalid, facts.CodeLogEntryInvalid},
		"without a log": {sigstack.SignRequest{Image: image, Identity: dev, Timestamps: 1}, facts.CodeSignatureInvalid, facts.CodeTimestampInvalid},
		"by key":        {sigstack.SignRequest{Image: image, Key: b.Key("k", sigstack.ECDSAP256SHA256)}, facts.CodeNoMatchingKey, facts.CodeNoMatchingKey},
	} {
		t.Run(name, func(t *testing.T) {
			b := &bench{Stack: b.Stack, t: t, v: b.v}
			if name == "without a log" {
				b.v = newVerifier(t, noLog)
			}
			scope := keys()
			if v.req.Key != nil {
				scope = keys(v.req.Key.Public())
			}
			good := b.Sign(v.req)
			b.signature(b.bundle(good), scope...)

			ev := good.Clone()
			ev.Envelope.Payload = []byte(strings.Replace(string(ev.Envelope.Payload), `"predicate":{}`, `"predicate":{"a":1}`, 1))
			if string(ev.Envelope.Payload) == string(good.Envelope.Payload) {
				t.Fatalf("nothing to change in %s", ev.Envelope.Payload)
			}
			b.rejected(v.payload, b.bundle(ev), scope...)

			ev = good.Clone()
			ev.Envelope.Signatures = b.Sign(differently(v.req)).Envelope.Signatures
			b.rejected(v.swapped, b.bundle(ev), scope...)

			ev = good.Clone()
			b.must(ev.AddSignature(b.Key("second", sigstack.ECDSAP256SHA256)))
			b.rejected(facts.CodeMalformed, b.bundle(ev), scope...)

			ev = good.Clone()
			ev.Envelope.Signatures = nil
			b.rejected(facts.CodeNoSignature, b.bundle(ev), scope...)

			ev = good.Clone()
			ev.Envelope.Signatures[0].Sig = nil
			b.rejected(facts.CodeNoSignature, b.bundle(ev), scope...)

			ev = good.Clone()
			ev.Envelope.PayloadType = "application/json"
			b.rejected(facts.CodeUnsupported, b.bundle(ev), scope...)

			// The key id is a hint that nobody signs.
			ev = good.Clone()
			ev.Envelope.Signatures[0].KeyID = "someone"
			b.signature(b.bundle(ev), scope...)
		})
	}
}

// Threat 7: the digest that the bundle names disagrees with the image, and with
// what was signed.
func TestMessageDigestThreat7(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	v := b.v
	artifact := []byte("an artifact")
	ev := b.Sign(sigstack.SignRequest{Artifact: artifact, Identity: dev, Log: sigstack.RekorV1()})
	items := func(ev *sigstack.Evidence) []evidence.Item { return []evidence.Item{b.bundle(ev)} }
	s := oneSignature(t, artifactFacts(t, v, artifactOf(artifact), items(ev)))
	if s.Format != facts.FormatBundle || s.SubjectDigest != facts.Digest(artifact) {
		t.Errorf("%+v", s)
	}
	oneSignature(t, artifactFacts(t, v, digestOf(artifact), items(ev)))
	oneRejection(t, facts.CodeSubjectMismatch, artifactFacts(t, v, artifactOf([]byte("another")), items(ev)))

	forged := ev.Clone()
	forged.Message.Digest = []byte(strings.Repeat("x", 32))
	oneRejection(t, facts.CodeSubjectMismatch, artifactFacts(t, v, artifactOf(artifact), items(forged)))
	// The digest of another artifact, with the signature of this one.
	other := []byte("another")
	forged = b.Sign(sigstack.SignRequest{Artifact: other, Identity: dev, Log: sigstack.RekorV1()})
	forged.Message.Signature = ev.Message.Signature
	oneRejection(t, facts.CodeLogEntryInvalid, artifactFacts(t, v, artifactOf(other), items(forged)))
}

// A message signature over an image's manifest digest is a signature, too.
func TestMessageSignatureOverImage(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	manifest := []byte(`{"schemaVersion":2}`)
	digest := facts.Digest(manifest)
	ev := b.Sign(sigstack.SignRequest{Artifact: manifest, Identity: dev, Log: sigstack.RekorV2(), Timestamps: 1})
	item := b.bundle(ev)
	item.SubjectDigest = digest
	f, err := b.v.Image(t.Context(), facts.Subject{Digest: digest}, []evidence.Item{item}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s := oneSignature(t, f); s.SubjectDigest != digest {
		t.Errorf("%+v", s)
	}
	b.rejected(facts.CodeSubjectMismatch, b.bundle(ev))
	// An image is known by its SHA-256: another hash of it says nothing.
	p384 := b.Sign(sigstack.SignRequest{Artifact: manifest, Identity: dev, Key: b.Key("384", sigstack.ECDSAP384SHA384), Log: sigstack.RekorV1()})
	b.rejected(facts.CodeUnsupported, b.bundle(p384))
}

// Threats 9 and 10: what carries no signature, whatever it is called.
func TestUnsignedThreat9(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	statement := []byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + image[7:] + `"}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}`)
	unsigned := evidence.Item{Kind: evidence.KindUnsigned, MediaType: "application/vnd.in-toto+json", SubjectDigest: image, Bytes: statement}
	b.rejected(facts.CodeNoSignature, unsigned)
	envelope := []byte(`{"payloadType":"application/vnd.in-toto+json","payload":"` + base64.StdEncoding.EncodeToString(statement) + `","signatures":[]}`)
	b.rejected(facts.CodeNoSignature, evidence.Item{Kind: evidence.KindDSSE, SubjectDigest: image, Bytes: envelope})
	b.rejected(facts.CodeMalformed, evidence.Item{Kind: evidence.KindBundle, SubjectDigest: image, Bytes: statement})
	b.rejected(facts.CodeUnsupported, evidence.Item{Kind: "", SubjectDigest: image, Bytes: statement})
}

// Types that are signed and that we do not know.
func TestUnknownTypes(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	sign := func(payload string) evidence.Item {
		return b.bundle(b.Sign(sigstack.SignRequest{Payload: []byte(payload), Identity: dev, Log: sigstack.RekorV1()}))
	}
	subject := `"subject":[{"digest":{"sha256":"` + image[7:] + `"}}]`
	for payload, code := range map[string]string{
		`{"_type":"https://in-toto.io/Statement/v2",` + subject + `,"predicateType":"x"}`: facts.CodeUnsupported,
		`{"_type":"https://in-toto.io/Statement/v1",` + subject + `}`:                     facts.CodeMalformed,
		`{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"x"}`:    facts.CodeMalformed,
		`{"_type":"https://in-toto.io/Statement/v1","subject":{},"predicateType":"x"}`:    facts.CodeMalformed,
		`[]`:   facts.CodeMalformed,
		`null`: facts.CodeUnsupported,
		``:     facts.CodeMalformed,
	} {
		r := b.rejected(code, sign(payload))
		t.Log(r.Message)
	}
	oneAttestation(t, b.facts([]evidence.Item{sign(`{"_type":"https://in-toto.io/Statement/v0.1",` + subject + `,"predicateType":"x"}`)}))
	// A log entry of a kind that cannot be verified.
	ev := b.Sign(keylessV2())
	body, err := ev.LogBody("dsse", "0.0.2", false)
	b.must(err)
	e, err := b.Rekor2.Append(body, b.At, sigstack.ProofInclusion)
	b.must(err)
	ev.Entries = []*sigstack.Entry{e}
	b.rejected(facts.CodeUnsupported, b.bundle(ev))
}
