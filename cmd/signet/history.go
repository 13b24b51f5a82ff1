package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/verdict"
)

// history is the store's verdicts as the API wants them.
type history struct{ store *store.Store }

// Verdict gives the bytes that were answered.
func (h history) Verdict(ctx context.Context, id string) ([]byte, error) {
	v, err := h.store.Verdict(ctx, id)
	return v.Body, historyError(err)
}

// Basis gives what a verdict was decided on.
func (h history) Basis(ctx context.Context, id string) (facts.Facts, map[string]facts.Frame, error) {
	v, err := h.store.Verdict(ctx, id)
	if err != nil {
		return facts.Facts{}, nil, historyError(err)
	}
	if v.FactsDigest == nil {
		return facts.Facts{}, v.Frames, nil
	}
	f, err := h.store.Facts(ctx, *v.FactsDigest)
	return f, v.Frames, historyError(err)
}

// Question tells how a verdict was asked for.
func (h history) Question(ctx context.Context, id string) (api.Question, error) {
	v, err := h.store.Verdict(ctx, id)
	if err != nil {
		return api.Question{}, historyError(err)
	}
	b, err := engine.DecodeBasis(v.Basis)
	return api.Question{Platform: b.Platform, Context: b.Context}, err
}

// List gives one page of verdicts.
func (h history) List(ctx context.Context, f api.VerdictFilter, cursor string, limit int) (client.Page[client.Verification], error) {
	page := store.Page{Limit: limit}
	if cursor != "" {
		after, err := store.ParseCursor(cursor)
		if err != nil {
			return client.Page[client.Verification]{}, fmt.Errorf("%w: %w", api.ErrCursor, err)
		}
		page.After = &after
	}
	rows, next, err := h.store.Verdicts(ctx, store.Filter{
		AssessmentID: f.AssessmentID, Digest: f.Digest, Signer: f.Signer, ImageRef: f.Image, ImageName: f.Name,
		Identity: f.Identity, Decision: f.Decision, ReasonCode: f.ReasonCode, Since: f.Since, Until: f.Until,
	}, page)
	if err != nil {
		return client.Page[client.Verification]{}, historyError(err)
	}
	out := client.Page[client.Verification]{Items: make([]client.Verification, 0, len(rows))}
	for _, r := range rows {
		code := ""
		if r.Decision != verdict.Allow && len(r.Reasons) > 0 {
			code = r.Reasons[0].Code
		}
		out.Items = append(out.Items, client.Verification{
			ID: r.ID, AssessmentID: r.AssessmentID, ImageRef: r.ImageRef, ImageName: r.ImageName, ImageDigest: r.ImageDigest,
			SignatureFound: r.SignatureFound, SignatureValid: r.SignatureValid, SignerIdentity: r.SignerIdentity, SignerIssuer: r.SignerIssuer,
			SignedAt: r.SignedAt, SLSALevel: r.SLSALevel, SLSABuilder: r.SLSABuilder, VerificationError: r.VerificationError, ReasonCode: code,
			CreatedAt: r.CreatedAt, Decision: string(r.Decision), Allowed: r.Allowed, Principal: r.Principal, Labels: r.Labels,
			FactsDigest: r.FactsDigest, Revision: r.Active.Revision, Build: r.Build, Repeats: r.Repeats,
		})
	}
	if next != nil {
		out.Next = next.String()
	}
	return out, nil
}

// Uses tells how often a verdict was given again.
func (h history) Uses(ctx context.Context, id string) ([]client.Use, error) {
	uses, err := h.store.Uses(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	out := make([]client.Use, 0, len(uses))
	for _, u := range uses {
		out = append(out, client.Use{Principal: u.Principal, Minute: u.Minute, Count: u.Count})
	}
	return out, historyError(err)
}

// historyError maps the store's errors to the API's.
func historyError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%w: %w", api.ErrNotFound, err)
	case errors.Is(err, store.ErrUnavailable):
		return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
	}
	return err // damaged, or something that no retry mends
}
