# METADATA
# title: Package URLs
# description: >-
#   Names of packages as SBOMs, scanners and VEX documents write them
#   (https://github.com/package-url/purl-spec). What is none is undefined.
package signing.lib.purl

# METADATA
# title: Parts of a package URL
# description: >-
#   Type, namespace, name, version and qualifiers, decoded; "" and {} for what is not there. Undefined for
#   what is no package URL.
# custom:
#   example: 'lib.purl.parse("pkg:npm/%40angular/core@12.3.1?arch=x64")'
parse(text) := {
	"type": lower(kind),
	"namespace": _decoded(trim(namespace, "/")),
	"name": _decoded(name),
	"version": _decoded(version),
	"qualifiers": {key: value | some pair in split(query, "&"); [key, value] := _qualifier(pair)},
} if {
	# An escape that is none would be an error of the builtin, which denies without saying why.
	regex.match(`\A(?:[^%]|%[0-9A-Fa-f]{2})*\z`, text)
	pattern := `\Apkg:/*([A-Za-z][A-Za-z0-9.+-]*)/((?:[^?#]*/)?)([^/?#@]+)(?:@([^/?#@]*))?(?:\?([^#]*))?(?:#.*)?\z`
	[[_, kind, namespace, name, version, query]] = regex.find_all_string_submatch_n(pattern, text, 1)
}

_qualifier(pair) := [lower(key), _decoded(value)] if {
	[key, value] := split(pair, "=")
	key != ""
	value != ""
}

# A plus sign is a plus sign, and no space.
_decoded(text) := urlquery.decode(replace(text, "+", "%2B"))

# METADATA
# title: Package meant by a package URL
# description: >-
#   True when one package URL, such as the product of a VEX statement, means the package of another:
#   the same type, namespace and name, the same version where it names one, and every qualifier that it has.
# custom:
#   example: 'lib.purl.means("pkg:deb/debian/openssl", "pkg:deb/debian/openssl@3.0.11?arch=amd64")'
means(wanted, given) if {
	parts := parse(wanted)
	there := parse(given)
	parts.type == there.type
	_same(parts.type, parts.namespace, there.namespace)
	_same(parts.type, parts.name, there.name)
	parts.version in {"", there.version}
	every key, value in parts.qualifiers {
		there.qualifiers[key] == value
	}
}

# The types whose names are not told apart by case.
_caseless := {"apk", "bitbucket", "composer", "deb", "docker", "github", "hex", "oci", "pypi"}

_same(_, a, b) if a == b

_same(kind, a, b) if {
	kind in _caseless
	lower(a) == lower(b)
}

_same("pypi", a, b) if replace(lower(a), "_", "-") == replace(lower(b), "_", "-")
