package policy

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/rego"
)

// The sentence is part of the contract, to the letter.
func TestUnsignedMessage(t *testing.T) {
	got, err := mustLoad(t, Source{}).Evaluate(t.Context(), emptyInput())
	if err != nil {
		t.Fatal(err)
	}
	if got.Allow || len(got.Violations) != 1 || got.Violations[0].Code != "unsigned" ||
		got.Violations[0].Message != "Image ghcr.io/org/server:v1 is not signed. Signature required." {
		t.Errorf("result %+v", got)
	}
}

func TestSignedIsAllowed(t *testing.T) {
	got, err := mustLoad(t, Source{}).Evaluate(t.Context(), signedInput())
	if err != nil || !got.Allow || !cmp.Equal(got.SatisfiedBy[0].Facts, []string{"sha256:01"}) {
		t.Errorf("result %+v, %v", got, err)
	}
}

// Threat 60: two verified signatures that say different things about one fact
// are two members of a list, not an evaluation error.
func TestThreat60ConflictingClaims(t *testing.T) {
	in := signedInput()
	other := in.Signatures[0]
	other.ID, other.TrustRoot = "sha256:02", "other-root"
	other.Signer.Claims = map[string]string{"source_repository_uri": "https://github.com/evil/app"}
	other.Annotations = map[string]string{"env": "test"}
	in.Signatures = append(in.Signatures, other)
	got, err := mustLoad(t, Source{}).Evaluate(t.Context(), in)
	if err != nil || !got.Allow {
		t.Errorf("result %+v, %v", got, err)
	}
}

// drawInput makes an input of parts that policies look at, in order or not.
func drawInput(t *rapid.T) *facts.Input {
	in := emptyInput()
	in.Search.Complete = rapid.Bool().Draw(t, "complete")
	in.Subject.Platforms = []facts.Platform{{OS: "linux", Architecture: "amd64", Digest: "sha256:bb"}}
	in.Trust = nil
	for i := range rapid.IntRange(0, 2).Draw(t, "roots") {
		in.Trust = append(in.Trust, facts.TrustInfo{Name: fmt.Sprint("root", i), TransparencyLog: rapid.Bool().Draw(t, "log")})
	}
	if in.Trust == nil {
		in.Trust = []facts.TrustInfo{}
	}
	names := []string{"a", "b", "c"}
	for i := range rapid.IntRange(0, 4).Draw(t, "signatures") {
		s := signedInput().Signatures[0]
		s.ID = fmt.Sprint("sha256:", i)
		s.Principal = fmt.Sprint("p", rapid.IntRange(0, 2).Draw(t, "principal"))
		s.TrustRoot = fmt.Sprint("root", rapid.IntRange(0, 2).Draw(t, "root"))
		s.SubjectDigest = rapid.SampledFrom([]string{imageDigest, imageDigest, "sha256:bb", "sha256:cc"}).Draw(t, "subject")
		s.Signer.Kind = rapid.SampledFrom([]string{facts.KindCertificate, facts.KindKey}).Draw(t, "kind")
		if rapid.Bool().Draw(t, "no log entry") {
			s.Transparency = []facts.LogEntry{}
		}
		if rapid.Bool().Draw(t, "source") {
			s.Signer.Claims = map[string]string{"source_repository_uri": rapid.SampledFrom([]string{"https://github.com/org/app.git", "https://github.com/org-evil/app"}).Draw(t, "uri")}
		}
		s.TrustedSigners = rapid.SliceOfDistinct(rapid.SampledFrom(names), rapid.ID).Draw(t, "signers")
		in.Signatures = append(in.Signatures, s)
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "rejections") {
		in.Rejections = append(in.Rejections, facts.Rejection{
			ID: fmt.Sprint("sha256:r", i), MediaType: "x", Where: "y", Message: "m.",
			Code: rapid.SampledFrom([]string{facts.CodeNoSignature, facts.CodeSignedInFuture, facts.CodeSubjectMismatch}).Draw(t, "code"),
		})
	}
	in.Matches = []facts.Match{}
	for range rapid.SampledFrom([]int{0, 1, 1, 1, 1, 2}).Draw(t, "matches") {
		m := facts.Match{Requirement: "signature", Signers: []string{}, Principals: []string{}}
		for range rapid.IntRange(0, 3).Draw(t, "pairs") {
			m.Signers = append(m.Signers, rapid.SampledFrom(names).Draw(t, "signer"))
			m.Principals = append(m.Principals, fmt.Sprint("p", rapid.IntRange(0, 2).Draw(t, "of")))
		}
		m.Count = len(m.Signers)
		in.Matches = append(in.Matches, m)
	}
	return in
}

// Whatever the input: the embedded policy answers as the same modules do after
// all of the compiler's stages; it allows exactly when it has no violation; and
// an allow rests on enough signatures that meet every condition.
func TestDefaultPolicyOnAnything(t *testing.T) {
	type pair struct{ embedded, full *Set }
	var sets []pair
	type params struct {
		Require    bool     `json:"require_signature"`
		Log        bool     `json:"verify_transparency_log"`
		Threshold  int      `json:"threshold"`
		Sources    []string `json:"trusted_sources"`
		Registered bool     `json:"registered_signers"`
	}
	variants := []params{
		{Require: true, Log: true, Threshold: 1, Registered: true},
		{Require: true, Log: false, Threshold: 2},
		{Require: true, Log: true, Threshold: 1, Sources: []string{"github.com/org"}},
		{Require: false, Log: true, Threshold: 1},
	}
	asBundle := defaultAsBundle(t)
	for _, p := range variants {
		raw, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		sets = append(sets, pair{mustLoad(t, Source{Params: raw}), mustLoad(t, Source{Params: raw, Bundle: asBundle})})
	}
	allowed := 0
	rapid.Check(t, func(rt *rapid.T) {
		in := drawInput(rt)
		for i, p := range variants {
			got, err := sets[i].embedded.Evaluate(t.Context(), in)
			if err != nil {
				rt.Fatalf("%+v: %v", p, err)
			}
			full, err := sets[i].full.Evaluate(t.Context(), in)
			if err != nil {
				rt.Fatalf("%+v, all stages: %v", p, err)
			}
			if diff := cmp.Diff(full, got); diff != "" {
				rt.Fatalf("%+v: the embedded policy answers otherwise (-all stages +embedded):\n%s", p, diff)
			}
			if got.Allow != (len(got.Violations) == 0) {
				rt.Fatalf("%+v: allow %v with violations %+v", p, got.Allow, got.Violations)
			}
			if !got.Allow {
				continue
			}
			allowed++
			principals := map[string]bool{}
			for _, id := range got.SatisfiedBy[0].Facts {
				s := in.Signatures[slices.IndexFunc(in.Signatures, func(s facts.InputSignature) bool { return s.ID == id })]
				principals[s.Principal] = true
				source := s.Signer.Claims["source_repository_uri"]
				switch {
				case len(s.TrustedSigners) == 0, s.SubjectDigest == "sha256:cc":
					rt.Fatalf("%+v: %s counts, and nobody trusted signed this image with it", p, id)
				case p.Sources != nil && (s.Signer.Kind != facts.KindCertificate || source != "https://github.com/org/app.git"):
					rt.Fatalf("%+v: %s counts with the source %q", p, id, source)
				case len(s.Transparency) == 0 && s.Signer.Kind == facts.KindCertificate && !loglessRoot(in, s.TrustRoot):
					rt.Fatalf("%+v: certificate %s counts without a log entry", p, id)
				case len(s.Transparency) == 0 && s.Signer.Kind == facts.KindKey && p.Log && (len(in.Trust) == 0 || slices.ContainsFunc(in.Trust, func(r facts.TrustInfo) bool { return r.TransparencyLog })):
					rt.Fatalf("%+v: key signature %s counts without a log entry", p, id)
				}
			}
			if !p.Require || len(principals) < p.Threshold {
				rt.Fatalf("%+v: allowed with the principals %v", p, principals)
			}
		}
	})
	if allowed == 0 {
		t.Error("nothing was allowed, so nothing was checked")
	}
}

func loglessRoot(in *facts.Input, name string) bool {
	return slices.ContainsFunc(in.Trust, func(r facts.TrustInfo) bool { return r.Name == name && !r.TransparencyLog })
}

// Monotone, as the manifest declares: evidence that is added never turns an
// allow into a deny.
func TestDefaultPolicyIsMonotone(t *testing.T) {
	s := mustLoad(t, Source{})
	rapid.Check(t, func(rt *rapid.T) {
		in := signedInput()
		more := drawInput(rt)
		in.Signatures = append(more.Signatures, in.Signatures...)
		in.Rejections, in.Search = more.Rejections, more.Search
		got, err := s.Evaluate(t.Context(), in)
		if err != nil || !got.Allow {
			rt.Fatalf("with more evidence: %+v, %v", got, err)
		}
	})
}

// Every rule that speaks to people has METADATA with a code of its own, and says
// that code.
func TestMetadata(t *testing.T) {
	codes, ruleOf := map[string]string{}, map[string]string{}
	findings := 0
	err := fs.WalkDir(rego.Modules, "signing", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !isModule(name) {
			return err
		}
		body, err := rego.Modules.ReadFile(name)
		if err != nil {
			return err
		}
		m, err := ast.ParseModuleWithOpts(name, string(body), ast.ParserOptions{ProcessAnnotation: true, RegoVersion: ast.RegoV1})
		if err != nil {
			return err
		}
		documented := map[string]bool{}
		for _, r := range m.Rules {
			rule := string(r.Head.Name)
			if rule == "" {
				rule = r.Head.Reference.String()
			}
			if strings.HasPrefix(rule, "_") {
				continue
			}
			if len(r.Annotations) == 0 {
				if rule == "violation" || rule == "warning" || !documented[rule] {
					t.Errorf("%s: rule %s has no METADATA", r.Location, rule)
				}
				continue
			}
			documented[rule] = true
			a := r.Annotations[0]
			if a.Title == "" || a.Description == "" {
				t.Errorf("%s: rule %s has no title or no description", r.Location, rule)
			}
			if !slices.Contains([]string{"signing", "signing/lib/requirement", "signing/lib/unmet", "signing/lib/unattested"}, path.Dir(name)) { // helpers
				continue
			}
			code, _ := a.Custom["code"].(string)
			severity, _ := a.Custom["severity"].(string)
			remediation, _ := a.Custom["remediation"].(string)
			if code == "" || severity == "" || remediation == "" {
				t.Errorf("%s: rule %s lacks custom.code, severity or remediation", r.Location, rule)
			}
			if at, taken := codes[code]; taken && !(a.Scope == "document" && rule == ruleOf[code]) {
				t.Errorf("%s: code %s is taken by the rule at %s", r.Location, code, at)
			}
			codes[code], ruleOf[code] = r.Location.String(), rule
			// The rules that pass on what others say have no words of their own.
			if (rule == "violation" || rule == "warning") && code != "signature_required" && code != "attestation_required" {
				findings++
				if !strings.Contains(r.Head.String(), fmt.Sprintf("%q", code)) {
					t.Errorf("%s: the rule does not say its code %s", r.Location, code)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if findings < 13 {
		t.Errorf("only %d rules speak to people", findings)
	}
}

// What a policy sees is what the published schema says.
func TestInputsFitTheSchema(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(rego.InputSchema)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("input.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("input.json")
	if err != nil {
		t.Fatal(err)
	}
	attested := signedInput()
	attested.Attestations = []facts.InputAttestation{{
		Attestation:    facts.Attestation{Signature: attested.Signatures[0].Signature, StatementSubjects: []facts.StatementSubject{{Digest: map[string]string{"sha256": "00"}}}, Predicate: json.RawMessage(`{"a":1}`)},
		TrustedSigners: []string{},
		Provenance:     &facts.Provenance{Source: facts.Source{Digest: map[string]string{}}, Materials: []facts.Material{{Digest: map[string]string{}}}},
	}}
	validate := func(in *facts.Input, change func(m map[string]any)) error {
		body, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(v.(map[string]any))
		}
		return schema.Validate(v)
	}
	for name, in := range map[string]*facts.Input{"no evidence": emptyInput(), "signed": signedInput(), "attested": attested} {
		if err := validate(in, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(m map[string]any){
		"a field too many":  func(m map[string]any) { m["extra"] = 1 },
		"a field too few":   func(m map[string]any) { delete(m, "trust") },
		"a list that is no": func(m map[string]any) { m["signatures"] = nil },
		"another schema":    func(m map[string]any) { m["schema"] = facts.UnmatchedSchema },
		"nested, too many":  func(m map[string]any) { m["subject"].(map[string]any)["name"] = "x" },
	} {
		if validate(signedInput(), change) == nil {
			t.Errorf("%s: the schema accepts it", name)
		}
	}
}
