package distribution

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/signet-policy/signet/internal/strictjson"
)

// The media types of a bundle in a repository, as OPA's downloader reads it
// (openpolicyagent.org/docs/management-bundles, "OCI Registry").
const (
	manifestType    = "application/vnd.oci.image.manifest.v1+json"
	configType      = "application/vnd.oci.image.config.v1+json"
	emptyConfigType = "application/vnd.oci.empty.v1+json"
	layerType       = "application/vnd.oci.image.layer.v1.tar+gzip"
)

const (
	maxManifestBytes = 4 << 20
	maxManifestDepth = 16
)

// repository is an OCI repository.
type repository struct {
	cfg      Config
	ref      name.Reference
	location string
	options  []remote.Option
	wire     *wire

	mu sync.Mutex
	// puller remembers how the registry wants to be asked; nil when that must be
	// found out, with the credentials of then.
	puller *remote.Puller
}

func newRepository(cfg Config, u *url.URL) (Source, error) {
	ref, err := parseReference(cfg, u)
	if err != nil {
		return nil, err
	}
	w, err := newWire(cfg, schemeOCI, ref.Context().RegistryStr())
	if err != nil {
		return nil, err
	}
	return &repository{cfg: cfg, ref: ref, location: locationOf(schemeOCI, ref.Name()), options: remoteOptions(cfg, w), wire: w}, nil
}

func parseReference(cfg Config, u *url.URL) (name.Reference, error) {
	if u.RawQuery != "" {
		return nil, fmt.Errorf("%w: url: oci:// takes no query", ErrConfig)
	}
	opts := []name.Option{name.StrictValidation}
	if cfg.AllowHTTP {
		opts = append(opts, name.Insecure)
	}
	text := strings.TrimPrefix(cfg.URL, schemeOCI+"://")
	ref, err := name.ParseReference(text, opts...)
	if err != nil {
		return nil, fmt.Errorf("%w: url: write oci://HOST/REPOSITORY:TAG or oci://HOST/REPOSITORY@sha256:HEX: %w", ErrConfig, err)
	}
	if d, ok := ref.(name.Digest); ok && !strings.HasPrefix(d.DigestStr(), "sha256:") {
		return nil, fmt.Errorf("%w: url: the digest is not sha256", ErrConfig)
	}
	return ref, nil
}

func remoteOptions(cfg Config, w *wire) []remote.Option {
	opts := []remote.Option{
		remote.WithTransport(w), remote.WithUserAgent(cmp.Or(cfg.UserAgent, "signet")),
		// Whoever polls comes again; this is for a connection that was just closed.
		remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 3, Jitter: 0.1, Steps: 2}),
	}
	if cfg.BearerTokenFile != "" || cfg.Username != "" {
		return append(opts, remote.WithAuthFromKeychain(fixed{cfg}))
	}
	if cfg.Keychain != nil {
		return append(opts, remote.WithAuthFromKeychain(cfg.Keychain))
	}
	return append(opts, remote.WithAuthFromKeychain(authn.DefaultKeychain))
}

// fixed is a keychain with the one credential of the configuration.
type fixed struct{ cfg Config }

// Resolve reads the credential anew.
func (f fixed) Resolve(authn.Resource) (authn.Authenticator, error) {
	if f.cfg.BearerTokenFile != "" {
		token, err := readSecret(f.cfg.BearerTokenFile)
		return authn.FromConfig(authn.AuthConfig{RegistryToken: token}), err
	}
	password, err := readSecret(f.cfg.PasswordFile)
	return authn.FromConfig(authn.AuthConfig{Username: f.cfg.Username, Password: password}), err
}

// Fetch looks at a tag's manifest digest first: what has not changed costs that
// one request, and nothing at all where the reference is a digest.
func (r *repository) Fetch(ctx context.Context, since Validator) (Fetched, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	since = since.here(r.location)
	if r.ref.Identifier() == since.Manifest {
		return Fetched{}, ErrNotModified
	}
	f, err := r.fetch(ctx, since)
	if err != nil && !errors.Is(err, ErrNotModified) {
		r.mu.Lock()
		r.puller = nil // credentials may be other ones the next time
		r.mu.Unlock()
	}
	return f, err
}

func (r *repository) client() (*remote.Puller, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.puller != nil {
		return r.puller, nil
	}
	p, err := remote.NewPuller(r.options...)
	if err == nil {
		r.puller = p
	}
	return p, err
}

func (r *repository) fetch(ctx context.Context, since Validator) (Fetched, error) {
	place := schemeOCI + "://" + r.ref.Name()
	p, err := r.client()
	if err != nil {
		return Fetched{}, fmt.Errorf("%s: %w: %w", place, ErrUnavailable, err)
	}
	at := r.ref
	if _, tag := r.ref.(name.Tag); tag {
		head, err := p.Head(ctx, r.ref)
		if err != nil {
			return Fetched{}, ofRegistry(ctx, place, err)
		}
		digest := head.Digest.String()
		if digest == since.Manifest {
			return Fetched{}, ErrNotModified
		}
		if head.Digest.Algorithm != "sha256" {
			return Fetched{}, fmt.Errorf("%s: %w: the manifest's digest is not sha256", place, ErrInvalid)
		}
		// By digest, so that a tag that moves now brings no other manifest.
		at = r.ref.Context().Digest(digest)
	}
	got, err := p.Get(ctx, at)
	if err != nil {
		return Fetched{}, ofRegistry(ctx, place, err)
	}
	now := Validator{Location: r.location, Manifest: digestOf(got.Manifest)}
	if now.Manifest != at.Identifier() {
		return Fetched{}, fmt.Errorf("%s: %w: the manifest is not %s", place, ErrInvalid, at.Identifier())
	}
	layer, err := bundleLayer(got.Manifest, string(got.MediaType), r.cfg.MaxBytes)
	if err != nil {
		return Fetched{}, fmt.Errorf("%s: %w: %w", place, ErrInvalid, err)
	}
	if now.Digest = layer.Digest; since.Digest == layer.Digest {
		return answer(nil, since, now)
	}
	body, err := r.blob(ctx, p, layer)
	if err != nil {
		return Fetched{}, ofRegistry(ctx, place, err)
	}
	return answer(body, since, now)
}

// descriptor is one of OCI's (opencontainers/image-spec, descriptor.md).
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// manifest is an image manifest (opencontainers/image-spec, manifest.md).
type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
	// Manifests is an index's.
	Manifests []struct{} `json:"manifests,omitempty"`
}

// bundleLayer is the one layer of a manifest that has a bundle.
func bundleLayer(body []byte, contentType string, limit int64) (descriptor, error) {
	if len(body) > maxManifestBytes {
		return descriptor{}, fmt.Errorf("the manifest is larger than %d bytes", maxManifestBytes)
	}
	var m manifest
	if err := strictjson.DecodeKnown(body, maxManifestDepth, &m); err != nil {
		return descriptor{}, fmt.Errorf("the manifest: %w", err)
	}
	contentType, _, _ = strings.Cut(contentType, ";")
	switch kind := strings.TrimSpace(contentType); {
	case kind != manifestType || m.MediaType != "" && m.MediaType != kind:
		return descriptor{}, fmt.Errorf("is a %q (%q), not an OCI image manifest; push it with signet policy push, or oras", kind, m.MediaType)
	case m.SchemaVersion != 2 || len(m.Manifests) > 0:
		return descriptor{}, errors.New("the manifest is not of schema 2, or an index too")
	case m.Config.MediaType != configType && m.Config.MediaType != emptyConfigType:
		return descriptor{}, fmt.Errorf("the configuration is a %q, not %s or %s", m.Config.MediaType, configType, emptyConfigType)
	case len(m.Layers) != 1 || m.Layers[0].MediaType != layerType:
		return descriptor{}, fmt.Errorf("the manifest has %d layers; wanted is one, of the type %s", len(m.Layers), layerType)
	}
	layer := m.Layers[0]
	switch {
	case layer.Size < 1 || layer.Size > limit:
		return descriptor{}, fmt.Errorf("the layer has %d bytes; at most %d are read", layer.Size, limit)
	case !isSHA256(layer.Digest):
		return descriptor{}, errors.New("the layer's digest is not sha256")
	}
	return layer, nil
}

func isSHA256(s string) bool {
	digits, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(digits) == 64 && strings.Trim(digits, "0123456789abcdef") == ""
}

// blob reads a layer: all of it, no more, and what its digest says.
func (r *repository) blob(ctx context.Context, p *remote.Puller, layer descriptor) (body []byte, err error) {
	l, err := p.Layer(ctx, r.ref.Context().Digest(layer.Digest))
	if err != nil {
		return nil, err
	}
	rc, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	body, err = readAll(rc, layer.Size)
	switch {
	case err != nil:
		return nil, err
	case int64(len(body)) != layer.Size || digestOf(body) != layer.Digest:
		return nil, errMismatch
	}
	return body, nil
}

var errMismatch = errors.New("the layer is not what its digest and size say")

// ofRegistry is [explain] for go-containerregistry's errors.
func ofRegistry(ctx context.Context, place string, err error) error {
	var answered *transport.Error
	switch {
	case errors.Is(err, errMismatch):
		return fmt.Errorf("%s: %w: %w", place, ErrInvalid, err)
	case errors.As(err, &answered) && answered.StatusCode >= http.StatusBadRequest:
		return ofStatus(place, answered.StatusCode)
	}
	return explain(ctx, place, err)
}
