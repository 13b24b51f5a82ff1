// Package early sets how often garbage is collected before the other packages
// are initialized, which is the one thing that main cannot do in time: what they
// allocate is more than the 4 MB at which the first collection begins, and that
// one took a tenth of the time of `signet verify`.
//
// It works because packages whose imports are ready are initialized in the order
// of their paths (the Go specification, "Program initialization"), and because
// this one imports next to nothing.
package early

import (
	"os"
	"runtime/debug"
)

// Percent is what was set, 0 where nothing was.
var Percent = collectRarely(os.Args, os.Getenv)

// collectRarely is for commands that answer once: they are over before it would
// pay to collect their garbage. What is not used any more is collected when it is
// 16 MB, or four times what is in use. GOGC in the environment wins.
func collectRarely(args []string, env func(string) string) int {
	if len(args) < 2 || args[1] == "serve" || env("GOGC") != "" {
		return 0
	}
	const percent = 400
	debug.SetGCPercent(percent)
	return percent
}
