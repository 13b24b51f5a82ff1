// Package pep is what the faces of Signet share: the one way from an enforcement
// point's question to an answer, whatever protocol it was asked in. Begin with
// [New] and [Core.Answer]; a face is described by a [Face], and its adapters are the
// packages below this one.
//
// An answer is an allow only when the engine said so in all the ways in which it
// says it. Whatever else comes of a question, a panic too, is unknown.
package pep
