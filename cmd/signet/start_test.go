package main

import (
	"database/sql"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/testkit/pgtest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/migrations"
)

// setupToken is the one that a server printed, "" for none.
func setupToken(d *daemon) string {
	for line := range strings.SplitSeq(d.out(), "\n") {
		if token, ok := strings.CutPrefix(line, "Setup token, shown this once: "); ok {
			return token
		}
	}
	return ""
}

// The first start prints a setup token, once, on stdout and nowhere else. It makes
// the first administrator and is worth nothing after that.
func TestFirstStart(t *testing.T) {
	w := newWorld(t, "")
	d := w.serve()
	eventually.Holds(t, "the setup token is shown", func() bool { return strings.Contains(d.out(), "signet setup --server") })
	token := setupToken(d)
	if token == "" || strings.Count(d.out(), token) != 1 || !strings.Contains(d.out(), "signet setup --server "+d.address+" --name admin\n") {
		t.Fatalf("the first start printed:\n%s", d.out())
	}
	w.file("setup", []byte(token))

	// It is no token for anything else, and another one is refused.
	a, err := w.ask(http.DefaultClient, http.MethodGet, d.address+"/api/v1/whoami", token, "")
	w.wants("the setup token as a token", a, err, http.StatusUnauthorized, "token")
	other := w.process("setup", "--server", d.address)
	other.Env = append(other.Env, "SIGNET_SETUP_TOKEN=sgn_aaaaaaaaaaaaaaaa_"+strings.Repeat("b", 43))
	if code, _, errs := w.finish(other); code != exitUsage || !strings.Contains(errs, "oken") {
		t.Errorf("another setup token: exit code %d: %s", code, errs)
	}

	// A restart before it was used prints none: it was shown.
	d.stop(syscall.SIGTERM)
	d = w.serve()
	eventually.Holds(t, "it says that the token was shown", func() bool { return d.said("the setup token was shown before") })
	if d.out() != "" {
		t.Errorf("a restart before setup printed %q", d.out())
	}
	admin := lastLine(w.do("setup", "--server", d.address, "--setup-token-file", w.path("setup"), "--name", "ann"))
	who, err := d.as(admin).Whoami(t.Context())
	if err != nil || who.Name != "ann" || who.Role != "admin" {
		t.Errorf("the first administrator is %+v (%v)", who, err)
	}
	w.fails(exitUsage, "oken", "setup", "--server", d.address, "--setup-token-file", w.path("setup"), "--name", "eve")

	d.stop(syscall.SIGTERM)
	again := w.serve()
	eventually.Holds(t, "it has said what it has to say", func() bool { return again.said("there are no trusted signers") })
	if again.out() != "" || again.said("no API tokens") {
		t.Errorf("a restart after setup printed %q", again.out())
	}
	for _, d := range []*daemon{d, again} {
		for _, secret := range []string{token, admin} {
			if _, plain, _ := strings.Cut(secret, "_"); strings.Contains(d.logged(), secret) || strings.Contains(d.logged(), plain) {
				t.Error("a token is in the log")
			}
		}
	}
	if audit := w.do("audit", "list"); strings.Contains(audit, token[len(token)-20:]) || !strings.Contains(audit, "setup") {
		t.Errorf("the audit log of setup:\n%s", audit)
	}
}

// Of servers that start together on one database, one shows a token.
func TestFirstStartTogether(t *testing.T) {
	w := newWorld(t, "")
	w.env = append(w.env, "SIGNET_DATABASE_URL="+pgtest.Database(t))
	w.do("migrate", "up")
	all := []*daemon{w.launch(), w.launch(), w.launch()}
	shown := 0
	for _, d := range all {
		d.wait()
		eventually.Holds(t, "the server has said how it stands", func() bool { return d.said("there are no API tokens") })
		d.stop(syscall.SIGTERM)
		if setupToken(d) != "" {
			shown++
		}
	}
	if shown != 1 {
		t.Errorf("%d servers showed a setup token", shown)
	}
}

// latest is the number of the newest schema.
const latest = "12"

// oldSQLite makes a store of schema 1 in the data directory.
func (w *world) oldSQLite() {
	w.Helper()
	if err := os.MkdirAll(w.path("data"), 0o700); err != nil {
		w.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(w.path("data"), "signet.db"))
	if err != nil {
		w.Fatal(err)
	}
	w.migrate(db, goose.DialectSQLite3, migrations.SQLite(), 1)
}

// migrate brings db to a version of the schema.
func (w *world) migrate(db *sql.DB, dialect goose.Dialect, schema fs.FS, version int64) {
	w.Helper()
	p, err := goose.NewProvider(dialect, db, schema, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		w.Fatal(err)
	}
	if _, err := p.UpTo(w.Context(), version); err != nil {
		w.Fatal(err)
	}
	if err := db.Close(); err != nil {
		w.Fatal(err)
	}
}

func TestMigrateSQLite(t *testing.T) {
	w := newWorld(t, "database: {migrate: manual}")
	// There is none yet, and nothing but migrate up makes one.
	code, out, _ := w.run("migrate", "status")
	if code != exitDeny || !strings.Contains(out, "schema  0\n") || !strings.Contains(out, "pending 00001_store\npending 00002_administration\npending 00003_basis\n") {
		t.Errorf("without a store: exit code %d\n%s", code, out)
	}
	w.refuses("signet migrate up")

	w.oldSQLite()
	code, out, _ = w.run("migrate", "status")
	if code != exitDeny || !strings.HasPrefix(out, "schema  1\nnewest  "+latest+"\npending 00002_administration\n") {
		t.Errorf("an old store: exit code %d\n%s", code, out)
	}
	w.refuses("signet migrate up")
	w.fails(exitFailure, "signet migrate up", "signers", "list")
	if out := w.do("migrate", "up"); out != "The schema went from 1 to "+latest+".\n" {
		t.Errorf("migrate up says %q", out)
	}
	if out := w.do("migrate", "up"); out != "The schema is at "+latest+", the newest.\n" {
		t.Errorf("migrate up again says %q", out)
	}
	if out := w.do("migrate", "status"); out != "schema  "+latest+"\nnewest  "+latest+"\n" {
		t.Errorf("migrate status says %q", out)
	}
	w.admin()
	d := w.serve()

	// One server for one data directory; and nobody changes its schema.
	w.refuses("in use by process")
	w.fails(exitFailure, "in use by process", "migrate", "up")
	if out := w.do("migrate", "status"); out != "schema  "+latest+"\nnewest  "+latest+"\n" { // looking is free
		t.Errorf("migrate status beside a server says %q", out)
	}
	d.stop(syscall.SIGTERM)

	// A store of a newer version is left alone.
	db, err := sql.Open("sqlite", filepath.Join(w.path("data"), "signet.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	w.refuses("newer version")
	w.fails(exitFailure, "newer version", "migrate", "status")
	w.fails(exitFailure, "newer version", "migrate", "up")
}

// Automatic is the default: an old store is taken over at the start.
func TestMigrateAutomatically(t *testing.T) {
	w := newWorld(t, "")
	w.oldSQLite()
	w.admin()
	d := w.serve()
	if _, err := d.Whoami(t.Context()); err != nil {
		t.Error(err)
	}
	if out := w.do("migrate", "status"); out != "schema  "+latest+"\nnewest  "+latest+"\n" {
		t.Errorf("migrate status says %q", out)
	}
}

func TestMigratePostgreSQL(t *testing.T) {
	url := pgtest.Database(t)
	w := newWorld(t, "database: {url_file: database, migrate: manual}")
	w.file("database", []byte(url+"\n"))
	code, out, _ := w.run("migrate", "status")
	if code != exitDeny || !strings.Contains(out, "schema  0\n") || !strings.Contains(out, "pending 00002_store\npending 00003_basis\n") {
		t.Errorf("an empty database: exit code %d\n%s", code, out)
	}
	w.refuses("signet migrate up")
	w.fails(exitFailure, "signet migrate up", "signers", "list")
	if out := w.do("migrate", "up"); out != "The schema went from 0 to "+latest+".\n" {
		t.Errorf("migrate up says %q", out)
	}
	w.admin()
	one, two := w.serve(), w.serve()
	ref, s := w.keyless("acme/app")
	one.create(s)
	two.decides(ref, client.Allow)

	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	w.refuses("newer version")
	w.fails(exitFailure, "newer version", "migrate", "status")
}

// A command makes the schema of an empty database. One that is there belongs to
// the servers that use it: a command of a newer version leaves it alone, and says
// what to do.
func TestCommandsMigrateNoDatabase(t *testing.T) {
	url := pgtest.Database(t)
	w := newWorld(t, "database: {url_file: database}") // migrate: automatic
	w.file("database", []byte(url+"\n"))
	w.admin()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	// As a binary with one migration more would see it.
	if _, err := db.ExecContext(t.Context(), `DELETE FROM goose_db_version WHERE version_id = (SELECT max(version_id) FROM goose_db_version)`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"signers", "list"}, {"token", "create", "--role", "admin", "--name", "second"}} {
		w.fails(exitFailure, "signet migrate up", args...)
	}
	if code, out, _ := w.run("migrate", "status"); code != exitDeny || !strings.HasPrefix(out, "schema  ") || !strings.Contains(out, "\nnewest  "+latest+"\npending 000"+latest+"_") {
		t.Errorf("after the commands: exit code %d\n%s", code, out)
	}
}

// The commands work on a database by themselves, as on a data directory.
func TestCommandsOnPostgreSQL(t *testing.T) {
	url := pgtest.Database(t)
	w := newWorld(t, "")
	w.env = append(w.env, "SIGNET_DATABASE_URL="+url)
	key := w.stack.Key("acme", 0)
	w.file("acme.pub", key.PublicPEM())
	w.do("signers", "add", "--name", "acme", "--key", w.path("acme.pub"), "--why", "first")
	if out := w.do("signers", "list"); !strings.Contains(out, "acme  public_key") {
		t.Errorf("signers list:\n%s", out)
	}
	w.admin()
	if out := w.do("token", "list"); !strings.Contains(out, " first ") {
		t.Errorf("token list:\n%s", out)
	}
	if out := w.do("audit", "list"); !strings.Contains(out, "signer.create") || !strings.Contains(out, "cli:") {
		t.Errorf("audit list:\n%s", out)
	}
	if _, err := os.Stat(w.path("data")); err == nil {
		t.Error("a data directory was made beside the database")
	}
	// A server that runs takes no part in it, and sees it with the next request.
	d := w.serve()
	if _, err := os.Stat(filepath.Join(w.path("data"), "signet.db")); err == nil {
		t.Error("a SQLite store was made beside the database")
	}
	w.do("signers", "disable", "acme")
	page, err := d.Signers(t.Context(), client.SignerFilter{})
	if err != nil || len(page.Items) != 1 || page.Items[0].Enabled {
		t.Errorf("the server shows %+v (%v)", page.Items, err)
	}
	w.do("audit", "verify")

	// What is no database is said without its password.
	for _, tt := range []struct{ url, says string }{
		{"mysql://u:hunter2@h/d", "SIGNET_DATABASE_URL"},
		{"postgres://u:hunter2@127.0.0.1:1/d", "127.0.0.1"},
	} {
		w.env = []string{"SIGNET_DATABASE_URL=" + tt.url}
		code, out, errs := w.run("signers", "list")
		if code == exitAllow || strings.Contains(out+errs, "hunter2") || errs == "" {
			t.Errorf("%s: exit code %d\n%s%s", tt.url, code, out, errs)
		}
	}
}

// Servers of one database decide alike, by the configuration of the one that
// started last.
func TestConfigurationOfTheLastServer(t *testing.T) {
	const house = "signing_policy: {name: house, trusted_signers: [{type: registry}]}"
	w := newWorld(t, house)
	w.env = append(w.env, "SIGNET_DATABASE_URL="+pgtest.Database(t))
	w.admin()
	ref, s := w.keyless("acme/app")
	one := w.serve()
	one.create(s)
	one.decides(ref, client.Allow)
	w.configure("signing_policy: {name: house, trusted_signers: [{type: keyless, issuer: \"https://accounts.google.com\", subject: \"nobody@example.com\"}]}")
	two := w.serve()
	two.decides(ref, client.Deny)
	one.decides(ref, client.Deny)
	two.stop(syscall.SIGTERM)
	one.decides(ref, client.Deny) // until another one starts
	w.configure(house)
	three := w.serve()
	for _, d := range []*daemon{one, three} {
		d.decides(ref, client.Allow)
	}
	// What the configuration brings changes there alone.
	w.fails(exitUsage, "configuration", "policies", "remove", "house")
	w.fails(exitUsage, "configuration", "trust", "remove", "test")
	if audit := w.do("audit", "list", "--limit", "0"); !strings.Contains(audit, "policy.update") || !strings.Contains(audit, "the server's configuration") {
		t.Errorf("the audit log:\n%s", audit)
	}
}

// A server that is killed leaves nothing that keeps the next one from starting,
// and nothing that was acknowledged is lost.
func TestKilled(t *testing.T) {
	w := newWorld(t, "")
	w.configure("listeners: [{address: \"unix:" + w.path("s.sock") + "\", protocols: [rest], authentication: socket, principal: {name: local, role: viewer}}]")
	w.admin()
	ref, s := w.keyless("acme/app")
	d := w.serve()
	s = d.create(s)
	given := d.decides(ref, client.Allow)
	if _, err := d.UpdateSigner(t.Context(), s.ID, s.Version, map[string]any{"enabled": false}); err != nil {
		t.Fatal(err)
	}
	d.stop(syscall.SIGKILL)
	d = w.serve()
	d.decides(ref, client.Deny)
	if v, err := d.Verdict(t.Context(), given.ID); err != nil || string(v.Raw) != string(given.Raw) {
		t.Errorf("the verdict that was given is %s (%v)", v.Raw, err)
	}
	w.do("whoami") // by the control socket
	a, err := w.ask(onSocket(w.path("s.sock")), http.MethodGet, "http://localhost/api/v1/whoami", "", "")
	w.wants("the listener's socket", a, err, http.StatusOK, "local")
	w.do("audit", "verify")
}

// A server that is told to stop answers what it was asked before, says that it is
// draining, and keeps what it answered.
func TestStopsInOrder(t *testing.T) {
	w := newWorld(t, "")
	w.admin()
	d := w.serve()
	ref, s := w.keyless("acme/app")
	d.create(s)
	asked := make(chan struct{})
	release := make(chan struct{})
	var once sync.Once
	w.registry.On(registrytest.Any(), func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		once.Do(func() { close(asked) })
		<-release
		next.ServeHTTP(rw, r)
	})
	got := make(chan client.Verdict, 1)
	go func() {
		v, err := d.Verify(t.Context(), client.VerdictRequest{Image: ref})
		if err != nil {
			t.Errorf("the request under way: %v", err)
		}
		got <- v
	}()
	<-asked
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually.Holds(t, "it stops", func() bool { return d.said("stopping") })
	eventually.Holds(t, "it takes no more", func() bool { _, err := d.Whoami(t.Context()); return err != nil })
	close(release)
	v := <-got
	<-d.done
	if v.Decision != client.Allow || d.cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("the request under way was answered %s, and the exit code is %d", v.Decision, d.cmd.ProcessState.ExitCode())
	}
	w.registry.Behave()
	d = w.serve()
	if kept, err := d.Verdict(t.Context(), v.ID); err != nil || kept.Decision != client.Allow {
		t.Errorf("the verdict is kept as %+v (%v)", kept.Decision, err)
	}
}
