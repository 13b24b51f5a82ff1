package administration

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
)

// codesOf decides about exceptions whose codes no rule of the bundle has, which
// compiling a policy found. Who puts the policy is told, and mends it. Who puts
// another bundle is not held up by others' exceptions, which waive nothing then: that
// is a warning, as is what stood in the policy before. Other errors are left alone.
func (s *Service) codesOf(ctx context.Context, err error, name string, own bool) (warning string, left error) {
	var unknown *signingpolicy.CodesError
	if !errors.As(err, &unknown) {
		return "", err
	}
	if own {
		var before *signingpolicy.Policy
		row, err := s.in.Policy(ctx, name)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return "", err
		default:
			if before, err = signingpolicy.Parse([]byte(row.Body)); err != nil {
				return "", fmt.Errorf("%w: policy %s: %w", store.ErrCorrupt, name, err)
			}
		}
		if err := unknown.Since(before); err != nil {
			return "", err
		}
	}
	warning = fmt.Sprintf("%s: %s; it waives nothing", policyNamed(name), strings.ReplaceAll(unknown.Error(), "\n", "; "))
	s.log.WarnContext(ctx, "an exception waives a code that no rule of its bundle has", "policy", name, "warning", warning)
	return warning, nil
}
