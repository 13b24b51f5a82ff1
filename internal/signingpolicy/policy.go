// Package signingpolicy is the signing policy that users write: YAML or JSON, in
// one of three spellings, read by one strict parser into one canonical form.
//
// Start with [Parse]. A [Policy] says which signers are in force
// ([Policy.InForce]), which images it speaks of ([Policy.Applies]), which
// signatures count ([Policy.Counts]), and gives the parameters that Rego reads
// ([Policy.Params]). [ParseSigners] and [FormatSigners] read and write registered
// signers, which are written as a policy's own are. What a later version will enforce is refused by name, so
// that no demand is ever silently dropped.
package signingpolicy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/glob"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/verdict"
)

// ErrInvalid wraps every mistake in a policy. The message holds one line per
// mistake: "line N: field: what is wrong; what would be right".
var ErrInvalid = errors.New("invalid signing policy")

// Policy is one signing policy. Make it with [Parse], [FromNode], [Default] or
// [OneOff]; the zero value requires nothing and is refused by the Rego rules.
type Policy struct {
	Name string
	Mode verdict.Mode
	// RequireSignature asks for signatures by Threshold distinct trusted signers.
	RequireSignature bool
	// VerifyTransparencyLog asks for a verified log entry for each signature that
	// counts. False takes this back for keys only: what certificates need is the
	// floor of their trust root.
	VerifyTransparencyLog bool
	Threshold             int
	// Images are the globs that it speaks of; none: all images.
	Images []string
	// Context is what a question must say for the policy to speak of it, such as
	// {plugin: ImageSigningPlugin}; none: it speaks of every question.
	Context map[string]string
	// Inline signers belong to this policy alone, named "<policy>/<position>". Those
	// of type kms have no keys until [Policy.ResolveKMS] gives them some.
	Inline []signers.Signer
	// UseRegistered takes registered signers, all or those of RegisteredNames.
	UseRegistered   bool
	RegisteredNames []string
	// Attestations are those that it requires, and Contents what they must say.
	Attestations []Attestation
	Contents     Contents
	// TrustedSources in normal form ("github.com/acme/app"); empty: any source.
	TrustedSources []string
	// SLSA is what it asks of provenance; nil for nothing.
	SLSA *SLSA
	// Summaries are the verification summaries that stand in for provenance; without
	// a demand for provenance one of them is asked for by itself.
	Summaries []Summaries
	// Attest asks for an attestation with every verdict.
	Attest bool
	// Groups of signers must each meet a threshold of their own, beside Threshold. Their
	// signers are named as they are written: [Policy.GroupsInForce].
	Groups []signers.Group
	// Platforms is what the policy asks of an index, one of the Platforms constants of
	// package facts; "": the index is signed, or the platform that was asked for.
	Platforms string
	// Exceptions waive violations until they end.
	Exceptions []Exception
	// ShadowOf names the policy that one of mode shadow is compared with; "": the
	// verdict of all that are not in that mode.
	ShadowOf string
	// Bundle names the policy bundle whose rules decide; "": those of Signet.
	Bundle string
	// Parameters is the JSON object of data.params beside the fields above, in
	// canonical form; nil for none.
	Parameters json.RawMessage

	scope glob.Scope
	// lines are where the parameters stand, by their paths ("limits.0.days"; ""
	// is all of them).
	lines map[string]int
}

// DefaultName is the name of a policy that gives itself none.
const DefaultName = "default"

// Default is the policy of an installation that has written none: a signature
// by a registered trusted signer, with a log entry.
func Default() *Policy {
	return &Policy{
		Name: DefaultName, Mode: verdict.Enforce, RequireSignature: true, VerifyTransparencyLog: true, Threshold: 1, UseRegistered: true,
	}
}

// OneOffName is the name of the policy of --key and --issuer.
const OneOffName = "one-off"

// OneOff is a policy for one command: a signature by any of the keys, or by the
// keyless identity where issuer is not "". Keys need no log entry.
func OneOff(keys []signers.Key, issuer, subject, subjectRegex string) (*Policy, error) {
	p := &Policy{Name: OneOffName, Mode: verdict.Enforce, RequireSignature: true, Threshold: 1}
	for _, k := range keys {
		p.Inline = append(p.Inline, signers.Signer{Type: signers.PublicKey, Keys: []signers.Key{k}, Enabled: true})
	}
	if issuer != "" {
		p.Inline = append(p.Inline, signers.Signer{
			Type: signers.Keyless, Issuer: issuer, Subject: subject, SubjectRegex: subjectRegex, Enabled: true,
		})
	}
	if len(p.Inline) == 0 {
		return nil, fmt.Errorf("%w: give a key, or an issuer with a subject", ErrInvalid)
	}
	for i := range p.Inline {
		p.Inline[i].Name = fmt.Sprintf("%s/%d", p.Name, i+1)
		if err := p.Inline[i].Validate(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	return p, nil
}

// Applies says whether the policy speaks of an image by its normalised name. A
// subject without a name is spoken of only by policies without images.
func (p *Policy) Applies(name string) bool {
	return p.scope.Covers(name)
}

// InForce gives the signers that count for this policy: its own, and of the
// registered ones those that it asks for.
func (p *Policy) InForce(registered []signers.Signer) []signers.Signer {
	list := slices.Clone(p.Inline)
	if !p.UseRegistered {
		return list
	}
	for _, s := range registered {
		if len(p.RegisteredNames) == 0 || slices.Contains(p.RegisteredNames, s.Name) {
			list = append(list, s)
		}
	}
	return list
}

// Counts says whether a signature by a trusted signer counts towards the
// threshold: it has the log entry and the source that the policy asks for. The
// Rego rules check the same again, and explain.
func (p *Policy) Counts(s facts.Signature, trust []facts.TrustInfo) bool {
	return p.logged(s, trust) && p.sourced(s)
}

func (p *Policy) logged(s facts.Signature, trust []facts.TrustInfo) bool {
	switch {
	case len(s.Transparency) > 0:
		return true
	case s.Signer.Kind == facts.KindKey:
		return !p.VerifyTransparencyLog || withoutLog(trust)
	case s.Signer.Kind == facts.KindCertificate:
		others := func(t facts.TrustInfo) bool { return t.Name != s.TrustRoot }
		return withoutLog(slices.DeleteFunc(slices.Clone(trust), others))
	default:
		return false
	}
}

// withoutLog says that there are roots, and none of them has a log.
func withoutLog(roots []facts.TrustInfo) bool {
	return len(roots) > 0 && !slices.ContainsFunc(roots, func(t facts.TrustInfo) bool { return t.TransparencyLog })
}

func (p *Policy) sourced(s facts.Signature) bool {
	if len(p.TrustedSources) == 0 {
		return true
	}
	if s.Signer.Kind != facts.KindCertificate {
		return false
	}
	from, ok := normalSource(s.Signer.Claims["source_repository_uri"])
	if !ok {
		return false
	}
	return slices.ContainsFunc(p.TrustedSources, func(source string) bool {
		return from == source || strings.HasPrefix(from, source+"/")
	})
}

// sourcePattern is compiled when it is needed: starting costs every command.
var sourcePattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\A(?:git\+)?(?:[a-z]+://)?([^/@?#\s]+)/([^?#\s]*[^/?#\s])/*\z`)
})

// normalSource makes "host/path" of a repository's address: without scheme,
// "git+" and a trailing ".git"; the host in lower case, the path to the letter.
func normalSource(address string) (string, bool) {
	m := sourcePattern().FindStringSubmatch(address)
	if m == nil {
		return "", false
	}
	path := strings.TrimSuffix(m[2], ".git")
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return "", false
		}
	}
	return strings.ToLower(m[1]) + "/" + path, true
}

// Params is data.params: what the Rego rules read of this policy.
func (p *Policy) Params() (json.RawMessage, error) {
	exceptions, err := p.paramExceptions()
	if err != nil {
		return nil, fmt.Errorf("%w: policy %s: exceptions: %w", ErrInvalid, p.Name, err)
	}
	standard, err := json.Marshal(standardParams{
		RequireSignature: p.RequireSignature, VerifyTransparencyLog: p.VerifyTransparencyLog, RegisteredSigners: p.UseRegistered, Threshold: p.Threshold,
		TrustedSources: p.TrustedSources, Exceptions: exceptions, SLSA: p.paramSLSA(), Attestations: p.paramAttestations(), Contents: p.Contents.pointer(),
		Summaries: p.paramSummaries(), Groups: p.paramGroups(), Platforms: p.Platforms,
	})
	if err != nil || len(p.Parameters) == 0 {
		return standard, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(p.Parameters, &all); err != nil {
		return nil, fmt.Errorf("policy %s: parameters: %w", p.Name, err)
	}
	var own map[string]json.RawMessage
	if err := json.Unmarshal(standard, &own); err != nil {
		return nil, err
	}
	maps.Copy(all, own)
	return json.Marshal(all)
}

// canonical is the one form that every spelling comes to.
type canonical struct {
	SigningPolicy struct {
		Name                  string               `yaml:"name"`
		Mode                  verdict.Mode         `yaml:"mode"`
		ShadowOf              string               `yaml:"shadow_of,omitempty"`
		RequireSignature      bool                 `yaml:"require_signature"`
		VerifyTransparencyLog bool                 `yaml:"verify_transparency_log"`
		Threshold             int                  `yaml:"threshold"`
		Images                []string             `yaml:"images,omitempty"`
		Context               map[string]string    `yaml:"context,omitempty"`
		TrustedSigners        []canonicalSigner    `yaml:"trusted_signers,omitempty"`
		Groups                []canonicalGroup     `yaml:"groups,omitempty"`
		Platforms             string               `yaml:"platforms,omitempty"`
		TrustedSources        []string             `yaml:"trusted_sources,omitempty"`
		SLSA                  *canonicalSLSA       `yaml:"slsa,omitempty"`
		Attestations          []Attestation        `yaml:"attestations,omitempty"`
		Contents              *Contents            `yaml:"contents,omitempty"`
		Summaries             []canonicalSummary   `yaml:"verification_summaries,omitempty"`
		Attest                bool                 `yaml:"attest,omitempty"`
		Exceptions            []canonicalException `yaml:"exceptions,omitempty"`
		Bundle                string               `yaml:"bundle,omitempty"`
		Parameters            *yaml.Node           `yaml:"parameters,omitempty"`
	} `yaml:"signing_policy"`
}

// canonicalSigner is a signer in its one form. Only registered ones have Enabled, an
// owner and a note.
type canonicalSigner struct {
	Name         string            `yaml:"name,omitempty"`
	Type         string            `yaml:"type"`
	Issuer       string            `yaml:"issuer,omitempty"`
	Subject      string            `yaml:"subject,omitempty"`
	SubjectRegex lines             `yaml:"subject_regex,omitempty"`
	Claims       map[string]string `yaml:"claims,omitempty"`
	TrustRoots   []string          `yaml:"trust_roots,omitempty"`
	KeyRef       string            `yaml:"key_ref,omitempty"`
	AutoRotate   bool              `yaml:"auto_rotate,omitempty"`
	Key          string            `yaml:"key,omitempty"`
	Names        []string          `yaml:"names,omitempty"`
	Images       []string          `yaml:"images,omitempty"`
	Enabled      *bool             `yaml:"enabled,omitempty"`
	NotBefore    *time.Time        `yaml:"not_before,omitempty"`
	ExpiresAt    *time.Time        `yaml:"expires_at,omitempty"`
	SignedFrom   *time.Time        `yaml:"signed_from,omitempty"`
	SignedUntil  *time.Time        `yaml:"signed_until,omitempty"`
	Owner        string            `yaml:"owner,omitempty"`
	Note         lines             `yaml:"note,omitempty"`
}

// lines is text that may have line breaks. It is then written in quotes, because a
// block loses or changes white space at the beginning of its lines.
type lines string

// MarshalYAML implements yaml.Marshaler.
func (l lines) MarshalYAML() (any, error) {
	if !strings.Contains(string(l), "\n") {
		return string(l), nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: string(l)}, nil
}

func canonicalOf(s signers.Signer) canonicalSigner {
	return canonicalSigner{
		Type: string(s.Type), Issuer: s.Issuer, Subject: s.Subject, SubjectRegex: lines(s.SubjectRegex),
		Claims: s.Claims, TrustRoots: s.TrustRoots, KeyRef: s.KMSKeyRef, AutoRotate: s.AutoRotate, Images: s.Images,
		NotBefore: utc(s.NotBefore), ExpiresAt: utc(s.ExpiresAt), SignedFrom: utc(s.SignedFrom), SignedUntil: utc(s.SignedUntil),
	}
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

func pemOf(keys []signers.Key) string {
	var text strings.Builder
	for _, k := range keys {
		text.WriteString(strings.TrimRight(k.PEM, "\n") + "\n")
	}
	return text.String()
}

// Canonical is the policy as YAML in its one form; parsing it again gives an
// equal policy.
func (p *Policy) Canonical() ([]byte, error) {
	var c canonical
	sp := &c.SigningPolicy
	sp.Name, sp.Mode, sp.RequireSignature, sp.VerifyTransparencyLog = p.Name, p.Mode, p.RequireSignature, p.VerifyTransparencyLog
	sp.Threshold, sp.Images, sp.TrustedSources, sp.ShadowOf, sp.Bundle = p.Threshold, p.Images, p.TrustedSources, p.ShadowOf, p.Bundle
	sp.Context = p.Context
	sp.Attestations, sp.Contents = p.Attestations, p.Contents.pointer()
	sp.Summaries, sp.Attest = p.canonicalSummaries(), p.Attest
	sp.Groups, sp.Platforms = p.canonicalGroups(), p.Platforms
	slsa, err := p.canonicalSLSA()
	if err != nil {
		return nil, fmt.Errorf("encoding policy %s: %w", p.Name, err)
	}
	sp.SLSA = slsa
	for _, e := range p.Exceptions {
		sp.Exceptions = append(sp.Exceptions, canonicalException{e.Images, e.Codes, e.Reason, e.Owner, e.ExpiresAt.UTC()})
	}
	if len(p.Parameters) > 0 {
		var err error
		if sp.Parameters, err = parametersNode(p.Parameters); err != nil {
			return nil, fmt.Errorf("encoding policy %s: %w", p.Name, err)
		}
	}
	for _, s := range p.Inline {
		cs := canonicalOf(s)
		cs.Key = pemOf(s.Keys)
		if name := p.shortName(s); !isPosition(name) {
			cs.Name = name
		}
		sp.TrustedSigners = append(sp.TrustedSigners, cs)
	}
	if p.UseRegistered {
		sp.TrustedSigners = append(sp.TrustedSigners, canonicalSigner{Type: "registry", Names: p.RegisteredNames})
	}
	body, err := encode(c)
	if err != nil {
		return nil, fmt.Errorf("encoding policy %s: %w", p.Name, err)
	}
	return body, nil
}

// encode writes YAML with the indentation that people write it with.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
