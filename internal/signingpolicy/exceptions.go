package signingpolicy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/signet-policy/signet/internal/glob"
	"github.com/signet-policy/signet/rego"
)

// Limits on exceptions. An exception is meant to be read.
const (
	maxExceptions     = 1000
	maxOwnerBytes     = 200
	maxReasonBytes    = 1000
	defaultExceptions = 90 * 24 * time.Hour
)

// Exception waives violations of some codes for some images until it ends. It is
// named "<policy>/exceptions/<position>", see [Policy.ExceptionName].
type Exception struct {
	// Images are globs of the images that it is for; at least one, and each names a
	// registry.
	Images []string
	// Codes of the violations that it waives; at least one.
	Codes []string
	// Reason says why, and Owner who answers for it; both are given.
	Reason, Owner string
	// ExpiresAt is when it waives no more.
	ExpiresAt time.Time

	line int // of the document, 0 for none
}

func (e Exception) equal(other Exception) bool {
	return slices.Equal(e.Images, other.Images) && slices.Equal(e.Codes, other.Codes) &&
		e.Reason == other.Reason && e.Owner == other.Owner && e.ExpiresAt.Equal(other.ExpiresAt)
}

// ExceptionName is the name of the exception at a position, counted from 0; in the
// name it is counted from 1.
func (p *Policy) ExceptionName(i int) string { return fmt.Sprintf("%s/exceptions/%d", p.Name, i+1) }

func (d *draft) exceptions(n *yaml.Node) {
	if asksNothing(n) {
		return
	}
	items := d.sequence(n, "exceptions")
	if len(items) > maxExceptions {
		d.fail(n, "exceptions", "are %d, of at most %d", len(items), maxExceptions)
		return
	}
	for i, item := range items {
		d.exception(item, fmt.Sprintf("exceptions[%d]", i))
	}
}

func (d *draft) exception(n *yaml.Node, at string) {
	e := Exception{line: n.Line}
	before := len(d.errs)
	given := map[string]bool{}
	field := func(name string, read func(*yaml.Node, string)) func(*yaml.Node) {
		return func(n *yaml.Node) { given[name] = true; read(n, at+"."+name) }
	}
	d.mapping(n, at+".", map[string]func(*yaml.Node){
		"images": field("images", func(n *yaml.Node, at string) { e.Images = d.exceptedImages(n, at) }),
		"codes":  field("codes", func(n *yaml.Node, at string) { e.Codes = d.exceptedCodes(n, at) }),
		"reason": field("reason", func(n *yaml.Node, at string) { e.Reason = d.sentence(n, at, maxReasonBytes) }),
		"owner":  field("owner", func(n *yaml.Node, at string) { e.Owner = d.sentence(n, at, maxOwnerBytes) }),
		"expires_at": field("expires_at", func(n *yaml.Node, at string) {
			if t := d.time(n, at); t != nil {
				e.ExpiresAt = *t
			}
		}),
	}, map[string]string{
		"name": "is not given: exceptions are named by their position",
	})
	for _, f := range []struct{ name, want string }{
		{"images", "name the images that it is for, such as ghcr.io/org/app"}, {"codes", "name the codes of the violations that it waives"},
		{"reason", "say why"}, {"owner", "say who answers for it"}, {"expires_at", "say when it ends, such as 2027-01-31T00:00:00Z"},
	} {
		if !given[f.name] && n.Kind == yaml.MappingNode {
			d.fail(n, at+"."+f.name, "is missing; %s", f.want)
		}
	}
	if len(d.errs) == before {
		d.policy.Exceptions = append(d.policy.Exceptions, e)
	}
}

func (d *draft) exceptedImages(n *yaml.Node, at string) []string {
	images := d.strings(n, at)
	if len(images) == 0 && n.Kind == yaml.SequenceNode {
		d.fail(n, at, "is an empty list, so the exception would be for no image; name the images")
	}
	for i, image := range images {
		field := fmt.Sprintf("%s[%d]", at, i)
		if _, err := glob.Compile(image); err != nil {
			d.failLines(n.Content[i], field, err)
			continue
		}
		if host, _, _ := strings.Cut(image, "/"); strings.Trim(host, "*") == "" {
			d.fail(n.Content[i], field, "%q is for images of every registry; an exception is for few: write the registry, for example ghcr.io/org/**", image)
		}
	}
	return images
}

func (d *draft) exceptedCodes(n *yaml.Node, at string) []string {
	codes := d.strings(n, at)
	if len(codes) == 0 && n.Kind == yaml.SequenceNode {
		d.fail(n, at, "is an empty list, so nothing would be waived; name the codes of violations")
	}
	for i, code := range codes {
		field := fmt.Sprintf("%s[%d]", at, i)
		switch {
		case code == "":
			d.fail(n.Content[i], field, "is empty; name the code of a violation")
		case slices.Contains(rego.NeverWaived(), code):
			d.fail(n.Content[i], field, "%q is never waived: it says that it is not known what was asked for, or what there is", code)
		case slices.Contains(codes[:i], code):
			d.fail(n.Content[i], field, "%q is there twice", code)
		}
	}
	return codes
}

// sentence is text for people, on one line.
func (d *draft) sentence(n *yaml.Node, at string, most int) string {
	s, ok := d.text(n, at)
	switch {
	case !ok:
	case strings.TrimSpace(s) == "":
		d.fail(n, at, "is empty; fill it in")
	case len(s) > most:
		d.fail(n, at, "is longer than %d bytes", most)
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		d.fail(n, at, "has a line break or another control character; write it on one line")
	}
	return s
}

// ExceptionRules are what exceptions are held to when a policy is put.
type ExceptionRules struct {
	// Now is the time of the change.
	Now time.Time
	// Longest is how far ahead an exception may end; 0 is 90 days.
	Longest time.Duration
	// Before is the policy that is replaced, nil for none: an exception that stands
	// there already is in order.
	Before *Policy
}

// CheckExceptions makes sure that no exception lasts longer than is allowed, and,
// where the rules are Signet's, that each waives what one of them can say. Errors
// wrap [ErrInvalid].
func (p *Policy) CheckExceptions(r ExceptionRules) error {
	if r.Longest == 0 {
		r.Longest = defaultExceptions
	}
	codes := rego.ViolationCodes()
	d := &reader{}
	for i, e := range p.Exceptions {
		if r.Before != nil && slices.ContainsFunc(r.Before.Exceptions, e.equal) {
			continue
		}
		n, at := &yaml.Node{Line: e.line}, fmt.Sprintf("exceptions[%d]", i)
		if last := r.Now.Add(r.Longest); e.ExpiresAt.After(last) {
			d.fail(n, at+".expires_at", "%s is later than %s, the last that is allowed now (exceptions_max_days); end it sooner, and renew it if it must be",
				e.ExpiresAt.Format(time.RFC3339), last.UTC().Format(time.RFC3339))
		}
		for j, code := range e.Codes {
			// What rules of a bundle can say is not known here; a code that none of them
			// has waives nothing.
			if p.Bundle == "" && !slices.Contains(codes, code) {
				d.fail(n, fmt.Sprintf("%s.codes[%d]", at, j), "%q is the code of no rule of this policy; the nearest is %q (what Signet decides by itself, such as policy_error, is never waived)",
					code, nearest(code, codes))
			}
		}
	}
	return d.err()
}

// nearest is the one of words that differs least from word.
func nearest(word string, words []string) string {
	best, least := "", -1
	for _, w := range slices.Sorted(slices.Values(words)) {
		if n := distance(word, w); least < 0 || n < least {
			best, least = w, n
		}
	}
	return best
}

// distance is Levenshtein's: how many bytes to add, drop or change.
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

// paramException is an exception as Rego reads it.
type paramException struct {
	Name      string    `json:"name"`
	Images    []string  `json:"images"`
	Codes     []string  `json:"codes"`
	Reason    string    `json:"reason"`
	Owner     string    `json:"owner"`
	ExpiresAt time.Time `json:"expires_at"`
}

// paramExceptions gives patterns with the names of hosts that images have, so that
// Rego needs no other spelling of a host.
func (p *Policy) paramExceptions() ([]paramException, error) {
	var list []paramException
	for i, e := range p.Exceptions {
		images := make([]string, 0, len(e.Images))
		for _, image := range e.Images {
			g, err := glob.Compile(image)
			if err != nil {
				return nil, err
			}
			images = append(images, g.String())
		}
		list = append(list, paramException{p.ExceptionName(i), images, e.Codes, e.Reason, e.Owner, e.ExpiresAt.UTC()})
	}
	return list, nil
}

// canonicalException is an exception in its one form.
type canonicalException struct {
	Images    []string  `yaml:"images"`
	Codes     []string  `yaml:"codes"`
	Reason    string    `yaml:"reason"`
	Owner     string    `yaml:"owner"`
	ExpiresAt time.Time `yaml:"expires_at"`
}
