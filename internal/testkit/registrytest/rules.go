package registrytest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"
)

// Match chooses requests.
type Match func(*http.Request) bool

// Any matches every request.
func Any() Match { return func(*http.Request) bool { return true } }

// Path matches a method ("" for any) and a part of the path.
func Path(method, part string) Match {
	return func(r *http.Request) bool {
		return (method == "" || r.Method == method) && strings.Contains(r.URL.Path, part)
	}
}

// Referrers matches requests to the referrers API, of one digest or, with "", any.
func Referrers(digest string) Match { return kind("referrers", digest) }

// Manifest matches GET and HEAD of a manifest by tag or digest, or any with "".
func Manifest(ref string) Match { return kind("manifests", ref) }

// Blob matches GET and HEAD of a blob, or any with "".
func Blob(digest string) Match { return kind("blobs", digest) }

func kind(kind, ref string) Match {
	return func(r *http.Request) bool {
		_, got, ok := splitPath(r.URL.Path, kind)
		return ok && (r.Method == http.MethodGet || r.Method == http.MethodHead) && (ref == "" || got == ref)
	}
}

// Action answers a request instead of the registry; next is the registry.
type Action func(w http.ResponseWriter, r *http.Request, next http.Handler)

type rule struct {
	match Match
	act   Action
	left  int // -1: without end
}

// On installs an action for the requests that match. Earlier rules win.
func (s *Server) On(m Match, a Action) { s.Times(-1, m, a) }

// Times installs an action for the first n requests that match.
func (s *Server) Times(n int, m Match, a Action) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(s.rules, &rule{m, a, n})
}

// Behave removes all rules.
func (s *Server) Behave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = nil
}

func (s *Server) rule(r *http.Request) Action {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rule := range s.rules {
		if rule.left == 0 || !rule.match(r) {
			continue
		}
		if rule.left > 0 {
			rule.left--
		}
		return rule.act
	}
	return nil
}

// Status answers with a code and the error body that registries send.
func Status(code int) Action {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, `{"errors":[{"code":"TEST","message":"status %d on purpose"}]}`, code)
	}
}

// RetryAfter is [Status] with a Retry-After header in seconds.
func RetryAfter(code, seconds int) Action {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		Status(code)(w, r, next)
	}
}

// Delay answers late, unless the client goes away before.
func Delay(d time.Duration) Action {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		select {
		case <-time.After(d):
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}
}

// Hang never answers.
func Hang() Action {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() }
}

// Hangup closes the connection without an answer.
func Hangup() Action {
	return func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }
}

// Drip sends the registry's answer n bytes at a time, with a pause after each.
func Drip(n int, pause time.Duration) Action {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		rec := record(r, next)
		copyHeader(w.Header(), rec.Header())
		w.WriteHeader(rec.Code)
		for body := rec.Body.Bytes(); len(body) > 0; {
			k := min(n, len(body))
			if _, err := w.Write(body[:k]); err != nil {
				return
			}
			body = body[k:]
			if f, ok := w.(http.Flusher); ok {
				f.Flush()
			}
			select {
			case <-time.After(pause):
			case <-r.Context().Done():
				return
			}
		}
	}
}

// Endless sends bytes without end, with no Content-Length.
func Endless(contentType string) Action {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", contentType)
		chunk := []byte(strings.Repeat(" ", 1<<16))
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
}

// Body answers 200 with these bytes.
func Body(contentType string, body []byte) Action {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		if r.Method != http.MethodHead {
			_, _ = w.Write(body)
		}
	}
}

// EmptyIndex answers an empty list of referrers, as registries do that have the
// API and yet keep nothing behind it.
func EmptyIndex() Action {
	return Body("application/vnd.oci.image.index.v1+json",
		[]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`))
}

// Change passes the request on and edits the answer before it is sent.
func Change(edit func(code *int, header http.Header, body *[]byte)) Action {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		rec := record(r, next)
		code, header, body := rec.Code, rec.Header().Clone(), rec.Body.Bytes()
		before := len(body)
		edit(&code, header, &body)
		if len(body) != before && header.Get("Content-Length") != "" {
			header.Set("Content-Length", strconv.Itoa(len(body)))
		}
		copyHeader(w.Header(), header)
		w.WriteHeader(code)
		_, _ = w.Write(body)
	}
}

// LieDigest passes the request on and puts another digest into
// Docker-Content-Digest.
func LieDigest(digest string) Action {
	return Change(func(_ *int, h http.Header, _ *[]byte) { h.Set("Docker-Content-Digest", digest) })
}

// ContentType passes the request on and changes the answer's Content-Type.
func ContentType(value string) Action {
	return Change(func(_ *int, h http.Header, _ *[]byte) { h.Set("Content-Type", value) })
}

// Truncate sends only the first n bytes of the answer under its full length.
func Truncate(n int) Action {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		rec := record(r, next)
		copyHeader(w.Header(), rec.Header())
		w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()[:min(n, rec.Body.Len())])
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		panic(http.ErrAbortHandler)
	}
}

// Redirect answers with 307 to a base URL followed by the path and query that
// were asked for.
func Redirect(base string) Action {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Location", base+r.URL.RequestURI())
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

// RedirectTo answers with 307 to exactly this URL.
func RedirectTo(url string) Action {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Location", url)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

// Link passes the request on and sets the Link header, such as
// `<https://other.test/next>; rel="next"`.
func Link(value string) Action {
	return Change(func(_ *int, h http.Header, _ *[]byte) { h.Set("Link", value) })
}

func record(r *http.Request, next http.Handler) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	return rec
}

func copyHeader(to, from http.Header) {
	for k, v := range from {
		to[k] = v
	}
}
