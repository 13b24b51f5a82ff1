package administration

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/signingpolicy"
)

// coded is f with archives whose content is the one code that their rules have.
func coded(t *testing.T, f *fixture) *Service {
	t.Helper()
	return withBundles(t, f, func(cfg *Config) {
		cfg.CheckPolicy = func(_ context.Context, p *signingpolicy.Policy, archive []byte) error {
			for _, code := range []string{"old", "new"} {
				if bytes.Contains(archive, []byte(`"`+code+`"`)) {
					return p.CheckCodes([]string{code})
				}
			}
			return nil
		}
	})
}

func waiving(code string) []byte {
	return fmt.Appendf(nil, "%sexceptions: [{images: [ghcr.io/org/app], codes: [%s], reason: r, owner: o, expires_at: %s}]\n",
		naming, code, start.Add(24*time.Hour).Format(time.RFC3339))
}

func TestCodesOfExceptions(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		s := coded(t, f)
		_ = must[client.Bundle](t)(s.PutBundle(ctx, root, "acme", "", archiveOf(1, "old", ""), nil))
		f.untouched(t, func() {
			_, err := s.PutPolicy(ctx, root, "strict", "", waiving("odl"), nil)
			mistakes(t, err, `exceptions[0].codes[0]: line 3: "odl" is the code of no rule of the bundle acme; the nearest is "old"`)
		})
		must[client.Policy](t)(s.PutPolicy(ctx, root, "strict", "", waiving("old"), nil))

		// A bundle that drops the code is not held up by the exception; it is said.
		made := must[client.Bundle](t)(s.Bundle(ctx, root, "acme"))
		next := must[client.Bundle](t)(s.PutBundle(ctx, root, "acme", "", archiveOf(2, "new", ""), &made.Version))
		if a := next.LastAttempt; a == nil || a.Outcome != outcomeActivated || len(a.Warnings) != 1 ||
			!strings.Contains(a.Warnings[0], `policy "strict"`) || !strings.Contains(a.Warnings[0], "it waives nothing") {
			t.Errorf("last attempt: %+v", next.LastAttempt)
		}
		// What stands there stays in order, and nothing new like it is taken.
		must[client.Policy](t)(s.PutPolicy(ctx, root, "strict", "", append(waiving("old"), "mode: audit\n"...), ptr(int64(1))))
		_, err := s.PutPolicy(ctx, root, "strict", "", bytes.Replace(waiving("old"), []byte("reason: r"), []byte("reason: another"), 1), ptr(int64(2)))
		mistakes(t, err, `exceptions[0].codes[0]: line 3: "old" is the code of no rule of the bundle acme; the nearest is "new"`)
	})
}

// A shadow in the configuration is compared with a policy that is there.
func TestSeedShadow(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		shadow := must[*signingpolicy.Policy](t)(signingpolicy.ParseAs("next", []byte(anyone+"mode: shadow\nshadow_of: prod\n")))
		err := f.SeedPolicies(ctx, []*signingpolicy.Policy{shadow}, nil)
		if err == nil || !strings.Contains(err.Error(), `policy "next" of the configuration`) || !strings.Contains(err.Error(), `there is no policy "prod"`) {
			t.Errorf("a shadow of nothing: %v", err)
		}
		prod := must[*signingpolicy.Policy](t)(signingpolicy.ParseAs("prod", []byte(anyone)))
		if err := f.SeedPolicies(ctx, []*signingpolicy.Policy{shadow, prod}, nil); err != nil {
			t.Error(err)
		}
	})
}
