package signing.lib.requirement

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib
import data.signing.lib.attested
import data.signing.lib.unattested
import data.signing.lib.vex

# METADATA
# title: Needs of attestations
# description: By name, each attestation that the parameters require, with the ids of those that meet it.
# custom:
#   code: needs_attestations
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
#   example: >-
#     signing.lib.requirement.needs with input as fixture.attested([fixture.sbom([])]) with data.params as
#     fixture.attesting([{}])
needs[wanted.name] := {input.attestations[i].id |
	attested.met(wanted)
	some positions in attested.passing[wanted.name]
	some i in positions
} if {
	some wanted in lib.required_attestations
}

# METADATA
# title: Explained needs of attestations
# description: The required attestations that are not there and about which there is a violation of their own.
# custom:
#   code: explained_attestations
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
#   example: >-
#     signing.lib.requirement.explained with input as fixture.attested([]) with data.params as fixture.attesting([{}])
explained contains wanted.name if {
	some wanted in lib.required_attestations
	not attested.met(wanted)
	some [_, finding] in unattested.violation
	finding.requirement == wanted.name
}

# METADATA
# title: Required attestations are there
# description: Why a required attestation is not, in the words of the package signing.lib.unattested.
# custom:
#   code: attestation_required
#   severity: high
#   remediation: Read the violations; each says what would mend it.
#   example: >-
#     signing.verdict with input as fixture.attested([]) with data.params as fixture.attesting([{}])
violation contains [place, finding] if {
	some [place, finding] in unattested.violation
}

# METADATA
# title: Ends of needs
# description: >-
#   The times, in nanoseconds, at which a need that is met may cease to be, because what meets it gets too old.
# custom:
#   code: ends
#   severity: none
#   remediation: Ask again then.
#   example: >-
#     signing.lib.requirement.ends with input as fixture.attested([fixture.sbom([])]) with data.params as
#     fixture.attesting([{"max_age": 3600}])
ends contains ns if {
	some wanted in lib.required_attestations
	attested.met(wanted)
	some positions in attested.passing[wanted.name]
	ns := _end(wanted, {end | some i in positions; end := _ends_at(input.attestations[i], wanted)})
}

# Where one is enough the last to end counts, else, to be safe, the first.
_end(wanted, moments) := max(moments) if {
	wanted.count == 1
	count(moments) > 0
}

_end(wanted, moments) := min(moments) if {
	wanted.count > 1
	count(moments) > 0
}

# When one attestation gets too old, by itself, by its scanner's data, or by a VEX document that it may need.
_ends_at(attestation, wanted) := min(moments) if {
	moments := _own_end(attestation, wanted) | _judged_end(attestation, object.get(wanted, "kind", ""))
	count(moments) > 0
}

_own_end(attestation, wanted) := {end | end := _after(lib.attested_at(attestation, wanted.from), wanted.max_age)}

_after(at, seconds) := at + (seconds * 1000000000)

_judged_end(attestation, kind) := _data_end(attestation) | _vex_ends(attestation) if {
	kind == "scan"
	attested.judged("scan")
} else := set()

_data_end(attestation) := {end |
	is_string(attestation.projection.tool.database_at) # null would be an error of the builtin
	at := time.parse_rfc3339_ns(attestation.projection.tool.database_at)
	end := _after(at, lib.contents.vulnerabilities.database_max_age)
}

_vex_ends(attestation) := {ns |
	demands := lib.contents.vulnerabilities.vex
	some i in vex.documents(attestation.subject_digest, demands)
	ns := _after(lib.attested_at(input.attestations[i], "signed_at"), demands.max_age)
}
