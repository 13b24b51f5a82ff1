package early

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestCollectRarely(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	for _, tt := range []struct {
		name string
		args []string
		gogc string
		want int
	}{
		{"a command that answers once", []string{"signet", "verify", "x"}, "", 400},
		{"a server", []string{"signet", "serve"}, "", 0},
		{"help", []string{"signet"}, "", 0},
		{"the operator's own choice", []string{"signet", "verify"}, "50", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			debug.SetGCPercent(100)
			if got := collectRarely(tt.args, func(string) string { return tt.gogc }); got != tt.want {
				t.Errorf("set to %d, want %d", got, tt.want)
			}
			want := 100
			if tt.want != 0 {
				want = tt.want
			}
			if got := debug.SetGCPercent(100); got != want {
				t.Errorf("the collector has %d, want %d", got, want)
			}
		})
	}
}

// Whoever outlives one collection collects as usual.
func TestRarelyOnlyOnce(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	collectRarely([]string{"signet", "verify", "x"}, func(string) string { return "" })
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		runtime.GC()
		percent := debug.SetGCPercent(400)
		if percent == 100 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("collections are still at %d %%", percent)
		}
	}
}
