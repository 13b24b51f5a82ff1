package store

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A run that ends early is taken up by the next one where it was: else the end of
// large tables would never be reached.
func TestPruneGoesOn(t *testing.T) {
	ctx := t.Context()
	s := openTemp(t, Config{})
	old := formatTime(time.Now().Add(-48 * time.Hour))
	insert := func(table string, from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			_, err := s.write.ExecContext(ctx, `INSERT INTO `+table+` (digest, encoding, size, body, created_at) VALUES (?, 'zstd', 1, x'00', ?)`, fmt.Sprintf("d%04d", i), old)
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	left := func(table string) string {
		t.Helper()
		rows, err := s.read.QueryContext(ctx, `SELECT digest, '' FROM `+table+` ORDER BY digest`)
		if err != nil {
			t.Fatal(err)
		}
		pairs, err := collect("reading", rows, scanPair)
		if err != nil {
			t.Fatal(err)
		}
		var digests []string
		for _, p := range pairs {
			digests = append(digests, p[0])
		}
		if len(digests) > 5 {
			digests = slices.Concat(digests[:1], []string{"…"}, digests[len(digests)-1:])
		}
		return strings.Join(digests, " ")
	}
	prune := func(wantErr string) {
		t.Helper()
		if _, err := s.Prune(ctx, Retention{}); (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) {
			t.Fatalf("Prune: %v, want %q", err, wantErr)
		}
	}
	check := func(facts, evidence string) {
		t.Helper()
		if gotFacts, gotEvidence := left("facts"), left("evidence"); gotFacts != facts || gotEvidence != evidence {
			t.Fatalf("left are facts %q and evidence %q, want %q and %q", gotFacts, gotEvidence, facts, evidence)
		}
	}
	insert("facts", 0, 3*pruneBatch)
	insert("evidence", 0, 2*pruneBatch)
	// It is interrupted in the second part of the facts, and of the evidence.
	mustExec(t, s, `CREATE TRIGGER no_facts BEFORE DELETE ON facts WHEN old.digest = 'd0700' BEGIN SELECT RAISE(ABORT, 'interrupted'); END`,
		`CREATE TRIGGER no_evidence BEFORE DELETE ON evidence WHEN old.digest = 'd0700' BEGIN SELECT RAISE(ABORT, 'interrupted'); END`)
	prune("removing old facts")
	check("d0500 … d1499", "d0000 … d0999")
	mustExec(t, s, `DROP TRIGGER no_facts`)
	insert("facts", 1, 2) // behind it
	prune("removing old evidence")
	check("d0001", "d0500 … d0999")
	mustExec(t, s, `DROP TRIGGER no_evidence`)
	prune("")
	check("d0001", "")
	prune("") // once through, it begins anew
	check("", "")
}
