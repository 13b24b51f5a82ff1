// Package attacks plays the attacks that Signet must survive, from a registry or
// a caller in an attacker's hands to the verdict: real registry client, verifier,
// policy and engine, with the cache and a recorder behind them. The number of an
// attack is its threat in docs/testing.md.
//
// Each attack is played alone, where it must get the decision, the reason and
// the rejection that it deserves, and leave nothing behind; and once more beside
// a good signature, which must count as if nothing were wrong (threat 41).
package attacks
