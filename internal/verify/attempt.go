package verify

import (
	"bytes"
	"time"

	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/trust"
)

// proof is what one successful attempt verified about the signer, the log and
// the time. It depends on the item, the root and the key alone, so it can be
// remembered.
type proof struct {
	SignedAt     *time.Time        `json:"signed_at"`
	Principal    string            `json:"principal"`
	Signer       facts.Signer      `json:"signer"`
	Transparency []facts.LogEntry  `json:"transparency"`
	Timestamps   []facts.Timestamp `json:"timestamps"`
}

// seen notes a verified time; the earliest is when it was signed.
func (p *proof) seen(at time.Time) {
	if p.SignedAt == nil || at.Before(*p.SignedAt) {
		p.SignedAt = &at
	}
}

// attempt verifies one item under one root, with the item's certificate or with
// one candidate key. It is used once, by one goroutine.
type attempt struct {
	limits *evidence.Limits
	item   *item
	target *target
	root   *trust.Root

	signer   verify.VerificationContent
	material *material
	entries  []*logEntry // those of the root's logs
	observed []observation
}

func (v *Verifier) attempt(p *item, t *target, r *trust.Root) *attempt {
	a := &attempt{limits: &v.limits, item: p, target: t, root: r}
	for _, e := range p.entries {
		if r.KnowsLog(e.logID()) {
			a.entries = append(a.entries, e)
		}
	}
	a.material = &material{TrustedMaterial: r.Material(), authorities: observe(r, p.stamped, &a.observed)}
	return a
}

// parseEntries reads the entries that are to be verified.
func (a *attempt) parseEntries() *rejection {
	for _, e := range a.entries {
		if rej := e.parse(a.limits.JSONDepth); rej != nil {
			return rej.at(stepEntries)
		}
	}
	if duplicateEntry(a.entries) {
		return reject(facts.CodeLogEntryInvalid, "the same log entry is there twice").at(stepEntries)
	}
	return nil
}

// ours says whether an entry is of a kind that sigstore-go refuses, or the payload
// larger than what it should be given: it decodes it once for each thing that it
// looks at.
func (a *attempt) ours() bool {
	if a.item.payload.large != nil {
		return true
	}
	for _, e := range a.entries {
		if e.verifiedByUs() {
			return true
		}
	}
	return false
}

// view shows the item to sigstore-go, with the entries of the root's logs only:
// others must neither help nor disturb. Timestamps are all there; those of
// strangers verify with nobody.
func (a *attempt) view() *entity {
	e := &entity{content: a.item.content, signer: a.signer, tokens: a.item.tokens}
	for _, entry := range a.entries {
		e.entries = append(e.entries, entry.entry)
	}
	return e
}

// artifact tells sigstore-go what the signature must be about: the bytes where
// they are signed themselves and known, else the digest.
func (a *attempt) artifact() verify.ArtifactPolicyOption {
	if _, ok := a.item.content.(*message); ok && a.item.over.content != nil {
		return verify.WithArtifact(bytes.NewReader(a.item.over.content))
	}
	return verify.WithArtifactDigest(a.item.subject.algorithm, a.item.subject.value)
}

// eachEntry verifies every entry alone. It is left out where the whole
// verification has just proved the same: sigstore-go was shown one entry and told
// that one must verify.
func (a *attempt) eachEntry() *rejection {
	for _, e := range a.entries {
		if rej := a.entryAlone(e); rej != nil {
			return rej
		}
	}
	return nil
}

// describe collects the facts about log and time from verified parts, and turns
// the attempt down for a known log's or authority's part that did not verify.
func (a *attempt) describe(p *proof) *rejection {
	if rej := a.entryFacts(p); rej != nil {
		return rej
	}
	if rej := a.tokenFacts(p); rej != nil {
		return rej
	}
	return a.entryTimes(p)
}
