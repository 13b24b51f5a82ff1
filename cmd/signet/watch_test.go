package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/testkit/pgtest"
	"github.com/signet-policy/signet/internal/webhook"
)

// receiver takes what a webhook sends, or refuses it.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	got    []received
}

type received struct {
	header http.Header
	body   []byte
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{status: http.StatusNoContent}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		if err == nil {
			r.got = append(r.got, received{req.Header.Clone(), body})
		}
		w.WriteHeader(r.status)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// follow gives the events of d until the test ends.
func (w *world) follow(d *daemon, token string) <-chan client.Event {
	w.Helper()
	c := make(chan client.Event, 100)
	ctx, cancel := context.WithCancel(w.Context())
	w.Cleanup(cancel)
	go func() {
		for e, err := range d.as(token).FollowEvents(ctx, client.EventFilter{}) {
			if err != nil {
				return
			}
			c <- e
		}
	}()
	return c
}

// nextEvent waits for one.
func (w *world) nextEvent(c <-chan client.Event) client.Event {
	w.Helper()
	select {
	case e := <-c:
		return e
	case <-time.After(90 * time.Second):
		w.Fatal("no event came")
		return client.Event{}
	}
}

// settled waits until all watched images are decided.
func (w *world) settled(d *daemon, n int) {
	w.Helper()
	eventually.Holds(w.T, fmt.Sprintf("%d images are watched", n), func() bool {
		page, err := d.Watched(w.Context(), client.WatchFilter{})
		return err == nil && len(page.Items) == n && !slices.ContainsFunc(page.Items, func(i client.WatchedImage) bool { return i.Decision == "" })
	})
}

// A signer is disabled, and nobody asks any more: the image's flip is told all the
// same, by the API, a stream and a webhook, with who changed it and who relies on
// it. A webhook that fails is sent it again, also by the next process.
func TestWatchTellsOfAFlip(t *testing.T) {
	hook := newReceiver(t)
	w := newWorld(t, fmt.Sprintf("webhooks: [{name: chat, url: %q, allow_private: true, images: ['**/acme/**']}]", hook.URL+"/secret-path"))
	w.admin()
	image, trusted := w.keyless("acme/app")
	d := w.serve()
	s := d.create(trusted)
	if v := d.decides(image, client.Allow); v.ID == "" {
		t.Fatal("no id")
	}
	w.settled(d, 1)
	events := w.follow(d, w.token)
	w.listened(d)
	hook.answer(http.StatusServiceUnavailable)
	if _, err := d.WithWhy("left the company").UpdateSigner(t.Context(), s.ID, s.Version, map[string]any{"enabled": false}); err != nil {
		t.Fatal(err)
	}
	e := w.nextEvent(events)
	if e.Kind != "flip" || e.Before != "allow" || e.After != "deny" || e.Image != image || !e.BeforeAllowed || e.AfterAllowed || len(e.Reasons) == 0 {
		t.Errorf("the event is %+v", e)
	}
	if e.Cause == nil || e.Cause.Kind != "active" || len(e.Cause.Changes) != 1 || e.Cause.Changes[0].Actor != "first" || e.Cause.Changes[0].Object != "signer/"+s.ID || e.Cause.Changes[0].Why != "left the company" {
		t.Errorf("its cause is %+v", e.Cause)
	}
	if !slices.Equal(e.ReliedOnBy.Principals, []string{"first"}) {
		t.Errorf("who relies on it: %+v", e.ReliedOnBy)
	}
	if v, err := d.Verdict(t.Context(), e.VerdictID); err != nil || v.Decision != client.Deny {
		t.Errorf("its verdict: %+v, %v", v, err)
	}

	eventually.Holds(t, "the webhook is tried", func() bool { return len(hook.all()) > 0 })
	if d.said("secret-path") {
		t.Error("the webhook's URL stands in the log")
	}
	d.stop(syscall.SIGTERM)
	hook.answer(http.StatusNoContent)
	before := len(hook.all())
	d = w.serve()
	eventually.Holds(t, "the webhook is tried again after the restart", func() bool { return len(hook.all()) > before })
	key, err := d.WebhookKey(t.Context(), "chat")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range hook.all() {
		var sent client.Event
		if err := json.Unmarshal(r.body, &sent); err != nil || sent.ID != e.ID || r.header.Get(webhook.HeaderID) != e.ID {
			t.Errorf("it was sent %s", r.body)
		}
		if want := webhook.Sign(raw, r.header.Get(webhook.HeaderTimestamp), r.body); r.header.Get(webhook.HeaderSignature) != want {
			t.Errorf("the signature is %q, want %q", r.header.Get(webhook.HeaderSignature), want)
		}
	}
	page, err := d.Events(t.Context(), client.EventFilter{})
	if err != nil || len(page.Items) != 1 || page.Items[0].ID != e.ID {
		t.Errorf("the events are %+v, %v", page, err)
	}
	// What the watch asked does not count as asking.
	watched, err := d.Watched(t.Context(), client.WatchFilter{Source: "asked"})
	if err != nil || len(watched.Items) != 1 || !slices.Equal(watched.Items[0].Principals, []string{"first"}) || watched.Items[0].Decision != "deny" {
		t.Errorf("watched: %+v, %v", watched, err)
	}
}

// listened waits until somebody listens.
func (w *world) listened(d *daemon) {
	w.Helper()
	eventually.Holds(w.T, "somebody listens", func() bool { return strings.Contains(w.metrics(d), "\nsignet_event_streams 1\n") })
}

func (w *world) metrics(d *daemon) string {
	w.Helper()
	a, err := w.ask(http.DefaultClient, http.MethodGet, d.address+"/metrics", w.token, "")
	if err != nil {
		return ""
	}
	return a.body
}

// A change of tokens makes nobody be decided again.
func TestWatchIgnoresTokens(t *testing.T) {
	w := newWorld(t, "")
	w.admin()
	image, trusted := w.keyless("acme/app")
	d := w.serve()
	d.create(trusted)
	d.decides(image, client.Allow)
	w.settled(d, 1)
	decided := func() (n int) {
		for line := range strings.Lines(w.metrics(d)) {
			if strings.HasPrefix(line, "signet_watch_decisions_total") && !strings.HasSuffix(line, " 0\n") {
				n++
			}
		}
		return n
	}
	if n := decided(); n != 0 {
		t.Errorf("%d series of decisions before anything changed:\n%s", n, w.metrics(d))
	}
	if _, err := d.CreateToken(t.Context(), client.NewToken{Name: "another", Role: "viewer"}); err != nil {
		t.Fatal(err)
	}
	d.create(client.Signer{Name: "other", Type: "keyless", Issuer: trusted.Issuer, Subject: "https://elsewhere.example", Enabled: true})
	eventually.Holds(t, "a new signer makes it be decided again", func() bool { return decided() == 1 })
	page, err := d.Events(t.Context(), client.EventFilter{})
	if err != nil || len(page.Items) != 0 {
		t.Errorf("events of what was decided as before: %+v, %v", page.Items, err)
	}
}

// A signer that ends is told of in advance, and the flip at its end has time as its
// cause. What is listed in the configuration is watched with its environment.
func TestWatchTellsOfAnEnd(t *testing.T) {
	w := newWorld(t, "")
	image, trusted := w.keyless("acme/app")
	w.configure(fmt.Sprintf("watch: {recent: 0s, images: [{images: [%q], environment: production}]}", image))
	w.admin()
	d := w.serve()
	events := w.follow(d, w.token)
	w.listened(d)
	w.settled(d, 1)
	ends := time.Now().Add(45 * time.Second)
	trusted.ExpiresAt, trusted.Owner = &ends, "platform"
	d.create(trusted)
	got := map[string]client.Event{}
	for range 3 {
		e := w.nextEvent(events)
		got[e.Kind+" "+e.After] = e
	}
	if e := got["flip allow"]; e.Environment != "production" || e.Before != "deny" || e.Cause == nil || e.Cause.Kind != "active" {
		t.Errorf("the beginning: %+v", e)
	}
	end := got["ending "]
	if end.Ending == nil || end.Ending.Kind != "signer" || end.Ending.Name != "release" || end.Ending.Owner != "platform" || end.Ending.Images != 1 ||
		end.Ending.WouldFlip == nil || *end.Ending.WouldFlip != 1 {
		t.Errorf("the warning: %+v", end)
	}
	flip := got["flip deny"]
	if flip.Cause == nil || flip.Cause.Kind != "time" || !slices.Equal(flip.Cause.Boundaries, []string{"signer release"}) || !slices.Equal(flip.ReliedOnBy.Environments, []string{"production"}) {
		t.Errorf("the end: %+v, %+v", flip, flip.Cause)
	}
}

// Two servers share a store: one of them watches, and its events come from the
// other, too.
func TestWatchOnTwoServers(t *testing.T) {
	w := newWorld(t, "")
	image, trusted := w.keyless("acme/app")
	w.file("url", []byte(pgtest.Database(t)))
	w.configure("database: {url_file: url}")
	w.admin()
	one, two := w.serve(), w.serve()
	s := one.create(trusted)
	two.decides(image, client.Allow)
	w.settled(one, 1)
	streams := []<-chan client.Event{w.follow(one, w.token), w.follow(two, w.token)}
	w.listened(one)
	w.listened(two)
	if _, err := one.UpdateSigner(t.Context(), s.ID, s.Version, map[string]any{"enabled": false}); err != nil {
		t.Fatal(err)
	}
	first, second := w.nextEvent(streams[0]), w.nextEvent(streams[1])
	if first.ID != second.ID || first.Kind != "flip" {
		t.Errorf("one server tells %+v, the other %+v", first, second)
	}
	// The one that watches goes: the other takes over, and tells of the way back once.
	watcher, left := one, two
	if two.said(`"msg":"upkeep","here":true`) {
		watcher, left = two, one
	}
	watcher.stop(syscall.SIGTERM)
	s, err := left.Signer(t.Context(), s.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := left.UpdateSigner(t.Context(), s.ID, s.Version, map[string]any{"enabled": true}); err != nil {
		t.Fatal(err)
	}
	eventually.Holds(t, "the other server watches", func() bool {
		page, err := left.Events(t.Context(), client.EventFilter{})
		return err == nil && len(page.Items) == 2 && page.Items[0].After == "allow"
	})
}
