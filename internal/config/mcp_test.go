package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPluginsServer(t *testing.T) {
	who := &Principal{Name: "mcp-gateway", Role: "verifier"}
	for name, tt := range map[string]struct {
		env  map[string]string
		want *Listener
		says string
	}{
		"none":     {nil, nil, ""},
		"http":     {map[string]string{"PLUGINS_TRANSPORT": "http"}, nil, ""},
		"a port":   {map[string]string{"PLUGINS_SERVER_PORT": "9000"}, &Listener{Address: "127.0.0.1:9000", Authentication: AuthNone}, ""},
		"IPv6":     {map[string]string{"PLUGINS_SERVER_HOST": "::1"}, &Listener{Address: "[::1]:8000", Authentication: AuthNone}, ""},
		"a socket": {map[string]string{"PLUGINS_SERVER_UDS": "/run/x.sock"}, &Listener{Address: "unix:/run/x.sock", Authentication: AuthSocket}, ""},
		"mTLS": {
			map[string]string{
				"PLUGINS_SERVER_HOST": "0.0.0.0", "PLUGINS_SERVER_SSL_ENABLED": "true", "PLUGINS_SERVER_SSL_CERTFILE": "c", "PLUGINS_SERVER_SSL_KEYFILE": "k",
				"PLUGINS_SERVER_SSL_CA_CERTS": "ca", "PLUGINS_SERVER_SSL_CERT_REQS": "2",
			},
			&Listener{Address: "0.0.0.0:8000", Authentication: AuthMTLS, TLS: TLS{CertFile: "c", KeyFile: "k", ClientCAFile: "ca"}}, "",
		},
		"TLS alone, here": {
			map[string]string{"PLUGINS_SERVER_SSL_ENABLED": "1", "PLUGINS_SERVER_SSL_CERTFILE": "c", "PLUGINS_SERVER_SSL_KEYFILE": "k"},
			&Listener{Address: "127.0.0.1:8000", Authentication: AuthNone, TLS: TLS{CertFile: "c", KeyFile: "k"}}, "",
		},
		"open to all":         {map[string]string{"PLUGINS_SERVER_HOST": "0.0.0.0"}, nil, "without TLS nothing says who asks"},
		"TLS alone":           {map[string]string{"PLUGINS_SERVER_HOST": "0.0.0.0", "PLUGINS_SERVER_SSL_ENABLED": "true", "PLUGINS_SERVER_SSL_CERTFILE": "c", "PLUGINS_SERVER_SSL_KEYFILE": "k"}, nil, "write 2"},
		"no certificate":      {map[string]string{"PLUGINS_SERVER_SSL_ENABLED": "true"}, nil, "needs PLUGINS_SERVER_SSL_CERTFILE"},
		"no authority":        {map[string]string{"PLUGINS_SERVER_SSL_ENABLED": "true", "PLUGINS_SERVER_SSL_CERTFILE": "c", "PLUGINS_SERVER_SSL_KEYFILE": "k", "PLUGINS_SERVER_SSL_CERT_REQS": "2"}, nil, "2 needs PLUGINS_SERVER_SSL_CA_CERTS"},
		"another requirement": {map[string]string{"PLUGINS_SERVER_SSL_ENABLED": "true", "PLUGINS_SERVER_SSL_CERTFILE": "c", "PLUGINS_SERVER_SSL_KEYFILE": "k", "PLUGINS_SERVER_SSL_CERT_REQS": "3"}, nil, `"3" is none of 0, 1, 2`},
		"no truth":            {map[string]string{"PLUGINS_SERVER_SSL_ENABLED": "maybe"}, nil, `"maybe" is neither true nor false`},
		"no port":             {map[string]string{"PLUGINS_SERVER_PORT": "70000"}, nil, "is not a port"},
		"no path":             {map[string]string{"PLUGINS_SERVER_UDS": "x.sock"}, nil, "is not an absolute path"},
		"stdio":               {map[string]string{"PLUGINS_TRANSPORT": "stdio"}, nil, "signet plugin --stdio"},
	} {
		t.Run(name, func(t *testing.T) {
			got, asked, err := PluginsServer(func(k string) string { return tt.env[k] })
			if tt.says != "" {
				if err == nil || asked || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%+v, %v, want %q", got, err, tt.says)
				}
				return
			}
			if err != nil || asked != (tt.want != nil) {
				t.Fatalf("asked %t, %v", asked, err)
			}
			if tt.want == nil {
				return
			}
			tt.want.Protocols, tt.want.Principal = []string{"mcp"}, who
			if diff := cmp.Diff(*tt.want, got); diff != "" {
				t.Errorf("listener (-want +got):\n%s", diff)
			}
			var p problems
			got.check(&p, "it")
			if len(p) > 0 {
				t.Errorf("it would be refused: %v", p)
			}
		})
	}
}
