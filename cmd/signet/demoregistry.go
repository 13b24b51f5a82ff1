package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/signet-policy/signet/bundles/demo"
)

// unreachableRepository is a repository of the demo registry that is always down.
const unreachableRepository = "demo/unreachable"

// newDemoRegistry is an in-process registry that holds the samples, and has one
// repository that answers 503.
func newDemoRegistry(images []demo.Image) (http.Handler, error) {
	inner := registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))
	for _, img := range images {
		layout, err := demo.Layout(img.Name)
		if err != nil {
			return nil, err
		}
		if err := pushLayout(inner, img.Repository, layout); err != nil {
			return nil, fmt.Errorf("demo image %s: %w", img.Name, err)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v2/"+unreachableRepository+"/") {
			w.Header().Set("Retry-After", "30")
			http.Error(w, "down for the demo", http.StatusServiceUnavailable)
			return
		}
		inner.ServeHTTP(w, r)
	}), nil
}

// layoutIndex is what we read of an index.json.
type layoutIndex struct {
	Manifests []struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Annotations map[string]string `json:"annotations"`
	} `json:"manifests"`
}

// pushLayout puts every blob and manifest of a layout into a repository. The
// layouts list each manifest in index.json, children of an index first.
func pushLayout(h http.Handler, repository string, layout fs.FS) error {
	raw, err := fs.ReadFile(layout, "index.json")
	if err != nil {
		return err
	}
	var index layoutIndex
	if err := json.Unmarshal(raw, &index); err != nil {
		return err
	}
	manifests := map[string]bool{}
	for _, m := range index.Manifests {
		manifests[m.Digest] = true
	}
	err = fs.WalkDir(layout, "blobs/sha256", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || manifests["sha256:"+d.Name()] {
			return err
		}
		body, err := fs.ReadFile(layout, path)
		if err != nil {
			return err
		}
		return put(h, http.MethodPost, "/v2/"+repository+"/blobs/uploads/?digest="+url.QueryEscape("sha256:"+d.Name()), "application/octet-stream", body)
	})
	if err != nil {
		return err
	}
	for _, m := range index.Manifests {
		body, err := fs.ReadFile(layout, "blobs/sha256/"+strings.TrimPrefix(m.Digest, "sha256:"))
		if err != nil {
			return err
		}
		refs := []string{m.Digest}
		if tag := m.Annotations["org.opencontainers.image.ref.name"]; tag != "" {
			refs = append(refs, tag)
		}
		for _, ref := range refs {
			if err := put(h, http.MethodPut, "/v2/"+repository+"/manifests/"+ref, m.MediaType, body); err != nil {
				return err
			}
		}
	}
	return nil
}

// put speaks to the registry's handler without a connection.
func put(h http.Handler, method, target, contentType string, body []byte) error {
	req := httptest.NewRequest(method, target, bytes.NewReader(body)) //nolint:noctx // no connection is opened
	req.Header.Set("Content-Type", contentType)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	if rec.Code != http.StatusCreated {
		return fmt.Errorf("%s %s: %d %s", method, target, rec.Code, strings.TrimSpace(rec.Body.String()))
	}
	return nil
}
