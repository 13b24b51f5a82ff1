package engine

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// bundleFor is a bundle about a digest, as far as the engine looks into one.
func bundleFor(digest, mark string) []byte {
	statement := fmt.Sprintf(`{"subject":[{"digest":{"sha256":%q}}],"mark":%q}`, strings.TrimPrefix(digest, "sha256:"), mark)
	return fmt.Appendf(nil, `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","dsseEnvelope":{"payload":%q}}`, base64.StdEncoding.EncodeToString([]byte(statement)))
}

// signedWhenGiven verifies to a signature where an item was given, and to nothing else.
func (w *world) signedWhenGiven() *[]evidence.Item {
	var seen []evidence.Item
	w.state.Verify = func(_ context.Context, s facts.Subject, items []evidence.Item, _ Keys) (facts.Facts, error) {
		seen = items
		p := facts.Proven{Subject: s}
		for _, it := range items {
			if it.Where == evidence.GivenWhere {
				p.Signatures = append(p.Signatures, signed(it.SubjectDigest, it.ID, "dev@example.test"))
			}
		}
		return facts.New(p)
	}
	return &seen
}

// Evidence of a request counts for its answer, and for no other: neither the answer
// nor the lease of the search knows it (threat 56).
func TestGivenEvidenceStaysWithWhoGaveIt(t *testing.T) {
	w := newWorld(t)
	w.signedWhenGiven()
	b := bundleFor(indexDigest, "a")
	if v, _ := w.ask(Request{}); v.Allowed {
		t.Fatalf("allowed without evidence: %+v", v)
	}
	w.now = w.now.Add(11 * time.Second)
	v, a := w.ask(Request{Evidence: [][]byte{b}})
	if !v.Allowed || a.From != FromMiss || !slices.Equal(v.Given, []string{facts.Digest(b)}) {
		t.Fatalf("with evidence: %+v from %s", v, a.From)
	}
	if v, a := w.ask(Request{Evidence: [][]byte{b}}); !v.Allowed || a.From != FromMemory {
		t.Errorf("the same again: %v from %s", v.Allowed, a.From)
	}
	if v, a := w.ask(Request{Evidence: [][]byte{b, bundleFor(indexDigest, "b")}}); !v.Allowed || a.From != FromMiss {
		t.Errorf("with more: %v from %s", v.Allowed, a.From)
	}
	if v, _ := w.ask(Request{}); v.Allowed || v.Given != nil {
		t.Errorf("without: %+v", v)
	}
	w.now = w.now.Add(searchLeaseNothing)
	before := w.source.collects
	if v, _ := w.ask(Request{}); v.Allowed || w.source.collects != before+1 {
		t.Errorf("%v: the search of one who gave evidence is believed for longer than one that found nothing", v.Allowed)
	}
	rec := last(t, w.recorder)
	if rec.Verdict.Given != nil || len(rec.Items) != 0 {
		t.Errorf("recorded without: %+v", rec)
	}
}

// What was given is kept with the verdict, so that it can be decided again.
func TestGivenEvidenceIsRecorded(t *testing.T) {
	w := newWorld(t)
	w.signedWhenGiven()
	b := bundleFor(indexDigest, "a")
	w.ask(Request{Evidence: [][]byte{b, b}})
	rec := last(t, w.recorder)
	id := facts.Digest(b)
	if len(rec.Items) != 1 || rec.Items[0].ID != id || !slices.Equal(rec.Basis.Given, []string{id}) || !slices.Equal(rec.Frames["default"].Given, []string{id}) {
		t.Errorf("%+v", rec)
	}
	again, err := w.engine.Replay(t.Context(), w.state, Kept{Basis: rec.Basis, Facts: rec.Facts}, rec.Verdict.EvaluatedAt)
	if err != nil || !again.Verdict.Allowed || !slices.Equal(again.Verdict.Given, rec.Verdict.Given) {
		t.Errorf("replayed: %+v, %v", again, err)
	}
}

// A bundle belongs to the digest that it speaks of, if that is looked at; one about
// another image is for the verifier to reject.
func TestGivenEvidenceAndDigests(t *testing.T) {
	for _, tt := range []struct {
		name, platform string
		bundle         []byte
		want           string
	}{
		{"the index", "linux/arm64", bundleFor(indexDigest, ""), indexDigest},
		{"the platform that was asked for", "linux/arm64", bundleFor(armDigest, ""), armDigest},
		{"a platform that was not", "", bundleFor(armDigest, ""), indexDigest},
		{"another image", "linux/arm64", bundleFor("sha256:"+strings.Repeat("9", 64), ""), indexDigest},
		{"nulls", "linux/arm64", []byte(`{"mediaType":null,"dsseEnvelope":null,"messageSignature":{"messageDigest":null}}`), indexDigest},
	} {
		w := newWorld(t)
		seen := w.signedWhenGiven()
		w.ask(Request{Platform: tt.platform, Evidence: [][]byte{tt.bundle}})
		if len(*seen) != 1 || (*seen)[0].SubjectDigest != tt.want {
			t.Errorf("%s: %+v", tt.name, *seen)
		}
	}
}

func TestGivenEvidenceIsWithinTheLimits(t *testing.T) {
	w := newWorld(t)
	w.signedWhenGiven()
	w.engine.cfg.Limits.Items, w.engine.cfg.Limits.BundleBytes, w.engine.cfg.Limits.MemoryBytes = 3, 1000, 1500
	many := func(n int) (all [][]byte) {
		for i := range n {
			all = append(all, bundleFor(indexDigest, fmt.Sprint(i)))
		}
		return all
	}
	large := bundleFor(indexDigest, strings.Repeat("x", 500))
	for name, tt := range map[string]struct {
		given [][]byte
		want  string
	}{
		"too many":          {many(10_000), "evidence: 10000 bundles are more than 3 (limit items)"},
		"too large":         {[][]byte{bundleFor(indexDigest, strings.Repeat("x", 1000))}, "evidence: item 1 has"},
		"too much together": {[][]byte{large, large}, "limit memory_bytes"},
		"null":              {[][]byte{[]byte("null")}, "evidence: item 1 is not a Sigstore bundle"},
		"a list":            {[][]byte{many(1)[0], []byte("[]")}, "evidence: item 2 is not a Sigstore bundle"},
		"nothing":           {[][]byte{nil}, "evidence: item 1 is not a Sigstore bundle"},
	} {
		_, err := w.engine.Decide(t.Context(), w.state, Request{Image: image, Evidence: tt.given})
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	// With what was found they are too many: nobody can say what was seen.
	w.source.found.Items = []evidence.Item{{Kind: evidence.KindBundle, SubjectDigest: indexDigest, Bytes: []byte("{}"), ID: "sha256:f"}}
	w.policy.monotone = false
	v, _ := w.ask(Request{Evidence: many(3), Refresh: true})
	if v.Decision != verdict.Unknown || len(v.Reasons) != 1 || v.Reasons[0].Code != evidence.CodeEvidenceTooLarge {
		t.Errorf("%+v", v)
	}
}

func last(t *testing.T, r *fakeRecorder) Record {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.records) == 0 {
		t.Fatal("nothing was recorded")
	}
	return r.records[len(r.records)-1]
}
