package main

import (
	"context"
	"fmt"

	"github.com/signet-policy/signet/internal/cosign"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/pluginfile"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/signingpolicy"
)

// secondOpinions has the cosign command line look at what plugins ask for whose file
// names it.
type secondOpinions struct {
	byPlugin map[string]secondOpinion
}

type secondOpinion struct {
	policy  string
	program *cosign.CLI
}

// newSecondOpinions checks the programs that the plugin file names; nil where it
// names none.
func newSecondOpinions(list pluginfile.File, client *registry.Client) (*secondOpinions, error) {
	out := &secondOpinions{byPlugin: map[string]secondOpinion{}}
	for _, p := range list.Plugins {
		if p.Cosign.Path == "" || p.Policy == nil {
			continue
		}
		program, err := cosign.New(cosign.Config{Path: p.Cosign.Path, Timeout: p.Cosign.Timeout, Manifest: client.Manifest})
		if err != nil {
			return nil, usage("plugin %s: %w", p.Name, err)
		}
		out.byPlugin[p.Name] = secondOpinion{p.Policy.Name, program}
	}
	if len(out.byPlugin) == 0 {
		return nil, nil //nolint:nilnil // there are none
	}
	return out, nil
}

// settings tells servers apart whose answers rest on other programs.
func (o *secondOpinions) settings(configured string) (string, error) {
	if o == nil {
		return configured, nil
	}
	programs := map[string]string{}
	for name, s := range o.byPlugin {
		programs[name] = s.program.Digest()
	}
	body, err := facts.Canonical(map[string]any{"settings": configured, "second_opinions": programs})
	if err != nil {
		return "", fmt.Errorf("naming the settings: %w", err)
	}
	return facts.Digest(body), nil
}

// Wanted names the policy of the plugin that a question comes from.
func (o *secondOpinions) Wanted(context map[string]string) string {
	return o.byPlugin[context[signingpolicy.ContextPlugin]].policy
}

// Verify asks the program of the plugin whose policy it is.
func (o *secondOpinions) Verify(ctx context.Context, q engine.SecondQuestion) ([]engine.SecondAnswer, error) {
	for _, s := range o.byPlugin {
		if s.policy != q.Policy {
			continue
		}
		in := cosign.Question{Image: q.Image, Digests: q.Digests, Items: q.Items, Signers: q.Signers, KeysWithoutLog: q.KeysWithoutLog}
		for _, r := range q.Roots {
			in.Roots = append(in.Roots, cosign.Root{Name: r.Name, Body: r.Body, SCT: r.SCT, Log: r.Log, Timestamp: r.Timestamp})
		}
		got, err := s.program.Verify(ctx, in)
		if err != nil {
			return nil, err
		}
		answers := make([]engine.SecondAnswer, len(got))
		for i, a := range got {
			answers[i] = engine.SecondAnswer{Signer: q.Signers[i].Name, Narrow: q.Signers[i].Narrow, Verified: a.Verified, Output: a.Output}
		}
		return answers, nil
	}
	return nil, fmt.Errorf("no program is named for policy %s", q.Policy)
}
