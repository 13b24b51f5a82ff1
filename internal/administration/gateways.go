package administration

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
)

// Bounds of what is said of a gateway, in bytes.
const (
	longestGatewayValue = 1000
	longestGatewayNote  = 1000
)

// Gateways lists the images behind gateways by name; after is the last name of the
// page before. A caller sees those of images that it may ask about.
func (s *Service) Gateways(ctx context.Context, c Caller, query string, limit int, after string) (client.Page[client.Gateway], error) {
	page := client.Page[client.Gateway]{Items: []client.Gateway{}}
	if err := c.may(auth.Read); err != nil {
		return page, err
	}
	limit, err := pageSize(limit)
	if err != nil {
		return page, err
	}
	rows, err := s.store.Gateways(ctx)
	if err != nil {
		return page, err
	}
	for _, r := range rows {
		if r.Name <= after || !s.seesGateway(c, r) || !gatewayHas(r, query) {
			continue
		}
		if len(page.Items) == limit {
			page.Next = page.Items[limit-1].Name
			break
		}
		g, err := s.shownGateway(ctx, r)
		if err != nil {
			return page, err
		}
		page.Items = append(page.Items, g)
	}
	return page, nil
}

// gatewayHas looks for a text, without regard to case, in all that is said of a gateway.
func gatewayHas(r store.GatewayRow, text string) bool {
	text = strings.ToLower(text)
	return slices.ContainsFunc([]string{r.Name, r.Value, r.Image, r.Note}, func(s string) bool {
		return strings.Contains(strings.ToLower(s), text)
	})
}

// shownGateway is a gateway together with the last verdict on what stands behind it.
// Who sees the gateway sees verdicts on its image.
func (s *Service) shownGateway(ctx context.Context, r store.GatewayRow) (client.Gateway, error) {
	g := gateway(r)
	if s.imageName == nil {
		return g, nil
	}
	name, err := s.imageName(r.Image)
	if err != nil {
		return g, nil //nolint:nilerr // of another version, whose names we do not read: nothing is known of its verdicts
	}
	_, digest, _ := strings.Cut(r.Image, "@")
	rows, _, err := s.store.Verdicts(ctx, store.Filter{Digest: digest, ImageName: name}, store.Page{Limit: 1})
	if err != nil {
		return g, fmt.Errorf("the last verdict of gateway %q: %w", r.Name, err)
	}
	if len(rows) == 1 {
		last := rows[0]
		g.LastVerdict = &client.GatewayVerdict{ID: last.ID, Decision: client.Decision(last.Decision), Allowed: last.Allowed, At: last.CreatedAt}
		if last.VerificationError != nil {
			g.LastVerdict.Reason = *last.VerificationError
		}
	}
	return g, nil
}

func (s *Service) seesGateway(c Caller, r store.GatewayRow) bool {
	if s.imageName == nil {
		return len(c.Principal.Images) == 0
	}
	name, err := s.imageName(r.Image)
	return err == nil && c.Principal.Sees(name)
}

func gateway(r store.GatewayRow) client.Gateway {
	g := client.Gateway{
		Name: r.Name, Image: r.Image, Note: r.Note, Source: r.Source,
		CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt, UpdatedBy: r.UpdatedBy, UpdatedAt: r.UpdatedAt, Version: r.Version,
	}
	switch r.Kind {
	case store.GatewayByID:
		g.GatewayID = r.Value
	case store.GatewayByURL:
		g.URL = r.Value
	default:
		g.Tag = r.Value
	}
	return g
}

// Gateway reads one.
func (s *Service) Gateway(ctx context.Context, c Caller, name string) (client.Gateway, error) {
	if err := c.may(auth.Read); err != nil {
		return client.Gateway{}, err
	}
	row, err := s.store.Gateway(ctx, name)
	if err == nil && !s.seesGateway(c, row) {
		err = store.ErrNotFound
	}
	if err != nil {
		return client.Gateway{}, missing(err, "there is no gateway %q", name)
	}
	return s.shownGateway(ctx, row)
}

// PutGateway says which image stands behind a gateway. version is that of what it
// replaces, nil for a new one.
func (s *Service) PutGateway(ctx context.Context, c Caller, name string, in client.PutGateway, version *int64) (client.Gateway, error) {
	if err := c.whole(auth.Administer, "what stands behind a gateway"); err != nil {
		return client.Gateway{}, err
	}
	row, err := s.gatewayRow(name, in)
	if err != nil {
		return client.Gateway{}, err
	}
	row.Source = sourceAPI
	old, err := s.store.Gateway(ctx, name)
	switch {
	case errors.Is(err, store.ErrNotFound) && version == nil:
	case err != nil:
		return client.Gateway{}, missing(err, "there is no gateway %q", name)
	case old.Source == sourceConfiguration:
		return client.Gateway{}, refuse(ErrConflict, "gateway %q: is in the configuration, and changed there (mcp.gateways)", name)
	case version == nil:
		return client.Gateway{}, refuse(ErrConflict, "there is a gateway %q already; to replace it, say which version (If-Match)", name)
	case *version != old.Version:
		return client.Gateway{}, stale(fmt.Sprintf("gateway %q", name), old.Version, *version)
	default:
		row.Version = old.Version
	}
	err = s.change(ctx, c, func(tx *store.Tx) error {
		all, err := tx.Gateways(ctx)
		if err != nil {
			return err
		}
		if err := unlikeOthers(all, row); err != nil {
			return err
		}
		row, err = tx.PutGateway(ctx, row)
		return err
	})
	if errors.Is(err, store.ErrConflict) {
		return client.Gateway{}, refuse(ErrStale, "gateway %q: was changed by somebody else at the same time; read it again", name)
	}
	if err != nil {
		return client.Gateway{}, err
	}
	return s.shownGateway(ctx, row)
}

// unlikeOthers makes sure that a gateway is told by one row.
func unlikeOthers(all []store.GatewayRow, row store.GatewayRow) error {
	i := slices.IndexFunc(all, func(o store.GatewayRow) bool { return o.Name != row.Name && o.Kind == row.Kind && o.Value == row.Value })
	if i >= 0 {
		return refuse(ErrConflict, "%s %q: is told by the gateway %q already", row.Kind, row.Value, all[i].Name)
	}
	return nil
}

// gatewayRow checks what is said of a gateway.
func (s *Service) gatewayRow(name string, in client.PutGateway) (store.GatewayRow, error) {
	row := store.GatewayRow{Name: name, Image: in.Image, Note: in.Note}
	var e FieldErrors
	if !signingpolicy.IsName(name) {
		e.add("name", "%q is not a name; use at most 63 lower-case letters, digits and dashes", name)
	}
	given := 0
	for _, f := range []struct{ kind, value string }{{store.GatewayByID, in.GatewayID}, {store.GatewayByURL, in.URL}, {store.GatewayByTag, in.Tag}} {
		if f.value == "" {
			continue
		}
		given++
		row.Kind, row.Value = f.kind, f.value
		if len(f.value) > longestGatewayValue || !isPrintable(f.value) {
			e.add(f.kind, "is longer than %d bytes, or cannot be printed", longestGatewayValue)
		}
	}
	if given != 1 {
		e.add("gateway_id", "give one of gateway_id, url and tag; there are %d", given)
	}
	if row.Kind == store.GatewayByURL {
		normal, err := GatewayURL(row.Value)
		if err != nil {
			e.add("url", "%q is not an address like https://tools.example.com/mcp", row.Value)
		}
		row.Value = normal
	}
	_, digest, pinned := strings.Cut(in.Image, "@")
	switch {
	case !pinned || !strings.HasPrefix(digest, "sha256:"):
		e.add("image", "%q names no digest, and what stands behind a tag changes; write name@sha256:…", in.Image)
	case s.imageName == nil:
		return row, refuse(ErrConflict, "no images can be named here")
	default:
		if _, err := s.imageName(in.Image); err != nil {
			e.add("image", "%s", err)
		}
	}
	if len(in.Note) > longestGatewayNote || !isPrintable(in.Note) {
		e.add("note", "is longer than %d bytes, or cannot be printed", longestGatewayNote)
	}
	if len(e) > 0 {
		return row, e
	}
	return row, nil
}

// GatewayURL is the form in which addresses of gateways are compared, so that another
// spelling of one that is known is no gateway that nobody knows: scheme and host in
// lower case, without the scheme's own port, the dot behind the host, "." and ".." and
// empty segments, escapes that need not be, a slash at the end, a query and a fragment
// (RFC 3986, 6.2). An escape of what has a meaning of its own, such as "%2F", is not
// that: it stays part of its segment.
func GatewayURL(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("is no http or https address")
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port := u.Port(); port != "" && port != map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		host += ":" + port
	}
	raw := u.RawPath // and not EscapedPath, which decodes all of it where a character had to be escaped
	if raw == "" {
		raw = u.EscapedPath()
	}
	return u.Scheme + "://" + host + strings.TrimRight(path.Clean("/"+respelled(raw)), "/"), nil
}

// respelled is a path that escapes neither more nor less than it must, in upper case
// (RFC 3986, 6.2.2). Its escapes are whole: [url.Parse] has seen them.
func respelled(raw string) string {
	const unreserved, meant = "-._~", "/!$&'()*+,;=:@"
	var out strings.Builder
	for i := 0; i < len(raw); i++ {
		c, escaped := raw[i], raw[i] == '%'
		if escaped {
			b, _ := hex.DecodeString(raw[i+1 : i+3])
			c, i = b[0], i+2
		}
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte(unreserved, c) >= 0, !escaped && strings.IndexByte(meant, c) >= 0:
			out.WriteByte(c)
		default:
			fmt.Fprintf(&out, "%%%02X", c)
		}
	}
	return out.String()
}

// DeleteGateway forgets what stands behind a gateway.
func (s *Service) DeleteGateway(ctx context.Context, c Caller, name string, version int64) error {
	if err := c.whole(auth.Administer, "what stands behind a gateway"); err != nil {
		return err
	}
	old, err := s.store.Gateway(ctx, name)
	switch {
	case err != nil:
		return missing(err, "there is no gateway %q", name)
	case old.Source == sourceConfiguration:
		return refuse(ErrConflict, "gateway %q: is in the configuration, and removed there (mcp.gateways)", name)
	case old.Version != version:
		return stale(fmt.Sprintf("gateway %q", name), old.Version, version)
	}
	err = s.change(ctx, c, func(tx *store.Tx) error { return tx.DeleteGateway(ctx, name, version) })
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return refuse(ErrStale, "gateway %q: was changed by somebody else at the same time; read it again", name)
	}
	return err
}

// GatewayImages gives the images that stand behind a gateway: what is told by its
// id, else by its URL, else by its tags. It sees what was acknowledged before, on
// every server.
func (s *Service) GatewayImages(ctx context.Context, id, address string, tags []string) ([]string, error) {
	normal, err := GatewayURL(address)
	if err != nil {
		normal = "" // no row is told by it
	}
	rows, err := s.store.FindGateways(ctx, id, normal, tags)
	if err != nil {
		return nil, err
	}
	var images []string
	for _, r := range rows {
		if r.Kind == rows[0].Kind && !slices.Contains(images, r.Image) {
			images = append(images, r.Image)
		}
	}
	return images, nil
}

// GatewaySeed is a gateway of a server's configuration.
type GatewaySeed struct {
	Name string
	client.PutGateway
}

// SeedGateways puts the gateways of a configuration into the store; those that it
// no longer has are removed, and those of the API are spelled as addresses are
// compared now. A server calls it when it starts.
func (s *Service) SeedGateways(ctx context.Context, list []GatewaySeed) error {
	by := store.Actor{Name: "server", From: sourceConfiguration}
	rows := make([]store.GatewayRow, 0, len(list))
	for i, g := range list {
		row, err := s.gatewayRow(g.Name, g.PutGateway)
		if err != nil {
			return fmt.Errorf("mcp.gateways[%d]: %w", i, err)
		}
		row.Source = sourceConfiguration
		rows = append(rows, row)
	}
	var old spellings
	_, err := s.store.Change(ctx, by, "the server's configuration", func(tx *store.Tx) error {
		all, err := tx.Gateways(ctx)
		if err != nil {
			return err
		}
		have := map[string]store.GatewayRow{}
		for _, r := range all {
			have[r.Name] = r
		}
		wanted := func(r store.GatewayRow) bool {
			return slices.ContainsFunc(rows, func(w store.GatewayRow) bool { return w.Name == r.Name })
		}
		for _, r := range all { // first, so that what one told another may tell
			if r.Source == sourceConfiguration && !wanted(r) {
				if err := tx.DeleteGateway(ctx, r.Name, r.Version); err != nil {
					return err
				}
			}
		}
		old = oldSpellings(all, rows)
		for _, d := range old.dropped {
			if err := tx.DeleteGateway(ctx, d.row.Name, d.row.Version); err != nil {
				return err
			}
		}
		if all, err = tx.Gateways(ctx); err != nil {
			return err
		}
		for i, r := range rows {
			if have[r.Name].Source == sourceAPI {
				return refuse(ErrConflict, "mcp.gateways[%d]: gateway %q is in the configuration, and was made through the API too; remove one of them, or give it another name", i, r.Name)
			}
			if err := unlikeOthers(all, r); err != nil {
				return fmt.Errorf("mcp.gateways[%d]: %w", i, err)
			}
			r.Version = have[r.Name].Version
			if _, err := tx.PutGateway(ctx, r); err != nil {
				return err
			}
		}
		for _, r := range old.mended { // last, so that the configuration has given up what it no longer tells
			if _, err := tx.PutGateway(ctx, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range old.dropped {
		s.log.Warn("a gateway was removed: its url is another spelling of one that another tells", "gateway", d.row.Name, "url", d.row.Value, "image", d.row.Image, "kept", d.by)
	}
	return nil
}

// spellings are what becomes of gateways that the API has kept under an address in an
// older spelling, which is not found any more.
type spellings struct {
	mended  []store.GatewayRow
	dropped []droppedGateway
}

// droppedGateway tells the same as another, by its name.
type droppedGateway struct {
	row store.GatewayRow
	by  string
}

// oldSpellings gives the addresses their spelling of today. Of those that are one
// address then, the configuration's stays, else the one that was changed last.
func oldSpellings(all, configured []store.GatewayRow) spellings {
	var out spellings
	kept := map[string]store.GatewayRow{} // by address
	for _, r := range configured {
		if r.Kind == store.GatewayByURL {
			kept[r.Value] = r
		}
	}
	all = slices.SortedStableFunc(slices.Values(all), func(a, b store.GatewayRow) int { return b.UpdatedAt.Compare(a.UpdatedAt) })
	for _, r := range all {
		if r.Kind != store.GatewayByURL || r.Source != sourceAPI {
			continue
		}
		normal, err := GatewayURL(r.Value)
		if err != nil { // it is found by nothing, and an administrator sees it
			continue
		}
		by, taken := kept[normal]
		switch {
		case taken && by.Source == sourceConfiguration && r.Value == normal: // not for its spelling: that is refused
		case taken:
			out.dropped = append(out.dropped, droppedGateway{r, by.Name})
		default:
			kept[normal] = r
			if r.Value != normal {
				r.Value = normal
				out.mended = append(out.mended, r)
			}
		}
	}
	return out
}
