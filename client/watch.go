package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// WatchedImage is an image that is decided again without being asked for.
type WatchedImage struct {
	// ID is made from the image, its digest, and how it was asked for.
	ID          string            `json:"id"`
	Image       string            `json:"image"`
	ImageName   string            `json:"image_name"`
	Digest      string            `json:"digest"`
	Platform    string            `json:"platform"`
	Context     map[string]string `json:"context"`
	Environment string            `json:"environment"`
	// Source is "asked", "api" or "configuration"; ListedBy is who listed it.
	Source   string `json:"source"`
	ListedBy string `json:"listed_by"`
	// Decision is the last allow or deny, "" before the first.
	Decision  string     `json:"decision"`
	Allowed   bool       `json:"allowed"`
	VerdictID string     `json:"verdict_id"`
	Reasons   []string   `json:"reasons"`
	Signers   []string   `json:"signers"`
	DecidedAt *time.Time `json:"decided_at"`
	// UnknownSince is set while it cannot be decided.
	UnknownSince *time.Time `json:"unknown_since"`
	AskedAt      *time.Time `json:"asked_at"`
	Principals   []string   `json:"principals"`
	// DueAt is when it is decided again at the latest, by the time that is known now.
	DueAt time.Time `json:"due_at"`
}

// NewWatch lists an image to be watched.
type NewWatch struct {
	// Image is a reference; with a tag alone, whatever the tag names then.
	Image       string `json:"image"`
	Environment string `json:"environment,omitempty"`
	Platform    string `json:"platform,omitempty"`
}

// WatchFilter chooses watched images; zero fields choose all.
type WatchFilter struct {
	// Source is "asked", "api" or "configuration".
	Source string
	Limit  int
	Cursor string
}

// Watched lists the images that are watched.
func (c *Client) Watched(ctx context.Context, f WatchFilter) (Page[WatchedImage], error) {
	q := pageOf(url.Values{}, f.Limit, f.Cursor)
	set(q, "source", f.Source)
	return ask[Page[WatchedImage]](ctx, c, get(q), "watch")
}

// AllWatched walks them.
func (c *Client) AllWatched(ctx context.Context, f WatchFilter) iter.Seq2[WatchedImage, error] {
	return all(ctx, f.Cursor, func(ctx context.Context, cursor string) (Page[WatchedImage], error) {
		at := f
		at.Cursor = cursor
		if at.Limit == 0 {
			at.Limit = walkLimit
		}
		return c.Watched(ctx, at)
	})
}

// Watch lists an image; one that is listed already stays as it is.
func (c *Client) Watch(ctx context.Context, w NewWatch) (WatchedImage, error) {
	r := post(w)
	r.method = http.MethodPut
	return ask[WatchedImage](ctx, c, r, "watch")
}

// Unwatch takes an image off the list. What is in the configuration is changed
// there, and what was asked for is watched as long as it is recent.
func (c *Client) Unwatch(ctx context.Context, id string) error {
	_, err := c.bytes(ctx, call{method: http.MethodDelete}, "watch", id)
	return err
}

// WebhookKey reads the key, in hex, that a webhook of the configuration is signed
// with, so that its receiver can be told.
func (c *Client) WebhookKey(ctx context.Context, name string) (string, error) {
	k, err := ask[WebhookKey](ctx, c, get(nil), "webhooks", name, "key")
	return k.Key, err
}

// WebhookKey is what a webhook is signed with.
type WebhookKey struct {
	Name string `json:"name"`
	// Key is in hex; the HMAC is made with the bytes.
	Key string `json:"key"`
}
