package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
)

// Events are what happened to watched images. Errors wrap [ErrUnavailable].
type Events interface {
	// List gives one page of those that f chooses; cursor is the Next of the page
	// before, "" for the first.
	List(ctx context.Context, f EventFilter, cursor string, limit int) (client.Page[client.Event], error)
	// Listen gives the events that come, and those after since that are there, where
	// it is not "". The same event may be among both. It wraps [ErrNoStream] where
	// none can come.
	Listen(ctx context.Context, since string) (EventStream, []Event, error)
}

// ErrNoStream says that no server runs here whose events could be waited for.
var ErrNoStream = errors.New("there is no server here to wait for events of")

// EventFilter chooses events; what is zero does not restrict.
type EventFilter struct {
	Kind string
	// Image is a normalised name.
	Image string
	// Since chooses those after this id, the oldest first; else the newest come first.
	Since string
}

func (f EventFilter) chooses(e Event) bool {
	return (f.Kind == "" || e.Kind == f.Kind) && (f.Image == "" || e.ImageName == f.Image)
}

// Event is one event as a stream has it.
type Event struct {
	ID, Kind, ImageName string
	// Body is its JSON, on one line.
	Body []byte
}

// EventStream gives events until it is closed by either side.
type EventStream interface {
	C() <-chan Event
	Close()
}

const (
	mediaEvents       = "text/event-stream"
	headerLastEventID = "Last-Event-Id"

	// defaultHeartbeat keeps proxies from ending a stream on which nothing happens.
	defaultHeartbeat = 15 * time.Second
	// defaultStreams is how many may listen.
	defaultStreams = 100
	// streamWrite bounds one write: who does not read is let go.
	streamWrite = 30 * time.Second
	retryStream = 10
	longestID   = 64
)

func eventKinds() []string {
	return []string{client.EventFlip, client.EventEnding, client.EventUndecidable, client.EventRecovered, client.EventVerdict}
}

// listEvents gives one page, or the stream of what comes.
func (s *Server) listEvents(ctx context.Context, c *call) (reply, error) {
	q := paramsOf(c)
	f := EventFilter{Kind: q.oneOf("kind", eventKinds()...), Image: q.text("image", longestImage), Since: q.text("since", longestID)}
	limit, cursor := q.limit(), q.cursor()
	r := c.echo.Request()
	stream := strings.Contains(r.Header.Get("Accept"), mediaEvents)
	if stream && (q.values.Has("limit") || q.values.Has("cursor")) {
		q.wrong("limit", "A stream has no pages. Leave limit and cursor out, or do not ask for "+mediaEvents+".")
	}
	if err := q.problem(); err != nil {
		return reply{}, err
	}
	if stream {
		return s.streamEvents(ctx, c, f)
	}
	var seen client.Page[client.Event]
	for range mostPages {
		page, err := s.cfg.Events.List(ctx, f, cursor, limit-len(seen.Items))
		if err != nil {
			return reply{}, fmt.Errorf("listing events: %w", err)
		}
		for _, e := range page.Items {
			if c.principal.Sees(e.ImageName) {
				seen.Items = append(seen.Items, e)
			}
		}
		seen.Next, cursor = page.Next, page.Next
		if cursor == "" || len(seen.Items) >= limit || !scoped(c.principal) {
			break
		}
	}
	return pageOf(seen, nil)
}

// streamEvents answers with server-sent events (HTML, section 9.2), which a browser
// that lost the connection goes on with by Last-Event-ID.
func (s *Server) streamEvents(ctx context.Context, c *call, f EventFilter) (reply, error) {
	r := c.echo.Request()
	if last := r.Header[headerLastEventID]; len(last) > 0 {
		if len(last) > 1 || last[0] == "" || len(last[0]) > longestID || !printable(last[0]) {
			return reply{}, &problem{code: codeInvalidField, field: "header.Last-Event-ID", detail: "Send the header Last-Event-ID with the id of the last event that came, or leave it out."}
		}
		f.Since = last[0]
	}
	if s.streams.Add(1) > int64(s.cfg.Streams) {
		s.streams.Add(-1)
		return reply{}, rateLimited("As many as may listen here do. Ask again later, or ask another server.", retryStream*time.Second)
	}
	end := func() { s.streams.Add(-1) }
	from, missed, err := s.cfg.Events.Listen(ctx, f.Since)
	switch {
	case errors.Is(err, ErrNoStream):
		end()
		return reply{}, &problem{code: codeConflict, detail: "No server runs here whose events could be waited for. Give --server, or list them.", cause: err}
	case err != nil:
		end()
		return reply{}, fmt.Errorf("listening for events: %w", err)
	}
	token, err := s.credential(c)
	if err != nil {
		from.Close()
		end()
		return reply{}, err
	}
	l := &listening{server: s, call: c, token: token, filter: f, last: f.Since}
	return reply{status: http.StatusOK, contentType: mediaEvents, stream: func(w http.ResponseWriter) {
		defer end()
		defer from.Close()
		if r.Method == http.MethodHead {
			return
		}
		l.run(r.Context(), w, from.C(), missed)
	}}, nil
}

// listening is one stream on its way.
type listening struct {
	server *Server
	call   *call
	token  string
	filter EventFilter
	last   string // the id of the last event that was looked at
	w      http.ResponseWriter
	rc     *http.ResponseController
}

// run writes events until the caller or the server goes, or the token is good no
// more.
func (l *listening) run(ctx context.Context, w http.ResponseWriter, events <-chan Event, missed []Event) {
	l.w, l.rc = w, http.NewResponseController(w)
	_ = l.rc.SetReadDeadline(time.Time{}) // the request was read; else its time to be read would end the stream
	if !l.write(": signet\n\n") {
		return
	}
	for _, e := range missed {
		if !l.event(e) {
			return
		}
	}
	beat := time.NewTicker(l.server.cfg.Heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.server.drained:
			return
		case e, ok := <-events:
			if !ok || !l.good(ctx) || !l.event(e) {
				return
			}
		case <-beat.C:
			if !l.good(ctx) || !l.write(": beat\n\n") {
				return
			}
		}
	}
}

// good says whether the caller may still listen: what was taken from it meanwhile
// counts from then on.
func (l *listening) good(ctx context.Context) bool {
	s, c := l.server, l.call
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	st, err := s.current(ctx)
	if err != nil {
		return false
	}
	c.state = st
	if c.vouched {
		return true
	}
	p, err := st.Tokens.Authenticate(l.token, s.source(c), s.cfg.Now())
	if err != nil || c.route.permit(p) != nil {
		return false
	}
	c.principal = p
	return true
}

func (l *listening) event(e Event) bool {
	if e.ID <= l.last { // it was among those that were missed
		return true
	}
	l.last = e.ID
	if !l.filter.chooses(e) || !l.call.principal.Sees(e.ImageName) {
		return true
	}
	return l.write("id: " + e.ID + "\nevent: " + e.Kind + "\ndata: " + string(e.Body) + "\n\n")
}

func (l *listening) write(text string) bool {
	_ = l.rc.SetWriteDeadline(time.Now().Add(streamWrite)) // where there is one
	if _, err := l.w.Write([]byte(text)); err != nil {
		return false
	}
	return l.rc.Flush() == nil
}

const watchExample = `{"image": "ghcr.io/org/app:v1", "environment": "production"}`

// listWatched gives one page of what is watched.
func (s *Server) listWatched(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	q := paramsOf(c)
	f := administration.WatchFilter{Source: q.oneOf("source", "asked", "api", "configuration")}
	limit, cursor := q.limit(), q.cursor()
	if err := q.problem(); err != nil {
		return reply{}, err
	}
	var seen client.Page[client.WatchedImage]
	for range mostPages {
		f.After, f.Limit = cursor, limit-len(seen.Items)
		page, err := s.cfg.Administration.Watched(ctx, by, f)
		if err != nil {
			return reply{}, err
		}
		seen.Items = append(seen.Items, page.Items...)
		seen.Next, cursor = page.Next, page.Next
		if cursor == "" || len(seen.Items) >= limit {
			break
		}
	}
	return pageOf(seen, nil)
}

// putWatched lists an image.
func (s *Server) putWatched(ctx context.Context, c *call, by administration.Caller, req *client.NewWatch) (reply, error) {
	if p := checkImage(req.Image); p != nil {
		return reply{}, p
	}
	if p := checkPlatform(req.Platform); p != nil {
		return reply{}, p
	}
	if p := s.inScope(c.principal, req.Image); p != nil {
		return reply{}, p
	}
	got, err := s.cfg.Administration.Watch(ctx, by, *req)
	return jsonOf(http.StatusOK, got, err)
}

func (s *Server) deleteWatched(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	return noContent(s.cfg.Administration.Unwatch(ctx, by, c.echo.Param("id")))
}

func (s *Server) webhookKey(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	got, err := s.cfg.Administration.WebhookKey(ctx, by, c.echo.Param("name"))
	return jsonOf(http.StatusOK, got, err)
}
