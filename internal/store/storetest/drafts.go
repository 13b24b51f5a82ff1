package storetest

import (
	"errors"
	"testing" //nolint:depguard // a suite for tests: the program does not import it

	"github.com/signet-policy/signet/internal/store"
)

// testDrafts keeps bundles that people work on, and changes nothing that is in
// force by it.
func testDrafts(t *testing.T, f *fixture) {
	ctx := t.Context()
	before := f.active(t)
	row := store.DraftRow{Name: "web", Owner: "team", Base: "sha256:1", Files: map[string]string{"signing/rules/a.rego": "package a\n", "odd \x00": "\x00"}, UpdatedBy: "jane"}
	made := must[store.DraftRow](t)(f.PutDraft(ctx, row))
	same(t, int64(1), made.Version)
	same(t, "jane", made.CreatedBy)
	same(t, made, must[store.DraftRow](t)(f.reader.Draft(ctx, "web")))

	next := made
	next.Files, next.UpdatedBy, next.Base = map[string]string{"a": "b"}, "joe", ""
	next = must[store.DraftRow](t)(f.PutDraft(ctx, next))
	same(t, int64(2), next.Version)
	same(t, "jane", next.CreatedBy)
	same(t, "joe", next.UpdatedBy)
	other := must[store.DraftRow](t)(f.PutDraft(ctx, store.DraftRow{Name: "api", Files: map[string]string{"a": ""}, UpdatedBy: "jane"}))
	same(t, []store.DraftRow{other, next}, must[[]store.DraftRow](t)(f.reader.Drafts(ctx)))
	same(t, before, f.active(t))

	for name, tt := range map[string]struct {
		row  store.DraftRow
		want error
	}{
		"there already":   {row, store.ErrConflict},
		"another version": {made, store.ErrConflict},
		"gone":            {store.DraftRow{Name: "none", Files: row.Files, UpdatedBy: "jane", Version: 3}, store.ErrNotFound},
		"no files":        {store.DraftRow{Name: "x", UpdatedBy: "jane"}, store.ErrInvalid},
		"nobody":          {store.DraftRow{Name: "x", Files: row.Files}, store.ErrInvalid},
	} {
		if _, err := f.PutDraft(ctx, tt.row); !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", name, err, tt.want)
		}
	}
	if err := f.DeleteDraft(ctx, "web", 1); !errors.Is(err, store.ErrConflict) {
		t.Errorf("deleting another version: %v", err)
	}
	if err := f.DeleteDraft(ctx, "web", 2); err != nil {
		t.Fatal(err)
	}
	if err := f.DeleteDraft(ctx, "web", 2); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleting it again: %v", err)
	}
	if _, err := f.reader.Draft(ctx, "web"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted, and read: %v", err)
	}
}
