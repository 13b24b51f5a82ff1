package corpus

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verdict"
	"github.com/signet-policy/signet/test/wire"
)

// now is when everything is decided: after everything was signed.
var now = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

// asked is what one run asks of Signet.
type asked struct {
	roots  []*trust.Root
	keys   []signers.Key
	policy *signingpolicy.Policy
	// image and the rest say where the evidence is.
	image        string
	evidenceOnly bool
	platform     string
	registry     registry.Config
	artifact     *wire.Artifact
}

// answer is what Signet made of it.
type answer struct {
	verdict verdict.Verdict
	input   facts.Input
}

// ask goes all the way, and holds what must be true of every answer.
func ask(t *testing.T, a asked) answer {
	t.Helper()
	s := wire.New(t, wire.Config{
		Roots: a.roots, Policy: a.policy, Keys: a.keys, Registry: a.registry, Artifact: a.artifact,
		Now: func() time.Time { return now },
	})
	x, err := s.Engine.Examine(t.Context(), s.State, engine.Request{Image: a.image, EvidenceOnly: a.evidenceOnly, Platform: a.platform})
	if err != nil {
		t.Fatal(err)
	}
	if *s.Panics != 0 {
		t.Errorf("%d panics", *s.Panics)
	}
	in, ok := x.Inputs[a.policy.Name]
	if !ok {
		t.Fatalf("policy %s was not asked: %s", a.policy.Name, x.Body)
	}
	if !in.Search.Complete {
		t.Errorf("the search was not complete: %+v", in.Search.Problems)
	}
	v := *x.Verdict
	if (v.Decision == verdict.Allow) != v.Allowed {
		t.Errorf("decision %s, and allowed %v under an enforcing policy", v.Decision, v.Allowed)
	}
	if v.Decision != verdict.Allow && len(v.Reasons) == 0 {
		t.Errorf("decision %s without a reason", v.Decision)
	}
	return answer{v, in}
}

// codes are the codes of a verdict's reasons.
func codes(v verdict.Verdict) []string {
	out := []string{}
	for _, r := range v.Reasons {
		out = append(out, r.Code)
	}
	return out
}

// serve puts a layout into a registry of the test and says how to reach it.
func serve(t *testing.T, server *registrytest.Server, dir, repo string) registry.Config {
	t.Helper()
	server.For(t).PushLayout(dir, repo)
	return registry.Config{Registries: []registry.Settings{{Host: server.Host(), Insecure: true}}}
}

func readRoots(t *testing.T, path string) []*trust.Root {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := trust.ParseAll(trust.FileName(path), body)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return roots
}

func readKey(t *testing.T, path string) signers.Key {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := signers.ParseKeys(string(body))
	if err != nil || len(keys) != 1 {
		t.Fatalf("%s: %d keys, %v", path, len(keys), err)
	}
	return keys[0]
}

// trusted is a trusted_signers entry of a signing policy.
type trusted struct {
	Type         string `json:"type"`
	Issuer       string `json:"issuer,omitempty"`
	Subject      string `json:"subject,omitempty"`
	SubjectRegex string `json:"subject_regex,omitempty"`
	Key          string `json:"key,omitempty"`
}

func keyless(issuer, subject string) trusted {
	return trusted{Type: "keyless", Issuer: issuer, Subject: subject}
}

func keylessLike(issuer, pattern string) trusted {
	return trusted{Type: "keyless", Issuer: issuer, SubjectRegex: pattern}
}

func byKey(k signers.Key) trusted { return trusted{Type: "public_key", Key: k.PEM} }

// wanted is a signing policy as a user writes it.
type wanted struct {
	log     bool
	sources []string
	signers []trusted
}

func (w wanted) document() map[string]any {
	p := map[string]any{
		"mode": "enforce", "require_signature": true, "verify_transparency_log": w.log, "trusted_signers": w.signers,
	}
	if w.sources != nil {
		p["slsa"] = map[string]any{"trusted_sources": w.sources}
	}
	return map[string]any{"signing_policy": p}
}

// policy parses it as a user's file.
func (w wanted) policy(t *testing.T) *signingpolicy.Policy {
	t.Helper()
	body, err := json.Marshal(w.document())
	if err != nil {
		t.Fatal(err)
	}
	p, err := signingpolicy.Parse(body)
	if err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return p
}

// expectation says which facts satisfy a check.
type expectation struct {
	attestation bool
	fingerprint string // of a key; "": a certificate
	issuer      string // "": any
	subject     *regexp.Regexp
	predicate   string // "": any
	log, tsa    bool
}

func (e expectation) met(s facts.Signature) bool {
	switch {
	case e.log && len(s.Transparency) == 0, e.tsa && len(s.Timestamps) == 0:
		return false
	case e.fingerprint != "":
		return s.Signer.Kind == facts.KindKey && s.Signer.Fingerprint == e.fingerprint && s.Principal == e.fingerprint
	}
	return s.Signer.Kind == facts.KindCertificate && (e.issuer == "" || s.Signer.Issuer == e.issuer) && e.subject.MatchString(s.Signer.Subject)
}

// signatures and attestations give the ids of the facts that satisfy it.
func (e expectation) signatures(in facts.Input) []string {
	ids := []string{}
	for _, s := range in.Signatures {
		if e.met(s.Signature) {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

func (e expectation) attestations(in facts.Input) []string {
	ids := []string{}
	for _, a := range in.Attestations {
		if e.met(a.Signature) && (e.predicate == "" || a.PredicateType == e.predicate) {
			ids = append(ids, a.ID)
		}
	}
	return ids
}

// exactly is a pattern for one subject.
func exactly(subject string) *regexp.Regexp {
	return regexp.MustCompile(`\A` + regexp.QuoteMeta(subject) + `\z`)
}

// whole turns a search pattern, as other tools take it, into one for the whole
// subject, as ours are.
func whole(search string) string {
	p, open := strings.TrimPrefix(search, "^"), !strings.HasPrefix(search, "^")
	if open {
		p = ".*" + p
	}
	if end := strings.TrimSuffix(p, "$"); end != p {
		return end
	}
	return p + ".*"
}

// satisfiedBy are the facts that a verdict names.
func satisfiedBy(v verdict.Verdict) []string {
	ids := []string{}
	for _, p := range v.Policies {
		for _, s := range p.SatisfiedBy {
			ids = append(ids, s.Facts...)
		}
	}
	slices.Sort(ids)
	return ids
}

// layoutReference names an image in a layout directory.
func layoutReference(t *testing.T, dir, digest string) string {
	t.Helper()
	abs, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return registry.LayoutPrefix + abs + "@" + digest
}
