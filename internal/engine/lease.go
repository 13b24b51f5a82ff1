package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// Purposes keep the kinds of cached values apart.
const (
	purposeAnswer = "answer"
	purposeTag    = "tag"
	purposeSearch = "search"
)

// How long we believe what a registry said (the design's leases).
const (
	tagLease           = 10 * time.Second
	searchLeaseFound   = 10 * time.Minute // enough for an allow
	searchLeaseNothing = 30 * time.Second // not enough, or nothing
	// searchLeaseBytes is the largest search that is kept; a larger one is asked again.
	searchLeaseBytes = 4 << 20
)

// hash is over length-prefixed parts, so that no two lists of parts collide.
func hash(parts ...string) [32]byte {
	var room [512]byte // enough for most, so that a hit allocates nothing here
	b := room[:0]
	for _, p := range parts {
		b = binary.BigEndian.AppendUint64(b, uint64(len(p)))
		b = append(b, p...)
	}
	return sha256.Sum256(b)
}

// answerKey names an answer by what was asked, to the letter, and everything that
// is in force. Whose credentials are used follows from the image.
func answerKey(build string, st *State, req Request) [32]byte {
	var room [12]string
	parts := append(room[:0], build, st.Active.Digest, st.GraceNote, req.Image, req.Platform, strconv.FormatBool(req.EvidenceOnly))
	parts = append(parts, strconv.Itoa(len(req.Roles)))
	parts = append(parts, req.Roles...)
	if len(req.Context) > 0 {
		keys := slices.Sorted(maps.Keys(req.Context))
		for _, k := range keys {
			parts = append(parts, k, req.Context[k])
		}
	}
	key := hash(parts...)
	if len(req.Evidence) > 0 {
		return givenKey(key, req.Evidence)
	}
	return key
}

// A cached answer is one byte that says what it is, and the body.
const (
	answerDeny       byte = 'd'
	answerAllow      byte = 'a'
	answerAuditedBad byte = 'p' // denied under audit: passes
)

func (e *Engine) cached(ctx context.Context, key [32]byte) (Answer, bool) {
	value, _, tier, ok := e.cfg.Cache.Get(ctx, purposeAnswer, key, e.cfg.Now())
	if !ok || len(value) < 2 {
		return Answer{}, false
	}
	a := Answer{Body: value[1:], From: tier, Recorded: e.cfg.Recorder != nil}
	switch value[0] {
	case answerAllow:
		a.Decision, a.Allowed = verdict.Allow, true
	case answerDeny:
		a.Decision = verdict.Deny
	case answerAuditedBad:
		a.Decision, a.Allowed = verdict.Deny, true
	default:
		return Answer{}, false
	}
	return a, true
}

// keep caches an answer until its own expiry, and the search as a lease. An
// unknown is never kept, and an incomplete search neither.
func (e *Engine) keep(ctx context.Context, _ *State, key [32]byte, g *gathered, a Answer, v *verdict.Verdict) {
	if e.cfg.Cache == nil {
		return
	}
	now := e.cfg.Now()
	e.keepSearch(ctx, g, v, now)
	if a.Decision == verdict.Unknown || !v.ExpiresAt.After(now) {
		return
	}
	mark := answerDeny
	switch {
	case a.Decision == verdict.Allow:
		mark = answerAllow
	case a.Allowed:
		mark = answerAuditedBad
	}
	e.cfg.Cache.Put(ctx, purposeAnswer, key, append([]byte{mark}, a.Body...), v.ExpiresAt)
}

// lease is a kept search: what was found for one digest.
type lease struct {
	Items  []evidence.Item
	Search evidence.Search
}

func searchKey(build string, limits evidence.Limits, s facts.Subject, req Request, allPlatforms bool, asked Asked) [32]byte {
	lim, _ := json.Marshal(limits) // a struct of numbers always encodes
	return hash(strconv.FormatBool(allPlatforms), strconv.FormatBool(req.EvidenceOnly), build, asked.Registry, asked.Repository, req.leaseName(asked), s.Digest, req.Platform, asked.Scope, string(lim))
}

// leaseName tells layouts and files apart, which have no normalised name.
func (r Request) leaseName(a Asked) string {
	if a.Name() != "" {
		return ""
	}
	return r.Image
}

func (e *Engine) leasedSearch(ctx context.Context, key [32]byte) (*lease, time.Time, bool) {
	value, expiry, _, ok := e.cfg.Cache.Get(ctx, purposeSearch, key, e.cfg.Now())
	if !ok {
		return nil, time.Time{}, false
	}
	var l lease
	if err := json.Unmarshal(value, &l); err != nil {
		return nil, time.Time{}, false
	}
	return &l, expiry, true
}

// keepSearch keeps what was found for long only where it was enough: what is lacking
// (a signature, provenance, a scan) may be attached any moment, and is looked for as
// soon again as a signature of an image that has none. A lease that turns out not to
// be enough, under another policy than it was made for, is cut short likewise.
func (e *Engine) keepSearch(ctx context.Context, g *gathered, v *verdict.Verdict, now time.Time) {
	if g.Problem != nil || !g.search.Complete || g.spooled || g.itemBytes > searchLeaseBytes {
		return
	}
	enough := v.Decision == verdict.Allow && len(g.given) == 0 // what was given with this request says nothing of what others will find
	until := now.Add(searchLeaseNothing)
	switch {
	case g.fromLease && (enough || len(g.given) > 0 || !g.searchUntil.After(until)):
		return
	case g.fromLease:
		// What another request has put meanwhile (a refresh, say) is newer than what is
		// cut short here, and is left.
		if _, kept, ok := e.leasedSearch(ctx, g.searchKey); !ok || !kept.Equal(g.searchUntil) {
			return
		}
	case enough:
		until = now.Add(searchLeaseFound)
	}
	body, err := json.Marshal(lease{Items: g.found, Search: g.search})
	if err != nil {
		return
	}
	e.cfg.Cache.Put(ctx, purposeSearch, g.searchKey, body, until)
}

func (e *Engine) leasedTag(ctx context.Context, key [32]byte) (facts.Subject, time.Time, bool) {
	value, expiry, _, ok := e.cfg.Cache.Get(ctx, purposeTag, key, e.cfg.Now())
	if !ok {
		return facts.Subject{}, time.Time{}, false
	}
	var s facts.Subject
	if err := json.Unmarshal(value, &s); err != nil {
		return facts.Subject{}, time.Time{}, false
	}
	return s, expiry, true
}

func encode(v *verdict.Verdict) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
