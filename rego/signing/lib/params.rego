# METADATA
# title: Helpers of the image signing policy
# description: >-
#   What the rules have in common. Everything here is positive: a helper is true
#   or holds a member only when the fact it speaks of is there.
package signing.lib

# METADATA
# title: Parameters
# description: >-
#   The parameters, undefined unless every one is there and has the right type.
#   What asks for more than signatures may be absent, and exceptions: it asks for
#   nothing then, and nothing is waived.
# custom:
#   example: 'lib.params.threshold with data.params as fixture.params'
params := given if {
	given := data.params
	is_boolean(given.require_signature)
	is_boolean(given.verify_transparency_log)
	is_boolean(given.registered_signers)
	is_number(given.threshold)
	given.threshold >= 1
	sources_or_null(given.trusted_sources)
	exceptions_in_order(object.get(given, "exceptions", []))
	slsa_in_order(object.get(given, "slsa", null))
	attestations_in_order(object.get(given, "attestations", []))
	contents_in_order(object.get(given, "contents", {}))
	summaries_in_order(object.get(given, "verification_summaries", []))
	groups_in_order(object.get(given, "groups", []))
	object.get(given, "platforms", "index") in {"index", "requested", "every"}
}

# METADATA
# title: Sources or null
# description: True for null, which asks for no source, and for a list of at least one.
# scope: document
# custom:
#   example: 'lib.sources_or_null(["github.com/org"])'
sources_or_null(null)

sources_or_null(sources) if {
	count(sources) > 0
	every source in sources {
		is_string(source)
		source != ""
	}
}
