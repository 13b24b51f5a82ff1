package signing.lib

# METADATA
# title: Required attestations
# description: The attestations that the parameters require; none where they say nothing of it.
# custom:
#   example: 'lib.required_attestations with data.params as fixture.attesting([{}])'
required_attestations := object.get(data.params, "attestations", [])

# METADATA
# title: Demands on contents
# description: What the parameters ask of what attestations say, by topic; none where they say nothing of it.
# custom:
#   example: 'lib.contents with data.params as fixture.judging("tests", {"result": "PASSED"})'
contents := object.get(data.params, "contents", {})

# METADATA
# title: Vouching signers of an attestation
# description: >-
#   The trusted signers, of those that are named, for whom an attestation counts: it has the log entry that the
#   policy asks for. With null for the names any trusted signer counts, and the attestation has the source that the
#   policy asks for, too; who is named stands for itself.
# scope: document
# custom:
#   example: >-
#     lib.vouchers(fixture.attestation("https://spdx.dev/Document"), ["release"]) with input as fixture.good with
#     data.params as fixture.params
vouchers(attestation, null) := {name | some name in attestation.trusted_signers} if {
	logged(attestation)
	sourced(attestation)
}

vouchers(attestation, names) := {name | some name in attestation.trusted_signers; name in names} if {
	is_array(names)
	logged(attestation)
}

# METADATA
# title: Time of an attestation
# description: >-
#   What its age is counted from, in nanoseconds: "signed_at" is the earliest verified time of signing, "made_at" when
#   the document says that it was made, or when it was signed where that is earlier. Undefined where that is not known.
# scope: document
# custom:
#   example: 'lib.attested_at(fixture.attestation("https://spdx.dev/Document"), "signed_at")'
attested_at(attestation, "signed_at") := time.parse_rfc3339_ns(attestation.signed_at) if {
	is_string(attestation.signed_at)
}

attested_at(attestation, "made_at") := min({made} | _signed_at(attestation)) if {
	is_string(attestation.projection.made_at)
	made := time.parse_rfc3339_ns(attestation.projection.made_at)
}

_signed_at(attestation) := {time.parse_rfc3339_ns(text) | text := attestation.signed_at; is_string(text)}

# METADATA
# title: Fresh
# description: >-
#   True for an attestation that is not older than demands.max_age, in seconds, counted from demands.from
#   ("signed_at" where it is not said), or when no age is asked for.
# scope: document
# custom:
#   example: >-
#     lib.fresh(fixture.attestation("https://spdx.dev/Document"), {"max_age": 86400}) with input as fixture.good
fresh(_, demands) if not demands.max_age

fresh(attestation, demands) if {
	from := object.get(demands, "from", "signed_at")
	younger(attested_at(attestation, from), demands.max_age)
}

# METADATA
# title: Attestations in order
# description: True when each required attestation has every field that is needed to know what it asks for.
# custom:
#   example: 'lib.attestations_in_order(fixture.attesting([{}]).attestations)'
attestations_in_order(list) if {
	is_array(list)
	every wanted in list {
		is_string(wanted.name)
		is_number(wanted.count)
		wanted.count >= 1
		wanted.subjects in {"image", "every"}
		_texts(wanted.types)
		_texts(object.get(wanted, "signers", ["any"]))
		_age_in_order(wanted)
	}
}

_age_in_order(demands) if not demands.max_age

_age_in_order(demands) if {
	is_number(demands.max_age)
	object.get(demands, "from", "signed_at") in {"signed_at", "made_at"}
}

_texts(list) if {
	is_array(list)
	count(list) > 0
	every text in list {
		is_string(text)
	}
}

# METADATA
# title: Contents in order
# description: True when each demand on contents has every field that is needed to know what it asks for.
# custom:
#   example: 'lib.contents_in_order({"tests": {"result": "PASSED"}})'
contents_in_order(demands) if {
	is_object(demands)
	every topic, demand in demands {
		_demand_in_order(topic, demand)
	}
}

_demand_in_order("licences", demand) if {
	demand.unstated in {"deny", "allow"}
	_texts(array.concat(object.get(demand, "denied", []), object.get(demand, "allowed", [])))
	is_array(object.get(demand, "denied", []))
}

_demand_in_order("vulnerabilities", demand) if {
	demand.maximum_severity in {"none", "negligible", "low", "medium", "high"}
	demand.unknown_severity in {"deny", "allow"}
	demand.unfixed in {"deny", "allow"}
	is_number(object.get(demand, "database_max_age", 1))
	vex := object.get(demand, "vex", {})
	_texts(object.get(vex, "signers", ["any"]))
	_age_in_order(vex)
}

_demand_in_order("tests", demand) if {
	demand.result in {"PASSED", "WARNED"}
	_texts(object.get(demand, "passed", ["any"]))
}

_demand_in_order("base_images", demand) if {
	_texts(demand.allowed)
	_texts(object.get(demand, "signers", ["any"]))
}
