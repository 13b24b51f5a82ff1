// Package web holds what the page at /admin/security/signing is made of: its
// templates, and the script and style sheets that tools/web.sh builds out of src.
// Start with [Templates] and [Static].
package web

import (
	"embed"
	"io/fs"
)

//go:generate ../tools/web.sh

//go:embed templates/*.html
var templates embed.FS

//go:embed static
var static embed.FS

// Templates are the html/template files, without a folder in their names.
func Templates() fs.FS { return sub(templates, "templates") }

// Static are the built assets, without a folder in their names.
func Static() fs.FS { return sub(static, "static") }

func sub(files fs.FS, dir string) fs.FS {
	out, err := fs.Sub(files, dir)
	if err != nil {
		panic(err) // only for names that are no path, and these are constants
	}
	return out
}
