package registry

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
)

// blobKey is a blob as declared: a manifest that declares a wrong size breaks its
// own item, and not that of another which names the same blob.
type blobKey struct {
	digest string
	size   int64
}

// blob is the content of one: small ones in memory, large ones in a file.
type blob struct {
	body  []byte
	large *evidence.Spool
}

func (b blob) size() int64 {
	if b.large != nil {
		return b.large.Size()
	}
	return int64(len(b.body))
}

func (b blob) digest() string {
	if b.large != nil {
		return "sha256:" + b.large.SHA256()
	}
	return facts.Digest(b.body)
}

func (b blob) close() {
	if b.large != nil {
		b.large.Close()
	}
}

type blobResult struct {
	blob
	err error
}

// fetch makes items of what is pending, fetching each blob once.
func (s *search) fetch(ctx context.Context) {
	s.cut()
	blobs, wanted := s.plan()
	s.parallel(len(wanted), func(i int) {
		r := blobs[blobKey{wanted[i].Digest, wanted[i].Size}]
		r.blob, r.err = s.src.blob(ctx, wanted[i], s.lim.BundleBytes)
	})
	for _, p := range s.pending {
		if p.needsBlob() {
			r := blobs[blobKey{p.layer.Digest, p.layer.Size}]
			var b *brokenError
			switch {
			case r.err == nil:
				p.Bytes, p.Large = r.body, r.large
				p.ID = p.Identity()
			case errors.Is(r.err, errAbsent), errors.As(r.err, &b):
				p.Broken = &evidence.Broken{Code: brokenCode(r.err), Message: "its content cannot be had: " + r.err.Error()}
			default:
				s.tooMuch(p.lent, r.err)
				continue
			}
		}
		s.items = append(s.items, p.Item)
	}
}

// needsBlob says whether there are bytes to fetch: broken items have none, and
// unsigned ones prove nothing whatever they say.
func (p pending) needsBlob() bool { return p.Broken == nil && p.Kind != evidence.KindUnsigned }

// cut sorts what is pending and keeps as many as the limit allows, in an order
// that does not depend on who answered first. What only mirrors have is last, and
// goes first.
func (s *search) cut() {
	order := map[string]int{}
	for i, d := range s.subjects {
		order[d] = i
	}
	slices.SortStableFunc(s.pending, func(a, b pending) int {
		return cmp.Or(after(a.lent, b.lent), cmp.Compare(order[a.SubjectDigest], order[b.SubjectDigest]), cmp.Compare(a.Where, b.Where), cmp.Compare(a.order, b.order), cmp.Compare(a.ID, b.ID))
	})
	if n := len(s.pending); n > s.lim.Items {
		s.tooMuch(s.pending[s.lim.Items].lent, problem(evidence.CodeEvidenceTooLarge, at(s.src.name(), s.subjects[0]), "%d pieces of evidence are more than %d (limit items)", n, s.lim.Items))
		s.pending = s.pending[:s.lim.Items]
	}
}

// after sorts what has a mark behind what has none.
func after(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// plan says which blobs to fetch, and refuses those over a limit by what their
// manifest declares. The declared size is enforced when fetching.
func (s *search) plan() (map[blobKey]*blobResult, []descriptor) {
	blobs := map[blobKey]*blobResult{}
	var wanted []descriptor
	var total, spooled int64
	for _, p := range s.pending {
		k := blobKey{p.layer.Digest, p.layer.Size}
		if _, planned := blobs[k]; planned || !p.needsBlob() {
			continue
		}
		r := &blobResult{err: errors.New("not fetched")}
		blobs[k] = r
		switch {
		case k.size > s.lim.BundleBytes:
			r.err = broken(facts.CodeTooLarge, "%d bytes are more than %d (limit bundle_bytes)", k.size, s.lim.BundleBytes)
		case k.size >= evidence.SpooledFrom && spooled+k.size > s.lim.SpoolBytes:
			r.err = problem(evidence.CodeEvidenceTooLarge, p.Where, "the evidence of this image has more than %d bytes (limit spool_bytes)", s.lim.SpoolBytes)
		case k.size >= evidence.SpooledFrom:
			spooled += k.size
			wanted = append(wanted, p.layer)
		case total+k.size > s.lim.MemoryBytes:
			r.err = problem(evidence.CodeEvidenceTooLarge, p.Where, "the evidence of this image has more than %d bytes (limit memory_bytes)", s.lim.MemoryBytes)
		default:
			total += k.size
			wanted = append(wanted, p.layer)
		}
	}
	return blobs, wanted
}
