package cache

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// The modes of a [RedisConfig].
const (
	ModeSingle   = "single"
	ModeSentinel = "sentinel"
	ModeCluster  = "cluster"
)

const (
	defaultPrefix  = "signet:"
	defaultTimeout = 100 * time.Millisecond
	maxTimeout     = 5 * time.Second
	maxPrefix      = 64
	// dialFactor is how many budgets a new connection may take to come about. No
	// caller waits longer than one: the connection is made beside it, so that a
	// handshake that is slower than the budget still ends in a connection.
	dialFactor = 10
)

// RedisConfig says where Redis is. The user needs no more than GETRANGE, SET, DEL
// and PING on the prefix, with Cluster also CLUSTER SLOTS and COMMAND.
type RedisConfig struct {
	// URL is of a single server: redis://[user[:password]@]host[:port][/db], or
	// rediss:// for TLS. Without query.
	URL string
	// Addresses are host:port of the sentinels, or of some nodes of the cluster.
	Addresses []string
	// Mode is single (with URL, the default), sentinel or cluster (with Addresses).
	Mode string
	// SentinelMaster is the name that the sentinels know the master by.
	SentinelMaster string
	// SentinelUsername and SentinelPassword are for the sentinels themselves.
	SentinelUsername string
	SentinelPassword Password
	// Username is an ACL user; without one, Password is of the default user.
	Username string
	Password Password
	// PasswordFile holds the password, white space at its ends ignored. It is read
	// for each new connection, so that a changed password needs no restart.
	PasswordFile string
	TLS          RedisTLS
	// DB is the number of the database. A cluster has only 0.
	DB int
	// Prefix begins every key, at most 64 printable bytes without braces, which
	// would put a whole cluster's keys on one node. Default: "signet:".
	Prefix string
	// Timeout is how long a caller waits for Redis, from 1 ms to 5 s. Default: 100 ms.
	Timeout time.Duration
}

// RedisTLS says how to speak TLS; any field that is set switches it on.
type RedisTLS struct {
	// Enabled is for TLS with the roots of the system and nothing else to say.
	Enabled bool
	// CAFile holds the PEM certificates that may have signed the server's, instead
	// of the system's roots.
	CAFile string
	// CertFile and KeyFile are the client's certificate, in PEM. They are read for
	// each new connection, so that a renewed one needs no restart.
	CertFile, KeyFile string
	// ServerName is the name in the server's certificate where it is not the host.
	ServerName string
}

func (t RedisTLS) on() bool { return t != RedisTLS{} }

// Password never prints itself.
type Password string

// Format keeps the password out of messages, whatever the verb.
func (Password) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// LogValue keeps it out of logs.
func (Password) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// LogRedis gives what the Redis library logs to log, at debug level: what matters
// of it is in the errors and counters of the [Cache]. The library has one logger
// per process, so this is for main; without it, it writes to standard error.
func LogRedis(log *slog.Logger) { redis.SetLogger(redisLogger{log}) }

type redisLogger struct{ log *slog.Logger }

// Printf is called by the library.
func (l redisLogger) Printf(ctx context.Context, format string, v ...any) {
	l.log.DebugContext(ctx, "redis library", "message", fmt.Sprintf(format, v...))
}

// withDefaults validates and completes. The error names every mistake; it never
// quotes the URL, which may hold a password.
func (c RedisConfig) withDefaults() (RedisConfig, error) {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("redis.%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if c.Mode == "" {
		c.Mode = ModeSingle
	}
	if c.Prefix == "" {
		c.Prefix = defaultPrefix
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	switch c.Mode {
	case ModeSingle:
		if len(c.Addresses) > 0 {
			bad("addresses", "mode single has one server, named by redis.url; for several write mode sentinel or cluster")
		}
		if err := c.readURL(); err != nil {
			bad("url", "%s", err)
		}
	case ModeSentinel, ModeCluster:
		if c.URL != "" {
			bad("url", "is for mode single; mode %s wants redis.addresses", c.Mode)
		}
		if len(c.Addresses) == 0 {
			bad("addresses", "mode %s wants at least one host:port", c.Mode)
		}
		for _, a := range c.Addresses {
			if !isAddress(a) {
				bad("addresses", "%q is not host:port", a)
			}
		}
	default:
		bad("mode", "%q is not single, sentinel or cluster", c.Mode)
	}
	if c.Mode == ModeSentinel && c.SentinelMaster == "" {
		bad("sentinel_master", "mode sentinel wants the name of the master")
	}
	if c.Mode != ModeSentinel && c.SentinelMaster != "" {
		bad("sentinel_master", "is for mode sentinel; mode is %s", c.Mode)
	}
	if c.Mode != ModeSentinel && (c.SentinelUsername != "" || c.SentinelPassword != "") {
		bad("sentinel_password", "is for mode sentinel; mode is %s", c.Mode)
	}
	if c.DB < 0 || c.Mode == ModeCluster && c.DB != 0 {
		bad("db", "%d is not a database of mode %s", c.DB, c.Mode)
	}
	if c.Password != "" && c.PasswordFile != "" {
		bad("password_file", "redis.password is given too; keep one of them")
	}
	if c.Username != "" && c.Password == "" && c.PasswordFile == "" {
		bad("username", "wants redis.password or redis.password_file")
	}
	if len(c.Prefix) > maxPrefix || strings.ContainsFunc(c.Prefix, func(r rune) bool { return r <= ' ' || r > '~' || r == '{' || r == '}' }) {
		bad("prefix", "wants at most %d printable ASCII characters without spaces and braces", maxPrefix)
	}
	if c.Timeout < time.Millisecond || c.Timeout > maxTimeout {
		bad("timeout", "%s is not within 1ms and %s", c.Timeout, maxTimeout)
	}
	return c, errors.Join(errs...)
}

// readURL takes the URL apart, into one address and what else it says.
func (c *RedisConfig) readURL() error {
	if c.URL == "" {
		return errors.New("mode single wants redis://host:port/db")
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Hostname() == "" {
		return errors.New("is not like redis://host:port/db")
	}
	switch {
	case u.Scheme != "redis" && u.Scheme != "rediss":
		return fmt.Errorf("has the scheme %q, want redis or rediss", u.Scheme)
	case u.Scheme == "redis" && c.TLS.on():
		return errors.New("redis.tls is given, so write rediss://")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("has a query or fragment; what can be set has a field of its own")
	}
	port := u.Port()
	if port == "" {
		port = "6379"
	}
	c.Addresses = []string{net.JoinHostPort(u.Hostname(), port)}
	if !isAddress(c.Addresses[0]) {
		return fmt.Errorf("%q is not a port", port)
	}
	c.TLS.Enabled = c.TLS.Enabled || u.Scheme == "rediss"
	if name := strings.Trim(u.Path, "/"); name != "" {
		db, err := strconv.Atoi(name)
		if err != nil || db < 0 {
			return fmt.Errorf("%q is not the number of a database", name)
		}
		if c.DB != 0 && c.DB != db {
			return fmt.Errorf("names database %d, and redis.db %d", db, c.DB)
		}
		c.DB = db
	}
	if u.User == nil {
		return nil
	}
	if c.Username != "" || c.Password != "" {
		return errors.New("has a user, and redis.username or redis.password is given too; keep one of them")
	}
	password, _ := u.User.Password()
	c.Username, c.Password = u.User.Username(), Password(password)
	return nil
}

func isAddress(a string) bool {
	host, port, err := net.SplitHostPort(a)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// newClient makes the client of a configuration that withDefaults completed. It
// reads the files that are named, and calls nobody.
func newClient(c RedisConfig) (redis.UniversalClient, error) {
	o := &redis.UniversalOptions{
		Addrs: c.Addresses, DB: c.DB, MasterName: c.SentinelMaster,
		Username: c.Username, Password: string(c.Password),
		SentinelUsername: c.SentinelUsername, SentinelPassword: string(c.SentinelPassword),
		// A cache that is asked twice is slower than none.
		MaxRetries: -1, DialerRetries: 1, MinRetryBackoff: -1, MaxRetryBackoff: -1,
		ContextTimeoutEnabled: true,
		DialTimeout:           dialFactor * c.Timeout,
		ReadTimeout:           c.Timeout, WriteTimeout: c.Timeout, PoolTimeout: c.Timeout,
		// Only one goroutine writes, in pipelines.
		PipelinePoolSize: -1,
		// Nothing here is pushed by the server, and a user with few rights may not
		// be allowed to ask for it.
		Protocol: 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if c.PasswordFile != "" {
		if _, err := readPassword(c.PasswordFile); err != nil {
			return nil, fmt.Errorf("redis.password_file: %w", err)
		}
		o.CredentialsProviderContext = func(context.Context) (string, string, error) {
			password, err := readPassword(c.PasswordFile)
			return c.Username, password, err
		}
	}
	if c.TLS.on() {
		config, err := c.TLS.config()
		if err != nil {
			return nil, err
		}
		o.TLSConfig = config
	}
	switch c.Mode {
	case ModeSentinel:
		return redis.NewFailoverClient(o.Failover()), nil
	case ModeCluster:
		return redis.NewClusterClient(o.Cluster()), nil
	default:
		return redis.NewClient(o.Simple()), nil
	}
}

func readPassword(file string) (string, error) {
	b, err := os.ReadFile(file) //nolint:gosec // named by the operator
	if err != nil {
		return "", err
	}
	password := strings.TrimSpace(string(b))
	if password == "" {
		return "", fmt.Errorf("%s is empty", file)
	}
	return password, nil
}

func (t RedisTLS) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("redis.tls.ca_file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("redis.tls.ca_file: %s holds no PEM certificate", t.CAFile)
		}
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, errors.New("redis.tls.cert_file: a client certificate wants both cert_file and key_file")
	}
	if t.CertFile != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
			return &pair, err
		}
		if _, err := load(); err != nil {
			return nil, fmt.Errorf("redis.tls.cert_file: %w", err)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return config, nil
}
