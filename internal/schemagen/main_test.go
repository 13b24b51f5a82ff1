package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/rego"
)

func TestCommittedSchemaIsCurrent(t *testing.T) {
	got, err := inputSchema("../..")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(rego.InputSchema), string(got)); diff != "" {
		t.Errorf("run go generate ./rego (-committed +generated):\n%s", diff)
	}
}

// A pointer may be null, a closed list of strings is one, and descriptions come
// from the source.
func TestSchemaSaysWhatReflectionLeavesOut(t *testing.T) {
	text := strings.Join(strings.Fields(string(rego.InputSchema)), " ")
	for _, want := range []string{
		`"signed_at": { "anyOf": [ { "type": "string", "format": "date-time" }, { "type": "null" } ], "description": "SignedAt is the earliest verified time, null when no time was verified." }`,
		`"kind": { "type": "string", "enum": [ "certificate", "key" ]`,
		`"schema": { "type": "string", "enum": [ "signet/input/v1" ] }`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the schema does not have %s", want)
		}
	}
}

func TestRun(t *testing.T) {
	out := filepath.Join(t.TempDir(), "input.json")
	if err := run("../..", out); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(rego.InputSchema) {
		t.Error("another schema was written than is committed")
	}
	if err := run("../..", ""); err == nil {
		t.Error("no -out gave no error")
	}
	if err := run(t.TempDir(), out); err == nil {
		t.Error("a directory without the source gave no error")
	}
	if err := run(filepath.Join(t.TempDir(), "absent"), out); err == nil {
		t.Error("a directory that is not there gave no error")
	}
}
