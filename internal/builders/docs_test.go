package builders

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/builders.md anew")

const page = "../../docs/builders.md"

// docs/builders.md says what the profiles say: -update writes it.
func TestPage(t *testing.T) {
	want := render(embedded(t))
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(have)); diff != "" {
		t.Errorf("docs/builders.md is not what the profiles say; run go test ./internal/builders -update (-profiles +page):\n%s", diff)
	}
}

const intro = `# Builder profiles

<!-- Written from rego/signing/builders/data.json by go test ./internal/builders -update. -->

A builder profile says whose signatures are a build platform's word, and which SLSA Build level they prove. Signet comes with those below, as data
(` + "`data.signing.builders`" + `, JSON Schema in ` + "`rego/schemas/builders.json`" + `). The first one that fits an attestation is the one that counts; provenance that none fits proves nothing.
A policy asks them by [` + "`slsa`" + `](policy-authors.md#require-provenance): provenance counts only where its builder is one that the policy trusts.

| level | what is proven |
|---|---|
| 1 | provenance exists, a builder of ours made it as far as one can tell, and it names this digest |
| 2 | it was signed under an identity that the build platform vouches for: a certificate from the platform's issuer for a build on a hosted runner, or a key that you registered as the builder's |
| 3 | the certificate is that of a builder that keeps signing apart from the user's steps, referenced in a way that cannot move |

The level is what the certificate proves, never what the predicate says. Where the predicate says otherwise than the certificate about builder, source, commit, ref or run, the
level is 0 and both values are named. A self-hosted runner, a certificate that does not tell the runner (Fulcio's before 2023), a pull request and a ref
that nobody merged prove no more than level 1; a workflow at a branch no more than level 2. Each profile quotes what its builder says of itself, which wins over
what we think of it.

Any Sigstore instance can put any issuer's name into its certificates. So a profile names the trust roots that vouch for its issuers: the public-good instance and GitHub's own, which
must be called ` + "`sigstore-public-good` and `github`" + ` among your trust roots. A certificate of another root proves level 1 at most, and no builder, unless the policy says ` + "`trust_roots`" + ` for a trusted builder.

A builder without an issuer of its own (Tekton Chains, Cloud Build) is vouched for by you: register its key or identity as a signer, and name that signer with the trusted builder,
` + "`{builder: https://tekton.dev/chains/v2, signers: [chains]}`" + `. That a signer is trusted for images says nothing about builds.

**Unproven** profiles are made from the builders' documentation; we have no real evidence of them among our tests.

| builder | level | profile | |
|---|---|---|---|
`

func render(profiles []Profile) string {
	var b strings.Builder
	b.WriteString(intro)
	for _, p := range profiles {
		mark := ""
		if p.Unproven {
			mark = "unproven"
		}
		fmt.Fprintf(&b, "| %s | %d | [`%s`](#%s) | %s |\n", p.Title, p.Level, p.Name, p.Name, mark)
	}
	for _, p := range profiles {
		fmt.Fprintf(&b, "\n## %s\n\n%s: at most level %d.", p.Name, p.Title, p.Level)
		if p.Unproven {
			b.WriteString(" **Unproven.**")
		}
		fmt.Fprintf(&b, "\n\n> %s\n>\n> <%s>\n\n", p.Claim.Text, p.Claim.URL)
		for _, line := range rules(p) {
			fmt.Fprintf(&b, "- %s\n", line)
		}
	}
	return b.String()
}

// rules says a profile's rules in sentences.
func rules(p Profile) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	list := func(all []string) string { return "`" + strings.Join(all, "`, `") + "`" }
	s := p.Signer
	switch s.VouchedBy {
	case ByIssuer:
		add("Signed with a certificate for an identity of %s, under the trust root %s.", list(s.Issuers), strings.ReplaceAll(list(s.TrustRoots), ", ", " or "))
	case ByRegistration:
		what := map[string]string{"key": "a key", "certificate": "a certificate", AnyKind: "a key or a certificate"}[s.Kind]
		add("Signed with %s that you have registered as this builder's; else at most level 1.", what)
	case ByNobody:
		add("Signed by whoever ran the build, so it proves that the provenance exists, and no more.")
	}
	if len(s.Workflows) > 0 {
		add("The signing workflow is %s.", list(s.Workflows))
	}
	switch s.Repository {
	case InSource:
		add("The signing workflow lives in the repository that was built.")
	case InOther:
		add("The signing workflow lives in another repository than the one that was built.")
	}
	if len(p.Predicate.BuildTypes) > 0 {
		add("The build type is %s.", list(p.Predicate.BuildTypes))
	}
	if len(p.Predicate.BuilderIDs) > 0 {
		add("The predicate's builder is %s.", list(p.Predicate.BuilderIDs))
	}
	if p.Source {
		add("The predicate's source repository, commit and ref are the certificate's.")
	}
	if p.Runner != "" {
		add("Level 2 wants the runner environment `%s`.", p.Runner)
	}
	if len(p.RefusedTriggers) > 0 {
		add("At most level 1 for the triggers %s.", list(p.RefusedTriggers))
	}
	if len(p.Pinned) > 0 {
		add("Level 3 wants the signing workflow referenced by %s.", strings.Join(p.Pinned, " or "))
	}
	switch {
	case p.Builder == IdentityPredicate:
		add("The builder that you trust is the predicate's `builder.id`.")
	case s.VouchedBy == ByIssuer:
		add("The builder that you trust is the certificate's signing workflow.")
	}
	return out
}
