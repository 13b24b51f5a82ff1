// Package preview says which answers of the past would be different under other
// policies, signers or trust roots, or at a later time: [Run]. It asks no registry:
// what was kept with each verdict is decided again by [engine.Engine.Replay]. Where
// that cannot tell, it says so, by reason, and never that nothing would change.
package preview
