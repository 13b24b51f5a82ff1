package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/signet-policy/signet/internal/evidence"
)

// Mirror is another registry that has a registry's content. What is named by
// digest is asked of mirrors first, in order, and hashed as ever, so a mirror is
// trusted with nothing. A mirror that fails or lacks something is passed over,
// for the next one and in the end the registry itself.
//
// Credentials, plain HTTP and private addresses are the mirror's own: they are
// what [Settings] say for its host, and never those of the registry.
type Mirror struct {
	// Host is the mirror's exact host[:port].
	Host string
	// Prefix is put before the path of a repository there, as proxies that hold
	// several registries want it ("dockerhub"); "" for the same path.
	Prefix string
	// Tags lets the mirror say what a tag names. It may be behind, so this is for
	// mirrors that are meant to be: else tags are resolved at the registry.
	Tags bool
	// Evidence asks the mirror for lists of evidence (referrers, cosign's tags)
	// too. They are added to the registry's own, which is asked all the same:
	// that there is no signature is for the registry to say.
	Evidence bool
}

// validate checks the mirrors of a registry and normalises their names.
func validateMirrors(registry string, mirrors []Mirror) error {
	seen := map[string]bool{}
	for i := range mirrors {
		m := &mirrors[i]
		host, err := normaliseHost(m.Host)
		if err != nil {
			return fmt.Errorf("registry %q: mirror %q: %w", registry, m.Host, err)
		}
		m.Host, m.Prefix = host, strings.Trim(m.Prefix, "/")
		switch place := m.Host + "/" + m.Prefix; {
		case m.Prefix != "" && !isPath(m.Prefix):
			return fmt.Errorf("registry %q: mirror %q: prefix %q is not the path of a repository", registry, m.Host, m.Prefix)
		case place == registry+"/":
			return fmt.Errorf("registry %q: it cannot be its own mirror", registry)
		case seen[place]:
			return fmt.Errorf("registry %q: mirror %q is named twice", registry, m.Host)
		default:
			seen[place] = true
		}
	}
	return nil
}

// String tells mirrors apart in the key of a lease.
func (m Mirror) String() string {
	return fmt.Sprintf("%s/%s,tags=%t,evidence=%t", m.Host, m.Prefix, m.Tags, m.Evidence)
}

// mirrored is a repository in a registry that has mirrors. Its name, and whatever
// the mirrors cannot say, is the registry's own.
type mirrored struct {
	*remote
	mirrors []mirror
}

// mirror is the same repository in a mirror.
type mirror struct {
	*remote
	Mirror
}

// repository opens a repository of a registry, with its mirrors.
func (c *Client) repository(r Reference) source {
	own := &remote{c: c, session: session{c.endpoint(r.Registry), r.Repository}}
	if len(own.Mirrors) == 0 {
		return own
	}
	m := &mirrored{remote: own}
	for _, at := range own.Mirrors {
		repo := r.Repository
		if at.Prefix != "" {
			repo = at.Prefix + "/" + repo
		}
		m.mirrors = append(m.mirrors, mirror{&remote{c: c, session: session{c.endpoint(at.Host), repo}, once: true}, at})
	}
	return m
}

// authority is the registry that has the last word in a repository, nil for a
// layout.
func authority(src source) *remote {
	switch s := src.(type) {
	case *remote:
		return s
	case *mirrored:
		return s.remote
	}
	return nil
}

// beside are the mirrors whose lists of evidence count.
func beside(src source) []*remote {
	m, ok := src.(*mirrored)
	if !ok {
		return nil
	}
	var list []*remote
	for _, at := range m.mirrors {
		if at.Evidence && !m.c.resting.is(at.address, m.c.cfg.Now()) {
			list = append(list, at.remote)
		}
	}
	return list
}

// firstOf asks the mirrors in order, and then the registry, whose error it is
// where all fail.
func firstOf[T any](ctx context.Context, m *mirrored, may func(Mirror) bool, ask func(*remote) (T, error)) (T, error) {
	for _, at := range m.mirrors {
		if !may(at.Mirror) || m.c.resting.is(at.address, m.c.cfg.Now()) {
			continue
		}
		got, err := ask(at.remote)
		if err == nil {
			return got, nil
		}
		m.c.rest(ctx, at.remote, err)
	}
	return ask(m.remote)
}

func (m *mirrored) manifest(ctx context.Context, ref string) (content, error) {
	may := func(at Mirror) bool { return at.Tags }
	if isDigest(ref) {
		may = func(Mirror) bool { return true }
	}
	return firstOf(ctx, m, may, func(r *remote) (content, error) {
		got, err := r.manifest(ctx, ref)
		if err == nil && r != m.remote {
			// A digest does not cover the declared type: what a mirror gets wrong
			// must not keep us from what the registry has.
			_, err = parseManifest(got.body, got.mediaType, m.c.cfg.Limits.JSONDepth)
		}
		return got, err
	})
}

func (m *mirrored) blob(ctx context.Context, d descriptor, limit int64) (blob, error) {
	return firstOf(ctx, m, func(Mirror) bool { return true }, func(r *remote) (blob, error) { return r.blob(ctx, d, limit) })
}

// resting are mirrors that have failed and are left alone for a while, so that
// one that is down costs its time once and not with every request. By address.
type resting struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// restTime is how long a mirror is left alone, unless it asks for another time.
const restTime = time.Minute

func (r *resting) is(address string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return now.Before(r.until[address])
}

// rest leaves a mirror alone that is unreachable, overloaded, refused, or silent
// until the time was up. One that lacks something, or wants credentials for it, may
// have the next thing.
func (c *Client) rest(ctx context.Context, r *remote, err error) {
	var p *evidence.Problem
	if errors.Is(ctx.Err(), context.Canceled) || !errors.As(err, &p) {
		return
	}
	switch p.Code {
	case evidence.CodeUnavailable, evidence.CodeRateLimited, evidence.CodeAddressRefused:
	default:
		return
	}
	wait := restTime
	if p.RetryAfter > 0 {
		wait = p.RetryAfter
	}
	c.resting.mu.Lock()
	defer c.resting.mu.Unlock()
	c.resting.until[r.address] = c.cfg.Now().Add(wait)
}

// lent is what mirrors list beside the registry.
type lent struct {
	manifests []lentManifest
	referrers []lentReferrer
}

type lentManifest struct {
	origin  origin
	content content
}

type lentReferrer struct {
	subject string
	descriptor
}

// askMirror asks a mirror for the lists that the registry is asked for as well.
// So nothing that goes wrong here leaves the search incomplete, however much there
// is, and nothing that is found here makes it complete.
func (s *search) askMirror(ctx context.Context, r *remote, subject string) {
	var found lent
	for suffix, kind := range map[string]evidence.Kind{"sig": evidence.KindSimpleSigning, "att": evidence.KindDSSE} {
		o := origin{subject: subject, where: tagPlace(cosignTag(subject, suffix)), kind: kind, tag: true, lent: true}
		if m, err := r.attached(ctx, subject, suffix); err == nil {
			found.manifests = append(found.manifests, lentManifest{o, m})
		} else {
			r.c.rest(ctx, r, err)
		}
	}
	for _, d := range s.mirrorReferrers(ctx, r, subject) {
		found.referrers = append(found.referrers, lentReferrer{subject, d})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lent.manifests = append(s.lent.manifests, found.manifests...)
	s.lent.referrers = append(s.lent.referrers, found.referrers...)
}

// mirrorReferrers reads the referrers API of a mirror, and the fallback tag where
// that has nothing.
func (s *search) mirrorReferrers(ctx context.Context, r *remote, subject string) []descriptor {
	ignore := func(json.RawMessage, error) {}
	list, err := r.referrers(ctx, subject, ignore)
	if err != nil && !errors.Is(err, errUnsupported) {
		r.c.rest(ctx, r, err)
		return list
	}
	if len(list) > 0 {
		return list
	}
	c, err := r.attached(ctx, subject, "")
	if err != nil {
		return nil
	}
	m, err := parseManifest(c.body, c.mediaType, s.lim.JSONDepth)
	if err != nil || !m.index {
		return nil
	}
	list, err = descriptors(m.Manifests, s.lim.Referrers, s.lim.JSONDepth, ignore)
	if err != nil {
		return nil
	}
	return list
}

// borrow adds what only mirrors list. What the registry lists as well is as the
// registry says it is.
func (s *search) borrow() {
	for _, l := range s.lent.referrers {
		known := false
		for _, have := range s.listed[l.Digest] {
			known = known || have.subject == l.subject
		}
		if !known {
			s.list(l.subject, []descriptor{l.descriptor}, true)
			s.worse(&s.api, evidence.ProbeFound)
		}
	}
	for _, l := range s.lent.manifests {
		m, err := parseManifest(l.content.body, l.content.mediaType, s.lim.JSONDepth)
		if err != nil || m.index || s.tagged[l.origin.where] == l.content.digest {
			continue
		}
		s.worse(&s.tags, evidence.ProbeFound)
		s.readManifest(l.content, l.origin)
	}
}

// named is where the search looked: the registry's repository, then mirrors.
func (s *search) named() []string {
	names := []string{s.src.name()}
	for _, r := range s.beside {
		names = append(names, r.name())
	}
	return names
}

// place names a registry in a key, with the account used there and its mirrors.
func (c *Client) place(host string) string {
	p := host + c.account(host)
	if e, ok := c.endpoints[host]; ok {
		for _, m := range e.Mirrors {
			p += " via " + m.String() + c.account(m.Host)
		}
	}
	return p
}
