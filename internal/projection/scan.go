package projection

import (
	"strconv"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// scan is a report of vulnerabilities while it is read. What a finding's severity
// is follows from its own words, else from its score.
type scan struct {
	*reader
	// said names the form in which the report was found, "" for none yet.
	said string
	// reportedAt is when the scanner's own report says that it was made: it counts
	// where the predicate around it says nothing.
	reportedAt *time.Time
	// named says that the predicate around the report names the scanner.
	named bool
}

// Fields of the predicates (https://github.com/sigstore/cosign/blob/main/specs/COSIGN_VULN_ATTESTATION_SPEC.md,
// https://github.com/in-toto/attestation/blob/main/spec/predicates/vulns_02.md; in-toto's
// protobuf writes some in another way), and of the reports of Trivy, of Grype, and of
// SARIF 2.1.0.
var (
	reportNames       = []string{"SchemaVersion", "CreatedAt", "Results", "matches", "descriptor", "runs", "vulnerabilities"}
	scanNames         = strictjson.NewNames(append([]string{"scanner", "metadata", "scanMetadata"}, reportNames...)...)
	scanReportNames   = strictjson.NewNames(reportNames...)
	scannerNames      = strictjson.NewNames("uri", "version", "db", "database", "result")
	scanMetadataNames = strictjson.NewNames("scanFinishedOn")
	databaseNames     = strictjson.NewNames("lastUpdate")
	listedNames       = strictjson.NewNames("id", "severity", "Target", "Vulnerabilities")
	severityNames     = strictjson.NewNames("method", "score")
)

func readScan(r *reader) error {
	s := &scan{reader: r}
	if s.Kind() == strictjson.KindArray { // Trivy, before its reports had a version
		if err := s.report(); err != nil {
			return err
		}
	} else if err := s.Object(scanNames, s.field); err != nil {
		return err
	}
	if s.said == "" {
		return unknownForm("a vulnerability report (in-toto's list, or the JSON of Trivy, Grype or SARIF)")
	}
	if r.out.MadeAt == nil {
		r.out.MadeAt = s.reportedAt
	}
	r.out.Kind = facts.ProjectionScan
	return nil
}

func (s *scan) field(key string) error {
	switch key {
	case "scanner":
		return s.object(scannerNames, s.scanner)
	case "metadata", "scanMetadata":
		return s.object(scanMetadataNames, func(string) (err error) {
			s.out.MadeAt, err = s.when()
			return err
		})
	}
	return s.reportField(key)
}

func (s *scan) scanner(key string) (err error) {
	switch key {
	case "uri":
		return s.name(&s.tool().Name)
	case "version":
		return s.name(&s.tool().Version)
	case "result":
		return s.report()
	}
	return s.object(databaseNames, func(string) (err error) {
		s.tool().DatabaseAt, err = s.when()
		return err
	})
}

// name reads what the predicate calls the scanner: it counts before what the report
// says, unless it is empty.
func (s *scan) name(to *string) error {
	var v string
	err := s.into(&v)
	if v != "" {
		*to, s.named = v, true
	}
	return err
}

// report reads what a scanner wrote.
func (s *scan) report() error {
	switch s.Kind() {
	case strictjson.KindObject:
		return s.Object(scanReportNames, s.reportField)
	case strictjson.KindArray:
		s.said = "a list"
		return s.Array(s.listed)
	}
	return s.Wrong("it is %s and should be the report of a scanner", s.Kind())
}

func (s *scan) reportField(key string) (err error) {
	switch key {
	case "SchemaVersion":
		s.said = "Trivy"
		return s.Skip()
	case "CreatedAt":
		s.reportedAt, err = s.when()
		return err
	case "Results":
		s.said = "Trivy"
		return s.list(func() error { return s.Object(trivyNames, s.trivyField) })
	case "matches":
		s.said = "Grype"
		return s.list(s.grypeMatch)
	case "descriptor":
		return s.object(grypeDescriptorNames, s.grypeDescriptor)
	case "runs":
		s.said = "SARIF"
		return s.list(s.sarifRun)
	}
	s.said = "a list" // vulnerabilities
	return s.list(s.listed)
}

// listed reads an element of a list: a vulnerability as in-toto lists it, or a
// result of an old Trivy.
func (s *scan) listed() error {
	var f facts.Finding
	trivy := false
	if err := s.Object(listedNames, func(key string) error {
		switch key {
		case "id":
			return s.into(&f.ID)
		case "severity":
			return s.severities(&f)
		}
		trivy = true
		return s.trivyField(key)
	}); err != nil {
		return err
	}
	if trivy {
		return nil
	}
	return s.found(f, "")
}

// severities are a list of {method, score}; the score is a word or a number.
func (s *scan) severities(f *facts.Finding) error {
	word := ""
	err := s.list(func() error {
		var method, score string
		if err := s.Object(severityNames, func(key string) error {
			if key == "method" {
				return s.into(&method)
			}
			if s.Kind() == strictjson.KindNumber {
				raw, err := s.Raw(longestText)
				score = string(raw)
				return err
			}
			return s.into(&score)
		}); err != nil {
			return err
		}
		if n, ok := scoreOf(score); ok {
			f.Score = higher(f.Score, n)
		} else {
			word = worse(word, severity(score))
		}
		return nil
	})
	f.Severity = word
	return err
}

// found keeps a finding. word is its severity as the scanner says it, "" where
// f.Severity is set.
func (s *scan) found(f facts.Finding, word string) error {
	if f.ID == "" {
		return s.Wrong("a vulnerability without an id")
	}
	if f.Severity == "" {
		f.Severity = severity(word)
	}
	if f.Severity == severityUnknown && f.Score != nil {
		f.Severity = severityOf(*f.Score)
	}
	if s.keep(f) {
		s.out.Findings = append(s.out.Findings, f)
	}
	return nil
}

const severityUnknown = "unknown"

// ranks orders severities, the worst first.
var ranks = []string{"critical", "high", "medium", "low", "negligible", severityUnknown}

// severity gives the word that stands for a scanner's.
func severity(word string) string {
	switch w := strings.ToLower(strings.TrimSpace(word)); w {
	case "critical", "high", "medium", "low", "negligible":
		return w
	case "important":
		return "high"
	case "moderate":
		return "medium"
	case "minimal", "minor":
		return "negligible"
	}
	return severityUnknown
}

func worse(a, b string) string {
	for _, r := range ranks {
		if a == r || b == r {
			return r
		}
	}
	return severityUnknown
}

// severityOf is the qualitative rating of a CVSS score (CVSS v3.1, section 5).
func severityOf(score float64) string {
	switch {
	case score >= 9:
		return "critical"
	case score >= 7:
		return "high"
	case score >= 4:
		return "medium"
	case score > 0:
		return "low"
	}
	return "negligible"
}

// scoreOf reads a CVSS score, which is 0 to 10.
func scoreOf(s string) (float64, bool) {
	n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	return n, err == nil && n >= 0 && n <= 10
}

func higher(have *float64, n float64) *float64 {
	if have != nil && *have >= n {
		return have
	}
	return &n
}

// scored is a number that may be left out, or null.
func (s *scan) scored(have *float64) (*float64, error) {
	raw, err := s.Raw(longestText)
	if err != nil {
		return have, err
	}
	if n, ok := scoreOf(string(raw)); ok && n > 0 {
		return higher(have, n), nil
	}
	return have, nil
}
