package bench

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	document = "../../docs/benchmarks.md"
	samples  = "../testdata/samples"
)

var update = flag.Bool("update", false, "write the table into docs/benchmarks.md")

// planned are the rows of the table, in order: what is measured and the target.
func planned() []Row {
	rows := []Row{rowKeyless, rowKey, rowMemory, rowDecisions, rowPostgres, rowCold, rowColdV1}
	for _, s := range amongSigners {
		rows = append(rows, s.row)
	}
	return append(rows, rowLargeMemory, rowLargeRatio, rowPreview, rowPreviewMemory, rowReady, rowIdle)
}

var (
	rowKeyless       = Row{Name: "`signet verify` / `cosign verify`, keyless image, wall", Target: 0.60}
	rowKey           = Row{Name: "`signet verify` / `cosign verify`, key-signed image, wall", Target: 0.60}
	rowMemory        = Row{Name: "verdict from memory / bare Echo handler, requests/s", Target: 0.80, AtLeast: true}
	rowDecisions     = Row{Name: "verdict from memory, decision log to a file / bare Echo handler, requests/s", Target: 0.80, AtLeast: true}
	rowPostgres      = Row{Name: "verdict from memory, store in PostgreSQL / bare Echo handler, requests/s", Target: 0.50, AtLeast: true}
	rowCold          = Row{Name: "cold keyless verdict (Rekor v2) / sigstore-go alone, CPU", Target: 2.50}
	rowColdV1        = Row{Name: "cold keyless verdict (Rekor v1) / sigstore-go alone, CPU", Target: 2.50}
	rowReady         = Row{Name: "`signet serve`, from start to ready", Unit: "s", Target: 0.50}
	rowIdle          = Row{Name: "`signet serve`, idle memory (RSS)", Unit: "MB", Target: 80}
	rowLargeMemory   = Row{Name: "`signet verify`, eleven attested SBOMs of 50 MB, peak memory (RSS)", Unit: "MB", Target: 512}
	rowLargeRatio    = Row{Name: "eleven attested SBOMs of 50 MB / one, peak memory (RSS)", Target: 1.15}
	rowPreview       = Row{Name: "preview of a policy / prepared policy in a loop, verdicts/s", Target: 0.70, AtLeast: true}
	rowPreviewMemory = Row{Name: "preview of 14,000 verdicts / of 2,000, peak memory (RSS)", Target: 1.30}
)

// board collects the rows that were measured in this run.
var board struct {
	sync.Mutex
	rows map[string]Row
}

// measured puts a row on the board; the last figure of a name counts.
func measured(b *testing.B, r Row, figure float64, unit, floor string, args ...any) {
	b.Helper()
	r.Figure, r.Floor = figure, fmt.Sprintf(floor, args...)
	b.ReportMetric(figure, unit)
	b.ReportMetric(0, "ns/op") // of no meaning: an operation is a whole measurement
	board.Lock()
	defer board.Unlock()
	if board.rows == nil {
		board.rows = map[string]Row{}
	}
	board.rows[r.Name] = r
}

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(child())
	}
	code := m.Run()
	if err := finish(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	for _, remove := range leftovers {
		remove()
	}
	os.Exit(code)
}

// finish prints the table of what was measured, and keeps it when asked to.
func finish() error {
	var rows []Row
	var missing []string
	for _, r := range planned() {
		if done, ok := board.rows[r.Name]; ok {
			rows = append(rows, done)
		} else {
			missing = append(missing, r.Name)
		}
	}
	if len(rows) > 0 {
		fmt.Printf("\n%s\n\n%s\n", where(), Text(rows))
	}
	switch {
	case !*update:
		return nil
	case len(missing) > 0:
		return fmt.Errorf("%s is only written from a whole run; not measured: %s", document, strings.Join(missing, "; "))
	}
	old, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	body, err := Replace(string(old), Markdown(where(), rows))
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	return os.WriteFile(document, []byte(body), 0o644)
}

// where says when, of what and on what machine the run was.
func where() string {
	commit := "an unknown commit"
	if out, err := exec.Command("git", "describe", "--always", "--dirty=, with changes", "--abbrev=12", "--exclude=*").Output(); err == nil {
		commit = "commit " + strings.TrimSpace(string(out))
	}
	return fmt.Sprintf("Measured on %s at %s: %s, %s/%s, %d cores%s.",
		time.Now().UTC().Format("2 January 2006"), commit, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), processor())
}

// processor names the CPU where the kernel tells it.
func processor() string {
	body, _ := os.ReadFile("/proc/cpuinfo") // absent elsewhere than on Linux: not named
	for line := range strings.Lines(string(body)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return " (" + strings.TrimSpace(value) + ")"
		}
	}
	return ""
}

// leftovers are removed when everything is done: they outlive one benchmark.
var leftovers []func()

// signet is the program as `make build` makes it, built once.
var signet = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("SIGNET_BENCH_BINARY"); path != "" { // to compare two builds
		return path, nil
	}
	dir, err := os.MkdirTemp("", "signet-bench-")
	if err != nil {
		return "", err
	}
	leftovers = append(leftovers, func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "signet")
	if out, err := exec.Command("go", "build", "-o", path, "../../cmd/signet").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building signet: %w\n%s", err, out)
	}
	return path, nil
})

func builtSignet(b *testing.B) string {
	b.Helper()
	path, err := signet()
	if err != nil {
		b.Fatal(err)
	}
	return path
}
