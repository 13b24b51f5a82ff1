package sigstack_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
	"github.com/google/go-cmp/cmp"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

var statement = &sigstack.Statement{
	Type:          sigstack.StatementV01,
	Subjects:      []sigstack.Subject{sigstack.SubjectOf("registry.test/app", image)},
	PredicateType: sigstack.PredicateSLSA02,
	Predicate:     sigstack.Provenance{}.V02(),
}

// Every body is in canonical form, and every proof leads to the signed root:
// checked with the transparency-dev library, for kinds that sigstore-go refuses, too.
func TestEveryEntryKindIsCanonicalAndIncluded(t *testing.T) {
	t.Parallel()
	s := newStack(t, sigstack.Options{})
	for _, tt := range []struct{ kind, version, log string }{
		{sigstack.KindHashedRekord, "0.0.1", "1"},
		{sigstack.KindDSSE, "0.0.1", "1"},
		{sigstack.KindInToto, "0.0.1", "1"},
		{sigstack.KindInToto, "0.0.2", "1"},
		{sigstack.KindHashedRekord, "0.0.2", "2"},
		{sigstack.KindDSSE, "0.0.2", "2"},
	} {
		for _, keyless := range []bool{true, false} {
			name := tt.kind + " " + tt.version
			req := sigstack.SignRequest{Statement: statement, Log: sigstack.LogSpec{Log: int(tt.log[0] - '0')}.As(tt.kind, tt.version)}
			if keyless {
				req.Identity, name = person, name+" keyless"
			} else {
				req.Key = must[*sigstack.Key](t)(s.Key("k", sigstack.ECDSAP256SHA256))
			}
			t.Run(name, func(t *testing.T) {
				e := sign(t, s, req).Entries[0]
				canonical, err := jsoncanonicalizer.Transform(e.Body)
				if err != nil || !bytes.Equal(canonical, e.Body) {
					t.Errorf("not canonical (%v):\n%s\n%s", err, e.Body, canonical)
				}
				h := rfc6962.DefaultHasher
				err = proof.VerifyInclusion(h, uint64(e.Proof.LogIndex), uint64(e.Proof.TreeSize), h.HashLeaf(e.Body), e.Proof.Hashes, e.Proof.RootHash)
				if err != nil {
					t.Error(err)
				}
				lines := strings.Split(e.Proof.Checkpoint, "\n")
				if root := base64.StdEncoding.EncodeToString(e.Proof.RootHash); lines[2] != root {
					t.Errorf("checkpoint root %s, proof root %s", lines[2], root)
				}
			})
		}
	}
}

// Rekor's own model takes the intoto 0.0.1 body, and the hashes are those of the
// stored bytes.
func TestInToto001IsRekors(t *testing.T) {
	t.Parallel()
	s := newStack(t, sigstack.Options{})
	for _, without := range []bool{false, true} {
		spec := sigstack.RekorV1().As(sigstack.KindInToto, "0.0.1")
		spec.NoPayloadHash = without
		ev := sign(t, s, sigstack.SignRequest{Statement: statement, Identity: person, Log: spec, Legacy: true})
		var entry struct {
			Spec models.IntotoV001Schema `json:"spec"`
		}
		if err := json.Unmarshal(ev.Entries[0].Body, &entry); err != nil {
			t.Fatal(err)
		}
		if err := entry.Spec.Validate(nil); err != nil {
			t.Fatal(err)
		}
		layer, err := ev.Layer()
		if err != nil {
			t.Fatal(err)
		}
		hash := func(b []byte) string {
			sum := sha256.Sum256(b)
			return hex.EncodeToString(sum[:])
		}
		content := entry.Spec.Content
		if *content.Hash.Value != hash(layer.Content) {
			t.Error("the envelope hash is not that of the stored bytes")
		}
		if without != (content.PayloadHash == nil) || !without && *content.PayloadHash.Value != hash(ev.Envelope.Payload) {
			t.Errorf("payload hash %v, without %v", content.PayloadHash, without)
		}
	}
}

func TestKindsThatDoNotFit(t *testing.T) {
	t.Parallel()
	s := newStack(t, sigstack.Options{})
	for _, req := range []sigstack.SignRequest{
		{Artifact: []byte("x"), Identity: person, Log: sigstack.RekorV1().As(sigstack.KindDSSE, "0.0.1")},
		{Statement: statement, Identity: person, Log: sigstack.RekorV1().As("rekord", "0.0.1")},
		{Statement: statement},
		{Identity: person},
		{Statement: statement, Image: image, Identity: person},
		{Statement: statement, Identity: person, Timestamps: 2},
	} {
		if ev, err := s.Sign(req); err == nil {
			t.Errorf("%+v was signed: %+v", req, ev)
		}
	}
}

func TestLegacyLayer(t *testing.T) {
	t.Parallel()
	s := newStack(t, sigstack.Options{})
	ev := sign(t, s, sigstack.SignRequest{
		Image: image, Legacy: true, Identity: person, Log: sigstack.RekorV1(), Timestamps: 1,
		Reference: "registry.test/app", Annotations: map[string]string{"env": "prod"},
	})
	l, err := ev.Layer()
	if err != nil {
		t.Fatal(err)
	}
	var payload struct {
		Critical struct {
			Identity, Image map[string]string
			Type            string
		}
		Optional map[string]string
	}
	if err := json.Unmarshal(l.Content, &payload); err != nil {
		t.Fatal(err)
	}
	want := payload
	want.Critical.Identity = map[string]string{"docker-reference": "registry.test/app"}
	want.Critical.Image = map[string]string{"docker-manifest-digest": image}
	want.Critical.Type = "cosign container image signature"
	want.Optional = map[string]string{"env": "prod"}
	if d := cmp.Diff(want, payload); d != "" {
		t.Errorf("payload (-want +got):\n%s", d)
	}
	var log struct {
		SignedEntryTimestamp []byte
		Payload              struct {
			Body           []byte `json:"body"`
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"`
		}
	}
	if err := json.Unmarshal([]byte(l.Annotations[sigstack.AnnotationBundle]), &log); err != nil {
		t.Fatal(err)
	}
	signed, err := jsoncanonicalizer.Transform(must[[]byte](t)(json.Marshal(log.Payload)))
	if err != nil {
		t.Fatal(err)
	}
	if err := verifier(t, s.Rekor1.Key()).VerifySignature(bytes.NewReader(log.SignedEntryTimestamp), bytes.NewReader(signed)); err != nil {
		t.Errorf("signed entry timestamp: %v", err)
	}
	if log.Payload.IntegratedTime != s.At.Unix() || log.Payload.LogIndex < s.Rekor1.Offset || log.Payload.LogID != hex.EncodeToString(s.Rekor1.ID()) {
		t.Errorf("log payload %+v", log.Payload)
	}
	sig := must[[]byte](t)(base64.StdEncoding.DecodeString(l.Annotations[sigstack.AnnotationSignature]))
	if err := verifier(t, ev.Key).VerifySignature(bytes.NewReader(sig), bytes.NewReader(l.Content)); err != nil {
		t.Errorf("signature: %v", err)
	}
	for a, n := range map[string]int{sigstack.AnnotationCertificate: 1, sigstack.AnnotationChain: 2} {
		if got := strings.Count(l.Annotations[a], "BEGIN CERTIFICATE"); got != n {
			t.Errorf("%s has %d certificates, want %d", a, got, n)
		}
	}
}

// A proof that is asked for later is about the grown tree.
func TestProveLater(t *testing.T) {
	t.Parallel()
	s := newStack(t, sigstack.Options{})
	var first *sigstack.Entry
	for i := range 40 {
		ev := sign(t, s, sigstack.SignRequest{Image: image, Identity: person, Log: sigstack.RekorV1()})
		if first == nil {
			first = ev.Entries[0]
		}
		p, err := s.Rekor1.Prove(first)
		if err != nil {
			t.Fatal(err)
		}
		h := rfc6962.DefaultHasher
		if err := proof.VerifyInclusion(h, 0, uint64(i+1), h.HashLeaf(first.Body), p.Hashes, p.RootHash); err != nil {
			t.Fatalf("size %d: %v", i+1, err)
		}
	}
	if s.Rekor1.Size() != 40 {
		t.Errorf("size %d", s.Rekor1.Size())
	}
	if _, err := s.Rekor1.Prove(&sigstack.Entry{}); err == nil {
		t.Error("an entry that is not there was proved")
	}
}

// The same seed gives the same bytes.
func TestDeterministic(t *testing.T) {
	t.Parallel()
	run := func() string {
		s := newStack(t, sigstack.Options{Seed: "fixed"})
		key := must[*sigstack.Key](t)(s.Key("k", sigstack.ECDSAP384SHA384))
		out := must[[]byte](t)(s.TrustedRootJSON())
		for _, req := range []sigstack.SignRequest{
			{Image: image, Identity: person, Log: sigstack.RekorV1(), Timestamps: 1},
			{Image: image, Identity: sigstack.Workflow{}.Identity(), Log: sigstack.RekorV2(), Timestamps: 1},
			{Artifact: []byte("x"), Key: key, Log: sigstack.RekorV2()},
		} {
			out = append(out, must[[]byte](t)(sign(t, s, req).Bundle(sigstack.V03))...)
		}
		return string(out)
	}
	if d := cmp.Diff(run(), run()); d != "" {
		t.Errorf("two runs differ:\n%s", d)
	}
	a, b := newStack(t, sigstack.Options{Seed: "a"}), newStack(t, sigstack.Options{Seed: "b"})
	if bytes.Equal(a.Rekor1.ID(), b.Rekor1.ID()) {
		t.Error("other seeds gave the same keys")
	}
}

func TestIdentityExtensions(t *testing.T) {
	t.Parallel()
	s := newStack(t, sigstack.Options{})
	id := sigstack.Workflow{Repository: "acme/tool", Ref: "refs/pull/7/merge", Trigger: "pull_request", Runner: "self-hosted"}.Identity()
	id.Raw = map[sigstack.Claim][]byte{
		sigstack.ClaimIssuerV1:      []byte("https://other.test"), // disagrees
		sigstack.ClaimBuildTrigger:  []byte("not DER"),
		sigstack.ClaimSourceOwnerID: nil, // left out
	}
	ev := sign(t, s, sigstack.SignRequest{Image: image, Identity: id})
	got := map[string]string{}
	for _, e := range ev.Leaf().Extensions {
		if oid := e.Id.String(); strings.HasPrefix(oid, "1.3.6.1.4.1.57264.1.") {
			got[strings.TrimPrefix(oid, "1.3.6.1.4.1.57264.1.")] = string(e.Value)
		}
	}
	der := func(s string) string { return string(sigstack.DERString(s)) }
	for claim, want := range map[string]string{
		"1":  "https://other.test",
		"2":  "pull_request",
		"6":  "refs/pull/7/merge",
		"8":  der(sigstack.GitHubIssuer),
		"11": der("self-hosted"),
		"12": der("https://github.com/acme/tool"),
		"20": "not DER",
	} {
		if got[claim] != want {
			t.Errorf("claim %s is %q, want %q", claim, got[claim], want)
		}
	}
	if _, there := got["17"]; there {
		t.Error("claim 17 should be left out")
	}
	many := sign(t, s, sigstack.SignRequest{Image: image, Identity: &sigstack.Identity{
		URIs: []string{"https://a.test"}, Emails: []string{"a@a.test"}, DNSNames: []string{"a.test"}, OtherNames: []string{"a!b"},
	}}).Leaf()
	if len(many.URIs) != 1 || len(many.EmailAddresses) != 1 || len(many.DNSNames) != 1 {
		t.Errorf("names %v %v %v", many.URIs, many.EmailAddresses, many.DNSNames)
	}
	none := sign(t, s, sigstack.SignRequest{Image: image, Identity: &sigstack.Identity{}}).Leaf()
	if len(none.URIs)+len(none.EmailAddresses)+len(none.DNSNames) != 0 {
		t.Error("the nameless certificate has a name")
	}
}

func TestTrustedRootIsEditable(t *testing.T) {
	t.Parallel()
	s := newStack(t, sigstack.Options{})
	tr := s.TrustedRoot()
	tr.TSAs = tr.TSAs[:0]
	end := s.At.Add(-time.Hour)
	tr.Rekor[0].PublicKey.ValidFor.End = &end
	raw, err := tr.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(raw, []byte(`"timestampAuthorities":[]`)) || !bytes.Contains(raw, []byte(`"end":"2025-06-02T09:00:00Z"`)) {
		t.Errorf("root %s", raw)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	s := newStack(t, sigstack.Options{})
	for _, alg := range sigstack.Algorithms() {
		k := must[*sigstack.Key](t)(s.Key("k", alg))
		if again := must[*sigstack.Key](t)(s.Key("k", alg)); again != k {
			t.Errorf("%v: the same name gave another key", alg)
		}
		if wrapped := sigstack.KeyFrom(k.Signer(), alg); wrapped.Fingerprint() != k.Fingerprint() || wrapped.Hint() != k.Hint() {
			t.Errorf("%v: wrapped key differs", alg)
		}
		if other := must[*sigstack.Key](t)(sigstack.NewKey(alg)); other.Fingerprint() == k.Fingerprint() {
			t.Errorf("%v: a new key is the old one", alg)
		}
		sig := must[[]byte](t)(k.SignMessage([]byte("message")))
		if err := verifier(t, k).VerifySignature(bytes.NewReader(sig), strings.NewReader("massage")); err == nil {
			t.Errorf("%v: another message verified", alg)
		}
		if !strings.HasPrefix(string(k.PublicPEM()), "-----BEGIN PUBLIC KEY-----") {
			t.Errorf("%v: %s", alg, k.PublicPEM())
		}
	}
	if _, err := sigstack.NewKey(sigstack.Algorithm(99)); err == nil {
		t.Error("an unknown algorithm made a key")
	}
	if _, err := sigstack.KeyFrom(must[*sigstack.Key](t)(s.Key("k", 0)).Signer(), 99).SignMessage(nil); err == nil {
		t.Error("an unknown algorithm signed")
	}
}
