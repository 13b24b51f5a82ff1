package main

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
)

// The table of "when we cannot decide", cell by cell: five faces, with a registry that
// is down, slow and hostile. The deadlines here are shorter than those of the table.
func TestFacesThatCannotDecide(t *testing.T) {
	w := newWorld(t, "")
	address := freeLoopback(w)
	w.configure(fmt.Sprintf(`
deadlines: {rest: 3s, opa: 3s, authzen: 3s, mcp: 3s}
mcp: {unmapped: deny}
listeners:
  - {address: "unix:opa.sock", protocols: [opa], authentication: socket, principal: {name: opa, role: verifier}}
  - {address: "unix:zen.sock", protocols: [authzen], authentication: socket, principal: {name: authzen, role: verifier}}
  - {address: %q, protocols: [mcp], authentication: none_on_loopback, principal: {name: mcp, role: verifier}}`, address))
	w.admin()
	policy := w.file("policy.yaml", []byte("signing_policy:\n  require_signature: true\n  trusted_signers: [{type: keyless, issuer: \"https://accounts.google.com\", subject: \"a@example.com\"}]\n"))
	d := w.serve()
	opa, zen := onSocket(w.path("opa.sock")), onSocket(w.path("zen.sock"))
	const hook = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"invoke_hook","arguments":{"hook_type":"assessment_post_container_scan","plugin_name":"ImageSigningPlugin","payload":{"image_ref":%q},"context":{}}}}`
	const subject = `{"subject":{"type":"user","id":"a"},"action":{"name":"run"},`

	for name, registry := range map[string]struct {
		does registrytest.Action
		// why are the codes of which the verdict's reason has one: a registry that is
		// down is tried again for as long as there is time.
		why []string
	}{
		"down":    {registrytest.Hangup(), []string{"registry_unavailable", "still_verifying"}},
		"slow":    {registrytest.Hang(), []string{"still_verifying"}},
		"hostile": {registrytest.Endless("application/vnd.oci.image.manifest.v1+json"), nil},
	} {
		for _, face := range []struct {
			name, url, token, body string
			h                      *http.Client
			status                 int
			retry                  bool
			says                   []string
		}{
			{"REST", d.address + "/api/v1/verdicts", w.token, `{"image":%q}`, http.DefaultClient, 503, true, []string{`"decision":"unknown"`, `"allowed":false`, `"reasons":[{"code":`}},
			{"the plugin's paths", d.address + "/api/v1/image-signing/verify", w.token, `{"image_ref":%q}`, http.DefaultClient, 503, true, []string{`"decision":"unknown"`, `"blocked":true`}},
			{"MCP", "http://" + address + "/mcp", "", hook, http.DefaultClient, 200, false, []string{`\"error\":{\"message\":\"`, `\"code\":\"IMAGE_SIGNING_UNAVAILABLE\"`, `\"verdict\":\"unknown\"`, `"isError":false`}},
			{"OPA", "http://signet/v1/data/signing/verdict", "", `{"input":{"image":%q}}`, opa, 200, false, []string{`"result":{"allow":false,"deny":["`, `"decision":"unknown"`}},
			{"OPA's allow", "http://signet/v1/data/signing/verdict/allow", "", `{"input":{"image":%q}}`, opa, 200, false, []string{`"result":false`}},
			{"AuthZEN", "http://signet/access/v1/evaluation", "", subject + `"resource":{"type":"oci_image","id":%q}}`, zen, 503, true, []string{`{"decision":false,"context":{"decision":"unknown"`}},
			{"AuthZEN's batch", "http://signet/access/v1/evaluations", "", subject + `"evaluations":[{"resource":{"type":"oci_image","id":%q}}]}`, zen, 200, false, []string{`{"evaluations":[{"decision":false,"context":{"decision":"unknown"`}},
		} {
			t.Run(name+"/"+face.name, func(t *testing.T) {
				w := w.under(t)
				// An image of its own: nothing of what another face began helps.
				repository := fmt.Sprintf("%s-%s", name, strings.ToLower(strings.NewReplacer(" ", "-", "'", "").Replace(face.name)))
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					w.registry.On(registrytest.Path(method, "/"+repository+"/"), registry.does)
				}
				begun := time.Now()
				a, err := w.ask(face.h, http.MethodPost, face.url, face.token, fmt.Sprintf(face.body, w.registry.Host()+"/"+repository+":v1"))
				if took := time.Since(begun); took > 25*time.Second { // the deadline, and a machine that does other work
					t.Errorf("answered after %s", took)
				}
				for _, says := range face.says {
					w.wants(face.name, a, err, face.status, says)
				}
				if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); (err == nil && seconds > 0) != face.retry {
					t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
				}
				found := registry.why == nil || face.name == "OPA's allow"
				for _, code := range registry.why {
					found = found || strings.Contains(a.body, code)
				}
				if !found {
					t.Errorf("none of %v: %s", registry.why, a.body)
				}
			})
		}
		t.Run(name+"/CLI", func(t *testing.T) {
			w := w.under(t)
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				w.registry.On(registrytest.Path(method, "/"+name+"-cli/"), registry.does)
			}
			junit, sarif := w.path(name+".xml"), w.path(name+".sarif")
			w.file(name+".txt", []byte(w.registry.Host()+"/"+name+"-cli:v1\n"))
			code, out, errs := w.run("verify", "-f", w.path(name+".txt"), "--policy", policy, "--deadline", "2s", "--junit", junit, "--sarif", sarif)
			if code != exitUnknown || !strings.Contains(out, "UNKNOWN") {
				t.Errorf("exit code %d, want %d: %s%s", code, exitUnknown, out, errs)
			}
			var cases struct {
				Suites []struct {
					Cases []struct {
						Error   *struct{} `xml:"error"`
						Failure *struct{} `xml:"failure"`
					} `xml:"testcase"`
				} `xml:"testsuite"`
			}
			body, err := os.ReadFile(junit)
			if err != nil || xml.Unmarshal(body, &cases) != nil || len(cases.Suites) != 1 || len(cases.Suites[0].Cases) != 1 {
				t.Fatalf("JUnit: %v\n%s", err, body)
			}
			if one := cases.Suites[0].Cases[0]; one.Error == nil || one.Failure != nil {
				t.Errorf("JUnit has no error:\n%s", body)
			}
			var log struct {
				Runs []struct {
					Results []struct{ RuleID, Level string }
				}
			}
			body, err = os.ReadFile(sarif)
			if err != nil || json.Unmarshal(body, &log) != nil || len(log.Runs) != 1 || len(log.Runs[0].Results) == 0 {
				t.Fatalf("SARIF: %v\n%s", err, body)
			}
			for _, r := range log.Runs[0].Results {
				if r.RuleID != "unknown" || r.Level != "error" {
					t.Errorf("SARIF has %+v", r)
				}
			}
		})
	}
}

// The deadlines where nobody has set others, which docs/gateway.md and
// docs/integrators.md promise.
func TestDefaultDeadlines(t *testing.T) {
	want := config.Deadlines{REST: config.Duration(30 * time.Second), MCP: config.Duration(25 * time.Second), OPA: config.Duration(800 * time.Millisecond), AuthZEN: config.Duration(400 * time.Millisecond)}
	if got := config.Default().Deadlines; got != want {
		t.Errorf("%+v", got)
	}
	w := newWorld(t, "")
	if out := w.do("verify", "--help"); !strings.Contains(out, "60s") {
		t.Errorf("the help of verify names no deadline of 60s:\n%s", out)
	}
}

// What a page about GitLab shows is what the example has, and it does what it says:
// it lets a merge request pass or fails it, with a report, and fails when Helm does.
func TestGitLabExample(t *testing.T) {
	body, err := os.ReadFile("../../docs/examples/ci/gitlab-ci.yml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/ci.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, job, _ := strings.Cut(string(body), "\n"); !strings.Contains(string(page), "```yaml\n"+job+"```") {
		t.Error("docs/ci.md shows another job than docs/examples/ci/gitlab-ci.yml")
	}
	var file map[string]struct {
		Stage     string
		Image     string
		Script    []string
		Artifacts struct {
			When    string
			Reports map[string]string
		}
	}
	dec := yaml.NewDecoder(strings.NewReader(string(body)))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil {
		t.Fatal(err)
	}
	job := file["verify-images"]
	if len(file) != 1 || job.Stage != "test" || len(job.Script) != 3 || job.Artifacts.When != "always" || job.Artifacts.Reports["junit"] == "" {
		t.Fatalf("the job is %+v", file)
	}
	module, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(module), "\n")
	if want := "go install " + strings.TrimPrefix(first, "module ") + "/cmd/signet@latest"; job.Script[0] != want {
		t.Errorf("the program comes by %q, want %q", job.Script[0], want)
	}

	w := newWorld(t, "")
	signed, signer := w.keyless("acme/app")
	unsigned := w.registry.Host() + "/acme/other@" + w.registry.Push("acme/other", "", ocitest.Image(ocitest.ImageOptions{Content: "other"}))
	w.file("signing-policy.yaml", fmt.Appendf(nil, "signing_policy:\n  require_signature: true\n  trusted_signers: [{type: keyless, issuer: %q, subject: %q}]\n", signer.Issuer, signer.Subject))
	helm := func(script string) {
		t.Helper()
		if err := os.WriteFile(w.path("helm"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	chart := func(image string) string {
		return "test \"$*\" = 'template shop ./chart' || exit 3\ncat <<'END'\napiVersion: v1\nkind: Pod\nmetadata: {name: shop}\nspec: {containers: [{name: shop, image: \"" + image + "\"}]}\nEND\n"
	}
	compose := func(image string) {
		w.file("compose.yaml", []byte("services: {shop: {image: \""+image+"\"}}\n"))
	}
	run := func(what string, want int) {
		t.Helper()
		report := w.path(job.Artifacts.Reports["junit"])
		_ = os.Remove(report)
		cmd := w.process()
		signet := filepath.Dir(cmd.Path)
		shell := w.process() // GitLab runs each line so (set -eo pipefail)
		shell.Path, shell.Args = "/bin/bash", []string{"bash", "-eo", "pipefail", "-c", job.Script[2]}
		shell.Env = append(shell.Env, "PATH="+w.dir+":"+signet+":"+os.Getenv("PATH"))
		code, out, errs := w.finish(shell)
		if code != want {
			t.Errorf("%s: exit code %d, want %d\n%s%s", what, code, want, out, errs)
		}
		if _, err := os.Stat(report); (err == nil) != (want <= exitUnknown) {
			t.Errorf("%s: the report: %v", what, err)
		}
	}
	helm(chart(signed))
	compose(signed)
	run("both may run", exitAllow)
	compose(unsigned)
	run("the Compose file's may not", exitDeny)
	compose(signed)
	helm(chart(unsigned))
	run("the chart's may not", exitDeny)
	helm(chart(w.registry.Host() + "/acme/absent:v1"))
	run("the chart's is not there", exitUnknown)
	helm("echo no such chart >&2; exit 1\n")
	run("Helm fails", exitUsage)
}
