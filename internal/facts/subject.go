package facts

// Subject is the image (or artifact) that is asked about. Digest is always
// "sha256:<64 lower-case hex digits>", except that an artifact given with
// --bundle may have a "sha512:<128 hex>" digest.
type Subject struct {
	// Registry is the host[:port], lower case; "" for an OCI layout or a file.
	Registry string `json:"registry"`
	// Repository is the path below the registry; "" where there is no name.
	Repository string `json:"repository"`
	// Tag is the tag that was asked for, nil when the image was asked by digest.
	Tag *string `json:"tag"`
	// Digest is the SHA-256 of the manifest bytes, hashed by us.
	Digest string `json:"digest"`
	// MediaType is the manifest's own media type; "" when it could not be
	// fetched (evidence only) or there is no manifest.
	MediaType string `json:"media_type"`
	// Platforms lists the image manifests of an index, attestation manifests
	// excluded; empty for anything else.
	Platforms []Platform `json:"platforms"`
}

// Platform is one image manifest of an index (OCI image-spec, image index).
type Platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
	Digest       string `json:"digest"`
}

// Name is the normalised name that image globs are matched against:
// "host[:port]/path", without tag or digest; "" where the subject has no name.
func (s Subject) Name() string {
	if s.Registry == "" || s.Repository == "" {
		return ""
	}
	return s.Registry + "/" + s.Repository
}

// Pinned is the reference to deploy, "name@digest"; the bare digest where the
// subject has no name.
func (s Subject) Pinned() string {
	if n := s.Name(); n != "" {
		return n + "@" + s.Digest
	}
	return s.Digest
}

// String is "os/architecture[/variant]", the spelling of --platform.
func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}
