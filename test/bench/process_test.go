package bench

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/testkit/require"
)

// pairs is how often the two programs are run in turn.
const pairs = 40

// Who signed the samples keyless-gha and key-r2.
const (
	workflowIssuer = "http://127.0.0.1:8088/gha"
	workflow       = "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"
)

// BenchmarkVerifyProcess runs `signet verify` and `cosign verify` as a user does,
// on the same image, in one registry, under the same trusted root, offline.
func BenchmarkVerifyProcess(b *testing.B) {
	signet, cosign := builtSignet(b), require.Cosign(b)
	root, err := filepath.Abs(filepath.Join(samples, "trusted-root.json"))
	if err != nil {
		b.Fatal(err)
	}
	key, err := filepath.Abs(filepath.Join(samples, "signer.pub"))
	if err != nil {
		b.Fatal(err)
	}
	for _, bm := range []struct {
		name, sample   string
		row            Row
		signet, cosign []string
	}{
		{
			"keyless", "keyless-gha", rowKeyless,
			[]string{"--issuer", workflowIssuer, "--subject", workflow},
			[]string{"--certificate-oidc-issuer", workflowIssuer, "--certificate-identity", workflow},
		},
		{"key", "key-r2", rowKey, []string{"--key", key}, []string{"--key", key}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			host := registryOf(b, bm.sample)
			image := host + "/bench/" + bm.sample + ":v1"
			ours := newProgram(b, signet, append([]string{"verify", "--offline", "--trusted-root", root, "--insecure-registry", host, image}, bm.signet...)...)
			theirs := newProgram(b, cosign, append([]string{"verify", "--trusted-root", root, image}, bm.cosign...)...)
			for range 3 { // pages of both in memory
				ours.run(b)
				theirs.run(b)
			}
			var s, c timings
			for b.Loop() {
				for i := range pairs {
					if i%2 == 0 {
						s.add(ours.run(b))
						c.add(theirs.run(b))
					} else {
						c.add(theirs.run(b))
						s.add(ours.run(b))
					}
				}
			}
			sw, sc, cw, cc := Median(s.wall), Median(s.cpu), Median(c.wall), Median(c.cpu)
			b.ReportMetric(sc/cc, "signet/cosign-cpu")
			measured(b, bm.row, sw/cw, "signet/cosign", "%.1f ms of %.1f ms; CPU %.1f ms of %.1f ms, %.2f; medians of %d", sw, cw, sc, cc, sc/cc, len(s.wall))
		})
	}
}

// timings are milliseconds.
type timings struct{ wall, cpu []float64 }

func (t *timings) add(wall, cpu time.Duration) {
	t.wall = append(t.wall, wall.Seconds()*1000)
	t.cpu = append(t.cpu, cpu.Seconds()*1000)
}

// program is a program with its arguments, in a home of its own. Whatever is
// beyond loopback meets a proxy that is not there.
type program struct {
	path string
	args []string
	env  []string
}

func newProgram(b *testing.B, path string, args ...string) *program {
	b.Helper()
	const nowhere = "http://127.0.0.1:1"
	home := b.TempDir()
	return &program{path, args, []string{
		"HOME=" + home, "DOCKER_CONFIG=" + home, "TUF_ROOT=" + filepath.Join(home, "tuf"), "SIGSTORE_NO_CACHE=true",
		"SIGNET_DATA_DIR=" + filepath.Join(home, "data"), "PATH=" + os.Getenv("PATH"), "TMPDIR=" + home,
		"HTTP_PROXY=" + nowhere, "HTTPS_PROXY=" + nowhere, "NO_PROXY=127.0.0.1",
	}}
}

// run runs it once, to success, and gives its wall time and its CPU time, the
// kernel's included.
func (p *program) run(b *testing.B) (wall, cpu time.Duration) {
	b.Helper()
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = p.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	begun := time.Now()
	err := cmd.Run()
	wall = time.Since(begun)
	if err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			b.Fatal(err)
		}
		b.Fatalf("%s: %v\n%s", filepath.Base(p.path), err, stderr.String())
	}
	return wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}
