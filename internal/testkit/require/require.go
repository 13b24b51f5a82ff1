// Package require is how a test says that it needs something that not every machine has: the corpus, the actionlint, cosign,
// opa or regal program, PostgreSQL, Redis, Chromium, Node.js, Python.
//
//	dir := require.Corpus(t) // skips the test where there is no corpus
//
// A part that is not there skips the test with the reason `needs corpus: …`, which `make test` lists at its end. Where
// SIGNET_REQUIRE names the part (as `.ci/run` does), or where the variable that says where it is holds something wrong, the test
// fails instead. A test that needs none of these has no reason to skip.
package require

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
)

// Corpus returns the folder with the corpus of real signed artefacts: the absolute path in SIGNET_CORPUS.
func Corpus(t testing.TB) string { t.Helper(); return get(t, partCorpus) }

// Cosign returns the path of the cosign program: SIGNET_COSIGN, or the one that tools/build.sh built.
func Cosign(t testing.TB) string { t.Helper(); return get(t, partCosign) }

// Actionlint returns the path of the actionlint program: SIGNET_ACTIONLINT, or the one that tools/build.sh built.
func Actionlint(t testing.TB) string { t.Helper(); return get(t, partActionlint) }

// Node returns the path of Node.js; npm is beside it in PATH.
func Node(t testing.TB) string { t.Helper(); return get(t, partNode) }

// OPA returns the path of the opa program: SIGNET_OPA, or the one that tools/build.sh built.
func OPA(t testing.TB) string { t.Helper(); return get(t, partOPA) }

// Postgres returns the URL in SIGNET_TEST_POSTGRES. The test creates a database of its own there, drops it, and touches nothing else.
func Postgres(t testing.TB) string { t.Helper(); return get(t, partPostgres) }

// Python returns the path of python3. Tests use its standard library alone.
func Python(t testing.TB) string { t.Helper(); return get(t, partPython) }

// Redis returns the URL in SIGNET_TEST_REDIS. The test writes under a prefix of its own, removes it, and touches nothing else.
func Redis(t testing.TB) string { t.Helper(); return get(t, partRedis) }

// Regal returns the path of the regal program: SIGNET_REGAL, or the one that tools/build.sh built.
func Regal(t testing.TB) string { t.Helper(); return get(t, partRegal) }

// SLSAVerifier returns the path of the slsa-verifier program: SIGNET_SLSA_VERIFIER, or the one that tools/build.sh built.
func SLSAVerifier(t testing.TB) string { t.Helper(); return get(t, partSLSA) }

// Chromium returns the path of the browser: SIGNET_CHROMIUM, or the one in PATH.
func Chromium(t testing.TB) string { t.Helper(); return get(t, partChromium) }

// Find returns where the named part is, outside of a test; ok is false where this machine has none. The error says that the
// part is set and wrong, or that there is no part of that name.
func Find(name string) (where string, ok bool, err error) {
	for _, p := range parts() {
		if p.name != name {
			continue
		}
		where, err := p.find()
		if errors.Is(err, errAbsent) {
			return "", false, nil
		}
		return where, err == nil, err
	}
	return "", false, fmt.Errorf("there is no part %q", name)
}

func get(t testing.TB, name string) string {
	t.Helper()
	required, err := Parse(os.Getenv(Variable))
	if err != nil {
		t.Fatal(err)
	}
	where, ok, err := Find(name)
	switch {
	case err != nil:
		t.Fatal(err)
	case !ok && slices.Contains(required, name):
		t.Fatalf("%s (%s names it, so it may not be skipped)", SkipReason(name), Variable)
	case !ok:
		t.Skip(SkipReason(name))
	}
	t.Attr(Attribute, name)
	return where
}
