package store

import (
	"bytes"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/migrations"
)

// schema1 makes a store as a version of schema 1 has left it.
func schema1(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	pool, err := sql.Open("sqlite", dsn(filepath.Join(dir, FileName), "rwc"))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	first, err := fs.ReadFile(migrations.SQLite(), "00001_store.sql")
	if err != nil {
		t.Fatal(err)
	}
	if err := migrate(t.Context(), &db{DB: pool}, fstest.MapFS{"00001_store.sql": {Data: first}}); err != nil {
		t.Fatal(err)
	}
	rows, err := os.ReadFile("testdata/schema1.sql")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.ExecContext(t.Context(), string(rows)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestUpgradeFromSchema1(t *testing.T) {
	ctx := t.Context()
	dir := schema1(t)
	if _, err := Open(ctx, Config{DataDir: dir, ReadOnly: true}); !errors.Is(err, ErrOlderSchema) {
		t.Errorf("reading it before it is upgraded: %v", err)
	}
	have, want, pending, err := SchemaStatus(ctx, Config{DataDir: dir})
	if err != nil || have != 1 || want != latest(t) || len(pending) == 0 || pending[0] != "00002_administration" {
		t.Errorf("its schema is %d of %d, pending %v (%v)", have, want, pending, err)
	}
	s := openTemp(t, Config{DataDir: dir})

	signers, err := s.Signers(ctx)
	if err != nil || len(signers) != 2 || signers[0].Name != "release" || signers[1].Name != "key" {
		t.Fatalf("the signers read %+v (%v)", signers, err)
	}
	if signers[0].TrustRoots == nil || signers[0].AutoRotate {
		t.Errorf("what schema 1 did not have reads %+v", signers[0])
	}
	// Revisions made then still say what they said.
	for rev, names := range map[int64]string{1: "builder", 2: "builder", 3: "builder key", 4: "release key", 5: "release key", 6: "release key"} {
		rows, err := s.SignersAt(ctx, rev)
		var got []string
		for _, r := range rows {
			got = append(got, r.Name)
		}
		if err != nil || strings.Join(got, " ") != names {
			t.Errorf("the signers of revision %d read %v (%v), want %s", rev, got, err, names)
		}
	}
	// Taking over is a change like any other.
	snap, err := s.Snapshot(ctx, nil)
	if err != nil || snap.Active.Revision != 6 {
		t.Fatalf("active is %+v (%v)", snap.Active, err)
	}
	if got := strings.Join(sortedKeys(snap.Inputs), " "); got != "secret signers tokens" {
		t.Errorf("what is in force is made of %s", got)
	}
	log, err := s.Audit(ctx, AuditFilter{Limit: 1})
	if err != nil || log[0].Action != "store.upgrade" || log[0].Actor != "signet" || !strings.Contains(string(log[0].Before), "policy/default") {
		t.Errorf("the audit log ends in %+v (%v)", log, err)
	}
	if _, err := s.VerifyAudit(ctx, AuditHead{}); err != nil {
		t.Error(err)
	}
	old, err := s.Revision(ctx, 5)
	if err != nil || old.Inputs[InputTokens] != snap.Inputs[InputTokens] {
		t.Errorf("tokens that did not change have another digest: %+v, %+v (%v)", old.Inputs, snap.Inputs, err)
	}
	if len(snap.Tokens) != 1 || snap.Tokens[0].Team != "" || snap.Tokens[0].Images != nil || snap.Tokens[0].Sources != nil {
		t.Errorf("the token reads %+v", snap.Tokens)
	}

	// Verdicts are found by the signer's id, whatever it was called.
	list, _, err := s.SignerVerdicts(ctx, signers[0].ID, nil, 0)
	if err != nil || len(list) != 1 || list[0].Count != 3 || list[0].Digest != "sha256:aa" || list[0].VerdictID != "01JD0000000000000000000003" ||
		list[0].ImageRef != "ghcr.io/acme/app:v1" || !list[0].At.Equal(at.Add(3e9)) {
		t.Errorf("the signer's verdicts read %+v (%v)", list, err)
	}
	v, err := s.Verdict(ctx, "01JD0000000000000000000000")
	if err != nil || v.Repeats != nil {
		t.Fatalf("a verdict reads %+v (%v)", v, err)
	}
	if f, err := s.Facts(ctx, *v.FactsDigest); err != nil || f.Digest() != *v.FactsDigest {
		t.Error("its facts:", err)
	}

	// It is backed up and restored like any other.
	var kept bytes.Buffer
	if err := s.Backup(ctx, &kept); err != nil {
		t.Fatal(err)
	}
	if err := Restore(ctx, Config{DataDir: t.TempDir()}, &kept); err != nil {
		t.Error(err)
	}

	// Opening it again changes nothing more, and another secret is noticed.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTemp(t, Config{DataDir: dir})
	if a, err := s.Active(ctx); err != nil || a != snap.Active {
		t.Errorf("opened again, active is %+v (%v)", a, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(strings.Repeat("0f", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	s = openTemp(t, Config{DataDir: dir, SecretFile: file})
	log, err = s.Audit(ctx, AuditFilter{Limit: 1})
	if a, aerr := s.Active(ctx); err != nil || aerr != nil || a.Revision != 7 || a.Digest == snap.Active.Digest || log[0].Action != "secret.change" {
		t.Errorf("with a secret file active is %+v (%v), and the log ends in %+v (%v)", a, aerr, log, err)
	}
	if _, err := s.Change(ctx, alice, "", func(tx *Tx) error { return tx.RotateSecret(ctx) }); !errors.Is(err, ErrInvalid) {
		t.Errorf("rotating a secret that is in a file: %v", err)
	}
}

// An upgrade and the first secret file in one start are two entries of the audit log:
// by the second a restore without the file knows whose secret is in force.
func TestUpgradeWithFirstSecretFile(t *testing.T) {
	ctx := t.Context()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(strings.Repeat("0f", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, older := range map[string]func(*testing.T) string{
		"of schema 1": schema1,
		"of an input that is none any more": func(t *testing.T) string {
			t.Helper()
			dir := t.TempDir()
			s, err := Open(ctx, Config{DataDir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Change(ctx, alice, "", func(tx *Tx) error { return tx.Note(ctx, "test", "test", nil, nil) }); err != nil {
				t.Fatal(err)
			}
			mustExec(t, s, `INSERT INTO inputs (kind, digest) VALUES ('policy/default', 'sha256:aa')`)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return dir
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openTemp(t, Config{DataDir: older(t), SecretFile: file})
			log, err := s.Audit(ctx, AuditFilter{Limit: 2})
			if err != nil || log[0].Action != "secret.change" || log[1].Action != "store.upgrade" || log[0].Revision != log[1].Revision {
				t.Errorf("the audit log ends in %+v (%v)", log, err)
			}
			var kept bytes.Buffer
			if err := s.Backup(ctx, &kept); err != nil {
				t.Fatal(err)
			}
			for _, cfg := range []Config{{}, {SecretFile: file}} {
				cfg.DataDir = t.TempDir()
				if err := Restore(ctx, cfg, bytes.NewReader(kept.Bytes())); err != nil {
					t.Errorf("restoring with secret file %q: %v", cfg.SecretFile, err)
				}
			}
		})
	}
}

// A process killed between the migration and what the store adds to it leaves
// signers without digests; the next start adds them.
func TestUpgradeIsTakenUpAgain(t *testing.T) {
	ctx := t.Context()
	dir := schema1(t)
	from, to, err := Migrate(ctx, Config{DataDir: dir})
	if err != nil || from != 1 || to != latest(t) {
		t.Fatalf("migrated from %d to %d (%v)", from, to, err)
	}
	s := openTemp(t, Config{DataDir: dir})
	if _, err := s.SignersAt(ctx, 6); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if from, to, err := Migrate(ctx, Config{DataDir: dir}); err != nil || from != latest(t) || to != latest(t) {
		t.Errorf("migrated again from %d to %d (%v)", from, to, err)
	}
}

// A version that digested policies without their sources has left a store: it is
// digested anew, what was in force before is read as it was, and a backup of it counts.
func TestUpgradeFromPoliciesWithoutSources(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	s, err := Open(ctx, Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	put := func(s *Store, r PolicyRow) PolicyRow {
		t.Helper()
		if _, err := s.Change(ctx, alice, "", func(tx *Tx) (err error) { r, err = tx.PutPolicy(ctx, r); return err }); err != nil {
			t.Fatal(err)
		}
		return r
	}
	row := put(s, PolicyRow{Name: "default", Source: "embedded", Body: "a: 1\n"})
	put(s, PolicyRow{Name: "team", Source: "api", Body: "b: 1\n"})
	rows, err := s.Policies(ctx)
	if err != nil {
		t.Fatal(err)
	}
	digests, err := digestPolicyRows(rows)
	if err != nil || len(digests) != 2 {
		t.Fatalf("the policies hash to %v (%v)", digests, err)
	}
	// As it was.
	in, err := readInputs(ctx, s.read)
	if err != nil {
		t.Fatal(err)
	}
	in[InputPolicies] = digests[1]
	old, err := in.digest()
	if err != nil {
		t.Fatal(err)
	}
	text, err := canonicalJSON(in)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, s, `UPDATE inputs SET digest = '`+digests[1]+`' WHERE kind = 'policies'`, `UPDATE active SET digest = '`+old+`'`,
		`UPDATE revisions SET digest = '`+old+`', inputs = '`+text+`' WHERE revision = 2`)
	var kept bytes.Buffer
	if err := s.Backup(ctx, &kept); err != nil {
		t.Fatal(err)
	}
	if err := Restore(ctx, Config{DataDir: t.TempDir()}, &kept); err != nil {
		t.Error("its backup:", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	for range 2 { // once
		s = openTemp(t, Config{DataDir: dir})
		snap, err := s.Snapshot(ctx, nil)
		if err != nil || snap.Active.Revision != 3 || snap.Inputs[InputPolicies] != digests[0] {
			t.Fatalf("in force are %+v, %+v (%v)", snap.Active, snap.Inputs, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s = openTemp(t, Config{DataDir: dir})
	log, err := s.Audit(ctx, AuditFilter{Limit: 1})
	if err != nil || log[0].Action != "store.upgrade" {
		t.Errorf("the audit log ends in %+v (%v)", log, err)
	}
	// Adopted, it has the digest that the embedded one had then, and is another.
	row.Source = "api"
	put(s, row)
	snap, err := s.Snapshot(ctx, nil)
	if err != nil || snap.Inputs[InputPolicies] != digests[1] {
		t.Fatalf("in force are %+v (%v)", snap.Inputs, err)
	}
	for rev, source := range map[int64]string{2: "embedded", 3: "embedded", 4: ""} {
		past, err := s.SnapshotAt(ctx, rev, snap.Inputs)
		if err != nil {
			t.Fatal(err)
		}
		if past.Unchanged[InputPolicies] != (source == "") || source == "" && past.Policies != nil || source != "" && past.Policies[0].Source != source {
			t.Errorf("revision %d reads %+v, unchanged %v", rev, past.Policies, past.Unchanged)
		}
	}
}

func TestMigrateRefuses(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	if _, want, _, err := SchemaStatus(ctx, Config{DataDir: dir}); !errors.Is(err, ErrNoStore) || want != latest(t) {
		t.Errorf("the status of no store: %d, %v", want, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("asking made %v", entries)
	}
	if _, _, err := Migrate(ctx, Config{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("no directory: %v", err)
	}
	openTemp(t, Config{DataDir: dir})
	if _, _, err := Migrate(ctx, Config{DataDir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("while a server has it: %v", err)
	}
	if _, _, err := Migrate(ctx, Config{DataDir: t.TempDir(), SecretFile: "/does/not/exist"}); err == nil {
		t.Error("a secret file that is not there was accepted")
	}
}

// Policies that were all made through the API hash as they always did, others by
// their source too.
func TestDigestOfPolicies(t *testing.T) {
	body := facts.Digest([]byte("a: 1\n"))
	seen := map[string]bool{}
	for _, source := range []string{"api", "configuration", "embedded"} {
		got, err := digestPolicyRows([]PolicyRow{{Name: "a", Source: source, Body: "a: 1\n"}, {Name: "b", Source: "api", Body: "a: 1\n"}})
		if err != nil {
			t.Fatal(err)
		}
		if first := facts.Digest([]byte(`[["a","` + body + `"],["b","` + body + `"]]`)); got[len(got)-1] != first || (len(got) == 1) != (source == "api") {
			t.Errorf("%s: the digests are %v; without sources it is %s", source, got, first)
		}
		seen[got[0]] = true
	}
	if len(seen) != 3 {
		t.Errorf("three sources have the digests %v", seen)
	}
	if got, err := digestPolicyRows(nil); err != nil || len(got) != 1 || got[0] != "" {
		t.Errorf("no policies have the digests %q (%v)", got, err)
	}
}

// What schema 1 hashed is hashed as it was.
func TestDigestOfSchema1(t *testing.T) {
	rows := []SignerRow{{ID: "a", Name: "n", Type: "keyless"}}
	got, err := digestSignerRows(rows)
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	const body = `[{"claims":{},"created_at":"0001-01-01T00:00:00Z","created_by":"","enabled":false,"expires_at":null,"fingerprints":[],` +
		`"id":"a","images":[],"kms_key_ref":"","name":"n","not_before":null,"note":"","oidc_issuer":"","owner":"","public_key":"",` +
		`"signed_from":null,"signed_until":null,"signer_type":"keyless","subject_kind":"","subject_pattern":"",` +
		`"updated_at":"0001-01-01T00:00:00Z","updated_by":"","version":0}]`
	if got[1] != facts.Digest([]byte(body)) {
		t.Errorf("the digest of schema 1 is %s", got[1])
	}
	rows[0].TrustRoots = []string{"r"} // it had no such thing
	if got, err := digestSignerRows(rows); err != nil || len(got) != 1 {
		t.Errorf("a signer with trust roots has the digests %q (%v)", got, err)
	}
}
