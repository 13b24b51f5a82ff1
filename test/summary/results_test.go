package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCheck(t *testing.T) {
	tests := []struct {
		name     string
		res      results
		required []string
		want     []string // beginnings of the problems
	}{
		{name: "all well", res: results{passed: 3}},
		{name: "skips that nothing requires", res: results{passed: 3, skipped: []skip{{"a TestOne", "needs corpus: set it"}, {"a TestTwo", "needs Linux"}}}},
		{name: "no test", res: results{}, want: []string{"no test ran"}},
		{name: "only skips", res: results{skipped: []skip{{"a TestOne", "needs corpus: set it"}}}, want: []string{"no test ran"}},
		{
			name: "skip without reason",
			res:  results{passed: 3, skipped: []skip{{"a TestOne", ""}}},
			want: []string{"a TestOne was skipped without a reason"},
		},
		{
			name:     "skip of what is required",
			res:      results{passed: 3, skipped: []skip{{"a TestOne", "needs corpus: set it"}}},
			required: []string{"corpus"},
			want:     []string{"a TestOne was skipped, and SIGNET_REQUIRE names corpus"},
		},
		{
			name:     "required and never used",
			res:      results{passed: 3, used: map[string]bool{"corpus": true}},
			required: []string{"corpus", "cosign"},
			want:     []string{"SIGNET_REQUIRE names cosign, and no test used it"},
		},
		{
			name: "coverage just below",
			res:  results{passed: 3, minimum: 80, total: packageCoverage{covered: 7999, statements: 10000}},
			want: []string{"the tests reach  79.9 % of 10000 statements of internal/"},
		},
		{name: "coverage just enough", res: results{passed: 3, minimum: 80, total: packageCoverage{covered: 8000, statements: 10000}}},
		{name: "nothing measured", res: results{passed: 3, minimum: 80}, want: []string{"the tests reach   0.0 %"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.res.check(tt.required)
			if len(tt.res.problems) != len(tt.want) {
				t.Fatalf("problems %q, want %q", tt.res.problems, tt.want)
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(tt.res.problems[i], want) {
					t.Errorf("problem %q, want %q", tt.res.problems[i], want)
				}
			}
			if good := tt.res.good(); good != (len(tt.want) == 0) {
				t.Errorf("good() = %v", good)
			}
		})
	}
}

func TestPrint(t *testing.T) {
	res := results{
		passed:   2,
		failed:   []string{"internal/b TestB"},
		skipped:  []skip{{"a TestOne", "needs corpus: set SIGNET_CORPUS"}, {"a TestTwo", ""}, {"b TestOne", "needs corpus: set SIGNET_CORPUS"}},
		problems: []string{"a TestTwo was skipped without a reason"},
		coverage: []packageCoverage{{"internal/b", 2, 3}},
		total:    packageCoverage{"total", 2, 3},
	}
	want := `
Coverage of internal/, without test support and generated files:
  internal/b                                66.6 % of 3 statements
  total                                     66.6 % of 3 statements

Skipped:
  (no reason given)
      a TestTwo
  needs corpus: set SIGNET_CORPUS
      a TestOne
      b TestOne

Failed:
  internal/b TestB

Not good enough:
  a TestTwo was skipped without a reason

2 passed, 1 failed, 3 skipped
`
	var got strings.Builder
	res.print(&got)
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
