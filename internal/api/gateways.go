package api

import (
	"context"
	"net/http"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
)

const gatewayExample = `{"gateway_id": "5f2c…", "image": "ghcr.io/org/tools@sha256:…"}`

func (s *Server) getGateway(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	got, err := s.cfg.Administration.Gateway(ctx, by, c.echo.Param("name"))
	return versioned(http.StatusOK, got, got.Version, err)
}

// putGateway says what stands behind a gateway.
func (s *Server) putGateway(ctx context.Context, c *call, by administration.Caller, req *client.PutGateway) (reply, error) {
	name := c.echo.Param("name")
	version, isNew, err := putVersion(c.echo.Request().Header)
	if err != nil {
		return reply{}, err
	}
	if p := checkImage(req.Image); p != nil {
		return reply{}, p
	}
	got, err := s.cfg.Administration.PutGateway(ctx, by, name, *req, version)
	if err != nil {
		return reply{}, putProblem(err, version, isNew, func() bool {
			is, err := s.cfg.Administration.Gateway(ctx, by, name)
			return err == nil && is.Source != sourceConfiguration
		})
	}
	return putReply(c, version, name, got, got.Version)
}

func (s *Server) deleteGateway(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	version, err := needIfMatch(c.echo.Request().Header)
	if err != nil {
		return reply{}, err
	}
	return noContent(s.cfg.Administration.DeleteGateway(ctx, by, c.echo.Param("name"), version))
}
