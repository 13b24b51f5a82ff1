package engine

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
)

// gathered is everything known about an image before policy: the subject, how
// the search went, and the facts. Problem is set when the image could not be
// resolved; Facts is then empty.
type gathered struct {
	Asked   Asked
	Subject facts.Subject
	Facts   facts.Facts
	Problem *evidence.Problem
	Search  facts.Search
	// RetryAfter is the longest wait that a registry asked for.
	RetryAfter time.Duration

	// second is what another verifier found; nil where none was asked.
	second *Second
	search evidence.Search
	// found is what the search found, items what is verified: with what was given.
	found, items []evidence.Item
	given        []string // ids
	itemBytes    int64
	spooled      bool // an item is in a temporary file
	searchKey    [32]byte
	fromLease    bool
	// allPlatforms: the evidence of every platform was looked for.
	allPlatforms bool
	// tagUntil and searchUntil bound the answer by its leases; zero means that
	// the lease is made by this very answer.
	tagUntil    time.Time
	searchUntil time.Time
}

// mistake is the caller's: a reference that only looking showed to be wrong, such
// as a layout that is not there.
func (g *gathered) mistake() error {
	if g.Problem != nil && g.Problem.Code == evidence.CodeInvalidReference {
		return fmt.Errorf("%w: image: %w", ErrInvalid, g.Problem)
	}
	return nil
}

// gather resolves, collects and verifies. It does no policy. Whatever goes
// wrong is in the result.
func (e *Engine) gather(ctx context.Context, st *State, req Request, asked Asked) *gathered {
	g := &gathered{Asked: asked}
	q := evidence.Query{Image: req.Image, Platform: req.Platform, EvidenceOnly: req.EvidenceOnly, Refresh: req.Refresh}
	policies := st.scope(asked.Name(), req.Context)
	for _, p := range policies {
		q.AllPlatforms = q.AllPlatforms || p.readsAll()
	}
	g.allPlatforms = q.AllPlatforms
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Limits.SearchTimeout)
	defer cancel()

	begins(ctx, StageResolve)
	if err := e.resolve(ctx, g, req, q); err != nil {
		g.Problem = asProblem(err, req.Image)
		g.RetryAfter = g.Problem.RetryAfter
		g.search = evidence.Search{ReferrersAPI: evidence.ProbeNotAsked, FallbackTag: evidence.ProbeNotAsked, CosignTags: evidence.ProbeNotAsked, Problems: []evidence.Problem{*g.Problem}}
		g.Search = frameSearch(g.search, 0)
		return g
	}
	begins(ctx, StageCollect)
	e.collect(ctx, g, req, q)
	g.give(req, e.cfg.Limits, q.AllPlatforms)
	g.Search = frameSearch(g.search, len(g.items))

	begins(ctx, StageVerify)
	f, err := st.Verify(ctx, g.Subject, g.items, scopeKeys{policies, g.Subject.Name(), e.now()})
	if err != nil {
		g.Problem = asProblem(err, req.Image)
		return g
	}
	g.Facts = f
	return g
}

// resolve names the digest once; everything after speaks of the digest.
func (e *Engine) resolve(ctx context.Context, g *gathered, req Request, q evidence.Query) error {
	key := hash(e.cfg.Build+e.cfg.Settings, g.Asked.Registry, g.Asked.Repository, g.Asked.Tag, g.Asked.Digest, req.leaseName(g.Asked), g.Asked.Scope)
	if e.cfg.Cache != nil && !req.Refresh && !req.EvidenceOnly {
		if s, until, ok := e.leasedTag(ctx, key); ok {
			g.Subject = s
			if g.Asked.Digest == "" {
				g.tagUntil = until
			}
			return nil
		}
	}
	s, err := e.cfg.Source.Resolve(ctx, q)
	if err != nil {
		return err
	}
	g.Subject = s
	if e.cfg.Cache != nil && !req.EvidenceOnly {
		now := e.cfg.Now()
		until := now.Add(tagLease)
		if g.Asked.Digest == "" {
			g.tagUntil = until
		} else {
			until = now.Add(searchLeaseFound) // a digest does not move
		}
		if body, err := json.Marshal(s); err == nil {
			e.cfg.Cache.Put(ctx, purposeTag, key, body, until)
		}
	}
	return nil
}

func (e *Engine) collect(ctx context.Context, g *gathered, req Request, q evidence.Query) {
	g.searchKey = searchKey(e.cfg.Build+e.cfg.Settings, e.cfg.Limits, g.Subject, req, q.AllPlatforms, g.Asked)
	if e.cfg.Cache != nil && !req.Refresh {
		if l, until, ok := e.leasedSearch(ctx, g.searchKey); ok {
			g.found, g.search, g.searchUntil, g.fromLease = l.Items, l.Search, until, true
			return
		}
	}
	found, err := e.cfg.Source.Collect(ctx, g.Subject, q)
	g.found, g.search = found.Items, found.Search
	if err != nil {
		g.search.Complete = false
		g.search.Problems = append(g.search.Problems, *asProblem(err, req.Image))
	}
	for _, p := range g.search.Problems {
		g.RetryAfter = max(g.RetryAfter, p.RetryAfter)
	}
	for i := range g.found {
		g.itemBytes += g.found[i].Size()
		g.spooled = g.spooled || g.found[i].Large != nil
	}
}

// scopeKeys are the keys of the signers in force for an image at a time, in all
// policies that speak of it. They are looked up, not listed: there may be
// thousands.
type scopeKeys struct {
	policies []Policy
	name     string
	at       time.Time
}

func (k scopeKeys) ByFingerprint(fingerprint string) crypto.PublicKey {
	for _, p := range k.policies {
		if key, ok := p.Signers.KeyByFingerprint(fingerprint, k.name, k.at); ok {
			return key.PublicKey
		}
	}
	return nil
}

func (k scopeKeys) InScope(most int) ([]crypto.PublicKey, bool) {
	var keys []crypto.PublicKey
	seen := map[string]bool{}
	for _, p := range k.policies {
		some, more := p.Signers.KeysInScope(k.name, k.at, most)
		for _, key := range some {
			if !seen[key.Fingerprint] {
				seen[key.Fingerprint] = true
				keys = append(keys, key.PublicKey)
			}
		}
		if more || len(keys) > most {
			return keys[:min(len(keys), most)], true
		}
	}
	return keys, false
}

// asProblem gives every error a code; one that we do not know is unavailable,
// never "not signed".
func asProblem(err error, image string) *evidence.Problem {
	var p *evidence.Problem
	if errors.As(err, &p) {
		return p
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &evidence.Problem{Code: evidence.CodeUnavailable, Where: image, Message: "not answered in time", Err: err}
	}
	return &evidence.Problem{Code: evidence.CodeUnavailable, Where: image, Message: err.Error(), Err: err}
}

func frameSearch(s evidence.Search, items int) facts.Search {
	out := facts.Search{
		Complete: s.Complete, Repositories: s.Repositories,
		ReferrersAPI: probe(s.ReferrersAPI), FallbackTag: probe(s.FallbackTag), CosignTags: probe(s.CosignTags),
		Items: items, Problems: []facts.Problem{},
	}
	for _, p := range s.Problems {
		out.Problems = append(out.Problems, facts.Problem{Code: p.Code, Where: p.Where, Message: p.Message})
	}
	return out
}

func probe(p evidence.Probe) string {
	if p == "" {
		return string(evidence.ProbeNotAsked)
	}
	return string(p)
}
