package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/pep"
)

// code names one kind of problem. Codes are part of the public contract: a
// code is never renamed, and docs/integrators.md explains each.
type code string

const (
	codeBodyUnreadable   code = "body_unreadable"
	codeInvalidJSON      code = "invalid_json"
	codeUnknownField     code = "unknown_field"
	codeDuplicateField   code = "duplicate_field"
	codeLaterVersion     code = "not_in_this_version"
	codeMissingField     code = "missing_field"
	codeInvalidField     code = "invalid_field"
	codePolicyNeeded     code = "policy_needed"
	codeTokenMissing     code = "token_missing"
	codeTokenMalformed   code = "token_malformed"
	codeTokenUnknown     code = "token_unknown"
	codeTokenRevoked     code = "token_revoked"
	codeTokenExpired     code = "token_expired"
	codeTokenSource      code = "token_source"
	codeTokenUnexpected  code = "token_unexpected"
	codeRoleMissing      code = "role_missing"
	codeNotYours         code = "not_yours"
	codeOutOfScope       code = "image_out_of_scope"
	codeNotFound         code = "not_found"
	codeConflict         code = "conflict"
	codeAuditDamaged     code = "audit_damaged"
	codeStale            code = "precondition_failed"
	codeNoPrecondition   code = "precondition_required"
	codeInvalidFields    code = "invalid_fields"
	codeRateLimited      code = "rate_limited"
	codeRouteNotFound    code = "route_not_found"
	codeVerdictNotFound  code = "verdict_not_found"
	codeInputNotFound    code = "input_not_found"
	codeNotReproducible  code = "not_reproducible"
	codeNoAttester       code = "no_attester"
	codeNotAttested      code = "not_attested"
	codeMethodNotAllowed code = "method_not_allowed"
	codeBodyTooLarge     code = "body_too_large"
	codeUnsupportedMedia code = "unsupported_media_type"
	codeInternal         code = "internal_error"
	codeStoreUnavailable code = "store_unavailable"
	codeTimeout          code = "timeout"
	codeBusy             code = "busy"
)

// kind is what all problems of one code share.
type kind struct {
	status int
	title  string
}

// kinds is the one table from codes to statuses.
var kinds = map[code]kind{
	codeBodyUnreadable:   {http.StatusBadRequest, "The body could not be read"},
	codeInvalidJSON:      {http.StatusBadRequest, "The body is not valid JSON"},
	codeUnknownField:     {http.StatusBadRequest, "A field is not known"},
	codeDuplicateField:   {http.StatusBadRequest, "A field is there twice"},
	codeLaterVersion:     {http.StatusBadRequest, "A field comes with a later version"},
	codeMissingField:     {http.StatusBadRequest, "A field is missing"},
	codeInvalidField:     {http.StatusBadRequest, "A field has a value that it cannot have"},
	codePolicyNeeded:     {http.StatusBadRequest, "Several policies decided; name one"},
	codeTokenMissing:     {http.StatusUnauthorized, "A token is needed"},
	codeTokenMalformed:   {http.StatusUnauthorized, "This is not a Signet token"},
	codeTokenUnknown:     {http.StatusUnauthorized, "The token is not known"},
	codeTokenRevoked:     {http.StatusUnauthorized, "The token was revoked"},
	codeTokenExpired:     {http.StatusUnauthorized, "The token has expired"},
	codeTokenSource:      {http.StatusUnauthorized, "The token may not be used from this address"},
	codeTokenUnexpected:  {http.StatusBadRequest, "A token was sent where the connection says who asks"},
	codeNotYours:         {http.StatusForbidden, "This belongs to others"},
	codeOutOfScope:       {http.StatusForbidden, "The image is not among those of the token"},
	codeNotFound:         {http.StatusNotFound, "There is no such object"},
	codeConflict:         {http.StatusConflict, "This conflicts with what is there"},
	codeAuditDamaged:     {http.StatusConflict, "The audit log is not whole"},
	codeStale:            {http.StatusPreconditionFailed, "It was changed meanwhile"},
	codeNoPrecondition:   {http.StatusPreconditionRequired, "Say which version you change"},
	codeInvalidFields:    {http.StatusUnprocessableEntity, "Fields have values that they cannot have"},
	codeRateLimited:      {http.StatusTooManyRequests, "Too many requests"},
	codeRoleMissing:      {http.StatusForbidden, "The token's role does not allow this"},
	codeRouteNotFound:    {http.StatusNotFound, "There is nothing at this path"},
	codeVerdictNotFound:  {http.StatusNotFound, "There is no such verdict"},
	codeInputNotFound:    {http.StatusNotFound, "There is no such input document"},
	codeNotReproducible:  {http.StatusConflict, "This cannot be decided again"},
	codeNoAttester:       {http.StatusConflict, "Verdicts cannot be attested here"},
	codeNotAttested:      {http.StatusConflict, "This verdict is not attested"},
	codeMethodNotAllowed: {http.StatusMethodNotAllowed, "This path does not take this method"},
	codeBodyTooLarge:     {http.StatusRequestEntityTooLarge, "The body is too large"},
	codeUnsupportedMedia: {http.StatusUnsupportedMediaType, "The body is not of a type that this path takes"},
	codeInternal:         {http.StatusInternalServerError, "Something went wrong inside Signet"},
	codeStoreUnavailable: {http.StatusServiceUnavailable, "The store cannot be read"},
	codeTimeout:          {http.StatusServiceUnavailable, "The answer was not ready in time"},
	codeBusy:             {http.StatusServiceUnavailable, "The server is busy"},
}

// problemTypes is where the kinds of problems are explained; RFC 9457, section
// 3.1.1, wants a type that leads to documentation.
const problemTypes = "https://github.com/signet-policy/signet/blob/main/docs/integrators.md#"

// problem is an error with what the caller is told about it.
type problem struct {
	code   code
	detail string
	// field is the member of the body ("context.stage"), "query.<name>" or
	// "header.<name>" that is wrong.
	field string
	// errors are all mistakes of one input (invalid_fields).
	errors []fieldProblem
	// roles are those that would be enough (403).
	roles []auth.Role
	// policies are the names to choose from (policy_needed, input_not_found).
	policies []string
	// allow lists the methods of the path (405).
	allow string
	// retryAfter is in seconds.
	retryAfter int
	// cause is for the log alone.
	cause error
}

func (p *problem) Error() string {
	if p.cause != nil {
		return string(p.code) + ": " + p.cause.Error()
	}
	return string(p.code) + ": " + p.detail
}

func (p *problem) Unwrap() error { return p.cause }

func (p *problem) status() int {
	if k, ok := kinds[p.code]; ok {
		return k.status
	}
	return http.StatusInternalServerError
}

// statusClientGone is for counters and the log: hardly anybody is there to read it.
const statusClientGone = 499

// Waits that are asked for, in seconds.
const (
	retryStore   = 5
	retryTimeout = 2
	retryBusy    = 10
)

// asProblem is the one table from errors to problems. What it does not know is
// an internal error.
func asProblem(err error) *problem {
	var p *problem
	var mistake *pep.Mistake
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &mistake):
		return mistaken(mistake)
	case errors.Is(err, auth.ErrSource):
		return &problem{code: codeTokenSource, detail: "This token may be used from some networks only, and the request came from another address."}
	case errors.Is(err, auth.ErrMissing):
		return &problem{code: codeTokenMissing, detail: "Send the header Authorization: Bearer <token>. `signet token create` makes a token."}
	case errors.Is(err, auth.ErrMalformed):
		return &problem{code: codeTokenMalformed, detail: "A Signet token reads sgn_<id>_<secret>. Is this one complete, and is it one of ours?"}
	case errors.Is(err, auth.ErrRevoked):
		return &problem{code: codeTokenRevoked, detail: "An administrator revoked this token. Ask for a new one."}
	case errors.Is(err, auth.ErrExpired):
		return &problem{code: codeTokenExpired, detail: "This token is past its end. Ask for a new one."}
	case errors.Is(err, auth.ErrUnknown):
		return &problem{code: codeTokenUnknown, detail: "No token with this id and secret is known here. Is it for another installation?"}
	case errors.Is(err, facts.ErrDigest): // however it is wrapped: asking again will not mend it
	case errors.Is(err, engine.ErrState), errors.Is(err, ErrUnavailable), errors.Is(err, administration.ErrUnavailable):
		return storeUnavailable(err)
	case errors.Is(err, ErrBusy):
		return &problem{code: codeBusy, detail: "Too many verdicts are waited for already. Ask again in a moment.", retryAfter: retryBusy, cause: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &problem{code: codeTimeout, detail: "Ask again in a moment.", retryAfter: retryTimeout, cause: err}
	}
	if p := administrationProblem(err); p != nil {
		return p
	}
	return &problem{code: codeInternal, detail: "Nothing was decided. The operator finds the cause in the server's log under this request id.", cause: err}
}

func leftEarly() *problem {
	return &problem{code: codeTimeout, detail: "Your side of the connection was closed before the answer was ready. Keep it open while you wait, and ask again.", retryAfter: retryTimeout}
}

func storeUnavailable(err error) *problem {
	return &problem{code: codeStoreUnavailable, detail: "What is in force could not be read, so nothing was decided. Ask again in a moment; the operator finds the cause in the server's log and at /readyz.", retryAfter: retryStore, cause: err}
}

// problemBody is the JSON of a problem: RFC 9457, section 3, and our members.
type problemBody struct {
	Type     string      `json:"type"`
	Title    string      `json:"title"`
	Status   int         `json:"status"`
	Detail   string      `json:"detail"`
	Instance string      `json:"instance"`
	Code     code        `json:"code"`
	Request  string      `json:"request_id"`
	Field    string      `json:"field,omitempty"`
	Roles    []auth.Role `json:"roles,omitempty"`
	Policies []string    `json:"policies,omitempty"`
	Retry    int         `json:"retry_after,omitempty"`
	// Errors has every mistake, where several can be told together.
	Errors []fieldProblem `json:"errors,omitempty"`
	// Decision and Allowed are there when a verdict was asked for and Signet
	// failed to give one: whoever reads only these reads the truth.
	Decision string `json:"decision,omitempty"`
	Allowed  *bool  `json:"allowed,omitempty"`
}

// fieldProblem is one mistake of an input.
type fieldProblem struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

// instance names one occurrence by a URI reference, as RFC 9457, section 3.1.5,
// wants it. It leads nowhere but to the log.
func instance(requestID string) string { return "urn:signet:request:" + url.PathEscape(requestID) }

// body encodes p for the caller.
func (p *problem) body(requestID string, verdict bool) []byte {
	k, ok := kinds[p.code]
	if !ok {
		k = kinds[codeInternal]
	}
	b := problemBody{
		Type: problemTypes + string(p.code), Title: k.title, Status: k.status, Detail: p.detail,
		Instance: instance(requestID), Code: p.code, Request: requestID,
		Field: p.field, Roles: p.roles, Policies: p.policies, Retry: p.retryAfter,
		Errors: p.errors,
	}
	if verdict && k.status >= http.StatusInternalServerError {
		no := false
		b.Decision, b.Allowed = "unknown", &no
	}
	out, err := encode(b)
	if err != nil { // strings and numbers always encode
		return []byte(`{"title":"Something went wrong inside Signet","status":500,"code":"internal_error"}`)
	}
	return out
}

// headers sets what belongs to p beside its body.
// A page also asks browsers for a name and password (RFC 7617).
func (p *problem) headers(h http.Header, page bool) {
	if page && p.status() == http.StatusUnauthorized {
		defer h.Add("WWW-Authenticate", `Basic realm="signet", charset="UTF-8"`)
	}
	switch p.code {
	case codeTokenMissing:
		// RFC 6750, section 3.1: no error code when nothing was presented.
		h.Set("WWW-Authenticate", `Bearer realm="signet"`)
	case codeTokenMalformed, codeTokenUnknown, codeTokenRevoked, codeTokenExpired, codeTokenSource:
		h.Set("WWW-Authenticate", `Bearer realm="signet", error="invalid_token"`)
	case codeRoleMissing, codeOutOfScope, codeNotYours:
		h.Set("WWW-Authenticate", `Bearer realm="signet", error="insufficient_scope"`)
	}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
}

// oneOf reads "a", "a or b", "a, b or c".
func oneOf[S ~string](names []S) string {
	var b strings.Builder
	for i, n := range names {
		switch {
		case i == 0:
		case i == len(names)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(string(n))
	}
	return b.String()
}
