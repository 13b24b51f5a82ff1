package signingpolicy

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/signet-policy/signet/internal/signers"
)

// people are signers of a policy, three of which have names.
const people = `trusted_signers:
  - {name: ci, type: keyless, issuer: https://a.example, subject: ci}
  - {name: alice, type: keyless, issuer: https://a.example, subject: alice}
  - {name: bob, type: keyless, issuer: https://a.example, subject: bob}
  - {type: keyless, issuer: https://a.example, subject: nobody}
  - {type: registry, names: [eve]}
`

func TestGroups(t *testing.T) {
	body := people + "groups:\n  - {name: release, signers: [ci]}\n  - {name: security, signers: [alice, bob, eve], threshold: 2}\nplatforms: every\n"
	p, err := ParseAs("prod", []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	want := []signers.Group{
		{Name: "release", Signers: []string{"prod/ci"}, Threshold: 1},
		{Name: "security", Signers: []string{"prod/alice", "prod/bob", "eve"}, Threshold: 2},
	}
	if diff := cmp.Diff(want, p.GroupsInForce()); diff != "" {
		t.Errorf("GroupsInForce (-want +got):\n%s", diff)
	}
	var names []string
	for _, s := range p.Inline {
		names = append(names, s.Name)
	}
	if diff := cmp.Diff([]string{"prod/ci", "prod/alice", "prod/bob", "prod/4"}, names); diff != "" {
		t.Errorf("names of signers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"eve"}, p.NamesRegistered()); diff != "" {
		t.Errorf("NamesRegistered (-want +got):\n%s", diff)
	}
	params, err := p.Params()
	if err != nil {
		t.Fatal(err)
	}
	wantParams := `{"require_signature":true,"verify_transparency_log":true,"registered_signers":true,"threshold":1,"trusted_sources":null,` +
		`"groups":[{"name":"release","signers":["prod/ci"],"threshold":1},{"name":"security","signers":["prod/alice","prod/bob","eve"],"threshold":2}],"platforms":"every"}`
	if string(params) != wantParams {
		t.Errorf("Params = %s, want %s", params, wantParams)
	}

	canonical, err := p.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(canonical)
	if err != nil {
		t.Fatalf("%s: %v", canonical, err)
	}
	if diff := cmp.Diff(p, again, cmpopts.IgnoreUnexported(Policy{})); diff != "" {
		t.Errorf("parsed again (-want +got):\n%s\n%s", diff, canonical)
	}
	read, err := p.WithParams(params)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, read.GroupsInForce()); diff != "" || read.Platforms != "every" {
		t.Errorf("WithParams: platforms %q, groups (-want +got):\n%s", read.Platforms, diff)
	}
}

// A policy that asks for neither has the parameters that it always had.
func TestNoGroups(t *testing.T) {
	params, err := Default().Params()
	want := `{"require_signature":true,"verify_transparency_log":true,"registered_signers":true,"threshold":1,"trusted_sources":null}`
	if err != nil || string(params) != want {
		t.Errorf("Params = %s, %v; want %s", params, err, want)
	}
}

// Threat 22, for groups.
func TestGroupsRefused(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{"no list", people + "groups: release", "line 7: groups: is the string"},
		{"empty", people + "groups: []", "line 7: groups: is an empty list"},
		{"no mapping", people + "groups: [release]", "line 7: groups[0]: is the string"},
		{"nothing", people + "groups: [{}]", "line 7: groups[0].name: is missing; name the group, such as release\nline 7: groups[0].signers: is missing"},
		{"an unknown field", people + "groups: [{name: g, signers: [ci], members: 2}]", "line 7: groups[0].members: there is no such field; there are name, signers, threshold"},
		{"no name", people + "groups: [{name: G, signers: [ci]}]", `line 7: groups[0].name: "G" is not a name`},
		{"one name twice", people + "groups:\n  - {name: g, signers: [ci]}\n  - {name: g, signers: [bob]}", `line 9: groups[1].name: "g" is the name of another group too`},
		{"nobody", people + "groups: [{name: g, signers: []}]", "line 7: groups[0].signers: is an empty list, so nobody could sign"},
		{"one signer twice", people + "groups: [{name: g, signers: [ci, ci]}]", `line 7: groups[0].signers[1]: "ci" is there twice, and counts once`},
		{"threat 22: zero", people + "groups: [{name: g, signers: [ci], threshold: 0}]", "line 7: groups[0].threshold: 0 signers would be nobody; it must be at least 1"},
		{"threat 22: negative", people + "groups: [{name: g, signers: [ci], threshold: -1}]", "line 7: groups[0].threshold: -1 signers"},
		{"threat 22: no number", people + "groups: [{name: g, signers: [ci], threshold: all}]", `line 7: groups[0].threshold: is the string "all"`},
		{"threat 22: more than there are", people + "groups: [{name: g, signers: [ci, bob], threshold: 3}]", "line 7: groups[0].threshold: 3 is more than the 2 signers of the group"},
		{"more than there are for both", people + "groups:\n  - {name: g, signers: [ci, bob], threshold: 2}\n  - {name: h, signers: [bob]}",
			"line 9: groups[1].threshold: 1 can never be met beside the groups before, because who signs for one group counts for no other: 0 of the signers are left; name more signers"},
		{"a signer that is not there", people + "groups:\n  - name: g\n    signers:\n      - ci\n      - mallory", `line 11: groups[0].signers[1]: "mallory" is no signer of this policy; there are ci, alice, bob, eve`},
		{"a signer without a name", people + "groups: [{name: g, signers: [default/4]}]", `line 7: groups[0].signers[0]: "default/4" is the place of a signer that has no name; give it one`},
		{"the place of a signer", people + "groups: [{name: g, signers: ['4']}]", `line 7: groups[0].signers[0]: "4" is the place of a signer that has no name`},
		{"no signer has a name", "trusted_signers: [{type: keyless, issuer: https://a.example, subject: x}]\ngroups: [{name: g, signers: [x]}]", `line 2: groups[0].signers[0]: "x" is no signer of this policy; give signers in trusted_signers a name`},
		{"what no registered signer is called", "trusted_signers: [{type: registry}]\ngroups: [{name: g, signers: [a/b]}]", `line 2: groups[0].signers[0]: "a/b" is not the name of a signer`},
		{"no signature is wanted", people + "require_signature: false\ngroups: [{name: g, signers: [ci]}]", "require_signature: is false, and groups ask for signatures"},
		{"too many", people + "groups: [" + strings.Repeat("{name: g, signers: [ci]}, ", maxGroups+1) + "]", "line 7: groups: are 33, and at most 32 are read"},
		{"platforms: another word", people + "platforms: all", `line 7: platforms: "all" is none of index, requested, every; left out, the index is signed`},
		{"platforms: a list", people + "platforms: [every]", "line 7: platforms: is a list, and must be a string"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte(tt.body))
			if !errors.Is(err, ErrInvalid) || !strings.HasPrefix(err.Error(), tt.want) && !strings.Contains(err.Error(), ": "+tt.want) {
				t.Errorf("Parse = %v, want %s", err, tt.want)
			}
		})
	}
	for _, name := range []string{"groups", "platforms"} {
		_, err := Parse([]byte(people + "bundle: b\nparameters: {" + name + ": every}\n"))
		if err == nil || !strings.Contains(err.Error(), "parameters."+name+": is a field of the policy itself") {
			t.Errorf("%s among the parameters: %v", name, err)
		}
	}
}
