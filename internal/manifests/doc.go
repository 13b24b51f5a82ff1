// Package manifests finds the images that a file asks to be run: a list of images, a
// Docker Compose file, Kubernetes objects as YAML or JSON, and what Helm, Kustomize or
// `docker compose config` print.
//
// [Read] gives every image with its place. It is strict where an image could be
// overlooked: a file that it does not understand, or an image that depends on something
// it cannot see, is an error that names the line, and never a shorter list.
package manifests
