package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// Annotations of a layout's index.json: the tag (image-spec, "Pre-Defined
// Annotation Keys"), and what `cosign save` calls its entries.
const (
	annotationRefName = "org.opencontainers.image.ref.name"
	annotationKind    = "kind"
	kindImage         = "dev.cosignproject.cosign/image"
	kindIndex         = "dev.cosignproject.cosign/imageIndex"
	kindSignatures    = "dev.cosignproject.cosign/sigs"
	kindAttestations  = "dev.cosignproject.cosign/atts"
)

// layout is an OCI image layout directory (image-spec, "OCI Image Layout") that
// stands for one repository.
type layout struct {
	path    string
	root    *os.Root
	entries []descriptor
	lim     evidence.Limits
	// sole is the digest that untagged cosign manifests of `cosign save` belong
	// to: it saves one image.
	sole string

	scan     sync.Once
	subjects map[string][]descriptor // referrers by subject
	adrift   []descriptor            // evidence that cannot be read, so that nobody knows whose it is
}

// openLayout reads index.json. Everything is read below the directory: neither a
// digest nor a link leads out of it (threat 33).
func openLayout(path string, lim evidence.Limits) (*layout, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, notLayout(path, err)
	}
	l := &layout{path: path, root: root, lim: lim}
	if err := l.readIndex(); err != nil {
		root.Close() //nolint:errcheck // read only
		return nil, err
	}
	return l, nil
}

func notLayout(path string, err error) error {
	var b *brokenError
	if errors.Is(err, errTooMany) || errors.As(err, &b) && b.code == facts.CodeTooLarge {
		return problem(evidence.CodeEvidenceTooLarge, LayoutPrefix+path, "%s (limits referrers, manifest_bytes)", err)
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	p := problem(evidence.CodeInvalidReference, LayoutPrefix+path, "not an OCI image layout: %s", err)
	p.Err = fmt.Errorf("%w: %w", ErrReference, err)
	return p
}

func (l *layout) readIndex() error {
	var version struct {
		Version string `json:"imageLayoutVersion"`
	}
	for _, f := range []struct {
		name string
		into any
	}{{"oci-layout", &version}, {"index.json", &manifest{}}} {
		body, err := l.read(f.name, l.lim.ManifestBytes)
		if err != nil {
			return notLayout(l.path, fmt.Errorf("%s: %w", f.name, err))
		}
		if err := strictjson.DecodeKnown(body, l.lim.JSONDepth, f.into); err != nil {
			return notLayout(l.path, fmt.Errorf("%s: %w", f.name, err))
		}
		if m, ok := f.into.(*manifest); ok {
			if l.entries, err = descriptors(m.Manifests, l.lim.Referrers, l.lim.JSONDepth, nil); err != nil {
				return notLayout(l.path, fmt.Errorf("index.json: %w", err))
			}
		}
	}
	if version.Version != "1.0.0" {
		return notLayout(l.path, fmt.Errorf("oci-layout: version %q is not 1.0.0", clip(version.Version, 20)))
	}
	return nil
}

func (l *layout) close() { l.root.Close() } //nolint:errcheck // read only

func (l *layout) name() string { return LayoutPrefix + l.path }

// read reads a regular file below the directory, of at most limit bytes.
func (l *layout) read(name string, limit int64) ([]byte, error) {
	f, err := l.open(name, limit)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	return readCapped(io.Reader(f), limit, -1)
}

// open opens a regular file below the directory, of at most limit bytes.
func (l *layout) open(name string, limit int64) (*os.File, error) {
	info, err := l.root.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errAbsent
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if info.Size() > limit {
		return nil, tooLarge(info.Size(), limit)
	}
	return l.root.Open(name)
}

// readBlob reads what a digest names. Files that cannot be read are rejected: no
// retry mends them.
func (l *layout) readBlob(digest string, limit int64) ([]byte, error) {
	if !isDigest(digest) {
		return nil, broken(facts.CodeMalformed, "digest %q is not sha256: and 64 lower-case hex digits", clip(digest, 100))
	}
	body, err := l.read("blobs/sha256/"+strings.TrimPrefix(digest, "sha256:"), limit)
	var b *brokenError
	switch {
	case err == nil, errors.Is(err, errAbsent), errors.As(err, &b):
		return body, err
	}
	return nil, broken(facts.CodeNotFound, "cannot be read: %s", err)
}

func (l *layout) manifest(_ context.Context, ref string) (content, error) {
	if isDigest(ref) {
		i := slices.IndexFunc(l.entries, func(d descriptor) bool { return d.Digest == ref })
		if i >= 0 {
			return l.entry(l.entries[i])
		}
		return l.entry(descriptor{Digest: ref, Size: -1})
	}
	var found *descriptor
	for _, d := range l.entries {
		if d.Annotations[annotationRefName] != ref {
			continue
		}
		if found != nil && found.Digest != d.Digest {
			return content{}, broken(facts.CodeMalformed, "index.json has the tag %s more than once", ref)
		}
		found = &d
	}
	if found == nil {
		return content{}, errAbsent
	}
	return l.entry(*found)
}

// entry reads the manifest of an entry of index.json, or of any descriptor with
// size -1 for unknown.
func (l *layout) entry(d descriptor) (content, error) {
	body, err := l.readBlob(d.Digest, l.lim.ManifestBytes)
	if err != nil {
		return content{}, err
	}
	if d.Size < 0 {
		d.Size = int64(len(body))
	}
	return content{body: body, mediaType: mediaTypeOf(d.MediaType), digest: facts.Digest(body)}, checkBlob(blob{body: body}, d)
}

// attached is the tagged manifest, or in a layout of `cosign save`, which has no
// tags, the entry that is called signatures or attestations.
func (l *layout) attached(ctx context.Context, subject, suffix string) (content, error) {
	m, err := l.manifest(ctx, cosignTag(subject, suffix))
	if !errors.Is(err, errAbsent) || subject != l.sole {
		return m, err
	}
	kind := map[string]string{"sig": kindSignatures, "att": kindAttestations}[suffix]
	for _, d := range l.entries {
		if d.Annotations[annotationKind] == kind && kind != "" && d.Annotations[annotationRefName] == "" {
			return l.entry(d)
		}
	}
	return content{}, errAbsent
}

func (l *layout) blob(_ context.Context, d descriptor, limit int64) (blob, error) {
	if d.Size >= evidence.SpooledFrom {
		return l.largeBlob(d, limit)
	}
	body, err := l.readBlob(d.Digest, limit)
	if err != nil {
		return blob{}, err
	}
	return blob{body: body}, checkBlob(blob{body: body}, d)
}

// largeBlob copies a file: the layout's own could change after it was hashed.
func (l *layout) largeBlob(d descriptor, limit int64) (blob, error) {
	if !isDigest(d.Digest) {
		return blob{}, broken(facts.CodeMalformed, "digest %q is not sha256: and 64 lower-case hex digits", clip(d.Digest, 100))
	}
	f, err := l.open("blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:"), limit)
	var b *brokenError
	switch {
	case errors.Is(err, errAbsent), errors.As(err, &b):
		return blob{}, err
	case err != nil:
		return blob{}, broken(facts.CodeNotFound, "cannot be read: %s", err)
	}
	defer f.Close() //nolint:errcheck // read only
	large, err := evidence.NewSpool(f, min(d.Size, limit))
	if err != nil {
		return blob{}, problem(evidence.CodeUnavailable, l.name(), "%s", err)
	}
	got := blob{large: large}
	return got, checkBlob(got, d)
}

// referrers lists the entries whose manifest has this subject.
func (l *layout) referrers(ctx context.Context, subject string, _ func(json.RawMessage, error)) ([]descriptor, error) {
	l.scan.Do(func() {
		l.subjects = map[string][]descriptor{}
		for _, d := range l.entries {
			of, err := l.subjectOf(d)
			switch {
			case err != nil && d.ArtifactType != "":
				l.adrift = append(l.adrift, d)
			case of != "":
				l.subjects[of] = append(l.subjects[of], d)
			}
		}
	})
	list := slices.Clone(l.subjects[subject])
	if subject == l.sole {
		list = append(list, l.adrift...)
	}
	return list, ctx.Err()
}

func (l *layout) subjectOf(d descriptor) (string, error) {
	c, err := l.entry(d)
	if err != nil {
		return "", err
	}
	m, err := parseManifest(c.body, c.mediaType, l.lim.JSONDepth)
	if err != nil {
		return "", err
	}
	return m.subject(l.lim.JSONDepth)
}

// choose finds the one image of the layout when neither tag nor digest is given:
// the tag latest, the entry that cosign calls the image, or the only entry that
// is no evidence.
func (l *layout) choose() (string, error) {
	var latest, images, rest []string
	var tags []string
	for _, d := range l.entries {
		tag, kind := d.Annotations[annotationRefName], d.Annotations[annotationKind]
		if kind == kindSignatures || kind == kindAttestations || isCosignTag(tag) {
			continue
		}
		if of, err := l.subjectOf(d); err == nil && of != "" || err != nil && d.ArtifactType != "" {
			continue
		}
		if tag != "" {
			tags = append(tags, clip(tag, 60))
		}
		add := func(list *[]string) {
			if !slices.Contains(*list, d.Digest) {
				*list = append(*list, d.Digest)
			}
		}
		if tag == defaultTag {
			add(&latest)
		}
		if kind == kindImage || kind == kindIndex {
			add(&images)
		}
		add(&rest)
	}
	for _, list := range [][]string{latest, images, rest} {
		if len(list) == 1 {
			return list[0], nil
		}
	}
	p := problem(evidence.CodeInvalidReference, l.name(), "the layout has %d images: name one by tag or digest", len(rest))
	if len(rest) == 0 {
		p.Message = "the layout has no image, only evidence or nothing: name the image's digest, with evidence only"
	} else if len(tags) > 0 {
		slices.Sort(tags)
		p.Message += "; the tags are " + strings.Join(tags[:min(len(tags), 20)], ", ")
	}
	p.Err = ErrReference
	return "", p
}
