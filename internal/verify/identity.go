package verify

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/signet-policy/signet/internal/facts"
)

// claimNames are the Fulcio extensions 1.3.6.1.4.1.57264.1.<n> by their names in
// snake case (https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md).
// 1 and 8 are the issuer, 7 is a type of SAN.
var claimNames = map[int]string{
	2:  "github_workflow_trigger",
	3:  "github_workflow_sha",
	4:  "github_workflow_name",
	5:  "github_workflow_repository",
	6:  "github_workflow_ref",
	9:  "build_signer_uri",
	10: "build_signer_digest",
	11: "runner_environment",
	12: "source_repository_uri",
	13: "source_repository_digest",
	14: "source_repository_ref",
	15: "source_repository_identifier",
	16: "source_repository_owner_uri",
	17: "source_repository_owner_identifier",
	18: "build_config_uri",
	19: "build_config_digest",
	20: "build_trigger",
	21: "run_invocation_uri",
	22: "source_repository_visibility_at_signing",
	23: "deployment_environment",
	24: "token_subject",
}

const (
	issuerV1      = 1
	issuerV2      = 8
	lastRawClaim  = 6 // up to here values are bare strings, from 8 on DER UTF8Strings
	otherNameType = 7
)

var (
	fulcioArc = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1}
	sanOID    = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// identity reads who a certificate names: one SAN, one issuer, and the claims of
// the issuer's token. It is a fact only together with a chain that verifies.
func identity(leaf *x509.Certificate) (facts.Signer, *rejection) {
	wrong := func(format string, args ...any) (facts.Signer, *rejection) {
		return facts.Signer{}, reject(facts.CodeCertificateIdentity, "the signing certificate "+format, args...)
	}
	subject, err := oneSAN(leaf)
	if err != nil {
		return wrong("does not name one signer: %s", err)
	}
	values, err := extensions(leaf.Extensions)
	if err != nil {
		return wrong("has a damaged extension: %s", err)
	}
	if err := agree(values); err != nil {
		return wrong("contradicts itself: %s", err)
	}
	issuer := values[issuerV2]
	if issuer == "" {
		issuer = values[issuerV1]
	}
	if issuer == "" {
		return wrong("does not name the issuer of the identity (extension 1.3.6.1.4.1.57264.1.8)")
	}
	claims := map[string]string{}
	for n, v := range values {
		if name := claimNames[n]; name != "" && v != "" {
			claims[name] = v
		}
	}
	return facts.Signer{
		Kind: facts.KindCertificate, Issuer: issuer, Subject: subject, Claims: claims,
		Fingerprint: fingerprintDER(leaf.RawSubjectPublicKeyInfo), Algorithm: algorithmOf(leaf.PublicKey),
	}, nil
}

// extensions collects the Fulcio extensions by their last arc.
func extensions(all []pkix.Extension) (map[int]string, error) {
	values := map[int]string{}
	for _, ext := range all {
		n, ok := fulcioArcOf(ext.Id)
		if !ok || n != issuerV1 && n != issuerV2 && claimNames[n] == "" {
			continue
		}
		if _, twice := values[n]; twice {
			return nil, fmt.Errorf("%s is there twice", ext.Id)
		}
		v, err := claimValue(n, ext.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ext.Id, err)
		}
		values[n] = v
	}
	return values, nil
}

func fulcioArcOf(id asn1.ObjectIdentifier) (int, bool) {
	if len(id) != len(fulcioArc)+1 || !id[:len(fulcioArc)].Equal(fulcioArc) {
		return 0, false
	}
	return id[len(fulcioArc)], true
}

func claimValue(n int, raw []byte) (string, error) {
	if n > lastRawClaim {
		return utf8String(raw)
	}
	return text(raw)
}

// utf8String reads a DER UTF8String with nothing after it.
func utf8String(der []byte) (string, error) {
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(der, &v)
	switch {
	case err != nil:
		return "", fmt.Errorf("not DER: %w", err)
	case len(rest) != 0:
		return "", fmt.Errorf("bytes follow the string")
	case v.Class != asn1.ClassUniversal || v.Tag != asn1.TagUTF8String || v.IsCompound:
		return "", fmt.Errorf("not a UTF8String")
	}
	return text(v.Bytes)
}

// text refuses what a person cannot see or compare.
func text(raw []byte) (string, error) {
	if !utf8.Valid(raw) {
		return "", fmt.Errorf("not valid UTF-8")
	}
	for _, b := range raw {
		if b < ' ' || b == 0x7f {
			return "", fmt.Errorf("control characters in the value")
		}
	}
	return string(raw), nil
}

// samePairs are deprecated extensions and those that replace them, with one
// value in both.
var samePairs = [][2]int{{issuerV1, issuerV2}, {2, 20}, {3, 13}, {6, 14}}

const (
	githubRepository = 5  // "owner/name"
	sourceRepository = 12 // "https://github.com/owner/name"
)

// agree refuses a certificate whose deprecated and current extensions differ:
// two readers would see two signers.
func agree(values map[int]string) error {
	for _, p := range samePairs {
		before, ok1 := values[p[0]]
		now, ok2 := values[p[1]]
		if ok1 && ok2 && before != now {
			return fmt.Errorf("extension .%d says %s and extension .%d says %s", p[0], short(before), p[1], short(now))
		}
	}
	before, ok1 := values[githubRepository]
	now, ok2 := values[sourceRepository]
	if ok1 && ok2 && !strings.HasSuffix(now, "/"+before) {
		return fmt.Errorf("extension .%d says %s and extension .%d says %s", githubRepository, short(before), sourceRepository, short(now))
	}
	return nil
}

// GeneralName tags (RFC 5280, section 4.2.1.6).
const (
	tagOtherName = 0
	tagEmail     = 1
	tagURI       = 6
)

// oneSAN gives the certificate's one subject alternative name: an e-mail address,
// a URI, or Fulcio's user name.
func oneSAN(leaf *x509.Certificate) (string, error) {
	var names []asn1.RawValue
	for _, ext := range leaf.Extensions {
		if !ext.Id.Equal(sanOID) {
			continue
		}
		var some []asn1.RawValue
		rest, err := asn1.Unmarshal(ext.Value, &some)
		if err != nil || len(rest) != 0 {
			return "", fmt.Errorf("the subject alternative name cannot be read")
		}
		names = append(names, some...)
	}
	if len(names) != 1 {
		return "", fmt.Errorf("it has %d subject alternative names, and should have one", len(names))
	}
	value, err := generalName(names[0])
	if err != nil {
		return "", fmt.Errorf("the subject alternative name is wrong: %w", err)
	}
	if value == "" {
		return "", fmt.Errorf("the subject alternative name is empty")
	}
	return value, nil
}

func generalName(v asn1.RawValue) (string, error) {
	if v.Class != asn1.ClassContextSpecific {
		return "", fmt.Errorf("not a general name")
	}
	switch v.Tag {
	case tagEmail, tagURI:
		return text(v.Bytes)
	case tagOtherName:
		return otherName(v)
	}
	return "", fmt.Errorf("it is neither an e-mail address, nor a URI, nor a user name")
}

// otherName reads Fulcio's user name: OtherName ::= SEQUENCE { type-id OBJECT
// IDENTIFIER, value [0] EXPLICIT ANY DEFINED BY type-id }.
func otherName(v asn1.RawValue) (string, error) {
	var id asn1.ObjectIdentifier
	rest, err := asn1.Unmarshal(v.Bytes, &id)
	if err != nil {
		return "", fmt.Errorf("an otherName that cannot be read: %w", err)
	}
	if n, ok := fulcioArcOf(id); !ok || n != otherNameType {
		return "", fmt.Errorf("an otherName of type %s", id)
	}
	var value asn1.RawValue
	rest, err = asn1.Unmarshal(rest, &value)
	if err != nil || len(rest) != 0 || value.Class != asn1.ClassContextSpecific || value.Tag != 0 || !value.IsCompound {
		return "", fmt.Errorf("an otherName that cannot be read")
	}
	return utf8String(value.Bytes)
}
