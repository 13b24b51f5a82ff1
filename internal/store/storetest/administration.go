package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing" //nolint:depguard // a suite for tests: the program does not import it
	"time"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/verdict"
)

func testTokenScope(t *testing.T, f *fixture) {
	ctx := t.Context()
	_, tok := token(t, "team", auth.Author, start)
	tok.Team, tok.Images = "payments", []string{"ghcr.io/acme/pay/**"}
	tok.Sources = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	f.change(t, func(tx *store.Tx) error { return tx.CreateToken(ctx, tok) })
	same(t, true, equalTokens(tok, must[[]auth.Token](t)(f.reader.Tokens(ctx))[0]))
	e := must[[]store.AuditEntry](t)(f.Audit(ctx, store.AuditFilter{}))[0]
	for _, want := range []string{`"team":"payments"`, `"ghcr.io/acme/pay/**"`, `"10.0.0.0/8"`} {
		if !strings.Contains(string(e.After), want) {
			t.Errorf("the audit log leaves out %s: %s", want, e.After)
		}
	}
}

func equalTokens(a, b auth.Token) bool {
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(x, y)
}

func policy(name string) store.PolicyRow {
	return store.PolicyRow{Name: name, Source: "api", Owner: "security", Body: "signing_policy:\n  name: " + name + "\n"}
}

func testPolicies(t *testing.T, f *fixture) {
	ctx := t.Context()
	put := func(r store.PolicyRow) (kept store.PolicyRow, err error) {
		_, err = f.Change(ctx, alice, "", func(tx *store.Tx) (err error) { kept, err = tx.PutPolicy(ctx, r); return err })
		return kept, err
	}
	empty := f.active(t)
	b := must[store.PolicyRow](t)(put(policy("b")))
	a := must[store.PolicyRow](t)(put(policy("a")))
	want := policy("a")
	want.Digest, want.CreatedBy, want.UpdatedBy, want.Version = facts.Digest([]byte(want.Body)), "alice", "alice", 1
	want.CreatedAt, want.UpdatedAt = a.CreatedAt, a.CreatedAt
	same(t, want, a)
	same(t, a, must[store.PolicyRow](t)(f.reader.Policy(ctx, "a")))
	same(t, []store.PolicyRow{a, b}, must[[]store.PolicyRow](t)(f.reader.Policies(ctx)))
	same(t, []store.PolicyRow{a, b}, must[store.Snapshot](t)(f.reader.Snapshot(ctx, nil)).Policies)

	before := f.active(t)
	same(t, a, must[store.PolicyRow](t)(put(a))) // nothing differs
	same(t, before, f.active(t))
	owned := a
	owned.Owner = "payments"
	owned = must[store.PolicyRow](t)(put(owned))
	same(t, int64(2), owned.Version)
	same(t, before.Digest, f.active(t).Digest) // an owner changes no verdict
	changed := owned
	changed.Body += "  mode: audit\n"
	changed = must[store.PolicyRow](t)(put(changed))
	if f.active(t).Digest == before.Digest {
		t.Error("another body does not change the digest of active")
	}

	_, err := put(policy("a"))
	wantErr(t, err, store.ErrConflict) // it is not new
	_, err = put(owned)
	wantErr(t, err, store.ErrConflict) // it has changed
	missing := policy("c")
	missing.Version = 1
	_, err = put(missing)
	wantErr(t, err, store.ErrNotFound)
	remove := func(name string, version int64) error {
		_, err := f.Change(ctx, alice, "", func(tx *store.Tx) error { return tx.DeletePolicy(ctx, name, version) })
		return err
	}
	wantErr(t, remove("a", 1), store.ErrConflict)
	wantErr(t, remove("c", 1), store.ErrNotFound)
	if err := errors.Join(remove("a", changed.Version), remove("b", 1)); err != nil {
		t.Fatal(err)
	}
	_, err = f.Policy(ctx, "a")
	wantErr(t, err, store.ErrNotFound)
	same(t, empty.Digest, f.active(t).Digest)
	var actions []string
	for _, e := range must[[]store.AuditEntry](t)(f.Audit(ctx, store.AuditFilter{Object: "policy/a"})) {
		actions = append(actions, e.Action)
	}
	same(t, []string{"policy.delete", "policy.update", "policy.update", "policy.create"}, actions)
}

func testPolicyRefused(t *testing.T, f *fixture) {
	ctx := t.Context()
	edits := map[string]func(*store.PolicyRow){
		"no name":        func(r *store.PolicyRow) { r.Name = "" },
		"no body":        func(r *store.PolicyRow) { r.Body = "" },
		"unknown source": func(r *store.PolicyRow) { r.Source = "wishes" },
	}
	for name, edit := range edits {
		r := policy("x")
		edit(&r)
		_, err := f.Change(ctx, alice, "", func(tx *store.Tx) error { _, err := tx.PutPolicy(ctx, r); return err })
		if !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: error %v, want %v", name, err, store.ErrInvalid)
		}
	}
}

// rootBytes are put before the row that names them.
var rootBytes = []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`)

func root(name string, position int) store.RootRow {
	return store.RootRow{
		Name: name, Source: "api", Position: position, Kind: "file", Digest: facts.Digest(rootBytes),
		Requires: json.RawMessage(`{"timestamp":false,"log":true,"sct":true}`), Images: []string{"ghcr.io/**"},
	}
}

func testRoots(t *testing.T, f *fixture) {
	ctx := t.Context()
	put := func(r store.RootRow) (kept store.RootRow, err error) {
		_, err = f.Change(ctx, alice, "", func(tx *store.Tx) (err error) {
			if err := tx.PutObject(ctx, store.ObjectTrustRoot, facts.Digest(rootBytes), rootBytes); err != nil {
				return err
			}
			kept, err = tx.PutRoot(ctx, r)
			return err
		})
		return kept, err
	}
	first := must[store.RootRow](t)(put(root("zz", 0)))
	last := must[store.RootRow](t)(put(root("aa", 1)))
	want := root("zz", 0)
	want.Requires = json.RawMessage(`{"log":true,"sct":true,"timestamp":false}`)
	want.CreatedBy, want.UpdatedBy, want.CreatedAt, want.UpdatedAt, want.Version = "alice", "alice", first.CreatedAt, first.CreatedAt, 1
	same(t, want, first)
	same(t, []store.RootRow{first, last}, must[[]store.RootRow](t)(f.reader.Roots(ctx)))
	same(t, []store.RootRow{first, last}, must[store.Snapshot](t)(f.reader.Snapshot(ctx, nil)).Roots)
	same(t, rootBytes, must[[]byte](t)(f.reader.Object(ctx, store.ObjectTrustRoot, first.Digest)))

	before := f.active(t)
	same(t, first, must[store.RootRow](t)(put(first)))
	same(t, before, f.active(t))
	at := start.Add(123456789)
	refreshed := first
	refreshed.RefreshedAt = &at
	refreshed = must[store.RootRow](t)(put(refreshed))
	same(t, at.Truncate(time.Microsecond), *refreshed.RefreshedAt)
	same(t, refreshed, must[store.RootRow](t)(f.reader.Root(ctx, "zz")))
	if f.active(t).Digest == before.Digest {
		t.Error("a refresh, on which staleness depends, does not change the digest of active")
	}
	_, err := put(first)
	wantErr(t, err, store.ErrConflict)
	_, err = put(root("zz", 0))
	wantErr(t, err, store.ErrConflict)
	_, err = f.Change(ctx, alice, "", func(tx *store.Tx) error { return tx.DeleteRoot(ctx, "zz", 1) })
	wantErr(t, err, store.ErrConflict)
	f.change(t, func(tx *store.Tx) error {
		if got, err := tx.Object(ctx, store.ObjectTrustRoot, first.Digest); err != nil || !bytes.Equal(got, rootBytes) {
			t.Errorf("within a change the bytes read %q (%v)", got, err)
		}
		if list, err := tx.Roots(ctx); err != nil || len(list) != 2 {
			t.Errorf("within a change there are %v (%v)", list, err)
		}
		return tx.DeleteRoot(ctx, "zz", 2)
	})
	_, err = f.Root(ctx, "zz")
	wantErr(t, err, store.ErrNotFound)
	_, err = f.Change(ctx, alice, "", func(tx *store.Tx) error { return tx.DeleteRoot(ctx, "zz", 2) })
	wantErr(t, err, store.ErrNotFound)
}

func testRootRefused(t *testing.T, f *fixture) {
	ctx := t.Context()
	edits := map[string]func(*store.RootRow){
		"no name":              func(r *store.RootRow) { r.Name = "" },
		"unknown source":       func(r *store.RootRow) { r.Source = "" },
		"unknown kind":         func(r *store.RootRow) { r.Kind = "url" },
		"no digest":            func(r *store.RootRow) { r.Digest = "" },
		"no requirements":      func(r *store.RootRow) { r.Requires = nil },
		"requirements, broken": func(r *store.RootRow) { r.Requires = json.RawMessage(`{`) },
		"bytes not put":        func(r *store.RootRow) { r.Digest = facts.Digest([]byte("x")) },
		"metadata not put":     func(r *store.RootRow) { r.TUFMetadata = facts.Digest([]byte("x")) },
	}
	for name, edit := range edits {
		r := root("x", 0)
		edit(&r)
		_, err := f.Change(ctx, alice, "", func(tx *store.Tx) error {
			if err := tx.PutObject(ctx, store.ObjectTrustRoot, facts.Digest(rootBytes), rootBytes); err != nil {
				return err
			}
			_, err := tx.PutRoot(ctx, r)
			return err
		})
		if !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: error %v, want %v", name, err, store.ErrInvalid)
		}
	}
	_, err := f.Object(ctx, store.ObjectTrustRoot, facts.Digest(rootBytes))
	wantErr(t, err, store.ErrNotFound)
}

func testPoliciesAndRootsAt(t *testing.T, f *fixture) {
	ctx := t.Context()
	var policies [][]store.PolicyRow
	var roots [][]store.RootRow
	record := func() {
		policies = append(policies, must[[]store.PolicyRow](t)(f.Policies(ctx)))
		roots = append(roots, must[[]store.RootRow](t)(f.Roots(ctx)))
	}
	record()
	step := func(fn func(tx *store.Tx) error) { t.Helper(); f.change(t, fn); record() }
	var p store.PolicyRow
	var r store.RootRow
	step(func(tx *store.Tx) (err error) { p, err = tx.PutPolicy(ctx, policy("a")); return err })
	step(func(tx *store.Tx) (err error) {
		if err := tx.PutObject(ctx, store.ObjectTrustRoot, facts.Digest(rootBytes), rootBytes); err != nil {
			return err
		}
		r, err = tx.PutRoot(ctx, root("a", 1))
		return err
	})
	step(func(tx *store.Tx) (err error) { p.Body += "x: 1\n"; p, err = tx.PutPolicy(ctx, p); return err })
	step(func(tx *store.Tx) (err error) { r.Position = 0; r, err = tx.PutRoot(ctx, r); return err })
	step(func(tx *store.Tx) error { // deleted, and there again in one change
		if err := tx.DeletePolicy(ctx, "a", p.Version); err != nil {
			return err
		}
		_, err := tx.PutPolicy(ctx, policy("a"))
		return err
	})
	step(func(tx *store.Tx) error { return tx.DeleteRoot(ctx, "a", r.Version) })
	for rev := range policies {
		same(t, policies[rev], must[[]store.PolicyRow](t)(f.reader.PoliciesAt(ctx, int64(rev))))
		same(t, roots[rev], must[[]store.RootRow](t)(f.reader.RootsAt(ctx, int64(rev))))
	}
}

func testSnapshotUnchanged(t *testing.T, f *fixture) {
	ctx := t.Context()
	_, tok := token(t, "ci", auth.Viewer, start)
	f.change(t, func(tx *store.Tx) error {
		if err := tx.CreateToken(ctx, tok); err != nil {
			return err
		}
		if _, err := tx.PutSigner(ctx, keyless("one")); err != nil {
			return err
		}
		_, err := tx.PutPolicy(ctx, policy("a"))
		return err
	})
	first := must[store.Snapshot](t)(f.reader.Snapshot(ctx, nil))
	same(t, map[string]bool{}, first.Unchanged)
	same(t, 0, len(first.Bundles))
	same(t, []int{1, 1, 1, 0}, []int{len(first.Tokens), len(first.Signers), len(first.Policies), len(first.Roots)})
	f.change(t, func(tx *store.Tx) error { return tx.RevokeToken(ctx, tok.ID) })
	second := must[store.Snapshot](t)(f.reader.Snapshot(ctx, first.Inputs))
	same(t, map[string]bool{store.InputSigners: true, store.InputPolicies: true}, second.Unchanged)
	if second.Signers != nil || second.Policies != nil || second.Roots == nil || second.Tokens[0].RevokedAt == nil {
		t.Errorf("the second snapshot is %+v", second)
	}
	same(t, int64(2), second.Active.Revision)
}

func testNote(t *testing.T, f *fixture) {
	ctx := t.Context()
	before := f.active(t)
	after := f.change(t, func(tx *store.Tx) error {
		return tx.Note(ctx, "signer.key_pending", "signer/x", nil, json.RawMessage(`{"fingerprint":"ab"}`))
	})
	same(t, verdict.Active{Revision: 1, Digest: before.Digest}, after)
	e := must[[]store.AuditEntry](t)(f.reader.Audit(ctx, store.AuditFilter{Object: "signer/x"}))
	if len(e) != 1 || e[0].Action != "signer.key_pending" || string(e[0].After) != `{"fingerprint":"ab"}` {
		t.Errorf("the audit log has %+v", e)
	}
	for name, note := range map[string]func(tx *store.Tx) error{
		"no action": func(tx *store.Tx) error { return tx.Note(ctx, "", "x", nil, nil) },
		"no object": func(tx *store.Tx) error { return tx.Note(ctx, "x", "", nil, nil) },
		"no JSON":   func(tx *store.Tx) error { return tx.Note(ctx, "x", "x", json.RawMessage("x"), nil) },
	} {
		if _, err := f.Change(ctx, alice, "", note); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: error %v, want %v", name, err, store.ErrInvalid)
		}
	}
	if _, err := f.VerifyAudit(ctx, store.AuditHead{}); err != nil {
		t.Error(err)
	}
}

func testLeases(t *testing.T, f *fixture) {
	ctx := t.Context()
	take := func(name, holder string, ttl time.Duration) bool {
		t.Helper()
		return must[bool](t)(f.Lease(ctx, name, holder, ttl))
	}
	same(t, true, take("kms", "a", time.Hour))
	same(t, true, take("kms", "a", time.Hour))
	same(t, false, take("kms", "b", time.Hour))
	same(t, true, take("tuf", "b", time.Hour))
	if err := f.ReleaseLease(ctx, "kms", "b"); err != nil { // it is not b's to give
		t.Fatal(err)
	}
	same(t, false, take("kms", "b", time.Hour))
	if err := f.ReleaseLease(ctx, "kms", "a"); err != nil {
		t.Fatal(err)
	}
	same(t, true, take("kms", "b", time.Microsecond))
	time.Sleep(time.Millisecond) // the database's clock moves by itself
	same(t, true, take("kms", "a", time.Hour))
	same(t, false, take("kms", "b", time.Hour))
	same(t, int64(0), f.active(t).Revision)
	for _, bad := range []struct {
		name, holder string
		ttl          time.Duration
	}{{"", "a", 1}, {"x", "", 1}, {"x", "a", 0}} {
		_, err := f.Lease(ctx, bad.name, bad.holder, bad.ttl)
		wantErr(t, err, store.ErrInvalid)
	}
	_, err := f.reader.Lease(ctx, "x", "a", time.Hour)
	wantErr(t, err, store.ErrReadOnly)
	// Of many that ask at once, one gets it.
	var wg sync.WaitGroup
	var mu sync.Mutex
	held := 0
	for i := range 10 {
		wg.Go(func() {
			ok, err := f.Lease(ctx, "race", fmt.Sprint("h", i), time.Hour)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if ok {
				held++
			}
		})
	}
	wg.Wait()
	same(t, 1, held)
}

func testUpkeep(t *testing.T, f *fixture) {
	ctx := t.Context()
	failed := store.Upkeep{Kind: store.UpkeepKMS, Key: "s2", CheckedAt: start, Error: "sealed\x00"}
	pending := store.Upkeep{Kind: store.UpkeepKMS, Key: "s1", CheckedAt: start, Detail: json.RawMessage(`{"seen_at":"2026","fingerprint":"ab"}`)}
	other := store.Upkeep{Kind: store.UpkeepRoot, Key: "public", CheckedAt: start, Detail: json.RawMessage("null")}
	for _, u := range []store.Upkeep{{Kind: store.UpkeepKMS, Key: "s1", CheckedAt: start, Error: "x"}, failed, pending, other} {
		if err := f.PutUpkeep(ctx, u); err != nil {
			t.Fatal(err)
		}
	}
	failed.Error, other.Detail = "sealed\uFFFD", nil
	pending.Detail = json.RawMessage(`{"fingerprint":"ab","seen_at":"2026"}`)
	same(t, []store.Upkeep{pending, failed}, must[[]store.Upkeep](t)(f.reader.Upkeep(ctx, store.UpkeepKMS)))
	same(t, []store.Upkeep{other}, must[[]store.Upkeep](t)(f.reader.Upkeep(ctx, store.UpkeepRoot)))
	if err := f.DeleteUpkeep(ctx, store.UpkeepKMS, "s1"); err != nil {
		t.Fatal(err)
	}
	same(t, []store.Upkeep{failed}, must[[]store.Upkeep](t)(f.reader.Upkeep(ctx, store.UpkeepKMS)))
	for _, bad := range []store.Upkeep{
		{Kind: "x", Key: "a", CheckedAt: start}, {Kind: store.UpkeepKMS, CheckedAt: start}, {Kind: store.UpkeepKMS, Key: "a"},
		{Kind: store.UpkeepKMS, Key: "a", CheckedAt: start, Detail: json.RawMessage("{")},
	} {
		wantErr(t, f.PutUpkeep(ctx, bad), store.ErrInvalid)
	}
	same(t, int64(0), must[store.AuditHead](t)(f.AuditHead(ctx)).Seq)
}

func testRotateSecret(t *testing.T, f *fixture) {
	ctx := t.Context()
	before := must[auth.Secret](t)(f.reader.Secret(ctx))
	first := must[store.Snapshot](t)(f.Snapshot(ctx, nil))
	f.change(t, func(tx *store.Tx) error { return tx.RotateSecret(ctx) })
	second := must[store.Snapshot](t)(f.reader.Snapshot(ctx, nil))
	if first.Inputs[store.InputSecret] == second.Inputs[store.InputSecret] || first.Active.Digest == second.Active.Digest {
		t.Error("another secret does not change what is in force")
	}
	after := must[auth.Secret](t)(f.reader.Secret(ctx))
	if after == before || after != must[auth.Secret](t)(f.Secret(ctx)) {
		t.Error("the secret is the old one, or not the same for all")
	}
	for _, e := range must[[]store.AuditEntry](t)(f.Audit(ctx, store.AuditFilter{})) {
		same(t, "secret.rotate", e.Action)
		if digest := facts.Digest(after.Bytes()); strings.Contains(string(e.After), digest) {
			t.Error("the audit log has the digest of the secret itself")
		}
	}
}

// Threat: two changes at once, each from the state that the other does not know.
func testSerialChanges(t *testing.T, f *fixture) {
	ctx := t.Context()
	var wg sync.WaitGroup
	const writers, each = 5, 10
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				_, err := f.Change(ctx, alice, "", func(tx *store.Tx) error {
					_, err := tx.PutSigner(ctx, keyless(fmt.Sprint("s", w, "-", i)))
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	same(t, int64(writers*each), f.active(t).Revision)
	same(t, int64(writers*each), must[store.AuditHead](t)(f.VerifyAudit(ctx, store.AuditHead{})).Seq)
	same(t, writers*each, len(must[[]store.SignerRow](t)(f.reader.SignersAt(ctx, writers*each))))
}

func testManySigners(t *testing.T, f *fixture) {
	ctx := t.Context()
	const n = 1000
	f.change(t, func(tx *store.Tx) error {
		for i := range n {
			if _, err := tx.PutSigner(ctx, keyless(fmt.Sprint("s", i))); err != nil {
				return err
			}
		}
		return nil
	})
	same(t, int64(1), f.active(t).Revision)
	list := must[[]store.SignerRow](t)(f.reader.SignersAt(ctx, 1))
	same(t, n, len(list))
	// One changed among many.
	list[n/2].Enabled = false
	f.change(t, func(tx *store.Tx) error { _, err := tx.PutSigner(ctx, list[n/2]); return err })
	same(t, n, len(must[[]store.SignerRow](t)(f.reader.SignersAt(ctx, 2))))
}

func testRepeat(t *testing.T, f *fixture) {
	ctx := t.Context()
	fx := Facts(t, "sha256:aa", "a@example.com")
	r := Record(t, 1, fx, image)
	f.record(t, r)
	again := store.Repeat{
		Original: r.Verdict.ID, ID: "01JDREPEAT", Body: []byte(`{"id":"01JDREPEAT"}`), Principal: "gate",
		AssessmentID: "assessment-7", Labels: map[string]string{"b": "2"}, At: start.Add(time.Hour),
	}
	if err := f.Repeat(ctx, again); err != nil {
		t.Fatal(err)
	}
	original := must[store.Stored](t)(f.reader.Verdict(ctx, r.Verdict.ID))
	got := must[store.Stored](t)(f.reader.Verdict(ctx, again.ID))
	want := original
	want.ID, want.Body, want.Principal, want.AssessmentID = again.ID, again.Body, again.Principal, &again.AssessmentID
	want.Labels, want.CreatedAt, want.Repeats = again.Labels, again.At, &again.Original
	same(t, want, got)
	same(t, (*string)(nil), original.Repeats)
	same(t, []string{again.ID}, list(t, f.reader, store.Filter{AssessmentID: "assessment-7"}, 7))
	same(t, []string{again.ID, r.Verdict.ID}, list(t, f.reader, store.Filter{Signer: "builder"}, 7))

	wantErr(t, f.Repeat(ctx, again), store.ErrConflict)
	gone := again
	gone.ID, gone.Original = "01JDOTHER", "01JDNOBODY"
	wantErr(t, f.Repeat(ctx, gone), store.ErrNotFound)
	for _, edit := range []func(*store.Repeat){
		func(r *store.Repeat) { r.ID = "" }, func(r *store.Repeat) { r.Original = "" },
		func(r *store.Repeat) { r.Body = nil }, func(r *store.Repeat) { r.At = time.Time{} },
	} {
		bad := again
		edit(&bad)
		wantErr(t, f.Repeat(ctx, bad), store.ErrInvalid)
	}
	wantErr(t, f.reader.Repeat(ctx, again), store.ErrReadOnly)
	// One that cannot be written spoils no verdict beside it.
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if i%5 == 0 {
				x := gone
				x.ID = fmt.Sprint("01JDX", i)
				wantErr(t, f.Repeat(ctx, x), store.ErrNotFound)
			} else if err := f.Record(ctx, Record(t, 100+i, fx, image)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// What comes from images is whatever their makers wrote.
func testOutsideBytes(t *testing.T, f *fixture) {
	ctx := t.Context()
	r := Record(t, 1, Facts(t, "sha256:aa", "a@example.com"), image)
	builder := "b\x00\xff"
	r.Verdict.Signature.Signer, r.Verdict.Signature.Issuer, r.Verdict.SLSA.Builder = "a\x00b", "\xff", &builder
	r.Verdict.Decision, r.Verdict.Allowed = verdict.Deny, false
	r.Verdict.Reasons = []verdict.Reason{{Code: "x", Message: "a\x00b\\u0000"}}
	r.AssessmentID, r.Labels, r.Principal = "x\x00", map[string]string{"k\x00": `v\u0000`}, "p\x00"
	f.record(t, r)
	got := must[store.Stored](t)(f.reader.Verdict(ctx, r.Verdict.ID))
	same(t, []string{"a\uFFFDb", "\uFFFD", "b\uFFFD\uFFFD", "x\uFFFD", "p\uFFFD"},
		[]string{got.SignerIdentity, got.SignerIssuer, *got.SLSABuilder, *got.AssessmentID, got.Principal})
	same(t, "a\uFFFDb\\u0000", got.Reasons[0].Message)
	same(t, map[string]string{"k\uFFFD": `v\u0000`}, got.Labels)
	same(t, string(r.Body), string(got.Body))
}

// allow records a verdict that a signer of that name met, under a revision.
func (f *fixture) allow(t *testing.T, n int, digest, signer string, revision int64) store.Record {
	t.Helper()
	r := Record(t, n, Facts(t, digest, "a@example.com"), image)
	r.Verdict.Active.Revision = revision
	fr := r.Frames["default"]
	fr.Matches = []facts.Match{{Requirement: "signature", Signers: []string{signer}}}
	if !alone(r.Verdict.ID) {
		fr.Matches[0].Signers = append(fr.Matches[0].Signers, "default/0")
	}
	r.Frames = map[string]facts.Frame{"default": fr}
	f.record(t, r)
	return r
}

// alone says which of the verdicts of allow one signer alone has met: those with
// an even number.
func alone(id string) bool { return strings.ContainsAny(id[len(id)-1:], "02468") }

func testSignerVerdicts(t *testing.T, f *fixture) {
	ctx := t.Context()
	var one, two store.SignerRow
	f.change(t, func(tx *store.Tx) (err error) { one, err = tx.PutSigner(ctx, keyless("one")); return err })
	f.change(t, func(tx *store.Tx) (err error) { two, err = tx.PutSigner(ctx, keyless("two")); return err })
	f.allow(t, 1, "sha256:aa", "one", 1)
	f.allow(t, 3, "sha256:bb", "one", 2)
	late := f.allow(t, 5, "sha256:aa", "one", 2)
	f.allow(t, 4, "sha256:aa", "one", 2) // recorded later, of an earlier time
	f.allow(t, 6, "sha256:cc", "two", 2)
	f.allow(t, 7, "sha256:dd", "nobody", 2)
	// The names change hands: one is now called two.
	f.change(t, func(tx *store.Tx) (err error) {
		two.Name = "three"
		if two, err = tx.PutSigner(ctx, two); err != nil {
			return err
		}
		one.Name = "two"
		one, err = tx.PutSigner(ctx, one)
		return err
	})
	f.allow(t, 8, "sha256:ee", "two", 3)
	f.allow(t, 9, "sha256:ff", "two", 2) // decided before the change, recorded after it
	denied := Record(t, 10, Facts(t, "sha256:gg", "a@example.com"), image)
	denied.Verdict.Decision, denied.Verdict.Allowed = verdict.Deny, false
	denied.Verdict.Active.Revision = 3
	fr := denied.Frames["default"]
	fr.Matches = []facts.Match{{Requirement: "signature", Signers: []string{"two"}}}
	denied.Frames = map[string]facts.Frame{"default": fr}
	f.record(t, denied)
	if err := f.Repeat(ctx, store.Repeat{Original: late.Verdict.ID, ID: "01JDREPEAT", Body: []byte("{}"), Principal: "p", At: start.Add(20 * time.Second)}); err != nil {
		t.Fatal(err)
	}

	type row struct {
		digest, verdict string
		count           int64
	}
	read := func(s *store.Store, id string, size int) []row {
		rows := []row{}
		var after *store.Cursor
		for {
			page, next, err := s.SignerVerdicts(ctx, id, after, size)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range page {
				rows = append(rows, row{v.Digest, v.VerdictID, v.Count})
				if v.ImageRef != image+":v1" || (v.SignedAt != nil) != alone(v.VerdictID) || v.At.IsZero() {
					t.Errorf("it reads %+v", v)
				}
			}
			if next == nil {
				return rows
			}
			after = next
		}
	}
	id := func(n int) string { return fmt.Sprintf("01JD%022d", n) }
	wantOne := []row{{"sha256:aa", "01JDREPEAT", 4}, {"sha256:ee", id(8), 1}, {"sha256:bb", id(3), 1}}
	for _, size := range []int{1, 2, 3, 50} {
		if got := read(f.reader, one.ID, size); fmt.Sprint(got) != fmt.Sprint(wantOne) {
			t.Errorf("in pages of %d: %v, want %v", size, got, wantOne)
		}
	}
	same(t, fmt.Sprint([]row{{"sha256:ff", id(9), 1}, {"sha256:cc", id(6), 1}}), fmt.Sprint(read(f.reader, two.ID, 50)))
	same(t, 0, len(read(f.reader, "nobody", 50)))
	_, _, err := f.SignerVerdicts(ctx, one.ID, nil, 1001)
	wantErr(t, err, store.ErrInvalid)
}

// A digest that was allowed under two names is there under both, until the last
// verdict of each has gone.
func testSignerVerdictNames(t *testing.T, f *fixture) {
	ctx := t.Context()
	var one store.SignerRow
	f.change(t, func(tx *store.Tx) (err error) { one, err = tx.PutSigner(ctx, keyless("one")); return err })
	const mirror = "mirror.example.com/copy/of"
	for i, name := range []string{image, mirror, image} {
		r := Record(t, i, Facts(t, "sha256:aa", "a@example.com"), name)
		r.Verdict.Active.Revision = 1
		fr := r.Frames["default"]
		fr.Matches = []facts.Match{{Requirement: "signature", Signers: []string{"one"}}}
		r.Frames = map[string]facts.Frame{"default": fr}
		f.record(t, r)
	}
	read := func() (rows []string) {
		page, _, err := f.reader.SignerVerdicts(ctx, one.ID, nil, 50)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page {
			rows = append(rows, fmt.Sprint(v.Digest, " ", v.ImageRef, " ", v.Count))
		}
		return rows
	}
	same(t, fmt.Sprint([]string{"sha256:aa " + image + ":v1 2", "sha256:aa " + mirror + ":v1 1"}), fmt.Sprint(read()))
	same(t, int64(2), must[int64](t)(f.Prune(ctx, store.Retention{MaxRows: 1})))
	same(t, fmt.Sprint([]string{"sha256:aa " + image + ":v1 1"}), fmt.Sprint(read()))
}

func testPrune(t *testing.T, f *fixture) {
	ctx := t.Context()
	var one store.SignerRow
	f.change(t, func(tx *store.Tx) (err error) { one, err = tx.PutSigner(ctx, keyless("one")); return err })
	now := f.clock.Now()
	const n = 1200
	var ids []string
	for i := range n {
		// Every other one is of a digest, and so of facts, of its own.
		digest := "sha256:shared"
		if i%2 == 0 && i < 40 {
			digest = fmt.Sprint("sha256:d", i)
		}
		r := Record(t, i, Facts(t, digest, "a@example.com"), image)
		r.Decided = now.Add(-2 * n * time.Hour).Add(time.Duration(i) * time.Hour)
		r.Verdict.Active.Revision = 1
		fr := r.Frames["default"]
		fr.Matches = []facts.Match{{Requirement: "signature", Signers: []string{"one"}}}
		r.Frames = map[string]facts.Frame{"default": fr}
		ids = append(ids, r.Verdict.ID)
		if i < 50 || i >= n-50 {
			f.record(t, r)
		}
	}
	var wg sync.WaitGroup
	for w := range 10 { // the bulk, which has nothing of its own, side by side
		wg.Go(func() {
			for i := 50 + w; i < n-50; i += 10 {
				r := Record(t, i, Facts(t, "sha256:shared", "a@example.com"), image)
				r.Decided = now.Add(-2 * n * time.Hour).Add(time.Duration(i) * time.Hour)
				if err := f.Record(ctx, r); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	own := Facts(t, "sha256:d0", "a@example.com").Digest()
	ownEvidence := facts.Digest([]byte("found for " + own))
	if err := f.AddUses(ctx, []store.Use{{VerdictID: ids[0], Principal: "p", Minute: start, Count: 1}}); err != nil {
		t.Fatal(err)
	}
	f.clock.set(now.Add(48 * time.Hour)) // so that no facts are too young
	count := func() int { return len(list(t, f.reader, store.Filter{}, 1000)) }
	head := must[store.AuditHead](t)(f.AuditHead(ctx))

	same(t, int64(0), must[int64](t)(f.Prune(ctx, store.Retention{})))
	same(t, int64(0), must[int64](t)(f.Prune(ctx, store.Retention{MaxRows: n})))
	same(t, int64(0), must[int64](t)(f.Prune(ctx, store.Retention{MaxAge: 10 * n * time.Hour})))
	same(t, n, count())
	if _, err := f.reader.Facts(ctx, own); err != nil {
		t.Error("facts that a verdict names are gone:", err)
	}
	if _, err := f.reader.Evidence(ctx, ownEvidence); err != nil {
		t.Error("evidence that a verdict names is gone:", err)
	}
	page, _, err := f.SignerVerdicts(ctx, one.ID, nil, 1000)
	if err != nil || len(page) != 21 {
		t.Errorf("the signer has %d digests (%v), want 21", len(page), err)
	}

	same(t, int64(700), must[int64](t)(f.Prune(ctx, store.Retention{MaxRows: 500, MaxAge: 100 * n * time.Hour})))
	left := list(t, f.reader, store.Filter{}, 1000)
	same(t, 500, len(left))
	same(t, ids[n-1], left[0])
	same(t, ids[n-500], left[499])
	_, err = f.reader.Facts(ctx, own)
	wantErr(t, err, store.ErrNotFound)
	_, err = f.reader.Evidence(ctx, ownEvidence)
	wantErr(t, err, store.ErrNotFound)
	if _, err := f.reader.Facts(ctx, Facts(t, "sha256:shared", "a@example.com").Digest()); err != nil {
		t.Error("facts that verdicts still name are gone:", err)
	}
	same(t, 0, len(must[[]store.Use](t)(f.Uses(ctx, ids[0]))))
	page, _, err = f.SignerVerdicts(ctx, one.ID, nil, 1000)
	if err != nil || len(page) != 1 || page[0].Count != 50 || page[0].VerdictID != ids[n-1] {
		t.Errorf("the signer has %+v (%v), want one digest of 50 verdicts", page, err)
	}
	// The rest by age: all but those of the last 10 hours before the newest.
	age := f.clock.Now().Sub(now.Add(-2 * n * time.Hour).Add((n - 11) * time.Hour))
	// A use of what is gone, which was counted late.
	late := []store.Use{{VerdictID: ids[n-1], Principal: "p", Minute: start, Count: 1}}
	for i := range 1100 { // more than one step removes
		late = append(late, store.Use{VerdictID: ids[0], Principal: fmt.Sprint("p", i), Minute: start, Count: 1})
	}
	if err := f.AddUses(ctx, late); err != nil {
		t.Fatal(err)
	}
	same(t, int64(490), must[int64](t)(f.Prune(ctx, store.Retention{MaxAge: age})))
	same(t, 0, len(must[[]store.Use](t)(f.Uses(ctx, ids[0]))))
	same(t, 1, len(must[[]store.Use](t)(f.Uses(ctx, ids[n-1]))))
	same(t, 10, count())
	same(t, head, must[store.AuditHead](t)(f.VerifyAudit(ctx, head)))
	for _, bad := range []store.Retention{{MaxAge: -1}, {MaxRows: -1}} {
		_, err := f.Prune(ctx, bad)
		wantErr(t, err, store.ErrInvalid)
	}
	_, err = f.reader.Prune(ctx, store.Retention{MaxRows: 1})
	wantErr(t, err, store.ErrReadOnly)
}

// set moves the clock.
func (c *clock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// What is under way when the caller leaves says so, and is no failure of the
// store.
func testContextEnds(t *testing.T, f *fixture) {
	ctx := t.Context()
	_, tok := token(t, "ci", auth.Viewer, start)
	var signer store.SignerRow
	f.change(t, func(tx *store.Tx) (err error) {
		if err := tx.PutObject(ctx, store.ObjectTrustRoot, facts.Digest(rootBytes), rootBytes); err != nil {
			return err
		}
		signer, err = tx.PutSigner(ctx, keyless("one"))
		return err
	})
	before := f.active(t)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	for name, op := range map[string]func(tx *store.Tx) error{
		"PutSigner":    func(tx *store.Tx) error { _, err := tx.PutSigner(gone, keyless("two")); return err },
		"DeleteSigner": func(tx *store.Tx) error { return tx.DeleteSigner(gone, signer.ID, 1) },
		"Signer":       func(tx *store.Tx) error { _, err := tx.Signer(gone, signer.ID); return err },
		"PutPolicy":    func(tx *store.Tx) error { _, err := tx.PutPolicy(gone, policy("a")); return err },
		"DeletePolicy": func(tx *store.Tx) error { return tx.DeletePolicy(gone, "a", 1) },
		"Policies":     func(tx *store.Tx) error { _, err := tx.Policies(gone); return err },
		"PutRoot":      func(tx *store.Tx) error { _, err := tx.PutRoot(gone, root("a", 0)); return err },
		"DeleteRoot":   func(tx *store.Tx) error { return tx.DeleteRoot(gone, "a", 1) },
		"Root":         func(tx *store.Tx) error { _, err := tx.Root(gone, "a"); return err },
		"Roots":        func(tx *store.Tx) error { _, err := tx.Roots(gone); return err },
		"CreateToken":  func(tx *store.Tx) error { return tx.CreateToken(gone, tok) },
		"RevokeToken":  func(tx *store.Tx) error { return tx.RevokeToken(gone, tok.ID) },
		"PutSetup":     func(tx *store.Tx) error { return tx.PutSetup(gone, tok) },
		"Note":         func(tx *store.Tx) error { return tx.Note(gone, "a", "b", nil, nil) },
		"RotateSecret": func(tx *store.Tx) error { return tx.RotateSecret(gone) },
		"Object": func(tx *store.Tx) error {
			_, err := tx.Object(gone, store.ObjectTrustRoot, facts.Digest(rootBytes))
			return err
		},
		"PutObject": func(tx *store.Tx) error {
			return tx.PutObject(gone, store.ObjectTrustRoot, facts.Digest(rootBytes), rootBytes)
		},
	} {
		if _, err := f.Change(ctx, alice, "", op); !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: error %v, want %v", name, err, context.Canceled)
		}
	}
	for name, op := range map[string]func() error{
		"Change":         func() error { _, err := f.Change(gone, alice, "", func(*store.Tx) error { return nil }); return err },
		"Snapshot":       func() error { _, err := f.reader.Snapshot(gone, nil); return err },
		"Signers":        func() error { _, err := f.reader.Signers(gone); return err },
		"SignersAt":      func() error { _, err := f.reader.SignersAt(gone, 1); return err },
		"Policies":       func() error { _, err := f.reader.Policies(gone); return err },
		"Policy":         func() error { _, err := f.reader.Policy(gone, "a"); return err },
		"Roots":          func() error { _, err := f.reader.Roots(gone); return err },
		"Upkeep":         func() error { _, err := f.reader.Upkeep(gone, store.UpkeepKMS); return err },
		"Secret":         func() error { _, err := f.reader.Secret(gone); return err },
		"VerifyAudit":    func() error { _, err := f.reader.VerifyAudit(gone, store.AuditHead{}); return err },
		"SignerVerdicts": func() error { _, _, err := f.reader.SignerVerdicts(gone, "x", nil, 1); return err },
		"EachSignerVerdict": func() error {
			for _, err := range f.reader.EachSignerVerdict(gone, "x") {
				return err
			}
			return nil
		},
		"Prune":       func() error { _, err := f.Prune(gone, store.Retention{MaxRows: 1}); return err },
		"Lease":       func() error { _, err := f.Lease(gone, "a", "b", time.Hour); return err },
		"TouchTokens": func() error { return f.TouchTokens(gone, map[string]time.Time{"x": start}) },
	} {
		if err := op(); !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: error %v, want %v", name, err, context.Canceled)
		}
	}
	same(t, before, f.active(t))
	f.change(t, func(tx *store.Tx) error { return setPolicy(ctx, tx, "and it works") })
	f.change(t, func(tx *store.Tx) error {
		list, err := tx.Policies(ctx)
		same(t, 1, len(list))
		_, notFound := tx.Root(ctx, "a")
		wantErr(t, notFound, store.ErrNotFound)
		return err
	})
}

// What no text in a database can be is not there, and nothing is wrong.
func testLookedFor(t *testing.T, f *fixture) {
	ctx := t.Context()
	f.record(t, Record(t, 1, Facts(t, "sha256:aa", "a@example.com"), image))
	for name, text := range map[string]string{"a zero character": "a\x00b", "no UTF-8": "a\xffb"} {
		t.Run(name, func(t *testing.T) {
			for what, look := range map[string]func() error{
				"Verdict": func() error { _, err := f.reader.Verdict(ctx, text); return err },
				"Facts":   func() error { _, err := f.reader.Facts(ctx, text); return err },
				"Object":  func() error { _, err := f.reader.Object(ctx, text, text); return err },
				"Signer":  func() error { _, err := f.reader.Signer(ctx, text); return err },
				"Policy":  func() error { _, err := f.reader.Policy(ctx, text); return err },
				"Root":    func() error { _, err := f.reader.Root(ctx, text); return err },
				"Tx.Signer": func() error {
					return f.changeErr(func(tx *store.Tx) error { _, err := tx.Signer(ctx, text); return err })
				},
				"RevokeToken": func() error {
					return f.changeErr(func(tx *store.Tx) error { return tx.RevokeToken(ctx, text) })
				},
			} {
				if err := look(); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("%s: %v", what, err)
				}
			}
			for _, filter := range []store.Filter{
				{AssessmentID: text}, {Digest: text}, {Signer: text}, {ImageRef: text}, {ImageName: text}, {Identity: text},
			} {
				same(t, 0, len(list(t, f.reader, filter, 10)))
			}
			if uses, err := f.reader.Uses(ctx, text); err != nil || len(uses) != 0 {
				t.Errorf("Uses: %v, %v", uses, err)
			}
			if entries, err := f.reader.Audit(ctx, store.AuditFilter{Object: text}); err != nil || len(entries) != 0 {
				t.Errorf("Audit: %v, %v", entries, err)
			}
			if page, _, err := f.reader.SignerVerdicts(ctx, text, &store.Cursor{CreatedAt: start, ID: text}, 10); err != nil || len(page) != 0 {
				t.Errorf("SignerVerdicts: %v, %v", page, err)
			}
			if _, _, err := f.reader.Verdicts(ctx, store.Filter{}, store.Page{After: &store.Cursor{CreatedAt: start, ID: text}}); err != nil {
				t.Errorf("a page after it: %v", err)
			}
		})
	}
}

// changeErr is what a change ends with.
func (f *fixture) changeErr(fn func(tx *store.Tx) error) error {
	_, err := f.Change(context.Background(), alice, "", fn)
	return err
}
