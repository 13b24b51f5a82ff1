package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/signet-policy/signet/internal/store"
)

func makeWatched(ctx context.Context, out io.Writer, d *database, n int) (err error) {
	db, err := d.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	begin := time.Now()
	if _, err := db.ExecContext(ctx, d.watched, n); err != nil {
		return fmt.Errorf("writing watched images: %w", err)
	}
	if _, err := db.ExecContext(ctx, `INSERT INTO watched_signers (signer, watched_id) SELECT 'signer-00000', id FROM watched`); err != nil {
		return fmt.Errorf("writing the signers of watched images: %w", err)
	}
	if _, err := db.ExecContext(ctx, d.afterwards); err != nil {
		return fmt.Errorf("what the database does by itself in time: %w", err)
	}
	fmt.Fprintf(out, "%d watched images written in %s\n\n", n, round(time.Since(begin)))
	return nil
}

// watchedPages are what the watch reads with each turn, and what people do.
func watchedPages(d *database, n int) []page {
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
			list, err := s.VerdictPlaces(ctx, store.Place{At: d.at(1000)}, 500)
			return len(list), err
		}},
	}
}
