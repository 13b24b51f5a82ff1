package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing" //nolint:depguard // as in storetest.go
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/verdict"
)

func ids(list []store.Watched) (out []string) {
	for _, w := range list {
		out = append(out, w.ID)
	}
	return out
}

func flip(at time.Time, webhooks ...string) store.NewEvent {
	return store.NewEvent{
		Event:    store.Event{At: at, Kind: "flip", ImageRef: "ghcr.io/acme/app:v1", ImageName: "ghcr.io/acme/app", Digest: "sha256:aa", Environment: "prod", Before: "allow", After: "deny", VerdictID: "v"},
		Webhooks: webhooks,
		Encode:   func(id string) ([]byte, error) { return []byte(`{"id":"` + id + `","x":"\u0000"}`), nil },
	}
}

// What is watched is kept as it is, each change once, with its events or not at all.
func testWatched(t *testing.T, f *fixture) {
	ctx, s := t.Context(), f.Store
	at := f.clock.Now().UTC().Truncate(time.Microsecond)
	later := at.Add(time.Hour)
	w := store.Watched{
		ID: "b", ImageRef: "ghcr.io/acme/app:v1", ImageName: "ghcr.io/acme/app", Digest: "sha256:aa", Platform: "linux/amd64",
		Context: map[string]string{"environment": "prod"}, Roles: []string{"verifier"}, Environment: "prod", Listed: store.ListedAPI, ListedBy: "alice",
		Decision: verdict.Allow, Allowed: true, VerdictID: "v", Reasons: []string{"r"}, Signers: []string{"two", "one"}, DecidedAt: &at, DecidedKey: "k", DecidedRevision: 7,
		StateKey: "k", UnknownSince: &at, UnknownTold: true, UnknownReasons: []string{"u"}, RefreshedAt: &at, BoundaryAt: &later, DueAt: later, AskedAt: &at, Principals: []string{"ci"},
	}
	bare := store.Watched{ID: "a", ImageRef: "ghcr.io/acme/bare:v1", DueAt: at}
	saved, told, err := s.SaveWatched(ctx, []store.WatchedChange{{Watched: w}, {Watched: bare, Events: []store.NewEvent{flip(at, "chat")}}})
	if err != nil || len(saved) != 2 || len(told) != 1 || told[0].ID == "" {
		t.Fatalf("saved %v, told %+v, %v", saved, told, err)
	}
	w.Version = 1
	bare = store.Watched{ID: "a", ImageRef: bare.ImageRef, DueAt: at, Version: 1, Context: map[string]string{}, Roles: []string{}, Reasons: []string{}, Signers: []string{}, UnknownReasons: []string{}, Principals: []string{}}
	got, err := s.Watched(ctx, "a", "b", "none")
	if d := cmp.Diff(map[string]store.Watched{"a": bare, "b": w}, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}

	// A change of an older version, and a new one of an id that is taken, are left
	// alone with their events.
	old := w
	w.Allowed, w.Signers = false, []string{"three"}
	if saved, _, err := s.SaveWatched(ctx, []store.WatchedChange{{Watched: w}}); err != nil || len(saved) != 1 {
		t.Errorf("%v, %v", saved, err)
	}
	taken := bare
	taken.Version = 0
	saved, told, err = s.SaveWatched(ctx, []store.WatchedChange{{Watched: old, Events: []store.NewEvent{flip(at)}}, {Watched: taken, Events: []store.NewEvent{flip(at)}}})
	if err != nil || len(saved) != 0 || len(told) != 0 {
		t.Errorf("saved %v, told %+v, %v", saved, told, err)
	}
	if _, _, err := s.SaveWatched(ctx, []store.WatchedChange{{Watched: store.Watched{ID: "x"}}}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("without a reference: %v", err)
	}
	list, _, err := s.Events(ctx, store.EventFilter{})
	if err != nil || len(list) != 1 {
		t.Errorf("events %+v, %v", list, err)
	}

	for name, tt := range map[string]struct {
		filter store.WatchedFilter
		want   []string
		next   string
	}{
		"all":             {store.WatchedFilter{}, []string{"a", "b"}, ""},
		"pages":           {store.WatchedFilter{Limit: 1}, []string{"a"}, "a"},
		"the next":        {store.WatchedFilter{Limit: 1, After: "a"}, []string{"b"}, ""},
		"listed":          {store.WatchedFilter{Listed: store.ListedAPI}, []string{"b"}, ""},
		"of a signer":     {store.WatchedFilter{Signer: "three"}, []string{"b"}, ""},
		"of a former one": {store.WatchedFilter{Signer: "one"}, nil, ""},
	} {
		list, next, err := f.reader.WatchedPage(ctx, tt.filter)
		if err != nil || !slices.Equal(ids(list), tt.want) || next != tt.next {
			t.Errorf("%s: %v, next %q, %v", name, ids(list), next, err)
		}
	}
}

// What is due comes in the order of its urgency, and what only waits for its daily
// turn is not kept waiting by the rest.
func testWatchedDue(t *testing.T, f *fixture) {
	ctx, s := t.Context(), f.Store
	at := f.clock.Now().UTC().Truncate(time.Microsecond)
	add := func(id, key string, due time.Duration, boundary time.Duration) {
		t.Helper()
		w := store.Watched{ID: id, ImageRef: "i", StateKey: key, DueAt: at.Add(due)}
		if boundary != 0 {
			b := at.Add(boundary)
			w.BoundaryAt = &b
		}
		if _, _, err := s.SaveWatched(ctx, []store.WatchedChange{{Watched: w}}); err != nil {
			t.Fatal(err)
		}
	}
	add("later", "k", time.Hour, time.Hour)
	add("boundary", "k", time.Hour, -time.Second)
	add("refresh-2", "k", 0, 0)
	add("refresh-1", "k", -time.Minute, 0)
	for i := range 10 {
		add(fmt.Sprintf("state-%d", i), "j", time.Hour, 0)
	}
	add("state-new", "", time.Hour, 0)
	add("state-z", "z", time.Hour, 0)
	due := func(limit int) (out []string) {
		t.Helper()
		list, err := s.WatchedDue(ctx, at, "k", limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			out = append(out, d.Why+" "+d.ID)
		}
		return out
	}
	if d := cmp.Diff([]string{
		"boundary boundary", "active state-new", "active state-0", "active state-1", "active state-2", "active state-3", "refresh refresh-1", "refresh refresh-2",
	}, due(8)); d != "" {
		t.Errorf("eight (-want +got):\n%s", d)
	}
	if got := due(100); len(got) != 15 || slices.Contains(got, "refresh later") || !slices.Contains(got, "active state-z") {
		t.Errorf("all: %v", got)
	}
	st, err := s.WatchedStats(ctx, at)
	if err != nil || st.Images != 16 || st.Oldest == nil || !st.Oldest.Equal(at.Add(-time.Minute)) {
		t.Errorf("%+v, %v", st, err)
	}
}

func testWatchedForgotten(t *testing.T, f *fixture) {
	ctx, s := t.Context(), f.Store
	at := f.clock.Now().UTC().Truncate(time.Microsecond)
	old := at.Add(-time.Hour)
	for _, w := range []store.Watched{
		{ID: "old", AskedAt: &old, Signers: []string{"s"}}, {ID: "new", AskedAt: &at}, {ID: "api", Listed: store.ListedAPI},
		{ID: "one", Listed: store.ListedConfiguration}, {ID: "two", Listed: store.ListedConfiguration},
	} {
		w.ImageRef, w.DueAt = "i", at
		if _, _, err := s.SaveWatched(ctx, []store.WatchedChange{{Watched: w}}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.ForgetWatched(ctx, at, 10); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := s.Unlist(ctx, []string{"two"}); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	var row store.Watched
	a, err := s.Change(ctx, store.Actor{Name: "alice"}, "why", func(tx *store.Tx) error {
		row = store.Watched{ID: "listed", ImageRef: "i", DueAt: at, Listed: store.ListedAPI}
		return tx.PutListed(ctx, row)
	})
	if err != nil || a.Revision != 1 {
		t.Errorf("%+v, %v", a, err)
	}
	_, err = s.Change(ctx, store.Actor{Name: "alice"}, "", func(tx *store.Tx) error { return tx.PutListed(ctx, row) })
	if !errors.Is(err, store.ErrConflict) {
		t.Errorf("listed twice: %v", err)
	}
	if _, err := s.Change(ctx, store.Actor{Name: "alice"}, "", func(tx *store.Tx) error { return tx.DeleteListed(ctx, row) }); err != nil {
		t.Error(err)
	}
	entries, err := s.Audit(ctx, store.AuditFilter{Object: "watch/listed"})
	if err != nil || len(entries) != 2 || entries[0].Action != "watch.remove" || entries[1].Action != "watch.add" || entries[1].Why != "why" {
		t.Errorf("%+v, %v", entries, err)
	}
	if in, err := s.Revision(ctx, 2); err != nil || len(in.Inputs) != 1 { // the secret alone
		t.Errorf("a list is in force: %+v, %v", in, err)
	}
	list, _, err := s.WatchedPage(ctx, store.WatchedFilter{})
	if got := ids(list); err != nil || !slices.Equal(got, []string{"api", "new", "two"}) {
		t.Errorf("%v, %v", got, err)
	}
}

// Recent verdicts are read by time, with their questions; and who relies on an
// image is found in them.
func testAsked(t *testing.T, f *fixture) {
	ctx, s := t.Context(), f.Store
	fa := Facts(t, "sha256:aa", "a@example.com")
	var all []string
	for i := range 5 {
		r := Record(t, i, fa, "ghcr.io/acme/app")
		r.Principal, r.AssessmentID = fmt.Sprintf("p%d", i%2), []string{"", "x"}[i%2]
		r.Frames = map[string]facts.Frame{"default": {
			Request: facts.Request{Image: r.Verdict.Image, Context: map[string]string{"environment": "prod"}, Roles: []string{"verifier"}}, Platform: "linux/arm64",
			Matches: []facts.Match{{Requirement: "signature", Signers: []string{"release"}}},
		}}
		if err := s.Record(ctx, r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r.Verdict.ID)
	}
	first, err := s.VerdictPlaces(ctx, store.Place{}, 2)
	if err != nil || len(first) != 2 || first[0].ID != all[0] {
		t.Fatalf("%+v, %v", first, err)
	}
	rest, err := s.VerdictPlaces(ctx, first[1], 10)
	if err != nil || len(rest) != 3 || rest[0].ID != all[2] {
		t.Errorf("%+v, %v", rest, err)
	}
	list, err := s.AskedVerdicts(ctx, []string{all[3], all[1], "none"})
	if err != nil || len(list) != 2 || list[0].ID != all[1] {
		t.Fatalf("%+v, %v", list, err)
	}
	if v := list[0]; v.Platform != "linux/arm64" || v.Request.Context["environment"] != "prod" || !slices.Equal(v.Request.Roles, []string{"verifier"}) || !slices.Equal(v.Signers, []string{"release"}) {
		t.Errorf("%+v", v)
	}
	if err := s.AddUses(ctx, []store.Use{{VerdictID: all[2], Principal: "gateway", Minute: f.clock.Now(), Count: 1}}); err != nil {
		t.Fatal(err)
	}
	principals, assessments, err := s.Reliance(ctx, list[0].ImageRef, rest[0].At.Add(-time.Second))
	if err != nil || !slices.Equal(principals, []string{"gateway", "p0", "p1"}) || !slices.Equal(assessments, []string{"x"}) {
		t.Errorf("%v, %v, %v", principals, assessments, err)
	}
	if principals, _, err := s.Reliance(ctx, list[0].ImageRef, f.clock.Now().Add(240*time.Hour)); err != nil || len(principals) != 0 {
		t.Errorf("later: %v, %v", principals, err)
	}
}

// Ids rise in the order of the commits, whatever the clocks say and however many
// write.
func testEvents(t *testing.T, f *fixture) {
	ctx, s := t.Context(), f.Store
	at := f.clock.Now().UTC().Truncate(time.Microsecond)
	tell := func(at time.Time, key string, e store.NewEvent) []store.Event {
		e.At = at
		told, err := s.TellOnce(ctx, []store.Mark{{Kind: store.MarkEnding, Key: key, At: at}, {Kind: store.MarkEnding, Key: key + "+", At: at}}, []store.NewEvent{e})
		if err != nil {
			t.Error(err)
		}
		return told
	}
	one := tell(at, "one", flip(at, "chat", "pager"))
	if len(one) != 1 || string(one[0].Body) != `{"id":"`+one[0].ID+`","x":"\ufffd"}` {
		t.Fatalf("%+v", one)
	}
	if again := tell(at, "one", flip(at)); len(again) != 0 {
		t.Errorf("told again: %+v", again)
	}
	other := flip(at)
	other.Kind, other.ImageName = "ending", ""
	two := tell(at.Add(-time.Hour), "two", other) // a clock that went back
	if len(two) != 1 || two[0].ID <= one[0].ID {
		t.Errorf("%+v after %+v", two, one)
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() { tell(at, fmt.Sprint("many", i), flip(at)) })
	}
	all.Wait()
	if last, err := f.reader.LastEvent(ctx); err != nil || last <= two[0].ID {
		t.Errorf("%q, %v", last, err)
	}
	get := func(filter store.EventFilter) (list []string, more bool) {
		t.Helper()
		events, more, err := f.reader.Events(ctx, filter)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			list = append(list, e.ID)
		}
		return list, more
	}
	newest, more := get(store.EventFilter{Limit: 9})
	if !more || len(newest) != 9 || newest[8] != two[0].ID || !slices.IsSortedFunc(newest, func(a, b string) int { return strings.Compare(b, a) }) {
		t.Errorf("the newest: %v, %t", newest, more)
	}
	if list, more := get(store.EventFilter{Before: newest[8]}); more || !slices.Equal(list, []string{one[0].ID}) {
		t.Errorf("those before: %v", list)
	}
	if list, _ := get(store.EventFilter{Since: one[0].ID, Limit: 1}); !slices.Equal(list, []string{two[0].ID}) {
		t.Errorf("those since: %v", list)
	}
	if list, _ := get(store.EventFilter{Forward: true, Kind: "ending"}); !slices.Equal(list, []string{two[0].ID}) {
		t.Errorf("of a kind: %v", list)
	}
	if list, _ := get(store.EventFilter{ImageName: "ghcr.io/acme/app"}); len(list) != 9 {
		t.Errorf("of an image: %v", list)
	}

	if err := s.ForgetMarks(ctx, store.MarkEnding, at); err != nil {
		t.Error(err)
	}
	marks, err := s.Marks(ctx, store.MarkEnding)
	if err != nil || len(marks) != 18 || marks[0].Key != "many0" {
		t.Errorf("%d marks, %v", len(marks), err)
	}
	m := store.Mark{Kind: store.MarkScan, At: at}
	for range 2 {
		if err := s.SetMark(ctx, m); err != nil {
			t.Error(err)
		}
		m.At = m.At.Add(time.Second)
	}
	if marks, err := s.Marks(ctx, store.MarkScan); err != nil || len(marks) != 1 || !marks[0].At.Equal(at.Add(time.Second)) {
		t.Errorf("%+v, %v", marks, err)
	}

	// Events go with the verdicts of their time.
	f.clock.pass(48 * time.Hour)
	if _, err := s.Prune(ctx, store.Retention{MaxAge: 48*time.Hour + time.Minute}); err != nil {
		t.Fatal(err)
	}
	if list, _ := get(store.EventFilter{}); len(list) != 9 {
		t.Errorf("%d events are left, and one is old enough to go", len(list))
	}
}

func testDeliveries(t *testing.T, f *fixture) {
	ctx, s := t.Context(), f.Store
	at := f.clock.Now().UTC().Truncate(time.Microsecond)
	for _, id := range []string{"2", "1"} {
		d := store.Delivery{Webhook: "chat", ID: id, Kind: "flip", Body: []byte("{}"), CreatedAt: at, NextAt: at}
		for range 2 { // the second time it is there
			if err := s.PutDelivery(ctx, d); err != nil {
				t.Fatal(err)
			}
			d.Attempts = 7
		}
	}
	if err := s.PutDelivery(ctx, store.Delivery{Webhook: "chat", ID: "3"}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("without a body: %v", err)
	}
	d, ok, err := s.NextDelivery(ctx, "chat")
	want := store.Delivery{Webhook: "chat", ID: "1", Kind: "flip", Body: []byte("{}"), CreatedAt: at, NextAt: at}
	if diff := cmp.Diff(want, d); diff != "" || !ok || err != nil {
		t.Errorf("%t, %v (-want +got):\n%s", ok, err, diff)
	}
	d.Attempts, d.NextAt, d.Error = 1, at.Add(time.Hour), "it answered 500\x00"
	if err := s.DeferDelivery(ctx, d); err != nil {
		t.Error(err)
	}
	if d, _, err = s.NextDelivery(ctx, "chat"); err != nil || d.ID != "1" || d.Attempts != 1 || !d.NextAt.Equal(at.Add(time.Hour)) || d.Error != "it answered 500\uFFFD" {
		t.Errorf("%+v, %v", d, err)
	}
	if n, err := s.Deliveries(ctx); err != nil || n["chat"] != 2 {
		t.Errorf("%v, %v", n, err)
	}
	if err := s.DropDelivery(ctx, "chat", "1"); err != nil {
		t.Error(err)
	}
	if n, err := s.DropDeliveries(ctx, "chat", at.Add(-time.Second)); n != 0 || err != nil {
		t.Errorf("young ones: %d, %v", n, err)
	}
	if n, err := s.DropDeliveries(ctx, "chat", at); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, ok, err := s.NextDelivery(ctx, "chat"); ok || err != nil {
		t.Errorf("%t, %v", ok, err)
	}
}
