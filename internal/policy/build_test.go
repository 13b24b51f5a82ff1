package policy

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/testkit/require"
)

// publishable is a bundle that can be built.
func publishable(t *testing.T) fstest.MapFS {
	t.Helper()
	dir := ruleOf(t, "\tnot _image")
	dir[".manifest"] = file(`{"roots":["signing"],"metadata":{"signet":{"sequence":7,"library":"1","monotone":false},"team":{"name":"web"}}}`)
	dir[".regal/config.yaml"] = file("rules: {}\n")
	dir["capabilities.json"] = file("{}")
	dir["schemas/input.json"] = file("{}")
	dir["ci.sh"] = file("opa test .\n")
	dir["fixtures/app/input.json"] = file("{}")
	dir["signing/lists/data.json"] = file(`{"blocked":["a"]}`)
	return dir
}

func optionsOf(dir fs.FS) BuildOptions {
	return BuildOptions{Bundle: dir, Params: json.RawMessage(defaultParams)}
}

func mustBuild(t *testing.T, o BuildOptions) ([]byte, Info) {
	t.Helper()
	archive, info, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return archive, info
}

func TestBuild(t *testing.T) {
	dir := publishable(t)
	archive, info := mustBuild(t, optionsOf(dir))
	names := map[string]bool{}
	for _, f := range info.Files {
		names[f.Name] = true
		switch {
		case strings.HasSuffix(f.Name, "_test.rego"), !partOfBundle(f.Name):
			t.Errorf("%s is packed", f.Name)
		}
	}
	for name := range dir {
		if partOfBundle(name) && !names[name] {
			t.Errorf("%s is not packed", name)
		}
	}
	if info.Sequence != 7 || len(info.Revision) != 12 || info.Signature != nil || info.Library != "1" {
		t.Errorf("%+v", info)
	}
	if diff := cmp.Diff([]string{"nothing"}, info.Golden); diff != "" {
		t.Errorf("golden inputs (-want +got):\n%s", diff)
	}
	opened, err := OpenArchive(archive)
	if err != nil {
		t.Fatal(err)
	}
	set := mustLoad(t, Source{Bundle: opened})
	if set.Digest() != info.Digest || set.Revision() != info.Revision || set.Sequence() != 7 {
		t.Errorf("loaded %s %s %d, built %+v", set.Digest(), set.Revision(), set.Sequence(), info)
	}
	manifest, err := fs.ReadFile(opened, manifestName)
	if err != nil || !strings.Contains(string(manifest), `"team"`) || !strings.Contains(string(manifest), `"rego_version": 1`) {
		t.Errorf("%v: the manifest is\n%s", err, manifest)
	}

	again, _ := mustBuild(t, optionsOf(dir))
	if !bytes.Equal(archive, again) {
		t.Error("the same bundle, built twice, has other bytes")
	}
	dir["signing/lists/data.json"] = file(`{"blocked":["b"]}`)
	if _, other := mustBuild(t, optionsOf(dir)); other.Revision == info.Revision || other.Digest == info.Digest {
		t.Errorf("another bundle is called %s too", other.Revision)
	}
	o := optionsOf(dir)
	o.Revision, o.Sequence, o.Signing = "v2", 9, &Signing{Key: newKey(t)}
	if _, info := mustBuild(t, o); info.Revision != "v2" || info.Sequence != 9 || info.Signature == nil || info.Signature.Scope != DefaultScope {
		t.Errorf("%+v", info)
	}
}

// A bundle without golden inputs gets the one without evidence.
func TestBuildAddsGolden(t *testing.T) {
	dir := publishable(t)
	delete(dir, goldenName)
	archive, info := mustBuild(t, optionsOf(dir))
	if diff := cmp.Diff([]string{"no evidence at all"}, info.Golden); diff != "" {
		t.Errorf("golden inputs (-want +got):\n%s", diff)
	}
	opened, err := OpenArchive(archive)
	if err != nil {
		t.Fatal(err)
	}
	mustLoad(t, Source{Bundle: opened}) // it holds
}

func TestBuildRefuses(t *testing.T) {
	with := func(name, body string) BuildOptions {
		dir := publishable(t)
		dir[name] = file(body)
		return optionsOf(dir)
	}
	without := func(name string) BuildOptions {
		dir := publishable(t)
		delete(dir, name)
		return optionsOf(dir)
	}
	coverage := with("signing/rules/more.rego", strings.Replace("package signing.rules.more\n\nimport data.signing.lib\n"+metadata+head+"\tnot lib.image\n\tnot input.search.complete\n}\n", `"mine"`, `"more"`, 1))
	coverage.Bundle.(fstest.MapFS)["signing/rules/more.rego"] = file(strings.ReplaceAll(string(coverage.Bundle.(fstest.MapFS)["signing/rules/more.rego"].Data), "code: mine", "code: more"))
	coverage.MinimumCoverage = 100
	encrypted := with("x", "")
	encrypted.Signing = &Signing{Key: wrongSigner{newKey(t)}}
	for _, tt := range []struct {
		name string
		o    BuildOptions
		want error
		says string
	}{
		{"a rule that a check refuses", with("signing/rules/clock.rego", "package signing.rules.clock\n\nx := time.now_ns()\n"), ErrUnfit, "builtin_not_allowed"},
		{"a test that fails", with("signing/rules/mine_test.rego", "package signing.rules.mine_test\n\ntest_x if false\n"), ErrUnfit, "1 of 1 tests did not pass: signing.rules.mine_test.test_x"},
		{"a promise that is broken", with(goldenName, goldens(t, true)), ErrUnfit, "golden"},
		{"no tests", without("signing/rules/mine_test.rego"), ErrLoad, "has no tests"},
		{"too little tested", coverage, ErrUnfit, "wanted are 100.0 %"},
		{"no sequence", with(manifestName, `{"roots":["signing"]}`), ErrLoad, "--sequence N"},
		{"a sequence below one", with(manifestName, `{"roots":["signing"],"metadata":{"signet":{"sequence":-3}}}`), ErrLoad, "is -3"},
		{"no roots", with(manifestName, `{"metadata":{"signet":{"sequence":1}}}`), ErrLoad, "roots"},
		{"all roots", with(manifestName, `{"roots":[""],"metadata":{"signet":{"sequence":1}}}`), ErrLoad, "roots"},
		{"a key that signs something else", encrypted, ErrSignature, "not one of ES256"},
		{"no bundle", optionsOf(fstest.MapFS{}), ErrLoad, "has no .manifest"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			archive, _, err := Build(t.Context(), tt.o)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || archive != nil {
				t.Errorf("%d bytes, %v; want %v with %q", len(archive), err, tt.want, tt.says)
			}
		})
	}
}

// wrongSigner is a KMS that signs another digest than it was given.
type wrongSigner struct{ *ecdsa.PrivateKey }

func (s wrongSigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.PrivateKey.Sign(rand.Reader, slices.Concat(digest[1:], digest[:1]), opts)
}

// What a caller is told: warnings, and how the tests ended.
func TestBuildReports(t *testing.T) {
	dir := publishable(t)
	delete(dir, goldenName)
	o := optionsOf(dir)
	var problems []Problem
	var tested Tested
	o.Checked, o.Ran = func(p []Problem) { problems = p }, func(t Tested) { tested = t }
	mustBuild(t, o)
	if len(problems) != 1 || problems[0].Code != "no_golden" || len(tested.Tests) != 1 {
		t.Errorf("told %+v, %+v", problems, tested)
	}
}

// Pack is for folders that are served as they are: an archive that was unpacked is
// packed with its signature.
func TestPack(t *testing.T) {
	o := optionsOf(publishable(t))
	key := newKey(t)
	o.Signing = &Signing{Key: key}
	archive, _ := mustBuild(t, o)
	opened, err := OpenArchive(archive)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := Pack(opened)
	if err != nil || !bytes.Equal(packed, archive) {
		t.Errorf("%v: packed again it has other bytes", err)
	}
	if _, err := VerifyArchive(packed, keysOf(t, "release", key)); err != nil {
		t.Error(err)
	}
	packed, err = Pack(publishable(t))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := Inspect(packed); err != nil || info.Sequence != 7 || info.Signature != nil {
		t.Errorf("%+v, %v", info, err)
	}
	if _, err := Pack(fstest.MapFS{"x.rego": file("package x\n")}); !errors.Is(err, ErrLoad) {
		t.Errorf("no bundle: %v", err)
	}
}

func TestInspectRefuses(t *testing.T) {
	broken := maps.Clone(unsignedFiles())
	broken[signaturesName] = []byte(`{"signatures":["x"]}`)
	for name, archive := range map[string][]byte{
		"nothing": nil, "no bundle": archiveOf(t, map[string][]byte{"x": []byte("x")}), "a broken signature": archiveOf(t, broken),
	} {
		if info, err := Inspect(archive); !errors.Is(err, ErrLoad) || info.Digest != "" {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
}

// What we sign, the opa command verifies; what it signs, we do.
func TestSignaturesOfOPA(t *testing.T) {
	opa := require.OPA(t)
	dir := t.TempDir()
	put := func(name, body string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), opa, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	modulus, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	claims := put("claims.json", `{"keyid":"release","scope":"signet"}`)
	source := optionsOf(publishable(t))
	archive, _ := mustBuild(t, source)
	unpacked, err := OpenArchive(archive)
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "folder")
	if err := os.CopyFS(folder, unpacked); err != nil {
		t.Fatal(err)
	}
	for alg, key := range map[string]crypto.Signer{"ES256": newKey(t), "ES384": p384, "EdDSA": edwards, "RS256": modulus, "PS512": modulus} {
		t.Run(alg, func(t *testing.T) {
			private, public := put(alg+"/key.pem", privatePEM(t, key)), put(alg+"/pub.pem", publicPEM(t, key.Public()))
			other := put(alg+"/other.pem", publicPEM(t, newKey(t).Public()))
			if alg != "PS512" { // which we verify only
				o := source
				o.Signing = &Signing{Key: key, KeyID: "release"}
				signed, _ := mustBuild(t, o)
				ours := put(alg+"/ours.tar.gz", string(signed))
				eval := func(public string) (string, error) {
					return run("build", "--bundle", ours, "--output", filepath.Join(dir, alg, "again.tar.gz"), "--ignore", "nothing",
						"--verification-key", public, "--verification-key-id", "release", "--scope", "signet", "--signing-alg", alg)
				}
				if out, err := eval(public); err != nil {
					t.Errorf("opa does not verify ours: %v\n%s", err, out)
				}
				if out, err := eval(other); err == nil {
					t.Errorf("opa takes any key: %s", out)
				}
			}
			theirs := filepath.Join(dir, alg, "theirs.tar.gz")
			if out, err := run("build", "--bundle", "folder", "--output", theirs, "--signing-key", private, "--signing-alg", alg, "--claims-file", claims); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			body, err := os.ReadFile(theirs)
			if err != nil {
				t.Fatal(err)
			}
			got, err := VerifyArchive(body, keysOf(t, "release", key))
			if err != nil || got.Algorithm != alg || got.KeyID != "release" {
				t.Errorf("%+v, %v", got, err)
			}
			if _, err := VerifyArchive(body, keysOf(t, "release", newKey(t))); !errors.Is(err, ErrSignature) {
				t.Errorf("another key: %v", err)
			}
			if info, err := Inspect(body); err != nil || info.Sequence != 7 || info.Signature == nil || info.Signature.KeyID != "release" {
				t.Errorf("%+v, %v", info, err)
			}
			// Without a scope it may have been signed for anything.
			if out, err := run("build", "--bundle", "folder", "--output", theirs, "--signing-key", private, "--signing-alg", alg); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if body, err = os.ReadFile(theirs); err != nil {
				t.Fatal(err)
			}
			if _, err := VerifyArchive(body, keysOf(t, "default", key)); !errors.Is(err, ErrSignature) || !strings.Contains(err.Error(), "scope") {
				t.Errorf("no scope: %v", err)
			}
		})
	}

	// "opa sign" in a folder, which is then served as it is.
	key := newKey(t)
	private := put("sign/key.pem", privatePEM(t, key))
	cmd := exec.CommandContext(t.Context(), opa, "sign", "--bundle", ".", "--signing-key", private, "--signing-alg", "ES256", "--claims-file", claims)
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	packed, err := Pack(os.DirFS(folder))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyArchive(packed, keysOf(t, "release", key)); err != nil {
		t.Errorf("a folder that opa signed: %v", err)
	}
}
