package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Retention says which verdicts are kept.
type Retention struct {
	// MaxAge removes verdicts that are older; 0 removes none for its age.
	MaxAge time.Duration
	// MaxRows keeps that many of the newest; 0 keeps any number.
	MaxRows int64
}

const (
	// pruneBatch bounds one transaction of Prune, so that nobody waits for it long.
	pruneBatch = 500
	// factsGrace spares facts and evidence that no verdict names yet.
	factsGrace = time.Hour
	// lastID is greater than any id.
	lastID = "\U0010FFFF"
)

// Prune removes verdicts that a Retention does not keep, with their uses, their
// shadows and what their signers say of them, the events of that time, and then
// facts and evidence that no verdict names. The
// audit log, revisions, histories and objects stay. It works in small
// transactions: one that fails leaves the ones before, and the next call goes on
// with facts and evidence where this one was, so that calls which end early go
// through all of them in turn. It returns how many verdicts were removed.
func (s *Store) Prune(ctx context.Context, r Retention) (deleted int64, err error) {
	const op = "removing old verdicts"
	if r.MaxAge < 0 || r.MaxRows < 0 {
		return 0, fmt.Errorf("%s: %w: age or number is negative", op, ErrInvalid)
	}
	if s.write == nil {
		return 0, ErrReadOnly
	}
	end, err := s.pruneEnd(ctx, r)
	if err != nil {
		return 0, wrap(op, err)
	}
	for end != nil {
		n, err := s.pruneVerdicts(ctx, *end)
		deleted += n
		if err != nil {
			return deleted, wrap(op, err)
		}
		if n < pruneBatch {
			break
		}
	}
	if end != nil {
		if err := s.pruneEvents(ctx, *end); err != nil {
			return deleted, wrap("removing old events", err)
		}
	}
	if err := s.pruneUses(ctx); err != nil {
		return deleted, wrap("removing old uses", err)
	}
	if table, err := s.pruneBodies(ctx); err != nil {
		return deleted, wrap("removing old "+table, err)
	}
	return deleted, nil
}

// pruneUses removes uses and shadows that came after their verdict had gone, or
// whose verdict was never kept: those of ids that are less than any that is there.
func (s *Store) pruneUses(ctx context.Context) error {
	before := formatTime(s.now().Add(-factsGrace))
	for _, of := range []struct{ table, key, time string }{
		{"verdict_uses", "verification_id, principal, minute", "minute"},
		{"shadow_verdicts", "verification_id, policy", "created_at"},
	} {
		for n := int64(pruneBatch); n == pruneBatch; {
			err := s.update(ctx, "removing old "+of.table, func(w writer) (err error) {
				n, err = w.affected(`DELETE FROM `+of.table+` WHERE (`+of.key+`) IN (SELECT `+of.key+` FROM `+of.table+` WHERE `+of.time+` < ?
					AND verification_id < coalesce((SELECT min(id) FROM signature_verifications), ?) LIMIT ?)`, before, lastID, pruneBatch)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// pruneEnd is the place up to which verdicts go, that one included; nil for none.
func (s *Store) pruneEnd(ctx context.Context, r Retention) (*Cursor, error) {
	var end *Cursor
	if r.MaxRows > 0 {
		var c Cursor
		err := s.read.QueryRowContext(ctx, `SELECT created_at, id FROM signature_verifications ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET ?`, r.MaxRows).
			Scan(timeColumn{&c.CreatedAt}, &c.ID)
		switch {
		case err == nil:
			end = &c
		case !errors.Is(err, sql.ErrNoRows):
			return nil, err
		}
	}
	if r.MaxAge > 0 {
		// So that everything of that time goes too.
		byAge := Cursor{CreatedAt: s.now().Add(-r.MaxAge), ID: lastID}
		if end == nil || byAge.CreatedAt.After(end.CreatedAt) {
			end = &byAge
		}
	}
	return end, nil
}

func (s *Store) pruneVerdicts(ctx context.Context, end Cursor) (n int64, err error) {
	err = s.update(ctx, "removing old verdicts", func(w writer) error {
		rows, err := w.tx.QueryContext(ctx, `SELECT id FROM signature_verifications WHERE (created_at, id) <= (?, ?)
			ORDER BY created_at, id LIMIT ?`+w.tx.forUpdate(), formatTime(end.CreatedAt), end.ID, pruneBatch)
		if err != nil {
			return err
		}
		ids, err := collect("reading old verdicts", rows, func(r rower) (any, error) {
			var id string
			err := r.Scan(&id)
			return id, err
		})
		if err != nil || len(ids) == 0 {
			return err
		}
		in := "(?" + strings.Repeat(", ?", len(ids)-1) + ")"
		if err := w.uncount(in, ids); err != nil {
			return err
		}
		for _, q := range []string{
			`DELETE FROM verdict_uses WHERE verification_id IN ` + in,
			`DELETE FROM verification_signers WHERE verification_id IN ` + in,
			`DELETE FROM shadow_verdicts WHERE verification_id IN ` + in,
		} {
			if err := w.exec(q, ids...); err != nil {
				return err
			}
		}
		n, err = w.affected(`DELETE FROM signature_verifications WHERE id IN `+in, ids...)
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// uncount takes verdicts that go out of what their signers say of them.
func (w writer) uncount(in string, ids []any) error {
	type count struct {
		signer, digest, name string
		n                    int64
	}
	rows, err := w.tx.QueryContext(w.ctx, `SELECT signer_id, image_digest, image_name, count(*) FROM (
			SELECT DISTINCT s.signer_id, v.image_digest, v.image_name, v.id FROM verification_signers s JOIN signature_verifications v ON v.id = s.verification_id
			WHERE s.verification_id IN `+in+` AND s.signer_id IS NOT NULL AND v.allowed) x
		GROUP BY signer_id, image_digest, image_name ORDER BY signer_id, image_digest, image_name`, ids...)
	if err != nil {
		return err
	}
	counts, err := collect("counting old verdicts", rows, func(r rower) (count, error) {
		var c count
		err := r.Scan(&c.signer, &c.digest, &c.name, &c.n)
		return c, err
	})
	if err != nil {
		return err
	}
	for _, c := range counts {
		// The newest verdict goes last, so the row that names it stands until then.
		for _, q := range []string{
			`UPDATE signer_digests SET count = count - ? WHERE signer_id = ? AND image_digest = ? AND image_name = ?`,
			`DELETE FROM signer_digests WHERE count <= ? AND signer_id = ? AND image_digest = ? AND image_name = ?`,
		} {
			if err := w.exec(q, c.n, c.signer, c.digest, c.name); err != nil {
				return err
			}
			c.n = 0
		}
	}
	return nil
}

// bodies are the tables of facts and of evidence, with the columns of the verdicts
// that name their rows. The names are constants.
var bodies = []struct{ table, column string }{{"facts", "facts_digest"}, {"evidence", "evidence_digest"}}

// prunedUpTo is how far [Store.Prune] has come: which of bodies, and the last digest
// there. It is in memory: another process begins anew.
type prunedUpTo struct {
	mu     sync.Mutex // held while bodies are gone through
	body   int
	digest string
}

// pruneBodies goes through all facts and then all evidence, in the order of their
// digests, and removes what no verdict names. It begins where the call before has
// ended, and returns the table in which it fails.
func (s *Store) pruneBodies(ctx context.Context) (table string, err error) {
	at := &s.pruned
	at.mu.Lock()
	defer at.mu.Unlock()
	before := formatTime(s.now().Add(-factsGrace))
	for at.body < len(bodies) {
		b := bodies[at.body]
		var end sql.NullString
		err := s.read.QueryRowContext(ctx, `SELECT max(digest) FROM (SELECT digest FROM `+b.table+` WHERE digest > ? ORDER BY digest LIMIT ?) x`,
			at.digest, pruneBatch).Scan(&end)
		if err != nil {
			return b.table, err
		}
		if !end.Valid {
			at.body, at.digest = at.body+1, ""
			continue
		}
		err = s.update(ctx, "removing old "+b.table, func(w writer) error {
			return w.exec(`DELETE FROM `+b.table+` WHERE digest > ? AND digest <= ? AND created_at < ?
				AND NOT EXISTS (SELECT 1 FROM signature_verifications v WHERE v.`+b.column+` = `+b.table+`.digest)`, at.digest, end.String, before)
		})
		if err != nil {
			return b.table, err
		}
		at.digest = end.String
	}
	at.body = 0
	return "", nil
}
