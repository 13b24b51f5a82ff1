package main

import (
	"os"
	"slices"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

// build REPO [self-hosted | lying | unattested]: pushes an image REPO:v1 with
// provenance such as GitHub's attestations have, of acme/app built by its own
// workflow, and writes the trust root of who issued the certificate, root.json.
func cmdBuild(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: build REPO [self-hosted | lying | unattested]")
	}
	how := args[1:]
	stack, err := sigstack.New(sigstack.Options{Seed: "builds of scenarios"})
	ts.Check(err)
	root, err := stack.TrustedRootJSON()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("root.json"), root, 0o600))
	server := server4(ts)
	image := ocitest.Image(ocitest.ImageOptions{Content: args[0]})
	server.Push(args[0], "v1", image)
	workflow, predicate := sigstack.Workflow{}, sigstack.Provenance{}
	switch {
	case slices.Contains(how, "unattested"):
		return
	case slices.Contains(how, "self-hosted"):
		workflow.Runner = "self-hosted"
	case slices.Contains(how, "lying"):
		workflow.Repository = "evil/app"
	case len(how) > 0:
		ts.Fatalf("build: %s is no way to build", how[0])
	}
	ev, err := stack.Sign(sigstack.SignRequest{
		Statement: &sigstack.Statement{
			Subjects: []sigstack.Subject{sigstack.SubjectOf("app", image.Digest())}, PredicateType: sigstack.PredicateSLSA1, Predicate: predicate.V1(),
		},
		Identity: workflow.Identity(), Log: sigstack.RekorV1(),
	})
	ts.Check(err)
	server.Attach(args[0], image, ev)
}
