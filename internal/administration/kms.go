package administration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/store"
)

// refreshesAtOnce bounds how many keys are read side by side.
const refreshesAtOnce = 8

// keyChange is what the audit log says of a change of keys.
type keyChange struct {
	Fingerprints []string `json:"fingerprints"`
}

// readKeys asks the key management service for the key of a reference.
func (s *Service) readKeys(ctx context.Context, ref string) ([]signers.Key, error) {
	if s.kms == nil {
		return nil, errors.New("no key management service can be asked here")
	}
	pem, err := s.kms.PublicKeys(ctx, ref)
	if err != nil {
		return nil, err
	}
	keys, err := signers.ParseKeys(pem)
	if err != nil {
		return nil, fmt.Errorf("what the service gave %w", err)
	}
	if len(keys) == 0 || len(keys) > signers.MaxKeys {
		return nil, fmt.Errorf("the service gave %d keys; 1 to %d can be used", len(keys), signers.MaxKeys)
	}
	return keys, nil
}

// pin reads the key of a kms signer and puts it into the row.
func (s *Service) pin(ctx context.Context, r *store.SignerRow) error {
	keys, err := s.readKeys(ctx, r.KMSKeyRef)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("reading the key of %s: %w", r.KMSKeyRef, ctx.Err())
		}
		return fieldError("kms_key_ref", "the key cannot be read: %s", err)
	}
	r.PublicKey, r.Fingerprints = joinPEM(keys), fingerprints(keys)
	return nil
}

// keptKey is what is kept of a key that waits: with the reference that it was read
// from, because a signer may be given another one while its key is read.
type keptKey struct {
	client.PendingKey
	KMSKeyRef string `json:"kms_key_ref"`
}

// kmsStates are how it stands with the keys of kms signers, by id.
type kmsStates map[string]kmsState

type kmsState struct {
	client.KMSState
	ref string // of the pending key
}

// of is how it stands with a signer as it is now: what was read for another
// reference, or is in use by now, does not wait for it.
func (k kmsStates) of(r store.SignerRow) client.KMSState {
	state := k[r.ID]
	if p := state.Pending; p != nil && (state.ref != r.KMSKeyRef || slices.Contains(r.Fingerprints, p.Fingerprint)) {
		state.Pending = nil
	}
	return state.KMSState
}

// kmsStates tells how it stands with the keys of kms signers.
func (s *Service) kmsStates(ctx context.Context) (kmsStates, error) {
	kept, err := s.store.Upkeep(ctx, store.UpkeepKMS)
	if err != nil {
		return nil, err
	}
	states := make(kmsStates, len(kept))
	for _, u := range kept {
		state := kmsState{KMSState: client.KMSState{CheckedAt: &u.CheckedAt, Error: u.Error}}
		if len(u.Detail) > 0 {
			var pending *keptKey
			if err := json.Unmarshal(u.Detail, &pending); err != nil {
				return nil, fmt.Errorf("%w: the pending key of signer %s: %w", store.ErrCorrupt, u.Key, err)
			}
			if pending != nil {
				state.Pending, state.ref = &pending.PendingKey, pending.KMSKeyRef
			}
		}
		states[u.Key] = state
	}
	return states, nil
}

// keepState keeps how it stands with the key of a signer, which was read at a time.
func (s *Service) keepState(ctx context.Context, r store.SignerRow, at time.Time, pending *client.PendingKey, failure string) error {
	u := store.Upkeep{Kind: store.UpkeepKMS, Key: r.ID, CheckedAt: at, Error: failure}
	if pending != nil {
		detail, err := json.Marshal(keptKey{*pending, r.KMSKeyRef})
		if err != nil {
			return fmt.Errorf("encoding a pending key: %w", err)
		}
		u.Detail = detail
	}
	return s.store.PutUpkeep(ctx, u)
}

// keyRead notes that the key in use was read just now. The change is done, so
// that a note which fails is only logged: the next refresh writes it.
func (s *Service) keyRead(ctx context.Context, r store.SignerRow) {
	if s.onTrial {
		return
	}
	if err := s.keepState(ctx, r, s.now(), nil, ""); err != nil {
		s.log.WarnContext(ctx, "noting that a key was read", "signer", r.ID, "error", err.Error())
	}
}

// forgetKey drops what was noted of a signer that has no key to read any more.
func (s *Service) forgetKey(ctx context.Context, id string) {
	if s.onTrial {
		return
	}
	if err := s.store.DeleteUpkeep(ctx, store.UpkeepKMS, id); err != nil {
		s.log.WarnContext(ctx, "forgetting the state of a key", "signer", id, "error", err.Error())
	}
}

// RefreshKeys reads the key of every kms signer. A key that rotated is taken
// where the signer says auto_rotate, the keys before it staying good; else it
// waits to be accepted, and the audit log says once that it was seen. A key that
// cannot be read leaves the last one in use. The error is the store's: what a
// service answers is kept, for [Service.KMSHealth].
func (s *Service) RefreshKeys(ctx context.Context, now time.Time) error {
	rows, err := s.store.Signers(ctx)
	if err != nil {
		return err
	}
	states, err := s.kmsStates(ctx)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var failed []error
	var work sync.WaitGroup
	slots := make(chan struct{}, refreshesAtOnce)
	for _, r := range rows {
		if r.Type != string(signers.KMS) {
			continue
		}
		was := states.of(r)
		delete(states, r.ID)
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			err := s.refresh(ctx, store.Actor{Name: "server", From: "kms"}, "scheduled refresh", r, was, now)
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, fmt.Errorf("%s: %w", signerNamed(r.Name), err))
			}
		})
	}
	work.Wait()
	for id := range states { // of signers that were removed while their key was read
		s.forgetKey(ctx, id)
	}
	return errors.Join(failed...)
}

// refresh reads the key of one signer and does what [Service.RefreshKeys] says.
func (s *Service) refresh(ctx context.Context, by store.Actor, why string, r store.SignerRow, was client.KMSState, now time.Time) error {
	keys, err := s.readKeys(ctx, r.KMSKeyRef)
	if ctx.Err() != nil {
		return ctx.Err() // the caller left; that says nothing of the service
	}
	// The service may have taken its time. What it says of a key that the signer
	// no longer has says nothing of the one that it has now.
	switch is, err := s.store.Signer(ctx, r.ID); {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	case is.Type != r.Type || is.KMSKeyRef != r.KMSKeyRef:
		return nil
	}
	if err != nil {
		s.log.WarnContext(ctx, "the key of a signer cannot be read; the last one stays in use", "signer", r.Name, "error", err.Error())
		read := now
		if was.CheckedAt != nil {
			read = *was.CheckedAt
		}
		return s.keepState(ctx, r, read, was.Pending, err.Error())
	}
	fresh := slices.DeleteFunc(keys, func(k signers.Key) bool { return slices.Contains(r.Fingerprints, k.Fingerprint) })
	switch {
	case len(fresh) == 0:
		return s.keepState(ctx, r, now, nil, "")
	case r.AutoRotate:
		if err := s.takeKeys(ctx, by, why, r, "signer.rotate", fresh, false); err != nil {
			return err
		}
		return s.keepState(ctx, r, now, nil, "")
	}
	pending := &client.PendingKey{PublicKey: joinPEM(fresh[:1]), Fingerprint: fresh[0].Fingerprint, SeenAt: now.UTC().Truncate(time.Microsecond)}
	if was.Pending != nil && was.Pending.Fingerprint == pending.Fingerprint {
		pending.SeenAt = was.Pending.SeenAt
	} else if err := s.noteSeen(ctx, by, why, r, pending); err != nil {
		return err
	}
	return s.keepState(ctx, r, now, pending, "")
}

func (s *Service) noteSeen(ctx context.Context, by store.Actor, why string, r store.SignerRow, pending *client.PendingKey) error {
	before, err := json.Marshal(keyChange{r.Fingerprints})
	if err != nil {
		return fmt.Errorf("encoding an audit entry: %w", err)
	}
	after, err := json.Marshal(pending)
	if err != nil {
		return fmt.Errorf("encoding an audit entry: %w", err)
	}
	_, err = s.store.Change(ctx, by, why, func(tx *store.Tx) error {
		if err := current(ctx, tx, r); err != nil {
			return err
		}
		return tx.Note(ctx, "signer.key_seen", "signer/"+r.ID, before, after)
	})
	return err
}

// takeKeys puts keys in front of those of a signer, or in their place. The oldest
// are dropped where they would be too many.
func (s *Service) takeKeys(ctx context.Context, by store.Actor, why string, seen store.SignerRow, action string, fresh []signers.Key, drop bool) error {
	keys := fresh
	if !drop {
		old, err := signers.ParseKeys(seen.PublicKey)
		if err != nil {
			return fmt.Errorf("%w: %s: public_key %w", store.ErrCorrupt, signerNamed(seen.Name), err)
		}
		keys = append(slices.Clone(fresh), old...)
		keys = keys[:min(len(keys), signers.MaxKeys)]
	}
	r := seen
	r.PublicKey, r.Fingerprints = joinPEM(keys), fingerprints(keys)
	before, err := json.Marshal(keyChange{seen.Fingerprints})
	if err != nil {
		return fmt.Errorf("encoding an audit entry: %w", err)
	}
	after, err := json.Marshal(keyChange{r.Fingerprints})
	if err != nil {
		return fmt.Errorf("encoding an audit entry: %w", err)
	}
	_, err = s.store.Change(ctx, by, why, func(tx *store.Tx) error {
		if err := current(ctx, tx, seen); err != nil {
			return err
		}
		if _, err := tx.PutSigner(ctx, r); err != nil {
			return err
		}
		return tx.Note(ctx, action, "signer/"+r.ID, before, after)
	})
	return err
}

// kmsSigner is a kms signer that the caller may change.
func (s *Service) kmsSigner(ctx context.Context, c Caller, id string) (store.SignerRow, error) {
	if err := c.may(auth.Administer); err != nil {
		return store.SignerRow{}, err
	}
	r, err := s.signer(ctx, id)
	if err != nil {
		return store.SignerRow{}, err
	}
	if err := c.owns(signerNamed(r.Name), r.Owner, r.Images); err != nil {
		return store.SignerRow{}, err
	}
	if r.Type != string(signers.KMS) {
		return store.SignerRow{}, refuse(ErrConflict, "%s: is of type %s, whose keys change by an update; only kms signers have keys to read", signerNamed(r.Name), r.Type)
	}
	return r, nil
}

// AcceptKey takes the key that waits, named by its fingerprint, into use.
func (s *Service) AcceptKey(ctx context.Context, c Caller, id string, req client.AcceptKey) (client.Signer, error) {
	r, err := s.kmsSigner(ctx, c, id)
	if err != nil {
		return client.Signer{}, err
	}
	states, err := s.kmsStates(ctx)
	if err != nil {
		return client.Signer{}, err
	}
	pending := states.of(r).Pending
	switch {
	case req.Fingerprint == "":
		return client.Signer{}, fieldError("fingerprint", "is missing; give that of the key which waits, after looking at it")
	case pending == nil:
		return client.Signer{}, refuse(ErrConflict, "%s: no key waits to be accepted; refresh the key to look for one", signerNamed(r.Name))
	case pending.Fingerprint != req.Fingerprint:
		return client.Signer{}, refuse(ErrConflict, "%s: the key that waits is %s, not %s; look at it first", signerNamed(r.Name), pending.Fingerprint, req.Fingerprint)
	}
	keys, err := signers.ParseKeys(pending.PublicKey)
	if err != nil || len(keys) != 1 || keys[0].Fingerprint != req.Fingerprint {
		return client.Signer{}, fmt.Errorf("%w: the pending key of %s is not the one of its fingerprint", store.ErrCorrupt, signerNamed(r.Name))
	}
	if err := s.takeKeys(ctx, c.actor(), c.Why, r, "signer.accept_key", keys, req.DropPrevious); err != nil {
		return client.Signer{}, err
	}
	s.keyRead(ctx, r)
	return s.again(ctx, id)
}

// RefreshKey reads the key of one signer now. What the service answers is in the
// state of the signer that is returned.
func (s *Service) RefreshKey(ctx context.Context, c Caller, id string) (client.Signer, error) {
	r, err := s.kmsSigner(ctx, c, id)
	if err != nil {
		return client.Signer{}, err
	}
	states, err := s.kmsStates(ctx)
	if err != nil {
		return client.Signer{}, err
	}
	if err := s.refresh(ctx, c.actor(), c.Why, r, states.of(r), s.now()); err != nil {
		return client.Signer{}, err
	}
	return s.again(ctx, id)
}

// ReadKey reads the key of a reference as [Service.CreateSigner] would, so that a
// person sees it before it is trusted. Nothing is kept.
func (s *Service) ReadKey(ctx context.Context, c Caller, in client.ReadKey) (client.KeyRead, error) {
	if err := c.may(auth.Administer); err != nil {
		return client.KeyRead{}, err
	}
	if in.KMSKeyRef == "" {
		return client.KeyRead{}, fieldError("kms_key_ref", "is missing")
	}
	if _, err := signers.ParseKMSRef(in.KMSKeyRef); err != nil {
		return client.KeyRead{}, fieldError("kms_key_ref", "%s", err)
	}
	row := store.SignerRow{KMSKeyRef: in.KMSKeyRef}
	if err := s.pin(ctx, &row); err != nil {
		return client.KeyRead{}, err
	}
	return client.KeyRead{KMSKeyRef: row.KMSKeyRef, PublicKey: row.PublicKey, Fingerprints: row.Fingerprints}, nil
}

// again shows a signer as it is now.
func (s *Service) again(ctx context.Context, id string) (client.Signer, error) {
	r, err := s.signer(ctx, id)
	if err != nil {
		return client.Signer{}, err
	}
	return s.show(ctx, r)
}

// KMSHealth tells for each enabled kms signer, by name, why its key could not be
// read last time; nil where it could.
func (s *Service) KMSHealth(ctx context.Context) (map[string]error, error) {
	rows, err := s.store.Signers(ctx)
	if err != nil {
		return nil, err
	}
	states, err := s.kmsStates(ctx)
	if err != nil {
		return nil, err
	}
	health := map[string]error{}
	for _, r := range rows {
		if r.Type != string(signers.KMS) || !r.Enabled {
			continue
		}
		health[r.Name] = nil
		if state := states.of(r); state.Error != "" {
			health[r.Name] = fmt.Errorf("%s; the key read at %s is in use", state.Error, state.CheckedAt.Format(time.RFC3339))
		}
	}
	return health, nil
}
