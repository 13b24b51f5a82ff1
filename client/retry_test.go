package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
)

func TestRetries(t *testing.T) {
	verify := func(ctx context.Context, c *client.Client) error {
		_, err := c.Verify(ctx, client.VerdictRequest{Image: "a/b"})
		return err
	}
	read := func(ctx context.Context, c *client.Client) error { _, err := c.Whoami(ctx); return err }
	create := func(ctx context.Context, c *client.Client) error {
		_, err := c.CreateSigner(ctx, client.Signer{})
		return err
	}
	patch := func(ctx context.Context, c *client.Client) error {
		_, err := c.UpdateSigner(ctx, "1", 1, map[string]any{})
		return err
	}
	remove := func(ctx context.Context, c *client.Client) error { return c.DeletePolicy(ctx, "p", 1) }
	put := func(ctx context.Context, c *client.Client) error {
		_, err := c.PutPolicy(ctx, "p", "", nil, nil)
		return err
	}
	const hangUp = 0
	for _, tt := range []struct {
		name     string
		do       func(ctx context.Context, c *client.Client) error
		statuses []int // of the attempts; the last one for all that follow
		attempts int
		works    bool
	}{
		{"a read, after 503", read, []int{503, 503, 200}, 3, true},
		{"a read, after 429", read, []int{429, 200}, 2, true},
		{"a read, after a broken connection", read, []int{hangUp, hangUp, 200}, 3, true},
		{"a read, in vain", read, []int{503}, 5, false},
		{"a read, in vain for want of a connection", read, []int{hangUp}, 5, false},
		{"a verdict, after 503", verify, []int{503, 200}, 2, true},
		{"a verdict, after a broken connection", verify, []int{hangUp, 200}, 2, true},
		{"a PUT, after a broken connection", put, []int{hangUp, 200}, 2, true},
		{"a DELETE, after 503", remove, []int{503, 200}, 2, true},
		{"a POST, after 429: nothing was done", create, []int{429, 200}, 2, true},
		{"a POST, after 503: something may have been done", create, []int{503, 200}, 1, false},
		{"a POST, after a broken connection", create, []int{hangUp, 200}, 1, false},
		{"a PATCH, after 503", patch, []int{503, 200}, 1, false},
		{"a failure is no reason", read, []int{500, 200}, 1, false},
		{"a refusal is no reason", read, []int{401, 200}, 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var attempts atomic.Int64 // a handler that hangs up may still be at it when the client gives up
			c, waits := start(t, func(w http.ResponseWriter, _ *http.Request) {
				status := tt.statuses[min(int(attempts.Add(1)), len(tt.statuses))-1]
				if status == hangUp {
					panic(http.ErrAbortHandler)
				}
				w.WriteHeader(status)
				if status == 200 {
					fmt.Fprint(w, `{"image":"a/b","decision":"deny","allowed":false}`)
				}
			})
			err := tt.do(t.Context(), c)
			if (err == nil) != tt.works {
				t.Errorf("%v", err)
			}
			n := int(attempts.Load())
			// net/http itself may try once more on a connection that it had kept.
			if n != tt.attempts && (tt.statuses[0] != hangUp || n < tt.attempts) || len(*waits) > tt.attempts-1 {
				t.Errorf("%d attempts, want %d; waits %v", n, tt.attempts, *waits)
			}
			low, high := 125*time.Millisecond, 250*time.Millisecond
			for i, w := range *waits {
				if w < low || w > high {
					t.Errorf("wait %d is %s, want %s to %s", i, w, low, high)
				}
				low, high = 2*low, 2*high
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	for _, tt := range []struct {
		name, header string
		least, most  time.Duration // of the wait
		attempts     int
	}{
		{"seconds", "7", 7 * time.Second, 7 * time.Second, 2},
		{"a date", now.Add(9 * time.Second).Format(http.TimeFormat), 9 * time.Second, 9 * time.Second, 2},
		{"a date that was", now.Add(-time.Hour).Format(http.TimeFormat), 125 * time.Millisecond, 250 * time.Millisecond, 2},
		{"less than the back-off", "0", 125 * time.Millisecond, 250 * time.Millisecond, 2},
		{"nonsense", "soon", 125 * time.Millisecond, 250 * time.Millisecond, 2},
		{"negative", "-5", 125 * time.Millisecond, 250 * time.Millisecond, 2},
		{"too long to wait for", "61", 0, 0, 1},
		{"absurdly long", "99999999999999999999", 125 * time.Millisecond, 250 * time.Millisecond, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := 0
			c, waits := start(t, func(w http.ResponseWriter, _ *http.Request) {
				if n++; n == 1 {
					w.Header().Set("Retry-After", tt.header)
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				fmt.Fprint(w, `{}`)
			})
			_, err := c.Whoami(t.Context())
			if n != tt.attempts || (err == nil) != (tt.attempts == 2) {
				t.Fatalf("%d attempts: %v", n, err)
			}
			for _, w := range *waits {
				if w < tt.least || w > tt.most {
					t.Errorf("waited %s, want %s to %s", w, tt.least, tt.most)
				}
			}
		})
	}
}

// A wait that ends after the context does is not begun; the answer that there is
// counts. A context that ends while waiting ends the wait.
func TestRetriesEndWithTheContext(t *testing.T) {
	n := 0
	serve := func(w http.ResponseWriter, _ *http.Request) {
		n++
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	srv := httptest.NewServer(http.HandlerFunc(serve))
	defer srv.Close()
	c, err := client.New(client.Config{BaseURL: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := c.Whoami(ctx); !client.IsUnavailable(err) || n != 1 {
		t.Errorf("%d attempts: %v", n, err)
	}

	leaving, leave := context.WithCancel(t.Context())
	time.AfterFunc(3*time.Second, leave) // while it waits to try again
	if _, err := c.Whoami(leaving); !client.IsUnavailable(err) || n != 2 {
		t.Errorf("%d attempts: %v", n, err)
	}
	if _, err := c.Whoami(leaving); !errors.Is(err, context.Canceled) || n != 2 {
		t.Errorf("%d attempts: %v", n, err)
	}
}

func TestNoRetries(t *testing.T) {
	n := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n++
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer srv.Close()
	c, err := client.New(client.Config{BaseURL: srv.URL, MaxRetries: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Whoami(t.Context()); !client.IsUnavailable(err) || n != 1 {
		t.Errorf("%d attempts: %v", n, err)
	}
}

// The clock's own wait, for once.
func TestWaits(t *testing.T) {
	n := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n++; n == 1 {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		fmt.Fprint(w, `{"name":"ci"}`)
	}))
	defer srv.Close()
	c, err := client.New(client.Config{BaseURL: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	who, err := c.Whoami(t.Context())
	if err != nil || who.Name != "ci" || n != 2 {
		t.Errorf("%d attempts: %v", n, err)
	}
}

// A certificate that is not trusted is not asked again.
func TestCertificates(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv.Config.ErrorLog = quiet()
	defer srv.Close()
	waits := 0
	own := &http.Transport{}
	defer own.CloseIdleConnections()
	c, err := client.New(client.Config{
		BaseURL: srv.URL, HTTPClient: &http.Client{Transport: own},
		Sleep: func(context.Context, time.Duration) error { waits++; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Whoami(t.Context()); err == nil || waits != 0 {
		t.Errorf("%v after %d waits", err, waits)
	}
	if diff := cmp.Diff("client of "+srv.URL, c.String()); diff != "" {
		t.Error(diff)
	}
}
