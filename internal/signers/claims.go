package signers

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// claimNames are the claims of a Fulcio certificate by the names that facts give
// them (https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md). A test in
// package verify, which reads them, keeps the two lists equal.
const claimNames = `
	build_config_digest build_config_uri build_signer_digest build_signer_uri build_trigger
	deployment_environment
	github_workflow_name github_workflow_ref github_workflow_repository github_workflow_sha github_workflow_trigger
	run_invocation_uri runner_environment
	source_repository_digest source_repository_identifier source_repository_owner_identifier source_repository_owner_uri
	source_repository_ref source_repository_uri source_repository_visibility_at_signing
	token_subject`

// ClaimNames are the names that [Signer.Claims] may have, sorted.
func ClaimNames() []string { return strings.Fields(claimNames) }

// claim is one constraint on a certificate's claims.
type claim struct {
	name, want string
	// re is want with its wildcards, nil where it has none.
	re *regexp.Regexp
}

// compileClaims checks constraints and gives them in order of their names.
func compileClaims(want map[string]string, add func(field, format string, args ...any)) []claim {
	out := make([]claim, 0, len(want))
	known := ClaimNames()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		field, value := "claims."+name, want[name]
		switch {
		case !slices.Contains(known, name):
			add("claims", "%q is not a claim of a certificate; %s", name, nearClaims(name, known))
			continue
		case value == "":
			add(field, "is empty; write the value that the certificate must have, or ** for any")
			continue
		case len(value) > MaxIdentityBytes || unprintable(value):
			add(field, "is longer than %d bytes, not UTF-8, or has control characters", MaxIdentityBytes)
			continue
		case strings.Contains(value, "***"):
			add(field, "has three stars in a row; * is any run without a slash, ** any run")
			continue
		}
		c := claim{name: name, want: value}
		if strings.Contains(value, "*") {
			c.re = claimPattern(value)
		}
		out = append(out, c)
	}
	return out
}

// claimPattern turns * and ** into RE2, which takes time linear in the value.
func claimPattern(value string) *regexp.Regexp {
	text := regexp.QuoteMeta(value)
	text = strings.ReplaceAll(text, `\*\*`, `(?s:.*)`)
	text = strings.ReplaceAll(text, `\*`, `[^/]*`)
	return regexp.MustCompile(`\A` + text + `\z`)
}

// meets says whether a certificate's claims have the one that is wanted.
func (c claim) meets(have map[string]string) bool {
	value, ok := have[c.name]
	if !ok {
		return false
	}
	if c.re != nil {
		return c.re.MatchString(value)
	}
	return value == c.want
}

// nearClaims names what may have been meant by an unknown claim.
func nearClaims(name string, known []string) string {
	var near []string
	for _, k := range known {
		if abbreviates(strings.ToLower(name), k) || distance(name, k) <= max(2, len(name)/4) {
			near = append(near, k)
		}
	}
	if len(near) == 0 {
		return "there are " + strings.Join(known, ", ")
	}
	return fmt.Sprintf("did you mean %s?", strings.Join(near, " or "))
}

// abbreviates says that every word of short begins a word of long.
func abbreviates(short, long string) bool {
	words := strings.Split(long, "_")
	for word := range strings.SplitSeq(short, "_") {
		if word == "" || !slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, word) }) {
			return false
		}
	}
	return true
}

// distance is the number of letters to put in, take out or change to get from a
// to b (V. I. Levenshtein, 1966).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
