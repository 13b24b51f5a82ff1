package rego

import _ "embed" // for the directives below

// Builders is the file of builder profiles, mounted as data.signing.builders:
// which signatures are a build platform's word, and what they prove. Package
// builders reads it.
//
//go:embed signing/builders/data.json
var Builders []byte

// BuildersSchema is the JSON Schema of [Builders].
//
//go:embed schemas/builders.json
var BuildersSchema []byte
