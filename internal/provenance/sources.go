package provenance

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/signet-policy/signet/internal/facts"
)

// Build types, and where each says what was built. A type that is not here gives
// what its version says for all: v0.1 the material of the recipe, v0.2
// invocation.configSource, v1 nothing (which dependency is the source is for the
// build type to say).
const (
	// GitHub's own attestations, and npm's of provenance v1:
	// externalParameters.workflow{repository, ref, path}; the commit is the
	// resolved dependency that names the same repository and ref
	// (https://actions.github.io/buildtypes/workflow/v1).
	typeGitHubWorkflow     = "https://actions.github.io/buildtypes/workflow/v1"
	typeSLSAGitHubWorkflow = "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1"

	// The container-based builder of slsa-github-generator:
	// externalParameters.source{uri, digest} (https://slsa.dev/container-based-build/v0.1).
	typeContainerBased = "https://slsa.dev/container-based-build/v0.1?draft"

	// Delegators of slsa-github-generator (BYOB): the first resolved dependency is
	// the source, as slsa-verifier takes it.
	typeDelegator = "https://github.com/slsa-framework/slsa-github-generator/delegator-"

	// Tekton Chains: configSource and buildConfigSource name the pipeline's own
	// definition, not what it builds. The source is the one Git repository among
	// the inputs: materials (v0.2), resolvedDependencies "inputs/result" (v1)
	// (https://tekton.dev/docs/chains/slsa-provenance/).
	typeTekton   = "tekton.dev/"
	typeTektonV1 = "https://tekton.dev/chains/v2/slsa"

	// BuildKit: configSource{uri, digest}, whose uri is a Git address with
	// "#ref:folder" (https://docs.docker.com/build/metadata/attestations/slsa-definitions/).
	typeBuildKit   = "https://mobyproject.org/buildkit@v1"
	typeBuildKitV1 = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"

	// Cloud Build with a trigger: externalParameters.buildConfigSource{repository, ref, path}
	// (https://cloud.google.com/build/docs/securing-builds/slsa-build-types).
	typeCloudBuild = "https://cloud.google.com/build/gcb-buildtypes/google-worker/v1"

	// GitLab's runner: externalParameters.source is the project's address; the
	// commit is the resolved dependency of that address
	// (https://gitlab.com/gitlab-org/gitlab-runner/-/blob/main/PROVENANCE.md).
	typeGitLab = "https://gitlab.com/gitlab-org/gitlab-runner/-/blob/"
)

func isTekton(buildType string) bool {
	return strings.HasPrefix(buildType, typeTekton) || buildType == typeTektonV1 || buildType == typeTektonV1+"-tekton" ||
		strings.HasPrefix(buildType, "https://tekton.dev/")
}

func sourceV01(buildType string, recipe *int, materials []resource) facts.Source {
	switch {
	case isTekton(buildType):
		return onlyGit(materials, "")
	case recipe != nil && 0 <= *recipe && *recipe < len(materials):
		return located(materials[*recipe])
	}
	return facts.Source{}
}

func sourceV02(buildType string, config resource, materials []resource) facts.Source {
	switch {
	case isTekton(buildType):
		return onlyGit(materials, "")
	case buildType == typeBuildKit:
		return fragment(config)
	}
	return located(config)
}

func sourceV1(buildType string, parameters json.RawMessage, deps []resource) (facts.Source, error) {
	type config struct {
		Repository string `json:"repository"`
		Ref        string `json:"ref"`
	}
	read := func(v any) error {
		if len(parameters) == 0 {
			return nil
		}
		if err := decode(parameters, v); err != nil {
			return fmt.Errorf("reading buildDefinition.externalParameters of the build type %s: %w", buildType, err)
		}
		return nil
	}
	named := func(c config) facts.Source {
		s := facts.Source{URI: strings.TrimPrefix(c.Repository, "git+"), Ref: c.Ref}
		for _, d := range deps {
			l := located(d)
			if s.URI != "" && withoutGit(l.URI) == withoutGit(s.URI) && (l.Ref == "" || l.Ref == s.Ref) {
				s.Digest = l.Digest
				break
			}
		}
		return s
	}
	switch {
	case buildType == typeGitHubWorkflow, buildType == typeSLSAGitHubWorkflow:
		var d struct {
			Workflow config `json:"workflow"`
		}
		err := read(&d)
		return named(d.Workflow), err
	case buildType == typeContainerBased:
		var d struct {
			Source resource `json:"source"`
		}
		err := read(&d)
		return located(d.Source), err
	case strings.HasPrefix(buildType, typeDelegator) && len(deps) > 0:
		return located(deps[0]), nil
	case isTekton(buildType):
		return onlyGit(deps, "inputs/result"), nil
	case buildType == typeBuildKitV1:
		var d struct {
			ConfigSource resource `json:"configSource"`
		}
		err := read(&d)
		return fragment(d.ConfigSource), err
	case buildType == typeCloudBuild:
		var d struct {
			BuildConfigSource config `json:"buildConfigSource"`
		}
		err := read(&d)
		return named(d.BuildConfigSource), err
	case strings.HasPrefix(buildType, typeGitLab):
		var d struct {
			Source string `json:"source"`
		}
		err := read(&d)
		return named(config{Repository: d.Source}), err
	}
	return facts.Source{}, nil
}

func withoutGit(address string) string { return strings.TrimSuffix(address, ".git") }

// located takes an SPDX download location apart, "git+<address>@<ref>"
// (https://spdx.github.io/spdx-spec/v2.3/package-information/#77-package-download-location-field).
// Any other address stays as it is.
func located(r resource) facts.Source {
	s := facts.Source{URI: r.URI, Digest: r.Digest}
	address, ok := strings.CutPrefix(r.URI, "git+")
	if !ok {
		return s
	}
	s.URI = address
	// An "@" before the path is a user name.
	start := 0
	if i := strings.Index(address, "://"); i >= 0 {
		start = i + len("://")
	}
	slash := strings.IndexByte(address[start:], '/')
	if slash < 0 {
		return s
	}
	if at := strings.IndexByte(address[start+slash:], '@'); at >= 0 {
		at += start + slash
		s.URI, s.Ref = address[:at], address[at+1:]
	}
	return s
}

// fragment takes a build context apart, "<address>#<ref>:<folder>"
// (https://docs.docker.com/build/concepts/context/#url-fragments).
func fragment(r resource) facts.Source {
	address, rest, _ := strings.Cut(r.URI, "#")
	ref, _, _ := strings.Cut(rest, ":")
	return facts.Source{URI: strings.TrimPrefix(address, "git+"), Ref: ref, Digest: r.Digest}
}

// onlyGit gives the one Git repository among the resources of that name; with
// several, or none, the build does not say which is its source.
func onlyGit(all []resource, name string) facts.Source {
	var found []resource
	for _, r := range all {
		if strings.HasPrefix(r.URI, "git+") && r.Name == name {
			found = append(found, r)
		}
	}
	if len(found) != 1 {
		return facts.Source{}
	}
	return located(found[0])
}
