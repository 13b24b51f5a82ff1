package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// decodeResult reads what a policy answered, and accepts one shape only:
//
//	{"allow": bool, "violations": [finding], "warnings": [finding],
//	 "satisfied_by": [{"requirement", "facts": [id]} | {"requirement", "exception"}],
//	 "slsa": {"level": 0..3, "builder": string|null, "missing"?: {level: [text]}}, "exceptions"?: [exception],
//	 "valid_until"?: RFC 3339, "coverage"?: [{"digest", "requirement", "met": bool}]}
//
// with finding = {"code", "message", "remediation", "rule", "fact"?} and exception =
// {"name", "codes": [code], "owner", "reason", "expires_at"}. Fields that nobody
// reads are refused, because their author thinks that they do something.
func decodeResult(t *ast.Term, limit int64) (verdict.Result, error) {
	d := &decoder{left: limit}
	o := d.object(t, "result", []string{"allow", "violations", "warnings", "satisfied_by", "slsa"}, "exceptions", "valid_until", "coverage")
	r := verdict.Result{
		Allow:       d.boolean(o["allow"], "allow"),
		Violations:  list(d, o["violations"], "violations", d.finding),
		Warnings:    list(d, o["warnings"], "warnings", d.finding),
		SatisfiedBy: list(d, o["satisfied_by"], "satisfied_by", d.satisfied),
		SLSA:        d.slsa(o["slsa"]),
	}
	if exceptions, ok := o["exceptions"]; ok {
		r.Exceptions = list(d, exceptions, "exceptions", d.exception)
	}
	if coverage, ok := o["coverage"]; ok {
		r.Coverage = list(d, coverage, "coverage", d.covered)
	}
	if until, ok := o["valid_until"]; ok {
		at := d.time(until, "valid_until")
		r.ValidUntil = &at
	}
	switch {
	case d.err != nil:
		return verdict.Result{}, d.err
	case d.left < 0:
		return verdict.Result{}, fmt.Errorf("is larger than %d bytes (limits.policy_result_bytes)", limit)
	case r.Allow && len(r.Violations) > 0:
		return verdict.Result{}, fmt.Errorf("allows beside %d violations", len(r.Violations))
	case r.Allow && len(r.SatisfiedBy) == 0:
		return verdict.Result{}, errors.New("allows without naming a requirement that is satisfied (satisfied_by)")
	}
	return r, nil
}

// checkSatisfied refuses facts that the input does not have: an allow must rest
// on evidence that can be shown.
func checkSatisfied(r verdict.Result, in *facts.Input) error {
	for _, s := range r.SatisfiedBy {
		for _, id := range s.Facts {
			known := slices.ContainsFunc(in.Signatures, func(x facts.InputSignature) bool { return x.ID == id }) ||
				slices.ContainsFunc(in.Attestations, func(x facts.InputAttestation) bool { return x.ID == id })
			if !known {
				return fmt.Errorf("satisfied_by: %q names the fact %q, which the input does not have", s.Requirement, id)
			}
		}
	}
	return nil
}

// decoder keeps the first mistake, and counts bytes down.
type decoder struct {
	left int64
	err  error
}

func (d *decoder) fail(where, format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...))
	}
}

// object checks that t is an object with all needed keys and no others than
// those and the optional ones.
func (d *decoder) object(t *ast.Term, where string, needed []string, optional ...string) map[string]*ast.Term {
	if t == nil {
		d.fail(where, "is missing")
		return nil
	}
	o, ok := t.Value.(ast.Object)
	if !ok {
		d.fail(where, "is %s, not an object", ast.ValueName(t.Value))
		return nil
	}
	fields := make(map[string]*ast.Term, o.Len())
	o.Foreach(func(k, v *ast.Term) {
		key, ok := k.Value.(ast.String)
		switch {
		case !ok:
			d.fail(where, "has a key that is no string")
		case !slices.Contains(needed, string(key)) && !slices.Contains(optional, string(key)):
			d.fail(where, "has the field %q, which nothing reads", string(key))
		default:
			fields[string(key)] = v
		}
	})
	for _, key := range needed {
		if fields[key] == nil {
			d.fail(where, "lacks %s", key)
		}
	}
	return fields
}

// list accepts an array, or a set, which is an array in JSON.
func list[T any](d *decoder, t *ast.Term, where string, item func(t *ast.Term, where string) T) []T {
	out := []T{}
	if t == nil {
		d.fail(where, "is missing")
		return out
	}
	each := func(el *ast.Term) { out = append(out, item(el, fmt.Sprintf("%s[%d]", where, len(out)))) }
	switch v := t.Value.(type) {
	case *ast.Array:
		v.Foreach(each)
	case ast.Set:
		for _, el := range v.Slice() {
			each(el)
		}
	default:
		d.fail(where, "is %s, not an array", ast.ValueName(t.Value))
	}
	return out
}

func (d *decoder) text(t *ast.Term, where string) string {
	if t == nil {
		d.fail(where, "is missing")
		return ""
	}
	s, ok := t.Value.(ast.String)
	if !ok {
		d.fail(where, "is %s, not a string", ast.ValueName(t.Value))
	}
	d.left -= int64(len(s)) + 2
	return string(s)
}

// words is a text that says something.
func (d *decoder) words(t *ast.Term, where string) string {
	s := d.text(t, where)
	if s == "" {
		d.fail(where, "is empty")
	}
	return s
}

func (d *decoder) boolean(t *ast.Term, where string) bool {
	if t == nil {
		d.fail(where, "is missing")
		return false
	}
	b, ok := t.Value.(ast.Boolean)
	if !ok {
		d.fail(where, "is %s, not a boolean", ast.ValueName(t.Value))
	}
	return ok && bool(b)
}

func (d *decoder) finding(t *ast.Term, where string) verdict.Reason {
	o := d.object(t, where, []string{"code", "message", "remediation", "rule"}, "fact")
	r := verdict.Reason{
		Code:        d.words(o["code"], where+".code"),
		Message:     d.words(o["message"], where+".message"),
		Remediation: d.text(o["remediation"], where+".remediation"),
		Rule:        d.text(o["rule"], where+".rule"),
	}
	if fact, ok := o["fact"]; ok {
		r.Fact = d.words(fact, where+".fact")
	}
	return r
}

func (d *decoder) satisfied(t *ast.Term, where string) verdict.Satisfied {
	o := d.object(t, where, []string{"requirement"}, "facts", "exception")
	s := verdict.Satisfied{Requirement: d.words(o["requirement"], where+".requirement")}
	ids, byFacts := o["facts"]
	exception, byException := o["exception"]
	switch {
	case byFacts == byException:
		d.fail(where, "has not exactly one of facts and exception")
	case byFacts:
		s.Facts = list(d, ids, where+".facts", d.words)
		if len(s.Facts) == 0 {
			d.fail(where+".facts", "is empty")
		}
	default:
		s.Exception = d.words(exception, where+".exception")
	}
	return s
}

func (d *decoder) covered(t *ast.Term, where string) verdict.Covered {
	o := d.object(t, where, []string{"digest", "requirement", "met"})
	return verdict.Covered{
		Digest: d.words(o["digest"], where+".digest"), Requirement: d.words(o["requirement"], where+".requirement"),
		Met: d.boolean(o["met"], where+".met"),
	}
}

func (d *decoder) time(t *ast.Term, where string) time.Time {
	at, err := time.Parse(time.RFC3339, d.text(t, where))
	if err != nil {
		d.fail(where, "is no RFC 3339 time")
	}
	return at
}

func (d *decoder) exception(t *ast.Term, where string) verdict.Exception {
	o := d.object(t, where, []string{"name", "codes", "owner", "reason", "expires_at"})
	e := verdict.Exception{
		Name: d.words(o["name"], where+".name"), Codes: list(d, o["codes"], where+".codes", d.words),
		Owner: d.words(o["owner"], where+".owner"), Reason: d.words(o["reason"], where+".reason"),
	}
	if len(e.Codes) == 0 {
		d.fail(where+".codes", "is empty")
	}
	if at, ok := o["expires_at"]; ok {
		e.ExpiresAt = d.time(at, where+".expires_at").UTC()
	}
	return e
}

func (d *decoder) slsa(t *ast.Term) verdict.SLSA {
	o := d.object(t, "slsa", []string{"level", "builder"}, "missing")
	var s verdict.SLSA
	if level := o["level"]; level != nil {
		n, ok := level.Value.(ast.Number)
		v, err := json.Number(n).Int64()
		if !ok || err != nil || v < 0 || v > 3 {
			d.fail("slsa.level", "is not 0, 1, 2 or 3")
		}
		s.Level = int(v)
	}
	if builder := o["builder"]; builder != nil {
		if _, null := builder.Value.(ast.Null); !null {
			b := d.words(builder, "slsa.builder")
			s.Builder = &b
		}
	}
	if missing, ok := o["missing"]; ok {
		s.Missing = map[string][]string{}
		for level, why := range d.object(missing, "slsa.missing", nil, "1", "2", "3") {
			s.Missing[level] = list(d, why, "slsa.missing."+level, d.words)
		}
	}
	return s
}
