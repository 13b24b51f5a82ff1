package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"
)

var (
	// ErrConfig says that [New] was given something that it cannot use.
	ErrConfig = errors.New("client configuration")
	// ErrRequest says that the arguments of a call make no request; nothing was sent.
	ErrRequest = errors.New("invalid request")
	// ErrAnswer says that the server's answer was not understood. For a verdict
	// that means: not allowed.
	ErrAnswer = errors.New("the answer was not understood")
	// ErrRedirect says that the server named another address. The client follows
	// no redirects, so that the token goes nowhere else.
	ErrRedirect = errors.New("the server redirects")
)

// Problem is an answer of status 400 or more: problem+json of RFC 9457 with
// Signet's members. Code is "" where the answer was not the server's own, but a
// proxy's.
type Problem struct {
	// Status is the HTTP status.
	Status int `json:"status"`
	// Code names the kind of problem; docs/integrators.md explains each.
	Code  string `json:"code"`
	Title string `json:"title"`
	// Detail says what is wrong and what would be right.
	Detail string `json:"detail"`
	// Field is what is wrong, Errors all mistakes where there may be several.
	Field  string       `json:"field,omitempty"`
	Errors []FieldError `json:"errors,omitempty"`
	// Roles are those that would be enough (403).
	Roles []string `json:"roles,omitempty"`
	// RequestID is that of the server's log.
	RequestID string `json:"request_id"`
	// RetryAfter is how long the server asked to wait, 0 where it did not.
	RetryAfter time.Duration `json:"-"`
}

// FieldError is one mistake in a request.
type FieldError struct {
	// Field is a member of the body, "query.<name>" or "header.<name>".
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

// Error is the detail, or all mistakes, each on a line; after a failure of the
// server also the id under which its log has the cause.
func (p *Problem) Error() string {
	var b strings.Builder
	switch {
	case len(p.Errors) > 0:
		for i, e := range p.Errors {
			if i > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(e.Field + ": " + e.Detail)
		}
	case p.Detail != "":
		b.WriteString(p.Detail)
	case p.Title != "":
		b.WriteString(p.Title)
	default:
		fmt.Fprintf(&b, "the server answered %d %s", p.Status, http.StatusText(p.Status))
	}
	if p.Status >= http.StatusInternalServerError && p.RequestID != "" {
		b.WriteString(" (request " + p.RequestID + ")")
	}
	return b.String()
}

// IsNotFound says whether err is the server's: what was named is not there.
func IsNotFound(err error) bool { return hasStatus(err, http.StatusNotFound) }

// IsStale says whether err is the server's: the version that the change was based
// on is no longer the current one. Read it again, then change it.
func IsStale(err error) bool { return hasStatus(err, http.StatusPreconditionFailed) }

// IsConflict says whether err is the server's: the change contradicts something
// that is there, as a name that is taken does.
func IsConflict(err error) bool { return hasStatus(err, http.StatusConflict) }

// IsInvalid says whether err is the server's: the request was not right.
func IsInvalid(err error) bool {
	return hasStatus(err, http.StatusBadRequest, http.StatusUnprocessableEntity)
}

// IsUnauthorized says whether err is the server's: it takes no such token.
func IsUnauthorized(err error) bool { return hasStatus(err, http.StatusUnauthorized) }

// IsForbidden says whether err is the server's: the token does not reach that far.
func IsForbidden(err error) bool { return hasStatus(err, http.StatusForbidden) }

// IsUnavailable says whether err is the server's: it cannot answer now, and may
// when asked again.
func IsUnavailable(err error) bool {
	return hasStatus(err, http.StatusServiceUnavailable, http.StatusTooManyRequests)
}

func hasStatus(err error, statuses ...int) bool {
	var p *Problem
	if !errors.As(err, &p) {
		return false
	}
	for _, s := range statuses {
		if p.Status == s {
			return true
		}
	}
	return false
}

// problemOf reads a problem. An answer that is not problem+json is a proxy's:
// its text is nothing to quote.
func problemOf(a answer) *Problem {
	p := &Problem{}
	if media, _, err := mime.ParseMediaType(a.header.Get("Content-Type")); err != nil || media != "application/problem+json" || json.Unmarshal(a.body, p) != nil {
		p = &Problem{Detail: fmt.Sprintf("the server answered %d %s, and not as Signet does; is the address right?", a.status, http.StatusText(a.status))}
	}
	p.Status, p.RetryAfter = a.status, a.retryAfter // what was answered, whatever the body says
	return p
}
