package config

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Network says whether the bundle is not on this machine.
func (b Bundle) Network() bool { return b.URL != "" }

// Location says where the bundle comes from, for people.
func (b Bundle) Location() string {
	switch {
	case b.Dir != "":
		return "dir " + b.Dir
	case b.File != "":
		return "file " + b.File
	}
	return b.URL
}

func (f *File) checkBundles(p *problems) {
	for _, name := range slices.Sorted(maps.Keys(f.Bundles)) {
		at := "bundles." + name
		if name == "" || len(name) > 63 || name[0] == '-' || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			p.bad(at, "is not a name; use at most 63 lower-case letters, digits and dashes")
		}
		f.Bundles[name].check(p, at)
	}
}

func (b Bundle) check(p *problems, at string) {
	given := 0
	for _, is := range []string{b.Dir, b.File, b.URL} {
		if is != "" {
			given++
		}
	}
	if given != 1 {
		p.bad(at, "give one of dir, file and url")
		return
	}
	for id, k := range b.Keys {
		if id == "" || (k.Key == "") == (k.KeyFile == "") {
			p.bad(at+".keys."+id, "give one of key (PEM) and key_file")
		}
	}
	if b.Keys != nil && len(b.Keys) == 0 {
		p.bad(at+".keys", "is empty; name the keys of which one must have signed the bundle, or leave it out for a bundle on this machine")
	}
	if b.Poll < 0 {
		p.bad(at+".poll", "must be more than 0")
	}
	if b.MaxFlips != nil && *b.MaxFlips < 0 {
		p.bad(at+".max_flips", "%d is negative; 0 lets no verdict flip", *b.MaxFlips)
	}
	if !b.Network() {
		if b.BearerTokenFile != "" || b.Username != "" || b.PasswordFile != "" || b.ClientCert != "" || b.ClientKey != "" || b.CAFile != "" || b.AllowHTTP {
			p.bad(at, "credentials, ca_file and allow_http go with url alone")
		}
		return
	}
	b.checkURL(p, at)
	if len(b.Keys) == 0 {
		p.bad(at+".keys", "is missing: what comes over a network must be signed; write {keys: {ID: {key_file: FILE}}}")
	}
	if (b.Username == "") != (b.PasswordFile == "") {
		p.bad(at, "username and password_file go together")
	}
	if b.BearerTokenFile != "" && b.Username != "" {
		p.bad(at, "give bearer_token_file or a username with its password_file, not both")
	}
	if (b.ClientCert == "") != (b.ClientKey == "") {
		p.bad(at, "client_cert and client_key go together")
	}
}

func (b Bundle) checkURL(p *problems, at string) {
	u, err := url.Parse(b.URL)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		p.bad(at+".url", "is not https://host/path or oci://registry/repository:tag, without user name")
	case u.Scheme == "oci" || u.Scheme == "https":
	case u.Scheme == "http" && !b.AllowHTTP && !IsLoopback(u.Hostname()):
		p.bad(at+".url", "%q is plain HTTP; use https, or set allow_http: true", b.URL)
	case u.Scheme != "http":
		p.bad(at+".url", "%q is neither https nor oci", b.URL)
	}
}
