package watch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/verdict"
)

// Watcher decides again. Make it with [New].
type Watcher struct {
	cfg   Config
	stats Stats

	// What one run knows, of one goroutine.
	scan  scanner
	told  map[string]bool // endings
	since time.Time       // when the state was seen first
	key   string          // of that state
	next  time.Time       // when the next decision may begin
}

// Stats are for metrics. They are of this process, and stay as they are while
// another one watches.
type Stats struct {
	// Images are watched; LagSeconds is for how long the one has waited that has
	// waited longest.
	Images, LagSeconds atomic.Int64

	mu        sync.Mutex
	decisions map[[2]string]int64 // by trigger and decision
	flips     map[[2]string]int64 // by before and after
}

// Decisions counts what was decided for a trigger, one of the Due constants.
func (s *Stats) Decisions(trigger string, d verdict.Decision) int64 {
	return s.count(&s.decisions, trigger, string(d), 0)
}

// Flips counts flips from one decision to another, the same one where only whether
// it is enforced changed.
func (s *Stats) Flips(before, after verdict.Decision) int64 {
	return s.count(&s.flips, string(before), string(after), 0)
}

func (s *Stats) count(m *map[[2]string]int64, a, b string, add int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if *m == nil {
		*m = map[[2]string]int64{}
	}
	(*m)[[2]string{a, b}] += add
	return (*m)[[2]string{a, b}]
}

// New checks cfg and fills in defaults.
func New(cfg Config) (*Watcher, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Watcher{cfg: cfg}, nil
}

// Stats gives the counters.
func (w *Watcher) Stats() *Stats { return &w.stats }

// Key names what decides: the digests of signers, policies, bundles and trust roots, and
// the build. Tokens, and the secret, decide nothing.
func Key(in store.Inputs, build string) string {
	sum := sha256.New()
	for _, kind := range []string{store.InputSigners, store.InputPolicies, store.InputBundles, store.InputTrustRoots} {
		fmt.Fprintf(sum, "%s=%s\n", kind, in[kind])
	}
	return hex.EncodeToString(sum.Sum(nil)[:16]) + keySeparator + build
}

// keySeparator is in no digest.
const keySeparator = "/"

// inputsOf is the part of a key that what is in force gives.
func inputsOf(key string) string {
	in, _, _ := strings.Cut(key, keySeparator)
	return in
}

const (
	sideBySide = 8 // decisions at a time
	everyNow   = time.Minute
	mostNames  = 50 // in an event's lists
)

// Run watches until ctx ends, or another process does.
func (w *Watcher) Run(ctx context.Context) {
	w.scan, w.told, w.key, w.next = scanner{}, nil, "", time.Time{}
	begun, failed, warned := false, "", ""
	var chores time.Time
	for ctx.Err() == nil && w.cfg.Held() {
		worked, err := func() (bool, error) {
			st, err := w.state(ctx)
			if err != nil {
				return false, err
			}
			if !begun {
				if err := w.begin(ctx); err != nil {
					return false, err
				}
				begun = true
			}
			if err := w.look(ctx, st); err != nil {
				return false, err
			}
			if now := w.cfg.Now(); !now.Before(chores) {
				if err := w.chores(ctx, st); err != nil {
					return false, err
				}
				chores = now.Add(everyNow)
			}
			worked, err := w.work(ctx, st)
			if err == nil && !worked && warned != st.Key { // what is new may end soon, and all have been decided under it
				warned = st.Key
				err = w.endings(ctx, st, w.cfg.Now())
			}
			return worked, err
		}()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && err.Error() != failed: // each trouble once
			w.cfg.Log.Warn("watching images", "error", err.Error())
			failed = err.Error()
		case err == nil:
			failed = ""
		}
		if worked {
			continue // at the pace of its own
		}
		if !wait(ctx, w.cfg.Poll) {
			return
		}
	}
}

// wait is false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (w *Watcher) state(ctx context.Context) (State, error) {
	st, err := w.cfg.PDP.State(ctx)
	if err != nil {
		return State{}, fmt.Errorf("reading what is in force: %w", err)
	}
	if st.Key != w.key {
		w.key, w.since = st.Key, w.cfg.Now()
	}
	return st, nil
}

// begin puts the configuration's list into the store, and reads what was told.
func (w *Watcher) begin(ctx context.Context) error {
	var ids []string
	var rows []store.Watched
	now := w.cfg.Now()
	for _, l := range w.cfg.Images {
		row, err := NewListed(w.cfg.PDP, l, "", now)
		if err != nil {
			w.cfg.Log.Error("an image of watch.images is not watched", "image", l.Image, "error", err.Error())
			continue
		}
		row.Listed, row.ListedBy = store.ListedConfiguration, store.ListedConfiguration
		ids, rows = append(ids, row.ID), append(rows, row)
	}
	have, err := w.cfg.Store.Watched(ctx, ids...)
	if err != nil {
		return err
	}
	var changes []store.WatchedChange
	for _, row := range rows {
		if old, ok := have[row.ID]; ok {
			if old.Listed == store.ListedConfiguration {
				continue
			}
			old.Listed, old.ListedBy = row.Listed, row.ListedBy
			row = old
		}
		changes = append(changes, store.WatchedChange{Watched: row})
	}
	for some := range slices.Chunk(changes, 200) {
		if _, err := w.write(ctx, some); err != nil {
			return err
		}
	}
	if _, err := w.cfg.Store.Unlist(ctx, ids); err != nil {
		return err
	}
	marks, err := w.cfg.Store.Marks(ctx, store.MarkEnding)
	if err != nil {
		return err
	}
	w.told = map[string]bool{}
	for _, m := range marks {
		w.told[m.Key] = true
	}
	return nil
}

// NewListed is the row of an image that is listed. It is due at once.
func NewListed(pdp interface{ Name(string) (string, error) }, l Listed, platform string, now time.Time) (store.Watched, error) {
	name, err := pdp.Name(l.Image)
	if err != nil {
		return store.Watched{}, err
	}
	if name == "" {
		return store.Watched{}, errors.New("it names no registry")
	}
	return store.Watched{
		ID: id("listed", l.Image, platform, l.Environment), ImageRef: l.Image, ImageName: name, Platform: platform, Environment: l.Environment,
		Roles: []string{listedRole}, DueAt: now,
	}, nil
}

// listedRole is that of a gateway, as which listed images are asked for.
const listedRole = "verifier"

// id names a question.
func id(parts ...any) string {
	body, err := json.Marshal(parts) // strings, and maps of them, in the order of their keys
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:16])
}

// pinned is an image as it was asked for, at the digest that was answered. Its tag
// stays, for policies that read it.
func pinned(image, digest string) string {
	if digest == "" || strings.Contains(image, "@") {
		return image
	}
	if !strings.Contains(image[strings.LastIndexByte(image, '/')+1:], ":") {
		image += ":latest" // as whoever asked without a tag was understood
	}
	return image + "@" + digest
}

// chores are what is done now and then.
func (w *Watcher) chores(ctx context.Context, st State) error {
	now := w.cfg.Now()
	const some = 1000
	for n := int64(some); n == some; {
		var err error
		if n, err = w.cfg.Store.ForgetWatched(ctx, now.Add(-w.cfg.Recent), some); err != nil {
			return err
		}
	}
	// Of verdicts that nothing is watched for any more, or that nobody takes up.
	if err := w.cfg.Store.ForgetMarks(ctx, store.MarkLate, now.Add(-w.cfg.Recent)); err != nil {
		return err
	}
	if err := w.endings(ctx, st, now); err != nil {
		return err
	}
	stats, err := w.cfg.Store.WatchedStats(ctx, now)
	if err != nil {
		return err
	}
	w.stats.Images.Store(stats.Images)
	return nil
}

// work decides what is due, one batch of it, and says whether there was any.
func (w *Watcher) work(ctx context.Context, st State) (bool, error) {
	now := w.cfg.Now()
	most := max(1, int(math.Ceil(w.cfg.Rate*w.cfg.Poll.Seconds())))
	due, err := w.cfg.Store.WatchedDue(ctx, now, st.Key, most)
	if err != nil {
		return false, err
	}
	w.stats.LagSeconds.Store(int64(w.lag(due, now).Seconds()))
	var done sync.WaitGroup
	defer done.Wait()
	room := make(chan struct{}, sideBySide)
	for _, d := range due {
		if !w.pace(ctx) || !w.cfg.Held() {
			return false, ctx.Err()
		}
		room <- struct{}{}
		done.Go(func() {
			defer func() { <-room }()
			if err := w.again(ctx, d); err != nil && ctx.Err() == nil {
				w.cfg.Log.Warn("a watched image could not be decided again", "image", d.ImageRef, "error", err.Error())
			}
		})
	}
	return len(due) > 0, nil
}

// pace waits until the next decision may begin.
func (w *Watcher) pace(ctx context.Context) bool {
	now := time.Now()
	if d := w.next.Sub(now); d > 0 && !wait(ctx, d) {
		return false
	}
	gap := time.Duration(float64(time.Second) / w.cfg.Rate)
	// What was not used while nothing was due is not made up for.
	w.next = later(w.next, now).Add(gap)
	return ctx.Err() == nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// lag is for how long the oldest of what is due has waited.
func (w *Watcher) lag(due []store.Due, now time.Time) time.Duration {
	lag := time.Duration(0)
	for _, d := range due {
		at := d.DueAt
		switch {
		case d.Why == store.DueBoundary && d.BoundaryAt != nil:
			at = *d.BoundaryAt
		case d.Why == store.DueActive:
			at = w.since
		}
		lag = max(lag, now.Sub(at))
	}
	return lag
}

// again decides one image again.
func (w *Watcher) again(ctx context.Context, d store.Due) error {
	st, err := w.cfg.PDP.State(ctx) // it may have changed since the batch began
	if err != nil {
		return err
	}
	now := w.cfg.Now()
	q := Question{
		Image: d.ImageRef, Platform: d.Platform, Context: d.Context, Roles: d.Roles, Environment: d.Environment,
		Refresh: d.RefreshedAt == nil || !now.Before(d.RefreshedAt.Add(w.cfg.Refresh)),
	}
	if d.Listed == "" {
		q.Image = pinned(d.ImageRef, d.Digest)
	}
	a, err := w.cfg.PDP.Decide(ctx, st, q)
	switch {
	case errors.Is(err, ErrRefused):
		a = Answer{Decision: verdict.Unknown, Reasons: []string{"question_refused"}, At: now}
	case err != nil:
		return err
	}
	row := d.Watched
	o := observation{Answer: a, key: st.Key, revision: st.Revision, refreshed: q.Refresh}
	if a.Decision != verdict.Unknown {
		if o.signers, err = w.signersOf(ctx, a.VerdictID); err != nil {
			return err
		}
	}
	events, err := w.observe(ctx, st, &row, o)
	if err != nil {
		return err
	}
	w.stats.count(&w.stats.decisions, d.Why, string(a.Decision), 1)
	if _, err = w.save(ctx, []store.WatchedChange{{Watched: row, Events: events}}); errors.Is(err, errChanged) {
		return nil // it is due as long as nobody has decided it
	}
	return err
}

func (w *Watcher) signersOf(ctx context.Context, verdictID string) ([]string, error) {
	if verdictID == "" {
		return nil, nil
	}
	list, err := w.cfg.Store.AskedVerdicts(ctx, []string{verdictID})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0].Signers, nil
}

// save keeps changes and tells their events. It says whether it did: it does not
// where another process is at it now. The error is errChanged where one was, and the
// others are saved.
func (w *Watcher) save(ctx context.Context, changes []store.WatchedChange) (saved bool, err error) {
	if !w.cfg.Held() {
		return false, nil
	}
	told, err := w.write(ctx, changes)
	w.tell(told)
	return err == nil, err
}

// errChanged says that a row was changed by another process after it was read, and is
// left as that one wrote it.
var errChanged = errors.New("another process changed what is watched")

// write keeps changes, and gives the events of those that it kept.
func (w *Watcher) write(ctx context.Context, changes []store.WatchedChange) (told []store.Event, err error) {
	saved, told, err := w.cfg.Store.SaveWatched(ctx, changes)
	if err == nil && len(saved) < len(changes) {
		err = errChanged
	}
	return told, err
}

func (w *Watcher) tell(events []store.Event) {
	for _, e := range events {
		var out client.Event
		if err := json.Unmarshal(e.Body, &out); err != nil {
			w.cfg.Log.Error("an event cannot be read", "event", e.ID, "error", err.Error())
			continue
		}
		if e.Kind == client.EventFlip {
			w.stats.count(&w.stats.flips, e.Before, e.After, 1)
		}
		w.cfg.Log.Warn("event", "kind", e.Kind, "event", e.ID, "image", e.ImageRef, "digest", e.Digest, "before", e.Before, "after", e.After)
		w.cfg.Tell(out)
	}
}

// observation is an answer with the state that it was given under.
type observation struct {
	Answer
	signers  []string
	key      string
	revision int64
	// refreshed says that the registry was asked anew.
	refreshed bool
}

// Bounds of the time after which what could not be decided is tried again.
const (
	retryLeast = time.Minute
	retryMost  = time.Hour
)

// observe puts an answer into its row, and gives the events that it makes.
func (w *Watcher) observe(ctx context.Context, st State, row *store.Watched, o observation) ([]store.NewEvent, error) {
	now := w.cfg.Now()
	before := *row
	row.StateKey = o.key
	if o.Decision == verdict.Unknown {
		return w.unknown(ctx, st, row, o, now)
	}
	flipped := before.Decision != "" && (before.Decision != o.Decision || before.Allowed != o.Allowed)
	var events []store.NewEvent
	add := func(kind, was string) error {
		e, err := w.event(ctx, st, kind, was, before, row, o)
		if err == nil {
			events = append(events, e)
		}
		return err
	}
	row.Decision, row.Allowed, row.VerdictID, row.Reasons, row.Signers = o.Decision, o.Allowed, o.VerdictID, o.Reasons, o.signers
	row.DecidedAt, row.DecidedKey, row.DecidedRevision = &o.At, o.key, o.revision
	row.UnknownSince, row.UnknownTold, row.UnknownReasons = nil, false, nil
	if row.Digest == "" || row.Listed != "" {
		row.Digest = o.Digest
	}
	if o.refreshed || row.RefreshedAt == nil {
		row.RefreshedAt = &o.At
	}
	row.BoundaryAt, row.DueAt = nextBoundary(st, row, o.ValidUntil, now), row.RefreshedAt.Add(w.cfg.Refresh)
	if before.UnknownTold {
		if err := add(client.EventRecovered, string(verdict.Unknown)); err != nil {
			return nil, err
		}
	}
	if flipped {
		if err := add(client.EventFlip, string(before.Decision)); err != nil {
			return nil, err
		}
	}
	return events, nil
}

// unknown is the part of observe for an image that cannot be decided: it is tried
// again, at growing intervals, and what was known stays known.
func (w *Watcher) unknown(ctx context.Context, st State, row *store.Watched, o observation, now time.Time) ([]store.NewEvent, error) {
	before := *row
	if row.UnknownSince == nil {
		row.UnknownSince = &now
	}
	row.UnknownReasons = o.Reasons
	age := now.Sub(*row.UnknownSince)
	row.DueAt = now.Add(max(min(max(age, retryLeast), retryMost), o.RetryAfter))
	row.BoundaryAt = nextBoundary(st, row, nil, now)
	if row.UnknownTold || age < w.cfg.UnknownAfter {
		if left := w.cfg.UnknownAfter - age; left > 0 && !row.UnknownTold { // so that it is told in time
			row.DueAt = now.Add(min(row.DueAt.Sub(now), max(left, time.Second)))
		}
		return nil, nil
	}
	row.UnknownTold = true
	e, err := w.event(ctx, st, client.EventUndecidable, string(before.Decision), before, row, o)
	if err != nil {
		return nil, err
	}
	return []store.NewEvent{e}, nil
}

// nextBoundary is when time itself may change the decision of row: the end of a
// signer that it stands on, or of an exception; for a denial, the beginning of
// something that may mend it; and what the answer itself says (an attestation that
// gets too old). nil for never.
func nextBoundary(st State, row *store.Watched, validUntil *time.Time, now time.Time) *time.Time {
	var next *time.Time
	if validUntil != nil && validUntil.After(now) {
		next = validUntil
	}
	for _, b := range st.Boundaries {
		if b.At.After(now) && (next == nil || b.At.Before(*next)) && matters(b, row) {
			next = &b.At
		}
	}
	return next
}

func matters(b Boundary, row *store.Watched) bool {
	switch {
	case b.Kind == KindRoot || b.Kind == KindCertificate: // it makes nothing be decided otherwise, or the daily turn shows it
		return false
	case b.Begins:
		return row.Decision != verdict.Allow && covers(b, row.ImageName)
	case b.Kind == KindSigner:
		return slices.Contains(row.Signers, b.Name)
	}
	return covers(b, row.ImageName)
}

func covers(b Boundary, name string) bool { return b.Covers == nil || b.Covers(name) }

// event makes an event of what became of before.
func (w *Watcher) event(ctx context.Context, st State, kind, was string, before store.Watched, row *store.Watched, o observation) (store.NewEvent, error) {
	e := client.Event{
		At: w.cfg.Now().UTC().Truncate(time.Microsecond), Kind: kind, Image: row.ImageRef, ImageName: row.ImageName, Digest: row.Digest, Environment: row.Environment,
		Before: was, After: string(o.Decision), BeforeAllowed: before.Allowed && was != string(verdict.Unknown), AfterAllowed: o.Allowed,
		Reasons: append([]string{}, o.Reasons...), VerdictID: o.VerdictID, PreviousVerdictID: before.VerdictID,
	}
	if before.Digest != "" && before.Digest != row.Digest {
		e.BeforeDigest = before.Digest
	}
	var err error
	if kind == client.EventFlip {
		if e.Cause, err = w.cause(ctx, st, before, o, e.At); err != nil {
			return store.NewEvent{}, err
		}
	}
	if e.ReliedOnBy, err = w.reliance(ctx, row); err != nil {
		return store.NewEvent{}, err
	}
	return w.newEvent(e), nil
}

func (w *Watcher) newEvent(e client.Event) store.NewEvent {
	return store.NewEvent{
		Event: store.Event{
			At: e.At, Kind: e.Kind, ImageRef: e.Image, ImageName: e.ImageName, Digest: e.Digest, Environment: e.Environment,
			Before: e.Before, After: e.After, VerdictID: e.VerdictID,
		},
		Webhooks: w.cfg.Webhooks(e),
		Encode: func(id string) ([]byte, error) {
			e.ID = id
			return json.Marshal(e)
		},
	}
}

// cause finds out what changed since the decision before.
func (w *Watcher) cause(ctx context.Context, st State, before store.Watched, o observation, now time.Time) (*client.EventCause, error) {
	c := &client.EventCause{Kind: "evidence", Revision: o.revision}
	for _, b := range st.Boundaries {
		if before.DecidedAt != nil && b.At.After(*before.DecidedAt) && !b.At.After(now) && matters(b, &before) {
			c.Boundaries = append(c.Boundaries, b.Kind+" "+b.Name)
		}
	}
	slices.Sort(c.Boundaries)
	if c.Boundaries = slices.Compact(c.Boundaries); len(c.Boundaries) > 0 {
		c.Kind = "time"
	}
	switch {
	case before.DecidedKey == o.key:
		return c, nil
	case inputsOf(before.DecidedKey) == inputsOf(o.key):
		if c.Kind != "time" {
			c.Kind = "software"
		}
		return c, nil
	}
	c.Kind = "active"
	from, to := min(before.DecidedRevision, o.revision), max(before.DecidedRevision, o.revision)
	entries, err := w.cfg.Store.AuditBetween(ctx, from, to, mostNames)
	if err != nil {
		return nil, err
	}
	for _, a := range entries {
		// A change of tokens, or a note, decides nothing.
		if kind, _, _ := strings.Cut(a.Object, "/"); kind == "signer" || kind == "policy" || kind == "trust_root" {
			c.Changes = append(c.Changes, client.EventChange{Seq: a.Seq, Actor: a.Actor, Action: a.Action, Object: a.Object, Why: a.Why})
		}
	}
	return c, nil
}

func (w *Watcher) reliance(ctx context.Context, row *store.Watched) (client.EventReliance, error) {
	window := w.cfg.Recent
	if window == 0 {
		window = 14 * 24 * time.Hour
	}
	principals, assessments, err := w.cfg.Store.Reliance(ctx, row.ImageRef, w.cfg.Now().Add(-window))
	if err != nil {
		return client.EventReliance{}, err
	}
	r := client.EventReliance{Principals: names(append(principals, row.Principals...)), Assessments: names(assessments), Environments: []string{}}
	if row.Environment != "" {
		r.Environments = append(r.Environments, row.Environment)
	}
	return r, nil
}

// names are sorted, each once, and not too many; that of the watch is left out.
func names(list []string) []string {
	out := append([]string{}, list...)
	slices.Sort(out)
	out = slices.DeleteFunc(slices.Compact(out), func(n string) bool { return n == Principal || n == "" })
	return out[:min(len(out), mostNames)]
}

// endings tells what is about to end, once for each of the times before.
func (w *Watcher) endings(ctx context.Context, st State, now time.Time) error {
	before := slices.Sorted(slices.Values(w.cfg.WarnBefore))
	for _, b := range st.Boundaries {
		if b.Begins || !b.At.After(now) {
			continue
		}
		i := slices.IndexFunc(before, func(d time.Duration) bool { return !now.Before(b.At.Add(-d)) })
		if i < 0 || b.Renewed > 0 && before[i] > b.Renewed/2 {
			continue
		}
		// Longer ones are past, and need not be told any more.
		var marks []store.Mark
		for _, d := range before[i:] {
			marks = append(marks, store.Mark{Kind: store.MarkEnding, Key: strings.Join([]string{b.Kind, b.Name, b.At.UTC().Format(time.RFC3339Nano), d.String()}, "|"), At: b.At})
		}
		if w.told[marks[0].Key] {
			continue
		}
		e, err := w.ending(ctx, b, now)
		if err != nil {
			return err
		}
		told, err := w.cfg.Store.TellOnce(ctx, marks, []store.NewEvent{w.newEvent(e)})
		if err != nil {
			return err
		}
		for _, m := range marks {
			w.told[m.Key] = true
		}
		w.tell(told)
	}
	return w.cfg.Store.ForgetMarks(ctx, store.MarkEnding, now.Add(-24*time.Hour))
}

// ending says who relies on what is about to end.
func (w *Watcher) ending(ctx context.Context, b Boundary, now time.Time) (client.Event, error) {
	const examples = 10
	end := client.EventEnd{Kind: b.Kind, Name: b.Name, Owner: b.Owner, At: b.At.UTC(), Examples: []string{}}
	var principals, environments []string
	f := store.WatchedFilter{Limit: 1000}
	if b.Kind == KindSigner {
		f.Signer = b.Name
	}
	flips := int64(0)
	for {
		page, next, err := w.cfg.Store.WatchedPage(ctx, f)
		if err != nil {
			return client.Event{}, err
		}
		for _, row := range page {
			if row.Decision != verdict.Allow || b.Kind != KindSigner && !covers(b, row.ImageName) {
				continue
			}
			end.Images++
			if len(end.Examples) < examples {
				end.Examples = append(end.Examples, pinned(row.ImageRef, row.Digest))
			}
			if len(principals) < mostNames {
				principals = append(principals, row.Principals...)
			}
			if len(environments) < mostNames {
				environments = append(environments, row.Environment)
			}
			if w.cfg.AtTime == nil {
				continue
			}
			if d, ok := w.cfg.AtTime(ctx, row, b.At); ok && d != row.Decision {
				flips++
			}
		}
		if f.After = next; next == "" {
			break
		}
	}
	if w.cfg.AtTime != nil {
		end.WouldFlip = &flips
	}
	return client.Event{
		At: now.UTC().Truncate(time.Microsecond), Kind: client.EventEnding, Reasons: []string{}, Ending: &end,
		ReliedOnBy: client.EventReliance{Principals: names(principals), Assessments: []string{}, Environments: names(environments)},
	}, nil
}

// scanner reads recent verdicts, each once.
type scanner struct {
	begun bool
	at    store.Place
	seen  map[string]time.Time
	keys  map[int64]string // of revisions
}

const (
	// scanBack is read again each time: on a shared store verdicts may appear among
	// those that were read already. What is written later than that has a mark.
	scanBack = 30 * time.Second
	scanPage = 500
	// keepAsked is how exactly it is known when somebody asked the last time.
	keepAsked = 10 * time.Minute
	// mostPrincipals are kept of those who asked.
	mostPrincipals = 20
)

// look takes up what was asked for since the last time.
func (w *Watcher) look(ctx context.Context, st State) error {
	if w.cfg.Recent == 0 {
		return nil
	}
	now := w.cfg.Now()
	s := &w.scan
	if !s.begun {
		from := now.Add(-w.cfg.Recent)
		marks, err := w.cfg.Store.Marks(ctx, store.MarkScan)
		if err != nil {
			return err
		}
		for _, m := range marks {
			from = later(from, m.At)
		}
		*s = scanner{begun: true, at: store.Place{At: from}, seen: map[string]time.Time{}, keys: map[int64]string{}}
	}
	if err := w.late(ctx, st); err != nil {
		return err
	}
	at := store.Place{At: s.at.At.Add(-scanBack)}
	for {
		places, err := w.cfg.Store.VerdictPlaces(ctx, at, scanPage)
		if err != nil || len(places) == 0 {
			return err
		}
		var fresh []string
		for _, p := range places {
			if _, ok := s.seen[p.ID]; !ok {
				fresh = append(fresh, p.ID)
			}
		}
		if saved, err := w.take(ctx, st, fresh); err != nil || !saved { // the mark passes nothing that was not saved
			return err
		}
		for _, p := range places {
			s.seen[p.ID] = p.At
		}
		at = places[len(places)-1]
		moved := at.At.After(s.at.At)
		if moved {
			s.at = at
		}
		for id, t := range s.seen {
			if t.Before(s.at.At.Add(-2 * scanBack)) {
				delete(s.seen, id)
			}
		}
		if moved && len(fresh) > 0 {
			if err := w.cfg.Store.SetMark(ctx, store.Mark{Kind: store.MarkScan, At: s.at.At}); err != nil {
				return err
			}
		}
		if len(places) < scanPage || !w.cfg.Held() {
			return nil
		}
	}
}

// late takes up verdicts that were written long after they were given, by any server,
// because the store was away: look has passed their places.
func (w *Watcher) late(ctx context.Context, st State) error {
	marks, err := w.cfg.Store.Marks(ctx, store.MarkLate)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(marks, scanPage) {
		var all, fresh []string
		for _, m := range some {
			all = append(all, m.Key)
			if _, ok := w.scan.seen[m.Key]; !ok {
				fresh = append(fresh, m.Key)
			}
		}
		if saved, err := w.take(ctx, st, fresh); err != nil || !saved { // whoever watches now takes them up
			return err
		}
		if err := w.cfg.Store.DropMarks(ctx, store.MarkLate, all); err != nil {
			return err
		}
	}
	return nil
}

// mostTakes bounds how often rows are read again that another process has changed.
const mostTakes = 3

// take puts verdicts into the rows of their questions, and says whether all of them
// are saved: they are not where another process is at it now. Those that are there
// already change nothing.
func (w *Watcher) take(ctx context.Context, st State, fresh []string) (saved bool, err error) {
	for range mostTakes {
		if saved, err = w.takeOnce(ctx, st, fresh); !errors.Is(err, errChanged) {
			return saved, err
		}
	}
	return false, nil
}

func (w *Watcher) takeOnce(ctx context.Context, st State, fresh []string) (saved bool, err error) {
	list, err := w.cfg.Store.AskedVerdicts(ctx, fresh)
	if err != nil {
		return false, err
	}
	var ids []string
	asked := make([]string, len(list))
	for i, v := range list {
		if v.Principal == Principal || v.Given || v.ImageDigest == "" || v.ImageName == "" {
			continue
		}
		asked[i] = id("asked", v.ImageRef, v.ImageDigest, v.Platform, v.Request.Context, v.Request.Roles)
		ids = append(ids, asked[i])
	}
	slices.Sort(ids)
	rows, err := w.cfg.Store.Watched(ctx, slices.Compact(ids)...)
	if err != nil {
		return false, err
	}
	changes := map[string]*store.WatchedChange{}
	for i, v := range list {
		if asked[i] == "" {
			continue
		}
		row, there := rows[asked[i]]
		if !there {
			if v.Decision == verdict.Unknown {
				continue // there is nothing yet that could change
			}
			row = store.Watched{
				ID: asked[i], ImageRef: v.ImageRef, ImageName: v.ImageName, Digest: v.ImageDigest, Platform: v.Platform,
				Context: v.Request.Context, Roles: v.Request.Roles, Environment: v.Request.Context[environmentKey], DueAt: v.CreatedAt.Add(w.cfg.Refresh),
			}
		}
		events, worth, err := w.asked(ctx, st, &row, v)
		if err != nil {
			return false, err
		}
		rows[row.ID] = row
		c, ok := changes[row.ID]
		switch {
		case ok:
			c.Watched, c.Events = row, append(c.Events, events...)
		case worth || !there:
			changes[row.ID] = &store.WatchedChange{Watched: row, Events: events}
		}
	}
	all := make([]store.WatchedChange, 0, len(changes))
	for _, c := range changes {
		all = append(all, *c)
	}
	if len(all) == 0 {
		return true, nil
	}
	return w.save(ctx, all)
}

// environmentKey is the key of a request's context that names where an image runs.
const environmentKey = "environment"

// asked takes one verdict up that somebody was given, and says whether the row has
// changed enough to be written.
func (w *Watcher) asked(ctx context.Context, st State, row *store.Watched, v store.AskedVerdict) (events []store.NewEvent, worth bool, err error) {
	if row.AskedAt == nil || v.CreatedAt.Sub(*row.AskedAt) > keepAsked {
		worth = true
	}
	if row.AskedAt == nil || v.CreatedAt.After(*row.AskedAt) {
		row.AskedAt = &v.CreatedAt
	}
	if !slices.Contains(row.Principals, v.Principal) {
		row.Principals = append([]string{v.Principal}, row.Principals...)
		row.Principals, worth = row.Principals[:min(len(row.Principals), mostPrincipals)], true
	}
	if v.Decision == verdict.Unknown || row.DecidedAt != nil && !v.CreatedAt.After(*row.DecidedAt) {
		return nil, worth, nil
	}
	key, err := w.keyOf(ctx, st, v)
	if err != nil {
		return nil, false, err
	}
	if key != st.Key && row.DecidedKey == st.Key {
		// It began before a change and was recorded after the image had been decided
		// under what is in force now: that stands.
		return nil, worth, nil
	}
	before := *row
	o := observation{
		Answer: Answer{VerdictID: v.ID, Decision: v.Decision, Allowed: v.Allowed, Digest: v.ImageDigest, Reasons: codes(v.Reasons), At: v.CreatedAt, ValidUntil: v.ValidUntil},
		key:    key, revision: v.Active.Revision, signers: v.Signers,
	}
	if events, err = w.observe(ctx, st, row, o); err != nil {
		return nil, false, err
	}
	same := before.Decision == row.Decision && before.Allowed == row.Allowed && before.StateKey == row.StateKey && slices.Equal(before.Signers, row.Signers) &&
		before.UnknownSince == nil
	return events, worth || !same || len(events) > 0, nil
}

func codes(reasons []verdict.Reason) []string {
	list := []string{}
	for _, r := range reasons {
		list = append(list, r.Code)
	}
	return slices.Compact(list)
}

// keyOf is the key of the state that a verdict was given under.
func (w *Watcher) keyOf(ctx context.Context, st State, v store.AskedVerdict) (string, error) {
	if in, ok := w.scan.keys[v.Active.Revision]; ok {
		return in + keySeparator + v.Build, nil
	}
	in := inputsOf(st.Key)
	if v.Active.Revision != st.Revision {
		rev, err := w.cfg.Store.Revision(ctx, v.Active.Revision)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return "", err
		}
		in = inputsOf(Key(rev.Inputs, ""))
	}
	if len(w.scan.keys) > 10_000 {
		clear(w.scan.keys)
	}
	w.scan.keys[v.Active.Revision] = in
	return in + keySeparator + v.Build, nil
}
