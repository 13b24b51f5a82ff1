package verify_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/verify"
)

// Threat 38: log entries, timestamps and subjects without end; the limit is named.
func TestCountsThreat38(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	few := evidence.DefaultLimits()
	few.LogEntries, few.Timestamps, few.StatementSubjects = 2, 2, 2
	v := verifierWith(t, few, b.root)
	named := func(limit string, item evidence.Item) {
		t.Helper()
		r := oneRejection(t, facts.CodeTooLarge, imageFacts(t, v, []evidence.Item{item}))
		if !strings.Contains(r.Message, limit) {
			t.Errorf("the limit %s is not named: %s", limit, r.Message)
		}
	}
	ev := b.Sign(keylessV2())
	for range 2 {
		foreign, err := b.ForeignEntry(ev, sigstack.RekorV1())
		b.must(err)
		ev.Entries = append(ev.Entries, foreign)
	}
	named("log_entries", b.bundle(ev))
	oneSignature(t, imageFacts(t, newVerifier(t, b.root), []evidence.Item{b.bundle(ev)}))

	ev = b.Sign(keylessV2())
	for i := range 2 {
		b.must(b.ForeignTimestamp(ev, sigstack.TimestampSpec{Over: []byte{byte(i)}}))
	}
	named("timestamps", b.bundle(ev))

	req := attestationOf("x", keylessV1())
	req.Statement.Subjects = append(req.Statement.Subjects, sigstack.SubjectOf("b", otherImage), sigstack.SubjectOf("c", otherImage))
	named("statement_subjects", b.bundle(b.Sign(req)))

	req = attestationOf("x", keylessV1())
	digests := map[string]string{"sha256": image[7:]}
	for i := range 40 {
		digests[fmt.Sprint("alg", i)] = "00"
	}
	req.Statement.Subjects[0].Digest = digests
	b.rejected(facts.CodeTooLarge, b.bundle(b.Sign(req)))
}

// Threat 39: an item over its own size, and what was broken on the way here.
func TestSizeThreat39(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	small := evidence.DefaultLimits()
	small.BundleBytes = 100
	item := b.bundle(b.Sign(keylessV2()))
	r := oneRejection(t, facts.CodeTooLarge, imageFacts(t, verifierWith(t, small, b.root), []evidence.Item{item}))
	if !strings.Contains(r.Message, "bundle_bytes") {
		t.Errorf("the limit is not named: %s", r.Message)
	}
	// More than there is room for is verified alone.
	tight := evidence.DefaultLimits()
	tight.MemoryBytes = 1
	oneSignature(t, imageFacts(t, verifierWith(t, tight, b.root), []evidence.Item{item}))

	broken := evidence.Item{
		Kind: evidence.KindBundle, MediaType: "x", SubjectDigest: otherImage, Where: "there", ID: "sha256:00",
		Broken: &evidence.Broken{Code: facts.CodeNotFound, Message: "gone\nfor good"},
	}
	r = b.rejected(facts.CodeNotFound, broken)
	if r.ID != "sha256:00" || r.Where != "there" || r.Message != "gone for good" {
		t.Errorf("%+v", r)
	}
}

// Threat 40: a bundle cut short at every length, with every value null, and with
// every value of another type: never a panic, and nothing forged is a fact.
func TestMutilatedBundlesThreat40(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	key := b.Key("k", sigstack.ECDSAP256SHA256)
	for name, item := range map[string]evidence.Item{
		"Rekor v1":    b.bundle(b.Sign(sigstack.SignRequest{Image: image, Identity: dev, Log: sigstack.RekorV1(), Timestamps: 1})),
		"Rekor v2":    b.bundle(b.Sign(keylessV2())),
		"key":         b.bundle(b.Sign(sigstack.SignRequest{Image: image, Key: key, Log: sigstack.RekorV1()})),
		"attestation": b.bundle(b.Sign(attestationOf("x", keylessV1()))),
		"intoto":      b.bundle(b.Sign(intotoRequest("0.0.1", false))),
	} {
		var tree any
		if err := json.Unmarshal(item.Bytes, &tree); err != nil {
			t.Fatal(err)
		}
		var variants []evidence.Item
		for n := 0; n < len(item.Bytes); n += 97 {
			variants = append(variants, bundleItem(item.Bytes[:n]))
		}
		for _, other := range []any{nil, "x", 7, []any{}, []any{nil}, map[string]any{}, true} {
			replaceEach(tree, other, func() {
				raw, err := json.Marshal(tree)
				if err != nil {
					t.Fatal(err)
				}
				variants = append(variants, bundleItem(raw))
			})
		}
		f, err := b.v.Image(t.Context(), facts.Subject{Digest: image}, variants, verify.KeyList(key.Public()))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range f.Rejections() {
			if r.Code == facts.CodePanic || r.Code == "" || r.Message == "" {
				t.Errorf("%s: %+v", name, r)
			}
		}
		for _, s := range f.Signatures() {
			if s.Principal != dev.Issuer+" dev@example.test" && s.Principal != key.Fingerprint() {
				t.Errorf("%s: %+v", name, s)
			}
		}
		t.Logf("%s: %d variants, %d rejected", name, len(variants), len(f.Rejections()))
		if len(f.Rejections()) < len(variants)/2 {
			t.Errorf("%s: only %d of %d variants rejected", name, len(f.Rejections()), len(variants))
		}
	}
}

// replaceEach puts other in the place of every value in turn.
func replaceEach(tree, other any, visit func()) {
	switch n := tree.(type) {
	case map[string]any:
		for k, v := range n {
			n[k] = other
			visit()
			n[k] = v
			replaceEach(v, other, visit)
		}
	case []any:
		for i, v := range n {
			n[i] = other
			visit()
			n[i] = v
			replaceEach(v, other, visit)
		}
	}
}

// Threat 42: JSON that two parsers read in two ways, in the bundle itself.
func TestBundleJSONThreat42(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	good := b.bundle(b.Sign(keylessV2())).Bytes
	for name, raw := range map[string][]byte{
		"duplicate key":           mustMember(t, good, true, "mediaType", sigstack.V03.MediaType()),
		"duplicate key, other":    mustMember(t, good, false, "mediaType", "x"),
		"second name of a member": mustMember(t, good, false, "media_type", sigstack.V03.MediaType()),
		"unknown member":          mustMember(t, good, false, "more", 1),
		"other case":              bytes.Replace(good, []byte(`"mediaType"`), []byte(`"mediatype"`), 1),
		"trailing bytes":          append(bytes.Clone(good), "{}"...),
		"deep":                    mustMember(t, good, false, "more", json.RawMessage(strings.Repeat("[", 1000)+strings.Repeat("]", 1000))),
		"byte order mark":         append([]byte("\xef\xbb\xbf"), good...),
		"invalid UTF-8":           bytes.Replace(good, []byte(`"mediaType":"`), []byte("\"mediaType\":\"\xff"), 1),
		"NUL":                     bytes.Replace(good, []byte(`"sig":`), []byte(`"keyid":"\u0000","sig":`), 1),
		"giant integer":           mustMember(t, good, false, "more", json.RawMessage(strings.Repeat("9", 100))),
	} {
		if bytes.Equal(raw, good) {
			t.Fatalf("%s: nothing was changed", name)
		}
		r := b.rejected(facts.CodeMalformed, bundleItem(raw))
		t.Log(name, r.Message)
	}
	for _, mediaType := range []string{"", "x", "application/vnd.dev.sigstore.bundle.v0.4+json", "application/vnd.dev.sigstore.bundle.v1.0+json", "application/vnd.dev.sigstore.bundle+json;version=0.9"} {
		raw := bytes.Replace(good, []byte(sigstack.V03.MediaType()), []byte(mediaType), 1)
		b.rejected(facts.CodeUnsupported, bundleItem(raw))
	}
}

func mustMember(t *testing.T, object []byte, front bool, name string, value any) []byte {
	t.Helper()
	out, err := sigstack.WithMember(object, front, name, value)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Threat 43 (CVE-2026-32280): a chain of many certificates.
func TestChainLengthThreat43(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	ev := b.Sign(keylessV1())
	for len(ev.Chain) < 10 {
		ev.Chain = append(ev.Chain, ev.Chain[0])
	}
	raw, err := ev.BundleWith(sigstack.V02, sigstack.MaterialFullChain)
	b.must(err)
	r := b.rejected(facts.CodeChainTooLong, bundleItem(raw))
	if !strings.Contains(r.Message, "chain_certificates") {
		t.Errorf("the limit is not named: %s", r.Message)
	}
	b.signature(b.bundle(ev)) // v0.3 has the leaf alone
	legacy := b.Sign(sigstack.SignRequest{Image: image, Identity: dev, Log: sigstack.RekorV1SET(), Legacy: true})
	b.signature(b.layer(legacy))
	for len(legacy.Chain) < 11 {
		legacy.Chain = append(legacy.Chain, legacy.Chain[0])
	}
	b.rejected(facts.CodeChainTooLong, b.layer(legacy))
}
