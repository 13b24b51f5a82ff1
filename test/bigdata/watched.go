package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/signet-policy/signet/internal/store"
)

// watchedStatements write watched images 0 to ?1, which were decided under the
// state "k", and are due between 2026-01-01 and 2026-01-02.
var watchedStatements = []string{
	`WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)
	INSERT INTO watched (id, image_ref, image_name, digest, platform, context, roles, environment, listed, listed_by, decision, allowed, verdict_id, reasons, signers,
		decided_at, decided_key, decided_revision, state_key, unknown_since, unknown_told, unknown_reasons, refreshed_at, boundary_at, due_at, asked_at, principals, version)
	SELECT printf('%032x', (i * 2654435761) % 4294967296 * 1000003 + i), 'ghcr.io/acme/app' || i || ':v1', 'ghcr.io/acme/app' || i, printf('sha256:%064x', i), '', '{}', '["verifier"]', '', '', '',
		'allow', 1, printf('01JD%022d', i), '[]', '["signer-00000"]', '2026-01-01T00:00:00.000000Z', 'k', 1, 'k', NULL, 0, '[]', '2026-01-01T00:00:00.000000Z',
		CASE WHEN i % 2 THEN '2027-01-01T00:00:00.000000Z' END, '2026-01-01T' || printf('%02d:%02d:%02d.000000Z', i % 24, i % 60, i % 59), '2026-01-01T00:00:00.000000Z', '["gate"]', 1 FROM n`,
	`INSERT INTO watched_signers (signer, watched_id) SELECT 'signer-00000', id FROM watched`,
}

func makeWatched(ctx context.Context, out io.Writer, dir string, n int) (err error) {
	db, err := open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	begin := time.Now()
	for i, q := range watchedStatements {
		args := []any{n}
		if _, err := db.ExecContext(ctx, q, args[:1-i]...); err != nil {
			return fmt.Errorf("writing watched images: %w", err)
		}
	}
	fmt.Fprintf(out, "%d watched images written in %s\n\n", n, round(time.Since(begin)))
	return nil
}

// watchedPages are what the watch reads with each turn, and what people do.
func watchedPages(n int) []page {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	due := func(name string, now time.Time, key string) page {
		return page{name: fmt.Sprintf("watched, %s (%d)", name, n), where: "due", read: func(ctx context.Context, s *store.Store) (int, error) {
			list, err := s.WatchedDue(ctx, now, key, pageRows)
			return len(list), err
		}}
	}
	return []page{
		due("nothing due", at.Add(-time.Hour), "k"),
		due("all due, another state", at.Add(-time.Hour), "l"),
		due("all due, daily", at.Add(48*time.Hour), "k"),
		due("all due, by all", at.Add(1000*24*time.Hour), "j"),
		{name: fmt.Sprintf("watched, list (%d)", n), where: "first", read: func(ctx context.Context, s *store.Store) (int, error) {
			list, _, err := s.WatchedPage(ctx, store.WatchedFilter{Limit: pageRows})
			return len(list), err
		}},
		{name: fmt.Sprintf("watched, of a signer (%d)", n), where: "first", read: func(ctx context.Context, s *store.Store) (int, error) {
			list, _, err := s.WatchedPage(ctx, store.WatchedFilter{Signer: "signer-00000", Limit: pageRows})
			return len(list), err
		}},
		{name: "verdicts since, for the watch", where: "first", read: func(ctx context.Context, s *store.Store) (int, error) {
			list, err := s.VerdictPlaces(ctx, store.Place{At: time.Unix(1760000000+7*1000, 0)}, 500)
			return len(list), err
		}},
	}
}
