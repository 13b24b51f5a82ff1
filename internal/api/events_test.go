package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/testkit/eventually"
)

// fakeEvents has events that are there, and hands on those that come.
type fakeEvents struct {
	past   []client.Event
	live   chan Event
	asked  string
	err    error
	closed int
}

func (f *fakeEvents) List(_ context.Context, filter EventFilter, cursor string, limit int) (client.Page[client.Event], error) {
	f.asked = fmt.Sprintf("%+v %s %d", filter, cursor, limit)
	return client.Page[client.Event]{Items: f.past, Next: ""}, f.err
}

func (f *fakeEvents) Listen(_ context.Context, since string) (EventStream, []Event, error) {
	var missed []Event
	for _, e := range f.past {
		if since != "" && e.ID > since {
			missed = append(missed, rawEvent(e))
		}
	}
	return f, missed, f.err
}

func (f *fakeEvents) C() <-chan Event { return f.live }
func (f *fakeEvents) Close()          { f.closed++ }

func rawEvent(e client.Event) Event {
	body, _ := json.Marshal(e)
	return Event{ID: e.ID, Kind: e.Kind, ImageName: e.ImageName, Body: body}
}

func anEvent(id, kind, name string) client.Event {
	return client.Event{
		ID: id, At: testNow, Kind: kind, Image: name, ImageName: name, Before: "allow", After: "deny", BeforeAllowed: true, Reasons: []string{"image_not_signed"},
		Cause:      &client.EventCause{Kind: "active", Revision: 9, Changes: []client.EventChange{{Seq: 1, Actor: "a", Action: "signer.update", Object: "signer/x"}}},
		ReliedOnBy: client.EventReliance{Principals: []string{"gateway"}, Assessments: []string{}, Environments: []string{}},
	}
}

func TestListEvents(t *testing.T) {
	b := boundBed(t, nil)
	b.events.past = []client.Event{anEvent("2", "flip", "registry.example/org/app"), anEvent("1", "flip", "registry.example/other/app"), {
		ID: "0", Kind: "ending", Reasons: []string{}, ReliedOnBy: client.EventReliance{Principals: []string{}, Assessments: []string{}, Environments: []string{}},
		Ending: &client.EventEnd{Kind: "signer", Name: "release", At: testNow, Examples: []string{}},
	}}
	ids := func(as string) (list []string) {
		var page client.Page[client.Event]
		read(t, b.do(t, b.request(t, as, http.MethodGet, v1+"/events?since=0&kind=flip&image=x&limit=9&cursor=c", "")), &page)
		for _, e := range page.Items {
			list = append(list, e.ID)
		}
		return list
	}
	if d := cmp.Diff([]string{"2", "1", "0"}, ids("free")); d != "" {
		t.Errorf("who sees everything (-want +got):\n%s", d)
	}
	if want := "{Kind:flip Image:x Since:0} c 9"; b.events.asked != want {
		t.Errorf("asked %q, want %q", b.events.asked, want)
	}
	// What is of no one image is for who is bound to none.
	if d := cmp.Diff([]string{"2"}, ids("bound")); d != "" {
		t.Errorf("who is bound to images (-want +got):\n%s", d)
	}
	for query, field := range map[string]string{"?kind=x": "query.kind", "?since=": "query.since", "?limit=0": "query.limit"} {
		if got := toldBy(b, t, b.request(t, "free", http.MethodGet, v1+"/events"+query, "")); got.Status != 422 || got.Field != field {
			t.Errorf("%s: %+v", query, got)
		}
	}
	b.events.err = ErrUnavailable
	if got := toldBy(b, t, b.request(t, "free", http.MethodGet, v1+"/events", "")); got.Code != codeStoreUnavailable {
		t.Errorf("without a store: %+v", got)
	}
	if got := toldBy(b, t, b.request(t, "verifier", http.MethodGet, v1+"/events", "")); got.Status != 401 && got.Status != 403 {
		t.Errorf("a verifier: %+v", got)
	}
}

// swappable lets what is in force change while streams read it.
func swappable(b *bed) {
	var now atomic.Pointer[func() (*engine.State, error)]
	st := b.state
	first := func() (*engine.State, error) { return st, nil }
	now.Store(&first)
	b.decider.current = func(context.Context) (*engine.State, error) { return (*now.Load())() }
	b.swap = func(tokens *auth.Tokens, err error) {
		next := func() (*engine.State, error) { return &engine.State{Active: st.Active, Tokens: tokens}, err }
		now.Store(&next)
	}
}

// stream is a server-sent stream over a real connection.
type stream struct {
	t     *testing.T
	res   *http.Response
	lines chan string
}

func (b *bed) listen(t *testing.T, as, query string, header ...string) *stream {
	t.Helper()
	if b.swap == nil {
		swappable(b)
	}
	srv := httptest.NewUnstartedServer(b.Server)
	srv.Config = NewHTTPServer("", b.Server)
	srv.Config.ReadTimeout = 2 * time.Second // a stream outlives it
	srv.Start()
	t.Cleanup(srv.Close)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+v1+"/events"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", mediaEvents)
	req.Header.Set("Authorization", "Bearer "+b.tokens[as])
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	s := &stream{t: t, res: res, lines: make(chan string, 100)}
	go func() {
		defer close(s.lines)
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			s.lines <- lines.Text()
		}
	}()
	return s
}

// next is the next line that begins with prefix; "" at the end of the stream.
func (s *stream) next(prefix string) string {
	s.t.Helper()
	deadline := time.After(eventually.Patience)
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				return ""
			}
			if rest, found := strings.CutPrefix(line, prefix); found {
				return rest
			}
		case <-deadline:
			s.t.Fatalf("no line %q came", prefix)
		}
	}
}

func TestStreamEvents(t *testing.T) {
	const org, other = "registry.example/org/app", "registry.example/other/app"
	b := boundBed(t, func(c *Config) { c.Heartbeat, c.RateLimit = 100*time.Millisecond, RateLimit{PerSecond: 1, Burst: 5} })
	b.events.past = []client.Event{anEvent("1", "flip", org), anEvent("2", "flip", other), anEvent("3", "recovered", org)}
	s := b.listen(t, "free", "?since=2", "Last-Event-ID: 1") // the header is of where the connection was lost
	if got := s.res.Header.Get("Content-Type"); got != mediaEvents || s.res.StatusCode != 200 {
		t.Fatalf("status %d, content type %q", s.res.StatusCode, got)
	}
	b.events.live <- rawEvent(anEvent("3", "recovered", org)) // it was missed, and comes again
	b.events.live <- rawEvent(anEvent("4", "flip", org))
	for _, want := range []string{"2", "3", "4"} {
		if got := s.next("id: "); got != want {
			t.Errorf("event %q, want %q", got, want)
		}
	}
	if got := s.next("event: "); got != "flip" {
		t.Errorf("the kind is %q", got)
	}
	var e client.Event
	if err := json.Unmarshal([]byte(s.next("data: ")), &e); err != nil || e.ID != "4" || e.Cause.Changes[0].Actor != "a" {
		t.Errorf("%+v, %v", e, err)
	}
	for range 25 { // longer than the time in which a request must have been read
		s.next(": beat")
	}
}

// Who is bound to images gets the events of these, filters count, and a token that
// is taken away ends the stream.
func TestStreamIsScoped(t *testing.T) {
	const org, other = "registry.example/org/app", "registry.example/other/app"
	b := boundBed(t, func(c *Config) { c.Heartbeat = time.Hour })
	s := b.listen(t, "bound", "?kind=flip")
	for _, e := range []client.Event{anEvent("1", "flip", other), anEvent("2", "recovered", org), {ID: "3", Kind: "flip"}, anEvent("4", "flip", org)} {
		b.events.live <- rawEvent(e)
	}
	if got := s.next("id: "); got != "4" {
		t.Errorf("event %q came, want 4 alone", got)
	}
	none, err := auth.NewTokens(nil)
	if err != nil {
		t.Fatal(err)
	}
	b.swap(none, nil)
	b.events.live <- rawEvent(anEvent("5", "flip", org))
	if got := s.next("id: "); got != "" {
		t.Errorf("event %q came after the token was taken away", got)
	}
}

func TestStreamEnds(t *testing.T) {
	for name, end := range map[string]func(*bed){
		"the server stops":     func(b *bed) { b.Drain(); b.Drain() },
		"the feed lets it go":  func(b *bed) { close(b.events.live) },
		"nothing is in force":  func(b *bed) { b.swap(nil, errors.New("gone")) },
		"a token that is gone": func(b *bed) { b.swap(&auth.Tokens{}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			b := boundBed(t, func(c *Config) { c.Heartbeat = 20 * time.Millisecond })
			s := b.listen(t, "free", "")
			s.next(": beat")
			end(b)
			for range 1000 {
				if s.next("") == "" && len(s.lines) == 0 {
					break
				}
			}
			deadline := time.Now().Add(20 * time.Second)
			for b.streams.Load() > 0 {
				if time.Now().After(deadline) {
					t.Fatal("the stream goes on")
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
}

func TestStreamRefused(t *testing.T) {
	b := boundBed(t, func(c *Config) { c.Streams = 1 })
	b.listen(t, "free", "")
	if s := b.listen(t, "free", ""); s.res.StatusCode != 429 || s.res.Header.Get("Retry-After") != "10" {
		t.Errorf("one too many: status %d", s.res.StatusCode)
	}
	b = boundBed(t, nil)
	if s := b.listen(t, "free", "", "Last-Event-ID: "+strings.Repeat("x", 100)); s.res.StatusCode != 400 {
		t.Errorf("an id that is none: status %d", s.res.StatusCode)
	}
	if s := b.listen(t, "free", "?limit=3"); s.res.StatusCode != 422 {
		t.Errorf("pages of a stream: status %d", s.res.StatusCode)
	}
	b.events.err = ErrNoStream
	if s := b.listen(t, "free", ""); s.res.StatusCode != 409 {
		t.Errorf("without a server: status %d", s.res.StatusCode)
	}
	if b.streams.Load() != 0 {
		t.Errorf("%d streams are left", b.streams.Load())
	}
}
