package registry

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// source is one repository: in a registry or in a layout. Errors are errAbsent,
// errUnsupported (of the referrers API), errSchema1, *brokenError (this content,
// for good) and *evidence.Problem (a retry may help, or a refusal).
type source interface {
	// name is for people: "ghcr.io/org/app", "oci-layout:PATH".
	name() string
	// manifest fetches by tag or digest. The bytes hash to what was asked for.
	manifest(ctx context.Context, ref string) (content, error)
	// attached fetches the manifest that cosign tags with the subject's digest
	// and a suffix ("sig", "att"), or with "" the fallback tag.
	attached(ctx context.Context, subject, suffix string) (content, error)
	// blob fetches a layer of the declared size, which is at most limit.
	blob(ctx context.Context, d descriptor, limit int64) (blob, error)
	// referrers lists the manifests that refer to subject. A list may come with
	// an error: it is then not all of it. Entries that cannot be read go to bad.
	referrers(ctx context.Context, subject string, bad func(json.RawMessage, error)) ([]descriptor, error)
}

// content is a manifest as it was sent.
type content struct {
	body []byte
	// mediaType is what was declared, in lower case without parameters; "" for
	// nothing.
	mediaType string
	digest    string
}

// cosignTag is the tag of cosign's scheme for a digest: "sha256-<hex>", which is
// also the fallback tag of the referrers API (distribution-spec, "Referrers Tag
// Schema"), and with a suffix cosign's own.
func cosignTag(digest, suffix string) string {
	tag := strings.Replace(digest, ":", "-", 1)
	if suffix != "" {
		tag += "." + suffix
	}
	return tag
}

// remote is a repository in a registry.
type remote struct {
	c *Client
	session
	// once is for mirrors: there is another place to ask, so nothing is waited for.
	once bool
}

func (r *remote) request(kind, ref string) request {
	u, err := url.Parse(r.base + "/v2/" + r.repo + "/" + kind + "/" + ref)
	if err != nil { // a host, path and tag that passed our grammar make a URL
		u = &url.URL{Scheme: "https", Host: "invalid.invalid"}
	}
	return request{session: r.session, url: u, where: r.at(ref), elsewhere: true, once: r.once}
}

// at names a tag or digest of this repository.
func (r *remote) at(ref string) string { return at(r.name(), ref) }

func at(name, ref string) string {
	if isDigest(ref) {
		return name + "@" + ref
	}
	return name + ":" + ref
}

func (r *remote) manifest(ctx context.Context, ref string) (content, error) {
	rq := r.request("manifests", ref)
	rq.accept, rq.max = acceptManifests, r.c.cfg.Limits.ManifestBytes
	rp, err := r.c.fetch(ctx, rq)
	if err == nil {
		err = r.c.statusError(rq, rp)
	}
	if err != nil {
		return content{}, err
	}
	m := content{body: rp.body, mediaType: rp.mediaType(), digest: facts.Digest(rp.body)}
	switch m.mediaType {
	case mediaTypeManifest, mediaTypeIndex, mediaTypeDockerManifest, mediaTypeDockerList:
	default:
		if strings.HasPrefix(m.mediaType, mediaTypeSchema1) {
			return content{}, errSchema1
		}
		if !bytes.HasPrefix(bytes.TrimSpace(rp.body), []byte("{")) {
			return content{}, problem(evidence.CodeUnavailable, rq.where, "answered with %q where a manifest should be", clip(m.mediaType, 60))
		}
	}
	return m, checkDigest(m, ref, rp.header.Values("Docker-Content-Digest"))
}

// checkDigest compares what was received with what was asked for, and with what
// the registry says that it sent (threat 31).
func checkDigest(m content, ref string, declared []string) error {
	if isDigest(ref) && ref != m.digest {
		return broken(facts.CodeContentMismatch, "the bytes received have the digest %s", m.digest)
	}
	for _, d := range declared {
		have := m.digest
		if strings.HasPrefix(d, "sha512:") {
			sum := sha512.Sum512(m.body)
			have = "sha512:" + hex.EncodeToString(sum[:])
		}
		if d != have {
			return broken(facts.CodeContentMismatch, "the registry calls it %s, and the bytes received have the digest %s", clip(d, 150), have)
		}
	}
	return nil
}

func (r *remote) attached(ctx context.Context, subject, suffix string) (content, error) {
	return r.manifest(ctx, cosignTag(subject, suffix))
}

func (r *remote) blob(ctx context.Context, d descriptor, limit int64) (blob, error) {
	rq := r.request("blobs", d.Digest)
	rq.max, rq.elsewhere, rq.spool = min(d.Size, limit), true, d.Size >= evidence.SpooledFrom
	rp, err := r.c.fetch(ctx, rq)
	if err == nil {
		err = r.c.statusError(rq, rp)
	}
	if err != nil {
		var b *brokenError
		if errors.As(err, &b) && b.code == facts.CodeTooLarge {
			return blob{}, broken(facts.CodeContentMismatch, "longer than the %d bytes that the manifest declares", d.Size)
		}
		return blob{}, err
	}
	got := blob{rp.body, rp.large}
	return got, checkBlob(got, d)
}

// checkBlob compares received bytes with their descriptor.
func checkBlob(b blob, d descriptor) error {
	if b.size() != d.Size {
		b.close()
		return broken(facts.CodeContentMismatch, "%d bytes long, and the manifest declares %d", b.size(), d.Size)
	}
	if have := b.digest(); have != d.Digest {
		b.close()
		return broken(facts.CodeContentMismatch, "the bytes received have the digest %s", have)
	}
	return nil
}

// referrersPage is the answer of the referrers API: an image index. What type it
// says it has does not matter, its shape does (threat 36).
type referrersPage struct {
	Manifests json.RawMessage `json:"manifests"`
}

// referrers reads all pages (distribution-spec, "Listing Referrers").
func (r *remote) referrers(ctx context.Context, subject string, bad func(json.RawMessage, error)) ([]descriptor, error) {
	lim := r.c.cfg.Limits
	rq := r.request("referrers", subject)
	rq.accept, rq.max, rq.where = mediaTypeIndex, lim.ManifestBytes, rq.where+" (referrers)"
	var all []descriptor
	for page := 1; ; page++ {
		if page > lim.ReferrerPages {
			return all, problem(evidence.CodeEvidenceTooLarge, rq.where, "more than %d pages (limit referrer_pages)", lim.ReferrerPages)
		}
		rp, err := r.c.fetch(ctx, rq)
		if err != nil {
			return all, pageError(rq, err)
		}
		if page == 1 && hasNoReferrersAPI(rp.status) {
			return nil, errUnsupported
		}
		if err := r.c.statusError(rq, rp); err != nil {
			return all, pageError(rq, err)
		}
		var p referrersPage
		if err := strictjson.DecodeKnown(rp.body, lim.JSONDepth, &p); err != nil || p.Manifests == nil {
			return all, problem(evidence.CodeUnavailable, rq.where, "the answer (%q) is not a list of referrers", clip(rp.mediaType(), 60))
		}
		entries, err := descriptors(p.Manifests, lim.Referrers-len(all), lim.JSONDepth, bad)
		all = append(all, entries...)
		if err != nil {
			return all, listError(rq.where, err, lim)
		}
		next := nextLink(rp.header.Values("Link"))
		if next == "" {
			return all, nil
		}
		u, err := rq.url.Parse(next)
		if err != nil || !sameOrigin(rq.url, u) || u.User != nil {
			return all, problem(evidence.CodeRedirectRefused, rq.where, "the next page is on another host, which is not followed")
		}
		if u.Fragment = ""; u.String() == rq.url.String() {
			return all, problem(evidence.CodeUnavailable, rq.where, "the next page is the page itself")
		}
		rq.url = u
	}
}

// hasNoReferrersAPI lists the answers of registries without a referrers API.
func hasNoReferrersAPI(status int) bool {
	switch status {
	case http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusNotImplemented:
		return true
	}
	return false
}

// pageError makes a problem of whatever keeps us from reading a page: a listing
// is not evidence, so there is nothing to reject.
func pageError(rq request, err error) error {
	var p *evidence.Problem
	if errors.As(err, &p) {
		return err
	}
	var b *brokenError
	if errors.As(err, &b) && b.code == facts.CodeTooLarge {
		return problem(evidence.CodeEvidenceTooLarge, rq.where, "a page has %s (limit manifest_bytes)", err)
	}
	return problem(evidence.CodeUnavailable, rq.where, "a page cannot be read: %s", err)
}

// listError says why a list of referrers could not be read to its end.
func listError(where string, err error, lim evidence.Limits) error {
	if errors.Is(err, errTooMany) {
		return problem(evidence.CodeEvidenceTooLarge, where, "more than %d referrers (limit referrers)", lim.Referrers)
	}
	return problem(evidence.CodeUnavailable, where, "the list of referrers cannot be read: %s", err)
}
