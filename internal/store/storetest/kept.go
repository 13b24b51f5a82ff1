package storetest

import (
	"errors"
	"fmt"
	"testing" //nolint:depguard // a suite for tests: the program does not import it
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/store"
)

// A trial shows what would be in force, and leaves nothing.
func testTry(t *testing.T, f *fixture) {
	ctx := t.Context()
	f.change(t, func(tx *store.Tx) error { return setPolicy(ctx, tx, "before") })
	active, head := f.active(t), must[store.AuditHead](t)(f.AuditHead(ctx))
	body := []byte("an object")
	snap := must[store.Snapshot](t)(f.Try(ctx, alice, "", func(tx *store.Tx) error {
		if _, err := tx.PutSigner(ctx, keyless("one")); err != nil {
			return err
		}
		if err := tx.PutObject(ctx, store.ObjectTrustRoot, facts.Digest(body), body); err != nil {
			return err
		}
		return setPolicy(ctx, tx, "after")
	}))
	if len(snap.Signers) != 1 || len(snap.Policies) != 1 || snap.Policies[0].Body != "after" || len(snap.Unchanged) != 0 {
		t.Errorf("on trial: %+v", snap)
	}
	if snap.Active.Revision != active.Revision+1 || snap.Active.Digest == active.Digest || snap.Inputs[store.InputSigners] == "" {
		t.Errorf("on trial %+v with inputs %v, in force is %+v", snap.Active, snap.Inputs, active)
	}
	same(t, map[store.ObjectName][]byte{{Kind: store.ObjectTrustRoot, Digest: facts.Digest(body)}: body}, snap.Objects)

	same(t, active, f.active(t))
	same(t, active, must[store.Snapshot](t)(f.reader.Snapshot(ctx, nil)).Active)
	same(t, head, must[store.AuditHead](t)(f.AuditHead(ctx)))
	same(t, "before", must[store.PolicyRow](t)(f.Policy(ctx, "default")).Body)
	same(t, 0, len(must[[]store.SignerRow](t)(f.Signers(ctx))))
	_, err := f.Object(ctx, store.ObjectTrustRoot, facts.Digest(body))
	wantErr(t, err, store.ErrNotFound)
	_, err = f.Revision(ctx, active.Revision+1)
	wantErr(t, err, store.ErrNotFound)

	// Nothing changed, an error, and a change afterwards.
	same(t, active, must[store.Snapshot](t)(f.Try(ctx, alice, "", func(*store.Tx) error { return nil })).Active)
	stop := errors.New("stop")
	_, err = f.Try(ctx, alice, "", func(tx *store.Tx) error { return errors.Join(setPolicy(ctx, tx, "after"), stop) })
	wantErr(t, err, stop)
	after := f.change(t, func(tx *store.Tx) error { return setPolicy(ctx, tx, "after") })
	same(t, active.Revision+1, after.Revision)
	must[store.AuditHead](t)(f.VerifyAudit(ctx, store.AuditHead{}))
}

// Verdicts are read with what deciding them again takes, page by page.
func testKeptVerdicts(t *testing.T, f *fixture) {
	ctx := t.Context()
	shared := Facts(t, "sha256:a", "a")
	var all []store.Record
	for i := range 5 {
		r := Record(t, i, shared, "registry.example/app")
		r.Basis, r.Evidence = fmt.Appendf(nil, `{"image":"%d"}`, i), []byte("evidence")
		if i == 4 { // the image could not be resolved
			r = Record(t, i, facts.Facts{}, "registry.example/app")
		}
		if err := f.Record(ctx, r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	minute := start.Truncate(time.Minute)
	used := func(who string, at time.Time, n int64) store.Use {
		return store.Use{VerdictID: all[1].Verdict.ID, Principal: who, Minute: at, Count: n}
	}
	if err := f.AddUses(ctx, []store.Use{used("a", minute, 2), used("b", minute.Add(time.Minute), 3)}); err != nil {
		t.Fatal(err)
	}

	var got []store.KeptVerdict
	var after *store.Cursor
	for {
		page, next, err := f.KeptVerdicts(ctx, time.Time{}, time.Time{}, store.Page{After: after, Limit: 2})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, page...)
		if after = next; next == nil {
			break
		}
	}
	if len(got) != len(all) {
		t.Fatalf("%d verdicts, want %d", len(got), len(all))
	}
	for i, r := range all {
		v := got[len(got)-1-i]
		want := store.KeptVerdict{
			ID: r.Verdict.ID, At: r.Decided, ImageRef: r.Verdict.Image, ImageName: r.ImageName, ImageDigest: r.Verdict.Digest,
			Decision: r.Verdict.Decision, Allowed: r.Verdict.Allowed, Active: r.Verdict.Active, Build: "test-1", FactsDigest: r.Facts.Digest(),
		}
		if r.Evidence != nil {
			want.EvidenceDigest = facts.Digest(r.Evidence)
		}
		if i == 1 {
			want.Uses, want.LastUsed = 5, minute.Add(time.Minute)
		}
		if d := cmp.Diff(want, v, cmpopts.IgnoreUnexported(store.KeptVerdict{})); d != "" {
			t.Errorf("verdict %d (-want +got)\n%s", i, d)
		}
		same(t, string(r.Basis), string(must[[]byte](t)(v.Basis())))
		if r.Facts.Digest() == "" {
			continue
		}
		read, size, err := v.Facts(ctx)
		if err != nil || read.Digest() != shared.Digest() || size == 0 {
			t.Errorf("facts of verdict %d: %s, %d bytes, error %v", i, read.Digest(), size, err)
		}
	}

	since, until := all[1].Decided, all[3].Decided
	page, next, err := f.KeptVerdicts(ctx, since, until, store.Page{})
	if err != nil || next != nil || len(page) != 2 || page[0].ID != all[2].Verdict.ID {
		t.Errorf("from 1 to 3: %d verdicts, next %v, error %v", len(page), next, err)
	}
	same(t, int64(2), must[int64](t)(f.CountVerdicts(ctx, since, until)))
	same(t, int64(5), must[int64](t)(f.CountVerdicts(ctx, time.Time{}, time.Time{})))
}
