package corpus

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

var update = flag.Bool("update", false, "write the golden files anew")

// normalHost stands for the registry of the test.
const normalHost = "registry.test"

// golden is what Signet makes of one case.
type golden struct {
	Name string `json:"name"`
	// Evidence is what verification proved, by the trust root and the keys that
	// it was given: policies change nothing in it.
	Evidence map[string]*proved `json:"evidence"`
	Checks   []goldenCheck      `json:"checks"`
}

// proved is the input document without frame and predicates.
type proved struct {
	Subject      facts.Subject       `json:"subject"`
	Search       facts.Search        `json:"search"`
	Signatures   []facts.Signature   `json:"signatures"`
	Attestations []facts.Attestation `json:"attestations"`
	Rejections   []facts.Rejection   `json:"rejections"`
}

// goldenCheck is one verdict.
type goldenCheck struct {
	Check    string          `json:"check"`
	Evidence string          `json:"evidence"`
	Policy   any             `json:"policy"`
	Verdict  verdict.Verdict `json:"verdict"`
}

// record adds an answer to the golden file. evidence names the root and the keys.
func (g *golden) record(t *testing.T, check, evidence, host string, w wanted, a answer) {
	t.Helper()
	p := normalProof(t, host, a.input)
	if g.Evidence == nil {
		g.Evidence = map[string]*proved{}
	}
	if have, ok := g.Evidence[evidence]; !ok {
		g.Evidence[evidence] = p
	} else if diff := cmp.Diff(have, shown(have, p)); diff != "" {
		t.Errorf("with %s another policy gave other facts (-before +now):\n%s", evidence, diff)
	}
	g.Checks = append(g.Checks, goldenCheck{check, evidence, w.document(), normalVerdict(t, host, a)})
}

// shown is p with what both show of predicates, and so is have: one policy may
// withhold what another trusts.
func shown(have, p *proved) *proved {
	for i := range min(len(have.Attestations), len(p.Attestations)) {
		a, b := &have.Attestations[i], &p.Attestations[i]
		if a.Projection == nil {
			a.Projection, a.ProjectionError = b.Projection, either(a.ProjectionError, b.ProjectionError)
		}
		if b.Projection == nil {
			b.Projection, b.ProjectionError = a.Projection, either(b.ProjectionError, a.ProjectionError)
		}
	}
	return p
}

// either is a, or b where that is empty.
func either(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func normalProof(t *testing.T, host string, in facts.Input) *proved {
	t.Helper()
	p := &proved{Subject: in.Subject, Search: in.Search, Rejections: in.Rejections, Signatures: []facts.Signature{}, Attestations: []facts.Attestation{}}
	for _, s := range in.Signatures {
		p.Signatures = append(p.Signatures, s.Signature)
	}
	for _, a := range in.Attestations {
		a.Predicate = nil // its digest is there
		a.Attestation.Projection = a.Projection
		p.Attestations = append(p.Attestations, a.Attestation)
	}
	return normal(t, host, p)
}

// normalVerdict takes out what is another one at each run or with each build.
func normalVerdict(t *testing.T, host string, a answer) verdict.Verdict {
	t.Helper()
	v := a.verdict
	v.ID, v.Active, v.Build = "", verdict.Active{}, ""
	v.Policies = slices.Clone(v.Policies)
	for i := range v.Policies {
		v.Policies[i].Revision, v.Policies[i].Digest, v.Policies[i].ParamsDigest, v.Policies[i].SignersDigest = "", "", "", ""
	}
	return *normal(t, host, &v)
}

// normal replaces the registry's address in all strings.
func normal[T any](t *testing.T, host string, v *T) *T {
	t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		body = bytes.ReplaceAll(body, []byte(host), []byte(normalHost))
	}
	var out T
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatal(err)
	}
	return &out
}

// keep compares with the golden file, or writes it.
func (g *golden) keep(t *testing.T, set string) {
	t.Helper()
	path := filepath.Join("testdata", set, g.Name+".json")
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(g); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test ./test/corpus -update writes it)", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(b.String(), "\n")); diff != "" {
		t.Errorf("%s (-golden +now), or update it with go test ./test/corpus -update:\n%s", path, diff)
	}
}

// onlyGolden fails for golden files that no case has any more.
func onlyGolden(t *testing.T, set string, names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("testdata", set))
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, e := range entries {
		have = append(have, strings.TrimSuffix(e.Name(), ".json"))
	}
	want := slices.Clone(names)
	slices.Sort(want)
	slices.Sort(have)
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("golden files (-cases +files):\n%s", diff)
	}
}
