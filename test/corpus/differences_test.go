package corpus

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/verdict"
)

// differences are all the cases where Signet answers otherwise than the tools of
// the makers, on purpose. To every check of the corpus for which the answers of
// cosign 3.1.3 and sigstore-go 1.3.0 are recorded, Signet gives the same one (see
// peers); the rest is here.
var differences = []struct {
	set, name, check string
	theirs, reason   string
	decision         verdict.Decision
	codes            []string
}{
	{
		set: "samples", name: "attested", check: "everybody",
		theirs:   "cosign 3.1.3 verify accepts it as signed",
		reason:   "it takes any verified bundle about the image for a signature; we look at the signed predicate type (threat 2)",
		decision: verdict.Deny, codes: []string{"unsigned"},
	},
	{
		set: "corpus", name: "cosign-bundle-empty-image", check: "03 ",
		theirs:   "cosign 3.1.3 verify accepts it as signed",
		reason:   "as above; the corpus expects what we answer, and calls it disputed",
		decision: verdict.Deny, codes: []string{"unsigned"},
	},
	{
		set: "corpus", name: "conformance-managed-key-wrong-key_fail", check: "00 ",
		theirs:   "sigstore-go 1.3.0 and cosign 3.1.3 fail while verifying",
		reason:   "the wrong key is no point on its curve: it is refused when it is loaded (refusedKeys), so that the verdict here is for yet another key",
		decision: verdict.Deny, codes: []string{"signer_not_trusted"},
	},
	{
		set: "corpus", name: "slsa1-container-based-v2.1.0-push-v14.2", check: "00 ",
		theirs:   "the makers verify without an artifact",
		reason:   "a verdict is always about something: we are given the digest that the statement names, which is the same check and one more",
		decision: verdict.Deny, codes: []string{"unsigned"},
	},
	{
		set: "corpus", name: "conformance-managed-key-no-key_fail", check: "00 ",
		theirs:   "sigstore-go 1.3.0 and cosign 3.1.3 fail",
		reason:   "the key in its log entry verifies it, so that it is a fact who signed; nobody trusts that key, so that it allows nothing and the reason can name it",
		decision: verdict.Deny, codes: []string{"signer_not_trusted"},
	},
}

// TestDifferences holds the table against the golden files.
func TestDifferences(t *testing.T) {
	for _, d := range differences {
		var g golden
		decodeFile(t, filepath.Join("testdata", d.set, d.name+".json"), &g)
		i := slices.IndexFunc(g.Checks, func(c goldenCheck) bool { return strings.HasPrefix(c.Check, d.check) })
		if i < 0 {
			t.Errorf("%s %s has no check %q", d.set, d.name, d.check)
			continue
		}
		if v := g.Checks[i].Verdict; v.Decision != d.decision || !slices.Equal(codes(v), d.codes) {
			t.Errorf("%s %s: %s %v, want %s %v (%s)", d.set, d.name, v.Decision, codes(v), d.decision, d.codes, d.reason)
		}
	}
}

// peers compares with what cosign and sigstore-go answered to the same check.
func (r *caseRun) peers(t *testing.T, check corpusCheck, e expectation, got answer) {
	t.Helper()
	ours := "fail"
	if len(e.signatures(got.input)) > 0 && check.What != "attestation" || len(e.attestations(got.input)) > 0 && check.What != "signature" {
		ours = "ok"
	}
	theirs := map[string]string{"cosign 3.1.3": check.Cosign, "sigstore-go 1.3.0": check.SigstoreGo}
	for tool, answer := range theirs {
		if answer == "" {
			theirs[tool] = ours // not recorded
		}
	}
	if diff := cmp.Diff(map[string]string{"cosign 3.1.3": ours, "sigstore-go 1.3.0": ours}, theirs); diff != "" {
		t.Errorf("the makers' tools answer otherwise (-ours +theirs):\n%s", diff)
	}
}
