package registry

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/glob"
)

// Client resolves images and collects their evidence. It is safe for concurrent
// use, and keeps connections, tokens and how registries want to be asked.
type Client struct {
	cfg       Config
	shared    *transports
	proxy     *url.URL
	endpoints map[string]*endpoint // by normalised host
	allow     glob.Scope
	elsewhere map[string]Reference // evidence repositories, by normalised prefix
	auth      *authState
	indexes   *indexCache
	resting   resting
	health    health
	backoff   time.Duration
}

// New checks cfg and reads its CA files. It opens no connection.
func New(cfg Config) (*Client, error) {
	if cfg.Limits == (evidence.Limits{}) {
		cfg.Limits = evidence.DefaultLimits()
	}
	if err := checkLimits(cfg.Limits); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Keychain == nil {
		cfg.Keychain = authn.DefaultKeychain
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "signet"
	}
	c := &Client{
		cfg: cfg, endpoints: map[string]*endpoint{}, elsewhere: map[string]Reference{},
		auth: &authState{
			challenges: map[string]remembered[challenge]{},
			tokens:     map[sessionKey]remembered[string]{},
			creds:      map[sessionKey]remembered[credential]{},
		},
		indexes: &indexCache{m: map[string]index{}},
		resting: resting{until: map[string]time.Time{}},
		health:  health{hosts: map[string]Health{}},
		backoff: firstBackoff,
	}
	var err error
	if cfg.ProxyURL != "" {
		if c.proxy, err = parseProxy(cfg.ProxyURL); err != nil {
			return nil, err
		}
	}
	roots, err := certPool(cfg.CAFiles)
	if err != nil {
		return nil, err
	}
	c.shared = newTransports(cfg, roots, c.proxy)
	for _, r := range cfg.Registries {
		if err := c.configure(r); err != nil {
			return nil, err
		}
	}
	if c.allow, err = glob.NewScope(cfg.Allow); err != nil {
		return nil, fmt.Errorf("allowed registries: %w", err)
	}
	for from, to := range cfg.EvidenceRepositories {
		if err := c.moveEvidence(from, to); err != nil {
			return nil, fmt.Errorf("evidence repositories: %q: %w", from, err)
		}
	}
	return c, nil
}

// Close ends idle connections.
func (c *Client) Close() {
	c.shared.close()
	for _, e := range c.endpoints {
		if e.own != nil {
			e.own.close()
		}
	}
}

func (c *Client) configure(r Settings) error {
	r.TokenHosts, r.BlobHosts = append([]string(nil), r.TokenHosts...), append([]string(nil), r.BlobHosts...)
	r.Mirrors = append([]Mirror(nil), r.Mirrors...)
	if err := r.validate(); err != nil {
		return err
	}
	if _, dup := c.endpoints[r.Host]; dup {
		return fmt.Errorf("registry %q: configured twice", r.Host)
	}
	r.AllowPrivate = r.AllowPrivate || c.cfg.AllowPrivateAddresses
	e := newEndpoint(r)
	if r.CAFile != "" {
		roots, err := certPool(append(append([]string(nil), c.cfg.CAFiles...), r.CAFile))
		if err != nil {
			return fmt.Errorf("registry %q: %w", r.Host, err)
		}
		e.own = newTransports(c.cfg, roots, c.proxy)
	}
	c.endpoints[r.Host] = e
	return nil
}

// endpoint gives the settings of a registry by its normalised host.
func (c *Client) endpoint(host string) *endpoint {
	if e, ok := c.endpoints[host]; ok {
		return e
	}
	return newEndpoint(Settings{Host: host, AllowPrivate: c.cfg.AllowPrivateAddresses})
}

// moveEvidence reads one entry of Config.EvidenceRepositories. The key is a
// prefix of normalised names, so it begins with a registry's host.
func (c *Client) moveEvidence(from, to string) error {
	host, path, deeper := strings.Cut(from, "/")
	if !looksLikeHost(host) {
		return errors.New("write the registry's host first, for example docker.io/library/nginx")
	}
	key, err := normaliseHost(host)
	if err != nil {
		return err
	}
	if deeper {
		if !isPath(path) {
			return errors.New("want a registry, or a path below it without tag or digest")
		}
		key += "/" + path
	}
	if _, dup := c.elsewhere[key]; dup {
		return fmt.Errorf("%s is mapped twice", key)
	}
	r, err := repositoryOnly(to)
	if err != nil {
		return err
	}
	c.elsewhere[key] = r
	return nil
}

func repositoryOnly(s string) (Reference, error) {
	r, err := parseReference(s, false)
	if err != nil {
		return Reference{}, fmt.Errorf("%q: %w", s, err)
	}
	if strings.Contains(s, "@") || strings.HasSuffix(s, ":"+r.Tag) {
		return Reference{}, fmt.Errorf("%q: want a repository without tag or digest", s)
	}
	return r, nil
}

// evidenceRepository is where the evidence of an image is kept: the longest
// entry of the configuration that is a prefix of its name, at a border between
// path segments, else its own repository.
func (c *Client) evidenceRepository(r Reference) Reference {
	for name := r.Name(); name != ""; {
		if to, ok := c.elsewhere[name]; ok {
			return Reference{Registry: to.Registry, Repository: to.Repository}
		}
		i := strings.LastIndexByte(name, '/')
		name = name[:max(i, 0)]
	}
	return Reference{Registry: r.Registry, Repository: r.Repository}
}

// EvidenceRepository is the normalised name of the repository that holds the
// evidence of an image; "" for layouts and for references that do not parse.
func (c *Client) EvidenceRepository(image string) string {
	r, err := ParseReference(image, c.cfg.AllowLayouts)
	if err != nil {
		return ""
	}
	return c.evidenceRepository(r).Name()
}

// Scope names where the answers for an image come from and with whose
// credentials they are asked for: a part of the key of every lease. It holds no
// secret, asks nobody, and is "" for references that do not parse.
func (c *Client) Scope(image string) string {
	r, err := ParseReference(image, c.cfg.AllowLayouts)
	if err != nil {
		return ""
	}
	return c.ScopeOf(r)
}

// ScopeOf is [Client.Scope] for a reference that is parsed already.
func (c *Client) ScopeOf(r Reference) string {
	if r.Layout != "" {
		return "layout"
	}
	ev := c.evidenceRepository(r)
	return c.place(r.Registry) + " " + ev.Registry + "/" + ev.Repository + " " + c.place(ev.Registry)
}

// account names the credentials for a host, behind a sign that no host has.
func (c *Client) account(host string) string {
	switch e, configured := c.endpoints[host]; {
	case !configured:
		return "#keychain"
	case e.Token != "":
		return "#token"
	case e.Username != "":
		return "#user:" + e.Username
	}
	return "#keychain"
}

// permitted refuses registries that are not on the allow-list (threat 46).
func (c *Client) permitted(r Reference) error {
	if r.Layout != "" || c.allow.Covers(r.Name()) {
		return nil
	}
	return problem(evidence.CodeNotAllowed, r.Name(), "not on the list of registries that may be asked")
}

// indexCache keeps what was read of indexes, by digest: content that cannot
// change, so that collecting needs no second request for what resolving fetched.
type indexCache struct {
	mu sync.Mutex
	m  map[string]index
}

const maxIndexes = 1024

func (ic *indexCache) put(digest string, ix index) {
	ic.mu.Lock()
	defer ic.mu.Unlock()
	if len(ic.m) >= maxIndexes {
		clear(ic.m)
	}
	ic.m[digest] = ix
}

func (ic *indexCache) get(digest string) (index, bool) {
	ic.mu.Lock()
	defer ic.mu.Unlock()
	ix, ok := ic.m[digest]
	return ix, ok
}
