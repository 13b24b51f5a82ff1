package trust_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/signet-policy/signet/internal/trust"
)

// samples is the root of the images that cosign signed.
func samples(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("../../test/testdata/samples/trusted-root.json")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// edit changes one thing in a trusted root.
func edit(t testing.TB, body []byte, change func(map[string]any)) []byte {
	t.Helper()
	var tree map[string]any
	if err := json.Unmarshal(body, &tree); err != nil {
		t.Fatal(err)
	}
	change(tree)
	out, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func without(keys ...string) func(map[string]any) {
	return func(m map[string]any) {
		for _, k := range keys {
			delete(m, k)
		}
	}
}

func TestParse(t *testing.T) {
	body := samples(t)
	r, err := trust.Parse("samples", body, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := trust.Info{
		Name: "samples", Digest: r.Digest(), TransparencyLog: true,
		Requires: trust.Requires{Log: true, SCT: true},
	}
	if diff := cmp.Diff(want, r.Info()); diff != "" {
		t.Error(diff)
	}
	// White space and the order of keys are not part of a root's identity.
	again, err := trust.Parse("other", edit(t, body, func(map[string]any) {}), nil)
	if err != nil {
		t.Fatal(err)
	}
	back, err := trust.Parse("samples", r.Bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if again.Digest() != r.Digest() || back.Digest() != r.Digest() || !bytes.Equal(back.Bytes(), r.Bytes()) {
		t.Errorf("digests %s, %s, %s should be one", r.Digest(), again.Digest(), back.Digest())
	}
	r.Bytes()[0] = 'x'
	if r.Bytes()[0] == 'x' {
		t.Error("Bytes hands out its own memory")
	}
	less, err := trust.Parse("less", edit(t, body, without("ctlogs")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if less.Digest() == r.Digest() {
		t.Error("another root has the same digest")
	}
}

func TestRequiresAreDerived(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(map[string]any)
		want   trust.Requires
	}{
		"everything":              {func(map[string]any) {}, trust.Requires{Log: true, SCT: true}},
		"no log":                  {without("tlogs"), trust.Requires{SCT: true, Timestamp: true}},
		"no SCT":                  {without("ctlogs"), trust.Requires{Log: true}},
		"timestamps alone":        {without("tlogs", "ctlogs"), trust.Requires{Timestamp: true}},
		"no timestamp authority":  {without("timestampAuthorities"), trust.Requires{Log: true, SCT: true}},
		"no certificate authorit": {without("certificateAuthorities"), trust.Requires{Log: true, SCT: true}},
	} {
		r, err := trust.Parse("x", edit(t, samples(t), tt.change), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(tt.want, r.Requires()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestRequiresThatCannotBeMet(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(map[string]any)
		req    *trust.Requires
	}{
		"no time source":            {without("tlogs", "timestampAuthorities"), nil},
		"no time source, asked for": {without("tlogs", "timestampAuthorities"), &trust.Requires{}},
		"log":                       {without("tlogs"), &trust.Requires{Log: true}},
		"SCT":                       {without("ctlogs"), &trust.Requires{SCT: true}},
		"timestamp":                 {without("timestampAuthorities"), &trust.Requires{Timestamp: true}},
	} {
		if _, err := trust.Parse("x", edit(t, samples(t), tt.change), tt.req); !errors.Is(err, trust.ErrRequires) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What is asked for and can be met is kept as it is.
	r, err := trust.Parse("x", samples(t), &trust.Requires{Timestamp: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(trust.Requires{Timestamp: true}, r.Requires()); diff != "" {
		t.Error(diff)
	}
}

func TestParseRefuses(t *testing.T) {
	body := samples(t)
	for name, b := range map[string][]byte{
		"nothing":             nil,
		"not JSON":            []byte("x"),
		"an array":            []byte("[]"),
		"another media type":  edit(t, body, func(m map[string]any) { m["mediaType"] = "application/json" }),
		"an unknown field":    edit(t, body, func(m map[string]any) { m["more"] = 1 }),
		"a duplicate key":     bytes.Replace(body, []byte(`{`), []byte(`{"tlogs": [],`), 1),
		"a broken key":        bytes.Replace(body, []byte(`"rawBytes":"`), []byte(`"rawBytes":"AAAA`), 1),
		"too many bytes":      append(bytes.Clone(body), bytes.Repeat([]byte(" "), 5<<20)...),
		"too deep":            []byte(`{"mediaType":` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + `}`),
		"trailing bytes":      append(bytes.Clone(body), "{}"...),
		"a TSA without a CA":  edit(t, body, leafOnlyTSA),
		"an empty TSA chain":  edit(t, body, func(m map[string]any) { tsa(m)["certChain"] = map[string]any{} }),
		"an empty CA chain":   edit(t, body, func(m map[string]any) { first(m, "certificateAuthorities")["certChain"] = map[string]any{} }),
		"a log without dates": edit(t, body, func(m map[string]any) { delete(first(m, "tlogs")["publicKey"].(map[string]any), "validFor") }),
	} {
		if _, err := trust.Parse("x", b, nil); !errors.Is(err, trust.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := trust.Parse("", body, nil); !errors.Is(err, trust.ErrInvalid) {
		t.Errorf("no name: %v", err)
	}
}

func first(m map[string]any, list string) map[string]any {
	return m[list].([]any)[0].(map[string]any)
}

func tsa(m map[string]any) map[string]any { return first(m, "timestampAuthorities") }

func leafOnlyTSA(m map[string]any) {
	chain := tsa(m)["certChain"].(map[string]any)
	chain["certificates"] = chain["certificates"].([]any)[:1]
}

func TestParseAll(t *testing.T) {
	one := edit(t, samples(t), func(map[string]any) {})
	two := edit(t, samples(t), without("ctlogs"))
	lines := append(append(bytes.Clone(one), '\n'), append(two, '\n')...)
	for name, tt := range map[string]struct {
		in   []byte
		want []string
	}{
		"one, indented": {samples(t), []string{"f"}},
		"two lines":     {lines, []string{"f", "f-2"}},
	} {
		roots, err := trust.ParseAll("f", tt.in)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var names []string
		for _, r := range roots {
			names = append(names, r.Name())
		}
		if diff := cmp.Diff(tt.want, names); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for name, in := range map[string][]byte{
		"empty":           nil,
		"white space":     []byte(" \n"),
		"half a document": append(bytes.Clone(one), '{'),
		"one that is bad": append(bytes.Clone(one), "{}"...),
		"too many":        bytes.Repeat([]byte("{}\n"), 100),
		"too long":        bytes.Repeat([]byte(" "), 5<<20),
	} {
		if _, err := trust.ParseAll("f", in); !errors.Is(err, trust.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAccessors(t *testing.T) {
	r, err := trust.Parse("samples", samples(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	for id, log := range r.Material().RekorLogs() {
		if got := r.Log(log.ID); got != log || !r.KnowsLog(log.ID) {
			t.Errorf("log %s: %v", id, got)
		}
	}
	if r.KnowsLog([]byte("other")) || r.KnowsLog(nil) || r.Log(nil) != nil {
		t.Error("a log of nobody is known")
	}
	ca := r.Material().FulcioCertificateAuthorities()[0].(*root.FulcioCertificateAuthority)
	if !r.MayIssue(ca.Root.RawSubject) {
		t.Error("the root CA may not issue")
	}
	for _, c := range ca.Intermediates {
		if !r.MayIssue(c.RawSubject) {
			t.Errorf("%s may not issue", c.Subject)
		}
	}
	if r.MayIssue([]byte("other")) || r.MayIssue(nil) {
		t.Error("a stranger may issue")
	}
	known := r.Authorities()[0].(*root.SigstoreTimestampingAuthority)
	leaf := known.Leaf
	if leaf == nil {
		t.Fatal("the samples' timestamp authority should name its leaf")
	}
	if !r.KnowsAuthority(leaf.RawIssuer, leaf.SerialNumber) {
		t.Error("the timestamp authority is not known")
	}
	if r.KnowsAuthority(leaf.RawIssuer, new(big.Int).Add(leaf.SerialNumber, big.NewInt(1))) || r.KnowsAuthority(leaf.RawSubject, leaf.SerialNumber) {
		t.Error("another timestamp authority is known")
	}
	// A root that names no leaf knows every leaf that its CA is said to have issued.
	noLeaf, err := trust.Parse("no-leaf", edit(t, samples(t), func(m map[string]any) {
		chain := tsa(m)["certChain"].(map[string]any)
		chain["certificates"] = chain["certificates"].([]any)[1:]
	}), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !noLeaf.KnowsAuthority(leaf.RawIssuer, big.NewInt(7)) || noLeaf.KnowsAuthority([]byte("other"), leaf.SerialNumber) {
		t.Error("a timestamp authority is known by its CA")
	}
}

func TestStale(t *testing.T) {
	r, err := trust.Parse("x", samples(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	if i := r.Info(); i.Refreshable() || i.Age(now) != 0 || i.Stale(now, 0) {
		t.Errorf("a file has an age: %+v", i)
	}
	i := r.Refreshed(now.Add(-2 * time.Hour)).Info()
	if !i.Refreshable() || i.Age(now) != 2*time.Hour || !i.Stale(now, time.Hour) || i.Stale(now, 2*time.Hour) {
		t.Errorf("%+v: age %s", i, i.Age(now))
	}
	if i.Age(now.Add(-3*time.Hour)) != 0 {
		t.Error("a negative age")
	}
	if r.Info().Refreshable() {
		t.Error("Refreshed changed the root itself")
	}
}

func TestFileName(t *testing.T) {
	for in, want := range map[string]string{
		"keys/trusted_root.json": "trusted_root", "a.b.jsonl": "a.b", "plain": "plain", "/x/.json": ".json",
	} {
		if got := trust.FileName(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestEmbedded(t *testing.T) {
	r, err := trust.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(trust.Requires{Log: true, SCT: true}, r.Requires()); diff != "" {
		t.Error(diff)
	}
	if r.Name() != "sigstore-public-good" || r.Info().Refreshable() {
		t.Errorf("%+v", r.Info())
	}
	// The seeds that it was taken from have Rekor v1 and v2 (whose keys are
	// Ed25519) and a timestamp authority, which Rekor v2 needs.
	var v1, v2 bool
	for _, log := range r.Material().RekorLogs() {
		v1 = v1 || log.BaseURL == "https://rekor.sigstore.dev"
		v2 = v2 || strings.HasPrefix(log.BaseURL, "https://log20") && strings.HasSuffix(log.BaseURL, ".rekor.sigstore.dev")
	}
	if !v1 || !v2 || len(r.Authorities()) == 0 {
		t.Errorf("Rekor v1: %v, Rekor v2: %v, timestamp authorities: %d", v1, v2, len(r.Authorities()))
	}
	since, err := trust.EmbeddedSince()
	if err != nil || since.Year() < 2026 {
		t.Errorf("snapshot of %s: %v", since, err)
	}
	var tuf struct {
		Signed struct {
			Type    string `json:"_type"`
			Version int    `json:"version"`
		} `json:"signed"`
	}
	if err := json.Unmarshal(trust.EmbeddedTUFRoot(), &tuf); err != nil || tuf.Signed.Type != "root" || tuf.Signed.Version < 16 {
		t.Errorf("TUF root: %+v, %v", tuf, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(samples(f))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`))
	f.Add([]byte(base64.StdEncoding.EncodeToString(samples(f))))
	f.Fuzz(func(t *testing.T, b []byte) {
		roots, err := trust.ParseAll("fuzz", b)
		if err != nil {
			return
		}
		for _, r := range roots {
			back, err := trust.Parse(r.Name(), r.Bytes(), nil)
			if err != nil || back.Digest() != r.Digest() {
				t.Fatalf("canonical bytes do not parse to the same root: %v", err)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	body := samples(b)
	for b.Loop() {
		if _, err := trust.Parse("x", body, nil); err != nil {
			b.Fatal(err)
		}
	}
}
