package main

import (
	"context"
	"strings"
	"testing"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// namedImages parses "host/path" and nothing else.
type namedImages struct{}

func (namedImages) Parse(image string) (engine.Asked, error) {
	host, path, _ := strings.Cut(image, "/")
	return engine.Asked{Registry: host, Repository: path}, nil
}

func (namedImages) Resolve(context.Context, evidence.Query) (facts.Subject, error) {
	panic("nobody is asked")
}

func (namedImages) Collect(context.Context, facts.Subject, evidence.Query) (evidence.Found, error) {
	panic("nobody is asked")
}

// The document that a person is shown is that of a policy which speaks of the
// image, and which blocks it, where there is one.
func TestPolicyThatSpeaks(t *testing.T) {
	about := func(name string, mode verdict.Mode, prefix string) engine.Policy {
		return engine.Policy{Name: name, Mode: mode, Applies: func(image string) bool { return strings.HasPrefix(image, prefix) }}
	}
	s := session{images: namedImages{}, state: &engine.State{Policies: []engine.Policy{
		about("a-other", verdict.Enforce, "other.test/"), about("b-audit", verdict.Audit, "ghcr.io/"), about("c-strict", verdict.Enforce, "ghcr.io/acme/"),
	}}}
	for image, want := range map[string]string{
		"ghcr.io/acme/app": "c-strict",
		"ghcr.io/web/app":  "b-audit",
		"other.test/app":   "a-other",
		"nobody.test/app":  "a-other",
	} {
		p, err := s.speaks(image)
		if err != nil || p.Name != want {
			t.Errorf("%s: policy %s, %v; want %s", image, p.Name, err, want)
		}
	}
}
