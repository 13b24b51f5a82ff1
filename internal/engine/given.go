package engine

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
)

// checkGiven refuses evidence of a request that is over a limit, or is no bundle at
// all. What does not verify is a rejection like any other.
func checkGiven(given [][]byte, lim evidence.Limits) error {
	if len(given) > lim.Items {
		return fmt.Errorf("%w: evidence: %d bundles are more than %d (limit items)", ErrInvalid, len(given), lim.Items)
	}
	var total int64
	for i, b := range given {
		size := int64(len(b))
		total += size
		switch {
		case !bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{")):
			return fmt.Errorf("%w: evidence: item %d is not a Sigstore bundle, which is a JSON object", ErrInvalid, i+1)
		case size > lim.BundleBytes:
			return fmt.Errorf("%w: evidence: item %d has %d bytes, more than %d (limit bundle_bytes)", ErrInvalid, i+1, size, lim.BundleBytes)
		case total > lim.MemoryBytes:
			return fmt.Errorf("%w: evidence: its items have more than %d bytes together (limit memory_bytes)", ErrInvalid, lim.MemoryBytes)
		}
	}
	return nil
}

// givenKey keeps answers to those who gave some evidence apart from those of all
// others: the key of a question with its evidence, whatever the order it came in.
func givenKey(key [32]byte, given [][]byte) [32]byte {
	parts := make([]string, len(given))
	for i, b := range given {
		sum := sha256.Sum256(b)
		parts[i] = string(sum[:])
	}
	slices.Sort(parts)
	return hash(append([]string{"given", string(key[:])}, slices.Compact(parts)...)...)
}

// give adds the evidence of the request to what was found. What is there already
// counts as found, and both together are within the limits.
func (g *gathered) give(req Request, lim evidence.Limits, allPlatforms bool) {
	g.items = g.found
	if len(req.Evidence) == 0 {
		return
	}
	digests := []string{g.Subject.Digest}
	for _, p := range platforms(g.Subject, req.Platform, allPlatforms) {
		digests = append(digests, p.Digest)
	}
	var fresh []evidence.Item
	for _, b := range req.Evidence {
		it := evidence.Given(b, digests)
		same := func(o evidence.Item) bool { return o.ID == it.ID && o.SubjectDigest == it.SubjectDigest }
		if slices.ContainsFunc(g.found, same) || slices.ContainsFunc(fresh, same) {
			continue
		}
		fresh = append(fresh, it)
		g.given = append(g.given, it.ID)
	}
	total := g.itemBytes
	for _, it := range fresh {
		total += it.Size()
	}
	if len(g.found)+len(fresh) > lim.Items || !g.spooled && total > lim.MemoryBytes {
		g.search.Complete = false
		g.search.Problems = append(slices.Clone(g.search.Problems), evidence.Problem{
			Code: evidence.CodeEvidenceTooLarge, Where: evidence.GivenWhere,
			Message: fmt.Sprintf("with what was found these are more than %d pieces of evidence or %d bytes (limits items, memory_bytes)", lim.Items, lim.MemoryBytes),
		})
		g.given = nil
		return
	}
	slices.Sort(g.given)
	g.items = append(slices.Clone(g.found), fresh...)
}

// platforms are those whose evidence is looked for.
func platforms(s facts.Subject, platform string, all bool) []facts.Platform {
	switch {
	case all:
		return s.Platforms
	case platform == "":
		return nil
	}
	return facts.MatchPlatforms(s.Platforms, platform)
}
