package policy

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/signet-policy/signet/internal/builders"
)

// embeddedProfiles are parsed once: every policy without profiles of its own has
// them.
var embeddedProfiles = sync.OnceValues(builders.Embedded)

// profiles are the builder profiles of a bundle, its data.signing.builders; those
// of Signet where it has none.
func (c *contents) profiles() ([]builders.Profile, error) {
	signing, _ := c.data[root].(map[string]any)
	own, ok := signing["builders"]
	if !ok || c.embedded {
		return embeddedProfiles()
	}
	body, err := json.Marshal(own)
	if err != nil {
		return nil, fmt.Errorf("signing/builders/data.json: %w", err)
	}
	list, err := builders.Parse(body)
	if err != nil {
		return nil, fmt.Errorf("signing/builders/data.json: %w", err)
	}
	return list, nil
}

// Builders are the builder profiles that go with the policy: those of its bundle,
// else those of Signet. They are part of its digest, or of the build.
func (s *Set) Builders() []builders.Profile { return s.profiles }
