package distribution

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// pushTimeout bounds a push where the configuration does not.
const pushTimeout = 5 * time.Minute

// emptyConfig is the configuration of a manifest that has nothing to configure.
const emptyConfig = "{}"

// Pushed says what was written.
type Pushed struct {
	// Reference is the repository and tag, as the registry knows them.
	Reference string `json:"reference"`
	// Digest is of the manifest: what to name in a configuration that is to see no
	// other bundle.
	Digest string `json:"digest"`
	// Archive is of the layer, which is the archive.
	Archive string `json:"archive_digest"`
}

// Push writes an archive to the repository and tag of cfg.URL, as OPA's downloader
// reads it. The same archive and revision give the same manifest: there is no time
// in it. Errors are those of [Source], and [ErrConfig].
func Push(ctx context.Context, cfg Config, archive []byte, revision string) (Pushed, error) {
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, DefaultMaxBytes)
	u, err := parseURL(cfg)
	if err != nil {
		return Pushed{}, err
	}
	if u.Scheme != schemeOCI {
		return Pushed{}, fmt.Errorf("%w: url: %q is not oci; write oci://HOST/REPOSITORY:TAG", ErrConfig, u.Scheme)
	}
	ref, err := parseReference(cfg, u)
	if err != nil {
		return Pushed{}, err
	}
	w, err := newWire(cfg, schemeOCI, ref.Context().RegistryStr())
	if err != nil {
		return Pushed{}, err
	}
	tag, ok := ref.(name.Tag)
	switch {
	case !ok:
		return Pushed{}, fmt.Errorf("%w: url: names a digest, which is known after pushing; write oci://HOST/REPOSITORY:TAG", ErrConfig)
	case int64(len(archive)) > cfg.MaxBytes:
		return Pushed{}, fmt.Errorf("%w: %w", ErrInvalid, tooLarge(cfg.MaxBytes))
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(cfg.Timeout, pushTimeout))
	defer cancel()
	place := schemeOCI + "://" + tag.Name()
	raw, err := manifestOf(archive, revision, path.Base(tag.RepositoryStr()))
	if err != nil {
		return Pushed{}, err
	}
	pusher, err := remote.NewPusher(remoteOptions(cfg, w)...)
	if err != nil {
		return Pushed{}, fmt.Errorf("%s: %w: %w", place, ErrUnavailable, err)
	}
	for _, blob := range []struct {
		body      []byte
		mediaType types.MediaType
	}{{archive, layerType}, {[]byte(emptyConfig), configType}} {
		if err := pusher.Upload(ctx, tag.Context(), static.NewLayer(blob.body, blob.mediaType)); err != nil {
			return Pushed{}, ofRegistry(ctx, place, err)
		}
	}
	if err := pusher.Put(ctx, tag, raw); err != nil {
		return Pushed{}, ofRegistry(ctx, place, err)
	}
	return Pushed{Reference: tag.Name(), Digest: digestOf(raw), Archive: digestOf(archive)}, nil
}

// manifestOf is the manifest of an archive.
func manifestOf(archive []byte, revision, title string) (rawManifest, error) {
	m := manifest{
		SchemaVersion: 2, MediaType: manifestType,
		Config: descriptor{MediaType: configType, Digest: digestOf([]byte(emptyConfig)), Size: int64(len(emptyConfig))},
		Layers: []descriptor{{
			MediaType: layerType, Digest: digestOf(archive), Size: int64(len(archive)),
			// The name of the file that "oras pull" writes.
			Annotations: map[string]string{"org.opencontainers.image.title": "bundle.tar.gz"},
		}},
		Annotations: map[string]string{"org.opencontainers.image.title": title},
	}
	if revision != "" {
		m.Annotations["org.opencontainers.image.version"] = revision
	}
	return json.Marshal(m)
}

// rawManifest is what go-containerregistry can put under a tag.
type rawManifest []byte

// RawManifest gives the bytes.
func (m rawManifest) RawManifest() ([]byte, error) { return m, nil }

// MediaType is an image manifest's.
func (m rawManifest) MediaType() (types.MediaType, error) { return manifestType, nil }
