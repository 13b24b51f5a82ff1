// Package rooms keeps the arrows between Signet's rooms: who may import whom,
// which room wraps which outside technology, and who may make facts.
package rooms

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/signet-policy/signet/"

// room says what a package may import: other rooms, and outside modules (by
// prefix). The standard library is free to all.
type room struct {
	rooms   []string
	outside []string
}

var (
	sigstore = []string{"github.com/sigstore/", "github.com/in-toto/attestation/", "github.com/secure-systems-lab/", "github.com/cyberphone/json-canonicalization", "github.com/digitorus/", "github.com/google/certificate-transparency-go", "github.com/transparency-dev/", "golang.org/x/mod/sumdb/note"}
	sync     = "golang.org/x/sync/"
	jsonv2   = "github.com/go-json-experiment/json" // what encoding/json/v2 of Go 1.27 is
)

// rooms is docs/design.md, "Rooms", as a table.
var rooms = map[string]room{
	"client":                   {}, // for programs of others: it brings nothing along
	"internal/facts":           {outside: []string{jsonv2}},
	"internal/evidence":        {},
	"internal/strictjson":      {},
	"internal/auth":            {rooms: []string{"internal/glob"}},
	"internal/verdict":         {rooms: []string{"internal/facts"}},
	"internal/signers":         {rooms: []string{"internal/facts", "internal/glob"}},
	"internal/glob":            {},
	"internal/manifests":       {outside: []string{"go.yaml.in/yaml/v3", "github.com/compose-spec/compose-go/v2/consts", "github.com/compose-spec/compose-go/v2/template"}},
	"internal/report":          {rooms: []string{"internal/verdict"}},
	"internal/signingpolicy":   {rooms: []string{"internal/builders", "internal/facts", "internal/glob", "internal/signers", "internal/strictjson", "internal/verdict", "rego"}, outside: []string{"go.yaml.in/yaml/v3", "github.com/santhosh-tekuri/jsonschema/v6"}},
	"internal/registry":        {rooms: []string{"internal/facts", "internal/evidence", "internal/glob", "internal/strictjson"}, outside: []string{"github.com/google/go-containerregistry/", sync, "golang.org/x/time/rate"}},
	"internal/projection":      {rooms: []string{"internal/facts", "internal/strictjson"}},
	"internal/attest":          {rooms: []string{"internal/facts", "internal/verdict"}, outside: []string{sync}},
	"internal/provenance":      {rooms: []string{"internal/facts", "internal/strictjson"}},
	"internal/builders":        {rooms: []string{"internal/facts", "internal/strictjson", "rego"}, outside: []string{"golang.org/x/mod/semver"}},
	"internal/trust":           {rooms: []string{"internal/glob", "internal/strictjson"}, outside: append([]string{"github.com/theupdateframework/go-tuf/v2/"}, sigstore...)},
	"internal/verify":          {rooms: []string{"internal/facts", "internal/evidence", "internal/trust", "internal/strictjson", "internal/provenance", "internal/projection"}, outside: append([]string{sync, "google.golang.org/protobuf/"}, sigstore...)},
	"internal/policy":          {rooms: []string{"internal/builders", "internal/facts", "internal/evidence", "internal/verdict", "internal/strictjson", "rego", "bundles"}, outside: []string{"github.com/open-policy-agent/opa/v1/", "github.com/santhosh-tekuri/jsonschema/v6", "github.com/rogpeppe/go-internal/diff"}},
	"internal/distribution":    {rooms: []string{"internal/strictjson"}, outside: []string{"github.com/google/go-containerregistry/"}},
	"internal/tlsfiles":        {},
	"internal/cosign":          {rooms: []string{"internal/evidence", "internal/signers"}, outside: []string{"golang.org/x/sys/", sync}},
	"internal/pluginfile":      {rooms: []string{"internal/signingpolicy"}, outside: []string{"go.yaml.in/yaml/v3"}},
	"internal/pep/mcp":         {rooms: []string{"client"}},
	"internal/decisionlog":     {outside: []string{"golang.org/x/time/rate"}},
	"internal/cache":           {outside: []string{"github.com/maypok86/otter/v2", "github.com/redis/go-redis/v9", sync}},
	"internal/store":           {rooms: []string{"internal/facts", "internal/verdict", "internal/signers", "internal/auth", "migrations"}, outside: []string{"modernc.org/sqlite", "github.com/pressly/goose/v3", "golang.org/x/sys/unix", "github.com/klauspost/compress/zstd", "github.com/oklog/ulid/v2", "github.com/jackc/pgx/v5"}},
	"internal/kms":             {rooms: []string{"internal/signers"}, outside: []string{"github.com/sigstore/sigstore/pkg/signature", "github.com/aws/", "github.com/Azure/azure-sdk-for-go/", "github.com/hashicorp/vault/api", "cloud.google.com/go/kms/", "google.golang.org/api/", "google.golang.org/grpc"}},
	"internal/store/storetest": {rooms: []string{"internal/store", "internal/facts", "internal/verdict", "internal/auth"}, outside: []string{"github.com/google/go-cmp/"}},
	"internal/watch":           {rooms: []string{"client", "internal/store", "internal/verdict"}},
	"internal/webhook":         {rooms: []string{"internal/store"}},
	"internal/administration":  {rooms: []string{"client", "internal/watch", "internal/store", "internal/signers", "internal/signingpolicy", "internal/auth", "internal/glob", "internal/facts", "internal/strictjson", "internal/trust"}},
	"internal/admin":           {rooms: []string{"client", "web", "internal/api", "internal/auth", "internal/engine", "internal/facts", "internal/glob", "internal/signingpolicy", "internal/verdict"}, outside: []string{"github.com/labstack/echo/v4", "github.com/coreos/go-oidc/v3/oidc", "golang.org/x/oauth2"}},
	"internal/workbench":       {rooms: []string{"client", "internal/evidence", "internal/policy", "internal/signingpolicy"}},
	"internal/schemagen":       {rooms: []string{"internal/facts"}, outside: []string{"github.com/invopop/jsonschema", "github.com/pb33f/ordered-map", "github.com/wk8/go-ordered-map"}},
	"internal/config":          {rooms: []string{"internal/evidence"}, outside: []string{"go.yaml.in/yaml/v3"}},
	"internal/engine":          {rooms: []string{"internal/facts", "internal/evidence", "internal/verdict", "internal/signers", "internal/auth"}, outside: []string{"github.com/oklog/ulid/v2", sync, jsonv2}},
	"internal/preview":         {rooms: []string{"internal/engine", "internal/facts", "internal/verdict", "internal/evidence"}},
	"internal/pep":             {rooms: []string{"internal/engine", "internal/auth", "internal/verdict"}},
	"internal/pep/opadata":     {rooms: []string{"internal/pep", "internal/engine", "internal/verdict", "internal/strictjson"}},
	"internal/pep/authzen":     {rooms: []string{"internal/pep", "internal/engine", "internal/verdict", "internal/strictjson"}},
	"internal/pending":         {rooms: []string{"client", "internal/auth", "internal/pep", "internal/store", "internal/verdict"}, outside: []string{"github.com/oklog/ulid/v2"}},
	"internal/api":             {rooms: []string{"client", "internal/administration", "internal/engine", "internal/auth", "internal/pep", "internal/facts", "internal/verdict", "internal/evidence", "internal/strictjson"}, outside: []string{"golang.org/x/time/rate", "github.com/labstack/echo/v4", "github.com/prometheus/client_golang/", "github.com/prometheus/client_model/"}},
}

type listed struct {
	ImportPath string
	Imports    []string
}

// packages asks the go command for every package of the module.
func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for dec.More() {
		var p listed
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

const root = "../.."

func TestArrows(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if !strings.HasPrefix(name, "internal/") && name != "client" || strings.HasPrefix(name, "internal/testkit") {
			continue
		}
		r, key, ok := roomOf(name)
		if !ok {
			t.Errorf("%s is in no room: name it in the table and in docs/design.md", name)
			continue
		}
		seen[key] = true
		for _, imp := range p.Imports {
			if why := refused(r, key, imp); why != "" {
				t.Errorf("%s imports %s: %s", name, imp, why)
			}
		}
	}
	for name := range rooms {
		if !seen[name] {
			t.Errorf("%s is in the table and not in the tree", name)
		}
	}
}

// roomOf finds the room of a package; folders below a room belong to it.
func roomOf(name string) (room, string, bool) {
	for n := name; n != "." && n != ""; n = path.Dir(n) {
		if r, ok := rooms[n]; ok {
			return r, n, true
		}
	}
	return room{}, "", false
}

func refused(r room, self, imp string) string {
	local, isLocal := strings.CutPrefix(imp, module)
	switch {
	case isLocal && strings.HasPrefix(local, "internal/testkit"):
		return "testkit is for tests only"
	case isLocal:
		_, key, _ := roomOf(local)
		if key == self || slices.Contains(r.rooms, local) || slices.Contains(r.rooms, key) {
			return ""
		}
		return "no arrow goes there"
	case !strings.Contains(strings.SplitN(imp, "/", 2)[0], "."):
		return "" // the standard library
	}
	for _, prefix := range r.outside {
		if strings.HasPrefix(imp, prefix) {
			return ""
		}
	}
	return "this outside module belongs to another room"
}

// TestCommandsDoNotUseTheTestkit: cmd/ is what users run.
func TestCommandsDoNotUseTheTestkit(t *testing.T) {
	for _, p := range packages(t) {
		if !strings.HasPrefix(p.ImportPath, module+"cmd/") {
			continue
		}
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, module+"internal/testkit") {
				t.Errorf("%s imports %s", p.ImportPath, imp)
			}
		}
	}
}

// mayCall says which packages may call what makes verified values (law 2).
var mayCall = map[string][]string{
	"New":    {"internal/verify", "internal/store/storetest"}, // the contract suite is imported by tests only
	"Decode": {"internal/store"},
}

// TestWhoMakesFacts looks at every call of facts.New and facts.Decode outside tests.
func TestWhoMakesFacts(t *testing.T) {
	calls := map[string]int{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || d.Name() == "tools") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			return err
		}
		local, imported := importedAs(parsed, module+"internal/facts")
		if !imported {
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); !ok || x.Name != local {
				return true
			}
			if allowed, guarded := mayCall[sel.Sel.Name]; guarded {
				calls[sel.Sel.Name]++
				if !slices.Contains(allowed, filepath.ToSlash(dir)) {
					t.Errorf("%s uses facts.%s; only %v may", file, sel.Sel.Name, allowed)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range mayCall {
		if calls[name] == 0 {
			t.Errorf("nobody uses facts.%s: this test looks at nothing", name)
		}
	}
}

// importedAs gives the name under which a file knows a package.
func importedAs(f *ast.File, importPath string) (string, bool) {
	for _, spec := range f.Imports {
		if strings.Trim(spec.Path.Value, `"`) != importPath {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name, true
		}
		return path.Base(importPath), true
	}
	return "", false
}

// TestTheTableRefuses: the test above must be able to fail.
func TestTheTableRefuses(t *testing.T) {
	for _, tt := range []struct{ room, imp string }{
		{"internal/facts", module + "internal/verify"},
		{"internal/verify", module + "internal/registry"},
		{"internal/engine", module + "internal/testkit/sigstack"},
		{"internal/engine", "github.com/open-policy-agent/opa/v1/rego"},
		{"internal/api", "modernc.org/sqlite"},
	} {
		if refused(rooms[tt.room], tt.room, tt.imp) == "" {
			t.Errorf("%s may import %s", tt.room, tt.imp)
		}
	}
	if why := refused(rooms["internal/verify"], "internal/verify", module+"internal/facts"); why != "" {
		t.Errorf("verify may not import facts: %s", why)
	}
}
