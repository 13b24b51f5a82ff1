package corpus

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/require"
	"github.com/signet-policy/signet/internal/verdict"
	"github.com/signet-policy/signet/internal/verify"
	"github.com/signet-policy/signet/test/wire"
)

// TestCorpus goes through every check of every case.
func TestCorpus(t *testing.T) {
	if _, ok := corpusHere(t); *update && !ok {
		t.Fatal("-update without SIGNET_CORPUS would leave the corpus's golden files as they are")
	}
	dir := require.Corpus(t)
	cases := readCorpus(t, dir)
	server := registrytest.New(t, registrytest.Options{})
	done := map[string]int{}
	var names []string
	for _, c := range cases {
		names = append(names, c.Name)
		t.Run(c.Name, func(t *testing.T) {
			r := &caseRun{dir: dir, c: c, server: server, golden: golden{Name: c.Name}, done: done}
			r.run(t)
			r.golden.keep(t, "corpus")
		})
	}
	onlyGolden(t, "corpus", names)
	allDone(t, dir, done)
}

// allDone counts cases and checks in the file itself, so that none is left out:
// neither by this runner nor by its reading of the file.
func allDone(t *testing.T, dir string, done map[string]int) {
	t.Helper()
	body, err := os.ReadFile(filepath.Join(dir, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Checks []json.RawMessage `json:"checks"`
	}
	if err := json.Unmarshal(body, &cases); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"cases": len(cases)}
	for _, c := range cases {
		want["checks"] += len(c.Checks)
	}
	have := map[string]int{"cases": done["cases"], "checks": done["signature"] + done["attestation"] + done["bundle"] + done["policy"] + done["policy, by facts only"]}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("cases and checks (-in the file +gone through):\n%s", diff)
	}
	if n := len(laterPolicy); done["policy, by facts only"] != 3*n {
		t.Errorf("%d policy checks were left to a later issue, and the list has 3 × %d", done["policy, by facts only"], n)
	}
	t.Logf("%v", done)
}

// laterPolicy are the upstream names of policy checks whose rule belongs to a
// later issue (the provenance of a build in depth); three images have each. What
// such a rule will read is proved today, and that is what is asserted.
var laterPolicy = map[string]string{
	"wrong branch master":                                 "which branch was built is a question about provenance; the certificate's claim of the ref is there",
	"tag no match empty tag workflow_dispatch*":           "which tag was built is a question about provenance; the certificate's claim of the ref is there",
	"versioned tag no match empty tag workflow_dispatch*": "which version was built is a question about provenance; the certificate's claim of the ref is there",
}

// caseRun is one case on its way.
type caseRun struct {
	dir    string
	c      corpusCase
	server *registrytest.Server
	golden golden
	done   map[string]int
}

func (r *caseRun) run(t *testing.T) {
	r.done["cases"]++
	for i, check := range r.c.Checks {
		t.Run(fmt.Sprintf("%02d %s", i, check.What), func(t *testing.T) {
			got, e, w := r.ask(t, check)
			trust := r.trust(check)
			if check.Key != "" {
				trust += " " + check.Key
			}
			if check.ArtifactDigest != "" {
				trust += " " + check.ArtifactDigest[:15]
			}
			r.golden.record(t, check.title(i), trust, r.host(), w, got)
			switch check.What {
			case "signature", "attestation", "bundle":
				r.done[check.What]++
				r.evidence(t, check, e, got)
			case "policy":
				r.policyCheck(t, check, got)
			default:
				t.Fatalf("no check of kind %q is known", check.What)
			}
			r.peers(t, check, e, got)
			if i == 0 && check.Expect == "ok" {
				r.observations(t, got.input)
			}
		})
	}
}

func (r *caseRun) trust(check corpusCheck) string {
	if check.Trust != "" {
		return check.Trust
	}
	return r.c.Trust
}

func (r *caseRun) host() string {
	if r.c.Kind == "bundle" {
		return ""
	}
	return r.server.Host()
}

// ask puts the check's question, for an image by a registry and by the layout.
func (r *caseRun) ask(t *testing.T, check corpusCheck) (answer, expectation, wanted) {
	t.Helper()
	e, w, keys := r.expects(t, check)
	a := asked{roots: readRoots(t, filepath.Join(r.dir, r.trust(check))), keys: keys, policy: w.policy(t)}
	if r.c.Kind == "bundle" {
		a.artifact = r.artifact(t, check)
		a.image = a.artifact.Name
		return ask(t, a), e, w
	}
	if r.c.Kind != "oci-layout" {
		t.Fatalf("no case of kind %q is known", r.c.Kind)
	}
	dir, repo := filepath.Join(r.dir, r.c.Path), "corpus/"+strings.ToLower(r.c.Name)
	a.evidenceOnly = r.c.SubjectManifest == "absent"
	a.registry = serve(t, r.server, dir, repo)
	a.image = r.server.Image(repo, r.c.Digest)
	got := ask(t, a)
	a.image, a.registry = layoutReference(t, dir, r.c.Digest), registry.Config{AllowLayouts: true}
	sameAnswer(t, "check", got, ask(t, a))
	return got, e, w
}

// artifact is a case of kind bundle: the file where there is one, else a digest.
func (r *caseRun) artifact(t *testing.T, check corpusCheck) *wire.Artifact {
	t.Helper()
	read := func(name string) []byte {
		body, err := os.ReadFile(filepath.Join(r.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	a := &wire.Artifact{Name: "artifact", Bundle: read(r.c.Path)}
	digest := check.ArtifactDigest
	switch {
	case digest != "":
	case r.c.Artifact != "":
		a.Artifact = verify.Artifact{Bytes: read(r.c.Artifact)}
		if s, err := a.Artifact.Subject(); err != nil || s.Digest != r.c.ArtifactDigest {
			t.Fatalf("the artifact is %s, and cases.json says %s: %v", s.Digest, r.c.ArtifactDigest, err)
		}
		return a
	case check.Artifact == "none":
		// The makers verify without saying about what. We always ask about
		// something: the digest that the statement names.
		_, digest, _ = strings.Cut(r.c.Observed[0].Subjects[0], "@")
	default:
		t.Fatal("the case names no artifact")
	}
	alg, hex, _ := strings.Cut(digest, ":")
	a.Artifact = verify.Artifact{Digests: map[string]string{alg: hex}}
	return a
}

// expects turns a check into a policy, and into what its facts must be. Where the
// makers accept any identity, the policy trusts every issuer that was seen.
func (r *caseRun) expects(t *testing.T, check corpusCheck) (expectation, wanted, []signers.Key) {
	t.Helper()
	e := expectation{attestation: check.What == "attestation", predicate: check.PredicateType, log: check.TLog == "required", tsa: check.TSA == "required"}
	w := wanted{log: check.TLog != "none" && (check.Key == "" || e.log)}
	if check.Key != "" {
		path := filepath.Join(r.dir, filepath.Dir(r.c.Path), check.Key)
		if want, refused := refusedKeys[r.c.Name]; refused {
			keyIsRefused(t, path, want)
			path = filepath.Join(samples, "other.pub") // any other key than the one that signed
		}
		k := readKey(t, path)
		e.fingerprint = k.Fingerprint
		w.signers = []trusted{byKey(k)}
		return e, w, []signers.Key{k}
	}
	pattern := ".*"
	switch {
	case check.SANRE != "":
		e.subject, pattern = regexp.MustCompile(check.SANRE), whole(check.SANRE)
	case check.SAN == "" || check.SAN == ".*":
		e.subject = regexp.MustCompile(".*")
	default:
		e.subject, pattern = exactly(check.SAN), ""
	}
	issuers := []string{check.Issuer}
	if check.Issuer == "" || check.Issuer == ".*" {
		issuers = r.issuers()
	} else {
		e.issuer = check.Issuer
	}
	for _, issuer := range issuers {
		if pattern == "" {
			w.signers = append(w.signers, keyless(issuer, check.SAN))
		} else {
			w.signers = append(w.signers, keylessLike(issuer, pattern))
		}
	}
	if check.What == "policy" && check.Source != "" {
		w.sources = []string{check.Source}
	}
	return e, w, nil
}

// refusedKeys are keys of cases that Signet does not even load, with what it says.
var refusedKeys = map[string]string{"conformance-managed-key-wrong-key_fail": "not on curve"}

func keyIsRefused(t *testing.T, path, says string) {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signers.ParseKeys(string(body)); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("the key is loaded, or refused otherwise: %v", err)
	}
}

// issuers are those that anybody saw in the case, and one where there is none.
func (r *caseRun) issuers() []string {
	var all []string
	for _, o := range r.c.Observed {
		if o.Issuer != "" && !slices.Contains(all, o.Issuer) {
			all = append(all, o.Issuer)
		}
	}
	if len(all) == 0 {
		all = []string{"https://token.actions.githubusercontent.com"}
	}
	return all
}

// evidence holds the facts against a check, and the verdict against the facts: a
// signature of the kind that is wanted allows, and nothing else does.
func (r *caseRun) evidence(t *testing.T, check corpusCheck, e expectation, got answer) {
	t.Helper()
	sigs, atts := e.signatures(got.input), e.attestations(got.input)
	found := sigs
	switch check.What {
	case "attestation":
		found = atts
	case "bundle":
		found = append(slices.Clone(sigs), atts...)
	}
	if ok := len(found) > 0; ok != (check.Expect == "ok") {
		t.Errorf("verified: %v, and the makers say %s (%s); rejections: %+v", found, check.Expect, check.Reason, got.input.Rejections)
	}
	if check.Expect == "fail" && check.What == "bundle" && len(got.input.Rejections) == 0 && len(got.input.Signatures)+len(got.input.Attestations) == 0 {
		t.Error("nothing was proved, and nothing says why")
	}
	switch {
	case len(sigs) > 0:
		if got.verdict.Decision != verdict.Allow {
			t.Errorf("decision %s %v with a signature that is wanted", got.verdict.Decision, codes(got.verdict))
		}
		if diff := cmp.Diff(sigs, satisfiedBy(got.verdict)); diff != "" {
			t.Errorf("satisfied by (-wanted signatures +verdict):\n%s", diff)
		}
	case got.verdict.Decision != verdict.Deny:
		t.Errorf("decision %s without a signature that is wanted", got.verdict.Decision)
	case len(got.input.Signatures) == 0 && len(got.input.Rejections) == 0 && !slices.Equal(codes(got.verdict), []string{"unsigned"}):
		// Attestations alone never make an image signed (threat 2).
		t.Errorf("reasons %v, want unsigned", codes(got.verdict))
	}
}

// policyCheck is about content that is verified: the verdict denies, and what the
// rule reads, or will read, is a fact.
func (r *caseRun) policyCheck(t *testing.T, check corpusCheck, got answer) {
	t.Helper()
	if check.Expect != "fail" || got.verdict.Decision != verdict.Deny {
		t.Errorf("decision %s, want deny as the makers say %s", got.verdict.Decision, check.Expect)
	}
	if len(got.input.Attestations) == 0 {
		t.Fatal("no attestation was verified, so the check shows nothing")
	}
	claims := got.input.Attestations[0].Signer.Claims
	ref := cmpOr(claims["source_repository_ref"], claims["github_workflow_ref"])
	if _, later := laterPolicy[check.Upstream]; later {
		r.done["policy, by facts only"]++
		if !strings.HasPrefix(ref, "refs/heads/") || ref == "refs/heads/"+check.Branch {
			t.Errorf("the certificate says that %s was built: the check would not fail", ref)
		}
		return
	}
	r.done["policy"]++
	switch {
	case check.Source != "":
		source := cmpOr(claims["source_repository_uri"], "https://github.com/"+claims["github_workflow_repository"])
		if source != "https://"+r.sourceName() || source == "https://"+check.Source {
			t.Errorf("the certificate names the source %s; the makers say %s, and that %s must not match", source, r.c.SourceRepo, check.Source)
		}
	case strings.Contains(check.Reason, "an attestation bundle is not an image signature"):
		if !slices.Equal(codes(got.verdict), []string{"unsigned"}) {
			t.Errorf("reasons %v, want unsigned", codes(got.verdict))
		}
	default:
		t.Fatalf("this policy check is in no table: %+v", check)
	}
}

func (r *caseRun) sourceName() string { return strings.TrimPrefix(r.c.SourceRepo, "https://") }

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// observations compares facts with what the corpus's makers read from the bytes:
// a fact never says more or other than the evidence does.
func (r *caseRun) observations(t *testing.T, in facts.Input) {
	t.Helper()
	var all []facts.Signature
	predicates := map[string]string{}
	for _, s := range in.Signatures {
		all = append(all, s.Signature)
	}
	for _, a := range in.Attestations {
		all = append(all, a.Signature)
		predicates[a.ID] = a.PredicateType
	}
	for _, o := range r.c.Observed {
		i := slices.IndexFunc(all, func(s facts.Signature) bool {
			return s.Signer.Subject == o.SAN && s.Signer.Issuer == o.Issuer && predicates[s.ID] == o.PredicateType
		})
		if i < 0 {
			if r.c.Name == "podman-mixed-one-valid" && len(all) == 1 {
				continue // one of its two signatures is by nobody whom the check names
			}
			t.Errorf("nothing verified for %+v", o)
			continue
		}
		o.compare(t, all[i])
	}
}

func (o observed) compare(t *testing.T, s facts.Signature) {
	t.Helper()
	for name, want := range map[string]string{"build_signer_uri": o.BuildSignerURI, "runner_environment": o.Runner} {
		if s.Signer.Claims[name] != want {
			t.Errorf("claim %s is %q, want %q", name, s.Signer.Claims[name], want)
		}
	}
	ref := cmpOr(s.Signer.Claims["source_repository_ref"], s.Signer.Claims["github_workflow_ref"])
	if ref != o.SourceRef {
		t.Errorf("the claim of the ref is %q, want %q", ref, o.SourceRef)
	}
	if len(s.Timestamps) != o.Timestamps {
		t.Errorf("%d timestamps, want %d", len(s.Timestamps), o.Timestamps)
	}
	entries := []string{}
	for _, e := range s.Transparency {
		text := fmt.Sprintf("%d:", e.Index)
		switch set := e.IntegratedAt != nil; {
		case e.Proof == facts.ProofPromise:
			text += "SET"
		case set:
			text += "proof+SET"
		default:
			text += "proof+"
		}
		entries = append(entries, text)
	}
	if diff := cmp.Diff(append([]string{}, o.TLog...), entries); diff != "" {
		t.Errorf("log entries (-observed +facts):\n%s", diff)
	}
}
