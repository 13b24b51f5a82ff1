package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/pep"
)

// Administration changes what is in force; [*administration.Service] is one. It
// says itself who may do what beyond the role, and its errors are those of
// package administration.
type Administration interface {
	Signers(ctx context.Context, by administration.Caller, f administration.SignerFilter) (client.Page[client.Signer], error)
	Signer(ctx context.Context, by administration.Caller, id string) (client.Signer, error)
	CreateSigner(ctx context.Context, by administration.Caller, s client.Signer) (client.Signer, error)
	UpdateSigner(ctx context.Context, by administration.Caller, id string, version int64, patch []byte) (client.Signer, error)
	DeleteSigner(ctx context.Context, by administration.Caller, id string, version int64) error
	CompromiseSigner(ctx context.Context, by administration.Caller, id string, c client.Compromise) (client.Compromised, error)
	AcceptKey(ctx context.Context, by administration.Caller, id string, a client.AcceptKey) (client.Signer, error)
	ReadKey(ctx context.Context, by administration.Caller, in client.ReadKey) (client.KeyRead, error)
	RefreshKey(ctx context.Context, by administration.Caller, id string) (client.Signer, error)
	SignerVerdicts(ctx context.Context, by administration.Caller, id string, limit int, after string) (client.Page[client.SignerVerdict], error)
	ImportSigners(ctx context.Context, by administration.Caller, body []byte, opts administration.ImportOptions) (client.Imported, error)
	ExportSigners(ctx context.Context, by administration.Caller) ([]byte, error)

	Tokens(ctx context.Context, by administration.Caller, state string, limit int, after string) (client.Page[client.Token], error)
	Token(ctx context.Context, by administration.Caller, id string) (client.Token, error)
	CreateToken(ctx context.Context, by administration.Caller, t client.NewToken) (client.Token, error)
	RevokeToken(ctx context.Context, by administration.Caller, id string) error
	Setup(ctx context.Context, from, setupToken, name string) (client.Token, error)

	Policies(ctx context.Context, by administration.Caller, limit int, after string) (client.Page[client.Policy], error)
	Policy(ctx context.Context, by administration.Caller, name string) (client.Policy, error)
	PutPolicy(ctx context.Context, by administration.Caller, name, owner string, body []byte, version *int64) (client.Policy, error)
	PutPolicyWith(ctx context.Context, by administration.Caller, name, owner string, body, archive []byte, version *int64) (client.Policy, error)
	PublishPolicy(ctx context.Context, by administration.Caller, name string, archive []byte, version *int64) (client.Policy, error)
	DeletePolicy(ctx context.Context, by administration.Caller, name string, version int64) error
	AddException(ctx context.Context, by administration.Caller, name string, e client.NewException, version int64) (client.Policy, error)
	RemoveException(ctx context.Context, by administration.Caller, name string, place int, version int64) (client.Policy, error)
	Shadow(ctx context.Context, by administration.Caller, name string, limit int, after string) (client.ShadowReport, error)
	PolicyHistory(ctx context.Context, by administration.Caller, name string) ([]client.PolicyVersion, error)
	DiffPolicy(ctx context.Context, by administration.Caller, name string, from, to *int64) (client.PolicyDiff, error)
	RollbackPolicy(ctx context.Context, by administration.Caller, name string, to, version *int64) (client.Policy, error)

	Dependencies(ctx context.Context, by administration.Caller) ([]client.Dependency, error)
	Bundles(ctx context.Context, by administration.Caller, limit int, after string) (client.Page[client.Bundle], error)
	Bundle(ctx context.Context, by administration.Caller, name string) (client.Bundle, error)
	BundleArchive(ctx context.Context, by administration.Caller, name string) ([]byte, error)
	PutBundle(ctx context.Context, by administration.Caller, name, owner string, archive []byte, version *int64) (client.Bundle, error)
	PutBundleWith(ctx context.Context, by administration.Caller, name, owner string, archive []byte, keys map[string]string, scope string, version *int64) (client.Bundle, error)
	PatchBundle(ctx context.Context, by administration.Caller, name string, version int64, patch []byte) (client.Bundle, error)
	DeleteBundle(ctx context.Context, by administration.Caller, name string, version int64) error
	BundleHistory(ctx context.Context, by administration.Caller, name string) ([]client.BundleVersion, error)
	RollbackBundle(ctx context.Context, by administration.Caller, name string, to *int64) (client.Bundle, error)
	FetchBundle(ctx context.Context, by administration.Caller, name string) (client.Bundle, error)

	Drafts(ctx context.Context, by administration.Caller, limit int, after string) (client.Page[client.DraftSummary], error)
	Draft(ctx context.Context, by administration.Caller, name string) (client.Draft, error)
	MayDraft(ctx context.Context, by administration.Caller, name string) (owner string, err error)
	PutDraft(ctx context.Context, by administration.Caller, name string, in client.PutDraft, version *int64) (client.Draft, error)
	DeleteDraft(ctx context.Context, by administration.Caller, name string, version int64) error

	TrustRoots(ctx context.Context, by administration.Caller) ([]client.TrustRoot, error)
	TrustRoot(ctx context.Context, by administration.Caller, name string) (client.TrustRoot, error)
	PutTrustRoot(ctx context.Context, by administration.Caller, name string, put client.PutTrustRoot, version *int64) (client.TrustRoot, error)
	PatchTrustRoot(ctx context.Context, by administration.Caller, name string, version int64, patch []byte) (client.TrustRoot, error)
	DeleteTrustRoot(ctx context.Context, by administration.Caller, name string, version int64) error
	RefreshTrustRoot(ctx context.Context, by administration.Caller, name string) (client.TrustRoot, error)
	ExportTrust(ctx context.Context, by administration.Caller) ([]byte, error)
	ExportKey(ctx context.Context, by administration.Caller) (string, error)
	ImportTrust(ctx context.Context, by administration.Caller, signed []byte, keyPEM string, dryRun bool) (client.TrustImport, error)

	Watched(ctx context.Context, by administration.Caller, f administration.WatchFilter) (client.Page[client.WatchedImage], error)
	Watch(ctx context.Context, by administration.Caller, n client.NewWatch) (client.WatchedImage, error)
	Unwatch(ctx context.Context, by administration.Caller, id string) error
	WebhookKey(ctx context.Context, by administration.Caller, name string) (client.WebhookKey, error)

	Gateways(ctx context.Context, by administration.Caller, query string, limit int, after string) (client.Page[client.Gateway], error)
	Gateway(ctx context.Context, by administration.Caller, name string) (client.Gateway, error)
	PutGateway(ctx context.Context, by administration.Caller, name string, g client.PutGateway, version *int64) (client.Gateway, error)
	DeleteGateway(ctx context.Context, by administration.Caller, name string, version int64) error

	Audit(ctx context.Context, by administration.Caller, f administration.AuditFilter) (client.Page[client.AuditEntry], error)
	AuditHead(ctx context.Context, by administration.Caller) (client.AuditHead, error)
	VerifyAudit(ctx context.Context, by administration.Caller, known client.AuditHead) (client.AuditHead, error)
	RotateSecret(ctx context.Context, by administration.Caller) error
}

const (
	headerWhy = "Signet-Why"
	// longestWhy is in bytes.
	longestWhy = 500
)

// by makes an endpoint of a function that is told who asks, from where and why.
func (s *Server) by(serve func(context.Context, *call, administration.Caller) (reply, error)) func(context.Context, *call) (reply, error) {
	return func(ctx context.Context, c *call) (reply, error) {
		why, p := reason(c.echo.Request().Header)
		if p != nil {
			return reply{}, p
		}
		out, err := serve(ctx, c, administration.Caller{Principal: c.principal, From: from(c), Why: why})
		if c.route.method == http.MethodGet {
			err = ofQuery(err)
		}
		return out, err
	}
}

// ofQuery says of mistakes that they are in the query: a GET has nothing else.
func ofQuery(err error) error {
	var all administration.FieldErrors
	if !errors.As(err, &all) {
		return err
	}
	all = slices.Clone(all)
	for i := range all {
		if all[i].Field != "" {
			all[i].Field = "query." + all[i].Field
		}
	}
	return all
}

// from names where a request comes from, for the audit log.
func from(c *call) string {
	if ip := c.echo.RealIP(); ip != "" {
		return ip
	}
	return c.echo.Request().RemoteAddr // a Unix socket's has no address
}

// reason reads why a change is made; it goes into the audit log as it is.
func reason(h http.Header) (string, *problem) {
	values := h[headerWhy]
	bad := func(detail string) *problem {
		return &problem{code: codeInvalidField, field: "header." + headerWhy, detail: detail}
	}
	switch {
	case len(values) == 0:
		return "", nil
	case len(values) > 1:
		return "", bad("The header Signet-Why is there several times. Send it once.")
	case len(values[0]) > longestWhy:
		return "", bad("The header Signet-Why has " + strconv.Itoa(len(values[0])) + " bytes; 500 are the most.")
	case !printable(values[0]):
		return "", bad("The header Signet-Why has characters that cannot be printed. Write it in UTF-8.")
	}
	return values[0], nil
}

func printable(s string) bool { return pep.Printable(s) }

// etag is the entity tag of a version.
func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// ifMatch reads the version that a change is meant for; there is false without
// the header. Only one strong tag will do (RFC 9110, section 13.1.1, knows
// lists, weak tags and *, and each would let through a change that was not
// looked at).
func ifMatch(h http.Header) (version int64, there bool, err error) {
	values := h["If-Match"]
	if len(values) == 0 {
		return 0, false, nil
	}
	tag := strings.TrimSpace(values[0])
	if len(values) > 1 || len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' || strings.ContainsAny(tag[1:len(tag)-1], `",`) {
		return 0, false, &problem{code: codeInvalidField, field: "header.If-Match", detail: `Send the header If-Match with the ETag that you read, like "3" with its quotes, and nothing else.`}
	}
	version, err = strconv.ParseInt(tag[1:len(tag)-1], 10, 64)
	if err != nil || version < 1 || etag(version) != tag {
		return 0, true, stale() // a tag that we never gave is none of what there is
	}
	return version, true, nil
}

// needIfMatch wants a version.
func needIfMatch(h http.Header) (int64, error) {
	version, there, err := ifMatch(h)
	if err == nil && !there {
		err = noPrecondition()
	}
	return version, err
}

func noPrecondition() *problem {
	return &problem{code: codeNoPrecondition, field: "header.If-Match", detail: "Send the header If-Match with the ETag of what you read, so that nobody's change is lost."}
}

func stale() *problem {
	return &problem{code: codeStale, field: "header.If-Match", detail: "It was changed since you read it. Read it again, and send its ETag as If-Match."}
}

// putVersion reads what a PUT may meet: nil is nothing, else that version. New
// says that If-None-Match: * asked for nothing to be there.
func putVersion(h http.Header) (version *int64, isNew bool, err error) {
	v, there, err := ifMatch(h)
	if err != nil {
		return nil, false, err
	}
	none := h["If-None-Match"]
	switch {
	case len(none) > 0 && (len(none) > 1 || strings.TrimSpace(none[0]) != "*"):
		return nil, false, &problem{code: codeInvalidField, field: "header.If-None-Match", detail: "Send the header If-None-Match only as *, to make what must not be there yet."}
	case len(none) > 0 && there:
		return nil, false, &problem{code: codeInvalidField, field: "header.If-None-Match", detail: "Send either If-Match, to change what is there, or If-None-Match: *, to make what is not."}
	case there:
		return &v, false, nil
	}
	return nil, len(none) > 0, nil
}

// putProblem tells a PUT that met what it did not expect to say which version
// it means; exists is asked only then.
func putProblem(err error, version *int64, isNew bool, exists func() bool) error {
	switch {
	case version != nil || !errors.Is(err, administration.ErrConflict) || !exists():
		return err
	case isNew:
		return &problem{code: codeStale, field: "header.If-None-Match", detail: "It is there already. To change it, read it and send its ETag as If-Match."}
	}
	p := noPrecondition()
	p.detail = "It is there already. " + p.detail
	return p
}

// jsonOf answers with v.
func jsonOf(status int, v any, err error) (reply, error) {
	if err != nil {
		return reply{}, err
	}
	body, err := encode(v)
	if err != nil {
		return reply{}, err
	}
	return reply{status: status, contentType: mediaJSON, body: body}, nil
}

// versioned answers with v and its version.
func versioned(status int, v any, version int64, err error) (reply, error) {
	out, err := jsonOf(status, v, err)
	out.etag = etag(version)
	return out, err
}

// noContent answers that it is done.
func noContent(err error) (reply, error) { return reply{status: http.StatusNoContent}, err }

// administrationProblem is the table from errors of administration to problems;
// nil for others. Their texts are meant for who asked.
func administrationProblem(err error) *problem {
	var all administration.FieldErrors
	if errors.As(err, &all) && len(all) > 0 {
		list := make([]fieldProblem, 0, len(all))
		for _, e := range all {
			list = append(list, fieldProblem{e.Field, sentence(e.Problem)})
		}
		return invalidFields(list)
	}
	for _, known := range []struct {
		err  error
		code code
	}{
		{administration.ErrStale, codeStale},
		{administration.ErrNotFound, codeNotFound},
		{administration.ErrConflict, codeConflict},
		{administration.ErrNotYours, codeNotYours},
		{administration.ErrOutOfScope, codeOutOfScope},
		{administration.ErrRole, codeRoleMissing},
		{administration.ErrForbidden, codeNotYours}, // what wraps it comes above
	} {
		if errors.Is(err, known.err) {
			return &problem{code: known.code, detail: sentence(err.Error()), cause: err}
		}
	}
	return nil
}

// invalidFields tells all mistakes together.
func invalidFields(list []fieldProblem) *problem {
	names := make([]string, 0, len(list))
	for _, e := range list {
		names = append(names, shown(e.Field))
	}
	p := &problem{code: codeInvalidFields, field: list[0].Field, errors: list}
	switch {
	case len(list) == 1 && p.field == "":
		p.detail = list[0].Detail
	case len(list) == 1:
		p.detail = "The field " + names[0] + " is not right: " + lowerFirst(list[0].Detail)
	case len(list) <= mostNamed:
		p.detail = strconv.Itoa(len(list)) + " fields are not right: " + strings.Join(names, ", ") + "."
	default:
		p.detail = strconv.Itoa(len(list)) + " fields are not right: " + strings.Join(names[:mostNamed], ", ") + " and others."
	}
	return p
}

// mostNamed is how many fields stand in one sentence.
const mostNamed = 10

// sentence makes an error's text one.
func sentence(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return "It is not right."
	}
	s = string(unicode.ToUpper(r)) + s[n:]
	if !strings.ContainsAny(s[len(s)-1:], ".?") {
		s += "."
	}
	return s
}

// lowerFirst is for a sentence behind a colon.
func lowerFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToLower(r)) + s[n:]
}
