package client

import (
	"cmp"
	"context"
	"iter"
	"net/url"
	"strconv"
)

// AuditFilter chooses entries of the audit log; zero fields choose all.
type AuditFilter struct {
	// Object is what was changed, as "signer/<id>".
	Object string
	// Before leaves out this entry and what came after it.
	Before int64
	Limit  int
}

// Audit lists changes, the latest first.
func (c *Client) Audit(ctx context.Context, f AuditFilter) (Page[AuditEntry], error) {
	q := pageOf(url.Values{}, f.Limit, "")
	set(q, "object", f.Object)
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
			at.Before, _ = strconv.ParseInt(cursor, 10, 64) // our own, from below
		}
		p, err := c.Audit(ctx, at)
		// Entries are numbered, so that the last one names the next page.
		p.Next = ""
		if n := len(p.Items); err == nil && n > 0 && p.Items[n-1].Seq > 1 {
			p.Next = strconv.FormatInt(p.Items[n-1].Seq, 10)
		}
		return p, err
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
