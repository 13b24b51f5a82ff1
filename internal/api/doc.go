// Package api is Signet's REST face: /api/v1, health, metrics and the OpenAPI
// document that describes them, on Echo.
//
// Start with [New], which wants a [Config], and serve the result with
// [NewHTTPServer]. Every request goes one way: request id, barrier read of what
// is in force, token, role, strict body, the call, one table from errors to
// problems (RFC 9457), counters, log. Nothing but health answers without a token.
// Protocols beside REST ([Config.Faces]) come the same way, and say problems in words
// of their own.
//
// A verdict is passed on as the bytes that the engine gave, with its page behind them
// where the server knows its own address. What this package does not know becomes
// 500, never an allow.
package api
