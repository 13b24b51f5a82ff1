package starter

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/policy"
	"github.com/signet-policy/signet/internal/testkit/require"
	"github.com/signet-policy/signet/rego"
)

func newBundle(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mine")
	if _, err := Init(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A new bundle passes what its continuous integration asks, without Signet.
func TestNewBundlePassesOtherTools(t *testing.T) {
	opa, regal := require.OPA(t), require.Regal(t)
	dir := newBundle(t)
	run := func(name string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, args := range [][]string{
		{opa, "test", "."},
		{opa, "test", "--capabilities", "capabilities.json", "."},
		{opa, "check", "--strict", "--schema", "schemas", "."},
		{opa, "check", "--strict", "--capabilities", "capabilities.json", "--schema", "schemas", "."},
		{opa, "fmt", "--list", "--fail", "signing"},
		{regal, "lint", "."},
	} {
		if out, err := run(args[0], args[1:]...); err != nil {
			t.Errorf("%s %v: %v\n%s", filepath.Base(args[0]), args[1:], err, out)
		}
	}

	// They do find something: a test that fails, a field that the input has not.
	rule := filepath.Join(dir, "signing", "rules", "registries.rego")
	body, err := os.ReadFile(rule)
	if err != nil {
		t.Fatal(err)
	}
	write(t, rule, strings.Replace(string(body), "input.subject.registry", "input.subject.registri", 1))
	for _, args := range [][]string{{opa, "test", "."}, {opa, "check", "--strict", "--schema", "schemas", "."}} {
		if out, err := run(args[0], args[1:]...); err == nil {
			t.Errorf("opa %v passes with a misspelt field\n%s", args[1:], out)
		}
	}
}

// What opa packs of a new bundle is a bundle.
func TestNewBundleCanBePacked(t *testing.T) {
	opa := require.OPA(t)
	dir := newBundle(t)
	packed := filepath.Join(t.TempDir(), "bundle.tar.gz")
	cmd := exec.CommandContext(t.Context(), opa, "build", "--bundle", ".", "--output", packed, "--ignore", "*_test.rego")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	bundle, err := policy.Open(packed)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	_ = fs.WalkDir(bundle, ".", func(name string, _ fs.DirEntry, err error) error {
		names = append(names, name)
		return err
	})
	params := json.RawMessage(`{"require_signature":true,"verify_transparency_log":true,"threshold":1,"trusted_sources":null,"registered_signers":true}`)
	if _, err := policy.Load(t.Context(), policy.Source{Name: "mine", Bundle: bundle, Params: params}); err != nil {
		t.Errorf("%v\nof %q", err, names)
	}
}

func TestNewBundleLoads(t *testing.T) {
	dir := newBundle(t)
	bundle, err := policy.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	params, err := policy.Params(bundle)
	if err != nil {
		t.Fatal(err)
	}
	src := policy.Source{Name: "mine", Bundle: bundle, Params: params}
	if _, err := policy.Load(t.Context(), src); err != nil {
		t.Error(err)
	}
	problems, err := policy.Check(t.Context(), src)
	if err != nil || len(problems) > 0 {
		t.Errorf("Check = %+v, %v", problems, err)
	}
	tested, err := policy.RunTests(t.Context(), src)
	if err != nil || !tested.OK() || tested.Coverage != 100 {
		t.Errorf("RunTests = %+v, %v", tested, err)
	}
}

// The schema of a new bundle's parameters has all of the library's.
func TestSchemaHasTheLibrarysParameters(t *testing.T) {
	type schema struct {
		AllOf []struct {
			Properties map[string]json.RawMessage `json:"properties"`
			Required   []string                   `json:"required"`
		} `json:"allOf"`
	}
	var library, mine schema
	files, err := own()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(json.Unmarshal(rego.ParamsSchema, &library), json.Unmarshal(files["schemas/params.json"], &mine)); err != nil {
		t.Fatal(err)
	}
	delete(mine.AllOf[0].Properties, "registries")
	compact := cmp.Transformer("compact", func(b json.RawMessage) string {
		var out bytes.Buffer
		_ = json.Compact(&out, b)
		return out.String()
	})
	if diff := cmp.Diff(library.AllOf[0].Properties, mine.AllOf[0].Properties, compact); diff != "" {
		t.Errorf("parameters (-library +bundle):\n%s", diff)
	}
	if diff := cmp.Diff(append(library.AllOf[0].Required, "registries"), mine.AllOf[0].Required); diff != "" {
		t.Errorf("required (-library +bundle):\n%s", diff)
	}
}

func TestInitOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "notes.txt"), "mine")
	if err := os.MkdirAll(filepath.Join(dir, "signing", "rules"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "signing", "rules", "registries.rego"), "mine")
	if _, err := Init(dir); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "registries.rego is there already") {
		t.Errorf("Init = %v", err)
	}
	var left []string
	_ = fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if !d.IsDir() {
			left = append(left, name)
		}
		return err
	})
	if diff := cmp.Diff([]string{"notes.txt", "signing/rules/registries.rego"}, left); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
	if err := os.Remove(filepath.Join(dir, "signing", "rules", "registries.rego")); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(dir); err != nil {
		t.Errorf("beside other files: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "ci.sh")); err != nil || info.Mode()&0o100 == 0 {
		t.Errorf("ci.sh: %v, %v", info, err)
	}
}

// A folder where a file should be: what was written before is taken away again.
func TestInitUndoes(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "signing"), "a file")
	if _, err := Init(dir); err == nil {
		t.Fatal("Init succeeds")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestVendor(t *testing.T) {
	dir := newBundle(t)
	same, err := Vendor(dir, false)
	if err != nil || len(same.Changed) > 0 || same.Diff != nil || same.From != rego.LibraryVersion {
		t.Errorf("unchanged: %+v, %v", same, err)
	}

	text := filepath.Join(dir, "signing", "lib", "text.rego")
	before, err := os.ReadFile(text)
	if err != nil {
		t.Fatal(err)
	}
	old := bytes.Replace(before, []byte("<= 3"), []byte("<= 2"), 1)
	write(t, text, string(old))
	if err := os.Remove(filepath.Join(dir, "capabilities.json")); err != nil {
		t.Fatal(err)
	}
	manifestFile := filepath.Join(dir, ".manifest")
	body, err := os.ReadFile(manifestFile)
	if err != nil {
		t.Fatal(err)
	}
	write(t, manifestFile, strings.Replace(string(body), `"library": "1"`, `"library":"0.9"`, 1))

	dry, err := Vendor(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{".manifest", "capabilities.json", "signing/lib/text.rego"}, dry.Changed); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
	if !strings.Contains(string(dry.Diff), "-\tcount(words) <= 2\n+\tcount(words) <= 3\n") || dry.From != "0.9" {
		t.Errorf("from %q, diff\n%s", dry.From, dry.Diff)
	}
	if now, err := os.ReadFile(text); err != nil || !bytes.Equal(now, old) {
		t.Errorf("a dry run changed the file: %v", err)
	}
	if _, err := Vendor(dir, false); err != nil {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(text); err != nil || !bytes.Equal(now, before) {
		t.Errorf("not updated: %v", err)
	}
	if now, err := os.ReadFile(manifestFile); err != nil || !strings.Contains(string(now), `"library":"1"`) {
		t.Errorf("manifest %s, %v", now, err)
	}
	if again, err := Vendor(dir, true); err != nil || len(again.Changed) > 0 {
		t.Errorf("updated twice: %+v, %v", again, err)
	}
}

func TestVendorRefuses(t *testing.T) {
	if _, err := Vendor(t.TempDir(), false); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "signet policy init") {
		t.Errorf("no bundle: %v", err)
	}
	dir := newBundle(t)
	write(t, filepath.Join(dir, "signing", "lib", "mine.rego"), "package signing.lib")
	if _, err := Vendor(dir, false); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "move it to signing/rules") {
		t.Errorf("a stranger in the library: %v", err)
	}
	dir = newBundle(t)
	write(t, filepath.Join(dir, ".manifest"), `{"roots": ["signing"]}`)
	if _, err := Vendor(dir, false); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "does not name its library") {
		t.Errorf("no version: %v", err)
	}
	dir = newBundle(t)
	if err := os.RemoveAll(filepath.Join(dir, "signing", "lib")); err != nil {
		t.Fatal(err)
	}
	if u, err := Vendor(dir, false); err != nil || len(u.Changed) == 0 {
		t.Errorf("a library that is gone: %+v, %v", u, err)
	}
}

func write(t *testing.T, name, body string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What a later library has no more goes, unless somebody has changed it.
func TestVendorDrops(t *testing.T) {
	dir := newBundle(t)
	wider, err := Library()
	if err != nil {
		t.Fatal(err)
	}
	narrower := maps.Clone(wider)
	wider["signing/lib/old/old.rego"] = []byte("package signing.lib.old\n")
	wider["signing/lib/mended.rego"] = []byte("package signing.lib\n")
	if u, err := vendor(dir, false, maps.Clone(wider), "0.5"); err != nil || len(u.Changed) != 4 { // and .library, .manifest
		t.Fatalf("the library before: %+v, %v", u, err)
	}
	mended := filepath.Join(dir, "signing", "lib", "mended.rego")
	write(t, mended, "package signing.lib # mine")

	for _, dry := range []bool{true, false} {
		u, err := vendor(dir, dry, maps.Clone(narrower), "0.6")
		if err != nil {
			t.Fatal(err)
		}
		got := [][]string{u.Changed, u.Removed, u.Kept}
		want := [][]string{{".library", ".manifest"}, {"signing/lib/old/old.rego"}, {"signing/lib/mended.rego"}}
		if diff := cmp.Diff(want, got); diff != "" || u.Same() {
			t.Errorf("dry %v: changed, removed, kept (-want +got):\n%s", dry, diff)
		}
		if !strings.Contains(string(u.Diff), "-package signing.lib.old\n") {
			t.Errorf("dry %v: diff\n%s", dry, u.Diff)
		}
		if _, err := os.Stat(filepath.Join(dir, "signing", "lib", "old")); errors.Is(err, fs.ErrNotExist) == dry {
			t.Errorf("dry %v: the folder of what goes: %v", dry, err)
		}
	}
	if body, err := os.ReadFile(mended); err != nil || string(body) != "package signing.lib # mine" {
		t.Errorf("what was changed: %s, %v", body, err)
	}
	if _, err := vendor(dir, false, maps.Clone(narrower), "0.6"); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "mended.rego is not part of the library") {
		t.Errorf("what was changed and stays: %v", err)
	}
	if err := os.Remove(mended); err != nil {
		t.Fatal(err)
	}
	if u, err := vendor(dir, false, maps.Clone(narrower), "0.6"); err != nil || !u.Same() {
		t.Errorf("once more: %+v, %v", u, err)
	}
}

// The list of what was shipped is the author's to edit, and names no file of theirs.
func TestVendorDropsNothingElse(t *testing.T) {
	digest := strings.Repeat("0", 64)
	for _, line := range []string{"nonsense", digest + "  signing/rules/registries.rego", digest + "  ../x", digest + "  signing/lib/../rules/registries.rego", "00  signing/lib/text.rego"} {
		dir := newBundle(t)
		write(t, filepath.Join(dir, shipped), line+"\n")
		if _, err := Vendor(dir, false); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), ".library, line 1: ") {
			t.Errorf("%s: %v", line, err)
		}
	}
	dir := newBundle(t)
	if err := os.Remove(filepath.Join(dir, shipped)); err != nil {
		t.Fatal(err)
	}
	if u, err := Vendor(dir, false); err != nil || cmp.Diff([]string{shipped}, u.Changed) != "" {
		t.Errorf("no list: %+v, %v", u, err)
	}
}
