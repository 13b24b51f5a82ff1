package storetest

import (
	"errors"
	"testing" //nolint:depguard // a suite for tests: the program does not import it
	"time"

	"github.com/signet-policy/signet/internal/store"
)

// testDraftRoom counts drafts so that no two servers write the last that there is
// room for.
func testDraftRoom(t *testing.T, f *fixture) {
	ctx := t.Context()
	draft := func(name, owner string) store.DraftRow {
		return store.DraftRow{Name: name, Owner: owner, Files: map[string]string{"a": ""}, UpdatedBy: "jane"}
	}
	var ofOwner, all int
	count := func(o, a int) error { ofOwner, all = o, a; return nil }
	must[store.DraftRow](t)(f.PutDraft(ctx, draft("other", "other"), count))
	same(t, [2]int{0, 0}, [2]int{ofOwner, all})

	second, counted := make(chan error, 1), make(chan struct{})
	one := must[store.DraftRow](t)(f.PutDraft(ctx, draft("one", "web"), func(int, int) error {
		go func() {
			_, err := f.PutDraft(ctx, draft("two", "web"), func(o, a int) error { close(counted); return count(o, a) })
			second <- err
		}()
		select {
		case <-counted:
			t.Error("two count at the same time")
		case <-time.After(100 * time.Millisecond):
		}
		return nil
	}))
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	same(t, [2]int{1, 2}, [2]int{ofOwner, all})

	full := errors.New("full")
	refuse := func(int, int) error { return full }
	for name, r := range map[string]store.DraftRow{"a new one": draft("three", "web"), "one given away": {Name: "one", Owner: "other", Files: one.Files, UpdatedBy: "jane", Version: 1}} {
		if _, err := f.PutDraft(ctx, r, refuse); err != full { //nolint:errorlint // as it is
			t.Errorf("%s: %v", name, err)
		}
	}
	same(t, 3, len(must[[]store.DraftRow](t)(f.reader.Drafts(ctx))))
	one = must[store.DraftRow](t)(f.PutDraft(ctx, one, refuse)) // no more than there were
	one.Owner = "other"
	must[store.DraftRow](t)(f.PutDraft(ctx, one, count)) // one more of theirs, none more in all
	same(t, [2]int{1, 2}, [2]int{ofOwner, all})
}

// testDrafts keeps bundles that people work on, and changes nothing that is in
// force by it.
func testDrafts(t *testing.T, f *fixture) {
	ctx := t.Context()
	before := f.active(t)
	row := store.DraftRow{Name: "web", Owner: "team", Base: "sha256:1", Files: map[string]string{"signing/rules/a.rego": "package a\n", "odd \x00": "\x00"}, UpdatedBy: "jane"}
	made := must[store.DraftRow](t)(f.PutDraft(ctx, row, nil))
	same(t, int64(1), made.Version)
	same(t, "jane", made.CreatedBy)
	same(t, made, must[store.DraftRow](t)(f.reader.Draft(ctx, "web")))

	next := made
	next.Files, next.UpdatedBy, next.Base = map[string]string{"a": "b"}, "joe", ""
	next = must[store.DraftRow](t)(f.PutDraft(ctx, next, nil))
	same(t, int64(2), next.Version)
	same(t, "jane", next.CreatedBy)
	same(t, "joe", next.UpdatedBy)
	other := must[store.DraftRow](t)(f.PutDraft(ctx, store.DraftRow{Name: "api", Files: map[string]string{"a": ""}, UpdatedBy: "jane"}, nil))
	other.Files, next.Files = map[string]string{}, map[string]string{}
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
		if _, err := f.PutDraft(ctx, tt.row, nil); !errors.Is(err, tt.want) {
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
