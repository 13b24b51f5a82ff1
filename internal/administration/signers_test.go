package administration

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
)

func TestSignerLifecycle(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		key, other := newKey(t), newKey(t)
		f.kms.set(vaultRef, other.PEM, nil)
		all := client.Signer{
			Name: "release", Type: "keyless", Issuer: "https://token.actions.githubusercontent.com", SubjectRegex: "https://github.com/org/.*",
			Claims: map[string]string{"source_repository_uri": "https://github.com/org/*"}, Images: []string{"ghcr.io/org/**"}, Enabled: true,
			NotBefore: ptr(start.Add(-time.Hour)), ExpiresAt: ptr(start.Add(time.Hour)),
			SignedFrom: ptr(start.Add(-2 * time.Hour)), SignedUntil: ptr(start), Owner: "web", Note: "the release job",
		}
		asked := map[string]client.Signer{
			"release": all,
			"key":     {Name: "key", Type: "public_key", PublicKey: key.PEM, Enabled: false},
			"kms":     {Name: "kms", Type: "kms", KMSKeyRef: vaultRef, AutoRotate: true, Enabled: true},
		}
		made := map[string]client.Signer{}
		for _, name := range []string{"release", "key", "kms"} {
			made[name] = must[client.Signer](t)(f.CreateSigner(ctx, root, asked[name]))
			same(t, []entry{{"root", "192.0.2.1", "signer.create", "signer/" + made[name].ID, "because"}}, f.audited(t, 1))
			same(t, made[name], must[client.Signer](t)(f.Signer(ctx, root, made[name].ID)))
		}
		want := all
		want.TrustRoots = []string{}
		want.ID, want.Fingerprints, want.State, want.Version = made["release"].ID, []string{}, "in_force", 1
		want.CreatedBy, want.CreatedAt, want.UpdatedBy, want.UpdatedAt = "root", ptr(start), "root", ptr(start)
		same(t, want, made["release"])
		same(t, "disabled", made["key"].State)
		same(t, []string{key.Fingerprint}, made["key"].Fingerprints)
		same(t, other.PEM, made["kms"].PublicKey)
		same(t, &client.KMSState{CheckedAt: ptr(start)}, made["kms"].KMS)

		// Every kind can be put in force from its row.
		rows := must[[]store.SignerRow](t)(f.store.Signers(ctx))
		list := must[[]signers.Signer](t)(FromRows(rows))
		if _, err := signers.Compile(list); err != nil {
			t.Error(err)
		}

		f.clock.move(time.Minute)
		changed := must[client.Signer](t)(f.UpdateSigner(ctx, root, made["release"].ID, 1, []byte(`{"note": "changed", "claims": {"source_repository_uri": null, "build_trigger": "push"}, "expires_at": null}`)))
		want.Note, want.Claims, want.ExpiresAt = "changed", map[string]string{"build_trigger": "push"}, nil
		want.Version, want.UpdatedAt = 2, ptr(start.Add(time.Minute))
		same(t, want, changed)
		same(t, []entry{{"root", "192.0.2.1", "signer.update", "signer/" + want.ID, "because"}}, f.audited(t, 1))

		if err := f.DeleteSigner(ctx, root, made["kms"].ID, 1); err != nil {
			t.Fatal(err)
		}
		same(t, []entry{{"root", "192.0.2.1", "signer.delete", "signer/" + made["kms"].ID, "because"}}, f.audited(t, 1))
		same(t, []store.Upkeep{}, must[[]store.Upkeep](t)(f.store.Upkeep(ctx, store.UpkeepKMS)))
		_, err := f.Signer(ctx, root, made["kms"].ID)
		wants(t, err, ErrNotFound, "there is no signer with the id")
	})
}

func TestCreateSignerRefuses(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	must[client.Signer](t)(f.CreateSigner(ctx, root, keyless("taken")))
	tests := []struct {
		name string
		edit func(*client.Signer)
		want []string
	}{
		{"no name", func(w *client.Signer) { w.Name = "" }, []string{"name: \"\" is not a name"}},
		{"name of an inline signer", func(w *client.Signer) { w.Name = "a/1" }, []string{"name: "}},
		{"no type", func(w *client.Signer) { w.Type = "" }, []string{"type: is missing"}},
		{"several mistakes", func(w *client.Signer) { w.Issuer, w.Images = "", []string{"nginx"} }, []string{"issuer: is missing", "images: image pattern"}},
		{"both subjects", func(w *client.Signer) { w.SubjectRegex = "https://x" }, []string{"subject_regex: stands beside"}},
		{"a bad claim", func(w *client.Signer) { w.Claims = map[string]string{"repository": "x"} }, []string{"claims: \"repository\" is not a claim"}},
		{"a key that is none", func(w *client.Signer) { *w = client.Signer{Name: "x", Type: "public_key", PublicKey: "cosign.pub"} }, []string{"public_key: is not PEM"}},
		{"a key for an identity", func(w *client.Signer) { w.PublicKey = newKey(t).PEM }, []string{"public_key: does not go with type keyless"}},
		{"a kms signer with a key", func(w *client.Signer) { *w = kmsSigner("x"); w.PublicKey = newKey(t).PEM }, []string{"public_key: does not go with type kms"}},
		{"a kms signer of no service", func(w *client.Signer) { *w = kmsSigner("x"); w.KMSKeyRef = "vault://x" }, []string{"kms_key_ref: "}},
		{"a kms signer without a key there", func(w *client.Signer) { *w = kmsSigner("x") }, []string{"kms_key_ref: the key cannot be read: there is no such key"}},
		{"ends before it begins", func(w *client.Signer) { w.NotBefore, w.ExpiresAt = ptr(start), ptr(start) }, []string{"expires_at: "}},
		{"what the server says", func(w *client.Signer) {
			w.ID, w.State, w.Version, w.CreatedBy, w.UpdatedBy, w.CreatedAt, w.UpdatedAt = "x", "in_force", 1, "x", "x", ptr(start), ptr(start)
			w.Fingerprints, w.KMS = []string{"x"}, &client.KMSState{}
		}, []string{"id: is the server's", "fingerprints: ", "state: ", "kms: ", "created_by: ", "created_at: ", "updated_by: ", "updated_at: ", "version: "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := keyless("new")
			tt.edit(&w)
			f.untouched(t, func() {
				_, err := f.CreateSigner(ctx, root, w)
				mistakes(t, err, tt.want...)
			})
		})
	}
	f.untouched(t, func() {
		_, err := f.CreateSigner(ctx, root, keyless("taken"))
		wants(t, err, ErrConflict, `name: "taken" is taken by another signer`)
	})
	t.Run("without a key management service", func(t *testing.T) {
		without := must[*Service](t)(New(Config{Store: f.store}))
		f.untouched(t, func() {
			_, err := without.CreateSigner(ctx, root, kmsSigner("x"))
			mistakes(t, err, "kms_key_ref: the key cannot be read: no key management service")
		})
	})
	t.Run("what a service gives is not believed", func(t *testing.T) {
		for _, pem := range []string{"", "garbage", newKey(t).PEM + "-----BEGIN PUBLIC KEY-----\n"} {
			f.kms.set(vaultRef, pem, nil)
			f.untouched(t, func() {
				_, err := f.CreateSigner(ctx, root, kmsSigner("x"))
				mistakes(t, err, "kms_key_ref: the key cannot be read: what the service gave")
			})
		}
	})
}

func TestUpdateSigner(t *testing.T) {
	key, second := newKey(t), newKey(t)
	inJSON := strings.ReplaceAll(second.PEM, "\n", `\n`)
	sameInJSON := strings.ReplaceAll(key.PEM, "\n", `\n`)
	tests := []struct {
		name, patch string
		of          client.Signer
		want        func(*client.Signer)
	}{
		{"disable", `{"enabled": false}`, keyless("a"), func(w *client.Signer) { w.Enabled, w.State = false, "disabled" }},
		{"rename", `{"name": "b"}`, keyless("a"), func(w *client.Signer) { w.Name = "b" }},
		{"images", `{"images": ["ghcr.io/a/**"]}`, keyless("a"), func(w *client.Signer) { w.Images = []string{"ghcr.io/a/**"} }},
		{"from exact to pattern", `{"subject": null, "subject_regex": "https://github.com/org/.*"}`, keyless("a"), func(w *client.Signer) { w.Subject, w.SubjectRegex = "", "https://github.com/org/.*" }},
		{"another key", `{"public_key": "` + inJSON + `"}`, client.Signer{Name: "a", Type: "public_key", PublicKey: key.PEM}, func(w *client.Signer) {
			w.PublicKey, w.Fingerprints = second.PEM, []string{second.Fingerprint}
		}},
		{"another reference reads the key", `{"kms_key_ref": "hashivault://second"}`, kmsSigner("a"), func(w *client.Signer) {
			w.KMSKeyRef, w.PublicKey, w.Fingerprints = "hashivault://second", second.PEM, []string{second.Fingerprint}
		}},
		{"from a key to a service", `{"type": "kms", "kms_key_ref": "hashivault://second"}`, client.Signer{Name: "a", Type: "public_key", PublicKey: key.PEM}, func(w *client.Signer) {
			w.Type, w.KMSKeyRef, w.PublicKey, w.Fingerprints = "kms", "hashivault://second", second.PEM, []string{second.Fingerprint}
			w.KMS = &client.KMSState{CheckedAt: ptr(start)}
		}},
		{"from a service to its key", `{"type": "public_key", "kms_key_ref": null, "public_key": "` + sameInJSON + `"}`, kmsSigner("a"), func(w *client.Signer) {
			w.Type, w.KMSKeyRef, w.KMS = "public_key", "", nil
		}},
		{"from a service to an identity", `{"type": "keyless", "kms_key_ref": null, "issuer": "` + issuer + `", "subject": "x"}`, kmsSigner("a"), func(w *client.Signer) {
			w.Type, w.KMSKeyRef, w.KMS, w.PublicKey, w.Fingerprints, w.Issuer, w.Subject = "keyless", "", nil, "", []string{}, issuer, "x"
		}},
		{"what is the server's, unchanged", `{"version": 1, "state": "in_force", "created_by": "root", "fingerprints": [], "note": "n"}`, keyless("a"), func(w *client.Signer) { w.Note = "n" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := onSQLite(t)
			f.kms.set(vaultRef, key.PEM, nil)
			f.kms.set("hashivault://second", second.PEM, nil)
			want := must[client.Signer](t)(f.CreateSigner(t.Context(), root, tt.of))
			got, err := f.UpdateSigner(t.Context(), root, want.ID, 1, []byte(tt.patch))
			if err != nil {
				t.Fatal(err)
			}
			tt.want(&want)
			want.Version = 2
			same(t, want, got)
			same(t, want, must[client.Signer](t)(f.Signer(t.Context(), root, want.ID)))
			row := must[store.SignerRow](t)(f.store.Signer(t.Context(), want.ID))
			must[signers.Signer](t)(FromRow(row))
		})
	}
}

func TestUpdateSignerWritesNothing(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	key := newKey(t)
	f.kms.set(vaultRef, key.PEM, nil)
	made := must[client.Signer](t)(f.CreateSigner(ctx, root, keyless("a")))
	kms := must[client.Signer](t)(f.CreateSigner(ctx, root, kmsSigner("k")))
	must[client.Signer](t)(f.CreateSigner(ctx, root, keyless("b")))
	must[client.Policy](t)(f.PutPolicy(ctx, root, "strict", "", []byte("trusted_signers: [{type: registry, names: [a]}]"), nil))
	whole := must[map[string]any](t)(objectOf(made))
	if len(whole) < 10 {
		t.Fatalf("only %d fields", len(whole))
	}
	nothing := []string{`{}`, `{"enabled": true}`, `{"claims": {"build_trigger": null}, "note": null, "images": []}`, `{"images": null}`, `{"id": "` + made.ID + `"}`}
	for _, patch := range nothing {
		f.untouched(t, func() {
			got, err := f.UpdateSigner(ctx, root, made.ID, 1, []byte(patch))
			if err != nil {
				t.Errorf("%s: %v", patch, err)
			}
			same(t, made, got)
		})
	}
	read := f.kms.read
	f.untouched(t, func() {
		got, err := f.UpdateSigner(ctx, root, kms.ID, 1, []byte(`{"kms_key_ref": "`+vaultRef+`", "type": "kms", "public_key": "`+strings.ReplaceAll(key.PEM, "\n", `\n`)+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		same(t, kms, got)
	})
	same(t, read, f.kms.read)

	wrong := []struct {
		name, id, patch string
		want            []string
	}{
		{"not JSON", made.ID, `{`, []string{"the patch is not a JSON object"}},
		{"a list", made.ID, `[]`, []string{"the patch must be a JSON object"}},
		{"null", made.ID, `null`, []string{"the patch must be a JSON object"}},
		{"a duplicate", made.ID, `{"note": "a", "note": "b"}`, []string{"the patch is not a JSON object"}},
		{"a duplicate claim", made.ID, `{"claims": {"x": "a", "x": "b"}}`, []string{"the patch is not a JSON object"}},
		{"an unknown field", made.ID, `{"colour": "red"}`, []string{"colour: there is no such field; there are id, name, type"}},
		{"a field in another case", made.ID, `{"Enabled": false}`, []string{"Enabled: there is no such field"}},
		{"wrong types", made.ID, `{"enabled": "yes", "images": "ghcr.io/a/**", "name": 1, "claims": [], "expires_at": "tomorrow"}`,
			[]string{"claims: is of type array, and must be an object", "enabled: is of type string, and must be true or false", "expires_at: is not a time", "images: is of type string, and must be a list", "name: is of type number, and must be a string"}},
		{"what is the server's", made.ID, `{"id": "x", "version": 2, "created_at": null, "state": "disabled", "kms": {"error": "x"}}`, []string{"created_at: is the server's", "id: ", "kms: ", "state: ", "version: "}},
		{"what it must have", made.ID, `{"name": null, "type": null, "enabled": null}`, []string{"enabled: cannot be removed", "name: ", "type: "}},
		{"a mistake of the whole", made.ID, `{"subject": null}`, []string{"subject: is missing"}},
		{"the key of a service", kms.ID, `{"public_key": "x"}`, []string{"public_key: does not go with type kms"}},
		{"no key of a service", kms.ID, `{"public_key": null}`, []string{"public_key: does not go with type kms"}},
		{"a service's key becomes nobody's", kms.ID, `{"type": "public_key", "kms_key_ref": null}`, []string{"public_key: is missing"}},
		{"a reference to nothing", kms.ID, `{"kms_key_ref": "hashivault://nothing"}`, []string{"kms_key_ref: the key cannot be read"}},
	}
	for _, tt := range wrong {
		t.Run(tt.name, func(t *testing.T) {
			f.untouched(t, func() {
				_, err := f.UpdateSigner(ctx, root, tt.id, 1, []byte(tt.patch))
				mistakes(t, err, tt.want...)
			})
		})
	}
	f.untouched(t, func() {
		_, err := f.UpdateSigner(ctx, root, made.ID, 2, []byte(`{"enabled": false}`))
		wants(t, err, ErrStale, `signer "a" is at version 1, and the change was meant for version 2`)
		_, err = f.UpdateSigner(ctx, root, "nobody", 1, []byte(`{}`))
		wants(t, err, ErrNotFound, "nobody")
		_, err = f.UpdateSigner(ctx, root, made.ID, 1, []byte(`{"name": "c"}`))
		wants(t, err, ErrConflict, `policy "strict" names it`)
		_, err = f.UpdateSigner(ctx, root, kms.ID, 1, []byte(`{"name": "b"}`))
		wants(t, err, ErrConflict, "is taken")
		wants(t, f.DeleteSigner(ctx, root, made.ID, 1), ErrConflict, `policy "strict" names it`)
		wants(t, f.DeleteSigner(ctx, root, made.ID, 7), ErrStale, "version 7")
		wants(t, f.DeleteSigner(ctx, root, "nobody", 1), ErrNotFound, "nobody")
	})
}

// Between the look and the change another administrator may come.
func TestChangedMeanwhile(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		seen := must[client.Signer](t)(f.CreateSigner(ctx, root, keyless("a")))
		row := must[store.SignerRow](t)(f.store.Signer(ctx, seen.ID))
		must[client.Signer](t)(f.UpdateSigner(ctx, root, seen.ID, 1, []byte(`{"note": "x"}`)))
		wants(t, f.change(ctx, root, func(tx *store.Tx) error { return current(ctx, tx, row) }), ErrStale, "version 2")
		if err := f.DeleteSigner(ctx, root, seen.ID, 2); err != nil {
			t.Fatal(err)
		}
		wants(t, f.change(ctx, root, func(tx *store.Tx) error { return current(ctx, tx, row) }), ErrNotFound, "removed meanwhile")
	})
}

func TestSignersList(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	key := newKey(t)
	for i, w := range []client.Signer{
		keyless("alice"), {Name: "bob", Type: "public_key", PublicKey: key.PEM, Enabled: true, Owner: "web"},
		{Name: "carol", Type: "keyless", Issuer: issuer, Subject: "c", Note: "on leave"},
		{Name: "dan", Type: "keyless", Issuer: issuer, Subject: "d", Enabled: true, ExpiresAt: ptr(start)},
		{Name: "erin", Type: "keyless", Issuer: issuer, Subject: "e", Enabled: true, NotBefore: ptr(start.Add(time.Hour))},
	} {
		f.clock.move(time.Duration(i) * time.Millisecond) // ids sort by time
		must[client.Signer](t)(f.CreateSigner(ctx, root, w))
	}
	tests := []struct {
		name   string
		filter SignerFilter
		want   string
	}{
		{"all", SignerFilter{}, "alice bob carol dan erin"},
		{"by type", SignerFilter{Type: "public_key"}, "bob"},
		{"by owner", SignerFilter{Owner: "web"}, "bob"},
		{"enabled", SignerFilter{Enabled: ptr(true)}, "alice bob dan erin"},
		{"not enabled", SignerFilter{Enabled: ptr(false)}, "carol"},
		{"in force", SignerFilter{State: "in_force"}, "alice bob"},
		{"expired", SignerFilter{State: "expired"}, "dan"},
		{"not yet", SignerFilter{State: "not_yet"}, "erin"},
		{"by name", SignerFilter{Query: "ALI"}, "alice"},
		{"by note", SignerFilter{Query: "leave"}, "carol"},
		{"by fingerprint", SignerFilter{Query: strings.ToUpper(key.Fingerprint[:12])}, "bob"},
		{"nobody", SignerFilter{Query: "zoe"}, ""},
		{"pages", SignerFilter{Limit: 2}, "alice bob | carol dan | erin"},
		{"pages that end", SignerFilter{Limit: 1, Query: "alice"}, "alice"},
		{"by name, backwards", SignerFilter{Sort: "-name"}, "erin dan carol bob alice"},
		{"by type, then name", SignerFilter{Sort: "type"}, "alice carol dan erin bob"},
		{"what ends first", SignerFilter{Sort: "expires_at"}, "dan alice bob carol erin"},
		{"what ends last", SignerFilter{Sort: "-expires_at"}, "alice bob carol erin dan"},
		{"sorted pages", SignerFilter{Sort: "-name", Limit: 2}, "erin dan | carol bob | alice"},
		{"some, sorted", SignerFilter{Sort: "-name", State: "in_force"}, "bob alice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var pages []string
			for filter := tt.filter; ; {
				page, err := f.Signers(ctx, root, filter)
				if err != nil {
					t.Fatal(err)
				}
				var names []string
				for _, w := range page.Items {
					names = append(names, w.Name)
				}
				pages = append(pages, strings.Join(names, " "))
				if filter.After = page.Next; page.Next == "" {
					break
				}
			}
			same(t, tt.want, strings.Join(pages, " | "))
		})
	}
	_, err := f.Signers(ctx, root, SignerFilter{Type: "pgp", State: "gone"})
	mistakes(t, err, `type: "pgp" is none of`, `state: "gone" is none of in_force`)
	for _, limit := range []int{-1, 1001} {
		_, err = f.Signers(ctx, root, SignerFilter{Limit: limit})
		mistakes(t, err, fmt.Sprintf("limit: is %d", limit))
	}
}

func TestTooManyPatterns(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	loose := func(i int) client.Signer {
		return client.Signer{Name: fmt.Sprintf("p%d", i), Type: "keyless", Issuer: issuer, SubjectRegex: fmt.Sprintf(".*@d%d.example", i), Enabled: true}
	}
	for i := range signers.MaxBarePatterns {
		must[client.Signer](t)(f.CreateSigner(ctx, root, loose(i)))
	}
	plain := must[client.Signer](t)(f.CreateSigner(ctx, root, keyless("plain")))
	f.untouched(t, func() {
		_, err := f.CreateSigner(ctx, root, loose(1000))
		mistakes(t, err, `subject_regex: with the signers of policy "default": `)
		_, err = f.UpdateSigner(ctx, root, plain.ID, 1, []byte(`{"subject": null, "subject_regex": ".*@x.example"}`))
		mistakes(t, err, "subject_regex: ")
		_, err = f.PutPolicy(ctx, root, "more", "", []byte("trusted_signers: [{type: registry}, {type: keyless, issuer: '"+issuer+"', subject_regex: '.*@y.example'}]"), nil)
		mistakes(t, err, `subject_regex: with the signers of policy "more": `)
	})
	// Those that are there can still be changed.
	first := must[client.Page[client.Signer]](t)(f.Signers(ctx, root, SignerFilter{Query: "p7@", Limit: 1}))
	same(t, 0, len(first.Items))
	one := must[client.Page[client.Signer]](t)(f.Signers(ctx, root, SignerFilter{Query: "@d7.", Limit: 1})).Items[0]
	must[client.Signer](t)(f.UpdateSigner(ctx, root, one.ID, 1, []byte(`{"subject_regex": ".*@other.example"}`)))
}

// Nor by many who each add the last one that fits: a set that cannot be put in
// force answers nobody.
func TestTooManyPatternsAtOnce(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		entry := func(format string, i int) []byte {
			name := fmt.Sprintf(format, i)
			return fmt.Appendf(nil, "    - {type: keyless, name: %s, issuer: %q, subject_regex: '.*@%s.example'}\n", name, issuer, name)
		}
		head := []byte("signing_policy:\n  trusted_signers:\n")
		doc := slices.Clone(head)
		for i := range signers.MaxBarePatterns - 1 {
			doc = append(doc, entry("p%d", i)...)
		}
		must[client.Imported](t)(f.ImportSigners(ctx, root, doc, ImportOptions{}))
		plain := must[client.Signer](t)(f.CreateSigner(ctx, root, keyless("plain")))
		var done atomic.Int64
		var all sync.WaitGroup
		for i := range 4 {
			for _, act := range []func() error{
				func() error {
					_, err := f.CreateSigner(ctx, root, client.Signer{Name: fmt.Sprintf("c%d", i), Type: "keyless", Issuer: issuer, SubjectRegex: fmt.Sprintf(".*@c%d.example", i)})
					return err
				},
				func() error {
					_, err := f.ImportSigners(ctx, root, slices.Concat(head, entry("i%d", i)), ImportOptions{})
					return err
				},
				func() error {
					_, err := f.UpdateSigner(ctx, root, plain.ID, 1, fmt.Appendf(nil, `{"subject": null, "subject_regex": ".*@u%d.example"}`, i))
					return err
				},
				func() error {
					_, err := f.PutPolicy(ctx, root, fmt.Sprintf("more%d", i), "", fmt.Appendf(nil, "trusted_signers: [{type: registry}, {type: keyless, issuer: '%s', subject_regex: '.*@y%d.example'}]", issuer, i), nil)
					return err
				},
			} {
				all.Go(func() {
					if act() == nil {
						done.Add(1)
					}
				})
			}
		}
		all.Wait()
		// Policies have their own beside the registered ones; each of them fits alone.
		rows := must[[]signers.Signer](t)(FromRows(must[[]store.SignerRow](t)(f.store.Signers(ctx))))
		for _, p := range append([]string{"trusted_signers: [{type: registry}]"}, bodies(t, f)...) {
			parsed := must[*signingpolicy.Policy](t)(signingpolicy.Parse([]byte(p)))
			if _, err := signers.Compile(parsed.InForce(rows)); err != nil {
				t.Errorf("what is stored cannot be put in force: %v", err)
			}
		}
		if done.Load() == 0 {
			t.Error("nothing fitted")
		}
	})
}

func bodies(t *testing.T, f *fixture) []string {
	var out []string
	for _, r := range must[[]store.PolicyRow](t)(f.store.Policies(t.Context())) {
		out = append(out, r.Body)
	}
	return out
}

func TestFromRowRefuses(t *testing.T) {
	f := onSQLite(t)
	key := newKey(t)
	made := must[client.Signer](t)(f.CreateSigner(t.Context(), root, client.Signer{Name: "k", Type: "public_key", PublicKey: key.PEM, Enabled: true}))
	good := must[store.SignerRow](t)(f.store.Signer(t.Context(), made.ID))
	want := signers.Signer{Name: "k", Type: signers.PublicKey, Keys: []signers.Key{key}, Enabled: true}
	if d := cmp.Diff(want, must[signers.Signer](t)(FromRow(good)), cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	for name, edit := range map[string]func(*store.SignerRow){
		"an inline name":         func(r *store.SignerRow) { r.Name = "a/1" },
		"a type of later":        func(r *store.SignerRow) { r.Type = "pgp" },
		"a comparison of later":  func(r *store.SignerRow) { r.SubjectKind, r.SubjectPattern = "glob", "x" },
		"a subject, not how":     func(r *store.SignerRow) { r.SubjectPattern = "x" },
		"a claim of later":       func(r *store.SignerRow) { r.Claims = map[string]string{"moon": "full"} },
		"a claim of a key":       func(r *store.SignerRow) { r.Claims = map[string]string{"build_trigger": "push"} },
		"another key's print":    func(r *store.SignerRow) { r.Fingerprints = []string{strings.Repeat("0", 64)} },
		"no print":               func(r *store.SignerRow) { r.Fingerprints = nil },
		"a key that is damaged":  func(r *store.SignerRow) { r.PublicKey = r.PublicKey[:40] },
		"a kms signer, no keys":  func(r *store.SignerRow) { r.Type, r.PublicKey, r.Fingerprints, r.KMSKeyRef = "kms", "", nil, vaultRef },
		"a reference of nothing": func(r *store.SignerRow) { r.KMSKeyRef = vaultRef },
	} {
		t.Run(name, func(t *testing.T) {
			r := good
			edit(&r)
			if s, err := FromRow(r); !errors.Is(err, signers.ErrInvalid) {
				t.Errorf("FromRow = %+v, %v, want %v", s, err, signers.ErrInvalid)
			}
			if list, err := FromRows([]store.SignerRow{good, r}); err == nil || list != nil {
				t.Errorf("FromRows = %v, %v, want an error", list, err)
			}
		})
	}
}
