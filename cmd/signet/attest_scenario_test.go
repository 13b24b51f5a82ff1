package main

import (
	"encoding/json"
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

// attest [-o FILE] REPO WHO TYPE PREDICATE: attests the predicate in a file to the
// image of REPO, as WHO (an address that https://accounts.example.test vouches for),
// and puts it beside the image, or as a bundle into a file. The image is made where
// there is none; root.json is the trust root.
func cmdAttest(ts *testscript.TestScript, neg bool, args []string) {
	out := ""
	if len(args) > 1 && args[0] == "-o" {
		out, args = args[1], args[2:]
	}
	if neg || len(args) != 4 {
		ts.Fatalf("usage: attest [-o FILE] REPO WHO TYPE PREDICATE")
	}
	stack, err := sigstack.New(sigstack.Options{Seed: "builds of scenarios"})
	ts.Check(err)
	root, err := stack.TrustedRootJSON()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("root.json"), root, 0o600))
	image := ocitest.Image(ocitest.ImageOptions{Content: args[0]})
	server := server4(ts)
	server.Push(args[0], "v1", image)
	ev, err := stack.Sign(sigstack.SignRequest{
		Statement: &sigstack.Statement{
			Subjects: []sigstack.Subject{sigstack.SubjectOf("app", image.Digest())}, PredicateType: args[2], Predicate: json.RawMessage(ts.ReadFile(args[3])),
		},
		Identity: sigstack.Email("https://accounts.example.test", args[1]), Log: sigstack.RekorV1(),
	})
	ts.Check(err)
	if out == "" {
		server.Attach(args[0], image, ev)
		return
	}
	bundle, err := ev.Bundle(sigstack.V03)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(out), bundle, 0o600))
}
