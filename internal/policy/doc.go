// Package policy compiles a policy bundle with its parameters into an immutable
// [Set], and evaluates it over the input document. It is the only package that
// knows OPA.
//
// Begin with [Load]; everything that can be refused is refused there. Then
// [Set.Evaluate] gives one validated result per input, or an error wrapping
// [ErrTimeLimit], [ErrInputTooLarge] or [ErrPolicy]. None of them ever comes
// with a result that allows.
//
// A policy has no network, clock or randomness: the builtins that it may call
// are those of rego/capabilities.json.
package policy
