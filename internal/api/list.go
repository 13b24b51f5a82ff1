package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/verdict"
)

// listVerdicts gives one page, newest first.
func (s *Server) listVerdicts(ctx context.Context, c *call) (reply, error) {
	q := paramsOf(c)
	if s.cfg.Past != nil && q.values.Has("at") {
		return s.getVerdictAt(ctx, c)
	}
	f := VerdictFilter{
		Image: q.text("image", longestImage), Name: q.text("name", longestImage), Digest: q.text("digest", longestFilter),
		Decision: verdict.Decision(q.oneOf("decision", string(verdict.Allow), string(verdict.Deny), string(verdict.Unknown))),
		Signer:   q.text("signer", longestFilter), Identity: q.text("identity", longestIdentity), AssessmentID: q.text("assessment_id", longestAssessment),
		ReasonCode: q.text("reason_code", longestFilter), Since: q.time("since"), Until: q.time("until"),
	}
	if q.values.Has("digest") && f.Digest != "" && !pep.IsDigest(f.Digest) {
		q.wrong("digest", "It is "+shown(f.Digest)+"; it should be sha256: and 64 characters of lower-case hexadecimal.")
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		q.wrong("until", "It is not after since, so nothing could be found.")
	}
	limit, cursor := q.limit(), q.cursor()
	if err := q.problem(); err != nil {
		return reply{}, err
	}
	page, err := s.seenVerdicts(ctx, c, f, cursor, limit)
	if errors.Is(err, ErrCursor) {
		q.wrong("cursor", "It is none of this list. Take it from the page before, unchanged, or begin without it.")
		return reply{}, q.problem()
	}
	return pageOf(page, err)
}

// longestIdentity is an issuer and a subject.
const longestIdentity = 4096

// mostPages is how many pages are read to fill one for a principal that sees
// some images only. What comes back then may be short, and still has a cursor.
const mostPages = 20

// seenVerdicts leaves out what the principal may not see.
func (s *Server) seenVerdicts(ctx context.Context, c *call, f VerdictFilter, cursor string, limit int) (client.Page[client.Verification], error) {
	var seen client.Page[client.Verification]
	for range mostPages {
		page, err := s.cfg.Verdicts.List(ctx, f, cursor, limit-len(seen.Items))
		if err != nil {
			return client.Page[client.Verification]{}, fmt.Errorf("listing verdicts: %w", err)
		}
		for _, v := range page.Items {
			if c.principal.Sees(v.ImageName) {
				seen.Items = append(seen.Items, v)
			}
		}
		seen.Next, cursor = page.Next, page.Next
		if cursor == "" || len(seen.Items) >= limit {
			break
		}
		if !scoped(c.principal) {
			break // a short page is the store's own
		}
	}
	return seen, nil
}
