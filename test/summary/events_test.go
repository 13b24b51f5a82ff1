package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const testModule = "example.com/m"

// collect reads events as go test writes them.
func collect(t *testing.T, events string) (*results, string) {
	t.Helper()
	var out strings.Builder
	res := newResults()
	c := newCollector(testModule, &out, res)
	if err := c.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	c.finish()
	return res, out.String()
}

func TestCollector(t *testing.T) {
	tests := []struct {
		name    string
		events  string
		want    results
		printed []string // in the output
		hidden  []string // not in the output
	}{
		{
			name: "a pass says little",
			events: `
{"Action":"start","Package":"example.com/m/internal/a"}
{"Action":"run","Package":"example.com/m/internal/a","Test":"TestOne"}
{"Action":"output","Package":"example.com/m/internal/a","Test":"TestOne","Output":"chatter\n"}
{"Action":"attr","Package":"example.com/m/internal/a","Test":"TestOne","Key":"signet.part","Value":"corpus"}
{"Action":"pass","Package":"example.com/m/internal/a","Test":"TestOne","Elapsed":0.1}
{"Action":"output","Package":"example.com/m/internal/a","Output":"PASS\n"}
{"Action":"pass","Package":"example.com/m/internal/a","Elapsed":0.25}
`,
			want:    results{passed: 1, used: map[string]bool{"corpus": true}},
			printed: []string{"ok    internal/a", "1 tests", "250ms"},
			hidden:  []string{"chatter", "PASS"},
		},
		{
			name: "a failure says all",
			events: `
{"Action":"run","Package":"example.com/m/a","Test":"TestOne"}
{"Action":"output","Package":"example.com/m/a","Test":"TestOne","Output":"    a_test.go:3: want 1\n"}
{"Action":"output","Package":"example.com/m/a","Test":"TestOne","Output":"--- FAIL: TestOne (0.00s)\n"}
{"Action":"fail","Package":"example.com/m/a","Test":"TestOne"}
{"Action":"run","Package":"example.com/m/a","Test":"TestTwo"}
{"Action":"pass","Package":"example.com/m/a","Test":"TestTwo"}
{"Action":"output","Package":"example.com/m/a","Output":"FAIL\n"}
{"Action":"fail","Package":"example.com/m/a"}
`,
			want:    results{passed: 1, failed: []string{"a TestOne"}},
			printed: []string{"FAIL  a TestOne", "a_test.go:3: want 1", "1 of 2 tests failed"},
		},
		{
			name: "a skip has its reason",
			events: `
{"Action":"run","Package":"example.com/m/a","Test":"TestOne"}
{"Action":"output","Package":"example.com/m/a","Test":"TestOne","Output":"=== RUN   TestOne\n"}
{"Action":"output","Package":"example.com/m/a","Test":"TestOne","Output":"    a_test.go:3: some log\n"}
{"Action":"output","Package":"example.com/m/a","Test":"TestOne","Output":"    require.go:71: needs corpus: set SIGNET_CORPUS\n"}
{"Action":"output","Package":"example.com/m/a","Test":"TestOne","Output":"        on two lines\n"}
{"Action":"output","Package":"example.com/m/a","Test":"TestOne","Output":"--- SKIP: TestOne (0.00s)\n"}
{"Action":"skip","Package":"example.com/m/a","Test":"TestOne"}
{"Action":"pass","Package":"example.com/m/a"}
`,
			want: results{skipped: []skip{{"a TestOne", "needs corpus: set SIGNET_CORPUS\non two lines"}}},
		},
		{
			name: "a build that fails is a failure, printed once",
			events: `
{"ImportPath":"example.com/m/a","Action":"build-output","Output":"a/a.go:3:1: undefined: b\n"}
{"ImportPath":"example.com/m/a","Action":"build-fail"}
{"Action":"start","Package":"example.com/m/a"}
{"Action":"output","Package":"example.com/m/a","Output":"FAIL\texample.com/m/a [build failed]\n"}
{"Action":"fail","Package":"example.com/m/a","FailedBuild":"example.com/m/a"}
{"Action":"fail","Package":"example.com/m/c","FailedBuild":"example.com/m/a"}
{"ImportPath":"example.com/m/d","Action":"build-output","Output":"d/d.go:3:1: also wrong\n"}
`,
			want:    results{failed: []string{"a", "c"}},
			printed: []string{"FAIL  a\n      a/a.go:3:1: undefined: b", "d/d.go:3:1: also wrong"},
		},
		{
			name: "a test that never ended failed",
			events: `
{"Action":"run","Package":"example.com/m/a","Test":"TestOne"}
{"Action":"output","Package":"example.com/m/a","Test":"TestOne","Output":"panic: boom\n"}
{"Action":"fail","Package":"example.com/m/a"}
`,
			want:    results{failed: []string{"a TestOne (did not end)"}},
			printed: []string{"panic: boom"},
		},
		{
			name:   "a package that never ended failed",
			events: `{"Action":"start","Package":"example.com/m/a"}`,
			// start alone makes no package run; an event of the package does.
			want: results{failed: []string{"a"}},
		},
		{
			name: "a package whose tests passed and that fails all the same",
			events: `
{"Action":"run","Package":"example.com/m/a","Test":"TestOne"}
{"Action":"pass","Package":"example.com/m/a","Test":"TestOne"}
{"Action":"output","Package":"example.com/m/a","Output":"goleak: found a goroutine\n"}
{"Action":"fail","Package":"example.com/m/a"}
`,
			want:    results{passed: 1, failed: []string{"a"}},
			printed: []string{"goleak: found a goroutine"},
		},
		{
			name: "a package without tests and a line that is no event",
			events: `
warning: something
{"Action":"output","Package":"example.com/m/a","Output":"?   \ta\t[no test files]\n"}
{"Action":"skip","Package":"example.com/m/a"}
`,
			want:    results{},
			printed: []string{"warning: something"},
			hidden:  []string{"no test files"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, out := collect(t, tt.events)
			if diff := cmp.Diff(tt.want, *got, cmp.AllowUnexported(results{}, skip{}, packageCoverage{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
			for _, text := range tt.printed {
				if strings.Count(out, text) != 1 {
					t.Errorf("output does not have %q once:\n%s", text, out)
				}
			}
			for _, text := range tt.hidden {
				if strings.Contains(out, text) {
					t.Errorf("output has %q:\n%s", text, out)
				}
			}
		})
	}
}
