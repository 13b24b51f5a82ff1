package administration

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/store/storetest"
	"github.com/signet-policy/signet/internal/verdict"
)

const gatewayImage = "ghcr.io/org/tools@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func TestGateways(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		f.imageName = func(image string) (string, error) {
			name, _, _ := strings.Cut(image, "@")
			if strings.Contains(name, " ") {
				return "", errors.New("is no image")
			}
			return name, nil
		}
		by := Caller{Principal: auth.Principal{Name: "admin", Role: auth.Admin}, From: "cli"}
		made, err := f.PutGateway(ctx, by, "tools", client.PutGateway{GatewayID: "g1", Image: gatewayImage, Note: "n"}, nil)
		if err != nil || made.Version != 1 || made.Source != "api" || made.GatewayID != "g1" {
			t.Fatalf("made %+v, %v", made, err)
		}
		if _, err := f.PutGateway(ctx, by, "web", client.PutGateway{URL: "HTTPS://Tools.Example.com/mcp/?x=1", Image: gatewayImage}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := f.PutGateway(ctx, by, "tag", client.PutGateway{Tag: "prod", Image: strings.Replace(gatewayImage, "tools", "tag", 1)}, nil); err != nil {
			t.Fatal(err)
		}
		// Who is bound to images reads of these in the audit log, too, and of no others.
		entries := func(images ...string) (objects []string) {
			t.Helper()
			viewer := Caller{Principal: auth.Principal{Name: "viewer", Role: auth.Viewer, Images: images}}
			for _, e := range must[client.Page[client.AuditEntry]](t)(f.Audit(ctx, viewer, AuditFilter{})).Items {
				objects = append(objects, e.Object)
			}
			return objects
		}
		same(t, []string{"gateway/tag", "gateway/web", "gateway/tools"}, entries())
		same(t, []string{"gateway/tag"}, entries("ghcr.io/org/tag"))
		same(t, 0, len(entries("ghcr.io/other/**")))

		images := func(id, url string, tags ...string) []string {
			t.Helper()
			got, err := f.GatewayImages(ctx, id, url, tags)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		tagged := []string{strings.Replace(gatewayImage, "tools", "tag", 1)}
		for _, tt := range []struct {
			name string
			got  []string
			want []string
		}{
			{"by id, before its tag", images("g1", "", "prod"), []string{gatewayImage}},
			{"by URL, before its tag", images("g2", "https://tools.example.com/mcp", "prod"), []string{gatewayImage}},
			{"by tag", images("g2", "https://other.example.com", "x", "prod"), tagged},
			{"by nothing", images("g2", "not a URL"), nil},
		} {
			if diff := cmp.Diff(tt.want, tt.got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.name, diff)
			}
		}

		one := int64(1)
		viewer := Caller{Principal: auth.Principal{Name: "viewer", Role: auth.Viewer}}
		bound := Caller{Principal: auth.Principal{Name: "bound", Role: auth.Admin, Images: []string{"ghcr.io/other/**"}}}
		good := client.PutGateway{GatewayID: "g9", Image: gatewayImage}
		for name, tt := range map[string]struct {
			do   func() error
			want error
			says string
		}{
			"a viewer":        {func() error { _, err := f.PutGateway(ctx, viewer, "x", good, nil); return err }, ErrForbidden, "needs the role"},
			"bound to images": {func() error { _, err := f.PutGateway(ctx, bound, "x", good, nil); return err }, ErrForbidden, "concerns every image"},
			"there already":   {func() error { _, err := f.PutGateway(ctx, by, "tools", good, nil); return err }, ErrConflict, "say which version"},
			"another version": {func() error { v := int64(7); _, err := f.PutGateway(ctx, by, "tools", good, &v); return err }, ErrStale, ""},
			"not there":       {func() error { _, err := f.PutGateway(ctx, by, "x", good, &one); return err }, ErrNotFound, `no gateway "x"`},
			"told already": {func() error {
				_, err := f.PutGateway(ctx, by, "x", client.PutGateway{GatewayID: "g1", Image: gatewayImage}, nil)
				return err
			}, ErrConflict, `by the gateway "tools"`},
			"deleting another": {func() error { return f.DeleteGateway(ctx, by, "tools", 7) }, ErrStale, ""},
			"deleting nothing": {func() error { return f.DeleteGateway(ctx, by, "x", 1) }, ErrNotFound, ""},
			"reading nothing":  {func() error { _, err := f.Gateway(ctx, by, "x"); return err }, ErrNotFound, ""},
			"hidden":           {func() error { _, err := f.Gateway(ctx, bound, "tools"); return err }, ErrNotFound, ""},
		} {
			if err := tt.do(); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s: %v, want %v %q", name, err, tt.want, tt.says)
			}
		}
		for field, in := range map[string]client.PutGateway{
			"image":      {GatewayID: "g9", Image: "ghcr.io/org/tools:v1"},
			"gateway_id": {Image: gatewayImage},
			"url":        {URL: "ftp://x", Image: gatewayImage},
			"tag":        {Tag: "a\nb", Image: gatewayImage},
			"note":       {Tag: "a", Image: gatewayImage, Note: "\x00"},
		} {
			_, err := f.PutGateway(ctx, by, "x", in, nil)
			var all FieldErrors
			if !errors.As(err, &all) || all[0].Field != field {
				t.Errorf("%s: %v", field, err)
			}
		}
		// The last verdict on the image behind a gateway is told with it, and no other's.
		if g, err := f.Gateway(ctx, by, "tools"); err != nil || g.LastVerdict != nil {
			t.Errorf("a verdict before there is one: %+v, %v", g.LastVerdict, err)
		}
		_, digest, _ := strings.Cut(gatewayImage, "@")
		decided := func(n int, image string, decision verdict.Decision) {
			t.Helper()
			r := storetest.Record(t, n, storetest.Facts(t, digest, "a@example.com"), image)
			r.Verdict.Decision, r.Verdict.Allowed = decision, decision == verdict.Allow
			if decision != verdict.Allow {
				r.Verdict.Reasons = []verdict.Reason{{Code: "unsigned", Message: "it is not signed"}}
			}
			if err := f.store.Record(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		decided(1, "ghcr.io/org/tools", verdict.Allow)
		decided(2, "ghcr.io/org/tools", verdict.Deny)
		decided(3, "ghcr.io/org/copy", verdict.Allow) // the same digest, elsewhere
		last, err := f.Gateway(ctx, by, "tools")
		if err != nil || last.LastVerdict == nil {
			t.Fatalf("the last verdict: %+v, %v", last, err)
		}
		if v := last.LastVerdict; !strings.HasSuffix(v.ID, "02") || v.Decision != client.Deny || v.Allowed || v.Reason != "it is not signed" || v.At.IsZero() {
			t.Errorf("the last verdict is %+v", v)
		}
		list, err := f.Gateways(ctx, by, "", 2, "")
		if err != nil || len(list.Items) != 2 || list.Next != "tools" {
			t.Errorf("a page %+v, %v", list, err)
		}
		for query, want := range map[string]int{"TOOLS.EXAMPLE": 1, "no such thing": 0, "sha256:": 100} {
			found, err := f.Gateways(ctx, by, query, 0, "")
			if err != nil || want < 100 && len(found.Items) != want || want == 100 && len(found.Items) < 2 {
				t.Errorf("%q finds %+v, %v", query, found, err)
			}
		}
		if list, err = f.Gateways(ctx, bound, "", 0, ""); err != nil || len(list.Items) != 0 {
			t.Errorf("to who may not ask about them: %+v, %v", list, err)
		}

		// The configuration has its own, and takes them away again.
		seed := []GatewaySeed{{Name: "seeded", PutGateway: client.PutGateway{GatewayID: "g5", Image: gatewayImage}}}
		for range 2 {
			if err := f.SeedGateways(ctx, seed); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.PutGateway(ctx, by, "seeded", good, &one); !errors.Is(err, ErrConflict) {
			t.Errorf("changing what the configuration has: %v", err)
		}
		if err := f.DeleteGateway(ctx, by, "seeded", 1); !errors.Is(err, ErrConflict) {
			t.Errorf("removing it: %v", err)
		}
		seed[0].Name = "renamed"
		if err := f.SeedGateways(ctx, seed); err != nil {
			t.Errorf("renamed: %v", err)
		}
		seed[0].Name = "tools"
		if err := f.SeedGateways(ctx, seed); !errors.Is(err, ErrConflict) {
			t.Errorf("a name of the API's: %v", err)
		}
		seed[0] = GatewaySeed{Name: "x", PutGateway: client.PutGateway{GatewayID: "g1", Image: gatewayImage}}
		if err := f.SeedGateways(ctx, seed); !errors.Is(err, ErrConflict) {
			t.Errorf("what another tells: %v", err)
		}
		if err := f.SeedGateways(ctx, nil); err != nil {
			t.Fatal(err)
		}
		if got := images("g5", ""); got != nil {
			t.Errorf("taken out of the configuration, and there: %v", got)
		}
		if err := f.DeleteGateway(ctx, by, "tools", 1); err != nil {
			t.Error(err)
		}
	})
}

// Every spelling of an address is that address.
func TestGatewayURL(t *testing.T) {
	const tools = "https://tools.example.com/mcp"
	for _, address := range []string{
		tools, "HTTPS://Tools.Example.com/mcp/", "https://tools.example.com:443/mcp", "https://tools.example.com./mcp", "https://tools.example.com/./mcp",
		"https://tools.example.com//mcp", "https://tools.example.com/x/../mcp", "https://tools.example.com/%6dcp", "https://tools.example.com/mcp?x=1#y", "https://u:p@tools.example.com/mcp",
	} {
		if got, err := GatewayURL(address); err != nil || got != tools {
			t.Errorf("%s: %q, %v; want %s", address, got, err, tools)
		}
	}
	for address, want := range map[string]string{
		// What is escaped and means something is no other spelling of what it means.
		"https://h/evil/..%2Fmcp": "https://h/evil/..%2Fmcp", "https://h/evil/..%2fmcp": "https://h/evil/..%2Fmcp", `https://h/evil/..\mcp`: "https://h/evil/..%5Cmcp",
		"https://h/evil%5c..%5cmcp": "https://h/evil%5C..%5Cmcp", "https://h/evil/%2e%2E/mcp": "https://h/mcp", "https://h/evil/%2e%2e%2Fmcp": "https://h/evil/..%2Fmcp",
		"https://h/é/..%2f..%2fmcp": "https://h/%C3%A9/..%2F..%2Fmcp", "https://h/a b/..%2Fmcp": "https://h/a%20b/..%2Fmcp", "https://h/%7euser/%41": "https://h/~user/A",
		"https://h/a%3Fb%23c%25d": "https://h/a%3Fb%23c%25d", "https://h/a;b=c,d!e": "https://h/a;b=c,d!e", "https://h/a%3bb%21": "https://h/a%3Bb%21", "https://h/%00": "https://h/%00",
		"http://a:80": "http://a", "http://a:443/": "http://a:443", "https://[2001:DB8::1]:443/a": "https://[2001:db8::1]/a", "https://a/b%20c": "https://a/b%20c", "https://a:8443": "https://a:8443",
	} {
		if got, err := GatewayURL(address); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %s", address, got, err, want)
		}
	}
	for _, address := range []string{"", "tools", "ftp://a/b", "https:///a"} {
		if got, err := GatewayURL(address); err == nil {
			t.Errorf("%s: %q", address, got)
		}
	}
}

// Gateways that the API has kept under an address in an older spelling are found again
// once a server of today has started.
func TestOldSpellingsAreMended(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		f.imageName = func(image string) (string, error) { name, _, _ := strings.Cut(image, "@"); return name, nil }
		var log strings.Builder
		f.log = slog.New(slog.NewTextHandler(&log, nil))
		image := func(name string) string { return strings.Replace(gatewayImage, "tools", name, 1) }
		kept := func(source, name, address string) {
			t.Helper()
			f.clock.move(time.Second)
			row := store.GatewayRow{Name: name, Source: source, Kind: store.GatewayByURL, Value: address, Image: image(name)}
			if _, err := f.store.Change(ctx, store.Actor{Name: "older"}, "", func(tx *store.Tx) error { _, err := tx.PutGateway(ctx, row); return err }); err != nil {
				t.Fatal(err)
			}
		}
		kept(sourceAPI, "alone", "https://alone:443/mcp")
		kept(sourceAPI, "older-plain", "https://plain/mcp")
		kept(sourceAPI, "newer", "https://plain:443/mcp/")
		kept(sourceAPI, "last", "https://PLAIN/mcp")
		kept(sourceAPI, "other", "https://other/mcp")
		kept(sourceAPI, "older", "https://third:443/mcp")
		kept(sourceAPI, "latest", "https://third./mcp")
		kept(sourceAPI, "of-both", "https://configured:443/mcp")
		kept(sourceConfiguration, "moves", "https://moved/mcp")
		kept(sourceAPI, "comes", "https://moved:443/mcp")
		kept(sourceAPI, "broken", "no address")
		seed := []GatewaySeed{
			{Name: "configured", PutGateway: client.PutGateway{URL: "https://configured/mcp", Image: image("configured")}},
			{Name: "moves", PutGateway: client.PutGateway{URL: "https://elsewhere/mcp", Image: image("moves")}},
		}
		if err := f.SeedGateways(ctx, seed); err != nil {
			t.Fatal(err)
		}
		have := map[string]string{}
		for _, r := range must[[]store.GatewayRow](t)(f.store.Gateways(ctx)) {
			have[r.Name] = r.Value
		}
		same(t, map[string]string{
			"alone": "https://alone/mcp", "last": "https://plain/mcp", "other": "https://other/mcp", "latest": "https://third/mcp",
			"configured": "https://configured/mcp", "moves": "https://elsewhere/mcp", "comes": "https://moved/mcp", "broken": "no address",
		}, have)
		same(t, []string{image("alone")}, must[[]string](t)(f.GatewayImages(ctx, "", "https://alone/mcp", nil)))
		for name, by := range map[string]string{"older-plain": "last", "newer": "last", "older": "latest", "of-both": "configured"} {
			if !strings.Contains(log.String(), "gateway="+name+" ") || !strings.Contains(log.String(), "kept="+by) {
				t.Errorf("%s went without a word of %s:\n%s", name, by, log.String())
			}
			if said := must[[]store.AuditEntry](t)(f.store.Audit(ctx, store.AuditFilter{Object: "gateway/" + name, Limit: 1})); said[0].Action != "gateway.delete" || said[0].Actor != "server" {
				t.Errorf("the audit log says of %s %+v", name, said)
			}
		}

		before := must[verdict.Active](t)(f.store.Active(ctx))
		if err := f.SeedGateways(ctx, seed); err != nil {
			t.Fatal(err)
		}
		same(t, before, must[verdict.Active](t)(f.store.Active(ctx))) // there is nothing left to mend
		// What the API tells in the spelling of today is refused as before.
		seed[0].URL = "https://other/mcp"
		if err := f.SeedGateways(ctx, seed); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), `by the gateway "other"`) {
			t.Errorf("what another tells: %v", err)
		}
	})
}
