package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// problems collects mistakes, each with its field and what would be right.
type problems []error

func (p *problems) bad(field, format string, args ...any) {
	*p = append(*p, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
}

// notEmpty refuses an empty list where leaving it out means all: whoever writes
// one means none.
func (p *problems) notEmpty(field string, list []string) {
	if list != nil && len(list) == 0 {
		p.bad(field, "is an empty list; leave it out where nothing is to be kept out, or name what may pass")
	}
}

// validate names the field and says what would be right.
func (f *File) validate() error {
	var p problems
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, f.Log.Level) {
		p.bad("log.level", "%q is none of debug, info, warn, error", f.Log.Level)
	}
	if f.Log.Format != "json" && f.Log.Format != "text" {
		p.bad("log.format", "%q is neither json nor text", f.Log.Format)
	}
	if f.DataDir == "" && !f.Database.Set() {
		p.bad("data_dir", "is not set, and there is no home directory to put it in; give --data-dir")
	}
	p.notEmpty("allow_registries", f.AllowRegistries)
	f.checkListening(&p)
	f.OPA.check(&p)
	f.checkDatabase(&p)
	f.checkTrustRoots(&p)
	f.checkRegistries(&p)
	f.checkBundles(&p)
	f.checkCache(&p)
	f.DecisionLog.check(&p)
	f.Attest.check(&p)
	f.checkMCP(&p)
	f.checkPage(&p)
	f.checkWatch(&p)
	f.checkWebhooks(&p)
	if f.SigningPolicy.Kind != 0 && f.PolicyFile != "" {
		p.bad("policy_file", "signing_policy is given too; keep one of them")
	}
	if f.KMS.Refresh <= 0 || f.KMS.Timeout <= 0 {
		p.bad("kms", "refresh and timeout must be more than 0")
	}
	if f.Retention.MaxVerdicts < 0 {
		p.bad("retention.max_verdicts", "%d is negative; 0 keeps all", f.Retention.MaxVerdicts)
	}
	if f.ExceptionsMaxDays < 1 || f.ExceptionsMaxDays > 3650 {
		p.bad("exceptions_max_days", "%d is not within 1 to 3650", f.ExceptionsMaxDays)
	}
	p = append(p, checkLimits(f.Limits)...)
	return errors.Join(p...)
}

func (f *File) checkListening(p *problems) {
	f.TLS.check(p, "tls")
	if err := f.CheckListen(); err != nil {
		*p = append(*p, err)
	}
	if err := checkExternalURL(f.ExternalURL); err != nil {
		p.bad("external_url", "%s", err)
	}
	f.Deadlines.check(p)
	for i, l := range f.Listeners {
		l.check(p, fmt.Sprintf("listeners[%d]", i))
	}
	for i, s := range f.TrustedProxies {
		if _, err := ParsePrefix(s); err != nil {
			p.bad(fmt.Sprintf("trusted_proxies[%d]", i), "%s", err)
		}
	}
	if r := f.RateLimit; r.Burst < 0 || !(r.PerSecond >= 0) || math.IsInf(r.PerSecond, 1) { // not a number is none of these
		p.bad("rate_limit", "is negative or no number; leave it out for no limit")
	}
	if f.RateLimit.Burst > 0 && f.RateLimit.PerSecond == 0 {
		p.bad("rate_limit.burst", "has no use without per_second")
	}
}

// ParsePrefix reads a network ("10.0.0.0/8") or one address.
func ParsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	n, err := netip.ParsePrefix(s)
	if err != nil || n != n.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q is not a network; write it as 10.0.0.0/8 or 192.0.2.7", s)
	}
	return n, nil
}

// On says whether a certificate is to be presented.
func (t TLS) On() bool { return t != TLS{} }

func (t TLS) check(p *problems, at string) {
	if t.On() && (t.CertFile == "" || t.KeyFile == "") {
		p.bad(at, "needs both cert_file and key_file")
	}
}

// CheckListen refuses plain HTTP on an address that others can reach.
func (f *File) CheckListen() error {
	host, _, err := net.SplitHostPort(f.Listen)
	if err != nil {
		return fmt.Errorf("listen: %q is not host:port", f.Listen)
	}
	if f.ListenInsecure || f.TLS.On() || IsLoopback(host) {
		return nil
	}
	return fmt.Errorf("listen: %s is not a loopback address, and tokens would cross the network in clear text; "+
		"set tls.cert_file and tls.key_file, or put a proxy that speaks TLS in front and set listen_insecure: true", f.Listen)
}

// IsLoopback says whether host is this machine's alone.
func IsLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Kinds of authentication that a listener may have.
const (
	AuthToken  = "token"
	AuthMTLS   = "mtls"
	AuthSocket = "socket"
	AuthNone   = "none_on_loopback"
)

// SocketPath is the file of a Unix socket, "" for an address of the network.
func (l Listener) SocketPath() string {
	path, ok := strings.CutPrefix(l.Address, "unix:")
	if !ok {
		return ""
	}
	return path
}

func (l Listener) check(p *problems, at string) {
	l.checkAddress(p, at)
	checkProtocols(p, at+".protocols", l.Protocols)
	l.TLS.check(p, at+".tls")
	p.notEmpty(at+".client_names", l.ClientNames)
	if l.Principal != nil {
		p.notEmpty(at+".principal.images", l.Principal.Images)
	}
	if len(l.ClientNames) > 0 && l.Authentication != AuthMTLS {
		p.bad(at+".client_names", "goes with authentication: mtls")
	}
	switch {
	case l.Authentication == AuthToken && l.Principal != nil:
		p.bad(at+".principal", "does not go with authentication: token, where the token says who asks")
	case l.Authentication == AuthToken:
	case l.Principal == nil || l.Principal.Name == "":
		p.bad(at+".principal", "is missing; write {name: …, role: verifier}")
	case !slices.Contains([]string{"viewer", "verifier", "author", "admin"}, l.Principal.Role):
		p.bad(at+".principal.role", "%q is none of viewer, verifier, author, admin", l.Principal.Role)
	case l.Authentication == AuthNone && l.Principal.Role != "viewer" && l.Principal.Role != "verifier":
		p.bad(at+".principal.role", "without authentication it may be viewer or verifier, not %s", l.Principal.Role)
	case l.Principal.Team != "" && len(l.Principal.Images) == 0 && (l.Principal.Role == "author" || l.Principal.Role == "admin"): // as for tokens
		p.bad(at+".principal.images", "are missing; a team's %s makes what is trusted for these images alone, so name them, or ** for every image", l.Principal.Role)
	}
}

func (l Listener) checkAddress(p *problems, at string) {
	socket := l.SocketPath()
	host, _, err := net.SplitHostPort(l.Address)
	if socket == "" && err != nil {
		p.bad(at+".address", "%q is neither host:port nor unix:/path", l.Address)
		return
	}
	switch l.Authentication {
	case AuthSocket:
		if socket == "" {
			p.bad(at+".address", "authentication: socket wants unix:/path/to.sock")
		}
	case AuthMTLS:
		if socket != "" || l.TLS.CertFile == "" || l.TLS.ClientCAFile == "" {
			p.bad(at+".tls", "authentication: mtls wants host:port, and tls with cert_file, key_file and client_ca_file")
		}
	case AuthToken:
		if socket == "" && !l.TLS.On() && !IsLoopback(host) {
			p.bad(at+".tls", "%s is not a loopback address, and tokens would cross the network in clear text; give tls", l.Address)
		}
	case AuthNone:
		if socket != "" || !IsLoopback(host) {
			p.bad(at+".authentication", "none_on_loopback is for loopback addresses alone; %s can be reached by others", l.Address)
		}
	default:
		p.bad(at+".authentication", "%q is none of token, mtls, socket, none_on_loopback", l.Authentication)
	}
}

// Set says whether a PostgreSQL is configured.
func (d Database) Set() bool { return d.URL != "" || d.URLFile != "" }

func (f *File) checkDatabase(p *problems) {
	d := f.Database
	if d.URL != "" && d.URLFile != "" {
		p.bad("database", "give url or url_file, not both")
	}
	if d.URL != "" {
		if err := CheckDatabaseURL(d.URL); err != nil {
			p.bad("database.url", "%s", err)
		}
	}
	if d.Migrate != "automatic" && d.Migrate != "manual" {
		p.bad("database.migrate", "%q is neither automatic nor manual", d.Migrate)
	}
}

// CheckDatabaseURL never repeats the URL: it may hold a password.
func CheckDatabaseURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return errors.New("is not a PostgreSQL URL; write it as postgres://user@host/database?sslmode=verify-full")
	}
	return nil
}

func (f *File) checkTrustRoots(p *problems) {
	names := map[string]bool{}
	for i, r := range f.TrustRoots {
		at := fmt.Sprintf("trust_roots[%d]", i)
		switch {
		case r.Name == "":
			p.bad(at+".name", "is missing")
		case names[r.Name]:
			p.bad(at+".name", "%q is there twice", r.Name)
		}
		names[r.Name] = true
		p.notEmpty(at+".images", r.Images)
		if u, err := url.Parse(r.TUF); r.TUF != "" && (err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http") {
			p.bad(at+".tuf", "is not an http or https address without user name")
		}
		given := 0
		for _, is := range []bool{r.Path != "", r.Embedded, r.TUF != ""} {
			if is {
				given++
			}
		}
		if given != 1 {
			p.bad(at, "give one of path (a trusted_root.json), tuf (a TUF repository) and embedded: true")
		}
		if (r.TUF != "") != (r.TUFRoot != "") || r.Target != "" && r.TUF == "" {
			p.bad(at, "tuf needs tuf_root, the repository's first root.json; target and tuf_root go with tuf alone")
		}
	}
}

func (f *File) checkRegistries(p *problems) {
	for host, r := range f.Registries {
		at := "registries." + host
		if strings.ContainsAny(host, "/ @") || host == "" {
			p.bad(at, "is not a host or host:port")
		}
		if r.PasswordFile != "" && r.PasswordEnv != "" {
			p.bad(at, "give password_file or password_env, not both")
		}
		if r.TokenFile != "" && (r.Username != "" || r.PasswordFile != "" || r.PasswordEnv != "") {
			p.bad(at, "give a token_file or a username with its password, not both")
		}
		if (r.Username == "") != (r.PasswordFile == "" && r.PasswordEnv == "") {
			p.bad(at, "a username needs password_file or password_env, and the other way round")
		}
		if r.Insecure && r.CAFile != "" {
			p.bad(at, "insecure is plain HTTP, where a ca_file has no use; choose one")
		}
		for i, m := range r.Mirrors {
			if m.Host == "" || strings.ContainsAny(m.Host, "/ @") || m.Host == host {
				p.bad(fmt.Sprintf("%s.mirrors[%d].host", at, i), "%q is not the host or host:port of another registry", m.Host)
			}
		}
	}
}

// Set says whether a Redis is configured.
func (r Redis) Set() bool { return r.URL != "" || len(r.Addresses) > 0 }

func (f *File) checkCache(p *problems) {
	if f.Cache.MemoryBytes < 1<<20 {
		p.bad("cache.memory_bytes", "%d is less than 1 MiB", f.Cache.MemoryBytes)
	}
	if f.Cache.DecisionMaxAge <= 0 {
		p.bad("cache.decision_max_age", "must be more than 0")
	}
	r := f.Cache.Redis
	if r.PasswordFile != "" && r.PasswordEnv != "" {
		p.bad("cache.redis", "give password_file or password_env, not both")
	}
	if !r.Set() && !r.unset() {
		p.bad("cache.redis", "has settings and no server; give url or addresses")
	}
	switch r.Mode {
	case "single", "sentinel", "cluster":
	default:
		p.bad("cache.redis.mode", "%q is none of single, sentinel, cluster", r.Mode)
	}
	if r.Timeout <= 0 {
		p.bad("cache.redis.timeout", "must be more than 0")
	}
}

// unset says that nothing is configured beside the defaults.
func (r Redis) unset() bool {
	d := Default().Cache.Redis
	return r.URL == "" && len(r.Addresses) == 0 && r.Mode == d.Mode && r.SentinelMaster == "" && r.SentinelUsername == "" && r.SentinelPasswordFile == "" && r.Username == "" &&
		r.PasswordFile == "" && r.PasswordEnv == "" && r.DB == 0 && r.TLS == RedisTLS{} && r.Prefix == d.Prefix && r.Timeout == d.Timeout
}
