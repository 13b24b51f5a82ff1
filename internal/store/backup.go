package store

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/signet-policy/signet/internal/facts"
)

// A backup is zstd (RFC 8878) over lines of JSON: a header, then for each table
// a line that names it and its columns, followed by its rows as arrays, and a
// last line with the number of rows of each table and the SHA-256 of all lines
// before it.

// backupFormat is the version of that.
const backupFormat = 1

// maxLine bounds a line of a backup, in bytes: the largest body in base64.
const maxLine = maxBody/3*4 + 1<<20

type backupHeader struct {
	Format int       `json:"signet_backup"`
	Schema int64     `json:"schema"`
	MadeAt time.Time `json:"made_at"`
	// Revision is that of active.
	Revision int64 `json:"revision"`
}

type backupTable struct {
	Table   string   `json:"table"`
	Columns []string `json:"columns"`
}

type backupEnd struct {
	Rows   map[string]int64 `json:"rows"`
	SHA256 string           `json:"sha256"`
}

// Backup writes all of the store to w, as of one moment, while it goes on being
// used. It holds the secret and the hashes of tokens: keep it as safe as the
// store. [Restore] reads it, into SQLite or PostgreSQL.
func (s *Store) Backup(ctx context.Context, w io.Writer) error {
	const op = "backing up the store"
	tx, err := s.read.view(ctx)
	if err != nil {
		return wrap(op, err)
	}
	defer tx.Rollback()
	if err := tx.patient(ctx); err != nil {
		return wrap(op, err)
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	defer func() { _ = z.Close() }() // the second time does nothing
	out := &backupWriter{w: bufio.NewWriterSize(z, 1<<16), sum: sha256.New()}
	if err := s.backup(ctx, tx, out); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if err := errors.Join(out.w.Flush(), z.Close()); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

type backupWriter struct {
	w   *bufio.Writer
	sum hash.Hash
}

func (b *backupWriter) line(v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, _ = b.sum.Write(buf.Bytes()) // a hash takes everything
	_, err := b.w.Write(buf.Bytes())
	return err
}

func (s *Store) backup(ctx context.Context, tx *tx, out *backupWriter) error {
	active, err := readActive(ctx, tx, "")
	if err != nil {
		return err
	}
	schema, err := schemaVersion(ctx, tx)
	if err != nil {
		return err
	}
	err = out.line(backupHeader{Format: backupFormat, Schema: schema, MadeAt: s.now(), Revision: active.Revision})
	if err != nil {
		return err
	}
	end := backupEnd{Rows: map[string]int64{}}
	for _, t := range tables() {
		n, err := t.backup(ctx, tx, out)
		if err != nil {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
		end.Rows[t.name] = n
	}
	end.SHA256 = hex.EncodeToString(out.sum.Sum(nil))
	return out.line(end)
}

func (t table) backup(ctx context.Context, tx *tx, out *backupWriter) (n int64, err error) {
	if err := out.line(backupTable{t.name, strings.Split(t.names(), ", ")}); err != nil {
		return 0, err
	}
	rows, err := tx.QueryContext(ctx, `SELECT `+t.names()+` FROM `+t.name+` ORDER BY `+t.order)
	if err != nil {
		return 0, wrap("reading", err)
	}
	defer rows.Close()
	values := make([]any, len(t.columns))
	dest := make([]any, len(t.columns))
	for i := range values {
		dest[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return n, wrap("reading", err)
		}
		for i, c := range t.columns {
			if values[i], err = c.portable(values[i]); err != nil {
				return n, err
			}
		}
		if err := out.line(values); err != nil {
			return n, err
		}
		n++
	}
	return n, wrap("reading", rows.Err())
}

// Restore reads what [Store.Backup] wrote into the store that cfg names, which
// must be new: nothing was ever changed or recorded in it, [ErrConflict]
// otherwise. It is made and migrated where it is missing. All of the backup is
// taken over or nothing: [ErrInvalid] for what is no whole backup,
// [ErrNewerSchema] and [ErrOlderSchema] for one of another version, [ErrCorrupt]
// for one whose audit log or digests do not fit.
func Restore(ctx context.Context, cfg Config, r io.Reader) (err error) {
	const op = "restoring the store"
	cfg.ReadOnly = false
	s, err := prepare(cfg)
	if err != nil {
		return err
	}
	isNew := false
	defer func() {
		if err != nil && isNew { // a file that held nothing
			for _, suffix := range []string{"", "-wal", "-shm"} {
				_ = os.Remove(s.path() + suffix)
			}
		}
		err = errors.Join(err, s.Close())
	}()
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBody))
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	defer z.Close()
	in := &backupReader{lines: bufio.NewScanner(z), sum: sha256.New()}
	in.lines.Buffer(make([]byte, 1<<16), maxLine)
	// Before anything is made: most mistakes show in the first line.
	var header backupHeader
	if err := in.header(&header); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if err := header.check(schemaOf(s.cfg)); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if err := s.openWriter(); err != nil {
		return err
	}
	have, err := schemaVersion(ctx, s.write)
	if err != nil {
		return err
	}
	isNew = have == 0 && !s.Shared()
	if err := migrate(ctx, s.write, schemaOf(s.cfg)); err != nil {
		return err
	}
	tx, err := s.write.begin(ctx)
	if err != nil {
		return wrap(op, err)
	}
	defer tx.Rollback()
	if err := s.restore(ctx, tx, in); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return wrap(op, tx.Commit())
}

func (h backupHeader) check(schema fs.FS) error {
	want, err := newest(schema)
	switch {
	case err != nil:
		return err
	case h.Format == 0:
		return fmt.Errorf("%w: this is no backup of signet", ErrInvalid)
	case h.Format > backupFormat || h.Schema > want:
		return fmt.Errorf("%w (format %d, schema %d; this one knows format %d, schema %d): restore it with that version", ErrNewerSchema, h.Format, h.Schema, backupFormat, want)
	case h.Schema < want:
		return fmt.Errorf("%w (schema %d, this one restores %d): restore it with the version that made it, then upgrade", ErrOlderSchema, h.Schema, want)
	}
	return nil
}

type backupReader struct {
	lines *bufio.Scanner
	sum   hash.Hash
	n     int
}

func (b *backupReader) header(h *backupHeader) error {
	raw, err := b.next()
	if err != nil {
		return err
	}
	b.hashed(raw)
	return b.decode(raw, h)
}

func (b *backupReader) decode(raw []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%w: line %d is not one of a backup: %w", ErrInvalid, b.n, err)
	}
	return nil
}

// next is the next line. It is good until the next call.
func (b *backupReader) next() ([]byte, error) {
	if !b.lines.Scan() {
		err := b.lines.Err()
		if errors.Is(err, zstd.ErrMagicMismatch) {
			return nil, fmt.Errorf("%w: it is no backup of a store", ErrInvalid)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: after line %d: %w", ErrInvalid, b.n, err)
		}
		return nil, fmt.Errorf("%w: it ends after line %d; the backup was cut off", ErrInvalid, b.n)
	}
	b.n++
	return b.lines.Bytes(), nil
}

// hashed adds a line to the sum.
func (b *backupReader) hashed(raw []byte) {
	_, _ = b.sum.Write(raw) // a hash takes everything
	_, _ = b.sum.Write([]byte{'\n'})
}

func (s *Store) restore(ctx context.Context, tx *tx, in *backupReader) error {
	if err := tx.patient(ctx); err != nil {
		return wrap("preparing", err)
	}
	if err := clearNew(ctx, tx); err != nil {
		return err
	}
	rows := map[string]int64{}
	raw, err := in.next()
	if err != nil {
		return err
	}
	for _, t := range tables() {
		var head backupTable
		if err := in.decode(raw, &head); err != nil {
			return err
		}
		if head.Table != t.name || strings.Join(head.Columns, ", ") != t.names() {
			return fmt.Errorf("%w: line %d: want table %s with the columns %s", ErrInvalid, in.n, t.name, t.names())
		}
		in.hashed(raw)
		if rows[t.name], raw, err = t.restore(ctx, tx, in); err != nil {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
	}
	var end backupEnd
	if err := in.decode(raw, &end); err != nil {
		return err
	}
	if sum := hex.EncodeToString(in.sum.Sum(nil)); end.SHA256 != sum {
		return fmt.Errorf("%w: it hashes to %s, and says %s", ErrCorrupt, sum, end.SHA256)
	}
	if !maps.Equal(end.Rows, rows) {
		return fmt.Errorf("%w: the numbers of rows do not fit", ErrCorrupt)
	}
	if in.lines.Scan() || in.lines.Err() != nil {
		return fmt.Errorf("%w: something follows its end", ErrInvalid)
	}
	return s.verify(ctx, tx)
}

// clearNew makes sure that the store is new, and takes out what every new one
// has.
func clearNew(ctx context.Context, tx *tx) error {
	active, err := readActive(ctx, tx, tx.forUpdate())
	if err != nil {
		return err
	}
	used := active.Revision != 0
	for _, name := range []string{"audit", "objects", "facts", "signature_verifications", "verdict_uses"} {
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM (SELECT 1 FROM `+name+` LIMIT 1) x`).Scan(&n); err != nil {
			return wrap("looking into the store", err)
		}
		used = used || n > 0
	}
	if used {
		return fmt.Errorf("%w: the store is in use already; restore into a new data directory or database", ErrConflict)
	}
	for _, name := range []string{"active", "inputs", "secret", "leases", "upkeep"} {
		if _, err := tx.ExecContext(ctx, `DELETE FROM `+name); err != nil {
			return wrap("looking into the store", err)
		}
	}
	return nil
}

const (
	// One statement of Restore has at most so many rows, and values of about so
	// many bytes.
	restoreRows  = 200
	restoreBytes = 4 << 20
)

// restore reads the rows of a table, and returns the first line after them.
func (t table) restore(ctx context.Context, tx *tx, in *backupReader) (n int64, after []byte, err error) {
	row := "(?" + strings.Repeat(", ?", len(t.columns)-1) + ")"
	var values []any
	rows, size := 0, 0
	flush := func() error {
		if rows == 0 {
			return nil
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO `+t.name+` (`+t.names()+`) VALUES `+row+strings.Repeat(", "+row, rows-1), values...)
		values, rows, size = values[:0], 0, 0
		if err = wrap("writing", err); errors.Is(err, ErrConflict) {
			return fmt.Errorf("%w: rows up to line %d do not fit the others: %v", ErrCorrupt, in.n, err) //nolint:errorlint // it is no conflict with what is in the store
		}
		return err
	}
	for {
		line, err := in.next()
		if err != nil {
			return n, nil, err
		}
		if !bytes.HasPrefix(line, []byte("[")) {
			return n, line, flush()
		}
		in.hashed(line)
		var raw []json.RawMessage
		if err := in.decode(line, &raw); err != nil {
			return n, nil, err
		}
		if len(raw) != len(t.columns) {
			return n, nil, fmt.Errorf("%w: line %d has %d columns, want %d", ErrInvalid, in.n, len(raw), len(t.columns))
		}
		for i, c := range t.columns {
			v, err := c.native(raw[i])
			if err != nil {
				return n, nil, fmt.Errorf("line %d: %w", in.n, err)
			}
			values = append(values, v)
		}
		n++
		rows++
		size += len(line)
		if rows == restoreRows || size > restoreBytes {
			if err := flush(); err != nil {
				return n, nil, err
			}
		}
	}
}

// verify checks what hashes to something else, in a store that was restored.
func (s *Store) verify(ctx context.Context, tx *tx) error {
	if _, err := verifyAudit(ctx, tx, AuditHead{}); err != nil {
		return err
	}
	if err := s.verifyInForce(ctx, tx); err != nil {
		return err
	}
	for _, name := range []string{"objects", "facts", "evidence"} {
		if err := s.verifyBodies(ctx, tx, name); err != nil {
			return fmt.Errorf("table %s: %w", name, err)
		}
	}
	return nil
}

func (s *Store) verifyInForce(ctx context.Context, tx *tx) error {
	active, err := readActive(ctx, tx, "")
	if err != nil {
		return err
	}
	in, err := readInputs(ctx, tx)
	if err != nil {
		return err
	}
	digest, err := in.digest()
	if err != nil {
		return err
	}
	if digest != active.Digest {
		return fmt.Errorf("%w: what is in force hashes to %s, and active says %s", ErrCorrupt, digest, active.Digest)
	}
	t := &Tx{s: s, tx: tx}
	signers, err := readSigners(ctx, tx)
	if err != nil {
		return err
	}
	ofSigners, err := digestSignerRows(signers)
	if err != nil {
		return err
	}
	policies, err := readPolicies(ctx, tx)
	if err != nil {
		return err
	}
	ofPolicies, err := digestPolicyRows(policies)
	if err != nil {
		return err
	}
	ofTokens, err := t.digestTokens(ctx)
	if err != nil {
		return err
	}
	ofRoots, err := t.digestRoots(ctx)
	if err != nil {
		return err
	}
	ofBundles, err := t.digestBundles(ctx)
	if err != nil {
		return err
	}
	have := Inputs{InputSigners: ofSigners[0], InputPolicies: ofPolicies[0], InputTokens: ofTokens, InputTrustRoots: ofRoots, InputBundles: ofBundles}
	for _, kind := range sortedKeys(have) {
		if in[kind] != have[kind] && !(kind == InputPolicies && slices.Contains(ofPolicies, in[kind])) {
			return fmt.Errorf("%w: the %s hash to %q, and active says %q", ErrCorrupt, kind, have[kind], in[kind])
		}
	}
	if err := hasObjects(ctx, tx); err != nil {
		return err
	}
	return t.verifySecret(ctx, in[InputSecret])
}

// hasObjects looks for the bytes of what is in force.
func hasObjects(ctx context.Context, tx *tx) error {
	for _, of := range []struct{ table, column, kind string }{
		{"bundles", "digest", ObjectBundle}, {"trust_roots", "digest", ObjectTrustRoot}, {"trust_roots", "tuf_metadata", ObjectTUFMetadata},
	} {
		var n int
		err := tx.QueryRowContext(ctx, `SELECT count(*) FROM `+of.table+` t WHERE t.`+of.column+` <> ''
			AND NOT EXISTS (SELECT 1 FROM objects o WHERE o.kind = ? AND o.digest = t.`+of.column+`)`, of.kind).Scan(&n)
		if err != nil {
			return wrap("looking for objects", err)
		}
		if n > 0 {
			return fmt.Errorf("%w: table %s names %d objects of kind %s that are not there", ErrCorrupt, of.table, n, of.kind)
		}
	}
	return nil
}

// verifySecret checks the secret in the store, where it is the one in use: an
// installation with a secret file may have an older one, or none. A secret file here
// is compared when the store is opened.
func (t *Tx) verifySecret(ctx context.Context, want string) error {
	if t.s.cfg.SecretFile != "" || want == "" { // "": migrated, and not opened yet
		return nil
	}
	have, err := t.digestSecret(ctx)
	if have == want || errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var action string
	var after json.RawMessage
	err = t.tx.QueryRowContext(ctx, `SELECT action, after FROM audit WHERE object = 'secret' ORDER BY seq DESC LIMIT 1`).Scan(&action, canonicalColumn{&after})
	switch {
	case err == nil && action == "secret.change" && string(after) == string(jsonString(want)): // to the file's
		return nil
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return wrap("reading the audit log", err)
	}
	return fmt.Errorf("%w: the secret hashes to %q, and active says %q; if that is a secret file's, restore with secret_file configured", ErrCorrupt, have, want)
}

func (s *Store) verifyBodies(ctx context.Context, tx *tx, name string) error {
	rows, err := tx.QueryContext(ctx, `SELECT digest, encoding, size, body FROM `+name)
	if err != nil {
		return wrap("reading", err)
	}
	defer rows.Close()
	for rows.Next() {
		var digest, encoding string
		var size int
		var body []byte
		if err := rows.Scan(&digest, &encoding, &size, &body); err != nil {
			return wrap("reading", err)
		}
		raw, err := s.unpackSized(encoding, size, body)
		if err != nil {
			return err
		}
		if name == "facts" {
			_, err = facts.Decode(raw, digest)
		} else if facts.Digest(raw) != digest {
			err = errors.New("it does not hash to its digest")
		}
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrCorrupt, digest, err)
		}
	}
	return wrap("reading", rows.Err())
}
