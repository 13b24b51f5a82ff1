package verify

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/strictjson"
	"github.com/signet-policy/signet/internal/trust"
)

// Memo remembers results of attempts by keys that name everything that went in.
// What Get returns must be what Put was given: whoever keeps the values elsewhere
// than in this process's memory authenticates them.
type Memo interface {
	Get(key [32]byte) ([]byte, bool)
	Put(key [32]byte, value []byte)
}

// memory is a Memo with everything in its keys that does not change while the
// verifier lives.
type memory struct {
	memo   Memo
	prefix [32]byte
}

// memoFormat changes with what is kept.
const memoFormat = "signet/verification/v1"

func newMemory(m Memo, build string, limits evidence.Limits) *memory {
	h := sha256.New()
	field(h, memoFormat)
	field(h, build)
	// Limits are numbers, which always encode.
	options, _ := json.Marshal(limits)
	field(h, string(options))
	out := &memory{memo: m}
	h.Sum(out.prefix[:0])
	return out
}

// field writes one field so that no two lists of fields give the same bytes.
func field(h hash.Hash, s string) { fmt.Fprintf(h, "%d:%s\n", len(s), s) }

// key is H(build, item, subject, root, what the root requires, key fingerprint,
// options).
func (m *memory) key(e *evidence.Item, t *target, r *trust.Root, fingerprint string) [32]byte {
	h := sha256.New()
	h.Write(m.prefix[:])
	field(h, e.ID)
	field(h, string(e.Kind))
	for _, alg := range algorithms {
		field(h, string(t.digests[alg]))
	}
	req := r.Requires()
	field(h, fmt.Sprint(t.image, t.content != nil, req.Log, req.SCT, req.Timestamp))
	field(h, r.Digest())
	// The name is in the messages of rejections.
	field(h, r.Name())
	field(h, fingerprint)
	var key [32]byte
	h.Sum(key[:0])
	return key
}

// result is what is remembered of an attempt: exactly one of the two.
type result struct {
	Proof     *proof     `json:"proof,omitempty"`
	Rejection *rejection `json:"rejection,omitempty"`
}

// maxMemoDepth is more than a result nests.
const maxMemoDepth = 16

// remembered gives the result of an attempt from the memo, or makes it. A value
// that cannot be read is a miss.
func (v *Verifier) remembered(e *evidence.Item, t *target, r *trust.Root, fingerprint string, try func() (*proof, *rejection)) (*proof, *rejection) {
	if v.memo == nil {
		return clean(try())
	}
	key := v.memo.key(e, t, r, fingerprint)
	if raw, ok := v.memo.memo.Get(key); ok {
		var kept result
		if err := strictjson.Decode(raw, maxMemoDepth, &kept); err == nil && (kept.Proof == nil) != (kept.Rejection == nil) {
			return kept.Proof, kept.Rejection
		}
	}
	proof, rej := clean(try())
	if e.Unread() != nil {
		return proof, rej // nothing was found out; whoever asked is told so
	}
	if raw, err := json.Marshal(result{proof, rej}); err == nil {
		v.memo.memo.Put(key, raw)
	}
	return proof, rej
}

// clean drops what an attempt had gathered before it failed.
func clean(p *proof, rej *rejection) (*proof, *rejection) {
	if rej != nil {
		return nil, rej
	}
	return p, nil
}
