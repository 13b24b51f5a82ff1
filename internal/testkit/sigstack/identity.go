package sigstack

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"maps"
	"slices"
)

// Claim is the last arc of a Fulcio extension, 1.3.6.1.4.1.57264.1.<claim>
// (https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md). Claims 1 to 6
// hold raw strings and are deprecated; the others hold DER UTF8Strings.
type Claim int

// The claims that Fulcio writes.
const (
	ClaimIssuerV1               Claim = 1
	ClaimWorkflowTrigger        Claim = 2
	ClaimWorkflowSHA            Claim = 3
	ClaimWorkflowName           Claim = 4
	ClaimWorkflowRepository     Claim = 5
	ClaimWorkflowRef            Claim = 6
	ClaimIssuerV2               Claim = 8
	ClaimBuildSignerURI         Claim = 9
	ClaimBuildSignerDigest      Claim = 10
	ClaimRunnerEnvironment      Claim = 11
	ClaimSourceRepositoryURI    Claim = 12
	ClaimSourceRepositoryDigest Claim = 13
	ClaimSourceRepositoryRef    Claim = 14
	ClaimSourceRepositoryID     Claim = 15
	ClaimSourceOwnerURI         Claim = 16
	ClaimSourceOwnerID          Claim = 17
	ClaimBuildConfigURI         Claim = 18
	ClaimBuildConfigDigest      Claim = 19
	ClaimBuildTrigger           Claim = 20
	ClaimRunInvocationURI       Claim = 21
	ClaimSourceVisibility       Claim = 22
	ClaimSubject                Claim = 24
)

// lastRawClaim is the last claim that is not DER. Claim 7 is no extension but the
// type of an otherName SAN.
const (
	lastRawClaim   = ClaimWorkflowRef
	otherNameClaim = Claim(7)
)

// Tags of a GeneralName, RFC 5280 section 4.2.1.6.
const (
	sanEmail = 1
	sanDNS   = 2
	sanURI   = 6
)

func (c Claim) oid() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, int(c)}
}

// Identity is what a certificate says about the signer. The zero Identity has no
// name and no extension at all.
type Identity struct {
	URIs       []string // SANs of type URI
	Emails     []string // SANs of type rfc822Name
	DNSNames   []string // SANs of type dNSName
	OtherNames []string // SANs of Fulcio's otherName type ("username" identities)

	// Issuer goes into both issuer extensions, 1.1 and 1.8.
	Issuer string
	// Claims are the other extensions, encoded the way each claim wants it.
	Claims map[Claim]string
	// Raw replaces the extension value of a claim by exactly these bytes, and is
	// how extensions disagree or are mis-encoded; nil bytes leave the claim out.
	Raw map[Claim][]byte
	// Extra extensions, written last.
	Extra []pkix.Extension
}

// Email is a person's identity.
func Email(issuer, address string) *Identity {
	return &Identity{Emails: []string{address}, Issuer: issuer, Claims: map[Claim]string{ClaimSubject: address}}
}

// URI is a workload's identity, without any claim but the issuer.
func URI(issuer, uri string) *Identity {
	return &Identity{URIs: []string{uri}, Issuer: issuer}
}

// GitHubIssuer is the OIDC issuer of GitHub Actions.
const GitHubIssuer = "https://token.actions.githubusercontent.com"

// Workflow describes a run of a GitHub Actions workflow. Empty fields take the
// values in brackets.
type Workflow struct {
	Issuer     string // [GitHubIssuer]
	Repository string // owner/name [acme/app]
	File       string // [release.yml]
	Ref        string // [refs/heads/main]
	Trigger    string // [push]
	Runner     string // [github-hosted]
	SHA        string // commit [forty digits]
	Visibility string // [public]
	// Signer is the workflow that signs, where it is a reusable one called by
	// File: "https://github.com/owner/repo/.github/workflows/x.yml@ref" [File's URI].
	Signer    string
	SignerSHA string // [SHA]
}

// Identity gives the certificate contents that Fulcio makes for such a run.
func (w Workflow) Identity() *Identity {
	or := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	or(&w.Issuer, GitHubIssuer)
	or(&w.Repository, "acme/app")
	or(&w.File, "release.yml")
	or(&w.Ref, "refs/heads/main")
	or(&w.Trigger, "push")
	or(&w.Runner, "github-hosted")
	or(&w.SHA, "3b1f8a6e5d4c2b1a09f8e7d6c5b4a39281706f5e")
	or(&w.Visibility, "public")
	source := "https://github.com/" + w.Repository
	config := fmt.Sprintf("%s/.github/workflows/%s@%s", source, w.File, w.Ref)
	or(&w.Signer, config)
	or(&w.SignerSHA, w.SHA)
	owner := w.Repository
	for i, c := range owner {
		if c == '/' {
			owner = owner[:i]
			break
		}
	}
	return &Identity{
		URIs:   []string{w.Signer},
		Issuer: w.Issuer,
		Claims: map[Claim]string{
			ClaimWorkflowTrigger:        w.Trigger,
			ClaimWorkflowSHA:            w.SHA,
			ClaimWorkflowName:           "Release",
			ClaimWorkflowRepository:     w.Repository,
			ClaimWorkflowRef:            w.Ref,
			ClaimBuildSignerURI:         w.Signer,
			ClaimBuildSignerDigest:      w.SignerSHA,
			ClaimRunnerEnvironment:      w.Runner,
			ClaimSourceRepositoryURI:    source,
			ClaimSourceRepositoryDigest: w.SHA,
			ClaimSourceRepositoryRef:    w.Ref,
			ClaimSourceRepositoryID:     "1000001",
			ClaimSourceOwnerURI:         "https://github.com/" + owner,
			ClaimSourceOwnerID:          "2000002",
			ClaimBuildConfigURI:         config,
			ClaimBuildConfigDigest:      w.SHA,
			ClaimBuildTrigger:           w.Trigger,
			ClaimRunInvocationURI:       source + "/actions/runs/7000007/attempts/1",
			ClaimSourceVisibility:       w.Visibility,
			ClaimSubject:                fmt.Sprintf("repo:%s:ref:%s", w.Repository, w.Ref),
		},
	}
}

// DERString is the encoding of claims from 8 upwards: a DER UTF8String.
func DERString(s string) []byte {
	der, err := asn1.MarshalWithParams(s, "utf8")
	if err != nil {
		// Only invalid UTF-8 fails, and that is a mistake in the test: Raw is for bytes.
		panic(fmt.Sprintf("sigstack: claim %q: %v", s, err))
	}
	return der
}

// extensions are the identity's certificate extensions: SAN first, then the
// claims in rising order.
func (id *Identity) extensions() ([]pkix.Extension, error) {
	var out []pkix.Extension
	san, err := id.subjectAltName()
	if err != nil {
		return nil, err
	}
	if san != nil {
		out = append(out, *san)
	}
	values := map[Claim][]byte{}
	if id.Issuer != "" {
		values[ClaimIssuerV1] = []byte(id.Issuer)
		values[ClaimIssuerV2] = DERString(id.Issuer)
	}
	for c, v := range id.Claims {
		if c <= lastRawClaim {
			values[c] = []byte(v)
		} else {
			values[c] = DERString(v)
		}
	}
	maps.Copy(values, id.Raw)
	for _, c := range slices.Sorted(maps.Keys(values)) {
		if values[c] != nil {
			out = append(out, pkix.Extension{Id: c.oid(), Value: values[c]})
		}
	}
	return append(out, id.Extra...), nil
}

func (id *Identity) subjectAltName() (*pkix.Extension, error) {
	var names []asn1.RawValue
	add := func(tag int, values []string) {
		for _, v := range values {
			names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(v)})
		}
	}
	add(sanURI, id.URIs)
	add(sanEmail, id.Emails)
	add(sanDNS, id.DNSNames)
	for _, v := range id.OtherNames {
		type otherName struct {
			Type  asn1.ObjectIdentifier
			Value string `asn1:"utf8,explicit,tag:0"`
		}
		der, err := asn1.MarshalWithParams(otherName{otherNameClaim.oid(), v}, "tag:0")
		if err != nil {
			return nil, fmt.Errorf("encoding otherName %q: %w", v, err)
		}
		names = append(names, asn1.RawValue{FullBytes: der})
	}
	if names == nil {
		return nil, nil
	}
	der, err := asn1.Marshal(names)
	if err != nil {
		return nil, fmt.Errorf("encoding subject alternative names: %w", err)
	}
	// RFC 5280 section 4.2.1.6: critical where the subject is empty, as Fulcio's is.
	return &pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: der}, nil
}
