package corpus

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/require"
	"github.com/signet-policy/signet/internal/verdict"
	"github.com/signet-policy/signet/internal/verify"
	"github.com/signet-policy/signet/test/wire"
)

// program is the built signet.
type program struct{ path, home string }

func build(t *testing.T) program {
	t.Helper()
	p := program{path: filepath.Join(t.TempDir(), "signet"), home: t.TempDir()}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", p.path, "../../cmd/signet").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return p
}

// run gives stdout and the exit code.
func (p program) run(t *testing.T, args ...string) ([]byte, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.path, args...)
	cmd.Env = []string{"HOME=" + p.home, "SIGNET_DATA_DIR=" + filepath.Join(p.home, "data"), "PATH=" + os.Getenv("PATH")}
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	t.Logf("signet %s\n%s", strings.Join(args, " "), errOut.String())
	return out.Bytes(), cmd.ProcessState.ExitCode()
}

// The program that users run answers as the wiring of these tests does: the same
// verdict, to the letter, and the same input document.
func TestProgram(t *testing.T) {
	signet := build(t)
	sample := func(name string) string { return filepath.Join(samples, "layouts", name) }
	root := filepath.Join(samples, "trusted-root.json")
	key := readKey(t, filepath.Join(samples, "signer.pub"))
	server := registrytest.New(t, registrytest.Options{})
	layouts := registry.Config{AllowLayouts: true}
	old := serve(t, server, sample("old-key"), "samples/old-key")

	type run struct {
		name  string
		flags []string
		// The identity in flags, "" for a key.
		issuer, subject, regex string
		asked
		exit int
	}
	runs := []run{
		{
			name:   "layout, keyless",
			flags:  []string{"--issuer", personIssuer, "--subject", "dev@example.test", "--trusted-root", root},
			issuer: personIssuer, subject: "dev@example.test",
			asked: asked{image: layoutReference(t, sample("keyless-r2"), sampleNamed(t, "keyless-r2").Digest), registry: layouts},
		},
		{
			name:   "layout, stranger",
			flags:  []string{"--issuer", personIssuer, "--subject", "other@example.test", "--trusted-root", root},
			issuer: personIssuer, subject: "other@example.test",
			asked: asked{image: layoutReference(t, sample("keyless-r2"), sampleNamed(t, "keyless-r2").Digest), registry: layouts},
			exit:  1,
		},
		{
			name:   "layout, platform",
			flags:  []string{"--issuer", workflowIssuer, "--subject-regex", "https://github.com/acme/.*", "--platform", "linux/arm64", "--trusted-root", root},
			issuer: workflowIssuer, regex: "https://github.com/acme/.*",
			asked: asked{image: layoutReference(t, sample("multi-arch"), sampleNamed(t, "multi-arch").Digest), registry: layouts, platform: "linux/arm64"},
		},
		{
			name:  "registry, key",
			flags: []string{"--key", filepath.Join(samples, "signer.pub"), "--insecure-registry", server.Host(), "--trusted-root", root},
			asked: asked{image: server.Image("samples/old-key", "v1"), registry: old, keys: []signers.Key{key}},
		},
		{
			name:  "copied signature",
			flags: []string{"--key", filepath.Join(samples, "signer.pub"), "--trusted-root", root},
			asked: asked{image: layoutReference(t, sample("copied-sig"), sampleNamed(t, "copied-sig").Digest), registry: layouts, keys: []signers.Key{key}},
			exit:  1,
		},
	}
	for i := range runs {
		runs[i].roots = readRoots(t, root)
	}
	if dir, ok := corpusHere(t); ok {
		const github = "https://token.actions.githubusercontent.com"
		gh := filepath.Join(dir, "gh-reusable-workflow")
		artifact := filepath.Join(gh, "artifact")
		pgi := filepath.Join(dir, "roots", "pgi-2025-09-22.json")
		runs = append(runs, run{
			name:   "bundle",
			flags:  []string{"--bundle", filepath.Join(gh, "bundle.sigstore.json"), "--issuer", github, "--subject-regex", ".*", "--trusted-root", pgi},
			issuer: github, regex: ".*",
			asked: asked{image: artifact, roots: readRoots(t, pgi), artifact: &wire.Artifact{
				Name: artifact, Artifact: verify.Artifact{Bytes: read(t, artifact)}, Bundle: read(t, filepath.Join(gh, "bundle.sigstore.json")),
			}},
			exit: 1,
		}, run{
			name:   "evidence only",
			flags:  []string{"--evidence-only", "--issuer", github, "--subject-regex", "https://github.com/salrashid123/.*", "--trusted-root", pgi},
			issuer: github, regex: "https://github.com/salrashid123/.*",
			asked: asked{
				image: layoutReference(t, filepath.Join(dir, "bazel-gha-d", "layout"), "sha256:8c0d347ab4b606c93ba087efc5c0e6e58154b052b0eb1d658a313cdaeff93d71"),
				roots: readRoots(t, pgi), registry: layouts, evidenceOnly: true,
			},
		})
	}
	for _, r := range runs {
		t.Run(r.name, func(t *testing.T) {
			p, err := signingpolicy.OneOff(r.keys, r.issuer, r.subject, r.regex)
			if err != nil {
				t.Fatal(err)
			}
			r.policy = p
			want := ask(t, r.asked)
			flags := append(append([]string{"--offline"}, r.flags...), r.image)

			out, code := signet.run(t, append([]string{"verify", "--json"}, flags...)...)
			var v verdict.Verdict
			if err := json.Unmarshal(out, &v); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
			if code != r.exit {
				t.Errorf("exit %d, want %d", code, r.exit)
			}
			if diff := cmp.Diff(timeless(t, want), timeless(t, answer{v, want.input})); diff != "" {
				t.Errorf("verdict (-wired here +program):\n%s", diff)
			}

			out, code = signet.run(t, append([]string{"facts"}, flags...)...)
			var in facts.Input
			if err := json.Unmarshal(out, &in); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
			if code != 0 {
				t.Errorf("facts: exit %d with a complete search", code)
			}
			in.EvaluatedAt = want.input.EvaluatedAt
			if diff := cmp.Diff(asJSON(t, want.input), asJSON(t, in)); diff != "" {
				t.Errorf("input (-wired here +program):\n%s", diff)
			}
		})
	}
}

// timeless is a verdict without what differs between two runs, and without the
// commands that mend it, which the program puts in its own words.
func timeless(t *testing.T, a answer) any {
	t.Helper()
	v := normalVerdict(t, "", a)
	v.EvaluatedAt, v.ExpiresAt = time.Time{}, time.Time{}
	v.FactsDigest = a.verdict.FactsDigest
	for i := range v.Reasons {
		v.Reasons[i].Remediation = ""
	}
	for _, p := range v.Policies {
		for i := range p.Reasons {
			p.Reasons[i].Remediation = ""
		}
	}
	return asJSON(t, v)
}

func asJSON(t *testing.T, v any) any {
	t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// corpusHere is for a test that does more where the corpus is; TestCorpus is the
// one that is skipped without it.
func corpusHere(t *testing.T) (string, bool) {
	t.Helper()
	where, ok, err := require.Find("corpus")
	if err != nil {
		t.Fatal(err)
	}
	return where, ok
}
