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
	quoted := false
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			return target, v[:i], v[i+1:], true
		}
	}
	return target, v, "", true
}

// isNext reads parameters for rel=next; of several rel the first counts
// (RFC 8288, section 3.3), and one may name several relations.
func isNext(params string) bool {
	for _, p := range strings.Split(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
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
