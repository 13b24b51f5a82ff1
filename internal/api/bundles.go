package api

import (
	"context"
	"encoding/base64"
	"math"
	"mime"
	"net/http"
	"strconv"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
)

const (
	rollbackExample  = `{"to": 3}`
	policyPutExample = `{"signing_policy": "…", "archive": "…"}`
	bundlePutExample = `{"archive": "…", "keys": {"release": "-----BEGIN PUBLIC KEY-----…"}}`
)

// policyPutRequest is a policy's document with the archive of its bundle, in
// base64.
type policyPutRequest struct {
	SigningPolicy string `json:"signing_policy"`
	Archive       string `json:"archive"`
}

// bundlePutRequest is the archive of a bundle, in base64, with who must have
// signed it.
type bundlePutRequest struct {
	Archive string            `json:"archive"`
	Keys    map[string]string `json:"keys"`
	Scope   string            `json:"scope"`
}

// bundlePut puts what the body's media type says it is: an archive, or one with the
// keys of who must have signed it.
func (s *Server) bundlePut(ctx context.Context, c *call, by administration.Caller, name, owner string, version *int64) (client.Bundle, error) {
	a := s.cfg.Administration
	if media, _, _ := mime.ParseMediaType(c.echo.Request().Header.Get("Content-Type")); media != mediaKeyedBundle { // checked when the body was read
		return a.PutBundle(ctx, by, name, owner, c.body, version)
	}
	var req bundlePutRequest
	if p := decode(c.body, &req, bundlePutExample); p != nil {
		return client.Bundle{}, p
	}
	archive, err := base64.StdEncoding.Strict().DecodeString(req.Archive)
	switch {
	case err != nil:
		return client.Bundle{}, invalidFields([]fieldProblem{{"archive", "It is not base64 (RFC 4648, section 4): " + err.Error() + "."}})
	case len(archive) == 0:
		return client.Bundle{}, invalidFields([]fieldProblem{{"archive", "Send the archive in base64; a change of keys alone is a PATCH."}})
	}
	return a.PutBundleWith(ctx, by, name, owner, archive, req.Keys, req.Scope, version)
}

// policyPut puts what the body's media type says it is: a document, the archive of
// the policy's bundle, or both.
func (s *Server) policyPut(ctx context.Context, c *call, by administration.Caller, name, owner string, version *int64) (client.Policy, error) {
	a := s.cfg.Administration
	media, _, _ := mime.ParseMediaType(c.echo.Request().Header.Get("Content-Type")) // checked when the body was read
	switch media {
	case mediaGzip, mediaBundle:
		if owner != "" {
			return client.Policy{}, invalidFields([]fieldProblem{{"query.owner", "It goes with a document; an archive leaves the policy's owner as it is."}})
		}
		return a.PublishPolicy(ctx, by, name, c.body, version)
	case mediaPolicy:
		var req policyPutRequest
		if p := decode(c.body, &req, policyPutExample); p != nil {
			return client.Policy{}, p
		}
		archive, err := base64.StdEncoding.Strict().DecodeString(req.Archive)
		if err != nil {
			return client.Policy{}, invalidFields([]fieldProblem{{"archive", "It is not base64 (RFC 4648, section 4): " + err.Error() + "."}})
		}
		if req.SigningPolicy == "" || len(archive) == 0 {
			return client.Policy{}, invalidFields([]fieldProblem{{"archive", "Send both signing_policy, a document, and archive, its bundle in base64. A document alone is application/yaml."}})
		}
		return a.PutPolicyWith(ctx, by, name, owner, []byte(req.SigningPolicy), archive, version)
	}
	return a.PutPolicy(ctx, by, name, owner, c.body, version)
}

func (s *Server) getBundle(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	got, err := s.cfg.Administration.Bundle(ctx, by, c.echo.Param("name"))
	return versioned(http.StatusOK, got, got.Version, err)
}

func (s *Server) putBundle(ctx context.Context, c *call, by administration.Caller) (reply, error) {
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
	got, err := s.bundlePut(ctx, c, by, name, owner, version)
	if err != nil {
		return reply{}, putProblem(err, version, isNew, func() bool {
			is, err := s.cfg.Administration.Bundle(ctx, by, name)
			return err == nil && is.Source != sourceConfiguration
		})
	}
	return putReply(c, version, name, got, got.Version)
}

func (s *Server) patchBundle(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	version, err := needIfMatch(c.echo.Request().Header)
	if err != nil {
		return reply{}, err
	}
	got, err := s.cfg.Administration.PatchBundle(ctx, by, c.echo.Param("name"), version, c.body)
	return versioned(http.StatusOK, got, got.Version, err)
}

func (s *Server) deleteBundle(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	version, err := needIfMatch(c.echo.Request().Header)
	if err != nil {
		return reply{}, err
	}
	return noContent(s.cfg.Administration.DeleteBundle(ctx, by, c.echo.Param("name"), version))
}

func (s *Server) bundleArchive(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	archive, err := s.cfg.Administration.BundleArchive(ctx, by, c.echo.Param("name"))
	return reply{status: http.StatusOK, contentType: mediaGzip, body: archive}, err
}

func (s *Server) bundleHistory(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	return historyPage(c, func() ([]client.BundleVersion, error) {
		return s.cfg.Administration.BundleHistory(ctx, by, c.echo.Param("name"))
	}, func(v client.BundleVersion) int64 { return v.ActiveRevision })
}

func (s *Server) policyHistory(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	return historyPage(c, func() ([]client.PolicyVersion, error) {
		return s.cfg.Administration.PolicyHistory(ctx, by, c.echo.Param("name"))
	}, func(v client.PolicyVersion) int64 { return v.ActiveRevision })
}

// historyPage cuts a history, newest first, into pages. The cursor is the active
// revision that the page before ended at; the entries of one revision stay together.
func historyPage[T any](c *call, list func() ([]T, error), revision func(T) int64) (reply, error) {
	q := paramsOf(c)
	limit, cursor := q.limit(), q.cursor()
	if err := q.problem(); err != nil {
		return reply{}, err
	}
	before := int64(math.MaxInt64)
	if cursor != "" {
		var err error
		if before, err = strconv.ParseInt(cursor, 10, 64); err != nil {
			return reply{}, invalidFields([]fieldProblem{{"query.cursor", "It is none of this list. Begin without it."}})
		}
	}
	all, err := list()
	if err != nil {
		return reply{}, err
	}
	page := client.Page[T]{Items: []T{}}
	for _, v := range all {
		if revision(v) >= before {
			continue
		}
		if n := len(page.Items); n >= limit && revision(v) != revision(page.Items[n-1]) {
			page.Next = strconv.FormatInt(revision(page.Items[n-1]), 10)
			break
		}
		page.Items = append(page.Items, v)
	}
	return pageOf(page, nil)
}

type rollbackRequest struct {
	// To is the sequence of a bundle, or the active revision for a policy; absent:
	// what was before.
	To *int64 `json:"to"`
}

func (s *Server) rollbackBundle(ctx context.Context, c *call, by administration.Caller, req *rollbackRequest) (reply, error) {
	got, err := s.cfg.Administration.RollbackBundle(ctx, by, c.echo.Param("name"), req.To)
	return versioned(http.StatusOK, got, got.Version, err)
}

func (s *Server) rollbackPolicy(ctx context.Context, c *call, by administration.Caller, req *rollbackRequest) (reply, error) {
	version, removed, err := putVersion(c.echo.Request().Header)
	if err != nil {
		return reply{}, err
	}
	if removed { // it comes back where it is still not there
		version = new(int64)
	}
	name := c.echo.Param("name")
	got, err := s.cfg.Administration.RollbackPolicy(ctx, by, name, req.To, version)
	if removed && err != nil {
		return reply{}, putProblem(err, nil, true, func() bool {
			_, err := s.cfg.Administration.Policy(ctx, by, name)
			return err == nil
		})
	}
	return versioned(http.StatusOK, got, got.Version, err)
}

func (s *Server) fetchBundle(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	got, err := s.cfg.Administration.FetchBundle(ctx, by, c.echo.Param("name"))
	return versioned(http.StatusOK, got, got.Version, err)
}

func (s *Server) diffPolicy(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	q := paramsOf(c)
	from, to := q.revision("from"), q.revision("to")
	if err := q.problem(); err != nil {
		return reply{}, err
	}
	got, err := s.cfg.Administration.DiffPolicy(ctx, by, c.echo.Param("name"), from, to)
	return jsonOf(http.StatusOK, got, err)
}

// revision reads a revision of what is in force; nil where it is absent.
func (p *params) revision(name string) *int64 {
	if !p.values.Has(name) {
		return nil
	}
	n := p.whole(name, 1, math.MaxInt64, 0)
	return &n
}
