package registry

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// addressError says that a host resolved to an address that is not public.
type addressError struct {
	addr netip.Addr
	why  string
}

func (e *addressError) Error() string {
	return fmt.Sprintf("address %s is refused: %s", e.addr, e.why)
}

// checkDial is a [net.Dialer] Control function: it sees the address that is about
// to be connected to, after name resolution, so that a name which resolves to
// another address the second time gains nothing (threat 44).
func checkDial(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("checking address %q: %w", address, err)
	}
	return checkAddr(ap.Addr())
}

// special are the address blocks that no public registry lives in, from the IANA
// special-purpose address registries (RFC 6890), and what clouds keep for
// themselves outside of those.
var special = []struct {
	prefix netip.Prefix
	why    string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "this network (RFC 791)"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private (RFC 1918)"},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared by carriers (RFC 6598)"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("168.63.129.16/32"), "platform service of a cloud"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local, where clouds keep their metadata (RFC 3927)"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private (RFC 1918)"},
	{netip.MustParsePrefix("192.0.0.0/24"), "protocol assignments (RFC 6890)"},
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation (RFC 5737)"},
	{netip.MustParsePrefix("192.88.99.0/24"), "6to4 relay (RFC 7526)"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private (RFC 1918)"},
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarking (RFC 2544)"},
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation (RFC 5737)"},
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation (RFC 5737)"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},

	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("fc00::/7"), "private (RFC 4193)"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
	{netip.MustParsePrefix("2001::/23"), "protocol assignments, Teredo among them (RFC 2928)"},
	{netip.MustParsePrefix("2001:db8::/32"), "documentation (RFC 3849)"},
	{netip.MustParsePrefix("3fff::/20"), "documentation (RFC 9637)"},
}

var (
	globalUnicast = netip.MustParsePrefix("2000::/3")
	nat64         = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052, the well-known prefix
	sixToFour     = netip.MustParsePrefix("2002::/16")    // RFC 3056
)

// checkAddr returns an [*addressError] unless a is a public unicast address.
// IPv6 forms that carry an IPv4 address (mapped, NAT64, 6to4) are judged by that
// address.
func checkAddr(a netip.Addr) error {
	asked := a
	a = a.Unmap().WithZone("")
	if a.Is6() {
		b := a.As16()
		switch {
		case nat64.Contains(a):
			a = netip.AddrFrom4([4]byte(b[12:16]))
		case sixToFour.Contains(a):
			a = netip.AddrFrom4([4]byte(b[2:6]))
		}
	}
	for _, s := range special {
		if s.prefix.Contains(a) {
			return &addressError{asked, s.why}
		}
	}
	if !a.IsValid() || a.Is6() && !globalUnicast.Contains(a) {
		return &addressError{asked, "not a public address"}
	}
	return nil
}

// refusedAddress finds the address that was refused behind a request's error.
func refusedAddress(err error) (*addressError, bool) {
	var a *addressError
	ok := errors.As(err, &a)
	return a, ok
}

// literalRefused checks hosts that need no name resolution: what is left to check
// when a proxy does the resolving.
func literalRefused(host string) error {
	if a, err := netip.ParseAddr(host); err == nil {
		return checkAddr(a)
	}
	if isLocalName(host) {
		return &addressError{netip.AddrFrom4([4]byte{127, 0, 0, 1}), "loopback"}
	}
	return nil
}

// newDialer gives the dialer of a transport; a checked one refuses addresses
// that are not public.
func newDialer(cfg Config, checked bool) *net.Dialer {
	d := &net.Dialer{Resolver: cfg.Resolver}
	if checked {
		d.Control = checkDial
	}
	return d
}
