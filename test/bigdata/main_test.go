package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// The program runs, at a size at which it proves nothing but that.
func TestRun(t *testing.T) {
	var out bytes.Buffer
	small := size{verdicts: 3000, signers: 100, watched: 500, reads: 2}
	if err := run(t.Context(), &out, small, time.Hour); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"all (3000)", "signer, of many verdicts (300)", "digests of a signer, many", "watched, all due, another state (500)", "last"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table has no %q:\n%s", want, out.String())
		}
	}
	if err := run(t.Context(), &out, small, time.Nanosecond); err == nil || !strings.Contains(err.Error(), "took longer than 1ns") {
		t.Errorf("pages that take too long: %v", err)
	}
}
