// Package rego embeds the default policy's Rego modules, the JSON Schemas of
// its input and parameters, and the builtins that a policy may call.
//
// Use [Modules] to read the policy; package internal/policy does, and compiles
// it. The schemas are for "opa check --schema" and for whoever writes a policy.
package rego

import "embed"

//go:generate go run ../internal/schemagen -root .. -out schemas/input.json
//go:generate go run ../internal/policy/regodocs -out README.md

// Modules holds signing/**/*.rego, tests included; a loader leaves out files
// that end in _test.rego.
//
//go:embed signing
var Modules embed.FS

// InputSchema is the JSON Schema of the input document, generated from
// facts.Input.
//
//go:embed schemas/input.json
var InputSchema []byte

// ParamsSchema is the JSON Schema of data.params.
//
//go:embed schemas/params.json
var ParamsSchema []byte

// Capabilities lists the builtins and language features that a policy may use,
// in OPA's own format. It is kept by hand: a builtin that is not listed does not
// exist for a policy.
//
//go:embed capabilities.json
var Capabilities []byte

// LibraryVersion names the library of rules that policy bundles bring along: verdict.rego and signing/lib. A bundle's manifest
// says which one it has (metadata.signet.library). It rises with a release of Signet that changes one of those files.
const LibraryVersion = "1"
