package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/testkit/freeport"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/require"
)

// pluginFile is what a gateway's users have: a policy of its own for the plugin.
func pluginFile(s client.Signer, more string) []byte {
	return fmt.Appendf(nil, `plugins:
  - name: PIIFilter
    kind: plugins.pii_filter.pii_filter.PIIFilterPlugin
    hooks: [prompt_pre_fetch]
  - name: ImageSigningPlugin
    kind: plugins.image_signing.image_signing.ImageSigningPlugin
    hooks: [assessment_post_container_scan, tool_pre_invoke]
    mode: enforce
    priority: 12
    config:
      unmapped: deny
      verification: {require_signature: true, verify_transparency_log: true}
      slsa: {require_attestation: false, minimum_level: 1}
      trusted_signers: [{type: keyless, oidc_issuer: %q, subject: %q}]
%splugin_dirs: []
`, s.Issuer, s.Subject, more)
}

// gateway is an MCP session, as the official SDK keeps one.
type gateway struct {
	*sdk.ClientSession
	w *world
}

func (w *world) session(transport sdk.Transport) gateway {
	w.Helper()
	c := sdk.NewClient(&sdk.Implementation{Name: "mcp", Version: "0.1.0"}, nil)
	s, err := c.Connect(w.Context(), transport, nil)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = s.Close() })
	return gateway{s, w}
}

// call gives the text that a tool answers.
func (g gateway) call(tool string, args any) string {
	g.w.Helper()
	res, err := g.CallTool(g.w.Context(), &sdk.CallToolParams{Name: tool, Arguments: args})
	if err != nil || res.IsError || len(res.Content) != 1 {
		g.w.Fatalf("%s: %+v, %v", tool, res, err)
	}
	text, ok := res.Content[0].(*sdk.TextContent)
	if !ok {
		g.w.Fatalf("%s answers %T", tool, res.Content[0])
	}
	return text.Text
}

// hook calls a hook, whose answer must hold what is said.
func (g gateway) hook(hook string, payload, context map[string]any, says string) {
	g.w.Helper()
	got := g.call("invoke_hook", map[string]any{"hook_type": hook, "plugin_name": "ImageSigningPlugin", "payload": payload, "context": context})
	if !strings.Contains(got, says) {
		g.w.Errorf("%s answers %s, want %s", hook, got, says)
	}
}

func scanned(image string) map[string]any {
	return map[string]any{"assessment_id": "550e", "image_ref": image}
}

func noGateway() map[string]any {
	return map[string]any{"state": map[string]any{}, "metadata": map[string]any{}, "global_context": map[string]any{"request_id": "r", "state": map[string]any{}, "metadata": map[string]any{}}}
}

func callOf(id string) map[string]any {
	c := noGateway()
	c["global_context"].(map[string]any)["metadata"] = map[string]any{"gateway": map[string]any{
		"id": id, "url": "http://tools.example.com/mcp/", "auth_value": "gateway-secret", "tags": []any{map[string]any{"id": "prod", "label": "Prod"}},
	}}
	return c
}

const (
	passes  = `"continue_processing":true`
	refuses = `"code":"IMAGE_SIGNING",`
	cannot  = `"code":"IMAGE_SIGNING_UNAVAILABLE"`
)

// A gateway asks over HTTP, with the official client: what its plugin file says
// decides, and unknown never passes.
func TestMCPGateway(t *testing.T) {
	w := newWorld(t, "")
	image, signer := w.keyless("org/app")
	w.file("plugins.yaml", pluginFile(signer, ""))
	w.admin()
	address := freeLoopback(w)
	w.configure(fmt.Sprintf("external_url: https://signet.example.com\nlisteners: [{address: %q, protocols: [mcp], authentication: none_on_loopback, principal: {name: gateway, role: verifier}}]", address))
	d := w.serve("--plugins", w.path("plugins.yaml"))
	g := w.session(&sdk.StreamableClientTransport{Endpoint: "http://" + address + "/mcp"})

	tools, err := g.ListTools(t.Context(), nil)
	if err != nil || len(tools.Tools) != 3 {
		t.Fatalf("tools: %+v, %v", tools, err)
	}
	var cfg map[string]any
	if err := json.Unmarshal([]byte(g.call("get_plugin_config", map[string]any{"name": "ImageSigningPlugin"})), &cfg); err != nil || cfg["kind"] == "external" || cfg["mode"] != "enforce" || cfg["priority"] != 12. {
		t.Errorf("configuration %v, %v", cfg, err)
	}
	if got := g.call("get_plugin_config", map[string]any{"name": "PIIFilter"}); got != "{}" {
		t.Errorf("the configuration of another plugin: %s", got)
	}
	if got := g.call("get_plugin_configs", map[string]any{}); !strings.HasPrefix(got, `[{"name":"ImageSigningPlugin"`) {
		t.Errorf("all configurations: %s", got)
	}

	scan := "assessment_post_container_scan"
	g.hook(scan, scanned(image), noGateway(), passes)
	g.hook(scan, map[string]any{}, noGateway(), `"code":"IMAGE_MISSING"`)
	_, digest, _ := strings.Cut(image, "@")
	g.hook("runtime_pre_deploy", map[string]any{"image": strings.TrimSuffix(image, "@"+digest), "image_digest": digest}, noGateway(), passes)
	g.hook("prompt_pre_fetch", map[string]any{"prompt_id": "p"}, noGateway(), `"skipped"`)

	// The installation's own policy has no such signer, and others ask by it.
	d.decides(image, client.Deny)
	v, err := d.Verify(t.Context(), client.VerdictRequest{Image: image, Context: map[string]string{"plugin": "ImageSigningPlugin"}})
	if err != nil || v.Decision != client.Allow || len(v.Policies) != 1 || v.Policies[0].Name != "plugin-imagesigningplugin" {
		t.Errorf("asked as the plugin: %+v, %v", v, err)
	}

	unsigned := w.registry.Host() + "/org/other@" + w.registry.Push("org/other", "", ocitest.Image(ocitest.ImageOptions{Content: "other"}))
	g.hook(scan, scanned(unsigned), noGateway(), refuses)
	g.hook(scan, scanned(unsigned), noGateway(), "is not signed. Signature required.")
	g.hook(scan, scanned(unsigned), noGateway(), `"link":"https://signet.example.com/admin/security/signing/results/`)

	// Down and hostile: never a pass.
	for name, action := range map[string]registrytest.Action{
		"down": registrytest.Status(http.StatusServiceUnavailable), "hangs up": registrytest.Hangup(),
		"an endless manifest": registrytest.Endless("application/vnd.oci.image.manifest.v1+json"),
		"forbidden":           registrytest.Status(http.StatusForbidden), "gone": registrytest.Status(http.StatusNotFound),
	} {
		repository := "org/" + strings.ReplaceAll(strings.TrimPrefix(name, "an "), " ", "-")
		w.registry.On(registrytest.Path(http.MethodGet, "/"+repository+"/"), action)
		w.registry.On(registrytest.Path(http.MethodHead, "/"+repository+"/"), action)
		g.hook(scan, scanned(w.registry.Host()+"/"+repository+":v1"), noGateway(), cannot)
	}
	w.registry.Behave()

	// Tools, by the image behind their gateway; a change counts at once.
	g.hook("tool_pre_invoke", map[string]any{"name": "t", "args": map[string]any{"secret": "payload-secret"}}, callOf("g1"), "gateway_not_mapped")
	w.do("gateways", "put", "tools", "--gateway-id", "g1", "--image", image)
	g.hook("tool_pre_invoke", map[string]any{"name": "t"}, callOf("g1"), passes)
	w.do("gateways", "put", "by-url", "--url", "HTTP://Tools.example.com/mcp", "--image", unsigned)
	g.hook("tool_pre_invoke", map[string]any{"name": "t"}, callOf("g1"), passes)
	g.hook("tool_pre_invoke", map[string]any{"name": "t"}, callOf("g2"), refuses)
	w.do("gateways", "remove", "by-url")
	w.do("gateways", "put", "by-tag", "--tag", "prod", "--image", image)
	g.hook("tool_pre_invoke", map[string]any{"name": "t"}, callOf("g2"), passes)
	w.do("gateways", "put", "tools", "--gateway-id", "g1", "--image", unsigned)
	g.hook("tool_pre_invoke", map[string]any{"name": "t"}, callOf("g1"), refuses)
	w.fails(exitUsage, "names no digest", "gateways", "put", "x", "--gateway-id", "g3", "--image", "ghcr.io/org/app:v1")
	w.fails(exitUsage, "is told by the gateway", "gateways", "put", "x", "--gateway-id", "g1", "--image", image)
	w.fails(exitUsage, "Give one of gateway_id, url and tag", "gateways", "put", "x", "--image", image)

	for _, secret := range []string{"payload-secret", "gateway-secret"} {
		if strings.Contains(d.logged(), secret) {
			t.Errorf("the log has %s", secret)
		}
	}
	// On the main address a token says who asks.
	a, err := w.ask(http.DefaultClient, http.MethodPost, d.address+"/mcp", "", `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	w.wants("without a token", a, err, http.StatusUnauthorized, "")
	a, err = w.ask(http.DefaultClient, http.MethodPost, d.address+"/mcp", w.token, `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	w.wants("with one", a, err, http.StatusOK, `{"jsonrpc":"2.0","id":1,"result":{}}`)
	a, err = w.ask(http.DefaultClient, http.MethodGet, "http://"+address+"/api/v1/whoami", "", "")
	w.wants("REST on the listener of mcp", a, err, http.StatusNotFound, "")
	for _, version := range []string{"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"} {
		a, err = w.ask(http.DefaultClient, http.MethodPost, "http://"+address+"/mcp", "", `{"jsonrpc":"2.0","method":"notifications/initialized"}`,
			"Accept: application/json, text/event-stream", "mcp-protocol-version: "+version)
		w.wants(version, a, err, http.StatusAccepted, "")
		if a.body != "" || a.header.Get("Mcp-Session-Id") != "" {
			t.Errorf("%s: body %q, session %q", version, a.body, a.header.Get("Mcp-Session-Id"))
		}
	}
	a, err = w.ask(http.DefaultClient, http.MethodGet, "http://"+address+"/mcp", "", "")
	w.wants("GET", a, err, http.StatusMethodNotAllowed, "")
}

// A slow registry is no pass either; what is not found in time is found for a later
// question, because the work goes on.
func TestMCPDeadline(t *testing.T) {
	w := newWorld(t, "")
	slow, signer := w.keyless("org/slow")
	w.file("plugins.yaml", pluginFile(signer, ""))
	address := freeLoopback(w)
	w.configure(fmt.Sprintf("deadlines: {mcp: 500ms}\nlisteners: [{address: %q, protocols: [mcp], authentication: none_on_loopback, principal: {name: gateway, role: verifier}}]", address))
	w.serve("--plugins", w.path("plugins.yaml"))
	g := w.session(&sdk.StreamableClientTransport{Endpoint: "http://" + address + "/mcp"})
	scan := "assessment_post_container_scan"
	w.registry.On(registrytest.Path(http.MethodGet, "/org/hangs/"), registrytest.Hang())
	g.hook(scan, scanned(w.registry.Host()+"/org/hangs:v1"), noGateway(), cannot)
	w.registry.Times(1, registrytest.Path(http.MethodGet, "/org/slow/manifests/"), registrytest.Delay(3*time.Second))
	g.hook(scan, scanned(slow), noGateway(), `"reasons":["still_verifying"]`)
	eventually.Holds(t, "what took long passes", func() bool {
		return strings.Contains(g.call("invoke_hook", map[string]any{"hook_type": scan, "plugin_name": "ImageSigningPlugin", "payload": scanned(slow), "context": noGateway()}), passes)
	})
}

// A gateway starts the plugin itself.
func TestMCPStdio(t *testing.T) {
	w := newWorld(t, "")
	image, signer := w.keyless("org/app")
	w.file("plugins.yaml", pluginFile(signer, ""))
	alone := w.session(&sdk.CommandTransport{Command: w.process("plugin", "--stdio", "--plugins", w.path("plugins.yaml"))})
	alone.hook("assessment_post_container_scan", scanned(image), noGateway(), passes)
	// A second one is answered by the first, which holds the data directory.
	second := w.session(&sdk.CommandTransport{Command: w.process("plugin", "--stdio")})
	second.hook("assessment_post_container_scan", scanned(image), noGateway(), passes)
	w.fails(exitUsage, "has a plugin file of its own", "plugin", "--stdio", "--plugins", w.path("plugins.yaml"))
	_ = second.Close()
	if err := alone.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}

	w.admin()
	d := w.serve("--plugins", w.path("plugins.yaml"))
	w.file("token", []byte(w.token))
	remote := w.session(&sdk.CommandTransport{Command: w.process("plugin", "--stdio", "--server", d.address, "--token-file", w.path("token"))})
	remote.hook("assessment_post_container_scan", scanned(image), noGateway(), passes)
	d.stop(syscall.SIGKILL)
	remote.hook("assessment_post_container_scan", scanned(image), noGateway(), cannot)
	w.fails(exitUsage, "give --stdio", "plugin")
}

// As the gateway's manifests start a plugin server: client certificates, and health
// in clear text beside it.
func TestMCPServerEnvironment(t *testing.T) {
	w := newWorld(t, "")
	image, signer := w.keyless("org/app")
	w.file("plugins.yaml", pluginFile(signer, ""))
	ca := newAuthority(w, "ca")
	ca.issue("server", 2, "localhost")
	good := ca.issue("client", 3, "gateway")
	stranger := newAuthority(w, "other").issue("stranger", 4, "gateway")
	address := freeLoopback(w)
	_, port, _ := net.SplitHostPort(address)
	w.env = []string{
		"PLUGINS_SERVER_HOST=0.0.0.0", "PLUGINS_SERVER_PORT=" + port, "PLUGINS_SERVER_SSL_ENABLED=true", "PLUGINS_SERVER_SSL_CERTFILE=" + w.path("server.pem"),
		"PLUGINS_SERVER_SSL_KEYFILE=" + w.path("server.key"), "PLUGINS_SERVER_SSL_CA_CERTS=" + w.path("ca.pem"), "PLUGINS_SERVER_SSL_CERT_REQS=2",
	}
	w.serve("--plugins", w.path("plugins.yaml"))
	g := w.session(&sdk.StreamableClientTransport{Endpoint: "https://" + address + "/mcp", HTTPClient: w.caller("ca", good)})
	g.hook("assessment_post_container_scan", scanned(image), noGateway(), passes)
	for name, h := range map[string]*http.Client{"without a certificate": w.caller("ca"), "with a stranger's": w.caller("ca", stranger)} {
		if a, err := w.ask(h, http.MethodPost, "https://"+address+"/mcp", "", `{"jsonrpc":"2.0","id":1,"method":"ping"}`); err == nil {
			t.Errorf("%s: %+v", name, a)
		}
	}
	var n int
	_, _ = fmt.Sscan(port, &n)
	health := fmt.Sprintf("http://127.0.0.1:%d", n+1000)
	a, err := w.ask(http.DefaultClient, http.MethodGet, health+"/health", "", "")
	w.wants("health in clear text", a, err, http.StatusOK, `{"status":"healthy"}`)
	a, err = w.ask(http.DefaultClient, http.MethodPost, health+"/mcp", "", `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	w.wants("mcp in clear text", a, err, http.StatusNotFound, "")

	for says, env := range map[string]string{
		"without TLS nothing says who asks": "PLUGINS_SERVER_SSL_ENABLED=false", "lets callers come": "PLUGINS_SERVER_SSL_CERT_REQS=1",
		"is not a port": "PLUGINS_SERVER_PORT=x", "a server speaks http": "PLUGINS_TRANSPORT=stdio", "keys with a password": "PLUGINS_SERVER_SSL_KEYFILE_PASSWORD=x",
	} {
		cmd := w.process("serve", "--plugins", w.path("plugins.yaml"))
		cmd.Env = append(cmd.Env, env)
		if code, _, errs := w.finish(cmd); code != exitUsage || !strings.Contains(errs, says) {
			t.Errorf("%s: exit code %d: %s", env, code, errs)
		}
	}
}

// What a plugin file says wrong stops the server, with the line.
func TestPluginFileRefused(t *testing.T) {
	w := newWorld(t, "")
	for name, tt := range map[string]struct{ file, says string }{
		"unknown field": {"plugins:\n  - name: x\n    kind: image-signing\n    config:\n      treshold: 2\n", "line 5: plugins[0].config.treshold: there is no such field"},
		"no unmapped":   {"plugins:\n  - name: x\n    kind: image-signing\n    hooks: [tool_pre_invoke]\n", "unmapped"},
		"none of ours":  {"plugins:\n  - name: x\n    kind: y\n", "none of them is about image signatures"},
	} {
		w.file("plugins.yaml", []byte(tt.file))
		if code, _, errs := w.run("serve", "--plugins", w.path("plugins.yaml")); code != exitUsage || !strings.Contains(errs, tt.says) {
			t.Errorf("%s: exit code %d, want %q: %s", name, code, tt.says, errs)
		}
	}
}

// freeLoopback is an address nobody listens on, with a free port 1000 above it.
func freeLoopback(w *world) string {
	w.Helper()
	address, err := freeport.Address(healthOffset)
	if err != nil {
		w.Fatal(err)
	}
	return address
}

// A second opinion: the real cosign agrees, and a program that does not makes what
// it disagrees about unknown.
func TestSecondOpinion(t *testing.T) {
	w := newWorld(t, "")
	image, signer := w.keyless("org/app")
	unsigned := w.registry.Host() + "/org/other@" + w.registry.Push("org/other", "", ocitest.Image(ocitest.ImageOptions{Content: "other"}))
	w.admin()
	ask := func(d *daemon, image string) (client.Verdict, string) {
		t.Helper()
		v, err := d.Verify(t.Context(), client.VerdictRequest{Image: image, Context: map[string]string{"plugin": "ImageSigningPlugin"}, Refresh: true})
		if err != nil {
			t.Fatalf("asking for %s: %v", image, err)
		}
		var codes []string
		for _, r := range v.Reasons {
			codes = append(codes, r.Code)
		}
		return v, string(v.Decision) + " " + strings.Join(codes, " ")
	}
	with := func(path string) *daemon {
		t.Helper()
		w.file("plugins.yaml", []byte(strings.Replace(string(pluginFile(signer, "")), "      unmapped: deny\n", "      unmapped: deny\n      cosign: {path: \""+path+"\", timeout_seconds: 25}\n", 1)))
		return w.serve("--plugins", w.path("plugins.yaml"))
	}
	d := with(require.Cosign(t))
	if v, got := ask(d, image); got != "allow " {
		t.Errorf("both find it: %s %+v", got, v.Reasons)
	}
	if _, got := ask(d, unsigned); !strings.HasPrefix(got, "deny unsigned") {
		t.Errorf("both find nothing: %s", got)
	}
	v, _ := ask(d, image)
	if r, err := d.ReproduceVerdict(t.Context(), v.ID); err != nil || !r.Same {
		t.Errorf("the verdict is not reproduced: %+v, %v", r, err)
	}
	d.stop(syscall.SIGTERM)

	d = with(scripted(t, `echo "Error: no matching signatures" >&2; exit 12`))
	v, got := ask(d, image)
	if got != "unknown verifiers_disagree" || v.Allowed {
		t.Errorf("only Signet finds it: %s", got)
	} else if n := v.Reasons[0].Nearest; n == nil || !strings.Contains(n.Have, "no matching signatures") || !strings.Contains(n.Want, signer.Subject) {
		t.Errorf("both outputs: %+v", n)
	}
	d.stop(syscall.SIGTERM)

	d = with(scripted(t, `echo '[{"critical":{}}]'`))
	if _, got := ask(d, image); got != "allow " {
		t.Errorf("both find it: %s", got)
	}
	if _, got := ask(d, unsigned); got != "unknown verifiers_disagree" {
		t.Errorf("only cosign finds it: %s", got)
	}
	d.stop(syscall.SIGTERM)

	d = with(scripted(t, `kill -9 $$`))
	if _, got := ask(d, image); got != "unknown second_opinion_unavailable" {
		t.Errorf("cosign is broken: %s", got)
	}
	if _, got := ask(d, unsigned); !strings.HasPrefix(got, "deny unsigned") {
		t.Errorf("denied all the same: %s", got)
	}
	d.stop(syscall.SIGTERM)

	w.file("plugins.yaml", []byte(strings.Replace(string(pluginFile(signer, "")), "      unmapped: deny\n", "      unmapped: deny\n      cosign: {path: \""+w.file("cosign", []byte("#!/bin/sh\n"))+"\"}\n", 1)))
	if code, _, errs := w.run("serve", "--plugins", w.path("plugins.yaml")); code != exitUsage || !strings.Contains(errs, "cosign.path") {
		t.Errorf("a program that is none: exit code %d: %s", code, errs)
	}
}

// scripted is a program in a folder of which nobody else can change anything.
func scripted(t *testing.T, script string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(cache, "signet-cosign-test-") //nolint:usetesting // its folders must not be writable by others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := dir + "/cosign"
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}
