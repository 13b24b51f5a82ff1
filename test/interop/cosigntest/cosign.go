// Package cosigntest runs the real cosign CLI against registries and roots of
// the test kit, offline. Start with [New]; it skips the test where cosign is not
// there.
package cosigntest

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signet-policy/signet/internal/testkit/require"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

// CLI is a cosign with a home of its own: no configuration, no cache, no way out.
type CLI struct {
	tb   testing.TB
	path string
	dir  string
}

// New finds cosign.
func New(tb testing.TB) *CLI {
	tb.Helper()
	return &CLI{tb: tb, path: require.Cosign(tb), dir: tb.TempDir()}
}

// For is the same CLI for another test, which its errors then end.
func (c *CLI) For(tb testing.TB) *CLI { return &CLI{tb, c.path, c.dir} }

// File writes a file into cosign's folder and returns its path.
func (c *CLI) File(name string, content []byte) string {
	c.tb.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		c.tb.Fatal(err)
	}
	return path
}

// Run runs cosign. The error has what it wrote to stderr.
func (c *CLI) Run(args ...string) (stdout []byte, err error) {
	c.tb.Helper()
	cmd := exec.CommandContext(c.tb.Context(), c.path, args...)
	cmd.Dir = c.dir
	// Any connection but to loopback meets a proxy that is not there.
	const nowhere = "http://127.0.0.1:1"
	cmd.Env = []string{
		"HOME=" + c.dir, "DOCKER_CONFIG=" + c.dir, "TUF_ROOT=" + filepath.Join(c.dir, "tuf"), "SIGSTORE_NO_CACHE=true",
		"COSIGN_PASSWORD=", "PATH=" + os.Getenv("PATH"), "TMPDIR=" + c.dir,
		"HTTP_PROXY=" + nowhere, "HTTPS_PROXY=" + nowhere, "NO_PROXY=127.0.0.1",
	}
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("cosign %s: %w\n%s", strings.Join(args, " "), err, errOut.String())
	}
	return out.Bytes(), nil
}

// Must runs cosign and ends the test if it fails.
func (c *CLI) Must(args ...string) []byte {
	c.tb.Helper()
	out, err := c.Run(args...)
	if err != nil {
		c.tb.Fatal(err)
	}
	return out
}

// Exited tells that cosign ran and refused, as against not having run.
func Exited(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.ExitCode() > 0
}

// Keyless are the flags with which verify and verify-attestation accept a person's
// or a workload's signature under a stack's root.
func (c *CLI) Keyless(s *sigstack.Stack, issuer, subject string) []string {
	c.tb.Helper()
	return []string{
		"--trusted-root", c.TrustedRoot(s), "--certificate-oidc-issuer", issuer, "--certificate-identity", subject,
	}
}

// TrustedRoot writes a stack's root and returns the path.
func (c *CLI) TrustedRoot(s *sigstack.Stack) string {
	c.tb.Helper()
	raw, err := s.TrustedRootJSON()
	if err != nil {
		c.tb.Fatal(err)
	}
	return c.File(s.Name+"-trusted-root.json", raw)
}

// KeyPair is a key pair that cosign made; the private key has an empty password.
type KeyPair struct {
	Private, Public string // paths
	PublicPEM       []byte
}

// GenerateKeyPair has cosign make a key pair.
func (c *CLI) GenerateKeyPair(name string) KeyPair {
	c.tb.Helper()
	prefix := filepath.Join(c.dir, name)
	c.Must("generate-key-pair", "--output-key-prefix", prefix)
	k := KeyPair{Private: prefix + ".key", Public: prefix + ".pub"}
	raw, err := os.ReadFile(k.Public)
	if err != nil {
		c.tb.Fatal(err)
	}
	if block, _ := pem.Decode(raw); block == nil {
		c.tb.Fatalf("cosign's public key is no PEM: %s", raw)
	}
	k.PublicPEM = raw
	return k
}

// noServices writes a signing configuration without any service: key signing
// that asks nobody.
func (c *CLI) noServices() string {
	c.tb.Helper()
	path := filepath.Join(c.dir, "no-services.json")
	if _, err := os.Stat(path); err != nil {
		c.Must("signing-config", "create", "--out", path)
	}
	return path
}

// Sign signs an image with a key, offline, in the new format: a bundle behind
// the referrers API, or its fallback tag.
func (c *CLI) Sign(ref string, key KeyPair, flags ...string) {
	c.tb.Helper()
	c.Must(append(append([]string{"sign", "-y", "--signing-config", c.noServices(), "--key", key.Private}, flags...), ref)...)
}

// SignOld signs an image with a key, offline, in the old format: the .sig tag, or
// with --registry-referrers-mode oci-1-1 a referrer.
func (c *CLI) SignOld(ref string, key KeyPair, flags ...string) {
	c.tb.Helper()
	c.Must(append(append([]string{
		"sign", "-y", "--new-bundle-format=false", "--use-signing-config=false", "--tlog-upload=false", "--key", key.Private,
	}, flags...), ref)...)
}

// Attest attaches an attestation in the new format. The type is a name that
// cosign knows (slsaprovenance1, spdxjson, …) or a URI; the predicate is JSON.
func (c *CLI) Attest(ref string, key KeyPair, predicateType string, predicate []byte, flags ...string) {
	c.tb.Helper()
	c.Must(append(append([]string{
		"attest", "-y", "--signing-config", c.noServices(), "--key", key.Private,
		"--type", predicateType, "--predicate", c.File("predicate.json", predicate),
	}, flags...), ref)...)
}

// AttestOld attaches an attestation in the old format, the .att tag.
func (c *CLI) AttestOld(ref string, key KeyPair, predicateType string, predicate []byte, flags ...string) {
	c.tb.Helper()
	c.Must(append(append([]string{
		"attest", "-y", "--new-bundle-format=false", "--use-signing-config=false", "--tlog-upload=false", "--key", key.Private,
		"--type", predicateType, "--predicate", c.File("predicate.json", predicate),
	}, flags...), ref)...)
}
