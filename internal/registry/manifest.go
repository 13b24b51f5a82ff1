package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/signet-policy/signet/internal/strictjson"
)

const (
	mediaTypeManifest       = string(types.OCIManifestSchema1)
	mediaTypeIndex          = string(types.OCIImageIndex)
	mediaTypeDockerManifest = string(types.DockerManifestSchema2)
	mediaTypeDockerList     = string(types.DockerManifestList)
	// mediaTypeSchema1 starts both types of Docker's first manifests.
	mediaTypeSchema1 = "application/vnd.docker.distribution.manifest.v1+"
)

// acceptManifests is sent when asking for any manifest.
var acceptManifests = strings.Join([]string{mediaTypeIndex, mediaTypeManifest, mediaTypeDockerList, mediaTypeDockerManifest}, ", ")

// What can be wrong with a manifest.
var (
	// errAmbiguous says that one reader may see something else in these bytes
	// than another (CVE-2021-41190).
	errAmbiguous = errors.New("the manifest is ambiguous")
	// errTooMany says that a list is longer than its limit.
	errTooMany = errors.New("over the limit")
	// errSchema1 says that it is Docker's first manifest format, which names no
	// content by digest.
	errSchema1 = errors.New("it is a Docker schema 1 manifest, a format that cannot be verified: push the image again with a current client")
)

func ambiguous(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errAmbiguous, fmt.Sprintf(format, args...))
}

// descriptor is what a manifest says of other content (image-spec, descriptor).
type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType"`
	Annotations  map[string]string `json:"annotations"`
	Platform     *platform         `json:"platform"`
}

type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

// check refuses descriptors that name no content in a way we can follow. The
// digest pattern also keeps "../" out of URLs and file names (threat 33).
func (d descriptor) check() error {
	if !isDigest(d.Digest) {
		return fmt.Errorf("digest %q is not sha256: and 64 lower-case hex digits", clip(d.Digest, 100))
	}
	if d.Size < 0 {
		return fmt.Errorf("size %d is negative", d.Size)
	}
	return nil
}

// manifest is an image manifest or an index; the raw lists are read by those who
// need them, with a limit.
type manifest struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	ArtifactType  string          `json:"artifactType"`
	Config        json.RawMessage `json:"config"`
	Layers        json.RawMessage `json:"layers"`
	Manifests     json.RawMessage `json:"manifests"`
	Subject       json.RawMessage `json:"subject"`

	index bool
}

// parseManifest reads a manifest that was declared to be of contentType ("" when
// nothing was declared), and makes sure that it can be read in one way only:
// its shape, its own mediaType and contentType agree. MediaType of the result is
// one of the four types of images and indexes.
func parseManifest(body []byte, contentType string, depth int) (manifest, error) {
	var m manifest
	if strings.HasPrefix(contentType, mediaTypeSchema1) {
		return m, errSchema1
	}
	if err := strictjson.DecodeKnown(body, depth, &m); err != nil {
		return m, ambiguous("%s", err)
	}
	if m.SchemaVersion == 1 {
		return m, errSchema1
	}
	switch {
	case m.Manifests != nil && (m.Layers != nil || m.Config != nil):
		return m, ambiguous("it has the fields of an image and of an index")
	case m.Manifests == nil && m.Layers == nil && m.Config == nil:
		return m, ambiguous("it has the fields of neither an image nor an index")
	}
	m.index = m.Manifests != nil
	switch {
	case m.MediaType == "" && contentType == "":
		return m, ambiguous("neither the manifest nor the registry says which type it has")
	case m.MediaType == "":
		m.MediaType = contentType
	case contentType != "" && contentType != m.MediaType:
		return m, ambiguous("the registry says %q and the manifest says %q", clip(contentType, 100), clip(m.MediaType, 100))
	}
	switch m.MediaType {
	case mediaTypeIndex, mediaTypeDockerList:
		if !m.index {
			return m, ambiguous("it is called an index (%s) and is an image manifest", m.MediaType)
		}
	case mediaTypeManifest, mediaTypeDockerManifest:
		if m.index {
			return m, ambiguous("it is called an image manifest (%s) and is an index", m.MediaType)
		}
	default:
		return m, fmt.Errorf("%w: %q", errType, clip(m.MediaType, 100))
	}
	return m, nil
}

// errType says that a manifest is of a type that is neither image nor index.
var errType = errors.New("not the type of an image manifest or index")

// isIndexType says whether content of this type lists manifests.
func isIndexType(t string) bool { return t == mediaTypeIndex || t == mediaTypeDockerList }

// descriptors reads a list of descriptors of at most limit entries. Entries past
// it are not decoded: errTooMany comes with those before it. An entry that cannot
// be read is given to bad and left out; without bad it fails the list.
func descriptors(raw json.RawMessage, limit, depth int, bad func(entry json.RawMessage, err error)) ([]descriptor, error) {
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return nil, ambiguous("a list should be where %q is", clip(string(raw), 20))
	}
	var out []descriptor
	for n := 0; dec.More(); n++ {
		if n == limit {
			return out, fmt.Errorf("more than %d entries: %w", limit, errTooMany)
		}
		var entry json.RawMessage
		if err := dec.Decode(&entry); err != nil {
			return nil, ambiguous("%s", err)
		}
		d, err := decodeDescriptor(entry, depth)
		if err == nil {
			err = d.check()
		}
		switch {
		case err == nil:
			out = append(out, d)
		case bad == nil:
			return nil, ambiguous("entry %d: %s", n, err)
		default:
			bad(entry, err)
		}
	}
	return out, nil
}

func decodeDescriptor(raw json.RawMessage, depth int) (descriptor, error) {
	var d descriptor
	if err := strictjson.DecodeKnown(raw, depth, &d); err != nil {
		return d, ambiguous("%s", err)
	}
	return d, nil
}

// subject is the digest of the manifest that this one refers to, "" for none.
func (m manifest) subject(depth int) (string, error) {
	if len(m.Subject) == 0 || bytes.Equal(m.Subject, []byte("null")) {
		return "", nil
	}
	d, err := decodeDescriptor(m.Subject, depth)
	return d.Digest, err
}

// artifactType is the manifest's own, or the type of its config, which stands in
// for it (image-spec, "Guidelines for Artifact Usage").
func (m manifest) artifactType(depth int) string {
	if m.ArtifactType != "" || len(m.Config) == 0 {
		return m.ArtifactType
	}
	d, err := decodeDescriptor(m.Config, depth)
	if err != nil {
		return ""
	}
	return d.MediaType
}
