package registry

import (
	"errors"
	"fmt"
	"strings"

	"github.com/signet-policy/signet/internal/evidence"
)

// LayoutPrefix starts a reference to an OCI layout directory.
const LayoutPrefix = "oci-layout:"

const defaultTag = "latest"

// maxName bounds registry and repository together (distribution-spec).
const maxName = 255

// Reference is an image as asked for, in its one spelling.
type Reference struct {
	// Registry is the host[:port] and Repository the path below it; both are ""
	// for a layout.
	Registry, Repository string
	// Tag is what was asked for, "latest" when neither tag nor digest was given
	// for a registry; "" otherwise.
	Tag string
	// Digest is "sha256:<hex>", or "". With both, the digest counts.
	Digest string
	// Layout is the path of an OCI layout, "" for a registry.
	Layout string
}

// Name is the normalised name that globs are matched against: "host[:port]/path",
// "" for a layout.
func (r Reference) Name() string {
	if r.Layout != "" || r.Registry == "" {
		return ""
	}
	return r.Registry + "/" + r.Repository
}

// String is the normalised reference; it parses to the same Reference.
func (r Reference) String() string {
	s := r.Name()
	if r.Layout != "" {
		s = LayoutPrefix + r.Layout
	}
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}

// ParseReference reads "[host[:port]/]path[:tag][@digest]" as docker does, and
// "oci-layout:PATH[:tag][@digest]" where layouts is set. It accepts one spelling
// of each host and path, apart from letter case in the host and docker's short
// forms. Errors are [*evidence.Problem] with code invalid_reference.
func ParseReference(image string, layouts bool) (Reference, error) {
	r, err := parseReference(image, layouts)
	if err != nil {
		return Reference{}, &evidence.Problem{
			Code: evidence.CodeInvalidReference, Where: clip(image, 300),
			Message: "invalid reference: " + err.Error(), Err: fmt.Errorf("%w: %w", ErrReference, err),
		}
	}
	return r, nil
}

func parseReference(image string, layouts bool) (Reference, error) {
	if image == "" {
		return Reference{}, errors.New("it is empty")
	}
	if rest, ok := strings.CutPrefix(image, LayoutPrefix); ok {
		if !layouts {
			return Reference{}, errors.New("files cannot be named here, only images in registries")
		}
		return parseLayout(rest)
	}
	if scheme, _, ok := strings.Cut(image, "://"); ok {
		return Reference{}, fmt.Errorf("remove %q: an image is named host/path:tag", clip(scheme, 20)+"://")
	}
	rest, digest, err := cutDigest(image)
	if err != nil {
		return Reference{}, err
	}
	r := Reference{Registry: dockerHub, Digest: digest}
	if first, path, ok := strings.Cut(rest, "/"); ok && looksLikeHost(first) {
		if r.Registry, err = normaliseHost(first); err != nil {
			return Reference{}, fmt.Errorf("registry %q: %w", clip(first, 100), err)
		}
		if !strings.ContainsAny(r.Registry, ".:") && r.Registry != "localhost" {
			return Reference{}, fmt.Errorf("%q: repository names are lower case, and a registry has a dot or a port", clip(first, 100))
		}
		rest = path
	}
	r.Repository = rest
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		r.Repository, r.Tag = rest[:i], rest[i+1:]
		if !isTag(r.Tag) {
			return Reference{}, fmt.Errorf("tag %q: want up to 128 letters, digits, dots, hyphens and underscores", clip(r.Tag, 150))
		}
	}
	if r.Registry == dockerHub && !strings.Contains(r.Repository, "/") {
		r.Repository = "library/" + r.Repository
	}
	if !isPath(r.Repository) {
		return Reference{}, fmt.Errorf("repository %q: want lower-case letters and digits, separated by one of . _ - /", clip(r.Repository, 150))
	}
	if len(r.Name()) > maxName {
		return Reference{}, fmt.Errorf("the name is longer than %d characters", maxName)
	}
	if r.Tag == "" && r.Digest == "" {
		r.Tag = defaultTag
	}
	return r, nil
}

// looksLikeHost tells a registry from the first part of a path, as docker does:
// a dot, a port, an upper-case letter, or localhost.
func looksLikeHost(first string) bool {
	return strings.ContainsAny(first, ".:[") || first == "localhost" || strings.ToLower(first) != first
}

func cutDigest(s string) (rest, digest string, err error) {
	rest, digest, ok := strings.Cut(s, "@")
	if !ok {
		return s, "", nil
	}
	if !isDigest(digest) {
		return "", "", fmt.Errorf("digest %q: want sha256: and 64 lower-case hex digits", clip(digest, 150))
	}
	return rest, digest, nil
}

// parseLayout reads PATH[:tag][@digest]. What follows the last colon is a tag
// when it looks like one and no slash follows.
func parseLayout(rest string) (Reference, error) {
	r := Reference{Layout: rest}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 && strings.HasPrefix(rest[i+1:], "sha") {
		if !isDigest(rest[i+1:]) {
			return Reference{}, fmt.Errorf("digest %q: want sha256: and 64 lower-case hex digits", clip(rest[i+1:], 150))
		}
		r.Layout, r.Digest = rest[:i], rest[i+1:]
	}
	if i := strings.LastIndexByte(r.Layout, ':'); i >= 0 && isTag(r.Layout[i+1:]) {
		r.Layout, r.Tag = r.Layout[:i], r.Layout[i+1:]
	}
	if r.Layout == "" {
		return Reference{}, errors.New("the path of the layout is missing")
	}
	if strings.ContainsRune(r.Layout, 0) {
		return Reference{}, errors.New("the path of the layout has a NUL character")
	}
	return r, nil
}

// clip shortens what a stranger wrote, for messages.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
