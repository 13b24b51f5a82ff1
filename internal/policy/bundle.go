package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/signet-policy/signet/bundles"
	"github.com/signet-policy/signet/rego"
)

// Limits on what a bundle may hold.
const (
	maxBundleFiles = 1000
	maxBundleBytes = 16 << 20
)

// Names within a bundle.
const (
	manifestName     = ".manifest"
	signaturesName   = ".signatures.json"
	dataName         = "data.json"
	paramsSchemaName = "schemas/params.json"
	goldenName       = "signing/golden.json"
	root             = "signing"
)

// contents is a bundle that was read and not yet compiled.
type contents struct {
	manifest manifest
	// modules are Rego sources by path, tests left out.
	modules map[string][]byte
	// data is the bundle's own data document, "signing" at its top.
	data map[string]any
	// paramsSchema is the JSON Schema of data.params.
	paramsSchema []byte
	// golden are the inputs whose outcome the bundle promises.
	golden []golden
	digest string
	// embedded marks the default policy, which this project's tests have checked
	// in every way that [Load] checks others.
	embedded bool
}

// manifest is OPA's .manifest, as far as Signet reads it.
type manifest struct {
	Revision    string                     `json:"revision"`
	Roots       []string                   `json:"roots"`
	RegoVersion *int                       `json:"rego_version"`
	Metadata    map[string]json.RawMessage `json:"metadata"`

	signet signetMetadata
}

// signetMetadata is metadata.signet of a manifest.
type signetMetadata struct {
	// Sequence rises with every release of a bundle.
	Sequence int64 `json:"sequence"`
	// Monotone declares that more evidence can only help.
	Monotone bool `json:"monotone"`
	// Context declares the request context keys that the policy reads, each with
	// its allowed values.
	Context map[string][]string `json:"context,omitempty"`
	// Library is the version of Signet's library of rules that the bundle has.
	Library string `json:"library,omitempty"`
}

// embeddedContents is the default policy, with the builder profiles as its data. It is
// read once, and never changed.
var embeddedContents = sync.OnceValues(func() (*contents, error) {
	c := &contents{modules: map[string][]byte{}, data: map[string]any{}, paramsSchema: rego.ParamsSchema, embedded: true}
	var err error
	if c.manifest, err = parseManifest(bundles.DefaultManifest); err != nil {
		return nil, err
	}
	files := map[string][]byte{manifestName: bundles.DefaultManifest, paramsSchemaName: rego.ParamsSchema}
	err = fs.WalkDir(rego.Modules, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !isModule(name) && path.Base(name) != dataName {
			return err
		}
		body, err := rego.Modules.ReadFile(name)
		if err != nil {
			return err
		}
		files[name] = body
		if !isModule(name) {
			return c.addData(name, body)
		}
		c.modules[name] = body
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the embedded policy: %w", err)
	}
	c.digest = digestOf(files)
	return c, nil
})

func isModule(name string) bool {
	return strings.HasSuffix(name, ".rego") && !strings.HasSuffix(name, "_test.rego")
}

// readBundle reads a bundle directory.
func readBundle(dir fs.FS) (*contents, error) {
	files, err := readFiles(dir, partOfBundle)
	if err != nil {
		return nil, err
	}
	return parseBundle(files)
}

// readFiles reads those files of a bundle directory whose names are wanted.
func readFiles(dir fs.FS, wanted func(name string) bool) (map[string][]byte, error) {
	files := map[string][]byte{}
	total := 0
	err := fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if base := path.Base(name); base == "data.yaml" || base == "data.yml" {
			return fmt.Errorf("%s is not read; write its content as %s", name, dataName)
		}
		if !wanted(name) {
			return nil
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is not a regular file", name)
		}
		body, err := readCapped(dir, name, maxBundleBytes-total)
		if err != nil {
			return err
		}
		total += len(body)
		files[name] = body
		if len(files) > maxBundleFiles {
			return fmt.Errorf("has more than %d files", maxBundleFiles)
		}
		return nil
	})
	return files, err
}

// parseBundle reads the files that are part of a bundle.
func parseBundle(files map[string][]byte) (*contents, error) {
	c := &contents{modules: map[string][]byte{}, data: map[string]any{}, paramsSchema: rego.ParamsSchema}
	if _, ok := files[manifestName]; !ok {
		return nil, fmt.Errorf("has no %s; write one with \"roots\": [%q]", manifestName, root)
	}
	var err error
	if c.manifest, err = parseManifest(files[manifestName]); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		switch {
		case isModule(name):
			c.modules[name] = files[name]
		case path.Base(name) == dataName:
			if err := c.addData(name, files[name]); err != nil {
				return nil, err
			}
		case name == paramsSchemaName:
			c.paramsSchema = files[name]
		case name == goldenName:
			if c.golden, err = parseGolden(files[name]); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if len(c.modules) == 0 {
		return nil, errors.New("has no Rego modules")
	}
	c.digest = digestOf(files)
	return c, nil
}

// partOfBundle says whether a file is part of the policy: .manifest, Rego that is
// no test, data.json, schemas/params.json and signing/golden.json. Others are left
// alone.
func partOfBundle(name string) bool {
	return name == manifestName || name == paramsSchemaName || name == goldenName || isModule(name) || path.Base(name) == dataName
}

func readCapped(dir fs.FS, name string, left int) (body []byte, err error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	body, err = io.ReadAll(io.LimitReader(f, int64(left)+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(body) > left {
		return nil, fmt.Errorf("is larger than %d bytes", maxBundleBytes)
	}
	return body, nil
}

func parseManifest(body []byte) (manifest, error) {
	var m manifest
	if err := strictly(body, &m); err != nil {
		return m, fmt.Errorf("%s: %w", manifestName, err)
	}
	if len(m.Roots) == 0 {
		return m, fmt.Errorf("%s: roots: is missing, which would own all data; write [%q]", manifestName, root)
	}
	for _, r := range m.Roots {
		if r = strings.Trim(r, "/"); r != root && !strings.HasPrefix(r, root+"/") {
			return m, fmt.Errorf("%s: roots: %q is not %q or below it; data.params in particular is mounted by Signet", manifestName, r, root)
		}
	}
	if m.RegoVersion != nil && *m.RegoVersion != 1 {
		return m, fmt.Errorf("%s: rego_version: %d is not supported; write 1", manifestName, *m.RegoVersion)
	}
	if raw, ok := m.Metadata[metadataKey]; ok {
		if err := strictly(raw, &m.signet); err != nil {
			return m, fmt.Errorf("%s: metadata.%s: %w", manifestName, metadataKey, err)
		}
	}
	for key, values := range m.signet.Context {
		if key == "" || len(values) == 0 {
			return m, fmt.Errorf("%s: metadata.%s.context: %q has no values; list those that a request may give", manifestName, metadataKey, key)
		}
	}
	return m, nil
}

// encode writes a manifest that parseManifest reads.
func (m manifest) encode() ([]byte, error) {
	own, err := json.Marshal(m.signet)
	if err != nil {
		return nil, err
	}
	metadata := map[string]json.RawMessage{}
	maps.Copy(metadata, m.Metadata)
	metadata[metadataKey] = own
	body, err := json.MarshalIndent(struct {
		Revision    string                     `json:"revision"`
		Roots       []string                   `json:"roots"`
		RegoVersion int                        `json:"rego_version"`
		Metadata    map[string]json.RawMessage `json:"metadata"`
	}{m.Revision, m.Roots, 1, metadata}, "", "  ")
	return append(body, '\n'), err
}

// metadataKey is the part of a manifest's metadata that is Signet's.
const metadataKey = "signet"

// addData mounts a data.json where its directory says, within the roots. The one
// at the top, which "opa build" always writes, may hold what lies within them.
func (c *contents) addData(name string, body []byte) error {
	outside := fmt.Errorf("%s: lies outside the roots %q; data.params in particular is mounted by Signet", name, c.manifest.Roots)
	dir := path.Dir(name)
	if dir != "." && !c.owns(dir) {
		return outside
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var doc map[string]any
	if err := dec.Decode(&doc); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: has something after the document", name)
	}
	at := c.data
	parts := strings.Split(dir, "/")
	if dir == "." {
		parts = nil
		for key := range doc {
			if !c.owns(key) {
				return outside
			}
		}
	}
	for _, part := range parts {
		next, ok := at[part].(map[string]any)
		if _, taken := at[part]; taken && !ok {
			return fmt.Errorf("%s: %s is no object in another data.json", name, part)
		}
		if !ok {
			next = map[string]any{}
			at[part] = next
		}
		at = next
	}
	for k, v := range doc {
		if _, taken := at[k]; taken {
			return fmt.Errorf("%s: %q is given by another data.json too", name, k)
		}
		at[k] = v
	}
	return nil
}

// owns says whether a path such as "signing/lib" is within the roots.
func (c *contents) owns(dir string) bool {
	return slices.ContainsFunc(c.manifest.Roots, func(r string) bool {
		r = strings.Trim(r, "/")
		return dir == r || strings.HasPrefix(dir, r+"/")
	})
}

// strictly decodes one JSON document and refuses fields that nobody reads.
func strictly(body []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("has something after the document")
	}
	return nil
}

// digestOf is over names, sizes and bytes in order of the names.
func digestOf(files map[string][]byte) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%d %s\n%d\n", len(name), name, len(files[name]))
		h.Write(files[name])
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}
