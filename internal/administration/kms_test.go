package administration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/store"
)

func (f *fixture) refreshed(t *testing.T) {
	t.Helper()
	if err := f.RefreshKeys(t.Context(), f.clock.Now()); err != nil {
		t.Fatal(err)
	}
}

func TestRotationIsAccepted(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		first, second, third := newKey(t), newKey(t), newKey(t)
		f.kms.set(vaultRef, first.PEM, nil)
		w := must[client.Signer](t)(f.CreateSigner(ctx, root, kmsSigner("release")))
		must[client.Signer](t)(f.CreateSigner(ctx, root, keyless("other"))) // has no key to read
		head := must[client.AuditHead](t)(f.AuditHead(ctx, root))

		if err := f.keepState(ctx, store.SignerRow{ID: "removed"}, start, nil, ""); err != nil {
			t.Fatal(err)
		}
		f.clock.move(time.Hour)
		f.refreshed(t)
		same(t, 1, len(must[[]store.Upkeep](t)(f.store.Upkeep(ctx, store.UpkeepKMS))))
		w.KMS = &client.KMSState{CheckedAt: ptr(start.Add(time.Hour))}
		same(t, w, must[client.Signer](t)(f.Signer(ctx, root, w.ID)))
		same(t, head, must[client.AuditHead](t)(f.AuditHead(ctx, root)))

		// Another key there is seen once, and not trusted.
		f.kms.set(vaultRef, second.PEM, nil)
		f.clock.move(time.Hour)
		f.refreshed(t)
		seen := start.Add(2 * time.Hour)
		same(t, []entry{{"server", "kms", "signer.key_seen", "signer/" + w.ID, "scheduled refresh"}}, f.audited(t, 1))
		f.clock.move(time.Hour)
		f.refreshed(t)
		w.KMS = &client.KMSState{CheckedAt: ptr(start.Add(3 * time.Hour)), Pending: &client.PendingKey{PublicKey: second.PEM, Fingerprint: second.Fingerprint, SeenAt: seen}}
		same(t, w, must[client.Signer](t)(f.Signer(ctx, root, w.ID)))
		same(t, head.Seq+1, must[client.AuditHead](t)(f.AuditHead(ctx, root)).Seq)

		// A third one takes the place of the second, which nobody accepts any more.
		f.kms.set(vaultRef, third.PEM, nil)
		f.refreshed(t)
		same(t, head.Seq+2, must[client.AuditHead](t)(f.AuditHead(ctx, root)).Seq)
		f.untouched(t, func() {
			_, err := f.AcceptKey(ctx, root, w.ID, client.AcceptKey{Fingerprint: second.Fingerprint})
			wants(t, err, ErrConflict, "the key that waits is "+third.Fingerprint)
			_, err = f.AcceptKey(ctx, root, w.ID, client.AcceptKey{})
			mistakes(t, err, "fingerprint: is missing")
			_, err = f.AcceptKey(ctx, root, "nobody", client.AcceptKey{Fingerprint: third.Fingerprint})
			wants(t, err, ErrNotFound, "nobody")
		})
		got := must[client.Signer](t)(f.AcceptKey(ctx, root, w.ID, client.AcceptKey{Fingerprint: third.Fingerprint}))
		same(t, []string{third.Fingerprint, first.Fingerprint}, got.Fingerprints)
		same(t, third.PEM+first.PEM, got.PublicKey)
		same(t, &client.KMSState{CheckedAt: ptr(start.Add(3 * time.Hour))}, got.KMS)
		same(t, []entry{
			{"root", "192.0.2.1", "signer.update", "signer/" + w.ID, "because"},
			{"root", "192.0.2.1", "signer.accept_key", "signer/" + w.ID, "because"},
		}, f.audited(t, 2))
		f.untouched(t, func() {
			_, err := f.AcceptKey(ctx, root, w.ID, client.AcceptKey{Fingerprint: third.Fingerprint})
			wants(t, err, ErrConflict, "no key waits to be accepted")
		})

		// The first one is back: it is trusted still, so there is nothing to see.
		f.kms.set(vaultRef, first.PEM, nil)
		f.refreshed(t)
		same(t, true, must[client.Signer](t)(f.Signer(ctx, root, w.ID)).KMS.Pending == nil)

		// And the last time the ones before are dropped.
		f.kms.set(vaultRef, second.PEM, nil)
		must[client.Signer](t)(f.RefreshKey(ctx, root, w.ID))
		same(t, "root", f.audited(t, 1)[0].Actor)
		got = must[client.Signer](t)(f.AcceptKey(ctx, root, w.ID, client.AcceptKey{Fingerprint: second.Fingerprint, DropPrevious: true}))
		same(t, []string{second.Fingerprint}, got.Fingerprints)
		must[signers.Signer](t)(FromRow(must[store.SignerRow](t)(f.store.Signer(ctx, w.ID))))
	})
}

// A key is read for a person to compare, with the mistakes that adding it would have,
// and nothing is kept.
func TestReadKey(t *testing.T) {
	f := onSQLite(t)
	key := newKey(t)
	f.kms.set(vaultRef, key.PEM, nil)
	f.untouched(t, func() {
		want := client.KeyRead{KMSKeyRef: vaultRef, PublicKey: key.PEM, Fingerprints: []string{key.Fingerprint}}
		same(t, want, must[client.KeyRead](t)(f.ReadKey(t.Context(), root, client.ReadKey{KMSKeyRef: vaultRef})))
		for ref, want := range map[string]string{"": "is missing", "vault://release": `has the scheme "vault"`, "hashivault://other": "the key cannot be read"} {
			_, err := f.ReadKey(t.Context(), root, client.ReadKey{KMSKeyRef: ref})
			mistakes(t, err, "kms_key_ref: "+want)
		}
	})
}

func TestRotationIsTaken(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	keys := []signers.Key{newKey(t), newKey(t)}
	f.kms.set(vaultRef, keys[0].PEM, nil)
	asked := kmsSigner("release")
	asked.AutoRotate = true
	w := must[client.Signer](t)(f.CreateSigner(ctx, root, asked))
	f.kms.set(vaultRef, keys[1].PEM, nil)
	f.refreshed(t)
	got := must[client.Signer](t)(f.Signer(ctx, root, w.ID))
	same(t, []string{keys[1].Fingerprint, keys[0].Fingerprint}, got.Fingerprints)
	same(t, &client.KMSState{CheckedAt: ptr(start)}, got.KMS)
	same(t, []entry{
		{"server", "kms", "signer.update", "signer/" + w.ID, "scheduled refresh"},
		{"server", "kms", "signer.rotate", "signer/" + w.ID, "scheduled refresh"},
	}, f.audited(t, 2))
	last := must[[]store.AuditEntry](t)(f.store.Audit(ctx, store.AuditFilter{Limit: 1}))[0]
	same(t, fmt.Sprintf(`{"fingerprints":[%q]}`, keys[0].Fingerprint), string(last.Before))
	same(t, fmt.Sprintf(`{"fingerprints":[%q,%q]}`, keys[1].Fingerprint, keys[0].Fingerprint), string(last.After))

	// However often it rotates, there are not too many keys.
	for range signers.MaxKeys {
		f.kms.set(vaultRef, newKey(t).PEM, nil)
		f.refreshed(t)
	}
	got = must[client.Signer](t)(f.Signer(ctx, root, w.ID))
	same(t, signers.MaxKeys, len(got.Fingerprints))
	if strings.Contains(strings.Join(got.Fingerprints, " "), keys[0].Fingerprint) {
		t.Error("the oldest key was kept")
	}
}

func TestServiceOutOfReach(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	first, second := newKey(t), newKey(t)
	f.kms.set(vaultRef, first.PEM, nil)
	w := must[client.Signer](t)(f.CreateSigner(ctx, root, kmsSigner("release")))
	off := kmsSigner("off")
	off.Enabled = false
	must[client.Signer](t)(f.CreateSigner(ctx, root, off))
	health := func() map[string]error { t.Helper(); return must[map[string]error](t)(f.KMSHealth(ctx)) }
	if h := health(); len(h) != 1 || h["release"] != nil {
		t.Errorf("health %v", h)
	}
	f.kms.set(vaultRef, second.PEM, nil)
	f.refreshed(t)
	waits := must[client.Signer](t)(f.Signer(ctx, root, w.ID)).KMS.Pending

	f.kms.set(vaultRef, second.PEM, errors.New("the service is sealed"))
	f.clock.move(time.Hour)
	head := must[client.AuditHead](t)(f.AuditHead(ctx, root))
	f.refreshed(t)
	got := must[client.Signer](t)(f.RefreshKey(ctx, root, w.ID))
	same(t, &client.KMSState{CheckedAt: ptr(start), Error: "the service is sealed", Pending: waits}, got.KMS)
	same(t, []string{first.Fingerprint}, got.Fingerprints)
	same(t, head, must[client.AuditHead](t)(f.AuditHead(ctx, root)))
	if h := health(); len(h) != 1 || h["release"] == nil || h["release"].Error() != "the service is sealed; the key read at 2026-11-23T12:00:00Z is in use" {
		t.Errorf("health %v", h)
	}
	f.kms.set(vaultRef, "garbage", nil)
	got = must[client.Signer](t)(f.RefreshKey(ctx, root, w.ID))
	if !strings.HasPrefix(got.KMS.Error, "what the service gave is not PEM") {
		t.Errorf("error %q", got.KMS.Error)
	}
	f.kms.set(vaultRef, first.PEM, nil)
	f.refreshed(t)
	if h := health(); h["release"] != nil {
		t.Errorf("health %v", h)
	}
	t.Run("a refresh that is broken off says nothing of the service", func(t *testing.T) {
		gone, cancel := context.WithCancel(ctx)
		f.kms.set(vaultRef, "", context.Canceled)
		row := must[store.SignerRow](t)(f.store.Signer(ctx, w.ID))
		cancel()
		f.untouched(t, func() {
			err := f.refresh(gone, store.Actor{Name: "server"}, "", row, client.KMSState{}, start)
			wants(t, err, context.Canceled, "")
			err = f.pin(gone, &row)
			wants(t, err, context.Canceled, "reading the key of")
		})
	})
}

func TestKeysOfOtherSigners(t *testing.T) {
	f := onSQLite(t)
	w := must[client.Signer](t)(f.CreateSigner(t.Context(), root, keyless("a")))
	f.untouched(t, func() {
		_, err := f.RefreshKey(t.Context(), root, w.ID)
		wants(t, err, ErrConflict, "only kms signers have keys to read")
		_, err = f.AcceptKey(t.Context(), root, w.ID, client.AcceptKey{Fingerprint: "x"})
		wants(t, err, ErrConflict, "only kms signers have keys to read")
	})
}

// What is stored of a pending key is not believed: it must be the key that the
// administrator looked at.
func TestPendingKeyIsDamaged(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	key, other := newKey(t), newKey(t)
	f.kms.set(vaultRef, key.PEM, nil)
	w := must[client.Signer](t)(f.CreateSigner(ctx, root, kmsSigner("a")))
	for name, p := range map[string]client.PendingKey{
		"another key": {PublicKey: other.PEM, Fingerprint: strings.Repeat("0", 64)},
		"two keys":    {PublicKey: key.PEM + other.PEM, Fingerprint: other.Fingerprint},
		"no key":      {PublicKey: "", Fingerprint: other.Fingerprint},
	} {
		t.Run(name, func(t *testing.T) {
			detail := must[[]byte](t)(json.Marshal(keptKey{p, vaultRef}))
			if err := f.store.PutUpkeep(ctx, store.Upkeep{Kind: store.UpkeepKMS, Key: w.ID, CheckedAt: start, Detail: detail}); err != nil {
				t.Fatal(err)
			}
			f.untouched(t, func() {
				_, err := f.AcceptKey(ctx, root, w.ID, client.AcceptKey{Fingerprint: p.Fingerprint})
				wants(t, err, store.ErrCorrupt, "is not the one of its fingerprint")
			})
		})
	}
	if err := f.store.PutUpkeep(ctx, store.Upkeep{Kind: store.UpkeepKMS, Key: w.ID, CheckedAt: start, Detail: []byte(`"x"`)}); err != nil {
		t.Fatal(err)
	}
	_, err := f.Signer(ctx, root, w.ID)
	wants(t, err, store.ErrCorrupt, "the pending key")
}

// reading does something while a key is read.
type reading struct {
	*service
	meanwhile func()
}

func (r *reading) PublicKeys(ctx context.Context, ref string) (string, error) {
	text, err := r.service.PublicKeys(ctx, ref)
	if f := r.meanwhile; f != nil {
		r.meanwhile = nil
		f()
	}
	return text, err
}

// What was read for a signer that was changed meanwhile waits for nobody: neither
// the key of the reference that it had, nor one that was accepted.
func TestChangedWhileAKeyWasRead(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	const otherRef = "hashivault://other"
	first, second, other := newKey(t), newKey(t), newKey(t)
	slow := &reading{service: f.kms}
	svc := must[*Service](t)(New(Config{Store: f.store, KMS: slow, Now: f.clock.Now}))
	waiting := func(id string) string {
		t.Helper()
		if p := must[client.Signer](t)(f.Signer(ctx, root, id)).KMS.Pending; p != nil {
			return p.Fingerprint
		}
		return ""
	}

	f.kms.set(vaultRef, first.PEM, nil)
	f.kms.set(otherRef, other.PEM, nil)
	w := must[client.Signer](t)(f.CreateSigner(ctx, root, kmsSigner("a")))
	f.kms.set(vaultRef, second.PEM, nil)
	slow.meanwhile = func() {
		_, err := f.UpdateSigner(ctx, root, w.ID, 1, []byte(`{"kms_key_ref": "`+otherRef+`"}`))
		if err != nil {
			t.Error(err)
		}
	}
	if err := svc.RefreshKeys(ctx, start); err != nil && !errors.Is(err, ErrStale) {
		t.Error(err)
	}
	same(t, "", waiting(w.ID))
	f.untouched(t, func() {
		_, err := f.AcceptKey(ctx, root, w.ID, client.AcceptKey{Fingerprint: second.Fingerprint})
		wants(t, err, ErrConflict, "no key waits")
	})

	third := newKey(t)
	f.kms.set(otherRef, third.PEM, nil)
	f.refreshed(t)
	same(t, third.Fingerprint, waiting(w.ID))
	slow.meanwhile = func() {
		if _, err := f.AcceptKey(ctx, root, w.ID, client.AcceptKey{Fingerprint: third.Fingerprint}); err != nil {
			t.Error(err)
		}
	}
	if err := svc.RefreshKeys(ctx, start); err != nil && !errors.Is(err, ErrStale) {
		t.Error(err)
	}
	same(t, "", waiting(w.ID))
	f.untouched(t, func() {
		_, err := f.AcceptKey(ctx, root, w.ID, client.AcceptKey{Fingerprint: third.Fingerprint})
		wants(t, err, ErrConflict, "no key waits")
	})
	same(t, []string{third.Fingerprint, other.Fingerprint}, must[client.Signer](t)(f.Signer(ctx, root, w.ID)).Fingerprints)
}

// Two replicas that refresh at once see a key once, or take it once.
func TestRefreshAtOnce(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		first, second := newKey(t), newKey(t)
		f.kms.set(vaultRef, first.PEM, nil)
		asked := kmsSigner("release")
		asked.AutoRotate = true
		w := must[client.Signer](t)(f.CreateSigner(ctx, root, asked))
		f.kms.set(vaultRef, second.PEM, nil)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if err := f.RefreshKeys(ctx, start); err != nil && !errors.Is(err, ErrStale) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		same(t, []string{second.Fingerprint, first.Fingerprint}, must[client.Signer](t)(f.Signer(ctx, root, w.ID)).Fingerprints)
		same(t, int64(2), must[client.Signer](t)(f.Signer(ctx, root, w.ID)).Version)
	})
}

// resolver is a key management service of a function.
type resolver func(ref string) (string, error)

func (r resolver) PublicKeys(_ context.Context, ref string) (string, error) { return r(ref) }

// A service is slow, and meanwhile the signer is given another key. What then
// comes of the old one never waits to be accepted for the new.
func TestRefreshOfAKeyThatWasReplaced(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		f.kms.set(vaultRef, newKey(t).PEM, nil)
		f.kms.set("hashivault://other", newKey(t).PEM, nil)
		w := must[client.Signer](t)(f.CreateSigner(ctx, root, kmsSigner("release")))
		slow := must[*Service](t)(New(Config{Store: f.store, Now: f.clock.Now, KMS: resolver(func(string) (string, error) {
			must[client.Signer](t)(f.UpdateSigner(ctx, root, w.ID, 1, []byte(`{"kms_key_ref": "hashivault://other"}`)))
			return newKey(t).PEM, nil
		})}))
		if err := slow.RefreshKeys(ctx, start); err != nil {
			t.Fatal(err)
		}
		got := must[client.Signer](t)(f.Signer(ctx, root, w.ID))
		if got.KMSKeyRef != "hashivault://other" || got.KMS.Pending != nil {
			t.Errorf("the key of %s waits: %+v", got.KMSKeyRef, got.KMS.Pending)
		}
	})
}
