package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver
	_ "modernc.org/sqlite"             // the driver

	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/testkit/require"
)

// step is the time between two verdicts: a million are the thirty days that the
// chart counts.
const step = 2500 * time.Millisecond

// batch is how many verdicts one statement writes.
const batch = 50_000

var errAbsent = errors.New("it is not there")

// database is one that is filled, and the statements that fill it.
type database struct {
	postgres bool
	// config is for the store, and settings are for a server's configuration.
	config   store.Config
	settings string
	driver   string
	url      string
	// begin is when the first verdict was.
	begin time.Time

	// verdicts and signersOf write verdicts $1 to $2; verdicts takes begin in Unix
	// seconds, signersOf how many signers there are, and watched how many images.
	// afterwards is what a database does by itself in time, and bytes its size.
	verdicts, signersOf, watched, afterwards, bytes string
}

// newDatabase makes an empty database; end drops it. An error that wraps errAbsent
// says that this machine has none of that kind.
func newDatabase(ctx context.Context, kind, dir string) (d *database, end func() error, err error) {
	if kind == "sqlite" {
		data := filepath.Join(dir, "data")
		return &database{
			config: store.Config{DataDir: data}, settings: fmt.Sprintf("data_dir: %q\n", data),
			driver: "sqlite", url: "file:" + filepath.Join(data, store.FileName) + "?_pragma=synchronous(off)&_pragma=cache_size(-200000)",
			verdicts: sqliteVerdicts, signersOf: sqliteSigners, watched: sqliteWatched,
			afterwards: "PRAGMA optimize", bytes: "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
		}, func() error { return nil }, nil
	}
	server, ok, err := require.Find("postgres")
	if err != nil {
		return nil, nil, err
	}
	if !ok {
		return nil, nil, fmt.Errorf("%w: %s", errAbsent, require.SkipReason("postgres"))
	}
	u, err := url.Parse(server)
	if err != nil {
		return nil, nil, fmt.Errorf("SIGNET_TEST_POSTGRES: want a URL: %w", err)
	}
	name := "signet_bigdata_" + strings.ToLower(rand.Text())
	if err := once(ctx, server, "CREATE DATABASE "+name); err != nil {
		return nil, nil, err
	}
	u.Path = "/" + name
	return &database{
		postgres: true, config: store.Config{URL: u.String(), Migrate: true}, settings: fmt.Sprintf("database: {url: %q}\ndata_dir: %q\n", u.String(), filepath.Join(dir, "data")),
		driver: "pgx", url: u.String(), verdicts: postgresVerdicts, signersOf: postgresSigners, watched: postgresWatched,
		afterwards: "VACUUM ANALYZE", bytes: "SELECT pg_database_size(current_database())",
	}, func() error { return once(context.WithoutCancel(ctx), server, "DROP DATABASE "+name+" WITH (FORCE)") }, nil
}

func once(ctx context.Context, server, statement string) (err error) {
	db, err := sql.Open("pgx", server)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, statement)
	return err
}

func (d *database) open() (*sql.DB, error) {
	db, err := sql.Open(d.driver, d.url)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// at is about when the verdict of a number was, and not after it.
func (d *database) at(i int) time.Time {
	return d.begin.Add(time.Duration(i) * step).Truncate(time.Second)
}

// time is a time as an argument.
func (d *database) time(at time.Time) any {
	if d.postgres {
		return at
	}
	return at.UTC().Format("2006-01-02T15:04:05.000000Z")
}

// bind writes arguments as the database has them.
func (d *database) bind(query string) string {
	if !d.postgres {
		return query
	}
	for n := 1; strings.Contains(query, "?"); n++ {
		query = strings.Replace(query, "?", "$"+strconv.Itoa(n), 1)
	}
	return query
}

const verdictColumns = `id, assessment_id, image_ref, image_name, image_digest, signature_found, signature_valid,
		signer_identity, signer_issuer, signed_at, slsa_level, slsa_builder, verification_error, created_at, decision, allowed, reasons,
		principal, labels, facts_digest, active_revision, active_digest, build, frames, verdict, repeats`

// The numbers are scattered by a multiplication with a prime, so that neighbours in
// time are none in any other order; the first of everything (image 0, signer 0 …) is
// a tenth of all, as a few images and signers are in every installation. CROSS JOIN
// keeps SQLite to the order in which the names are looked up.
const (
	sqliteVerdicts = `WITH RECURSIVE n(i) AS (VALUES (?1) UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2),
		x AS (SELECT i, (i * 2654435761) % 1000003 AS r, (i * 40503) % 99991 AS q FROM n)
	INSERT INTO signature_verifications (` + verdictColumns + `)
	SELECT printf('01JD%022d', i), CASE WHEN r % 2 THEN 'assessment-' || (r % 20000) END,
		'ghcr.io/acme/app' || (CASE WHEN r % 10 THEN r % 5000 ELSE 0 END) || ':v' || (q % 10),
		'ghcr.io/acme/app' || (CASE WHEN r % 10 THEN r % 5000 ELSE 0 END),
		printf('sha256:%064x', CASE WHEN r % 10 THEN r % 50000 ELSE 0 END), 1, 1,
		CASE WHEN q % 10 THEN 'https://github.com/acme/app' || (CASE WHEN r % 10 THEN r % 200 ELSE 0 END) ELSE '' END,
		'https://token.actions.githubusercontent.com', NULL, 0, NULL,
		CASE WHEN q % 100 = 0 THEN 'The registry did not answer in time.' WHEN q % 10 = 1 THEN 'Nobody who is trusted has signed it (' || (q % 7) || ').' END,
		strftime('%Y-%m-%dT%H:%M:%S', ?3 + i * 5 / 2, 'unixepoch') || printf('.%06dZ', i % 1000000),
		CASE WHEN q % 100 = 0 THEN 'unknown' WHEN q % 10 = 1 THEN 'deny' ELSE 'allow' END, q % 100 <> 0 AND q % 10 <> 1,
		CASE WHEN q % 100 = 0 THEN '[{"code": "registry_timeout"}]' WHEN q % 10 = 1 THEN '[{"code": "signer_not_trusted"}]' ELSE '[]' END,
		'gate', '{}', NULL, 1, 'sha256:active', 'bigdata', randomblob(400), randomblob(400), NULL FROM x`
	sqliteSigners = `INSERT INTO verification_signers (signer, created_at, verification_id, signer_id)
	SELECT h.name, v.created_at, v.id, h.id FROM (
		SELECT created_at, id, CAST(substr(id, 5) AS INTEGER) AS i FROM signature_verifications
		WHERE id >= printf('01JD%022d', ?1) AND id < printf('01JD%022d', ?2)) v
	CROSS JOIN signer_history h ON h.name = printf('signer-%05d', CASE WHEN v.i % 10 THEN (v.i * 7919) % ?3 ELSE 0 END) AND h.from_revision = 1`

	postgresVerdicts = `INSERT INTO signature_verifications (` + verdictColumns + `)
	SELECT '01JD' || lpad(i::text, 22, '0'), CASE WHEN r % 2 <> 0 THEN 'assessment-' || (r % 20000) END,
		'ghcr.io/acme/app' || (CASE WHEN r % 10 <> 0 THEN r % 5000 ELSE 0 END) || ':v' || (q % 10),
		'ghcr.io/acme/app' || (CASE WHEN r % 10 <> 0 THEN r % 5000 ELSE 0 END),
		'sha256:' || lpad(to_hex(CASE WHEN r % 10 <> 0 THEN r % 50000 ELSE 0 END), 64, '0'), true, true,
		CASE WHEN q % 10 <> 0 THEN 'https://github.com/acme/app' || (CASE WHEN r % 10 <> 0 THEN r % 200 ELSE 0 END) ELSE '' END,
		'https://token.actions.githubusercontent.com', NULL, 0, NULL,
		CASE WHEN q % 100 = 0 THEN 'The registry did not answer in time.' WHEN q % 10 = 1 THEN 'Nobody who is trusted has signed it (' || (q % 7) || ').' END,
		to_timestamp($3::bigint + i * 5 / 2) + (i % 1000000) * interval '1 microsecond',
		CASE WHEN q % 100 = 0 THEN 'unknown' WHEN q % 10 = 1 THEN 'deny' ELSE 'allow' END, q % 100 <> 0 AND q % 10 <> 1,
		(CASE WHEN q % 100 = 0 THEN '[{"code": "registry_timeout"}]' WHEN q % 10 = 1 THEN '[{"code": "signer_not_trusted"}]' ELSE '[]' END)::jsonb,
		'gate', '{}', NULL, 1, 'sha256:active', 'bigdata', decode(repeat(md5(i::text), 25), 'hex'), decode(repeat(md5(i::text), 25), 'hex'), NULL
	FROM (SELECT i, (i * 2654435761) % 1000003 AS r, (i * 40503) % 99991 AS q FROM generate_series($1::bigint, $2::bigint - 1) AS n(i)) x`
	postgresSigners = `INSERT INTO verification_signers (signer, created_at, verification_id, signer_id)
	SELECT h.name, v.created_at, v.id, h.id FROM (
		SELECT created_at, id, substr(id, 5)::bigint AS i FROM signature_verifications
		WHERE id >= '01JD' || lpad($1::bigint::text, 22, '0') AND id < '01JD' || lpad($2::bigint::text, 22, '0')) v
	JOIN signer_history h ON h.name = 'signer-' || lpad((CASE WHEN v.i % 10 <> 0 THEN (v.i * 7919) % $3::bigint ELSE 0 END)::text, 5, '0') AND h.from_revision = 1`
)

// summary is what the store keeps up to date with each verdict.
const summary = `INSERT INTO signer_digests (signer_id, image_digest, image_name, created_at, verification_id, image_ref, signed_at, count)
	SELECT s.signer_id, v.image_digest, v.image_name, max(v.created_at), max(v.id), max(v.image_ref), NULL, count(*)
	FROM verification_signers s JOIN signature_verifications v ON v.id = s.verification_id
	WHERE v.allowed GROUP BY s.signer_id, v.image_digest, v.image_name`

// Watched images 0 to $1, which were decided under the state "k", and are due
// between 2026-01-01 and 2026-01-02.
const (
	watchedColumns = `id, image_ref, image_name, digest, platform, context, roles, environment, listed, listed_by, decision, allowed, verdict_id, reasons, signers,
		decided_at, decided_key, decided_revision, state_key, unknown_since, unknown_told, unknown_reasons, refreshed_at, boundary_at, due_at, asked_at, principals, version`
	sqliteWatched = `WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)
	INSERT INTO watched (` + watchedColumns + `)
	SELECT printf('%032x', (i * 2654435761) % 4294967296 * 1000003 + i), 'ghcr.io/acme/app' || i || ':v1', 'ghcr.io/acme/app' || i, printf('sha256:%064x', i), '', '{}', '["verifier"]', '', '', '',
		'allow', 1, printf('01JD%022d', i), '[]', '["signer-00000"]', '2026-01-01T00:00:00.000000Z', 'k', 1, 'k', NULL, 0, '[]', '2026-01-01T00:00:00.000000Z',
		CASE WHEN i % 2 THEN '2027-01-01T00:00:00.000000Z' END, '2026-01-01T' || printf('%02d:%02d:%02d.000000Z', i % 24, i % 60, i % 59), '2026-01-01T00:00:00.000000Z', '["gate"]', 1 FROM n`
	postgresWatched = `INSERT INTO watched (` + watchedColumns + `)
	SELECT lpad(to_hex((i * 2654435761) % 4294967296 * 1000003 + i), 32, '0'), 'ghcr.io/acme/app' || i || ':v1', 'ghcr.io/acme/app' || i, 'sha256:' || lpad(to_hex(i), 64, '0'), '', '{}', '["verifier"]', '', '', '',
		'allow', true, '01JD' || lpad(i::text, 22, '0'), '[]', '["signer-00000"]', '2026-01-01T00:00:00Z', 'k', 1, 'k', NULL, false, '[]', '2026-01-01T00:00:00Z',
		CASE WHEN i % 2 <> 0 THEN timestamptz '2027-01-01T00:00:00Z' END, timestamptz '2026-01-01T00:00:00Z' + make_interval(hours => (i % 24)::int, mins => (i % 60)::int, secs => i % 59), '2026-01-01T00:00:00Z', '["gate"]', 1
	FROM generate_series(0, $1::bigint - 1) AS n(i)`
)
