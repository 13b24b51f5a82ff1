package administration

import (
	"context"
	"slices"
	"strings"

	"github.com/signet-policy/signet/internal/signingpolicy"
)

// checkNamed makes sure that the registered signers whom a policy wants by name are
// there: what waits for one that is not could never be met. before is the policy that
// is replaced, "" for none; what it names already may have gone meanwhile.
func (s *Service) checkNamed(ctx context.Context, p *signingpolicy.Policy, before string) error {
	named := p.NamedSigners()
	if len(named) == 0 {
		return nil
	}
	rows, err := s.in.Signers(ctx)
	if err != nil {
		return err
	}
	registered := make([]string, 0, len(rows))
	there := map[string]bool{}
	for _, r := range rows {
		registered = append(registered, r.Name)
		there[r.Name] = true
	}
	if old, err := signingpolicy.Parse([]byte(before)); err == nil {
		for _, name := range old.NamesRegistered() {
			there[name] = true
		}
	}
	var mistakes FieldErrors
	for _, n := range named {
		if !there[n.Name] {
			mistakes.add(n.Field, "%q is no registered signer; register it first (signet signers add --name %s), or name another: %s", n.Name, n.Name, someNames(registered))
		}
	}
	if len(mistakes) > 0 {
		return mistakes
	}
	return nil
}

// someNames says which registered signers there are; thousands are not listed.
func someNames(names []string) string {
	const most = 10
	slices.Sort(names)
	switch n := len(names); {
	case n == 0:
		return "nobody is registered"
	case n > most:
		return "registered: " + strings.Join(names[:most], ", ") + " and others (signet signers list)"
	}
	return "registered: " + strings.Join(names, ", ")
}
