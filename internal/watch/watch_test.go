package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/store/storetest"
	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/verdict"
)

var start = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

// bench is a watcher on a store of its own, with a clock and a PDP to play with.
type bench struct {
	*testing.T
	*Watcher
	store *store.Store

	mu       sync.Mutex
	at       time.Time
	st       State
	decision verdict.Decision
	decide   func(Question) (Answer, error)
	asked    []Question
	told     []client.Event
	held     bool
	n        int
}

func newBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	b := &bench{T: t, at: start, held: true, decision: verdict.Allow, st: State{Revision: 1, Key: Key(store.Inputs{"signers": "a"}, "build")}}
	st, err := store.Open(t.Context(), store.Config{DataDir: storetest.Fresh(t), Now: b.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	b.store = st
	cfg := Config{
		Store: st, PDP: pdp{b}, Recent: 14 * 24 * time.Hour, Rate: 1e6, WarnBefore: []time.Duration{30 * day, 7 * day, day}, Now: b.now,
		Tell: func(e client.Event) { b.mu.Lock(); defer b.mu.Unlock(); b.told = append(b.told, e) }, Poll: time.Millisecond, Held: func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.held },
	}
	if change != nil {
		change(&cfg)
	}
	if b.Watcher, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return b
}

const day = 24 * time.Hour

func (b *bench) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at
}

func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at = b.at.Add(d)
}

// pdp decides as its bench says.
type pdp struct{ *bench }

func (p pdp) Name(image string) (string, error) {
	if image == "" {
		return "", errors.New("no image")
	}
	name, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name, nil
}

func (p pdp) State(context.Context) (State, error) { return p.st, nil }

func (p pdp) Decide(ctx context.Context, st State, q Question) (Answer, error) {
	p.mu.Lock()
	p.asked = append(p.asked, q)
	decide := p.decide
	p.mu.Unlock()
	if decide != nil {
		return decide(q)
	}
	v := p.verdict(q.Image, "sha256:aa", p.decision, Principal, nil)
	return Answer{VerdictID: v.ID, Decision: v.Decision, Allowed: v.Allowed, Digest: v.Digest, Reasons: []string{"r"}, At: v.EvaluatedAt}, nil
}

// verdict keeps a verdict, as if a principal had asked.
func (b *bench) verdict(image, digest string, d verdict.Decision, principal string, signers []string) *verdict.Verdict {
	b.Helper()
	return b.record(image, digest, d, principal, signers, b.now(), false)
}

// record is verdict, decided at a time and, where it is late, written now.
func (b *bench) record(image, digest string, d verdict.Decision, principal string, signers []string, at time.Time, late bool) *verdict.Verdict {
	b.Helper()
	b.mu.Lock()
	b.n++
	v := &verdict.Verdict{
		ID: fmt.Sprintf("01JD%022d", b.n), Decision: d, Allowed: d == verdict.Allow, Image: image, Digest: digest, Reasons: []verdict.Reason{{Code: "r"}},
		Active: verdict.Active{Revision: b.st.Revision, Digest: "sha256:x"}, Build: "build", EvaluatedAt: at,
	}
	b.mu.Unlock()
	name, _ := pdp{b}.Name(image)
	err := b.store.Record(b.Context(), store.Record{
		Verdict: v, Body: []byte("{}"), ImageName: name, Principal: principal, Decided: v.EvaluatedAt, Late: late,
		Frames: map[string]facts.Frame{"default": {
			Request: facts.Request{Image: image, Context: map[string]string{"environment": "prod"}, Roles: []string{"verifier"}}, Platform: "linux/amd64",
			Matches: []facts.Match{{Requirement: "signature", Signers: signers}},
		}},
	})
	if err != nil {
		b.Error(err)
	}
	return v
}

// round is one turn of the work, until nothing is due.
func (b *bench) round() {
	b.Helper()
	b.mu.Lock()
	b.asked = nil
	b.mu.Unlock()
	if b.Watcher.told == nil {
		if err := b.begin(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	for range 100 {
		if err := b.look(b.Context(), b.st); err != nil {
			b.Fatal(err)
		}
		worked, err := b.work(b.Context(), b.st)
		if err != nil {
			b.Fatal(err)
		}
		if !worked {
			return
		}
	}
	b.Fatal("there is always something due")
}

// change puts another state in force.
func (b *bench) change(revision int64, signers string, boundaries ...Boundary) {
	b.st = State{Revision: revision, Key: Key(store.Inputs{"signers": signers}, "build"), Boundaries: boundaries}
}

// kinds are those of the events that were told since the last call.
func (b *bench) kinds() (list []string) {
	list = []string{}
	for _, e := range b.told {
		list = append(list, strings.TrimSpace(e.Kind+" "+e.Before+" "+e.After))
	}
	b.told = nil
	return list
}

func (b *bench) wants(what string, got, want any) {
	b.Helper()
	if d := cmp.Diff(want, got); d != "" {
		b.Errorf("%s (-want +got):\n%s", what, d)
	}
}

const image = "ghcr.io/acme/app:v1"

func (b *bench) rows() []store.Watched {
	b.Helper()
	list, _, err := b.store.WatchedPage(b.Context(), store.WatchedFilter{Limit: 1000})
	if err != nil {
		b.Fatal(err)
	}
	return list
}

func TestAskedIsWatched(t *testing.T) {
	b := newBench(t, nil)
	first := b.verdict(image, "sha256:aa", verdict.Allow, "gateway", []string{"release"})
	b.verdict(image, "sha256:aa", verdict.Allow, "ci", nil)
	b.verdict(image, "sha256:bb", verdict.Deny, Principal, nil)            // the watch's own
	b.verdict("ghcr.io/acme/none:v1", "", verdict.Unknown, "gateway", nil) // was not resolved
	b.verdict("ghcr.io/acme/odd:v1", "sha256:cc", verdict.Unknown, "gateway", nil)
	b.round()
	rows := b.rows()
	if len(rows) != 1 {
		t.Fatalf("watched are %+v", rows)
	}
	got := rows[0]
	got.ID, got.StateKey, got.DecidedKey = "", "", ""
	b.wants("the row", got, store.Watched{
		ImageRef: image, ImageName: "ghcr.io/acme/app", Digest: "sha256:aa", Platform: "linux/amd64", Context: map[string]string{"environment": "prod"}, Roles: []string{"verifier"},
		Environment: "prod", Decision: verdict.Allow, Allowed: true, VerdictID: first.ID, Reasons: []string{"r"}, Signers: []string{"release"}, DecidedAt: &start, DecidedRevision: 1,
		UnknownReasons: []string{}, RefreshedAt: &start, DueAt: start.Add(day), AskedAt: &start, Principals: []string{"ci", "gateway"}, Version: 1,
	})
	b.wants("what was asked", len(b.asked), 0)

	// Another state: it is asked again, at the digest, as it was asked for.
	b.change(2, "b")
	b.decision = verdict.Deny
	b.round()
	b.wants("what was asked", b.asked, []Question{{
		Image: image + "@sha256:aa", Platform: "linux/amd64", Context: map[string]string{"environment": "prod"}, Roles: []string{"verifier"}, Environment: "prod",
	}})
	e := b.told[0]
	b.wants("the event", b.kinds(), []string{"flip allow deny"})
	if e.PreviousVerdictID != first.ID || e.VerdictID == "" || e.Cause.Kind != "active" || e.Cause.Revision != 2 || e.ReliedOnBy.Principals[0] != "ci" {
		t.Errorf("%+v", e)
	}
	b.round()
	b.wants("nothing is due any more", len(b.asked), 0)

	// A day later the registry is asked anew.
	b.pass(day)
	b.decision = verdict.Allow
	b.round()
	if len(b.asked) != 1 || !b.asked[0].Refresh {
		t.Errorf("a day later: %+v", b.asked)
	}
	if b.told[0].Cause.Kind != "evidence" {
		t.Errorf("the cause is %+v", b.told[0].Cause)
	}
	b.wants("the event", b.kinds(), []string{"flip deny allow"})

	// Nobody asked for a fortnight: its own questions were none.
	b.pass(13*day + time.Minute)
	if err := b.chores(b.Context(), b.st); err != nil {
		t.Fatal(err)
	}
	b.wants("watched", len(b.rows()), 0)
}

// Who asks sooner than the watch shows the flip.
func TestFlipShownByWhoAsks(t *testing.T) {
	b := newBench(t, nil)
	b.verdict(image, "sha256:aa", verdict.Allow, "gateway", nil)
	b.round()
	b.change(2, "b")
	b.pass(time.Second)
	b.decision = verdict.Deny
	b.verdict(image, "sha256:aa", verdict.Deny, "gateway", nil)
	b.round()
	b.wants("the event", b.kinds(), []string{"flip allow deny"})
	b.wants("what was asked", len(b.asked), 0)
	// Read again, as after a restart, it is told no more.
	b.scan = scanner{}
	b.round()
	b.wants("events", b.kinds(), []string{})
}

// A request that was evaluated before a change, and recorded after the watch has
// decided the image under the new state, takes nothing back.
func TestRequestOvertakenByChange(t *testing.T) {
	b := newBench(t, nil)
	b.verdict(image, "sha256:aa", verdict.Allow, "gateway", nil)
	b.round()
	before := b.st
	b.change(2, "b")
	b.pass(time.Second)
	b.decision = verdict.Deny
	b.round()
	b.wants("the event", b.kinds(), []string{"flip allow deny"})
	after := b.st
	b.st = before
	b.pass(time.Second)
	b.verdict(image, "sha256:aa", verdict.Allow, "late", nil)
	b.st = after
	b.round()
	b.wants("events", b.kinds(), []string{})
	if row := b.rows()[0]; row.Decision != verdict.Deny || row.Principals[0] != "late" || !row.AskedAt.Equal(b.at) {
		t.Errorf("the row is %+v", row)
	}
	// Under what is in force now it counts.
	b.pass(time.Second)
	b.verdict(image, "sha256:aa", verdict.Allow, "gateway", nil)
	b.round()
	b.wants("the event", b.kinds(), []string{"flip deny allow"})
}

// What was given while the store was away, and is written when it is back, is taken
// up, however long that was and whatever was read meanwhile.
func TestWrittenLate(t *testing.T) {
	b := newBench(t, nil)
	b.verdict(image, "sha256:aa", verdict.Allow, "gateway", nil)
	b.round()
	given := b.at.Add(time.Minute)
	b.pass(3 * time.Hour)
	b.verdict("ghcr.io/acme/other:v1", "sha256:bb", verdict.Allow, "gateway", nil)
	b.round()
	const n = scanPage + 1
	for i := range n {
		b.record(fmt.Sprintf("ghcr.io/acme/app%d:v1", i), "sha256:cc", verdict.Allow, "gateway", nil, given, true)
	}
	b.record(image, "sha256:aa", verdict.Deny, "late", nil, given, true)
	b.mu.Lock()
	b.held = false
	b.mu.Unlock()
	if err := b.look(t.Context(), b.st); err != nil {
		t.Fatal(err)
	}
	b.wants("watched by who has not the lease", len(b.rows()), 2)
	b.held = true
	b.round()
	b.wants("watched", len(b.rows()), n+2)
	b.wants("events", b.kinds(), []string{"flip allow deny"})
	marks := func() int {
		list, err := b.store.Marks(t.Context(), store.MarkLate)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	b.wants("marks", marks(), 0)

	// Where nothing is watched for being asked, they do not pile up.
	b.record(image, "sha256:aa", verdict.Allow, "late", nil, given, true)
	b.cfg.Recent = 0
	b.round()
	b.wants("marks", marks(), 1)
	if err := b.chores(t.Context(), b.st); err != nil {
		t.Fatal(err)
	}
	b.wants("marks", marks(), 0)
}

// A moved tag is another image: what runs is at the old digest.
func TestMovedTag(t *testing.T) {
	b := newBench(t, nil)
	b.verdict(image, "sha256:aa", verdict.Allow, "gateway", nil)
	b.pass(time.Second)
	b.verdict(image, "sha256:bb", verdict.Deny, "gateway", nil)
	b.round()
	b.wants("watched", len(b.rows()), 2)
	b.wants("events", b.kinds(), []string{})
}

func TestUndecidable(t *testing.T) {
	b := newBench(t, nil)
	b.verdict(image, "sha256:aa", verdict.Allow, "gateway", nil)
	b.round()
	b.decide = func(Question) (Answer, error) {
		return Answer{Decision: verdict.Unknown, Reasons: []string{"registry_unavailable"}, At: b.now()}, nil
	}
	b.change(2, "b")
	tries := 0
	for range 60 { // an hour, but for a second
		b.round()
		tries += len(b.asked)
		b.pass(time.Minute - time.Second/60)
	}
	b.wants("before an hour", b.kinds(), []string{})
	if tries < 4 || tries > 12 {
		t.Errorf("it was tried %d times in an hour", tries)
	}
	b.pass(2 * time.Second)
	b.round()
	b.wants("after an hour", b.kinds(), []string{"undecidable allow unknown"})
	b.pass(2 * time.Hour)
	b.round()
	b.wants("it is told once", b.kinds(), []string{})
	b.decide = nil
	b.pass(2 * time.Hour)
	b.round()
	b.wants("back as before", b.kinds(), []string{"recovered unknown allow"})

	b.decide = func(Question) (Answer, error) { return Answer{}, fmt.Errorf("%w: context", ErrRefused) }
	b.change(3, "c")
	b.round()
	if row := b.rows()[0]; row.UnknownSince == nil || row.UnknownReasons[0] != "question_refused" || row.Decision != verdict.Allow {
		t.Errorf("a question that is refused: %+v", row)
	}
	b.decide, b.decision = nil, verdict.Deny
	b.pass(2 * time.Minute)
	b.round()
	if b.told[0].Cause.Kind != "active" {
		t.Errorf("the cause is %+v", b.told[0].Cause)
	}
	b.wants("decided at last", b.kinds(), []string{"flip allow deny"})
}

// What ends is told once for each of the times before, and when it has ended those
// that stood on it are decided again, and no others.
func TestBoundaries(t *testing.T) {
	b := newBench(t, nil)
	end := start.Add(40 * day)
	ends := Boundary{Kind: KindSigner, Name: "release", At: end, Owner: "platform"}
	begins := Boundary{Kind: KindSigner, Name: "next", At: end.Add(time.Hour), Begins: true, Covers: func(name string) bool { return name == "ghcr.io/acme/other" }}
	b.change(1, "a", ends, begins)
	b.verdict(image, "sha256:aa", verdict.Allow, "gateway", []string{"release"})
	b.verdict("ghcr.io/acme/free:v1", "sha256:aa", verdict.Allow, "gateway", []string{"someone"})
	b.verdict("ghcr.io/acme/other:v1", "sha256:aa", verdict.Deny, "gateway", nil)
	b.round()
	var warned []string
	for at := start; at.Before(end); at = at.Add(12 * time.Hour) {
		if err := b.endings(b.Context(), b.st, at); err != nil {
			t.Fatal(err)
		}
		for _, e := range b.told {
			warned = append(warned, fmt.Sprintf("%s %s %d %s", e.Ending.Name, end.Sub(at), e.Ending.Images, e.Ending.Examples))
		}
		b.told = nil
	}
	b.wants("warnings", warned, []string{
		"release 720h0m0s 1 [ghcr.io/acme/app:v1@sha256:aa]", "release 168h0m0s 1 [ghcr.io/acme/app:v1@sha256:aa]", "release 24h0m0s 1 [ghcr.io/acme/app:v1@sha256:aa]",
	})
	// After a restart nothing is told again; one that comes late is told once.
	b.Watcher.told = nil
	if err := b.begin(b.Context()); err != nil {
		t.Fatal(err)
	}
	late := Boundary{Kind: KindException, Name: "e", At: start.Add(time.Hour)}
	renewed := Boundary{Kind: KindRoot, Name: "r", At: start.Add(13 * day), Renewed: 14 * day}
	for range 2 {
		if err := b.endings(b.Context(), State{Boundaries: []Boundary{ends, begins, late, renewed}}, start); err != nil {
			t.Fatal(err)
		}
	}
	b.wants("warnings at the start", len(b.told), 1)
	if e := b.told[0].Ending; e.Name != "e" || e.Images != 2 { // those that are allowed, whatever its scope is not known to leave out
		t.Errorf("%+v", e)
	}
	b.told = nil
	if err := b.endings(b.Context(), State{Boundaries: []Boundary{renewed}}, start.Add(6*day+time.Minute)); err != nil {
		t.Fatal(err)
	}
	b.wants("a root that was not refreshed for a week", len(b.told), 1)
	b.told = nil

	// Daily turns are not what this is about.
	for _, row := range b.rows() {
		row.DueAt, row.RefreshedAt = end.Add(100*day), &end
		if _, _, err := b.store.SaveWatched(t.Context(), []store.WatchedChange{{Watched: row}}); err != nil {
			t.Fatal(err)
		}
	}
	b.pass(40*day - time.Second)
	b.round()
	b.wants("before the end", len(b.asked), 0)
	b.pass(time.Second)
	b.decision = verdict.Deny
	b.round()
	b.wants("at the end", len(b.asked), 1)
	if c := b.told[0].Cause; c.Kind != "time" || !slices.Equal(c.Boundaries, []string{"signer release"}) {
		t.Errorf("the cause is %+v", c)
	}
	b.wants("events", b.kinds(), []string{"flip allow deny"})
	b.pass(time.Hour)
	b.decision = verdict.Allow
	b.round()
	b.wants("a beginning mends a denial", b.kinds(), []string{"flip deny allow"})
}

func TestListed(t *testing.T) {
	list := []Listed{{image, "production"}, {image, "staging"}, {"", "broken"}}
	b := newBench(t, func(c *Config) { c.Images, c.Recent = list, 0 })
	b.verdict("ghcr.io/acme/asked:v1", "sha256:aa", verdict.Allow, "gateway", nil)
	b.round()
	rows := b.rows()
	if len(rows) != 2 || rows[0].Listed != store.ListedConfiguration || rows[0].Digest != "sha256:aa" {
		t.Fatalf("watched are %+v", rows)
	}
	for _, q := range b.asked {
		if q.Image != image || !slices.Equal(q.Roles, []string{"verifier"}) || q.Environment == "" || !q.Refresh {
			t.Errorf("asked %+v", q)
		}
	}
	// The tag is moved, and what it names now is not allowed.
	b.pass(day)
	b.decide = func(q Question) (Answer, error) {
		return Answer{VerdictID: "v", Decision: verdict.Deny, Digest: "sha256:bb", At: b.now()}, nil
	}
	b.round()
	if len(b.told) != 2 || b.told[0].BeforeDigest != "sha256:aa" || b.told[0].Digest != "sha256:bb" || b.told[0].Cause.Kind != "evidence" {
		t.Errorf("the events are %+v", b.told)
	}
	// Another configuration.
	b.Watcher.cfg.Images, b.Watcher.told = list[:1], nil
	b.round()
	if rows := b.rows(); len(rows) != 1 || rows[0].Environment != "production" {
		t.Errorf("watched are %+v", rows)
	}
}

// A process that is not the one that watches any more decides and writes nothing;
// and what two decide at the same time is told once.
func TestOneWatches(t *testing.T) {
	b := newBench(t, nil)
	b.verdict(image, "sha256:aa", verdict.Allow, "gateway", nil)
	b.round()
	b.change(2, "b")
	b.decision = verdict.Deny
	b.decide = func(Question) (Answer, error) { // it loses the lease meanwhile
		b.mu.Lock()
		b.held = false
		b.mu.Unlock()
		return Answer{VerdictID: "v", Decision: verdict.Deny, At: b.now()}, nil
	}
	if _, err := b.work(b.Context(), b.st); err != nil {
		t.Fatal(err)
	}
	b.wants("the row", b.rows()[0].Decision, verdict.Allow)
	b.Watcher.Run(t.Context()) // ends at once
	b.held, b.decide = true, nil
	other, err := New(b.Watcher.cfg)
	if err != nil {
		t.Fatal(err)
	}
	due, err := b.store.WatchedDue(t.Context(), b.at, b.st.Key, 5)
	if err != nil || len(due) != 1 {
		t.Fatalf("%+v, %v", due, err)
	}
	for _, w := range []*Watcher{b.Watcher, other} {
		if err := w.again(t.Context(), due[0]); err != nil {
			t.Fatal(err)
		}
	}
	b.wants("events", b.kinds(), []string{"flip allow deny"})
	all, _, err := b.store.Events(t.Context(), store.EventFilter{})
	if err != nil || len(all) != 1 {
		t.Errorf("kept: %+v, %v", all, err)
	}
}

// Who has lost the lease leaves the mark where it is, before what was not saved: who
// watches next begins there.
func TestMarkStaysWithoutLease(t *testing.T) {
	b := newBench(t, nil)
	b.verdict(image, "sha256:aa", verdict.Allow, "gateway", nil)
	b.round()
	mark := func() []store.Mark {
		t.Helper()
		marks, err := b.store.Marks(t.Context(), store.MarkScan)
		if err != nil {
			t.Fatal(err)
		}
		return marks
	}
	before := mark()
	b.pass(time.Hour)
	b.verdict("ghcr.io/acme/other:v1", "sha256:bb", verdict.Allow, "gateway", nil)
	for name, held := range map[string][]bool{"lost": {false}, "lost for a moment": {false, true}} {
		b.cfg.Held = func() bool { now := held[0]; held = held[min(1, len(held)-1):]; return now }
		if err := b.look(t.Context(), b.st); err != nil {
			t.Fatal(err)
		}
		b.wants(name+": watched", len(b.rows()), 1)
		b.wants(name+": the mark", mark(), before)
	}

	b.pass(time.Hour)
	b.verdict("ghcr.io/acme/third:v1", "sha256:cc", verdict.Allow, "gateway", nil)
	b.cfg.Held = nil
	next, err := New(b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.Watcher = next
	b.round()
	b.wants("watched", len(b.rows()), 3)
}

// meddled is a store in which another process changes all that is watched, so many
// times, just before something is saved.
type meddled struct {
	Store
	times int
}

func (m *meddled) SaveWatched(ctx context.Context, changes []store.WatchedChange) ([]int, []store.Event, error) {
	if m.times > 0 {
		m.times--
		rows, _, err := m.WatchedPage(ctx, store.WatchedFilter{Limit: 1000})
		if err != nil {
			return nil, nil, err
		}
		for _, row := range rows {
			row.Principals = append(row.Principals, fmt.Sprintf("other%d", m.times))
			if _, _, err := m.Store.SaveWatched(ctx, []store.WatchedChange{{Watched: row}}); err != nil {
				return nil, nil, err
			}
		}
	}
	return m.Store.SaveWatched(ctx, changes)
}

// What another process has changed after it was read is read again, with what that
// process wrote; and as long as that does not help, what was to be taken up stays to
// be taken up. What could be saved beside it is told once.
func TestChangedMeanwhile(t *testing.T) {
	for _, late := range []bool{false, true} {
		for _, times := range []int{1, mostTakes - 1, mostTakes, 2*mostTakes + 1} {
			t.Run(fmt.Sprintf("late %t, changed %d times", late, times), func(t *testing.T) {
				m := &meddled{}
				b := newBench(t, func(c *Config) { m.Store, c.Store = c.Store, m })
				b.verdict(image, "sha256:aa", verdict.Allow, "gateway", nil)
				b.round()
				given := b.at.Add(time.Second)
				b.pass(time.Hour)
				if late {
					b.verdict("ghcr.io/acme/third:v1", "sha256:cc", verdict.Allow, "gateway", nil)
					b.round()
				} else {
					given = b.at
				}
				b.record(image, "sha256:aa", verdict.Deny, "ci", nil, given, late)
				b.record("ghcr.io/acme/other:v1", "sha256:bb", verdict.Allow, "ci", nil, given, late)
				watched := len(b.rows()) + 1
				m.times = times
				for i := 0; m.times > 0 && i < times; i++ {
					if err := b.look(t.Context(), b.st); err != nil {
						t.Fatal(err)
					}
				}
				b.wants("taken up at once", len(b.told) == 1, times%mostTakes != 0)
				b.round()
				b.wants("watched", len(b.rows()), watched)
				b.wants("events", b.kinds(), []string{"flip allow deny"})
				for _, row := range b.rows() {
					if row.ImageRef == image && (row.Decision != verdict.Deny || row.Principals[0] != "ci" || len(row.Principals) != 2+times) {
						t.Errorf("the row is %+v", row)
					}
				}
				if marks, err := b.store.Marks(t.Context(), store.MarkLate); err != nil || len(marks) > 0 {
					t.Errorf("marks left: %v, %v", marks, err)
				}
			})
		}
	}
}

// A decision over a row that was changed meanwhile is dropped without an error, and
// made again.
func TestDecidedMeanwhile(t *testing.T) {
	m := &meddled{}
	b := newBench(t, func(c *Config) { m.Store, c.Store = c.Store, m })
	b.verdict(image, "sha256:aa", verdict.Allow, "gateway", nil)
	b.round()
	b.change(2, "b")
	b.decision, m.times = verdict.Deny, 1
	b.round()
	b.wants("what was asked", len(b.asked), 2)
	b.wants("events", b.kinds(), []string{"flip allow deny"})
	b.wants("who asked", b.rows()[0].Principals, []string{"gateway", "other0"})
}

// The configuration's list is not begun with until all of it is there.
func TestListChangedMeanwhile(t *testing.T) {
	m := &meddled{}
	b := newBench(t, func(c *Config) { m.Store, c.Store, c.Images = c.Store, m, []Listed{{Image: image}} })
	row, err := NewListed(pdp{b}, Listed{Image: image}, "", b.at)
	if err != nil {
		t.Fatal(err)
	}
	row.Listed, row.ListedBy = store.ListedAPI, "ada"
	if _, _, err := b.store.SaveWatched(t.Context(), []store.WatchedChange{{Watched: row}}); err != nil {
		t.Fatal(err)
	}
	m.times = 1
	if err := b.begin(t.Context()); !errors.Is(err, errChanged) {
		t.Fatalf("%v", err)
	}
	if err := b.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.wants("listed", b.rows()[0].Listed, store.ListedConfiguration)
}

// The rate is one of starts: a hundred decisions at fifty a second take two seconds.
func TestRate(t *testing.T) {
	const rate, n = 50, 25
	b := newBench(t, func(c *Config) { c.Rate = rate })
	for i := range n {
		b.verdict(fmt.Sprintf("ghcr.io/acme/app%d:v1", i), "sha256:aa", verdict.Allow, "gateway", nil)
	}
	b.round()
	b.change(2, "b")
	begun := time.Now()
	b.round()
	if took, least := time.Since(begun), (n-1)*time.Second/rate; len(b.asked) != n || took < least {
		t.Errorf("%d decisions in %s; %s are the least", len(b.asked), took, least)
	}
}

// Run does all of this by itself, and ends with its context.
func TestRun(t *testing.T) {
	b := newBench(t, nil)
	b.verdict(image, "sha256:aa", verdict.Allow, "gateway", nil)
	told := make(chan client.Event, 1)
	b.Watcher.cfg.Tell = func(e client.Event) { told <- e }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	first := b.st
	b.Watcher.cfg.PDP = changing{pdp{b}, func() State {
		if rows := b.rows(); len(rows) == 0 {
			return first
		}
		return State{Revision: 2, Key: Key(store.Inputs{"signers": "b"}, "build")}
	}}
	b.decision = verdict.Deny
	go func() { defer close(done); b.Watcher.Run(ctx) }()
	select {
	case e := <-told:
		if e.Kind != "flip" {
			t.Errorf("%+v", e)
		}
	case <-time.After(eventually.Patience):
		t.Error("no event came")
	}
	cancel()
	<-done
	if n := b.Stats().Flips(verdict.Allow, verdict.Deny); n != 1 {
		t.Errorf("%d flips are counted", n)
	}
}

type changing struct {
	pdp
	state func() State
}

func (c changing) State(context.Context) (State, error) { return c.state(), nil }

func TestPinned(t *testing.T) {
	for in, want := range map[string]string{
		"ghcr.io/a:v1": "ghcr.io/a:v1@sha256:aa", "ghcr.io/a": "ghcr.io/a:latest@sha256:aa", "localhost:5000/a": "localhost:5000/a:latest@sha256:aa",
		"ghcr.io/a@sha256:bb": "ghcr.io/a@sha256:bb", "ghcr.io/a:v1@sha256:bb": "ghcr.io/a:v1@sha256:bb",
	} {
		if got := pinned(in, "sha256:aa"); got != want {
			t.Errorf("pinned(%s) is %s, want %s", in, got, want)
		}
	}
}

// Events of another process come, those that were missed first; who is slow is let
// go; and nothing is read while nobody listens.
func TestFeed(t *testing.T) {
	b := newBench(t, nil)
	tell := func(n int) {
		t.Helper()
		for range n {
			_, err := b.store.TellOnce(t.Context(), []store.Mark{{Kind: store.MarkEnding, Key: fmt.Sprint(b.n), At: start}}, []store.NewEvent{b.newEvent(client.Event{At: start, Kind: "flip"})})
			if err != nil {
				t.Fatal(err)
			}
			b.n++
		}
	}
	tell(3)
	feed := NewFeed(FeedConfig{Store: b.store, Poll: time.Millisecond, Buffer: 4})
	defer feed.Close()
	all, _, err := b.store.Events(t.Context(), store.EventFilter{Forward: true})
	if err != nil || len(all) != 3 || all[0].ID >= all[1].ID || all[1].ID >= all[2].ID {
		t.Fatalf("%+v, %v", all, err)
	}
	l, missed, err := feed.Listen(t.Context(), all[0].ID)
	if err != nil || len(missed) != 2 || missed[0].ID != all[1].ID {
		t.Fatalf("missed %+v, %v", missed, err)
	}
	slow, _, err := feed.Listen(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	last := all[2].ID
	for range 10 {
		tell(1)
		e := <-l.C()
		var body client.Event
		if err := json.Unmarshal(e.Body, &body); err != nil || body.ID != e.ID || e.ID <= last {
			t.Errorf("%+v, %v", e, err)
		}
		last = e.ID
	}
	n := 0
	for range slow.C() {
		n++
	}
	b.wants("what the slow one got", n, 4)
	l.Close()
	slow.Close()
	feed.mu.Lock()
	running := feed.stop != nil
	feed.mu.Unlock()
	if running {
		t.Error("it reads, and nobody listens")
	}
	again, _, err := feed.Listen(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	feed.Close()
	if _, ok := <-again.C(); ok {
		t.Error("an event came")
	}
}
