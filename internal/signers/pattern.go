package signers

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"unicode"
)

// pattern is a subject_regex, anchored at both ends.
type pattern struct {
	re *regexp.Regexp
	// prefix begins every subject that can match; "" when there is none.
	prefix string
}

// compilePattern compiles text alone first, so that "a)|(b" is an error and not
// a way out of the anchors, and then as \A(?:text)\z.
//
// A dot between two letters, digits, dashes or underscores means a dot: people
// write github.com, and any character there would let githubXcom and
// my-company.com in where my.company.com is meant. Write [^/] for any character.
func compilePattern(text string) (*pattern, error) {
	if len(text) > MaxPatternBytes {
		return nil, fmt.Errorf("is longer than %d bytes", MaxPatternBytes)
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		var bad *syntax.Error
		if errors.As(err, &bad) {
			return nil, fmt.Errorf("is not a regular expression (RE2): %s in %q", bad.Code, bad.Expr)
		}
		return nil, fmt.Errorf("is not a regular expression (RE2): %w", err)
	}
	literalDots(tree)
	// A leading anchor says what is so anyway, and would hide the literal prefix.
	if tree.Op == syntax.OpConcat && tree.Sub[0].Op == syntax.OpBeginText {
		tree.Sub = tree.Sub[1:]
	}
	alone, err := regexp.Compile(tree.String())
	if err != nil {
		return nil, fmt.Errorf("is not a regular expression (RE2): %w", err)
	}
	re, err := regexp.Compile(`\A(?:` + alone.String() + `)\z`)
	if err != nil {
		return nil, fmt.Errorf("cannot be anchored: %w", err)
	}
	prefix, _ := alone.LiteralPrefix()
	return &pattern{re: re, prefix: prefix}, nil
}

// literalDots turns each single "." between two word characters into a literal
// dot. It only ever makes a pattern match less.
func literalDots(re *syntax.Regexp) {
	for i, sub := range re.Sub {
		literalDots(sub)
		if re.Op != syntax.OpConcat || i == 0 || i+1 == len(re.Sub) || !isDot(sub) {
			continue
		}
		if wordAt(re.Sub[i-1], true) && wordAt(re.Sub[i+1], false) {
			*sub = syntax.Regexp{Op: syntax.OpLiteral, Rune: []rune{'.'}}
		}
	}
}

func isDot(re *syntax.Regexp) bool {
	return re.Op == syntax.OpAnyCharNotNL || re.Op == syntax.OpAnyChar
}

// wordAt says whether re is a literal that ends (or begins) with a character
// that host names are made of.
func wordAt(re *syntax.Regexp, end bool) bool {
	if re.Op != syntax.OpLiteral || len(re.Rune) == 0 {
		return false
	}
	r := re.Rune[0]
	if end {
		r = re.Rune[len(re.Rune)-1]
	}
	return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_'
}

func (p *pattern) match(s string) bool { return p.re.MatchString(s) }
