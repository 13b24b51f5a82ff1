package kms

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const awsKey = "1234abcd-12ab-34cd-56ef-1234567890ab"

func TestCheck(t *testing.T) {
	r := resolver(t, Config{AllowedHosts: []string{"localhost:4566", "KMS.example.com", "[::1]:8443", "vault.internal:443"}})
	const ring = "gcpkms://projects/acme/locations/global/keyRings/r/cryptoKeys/k"
	tests := []struct {
		name, ref string
		want      error
		text      string
	}{
		{name: "AWS key id", ref: "awskms:///" + awsKey},
		{name: "AWS multi-region key id", ref: "awskms:///mrk-" + strings.ReplaceAll(awsKey, "-", "")},
		{name: "AWS alias", ref: "awskms:///alias/team/release"},
		{name: "AWS key ARN", ref: "awskms:///arn:aws:kms:us-east-2:111122223333:key/" + awsKey},
		{name: "AWS alias ARN", ref: "awskms:///arn:aws-cn:kms:cn-north-1:111122223333:alias/release"},
		{name: "AWS host with its port", ref: "awskms://localhost:4566/alias/release"},
		{name: "AWS host in other letters", ref: "awskms://kms.EXAMPLE.com/alias/release"},
		{name: "AWS host with the port of HTTPS", ref: "awskms://kms.example.com:443/alias/release"},
		{name: "AWS host whose entry has the port of HTTPS", ref: "awskms://vault.internal/alias/release"},
		{name: "AWS host that is an IPv6 address", ref: "awskms://[::1]:8443/alias/release"},
		{name: "Azure", ref: "azurekms://acme.vault.azure.net/release"},
		{name: "Azure version", ref: "azurekms://acme.vault.azure.net/release/0123abcd"},
		{name: "Azure in another cloud", ref: "azurekms://Acme-1.managedhsm.usgovcloudapi.net/release"},
		{name: "Azure elsewhere, as listed", ref: "azurekms://kms.example.com/release"},
		{name: "Google", ref: ring},
		{name: "Google version", ref: ring + "/cryptoKeyVersions/12"},
		{name: "Google version, cosign's spelling", ref: ring + "/versions/12"},
		{name: "Vault", ref: "hashivault://team.release-1"},

		{"empty", "", ErrReference, "it must begin with awskms://, azurekms://, gcpkms://, hashivault://"},
		{"a file", "cosign.pub", ErrReference, "it must begin with awskms://"},
		{"a provider that sigstore would run as a program", "evil://key", ErrReference, "it must begin with"},
		{"scheme in capitals", "AWSKMS:///alias/release", ErrReference, "it must begin with"},
		{"AWS without the empty host", "awskms://alias/release", ErrReference, "a key of AWS KMS is written awskms://[HOST]/KEY"},
		{"AWS name that is no alias", "awskms:///release", ErrReference, "alias/NAME"},
		{"AWS empty alias", "awskms:///alias/", ErrReference, "alias/NAME"},
		{"AWS alias with a line break", "awskms:///alias/a\nb", ErrReference, "alias/NAME"},
		{"AWS alias with a space", "awskms:///alias/a b", ErrReference, "alias/NAME"},
		{"AWS host with a password", "awskms://user:hunter2@localhost:4566/alias/x", ErrReference, "is not HOST or HOST:PORT"},
		{"AWS host with a query", "awskms://localhost:4566?x=/alias/x", ErrReference, "is not HOST or HOST:PORT"},
		{"AWS host with a fragment", "awskms://evil.example#localhost:4566/alias/x", ErrReference, "is not HOST or HOST:PORT"},
		{"AWS port without a host", "awskms://:4566/alias/x", ErrReference, "is not HOST or HOST:PORT"},
		{"AWS port that is none", "awskms://localhost:http/alias/x", ErrReference, "is not HOST or HOST:PORT"},
		{"Azure without a key", "azurekms://acme.vault.azure.net/", ErrReference, "a key of Azure Key Vault is written azurekms://VAULT_HOST/KEY[/VERSION]"},
		{"Azure without a host", "azurekms:///release", ErrReference, "VAULT_HOST"},
		{"Azure key with a query", "azurekms://acme.vault.azure.net/a?b", ErrReference, "VAULT_HOST"},
		{"Google without a key", "gcpkms://projects/acme/locations/global/keyRings/r", ErrReference, "a key of Google Cloud KMS is written gcpkms://projects/"},
		{"Google key with a space", ring + "%20x", ErrReference, "gcpkms://projects/"},
		{"Vault path", "hashivault://transit/keys/release", ErrReference, "the name of a key of the transit engine"},
		{"Vault upwards", "hashivault://..", ErrReference, "the name of a key"},

		{"AWS host that is not listed", "awskms://kms.evil.example/alias/x", ErrNotAllowed, "kms.evil.example of awskms:// is not in kms.allowed_hosts"},
		{"AWS listed host, another port", "awskms://localhost:4567/alias/x", ErrNotAllowed, "localhost:4567"},
		{"AWS listed host, no port", "awskms://localhost/alias/x", ErrNotAllowed, "localhost"},
		{"AWS subdomain of a listed host", "awskms://a.kms.example.com/alias/x", ErrNotAllowed, ""},
		{"AWS metadata address", "awskms://169.254.169.254/alias/x", ErrNotAllowed, ""},
		{"Azure's domain is no host of AWS", "awskms://acme.vault.azure.net/alias/x", ErrNotAllowed, ""},
		{"Azure elsewhere", "azurekms://vault.evil.example/release", ErrNotAllowed, ""},
		{"Azure's domain within another", "azurekms://acme.vault.azure.net.evil.example/release", ErrNotAllowed, ""},
		{"Azure's domain alone", "azurekms://vault.azure.net/release", ErrNotAllowed, ""},
		{"Azure, a name of two parts", "azurekms://a.b.vault.azure.net/release", ErrNotAllowed, ""},
		{"Azure on another port", "azurekms://acme.vault.azure.net:8443/release", ErrNotAllowed, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := r.Check(tt.ref)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Fatalf("error %v, want %v with %q", err, tt.want, tt.text)
			}
			if err == nil {
				return
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %q tells a password", err)
			}
			if text, got := r.PublicKeys(t.Context(), tt.ref); text != "" || got == nil || got.Error() != err.Error() {
				t.Errorf("PublicKeys = %q, %v; want the error of Check", text, got)
			}
		})
	}
}

// Whatever is put into a reference, what is accepted reaches no host that is not
// listed, and has nothing in it that a URL gives a meaning to. (No fuzzing: it would
// have every SDK compiled anew.)
func TestCheckAnything(t *testing.T) {
	r := resolver(t, Config{})
	whole := rapid.SampledFrom([]string{
		"awskms:///alias/release", "awskms:///" + awsKey, "awskms:///arn:aws:kms:us-east-2:111122223333:key/" + awsKey,
		"awskms://evil.example/alias/release", "azurekms://evil.example/release",
		"azurekms://acme.vault.azure.net/release", "azurekms://acme.vault.azure.net/release/1", "hashivault://release",
		"gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k", "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k/versions/1",
	})
	part := rapid.OneOf(
		rapid.SampledFrom([]string{"/", ":", "@", "?", "#", "%2f", "..", "\\", "\n", "\x00", " ", "evil.example", "evil.example/", "127.0.0.1", "[::1]", ":443", "a"}),
		rapid.StringN(0, 2, -1),
	)
	rapid.Check(t, func(t *rapid.T) {
		ref := whole.Draw(t, "reference")
		for range rapid.IntRange(0, 2).Draw(t, "parts") {
			i := rapid.IntRange(0, len(ref)).Draw(t, "at")
			ref = ref[:i] + part.Draw(t, "part") + ref[i:]
		}
		if r.Check(ref) != nil {
			return
		}
		p, err := parse(ref)
		if err != nil {
			t.Fatal(err)
		}
		if p.host != "" && !isAzure(p.host) {
			t.Errorf("%q may reach %q", ref, p.host)
		}
		if strings.ContainsAny(ref, " \t\r\n?#@%\\\x00") {
			t.Errorf("%q is accepted", ref)
		}
	})
}
