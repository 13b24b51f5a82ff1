package trust

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// Contents sums up what is in a root.
type Contents struct {
	CertificateAuthorities int
	TransparencyLogs       int
	CTLogs                 int
	TimestampAuthorities   int
	// NewestSince is the latest start of a validity among all of them, UTC; zero
	// where none has a start.
	NewestSince time.Time
	// Parts are all of them, by kind and then by when they begin.
	Parts []Part
}

// The kinds of a [Part].
const (
	KindCertificateAuthority = "certificate_authority"
	KindTransparencyLog      = "transparency_log"
	KindCTLog                = "ct_log"
	KindTimestampAuthority   = "timestamp_authority"
)

// Part is one authority or log of a root.
type Part struct {
	Kind string
	// Name is its address, or the subject of its certificate; for people.
	Name string
	// Since and Until bound what it may vouch for, UTC; zero for no bound. Until is
	// the earlier of the root's word and the end of the part's own certificates.
	Since, Until time.Time
}

// NextEnd is the earliest end of the parts that count at the time; zero where none
// of them has one.
func (c Contents) NextEnd(at time.Time) time.Time {
	var next time.Time
	for _, p := range c.Parts {
		if p.Since.After(at) || p.Until.IsZero() || !p.Until.After(at) {
			continue
		}
		if next.IsZero() || p.Until.Before(next) {
			next = p.Until
		}
	}
	return next
}

// parts counts everything.
func (c Contents) parts() int {
	return c.CertificateAuthorities + c.TransparencyLogs + c.CTLogs + c.TimestampAuthorities
}

// Contents sums up what is in the root.
func (r *Root) Contents() Contents {
	c := Contents{
		CertificateAuthorities: len(r.material.FulcioCertificateAuthorities()),
		TransparencyLogs:       len(r.material.RekorLogs()),
		CTLogs:                 len(r.material.CTLogs()),
		TimestampAuthorities:   len(r.material.TimestampingAuthorities()),
	}
	for _, p := range r.validities() {
		if p.start.After(c.NewestSince) {
			c.NewestSince = p.start.UTC()
		}
		c.Parts = append(c.Parts, p.part())
	}
	slices.SortFunc(c.Parts, func(a, b Part) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), a.Since.Compare(b.Since), strings.Compare(a.Name, b.Name), a.Until.Compare(b.Until))
	})
	return c
}

// validity is from when to when a part of a root counts; a zero end is none. id
// tells the part apart from all others.
type validity struct {
	id         string
	start, end time.Time
	kind, name string
	// chain are the certificates of an authority.
	chain []*x509.Certificate
}

func (v validity) part() Part {
	p := Part{Kind: v.kind, Name: v.name, Since: utc(v.start), Until: utc(v.end)}
	for _, c := range v.chain {
		if c == nil {
			continue
		}
		if p.Name == "" {
			p.Name = c.Subject.String()
		}
		if end := c.NotAfter.UTC(); p.Until.IsZero() || end.Before(p.Until) {
			p.Until = end
		}
	}
	return p
}

// utc leaves the zero time as it is.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}

func (r *Root) validities() []validity {
	var all []validity
	for _, ca := range r.material.FulcioCertificateAuthorities() {
		if f, ok := ca.(*root.FulcioCertificateAuthority); ok {
			all = append(all, validity{
				id: "ca " + certificateID(f.Root, f.Intermediates), start: f.ValidityPeriodStart, end: f.ValidityPeriodEnd,
				kind: KindCertificateAuthority, name: f.URI, chain: append([]*x509.Certificate{f.Root}, f.Intermediates...),
			})
		}
	}
	for kind, logs := range map[string]map[string]*root.TransparencyLog{KindTransparencyLog: r.material.RekorLogs(), KindCTLog: r.material.CTLogs()} {
		for id, log := range logs {
			all = append(all, validity{id: kind + " " + id, start: log.ValidityPeriodStart, end: log.ValidityPeriodEnd, kind: kind, name: cmp.Or(log.BaseURL, id)})
		}
	}
	for _, tsa := range r.authorities() {
		all = append(all, validity{
			id: "tsa " + certificateID(tsa.Root, append(slices.Clone(tsa.Intermediates), tsa.Leaf)), start: tsa.ValidityPeriodStart, end: tsa.ValidityPeriodEnd,
			kind: KindTimestampAuthority, name: tsa.URI, chain: append([]*x509.Certificate{tsa.Leaf, tsa.Root}, tsa.Intermediates...),
		})
	}
	return all
}

// certificateID names an authority by its chain.
func certificateID(top *x509.Certificate, between []*x509.Certificate) string {
	h := sha256.New()
	for _, c := range append([]*x509.Certificate{top}, between...) {
		if c != nil {
			sum := sha256.Sum256(c.Raw)
			h.Write(sum[:])
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// reopened counts the parts that have an end in the root in use, and none in next.
func reopened(next, inUse *Root) int {
	ended := map[string]bool{}
	for _, p := range inUse.validities() {
		ended[p.id] = !p.end.IsZero()
	}
	n := 0
	for _, p := range next.validities() {
		if ended[p.id] && p.end.IsZero() {
			n++
		}
	}
	return n
}

// Older says whether next is older than the root in use, and why, for people. A
// trusted_root.json has neither date nor version, but an instance only ever adds
// to it: so the one whose newest part begins earlier is older, and with equal
// newest parts the one that has fewer, or lacks the end that was set to a part
// since. Who takes that away on purpose has to say that an older root is meant.
func Older(next, inUse *Root) (older bool, why string) {
	n, u := next.Contents(), inUse.Contents()
	switch {
	case n.NewestSince.Before(u.NewestSince):
		return true, fmt.Sprintf("its newest part begins %s, and that of the root in use begins %s", since(n.NewestSince), since(u.NewestSince))
	case n.NewestSince.Equal(u.NewestSince) && n.parts() < u.parts():
		return true, fmt.Sprintf("it has %d authorities and logs, and the root in use has %d, the newest of both beginning %s", n.parts(), u.parts(), since(n.NewestSince))
	case n.NewestSince.Equal(u.NewestSince) && reopened(next, inUse) > 0:
		return true, fmt.Sprintf("%d of its authorities and logs have no end of validity, and have one in the root in use", reopened(next, inUse))
	}
	return false, ""
}

func since(t time.Time) string {
	if t.IsZero() {
		return "at no stated time"
	}
	return t.Format(time.RFC3339)
}
