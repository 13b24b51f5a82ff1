package administration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/strictjson"
	"github.com/signet-policy/signet/internal/trust"
)

// maxOperations bounds one trial: other changes wait for it.
const maxOperations = 20

// Try makes changes as their own methods would, with the same checks and rights,
// returns what would be in force then, and takes all of it back. Each change acts
// on what has the name, in whatever version, and may change what stands in the
// server's configuration: there it would be made. Who has no changes to try must be
// allowed to make policies all the same.
func (s *Service) Try(ctx context.Context, c Caller, ops []client.Operation) (store.Snapshot, error) {
	if err := c.may(auth.Policy); err != nil {
		return store.Snapshot{}, err
	}
	if len(ops) > maxOperations {
		return store.Snapshot{}, fieldError("operations", "are %d; %d are the most", len(ops), maxOperations)
	}
	slow := &answers{kms: map[string]pemAnswer{}, tuf: map[string]tufAnswer{}, policies: map[string]error{}}
	for {
		slow.missing = nil
		snap, err := s.store.Try(ctx, c.actor(), c.Why, func(tx *store.Tx) error {
			on := s.trial(tx, slow)
			for i, op := range ops {
				if err := on.apply(ctx, c, op); err != nil {
					return ofOperation(err, i)
				}
			}
			return nil
		})
		if slow.missing == nil {
			return snap, err
		}
		// What takes long is asked for while nobody waits, and the trial begun anew:
		// each turn has one answer more.
		if slow.missing(ctx); ctx.Err() != nil {
			return store.Snapshot{}, ctx.Err()
		}
	}
}

// ofOperation says which operation the mistakes are in.
func ofOperation(err error, i int) error {
	var all FieldErrors
	if !errors.As(err, &all) {
		return err
	}
	prefixed := make(FieldErrors, len(all))
	for n, e := range all {
		prefixed[n] = FieldError{Field: strings.TrimSuffix(fmt.Sprintf("operations[%d].%s", i, e.Field), "."), Problem: e.Problem}
	}
	return prefixed
}

// answers are those of services, and of the policy compiler, to the questions of
// a trial. A question that has no answer yet is noted, and fails.
type answers struct {
	kms      map[string]pemAnswer
	tuf      map[string]tufAnswer
	policies map[string]error
	missing  func(ctx context.Context)
}

type pemAnswer struct {
	pem string
	err error
}

type tufAnswer struct {
	got trust.Refreshed
	err error
}

var errNotAsked = errors.New("not asked yet")

type triedKMS struct {
	inner KeyResolver
	*answers
}

func (k triedKMS) PublicKeys(_ context.Context, ref string) (string, error) {
	if a, ok := k.kms[ref]; ok {
		return a.pem, a.err
	}
	k.missing = func(ctx context.Context) {
		pem, err := k.inner.PublicKeys(ctx, ref)
		k.kms[ref] = pemAnswer{pem, err}
	}
	return "", errNotAsked
}

type triedTUF struct {
	inner TUFFetcher
	*answers
}

func (t triedTUF) Refresh(_ context.Context, cfg trust.TUFConfig) (trust.Refreshed, error) {
	body, err := facts.Canonical(map[string]any{"url": cfg.MetadataURL, "root": cfg.FirstRoot, "target": cfg.Target, "metadata": cfg.Metadata})
	if err != nil {
		return trust.Refreshed{}, err
	}
	key := facts.Digest(body)
	if a, ok := t.tuf[key]; ok {
		return a.got, a.err
	}
	t.missing = func(ctx context.Context) {
		got, err := t.inner.Refresh(ctx, cfg)
		t.tuf[key] = tufAnswer{got, err}
	}
	return trust.Refreshed{}, errNotAsked
}

// trial is the service on a change that will be taken back.
func (s *Service) trial(tx *store.Tx, slow *answers) *Service {
	on := *s
	on.in, on.onTrial = tx, true
	on.changeBy = func(_ context.Context, _ store.Actor, _ string, fn func(*store.Tx) error) error { return fn(tx) }
	if s.kms != nil {
		on.kms = triedKMS{s.kms, slow}
	}
	if s.tuf != nil {
		on.tuf = triedTUF{s.tuf, slow}
	}
	on.checkPolicy = func(_ context.Context, p *signingpolicy.Policy, archive []byte) error {
		body, err := p.Canonical()
		if err != nil {
			return err
		}
		key := facts.Digest(body) + " " + facts.Digest(archive)
		if err, ok := slow.policies[key]; ok {
			return err
		}
		slow.missing = func(ctx context.Context) { slow.policies[key] = s.checkPolicy(ctx, p, archive) }
		return errNotAsked
	}
	return &on
}

// apply makes one change on a trial.
func (s *Service) apply(ctx context.Context, c Caller, op client.Operation) error {
	if err := checkOperation(op); err != nil {
		return err
	}
	switch op.Op {
	case client.OpPutPolicy:
		version, err := versionOf(func() (int64, error) { r, err := s.in.Policy(ctx, op.Name); return r.Version, err })
		if err == nil {
			_, err = s.PutPolicyWith(ctx, c, op.Name, op.Owner, []byte(op.SigningPolicy), op.Archive, version)
		}
		return err
	case client.OpPutBundle:
		version, err := versionOf(func() (int64, error) { r, err := s.in.Bundle(ctx, op.Name); return r.Version, err })
		if err == nil {
			_, err = s.PutBundle(ctx, c, op.Name, op.Owner, op.Archive, version)
		}
		return err
	case client.OpDeletePolicy:
		old, err := s.policy(ctx, op.Name)
		if err != nil {
			return err
		}
		return s.DeletePolicy(ctx, c, old.Name, old.Version)
	case client.OpRollbackPolicy:
		_, err := s.RollbackPolicy(ctx, c, op.Name, op.To, nil)
		return err
	case client.OpPutTrustRoot:
		version, err := versionOf(func() (int64, error) { r, err := s.in.Root(ctx, op.Name); return r.Version, err })
		if err == nil {
			_, err = s.PutTrustRoot(ctx, c, op.Name, *op.TrustRoot, version)
		}
		return err
	case client.OpDeleteTrustRoot:
		old, err := s.root(ctx, op.Name)
		if err != nil {
			return err
		}
		return s.DeleteTrustRoot(ctx, c, old.Name, old.Version)
	}
	if op.Op == client.OpPutSigner && op.Name == "" {
		w := client.Signer{Enabled: true}
		if err := strictjson.Decode(op.Signer, patchDepth, &w); err != nil {
			return fieldError("signer", "%s", err)
		}
		_, err := s.CreateSigner(ctx, c, w)
		return err
	}
	if err := c.may(auth.Administer); err != nil { // before telling who there is
		return err
	}
	old, err := s.signerCalled(ctx, op.Name)
	if err != nil {
		return err
	}
	switch op.Op {
	case client.OpPutSigner:
		_, err = s.UpdateSigner(ctx, c, old.ID, old.Version, op.Signer)
	case client.OpDisableSigner:
		_, err = s.UpdateSigner(ctx, c, old.ID, old.Version, []byte(`{"enabled": false}`))
	case client.OpEnableSigner:
		_, err = s.UpdateSigner(ctx, c, old.ID, old.Version, []byte(`{"enabled": true}`))
	case client.OpDeleteSigner:
		err = s.DeleteSigner(ctx, c, old.ID, old.Version)
	case client.OpCompromiseSigner:
		_, err = s.endTrust(ctx, c, old.ID, client.Compromise{Since: *op.Since, Why: "preview"})
	}
	return err
}

// versionOf is the version that a put replaces; nil for something new.
func versionOf(read func() (int64, error)) (*int64, error) {
	v, err := read()
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil //nolint:nilnil // it is new
	case err != nil:
		return nil, err
	}
	return &v, nil
}

// signerCalled is the signer of that id, or of that name.
func (s *Service) signerCalled(ctx context.Context, what string) (store.SignerRow, error) {
	rows, err := s.in.Signers(ctx)
	if err != nil {
		return store.SignerRow{}, err
	}
	for _, r := range rows {
		if r.ID == what || r.Name == what {
			return r, nil
		}
	}
	return store.SignerRow{}, refuse(ErrNotFound, "there is no signer of the name or id %q", what)
}

// operations are all that there are, with the fields that each takes, and of these
// the ones that it wants.
var operations = map[string]struct{ takes, wants string }{
	client.OpPutPolicy:        {"name owner signing_policy archive", "name signing_policy"},
	client.OpDeletePolicy:     {"name", "name"},
	client.OpRollbackPolicy:   {"name to", "name"},
	client.OpPutSigner:        {"name signer", "signer"},
	client.OpDisableSigner:    {"name", "name"},
	client.OpEnableSigner:     {"name", "name"},
	client.OpDeleteSigner:     {"name", "name"},
	client.OpCompromiseSigner: {"name since", "name since"},
	client.OpPutTrustRoot:     {"name trust_root", "name trust_root"},
	client.OpDeleteTrustRoot:  {"name", "name"},
	client.OpPutBundle:        {"name owner archive", "name archive"},
}

// checkOperation wants of an operation what it needs, and nothing that it would
// not look at.
func checkOperation(op client.Operation) error {
	fields, ok := operations[op.Op]
	if !ok {
		return fieldError("op", "%q is none of %s", op.Op, strings.Join(slices.Sorted(maps.Keys(operations)), ", "))
	}
	var mistakes FieldErrors
	for _, f := range []struct {
		name string
		said bool
	}{
		{"name", op.Name != ""}, {"owner", op.Owner != ""}, {"signing_policy", op.SigningPolicy != ""},
		{"signer", len(op.Signer) > 0}, {"since", op.Since != nil}, {"trust_root", op.TrustRoot != nil},
		{"archive", len(op.Archive) > 0}, {"to", op.To != nil},
	} {
		switch {
		case !f.said && slices.Contains(strings.Fields(fields.wants), f.name):
			mistakes.add(f.name, "is missing; %s wants it", op.Op)
		case f.said && !slices.Contains(strings.Fields(fields.takes), f.name):
			mistakes.add(f.name, "does not go with %s; leave it out", op.Op)
		}
	}
	return mistakes.err()
}
