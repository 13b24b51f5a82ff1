package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
)

// Event is something that happened to a watched image, or is about to.
type Event struct {
	// ID is a ULID. Ids rise in the order in which events can be seen, so who has
	// seen one has seen all before it.
	ID   string
	At   time.Time
	Kind string
	// ImageRef and ImageName are "" where it is of no one image.
	ImageRef, ImageName, Digest string
	Environment                 string
	// Before and After are decisions, "" where it is of none.
	Before, After string
	VerdictID     string
	// Body is the event as everybody is given it, JSON.
	Body []byte
}

// NewEvent is an event that is to be told.
type NewEvent struct {
	Event
	// Encode makes the body, once the id is there.
	Encode func(id string) ([]byte, error)
	// Webhooks are the names of those that are sent it.
	Webhooks []string
}

const eventColumns = `id, at, kind, image_ref, image_name, digest, environment, before, after, verdict_id, body`

// eventLock is the number of the lock under which PostgreSQL writes events, so
// that their ids rise in the order of their commits. It is random.
const eventLock = 4907421388502714

// addEvents writes events, and what is to be sent because of them.
func (s *Store) addEvents(w writer, events []NewEvent) ([]Event, error) {
	var told []Event
	for _, n := range events {
		if n.Kind == "" || n.At.IsZero() || n.Encode == nil {
			return nil, fmt.Errorf("telling an event: %w: it has a kind, a time and a body", ErrInvalid)
		}
		id, err := s.nextEventID(w, n.At)
		if err != nil {
			return nil, err
		}
		e := n.Event
		e.ID = id
		if e.Body, err = n.Encode(id); err != nil {
			return nil, fmt.Errorf("telling an event: %w", err)
		}
		e.Body = []byte(printableJSON(printable(string(e.Body))))
		err = w.exec(`INSERT INTO events (`+eventColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			e.ID, formatTime(e.At), e.Kind, printable(e.ImageRef), printable(e.ImageName), printable(e.Digest), printable(e.Environment),
			e.Before, e.After, e.VerdictID, string(e.Body))
		if err != nil {
			return nil, err
		}
		for _, name := range n.Webhooks {
			if err := w.putDelivery(Delivery{Webhook: name, ID: e.ID, Kind: e.Kind, Body: e.Body, CreatedAt: e.At, NextAt: e.At}); err != nil {
				return nil, err
			}
		}
		told = append(told, e)
	}
	return told, nil
}

// nextEventID is greater than any id that is there. Where the clock went back it
// is the next after the greatest.
func (s *Store) nextEventID(w writer, at time.Time) (string, error) {
	if err := w.alone(eventLock); err != nil {
		return "", err
	}
	var last sql.NullString
	if err := w.tx.QueryRowContext(w.ctx, `SELECT max(id) FROM events`).Scan(&last); err != nil {
		return "", err
	}
	id, err := ulid.New(ulid.Timestamp(at), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("making an id: %w", err)
	}
	if !last.Valid || id.String() > last.String {
		return id.String(), nil
	}
	if id, err = ulid.ParseStrict(last.String); err != nil {
		return "", fmt.Errorf("%w: an event has the id %q", ErrCorrupt, last.String)
	}
	for i := len(id) - 1; i >= 0; i-- {
		if id[i]++; id[i] != 0 {
			return id.String(), nil
		}
	}
	return "", fmt.Errorf("%w: the ids of events are used up", ErrCorrupt)
}

// EventFilter chooses events; what is zero does not restrict.
type EventFilter struct {
	Kind string
	// ImageName is an image's normalised name.
	ImageName string
	// Since chooses those after this id, the oldest first; else they come newest
	// first, those before Before, where it is given.
	Since, Before string
	// Forward chooses the oldest first where Since is "".
	Forward bool
	// Limit is 1 to 1000; 0 means 50.
	Limit int
}

// Events lists events, and says whether there are more.
func (s *Store) Events(ctx context.Context, f EventFilter) (list []Event, more bool, err error) {
	const op = "listing events"
	limit, err := pageSize(f.Limit, 50, 1000)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", op, err)
	}
	where, order, args := "id > ?", "id", []any{f.Since}
	if f.Since == "" && !f.Forward {
		order = "id DESC"
		if f.Before != "" {
			where, args = "id < ?", []any{f.Before}
		}
	}
	for _, c := range []struct{ condition, value string }{{"kind = ?", f.Kind}, {"image_name = ?", f.ImageName}} {
		if c.value != "" {
			where, args = where+" AND "+c.condition, append(args, c.value)
		}
	}
	rows, err := s.read.QueryContext(ctx, `SELECT `+eventColumns+` FROM events WHERE `+where+` ORDER BY `+order+` LIMIT ?`, append(args, limit+1)...)
	if err != nil {
		return nil, false, wrap(op, err)
	}
	list, err = collect(op, rows, func(r rower) (Event, error) {
		var e Event
		var body string
		err := r.Scan(&e.ID, timeColumn{&e.At}, &e.Kind, &e.ImageRef, &e.ImageName, &e.Digest, &e.Environment, &e.Before, &e.After, &e.VerdictID, &body)
		e.Body = []byte(body)
		return e, err
	})
	if err != nil {
		return nil, false, err
	}
	if len(list) > limit {
		return list[:limit], true, nil
	}
	return list, false, nil
}

// LastEvent is the id of the newest event, "" where there is none.
func (s *Store) LastEvent(ctx context.Context) (string, error) {
	var id sql.NullString
	err := s.read.QueryRowContext(ctx, `SELECT max(id) FROM events`).Scan(&id)
	return id.String, wrap("reading the last event", err)
}

// pruneEvents removes events that are older than the verdicts that are kept.
func (s *Store) pruneEvents(ctx context.Context, end Cursor) error {
	for {
		var n int64
		err := s.update(ctx, "removing old events", func(w writer) (err error) {
			n, err = w.affected(`DELETE FROM events WHERE id IN (SELECT id FROM events WHERE at <= ? ORDER BY at LIMIT ?)`, formatTime(end.CreatedAt), pruneBatch)
			return err
		})
		if err != nil || n < pruneBatch {
			return err
		}
	}
}

// Delivery is what a webhook is still to be sent.
type Delivery struct {
	Webhook string
	// ID orders the deliveries of a webhook, and is told to it: sent twice, it is
	// the same.
	ID   string
	Kind string
	Body []byte
	// CreatedAt is when it became due. Attempts have failed; the next is at NextAt.
	CreatedAt time.Time
	Attempts  int
	NextAt    time.Time
	// Error says why the last attempt failed, "" before the first.
	Error string
}

// PutDelivery keeps what is to be sent; one that is there already stays as it is.
func (s *Store) PutDelivery(ctx context.Context, d Delivery) error {
	return s.update(ctx, "keeping a delivery", func(w writer) error { return w.putDelivery(d) })
}

func (w writer) putDelivery(d Delivery) error {
	if d.Webhook == "" || d.ID == "" || len(d.Body) == 0 || d.CreatedAt.IsZero() || d.NextAt.IsZero() {
		return fmt.Errorf("keeping a delivery: %w: it has a webhook, an id, a body and times", ErrInvalid)
	}
	return w.exec(`INSERT INTO deliveries (webhook, id, kind, body, created_at, attempts, next_at, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (webhook, id) DO NOTHING`,
		d.Webhook, d.ID, d.Kind, d.Body, formatTime(d.CreatedAt), d.Attempts, formatTime(d.NextAt), printable(d.Error))
}

// NextDelivery is the oldest that a webhook is to be sent, whether its time has
// come or not; false for none.
func (s *Store) NextDelivery(ctx context.Context, webhook string) (Delivery, bool, error) {
	var d Delivery
	err := s.read.QueryRowContext(ctx, `SELECT webhook, id, kind, body, created_at, attempts, next_at, error FROM deliveries
		WHERE webhook = ? ORDER BY id LIMIT 1`, webhook).
		Scan(&d.Webhook, &d.ID, &d.Kind, &d.Body, timeColumn{&d.CreatedAt}, &d.Attempts, timeColumn{&d.NextAt}, &d.Error)
	if errors.Is(err, sql.ErrNoRows) {
		return Delivery{}, false, nil
	}
	return d, err == nil, wrap("reading the next delivery", err)
}

// DeferDelivery notes an attempt that failed.
func (s *Store) DeferDelivery(ctx context.Context, d Delivery) error {
	return s.update(ctx, "deferring a delivery", func(w writer) error {
		return w.exec(`UPDATE deliveries SET attempts = ?, next_at = ?, error = ? WHERE webhook = ? AND id = ?`,
			d.Attempts, formatTime(d.NextAt), printable(d.Error), d.Webhook, d.ID)
	})
}

// DropDelivery removes what was sent, or will not be.
func (s *Store) DropDelivery(ctx context.Context, webhook, id string) error {
	return s.update(ctx, "removing a delivery", func(w writer) error {
		return w.exec(`DELETE FROM deliveries WHERE webhook = ? AND id = ?`, webhook, id)
	})
}

// Deliveries counts what waits, by webhook.
func (s *Store) Deliveries(ctx context.Context) (map[string]int64, error) {
	const op = "counting deliveries"
	rows, err := s.read.QueryContext(ctx, `SELECT webhook, count(*) FROM deliveries GROUP BY webhook`)
	if err != nil {
		return nil, wrap(op, err)
	}
	type count struct {
		name string
		n    int64
	}
	list, err := collect(op, rows, func(r rower) (count, error) {
		var c count
		err := r.Scan(&c.name, &c.n)
		return c, err
	})
	out := map[string]int64{}
	for _, c := range list {
		out[c.name] = c.n
	}
	return out, err
}

// DropDeliveries removes what a webhook was to be sent and became due at upTo or
// before, from the oldest on until there is one that did not. It works in small
// transactions: one that fails leaves the ones before.
func (s *Store) DropDeliveries(ctx context.Context, webhook string, upTo time.Time) (dropped int64, err error) {
	for n := int64(pruneBatch); n == pruneBatch; {
		err := s.update(ctx, "removing deliveries", func(w writer) (err error) {
			// By the order of the ids, which is an index: what is young is not read.
			n, err = w.affected(`DELETE FROM deliveries WHERE webhook = ? AND created_at <= ? AND id IN (
				SELECT id FROM deliveries WHERE webhook = ? ORDER BY id LIMIT ?)`, webhook, formatTime(upTo), webhook, pruneBatch)
			return err
		})
		if err != nil {
			return dropped, err
		}
		dropped += n
	}
	return dropped, nil
}
