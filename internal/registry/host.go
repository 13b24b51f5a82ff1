package registry

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// normaliseHost gives the one spelling of a host[:port]: lower case, IP
// addresses in canonical form, Docker Hub as "docker.io", and without ":443",
// which is what no port means. Every other spelling of a host is an error, so
// that none slips past a glob.
func normaliseHost(s string) (string, error) {
	host, port, err := splitHostPort(s)
	if err != nil {
		return "", err
	}
	host = strings.ToLower(host)
	if strings.HasPrefix(s, "[") {
		a, err := netip.ParseAddr(host)
		if err != nil || a.Zone() != "" || !a.Is6() {
			return "", errors.New("between brackets there must be an IPv6 address without zone")
		}
		if a = a.Unmap(); a.Is4() {
			host = a.String()
		} else {
			host = "[" + a.String() + "]"
		}
	} else if err := checkName(host); err != nil {
		return "", err
	}
	if port == "443" {
		port = ""
	}
	if port == "" && (host == "index.docker.io" || host == dockerHubAPI || host == "registry.hub.docker.com") {
		host = dockerHub
	}
	if port != "" {
		return host + ":" + port, nil
	}
	return host, nil
}

// checkName accepts domain names and dotted IPv4 addresses.
func checkName(host string) error {
	if len(host) == 0 || len(host) > 253 || !isDomain(host) {
		return errors.New("not a host name: want letters, digits, hyphens and dots")
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	if isNumber(last) || strings.HasPrefix(last, "0x") {
		// "127.1" and "0x7f.1" are addresses to some resolvers.
		if a, err := netip.ParseAddr(host); err != nil || !a.Is4() {
			return errors.New("not an IPv4 address: want four decimal numbers")
		}
	}
	return nil
}

// splitHostPort splits host[:port]; brackets of an IPv6 address are removed.
func splitHostPort(s string) (host, port string, err error) {
	host = s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != port {
			return "", "", fmt.Errorf("port %q is not a number from 1 to 65535", port)
		}
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		return host[1 : len(host)-1], port, nil
	}
	return host, port, nil
}

func portOf(s string) string {
	_, port, err := splitHostPort(s)
	if err != nil {
		return ""
	}
	return port
}

// withPort gives host:port for dialling, with the scheme's port where host has
// none. IPv6 addresses are in brackets.
func withPort(hostport, scheme string) string {
	host, port, err := splitHostPort(hostport)
	if err != nil {
		return hostport
	}
	if port == "" {
		port = "443"
		if scheme == "http" {
			port = "80"
		}
	}
	return net.JoinHostPort(strings.ToLower(host), port)
}

// addressOf gives the host:port of a URL, port always given.
func addressOf(u *url.URL) string { return withPort(u.Host, u.Scheme) }

// isLocalName says whether host is a name for this machine (RFC 6761).
func isLocalName(host string) bool {
	host = strings.ToLower(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// isLoopback says whether host:port is this machine, by its spelling alone.
func isLoopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback() || isLocalName(host)
}
