package verify

import (
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"slices"
	"sync"

	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/trust"
)

// Keys are the public keys in scope for what is verified. An item that names its
// key costs one look-up, however many there are; all of them are only asked for
// when an item names none that signed it. (An alias, so that other packages can
// write the same interface without importing this one.)
type Keys = interface {
	// ByFingerprint gives the key whose SubjectPublicKeyInfo has that SHA-256 in
	// lower-case hex, nil where none in scope has.
	ByFingerprint(fingerprint string) crypto.PublicKey
	// InScope gives all keys, each once, or some of them and true where there are
	// more than most.
	InScope(most int) (keys []crypto.PublicKey, more bool)
}

// KeyList is [Keys] of a few. Keys that can verify nothing are left out.
func KeyList(keys ...crypto.PublicKey) Keys { return keyList(inScope(keys)) }

type keyList []*candidate

func (l keyList) ByFingerprint(fingerprint string) crypto.PublicKey {
	for _, c := range l {
		if c.fingerprint == fingerprint {
			return c.key
		}
	}
	return nil
}

func (l keyList) InScope(most int) ([]crypto.PublicKey, bool) {
	more := len(l) > most
	var keys []crypto.PublicKey
	for _, c := range l[:min(len(l), most)] {
		keys = append(keys, c.key)
	}
	return keys, more
}

// Together is the keys of several [Keys].
func Together(all ...Keys) Keys { return together(all) }

type together []Keys

func (t together) ByFingerprint(fingerprint string) crypto.PublicKey {
	for _, keys := range t {
		if key := keys.ByFingerprint(fingerprint); key != nil {
			return key
		}
	}
	return nil
}

func (t together) InScope(most int) ([]crypto.PublicKey, bool) {
	var found []crypto.PublicKey
	for _, keys := range t {
		some, more := keys.InScope(most)
		if more {
			return some, true
		}
		found = append(found, some...)
	}
	return keyList(inScope(found)).InScope(most)
}

// mostHinted is how many keys a hint can name, see hinted.
const mostHinted = 1

// keySet is the keys in scope while items are verified.
type keySet struct {
	Keys
	// all gives those that any item could have tried, once they are needed.
	all func() ([]*candidate, bool)
}

func (v *Verifier) keySet(keys Keys) keySet {
	if keys == nil {
		keys = KeyList()
	}
	// Those that an item names are tried apart, and do not count.
	most := v.limits.CandidateKeys + v.limits.LogEntries + mostHinted
	return keySet{keys, sync.OnceValues(func() ([]*candidate, bool) {
		found, more := keys.InScope(most)
		return inScope(found), more
	})}
}

// named are the keys that an item names: those in its own log entries, then those
// in scope that its hint names. They are few, and tried before any others.
func (v *Verifier) named(p *item, scope keySet) []*candidate {
	var named []*candidate
	add := func(key crypto.PublicKey) {
		k, err := newCandidate(key)
		if err == nil && !slices.ContainsFunc(named, k.same) {
			named = append(named, k)
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
		add(key)
	}
	for _, fingerprint := range hinted(p.hint) {
		if key := scope.ByFingerprint(fingerprint); key != nil {
			add(key)
		}
	}
	return named
}

// others are the keys in scope that an item does not name; false where there are
// more than may be tried. Then none is tried at all, so that the order of keys
// never decides.
func (v *Verifier) others(named []*candidate, scope keySet) ([]*candidate, bool) {
	all, more := scope.all()
	var others []*candidate
	for _, k := range all {
		if !slices.ContainsFunc(named, k.same) {
			others = append(others, k)
		}
	}
	return others, !more && len(others) <= v.limits.CandidateKeys
}

// keyRoots are the roots to verify a key-signed item with: those that know one of
// its log entries or timestamps, for which these must verify. Where no root knows
// any, none has anything to say: nobody vouches then for more than the signature, and
// what becomes of a root (its age, the images that it is for) is no matter.
func (v *Verifier) keyRoots(p *item) []*trust.Root {
	var out []*trust.Root
	for _, r := range v.roots {
		if knowsAny(r, p) {
			out = append(out, r)
		}
	}
	if len(out) == 0 {
		out = append(out, trust.Nobody())
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
		if len(a.entries) > 0 && p.SignedAt == nil {
			return nil, reject(facts.CodeTimestampMissing, "no time is verified: a log entry without a signed time needs a timestamp beside it").at(stepTimes)
		}
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
	if a.item.statement == nil || a.item.payload.large != nil {
		// A message signature has been verified over its subject; that of a large
		// payload over its hash, and its statement names the subject.
		return nil
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
