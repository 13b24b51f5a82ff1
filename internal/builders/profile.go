package builders

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/signet-policy/signet/internal/strictjson"
	"github.com/signet-policy/signet/rego"
)

// ErrInvalid wraps every error about profiles, trusted builders and trusted
// sources that somebody wrote.
var ErrInvalid = errors.New("not valid")

// Profile says which attestations are one build platform's word, and what they
// prove. The fields are those of rego/schemas/builders.json.
type Profile struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	// Unproven is true while our tests have no real evidence of this builder.
	Unproven bool `json:"unproven"`
	// Level is the highest SLSA Build level that this builder can prove, 1 to 3.
	Level int `json:"level"`
	// Claim is what the builder says of itself; it wins over what we think of it.
	Claim     Claim     `json:"claim"`
	Signer    Signer    `json:"signer"`
	Predicate Predicate `json:"predicate"`
	// Builder is which identity is the builder: IdentityCertificate or
	// IdentityPredicate.
	Builder string `json:"builder"`
	// Source is true where the predicate's source must be the certificate's.
	Source bool `json:"source"`
	// Pinned is how the signing workflow must be referenced for level 3: "tag",
	// "commit". Empty asks for nothing.
	Pinned []string `json:"pinned"`
	// Runner is the certificate's runner environment for level 2; "" asks for none.
	Runner string `json:"runner"`
	// RefusedTriggers prove no more than level 1.
	RefusedTriggers []string `json:"refused_triggers"`
}

// Claim quotes a builder.
type Claim struct {
	URL  string `json:"url"`
	Text string `json:"text"`
}

// Signer says whose signatures a profile is about.
type Signer struct {
	// Kind is facts.KindCertificate, facts.KindKey or AnyKind.
	Kind string `json:"kind"`
	// VouchedBy says who makes the signature the platform's: ByIssuer,
	// ByRegistration or ByNobody.
	VouchedBy string `json:"vouched_by"`
	// Issuers are the OIDC issuers of the certificate.
	Issuers []string `json:"issuers"`
	// TrustRoots are the names of the trust roots whose word counts for the issuers:
	// any Sigstore instance can issue certificates with the name of any issuer.
	TrustRoots []string `json:"trust_roots"`
	// Workflows that sign, without @ref; none: any.
	Workflows []string `json:"workflows"`
	// Repository is where the signing workflow lives: InSource, InOther, InAny.
	Repository string `json:"repository"`
}

// Predicate says what the predicate must have.
type Predicate struct {
	// BuildTypes; an * at the end stands for any rest. None: any.
	BuildTypes []string `json:"build_types"`
	// BuilderIDs are forms of builder.id. {build_signer_uri},
	// {runner_environment} and {source_repository} are the certificate's, * is any
	// characters but "/". None: any.
	BuilderIDs []string `json:"builder_ids"`
}

// Words of a profile.
const (
	AnyKind = "any"

	ByIssuer       = "issuer"       // of the certificate: the platform's own
	ByRegistration = "registration" // the administrator registered the signer for this builder
	ByNobody       = "nobody"       // whoever runs the builder signs

	InSource = "source"
	InOther  = "other"
	InAny    = "any"

	IdentityCertificate = "certificate"
	IdentityPredicate   = "predicate"

	PinnedTag    = "tag"
	PinnedCommit = "commit"
)

const maxDepth = 16

var profileName = regexp.MustCompile(`\A[a-z0-9]+(-[a-z0-9]+)*\z`)

// Embedded are the profiles that Signet comes with.
func Embedded() ([]Profile, error) { return Parse(rego.Builders) }

// Parse reads a file of profiles, {"profiles": […]}. Their order matters: the
// first that fits is the one. An unknown field, a missing one, and a profile that
// promises what its rules cannot prove are errors wrapping [ErrInvalid].
func Parse(body []byte) ([]Profile, error) {
	var d struct {
		Profiles []Profile `json:"profiles"`
	}
	if err := strictjson.Decode(body, maxDepth, &d); err != nil {
		return nil, fmt.Errorf("%w: builder profiles: %w", ErrInvalid, err)
	}
	if len(d.Profiles) == 0 {
		return nil, fmt.Errorf("%w: builder profiles: there is none; give at least one in profiles", ErrInvalid)
	}
	seen := map[string]bool{}
	for i := range d.Profiles {
		p := &d.Profiles[i]
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("%w: builder profile %d (%q): %w", ErrInvalid, i+1, p.Name, err)
		}
		if seen[p.Name] {
			return nil, fmt.Errorf("%w: builder profile %d: the name %q is there twice", ErrInvalid, i+1, p.Name)
		}
		seen[p.Name] = true
	}
	return d.Profiles, nil
}

func (p *Profile) check() error {
	oneOf := func(field, value string, allowed ...string) error {
		if slices.Contains(allowed, value) {
			return nil
		}
		return fmt.Errorf("%s is %q and should be one of %s", field, value, strings.Join(allowed, ", "))
	}
	s := p.Signer
	for _, err := range []error{
		oneOf("signer.kind", s.Kind, "certificate", "key", AnyKind),
		oneOf("signer.vouched_by", s.VouchedBy, ByIssuer, ByRegistration, ByNobody),
		oneOf("signer.repository", s.Repository, InSource, InOther, InAny),
		oneOf("builder", p.Builder, IdentityCertificate, IdentityPredicate),
	} {
		if err != nil {
			return err
		}
	}
	for _, how := range p.Pinned {
		if err := oneOf("pinned", how, PinnedTag, PinnedCommit); err != nil {
			return err
		}
	}
	if slices.Contains(slices.Concat(s.Issuers, s.TrustRoots, s.Workflows, p.Predicate.BuildTypes, p.Predicate.BuilderIDs, p.RefusedTriggers), "") {
		return errors.New("an entry of a list is empty; leave it out")
	}
	for _, w := range s.Workflows {
		if a, ok := parseAddress(w); !ok || a.ref != "" {
			return fmt.Errorf("signer.workflows: %q should be the address of a workflow without @ref", w)
		}
	}
	byIssuer := s.VouchedBy == ByIssuer
	switch {
	case !profileName.MatchString(p.Name):
		return errors.New("name should be lower-case words with hyphens")
	case p.Title == "":
		return errors.New("title is missing; name the builder for people")
	case p.Level < 1 || p.Level > 3:
		return fmt.Errorf("level is %d and should be 1, 2 or 3", p.Level)
	case !strings.HasPrefix(p.Claim.URL, "https://") || p.Claim.Text == "":
		return errors.New("claim should have the url (https) and the text of what the builder says of itself")
	case byIssuer && (s.Kind != "certificate" || len(s.Issuers) == 0):
		return errors.New("vouched_by issuer wants signer.kind certificate and signer.issuers")
	case byIssuer && len(s.TrustRoots) == 0:
		return errors.New("vouched_by issuer wants signer.trust_roots: a certificate of any root could name the issuer")
	case s.VouchedBy == ByRegistration && len(s.TrustRoots) > 0:
		return errors.New("signer.trust_roots are not for vouched_by registration: a signer is registered with its own")
	case byIssuer && (p.Runner == "" || !p.Source):
		return errors.New("vouched_by issuer wants a runner and source true: else the certificate would not prove the platform's build")
	case !byIssuer && (len(s.Issuers) > 0 || len(s.Workflows) > 0 || s.Repository != InAny || p.Source || len(p.Pinned) > 0 || p.Runner != "" || len(p.RefusedTriggers) > 0):
		return errors.New("issuers, workflows, repository, source, pinned, runner and refused_triggers are for vouched_by issuer alone")
	case s.VouchedBy == ByNobody && p.Level > 1:
		return errors.New("vouched_by nobody proves no more than level 1")
	case byIssuer && p.Level == 3 && len(s.Workflows) == 0 && s.Repository != InOther:
		return errors.New("level 3 wants signing apart from the user's steps: name signer.workflows, or signer.repository other")
	case byIssuer && p.Level == 3 && len(p.Pinned) == 0:
		return errors.New("level 3 wants pinned: a branch can move")
	case len(s.Workflows) == 0 && len(p.Predicate.BuildTypes) == 0:
		return errors.New("predicate.build_types or signer.workflows is missing: the profile would fit everything")
	case byIssuer && len(p.Predicate.BuilderIDs) == 0:
		return errors.New("predicate.builder_ids is missing: the predicate could name any builder")
	case s.VouchedBy == ByRegistration && len(p.Predicate.BuilderIDs) == 0:
		return errors.New("predicate.builder_ids is missing: a registered signer speaks for named builders only")
	case p.Builder == IdentityPredicate && s.VouchedBy == ByNobody:
		return errors.New("builder predicate wants somebody who vouches for the predicate")
	case p.Builder == IdentityPredicate && byIssuer && len(s.Workflows) == 0:
		return errors.New("builder predicate wants signer.workflows: only a builder's own workflow may name the builder")
	}
	for _, form := range p.Predicate.BuilderIDs {
		if strings.ContainsAny(placeholders.Replace(form), "{}") {
			return fmt.Errorf("builder_ids: %q has an unknown placeholder; known are {build_signer_uri}, {runner_environment}, {source_repository}", form)
		}
		if !byIssuer && placeholders.Replace(form) != form {
			return fmt.Errorf("builder_ids: %q speaks of a certificate, and no issuer vouches for it", form)
		}
	}
	return nil
}

// placeholders takes the known placeholders out of a form.
var placeholders = strings.NewReplacer("{build_signer_uri}", "", "{runner_environment}", "", "{source_repository}", "")
