package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/testkit/pgtest"
	"github.com/signet-policy/signet/internal/verdict"
	"github.com/signet-policy/signet/migrations"
)

func openPG(t *testing.T, cfg Config) *Store {
	t.Helper()
	if cfg.URL == "" {
		cfg.URL, cfg.Migrate = pgtest.Database(t), true
	}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func mustExec(t *testing.T, s *Store, statements ...string) {
	t.Helper()
	tx, err := s.write.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }() // nothing after the commit
	if s.write.postgres {                // a test's rows are many, and the machine may be busy
		statements = append([]string{`SET LOCAL statement_timeout = 0`}, statements...)
	}
	for _, q := range statements {
		if _, err := tx.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// Several processes share a database: each sees what the others have
// acknowledged, and their changes make one chain.
func TestSharedByProcesses(t *testing.T) {
	ctx := t.Context()
	a := openPG(t, Config{})
	b := openPG(t, Config{URL: a.cfg.URL}) // the second start is no mistake here
	if !a.Shared() || a.current.Load() != nil {
		t.Error("active is answered from memory")
	}
	if one, two := secretOf(t, a), secretOf(t, b); one != two {
		t.Error("the two have different secrets")
	}
	var wg sync.WaitGroup
	for i, s := range []*Store{a, b} {
		other := []*Store{b, a}[i]
		wg.Go(func() {
			for n := range 25 {
				got, err := s.Change(ctx, alice, "", func(tx *Tx) error {
					_, err := tx.PutSigner(ctx, SignerRow{Name: fmt.Sprint(i, "-", n), Type: "keyless"})
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
				if seen, err := other.Active(ctx); err != nil || seen.Revision < got.Revision {
					t.Errorf("the other sees %+v after %+v (%v)", seen, got, err)
				}
			}
		})
	}
	wg.Wait()
	head, err := b.VerifyAudit(ctx, AuditHead{})
	if err != nil || head.Seq != 50 {
		t.Errorf("the audit log ends at %+v (%v)", head, err)
	}
	for rev := range int64(51) {
		if rows, err := a.SignersAt(ctx, rev); err != nil || int64(len(rows)) != rev {
			t.Errorf("revision %d has %d signers (%v)", rev, len(rows), err)
		}
	}
}

// Replicas that start together on an empty database migrate it once, and agree
// on a secret.
func TestStartedTogether(t *testing.T) {
	dsn := pgtest.Database(t)
	var wg sync.WaitGroup
	stores := make([]*Store, 4)
	for i := range stores {
		wg.Go(func() {
			var err error
			if stores[i], err = Open(t.Context(), Config{URL: dsn, Migrate: true}); err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { _ = stores[i].Close() })
		})
	}
	wg.Wait()
	for _, s := range stores {
		if t.Failed() {
			return
		}
		if secretOf(t, s) != secretOf(t, stores[0]) {
			t.Error("they have different secrets")
		}
		if a, err := s.Active(t.Context()); err != nil || a.Revision != 0 {
			t.Errorf("active is %+v (%v)", a, err)
		}
	}
}

func TestSchemaOfPostgreSQL(t *testing.T) {
	ctx := t.Context()
	dsn := pgtest.Database(t)
	if _, err := Open(ctx, Config{URL: dsn, ReadOnly: true}); !errors.Is(err, ErrNoStore) {
		t.Errorf("reading an empty database: %v", err)
	}
	if _, err := Open(ctx, Config{URL: dsn}); !errors.Is(err, ErrOlderSchema) {
		t.Errorf("writing without migrating: %v", err)
	}
	have, want, pending, err := SchemaStatus(ctx, Config{URL: dsn})
	if err != nil || have != 0 || want != latest(t) || len(pending) == 0 {
		t.Errorf("its schema is %d of %d, pending %v (%v)", have, want, pending, err)
	}
	if from, to, err := Migrate(ctx, Config{URL: dsn}); err != nil || from != 0 || to != latest(t) {
		t.Errorf("migrated from %d to %d (%v)", from, to, err)
	}
	s := openPG(t, Config{URL: dsn})
	before, err := s.Active(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// Now a newer version comes, and the old one is started again.
	later := copied(t, migrations.PostgreSQL())
	name, file := addition(t, 1, "ALTER TABLE trusted_signers ADD COLUMN later text NOT NULL DEFAULT 'x';\n")
	later[name] = file
	if _, err := open(ctx, Config{URL: dsn, ReadOnly: true}, later); !errors.Is(err, ErrOlderSchema) {
		t.Errorf("the new version reading the old schema: %v", err)
	}
	newer, err := open(ctx, Config{URL: dsn, Migrate: true}, later)
	if err != nil {
		t.Fatal(err)
	}
	defer newer.Close()
	if after, err := newer.Active(ctx); err != nil || after != before {
		t.Errorf("the upgrade made %+v of %+v (%v)", after, before, err)
	}
	for _, cfg := range []Config{{URL: dsn}, {URL: dsn, Migrate: true}, {URL: dsn, ReadOnly: true}} {
		if _, err := Open(ctx, cfg); !errors.Is(err, ErrNewerSchema) {
			t.Errorf("%+v: the old version opening the new schema: %v", cfg, err)
		}
	}
	// One whose migration fails leaves the old schema.
	name, file = addition(t, 2, "DROP TABLE leases;\nCREATE TABLE nonsense (;\n")
	later[name] = file
	if _, err := open(ctx, Config{URL: dsn, Migrate: true}, later); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a broken migration: %v", err)
	}
	if ok, err := newer.Lease(ctx, "l", "h", time.Hour); !ok || err != nil {
		t.Errorf("after the broken migration: %v (%v)", ok, err)
	}
}

// A large store takes longer to migrate than a statement may take otherwise.
func TestMigrationsTakeTheirTime(t *testing.T) {
	for name, file := range copied(t, migrations.PostgreSQL()) {
		_, up, _ := strings.Cut(string(file.Data), "-- +goose Up\n")
		first := ""
		for line := range strings.Lines(up) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "--") {
				first = line
				break
			}
		}
		if first != "SET LOCAL statement_timeout = 0;" {
			t.Errorf("%s begins with %q", name, first)
		}
		if strings.Contains(string(file.Data), "NO TRANSACTION") { // where LOCAL means nothing
			t.Errorf("%s is not in a transaction", name)
		}
	}
}

func TestPostgreSQLRefused(t *testing.T) {
	ctx := t.Context()
	_, err := Open(ctx, Config{URL: "postgres://user:hunter2@host:port/db"})
	if !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a URL that is none: %v", err)
	}
	s := openPG(t, Config{})
	u, err := url.Parse(s.cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Path += "_missing"
	if _, err := Open(ctx, Config{URL: u.String()}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a database that is not there: %v", err)
	}
	_, err = s.Change(ctx, alice, "", func(tx *Tx) error {
		_, err := tx.PutSigner(ctx, SignerRow{Name: "a\x00b", Type: "keyless"})
		return err
	})
	if !errors.Is(err, ErrInvalid) {
		t.Errorf("a name that PostgreSQL cannot keep: %v", err)
	}
	r := openPG(t, Config{URL: s.cfg.URL, ReadOnly: true})
	if _, err := r.read.ExecContext(ctx, `DELETE FROM active`); err == nil {
		t.Error("a reader's connection writes")
	}
}

func TestAuditIsAppendOnlyOnPostgreSQL(t *testing.T) {
	ctx := t.Context()
	s := openPG(t, Config{})
	for i := range 3 {
		if _, err := s.Change(ctx, alice, "", func(tx *Tx) error { return setPolicy(ctx, tx, fmt.Sprint(i)) }); err != nil {
			t.Fatal(err)
		}
	}
	const row = `, now(), 'a', '', 'x', 'x', NULL, NULL, '', 1, 'p', 'h')`
	for _, q := range []string{
		`UPDATE audit SET actor = 'mallory'`,
		`DELETE FROM audit`,
		`DELETE FROM audit WHERE seq = 3`,
		`TRUNCATE audit`,
		`INSERT INTO audit VALUES (3` + row,
		`INSERT INTO audit VALUES (5` + row,
		`INSERT INTO audit VALUES (0` + row,
	} {
		if _, err := s.write.ExecContext(ctx, q); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v", q, err)
		}
	}
	if head, err := s.VerifyAudit(ctx, AuditHead{}); err != nil || head.Seq != 3 {
		t.Errorf("the log ends at %+v (%v)", head, err)
	}
	mustExec(t, s, `ALTER TABLE audit DISABLE TRIGGER USER`, `UPDATE audit SET actor = 'mallory' WHERE seq = 2`)
	if _, err := s.VerifyAudit(ctx, AuditHead{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a changed log: %v", err)
	}
}

// seedPG writes many verdicts at once, so that PostgreSQL has something to plan
// for.
func seedPG(t *testing.T, s *Store) {
	t.Helper()
	mustExec(t, s,
		`INSERT INTO facts SELECT 'sha256:f' || i, 'zstd', 1, 'x', now() FROM generate_series(0, 999) i`,
		`INSERT INTO signature_verifications (id, assessment_id, image_ref, image_name, image_digest, signature_found, signature_valid,
			signer_identity, signer_issuer, slsa_level, created_at, decision, allowed, reasons, principal, labels, facts_digest,
			active_revision, active_digest, build, frames, verdict)
		SELECT 'v' || lpad(i::text, 6, '0'), 'a' || (i % 100), 'i' || (i % 100), 'n' || (i % 100), 'd' || (i % 100), true, true,
			CASE WHEN i % 3 = 0 THEN '' ELSE 'p' || (i % 50) END, '', 0, timestamptz '2026-11-23 12:00Z' + i * interval '1 second',
			(ARRAY['allow', 'allow', 'allow', 'deny', 'unknown'])[i % 5 + 1], true,
			CASE WHEN i % 5 < 3 THEN '[]' ELSE jsonb_build_array(jsonb_build_object('code', 'r' || (i % 20))) END, '', '{}', 'sha256:f' || (i % 1000),
			1, '', '', 'x', 'x' FROM generate_series(0, 29999) i`,
		`INSERT INTO verification_signers SELECT 's' || (substr(id, 2)::int % 20), created_at, id, 'id' || (substr(id, 2)::int % 20) FROM signature_verifications`,
		`INSERT INTO signer_digests SELECT 'id' || (i % 20), 'd' || i, 'n', timestamptz '2026-11-23 12:00Z' + i * interval '1 second', 'v' || i, 'i', NULL, 1 FROM generate_series(0, 19999) i`,
		`INSERT INTO verdict_uses SELECT 'v' || i, 'p', now(), 1 FROM generate_series(0, 9999) i`,
		`ANALYZE`)
}

func explainPG(t *testing.T, q querier, query string, args ...any) string {
	t.Helper()
	rows, err := q.QueryContext(t.Context(), "EXPLAIN "+query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	lines, err := collect("explaining", rows, func(r rower) (string, error) {
		var line string
		err := r.Scan(&line)
		return line, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// Each filter reads one index, in the order of the pages, and stops at the end
// of the page.
func TestListPlansOnPostgreSQL(t *testing.T) {
	s := openPG(t, Config{})
	seedPG(t, s)
	pg := dialect{postgres: true}
	cursor := &Cursor{CreatedAt: at.Add(15000 * time.Second), ID: "v015000"}
	first := func(f Filter) chooser {
		drive, err := f.drive(t.Context(), s.read)
		if err != nil {
			t.Fatal(err)
		}
		return drive
	}
	filters := map[string]Filter{
		"verifications_time": {}, "verifications_assessment": {AssessmentID: "a1"}, "verifications_digest": {Digest: "d1"},
		"verification_signers_pkey": {Signer: "s1"}, "verifications_image": {ImageRef: "i1"}, "verifications_name": {ImageName: "n1"},
		"verifications_identity": {Identity: "p1"}, "verifications_reason": {ReasonCode: "r3"}, "verifications_decision": {Decision: verdict.Deny},
	}
	for index, f := range filters {
		for _, bounds := range []Filter{{}, {Since: at.Add(1000 * time.Second)}, {Until: at.Add(20000 * time.Second)}} {
			for _, after := range []*Cursor{nil, cursor} {
				f.Since, f.Until = bounds.Since, bounds.Until
				query, args := f.query(pg, first(f), after, 51)
				plan := explainPG(t, s.read, query, args...)
				for _, bad := range []string{"Seq Scan", "Sort"} {
					if strings.Contains(plan, bad) {
						t.Errorf("%+v after %v: %s\n%s\n%s", f, after, bad, query, plan)
					}
				}
				// One verdict in five or ten has a decision, so the order of time does as well.
				if !strings.Contains(plan, index) && !(index == "verifications_decision" && strings.Contains(plan, "verifications_time")) {
					t.Errorf("%+v after %v does not use %s:\n%s\n%s", f, after, index, query, plan)
				}
			}
		}
	}
	// Any two at once, too, find their rows by an index.
	for _, a := range filters {
		for _, b := range filters {
			f := Filter{
				AssessmentID: a.AssessmentID + b.AssessmentID, Digest: a.Digest + b.Digest, Signer: a.Signer + b.Signer, ImageRef: a.ImageRef + b.ImageRef,
				ImageName: a.ImageName + b.ImageName, Identity: a.Identity + b.Identity, ReasonCode: a.ReasonCode + b.ReasonCode, Decision: a.Decision + b.Decision,
			}
			query, args := f.query(pg, first(f), cursor, 51)
			if plan := explainPG(t, s.read, query, args...); strings.Contains(plan, "Seq Scan") {
				t.Errorf("%+v scans:\n%s\n%s", f, query, plan)
			}
		}
	}
	for _, after := range []*Cursor{nil, cursor} {
		query, args := signerVerdictsQuery("id1", after, 51)
		plan := explainPG(t, s.read, query, args...)
		if strings.Contains(plan, "Sort") || strings.Contains(plan, "Seq Scan") || !strings.Contains(plan, "signer_digests_time") {
			t.Errorf("a signer's verdicts after %v:\n%s", after, plan)
		}
	}
}

func TestOtherPlansOnPostgreSQL(t *testing.T) {
	ctx := t.Context()
	s := openPG(t, Config{})
	seedPG(t, s)
	tx, err := s.write.begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	// The tables are small; what counts is whether an index would do.
	if _, err := tx.ExecContext(ctx, `SET LOCAL enable_seqscan = off`); err != nil {
		t.Fatal(err)
	}
	for _, q := range repeatedQueries {
		var args []any
		parts := strings.Split(q, "?")
		for _, before := range parts[:len(parts)-1] {
			arg := "1"
			if regexp.MustCompile(`\b(created_)?at [<>]=? $`).MatchString(before) {
				arg = formatTime(time.Unix(0, 0))
			}
			args = append(args, arg)
		}
		if plan := explainPG(t, tx, q, args...); strings.Contains(plan, "Seq Scan") {
			t.Errorf("%s\n%s", q, plan)
		}
	}
}

// proxy stands between a store and its server, to take the server away.
type proxy struct {
	net.Listener
	to string

	mu    sync.Mutex
	conns map[net.Conn]bool
	down  bool
	// hang passes nothing on any more, and lose loses the answer to the next
	// commit together with the connection.
	hang, lose atomic.Bool
	wg         sync.WaitGroup
}

// newProxy returns the URL of a database through a proxy.
func newProxy(t *testing.T, dsn string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	port := u.Port()
	if port == "" {
		port = "5432"
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, to: net.JoinHostPort(u.Hostname(), port), conns: map[net.Conn]bool{}}
	u.Host = l.Addr().String()
	p.wg.Go(p.serve)
	t.Cleanup(func() {
		_ = l.Close()
		p.set(true)
		p.wg.Wait()
	})
	return p, u.String()
}

func (p *proxy) serve() {
	for {
		c, err := p.Accept()
		if err != nil {
			return
		}
		if !p.add(c) {
			continue
		}
		s, err := net.Dial("tcp", p.to)
		if err != nil || !p.add(s) {
			_ = c.Close()
			continue
		}
		var committing atomic.Bool
		p.wg.Go(func() {
			p.pipe(s, c, func(b []byte) bool {
				if p.lose.Load() && strings.Contains(string(b), "commit") {
					committing.Store(true)
				}
				return true
			})
		})
		p.wg.Go(func() {
			p.pipe(c, s, func([]byte) bool {
				if committing.Load() {
					p.lose.Store(false)
					return false
				}
				return true
			})
		})
	}
}

// add keeps a connection to be closed, or closes it now.
func (p *proxy) add(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		_ = c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *proxy) pipe(dst, src net.Conn, pass func([]byte) bool) {
	defer dst.Close()
	defer src.Close()
	buf := make([]byte, 1<<16)
	for {
		n, err := src.Read(buf)
		if err != nil || !pass(buf[:n]) {
			return
		}
		if p.hang.Load() {
			continue
		}
		if _, err := dst.Write(buf[:n]); err != nil {
			return
		}
	}
}

// set takes the server away, or gives it back.
func (p *proxy) set(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
	if down {
		for c := range p.conns {
			_ = c.Close()
		}
		clear(p.conns)
	}
}

// A server that goes away and comes back does not need the store to be opened
// again.
func TestServerGoesAway(t *testing.T) {
	ctx := t.Context()
	p, dsn := newProxy(t, pgtest.Database(t))
	s := openPG(t, Config{URL: dsn, Migrate: true})
	before, err := s.Active(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		p.set(true)
		for name, err := range everything(ctx, t, s, fmt.Sprint("down", round)) {
			if !errors.Is(err, ErrUnavailable) {
				t.Errorf("%s without a server: %v", name, err)
			}
		}
		if _, err := s.Active(ctx); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Active without a server: %v", err)
		}
		if _, err := s.Snapshot(ctx, nil); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Snapshot without a server: %v", err)
		}
		p.set(false)
		eventually.Holds(t, "the server is back", func() bool { after, err := s.Active(ctx); return err == nil && after == before })
		for name, err := range everything(ctx, t, s, fmt.Sprint("up", round)) {
			if err != nil {
				t.Errorf("%s with the server back: %v", name, err)
			}
		}
	}
	// A context that has ended stays that.
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Active(gone); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
		t.Errorf("Active with a context that has ended: %v", err)
	}
}

// Connections that ended while nobody used them fail nobody once the server is
// back: beginning has no effect, so it is tried again.
func TestEndedConnectionsFailNobody(t *testing.T) {
	ctx := t.Context()
	p, dsn := newProxy(t, pgtest.Database(t))
	s := openPG(t, Config{URL: dsn, Migrate: true})
	for name, use := range map[string]func() error{
		"Active":   func() error { _, err := s.Active(ctx); return err },
		"Snapshot": func() error { _, err := s.Snapshot(ctx, nil); return err },
		"Change":   func() error { _, err := s.Change(ctx, alice, "", func(*Tx) error { return nil }); return err },
		"AddUses":  func() error { return s.AddUses(ctx, []Use{{VerdictID: "v", Principal: "p", Minute: at, Count: 1}}) },
	} {
		for d, n := range map[*db]int{s.read: maxConnections, s.actives: activeConnections} { // as many as there can be, idle
			var open []*tx
			for range n {
				tx, err := d.view(ctx)
				if err != nil {
					t.Fatal(err)
				}
				open = append(open, tx)
			}
			for _, tx := range open {
				if err := tx.Rollback(); err != nil {
					t.Fatal(err)
				}
			}
		}
		p.set(true)
		p.set(false)
		if err := use(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A server that says nothing is as good as none, and is not waited for.
func TestServerHangs(t *testing.T) {
	p, dsn := newProxy(t, pgtest.Database(t))
	s := openPG(t, Config{URL: dsn, Migrate: true})
	p.hang.Store(true)
	done := make(chan error, 1)
	go func() {
		_, err := s.Active(context.Background()) // nobody else sets a limit
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("Active: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Active waits for ever")
	}
	p.set(true) // the connections that hang
	p.hang.Store(false)
	p.set(false)
	eventually.Holds(t, "the server is back", func() bool { _, err := s.Active(t.Context()); return err == nil })
}

// When the answer to a commit is lost, nobody knows what took effect, and nothing
// is assumed: what is read next is the truth.
func TestLostCommit(t *testing.T) {
	ctx := t.Context()
	p, dsn := newProxy(t, pgtest.Database(t))
	s := openPG(t, Config{URL: dsn, Migrate: true})
	p.lose.Store(true)
	_, err := s.Change(ctx, alice, "", func(tx *Tx) error { return setPolicy(ctx, tx, "1") })
	if !errors.Is(err, ErrUnavailable) {
		t.Fatalf("a commit without an answer: %v", err)
	}
	if p.lose.Load() {
		t.Fatal("the proxy has seen no commit")
	}
	// The server had it.
	eventually.Holds(t, "the change is there", func() bool { a, err := s.Active(ctx); return err == nil && a.Revision == 1 })
	after, err := s.Change(ctx, alice, "", func(tx *Tx) error { return setPolicy(ctx, tx, "2") })
	if err != nil || after.Revision != 2 {
		t.Errorf("the next change makes %+v (%v)", after, err)
	}
	if head, err := s.VerifyAudit(ctx, AuditHead{}); err != nil || head.Seq != 2 {
		t.Errorf("the audit log ends at %+v (%v)", head, err)
	}
}

// Facts that are removed while a verdict about them is written come back with it.
func TestFactsRemovedMeanwhile(t *testing.T) {
	ctx := t.Context()
	s := openPG(t, Config{})
	f := someFacts(t, "sha256:aa")
	for i := range 20 {
		if err := s.PutFacts(ctx, f); err != nil {
			t.Fatal(err)
		}
		tx, err := s.write.begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM signature_verifications`); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM facts`); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Record(ctx, aRecord(fmt.Sprint("v", i), f)) }()
		time.Sleep(time.Duration(i) * time.Millisecond)
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		if _, err := s.Facts(ctx, f.Digest()); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
}

// A server that cannot be written to, as a standby that has fallen behind, is not
// asked what is in force: it may not know yet what was acknowledged.
func TestStandbyIsNotAsked(t *testing.T) {
	s := openPG(t, Config{})
	direct := openPG(t, Config{URL: s.cfg.URL, ReadOnly: true})
	if _, err := s.Active(t.Context()); err != nil {
		t.Fatal(err)
	}
	var name string
	if err := direct.read.QueryRowContext(t.Context(), `SELECT current_database()`).Scan(&name); err != nil {
		t.Fatal(err)
	}
	mustExec(t, s, `ALTER DATABASE `+name+` SET default_transaction_read_only = on`)
	if _, err := direct.read.ExecContext(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ? AND pid <> pg_backend_pid()`, name); err != nil {
		t.Fatal(err)
	}
	for range maxConnections + 1 { // the first finds a connection that has ended
		if a, err := s.Active(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("Active = %+v, %v", a, err)
		}
	}
}

// Reading what is in force waits for nobody: each request does it, and lists and
// backups take as long as they take.
func TestActiveHasItsOwnConnection(t *testing.T) {
	s := openPG(t, Config{})
	for range maxConnections {
		tx, err := s.read.view(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tx.Rollback() })
	}
	if _, err := s.Active(t.Context()); err != nil {
		t.Errorf("Active: %v", err)
	}
}

// Replicas that count and record the same things at the same time never wait for
// each other in a circle: PostgreSQL sees it only after a second, and ends one.
func TestNoDeadlocks(t *testing.T) {
	const n, rounds = 60, 12
	id := func(i int) string { return fmt.Sprintf("v%02d", i%n) }
	name := func(i int) string { return fmt.Sprintf("signer-%02d", i*37%n) }
	each := func(t *testing.T, order []int, do func(i int) error) {
		var wg sync.WaitGroup
		for _, i := range order {
			wg.Go(func() {
				if err := do(i); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	allowed := func(id string, i int) Record {
		r := aRecord(id, someFacts(t, fmt.Sprintf("sha256:%04d", i)))
		r.Verdict.Decision, r.Verdict.Allowed, r.Verdict.Active.Revision = verdict.Allow, true, 1
		r.Frames = map[string]facts.Frame{"p": {Matches: []facts.Match{{Signers: []string{name(i)}}}}}
		return r
	}
	for what, write := range map[string]func(t *testing.T, s *Store, round int, order []int){
		"uses": func(t *testing.T, s *Store, _ int, order []int) {
			var batch []Use
			for _, i := range order {
				batch = append(batch, Use{VerdictID: id(i), Principal: "p", Minute: at, Count: 1})
			}
			if err := s.AddUses(t.Context(), batch); err != nil {
				t.Error(err)
			}
		},
		"repeats": func(t *testing.T, s *Store, round int, order []int) {
			each(t, order, func(i int) error {
				return s.Repeat(t.Context(), Repeat{Original: id(i), ID: fmt.Sprintf("%p-%d-%d", s, round, i), Body: []byte("x"), AssessmentID: "a", At: at})
			})
		},
		"verdicts": func(t *testing.T, s *Store, round int, order []int) {
			each(t, order, func(i int) error {
				return s.Record(t.Context(), allowed(fmt.Sprintf("%p:%d:%d", s, round, i), round*n+i))
			})
		},
	} {
		t.Run(what, func(t *testing.T) {
			look := openPG(t, Config{})
			stores := []*Store{openPG(t, Config{URL: look.cfg.URL}), openPG(t, Config{URL: look.cfg.URL})}
			if _, err := look.Change(t.Context(), alice, "", func(tx *Tx) error {
				for i := range n {
					if _, err := tx.PutSigner(t.Context(), SignerRow{Name: name(i), Type: "keyless"}); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if err := look.Record(t.Context(), allowed(id(i), i)); err != nil {
					t.Fatal(err)
				}
			}
			var wg sync.WaitGroup
			for which, s := range stores {
				wg.Go(func() {
					for round := range rounds {
						var order []int
						for i := range n {
							order = append(order, (i*7+round)%n)
						}
						if which == 1 {
							slices.Reverse(order)
						}
						write(t, s, round, order)
					}
				})
			}
			wg.Wait()
			for _, s := range stores { // what a connection counts is seen when it ends
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			var others, deadlocks int
			for range 500 {
				err := look.write.QueryRowContext(t.Context(), `SELECT deadlocks, (SELECT count(*) FROM pg_stat_activity a WHERE a.datname = d.datname AND backend_type = 'client backend')
					FROM pg_stat_database d WHERE datname = current_database()`).Scan(&deadlocks, &others)
				if err != nil {
					t.Fatal(err)
				}
				if look.write.Stats().OpenConnections >= others-activeConnections {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if deadlocks > 0 {
				t.Errorf("%d deadlocks", deadlocks)
			}
		})
	}
}

// A state with what PostgreSQL's JSON cannot have, such as one that came from SQLite,
// keeps no entry from being found by its name.
func TestAuditNamesWithNUL(t *testing.T) {
	s := openPG(t, Config{})
	mustExec(t, s, `INSERT INTO audit VALUES
		(1, now(), 'a', '', 'signer.create', 'signer/1', NULL, '{"name": "release", "note": "a\u0000b"}', '', 1, 'p', 'h1'),
		(2, now(), 'a', '', 'signer.create', 'signer/2', NULL, '{"name": "release", "note": "c"}', '', 1, 'h1', 'h2')`)
	found, err := s.Audit(t.Context(), AuditFilter{Name: "release"})
	if err != nil || len(found) != 2 {
		t.Errorf("%+v, %v", found, err)
	}
}
