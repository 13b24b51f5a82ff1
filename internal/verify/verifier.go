package verify

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/trust"
)

// Config is what a [Verifier] is made of.
type Config struct {
	// Roots are tried in this order. At least one; names are distinct.
	Roots []*trust.Root
	// Limits bound what evidence can make us do, see [evidence.DefaultLimits].
	Limits evidence.Limits
	// Memo remembers the results of single attempts; nil: nothing is remembered.
	Memo Memo
	// Build names the program that computes: results of another build are not
	// used. Required with a Memo.
	Build string
	// OnPanic is told about each panic in a parser, with a [Panic]. The item is
	// rejected either way.
	OnPanic func(any)
}

// Panic is what Config.OnPanic is told.
type Panic struct {
	Value any
	Stack []byte
	// Item is the id of the evidence, or "".
	Item string
}

// Verifier verifies evidence. It is immutable and safe for concurrent use.
type Verifier struct {
	roots   []*trust.Root
	limits  evidence.Limits
	memo    *memory
	onPanic func(any)
	room    *semaphore.Weighted
	// giants are items in files, which do not meet: one is read at a time. Who waits
	// for that waits outside the room, where others pass.
	giants *semaphore.Weighted
}

// mostBySigstore is how many log entries and timestamps sigstore-go looks at.
const mostBySigstore = 32

// New checks the configuration and makes a Verifier.
func New(cfg Config) (*Verifier, error) {
	if len(cfg.Roots) == 0 {
		return nil, errors.New("verifying needs a trust root")
	}
	names := map[string]bool{}
	for i, r := range cfg.Roots {
		switch {
		case r == nil:
			return nil, fmt.Errorf("trust root %d is missing", i)
		case names[r.Name()]:
			return nil, fmt.Errorf("two trust roots are called %q: facts name their root, so names are distinct", r.Name())
		}
		names[r.Name()] = true
	}
	if err := checkLimits(&cfg.Limits); err != nil {
		return nil, err
	}
	v := &Verifier{
		roots: append([]*trust.Root(nil), cfg.Roots...), limits: cfg.Limits, onPanic: cfg.OnPanic,
		room: semaphore.NewWeighted(cfg.Limits.MemoryBytes), giants: semaphore.NewWeighted(1),
	}
	if v.onPanic == nil {
		v.onPanic = func(any) {}
	}
	if cfg.Memo != nil {
		if cfg.Build == "" {
			return nil, errors.New("remembering results needs the name of the build")
		}
		v.memo = newMemory(cfg.Memo, cfg.Build, cfg.Limits)
	}
	return v, nil
}

func checkLimits(l *evidence.Limits) error {
	for _, c := range []struct {
		name string
		n    int64
		most int64
	}{
		{"bundle_bytes", l.BundleBytes, 0},
		{"memory_bytes", l.MemoryBytes, 0},
		{"predicate_bytes", l.PredicateBytes, 0},
		{"projection_entries", int64(l.ProjectionEntries), 0},
		{"projection_bytes", l.ProjectionBytes, 0},
		{"json_depth", int64(l.JSONDepth), 0},
		{"statement_subjects", int64(l.StatementSubjects), 1024},
		{"log_entries", int64(l.LogEntries), mostBySigstore},
		{"timestamps", int64(l.Timestamps), mostBySigstore},
		{"chain_certificates", int64(l.ChainCertificates), 0},
		{"candidate_keys", int64(l.CandidateKeys), 0},
	} {
		switch {
		case c.n <= 0:
			return fmt.Errorf("limit %s is %d: it must be positive", c.name, c.n)
		case c.most > 0 && c.n > c.most:
			return fmt.Errorf("limit %s is %d: more than %d cannot be verified", c.name, c.n, c.most)
		}
	}
	return nil
}

// Image verifies the evidence that was found for an image: for its own digest and
// those of its platforms. keys are the public keys in scope for the image, nil for
// none; they are tried for every item that a bare key signed. The error is that
// of ctx, or says that a file with evidence could not be read: then nothing is known of
// it, see [evidence.ErrSpoolRead].
func (v *Verifier) Image(ctx context.Context, s facts.Subject, items []evidence.Item, keys Keys) (facts.Facts, error) {
	v = v.covering(s.Name())
	known := map[string]*target{}
	for _, d := range append([]string{s.Digest}, platformDigests(s)...) {
		if t, ok := imageTarget(d); ok {
			known[d] = t
		}
	}
	return v.all(ctx, s, items, keys, func(e *evidence.Item) (*target, *rejection) {
		if t := known[e.SubjectDigest]; t != nil {
			return t, nil
		}
		return nil, reject(facts.CodeSubjectMismatch, "attached to %s, which is neither the image nor one of its platforms", short(e.SubjectDigest))
	})
}

// covering is the same verifier with the roots that may vouch for an image alone.
func (v *Verifier) covering(name string) *Verifier {
	roots := make([]*trust.Root, 0, len(v.roots))
	for _, r := range v.roots {
		if r.Covers(name) {
			roots = append(roots, r)
		}
	}
	if len(roots) == len(v.roots) {
		return v
	}
	c := *v
	c.roots = roots
	return &c
}

func platformDigests(s facts.Subject) []string {
	out := make([]string, len(s.Platforms))
	for i, p := range s.Platforms {
		out[i] = p.Digest
	}
	return out
}

// all verifies items in parallel and collects the facts.
func (v *Verifier) all(ctx context.Context, s facts.Subject, items []evidence.Item, keys Keys, about func(*evidence.Item) (*target, *rejection)) (facts.Facts, error) {
	if err := ctx.Err(); err != nil {
		return facts.Facts{}, err
	}
	items = distinct(items)
	scope := v.keySet(keys)
	outcomes := make([]outcome, len(items))
	one := func(ctx context.Context, i int) error {
		if items[i].Large != nil {
			if err := v.giants.Acquire(ctx, 1); err != nil {
				return err
			}
			defer v.giants.Release(1)
		}
		weight := v.weight(&items[i])
		if err := v.room.Acquire(ctx, weight); err != nil {
			return err
		}
		defer v.room.Release(weight)
		var err error
		outcomes[i], err = v.guarded(ctx, &items[i], scope, about)
		return err
	}
	if err := parallel(ctx, len(items), one); err != nil {
		return facts.Facts{}, err
	}
	p := facts.Proven{Subject: s}
	for _, o := range outcomes {
		switch {
		case o.signature != nil:
			p.Signatures = append(p.Signatures, *o.signature)
		case o.attestation != nil:
			p.Attestations = append(p.Attestations, *o.attestation)
		default:
			p.Rejections = append(p.Rejections, o.rejection)
		}
	}
	return facts.New(p)
}

// parallel runs f for 0 to n-1 on as many goroutines as there are processors.
func parallel(ctx context.Context, n int, f func(context.Context, int) error) error {
	if n == 1 {
		return f(ctx, 0)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range n {
		g.Go(func() error { return f(ctx, i) })
	}
	return g.Wait()
}

// Memory that an item may take while it is verified, as a multiple of its size:
// the bytes, their decoding, the payload, its base64 and its hash input.
const (
	memoryFactor = 6
	memoryLeast  = 64 << 10
	// memoryOfLarge is for an item in a file, which is read piece by piece: what is
	// kept of it, and garbage.
	memoryOfLarge = 64 << 20
)

func (v *Verifier) weight(e *evidence.Item) int64 {
	if e.Large != nil {
		return min(memoryOfLarge, v.limits.MemoryBytes)
	}
	return min(max(memoryFactor*int64(len(e.Bytes)), memoryLeast), v.limits.MemoryBytes)
}

// distinct names every item by what it is, and drops those that are there twice
// for the same digest: the referrers API and a tag may both lead to one. The kind
// counts, so that the same bytes under a type that says nothing hide no bundle.
func distinct(items []evidence.Item) []evidence.Item {
	out := make([]evidence.Item, 0, len(items))
	type place struct {
		kind        evidence.Kind
		subject, id string
	}
	have := map[place]bool{}
	for _, e := range items {
		if e.Broken == nil {
			// What carries no signature is not fetched: its name is where it was
			// listed, and its bytes say nothing.
			if e.Kind != evidence.KindUnsigned || e.Size() > 0 {
				e.ID = e.Identity()
			}
			at := place{e.Kind, e.SubjectDigest, e.ID}
			if have[at] {
				continue
			}
			have[at] = true
		}
		out = append(out, e)
	}
	return out
}

func inScope(keys []crypto.PublicKey) []*candidate {
	out := make([]*candidate, 0, len(keys))
	have := map[string]bool{}
	for _, k := range keys {
		c, err := newCandidate(k)
		if err != nil || have[c.fingerprint] {
			continue // a key that cannot verify anything verifies nothing
		}
		have[c.fingerprint] = true
		out = append(out, c)
	}
	return out
}

// outcome is what one item proves: exactly one of these.
type outcome struct {
	signature   *facts.Signature
	attestation *facts.Attestation
	rejection   facts.Rejection
}

// guarded verifies one item; a panic on the way is a rejection.
func (v *Verifier) guarded(ctx context.Context, e *evidence.Item, scope keySet, about func(*evidence.Item) (*target, *rejection)) (o outcome, err error) {
	defer func() {
		if r := recover(); r != nil {
			v.onPanic(Panic{Value: r, Stack: debug.Stack(), Item: e.ID})
			rej := reject(facts.CodePanic, "reading this evidence made the verifier panic, which is a defect in it: please report it")
			o, err = outcome{rejection: rej.fact(e)}, nil
		}
	}()
	if err := ctx.Err(); err != nil {
		return outcome{}, err
	}
	if e.Broken != nil {
		return outcome{rejection: reject(e.Broken.Code, "%s", e.Broken.Message).fact(e)}, nil
	}
	defer func() {
		if unread := e.Unread(); unread != nil && err == nil {
			o, err = outcome{}, unread
		}
	}()
	t, rej := about(e)
	if rej != nil {
		return outcome{rejection: rej.fact(e)}, nil
	}
	p, rej := v.read(e, t)
	if rej != nil {
		return outcome{rejection: rej.fact(e)}, nil
	}
	proof, by, rej, err := v.verify(ctx, e, p, t, scope)
	if err != nil {
		return outcome{}, err
	}
	if rej != nil {
		return outcome{rejection: rej.fact(e)}, nil
	}
	s := p.signature(e, t, proof, by.Name())
	if p.isSignature() {
		return outcome{signature: &s}, nil
	}
	a := v.attestation(p, s)
	return outcome{attestation: &a}, nil
}

// verify tries the roots, and for a key-signed item the keys, until one verifies.
// Otherwise it gives the rejection of the attempt that came furthest.
func (v *Verifier) verify(ctx context.Context, e *evidence.Item, p *item, t *target, scope keySet) (*proof, *trust.Root, *rejection, error) {
	if p.leaf != nil {
		if len(v.roots) == 0 {
			return nil, nil, reject(facts.CodeCertificateUntrusted, "no trust root may vouch for evidence of this image").at(stepStranger), nil
		}
		return v.tryRoots(ctx, v.roots, nil, func(r *trust.Root) (*proof, *rejection) {
			return v.remembered(e, t, r, "", func() (*proof, *rejection) { return v.attempt(p, t, r).certificate() })
		})
	}
	named := v.named(p, scope)
	roots := v.keyRoots(p)
	proof, by, rej, err := v.tryKeys(ctx, e, p, t, roots, named)
	if err != nil || proof != nil || furtherThanKeys(rej) {
		return proof, by, rej, err
	}
	others, ok := v.others(named, scope)
	if !ok {
		return nil, nil, reject(facts.CodeTooManyCandidateKeys, "signed with a key that the evidence does not name, and more keys are in scope than the limit candidate_keys of %d", v.limits.CandidateKeys), nil
	}
	proof, by, last, err := v.tryKeys(ctx, e, p, t, roots, others)
	if err != nil || proof != nil || furtherThanKeys(last) {
		return proof, by, last, err
	}
	return nil, nil, noMatch(p, len(named)+len(others), rej, last), nil
}

// furtherThanKeys says whether a key made the signature, and something else was
// wrong.
func furtherThanKeys(rej *rejection) bool { return rej != nil && rej.Step > stepStranger }

func noMatch(p *item, tried int, rejs ...*rejection) *rejection {
	for _, r := range rejs {
		if r != nil && r.Code == facts.CodeArtifactNeeded {
			return r
		}
	}
	which := ""
	if p.hint != "" {
		which = " (hint " + short(p.hint) + ")"
	}
	if tried == 0 {
		return reject(facts.CodeNoMatchingKey, "signed with a key%s, and no key is known to verify it with", which)
	}
	return reject(facts.CodeNoMatchingKey, "signed with a key%s that is none of the %d tried, or not over this content", which, tried)
}

func (v *Verifier) tryKeys(ctx context.Context, e *evidence.Item, p *item, t *target, roots []*trust.Root, keys []*candidate) (*proof, *trust.Root, *rejection, error) {
	var best *rejection
	for _, k := range keys {
		proof, by, rej, err := v.tryRoots(ctx, roots, best, func(r *trust.Root) (*proof, *rejection) {
			return v.remembered(e, t, r, k.fingerprint, func() (*proof, *rejection) { return v.attempt(p, t, r).key(k) })
		})
		if err != nil || proof != nil {
			return proof, by, nil, err
		}
		best = rej
	}
	return nil, nil, best, nil
}

func (v *Verifier) tryRoots(ctx context.Context, roots []*trust.Root, best *rejection, try func(*trust.Root) (*proof, *rejection)) (*proof, *trust.Root, *rejection, error) {
	for _, r := range roots {
		if err := ctx.Err(); err != nil {
			return nil, nil, nil, err
		}
		proof, rej := try(r)
		if rej == nil {
			return proof, r, nil, nil
		}
		if best == nil || rej.Step > best.Step {
			best = rej
		}
	}
	return nil, nil, best, nil
}
