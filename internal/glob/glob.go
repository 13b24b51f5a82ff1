// Package glob matches image names against the patterns of policies and
// signers.
//
// A name is "host[:port]/path", without tag or digest, as
// facts.Subject.Name gives it. In a pattern "*" stands for any run of
// characters within one segment, and "**", alone between slashes, for any
// number of segments: "ghcr.io/org/*" is every repository directly under org,
// "ghcr.io/org/**" also those further down. Use [NewScope] for the list of
// patterns that a policy or signer has, [Compile] for a single one, [Index] to
// find a name's patterns among thousands, and [Within] to ask whether one list
// speaks of nothing that another does not.
//
// Different spellings of one registry must not slip past a pattern, so host
// names are compared in lower case, without a final dot, without port 443 and
// under one name for Docker Hub, on both sides.
package glob

import (
	"fmt"
	"slices"
	"strings"
)

const (
	hub      = "docker.io"
	maxBytes = 512
	deep     = "**"
)

// Glob is one compiled pattern. The zero value matches nothing.
type Glob struct {
	segments []string
}

// Compile checks and compiles a pattern. It refuses what could never match a
// name, because such a pattern silently leaves images out of a policy.
func Compile(pattern string) (Glob, error) {
	if err := check(pattern); err != nil {
		return Glob{}, fmt.Errorf("image pattern %q: %w", pattern, err)
	}
	segments := strings.Split(pattern, "/")
	segments[0] = normalHost(segments[0])
	return Glob{segments: segments}, nil
}

// String is the pattern with its host normalised.
func (g Glob) String() string { return strings.Join(g.segments, "/") }

// Match says whether name, "host[:port]/path", matches. A subject without a
// name ("") matches no pattern.
func (g Glob) Match(name string) bool {
	normal := normalName(name)
	return normal != "" && g.match(strings.Split(normal, "/"))
}

func (g Glob) match(name []string) bool {
	return len(g.segments) > 0 && matchSegments(g.segments, name)
}

// normalName is name with its host normalised, and with Docker Hub's library
// written out; "" for what is no name.
func normalName(name string) string {
	host, path, ok := strings.Cut(name, "/")
	if !ok || host == "" || path == "" {
		return ""
	}
	host = normalHost(host)
	if host == hub && !strings.Contains(path, "/") {
		path = "library/" + path
	}
	return host + "/" + path
}

// Scope is a list of patterns. The zero value has none and covers every
// subject, with and without a name.
type Scope struct {
	globs []Glob
}

// NewScope compiles patterns; no patterns at all cover everything.
func NewScope(patterns []string) (Scope, error) {
	var s Scope
	for _, p := range patterns {
		g, err := Compile(p)
		if err != nil {
			return Scope{}, err
		}
		s.globs = append(s.globs, g)
	}
	return s, nil
}

// Covers says whether any pattern matches name. A subject without a name is
// covered only where there are no patterns.
func (s Scope) Covers(name string) bool {
	if len(s.globs) == 0 {
		return true
	}
	for _, g := range s.globs {
		if g.Match(name) {
			return true
		}
	}
	return false
}

// All says that there are no patterns.
func (s Scope) All() bool { return len(s.globs) == 0 }

// Globs returns the compiled patterns in their order.
func (s Scope) Globs() []Glob { return slices.Clone(s.globs) }

// Patterns returns the normalised patterns in their order.
func (s Scope) Patterns() []string {
	out := make([]string, 0, len(s.globs))
	for _, g := range s.globs {
		out = append(out, g.String())
	}
	return out
}

// matchSegments goes back only to the last "**": what an earlier one could
// take, the last can take as well.
func matchSegments(pattern, name []string) bool {
	p, n := 0, 0
	lastDeep, resume := -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == deep:
			lastDeep, resume = p, n
			if p == len(pattern)-1 {
				return true // at the end it wants one segment at least, and there is one
			}
			p++
		case p < len(pattern) && matchSegment(pattern[p], name[n]):
			p++
			n++
		case lastDeep >= 0:
			resume++
			p, n = lastDeep+1, resume
		default:
			return false
		}
	}
	return p == len(pattern)
}

func matchSegment(pattern, s string) bool {
	p, i := 0, 0
	lastStar, resume := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			lastStar, resume = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case lastStar >= 0:
			resume++
			p, i = lastStar+1, resume
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// normalHost gives the spellings of one registry one form.
func normalHost(host string) string {
	host = strings.ToLower(host)
	name, port := splitPort(host)
	name = strings.TrimSuffix(name, ".")
	switch name {
	case "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		name = hub
	}
	port = strings.TrimLeft(port, "0")
	if port == "" || port == "443" {
		return name
	}
	return name + ":" + port
}

// splitPort cuts at the colon that introduces a port, which an IPv6 address in
// brackets has after the bracket.
func splitPort(host string) (name, port string) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.HasSuffix(host, "]") {
		return host, ""
	}
	return host[:i], host[i+1:]
}
