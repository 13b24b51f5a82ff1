package policy

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/signet-policy/signet/rego"
)

// Codes are those of the violations that the policy can have and an exception can
// waive, in order. Of a bundle they are the codes in the METADATA of its violations
// (custom.code) and those that its rules write out; a code that a rule puts together
// from parts is not among them.
func (s *Set) Codes() []string {
	if s.compiler == nil {
		return rego.ViolationCodes()
	}
	var codes []string
	for _, m := range s.compiler.Modules {
		for _, r := range m.Rules {
			for _, a := range r.Annotations {
				name := r.Head.Ref()[0].Value.String()
				if code, ok := a.Custom["code"].(string); ok && (name == "violation" || name == "objection") {
					codes = append(codes, code)
				}
			}
		}
		ast.WalkTerms(m, func(t *ast.Term) bool {
			if o, ok := t.Value.(ast.Object); ok {
				if code := o.Get(ast.StringTerm("code")); code != nil {
					if text, ok := code.Value.(ast.String); ok {
						codes = append(codes, string(text))
					}
				}
			}
			return false
		})
	}
	slices.Sort(codes)
	return slices.DeleteFunc(slices.Compact(codes), func(code string) bool {
		// The last three are of rules that pass on what others say.
		return slices.Contains(append(rego.NeverWaived(), "signature_required", "attestation_required", "rule_objects"), code)
	})
}
