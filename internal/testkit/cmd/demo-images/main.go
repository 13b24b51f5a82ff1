// Command demo-images writes the demo's images, trusted root and public key:
//
//	go run ./internal/testkit/cmd/demo-images [folder]
//
// The folder is bundles/demo unless given, and its old contents are replaced.
// Keys are made for the run and forgotten, so each run gives other signatures
// over the same images.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/signet-policy/signet/internal/testkit/demo"
)

func main() {
	dir := filepath.Join("bundles", "demo")
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	if err := run(dir); err != nil {
		fmt.Fprintln(os.Stderr, "demo-images:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	d, err := demo.New()
	if err != nil {
		return err
	}
	return d.Write(dir)
}
