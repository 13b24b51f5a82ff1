package report

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/signet-policy/signet/internal/verdict"
)

// The properties of SARIF 2.1.0 that are written
// (https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/sarif-v2.1.0-os.html).
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool struct {
			Driver sarifDriver `json:"driver"`
		} `json:"tool"`
		Results    []sarifResult `json:"results"`
		ColumnKind string        `json:"columnKind"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version,omitempty"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID   string    `json:"id"`
		Name string    `json:"name"`
		Text sarifText `json:"shortDescription"`
		Help sarifText `json:"help"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string            `json:"ruleId"`
		RuleIndex int               `json:"ruleIndex"`
		Level     string            `json:"level"`
		Message   sarifText         `json:"message"`
		Locations []sarifLocation   `json:"locations"`
		Prints    map[string]string `json:"partialFingerprints"`
		// Properties hold what a program may want: image, digest, verdict, code.
		Properties map[string]string `json:"properties"`
	}
	sarifLocation struct {
		Physical *sarifPhysical `json:"physicalLocation,omitempty"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region struct {
			StartLine int `json:"startLine"`
		} `json:"region"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
	}
)

// unknownRule is the one rule of every image of which it could not be found out.
const unknownRule = "unknown"

// SARIF writes the cases that did not pass: a result for each reason. A denied image is
// of level error under the code of its reason; one of which it could not be found out
// of level error under the rule "unknown"; what audit policies object to is of level
// warning. Addresses of what lies below dir, an absolute path with slashes, are relative
// to it. Errors are those of w.
func SARIF(w io.Writer, cases []Case, strict bool, version, dir string) error {
	var run sarifRun
	run.ColumnKind = "unicodeCodePoints"
	run.Results = []sarifResult{}
	run.Tool.Driver = sarifDriver{Name: "Signet", Version: version, InformationURI: "https://github.com/signet-policy/signet", Rules: []sarifRule{}}
	for _, c := range cases {
		outcome := c.Outcome(strict)
		if outcome == Passed {
			continue
		}
		level := "error"
		if outcome == Noted {
			level = "warning"
		}
		for _, r := range c.reasons() {
			rule := r.Code
			if c.Verdict.Decision == verdict.Unknown {
				rule = unknownRule
			}
			run.Results = append(run.Results, sarifResult{
				RuleID: rule, RuleIndex: run.Tool.Driver.rule(rule, r), Level: level,
				Message:   sarifText{sentence(r)},
				Locations: []sarifLocation{c.location(dir)},
				Prints:    map[string]string{"signet/v1": fingerprint(c, r.Code)},
				Properties: map[string]string{
					"image": c.Verdict.Image, "digest": c.Verdict.Digest, "verdict": c.Verdict.ID, "code": r.Code, "decision": string(c.Verdict.Decision),
				},
			})
		}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(sarifLog{
		Schema: "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run},
	})
}

// rule gives the position of a rule, which is added when it is new.
func (d *sarifDriver) rule(id string, r verdict.Reason) int {
	if i := slices.IndexFunc(d.Rules, func(r sarifRule) bool { return r.ID == id }); i >= 0 {
		return i
	}
	words := strings.ReplaceAll(id, "_", " ")
	rule := sarifRule{ID: id, Name: camel(id), Text: sarifText{"The policy for images is not met: " + words + "."}, Help: sarifText{"See the message of each result, which says what mends it."}}
	if id == unknownRule {
		rule.Text.Text = "It could not be found out whether the image may run."
	}
	if r.Rule != "" && id != unknownRule {
		rule.Help.Text = "Rule " + r.Rule + ". " + rule.Help.Text
	}
	d.Rules = append(d.Rules, rule)
	return len(d.Rules) - 1
}

// camel is a code as SARIF wants names of rules: "not_signed" is "NotSigned".
func camel(code string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(code, "_") {
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String()
}

func sentence(r verdict.Reason) string {
	text := r.Message
	if r.Nearest != nil && r.Nearest.Why != "" {
		text += " Nearest: " + r.Nearest.Why
	}
	if r.Remediation != "" {
		text += " To mend it: " + r.Remediation
	}
	return text
}

// location is the line of the file, and for an image that stood in none the first of
// what would be named as the image is: GitHub refuses a report in which one result has
// no physical location.
func (c Case) location(dir string) sarifLocation {
	l := sarifLocation{Physical: &sarifPhysical{}}
	file, where := c.File, c.Where
	if file == "" {
		file = strings.TrimPrefix(c.Verdict.Image, "oci-layout:")
		if where == "" {
			where = c.Verdict.Image
		}
	}
	l.Physical.Artifact.URI = address(file, dir)
	l.Physical.Region.StartLine = max(c.Line, 1)
	if where != "" {
		l.Logical = []sarifLogical{{where}}
	}
	return l
}

// address is a file as a relative reference, so that the reader finds it in the
// repository.
func address(file, dir string) string {
	file = path.Clean(file)
	if below, ok := strings.CutPrefix(file, strings.TrimSuffix(dir, "/")+"/"); ok {
		file = below
	}
	// What stands before a colon would be taken for a scheme.
	return strings.ReplaceAll((&url.URL{Path: file}).EscapedPath(), ":", "%3A")
}

// fingerprint stays as it is while lines move.
func fingerprint(c Case, code string) string {
	h := sha256.Sum256([]byte(strings.Join([]string{c.File, c.Where, c.Verdict.Image, code}, "\x00")))
	return hex.EncodeToString(h[:16])
}
