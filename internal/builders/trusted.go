package builders

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/semver"
)

// TrustedBuilder is a builder that a policy trusts: a repository
// ("https://host/owner/repo"), a workflow ("…/.github/workflows/x.yml"), or one of
// them at a ref ("…@refs/tags/v2.1.0", "…@<commit>"). It matches by whole path
// segments after the scheme, "git+" and a trailing ".git" are removed; letter
// case counts but in the host.
//
// A reusable workflow at a branch matches only where "@refs/heads/…" is written:
// a branch can move. The zero value matches nothing; use [NewTrustedBuilder].
type TrustedBuilder struct {
	address     address
	comparisons []comparison
	commits     []string
}

// comparison is one of a version constraint.
type comparison struct{ operator, version string }

// NewTrustedBuilder reads a builder, a version constraint (">=2.0.0", "<3.0.0",
// joined by commas; "" for none) and the commits that count beside the versions.
// Errors wrap [ErrInvalid].
func NewTrustedBuilder(builder, version string, commits []string) (TrustedBuilder, error) {
	wrong := func(format string, args ...any) (TrustedBuilder, error) {
		return TrustedBuilder{}, fmt.Errorf("%w: trusted builder %q: %s", ErrInvalid, builder, fmt.Sprintf(format, args...))
	}
	a, ok := parseAddress(builder)
	if !ok {
		return wrong("it should be https://host/owner/repo, a workflow in it, or one of them with @ref")
	}
	if kind, _ := refKind(a.ref); a.ref != "" && kind == refOther {
		return wrong("@%s should be a full ref (@refs/tags/v2.1.0) or a commit in full", a.ref)
	}
	if a.ref != "" && (version != "" || len(commits) > 0) {
		return wrong("it has a ref; give version and commits to a builder without one")
	}
	t := TrustedBuilder{address: a, commits: commits}
	for _, c := range commits {
		if !commit.MatchString(c) {
			return wrong("commit %q should have 40 or 64 lower-case hexadecimal digits", c)
		}
	}
	if version == "" {
		return t, nil
	}
	for part := range strings.SplitSeq(version, ",") {
		c, err := parseComparison(strings.TrimSpace(part))
		if err != nil {
			return wrong("version %q: %s", version, err)
		}
		t.comparisons = append(t.comparisons, c)
	}
	return t, nil
}

var comparisonForm = regexp.MustCompile(`\A(>=|<=|>|<|=)\s*v?([0-9].*)\z`)

func parseComparison(s string) (comparison, error) {
	m := comparisonForm.FindStringSubmatch(s)
	if m == nil {
		return comparison{}, fmt.Errorf("%q should be one of >=, >, =, <, <= and a version such as 2.0.0", s)
	}
	v, ok := fullVersion(m[2])
	if !ok {
		return comparison{}, fmt.Errorf("%q is not a version in full, such as 2.0.0 (https://semver.org)", m[2])
	}
	return comparison{m[1], v}, nil
}

// fullVersion gives "vX.Y.Z…" of a tag that names a version in full. "v2" is
// none: such tags move.
func fullVersion(tag string) (string, bool) {
	v := "v" + strings.TrimPrefix(tag, "v")
	if !semver.IsValid(v) || strings.Count(strings.SplitN(v, "-", 2)[0], ".") < 2 {
		return "", false
	}
	return v, true
}

// Match says whether the builder of a result is this one, and if not, why.
func (t TrustedBuilder) Match(r Result) (bool, string) {
	if len(t.address.segments) == 0 {
		return false, "no builder is trusted"
	}
	if r.Builder == "" {
		return false, "nobody vouches for a builder"
	}
	have, ok := parseAddress(r.Builder)
	if !ok || !t.is(have) {
		return false, fmt.Sprintf("the builder %s is not %s", r.Builder, t.address)
	}
	kind, name := refKind(have.ref)
	listed := kind == refCommit && slices.Contains(t.commits, name)
	switch {
	case t.address.ref != "":
		if have.ref != t.address.ref {
			return false, fmt.Sprintf("the builder %s is not at %s", r.Builder, t.address.ref)
		}
		return true, ""
	case listed:
		return true, ""
	case len(t.comparisons) > 0:
		return t.version(r.Builder, kind, name)
	case len(t.commits) > 0:
		return false, fmt.Sprintf("the builder %s is at none of the commits that are trusted", r.Builder)
	case r.Reusable && have.ref != "" && kind != refTag && kind != refCommit:
		return false, fmt.Sprintf("the builder %s is at a %s, which can move; only a tag or a commit counts unless the branch is named", r.Builder, kind)
	}
	return true, ""
}

// is compares by whole segments: the builder itself, or for a repository the
// workflows in it.
func (t TrustedBuilder) is(have address) bool {
	return have.String() == t.address.String() || have.repository().String() == t.address.String()
}

func (t TrustedBuilder) version(builder, kind, name string) (bool, string) {
	if kind == refCommit {
		return false, fmt.Sprintf("the builder %s is at a commit that is not listed", builder)
	}
	if kind != refTag {
		return false, fmt.Sprintf("the builder %s is at no tag, so it has no version", builder)
	}
	v, ok := fullVersion(name)
	if !ok {
		return false, fmt.Sprintf("the tag %q of the builder %s is not a version in full", name, builder)
	}
	for _, c := range t.comparisons {
		order, met := semver.Compare(v, c.version), false
		switch c.operator {
		case ">=":
			met = order >= 0
		case ">":
			met = order > 0
		case "=":
			met = order == 0
		case "<":
			met = order < 0
		case "<=":
			met = order <= 0
		}
		if !met {
			return false, fmt.Sprintf("the version %s of the builder %s is not %s %s", v, builder, c.operator, c.version)
		}
	}
	return true, ""
}

// TrustedSource is a repository, or all below an owner, whose builds a policy
// trusts, and perhaps the refs. It matches as [TrustedBuilder] does. The zero
// value matches nothing; use [NewTrustedSource].
type TrustedSource struct {
	address              address
	refs, tags, branches []pattern
}

// pattern is one of refs, tags or branches: * is any characters but "/", ** any.
type pattern struct {
	text string
	re   *regexp.Regexp
}

// NewTrustedSource reads a repository and patterns of full refs, of tags and of
// branches; with any of them given, one must match. Errors wrap [ErrInvalid].
func NewTrustedSource(repository string, refs, tags, branches []string) (TrustedSource, error) {
	a, ok := parseAddress(repository)
	if !ok || a.ref != "" {
		return TrustedSource{}, fmt.Errorf("%w: trusted source %q should be https://host/owner/repo; refs have fields of their own", ErrInvalid, repository)
	}
	t := TrustedSource{address: a}
	for _, list := range []struct {
		field string
		in    []string
		out   *[]pattern
	}{{"ref", refs, &t.refs}, {"tag", tags, &t.tags}, {"branch", branches, &t.branches}} {
		for _, text := range list.in {
			p, err := newPattern(text)
			if err == nil && list.field == "ref" && !strings.HasPrefix(text, "refs/") {
				err = errors.New("it should be a full ref, refs/…")
			}
			if err != nil {
				return TrustedSource{}, fmt.Errorf("%w: trusted source %q: %s %q: %w", ErrInvalid, repository, list.field, text, err)
			}
			*list.out = append(*list.out, p)
		}
	}
	return t, nil
}

func newPattern(text string) (pattern, error) {
	if text == "" {
		return pattern{}, errors.New("it is empty")
	}
	quoted := strings.NewReplacer(`\*\*`, `.*`, `\*`, `[^/]*`).Replace(regexp.QuoteMeta(text))
	re, err := regexp.Compile(`(?s)\A(?:` + quoted + `)\z`)
	return pattern{text, re}, err
}

// Unmerged says whether a ref is that of a pull or merge request: anybody may have
// written what is there.
func Unmerged(ref string) bool {
	return strings.HasPrefix(ref, "refs/pull/") || strings.HasPrefix(ref, "refs/merge-requests/")
}

// Match says whether a result was built from this source, and if not, why. The
// certificate says what the source is, and uri, the predicate's (the field
// source.uri of the provenance), must name the same. What nobody has merged
// ([Unmerged]) is the source's only where a pattern of full refs says so.
func (t TrustedSource) Match(r Result, uri string) (bool, string) {
	if len(t.address.segments) == 0 {
		return false, "no source is trusted"
	}
	have, ok := parseAddress(r.Source.Repository)
	switch {
	case r.Source.Repository == "" || !ok:
		return false, "nobody who can vouch for it names the source repository"
	case !have.within(t.address):
		return false, fmt.Sprintf("the source %s is not %s", r.Source.Repository, t.address)
	case !sameRepository(uri, r.Source.Repository):
		return false, fmt.Sprintf("the certificate names the source %s, the predicate %q", r.Source.Repository, uri)
	}
	if len(t.refs)+len(t.tags)+len(t.branches) == 0 {
		if Unmerged(r.Source.Ref) {
			return false, fmt.Sprintf("the source is at %s, which nobody has merged", r.Source.Ref)
		}
		return true, ""
	}
	kind, name := sourceRefKind(r.Source.Ref)
	matches := func(list []pattern, s string) bool {
		return slices.ContainsFunc(list, func(p pattern) bool { return p.re.MatchString(s) })
	}
	if matches(t.refs, r.Source.Ref) || kind == refTag && matches(t.tags, name) || kind == refBranch && matches(t.branches, name) {
		return true, ""
	}
	return false, fmt.Sprintf("the source ref %q is none of those that are trusted", r.Source.Ref)
}

// sourceRefKind is [refKind] for the source's ref, which stands alone, so that an
// "@" in it is a part of its name.
func sourceRefKind(ref string) (kind, name string) {
	if tag, ok := strings.CutPrefix(ref, "refs/tags/"); ok {
		return refTag, tag
	}
	if branch, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
		return refBranch, branch
	}
	return refOther, ref
}
