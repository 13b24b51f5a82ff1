package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/migrations"
)

func openTemp(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.DataDir == "" {
		cfg.DataDir = t.TempDir()
	}
	s, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestOpenMakesPrivateFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if Exists(dir) {
		t.Error("a store exists before it is made")
	}
	s := openTemp(t, Config{DataDir: dir})
	if err := s.PutFacts(t.Context(), someFacts(t, "sha256:aa")); err != nil { // so that the log is there
		t.Fatal(err)
	}
	if !Exists(dir) {
		t.Error("Exists does not see the store")
	}
	want := map[string]fs.FileMode{".": 0o700, FileName: 0o600, FileName + "-wal": 0o600, FileName + "-shm": 0o600, lockName: 0o600}
	for name, mode := range want {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != mode {
			t.Errorf("%s has mode %o, want %o", name, st.Mode().Perm(), mode)
		}
	}
}

func TestOpenTakesRightsAway(t *testing.T) {
	dir := t.TempDir()
	if err := openTemp(t, Config{DataDir: dir}).Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, FileName)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	openTemp(t, Config{DataDir: dir})
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the database has mode %v (%v), want 0600", st.Mode().Perm(), err)
	}
}

func TestOpenRefuses(t *testing.T) {
	ctx := t.Context()
	t.Run("no directory named", func(t *testing.T) {
		if _, err := Open(ctx, Config{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("reading what is not there", func(t *testing.T) {
		dir := t.TempDir()
		_, err := Open(ctx, Config{DataDir: dir, ReadOnly: true})
		if !errors.Is(err, ErrNoStore) {
			t.Errorf("error %v", err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 0 {
			t.Errorf("reading made %v", entries)
		}
	})
	t.Run("a file that is no database", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, FileName), []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, readOnly := range []bool{true, false} {
			if _, err := Open(ctx, Config{DataDir: dir, ReadOnly: readOnly}); !errors.Is(err, ErrUnavailable) {
				t.Errorf("read-only %v: error %v", readOnly, err)
			}
		}
	})
	t.Run("a link in place of the database", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Symlink(filepath.Join(t.TempDir(), "elsewhere"), filepath.Join(dir, FileName)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(ctx, Config{DataDir: dir}); err == nil {
			t.Error("a link was followed")
		}
	})
	t.Run("a data directory that is a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(ctx, Config{DataDir: file}); err == nil {
			t.Error("opened")
		}
	})
	t.Run("a context that has ended", func(t *testing.T) {
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := Open(gone, Config{DataDir: t.TempDir()}); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

func TestOddDirectoryNames(t *testing.T) {
	for _, name := range []string{"with space", "a?b=c&mode=memory", "50%25", "#frag", "ü:x", "semi;colon"} {
		dir := filepath.Join(t.TempDir(), name)
		s := openTemp(t, Config{DataDir: dir})
		if err := s.PutFacts(t.Context(), someFacts(t, "sha256:aa")); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, FileName)); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		openTemp(t, Config{DataDir: dir, ReadOnly: true})
	}
}

func TestStartedTwice(t *testing.T) {
	dir := t.TempDir()
	first := openTemp(t, Config{DataDir: dir})
	_, err := Open(t.Context(), Config{DataDir: dir})
	var inUse *InUseError
	if !errors.Is(err, ErrInUse) || !errors.As(err, &inUse) {
		t.Fatalf("the second Open: %v", err)
	}
	if inUse.PID != os.Getpid() || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("the error names process %d: %v", inUse.PID, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	openTemp(t, Config{DataDir: dir}) // the lock went with the first
	if got := (&InUseError{Dir: "/d"}).Error(); !strings.Contains(got, "another process") {
		t.Errorf("without a process id the error reads %q", got)
	}
}

// TestOtherProcess is the other process of the tests below, when it is run by
// them; on its own it has nothing to do.
func TestOtherProcess(t *testing.T) {
	dir := os.Getenv("SIGNET_TEST_OTHER_DIR")
	if dir == "" {
		return
	}
	s, err := Open(t.Context(), Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Change(t.Context(), Actor{Name: "other"}, "", func(tx *Tx) error {
		return setPolicy(t.Context(), tx, "sha256:other")
	}); err != nil {
		t.Fatal(err)
	}
	fmt.Println("ready")
	time.Sleep(time.Minute) // until it is killed, with the store open
}

// A process that is killed leaves neither lock nor half a change behind.
func TestOtherProcessHoldsTheLockUntilItDies(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestOtherProcess$")
	cmd.Env = append(os.Environ(), "SIGNET_TEST_OTHER_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	defer func() {
		if !killed {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Fatalf("the other process says %q (%v)", line, err)
	}

	_, err = Open(t.Context(), Config{DataDir: dir})
	var inUse *InUseError
	if !errors.As(err, &inUse) || inUse.PID != cmd.Process.Pid {
		t.Fatalf("Open: %v, want one that names process %d", err, cmd.Process.Pid)
	}
	reader := openTemp(t, Config{DataDir: dir, ReadOnly: true})
	active, err := reader.Active(t.Context())
	if err != nil || active.Revision != 1 {
		t.Errorf("beside the other process, active reads %+v, %v", active, err)
	}

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	killed = true
	s := openTemp(t, Config{DataDir: dir})
	if got, err := s.Active(t.Context()); err != nil || got != active {
		t.Errorf("after the other process was killed, active reads %+v, %v", got, err)
	}
}

// A store that was not closed can be opened for reading alone.
func TestReadAfterCrash(t *testing.T) {
	dir := t.TempDir()
	s := openTemp(t, Config{DataDir: dir})
	if err := s.PutFacts(t.Context(), someFacts(t, "sha256:aa")); err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir()
	for _, name := range []string{FileName, FileName + "-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(copied, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := openTemp(t, Config{DataDir: copied, ReadOnly: true})
	if _, err := r.Facts(t.Context(), someFacts(t, "sha256:aa").Digest()); err != nil {
		t.Error(err)
	}
}

// later is the schema of a version to come.
func later(t *testing.T) fstest.MapFS {
	t.Helper()
	schema := fstest.MapFS{"00005_later.sql": {Data: []byte("-- +goose Up\nALTER TABLE trusted_signers ADD COLUMN later TEXT NOT NULL DEFAULT 'x';\n")}}
	names, err := fs.Glob(migrations.SQLite(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := fs.ReadFile(migrations.SQLite(), name)
		if err != nil {
			t.Fatal(err)
		}
		schema[name] = &fstest.MapFile{Data: b}
	}
	return schema
}

func TestUpgradeInPlace(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	old := openTemp(t, Config{DataDir: dir})
	if _, err := old.Change(ctx, Actor{Name: "a"}, "", func(tx *Tx) error {
		_, err := tx.PutSigner(ctx, SignerRow{Name: "s", Type: "keyless"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	before, err := old.Snapshot(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	secret := secretOf(t, old)
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}

	// A reader of the new version must not touch the old schema.
	_, err = open(ctx, Config{DataDir: dir, ReadOnly: true}, later(t))
	if !errors.Is(err, ErrOlderSchema) {
		t.Errorf("the new version reading the old schema: %v", err)
	}
	s, err := open(ctx, Config{DataDir: dir}, later(t))
	if err != nil {
		t.Fatal(err)
	}
	after, err := s.Snapshot(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, after); d != "" {
		t.Errorf("the upgrade changed what is in force:\n%s", d)
	}
	if secretOf(t, s) != secret {
		t.Error("the upgrade changed the secret")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// Now the old version comes back.
	for _, readOnly := range []bool{true, false} {
		_, err := Open(ctx, Config{DataDir: dir, ReadOnly: readOnly})
		if !errors.Is(err, ErrNewerSchema) || !strings.Contains(err.Error(), "schema 5, this one knows up to 4") {
			t.Errorf("read-only %v: the old version opening the new schema: %v", readOnly, err)
		}
	}
	if s, err := open(ctx, Config{DataDir: dir}, later(t)); err != nil {
		t.Errorf("after the refusal the new version cannot open it: %v", err)
	} else if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestFailedMigrationLeavesTheOldSchema(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	if err := openTemp(t, Config{DataDir: dir}).Close(); err != nil {
		t.Fatal(err)
	}
	broken := later(t)
	broken["00005_later.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nDROP TABLE facts;\nCREATE TABLE nonsense (;\n")}
	if _, err := open(ctx, Config{DataDir: dir}, broken); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("a broken migration: %v", err)
	}
	s := openTemp(t, Config{DataDir: dir})
	if err := s.PutFacts(ctx, someFacts(t, "sha256:aa")); err != nil {
		t.Error(err)
	}
}

func TestOddMigrations(t *testing.T) {
	for name, schema := range map[string]fs.FS{
		"none":           fstest.MapFS{},
		"without number": fstest.MapFS{"first.sql": {}},
	} {
		if _, err := open(t.Context(), Config{DataDir: t.TempDir()}, schema); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// The digest in the migrations is that of no inputs, as the code computes it.
func TestFirstActive(t *testing.T) {
	want, err := Inputs{}.digest()
	if err != nil {
		t.Fatal(err)
	}
	for schema, name := range map[fs.FS]string{migrations.SQLite(): "00001_store.sql", migrations.PostgreSQL(): "00002_store.sql"} {
		b, err := fs.ReadFile(schema, name)
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s does not have the digest %s (%v)", name, want, err)
		}
	}
}

func TestSecretFile(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(strings.Repeat("0f", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want, err := auth.ParseSecret([]byte(strings.Repeat("\x0f", 32)))
	if err != nil {
		t.Fatal(err)
	}
	s := openTemp(t, Config{DataDir: dir, SecretFile: file})
	if secretOf(t, s) != want {
		t.Error("the secret is not the file's")
	}
	var kept int
	if err := s.write.QueryRowContext(ctx, `SELECT count(*) FROM secret`).Scan(&kept); err != nil || kept != 0 {
		t.Errorf("with a secret file there are %d secrets in the store (%v)", kept, err)
	}
	r := openTemp(t, Config{DataDir: dir, ReadOnly: true, SecretFile: file})
	if secretOf(t, r) != want {
		t.Error("the reader's secret is not the file's")
	}
	without := openTemp(t, Config{DataDir: dir, ReadOnly: true})
	if _, err := without.Secret(ctx); !errors.Is(err, ErrNotFound) {
		t.Errorf("a secret that is nowhere: %v", err)
	}
	if err := os.WriteFile(file, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []Config{{SecretFile: file}, {SecretFile: file + ".missing"}} {
		cfg.DataDir = t.TempDir()
		if _, err := Open(ctx, cfg); err == nil {
			t.Errorf("opened with secret file %s", cfg.SecretFile)
		}
	}
}

func secretOf(t *testing.T, s *Store) auth.Secret {
	t.Helper()
	secret, err := s.Secret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func someFacts(t testing.TB, digest string) facts.Facts {
	t.Helper()
	p := facts.Proven{
		Subject:      facts.Subject{Digest: digest, Platforms: []facts.Platform{}},
		Signatures:   []facts.Signature{},
		Attestations: []facts.Attestation{},
		Rejections:   []facts.Rejection{},
	}
	body, err := facts.Canonical(p)
	if err != nil {
		t.Fatal(err)
	}
	f, err := facts.Decode(body, facts.Digest(body))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// setPolicy puts the policy x, new or not.
func setPolicy(ctx context.Context, tx *Tx, body string) error {
	old, err := tx.Policy(ctx, "x")
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	_, err = tx.PutPolicy(ctx, PolicyRow{Name: "x", Source: "api", Body: body, Version: old.Version})
	return err
}
