package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/policy"
)

type policyFixtureCmd struct {
	Image   string `arg:"" help:"Image reference, oci-layout:PATH[:TAG|@DIGEST], or with --bundle a FILE or DIGEST."`
	Dir     string `required:"" help:"Folder of the policy bundle." placeholder:"DIR" type:"path"`
	Name    string `required:"" help:"Name of the fixture: lower-case letters, digits and underscores." placeholder:"NAME"`
	Replace bool   `help:"Write the facts anew; the test stays as it is."`
	commonFlags
	sourceFlags
	imageFlags
	policyFlags
}

// Run writes fixtures/NAME/input.json, and beside it a test that says what the
// policy answers today. Nothing is written of an incomplete search, which would
// teach the wrong thing.
func (c policyFixtureCmd) Run(ctx context.Context, std streams) error {
	if !fixtureName(c.Name) {
		return usage("--name %q: write lower-case letters, digits and underscores, a letter first", c.Name)
	}
	folder := filepath.Join(c.Dir, "fixtures", c.Name)
	input, test := filepath.Join(folder, "input.json"), filepath.Join(folder, c.Name+"_test.rego")
	if _, err := os.Lstat(input); err == nil && !c.Replace {
		return usage("%s is there already; choose another --name, or write its facts anew with --replace", input)
	}
	src, err := bundleFlags{Bundle: c.Dir}.source()
	if err != nil {
		return err
	}
	set, err := policy.Load(ctx, src)
	if err != nil {
		return policyError(err)
	}
	body, at, err := c.facts(ctx, std)
	if err != nil {
		return err
	}
	doc, err := policy.ParseDocument(ctx, body, evidence.DefaultLimits().PolicyInputBytes)
	if err != nil {
		return policyError(err)
	}
	result, err := set.EvaluateDocument(ctx, doc)
	if err != nil {
		return &exit{code: exitDeny, err: fmt.Errorf("the policy does not answer about these facts: %w", err)}
	}
	codes := []string{}
	for _, v := range result.Violations {
		if code := fmt.Sprintf("%q", v.Code); !slices.Contains(codes, code) {
			codes = append(codes, code)
		}
	}
	slices.Sort(codes)
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // a policy is for others to read
		return usage("--dir: %w", err)
	}
	if err := writeOutput(std, input, body); err != nil {
		return err
	}
	if _, err := os.Lstat(test); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return writeOutput(std, test, []byte(c.skeleton(at, result.Allow, codes)))
}

// facts gives the input document and when it was made.
func (c policyFixtureCmd) facts(ctx context.Context, std streams) ([]byte, time.Time, error) {
	rt, err := newSession(ctx, std, c.commonFlags, c.sourceFlags, c.imageFlags, c.policyFlags, []string{c.Image})
	if err != nil {
		return nil, time.Time{}, err
	}
	defer rt.close()
	p, err := rt.speaks(c.Image)
	if err != nil {
		return nil, time.Time{}, err
	}
	given, err := c.given(rt.file.Limits.BundleBytes)
	if err != nil {
		return nil, time.Time{}, err
	}
	in, err := rt.engine.Facts(ctx, rt.state, p, engine.Request{Image: c.Image, Platform: c.Platform, EvidenceOnly: c.EvidenceOnly, Evidence: given}, false)
	switch {
	case errors.Is(err, engine.ErrInvalid):
		return nil, time.Time{}, &exit{code: exitUsage, err: err}
	case err != nil:
		return nil, time.Time{}, err
	case !in.Search.Complete:
		return nil, time.Time{}, &exit{code: exitUnknown, err: errors.New("the search for evidence could not be completed, so nothing was written; try again")}
	}
	body, err := indented(in)
	return body, in.EvaluatedAt, err
}

// skeleton is the test that its author completes.
func (c policyFixtureCmd) skeleton(at time.Time, allow bool, codes []string) string {
	set := "set()"
	if len(codes) > 0 {
		set = "{" + strings.Join(codes, ", ") + "}"
	}
	return fmt.Sprintf(`# The facts in input.json beside this file were gathered at %[2]s of the image
# %[1]s
# This is what the policy says of them today. Is it what it should say? Where it is not,
# write here what it should, and then the rule.
package fixtures.%[3]s_test

test_%[3]s if {
	verdict := data.signing.verdict with input as data.fixtures.%[3]s
	verdict.allow == %[4]v
	{violation.code | some violation in verdict.violations} == %[5]s
}
`, printable(c.Image, false), at.UTC().Format(time.RFC3339), c.Name, allow, set)
}
