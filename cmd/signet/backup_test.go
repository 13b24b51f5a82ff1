package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/testkit/pgtest"
)

// A backup is taken while the server runs, and makes the same installation of an
// empty data directory, or of an empty database.
func TestBackup(t *testing.T) {
	w := newWorld(t, "")
	w.admin()
	d := w.serve()
	ref, signer := w.keyless("acme/app")
	signer = d.create(signer)
	given := d.decides(ref, client.Allow)
	if _, err := d.CreateToken(t.Context(), client.NewToken{Name: "ci", Role: "verifier", Team: "red"}); err != nil {
		t.Fatal(err)
	}
	policy := w.file("extra.yaml", []byte("signing_policy: {name: extra, mode: audit, images: [\"ghcr.io/**\"], trusted_signers: [{type: registry}]}"))
	w.do("policies", "put", policy, "--why", "to be kept")
	lists := [][]string{{"signers", "export"}, {"token", "list"}, {"policies", "list"}, {"trust", "list", "--json"}, {"verdicts", "list"}, {"audit", "list"}, {"audit", "head"}, {"trust", "export-key"}}
	list := func(w *world, args []string) string {
		w.Helper()
		out := w.do(args...)
		if args[0] == "token" { // when it was last used is written a moment later
			out = regexp.MustCompile(`(?m) +\S+$`).ReplaceAllString(out, "")
		}
		return out
	}
	var before []string
	for _, args := range lists {
		before = append(before, list(w, args))
	}
	head := strings.TrimSpace(w.do("audit", "head"))

	code, out, errs := w.run("backup", w.path("all"))
	if code != exitAllow || out != "" || !strings.Contains(errs, "holds the installation's secret") {
		t.Fatalf("backup: exit code %d\n%s%s", code, out, errs)
	}
	if st, err := os.Stat(w.path("all")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the backup is %v (%v)", st, err)
	}
	w.fails(exitUsage, "is there already", "backup", w.path("all"))
	piped := w.do("backup", "-")
	w.file("piped", []byte(piped))

	// What was asked later is not in it, and the server did not notice.
	if _, err := d.UpdateSigner(t.Context(), signer.ID, signer.Version, map[string]any{"enabled": false}); err != nil {
		t.Fatal(err)
	}
	d.decides(ref, client.Deny)
	d.stop(syscall.SIGTERM)

	for _, tt := range []struct{ name, backup, database string }{
		{"a data directory", "all", ""},
		{"from a pipe", "piped", ""},
		{"a database", "all", pgtest.Database(t)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newWorldLike(w.under(t), "")
			if tt.database != "" {
				r.env = append(r.env, "SIGNET_DATABASE_URL="+tt.database)
			}
			r.token = w.token
			r.do("restore", w.path(tt.backup))
			for i, args := range lists {
				if diff := cmp.Diff(before[i], list(r, args)); diff != "" {
					t.Errorf("signet %s is not what it was:\n%s", strings.Join(args, " "), diff)
				}
			}
			r.do("audit", "verify", "--known", head)
			r.fails(exitFailure, "audit log", "audit", "verify", "--known", "2:"+strings.Repeat("0", 64))
			r.fails(exitUsage, "in use already", "restore", w.path(tt.backup)) // not over something

			// A server goes on where the other one was.
			d := r.serve()
			d.decides(ref, client.Allow)
			got, err := d.Verdict(t.Context(), given.ID)
			if err != nil || cmp.Diff(string(given.Raw), string(got.Raw)) != "" {
				t.Errorf("the verdict of before is %s (%v)", got.Raw, err)
			}
			if tt.database == "" {
				r.fails(exitFailure, "in use by process", "restore", w.path(tt.backup))
			}
			r.do("audit", "verify", "--known", head)
			if tt.database == "" {
				return
			}
			// And back again, from the database, while the server runs.
			r.do("backup", r.path("back"))
			back := newWorldLike(w.under(t), "")
			back.do("restore", r.path("back"))
			if diff := cmp.Diff(before[0], back.do("signers", "export")); diff != "" {
				t.Error(diff)
			}
			back.do("audit", "verify", "--known", head)
		})
	}
}

// A backup that is not whole, or not what was written, makes nothing.
func TestBackupSpoilt(t *testing.T) {
	w := newWorld(t, "")
	w.file("k.pub", w.stack.Key("acme", 0).PublicPEM())
	w.do("signers", "add", "--name", "acme", "--key", w.path("k.pub"))
	w.do("backup", w.path("all"))
	whole, err := os.ReadFile(w.path("all"))
	if err != nil {
		t.Fatal(err)
	}
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := dec.DecodeAll(whole, nil)
	if err != nil {
		t.Fatal(err)
	}
	edited := bytes.Replace(lines, []byte(`"acme"`), []byte(`"evil"`), 1)
	end := bytes.LastIndex(bytes.TrimRight(edited, "\n"), []byte("\n")) + 1
	sum := sha256.Sum256(edited[:end])
	resigned := append(bytes.Clone(edited[:end]), bytes.Replace(edited[end:], sumOf(lines), []byte(hex.EncodeToString(sum[:])), 1)...)
	if bytes.Equal(edited, lines) || bytes.Equal(edited, resigned) {
		t.Fatal("nothing was edited")
	}
	for name, body := range map[string][]byte{
		"truncated":                  whole[:len(whole)*2/3],
		"cut at a line":              enc.EncodeAll(lines[:bytes.LastIndex(bytes.TrimRight(lines, "\n"), []byte("\n"))+1], nil),
		"edited":                     enc.EncodeAll(edited, nil),
		"edited, with another sum":   enc.EncodeAll(resigned, nil),
		"no backup":                  []byte("hello"),
		"empty":                      {},
		"one of two, concatenated":   append(bytes.Clone(whole), whole...),
		"a flipped bit":              flipped(whole),
		"of a version that is newer": enc.EncodeAll(bytes.Replace(lines, []byte(`"signet_backup":1`), []byte(`"signet_backup":2`), 1), nil),
	} {
		t.Run(name, func(t *testing.T) {
			r := newWorldLike(w.under(t), "")
			path := r.file("spoilt", body)
			code, out, errs := r.run("restore", path)
			if code == exitAllow || errs == "" || strings.Contains(errs, "panic") {
				t.Errorf("exit code %d\n%s%s", code, out, errs)
			}
			// All or nothing: the directory is as empty as it was, and takes the real one.
			if _, err := os.Stat(filepath.Join(r.path("data"), "signet.db")); err == nil {
				if code, out, _ := r.run("signers", "list"); strings.Contains(out, "acme") || strings.Contains(out, "evil") {
					t.Errorf("something was restored (exit code %d):\n%s", code, out)
				}
			}
		})
	}
	r := newWorldLike(w, "")
	r.fails(exitUsage, "restoring the store: ", "restore", r.file("spoilt", whole[:len(whole)/2]))
	r.do("restore", w.path("all"))
	r.fails(exitUsage, "no such file", "restore", w.path("none"))
}

func sumOf(lines []byte) []byte {
	end := bytes.LastIndex(bytes.TrimRight(lines, "\n"), []byte("\n")) + 1
	sum := sha256.Sum256(lines[:end])
	return []byte(hex.EncodeToString(sum[:]))
}

func flipped(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)/2] ^= 1
	return b
}
