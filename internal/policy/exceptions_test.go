package policy

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	opa "github.com/open-policy-agent/opa/v1/rego"
	"pgregory.net/rapid"

	"github.com/signet-policy/signet/internal/glob"
	"github.com/signet-policy/signet/internal/verdict"
	"github.com/signet-policy/signet/rego"
)

// withExceptions are the parameters of the default policy with some exceptions.
func withExceptions(t *testing.T, list ...map[string]any) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(map[string]any{
		"require_signature": true, "verify_transparency_log": true, "threshold": 1, "trusted_sources": nil, "registered_signers": true,
		"exceptions": list,
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func exception(ends time.Time, codes ...string) map[string]any {
	return map[string]any{
		"name": "default/exceptions/1", "images": []string{"ghcr.io/org/**"}, "codes": codes, "reason": "Soon.", "owner": "platform",
		"expires_at": ends,
	}
}

func TestExceptionWaives(t *testing.T) {
	in := emptyInput()
	ends := in.EvaluatedAt.Add(time.Hour).UTC()
	got, err := mustLoad(t, Source{Params: withExceptions(t, exception(ends, "unsigned"))}).Evaluate(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	want := verdict.Result{
		Allow: true, Violations: []verdict.Reason{}, ValidUntil: &ends,
		SatisfiedBy: []verdict.Satisfied{{Requirement: "signature", Exception: "default/exceptions/1"}},
		Exceptions:  []verdict.Exception{{Name: "default/exceptions/1", Codes: []string{"unsigned"}, Owner: "platform", Reason: "Soon.", ExpiresAt: ends}},
	}
	warnings := got.Warnings
	got.Warnings = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0].Message, "Waived by the exception default/exceptions/1 of platform until") {
		t.Errorf("warnings %+v", warnings)
	}
}

// An exception holds up to its end and not at it, and the denial says when it ended.
func TestExceptionEnds(t *testing.T) {
	in := emptyInput()
	for after, allow := range map[time.Duration]bool{time.Nanosecond: true, 0: false, -time.Hour: false} {
		ends := in.EvaluatedAt.Add(after).UTC()
		got, err := mustLoad(t, Source{Params: withExceptions(t, exception(ends, "unsigned"))}).Evaluate(t.Context(), in)
		if err != nil || got.Allow != allow {
			t.Errorf("%s before the end: %+v, %v", after, got, err)
			continue
		}
		said := "(The exception default/exceptions/1 of platform ended at " + ends.Format(time.RFC3339Nano) + ".)"
		if !allow && (len(got.Violations) != 1 || !strings.HasSuffix(got.Violations[0].Remediation, said)) {
			t.Errorf("violations %+v, want %q", got.Violations, said)
		}
	}
}

// Whatever the input and the exceptions: the embedded policy answers as the same
// modules do after all of the compiler's stages, allows exactly when nothing stands
// against the image, and waives no more than it was told to.
func TestExceptionsOnAnything(t *testing.T) {
	all := rego.ViolationCodes()
	now := emptyInput().EvaluatedAt.UTC()
	asBundle := defaultAsBundle(t)
	type pair struct {
		embedded, full *Set
		codes          []string
	}
	var sets []pair
	for _, codes := range [][]string{{"unsigned"}, {"signer_not_trusted", "unsigned"}, all, all[:4], all[4:]} {
		params := withExceptions(t, exception(now.Add(time.Hour), codes...), exception(now.Add(-time.Hour), all...))
		sets = append(sets, pair{mustLoad(t, Source{Params: params}), mustLoad(t, Source{Params: params, Bundle: asBundle}), codes})
	}
	waived := 0
	rapid.Check(t, func(rt *rapid.T) {
		in := drawInput(rt)
		for _, s := range sets {
			got, err := s.embedded.Evaluate(t.Context(), in)
			if err != nil {
				rt.Fatal(err)
			}
			full, err := s.full.Evaluate(t.Context(), in)
			if err != nil {
				rt.Fatal(err)
			}
			if diff := cmp.Diff(full, got); diff != "" {
				rt.Fatalf("%v: the embedded policy answers otherwise (-all stages +embedded):\n%s", s.codes, diff)
			}
			if got.Allow != (len(got.Violations) == 0) {
				rt.Fatalf("%v: allow %v with violations %+v", s.codes, got.Allow, got.Violations)
			}
			for _, v := range got.Violations {
				if slices.Contains(s.codes, v.Code) {
					rt.Fatalf("%v: %s is not waived", s.codes, v.Code)
				}
			}
			for _, e := range got.Exceptions {
				waived++
				for _, code := range e.Codes {
					if !slices.Contains(s.codes, code) {
						rt.Fatalf("%v: %s is waived", s.codes, code)
					}
				}
			}
		}
	})
	if waived == 0 {
		t.Error("nothing was waived, so nothing was checked")
	}
}

// evaluated gives the value of an expression over the library.
func evaluated[T any](t *testing.T, expression string) (value T) {
	t.Helper()
	options := []func(*opa.Rego){opa.Query("x := " + expression), opa.Imports([]string{"data.signing.lib"})}
	err := fs.WalkDir(rego.Modules, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !isModule(name) {
			return err
		}
		body, err := rego.Modules.ReadFile(name)
		options = append(options, opa.Module(name, string(body)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	found, err := opa.New(options...).Eval(t.Context())
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v", expression, found, err)
	}
	body, err := json.Marshal(found[0].Bindings["x"])
	if err == nil {
		err = json.Unmarshal(body, &value)
	}
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// What Go and Rego take for a code that is never waived is the same.
func TestNeverWaived(t *testing.T) {
	if diff := cmp.Diff(rego.NeverWaived(), evaluated[[]string](t, "sort(lib.never_waived)")); diff != "" {
		t.Errorf("never waived (-Go +Rego):\n%s", diff)
	}
}

// The codes that an exception can name are those of the METADATA.
func TestViolationCodes(t *testing.T) {
	var codes []string
	err := fs.WalkDir(rego.Modules, "signing/lib", func(name string, d fs.DirEntry, err error) error {
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
		for _, r := range m.Rules {
			if r.Head.Ref()[0].Value.String() != "violation" {
				continue
			}
			if code := fmt.Sprint(r.Annotations[0].Custom["code"]); code != "signature_required" && code != "attestation_required" && !slices.Contains(rego.NeverWaived(), code) {
				codes = append(codes, code)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(codes)
	if diff := cmp.Diff(codes, rego.ViolationCodes()); diff != "" {
		t.Errorf("codes (-METADATA +Go):\n%s", diff)
	}
}

// An exception means the images that the same pattern means everywhere else.
func TestImagePatterns(t *testing.T) {
	patterns := []string{
		"**", "*/**", "**/app", "ghcr.io/**", "ghcr.io/*", "ghcr.io/org/app", "ghcr.io/org/*", "ghcr.io/org/**", "ghcr.io/**/app", "ghcr.io/o*g/**",
		"ghcr.io/org/a*-*p", "ghcr.io/org/**/**", "*.example.com/org/app", "localhost:5000/a_b.c-d", "registry.example:5000/**", "ghcr.io/*/*/app",
		"docker.io/library/*", "[::1]:5000/**",
	}
	names := []string{
		"ghcr.io/app", "ghcr.io/org", "ghcr.io/org/app", "ghcr.io/org/app2", "ghcr.io/org/team/app", "ghcr.io/og/app", "ghcr.io/oxxg/app", "ghcrXio/org/app",
		"ghcr.io/org/a-p", "ghcr.io/org/ab-cp", "a.example.com/org/app", "aXexample.com/org/app", "a.b.example.com/org/app", "localhost:5000/a_b.c-d",
		"localhost:5000/a_bxc-d", "registry.example:5000/x/y/z", "docker.io/library/nginx", "docker.io/org/nginx", "[::1]:5000/x", "ghcr.io/a/b/app", "ghcr.io/org/app\n",
	}
	list, err := json.Marshal(patterns)
	if err != nil {
		t.Fatal(err)
	}
	expressions := evaluated[[]string](t, fmt.Sprintf("[p | some g in %s; p := lib.image_pattern(g)]", list))
	for i, pattern := range patterns {
		g, err := glob.Compile(pattern)
		if err != nil {
			t.Fatal(err)
		}
		re := regexp.MustCompile(expressions[i])
		for _, name := range names {
			if got, want := re.MatchString(name), g.Match(name); got != want {
				t.Errorf("%s as %s: %s matches: %v, to the glob %v", pattern, re, name, got, want)
			}
		}
	}
}

// What a bundle promises is asked of its rules: an exception for everything does
// not make it one that allows anything.
func TestBundleIsCheckedWithoutExceptions(t *testing.T) {
	everything := exception(time.Now().Add(time.Hour), rego.ViolationCodes()...)
	everything["images"] = []string{"**"}
	s := mustLoad(t, Source{Bundle: defaultAsBundle(t), Params: withExceptions(t, everything)})
	in := emptyInput()
	in.EvaluatedAt = time.Now().UTC()
	if got, err := s.Evaluate(t.Context(), in); err != nil || !got.Allow {
		t.Errorf("in force: %+v, %v", got, err)
	}
}

// Of a bundle the codes of its own rules can be waived too.
func TestCodesOfABundle(t *testing.T) {
	bundle, ok := defaultAsBundle(t).(fstest.MapFS)
	if !ok {
		t.Fatal("the bundle is no MapFS")
	}
	bundle["signing/rules/old.rego"] = &fstest.MapFile{Data: []byte(`package signing.rules.old

violation contains {"code": "too_old", "message": "It is too old.", "remediation": "Build it anew."} if {
	input.subject.registry == "old.example"
}

# METADATA
# title: Made
# custom:
#   code: put_together
violation contains {"code": concat("_", ["put", "together"]), "message": "m", "remediation": "r"} if {
	input.subject.registry == "older.example"
}
`)}
	got := mustLoad(t, Source{Bundle: bundle}).Codes()
	want := append(rego.ViolationCodes(), "put_together", "requirement_not_met", "too_old")
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(rego.ViolationCodes(), mustLoad(t, Source{}).Codes()); diff != "" {
		t.Errorf("codes of the embedded policy (-want +got):\n%s", diff)
	}
}

// A requirement that a rule writes as it is documented is not met by an image
// without the fact, though the rule says nothing against it.
func TestRuleAddsARequirement(t *testing.T) {
	for name, rule := range map[string]string{
		"a set": `requirements.release contains signature.id if {
	some signature in input.signatures
	signature.trusted_signers[_] == wanted
}`,
		"an object": `requirements := {"release": {signature.id | some signature in input.signatures; signature.trusted_signers[_] == wanted}}`,
	} {
		t.Run(name, func(t *testing.T) {
			ask := func(wanted string) verdict.Result {
				t.Helper()
				bundle, _ := defaultAsBundle(t).(fstest.MapFS)
				bundle["signing/rules/release.rego"] = &fstest.MapFile{Data: []byte("package signing.rules.release\n\nwanted := \"" + wanted + "\"\n\n" + rule + "\n")}
				got, err := mustLoad(t, Source{Bundle: bundle}).Evaluate(t.Context(), signedInput())
				if err != nil {
					t.Fatal(err)
				}
				return got
			}
			met := ask("release")
			want := []verdict.Satisfied{{Requirement: "signature", Facts: []string{"sha256:01"}}, {Requirement: "release", Facts: []string{"sha256:01"}}}
			if diff := cmp.Diff(want, met.SatisfiedBy); !met.Allow || diff != "" {
				t.Errorf("met: allow %v (-want +got):\n%s", met.Allow, diff)
			}
			unmet := ask("nobody")
			if unmet.Allow || len(unmet.Violations) != 1 || unmet.Violations[0].Code != "requirement_not_met" || len(unmet.SatisfiedBy) != 1 {
				t.Errorf("not met: %+v", unmet)
			}
		})
	}
}
