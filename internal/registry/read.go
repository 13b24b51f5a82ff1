package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
)

// origin is where a manifest of evidence was found, and what it should carry.
type origin struct {
	// subject is the digest that it was found for, where the place for people.
	subject, where string
	// kind is what it claims to carry; claims is false where it claims nothing.
	kind   evidence.Kind
	claims bool
	// tag marks the manifest of one of cosign's tags, which need name no subject.
	tag bool
	// lent: see lead.
	lent bool
}

// readReferrers reads the manifests that were listed, each once: first the
// registry's own, then what only mirrors list, for half of the time that is left.
func (s *search) readReferrers(ctx context.Context) {
	var own, lent []string
	for _, digest := range slices.Sorted(maps.Keys(s.listed)) {
		if slices.ContainsFunc(s.listed[digest], func(l lead) bool { return !l.lent }) {
			own = append(own, digest)
		} else {
			lent = append(lent, digest)
		}
	}
	s.readManifests(ctx, own)
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	s.readManifests(ctx, lent)
}

func (s *search) readManifests(ctx context.Context, digests []string) {
	s.parallel(len(digests), func(i int) {
		digest := digests[i]
		c, err := s.src.manifest(ctx, digest)
		for _, l := range s.listed[digest] {
			o := origin{subject: l.subject, where: digest + " (referrer of " + l.subject + ")", kind: evidence.KindUnsigned, lent: l.lent}
			if kind, claims := claimedKind(l.artifactType); claims {
				o.kind, o.claims = kind, true
			}
			s.readReferrer(o, digest, l.size, c, err)
		}
	})
}

func (s *search) readReferrer(o origin, digest string, size int64, c content, err error) {
	if err == nil && int64(len(c.body)) != size {
		err = broken(facts.CodeContentMismatch, "%d bytes long, and listed with %d", len(c.body), size)
	}
	var b *brokenError
	switch {
	case err == nil:
		s.readManifest(c, o)
	case errors.Is(err, errAbsent), errors.Is(err, errSchema1), errors.As(err, &b):
		s.reject(o, digest, brokenCode(err), err)
	case !o.lent:
		s.problem(err)
	}
}

// readManifest looks at every layer of a manifest: what it carries is told by the
// types of its layers, whatever its artifact type says.
func (s *search) readManifest(c content, o origin) {
	m, err := parseManifest(c.body, c.mediaType, s.lim.JSONDepth)
	if err != nil {
		s.reject(o, c.digest, brokenCode(err), err)
		return
	}
	if kind, claims := claimedKind(m.artifactType(s.lim.JSONDepth)); claims && !o.tag {
		o.kind, o.claims = kind, true
	}
	if m.index {
		if o.claims || o.tag {
			s.reject(o, c.digest, facts.CodeUnsupported, errors.New("it is an index, and evidence is in image manifests"))
		}
		return
	}
	of, err := m.subject(s.lim.JSONDepth)
	if err != nil {
		s.reject(o, c.digest, facts.CodeMalformed, err)
		return
	}
	if of != o.subject && (of != "" || !o.tag) {
		s.reject(o, c.digest, facts.CodeContentMismatch, fmt.Errorf("its subject is %q, and it was found for %s", clip(of, 100), o.subject))
		return
	}
	s.readLayers(m, c.digest, o)
}

func (s *search) readLayers(m manifest, digest string, o origin) {
	reported := false
	layers, err := descriptors(m.Layers, s.lim.Layers, s.lim.JSONDepth, func(entry json.RawMessage, err error) {
		s.reject(o, facts.Digest(entry), facts.CodeMalformed, fmt.Errorf("a layer that cannot be read: %w", err))
		reported = true
	})
	if errors.Is(err, errTooMany) {
		s.tooMuch(o.lent, problem(evidence.CodeEvidenceTooLarge, o.where, "more than %d layers (limit layers)", s.lim.Layers))
	} else if err != nil {
		s.reject(o, digest, facts.CodeMalformed, err)
		return
	}
	for i, d := range layers {
		p := pending{Item: evidence.Item{
			MediaType: clip(d.MediaType, 200), SubjectDigest: o.subject, Where: o.where,
			Annotations: d.Annotations, ID: d.Digest,
		}, layer: d, order: i, lent: o.lent}
		if len(layers) > 1 {
			p.Where = fmt.Sprintf("%s layer %d", o.where, i+1)
		}
		kind, ok := layerKind(d.MediaType)
		switch {
		case ok:
			p.Kind = kind
		case o.tag:
			p.Kind, p.Broken = o.kind, &evidence.Broken{Code: facts.CodeUnsupported, Message: fmt.Sprintf("a layer of type %q is no cosign evidence", p.MediaType)}
		default:
			continue
		}
		reported = true
		s.add(p)
	}
	switch {
	case reported || !o.claims && !o.tag:
	case o.kind == evidence.KindUnsigned:
		s.add(pending{Item: evidence.Item{
			Kind: evidence.KindUnsigned, MediaType: clip(m.artifactType(s.lim.JSONDepth), 200),
			SubjectDigest: o.subject, Where: o.where, ID: digest,
		}, lent: o.lent})
	default:
		s.reject(o, digest, facts.CodeMalformed, errors.New("it should carry a signature, and none of its layers is one"))
	}
}

// reject reports a manifest or layer that proves nothing. Without a digest its id
// is that of the place where it was found.
func (s *search) reject(o origin, digest, code string, err error) {
	if digest == "" {
		digest = facts.Digest([]byte(o.where))
	}
	message := err.Error()
	if errors.Is(err, errAbsent) {
		message = "listed, and not there"
	}
	s.add(pending{Item: evidence.Item{
		Kind: o.kind, SubjectDigest: o.subject, Where: o.where, ID: digest,
		Broken: &evidence.Broken{Code: code, Message: clip(message, 400)},
	}, lent: o.lent})
}

// tooMuch is a limit that was hit: by what a mirror added, it is no problem.
func (s *search) tooMuch(lent bool, err error) {
	if !lent {
		s.problem(err)
	}
}

func brokenCode(err error) string {
	var b *brokenError
	switch {
	case errors.As(err, &b):
		return b.code
	case errors.Is(err, errAbsent):
		return facts.CodeNotFound
	case errors.Is(err, errSchema1), errors.Is(err, errType):
		return facts.CodeUnsupported
	}
	return facts.CodeMalformed
}

// inIndex reports BuildKit's attestation manifests: they are in the index and
// carry no signature, so they are not fetched (threat 10).
func (s *search) inIndex(ctx context.Context, c *Client, image Reference, subject facts.Subject) {
	ix, ok := c.indexes.get(subject.Digest)
	if !ok {
		var err error
		if ix, err = c.refetchIndex(ctx, image, subject); err != nil {
			s.problem(resolveProblem(subject.Pinned(), err))
			return
		}
	}
	for _, d := range ix.attestations {
		of := clip(d.Annotations[annotationReferenceDigest], 100)
		s.add(pending{Item: evidence.Item{
			Kind: evidence.KindUnsigned, MediaType: clip(d.MediaType, 200), SubjectDigest: subject.Digest, ID: d.Digest,
			Where: fmt.Sprintf("%s (attestation manifest for %s in the index)", d.Digest, of),
		}})
	}
}

func (c *Client) refetchIndex(ctx context.Context, image Reference, subject facts.Subject) (index, error) {
	src, done, err := c.open(image)
	if err != nil {
		return index{}, err
	}
	defer done()
	m, err := src.manifest(ctx, subject.Digest)
	if err != nil {
		return index{}, err
	}
	if err := c.describe(&facts.Subject{}, m); err != nil {
		return index{}, err
	}
	ix, _ := c.indexes.get(subject.Digest)
	return ix, nil
}

// missingCredentials keeps "nothing found" from being believed where evidence is
// kept in another repository, which may only be hiding from us because the
// keychain could not be read.
func (c *Client) missingCredentials(s *search, image, at Reference) {
	r := authority(s.src)
	if r == nil || len(s.items) > 0 || image.Name() == at.Name() {
		return
	}
	if hint := c.credentialHint(r.session); hint != "" {
		s.problem(problem(evidence.CodeUnauthorized, r.name(), "no evidence is visible there without credentials; %s", hint))
	}
}
