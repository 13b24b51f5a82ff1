package kms

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature/kms/aws"
	"github.com/sigstore/sigstore/pkg/signature/kms/azure"
	"github.com/sigstore/sigstore/pkg/signature/kms/gcp"
	"github.com/sigstore/sigstore/pkg/signature/kms/hashivault"
)

const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// service is one key management service.
type service struct {
	scheme, name string
	// form is how a reference looks, with an example.
	form string
	// grant is what the caller must be allowed to read a key, and sign what to sign
	// with it beside; environment what names the caller.
	grant, sign, environment string
	// hasHost: the part before the first slash is a host.
	hasHost bool
	// chars are what may follow the host; sigstore's patterns let anything pass there.
	chars string
	valid func(ref string) error
}

var services = []service{
	{
		scheme: aws.ReferenceScheme, name: "AWS KMS", hasHost: true, chars: alphanumeric + "/:_-", valid: aws.ValidReference,
		form:        "awskms://[HOST]/KEY, where KEY is a key id, alias/NAME or the ARN of either, such as awskms:///alias/release",
		grant:       "allow kms:GetPublicKey and kms:DescribeKey on the key",
		sign:        "and kms:Sign",
		environment: "set AWS_REGION and credentials of AWS's default chain",
	},
	{
		scheme: azure.ReferenceScheme, name: "Azure Key Vault", hasHost: true, chars: alphanumeric + "/-", valid: azure.ValidReference,
		form:        "azurekms://VAULT_HOST/KEY[/VERSION], such as azurekms://acme.vault.azure.net/release",
		grant:       `allow "get" on the keys of the vault (role Key Vault Crypto User)`,
		sign:        `and "sign"`,
		environment: "set AZURE_TENANT_ID, AZURE_CLIENT_ID and a secret, or use a managed identity",
	},
	{
		scheme: gcp.ReferenceScheme, name: "Google Cloud KMS", chars: alphanumeric + "/:._-", valid: gcp.ValidReference,
		form:        "gcpkms://projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY[/cryptoKeyVersions/VERSION]",
		grant:       "allow cloudkms.cryptoKeys.get, cryptoKeyVersions.get, .list and .viewPublicKey (roles cloudkms.viewer and publicKeyViewer)",
		sign:        "and cloudkms.cryptoKeyVersions.useToSign (role cloudkms.signer)",
		environment: "set GOOGLE_APPLICATION_CREDENTIALS",
	},
	{
		scheme: hashivault.ReferenceScheme, name: "Vault", chars: alphanumeric + "._-", valid: hashivault.ValidReference,
		form:        "hashivault://KEY, the name of a key of the transit engine, such as hashivault://release",
		grant:       "allow read on keys/NAME of the transit engine, with a token that has not expired",
		sign:        "and update on sign/NAME",
		environment: "set VAULT_ADDR and VAULT_TOKEN",
	},
}

// azureDomains are those of Key Vault and Managed HSM in Microsoft's clouds. A name
// below one is a vault, so a reference to it is no more than the name of a vault.
var azureDomains = []string{
	".vault.azure.net", ".managedhsm.azure.net",
	".vault.azure.cn", ".managedhsm.azure.cn",
	".vault.usgovcloudapi.net", ".managedhsm.usgovcloudapi.net",
}

// parsed is a reference whose form is right.
type parsed struct {
	service *service
	ref     string
	host    string // may be empty
	path    string // what follows scheme and host
	signing bool   // the key is to sign
}

func (p parsed) grant() string {
	if p.signing {
		return p.service.grant + ", " + p.service.sign
	}
	return p.service.grant
}

func (p parsed) fail(kind error, detail string) error {
	return fmt.Errorf("%s: %w: %s: %s", p.ref, kind, p.service.name, detail)
}

// parse reads a reference. Its errors do not repeat it: what is no reference may be
// anything, a secret pasted into the wrong field among it.
func parse(ref string) (parsed, error) {
	var schemes []string
	for i := range services {
		s := &services[i]
		schemes = append(schemes, s.scheme)
		rest, ok := strings.CutPrefix(ref, s.scheme)
		if !ok {
			continue
		}
		p := parsed{service: s, ref: ref, path: rest}
		if s.hasHost {
			p.host, p.path, _ = strings.Cut(rest, "/")
		}
		if s.valid(ref) != nil || p.path == "" || strings.HasSuffix(p.path, "/") || !only(p.path, s.chars) {
			return parsed{}, fmt.Errorf("%w: a key of %s is written %s", ErrReference, s.name, s.form)
		}
		if p.host != "" && !validHost(p.host) {
			return parsed{}, fmt.Errorf("%w: what follows %s is not HOST or HOST:PORT; a key of %s is written %s", ErrReference, s.scheme, s.name, s.form)
		}
		return p, nil
	}
	return parsed{}, fmt.Errorf("%w: it must begin with %s", ErrReference, strings.Join(schemes, ", "))
}

// validHost accepts what is nothing but a host, with a port or without: the SDKs
// put it into a URL, where user:password@, ? and # would change what is reached.
func validHost(host string) bool {
	u, err := url.Parse("https://" + host + "/")
	return err == nil && u.Hostname() != "" && u.Host == host && only(host, alphanumeric+".-:[]")
}

// sameHost makes two spellings of a host equal.
func sameHost(host string) string {
	return strings.TrimSuffix(strings.ToLower(host), ":443")
}

func isAzure(host string) bool {
	host = sameHost(host)
	return slices.ContainsFunc(azureDomains, func(d string) bool {
		vault, ok := strings.CutSuffix(host, d)
		return ok && vault != "" && only(vault, alphanumeric+"-")
	})
}

func only(s, chars string) bool {
	return strings.Trim(s, chars) == ""
}
