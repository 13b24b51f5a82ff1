package projection

import (
	"regexp"
	"strings"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// SARIF 2.1.0 (https://docs.oasis-open.org/sarif/sarif/v2.1.0/): each result of a run
// is a finding. How bad it is, scanners say in the rule's property
// "security-severity", a CVSS score; in which package, Trivy says in the message.
var (
	sarifRunNames        = strictjson.NewNames("tool", "results", "invocations")
	sarifToolNames       = strictjson.NewNames("driver")
	sarifDriverNames     = strictjson.NewNames("name", "version", "semanticVersion", "rules")
	sarifRuleNames       = strictjson.NewNames("id", "properties")
	sarifPropertyNames   = strictjson.NewNames("security-severity")
	sarifResultNames     = strictjson.NewNames("ruleId", "rule", "kind", "message", "properties")
	sarifReferenceNames  = strictjson.NewNames("id")
	sarifMessageNames    = strictjson.NewNames("text")
	sarifInvocationNames = strictjson.NewNames("endTimeUtc")
)

type sarifResult struct {
	facts.Finding
	rule, word string
}

func (s *scan) sarifRun() error {
	scores := map[string]float64{}
	var results []sarifResult
	if err := s.Object(sarifRunNames, func(key string) error {
		switch key {
		case "tool":
			return s.object(sarifToolNames, func(string) error { return s.sarifDriver(scores) })
		case "results":
			// The rules may come after the results.
			return s.list(func() error { return s.sarifResult(&results) })
		}
		return s.list(func() error {
			return s.Object(sarifInvocationNames, func(string) (err error) {
				s.reportedAt, err = s.when()
				return err
			})
		})
	}); err != nil {
		return err
	}
	for _, r := range results {
		if score, ok := scores[r.rule]; ok && r.Score == nil {
			r.Score = &score
		}
		if err := s.found(r.Finding, r.word); err != nil {
			return err
		}
	}
	return nil
}

func (s *scan) sarifDriver(scores map[string]float64) error {
	return s.object(sarifDriverNames, func(key string) error {
		switch key {
		case "rules":
			return s.list(func() error { return s.sarifRule(scores) })
		case "name":
			var name string
			err := s.into(&name)
			if !s.named {
				s.tool().Name = name
			}
			return err
		}
		var version string
		err := s.into(&version)
		if !s.named && version != "" {
			s.tool().Version = version
		}
		return err
	})
}

func (s *scan) sarifRule(scores map[string]float64) error {
	var id string
	var score *float64
	err := s.Object(sarifRuleNames, func(key string) error {
		if key == "id" {
			return s.into(&id)
		}
		return s.sarifScore(&score)
	})
	if score != nil && s.hold(id) {
		scores[id] = *score
	}
	return err
}

// sarifScore reads the property, a string or a number.
func (s *scan) sarifScore(score **float64) error {
	return s.object(sarifPropertyNames, func(string) error {
		raw, err := s.Raw(longestText)
		if n, ok := scoreOf(strings.Trim(string(raw), `"`)); ok {
			*score = &n
		}
		return err
	})
}

// knownID is an id that a rule of Grype has before the package's name.
var knownID = regexp.MustCompile(`^(CVE-[0-9]{4}-[0-9]+|GHSA(?:-[0-9a-z]{4}){3})-(.+)$`)

func (s *scan) sarifResult(results *[]sarifResult) error {
	var r sarifResult
	kind, text := "", ""
	if err := s.Object(sarifResultNames, func(key string) error {
		switch key {
		case "ruleId":
			return s.into(&r.rule)
		case "rule":
			return s.object(sarifReferenceNames, func(string) error {
				if r.rule != "" {
					return nil
				}
				return s.into(&r.rule)
			})
		case "kind":
			return s.into(&kind)
		case "message":
			return s.object(sarifMessageNames, func(string) error { return s.into(&text) })
		}
		return s.sarifScore(&r.Score)
	}); err != nil {
		return err
	}
	if kind == "pass" || kind == "notApplicable" {
		return nil // SARIF 2.1.0, 3.27.9: nothing was found
	}
	if r.rule == "" {
		return s.Wrong("a result that names no rule")
	}
	r.ID = r.rule
	if m := knownID.FindStringSubmatch(r.rule); m != nil {
		r.ID, r.Package = m[1], m[2]
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch name {
		case "Package":
			r.Package = value
		case "Installed Version":
			r.Version = value
		case "Fixed Version":
			r.FixedIn = value
		case "Severity":
			r.word = value
		}
	}
	if s.hold(r.rule, r.ID, r.Package, r.Version, r.FixedIn, r.word) {
		*results = append(*results, r)
	}
	return nil
}
