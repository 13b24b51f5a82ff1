package verify

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/trust"
)

// One fuzz target for every parser of outside bytes: no panic, and nothing that
// was not signed is believed. The parsers of trust roots and of JSON have theirs
// in their packages.

var fuzzImage = "sha256:" + strings.Repeat("a1", 32)

func fuzzStack(f testing.TB) (*sigstack.Stack, *Verifier) {
	f.Helper()
	s, err := sigstack.New(sigstack.Options{Seed: "fuzz"})
	if err != nil {
		f.Fatal(err)
	}
	body, err := s.TrustedRootJSON()
	if err != nil {
		f.Fatal(err)
	}
	r, err := trust.Parse("fuzz", body, nil)
	if err != nil {
		f.Fatal(err)
	}
	v, err := New(Config{Roots: []*trust.Root{r}, Limits: evidence.DefaultLimits(), OnPanic: func(p any) { panic(p.(Panic).Value) }})
	if err != nil {
		f.Fatal(err)
	}
	return s, v
}

// seeds are evidence of every kind.
func seeds(f testing.TB, s *sigstack.Stack) []*sigstack.Evidence {
	f.Helper()
	id := sigstack.Workflow{}.Identity()
	key, err := s.Key("fuzz", sigstack.ECDSAP256SHA256)
	if err != nil {
		f.Fatal(err)
	}
	st := &sigstack.Statement{Subjects: []sigstack.Subject{sigstack.SubjectOf("x", fuzzImage)}, PredicateType: "x", Predicate: map[string]any{"a": 1}}
	var out []*sigstack.Evidence
	for _, req := range []sigstack.SignRequest{
		{Image: fuzzImage, Identity: id, Log: sigstack.RekorV1(), Timestamps: 1},
		{Image: fuzzImage, Identity: id, Log: sigstack.RekorV2(), Timestamps: 1},
		{Image: fuzzImage, Key: key, Log: sigstack.RekorV1()},
		{Image: fuzzImage, Identity: id, Log: sigstack.RekorV1SET(), Timestamps: 1, Legacy: true},
		{Statement: st, Identity: id, Log: sigstack.RekorV1().As("intoto", "0.0.1"), Legacy: true},
		{Statement: st, Identity: id, Log: sigstack.RekorV1().As("intoto", "0.0.2"), Legacy: true},
	} {
		ev, err := s.Sign(req)
		if err != nil {
			f.Fatal(err)
		}
		out = append(out, ev)
	}
	return out
}

// believed fails for facts about anything but what the seeds' signers signed.
func believed(t *testing.T, v *Verifier, e evidence.Item) {
	t.Helper()
	e.SubjectDigest = fuzzImage
	f, err := v.Image(t.Context(), facts.Subject{Digest: fuzzImage}, []evidence.Item{e}, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := f.Signatures()
	for _, a := range f.Attestations() {
		all = append(all, a.Signature)
	}
	for _, s := range all {
		if s.TrustRoot != "fuzz" || s.ID == "" || s.SubjectDigest != fuzzImage {
			t.Errorf("%+v", s)
		}
		if s.Signer.Kind == facts.KindCertificate && (s.Signer.Issuer != sigstack.GitHubIssuer || s.SignedAt == nil || len(s.Transparency) == 0) {
			t.Errorf("%+v", s)
		}
	}
	for _, r := range f.Rejections() {
		if r.Code == "" || r.Message == "" {
			t.Errorf("%+v", r)
		}
	}
}

func FuzzBundle(f *testing.F) {
	s, v := fuzzStack(f)
	for _, ev := range seeds(f, s) {
		for _, version := range []sigstack.Version{sigstack.V01, sigstack.V02, sigstack.V03} {
			if raw, err := ev.Bundle(version); err == nil {
				f.Add(raw)
			}
		}
	}
	blobs, err := filepath.Glob("../../test/testdata/samples/layouts/*/blobs/sha256/*")
	if err != nil || len(blobs) == 0 {
		f.Fatalf("no samples: %v", err)
	}
	for _, b := range blobs[:20] {
		raw, err := os.ReadFile(b)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, b []byte) { believed(t, v, evidence.Item{Kind: evidence.KindBundle, Bytes: b}) })
}

// FuzzLayer is about cosign's old format: the layer and its annotations.
func FuzzLayer(f *testing.F) {
	s, v := fuzzStack(f)
	for _, ev := range seeds(f, s) {
		l, err := ev.Layer()
		if err != nil {
			continue
		}
		ann, err := json.Marshal(l.Annotations)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(l.Content, ann, l.MediaType == sigstack.MediaTypeDSSE)
	}
	f.Fuzz(func(t *testing.T, content, annotations []byte, envelope bool) {
		var ann map[string]string
		if json.Unmarshal(annotations, &ann) != nil {
			return
		}
		kind := evidence.KindSimpleSigning
		if envelope {
			kind = evidence.KindDSSE
		}
		believed(t, v, evidence.Item{Kind: kind, Bytes: content, Annotations: ann})
	})
}

// FuzzRekorBundle is about the log bundle in cosign's annotation.
func FuzzRekorBundle(f *testing.F) {
	s, _ := fuzzStack(f)
	for _, ev := range seeds(f, s) {
		if l, err := ev.Layer(); err == nil {
			f.Add([]byte(l.Annotations[evidence.AnnotationBundle]))
		}
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		if pb, err := readRekorBundle(b, 32); err == nil {
			e := &logEntry{pb: pb}
			if e.parse(32) == nil {
				e.publicKey()
			}
		}
	})
}

// FuzzIntoto is about the bodies of intoto log entries.
func FuzzIntoto(f *testing.F) {
	s, _ := fuzzStack(f)
	for _, ev := range seeds(f, s) {
		for _, version := range []string{intoto001, intoto002} {
			if b, err := ev.LogBody(kindIntoto, version, false); err == nil {
				f.Add(b.JSON, version)
			}
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, version string) {
		b, rej := readIntoto(body, version, 32)
		if rej != nil {
			return
		}
		if raw, err := hex.DecodeString(b.envelopeHash); err != nil || len(raw) != 32 {
			t.Errorf("envelope hash %q", b.envelopeHash)
		}
		parseVerifier(b.key)
		e := &logEntry{pb: &rekorpb.TransparencyLogEntry{CanonicalizedBody: body}}
		if e.parse(32) == nil {
			e.publicKey()
		}
	})
}

func FuzzStatement(f *testing.F) {
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":"` + fuzzImage[7:] + `"},"annotations":{"a":"b"}}],"predicateType":"x","predicate":{"a":[1,2]}}`))
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v0.1","subject":[{"digest":{}}],"predicateType":"x"}`))
	target, _ := imageTarget(fuzzImage)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, rej := readStatement(b, 32, 16)
		if rej != nil {
			return
		}
		if sub, d, rej := s.about(target); rej == nil && (sub.Digest["sha256"] != fuzzImage[7:] || d.algorithm != "sha256") {
			t.Errorf("%+v", sub)
		}
		for _, sub := range s.Subject {
			annotations(sub.Annotations)
		}
	})
}

func FuzzSimpleSigning(f *testing.F) {
	good, err := sigstack.SimpleSigning(fuzzImage, "example.test/app", map[string]string{"a": "b"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	target, _ := imageTarget(fuzzImage)
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, rej := readSimpleSigning(b, 32, target); rej == nil {
			if s.Critical.Image.Digest != fuzzImage {
				t.Errorf("%+v", s)
			}
			annotations(s.Optional)
		}
	})
}

// FuzzCertificate is about identities; the X.509 around them is Go's.
func FuzzCertificate(f *testing.F) {
	s, _ := fuzzStack(f)
	for _, ev := range seeds(f, s) {
		if ev.Certificate != nil {
			f.Add(ev.Certificate)
		}
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		if signer, rej := identity(leaf); rej == nil && (signer.Issuer == "" || signer.Subject == "" || len(signer.Fingerprint) != 64) {
			t.Errorf("%+v", signer)
		}
	})
}

func FuzzTimestamp(f *testing.F) {
	s, v := fuzzStack(f)
	for _, ev := range seeds(f, s) {
		for _, token := range ev.Timestamps {
			f.Add(token)
		}
	}
	f.Fuzz(func(_ *testing.T, token []byte) {
		_, _ = knowsToken(v.roots[0], token)
		for _, tsa := range v.roots[0].Authorities() {
			if ts, err := tsa.Verify(token, []byte("signature")); err == nil {
				_, _ = authorityName(observation{token, tsa, ts.Time})
			}
		}
	})
}
