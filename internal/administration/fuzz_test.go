package administration

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/trust"
)

// fuzzed is an installation for a whole fuzz run.
func fuzzed(f *testing.F) *Service {
	f.Helper()
	st, err := store.Open(f.Context(), store.Config{DataDir: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := st.Close(); err != nil {
			f.Error(err)
		}
	})
	s, err := New(Config{Store: st})
	if err != nil {
		f.Fatal(err)
	}
	return s
}

// archiveSeed is an archive, and the key that signs it. It has no trust roots: their
// bytes are fuzzed in package trust, and large inputs are slow to fuzz.
func archiveSeed(f *testing.F) (key ed25519.PrivateKey, public string, a archive) {
	f.Helper()
	key = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		f.Fatal(err)
	}
	policy, err := signingpolicy.Default().Canonical()
	if err != nil {
		f.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})), archive{
		Schema: archiveSchema, MadeAt: at, Revision: 7,
		Roots:    []archivedRoot{},
		Policies: []archivedPolicy{{"default", "web", string(policy)}},
		Signers:  []client.Signer{keyless("dev"), keyless("build")},
	}
}

// FuzzTrustArchive: whatever an archive holds, signed by a key that is trusted or
// not signed at all, it is refused with an error that says what is wrong, or it is
// what was signed, and every root in it could be put in force. The store has no
// part in it, so that much can be tried.
func FuzzTrustArchive(f *testing.F) {
	key, public, a := archiveSeed(f)
	payload, err := facts.Canonical(a)
	if err != nil {
		f.Fatal(err)
	}
	signed, err := seal(payload, key)
	if err != nil {
		f.Fatal(err)
	}
	given, err := archiveKey(public)
	if err != nil {
		f.Fatal(err)
	}
	if _, _, err := openArchive(signed, given); err != nil {
		f.Fatalf("the seed is no archive: %s", err)
	}
	f.Add(signed, false)
	f.Add(payload, true)
	f.Add([]byte(`{"schema":"signet/trust/v1"}`), true)
	f.Add([]byte(`{"schema":"signet/trust/v1","roots":[{"name":"own","kind":"file","digest":"sha256:00","images":["ghcr.io/**"],"trusted_root":{}}]}`), true)
	f.Add([]byte(`{"schema":"signet/trust/v1","roots":[{"name":"pg","kind":"tuf","tuf_url":"https://a.example","refreshed_at":"2026-01-02T03:04:05Z",`+
		`"trusted_root":{},"tuf_metadata":{"first-root.json":"e30="}}]}`), true)
	f.Fuzz(func(t *testing.T, body []byte, sign bool) {
		if sign {
			var read archive
			if err := json.Unmarshal(body, &read); err == nil { // in the one form that is looked into
				if canonical, err := facts.Canonical(read); err == nil {
					body = canonical
				}
			}
			var err error
			if body, err = seal(body, key); err != nil {
				t.Fatal(err)
			}
		}
		var fields FieldErrors
		got, inside, err := openArchive(body, given)
		if err != nil {
			if got != nil || !errors.As(err, &fields) {
				t.Fatalf("%v with %v", got, err)
			}
			return
		}
		if !sign && !bytes.Equal(inside, payload) {
			t.Errorf("what was not signed is taken: %s", inside)
		}
		plan := &importPlan{kept: map[string]keptRoot{}}
		if err := plan.planRoots(got); err != nil && !errors.As(err, &fields) && !errors.Is(err, ErrConflict) {
			t.Errorf("%v is no error of the caller's", err)
		}
		for _, r := range plan.roots {
			if r.root.Digest() != r.row.Digest || r.row.Source != sourceAPI || r.row.Kind == kindTUF && trust.CheckMetadata(r.metadata) != nil {
				t.Errorf("root %+v is to be put", r.row)
			}
		}
		for _, w := range got.Signers {
			row, mistakes := rowOf(w, store.SignerRow{})
			if len(mistakes) > 0 || row.Type == "kms" && row.PublicKey == "" { // refused by itself
				continue
			}
			if _, err := FromRow(row); err != nil {
				t.Errorf("signer %+v would be put, and not be read: %v", row, err)
			}
		}
	})
}

// FuzzPutPolicy: a document is refused with an error that names its mistakes, or
// it is kept in a form that says the same again.
func FuzzPutPolicy(f *testing.F) {
	s := fuzzed(f)
	for _, body := range []string{
		"mode: enforce\ntrusted_signers: [{type: registry}]\n",
		`{"signing_policy": {"images": ["ghcr.io/**"], "trusted_signers": [{"type": "registry", "names": ["a"]}]}}`,
		"signing_policy:\n  name: p\n  trusted_keys:\n    - {keyless: true, issuer: https://a.example, subject_regex: 'https://github.com/org/.*'}\n",
		"signing_policy:\n  name: q\n",
		"trusted_signers:\n  - {type: kms, key_ref: 'awskms:///alias/a'}\n",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		put, err := s.PutPolicy(t.Context(), root, "p", "", body, nil)
		var fields FieldErrors
		switch {
		case errors.As(err, &fields) && len(fields) > 0:
			return
		case err != nil:
			t.Fatalf("%v is no error of the caller's", err)
		}
		again, err := s.PutPolicy(t.Context(), root, "p", "", []byte(put.SigningPolicy), &put.Version)
		if err != nil {
			t.Fatalf("what is kept is not read again: %v\n%s", err, put.SigningPolicy)
		}
		if again.Version != put.Version || again.Digest != put.Digest {
			t.Errorf("the same again is another policy:\n%s\n%s", put.SigningPolicy, again.SigningPolicy)
		}
		if err := s.DeletePolicy(t.Context(), root, "p", again.Version); err != nil {
			t.Fatal(err)
		}
	})
}
