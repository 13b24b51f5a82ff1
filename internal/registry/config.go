package registry

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/signet-policy/signet/internal/evidence"
)

// Secret is a password or token. It prints, logs and marshals as "[redacted]";
// string(s) gives it.
type Secret string

const redacted = "[redacted]"

// String hides the secret.
func (s Secret) String() string { return redacted }

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return redacted }

// LogValue hides the secret from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the secret from JSON, YAML and whatever else marshals text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Settings are what configuration says about one registry.
type Settings struct {
	// Host is the exact host[:port], as in the name of an image ("docker.io" for
	// Docker Hub). Nothing here applies to any other host or port.
	Host string
	// Insecure speaks plain HTTP to this registry, and allows it to be at a
	// loopback or private address.
	Insecure bool
	// AllowPrivate allows loopback and private addresses, over https.
	AllowPrivate bool
	// CAFile holds PEM certificates to trust for this registry beside the
	// system's and Config.CAFiles.
	CAFile string
	// Username and Password, or Token (a bearer token that the registry itself
	// accepts), come before the keychain.
	Username string
	Password Secret
	Token    Secret
	// TokenHosts are other hosts, host[:port], that issue this registry's tokens
	// and may be shown its credentials.
	TokenHosts []string
	// BlobHosts are other hosts, host[:port], that this registry redirects blobs
	// to and that may be at a private address where the registry may.
	BlobHosts []string
	// Mirrors are asked for this registry's content first, in order.
	Mirrors []Mirror
}

// Config of a [Client]. The zero value asks public registries over https, with
// the credentials of the docker configuration.
type Config struct {
	// Limits bound what a registry can make us do; the zero value stands for
	// [evidence.DefaultLimits].
	Limits evidence.Limits
	// Registries are settings per registry; a host occurs once.
	Registries []Settings
	// Allow are globs of normalised names ("ghcr.io/org/**", see package glob)
	// that may be asked for; empty: all.
	Allow []string
	// AllowPrivateAddresses allows the registry that the caller names to be at
	// any address, for a caller who owns the machine. It opens nothing to
	// redirects, realms and links.
	AllowPrivateAddresses bool
	// AllowLayouts allows references to files ("oci-layout:PATH").
	AllowLayouts bool
	// EvidenceRepositories maps a registry ("ghcr.io"), a part of it
	// ("ghcr.io/org") or a repository ("docker.io/library/nginx") to the
	// repository where the evidence is kept. The longest match counts. It
	// replaces the image's own repository, as cosign's COSIGN_REPOSITORY does.
	EvidenceRepositories map[string]string
	// ProxyURL is an http or https proxy for every registry but those at loopback
	// addresses; "" for none. The environment's proxies are ignored. The proxy
	// resolves names, so it must refuse inward addresses itself.
	ProxyURL string
	// CAFiles hold PEM certificates to trust beside the system's.
	CAFiles []string
	// Writes makes a client that may put something into registries ([Client.Attach]):
	// its tokens are for writing too, so it is a client of its own.
	Writes bool
	// UserAgent is sent with every request ("signet/<version>").
	UserAgent string
	// Keychain finds credentials for registries without any in Registries; nil
	// stands for the docker configuration and its credential helpers.
	Keychain authn.Keychain
	// Resolver looks up names; nil stands for the system's.
	Resolver *net.Resolver
	// Now is the clock, nil for [time.Now].
	Now func() time.Time
}

// endpoint is a registry as it is spoken to: what is configured for it, or the
// defaults for a host that nothing is configured for.
type endpoint struct {
	Settings
	// address is the host:port of the API, port always given.
	address string
	// base is the URL of the API, without path.
	base string
	// open are the host:port of this registry, and of its token and blob hosts,
	// which share its certificates and its freedom of addresses.
	open map[string]bool
	// tokenHosts may be shown the credentials, beside the registry itself.
	tokenHosts map[string]bool
	// own are the transports for the open hosts; nil: the shared ones.
	own *transports
}

// private says whether this registry's own hosts may have private addresses.
func (e *endpoint) private() bool { return e.Insecure || e.AllowPrivate }

// Well-known hosts, where the name in a reference is not the host of the API, or
// where tokens come from another host.
const (
	dockerHub     = "docker.io"
	dockerHubAPI  = "registry-1.docker.io"
	dockerHubAuth = "auth.docker.io"
)

var builtinTokenHosts = map[string]string{
	dockerHub:             dockerHubAuth,
	"registry.gitlab.com": "gitlab.com",
}

func newEndpoint(r Settings) *endpoint {
	e := &endpoint{Settings: r, open: map[string]bool{}, tokenHosts: map[string]bool{}}
	scheme, host := "https", r.Host
	if host == dockerHub {
		host = dockerHubAPI
	}
	if r.Insecure {
		scheme = "http"
	}
	e.base = scheme + "://" + host
	e.address = withPort(host, scheme)
	e.open[e.address] = true
	if h, ok := builtinTokenHosts[r.Host]; ok {
		e.tokenHosts[withPort(h, "https")] = true
	}
	for _, h := range r.TokenHosts {
		e.tokenHosts[withPort(h, "https")] = true
		e.open[withPort(h, "https")] = true
	}
	for _, h := range r.BlobHosts {
		e.open[withPort(h, "https")] = true
	}
	return e
}

// validate checks one registry's settings and normalises its host names.
func (r *Settings) validate() error {
	host, err := normaliseHost(r.Host)
	if err != nil {
		return fmt.Errorf("registry %q: %w", r.Host, err)
	}
	if r.Insecure && portOf(r.Host) == "443" {
		return fmt.Errorf("registry %q: insecure means plain HTTP, which is not spoken on port 443", r.Host)
	}
	r.Host = host
	switch {
	case r.Insecure && r.CAFile != "":
		return fmt.Errorf("registry %q: insecure means plain HTTP, so a CA file has no use; choose one", r.Host)
	case r.Token != "" && (r.Username != "" || r.Password != ""):
		return fmt.Errorf("registry %q: both a token and a user name or password; choose one", r.Host)
	case (r.Username == "") != (r.Password == ""):
		return fmt.Errorf("registry %q: a user name and a password go together", r.Host)
	}
	if err := validateMirrors(r.Host, r.Mirrors); err != nil {
		return err
	}
	for _, list := range []struct {
		field string
		hosts []string
	}{{"token host", r.TokenHosts}, {"blob host", r.BlobHosts}} {
		for i, h := range list.hosts {
			if list.hosts[i], err = normaliseHost(h); err != nil {
				return fmt.Errorf("registry %q: %s %q: %w", r.Host, list.field, h, err)
			}
		}
	}
	return nil
}

func parseProxy(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("proxy: want a URL like http://proxy.example.com:3128")
	}
	return u, nil
}

// checkLimits refuses limits that bound nothing.
func checkLimits(l evidence.Limits) error {
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"manifest_bytes", l.ManifestBytes},
		{"bundle_bytes", l.BundleBytes},
		{"items", int64(l.Items)},
		{"referrers", int64(l.Referrers)},
		{"referrer_pages", int64(l.ReferrerPages)},
		{"layers", int64(l.Layers)},
		{"platforms", int64(l.Platforms)},
		{"json_depth", int64(l.JSONDepth)},
		{"memory_bytes", l.MemoryBytes},
		{"spool_bytes", l.SpoolBytes},
		{"request_timeout", int64(l.RequestTimeout)},
		{"search_timeout", int64(l.SearchTimeout)},
		{"parallel", int64(l.Parallel)},
	} {
		if f.value <= 0 {
			return fmt.Errorf("limits: %s is %d; it must be positive", f.name, f.value)
		}
	}
	return nil
}
