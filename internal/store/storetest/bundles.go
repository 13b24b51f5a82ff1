package storetest

import (
	"errors"
	"testing" //nolint:depguard // a suite for tests: the program does not import it

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/store"
)

// archive is what a bundle of that sequence would be; its bytes mean nothing here.
func archive(sequence string) []byte { return []byte("archive " + sequence) }

func bundle(name, sequence string) store.BundleRow {
	at := start
	return store.BundleRow{
		Name: name, Source: "api", Owner: "web", Keys: map[string]string{"release": "-----BEGIN PUBLIC KEY-----"}, Scope: "signet",
		Digest: facts.Digest(archive(sequence)), PolicyDigest: facts.Digest([]byte("policy " + sequence)),
		Revision: "r" + sequence, Sequence: 1, HighestSequence: 1, SignedBy: "release", Validator: `{"etag":"x"}`, ActivatedAt: &at,
	}
}

// putBundle puts an archive and the bundle whose it is.
func (f *fixture) putBundle(t *testing.T, row store.BundleRow, sequence string) (got store.BundleRow) {
	t.Helper()
	f.change(t, func(tx *store.Tx) (err error) {
		if err := tx.PutObject(t.Context(), store.ObjectBundle, row.Digest, archive(sequence)); err != nil {
			return err
		}
		got, err = tx.PutBundle(t.Context(), row)
		return err
	})
	return got
}

func testBundles(t *testing.T, f *fixture) {
	ctx := t.Context()
	want := bundle("rules", "1")
	got := f.putBundle(t, want, "1")
	want.Version, want.CreatedBy, want.CreatedAt, want.UpdatedBy, want.UpdatedAt = 1, alice.Name, got.CreatedAt, alice.Name, got.UpdatedAt
	same(t, want, got)
	same(t, want, must[store.BundleRow](t)(f.reader.Bundle(ctx, "rules")))
	same(t, []store.BundleRow{want}, must[[]store.BundleRow](t)(f.reader.Bundles(ctx)))
	same(t, string(archive("1")), string(must[[]byte](t)(f.reader.Object(ctx, store.ObjectBundle, want.Digest))))
	snap := must[store.Snapshot](t)(f.reader.Snapshot(ctx, nil))
	same(t, []store.BundleRow{want}, snap.Bundles)
	if snap.Inputs[store.InputBundles] == "" {
		t.Error("the bundles have no part in what is in force")
	}

	// What the source says is no change.
	before := f.active(t)
	if err := f.NoteValidator(ctx, "rules", want.Digest, `{"etag":"y"}`); err != nil {
		t.Fatal(err)
	}
	if err := f.NoteValidator(ctx, "rules", facts.Digest(archive("2")), `{"etag":"z"}`); err != nil {
		t.Fatal(err)
	}
	same(t, `{"etag":"y"}`, must[store.BundleRow](t)(f.reader.Bundle(ctx, "rules")).Validator)
	same(t, before, f.active(t))
	again := got
	same(t, got.Version, f.putBundle(t, again, "1").Version)
	same(t, before, f.active(t))

	// One without an archive waits for its first.
	waiting := store.BundleRow{Name: "waiting", Source: "configuration", Location: "https://bundles.example.com/rules.tar.gz"}
	f.change(t, func(tx *store.Tx) error { _, err := tx.PutBundle(ctx, waiting); return err })
	same(t, "", must[store.BundleRow](t)(f.reader.Bundle(ctx, "waiting")).Digest)

	next := bundle("rules", "2")
	next.Version, next.Sequence, next.HighestSequence = got.Version, 2, 2
	next = f.putBundle(t, next, "2")
	same(t, int64(2), next.Version)
	last := must[[]store.AuditEntry](t)(f.reader.Audit(ctx, store.AuditFilter{Object: "bundle/rules", Limit: 1}))
	same(t, "bundle.activate", last[0].Action)

	f.change(t, func(tx *store.Tx) error { return tx.DeleteBundle(ctx, "rules", 2) })
	if _, err := f.reader.Bundle(ctx, "rules"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a deleted bundle: %v", err)
	}
	if _, err := f.VerifyAudit(ctx, store.AuditHead{}); err != nil {
		t.Error(err)
	}
}

func testBundleRefused(t *testing.T, f *fixture) {
	ctx := t.Context()
	kept := f.putBundle(t, bundle("kept", "1"), "1")
	for name, tt := range map[string]struct {
		edit func(r *store.BundleRow)
		want error
	}{
		"no name":               {func(r *store.BundleRow) { r.Name = "" }, store.ErrInvalid},
		"another source":        {func(r *store.BundleRow) { r.Source = "embedded" }, store.ErrInvalid},
		"no archive":            {func(r *store.BundleRow) { r.Digest = facts.Digest(archive("9")) }, store.ErrInvalid},
		"no time":               {func(r *store.BundleRow) { r.ActivatedAt = nil }, store.ErrInvalid},
		"a time and no archive": {func(r *store.BundleRow) { r.Digest = "" }, store.ErrInvalid},
		"above the highest":     {func(r *store.BundleRow) { r.Sequence = 2 }, store.ErrInvalid},
		"there already":         {func(r *store.BundleRow) { r.Name = kept.Name }, store.ErrConflict},
		"another version":       {func(r *store.BundleRow) { r.Name, r.Version = kept.Name, 7 }, store.ErrConflict},
		"a version of nothing":  {func(r *store.BundleRow) { r.Version = 1 }, store.ErrNotFound},
	} {
		row := bundle("new", "1")
		tt.edit(&row)
		if err := f.changeErr(func(tx *store.Tx) error { _, err := tx.PutBundle(ctx, row); return err }); !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", name, err, tt.want)
		}
	}
	if err := f.changeErr(func(tx *store.Tx) error { return tx.DeleteBundle(ctx, "kept", 2) }); !errors.Is(err, store.ErrConflict) {
		t.Errorf("deleting another version: %v", err)
	}
}

func testBundleHistory(t *testing.T, f *fixture) {
	ctx := t.Context()
	var at [][]store.BundleRow
	record := func() {
		rows := must[[]store.BundleRow](t)(f.Bundles(ctx))
		for i := range rows {
			rows[i].Validator = "" // which is no part of it
		}
		at = append(at, rows)
	}
	record()
	one := f.putBundle(t, bundle("rules", "1"), "1")
	record()
	f.change(t, func(tx *store.Tx) error { _, err := tx.PutPolicy(ctx, policy("a")); return err })
	record()
	two := bundle("rules", "2")
	two.Version, two.Sequence, two.HighestSequence = one.Version, 2, 2
	two = f.putBundle(t, two, "2")
	record()
	f.change(t, func(tx *store.Tx) error { return tx.DeleteBundle(ctx, "rules", two.Version) })
	record()
	for rev := range at {
		same(t, at[rev], must[[]store.BundleRow](t)(f.reader.BundlesAt(ctx, int64(rev))))
	}
	past := must[[]store.Past[store.BundleRow]](t)(f.reader.BundleHistory(ctx, "rules"))
	if len(past) != 2 || past[0].Row.Sequence != 1 || past[0].From != 1 || *past[0].Until != 3 || past[1].Row.Sequence != 2 || *past[1].Until != 4 {
		t.Errorf("the history is %+v", past)
	}
	policies := must[[]store.Past[store.PolicyRow]](t)(f.reader.PolicyHistory(ctx, "a"))
	if len(policies) != 1 || policies[0].From != 2 || policies[0].Until != nil {
		t.Errorf("the policy's history is %+v", policies)
	}
	entry := must[store.AuditEntry](t)(f.reader.AuditOf(ctx, "bundle/rules", 3))
	same(t, "bundle.activate", entry.Action)
	if _, err := f.reader.AuditOf(ctx, "bundle/rules", 0); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("before there was anything: %v", err)
	}
}
