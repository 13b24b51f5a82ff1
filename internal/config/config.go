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

const day = 24 * time.Hour

// Default is the configuration of an empty file.
func Default() File {
	return File{
		Listen:  "127.0.0.1:8090",
		DataDir: defaultDataDir(),
		Deadlines: Deadlines{
			REST: Duration(30 * time.Second), OPA: Duration(800 * time.Millisecond), AuthZEN: Duration(400 * time.Millisecond), MCP: Duration(25 * time.Second),
		},
		OPA:      OPA{Mounts: []string{"mcpgateway"}},
		Log:      Log{Level: "info", Format: "json"},
		Database: Database{Migrate: "automatic"},
		Cache: Cache{
			MemoryBytes: 32 << 20, DecisionMaxAge: Duration(time.Minute),
			Redis: Redis{Mode: "single", Prefix: "signet:", Timeout: Duration(100 * time.Millisecond)},
		},
		KMS:    KMS{Refresh: Duration(time.Hour), Timeout: Duration(5 * time.Second)},
		Attest: Attest{PushEvery: Duration(day)},
		DecisionLog: DecisionLog{
			File: DecisionFile{MaxSize: 100 << 20, MaxFiles: 10},
			HTTP: DecisionHTTP{Timeout: Duration(30 * time.Second), Reporting: DecisionReporting{
				MinDelaySeconds: 300, MaxDelaySeconds: 600, UploadSizeLimitBytes: 32768, BufferSizeLimitBytes: 64 << 20,
			}},
			BufferBytes: 32 << 20,
		},
		Watch: Watch{
			Recent: Duration(14 * day), Rate: 5, Refresh: Duration(day), WarnBefore: []Duration{Duration(30 * day), Duration(7 * day), Duration(day)},
			UnknownAfter: Duration(time.Hour),
		},
		MaxStaleness: Duration(14 * day),
		Limits:       evidence.DefaultLimits(),

		ExceptionsMaxDays: 90,
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
	f.nameWebhooks()
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
	return regexp.MustCompile(`^line (\d+): field (\S+) not found in type \w+\.(\w+)$`)
})

var wrongKind = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile("^line (\\d+): cannot unmarshal !!(\\w+)( `.*`)? into (\\S+)$")
})

// yamlKind is what a YAML tag stands for.
func yamlKind(tag string) string {
	switch tag {
	case "seq":
		return "a list"
	case "map":
		return "a mapping"
	case "str":
		return "the text"
	case "bool":
		return "the truth value"
	case "int", "float":
		return "the number"
	default:
		return "the " + tag
	}
}

// goKind is what a person writes for a type of ours.
func goKind(name string) string {
	switch {
	case strings.HasPrefix(name, "[]"):
		return "a list (- item)"
	case strings.HasPrefix(name, "map["), strings.Contains(name, "."):
		return "a mapping (name: value)"
	case name == "bool":
		return "true or false"
	case strings.HasPrefix(name, "int"), strings.HasPrefix(name, "uint"):
		return "a whole number"
	case strings.HasPrefix(name, "float"):
		return "a number"
	default:
		return "a text"
	}
}

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
		} else if m := wrongKind().FindStringSubmatch(line); m != nil {
			line = fmt.Sprintf("line %s: is %s%s; it must be %s", m[1], yamlKind(m[2]), m[3], goKind(m[4]))
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
		set("SIGNET_EXTERNAL_URL", str(&f.ExternalURL)),
		set("SIGNET_DATABASE_URL", str(&f.Database.URL)),
		set("SIGNET_DATABASE_URL_FILE", str(&f.Database.URLFile)),
		set("SIGNET_REDIS_URL", str(&f.Cache.Redis.URL)),
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
