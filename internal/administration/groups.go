package administration

import (
	"context"
	"fmt"
	"slices"

	"github.com/signet-policy/signet/internal/signingpolicy"
)

// checkGroups makes sure that the registered signers whom groups name are there: a
// group that waits for one that is not could never be met. before is the policy that
// is replaced, "" for none; what it names already may have gone meanwhile.
func (s *Service) checkGroups(ctx context.Context, p *signingpolicy.Policy, before string) error {
	if len(p.Groups) == 0 {
		return nil
	}
	rows, err := s.in.Signers(ctx)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, r := range rows {
		there[r.Name] = true
	}
	if old, err := signingpolicy.Parse([]byte(before)); err == nil {
		for _, name := range old.NamesRegistered() {
			there[name] = true
		}
	}
	var mistakes FieldErrors
	for i, g := range p.Groups {
		for j, name := range g.Signers {
			if !there[name] && slices.Contains(p.NamesRegistered(), name) {
				mistakes.add(fmt.Sprintf("groups[%d].signers[%d]", i, j), "%q is no registered signer; register it first (signet signers add --name %s), or name another", name, name)
			}
		}
	}
	if len(mistakes) > 0 {
		return mistakes
	}
	return nil
}
