// Package demo embeds the sample images of `signet serve --demo`: OCI layouts
// signed by a Sigstore of their own, whose private keys are gone. They are made
// by internal/testkit/cmd/demo-images.
package demo

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
)

//go:embed demo.json trusted_root.json signer.pub */index.json */oci-layout */blobs
var files embed.FS

// Image is one sample.
type Image struct {
	Name        string `json:"name"` // folder of its layout
	Repository  string `json:"repository"`
	Tag         string `json:"tag"`
	Digest      string `json:"digest"`
	Description string `json:"description"`
}

// Identity of the workflow that signed the samples.
const (
	Issuer  = "https://token.actions.githubusercontent.com"
	Subject = "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"
)

// Images lists the samples.
func Images() ([]Image, error) {
	body, err := files.ReadFile("demo.json")
	if err != nil {
		return nil, err
	}
	var images []Image
	if err := json.Unmarshal(body, &images); err != nil {
		return nil, fmt.Errorf("demo.json: %w", err)
	}
	return images, nil
}

// TrustedRoot is the samples' trusted_root.json.
func TrustedRoot() ([]byte, error) { return files.ReadFile("trusted_root.json") }

// SignerKey is the public key (PEM) of the key-signed sample.
func SignerKey() ([]byte, error) { return files.ReadFile("signer.pub") }

// Layout is the OCI layout of one sample.
func Layout(name string) (fs.FS, error) { return fs.Sub(files, name) }
