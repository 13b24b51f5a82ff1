package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/policy"
	"github.com/signet-policy/signet/internal/policy/starter"
	"github.com/signet-policy/signet/internal/verdict"
)

type policyCmd struct {
	Init     policyInitCmd     `cmd:"" help:"Make a folder with a policy bundle that works at once."`
	Vendor   policyVendorCmd   `cmd:"" help:"Update Signet's library in a policy bundle, and show the difference."`
	Check    policyCheckCmd    `cmd:"" help:"Look for mistakes in a policy bundle: what a server would refuse, and rules that do not do what they seem to."`
	Test     policyTestCmd     `cmd:"" help:"Run the tests of a policy bundle."`
	Eval     policyEvalCmd     `cmd:"" help:"Ask a policy bundle about one input."`
	Fixture  policyFixtureCmd  `cmd:"" help:"Write the facts of a real image as a test fixture, with a test to complete."`
	Build    policyBuildCmd    `cmd:"" help:"Check, test, pack and sign a policy bundle."`
	Push     policyPushCmd     `cmd:"" help:"Push a policy bundle to an OCI repository."`
	Inspect  policyInspectCmd  `cmd:"" help:"Show what is in the archive of a policy bundle, and who signed it."`
	History  policyHistoryCmd  `cmd:"" help:"Show what a policy in force was, newest first: its document and its bundle."`
	Diff     policyDiffCmd     `cmd:"" help:"Show what differs between two states of a policy in force; exit 1 where something does."`
	Rollback policyRollbackCmd `cmd:"" help:"Go back to what a policy was, its bundle included; one that was removed comes back."`
	Replay   policyReplayCmd   `cmd:"" help:"Show which answers of the past would be different under another policy, other signers or trust roots, or at a later time."`
}

type policyInitCmd struct {
	Dir string `arg:"" help:"Folder to make, or an existing one without such files." type:"path"`
}

// Run writes the bundle.
func (c policyInitCmd) Run(_ context.Context, std streams) error {
	names, err := starter.Init(c.Dir)
	if err != nil {
		return starterError(err)
	}
	for _, name := range names {
		fmt.Fprintln(std.out, name)
	}
	fmt.Fprintf(std.err, "signet: %s has a policy that works; your rules are in signing/rules, their parameters in params; next: signet policy test %s\n",
		printable(c.Dir, false), printable(c.Dir, false))
	return nil
}

func starterError(err error) error {
	if errors.Is(err, starter.ErrInvalid) {
		return &exit{code: exitUsage, err: err}
	}
	return err
}

type policyVendorCmd struct {
	Dir    string `arg:"" help:"Folder of the policy bundle." type:"path"`
	DryRun bool   `help:"Only show the difference; exit 1 when there is one."`
}

// Run updates the library and prints what changed.
func (c policyVendorCmd) Run(_ context.Context, std streams) error {
	u, err := starter.Vendor(c.Dir, c.DryRun)
	if err != nil {
		return starterError(err)
	}
	fmt.Fprint(std.out, printable(string(u.Diff), true))
	from := orWord(u.From, "unknown")
	switch {
	case u.Same():
		fmt.Fprintf(std.err, "signet: the library is up to date (version %s)\n", printable(u.To, false))
		return nil
	case c.DryRun:
		c.sayKept(std, u)
		fmt.Fprintf(std.err, "signet: %d files differ from the library of this Signet (version %s; the bundle says %s)\n", len(u.Changed)+len(u.Removed)+len(u.Kept), u.To, printable(from, false))
		return &exit{code: exitDeny}
	}
	c.sayKept(std, u)
	fmt.Fprintf(std.err, "signet: %d files were updated and %d removed (version %s to %s); run signet policy test %s\n",
		len(u.Changed), len(u.Removed), printable(from, false), u.To, printable(c.Dir, false))
	return nil
}

// sayKept names the files that an earlier library brought and somebody changed.
func (policyVendorCmd) sayKept(std streams, u starter.Update) {
	for _, name := range u.Kept {
		fmt.Fprintf(std.err, "signet: warning: %s is no longer part of the library, and was changed here, so it stays; move what is yours to signing/rules and delete it\n", printable(name, false))
	}
}

// bundleFlags name a policy bundle and its parameters.
type bundleFlags struct {
	Bundle string `arg:"" name:"dir" help:"Folder of the policy bundle, or a .tar.gz of one." type:"path"`
	Params string `help:"Parameters as JSON (default: params/params.json in the bundle's folder)." placeholder:"FILE" type:"path"`
}

// source opens the bundle.
func (f bundleFlags) source() (policy.Source, error) {
	src := policy.Source{Name: "policy"}
	var err error
	if src.Bundle, err = policy.Open(f.Bundle); err != nil {
		return src, &exit{code: exitUsage, err: err}
	}
	if f.Params != "" {
		body, err := readCapped(f.Params, maxParamsBytes)
		if err != nil {
			return src, usage("--params: %w", err)
		}
		src.Params = body
		return src, nil
	}
	src.Params, err = policy.Params(src.Bundle)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return src, usage("%s has no params/params.json; name the parameters with --params FILE", f.Bundle)
	case err != nil:
		return src, &exit{code: exitUsage, err: err}
	}
	return src, nil
}

const maxParamsBytes = 8 << 20

// policyError makes a bundle or an input that is unfit the caller's to mend.
func policyError(err error) error {
	if errors.Is(err, policy.ErrLoad) || errors.Is(err, policy.ErrDocument) {
		return &exit{code: exitUsage, err: err}
	}
	return err
}

type policyCheckCmd struct {
	bundleFlags
	outFlags
}

// Run prints what is wrong; exit code 1 when something is an error.
func (c policyCheckCmd) Run(ctx context.Context, std streams) error {
	src, err := c.source()
	if err != nil {
		return err
	}
	problems, err := policy.Check(ctx, src)
	if err != nil {
		return policyError(err)
	}
	if info, err := os.Stat(c.Bundle); err == nil && info.IsDir() {
		problems = append(problems, libraryProblems(c.Bundle)...)
	}
	if problems == nil {
		problems = []policy.Problem{}
	}
	failed := 0
	for _, p := range problems {
		if p.Severity == policy.SeverityError {
			failed++
		}
	}
	if c.JSON {
		if err := printJSON(std.out, problems); err != nil {
			return err
		}
	} else {
		printProblems(std.out, problems)
	}
	fmt.Fprintf(std.err, "signet: %d errors, %d warnings\n", failed, len(problems)-failed)
	if failed > 0 {
		return &exit{code: exitDeny}
	}
	return nil
}

func printProblems(w io.Writer, problems []policy.Problem) {
	for _, p := range problems {
		at := p.File
		if p.Line > 0 {
			at = fmt.Sprintf("%s:%d", p.File, p.Line)
		}
		fmt.Fprintf(w, "%s: %s: %s (%s)\n    %s\n", printable(at, false), p.Severity, printable(p.Message, false), p.Code, printable(p.Instead, false))
	}
}

// libraryProblems says where the library is not the one of this Signet.
func libraryProblems(dir string) []policy.Problem {
	u, err := starter.Vendor(dir, true)
	if err != nil {
		return []policy.Problem{{
			File: ".manifest", Code: "library", Severity: policy.SeverityWarning, Message: err.Error(), Instead: "Keep Signet's library in signing/lib, and update it with signet policy vendor.",
		}}
	}
	var problems []policy.Problem
	for _, name := range slices.Concat(u.Changed, u.Removed, u.Kept) {
		problems = append(problems, policy.Problem{
			File: name, Code: "library", Severity: policy.SeverityWarning,
			Message: "differs from the library of this Signet, version " + u.To,
			Instead: "See the difference with signet policy vendor --dry-run; your own rules belong into signing/rules.",
		})
	}
	return problems
}

type policyEvalCmd struct {
	bundleFlags
	Input   string `required:"" help:"Input document, as signet facts prints it; - reads what is piped in." placeholder:"FILE"`
	Explain bool   `help:"Show which rules held, and on which facts."`
	outFlags
}

// Run prints what the policy answers; exit codes as for verify.
func (c policyEvalCmd) Run(ctx context.Context, std streams) error {
	src, err := c.source()
	if err != nil {
		return err
	}
	body, err := readInput("--input", c.Input)
	if err != nil {
		return err
	}
	set, err := policy.Load(ctx, src)
	if err != nil {
		return policyError(err)
	}
	doc, err := policy.ParseDocument(ctx, body, evidence.DefaultLimits().PolicyInputBytes)
	if err != nil {
		return policyError(err)
	}
	result, rules, err := set.Explain(ctx, doc)
	switch {
	case errors.Is(err, policy.ErrTimeLimit), errors.Is(err, policy.ErrInputTooLarge):
		return &exit{code: exitUnknown, err: fmt.Errorf("unknown: %w", err)}
	case err != nil: // a server denies, with the code policy_error
		return &exit{code: exitDeny, err: fmt.Errorf("deny: %w", err)}
	}
	if err := c.print(std, result, rules); err != nil {
		return err
	}
	if !result.Allow {
		return &exit{code: exitDeny}
	}
	return nil
}

func (c policyEvalCmd) print(std streams, result verdict.Result, rules []policy.Fired) error {
	switch {
	case c.JSON && c.Explain:
		return printJSON(std.out, struct {
			Result verdict.Result `json:"result"`
			Rules  []policy.Fired `json:"rules"`
		}{result, rules})
	case c.JSON:
		return printJSON(std.out, result)
	}
	fmt.Fprintln(std.out, map[bool]string{true: "allow", false: "deny"}[result.Allow])
	for _, s := range result.SatisfiedBy {
		if s.Exception != "" {
			fmt.Fprintf(std.out, "  %s is waived by the exception %s\n", printable(s.Requirement, false), printable(s.Exception, false))
			continue
		}
		fmt.Fprintf(std.out, "  %s is met by %s\n", printable(s.Requirement, false), printable(strings.Join(s.Facts, ", "), false))
	}
	for _, v := range result.Violations {
		fmt.Fprintf(std.out, "  %s: %s (%s)\n    %s\n", printable(v.Code, false), printable(v.Message, false), printable(v.Rule, false), printable(v.Remediation, false))
	}
	for _, v := range result.Warnings {
		fmt.Fprintf(std.out, "  warning: %s: %s (%s)\n", printable(v.Code, false), printable(v.Message, false), printable(v.Rule, false))
	}
	if !c.Explain {
		return nil
	}
	fmt.Fprintln(std.out)
	rows := make([][]string, 0, len(rules))
	for _, r := range rules {
		held := "no"
		if r.Fired {
			held = "yes"
		}
		rows = append(rows, []string{fmt.Sprintf("%s:%d", r.File, r.Line), r.Rule, held, strings.Join(r.Facts, " ")})
	}
	return printTable(std.out, []string{"AT", "RULE", "HELD", "FACTS"}, rows)
}

// fixtureName is what names of fixtures are made of: they are words in Rego.
func fixtureName(s string) bool {
	return s != "" && len(s) <= 63 && s[0] >= 'a' && s[0] <= 'z' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// indented is JSON for people, as signet facts prints it.
func indented(v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return []byte(b.String()), err
}
