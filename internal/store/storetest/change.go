package storetest

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing" //nolint:depguard // a suite for tests: the program does not import it
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/verdict"
)

func testNew(t *testing.T, f *fixture) {
	ctx := t.Context()
	first := must[store.Snapshot](t)(f.Snapshot(ctx, nil))
	if first.Inputs[store.InputSecret] == "" || first.Active.Revision != 0 {
		t.Errorf("a new store has %+v", first)
	}
	body := must[[]byte](t)(facts.Canonical(first.Inputs))
	empty := verdict.Active{Revision: 0, Digest: facts.Digest(body)}
	for _, s := range []*store.Store{f.Store, f.reader} {
		same(t, empty, must[verdict.Active](t)(s.Active(ctx)))
		same(t, store.Snapshot{
			Active: empty, Inputs: first.Inputs, Tokens: []auth.Token{}, Signers: []store.SignerRow{},
			Policies: []store.PolicyRow{}, Roots: []store.RootRow{}, Bundles: []store.BundleRow{}, Unchanged: map[string]bool{},
		},
			must[store.Snapshot](t)(s.Snapshot(ctx, nil)))
		same(t, store.AuditHead{Hash: strings.Repeat("0", 64)}, must[store.AuditHead](t)(s.VerifyAudit(ctx, store.AuditHead{})))
		same(t, []store.SignerRow{}, must[[]store.SignerRow](t)(s.SignersAt(ctx, 0)))
		same(t, []store.PolicyRow{}, must[[]store.PolicyRow](t)(s.PoliciesAt(ctx, 0)))
		same(t, []store.RootRow{}, must[[]store.RootRow](t)(s.RootsAt(ctx, 0)))
	}
	_, err := f.Revision(ctx, 0)
	wantErr(t, err, store.ErrNotFound)
}

func testChangeRaisesActive(t *testing.T, f *fixture) {
	ctx := t.Context()
	before := f.active(t)
	var row store.SignerRow
	first := f.change(t, func(tx *store.Tx) (err error) {
		row, err = tx.PutSigner(ctx, keyless("one"))
		return err
	})
	if first.Revision != 1 || first.Digest == before.Digest {
		t.Errorf("active went from %+v to %+v", before, first)
	}
	same(t, first, f.active(t))

	disabled := row
	disabled.Enabled = false
	second := f.change(t, func(tx *store.Tx) (err error) {
		disabled, err = tx.PutSigner(ctx, disabled)
		return err
	})
	if second.Revision != 2 || second.Digest == first.Digest {
		t.Errorf("disabling a signer: active went from %+v to %+v", first, second)
	}
	enabled := disabled
	enabled.Enabled, enabled.Note = true, "back again"
	third := f.change(t, func(tx *store.Tx) error { _, err := tx.PutSigner(ctx, enabled); return err })
	same(t, verdict.Active{Revision: 3, Digest: first.Digest}, third)

	rev := must[store.Revision](t)(f.Revision(ctx, 2))
	same(t, second, rev.Active)
	if rev.Inputs[store.InputSigners] == "" || rev.At.IsZero() {
		t.Errorf("revision 2 reads %+v", rev)
	}
}

func testNoChange(t *testing.T, f *fixture) {
	ctx := t.Context()
	before := f.change(t, func(tx *store.Tx) error { return setPolicy(ctx, tx, "sha256:p1") })
	after := f.change(t, func(tx *store.Tx) error {
		if _, err := tx.Signer(ctx, "nobody"); !errors.Is(err, store.ErrNotFound) {
			return errors.New("there is a signer")
		}
		return setPolicy(ctx, tx, "sha256:p1")
	})
	same(t, before, after)
	same(t, before, f.active(t))
	same(t, int64(1), must[store.AuditHead](t)(f.AuditHead(ctx)).Seq)
}

func testChangeFails(t *testing.T, f *fixture) {
	ctx := t.Context()
	before := must[store.Snapshot](t)(f.Snapshot(ctx, nil))
	boom := errors.New("boom")
	_, err := f.Change(ctx, alice, "", func(tx *store.Tx) error {
		if _, err := tx.PutSigner(ctx, keyless("one")); err != nil {
			return err
		}
		return boom
	})
	wantErr(t, err, boom)
	func() {
		defer func() { _ = recover() }()
		_, _ = f.Change(ctx, alice, "", func(tx *store.Tx) error {
			if _, err := tx.PutSigner(ctx, keyless("one")); err != nil {
				return err
			}
			panic(boom)
		})
	}()
	gone, cancel := context.WithCancel(ctx)
	_, err = f.Change(gone, alice, "", func(tx *store.Tx) error {
		_, err := tx.PutSigner(gone, keyless("one"))
		cancel()
		return err
	})
	wantErr(t, err, context.Canceled)

	same(t, before, must[store.Snapshot](t)(f.Snapshot(ctx, nil)))
	same(t, before.Active, f.active(t))
	same(t, int64(0), must[store.AuditHead](t)(f.AuditHead(ctx)).Seq)
	// And the store still works.
	f.change(t, func(tx *store.Tx) error { _, err := tx.PutSigner(ctx, keyless("one")); return err })
}

// Threat 52: what was changed before a request must be seen by it.
func testAcknowledgedIsSeen(t *testing.T, f *fixture) {
	ctx := t.Context()
	for i := range 100 {
		want := f.change(t, func(tx *store.Tx) error {
			return setPolicy(ctx, tx, "sha256:"+strings.Repeat("x", i))
		})
		same(t, want, f.active(t))
		same(t, want, must[verdict.Active](t)(f.reader.Active(ctx)))
		same(t, want, must[store.Snapshot](t)(f.reader.Snapshot(ctx, nil)).Active)
	}
}

func testSnapshotIsConsistent(t *testing.T, f *fixture) {
	ctx := t.Context()
	var row store.SignerRow
	f.change(t, func(tx *store.Tx) (err error) {
		row, err = tx.PutSigner(ctx, keyless("zero"))
		return err
	})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				snap, err := f.reader.Snapshot(ctx, nil)
				if err != nil {
					t.Error(err)
					return
				}
				// Each change puts the signer's version and the revision up by one.
				if len(snap.Signers) != 1 || snap.Signers[0].Version != snap.Active.Revision {
					t.Errorf("revision %d comes with a signer at version %d", snap.Active.Revision, snap.Signers[0].Version)
					return
				}
			}
		})
	}
	for range 50 {
		f.change(t, func(tx *store.Tx) (err error) {
			row, err = tx.PutSigner(ctx, row)
			return err
		})
	}
	close(stop)
	wg.Wait()
}

func testChangeNeedsActor(t *testing.T, f *fixture) {
	_, err := f.Change(t.Context(), store.Actor{From: "cli"}, "", func(*store.Tx) error { return nil })
	wantErr(t, err, store.ErrInvalid)
	same(t, alice, store.By(auth.Principal{Name: "alice"}, "192.0.2.7"))
}

func testObjects(t *testing.T, f *fixture) {
	ctx := t.Context()
	body := []byte(strings.Repeat("allow := true\n", 500))
	digest := facts.Digest(body)
	for range 2 {
		f.change(t, func(tx *store.Tx) error { return tx.PutObject(ctx, "policy", digest, body) })
	}
	same(t, body, must[[]byte](t)(f.reader.Object(ctx, "policy", digest)))
	_, err := f.Object(ctx, "params", digest)
	wantErr(t, err, store.ErrNotFound)
	_, err = f.Change(ctx, alice, "", func(tx *store.Tx) error { return tx.PutObject(ctx, "policy", "", body) })
	wantErr(t, err, store.ErrInvalid)
	same(t, int64(0), f.active(t).Revision) // keeping a value puts nothing in force
}

func testSignerRoundTrip(t *testing.T, f *fixture) {
	ctx := t.Context()
	empty := f.active(t)
	at := func(h int) *time.Time { v := start.Add(time.Duration(h) * time.Hour).Add(123456789); return &v }
	full := store.SignerRow{
		Name: "all", Type: "kms", Issuer: "https://issuer", SubjectKind: "regex", SubjectPattern: `https://github.com/acme/.*`,
		PublicKey: "-----BEGIN PUBLIC KEY-----\n", KMSKeyRef: "awskms:///alias/x", Fingerprints: []string{"ab", "cd"},
		Claims: map[string]string{"source_repository_ref": "refs/heads/main"}, Images: []string{"ghcr.io/acme/**"}, Enabled: true,
		TrustRoots: []string{"public-good"}, AutoRotate: true,
		NotBefore: at(1), ExpiresAt: at(2), SignedFrom: at(3), SignedUntil: at(4), Owner: "security", Note: `<b>"ü"</b>`,
	}
	var kept store.SignerRow
	f.change(t, func(tx *store.Tx) (err error) {
		if kept, err = tx.PutSigner(ctx, full); err != nil {
			return err
		}
		again, err := tx.Signer(ctx, kept.ID)
		same(t, kept, again)
		return err
	})
	if len(kept.ID) != 26 || kept.Version != 1 || kept.CreatedBy != "alice" || kept.UpdatedBy != "alice" || kept.CreatedAt.IsZero() {
		t.Errorf("kept as %+v", kept)
	}
	got := must[store.SignerRow](t)(f.reader.Signer(ctx, kept.ID))
	same(t, kept, got)
	micro := func(p *time.Time) *time.Time { v := p.Truncate(time.Microsecond); return &v }
	want := full
	want.ID, want.Version, want.CreatedBy, want.CreatedAt, want.UpdatedBy, want.UpdatedAt = kept.ID, 1, "alice", kept.CreatedAt, "alice", kept.UpdatedAt
	want.NotBefore, want.ExpiresAt, want.SignedFrom, want.SignedUntil = micro(full.NotBefore), micro(full.ExpiresAt), micro(full.SignedFrom), micro(full.SignedUntil)
	same(t, want, got)

	f.change(t, func(tx *store.Tx) error { return tx.DeleteSigner(ctx, kept.ID, 1) })
	_, err := f.Signer(ctx, kept.ID)
	wantErr(t, err, store.ErrNotFound)
	same(t, empty.Digest, f.active(t).Digest)
}

func testSignerConflicts(t *testing.T, f *fixture) {
	ctx := t.Context()
	var one, two store.SignerRow
	f.change(t, func(tx *store.Tx) (err error) {
		if one, err = tx.PutSigner(ctx, keyless("one")); err != nil {
			return err
		}
		two, err = tx.PutSigner(ctx, keyless("two"))
		return err
	})
	put := func(r store.SignerRow) error {
		_, err := f.Change(ctx, alice, "", func(tx *store.Tx) error { _, err := tx.PutSigner(ctx, r); return err })
		return err
	}
	stale := one
	one.Note = "changed"
	if err := put(one); err != nil {
		t.Fatal(err)
	}
	wantErr(t, put(stale), store.ErrConflict)
	noVersion := stale
	noVersion.Version = 0
	wantErr(t, put(noVersion), store.ErrConflict)
	wantErr(t, put(keyless("one")), store.ErrConflict)
	if err := put(keyless("one")); !strings.Contains(err.Error(), `signer name "one"`) || !strings.Contains(err.Error(), one.ID) {
		t.Errorf("the error names neither the name nor who has it: %v", err)
	}
	renamed := two
	renamed.Name = "one"
	wantErr(t, put(renamed), store.ErrConflict)
	unknown := two
	unknown.ID = "01JD0000000000000000000000"
	wantErr(t, put(unknown), store.ErrNotFound)

	_, err := f.Change(ctx, alice, "", func(tx *store.Tx) error { return tx.DeleteSigner(ctx, one.ID, 1) })
	wantErr(t, err, store.ErrConflict)
	_, err = f.Change(ctx, alice, "", func(tx *store.Tx) error { return tx.DeleteSigner(ctx, unknown.ID, 1) })
	wantErr(t, err, store.ErrNotFound)
	same(t, "changed", must[store.SignerRow](t)(f.Signer(ctx, one.ID)).Note)
}

func testSignersAt(t *testing.T, f *fixture) {
	ctx := t.Context()
	var states [][]store.SignerRow
	record := func() { states = append(states, must[[]store.SignerRow](t)(f.Signers(ctx))) }
	record()
	var a, b store.SignerRow
	step := func(fn func(tx *store.Tx) error) { t.Helper(); f.change(t, fn); record() }
	step(func(tx *store.Tx) (err error) { a, err = tx.PutSigner(ctx, keyless("a")); return err })
	step(func(tx *store.Tx) (err error) { b, err = tx.PutSigner(ctx, keyless("b")); return err })
	step(func(tx *store.Tx) (err error) { a.Enabled = false; a, err = tx.PutSigner(ctx, a); return err })
	step(func(tx *store.Tx) error { return setPolicy(ctx, tx, "sha256:1") })
	step(func(tx *store.Tx) error { return tx.DeleteSigner(ctx, b.ID, b.Version) })
	step(func(tx *store.Tx) (err error) { // twice in one change, and made and unmade in one change
		a.Note = "x"
		if a, err = tx.PutSigner(ctx, a); err != nil {
			return err
		}
		a.Note = "y"
		if a, err = tx.PutSigner(ctx, a); err != nil {
			return err
		}
		c, err := tx.PutSigner(ctx, keyless("c"))
		if err != nil {
			return err
		}
		return tx.DeleteSigner(ctx, c.ID, c.Version)
	})
	for rev, want := range states {
		same(t, want, must[[]store.SignerRow](t)(f.reader.SignersAt(ctx, int64(rev))))
	}
	_, err := f.SignersAt(ctx, int64(len(states)))
	wantErr(t, err, store.ErrNotFound)
}

func testSignerRefused(t *testing.T, f *fixture) {
	ctx := t.Context()
	edits := map[string]func(*store.SignerRow){
		"no name":            func(r *store.SignerRow) { r.Name = "" },
		"no type":            func(r *store.SignerRow) { r.Type = "" },
		"unknown type":       func(r *store.SignerRow) { r.Type = "pgp" },
		"other subject kind": func(r *store.SignerRow) { r.SubjectKind = "glob" },
	}
	for name, edit := range edits {
		r := keyless("x")
		edit(&r)
		_, err := f.Change(ctx, alice, "", func(tx *store.Tx) error { _, err := tx.PutSigner(ctx, r); return err })
		if !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: error %v, want %v", name, err, store.ErrInvalid)
		}
	}
	same(t, int64(0), f.active(t).Revision)
}

func testTokens(t *testing.T, f *fixture) {
	ctx := t.Context()
	plain, tok := token(t, "ci", auth.Verifier, start)
	_, other := token(t, "ops", auth.Admin, start.Add(time.Hour))
	first := f.change(t, func(tx *store.Tx) error {
		return errors.Join(tx.CreateToken(ctx, tok), tx.CreateToken(ctx, other))
	})
	same(t, []auth.Token{other, tok}, must[[]auth.Token](t)(f.reader.Tokens(ctx)))
	set := must[*auth.Tokens](t)(auth.NewTokens(must[store.Snapshot](t)(f.reader.Snapshot(ctx, nil)).Tokens))
	who := must[auth.Principal](t)(set.Authenticate(plain, netip.Addr{}, start))
	same(t, "ci", who.Name)

	second := f.change(t, func(tx *store.Tx) error { return tx.RevokeToken(ctx, tok.ID) })
	if second.Revision != 2 || second.Digest == first.Digest {
		t.Errorf("revoking a token: active went from %+v to %+v", first, second)
	}
	set = must[*auth.Tokens](t)(auth.NewTokens(must[store.Snapshot](t)(f.reader.Snapshot(ctx, nil)).Tokens))
	_, err := set.Authenticate(plain, netip.Addr{}, start)
	wantErr(t, err, auth.ErrRevoked)

	_, err = f.Change(ctx, alice, "", func(tx *store.Tx) error { return tx.RevokeToken(ctx, tok.ID) })
	wantErr(t, err, store.ErrConflict)
	_, err = f.Change(ctx, alice, "", func(tx *store.Tx) error { return tx.RevokeToken(ctx, "nobody") })
	wantErr(t, err, store.ErrNotFound)
	for _, e := range must[[]store.AuditEntry](t)(f.Audit(ctx, store.AuditFilter{})) {
		if strings.Contains(string(e.After), `"hash":`) || strings.Contains(string(e.After), plain[21:]) {
			t.Errorf("the audit log tells a token's secret: %s", e.After)
		}
	}
}

func testTokenRefused(t *testing.T, f *fixture) {
	ctx := t.Context()
	_, good := token(t, "ci", auth.Viewer, start)
	edits := map[string]func(*auth.Token){
		"no id":                  func(x *auth.Token) { x.ID = "" },
		"no hash":                func(x *auth.Token) { x.Hash = auth.Hash{} },
		"no role":                func(x *auth.Token) { x.Role = "" },
		"no creator":             func(x *auth.Token) { x.CreatedBy = "" },
		"never expires":          func(x *auth.Token) { x.ExpiresAt = time.Time{} },
		"revoked from the start": func(x *auth.Token) { x.RevokedAt = &start },
	}
	for name, edit := range edits {
		bad := good
		edit(&bad)
		_, err := f.Change(ctx, alice, "", func(tx *store.Tx) error { return tx.CreateToken(ctx, bad) })
		if !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: error %v, want %v", name, err, store.ErrInvalid)
		}
	}
	f.change(t, func(tx *store.Tx) error { return tx.CreateToken(ctx, good) })
	_, err := f.Change(ctx, alice, "", func(tx *store.Tx) error { return tx.CreateToken(ctx, good) })
	wantErr(t, err, store.ErrConflict)
}

func testTouchTokens(t *testing.T, f *fixture) {
	ctx := t.Context()
	_, a := token(t, "a", auth.Viewer, start)
	_, b := token(t, "b", auth.Viewer, start)
	before := f.change(t, func(tx *store.Tx) error { return errors.Join(tx.CreateToken(ctx, a), tx.CreateToken(ctx, b)) })
	touch := func(used map[string]time.Time) {
		t.Helper()
		if err := f.TouchTokens(ctx, used); err != nil {
			t.Fatal(err)
		}
	}
	touch(map[string]time.Time{a.ID: start.Add(2 * time.Hour), "gone": start})
	touch(map[string]time.Time{a.ID: start.Add(time.Hour)})
	list := must[[]auth.Token](t)(f.Tokens(ctx))
	i := slices.IndexFunc(list, func(x auth.Token) bool { return x.ID == a.ID })
	later := start.Add(2 * time.Hour)
	same(t, &later, list[i].LastUsedAt)
	same(t, (*time.Time)(nil), list[1-i].LastUsedAt)
	same(t, before, f.active(t))
	// The digest of tokens does not move with their use.
	after := f.change(t, func(tx *store.Tx) error { return tx.RevokeToken(ctx, b.ID) })
	var without auth.Token
	for _, x := range must[[]auth.Token](t)(f.Tokens(ctx)) {
		if x.ID == a.ID {
			without = x
		}
	}
	if without.LastUsedAt == nil || after.Digest == before.Digest {
		t.Error("revoking lost the last use, or changed nothing")
	}
}

func testSetup(t *testing.T, f *fixture) {
	ctx := t.Context()
	use := func(plain string) error {
		_, err := f.Change(ctx, store.Actor{Name: "setup"}, "", func(tx *store.Tx) error { return tx.UseSetup(ctx, plain) })
		return err
	}
	oldPlain, oldTok := token(t, "setup", auth.Admin, start)
	plain, tok := token(t, "setup", auth.Admin, start)
	wantErr(t, use(plain), auth.ErrUnknown) // there is none yet
	f.change(t, func(tx *store.Tx) error { return tx.PutSetup(ctx, oldTok) })
	f.change(t, func(tx *store.Tx) error { return tx.PutSetup(ctx, tok) })
	wantErr(t, use(oldPlain), auth.ErrUnknown)
	wantErr(t, use("nonsense"), auth.ErrMalformed)
	if err := use(plain); err != nil {
		t.Fatal(err)
	}
	wantErr(t, use(plain), auth.ErrRevoked)
	_, err := f.Change(ctx, alice, "", func(tx *store.Tx) error { return tx.PutSetup(ctx, oldTok) })
	wantErr(t, err, store.ErrConflict)
	_, err = f.Change(ctx, alice, "", func(tx *store.Tx) error { return tx.PutSetup(ctx, auth.Token{}) })
	wantErr(t, err, store.ErrInvalid)
}

func testSecret(t *testing.T, f *fixture) {
	one := must[auth.Secret](t)(f.Secret(t.Context()))
	two := must[auth.Secret](t)(f.reader.Secret(t.Context()))
	if one != two || one == (auth.Secret{}) {
		t.Error("the secret is empty, or differs between two openings of one store")
	}
}

func testAudit(t *testing.T, f *fixture) {
	ctx := t.Context()
	var row store.SignerRow
	f.change(t, func(tx *store.Tx) (err error) { row, err = tx.PutSigner(ctx, keyless("one")); return err })
	kept := must[store.AuditHead](t)(f.AuditHead(ctx))
	if _, err := f.Change(ctx, store.Actor{Name: "bob", From: "cli"}, "left the company", func(tx *store.Tx) error {
		row.Enabled = false
		_, err := tx.PutSigner(ctx, row)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		f.change(t, func(tx *store.Tx) error { return setPolicy(ctx, tx, strings.Repeat("d", i+1)) })
	}
	same(t, int64(22), must[store.AuditHead](t)(f.reader.VerifyAudit(ctx, kept)).Seq)

	list := must[[]store.AuditEntry](t)(f.Audit(ctx, store.AuditFilter{Object: "signer/" + row.ID}))
	if len(list) != 2 {
		t.Fatalf("the signer has %d entries", len(list))
	}
	e := list[0]
	same(t, []string{"bob", "cli", "signer.update", "left the company"}, []string{e.Actor, e.From, e.Action, e.Why})
	same(t, int64(2), e.Revision)
	if !strings.Contains(string(e.Before), `"enabled":true`) || !strings.Contains(string(e.After), `"enabled":false`) {
		t.Errorf("before %s, after %s", e.Before, e.After)
	}
	same(t, list[1].Hash, e.PrevHash)
	if list[1].Before != nil {
		t.Errorf("a new signer has a state before: %s", list[1].Before)
	}

	for name, tt := range map[string]struct {
		filter store.AuditFilter
		want   []int64
	}{
		"a name in what was and is":  {store.AuditFilter{Name: "one"}, []int64{2, 1}},
		"a name in the object":       {store.AuditFilter{Name: row.ID}, []int64{2, 1}},
		"no name of anything":        {store.AuditFilter{Name: "on"}, nil},
		"an actor":                   {store.AuditFilter{Actor: "bob"}, []int64{2}},
		"how an action begins":       {store.AuditFilter{Action: "signer."}, []int64{2, 1}},
		"an action":                  {store.AuditFilter{Action: "signer.update"}, []int64{2}},
		"no action that has it":      {store.AuditFilter{Action: "igner"}, nil},
		"before a time":              {store.AuditFilter{Until: list[0].At}, []int64{1}},
		"from a time on":             {store.AuditFilter{Since: list[0].At, Before: 3}, []int64{2}},
		"down to an entry":           {store.AuditFilter{After: 20}, []int64{22, 21}},
		"several, and where to look": {store.AuditFilter{Action: "signer.", Name: "one", Actor: "bob", Before: 2}, nil},
	} {
		var got []int64
		for _, e := range must[[]store.AuditEntry](t)(f.reader.Audit(ctx, tt.filter)) {
			got = append(got, e.Seq)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}

	var seqs []int64
	before := int64(0)
	for {
		page := must[[]store.AuditEntry](t)(f.Audit(ctx, store.AuditFilter{Before: before, Limit: 5}))
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			seqs = append(seqs, e.Seq)
		}
		before = page[len(page)-1].Seq
	}
	if len(seqs) != 22 || !slices.IsSortedFunc(seqs, func(a, b int64) int { return int(b - a) }) {
		t.Errorf("pages gave %v", seqs)
	}
	_, err := f.Audit(ctx, store.AuditFilter{Limit: 5000})
	wantErr(t, err, store.ErrInvalid)

	// A head that was kept elsewhere shows a log that was made anew, or cut.
	_, err = f.VerifyAudit(ctx, store.AuditHead{Seq: 1, Hash: strings.Repeat("1", 64)})
	wantErr(t, err, store.ErrCorrupt)
	_, err = f.VerifyAudit(ctx, store.AuditHead{Seq: 23, Hash: kept.Hash})
	wantErr(t, err, store.ErrCorrupt)
}

func testReaderDoesNotWrite(t *testing.T, f *fixture) {
	ctx := t.Context()
	_, err := f.reader.Change(ctx, alice, "", func(*store.Tx) error { return nil })
	wantErr(t, err, store.ErrReadOnly)
	fx := Facts(t, "sha256:aa", "a@example.com")
	wantErr(t, f.reader.PutFacts(ctx, fx), store.ErrReadOnly)
	wantErr(t, f.reader.Record(ctx, Record(t, 1, fx, "ghcr.io/acme/app")), store.ErrReadOnly)
	wantErr(t, f.reader.AddUses(ctx, []store.Use{{VerdictID: "x", Minute: start, Count: 1}}), store.ErrReadOnly)
	wantErr(t, f.reader.TouchTokens(ctx, map[string]time.Time{"x": start}), store.ErrReadOnly)
}
