package preview

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
)

// questionKey tells questions apart: the image as it was asked for, its digest, what
// else was asked, and what was found. That is the evidence where it was kept: the
// facts that were made of it are others whenever the keys or trust roots were.
func questionKey(row *Row, b *engine.Basis) (key [16]byte) {
	buf := make([]byte, 0, 512)
	add := func(s string) {
		buf = binary.AppendUvarint(buf, uint64(len(s)))
		buf = append(buf, s...)
	}
	for _, s := range []string{row.asked(), row.Digest, cmp.Or(row.EvidenceDigest, row.FactsDigest), b.Platform} {
		add(s)
	}
	flags := byte(0)
	if b.EvidenceOnly {
		flags |= 1
	}
	if b.Search.Complete {
		flags |= 2
	}
	buf = append(buf, flags)
	buf = binary.AppendUvarint(buf, uint64(len(b.Roles)))
	for _, role := range b.Roles {
		add(role)
	}
	for _, k := range slices.Sorted(maps.Keys(b.Context)) {
		add(k)
		add(b.Context[k])
	}
	sum := sha256.Sum256(buf)
	copy(key[:], sum[:])
	return key
}

// asked is the image as it was asked for. A watched image that was asked for by tag is
// decided again as name:tag@digest, with the digest that was answered; that is the
// same question, and one who reads of it twice would count two images.
func (r *Row) asked() string {
	tagged, ok := strings.CutSuffix(r.Image, "@"+r.Digest)
	if ok && r.Digest != "" && strings.Contains(tagged[strings.LastIndexByte(tagged, '/')+1:], ":") {
		return tagged
	}
	return r.Image
}

// factsCache keeps facts decoded, those that were read last, by a bound on their
// encoded size.
type factsCache struct {
	mu    sync.Mutex
	left  int
	facts map[string]cachedFacts
	// order is a queue of digests, the oldest first.
	order []string
}

type cachedFacts struct {
	f    facts.Facts
	size int
}

func newFactsCache(bytes int) *factsCache {
	return &factsCache{left: bytes, facts: map[string]cachedFacts{}}
}

func (c *factsCache) get(digest string) (facts.Facts, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.facts[digest]
	return f.f, ok
}

// put drops the oldest until there is room. What has none is not kept.
func (c *factsCache) put(digest string, f facts.Facts, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.facts[digest]; ok {
		return
	}
	for c.left < size && len(c.order) > 0 {
		oldest := c.order[0]
		c.order = c.order[1:]
		c.left += c.facts[oldest].size
		delete(c.facts, oldest)
	}
	if c.left < size {
		return
	}
	c.left -= size
	c.facts[digest] = cachedFacts{f, size}
	c.order = append(c.order, digest)
}
