package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
)

const (
	// mediaTypeEmpty is the type of a configuration that says nothing
	// (image-spec, "Guidance for an Empty Descriptor").
	mediaTypeEmpty = "application/vnd.oci.empty.v1+json"
	// The annotations that cosign gives to the manifest of a bundle, which others
	// choose by before they fetch it.
	annotationContent   = "dev.sigstore.bundle.content"
	annotationPredicate = "dev.sigstore.bundle.predicateType"
	annotationCreated   = "org.opencontainers.image.created"
)

// Attachment is a Sigstore bundle that holds an attestation.
type Attachment struct {
	MediaType     string
	Bundle        []byte
	PredicateType string
	CreatedAt     time.Time
}

// attached is what is written: an image manifest that refers to its subject.
type (
	attachedManifest struct {
		SchemaVersion int                  `json:"schemaVersion"`
		MediaType     string               `json:"mediaType"`
		ArtifactType  string               `json:"artifactType"`
		Config        attachedDescriptor   `json:"config"`
		Layers        []attachedDescriptor `json:"layers"`
		Subject       attachedDescriptor   `json:"subject"`
		Annotations   map[string]string    `json:"annotations"`
	}
	attachedDescriptor struct {
		MediaType    string            `json:"mediaType"`
		Digest       string            `json:"digest"`
		Size         int64             `json:"size"`
		ArtifactType string            `json:"artifactType,omitempty"`
		Annotations  map[string]string `json:"annotations,omitempty"`
	}
)

// errReadOnly says that the client is not made for writing.
var errReadOnly = errors.New("this client only reads")

// Attach puts a bundle beside an image, which is given by its digest, as a referrer
// in the form that cosign writes: into the repository where the image's evidence is
// looked for. Where the registry has no referrers API the fallback tag is kept too.
// It returns name@digest of what it put there. Errors are [*evidence.Problem], apart
// from that of a client that only reads.
func (c *Client) Attach(ctx context.Context, image string, a Attachment) (where string, err error) {
	if !c.cfg.Writes {
		return "", errReadOnly
	}
	ref, err := c.check(evidence.Query{Image: image})
	if err != nil {
		return "", err
	}
	if ref.Digest == "" || ref.Layout != "" {
		return "", problem(evidence.CodeInvalidReference, image, "want an image in a registry, by its digest")
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Limits.SearchTimeout)
	defer cancel()
	subject, err := c.subjectOf(ctx, ref)
	if err != nil {
		return "", err
	}
	to := c.evidenceRepository(ref)
	r := &remote{c: c, session: session{c.endpoint(to.Registry), to.Repository}}
	empty := []byte("{}")
	for _, blob := range [][]byte{empty, a.Bundle} {
		if err := r.putBlob(ctx, blob); err != nil {
			return "", err
		}
	}
	m := attachedManifest{
		SchemaVersion: 2, MediaType: mediaTypeManifest, ArtifactType: a.MediaType,
		Config:  attachedDescriptor{MediaType: mediaTypeEmpty, Digest: facts.Digest(empty), Size: int64(len(empty)), ArtifactType: a.MediaType},
		Layers:  []attachedDescriptor{{MediaType: a.MediaType, Digest: facts.Digest(a.Bundle), Size: int64(len(a.Bundle))}},
		Subject: subject,
		Annotations: map[string]string{
			annotationContent: "dsse-envelope", annotationPredicate: a.PredicateType, annotationCreated: a.CreatedAt.UTC().Format(time.RFC3339),
		},
	}
	body, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encoding a manifest: %w", err)
	}
	listed, err := r.putManifest(ctx, facts.Digest(body), mediaTypeManifest, body)
	if err != nil {
		return "", err
	}
	own := attachedDescriptor{
		MediaType: mediaTypeManifest, Digest: facts.Digest(body), Size: int64(len(body)), ArtifactType: a.MediaType, Annotations: m.Annotations,
	}
	if !listed {
		if err := r.list(ctx, subject.Digest, own); err != nil {
			return "", err
		}
	}
	return to.Name() + "@" + own.Digest, nil
}

// subjectOf describes the image: a referrer names the size and type of its subject.
func (c *Client) subjectOf(ctx context.Context, ref Reference) (attachedDescriptor, error) {
	src := c.repository(ref)
	where := at(src.name(), ref.Digest)
	m, err := src.manifest(ctx, ref.Digest)
	if err != nil {
		return attachedDescriptor{}, resolveProblem(where, err)
	}
	parsed, err := parseManifest(m.body, m.mediaType, c.cfg.Limits.JSONDepth)
	if err != nil {
		return attachedDescriptor{}, resolveProblem(where, err)
	}
	return attachedDescriptor{MediaType: parsed.MediaType, Digest: m.digest, Size: int64(len(m.body))}, nil
}

// putBlob uploads a blob in one piece (distribution-spec, "POST then PUT").
func (r *remote) putBlob(ctx context.Context, blob []byte) error {
	start := r.request("blobs", "uploads/")
	start.method, start.where, start.elsewhere = http.MethodPost, r.name()+" (upload)", false
	rp, err := r.c.fetch(ctx, start)
	if err == nil {
		err = r.written(start, rp, http.StatusAccepted)
	}
	if err != nil {
		return err
	}
	u, err := follow(start, start.url, rp.header.Get("Location"))
	if err != nil {
		return err
	}
	query := u.Query()
	query.Set("digest", facts.Digest(blob))
	u.RawQuery = query.Encode()
	put := request{session: r.session, url: u, where: start.where, method: http.MethodPut, body: blob, contentType: "application/octet-stream", once: true}
	if rp, err = r.c.fetch(ctx, put); err != nil {
		return err
	}
	return r.written(put, rp, http.StatusCreated)
}

// putManifest says whether the registry lists it by itself under its subject.
func (r *remote) putManifest(ctx context.Context, ref, mediaType string, body []byte) (listed bool, err error) {
	put := r.request("manifests", ref)
	put.method, put.body, put.contentType, put.elsewhere = http.MethodPut, body, mediaType, false
	rp, err := r.c.fetch(ctx, put)
	if err == nil {
		err = r.written(put, rp, http.StatusCreated)
	}
	if err != nil {
		return false, err
	}
	// "the registry MUST … return OCI-Subject" where it processed the subject field.
	return rp.header.Get("OCI-Subject") != "", nil
}

// written makes an error of a status that does not say that it was written.
func (r *remote) written(rq request, rp reply, want int) error {
	if rp.status == want || rp.status == http.StatusOK || rp.status == http.StatusCreated {
		return nil
	}
	err := r.c.statusError(rq, rp)
	if errors.Is(err, errAbsent) {
		return problem(evidence.CodeUnauthorized, rq.where, "the registry answered %d; is there such a repository, and may it be written to?", rp.status)
	}
	return err
}

// list sees to it that the referrer is found: by the referrers API, or in the
// fallback tag, an index that clients keep themselves (distribution-spec, "Pushing
// Manifests with Subject"). Two who write it at once may lose one entry; the
// specification knows no remedy.
func (r *remote) list(ctx context.Context, subject string, own attachedDescriptor) error {
	list, err := r.referrers(ctx, subject, func(json.RawMessage, error) {})
	if err == nil && slices.ContainsFunc(list, func(d descriptor) bool { return d.Digest == own.Digest }) {
		return nil
	}
	if err != nil && !errors.Is(err, errUnsupported) {
		return err
	}
	index := map[string]json.RawMessage{"schemaVersion": json.RawMessage("2"), "mediaType": json.RawMessage(`"` + mediaTypeIndex + `"`)}
	var entries []json.RawMessage
	c, err := r.attached(ctx, subject, "")
	switch {
	case errors.Is(err, errAbsent):
	case err != nil:
		return resolveProblem(at(r.name(), cosignTag(subject, "")), err)
	default: // what others wrote there stays, to the letter
		var there struct {
			Manifests []json.RawMessage `json:"manifests"`
		}
		parsed, perr := parseManifest(c.body, c.mediaType, r.c.cfg.Limits.JSONDepth)
		if perr != nil || !parsed.index || json.Unmarshal(c.body, &index) != nil || json.Unmarshal(c.body, &there) != nil {
			return problem(evidence.CodeUnavailable, at(r.name(), cosignTag(subject, "")), "the fallback tag is no index of referrers, so nothing is added to it")
		}
		entries = there.Manifests
	}
	for _, e := range entries {
		if strings.Contains(string(e), own.Digest) {
			return nil
		}
	}
	if len(entries) >= r.c.cfg.Limits.Referrers {
		return problem(evidence.CodeEvidenceTooLarge, at(r.name(), cosignTag(subject, "")), "there are %d referrers already (limit referrers)", len(entries))
	}
	entry, err := json.Marshal(own)
	if err != nil {
		return fmt.Errorf("encoding a descriptor: %w", err)
	}
	if index["manifests"], err = json.Marshal(append(entries, entry)); err != nil {
		return fmt.Errorf("encoding the fallback tag: %w", err)
	}
	body, err := json.Marshal(index)
	if err != nil {
		return fmt.Errorf("encoding the fallback tag: %w", err)
	}
	_, err = r.putManifest(ctx, url.PathEscape(cosignTag(subject, "")), mediaTypeIndex, body)
	return err
}
