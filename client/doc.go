// Package client speaks to a Signet server from Go. Start with [New]; then ask
// [Client.Verify] whether an image may run, or administer what is trusted.
//
// Every method is one request of the REST API under /api/v1. What the server
// refuses comes back as a [*Problem], which [errors.As] finds. Lists come in
// pages ([Page]); the All… methods walk them.
//
// What can be repeated without harm is repeated: reads, PUT, DELETE and requests
// for verdicts after 429, 503 and broken connections, everything else after 429
// alone. The server's Retry-After is honoured.
//
// A verdict that was not understood is an error and never allowed: act on
// [Verdict.Allowed] and only where the error is nil.
package client
