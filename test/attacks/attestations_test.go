package attacks

import (
	"maps"
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

// A date that a document does not have, or that nobody can count with, is never an
// error of the policy: it is missing where a date is asked for, and else no matter.
func TestDatesOfDocuments(t *testing.T) {
	t.Parallel()
	const zero, far = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"
	scanned := func(db map[string]any) map[string]any {
		return map[string]any{"scanner": map[string]any{
			"uri": "pkg:github/aquasecurity/trivy", "version": "1", "db": db, "result": map[string]any{"Results": []any{}},
		}}
	}
	made := func(at string) map[string]any {
		return map[string]any{"spdxVersion": "SPDX-2.3", "packages": []any{}, "creationInfo": map[string]any{"created": at}}
	}
	asked := func(more map[string]any) map[string]any {
		v := map[string]any{"maximum_severity": "low"}
		maps.Copy(v, more)
		return map[string]any{"vulnerabilities": v}
	}
	young := map[string]any{"predicate_type": "spdx", "max_age": "1d", "from": "made_at"}
	for name, tt := range map[string]struct {
		attestation, contents map[string]any
		predicateType         string
		predicate             any
		reason                string // "": allowed
	}{
		"scan without a date":            {nil, asked(nil), sigstack.PredicateCosignVuln, scanned(nil), ""},
		"scan of no date":                {nil, asked(nil), sigstack.PredicateCosignVuln, scanned(map[string]any{"lastUpdate": zero}), ""},
		"scan without a date, one asked": {nil, asked(map[string]any{"database_max_age": "1d"}), sigstack.PredicateCosignVuln, scanned(nil), "scan_database_too_old"},
		"SBOM of no date":                {map[string]any{"predicate_type": "spdx"}, nil, sigstack.PredicateSPDX, made(zero), ""},
		"SBOM of no date, one asked":     {young, nil, sigstack.PredicateSPDX, made(zero), "attestation_too_old"},
		"SBOM of a far date, one asked":  {young, nil, sigstack.PredicateSPDX, made(far), "attestation_too_old"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, registrytest.Options{})
			w.now = w.stack.At.Add(time.Hour)
			policy := map[string]any{
				"require_signature": false,
				"trusted_signers":   []any{map[string]any{"type": "keyless", "issuer": issuer, "subject": release}},
			}
			if policy["attestations"] = []any{tt.attestation}; tt.attestation == nil {
				policy["attestations"] = []any{map[string]any{"predicate_type": "vuln", "max_age": "1d"}}
			}
			if tt.contents != nil {
				policy["contents"] = tt.contents
			}
			w.policy = policyOf(policy)
			w.attach(w.sign(w.stating(tt.predicateType, tt.predicate)))
			_, v := w.decide(w.ask)
			if allowed := tt.reason == ""; v.Allowed != allowed || !allowed && v.Reasons[0].Code != tt.reason {
				t.Errorf("%s, want %q: %+v", v.Decision, tt.reason, v.Reasons)
			}
		})
	}
}

// A VEX document excuses what it names, and nothing for a product that nobody can read.
func TestVEXOfProducts(t *testing.T) {
	t.Parallel()
	const cpe = "cpe:2.3:a:openssl:openssl:3.0.11:*:*:*:*:*:*:*"
	byCPE := map[string]any{"identifiers": map[string]any{"cpe23": cpe}}
	for name, tt := range map[string]struct {
		products []any
		want     verdict.Decision
	}{
		"named":                 {[]any{map[string]any{"@id": "pkg:deb/debian/openssl@3.0.11"}}, verdict.Allow},
		"all":                   {nil, verdict.Allow},
		"by CPE":                {[]any{byCPE}, verdict.Deny},
		"by hashes":             {[]any{map[string]any{"hashes": map[string]any{"sha-256": "aa"}}}, verdict.Deny},
		"empty":                 {[]any{""}, verdict.Deny},
		"part of an image, CPE": {[]any{map[string]any{"@id": "pkg:deb/debian/openssl@3.0.11", "subcomponents": []any{byCPE}}}, verdict.Deny},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, registrytest.Options{})
			w.now = w.stack.At.Add(time.Hour)
			w.policy = policyOf(map[string]any{
				"require_signature": false, "attestations": []any{map[string]any{"predicate_type": "vuln", "max_age": "1d"}},
				"contents":        map[string]any{"vulnerabilities": map[string]any{"maximum_severity": "low", "vex": map[string]any{"max_age": "1d"}}},
				"trusted_signers": []any{map[string]any{"type": "keyless", "issuer": issuer, "subject": release}},
			})
			w.attach(w.sign(w.stating(sigstack.PredicateCosignVuln, map[string]any{
				"scanner": map[string]any{"uri": "pkg:github/aquasecurity/trivy", "result": map[string]any{"Results": []any{map[string]any{
					"Vulnerabilities": []any{map[string]any{
						"VulnerabilityID": "CVE-2026-1", "PkgName": "openssl", "InstalledVersion": "3.0.11", "FixedVersion": "3.0.12", "Severity": "HIGH",
						"PkgIdentifier": map[string]any{"PURL": "pkg:deb/debian/openssl@3.0.11"},
					}},
				}}}},
			})))
			w.attach(w.sign(w.stating("https://openvex.dev/ns/v0.2.0", map[string]any{"statements": []any{map[string]any{
				"vulnerability": map[string]any{"name": "CVE-2026-1"}, "status": "not_affected", "justification": "component_not_present",
				"products": tt.products,
			}}})))
			if _, v := w.decide(w.ask); v.Decision != tt.want {
				t.Errorf("%s, want %s: %+v", v.Decision, tt.want, v.Reasons)
			}
		})
	}
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
