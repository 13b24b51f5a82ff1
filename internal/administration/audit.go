package administration

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/store"
)

// AuditFilter chooses entries of the audit log.
type AuditFilter struct {
	// Object is for example "signer/01J…"; "" is all.
	Object string
	// Name is that of what was changed, Actor who changed it, and Action how what was
	// done begins; "" is all.
	Name, Actor, Action string
	// Since and Until bound the time: from Since on, up to but not including Until.
	Since, Until time.Time
	// Before is the Seq that the page ends at, excluded; 0 begins at the newest.
	Before int64
	// Limit is 1 to 1000; 0 means 100.
	Limit int
}

// Audit lists entries of the audit log, the newest first. Next is the Before of
// the next page, also of one that has fewer entries, or none, because of what the
// caller does not see ([Service.seesEntry]), or because more would have to be looked
// through.
func (s *Service) Audit(ctx context.Context, c Caller, f AuditFilter) (client.Page[client.AuditEntry], error) {
	return s.auditPage(ctx, c, f, mostScanned)
}

// scans says whether entries must be looked through, because no index has the filter.
func (f AuditFilter) scans() bool {
	return f.Object == "" && (f.Name != "" || f.Actor != "" || f.Action != "" || !f.Since.IsZero() || !f.Until.IsZero())
}

const (
	// mostScanned entries are looked through for a page.
	mostScanned = 10_000
	// clockSkew is how far the clocks of servers may be apart: an entry may be that
	// much older than the one before it.
	clockSkew = time.Hour
)

func (s *Service) auditPage(ctx context.Context, c Caller, f AuditFilter, scanned int64) (client.Page[client.AuditEntry], error) {
	page := client.Page[client.AuditEntry]{Items: []client.AuditEntry{}}
	if err := c.may(auth.Read); err != nil {
		return page, err
	}
	limit, err := pageSize(f.Limit)
	if err != nil {
		return page, err
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return page, fieldError("until", "is not after since, so nothing could be found")
	}
	filter := store.AuditFilter{
		Object: f.Object, Name: f.Name, Actor: f.Actor, Action: f.Action, Since: f.Since, Until: f.Until, Before: f.Before, Limit: limit,
	}
	if f.scans() {
		head, err := s.store.AuditHead(ctx)
		if err != nil {
			return page, err
		}
		if filter.Before <= 0 || filter.Before > head.Seq {
			filter.Before = head.Seq + 1
		}
		filter.After = max(filter.Before-1-scanned, 0)
	}
	entries, err := s.store.Audit(ctx, filter)
	if err != nil {
		return page, err
	}
	for _, e := range entries {
		if s.seesEntry(c, e) {
			page.Items = append(page.Items, client.AuditEntry(e))
		}
	}
	next := int64(0)
	if n := len(entries); n == limit {
		next = entries[n-1].Seq
	} else if filter.After > 0 {
		next = filter.After + 1
	}
	if next > 1 && !f.Since.IsZero() { // nothing before that time is looked for
		before, err := s.store.Audit(ctx, store.AuditFilter{Before: next, Limit: 1})
		if err != nil {
			return page, err
		}
		if len(before) == 0 || before[0].At.Before(f.Since.Add(-clockSkew)) {
			next = 0
		}
	}
	if next > 1 {
		page.Next = strconv.FormatInt(next, 10)
	}
	return page, nil
}

// seesEntry hides whole entries: one that was cut would not hash to what it says.
// Which tokens there are is not for a team; what runs behind gateways, and what is
// watched, is for those who may see these images.
func (s *Service) seesEntry(c Caller, e store.AuditEntry) bool {
	kind, _, _ := strings.Cut(e.Object, "/")
	switch {
	case kind == "token":
		return c.Principal.Team == ""
	case len(c.Principal.Images) == 0 || kind != "gateway" && kind != "watch":
		return true
	}
	for _, state := range []json.RawMessage{e.Before, e.After} {
		var of struct {
			Image string `json:"image"`
		}
		if len(state) == 0 || string(state) == "null" {
			continue
		}
		if err := json.Unmarshal(state, &of); err != nil || s.imageName == nil {
			return false
		}
		if name, err := s.imageName(of.Image); err != nil || !c.Principal.Sees(name) {
			return false
		}
	}
	return true
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
