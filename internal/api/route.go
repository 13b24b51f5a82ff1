package api

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/signet-policy/signet/internal/auth"
)

// route is one endpoint: who may use it, what it takes, and what it does.
type route struct {
	method string
	// path in Echo's spelling, "/verdicts/:id".
	path string
	// open routes want no token: health alone.
	open bool
	// anyRole is enough for what every holder of a token may see; else need is.
	anyRole bool
	need    auth.Permission
	// query are the parameters that it knows; nil refuses all of them.
	query []string
	// anyQuery ignores parameters, for probes that add their own.
	anyQuery bool
	// body is read and handed over, of one of the media types; nil is JSON.
	body  bool
	media []string
	// large bodies have a limit of their own, and are read only from who has
	// authenticated.
	large bool
	// page is for browsers: they may present the token as HTTP Basic's password.
	page bool
	// verdict marks the route whose callers act on the answer: when it fails,
	// the problem says unknown too.
	verdict bool
	// quiet keeps what went well out of the log at info.
	quiet bool
	serve func(ctx context.Context, c *call) (reply, error)
	// face answers instead of serve, where it is not nil.
	face *Face

	timing *timings
}

// reply is what an endpoint answers with. Header values of "" are not sent.
type reply struct {
	status      int
	contentType string
	body        []byte
	location    string
	etag        string
	cache       string
	allow       string
	retryAfter  int
	// stream writes the body, after the headers, for as long as it likes; instead of
	// body.
	stream func(w http.ResponseWriter)
}

// quick is implemented by bodies that know a quick way to read the plain
// case; see fastjson.go.
type quick interface{ plain(body []byte) bool }

// withJSON makes an endpoint of a function that takes a decoded body.
func withJSON[T any](example string, later []string, serve func(context.Context, *call, *T) (reply, error)) func(context.Context, *call) (reply, error) {
	return withJSONOver(*new(T), example, later, serve)
}

// withJSONOver is [withJSON] for a body whose absent fields are those of initial.
func withJSONOver[T any](initial T, example string, later []string, serve func(context.Context, *call, *T) (reply, error)) func(context.Context, *call) (reply, error) {
	return func(ctx context.Context, c *call) (reply, error) {
		req := new(T)
		*req = initial
		if q, ok := any(req).(quick); !ok || !q.plain(c.body) {
			*req = initial
			if p := decode(c.body, req, example, later...); p != nil {
				return reply{}, p
			}
		}
		return serve(ctx, c, req)
	}
}

// checkQuery refuses parameters that nobody reads, and those that come twice:
// what is ignored could be mistaken for what is done.
func (rt *route) checkQuery(u *url.URL) *problem {
	if u.RawQuery == "" || rt.anyQuery {
		return nil
	}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return &problem{code: codeInvalidField, field: "query", detail: "The query cannot be read; is a % or & in it not escaped?", cause: err}
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		field := "query." + name
		switch {
		case !slices.Contains(rt.query, name):
			known := "This path takes none."
			if len(rt.query) > 0 {
				known = "This path takes " + oneOf(rt.query) + "."
			}
			return &problem{code: codeUnknownField, field: field, detail: "The query parameter " + shown(name) + " is not known. " + known}
		case len(values[name]) > 1:
			return &problem{code: codeDuplicateField, field: field, detail: "The query parameter " + shown(name) + " is there several times. Send it once."}
		}
	}
	return nil
}

// write sends r. Names of headers are in canonical form, so that they can be
// set without being looked at again, and their values share one array. A
// verdict has eight headers with it: one more, and the map must grow.
func (r *reply) write(w http.ResponseWriter) {
	h := w.Header()
	values := make([]string, 0, 6)
	set := func(name, value string) {
		if value != "" {
			values = append(values, value)
			h[name] = values[len(values)-1 : len(values) : len(values)]
		}
	}
	if r.contentType == mediaJSON {
		h["Content-Type"] = valueJSON
	} else {
		set("Content-Type", r.contentType)
	}
	set("Location", r.location)
	set("Etag", r.etag)
	set(headerCache, r.cache)
	set("Allow", r.allow)
	if r.retryAfter > 0 {
		set("Retry-After", strconv.Itoa(r.retryAfter))
	}
	if r.stream != nil {
		w.WriteHeader(r.status)
		r.stream(w)
		return
	}
	if r.status != http.StatusNoContent {
		set("Content-Length", strconv.Itoa(len(r.body)))
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body) // the caller is gone when this fails: nobody to tell
}

const (
	headerCache  = "Signet-Cache"
	mediaProblem = "application/problem+json"
)

// Header values that every response shares. They have no room to grow, so
// whoever adds to one gets a copy.
var (
	valueJSON    = []string{mediaJSON}
	valueNoStore = []string{"no-store"}
	valueNoSniff = []string{"nosniff"}
	valuePolicy  = []string{"default-src 'none'; frame-ancestors 'none'"}
	// A page may have a style sheet of ours, and nothing else.
	valuePagePolicy = []string{"default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
)

// secure sets the headers that keep a browser from keeping, guessing at or
// framing what we answer.
func secure(h http.Header) {
	h["Cache-Control"] = valueNoStore
	h["X-Content-Type-Options"] = valueNoSniff
	h["Content-Security-Policy"] = valuePolicy
}
