// Package auth says who may do what: roles, permissions, principals and API
// tokens.
//
// Start with [NewToken], which makes a token to show once, and [Tokens], the
// immutable set that [Tokens.Authenticate] looks a presented token up in. What a
// [Principal] may do is asked with [Principal.May]. Every zero value denies.
package auth
