package config

import (
	"fmt"
	"strconv"
	"strings"
)

// MCP is about MCP gateways that ask as an external plugin.
type MCP struct {
	// Plugins is the path of the gateway's plugin file; serve --plugins takes its place.
	// Absent: one plugin named ImageSigningPlugin, for which the policies in force decide.
	Plugins string `yaml:"plugins"`
	// Unmapped is what a tool of a gateway without an image gets: allow or deny.
	// tool_pre_invoke is served only where it is written, here or in the plugin file,
	// and the data API answers for tools only where it is written here.
	Unmapped string `yaml:"unmapped"`
	// Gateways are the images that stand behind the gateway's own gateways. They are
	// put into the store at start; further ones come by the API.
	Gateways []Gateway `yaml:"gateways"`
}

// Gateway is the image behind one gateway of an MCP gateway. One of gateway_id, url
// and tag is given.
type Gateway struct {
	// Name is what it is called here.
	Name string `yaml:"name"`
	// GatewayID is the gateway's id, which nobody chooses.
	GatewayID string `yaml:"gateway_id"`
	// URL is the gateway's address, as whoever registered it wrote it.
	URL string `yaml:"url"`
	// Tag is one of its tags, as whoever registered it wrote it.
	Tag string `yaml:"tag"`
	// Image is what runs there: name@sha256:….
	Image string `yaml:"image"`
	// Note is for people.
	Note string `yaml:"note"`
}

func (f *File) checkMCP(p *problems) {
	if u := f.MCP.Unmapped; u != "" && u != "allow" && u != "deny" {
		p.bad("mcp.unmapped", "%q is neither allow nor deny", u)
	}
	names := map[string]bool{}
	for i, g := range f.MCP.Gateways {
		at := fmt.Sprintf("mcp.gateways[%d]", i)
		if g.Name == "" || names[g.Name] {
			p.bad(at+".name", "%q is missing, or there twice", g.Name)
		}
		names[g.Name] = true
	}
}

// PluginsServer is the listener that the variables PLUGINS_SERVER_* of the gateway's
// own plugin servers ask for; false where none of them is set.
func PluginsServer(env func(string) string) (Listener, bool, error) {
	const prefix = "PLUGINS_SERVER_"
	get := func(name string) string { return env(prefix + name) }
	set := false
	for _, name := range []string{"HOST", "PORT", "UDS", "SSL_ENABLED", "SSL_KEYFILE", "SSL_CERTFILE", "SSL_CA_CERTS", "SSL_CERT_REQS", "SSL_KEYFILE_PASSWORD"} {
		set = set || get(name) != ""
	}
	if t := env("PLUGINS_TRANSPORT"); t != "" && t != "http" {
		return Listener{}, false, fmt.Errorf("PLUGINS_TRANSPORT is %q; a server speaks http, and signet plugin --stdio speaks stdio", t)
	}
	if !set {
		return Listener{}, false, nil
	}
	l := Listener{Protocols: []string{"mcp"}, Principal: &Principal{Name: "mcp-gateway", Role: "verifier"}}
	if uds := get("UDS"); uds != "" {
		if !strings.HasPrefix(uds, "/") {
			return l, false, fmt.Errorf("%sUDS: %q is not an absolute path", prefix, uds)
		}
		l.Address, l.Authentication = "unix:"+uds, AuthSocket
		return l, true, nil
	}
	host, port := firstOf(get("HOST"), "127.0.0.1"), firstOf(get("PORT"), "8000")
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return l, false, fmt.Errorf("%sPORT: %q is not a port", prefix, port)
	}
	l.Address, l.Authentication = joinHostPort(host, port), AuthNone
	tls, err := truth(get("SSL_ENABLED"))
	if err != nil {
		return l, false, fmt.Errorf("%sSSL_ENABLED: %w", prefix, err)
	}
	if !tls {
		if !IsLoopback(host) {
			return l, false, fmt.Errorf("%sHOST: %s is not a loopback address, and without TLS nothing says who asks there; set %sSSL_ENABLED=true with %sSSL_CERT_REQS=2", prefix, host, prefix, prefix)
		}
		return l, true, nil
	}
	if get("SSL_KEYFILE_PASSWORD") != "" {
		return l, false, fmt.Errorf("%sSSL_KEYFILE_PASSWORD: keys with a password are not read; give a key file without one, that only this user can read", prefix)
	}
	l.TLS = TLS{CertFile: get("SSL_CERTFILE"), KeyFile: get("SSL_KEYFILE")}
	if l.TLS.CertFile == "" || l.TLS.KeyFile == "" {
		return l, false, fmt.Errorf("%sSSL_ENABLED: needs %sSSL_CERTFILE and %sSSL_KEYFILE", prefix, prefix, prefix)
	}
	switch reqs := firstOf(get("SSL_CERT_REQS"), "0"); {
	case reqs == "2":
		if l.TLS.ClientCAFile = get("SSL_CA_CERTS"); l.TLS.ClientCAFile == "" {
			return l, false, fmt.Errorf("%sSSL_CERT_REQS: 2 needs %sSSL_CA_CERTS", prefix, prefix)
		}
		l.Authentication = AuthMTLS
	case reqs != "0" && reqs != "1":
		return l, false, fmt.Errorf("%sSSL_CERT_REQS: %q is none of 0, 1, 2", prefix, reqs)
	case !IsLoopback(host):
		return l, false, fmt.Errorf("%sSSL_CERT_REQS: %s lets callers come to %s without a certificate, and nothing else says who asks there; write 2", prefix, reqs, host)
	}
	return l, true, nil
}

func joinHostPort(host, port string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]:" + port
	}
	return host + ":" + port
}

func truth(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "", "false", "0", "no":
		return false, nil
	case "true", "1", "yes":
		return true, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", s)
}
