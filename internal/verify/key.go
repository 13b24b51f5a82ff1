package verify

import (
	"crypto"
	"crypto/ed25519"
	"crypto/x509"

	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/trust"
)

// candidates are the keys to try for an item: those in its own log entries, those
// that its hint names, then those in scope. The first two kinds are few and
// named by the item; if none of them signed and there are more keys in scope than
// may be tried, nothing is tried at all, so that the order of keys never decides.
type candidates struct {
	named []*candidate
	scope []*candidate
}

func (v *Verifier) candidates(p *item, scope []*candidate) candidates {
	var c candidates
	have := map[string]bool{}
	add := func(list *[]*candidate, k *candidate) {
		if !have[k.fingerprint] {
			have[k.fingerprint] = true
			*list = append(*list, k)
		}
	}
	for _, e := range p.entries {
		if e.parse(v.limits.JSONDepth) != nil {
			continue // reported when it is verified, if its log is known
		}
		key := e.publicKey()
		if _, certificate := key.(*x509.Certificate); certificate || key == nil {
			continue
		}
		if k, err := newCandidate(key); err == nil {
			add(&c.named, k)
		}
	}
	for _, k := range scope {
		if k.hinted(p.hint) {
			add(&c.named, k)
		}
	}
	for _, k := range scope {
		add(&c.scope, k)
	}
	return c
}

// keyRoots are the roots to verify a key-signed item with: those that know one of
// its log entries or timestamps, for which these must verify; where no root knows
// any, the first root, which then has nothing to say.
func (v *Verifier) keyRoots(p *item) []*trust.Root {
	var out []*trust.Root
	for _, r := range v.roots {
		if knowsAny(r, p) {
			out = append(out, r)
		}
	}
	if len(out) == 0 {
		out = v.roots[:1]
	}
	return out
}

func knowsAny(r *trust.Root, p *item) bool {
	for _, e := range p.entries {
		if r.KnowsLog(e.logID()) {
			return true
		}
	}
	for _, token := range p.tokens {
		if known, err := knowsToken(r, token); err == nil && known {
			return true
		}
	}
	return false
}

// key verifies the item with one candidate key under the attempt's root. With an
// entry of one of the root's logs the log must verify and give or be given a
// time; without, the signature stands alone. Nothing is retried with less.
func (a *attempt) key(c *candidate) (*proof, *rejection) {
	a.signer = &keySigner{c.key}
	verifier := a.item.over.by(c.schemes)
	if verifier == nil {
		return nil, a.badSignature("key").at(stepStranger)
	}
	a.material.key = unexpiring(verifier)
	p := &proof{
		Principal: c.fingerprint,
		Signer:    facts.Signer{Kind: facts.KindKey, Claims: map[string]string{}, Fingerprint: c.fingerprint, Algorithm: algorithmOf(c.key)},
	}
	if rej := a.parseEntries(); rej != nil {
		return nil, rej
	}
	ours := a.ours()
	if !ours {
		if err := a.verifyKey(); err != nil {
			return nil, a.diagnoseKey(p, err)
		}
	}
	if ours || len(a.entries) > 1 {
		if rej := a.eachEntry(); rej != nil {
			return nil, rej
		}
	}
	if rej := a.describe(p); rej != nil {
		return nil, rej
	}
	if ours {
		return p, a.subjectByStep(a.signer)
	}
	return p, nil
}

// verifyKey asks sigstore-go.
func (a *attempt) verifyKey() error {
	opts := []verify.VerifierOption{verify.WithNoObserverTimestamps()}
	if len(a.entries) > 0 {
		opts = []verify.VerifierOption{verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1)}
	}
	v, err := verify.NewVerifier(a.material, append(opts, verify.WithoutStatementPredicate())...)
	if err != nil {
		return err
	}
	_, err = v.Verify(a.view(), verify.NewPolicy(a.artifact(), verify.WithKey()))
	return err
}

// diagnoseKey takes the steps one by one, see diagnose.
func (a *attempt) diagnoseKey(p *proof, refused error) *rejection {
	if rej := a.eachEntry(); rej != nil {
		return rej
	}
	if rej := a.describe(p); rej != nil {
		return rej
	}
	if len(a.entries) > 0 && p.SignedAt == nil {
		return reject(facts.CodeTimestampMissing, "no time is verified: a log entry without a signed time needs a timestamp beside it").at(stepTimes)
	}
	return reject(facts.CodeSignatureInvalid, "the evidence does not verify: %s", cause(refused)).at(stepSignature)
}

// subjectByStep has sigstore-go check signature and subject of an envelope
// without the log entry, whose kind it refuses and which we have verified.
func (a *attempt) subjectByStep(signer verify.VerificationContent) *rejection {
	if a.item.statement == nil {
		return nil // a message signature has been verified over its subject
	}
	err := verify.VerifySignatureWithArtifactDigests(a.item.content, signer, a.material,
		[]verify.ArtifactDigest{{Algorithm: a.item.subject.algorithm, Digest: a.item.subject.value}})
	if err != nil {
		return reject(facts.CodeSignatureInvalid, "the signature does not verify: %s", cause(err)).at(stepSignature)
	}
	return nil
}

// isEd25519 says whether a signer's key is Ed25519.
func isEd25519(s verify.VerificationContent) bool {
	var key crypto.PublicKey
	switch s := s.(type) {
	case *certificateSigner:
		key = s.leaf.PublicKey
	case *keySigner:
		key = s.key
	}
	_, ok := key.(ed25519.PublicKey)
	return ok
}
