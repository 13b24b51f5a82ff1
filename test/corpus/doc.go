// Package corpus takes every signed artefact that we have, from a registry to
// the facts and to a verdict, and compares with what its makers say of it: the
// samples in test/testdata, always, and the corpus of artefacts signed on public
// Sigstore instances where SIGNET_CORPUS says where it is.
//
// Facts and verdicts are kept as golden files in testdata; see the changes with
// git diff after
//
//	go test ./test/corpus -update
//
// Where Signet answers otherwise than the makers' own tools, on purpose, the
// difference stands in differences_test.go with its reason.
package corpus
