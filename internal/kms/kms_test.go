package kms

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/testkit/kmstest"
)

// readVariable has the test binary read a key, as another process would.
const readVariable = "SIGNET_KMS_TEST_READ"

func TestMain(m *testing.M) {
	if ref := os.Getenv(readVariable); ref != "" {
		r, err := New(Config{AllowedHosts: []string{os.Getenv("ALLOWED_HOST")}, Google: Google{Endpoint: os.Getenv("GOOGLE_ENDPOINT")}, Timeout: time.Minute})
		if err == nil {
			var text string
			text, err = r.PublicKeys(context.Background(), ref)
			fmt.Print(text)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// What the doubles say of the environment is enough for another process.
func TestAnotherProcess(t *testing.T) {
	v, a, g := kmstest.NewVault(t), kmstest.NewAWS(t), kmstest.NewGCP(t)
	for _, tt := range []struct {
		name string
		env  []string
		key  *kmstest.Key
	}{
		{"vault", v.Environment(), v.Key("release", kmstest.Ed25519)},
		{"aws", a.Environment(), a.Key("release", kmstest.ECDSAP256)},
		{"google", g.Environment(), g.Key("release", kmstest.ECDSAP256)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), tt.env...)
			cmd.Env = append(cmd.Env, readVariable+"="+tt.key.Reference(), "ALLOWED_HOST="+a.Host, "GOOGLE_ENDPOINT="+g.Endpoint)
			out, err := cmd.CombinedOutput()
			want, werr := signers.NewKey(tt.key.Public())
			if err != nil || werr != nil || string(out) != want.PEM {
				t.Errorf("it read %s (errors %v, %v), want %s", out, err, werr, want.PEM)
			}
		})
	}
}

// Without a token in configuration and environment it is read from the home folder,
// and no token helper is run.
func TestVaultTokenFile(t *testing.T) {
	v := kmstest.NewVault(t)
	v.Setenv(t)
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("VAULT_TOKEN", "")
	t.Setenv("BAO_TOKEN", "")
	var logged bytes.Buffer
	log.SetOutput(&logged)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	k := v.Key("release", kmstest.ECDSAP256)
	r := resolver(t, Config{})
	path := filepath.Join(home, ".vault-token")
	refused := func(what string) {
		t.Helper()
		if _, err := r.PublicKeys(t.Context(), k.Reference()); !errors.Is(err, ErrNotConfigured) || strings.Contains(err.Error(), home) {
			t.Errorf("%s: error %v, want %v", what, err, ErrNotConfigured)
		}
	}
	refused("no file")
	for content, ok := range map[string]bool{"\n": false, v.Token + "\n": true} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if ok {
			read(t, r, k.Reference())
		} else {
			refused("an empty file")
		}
	}
	t.Setenv("HOME", "")
	refused("no home")
	if logged.Len() > 0 {
		t.Errorf("logged %s", &logged)
	}
}

// double is what the three doubles have in common.
type double interface {
	Setenv(t *testing.T)
	Key(name string, a kmstest.Algorithm) *kmstest.Key
	Deny()
	Down()
	Slow(d time.Duration)
	Heal()
	Calls() int
}

// each runs a test on a fresh double of every service, with a Resolver that reaches it.
func each(t *testing.T, test func(t *testing.T, d double, r *Resolver)) {
	t.Helper()
	t.Run("vault", func(t *testing.T) {
		v := kmstest.NewVault(t)
		v.Setenv(t)
		test(t, v, resolver(t, Config{}))
	})
	t.Run("aws", func(t *testing.T) {
		a := kmstest.NewAWS(t)
		a.Setenv(t)
		test(t, a, resolver(t, Config{AllowedHosts: []string{a.Host}}))
	})
	t.Run("google", func(t *testing.T) {
		g := kmstest.NewGCP(t)
		g.Setenv(t)
		test(t, g, resolver(t, Config{Google: Google{Endpoint: g.Endpoint, RootCAs: g.RootCAs}}))
	})
}

// resolver waits long, unless the test is of the timeout: the machine may be busy.
func resolver(t *testing.T, cfg Config) *Resolver {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// read returns the one key that ref names.
func read(t *testing.T, r *Resolver, ref string) signers.Key {
	t.Helper()
	text, err := r.PublicKeys(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := signers.ParseKeys(text)
	if err != nil || len(keys) != 1 {
		t.Fatalf("%d keys, error %v, of %s", len(keys), err, text)
	}
	return keys[0]
}

// signature signs a message by the service.
func signature(t *testing.T, k *kmstest.Key, message []byte) []byte {
	t.Helper()
	var opts crypto.SignerOpts = crypto.SHA256
	sum := sha256.Sum256(message)
	in := sum[:]
	switch pub := k.Public().(type) {
	case ed25519.PublicKey:
		opts, in = crypto.Hash(0), message
	case *ecdsa.PublicKey:
		if pub.Params().Name == "P-384" {
			sum := sha512.Sum384(message)
			opts, in = crypto.SHA384, sum[:]
		}
	}
	sig, err := k.Signer(t).Sign(rand.Reader, in, opts)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func verifies(t *testing.T, pub crypto.PublicKey, message, sig []byte) bool {
	t.Helper()
	sum := sha256.Sum256(message)
	switch pub := pub.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(pub, message, sig)
	case *ecdsa.PublicKey:
		if pub.Params().Name == "P-384" {
			sum := sha512.Sum384(message)
			return ecdsa.VerifyASN1(pub, sum[:], sig)
		}
		return ecdsa.VerifyASN1(pub, sum[:], sig)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], sig) == nil
	default:
		t.Fatalf("a key of type %T", pub)
		return false
	}
}

// The key that is read verifies what the service signs, and after a rotation it is
// the other key, at once.
func TestReadsTheKeyThatSigns(t *testing.T) {
	each(t, func(t *testing.T, d double, r *Resolver) {
		algorithms := []kmstest.Algorithm{kmstest.ECDSAP256, kmstest.ECDSAP384, kmstest.RSA2048}
		if _, ok := d.(*kmstest.Vault); ok {
			algorithms[1] = kmstest.Ed25519
		}
		for _, a := range algorithms {
			t.Run(string(a), func(t *testing.T) {
				k := d.Key("release-"+string(a), a)
				message := []byte("sha256:abc")
				before := read(t, r, k.Reference())
				if before.Algorithm != string(a) {
					t.Errorf("algorithm %s, want %s", before.Algorithm, a)
				}
				old := signature(t, k, message)
				if !verifies(t, before.PublicKey, message, old) || verifies(t, before.PublicKey, []byte("another"), old) {
					t.Error("the key does not verify what the service signed")
				}

				k.Rotate()
				after := read(t, r, k.Reference())
				if after.Fingerprint == before.Fingerprint {
					t.Fatal("the rotation is not seen")
				}
				sig := signature(t, k, message)
				if !verifies(t, after.PublicKey, message, sig) || verifies(t, after.PublicKey, message, old) {
					t.Error("the key is not the one that signs after the rotation")
				}
			})
		}
	})
}

func TestServiceFails(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(d double, k *kmstest.Key)
		want  error
		text  []string // by service, in the order of each; one for all, or none
	}{
		{"denied", func(d double, _ *kmstest.Key) { d.Deny() }, ErrDenied, []string{"it answered HTTP 403; allow read on keys/NAME", "it answered AccessDeniedException; allow kms:GetPublicKey and kms:DescribeKey", "it answered PermissionDenied; allow cloudkms."}},
		{"down", func(d double, _ *kmstest.Key) { d.Down() }, ErrUnavailable, nil},
		{"no key but a number", func(_ double, k *kmstest.Key) { k.Serve([]byte("1")) }, ErrUnsupportedKey, []string{"the service answered, but not with such a key"}},
		{"huge key", func(_ double, k *kmstest.Key) { k.Serve(bytes.Repeat([]byte("A"), 3*maxAnswer)) }, nil, []string{"not with such a key", "more than 1048576 bytes", "it answered ResourceExhausted"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := -1
			each(t, func(t *testing.T, d double, _ *Resolver) {
				n++
				cfg := configOf(d)
				if errors.Is(tt.want, ErrUnavailable) {
					cfg.Timeout = time.Second // their clients ask again and again
				}
				r := resolver(t, cfg)
				k := d.Key("release", kmstest.ECDSAP256)
				tt.spoil(d, k)
				_, err := r.PublicKeys(t.Context(), k.Reference())
				if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
					t.Fatalf("error %v, want %v", err, tt.want)
				}
				if len(tt.text) > 0 && !strings.Contains(err.Error(), tt.text[min(n, len(tt.text)-1)]) {
					t.Errorf("error %q, want %q", err, tt.text)
				}
				checkText(t, err, d)
				d.Heal()
				k.Serve(nil)
				read(t, resolver(t, configOf(d)), k.Reference())
			})
		})
	}
}

// configOf is what reaches a double.
func configOf(d double) Config {
	switch d := d.(type) {
	case *kmstest.AWS:
		return Config{AllowedHosts: []string{d.Host}}
	case *kmstest.GCP:
		return Config{Google: Google{Endpoint: d.Endpoint, RootCAs: d.RootCAs}}
	default:
		return Config{}
	}
}

// checkText: the doubles put the caller's secrets into their errors' prose.
func checkText(t *testing.T, err error, d double) {
	t.Helper()
	var secrets []string
	switch d := d.(type) {
	case *kmstest.Vault:
		secrets = []string{d.Token}
	case *kmstest.AWS:
		secrets = []string{d.Secret, d.AccessKey}
	case *kmstest.GCP:
		secrets = []string{"Bearer", "eyJ"}
	}
	for _, s := range secrets {
		if strings.Contains(err.Error(), s) {
			t.Errorf("error %q tells %q", err, s)
		}
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if strings.Contains(e.Error(), "Bearer") {
			t.Errorf("a wrapped error tells a token: %q", e)
		}
	}
}

func TestNotFound(t *testing.T) {
	each(t, func(t *testing.T, d double, r *Resolver) {
		ref := strings.Replace(d.Key("release", kmstest.ECDSAP256).Reference(), "release", "other", 1)
		if _, err := r.PublicKeys(t.Context(), ref); !errors.Is(err, ErrNotFound) {
			t.Errorf("error %v, want %v", err, ErrNotFound)
		}
	})
}

func TestDisabledKey(t *testing.T) {
	each(t, func(t *testing.T, d double, r *Resolver) {
		if _, ok := d.(*kmstest.Vault); ok {
			return // has no such thing
		}
		k := d.Key("release", kmstest.ECDSAP256)
		k.Disable()
		if _, err := r.PublicKeys(t.Context(), k.Reference()); !errors.Is(err, ErrNotFound) {
			t.Errorf("error %v, want %v", err, ErrNotFound)
		}
		if _, ok := d.(*kmstest.GCP); !ok {
			return
		}
		if _, err := r.PublicKeys(t.Context(), k.Reference()+"/cryptoKeyVersions/1"); !errors.Is(err, ErrNotFound) {
			t.Errorf("a version of it: error %v, want %v", err, ErrNotFound)
		}
	})
}

func TestSymmetricKey(t *testing.T) {
	each(t, func(t *testing.T, d double, r *Resolver) {
		k := d.Key("disk", kmstest.Symmetric)
		if _, err := r.PublicKeys(t.Context(), k.Reference()); !errors.Is(err, ErrUnsupportedKey) {
			t.Errorf("error %v, want %v", err, ErrUnsupportedKey)
		}
	})
}

// A key that sigstore's clients read and that nothing is verified with here.
func TestKeyOfAWrongType(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(weak.Public())
	if err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, d double, r *Resolver) {
		k := d.Key("release", kmstest.RSA2048)
		if _, ok := d.(*kmstest.AWS); ok {
			k.Serve(der)
		} else {
			k.Serve(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		}
		_, err := r.PublicKeys(t.Context(), k.Reference())
		if !errors.Is(err, ErrUnsupportedKey) || !strings.Contains(err.Error(), "1024 bits") {
			t.Errorf("error %v, want %v that names the size", err, ErrUnsupportedKey)
		}
	})
}

// The timeout and the caller's context end a call, whatever the client does.
func TestSlow(t *testing.T) {
	each(t, func(t *testing.T, d double, r *Resolver) {
		k := d.Key("release", kmstest.ECDSAP256)
		d.Slow(time.Hour)
		cfg := configOf(d)
		cfg.Timeout = 100 * time.Millisecond
		_, err := resolver(t, cfg).PublicKeys(t.Context(), k.Reference())
		if !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after the timeout: error %v, want %v", err, ErrUnavailable)
		}

		ctx, cancel := context.WithCancel(t.Context())
		arrived := d.Calls()
		go func() {
			for d.Calls() == arrived {
				time.Sleep(time.Millisecond)
			}
			cancel()
		}()
		_, err = r.PublicKeys(ctx, k.Reference())
		if !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: error %v, want %v", err, ErrUnavailable)
		}
	})
}

// Calls that hang are bounded: further ones wait, and go on when the service does.
func TestHungCallsAreBounded(t *testing.T) {
	v := kmstest.NewVault(t)
	v.Setenv(t)
	k := v.Key("release", kmstest.ECDSAP256)
	r := resolver(t, Config{Timeout: 50 * time.Millisecond})
	v.Slow(time.Hour)
	for range 2 * maxCalls {
		if _, err := r.PublicKeys(t.Context(), k.Reference()); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("error %v, want %v", err, ErrUnavailable)
		}
	}
	if n := v.Calls(); n > maxCalls {
		t.Errorf("%d calls are under way, want at most %d", n, maxCalls)
	}
}

func TestSealedVault(t *testing.T) {
	v := kmstest.NewVault(t)
	v.Setenv(t)
	k := v.Key("release", kmstest.ECDSAP256)
	v.Seal()
	r := resolver(t, Config{})
	_, err := r.PublicKeys(t.Context(), k.Reference())
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "Vault: it answered HTTP 503") {
		t.Errorf("error %v, want %v with 503", err, ErrUnavailable)
	}
	v.Heal()
	read(t, r, k.Reference())
}

func TestThrottledAWS(t *testing.T) {
	a := kmstest.NewAWS(t)
	a.Setenv(t)
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	k := a.Key("release", kmstest.ECDSAP256)
	a.Throttle()
	_, err := resolver(t, Config{AllowedHosts: []string{a.Host}}).PublicKeys(t.Context(), k.Reference())
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "ThrottlingException") {
		t.Errorf("error %v, want %v", err, ErrUnavailable)
	}
}

// An alias moves to another key; an id and its ARN stay with theirs.
func TestAWSNames(t *testing.T) {
	a := kmstest.NewAWS(t)
	a.Setenv(t)
	r := resolver(t, Config{AllowedHosts: []string{a.Host}})
	k := a.Key("release", kmstest.ECDSAP256)
	first := read(t, r, k.Reference()).Fingerprint
	refs := a.References(k)
	for _, ref := range refs {
		if got := read(t, r, ref).Fingerprint; got != first {
			t.Errorf("%s is the key %s, want %s", ref, got, first)
		}
	}
	k.Rotate()
	for i, same := range []bool{true, true, false} {
		if got := read(t, r, refs[i]).Fingerprint; (got == first) != same {
			t.Errorf("after the rotation %s is the same key: %v, want %v", refs[i], got == first, same)
		}
	}
}

func TestGoogleVersion(t *testing.T) {
	g := kmstest.NewGCP(t)
	g.Setenv(t)
	r := resolver(t, configOf(g))
	k := g.Key("release", kmstest.ECDSAP256)
	first := read(t, r, k.Reference()).Fingerprint
	k.Rotate()
	for _, tt := range []struct {
		version string
		same    bool
	}{{"/cryptoKeyVersions/1", true}, {"/versions/1", true}, {"/cryptoKeyVersions/2", false}} {
		if got := read(t, r, k.Reference()+tt.version).Fingerprint; (got == first) != tt.same {
			t.Errorf("%s is the first key: %v, want %v", tt.version, got == first, tt.same)
		}
	}
	if _, err := r.PublicKeys(t.Context(), k.Reference()+"/cryptoKeyVersions/3"); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v, want %v", err, ErrNotFound)
	}
}

func TestWrongCredentials(t *testing.T) {
	each(t, func(t *testing.T, d double, r *Resolver) {
		k := d.Key("release", kmstest.ECDSAP256)
		switch d.(type) {
		case *kmstest.Vault:
			t.Setenv("VAULT_TOKEN", "hvs.another")
		case *kmstest.AWS:
			t.Setenv("AWS_SECRET_ACCESS_KEY", "another")
		case *kmstest.GCP:
			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", kmstest.NewGCP(t).CredentialsFile)
		}
		if _, err := r.PublicKeys(t.Context(), k.Reference()); !errors.Is(err, ErrDenied) {
			t.Errorf("error %v, want %v", err, ErrDenied)
		}
	})
}

func TestNotConfigured(t *testing.T) {
	each(t, func(t *testing.T, d double, r *Resolver) {
		k := d.Key("release", kmstest.ECDSAP256)
		mend := ""
		switch d.(type) {
		case *kmstest.Vault:
			t.Setenv("VAULT_ADDR", "")
			t.Setenv("BAO_ADDR", "")
			mend = "set VAULT_ADDR and VAULT_TOKEN"
		case *kmstest.AWS:
			t.Setenv("AWS_ACCESS_KEY_ID", "")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "")
			mend = "set AWS_REGION and credentials"
		case *kmstest.GCP:
			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/does/not/exist.json")
			mend = "set GOOGLE_APPLICATION_CREDENTIALS"
		}
		if _, err := r.PublicKeys(t.Context(), k.Reference()); !errors.Is(err, ErrNotConfigured) || !strings.Contains(err.Error(), mend) {
			t.Errorf("error %v, want %v with %q", err, ErrNotConfigured, mend)
		}
	})
}

func TestNoRegion(t *testing.T) {
	a := kmstest.NewAWS(t)
	a.Setenv(t)
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	if _, err := resolver(t, Config{}).PublicKeys(t.Context(), "awskms:///alias/release"); !errors.Is(err, ErrNotConfigured) {
		t.Errorf("error %v, want %v", err, ErrNotConfigured)
	}
}

// What the configuration says of Vault wins over the environment.
func TestVaultByConfiguration(t *testing.T) {
	v := kmstest.NewVault(t)
	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1")
	t.Setenv("VAULT_TOKEN", "hvs.another")
	t.Setenv("TRANSIT_SECRET_ENGINE_PATH", "elsewhere")
	k := v.Key("release", kmstest.ECDSAP256)
	cfg := Config{Vault: Vault{Address: v.URL, Token: v.Token, Path: "transit"}}
	read(t, resolver(t, cfg), k.Reference())
	if text := cfg.Vault.LogValue().String(); strings.Contains(text, v.Token) || !strings.Contains(text, v.URL) {
		t.Errorf("logged as %s", text)
	}
}

// Nothing listens where the reference leads. The password of an address stays with us.
func TestUnreachable(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	a := kmstest.NewAWS(t)
	a.Setenv(t)
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	g := kmstest.NewGCP(t)
	g.Setenv(t)
	cfg := Config{
		AllowedHosts: []string{closed}, Google: Google{Endpoint: closed, RootCAs: g.RootCAs},
		Vault: Vault{Address: "http://user:hunter2@" + closed, Token: "hvs.secret"},
	}
	for _, tt := range []struct {
		name, ref, text string
		timeout         time.Duration
	}{
		{"vault", "hashivault://release", "connection refused", 0},
		{"aws", "awskms://" + closed + "/alias/release", "connection refused", 0},
		// Their clients try for longer than anyone waits.
		{"google", g.Key("release", kmstest.ECDSAP256).Reference(), "no answer in time", time.Second},
		{"azure", "azurekms://" + closed + "/release", "no answer in time", time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := cfg
			cfg.Timeout = tt.timeout
			_, err := resolver(t, cfg).PublicKeys(t.Context(), tt.ref)
			if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v, want %v with %q", err, ErrUnavailable, tt.text)
			}
			if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "hvs.")) {
				t.Errorf("error %q tells a secret", err)
			}
		})
	}
}

func TestNew(t *testing.T) {
	tests := []struct {
		name string
		cfg  Config
		want string
	}{
		{"a URL among the hosts", Config{AllowedHosts: []string{"localhost:4566", "https://kms.example.com"}}, `kms.allowed_hosts[1]: "https://kms.example.com" is not HOST or HOST:PORT`},
		{"an empty host", Config{AllowedHosts: []string{""}}, "kms.allowed_hosts[0]"},
		{"a pattern", Config{AllowedHosts: []string{"*.example.com"}}, "kms.allowed_hosts[0]"},
		{"a negative timeout", Config{Timeout: -1}, "kms.timeout"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if r, err := New(tt.cfg); r != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New = %v, %v; want %q", r, err, tt.want)
			}
		})
	}
	if r, err := New(Config{}); err != nil || r.timeout != 5*time.Second {
		t.Errorf("New = %+v, %v", r, err)
	}
}
