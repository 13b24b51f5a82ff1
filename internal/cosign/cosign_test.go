package cosign

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/require"
)

const samples = "../../test/testdata/samples/"

func read(t *testing.T, path string) []byte {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// sample is an image of the samples with what was found for it.
func sample(t *testing.T, server *registrytest.Server, client *registry.Client, layout string) (image, digest string, items []evidence.Item) {
	t.Helper()
	server.PushLayout(samples+"layouts/"+layout, "org/"+layout)
	image = server.Host() + "/org/" + layout + ":v1"
	q := evidence.Query{Image: image}
	s, err := client.Resolve(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	found, err := client.Collect(t.Context(), s, q)
	if err != nil {
		t.Fatal(err)
	}
	return image, s.Digest, found.Items
}

func identities(t *testing.T, list ...signers.Signer) []signers.Identity {
	t.Helper()
	for i := range list {
		list[i].Enabled, list[i].Name = true, "test/"+string(rune('a'+i))
	}
	set, err := signers.Compile(list)
	if err != nil {
		t.Fatal(err)
	}
	out, _ := set.Identities("", time.Now(), 16)
	return out
}

func keyed(t *testing.T, file string) signers.Signer {
	t.Helper()
	keys, err := signers.ParseKeys(string(read(t, samples+file)))
	if err != nil {
		t.Fatal(err)
	}
	return signers.Signer{Type: signers.PublicKey, Keys: keys}
}

// The real cosign finds what is there, by who signed it, in every format, and
// nothing else; it asks nobody but us.
func TestVerify(t *testing.T) {
	server := registrytest.New(t, registrytest.Options{})
	client, err := registry.New(registry.Config{Limits: evidence.DefaultLimits(), Registries: []registry.Settings{{Host: server.Host(), Insecure: true}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	cli, err := New(Config{Path: require.Cosign(t), Timeout: 2 * time.Minute, Manifest: client.Manifest})
	if err != nil {
		t.Fatal(err)
	}
	root := Root{Name: "test", Body: read(t, samples+"trusted-root.json"), SCT: true, Log: true}
	gha := signers.Signer{Type: signers.Keyless, Issuer: "http://127.0.0.1:8088/gha", Subject: "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"}
	pattern := signers.Signer{Type: signers.Keyless, Issuer: gha.Issuer, SubjectRegex: "https://github.com/acme/.*"}
	evil := signers.Signer{Type: signers.Keyless, Issuer: gha.Issuer, SubjectRegex: "https://github.com/acm"}
	other := signers.Signer{Type: signers.Keyless, Issuer: "http://127.0.0.1:8088", Subject: gha.Subject}
	dev := signers.Signer{Type: signers.Keyless, Issuer: "http://127.0.0.1:8088", Subject: "dev@example.test"}
	signer, stranger := keyed(t, "signer.pub"), keyed(t, "other.pub")
	for _, tt := range []struct {
		layout  string
		signers []signers.Signer
		noLog   bool
		want    []bool
	}{
		{"keyless-gha", []signers.Signer{gha, pattern, evil, other}, false, []bool{true, true, false, false}},
		{"keyless-r2", []signers.Signer{dev}, false, []bool{true}},
		{"keyless-r1", []signers.Signer{dev}, false, []bool{true}},
		{"key-r2", []signers.Signer{signer, stranger}, false, []bool{true, false}},
		{"key-none", []signers.Signer{signer}, false, []bool{false}},
		{"key-none", []signers.Signer{signer}, true, []bool{true}},
		{"old-keyless", []signers.Signer{dev}, false, []bool{true}},
		{"old-key-r1", []signers.Signer{signer, stranger}, false, []bool{true, false}},
		{"copied-sig", []signers.Signer{signer, dev}, true, []bool{false, false}},
		{"attested", []signers.Signer{dev}, false, []bool{false}},
		{"unsigned", []signers.Signer{dev, signer}, false, []bool{false, false}},
	} {
		name := tt.layout
		if tt.noLog {
			name += ", keys without a log"
		}
		t.Run(name, func(t *testing.T) {
			image, digest, items := sample(t, server, client, tt.layout)
			got, err := cli.Verify(t.Context(), Question{
				Image: image, Digests: []string{digest}, Items: items, Signers: identities(t, tt.signers...), KeysWithoutLog: tt.noLog, Roots: []Root{root},
			})
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range tt.want {
				if got[i].Verified != want || got[i].Output == "" {
					t.Errorf("signer %d: %t, want %t: %s", i, got[i].Verified, want, got[i].Output)
				}
			}
		})
	}
}

// program writes a script in place of cosign, into a folder of which nobody else can
// change anything, as the temporary folder of the system is not one.
func program(t *testing.T, script string) string {
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
	path := filepath.Join(dir, "cosign")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

const manifestBody = `{"schemaVersion":2}`

func question(t *testing.T) Question {
	t.Helper()
	dev := signers.Signer{Type: signers.Keyless, Issuer: "https://issuer.test", Subject: "$(touch x); dev"}
	return Question{Image: "a.b/c", Digests: []string{digestOf([]byte(manifestBody))}, Signers: identities(t, dev), Roots: []Root{{Name: "test", Body: []byte("{}")}}}
}

func fixed(context.Context, string, string) ([]byte, string, error) {
	return []byte(manifestBody), mediaManifest, nil
}

// A program that does not behave is no answer, and gets nothing of ours.
func TestRun(t *testing.T) {
	t.Setenv("SECRET_OF_OURS", "x")
	for _, tt := range []struct {
		name, script string
		verified     bool
		says         string // of the output, or of the error
		fails        bool
	}{
		{"says yes", `echo '[{}]'`, true, "[{}]", false},
		{"says no", `echo no >&2; exit 1`, false, "no", false},
		{"environment", `env | grep -v -e ^HOME= -e ^PWD= -e ^SHLVL= -e ^_= -e ^OLDPWD= >&2; test -n "$SECRET_OF_OURS" && exit 0; echo clean >&2; exit 1`, false, "clean", false},
		{"its own home", `case "$HOME" in */signet-cosign-*) test "$(pwd)" = "$HOME" && echo at home >&2;; esac; exit 1`, false, "at home", false},
		{"no shell", `for a in "$@"; do case "$a" in *'$(touch x); dev') echo as it is >&2;; esac; done; exit 1`, false, "as it is", false},
		{"hangs", `sleep 600`, false, "did not end within", true},
		{"leaves a child that hangs", `sleep 600 & sleep 600`, false, "did not end within", true},
		{"kills itself", `kill -9 $$`, false, "ended by", true},
		{"never stops talking", `i=0; while [ $i -lt 20000 ]; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa >&2; i=$((i+1)); done; exit 1`, false, "…", false},
		{"writes too large a file", `dd if=/dev/zero of=big bs=1048576 count=64 2>/dev/null && echo written; exit 1`, false, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			timeout := 30 * time.Second
			if tt.says == "did not end within" {
				timeout = time.Second
			}
			cli, err := New(Config{Path: program(t, tt.script), Timeout: timeout, Manifest: fixed})
			if err != nil {
				t.Fatal(err)
			}
			got, err := cli.Verify(t.Context(), question(t))
			if tt.fails {
				if err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("answers %+v, error %v, want %q", got, err, tt.says)
				}
				return
			}
			if err != nil || got[0].Verified != tt.verified || !strings.Contains(got[0].Output, tt.says) || len(got[0].Output) > longestOutput+8 {
				t.Errorf("answers %+v, error %v, want %q", got, err, tt.says)
			}
			if strings.Contains(got[0].Output, "written") {
				t.Error("it wrote a file of 64 MiB")
			}
		})
	}
}

// Who could change the program could make it say what they like.
func TestNewRefuses(t *testing.T) {
	good := program(t, "exit 0")
	link := filepath.Join(filepath.Dir(good), "link")
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	file := func(name string, mode os.FileMode) string {
		path := filepath.Join(filepath.Dir(good), name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	temp := filepath.Join(t.TempDir(), "cosign") // below a folder that everybody may write to
	if err := os.WriteFile(temp, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{
		"": "not an absolute path", "cosign": "not an absolute path", good + "/../cosign": "not an absolute path", good + "-none": "no such file",
		link: "not a regular file", filepath.Dir(good): "not a regular file", file("plain", 0o600): "cannot be executed",
		file("group", 0o770): "can be written by others", file("others", 0o707): "can be written by others", temp: "can be written by others", file("setuid", 0o700|os.ModeSetuid): "setuid",
	} {
		if _, err := New(Config{Path: path, Manifest: fixed}); !errors.Is(err, ErrProgram) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", path, err, says)
		}
	}
	cli, err := New(Config{Path: good, Manifest: fixed})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(good); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(good, []byte("#!/bin/sh\nexit 0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := cli.Verify(t.Context(), question(t)); !errors.Is(err, ErrProgram) || !strings.Contains(err.Error(), "was replaced") {
		t.Errorf("replaced: %v", err)
	}
}

// What is served is only what was found, and a manifest that hashes otherwise is
// nobody's.
func TestManifestMustHash(t *testing.T) {
	cli, err := New(Config{Path: program(t, "exit 0"), Manifest: func(context.Context, string, string) ([]byte, string, error) {
		return []byte(`{"schemaVersion":3}`), mediaManifest, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cli.Verify(t.Context(), question(t)); err == nil || !strings.Contains(err.Error(), "does not hash") {
		t.Errorf("error %v", err)
	}
}
