package administration

import (
	"context"
	"slices"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
)

// modeShadow is the mode of a policy that is compared and never in force.
const modeShadow = "shadow"

// checkShadow refuses a shadow of a policy that is not there: a misspelt name would
// be compared with something else. before is the body that is replaced, "" for none;
// what stands there already is not asked again.
func (s *Service) checkShadow(ctx context.Context, p *signingpolicy.Policy, before string) error {
	rows, err := s.in.Policies(ctx)
	if err != nil {
		return err
	}
	return checkShadow(p, before, func(name string) bool {
		return slices.ContainsFunc(rows, func(r store.PolicyRow) bool { return r.Name == name })
	})
}

// checkShadow is the method, with those that are there.
func checkShadow(p *signingpolicy.Policy, before string, there func(name string) bool) error {
	if p.ShadowOf == "" {
		return nil
	}
	if old, err := signingpolicy.Parse([]byte(before)); err == nil && old.ShadowOf == p.ShadowOf {
		return nil
	}
	if !there(p.ShadowOf) {
		return fieldError("shadow_of", "there is no policy %q; name one that is there, or leave it out to compare with the whole verdict", p.ShadowOf)
	}
	return nil
}

// Shadow tells how a policy of mode shadow compares since it was last changed: how
// often it came to which outcome, and where it disagrees, the latest first. A caller
// who is bound to images sees those only; counts are of all.
func (s *Service) Shadow(ctx context.Context, c Caller, name string, limit int, after string) (client.ShadowReport, error) {
	if err := c.may(auth.Read); err != nil {
		return client.ShadowReport{}, err
	}
	limit, err := pageSize(limit)
	if err != nil {
		return client.ShadowReport{}, err
	}
	var from *store.Cursor
	if after != "" {
		place, err := store.ParseCursor(after)
		if err != nil {
			return client.ShadowReport{}, fieldError("cursor", "is not known; take it from the page before, unchanged")
		}
		from = &place
	}
	row, err := s.policy(ctx, name)
	if err != nil {
		return client.ShadowReport{}, err
	}
	p, err := policyShown(row)
	if err != nil {
		return client.ShadowReport{}, err
	}
	if p.Mode != modeShadow {
		return client.ShadowReport{}, refuse(ErrConflict, "%s: has the mode %s; only one of mode shadow is compared", policyNamed(name), p.Mode)
	}
	counts, err := s.store.ShadowCounts(ctx, name, row.UpdatedAt)
	if err != nil {
		return client.ShadowReport{}, err
	}
	list, next, err := s.store.ShadowDisagreements(ctx, name, row.UpdatedAt, from, limit)
	if err != nil {
		return client.ShadowReport{}, err
	}
	report := client.ShadowReport{
		Policy: name, ShadowOf: p.ShadowOf, Since: row.UpdatedAt, Items: []client.ShadowVerdict{},
		Counts: client.ShadowCounts{Agree: counts.Agree, WouldAllow: counts.WouldAllow, WouldDeny: counts.WouldDeny, WouldNotKnow: counts.WouldNotKnow},
	}
	for _, r := range list {
		if c.Principal.Sees(r.ImageName) {
			report.Items = append(report.Items, shadowShown(r))
		}
	}
	if next != nil {
		report.Next = next.String()
	}
	return report, nil
}

func shadowShown(r store.ShadowRow) client.ShadowVerdict {
	v := client.ShadowVerdict{
		VerdictID: r.VerificationID, Image: r.ImageRef, Decision: client.Decision(r.Decision), ShadowOf: r.ShadowOf,
		ComparedWith: client.Decision(r.ComparedWith), Digest: r.Digest, ParamsDigest: r.ParamsDigest, Reasons: []client.Reason{}, At: r.CreatedAt,
	}
	for _, reason := range r.Reasons {
		v.Reasons = append(v.Reasons, client.Reason{
			Code: reason.Code, Message: reason.Message, Remediation: reason.Remediation, Rule: reason.Rule, Fact: reason.Fact,
		})
	}
	return v
}
