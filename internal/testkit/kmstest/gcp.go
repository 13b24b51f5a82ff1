package kmstest

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/sigstore/sigstore/pkg/signature/kms/gcp"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const gcpRing = "projects/acme/locations/global/keyRings/signet"

// GCP is a double of Google's Cloud KMS: gRPC over TLS, where callers show a JWT
// that their service account signed itself (google.aip.dev/auth/4111).
type GCP struct {
	kmspb.UnimplementedKeyManagementServiceServer
	*Faults
	// Endpoint is HOST:PORT.
	Endpoint string
	// CA is the PEM of whom its certificate comes from; RootCAs and CAFile hold it.
	CA      []byte
	CAFile  string
	RootCAs *x509.CertPool
	// CredentialsFile is the key of the one service account that it knows.
	CredentialsFile string

	t       testing.TB
	account *rsa.PrivateKey
	mu      sync.Mutex
	keys    map[string]*Key // by resource name
}

// NewGCP starts a KMS without keys. It stops with the test.
func NewGCP(t testing.TB) *GCP {
	t.Helper()
	cert, ca := certificate(t)
	account, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	g := &GCP{Faults: &Faults{stop: make(chan struct{})}, CA: ca, CAFile: write(t, "ca.pem", ca), RootCAs: x509.NewCertPool(), t: t, account: account, keys: map[string]*Key{}}
	g.RootCAs.AppendCertsFromPEM(ca)
	g.CredentialsFile = write(t, "account.json", g.accountKey(account))

	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.Endpoint = l.Addr().String()
	srv := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})), grpc.UnaryInterceptor(g.guard))
	kmspb.RegisterKeyManagementServiceServer(srv, g)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		close(g.stop)
		srv.Stop()
		// A test that ends at once may stop the server before it serves.
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serving Cloud KMS: %v", err)
		}
	})
	return g
}

// accountKey is a service account's key file. Where it says to fetch a token, there
// is nothing: the client signs its own.
func (g *GCP) accountKey(key *rsa.PrivateKey) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		g.t.Fatal(err)
	}
	b, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "acme", "private_key_id": "1", "client_email": "signet@acme.iam.gserviceaccount.com", "client_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": "https://127.0.0.1:1/token",
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return b
}

// Environment gives clients their credentials and, where they are another process,
// the CA. The endpoint has no variable: it is told by configuration.
func (g *GCP) Environment() []string {
	return []string{"GOOGLE_APPLICATION_CREDENTIALS=" + g.CredentialsFile, "SSL_CERT_FILE=" + g.CAFile, "GOOGLE_CLOUD_UNIVERSE_DOMAIN="}
}

// Setenv sets Environment for the test.
func (g *GCP) Setenv(t *testing.T) { t.Helper(); setenv(t, g.Environment()) }

// Key makes a key of that name.
func (g *GCP) Key(name string, a Algorithm) *Key {
	g.t.Helper()
	mustBe(g.t, a, ECDSAP256, ECDSAP384, RSA2048, Symmetric)
	resource := gcpRing + "/cryptoKeys/" + name
	k := newKey(g.t, name, a, gcp.ReferenceScheme+resource, g.signer)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keys[resource] = k
	return k
}

func (g *GCP) signer(t testing.TB, k *Key) crypto.Signer {
	t.Helper()
	conn, err := grpc.NewClient(g.Endpoint, grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(g.RootCAs, "")), grpc.WithPerRPCCredentials(selfSigned{g.account}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	sv, err := gcp.LoadSignerVerifier(t.Context(), k.reference, option.WithGRPCConn(conn))
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := sv.CryptoSigner(t.Context(), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// selfSigned shows a JWT of the account.
type selfSigned struct{ key *rsa.PrivateKey }

func (s selfSigned) RequireTransportSecurity() bool { return true }

func (s selfSigned) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	part := func(v any) string {
		b, _ := json.Marshal(v) // of strings and numbers
		return base64.RawURLEncoding.EncodeToString(b)
	}
	in := part(map[string]string{"alg": "RS256", "typ": "JWT"}) + "." + part(map[string]any{"iss": "kmstest", "exp": time.Now().Add(time.Hour).Unix()})
	sum := sha256.Sum256([]byte(in))
	sig, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, sum[:])
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + in + "." + base64.RawURLEncoding.EncodeToString(sig)}, nil
}

func (g *GCP) guard(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	switch g.arrive(ctx) {
	case down:
		return nil, status.Error(codes.Unavailable, "The service is currently unavailable.")
	case denied:
		md, _ := metadata.FromIncomingContext(ctx)
		return nil, status.Error(codes.PermissionDenied, "Permission denied on resource: "+strings.Join(md.Get("authorization"), ""))
	}
	if !g.knows(ctx) {
		return nil, status.Error(codes.Unauthenticated, "Request had invalid authentication credentials.")
	}
	return handler(ctx, req)
}

// knows says whether the caller's JWT bears the account's signature and lasts.
func (g *GCP) knows(ctx context.Context) bool {
	md, _ := metadata.FromIncomingContext(ctx)
	jwt, ok := strings.CutPrefix(strings.Join(md.Get("authorization"), ""), "Bearer ")
	dot := strings.LastIndex(jwt, ".")
	if !ok || dot < 0 {
		return false
	}
	sig, err := base64.RawURLEncoding.DecodeString(jwt[dot+1:])
	if err != nil {
		return false
	}
	sum := sha256.Sum256([]byte(jwt[:dot]))
	if rsa.VerifyPKCS1v15(&g.account.PublicKey, crypto.SHA256, sum[:], sig) != nil {
		return false
	}
	_, payload, _ := strings.Cut(jwt[:dot], ".")
	var claims struct {
		Expires int64 `json:"exp"`
	}
	b, err := base64.RawURLEncoding.DecodeString(payload)
	return err == nil && json.Unmarshal(b, &claims) == nil && time.Now().Unix() < claims.Expires
}

func (g *GCP) find(name string) (*Key, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	k, ok := g.keys[name]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "CryptoKey %s not found.", name)
	}
	return k, nil
}

// findVersion takes KEY/cryptoKeyVersions/N.
func (g *GCP) findVersion(name string) (*Key, crypto.Signer, error) {
	parent, number, _ := strings.Cut(name, "/cryptoKeyVersions/")
	k, err := g.find(parent)
	if err != nil {
		return nil, nil, err
	}
	n, _ := strconv.Atoi(number) // what is no number is no version
	s, ok := k.version(n)
	if !ok {
		return nil, nil, status.Errorf(codes.NotFound, "CryptoKeyVersion %s not found.", name)
	}
	return k, s, nil
}

func gcpAlgorithm(a Algorithm) kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm {
	switch a {
	case ECDSAP384:
		return kmspb.CryptoKeyVersion_EC_SIGN_P384_SHA384
	case RSA2048:
		return kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_2048_SHA256
	default:
		return kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256
	}
}

func gcpVersion(k *Key, name string) *kmspb.CryptoKeyVersion {
	state := kmspb.CryptoKeyVersion_ENABLED
	if k.isDisabled() {
		state = kmspb.CryptoKeyVersion_DISABLED
	}
	return &kmspb.CryptoKeyVersion{Name: name, State: state, Algorithm: gcpAlgorithm(k.algorithm)}
}

// GetCryptoKey is of the service.
func (g *GCP) GetCryptoKey(_ context.Context, req *kmspb.GetCryptoKeyRequest) (*kmspb.CryptoKey, error) {
	k, err := g.find(req.GetName())
	if err != nil {
		return nil, err
	}
	purpose := kmspb.CryptoKey_ASYMMETRIC_SIGN
	if k.algorithm == Symmetric {
		purpose = kmspb.CryptoKey_ENCRYPT_DECRYPT
	}
	return &kmspb.CryptoKey{Name: req.GetName(), Purpose: purpose}, nil
}

// GetCryptoKeyVersion is of the service.
func (g *GCP) GetCryptoKeyVersion(_ context.Context, req *kmspb.GetCryptoKeyVersionRequest) (*kmspb.CryptoKeyVersion, error) {
	k, _, err := g.findVersion(req.GetName())
	if err != nil {
		return nil, err
	}
	return gcpVersion(k, req.GetName()), nil
}

// ListCryptoKeyVersions is of the service; it knows the one filter and the one
// order that sigstore's client asks for.
func (g *GCP) ListCryptoKeyVersions(_ context.Context, req *kmspb.ListCryptoKeyVersionsRequest) (*kmspb.ListCryptoKeyVersionsResponse, error) {
	k, err := g.find(req.GetParent())
	if err != nil {
		return nil, err
	}
	if req.GetFilter() != "state=ENABLED" || req.GetOrderBy() != "name desc" {
		return nil, status.Errorf(codes.InvalidArgument, "filter %q, order %q", req.GetFilter(), req.GetOrderBy())
	}
	out := &kmspb.ListCryptoKeyVersionsResponse{}
	latest, _ := k.newest()
	for n := latest; n > 0 && !k.isDisabled(); n-- {
		out.CryptoKeyVersions = append(out.CryptoKeyVersions, gcpVersion(k, fmt.Sprintf("%s/cryptoKeyVersions/%d", req.GetParent(), n)))
	}
	return out, nil
}

// GetPublicKey is of the service.
func (g *GCP) GetPublicKey(_ context.Context, req *kmspb.GetPublicKeyRequest) (*kmspb.PublicKey, error) {
	k, s, err := g.findVersion(req.GetName())
	if err != nil {
		return nil, err
	}
	if k.isDisabled() {
		return nil, status.Errorf(codes.FailedPrecondition, "%s is not enabled, current state is: DISABLED.", req.GetName())
	}
	text := k.pem(s)
	return &kmspb.PublicKey{Name: req.GetName(), Pem: text, Algorithm: gcpAlgorithm(k.algorithm), PemCrc32C: checksum([]byte(text))}, nil
}

// AsymmetricSign is of the service.
func (g *GCP) AsymmetricSign(_ context.Context, req *kmspb.AsymmetricSignRequest) (*kmspb.AsymmetricSignResponse, error) {
	k, s, err := g.findVersion(req.GetName())
	if err != nil {
		return nil, err
	}
	digest := req.GetDigest().GetSha256()
	if k.algorithm.hash() == crypto.SHA384 {
		digest = req.GetDigest().GetSha384()
	}
	if want := req.GetDigestCrc32C(); want != nil && want.GetValue() != checksum(digest).GetValue() {
		return nil, status.Error(codes.InvalidArgument, "the digest's checksum is another")
	}
	sig, err := sign(s, k.algorithm.hash(), digest)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &kmspb.AsymmetricSignResponse{Name: req.GetName(), Signature: sig, SignatureCrc32C: checksum(sig), VerifiedDigestCrc32C: req.GetDigestCrc32C() != nil}, nil
}

func checksum(b []byte) *wrapperspb.Int64Value {
	return wrapperspb.Int64(int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))))
}
