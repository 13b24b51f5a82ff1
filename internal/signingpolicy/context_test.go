package signingpolicy

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// A policy may speak of some questions alone, in every spelling, and its canonical
// form says so.
func TestContext(t *testing.T) {
	p := mustParse(t, "context: {plugin: ImageSigningPlugin}\n"+good)
	want := map[string]string{"plugin": "ImageSigningPlugin"}
	if diff := cmp.Diff(want, p.Context); diff != "" {
		t.Errorf("context (-want +got):\n%s", diff)
	}
	body, err := p.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, mustParse(t, string(body)).Context); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	for text, says := range map[string]string{
		"context: [a]\n":                                  "line 1: context: is a list, and must be a mapping",
		"context: {Plugin: x}\n":                          "context.Plugin: is no key",
		"context: {plugin: 7}\n":                          "context.plugin: is 7, and must be a string",
		"context: {plugin: \"\"}\n":                       "has 1 to 200 bytes",
		"context: {plugin: a, plugin: b}\n":               "context.plugin: is there twice",
		"context: {plugin: \"a\\nb\"}\n":                  "without control characters",
		"name: &n x\ncontext: {plugin: *n}\n":             "context.plugin: is an alias",
		"context: {plugin: {a: b}}\n":                     "must be a string",
		"context: {" + strings.Repeat("a", 64) + ": b}\n": "is no key",
	} {
		if _, err := Parse([]byte(text + good)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
}

// The config of a plugin is a policy for what that plugin asks.
func TestForPlugin(t *testing.T) {
	node := func(text string) *yaml.Node {
		t.Helper()
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
			t.Fatal(err)
		}
		return doc.Content[0]
	}
	p, err := ForPlugin("plugin-x", "X", node("verification: {require_signature: true}\ntrusted_signers: [{type: keyless, oidc_issuer: \"https://a.example\", subject: b}]\n"))
	if err != nil || p.Name != "plugin-x" || p.Context[ContextPlugin] != "X" || p.Inline[0].Name != "plugin-x/1" {
		t.Errorf("policy %+v, %v", p, err)
	}
	for text, says := range map[string]string{
		"name: y\n" + good:               "leave name and context out",
		"context: {plugin: Y}\n" + good:  "leave name and context out",
		"verification: {required: true}": "verification.required: there is no such field",
	} {
		if _, err := ForPlugin("plugin-x", "X", node(text)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
	if _, err := ForPlugin("plugin-x", "a\nb", node(good)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a name with a line break: %v", err)
	}
}
