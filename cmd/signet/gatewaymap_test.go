package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/testkit/freeport"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/pgtest"
)

// What one server is told of a gateway counts on the other with its next call, for the
// plugin and for the gateway's policy engine.
func TestGatewayMappingCountsOnBothServers(t *testing.T) {
	url := pgtest.Database(t)
	w := newWorld(t, "database: {url_file: database}\ndeadlines: {opa: 20s}\nmcp: {unmapped: deny}")
	w.file("database", []byte(url+"\n"))
	w.admin()
	good, trusted := w.keyless("acme/app")
	bad := w.registry.Host() + "/acme/other@" + w.registry.Push("acme/other", "", ocitest.Image(ocitest.ImageOptions{Content: "other"}))
	servers := []*daemon{w.serve(), w.serve()}
	servers[0].create(trusted)
	hook := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"invoke_hook","arguments":{"hook_type":"tool_pre_invoke","plugin_name":"ImageSigningPlugin",` +
		`"payload":{"name":"t","args":{}},"context":{"state":{},"global_context":{"request_id":"r","metadata":{"gateway":{"id":"g1"}}},"metadata":{}}}}}`
	engine := `{"input":{"subject":{"email":"a@example.com"},"action":"tools.invoke.t","resource":{"type":"tool","id":"t","server":"g1"},"context":{}}}`
	says := func(d *daemon, plugin, pdp string) {
		t.Helper()
		a, err := w.ask(http.DefaultClient, http.MethodPost, d.address+"/mcp", w.token, hook)
		w.wants("the plugin", a, err, http.StatusOK, plugin)
		a, err = w.ask(http.DefaultClient, http.MethodPost, d.address+"/v1/data/mcpgateway", w.token, engine)
		w.wants("the policy engine", a, err, http.StatusOK, pdp)
	}
	quoted := func(s string) string { return strings.ReplaceAll(s, `"`, `\"`) }
	allows, denies, unmapped := `"result":{"allow":true,"deny":[]`, `is not signed. Signature required."],"decision":"deny"`, `"code":"gateway_not_mapped"`
	for _, d := range servers { // both have answered, so that what they keep is there to be wrong
		says(d, "gateway_not_mapped", unmapped)
	}
	var version *int64
	for round := range 3 {
		by, on := servers[round%2], servers[(round+1)%2]
		for image, want := range map[string][2]string{good: {quoted(passes), allows}, bad: {quoted(refuses), denies}} {
			g, err := by.PutGateway(t.Context(), "tools", client.PutGateway{GatewayID: "g1", Image: image}, version)
			if err != nil {
				t.Fatal(err)
			}
			version = &g.Version
			says(on, want[0], want[1])
			says(by, want[0], want[1])
		}
		if err := by.DeleteGateway(t.Context(), "tools", *version); err != nil {
			t.Fatal(err)
		}
		version = nil
		says(on, "gateway_not_mapped", unmapped)
	}
}

// The protocols whose callers have no token, behind client certificates: the right one
// asks as the listener's principal, and nobody else comes as far as a question.
func TestFacesWithClientCertificates(t *testing.T) {
	w := newWorld(t, "")
	addresses := map[string]string{"opa": "", "authzen": "", "mcp": freeLoopback(w)}
	config := "deadlines: {opa: 20s, authzen: 20s}\nlisteners:\n" // patience for slow machines
	for protocol := range addresses {
		if addresses[protocol] == "" {
			var err error
			if addresses[protocol], err = freeport.Address(); err != nil {
				t.Fatal(err)
			}
		}
		config += fmt.Sprintf("  - {address: %q, protocols: [%s], authentication: mtls, client_names: [gate.example], tls: {cert_file: server.pem, key_file: server.key, client_ca_file: clients.pem}, principal: {name: %s-gate, role: verifier, images: [\"%s/acme/**\"]}}\n",
			addresses[protocol], protocol, protocol, w.registry.Host())
	}
	w.configure(config)
	newAuthority(w, "ca").issue("server", 2)
	clients := newAuthority(w, "clients")
	right, wrong := clients.issue("gate.example", 3), clients.issue("other.example", 4)
	stranger := newAuthority(w, "strangers").issue("gate.example", 5)
	w.admin()
	d := w.serve()
	ref, signer := w.keyless("acme/app")
	d.create(signer)

	for protocol, ask := range map[string]struct{ path, body, allows, refuses string }{
		"opa":     {"/v1/data/signing/verdict", `{"input":{"image":%q}}`, `"result":{"allow":true`, `"allow":false,"deny":["The principal \"opa-gate\" may ask about `},
		"authzen": {"/access/v1/evaluation", `{"subject":{"type":"user","id":"a"},"action":{"name":"run"},"resource":{"type":"oci_image","id":%q}}`, `{"decision":true`, `The principal "authzen-gate" may ask about `},
		"mcp": {
			"/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"invoke_hook","arguments":{"hook_type":"runtime_pre_deploy","plugin_name":"ImageSigningPlugin","payload":{"image":%q},"context":{}}}}`,
			`\"continue_processing\":true`, `The principal \\\"mcp-gate\\\" may ask about `,
		},
	} {
		t.Run(protocol, func(t *testing.T) {
			w, url := w.under(t), "https://"+addresses[protocol]+ask.path
			body, elsewhere := fmt.Sprintf(ask.body, ref), fmt.Sprintf(ask.body, w.registry.Host()+"/other/app:v1")
			h := w.caller("ca", right)
			a, err := w.ask(h, http.MethodPost, url, "", body)
			w.wants("the right certificate", a, err, http.StatusOK, ask.allows)
			a, err = w.ask(h, http.MethodPost, url, "", elsewhere)
			if err != nil || !strings.Contains(a.body, ask.refuses) || strings.Contains(a.body, ask.allows) {
				t.Errorf("another team's image: %v %d %s", err, a.status, a.body)
			}
			a, err = w.ask(h, http.MethodPost, url, w.token, body)
			w.wants("a token too", a, err, http.StatusBadRequest, "oken")
			a, err = w.ask(h, http.MethodGet, "https://"+addresses[protocol]+"/api/v1/whoami", "", "")
			w.wants("REST there", a, err, http.StatusNotFound, "")
			a, err = w.ask(http.DefaultClient, http.MethodPost, "http://"+addresses[protocol]+ask.path, "", body)
			w.wants("in clear text", a, err, http.StatusBadRequest, "HTTPS server")
			for what, h := range map[string]*http.Client{"another name": w.caller("ca", wrong), "no certificate": w.caller("ca"), "a stranger's": w.caller("ca", stranger)} {
				if a, err := w.ask(h, http.MethodPost, url, "", body); err == nil {
					t.Errorf("%s: %d %s", what, a.status, a.body)
				}
			}
		})
	}
}
