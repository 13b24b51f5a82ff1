package kmstest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	sigaws "github.com/sigstore/sigstore/pkg/signature/kms/aws"
	"github.com/sigstore/sigstore/pkg/signature/kms/hashivault"
	"github.com/sigstore/sigstore/pkg/signature/options"
	"go.uber.org/goleak"
	"google.golang.org/api/option"
	"google.golang.org/api/option/internaloption"
	gtransport "google.golang.org/api/transport/grpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every service signs with every kind of key that it has, through sigstore's client,
// and after a rotation with the new version.
func TestSigners(t *testing.T) {
	services := []struct {
		name string
		key  func(name string, a Algorithm) *Key
		has  []Algorithm
	}{
		{"vault", NewVault(t).Key, []Algorithm{ECDSAP256, ECDSAP384, Ed25519, RSA2048}},
		{"aws", NewAWS(t).Key, []Algorithm{ECDSAP256, ECDSAP384, RSA2048}},
		{"google", NewGCP(t).Key, []Algorithm{ECDSAP256, ECDSAP384, RSA2048}},
	}
	message := []byte("message")
	sum256, sum384 := sha256.Sum256(message), sha512.Sum384(message)
	for _, s := range services {
		for _, a := range s.has {
			t.Run(s.name+" "+string(a), func(t *testing.T) {
				in := map[crypto.Hash][]byte{0: message, crypto.SHA256: sum256[:], crypto.SHA384: sum384[:]}[a.hash()]
				k := s.key("k-"+string(a), a)
				first := k.Public()
				for range 2 {
					signer := k.Signer(t)
					sig, err := signer.Sign(rand.Reader, in, a.hash())
					if err != nil {
						t.Fatal(err)
					}
					if pub := signer.Public(); !verifies(pub, a.hash(), in, sig) || !verifies(k.Public(), a.hash(), in, sig) {
						t.Error("the signature does not verify")
					}
					k.Rotate()
				}
				sig, err := k.Signer(t).Sign(rand.Reader, in, a.hash())
				if err != nil || verifies(first, a.hash(), in, sig) {
					t.Errorf("after the rotation the first version signs (error %v)", err)
				}
			})
		}
	}
}

func TestSignRefuses(t *testing.T) {
	ec, err := ECDSAP256.generate()
	if err != nil {
		t.Fatal(err)
	}
	ed, err := Ed25519.generate()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		key  crypto.Signer
		hash crypto.Hash
		in   []byte
	}{
		{"symmetric", nil, crypto.SHA256, make([]byte, 32)},
		{"digest of another length", ec, crypto.SHA256, make([]byte, 31)},
		{"message for a key that signs digests", ec, 0, []byte("message")},
		{"digest for a key that signs messages", ed, crypto.SHA256, make([]byte, 32)},
	} {
		if sig, err := sign(tt.key, tt.hash, tt.in); err == nil {
			t.Errorf("%s: signed: %x", tt.name, sig)
		}
	}
	if _, err := Algorithm("des").generate(); err == nil {
		t.Error("made a key of type des")
	}
	if verifies("no key", crypto.SHA256, nil, nil) {
		t.Error("a signature of no key verifies")
	}
}

// Sigstore's client makes a key in Vault and has Vault verify.
func TestVaultCreatesAndVerifies(t *testing.T) {
	v := NewVault(t)
	v.Setenv(t)
	sv, err := hashivault.LoadSignerVerifier("hashivault://made", crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	made, err := sv.CreateKey(t.Context(), hashivault.AlgorithmECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := sv.CreateKey(t.Context(), hashivault.AlgorithmECDSAP256); err != nil || !equal(made, again) {
		t.Errorf("a key that is there was made again (error %v)", err)
	}
	sig, err := sv.SignMessage(strings.NewReader("message"))
	if err != nil {
		t.Fatal(err)
	}
	if err := sv.VerifySignature(bytes.NewReader(sig), strings.NewReader("message")); err != nil {
		t.Error(err)
	}
	if err := sv.VerifySignature(bytes.NewReader(sig), strings.NewReader("another")); err == nil {
		t.Error("Vault verifies another message")
	}

	if code, body := v.do(t, http.MethodPost, "keys/made/rotate", "{}", v.Token); code != http.StatusNoContent {
		t.Fatalf("rotate: %d %s", code, body)
	}
	old, err := sv.SignMessage(strings.NewReader("message"), options.WithKeyVersion("1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := sv.VerifySignature(bytes.NewReader(old), strings.NewReader("message"), options.WithKeyVersion("1")); err != nil {
		t.Errorf("version 1: %v", err)
	}
	if err := sv.VerifySignature(bytes.NewReader(old), strings.NewReader("message"), options.WithKeyVersion("2")); err == nil {
		t.Error("version 2 verifies what version 1 signed")
	}
}

func equal(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(x crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// do asks Vault's transit engine without a client.
func (v *Vault) do(t *testing.T, method, path, body, token string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, v.URL+"/v1/transit/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", token)
	return send(t, http.DefaultTransport, req)
}

func send(t *testing.T, rt http.RoundTripper, req *http.Request) (int, string) {
	t.Helper()
	req.Close = true
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestVaultRefuses(t *testing.T) {
	v := NewVault(t)
	v.Key("k", ECDSAP256)
	v.Key("disk", Symmetric)
	const digest = `{"input": "aGVsbG8=", "prehashed": true}`
	for _, tt := range []struct {
		name, method, path, body string
		code                     int
		want                     string
	}{
		{"unknown key", "GET", "keys/other", "", 404, `"errors":[]`},
		{"unknown path", "GET", "export/k", "", 404, `"errors":[]`},
		{"unknown key type", "POST", "keys/other", `{"type": "des"}`, 400, "des"},
		{"create with garbage", "POST", "keys/other", `{`, 400, "errors"},
		{"rotate an unknown key", "POST", "keys/other/rotate", `{}`, 404, "errors"},
		{"sign with garbage", "POST", "sign/k", `{`, 400, "errors"},
		{"sign what is no digest", "POST", "sign/k/sha2-256", digest, 400, "no digest"},
		{"sign with another hash", "POST", "sign/k/sha2-512", digest, 400, "unsupported hash"},
		{"sign with an unknown key", "PUT", "sign/other", digest, 400, "errors"},
		{"sign with an unknown version", "PUT", "sign/k", `{"input": "", "key_version": "7"}`, 400, "no such version"},
		{"sign with a version that is no number", "PUT", "sign/k", `{"input": "", "key_version": "x"}`, 400, "errors"},
		{"sign with a symmetric key", "PUT", "sign/disk", `{"input": ""}`, 400, "does not sign"},
		{"verify with an unknown key", "PUT", "verify/other", digest, 400, "errors"},
		{"verify without a prefix", "PUT", "verify/k", `{"input": "", "signature": "AAAA"}`, 400, "no prefix"},
		{"verify an unknown version", "PUT", "verify/k", `{"input": "", "signature": "vault:v7:AAAA"}`, 400, "invalid signature"},
	} {
		if code, body := v.do(t, tt.method, tt.path, tt.body, v.Token); code != tt.code || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %s, want %d %s", tt.name, code, body, tt.code, tt.want)
		}
	}
	if code, body := v.do(t, "GET", "keys/k", "", "another"); code != 403 || !strings.Contains(body, "permission denied") {
		t.Errorf("another token: %d %s", code, body)
	}
	v.Seal()
	if code, body := v.do(t, "GET", "keys/k", "", v.Token); code != 503 || !strings.Contains(body, "Vault is sealed") {
		t.Errorf("sealed: %d %s", code, body)
	}
	v.Deny()
	if code, _ := v.do(t, "GET", "keys/k", "", v.Token); code != 403 {
		t.Errorf("denied: %d", code)
	}
}

func TestAWSRefuses(t *testing.T) {
	a := NewAWS(t)
	k := a.Key("k", ECDSAP256)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.CA)
	rt := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+a.Host+"/", strings.NewReader(`{"KeyId": "alias/k"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Target", "TrentService.GetPublicKey")
	if code, body := send(t, rt, req); code != 400 || !strings.Contains(body, "UnrecognizedClientException") {
		t.Errorf("unsigned: %d %s", code, body)
	}
	signer := k.Signer(t)
	k.Disable()
	if _, err := signer.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err == nil || !strings.Contains(err.Error(), "DisabledException") {
		t.Errorf("disabled: error %v", err)
	}
}

func TestGCPRefuses(t *testing.T) {
	g := NewGCP(t)
	k := g.Key("k", ECDSAP256)
	version := strings.TrimPrefix(k.Reference(), "gcpkms://") + "/cryptoKeyVersions/1"
	conn, err := grpc.NewClient(g.Endpoint, grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(g.RootCAs, "")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := kmspb.NewKeyManagementServiceClient(conn)
	known, err := selfSigned{g.account}.GetRequestMetadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ours := metadata.NewOutgoingContext(t.Context(), metadata.New(known))
	digest := &kmspb.Digest{Digest: &kmspb.Digest_Sha256{Sha256: make([]byte, 32)}}
	ask := func(ctx context.Context, name string, crc int64) error {
		_, err := c.AsymmetricSign(ctx, &kmspb.AsymmetricSignRequest{Name: name, Digest: digest, DigestCrc32C: wrapperspb.Int64(crc)})
		return err
	}
	jwt := strings.TrimPrefix(known["authorization"], "Bearer ")
	for _, tt := range []struct {
		name string
		err  error
		want codes.Code
	}{
		{"accepted", ask(ours, version, checksum(make([]byte, 32)).GetValue()), codes.OK},
		{"another checksum", ask(ours, version, 1), codes.InvalidArgument},
		{"unknown version", ask(ours, version+"0", 0), codes.NotFound},
		{"unknown key", ask(ours, "projects/p", 0), codes.NotFound},
		{"no token", ask(t.Context(), version, 0), codes.Unauthenticated},
		{"a token that is none", ask(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer a.b.?"), version, 0), codes.Unauthenticated},
		{"a changed token", ask(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer x"+jwt), version, 0), codes.Unauthenticated},
	} {
		if got := status.Code(tt.err); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, tt.err, tt.want)
		}
	}
	_, err = c.ListCryptoKeyVersions(ours, &kmspb.ListCryptoKeyVersionsRequest{Parent: strings.TrimPrefix(k.Reference(), "gcpkms://")})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("a list that sigstore's client does not ask for: %v", err)
	}
	g.Down()
	if err := ask(ours, version, 0); status.Code(err) != codes.Unavailable {
		t.Errorf("down: %v", err)
	}
}

// public reads a key over the wire, by a client that is set up by the environment
// alone where there is one.
func public(t *testing.T, d any, k *Key) (crypto.PublicKey, error) {
	t.Helper()
	switch d := d.(type) {
	case *Vault:
		d.Setenv(t)
		sv, err := hashivault.LoadSignerVerifier(k.Reference(), crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		return sv.PublicKey()
	case *AWS:
		d.Setenv(t)
		t.Setenv("AWS_MAX_ATTEMPTS", "1")
		client := awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) { tr.DisableKeepAlives = true })
		sv, err := sigaws.LoadSignerVerifier(t.Context(), k.Reference(), config.WithHTTPClient(client))
		if err != nil {
			t.Fatal(err)
		}
		return sv.PublicKey(options.WithContext(t.Context()))
	case *GCP:
		d.Setenv(t)
		conn, err := gtransport.Dial(t.Context(), option.WithEndpoint(d.Endpoint), option.WithAudiences("https://cloudkms.googleapis.com/"),
			option.WithGRPCDialOption(grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(d.RootCAs, ""))), internaloption.EnableNewAuthLibrary(), option.WithTelemetryDisabled())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		got, err := kmspb.NewKeyManagementServiceClient(conn).GetPublicKey(t.Context(), &kmspb.GetPublicKeyRequest{Name: strings.TrimPrefix(k.Reference(), "gcpkms://") + "/cryptoKeyVersions/1"})
		if err != nil {
			return nil, err
		}
		return cryptoutils.UnmarshalPEMToPublicKey([]byte(got.GetPem()))
	default:
		t.Fatalf("%T", d)
		return nil, nil
	}
}

func TestFaults(t *testing.T) {
	v, a, g := NewVault(t), NewAWS(t), NewGCP(t)
	for _, tt := range []struct {
		name   string
		double any
		key    *Key
		faults *Faults
		denied string
		down   string
	}{
		{"vault", v, v.Key("k", RSA2048), v.Faults, "403", "EOF"},
		{"aws", a, a.Key("k", RSA2048), a.Faults, "AccessDeniedException", "EOF"},
		{"google", g, g.Key("k", RSA2048), g.Faults, "PermissionDenied", "Unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check := func(what, want string) {
				t.Helper()
				calls := tt.faults.Calls()
				pub, err := public(t, tt.double, tt.key)
				switch {
				case tt.faults.Calls() == calls:
					t.Errorf("%s: nothing was asked over the wire", what)
				case want == "" && (err != nil || !equal(pub, tt.key.Public())):
					t.Errorf("%s: %v, error %v", what, pub, err)
				case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
					t.Errorf("%s: error %v, want %q", what, err, want)
				}
			}
			check("healthy", "")
			tt.faults.Deny()
			check("denied", tt.denied)
			tt.faults.Down()
			check("down", tt.down)
			tt.faults.Heal()
			tt.faults.Slow(time.Millisecond)
			check("slow", "")
			tt.faults.Heal()
			tt.key.Serve([]byte("garbage"))
			if _, err := public(t, tt.double, tt.key); err == nil {
				t.Error("garbage is served and a key is read")
			}
			tt.key.Serve(nil)
			check("healed", "")
		})
	}
	a.Throttle()
	if _, err := public(t, a, a.Key("k", ECDSAP256)); err == nil || !strings.Contains(err.Error(), "ThrottlingException") {
		t.Errorf("throttled: %v", err)
	}
	a.Heal()
}

// AWS knows a key by id and by ARN too, and those stay with it when the alias moves on.
func TestAWSNames(t *testing.T) {
	a := NewAWS(t)
	k := a.Key("k", ECDSAP256)
	refs := a.References(k)
	first := k.Public()
	k.Rotate()
	for i, want := range []crypto.PublicKey{first, first, k.Public()} {
		if pub, err := public(t, a, k.named(refs[i])); err != nil || !equal(pub, want) {
			t.Errorf("%s: %v, error %v", refs[i], pub, err)
		}
	}
	for _, ref := range []string{strings.Replace(refs[1], awsRegion, "us-east-1", 1), strings.Replace(refs[2], "/k", "/other", 1)} {
		if _, err := public(t, a, k.named(ref)); err == nil || !strings.Contains(err.Error(), "NotFoundException") {
			t.Errorf("%s: error %v", ref, err)
		}
	}
	if _, err := public(t, a, a.Key("disk", Symmetric)); err == nil || !strings.Contains(err.Error(), "UnsupportedOperationException") {
		t.Errorf("symmetric: error %v", err)
	}
}

// named is a key with no more than another reference.
func (k *Key) named(ref string) *Key { return &Key{t: k.t, reference: ref} }

func TestGCPVersions(t *testing.T) {
	g := NewGCP(t)
	k := g.Key("k", ECDSAP256)
	pinned := k.named(k.Reference() + "/cryptoKeyVersions/1")
	pinned.algorithm = ECDSAP256
	first := k.Public()
	k.Rotate()
	if pub := g.signer(t, pinned).Public(); !equal(pub, first) {
		t.Error("version 1 is another key after the rotation")
	}
	k.Disable()
	if _, err := public(t, g, k); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("disabled: error %v", err)
	}
}

// Environment is for processes: each variable once, and the file that it names is there.
func TestEnvironment(t *testing.T) {
	g := NewGCP(t)
	for _, env := range [][]string{NewVault(t).Environment(), NewAWS(t).Environment(), g.Environment()} {
		seen := map[string]bool{}
		for _, e := range env {
			name, _, ok := strings.Cut(e, "=")
			if !ok || seen[name] {
				t.Errorf("%q in %q", e, env)
			}
			seen[name] = true
		}
	}
	var account map[string]string
	if err := json.Unmarshal(g.accountKey(g.account), &account); err != nil || account["type"] != "service_account" {
		t.Errorf("account %v, error %v", account, err)
	}
}
