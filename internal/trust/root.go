package trust

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/signet-policy/signet/internal/glob"
	"github.com/signet-policy/signet/internal/strictjson"
)

// Limits on a trust root. Real ones are below 20 KB.
const (
	maxBytes = 4 << 20
	maxDepth = 32
	maxRoots = 64
)

// Requires are the proofs that a root demands of evidence. It is a floor that
// no policy lowers. The zero value demands nothing but a time.
type Requires struct {
	// Log: a transparency-log entry that verifies.
	Log bool
	// SCT: a signed certificate timestamp that verifies, in every certificate.
	SCT bool
	// Timestamp: an RFC 3161 timestamp that verifies. (A certificate always
	// needs one verified time, from a timestamp or a log.)
	Timestamp bool
}

// Root is one trust root. It is immutable and safe for concurrent use.
type Root struct {
	name      string
	digest    string
	body      []byte
	requires  Requires
	material  *root.TrustedRoot
	refreshed time.Time
	scope     glob.Scope
}

// nobody has no authority and no log.
var nobody = &Root{material: &root.TrustedRoot{}}

// Nobody is the root that vouches for nothing and has no name: a signature by a key
// that is known verifies under it, and proves neither a log entry nor a time.
func Nobody() *Root { return nobody }

// Parse reads a trusted_root.json (media type
// "application/vnd.dev.sigstore.trustedroot+json;version=0.1"). The name is the
// caller's, and appears in facts. A nil req is derived from what the root has:
// Log if it has transparency logs, SCT if it has certificate-transparency logs,
// Timestamp if it has no log. Errors wrap [ErrInvalid] or [ErrRequires].
func Parse(name string, trustedRootJSON []byte, req *Requires) (*Root, error) {
	if name == "" {
		return nil, fmt.Errorf("%w: it needs a name", ErrInvalid)
	}
	if len(trustedRootJSON) > maxBytes {
		return nil, fmt.Errorf("trust root %s: %w: %d bytes, more than %d", name, ErrInvalid, len(trustedRootJSON), maxBytes)
	}
	body, err := canonical(trustedRootJSON)
	if err != nil {
		return nil, fmt.Errorf("trust root %s: %w: %w", name, ErrInvalid, err)
	}
	material, err := root.NewTrustedRootFromJSON(body)
	if err != nil {
		return nil, fmt.Errorf("trust root %s: %w: %w", name, ErrInvalid, err)
	}
	if err := checkAuthorities(material); err != nil {
		return nil, fmt.Errorf("trust root %s: %w: %w", name, ErrInvalid, err)
	}
	r := &Root{name: name, digest: digest(body), body: body, material: material, requires: derive(material)}
	if req != nil {
		r.requires = *req
	}
	if err := r.able(); err != nil {
		return nil, fmt.Errorf("trust root %s: %w: %w", name, ErrRequires, err)
	}
	return r, nil
}

// ParseAll reads the roots of one file: a trusted_root.json, or one root a line
// as `gh attestation trusted-root` prints them. The first is called name, the
// others name-2, name-3 and so on. What each requires is derived, see [Parse].
func ParseAll(name string, b []byte) ([]*Root, error) {
	if len(b) > maxBytes {
		return nil, fmt.Errorf("trust roots %s: %w: %d bytes, more than %d", name, ErrInvalid, len(b), maxBytes)
	}
	docs, err := documents(b)
	if err != nil {
		return nil, fmt.Errorf("trust roots %s: %w: %w", name, ErrInvalid, err)
	}
	roots := make([]*Root, 0, len(docs))
	for i, doc := range docs {
		n := name
		if i > 0 {
			n += "-" + strconv.Itoa(i+1)
		}
		r, err := Parse(n, doc, nil)
		if err != nil {
			return nil, err
		}
		roots = append(roots, r)
	}
	return roots, nil
}

// documents cuts b into JSON values that follow each other.
func documents(b []byte) ([][]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	var docs [][]byte
	for dec.More() {
		var doc json.RawMessage
		if err := dec.Decode(&doc); err != nil {
			return nil, fmt.Errorf("document %d: %w", len(docs)+1, err)
		}
		if len(docs) == maxRoots {
			return nil, fmt.Errorf("more than %d trust roots in one file", maxRoots)
		}
		docs = append(docs, doc)
	}
	if len(docs) == 0 {
		return nil, fmt.Errorf("the file is empty")
	}
	return docs, nil
}

// canonical makes equal roots equal bytes, whatever their white space and order
// of keys, after refusing JSON that two parsers could read in two ways.
func canonical(b []byte) ([]byte, error) {
	var tree map[string]any
	if err := strictjson.Decode(b, maxDepth, &tree); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(tree); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func derive(m *root.TrustedRoot) Requires {
	return Requires{
		Log:       len(m.RekorLogs()) > 0,
		SCT:       len(m.CTLogs()) > 0,
		Timestamp: len(m.RekorLogs()) == 0,
	}
}

// able says why the root could never satisfy what is required of it.
func (r *Root) able() error {
	logs, cts, tsas := len(r.material.RekorLogs()), len(r.material.CTLogs()), len(r.material.TimestampingAuthorities())
	switch {
	case logs == 0 && tsas == 0:
		return fmt.Errorf("it has neither a transparency log nor a timestamp authority, so no time can be verified")
	case r.requires.Log && logs == 0:
		return fmt.Errorf("requires.log is set, but it has no transparency log")
	case r.requires.SCT && cts == 0:
		return fmt.Errorf("requires.sct is set, but it has no certificate-transparency log")
	case r.requires.Timestamp && tsas == 0:
		return fmt.Errorf("requires.timestamp is set, but it has no timestamp authority")
	}
	return nil
}

// checkAuthorities refuses what would only be noticed while verifying.
func checkAuthorities(m *root.TrustedRoot) error {
	for i, tsa := range m.TimestampingAuthorities() {
		s, ok := tsa.(*root.SigstoreTimestampingAuthority)
		if !ok || s.Root == nil {
			return fmt.Errorf("timestampAuthorities[%d] has no CA certificate: a chain ends in its root", i)
		}
	}
	return nil
}

// Name is the caller's name for the root.
func (r *Root) Name() string { return r.name }

// Digest is "sha256:<hex>" over [Root.Bytes].
func (r *Root) Digest() string { return r.digest }

// Bytes is the root as canonical JSON; parsing it again gives the same digest.
func (r *Root) Bytes() []byte { return slices.Clone(r.body) }

// Requires are the proofs that the root demands.
func (r *Root) Requires() Requires { return r.requires }

// HasLog says whether the root has a transparency log at all.
func (r *Root) HasLog() bool { return len(r.material.RekorLogs()) > 0 }

// Refreshed is the same root, known to have been current at the given time and
// to be kept current from then on.
func (r *Root) Refreshed(at time.Time) *Root {
	c := *r
	c.refreshed = at.UTC()
	return &c
}

// For is the same root, which may vouch only for evidence of images that one of
// the globs matches (package glob); none: of all images. The error is about a
// pattern.
func (r *Root) For(images []string) (*Root, error) {
	scope, err := glob.NewScope(images)
	if err != nil {
		return nil, fmt.Errorf("trust root %s: images: %w", r.name, err)
	}
	c := *r
	c.scope = scope
	return &c, nil
}

// Renewed is the same root with other content, of which nothing is known to be
// current: its name, what it requires and the images that it may vouch for stay.
// Errors are those of [Parse].
func (r *Root) Renewed(trustedRootJSON []byte) (*Root, error) {
	next, err := Parse(r.name, trustedRootJSON, &r.requires)
	if err != nil {
		return nil, err
	}
	next.scope = r.scope
	return next, nil
}

// Covers says whether the root may vouch for evidence of an image, by its
// normalised name.
func (r *Root) Covers(name string) bool { return r.scope.Covers(name) }

// Info is what a person or a policy may know about a root.
type Info struct {
	Name     string
	Digest   string
	Requires Requires
	// TransparencyLog is false for a root without any log.
	TransparencyLog bool
	// RefreshedAt is zero for a root that nobody refreshes: a file is as old as
	// its owner leaves it.
	RefreshedAt time.Time
}

// Info describes the root.
func (r *Root) Info() Info {
	return Info{Name: r.name, Digest: r.digest, Requires: r.requires, TransparencyLog: r.HasLog(), RefreshedAt: r.refreshed}
}

// Refreshable says whether the root is one that is to be kept current.
func (i Info) Refreshable() bool { return !i.RefreshedAt.IsZero() }

// Age is the time since the last refresh, 0 for a root that is not refreshable.
func (i Info) Age(now time.Time) time.Duration {
	if !i.Refreshable() || now.Before(i.RefreshedAt) {
		return 0
	}
	return now.Sub(i.RefreshedAt)
}

// Stale says whether a refreshable root was last refreshed longer ago than limit.
func (i Info) Stale(now time.Time, limit time.Duration) bool { return i.Age(now) > limit }

// FileName suggests a root's name from its file: "trusted_root" for
// "keys/trusted_root.json".
func FileName(file string) string {
	base := path.Base(file)
	if n := len(base) - len(path.Ext(base)); n > 0 {
		return base[:n]
	}
	return base
}
