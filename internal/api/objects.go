package api

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/auth"
)

const (
	tokenExample       = `{"name": "gateway", "role": "verifier", "expires_in": "90d"}` //nolint:gosec // G101: asks for a token, and has none
	setupExample       = `{"name": "first administrator"}`
	trustRootExample   = `{"trusted_root": {…}}`
	trustImportExample = `{"archive": {…}, "public_key": "-----BEGIN PUBLIC KEY-----…"}`
	verifyAuditExample = `{"known": {"seq": 12, "hash": "…"}}`
)

// listOf makes an endpoint of a list that administration cuts into pages.
func listOf[T any](list func(context.Context, administration.Caller, int, string) (client.Page[T], error)) func(context.Context, *call, administration.Caller) (reply, error) {
	return func(ctx context.Context, c *call, by administration.Caller) (reply, error) {
		q := paramsOf(c)
		limit, after := q.limit(), q.cursor()
		if err := q.problem(); err != nil {
			return reply{}, err
		}
		page, err := list(ctx, by, limit, after)
		return pageOf(page, err)
	}
}

// filteredList is that of a list with one filter, "" for all.
func filteredList[T any](filter string, list func(context.Context, administration.Caller, string, int, string) (client.Page[T], error)) func(context.Context, *call, administration.Caller) (reply, error) {
	return func(ctx context.Context, c *call, by administration.Caller) (reply, error) {
		q := paramsOf(c)
		value, limit, after := q.text(filter, longestFilter), q.limit(), q.cursor()
		if err := q.problem(); err != nil {
			return reply{}, err
		}
		page, err := list(ctx, by, value, limit, after)
		return pageOf(page, err)
	}
}

func (s *Server) createToken(ctx context.Context, c *call, by administration.Caller, req *client.NewToken) (reply, error) {
	got, err := s.cfg.Administration.CreateToken(ctx, by, *req)
	out, err := jsonOf(http.StatusCreated, got, err)
	out.location = c.route.path + "/" + got.ID
	return out, err
}

func (s *Server) getToken(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	got, err := s.cfg.Administration.Token(ctx, by, c.echo.Param("id"))
	return jsonOf(http.StatusOK, got, err)
}

func (s *Server) revokeToken(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	return noContent(s.cfg.Administration.RevokeToken(ctx, by, c.echo.Param("id")))
}

type setupRequest struct {
	Name string `json:"name"`
}

// setup trades the token that the first start printed for an administrator's.
// It is no API token, so the request comes here without a principal.
func (s *Server) setup(ctx context.Context, c *call, req *setupRequest) (reply, error) {
	token, err := bearer(c.echo.Request().Header)
	if err != nil {
		return reply{}, err
	}
	source := sourceOf(s.source(c))
	if wait, empty := s.guesses.byToken.empty(guess{source, setupGuess}, c.begun); empty {
		return reply{}, tooManyGuesses(wait)
	}
	got, err := s.cfg.Administration.Setup(ctx, from(c), token, req.Name)
	if errors.Is(err, auth.ErrUnknown) {
		if wait, over := s.guesses.failed(source, setupGuess, c.begun); over {
			return reply{}, tooManyGuesses(wait)
		}
	}
	return jsonOf(http.StatusCreated, got, err)
}

// setupGuess stands for the setup token's id: there is only one.
const setupGuess = "setup"

func (s *Server) whoami(_ context.Context, c *call) (reply, error) {
	p := c.principal
	got := client.Whoami{Name: p.Name, Role: string(p.Role), Team: p.Team, Images: p.Images, TokenID: p.TokenID}
	if got.Images == nil {
		got.Images = []string{}
	}
	if !p.ExpiresAt.IsZero() {
		got.ExpiresAt = &p.ExpiresAt
	}
	return jsonOf(http.StatusOK, got, nil)
}

func (s *Server) getPolicy(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	got, err := s.cfg.Administration.Policy(ctx, by, c.echo.Param("name"))
	return versioned(http.StatusOK, got, got.Version, err)
}

func (s *Server) putPolicy(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	name := c.echo.Param("name")
	version, isNew, err := putVersion(c.echo.Request().Header)
	if err != nil {
		return reply{}, err
	}
	q := paramsOf(c)
	owner := q.text("owner", longestFilter)
	if err := q.problem(); err != nil {
		return reply{}, err
	}
	got, err := s.policyPut(ctx, c, by, name, owner, version)
	if err != nil {
		return reply{}, putProblem(err, version, isNew, func() bool {
			is, err := s.cfg.Administration.Policy(ctx, by, name)
			return err == nil && is.Source != sourceConfiguration
		})
	}
	return putReply(c, version, name, got, got.Version)
}

// sourceConfiguration is the source of what is changed in the configuration, so
// that no version would do.
const sourceConfiguration = "configuration"

// putReply answers a PUT: 201 for what was made, 200 for what was there.
func putReply(c *call, version *int64, name string, v any, now int64) (reply, error) {
	if version != nil {
		return versioned(http.StatusOK, v, now, nil)
	}
	out, err := versioned(http.StatusCreated, v, now, nil)
	out.location = strings.TrimSuffix(c.route.path, ":name") + url.PathEscape(name)
	return out, err
}

func (s *Server) deletePolicy(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	version, err := needIfMatch(c.echo.Request().Header)
	if err != nil {
		return reply{}, err
	}
	return noContent(s.cfg.Administration.DeletePolicy(ctx, by, c.echo.Param("name"), version))
}

// trustRoots cuts the trust roots into pages. They are few, in the order in
// which they are tried, and the cursor is a name.
func (s *Server) trustRoots(ctx context.Context, by administration.Caller, limit int, after string) (client.Page[client.TrustRoot], error) {
	all, err := s.cfg.Administration.TrustRoots(ctx, by)
	if err != nil {
		return client.Page[client.TrustRoot]{}, err
	}
	if after != "" {
		i := slices.IndexFunc(all, func(r client.TrustRoot) bool { return r.Name == after })
		if i < 0 {
			return client.Page[client.TrustRoot]{}, invalidFields([]fieldProblem{{"query.cursor", "It is none of this list, or what it stood at is gone. Begin without it."}})
		}
		all = all[i+1:]
	}
	if len(all) <= limit {
		return client.Page[client.TrustRoot]{Items: all}, nil
	}
	return client.Page[client.TrustRoot]{Items: all[:limit], Next: all[limit-1].Name}, nil
}

func (s *Server) getTrustRoot(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	got, err := s.cfg.Administration.TrustRoot(ctx, by, c.echo.Param("name"))
	return versioned(http.StatusOK, got, got.Version, err)
}

func (s *Server) putTrustRoot(ctx context.Context, c *call, by administration.Caller, req *client.PutTrustRoot) (reply, error) {
	name := c.echo.Param("name")
	version, isNew, err := putVersion(c.echo.Request().Header)
	if err != nil {
		return reply{}, err
	}
	got, err := s.cfg.Administration.PutTrustRoot(ctx, by, name, *req, version)
	if err != nil {
		return reply{}, putProblem(err, version, isNew, func() bool {
			is, err := s.cfg.Administration.TrustRoot(ctx, by, name)
			return err == nil && is.Source != sourceConfiguration
		})
	}
	return putReply(c, version, name, got, got.Version)
}

func (s *Server) patchTrustRoot(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	version, err := needIfMatch(c.echo.Request().Header)
	if err != nil {
		return reply{}, err
	}
	got, err := s.cfg.Administration.PatchTrustRoot(ctx, by, c.echo.Param("name"), version, c.body)
	return versioned(http.StatusOK, got, got.Version, err)
}

func (s *Server) deleteTrustRoot(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	version, err := needIfMatch(c.echo.Request().Header)
	if err != nil {
		return reply{}, err
	}
	return noContent(s.cfg.Administration.DeleteTrustRoot(ctx, by, c.echo.Param("name"), version))
}

func (s *Server) refreshTrustRoot(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	got, err := s.cfg.Administration.RefreshTrustRoot(ctx, by, c.echo.Param("name"))
	return versioned(http.StatusOK, got, got.Version, err)
}

func (s *Server) exportTrust(ctx context.Context, _ *call, by administration.Caller) (reply, error) {
	body, err := s.cfg.Administration.ExportTrust(ctx, by)
	return reply{status: http.StatusOK, contentType: "application/vnd.dsse.envelope.v1+json", body: body}, err
}

func (s *Server) exportKey(ctx context.Context, _ *call, by administration.Caller) (reply, error) {
	pem, err := s.cfg.Administration.ExportKey(ctx, by)
	return reply{status: http.StatusOK, contentType: "application/x-pem-file", body: []byte(pem)}, err
}

type trustImportRequest struct {
	Archive   json.RawMessage `json:"archive"`
	PublicKey string          `json:"public_key"`
}

func (s *Server) importTrust(ctx context.Context, c *call, by administration.Caller, req *trustImportRequest) (reply, error) {
	q := paramsOf(c)
	dryRun := q.flag("dry_run")
	if len(req.Archive) == 0 || string(req.Archive) == "null" {
		q.bad = append(q.bad, fieldProblem{"archive", "It is missing. Send the file that `signet trust export` wrote."})
	}
	if req.PublicKey == "" {
		q.bad = append(q.bad, fieldProblem{"public_key", "It is missing. Send the key that the archive must be signed with, as PEM; the exporting server gives it at /api/v1/trust/export-key."})
	}
	if err := q.problem(); err != nil {
		return reply{}, err
	}
	got, err := s.cfg.Administration.ImportTrust(ctx, by, req.Archive, req.PublicKey, isTrue(dryRun))
	return jsonOf(http.StatusOK, got, err)
}

// listAudit reads backwards; Next goes into before.
func (s *Server) listAudit(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	q := paramsOf(c)
	f := administration.AuditFilter{
		Object: q.text("object", longestFilter), Name: q.text("name", longestFilter), Actor: q.text("actor", longestFilter), Action: q.text("action", longestFilter),
		Since: q.time("since"), Until: q.time("until"), Before: q.whole("before", 1, math.MaxInt64, 0), Limit: q.limit(),
	}
	if err := q.problem(); err != nil {
		return reply{}, err
	}
	page, err := s.cfg.Administration.Audit(ctx, by, f)
	return pageOf(page, err)
}

func (s *Server) auditHead(ctx context.Context, _ *call, by administration.Caller) (reply, error) {
	got, err := s.cfg.Administration.AuditHead(ctx, by)
	return jsonOf(http.StatusOK, got, err)
}

type verifyAuditRequest struct {
	Known client.AuditHead `json:"known"`
}

func (s *Server) verifyAudit(ctx context.Context, _ *call, by administration.Caller, req *verifyAuditRequest) (reply, error) {
	got, err := s.cfg.Administration.VerifyAudit(ctx, by, req.Known)
	if errors.Is(err, administration.ErrCorrupt) {
		return reply{}, &problem{code: codeAuditDamaged, detail: sentence(err.Error()), cause: err}
	}
	return jsonOf(http.StatusOK, got, err)
}

func (s *Server) rotateSecret(ctx context.Context, _ *call, by administration.Caller) (reply, error) {
	return noContent(s.cfg.Administration.RotateSecret(ctx, by))
}
