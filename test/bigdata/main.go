// Command bigdata shows how long lists and the page at /admin/security/signing take
// with a million verdicts, ten thousand signers and a hundred thousand watched
// images, on SQLite and on PostgreSQL, and fails where one takes longer than it may:
//
//	make big-data
//
// The verdicts are written beneath the store, as rows that it could have written,
// because a million commits would take all day; they are read through it, and then
// through a server, by a browser's requests and by Chromium.
//
// It wants a PostgreSQL server where it may create a database
// (SIGNET_TEST_POSTGRES) and Chromium; without one it says so, and goes on.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/verdict"
)

// limits are what things may take. The median counts: what is more than that, on a
// machine that does other things as well, is not ours.
type limits struct {
	// list is for a page of a list, read from the store.
	list time.Duration
	// page is for what a person opens, asked of a server.
	page time.Duration
}

// size is how much there is.
type size struct {
	verdicts, signers, watched, tokens int
	// reads is how often each page of a list is read, asks how often each of the
	// server's.
	reads, asks int
}

func main() {
	var n size
	flag.IntVar(&n.verdicts, "verdicts", 1_000_000, "how many verdicts")
	flag.IntVar(&n.signers, "signers", 10_000, "how many signers")
	flag.IntVar(&n.watched, "watched", 100_000, "how many watched images")
	flag.IntVar(&n.tokens, "tokens", 1_000, "how many API tokens")
	flag.IntVar(&n.reads, "reads", 200, "how often each page of a list is read")
	flag.IntVar(&n.asks, "asks", 20, "how often each page of the server is asked for")
	only := flag.String("only", "", "sqlite or postgres; both when empty")
	flag.Parse()
	if err := all(context.Background(), os.Stdout, *only, n, limits{list: 50 * time.Millisecond, page: time.Second}); err != nil {
		fmt.Fprintln(os.Stderr, "bigdata:", err)
		os.Exit(1)
	}
}

// all runs everything on the databases that there are, on the second also when the
// first is too slow.
func all(ctx context.Context, out io.Writer, only string, n size, most limits) error {
	var errs []error
	for _, kind := range []string{"sqlite", "postgres"} {
		if only != "" && only != kind {
			continue
		}
		fmt.Fprintf(out, "== %s\n", kind)
		if err := run(ctx, out, kind, n, most); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", kind, err))
		}
		fmt.Fprintln(out)
	}
	return errors.Join(errs...)
}

func run(ctx context.Context, out io.Writer, kind string, n size, most limits) (err error) {
	dir, err := os.MkdirTemp("", "signet-bigdata-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d, end, err := newDatabase(ctx, kind, dir)
	if errors.Is(err, errAbsent) {
		fmt.Fprintf(out, "skipped: %v\n", err)
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	d.begin = time.Now().Add(-time.Hour - time.Duration(n.verdicts)*step).UTC().Truncate(time.Second)

	ids, err := makeSigners(ctx, out, d, n)
	if err != nil {
		return err
	}
	token, err := makeTokens(ctx, d, n.tokens)
	if err != nil {
		return err
	}
	if err := makeVerdicts(ctx, out, d, n); err != nil {
		return err
	}
	slow := d.served(ctx, out, dir, token, ids, n, most.page)
	if err := makeWatched(ctx, out, d, n.watched); err != nil {
		return errors.Join(slow, err)
	}
	s, err := store.Open(ctx, d.config)
	if err != nil {
		return errors.Join(slow, err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	pages, err := d.places(ctx, ids, n)
	if err != nil {
		return errors.Join(slow, err)
	}
	return errors.Join(slow, measure(ctx, out, s, append(pages, watchedPages(d, n.watched)...), n.reads, most.list))
}

// makeSigners puts all signers in one change, and then changes one of them.
func makeSigners(ctx context.Context, out io.Writer, d *database, n size) (ids []string, err error) {
	s, err := store.Open(ctx, d.config)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var last store.SignerRow
	by := store.Actor{Name: "bigdata"}
	ends := time.Now().Add(365 * 24 * time.Hour)
	begin := time.Now()
	if _, err := s.Change(ctx, by, "", func(tx *store.Tx) error {
		for i := range n.signers {
			r := store.SignerRow{
				Name: signerName(i), Type: "keyless", Issuer: "https://token.actions.githubusercontent.com", Enabled: i%10 != 9,
				SubjectKind: "exact", SubjectPattern: fmt.Sprintf("https://github.com/acme/app%d/.github/workflows/release.yml@refs/heads/main", i),
				Owner: fmt.Sprintf("team-%d", i%100),
			}
			if i%3 == 0 {
				at := ends.Add(time.Duration(i) * time.Minute)
				r.ExpiresAt = &at
			}
			last, err = tx.PutSigner(ctx, r)
			if err != nil {
				return err
			}
			ids = append(ids, last.ID)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "%d signers in one change: %s\n", n.signers, round(time.Since(begin)))
	begin = time.Now()
	last.Enabled = !last.Enabled
	if _, err := s.Change(ctx, by, "", func(tx *store.Tx) error { _, err := tx.PutSigner(ctx, last); return err }); err != nil {
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

// makeTokens gives an administrator's, made beside so many others.
func makeTokens(ctx context.Context, d *database, n int) (plain string, err error) {
	s, err := store.Open(ctx, d.config)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	_, err = s.Change(ctx, store.Actor{Name: "bigdata"}, "", func(tx *store.Tx) error {
		for i := range n + 1 {
			r := auth.NewTokenRequest{Name: fmt.Sprintf("gate-%d", i), Role: auth.Verifier, CreatedBy: "bigdata"}
			if i == n {
				r.Name, r.Role = "admin", auth.Admin
			}
			var t auth.Token
			if plain, t, err = auth.NewToken(r, time.Now()); err != nil {
				return err
			}
			if err := tx.CreateToken(ctx, t); err != nil {
				return err
			}
		}
		return nil
	})
	return plain, err
}

func signerName(i int) string { return fmt.Sprintf("signer-%05d", i) }

func makeVerdicts(ctx context.Context, out io.Writer, d *database, n size) (err error) {
	db, err := d.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	begin := time.Now()
	for first := 0; first < n.verdicts; first += batch {
		last := min(first+batch, n.verdicts)
		if _, err := db.ExecContext(ctx, d.verdicts, first, last, d.begin.Unix()); err != nil {
			return fmt.Errorf("writing verdicts: %w", err)
		}
		if _, err := db.ExecContext(ctx, d.signersOf, first, last, n.signers); err != nil {
			return fmt.Errorf("writing their signers: %w", err)
		}
	}
	if _, err := db.ExecContext(ctx, summary); err != nil {
		return fmt.Errorf("summing up: %w", err)
	}
	if _, err := db.ExecContext(ctx, d.afterwards); err != nil {
		return fmt.Errorf("looking through the tables: %w", err)
	}
	var bytes int64
	if err := db.QueryRowContext(ctx, d.bytes).Scan(&bytes); err != nil {
		return fmt.Errorf("asking for the size: %w", err)
	}
	fmt.Fprintf(out, "%d verdicts written in %s, %d MB\n\n", n.verdicts, round(time.Since(begin)), bytes>>20)
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

func (d *database) lists(signers []string, n size) []list {
	const (
		verdicts = "signature_verifications v WHERE "
		common   = "ghcr.io/acme/app0"
		rare     = "ghcr.io/acme/app4321"
	)
	digest := func(n int) string { return fmt.Sprintf("sha256:%064x", n) }
	since := d.at(n.verdicts / 10)
	var all []list
	add := func(name string, f store.Filter, from string, args ...any) {
		all = append(all, list{name: name, filter: f, from: from, args: args})
	}
	add("all", store.Filter{}, verdicts+"true")
	add("time", store.Filter{Since: since}, verdicts+"created_at >= ?", d.time(since))
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
		verdicts+"decision = 'unknown' AND created_at >= ?", d.time(since))
	const digests = "(SELECT created_at, verification_id AS id FROM signer_digests WHERE signer_id = ?) v WHERE true"
	all = append(all,
		list{name: "digests of a signer, many", from: digests, args: []any{signers[0]}, signer: signers[0]},
		list{name: "digests of a signer, few", from: digests, args: []any{signers[1]}, signer: signers[1]})
	return all
}

const pageRows = 50

// places finds the first, the middle and the last page of each list.
func (d *database) places(ctx context.Context, signers []string, n size) (_ []page, err error) {
	db, err := d.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var pages []page
	for _, l := range d.lists(signers, n) {
		var rows int
		if err := db.QueryRowContext(ctx, d.bind("SELECT count(*) FROM "+l.from), l.args...).Scan(&rows); err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
		for _, place := range []struct {
			name string
			skip int
		}{{"first", 0}, {"middle", rows / 2}, {"last", rows - pageRows}} {
			var after *store.Cursor
			if place.skip > 0 {
				if after, err = d.cursor(ctx, db, l, place.skip-1); err != nil {
					return nil, fmt.Errorf("%s: %w", l.name, err)
				}
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

// cursor is the place in a list behind so many rows and one.
func (d *database) cursor(ctx context.Context, db *sql.DB, l list, rows int) (*store.Cursor, error) {
	var at any
	var c store.Cursor
	err := db.QueryRowContext(ctx, d.bind("SELECT v.created_at, v.id FROM "+l.from+" ORDER BY v.created_at DESC, v.id DESC LIMIT 1 OFFSET ?"),
		append(slices.Clone(l.args), rows)...).Scan(&at, &c.ID)
	if err != nil {
		return nil, err
	}
	switch at := at.(type) {
	case time.Time:
		c.CreatedAt = at.UTC()
	case string:
		if c.CreatedAt, err = time.Parse(time.RFC3339, at); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("a time is kept as %T", at)
	}
	return &c, nil
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
