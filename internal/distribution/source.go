package distribution

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Defaults of [Config].
const (
	// DefaultMaxBytes is the most that a bundle may have: what package policy reads.
	DefaultMaxBytes = 16 << 20
	// DefaultTimeout bounds one fetch.
	DefaultTimeout = time.Minute
)

// Source is a place that has one bundle.
type Source interface {
	// Fetch gives the bundle, unless since names what is there: then the error is
	// [ErrNotModified], and the Validator of the answer, where it is not zero, is
	// the one to remember instead (the same bytes under another ETag). since is what
	// was remembered when the last bundle was activated; zero fetches whatever is
	// there. It is safe for concurrent use.
	Fetch(ctx context.Context, since Validator) (Fetched, error)
}

// Fetched is an answer.
type Fetched struct {
	// Archive is a .tar.gz of DefaultMaxBytes at most. Nothing in it was verified.
	Archive []byte
	// Validator is what to remember once the archive is active, and no sooner: a
	// bundle that was refused would never be looked at again.
	Validator Validator
}

// Validator names what was fetched. It is kept as JSON; zero names nothing.
type Validator struct {
	// Location is a digest of where it was fetched: elsewhere it counts for nothing.
	Location string `json:"location,omitempty"`
	// Digest is "sha256:<hex>" of the archive.
	Digest string `json:"digest,omitempty"`
	// Manifest is "sha256:<hex>" of the OCI manifest that names the archive.
	Manifest string `json:"manifest,omitempty"`
	// ETag and LastModified are a server's (RFC 9110, section 8.8).
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
}

// Config says where a bundle is and how to get there. Exactly one of Dir, File and
// URL is given; what follows URL is for URLs only.
type Config struct {
	// Dir is a bundle directory. It is read anew with each fetch, so exchange it as
	// a whole (a symbolic link) where a half-copied one could pass for a bundle.
	Dir string
	// Pack makes an archive of Dir (policy.Pack): the same files, the same bytes.
	Pack func(fs.FS) ([]byte, error)
	// File is a .tar.gz.
	File string
	// URL is https://HOST/PATH of a bundle server, oci://HOST/REPOSITORY:TAG, or
	// oci://HOST/REPOSITORY@sha256:HEX.
	URL string

	// BearerTokenFile, or Username with PasswordFile, hold what the host wants. The
	// files are read with each fetch. In a repository they come before Keychain.
	BearerTokenFile string
	Username        string
	PasswordFile    string
	// TokenHosts are other hosts, HOST[:PORT], that issue a registry's tokens and may
	// be shown its credentials; Docker Hub's and GitLab's are known.
	TokenHosts []string
	// ClientCert and ClientKey are PEM files of a certificate for mTLS, read with
	// each connection.
	ClientCert, ClientKey string
	// CAFile and CAFiles hold PEM certificates to trust beside the system's.
	CAFile  string
	CAFiles []string
	// AllowHTTP allows plain HTTP to hosts other than loopback.
	AllowHTTP bool
	// ProxyURL is an http or https proxy for all but loopback; "" is none: the
	// environment's are ignored.
	ProxyURL string
	// UserAgent is sent with every request ("signet/<version>").
	UserAgent string
	// Keychain has credentials for repositories; nil is docker's configuration.
	Keychain authn.Keychain
	// MaxBytes caps an archive; 0 means [DefaultMaxBytes].
	MaxBytes int64
	// Timeout bounds one fetch; 0 means [DefaultTimeout].
	Timeout time.Duration
}

// New makes a Source. It opens no connection, and reads the files that it names so
// that a mistake is found at start. Errors wrap [ErrConfig].
func New(cfg Config) (Source, error) {
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, DefaultMaxBytes)
	cfg.Timeout = cmp.Or(cfg.Timeout, DefaultTimeout)
	given := 0
	for _, s := range []string{cfg.Dir, cfg.File, cfg.URL} {
		if s != "" {
			given++
		}
	}
	if given != 1 {
		return nil, fmt.Errorf("%w: %d of dir, file and url are given; give one", ErrConfig, given)
	}
	if cfg.URL == "" {
		return newLocal(cfg)
	}
	u, err := parseURL(cfg)
	if err != nil {
		return nil, err
	}
	if u.Scheme == schemeOCI {
		return newRepository(cfg, u)
	}
	w, err := newWire(cfg, u.Scheme, u.Host)
	if err != nil {
		return nil, err
	}
	return &server{cfg: cfg, url: u, wire: w}, nil
}

const schemeOCI = "oci"

func parseURL(cfg Config) (*url.URL, error) {
	u, err := url.Parse(cfg.URL)
	switch {
	case err != nil, u.Host == "":
		return nil, fmt.Errorf("%w: url: is none; write https://HOST/PATH or oci://HOST/REPOSITORY:TAG", ErrConfig)
	case u.User != nil:
		return nil, fmt.Errorf("%w: url: has credentials in it; write them into bearer_token_file, or username and password_file", ErrConfig)
	case u.Fragment != "":
		return nil, fmt.Errorf("%w: url: has a fragment (#…), which no server sees", ErrConfig)
	case u.Scheme == "https", u.Scheme == schemeOCI:
		return u, nil
	case u.Scheme == "http" && (cfg.AllowHTTP || isLoopback(u.Hostname())):
		return u, nil
	case u.Scheme == "http":
		return nil, fmt.Errorf("%w: url: %s is plain HTTP; write https://, or allow_http: true", ErrConfig, u.Host)
	}
	return nil, fmt.Errorf("%w: url: %q is not among https, oci and http", ErrConfig, u.Scheme)
}

// locationOf is a name for a place that tells nothing of it.
func locationOf(kind, place string) string {
	sum := sha256.Sum256([]byte(kind + " " + place))
	return hex.EncodeToString(sum[:16])
}

func digestOf(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// here is since, where it is about this place.
func (v Validator) here(location string) Validator {
	if v.Location != location {
		return Validator{}
	}
	return v
}

// answer is the end of every fetch that brought bytes.
func answer(archive []byte, since, now Validator) (Fetched, error) {
	if since.Digest == now.Digest {
		return Fetched{Validator: now}, ErrNotModified
	}
	return Fetched{Archive: archive, Validator: now}, nil
}
