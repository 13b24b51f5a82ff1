package verify

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"time"

	"github.com/digitorus/pkcs7"
	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/trust"
)

// observer is one timestamp authority of a root, for one attempt. It notes which
// tokens it verified, so that the fact names the token and the authority that
// were checked; sigstore-go's result has times only.
type observer struct {
	inner root.TimestampingAuthority
	// stamped is what tokens may be over instead of the signature, or nil.
	stamped []byte
	seen    *[]observation
}

// observation is a verified token.
type observation struct {
	token     []byte
	authority root.TimestampingAuthority
	at        time.Time
}

// Verify implements root.TimestampingAuthority.
func (o *observer) Verify(token, sig []byte) (*root.Timestamp, error) {
	ts, err := o.inner.Verify(token, sig)
	if err != nil && o.stamped != nil {
		ts, err = o.inner.Verify(token, o.stamped)
	}
	if err == nil {
		*o.seen = append(*o.seen, observation{token, o.inner, ts.Time})
	}
	return ts, err
}

// observe puts the root's timestamp authorities under observation.
func observe(r *trust.Root, stamped []byte, seen *[]observation) []root.TimestampingAuthority {
	inner := r.Authorities()
	out := make([]root.TimestampingAuthority, len(inner))
	for i, tsa := range inner {
		out[i] = &observer{inner: tsa, stamped: stamped, seen: seen}
	}
	return out
}

// tokenFacts describes the tokens that verified, each one alone. A token that did
// not is ignored if it is of an authority that the root does not know.
func (a *attempt) tokenFacts(p *proof) *rejection {
	for _, token := range a.item.tokens {
		o, ok := a.observation(token)
		if !ok {
			if rej := a.ignorable(token); rej != nil {
				return rej.at(stepTimes)
			}
			continue
		}
		name, err := authorityName(o)
		if err != nil {
			return reject(facts.CodeTimestampInvalid, "the timestamp names no authority: %s", cause(err)).at(stepTimes)
		}
		at := o.at.UTC()
		p.seen(at)
		p.Timestamps = append(p.Timestamps, facts.Timestamp{Authority: name, Time: at})
	}
	return nil
}

// observation finds how a token was verified, and tries it if nobody has.
func (a *attempt) observation(token []byte) (observation, bool) {
	if o, ok := a.seenToken(token); ok {
		return o, true
	}
	for _, tsa := range a.material.authorities {
		if _, err := tsa.Verify(token, a.item.content.Signature()); err == nil {
			return a.seenToken(token)
		}
	}
	return observation{}, false
}

func (a *attempt) seenToken(token []byte) (observation, bool) {
	for _, o := range a.observed {
		if bytes.Equal(o.token, token) {
			return o, true
		}
	}
	return observation{}, false
}

// ignorable refuses a token that did not verify though it is of an authority of
// the root, or that cannot be read.
func (a *attempt) ignorable(token []byte) *rejection {
	known, err := knowsToken(a.root, token)
	if err != nil {
		return reject(facts.CodeTimestampInvalid, "the timestamp cannot be read: %s", cause(err))
	}
	if known {
		return reject(facts.CodeTimestampInvalid, "the timestamp is by an authority of the trust root %s and does not verify", a.root.Name())
	}
	return nil
}

// knowsToken says whether a token names an authority of the root as its signer.
func knowsToken(r *trust.Root, token []byte) (bool, error) {
	p7, err := parseToken(token)
	if err != nil {
		return false, err
	}
	for _, s := range p7.Signers {
		id := s.IssuerAndSerialNumber
		if id.SerialNumber != nil && r.KnowsAuthority(id.IssuerName.FullBytes, id.SerialNumber) {
			return true, nil
		}
	}
	return false, nil
}

// parseToken reads the CMS message in a TimeStampResp (RFC 3161, section 2.4.2).
func parseToken(token []byte) (*pkcs7.PKCS7, error) {
	var resp struct {
		Status asn1.RawValue
		Token  asn1.RawValue `asn1:"optional"`
	}
	rest, err := asn1.Unmarshal(token, &resp)
	if err != nil {
		return nil, fmt.Errorf("not a timestamp response: %w", err)
	}
	if len(rest) != 0 || len(resp.Token.FullBytes) == 0 {
		return nil, fmt.Errorf("not a timestamp response")
	}
	p7, err := pkcs7.Parse(resp.Token.FullBytes)
	if err != nil {
		return nil, fmt.Errorf("not a signed message: %w", err)
	}
	if len(p7.Signers) != 1 {
		return nil, fmt.Errorf("%d signers, not one", len(p7.Signers))
	}
	return p7, nil
}

// authorityName is the subject of the certificate that signed a verified token:
// the one that the root names, else the one in the token that the verification
// chose by issuer and serial number (CVE-2026-39984: not the first one).
func authorityName(o observation) (string, error) {
	var leaf *x509.Certificate
	if tsa, ok := o.authority.(*root.SigstoreTimestampingAuthority); ok {
		leaf = tsa.Leaf
	}
	if leaf == nil {
		p7, err := parseToken(o.token)
		if err != nil {
			return "", err
		}
		if leaf = p7.GetOnlySigner(); leaf == nil {
			return "", fmt.Errorf("the signer's certificate is not there")
		}
	}
	return leaf.Subject.String(), nil
}
