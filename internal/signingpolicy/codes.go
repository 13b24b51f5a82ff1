package signingpolicy

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// CodesError says that exceptions waive codes that no rule of the policy's bundle
// has. Its message is that of an [ErrInvalid].
type CodesError struct {
	policy *Policy
	codes  []string
	err    error
}

func (e *CodesError) Error() string { return e.err.Error() }

// Since leaves out the exceptions that stood in the policy before, nil for none; nil
// where that leaves nothing. What is in force stays in order, whatever the rules are
// by now.
func (e *CodesError) Since(before *Policy) error { return e.policy.unknownCodes(e.codes, before) }

// CheckCodes holds the exceptions of a policy with a bundle of its own against the
// codes that the bundle's rules have. The error is a [*CodesError].
func (p *Policy) CheckCodes(codes []string) error {
	if err := p.unknownCodes(codes, nil); err != nil {
		return &CodesError{p, codes, err}
	}
	return nil
}

func (p *Policy) unknownCodes(codes []string, before *Policy) error {
	d := &reader{}
	for i, e := range p.Exceptions {
		if before != nil && slices.ContainsFunc(before.Exceptions, e.equal) {
			continue
		}
		for j, code := range e.Codes {
			if slices.Contains(codes, code) {
				continue
			}
			near := "it has none that can be waived"
			if len(codes) > 0 {
				near = fmt.Sprintf("the nearest is %q", nearest(code, codes))
			}
			d.fail(&yaml.Node{Line: e.line}, fmt.Sprintf("exceptions[%d].codes[%d]", i, j), "%q is the code of no rule of the bundle %s; %s (a code must be written out in a rule, or in its METADATA)", code, p.Bundle, near)
		}
	}
	return d.err()
}
