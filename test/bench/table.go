package bench

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Row is one line of the table.
type Row struct {
	// Name says what is measured against what.
	Name string
	// Figure is what was measured, in Unit: "" for a ratio, else "s" or "MB".
	Figure float64
	Unit   string
	// Target is what Figure should be at most, or with AtLeast at least.
	Target  float64
	AtLeast bool
	// Floor gives both sides of the ratio in words: what was measured of each.
	Floor string
}

// Passes says whether the figure reaches its target, as it is shown: rounded to
// two places.
func (r Row) Passes() bool {
	shown := float64(int64(r.Figure*100+0.5)) / 100
	if r.AtLeast {
		return shown >= r.Target
	}
	return shown <= r.Target
}

func (r Row) cells() []string {
	sign, outcome := "≤", "pass"
	if r.AtLeast {
		sign = "≥"
	}
	if !r.Passes() {
		outcome = "**miss**"
	}
	unit := ""
	if r.Unit != "" {
		unit = " " + r.Unit
	}
	return []string{r.Name, fmt.Sprintf("%.2f%s", r.Figure, unit), fmt.Sprintf("%s %.2f%s", sign, r.Target, unit), outcome, r.Floor}
}

func headings() []string { return []string{"", "measured", "target", "", "figures behind it"} }

// Text is the table for a terminal.
func Text(rows []Row) string {
	lines := [][]string{headings()}
	for _, r := range rows {
		lines = append(lines, r.cells())
	}
	widths := make([]int, len(lines[0]))
	for _, l := range lines {
		for i, cell := range l {
			l[i] = plain(cell)
			widths[i] = max(widths[i], utf8.RuneCountInString(l[i]))
		}
	}
	var b strings.Builder
	for _, l := range lines {
		var line strings.Builder
		for i, cell := range l {
			line.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// plain is a cell without Markdown.
func plain(cell string) string { return strings.NewReplacer("*", "", "`", "").Replace(cell) }

// Markdown is the table for docs/benchmarks.md, under a line that says when and
// where it was measured.
func Markdown(where string, rows []Row) string {
	var b strings.Builder
	b.WriteString(where + "\n\n")
	line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	line(headings())
	b.WriteString(strings.Repeat("|---", len(headings())) + "|\n")
	for _, r := range rows {
		line(r.cells())
	}
	return b.String()
}

// Marks around what a run writes into docs/benchmarks.md.
const (
	tableBegins = "<!-- written by `go test -run='^$' -bench=. ./test/bench/ -update` -->\n"
	tableEnds   = "<!-- end of what is written -->\n"
)

// Replace puts a table between the marks of a document.
func Replace(document, table string) (string, error) {
	before, rest, ok := strings.Cut(document, tableBegins)
	_, after, closed := strings.Cut(rest, tableEnds)
	if !ok || !closed {
		return "", fmt.Errorf("the document lacks the lines %q and %q, between which the table belongs", strings.TrimSpace(tableBegins), strings.TrimSpace(tableEnds))
	}
	return before + tableBegins + table + tableEnds + after, nil
}

// Median of samples, which it sorts; 0 for none.
func Median(samples []float64) float64 {
	n := len(samples)
	if n == 0 {
		return 0
	}
	slices.Sort(samples)
	if n%2 == 1 {
		return samples[n/2]
	}
	return (samples[n/2-1] + samples[n/2]) / 2
}
