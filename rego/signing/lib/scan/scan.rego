# METADATA
# title: Vulnerability scans
# description: What scans find, of every scanner alike, as the projection of the attestation has it.
package signing.lib.scan

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib
import data.signing.lib.vex

_ranks := {"none": 0, "negligible": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}

# METADATA
# title: Findings
# description: >-
#   What a scan found. Undefined for an attestation that is none, is a stranger's, or is too long to be read
#   to its end.
# custom:
#   example: 'lib.scan.findings(fixture.scan([fixture.finding("CVE-2026-1", "high")]))'
findings(attestation) := object.get(attestation.projection, "findings", []) if {
	attestation.projection.kind == "scan"
	attestation.projection.truncated == false
}

# METADATA
# title: Finding in words
# description: The identifier, the severity, the package, and the version that mends it where there is one.
# custom:
#   example: 'lib.scan.called(fixture.finding("CVE-2026-1", "high"))'
called(finding) := sprintf("%s (%s)%s%s", [finding.id, finding.severity, _in(finding), _mended(finding)])

_in(finding) := sprintf(" in %s", [where]) if {
	where := trim_space(sprintf("%s %s", [object.get(finding, "package", ""), object.get(finding, "version", "")]))
	where != ""
} else := ""

_mended(finding) := sprintf(", mended in %s", [finding.fixed_in]) if {
	object.get(finding, "fixed_in", "") != ""
} else := ""

# METADATA
# title: Findings that are too severe
# description: >-
#   Those that are worse than demands.maximum_severity, in words. A severity that the scan does not tell is
#   too severe unless demands.unknown_severity is "allow"; a finding that nothing mends yet is left out where
#   demands.unfixed is "allow", and one that a VEX statement excuses where demands.vex says whose count.
# custom:
#   example: >-
#     lib.scan.denied(fixture.scan([fixture.finding("CVE-2026-1", "high")]), {"maximum_severity": "medium"})
#     with input as fixture.good
denied(attestation, demands) := {called(finding) |
	some finding in findings(attestation)
	not _tolerated(finding, demands)
	not vex.excused(finding, attestation.subject_digest, object.get(demands, "vex", null))
}

_tolerated(finding, demands) if _ranks[finding.severity] <= _ranks[demands.maximum_severity]

_tolerated(finding, demands) if {
	not _ranks[finding.severity]
	demands.unknown_severity == "allow"
}

_tolerated(finding, demands) if {
	demands.unfixed == "allow"
	object.get(finding, "fixed_in", "") == ""
}

# METADATA
# title: Scanner's data is fresh
# description: >-
#   True when the scanner's data were brought up to date no longer ago than demands.database_max_age, in
#   seconds, or when that is not asked for.
# scope: document
# custom:
#   example: >-
#     lib.scan.database_fresh(fixture.scan([]), {"database_max_age": 86400}) with input as fixture.good
database_fresh(_, demands) if not demands.database_max_age

database_fresh(attestation, demands) if {
	is_string(attestation.projection.tool.database_at) # null would be an error of the builtin
	at := time.parse_rfc3339_ns(attestation.projection.tool.database_at)
	lib.younger(at, demands.database_max_age)
}

# METADATA
# title: Scan that passes
# description: True for a scan, read to its end, with fresh data, that found nothing that is too severe.
# custom:
#   example: >-
#     lib.scan.passes(fixture.scan([]), {"maximum_severity": "none"}) with input as fixture.good
passes(attestation, demands) if {
	is_array(findings(attestation))
	database_fresh(attestation, demands)
	count(denied(attestation, demands)) == 0
}
