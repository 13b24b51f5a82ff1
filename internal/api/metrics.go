package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/verdict"
)

// metrics are what requests are counted in.
type metrics struct {
	verdicts *prometheus.CounterVec
	problems *prometheus.CounterVec
	duration *prometheus.HistogramVec
	panics   prometheus.Counter
	// asked holds the counters of verdicts, found without hashing labels.
	asked map[asked]prometheus.Counter
}

type asked struct {
	decision verdict.Decision
	cache    string
}

// fromRedis is what the engine says of an answer from the second tier.
const fromRedis = "redis"

func ownRegistry() (*prometheus.Registry, error) {
	r := prometheus.NewRegistry()
	if err := r.Register(collectors.NewGoCollector()); err != nil {
		return nil, err
	}
	if err := r.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})); err != nil {
		return nil, err
	}
	return r, nil
}

func newMetrics(r *prometheus.Registry, cfg Config) (*metrics, error) {
	m := &metrics{
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signet_verdicts_total", Help: "Verdicts given, by decision and by where they came from (memory, redis, miss).",
		}, []string{"decision", "cache"}),
		problems: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signet_problems_total", Help: "Requests answered with a problem, by status and code.",
		}, []string{"status", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "signet_request_duration_seconds", Help: "Time to answer, by route; for verdicts also by where they came from.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route", "cache"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "signet_panics_total", Help: "Handlers that panicked; each was answered with 500.",
		}),
		asked: map[asked]prometheus.Counter{},
	}
	all := []prometheus.Collector{m.verdicts, m.problems, m.duration, m.panics, buildInfo(cfg.Build)}
	if cfg.Stats != nil {
		all = append(all, engineStats(cfg.Stats)...)
	}
	if cfg.Shadows != nil {
		all = append(all, shadowCounts(cfg.Shadows))
	}
	for _, c := range cfg.Counters {
		all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: c.Name, Help: c.Help, ConstLabels: c.Labels}, c.Value))
	}
	for _, g := range cfg.Gauges {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: g.Name, Help: g.Help}, g.Value))
	}
	for _, c := range append(all, cfg.Collectors...) {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	for _, d := range []verdict.Decision{verdict.Allow, verdict.Deny, verdict.Unknown} {
		for _, cache := range []string{engine.FromMemory, fromRedis, engine.FromMiss} {
			m.asked[asked{d, cache}] = m.verdicts.WithLabelValues(string(d), cache)
		}
	}
	return m, nil
}

func buildInfo(build string) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "signet_build_info", Help: "Always 1; the label names the build.", ConstLabels: prometheus.Labels{"build": build},
	})
	g.Set(1)
	return g
}

// countStreams shows how many listen for events.
func (s *Server) countStreams() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "signet_event_streams", Help: "Callers who listen for events."},
		func() float64 { return float64(s.streams.Load()) })
}

func engineStats(st *engine.Stats) []prometheus.Collector {
	counter := func(name, help string, labels prometheus.Labels, n *atomic.Int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(n.Load()) })
	}
	computed := func(d verdict.Decision, n *atomic.Int64) prometheus.Collector {
		return counter("signet_engine_verdicts_total", "Verdicts computed, not repeated from a cache, by decision.", prometheus.Labels{"decision": string(d)}, n)
	}
	return []prometheus.Collector{
		counter("signet_engine_hits_total", "Answers repeated from a cache.", nil, &st.Hits),
		counter("signet_engine_misses_total", "Answers that were not in a cache.", nil, &st.Misses),
		counter("signet_engine_alarms_total", "Policy errors and panics: each wants a look at the log.", nil, &st.Alarms),
		computed(verdict.Allow, &st.Allow), computed(verdict.Deny, &st.Deny), computed(verdict.Unknown, &st.Unknown),
	}
}

func (m *metrics) verdict(d verdict.Decision, cache string) {
	if n, ok := m.asked[asked{d, cache}]; ok {
		n.Inc()
		return
	}
	m.verdicts.WithLabelValues(string(d), "other").Inc()
}

func (m *metrics) problem(p *problem) {
	m.problems.WithLabelValues(strconv.Itoa(p.status()), string(p.code)).Inc()
}

// timings are one route's histograms, found without hashing labels.
type timings struct {
	plain, memory, redis, miss prometheus.Observer
}

func (m *metrics) timings(route string) *timings {
	plain := m.duration.WithLabelValues(route, "")
	return &timings{plain: plain, memory: plain, redis: plain, miss: plain}
}

// byCache tells answers from a cache and computed ones apart.
func (m *metrics) byCache(route string) *timings {
	of := func(cache string) prometheus.Observer { return m.duration.WithLabelValues(route, cache) }
	return &timings{plain: of(""), memory: of(engine.FromMemory), redis: of(fromRedis), miss: of(engine.FromMiss)}
}

func (t *timings) observe(cache string, took time.Duration) {
	o := t.plain
	switch cache {
	case engine.FromMemory:
		o = t.memory
	case fromRedis:
		o = t.redis
	case engine.FromMiss:
		o = t.miss
	}
	o.Observe(took.Seconds())
}

// exposition shows the registry in the format that the caller's Accept asks
// for, Prometheus' text format unless it is another.
func exposition(r *prometheus.Registry) func(context.Context, *call) (reply, error) {
	h := promhttp.HandlerFor(r, promhttp.HandlerOpts{DisableCompression: true, ErrorHandling: promhttp.HTTPErrorOnError})
	return func(_ context.Context, c *call) (reply, error) {
		shown := capture{header: http.Header{}, status: http.StatusOK}
		h.ServeHTTP(&shown, c.echo.Request())
		if shown.status != http.StatusOK {
			return reply{}, fmt.Errorf("gathering metrics: %s", bytes.TrimSpace(shown.body.Bytes()))
		}
		return reply{status: http.StatusOK, contentType: shown.header.Get("Content-Type"), body: shown.body.Bytes()}, nil
	}
}

// capture keeps what a handler writes, so that it goes out as all else does.
type capture struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (c *capture) Header() http.Header         { return c.header }
func (c *capture) WriteHeader(status int)      { c.status = status }
func (c *capture) Write(b []byte) (int, error) { return c.body.Write(b) }
