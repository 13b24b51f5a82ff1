// Regodocs writes the documentation of the library of rules, rego/README.md,
// from the METADATA of its rules. Each example is evaluated, so that what it
// shows is what it gives. Run it with "make docs".
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	opa "github.com/open-policy-agent/opa/v1/rego"

	"github.com/signet-policy/signet/rego"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("regodocs: ")
	out := flag.String("out", "", "file to write")
	flag.Parse()
	if *out == "" {
		log.Fatal("-out is missing; give the file to write")
	}
	body, err := document(context.Background())
	if err == nil {
		err = os.WriteFile(*out, body, 0o644) //nolint:gosec // documentation is public
	}
	if err != nil {
		log.Fatal(err)
	}
}

// packages are those that are documented, in the order of the text.
var packages = []string{"signing", "signing.lib", "signing.lib.requirement", "signing.lib.unmet"}

const intro = `<!-- Written by "make docs" from the METADATA in signing/; change it there. -->

# The library of rules

What ` + "`signet policy init`" + ` puts into a policy bundle, version ` + rego.LibraryVersion + `: the entrypoint, and what rules have in common. Rules of one's own are
packages below ` + "`signing.rules`" + `, and begin with ` + "`import data.signing.lib`" + `. Every example here is evaluated when this page is
written, with ` + "`import data.signing.lib.fixture_test as fixture`" + `, the inputs and parameters that tests can begin with.
`

// document gives the page.
func document(ctx context.Context) ([]byte, error) {
	modules := map[string]*ast.Module{}
	byPackage := map[string][]*ast.Module{}
	err := fs.WalkDir(rego.Modules, "signing", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".rego" || strings.HasSuffix(name, "_test.rego") && path.Base(path.Dir(name)) != "fixture" {
			return err
		}
		body, err := rego.Modules.ReadFile(name)
		if err != nil {
			return err
		}
		m, err := ast.ParseModuleWithOpts(name, string(body), ast.ParserOptions{ProcessAnnotation: true, RegoVersion: ast.RegoV1})
		if err != nil {
			return err
		}
		modules[name] = m
		pkg := strings.TrimPrefix(m.Package.Path.String(), "data.")
		byPackage[pkg] = append(byPackage[pkg], m)
		return nil
	})
	if err != nil {
		return nil, err
	}
	compiler := ast.NewCompiler()
	if compiler.Compile(modules); compiler.Failed() {
		return nil, compiler.Errors
	}
	var b bytes.Buffer
	b.WriteString(intro)
	for _, pkg := range packages {
		if err := section(ctx, &b, compiler, pkg, byPackage[pkg]); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

func section(ctx context.Context, b *bytes.Buffer, compiler *ast.Compiler, pkg string, modules []*ast.Module) error {
	fmt.Fprintf(b, "\n## `%s`\n", pkg)
	for _, m := range modules {
		for _, a := range m.Annotations {
			if a.Scope == "package" || a.Scope == "subpackages" {
				fmt.Fprintf(b, "\n%s\n", a.Description)
			}
		}
	}
	seen := map[string]bool{} // METADATA of a whole document is on each of its rules
	for _, m := range modules {
		for _, r := range m.Rules {
			if len(r.Annotations) == 0 || seen[r.Annotations[0].Title] || strings.HasPrefix(string(r.Head.Name), "_") {
				continue
			}
			seen[r.Annotations[0].Title] = true
			if err := rule(ctx, b, compiler, r); err != nil {
				return fmt.Errorf("%s: %w", r.Location, err)
			}
		}
	}
	return nil
}

func rule(ctx context.Context, b *bytes.Buffer, compiler *ast.Compiler, r *ast.Rule) error {
	a := r.Annotations[0]
	code, _ := a.Custom["code"].(string)
	severity, _ := a.Custom["severity"].(string)
	example, _ := a.Custom["example"].(string)
	name := r.Head.Ref()[0].Value.String()
	heading := name
	if len(r.Head.Args) > 0 {
		args := make([]string, len(r.Head.Args))
		for i, arg := range r.Head.Args {
			if args[i] = arg.String(); strings.HasPrefix(args[i], "_") || args[i] == "$0" || args[i] == "null" {
				args[i] = "_"
			}
		}
		heading = fmt.Sprintf("%s(%s)", name, strings.Join(args, ", "))
	}
	finding := name == "violation" || name == "warning"
	if finding || slices.Contains([]string{"rule_malformed", "requirement_malformed", "requirement_not_met"}, code) { // what people meet is the code
		heading = code
	}
	fmt.Fprintf(b, "\n### `%s`\n\n**%s.** %s", heading, a.Title, a.Description)
	if finding {
		fmt.Fprintf(b, " A %s of severity %s.", name, severity)
	}
	if example == "" {
		return errors.New("custom.example is missing; write an expression")
	}
	value, err := evaluate(ctx, compiler, example)
	if err != nil {
		return fmt.Errorf("custom.example: %w", err)
	}
	if finding {
		if value = withCode(value, code); value == nil && code != "signature_required" {
			return fmt.Errorf("custom.example: gives no finding with the code %s", code)
		}
	}
	fmt.Fprintf(b, "\n\n```rego\n%s\n```\n", example)
	if value == nil {
		return nil
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(value); err != nil {
		return err
	}
	fmt.Fprintf(b, "\n```json\n%s```\n", text.String())
	return nil
}

// evaluate gives what an example says.
func evaluate(ctx context.Context, compiler *ast.Compiler, example string) (any, error) {
	result, err := opa.New(opa.Compiler(compiler), opa.Query("x := "+example), opa.StrictBuiltinErrors(true),
		opa.Imports([]string{"data.signing", "data.signing.lib", "data.signing.lib.fixture_test as fixture"})).Eval(ctx)
	switch {
	case err != nil:
		return nil, err
	case len(result) != 1:
		return nil, fmt.Errorf("%s has %d values, not one", example, len(result))
	}
	return result[0].Bindings["x"], nil
}

// withCode is the finding of that code in a verdict, nil when there is none.
func withCode(value any, code string) any {
	verdict, _ := value.(map[string]any)
	for _, list := range []string{"violations", "warnings"} {
		findings, _ := verdict[list].([]any)
		i := slices.IndexFunc(findings, func(f any) bool {
			finding, _ := f.(map[string]any)
			return finding["code"] == code
		})
		if i >= 0 {
			return findings[i]
		}
	}
	return nil
}
