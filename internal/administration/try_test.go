package administration

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
)

// Changes on trial see each other, name what is there in whatever version, and
// leave nothing.
func TestTry(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		must[client.Signer](t)(f.CreateSigner(ctx, root, keyless("one")))
		p := must[*signingpolicy.Policy](t)(signingpolicy.ParseAs("default", []byte(anyone)))
		if err := f.SeedPolicies(ctx, []*signingpolicy.Policy{p}, nil); err != nil {
			t.Fatal(err)
		}
		f.clock.move(time.Second) // so that it is the younger one
		two := must[[]byte](t)(json.Marshal(keyless("two")))
		f.untouched(t, func() {
			snap := must[store.Snapshot](t)(f.Try(ctx, root, []client.Operation{
				{Op: client.OpPutSigner, Signer: two},
				{Op: client.OpPutSigner, Name: "two", Signer: json.RawMessage(`{"note": "new"}`)},
				{Op: client.OpDisableSigner, Name: "one"},
				{Op: client.OpPutPolicy, Name: "default", SigningPolicy: "mode: audit\n" + anyone}, // the configuration's
				{Op: client.OpPutPolicy, Name: "more", SigningPolicy: anyone},
				{Op: client.OpDeletePolicy, Name: "more"},
			}))
			if len(snap.Signers) != 2 || snap.Signers[0].Enabled || snap.Signers[1].Note != "new" || len(snap.Policies) != 1 {
				t.Errorf("on trial: %+v", snap)
			}
		})
	})
}

// What takes long is asked for while the store is free, and once.
func TestTryAsksServicesOutside(t *testing.T) {
	f := onSQLite(t)
	f.kms.set(vaultRef, newKey(t).PEM, nil)
	signer := must[[]byte](t)(json.Marshal(kmsSigner("release")))
	free := &whileFree{t: t, f: f, inner: f.Service.kms}
	f.Service.kms = free
	f.untouched(t, func() {
		snap := must[store.Snapshot](t)(f.Try(t.Context(), root, []client.Operation{{Op: client.OpPutSigner, Signer: signer}, {Op: client.OpDisableSigner, Name: "release"}}))
		if len(snap.Signers) != 1 || len(snap.Signers[0].Fingerprints) != 1 || f.kms.read != 1 {
			t.Errorf("%+v after %d questions", snap.Signers, f.kms.read)
		}
		f.kms.set(vaultRef, "", errors.New("sealed"))
		_, err := f.Try(t.Context(), root, []client.Operation{{Op: client.OpPutSigner, Signer: signer}})
		mistakes(t, err, "operations[0].kms_key_ref: the key cannot be read: sealed")
	})
	f.checked = errors.New("does not compile")
	_, err := f.Try(t.Context(), root, []client.Operation{{Op: client.OpPutPolicy, Name: "p", SigningPolicy: anyone}})
	mistakes(t, err, "operations[0].signing_policy: does not compile")
}

// whileFree is a key service that wants the store to be free for changes.
type whileFree struct {
	t     *testing.T
	f     *fixture
	inner KeyResolver
}

func (w *whileFree) PublicKeys(ctx context.Context, ref string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := w.f.store.Try(ctx, store.Actor{Name: "test"}, "", func(*store.Tx) error { return nil }); err != nil {
		w.t.Errorf("the store is not free: %v", err)
	}
	return w.inner.PublicKeys(ctx, ref)
}

// A trial is checked, and allowed, as the changes themselves are.
func TestTryRefused(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	must[client.Signer](t)(f.CreateSigner(ctx, root, keyless("one")))
	author := Caller{Principal: auth.Principal{Name: "author", Role: auth.Author}}
	viewer := Caller{Principal: auth.Principal{Name: "viewer", Role: auth.Viewer}}
	try := func(c Caller, ops ...client.Operation) error {
		_, err := f.Try(ctx, c, ops)
		return err
	}
	disable := client.Operation{Op: client.OpDisableSigner, Name: "one"}
	f.untouched(t, func() {
		wants(t, try(viewer), ErrRole, "author")
		wants(t, try(author, disable), ErrRole, "admin")
		wants(t, try(web, disable), ErrNotYours, "web")
		wants(t, try(org, disable), ErrOutOfScope, "ghcr.io/org/**")
		wants(t, try(author, client.Operation{Op: client.OpDeletePolicy, Name: "none"}), ErrNotFound, "none")
		wants(t, try(root, client.Operation{Op: client.OpEnableSigner, Name: "none"}), ErrNotFound, "none")
		mistakes(t, try(root, client.Operation{Op: "explode"}), `operations[0].op: "explode" is none of`)
		mistakes(t, try(root, client.Operation{Op: client.OpPutPolicy, Owner: "web"}), "operations[0].name: is missing", "operations[0].signing_policy: is missing")
		mistakes(t, try(root, disable, client.Operation{Op: client.OpDeleteSigner, Name: "one", SigningPolicy: "x"}), "operations[1].signing_policy: does not go with")
		mistakes(t, try(root, client.Operation{Op: client.OpPutSigner, Signer: json.RawMessage(`{"colour": "red"}`)}), "operations[0].signer: ")
		mistakes(t, try(root, make([]client.Operation, 21)...), "operations: are 21")
		if err := try(author); err != nil {
			t.Errorf("nothing, by an author: %v", err)
		}
	})
}
