package ocitest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Annotations of a layout's index.json.
const (
	AnnotationRef  = "org.opencontainers.image.ref.name"
	AnnotationKind = "kind" // of `cosign save`: dev.cosignproject.cosign/{image,imageIndex,sigs,atts}
	kindPrefix     = "dev.cosignproject.cosign/"
)

// Entry is one manifest of a layout, with its tag.
type Entry struct {
	Descriptor
	Tag string // "": none
}

// Layout is an OCI image layout in memory, standing for one repository.
type Layout struct {
	Entries []Entry
	Blobs   map[string][]byte // by digest, manifests included
}

// Add puts an artifact into the layout, tagged or not. Like the layouts that
// stand for repositories, index.json lists every manifest, children too.
func (l *Layout) Add(a *Artifact, tag string) {
	if l.Blobs == nil {
		l.Blobs = map[string][]byte{}
	}
	for _, c := range a.Children {
		l.Add(c, "")
	}
	for _, b := range a.Blobs {
		l.Blobs[Digest(b)] = b
	}
	l.Blobs[a.Digest()] = a.Raw
	d := a.Descriptor()
	d.Platform = nil
	for i, e := range l.Entries {
		if e.Digest == d.Digest && (e.Tag == "" || e.Tag == tag || tag == "") {
			if tag != "" {
				l.Entries[i].Tag = tag
			}
			return
		}
	}
	l.Entries = append(l.Entries, Entry{d, tag})
}

// Write makes a layout directory, which must not exist yet or be empty.
func (l *Layout) Write(dir string) error {
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o750); err != nil {
		return fmt.Errorf("writing layout: %w", err)
	}
	index := Manifest{MediaType: MediaTypeIndex}
	for _, e := range l.Entries {
		d := e.Descriptor
		if e.Tag != "" {
			d.Annotations = map[string]string{AnnotationRef: e.Tag}
		}
		index.Manifests = append(index.Manifests, d)
	}
	index.SchemaVersion = 2
	raw, err := json.MarshalIndent(index, "", " ")
	if err != nil {
		return fmt.Errorf("writing layout: %w", err)
	}
	files := map[string][]byte{
		filepath.Join(dir, "index.json"): append(raw, '\n'),
		filepath.Join(dir, "oci-layout"): []byte("{\"imageLayoutVersion\": \"1.0.0\"}\n"),
	}
	for digest, content := range l.Blobs {
		files[filepath.Join(blobs, strings.TrimPrefix(digest, "sha256:"))] = content
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(name, files[name], 0o600); err != nil {
			return fmt.Errorf("writing layout: %w", err)
		}
	}
	return nil
}

// ReadLayout reads a layout of any of the shapes around: our samples (every
// manifest listed), `cosign save` (kinds instead of tags), `docker buildx`
// (a full reference as the tag, children not listed). Tags that a kind implies
// are worked out; children of indexes follow their parents without a tag. A
// manifest that is listed and not there is an error; the subject of a referrer
// may be absent, and so may children of an index.
func ReadLayout(dir string) (*Layout, error) {
	l := &Layout{Blobs: map[string][]byte{}}
	blobs := filepath.Join(dir, "blobs", "sha256")
	files, err := os.ReadDir(blobs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading layout: %w", err)
	}
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(blobs, f.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading layout: %w", err)
		}
		l.Blobs["sha256:"+f.Name()] = content
	}
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		return nil, fmt.Errorf("reading layout: %w", err)
	}
	var index Manifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("reading layout %s: index.json: %w", dir, err)
	}
	image := ""
	for _, d := range index.Manifests {
		kind := strings.TrimPrefix(d.Annotations[AnnotationKind], kindPrefix)
		if kind == "image" || kind == "imageIndex" {
			image = d.Digest
		}
		e := Entry{Descriptor: d, Tag: tagOf(d.Annotations[AnnotationRef])}
		switch {
		case e.Tag != "" || image == "":
		case kind == "sigs":
			e.Tag = Tag(image, ".sig")
		case kind == "atts":
			e.Tag = Tag(image, ".att")
		}
		if err := l.list(e); err != nil {
			return nil, fmt.Errorf("reading layout %s: %w", dir, err)
		}
	}
	return l, nil
}

// tagOf is the tag of a reference: all of it, or what follows the last colon
// after the last slash.
func tagOf(ref string) string {
	if i := strings.LastIndexAny(ref, "/:"); i >= 0 && ref[i] == ':' {
		return ref[i+1:]
	}
	return ref
}

// list adds an entry after its children, once each.
func (l *Layout) list(e Entry) error {
	raw, ok := l.Blobs[e.Digest]
	if !ok {
		return fmt.Errorf("manifest %s is listed and not there", e.Digest)
	}
	if e.MediaType == MediaTypeIndex || e.MediaType == MediaTypeDockerList {
		var m Manifest
		if err := json.Unmarshal(raw, &m); err != nil {
			return fmt.Errorf("manifest %s: %w", e.Digest, err)
		}
		for _, c := range m.Manifests {
			if _, ok := l.Blobs[c.Digest]; !ok || l.lists(c.Digest) {
				continue
			}
			if err := l.list(Entry{Descriptor: c}); err != nil {
				return err
			}
		}
	}
	l.Entries = append(l.Entries, e)
	return nil
}

func (l *Layout) lists(digest string) bool {
	return slices.ContainsFunc(l.Entries, func(e Entry) bool { return e.Digest == digest })
}
