package pluginfile

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const file = `# of the gateway
plugins:
  - name: PIIFilter
    kind: plugins.pii_filter.pii_filter.PIIFilterPlugin
    config: {anything: at all}
  - name: ImageSigningPlugin
    kind: plugins.image_signing.image_signing.ImageSigningPlugin
    description: Signatures
    version: "0.1"
    author: us
    hooks: [assessment_post_container_scan, tool_pre_invoke]
    tags: [security]
    mode: permissive
    priority: 12
    on_error: fail
    conditions: []
    config:
      unmapped: allow
      verification: {require_signature: true, verify_transparency_log: false, offline_mode: false}
      slsa: {require_attestation: false, minimum_level: 1, trusted_builders: []}
      cosign: {path: /usr/local/bin/cosign, timeout_seconds: 30}
      trusted_signers:
        - {type: keyless, oidc_issuer: "https://accounts.google.com", subject: "builder@example.com"}
  - name: Second.Image-Signing
    kind: external
    mcp: {proto: STREAMABLEHTTP, url: "http://localhost:8000/mcp"}
plugin_dirs: []
plugin_settings: {parallel_execution_within_band: true}
`

func TestParse(t *testing.T) {
	f, err := Parse([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Plugins) != 2 {
		t.Fatalf("plugins %+v", f.Plugins)
	}
	p := f.Plugins[0].Policy
	if p == nil || p.Name != "plugin-imagesigningplugin" || p.VerifyTransparencyLog || len(p.Inline) != 1 || p.Context["plugin"] != "ImageSigningPlugin" {
		t.Errorf("policy %+v", p)
	}
	f.Plugins[0].Policy = nil
	want := File{Others: []string{"PIIFilter"}, Plugins: []Plugin{
		{
			Name: "ImageSigningPlugin", Description: "Signatures", Mode: "permissive", Hooks: []string{"assessment_post_container_scan", "tool_pre_invoke"},
			Tags: []string{"security"}, Priority: 12, Unmapped: "allow", Cosign: Cosign{Path: "/usr/local/bin/cosign", Timeout: 25 * time.Second},
		},
		{Name: "Second.Image-Signing", Mode: "enforce", Priority: defaultPriority},
	}}
	if diff := cmp.Diff(want, f); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
	if got := PolicyName("Second.Image-Signing " + strings.Repeat("x", 80)); len(got) != 63 || !strings.HasPrefix(got, "plugin-second-image-signing-x") {
		t.Errorf("policy name %q", got)
	}
}

// Each mistake is named with its line, and nothing is taken of such a file.
func TestParseRefuses(t *testing.T) {
	one := func(lines ...string) string {
		return "plugins:\n  - name: x\n    kind: image-signing\n    " + strings.Join(lines, "\n    ") + "\n"
	}
	const signers = `trusted_signers: [{type: registry}]`
	for text, says := range map[string]string{
		"":                                     "line 1: the file is empty",
		"# nothing\n":                          "line 1: the file is empty",
		"- a\n":                                "line 1: the file: must be a mapping",
		"plugins:\n  x: y\n":                   "line 2: plugins: must be a list",
		"plugin_dirs: []\n":                    "line 1: plugins: is missing",
		"plugins: []\n":                        "none of them is about image signatures",
		"plugins: []\nmore: 1\n":               "line 2: more: there is no such field",
		"plugins: []\n---\na: b\n":             "a second document begins",
		"plugins: {{ env.X }}\n":               "line 1",
		"a: b: c\n":                            "mapping values",
		one("hook: [x]"):                       "line 4: plugins[0].hook: there is no such field; there are author, conditions, config",
		one("mode: off"):                       `"off" is none of enforce, permissive, disabled`,
		one("mode: true"):                      "must be a string",
		one("priority: high"):                  "line 4: plugins[0].priority: must be a whole number",
		one("hooks: tool_pre_invoke"):          "plugins[0].hooks: must be a list",
		one("hooks: [a, a]"):                   "plugins[0].hooks[1]: is empty, or there twice",
		one("mode: enforce", "mode: disabled"): "line 5: plugins[0].mode: is there twice",
		one("config: {unmapped: maybe}"):       `plugins[0].config.unmapped: "maybe" is neither allow nor deny`,
		one("config: {unmapped: deny, unmapped: allow}"):                                                 "config.unmapped: is there twice",
		one("config:", "  verification: {require: true}"):                                                "line 5: plugins[0].config.verification.require: there is no such field",
		one("config: {cosign: {paths: x}, " + signers + "}"):                                             "config.cosign.paths: there is no such field; there are path, timeout_seconds",
		one("config: {cosign: {path: cosign}, " + signers + "}"):                                         `"cosign" is not an absolute path`,
		one("config: {cosign: {path: /x, timeout_seconds: 0}, " + signers + "}"):                         "0 is less than a second",
		one("config: {cosign: {path: /x}}"):                                                              "a second opinion is on a policy of the plugin's own",
		one("config: [a]"):                                                                               "plugins[0].config: must be a mapping",
		"plugins:\n  - kind: image-signing\n":                                                            "line 2: plugins[0].name: is missing",
		"plugins:\n  - name: x\n":                                                                        "line 2: plugins[0].kind: is missing",
		one() + "  - name: x\n    kind: image-signing\n":                                                 `"x" is there twice`,
		one("config: {"+signers+"}") + "  - {name: X, kind: image-signing, config: {" + signers + "}}\n": "as that of another plugin",
	} {
		f, err := Parse([]byte(text))
		if err == nil || !strings.Contains(err.Error(), says) || len(f.Plugins) > 0 {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(file))
	f.Add([]byte("plugins: [{name: x, kind: image-signing, config: {unmapped: deny}}]"))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := Parse(body)
		if err == nil && len(got.Plugins) == 0 {
			t.Error("a file without a plugin of ours is good")
		}
	})
}
