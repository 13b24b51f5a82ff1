// Command summary runs the tests of the module and says at the end what matters about them: what failed, in full; what was
// skipped, and why; how much of internal/ and of the Rego rules they reach; and `N passed, N failed, N skipped`, alone on the
// last line. `make test` is this command.
//
//	go run ./test/summary -opa PATH [-only PATTERN …] [-- FLAGS OF GO TEST]
//
// It exits 1 when a test or a build failed, when no test ran, when a skip gave no reason, when something that SIGNET_REQUIRE
// names was not there or was used by no test, and when coverage is below its limit; 64 when it was called wrongly.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/signet-policy/signet/internal/testkit/require"
)

// Exit codes.
const (
	exitPassed = 0
	exitFailed = 1
	exitUsage  = 64
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// config is what the flags say. Paths are from the working directory, which is the folder of the module.
type config struct {
	packages     string   // what go test is given
	profile      string   // where the coverage profile is written
	minimum      float64  // least coverage of internal/, in percent; 0: not measured
	opa          string   // the opa program; "": no Rego tests
	rego         string   // the folder of the rules, covered in full by the tests beside them
	capabilities string   // the file of builtins that the rules may use
	extra        []string // further flags of go test
	required     []string // the parts that SIGNET_REQUIRE names
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitPassed
	case err != nil:
		fmt.Fprintf(stderr, "summary: %v\n", err)
		return exitUsage
	}
	res := newResults()
	runGo(ctx, cfg, res, stdout, stderr)
	if cfg.opa != "" && ctx.Err() == nil {
		runRego(ctx, cfg, res, stdout, stderr)
	}
	if err := ctx.Err(); err != nil {
		res.problem("stopped: %v", err)
	}
	res.check(cfg.required)
	res.print(stdout)
	if res.good() {
		return exitPassed
	}
	return exitFailed
}

func parse(args []string, stderr io.Writer) (config, error) {
	var cfg config
	flags := flag.NewFlagSet("summary", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&cfg.packages, "only", "./...", "the `packages` to test; with this set, coverage is not judged")
	flags.StringVar(&cfg.profile, "profile", filepath.Join("bin", "cover.out"), "the `file` that the coverage profile is written to")
	flags.Float64Var(&cfg.minimum, "minimum", 80, "least coverage of internal/, in `percent`")
	flags.StringVar(&cfg.opa, "opa", "", "the opa `program`; without it no Rego test runs")
	flags.StringVar(&cfg.rego, "rego", filepath.Join("rego", "signing"), "the `folder` of the rules")
	flags.StringVar(&cfg.capabilities, "capabilities", filepath.Join("rego", "capabilities.json"), "the `file` of builtins that the rules may use")
	if err := flags.Parse(args); err != nil {
		return config{}, err
	}
	cfg.extra = flags.Args()
	for _, arg := range cfg.extra {
		if !strings.HasPrefix(arg, "-") {
			return config{}, fmt.Errorf("%q: only flags of go test may follow --; the packages are named by -only", arg)
		}
	}
	if cfg.packages != "./..." {
		cfg.minimum = 0
	}
	required, err := require.Parse(os.Getenv(require.Variable))
	if err != nil {
		return config{}, err
	}
	cfg.required = required
	return cfg, nil
}
