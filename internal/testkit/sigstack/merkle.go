package sigstack

import (
	"crypto/sha256"
	"math/bits"
)

// merkleTree is an append-only tree as in RFC 6962 section 2.1, with SHA-256.
// levels[k][i] is the hash of the full subtree over the 2^k leaves from i·2^k.
type merkleTree struct{ levels [][][]byte }

func leafHash(leaf []byte) []byte {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(leaf)
	return h.Sum(nil)
}

func nodeHash(left, right []byte) []byte {
	h := sha256.New()
	h.Write([]byte{1})
	h.Write(left)
	h.Write(right)
	return h.Sum(nil)
}

func (t *merkleTree) size() int {
	if len(t.levels) == 0 {
		return 0
	}
	return len(t.levels[0])
}

// append adds a leaf and returns its index.
func (t *merkleTree) append(leaf []byte) int {
	h := leafHash(leaf)
	for k := 0; ; k++ {
		if k == len(t.levels) {
			t.levels = append(t.levels, nil)
		}
		t.levels[k] = append(t.levels[k], h)
		n := len(t.levels[k])
		if n%2 == 1 {
			return len(t.levels[0]) - 1
		}
		h = nodeHash(t.levels[k][n-2], t.levels[k][n-1])
	}
}

// hash is MTH(D[lo:hi]) of the RFC; lo is a multiple of the largest power of two
// that is not above hi-lo, as it is in every call below.
func (t *merkleTree) hash(lo, hi int) []byte {
	n := hi - lo
	if n == 0 {
		empty := sha256.Sum256(nil)
		return empty[:]
	}
	if n&(n-1) == 0 {
		k := bits.TrailingZeros(uint(n))
		return t.levels[k][lo>>k]
	}
	k := split(n)
	return nodeHash(t.hash(lo, lo+k), t.hash(lo+k, hi))
}

func (t *merkleTree) root(size int) []byte { return t.hash(0, size) }

// path is the audit path of the leaf at index in the tree of the given size,
// from the leaf upwards.
func (t *merkleTree) path(index, size int) [][]byte { return t.pathIn(index, 0, size) }

func (t *merkleTree) pathIn(index, lo, hi int) [][]byte {
	if hi-lo <= 1 {
		return nil
	}
	k := lo + split(hi-lo)
	if index < k {
		return append(t.pathIn(index, lo, k), t.hash(k, hi))
	}
	return append(t.pathIn(index, k, hi), t.hash(lo, k))
}

// split is the largest power of two below n, for n > 1.
func split(n int) int { return 1 << (bits.Len(uint(n-1)) - 1) }
