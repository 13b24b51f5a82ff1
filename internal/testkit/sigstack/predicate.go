package sigstack

import "time"

// Provenance describes a build for [Provenance.V1] and [Provenance.V02]. Empty
// fields take the values of a GitHub Actions build of acme/app.
type Provenance struct {
	BuilderID    string // who built
	BuildType    string
	SourceURI    string // "git+https://…@ref"
	SourceCommit string
	InvocationID string
	Parameters   map[string]any
	Started      time.Time
}

func (p *Provenance) defaults() {
	or := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	or(&p.BuilderID, "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main")
	or(&p.BuildType, "https://actions.github.io/buildtypes/workflow/v1")
	or(&p.SourceURI, "git+https://github.com/acme/app@refs/heads/main")
	or(&p.SourceCommit, "3b1f8a6e5d4c2b1a09f8e7d6c5b4a39281706f5e")
	or(&p.InvocationID, "https://github.com/acme/app/actions/runs/7000007/attempts/1")
	if p.Parameters == nil {
		p.Parameters = map[string]any{"workflow": map[string]any{
			"path": ".github/workflows/release.yml", "ref": "refs/heads/main", "repository": "https://github.com/acme/app",
		}}
	}
	if p.Started.IsZero() {
		p.Started = time.Date(2025, 6, 2, 9, 55, 0, 0, time.UTC)
	}
}

// V1 is the predicate of https://slsa.dev/provenance/v1.
func (p Provenance) V1() map[string]any {
	p.defaults()
	return map[string]any{
		"buildDefinition": map[string]any{
			"buildType":          p.BuildType,
			"externalParameters": p.Parameters,
			"internalParameters": map[string]any{"github": map[string]any{"event_name": "push", "runner_environment": "github-hosted"}},
			"resolvedDependencies": []any{
				map[string]any{"uri": p.SourceURI, "digest": map[string]any{"gitCommit": p.SourceCommit}},
			},
		},
		"runDetails": map[string]any{
			"builder": map[string]any{"id": p.BuilderID},
			"metadata": map[string]any{
				"invocationId": p.InvocationID,
				"startedOn":    p.Started.Format(time.RFC3339),
				"finishedOn":   p.Started.Add(4 * time.Minute).Format(time.RFC3339),
			},
		},
	}
}

// V02 is the predicate of https://slsa.dev/provenance/v0.2.
func (p Provenance) V02() map[string]any {
	p.defaults()
	digest := map[string]any{"sha1": p.SourceCommit}
	return map[string]any{
		"builder":   map[string]any{"id": p.BuilderID},
		"buildType": p.BuildType,
		"invocation": map[string]any{
			"configSource": map[string]any{"uri": p.SourceURI, "digest": digest, "entryPoint": ".github/workflows/release.yml"},
			"parameters":   p.Parameters,
		},
		"metadata": map[string]any{
			"buildInvocationId": p.InvocationID,
			"buildStartedOn":    p.Started.Format(time.RFC3339),
			"buildFinishedOn":   p.Started.Add(4 * time.Minute).Format(time.RFC3339),
		},
		"materials": []any{map[string]any{"uri": p.SourceURI, "digest": digest}},
	}
}
