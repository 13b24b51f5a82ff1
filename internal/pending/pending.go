// Package pending answers questions whose answer is fetched later, for images in slow
// registries. What is asked for is in the store at once, so that a restart loses
// nothing and every server can tell how it stands. Whoever took a question works on
// it; what a server leaves behind another one takes up. Begin with [New] and
// [Queue.Run], which every server runs.
package pending

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/verdict"
)

// Errors that others tell apart.
var (
	// ErrNotFound says that there is no such request, or not any more.
	ErrNotFound = errors.New("no such request")
	// ErrFull says that too many wait.
	ErrFull = errors.New("too many requests for verdicts wait")
)

// Store keeps requests; a [store.Store] is one.
type Store interface {
	AddVerdictRequest(ctx context.Context, q store.VerdictRequest, holder string, until time.Time, most int) error
	VerdictRequest(ctx context.Context, id string) (store.VerdictRequest, error)
	ClaimVerdictRequests(ctx context.Context, holder string, now, until time.Time, most int) ([]store.VerdictRequest, error)
	DeferVerdictRequest(ctx context.Context, q store.VerdictRequest, holder string) error
	FinishVerdictRequest(ctx context.Context, q store.VerdictRequest, holder string, events []store.NewEvent) ([]store.Event, error)
	PruneVerdictRequests(ctx context.Context, end time.Time) (more bool, err error)
}

// Asker answers one question within a time; [*pep.Core] is one. That the token of the
// principal counts no more is [auth.ErrRevoked], [auth.ErrExpired] or [auth.ErrUnknown].
type Asker interface {
	Ask(ctx context.Context, q pep.Question, deadline time.Duration) (pep.Answer, error)
}

// Config of a [Queue]. Store and Asker are needed.
type Config struct {
	Store Store
	Asker Asker
	// ImageName gives the normalised name of an image.
	ImageName func(image string) (string, error)
	// Webhooks names those that are sent an event; nil: nobody is.
	Webhooks func(client.Event) []string
	// Attempt bounds one attempt (30 s, which is the engine's own limit).
	Attempt time.Duration
	// GiveUp is after how long an answer that stays unknown is given as it is (30 min).
	GiveUp time.Duration
	// Keep is for how long an answer can be fetched (7 days).
	Keep time.Duration
	// Poll is how often it is looked for what other servers left behind, and for what
	// is to be tried again (1 s).
	Poll time.Duration
	// SideBySide is how many are worked on at a time (8), Most how many may wait (10,000).
	SideBySide, Most int
	Now              func() time.Time
	Log              *slog.Logger
}

// Queue takes questions and answers them. It is safe for concurrent use.
type Queue struct {
	cfg    Config
	holder string
	// room holds a place for each attempt under way.
	room chan struct{}
	work sync.WaitGroup
	// ended says that no more work is begun.
	mu    sync.Mutex
	ctx   context.Context // of the work that requests leave behind
	stop  context.CancelFunc
	ended bool
}

// New checks cfg and fills in defaults.
func New(cfg Config) (*Queue, error) {
	if cfg.Store == nil || cfg.Asker == nil || cfg.ImageName == nil {
		return nil, errors.New("pending: Config needs a Store, an Asker and an ImageName")
	}
	for _, d := range []struct {
		to  *time.Duration
		def time.Duration
	}{{&cfg.Attempt, 30 * time.Second}, {&cfg.GiveUp, 30 * time.Minute}, {&cfg.Keep, 7 * 24 * time.Hour}, {&cfg.Poll, time.Second}} {
		if *d.to <= 0 {
			*d.to = d.def
		}
	}
	if cfg.SideBySide <= 0 {
		cfg.SideBySide = 8
	}
	if cfg.Most <= 0 {
		cfg.Most = 10_000
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	q := &Queue{cfg: cfg, holder: rand.Text(), room: make(chan struct{}, cfg.SideBySide)}
	q.ctx, q.stop = context.WithCancel(context.Background())
	return q, nil
}

// claimSlack is what a claim outlasts an attempt by, for recording what came of it.
const claimSlack = 15 * time.Second

func (q *Queue) claim() time.Time { return q.now().Add(q.cfg.Attempt + claimSlack) }

// now is in whole microseconds: what a store keeps.
func (q *Queue) now() time.Time { return q.cfg.Now().UTC().Truncate(time.Microsecond) }

// Add keeps a question that was checked, and begins to work on it. It errs with
// [ErrFull] while too many wait.
func (q *Queue) Add(ctx context.Context, ask pep.Question) (client.VerdictRequestStatus, error) {
	now := q.now()
	name, err := q.cfg.ImageName(ask.Image)
	if err != nil {
		return client.VerdictRequestStatus{}, err
	}
	r := store.VerdictRequest{
		ID: ulid.MustNew(ulid.Timestamp(now), rand.Reader).String(), Principal: ask.Principal.Name, Role: string(ask.Principal.Role), TokenID: ask.Principal.TokenID, Images: ask.Principal.Images,
		ImageRef: ask.Image, ImageName: name, Platform: ask.Platform, Context: ask.Context, Refresh: ask.Refresh,
		AssessmentID: ask.AssessmentID, Labels: ask.Labels, CreatedAt: now, NextAt: now,
	}
	// Where there is no room it is taken up with the next look for what is due.
	until, begin := now, false
	select {
	case q.room <- struct{}{}:
		until, begin = q.claim(), true
	default:
	}
	if err := q.cfg.Store.AddVerdictRequest(ctx, r, q.holder, until, q.cfg.Most); err != nil {
		if begin {
			<-q.room
		}
		if errors.Is(err, store.ErrConflict) {
			err = fmt.Errorf("%w: %w", ErrFull, err)
		}
		return client.VerdictRequestStatus{}, err
	}
	if begin {
		q.begin(r)
	}
	return status(r), nil
}

// begin works on a request for which there is room.
func (q *Queue) begin(r store.VerdictRequest) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended { // its claim ends, and another server takes it up
		<-q.room
		return
	}
	q.work.Go(func() {
		defer func() { <-q.room }()
		q.one(q.ctx, r)
	})
}

// Get tells how a request stands, and who asked; [ErrNotFound] for none.
func (q *Queue) Get(ctx context.Context, id string) (s client.VerdictRequestStatus, principal string, err error) {
	r, err := q.cfg.Store.VerdictRequest(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if err != nil {
		return client.VerdictRequestStatus{}, "", err
	}
	return status(r), r.Principal, nil
}

func status(r store.VerdictRequest) client.VerdictRequestStatus {
	s := client.VerdictRequestStatus{
		ID: r.ID, State: client.RequestWaiting, Image: r.ImageRef, Platform: r.Platform, AssessmentID: r.AssessmentID, Attempts: r.Attempts,
		CreatedAt: r.CreatedAt, FinishedAt: r.FinishedAt, Message: r.Message,
	}
	if r.Done {
		s.State, s.Decision, s.VerdictID, s.Verdict = client.RequestDone, client.Decision(r.Decision), r.VerdictID, r.Verdict
	}
	return s
}

// pruneEvery is how often it is looked for answers that are too old.
const pruneEvery = 10 * time.Minute

// Run takes up what is due until ctx ends, and waits for the attempts under way, which
// end with it: what they had not finished is taken up again.
func (q *Queue) Run(ctx context.Context) {
	defer q.Close()
	var pruned time.Time
	failed := false
	for {
		err := q.look(ctx)
		if now := q.now(); err == nil && now.Sub(pruned) >= pruneEvery {
			var more bool
			if more, err = q.cfg.Store.PruneVerdictRequests(ctx, now.Add(-q.cfg.Keep)); !more { // else after the next look, which waits for none of it
				pruned = now
			}
		}
		if err != nil && !failed && ctx.Err() == nil {
			q.cfg.Log.Warn("looking for requested verdicts", "error", err.Error())
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			return
		case <-time.After(q.cfg.Poll):
		}
	}
}

// Close ends the attempts under way, and waits for them.
func (q *Queue) Close() {
	q.mu.Lock()
	q.ended = true
	q.mu.Unlock()
	q.stop()
	q.work.Wait()
}

// look claims what is due, as much as there is room for.
func (q *Queue) look(ctx context.Context) error {
	places := 0
	for places < q.cfg.SideBySide {
		select {
		case q.room <- struct{}{}:
			places++
			continue
		default:
		}
		break
	}
	if places == 0 {
		return nil
	}
	mine, err := q.cfg.Store.ClaimVerdictRequests(ctx, q.holder, q.now(), q.claim(), places)
	for range places - len(mine) {
		<-q.room
	}
	for _, r := range mine {
		q.begin(r)
	}
	return err
}

// one is one attempt.
func (q *Queue) one(ctx context.Context, r store.VerdictRequest) {
	defer func() {
		if p := recover(); p != nil { // its claim ends, and it is tried again
			q.cfg.Log.Error("panic while answering a request for a verdict", "request", r.ID, "panic", fmt.Sprint(p))
		}
	}()
	ans, err := q.cfg.Asker.Ask(ctx, pep.Question{
		Image: r.ImageRef, Platform: r.Platform, Context: r.Context, Refresh: r.Refresh, AssessmentID: r.AssessmentID, Labels: r.Labels,
		Principal: auth.Principal{Name: r.Principal, Role: auth.Role(r.Role), TokenID: r.TokenID, Images: r.Images}, RequestID: r.ID,
	}, q.cfg.Attempt)
	if ctx.Err() != nil { // so that another server takes it up at once
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = q.cfg.Store.DeferVerdictRequest(last, r, q.holder) // else its claim ends by itself
		return
	}
	now := q.now()
	var mistake *pep.Mistake
	refused := errors.Is(err, auth.ErrRevoked) || errors.Is(err, auth.ErrExpired) || errors.Is(err, auth.ErrUnknown)
	switch {
	case refused:
		r.Decision, r.Message = verdict.Unknown, "Nothing was decided: "+err.Error()+"."
	case errors.As(err, &mistake): // what is in force says so now
		r.Decision, r.Message = verdict.Unknown, mistake.Detail
	case err != nil:
		r.Message = "Nothing was decided."
	default:
		r.Message = ans.Message()
		r.Decision = ans.Verdict.Decision
	}
	if undecided := err != nil || r.Decision == verdict.Unknown && !ans.Allowed; undecided && mistake == nil && !refused {
		r.Attempts++
		if next := now.Add(wait(r.Attempts, ans.RetryAfter)); next.Before(r.CreatedAt.Add(q.cfg.GiveUp)) {
			r.NextAt = next
			q.noted(ctx, r, q.cfg.Store.DeferVerdictRequest(ctx, r, q.holder))
			return
		}
		r.Decision = verdict.Unknown
	}
	r.FinishedAt = &now
	r.Verdict = ans.Body
	if ans.Recorded {
		r.VerdictID = ans.Verdict.ID
	}
	var events []store.NewEvent
	if !refused { // it asks for nothing any more, nor to be told
		events = q.events(r, ans)
	}
	_, err = q.cfg.Store.FinishVerdictRequest(ctx, r, q.holder, events)
	q.noted(ctx, r, err)
}

func (q *Queue) noted(ctx context.Context, r store.VerdictRequest, err error) {
	if err != nil && ctx.Err() == nil {
		q.cfg.Log.Warn("noting what came of a request for a verdict; it is tried again", "request", r.ID, "error", err.Error())
	}
}

// Waits between attempts.
const (
	firstWait   = 2 * time.Second
	longestWait = time.Minute
)

// wait doubles with each attempt, and is what the registry asked for at least.
func wait(attempts, retryAfter int) time.Duration {
	d := longestWait
	if shift := attempts - 1; shift < 5 {
		d = min(firstWait<<shift, longestWait)
	}
	return max(d, min(time.Duration(retryAfter)*time.Second, 10*time.Minute))
}

// events tell of the answer.
func (q *Queue) events(r store.VerdictRequest, ans pep.Answer) []store.NewEvent {
	e := client.Event{
		At: *r.FinishedAt, Kind: client.EventVerdict, Image: r.ImageRef, ImageName: r.ImageName, Digest: ans.Verdict.Digest,
		After: string(r.Decision), AfterAllowed: ans.Allowed, Reasons: []string{}, ReliedOnBy: client.EventReliance{Principals: []string{r.Principal}, Assessments: []string{}, Environments: []string{}},
		VerdictID: r.VerdictID, Request: &client.EventRequest{ID: r.ID, AssessmentID: r.AssessmentID},
	}
	if r.AssessmentID != "" {
		e.ReliedOnBy.Assessments = append(e.ReliedOnBy.Assessments, r.AssessmentID)
	}
	for _, reason := range ans.Verdict.Reasons {
		e.Reasons = append(e.Reasons, reason.Code)
	}
	n := store.NewEvent{
		Event:  store.Event{At: e.At, Kind: e.Kind, ImageRef: e.Image, ImageName: e.ImageName, Digest: e.Digest, After: e.After, VerdictID: e.VerdictID},
		Encode: func(id string) ([]byte, error) { e.ID = id; return json.Marshal(e) },
	}
	if q.cfg.Webhooks != nil {
		n.Webhooks = q.cfg.Webhooks(e)
	}
	return []store.NewEvent{n}
}
