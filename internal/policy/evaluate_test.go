package policy

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// answers is a policy that gives body for the image "asked", and denies others
// in good form, so that it can be loaded.
func answers(t *testing.T, body string, limits evidence.Limits) *Set {
	t.Helper()
	return mustLoad(t, Source{Bundle: policyOf("\n" + body + "\n"), Limits: limits})
}

func asked() *facts.Input {
	in := signedInput()
	in.Request.Image = "asked"
	return in
}

const asks = ` if input.request.image == "asked"`

// Threat 48: anything but one well-typed result denies; an allow beside anything
// wrong is none.
func TestThreat48Results(t *testing.T) {
	const finding = `{"code": "c", "message": "m", "remediation": "r", "rule": "u"}`
	const satisfied = `[{"requirement": "signature", "facts": ["sha256:01"]}]`
	result := func(change string) string {
		parts := map[string]string{
			"allow": "true", "violations": "[]", "warnings": "[]",
			"satisfied_by": satisfied, "slsa": `{"level": 0, "builder": null}`,
		}
		if name, value, ok := strings.Cut(change, "="); ok {
			parts[name] = value
			if value == "" {
				delete(parts, name)
			}
		}
		var fields []string
		for k, v := range parts {
			fields = append(fields, `"`+k+`": `+v)
		}
		return "verdict := {" + strings.Join(fields, ", ") + "}" + asks
	}
	tests := []struct{ name, body, want string }{
		{"allow with violations", result("violations=[" + finding + "]"), "allows beside 1 violations"},
		{"allow resting on nothing", result("satisfied_by=[]"), "without naming a requirement"},
		{"allow resting on a fact that is not there", result(`satisfied_by=[{"requirement": "signature", "facts": ["sha256:ff"]}]`), `the fact "sha256:ff", which the input does not have`},
		{"allow no boolean", result(`allow="true"`), "allow: is string, not a boolean"},
		{"allow null", result("allow=null"), "allow: is null, not a boolean"},
		{"allow missing", result("allow="), "lacks allow"},
		{"violations missing", result("violations="), "lacks violations"},
		{"warnings missing", result("warnings="), "lacks warnings"},
		{"satisfied_by missing", result("satisfied_by="), "lacks satisfied_by"},
		{"slsa missing", result("slsa="), "lacks slsa"},
		{"a field that nothing reads", result("allowed=true"), `the field "allowed", which nothing reads`},
		{"violations no list", result("violations=null"), "violations: is null, not an array"},
		{"violations of strings", result(`allow=false`) + "\n" + `x := 1`, ""},
		{"a boolean", "verdict := true" + asks, "is boolean, not an object"},
		{"a string", `verdict := "allow"` + asks, "is string, not an object"},
		{"keys no strings", `verdict := {1: true}` + asks, "a key that is no string"},
		{"two values", "verdict := {\"allow\": true}" + asks + "\n\nverdict := {\"allow\": false}" + asks, "conflict"},
		{"builtin error", "verdict := {} if {\n\tinput.request.image == \"asked\"\n\tto_number(input.request.image) == 1\n}" + "\n\n" + result(""), "to_number"},
		{"satisfied by both", result(`satisfied_by=[{"requirement": "s", "facts": ["sha256:01"], "exception": "e"}]`), "not exactly one of facts and exception"},
		{"satisfied by neither", result(`satisfied_by=[{"requirement": "s"}]`), "not exactly one of facts and exception"},
		{"satisfied by no facts", result(`satisfied_by=[{"requirement": "s", "facts": []}]`), "facts: is empty"},
		{"satisfied without a name", result(`satisfied_by=[{"requirement": "", "exception": "e"}]`), "requirement: is empty"},
		{"slsa level 4", result(`slsa={"level": 4, "builder": null}`), "slsa.level: is not 0, 1, 2 or 3"},
		{"slsa level negative", result(`slsa={"level": -1, "builder": null}`), "slsa.level"},
		{"slsa level a string", result(`slsa={"level": "1", "builder": null}`), "slsa.level"},
		{"slsa builder empty", result(`slsa={"level": 1, "builder": ""}`), "slsa.builder: is empty"},
		{"valid_until no time", result(`valid_until="soon"`), "valid_until: is no RFC 3339 time"},
		{"valid_until null", result(`valid_until=null`), "valid_until: is null"},
		{"finding without code", result(`warnings=[{"message": "m", "remediation": "r", "rule": "u"}]`), "warnings[0]: lacks code"},
		{"finding with an empty message", result(`warnings=[{"code": "c", "message": "", "remediation": "r", "rule": "u"}]`), "warnings[0].message: is empty"},
		{"finding with more", result(`warnings=[{"code": "c", "message": "m", "remediation": "r", "rule": "u", "severity": "low"}]`), `"severity", which nothing reads`},
		{"finding no object", result(`warnings=["c"]`), "warnings[0]: is string, not an object"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want == "" { // the counter-check: in good form
				if _, err := answers(t, tt.body, evidence.Limits{}).Evaluate(t.Context(), asked()); err != nil {
					t.Errorf("Evaluate = %v", err)
				}
				return
			}
			got, err := answers(t, tt.body, evidence.Limits{}).Evaluate(t.Context(), asked())
			if !errors.Is(err, ErrPolicy) {
				t.Fatalf("Evaluate = %+v, %v, want ErrPolicy", got, err)
			}
			if got.Allow || len(got.SatisfiedBy) > 0 {
				t.Errorf("a result beside the error: %+v", got)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Evaluate = %v, want it to say %q", err, tt.want)
			}
		})
	}
}

func TestResultInFull(t *testing.T) {
	body := `verdict := {
	"allow": true,
	"violations": set(),
	"warnings": {{"code": "w2", "message": "m", "remediation": "", "rule": ""}, {"code": "w1", "message": "m", "remediation": "r", "rule": "u", "fact": "f"}},
	"satisfied_by": [{"requirement": "signature", "facts": ["sha256:01"]}, {"requirement": "sbom", "exception": "until-june"}],
	"slsa": {"level": 3, "builder": "https://builder.example"},
	"valid_until": "2026-07-01T00:00:00Z",
}` + asks
	want := verdict.Result{
		Allow: true, Violations: []verdict.Reason{},
		Warnings: []verdict.Reason{
			{Code: "w1", Message: "m", Remediation: "r", Rule: "u", Fact: "f"},
			{Code: "w2", Message: "m"},
		},
		SatisfiedBy: []verdict.Satisfied{
			{Requirement: "signature", Facts: []string{"sha256:01"}},
			{Requirement: "sbom", Exception: "until-june"},
		},
		SLSA:       verdict.SLSA{Level: 3, Builder: ptr("https://builder.example")},
		ValidUntil: ptr(time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)),
	}
	got, err := answers(t, body, evidence.Limits{}).Evaluate(t.Context(), asked())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

// Threat 48: a policy that does not come to an end is stopped; that is unknown,
// not deny and not allow.
func TestThreat48TimeLimit(t *testing.T) {
	limits := evidence.DefaultLimits()
	limits.PolicyTime = time.Second
	digits := `digits := ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]`
	s := answers(t, digits+`
verdict := {"allow": true} if {
	input.request.image == "asked"
	some a in digits; some b in digits; some c in digits; some d in digits; some e in digits
	some f in digits; some g in digits; some h in digits; some i in digits
	concat("", [a, b, c, d, e, f, g, h, i]) == "x"
}`, limits)
	began := time.Now()
	got, err := s.Evaluate(t.Context(), asked())
	if !errors.Is(err, ErrTimeLimit) || errors.Is(err, ErrPolicy) || got.Allow {
		t.Errorf("Evaluate = %+v, %v, want ErrTimeLimit alone", got, err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("stopped only after %s", took)
	}
	// What the caller no longer waits for is unknown too.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := mustLoad(t, Source{}).Evaluate(ctx, signedInput()); !errors.Is(err, ErrTimeLimit) || !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v, want ErrTimeLimit and context.Canceled", err)
	}
}

func TestResultTooLarge(t *testing.T) {
	limits := evidence.DefaultLimits()
	limits.PolicyResultBytes = 200
	body := `verdict := {"allow": false, "violations": [{"code": "c", "message": concat("", [m | some m in ["` +
		strings.Repeat("x", 300) + `"]]), "remediation": "r", "rule": "u"}], "warnings": [], "satisfied_by": [], "slsa": {"level": 0, "builder": null}}` + asks
	if _, err := answers(t, body, limits).Evaluate(t.Context(), asked()); !errors.Is(err, ErrPolicy) || !strings.Contains(err.Error(), "policy_result_bytes") {
		t.Errorf("Evaluate = %v, want ErrPolicy naming the limit", err)
	}
}

func TestEvaluateInputTooLarge(t *testing.T) {
	limits := evidence.DefaultLimits()
	limits.PolicyInputBytes = 2000
	s := mustLoad(t, Source{Limits: limits})
	in := signedInput()
	in.Request.Image = strings.Repeat("x", 2000)
	if _, err := s.Evaluate(t.Context(), in); !errors.Is(err, ErrInputTooLarge) {
		t.Errorf("Evaluate = %v, want ErrInputTooLarge", err)
	}
}

// The embedded policy is compiled beside its caller: the first evaluation waits,
// as long as its own caller does, and a policy that did not compile denies.
func TestEvaluateWaitsForTheCompiler(t *testing.T) {
	s, err := Load(t.Context(), Source{Params: json.RawMessage(defaultParams)})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Evaluate(t.Context(), signedInput()); err != nil || !got.Allow {
		t.Errorf("Evaluate at once = %+v, %v", got, err)
	}
	never := &Set{ready: make(chan struct{})}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := never.Evaluate(ctx, signedInput()); !errors.Is(err, ErrTimeLimit) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Evaluate of one that is never ready = %v, want ErrTimeLimit", err)
	}
	broken := &Set{ready: make(chan struct{})}
	broken.build(t.Context(), &contents{modules: map[string][]byte{"x.rego": []byte("package")}}, nil)
	if got, err := broken.Evaluate(t.Context(), signedInput()); !errors.Is(err, ErrPolicy) || got.Allow {
		t.Errorf("Evaluate of a broken one = %+v, %v, want ErrPolicy", got, err)
	}
	broken = &Set{ready: make(chan struct{})}
	broken.build(t.Context(), nil, nil)
	if err := broken.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("Ready after a panic = %v", err)
	}
	if got, err := new(Set).Evaluate(ctx, signedInput()); err == nil || got.Allow {
		t.Errorf("Evaluate of the zero Set = %+v, %v", got, err)
	}
}

// A panic in OPA or in this package is an error like another.
func TestPanicIsAnError(t *testing.T) {
	if got, err := mustLoad(t, Source{}).Evaluate(t.Context(), nil); !errors.Is(err, ErrPolicy) || got.Allow {
		t.Errorf("Evaluate(nil) = %+v, %v, want ErrPolicy", got, err)
	}
}

// Trap 3 of Rego: many builtin errors, and still one sentence.
func TestManyBuiltinErrors(t *testing.T) {
	body := `verdict := {"allow": count({x | some w in ["a", "b", "c", "d", "e"]; x := to_number(w)}) > 0}` + asks
	_, err := answers(t, body, evidence.Limits{}).Evaluate(t.Context(), asked())
	if !errors.Is(err, ErrPolicy) || !strings.Contains(err.Error(), "and 2 more") {
		t.Errorf("Evaluate = %v, want three of five errors", err)
	}
}

// A policy sees its parameters, its own data and the input, and no more.
func TestWhatAPolicySees(t *testing.T) {
	b := policyOf(`
verdict := {"allow": false, "violations": [{"code": "seen", "message": json.marshal(object.keys(data)), "remediation": "", "rule": ""}], "warnings": [], "satisfied_by": [], "slsa": {"level": 0, "builder": null}} if {
	input.request.image == "asked"
	data.params.threshold == 1
	data.signing.lists.blocked == ["a"]
}
`)
	b["signing/lists/data.json"] = file(`{"blocked":["a"]}`)
	_, err := Load(t.Context(), Source{Bundle: b, Params: json.RawMessage(defaultParams)})
	// object.keys(data) would make the policy depend on itself.
	if err == nil || !strings.Contains(err.Error(), "recursive") {
		t.Fatalf("Load = %v, want it refused as recursive", err)
	}
	b = policyOf(`
verdict := {"allow": false, "violations": [{"code": "seen", "message": "all", "remediation": "", "rule": ""}], "warnings": [], "satisfied_by": [], "slsa": {"level": 0, "builder": null}} if {
	input.request.image == "asked"
	data.params.threshold == 1
	data.signing.lists.blocked == ["a"]
}
`)
	b["signing/lists/data.json"] = file(`{"blocked":["a"]}`)
	got, err := mustLoad(t, Source{Bundle: b}).Evaluate(t.Context(), asked())
	if err != nil || len(got.Violations) != 1 || got.Violations[0].Code != "seen" {
		t.Errorf("Evaluate = %+v, %v, want the violation seen", got, err)
	}
}

// One Set serves many requests at a time.
func TestEvaluateConcurrently(t *testing.T) {
	limits := evidence.DefaultLimits()
	limits.PolicyTime = time.Minute // this is about races, on machines that may be busy
	s := mustLoad(t, Source{Limits: limits})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				in, want := signedInput(), true
				if i%2 == 0 {
					in, want = emptyInput(), false
				}
				if got, err := s.Evaluate(context.Background(), in); err != nil || got.Allow != want {
					t.Errorf("Evaluate = %+v, %v, want allow %v", got, err, want)
					return
				}
			}
		})
	}
	wg.Wait()
}
