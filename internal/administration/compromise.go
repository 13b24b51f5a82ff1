package administration

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/store"
)

const (
	// maxAffected bounds the list of digests that [Service.CompromiseSigner] gives,
	// maxLooked how many it looks at to make it.
	maxAffected = 10_000
	maxLooked   = 100_000
	maxWhy      = 500
)

// CompromiseSigner says that signatures by a signer count up to a moment only,
// and lists the digests that were allowed because of a later one, or of one
// without a signing time. A moment after the one that was set before changes
// nothing; asked again, it gives the same list.
func (s *Service) CompromiseSigner(ctx context.Context, c Caller, id string, req client.Compromise) (client.Compromised, error) {
	row, err := s.endTrust(ctx, c, id, req)
	if err != nil {
		return client.Compromised{}, err
	}
	out := client.Compromised{}
	if out.Signer, err = s.show(ctx, row); err != nil {
		return client.Compromised{}, err
	}
	since := req.Since
	if row.SignedUntil != nil && row.SignedUntil.Before(since) {
		since = *row.SignedUntil
	}
	out.Affected, out.More, err = s.affected(ctx, c, id, since, maxAffected, maxLooked)
	return out, err
}

// endTrust is the change of [Service.CompromiseSigner].
func (s *Service) endTrust(ctx context.Context, c Caller, id string, req client.Compromise) (row store.SignerRow, err error) {
	if err := c.may(auth.Administer); err != nil {
		return row, err
	}
	if err := s.checkCompromise(req); err != nil {
		return row, err
	}
	old, err := s.signer(ctx, id)
	if err != nil {
		return row, err
	}
	if err := c.owns(signerNamed(old.Name), old.Owner, old.Images); err != nil {
		return row, err
	}
	said, err := json.Marshal(req)
	if err != nil {
		return row, fmt.Errorf("encoding an audit entry: %w", err)
	}
	why := req.Why
	if c.Why != "" && c.Why != req.Why {
		why += "; " + c.Why
	}
	c.Why = why
	err = s.change(ctx, c, func(tx *store.Tx) error {
		// Whatever changed meanwhile: nothing keeps a compromise waiting.
		now, err := tx.Signer(ctx, id)
		if err != nil {
			return missing(err, "%s was removed meanwhile", signerNamed(old.Name))
		}
		if err := c.owns(signerNamed(now.Name), now.Owner, now.Images); err != nil {
			return err
		}
		row = endedAt(now, req.Since)
		if sameSigner(row, now) {
			return nil
		}
		if row, err = tx.PutSigner(ctx, row); err != nil {
			return err
		}
		return tx.Note(ctx, "signer.compromise", "signer/"+id, nil, said)
	})
	return row, err
}

func (s *Service) checkCompromise(req client.Compromise) error {
	var mistakes FieldErrors
	switch {
	case req.Since.IsZero():
		mistakes.add("since", "is missing; it is the last moment at which signatures still count, such as 2027-01-31T00:00:00Z")
	case req.Since.After(s.now()):
		mistakes.add("since", "%s is still to come; to end trust at a later time set signed_until or expires_at", req.Since.UTC().Format(time.RFC3339))
	}
	switch {
	case strings.TrimSpace(req.Why) == "":
		mistakes.add("why", "is missing; the audit log keeps it")
	case len(req.Why) > maxWhy || !utf8.ValidString(req.Why) || strings.ContainsFunc(req.Why, func(r rune) bool { return r < ' ' || r == 0x7f }):
		mistakes.add("why", "is longer than %d bytes, or has characters that cannot be printed", maxWhy)
	}
	return mistakes.err()
}

// endedAt is a signer whose signatures count until since at the latest. One whose
// signatures would count only later than that has none that counts: it is
// disabled, because no time says so.
func endedAt(r store.SignerRow, since time.Time) store.SignerRow {
	since = since.UTC().Truncate(time.Microsecond)
	if r.SignedFrom != nil && r.SignedFrom.After(since) {
		r.Enabled = false
		return r
	}
	if r.SignedUntil == nil || since.Before(*r.SignedUntil) {
		r.SignedUntil = &since
	}
	return r
}

// affected lists what was allowed because of a signature after since, or without
// a time, the latest first: at most most, among the latest look digests. more says
// that there may be others.
func (s *Service) affected(ctx context.Context, c Caller, id string, since time.Time, most, look int) (list []client.SignerVerdict, more bool, err error) {
	list = []client.SignerVerdict{}
	looked := 0
	for v, err := range s.store.EachSignerVerdict(ctx, id) {
		if err != nil {
			return nil, false, err
		}
		if looked == look {
			return list, true, nil
		}
		looked++
		if v.SignedAt != nil && !v.SignedAt.After(since) || !c.Principal.Sees(imageName(v.ImageRef)) {
			continue
		}
		if len(list) == most {
			return list, true, nil
		}
		list = append(list, signerVerdict(v))
	}
	return list, false, nil
}

func signerVerdict(v store.SignerVerdict) client.SignerVerdict {
	return client.SignerVerdict{Digest: v.Digest, Image: v.ImageRef, VerdictID: v.VerdictID, At: v.At, Verdicts: v.Count, SignedAt: v.SignedAt}
}

// imageName is the name in a reference, as patterns speak of it: "host/path",
// without tag and digest. Where there is no host, Docker Hub is meant, as in
// package registry.
func imageName(ref string) string {
	name, _, _ := strings.Cut(ref, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		name = name[:colon]
	}
	if host, _, ok := strings.Cut(name, "/"); name != "" && (!ok || host != "localhost" && !strings.ContainsAny(host, ".:[")) {
		return "docker.io/" + name
	}
	return name
}

// SignerVerdicts lists the digests that were allowed because of a signer, the
// latest first. limit is 1 to 1000, 0 means 100; after is Next of the page
// before. A page may have fewer entries where the caller does not see all images.
func (s *Service) SignerVerdicts(ctx context.Context, c Caller, id string, limit int, after string) (client.Page[client.SignerVerdict], error) {
	page := client.Page[client.SignerVerdict]{Items: []client.SignerVerdict{}}
	if err := c.may(auth.Read); err != nil {
		return page, err
	}
	limit, err := pageSize(limit)
	if err != nil {
		return page, err
	}
	var from *store.Cursor
	if after != "" {
		place, err := store.ParseCursor(after)
		if err != nil {
			return page, fieldError("cursor", "is not known; take it from the page before, unchanged")
		}
		from = &place
	}
	list, next, err := s.store.SignerVerdicts(ctx, id, from, limit)
	if err != nil {
		return page, err
	}
	if len(list) == 0 && from == nil {
		// A signer that was removed still has its verdicts; a made-up id has none.
		if _, err := s.signer(ctx, id); err != nil {
			return page, err
		}
	}
	for _, v := range list {
		if c.Principal.Sees(imageName(v.ImageRef)) {
			page.Items = append(page.Items, signerVerdict(v))
		}
	}
	if next != nil {
		page.Next = next.String()
	}
	return page, nil
}
