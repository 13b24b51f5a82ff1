package policy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	opabundle "github.com/open-policy-agent/opa/v1/bundle"
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicPEM(t testing.TB, pub crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func privatePEM(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func keysOf(t testing.TB, id string, key crypto.Signer) VerificationKeys {
	t.Helper()
	return VerificationKeys{Keys: map[string]string{id: publicPEM(t, key.Public())}}
}

// unsignedFiles are a small bundle's.
func unsignedFiles() map[string][]byte {
	return map[string][]byte{
		manifestName: []byte(goodManifest), "signing/verdict.rego": []byte(denies),
		"signing/data.json": []byte(`{"blocked":["a"],"n":12345678901234567890}`), paramsSchemaName: []byte(`{"type":"object"}`),
	}
}

// signedFiles are the same, signed.
func signedFiles(t testing.TB, s Signing) map[string][]byte {
	t.Helper()
	files := unsignedFiles()
	body, err := s.sign(files)
	if err != nil {
		t.Fatal(err)
	}
	files[signaturesName] = body
	return files
}

func archiveOf(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	archive, err := tarball(files)
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

// forge signs whatever a test wants to be in a token.
func forge(t testing.TB, key crypto.Signer, header, claims any) []byte {
	t.Helper()
	var parts []string
	for _, v := range []any{header, claims} {
		raw, ok := v.(string)
		if !ok {
			body, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			raw = string(body)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString([]byte(raw)))
	}
	input := strings.Join(parts, ".")
	sig, err := signBytes(key, []byte(input), "ES256")
	if err != nil {
		t.Fatal(err)
	}
	return signatures(t, input+"."+base64.RawURLEncoding.EncodeToString(sig))
}

func signatures(t testing.TB, tokens ...string) []byte {
	t.Helper()
	body, err := json.Marshal(map[string]any{"signatures": tokens})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func listOf(t testing.TB, files map[string][]byte) []opabundle.FileInfo {
	t.Helper()
	var list []opabundle.FileInfo
	for name, body := range files {
		f, err := hashFile(name, body)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, f)
	}
	return list
}

func TestSignAndVerify(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	modulus, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for alg, key := range map[string]crypto.Signer{"ES256": newKey(t), "ES384": p384, "ES512": p521, "EdDSA": edwards, "RS256": modulus} {
		t.Run(alg, func(t *testing.T) {
			fingerprint, err := Fingerprint(key.Public())
			if err != nil {
				t.Fatal(err)
			}
			read, err := ParsePrivateKey([]byte(privatePEM(t, key)))
			if err != nil {
				t.Fatal(err)
			}
			archive := archiveOf(t, signedFiles(t, Signing{Key: read}))
			want := Signed{KeyID: "release", Fingerprint: fingerprint, Scope: "signet", Algorithm: alg}
			got, err := VerifyArchive(archive, keysOf(t, "release", key))
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			// Ids and scopes are whatever both sides agree on.
			archive = archiveOf(t, signedFiles(t, Signing{Key: read, KeyID: "mine", Scope: "team-a"}))
			keys := keysOf(t, "mine", key)
			keys.Scope = "team-a"
			keys.Keys["other"] = publicPEM(t, newKey(t).Public())
			if got, err = VerifyArchive(archive, keys); err != nil || got.KeyID != "mine" || got.Scope != "team-a" {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// The same bundle has the same bytes, signed with a key file too.
func TestSigningIsReproducible(t *testing.T) {
	key := newKey(t)
	a, b := archiveOf(t, signedFiles(t, Signing{Key: key})), archiveOf(t, signedFiles(t, Signing{Key: key}))
	if !bytes.Equal(a, b) {
		t.Error("the same bundle, signed twice, has other bytes")
	}
}

// What somebody without the key, or with a key for something else, can make of a
// bundle (threats 47 and 50): none of it counts.
func TestVerifyArchiveRefuses(t *testing.T) {
	key, stranger := newKey(t), newKey(t)
	pub := publicPEM(t, key.Public())
	good := signedFiles(t, Signing{Key: key, KeyID: "release"})
	if _, err := VerifyArchive(archiveOf(t, good), keysOf(t, "release", key)); err != nil {
		t.Fatal(err)
	}
	var file struct{ Signatures []string }
	if err := json.Unmarshal(good[signaturesName], &file); err != nil {
		t.Fatal(err)
	}
	whole := file.Signatures[0]
	parts := strings.Split(whole, ".")
	with := func(name, body string) map[string][]byte {
		files := maps.Clone(good)
		if body == "" {
			delete(files, name)
		} else {
			files[name] = []byte(body)
		}
		return files
	}
	signedWith := func(body []byte) map[string][]byte { return with(signaturesName, string(body)) }
	es256 := header{Alg: "ES256", Kid: "release", Typ: "JWT"}
	list := listOf(t, unsignedFiles())
	changed := func(edit func(f *opabundle.FileInfo)) claims {
		c := claims{Scope: DefaultScope}
		for _, f := range list {
			if f.Name == "signing/verdict.rego" {
				edit(&f)
			}
			c.Files = append(c.Files, f)
		}
		return c
	}
	mac := func(alg string) []byte {
		input := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"`+alg+`","kid":"release"}`)) + "." + parts[1]
		h := hmac.New(sha256.New, []byte(pub))
		h.Write([]byte(input))
		return signatures(t, input+"."+base64.RawURLEncoding.EncodeToString(h.Sum(nil)))
	}
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"release"}`)) + "." + parts[1] + "."
	md := md5.Sum([]byte(denies))
	long := sha512.Sum512([]byte(denies))
	tests := []struct {
		name  string
		files map[string][]byte
		want  error
		says  string
	}{
		{"not signed", with(signaturesName, ""), ErrUnsigned, "has no .signatures.json"},
		{"an empty list", signedWith([]byte(`{"signatures":[]}`)), ErrUnsigned, "no signatures"},
		{"no list", signedWith([]byte(`{}`)), ErrUnsigned, "no signatures"},
		{"two signatures", signedWith(signatures(t, whole, whole)), ErrSignature, "2 signatures"},
		{"another verifier", signedWith([]byte(`{"signatures":["` + whole + `"],"plugin":"lenient"}`)), ErrSignature, "lenient"},
		{"a field twice", signedWith([]byte(`{"signatures":[],"signatures":["` + whole + `"]}`)), ErrSignature, "duplicate key"},
		{"no JSON", signedWith([]byte(whole)), ErrSignature, "not valid JSON"},
		{"no token", signedWith(signatures(t, "a.b")), ErrSignature, "2 parts"},
		{"another key under the same id", signedFiles(t, Signing{Key: stranger, KeyID: "release"}), ErrSignature, "verify JWT signature"},
		{"a key that nobody knows", signedFiles(t, Signing{Key: stranger}), ErrSignature, `known are ["release"]`},
		{"another scope", signedFiles(t, Signing{Key: key, KeyID: "release", Scope: "elsewhere"}), ErrSignature, `wanted is "signet"`},
		{"no scope", signedWith(forge(t, key, es256, claims{Files: list})), ErrSignature, `scope is ""`},
		{"no algorithm", signedWith(signatures(t, none)), ErrSignature, `algorithm is "none"`},
		{"the public key as a secret", signedWith(mac("HS256")), ErrSignature, `algorithm is "HS256"`},
		{"another key's algorithm", signedWith(forge(t, key, header{Alg: "ES384", Kid: "release"}, claims{Files: list, Scope: DefaultScope})), ErrSignature, `algorithm is "ES384"`},
		{"a key in the header", signedWith(forge(t, stranger, `{"alg":"ES256","kid":"release","jwk":{}}`, claims{Files: list, Scope: DefaultScope})), ErrSignature, "unknown field"},
		{"two key ids", signedWith(forge(t, key, es256, claims{Files: list, Scope: DefaultScope, KeyID: "other"})), ErrSignature, "two keys"},
		{"claims that nobody reads", signedWith(forge(t, key, es256, map[string]any{"files": list, "scope": DefaultScope, "exp": 1})), ErrSignature, "unknown field"},
		{"claims in other letters", signedWith(forge(t, key, es256, `{"files":[],"scope":"signet","Files":[]}`)), ErrSignature, "Files"},
		{"changed claims", signedWith(signatures(t, parts[0]+"."+base64.RawURLEncoding.EncodeToString([]byte(`{"files":[],"scope":"signet"}`))+"."+parts[2])), ErrSignature, "verify JWT signature"},
		{"an added file", with("signing/more.rego", "package signing\n\nallow := true\n"), ErrSignature, "signing/more.rego not included"},
		{"an added file that is no policy", with("README.md", "x"), ErrSignature, "README.md not included"},
		{"a removed file", with("signing/data.json", ""), ErrSignature, "does not have"},
		{"a changed file", with("signing/verdict.rego", denies+"\n"), ErrSignature, "digest mismatch"},
		{"changed data", with("signing/data.json", `{"blocked":[],"n":12345678901234567890}`), ErrSignature, "digest mismatch"},
		{"a changed manifest", with(manifestName, strings.Replace(goodManifest, `"sequence":4`, `"sequence":5`, 1)), ErrSignature, "digest mismatch"},
		{"a changed schema, in meaning the same", with(paramsSchemaName, `{"type": "object"}`), ErrSignature, "digest mismatch"},
		// OPA hashes what a manifest means; two readers of this one disagree about it.
		{"a manifest that says a thing twice", with(manifestName, strings.Replace(goodManifest, `"metadata":`, `"metadata":{"signet":{"context":{"env":["evil"]}}},"metadata":`, 1)), ErrSignature, "duplicate key"},
		{"data as YAML under JSON's name", with("signing/data.json", "blocked: [a]\nn: 12345678901234567890\n"), ErrSignature, "not valid JSON"},
		{"a second file of signatures", with("signing/.signatures.json", string(good[signaturesName])), ErrSignature, "second file of signatures"},
		{"no files", signedWith(forge(t, key, es256, claims{Scope: DefaultScope})), ErrSignature, "signs no files"},
		{"a file listed twice", signedWith(forge(t, key, es256, claims{Files: append(listOf(t, unsignedFiles()), list[0]), Scope: DefaultScope})), ErrSignature, "twice"},
		{"MD5", signedWith(forge(t, key, es256, changed(func(f *opabundle.FileInfo) { f.Algorithm, f.Hash = "MD5", hex.EncodeToString(md[:]) }))), ErrSignature, `hashed with "MD5"`},
		{"SHA-1", signedWith(forge(t, key, es256, changed(func(f *opabundle.FileInfo) { f.Algorithm = "SHA-1" }))), ErrSignature, `hashed with "SHA-1"`},
		{"no hash", signedWith(forge(t, key, es256, changed(func(f *opabundle.FileInfo) { f.Algorithm = "" }))), ErrSignature, `hashed with ""`},
		{"half a hash", signedWith(forge(t, key, es256, changed(func(f *opabundle.FileInfo) { f.Hash = f.Hash[:32] }))), ErrSignature, "digest mismatch"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := VerifyArchive(archiveOf(t, tt.files), VerificationKeys{Keys: map[string]string{"release": pub}})
			if !errors.Is(err, tt.want) || !strings.Contains(fmt.Sprint(err), tt.says) || got != (Signed{}) {
				t.Errorf("%+v, %v; want %v with %q", got, err, tt.want, tt.says)
			}
		})
	}
	// What is allowed beside all this: OPA's other strong hash.
	files := signedWith(forge(t, key, es256, changed(func(f *opabundle.FileInfo) { f.Algorithm, f.Hash = "SHA-512", hex.EncodeToString(long[:]) })))
	if _, err := VerifyArchive(archiveOf(t, files), keysOf(t, "release", key)); err != nil {
		t.Errorf("SHA-512: %v", err)
	}
	// A token without a key id is the only key's, and nobody's of several.
	files = signedWith(forge(t, key, header{Alg: "ES256"}, claims{Files: list, Scope: DefaultScope}))
	keys := keysOf(t, "release", key)
	if got, err := VerifyArchive(archiveOf(t, files), keys); err != nil || got.KeyID != "release" {
		t.Errorf("no key id: %+v, %v", got, err)
	}
	keys.Keys["other"] = publicPEM(t, stranger.Public())
	if _, err := VerifyArchive(archiveOf(t, files), keys); !errors.Is(err, ErrSignature) {
		t.Errorf("no key id, two keys: %v", err)
	}
}

// Archives that two readers would read differently, or that cost too much
// (threats 38 and 39), are refused before their signature is looked at.
func TestVerifyArchiveRefusesArchives(t *testing.T) {
	key := newKey(t)
	good := archiveOf(t, signedFiles(t, Signing{Key: key}))
	read := func(name string) []byte {
		body, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	unzipped := func() []byte {
		z, err := gzip.NewReader(bytes.NewReader(good))
		if err != nil {
			t.Fatal(err)
		}
		var buf bytes.Buffer
		if _, err := buf.ReadFrom(z); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}()
	zipped := func(parts ...[]byte) []byte {
		var buf bytes.Buffer
		z := gzip.NewWriter(&buf)
		for _, p := range parts {
			_, _ = z.Write(p)
		}
		_ = z.Close()
		return buf.Bytes()
	}
	damaged := bytes.Clone(good)
	damaged[len(damaged)-8] ^= 1 // the sum of the whole
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	w := tar.NewWriter(z)
	_ = w.WriteHeader(&tar.Header{Name: "x.rego", Typeflag: tar.TypeReg, Size: 1 << 32, Mode: 0o644})
	for zeros := make([]byte, 1<<20); bomb.Len() < 64<<10; {
		_, _ = w.Write(zeros)
	}
	_ = z.Close()
	for _, tt := range []struct {
		name    string
		archive []byte
		says    string
	}{
		{"nothing", nil, "neither a directory nor a .tar.gz"},
		{"a file twice", read(pack(t, entry{name: ".manifest", body: goodManifest}, entry{name: "./.manifest", body: "{}"})), "twice"},
		{"a way out", read(pack(t, entry{name: "../../etc/passwd", body: "x"})), "no path within a bundle"},
		{"a way out on Windows", read(pack(t, entry{name: `..\x`, body: "x"})), "no path within a bundle"},
		{"a link", read(pack(t, entry{name: "x", kind: tar.TypeSymlink, body: "/etc/passwd"})), "not a regular file"},
		{"a file that is a folder", read(pack(t, entry{name: "a", body: "x"}, entry{name: "a/b", body: "x"})), "as a file and as a folder"},
		{"a zip bomb", bomb.Bytes(), "is larger than"},
		{"a bomb behind the end", zipped(unzipped, make([]byte, 2*maxBundleBytes)), "is larger than"},
		{"another archive behind the end", zipped(unzipped, unzipped), "after its last file"},
		{"another stream behind the end", append(bytes.Clone(good), zipped([]byte("x"))...), "after its last file"},
		{"bytes behind the stream", append(bytes.Clone(good), "x"...), "EOF"},
		{"cut short", good[:len(good)-20], "EOF"},
		{"a wrong sum", damaged, "checksum"},
		{"too large", append(bytes.Clone(good), bytes.Repeat(zipped(), maxBundleBytes/len(zipped())+1)...), "is larger than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := VerifyArchive(tt.archive, keysOf(t, "release", key))
			if !errors.Is(err, ErrLoad) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}
}

func TestVerificationKeys(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	odd, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	pub := publicPEM(t, key.Public())
	for _, tt := range []struct {
		name, says string
		keys       map[string]string
	}{
		{"none", "no verification keys", nil},
		{"no id", "no id", map[string]string{"": pub}},
		{"no PEM", "release: is no PEM", map[string]string{"release": "secret"}},
		{"a private key", `"PRIVATE KEY"`, map[string]string{"release": privatePEM(t, key)}},
		{"two keys", "something after the key", map[string]string{"release": pub + pub}},
		{"a short RSA key", "1024 bits", map[string]string{"release": publicPEM(t, small.Public())}},
		{"another curve", "curve", map[string]string{"release": publicPEM(t, odd.Public())}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := VerificationKeys{Keys: tt.keys}.Validate()
			if !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}
	if err := (VerificationKeys{Keys: map[string]string{"release": pub}}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestParsePrivateKeyRefuses(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte("hush")}))
	}
	for name, tt := range map[string]struct{ text, says string }{
		"no PEM":               {"hush", "is no PEM"},
		"a public key":         {publicPEM(t, newKey(t).Public()), `"PUBLIC KEY"`},
		"encrypted":            {block("ENCRYPTED PRIVATE KEY"), "is encrypted"},
		"encrypted by cosign":  {block("ENCRYPTED SIGSTORE PRIVATE KEY"), "is encrypted"},
		"damaged":              {block("PRIVATE KEY"), "is damaged"},
		"an RSA key too short": {privatePEM(t, small), "1024 bits"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParsePrivateKey([]byte(tt.text))
			if !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "hush") {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}
}

// FuzzVerifyArchive: nothing that is not signed by the key counts, and nothing
// makes it panic.
func FuzzVerifyArchive(f *testing.F) {
	key := newKey(f)
	keys := keysOf(f, "release", key)
	good := archiveOf(f, signedFiles(f, Signing{Key: key}))
	f.Add(good)
	f.Add(archiveOf(f, unsignedFiles()))
	f.Fuzz(func(t *testing.T, archive []byte) {
		_, _ = Inspect(archive)
		_, err := VerifyArchive(archive, keys)
		if err == nil {
			a, errA := untar(bytes.NewReader(archive))
			b, errB := untar(bytes.NewReader(good))
			if errA != nil || errB != nil || !cmp.Equal(a, b) {
				t.Error("a bundle counts that nobody signed")
			}
		}
	})
}

// FuzzSignatures is [FuzzVerifyArchive] past the compression.
func FuzzSignatures(f *testing.F) {
	key := newKey(f)
	keys := keysOf(f, "release", key)
	good := signedFiles(f, Signing{Key: key})
	known, err := keys.parse()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[signaturesName])
	f.Add([]byte(`{"signatures":["e30.e30."]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		files := maps.Clone(good)
		files[signaturesName] = body
		if _, err := verifyFiles(files, known, DefaultScope); err == nil {
			tok, err := parseToken(body)
			was, errWas := parseToken(good[signaturesName])
			if err != nil || errWas != nil || tok.claims.Scope != was.claims.Scope || !cmp.Equal(tok.claims.Files, was.claims.Files) {
				t.Errorf("a token counts that nobody made: %s", body)
			}
		}
	})
}
