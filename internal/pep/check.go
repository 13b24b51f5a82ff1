package pep

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Mistake is what a caller can mend.
type Mistake struct {
	// Code is MissingField, InvalidField or OutOfScope.
	Code string
	// Field of the question, "image" or "context.stage"; "" for none in particular.
	Field string
	// Detail says in a sentence what is wrong, and what would be right.
	Detail string
	// Cause is for the log, nil for none.
	Cause error
}

// The codes of mistakes, which are those of REST's problems.
const (
	MissingField = "missing_field"
	InvalidField = "invalid_field"
	OutOfScope   = "image_out_of_scope"
)

func (m *Mistake) Error() string { return m.Detail }

func (m *Mistake) Unwrap() error { return m.Cause }

// check refuses what the engine need not see.
func (c *Core) check(q Question) *Mistake {
	if m := CheckImage(q.Image); m != nil {
		return m
	}
	if m := CheckPlatform(q.Platform); m != nil {
		return m
	}
	if m := CheckRecorded(q.AssessmentID, q.Labels); m != nil {
		return m
	}
	if len(q.Principal.Images) == 0 {
		return nil
	}
	return c.inScope(q)
}

// inScope refuses an image that the principal may not ask about. What has no name
// that could be compared is seen only by who sees everything.
func (c *Core) inScope(q Question) *Mistake {
	if c.cfg.ImageName != nil {
		name, err := c.cfg.ImageName(q.Image)
		if err != nil {
			return &Mistake{Code: InvalidField, Field: "image", Cause: err, Detail: "The image " + Shown(q.Image) + " is not right: " + strings.TrimSuffix(err.Error(), ".") + "."}
		}
		if q.Principal.Sees(name) {
			return nil
		}
	}
	return &Mistake{Code: OutOfScope, Field: "image", Detail: "The principal " + Shown(q.Principal.Name) + " may ask about " + oneOf(q.Principal.Images) + " only, and " + Shown(q.Image) + " is not among them."}
}

// LongestImage bounds a reference, in bytes: a registry's name (255), a repository
// (255), a tag (128) and a digest (71), with room to spare.
const LongestImage = 1024

// longestPlatform is more than any os/architecture/variant has.
const longestPlatform = 64

const registriesOnly = ". Over HTTP only images in registries can be named, for example ghcr.io/org/app:v1; `signet verify` on the machine itself reads files."

// Lengths of hexadecimal digests, in characters.
const (
	hexSHA256 = 64
	hexSHA512 = 128
)

// CheckImage refuses what names no image in a registry, before anything parses
// it: a caller over HTTP must not make us open a file. Whether the reference is
// well-formed is for the engine to say.
func CheckImage(image string) *Mistake {
	bad := func(detail string) *Mistake {
		return &Mistake{Code: InvalidField, Field: "image", Detail: detail}
	}
	switch {
	case image == "":
		return &Mistake{Code: MissingField, Field: "image", Detail: `The field "image" is missing. Name the image to decide on, for example ghcr.io/org/app:v1.`}
	case len(image) > LongestImage:
		return bad("The field \"image\" has more than 1024 characters. Name one image, for example ghcr.io/org/app:v1.")
	case strings.ContainsFunc(image, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return bad("The image " + Shown(image) + " has a space or a character that no reference has. Write it like ghcr.io/org/app:v1.")
	case namesFile(image):
		return bad("The image " + Shown(image) + " names a file" + registriesOnly)
	case strings.Contains(image, "://"):
		return bad("The image " + Shown(image) + " has a scheme. Write it without, like ghcr.io/org/app:v1.")
	case bareDigest(image):
		return bad("The image " + Shown(image) + " is a digest alone, which names no registry. Write it like ghcr.io/org/app@sha256:….")
	}
	return nil
}

// namesFile knows the ways in which container tools name what lies on a disk.
// oci-layout: is the one that Signet itself reads; the others, and paths, are
// refused so that the caller is told why.
func namesFile(image string) bool {
	if hasPrefixFold(image, "oci-layout:") {
		return true
	}
	for _, transport := range []string{"oci:", "oci-archive:", "docker-archive:", "dir:", "file:"} {
		if hasPrefixFold(image, transport) && looksLikePath(image[len(transport):]) {
			return true
		}
	}
	return looksLikePath(image)
}

func looksLikePath(s string) bool {
	return s == "" || strings.ContainsRune("/.~", rune(s[0])) || strings.Contains(s, `\`)
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// bareDigest knows "sha256:<hex>". A shorter tail would be the tag of an image
// of that name.
func bareDigest(image string) bool {
	algorithm, hex, ok := strings.Cut(image, ":")
	return ok && (algorithm == "sha256" && len(hex) == hexSHA256 || algorithm == "sha512" && len(hex) == hexSHA512)
}

// IsDigest knows "sha256:<hex>" and "sha512:<hex>", in lower case.
func IsDigest(s string) bool {
	if !bareDigest(s) {
		return false
	}
	for i := len("sha256:"); i < len(s); i++ {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}

// At is the reference of an image at a digest that is told beside it, "" for none.
// field and digestField are what the caller calls the two.
func At(image, digest, field, digestField string) (string, *Mistake) {
	if digest == "" {
		return image, nil
	}
	if !IsDigest(digest) {
		return "", &Mistake{Code: InvalidField, Field: digestField, Detail: "The field " + Shown(digestField) + " is " + Shown(digest) + "; it should be sha256: and 64 characters of lower-case hexadecimal."}
	}
	switch _, at, pinned := strings.Cut(image, "@"); {
	case image == "":
		return "", &Mistake{Code: MissingField, Field: field, Detail: "The field " + Shown(field) + " is missing: a digest alone names no registry. Name the image, for example ghcr.io/org/app:v1."}
	case !pinned:
		return image + "@" + digest, nil
	case at != digest:
		return "", &Mistake{Code: InvalidField, Field: digestField, Detail: "The field " + Shown(digestField) + " is " + Shown(digest) + ", and " + Shown(field) + " names " + Shown(at) + ". Which one is meant? Send one of them, or the same twice."}
	}
	return image, nil
}

// CheckPlatform refuses what is no platform; "" is none, and right.
func CheckPlatform(platform string) *Mistake {
	if platform == "" || platformForm(platform) {
		return nil
	}
	return &Mistake{Code: InvalidField, Field: "platform", Detail: "The platform " + Shown(platform) + " is not os/architecture or os/architecture/variant, like linux/amd64 or linux/arm64/v8."}
}

// platformForm knows os/architecture[/variant] as the OCI image index spells them.
func platformForm(s string) bool {
	parts := 0
	for part := range strings.SplitSeq(s, "/") {
		parts++
		if part == "" || strings.ContainsFunc(part, notInPlatform) {
			return false
		}
	}
	return len(s) <= longestPlatform && (parts == 2 || parts == 3)
}

func notInPlatform(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '.'
}

// Bounds of what a caller has recorded beside a verdict, in bytes.
const (
	LongestAssessment = 200
	mostLabels        = 16
	longestLabel      = 63
	longestLabelValue = 256
)

// CheckRecorded looks at what is recorded and nothing else.
func CheckRecorded(assessment string, labels map[string]string) *Mistake {
	if assessment == "" && len(labels) == 0 {
		return nil
	}
	bad := func(field, detail string) *Mistake {
		return &Mistake{Code: InvalidField, Field: field, Detail: detail}
	}
	switch {
	case len(assessment) > LongestAssessment:
		return bad("assessment_id", `The field "assessment_id" has more than 200 bytes. It is a name of yours, for finding the verdict again.`)
	case !Printable(assessment):
		return bad("assessment_id", `The field "assessment_id" has characters that cannot be printed.`)
	case len(labels) > mostLabels:
		return bad("labels", fmt.Sprintf(`The field "labels" has %d labels; 16 are the most.`, len(labels)))
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		field := "labels." + key
		switch {
		case key == "":
			return bad("labels", `The field "labels" has a label without a name.`)
		case len(key) > longestLabel || !Printable(key):
			return bad(field, "The label "+Shown(key)+" should have a name of 63 bytes at most, all of them printable.")
		case len(labels[key]) > longestLabelValue || !Printable(labels[key]):
			return bad(field, "The label "+Shown(key)+" should have a value of 256 bytes at most, all of them printable.")
		}
	}
	return nil
}

// Printable says whether s is UTF-8 that can be shown as it is.
func Printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// longestShown is how much of what a caller sent is said back, in bytes.
const longestShown = 120

// Shown quotes what a caller sent, and cuts what is long.
func Shown(s string) string {
	if len(s) > longestShown {
		s = strings.ToValidUTF8(s[:longestShown], "") + "…"
	}
	return strconv.QuoteToGraphic(s)
}

// oneOf reads "a", "a or b", "a, b or c".
func oneOf(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}
