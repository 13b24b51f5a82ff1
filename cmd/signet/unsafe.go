package main

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/config"
)

// unsafeConfiguration says what an operator has allowed that is unsafe, each as a
// sentence that says what would be right.
func unsafeConfiguration(f config.File) []string {
	return slices.Concat(unsafeListeners(f), unsafeRegistries(f), unsafeServices(f), unsafeRules(f))
}

// powerful says whether a role changes what is trusted.
func powerful(role string) bool { return auth.Role(role).Allows(auth.Policy) }

func unsafeListeners(f config.File) (out []string) {
	says := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if host, _, err := net.SplitHostPort(f.Listen); f.ListenInsecure && !f.TLS.On() && (err != nil || !config.IsLoopback(host)) {
		says("Tokens cross the network in clear text, unless a proxy in front speaks TLS (listen_insecure). Give tls.cert_file and tls.key_file.")
	}
	for i, l := range f.Listeners {
		at := fmt.Sprintf("listeners[%d]", i)
		switch {
		case l.Authentication == config.AuthNone:
			says("Whoever can run programs on this machine may ask at %s without a token, as %s (%s.authentication). Use a socket, mTLS or tokens.", l.Address, l.Principal.Name, at)
		case l.Authentication == config.AuthSocket && powerful(l.Principal.Role):
			says("Whoever can open the socket %s may change what is trusted, as %s (%s.principal.role). Make it a verifier, and administer with tokens.", l.Address, l.Principal.Name, at)
		case l.Authentication == config.AuthMTLS && powerful(l.Principal.Role) && len(l.ClientNames) == 0:
			says("Every certificate of %s may change what is trusted at %s, as %s. Name whose may: %s.client_names.", l.TLS.ClientCAFile, l.Address, l.Principal.Name, at)
		}
	}
	for _, prefix := range f.TrustedProxies {
		if strings.HasSuffix(prefix, "/0") {
			says("Everybody is believed to be a proxy (trusted_proxies: %s), so that callers can say where they come from. Name the proxies' own addresses.", prefix)
		}
	}
	if g := f.Page.Gateway; g != nil && powerful(g.Role) {
		says("Everybody who is logged in at the gateway %s may change what is trusted (page.gateway.role: %s). Make them viewer or verifier.", g.URL, g.Role)
	}
	return out
}

func unsafeRegistries(f config.File) (out []string) {
	says := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, host := range slices.Sorted(maps.Keys(f.Registries)) {
		switch r := f.Registries[host]; {
		case r.Insecure:
			says("The registry %s is asked over plain HTTP: whoever is on the way can withhold signatures and say what a tag is (registries.%s.insecure). Give it TLS, with registries.%s.ca_file where its certificate is your own.", host, host, host)
		case r.AllowPrivate:
			says("The registry %s may be at a private address, so that image names reach into this network (registries.%s.allow_private). Leave it out where its address is public.", host, host)
		}
		for i, m := range f.Registries[host].Mirrors {
			at := fmt.Sprintf("registries.%s.mirrors[%d]", host, i)
			if m.Tags {
				says("The mirror %s is believed about what a tag of %s is, and may say that it is an older image (%s.tags). Leave it out where %s itself can be asked.", m.Host, host, at, host)
			}
			if m.Evidence {
				says("The mirror %s is believed about which signatures there are of images of %s, and may withhold some (%s.evidence). Leave it out where %s itself can be asked.", m.Host, host, at, host)
			}
		}
	}
	return out
}

func unsafeServices(f config.File) (out []string) {
	says := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if cfg, err := storeConfig(f); err == nil && cfg.URL != "" {
		const right = "Write sslmode=verify-full into %s."
		field := "database.url"
		if f.Database.URLFile != "" {
			field = "what database.url_file holds"
		}
		switch mode, far := sslMode(cfg.URL); {
		case !far || mode == "verify-full" || mode == "verify-ca":
		case mode == "require":
			says("The database is not asked who it is: whoever is on the way can take its place (sslmode=require). "+right, field)
		default:
			says("The database is asked without TLS, or may be (sslmode=%s): who is trusted crosses the network, and whoever is on the way can change it. "+right, mode, field)
		}
	}
	if r := f.Cache.Redis; (r.URL != "" || len(r.Addresses) > 0) && !strings.HasPrefix(r.URL, "rediss://") && r.TLS == (config.RedisTLS{}) {
		hosts := slices.Clone(r.Addresses)
		if u, err := url.Parse(r.URL); err == nil && u.Host != "" {
			hosts = append(hosts, u.Host)
		}
		if far := slices.IndexFunc(hosts, func(host string) bool { return !near(host) }); far >= 0 {
			says("Redis at %s is asked without TLS: its password, and what is kept there, cross the network in clear text (cache.redis). Write rediss:// or tls.enabled: true.", hosts[far])
		}
	}
	for i, w := range f.Webhooks {
		at := fmt.Sprintf("webhooks[%d]", i)
		switch {
		case strings.HasPrefix(w.URL, "http://"):
			says("Events are sent to the webhook %s over plain HTTP: whoever is on the way can read and withhold them (%s.url). Write https.", w.Name, at)
		case w.AllowPrivate:
			says("The webhook %s may be at a private address, so that events reach into this network (%s.allow_private). Leave it out where its address is public.", w.Name, at)
		}
	}
	return out
}

func unsafeRules(f config.File) (out []string) {
	says := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if f.MCP.Unmapped == "allow" {
		says("Tool calls through a gateway of which nobody said what runs there are let through (mcp.unmapped: allow). Name the images behind the gateways, and write deny.")
	}
	if f.Active.Grace > 0 {
		says("While the store cannot be read, verdicts are given under what was known last, for up to %s: a signer that is disabled meanwhile still counts (active.grace). Write 0.", time.Duration(f.Active.Grace))
	}
	for i, r := range f.TrustRoots {
		if r.AllowOlder {
			says("The trust root %s of the configuration takes the place of a newer one, in which a log or an authority may be ended (trust_roots[%d].allow_older). Take it out once the older one is in place.", r.Name, i)
		}
		if q := r.Requires; q != nil && !q.Log && !q.Timestamp {
			says("Under the trust root %s nothing has to prove when something was signed: neither a log entry nor a timestamp is wanted (trust_roots[%d].requires). Want one of them.", r.Name, i)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Bundles)) {
		b := f.Bundles[name]
		if len(b.Keys) == 0 {
			says("The rules of the bundle %s are taken without a signature: whoever can write to %s decides what may run. Sign it, and name its keys: bundles.%s.keys.", name, b.Location(), name)
		}
		if u, err := url.Parse(b.URL); err == nil && u.Scheme == "http" && !config.IsLoopback(u.Hostname()) {
			says("The bundle %s is fetched over plain HTTP: whoever is on the way can withhold a newer one, and see its credentials (bundles.%s.allow_http). Write https.", name, name)
		}
	}
	return out
}

// sslMode is the mode of a database's URL, and whether any of its hosts is not this
// machine.
func sslMode(address string) (mode string, far bool) {
	u, err := url.Parse(address)
	if err != nil {
		return "", false // the store says what is wrong
	}
	q := u.Query()
	hosts := cmp.Or(q.Get("host"), u.Host, os.Getenv("PGHOST"))
	for host := range strings.SplitSeq(hosts, ",") {
		far = far || !near(host)
	}
	return cmp.Or(q.Get("sslmode"), os.Getenv("PGSSLMODE"), "prefer"), far
}

// near says whether host, with or without a port, is this machine: a loopback address,
// or a socket.
func near(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	return host == "" || strings.HasPrefix(host, "/") || config.IsLoopback(host)
}
