package store

import (
	"context"
	"fmt"

	"github.com/signet-policy/signet/internal/facts"
)

// PutFacts keeps facts under their digest. Facts that are there already are not
// written again.
func (s *Store) PutFacts(ctx context.Context, f facts.Facts) error {
	row, err := s.packFacts(f)
	if err != nil {
		return err
	}
	return s.update(ctx, "keeping facts", func(w writer) error { return row.insert(w, "facts", formatTime(s.now())) })
}

// Facts returns stored facts. They are decoded and hashed again: what does not
// hash to the digest is [ErrCorrupt].
func (s *Store) Facts(ctx context.Context, digest string) (facts.Facts, error) {
	op := "reading facts " + digest
	raw, err := s.body(ctx, `SELECT encoding, size, body FROM facts WHERE digest = ?`, digest)
	if err != nil {
		return facts.Facts{}, wrap(op, err)
	}
	f, err := facts.Decode(raw, digest)
	if err != nil {
		return facts.Facts{}, fmt.Errorf("%s: %w: %w", op, ErrCorrupt, err)
	}
	return f, nil
}

// Evidence returns what a verdict's facts were made of, as package evidence
// encodes it, or [ErrNotFound].
func (s *Store) Evidence(ctx context.Context, digest string) ([]byte, error) {
	op := "reading evidence " + digest
	raw, err := s.body(ctx, `SELECT encoding, size, body FROM evidence WHERE digest = ?`, digest)
	if err != nil {
		return nil, wrap(op, err)
	}
	if facts.Digest(raw) != digest {
		return nil, fmt.Errorf("%s: %w: it does not hash to its digest", op, ErrCorrupt)
	}
	return raw, nil
}

// body reads and unpacks one body.
func (s *Store) body(ctx context.Context, query, digest string) ([]byte, error) {
	var encoding string
	var size int
	var body []byte
	if err := s.read.QueryRowContext(ctx, query, digest).Scan(&encoding, &size, &body); err != nil {
		return nil, err
	}
	return s.unpackSized(encoding, size, body)
}

// packedBody is a row of facts or of evidence, ready to be written.
type packedBody struct {
	digest string
	size   int
	body   []byte
}

func (s *Store) packFacts(f facts.Facts) (packedBody, error) {
	if s.write == nil {
		return packedBody{}, ErrReadOnly
	}
	if f.Digest() == "" {
		return packedBody{}, fmt.Errorf("%w: these facts were not made by verification", ErrInvalid)
	}
	raw, err := f.Encode()
	if err != nil {
		return packedBody{}, fmt.Errorf("%w: facts: %w", ErrInvalid, err)
	}
	return packedBody{digest: f.Digest(), size: len(raw), body: s.pack(raw)}, nil
}

// insert writes it into one of the two tables, whose names are constants.
func (p packedBody) insert(w writer, table, at string) error {
	return w.exec(`INSERT INTO `+table+` (digest, encoding, size, body, created_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (digest) DO NOTHING`, p.digest, encodingZstd, p.size, p.body, at)
}

func (s *Store) unpackSized(encoding string, size int, body []byte) ([]byte, error) {
	if encoding != encodingZstd {
		return nil, fmt.Errorf("%w: it is encoded as %q", ErrCorrupt, encoding)
	}
	raw, err := s.unpack(body)
	if err != nil {
		return nil, err
	}
	if len(raw) != size {
		return nil, fmt.Errorf("%w: it unpacks to %d bytes, not %d", ErrCorrupt, len(raw), size)
	}
	return raw, nil
}

// PutObject keeps an immutable value (a trust root, its TUF metadata) under its
// digest, which is that of its bytes, within a change.
func (t *Tx) PutObject(ctx context.Context, kind, digest string, body []byte) error {
	if kind == "" || digest != facts.Digest(body) {
		return fmt.Errorf("%w: an object has a kind and the digest of its bytes", ErrInvalid)
	}
	if t.objects != nil {
		t.objects[ObjectName{kind, digest}] = body
	}
	return t.exec(ctx, "keeping an object", `INSERT INTO objects (kind, digest, encoding, size, body, created_at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (kind, digest) DO NOTHING`, kind, digest, encodingZstd, len(body), t.s.pack(body), formatTime(t.at))
}

// Object returns a value that was kept, or [ErrNotFound]. What does not hash to
// the digest is [ErrCorrupt].
func (s *Store) Object(ctx context.Context, kind, digest string) ([]byte, error) {
	return s.object(ctx, s.read, kind, digest)
}

// Object returns a value as this change sees it.
func (t *Tx) Object(ctx context.Context, kind, digest string) ([]byte, error) {
	return t.s.object(ctx, t.tx, kind, digest)
}

func (s *Store) object(ctx context.Context, q querier, kind, digest string) ([]byte, error) {
	op := fmt.Sprintf("reading %s %s", kind, digest)
	var encoding string
	var size int
	var body []byte
	err := q.QueryRowContext(ctx, `SELECT encoding, size, body FROM objects WHERE kind = ? AND digest = ?`, kind, digest).
		Scan(&encoding, &size, &body)
	if err != nil {
		return nil, wrap(op, err)
	}
	raw, err := s.unpackSized(encoding, size, body)
	if err != nil {
		return nil, wrap(op, err)
	}
	if facts.Digest(raw) != digest {
		return nil, fmt.Errorf("%s: %w: it does not hash to its digest", op, ErrCorrupt)
	}
	return raw, nil
}
