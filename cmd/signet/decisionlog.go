package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/decisionlog"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/policy"
	"github.com/signet-policy/signet/internal/watch"
)

// decisionLogEnd bounds what the end of a server waits for its decision log.
const decisionLogEnd = 10 * time.Second

// decisions hands what the engine decided to the decision log.
type decisions struct{ log *decisionlog.Log }

// Decided never waits.
func (d decisions) Decided(of engine.Decided) { d.log.Decided(decisionOf(of)) }

func decisionOf(of engine.Decided) decisionlog.Decision {
	return decisionlog.Decision{
		At: of.At, Took: of.Took, Body: of.Answer.Body, Cache: of.Answer.From,
		Image: of.Request.Image, Platform: of.Request.Platform, Context: of.Request.Context, Roles: of.Request.Roles,
		Principal: of.Request.Principal, RequestID: of.Request.RequestID, BatchID: of.Request.BatchID,
	}
}

// openDecisionLog opens the one of the configuration, nil where there is none.
func openDecisionLog(ctx context.Context, f config.File, log *slog.Logger) (*decisionlog.Log, error) {
	d := f.DecisionLog
	if !d.On() {
		return nil, nil
	}
	cfg, err := decisionLogConfig(ctx, f)
	if err != nil {
		return nil, err
	}
	cfg.Log = log
	if d.File.Path != "" {
		cfg.File = &decisionlog.FileConfig{
			Path: f.Relative(d.File.Path), MaxSize: d.File.MaxSize, MaxAge: durationOf(d.File.MaxAge), MaxFiles: d.File.MaxFiles,
		}
	}
	if d.HTTP.URL != "" {
		if cfg.HTTP, err = decisionEndpoint(f, d.HTTP); err != nil {
			return nil, wrapUsage("decision_log.http", err)
		}
	}
	l, err := decisionlog.New(cfg)
	if err != nil {
		return nil, &exit{code: exitUsage, err: err}
	}
	return l, nil
}

// checkDecisionLog reads what a server would read, and opens and sends nothing.
func checkDecisionLog(ctx context.Context, f config.File) error {
	if !f.DecisionLog.On() {
		return nil
	}
	if _, err := decisionMask(ctx, f); err != nil {
		return err
	}
	if h := f.DecisionLog.HTTP; h.URL != "" {
		if _, err := decisionEndpoint(f, h); err != nil {
			return wrapUsage("decision_log.http", err)
		}
	}
	return nil
}

// decisionLogConfig is what does not depend on where the log goes.
func decisionLogConfig(ctx context.Context, f config.File) (decisionlog.Config, error) {
	cfg := decisionlog.Config{BufferBytes: f.DecisionLog.BufferBytes, MaskTime: maskTime}
	var err error
	if cfg.Labels, err = decisionLabels(f.DecisionLog.Labels); err != nil {
		return cfg, err
	}
	cfg.Mask, err = decisionMask(ctx, f)
	return cfg, err
}

// decisionLabels are OPA's id and version, the name of this program, and the
// operator's own. The id is this process's and no other's.
func decisionLabels(own map[string]string) (map[string]string, error) {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return nil, fmt.Errorf("reading randomness: %w", err)
	}
	labels := map[string]string{"app": "signet"}
	maps.Copy(labels, own)
	labels["id"], labels["version"] = hex.EncodeToString(id), version
	return labels, nil
}

// maskTime bounds the evaluation of the mask for one event.
const maskTime = time.Second

// decisionMask compiles decision_log.mask; nil where there is none.
func decisionMask(ctx context.Context, f config.File) (decisionlog.MaskFunc, error) {
	name := f.DecisionLog.Mask
	if name == "" {
		return nil, nil
	}
	source, err := readCapped(f.Relative(name), maxMaskBytes)
	if err != nil {
		return nil, usage("decision_log.mask: %w", err)
	}
	mask, err := policy.LoadLogMask(ctx, name, source, maskTime)
	if err != nil {
		return nil, wrapUsage("decision_log.mask", err)
	}
	return func(ctx context.Context, event map[string]any) (decisionlog.Masking, error) {
		drop, rules, err := mask.Evaluate(ctx, event)
		return decisionlog.Masking{Drop: drop, Rules: rules}, err
	}, nil
}

const maxMaskBytes = 1 << 20

// decisionEndpoint is where chunks are sent. Only an administrator names it, so
// that it may be a private address; a proxy of the environment is not asked.
func decisionEndpoint(f config.File, h config.DecisionHTTP) (*decisionlog.HTTPConfig, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if h.CAFile != "" {
		pem, err := os.ReadFile(f.Relative(h.CAFile))
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no PEM certificate", h.CAFile)
		}
	}
	if h.CertFile != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(f.Relative(h.CertFile), f.Relative(h.KeyFile))
			return &pair, err
		}
		if _, err := load(); err != nil {
			return nil, fmt.Errorf("cert_file: %w", err)
		}
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	token := f.Relative(h.TokenFile)
	if token != "" {
		if _, err := readCapped(token, maxTokenBytes); err != nil {
			return nil, fmt.Errorf("token_file: %w", err)
		}
	}
	r := h.Reporting
	return &decisionlog.HTTPConfig{
		URL: h.URL, Resource: h.Resource, PartitionName: h.PartitionName, TokenFile: token, Timeout: durationOf(h.Timeout),
		Client: &http.Client{Transport: &http.Transport{
			TLSClientConfig: t, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 1, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second,
		}},
		MinDelay: time.Duration(r.MinDelaySeconds) * time.Second, MaxDelay: time.Duration(r.MaxDelaySeconds) * time.Second,
		UploadSizeLimit: r.UploadSizeLimitBytes, BufferSizeLimit: r.BufferSizeLimitBytes, MaxDecisionsPerSecond: r.MaxDecisionsPerSecond,
	}, nil
}

const maxTokenBytes = 64 << 10

// closeDecisionLog writes and sends what waits, within a bound.
func closeDecisionLog(l *decisionlog.Log, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), decisionLogEnd)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		log.Error("the end of the decision log", "error", err.Error())
	}
}

// reopenOnHangup opens the file anew on SIGHUP, which programs that rotate logs
// send. The caller ends it.
func reopenOnHangup(l *decisionlog.Log, log *slog.Logger) (stop func()) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case <-hangup:
			case <-ended:
				return
			}
			if err := l.Reopen(); err != nil {
				log.Error("the decision log could not be opened anew; the old file is written on", "error", err.Error())
				continue
			}
			log.Info("the decision log was opened anew")
		}
	}()
	return func() { signal.Stop(hangup); close(ended) }
}

// decisionCounters show what became of events; none where no log is written.
func decisionCounters(l *decisionlog.Log) []api.Counter {
	if l == nil {
		return nil
	}
	list := []api.Counter{
		{Name: "signet_decision_log_events_total", Help: "Events that were written to the decision log.", Value: func() float64 { return float64(l.Written()) }},
		{
			Name: "signet_decision_log_mask_failures_total", Help: "Events that were written without input and result, because the mask failed.",
			Value: func() float64 { return float64(l.MaskFailures()) },
		},
	}
	for _, reason := range decisionlog.DropReasons() {
		list = append(list, api.Counter{
			Name: "signet_decision_log_dropped_total", Help: "Events that are not in the decision log, by reason.", Labels: map[string]string{"reason": reason},
			Value: func() float64 { return float64(l.Dropped(reason)) },
		})
	}
	return list
}

// logOnce writes the decisions of one command to a file, masked as a server would.
type logOnce struct{ log *decisionlog.Log }

func newLogOnce(ctx context.Context, f config.File, path string) (*logOnce, error) {
	cfg, err := decisionLogConfig(ctx, f)
	if err != nil {
		return nil, err
	}
	cfg.File = &decisionlog.FileConfig{Path: path}
	l, err := decisionlog.New(cfg)
	if err != nil {
		return nil, usage("--decision-log: %w", err)
	}
	return &logOnce{l}, nil
}

// close fails when a decision is not in the file.
func (l *logOnce) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), decisionLogEnd)
	defer cancel()
	err := l.log.Close(ctx)
	return errors.Join(err, l.log.Healthy())
}

// tellDecisionLog writes what happened to watched images into the decision log; nil
// where there is none.
func tellDecisionLog(l *decisionlog.Log) func(client.Event) {
	if l == nil {
		return nil
	}
	return func(e client.Event) {
		input, err := json.Marshal(map[string]string{"image": e.Image})
		if err != nil { // strings always encode
			return
		}
		result, err := json.Marshal(e)
		if err != nil {
			return
		}
		l.Event(decisionlog.Event{ID: e.VerdictID, Type: e.Kind, At: e.At, Input: input, Result: result, By: watch.Principal})
	}
}
