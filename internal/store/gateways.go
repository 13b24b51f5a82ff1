package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/facts"
)

// What tells a gateway.
const (
	GatewayByID  = "gateway_id"
	GatewayByURL = "url"
	GatewayByTag = "tag"
)

// GatewayRow is the image that stands behind a gateway of an MCP gateway.
type GatewayRow struct {
	Name string `json:"name"`
	// Source is "api" or "configuration".
	Source string `json:"source"`
	// Kind is GatewayByID, GatewayByURL or GatewayByTag; no two rows have the same
	// Kind and Value.
	Kind  string `json:"kind"`
	Value string `json:"value"`
	// Image is name@digest.
	Image string `json:"image"`
	Note  string `json:"note"`
	// The store fills in these, as in [PolicyRow].
	CreatedBy string    `json:"created_by"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedBy string    `json:"updated_by"`
	UpdatedAt time.Time `json:"updated_at"`
	Version   int64     `json:"version"`
}

// kept leaves out who and when.
func (r GatewayRow) kept() GatewayRow {
	r.CreatedBy, r.UpdatedBy, r.Version = "", "", 0
	r.CreatedAt, r.UpdatedAt = time.Time{}, time.Time{}
	return r
}

const gatewayColumns = `name, source, kind, value, image, note, created_by, created_at, updated_by, updated_at, version`

func scanGateway(row rower) (GatewayRow, error) {
	var r GatewayRow
	err := row.Scan(&r.Name, &r.Source, &r.Kind, &r.Value, &r.Image, &r.Note, &r.CreatedBy, timeColumn{&r.CreatedAt}, &r.UpdatedBy, timeColumn{&r.UpdatedAt}, &r.Version)
	return r, err
}

// Gateways lists all of them by name.
func (s *Store) Gateways(ctx context.Context) ([]GatewayRow, error) { return readGateways(ctx, s.read) }

// Gateways lists all of them by name, as this change sees them.
func (t *Tx) Gateways(ctx context.Context) ([]GatewayRow, error) { return readGateways(ctx, t.tx) }

func readGateways(ctx context.Context, q querier) ([]GatewayRow, error) {
	const op = "reading the gateways"
	rows, err := q.QueryContext(ctx, `SELECT `+gatewayColumns+` FROM gateways ORDER BY name`)
	if err != nil {
		return nil, wrap(op, err)
	}
	return collect(op, rows, scanGateway)
}

// Gateway returns one, or [ErrNotFound].
func (s *Store) Gateway(ctx context.Context, name string) (GatewayRow, error) {
	return readGateway(ctx, s.read, name)
}

func readGateway(ctx context.Context, q querier, name string) (GatewayRow, error) {
	r, err := scanGateway(q.QueryRowContext(ctx, `SELECT `+gatewayColumns+` FROM gateways WHERE name = ?`, name))
	if err != nil {
		return GatewayRow{}, wrap(fmt.Sprintf("reading gateway %q", name), err)
	}
	return r, nil
}

// FindGateways returns the rows that tell a gateway by its id, its URL or some of
// its tags, in this order. It reads the store itself, so that what was acknowledged
// before counts, whichever server acknowledged it.
func (s *Store) FindGateways(ctx context.Context, id, url string, tags []string) ([]GatewayRow, error) {
	const op = "looking up a gateway"
	where, args := []string{`kind = 'gateway_id' AND value = ?`, `kind = 'url' AND value = ?`}, []any{id, url}
	if len(tags) > 0 {
		where = append(where, `kind = 'tag' AND value IN (?`+strings.Repeat(", ?", len(tags)-1)+`)`)
		for _, tag := range tags {
			args = append(args, tag)
		}
	}
	rows, err := s.read.QueryContext(ctx, `SELECT `+gatewayColumns+` FROM gateways WHERE `+strings.Join(where, " OR "), args...)
	if err != nil {
		return nil, wrap(op, err)
	}
	list, err := collect(op, rows, scanGateway)
	order := []string{GatewayByID, GatewayByURL, GatewayByTag}
	slices.SortFunc(list, func(a, b GatewayRow) int {
		if d := slices.Index(order, a.Kind) - slices.Index(order, b.Kind); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list, err
}

// PutGateway keeps a row and returns it as kept, with versions as in
// [Tx.PutPolicy]. One that tells a gateway that another row tells already is
// [ErrConflict]. Where nothing differs nothing is written.
func (t *Tx) PutGateway(ctx context.Context, r GatewayRow) (GatewayRow, error) {
	if r.Name == "" || r.Value == "" || r.Image == "" || !slices.Contains([]string{GatewayByID, GatewayByURL, GatewayByTag}, r.Kind) {
		return GatewayRow{}, fmt.Errorf("%w: a gateway has a name, an image, and an id, a URL or a tag", ErrInvalid)
	}
	before, err := changing(r.Version, "gateway", r.Name, func(r GatewayRow) int64 { return r.Version })(readGateway(ctx, t.tx, r.Name))
	if err != nil {
		return GatewayRow{}, err
	}
	action := "gateway.create"
	r.Version, r.CreatedBy, r.CreatedAt = 1, t.by.Name, t.at
	if before != nil {
		if before.kept() == r.kept() {
			return *before, nil
		}
		action = "gateway.update"
		r.Version, r.CreatedBy, r.CreatedAt = before.Version+1, before.CreatedBy, before.CreatedAt
	}
	r.UpdatedBy, r.UpdatedAt = t.by.Name, t.at
	err = t.exec(ctx, "keeping a gateway", `INSERT INTO gateways (`+gatewayColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET source = excluded.source, kind = excluded.kind, value = excluded.value, image = excluded.image,
			note = excluded.note, updated_by = excluded.updated_by, updated_at = excluded.updated_at, version = excluded.version`,
		r.Name, r.Source, r.Kind, r.Value, r.Image, r.Note, r.CreatedBy, formatTime(r.CreatedAt), r.UpdatedBy, formatTime(r.UpdatedAt), r.Version)
	if err != nil {
		return GatewayRow{}, err
	}
	err = t.gatewayChanged(ctx, action, before, &r)
	return r, err
}

// DeleteGateway removes the row of that version; [ErrNotFound] and [ErrConflict] as
// for PutGateway.
func (t *Tx) DeleteGateway(ctx context.Context, name string, version int64) error {
	old, err := readGateway(ctx, t.tx, name)
	if err != nil {
		return err
	}
	if old.Version != version {
		return stale("gateway", name, old.Version, version)
	}
	if err := t.exec(ctx, "deleting a gateway", `DELETE FROM gateways WHERE name = ?`, name); err != nil {
		return err
	}
	return t.gatewayChanged(ctx, "gateway.delete", &old, nil)
}

// gatewayChanged audits a change. No verdict rests on it, so no input of active is
// touched.
func (t *Tx) gatewayChanged(ctx context.Context, action string, before, after *GatewayRow) error {
	old, err := gatewayBody(before)
	if err != nil {
		return err
	}
	next, err := gatewayBody(after)
	if err != nil {
		return err
	}
	return t.audit(ctx, action, "gateway/"+nameOf(before, after, func(r GatewayRow) string { return r.Name }), old, next)
}

func gatewayBody(r *GatewayRow) ([]byte, error) {
	if r == nil {
		return nil, nil
	}
	return facts.Canonical(map[string]any{"source": r.Source, r.Kind: r.Value, "image": r.Image, "note": r.Note})
}
