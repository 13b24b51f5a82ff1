package bench

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRowPasses(t *testing.T) {
	for _, tt := range []struct {
		name string
		row  Row
		want bool
	}{
		{"below the most", Row{Figure: 0.59, Target: 0.60}, true},
		{"at the most as it is shown", Row{Figure: 0.604, Target: 0.60}, true},
		{"above the most", Row{Figure: 0.606, Target: 0.60}, false},
		{"above the least", Row{Figure: 0.81, Target: 0.80, AtLeast: true}, true},
		{"at the least as it is shown", Row{Figure: 0.796, Target: 0.80, AtLeast: true}, true},
		{"below the least", Row{Figure: 0.794, Target: 0.80, AtLeast: true}, false},
	} {
		if got := tt.row.Passes(); got != tt.want {
			t.Errorf("%s: passes is %v, want %v", tt.name, got, tt.want)
		}
	}
}

func someRows() []Row {
	return []Row{
		{Name: "a `job`", Figure: 0.5, Target: 0.6, Floor: "1 ms of 2 ms"},
		{Name: "ready", Figure: 0.7, Unit: "s", Target: 0.5, Floor: "slow"},
	}
}

func TestText(t *testing.T) {
	want := "" +
		"       measured  target          figures behind it\n" +
		"a job  0.50      ≤ 0.60    pass  1 ms of 2 ms\n" +
		"ready  0.70 s    ≤ 0.50 s  miss  slow\n"
	if diff := cmp.Diff(want, Text(someRows())); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestReplace(t *testing.T) {
	table := Markdown("Measured here.", someRows())
	for _, row := range []string{"| a `job` | 0.50 | ≤ 0.60 | pass | 1 ms of 2 ms |\n", "| ready | 0.70 s | ≤ 0.50 s | **miss** | slow |\n"} {
		if !strings.Contains(table, row) {
			t.Errorf("no row %q in\n%s", row, table)
		}
	}
	got, err := Replace("before\n"+tableBegins+"old\n"+tableEnds+"after\n", table)
	if err != nil {
		t.Fatal(err)
	}
	if want := "before\n" + tableBegins + table + tableEnds + "after\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, broken := range []string{"", tableBegins, tableEnds, tableEnds + tableBegins} {
		if _, err := Replace(broken, table); err == nil {
			t.Errorf("a document without a place for the table was accepted: %q", broken)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 4}, 4}, {[]float64{8, 1, 2, 4}, 3}} {
		if got := Median(tt.in); got != tt.want {
			t.Errorf("median of %v is %v, want %v", tt.in, got, tt.want)
		}
	}
}

// The document shows every row that a run measures, with the targets of today.
func TestDocument(t *testing.T) {
	body, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(body), tableBegins)
	table, _, ok := strings.Cut(rest, tableEnds)
	if !ok {
		t.Fatalf("%s has no place for the table", document)
	}
	for _, r := range planned() {
		cells := r.cells()
		found := false
		for line := range strings.Lines(table) {
			found = found || strings.HasPrefix(line, "| "+r.Name+" | ") && strings.Contains(line, " | "+cells[2]+" | ")
		}
		if !found {
			t.Errorf("%s has no row %q with the target %s: run the benchmarks with -update", document, r.Name, cells[2])
		}
	}
}
