package policy

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"path"
	"slices"
	"strings"

	opabundle "github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/signet-policy/signet/internal/strictjson"
)

// DefaultScope is the scope of a signature where none is named. A token that was
// made for something else with the same key has another, or none.
const DefaultScope = "signet"

// minRSABits is the smallest modulus that is taken.
const minRSABits = 2048

// maxTokenDepth bounds how deep .signatures.json and its token nest.
const maxTokenDepth = 8

// fileHash is what our own signatures hash files with.
const fileHash = opabundle.SHA256

// strongHashes are those of files that count: OPA also takes MD5 and SHA-1.
func strongHashes() []string { return []string{string(opabundle.SHA256), string(opabundle.SHA512)} }

// Signing says how a bundle is signed.
type Signing struct {
	// Key signs: ECDSA on P-256, P-384 or P-521, Ed25519, or RSA of 2048 bits at
	// least. It may be in a KMS.
	Key crypto.Signer
	// KeyID names the key in the token; empty means its [Fingerprint].
	KeyID string
	// Scope is in the token; empty means [DefaultScope].
	Scope string
}

// VerificationKeys say whose signatures count.
type VerificationKeys struct {
	// Keys are public keys in PEM (PKIX, one each), by the id that tokens name
	// them with. A token may name a key by its [Fingerprint] too.
	Keys map[string]string
	// Scope is the one that tokens must have; empty means [DefaultScope].
	Scope string
}

// Validate says what is wrong with the keys. Errors wrap [ErrKey].
func (k VerificationKeys) Validate() error {
	_, err := k.parse()
	return err
}

// Signed is what a signature that counts says.
type Signed struct {
	// KeyID is the id under which the key is known here.
	KeyID string `json:"key_id"`
	// Fingerprint of the key.
	Fingerprint string `json:"fingerprint"`
	Scope       string `json:"scope"`
	// Algorithm is JWA's name, such as ES256 (RFC 7518 and 8037).
	Algorithm string `json:"algorithm"`
}

// verificationKey is one key, read.
type verificationKey struct {
	id, pem, fingerprint string
	algorithms           []string
}

func (k VerificationKeys) parse() ([]verificationKey, error) {
	if len(k.Keys) == 0 {
		return nil, fmt.Errorf("%w: there are no verification keys; give at least one", ErrKey)
	}
	var keys []verificationKey
	for _, id := range slices.Sorted(maps.Keys(k.Keys)) {
		if id == "" {
			return nil, fmt.Errorf("%w: a key has no id", ErrKey)
		}
		pub, err := parsePublic(k.Keys[id])
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrKey, id, err)
		}
		key := verificationKey{id: id, pem: k.Keys[id]}
		if key.algorithms, err = algorithms(pub); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrKey, id, err)
		}
		if key.fingerprint, err = Fingerprint(pub); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrKey, id, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func parsePublic(text string) (crypto.PublicKey, error) {
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return nil, errors.New("is no PEM; give a public key that begins with -----BEGIN PUBLIC KEY-----")
	case block.Type != "PUBLIC KEY":
		return nil, fmt.Errorf("is PEM of type %q; give a PUBLIC KEY", block.Type)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("has something after the key; give one key under each id")
	}
	return x509.ParsePKIXPublicKey(block.Bytes)
}

// ParsePrivateKey reads a private key in PEM: PKCS#8, or what older programs write
// for EC (SEC 1) and RSA (PKCS#1). Errors wrap [ErrKey] and repeat nothing of it.
func ParsePrivateKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%w: is no PEM; give a private key that begins with -----BEGIN PRIVATE KEY-----", ErrKey)
	}
	var key any
	var err error
	switch {
	case block.Type == "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case block.Headers["Proc-Type"] != "" || strings.Contains(block.Type, "ENCRYPTED"):
		return nil, fmt.Errorf("%w: is encrypted; decrypt it first (openssl pkey -in FILE), or keep it in a KMS", ErrKey)
	case block.Type == "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case block.Type == "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("%w: is PEM of type %q; give a PRIVATE KEY", ErrKey, block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: is damaged", ErrKey)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: does not sign", ErrKey)
	}
	if _, err := algorithms(signer.Public()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return signer, nil
}

// Fingerprint is the SHA-256 of a key's SubjectPublicKeyInfo in hex.
func Fingerprint(pub crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// algorithms are those that a key is for, the one that we sign with first
// (RFC 7518, section 3.1; RFC 8037, section 3.1).
func algorithms(pub crypto.PublicKey) ([]string, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return []string{"ES256"}, nil
		case elliptic.P384():
			return []string{"ES384"}, nil
		case elliptic.P521():
			return []string{"ES512"}, nil
		}
		return nil, errors.New("is on a curve other than P-256, P-384 and P-521")
	case ed25519.PublicKey:
		return []string{"EdDSA"}, nil
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("is RSA with %d bits; give at least %d", k.N.BitLen(), minRSABits)
		}
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, nil
	}
	return nil, fmt.Errorf("is a %T, not ECDSA, Ed25519 or RSA", pub)
}

// header is a JWT's (RFC 7515, section 4.1), as far as OPA writes it. What else
// may be there (crit, b64, jwk, x5c) would change what is verified with what.
type header struct {
	Alg string `json:"alg"`
	Kid string `json:"kid,omitempty"`
	Typ string `json:"typ,omitempty"`
}

// claims are a token's, as OPA writes them
// (openpolicyagent.org/docs/management-bundles, "Signing"). exp and nbf are not
// among them: OPA does not look at them, so nobody may rely on them.
type claims struct {
	Files    []opabundle.FileInfo `json:"files"`
	KeyID    string               `json:"keyid,omitempty"`
	Scope    string               `json:"scope,omitempty"`
	IssuedAt json.RawMessage      `json:"iat,omitempty"`
	Issuer   string               `json:"iss,omitempty"`
}

// token is a JWT, read and not verified.
type token struct {
	text   string
	header header
	claims claims
}

// keyID is the id by which the token names its key; "" when it names none.
func (t token) keyID() string {
	if t.header.Kid != "" {
		return t.header.Kid
	}
	return t.claims.KeyID
}

// parseToken reads .signatures.json, which must have exactly one token.
func parseToken(body []byte) (token, error) {
	var file struct {
		Signatures []string `json:"signatures"`
		Plugin     string   `json:"plugin"`
	}
	if err := strictjson.Decode(body, maxTokenDepth, &file); err != nil {
		return token{}, fmt.Errorf("%w: %s: %w", ErrSignature, signaturesName, err)
	}
	switch {
	case file.Plugin != "" && file.Plugin != "_default":
		return token{}, fmt.Errorf("%w: %s: plugin: %q is not known; sign with OPA's own", ErrSignature, signaturesName, file.Plugin)
	case len(file.Signatures) == 0:
		return token{}, fmt.Errorf("%w: %s has no signatures", ErrUnsigned, signaturesName)
	case len(file.Signatures) > 1:
		return token{}, fmt.Errorf("%w: %s has %d signatures; exactly one is read", ErrSignature, signaturesName, len(file.Signatures))
	}
	t := token{text: file.Signatures[0]}
	parts := strings.Split(t.text, ".")
	if len(parts) != 3 {
		return token{}, fmt.Errorf("%w: %s: the token has %d parts, not 3", ErrSignature, signaturesName, len(parts))
	}
	for i, part := range []struct {
		name string
		into any
	}{{"header", &t.header}, {"payload", &t.claims}} {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err == nil {
			err = strictjson.Decode(raw, maxTokenDepth, part.into)
		}
		if err != nil {
			return token{}, fmt.Errorf("%w: the token's %s: %w", ErrSignature, part.name, err)
		}
	}
	switch h, c := t.header, t.claims; {
	case h.Typ != "" && h.Typ != "JWT":
		return token{}, fmt.Errorf("%w: the token's header: typ is %q, not JWT", ErrSignature, h.Typ)
	case h.Kid != "" && c.KeyID != "" && h.Kid != c.KeyID:
		return token{}, fmt.Errorf("%w: the token names two keys, %q and %q", ErrSignature, h.Kid, c.KeyID)
	}
	return t, nil
}

// VerifyArchive verifies the signature of a bundle archive: exactly one token, by
// one of the keys with an algorithm of that key, for the scope, over exactly the
// files that the archive has. Errors wrap [ErrUnsigned], [ErrSignature], [ErrKey],
// or [ErrLoad] where the archive cannot be read.
//
// The signature itself and the hashes of files are OPA's to verify. OPA alone
// would take MD5, a key id of the token's choice, and JSON that says a thing
// twice: the hash of .manifest and data.json is over their meaning, in which of
// two equal keys the last one counts.
func VerifyArchive(archive []byte, keys VerificationKeys) (s Signed, err error) {
	defer func() {
		if p := recover(); p != nil {
			s, err = Signed{}, fmt.Errorf("%w: panic: %v", ErrSignature, p)
		}
	}()
	known, err := keys.parse()
	if err != nil {
		return Signed{}, err
	}
	files, err := filesOf(archive)
	if err != nil {
		return Signed{}, fmt.Errorf("%w: bundle: %w", ErrLoad, err)
	}
	return verifyFiles(files, known, scopeOr(keys.Scope))
}

func scopeOr(scope string) string {
	if scope == "" {
		return DefaultScope
	}
	return scope
}

func verifyFiles(files map[string][]byte, known []verificationKey, scope string) (Signed, error) {
	body, ok := files[signaturesName]
	if !ok {
		return Signed{}, fmt.Errorf("%w: it has no %s; sign it (signet policy build --signing-key, or opa sign)", ErrUnsigned, signaturesName)
	}
	t, err := parseToken(body)
	if err != nil {
		return Signed{}, err
	}
	key, err := t.choose(known)
	if err != nil {
		return Signed{}, err
	}
	// The key says what it is for, and never the token: else a public key could be
	// taken for the secret of an HMAC.
	if !slices.Contains(key.algorithms, t.header.Alg) {
		return Signed{}, fmt.Errorf("%w: the token's algorithm is %q; the key %q is for %s", ErrSignature, t.header.Alg, key.id, strings.Join(key.algorithms, ", "))
	}
	// Before the signature, so that the message is the useful one.
	if t.claims.Scope != scope {
		return Signed{}, fmt.Errorf("%w: the token's scope is %q; wanted is %q", ErrSignature, t.claims.Scope, scope)
	}
	listed, err := opabundle.VerifyBundleSignature(opabundle.SignaturesConfig{Signatures: []string{t.text}}, &opabundle.VerificationConfig{
		PublicKeys: map[string]*opabundle.KeyConfig{key.id: {Key: key.pem, Algorithm: t.header.Alg, Scope: scope}}, KeyID: key.id, Scope: scope,
	})
	if err != nil {
		return Signed{}, fmt.Errorf("%w: by the key %q: %w", ErrSignature, key.id, err)
	}
	if err := verifyList(files, t.claims.Files, listed); err != nil {
		return Signed{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return Signed{KeyID: key.id, Fingerprint: key.fingerprint, Scope: scope, Algorithm: t.header.Alg}, nil
}

// choose gives the key that the token names. A token that names none is the only
// key's.
func (t token) choose(known []verificationKey) (verificationKey, error) {
	id := t.keyID()
	var ids []string
	for _, k := range known {
		if id == k.id {
			return k, nil
		}
		ids = append(ids, k.id)
	}
	for _, k := range known {
		if id == k.fingerprint {
			return k, nil
		}
	}
	switch {
	case id != "":
		return verificationKey{}, fmt.Errorf("%w: the token names the key %q; known are %q", ErrSignature, id, ids)
	case len(known) > 1:
		return verificationKey{}, fmt.Errorf("%w: the token names no key; sign with one of the ids %q", ErrSignature, ids)
	}
	return known[0], nil
}

// verifyList compares the files with those that were signed, which OPA read from
// the same token into listed.
func verifyList(files map[string][]byte, signed []opabundle.FileInfo, listed map[string]opabundle.FileInfo) error {
	if len(signed) == 0 {
		return errors.New("the token signs no files")
	}
	left := map[string]opabundle.FileInfo{}
	for _, f := range signed {
		name := strings.TrimPrefix(f.Name, "/")
		switch _, again := left[name]; {
		case again:
			return fmt.Errorf("the token has %s twice", name)
		case !slices.Contains(strongHashes(), f.Algorithm):
			return fmt.Errorf("%s is hashed with %q; sign with one of %q", name, f.Algorithm, strongHashes())
		case listed[f.Name] != f:
			return fmt.Errorf("%s is read differently by OPA", name)
		}
		left[name] = f
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		body := files[name]
		switch {
		case name == signaturesName:
			continue
		case path.Base(name) == signaturesName:
			return fmt.Errorf("%s is a second file of signatures", name)
		case opabundle.IsStructuredDoc(name):
			if err := strictjson.Check(body, maxDocumentDepth); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		// It also takes the file off the list.
		if err := opabundle.VerifyBundleFile(name, *bytes.NewBuffer(body), left); err != nil {
			return err
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("the token signs %s, which the archive does not have", strings.Join(slices.Sorted(maps.Keys(left)), ", "))
	}
	return nil
}

// sign gives .signatures.json for files.
func (s Signing) sign(files map[string][]byte) ([]byte, error) {
	pub := s.Key.Public()
	algs, err := algorithms(pub)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	id := s.KeyID
	if id == "" {
		if id, err = Fingerprint(pub); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKey, err)
		}
	}
	c := claims{KeyID: id, Scope: scopeOr(s.Scope)}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f, err := hashFile(name, files[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		c.Files = append(c.Files, f)
	}
	text, err := signToken(s.Key, header{Alg: algs[0], Kid: id, Typ: "JWT"}, c)
	if err != nil {
		return nil, err
	}
	body, err := json.MarshalIndent(opabundle.SignaturesConfig{Signatures: []string{text}}, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(body, '\n'), s.check(files, body, id)
}

// check reads the signature as others will. A KMS can make one that nobody takes:
// RSA-PSS where RS256 was asked for, a digest of another length.
func (s Signing) check(files map[string][]byte, signatures []byte, id string) error {
	der, err := x509.MarshalPKIXPublicKey(s.Key.Public())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKey, err)
	}
	keys := VerificationKeys{Keys: map[string]string{id: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}}
	known, err := keys.parse()
	if err != nil {
		return err
	}
	all := maps.Clone(files)
	all[signaturesName] = signatures
	if _, err := verifyFiles(all, known, scopeOr(s.Scope)); err != nil {
		return fmt.Errorf("the signature that the key made is not one of %s: %w", known[0].algorithms[0], err)
	}
	return nil
}

func hashFile(name string, body []byte) (opabundle.FileInfo, error) {
	h, err := opabundle.NewSignatureHasher(fileHash)
	if err != nil {
		return opabundle.FileInfo{}, err
	}
	var value any = body
	if opabundle.IsStructuredDoc(name) {
		if err := strictjson.Check(body, maxDocumentDepth); err != nil {
			return opabundle.FileInfo{}, err
		}
		if err := util.Unmarshal(body, &value); err != nil {
			return opabundle.FileInfo{}, err
		}
	}
	sum, err := h.HashFile(value)
	return opabundle.NewFile(name, hex.EncodeToString(sum), string(fileHash)), err
}

// signToken makes a JWT. OPA's own signer wants the private key as text, which a
// KMS does not give.
func signToken(key crypto.Signer, h header, c claims) (string, error) {
	var parts []string
	for _, v := range []any{h, c} {
		raw, err := json.Marshal(v)
		if err != nil {
			return "", err
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(raw))
	}
	input := strings.Join(parts, ".")
	sig, err := signBytes(key, []byte(input), h.Alg)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}

func signBytes(key crypto.Signer, input []byte, alg string) ([]byte, error) {
	var hash crypto.Hash
	random := rand.Reader
	switch alg {
	case "ES256", "RS256":
		hash = crypto.SHA256
	case "ES384":
		hash = crypto.SHA384
	case "ES512":
		hash = crypto.SHA512
	}
	if _, ours := key.(*ecdsa.PrivateKey); ours {
		random = nil // deterministic (RFC 6979): the same bundle has the same bytes
	}
	digest := input
	if hash != 0 {
		h := hash.New()
		h.Write(input)
		digest = h.Sum(nil)
	}
	sig, err := key.Sign(random, digest, hash)
	if pub, ok := key.Public().(*ecdsa.PublicKey); ok && err == nil {
		return joseSignature(sig, (pub.Curve.Params().BitSize+7)/8)
	}
	return sig, err
}

// joseSignature makes of an ASN.1 signature the two numbers one after the other,
// each of size bytes (RFC 7518, section 3.4).
func joseSignature(der []byte, size int) ([]byte, error) {
	var n struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &n); err != nil || len(rest) > 0 || n.R.Sign() <= 0 || n.S.Sign() <= 0 || n.R.BitLen() > 8*size || n.S.BitLen() > 8*size {
		return nil, errors.New("the key made no ECDSA signature")
	}
	out := make([]byte, 2*size)
	n.R.FillBytes(out[:size])
	n.S.FillBytes(out[size:])
	return out, nil
}

// Claimed is what a signature says of itself, verified by nobody.
type Claimed struct {
	KeyID     string `json:"key_id"`
	Scope     string `json:"scope"`
	Algorithm string `json:"algorithm"`
}

// claimed reads the signature of files; nil where there is none.
func claimed(files map[string][]byte) (*Claimed, error) {
	body, ok := files[signaturesName]
	if !ok {
		return nil, nil //nolint:nilnil // unsigned, as the caller asked
	}
	t, err := parseToken(body)
	if errors.Is(err, ErrUnsigned) {
		return nil, nil //nolint:nilnil // as above
	}
	if err != nil {
		return nil, err
	}
	return &Claimed{KeyID: t.keyID(), Scope: t.claims.Scope, Algorithm: t.header.Alg}, nil
}
