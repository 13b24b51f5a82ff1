// Signet decides whether a container image may run: it verifies signatures and
// attestations, hands the proven facts to a Rego policy, and answers allow, deny
// or unknown with reasons. This is the only package that knows concrete types;
// it connects the rooms under internal/.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	_ "github.com/signet-policy/signet/cmd/signet/early" // before everything else is initialized
)

// Exit codes. The first three follow the verdict.
const (
	exitAllow   = 0
	exitDeny    = 1
	exitUnknown = 2
	exitUsage   = 64 // EX_USAGE of sysexits.h
	exitFailure = 70 // EX_SOFTWARE
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// commands is the whole command line.
type commands struct {
	Verify   verifyCmd   `cmd:"" help:"Verify images, or a file with --bundle, and give a verdict."`
	Facts    factsCmd    `cmd:"" help:"Print the input document of an image: everything that verification proved."`
	Serve    serveCmd    `cmd:"" help:"Answer verdicts over HTTP."`
	Plugin   pluginCmd   `cmd:"" help:"Answer an MCP gateway that starts its plugins itself."`
	Setup    setupCmd    `cmd:"" help:"Get the first administrator's token of a server."`
	Token    tokenCmd    `cmd:"" help:"API tokens."`
	Signers  signersCmd  `cmd:"" help:"Registered trusted signers."`
	Policies policiesCmd `cmd:"" help:"Signing policies in force."`
	Policy   policyCmd   `cmd:"" help:"Rules of one's own: write, check, test and publish them; and what policies were."`
	Bundles  bundlesCmd  `cmd:"" help:"Policy bundles that servers decide by."`
	Trust    trustCmd    `cmd:"" help:"Trust roots."`
	Verdicts verdictsCmd `cmd:"" aliases:"verdict" help:"Verdicts of the past."`
	Attest   attestCmd   `cmd:"" help:"Signet's own word about verdicts: SLSA verification summaries."`
	Watch    watchCmd    `cmd:"" help:"Images that are decided again without being asked for."`
	Events   eventsCmd   `cmd:"" help:"What happened to watched images."`
	Gateways gatewaysCmd `cmd:"" help:"Images behind the gateways of an MCP gateway."`
	Webhooks webhooksCmd `cmd:"" help:"Where events are sent."`
	Audit    auditCmd    `cmd:"" help:"Who changed what is in force, and when."`
	Secret   secretCmd   `cmd:"" help:"The secret that keys are derived from."`
	Whoami   whoamiCmd   `cmd:"" help:"Who a server takes you for."`
	Config   configCmd   `cmd:"" help:"The configuration."`
	Migrate  migrateCmd  `cmd:"" help:"The store's schema."`
	Backup   backupCmd   `cmd:"" help:"Write everything that the store has into one file."`
	Restore  restoreCmd  `cmd:"" help:"Read a backup into an empty store."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

// streams is where a command writes: results to out, all else to err.
type streams struct {
	out, err io.Writer
}

// exit is an error that carries an exit code. An empty message prints nothing:
// the command has said it all.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

// usage is a mistake of the caller: a bad flag, a file that cannot be read.
func usage(format string, args ...any) error {
	return &exit{code: exitUsage, err: fmt.Errorf(format, args...)}
}

func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	std := streams{out: stdout, err: stderr}
	exited := -1
	parser, err := kong.New(grammar(args),
		kong.Name("signet"),
		kong.Description("A policy engine for container-image trust.\n\nExit codes: 0 allow, 1 deny, 2 unknown, 64 usage, 70 failure."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		fmt.Fprintln(stderr, "signet:", err)
		return exitFailure
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	kctx, err := parser.Parse(args)
	if exited >= 0 { // --help
		return exited
	}
	if err != nil {
		fmt.Fprintf(stderr, "signet: %s\nTry: signet --help\n", err)
		return exitUsage
	}
	kctx.BindTo(ctx, (*context.Context)(nil))
	kctx.Bind(std)
	return tell(std, kctx.Run())
}

// grammar is the command line, or only the part of it that args name: the rest
// would take a millisecond to read, of the twenty that `signet verify` has.
func grammar(args []string) any {
	all := reflect.TypeFor[commands]()
	for i := range all.NumField() {
		if f := all.Field(i); len(args) > 0 && args[0] == strings.ToLower(f.Name) {
			return reflect.New(reflect.StructOf([]reflect.StructField{f})).Interface()
		}
	}
	return &commands{}
}

// tell prints an error for a person and gives the exit code.
func tell(std streams, err error) int {
	if err == nil {
		return exitAllow
	}
	if msg := err.Error(); msg != "" {
		fmt.Fprintln(std.err, "signet:", printable(msg, true))
	}
	var e *exit
	if errors.As(err, &e) {
		return e.code
	}
	return exitFailure
}
