package registry

import "strings"

// nextLink finds the target of the first link with relation "next" among the
// values of Link headers (RFC 8288, section 3); "" for none.
func nextLink(values []string) string {
	for _, v := range values {
		for v != "" {
			target, params, rest, ok := cutLink(v)
			if !ok {
				break
			}
			if isNext(params) {
				return target
			}
			v = rest
		}
	}
	return ""
}

// cutLink reads `<target>; params` and gives what follows the comma after it.
func cutLink(v string) (target, params, rest string, ok bool) {
	v = strings.TrimLeft(v, " \t,")
	if !strings.HasPrefix(v, "<") {
		return "", "", "", false
	}
	end := strings.IndexByte(v, '>')
	if end < 0 {
		return "", "", "", false
	}
	target, v = v[1:end], v[end+1:]
	end = unquoted(v, ',')
	if end == len(v) {
		return target, v, "", true
	}
	return target, v[:end], v[end+1:], true
}

// unquoted is the index of the first c outside of quoted strings, else the length.
func unquoted(s string, c byte) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == c && !quoted:
			return i
		}
	}
	return len(s)
}

// isNext reads parameters for rel=next; of several rel the first counts
// (RFC 8288, section 3.3), and one may name several relations.
func isNext(params string) bool {
	for params != "" {
		end := unquoted(params, ';')
		name, value, _ := strings.Cut(strings.TrimSpace(params[:end]), "=")
		params = params[min(end+1, len(params)):]
		if !strings.EqualFold(strings.TrimSpace(name), "rel") {
			continue
		}
		for _, rel := range strings.Fields(strings.Trim(strings.TrimSpace(value), `"`)) {
			if strings.EqualFold(rel, "next") {
				return true
			}
		}
		return false
	}
	return false
}
