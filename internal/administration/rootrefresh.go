package administration

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/trust"
)

// RefreshTrustRoot asks the TUF repository of a root now. When that fails, the
// root in use stays, and the error says why.
func (s *Service) RefreshTrustRoot(ctx context.Context, c Caller, name string) (client.TrustRoot, error) {
	if err := c.aboutRoots(name); err != nil {
		return client.TrustRoot{}, err
	}
	row, err := s.root(ctx, name)
	if err != nil {
		return client.TrustRoot{}, err
	}
	if row.Kind != kindTUF {
		return client.TrustRoot{}, refuse(ErrConflict, "trust root %q is a file, which nothing can refresh; put a newer one in its place", name)
	}
	if row, err = s.refreshRoot(ctx, c.actor(), c.Why, row); err != nil {
		return client.TrustRoot{}, err
	}
	return s.showRoot(ctx, row)
}

// refresher is who refreshes on schedule.
func refresher() store.Actor { return store.Actor{Name: "server", From: "schedule"} }

// RefreshDue asks the TUF repositories of all roots that were last refreshed
// every or longer ago; one that failed is tried again after ten minutes. The
// errors are those of single roots, which stay as they are.
func (s *Service) RefreshDue(ctx context.Context, now time.Time, every time.Duration) error {
	rows, err := s.store.Roots(ctx)
	if err != nil {
		return err
	}
	upkeep, err := s.store.Upkeep(ctx, store.UpkeepRoot)
	if err != nil {
		return err
	}
	tried := map[string]time.Time{}
	for _, u := range upkeep {
		tried[u.Key] = u.CheckedAt
	}
	var errs []error
	for _, row := range rows {
		if row.Kind != kindTUF || row.RefreshedAt == nil || now.Sub(*row.RefreshedAt) < every || now.Sub(tried[row.Name]) < min(retryRefresh, every) {
			continue
		}
		if _, err := s.refreshRoot(ctx, refresher(), "refresh on schedule", row); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// refreshRoot asks the repository of a root, and notes how that went. The
// outcome is kept only if the root is still the one that was looked at.
func (s *Service) refreshRoot(ctx context.Context, by store.Actor, why string, row store.RootRow) (store.RootRow, error) {
	next, err := s.refreshed(ctx, by, why, row)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return next, err // the caller gave up, which says nothing about the repository
	}
	s.noteRefresh(context.WithoutCancel(ctx), row, err)
	return next, err
}

func (s *Service) refreshed(ctx context.Context, by store.Actor, why string, row store.RootRow) (store.RootRow, error) {
	if s.tuf == nil {
		return store.RootRow{}, refuse(ErrConflict, "trust root %q cannot be refreshed here: no TUF repository can be asked", row.Name)
	}
	metadata, err := loadMetadata(ctx, s.in, row)
	if err != nil {
		return store.RootRow{}, err
	}
	inUse, err := loadRoot(ctx, s.store, row)
	if err != nil {
		return store.RootRow{}, err
	}
	got, err := s.tuf.Refresh(ctx, trust.TUFConfig{MetadataURL: row.TUFURL, Target: row.Target, Metadata: metadata})
	if err != nil {
		return store.RootRow{}, notRefreshed(row, err)
	}
	req := inUse.Requires()
	root, err := trust.Parse(row.Name, got.TrustedRoot, &req)
	if err != nil {
		return store.RootRow{}, notRefreshed(row, err)
	}
	if older, why := trust.Older(root, inUse); older {
		return store.RootRow{}, notRefreshed(row, fmt.Errorf("%w: %s", trust.ErrOlder, why))
	}
	now := s.now().UTC()
	row.RefreshedAt = &now
	_, err = s.store.Change(ctx, by, why, func(tx *store.Tx) (err error) {
		row, err = putRoot(ctx, tx, row, root, got.Metadata)
		return err
	})
	if err != nil {
		return store.RootRow{}, err
	}
	return row, nil
}

// notRefreshed says that a root stays as it is, and why.
func notRefreshed(row store.RootRow, err error) error {
	return &refusal{kind: errors.Join(ErrConflict, err), text: fmt.Sprintf("trust root %q: %s; the root in use stays", row.Name, err)}
}

// noteRefresh keeps how a refresh went, for lists and readiness. It is not worth
// failing for.
func (s *Service) noteRefresh(ctx context.Context, row store.RootRow, failed error) {
	if row.Kind != kindTUF || s.onTrial {
		return
	}
	u := store.Upkeep{Kind: store.UpkeepRoot, Key: row.Name, CheckedAt: s.now()}
	if failed != nil {
		u.Error = failed.Error()
	}
	if err := s.store.PutUpkeep(ctx, u); err != nil {
		s.log.WarnContext(ctx, "keeping how a refresh went", "trust_root", row.Name, "error", err)
	}
}
