package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPage(t *testing.T) {
	const good = "page:\n  oidc:\n    issuer: https://login.example.com\n    client_id: signet\n    redirect_url: https://signet.example.com/admin/security/signing/login/oidc/callback\n    roles: [{group: a, role: admin}]\n  gateway: {url: https://gateway.example.com, role: viewer}\n"
	for _, tt := range []struct{ name, old, instead, want string }{
		{"good", "", "", ""},
		{"an issuer in clear text", "https://login", "http://login", "page.oidc.issuer"},
		{"an issuer on this machine", "https://login.example.com", "http://127.0.0.1:5556", ""},
		{"the redirect elsewhere", "/login/oidc/callback", "/callback", "page.oidc.redirect_url"},
		{"no client", "    client_id: signet\n", "", "page.oidc.client_id"},
		{"nobody could log in", "    roles: [{group: a, role: admin}]\n", "", "page.oidc.roles"},
		{"a role that is none", "role: admin", "role: root", "page.oidc.roles[0].role"},
		{"a group without a name", "group: a", "group: ''", "page.oidc.roles[0].group"},
		{"a team without images", "role: admin", "role: admin, team: web", "page.oidc.roles[0].images"},
		{"a gateway in clear text", "https://gateway", "http://gateway", "page.gateway.url"},
		{"a gateway's role that is none", "role: viewer", "role: all", "page.gateway.role"},
		{"a field that is none", "client_id:", "client:", "client"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "signet.yaml")
			if err := os.WriteFile(path, []byte("data_dir: /var/lib/signet\n"+strings.Replace(good, tt.old, tt.instead, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Load(path, "", func(string) string { return "" })
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v, want something of %s", err, tt.want)
			}
		})
	}
}
