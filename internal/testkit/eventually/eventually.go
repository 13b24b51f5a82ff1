// Package eventually is how a test waits for what another goroutine or process does in its own
// time.
package eventually

import (
	"testing"
	"time"
)

const (
	// Patience is how long a test waits. It is for machines with much else to do: where
	// all is well, nothing takes a second.
	Patience = 2 * time.Minute
	often    = 5 * time.Millisecond
)

// Holds returns as soon as ok does, and fails the test when it never does. What says,
// in words, what is waited for.
func Holds(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !Comes(often, ok) {
		t.Fatalf("after %s, still not: %s", Patience, what)
	}
}

// Comes is [Holds] for what costs something to ask, or has more to say when it never
// comes: it asks every so often, and says whether ok came to hold.
func Comes(every time.Duration, ok func() bool) bool {
	for end := time.Now().Add(Patience); !ok(); time.Sleep(every) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}
