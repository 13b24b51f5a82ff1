package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/testkit/require"
)

// The program runs, at a size at which it proves nothing but that.
func TestRun(t *testing.T) {
	small := size{verdicts: 3000, signers: 200, watched: 500, tokens: 60, reads: 2, asks: 1}
	runs := func(t *testing.T, kind string) {
		var out bytes.Buffer
		if err := run(t.Context(), &out, kind, small, limits{list: time.Hour, page: time.Hour}); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		// One verdict more, which the server is asked for.
		for _, want := range []string{
			"all (3001)", "signer, of many verdicts (300)", "digests of a signer, many", "watched, all due, another state (500)", "last",
			"signers, by -expires_at, a later page", "results, the chart", "audit, of one signer", "results, and the chart",
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("the table has no %q:\n%s", want, out.String())
			}
		}
	}
	t.Run("sqlite", func(t *testing.T) {
		require.Chromium(t)
		runs(t, "sqlite")
	})
	t.Run("postgres", func(t *testing.T) {
		require.Postgres(t)
		require.Chromium(t)
		runs(t, "postgres")
	})
}

// What takes too long fails, in both tables.
func TestTooSlow(t *testing.T) {
	require.Chromium(t)
	var out bytes.Buffer
	err := run(t.Context(), &out, "sqlite", size{verdicts: 2000, signers: 200, watched: 100, tokens: 1, reads: 1, asks: 1}, limits{list: time.Nanosecond, page: time.Nanosecond})
	for _, want := range []string{"pages took longer than 1ns", "pages of the server took longer than 1ns", "in Chromium"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q: %v\n%s", want, err, out.String())
		}
	}
}
