package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/engine"
)

const exceptionExample = `{"images": ["ghcr.io/acme/legacy/**"], "codes": ["unsigned"], "reason": "…", "owner": "platform", "expires_at": "2027-01-31T00:00:00Z"}`

func (s *Server) addException(ctx context.Context, c *call, by administration.Caller, req *client.NewException) (reply, error) {
	version, err := needIfMatch(c.echo.Request().Header)
	if err != nil {
		return reply{}, err
	}
	got, err := s.cfg.Administration.AddException(ctx, by, c.echo.Param("name"), *req, version)
	return versioned(http.StatusOK, got, got.Version, err)
}

func (s *Server) removeException(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	version, err := needIfMatch(c.echo.Request().Header)
	if err != nil {
		return reply{}, err
	}
	place, err := strconv.Atoi(c.echo.Param("n"))
	if err != nil {
		place = 0 // no exception is there, as at any other place that is none
	}
	got, err := s.cfg.Administration.RemoveException(ctx, by, c.echo.Param("name"), place, version)
	return versioned(http.StatusOK, got, got.Version, err)
}

func (s *Server) getShadow(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	q := paramsOf(c)
	limit, after := q.limit(), q.cursor()
	if err := q.problem(); err != nil {
		return reply{}, err
	}
	got, err := s.cfg.Administration.Shadow(ctx, by, c.echo.Param("name"), limit, after)
	return jsonOf(http.StatusOK, got, err)
}

// shadowCollector shows what policies of mode shadow came to. Which there are
// changes while the server runs.
type shadowCollector struct {
	read             func() ([]engine.ShadowCount, int64)
	verdicts, failed *prometheus.Desc
}

func shadowCounts(read func() ([]engine.ShadowCount, int64)) prometheus.Collector {
	return shadowCollector{
		read: read,
		verdicts: prometheus.NewDesc("signet_shadow_verdicts_total", "Verdicts of policies in shadow, by how they compare with what was decided.",
			[]string{"policy", "outcome"}, nil),
		failed: prometheus.NewDesc("signet_shadow_dropped_total", "Verdicts without all of their shadows, because too many waited or something failed.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c shadowCollector) Describe(out chan<- *prometheus.Desc) { out <- c.verdicts; out <- c.failed }

// Collect implements prometheus.Collector.
func (c shadowCollector) Collect(out chan<- prometheus.Metric) {
	counts, dropped := c.read()
	for _, n := range counts {
		out <- prometheus.MustNewConstMetric(c.verdicts, prometheus.CounterValue, float64(n.Count), n.Policy, n.Outcome)
	}
	out <- prometheus.MustNewConstMetric(c.failed, prometheus.CounterValue, float64(dropped))
}
