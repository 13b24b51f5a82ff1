package kmstest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sigstore/sigstore/pkg/signature/kms/hashivault"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// Vault is a double of HashiCorp Vault with the transit engine mounted at
// "transit" (developer.hashicorp.com/vault/api-docs/secret/transit).
type Vault struct {
	*Faults
	// URL is its address, and Token the one token that it knows.
	URL, Token string

	t    testing.TB
	mu   sync.Mutex
	keys map[string]*Key
}

// NewVault starts a Vault without keys. It stops with the test.
func NewVault(t testing.TB) *Vault {
	t.Helper()
	v := &Vault{Faults: &Faults{stop: make(chan struct{})}, Token: "hvs." + rand.Text(), t: t, keys: map[string]*Key{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/transit/keys/{name}", v.read)
	mux.HandleFunc("POST /v1/transit/keys/{name}", v.create)
	mux.HandleFunc("PUT /v1/transit/keys/{name}", v.create)
	mux.HandleFunc("POST /v1/transit/keys/{name}/rotate", v.rotate)
	for _, method := range []string{"POST", "PUT"} {
		mux.HandleFunc(method+" /v1/transit/sign/{name}", v.sign)
		mux.HandleFunc(method+" /v1/transit/sign/{name}/{hash}", v.sign)
		mux.HandleFunc(method+" /v1/transit/verify/{name}", v.verify)
		mux.HandleFunc(method+" /v1/transit/verify/{name}/{hash}", v.verify)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { vaultError(w, http.StatusNotFound) })
	srv := httptest.NewServer(v.guard(mux))
	t.Cleanup(func() {
		close(v.stop)
		srv.CloseClientConnections()
		srv.Close()
	})
	v.URL = srv.URL
	return v
}

// Seal makes Vault answer 503 until it is healed.
func (v *Vault) Seal() { v.set(sealed) }

// Environment points clients at this Vault.
func (v *Vault) Environment() []string {
	return []string{"VAULT_ADDR=" + v.URL, "VAULT_TOKEN=" + v.Token, "TRANSIT_SECRET_ENGINE_PATH=", "VAULT_NAMESPACE="}
}

// Setenv sets Environment for the test.
func (v *Vault) Setenv(t *testing.T) { t.Helper(); setenv(t, v.Environment()) }

// Key makes a key, hashivault://NAME.
func (v *Vault) Key(name string, a Algorithm) *Key {
	v.t.Helper()
	k := newKey(v.t, name, a, hashivault.ReferenceScheme+name, v.signer)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keys[name] = k
	return k
}

func (v *Vault) signer(t testing.TB, k *Key) crypto.Signer {
	t.Helper()
	sv, err := hashivault.LoadSignerVerifier(k.reference, k.algorithm.hash(), options.WithRPCAuthOpts(options.RPCAuth{Address: v.URL, Token: v.Token, Path: "transit"}))
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := sv.CryptoSigner(t.Context(), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (v *Vault) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch v.arrive(r.Context()) {
		case down:
			panic(http.ErrAbortHandler)
		case sealed:
			vaultError(w, http.StatusServiceUnavailable, "Vault is sealed")
			return
		case denied:
			vaultError(w, http.StatusForbidden, "1 error occurred: permission denied for "+r.Header.Get("X-Vault-Token"))
			return
		}
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("X-Vault-Token")), []byte(v.Token)) != 1 {
			vaultError(w, http.StatusForbidden, "permission denied")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func vaultError(w http.ResponseWriter, code int, messages ...string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": append([]string{}, messages...)})
}

func vaultData(w http.ResponseWriter, data any) {
	_ = json.NewEncoder(w).Encode(map[string]any{"request_id": rand.Text(), "lease_id": "", "data": data})
}

// key finds the request's key, or answers as Vault does where there is none.
func (v *Vault) key(w http.ResponseWriter, r *http.Request, absent int) (*Key, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	k, ok := v.keys[r.PathValue("name")]
	if !ok {
		vaultError(w, absent)
	}
	return k, ok
}

func (v *Vault) read(w http.ResponseWriter, r *http.Request) {
	k, ok := v.key(w, r, http.StatusNotFound)
	if !ok {
		return
	}
	latest, _ := k.newest()
	keys := map[string]any{}
	for n := 1; n <= latest; n++ {
		s, _ := k.version(n)
		if s == nil {
			keys[strconv.Itoa(n)] = 1700000000 // of a symmetric key only the time is told
			continue
		}
		public := k.pem(s)
		name := string(k.algorithm)
		switch pub := s.Public().(type) {
		case *ecdsa.PublicKey:
			name = pub.Params().Name
		case ed25519.PublicKey:
			if !strings.HasPrefix(public, "-----BEGIN PUBLIC") {
				break // served
			}
			public = base64.StdEncoding.EncodeToString(pub)
		}
		keys[strconv.Itoa(n)] = map[string]any{"name": name, "public_key": public, "creation_time": "2026-01-02T03:04:05Z"}
	}
	vaultData(w, map[string]any{"name": k.name, "type": k.algorithm, "latest_version": latest, "keys": keys, "supports_signing": k.algorithm != Symmetric})
}

func (v *Vault) create(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Type Algorithm `json:"type"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		vaultError(w, http.StatusBadRequest, err.Error())
		return
	}
	if _, err := in.Type.generate(); err != nil {
		vaultError(w, http.StatusBadRequest, err.Error())
		return
	}
	v.mu.Lock()
	_, exists := v.keys[r.PathValue("name")]
	v.mu.Unlock()
	if !exists { // as Vault: a key that is there stays as it is
		v.Key(r.PathValue("name"), in.Type)
	}
	w.WriteHeader(http.StatusNoContent)
}

func (v *Vault) rotate(w http.ResponseWriter, r *http.Request) {
	if k, ok := v.key(w, r, http.StatusNotFound); ok {
		k.Rotate()
		w.WriteHeader(http.StatusNoContent)
	}
}

// vaultInput is what sign and verify take.
type vaultInput struct {
	Input      []byte `json:"input"`
	Prehashed  bool   `json:"prehashed"`
	KeyVersion string `json:"key_version"`
	Algorithm  string `json:"signature_algorithm"`
	Signature  string `json:"signature"`
}

// digest gives what is signed: Vault hashes the input itself, unless it was.
func (in vaultInput) digest(k *Key) (crypto.Hash, []byte) {
	hash := k.algorithm.hash()
	if in.Prehashed || hash == 0 {
		return hash, in.Input
	}
	h := hash.New()
	h.Write(in.Input)
	return hash, h.Sum(nil)
}

func (v *Vault) input(w http.ResponseWriter, r *http.Request) (k *Key, in vaultInput, ok bool) {
	if k, ok = v.key(w, r, http.StatusBadRequest); !ok {
		return nil, in, false
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		vaultError(w, http.StatusBadRequest, err.Error())
		return nil, in, false
	}
	if hash := r.PathValue("hash"); hash != "" && hash != fmt.Sprintf("sha2-%d", k.algorithm.hash().Size()*8) {
		vaultError(w, http.StatusBadRequest, "unsupported hash algorithm "+hash)
		return nil, in, false
	}
	return k, in, true
}

func (v *Vault) sign(w http.ResponseWriter, r *http.Request) {
	k, in, ok := v.input(w, r)
	if !ok {
		return
	}
	n, s := k.newest()
	if in.KeyVersion != "" && in.KeyVersion != "0" {
		var err error
		if n, err = strconv.Atoi(in.KeyVersion); err != nil {
			vaultError(w, http.StatusBadRequest, err.Error())
			return
		}
		if s, ok = k.version(n); !ok {
			vaultError(w, http.StatusBadRequest, "cannot sign: no such version")
			return
		}
	}
	hash, digest := in.digest(k)
	sig, err := sign(s, hash, digest)
	if err != nil {
		vaultError(w, http.StatusBadRequest, err.Error())
		return
	}
	vaultData(w, map[string]any{"signature": fmt.Sprintf("vault:v%d:%s", n, base64.StdEncoding.EncodeToString(sig)), "key_version": n})
}

func (v *Vault) verify(w http.ResponseWriter, r *http.Request) {
	k, in, ok := v.input(w, r)
	if !ok {
		return
	}
	var n int
	var encoded string
	if _, err := fmt.Sscanf(in.Signature, "vault:v%d:%s", &n, &encoded); err != nil {
		vaultError(w, http.StatusBadRequest, "invalid signature: no prefix")
		return
	}
	sig, err := base64.StdEncoding.DecodeString(encoded)
	s, found := k.version(n)
	if err != nil || !found || s == nil {
		vaultError(w, http.StatusBadRequest, "invalid signature")
		return
	}
	hash, digest := in.digest(k)
	vaultData(w, map[string]any{"valid": verifies(s.Public(), hash, digest, sig)})
}

// verifies checks a signature over a digest, or over a message where hash is 0.
func verifies(pub crypto.PublicKey, hash crypto.Hash, in, sig []byte) bool {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(pub, in, sig)
	case ed25519.PublicKey:
		return ed25519.Verify(pub, in, sig)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(pub, hash, in, sig) == nil
	default:
		return false
	}
}
