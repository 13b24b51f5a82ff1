package storetest

import (
	"fmt"
	"testing" //nolint:depguard // a suite for tests: the program does not import it
	"time"

	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/verdict"
)

// testShadows keeps what policies in shadow said, counts it and lists where they
// disagree; all of it goes with the verdict.
func testShadows(t *testing.T, f *fixture) {
	ctx := t.Context()
	shadow := func(n int, policy string, decision verdict.Decision) store.ShadowRow {
		return store.ShadowRow{
			VerificationID: fmt.Sprintf("01JD%022d", n), ImageRef: image + ":v1", ImageName: image, Policy: policy, Digest: "sha256:policy",
			ParamsDigest: "sha256:params", Decision: decision, Reasons: []verdict.Reason{}, ShadowOf: "prod", ComparedWith: verdict.Allow,
			CreatedAt: start.Add(time.Duration(n) * time.Second),
		}
	}
	denied := shadow(2, "next", verdict.Deny)
	denied.Reasons = []verdict.Reason{{Code: "too_old", Message: "It is too old.", Remediation: "Build it anew.", Rule: "signing.rules.old"}}
	for _, list := range [][]store.ShadowRow{
		{shadow(1, "next", verdict.Allow), shadow(1, "other", verdict.Deny)},
		{denied},
		{shadow(3, "next", verdict.Unknown)},
		{shadow(4, "next", verdict.Allow)},
	} {
		if err := f.RecordShadows(ctx, list); err != nil {
			t.Fatal(err)
		}
	}
	again := denied
	again.Decision = verdict.Allow
	if err := f.RecordShadows(ctx, []store.ShadowRow{again}); err != nil {
		t.Errorf("once more: %v", err)
	}
	would := shadow(5, "next", verdict.Allow)
	would.ComparedWith, would.ShadowOf = verdict.Deny, ""
	if err := f.RecordShadows(ctx, []store.ShadowRow{would}); err != nil {
		t.Fatal(err)
	}

	counts := must[store.ShadowCounts](t)(f.reader.ShadowCounts(ctx, "next", start))
	same(t, store.ShadowCounts{Agree: 2, WouldAllow: 1, WouldDeny: 1, WouldNotKnow: 1}, counts)
	counts = must[store.ShadowCounts](t)(f.reader.ShadowCounts(ctx, "next", start.Add(4*time.Second)))
	same(t, store.ShadowCounts{Agree: 1, WouldAllow: 1}, counts)
	same(t, store.ShadowCounts{}, must[store.ShadowCounts](t)(f.reader.ShadowCounts(ctx, "nobody", start)))

	list, next, err := f.reader.ShadowDisagreements(ctx, "next", start, nil, 2)
	if err != nil || next == nil {
		t.Fatalf("the first page: %v, next %v", err, next)
	}
	same(t, []store.ShadowRow{would, shadow(3, "next", verdict.Unknown)}, list)
	list, next, err = f.reader.ShadowDisagreements(ctx, "next", start, next, 2)
	if err != nil || next != nil {
		t.Fatalf("the second page: %v, next %v", err, next)
	}
	same(t, []store.ShadowRow{denied}, list)
	list, _, err = f.reader.ShadowDisagreements(ctx, "next", start.Add(4*time.Second), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	same(t, []store.ShadowRow{would}, list)

	for name, change := range map[string]func(*store.ShadowRow){
		"no verdict":   func(r *store.ShadowRow) { r.VerificationID = "" },
		"no policy":    func(r *store.ShadowRow) { r.Policy = "" },
		"no time":      func(r *store.ShadowRow) { r.CreatedAt = time.Time{} },
		"no decision":  func(r *store.ShadowRow) { r.Decision = "" },
		"nothing else": func(r *store.ShadowRow) { r.ComparedWith = "perhaps" },
	} {
		r := shadow(9, "next", verdict.Allow)
		change(&r)
		if err := f.RecordShadows(ctx, []store.ShadowRow{shadow(8, "next", verdict.Allow), r}); err == nil {
			t.Errorf("%s: is kept", name)
		} else {
			wantErr(t, err, store.ErrInvalid)
		}
	}
	same(t, store.ShadowCounts{Agree: 2, WouldAllow: 1, WouldDeny: 1, WouldNotKnow: 1}, must[store.ShadowCounts](t)(f.ShadowCounts(ctx, "next", start)))

	fx := Facts(t, "sha256:aa", "a@example.com")
	r := Record(t, 1, fx, image)
	f.record(t, r)
	kept := shadow(1, "pruned", verdict.Deny)
	kept.VerificationID = r.Verdict.ID
	if err := f.RecordShadows(ctx, []store.ShadowRow{kept}); err != nil {
		t.Fatal(err)
	}
	f.clock.now = f.clock.now.Add(48 * time.Hour)
	if n, err := f.Prune(ctx, store.Retention{MaxAge: time.Hour}); err != nil || n != 1 {
		t.Fatalf("%d verdicts are removed (%v)", n, err)
	}
	same(t, store.ShadowCounts{}, must[store.ShadowCounts](t)(f.ShadowCounts(ctx, "pruned", start)))
	same(t, store.ShadowCounts{}, must[store.ShadowCounts](t)(f.ShadowCounts(ctx, "next", start)))
}
