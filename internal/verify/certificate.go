package verify

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"time"

	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/signet-policy/signet/internal/facts"
)

// certificate verifies the item with its certificate under the attempt's root.
func (a *attempt) certificate() (*proof, *rejection) {
	leaf, err := x509.ParseCertificate(a.item.leaf)
	if err != nil {
		return nil, reject(facts.CodeMalformed, "the signing certificate cannot be read: %s", cause(err)).at(stepIdentity)
	}
	if !a.root.MayIssue(leaf.RawIssuer) {
		return nil, a.stranger(leaf)
	}
	signer, rej := identity(leaf)
	if rej != nil {
		return nil, rej.at(stepIdentity)
	}
	a.signer = &certificateSigner{leaf}
	p := &proof{Signer: signer, Principal: signer.Issuer + " " + signer.Subject}
	if rej := a.parseEntries(); rej != nil {
		return nil, rej
	}
	if a.root.Requires().Log && len(a.entries) == 0 {
		return nil, reject(facts.CodeLogEntryMissing, "the trust root %s requires a transparency-log entry, and there is none of its logs", a.root.Name()).at(stepRequired)
	}
	if a.ours() || a.signedAsOldClients(leaf) {
		return p, a.bySteps(leaf, p)
	}
	if err := a.verifyCertificate(); err != nil {
		return nil, a.diagnose(leaf, err)
	}
	if len(a.entries) > 1 {
		if rej := a.eachEntry(); rej != nil {
			return nil, rej
		}
	}
	if rej := a.describe(p); rej != nil {
		return nil, rej
	}
	if rej := a.requiredTimes(p); rej != nil {
		return nil, rej
	}
	if len(a.entries) > 1 || len(p.Timestamps) > 1 {
		// sigstore-go takes one time of each log and of each authority, and has
		// verified the chain at those.
		if rej := a.chain(leaf, p); rej != nil {
			return nil, rej
		}
	}
	return p, nil
}

func (a *attempt) stranger(leaf *x509.Certificate) *rejection {
	return reject(facts.CodeCertificateUntrusted, "the signing certificate was issued by %s, which no trust root knows", short(leaf.Issuer.String())).at(stepStranger)
}

// verifyCertificate asks sigstore-go: one verified time at least, a log entry if
// the root requires one or the item has one (so that its time counts), an SCT if
// the root requires one. Who signed is matched later, against the facts.
func (a *attempt) verifyCertificate() error {
	opts := []verify.VerifierOption{verify.WithObserverTimestamps(1), verify.WithoutStatementPredicate()}
	if a.root.Requires().Log || len(a.entries) > 0 {
		opts = append(opts, verify.WithTransparencyLog(1))
	}
	if a.root.Requires().SCT {
		opts = append(opts, verify.WithSignedCertificateTimestamps(1))
	}
	v, err := verify.NewVerifier(a.material, opts...)
	if err != nil {
		return err
	}
	_, err = v.Verify(a.view(), verify.NewPolicy(a.artifact(), verify.WithoutIdentitiesUnsafe()))
	return err
}

// requiredTimes checks the root's demand for a timestamp, which sigstore-go does
// not tell from a log's time.
func (a *attempt) requiredTimes(p *proof) *rejection {
	if a.root.Requires().Timestamp && len(p.Timestamps) == 0 {
		return reject(facts.CodeTimestampMissing, "the trust root %s requires a timestamp, and there is none of its authorities", a.root.Name()).at(stepTimes)
	}
	return nil
}

// signedAsOldClients says whether a P-384 or P-521 key signed over SHA-256, and not
// over the hash that goes with it today.
func (a *attempt) signedAsOldClients(leaf *x509.Certificate) bool {
	if _, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok {
		return false
	}
	ways, err := schemes(leaf.PublicKey)
	return err == nil && len(ways) > 1 && a.item.over.by(ways[:1]) == nil && a.item.over.by(ways[1:]) != nil
}

// bySteps verifies an item that sigstore-go's verifier refuses, for the kind of
// its log entry or for how old clients signed, in the same order and with the
// same checks: log entries, times, chain at each of the times, SCT, signature and
// subject.
func (a *attempt) bySteps(leaf *x509.Certificate, p *proof) *rejection {
	if rej := a.eachEntry(); rej != nil {
		return rej
	}
	if rej := a.describe(p); rej != nil {
		return rej
	}
	if rej := a.requiredTimes(p); rej != nil {
		return rej
	}
	if p.SignedAt == nil {
		return reject(facts.CodeTimestampMissing, "no time is verified: a certificate needs a timestamp, or a log entry with a signed time").at(stepTimes)
	}
	if rej := a.chain(leaf, p); rej != nil {
		return rej
	}
	ways, err := schemes(leaf.PublicKey)
	if err != nil {
		return reject(facts.CodeUnsupported, "the signing certificate has %s, which is not supported", cause(err)).at(stepSignature)
	}
	verifier := a.item.over.by(ways)
	if verifier == nil {
		return a.badSignature("certificate")
	}
	a.material.key = unexpiring(verifier)
	return a.subjectByStep(&keySigner{leaf.PublicKey})
}

// chain verifies the certificate at every verified time, and its SCT.
func (a *attempt) chain(leaf *x509.Certificate, p *proof) *rejection {
	// As sigstore-go does: Go does not know the otherName that Fulcio uses for
	// user names, and identity has read it.
	var unhandled []asn1.ObjectIdentifier
	for _, oid := range leaf.UnhandledCriticalExtensions {
		if !oid.Equal(sanOID) {
			unhandled = append(unhandled, oid)
		}
	}
	leaf.UnhandledCriticalExtensions = unhandled

	var chains [][]*x509.Certificate
	for _, at := range p.times() {
		var err error
		if chains, err = verify.VerifyLeafCertificate(at, leaf, a.material); err != nil {
			return reject(facts.CodeCertificateUntrusted, "the signing certificate of %s does not chain to the trust root %s at %s, when it was used",
				short(p.Signer.Subject), a.root.Name(), at.UTC().Format(time.RFC3339)).at(stepChain)
		}
	}
	if !a.root.Requires().SCT {
		return nil
	}
	if err := verify.VerifySignedCertificateTimestamp(chains, 1, a.material); err != nil {
		return reject(facts.CodeSCTMissing, "the trust root %s requires a signed certificate timestamp that verifies: %s", a.root.Name(), cause(err)).at(stepSCT)
	}
	return nil
}

// times are all verified times, those of log entries first.
func (p *proof) times() []time.Time {
	var out []time.Time
	for _, e := range p.Transparency {
		if e.IntegratedAt != nil {
			out = append(out, *e.IntegratedAt)
		}
	}
	for _, t := range p.Timestamps {
		out = append(out, t.Time)
	}
	return out
}

// diagnose says at which step an item fails that sigstore-go refused. It takes the
// steps one by one, so that the code comes from what failed and not from the
// words of an error.
func (a *attempt) diagnose(leaf *x509.Certificate, refused error) *rejection {
	p := &proof{Signer: facts.Signer{}}
	if s, rej := identity(leaf); rej == nil {
		p.Signer = s
	}
	if rej := a.bySteps(leaf, p); rej != nil {
		return rej
	}
	// Every step succeeds alone, and the whole does not: the whole counts.
	return reject(facts.CodeSignatureInvalid, "the evidence does not verify: %s", cause(refused)).at(stepSignature)
}

func (a *attempt) badSignature(with string) *rejection {
	if a.needsArtifact() {
		return reject(facts.CodeArtifactNeeded, "signed with Ed25519 over the artifact itself: give the artifact, not only its digest").at(stepSignature)
	}
	return reject(facts.CodeSignatureInvalid, "the signature does not verify with the %s it came with", with).at(stepSignature)
}

// needsArtifact says whether the signature might verify if the artifact were
// there: pure Ed25519 is over the bytes and not over a digest. An image is never
// given: there the answer is that nothing was proved, or anybody could turn a
// denial into an unknown.
func (a *attempt) needsArtifact() bool {
	_, isMessage := a.item.content.(*message)
	return isMessage && a.item.statement == nil && !a.target.image && a.item.over.content == nil && isEd25519(a.signer)
}
