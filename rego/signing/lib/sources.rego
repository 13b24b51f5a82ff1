package signing.lib

# METADATA
# title: Sourced
# description: True for every signature when the policy names no sources, else when the certificate names a trusted one.
# scope: document
# custom:
#   example: 'lib.sourced(fixture.good.signatures[0]) with data.params as fixture.params'
sourced(_) if is_null(params.trusted_sources)

sourced(signature) if {
	signature.signer.kind == "certificate"
	from := normal_source(signature.signer.claims.source_repository_uri)
	some source in params.trusted_sources
	within_source(from, source)
}

# METADATA
# title: Normal form of a source
# description: >-
#   "git+https://Host/path.git" and the like become "host/path". Undefined for
#   what is no such address. The host is compared without case, the path to the
#   letter.
# custom:
#   example: 'lib.normal_source("git+https://GitHub.com/org/app.git")'
normal_source(address) := sprintf("%s/%s", [lower(host), name]) if {
	pattern := `\A(?:git\+)?(?:[a-z]+://)?([^/@?#\s]+)/([^?#\s]*[^/?#\s])/*\z`
	[[_, host, path]] = regex.find_all_string_submatch_n(pattern, address, 1)
	name := trim_suffix(path, ".git")
	every segment in split(name, "/") {
		not segment in {"", ".", ".."}
	}
}

# METADATA
# title: Within a source
# description: True when a source, in normal form, is the trusted one or below it by whole path segments.
# scope: document
# custom:
#   example: 'lib.within_source("github.com/org/app", "github.com/org")'
within_source(from, source) if from == source

within_source(from, source) if startswith(from, sprintf("%s/", [source]))
