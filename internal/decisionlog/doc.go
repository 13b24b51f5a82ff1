// Package decisionlog writes down every verdict that was given, in the format of
// OPA's decision log, so that what reads OPA's reads ours: as lines of JSON in a
// file, and as gzipped arrays of events sent to an HTTP endpoint.
//
// Begin with [New]. [Log.Decided] takes a verdict and never waits: what comes
// faster than it can be written is dropped, oldest first, and counted. The
// names of fields are those of OPA's EventV1, see
// https://www.openpolicyagent.org/docs/management-decision-logs.
package decisionlog
