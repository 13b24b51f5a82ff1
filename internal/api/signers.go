package api

import (
	"context"
	"net/http"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
)

const (
	signerExample     = `{"name": "ci", "type": "keyless", "issuer": "https://accounts.google.com", "subject": "builder@example.com", "enabled": true}`
	compromiseExample = `{"since": "2025-07-01T12:00:00Z", "why": "the key was copied"}`
	readKeyExample    = `{"kms_key_ref": "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k"}`
	acceptExample     = `{"fingerprint": "<SHA-256 of the pending key>"}`
)

func (s *Server) listSigners(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	q := paramsOf(c)
	f := administration.SignerFilter{
		Query: q.text("query", longestFilter), Type: q.oneOf("type", "keyless", "public_key", "kms"),
		State: q.oneOf("state", "in_force", "disabled", "not_yet", "expired"), Owner: q.text("owner", longestFilter),
		Enabled: q.flag("enabled"), Sort: q.oneOf("sort", administration.SignerSorts()...), Limit: q.limit(), After: q.cursor(),
	}
	if err := q.problem(); err != nil {
		return reply{}, err
	}
	page, err := s.cfg.Administration.Signers(ctx, by, f)
	return pageOf(page, err)
}

func (s *Server) createSigner(ctx context.Context, c *call, by administration.Caller, req *client.Signer) (reply, error) {
	got, err := s.cfg.Administration.CreateSigner(ctx, by, *req)
	out, err := versioned(http.StatusCreated, got, got.Version, err)
	out.location = c.route.path + "/" + got.ID
	return out, err
}

func (s *Server) getSigner(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	got, err := s.cfg.Administration.Signer(ctx, by, c.echo.Param("id"))
	return versioned(http.StatusOK, got, got.Version, err)
}

func (s *Server) patchSigner(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	version, err := needIfMatch(c.echo.Request().Header)
	if err != nil {
		return reply{}, err
	}
	got, err := s.cfg.Administration.UpdateSigner(ctx, by, c.echo.Param("id"), version, c.body)
	return versioned(http.StatusOK, got, got.Version, err)
}

func (s *Server) deleteSigner(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	version, err := needIfMatch(c.echo.Request().Header)
	if err != nil {
		return reply{}, err
	}
	return noContent(s.cfg.Administration.DeleteSigner(ctx, by, c.echo.Param("id"), version))
}

func (s *Server) compromiseSigner(ctx context.Context, c *call, by administration.Caller, req *client.Compromise) (reply, error) {
	got, err := s.cfg.Administration.CompromiseSigner(ctx, by, c.echo.Param("id"), *req)
	return versioned(http.StatusOK, got, got.Signer.Version, err)
}

func (s *Server) acceptKey(ctx context.Context, c *call, by administration.Caller, req *client.AcceptKey) (reply, error) {
	got, err := s.cfg.Administration.AcceptKey(ctx, by, c.echo.Param("id"), *req)
	return versioned(http.StatusOK, got, got.Version, err)
}

func (s *Server) readKey(ctx context.Context, _ *call, by administration.Caller, req *client.ReadKey) (reply, error) {
	got, err := s.cfg.Administration.ReadKey(ctx, by, *req)
	return jsonOf(http.StatusOK, got, err)
}

func (s *Server) refreshKey(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	got, err := s.cfg.Administration.RefreshKey(ctx, by, c.echo.Param("id"))
	return versioned(http.StatusOK, got, got.Version, err)
}

func (s *Server) signerVerdicts(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	q := paramsOf(c)
	limit, after := q.limit(), q.cursor()
	if err := q.problem(); err != nil {
		return reply{}, err
	}
	page, err := s.cfg.Administration.SignerVerdicts(ctx, by, c.echo.Param("id"), limit, after)
	return pageOf(page, err)
}

func (s *Server) importSigners(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	q := paramsOf(c)
	dryRun, replace := q.flag("dry_run"), q.flag("replace")
	if err := q.problem(); err != nil {
		return reply{}, err
	}
	got, err := s.cfg.Administration.ImportSigners(ctx, by, c.body, administration.ImportOptions{DryRun: isTrue(dryRun), Replace: isTrue(replace)})
	return jsonOf(http.StatusOK, got, err)
}

func isTrue(b *bool) bool { return b != nil && *b }

func (s *Server) exportSigners(ctx context.Context, _ *call, by administration.Caller) (reply, error) {
	body, err := s.cfg.Administration.ExportSigners(ctx, by)
	return reply{status: http.StatusOK, contentType: mediaYAML, body: body}, err
}

// pageOf answers with a page whose items are a list, never null.
func pageOf[T any](page client.Page[T], err error) (reply, error) {
	if page.Items == nil {
		page.Items = []T{}
	}
	return jsonOf(http.StatusOK, page, err)
}
