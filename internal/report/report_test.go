package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"net/url"
	"strings"
	"testing"

	"github.com/signet-policy/signet/internal/verdict"
)

func reason(code, message string) verdict.Reason {
	return verdict.Reason{Code: code, Message: message, Remediation: "Mend it.", Rule: "signing.rules"}
}

func allowed() *verdict.Verdict {
	return &verdict.Verdict{ID: "1", Decision: verdict.Allow, Allowed: true, Image: "r/good", Digest: "sha256:aa"}
}

func denied() *verdict.Verdict {
	return &verdict.Verdict{ID: "2", Decision: verdict.Deny, Image: "r/bad", Digest: "sha256:bb", Reasons: []verdict.Reason{
		reason("unsigned", "It is not signed."), reason("old_scan", `Its scan is "old" & <stale>.`),
	}}
}

func audited() *verdict.Verdict {
	v := denied()
	v.ID, v.Allowed, v.Image = "3", true, "r/audited"
	return v
}

func unknown() *verdict.Verdict {
	return &verdict.Verdict{ID: "4", Decision: verdict.Unknown, Image: "r/gone", Reasons: []verdict.Reason{reason("registry_unavailable", "It cannot be reached.")}}
}

func cases() []Case {
	return []Case{
		{Verdict: allowed(), Seconds: 0.5},
		{File: "a/web.yaml", Line: 3, Where: "Pod p, container a", Verdict: allowed(), Seconds: 1},
		{File: "a/web.yaml", Line: 9, Where: "Pod p, container b", Verdict: denied(), Seconds: 2},
		{File: "a/web.yaml", Line: 12, Where: "Pod p, container c", Verdict: audited()},
		{File: "list of ours.txt", Line: 1, Verdict: unknown()},
	}
}

func TestOutcome(t *testing.T) {
	for _, c := range []struct {
		name   string
		v      *verdict.Verdict
		strict bool
		want   Outcome
	}{
		{"allowed", allowed(), false, Passed},
		{"allowed, strict", allowed(), true, Passed},
		{"denied", denied(), false, Failed},
		{"in audit mode", audited(), false, Noted},
		{"in audit mode, strict", audited(), true, Failed},
		{"unknown", unknown(), false, Errored},
		{"allow that is not allowed", &verdict.Verdict{Decision: verdict.Allow}, false, Errored},
		{"nothing at all", &verdict.Verdict{}, false, Errored},
	} {
		if got := (Case{Verdict: c.v}).Outcome(c.strict); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}

func TestJUnit(t *testing.T) {
	var b bytes.Buffer
	if err := JUnitOf(cases(), false).Write(&b); err != nil {
		t.Fatal(err)
	}
	var got JUnit
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := []struct {
		name                       string
		tests, failures, unknownOf int
		time                       string
	}{{"images", 1, 0, 0, "0.500000"}, {"a/web.yaml", 3, 1, 0, "3.000000"}, {"list of ours.txt", 1, 0, 1, "0.000000"}}
	if len(got.Suites) != len(want) {
		t.Fatalf("got %d suites, want %d:\n%s", len(got.Suites), len(want), &b)
	}
	for i, w := range want {
		s := got.Suites[i]
		if s.Name != w.name || s.Tests != w.tests || s.Failures != w.failures || s.Errors != w.unknownOf || s.Time != w.time || len(s.Cases) != w.tests {
			t.Errorf("suite %d is %+v, want %+v", i, s, w)
		}
	}
	bad := got.Suites[1].Cases[1]
	if bad.Class != "Pod p, container b" || bad.Name != "r/bad" || bad.File != "a/web.yaml" || bad.Line != 9 {
		t.Errorf("the denied case is %+v", bad)
	}
	if bad.Failure == nil || bad.Failure.Message != "It is not signed." || bad.Failure.Type != "unsigned" ||
		!strings.Contains(bad.Failure.Text, `Its scan is "old" & <stale>. (old_scan)`) || !strings.Contains(bad.Failure.Text, "to mend: Mend it.") {
		t.Errorf("it says %+v", bad.Failure)
	}
	if noted := got.Suites[1].Cases[2]; noted.Failure != nil || noted.Error != nil || !strings.Contains(noted.Output, "It is not signed.") {
		t.Errorf("what audit mode objects to is %+v", noted)
	}
	if strict := JUnitOf(cases(), true); strict.Suites[1].Failures != 2 {
		t.Errorf("strict: %d failures, want 2", strict.Suites[1].Failures)
	}
}

// What readers of SARIF need: levels, the line, a rule for each result, and addresses
// that are relative and escaped.
func TestSARIF(t *testing.T) {
	var b bytes.Buffer
	if err := SARIF(&b, cases(), false, "v1", "/build"); err != nil {
		t.Fatal(err)
	}
	var got sarifLog
	dec := json.NewDecoder(&b)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Version != "2.1.0" || len(got.Runs) != 1 {
		t.Fatalf("got %+v", got)
	}
	run := got.Runs[0]
	want := []struct {
		rule, level, uri string
		line             int
	}{
		{"unsigned", "error", "a/web.yaml", 9}, {"old_scan", "error", "a/web.yaml", 9},
		{"unsigned", "warning", "a/web.yaml", 12}, {"old_scan", "warning", "a/web.yaml", 12},
		{"unknown", "error", "list%20of%20ours.txt", 1},
	}
	if len(run.Results) != len(want) {
		t.Fatalf("got %d results, want %d", len(run.Results), len(want))
	}
	prints := map[string]bool{}
	for i, w := range want {
		r := run.Results[i]
		at := r.Locations[0].Physical
		if r.RuleID != w.rule || r.Level != w.level || at.Artifact.URI != w.uri || at.Region.StartLine != w.line || run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID {
			t.Errorf("result %d is %+v at %+v, want %+v", i, r, at, w)
		}
		if !strings.Contains(r.Message.Text, "To mend it: Mend it.") {
			t.Errorf("result %d says %q", i, r.Message.Text)
		}
		prints[r.Prints["signet/v1"]] = true
	}
	if len(prints) != len(want) {
		t.Errorf("%d fingerprints of %d results", len(prints), len(want))
	}
	if code := run.Results[4].Properties["code"]; code != "registry_unavailable" {
		t.Errorf("the code of what is unknown is %q", code)
	}
}

// Without anything to tell, the lists are there and empty.
func TestSARIFOfNothing(t *testing.T) {
	var b bytes.Buffer
	if err := SARIF(&b, []Case{{Verdict: allowed()}}, false, "v1", "/build"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"results": []`, `"rules": []`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("there is no %s in\n%s", want, &b)
		}
	}
}

// An image that stood in no file, and a verdict without a reason, are told all the same.
func TestSARIFWithoutPlaceOrReason(t *testing.T) {
	var b bytes.Buffer
	if err := SARIF(&b, []Case{{Verdict: &verdict.Verdict{Decision: verdict.Unknown, Image: "r/x"}}}, false, "v1", "/build"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"fullyQualifiedName": "r/x"`, `"ruleId": "unknown"`, "The decision is unknown."} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("there is no %s in\n%s", want, &b)
		}
	}
}

// Every result has a physical location, or GitHub refuses the whole report: images that
// stood in no file have one that is made of their name.
func TestSARIFLocations(t *testing.T) {
	for _, tt := range []struct {
		name, file, image, want string
		line                    int
	}{
		{"a tag", "", "ghcr.io/org/app:v1", "ghcr.io/org/app%3Av1", 1},
		{"a tag alone", "", "nginx:1.27", "nginx%3A1.27", 1},
		{"a port and a digest", "", "127.0.0.1:5000/app@sha256:aa", "127.0.0.1%3A5000/app@sha256%3Aaa", 1},
		{"a layout", "", "oci-layout:images/my app:v1", "images/my%20app%3Av1", 1},
		{"a layout below the working directory", "", "oci-layout:/build/images/app", "images/app", 1},
		{"a layout elsewhere", "", "oci-layout:/buildshop/app", "/buildshop/app", 1},
		{"the layout that one is in", "", "oci-layout:.", ".", 1},
		{"a file that was verified", "", "/build/dist/app.tar", "dist/app.tar", 1},
		{"a digest", "", "sha256:aa", "sha256%3Aaa", 1},
		{"a relative file", "./a/../web.yaml", "r/x", "web.yaml", 9},
		{"a file below the working directory", "/build/a/100%?.yaml", "r/x", "a/100%25%3F.yaml", 9},
		{"a file with a colon", "a:b.yaml", "r/x", "a%3Ab.yaml", 9},
		{"a file elsewhere", "/tmp/web.yaml", "r/x", "/tmp/web.yaml", 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Case{File: tt.file, Verdict: &verdict.Verdict{Decision: verdict.Unknown, Image: tt.image}}
			if tt.file != "" {
				c.Line = 9
			}
			at := c.location("/build").Physical
			if at == nil || at.Artifact.URI != tt.want || at.Region.StartLine != tt.line {
				t.Fatalf("%+v, want %s:%d", at, tt.want, tt.line)
			}
			u, err := url.Parse(at.Artifact.URI)
			if err != nil || u.Scheme != "" || u.Host != "" {
				t.Errorf("%s is no relative reference: %v", at.Artifact.URI, err)
			}
		})
	}
	if got := (Case{File: "/a", Verdict: denied()}).location("/").Physical.Artifact.URI; got != "a" {
		t.Errorf("below the root: %s", got)
	}
}
