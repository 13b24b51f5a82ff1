// Package config reads the one configuration file. Start with [Load]: it applies
// defaults, the file, then SIGNET_* environment variables; flags come after, in
// cmd/signet. Unknown fields, duplicate keys and a second document are errors
// that name the line. The Go structs are the reference.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/signet-policy/signet/internal/evidence"
)

// FileName is looked for in the data directory when no file is named.
const FileName = "signet.yaml"

// File is the configuration.
type File struct {
	// Listen is the address of the HTTP server. No protection by TLS is offered
	// yet, so an address that is not loopback is refused (listen_insecure allows it).
	Listen string `yaml:"listen"`
	// ListenInsecure allows plain HTTP on an address that is not loopback, for
	// a server behind a proxy that speaks TLS.
	ListenInsecure bool `yaml:"listen_insecure"`
	// DataDir holds the store. Default: $XDG_DATA_HOME/signet.
	DataDir string `yaml:"data_dir"`
	// Offline opens no connection but to image registries: no TUF refresh.
	Offline bool `yaml:"offline"`
	// SecretFile holds 32 bytes, hex or base64, from which keys are derived.
	// Default: made once and kept in the store.
	SecretFile string `yaml:"secret_file"`
	Log        Log    `yaml:"log"`
	// TrustRoots replace the embedded public-good root when given.
	TrustRoots []TrustRoot `yaml:"trust_roots"`
	// Registries are settings per registry host[:port].
	Registries map[string]Registry `yaml:"registries"`
	// AllowRegistries are globs of names ("ghcr.io/org/**") that may be asked
	// for; absent: all.
	AllowRegistries []string `yaml:"allow_registries"`
	// EvidenceRepositories maps a registry or repository to the repository where
	// its signatures are kept, as cosign's COSIGN_REPOSITORY does; the longest
	// match counts.
	EvidenceRepositories map[string]string `yaml:"evidence_repositories"`
	Network              Network           `yaml:"network"`
	Cache                Cache             `yaml:"cache"`
	Active               Active            `yaml:"active"`
	// MaxStaleness bounds the age of trust roots that are to be refreshed.
	MaxStaleness Duration        `yaml:"max_staleness"`
	Limits       evidence.Limits `yaml:"limits"`
	// SigningPolicy is the policy, see docs/policy-authors.md. PolicyFile names a
	// file that holds it instead.
	SigningPolicy yaml.Node `yaml:"signing_policy"`
	PolicyFile    string    `yaml:"policy_file"`

	// Path is where the file was read from, "" for none.
	Path string `yaml:"-"`
	// Body is the file as read, for errors that quote it.
	Body []byte `yaml:"-"`
}

// Log says how the server logs, always to stderr.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn, error
	Format string `yaml:"format"` // json, text
}

// TrustRoot is a trusted_root.json of one Sigstore instance.
type TrustRoot struct {
	Name string `yaml:"name"`
	// Path to a trusted_root.json; relative to the configuration file.
	Path string `yaml:"path"`
	// Embedded takes the public-good root that Signet ships instead of a file.
	Embedded bool `yaml:"embedded"`
	// Requires is the floor of proofs; absent: what the root has (log, SCT), and
	// a timestamp where it has no log.
	Requires *Requires `yaml:"requires"`
}

// Requires is which proofs a certificate's signature must have under a root.
type Requires struct {
	Log       bool `yaml:"log"`
	SCT       bool `yaml:"sct"`
	Timestamp bool `yaml:"timestamp"`
}

// Registry is the settings of one registry.
type Registry struct {
	// Insecure speaks plain HTTP, and allows loopback and private addresses.
	Insecure bool `yaml:"insecure"`
	// AllowPrivate allows loopback and private addresses, over https.
	AllowPrivate bool `yaml:"allow_private"`
	// CAFile holds PEM certificates to trust for this registry, beside the system's.
	CAFile   string `yaml:"ca_file"`
	Username string `yaml:"username"`
	// PasswordFile and PasswordEnv name where the password is; TokenFile a
	// bearer token. Secrets are never written into this file.
	PasswordFile string `yaml:"password_file"`
	PasswordEnv  string `yaml:"password_env"`
	TokenFile    string `yaml:"token_file"`
	// TokenHosts are other hosts that may see these credentials, because they
	// issue this registry's tokens.
	TokenHosts []string `yaml:"token_hosts"`
	// BlobHosts are other hosts that this registry redirects blobs to and that
	// may be at a private address where the registry may.
	BlobHosts []string `yaml:"blob_hosts"`
}

// Network is about connections that we open.
type Network struct {
	// Proxy is used for registries; the environment's proxies are ignored.
	Proxy string `yaml:"proxy"`
	// CAFiles are trusted beside the system's, for every registry.
	CAFiles []string `yaml:"ca_files"`
}

// Cache bounds what is kept in memory, and for how long an answer is repeated.
type Cache struct {
	MemoryBytes    int64    `yaml:"memory_bytes"`
	DecisionMaxAge Duration `yaml:"decision_max_age"`
}

// Active says what happens when the store cannot be read.
type Active struct {
	// Grace accepts the last known state for that long; 0: unknown at once.
	Grace Duration `yaml:"grace"`
}

// Duration is written as "10s", "5m", "14d".
type Duration time.Duration

// UnmarshalYAML reads a duration; a number without a unit is refused.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := ParseDuration(n.Value)
	if err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	*d = Duration(v)
	return nil
}

// ParseDuration reads what time.ParseDuration reads, and whole days ("14d").
func ParseDuration(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok && len(n) <= 5 {
		if days, err := strconv.ParseUint(n, 10, 32); err == nil {
			return time.Duration(days) * 24 * time.Hour, nil
		}
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return 0, fmt.Errorf("%q is not a duration; write it as 10s, 5m, 1h or 14d", s)
	}
	return v, nil
}

// Default is the configuration of an empty file.
func Default() File {
	return File{
		Listen:       "127.0.0.1:8090",
		DataDir:      defaultDataDir(),
		Log:          Log{Level: "info", Format: "json"},
		Cache:        Cache{MemoryBytes: 32 << 20, DecisionMaxAge: Duration(time.Minute)},
		MaxStaleness: Duration(14 * 24 * time.Hour),
		Limits:       evidence.DefaultLimits(),
	}
}

func defaultDataDir() string {
	if d := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "signet")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "share", "signet")
	}
	return ""
}

// Load reads the file at path over the defaults, then the environment. With
// path "" the file is FileName in the data directory, if there is one.
func Load(path, dataDir string, env func(string) string) (File, error) {
	f := Default()
	if path == "" {
		dir := firstOf(dataDir, env("SIGNET_DATA_DIR"), f.DataDir)
		if candidate := filepath.Join(dir, FileName); dir != "" && isFile(candidate) {
			path = candidate
		}
	}
	if path != "" {
		body, err := os.ReadFile(path) //nolint:gosec // the operator names the file
		if err != nil {
			return File{}, fmt.Errorf("configuration: %w", err)
		}
		if err := f.decode(body); err != nil {
			return File{}, prefixLines(path, err)
		}
		f.Path, f.Body = path, body
	}
	if err := f.environment(env); err != nil {
		return File{}, err
	}
	if dataDir != "" {
		f.DataDir = dataDir
	}
	if err := f.validate(); err != nil {
		return File{}, prefixLines(firstOf(path, "configuration"), err)
	}
	return f, nil
}

// decode is strict: unknown keys, duplicate keys and further documents are errors.
func (f *File) decode(body []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(body))
	dec.KnownFields(true)
	if err := dec.Decode(f); err != nil {
		if errors.Is(err, io.EOF) {
			return nil // an empty file is the defaults
		}
		return readable(err)
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return fmt.Errorf("line %d: a second YAML document; the configuration is one document", max(more.Line, 1))
	}
	return nil
}

// unknownField is compiled when it is needed: starting costs every command.
var unknownField = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^line (\d+): field (\S+) not found in type config\.(\w+)$`)
})

// readable puts the YAML library's errors into words for people.
func readable(err error) error {
	var te *yaml.TypeError
	if !errors.As(err, &te) {
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	out := make([]error, 0, len(te.Errors))
	for _, line := range te.Errors {
		if m := unknownField().FindStringSubmatch(line); m != nil {
			where := "the configuration has"
			if m[3] != "File" {
				where = "this section has"
			}
			line = fmt.Sprintf("line %s: %s: %s no such field", m[1], m[2], where)
		}
		out = append(out, errors.New(line))
	}
	return errors.Join(out...)
}

// prefixLines puts the file's name before each line of err.
func prefixLines(path string, err error) error {
	lines := strings.Split(err.Error(), "\n")
	for i := range lines {
		lines[i] = path + ": " + lines[i]
	}
	return errors.New(strings.Join(lines, "\n"))
}

// environment applies SIGNET_* variables.
func (f *File) environment(env func(string) string) error {
	set := func(name string, apply func(string) error) error {
		v := env(name)
		if v == "" {
			return nil
		}
		if err := apply(v); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
	str := func(to *string) func(string) error { return func(v string) error { *to = v; return nil } }
	dur := func(to *Duration) func(string) error {
		return func(v string) error {
			d, err := ParseDuration(v)
			*to = Duration(d)
			return err
		}
	}
	boolean := func(to *bool) func(string) error {
		return func(v string) error {
			switch v {
			case "true", "1":
				*to = true
			case "false", "0":
				*to = false
			default:
				return fmt.Errorf("%q is neither true nor false", v)
			}
			return nil
		}
	}
	return errors.Join(
		set("SIGNET_LISTEN", str(&f.Listen)),
		set("SIGNET_DATA_DIR", str(&f.DataDir)),
		set("SIGNET_OFFLINE", boolean(&f.Offline)),
		set("SIGNET_SECRET_FILE", str(&f.SecretFile)),
		set("SIGNET_LOG_LEVEL", str(&f.Log.Level)),
		set("SIGNET_LOG_FORMAT", str(&f.Log.Format)),
		set("SIGNET_NETWORK_PROXY", str(&f.Network.Proxy)),
		set("SIGNET_POLICY_FILE", str(&f.PolicyFile)),
		set("SIGNET_DECISION_MAX_AGE", dur(&f.Cache.DecisionMaxAge)),
		set("SIGNET_MAX_STALENESS", dur(&f.MaxStaleness)),
		set("SIGNET_ACTIVE_GRACE", dur(&f.Active.Grace)),
	)
}

// validate names the field and says what would be right.
func (f *File) validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if !oneOf(f.Log.Level, "debug", "info", "warn", "error") {
		bad("log.level", "%q is none of debug, info, warn, error", f.Log.Level)
	}
	if !oneOf(f.Log.Format, "json", "text") {
		bad("log.format", "%q is neither json nor text", f.Log.Format)
	}
	if f.DataDir == "" {
		bad("data_dir", "is not set, and there is no home directory to put it in; give --data-dir")
	}
	if err := CheckListen(f.Listen, f.ListenInsecure); err != nil {
		errs = append(errs, err)
	}
	names := map[string]bool{}
	for i, r := range f.TrustRoots {
		at := fmt.Sprintf("trust_roots[%d]", i)
		switch {
		case r.Name == "":
			bad(at+".name", "is missing")
		case names[r.Name]:
			bad(at+".name", "%q is there twice", r.Name)
		}
		names[r.Name] = true
		if (r.Path == "") == !r.Embedded {
			bad(at, "give either path (a trusted_root.json) or embedded: true")
		}
	}
	for host, r := range f.Registries {
		at := "registries." + host
		if strings.ContainsAny(host, "/ @") || host == "" {
			bad(at, "is not a host or host:port")
		}
		if r.PasswordFile != "" && r.PasswordEnv != "" {
			bad(at, "give password_file or password_env, not both")
		}
		if r.TokenFile != "" && (r.Username != "" || r.PasswordFile != "" || r.PasswordEnv != "") {
			bad(at, "give a token_file or a username with its password, not both")
		}
		if (r.Username == "") != (r.PasswordFile == "" && r.PasswordEnv == "") {
			bad(at, "a username needs password_file or password_env, and the other way round")
		}
		if r.Insecure && r.CAFile != "" {
			bad(at, "insecure is plain HTTP, where a ca_file has no use; choose one")
		}
	}
	if f.Cache.MemoryBytes < 1<<20 {
		bad("cache.memory_bytes", "%d is less than 1 MiB", f.Cache.MemoryBytes)
	}
	if f.Cache.DecisionMaxAge <= 0 {
		bad("cache.decision_max_age", "must be more than 0")
	}
	if f.SigningPolicy.Kind != 0 && f.PolicyFile != "" {
		bad("policy_file", "signing_policy is given too; keep one of them")
	}
	errs = append(errs, checkLimits(f.Limits)...)
	return errors.Join(errs...)
}

// CheckListen refuses plain HTTP on an address that others can reach.
func CheckListen(addr string, insecure bool) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen: %q is not host:port", addr)
	}
	if insecure || host == "localhost" {
		return nil
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("listen: %s is not a loopback address, and tokens would cross the network in clear text; "+
		"put a proxy that speaks TLS in front and set listen_insecure: true", addr)
}

func oneOf(s string, of ...string) bool {
	for _, o := range of {
		if s == o {
			return true
		}
	}
	return false
}

func firstOf(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// Relative resolves a path in the file against the file's own directory.
func (f File) Relative(path string) string {
	if path == "" || filepath.IsAbs(path) || f.Path == "" {
		return path
	}
	return filepath.Join(filepath.Dir(f.Path), path)
}
