package registry

import "strings"

// The grammar of references, by hand: as regular expressions with their repeat
// counts these took 0.4 ms of every start of a command before it did anything.
// grammar_test.go keeps the expressions, and that both agree.

// isDigest accepts the one digest algorithm of images here, in its one spelling:
// sha256: and 64 lower-case hex digits.
func isDigest(s string) bool {
	hex, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(hex) == 64 && only(hex, isHexDigit)
}

// isCosignTag accepts the tags that hold evidence, and so are no images:
// sha256-<hex>, with a suffix such as .sig or without.
func isCosignTag(s string) bool {
	rest, ok := strings.CutPrefix(s, "sha256-")
	if !ok || len(rest) < 64 || !only(rest[:64], isHexDigit) {
		return false
	}
	suffix, dot := strings.CutPrefix(rest[64:], ".")
	return rest[64:] == "" || dot && suffix != "" && only(suffix, isLower)
}

// isTag accepts a tag (distribution-spec, "Pulling manifests"): up to 128 letters,
// digits, dots, hyphens and underscores, of which neither dot nor hyphen is first.
func isTag(s string) bool {
	return s != "" && len(s) <= 128 && s[0] != '.' && s[0] != '-' && only(s, func(c byte) bool {
		return isAlphanumeric(c) || isUpper(c) || c == '_' || c == '.' || c == '-'
	})
}

// isPath accepts the name of a repository (distribution-spec, "Pulling
// manifests"): components with slashes between them.
func isPath(s string) bool {
	for component := range strings.SplitSeq(s, "/") {
		if !isComponent(component) {
			return false
		}
	}
	return true
}

// isComponent accepts lower-case letters and digits, with separators between
// them, each a dot, one or two underscores, or any number of hyphens.
func isComponent(s string) bool {
	if s == "" || !isAlphanumeric(s[0]) || !isAlphanumeric(s[len(s)-1]) {
		return false
	}
	for i := 0; i < len(s); {
		if isAlphanumeric(s[i]) {
			i++
			continue
		}
		n := 1
		for s[i+n] == s[i] { // ends at the last character at the latest
			n++
		}
		if c := s[i]; c != '-' && (c != '.' || n > 1) && (c != '_' || n > 2) {
			return false
		}
		if i += n; !isAlphanumeric(s[i]) {
			return false
		}
	}
	return true
}

// isDomain accepts a registry's domain name (distribution reference,
// domain-name): labels of letters, digits and inner hyphens. There is no trailing
// dot, because "ghcr.io." is the same host by another name.
func isDomain(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' || !only(label, func(c byte) bool { return isAlphanumeric(c) || c == '-' }) {
			return false
		}
	}
	return true
}

// isNumber accepts decimal digits.
func isNumber(s string) bool { return s != "" && only(s, isDigit) }

// isErrorCode accepts the code of a registry's error, such as DENIED.
func isErrorCode(s string) bool {
	return len(s) >= 2 && len(s) <= 41 && isUpper(s[0]) && only(s, func(c byte) bool { return isUpper(c) || c == '_' })
}

func only(s string, is func(byte) bool) bool {
	for i := range len(s) {
		if !is(s[i]) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool        { return '0' <= c && c <= '9' }
func isLower(c byte) bool        { return 'a' <= c && c <= 'z' }
func isUpper(c byte) bool        { return 'A' <= c && c <= 'Z' }
func isHexDigit(c byte) bool     { return isDigit(c) || 'a' <= c && c <= 'f' }
func isAlphanumeric(c byte) bool { return isDigit(c) || isLower(c) }
