package registrytest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"

	"github.com/signet-policy/signet/internal/testkit/ocitest"
)

// referrers answers GET /v2/<repo>/referrers/<digest> as the distribution
// specification says, in pages when the options ask for them.
func (s *Server) referrers(w http.ResponseWriter, r *http.Request, repo, digest string) {
	code, index, raw := s.innerReferrers(r, repo, digest)
	if code != http.StatusOK || s.opts.PlainReferrers {
		w.Header().Set("Content-Type", s.opts.ReferrersType)
		w.WriteHeader(code)
		_, _ = w.Write(raw)
		return
	}
	if want := r.URL.Query().Get("artifactType"); want != "" {
		index.Manifests = slices.DeleteFunc(index.Manifests, func(d ocitest.Descriptor) bool { return d.ArtifactType != want })
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	if n := s.opts.PageSize; n > 0 {
		page, err := strconv.Atoi(r.URL.Query().Get("page"))
		if err != nil {
			page = 0
		}
		lo := min(page*n, len(index.Manifests))
		hi := min(lo+n, len(index.Manifests))
		if hi < len(index.Manifests) {
			q := r.URL.Query()
			q.Set("page", strconv.Itoa(page+1))
			w.Header().Set("Link", fmt.Sprintf("<%s?%s>; rel=\"next\"", r.URL.Path, q.Encode()))
		}
		index.Manifests = index.Manifests[lo:hi]
	}
	body, err := json.Marshal(indexWire{index.SchemaVersion, index.MediaType, index.Manifests})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", s.opts.ReferrersType)
	_, _ = w.Write(body)
}

// indexWire is an index that always has its list, as the specification wants.
type indexWire struct {
	SchemaVersion int                  `json:"schemaVersion"`
	MediaType     string               `json:"mediaType"`
	Manifests     []ocitest.Descriptor `json:"manifests"`
}

// innerReferrers asks the real registry and mends what it reports: the
// artifactType is the manifest's own, or else the configuration's media type.
func (s *Server) innerReferrers(r *http.Request, repo, digest string) (int, ocitest.Manifest, []byte) {
	rec := httptest.NewRecorder()
	s.inner.ServeHTTP(rec, httptest.NewRequestWithContext(r.Context(), http.MethodGet, "/v2/"+repo+"/referrers/"+digest, nil))
	var index ocitest.Manifest
	code, raw := rec.Code, rec.Body.Bytes()
	if code != http.StatusOK {
		return code, index, raw
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return http.StatusInternalServerError, index, []byte(err.Error())
	}
	for i, d := range index.Manifests {
		var m ocitest.Manifest
		if err := json.Unmarshal(s.manifest(r, repo, d.Digest), &m); err != nil {
			continue // a referrer that is no manifest keeps what the registry said
		}
		switch {
		case m.ArtifactType != "":
			index.Manifests[i].ArtifactType = m.ArtifactType
		case m.Config != nil:
			index.Manifests[i].ArtifactType = m.Config.MediaType
		}
	}
	if index.Manifests == nil {
		index.Manifests = []ocitest.Descriptor{}
	}
	slices.SortFunc(index.Manifests, func(a, b ocitest.Descriptor) int { return strings.Compare(a.Digest, b.Digest) })
	return code, index, raw
}

func (s *Server) manifest(r *http.Request, repo, digest string) []byte {
	rec := httptest.NewRecorder()
	s.inner.ServeHTTP(rec, httptest.NewRequestWithContext(r.Context(), http.MethodGet, "/v2/"+repo+"/manifests/"+digest, nil))
	return rec.Body.Bytes()
}
