package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The kinds of events.
const (
	// EventFlip: a watched image is decided otherwise than before.
	EventFlip = "flip"
	// EventEnding: a signer, an exception or a trust root is about to end.
	EventEnding = "ending"
	// EventUndecidable: a watched image could not be decided for some time;
	// EventRecovered: it can again.
	EventUndecidable = "undecidable"
	EventRecovered   = "recovered"
	// EventVerdict: a verdict that was asked for to be fetched later is there.
	EventVerdict = "verdict"
)

// Event is something that happened to a watched image, or is about to.
type Event struct {
	// ID is a ULID; ids rise in the order of the events.
	ID   string    `json:"id"`
	At   time.Time `json:"at"`
	Kind string    `json:"kind"`
	// Image is the reference as it was asked for or listed; with ImageName, its
	// normalised name, and Digest "" where the event is of no one image.
	Image       string `json:"image"`
	ImageName   string `json:"image_name"`
	Digest      string `json:"digest"`
	Environment string `json:"environment"`
	// Before and After are decisions, "" where the event is of none. What is denied
	// under a policy in mode audit is allowed all the same.
	Before        string `json:"before"`
	After         string `json:"after"`
	BeforeAllowed bool   `json:"before_allowed"`
	AfterAllowed  bool   `json:"after_allowed"`
	// BeforeDigest is the digest before, where a listed tag was moved.
	BeforeDigest string `json:"before_digest,omitempty"`
	// Reasons are the codes of the verdict's reasons.
	Reasons []string `json:"reasons"`
	// Cause is null for what nothing caused.
	Cause *EventCause `json:"cause"`
	// ReliedOnBy is who was given a verdict on the image lately.
	ReliedOnBy EventReliance `json:"relied_on_by"`
	// VerdictID is the verdict that shows it, PreviousVerdictID the one before.
	VerdictID         string `json:"verdict_id"`
	PreviousVerdictID string `json:"previous_verdict_id"`
	// Ending is there for the kind ending alone.
	Ending *EventEnd `json:"ending,omitempty"`
	// Request is there for the kind verdict alone.
	Request *EventRequest `json:"request,omitempty"`
}

// EventRequest is the request that a verdict answers.
type EventRequest struct {
	ID           string `json:"id"`
	AssessmentID string `json:"assessment_id,omitempty"`
}

// EventCause says what changed.
type EventCause struct {
	// Kind is "active" (what is in force was changed), "time" (something began or
	// ended), "evidence" (the registry has other signatures, or the tag was moved)
	// or "software" (another version of Signet decides).
	Kind string `json:"kind"`
	// Revision is the one of active that the verdict was decided under.
	Revision int64 `json:"revision"`
	// Changes are the latest changes since the decision before, for active.
	Changes []EventChange `json:"changes,omitempty"`
	// Boundaries name what began or ended, for time: "signer release".
	Boundaries []string `json:"boundaries,omitempty"`
}

// EventChange is an entry of the audit log.
type EventChange struct {
	Seq    int64  `json:"seq"`
	Actor  string `json:"actor"`
	Action string `json:"action"`
	Object string `json:"object"`
	Why    string `json:"why"`
}

// EventReliance is who relies on an image; long lists are cut.
type EventReliance struct {
	Principals   []string `json:"principals"`
	Assessments  []string `json:"assessments"`
	Environments []string `json:"environments"`
}

// EventEnd is what is about to end.
type EventEnd struct {
	// Kind is "signer", "exception", "root" or "certificate".
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Owner is the team that answers for it.
	Owner string    `json:"owner,omitempty"`
	At    time.Time `json:"at"`
	// Images is how many watched images rely on it, Examples some of them. WouldFlip
	// is how many would be decided otherwise then; null where that is not known.
	Images    int64    `json:"images"`
	Examples  []string `json:"examples"`
	WouldFlip *int64   `json:"would_flip"`
}

// EventFilter chooses events; zero fields choose all.
type EventFilter struct {
	// Since chooses those after this id, the oldest first; without it the newest
	// come first.
	Since string
	Kind  string
	// Image is a normalised name, without tag and digest.
	Image string
	Limit int
	// Cursor is Next of the page before.
	Cursor string
}

func (f EventFilter) query() url.Values {
	q := pageOf(url.Values{}, f.Limit, f.Cursor)
	set(q, "since", f.Since)
	set(q, "kind", f.Kind)
	set(q, "image", f.Image)
	return q
}

// Events lists what happened.
func (c *Client) Events(ctx context.Context, f EventFilter) (Page[Event], error) {
	return ask[Page[Event]](ctx, c, get(f.query()), "events")
}

// AllEvents walks them.
func (c *Client) AllEvents(ctx context.Context, f EventFilter) iter.Seq2[Event, error] {
	return all(ctx, f.Cursor, func(ctx context.Context, cursor string) (Page[Event], error) {
		at := f
		at.Cursor = cursor
		return c.Events(ctx, at)
	})
}

// FollowEvents gives events as they happen, until ctx ends: those after f.Since, or
// those that come from now on. It connects again, and goes on where it was, when
// the connection is lost; an error is one that asking again does not mend, or the
// last of as many attempts as MaxRetries says.
func (c *Client) FollowEvents(ctx context.Context, f EventFilter) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		last, failed := f.Since, 0
		if last == "" { // a connection that breaks before it has told of anything must not begin anew
			if page, err := c.Events(ctx, EventFilter{Limit: 1}); err == nil && len(page.Items) > 0 {
				last = page.Items[0].ID
			}
		}
		for ctx.Err() == nil {
			err := c.stream(ctx, f, last, func(e Event) bool {
				last, failed = e.ID, 0
				return yield(e, nil)
			})
			var p *Problem
			switch {
			case errors.Is(err, errStopped) || ctx.Err() != nil:
				return
			case err == nil: // the server ended it in order, as it does when it stops
				failed = 0
			case errors.As(err, &p) && !slices.Contains([]int{
				http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, // the last are a proxy's while we start
			}, p.Status),
				errors.Is(err, ErrRequest), errors.Is(err, ErrAnswer), errors.Is(err, ErrRedirect), failed >= c.cfg.MaxRetries:
				yield(Event{}, err)
				return
			default:
				failed++
			}
			if c.cfg.Sleep(ctx, backOff(failed)) != nil {
				return
			}
		}
	}
}

var errStopped = errors.New("the caller has seen enough")

// maxEvent bounds one event of a stream, in bytes.
const maxEvent = 1 << 20

// stream reads one connection to its end.
func (c *Client) stream(ctx context.Context, f EventFilter, last string, each func(Event) bool) error {
	f.Since, f.Limit, f.Cursor = last, 0, ""
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base.String()+"/api/v1/events", nil)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRequest, err)
	}
	req.URL.RawQuery = f.query().Encode()
	req.Header.Set("Accept", "text/event-stream, application/problem+json")
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	if err := c.authorise(req, ""); err != nil {
		return err
	}
	endless := *c.http
	endless.Timeout = 0
	res, err := endless.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		body, err := io.ReadAll(io.LimitReader(res.Body, maxEvent))
		if err != nil {
			return err
		}
		return problemOf(answer{status: res.StatusCode, header: res.Header, body: body, retryAfter: retryAfter(res.Header.Get("Retry-After"), c.cfg.Now())})
	}
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		return fmt.Errorf("GET events: %w: it is no stream of events", ErrAnswer)
	}
	// The format of server-sent events (HTML, section 9.2.6), as far as our server
	// writes it: each event is one line of data.
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		data, found := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !found {
			continue
		}
		var e Event
		if err := json.Unmarshal(data, &e); err != nil {
			return fmt.Errorf("GET events: %w: %w", ErrAnswer, err)
		}
		if !each(e) {
			return errStopped
		}
	}
	return lines.Err()
}
