package attacks

import (
	"slices"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/verdict"
)

// requiring asks for a fresh scan by the release workflow, and for no signature.
func (w *world) requiring(attestation map[string]any) {
	w.policy = policyOf(map[string]any{
		"require_signature": false, "attestations": []any{attestation},
		"trusted_signers": []any{map[string]any{"type": "keyless", "issuer": issuer, "subject": release}},
	})
}

// Required attestations: threats 2 to 4, 8 to 11 and 37.
func TestRequiredAttestations(t *testing.T) {
	t.Parallel()
	vuln := map[string]any{"predicate_type": "vuln", "max_age": "1d"}
	stranger := func(r *sigstack.SignRequest) { r.Identity = sigstack.Workflow{Repository: "acme-evil/app"}.Identity() }
	about := func(w *world, predicateType string) func(*sigstack.SignRequest) {
		return w.stating(predicateType, map[string]any{})
	}
	for _, tt := range []struct {
		threat string
		want   map[string]any
		do     func(w *world)
		codes  []string // none: allowed
	}{
		{"what is required", vuln, func(w *world) { w.attach(w.sign(about(w, sigstack.PredicateCosignVuln))) }, nil},
		{"2 a signature in place of an attestation", vuln, func(w *world) { w.attach(w.sign()) }, []string{"attestation_missing"}},
		{"3 the annotation says vuln, and SPDX was signed", vuln, func(w *world) {
			ev := w.sign(about(w, sigstack.PredicateSPDX))
			ev.PredicateType = sigstack.PredicateCosignVuln // what the descriptor is annotated with
			w.attach(ev)
		}, []string{"attestation_missing"}},
		{"4 others verify", vuln, func(w *world) {
			w.attach(w.sign(about(w, sigstack.PredicateSPDX)))
			w.attach(w.sign(about(w, sigstack.PredicateSLSA1)))
		}, []string{"attestation_missing"}},
		{"8 of another image", vuln, func(w *world) {
			w.attach(w.sign(func(r *sigstack.SignRequest) {
				r.Image = ""
				r.Statement = &sigstack.Statement{Subjects: []sigstack.Subject{sigstack.SubjectOf("", w.other().Digest())}, PredicateType: sigstack.PredicateCosignVuln}
			}))
		}, []string{"attestation_missing"}},
		{"11 a stranger's scan beside a trusted bill", vuln, func(w *world) {
			w.attach(w.sign(about(w, sigstack.PredicateCosignVuln), stranger))
			w.attach(w.sign(about(w, sigstack.PredicateSPDX)))
		}, []string{"attestation_signer_not_trusted"}},
		{"37 the last scan is withheld", map[string]any{"predicate_type": "vuln", "max_age": "1h"}, func(w *world) {
			w.now = w.stack.At.Add(2 * time.Hour)
			w.attach(w.sign(about(w, sigstack.PredicateCosignVuln)))
		}, []string{"attestation_too_old"}},
		{"37 every scan is withheld", vuln, func(*world) {}, []string{"attestation_missing"}},
		{"one signer twice for two", map[string]any{"predicate_type": "vuln", "count": 2}, func(w *world) {
			w.policy = policyOf(map[string]any{
				"require_signature": false, "attestations": []any{map[string]any{"predicate_type": "vuln", "count": 2}},
				"trusted_signers": []any{
					map[string]any{"type": "keyless", "issuer": issuer, "subject": release},
					map[string]any{"type": "keyless", "issuer": issuer, "subject_regex": "https://github.com/acme/.*"},
				},
			})
			w.attach(w.sign(about(w, sigstack.PredicateCosignVuln)))
			w.attach(w.sign(w.stating(sigstack.PredicateCosignVuln, map[string]any{"again": true})))
		}, []string{"attestation_count_not_met"}},
	} {
		t.Run(tt.threat, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, registrytest.Options{})
			w.now = w.stack.At.Add(time.Hour)
			w.requiring(tt.want)
			tt.do(w)
			_, v := w.decide(w.ask)
			codes := []string{}
			for _, r := range v.Reasons {
				codes = append(codes, r.Code)
			}
			want := verdict.Deny
			if len(tt.codes) == 0 {
				want = verdict.Allow
			}
			if v.Decision != want || !slices.Equal(codes, append([]string{}, tt.codes...)) {
				t.Errorf("%s for %v, want %s for %v: %+v", v.Decision, codes, want, tt.codes, v.Reasons)
			}
			if *w.signet.Panics > 0 {
				t.Errorf("%d panics", *w.signet.Panics)
			}
		})
	}
}
