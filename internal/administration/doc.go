// Package administration changes what is in force, and says who may: signers,
// tokens, policies, trust roots, the secret (the PAP in XACML's words).
//
// Start with [New]. Every method of a [Service] takes the [Caller] it works for,
// asks first what the caller may do, then checks the whole input, and writes in
// one transaction of the store, which audits it and raises active. An error
// leaves everything as it was. Errors wrap one of [ErrNotFound], [ErrStale],
// [ErrConflict] and [ErrForbidden], are [FieldErrors], or are the store's.
//
// [FromRow] turns what the store keeps of a signer into one that can be matched.
package administration
