# METADATA
# title: Licences
# description: >-
#   SPDX licence expressions (https://spdx.github.io/spdx-spec/v2.3/SPDX-license-expressions),
#   and whether a policy lets them pass. What cannot be understood does not pass.
package signing.lib.licence

# METADATA
# title: Licence is fine
# description: >-
#   True when a component under this expression may be used: "A OR B" when one of them may,
#   "A AND B" when both may. "demands" has "denied", "allowed" or both, lists of patterns: an
#   expression is fine when "allowed" names it as it is written; a licence is, when "allowed" names
#   it, or when there is a list "denied", which does not name it, and SPDX knows it.
# scope: document
# custom:
#   example: >-
#     lib.licence.fine("(MIT OR GPL-3.0-only) AND Apache-2.0", {"denied": ["GPL-*"]})
fine(expression, demands) if {
	some pattern in object.get(demands, "allowed", [])
	_matches(lower(pattern), lower(trim_space(expression)))
}

fine(expression, demands) if {
	count(expression) <= 4096
	not contains(expression, "~")
	joined := regex.replace(expression, `\s+(?:WITH|with)\s+`, "~")
	tokens := regex.find_n(`[()]|[^\s()]+`, joined, -1)
	marks := concat("", [mark | some token in tokens; mark := _mark(token, demands)])
	_value(sprintf("(%s)", [marks])) == "T"
}

_operators := {"(": "(", ")": ")", "AND": "&", "and": "&", "OR": "|", "or": "|"}

_mark(token, _) := _operators[token]

_mark(token, demands) := "T" if {
	not _operators[token]
	_permitted(token, demands)
}

_mark(token, demands) := "F" if {
	not _operators[token]
	not _permitted(token, demands)
}

# Groups in brackets that hold none, evaluated from the inside out: true where one alternative is
# true in all of its parts. What nests deeper, or is no expression, keeps its brackets.
_value(marks) := _pass(_pass(_pass(_pass(_pass(_pass(_pass(_pass(marks))))))))

# What has become true in this round is written small, so that it is no part of a group before the next.
_pass(marks) := replace(
	regex.replace(
		regex.replace(marks, `\((?:[TF](?:&[TF])*\|)*T(?:&T)*(?:\|[TF](?:&[TF])*)*\)`, "t"),
		`\([TF](?:[&|][TF])*\)`,
		"F",
	),
	"t",
	"T",
)

_permitted(token, demands) if {
	[name, exception] := _parts(token)
	_named(object.get(demands, "allowed", []), name, exception)
}

_permitted(token, demands) if {
	[name, exception] := _parts(token)
	name in known
	is_array(demands.denied)
	not _named(demands.denied, name, exception)
}

# The licence in normal form, and the exception behind WITH.
_parts(token) := [normal(parts[0]), lower(concat("", array.slice(parts, 1, 2)))] if {
	regex.match(`\A[A-Za-z0-9.:+_-]+(?:~[A-Za-z0-9.:_-]+)?\z`, token)
	parts := split(token, "~")
}

# A pattern with an exception names the licence with that one alone; one without names it with any.
_named(patterns, name, exception) if {
	some pattern in patterns
	parts := split(pattern, " WITH ")
	_matches(normal(parts[0]), name)
	every wanted in array.slice(parts, 1, 2) {
		_matches(lower(wanted), exception)
	}
}

# METADATA
# title: Normal form of a licence
# description: >-
#   The identifier in lower case and without -only, -or-later and +: whoever denies GPL-3.0-only
#   means GPL-3.0, which is the same, and GPL-3.0-or-later, of which there is no later one.
# custom:
#   example: lib.licence.normal("GPL-3.0-or-later")
normal(name) := regex.replace(lower(name), `(?:-only|-or-later|\+)\z`, "")

_matches(pattern, text) if pattern == text

_matches(pattern, text) if {
	contains(pattern, "*")
	regex.match(sprintf(`\A%s\z`, [replace(regex.replace(pattern, `[^a-z0-9*]`, `\$0`), "*", ".*")]), text)
}
