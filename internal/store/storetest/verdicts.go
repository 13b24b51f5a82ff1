package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing" //nolint:depguard // a suite for tests: the program does not import it
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/verdict"
)

const image = "ghcr.io/acme/app"

func (f *fixture) record(t *testing.T, r store.Record) {
	t.Helper()
	if err := f.Record(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func testRecord(t *testing.T, f *fixture) {
	ctx := t.Context()
	fx := Facts(t, "sha256:aa", "a@example.com")
	r := Record(t, 1, fx, image)
	r.AssessmentID = "assessment-1"
	f.record(t, r)
	got := must[store.Stored](t)(f.reader.Verdict(ctx, r.Verdict.ID))
	assessment, factsDigest := "assessment-1", fx.Digest()
	want := store.Row{
		ID: r.Verdict.ID, AssessmentID: &assessment, ImageRef: image + ":v1", ImageName: image, ImageDigest: "sha256:aa",
		SignatureFound: true, SignatureValid: true, SignerIdentity: "a@example.com", SignerIssuer: "https://accounts.google.com",
		SignedAt: r.Verdict.Signature.SignedAt, CreatedAt: r.Decided, Decision: verdict.Allow, Allowed: true, Reasons: []verdict.Reason{},
		Principal: "ci", Labels: map[string]string{"team": "a"}, FactsDigest: &factsDigest,
		Active: verdict.Active{Revision: 7, Digest: "sha256:active"}, Build: "test-1",
	}
	same(t, want, got.Row)
	same(t, string(r.Body), string(got.Body))
	if d := cmp.Diff(r.Frames, got.Frames, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	same(t, string(r.Basis), string(got.Basis))
	same(t, string(r.Evidence), string(must[[]byte](t)(f.reader.Evidence(ctx, *got.EvidenceDigest))))
	_, err := f.reader.Evidence(ctx, fx.Digest())
	wantErr(t, err, store.ErrNotFound)
	_, err = f.Verdict(ctx, "01JDNOBODY")
	wantErr(t, err, store.ErrNotFound)

	// One that is written late has a mark, until that is removed.
	late := Record(t, 9, fx, image)
	late.Late = true
	f.record(t, late)
	if marks := must[[]store.Mark](t)(f.reader.Marks(ctx, store.MarkLate)); len(marks) != 1 || marks[0].Key != late.Verdict.ID || !marks[0].At.Equal(late.Decided) {
		t.Errorf("the marks are %+v", marks)
	}
	for _, key := range []string{"another", late.Verdict.ID} {
		if err := f.DropMarks(ctx, store.MarkLate, []string{key, "none"}); err != nil {
			t.Error(err)
		}
		if n := len(must[[]store.Mark](t)(f.reader.Marks(ctx, store.MarkLate))); (n == 1) != (key == "another") {
			t.Errorf("after removing that of %s there are %d", key, n)
		}
	}

	// An unknown has no facts, and says why.
	u := Record(t, 2, facts.Facts{}, image)
	builder := "https://builder"
	u.Verdict.Decision, u.Verdict.Allowed, u.Verdict.Signature, u.Verdict.Pinned, u.Frames = verdict.Unknown, false, verdict.SignatureInfo{}, "", nil
	u.Verdict.Digest, u.Verdict.FactsDigest = "", ""
	u.Verdict.SLSA, u.Basis, u.Evidence = verdict.SLSA{Level: 2, Builder: &builder}, nil, nil
	u.Verdict.Reasons = []verdict.Reason{{Code: "image_not_found", Message: "There is no such image."}}
	f.record(t, u)
	got = must[store.Stored](t)(f.Verdict(ctx, u.Verdict.ID))
	message := "There is no such image."
	same(t, &message, got.VerificationError)
	same(t, u.Verdict.Reasons, got.Reasons)
	same(t, &builder, got.SLSABuilder)
	if got.FactsDigest != nil || got.AssessmentID != nil || got.SignedAt != nil || got.ImageName != image || got.Frames == nil ||
		got.Basis != nil || got.EvidenceDigest != nil {
		t.Errorf("an unknown is kept as %+v", got)
	}
}

func testRebuild(t *testing.T, f *fixture) {
	ctx := t.Context()
	fx := Facts(t, "sha256:aa", "a@example.com")
	r := Record(t, 1, fx, image)
	want := must[[]byte](t)(json.Marshal(facts.NewInput(fx, r.Frames["default"])))
	f.record(t, r)
	stored := must[store.Stored](t)(f.reader.Verdict(ctx, r.Verdict.ID))
	back := must[facts.Facts](t)(f.reader.Facts(ctx, *stored.FactsDigest))
	got := must[[]byte](t)(json.Marshal(facts.NewInput(back, stored.Frames["default"])))
	same(t, string(want), string(got))
	if !strings.Contains(string(got), `"predicate":{"z":1.50,`) {
		t.Error("the test's attestation shows no predicate, so it proves little")
	}
}

func testRecordRefused(t *testing.T, f *fixture) {
	ctx := t.Context()
	fx := Facts(t, "sha256:aa", "a@example.com")
	edits := map[string]func(*store.Record){
		"no verdict":              func(r *store.Record) { r.Verdict = nil },
		"no id":                   func(r *store.Record) { r.Verdict.ID = "" },
		"an id with a separator":  func(r *store.Record) { r.Verdict.ID = "a|b" },
		"no decision":             func(r *store.Record) { r.Verdict.Decision = "" },
		"no body":                 func(r *store.Record) { r.Body = nil },
		"no time":                 func(r *store.Record) { r.Decided = time.Time{} },
		"facts of something else": func(r *store.Record) { r.Facts = Facts(t, "sha256:bb", "b@example.com") },
		"facts that are missing":  func(r *store.Record) { r.Facts = facts.Facts{} },
	}
	for name, edit := range edits {
		r := Record(t, 1, fx, image)
		edit(&r)
		if err := f.Record(ctx, r); err == nil || !strings.Contains(err.Error(), store.ErrInvalid.Error()) {
			t.Errorf("%s: error %v, want %v", name, err, store.ErrInvalid)
		}
	}
	r := Record(t, 1, fx, image)
	f.record(t, r)
	wantErr(t, f.Record(ctx, r), store.ErrConflict)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	wantErr(t, f.Record(gone, Record(t, 2, fx, image)), context.Canceled)
}

func testRecordMany(t *testing.T, f *fixture) {
	ctx := t.Context()
	fx := Facts(t, "sha256:aa", "a@example.com")
	const n = 500
	var wg sync.WaitGroup
	for w := range 10 {
		wg.Go(func() {
			for i := range n / 10 {
				if err := f.Record(ctx, Record(t, w*n/10+i, fx, image)); err != nil {
					t.Error(err)
					return
				}
				// Recorded means readable, by others too.
				if _, err := f.reader.Verdict(ctx, Record(t, w*n/10+i, fx, image).Verdict.ID); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	rows, next, err := f.Verdicts(ctx, store.Filter{}, store.Page{Limit: 1000})
	if err != nil || len(rows) != n || next != nil {
		t.Errorf("there are %d verdicts, next page %v, error %v; want %d", len(rows), next, err, n)
	}
}

func testRecordOneBad(t *testing.T, f *fixture) {
	ctx := t.Context()
	fx := Facts(t, "sha256:aa", "a@example.com")
	taken := Record(t, 0, fx, image)
	f.record(t, taken)
	const n = 200
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			r := Record(t, i+1, fx, image)
			if i%10 == 0 {
				r.Verdict.ID = taken.Verdict.ID
			}
			errs[i] = f.Record(ctx, r)
		})
	}
	wg.Wait()
	for i, err := range errs {
		if i%10 == 0 {
			wantErr(t, err, store.ErrConflict)
		} else if err != nil {
			t.Errorf("verdict %d was spoilt by another: %v", i, err)
		}
	}
	rows, _, err := f.Verdicts(ctx, store.Filter{}, store.Page{Limit: 1000})
	if err != nil || len(rows) != n-n/10+1 {
		t.Errorf("there are %d verdicts (%v), want %d", len(rows), err, n-n/10+1)
	}
}

// longCode is a code that no index has room for.
var longCode = strings.Repeat("é", 200) + strings.Repeat("CVE-2025-1 ", 1000)

// seed records verdicts of every kind: 60 of them, in an order that is not that
// of their times, several at the same time.
func seed(t *testing.T, f *fixture) []store.Record {
	t.Helper()
	fxs := []facts.Facts{Facts(t, "sha256:aa", "a@example.com"), Facts(t, "sha256:bb", "b@example.com")}
	var all []store.Record
	for i := range 60 {
		r := Record(t, i, fxs[i%2], image+fmt.Sprint(i%3))
		r.Decided = start.Add(time.Duration(i/4) * time.Minute)
		r.Verdict.Decision = []verdict.Decision{verdict.Allow, verdict.Deny, verdict.Unknown}[i%7%3]
		r.Verdict.Signature.Signer = []string{"", "a@example.com", "b@example.com"}[i%5%3]
		r.AssessmentID = []string{"", "x", "y"}[i%11%3]
		// What is allowed has the reasons of policies that are tried out. A code may be any text.
		r.Verdict.Reasons = []verdict.Reason{{Code: fmt.Sprint("r", i%2)}, {Code: "further"}}
		if i%10 == 7 {
			r.Verdict.Reasons[0].Code = longCode
		}
		fr := r.Frames["default"]
		fr.Matches = []facts.Match{{Requirement: "signature", Signers: []string{fmt.Sprint("s", i%4), "builder"}}}
		r.Frames = map[string]facts.Frame{"default": fr, "second": fr}
		all = append(all, r)
	}
	for i := range all {
		f.record(t, all[(i*37)%60])
	}
	return all
}

func testFilters(t *testing.T, f *fixture) {
	ctx := t.Context()
	all := seed(t, f)
	since, until := start.Add(3*time.Minute), start.Add(11*time.Minute)
	single := []store.Filter{
		{},
		{AssessmentID: "x"},
		{Digest: "sha256:aa"},
		{Signer: "s2"},
		{ImageRef: image + "1:v1"},
		{ImageName: image + "2"},
		{Identity: "b@example.com"},
		{Decision: verdict.Unknown},
		{ReasonCode: "r1"},
		{ReasonCode: longCode},
	}
	merge := func(a, b store.Filter) store.Filter {
		pick := func(x, y string) string { return max(x, y) }
		return store.Filter{
			AssessmentID: pick(a.AssessmentID, b.AssessmentID), Digest: pick(a.Digest, b.Digest), Signer: pick(a.Signer, b.Signer),
			ImageRef: pick(a.ImageRef, b.ImageRef), ImageName: pick(a.ImageName, b.ImageName), Identity: pick(a.Identity, b.Identity),
			Decision: max(a.Decision, b.Decision), ReasonCode: pick(a.ReasonCode, b.ReasonCode),
		}
	}
	found := 0
	for _, a := range single {
		for _, b := range single {
			for _, bounds := range []store.Filter{{}, {Since: since}, {Until: until}, {Since: since, Until: until}} {
				filter := merge(a, b)
				filter.Since, filter.Until = bounds.Since, bounds.Until
				want := expect(all, filter)
				found += len(want)
				same(t, want, list(t, f.reader, filter, 7))
			}
		}
	}
	if found < 500 {
		t.Errorf("the filters found %d verdicts in all, so they prove little", found)
	}
	same(t, 0, len(list(t, f.reader, store.Filter{Signer: "nobody"}, 7)))
	same(t, 0, len(list(t, f.reader, store.Filter{ReasonCode: "further"}, 7))) // the first reason counts
	same(t, 0, len(list(t, f.reader, store.Filter{ReasonCode: "r0", Decision: verdict.Allow}, 7)))
	_, _, err := f.Verdicts(ctx, store.Filter{Decision: "maybe"}, store.Page{})
	wantErr(t, err, store.ErrInvalid)
}

// list reads all pages.
func list(t *testing.T, s *store.Store, f store.Filter, size int) []string {
	t.Helper()
	ids := []string{}
	page := store.Page{Limit: size}
	for {
		rows, next, err := s.Verdicts(t.Context(), f, page)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) > size {
			t.Fatalf("a page has %d rows, asked for %d", len(rows), size)
		}
		for _, r := range rows {
			ids = append(ids, r.ID)
		}
		if next == nil {
			return ids
		}
		c, err := store.ParseCursor(next.String())
		if err != nil {
			t.Fatal(err)
		}
		page.After = &c
	}
}

// expect says what a filter should find, by looking at every record.
func expect(all []store.Record, f store.Filter) []string {
	var match []store.Record
	for _, r := range all {
		v := r.Verdict
		is := func(want, have string) bool { return want == "" || want == have }
		signers := r.Frames["default"].Matches[0].Signers
		switch {
		case !is(f.AssessmentID, r.AssessmentID), !is(f.Digest, v.Digest), !is(f.ImageRef, v.Image),
			!is(f.ImageName, strings.TrimSuffix(v.Image, ":v1")), !is(f.Identity, v.Signature.Signer),
			!is(string(f.Decision), string(v.Decision)),
			f.ReasonCode != "" && (v.Decision == verdict.Allow || v.Reasons[0].Code != f.ReasonCode),
			f.Signer != "" && !slices.Contains(signers, f.Signer),
			!f.Since.IsZero() && r.Decided.Before(f.Since),
			!f.Until.IsZero() && !r.Decided.Before(f.Until):
		default:
			match = append(match, r)
		}
	}
	slices.SortFunc(match, func(a, b store.Record) int {
		if c := b.Decided.Compare(a.Decided); c != 0 {
			return c
		}
		return strings.Compare(b.Verdict.ID, a.Verdict.ID)
	})
	ids := []string{}
	for _, r := range match {
		ids = append(ids, r.Verdict.ID)
	}
	return ids
}

func testPages(t *testing.T, f *fixture) {
	ctx := t.Context()
	all := seed(t, f)
	want := expect(all, store.Filter{})
	for _, size := range []int{1, 3, 59, 60, 61} {
		same(t, want, list(t, f.reader, store.Filter{}, size))
	}
	// A row that comes between two pages neither repeats nor hides others.
	rows, next, err := f.Verdicts(ctx, store.Filter{}, store.Page{Limit: 10})
	if err != nil || next == nil {
		t.Fatal(next, err)
	}
	f.record(t, Record(t, 100000, Facts(t, "sha256:aa", "a@example.com"), image))
	second, _, err := f.Verdicts(ctx, store.Filter{}, store.Page{After: next, Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	same(t, want[9], rows[9].ID)
	same(t, want[10], second[0].ID)
	rows, _, err = f.Verdicts(ctx, store.Filter{}, store.Page{})
	if err != nil || len(rows) != 50 {
		t.Errorf("a page of no stated size has %d rows (%v), want 50", len(rows), err)
	}
	for _, limit := range []int{-1, 1001} {
		_, _, err := f.Verdicts(ctx, store.Filter{}, store.Page{Limit: limit})
		wantErr(t, err, store.ErrInvalid)
	}
	for _, bad := range []string{"", "x", "!!", store.Cursor{CreatedAt: start}.String(), "MjAyNg"} {
		_, err := store.ParseCursor(bad)
		wantErr(t, err, store.ErrInvalid)
	}
}

func testFacts(t *testing.T, f *fixture) {
	ctx := t.Context()
	fx := Facts(t, "sha256:aa", "a@example.com")
	for range 2 {
		if err := f.PutFacts(ctx, fx); err != nil {
			t.Fatal(err)
		}
	}
	got := must[facts.Facts](t)(f.reader.Facts(ctx, fx.Digest()))
	same(t, fx.Digest(), got.Digest())
	same(t, fx.Attestations(), got.Attestations())
	same(t, fx.Signatures(), got.Signatures())
	same(t, fx.Subject(), got.Subject())
	_, err := f.Facts(ctx, "sha256:nothing")
	wantErr(t, err, store.ErrNotFound)
	wantErr(t, f.PutFacts(ctx, facts.Facts{}), store.ErrInvalid)
}

func testUses(t *testing.T, f *fixture) {
	ctx := t.Context()
	minute := start.Truncate(time.Minute)
	use := func(id, who string, at time.Time, n int64) store.Use {
		return store.Use{VerdictID: id, Principal: who, Minute: at, Count: n}
	}
	for _, batch := range [][]store.Use{
		{use("v1", "ci", minute.Add(59*time.Second), 2), use("v1", "ci", minute, 3), use("v1", "ops", minute, 1)},
		{use("v1", "ci", minute, 5), use("v1", "ci", minute.Add(time.Minute), 7), use("v2", "ci", minute, 1)},
		nil,
	} {
		if err := f.AddUses(ctx, batch); err != nil {
			t.Fatal(err)
		}
	}
	same(t, []store.Use{use("v1", "ci", minute, 10), use("v1", "ops", minute, 1), use("v1", "ci", minute.Add(time.Minute), 7)},
		must[[]store.Use](t)(f.reader.Uses(ctx, "v1")))
	for _, bad := range []store.Use{use("", "ci", minute, 1), use("v3", "ci", minute, 0), use("v3", "ci", time.Time{}, 1)} {
		wantErr(t, f.AddUses(ctx, []store.Use{use("v3", "ci", minute, 1), bad}), store.ErrInvalid)
	}
	same(t, []store.Use{}, must[[]store.Use](t)(f.Uses(ctx, "v3")))
	same(t, int64(0), f.active(t).Revision)
}
