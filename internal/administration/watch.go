package administration

import (
	"context"
	"encoding/hex"
	"errors"
	"unicode"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/watch"
)

// WatchFilter chooses watched images.
type WatchFilter struct {
	// Source is "asked", "api" or "configuration"; "" is all.
	Source string
	// After is the Next of the page before.
	After string
	// Limit is 1 to 1000; 0 means 100.
	Limit int
}

const sourceAsked = "asked"

// Watched lists watched images that the caller may see, by id. A page may be short,
// and has a Next all the same.
func (s *Service) Watched(ctx context.Context, c Caller, f WatchFilter) (client.Page[client.WatchedImage], error) {
	page := client.Page[client.WatchedImage]{Items: []client.WatchedImage{}}
	if err := c.may(auth.Read); err != nil {
		return page, err
	}
	limit, err := pageSize(f.Limit)
	if err != nil {
		return page, err
	}
	from := store.WatchedFilter{After: f.After, Limit: limit}
	if f.Source != sourceAsked {
		from.Listed = f.Source
	}
	rows, next, err := s.store.WatchedPage(ctx, from)
	if err != nil {
		return page, err
	}
	page.Next = next
	for _, w := range rows {
		if c.Principal.Sees(w.ImageName) && (f.Source != sourceAsked || w.Listed == "") {
			page.Items = append(page.Items, watchedImage(w))
		}
	}
	return page, nil
}

func watchedImage(w store.Watched) client.WatchedImage {
	source := w.Listed
	if source == "" {
		source = sourceAsked
	}
	due := w.DueAt
	if w.BoundaryAt != nil && w.BoundaryAt.Before(due) {
		due = *w.BoundaryAt
	}
	context := w.Context
	if context == nil {
		context = map[string]string{}
	}
	return client.WatchedImage{
		ID: w.ID, Image: w.ImageRef, ImageName: w.ImageName, Digest: w.Digest, Platform: w.Platform, Context: context, Environment: w.Environment,
		Source: source, ListedBy: w.ListedBy, Decision: string(w.Decision), Allowed: w.Allowed, VerdictID: w.VerdictID,
		Reasons: append([]string{}, w.Reasons...), Signers: append([]string{}, w.Signers...), DecidedAt: w.DecidedAt,
		UnknownSince: w.UnknownSince, AskedAt: w.AskedAt, Principals: append([]string{}, w.Principals...), DueAt: due,
	}
}

// longestEnvironment is in bytes.
const longestEnvironment = 200

// Watch lists an image, to be decided again without being asked for. One that is
// listed already stays as it is.
func (s *Service) Watch(ctx context.Context, c Caller, n client.NewWatch) (client.WatchedImage, error) {
	if err := c.may(auth.Policy); err != nil {
		return client.WatchedImage{}, err
	}
	if len(n.Environment) > longestEnvironment || !isPrintable(n.Environment) {
		return client.WatchedImage{}, fieldError("environment", "is longer than %d bytes, or cannot be printed", longestEnvironment)
	}
	if s.imageName == nil {
		return client.WatchedImage{}, refuse(ErrConflict, "no images can be listed here")
	}
	row, err := watch.NewListed(named(s.imageName), watch.Listed{Image: n.Image, Environment: n.Environment}, n.Platform, s.now())
	if err != nil {
		return client.WatchedImage{}, fieldError("image", "%s", err)
	}
	if !c.Principal.Sees(row.ImageName) {
		return client.WatchedImage{}, refuse(ErrOutOfScope, "image %s: %q may ask about %s only", n.Image, c.Principal.Name, list(c.Principal.Images))
	}
	have, err := s.store.Watched(ctx, row.ID)
	if err != nil {
		return client.WatchedImage{}, err
	}
	if old, ok := have[row.ID]; ok && old.Listed != "" {
		return watchedImage(old), nil
	}
	row.Listed, row.ListedBy = store.ListedAPI, c.Principal.Name
	err = s.change(ctx, c, func(tx *store.Tx) error { return tx.PutListed(ctx, row) })
	if errors.Is(err, store.ErrConflict) {
		return client.WatchedImage{}, refuse(ErrConflict, "image %s: was listed by somebody else at the same time; ask again", n.Image)
	}
	return watchedImage(row), err
}

// Unwatch takes an image off the list.
func (s *Service) Unwatch(ctx context.Context, c Caller, id string) error {
	if err := c.may(auth.Policy); err != nil {
		return err
	}
	have, err := s.store.Watched(ctx, id)
	if err != nil {
		return err
	}
	row, ok := have[id]
	switch {
	case !ok || !c.Principal.Sees(row.ImageName):
		return refuse(ErrNotFound, "no watched image has the id %q", id)
	case row.Listed == store.ListedConfiguration:
		return refuse(ErrConflict, "image %s: is listed in the configuration; take it out of watch.images", row.ImageRef)
	case row.Listed == "":
		return refuse(ErrConflict, "image %s: is not listed, but watched because it was asked for; watch.recent says for how long", row.ImageRef)
	}
	return s.change(ctx, c, func(tx *store.Tx) error { return tx.DeleteListed(ctx, row) })
}

// WebhookKey gives the key that a webhook is signed with.
func (s *Service) WebhookKey(ctx context.Context, c Caller, name string) (client.WebhookKey, error) {
	if err := c.whole(auth.Administer, "the key of a webhook"); err != nil {
		return client.WebhookKey{}, err
	}
	if s.webhookKey == nil {
		return client.WebhookKey{}, refuse(ErrNotFound, "no webhook is configured")
	}
	key, err := s.webhookKey(ctx, name)
	if err != nil {
		return client.WebhookKey{}, missing(err, "no webhook of the configuration has the name %q", name)
	}
	return client.WebhookKey{Name: name, Key: hex.EncodeToString(key)}, nil
}

// named is a function as the watch wants it.
type named func(image string) (string, error)

// Name is the image's normalised name.
func (f named) Name(image string) (string, error) { return f(image) }

func isPrintable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
