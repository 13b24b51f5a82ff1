package builders

import (
	"errors"
	"strings"
	"testing"
)

func TestTrustedBuilder(t *testing.T) {
	const container = gen + "generator_container_slsa3.yml"
	const repository = "https://github.com/slsa-framework/slsa-github-generator"
	for _, tt := range []struct {
		trusted, version string
		commits          []string
		builder          string
		own, want        bool
	}{
		{trusted: repository, builder: container + "@refs/tags/v2.1.0", want: true},
		{trusted: "git+" + repository + ".git", builder: container + "@refs/tags/v2.1.0", want: true},
		{trusted: "github.com/slsa-framework/slsa-github-generator", builder: container + "@refs/tags/v2.1.0", want: true},
		{trusted: strings.Replace(repository, "g", "G", 1) + "/", builder: container + "@refs/tags/v2.1.0", want: true},
		{trusted: container, builder: container + "@refs/tags/v2.1.0", want: true},
		{trusted: container, builder: container + "@" + head, want: true},
		{trusted: container + "@refs/tags/v2.1.0", builder: container + "@refs/tags/v2.1.0", want: true},
		{trusted: container + "@" + head, builder: container + "@" + head, want: true},
		{trusted: container + "@refs/heads/main", builder: container + "@refs/heads/main", want: true}, // whoever writes a branch means it
		{trusted: "https://tekton.dev/chains/v2", builder: "https://tekton.dev/chains/v2", want: true},
		{trusted: source, builder: own, own: true, want: true},
		{trusted: "https://gitlab.com/acme/sub/app", builder: "https://gitlab.com/acme/sub/app//.gitlab-ci.yml@refs/heads/main", own: true, want: true},

		// Threat 12: names that look alike.
		{trusted: repository, builder: strings.Replace(container, "slsa-github-generator", "slsa-github-generator-evil", 1) + "@refs/tags/v2.1.0"},
		{trusted: repository, builder: strings.Replace(container, "github.com", "Agithub.com", 1) + "@refs/tags/v2.1.0"},
		{trusted: repository, builder: strings.Replace(container, "github.com", "github.com.evil.test", 1) + "@refs/tags/v2.1.0"},
		{trusted: repository, builder: strings.Replace(container, "slsa-framework", "SLSA-Framework", 1) + "@refs/tags/v2.1.0"},
		{trusted: repository, builder: strings.Replace(container, "slsa-framework", "Aslsa-framework", 1) + "@refs/tags/v2.1.0"},
		{trusted: container, builder: container + "l@refs/tags/v2.1.0"},
		{trusted: container, builder: gen + "generator_generic_slsa3.yml@refs/tags/v2.1.0"},
		{trusted: "https://github.com/slsa-framework", builder: container + "@refs/tags/v2.1.0"},
		{trusted: source, builder: "https://github.com/evil/acme/app/.github/workflows/x.yml@refs/tags/v1"},
		{trusted: source, builder: "https://evil.test@github.com/acme/app/.github/workflows/x.yml@refs/tags/v1"},
		{trusted: source, builder: "https://github.com/acme/app/../evil/.github/workflows/x.yml@refs/tags/v1"},
		{trusted: source, builder: ""},
		{trusted: "https://tekton.dev/chains/v2", builder: "https://tekton.dev/chains/v2/evil"},

		// Threat 19: branches move.
		{trusted: container, builder: container + "@refs/heads/main"},
		{trusted: container, builder: container + "@main"},
		{trusted: container, builder: container + "@" + head[:7]},
		{trusted: container + "@refs/tags/v2.1.0", builder: container + "@refs/heads/v2.1.0"},
		{trusted: container + "@refs/tags/v2.1.0", builder: container + "@refs/tags/v2.1.0-evil"},

		{trusted: repository, version: ">=2.0.0", builder: container + "@refs/tags/v2.1.0", want: true},
		{trusted: repository, version: ">=2.0.0", builder: container + "@refs/tags/2.1.0", want: true},
		{trusted: repository, version: ">=2.0.0, <3.0.0", builder: container + "@refs/tags/v2.10.0", want: true},
		{trusted: repository, version: "=v2.1.0", builder: container + "@refs/tags/v2.1.0+build", want: true},
		{trusted: repository, version: ">=2.0.0,<3.0.0", builder: container + "@refs/tags/v3.0.0"},
		{trusted: repository, version: ">2.0.0", builder: container + "@refs/tags/v2.0.0"},
		{trusted: repository, version: "<=2.0.0", builder: container + "@refs/tags/v2.0.1"},
		{trusted: repository, version: ">=2.0.0", builder: container + "@refs/tags/v1.9.9"},
		{trusted: repository, version: ">=2.0.0", builder: container + "@refs/tags/v2.0.0-rc.0"},
		{trusted: repository, version: ">=2.0.0", builder: container + "@refs/tags/v2"}, // such a tag moves
		{trusted: repository, version: ">=2.0.0", builder: container + "@refs/tags/latest"},
		{trusted: repository, version: ">=2.0.0", builder: container + "@refs/heads/v2.1.0"},
		{trusted: repository, version: ">=2.0.0", builder: container + "@refs/heads/x@refs/tags/v2.1.0"},
		{trusted: repository, version: ">=2.0.0", builder: container + "@refs/tags/v2.1.0@refs/heads/main"},
		{trusted: repository, version: ">=2.0.0", builder: container + "@" + head},
		{trusted: repository, version: ">=2.0.0", commits: []string{head}, builder: container + "@" + head, want: true},
		{trusted: repository, version: ">=2.0.0", commits: []string{head}, builder: container + "@" + other},
		{trusted: repository, version: ">=2.0.0", builder: container},
		{trusted: repository, commits: []string{head}, builder: container + "@refs/tags/v2.1.0"},
		{trusted: source, version: ">=1.0.0", builder: own, own: true},
	} {
		b, err := NewTrustedBuilder(tt.trusted, tt.version, tt.commits)
		if err != nil {
			t.Fatal(err)
		}
		got, why := b.Match(Result{Builder: tt.builder, Reusable: !tt.own})
		if got != tt.want || got == (why != "") {
			t.Errorf("%s %s %v matches %s: %v (%s)", tt.trusted, tt.version, tt.commits, tt.builder, got, why)
		}
	}
	if ok, why := (TrustedBuilder{}).Match(Result{Builder: own}); ok || why == "" {
		t.Error("the zero value matches")
	}
}

func TestTrustedBuilderRefuses(t *testing.T) {
	for _, tt := range []struct {
		builder, version string
		commits          []string
	}{
		{builder: ""}, {builder: "https://github.com"}, {builder: "https:///acme/app"}, {builder: "https://github.com//acme"}, {builder: "https://github.com/acme/../app"},
		{builder: "https://u:p@github.com/acme/app"}, {builder: "https://github.com/acme/app?x"}, {builder: "https://github.com/acme/ app"},
		{builder: source + "@"}, {builder: source + "@v2.1.0"}, {builder: source + "@main"}, {builder: source + "@" + head[:12]}, {builder: source + "@refs/tags/"},
		{builder: source + "@refs/tags/v1", version: ">=1.0.0"}, {builder: source + "@refs/tags/v1", commits: []string{head}},
		{builder: source, version: "2.0.0"}, {builder: source, version: ">=2"}, {builder: source, version: ">=2.0"}, {builder: source, version: "~2.0.0"}, {builder: source, version: ">=2.0.0,"},
		{builder: source, version: ">=2.0.0 <3.0.0"}, {builder: source, version: ">=x"},
		{builder: source, commits: []string{"abc"}}, {builder: source, commits: []string{strings.ToUpper(head)}},
	} {
		if b, err := NewTrustedBuilder(tt.builder, tt.version, tt.commits); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %+v, %v", tt, b, err)
		}
	}
}

func TestTrustedSource(t *testing.T) {
	list := func(s ...string) []string { return s }
	for _, tt := range []struct {
		trusted              string
		refs, tags, branches []string
		repository, ref, uri string
		want                 bool
	}{
		{trusted: source, repository: source, uri: source, want: true},
		{trusted: "git+" + source + ".git", repository: source, uri: source + ".git", want: true},
		{trusted: "GITHUB.com/acme/app", repository: source, uri: "git+" + source, want: true},
		{trusted: "https://github.com/acme", repository: source, uri: source, want: true}, // the owner: all below it
		{trusted: "https://github.com/slsa-framework/example-package", repository: "https://github.com/slsa-framework/example-packageA", uri: "https://github.com/slsa-framework/example-packageA"},
		{trusted: "https://github.com/slsa-framework/example-packageA", repository: "https://github.com/slsa-framework/example-package", uri: "https://github.com/slsa-framework/example-package"},
		{trusted: source, repository: "https://Agithub.com/acme/app", uri: "https://Agithub.com/acme/app"},
		{trusted: source, repository: "https://github.com/Aacme/app", uri: "https://github.com/Aacme/app"},
		{trusted: source, repository: "https://github.com/Acme/app", uri: "https://github.com/Acme/app"},
		{trusted: "https://github.com/acm", repository: source, uri: source},
		{trusted: source, repository: "", uri: source},
		{trusted: source, repository: source, uri: ""},
		{trusted: source, repository: source, uri: source + "2"},
		{trusted: source, repository: "https://github.com/evil/app", uri: source},

		{trusted: source, repository: source, uri: source, ref: "refs/pull/3/merge"},
		{trusted: source, repository: source, uri: source, ref: "refs/merge-requests/3/head"},
		{trusted: source, refs: list("refs/pull/**"), repository: source, uri: source, ref: "refs/pull/3/merge", want: true},
		{trusted: source, branches: list("main"), repository: source, uri: source, ref: "refs/heads/main", want: true},
		{trusted: source, branches: list("release/*"), repository: source, uri: source, ref: "refs/heads/release/v1", want: true},
		{trusted: source, branches: list("release/**"), repository: source, uri: source, ref: "refs/heads/release/v1/x", want: true},
		{trusted: source, tags: list("v1.*"), repository: source, uri: source, ref: "refs/tags/v1.2.3", want: true},
		{trusted: source, refs: list("refs/tags/v*"), branches: list("main"), repository: source, uri: source, ref: "refs/heads/main", want: true},
		{trusted: source, branches: list("a@b"), repository: source, uri: source, ref: "refs/heads/a@b", want: true},
		{trusted: source, branches: list("release/*"), repository: source, uri: source, ref: "refs/heads/release/v1/x"},
		{trusted: source, branches: list("main"), repository: source, uri: source, ref: "refs/heads/mainA"},
		{trusted: source, branches: list("main"), repository: source, uri: source, ref: "refs/tags/main"},
		{trusted: source, tags: list("v*"), repository: source, uri: source, ref: "refs/heads/v2.1.0"},
		{trusted: source, tags: list("v1.2"), repository: source, uri: source, ref: "refs/tags/v1x2"},
		{trusted: source, tags: list("*"), repository: source, uri: source, ref: ""},
		{trusted: source, branches: list("**"), repository: source, uri: source, ref: "refs/pull/3/merge"},
	} {
		s, err := NewTrustedSource(tt.trusted, tt.refs, tt.tags, tt.branches)
		if err != nil {
			t.Fatal(err)
		}
		got, why := s.Match(Result{Source: Source{Repository: tt.repository, Ref: tt.ref}}, tt.uri)
		if got != tt.want || got == (why != "") {
			t.Errorf("%+v: %v (%s)", tt, got, why)
		}
	}
	if ok, why := (TrustedSource{}).Match(Result{Source: Source{Repository: source}}, source); ok || why == "" {
		t.Error("the zero value matches")
	}
	for _, bad := range []func() error{
		func() error { _, err := NewTrustedSource("https://github.com", nil, nil, nil); return err },
		func() error { _, err := NewTrustedSource(source+"@refs/heads/main", nil, nil, nil); return err },
		func() error { _, err := NewTrustedSource(source, list("main"), nil, nil); return err },
		func() error { _, err := NewTrustedSource(source, nil, list(""), nil); return err },
	} {
		if err := bad(); !errors.Is(err, ErrInvalid) {
			t.Error(err)
		}
	}
}
