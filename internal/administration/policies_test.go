package administration

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
)

func TestPolicyLifecycle(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		body := anyone + "images: [ghcr.io/org/**]\nmode: audit\n"
		made := must[client.Policy](t)(f.PutPolicy(ctx, root, "strict", "web", []byte(body), nil))
		p := must[*signingpolicy.Policy](t)(signingpolicy.ParseAs("strict", []byte(body)))
		canonical := string(must[[]byte](t)(p.Canonical()))
		want := client.Policy{
			Name: "strict", Source: "api", Owner: "web", Mode: "audit", Images: []string{"ghcr.io/org/**"}, Exceptions: []client.Exception{}, SigningPolicy: canonical, Digest: made.Digest,
			CreatedBy: "root", CreatedAt: start, UpdatedBy: "root", UpdatedAt: start, Version: 1,
		}
		same(t, want, made)
		same(t, []entry{{"root", "192.0.2.1", "policy.create", "policy/strict", "because"}}, f.audited(t, 1))
		same(t, want, must[client.Policy](t)(f.Policy(ctx, root, "strict")))

		f.untouched(t, func() {
			same(t, want, must[client.Policy](t)(f.PutPolicy(ctx, root, "strict", "", []byte(canonical), ptr(int64(1)))))
			_, err := f.PutPolicy(ctx, root, "strict", "", []byte(body), nil)
			wants(t, err, ErrConflict, `policy "strict": is there already`)
			_, err = f.PutPolicy(ctx, root, "strict", "", []byte(body), ptr(int64(2)))
			wants(t, err, ErrStale, "version 1")
			_, err = f.PutPolicy(ctx, root, "absent", "", []byte(body), ptr(int64(1)))
			wants(t, err, ErrNotFound, `there is no policy "absent"`)
			wants(t, f.DeletePolicy(ctx, root, "strict", 2), ErrStale, "version 1")
			wants(t, f.DeletePolicy(ctx, root, "absent", 1), ErrNotFound, "absent")
			_, err = f.Policy(ctx, root, "absent")
			wants(t, err, ErrNotFound, "absent")
		})
		f.clock.move(time.Minute)
		changed := must[client.Policy](t)(f.PutPolicy(ctx, web, "strict", "", []byte(anyone), ptr(int64(1))))
		if changed.Owner != "web" || changed.Mode != "enforce" || changed.Version != 2 || changed.CreatedBy != "root" || changed.UpdatedBy != "web-admin" {
			t.Errorf("changed: %+v", changed)
		}
		if err := f.DeletePolicy(ctx, web, "strict", 2); err != nil {
			t.Fatal(err)
		}
		same(t, []entry{
			{"web-admin", "192.0.2.2", "policy.update", "policy/strict", ""},
			{"web-admin", "192.0.2.2", "policy.delete", "policy/strict", ""},
		}, f.audited(t, 2))
		same(t, []client.Policy{}, must[client.Page[client.Policy]](t)(f.Policies(ctx, root, 0, "")).Items)
	})
}

func TestPutPolicyRefuses(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	put := func(name, owner, body string) error {
		_, err := f.PutPolicy(ctx, root, name, owner, []byte(body), nil)
		return err
	}
	f.untouched(t, func() {
		mistakes(t, put("a", "", ""), "line 1: the document is empty")
		mistakes(t, put("A", "", anyone), `name: line 1: "A" is not a name`)
		mistakes(t, put("a", "", "name: b\n"+anyone), `name: line 1: is "b" in the document`)
		mistakes(t, put("a", "", "threshold: 0\nmode: lax\ntrusted_signers: [{type: keyless, subject: x}]\n"),
			"threshold: line 1: 0 signers", `mode: line 2: "lax" is none of`, "trusted_signers[0].issuer: line 3: is missing")
		mistakes(t, put("a", " web", anyone), "owner: ")
		f.checked = errors.New("the rules do not compile")
		mistakes(t, put("a", "", anyone), "signing_policy: the rules do not compile")
	})
}

func TestPoliciesList(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	for _, name := range []string{"c", "a", "b"} {
		must[client.Policy](t)(f.PutPolicy(ctx, root, name, "", []byte(anyone), nil))
	}
	var names []string
	for after := ""; ; {
		page := must[client.Page[client.Policy]](t)(f.Policies(ctx, root, 2, after))
		for _, p := range page.Items {
			names = append(names, p.Name)
		}
		names = append(names, "|")
		if after = page.Next; after == "" {
			break
		}
	}
	same(t, "a b | c |", strings.Join(names, " "))
	_, err := f.Policies(ctx, root, -1, "")
	mistakes(t, err, "limit: ")
}

func TestSeedPolicies(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		named := func(name, text string) *signingpolicy.Policy {
			return must[*signingpolicy.Policy](t)(signingpolicy.ParseAs(name, []byte(text)))
		}
		names := func() string {
			var out []string
			for _, p := range must[client.Page[client.Policy]](t)(f.Policies(ctx, root, 0, "")).Items {
				out = append(out, fmt.Sprintf("%s:%s:%s:%d", p.Name, p.Source, p.Mode, p.Version))
			}
			return strings.Join(out, " ")
		}
		must[client.Policy](t)(f.PutPolicy(ctx, root, "mine", "", []byte(anyone), nil))
		seed := func(list ...*signingpolicy.Policy) {
			t.Helper()
			if err := f.SeedPolicies(ctx, list, nil); err != nil {
				t.Fatal(err)
			}
		}
		seed(signingpolicy.Default(), named("second", anyone))
		same(t, "default:configuration:enforce:1 mine:api:enforce:1 second:configuration:enforce:1", names())
		f.untouched(t, func() { seed(signingpolicy.Default(), named("second", anyone)) })
		seed(named("default", anyone+"mode: audit\n"))
		same(t, "default:configuration:audit:2 mine:api:enforce:1", names())
		same(t, []entry{
			{"server", "configuration", "policy.update", "policy/default", "the server's configuration"},
			{"server", "configuration", "policy.delete", "policy/second", "the server's configuration"},
		}, f.audited(t, 2))
		f.untouched(t, func() {
			wants(t, f.SeedPolicies(ctx, []*signingpolicy.Policy{named("new", anyone), named("mine", anyone)}, nil), ErrConflict, `policy "mine": is in the configuration`)
			_, err := f.PutPolicy(ctx, root, "default", "", []byte(anyone), ptr(int64(2)))
			wants(t, err, ErrConflict, `policy "default": is written in the server's configuration`)
			wants(t, f.DeletePolicy(ctx, root, "default", 2), ErrConflict, "change it there")
		})
	})
}

func TestAuditLog(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	same(t, int64(0), must[client.AuditHead](t)(f.AuditHead(ctx, root)).Seq)
	w := must[client.Signer](t)(f.CreateSigner(ctx, root, keyless("a")))
	must[client.Token](t)(f.CreateToken(ctx, root, client.NewToken{Name: "t", Role: "viewer"}))
	must[client.Signer](t)(f.UpdateSigner(ctx, root, w.ID, 1, []byte(`{"note": "x"}`)))
	pages := func(c Caller, filter AuditFilter) string {
		var out []string
		for {
			page := must[client.Page[client.AuditEntry]](t)(f.Audit(ctx, c, filter))
			for _, e := range page.Items {
				out = append(out, e.Action)
			}
			out = append(out, "|")
			if page.Next == "" {
				return strings.Join(out, " ")
			}
			if _, err := fmt.Sscan(page.Next, &filter.Before); err != nil {
				t.Fatal(err)
			}
		}
	}
	same(t, "signer.update token.create signer.create |", pages(root, AuditFilter{}))
	same(t, "signer.update token.create | signer.create |", pages(root, AuditFilter{Limit: 2}))
	same(t, "signer.update signer.create |", pages(root, AuditFilter{Object: "signer/" + w.ID}))
	same(t, "signer.update | | signer.create |", pages(web, AuditFilter{Limit: 1})) // tokens are not a team's to see
	_, err := f.Audit(ctx, root, AuditFilter{Limit: 1001})
	mistakes(t, err, "limit: ")

	// What no index has is looked for among so many entries, and goes on from there.
	f.clock.move(5 * time.Hour)
	later := f.clock.Now()
	must[client.Signer](t)(f.UpdateSigner(ctx, root, w.ID, 2, []byte(`{"note": "y"}`)))
	scan := func(filter AuditFilter) string {
		var out []string
		for {
			page := must[client.Page[client.AuditEntry]](t)(f.auditPage(ctx, root, filter, 2))
			for _, e := range page.Items {
				out = append(out, e.Action)
			}
			out = append(out, "|")
			if page.Next == "" {
				return strings.Join(out, " ")
			}
			if _, err := fmt.Sscan(page.Next, &filter.Before); err != nil {
				t.Fatal(err)
			}
		}
	}
	same(t, "| token.create |", scan(AuditFilter{Name: "t"}))
	same(t, "signer.update signer.update | signer.create |", scan(AuditFilter{Action: "signer."}))
	same(t, "signer.update | signer.update | signer.create |", scan(AuditFilter{Name: "a", Limit: 1}))
	same(t, "signer.update |", scan(AuditFilter{Actor: root.Principal.Name, Since: later})) // what is older by far is not looked at
	same(t, "| |", scan(AuditFilter{Actor: "nobody", Before: 1 << 40}))
	_, err = f.Audit(ctx, root, AuditFilter{Since: later, Until: later})
	mistakes(t, err, "until: is not after since")

	head := must[client.AuditHead](t)(f.AuditHead(ctx, root))
	same(t, int64(4), head.Seq)
	same(t, head, must[client.AuditHead](t)(f.VerifyAudit(ctx, root, client.AuditHead{})))
	same(t, head, must[client.AuditHead](t)(f.VerifyAudit(ctx, root, head)))
	_, err = f.VerifyAudit(ctx, root, client.AuditHead{Seq: 2, Hash: strings.Repeat("1", 64)})
	wants(t, err, store.ErrCorrupt, "entry 2")
	for _, known := range []client.AuditHead{{Seq: 1}, {Hash: "x"}, {Seq: -1, Hash: "x"}} {
		_, err = f.VerifyAudit(ctx, root, known)
		mistakes(t, err, "known: needs both seq and hash")
	}
	first := client.AuditHead{Hash: strings.Repeat("0", 64)} // what an empty log's head is
	must[client.AuditHead](t)(f.VerifyAudit(ctx, root, first))
}

func TestRotateSecret(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		label := func() [32]byte {
			secret := must[auth.Secret](t)(f.store.Secret(ctx))
			return must[[32]byte](t)(secret.Derive("cache"))
		}
		before := label()
		if err := f.RotateSecret(ctx, root); err != nil {
			t.Fatal(err)
		}
		if label() == before {
			t.Error("the secret is what it was")
		}
		got := f.audited(t, 1)[0]
		same(t, entry{"root", "192.0.2.1", got.Action, got.Object, "because"}, got)
	})
}

// The embedded policy is there while nobody has written one, can be replaced, and
// does not come back beside those that administrators have put.
func TestSeedFallback(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	fallback := signingpolicy.Default()
	seed := func(list ...*signingpolicy.Policy) string {
		t.Helper()
		if err := f.SeedPolicies(ctx, list, fallback); err != nil {
			t.Fatal(err)
		}
		rows, err := f.store.Policies(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, r := range rows {
			names = append(names, r.Name+" "+r.Source)
		}
		return strings.Join(names, ", ")
	}
	for _, tt := range []struct{ what, want string }{
		{"the first start", "default embedded"}, {"another start", "default embedded"},
	} {
		if got := seed(); got != tt.want {
			t.Errorf("%s: %s", tt.what, got)
		}
	}
	configured, err := signingpolicy.ParseAs("mine", []byte(anyone))
	if err != nil {
		t.Fatal(err)
	}
	if got := seed(configured); got != "mine configuration" {
		t.Errorf("with a policy in the configuration: %s", got)
	}
	if got := seed(); got != "default embedded" {
		t.Errorf("without it again: %s", got)
	}
	rows, err := f.store.Policies(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.PutPolicy(ctx, root, "default", "", []byte(anyone), &rows[0].Version); err != nil {
		t.Fatal(err)
	}
	if got := seed(); got != "default api" {
		t.Errorf("after it was replaced: %s", got)
	}
}

// Signers whom a policy wants by name are registered before it is put, wherever it
// names them, and stay while it does.
func TestNamedSignersAreThere(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	put := func(body string) error {
		_, err := f.PutPolicy(ctx, root, "named", "", []byte("trusted_signers: [{type: registry}]\n"+body), nil)
		return err
	}
	for _, tt := range []struct{ body, field string }{
		{"groups: [{name: g, signers: [absent]}]\n", "groups[0].signers[0]"},
		{"attestations: [{predicate_type: spdx}, {predicate_type: vuln, max_age: 1d, signers: [absent]}]\n", "attestations[1].signers[0]"},
		{"attestations: [{predicate_type: vuln, max_age: 1d}]\ncontents: {vulnerabilities: {maximum_severity: low, vex: {signers: [absent]}}}\n", "contents.vulnerabilities.vex.signers[0]"},
		{"contents: {base_images: {allowed: [\"docker.io/**\"], signers: [absent]}}\n", "contents.base_images.signers[0]"},
		{"slsa: {require_attestation: true, minimum_level: 1, trusted_sources: [\"https://github.com/acme\"], trusted_builders: [{builder: \"https://github.com/slsa-framework/slsa-github-generator\", signers: [absent]}]}\n", "slsa.trusted_builders[0].signers[0]"},
		{"verification_summaries: [{verifiers: [absent], verifier_id: \"https://v.example\", max_age: 1d}]\n", "verification_summaries[0].verifiers[0]"},
	} {
		t.Run(tt.field, func(t *testing.T) {
			f.untouched(t, func() {
				mistakes(t, put(tt.body), tt.field+`: "absent" is no registered signer; register it first (signet signers add --name absent), or name another: nobody is registered`)
			})
		})
	}
	if got := someNames([]string{"b", "a"}); got != "registered: a, b" {
		t.Error(got)
	}
	if got := someNames(strings.Split("abcdefghijkl", "")); got != "registered: a, b, c, d, e, f, g, h, i, j and others (signet signers list)" {
		t.Error(got)
	}
	wanted := must[client.Signer](t)(f.CreateSigner(ctx, root, keyless("absent")))
	if err := put("attestations: [{predicate_type: spdx, signers: [absent]}]\n"); err != nil {
		t.Fatal(err)
	}
	wants(t, f.DeleteSigner(ctx, root, wanted.ID, wanted.Version), ErrConflict, `policy "named" names it`)
}
