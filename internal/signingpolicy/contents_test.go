package signingpolicy

import (
	"slices"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/facts"
)

func projected(predicateType string, p facts.Projection) facts.InputAttestation {
	return attested(predicateType, func(a *facts.InputAttestation) {
		p.MadeAt = ago(2 * time.Hour)
		a.ID, a.Projection = facts.Digest([]byte(predicateType+p.Kind+time.Duration(len(p.Statements)).String())), &p
	})
}

func listing(licences ...string) facts.InputAttestation {
	p := facts.Projection{Kind: facts.ProjectionSBOM}
	for _, l := range licences {
		p.Packages = append(p.Packages, facts.Package{Name: "lib" + l, Version: "1", Licences: []string{l}})
	}
	return projected("https://spdx.dev/Document", p)
}

const opensslURL = "pkg:deb/debian/openssl@3.0.11?arch=amd64"

func scanned(findings ...facts.Finding) facts.InputAttestation {
	return projected("https://cosign.sigstore.dev/attestation/vuln/v1", facts.Projection{
		Kind: facts.ProjectionScan, Findings: findings, Tool: &facts.Tool{Name: "scanner", DatabaseAt: ago(10 * time.Hour)},
	})
}

func found(severity string) facts.Finding {
	return facts.Finding{ID: "CVE-2026-1", Severity: severity, Package: "openssl", Version: "3.0.11", PURL: opensslURL, FixedIn: "3.0.12"}
}

func saying(statements ...facts.VEXStatement) facts.InputAttestation {
	return projected("https://openvex.dev/ns/v0.2.0", facts.Projection{Kind: facts.ProjectionVEX, Statements: statements})
}

func notAffected(products ...string) facts.VEXStatement {
	return facts.VEXStatement{
		Vulnerability: "CVE-2026-1", Aliases: []string{"GHSA-1"}, Status: "not_affected", Justification: "vulnerable_code_not_present", Products: products, Timestamp: ago(3 * time.Hour),
	}
}

// edit is a with something else in its projection.
func edit(a facts.InputAttestation, do func(*facts.Projection)) facts.InputAttestation {
	p := *a.Projection
	do(&p)
	a.Projection = &p
	return a
}

// What attestations say, from the policy that people write to the decision: each row
// holds the Go parameters and the Rego rules together.
func TestContents(t *testing.T) {
	const head = "require_signature: false\n" + twoSigners
	const sbom = head + "attestations: [{predicate_type: spdx}]\ncontents: {licences: "
	const scan = head + "attestations: [{predicate_type: vuln, max_age: 1d}]\ncontents: {vulnerabilities: "
	const test = head + "attestations: [{predicate_type: test-result}]\ncontents: {tests: "
	const base = head + "contents: {base_images: "
	const vex = "{maximum_severity: medium, vex: {signers: [default/1], max_age: 30d}}"
	truncated := func(p *facts.Projection) { p.Truncated = true }
	tested := func(r facts.TestResult) facts.InputAttestation {
		return projected("https://in-toto.io/attestation/test-result/v0.1", facts.Projection{Kind: facts.ProjectionTestResult, Result: &r})
	}
	byOther := func(a facts.InputAttestation) facts.InputAttestation {
		a.TrustedSigners = []string{"default/2"}
		return a
	}
	built := func(materials ...facts.Material) facts.InputAttestation {
		return attested("https://slsa.dev/provenance/v1", func(a *facts.InputAttestation) {
			a.Provenance = &facts.Provenance{Materials: materials, Parameters: []byte("{}"), Source: facts.Source{Digest: map[string]string{}}}
		})
	}
	digest := map[string]string{"sha256": "1111111111111111111111111111111111111111111111111111111111111111"}
	for _, tt := range []struct {
		name, yaml string
		list       []facts.InputAttestation
		codes      []string // none: allowed
	}{
		{"fine licences", sbom + "{denied: [GPL-*]}}", []facts.InputAttestation{listing("MIT", "Apache-2.0 OR GPL-3.0-only")}, nil},
		{"a denied licence", sbom + "{denied: [GPL-*]}}", []facts.InputAttestation{listing("MIT", "GPL-3.0-or-later")}, []string{"licence_denied"}},
		{"a licence in other words", sbom + "{denied: [GPL-3.0-only]}}", []facts.InputAttestation{listing("gpl-3.0+")}, []string{"licence_denied"}},
		{"both of two", sbom + "{denied: [GPL-*]}}", []facts.InputAttestation{listing("MIT AND GPL-2.0-only")}, []string{"licence_denied"}},
		{"no identifier", sbom + "{denied: [GPL-*]}}", []facts.InputAttestation{listing("GPLv3")}, []string{"licence_denied"}},
		{"a name that is let pass", sbom + "{denied: [GPL-*], allowed: [LicenseRef-acme]}}", []facts.InputAttestation{listing("LicenseRef-acme")}, nil},
		{"an exception that is let pass", sbom + "{denied: [GPL-*], allowed: [GPL-2.0-only WITH Classpath-exception-2.0]}}", []facts.InputAttestation{listing("GPL-2.0-only WITH Classpath-exception-2.0")}, nil},
		{"another exception", sbom + "{denied: [GPL-*], allowed: [GPL-2.0-only WITH Classpath-exception-2.0]}}", []facts.InputAttestation{listing("GPL-2.0-only WITH GCC-exception-3.1")}, []string{"licence_denied"}},
		{"only those", sbom + "{allowed: [MIT, Apache-2.0]}}", []facts.InputAttestation{listing("MIT", "ISC")}, []string{"licence_denied"}},
		{"no licence", sbom + "{denied: [GPL-*]}}", []facts.InputAttestation{edit(listing(), func(p *facts.Projection) { p.Packages = []facts.Package{{Name: "x"}} })}, []string{"licence_unstated"}},
		{"no licence is let pass", sbom + "{denied: [GPL-*], unstated: allow}}", []facts.InputAttestation{edit(listing(), func(p *facts.Projection) { p.Packages = []facts.Package{{Name: "x", Licences: []string{}}} })}, nil},
		{"a list that is cut", sbom + "{denied: [GPL-*]}}", []facts.InputAttestation{edit(listing("MIT"), truncated)}, []string{"contents_not_read"}},
		{"no list at all", sbom + "{denied: [GPL-*]}}", []facts.InputAttestation{attested("https://spdx.dev/Document")}, []string{"contents_not_read"}},
		{"a scan in its place", sbom + "{denied: [GPL-*]}}", []facts.InputAttestation{projected("https://spdx.dev/Document", facts.Projection{Kind: facts.ProjectionScan})}, []string{"contents_not_read"}},
		{"one that passes beside one that does not", sbom + "{denied: [GPL-*]}}", []facts.InputAttestation{listing("GPL-3.0-only"), listing("MIT")}, nil},
		{"an empty bill", sbom + "{denied: [GPL-*]}}", []facts.InputAttestation{listing()}, nil},

		{"a clean scan", scan + "{maximum_severity: none}}", []facts.InputAttestation{scanned()}, nil},
		{"as severe as may be", scan + "{maximum_severity: high}}", []facts.InputAttestation{scanned(found("high"))}, nil},
		{"too severe", scan + "{maximum_severity: medium}}", []facts.InputAttestation{scanned(found("high"))}, []string{"vulnerability_found"}},
		{"of unknown severity", scan + "{maximum_severity: high}}", []facts.InputAttestation{scanned(found("unknown"))}, []string{"vulnerability_found"}},
		{"of unknown severity, let pass", scan + "{maximum_severity: high, unknown_severity: allow}}", []facts.InputAttestation{scanned(found("unknown"))}, nil},
		{"in words of its own", scan + "{maximum_severity: high}}", []facts.InputAttestation{scanned(found("CRITICAL"))}, []string{"vulnerability_found"}},
		{"unfixed, let pass", scan + "{maximum_severity: low, unfixed: allow}}", []facts.InputAttestation{scanned(facts.Finding{ID: "CVE-1", Severity: "critical"})}, nil},
		{"old data", scan + "{maximum_severity: high, database_max_age: 9h}}", []facts.InputAttestation{scanned()}, []string{"scan_database_too_old"}},
		{"data of no age", scan + "{maximum_severity: high, database_max_age: 9h}}", []facts.InputAttestation{edit(scanned(), func(p *facts.Projection) { p.Tool = nil })}, []string{"scan_database_too_old"}},
		{"fresh data", scan + "{maximum_severity: high, database_max_age: 11h}}", []facts.InputAttestation{scanned()}, nil},
		{"a scan that is cut", scan + "{maximum_severity: high}}", []facts.InputAttestation{edit(scanned(), truncated)}, []string{"contents_not_read"}},
		{"withheld", scan + "{maximum_severity: high}}", nil, []string{"attestation_missing"}},

		{"excused", scan + vex + "}", []facts.InputAttestation{scanned(found("high")), saying(notAffected("pkg:deb/debian/openssl@3.0.11"))}, nil},
		{"excused in all versions", scan + vex + "}", []facts.InputAttestation{scanned(found("high")), saying(notAffected("pkg:deb/debian/openssl"))}, nil},
		{"excused by the image", scan + vex + "}", []facts.InputAttestation{scanned(found("high")), saying(notAffected("pkg:oci/app@sha256%3Aaa?repository_url=ghcr.io/org/app"))}, nil},
		{"excused without a product", scan + vex + "}", []facts.InputAttestation{scanned(found("high")), saying(notAffected())}, nil},
		{"excused in another version", scan + vex + "}", []facts.InputAttestation{scanned(found("high")), saying(notAffected("pkg:deb/debian/openssl@3.0.9"))}, []string{"vulnerability_found"}},
		{"excused on another architecture", scan + vex + "}", []facts.InputAttestation{scanned(found("high")), saying(notAffected("pkg:deb/debian/openssl@3.0.11?arch=arm64"))}, []string{"vulnerability_found"}},
		{"excused in another package", scan + vex + "}", []facts.InputAttestation{scanned(found("high")), saying(notAffected("pkg:deb/debian/openssl-evil@3.0.11"))}, []string{"vulnerability_found"}},
		{"excused in another image", scan + vex + "}", []facts.InputAttestation{scanned(found("high")), saying(notAffected("pkg:oci/app@sha256%3Abb"))}, []string{"vulnerability_found"}},
		{"an escape that is none", scan + vex + "}", []facts.InputAttestation{scanned(found("high")), saying(notAffected("pkg:deb/debian/openssl%zz@3.0.11"))}, []string{"vulnerability_found"}},
		{"by nobody whose word counts", scan + vex + "}", []facts.InputAttestation{scanned(found("high")), byOther(saying(notAffected()))}, []string{"vulnerability_found"}},
		{"nobody's word counts", scan + "{maximum_severity: medium}}", []facts.InputAttestation{scanned(found("high")), saying(notAffected())}, []string{"vulnerability_found"}},
		{"without a reason", scan + vex + "}", []facts.InputAttestation{scanned(found("high")), saying(facts.VEXStatement{Vulnerability: "CVE-2026-1", Status: "not_affected"})}, []string{"vulnerability_found"}},
		{"fixed", scan + vex + "}", []facts.InputAttestation{scanned(found("high")), saying(facts.VEXStatement{Vulnerability: "CVE-2026-1", Status: "fixed"})}, nil},
		{"affected", scan + vex + "}", []facts.InputAttestation{scanned(found("high")), saying(facts.VEXStatement{Vulnerability: "CVE-2026-1", Status: "affected"})}, []string{"vulnerability_found"}},
		{"taken back later", scan + vex + "}", []facts.InputAttestation{scanned(found("high")), saying(notAffected(), facts.VEXStatement{Vulnerability: "CVE-2026-1", Status: "affected", Timestamp: ago(time.Hour)})}, []string{"vulnerability_found"}},
		{"said anew", scan + vex + "}", []facts.InputAttestation{scanned(found("high")), saying(notAffected(), facts.VEXStatement{Vulnerability: "CVE-2026-1", Status: "affected", Timestamp: ago(9 * time.Hour)})}, nil},
		{"a VEX that is cut", scan + vex + "}", []facts.InputAttestation{scanned(found("high")), edit(saying(notAffected()), truncated)}, []string{"vulnerability_found"}},

		{"passed", test + "{passed: [unit]}}", []facts.InputAttestation{tested(facts.TestResult{Result: "PASSED", Passed: []string{"unit"}})}, nil},
		{"a test is missing", test + "{passed: [unit, e2e]}}", []facts.InputAttestation{tested(facts.TestResult{Result: "PASSED", Passed: []string{"unit"}})}, []string{"tests_not_passed"}},
		{"passed with a failure", test + "{}}", []facts.InputAttestation{tested(facts.TestResult{Result: "PASSED", Failed: []string{"e2e"}})}, []string{"tests_not_passed"}},
		{"warned", test + "{}}", []facts.InputAttestation{tested(facts.TestResult{Result: "WARNED"})}, []string{"tests_not_passed"}},
		{"warned, let pass", test + "{result: WARNED}}", []facts.InputAttestation{tested(facts.TestResult{Result: "WARNED"})}, nil},
		{"in words of its own", test + "{}}", []facts.InputAttestation{tested(facts.TestResult{Result: "passed"})}, []string{"tests_not_passed"}},

		{"an allowed base", base + "{allowed: ['docker.io/library/debian:12']}}", []facts.InputAttestation{built(facts.Material{URI: "pkg:docker/debian@12?platform=linux%2Famd64", Digest: digest})}, nil},
		{"by digest", base + "{allowed: ['docker.io/library/debian@sha256:1111111111111111111111111111111111111111111111111111111111111111']}}", []facts.InputAttestation{built(facts.Material{URI: "pkg:docker/debian@12", Digest: digest})}, nil},
		{"another tag", base + "{allowed: ['docker.io/library/debian:12']}}", []facts.InputAttestation{built(facts.Material{URI: "pkg:docker/debian@11", Digest: digest})}, []string{"base_image_not_allowed"}},
		{"one of two", base + "{allowed: ['docker.io/library/debian']}}", []facts.InputAttestation{built(facts.Material{URI: "pkg:docker/debian@12", Digest: digest}, facts.Material{URI: "pkg:docker/evil/debian@12", Digest: digest})}, []string{"base_image_not_allowed"}},
		{"another registry", base + "{allowed: ['docker.io/library/debian']}}", []facts.InputAttestation{built(facts.Material{URI: "docker-image://evil.io/library/debian:12", Digest: digest})}, []string{"base_image_not_allowed"}},
		{"no image among the materials", base + "{allowed: ['docker.io/library/debian']}}", []facts.InputAttestation{built(facts.Material{URI: "git+https://github.com/org/docker.io/library/debian", Digest: digest})}, []string{"base_image_unknown"}},
		{"by a signed bill", base + "{allowed: ['docker.io/library/debian']}}", []facts.InputAttestation{edit(listing(), func(p *facts.Projection) {
			p.Packages = []facts.Package{{Name: "debian", PURL: "pkg:oci/debian@sha256:11?repository_url=docker.io/library/debian&tag=12"}, {Name: "app", PURL: "pkg:oci/app@sha256:aa"}}
		})}, nil},
		{"by nobody who may say so", base + "{allowed: ['docker.io/library/debian'], signers: [default/1]}}", []facts.InputAttestation{byOther(built(facts.Material{URI: "pkg:docker/debian@12", Digest: digest}))}, []string{"base_image_unknown"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			allow, codes, _ := evaluate(t, tt.yaml+"\n", tt.list...)
			if allow != (len(tt.codes) == 0) || !slices.Equal(codes, append([]string{}, tt.codes...)) {
				t.Errorf("allow %v, %v, want %v", allow, codes, tt.codes)
			}
			// More evidence can only help: the policy says of itself that it is monotone.
			for _, more := range []facts.InputAttestation{listing("GPL-3.0-only"), scanned(found("critical")), saying(facts.VEXStatement{Vulnerability: "CVE-2026-1", Status: "affected"}), built(facts.Material{URI: "pkg:docker/evil/x@1"})} {
				more.ID, more.Principal = "sha256:ff", "https://accounts.example b"
				if after, codes, _ := evaluate(t, tt.yaml+"\n", append(slices.Clone(tt.list), more)...); allow && !after {
					t.Errorf("denied for what %s says more: %v", more.PredicateType, codes)
				}
			}
		})
	}
}

// What is allowed holds until the last attestation that allows it gets too old, or what
// it rests on.
func TestContentsEnd(t *testing.T) {
	const head = "require_signature: false\n" + twoSigners + "attestations: [{predicate_type: vuln, max_age: 3h}]\n"
	older := scanned()
	older.SignedAt, older.ID = ago(2*time.Hour), "sha256:02"
	for _, tt := range []struct {
		name, contents string
		list           []facts.InputAttestation
		want           time.Duration // from the decision on
	}{
		{"one", "", []facts.InputAttestation{scanned()}, 2 * time.Hour},
		{"the last of two", "", []facts.InputAttestation{older, scanned()}, 2 * time.Hour},
		{"an older one alone", "", []facts.InputAttestation{older}, time.Hour},
		{"the data", "contents: {vulnerabilities: {maximum_severity: high, database_max_age: 11h}}\n", []facts.InputAttestation{scanned()}, time.Hour},
		{"a VEX", "contents: {vulnerabilities: {maximum_severity: low, vex: {max_age: 90m}}}\n", []facts.InputAttestation{scanned(found("high")), saying(notAffected())}, 30 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			allow, codes, until := evaluate(t, head+tt.contents, tt.list...)
			if !allow || until == nil || !until.Equal(decided.Add(tt.want)) {
				t.Errorf("allow %v (%v) until %v, want %s", allow, codes, until, decided.Add(tt.want))
			}
		})
	}
	if _, _, until := evaluate(t, "require_signature: false\n"+twoSigners+"attestations: [{predicate_type: vuln}]\n", scanned()); until != nil {
		t.Errorf("what never gets too old ends at %s", until)
	}
}
