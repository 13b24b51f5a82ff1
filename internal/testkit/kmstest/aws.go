package kmstest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	sigaws "github.com/sigstore/sigstore/pkg/signature/kms/aws"
)

const (
	awsRegion  = "eu-central-1"
	awsAccount = "111122223333"
)

// AWS is a double of AWS KMS: the JSON 1.1 protocol over TLS, with requests signed
// by Signature Version 4 (docs.aws.amazon.com/kms/latest/APIReference).
type AWS struct {
	*Faults
	// Host is HOST:PORT, as a reference names it: awskms://HOST/…
	Host string
	// CA is the PEM of whom its certificate comes from; CAFile holds it.
	CA     []byte
	CAFile string
	// AccessKey and Secret are the credentials that it knows.
	AccessKey, Secret string

	t    testing.TB
	mu   sync.Mutex
	keys map[string]*Key  // by alias
	ids  map[string]awsID // by id: an AWS key never changes, an alias moves on
}

type awsID struct {
	key     *Key
	version int
}

// NewAWS starts a KMS without keys. It stops with the test.
func NewAWS(t testing.TB) *AWS {
	t.Helper()
	a := &AWS{
		Faults: &Faults{stop: make(chan struct{})}, t: t, keys: map[string]*Key{}, ids: map[string]awsID{},
		AccessKey: "AKIA" + rand.Text()[:16], Secret: rand.Text(),
	}
	cert, ca := certificate(t)
	a.CA, a.CAFile = ca, write(t, "ca.pem", ca)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(a.serve))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	t.Cleanup(func() {
		close(a.stop)
		srv.CloseClientConnections()
		srv.Close()
	})
	a.Host = srv.Listener.Addr().String()
	return a
}

// Throttle makes KMS answer ThrottlingException until it is healed.
func (a *AWS) Throttle() { a.set(throttled) }

// Environment gives clients region, credentials and CA, and nothing of the
// machine's own. Where KMS is, they learn from the reference.
func (a *AWS) Environment() []string {
	return []string{
		"AWS_REGION=" + awsRegion, "AWS_ACCESS_KEY_ID=" + a.AccessKey, "AWS_SECRET_ACCESS_KEY=" + a.Secret, "AWS_SESSION_TOKEN=", "AWS_PROFILE=",
		"AWS_CA_BUNDLE=" + a.CAFile, "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true",
	}
}

// Setenv sets Environment for the test.
func (a *AWS) Setenv(t *testing.T) { t.Helper(); setenv(t, a.Environment()) }

// Key makes a key with the alias of that name. Its Reference is the alias; Rotate
// has the alias name another key, as one does in AWS.
func (a *AWS) Key(name string, alg Algorithm) *Key {
	a.t.Helper()
	mustBe(a.t, alg, ECDSAP256, ECDSAP384, RSA2048, Symmetric)
	k := newKey(a.t, name, alg, "awskms://"+a.Host+"/alias/"+name, a.signer)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys["alias/"+name] = k
	return k
}

// References are the other names of the key that k's alias names now: its id, its
// ARN and the alias's ARN.
func (a *AWS) References(k *Key) []string {
	id := a.id(k)
	arn := fmt.Sprintf("arn:aws:kms:%s:%s:", awsRegion, awsAccount)
	var refs []string
	for _, key := range []string{id, arn + "key/" + id, arn + "alias/" + k.name} {
		refs = append(refs, "awskms://"+a.Host+"/"+key)
	}
	return refs
}

// id is that of the newest version.
func (a *AWS) id(k *Key) string {
	n, _ := k.newest()
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", k.name, n))
	h := hex.EncodeToString(sum[:16])
	id := strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids[id] = awsID{k, n}
	return id
}

func (a *AWS) signer(t testing.TB, k *Key) crypto.Signer {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.CA)
	client := awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) {
		tr.TLSClientConfig.RootCAs, tr.DisableKeepAlives = pool, true
	})
	sv, err := sigaws.LoadSignerVerifier(t.Context(), k.reference, config.WithRegion(awsRegion), config.WithHTTPClient(client),
		config.WithCredentialsProvider(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return a.credentials(), nil })))
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := sv.CryptoSigner(t.Context(), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (a *AWS) credentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: a.AccessKey, SecretAccessKey: a.Secret}
}

func (a *AWS) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller left
	}
	switch a.arrive(r.Context()) {
	case down:
		panic(http.ErrAbortHandler)
	case throttled:
		awsError(w, "ThrottlingException", "Rate exceeded")
		return
	case denied:
		awsError(w, "AccessDeniedException", "User: arn:aws:iam::"+awsAccount+":user/"+a.AccessKey+" is not authorized: "+a.Secret)
		return
	}
	if !a.signed(r, body) {
		awsError(w, "UnrecognizedClientException", "The security token included in the request is invalid.")
		return
	}
	var in struct {
		KeyID            string `json:"KeyId"`
		Message          []byte
		MessageType      string
		SigningAlgorithm string
	}
	if err := json.Unmarshal(body, &in); err != nil {
		awsError(w, "SerializationException", err.Error())
		return
	}
	k, n, ok := a.find(in.KeyID)
	if !ok {
		awsError(w, "NotFoundException", "Key '"+in.KeyID+"' does not exist")
		return
	}
	s, _ := k.version(n)
	id := a.id(k)
	out := map[string]any{"KeyId": fmt.Sprintf("arn:aws:kms:%s:%s:key/%s", awsRegion, awsAccount, id)}
	spec, algorithm := awsSpec(k.algorithm)
	operation, known := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	switch {
	case known && operation == "DescribeKey":
		out = map[string]any{"KeyMetadata": map[string]any{
			"KeyId": id, "Arn": out["KeyId"], "Enabled": !k.isDisabled(), "KeyState": map[bool]string{false: "Enabled", true: "Disabled"}[k.isDisabled()],
			"KeyUsage": "SIGN_VERIFY", "KeySpec": spec, "CustomerMasterKeySpec": spec, "SigningAlgorithms": []string{algorithm},
		}}
	case k.isDisabled():
		awsError(w, "DisabledException", id+" is disabled.")
		return
	case s == nil:
		awsError(w, "UnsupportedOperationException", "")
		return
	case known && operation == "GetPublicKey":
		out["PublicKey"], out["KeySpec"], out["KeyUsage"], out["SigningAlgorithms"] = k.der(s), spec, "SIGN_VERIFY", []string{algorithm}
	case known && operation == "Sign" && in.MessageType == "DIGEST" && in.SigningAlgorithm == algorithm:
		sig, err := sign(s, k.algorithm.hash(), in.Message)
		if err != nil {
			awsError(w, "ValidationException", err.Error())
			return
		}
		out["Signature"], out["SigningAlgorithm"] = sig, algorithm
	default:
		awsError(w, "InvalidKeyUsageException", "not that, with this key")
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(out)
}

// find takes what KMS takes as KeyId: id, alias, and the ARN of either.
func (a *AWS) find(keyID string) (*Key, int, bool) {
	if parts := strings.SplitN(keyID, ":", 6); len(parts) == 6 {
		if strings.Join(parts[:5], ":") != "arn:aws:kms:"+awsRegion+":"+awsAccount {
			return nil, 0, false
		}
		keyID = strings.TrimPrefix(parts[5], "key/")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if k, ok := a.keys[keyID]; ok {
		n, _ := k.newest()
		return k, n, true
	}
	id, ok := a.ids[keyID]
	return id.key, id.version, ok
}

// signed says whether the request bears the signature that our credentials make.
func (a *AWS) signed(r *http.Request, body []byte) bool {
	got := r.Header.Get("Authorization")
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(got, "SignedHeaders=")
	names, _, _ := strings.Cut(rest, ",")
	again, err := http.NewRequestWithContext(r.Context(), r.Method, "https://"+r.Host+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return false
	}
	for name := range strings.SplitSeq(names, ";") {
		if v := r.Header.Values(name); len(v) > 0 {
			again.Header[http.CanonicalHeaderKey(name)] = v
		}
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(r.Context(), a.credentials(), again, hex.EncodeToString(sum[:]), "kms", awsRegion, at); err != nil {
		return false
	}
	return again.Header.Get("Authorization") == got
}

func awsSpec(a Algorithm) (spec, signing string) {
	switch a {
	case ECDSAP384:
		return "ECC_NIST_P384", "ECDSA_SHA_384"
	case RSA2048:
		return "RSA_2048", "RSASSA_PKCS1_V1_5_SHA_256"
	case Symmetric:
		return "SYMMETRIC_DEFAULT", ""
	default:
		return "ECC_NIST_P256", "ECDSA_SHA_256"
	}
}

func awsError(w http.ResponseWriter, code, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": message})
}
