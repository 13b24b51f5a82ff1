package config

import (
	"math"
	"net/url"
	"reflect"
)

// On says whether a decision log is written.
func (d DecisionLog) On() bool { return d.File.Path != "" || d.HTTP.URL != "" }

// Bounds of an upload, those of OPA.
const (
	minUploadSize = 90
	maxUploadSize = 1 << 32
)

func (d DecisionLog) check(p *problems) {
	def := Default().DecisionLog
	if !d.On() {
		if !reflect.DeepEqual(d, def) {
			p.bad("decision_log", "has settings and writes nowhere; give file.path or http.url")
		}
		return
	}
	for _, name := range []string{"id", "version"} {
		if _, ok := d.Labels[name]; ok {
			p.bad("decision_log.labels."+name, "is set by Signet; take another name")
		}
	}
	if d.BufferBytes <= 0 {
		p.bad("decision_log.buffer_bytes", "must be more than 0")
	}
	if f := d.File; f.Path == "" && f != def.File {
		p.bad("decision_log.file.path", "is missing")
	} else if f.MaxSize < 0 || f.MaxFiles < 0 {
		p.bad("decision_log.file", "max_size and max_files must not be negative; 0 is never, and all")
	}
	if h := d.HTTP; h.URL != "" {
		h.check(p)
	} else if h != def.HTTP {
		p.bad("decision_log.http.url", "is missing")
	}
}

func (h DecisionHTTP) check(p *problems) {
	const at = "decision_log.http."
	u, err := url.Parse(h.URL) // the URL is not repeated: it may hold a password
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		p.bad(at+"url", "is not a URL; write it as https://logs.example.com")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		p.bad(at+"url", "has more than a host and a path; a token belongs into token_file")
	case u.Scheme == "http" && !IsLoopback(u.Hostname()):
		p.bad(at+"url", "%s is not this machine, and decisions would cross the network in clear text; write https", u.Host)
	}
	if h.Resource != "" && h.PartitionName != "" {
		p.bad(at+"partition_name", "does not go with resource; keep one of them")
	}
	if (h.CertFile == "") != (h.KeyFile == "") {
		p.bad(at+"cert_file", "needs both cert_file and key_file")
	}
	if h.Timeout <= 0 {
		p.bad(at+"timeout", "must be more than 0")
	}
	r := h.Reporting
	if r.MinDelaySeconds <= 0 || r.MaxDelaySeconds < r.MinDelaySeconds || r.MaxDelaySeconds > math.MaxInt32 {
		p.bad(at+"reporting", "min_delay_seconds must be more than 0, and max_delay_seconds not less than that; give both")
	}
	if r.UploadSizeLimitBytes < minUploadSize || r.UploadSizeLimitBytes > maxUploadSize {
		p.bad(at+"reporting.upload_size_limit_bytes", "must be from %d to %d", minUploadSize, int64(maxUploadSize))
	}
	if r.BufferSizeLimitBytes < r.UploadSizeLimitBytes {
		p.bad(at+"reporting.buffer_size_limit_bytes", "must not be less than upload_size_limit_bytes")
	}
	if !(r.MaxDecisionsPerSecond >= 0) || math.IsInf(r.MaxDecisionsPerSecond, 1) { // not a number is neither
		p.bad(at+"reporting.max_decisions_per_second", "is negative or no number; leave it out for no limit")
	}
}
