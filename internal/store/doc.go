// Package store keeps what Signet must remember: trusted signers, tokens, the
// verdicts it gave with the facts they stand on, and who changed what.
//
// Start with [Open]. One process at a time opens a data directory, which is
// SQLite, for writing; any number may read it. Any number may write to a
// PostgreSQL database, which is what replicas share. [Store.Active] names everything in force, and
// [Store.Snapshot] is all of it, consistently. Every change goes through
// [Store.Change], which writes the audit log and raises active in the same
// transaction. [Store.Record] keeps a verdict, [Store.Verdicts] lists them, and
// [Store.Prune] removes old ones. [Store.Backup] and [Restore] carry all of it
// from one database to another of either kind.
//
// What a store promises is in the contract suite of package storetest, which both
// databases pass. Statements are written once, with ? for arguments; the few
// places where the databases differ ask their dialect.
package store
