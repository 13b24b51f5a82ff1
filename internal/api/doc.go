// Package api is Signet's REST face: /api/v1, health, metrics and the OpenAPI
// document that describes them, on Echo.
//
// Start with [New], which wants a [Config], and serve the result with
// [NewHTTPServer]. Every request goes one way: request id, barrier read of what
// is in force, token, role, strict body, the call, one table from errors to
// problems (RFC 9457), counters, log. Nothing but /healthz and /readyz answers
// without a token.
//
// A verdict is passed on as the bytes that the engine gave. What this package
// does not know becomes 500, never an allow.
package api
