package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signet-policy/signet/internal/store"
)

// bundleMetrics tells how it stands with policy bundles. Attempts are counted by
// the server that made them; the rest is read from the store, so that every server
// shows the same.
type bundleMetrics struct {
	store    *store.Store
	attempts *prometheus.CounterVec
	last     *prometheus.Desc
	failed   *prometheus.Desc
}

// metricsTime bounds reading the store for one scrape.
const metricsTime = 2 * time.Second

func newBundleMetrics(s *store.Store) *bundleMetrics {
	return &bundleMetrics{
		store: s,
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signet_bundle_activations_total",
			Help: "Attempts to put a policy bundle into force, by how they ended (activated, unchanged, refused, unreachable).",
		}, []string{"bundle", "outcome"}),
		last: prometheus.NewDesc("signet_bundle_last_activation_seconds",
			"When the archive of the bundle that is in force was put there, in seconds since 1970.", []string{"bundle"}, nil),
		failed: prometheus.NewDesc("signet_bundle_last_error",
			"1 where the last attempt to put the bundle into force failed, else 0.", []string{"bundle"}, nil),
	}
}

func (m *bundleMetrics) activated(bundle, outcome string) {
	m.attempts.WithLabelValues(bundle, outcome).Inc()
}

// Describe implements [prometheus.Collector].
func (m *bundleMetrics) Describe(to chan<- *prometheus.Desc) {
	m.attempts.Describe(to)
	to <- m.last
	to <- m.failed
}

// Collect implements [prometheus.Collector]. What cannot be read is left out.
func (m *bundleMetrics) Collect(to chan<- prometheus.Metric) {
	m.attempts.Collect(to)
	ctx, cancel := context.WithTimeout(context.Background(), metricsTime)
	defer cancel()
	rows, err := m.store.Bundles(ctx)
	if err != nil || len(rows) == 0 {
		return
	}
	attempts, err := m.store.Upkeep(ctx, store.UpkeepBundle)
	if err != nil {
		return
	}
	failed := map[string]float64{}
	for _, a := range attempts {
		if a.Error != "" {
			failed[a.Key] = 1
		}
	}
	for _, r := range rows {
		if r.ActivatedAt != nil {
			to <- prometheus.MustNewConstMetric(m.last, prometheus.GaugeValue, float64(r.ActivatedAt.UnixMicro())/1e6, r.Name)
		}
		to <- prometheus.MustNewConstMetric(m.failed, prometheus.GaugeValue, failed[r.Name], r.Name)
	}
}
