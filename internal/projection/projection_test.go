package projection_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/projection"
)

var update = flag.Bool("update", false, "write the golden projections")

var limits = projection.Limits{Entries: 100, Bytes: 100_000, Depth: 64}

// document is a predicate with its type, as testdata has them.
type document struct {
	PredicateType string          `json:"predicate_type"`
	Predicate     json.RawMessage `json:"predicate"`
}

func documents(t testing.TB) map[string]document {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 15 {
		t.Fatalf("%d documents in testdata: %v", len(files), err)
	}
	docs := map[string]document{}
	for _, file := range files {
		if strings.HasSuffix(file, ".golden.json") {
			continue
		}
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d document
		if err := json.Unmarshal(body, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		docs[strings.TrimSuffix(file, ".json")] = d
	}
	return docs
}

func parse(d document, lim projection.Limits) (*facts.Projection, error) {
	return projection.Parse(d.PredicateType, strings.NewReader(string(d.Predicate)), lim)
}

// What each known form gives: testdata/NAME.json and its NAME.golden.json.
func TestGolden(t *testing.T) {
	for name, d := range documents(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			p, err := parse(d, limits)
			if err != nil || p == nil {
				t.Fatalf("%v, %v", p, err)
			}
			got, err := json.MarshalIndent(p, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			golden := name + ".golden.json"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("golden and now:\n%s", diff)
			}
		})
	}
}

// A predicate of a type that is not known has no projection, and is no error.
func TestOthersHaveNone(t *testing.T) {
	for _, d := range []document{
		{"https://slsa.dev/provenance/v1", json.RawMessage(`{"packages": [{"name": "x"}]}`)},
		{"https://spdx.dev/Document2", json.RawMessage(`{"spdxVersion": "SPDX-2.3"}`)},
		{"https://spdx.dev/Document/v2.3/evil", json.RawMessage(`{"spdxVersion": "SPDX-2.3"}`)},
		{projection.TypeCosignCustom, json.RawMessage(`{"Data": "just text\n", "Timestamp": ""}`)},
		{projection.TypeCosignCustom, json.RawMessage(`{"Data": "{\"scan\": []}", "Timestamp": ""}`)},
		{projection.TypeCosignCustom, json.RawMessage(`{"Data": 7}`)},
		{projection.TypeCosignCustom, json.RawMessage(`"text"`)},
		{projection.TypeCosignCustom, json.RawMessage(`[]`)},
	} {
		if p, err := parse(d, limits); p != nil || err != nil {
			t.Errorf("%s %s: %+v, %v", d.PredicateType, d.Predicate, p, err)
		}
	}
}

// What cannot be read is an error that says what is wrong, and never a document
// without entries.
func TestMalformed(t *testing.T) {
	const (
		spdx, cyclonedx, vex = "https://spdx.dev/Document", "https://cyclonedx.org/bom", "https://openvex.dev/ns"
		vuln                 = projection.TypeCosignVuln
	)
	for _, c := range []struct{ kind, predicate, want string }{
		{spdx, `{}`, "the predicate is in no form of SPDX 2 or SPDX 3 that can be read"},
		{spdx, `{"spdxVersion": "SPDX-4.0", "packages": []}`, "in no form of SPDX 2 or SPDX 3"},
		{spdx, `{"bomFormat": "CycloneDX", "components": []}`, "in no form of SPDX 2 or SPDX 3"},
		{spdx, `{"spdxVersion": "SPDX-2.3", "@graph": []}`, "in no form of SPDX 2 or SPDX 3"},
		{spdx, `{"spdxVersion": "SPDX-2.3", "packages": [{"name": "a"}, {"versionInfo": "1"}]}`, "a package without a name in packages[1]"},
		{spdx, `{"spdxVersion": "SPDX-2.3", "packages": {"name": "a"}}`, "it is an object and should be an array in packages"},
		{spdx, `{"spdxVersion": "SPDX-2.3", "Packages": []}`, `"Packages" should be "packages"`},
		{spdx, `{"spdxVersion": "SPDX-2.3", "packages": [], "packages": [{"name": "gpl"}]}`, "duplicate key"},
		{spdx, `{"spdxVersion": "SPDX-2.3", "creationInfo": {"created": "yesterday"}}`, `"yesterday" is not a time like`},
		{spdx, `{"spdxVersion": "SPDX-2.3", "creationInfo": {"created": "9999-12-31T23:59:59-01:00"}}`, "is not a time like"},
		{spdx, `{"spdxVersion": "SPDX-2.3", "creationInfo": {"created": "1677-09-21T00:12:43Z"}}`, "is not a time like"},
		{cyclonedx, `{"bomFormat": "CycloneDX", "metadata": {"timestamp": "2262-04-11T23:47:17Z"}}`, "is not a time like"},
		{projection.TypeVSAV1, `{"verifier": {"id": "x"}, "verificationResult": "PASSED", "timeVerified": "9999-12-31T23:59:59Z"}`, "is not a time like"},
		{spdx, `"SPDXVersion: SPDX-2.3\nPackageName: x\n"`, "the document is text that is not JSON"},
		{spdx, `null`, "it is null and should be an object"},
		{spdx, `[{"name": "a"}]`, "it is an array and should be an object"},
		{spdx, `{"spdxVersion": "SPDX-2.3", "packages": [{"name": "` + strings.Repeat("x", 70_000) + `"}]}`, "a string of more than 65536 bytes in packages[0].name"},
		{cyclonedx, `{"specVersion": "1.5", "components": [{"name": "a"}]}`, "in no form of CycloneDX"},
		{cyclonedx, `{"bomFormat": "CycloneDX", "components": [{"components": [{"version": "1"}], "name": "a"}]}`, "a component without a name in components[0].components[0]"},
		{cyclonedx, `{"Data": "{\"bomFormat\": \"CycloneDX\"} trailing"}`, "trailing bytes"},
		{projection.TypeCosignCustom, `{"Data": "{\"bomFormat\": \"CycloneDX\", \"components\": 1}"}`, "it is a number and should be an array"},
		{vuln, `{}`, "in no form of a vulnerability report"},
		{vuln, `{"scanner": {"uri": "x", "result": {"vulns": []}}}`, "in no form of a vulnerability report"},
		{vuln, `{"scanner": {"uri": "x", "result": null}}`, "it is null and should be the report of a scanner"},
		{vuln, `{"scanner": {"uri": "x", "result": [{"name": "CVE-2024-1"}]}}`, "a vulnerability without an id in scanner.result[0]"},
		{vuln, `{"scanner": {"result": {"Results": [{"Vulnerabilities": [{"PkgName": "a"}]}]}}}`, "a vulnerability without an id in scanner.result.Results[0].Vulnerabilities[0]"},
		{vuln, `{"scanner": {"result": {"matches": [7]}}}`, "it is a number and should be an object in scanner.result.matches[0]"},
		{vuln, `{"runs": [{"results": [{"message": {"text": "x"}}]}]}`, "a result that names no rule"},
		{vex, `{}`, "in no form of OpenVEX"},
		{vex, `{"statements": [{"vulnerability": "CVE-1", "status": "ignored"}]}`, `a statement with the status "ignored"`},
		{vex, `{"statements": [{"status": "fixed"}]}`, "a statement that names no vulnerability"},
		{projection.TypeTestResult, `{"result": "OK"}`, `the result is "OK", which is none of`},
		{projection.TypeTestResult, `{"result": "PASSED", "failedTests": "a"}`, "failedTests is of type string"},
		{projection.TypeVSAV1, `{"verifier": {"id": "x"}, "verificationResult": "passed"}`, `verificationResult is "passed", which is neither`},
		{projection.TypeVSAV1, `{"verificationResult": "PASSED"}`, "the summary names no verifier"},
		{projection.TypeVSAV02, `{"verifier": {"id": "x"}, "verification_result": "PASSED", "time_verified": "now"}`, `"now" is not a time`},
	} {
		p, err := projection.Parse(c.kind, strings.NewReader(c.predicate), limits)
		if err == nil || !strings.Contains(err.Error(), c.want) || p != nil {
			t.Errorf("%s %.120s\n got %v %v\nwant an error with: %s", c.kind, c.predicate, p, err, c.want)
		}
	}
}

// The first and the last time that Rego can count are times; Go's zero time is none.
func TestTimesThatRegoCounts(t *testing.T) {
	for text, want := range map[string]string{
		"1677-09-21T00:12:44Z": "1677-09-21T00:12:44Z", "2262-04-11T23:47:16Z": "2262-04-11T23:47:16Z",
		"0001-01-01T00:00:00Z": "", "0001-01-01T02:00:00+02:00": "",
	} {
		p, err := parse(document{"https://spdx.dev/Document", json.RawMessage(`{"spdxVersion": "SPDX-2.3", "creationInfo": {"created": "` + text + `"}}`)}, limits)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := ""
		if p.MadeAt != nil {
			got = p.MadeAt.Format(time.RFC3339)
		}
		if got != want {
			t.Errorf("%s was read as %q, want %q", text, got, want)
		}
	}
}

// A product that is named by nothing that is read is none that could be left out:
// without it the statement would speak of more than it does.
func TestProductsNamedByNothingRead(t *testing.T) {
	const cpe = `{"identifiers": {"cpe23": "cpe:2.3:a:openssl:openssl:3.0.11:*:*:*:*:*:*:*"}}`
	for _, c := range []struct {
		statement string
		want      []string
	}{
		{`"products": [` + cpe + `]`, []string{""}},
		{`"products": [{"hashes": {"sha-256": "aa"}}]`, []string{""}},
		{`"products": [{}]`, []string{""}},
		{`"products": [""]`, []string{""}},
		{`"products": [` + cpe + `, {"@id": "pkg:npm/a"}, {"identifiers": {"purl": "pkg:npm/b"}}]`, []string{"", "pkg:npm/a", "pkg:npm/b"}},
		{`"products": [{"@id": "pkg:oci/app", "subcomponents": [` + cpe + `]}]`, []string{""}},
		{`"products": [{"@id": "pkg:oci/app", "subcomponents": [` + cpe + `, {"@id": "pkg:npm/a"}]}]`, []string{"", "pkg:npm/a"}},
		{`"products": ["pkg:oci/app"], "subcomponents": [""]`, []string{""}},
		{`"products": [{"@id": "pkg:oci/app", "subcomponents": []}]`, []string{"pkg:oci/app"}},
		{`"products": [{"@id": "pkg:npm/a", "identifiers": {"purl": "pkg:npm/a"}}]`, []string{"pkg:npm/a"}},
		{`"products": []`, []string{}},
	} {
		p, err := parse(document{"https://openvex.dev/ns", json.RawMessage(`{"statements": [{"vulnerability": "CVE-1", "status": "fixed", ` + c.statement + `}]}`)}, limits)
		if err != nil {
			t.Errorf("%s: %v", c.statement, err)
			continue
		}
		if diff := cmp.Diff(c.want, p.Statements[0].Products); diff != "" {
			t.Errorf("%s (-want +have):\n%s", c.statement, diff)
		}
	}
}

// What does not fit is cut off, the beginning stays, and the projection says so;
// the rest of the document is read all the same.
func TestTruncated(t *testing.T) {
	var list []string
	for i := range 50 {
		list = append(list, fmt.Sprintf(`{"name": "package-%d", "versionInfo": %q}`, i, strings.Repeat("9", 20)))
	}
	d := document{"https://spdx.dev/Document", json.RawMessage(`{"spdxVersion": "SPDX-2.3", "packages": [` + strings.Join(list, ",") + `], "creationInfo": {"created": "2025-01-02T03:04:05Z"}}`)}
	whole, err := parse(d, projection.Limits{Entries: 50, Bytes: 10_000, Depth: 10})
	if err != nil || whole.Truncated || len(whole.Packages) != 50 {
		t.Fatalf("%+v, %v", whole, err)
	}
	for name, lim := range map[string]projection.Limits{"entries": {Entries: 10, Bytes: 1 << 20, Depth: 10}, "bytes": {Entries: 100, Bytes: 800, Depth: 10}} {
		p, err := parse(d, lim)
		if err != nil || !p.Truncated || len(p.Packages) < 5 || len(p.Packages) > 12 || p.MadeAt == nil {
			t.Errorf("%s: %+v, %v", name, p, err)
			continue
		}
		if diff := cmp.Diff(whole.Packages[:len(p.Packages)], p.Packages); diff != "" {
			t.Errorf("%s: not the beginning: %s", name, diff)
		}
	}
	d.Predicate = json.RawMessage(strings.Replace(string(d.Predicate), `"creationInfo": {`, `"creationInfo": {"created": 1, `, 1))
	if p, err := parse(d, projection.Limits{Entries: 1, Bytes: 1000, Depth: 10}); err == nil {
		t.Errorf("the end was not read: %+v", p)
	}
}

// A projection comes back from its JSON as it was: the facts are kept so.
func TestRoundTrip(t *testing.T) {
	for name, d := range documents(t) {
		p, err := parse(d, limits)
		if err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back facts.Projection
		if err := json.Unmarshal(body, &back); err != nil {
			t.Fatal(err)
		}
		if again, err := json.Marshal(back); err != nil || string(again) != string(body) {
			t.Errorf("%s: %v\n%s\n%s", name, err, body, again)
		}
	}
}

// One target for each reader of outside bytes: no panic, an answer that comes back
// from JSON as it was, and never one beyond the limits.
func FuzzParse(f *testing.F) {
	for _, d := range documents(f) {
		f.Add(d.PredicateType, []byte(d.Predicate))
	}
	f.Fuzz(func(t *testing.T, predicateType string, predicate []byte) {
		lim := projection.Limits{Entries: 20, Bytes: 4000, Depth: 32}
		p, err := projection.Parse(predicateType, strings.NewReader(string(predicate)), lim)
		if err != nil || p == nil {
			if p != nil {
				t.Fatalf("%+v beside %v", p, err)
			}
			return
		}
		if n := len(p.Packages) + len(p.Findings) + len(p.Statements); n > lim.Entries {
			t.Fatalf("%d entries", n)
		}
		body, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back facts.Projection
		if err := json.Unmarshal(body, &back); err != nil {
			t.Fatal(err)
		}
		if again, err := json.Marshal(back); err != nil || string(again) != string(body) {
			t.Fatalf("%s\n%s", body, again)
		}
	})
}
