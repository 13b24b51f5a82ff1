// Package bench measures Signet against the floor under each of its jobs, in one
// run: `make bench`. What counts is the ratio, because both sides take turns on
// the same machine at the same time; how long either takes is shown beside it.
//
//	go test -run='^$' -bench=. ./test/bench/            the table, at the end
//	go test -run='^$' -bench=. ./test/bench/ -update    … and into docs/benchmarks.md
//
// A row that misses its target is shown as a miss and fails nothing: a machine
// that does other things as well would make it a matter of luck. What does not
// depend on luck, such as the number of requests, is a test.
//
// The files: process_test.go starts whole programs, memory_test.go asks a server
// for verdicts that it has in memory, cold_test.go decides from nothing in this
// process, serve_test.go starts servers. child_test.go is what runs in processes
// of its own, so that its work is not counted as anybody else's.
package bench
