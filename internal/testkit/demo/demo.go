// Package demo makes the sample images of `signet serve --demo`: small signed,
// unsigned and wrongly signed images with the trusted root that verifies them.
// Start with [New] and [Demo.Write], or run internal/testkit/cmd/demo-images.
//
// The keys behind it come from no seed and are kept nowhere, so what is
// committed can be verified by anybody and extended by nobody. The images
// themselves are the same on every run.
package demo

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

// Image is one repository of the demo, an OCI layout in the folder Name.
type Image struct {
	Name        string `json:"name"`
	Repository  string `json:"repository"` // "demo/<name>"
	Tag         string `json:"tag"`
	Digest      string `json:"digest"`
	Description string `json:"description"`

	layout ocitest.Layout
}

// Demo is all of it.
type Demo struct {
	Images      []*Image
	TrustedRoot []byte // trusted_root.json
	PublicKey   []byte // PEM, of the key that signed "key"
}

// Names of the files beside the layouts.
const (
	FileTrustedRoot = "trusted_root.json"
	FilePublicKey   = "signer.pub"
	FileIndex       = "demo.json" // the Images, as a list
)

// builderURI is a reusable workflow, called at a tag, that builds and attests.
const builderURI = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/builder_container-based_slsa3.yml@refs/tags/v2.1.0"

type maker struct {
	stack *sigstack.Stack
	key   *sigstack.Key
	demo  *Demo
	sig   *ocitest.Artifact // the .sig manifest of "old-format"
}

// New makes the demo with fresh keys.
func New() (*Demo, error) {
	stack, err := sigstack.New(sigstack.Options{
		Name: "signet-demo",
		At:   time.Date(2025, 6, 2, 10, 0, 0, 0, time.UTC),
	})
	if err != nil {
		return nil, err
	}
	key, err := sigstack.NewKey(sigstack.ECDSAP256SHA256)
	if err != nil {
		return nil, err
	}
	m := &maker{stack: stack, key: key, demo: &Demo{PublicKey: key.PublicPEM()}}
	for _, add := range []func() error{m.keyless, m.withKey, m.oldFormat, m.unsigned, m.copied, m.attested, m.multiArch} {
		if err := add(); err != nil {
			return nil, fmt.Errorf("making the demo: %w", err)
		}
	}
	if m.demo.TrustedRoot, err = stack.TrustedRootJSON(); err != nil {
		return nil, err
	}
	return m.demo, nil
}

// workflow is the request that signs the way acme's release workflow does.
func (m *maker) workflow() sigstack.SignRequest {
	return sigstack.SignRequest{Identity: sigstack.Workflow{}.Identity(), Log: sigstack.RekorV2(), Timestamps: 1}
}

func content(name string) *ocitest.Artifact {
	return ocitest.Image(ocitest.ImageOptions{
		Content: "This is the demo image " + name + ".\n",
		Labels:  map[string]string{"org.opencontainers.image.source": "https://github.com/acme/app"},
	})
}

// add starts an image's layout.
func (m *maker) add(name, description string, a *ocitest.Artifact) *ocitest.Layout {
	img := &Image{Name: name, Repository: "demo/" + name, Tag: "v1", Digest: a.Digest(), Description: description}
	img.layout.Add(a, img.Tag)
	m.demo.Images = append(m.demo.Images, img)
	return &img.layout
}

// attach signs and adds the bundle as a referrer of an artifact.
func (m *maker) attach(l *ocitest.Layout, a *ocitest.Artifact, req sigstack.SignRequest) error {
	ev, err := m.stack.Sign(req)
	if err != nil {
		return err
	}
	bundle, err := ocitest.Evidence(a.Subject(), ev, sigstack.V03)
	if err != nil {
		return err
	}
	l.Add(bundle, "")
	return nil
}

func (m *maker) keyless() error {
	a := content("keyless")
	l := m.add("keyless", "signed by acme's release workflow on GitHub, without a key", a)
	req := m.workflow()
	req.Image = a.Digest()
	return m.attach(l, a, req)
}

func (m *maker) withKey() error {
	a := content("key")
	l := m.add("key", "signed with the key signer.pub", a)
	return m.attach(l, a, sigstack.SignRequest{Image: a.Digest(), Key: m.key, Log: sigstack.RekorV2(), Timestamps: 1})
}

func (m *maker) oldFormat() error {
	a := content("old-format")
	l := m.add("old-format", "signed by acme's release workflow in cosign's old format", a)
	ev, err := m.stack.Sign(sigstack.SignRequest{
		Image: a.Digest(), Legacy: true, Reference: "registry.example/demo/old-format",
		Identity: sigstack.Workflow{}.Identity(), Log: sigstack.RekorV1SET(),
	})
	if err != nil {
		return err
	}
	layer, err := ev.Layer()
	if err != nil {
		return err
	}
	m.sig = ocitest.Cosign(layer)
	l.Add(m.sig, ocitest.Tag(a.Digest(), ".sig"))
	return nil
}

func (m *maker) unsigned() error {
	m.add("unsigned", "not signed", content("unsigned"))
	return nil
}

func (m *maker) copied() error {
	a := content("copied")
	l := m.add("copied", "not signed, but somebody copied the signature of old-format beside it", a)
	l.Add(m.sig, ocitest.Tag(a.Digest(), ".sig"))
	return nil
}

func (m *maker) attested() error {
	a := content("attested")
	l := m.add("attested", "signed by acme's release workflow, with SLSA provenance by a trusted builder", a)
	req := m.workflow()
	req.Image = a.Digest()
	if err := m.attach(l, a, req); err != nil {
		return err
	}
	const commit = "3b1f8a6e5d4c2b1a09f8e7d6c5b4a39281706f5e"
	source := map[string]any{"uri": "git+https://github.com/acme/app@refs/heads/main", "digest": map[string]any{"sha1": commit}}
	req = m.workflow()
	req.Identity = sigstack.Workflow{Signer: builderURI, SignerSHA: "f7dd8c54c2067bafc12ca7a55595d5ee9b75204a"}.Identity()
	req.Statement = &sigstack.Statement{
		Subjects:      []sigstack.Subject{sigstack.SubjectOf("registry.example/demo/attested", a.Digest())},
		PredicateType: sigstack.PredicateSLSA1,
		Predicate: sigstack.Provenance{
			BuilderID:    builderURI,
			BuildType:    "https://slsa.dev/container-based-build/v0.1?draft",
			SourceCommit: commit,
			Parameters:   map[string]any{"source": source, "configPath": ".github/configs/release.toml"},
		}.V1(),
	}
	return m.attach(l, a, req)
}

func (m *maker) multiArch() error {
	var images []*ocitest.Artifact
	for _, arch := range []string{"amd64", "arm64"} {
		images = append(images, ocitest.Image(ocitest.ImageOptions{
			Content:  "This is the demo image multi-arch for " + arch + ".\n",
			Platform: ocitest.Platform{OS: "linux", Architecture: arch},
		}))
	}
	index := ocitest.Index(images...)
	l := m.add("multi-arch", "an index for amd64 and arm64; the index is signed by acme's release workflow", index)
	req := m.workflow()
	req.Image = index.Digest()
	return m.attach(l, index, req)
}

// Write replaces the demo in a folder. The Go file that embeds it stays; anything
// else that the demo does not write is an error, and nothing is touched.
func (d *Demo) Write(dir string) error {
	if err := d.clear(dir); err != nil {
		return fmt.Errorf("clearing the old demo: %w", err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("writing the demo: %w", err)
	}
	index, err := json.MarshalIndent(d.Images, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the demo: %w", err)
	}
	for name, content := range map[string][]byte{
		FileIndex: append(index, '\n'), FileTrustedRoot: append(d.TrustedRoot, '\n'), FilePublicKey: d.PublicKey,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return fmt.Errorf("writing the demo: %w", err)
		}
	}
	for _, img := range d.Images {
		if err := img.layout.Write(filepath.Join(dir, img.Name)); err != nil {
			return err
		}
	}
	return nil
}

func (d *Demo) clear(dir string) error {
	ours := map[string]bool{FileIndex: true, FileTrustedRoot: true, FilePublicKey: true}
	for _, img := range d.Images {
		ours[img.Name] = true
	}
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !ours[e.Name()] && filepath.Ext(e.Name()) != ".go" {
			return fmt.Errorf("%s holds %s, which is not part of the demo: remove it first", dir, e.Name())
		}
	}
	for name := range ours {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
