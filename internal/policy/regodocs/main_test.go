package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
)

func TestPageIsCurrent(t *testing.T) {
	want, err := document(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../../rego/README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("rego/README.md is not what the METADATA says; run make docs")
	}
}

// An example that gives nothing, or not what its rule is about, stops the page.
func TestExamplesAreEvaluated(t *testing.T) {
	page := func(example string) error {
		m, err := ast.ParseModuleWithOpts("signing/x.rego", `package signing

# METADATA
# title: T
# description: D
# custom:
#   code: c
#   severity: high
#   example: '`+example+`'
violation contains {"code": "c"} if input.x

verdict := {"violations": [v | some v in violation]}
`, ast.ParserOptions{ProcessAnnotation: true})
		if err != nil {
			t.Fatal(err)
		}
		compiler := ast.NewCompiler()
		compiler.Compile(map[string]*ast.Module{"signing/x.rego": m})
		return section(t.Context(), &bytes.Buffer{}, compiler, "signing", []*ast.Module{m})
	}
	if err := page(`signing.verdict with input as {"x": true}`); err != nil {
		t.Error(err)
	}
	for example, want := range map[string]string{
		`signing.verdict with input as {"x": false}`: "no finding with the code c",
		`signing.nothing`: "has 0 values",
		`signing.`:        "custom.example",
		``:                "custom.example is missing",
	} {
		if err := page(example); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", example, err, want)
		}
	}
}
