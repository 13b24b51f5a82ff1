package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	jsonv1 "github.com/go-json-experiment/json/v1"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
)

// Basis is what a verdict was decided on besides the facts and what was in force:
// what was asked, how looking for it went, and the settings of the process that
// have a part in the answer. With the facts, the [State] and the time it gives the
// same verdict again ([Engine.Replay]).
type Basis struct {
	// Image is as it was asked for; Asked is the same, parsed.
	Image        string            `json:"image"`
	Platform     string            `json:"platform,omitempty"`
	EvidenceOnly bool              `json:"evidence_only,omitempty"`
	Context      map[string]string `json:"context,omitempty"`
	Roles        []string          `json:"roles,omitempty"`
	Asked        Asked             `json:"asked"`
	// Subject is what the image was resolved to; without a digest where it was not.
	Subject facts.Subject `json:"subject"`
	Search  facts.Search  `json:"search"`
	// AllPlatforms: the evidence of every platform was looked for.
	AllPlatforms bool `json:"all_platforms,omitempty"`
	// OldSignature: among the evidence was one of cosign's old signatures, verified
	// or not.
	OldSignature bool `json:"old_signature,omitempty"`
	// Given are the ids of evidence that came with the request, and was not found.
	Given []string `json:"given,omitempty"`
	// Second is what another verifier found; nil where none was asked.
	Second *Second `json:"second,omitempty"`
	// Problem is why the image could not be resolved or its evidence not be read.
	Problem *Problem `json:"problem,omitempty"`
	// RetryAfter is the longest wait, in nanoseconds, that a registry asked for.
	RetryAfter time.Duration `json:"retry_after,omitempty"`
	// TagUntil and SearchUntil are the ends of the leases that were used; zero for
	// those that the answer itself made.
	TagUntil    time.Time `json:"tag_until,omitzero"`
	SearchUntil time.Time `json:"search_until,omitzero"`
	// GraceNote is that of the [State].
	GraceNote string `json:"grace_note,omitempty"`
	// Offline is that of the [State]: what is in force does not say it.
	Offline bool `json:"offline,omitempty"`
	// Terms are the settings.
	Terms Terms `json:"terms"`
}

// Terms are the settings of an engine that have a part in its verdicts, in
// nanoseconds.
type Terms struct {
	DecisionMaxAge time.Duration `json:"decision_max_age"`
	MaxStaleness   time.Duration `json:"max_staleness"`
	ClockSkew      time.Duration `json:"clock_skew"`
	PolicyTime     time.Duration `json:"policy_time"`
}

// Problem is an [evidence.Problem] that is kept.
type Problem struct {
	Code       string        `json:"code"`
	Where      string        `json:"where,omitempty"`
	Message    string        `json:"message"`
	RetryAfter time.Duration `json:"retry_after,omitempty"`
}

func (p *Problem) evidence() *evidence.Problem {
	return &evidence.Problem{Code: p.Code, Where: p.Where, Message: p.Message, RetryAfter: p.RetryAfter}
}

func keptProblem(p *evidence.Problem) *Problem {
	if p == nil {
		return nil
	}
	return &Problem{Code: p.Code, Where: p.Where, Message: p.Message, RetryAfter: p.RetryAfter}
}

// Encode gives the basis as JSON for [DecodeBasis].
func (b Basis) Encode() ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(b); err != nil {
		return nil, fmt.Errorf("encoding what a verdict was decided on: %w", err)
	}
	return buf.Bytes(), nil
}

// DecodeBasis reads what [Basis.Encode] wrote. A field that this build does not
// know is an error: what it stands for would be missing.
func DecodeBasis(body []byte) (Basis, error) {
	var b Basis
	if err := jsonv2.Unmarshal(body, &b, jsonv2.RejectUnknownMembers(true), jsonv1.FormatDurationAsNano(true)); err != nil {
		return Basis{}, fmt.Errorf("reading what a verdict was decided on: %w", err)
	}
	return b, nil
}

// basis is what is gathered, as it is kept.
func (e *Engine) basis(st *State, req Request, g *gathered) Basis {
	b := Basis{
		Image: req.Image, Platform: req.Platform, EvidenceOnly: req.EvidenceOnly, Context: req.Context, Roles: req.Roles,
		Asked: g.Asked, Subject: g.Subject, Search: g.Search, AllPlatforms: g.allPlatforms, Second: g.second,
		Problem: keptProblem(g.Problem), RetryAfter: g.RetryAfter, Given: g.given,
		TagUntil: g.tagUntil, SearchUntil: g.searchUntil, GraceNote: st.GraceNote, Offline: st.Offline,
		Terms: Terms{
			DecisionMaxAge: e.cfg.DecisionMaxAge, MaxStaleness: e.cfg.MaxStaleness,
			ClockSkew: e.cfg.Limits.ClockSkew, PolicyTime: e.cfg.Limits.PolicyTime,
		},
	}
	for _, i := range g.items {
		b.OldSignature = b.OldSignature || i.Kind == evidence.KindSimpleSigning
	}
	return b
}
