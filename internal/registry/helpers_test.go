package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

// noKeychain knows nobody.
var noKeychain = authn.NewMultiKeychain()

// insecure is a client for one registry on loopback that speaks plain HTTP.
func insecure(t testing.TB, s *registrytest.Server, edit ...func(*Config)) *Client {
	t.Helper()
	return client(t, append([]func(*Config){func(c *Config) {
		c.Registries = []Settings{{Host: s.Host(), Insecure: true}}
	}}, edit...)...)
}

func client(t testing.TB, edit ...func(*Config)) *Client {
	t.Helper()
	cfg := Config{Limits: evidence.DefaultLimits(), Keychain: noKeychain, UserAgent: "signet/test"}
	for _, e := range edit {
		e(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	c.backoff = time.Millisecond
	t.Cleanup(c.Close)
	return c
}

// limits edits the limits of a configuration.
func limits(edit func(*evidence.Limits)) func(*Config) {
	return func(c *Config) { edit(&c.Limits) }
}

// search resolves and collects.
func find(t testing.TB, c *Client, q evidence.Query) (facts.Subject, evidence.Found) {
	t.Helper()
	s, err := c.Resolve(t.Context(), q)
	if err != nil {
		t.Fatalf("Resolve: %v", err)
	}
	f, err := c.Collect(t.Context(), s, q)
	if err != nil {
		t.Fatalf("Collect: %v", err)
	}
	return s, f
}

// wantProblem checks that err is a problem with this code.
func wantProblem(t testing.TB, err error, code string) {
	t.Helper()
	if p := problemOf(t, err, code); p.Error() == "" {
		t.Error("it says nothing")
	}
}

// problemOf is the problem behind err, which must have this code.
func problemOf(t testing.TB, err error, code string) *evidence.Problem {
	t.Helper()
	var p *evidence.Problem
	if !errors.As(err, &p) {
		t.Fatalf("error %v is no *evidence.Problem", err)
	}
	if p.Code != code {
		t.Fatalf("problem %s (%s), want %s", p.Code, p, code)
	}
	return p
}

// incomplete checks that the search names this problem and says so.
func incomplete(t testing.TB, f evidence.Found, code string) evidence.Problem {
	t.Helper()
	if f.Search.Complete {
		t.Errorf("the search says that it is complete")
	}
	for _, p := range f.Search.Problems {
		if p.Code == code {
			return p
		}
	}
	t.Fatalf("no problem %s in %v", code, f.Search.Problems)
	return evidence.Problem{}
}

func complete(t testing.TB, f evidence.Found) {
	t.Helper()
	if !f.Search.Complete || len(f.Search.Problems) > 0 {
		t.Errorf("the search is not complete: %v", f.Search.Problems)
	}
}

// summary is an item in one line: kind, content or why there is none.
func summary(items []evidence.Item) []string {
	out := []string{}
	for _, i := range items {
		s := fmt.Sprintf("%s %s", i.Kind, i.Bytes)
		if i.Broken != nil {
			s = fmt.Sprintf("%s broken %s", i.Kind, i.Broken.Code)
		}
		out = append(out, strings.TrimSpace(s))
	}
	return out
}

func image() *ocitest.Artifact { return ocitest.Image(ocitest.ImageOptions{Content: "hello"}) }

// bundle is a referrer with any bytes as its bundle.
func bundle(subject *ocitest.Artifact, content string) *ocitest.Artifact {
	return ocitest.Bundle(subject.Subject(), []byte(content), ocitest.BundleOptions{})
}

// simple is the manifest of a .sig tag.
func simple(payloads ...string) *ocitest.Artifact {
	var layers []sigstack.Layer
	for _, p := range payloads {
		layers = append(layers, sigstack.Layer{MediaType: evidence.MediaTypeSimpleSigning, Content: []byte(p), Annotations: map[string]string{evidence.AnnotationSignature: "c2ln"}})
	}
	return ocitest.Cosign(layers...)
}

// envelope is the manifest of an .att tag.
func envelope(payloads ...string) *ocitest.Artifact {
	var layers []sigstack.Layer
	for _, p := range payloads {
		layers = append(layers, sigstack.Layer{MediaType: evidence.MediaTypeDSSE, Content: []byte(p)})
	}
	return ocitest.Cosign(layers...)
}

// served is a registry with one image under the tag v1, and referrers.
func served(t testing.TB, opts registrytest.Options, referrers ...string) (*registrytest.Server, *ocitest.Artifact) {
	t.Helper()
	s := registrytest.New(t, opts)
	img := image()
	s.Push("app", "v1", img)
	for _, r := range referrers {
		s.Push("app", "", bundle(img, r))
	}
	return s, img
}

func write(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func v1(s *registrytest.Server) evidence.Query { return evidence.Query{Image: s.Image("app", "v1")} }

// short is a context that ends soon.
func short(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
