// Package mcp is the face that MCP gateways ask: Signet as an external plugin
// (IBM ContextForge and its plugin framework cpex), over streamable HTTP without
// sessions, and over stdio.
//
// Start with [New]. A [Server] takes one JSON-RPC message with [Server.Handle] and
// gives the bytes to answer with; who carries them is no matter to it. It speaks
// JSON-RPC by itself: the gateway wants bytes that are the same for each version of
// the protocol, keys that differ in case are not the same, and what a tool call
// carries for others (arguments, headers, credentials) is passed over unread.
//
// Nothing of a payload or a context is logged, and whatever goes wrong while
// deciding is an answer of the plugin, never an error of the protocol: a gateway
// answers those by connecting again.
package mcp
