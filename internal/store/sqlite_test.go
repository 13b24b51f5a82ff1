package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

var (
	at    = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	alice = Actor{Name: "alice"}
)

func aRecord(id string, f facts.Facts) Record {
	return Record{
		Verdict: &verdict.Verdict{ID: id, Decision: verdict.Deny, Image: "i", Digest: "d", FactsDigest: f.Digest(), Build: "b"},
		Body:    []byte(`{}`), Facts: f, Decided: at,
	}
}

// raw runs SQL on the store's file from outside, as somebody with an SQLite
// shell would.
func raw(t *testing.T, s *Store, statements ...string) error {
	t.Helper()
	db, err := sql.Open("sqlite", s.path())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, q := range statements {
		if _, err := db.ExecContext(t.Context(), q); err != nil {
			return err
		}
	}
	return nil
}

func TestListPlans(t *testing.T) {
	s := openTemp(t, Config{})
	values := map[string]string{"assessment": "a", "digest": "d", "signer": "s", "image": "i", "name": "n", "identity": "p", "reason": "r", "decision": "deny"}
	names := []string{"assessment", "digest", "signer", "image", "name", "identity", "reason", "decision"}
	cursor := &Cursor{CreatedAt: at, ID: "x"}
	for set := range 1 << len(names) {
		if n := bits.OnesCount(uint(set)); n > 3 && n < len(names) {
			continue // what three do beside each other, more do too
		}
		var f Filter
		pick := func(i int) string {
			if set&(1<<i) == 0 {
				return ""
			}
			return values[names[i]]
		}
		f.AssessmentID, f.Digest, f.Signer, f.ImageRef = pick(0), pick(1), pick(2), pick(3)
		f.ImageName, f.Identity, f.ReasonCode, f.Decision = pick(4), pick(5), pick(6), verdict.Decision(pick(7))
		drives := f.choosers(dialect{})
		if len(drives) == 0 {
			drives = []chooser{{index: "verifications_time"}}
		}
		for _, drive := range drives {
			for _, since := range []time.Time{{}, at} {
				for _, after := range []*Cursor{nil, cursor} {
					f.Since = since
					f.Until = since
					query, args := f.query(dialect{}, drive, after, 50)
					plan := explain(t, s, query, args...)
					name := fmt.Sprintf("filter %08b by %s since %v after %v:\n%s\n%s", set, drive.index, !since.IsZero(), after != nil, query, plan)
					if strings.Contains(plan, "TEMP B-TREE") {
						t.Errorf("sorts: %s", name)
					}
					if set != 0 && strings.Contains(plan, "SCAN") {
						t.Errorf("scans: %s", name)
					}
					want := drive.index
					if want == bySigner {
						want = "PRIMARY KEY"
					}
					if line, _, _ := strings.Cut(plan, "\n"); !strings.Contains(line, want) {
						t.Errorf("does not begin with %s: %s", want, name)
					}
					if after != nil && !strings.Contains(plan, "<") {
						t.Errorf("reads from the newest although there is a cursor: %s", name)
					}
				}
			}
		}
	}
}

// Of several filters the one that leaves the fewest rows is read, within the time that
// was asked for.
func TestListDrive(t *testing.T) {
	s := openTemp(t, Config{})
	for i := range 40 {
		r := aRecord(fmt.Sprintf("v%02d", i), facts.Facts{})
		r.ImageName, r.Verdict.Decision, r.Decided = "common", verdict.Allow, at.Add(time.Duration(i)*time.Second)
		if i < 8 {
			r.ImageName = "old"
		}
		if err := s.Record(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	const signed = `INSERT INTO verification_signers (signer, created_at, verification_id) SELECT '%s', created_at, id FROM signature_verifications WHERE %s`
	if err := raw(t, s, fmt.Sprintf(signed, "everybody", "true"), fmt.Sprintf(signed, "rare", "id LIKE 'v_0'")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		f    Filter
		want string
	}{
		{Filter{}, "verifications_time"},
		{Filter{Signer: "everybody"}, bySigner},
		{Filter{Signer: "everybody", ImageName: "old"}, "verifications_name"},
		{Filter{Signer: "rare", ImageName: "old"}, bySigner},
		{Filter{Signer: "rare", ImageName: "old", Since: at.Add(20 * time.Second)}, "verifications_name"},
		{Filter{Signer: "everybody", Decision: verdict.Deny}, "verifications_decision"},
		{Filter{Signer: "everybody", Decision: verdict.Allow}, bySigner},
	} {
		drive, err := tt.f.drive(t.Context(), s.read)
		if err != nil || drive.index != tt.want {
			t.Errorf("%+v: by %s, %v; want %s", tt.f, drive.index, err, tt.want)
		}
	}
}

func TestSignerVerdictPlans(t *testing.T) {
	s := openTemp(t, Config{})
	for _, after := range []*Cursor{nil, {CreatedAt: at, ID: "x"}} {
		query, args := signerVerdictsQuery("id", after, 50)
		plan := explain(t, s, query, args...)
		if !strings.Contains(plan, "signer_digests_time") || strings.Contains(plan, "SCAN") || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("after %v: %s\n%s", after, query, plan)
		}
		if after != nil && !strings.Contains(plan, "<") {
			t.Errorf("reads from the newest although there is a cursor:\n%s", plan)
		}
	}
}

// repeatedQueries are what a running server asks again and again.
var repeatedQueries = []string{
	`SELECT ` + verificationColumns + `, frames, verdict FROM signature_verifications WHERE id = ?`,
	`SELECT encoding, size, body FROM facts WHERE digest = ?`,
	`SELECT encoding, size, body FROM evidence WHERE digest = ?`,
	`SELECT 1 FROM signature_verifications WHERE evidence_digest = ?`,
	`SELECT revision, digest, inputs, at FROM revisions WHERE at <= ? ORDER BY at DESC, revision DESC LIMIT 1`,
	nearQuery("<=", "DESC"), nearQuery(">", "ASC"),
	`SELECT encoding, size, body FROM objects WHERE kind = ? AND digest = ?`,
	`SELECT verification_id, principal, minute, count FROM verdict_uses WHERE verification_id = ? ORDER BY minute, principal`,
	`SELECT ` + auditColumns + ` FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT ?`,
	`SELECT ` + auditColumns + ` FROM audit WHERE object = ? AND seq < ? ORDER BY seq DESC LIMIT ?`,
	`SELECT ` + signerColumns + ` FROM trusted_signers WHERE name = ?`,
	`SELECT 1 FROM signature_verifications WHERE facts_digest = ?`,
	`SELECT 1 FROM verification_signers WHERE verification_id = ?`,
	`SELECT id FROM signer_history WHERE name = ? AND from_revision <= ? AND (until_revision IS NULL OR until_revision > ?) LIMIT 1`,
	`SELECT ` + policyColumns + ` FROM policies WHERE name = ?`,
	`SELECT ` + rootColumns + ` FROM trust_roots WHERE name = ?`,
	`SELECT kind, key, checked_at, error, detail FROM upkeep WHERE kind = ? ORDER BY key`,
	`SELECT max(digest) FROM (SELECT digest FROM facts WHERE digest > ? ORDER BY digest LIMIT 500) x`,
}

// Every other query that a running server repeats finds its rows by an index.
func TestOtherPlans(t *testing.T) {
	s := openTemp(t, Config{})
	for _, q := range repeatedQueries {
		args := make([]any, strings.Count(q, "?"))
		for i := range args {
			args[i] = "x"
		}
		plan := explain(t, s, q, args...)
		if strings.Contains(plan, "SCAN") || !strings.Contains(plan, "SEARCH") {
			t.Errorf("%s\n%s", q, plan)
		}
		if strings.Contains(plan, "TEMP B-TREE") && !strings.Contains(q, "verdict_uses") { // a verdict's own uses may be sorted
			t.Errorf("sorts: %s\n%s", q, plan)
		}
	}
}

// Verdicts are counted in their index alone, a stretch of it for each day, and nothing
// is sorted.
func TestDayCountsReadAnIndex(t *testing.T) {
	s := openTemp(t, Config{})
	until := time.Date(2026, 11, 26, 1, 0, 0, 0, time.UTC)
	query, args := dayCountsQuery(dialect{}, until.AddDate(0, 0, -30), until)
	plan := explain(t, s, query, args...)
	if !strings.Contains(plan, "COVERING INDEX verifications_decision (decision=? AND created_at>? AND created_at<?)") || strings.Contains(plan, "TEMP B-TREE") {
		t.Errorf("%s\n%s", query, plan)
	}
	if days := (len(args) + 2) / 3; days != 31 {
		t.Errorf("%d days are counted", days)
	}
}

func explain(t *testing.T, s *Store, query string, args ...any) string {
	t.Helper()
	rows, err := s.read.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	lines, err := collect("explaining", rows, func(r rower) (string, error) {
		var id, parent, unused int
		var line string
		err := r.Scan(&id, &parent, &unused, &line)
		return line, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// Law 2: facts come back only if they hash to their digest.
func TestChangedFactsAreNotUsed(t *testing.T) {
	ctx := t.Context()
	one, two := someFacts(t, "sha256:aa"), someFacts(t, "sha256:bb")
	tests := []struct{ name, change string }{
		{"the body of other facts", `UPDATE facts SET (size, body) = (SELECT size, body FROM facts WHERE digest = '` + two.Digest() + `') WHERE digest = '` + one.Digest() + `'`},
		{"cut short", `UPDATE facts SET body = substr(body, 1, length(body) - 3)`},
		{"nothing", `UPDATE facts SET body = x''`},
		{"not packed", `UPDATE facts SET body = CAST('{"subject":{}}' AS BLOB)`},
		{"another size", `UPDATE facts SET size = size + 1`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openTemp(t, Config{})
			if err := errors.Join(s.PutFacts(ctx, one), s.PutFacts(ctx, two)); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Facts(ctx, one.Digest()); err != nil {
				t.Fatal(err)
			}
			if err := raw(t, s, tt.change); err != nil {
				t.Fatal(err)
			}
			got, err := s.Facts(ctx, one.Digest())
			if !errors.Is(err, ErrCorrupt) || got.Digest() != "" {
				t.Errorf("Facts: %v", err)
			}
		})
	}
}

func TestDamagedRowsAreNotUsed(t *testing.T) {
	ctx := t.Context()
	f := someFacts(t, "sha256:aa")
	tests := []struct {
		name   string
		change string
		read   func(*Store) error
	}{
		{"a verdict's body", `UPDATE signature_verifications SET verdict = x'00'`, func(s *Store) error { _, err := s.Verdict(ctx, "v"); return err }},
		{"a verdict's frames", `UPDATE signature_verifications SET frames = x'00'`, func(s *Store) error { _, err := s.Verdict(ctx, "v"); return err }},
		{"a verdict's frames of another kind", `UPDATE signature_verifications SET frames = verdict`, func(s *Store) error { _, err := s.Verdict(ctx, "v"); return err }},
		{"a verdict's reasons", `UPDATE signature_verifications SET reasons = '{}'`, func(s *Store) error { _, _, err := s.Verdicts(ctx, Filter{}, Page{}); return err }},
		{"a verdict's time", `UPDATE signature_verifications SET created_at = 'yesterday'`, func(s *Store) error { _, _, err := s.Verdicts(ctx, Filter{}, Page{}); return err }},
		{"a signer's images", `UPDATE trusted_signers SET images = '["a"'`, func(s *Store) error { _, err := s.Snapshot(ctx, nil); return err }},
		{"a signer's history", `UPDATE signer_history SET body = replace(body, '"enabled":true', '"enabled":false')`, func(s *Store) error { _, err := s.SignersAt(ctx, 1); return err }},
		{"a constraint from the future", `UPDATE signer_history SET body = replace(body, '"enabled"', '"only_on_sundays":true,"enabled"')`, func(s *Store) error { _, err := s.SignersAt(ctx, 1); return err }},
		{"a missing signer's history", `DELETE FROM signer_history`, func(s *Store) error { _, err := s.SignersAt(ctx, 1); return err }},
		{"a token's hash", `PRAGMA ignore_check_constraints = 1; UPDATE tokens SET hash = x'00'`, func(s *Store) error { _, err := s.Tokens(ctx); return err }},
		{"active gone", `DELETE FROM active`, func(s *Store) error { _, err := s.Snapshot(ctx, nil); return err }},
		{"an object", `UPDATE objects SET body = x'00'`, func(s *Store) error { _, err := s.Object(ctx, "policy", facts.Digest([]byte("x"))); return err }},
		{"an object of other bytes", `UPDATE objects SET digest = 'sha256:x'`, func(s *Store) error {
			if _, err := s.Object(ctx, "policy", facts.Digest([]byte("x"))); err == nil {
				return nil
			}
			_, err := s.Object(ctx, "policy", "sha256:x")
			return err
		}},
		{"a revision's inputs", `UPDATE revisions SET inputs = '[]'`, func(s *Store) error { _, err := s.Revision(ctx, 1); return err }},
		{"a secret of zeros", `UPDATE secret SET value = zeroblob(32)`, func(s *Store) error {
			r := openTemp(t, Config{DataDir: s.cfg.DataDir, ReadOnly: true})
			_, err := r.Secret(ctx)
			return err
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openTemp(t, Config{})
			v := aRecord("v", f)
			v.Body = []byte(`"a string"`)
			if err := s.Record(ctx, v); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Change(ctx, alice, "", func(tx *Tx) error {
				if _, err := tx.PutSigner(ctx, SignerRow{Name: "s", Type: "keyless", Enabled: true}); err != nil {
					return err
				}
				return errors.Join(tx.CreateToken(ctx, aToken(t)), tx.PutObject(ctx, "policy", facts.Digest([]byte("x")), []byte("x")))
			}); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(tt.name, "zeros") {
				if err := tt.read(s); err != nil {
					t.Fatalf("before the damage: %v", err)
				}
			}
			if err := raw(t, s, tt.change); err != nil {
				t.Fatal(err)
			}
			if err := tt.read(s); !errors.Is(err, ErrCorrupt) {
				t.Errorf("error %v, want %v", err, ErrCorrupt)
			}
		})
	}
}

func TestAuditIsAppendOnly(t *testing.T) {
	ctx := t.Context()
	s := openTemp(t, Config{})
	for i := range 3 {
		if _, err := s.Change(ctx, alice, "", func(tx *Tx) error { return setPolicy(ctx, tx, fmt.Sprint(i)) }); err != nil {
			t.Fatal(err)
		}
	}
	const row = `, '2026', 'a', '', 'x', 'x', NULL, NULL, '', 1, 'p', 'h')`
	for _, q := range []string{
		`UPDATE audit SET actor = 'mallory'`,
		`DELETE FROM audit`,
		`DELETE FROM audit WHERE seq = 3`,
		`INSERT OR REPLACE INTO audit VALUES (3` + row,
		`INSERT INTO audit VALUES (5` + row,
		`INSERT INTO audit VALUES (0` + row,
	} {
		if err := raw(t, s, q); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v", q, err)
		}
	}
	if _, err := s.VerifyAudit(ctx, AuditHead{}); err != nil {
		t.Error(err)
	}
}

// Whoever takes the triggers away is still found out by the chain.
func TestChangedAuditIsFound(t *testing.T) {
	ctx := t.Context()
	const free = `DROP TRIGGER audit_no_update; DROP TRIGGER audit_no_delete; DROP TRIGGER audit_in_order;`
	tests := []struct{ name, change, want string }{
		{"another actor", `UPDATE audit SET actor = 'mallory' WHERE seq = 3`, "entry 3 does not hash"},
		{"another time", `UPDATE audit SET at = '2020-01-01T00:00:00.000000Z' WHERE seq = 3`, "entry 3 does not hash"},
		{"another origin", `UPDATE audit SET origin = 'cli' WHERE seq = 3`, "entry 3 does not hash"},
		{"another state before", `UPDATE audit SET before = '"x"' WHERE seq = 3`, "entry 3 does not hash"},
		{"another state after", `UPDATE audit SET after = NULL WHERE seq = 3`, "entry 3 does not hash"},
		{"another reason", `UPDATE audit SET why = 'x' WHERE seq = 3`, "entry 3 does not hash"},
		{"another revision", `UPDATE audit SET revision = 9 WHERE seq = 3`, "entry 3 does not hash"},
		{"another object", `UPDATE audit SET object = 'x' WHERE seq = 3`, "entry 3 does not hash"},
		{"another action", `UPDATE audit SET action = 'x' WHERE seq = 3`, "entry 3 does not hash"},
		{"no JSON", `UPDATE audit SET after = 'x' WHERE seq = 3`, "hashing audit entry 3"},
		{"one taken out", `DELETE FROM audit WHERE seq = 3`, "entry 2 is followed by 4"},
		{"the first taken out", `DELETE FROM audit WHERE seq = 1`, "entry 0 is followed by 2"},
		{"the end cut off", `DELETE FROM audit WHERE seq > 3`, "the log ends at entry 3, but entry 5 was there"},
		{"one changed with its hash", `UPDATE audit SET actor = 'mallory', hash = '%s' WHERE seq = 3`, "entry 4 does not name the hash"},
		{"the last changed with its hash", `UPDATE audit SET actor = 'mallory', hash = '%s' WHERE seq = 5`, "but %s was kept for it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openTemp(t, Config{})
			for i := range 5 {
				if _, err := s.Change(ctx, alice, "w", func(tx *Tx) error { return setPolicy(ctx, tx, fmt.Sprint(i)) }); err != nil {
					t.Fatal(err)
				}
			}
			head, err := s.VerifyAudit(ctx, AuditHead{})
			if err != nil {
				t.Fatal(err)
			}
			change, want := tt.change, tt.want
			if strings.Contains(change, "%s") {
				seq := regexp.MustCompile(`seq = (\d)`).FindStringSubmatch(change)[1]
				change = fmt.Sprintf(change, forged(t, s, seq))
				want = strings.ReplaceAll(want, "%s", head.Hash)
			}
			if err := raw(t, s, free, change); err != nil {
				t.Fatal(err)
			}
			_, err = s.VerifyAudit(ctx, head)
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), want) {
				t.Errorf("VerifyAudit: %v, want %q", err, want)
			}
		})
	}
}

// forged is the hash that an entry would have with another actor.
func forged(t *testing.T, s *Store, seq string) string {
	t.Helper()
	e, err := scanAudit(s.read.QueryRowContext(t.Context(), `SELECT `+auditColumns+` FROM audit WHERE seq = `+seq))
	if err != nil {
		t.Fatal(err)
	}
	e.Actor = "mallory"
	sum, err := e.sum()
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// everything tries each operation once, for the tests of a store in trouble.
func everything(ctx context.Context, t *testing.T, s *Store, id string) map[string]error {
	t.Helper()
	f := someFacts(t, "sha256:"+strings.Repeat("f", 20000))
	_, change := s.Change(ctx, alice, "", func(tx *Tx) error { return tx.PutObject(ctx, "k", facts.Digest(randomish(t)), randomish(t)) })
	return map[string]error{
		"Change":   change,
		"PutFacts": s.PutFacts(ctx, f),
		"Record":   s.Record(ctx, aRecord(id, f)),
		"AddUses":  s.AddUses(ctx, many()),
		"Touch":    s.TouchTokens(ctx, map[string]time.Time{"x": at}),
	}
}

func many() []Use {
	var list []Use
	for i := range 5000 {
		list = append(list, Use{VerdictID: fmt.Sprint("v", i), Principal: "p", Minute: at, Count: 1})
	}
	return list
}

func randomish(t *testing.T) []byte {
	t.Helper()
	var b []byte
	for i := range 5000 {
		b = append(b, facts.Digest(fmt.Append(nil, i))...)
	}
	return b
}

func TestLocked(t *testing.T) {
	ctx := t.Context()
	s := openTemp(t, Config{})
	if _, err := s.write.ExecContext(ctx, `PRAGMA busy_timeout = 20`); err != nil {
		t.Fatal(err)
	}
	before, err := s.Active(ctx)
	if err != nil {
		t.Fatal(err)
	}
	other, err := sql.Open("sqlite", s.path())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	if _, err := other.ExecContext(ctx, `BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	for name, err := range everything(ctx, t, s, fmt.Sprint("v", rand.Int64())) {
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s while another holds the lock: %v", name, err)
		}
	}
	if _, err := other.ExecContext(ctx, `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	for name, err := range everything(ctx, t, s, fmt.Sprint("v", rand.Int64())) {
		if err != nil {
			t.Errorf("%s after the lock has gone: %v", name, err)
		}
	}
	if after, err := s.Active(ctx); err != nil || after != before {
		t.Errorf("active went from %+v to %+v (%v)", before, after, err)
	}
}

// A locked database makes those who wait for one batch wait once, not each for
// all the others.
func TestLockedFailsABatchOnce(t *testing.T) {
	ctx := t.Context()
	s := openTemp(t, Config{})
	const busy = 300 * time.Millisecond
	if _, err := s.write.ExecContext(ctx, fmt.Sprintf(`PRAGMA busy_timeout = %d`, busy.Milliseconds())); err != nil {
		t.Fatal(err)
	}
	other, err := sql.Open("sqlite", s.path())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	if _, err := other.ExecContext(ctx, `BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			if err := s.Record(ctx, aRecord(fmt.Sprint("v", i), facts.Facts{})); !errors.Is(err, ErrUnavailable) {
				t.Errorf("Record while another holds the lock: %v", err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(start); took > 20*busy {
		t.Errorf("forty verdicts failed after %s, one wait for the lock is %s", took, busy)
	}
}

func TestDiskFull(t *testing.T) {
	ctx := t.Context()
	s := openTemp(t, Config{})
	if _, err := s.write.ExecContext(ctx, `PRAGMA max_page_count = 1`); err != nil { // as many as there are now
		t.Fatal(err)
	}
	got := everything(ctx, t, s, "v-full")
	delete(got, "Touch") // changes no row, so it needs no room
	delete(got, "PutFacts")
	delete(got, "Record")
	for name, err := range got {
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s on a full disk: %v", name, err)
		}
	}
	for i := 0; ; i++ { // small rows fit for a while
		err := s.Record(ctx, aRecord(fmt.Sprint("v", i), someFacts(t, "sha256:aa")))
		if errors.Is(err, ErrUnavailable) {
			break
		}
		if err != nil || i > 10000 {
			t.Fatalf("record %d on a full disk: %v", i, err)
		}
	}
	if _, err := s.write.ExecContext(ctx, `PRAGMA max_page_count = 100000`); err != nil {
		t.Fatal(err)
	}
	for name, err := range everything(ctx, t, s, fmt.Sprint("v", rand.Int64())) {
		if err != nil {
			t.Errorf("%s once there is room again: %v", name, err)
		}
	}
}

func TestClosed(t *testing.T) {
	ctx := t.Context()
	s := openTemp(t, Config{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, err := range everything(ctx, t, s, fmt.Sprint("v", rand.Int64())) {
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s on a closed store: %v", name, err)
		}
	}
	if _, err := s.Snapshot(ctx, nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Snapshot on a closed store: %v", err)
	}
	r := openTemp(t, Config{DataDir: s.cfg.DataDir, ReadOnly: true})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Active(ctx); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Active on a closed store: %v", err)
	}
}

func TestUnreadable(t *testing.T) {
	ctx := t.Context()
	s := openTemp(t, Config{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r := openTemp(t, Config{DataDir: s.cfg.DataDir, ReadOnly: true})
	if err := os.WriteFile(filepath.Join(s.cfg.DataDir, FileName), []byte(strings.Repeat("x", 8192)), 0o600); err != nil {
		t.Fatal(err)
	}
	checks := map[string]error{}
	_, checks["Active"] = r.Active(ctx)
	_, checks["Snapshot"] = r.Snapshot(ctx, nil)
	_, checks["Signers"] = r.Signers(ctx)
	_, checks["Facts"] = r.Facts(ctx, "d")
	_, checks["Verdict"] = r.Verdict(ctx, "v")
	_, _, checks["Verdicts"] = r.Verdicts(ctx, Filter{}, Page{})
	_, checks["Audit"] = r.Audit(ctx, AuditFilter{})
	_, checks["VerifyAudit"] = r.VerifyAudit(ctx, AuditHead{})
	_, checks["Secret"] = r.Secret(ctx)
	_, checks["Object"] = r.Object(ctx, "k", "d")
	_, checks["Uses"] = r.Uses(ctx, "v")
	for name, err := range checks {
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s of a store that is gone: %v", name, err)
		}
	}
}

// When a commit fails, nobody knows what took effect: what is in memory no
// longer counts, and active is read again.
func TestFailedCommitReadsActiveAgain(t *testing.T) {
	ctx := t.Context()
	s := openTemp(t, Config{})
	before, err := s.Active(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Change(ctx, alice, "", func(tx *Tx) error {
		if err := setPolicy(ctx, tx, "sha256:1"); err != nil {
			return err
		}
		// A reference to nothing, which is looked at only at the commit.
		if err := tx.exec(ctx, "test", `PRAGMA defer_foreign_keys = 1`); err != nil {
			return err
		}
		return tx.exec(ctx, "test", `INSERT INTO verification_signers VALUES ('s', 't', 'nobody', NULL)`)
	})
	if err == nil {
		t.Fatal("the commit did not fail")
	}
	if s.current.Load() != nil {
		t.Error("after a commit of unknown outcome, active is still answered from memory")
	}
	// What another hand wrote meanwhile is seen, because it is read.
	if err := raw(t, s, `UPDATE active SET revision = 41`); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Active(ctx); err != nil || got.Revision != 41 || got.Digest != before.Digest {
		t.Errorf("active reads %+v (%v)", got, err)
	}
	after, err := s.Change(ctx, alice, "", func(tx *Tx) error { return setPolicy(ctx, tx, "sha256:2") })
	if err != nil || after.Revision != 42 {
		t.Errorf("the next change makes %+v (%v)", after, err)
	}
	if got, err := s.Active(ctx); err != nil || got != after {
		t.Errorf("active reads %+v (%v), want %+v", got, err, after)
	}
}

// The tables keep the columns that their users know.
func TestKnownColumns(t *testing.T) {
	s := openTemp(t, Config{})
	for table, columns := range map[string]string{
		"trusted_signers": `id, name, signer_type, oidc_issuer, subject_pattern, public_key, kms_key_ref, enabled, expires_at, created_by, created_at`,
		"signature_verifications": `id, assessment_id, image_ref, image_digest, signature_found, signature_valid,
			signer_identity, signer_issuer, signed_at, slsa_level, slsa_builder, verification_error, created_at`,
	} {
		if plan := explain(t, s, `SELECT `+columns+` FROM `+table); plan == "" {
			t.Errorf("%s cannot be read", table)
		}
	}
}

// Connections are set up as the design says, all of them.
func TestPragmas(t *testing.T) {
	s := openTemp(t, Config{})
	tests := []struct {
		db           *db
		pragma, want string
	}{
		{s.write, "journal_mode", "wal"}, {s.write, "synchronous", "2"}, {s.write, "foreign_keys", "1"}, {s.write, "busy_timeout", "5000"},
		{s.write, "trusted_schema", "0"}, {s.read, "query_only", "1"}, {s.read, "busy_timeout", "5000"},
	}
	for _, tt := range tests {
		var got string
		if err := tt.db.QueryRowContext(t.Context(), "PRAGMA "+tt.pragma).Scan(&got); err != nil || got != tt.want {
			t.Errorf("%s is %q (%v), want %q", tt.pragma, got, err, tt.want)
		}
	}
	if _, err := s.read.ExecContext(t.Context(), `DELETE FROM active`); err == nil {
		t.Error("a reader's connection writes")
	}
}

// A cursor comes back from outside: it is an error, or one that is written again
// as one that means the same.
func FuzzParseCursor(f *testing.F) {
	f.Add(Cursor{CreatedAt: at, ID: "01J"}.String())
	f.Add("fA")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCursor(text)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || c != (Cursor{}) {
				t.Fatalf("ParseCursor = %+v, %v", c, err)
			}
			return
		}
		if again, err := ParseCursor(c.String()); err != nil || again != c {
			t.Fatalf("%+v is read again as %+v (%v)", c, again, err)
		}
	})
}

// What is kept as JSON has no zero character and no byte that is not UTF-8,
// whatever an image says of itself, and is otherwise what it was.
func FuzzPrintable(f *testing.F) {
	f.Add("a\x00b\\u0000\xff")
	f.Add(`\\u0000`)
	f.Fuzz(func(t *testing.T, text string) {
		want := printable(text)
		if !utf8.ValidString(want) || strings.ContainsRune(want, 0) {
			t.Fatalf("printable(%q) = %q", text, want)
		}
		body, err := canonicalJSON(text)
		if err != nil {
			return // refused before it is kept
		}
		var got string
		if err := json.Unmarshal([]byte(printableJSON(body)), &got); err != nil {
			t.Fatalf("printableJSON(%s) is no JSON: %v", body, err)
		}
		if utf8.ValidString(text) && got != want {
			t.Fatalf("printableJSON(%s) says %q, want %q", body, got, want)
		}
	})
}
