package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
)

// Collect looks for the evidence of s: on its own digest, and where s is an index
// on the platform that q names, or on all of them. Everything is asked of the
// evidence repository of q.Image.
//
// What could not be read for good is an item with Broken set; what a retry may
// mend, and every count limit that was hit, is a problem and leaves
// Search.Complete false. Items are sorted and without duplicates, so the order of
// answers decides nothing. The error is an [*evidence.Problem] for a question
// that cannot be asked: an invalid reference, a registry that is not allowed, a
// platform that the index does not have. The time is bounded by ctx and by the
// limit search_timeout.
func (c *Client) Collect(ctx context.Context, s facts.Subject, q evidence.Query) (evidence.Found, error) {
	ref, err := c.check(q)
	if err != nil {
		return evidence.Found{}, err
	}
	if !isDigest(s.Digest) {
		return evidence.Found{}, problem(evidence.CodeInvalidReference, clip(q.Image, 300), "the subject has no sha256 digest")
	}
	platforms, err := choose(s, q)
	if err != nil {
		return evidence.Found{}, err
	}
	at := ref
	if ref.Layout == "" {
		at = c.evidenceRepository(ref)
	}
	src, done, err := c.open(at)
	if err != nil {
		return evidence.Found{}, err
	}
	defer done()
	if l, ok := src.(*layout); ok {
		l.sole = s.Digest
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Limits.SearchTimeout)
	defer cancel()

	sr := &search{
		src: src, beside: beside(src), lim: c.cfg.Limits, subjects: []string{s.Digest},
		listed: map[string][]lead{}, tagged: map[string]string{},
	}
	for _, p := range platforms {
		if !slices.Contains(sr.subjects, p.Digest) {
			sr.subjects = append(sr.subjects, p.Digest)
		}
	}
	sr.probe(ctx)
	sr.readReferrers(ctx)
	if isIndexType(s.MediaType) {
		sr.inIndex(ctx, c, ref, s)
	}
	sr.fetch(ctx)
	c.missingCredentials(sr, ref, at)
	return sr.found(), nil
}

// search is one search for evidence, in three steps: ask what there is, read the
// manifests, read the blobs. Each step runs in parallel and ends before the next
// begins, so that limits cut the same items whatever the order of answers.
type search struct {
	src source
	// beside are mirrors that are asked for lists as well.
	beside []*remote
	lim    evidence.Limits
	// subjects are the digests to look for; the first is the one asked for.
	subjects []string

	mu       sync.Mutex
	api      evidence.Probe
	fallback evidence.Probe
	tags     evidence.Probe
	problems []evidence.Problem
	listed   map[string][]lead // by the digest of the manifest
	tagged   map[string]string // by place: the digest of the manifest there
	lent     lent
	pending  []pending
	items    []evidence.Item
}

// lead says that a manifest was listed as a referrer of subject.
type lead struct {
	subject, artifactType string
	size                  int64
	// lent says that only a mirror lists it: what goes wrong with it, and what no
	// longer fits, is left out, and says nothing of the registry's own.
	lent bool
}

// pending is an item whose bytes are still to be fetched, unless it is broken or
// of a kind that is never fetched.
type pending struct {
	evidence.Item
	layer descriptor
	// order is the place of the layer in its manifest.
	order int
	lent  bool // see lead
}

// parallel runs tasks with as many requests in flight as the limits allow. A
// panic in one is a problem, never the end of the process.
func (s *search) parallel(n int, task func(i int)) {
	var g errgroup.Group
	g.SetLimit(s.lim.Parallel)
	for i := range n {
		g.Go(func() error {
			defer func() {
				if p := recover(); p != nil {
					s.problem(problem(evidence.CodeUnavailable, s.src.name(), "internal error while reading evidence: %s", clip(fmt.Sprint(p), 200)))
				}
			}()
			task(i)
			return nil
		})
	}
	_ = g.Wait() // tasks return no errors
}

func (s *search) problem(err error) {
	var p *evidence.Problem
	if !errors.As(err, &p) {
		p = problem(evidence.CodeUnavailable, s.src.name(), "%s", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = append(s.problems, *p)
}

func (s *search) add(p ...pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, p...)
}

// worse keeps the outcome that says most about whether everything was seen.
func (s *search) worse(at *evidence.Probe, p evidence.Probe) {
	rank := []evidence.Probe{"", evidence.ProbeNotAsked, evidence.ProbeEmpty, evidence.ProbeUnsupported, evidence.ProbeFound, evidence.ProbeFailed}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Index(rank, p) > slices.Index(rank, *at) {
		*at = p
	}
}

// probe asks the referrers API, the fallback tag where the API has nothing, and
// cosign's tags, for every subject.
func (s *search) probe(ctx context.Context) {
	each := 3 + len(s.beside)
	s.parallel(each*len(s.subjects), func(i int) {
		switch subject, what := s.subjects[i/each], i%each; what {
		case 0:
			s.askReferrers(ctx, subject)
		case 1:
			s.askTag(ctx, subject, "sig", evidence.KindSimpleSigning)
		case 2:
			s.askTag(ctx, subject, "att", evidence.KindDSSE)
		default:
			s.askMirror(ctx, s.beside[what-3], subject)
		}
	})
	s.borrow()
}

func (s *search) askReferrers(ctx context.Context, subject string) {
	list, err := s.src.referrers(ctx, subject, s.malformedEntry(subject, "referrers of "+subject))
	s.list(subject, list, false)
	outcome := evidence.ProbeFound
	switch {
	case errors.Is(err, errUnsupported):
		outcome = evidence.ProbeUnsupported
	case err != nil:
		outcome = evidence.ProbeFailed
		s.problem(err)
	case len(list) == 0:
		outcome = evidence.ProbeEmpty // as some registries answer although the tag exists (threat 35)
	}
	s.worse(&s.api, outcome)
	if outcome == evidence.ProbeUnsupported || outcome == evidence.ProbeEmpty {
		s.askFallback(ctx, subject)
	}
}

func (s *search) list(subject string, list []descriptor, lent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range list {
		l := lead{subject, d.ArtifactType, d.Size, lent}
		if !slices.Contains(s.listed[d.Digest], l) {
			s.listed[d.Digest] = append(s.listed[d.Digest], l)
		}
	}
}

// malformedEntry reports an entry of a list that cannot be read.
func (s *search) malformedEntry(subject, where string) func(json.RawMessage, error) {
	return func(entry json.RawMessage, err error) {
		s.add(pending{Item: evidence.Item{
			Kind: evidence.KindUnsigned, SubjectDigest: subject, Where: where, ID: facts.Digest(entry),
			Broken: &evidence.Broken{Code: facts.CodeMalformed, Message: "listed in a way that cannot be read: " + clip(err.Error(), 200)},
		}})
	}
}

// askFallback reads the tag that stands in for the referrers API: an index of
// referrers (distribution-spec, "Referrers Tag Schema").
func (s *search) askFallback(ctx context.Context, subject string) {
	tag := cosignTag(subject, "")
	o := origin{subject: subject, where: tagPlace(tag), kind: evidence.KindUnsigned, tag: true}
	c, err := s.src.attached(ctx, subject, "")
	if s.unread(o, &s.fallback, err) {
		return
	}
	s.worse(&s.fallback, evidence.ProbeFound)
	m, err := parseManifest(c.body, c.mediaType, s.lim.JSONDepth)
	if err == nil && !m.index {
		err = errors.New("it should be an index of referrers, and is an image manifest")
	}
	if err != nil {
		s.reject(o, c.digest, facts.CodeMalformed, err)
		return
	}
	list, err := descriptors(m.Manifests, s.lim.Referrers, s.lim.JSONDepth, s.malformedEntry(subject, o.where))
	if errors.Is(err, errTooMany) {
		s.problem(listError(at(s.src.name(), tag), err, s.lim))
	} else if err != nil {
		s.reject(o, c.digest, facts.CodeMalformed, err)
	}
	s.list(subject, list, false)
}

// tagPlace says where an item was found. The place is within the repositories
// that the search names, so that one image gives the same facts wherever it is
// mirrored.
func tagPlace(tag string) string { return "tag " + tag }

// askTag reads one of cosign's tags.
func (s *search) askTag(ctx context.Context, subject, suffix string, kind evidence.Kind) {
	o := origin{subject: subject, where: tagPlace(cosignTag(subject, suffix)), kind: kind, tag: true}
	c, err := s.src.attached(ctx, subject, suffix)
	if s.unread(o, &s.tags, err) {
		return
	}
	s.worse(&s.tags, evidence.ProbeFound)
	s.mu.Lock()
	s.tagged[o.where] = c.digest
	s.mu.Unlock()
	s.readManifest(c, o)
}

// unread deals with a tag that could not be read, and says whether that is so.
func (s *search) unread(o origin, outcome *evidence.Probe, err error) bool {
	var b *brokenError
	switch {
	case err == nil:
		return false
	case errors.Is(err, errAbsent):
		s.worse(outcome, evidence.ProbeEmpty)
	case errors.As(err, &b), errors.Is(err, errSchema1):
		s.worse(outcome, evidence.ProbeFound)
		s.reject(o, "", brokenCode(err), err)
	default:
		s.worse(outcome, evidence.ProbeFailed)
		s.problem(err)
	}
	return true
}

// found is the outcome, in an order that does not depend on who answered first.
func (s *search) found() evidence.Found {
	order := map[string]int{}
	for i, d := range s.subjects {
		order[d] = i
	}
	slices.SortStableFunc(s.items, func(a, b evidence.Item) int {
		return cmp.Or(cmp.Compare(order[a.SubjectDigest], order[b.SubjectDigest]), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Where, b.Where))
	})
	s.items = slices.CompactFunc(s.items, func(a, b evidence.Item) bool {
		return a.SubjectDigest == b.SubjectDigest && a.ID == b.ID && a.Kind == b.Kind && (a.Broken == nil) == (b.Broken == nil)
	})
	slices.SortFunc(s.problems, func(a, b evidence.Problem) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Where, b.Where), cmp.Compare(a.Message, b.Message), cmp.Compare(b.RetryAfter, a.RetryAfter))
	})
	s.problems = slices.CompactFunc(s.problems, func(a, b evidence.Problem) bool {
		return a.Code == b.Code && a.Where == b.Where && a.Message == b.Message
	})
	s.problems = atMost(s.problems, maxProblems)
	for _, p := range []*evidence.Probe{&s.api, &s.fallback, &s.tags} {
		if *p == "" {
			*p = evidence.ProbeNotAsked
		}
	}
	return evidence.Found{Items: s.items, Search: evidence.Search{
		Complete: len(s.problems) == 0, Repositories: s.named(),
		ReferrersAPI: s.api, FallbackTag: s.fallback, CosignTags: s.tags, Problems: s.problems,
	}}
}

// maxProblems bounds what a verdict repeats of a registry that fails at
// everything.
const maxProblems = 32

// atMost keeps n problems, the last of which stands for all that are left out.
func atMost(list []evidence.Problem, n int) []evidence.Problem {
	if len(list) <= n {
		return list
	}
	rest := list[n-1:]
	last := rest[0]
	for _, p := range rest {
		last.RetryAfter = max(last.RetryAfter, p.RetryAfter)
	}
	last.Message = fmt.Sprintf("%s (and %d further problems)", last.Message, len(rest)-1)
	return append(slices.Clone(list[:n-1]), last)
}
