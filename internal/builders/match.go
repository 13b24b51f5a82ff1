package builders

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/signet-policy/signet/internal/facts"
)

// Result is what one attestation proves about its build.
type Result struct {
	// Profile is the name of the profile that fits, "" where none does.
	Profile  string `json:"profile"`
	Unproven bool   `json:"unproven"`
	// Level is the SLSA Build level that is proven, 0 to 3.
	Level int `json:"level"`
	// Builder is the identity to compare with trusted builders, "" where nobody
	// vouches for one.
	Builder string `json:"builder"`
	// Reusable is true where the builder is not a workflow of the source's own
	// repository.
	Reusable bool `json:"reusable"`
	// Source is what the certificate says was built. Of a signer that is registered
	// as the builder's it is what the builder says; of other keys it is empty.
	Source Source `json:"source"`
	// Contradictions are where the predicate says otherwise than the certificate.
	Contradictions []Contradiction `json:"contradictions"`
	// Missing says per level ("1", "2", "3") what it lacked.
	Missing map[string][]string `json:"missing"`
}

// Source is the source of a build, as its signing certificate has it.
type Source = facts.BuildSource

// Contradiction is one field of the predicate and what the certificate says.
type Contradiction = facts.Contradiction

// Vouched is what a policy adds to the profiles about one signature.
type Vouched struct {
	// Registered names the profiles whose signer the administrator says this signer
	// is; it matters for those that are vouched for by registration only.
	Registered []string
	// TrustRoots may vouch for the issuers of the profiles beside the profiles' own.
	TrustRoots []string
}

// platform is what a certificate says of a build.
type platform struct {
	signer, runner, trigger, invocation string
	source                              Source
}

// githubIssuer is the one issuer whose old certificates have only the extensions
// 1.2 to 1.6, without the host
// (https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md).
const githubIssuer = "https://token.actions.githubusercontent.com"

// platformOf reads the claims. Old certificates of GitHub name the signing
// workflow in the subject alone, and do not tell the runner.
func platformOf(s facts.Signer) platform {
	c := s.Claims
	p := platform{
		signer: c["build_signer_uri"], runner: c["runner_environment"], trigger: c["build_trigger"], invocation: c["run_invocation_uri"],
		source: Source{Repository: c["source_repository_uri"], Ref: c["source_repository_ref"], Digest: c["source_repository_digest"]},
	}
	if s.Issuer != githubIssuer {
		return p
	}
	or := func(v *string, old string) {
		if *v == "" {
			*v = old
		}
	}
	or(&p.signer, s.Subject)
	or(&p.trigger, c["github_workflow_trigger"])
	or(&p.source.Ref, c["github_workflow_ref"])
	or(&p.source.Digest, c["github_workflow_sha"])
	if old := c["github_workflow_repository"]; old != "" {
		or(&p.source.Repository, "https://github.com/"+old)
	}
	return p
}

// Match says what an attestation with this signature and provenance proves about
// subject ("sha256:<hex>"), with what the policy adds to the profiles.
//
// A contradiction proves nothing: the level is 0.
func Match(profiles []Profile, s facts.Signature, p *facts.Provenance, subject string, vouched Vouched) Result {
	m := &matching{signature: s, provenance: p, vouched: vouched, result: Result{Contradictions: []Contradiction{}, Missing: map[string][]string{}}}
	if s.Signer.Kind == facts.KindCertificate {
		m.platform = platformOf(s.Signer)
		m.result.Source = m.platform.source
	}
	switch {
	case p == nil:
		return m.none("the attestation is no SLSA provenance of a version that we know")
	case subject == "" || s.SubjectDigest != subject:
		return m.none(fmt.Sprintf("the attestation speaks of %s, not of %s", s.SubjectDigest, subject))
	}
	i := slices.IndexFunc(profiles, m.fits)
	if i < 0 || profiles[i].Signer.VouchedBy == ByNobody {
		m.pretends(profiles)
	}
	if i < 0 {
		if len(m.result.Contradictions) > 0 {
			return m.none("the predicate names a builder that did not sign it")
		}
		return m.none(fmt.Sprintf("no builder profile fits the signer %q, the build type %q and the builder %q", clip(s.Principal), clip(p.BuildType), clip(p.BuilderID)))
	}
	m.measure(&profiles[i])
	return m.result
}

type matching struct {
	signature  facts.Signature
	provenance *facts.Provenance
	vouched    Vouched
	platform   platform
	result     Result
}

func (m *matching) none(why string) Result {
	m.result.Level = 0
	m.lacks(1, why)
	return m.result
}

func (m *matching) lacks(level int, why string) {
	key := fmt.Sprint(level)
	m.result.Missing[key] = append(m.result.Missing[key], why)
	m.result.Level = min(m.result.Level, level-1)
}

func (m *matching) contradicts(field, certificate, predicate string) {
	m.result.Contradictions = append(m.result.Contradictions, Contradiction{Field: field, Certificate: clip(certificate), Predicate: clip(predicate)})
}

// maxShown bounds, in bytes, what is repeated of a stranger's words.
const maxShown = 500

func clip(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(s[:maxShown], "") + "…"
}

// fits says whether a profile is about this attestation: by what signed it, as
// far as that is proven, and by what kind of build it says it is.
func (m *matching) fits(p Profile) bool {
	s, signer := p.Signer, m.signature.Signer
	switch {
	case s.Kind != AnyKind && s.Kind != signer.Kind:
		return false
	case len(p.Predicate.BuildTypes) > 0 && !slices.ContainsFunc(p.Predicate.BuildTypes, m.ofType):
		return false
	case s.VouchedBy != ByIssuer:
		return len(p.Predicate.BuilderIDs) == 0 || m.namesBuilder(p)
	case !slices.Contains(s.Issuers, signer.Issuer):
		return false
	}
	workflow, ok := parseAddress(m.platform.signer)
	if !ok {
		return false
	}
	if len(s.Workflows) > 0 && !slices.ContainsFunc(s.Workflows, func(w string) bool { return isWorkflow(workflow, w) }) {
		return false
	}
	switch s.Repository {
	case InSource:
		return sameRepository(workflow.repository().String(), m.platform.source.Repository)
	case InOther:
		return m.platform.source.Repository != "" && !sameRepository(workflow.repository().String(), m.platform.source.Repository)
	}
	return true
}

func isWorkflow(a address, workflow string) bool {
	w, ok := parseAddress(workflow)
	return ok && w.String() == a.String()
}

func (m *matching) ofType(form string) bool {
	if prefix, open := strings.CutSuffix(form, "*"); open {
		return strings.HasPrefix(m.provenance.BuildType, prefix)
	}
	return m.provenance.BuildType == form
}

// namesBuilder says whether the predicate's builder.id has one of the profile's
// forms. A value of the certificate that is not there fits nothing.
func (m *matching) namesBuilder(p Profile) bool {
	return slices.ContainsFunc(p.Predicate.BuilderIDs, func(form string) bool { return m.hasForm(form) })
}

func (m *matching) hasForm(form string) bool {
	var pattern strings.Builder
	for form != "" {
		name, value := "", ""
		switch {
		case strings.HasPrefix(form, "{build_signer_uri}"):
			name, value = "{build_signer_uri}", m.platform.signer
		case strings.HasPrefix(form, "{runner_environment}"):
			name, value = "{runner_environment}", m.platform.runner
		case strings.HasPrefix(form, "{source_repository}"):
			name, value = "{source_repository}", m.platform.source.Repository
		case form[0] == '*':
			pattern.WriteString(`[^/]+`)
			form = form[1:]
			continue
		default:
			pattern.WriteString(regexp.QuoteMeta(form[:1]))
			form = form[1:]
			continue
		}
		if value == "" {
			return false
		}
		pattern.WriteString(regexp.QuoteMeta(value))
		form = form[len(name):]
	}
	ok, err := regexp.MatchString(`\A(?:`+pattern.String()+`)\z`, m.provenance.BuilderID)
	return err == nil && ok
}

// pretends looks whether the predicate names a builder whose own workflow would
// have signed it: a certificate that is another's, or a key, contradicts it.
func (m *matching) pretends(profiles []Profile) {
	claimed, ok := parseAddress(m.provenance.BuilderID)
	if !ok {
		return
	}
	signer := m.platform.signer
	if signer == "" {
		signer = m.signature.Principal
	}
	for _, p := range profiles {
		if slices.ContainsFunc(p.Signer.Workflows, func(w string) bool { return isWorkflow(claimed, w) }) {
			m.contradicts("builder_id", signer, m.provenance.BuilderID)
			return
		}
	}
}

// measure finds the level that is proven under a profile.
func (m *matching) measure(p *Profile) {
	r := &m.result
	r.Profile, r.Unproven, r.Level = p.Name, p.Unproven, p.Level
	switch {
	case p.Builder == IdentityPredicate:
		r.Builder = m.provenance.BuilderID
	case m.platform.signer != "":
		r.Builder = m.platform.signer
	default:
		r.Builder = m.signature.Signer.Subject
	}
	for level := p.Level + 1; level <= 3; level++ {
		m.lacks(level, fmt.Sprintf("%s claims no more than level %d (%s)", p.Title, p.Level, p.Claim.URL))
	}
	if root := m.signature.TrustRoot; p.Signer.VouchedBy != ByRegistration && m.signature.Signer.Kind == facts.KindCertificate &&
		!slices.Contains(p.Signer.TrustRoots, root) && !slices.Contains(m.vouched.TrustRoots, root) {
		// Whoever runs that root writes its certificates: the builder is not proven.
		r.Builder = ""
		m.lacks(2, fmt.Sprintf("the certificate is of the trust root %s, which does not vouch for %s (%s)", root, m.signature.Signer.Issuer, strings.Join(p.Signer.TrustRoots, ", ")))
	}
	if p.Signer.VouchedBy == ByRegistration {
		m.registration(p)
	}
	if p.Signer.VouchedBy == ByIssuer {
		m.builder(p)
		m.build(p)
	}
	if p.Source {
		m.source()
	}
	if len(r.Contradictions) > 0 {
		m.lacks(1, "the predicate says otherwise than the certificate")
	}
}

// registration looks whether the signer is one of the builder's.
func (m *matching) registration(p *Profile) {
	if !slices.Contains(m.vouched.Registered, p.Name) {
		// Who is not registered may be anybody: the builder is not proven.
		m.result.Builder = ""
		m.lacks(2, fmt.Sprintf("the signer %s is not registered as one of the builder %s", clip(m.signature.Principal), p.Name))
		return
	}
	// A key says nothing about sources. The builder itself signed, and says what it built.
	if m.result.Source.Repository == "" {
		have := m.provenance.Source
		m.result.Source = Source{Repository: clip(have.URI), Ref: clip(have.Ref)}
		if commits := commitsOf(have.Digest); len(commits) > 0 {
			m.result.Source.Digest = clip(commits[0])
		}
	}
}

// builder compares who built.
func (m *matching) builder(p *Profile) {
	workflow, _ := parseAddress(m.platform.signer) // it fitted, so it is one
	m.result.Reusable = !sameRepository(workflow.repository().String(), m.platform.source.Repository)
	if p.Builder == IdentityPredicate {
		m.result.Reusable = true // until it is known to be the source's own
		if a, ok := parseAddress(m.result.Builder); ok {
			m.result.Reusable = !sameRepository(a.repository().String(), m.platform.source.Repository)
		}
	}
	if !m.namesBuilder(*p) {
		m.contradicts("builder_id", m.platform.signer, m.provenance.BuilderID)
	}
	if p.Level < 3 || len(p.Pinned) == 0 {
		return
	}
	if kind, name := refKind(workflow.ref); !slices.Contains(p.Pinned, kind) {
		m.lacks(3, fmt.Sprintf("the workflow %s is referenced by the %s %q, which can move: %s is needed", workflow, kind, name, strings.Join(p.Pinned, " or ")))
	}
}

// build looks at where and why the build ran.
func (m *matching) build(p *Profile) {
	switch m.platform.runner {
	case p.Runner:
	case "":
		m.lacks(2, fmt.Sprintf("the certificate does not say that the runner was %s", p.Runner))
	default:
		m.lacks(2, fmt.Sprintf("the runner was %s, not %s", m.platform.runner, p.Runner))
	}
	if slices.Contains(p.RefusedTriggers, m.platform.trigger) {
		m.lacks(2, fmt.Sprintf("the build was triggered by %s", m.platform.trigger))
	}
	// https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows#pull_request
	if ref := m.platform.source.Ref; Unmerged(ref) {
		m.lacks(2, fmt.Sprintf("the source is %s, which nobody has merged", ref))
	}
	if id := m.provenance.InvocationID; strings.HasPrefix(id, "https://") && m.platform.invocation != "" && id != m.platform.invocation {
		m.contradicts("invocation_id", m.platform.invocation, id)
	}
}

// source compares what was built.
func (m *matching) source() {
	have, want := m.provenance.Source, m.platform.source
	switch {
	case want.Repository == "":
		m.lacks(2, "the certificate does not name the source repository")
	case have.URI == "":
		m.lacks(2, "the predicate does not name the source repository")
	case !sameRepository(have.URI, want.Repository):
		m.contradicts("source.uri", want.Repository, have.URI)
	}
	if have.Ref != "" && want.Ref != "" && have.Ref != want.Ref {
		m.contradicts("source.ref", want.Ref, have.Ref)
	}
	switch commits := commitsOf(have.Digest); {
	case want.Digest == "":
		m.lacks(2, "the certificate does not name the source's commit")
	case len(commits) == 0:
		m.lacks(2, "the predicate does not name the source's commit")
	default:
		for _, c := range commits {
			if c != want.Digest {
				m.contradicts("source.digest", want.Digest, c)
			}
		}
	}
}

// commitsOf gives the commit under each of the names that builders have for it:
// gitCommit (in-toto), sha1 (GitHub's older ones, Tekton), sha256 (GitLab, for
// either kind of commit).
func commitsOf(digest map[string]string) []string {
	var all []string
	for _, alg := range []string{"gitCommit", "sha1", "sha256"} {
		if d := digest[alg]; d != "" {
			all = append(all, d)
		}
	}
	return all
}
