package signingpolicy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/signet-policy/signet/internal/facts"
)

// Limits on required attestations. A policy is meant to be read.
const (
	maxAttestations = 50
	maxCount        = 100
)

// Whom an attestation must speak of, and what its age is counted from.
const (
	// SubjectsImage: what was asked for, which is the index, or the platform where one
	// was asked for.
	SubjectsImage = "image"
	// SubjectsEvery: each platform of an index by its own manifest; an image that is no
	// index is itself its only platform.
	SubjectsEvery = "every"
	// FromSignedAt counts from the earliest verified time of signing.
	FromSignedAt = "signed_at"
	// FromMadeAt counts from when the document says that it was made, or from the
	// verified time of signing where that is earlier.
	FromMadeAt = "made_at"
)

// Attestation is one attestation that a policy requires. It is the same in the
// canonical form; [Policy.Params] adds what Rego needs beside it.
type Attestation struct {
	// PredicateType is a URI, or a short name such as "spdx".
	PredicateType string `yaml:"predicate_type" json:"predicate_type"`
	// Signers are the trusted signers who may have signed; none: any of the policy.
	Signers []string `yaml:"signers,omitempty" json:"signers,omitempty"`
	// MaxAge is how old it may be; 0: as old as it likes.
	MaxAge Age `yaml:"max_age,omitempty" json:"max_age,omitempty"`
	// From is FromSignedAt or FromMadeAt, "" where there is no MaxAge.
	From string `yaml:"from,omitempty" json:"from,omitempty"`
	// Count is how many distinct trusted signers must have signed one.
	Count int `yaml:"count" json:"count"`
	// Subjects is SubjectsImage or SubjectsEvery.
	Subjects string `yaml:"subjects" json:"subjects"`
}

// paramAttestation is an attestation as Rego reads it.
type paramAttestation struct {
	// Name stands in verdicts.
	Name string `json:"name"`
	Attestation
	// Types are the predicate types that the name or URI stands for.
	Types []string `json:"types"`
	// Kind of the projection that they have, absent for none.
	Kind string `json:"kind,omitempty"`
}

// Age is a duration of whole seconds: "7d" in YAML, seconds in JSON.
type Age time.Duration

const day = 24 * time.Hour

// String is the age in the largest unit that gives a whole number.
func (a Age) String() string {
	d := time.Duration(a)
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d%u.of == 0 {
			return fmt.Sprintf("%d%s", d/u.of, u.name)
		}
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// MarshalYAML implements yaml.Marshaler.
func (a Age) MarshalYAML() (any, error) { return a.String(), nil }

// MarshalJSON gives whole seconds.
func (a Age) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%d", time.Duration(a)/time.Second), nil
}

// UnmarshalJSON reads whole seconds.
func (a *Age) UnmarshalJSON(body []byte) error {
	var seconds int64
	if _, err := fmt.Sscanf(string(body), "%d", &seconds); err != nil || fmt.Sprint(seconds) != string(body) || seconds < 1 || seconds > int64(longestAge/time.Second) {
		return fmt.Errorf("%s is no age in whole seconds", body)
	}
	*a = Age(time.Duration(seconds) * time.Second)
	return nil
}

// Bounds of an age. Nobody is served by a scan that counts for seconds: clocks differ
// by that.
const (
	shortestAge = time.Minute
	longestAge  = 3650 * day
)

// age reads whole days, or what Go reads as a duration.
func (d *draft) age(n *yaml.Node, at string) Age {
	text, ok := d.text(n, at)
	if !ok {
		return 0
	}
	v, err := time.ParseDuration(text)
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		v, err = time.ParseDuration(days + "h")
		v *= 24
		if strings.Trim(days, "0123456789") != "" || len(days) > 5 {
			err = ErrInvalid
		}
	}
	switch {
	case err != nil || v%time.Second != 0:
		d.fail(n, at, "%q is not an age; write whole days, hours or minutes, such as 7d, 36h or 90m", text)
	case v < shortestAge || v > longestAge:
		d.fail(n, at, "%q is outside what an age can be, 1m to %s", text, Age(longestAge))
	default:
		return Age(v)
	}
	return 0
}

// attestations reads the attestations that are required.
func (d *draft) attestations(n *yaml.Node) {
	if asksNothing(n) {
		return
	}
	items := d.sequence(n, "attestations")
	if len(items) > maxAttestations {
		d.fail(n, "attestations", "are %d, of at most %d", len(items), maxAttestations)
		return
	}
	for i, item := range items {
		d.attestation(item, fmt.Sprintf("attestations[%d]", i))
	}
}

// namedSigners are names of signers, and how many of them are wanted, which is
// checked when all signers are read.
type namedSigners struct {
	at    string
	list  *yaml.Node
	names []string
	count *yaml.Node // nil where nothing is counted
	want  int
}

func (d *draft) attestation(n *yaml.Node, at string) {
	a := Attestation{Count: 1, Subjects: SubjectsImage}
	s := namedSigners{at: at, list: n, count: n}
	before := len(d.errs)
	var typeAt, ageAt, fromAt *yaml.Node
	d.mapping(n, at+".", map[string]func(*yaml.Node){
		"predicate_type": func(n *yaml.Node) { typeAt = n; a.PredicateType = d.predicateType(n, at+".predicate_type") },
		"signers":        func(n *yaml.Node) { s.list = n; a.Signers = d.signerNames(n, at+".signers") },
		"max_age":        func(n *yaml.Node) { ageAt = n; a.MaxAge = d.age(n, at+".max_age") },
		"from":           func(n *yaml.Node) { fromAt = n; a.From = d.oneOf(n, at+".from", FromSignedAt, FromMadeAt) },
		"count":          func(n *yaml.Node) { s.count = n; a.Count = d.integer(n, at+".count") },
		"subjects":       func(n *yaml.Node) { a.Subjects = d.oneOf(n, at+".subjects", SubjectsImage, SubjectsEvery) },
	}, map[string]string{
		"type": "is called predicate_type here", "threshold": "is called count here", "name": "is not given: requirements are named by their type",
		"platforms": "is called subjects here; write every for each platform",
	})
	if typeAt == nil && n.Kind == yaml.MappingNode {
		d.fail(n, at+".predicate_type", "is missing; write a predicate type, such as https://spdx.dev/Document, or one of %s", strings.Join(shortNames(), ", "))
	}
	switch {
	case a.Count < 1 || a.Count > maxCount:
		d.fail(s.count, at+".count", "%d is outside of what can be asked for; it must be at least 1 and at most %d", a.Count, maxCount)
	case fromAt != nil && ageAt == nil:
		d.fail(fromAt, at+".from", "goes with max_age, which is missing")
	case a.MaxAge > 0 && a.From == "":
		a.From = FromSignedAt
	}
	s.names, s.want = a.Signers, a.Count
	d.named = append(d.named, s)
	if len(d.errs) == before {
		d.policy.Attestations = append(d.policy.Attestations, a)
		d.attestationsAt = append(d.attestationsAt, n)
	}
}

func (d *draft) predicateType(n *yaml.Node, at string) string {
	text, ok := d.text(n, at)
	if !ok {
		return ""
	}
	types, _ := predicateTypes(text)
	switch {
	case text == facts.CosignSignV1:
		d.fail(n, at, "is that of a signature of the image, which require_signature asks for")
	case len(types) > 0:
		return text
	case strings.Contains(text, ":"):
		d.fail(n, at, "%q is not the URI of a predicate type, such as https://spdx.dev/Document", text)
	default:
		d.fail(n, at, "%q is no predicate type; the nearest name is %q (there are %s), and others are written as URIs",
			text, nearest(text, shortNames()), strings.Join(shortNames(), ", "))
	}
	return ""
}

func (d *draft) oneOf(n *yaml.Node, at string, words ...string) string {
	text, ok := d.text(n, at)
	if ok && !slices.Contains(words, text) {
		d.fail(n, at, "%q is none of %s", text, strings.Join(words, ", "))
	}
	return text
}

func (d *draft) signerNames(n *yaml.Node, at string) []string {
	names := d.strings(n, at)
	if len(names) == 0 && n.Kind == yaml.SequenceNode {
		d.fail(n, at, "is an empty list, so nobody could have signed; leave it out for any trusted signer of the policy")
	}
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			d.fail(n.Content[i], fmt.Sprintf("%s[%d]", at, i), "%q is there twice", name)
		}
	}
	return names
}

// finishNamed checks the names of signers, once all signers are read. Of registered
// signers it is not known here which there are: one that is not in force signs
// nothing, and the verdict says so.
func (d *draft) finishNamed() {
	p := d.policy
	var there []string
	for _, s := range p.Inline {
		there = append(there, s.Name)
	}
	there = append(there, p.RegisteredNames...)
	open := p.UseRegistered && len(p.RegisteredNames) == 0
	for _, s := range d.named {
		for i, name := range s.names {
			n, at := s.list.Content[i], fmt.Sprintf("%s.signers[%d]", s.at, i)
			inline := strings.Contains(name, "/")
			switch {
			case slices.Contains(there, name) || open && !inline && name != "":
			case len(there) == 0:
				d.fail(n, at, "%q is no signer of this policy, which takes the registered signers only: write the name of one", name)
			default:
				d.fail(n, at, "%q is no trusted signer of this policy; the nearest is %q (its own are called %s/1, %s/2 and so on; registered ones count through {type: registry})",
					name, nearest(name, alike(there, inline)), p.Name, p.Name)
			}
		}
		most, of := len(s.names), "signers that are named"
		if len(s.names) == 0 && !open {
			most, of = len(there), "trusted signers there are"
		}
		if (len(s.names) > 0 || !open) && s.count != nil && s.want > most {
			d.fail(s.count, s.at+".count", "%d is more than the %d %s", s.want, most, of)
		}
	}
}

// alike are those of names that are a policy's own, or that are registered, and all of
// them where there are none.
func alike(names []string, inline bool) []string {
	same := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return strings.Contains(name, "/") != inline })
	if len(same) == 0 {
		return names
	}
	return same
}

// attestationNames are those of the requirements, in the order of the attestations.
func (p *Policy) attestationNames() []string {
	times := map[string]int{}
	names := make([]string, 0, len(p.Attestations))
	for _, a := range p.Attestations {
		name := "attestation/" + a.PredicateType
		if times[name]++; times[name] > 1 {
			name = fmt.Sprintf("%s/%d", name, times[name])
		}
		names = append(names, name)
	}
	return names
}

func (p *Policy) paramAttestations() []paramAttestation {
	var list []paramAttestation
	for i, name := range p.attestationNames() {
		types, kind := predicateTypes(p.Attestations[i].PredicateType)
		list = append(list, paramAttestation{Name: name, Attestation: p.Attestations[i], Types: types, Kind: kind})
	}
	return list
}

// AttestationRequirement is an attestation that a policy requires, as far as
// signatures are matched to signers before its rules are asked.
type AttestationRequirement struct {
	// Name is that of the requirement, in matches and in verdicts.
	Name string
	// Every says that each platform of an index needs its own.
	Every bool
	// Counts gives those of an attestation's trusted signers for whom it counts at a
	// time: it is of a type that is asked for, not too old, and has the log entry, and
	// where any signer will do the source, that the policy asks for. The Rego rules
	// check the same again, and explain.
	Counts func(a facts.Attestation, trusted []string, trust []facts.TrustInfo, at time.Time) []string
}

// Requirements are the attestations that the policy requires.
func (p *Policy) Requirements() []AttestationRequirement {
	var list []AttestationRequirement
	for _, r := range p.paramAttestations() {
		list = append(list, AttestationRequirement{Name: r.Name, Every: r.Subjects == SubjectsEvery, Counts: func(a facts.Attestation, trusted []string, trust []facts.TrustInfo, at time.Time) []string {
			if !slices.Contains(r.Types, a.PredicateType) || !r.fresh(a, at) {
				return nil
			}
			return p.vouchers(r.Signers, a, trusted, trust)
		}})
	}
	if c := p.Contents.BaseImages; c != nil {
		list = append(list, AttestationRequirement{Name: RequirementBaseImage, Counts: func(a facts.Attestation, trusted []string, trust []facts.TrustInfo, _ time.Time) []string {
			return p.vouchers(c.Signers, a, trusted, trust)
		}})
	}
	return list
}

// vouchers are the trusted signers of an attestation for whom it counts.
func (p *Policy) vouchers(wanted []string, a facts.Attestation, trusted []string, trust []facts.TrustInfo) []string {
	if !p.logged(a.Signature, trust) || len(wanted) == 0 && !p.sourced(a.Signature) {
		return nil
	}
	if len(wanted) == 0 {
		return trusted
	}
	return slices.DeleteFunc(slices.Clone(trusted), func(name string) bool { return !slices.Contains(wanted, name) })
}

// fresh says whether an attestation is not too old at a time.
func (r Attestation) fresh(a facts.Attestation, at time.Time) bool {
	if r.MaxAge == 0 {
		return true
	}
	from := a.SignedAt
	if r.From == FromMadeAt {
		if a.Projection == nil || a.Projection.MadeAt == nil {
			return false
		}
		if made := a.Projection.MadeAt; from == nil || made.Before(*from) {
			from = made
		}
	}
	return from != nil && !from.After(at.Add(madeAhead)) && at.Before(from.Add(time.Duration(r.MaxAge)))
}

// madeAhead is how far a time may lie ahead before it is no time to count from: a
// document that says it was made next year would never get too old. The Rego rules
// have the same.
const madeAhead = 5 * time.Minute

// Ages says whether time alone can end what the policy allows, besides its signers
// and exceptions: it asks how old something is.
func (p *Policy) Ages() bool {
	v := p.Contents.Vulnerabilities
	return slices.ContainsFunc(p.Attestations, func(a Attestation) bool { return a.MaxAge > 0 }) || v != nil && (v.DatabaseMaxAge > 0 || v.VEX != nil && v.VEX.MaxAge > 0)
}

// WantsPlatforms says whether the evidence of every platform of an index is needed.
func (p *Policy) WantsPlatforms() bool {
	return p.Platforms == facts.PlatformsEvery || slices.ContainsFunc(p.Attestations, func(a Attestation) bool { return a.Subjects == SubjectsEvery })
}

// takeAttestations takes what parameters of a bundle's author say of attestations.
func (p *Policy) takeAttestations(s standardParams) error {
	p.Attestations, p.Contents = nil, Contents{}
	for i, a := range s.Attestations {
		types, kind := predicateTypes(a.PredicateType)
		p.Attestations = append(p.Attestations, a.Attestation)
		switch name := p.attestationNames()[i]; {
		case a.Name != name || a.Kind != kind || !slices.Equal(a.Types, types):
			return fmt.Errorf("attestations[%d]: name, kind and types are not those of the predicate type %q; have them made (signet config check)", i, a.PredicateType)
		case a.Count < 1 || a.Count > maxCount:
			return fmt.Errorf("attestations[%d].count: %d is outside of what can be asked for", i, a.Count)
		case a.Subjects != SubjectsImage && a.Subjects != SubjectsEvery:
			return fmt.Errorf("attestations[%d].subjects: %q is none of %s, %s", i, a.Subjects, SubjectsImage, SubjectsEvery)
		case (a.MaxAge > 0) != (a.From == FromSignedAt || a.From == FromMadeAt):
			return fmt.Errorf("attestations[%d]: max_age and from (%s or %s) go together", i, FromSignedAt, FromMadeAt)
		}
	}
	if s.Contents == nil {
		return nil
	}
	p.Contents = *s.Contents
	return p.Contents.wellFormed()
}
