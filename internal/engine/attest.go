package engine

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/signet-policy/signet/internal/verdict"
)

// Attester signs the verifier's own word about verdicts. What goes wrong is in the
// attestation; it never changes a verdict.
type Attester interface {
	Attest(ctx context.Context, v *verdict.Verdict) *verdict.Attestation
	// Push puts an attestation beside its image, where that is wanted, and notes how
	// it went. Without wait it is done after the answer.
	Push(ctx context.Context, v *verdict.Verdict, at *verdict.Attestation, wait bool)
}

// noAttester tells that a policy wants what nobody can give.
var noAttester = verdict.Reason{
	Code: "not_attested_no_key", Rule: "attest",
	Message:     "A policy wants its verdicts attested, and there is no key to attest with.",
	Remediation: "Write attest with verifier_id and a key into the configuration.",
}

// attested puts an attestation beside an answer, where the caller or a policy that
// speaks of the image asks for one. It is made of the answer as it was recorded,
// from a cache or not, so that every caller is told the same; the record, the cache
// and the decision log have the verdict without it.
func (e *Engine) attested(ctx context.Context, st *State, req Request, a Answer, err error) (Answer, error) {
	if err != nil || !req.Attest && !e.wantsAttest(st, req) {
		return a, err
	}
	var v verdict.Verdict
	if err := json.Unmarshal(a.Body, &v); err != nil {
		e.cfg.Log.ErrorContext(ctx, "reading a verdict to attest it", "image", req.Image, "error", err)
		return a, nil
	}
	e.AttestVerdict(ctx, &v, req.Attest)
	body, err := encode(&v)
	if err != nil {
		e.cfg.Log.ErrorContext(ctx, "encoding an attested verdict", "image", req.Image, "error", err)
		return a, nil
	}
	a.Body = body
	return a, nil
}

// AttestVerdict gives v its attestation, whether anybody asked for it or not. With
// wait, it is beside the image when this returns, if it is to be put there.
func (e *Engine) AttestVerdict(ctx context.Context, v *verdict.Verdict, wait bool) {
	if e.cfg.Attester == nil {
		why := noAttester
		v.Attestation = &verdict.Attestation{Result: verdict.AttestedNothing, Reason: &why}
		return
	}
	v.Attestation = e.cfg.Attester.Attest(ctx, v)
	e.cfg.Attester.Push(ctx, v, v.Attestation, wait)
}

// wantsAttest says whether a policy that speaks of the image asks for attestations.
func (e *Engine) wantsAttest(st *State, req Request) bool {
	if st == nil || !st.Attests {
		return false
	}
	asked, err := e.cfg.Source.Parse(req.Image)
	return err == nil && slices.ContainsFunc(st.scope(asked.Name(), req.Context), func(p Policy) bool { return p.Attest && p.Mode != verdict.Disabled })
}
