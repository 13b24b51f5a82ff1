package config

import _ "embed"

//go:embed reference.md
var reference string

// Reference is the description of every field, as Markdown.
func Reference() string { return reference }
