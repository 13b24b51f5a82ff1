package browser

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/signet-policy/signet/client"
)

// axe finds what keeps people with a keyboard, a screen reader or weak eyes out
// (axe-core 4.14.1, MPL 2.0, as it is published).
//
//go:embed testdata/axe-4.14.1.min.js.gz
var axe []byte

func axeScript(t *testing.T) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(axe))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// furnish makes an installation in which something has happened.
func furnish(s *server) {
	s.Helper()
	ctx := s.Context()
	soon, later := time.Now().Add(9*24*time.Hour), time.Now().Add(200*24*time.Hour)
	for _, signer := range []client.Signer{
		{Name: "platform-team", Type: "keyless", Issuer: "https://gitlab.com", Subject: "https://gitlab.com/acme/platform//.gitlab-ci.yml@refs/heads/main", Enabled: true, Owner: "platform", ExpiresAt: &soon},
		{Name: "release-tags", Type: "keyless", Issuer: "https://token.actions.githubusercontent.com", SubjectRegex: `https://github\.com/acme/.*/\.github/workflows/release\.yml@refs/tags/v.*`, Enabled: true, Images: []string{"ghcr.io/acme/**"}, ExpiresAt: &later},
		{Name: "old-laptop", Type: "keyless", Issuer: "https://github.com/login/oauth", Subject: "jane@example.com", Note: "until the pipeline signs"},
	} {
		if _, err := s.api.CreateSigner(ctx, signer); err != nil {
			s.Fatal(err)
		}
	}
	s.verify("keyless", "key", "old-format", "attested", "multi-arch")
	s.enable("acme-release", false)
	s.verify("keyless", "unsigned", "copied")
	s.enable("acme-release", true)
	s.verify("keyless", "key", "attested", "unsigned")
	for _, token := range []client.NewToken{{Name: "gateway", Role: "verifier"}, {Name: "auditor", Role: "viewer", ExpiresIn: "30d"}, {Name: "web-team", Role: "admin", Team: "web", Images: []string{"ghcr.io/acme/web/**"}}} {
		if _, err := s.api.CreateToken(ctx, token); err != nil {
			s.Fatal(err)
		}
	}
	for name, of := range map[string]struct{ sample, told, note string }{"tools": {"keyless", "0f6c1d1e9f0b4c0e8b0f2a3c4d5e6f70", "of team A"}, "legacy": {"unsigned", "9a1b77c05d2e4f3a8c6b1d0e2f4a5b6c", "is being moved"}} {
		verdict, err := s.api.Verify(ctx, client.VerdictRequest{Image: s.image(of.sample)})
		if err != nil {
			s.Fatal(err)
		}
		if _, err := s.api.PutGateway(ctx, name, client.PutGateway{GatewayID: of.told, Image: verdict.Pinned, Note: of.note}, nil); err != nil {
			s.Fatal(err)
		}
	}
	policy, err := s.api.Policy(ctx, "default")
	if err != nil {
		s.Fatal(err)
	}
	if _, err := s.api.PutPolicy(ctx, "default", "", []byte(policy.SigningPolicy), &policy.Version); err != nil {
		s.Fatal(err)
	}
	if policy, err = s.api.Policy(ctx, "default"); err != nil {
		s.Fatal(err)
	}
	if _, err := s.api.AddException(ctx, "default", client.NewException{
		Images: []string{"ghcr.io/acme/legacy"}, Codes: []string{"unsigned"}, Reason: "its pipeline is being moved", Owner: "platform", ExpiresAt: soon,
	}, policy.Version); err != nil {
		s.Fatal(err)
	}
}

// enable makes a signer count, or no more.
func (s *server) enable(name string, on bool) {
	s.Helper()
	found, err := s.api.Signers(s.Context(), client.SignerFilter{Query: name})
	if err != nil || len(found.Items) != 1 {
		s.Fatalf("%d signers, %v", len(found.Items), err)
	}
	if _, err := s.api.UpdateSigner(s.Context(), found.Items[0].ID, found.Items[0].Version, map[string]any{"enabled": on}); err != nil {
		s.Fatal(err)
	}
}

// tabs are all that the bar has, and what is to be on each.
var tabs = []struct{ name, has string }{
	{"signers", "acme-release"}, {"verify", "Why was an image refused?"}, {"results", "Decisions of the last 30 days"}, {"policy", "its pipeline is being moved"},
	{"gateways", "of team A"}, {"trust", "Health"}, {"tokens", "auditor"}, {"audit", "Check the chain"},
}

// more are pages behind the tabs that are looked at too.
var more = []struct{ name, path, has string }{
	{"signer-new", "/signers/new", "As it would be"},
	{"policy-edit", "/policy/default/edit", "Save, and put in force"},
	{"token-new", "/tokens/new", "Make the token"},
	{"gateway-new", "/gateways/new", "Add the gateway"},
	{"gateway-remove", "/gateways/tools/remove", "Forget tools"},
	{"policy-remove", "/policy/default/remove", "Remove default?"},
	{"exception-remove", "/policy/default/exceptions/remove?place=1", "its pipeline is being moved"},
	{"root-new", "/trust/new", "Trust this root"},
}

// TestScreenshots looks at every page in both themes and on a telephone: nothing is
// cut off, axe-core finds nothing serious, and the pictures of the documentation are
// made where SIGNET_SCREENSHOTS says.
func TestScreenshots(t *testing.T) {
	s := demo(t)
	furnish(s)
	denied, err := s.api.Verdicts(t.Context(), client.VerdictFilter{Decision: client.Deny, Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	last := len(denied.Items) - 1 // by a stranger
	signers, err := s.api.Signers(t.Context(), client.SignerFilter{Query: "acme-release"})
	if err != nil {
		t.Fatal(err)
	}
	script := axeScript(t)
	type shot struct{ name, path, has string }
	shots := []shot{{"login", "/login", "API token"}}
	for _, tab := range tabs {
		shots = append(shots, shot{tab.name, "/" + tab.name, tab.has})
	}
	for _, m := range more {
		shots = append(shots, shot{m.name, m.path, m.has})
	}
	shots = append(shots, shot{"verdict", "/results/" + denied.Items[0].ID, "This image may not run"}, shot{"verdict-2", "/results/" + denied.Items[last].ID, "This image may not run"},
		shot{"signer", "/signers/" + signers.Items[0].ID, "What relies on it"}, shot{"signer-compromise", "/signers/" + signers.Items[0].ID + "/compromise", "Last good moment"}, shot{"signer-disable", "/signers/" + signers.Items[0].ID + "/change?action=disable", "would now be denied"},
		shot{"history", "/policy/default/history", "Compare"}, shot{"policy-one", "/policy/default", "Where it comes from"})
	documented := map[string]bool{}
	for _, tab := range tabs {
		documented[tab.name] = true
	}
	p := s.visit()
	p.login(s.token)
	for _, theme := range []string{"light", "dark"} {
		p.do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}))
		for _, shot := range shots {
			p.open(shot.path)
			p.sees(shot.has)
			if theme == "light" && shot.name == "verify" {
				p.types("#image", s.image("unsigned"))
				p.clicks("Verify")
				p.sees("This image may not run")
			}
			p.accessible(script, shot.name+" ("+theme+")")
			p.keep(shot.name+"-"+theme, documented[shot.name])
		}
	}
	p.do(emulation.SetDeviceMetricsOverride(360, 740, 1, true))
	for _, shot := range shots {
		p.open(shot.path)
		p.sees(shot.has)
		var wide []string
		p.do(chromedp.Evaluate(`document.documentElement.scrollWidth > 360 ? [...document.querySelectorAll(".signet *")].filter((e) => e.getBoundingClientRect().right > 361 && !e.closest(".wrap, pre, .tabs, .hidden-text, svg, table, .skip")).map((e) => e.tagName + "." + e.className).slice(0, 5) : []`, &wide))
		if len(wide) > 0 {
			t.Errorf("%s is wider than 360 px: %s", shot.name, wide)
		}
		p.keep(shot.name+"-narrow", false)
	}
}

// accessible fails for what axe-core calls serious or critical.
func (p *person) accessible(script, where string) {
	p.Helper()
	// What comes and goes is there, or is not.
	p.until(idle + ` && [...document.querySelectorAll(".busy")].every((e) => ["0", "1"].includes(getComputedStyle(e).opacity))`)
	var found string
	p.do(chromedp.Evaluate(script+";true", nil), chromedp.Evaluate(`axe.run(document, {resultTypes: ["violations"]}).then((r) => JSON.stringify(r.violations.filter((v) => v.impact === "serious" || v.impact === "critical").map((v) => ({id: v.id, help: v.help, nodes: v.nodes.map((n) => n.html + " — " + n.failureSummary).slice(0, 3)}))))`, &found, func(e *runtime.EvaluateParams) *runtime.EvaluateParams { return e.WithAwaitPromise(true) }))
	var list []struct {
		ID, Help string
		Nodes    []string
	}
	if err := json.Unmarshal([]byte(found), &list); err != nil {
		p.Fatal(err)
	}
	for _, v := range list {
		p.Errorf("%s: %s: %s\n  %s", where, v.ID, v.Help, strings.Join(v.Nodes, "\n  "))
	}
}

// keep writes a picture of the whole page: the documentation's into the folder that
// SIGNET_SCREENSHOTS names, others into SIGNET_SCREENSHOTS_MORE.
func (p *person) keep(name string, documented bool) {
	p.Helper()
	dir := os.Getenv("SIGNET_SCREENSHOTS_MORE")
	if documented && os.Getenv("SIGNET_SCREENSHOTS") != "" {
		dir = os.Getenv("SIGNET_SCREENSHOTS")
	}
	if dir == "" {
		return
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join("..", "..", dir)
	}
	var picture []byte
	p.do(chromedp.ActionFunc(func(ctx context.Context) error {
		_, _, _, _, _, size, err := page.GetLayoutMetrics().Do(ctx)
		if err != nil {
			return err
		}
		picture, err = page.CaptureScreenshot().WithCaptureBeyondViewport(true).WithClip(&page.Viewport{Width: size.Width, Height: min(size.Height, 1500), Scale: 1}).Do(ctx)
		return err
	}))
	small, err := fewer(picture)
	if err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), small, 0o644); err != nil {
		p.Fatal(err)
	}
}

// fewer encodes a picture with the 256 colours that it has the most of: a page has
// few, and a third of the bytes is enough for it.
func fewer(picture []byte) ([]byte, error) {
	full, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return nil, err
	}
	b := full.Bounds()
	count := map[color.RGBA]int{}
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(full.At(x, y)).(color.RGBA) } //nolint:forcetypeassert // what the model makes
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	most := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int { return count[b] - count[a] })
	var palette color.Palette
	for _, c := range most[:min(len(most), 216)] {
		palette = append(palette, c)
	}
	for len(palette) < min(len(most), 256) { // what is rare and unlike all of them
		var odd color.RGBA
		far := -1
		for _, c := range most[len(palette):] {
			if d := distance(c, palette[palette.Index(c)].(color.RGBA)); d > far { //nolint:forcetypeassert // all of them are
				odd, far = c, d
			}
		}
		palette = append(palette, odd)
	}
	index := map[color.RGBA]uint8{}
	for c := range count {
		index[c] = uint8(palette.Index(c))
	}
	out := image.NewPaletted(b, palette)
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			out.SetColorIndex(x, y, index[at(x, y)])
		}
	}
	var small bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, out)
	return small.Bytes(), err
}

func distance(a, b color.RGBA) int {
	square := func(x, y uint8) int { return (int(x) - int(y)) * (int(x) - int(y)) }
	return square(a.R, b.R) + square(a.G, b.G) + square(a.B, b.B)
}
