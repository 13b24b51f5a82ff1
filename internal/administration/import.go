package administration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
)

// ImportOptions say how signers are imported.
type ImportOptions struct {
	// DryRun checks everything and changes nothing.
	DryRun bool
	// Replace makes signers of a name that is there already what the document
	// says, keeping their ids. Without it such a name is [ErrConflict].
	Replace bool
}

// ImportSigners registers the signers of a signing_policy document, YAML or JSON,
// all of them or none. Each needs a name, and may say owner, note and enabled. The
// mistakes of all entries are told together, each with its line. The key of a kms
// signer is the one in the document, else the one that is pinned here for the same
// reference, else it is read from the service.
func (s *Service) ImportSigners(ctx context.Context, c Caller, body []byte, opts ImportOptions) (client.Imported, error) {
	if err := c.may(auth.Administer); err != nil {
		return client.Imported{}, err
	}
	entries, err := signingpolicy.ParseSigners(body)
	if err != nil {
		return client.Imported{}, linesOf(err)
	}
	kept, err := s.store.Signers(ctx)
	if err != nil {
		return client.Imported{}, err
	}
	have := make(map[string]store.SignerRow, len(kept))
	for _, r := range kept {
		have[r.Name] = normal(r)
	}
	rows, err := s.imported(ctx, c, entries, have, opts.Replace)
	if err != nil {
		return client.Imported{}, err
	}
	if err := s.fits(ctx, rows, nil); err != nil {
		return client.Imported{}, err
	}
	out := client.Imported{Created: []string{}, Updated: []string{}, Unchanged: []string{}, DryRun: opts.DryRun}
	write := rows[:0:0]
	for _, r := range rows {
		old, found := have[r.Name]
		switch {
		case !found:
			out.Created = append(out.Created, r.Name)
		case sameSigner(r, old):
			out.Unchanged = append(out.Unchanged, r.Name)
			continue
		default:
			out.Updated = append(out.Updated, r.Name)
		}
		write = append(write, r)
	}
	if opts.DryRun || len(write) == 0 {
		return out, nil
	}
	var put []store.SignerRow
	err = s.change(ctx, c, func(tx *store.Tx) error {
		if err := fits(ctx, tx, write, nil); err != nil {
			return err
		}
		for _, r := range write {
			kept, err := tx.PutSigner(ctx, r)
			if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
				return refuse(ErrStale, "%s was changed while it was imported; import again", signerNamed(r.Name))
			}
			if err != nil {
				return err
			}
			put = append(put, kept)
		}
		return nil
	})
	if err != nil {
		return client.Imported{}, err
	}
	for _, r := range put {
		old := have[r.Name]
		switch {
		case r.Type == string(signers.KMS) && old.KMSKeyRef != r.KMSKeyRef:
			s.keyRead(ctx, r)
		case old.Type == string(signers.KMS) && r.Type != old.Type:
			s.forgetKey(ctx, r.ID)
		}
	}
	return out, nil
}

// imported makes rows of the entries, in their order, and reads the keys of kms
// signers that are new.
func (s *Service) imported(ctx context.Context, c Caller, entries []signingpolicy.Entry, have map[string]store.SignerRow, replace bool) ([]store.SignerRow, error) {
	var mistakes FieldErrors
	var taken []string
	roots, err := s.rootNames(ctx)
	if err != nil {
		return nil, err
	}
	rows := make([]store.SignerRow, 0, len(entries))
	line := make(map[string]int, len(entries))
	for i, e := range entries {
		at := fmt.Sprintf("trusted_signers[%d]", i)
		w := wireOfSigner(e.Signer)
		w.Owner = c.ownerOf(w.Owner)
		if first, twice := line[w.Name]; twice {
			mistakes.add(at+".name", "line %d: %q is the name of the entry at line %d too", e.Line, w.Name, first)
			continue
		}
		line[w.Name] = e.Line
		old, found := have[w.Name]
		if found && !replace {
			taken = append(taken, w.Name)
		}
		if found && w.Type == string(signers.KMS) && w.KMSKeyRef == old.KMSKeyRef && w.PublicKey == "" {
			w.PublicKey = old.PublicKey // pinned
		}
		r, wrong := rowOf(w, old)
		wrong = append(wrong, unknownRoots(w.TrustRoots, roots)...)
		for _, m := range wrong {
			mistakes.add(at+"."+m.Field, "line %d: %s", e.Line, m.Problem)
		}
		if len(wrong) > 0 {
			continue
		}
		if err := c.mayReplace(old, w, found); err != nil {
			return nil, fmt.Errorf("line %d: %w", e.Line, err)
		}
		rows = append(rows, r)
	}
	if err := mistakes.err(); err != nil {
		return nil, err
	}
	if len(taken) > 0 {
		return nil, refuse(ErrConflict, "there are signers of these names already: %s; import with replace to make them what the document says", strings.Join(taken, ", "))
	}
	return rows, s.pinAll(ctx, rows, line)
}

// pinAll reads the keys of all kms signers that have none yet, side by side, and
// one reference once. line is where each signer stands, by name.
func (s *Service) pinAll(ctx context.Context, rows []store.SignerRow, line map[string]int) error {
	type answer struct {
		row store.SignerRow
		err error
	}
	answers := map[string]*answer{}
	var work sync.WaitGroup
	slots := make(chan struct{}, refreshesAtOnce)
	for _, r := range rows {
		if r.Type != string(signers.KMS) || r.PublicKey != "" || answers[r.KMSKeyRef] != nil {
			continue
		}
		a := &answer{row: r}
		answers[r.KMSKeyRef] = a
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			a.err = s.pin(ctx, &a.row)
		})
	}
	work.Wait()
	var mistakes FieldErrors
	for i := range rows {
		a := answers[rows[i].KMSKeyRef]
		if a == nil || rows[i].PublicKey != "" {
			continue
		}
		var wrong FieldErrors
		switch {
		case errors.As(a.err, &wrong):
			for _, m := range wrong {
				mistakes.add(fmt.Sprintf("trusted_signers[%d].%s", i, m.Field), "line %d: %s", line[rows[i].Name], m.Problem)
			}
		case a.err != nil:
			return a.err
		}
		rows[i].PublicKey, rows[i].Fingerprints = a.row.PublicKey, a.row.Fingerprints
	}
	return mistakes.err()
}

// mayReplace asks for the signer as it shall be, and for the one that is there.
func (c Caller) mayReplace(old store.SignerRow, w client.Signer, found bool) error {
	if found {
		if err := c.owns(signerNamed(old.Name), old.Owner, old.Images); err != nil {
			return err
		}
	}
	return c.owns(signerNamed(w.Name), w.Owner, w.Images)
}

// wireOfSigner is what the API would be told to make a signer.
func wireOfSigner(s signers.Signer) client.Signer {
	return client.Signer{
		Name: s.Name, Type: string(s.Type), Issuer: s.Issuer, Subject: s.Subject, SubjectRegex: s.SubjectRegex, Claims: s.Claims, TrustRoots: s.TrustRoots,
		PublicKey: joinPEM(s.Keys), KMSKeyRef: s.KMSKeyRef, AutoRotate: s.AutoRotate, Images: s.Images, Enabled: s.Enabled,
		NotBefore: s.NotBefore, ExpiresAt: s.ExpiresAt, SignedFrom: s.SignedFrom, SignedUntil: s.SignedUntil, Owner: s.Owner, Note: s.Note,
	}
}

// ExportSigners writes all signers as the document that [Service.ImportSigners]
// reads, with the keys that are pinned for kms signers.
func (s *Service) ExportSigners(ctx context.Context, c Caller) ([]byte, error) {
	if err := c.may(auth.Read); err != nil {
		return nil, err
	}
	rows, err := s.store.Signers(ctx)
	if err != nil {
		return nil, err
	}
	list, err := FromRows(rows)
	if err != nil {
		return nil, err
	}
	entries := make([]signingpolicy.Entry, len(list))
	for i, one := range list {
		entries[i].Signer = one
	}
	return signingpolicy.FormatSigners(entries)
}

// knownRoots makes sure that a signer names trust roots that there are.
func (s *Service) knownRoots(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	known, err := s.rootNames(ctx)
	if err != nil {
		return err
	}
	return unknownRoots(names, known).err()
}

func (s *Service) rootNames(ctx context.Context) ([]string, error) {
	rows, err := s.in.Roots(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, r := range rows {
		names = append(names, r.Name)
	}
	return names, nil
}

// unknownRoots finds the names that no trust root has. Before the first root is
// there, nothing can be said.
func unknownRoots(names, known []string) FieldErrors {
	var mistakes FieldErrors
	for _, name := range names {
		if len(known) > 0 && !slices.Contains(known, name) {
			mistakes.add("trust_roots", "there is no trust root %q; there are %s", name, list(known))
		}
	}
	return mistakes
}
