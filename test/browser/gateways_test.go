package browser

import (
	"net/http"
	"strings"
	"testing"

	"github.com/signet-policy/signet/client"
)

// What stands behind a gateway is added, looked at, changed and forgotten; what it
// means is seen before it is saved.
func TestGatewaysTab(t *testing.T) {
	s := demo(t)
	pinned := func(name string) string {
		t.Helper()
		verdict, err := s.api.Verify(t.Context(), client.VerdictRequest{Image: s.image(name)})
		if err != nil {
			t.Fatal(err)
		}
		return verdict.Pinned
	}
	good, bad := pinned("keyless"), pinned("unsigned")
	p := s.visit()
	p.login(s.token)
	p.clicks("Gateways")
	p.sees("No image is known behind any gateway")
	p.clicks("Add the first gateway")
	p.types("#name", "Tools!")
	p.types("#value", "0f6c1d1e")
	p.types("#image", s.image("keyless")) // names no digest
	p.clicks("What would it mean?")
	p.sees("Tool calls would be let through.")
	p.sees("The tag stands for this now")
	p.sees(good)
	p.clicks("Add the gateway")
	p.sees("names no digest")
	p.sees("is not a name")
	p.types("#name", "tools")
	p.types("#image", bad)
	p.clicks("What would it mean?")
	p.sees("Tool calls would be refused.")
	p.types("#image", good)
	p.types("#note", "of team A")
	p.types("#why", "request 7")
	p.clicks("Add the gateway")
	p.sees("The gateway is saved.")
	p.sees("of team A")
	p.until(`document.querySelector("tbody .badge.good")?.innerText === "allow"`)
	p.presses(`tbody td[data-label="Last verdict"] a.nowrap`)
	p.sees("This image may run")

	// Another one that is told in the same way is refused; so is a change over a change.
	p.open("/gateways/new")
	p.types("#name", "again")
	p.types("#value", "0f6c1d1e")
	p.types("#image", good)
	p.clicks("Add the gateway")
	p.sees(`is told by the gateway "tools" already`)
	p.open("/gateways/tools/edit")
	now, err := s.api.Gateway(t.Context(), "tools")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.api.PutGateway(t.Context(), "tools", client.PutGateway{GatewayID: "0f6c1d1e", Image: good, Note: "meanwhile"}, &now.Version); err != nil {
		t.Fatal(err)
	}
	p.types("#note", "too late")
	p.clicks("Save")
	p.sees("It was changed since this page was opened")
	p.open("/gateways/tools/edit")
	p.changes("#told", "url")
	p.types("#value", "https://tools.example.com/mcp/")
	p.types("#image", bad)
	p.clicks("Save")
	p.sees("https://tools.example.com/mcp")
	p.until(`document.querySelector("tbody .badge.bad")?.innerText === "deny"`)
	p.sees("is not signed")
	p.presses(`td.actions a.danger`)
	p.sees("Its tool calls get what the configuration says")
	p.types("#why", "is gone")
	p.clicks("Forget tools")
	p.sees("What stands behind the gateway is forgotten.")
	p.open("/audit?object=gateway/tools")
	p.sees("is gone")
	if left, err := s.api.Gateways(t.Context(), 0, ""); err != nil || len(left.Items) != 0 {
		t.Errorf("%+v, %v", left, err)
	}
}

// A team sees its own: its signers before all others, its tokens, what runs in its
// images; and what it may not change it is not offered.
func TestTeam(t *testing.T) {
	s := demo(t)
	s.verify("keyless", "unsigned")
	ctx := t.Context()
	keyless, err := s.api.Verify(ctx, client.VerdictRequest{Image: s.image("keyless")})
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(keyless.Pinned, "@")
	for gateway, image := range map[string]string{"ours": keyless.Pinned, "theirs": "ghcr.io/other/tools@sha256:" + strings.Repeat("a", 64)} {
		if _, err := s.api.PutGateway(ctx, gateway, client.PutGateway{GatewayID: gateway, Image: image}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.api.CreateSigner(ctx, client.Signer{Name: "web-release", Type: "keyless", Issuer: "https://gitlab.com", Subject: "https://gitlab.com/web//.gitlab-ci.yml@refs/heads/main", Enabled: true, Owner: "web", Images: []string{name}}); err != nil {
		t.Fatal(err)
	}
	made, err := s.api.CreateToken(ctx, client.NewToken{Name: "web-admin", Role: "admin", Team: "web", Images: []string{name}})
	if err != nil {
		t.Fatal(err)
	}
	p := s.visit()
	p.login(made.Plain)
	p.open("/signers")
	p.sees("Those of team web.")
	p.sees("web-release")
	not := func(text string) {
		t.Helper()
		if p.text(`String(document.querySelector("main").innerText.includes("`+text+`"))`) != "false" {
			t.Errorf("%q is on the page", text)
		}
	}
	not("acme-release")
	p.clicks("Show those of all teams")
	p.sees("acme-release")
	if n := p.text(`String(document.querySelectorAll("td.actions a").length)`); n != "1" {
		t.Errorf("%s signers can be changed, want the team's one", n)
	}
	p.open("/results")
	p.sees("/demo/keyless")
	not("/demo/unsigned")
	p.open("/gateways")
	p.sees("ours")
	not("theirs")
	not("Add a gateway")
	not("Forget")
	p.open("/tokens")
	p.sees("web-admin")
	p.until(`document.querySelectorAll("tbody tr").length === 1`)
	p.open("/trust")
	p.sees("Ends next")
	not("Add a trust root")
	p.sees("Health")
	for _, path := range []string{"/gateways/theirs/edit", "/results/" + s.denied()} {
		if res, _ := s.get(path, "Authorization", "Bearer "+made.Plain); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}

// denied is the id of the newest deny.
func (s *server) denied() string {
	s.Helper()
	page, err := s.api.Verdicts(s.Context(), client.VerdictFilter{Decision: client.Deny, Limit: 1})
	if err != nil || len(page.Items) != 1 {
		s.Fatalf("%d verdicts, %v", len(page.Items), err)
	}
	return page.Items[0].ID
}
