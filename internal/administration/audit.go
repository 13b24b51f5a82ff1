package administration

import (
	"context"
	"strconv"
	"strings"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/store"
)

// AuditFilter chooses entries of the audit log.
type AuditFilter struct {
	// Object is for example "signer/01J…"; "" is all.
	Object string
	// Before is the Seq that the page ends at, excluded; 0 begins at the newest.
	Before int64
	// Limit is 1 to 1000; 0 means 100.
	Limit int
}

// Audit lists entries of the audit log, the newest first. Next is the Before of
// the next page. A team does not see what concerns tokens.
func (s *Service) Audit(ctx context.Context, c Caller, f AuditFilter) (client.Page[client.AuditEntry], error) {
	page := client.Page[client.AuditEntry]{Items: []client.AuditEntry{}}
	if err := c.may(auth.Read); err != nil {
		return page, err
	}
	limit, err := pageSize(f.Limit)
	if err != nil {
		return page, err
	}
	entries, err := s.store.Audit(ctx, store.AuditFilter{Object: f.Object, Before: f.Before, Limit: limit})
	if err != nil {
		return page, err
	}
	for _, e := range entries {
		// Which tokens there are is not for another team, and an entry that was cut
		// would not hash to what it says.
		if c.Principal.Team == "" || !strings.HasPrefix(e.Object, "token/") {
			page.Items = append(page.Items, client.AuditEntry(e))
		}
	}
	if n := len(entries); n == limit && entries[n-1].Seq > 1 {
		page.Next = strconv.FormatInt(entries[n-1].Seq, 10)
	}
	return page, nil
}

// AuditHead returns the end of the audit log; for an empty one Seq is 0.
func (s *Service) AuditHead(ctx context.Context, c Caller) (client.AuditHead, error) {
	if err := c.may(auth.Read); err != nil {
		return client.AuditHead{}, err
	}
	head, err := s.store.AuditHead(ctx)
	return client.AuditHead(head), err
}

// VerifyAudit checks the whole audit log, and that it contains known: a head that
// was kept elsewhere, or the zero value. An error that wraps store.ErrCorrupt
// names the first entry that does not fit.
func (s *Service) VerifyAudit(ctx context.Context, c Caller, known client.AuditHead) (client.AuditHead, error) {
	if err := c.may(auth.Read); err != nil {
		return client.AuditHead{}, err
	}
	if known.Seq < 0 || (known.Seq == 0) != (known.Hash == "") && known.Hash != strings.Repeat("0", 64) {
		return client.AuditHead{}, fieldError("known", "needs both seq and hash, as audit head gave them")
	}
	head, err := s.store.VerifyAudit(ctx, store.AuditHead(known))
	return client.AuditHead(head), err
}
