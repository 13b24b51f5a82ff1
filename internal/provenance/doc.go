// Package provenance reads SLSA provenance of every version into the one shape
// of the input document, [facts.Provenance].
//
// Use [Parse]. It reads what the predicate says; who said it, and whether the
// certificate agrees, is for package builders. A field that the predicate does
// not have is empty: nothing is guessed.
//
// Predicate types and where their fields come from:
//
//	              https://slsa.dev/provenance/v0.1   v0.2                       v1
//	builder_id    builder.id                         builder.id                 runDetails.builder.id
//	build_type    recipe.type                        buildType                  buildDefinition.buildType
//	invocation_id metadata.buildInvocationId         metadata.buildInvocationId runDetails.metadata.invocationId
//	parameters    recipe.arguments                   invocation.parameters      buildDefinition.externalParameters
//	materials     materials                          materials                  buildDefinition.resolvedDependencies
//	source        see sources.go: it depends on the build type
//
// SLSA 1.0, 1.1 and 1.2 have one predicate type (https://slsa.dev/provenance/v1),
// so slsa_version is "v1" for all of them. The identifiers of invocations are
// written …ID by in-toto's Go library and …Id by the specifications; both are
// read, and a predicate with two different ones is refused.
package provenance
