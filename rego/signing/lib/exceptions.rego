package signing.lib

# METADATA
# title: Exceptions
# description: The exceptions that the parameters hold, those that have ended too; none where there are none.
# custom:
#   example: 'lib.exceptions with data.params as fixture.params'
exceptions := object.get(data.params, "exceptions", [])

# METADATA
# title: Exceptions in order
# description: >-
#   True when each exception has every field, so that what is waived, by whom, why
#   and until when can be said.
# custom:
#   example: 'lib.exceptions_in_order([fixture.exception])'
exceptions_in_order(list) if {
	is_array(list)
	every exception in list {
		every field in ["name", "owner", "reason", "expires_at"] {
			is_string(exception[field])
			exception[field] != ""
		}
		every field in ["images", "codes"] {
			is_array(exception[field])
			count(exception[field]) > 0
			every text in exception[field] {
				is_string(text)
			}
		}
	}
}

# METADATA
# title: Never waived
# description: >-
#   Codes that no exception waives: they say that it is not known what was asked
#   for, or what there is.
# custom:
#   example: '"unsigned" in lib.never_waived'
never_waived := {
	"input_not_understood",
	"no_requirement",
	"parameters_missing",
	"platform_not_requested",
	"requirement_malformed",
	"requirement_unexplained",
	"rule_malformed",
	"search_incomplete",
}

# METADATA
# title: Waiver
# description: >-
#   By code, the exception that waives its violations for this image now. Where
#   there are several it is the one that ends last.
# custom:
#   example: >-
#     lib.waiver.unsigned.name with input as fixture.nothing with data.params as
#     fixture.excepted
waiver[code] := exception if {
	some code in _excepted_codes
	exception := _last({[ends, e] |
		some e in exceptions
		code in e.codes
		ends := time.parse_rfc3339_ns(e.expires_at)
		ends > _now
		_excepts_image(e)
	})
}

# METADATA
# title: Ended waiver
# description: >-
#   By code, the exception that waived its violations for this image until it ended,
#   the last of several.
# custom:
#   example: >-
#     lib.ended_waiver.unsigned.expires_at with input as fixture.nothing with data.params
#     as fixture.excepted_until("2026-05-31T00:00:00Z")
ended_waiver[code] := exception if {
	some code in _excepted_codes
	exception := _last({[ends, e] |
		some e in exceptions
		code in e.codes
		ends := time.parse_rfc3339_ns(e.expires_at)
		ends <= _now
		_excepts_image(e)
	})
}

_excepted_codes contains code if {
	some exception in exceptions
	some code in exception.codes
	not code in never_waived
}

_now := time.parse_rfc3339_ns(input.evaluated_at)

_last(waivers) := exception if {
	count(waivers) > 0
	[_, exception] := max(waivers)
}

_name := sprintf("%s/%s", [input.subject.registry, input.subject.repository]) if {
	input.subject.registry != ""
	input.subject.repository != ""
}

_excepts_image(exception) if {
	some pattern in exception.images
	regex.match(image_pattern(pattern), _name)
}

# METADATA
# title: Pattern of image names
# description: >-
#   A pattern of image names as a regular expression: "*" stands for anything within
#   one segment, "**" for any number of segments, at the end for at least one.
# custom:
#   example: 'lib.image_pattern("ghcr.io/org/*/**")'
image_pattern(pattern) := sprintf(`\A%s\z`, [concat("", [part |
	some i, segment in segments
	part := _segment_pattern(segment, i == (count(segments) - 1))
])]) if {
	segments := split(pattern, "/")
}

_segment_pattern("**", false) := `(?:[^/]+/)*`

_segment_pattern("**", true) := `[^/]+(?:/[^/]+)*`

_segment_pattern(segment, last) := sprintf("%s%s", [
	replace(regex.replace(segment, `[^a-zA-Z0-9_*]`, `\$0`), "*", "[^/]*"),
	{true: "", false: "/"}[last],
]) if {
	segment != "**"
}

# METADATA
# title: Waived finding
# description: What an exception makes of a violation, a warning that names the exception.
# custom:
#   example: >-
#     lib.waived({"code": "old", "message": "It is old.", "remediation": "Build it anew."},
#     fixture.exception)
waived(finding, exception) := object.union(finding, {"message": sprintf(
	"%s Waived by the exception %s of %s until %s: %s.",
	[finding.message, exception.name, exception.owner, exception.expires_at, trim_suffix(exception.reason, ".")],
)}) if {
	finding.message
} else := finding

# METADATA
# title: Standing finding
# description: >-
#   A violation that nothing waives. Where an exception waived it before, the
#   remediation says when that ended.
# custom:
#   example: >-
#     lib.standing({"code": "unsigned", "message": "It is not signed.", "remediation": "Sign it."})
#     with input as fixture.nothing with data.params as
#     fixture.excepted_until("2026-05-31T00:00:00Z")
standing(finding) := object.union(finding, {"remediation": sprintf(
	"%s (The exception %s of %s ended at %s.)",
	[finding.remediation, exception.name, exception.owner, exception.expires_at],
)}) if {
	exception := ended_waiver[finding.code]
} else := finding
