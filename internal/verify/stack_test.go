package verify_test

import (
	"crypto"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verify"
)

var (
	image      = "sha256:" + strings.Repeat("a1", 32)
	otherImage = "sha256:" + strings.Repeat("b2", 32)
	dev        = sigstack.Email("https://accounts.example.test", "dev@example.test")
)

// bench is a Sigstore, its trust root, and a verifier with that root.
type bench struct {
	*testkit.Stack
	t    *testing.T
	root *trust.Root
	v    *verify.Verifier
}

func newBench(t *testing.T, opts sigstack.Options) *bench {
	t.Helper()
	s := testkit.NewStack(t, opts)
	b := &bench{Stack: s, t: t, root: parseRoot(t, "stack", s.TrustedRootJSON())}
	b.v = newVerifier(t, b.root)
	return b
}

func parseRoot(t testing.TB, name string, body []byte) *trust.Root {
	t.Helper()
	r, err := trust.Parse(name, body, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// editedRoot is the stack's root after a change.
func (b *bench) editedRoot(name string, req *trust.Requires, change func(*sigstack.TrustedRoot)) *trust.Root {
	b.t.Helper()
	tr := b.TrustedRoot()
	change(tr)
	body, err := tr.JSON()
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := trust.Parse(name, body, req)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) bundle(ev *sigstack.Evidence) evidence.Item { return b.bundleAs(ev, sigstack.V03) }

func (b *bench) bundleAs(ev *sigstack.Evidence, v sigstack.Version) evidence.Item {
	b.t.Helper()
	raw, err := ev.Bundle(v)
	b.must(err)
	return bundleItem(raw)
}

func bundleItem(raw []byte) evidence.Item {
	return evidence.Item{Kind: evidence.KindBundle, MediaType: sigstack.V03.MediaType(), SubjectDigest: image, Where: "a referrer", Bytes: raw}
}

func (b *bench) layer(ev *sigstack.Evidence) evidence.Item {
	b.t.Helper()
	l, err := ev.Layer()
	b.must(err)
	kind := evidence.KindSimpleSigning
	if l.MediaType == sigstack.MediaTypeDSSE {
		kind = evidence.KindDSSE
	}
	return evidence.Item{Kind: kind, MediaType: l.MediaType, SubjectDigest: image, Where: "a tag", Bytes: l.Content, Annotations: l.Annotations}
}

// facts verifies items about the image.
func (b *bench) facts(items []evidence.Item, scope ...crypto.PublicKey) facts.Facts {
	b.t.Helper()
	return imageFacts(b.t, b.v, items, scope...)
}

// imageFacts verifies items about the image in memory and in files, which must prove
// the same: so every test of the package is one of large evidence, too.
func imageFacts(t testing.TB, v *verify.Verifier, items []evidence.Item, scope ...crypto.PublicKey) facts.Facts {
	t.Helper()
	f := inMemory(t, v, items, scope...)
	again, err := v.Image(t.Context(), facts.Subject{Digest: image}, spooled(t, items), verify.KeyList(scope...))
	if err != nil {
		t.Fatal(err)
	}
	sameFacts(t, f, again)
	return f
}

func inMemory(t testing.TB, v *verify.Verifier, items []evidence.Item, scope ...crypto.PublicKey) facts.Facts {
	t.Helper()
	f, err := v.Image(t.Context(), facts.Subject{Digest: image}, items, verify.KeyList(scope...))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(f.Signatures()) + len(f.Attestations()) + len(f.Rejections()); n != len(items) {
		t.Fatalf("%d items gave %d outcomes", len(items), n)
	}
	return f
}

// signature wants the item to be the one signature there is.
func (b *bench) signature(item evidence.Item, scope ...crypto.PublicKey) facts.Signature {
	b.t.Helper()
	return oneSignature(b.t, b.facts([]evidence.Item{item}, scope...))
}

func oneSignature(t testing.TB, f facts.Facts) facts.Signature {
	t.Helper()
	if len(f.Signatures()) != 1 || len(f.Attestations())+len(f.Rejections()) != 0 {
		t.Fatalf("want one signature, have %d, %d attestations, rejections %+v", len(f.Signatures()), len(f.Attestations()), f.Rejections())
	}
	return f.Signatures()[0]
}

func oneAttestation(t testing.TB, f facts.Facts) facts.Attestation {
	t.Helper()
	if len(f.Attestations()) != 1 || len(f.Signatures())+len(f.Rejections()) != 0 {
		t.Fatalf("want one attestation, have %d, %d signatures, rejections %+v", len(f.Attestations()), len(f.Signatures()), f.Rejections())
	}
	return f.Attestations()[0]
}

// rejected wants the item to be rejected with the code.
func (b *bench) rejected(code string, item evidence.Item, scope ...crypto.PublicKey) facts.Rejection {
	b.t.Helper()
	return oneRejection(b.t, code, b.facts([]evidence.Item{item}, scope...))
}

func oneRejection(t testing.TB, code string, f facts.Facts) facts.Rejection {
	t.Helper()
	if len(f.Signatures())+len(f.Attestations()) != 0 || len(f.Rejections()) != 1 {
		t.Fatalf("want a rejection %s, have signatures %+v, attestations %+v, rejections %+v", code, f.Signatures(), f.Attestations(), f.Rejections())
	}
	r := f.Rejections()[0]
	if r.Code != code {
		t.Fatalf("want %s, have %s: %s", code, r.Code, r.Message)
	}
	if r.Message == "" || strings.ContainsAny(r.Message, "\n\x00") || len(r.Message) > 600 {
		t.Errorf("not a sentence for people: %q", r.Message)
	}
	return r
}

// requests that most tests start from.
func keylessV1() sigstack.SignRequest {
	return sigstack.SignRequest{Image: image, Identity: dev, Log: sigstack.RekorV1()}
}

func keylessV2() sigstack.SignRequest {
	return sigstack.SignRequest{Image: image, Identity: dev, Log: sigstack.RekorV2(), Timestamps: 1}
}

func attestationOf(predicateType string, req sigstack.SignRequest) sigstack.SignRequest {
	req.Image = ""
	req.Statement = &sigstack.Statement{
		Subjects: []sigstack.Subject{sigstack.SubjectOf("app", image)}, PredicateType: predicateType,
		Predicate: map[string]any{"builder": map[string]any{"id": "x"}},
	}
	return req
}

func at(t time.Time) *time.Time { return &t }
