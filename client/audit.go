package client

import (
	"cmp"
	"context"
	"iter"
	"net/url"
	"strconv"
	"time"
)

// AuditFilter chooses entries of the audit log; zero fields choose all.
type AuditFilter struct {
	// Object is what was changed, as "signer/<id>".
	Object string
	// Name of what was changed, and Actor who changed it.
	Name, Actor string
	// Action is what was done, or how it begins, as "signer.".
	Action string
	// Since and Until bound when it was.
	Since, Until time.Time
	// Before leaves out this entry and what came after it.
	Before int64
	Limit  int
}

// Audit lists changes, the latest first. A page may be short, even empty, and still
// have a Next.
func (c *Client) Audit(ctx context.Context, f AuditFilter) (Page[AuditEntry], error) {
	q := pageOf(url.Values{}, f.Limit, "")
	set(q, "object", f.Object)
	set(q, "name", f.Name)
	set(q, "actor", f.Actor)
	set(q, "action", f.Action)
	setTime(q, "since", f.Since)
	setTime(q, "until", f.Until)
	if f.Before != 0 {
		q.Set("before", strconv.FormatInt(f.Before, 10))
	}
	return ask[Page[AuditEntry]](ctx, c, get(q), "audit")
}

// AllAudit walks them, down to the first.
func (c *Client) AllAudit(ctx context.Context, f AuditFilter) iter.Seq2[AuditEntry, error] {
	return all(ctx, "", func(ctx context.Context, cursor string) (Page[AuditEntry], error) {
		at := f
		at.Limit = cmp.Or(f.Limit, walkLimit)
		if cursor != "" {
			at.Before, _ = strconv.ParseInt(cursor, 10, 64) // a number, as the page before had it
		}
		return c.Audit(ctx, at)
	})
}

// AuditHead reads the end of the audit log: its last entry's number and hash,
// which name everything before.
func (c *Client) AuditHead(ctx context.Context) (AuditHead, error) {
	return ask[AuditHead](ctx, c, get(nil), "audit", "head")
}

// VerifyAudit has the server check the whole chain, and that it goes on from a
// head that was known before; the zero value is none. It gives the head now.
func (c *Client) VerifyAudit(ctx context.Context, known AuditHead) (AuditHead, error) {
	return ask[AuditHead](ctx, c, post(struct {
		Known AuditHead `json:"known"`
	}{known}), "audit", "verify")
}
