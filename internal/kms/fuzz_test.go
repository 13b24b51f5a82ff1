package kms

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/signet-policy/signet/internal/signers"
)

// FuzzReference: what is taken for a reference names no more than a host that may
// be reached, and what is refused is not repeated: it may be a secret.
func FuzzReference(f *testing.F) {
	for _, ref := range []string{
		"awskms:///alias/release", "awskms://kms.internal:8443/1234abcd-12ab-34cd-56ef-1234567890ab",
		"awskms:///arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
		"azurekms://acme.vault.azure.net/release", "azurekms://acme.vault.azure.net.evil.example/release",
		"gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k", "hashivault://release", "hashivault://../../sys", "hvs.secret",
	} {
		f.Add(ref)
	}
	r, err := New(Config{AllowedHosts: []string{"kms.internal:8443"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		p, err := r.parse(ref)
		if err != nil {
			if !errors.Is(err, ErrReference) && !errors.Is(err, ErrNotAllowed) {
				t.Errorf("%q: %v", ref, err)
			}
			if len(ref) > 24 && errors.Is(err, ErrReference) && strings.Contains(err.Error(), ref) && !strings.Contains(forms(), ref) {
				t.Errorf("%q is repeated: %v", ref, err)
			}
			return
		}
		if p.host != "" && p.host != "kms.internal:8443" && !isAzure(p.host) {
			t.Errorf("%q leads to %q", ref, p.host)
		}
		if strings.ContainsAny(p.path, "?#%@\\ ") || strings.Contains(p.path, "..") && p.service.scheme == azureScheme {
			t.Errorf("%q asks for %q", ref, p.path)
		}
	})
}

// forms are how references look, which errors say.
func forms() string {
	var all strings.Builder
	for i := range services {
		all.WriteString(services[i].form)
	}
	return all.String()
}

// FuzzAnswer: whatever a service answers, it is a key that can be used, or an error
// of ours that repeats nothing of it.
func FuzzAnswer(f *testing.F) {
	var body atomic.Value
	body.Store([]byte(nil))
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body.Load().([]byte)) //nolint:forcetypeassert // nothing else is stored
	}))
	f.Cleanup(vault.Close)
	r, err := New(Config{Vault: Vault{Address: vault.URL, Token: "hvs.secret", Path: "transit"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"data":{"latest_version":1,"keys":{"1":{"public_key":"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n"}}}}`))
	f.Add([]byte(`{"data":{"latest_version":1,"keys":{"1":"2026-01-01T00:00:00Z"},"type":"ed25519"}}`))
	f.Add([]byte(`{"data":{"latest_version":1e99,"keys":[]}}`))
	f.Add([]byte(`{"data":null,"wrap_info":{},"errors":["the token hvs.secret is bad"]}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		body.Store(answer)
		text, err := r.PublicKeys(t.Context(), "hashivault://release")
		if err != nil {
			ours := false
			for _, kind := range []error{ErrReference, ErrNotAllowed, ErrNotConfigured, ErrDenied, ErrNotFound, ErrUnavailable, ErrUnsupportedKey} {
				ours = ours || errors.Is(err, kind)
			}
			if !ours || text != "" || strings.Contains(err.Error(), "hvs.secret") {
				t.Errorf("%q with %v", text, err)
			}
			return
		}
		if keys, err := signers.ParseKeys(text); err != nil || len(keys) != 1 {
			t.Errorf("%q is not one key: %v", text, err)
		}
	})
}
