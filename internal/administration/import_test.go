package administration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/verdict"
)

// anyone is a policy for the registered signers.
const anyone = "trusted_signers: [{type: registry}]\n"

// document is a list of keyless signers to import.
func document(list ...client.Signer) []byte {
	var text strings.Builder
	text.WriteString("signing_policy:\n  trusted_signers:\n")
	for _, w := range list {
		fmt.Fprintf(&text, "    - {type: keyless, name: %s, issuer: %q, subject: %q}\n", w.Name, issuer, w.Subject)
	}
	return []byte(text.String())
}

func TestImportSigners(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		key := newKey(t)
		f.kms.set(vaultRef, key.PEM, nil)
		kept := must[client.Signer](t)(f.CreateSigner(ctx, root, keyless("kept")))
		old := must[client.Signer](t)(f.CreateSigner(ctx, root, keyless("old")))
		doc := []byte(`signing_policy:
  trusted_signers:
    - {type: keyless, name: kept, issuer: "` + issuer + `", subject: kept@example.com}
    - {type: keyless, name: old, issuer: "` + issuer + `", subject: new@example.com, owner: web, enabled: false}
    - {type: kms, name: service, key_ref: "` + vaultRef + `", note: hello}
`)
		f.untouched(t, func() {
			_, err := f.ImportSigners(ctx, root, doc, ImportOptions{})
			wants(t, err, ErrConflict, "there are signers of these names already: kept, old;")
			dry := must[client.Imported](t)(f.ImportSigners(ctx, root, doc, ImportOptions{Replace: true, DryRun: true}))
			same(t, client.Imported{Created: []string{"service"}, Updated: []string{"old"}, Unchanged: []string{"kept"}, DryRun: true}, dry)
		})
		f.clock.move(time.Minute)
		got := must[client.Imported](t)(f.ImportSigners(ctx, root, doc, ImportOptions{Replace: true}))
		same(t, client.Imported{Created: []string{"service"}, Updated: []string{"old"}, Unchanged: []string{"kept"}}, got)
		same(t, kept, must[client.Signer](t)(f.Signer(ctx, root, kept.ID)))
		want := old
		want.Subject, want.Owner, want.Enabled, want.State, want.Version, want.UpdatedAt = "new@example.com", "web", false, "disabled", 2, ptr(start.Add(time.Minute))
		same(t, want, must[client.Signer](t)(f.Signer(ctx, root, old.ID)))
		made := must[client.Page[client.Signer]](t)(f.Signers(ctx, root, SignerFilter{Query: "service"})).Items[0]
		same(t, []string{key.Fingerprint}, made.Fingerprints)
		same(t, &client.KMSState{CheckedAt: ptr(start.Add(time.Minute))}, made.KMS)
		same(t, []entry{
			{"root", "192.0.2.1", "signer.update", "signer/" + old.ID, "because"},
			{"root", "192.0.2.1", "signer.create", "signer/" + made.ID, "because"},
		}, f.audited(t, 2))

		// What is exported is what is there.
		read := f.kms.read
		yaml := must[[]byte](t)(f.ExportSigners(ctx, root))
		f.untouched(t, func() {
			again := must[client.Imported](t)(f.ImportSigners(ctx, root, yaml, ImportOptions{Replace: true}))
			same(t, 3, len(again.Unchanged))
		})
		same(t, read, f.kms.read)

		// And makes another installation the same.
		other := onSQLite(t)
		must[client.Imported](t)(other.ImportSigners(ctx, root, yaml, ImportOptions{}))
		ignore := cmpopts.IgnoreFields(store.SignerRow{}, "ID", "CreatedBy", "CreatedAt", "UpdatedBy", "UpdatedAt", "Version")
		sorted := cmpopts.SortSlices(func(a, b store.SignerRow) bool { return a.Name < b.Name })
		if d := cmp.Diff(must[[]store.SignerRow](t)(f.store.Signers(ctx)), must[[]store.SignerRow](t)(other.store.Signers(ctx)), ignore, sorted); d != "" {
			t.Errorf("import of the export differs:\n%s", d)
		}

		// A kms signer that becomes another type is read no more.
		must[client.Imported](t)(f.ImportSigners(ctx, root, document(client.Signer{Name: "service", Subject: "x"}), ImportOptions{Replace: true}))
		same(t, []store.Upkeep{}, must[[]store.Upkeep](t)(f.store.Upkeep(ctx, store.UpkeepKMS)))
	})
}

func TestImportRefuses(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	must[client.Signer](t)(f.CreateSigner(ctx, root, keyless("there")))
	const head = "trusted_signers:\n"
	good := "  - {type: keyless, name: good, issuer: 'https://a.example', subject: x}\n"
	tests := []struct {
		name, doc string
		want      []string
	}{
		{"not YAML", "{", []string{""}},
		{"nothing", "", []string{"line 1: the document is empty"}},
		{"no name", head + good + "  - {type: keyless, issuer: 'https://a.example', subject: x}\n", []string{"trusted_signers[1].name: line 3: is missing"}},
		{"several entries", head + good + "  - {type: keyless, name: a, subject: x}\n  - {type: keyless, name: b/1, issuer: 'https://a.example', subject: x}\n",
			[]string{"trusted_signers[1].issuer: line 3: is missing", "trusted_signers[2].name: line 4: \"b/1\" is not a name"}},
		{"one name twice", head + good + good, []string{"trusted_signers[1].name: line 3: \"good\" is the name of the signer on line 2 too"}},
		{"an unknown field", head + "  - {type: keyless, name: a, issuer: 'https://a.example', subject: x, colour: red}\n", []string{"trusted_signers[0].colour: line 2: there is no such field"}},
		{"the registry", head + "  - {type: registry}\n", []string{"trusted_signers[0].type: line 2: "}},
		{"a policy", "threshold: 2\n" + head + good, []string{"threshold: line 1: belongs to a policy"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, dry := range []bool{true, false} {
				f.untouched(t, func() {
					_, err := f.ImportSigners(ctx, root, []byte(tt.doc), ImportOptions{Replace: true, DryRun: dry})
					mistakes(t, err, tt.want...)
				})
			}
		})
	}
	f.untouched(t, func() {
		const kms = "  - {type: kms, name: k, key_ref: 'hashivault://none'}\n  - {type: kms, name: l, key_ref: 'hashivault://none'}\n"
		read := f.kms.read
		_, err := f.ImportSigners(ctx, root, []byte(head+good+kms), ImportOptions{})
		mistakes(t, err, "trusted_signers[1].kms_key_ref: line 3: the key cannot be read: there is no such key",
			"trusted_signers[2].kms_key_ref: line 4: the key cannot be read: there is no such key")
		same(t, read+1, f.kms.read)
		_, err = f.ImportSigners(ctx, web, []byte(head+good+"  - {type: keyless, name: a, owner: ops, issuer: 'https://a.example', subject: x}\n"), ImportOptions{})
		wants(t, err, ErrNotYours, `line 3: signer "a": belongs to team "ops"`)
	})
}

// Ten thousand signers come in one change, and come back from it.
func TestImportMany(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	const many = 10_000
	list := make([]client.Signer, many)
	for i := range list {
		list[i] = keyless(fmt.Sprintf("signer-%05d", i))
	}
	began := time.Now()
	got := must[client.Imported](t)(f.ImportSigners(ctx, root, document(list...), ImportOptions{}))
	t.Logf("imported %d signers in %s", many, time.Since(began))
	same(t, many, len(got.Created))
	same(t, int64(1), must[verdict.Active](t)(f.store.Active(ctx)).Revision)
	began = time.Now()
	yaml := must[[]byte](t)(f.ExportSigners(ctx, root))
	again := must[client.Imported](t)(f.ImportSigners(ctx, root, yaml, ImportOptions{Replace: true}))
	t.Logf("exported and compared them in %s", time.Since(began))
	same(t, many, len(again.Unchanged))
	broken := append(document(list...), "    - {type: keyless, name: last}\n"...)
	other := onSQLite(t)
	other.untouched(t, func() {
		_, err := other.ImportSigners(ctx, root, broken, ImportOptions{})
		mistakes(t, err, "trusted_signers[10000].issuer: line 10003: is missing")
	})
}

// A signer names trust roots that there are, once there are any.
func TestTrustRootsOfSigners(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	bound := func(name, to string) client.Signer {
		w := keyless(name)
		w.TrustRoots = []string{to}
		return w
	}
	early := must[client.Signer](t)(f.CreateSigner(ctx, root, bound("early", "private")))
	err := f.change(ctx, root, func(tx *store.Tx) error {
		digest := facts.Digest([]byte("{}"))
		if err := tx.PutObject(ctx, "trust_root", digest, []byte("{}")); err != nil {
			return err
		}
		_, err := tx.PutRoot(ctx, store.RootRow{Name: "public", Source: "api", Kind: "file", Digest: digest, Requires: []byte(`{"log":true}`)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	must[client.Signer](t)(f.CreateSigner(ctx, root, bound("known", "public")))
	f.untouched(t, func() {
		const want = `trust_roots: there is no trust root "private"; there are public`
		_, err := f.CreateSigner(ctx, root, bound("unknown", "private"))
		mistakes(t, err, want)
		_, err = f.UpdateSigner(ctx, root, early.ID, 1, []byte(`{"trust_roots": ["private", "other"]}`))
		mistakes(t, err, `trust_roots: there is no trust root "other"`)
		doc := []byte("trusted_signers:\n  - {type: keyless, name: a, issuer: 'https://a.example', subject: x, trust_roots: [private]}\n")
		_, err = f.ImportSigners(ctx, root, doc, ImportOptions{})
		mistakes(t, err, `trusted_signers[0].trust_roots: line 2: there is no trust root "private"`)
	})
	must[client.Signer](t)(f.UpdateSigner(ctx, root, early.ID, 1, []byte(`{"enabled": false}`)))
}
