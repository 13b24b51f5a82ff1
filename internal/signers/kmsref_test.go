package signers

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseKMSRef(t *testing.T) {
	const uuid = "1234abcd-12ab-34cd-56ef-1234567890ab"
	tests := []struct {
		ref  string
		want KMSRef
	}{
		{"gcpkms://projects/p/locations/global/keyRings/r/cryptoKeys/k", KMSRef{SchemeGCP, "", "projects/p/locations/global/keyRings/r/cryptoKeys/k"}},
		{"gcpkms://projects/example.com:p/locations/europe-west3/keyRings/r_1/cryptoKeys/k-2/cryptoKeyVersions/3", KMSRef{SchemeGCP, "", "projects/example.com:p/locations/europe-west3/keyRings/r_1/cryptoKeys/k-2/cryptoKeyVersions/3"}},
		{"gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k/versions/1", KMSRef{SchemeGCP, "", "projects/p/locations/l/keyRings/r/cryptoKeys/k/versions/1"}},
		{"awskms:///" + uuid, KMSRef{SchemeAWS, "", uuid}},
		{"awskms:///mrk-1234abcd12ab34cd56ef1234567890ab", KMSRef{SchemeAWS, "", "mrk-1234abcd12ab34cd56ef1234567890ab"}},
		{"awskms://localhost:4566/" + uuid, KMSRef{SchemeAWS, "localhost:4566", uuid}},
		{"awskms://[::1]:4566/alias/release", KMSRef{SchemeAWS, "[::1]:4566", "alias/release"}},
		{"awskms:///alias/team/release_1-x", KMSRef{SchemeAWS, "", "alias/team/release_1-x"}},
		{"awskms:///arn:aws:kms:us-east-2:111122223333:key/" + uuid, KMSRef{SchemeAWS, "", "arn:aws:kms:us-east-2:111122223333:key/" + uuid}},
		{"awskms://kms.example.com/arn:aws-cn:kms:cn-north-1:111122223333:alias/a", KMSRef{SchemeAWS, "kms.example.com", "arn:aws-cn:kms:cn-north-1:111122223333:alias/a"}},
		{"azurekms://vault.vault.azure.net/key", KMSRef{SchemeAzure, "vault.vault.azure.net", "key"}},
		{"azurekms://vault.vault.azure.net/key-1/0123456789abcdef", KMSRef{SchemeAzure, "vault.vault.azure.net", "key-1/0123456789abcdef"}},
		{"hashivault://release", KMSRef{SchemeVault, "", "release"}},
		{"hashivault://a.b-c_d", KMSRef{SchemeVault, "", "a.b-c_d"}},
	}
	for _, tt := range tests {
		got, err := ParseKMSRef(tt.ref)
		if err != nil {
			t.Errorf("%s: %v", tt.ref, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.ref, diff)
		}
		if got.String() != tt.ref {
			t.Errorf("%s is written again as %s", tt.ref, got)
		}
	}
}

func TestParseKMSRefRefuses(t *testing.T) {
	for ref, want := range map[string]string{
		"": "has no scheme; write gcpkms://",
		"projects/p/locations/l/keyRings/r/cryptoKeys/k": "has no scheme",
		"vault://k": `has the scheme "vault", which is no key management service`,
		"GCPKMS://projects/p/locations/l/keyRings/r/cryptoKeys/k": `has the scheme "GCPKMS"`,
		"openbao://k":                 "write hashivault://KEY",
		"hashivault://":               "is not the name of a Vault transit key",
		"hashivault://-k":             "is not the name of a Vault transit key",
		"hashivault://transit/keys/k": "has a path; write hashivault://KEY",
		"hashivault://k?x=y":          "a query",
		"hashivault://k\n":            "no key reference has",
		"hashivault://" + strings.Repeat("k", MaxKMSRefBytes):                 "is longer than 1024 bytes",
		"gcpkms://projects/p/keyRings/r/cryptoKeys/k":                         "is not the name of a Google Cloud KMS key; write gcpkms://projects/PROJECT",
		"gcpkms:///projects/p/locations/l/keyRings/r/cryptoKeys/k":            "is not the name of a Google Cloud KMS key",
		"gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k/versions/x":  "is not the name of a Google Cloud KMS key",
		"gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKey/1": "is not the name of a Google Cloud KMS key",
		"awskms://1234abcd-12ab-34cd-56ef-1234567890ab":                       "has two slashes, between which and a third an endpoint could stand; write awskms:///1234abcd-",
		"awskms://alias/release":                                              "write awskms:///alias/release",
		"awskms:///release":                                                   "is not the name of an AWS KMS key; write awskms:/// and a key id",
		"awskms:///alias/":                                                    "is not the name of an AWS KMS key",
		"awskms:///arn:aws:s3:us-east-2:111122223333:key/x":                   "is not the name of an AWS KMS key",
		"awskms://evil.example:x/alias/a":                                     `names the host "evil.example:x", which is none`,
		"awskms://user@evil.example/alias/a":                                  "a user",
		"awskms://-x/alias/a":                                                 `names the host "-x"`,
		"azurekms://vault.vault.azure.net":                                    "is not the name of an Azure Key Vault key; write azurekms://VAULT.vault.azure.net/KEY",
		"azurekms:///key":                                                     "is not the name of an Azure Key Vault key",
		"azurekms://vault.vault.azure.net/key/VERSION":                        "is not the name of an Azure Key Vault key",
		"azurekms://vault.vault.azure.net/keys/key/0":                         "is not the name of an Azure Key Vault key",
		"azurekms://vault..azure.net:123456/key":                              "which is none; write HOST",
	} {
		if got, err := ParseKMSRef(ref); err == nil || !strings.Contains(err.Error(), want) || got != (KMSRef{}) {
			t.Errorf("ParseKMSRef(%q) = %+v, %v; want an error that says %q", ref, got, err, want)
		}
	}
}

func FuzzParseKMSRef(f *testing.F) {
	for _, ref := range []string{"awskms:///alias/a", "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k", "azurekms://v/k/1", "hashivault://k"} {
		f.Add(ref)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		if r, err := ParseKMSRef(ref); err == nil && r.String() != ref {
			t.Fatalf("%q is written again as %q", ref, r)
		}
	})
}
