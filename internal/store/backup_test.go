package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/store/storetest"
	"github.com/signet-policy/signet/internal/testkit/pgtest"
	"github.com/signet-policy/signet/internal/verdict"
)

var operator = store.Actor{Name: "operator", From: "cli"}

// databases give a new store each.
var databases = []struct {
	name string
	cfg  func(t *testing.T) store.Config
}{
	{"SQLite", func(t *testing.T) store.Config { return store.Config{DataDir: t.TempDir()} }},
	{"PostgreSQL", func(t *testing.T) store.Config { return store.Config{URL: pgtest.Database(t), Migrate: true} }},
}

// fill puts something into every table.
func fill(t testing.TB, s *store.Store) {
	t.Helper()
	ctx := t.Context()
	now := time.Now()
	root, archive := []byte(`{"a":1}`), []byte{0x1f, 0x8b, 0}
	_, tok, err := auth.NewToken(auth.NewTokenRequest{Name: "ci", Role: auth.Verifier, Team: "a", Images: []string{"ghcr.io/x/**"}, CreatedBy: "operator"}, now)
	if err != nil {
		t.Fatal(err)
	}
	_, setup, err := auth.NewToken(auth.NewTokenRequest{Name: "setup", Role: auth.Admin, CreatedBy: "operator"}, now)
	if err != nil {
		t.Fatal(err)
	}
	from := now.Add(-time.Hour)
	for range 2 {
		if _, err := s.Change(ctx, operator, "to fill it", func(tx *store.Tx) error {
			list, err := s.Signers(ctx)
			if err != nil {
				return err
			}
			row := store.SignerRow{Name: "builder", Type: "keyless", Issuer: "https://issuer", Claims: map[string]string{"b": "2", "aa": "<&>"}, SignedFrom: &from}
			if len(list) > 0 {
				row = list[0]
				row.Note = "\"ü\"\n"
			}
			_, err = tx.PutSigner(ctx, row)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Change(ctx, operator, "to fill it", func(tx *store.Tx) error {
		return errors.Join(
			tx.CreateToken(ctx, tok), tx.PutSetup(ctx, setup), tx.RotateSecret(ctx),
			second(tx.PutPolicy(ctx, store.PolicyRow{Name: "p", Source: "api", Body: "a: 1\n"})),
			tx.PutObject(ctx, store.ObjectTrustRoot, facts.Digest(root), root),
			second(tx.PutRoot(ctx, store.RootRow{Name: "r", Source: "api", Kind: "file", Digest: facts.Digest(root), Requires: json.RawMessage(`{"timestamp":true,"log":false}`), RefreshedAt: &from})),
			tx.PutObject(ctx, store.ObjectBundle, facts.Digest(archive), archive),
			second(tx.PutGateway(ctx, store.GatewayRow{Name: "g", Source: "api", Kind: store.GatewayByURL, Value: "https://<&>", Image: "a.b/c@sha256:aa", Note: "n"})),
			second(tx.PutBundle(ctx, store.BundleRow{Name: "b", Source: "api", Keys: map[string]string{"z": "PEM", "a": "<&>"}, Scope: "signet", Digest: facts.Digest(archive), Sequence: 1, HighestSequence: 2, Validator: `{"etag":"x"}`, ActivatedAt: &from})),
		)
	}); err != nil {
		t.Fatal(err)
	}
	f := storetest.Facts(t, "sha256:aa", "a@example.com")
	for i := range 450 { // more than one statement's rows
		r := storetest.Record(t, i, f, "ghcr.io/acme/app")
		r.Verdict.Active.Revision = 2
		r.AssessmentID = []string{"", "x"}[i%2]
		if i < 3 || i%100 == 0 {
			if err := s.Record(ctx, r); err != nil {
				t.Fatal(err)
			}
			continue
		}
		err := s.Repeat(ctx, store.Repeat{Original: storetest.Record(t, 0, f, "x").Verdict.ID, ID: r.Verdict.ID, Body: []byte("{}"), At: r.Decided})
		if err != nil {
			t.Fatal(err)
		}
	}
	err = errors.Join(
		s.AddUses(ctx, []store.Use{{VerdictID: "v", Principal: "p", Minute: now, Count: 3}}),
		s.TouchTokens(ctx, map[string]time.Time{tok.ID: now}),
		s.RecordShadows(ctx, []store.ShadowRow{{
			VerificationID: "v", ImageRef: "i\x00", ImageName: "i", Policy: "p", Digest: "d", ParamsDigest: "e", Decision: verdict.Deny,
			Reasons: []verdict.Reason{{Code: "ü\x00"}}, ComparedWith: verdict.Allow, CreatedAt: now,
		}}),
		second(s.PutDraft(ctx, store.DraftRow{Name: "d", Base: "sha256:b", Files: map[string]string{"a.rego": "package a # <&>\n"}, UpdatedBy: "jane"}, nil)),
		s.PutUpkeep(ctx, store.Upkeep{Kind: store.UpkeepKMS, Key: "k", CheckedAt: now, Detail: json.RawMessage(`{"z":1,"a":2}`)}),
		second(s.Lease(ctx, "l", "h", time.Hour)),
		fillWatch(ctx, s, now),
	)
	if err != nil {
		t.Fatal(err)
	}
}

// fillRequests puts a request for a verdict that waits, and one that is done.
func fillRequests(ctx context.Context, s *store.Store, now time.Time) error {
	r := store.VerdictRequest{ID: "r", Principal: "ci", Role: "verifier", Images: []string{"ghcr.io/x/**"}, ImageRef: "nginx", Context: map[string]string{"a": "<&>"}, CreatedAt: now, NextAt: now}
	for _, id := range []string{"r", "done"} {
		r.ID = id
		if err := s.AddVerdictRequest(ctx, r, "holder", now.Add(time.Minute), 10); err != nil {
			return err
		}
	}
	r.Decision, r.Verdict, r.FinishedAt = "deny", []byte(`{"decision":"deny"}`), &now
	_, err := s.FinishVerdictRequest(ctx, r, "holder", nil)
	return err
}

func fillWatch(ctx context.Context, s *store.Store, now time.Time) error {
	if err := fillRequests(ctx, s, now); err != nil {
		return err
	}
	_, told, err := s.SaveWatched(ctx, []store.WatchedChange{{
		Watched: store.Watched{ID: "w", ImageRef: "ghcr.io/acme/app:v1", Context: map[string]string{"b": "2", "a": "<&>"}, Decision: "allow", Signers: []string{"builder"}, AskedAt: &now, DueAt: now},
		Events: []store.NewEvent{{
			Event: store.Event{At: now, Kind: "flip", Before: "allow", After: "deny"}, Webhooks: []string{"hook"},
			Encode: func(id string) ([]byte, error) { return []byte(`{"id":"` + id + `"}`), nil },
		}},
	}})
	if err == nil && len(told) != 1 {
		err = errors.New("no event was told")
	}
	return errors.Join(err, s.SetMark(ctx, store.Mark{Kind: store.MarkScan, At: now}))
}

func second[T any](_ T, err error) error { return err }

// contents is a backup as lines, without the time of its header and the sum that
// depends on it.
func contents(t *testing.T, s *store.Store) []string {
	t.Helper()
	lines := unpacked(t, backup(t, s))
	lines[0] = regexp.MustCompile(`"made_at":"[^"]*"`).ReplaceAllString(lines[0], "")
	last := len(lines) - 1
	lines[last] = regexp.MustCompile(`"sha256":"[^"]*"`).ReplaceAllString(lines[last], "")
	return lines
}

func backup(t testing.TB, s *store.Store) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := s.Backup(t.Context(), &buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func unpacked(t testing.TB, b []byte) []string {
	t.Helper()
	z, err := zstd.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
}

func packed(t testing.TB, lines []string) []byte {
	t.Helper()
	var buf bytes.Buffer
	z, err := zstd.NewWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write([]byte(strings.Join(lines, "\n") + "\n")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// What is restored is what was backed up, from each database into each.
func TestBackupAndRestore(t *testing.T) {
	ctx := t.Context()
	for _, from := range databases {
		t.Run("from "+from.name, func(t *testing.T) {
			s := open(t, from.cfg(t))
			fill(t, s)
			want := contents(t, s)
			kept := backup(t, s)
			empty := 0
			for i, line := range want { // a table without rows would prove nothing
				if strings.HasPrefix(line, `{"table"`) && !strings.HasPrefix(want[i+1], "[") {
					empty++
					t.Errorf("nothing was put into %s", line)
				}
			}
			for _, to := range databases {
				t.Run("to "+to.name, func(t *testing.T) {
					cfg := to.cfg(t)
					if err := store.Restore(ctx, cfg, bytes.NewReader(kept)); err != nil {
						t.Fatal(err)
					}
					restored := open(t, cfg)
					if d := cmp.Diff(want, contents(t, restored)); d != "" {
						t.Errorf("(-backed up +restored)\n%s", d)
					}
					a, err := restored.Active(ctx)
					if err != nil || a.Revision != 3 {
						t.Errorf("active is %+v (%v)", a, err)
					}
					for rev := range int64(4) {
						if _, err := restored.SignersAt(ctx, rev); err != nil {
							t.Error(err)
						}
					}
					// It goes on from there.
					after, err := restored.Change(ctx, operator, "", func(tx *store.Tx) error { return tx.RotateSecret(ctx) })
					if err != nil || after.Revision != 4 {
						t.Errorf("the next change makes %+v (%v)", after, err)
					}
					if _, err := restored.VerifyAudit(ctx, store.AuditHead{}); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

func TestRestoreRefuses(t *testing.T) {
	ctx := t.Context()
	source := open(t, store.Config{DataDir: t.TempDir()})
	fill(t, source)
	good := backup(t, source)
	lines := unpacked(t, good)
	edit := func(have, want string) []byte {
		t.Helper()
		text := strings.Join(lines, "\n")
		if !strings.Contains(text, have) {
			t.Fatalf("the backup has no %s", have)
		}
		return packed(t, strings.Split(strings.Replace(text, have, want, 1), "\n"))
	}
	// resealed has the sum that an edited backup should have.
	resealed := func(have, want string) []byte {
		t.Helper()
		return reseal(t, unpacked(t, edit(have, want)))
	}
	without := func(prefix string) []byte {
		i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, prefix) })
		return packed(t, slices.Delete(slices.Clone(lines), i, i+1))
	}
	// rewritten has another value in a column of a table's first row.
	rewritten := func(table string, column int, value any) []byte {
		t.Helper()
		i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, `{"table":"`+table+`"`) }) + 1
		var row []any
		if err := json.Unmarshal([]byte(lines[i]), &row); err != nil {
			t.Fatal(err)
		}
		row[column] = value
		line, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		edited := slices.Clone(lines)
		edited[i] = string(line)
		return reseal(t, edited)
	}
	evidence := []byte("found for " + storetest.Facts(t, "sha256:aa", "a@example.com").Digest())
	evidence[0]++
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	withoutArchive := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return strings.HasPrefix(l, `["bundle","sha256:`) })
	withoutArchive[len(withoutArchive)-1] = strings.Replace(withoutArchive[len(withoutArchive)-1], `"objects":2`, `"objects":1`, 1)
	_, newest, _, err := store.SchemaStatus(ctx, store.Config{DataDir: t.TempDir()})
	if !errors.Is(err, store.ErrNoStore) {
		t.Fatal(err)
	}
	schema := func(off int64) string { return fmt.Sprintf(`"schema":%d`, newest+off) }
	tests := []struct {
		name string
		body []byte
		want error
	}{
		{"nothing", nil, store.ErrInvalid},
		{"no backup", []byte("hello"), store.ErrInvalid},
		{"no lines", packed(t, []string{"hello"}), store.ErrInvalid},
		{"other JSON", packed(t, []string{"{}"}), store.ErrInvalid},
		{"cut off packed", good[:len(good)/2], store.ErrInvalid},
		{"without its end", packed(t, lines[:len(lines)-1]), store.ErrInvalid},
		{"cut off in a table", packed(t, lines[:len(lines)/2]), store.ErrInvalid},
		{"a table left out", without(`{"table":"tokens"`), store.ErrInvalid},
		{"a row left out", without(`["kms"`), store.ErrCorrupt},
		{"a row that others refer to left out", without(`["01JD`), store.ErrCorrupt},
		{"something behind it", packed(t, append(slices.Clone(lines), "{}")), store.ErrInvalid},
		{"another column", edit(`"columns":["one","revision"`, `"columns":["one","revisions"`), store.ErrInvalid},
		{"a bit of a row", edit(`"to fill it"`, `"to fill in"`), store.ErrCorrupt},
		{"a row of too few columns", resealed(`["secret",`, `[`), store.ErrInvalid},
		{"a time that is none", resealed(`"k","20`, `"k","yy`), store.ErrInvalid},
		{"a newer schema", edit(schema(0), schema(1)), store.ErrNewerSchema},
		{"a newer format", edit(`"signet_backup":1`, `"signet_backup":2`), store.ErrNewerSchema},
		{"an older schema", edit(schema(0), schema(-1)), store.ErrOlderSchema},
		// Whoever knows the format can make the sum fit, but not the hashes.
		{"the audit log rewritten", resealed(`"to fill it"`, `"to fill in"`), store.ErrCorrupt},
		{"a signer rewritten", resealed(`"builder","keyless","https://issuer"`, `"builder","keyless","https://mallory"`), store.ErrCorrupt},
		{"a policy rewritten", resealed(`["p","api","","a: 1\n"`, `["p","api","","a: 2\n"`), store.ErrCorrupt},
		{"a trust root rewritten", resealed(`{"log":false,"timestamp":true}`, `{"log":false,"timestamp":false}`), store.ErrCorrupt},
		{"a token rewritten", resealed(`"ci","verifier"`, `"ci","admin"`), store.ErrCorrupt},
		{"active rewritten", resealed(`[1,3,"sha256:`, `[1,3,"sha256:0`), store.ErrCorrupt},
		{"an object rewritten", resealed(`["trust_root","sha256:`, `["trust_root","sha256:0`), store.ErrCorrupt},
		{"evidence rewritten", rewritten("evidence", 3, enc.EncodeAll(evidence, nil)), store.ErrCorrupt},
		{"a bundle rewritten", rewritten("bundles", 6, "sha256:0"), store.ErrCorrupt},
		{"an archive left out", reseal(t, withoutArchive), store.ErrCorrupt},
		{"the secret rewritten", rewritten("secret", 1, bytes.Repeat([]byte{7}, 32)), store.ErrCorrupt},
		{"a size rewritten", resealed(`"zstd",7,`, `"zstd",8,`), store.ErrCorrupt},
	}
	if err := store.Restore(ctx, store.Config{DataDir: t.TempDir()}, bytes.NewReader(reseal(t, lines))); err != nil {
		t.Fatal("the backup that all are made of:", err)
	}
	pg := store.Config{URL: pgtest.Database(t), Migrate: true}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			err := store.Restore(ctx, store.Config{DataDir: dir}, bytes.NewReader(tt.body))
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if store.Exists(dir) {
				t.Error("half of a store was left")
			}
			if err := store.Restore(ctx, pg, bytes.NewReader(tt.body)); !errors.Is(err, tt.want) {
				t.Errorf("PostgreSQL: error %v, want %v", err, tt.want)
			}
		})
	}
	// After all that, the database is as new.
	if err := store.Restore(ctx, pg, bytes.NewReader(good)); err != nil {
		t.Error(err)
	}
}

// A secret that stands in the store is not in use where there is a secret file.
func TestRestoreWithSecretFile(t *testing.T) {
	ctx := t.Context()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(strings.Repeat("0f", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	note := func(ctx context.Context, tx *store.Tx) error { return tx.Note(ctx, "test", "test", nil, nil) }
	for _, tt := range []struct {
		name string
		used bool // before the file was configured
		own  bool // it has a secret of its own
		want error
	}{
		{"never without", false, false, nil},
		{"used without", true, true, nil},
		{"opened without", false, true, store.ErrCorrupt}, // nothing says that the file has changed it
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if tt.own {
				s := open(t, store.Config{DataDir: dir})
				if tt.used {
					if _, err := s.Change(ctx, operator, "", func(tx *store.Tx) error { return note(ctx, tx) }); err != nil {
						t.Fatal(err)
					}
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			s := open(t, store.Config{DataDir: dir, SecretFile: file})
			if _, err := s.Change(ctx, operator, "", func(tx *store.Tx) error { return note(ctx, tx) }); err != nil {
				t.Fatal(err)
			}
			kept := backup(t, s)
			if err := store.Restore(ctx, store.Config{DataDir: t.TempDir(), SecretFile: file}, bytes.NewReader(kept)); err != nil {
				t.Error("with the file:", err)
			}
			if err := store.Restore(ctx, store.Config{DataDir: t.TempDir()}, bytes.NewReader(kept)); !errors.Is(err, tt.want) {
				t.Errorf("without the file: %v, want %v", err, tt.want)
			}
		})
	}
}

// A store that lacks one kind of thing or another is as good.
func TestBackupOfLittle(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(ctx context.Context, tx *store.Tx) error
	}{
		{"nothing", nil},
		{"no tokens", func(ctx context.Context, tx *store.Tx) error {
			return tx.Note(ctx, "test", "test", nil, nil)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, store.Config{DataDir: t.TempDir()})
			if tt.change != nil {
				if _, err := s.Change(t.Context(), operator, "", func(tx *store.Tx) error { return tt.change(t.Context(), tx) }); err != nil {
					t.Fatal(err)
				}
			}
			if err := store.Restore(t.Context(), store.Config{DataDir: t.TempDir()}, bytes.NewReader(backup(t, s))); err != nil {
				t.Error(err)
			}
		})
	}
}

// reseal makes the sum of the last line fit.
func reseal(t testing.TB, lines []string) []byte {
	t.Helper()
	lines = slices.Clone(lines)
	last := len(lines) - 1
	sum := strings.TrimPrefix(facts.Digest([]byte(strings.Join(lines[:last], "\n")+"\n")), "sha256:")
	lines[last] = regexp.MustCompile(`"sha256":"[^"]*"`).ReplaceAllString(lines[last], `"sha256":"`+sum+`"`)
	return packed(t, lines)
}

// A store that is in use is not written over, nor is one that somebody has open.
func TestRestoreIntoWhatIsThere(t *testing.T) {
	ctx := t.Context()
	source := open(t, store.Config{DataDir: t.TempDir()})
	fill(t, source)
	kept := backup(t, source)
	for _, d := range databases {
		t.Run(d.name, func(t *testing.T) {
			cfg := d.cfg(t)
			s, err := store.Open(ctx, cfg)
			if err != nil {
				t.Fatal(err)
			}
			if d.name == "SQLite" {
				if err := store.Restore(ctx, cfg, bytes.NewReader(kept)); !errors.Is(err, store.ErrInUse) {
					t.Errorf("while it is open: %v", err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			// Opened once, it has a secret, and nothing else.
			if err := store.Restore(ctx, cfg, bytes.NewReader(kept)); err != nil {
				t.Fatal("into a store that was opened and not used:", err)
			}
			want := contents(t, open(t, func() store.Config { c := cfg; c.ReadOnly = true; return c }()))
			if err := store.Restore(ctx, cfg, bytes.NewReader(kept)); !errors.Is(err, store.ErrConflict) {
				t.Errorf("into a store in use: %v", err)
			}
			if d := cmp.Diff(want, contents(t, open(t, cfg))); d != "" {
				t.Errorf("the refusal changed it:\n%s", d)
			}
		})
	}
}

// A backup is of one moment, whatever is written meanwhile.
func TestBackupWhileWritten(t *testing.T) {
	ctx := t.Context()
	for _, d := range databases {
		t.Run(d.name, func(t *testing.T) {
			s := open(t, d.cfg(t))
			fill(t, s)
			busy, stop := context.WithCancel(ctx)
			done := make(chan error, 1)
			go func() {
				var err error
				for busy.Err() == nil && err == nil {
					_, err = s.Change(ctx, operator, "", func(tx *store.Tx) error { return tx.RotateSecret(ctx) })
				}
				done <- err
			}()
			for range 3 {
				// Restore checks that active, the inputs and the audit log fit.
				if err := store.Restore(ctx, store.Config{DataDir: t.TempDir()}, bytes.NewReader(backup(t, s))); err != nil {
					t.Error(err)
				}
			}
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBackupToWhatFails(t *testing.T) {
	s := open(t, store.Config{DataDir: t.TempDir()})
	fill(t, s)
	if err := s.Backup(t.Context(), failing{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a writer that fails: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Backup(gone, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, os.ErrClosed }

// FuzzRestore: whatever the lines of a backup say, all of it is taken over and
// fits, or nothing is.
func FuzzRestore(f *testing.F) {
	s, err := store.Open(f.Context(), store.Config{DataDir: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	lines := unpacked(f, backup(f, s))
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(strings.Join(lines, "\n")))
	f.Add([]byte(strings.Join(lines[:len(lines)/2], "\n")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		cfg := store.Config{DataDir: filepath.Join(t.TempDir(), "data")}
		err := store.Restore(t.Context(), cfg, bytes.NewReader(reseal(t, strings.Split(string(raw), "\n"))))
		if err != nil {
			if store.Exists(cfg.DataDir) {
				t.Errorf("half of a store was left after: %v", err)
			}
			return
		}
		restored, err := store.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer restored.Close()
		if _, err := restored.VerifyAudit(t.Context(), store.AuditHead{}); err != nil {
			t.Error(err)
		}
	})
}
