package signingpolicy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/signet-policy/signet/internal/signers"
)

var sameSigners = cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreFields(signers.Key{}, "PublicKey"), cmpopts.IgnoreFields(Entry{}, "Line")}

// Registered signers in the three spellings of a policy's own.
func TestParseSigners(t *testing.T) {
	until := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	want := []Entry{
		{Signer: signers.Signer{
			Name: "alice", Type: signers.Keyless, Issuer: "https://accounts.google.com", Subject: "alice@example.com",
			Enabled: true, Owner: "team-a", Note: "until the move", SignedUntil: &until,
		}},
		{Signer: signers.Signer{Name: "old", Type: signers.PublicKey, Keys: keys(t, pem1)}},
	}
	for name, text := range map[string]string{
		"trusted_signers with type": `
signing_policy:
  trusted_signers:
    - {name: alice, type: keyless, issuer: "https://accounts.google.com", subject: alice@example.com, owner: team-a, note: until the move, signed_until: 2027-01-01T00:00:00Z}
    - name: old
      type: public_key
      enabled: false
      key: |
` + indent(pem1, 8) + "\n",
		"trusted_keys with keyless": `
trusted_keys:
  - {name: alice, keyless: true, issuer: "https://accounts.google.com", subject: alice@example.com, owner: team-a, note: until the move, signed_until: 2027-01-01T00:00:00Z}
  - {name: old, enabled: false, key: ` + fmt.Sprintf("%q", pem1) + "}\n",
		"the gateway plugin's": `
trusted_signers:
  - {name: alice, type: keyless, oidc_issuer: "https://accounts.google.com", subject: alice@example.com, owner: team-a, note: until the move, enabled: true, signed_until: 2027-01-01T00:00:00Z}
  - {name: old, type: public_key, kms_key_ref: "", enabled: false, public_key: ` + fmt.Sprintf("%q", pem1) + "}\n",
		"JSON": `{"signing_policy": {"trusted_signers": [
			{"name": "alice", "type": "keyless", "issuer": "https://accounts.google.com", "subject": "alice@example.com", "owner": "team-a", "note": "until the move", "signed_until": "2027-01-01T00:00:00Z"},
			{"name": "old", "type": "public_key", "enabled": false, "key": ` + fmt.Sprintf("%q", pem1) + `}]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseSigners([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, sameSigners); diff != "" {
				t.Errorf("signers (-want +got):\n%s", diff)
			}
		})
	}
	got, err := ParseSigners([]byte("# a comment\ntrusted_signers:\n  - name: a\n    type: kms\n    key_ref: hashivault://a\n\n  - {name: b, type: kms, key_ref: hashivault://b}\n"))
	if err != nil || len(got) != 2 || got[0].Line != 3 || got[1].Line != 7 {
		t.Errorf("lines of %+v, %v; want 3 and 7", got, err)
	}
	if got, err := ParseSigners([]byte("trusted_signers: []\n")); err != nil || len(got) != 0 {
		t.Errorf("nobody: %v, %v", got, err)
	}
}

func TestParseSignersRefuses(t *testing.T) {
	const alice = "  - {name: alice, type: keyless, issuer: https://a.example, subject: x}\n"
	tests := []struct{ name, text, want string }{
		{"nothing", "", "line 1: the document is empty"},
		{"no list", "signing_policy: {}\n", "line 1: trusted_signers: is missing"},
		{"a list alone", "- {name: a}\n", "is a list, and must be a mapping"},
		{"what belongs to a policy", "mode: enforce\ntrusted_signers:\n" + alice, "line 1: mode: belongs to a policy"},
		{"unknown field", "trusted_signer: []\n", "trusted_signer: there is no such field; there are trusted_keys, trusted_signers"},
		{"both lists", "trusted_signers:\n" + alice + "trusted_keys: []\n", "trusted_signers and trusted_keys are both there"},
		{"no name", "trusted_signers:\n" + alice + "  - {type: keyless, issuer: https://a.example, subject: y}\n", "line 3: trusted_signers[1].name: is missing; a registered signer has a name of its own"},
		{"a name twice", "trusted_signers:\n" + alice + alice, `line 3: trusted_signers[1].name: "alice" is the name of the signer on line 2 too`},
		{"a name of an inline signer", "trusted_signers:\n  - {name: default/1, type: keyless, issuer: https://a.example, subject: x}\n", `line 2: trusted_signers[0].name: "default/1" is not a name`},
		{"an empty name", "trusted_signers: [{name: \"\", type: kms, key_ref: \"hashivault://a\"}]\n", "trusted_signers[0].name: is empty"},
		{"registry", "trusted_signers: [{type: registry}]\n", "trusted_signers[0].type: registry names registered signers, and this is the list of them"},
		{"no type", "trusted_signers: [{name: a}]\n", "trusted_signers[0].type: is missing; write one of keyless, public_key, kms"},
		{"names", "trusted_signers: [{name: a, names: [b], type: kms, key_ref: \"hashivault://a\"}]\n", "names: belongs to {type: registry}"},
		{"enabled no boolean", "trusted_signers: [{name: a, type: kms, key_ref: \"hashivault://a\", enabled: no}]\n", "must be true or false"},
		{"owner with a line break", "trusted_signers: [{name: a, type: kms, key_ref: \"hashivault://a\", owner: \"a\\nb\"}]\n", "owner: is longer than"},
		{"too large", "#" + strings.Repeat(" ", maxSignersBytes), "larger than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseSigners([]byte(tt.text))
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("ParseSigners = %v, want ErrInvalid that says %q", err, tt.want)
			}
			if got != nil {
				t.Errorf("signers came with the error: %+v", got)
			}
		})
	}
}

func TestParseSignersTooManyPatterns(t *testing.T) {
	text := "trusted_signers:\n"
	for i := range signers.MaxBarePatterns + 1 {
		text += fmt.Sprintf("  - {name: s%d, type: keyless, issuer: https://a.example, subject_regex: '.*@a%d.example'}\n", i, i)
	}
	if _, err := ParseSigners([]byte(text)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "101 patterns") {
		t.Errorf("ParseSigners = %v, want it to count the patterns", err)
	}
}

func TestFormatSignersRefuses(t *testing.T) {
	good := signers.Signer{Name: "a", Type: signers.KMS, KMSKeyRef: "hashivault://a", Enabled: true}
	inline, half := good, good
	inline.Name, half.KMSKeyRef = "default/1", ""
	for name, list := range map[string][]Entry{
		"an inline name": {{Signer: inline}},
		"half a signer":  {{Signer: half}},
		"a name twice":   {{Signer: good}, {Signer: good}},
	} {
		if body, err := FormatSigners(list); !errors.Is(err, ErrInvalid) || body != nil {
			t.Errorf("%s: %q, %v; want ErrInvalid", name, body, err)
		}
	}
}

// What is exported and imported again is the same in every field, and exported
// again the same bytes.
func TestImportOfExport(t *testing.T) {
	pool := keys(t, pem1+pem2)
	rapid.Check(t, func(t *rapid.T) {
		var want []Entry
		for i := range rapid.IntRange(0, 5).Draw(t, "signers") {
			s := drawSigner(t, fmt.Sprintf("s%d.x-_", i), pool)
			if err := s.Validate(); err != nil {
				t.Skip("not a signer: ", err)
			}
			want = append(want, Entry{Signer: s})
		}
		body, err := FormatSigners(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseSigners(body)
		if err != nil {
			t.Fatalf("the export does not read back: %v\n%s", err, body)
		}
		if diff := cmp.Diff(want, got, sameSigners); diff != "" {
			t.Fatalf("other signers came back (-want +got):\n%s\n%s", diff, body)
		}
		again, err := FormatSigners(got)
		if err != nil || string(again) != string(body) {
			t.Fatalf("exported again: %v\n%s\nthe first time:\n%s", err, again, body)
		}
	})
}

// drawSigner draws a signer with strings that YAML could mistake for something
// else.
func drawSigner(t *rapid.T, name string, pool []signers.Key) signers.Signer {
	words := []string{"yes", "null", "~", "0x1", "1e3", "2027-01-01", "a: b", "a #b", "- a", "'", `"`, "{a}", "<<", "&a", "*a", "!a", "é", "\u2028", "\ufeff", "😀", "|", "\n"}
	text := func(label string) string {
		return rapid.OneOf(rapid.SampledFrom(words), rapid.StringOfN(rapid.RuneFrom([]rune(" abz:#-'\"{}[]&*!|>%@`,?\\\t\né\u2028")), 1, 12, -1)).Draw(t, label)
	}
	line := func(label string) string {
		s := strings.TrimSpace(strings.NewReplacer("\n", "", "\t", "").Replace(text(label)))
		if s == "" {
			return "x"
		}
		return s
	}
	when := func(label string) *time.Time {
		if !rapid.Bool().Draw(t, label+" is there") {
			return nil
		}
		v := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, label), rapid.Int64Range(0, 999999999).Draw(t, label+" ns")).UTC()
		return &v
	}
	s := signers.Signer{Name: name, Enabled: rapid.Bool().Draw(t, "enabled")}
	if rapid.Bool().Draw(t, "people") {
		s.Owner, s.Note = line("owner"), text("note")
	}
	if rapid.Bool().Draw(t, "scoped") {
		s.Images = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"ghcr.io/org/**", "**", "*/a/b", "GHCR.io:443/x"}), 1, 3, rapid.ID).Draw(t, "images")
	}
	s.NotBefore, s.SignedFrom = when("not before"), when("signed from")
	if s.NotBefore == nil {
		s.ExpiresAt = when("expires")
	}
	if s.SignedFrom == nil {
		s.SignedUntil = when("signed until")
	}
	some := rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 1, len(pool), func(k signers.Key) string { return k.Fingerprint })
	switch s.Type = rapid.SampledFrom([]signers.Type{signers.Keyless, signers.PublicKey, signers.KMS}).Draw(t, "type"); s.Type {
	case signers.Keyless:
		s.Issuer = "https://a.example/" + strings.ReplaceAll(line("issuer"), "%", "")
		if rapid.Bool().Draw(t, "exact") {
			s.Subject = line("subject")
		} else {
			s.SubjectRegex = `https://a\.example/` + strings.NewReplacer(`\`, "", "[", "", "]", "", "{", "", "}", "", "?", "", "*", "").Replace(text("regex"))
		}
		names := rapid.SliceOfNDistinct(rapid.SampledFrom(signers.ClaimNames()), 0, 3, rapid.ID).Draw(t, "claims")
		for _, name := range names {
			if s.Claims == nil {
				s.Claims = map[string]string{}
			}
			s.Claims[name] = line("claim")
		}
		if rapid.Bool().Draw(t, "rooted") {
			s.TrustRoots = []string{line("root")}
		}
	case signers.PublicKey:
		s.Keys = some.Draw(t, "keys")
	case signers.KMS:
		s.KMSKeyRef = rapid.SampledFrom([]string{"hashivault://a", "awskms:///alias/a", "azurekms://v.vault.azure.net/k/1"}).Draw(t, "ref")
		s.AutoRotate = rapid.Bool().Draw(t, "rotate")
		if rapid.Bool().Draw(t, "resolved") {
			s.Keys = some.Draw(t, "keys")
		}
	}
	return s
}

func TestResolveKMS(t *testing.T) {
	parse := func() *Policy {
		return mustParse(t, `
trusted_signers:
  - {type: kms, key_ref: "hashivault://a"}
  - {type: keyless, issuer: https://a.example, subject: x}
  - {type: kms, key_ref: "hashivault://b"}
  - {type: kms, key_ref: "hashivault://a", images: ["ghcr.io/org/**"]}
`)
	}
	p := parse()
	if _, err := signers.Compile(p.InForce(nil)); !errors.Is(err, signers.ErrInvalid) || !strings.Contains(err.Error(), "has not been resolved") {
		t.Errorf("unresolved, it is put in force: %v", err)
	}
	asked := map[string]int{}
	pems := map[string]string{"hashivault://a": pem1, "hashivault://b": pem2}
	if err := p.ResolveKMS(func(ref string) (string, error) { asked[ref]++; return pems[ref], nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"hashivault://a": 1, "hashivault://b": 1}, asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	for i, want := range map[int]string{0: pem1, 2: pem2, 3: pem1} {
		if diff := cmp.Diff(keys(t, want), p.Inline[i].Keys, sameSigners); diff != "" {
			t.Errorf("signer %d (-want +got):\n%s", i, diff)
		}
	}
	if _, err := signers.Compile(p.InForce(nil)); err != nil {
		t.Errorf("resolved, it is refused: %v", err)
	}

	// One that cannot be resolved leaves all as they were.
	p, down := parse(), errors.New("vault is sealed")
	err := p.ResolveKMS(func(ref string) (string, error) {
		if ref == "hashivault://b" {
			return "", down
		}
		return pem1, nil
	})
	if !errors.Is(err, down) || !strings.Contains(err.Error(), "hashivault://b of trusted signer default/3") {
		t.Errorf("ResolveKMS = %v, want it to wrap the cause and name the signer", err)
	}
	if err := p.ResolveKMS(func(string) (string, error) { return "no key", nil }); err == nil || !strings.Contains(err.Error(), "is not PEM") {
		t.Errorf("no PEM: %v", err)
	}
	if slices.ContainsFunc(p.Inline, func(s signers.Signer) bool { return len(s.Keys) > 0 }) {
		t.Error("some signers were given keys all the same")
	}
}

// Whatever the bytes: no panic, an error or signers, and signers that their
// export gives again.
func FuzzParseSigners(f *testing.F) {
	f.Add([]byte("trusted_signers:\n  - {name: a, type: keyless, issuer: https://a.example, subject: x, claims: {build_trigger: push}, note: \"a\\n b\"}\n"))
	f.Add([]byte("trusted_keys:\n  - {name: a, enabled: false, key_ref: hashivault://a}\n  - name: b\n    key: |\n" + indent(pem1, 6) + "\n"))
	f.Add([]byte(`{"signing_policy": {"trusted_signers": []}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := ParseSigners(body)
		if err != nil {
			if list != nil || !errors.Is(err, ErrInvalid) {
				t.Fatalf("ParseSigners = %+v, %v", list, err)
			}
			return
		}
		names := map[string]bool{}
		for _, e := range list {
			names[e.Signer.Name] = true
		}
		if len(names) != len(list) {
			t.Fatalf("names are there twice: %v", slices.Sorted(maps.Keys(names)))
		}
		text, err := FormatSigners(list)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseSigners(text)
		if err != nil {
			t.Fatalf("the export does not read back: %v\n%s", err, text)
		}
		if diff := cmp.Diff(list, again, sameSigners); diff != "" {
			t.Fatalf("the export is of other signers:\n%s\n%s", diff, text)
		}
	})
}
