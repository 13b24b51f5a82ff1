package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/require"
)

// shim is the only Python block of docs/gateway.md.
func shim(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/gateway.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(page), "\n```python\n")
	if len(parts) != 2 {
		t.Fatalf("docs/gateway.md has %d Python blocks, want the hook alone", len(parts)-1)
	}
	code, _, ends := strings.Cut(parts[1], "\n```")
	if !ends {
		t.Fatal("the Python block does not end")
	}
	return code
}

// The hook of docs/gateway.md, as the gateway would run it: it lets an image be
// deployed, at its digest, when a real server allows it, and raises for all else.
func TestGatewayShim(t *testing.T) {
	python := require.Python(t)
	here, err := filepath.Abs("testdata/gateway")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, "")
	w.file("image_signing_hook.py", []byte(shim(t)))
	image, signer := w.keyless("org/app")
	_, digest, _ := strings.Cut(image, "@")
	unsigned := w.registry.Host() + "/org/other@" + w.registry.Push("org/other", "", ocitest.Image(ocitest.ImageOptions{Content: "other"}))
	w.registry.On(registrytest.Path(http.MethodGet, "/org/down/"), registrytest.Status(http.StatusServiceUnavailable))
	other := func(name, mode string) string {
		return fmt.Sprintf("  - {name: %s, kind: image-signing, mode: %s, hooks: [runtime_pre_deploy]}\n", name, mode)
	}
	w.file("plugins.yaml", pluginFile(signer, other("Watching.image_signing", "permissive")+other("Off.image_signing", "disabled")))
	address := freeLoopback(w)
	w.configure(fmt.Sprintf("listeners: [{address: %q, protocols: [mcp], authentication: none_on_loopback, principal: {name: gateway, role: verifier}}]", address))
	w.serve("--plugins", w.path("plugins.yaml"))

	const plugin, none = "ImageSigningPlugin", ""
	url := "http://" + address + "/mcp"
	tests := []struct {
		name, url, plugin, image, digest string
		deploy                           string // "" where it raises
		raised, says                     string
	}{
		{"allowed", url, plugin, image, none, image, "", ""},
		{"allowed at the digest beside it", url, plugin, strings.TrimSuffix(image, "@"+digest), digest, image, "", ""},
		{"denied", url, plugin, unsigned, none, "", "PluginViolationError", "is not signed. Signature required."},
		{"unknown", url, plugin, w.registry.Host() + "/org/down:v1", none, "", "PluginError", "IMAGE_SIGNING_UNAVAILABLE"},
		{"no image", url, plugin, "", none, "", "PluginError", "IMAGE_MISSING"},
		{"another digest", url, plugin, image, "sha256:" + strings.Repeat("0", 64), "", "PluginError", "IMAGE_MISSING"},
		{"a name that nobody has", url, "Nobody", image, none, "", "PluginError", "PLUGIN_UNKNOWN"},
		{"permissive lets it be", url, "Watching.image_signing", unsigned, none, unsigned, "", ""},
		{"the plugin is disabled", url, "Off.image_signing", image, none, "", "RuntimeError", "no verdict on "},
		{"the plugin was not started", "", plugin, image, none, "", "RuntimeError", "no verdict on "},
		{"nobody answers", "http://127.0.0.1:1/mcp", plugin, image, none, "", "URLError", ""},
	}
	var asked [][]string
	for _, tt := range tests {
		asked = append(asked, []string{tt.url, tt.plugin, tt.image, tt.digest})
	}
	input, err := json.Marshal(asked)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, filepath.Join(here, "ask.py"))
	cmd.Dir, cmd.Stdin = w.dir, bytes.NewReader(input)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+w.dir+":"+here, "PYTHONDONTWRITEBYTECODE=1")
	code, out, errs := w.finish(cmd)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 0 || len(lines) != len(tests) {
		t.Fatalf("exit code %d, %d lines: %s%s", code, len(lines), out, errs)
	}
	for i, tt := range tests {
		var got struct{ Deploy, Raised, Message string }
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
			t.Fatalf("%s: %v: %s", tt.name, err, lines[i])
		}
		if got.Deploy != tt.deploy || got.Raised != tt.raised || !strings.Contains(got.Message, tt.says) {
			t.Errorf("%s: %+v, want to deploy %q or %s %q", tt.name, got, tt.deploy, tt.raised, tt.says)
		}
	}
}
