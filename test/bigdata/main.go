// Command bigdata shows how long pages of lists take on a store of a million
// verdicts, ten thousand signers and a hundred thousand watched images, on SQLite,
// and fails where one takes longer than it may:
//
//	make big-data
//
// The verdicts are written beneath the store, as rows that it could have written,
// because a million commits would take all day; they are read through it.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	_ "modernc.org/sqlite" // the driver

	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/verdict"
)

// most is what a page may take. The median counts: what is more than that, on a
// machine that does other things as well, is not the store's.
const most = 50 * time.Millisecond

// size is how much there is.
type size struct {
	verdicts, signers, watched int
	// reads is how often each page is read.
	reads int
}

func main() {
	verdicts := flag.Int("verdicts", 1_000_000, "how many verdicts")
	signers := flag.Int("signers", 10_000, "how many signers")
	watched := flag.Int("watched", 100_000, "how many watched images")
	reads := flag.Int("reads", 200, "how often each page is read")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, size{*verdicts, *signers, *watched, *reads}, most); err != nil {
		fmt.Fprintln(os.Stderr, "bigdata:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, n size, most time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "signet-bigdata-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ids, err := makeSigners(ctx, out, dir, n.signers)
	if err != nil {
		return err
	}
	if err := makeVerdicts(ctx, out, dir, n); err != nil {
		return err
	}
	if err := makeWatched(ctx, out, dir, n.watched); err != nil {
		return err
	}
	s, err := store.Open(ctx, store.Config{DataDir: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	pages, err := places(ctx, dir, ids)
	if err != nil {
		return err
	}
	return measure(ctx, out, s, append(pages, watchedPages(n.watched)...), n.reads, most)
}

// makeSigners puts all signers in one change, and then changes one of them.
func makeSigners(ctx context.Context, out io.Writer, dir string, n int) (ids []string, err error) {
	s, err := store.Open(ctx, store.Config{DataDir: dir})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var last store.SignerRow
	begin := time.Now()
	if _, err := s.Change(ctx, store.Actor{Name: "bigdata"}, "", func(tx *store.Tx) error {
		for i := range n {
			last, err = tx.PutSigner(ctx, store.SignerRow{
				Name: signerName(i), Type: "keyless", Issuer: "https://token.actions.githubusercontent.com", Enabled: true,
				SubjectKind: "exact", SubjectPattern: fmt.Sprintf("https://github.com/acme/app%d/.github/workflows/release.yml@refs/heads/main", i),
			})
			if err != nil {
				return err
			}
			ids = append(ids, last.ID)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "%d signers in one change: %s\n", n, round(time.Since(begin)))
	begin = time.Now()
	last.Enabled = false
	if _, err := s.Change(ctx, store.Actor{Name: "bigdata"}, "", func(tx *store.Tx) error { _, err := tx.PutSigner(ctx, last); return err }); err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "one of them changed: %s\n", round(time.Since(begin)))
	begin = time.Now()
	if _, err := s.SignersAt(ctx, 2); err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "all of them read as of a revision, and checked: %s\n", round(time.Since(begin)))
	return ids, nil
}

func signerName(i int) string { return fmt.Sprintf("signer-%05d", i) }

// batch is how many verdicts one statement writes.
const batch = 50_000

// statements write verdicts ?1 to ?2 of a store with ?3 signers. The numbers are
// scattered by a multiplication with a prime, so that neighbours in time are none
// in any other order; the first of everything (image 0, signer 0 …) is a tenth of
// all, as a few images and signers are in every installation. CROSS JOIN keeps
// SQLite to the order in which the names are looked up.
var statements = []string{
	`WITH RECURSIVE n(i) AS (VALUES (?1) UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2),
		x AS (SELECT i, (i * 2654435761) % 1000003 AS r, (i * 40503) % 99991 AS q FROM n)
	INSERT INTO signature_verifications (id, assessment_id, image_ref, image_name, image_digest, signature_found, signature_valid,
		signer_identity, signer_issuer, signed_at, slsa_level, slsa_builder, verification_error, created_at, decision, allowed, reasons,
		principal, labels, facts_digest, active_revision, active_digest, build, frames, verdict, repeats)
	SELECT printf('01JD%022d', i), CASE WHEN r % 2 THEN 'assessment-' || (r % 20000) END,
		'ghcr.io/acme/app' || (CASE WHEN r % 10 THEN r % 5000 ELSE 0 END) || ':v' || (q % 10),
		'ghcr.io/acme/app' || (CASE WHEN r % 10 THEN r % 5000 ELSE 0 END),
		printf('sha256:%064x', CASE WHEN r % 10 THEN r % 50000 ELSE 0 END), 1, 1,
		CASE WHEN q % 10 THEN 'https://github.com/acme/app' || (CASE WHEN r % 10 THEN r % 200 ELSE 0 END) ELSE '' END,
		'https://token.actions.githubusercontent.com', NULL, 0, NULL, NULL,
		strftime('%Y-%m-%dT%H:%M:%S', 1760000000 + i * 7, 'unixepoch') || printf('.%06dZ', i % 1000000),
		CASE WHEN q % 100 = 0 THEN 'unknown' WHEN q % 10 = 1 THEN 'deny' ELSE 'allow' END, q % 100 <> 0 AND q % 10 <> 1, '[]',
		'gate', '{}', NULL, 1, 'sha256:active', 'bigdata', randomblob(400), randomblob(400), NULL FROM x`,
	`INSERT INTO verification_signers (signer, created_at, verification_id, signer_id)
	SELECT h.name, v.created_at, v.id, h.id FROM (
		SELECT created_at, id, CAST(substr(id, 5) AS INTEGER) AS i FROM signature_verifications
		WHERE id >= printf('01JD%022d', ?1) AND id < printf('01JD%022d', ?2)) v
	CROSS JOIN signer_history h ON h.name = printf('signer-%05d', CASE WHEN v.i % 10 THEN (v.i * 7919) % ?3 ELSE 0 END) AND h.from_revision = 1`,
}

// summary is what the store keeps up to date with each verdict.
const summary = `INSERT INTO signer_digests (signer_id, image_digest, image_name, created_at, verification_id, image_ref, signed_at, count)
	SELECT s.signer_id, v.image_digest, v.image_name, max(v.created_at), v.id, v.image_ref, v.signed_at, count(*)
	FROM verification_signers s JOIN signature_verifications v ON v.id = s.verification_id
	WHERE v.allowed GROUP BY s.signer_id, v.image_digest, v.image_name`

func open(dir string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, store.FileName)+"?_pragma=synchronous(off)&_pragma=cache_size(-200000)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

func makeVerdicts(ctx context.Context, out io.Writer, dir string, n size) (err error) {
	db, err := open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	begin := time.Now()
	for first := 0; first < n.verdicts; first += batch {
		for i, q := range statements {
			args := []any{first, min(first+batch, n.verdicts), n.signers}
			if i == 0 {
				args = args[:2]
			}
			if _, err := db.ExecContext(ctx, q, args...); err != nil {
				return fmt.Errorf("writing verdicts: %w", err)
			}
		}
	}
	if _, err := db.ExecContext(ctx, summary); err != nil {
		return fmt.Errorf("summing up: %w", err)
	}
	st, err := os.Stat(filepath.Join(dir, store.FileName))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d verdicts written in %s, %d MB\n\n", n.verdicts, round(time.Since(begin)), st.Size()>>20)
	return nil
}

// page is one page of one list.
type page struct {
	name  string
	where string
	read  func(context.Context, *store.Store) (int, error)
}

// list is a filter, and the rows that it leaves as SQL.
type list struct {
	name   string
	filter store.Filter
	from   string
	args   []any
	signer string // of SignerVerdicts, where it is one
}

func lists(signers []string) []list {
	const (
		verdicts = "signature_verifications v WHERE "
		common   = "ghcr.io/acme/app0"
		rare     = "ghcr.io/acme/app4321"
	)
	digest := func(n int) string { return fmt.Sprintf("sha256:%064x", n) }
	since := time.Unix(1760000000+7*100_000, 0).UTC()
	var all []list
	add := func(name string, f store.Filter, from string, args ...any) {
		all = append(all, list{name: name, filter: f, from: from, args: args})
	}
	add("all", store.Filter{}, verdicts+"true")
	add("time", store.Filter{Since: since}, verdicts+"created_at >= ?", since.Format("2006-01-02T15:04:05.000000Z"))
	add("image, of many verdicts", store.Filter{ImageRef: common + ":v3"}, verdicts+"image_ref = ?", common+":v3")
	add("image, of few", store.Filter{ImageRef: rare + ":v3"}, verdicts+"image_ref = ?", rare+":v3")
	add("name, of many verdicts", store.Filter{ImageName: common}, verdicts+"image_name = ?", common)
	add("name, of few", store.Filter{ImageName: rare}, verdicts+"image_name = ?", rare)
	add("digest, of many verdicts", store.Filter{Digest: digest(0)}, verdicts+"image_digest = ?", digest(0))
	add("digest, of few", store.Filter{Digest: digest(4321)}, verdicts+"image_digest = ?", digest(4321))
	for _, d := range []verdict.Decision{verdict.Allow, verdict.Deny, verdict.Unknown} {
		add("decision "+string(d), store.Filter{Decision: d}, verdicts+"decision = ?", string(d))
	}
	add("identity, of many verdicts", store.Filter{Identity: "https://github.com/acme/app0"}, verdicts+"signer_identity = ?", "https://github.com/acme/app0")
	add("identity, of few", store.Filter{Identity: "https://github.com/acme/app123"}, verdicts+"signer_identity = ?", "https://github.com/acme/app123")
	add("assessment", store.Filter{AssessmentID: "assessment-1001"}, verdicts+"assessment_id = ?", "assessment-1001")
	const bySigner = "verification_signers s JOIN signature_verifications v ON v.id = s.verification_id WHERE s.signer = ?"
	add("signer, of many verdicts", store.Filter{Signer: signerName(0)}, bySigner, signerName(0))
	add("signer, of few", store.Filter{Signer: signerName(4321)}, bySigner, signerName(4321))
	add("name and decision", store.Filter{ImageName: common, Decision: verdict.Unknown}, verdicts+"image_name = ? AND decision = 'unknown'", common)
	add("signer and decision", store.Filter{Signer: signerName(0), Decision: verdict.Deny}, bySigner+" AND decision = 'deny'", signerName(0))
	add("decision and time", store.Filter{Decision: verdict.Unknown, Since: since},
		verdicts+"decision = 'unknown' AND created_at >= ?", since.Format("2006-01-02T15:04:05.000000Z"))
	const digests = "(SELECT created_at, verification_id AS id FROM signer_digests WHERE signer_id = ?) v WHERE true"
	all = append(all,
		list{name: "digests of a signer, many", from: digests, args: []any{signers[0]}, signer: signers[0]},
		list{name: "digests of a signer, few", from: digests, args: []any{signers[1]}, signer: signers[1]})
	return all
}

const pageRows = 50

// places finds the first, the middle and the last page of each list.
func places(ctx context.Context, dir string, signers []string) (_ []page, err error) {
	db, err := open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var pages []page
	for _, l := range lists(signers) {
		var rows int
		if err := db.QueryRowContext(ctx, "SELECT count(*) FROM "+l.from, l.args...).Scan(&rows); err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
		for _, place := range []struct {
			name string
			skip int
		}{{"first", 0}, {"middle", rows / 2}, {"last", rows - pageRows}} {
			var after *store.Cursor
			if place.skip > 0 {
				var at, id string
				err := db.QueryRowContext(ctx, "SELECT v.created_at, v.id FROM "+l.from+" ORDER BY v.created_at DESC, v.id DESC LIMIT 1 OFFSET ?",
					append(slices.Clone(l.args), place.skip-1)...).Scan(&at, &id)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", l.name, err)
				}
				t, err := time.Parse(time.RFC3339, at)
				if err != nil {
					return nil, err
				}
				after = &store.Cursor{CreatedAt: t, ID: id}
			}
			read := func(ctx context.Context, s *store.Store) (int, error) {
				list, _, err := s.Verdicts(ctx, l.filter, store.Page{After: after, Limit: pageRows})
				return len(list), err
			}
			if l.signer != "" {
				read = func(ctx context.Context, s *store.Store) (int, error) {
					list, _, err := s.SignerVerdicts(ctx, l.signer, after, pageRows)
					return len(list), err
				}
			}
			pages = append(pages, page{name: fmt.Sprintf("%s (%d)", l.name, rows), where: place.name, read: read})
		}
	}
	return pages, nil
}

// measure reads every page often, all of them in turn, so that none stays in a
// cache for being read last.
func measure(ctx context.Context, out io.Writer, s *store.Store, pages []page, reads int, most time.Duration) error {
	took := make([][]time.Duration, len(pages))
	rows := make([]int, len(pages))
	for range reads {
		for i, p := range pages {
			begin := time.Now()
			n, err := p.read(ctx, s)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			took[i], rows[i] = append(took[i], time.Since(begin)), n
		}
	}
	fmt.Fprintf(out, "%-40s %-7s %5s %9s %9s %9s\n", "list (rows)", "page", "rows", "p50", "p99", "max")
	slow := 0
	for i, p := range pages {
		slices.Sort(took[i])
		mark := ""
		if quantile(took[i], 0.5) > most {
			mark = "  too slow"
			slow++
		}
		fmt.Fprintf(out, "%-40s %-7s %5d %9s %9s %9s%s\n", p.name, p.where, rows[i], round(quantile(took[i], 0.5)), round(quantile(took[i], 0.99)), round(took[i][len(took[i])-1]), mark)
	}
	if slow > 0 {
		return fmt.Errorf("%d pages took longer than %s", slow, most)
	}
	return nil
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(int(float64(len(sorted))*q), len(sorted)-1)]
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
