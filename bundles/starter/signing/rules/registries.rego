# METADATA
# title: Registries
# description: Images come from the registries that params.registries names.
package signing.rules.registries

import data.signing.lib

# A comprehension is never undefined: without the parameter no registry is allowed.
_registries := {registry | some registry in data.params.registries}

_allowed if input.subject.registry in _registries

# METADATA
# title: Registry is allowed
# description: The image comes from a registry that is none of params.registries.
# custom:
#   code: registry_not_allowed
#   severity: high
#   remediation: Push the image to an allowed registry, or add its registry to params.registries.
violation contains {
	"code": "registry_not_allowed",
	"message": sprintf("Image %s is not from an allowed registry: %s.", [lib.image, lib.few(_registries)]),
	"remediation": "Push the image to an allowed registry, or add its registry to params.registries.",
} if {
	not _allowed
}
