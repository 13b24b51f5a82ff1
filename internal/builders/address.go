package builders

import (
	"regexp"
	"strings"
)

// address is a repository or a workflow in it: what an address says once its
// scheme, "git+", the case of its host and a trailing ".git" are no difference.
type address struct {
	// segments are the host, in lower case, and the path to the letter.
	segments []string
	// ref is what follows "@", "" for none.
	ref string
}

// scheme is what may stand before the host.
var scheme = regexp.MustCompile(`\A(?:git\+)?(?:[a-z][a-z0-9+.-]*://)?`)

// parseAddress reads "[git+][scheme://]host/path[@ref]". Paths are compared by
// whole segments, so empty ones, "." and ".." are refused; GitLab's "//" between
// project and file is kept as an empty segment.
func parseAddress(s string) (address, bool) {
	rest := s[len(scheme.FindString(s)):]
	if rest == "" || strings.ContainsAny(rest, " \t\r\n?#\\") {
		return address{}, false
	}
	host, path, ok := strings.Cut(rest, "/")
	if !ok || host == "" || strings.Contains(host, "@") {
		return address{}, false
	}
	path, ref, at := strings.Cut(path, "@")
	if at && ref == "" {
		return address{}, false
	}
	path = strings.TrimSuffix(strings.TrimRight(path, "/"), ".git")
	project, file, gitlab := strings.Cut(path, "//")
	parts := strings.Split(project, "/")
	if gitlab {
		parts = append(append(parts, ""), strings.Split(file, "/")...)
	}
	for i, p := range parts {
		if p == "." || p == ".." || p == "" && !(gitlab && i == strings.Count(project, "/")+1) {
			return address{}, false
		}
	}
	return address{segments: append([]string{strings.ToLower(host)}, parts...), ref: ref}, true
}

// repository is the part of a workflow's address before its file.
func (a address) repository() address {
	for i := 2; i < len(a.segments); i++ {
		if a.segments[i] == "" || a.segments[i] == ".github" && i+1 < len(a.segments) && a.segments[i+1] == "workflows" {
			return address{segments: a.segments[:i]}
		}
	}
	return address{segments: a.segments}
}

func (a address) String() string { return strings.Join(a.segments, "/") }

// within says whether a is parent or lies below it, by whole segments.
func (a address) within(parent address) bool {
	if len(a.segments) < len(parent.segments) {
		return false
	}
	return a.segments[0] == parent.segments[0] && strings.HasPrefix(a.String()+"/", parent.String()+"/")
}

// sameRepository says whether two addresses name one repository; refs are not
// looked at.
func sameRepository(a, b string) bool {
	x, okX := parseAddress(a)
	y, okY := parseAddress(b)
	return okX && okY && x.String() == y.String()
}

// commit is a Git commit in full, SHA-1 or SHA-256.
var commit = regexp.MustCompile(`\A(?:[0-9a-f]{40}|[0-9a-f]{64})\z`)

// Kinds of refs, as [refKind] names them; other words are no kind.
const (
	refTag    = PinnedTag
	refCommit = PinnedCommit
	refBranch = "branch"
	refOther  = "ref"
)

// refKind tells a full ref's kind and short name.
func refKind(ref string) (kind, name string) {
	switch {
	case strings.Contains(ref, "@"): // a file's name may hold one as well: where the ref begins is not certain
		return refOther, ref
	case strings.HasPrefix(ref, "refs/tags/") && len(ref) > len("refs/tags/"):
		return refTag, strings.TrimPrefix(ref, "refs/tags/")
	case strings.HasPrefix(ref, "refs/heads/") && len(ref) > len("refs/heads/"):
		return refBranch, strings.TrimPrefix(ref, "refs/heads/")
	case commit.MatchString(ref):
		return refCommit, ref
	}
	return refOther, ref
}
