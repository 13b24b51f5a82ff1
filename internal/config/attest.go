package config

import (
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
)

// On says whether verdicts can be attested.
func (a Attest) On() bool { return a.VerifierID != "" }

func (a Attest) check(p *problems) {
	if !a.On() {
		if def := Default().Attest; !reflect.DeepEqual(a, def) {
			p.bad("attest.verifier_id", "is missing; write the URI by which others know this installation, such as https://example.com/signet")
		}
		return
	}
	u, err := url.Parse(a.VerifierID)
	if err != nil || u.Scheme == "" || u.Host == "" && u.Opaque == "" || strings.ContainsAny(a.VerifierID, " \t\r\n") {
		p.bad("attest.verifier_id", "%q is no absolute URI; write one such as https://example.com/signet", a.VerifierID)
	}
	switch {
	case a.KeyFile == "" && a.KeyRef == "":
		p.bad("attest.key_file", "is missing; name a private key in PEM, or a key in a KMS as key_ref")
	case a.KeyFile != "" && a.KeyRef != "":
		p.bad("attest.key_ref", "does not go with key_file; keep one of them")
	case a.KeyRef != "" && !strings.Contains(a.KeyRef, "://"):
		p.bad("attest.key_ref", "%q is no reference to a key in a KMS (awskms://, azurekms://, gcpkms://, hashivault://); a file is named as key_file", a.KeyRef)
	}
	if a.PushEvery <= 0 {
		p.bad("attest.push_every", "must be more than 0")
	}
	if len(a.PushCredentials) > 0 && !a.Push {
		p.bad("attest.push_credentials", "have no use without push: true")
	}
	for _, host := range slices.Sorted(maps.Keys(a.PushCredentials)) {
		c, at := a.PushCredentials[host], "attest.push_credentials."+host
		switch {
		case c.TokenFile != "" && (c.Username != "" || c.PasswordFile != "" || c.PasswordEnv != ""):
			p.bad(at, "has token_file and a user name or password; keep one of them")
		case c.PasswordFile != "" && c.PasswordEnv != "":
			p.bad(at, "has password_file and password_env; keep one of them")
		case c.TokenFile == "" && (c.Username == "" || c.PasswordFile == "" && c.PasswordEnv == ""):
			p.bad(at, "wants username with password_file or password_env, or token_file")
		}
	}
}
