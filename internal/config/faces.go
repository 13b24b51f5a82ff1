package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Protocols are those that a listener may speak.
func Protocols() []string { return []string{"rest", "opa", "authzen", "mcp"} }

func checkProtocols(p *problems, at string, names []string) {
	if len(names) == 0 {
		p.bad(at, "is missing; write one or more of %s, for example [rest]", strings.Join(Protocols(), ", "))
	}
	for i, name := range names {
		switch {
		case slices.Contains(names[:i], name):
			p.bad(at, "%s is there twice", name)
		case slices.Contains(Protocols(), name):
		case name == "admission":
			p.bad(at, "%s comes with a later version; write some of %s", name, strings.Join(Protocols(), ", "))
		default:
			p.bad(at, "%q is not known; write some of %s", name, strings.Join(Protocols(), ", "))
		}
	}
}

// checkExternalURL wants an absolute address that paths can be put behind.
func checkExternalURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%q is not an absolute http or https URL; write it like https://signet.example.com", s)
	case u.User != nil:
		return errors.New("holds a user name or a password, which everybody would be shown")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(s, "#"):
		return fmt.Errorf("%q has a query or a fragment; paths are put behind it", s)
	case strings.HasSuffix(s, "/"):
		return fmt.Errorf("%q ends in a slash; write %s", s, strings.TrimRight(s, "/"))
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '<' || r == '>' || r == '\\' }):
		return fmt.Errorf("%q has a character that must be escaped in a URL", s)
	}
	return nil
}

// longestDeadline is the engine's own: later nobody is at work any more.
const longestDeadline = 30 * time.Second

func (d Deadlines) check(p *problems) {
	for _, f := range []struct {
		name string
		is   Duration
	}{{"rest", d.REST}, {"opa", d.OPA}, {"authzen", d.AuthZEN}, {"mcp", d.MCP}} {
		if f.is <= 0 || time.Duration(f.is) > longestDeadline {
			p.bad("deadlines."+f.name, "must be more than 0 and 30s at most, which is how long a verdict is worked on")
		}
	}
}

func (o OPA) check(p *problems) {
	for i, m := range o.Mounts {
		if strings.Trim(m, "/") != m || m == "" {
			p.bad(fmt.Sprintf("opa.mounts[%d]", i), "%q is not a path below data; write it like mcpgateway or team/images", m)
		}
		if slices.Contains(o.Mounts[:i], m) {
			p.bad(fmt.Sprintf("opa.mounts[%d]", i), "%s is there twice", m)
		}
	}
}
