package registry

import (
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
)

// Threat 44: which addresses are public.
func TestCheckAddr(t *testing.T) {
	for _, a := range []string{
		"127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"169.254.169.254", "169.254.0.1", "100.64.0.1", "100.100.100.200", "100.127.255.255", "192.0.0.192", "192.0.2.1", "198.18.0.1",
		"198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16", "192.88.99.1",
		"::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "2001:db8::1", "2001::1", "3fff::1", "100::1", "5f00::1", "4000::1",
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::10.0.0.1",
		"64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8", "2002:7f00:1::1", "2002:a00:1::1",
	} {
		if err := checkAddr(netip.MustParseAddr(a)); err == nil {
			t.Errorf("%s is allowed", a)
		}
	}
	if err := checkAddr(netip.Addr{}); err == nil {
		t.Error("the zero address is allowed")
	}
	for _, a := range []string{
		"8.8.8.8", "140.82.121.33", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "192.167.0.1", "11.0.0.1", "169.253.0.1", "168.63.129.17",
		"2606:4700::1111", "2a00:1450::1", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8", "2002:808:808::1",
	} {
		if err := checkAddr(netip.MustParseAddr(a)); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	if err := checkDial("tcp", "nonsense", nil); err == nil {
		t.Error("an address that cannot be read is allowed")
	}
}

// Threat 44: names and literals of inward addresses are refused when dialling;
// nothing connects.
func TestInwardRegistriesAreRefused(t *testing.T) {
	var hits atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer srv.Close()
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	c := client(t)
	for _, host := range []string{"127.0.0.1:" + port, "localhost:" + port, "[::1]:" + port, "[::ffff:127.0.0.1]:" + port, "10.255.255.1", "169.254.169.254", "192.168.0.1:5000", "[fd00:ec2::254]", "0.0.0.0:" + port} {
		t.Run(host, func(t *testing.T) {
			_, err := c.Resolve(t.Context(), evidence.Query{Image: host + "/x"})
			wantProblem(t, err, evidence.CodeAddressRefused)
		})
	}
	if hits.Load() > 0 {
		t.Errorf("%d requests reached the server", hits.Load())
	}
}

// Allowing one registry opens exactly its host:port, in configuration and for a
// caller who owns the machine.
func TestAllowedExactly(t *testing.T) {
	a, _ := served(t, registrytest.Options{})
	b, _ := served(t, registrytest.Options{})
	c := insecure(t, a)
	if _, err := c.Resolve(t.Context(), v1(a)); err != nil {
		t.Fatal(err)
	}
	_, err := c.Resolve(t.Context(), v1(b))
	wantProblem(t, err, evidence.CodeAddressRefused)
	// The same address by another name is another registry.
	_, port, _ := net.SplitHostPort(a.Host())
	_, err = c.Resolve(t.Context(), evidence.Query{Image: "localhost:" + port + "/app:v1"})
	wantProblem(t, err, evidence.CodeAddressRefused)

	owner := insecure(t, a, func(c *Config) { c.AllowPrivateAddresses = true })
	_, err = owner.Resolve(t.Context(), v1(b)) // reached, and spoken to in TLS
	if p := problemOf(t, err, evidence.CodeUnavailable); !strings.Contains(p.Message, "plain HTTP") {
		t.Errorf("message: %s", p.Message)
	}
}

// dnsStub answers A queries with the given addresses in turn; the last stays.
func dnsStub(t *testing.T, answers ...string) (*net.Resolver, *atomic.Int32) {
	t.Helper()
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	var asked atomic.Int32
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			if reply := dnsReply(buf[:n], &asked, answers); reply != nil {
				if _, err := pc.WriteTo(reply, from); err != nil {
					return
				}
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", pc.LocalAddr().String())
	}}, &asked
}

// dnsReply answers the question of a query (RFC 1035, section 4).
func dnsReply(query []byte, asked *atomic.Int32, answers []string) []byte {
	end := 12
	for end < len(query) && query[end] != 0 {
		end += int(query[end]) + 1
	}
	end += 5 // the root label, type and class
	if end > len(query) {
		return nil
	}
	reply := append([]byte(nil), query[:end]...)
	reply[2], reply[3] = 0x84, 0x00             // answer, authoritative, no error
	binary.BigEndian.PutUint16(reply[6:], 0)    // answers
	binary.BigEndian.PutUint32(reply[8:], 0)    // authority, additional
	if query[end-4] != 0 || query[end-3] != 1 { // not type A
		return reply
	}
	i := min(int(asked.Add(1)), len(answers)) - 1
	binary.BigEndian.PutUint16(reply[6:], 1)
	reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
	return append(reply, netip.MustParseAddr(answers[i]).AsSlice()...)
}

// Threat 44: a public name that resolves inward, and one that does so from the
// second time on, are refused: there is no look-up apart from the one dialled.
func TestRebinding(t *testing.T) {
	var hits atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer srv.Close()
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	resolver, _ := dnsStub(t, "127.0.0.1")
	c := client(t, func(c *Config) { c.Resolver = resolver })
	_, err := c.Resolve(t.Context(), evidence.Query{Image: "inward.example.com:" + port + "/x"})
	wantProblem(t, err, evidence.CodeAddressRefused)

	// 198.51.100.1 cannot be reached and is refused; 127.0.0.1 follows.
	resolver, asked := dnsStub(t, "198.51.100.1", "127.0.0.1")
	c = client(t, func(c *Config) { c.Resolver = resolver })
	for range 3 {
		_, err = c.Resolve(t.Context(), evidence.Query{Image: "rebinding.example.com:" + port + "/x"})
		wantProblem(t, err, evidence.CodeAddressRefused)
	}
	if asked.Load() < 3 {
		t.Errorf("%d look-ups: each connection is checked by its own", asked.Load())
	}
	if hits.Load() > 0 {
		t.Errorf("%d requests reached the server", hits.Load())
	}
}

// With a proxy, which resolves names itself, inward literals are refused before
// the proxy is asked; other hosts go through it.
func TestProxy(t *testing.T) {
	s, img := served(t, registrytest.Options{})
	var seen atomic.Value
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.URL.String())
		r2 := r.Clone(r.Context())
		r2.URL.Host = s.Host()
		s.ServeHTTP(w, r2)
	}))
	defer proxy.Close()
	c := client(t, func(c *Config) {
		c.ProxyURL = proxy.URL
		c.Registries = []Settings{{Host: "registry.example.com:5000", Insecure: true}, {Host: s.Host(), Insecure: true}}
	})
	sub, err := c.Resolve(t.Context(), evidence.Query{Image: "registry.example.com:5000/app:v1"})
	if err != nil || sub.Digest != img.Digest() {
		t.Fatalf("%+v, %v", sub, err)
	}
	if got, _ := seen.Load().(string); got != "http://registry.example.com:5000/v2/app/manifests/v1" {
		t.Errorf("the proxy was asked for %q", got)
	}
	seen.Store("")
	if _, err := c.Resolve(t.Context(), v1(s)); err != nil {
		t.Fatalf("a loopback registry: %v", err)
	}
	_, proxyPort, _ := net.SplitHostPort(proxy.Listener.Addr().String())
	for _, host := range []string{"10.0.0.1", "169.254.169.254", "[fd00::1]", "localhost", "127.0.0.1:" + proxyPort} {
		_, err := c.Resolve(t.Context(), evidence.Query{Image: host + "/x"})
		wantProblem(t, err, evidence.CodeAddressRefused)
	}
	if got, _ := seen.Load().(string); got != "" {
		t.Errorf("the proxy was asked for %q", got)
	}
}

// The proxies of the environment are not used.
func TestEnvironmentProxyIgnored(t *testing.T) {
	var hits atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer proxy.Close()
	for _, k := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"} {
		t.Setenv(k, proxy.URL)
	}
	resolver, _ := dnsStub(t, "127.0.0.1")
	c := client(t, func(c *Config) {
		c.Resolver = resolver
		c.Registries = []Settings{{Host: "registry.example.com", Insecure: true}}
	})
	ctx := short(t, 2e9)
	_, _ = c.Resolve(ctx, evidence.Query{Image: "registry.example.com/x"}) // nobody listens on port 80 here, or something else does
	if hits.Load() > 0 {
		t.Error("the environment's proxy was used")
	}
}
