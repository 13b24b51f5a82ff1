package registry

import (
	"context"
	"errors"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
)

// open gives the repository of a reference. The caller closes it.
func (c *Client) open(r Reference) (source, func(), error) {
	if r.Layout != "" {
		l, err := openLayout(r.Layout, c.cfg.Limits)
		if err != nil {
			return nil, nil, err
		}
		return l, l.close, nil
	}
	return c.repository(r), func() {}, nil
}

// Resolve finds the digest that q.Image names now, with one request: everything
// after speaks of that digest (threat 30). The manifest's bytes are hashed here,
// and must be what was asked for, what the registry says they are, and readable
// in one way only. For an index, the subject lists its platforms.
//
// With q.EvidenceOnly a digest must be given; a manifest that is not there, or
// not to be had with our credentials, leaves MediaType empty.
//
// Errors are [*evidence.Problem]. The time is bounded by ctx and by the limit
// search_timeout.
func (c *Client) Resolve(ctx context.Context, q evidence.Query) (facts.Subject, error) {
	ref, err := c.check(q)
	if err != nil {
		return facts.Subject{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Limits.SearchTimeout)
	defer cancel()
	src, done, err := c.open(ref)
	if err != nil {
		return facts.Subject{}, err
	}
	defer done()
	s := facts.Subject{Registry: ref.Registry, Repository: ref.Repository, Digest: ref.Digest, Platforms: []facts.Platform{}}
	if ref.Tag != "" {
		s.Tag = &ref.Tag
	}
	want := ref.Digest
	if want == "" {
		want = ref.Tag
	}
	if l, ok := src.(*layout); ok && want == "" {
		if want, err = l.choose(); err != nil {
			return facts.Subject{}, err
		}
	}
	where := at(src.name(), want)
	m, err := src.manifest(ctx, want)
	if err != nil {
		if q.EvidenceOnly && unavailableToUs(err) {
			return s, nil
		}
		return facts.Subject{}, resolveProblem(where, err)
	}
	if err := c.describe(&s, m); err != nil {
		return facts.Subject{}, resolveProblem(where, err)
	}
	if _, err := choose(s, q); err != nil {
		return facts.Subject{}, err
	}
	return s, nil
}

// Manifest gives the manifest of an image by its digest, as it was pushed, and its
// media type. Errors are [*evidence.Problem].
func (c *Client) Manifest(ctx context.Context, image, digest string) (body []byte, mediaType string, err error) {
	ref, err := c.check(evidence.Query{Image: image})
	if err != nil {
		return nil, "", err
	}
	src, done, err := c.open(ref)
	if err != nil {
		return nil, "", err
	}
	defer done()
	m, err := src.manifest(ctx, digest)
	if err != nil {
		return nil, "", resolveProblem(at(src.name(), digest), err)
	}
	return m.body, m.mediaType, nil
}

// check parses the image of a query and says whether it may be asked for.
func (c *Client) check(q evidence.Query) (Reference, error) {
	ref, err := ParseReference(q.Image, c.cfg.AllowLayouts)
	if err != nil {
		return Reference{}, err
	}
	if err := c.permitted(ref); err != nil {
		return Reference{}, err
	}
	if q.EvidenceOnly && ref.Digest == "" {
		p := problem(evidence.CodeInvalidReference, ref.String(), "evidence only needs a digest (name@sha256:…): there may be no manifest to resolve a tag to")
		p.Err = ErrReference
		return Reference{}, p
	}
	return ref, nil
}

// describe fills in what the manifest says.
func (c *Client) describe(s *facts.Subject, m content) error {
	lim := c.cfg.Limits
	parsed, err := parseManifest(m.body, m.mediaType, lim.JSONDepth)
	if err != nil {
		return err
	}
	if parsed.SchemaVersion != 2 {
		return ambiguous("schemaVersion is %d, not 2", parsed.SchemaVersion)
	}
	s.Digest, s.MediaType = m.digest, parsed.MediaType
	if !parsed.index {
		return nil
	}
	ix, err := readIndex(parsed, lim)
	if err != nil {
		return err
	}
	c.indexes.put(m.digest, ix)
	s.Platforms = append(s.Platforms, ix.platforms...)
	return nil
}

// unavailableToUs says whether a manifest is absent or withheld.
func unavailableToUs(err error) bool {
	var p *evidence.Problem
	return errors.Is(err, errAbsent) || errors.As(err, &p) && p.Code == evidence.CodeUnauthorized
}

// resolveProblem gives the error of a subject's manifest its code.
func resolveProblem(where string, err error) error {
	var p *evidence.Problem
	if errors.As(err, &p) {
		return p
	}
	p = &evidence.Problem{Code: evidence.CodeUnavailable, Where: where, Message: err.Error(), Err: err}
	var b *brokenError
	switch {
	case errors.Is(err, errAbsent):
		p.Code, p.Message = evidence.CodeImageNotFound, "there is no such image"
	case errors.Is(err, errSchema1), errors.Is(err, errType):
		p.Code = evidence.CodeManifestUnsupported
	case errors.Is(err, errAmbiguous):
		p.Code = evidence.CodeManifestAmbiguous
	case errors.Is(err, errTooMany):
		p.Code, p.Message = evidence.CodeEvidenceTooLarge, "the index has "+err.Error()+" (limit platforms)"
	case errors.As(err, &b):
		p.Code = map[string]string{
			facts.CodeContentMismatch: evidence.CodeDigestMismatch,
			facts.CodeTooLarge:        evidence.CodeEvidenceTooLarge,
			facts.CodeNotFound:        evidence.CodeImageNotFound,
		}[b.code]
		if p.Code == "" {
			p.Code = evidence.CodeManifestAmbiguous
		}
	}
	return p
}
