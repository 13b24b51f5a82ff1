package signers

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// Schemes of key references.
const (
	SchemeGCP   = "gcpkms"
	SchemeAWS   = "awskms"
	SchemeAzure = "azurekms"
	SchemeVault = "hashivault"
)

// KMSRef is a key reference, taken apart. Nobody was asked whether there is such
// a key.
type KMSRef struct {
	// Scheme is one of SchemeGCP, SchemeAWS, SchemeAzure and SchemeVault.
	Scheme string
	// Host is Azure's vault, or the endpoint that an AWS reference names instead
	// of the region's own; "" elsewhere.
	Host string
	// Path names the key there, without a leading slash.
	Path string
}

// String is the reference as it is written.
func (r KMSRef) String() string {
	if r.Scheme == SchemeAWS || r.Host != "" {
		return r.Scheme + "://" + r.Host + "/" + r.Path
	}
	return r.Scheme + "://" + r.Path
}

// MaxKMSRefBytes bounds a key reference. The longest that a provider can mean is
// an AWS key ARN or a Google resource name, a few hundred bytes.
const MaxKMSRefBytes = 1024

// kmsForms are the forms of the references that sigstore's clients take, of which
// each is at least as narrow: github.com/sigstore/sigstore v1.10.8,
// pkg/signature/kms/{gcp,aws,azure,hashivault}/client.go, ValidReference.
type kmsForms struct {
	host, google, aws, azure, vault *regexp.Regexp
}

// They are compiled when they are needed: starting costs every command.
var kmsPatterns = sync.OnceValue(func() kmsForms {
	const (
		name = `[A-Za-z0-9._:-]+` // projects may be "example.com:project"
		// `m?r?k?-?[A-Fa-f0-9]{8}-?[A-Fa-f0-9]{4}-?…` there.
		uuid = `(?:mrk-)?[A-Fa-f0-9]{8}-?[A-Fa-f0-9]{4}-?[A-Fa-f0-9]{4}-?[A-Fa-f0-9]{4}-?[A-Fa-f0-9]{12}`
		// `arn:(?:aws|aws-us-gov|aws-cn):kms:[a-z0-9-]+:\d{12}:` there.
		arn = `arn:(?:aws|aws-us-gov|aws-cn):kms:[a-z0-9-]+:[0-9]{12}:`
		// `alias/.*` there; AWS knows no other characters in an alias (API
		// reference, CreateAlias).
		alias = `alias/[A-Za-z0-9/_-]{1,250}`
	)
	return kmsForms{
		host: regexp.MustCompile(`\A(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?\z`),
		// `^gcpkms://projects/([^/]+)/locations/([^/]+)/keyRings/([^/]+)/cryptoKeys/([^/]+)(?:/(?:cryptoKeyVersions|versions)/([^/]+))?$`
		google: regexp.MustCompile(`\Aprojects/` + name + `/locations/` + name + `/keyRings/` + name + `/cryptoKeys/` + name + `(?:/(?:cryptoKeyVersions|versions)/[0-9]+)?\z`),
		aws:    regexp.MustCompile(`\A(?:` + uuid + `|` + arn + `key/` + uuid + `|(?:` + arn + `)?` + alias + `)\z`),
		// `^azurekms://([^/]+)/([^/]+)(/[a-z0-9]*)?$`
		azure: regexp.MustCompile(`\A[A-Za-z0-9-]{1,127}(?:/[a-z0-9]+)?\z`),
		// `^(?:hashivault|openbao)://(?P<path>\w(([\w-.]+)?\w)?)$`
		vault: regexp.MustCompile(`\A[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\z`),
	}
})

// ParseKMSRef takes a reference to a key in a key management service apart:
//
//	gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K[/cryptoKeyVersions/V]
//	awskms://[ENDPOINT]/(KEY_ID | alias/NAME | ARN of either)
//	azurekms://VAULT_HOST/KEY[/VERSION]
//	hashivault://KEY
//
// The error says which form was expected. Whether an endpoint may be asked is for
// the caller to say.
func ParseKMSRef(ref string) (KMSRef, error) {
	if len(ref) > MaxKMSRefBytes || unprintable(ref) || strings.ContainsAny(ref, " ?#@\\") {
		return KMSRef{}, fmt.Errorf("is longer than %d bytes, or has blanks, a user, a query, a fragment or other characters that no key reference has", MaxKMSRefBytes)
	}
	scheme, rest, ok := strings.Cut(ref, "://")
	if !ok {
		return KMSRef{}, fmt.Errorf("%q has no scheme; write %s", ref, kmsSchemes)
	}
	r := KMSRef{Scheme: scheme, Path: rest}
	forms := kmsPatterns()
	switch scheme {
	case SchemeGCP:
		if !forms.google.MatchString(rest) {
			return KMSRef{}, fmt.Errorf("%q is not the name of a Google Cloud KMS key; write gcpkms://projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY, and /cryptoKeyVersions/NUMBER behind it for one version", ref)
		}
	case SchemeAWS:
		r.Host, r.Path, ok = strings.Cut(rest, "/")
		if !ok || !forms.aws.MatchString(r.Path) {
			return KMSRef{}, wrongAWS(ref, rest)
		}
	case SchemeAzure:
		r.Host, r.Path, ok = strings.Cut(rest, "/")
		if !ok || r.Host == "" || !forms.azure.MatchString(r.Path) {
			return KMSRef{}, fmt.Errorf("%q is not the name of an Azure Key Vault key; write azurekms://VAULT.vault.azure.net/KEY, and /VERSION behind it for one version", ref)
		}
	case SchemeVault:
		switch {
		case strings.Contains(rest, "/"):
			return KMSRef{}, fmt.Errorf("%q has a path; write hashivault://KEY with the key's name alone, and where Vault and its transit engine are in the server's environment", ref)
		case !forms.vault.MatchString(rest):
			return KMSRef{}, fmt.Errorf("%q is not the name of a Vault transit key; write hashivault://KEY, of letters, digits, dots, dashes and underscores", ref)
		}
	case "openbao":
		return KMSRef{}, errors.New("names OpenBao, which is asked as Vault is; write hashivault://KEY")
	default:
		return KMSRef{}, fmt.Errorf("has the scheme %q, which is no key management service that is known; write %s", scheme, kmsSchemes)
	}
	if r.Host != "" && !forms.host.MatchString(r.Host) {
		return KMSRef{}, fmt.Errorf("%q names the host %q, which is none; write HOST or HOST:PORT", ref, r.Host)
	}
	return r, nil
}

const kmsSchemes = "gcpkms://, awskms://, azurekms:// or hashivault:// and the key"

// wrongAWS names the mistake that is made most: two slashes where an endpoint
// could stand between the second and the third.
func wrongAWS(ref, rest string) error {
	if kmsPatterns().aws.MatchString(rest) {
		return fmt.Errorf("%q has two slashes, between which and a third an endpoint could stand; write awskms:///%s", ref, rest)
	}
	return fmt.Errorf("%q is not the name of an AWS KMS key; write awskms:/// and a key id, alias/NAME, or the ARN of either", ref)
}
