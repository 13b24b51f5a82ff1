// Package store keeps what Signet must remember: trusted signers, tokens, the
// verdicts it gave with the facts they stand on, and who changed what.
//
// Start with [Open]. One process at a time opens a data directory for writing;
// any number may read it. [Store.Active] names everything in force, and
// [Store.Snapshot] is all of it, consistently. Every change goes through
// [Store.Change], which writes the audit log and raises active in the same
// transaction. [Store.Record] keeps a verdict, [Store.Verdicts] lists them.
//
// Today the store is one SQLite file. What it promises is in the contract suite
// of package storetest, which any other database has to pass as well.
package store
