package projection

import (
	"strings"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// Grype's report (https://github.com/anchore/grype, -o json). Matches that Grype was
// told to ignore are not read.
var (
	grypeMatchNames         = strictjson.NewNames("vulnerability", "artifact")
	grypeVulnerabilityNames = strictjson.NewNames("id", "severity", "fix", "cvss")
	grypeArtifactNames      = strictjson.NewNames("name", "version", "purl")
	grypeFixNames           = strictjson.NewNames("versions")
	grypeCVSSNames          = strictjson.NewNames("metrics")
	grypeMetricsNames       = strictjson.NewNames("baseScore")
	grypeDescriptorNames    = strictjson.NewNames("name", "version", "timestamp", "db")
	grypeDatabaseNames      = strictjson.NewNames("built", "status")
)

func (s *scan) grypeMatch() error {
	var f facts.Finding
	var word string
	if err := s.Object(grypeMatchNames, func(key string) error {
		if key == "artifact" {
			return s.object(grypeArtifactNames, func(key string) error {
				switch key {
				case "name":
					return s.into(&f.Package)
				case "version":
					return s.into(&f.Version)
				}
				return s.into(&f.PURL)
			})
		}
		return s.object(grypeVulnerabilityNames, func(key string) error {
			switch key {
			case "id":
				return s.into(&f.ID)
			case "severity":
				return s.into(&word)
			case "fix":
				return s.object(grypeFixNames, func(string) error {
					versions, err := s.texts()
					f.FixedIn = strings.Join(versions, ", ")
					return err
				})
			}
			return s.grypeScores(&f)
		})
	}); err != nil {
		return err
	}
	return s.found(f, word)
}

func (s *scan) grypeScores(f *facts.Finding) error {
	return s.list(func() error {
		return s.Object(grypeCVSSNames, func(string) error {
			return s.object(grypeMetricsNames, func(string) (err error) {
				f.Score, err = s.scored(f.Score)
				return err
			})
		})
	})
}

func (s *scan) grypeDescriptor(key string) (err error) {
	var name, version string
	switch key {
	case "name":
		err = s.into(&name)
	case "version":
		err = s.into(&version)
	case "timestamp":
		s.reportedAt, err = s.when()
	default:
		err = s.object(grypeDatabaseNames, s.grypeDatabase)
	}
	if !s.named && name != "" {
		s.tool().Name = name
	}
	if !s.named && version != "" {
		s.tool().Version = version
	}
	return err
}

func (s *scan) grypeDatabase(key string) error {
	if key == "status" {
		return s.object(grypeDatabaseNames, s.grypeDatabase)
	}
	at, err := s.when()
	if at != nil && s.tool().DatabaseAt == nil {
		s.tool().DatabaseAt = at
	}
	return err
}
