// Package strictjson reads JSON from strangers so that it can mean one thing
// only: no duplicate keys, no keys that differ from a known one in case alone,
// valid UTF-8, no NUL, numbers that a machine can hold, bounded nesting, and
// nothing after the value.
//
// Use [Decode] where every field is known (files and payloads of our own
// format), [DecodeKnown] where a specification says that unknown fields are
// ignored (in-toto, OCI manifests), and [Check] in front of a parser that is
// not ours. All three look at the bytes once before encoding/json does.
//
// encoding/json alone matches keys without regard to case and lets the last
// duplicate win, so two readers of one signed document can see two statements.
package strictjson
