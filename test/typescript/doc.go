// Package typescript holds the TypeScript client in client/typescript against the
// OpenAPI document that it is generated from, and runs it with Node against a real
// server.
package typescript
