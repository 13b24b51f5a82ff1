package main

import (
	"errors"
	"testing"

	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/workbench"
)

// What the workbench refuses are errors that the API knows, with the same words.
func TestWorkbenchErrors(t *testing.T) {
	b := newWorkbench(config.File{})
	files, err := b.Begin()
	if err != nil {
		t.Fatal(err)
	}
	files["signing/rules/broken.rego"] = "package signing.rules.broken\n\nx if {"
	_, _, unpacked := b.Unpack([]byte("no archive"), "")
	_, evaluated := b.Evaluate(t.Context(), files, "", []byte("{"))
	_, built := b.Build(t.Context(), files, 1, "")
	for name, tt := range map[string]struct{ err, is, as error }{
		"a name":        {b.Valid(map[string]string{"../x": ""}), workbench.ErrFiles, api.ErrFiles},
		"an archive":    {unpacked, workbench.ErrFiles, api.ErrFiles},
		"an input":      {evaluated, workbench.ErrInput, api.ErrInput},
		"what is unfit": {built, workbench.ErrUnfit, api.ErrUnfit},
	} {
		if !errors.Is(tt.err, tt.as) || tt.err.Error() == "" || tt.as.Error() != tt.is.Error() {
			t.Errorf("%s: %v", name, tt.err)
		}
	}
	if _, err := b.Test(t.Context(), files); err != nil {
		t.Errorf("tests that cannot be run are an answer: %v", err)
	}
	if _, err := b.Source(files); err != nil {
		t.Errorf("the folder of a bundle that is not right yet: %v", err)
	}
}
