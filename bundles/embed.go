// Package bundles embeds what comes with Signet beside the Rego of the default
// policy: the manifest of its bundle, and the signing policy in force until a
// user writes one. Package rego embeds the modules.
package bundles

import _ "embed"

// DefaultManifest is the .manifest of the default bundle.
//
//go:embed default/.manifest
var DefaultManifest []byte

// DefaultSigningPolicy is the signing policy that applies when none is given.
//
//go:embed default/signing_policy.yaml
var DefaultSigningPolicy []byte
