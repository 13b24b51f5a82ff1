package registry

import "strings"

// Bounds on what is read of WWW-Authenticate headers.
const (
	maxChallenges      = 16
	maxChallengeParams = 32
	maxChallengeBytes  = 16 << 10
)

// challenge is one way in which a registry wants to be asked (RFC 9110,
// section 11.6.1). The scheme and the names of parameters are in lower case.
type challenge struct {
	scheme string
	params map[string]string
}

// parseChallenges reads WWW-Authenticate values. What cannot be read ends the
// value that it is in; what came before it counts.
func parseChallenges(values []string) []challenge {
	var out []challenge
	for _, v := range values {
		if len(v) > maxChallengeBytes {
			continue
		}
		s := &headerScanner{s: v}
		for s.separators(); len(out) < maxChallenges; s.separators() {
			c, ok := s.challenge()
			if !ok {
				break
			}
			out = append(out, c)
		}
	}
	return out
}

// headerScanner reads tokens of a header value.
type headerScanner struct {
	s string
	i int
}

func (h *headerScanner) challenge() (challenge, bool) {
	scheme := h.token()
	if scheme == "" {
		return challenge{}, false
	}
	c := challenge{scheme: strings.ToLower(scheme), params: map[string]string{}}
	for first := true; len(c.params) < maxChallengeParams; first = false {
		start := h.i
		comma := h.separators()
		name := strings.ToLower(h.token())
		h.space()
		if name != "" && h.peek() == '=' {
			h.i++
			h.space()
			value, ok := h.value()
			if !ok {
				return c, true
			}
			if _, dup := c.params[name]; !dup {
				c.params[name] = value
			}
			continue
		}
		if first && !comma && h.i > start {
			h.skipToken68() // as in "Negotiate abc/d+"
			continue
		}
		h.i = start // the next challenge, or the end
		break
	}
	return c, true
}

func (h *headerScanner) peek() byte {
	if h.i < len(h.s) {
		return h.s[h.i]
	}
	return 0
}

func (h *headerScanner) space() {
	for h.peek() == ' ' || h.peek() == '\t' {
		h.i++
	}
}

// separators skips white space and commas, and says whether it met a comma.
func (h *headerScanner) separators() (comma bool) {
	for ; h.peek() == ' ' || h.peek() == '\t' || h.peek() == ','; h.i++ {
		comma = comma || h.peek() == ','
	}
	return comma
}

func (h *headerScanner) token() string {
	start := h.i
	for h.i < len(h.s) && isTokenChar(h.s[h.i]) {
		h.i++
	}
	return h.s[start:h.i]
}

// skipToken68 goes to the next comma or white space.
func (h *headerScanner) skipToken68() {
	for h.i < len(h.s) && h.peek() != ',' && h.peek() != ' ' && h.peek() != '\t' {
		h.i++
	}
}

// value reads a token, or a quoted string with its escapes.
func (h *headerScanner) value() (string, bool) {
	if h.peek() != '"' {
		start := h.i
		for h.i < len(h.s) && h.s[h.i] > ' ' && h.s[h.i] != ',' && h.s[h.i] != '"' && h.s[h.i] < 0x7f {
			h.i++
		}
		return h.s[start:h.i], true
	}
	var b strings.Builder
	for h.i++; h.i < len(h.s); h.i++ {
		switch c := h.s[h.i]; c {
		case '"':
			h.i++
			return b.String(), true
		case '\\':
			if h.i++; h.i == len(h.s) {
				return "", false
			}
			b.WriteByte(h.s[h.i])
		default:
			b.WriteByte(c)
		}
	}
	return "", false // no closing quote
}

// isTokenChar is tchar of RFC 9110, section 5.6.2.
func isTokenChar(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
