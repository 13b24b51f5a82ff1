package administration

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/store"
)

// A draft is kept for those who may change the bundle, whoever writes second is told,
// and nothing that is in force changes.
func TestDrafts(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		as := func(name string, role auth.Role, team string) Caller {
			return Caller{Principal: auth.Principal{Name: name, Role: role, Team: team}, From: "cli"}
		}
		admin, web, other, viewer := as("admin", auth.Admin, ""), as("jane", auth.Author, "web"), as("joe", auth.Author, "other"), as("viewer", auth.Viewer, "")
		files := map[string]string{".manifest": "{}", "signing/rules/a.rego": "package signing.rules.a\n"}
		var made client.Draft
		f.untouched(t, func() {
			var err error
			if made, err = f.PutDraft(ctx, web, "web-rules", client.PutDraft{Files: files}, nil); err != nil || made.Owner != "web" || made.Version != 1 || made.CreatedBy != "jane" {
				t.Fatalf("%+v, %v", made, err)
			}
		})
		same(t, made, must[client.Draft](t)(f.Draft(ctx, admin, "web-rules")))
		next := must[client.Draft](t)(f.PutDraft(ctx, admin, "web-rules", client.PutDraft{Files: map[string]string{"a": "b"}, Base: "sha256:1"}, &made.Version))
		if next.Owner != "web" || next.Version != 2 || next.UpdatedBy != "admin" || next.Base != "sha256:1" {
			t.Errorf("%+v", next)
		}
		must[client.Draft](t)(f.PutDraft(ctx, admin, "all", client.PutDraft{Files: files}, nil))
		for who, want := range map[string]int{"web": 1, "other": 0, "": 2} {
			page := must[client.Page[client.DraftSummary]](t)(f.Drafts(ctx, as("x", auth.Author, who), 0, ""))
			if len(page.Items) != want {
				t.Errorf("team %q sees %+v", who, page.Items)
			}
		}
		if page := must[client.Page[client.DraftSummary]](t)(f.Drafts(ctx, admin, 1, "")); page.Next != "all" || page.Items[0].Name != "all" {
			t.Errorf("a page: %+v", page)
		}
		for name, tt := range map[string]struct {
			do   func() error
			want error
		}{
			"a viewer reads":  {func() error { _, err := f.Draft(ctx, viewer, "web-rules"); return err }, ErrRole},
			"a viewer lists":  {func() error { _, err := f.Drafts(ctx, viewer, 0, ""); return err }, ErrRole},
			"a viewer writes": {func() error { _, err := f.PutDraft(ctx, viewer, "x", client.PutDraft{Files: files}, nil); return err }, ErrRole},
			"another team":    {func() error { _, err := f.Draft(ctx, other, "web-rules"); return err }, ErrNotYours},
			"… writes": {func() error {
				_, err := f.PutDraft(ctx, other, "web-rules", client.PutDraft{Files: files}, &next.Version)
				return err
			}, ErrNotYours},
			"… gives it away": {func() error {
				_, err := f.PutDraft(ctx, other, "x", client.PutDraft{Owner: "web", Files: files}, nil)
				return err
			}, ErrNotYours},
			"… deletes": {func() error { return f.DeleteDraft(ctx, other, "web-rules", 2) }, ErrNotYours},
			"there already": {func() error {
				_, err := f.PutDraft(ctx, web, "web-rules", client.PutDraft{Files: files}, nil)
				return err
			}, ErrConflict},
			"another version": {func() error {
				_, err := f.PutDraft(ctx, web, "web-rules", client.PutDraft{Files: files}, &made.Version)
				return err
			}, ErrStale},
			"none": {func() error { _, err := f.Draft(ctx, web, "none"); return err }, ErrNotFound},
			"replacing none": {func() error {
				_, err := f.PutDraft(ctx, web, "none", client.PutDraft{Files: files}, ptr(int64(1)))
				return err
			}, ErrNotFound},
			"deleting another": {func() error { return f.DeleteDraft(ctx, web, "web-rules", 1) }, ErrStale},
		} {
			if err := tt.do(); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v, want %v", name, err, tt.want)
			}
		}
		if _, err := f.PutDraft(ctx, web, "No Name", client.PutDraft{Files: files}, nil); err == nil {
			t.Error("a draft of no name")
		}
		if err := f.DeleteDraft(ctx, web, "web-rules", 2); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Draft(ctx, web, "web-rules"); !errors.Is(err, ErrNotFound) {
			t.Errorf("deleted, and read: %v", err)
		}
	})
}

// A team has room for so many drafts, however many are put at the same time, and
// takes none from others.
func TestDraftsOfATeamAreBounded(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		as := func(team string) Caller {
			return Caller{Principal: auth.Principal{Name: "jane", Role: auth.Author, Team: team}, From: "cli"}
		}
		put := func(c Caller, name string, in client.PutDraft, version *int64) error {
			in.Files = map[string]string{"a": "b"}
			_, err := f.PutDraft(ctx, c, name, in, version)
			return err
		}
		const together = 4
		for i := range maxTeamDrafts - 1 {
			if err := put(as("web"), fmt.Sprintf("web-%d", i), client.PutDraft{}, nil); err != nil {
				t.Fatal(err)
			}
		}
		refused := make(chan error, together)
		for i := range together {
			go func() { refused <- put(as("web"), fmt.Sprintf("last-%d", i), client.PutDraft{}, nil) }()
		}
		kept := 0
		for range together {
			err := <-refused
			if err == nil {
				kept++
			} else if !errors.Is(err, ErrConflict) || err.Error() != `team "web" has 100 drafts, and a team may have at most 100; discard one that nobody works on` {
				t.Errorf("of several at the same time: %v", err)
			}
		}
		same(t, 1, kept)

		if err := put(as("web"), "web-0", client.PutDraft{}, ptr(int64(1))); err != nil {
			t.Errorf("replacing one: %v", err)
		}
		if err := put(as("other"), "other", client.PutDraft{}, nil); err != nil {
			t.Errorf("of another team: %v", err)
		}
		if err := put(as(""), "other", client.PutDraft{Owner: "web"}, ptr(int64(1))); !errors.Is(err, ErrConflict) || !strings.HasPrefix(err.Error(), `team "web" has 100 drafts`) {
			t.Errorf("given to a team that has as many as it may: %v", err)
		}
		if err := f.DeleteDraft(ctx, as("web"), "web-0", 2); err != nil {
			t.Fatal(err)
		}
		if err := put(as("web"), "web-0", client.PutDraft{}, nil); err != nil {
			t.Errorf("in place of one that was discarded: %v", err)
		}
	})
}

func TestDraftRoom(t *testing.T) {
	for _, tt := range []struct {
		owner        string
		ofOwner, all int
		says         string
	}{
		{"web", 99, 499, ""},
		{"web", 100, 500, `team "web" has 100 drafts, and a team may have at most 100; discard one that nobody works on`},
		{"", 100, 100, "there are 100 drafts that belong to no team, and at most 100 may; discard one that nobody works on"},
		{"web", 0, 500, "there are 500 drafts of all teams, and at most 500 are kept; discard one that nobody works on, or ask another team or an administrator to"},
	} {
		got := ""
		if err := draftRoom(tt.owner)(tt.ofOwner, tt.all); err != nil {
			got = err.Error()
		}
		if got != tt.says {
			t.Errorf("%q has %d of %d: %q, want %q", tt.owner, tt.ofOwner, tt.all, got, tt.says)
		}
	}
}

// Where as many drafts are kept as may be, one can still be given to another team,
// which adds none.
func TestDraftIsGivenAwayWhereThereIsNoRoom(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		files := map[string]string{"a": "b"}
		for i := range maxDrafts {
			row := store.DraftRow{Name: fmt.Sprintf("d%d", i), Owner: fmt.Sprintf("team%d", i%10), Files: files, UpdatedBy: "jane"}
			must[store.DraftRow](t)(f.store.PutDraft(ctx, row, nil))
		}
		admin := Caller{Principal: auth.Principal{Name: "ada", Role: auth.Admin}, From: "cli"}
		if _, err := f.PutDraft(ctx, admin, "more", client.PutDraft{Owner: "web", Files: files}, nil); !errors.Is(err, ErrConflict) {
			t.Errorf("one more: %v", err)
		}
		given, err := f.PutDraft(ctx, admin, "d0", client.PutDraft{Owner: "web", Files: files}, ptr(int64(1)))
		if err != nil || given.Owner != "web" {
			t.Errorf("given to another team: %+v, %v", given, err)
		}
	})
}
