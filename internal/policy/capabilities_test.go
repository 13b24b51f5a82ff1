package policy

import (
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/signet-policy/signet/rego"
)

// Threat 47: what a policy may call is kept by hand; this says what must never
// come in.
func TestCapabilitiesForbid(t *testing.T) {
	caps, err := capabilities()
	if err != nil {
		t.Fatal(err)
	}
	forbidden := regexp.MustCompile(`^(http\.|net\.|opa\.|rand\.|uuid\.rfc|io\.jwt\.|providers\.|graphql\.|crypto\.x509\.|crypto\.(md5|sha1|hmac)|rego\.parse_module|trace$|time\.(now_ns|clock|date|format|weekday|diff|add_date)|json\.(match|verify)_schema|yaml\.)`)
	for _, b := range caps.Builtins {
		if forbidden.MatchString(b.Name) {
			t.Errorf("builtin %s is allowed", b.Name)
		}
		if b.Nondeterministic {
			t.Errorf("builtin %s is not deterministic", b.Name)
		}
		if b.IsDeprecated() {
			t.Errorf("builtin %s is deprecated", b.Name)
		}
	}
	if caps.AllowNet == nil || len(caps.AllowNet) != 0 {
		t.Errorf("allow_net is %#v, want an empty list that is not nil", caps.AllowNet)
	}
}

// opa check and opa test read the declarations in the file; Load takes those of
// the OPA that it is built with. They must be the same.
func TestCapabilitiesFileIsCurrent(t *testing.T) {
	file, err := ast.LoadCapabilitiesJSON(strings.NewReader(string(rego.Capabilities)))
	if err != nil {
		t.Fatal(err)
	}
	ours, err := capabilities()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(file.Features, ours.Features) || len(file.Builtins) != len(ours.Builtins) {
		t.Fatalf("features %v and %d builtins, want %v and %d", file.Features, len(file.Builtins), ours.Features, len(ours.Builtins))
	}
	for i, b := range file.Builtins {
		o := ours.Builtins[i]
		if b.Name != o.Name || b.Infix != o.Infix || b.Relation != o.Relation || bare(t, b) != bare(t, o) {
			t.Errorf("%s is declared as %s, OPA says %s", b.Name, bare(t, b), bare(t, o))
		}
	}
	if !slices.IsSortedFunc(file.Builtins, func(a, b *ast.Builtin) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the builtins are not sorted by name")
	}
	// Whoever moves to another OPA looks at what it adds.
	for _, name := range []string{"http.send", "time.now_ns", "opa.runtime"} {
		if _, ok := ast.BuiltinMap[name]; !ok {
			t.Errorf("OPA no longer has %s: this test looks for a name of the past", name)
		}
	}
}

// bare is a declaration without the words about it.
func bare(t *testing.T, b *ast.Builtin) string {
	t.Helper()
	body, err := json.Marshal(b.Decl)
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatal(err)
	}
	body, err = json.Marshal(strip(doc))
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func strip(doc any) any {
	switch v := doc.(type) {
	case map[string]any:
		delete(v, "description")
		if _, typed := v["type"]; typed {
			delete(v, "name")
		}
		for k := range v {
			v[k] = strip(v[k])
		}
	case []any:
		for i := range v {
			v[i] = strip(v[i])
		}
	}
	return doc
}

func TestParseCapabilitiesRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ body, want string }{
		"not JSON":           {`{`, "unexpected end"},
		"allow_net absent":   {`{"builtins":[]}`, "allow_net must be written out as []"},
		"allow_net null":     {`{"allow_net":null}`, "allow_net must be written out as []"},
		"allow_net a host":   {`{"allow_net":["example.com"]}`, "allow_net must be written out as []"},
		"unknown builtin":    {`{"allow_net":[],"builtins":[{"name":"no.such"}]}`, "OPA has no builtin no.such"},
		"not deterministic":  {`{"allow_net":[],"builtins":[{"name":"http.send"}]}`, "http.send is not deterministic"},
		"clock in the names": {`{"allow_net":[],"builtins":[{"name":"time.now_ns"}]}`, "time.now_ns is not deterministic"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseCapabilities([]byte(tt.body))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want it to say %q", err, tt.want)
			}
		})
	}
	if reflect.DeepEqual(ast.CapabilitiesForThisVersion().AllowNet, []string{}) {
		t.Error("OPA's own default is no host now: the check above may be simplified")
	}
}
