package storetest

import (
	"errors"
	"testing" //nolint:depguard // a suite for tests: the program does not import it

	"github.com/signet-policy/signet/internal/store"
)

// testGateways keeps what stands behind gateways, finds it at once by what tells a
// gateway, and changes no input of active by it.
func testGateways(t *testing.T, f *fixture) {
	ctx := t.Context()
	put := func(r store.GatewayRow) (out store.GatewayRow, err error) {
		err = f.changeErr(func(tx *store.Tx) error { out, err = tx.PutGateway(ctx, r); return err })
		return out, err
	}
	before := f.active(t)
	row := func(name, kind, value string) store.GatewayRow {
		return store.GatewayRow{Name: name, Source: "api", Kind: kind, Value: value, Image: image + "@sha256:" + name, Note: "n"}
	}
	byTag := must[store.GatewayRow](t)(put(row("a", store.GatewayByTag, "tools")))
	byURL := must[store.GatewayRow](t)(put(row("b", store.GatewayByURL, "https://x/mcp")))
	byID := must[store.GatewayRow](t)(put(row("c", store.GatewayByID, "g1")))
	same(t, int64(1), byID.Version)
	same(t, before.Digest, f.active(t).Digest)
	same(t, []store.GatewayRow{byTag, byURL, byID}, must[[]store.GatewayRow](t)(f.reader.Gateways(ctx)))
	same(t, byURL, must[store.GatewayRow](t)(f.reader.Gateway(ctx, "b")))
	same(t, []store.GatewayRow{byID, byURL, byTag}, must[[]store.GatewayRow](t)(f.reader.FindGateways(ctx, "g1", "https://x/mcp", []string{"other", "tools"})))
	same(t, 0, len(must[[]store.GatewayRow](t)(f.reader.FindGateways(ctx, "tools", "", []string{"g1"}))))

	revision := f.active(t).Revision
	same(t, byID, must[store.GatewayRow](t)(put(byID))) // nothing differs
	same(t, revision, f.active(t).Revision)
	byID.Image = image + "@sha256:other"
	byID = must[store.GatewayRow](t)(put(byID))
	same(t, int64(2), byID.Version)

	for name, tt := range map[string]struct {
		row  store.GatewayRow
		want error
	}{
		"told already":         {row("d", store.GatewayByID, "g1"), store.ErrConflict},
		"there already":        {row("a", store.GatewayByTag, "x"), store.ErrConflict},
		"told by nothing":      {row("d", "", ""), store.ErrInvalid},
		"told by another kind": {row("d", "slug", "x"), store.ErrInvalid},
	} {
		if _, err := put(tt.row); !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", name, err, tt.want)
		}
	}
	if err := f.changeErr(func(tx *store.Tx) error { return tx.DeleteGateway(ctx, "c", 1) }); !errors.Is(err, store.ErrConflict) {
		t.Errorf("deleting another version: %v", err)
	}
	if err := f.changeErr(func(tx *store.Tx) error { return tx.DeleteGateway(ctx, "c", 2) }); err != nil {
		t.Fatal(err)
	}
	if _, err := f.reader.Gateway(ctx, "c"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted, and read: %v", err)
	}
	entries := must[[]store.AuditEntry](t)(f.Audit(ctx, store.AuditFilter{Object: "gateway/c"}))
	same(t, 3, len(entries))
	same(t, "gateway.delete", entries[0].Action)
}
