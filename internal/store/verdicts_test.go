package store

import (
	"fmt"
	"testing"
	"time"
)

// However many digests are allowed again while all of a signer's are read, none is
// missing: a compromise must name them all.
func TestEachSignerVerdictIsOfOneMoment(t *testing.T) {
	for name, open := range map[string]func(*testing.T, Config) *Store{
		"SQLite": func(t *testing.T, cfg Config) *Store { return openTemp(t, cfg) }, "PostgreSQL": openPG,
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			s := open(t, Config{})
			tx, err := s.write.begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			const n = 2*maxSignerVerdicts + 10
			for i := range n {
				_, err := tx.ExecContext(ctx, `INSERT INTO signer_digests (signer_id, image_digest, image_name, created_at, verification_id, image_ref, signed_at, count)
					VALUES ('s', ?, 'n', ?, ?, 'i', NULL, 1)`, fmt.Sprint("d", i), formatTime(at.Add(time.Duration(i)*time.Second)), fmt.Sprint("v", i))
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			var last time.Time
			for v, err := range s.EachSignerVerdict(ctx, "s") {
				if err != nil {
					t.Fatal(err)
				}
				if len(seen) > 0 && !v.At.Before(last) {
					t.Fatalf("%s comes after one of %s", v.Digest, last)
				}
				last, seen[v.Digest] = v.At, true
				if len(seen) == 1 { // the oldest is renewed, which moves it to the front
					mustExec(t, s, `UPDATE signer_digests SET created_at = '2027-01-01T00:00:00.000000Z', verification_id = 'again' WHERE image_digest = 'd0'`)
				}
			}
			if len(seen) != n || !seen["d0"] {
				t.Errorf("%d digests of %d, the renewed one: %t", len(seen), n, seen["d0"])
			}
			for v, err := range s.EachSignerVerdict(ctx, "s") {
				if err != nil || v.Digest != "d0" || v.VerdictID != "again" {
					t.Errorf("afterwards the first is %+v (%v)", v, err)
				}
				break
			}
		})
	}
}
