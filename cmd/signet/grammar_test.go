package main

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

// A part of the command line reads the same as the whole of it.
func TestGrammarOfOneCommand(t *testing.T) {
	help := func(of any, args ...string) (text string, err error) {
		var out bytes.Buffer
		parser, err := kong.New(of, kong.Name("signet"), kong.Writers(&out, &out), kong.Exit(func(int) {}))
		if err != nil {
			t.Fatal(err)
		}
		_, err = parser.Parse(args)
		return out.String(), err
	}
	all := reflect.TypeFor[commands]()
	for i := range all.NumField() {
		name := strings.ToLower(all.Field(i).Name)
		for _, args := range [][]string{{name, "--help"}, {name, "--no-such-flag"}, {name}} {
			part := grammar(args)
			if n := reflect.TypeOf(part).Elem().NumField(); n != 1 {
				t.Errorf("%s: %d commands were read, not one", name, n)
			}
			want, wantErr := help(&commands{}, args...)
			got, gotErr := help(part, args...)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%v (-whole +part):\n%s", args, diff)
			}
			if (wantErr == nil) != (gotErr == nil) || wantErr != nil && wantErr.Error() != gotErr.Error() {
				t.Errorf("%v: %v, in the whole %v", args, gotErr, wantErr)
			}
		}
	}
	for _, args := range [][]string{nil, {"--help"}, {"verfy"}, {"Verify"}, {""}} {
		if _, whole := grammar(args).(*commands); !whole {
			t.Errorf("%q: not the whole command line", args)
		}
	}
}
