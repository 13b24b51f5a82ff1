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
	"runtime"
	"runtime/debug"
)

// Percent is what was set, 0 where nothing was.
var Percent = collectRarely(os.Args, os.Getenv)

// collectRarely is for commands that answer once: they are over before it would
// pay to collect their garbage. The first 16 MB are not looked at. A command that
// needs more has a lot to do, such as evidence of many megabytes, and goes on like
// any other program: else the garbage of one piece would lie on that of the next.
// GOGC in the environment wins.
func collectRarely(args []string, env func(string) string) int {
	if len(args) < 2 || args[1] == "serve" || env("GOGC") != "" {
		return 0
	}
	const percent, usual = 400, 100
	debug.SetGCPercent(percent)
	afterCollection(func() { debug.SetGCPercent(usual) })
	return percent
}

// afterCollection calls f when garbage was collected for the first time.
func afterCollection(f func()) {
	garbage := new([1]*int) // with a pointer in it, or it could be kept along with something else
	runtime.AddCleanup(garbage, func(struct{}) { f() }, struct{}{})
}
