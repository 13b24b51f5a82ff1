// Precompile writes the embedded policy as OPA's compiler leaves it, which is what a
// program starts with. Run it with "make generate" after a change of rego/ or of the
// version of OPA.
package main

import (
	"flag"
	"log"
	"os"

	"github.com/signet-policy/signet/internal/policy"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("precompile: ")
	out := flag.String("out", "", "file to write")
	flag.Parse()
	if *out == "" {
		log.Fatal("-out is missing; give the file to write")
	}
	body, err := policy.Precompile()
	if err == nil {
		err = os.WriteFile(*out, body, 0o644) //nolint:gosec // it is in every binary
	}
	if err != nil {
		log.Fatal(err)
	}
}
