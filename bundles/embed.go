// Package bundles embeds what comes with Signet beside the Rego of the default
// policy: the manifest of its bundle, and the signing policy in force until a
// user writes one, and what a new bundle of one's own begins with. Package rego
// embeds the modules.
package bundles

import "embed"

// DefaultManifest is the .manifest of the default bundle.
//
//go:embed default/.manifest
var DefaultManifest []byte

// DefaultSigningPolicy is the signing policy that applies when none is given.
//
//go:embed default/signing_policy.yaml
var DefaultSigningPolicy []byte

// Starter is what a new policy bundle has beside the library, below starter/.
//
//go:embed all:starter
var Starter embed.FS
