// Package cosign has the cosign command line verify an image, for a second opinion.
//
// Start with [New], which looks at the program as a lock looks at a key: an absolute
// path, a regular file that only root or we can change, in folders of which the same
// is true. [CLI.Verify] runs it without a shell, with an environment of its own home
// alone, bounds of time and memory, and no network but a registry on the loopback
// address that has nothing but the evidence that was found.
package cosign

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/signers"
)

// ErrProgram wraps what is wrong with the program's file.
var ErrProgram = errors.New("cosign.path")

// Config of a [CLI]. Path and Manifest are needed.
type Config struct {
	Path string
	// Timeout bounds one question, over all runs of the program (10 s).
	Timeout time.Duration
	// Memory bounds the data of one run, in bytes (1 GiB).
	Memory uint64
	// Manifest gives the manifest of an image by its digest.
	Manifest func(ctx context.Context, image, digest string) (body []byte, mediaType string, err error)
}

const (
	defaultTimeout = 10 * time.Second
	defaultMemory  = 1 << 30
	// mostRuns bounds the runs for one question, and sideBySide those at a time.
	mostRuns   = 64
	sideBySide = 2
	// mostAtOnce bounds the runs at a time over all questions.
	mostAtOnce = 8
	// longestOutput is how much of what the program says is kept, in bytes.
	longestOutput = 2 << 10
	largestFile   = 512 << 20
)

// CLI is the program.
type CLI struct {
	cfg    Config
	digest string
	seen   fs.FileInfo
	// slots are taken by runs, over all questions.
	slots chan struct{}
	// offline says that the program has the flag, once it is known.
	flags   sync.Mutex
	known   bool
	offline bool
}

// New checks the program. Errors wrap [ErrProgram].
func New(cfg Config) (*CLI, error) {
	if cfg.Manifest == nil {
		return nil, errors.New("cosign: Config.Manifest is missing")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Memory == 0 {
		cfg.Memory = defaultMemory
	}
	if !supported {
		return nil, fmt.Errorf("%w: a second opinion needs Linux, where a program's memory can be bounded", ErrProgram)
	}
	info, err := check(cfg.Path)
	if err != nil {
		return nil, err
	}
	sum, err := fileDigest(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProgram, err)
	}
	return &CLI{cfg: cfg, digest: sum, seen: info, slots: make(chan struct{}, mostAtOnce)}, nil
}

// Digest names the program: results of another one are others.
func (c *CLI) Digest() string { return c.digest }

// check says whether nobody but root and we could have put the program there.
func check(path string) (fs.FileInfo, error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return nil, fmt.Errorf("%w: %q is not an absolute path, written out", ErrProgram, path)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProgram, err)
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: %s is not a regular file (a link neither: name what it leads to)", ErrProgram, path)
	case info.Mode().Perm()&0o111 == 0:
		return nil, fmt.Errorf("%w: %s cannot be executed", ErrProgram, path)
	case info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0:
		return nil, fmt.Errorf("%w: %s runs as somebody else (setuid or setgid)", ErrProgram, path)
	case info.Size() > largestFile:
		return nil, fmt.Errorf("%w: %s is larger than %d bytes", ErrProgram, path, largestFile)
	}
	for at := path; ; at = filepath.Dir(at) {
		st, err := os.Lstat(at)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrProgram, err)
		}
		if st.Mode()&fs.ModeSymlink != 0 {
			return nil, fmt.Errorf("%w: %s is a link; name what it leads to", ErrProgram, at)
		}
		if !ours(st) {
			return nil, fmt.Errorf("%w: %s belongs to neither root nor this user", ErrProgram, at)
		}
		if st.Mode().Perm()&0o022 != 0 {
			return nil, fmt.Errorf("%w: %s can be written by others (mode %#o); take that away: chmod go-w", ErrProgram, at, st.Mode().Perm())
		}
		if at == filepath.Dir(at) {
			return info, nil
		}
	}
}

func fileDigest(path string) (string, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// unchanged makes sure that the program is the one that was looked at.
func (c *CLI) unchanged() error {
	now, err := check(c.cfg.Path)
	if err != nil {
		return err
	}
	if !os.SameFile(now, c.seen) || now.Size() != c.seen.Size() || !now.ModTime().Equal(c.seen.ModTime()) {
		return fmt.Errorf("%w: %s was replaced since the server started; start it again to take the new one", ErrProgram, c.cfg.Path)
	}
	return nil
}

// Root is a trust root.
type Root struct {
	Name string
	// Body is a trusted_root.json.
	Body []byte
	// SCT, Log and Timestamp are what it requires.
	SCT, Log, Timestamp bool
}

// Question is about the evidence of one image.
type Question struct {
	Image string
	// Digests are those whose signatures speak for the image.
	Digests []string
	Items   []evidence.Item
	Signers []signers.Identity
	// KeysWithoutLog says that a key's signature needs no log entry.
	KeysWithoutLog bool
	Roots          []Root
}

// Answer is about one signer, in the order of the question's.
type Answer struct {
	Verified bool
	// Output is what the program said, cut short.
	Output string
}

// Verify asks about each signer whether cosign finds a signature by it. An error
// means that it could not be found out.
func (c *CLI) Verify(ctx context.Context, q Question) ([]Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	if err := c.unchanged(); err != nil {
		return nil, err
	}
	home, err := os.MkdirTemp("", "signet-cosign-")
	if err != nil {
		return nil, fmt.Errorf("cosign: %w", err)
	}
	defer func() { _ = os.RemoveAll(home) }()
	runs, err := plan(q, home)
	if err != nil {
		return nil, err
	}
	evidence, err := c.serve(ctx, q)
	if err != nil {
		return nil, err
	}
	defer evidence.close()
	offline, err := c.readFlags(ctx, home)
	if err != nil {
		return nil, err
	}
	answers := make([]Answer, len(q.Signers))
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(sideBySide)
	for _, r := range runs {
		g.Go(func() error {
			mu.Lock()
			done := answers[r.signer].Verified
			mu.Unlock()
			if done {
				return nil
			}
			args := append([]string{"verify", "--allow-http-registry=true", "--output=json", "--max-workers=1"}, r.args...)
			if offline {
				args = append(args, "--offline=true")
			}
			out, err := c.run(ctx, home, append(args, "--", evidence.reference(r.digest))...)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if a := &answers[r.signer]; out.ok || a.Output == "" {
				a.Verified, a.Output = out.ok, out.said
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return answers, nil
}

// readFlags finds out, once, whether the program can be told to stay offline; one
// that cannot does so when it has a trusted root.
func (c *CLI) readFlags(ctx context.Context, home string) (offline bool, err error) {
	c.flags.Lock()
	defer c.flags.Unlock()
	if c.known {
		return c.offline, nil
	}
	out, err := c.run(ctx, home, "verify", "--help")
	if err != nil {
		return false, err
	}
	c.known, c.offline = true, strings.Contains(out.all, "--offline")
	return c.offline, nil
}

// one is a run of the program.
type one struct {
	signer int
	digest string
	args   []string
}

// plan writes the files that the program reads, and says how it is to be run: for
// each signer, digest, trust root and key.
func plan(q Question, home string) ([]one, error) {
	var runs []one
	for i, root := range q.Roots {
		file := filepath.Join(home, fmt.Sprintf("root-%d.json", i))
		if err := os.WriteFile(file, root.Body, 0o600); err != nil {
			return nil, fmt.Errorf("cosign: %w", err)
		}
		under := []string{"--trusted-root=" + file}
		for n, s := range q.Signers {
			if len(s.TrustRoots) > 0 && !contains(s.TrustRoots, root.Name) {
				continue
			}
			identities, err := identityFlags(s, root, q.KeysWithoutLog, filepath.Join(home, fmt.Sprintf("key-%d", n)))
			if err != nil {
				return nil, err
			}
			for _, digest := range q.Digests {
				for _, flags := range identities {
					runs = append(runs, one{n, digest, append(append([]string{}, under...), flags...)})
				}
			}
		}
	}
	if len(runs) > mostRuns {
		return nil, fmt.Errorf("cosign: %d runs would be needed, of at most %d; name fewer signers, keys or trust roots", len(runs), mostRuns)
	}
	return runs, nil
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// identityFlags name a signer as cosign does, once for each of its keys.
func identityFlags(s signers.Identity, root Root, keysWithoutLog bool, file string) ([][]string, error) {
	if s.Type == signers.Keyless {
		flags := []string{"--certificate-oidc-issuer=" + s.Issuer}
		if s.Pattern != "" {
			flags = append(flags, "--certificate-identity-regexp="+s.Pattern)
		} else {
			flags = append(flags, "--certificate-identity="+s.Subject)
		}
		flags = append(flags, fmt.Sprintf("--insecure-ignore-sct=%t", !root.SCT))
		if !root.Log {
			flags = append(flags, "--insecure-ignore-tlog=true")
		}
		if root.Timestamp {
			flags = append(flags, "--use-signed-timestamps=true")
		}
		return [][]string{flags}, nil
	}
	var list [][]string
	for k, key := range s.Keys {
		path := fmt.Sprintf("%s-%d.pub", file, k)
		if err := os.WriteFile(path, []byte(key.PEM), 0o600); err != nil {
			return nil, fmt.Errorf("cosign: %w", err)
		}
		flags := []string{"--key=" + path}
		if keysWithoutLog || !root.Log {
			flags = append(flags, "--insecure-ignore-tlog=true")
		}
		list = append(list, flags)
	}
	return list, nil
}
