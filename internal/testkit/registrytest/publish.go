package registrytest

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"

	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

// served is a manifest that the front serves by itself, one content after the
// other; the last one stays.
type served struct {
	mu       sync.Mutex
	contents []content
}

type content struct {
	mediaType string
	body      []byte
}

func (s *Server) served(repo, ref string) *served {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.overlay[repo+"\x00"+ref]
}

func (c *served) write(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	now := c.contents[0]
	if len(c.contents) > 1 {
		c.contents = c.contents[1:]
	}
	c.mu.Unlock()
	w.Header().Set("Content-Type", now.mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(now.body)))
	w.Header().Set("Docker-Content-Digest", ocitest.Digest(now.body))
	if r.Method != http.MethodHead {
		_, _ = w.Write(now.body)
	}
}

// Serve makes a tag or digest answer with these manifests, one for each request
// and the last one from then on: a tag that moves, bytes that change under a
// digest. HEAD requests count, too.
func (s *Server) Serve(repo, ref string, manifests ...*ocitest.Artifact) {
	c := &served{}
	for _, m := range manifests {
		for _, b := range m.Blobs {
			s.PutBlob(repo, b)
		}
		c.contents = append(c.contents, content{m.MediaType, m.Raw})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.overlay[repo+"\x00"+ref] = c
}

// do asks the registry behind the front.
func (s *Server) do(method, path, contentType string, body []byte) int {
	r := httptest.NewRequestWithContext(s.tb.Context(), method, path, bytes.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	rec := httptest.NewRecorder()
	s.inner.ServeHTTP(rec, r)
	return rec.Code
}

// PutBlob stores a blob and returns its digest.
func (s *Server) PutBlob(repo string, content []byte) string {
	s.tb.Helper()
	digest := ocitest.Digest(content)
	path := fmt.Sprintf("/v2/%s/blobs/uploads/?digest=%s", repo, url.QueryEscape(digest))
	if code := s.do(http.MethodPost, path, "application/octet-stream", content); code != http.StatusCreated {
		s.tb.Fatalf("storing a blob in %s: status %d", repo, code)
	}
	return digest
}

// PutManifest stores exactly these bytes under a tag or digest and returns their
// digest. An index whose children are not there, which the registry refuses, is
// served by the front.
func (s *Server) PutManifest(repo, ref, mediaType string, raw []byte) string {
	s.tb.Helper()
	digest := ocitest.Digest(raw)
	if ref == "" {
		ref = digest
	}
	if code := s.do(http.MethodPut, "/v2/"+repo+"/manifests/"+ref, mediaType, raw); code != http.StatusCreated {
		m := &ocitest.Artifact{MediaType: mediaType, Raw: raw}
		s.Serve(repo, digest, m)
		s.Serve(repo, ref, m)
	}
	return digest
}

// Push stores an artifact with all that it points to, under a tag ("" for none),
// and returns its digest.
func (s *Server) Push(repo, tag string, a *ocitest.Artifact) string {
	s.tb.Helper()
	for _, c := range a.Children {
		s.Push(repo, "", c)
	}
	for _, b := range a.Blobs {
		s.PutBlob(repo, b)
	}
	return s.PutManifest(repo, tag, a.MediaType, a.Raw)
}

// Attach publishes evidence about a subject as cosign's new format does: a v0.3
// bundle as a referrer. On a registry without the referrers API, keep the
// fallback tag with [Server.Fallback].
func (s *Server) Attach(repo string, subject *ocitest.Artifact, ev *sigstack.Evidence) *ocitest.Artifact {
	s.tb.Helper()
	a, err := ocitest.Evidence(subject.Subject(), ev, sigstack.V03)
	if err != nil {
		s.tb.Fatalf("attaching evidence: %v", err)
	}
	s.Push(repo, "", a)
	return a
}

// AttachBundle publishes the bytes of a bundle as a referrer of a subject.
func (s *Server) AttachBundle(repo string, subject ocitest.Descriptor, bundle []byte, o ocitest.BundleOptions) *ocitest.Artifact {
	s.tb.Helper()
	a := ocitest.Bundle(subject, bundle, o)
	s.Push(repo, "", a)
	return a
}

// Fallback writes the referrers fallback tag of a digest.
func (s *Server) Fallback(repo, subject string, referrers ...*ocitest.Artifact) string {
	s.tb.Helper()
	return s.Push(repo, ocitest.Tag(subject, ""), ocitest.Fallback(referrers...))
}

// Legacy writes cosign's .sig and .att tags of a digest: evidence with an
// envelope goes to .att, the rest to .sig. It replaces what was there.
func (s *Server) Legacy(repo, subject string, evidence ...*sigstack.Evidence) {
	s.tb.Helper()
	layers := map[string][]sigstack.Layer{}
	for _, ev := range evidence {
		l, err := ev.Layer()
		if err != nil {
			s.tb.Fatalf("writing an old-format layer: %v", err)
		}
		suffix := ".sig"
		if ev.Envelope != nil {
			suffix = ".att"
		}
		layers[suffix] = append(layers[suffix], l)
	}
	for suffix, l := range layers {
		s.Push(repo, ocitest.Tag(subject, suffix), ocitest.Cosign(l...))
	}
}

// LegacyReferrer puts old-format signatures behind the referrers API.
func (s *Server) LegacyReferrer(repo string, subject *ocitest.Artifact, evidence ...*sigstack.Evidence) *ocitest.Artifact {
	s.tb.Helper()
	var layers []sigstack.Layer
	for _, ev := range evidence {
		l, err := ev.Layer()
		if err != nil {
			s.tb.Fatalf("writing an old-format layer: %v", err)
		}
		layers = append(layers, l)
	}
	a := ocitest.CosignReferrer(subject.Subject(), layers...)
	s.Push(repo, "", a)
	return a
}

// PushLayout stores every manifest and blob of an OCI layout directory in a
// repository and returns the layout; see [ocitest.ReadLayout] for the shapes it
// understands.
func (s *Server) PushLayout(dir, repo string) *ocitest.Layout {
	s.tb.Helper()
	l, err := ocitest.ReadLayout(dir)
	if err != nil {
		s.tb.Fatal(err)
	}
	for _, content := range l.Blobs {
		s.PutBlob(repo, content)
	}
	for _, e := range l.Entries {
		s.PutManifest(repo, e.Tag, e.MediaType, l.Blobs[e.Digest])
	}
	return l
}
