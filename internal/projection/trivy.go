package projection

import (
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// Trivy's report (https://trivy.dev/latest/docs/configuration/reporting/#json):
// Results, each of a target. Misconfigurations and secrets are not read.
var (
	trivyNames              = strictjson.NewNames("Target", "Vulnerabilities")
	trivyVulnerabilityNames = strictjson.NewNames("VulnerabilityID", "PkgName", "InstalledVersion", "FixedVersion", "Severity", "PkgIdentifier", "CVSS")
	trivyIdentifierNames    = strictjson.NewNames("PURL")
	trivyScoreNames         = strictjson.NewNames("V2Score", "V3Score", "V40Score")
)

func (s *scan) trivyField(key string) error {
	if key == "Target" {
		return s.Skip()
	}
	return s.list(s.trivyVulnerability)
}

func (s *scan) trivyVulnerability() error {
	var f facts.Finding
	var word string
	if err := s.Object(trivyVulnerabilityNames, func(key string) error {
		switch key {
		case "VulnerabilityID":
			return s.into(&f.ID)
		case "PkgName":
			return s.into(&f.Package)
		case "InstalledVersion":
			return s.into(&f.Version)
		case "FixedVersion":
			return s.into(&f.FixedIn)
		case "Severity":
			return s.into(&word)
		case "PkgIdentifier":
			return s.object(trivyIdentifierNames, func(string) error { return s.into(&f.PURL) })
		}
		return s.trivyScores(&f)
	}); err != nil {
		return err
	}
	return s.found(f, word)
}

// trivyScores are by source; a score of CVSS 2 counts where there is no newer one.
func (s *scan) trivyScores(f *facts.Finding) error {
	var old, current *float64
	err := s.object(nil, func(string) error {
		return s.object(trivyScoreNames, func(key string) (err error) {
			if key == "V2Score" {
				old, err = s.scored(old)
				return err
			}
			current, err = s.scored(current)
			return err
		})
	})
	if f.Score = current; current == nil {
		f.Score = old
	}
	return err
}
