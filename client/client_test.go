package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/signet-policy/signet/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "sgn_01JZ_verysecret"

// start makes a client of a server that answers as handler does. Waits are noted
// and not waited.
func start(t *testing.T, handler http.HandlerFunc) (*client.Client, *[]time.Duration) {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	waits := &[]time.Duration{}
	c, err := client.New(client.Config{
		BaseURL: srv.URL, Token: secret, HTTPClient: srv.Client(), Now: func() time.Time { return now },
		Sleep: func(ctx context.Context, d time.Duration) error {
			*waits = append(*waits, d)
			return ctx.Err()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, waits
}

var now = time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC)

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  client.Config
		want string
	}{
		{"nothing", client.Config{}, "BaseURL: is not an http or https URL"},
		{"no scheme", client.Config{BaseURL: "signet.example.com:8090"}, "BaseURL: is not"},
		{"another scheme", client.Config{BaseURL: "ftp://signet.example.com"}, "BaseURL: is not an http or https URL"},
		{"control characters", client.Config{BaseURL: "https://a\x7f:pa55@b"}, "BaseURL: is not a URL"},
		{"clear text", client.Config{BaseURL: "http://signet.example.com"}, "not a loopback host"},
		{"clear text to a private address", client.Config{BaseURL: "http://10.0.0.1"}, "not a loopback host"},
		{"password", client.Config{BaseURL: "https://me:pa55@signet.example.com"}, "holds a user name"},
		{"query", client.Config{BaseURL: "https://signet.example.com?x=1"}, "query"},
		{"two tokens", client.Config{BaseURL: "https://a", Token: secret, TokenSource: func() (string, error) { return "", nil }}, "not both"},
		{"retries", client.Config{BaseURL: "https://a", MaxRetries: -2}, "MaxRetries: -2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := client.New(tt.cfg)
			if !errors.Is(err, client.ErrConfig) || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "pa55") || strings.Contains(err.Error(), secret)) {
				t.Errorf("a secret is in the error: %v", err)
			}
		})
	}
	for _, good := range []string{"https://signet.example.com/team/", "http://127.0.0.1:8090", "http://[::1]", "http://localhost:1"} {
		if _, err := client.New(client.Config{BaseURL: good}); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	if _, err := client.New(client.Config{BaseURL: "http://signet.svc", AllowHTTP: true}); err != nil {
		t.Error(err)
	}
}

// The token is in no form in which a client, its configuration or a new token is printed.
func TestSecretsAreNotPrinted(t *testing.T) {
	cfg := client.Config{BaseURL: "https://signet.example.com", Token: secret}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	made := client.Token{ID: "01JZ", Name: "ci", Role: "verifier", Plain: secret}
	for _, v := range []any{cfg, c, made} {
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		for _, text := range []string{fmt.Sprintf("%v", v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), fmt.Sprintf("%s", v), log.String()} {
			if strings.Contains(text, "verysecret") {
				t.Errorf("%T: %s", v, text)
			}
			if text == "" {
				t.Errorf("%T prints nothing", v)
			}
		}
	}
}

// sent is a request as a server sees it.
type sent struct {
	Method, Path, Query, IfMatch, IfNoneMatch, ContentType, Why, Token, Body string
}

func note(r *http.Request) sent {
	body, _ := io.ReadAll(r.Body)
	return sent{
		r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("If-Match"), r.Header.Get("If-None-Match"),
		r.Header.Get("Content-Type"), r.Header.Get("Signet-Why"), strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), string(body),
	}
}

// Every method is one request; what it sends is the contract with the server.
func TestRequests(t *testing.T) {
	yes, three := true, int64(3)
	at := time.Date(2027, 1, 31, 0, 0, 0, 5e8, time.UTC)
	only := func(_ any, err error) error { return err }
	const merge = "application/merge-patch+json"
	for _, tt := range []struct {
		name   string
		answer string
		do     func(ctx context.Context, c *client.Client) error
		want   sent
	}{
		{"signers", `{"items":[]}`, func(ctx context.Context, c *client.Client) error {
			return only(c.Signers(ctx, client.SignerFilter{Query: "a b", Type: "kms", State: "in_force", Owner: "red", Enabled: &yes, Limit: 5, Cursor: "x"}))
		}, sent{Method: "GET", Path: "/api/v1/signers", Query: "cursor=x&enabled=true&limit=5&owner=red&query=a+b&state=in_force&type=kms"}},
		{"signer", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.Signer(ctx, "a/b")) },
			sent{Method: "GET", Path: "/api/v1/signers/a%2Fb"}},
		{"create signer", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.WithWhy("new team").CreateSigner(ctx, client.Signer{Name: "n", Type: "kms", KMSKeyRef: "k"}))
		}, sent{Method: "POST", Path: "/api/v1/signers", ContentType: "application/json", Why: "new team", Body: `{"name":"n","type":"kms","claims":{},"trust_roots":[],"kms_key_ref":"k","images":[],"enabled":false}`}},
		{"update signer", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.UpdateSigner(ctx, "1", 3, map[string]any{"note": nil}))
		}, sent{Method: "PATCH", Path: "/api/v1/signers/1", IfMatch: `"3"`, ContentType: merge, Body: `{"note":null}`}},
		{"delete signer", ``, func(ctx context.Context, c *client.Client) error { return c.DeleteSigner(ctx, "1", 3) },
			sent{Method: "DELETE", Path: "/api/v1/signers/1", IfMatch: `"3"`}},
		{"compromise", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.CompromiseSigner(ctx, "1", client.Compromise{Since: at, Why: "lost"}))
		}, sent{Method: "POST", Path: "/api/v1/signers/1/compromise", ContentType: "application/json", Body: `{"since":"2027-01-31T00:00:00.5Z","why":"lost"}`}},
		{"accept key", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.AcceptKey(ctx, "1", client.AcceptKey{Fingerprint: "ff"}))
		}, sent{Method: "POST", Path: "/api/v1/signers/1/accept-key", ContentType: "application/json", Body: `{"fingerprint":"ff"}`}},
		{"read key", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.ReadKey(ctx, client.ReadKey{KMSKeyRef: "hashivault://release"}))
		}, sent{Method: "POST", Path: "/api/v1/signers/read-key", ContentType: "application/json", Body: `{"kms_key_ref":"hashivault://release"}`}},
		{"refresh key", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.RefreshKey(ctx, "1")) },
			sent{Method: "POST", Path: "/api/v1/signers/1/refresh-key"}},
		{"signer verdicts", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.SignerVerdicts(ctx, "1", 2, "")) },
			sent{Method: "GET", Path: "/api/v1/signers/1/verdicts", Query: "limit=2"}},
		{"import signers, YAML", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.ImportSigners(ctx, []byte("trusted_signers: []\n"), client.ImportOptions{DryRun: true, Replace: true}))
		}, sent{Method: "POST", Path: "/api/v1/signers/import", Query: "dry_run=true&replace=true", ContentType: "application/yaml", Body: "trusted_signers: []\n"}},
		{"import signers, JSON", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.ImportSigners(ctx, []byte("\n {}"), client.ImportOptions{}))
		}, sent{Method: "POST", Path: "/api/v1/signers/import", ContentType: "application/json", Body: "\n {}"}},
		{"export signers", `a: b`, func(ctx context.Context, c *client.Client) error {
			b, err := c.ExportSigners(ctx)
			return expect("a: b", string(b), err)
		}, sent{Method: "GET", Path: "/api/v1/signers/export"}},
		{"tokens in a state", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.TokensIn(ctx, "valid", 2, "x")) },
			sent{Method: "GET", Path: "/api/v1/tokens", Query: "cursor=x&limit=2&state=valid"}},
		{"gateways that are looked for", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.FindGateways(ctx, "tools", 2, "x")) },
			sent{Method: "GET", Path: "/api/v1/gateways", Query: "cursor=x&limit=2&query=tools"}},
		{"tokens", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.Tokens(ctx, 0, "")) },
			sent{Method: "GET", Path: "/api/v1/tokens"}},
		{"token", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.Token(ctx, "1")) },
			sent{Method: "GET", Path: "/api/v1/tokens/1"}},
		{"create token", `{"token":"sgn_x"}`, func(ctx context.Context, c *client.Client) error {
			made, err := c.CreateToken(ctx, client.NewToken{Name: "ci", Role: "verifier", ExpiresIn: "30d"})
			return expect("sgn_x", made.Plain, err)
		}, sent{Method: "POST", Path: "/api/v1/tokens", ContentType: "application/json", Body: `{"name":"ci","role":"verifier","expires_in":"30d"}`}},
		{"revoke token", ``, func(ctx context.Context, c *client.Client) error { return c.RevokeToken(ctx, "1") },
			sent{Method: "DELETE", Path: "/api/v1/tokens/1"}},
		{"setup", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.Setup(ctx, "sgn_setup", "first")) },
			sent{Method: "POST", Path: "/api/v1/setup", ContentType: "application/json", Token: "sgn_setup", Body: `{"name":"first"}`}},
		{"whoami", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.Whoami(ctx)) },
			sent{Method: "GET", Path: "/api/v1/whoami"}},
		{"rotate secret", ``, func(ctx context.Context, c *client.Client) error { return c.RotateSecret(ctx) },
			sent{Method: "POST", Path: "/api/v1/secret/rotate"}},
		{"policies", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.Policies(ctx, 0, "x")) },
			sent{Method: "GET", Path: "/api/v1/policies", Query: "cursor=x"}},
		{"policy", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.Policy(ctx, "p")) },
			sent{Method: "GET", Path: "/api/v1/policies/p"}},
		{"put policy, new", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.PutPolicy(ctx, "p", "red", []byte("mode: audit"), nil))
		}, sent{Method: "PUT", Path: "/api/v1/policies/p", Query: "owner=red", IfNoneMatch: "*", ContentType: "application/yaml", Body: "mode: audit"}},
		{"put policy, over one", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.PutPolicy(ctx, "p", "", []byte(""), &three))
		}, sent{Method: "PUT", Path: "/api/v1/policies/p", IfMatch: `"3"`, ContentType: "application/yaml"}},
		{"delete policy", ``, func(ctx context.Context, c *client.Client) error { return c.DeletePolicy(ctx, "p", 3) },
			sent{Method: "DELETE", Path: "/api/v1/policies/p", IfMatch: `"3"`}},
		{"add exception", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.AddException(ctx, "p", client.NewException{Images: []string{"**"}, Codes: []string{"unsigned"}, Reason: "r", Owner: "o"}, 3))
		}, sent{Method: "POST", Path: "/api/v1/policies/p/exceptions", IfMatch: `"3"`, ContentType: "application/json", Body: `{"images":["**"],"codes":["unsigned"],"reason":"r","owner":"o","expires_at":"0001-01-01T00:00:00Z"}`}},
		{"remove exception", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.RemoveException(ctx, "p", 2, 3)) },
			sent{Method: "DELETE", Path: "/api/v1/policies/p/exceptions/2", IfMatch: `"3"`}},
		{"shadow", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.Shadow(ctx, "p", 0, "x")) },
			sent{Method: "GET", Path: "/api/v1/policies/p/shadow", Query: "cursor=x"}},
		{"put policy with its bundle", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.PutPolicyWith(ctx, "p", "red", []byte("mode: audit"), []byte("tar"), &three))
		}, sent{Method: "PUT", Path: "/api/v1/policies/p", Query: "owner=red", IfMatch: `"3"`, ContentType: "application/vnd.signet.policy+json", Body: `{"signing_policy":"mode: audit","archive":"dGFy"}`}},
		{"publish policy", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.PublishPolicy(ctx, "p", []byte("tar"), 3))
		}, sent{Method: "PUT", Path: "/api/v1/policies/p", IfMatch: `"3"`, ContentType: "application/gzip", Body: "tar"}},
		{"policy history", `{"items":[]}`, func(ctx context.Context, c *client.Client) error {
			for _, err := range c.AllPolicyHistory(ctx, "p") {
				return err
			}
			return nil
		}, sent{Method: "GET", Path: "/api/v1/policies/p/history", Query: "limit=500"}},
		{"policy diff", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.DiffPolicy(ctx, "p", 3, 0)) },
			sent{Method: "GET", Path: "/api/v1/policies/p/diff", Query: "from=3"}},
		{"policy rollback", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.RollbackPolicy(ctx, "p", &three, nil))
		},
			sent{Method: "POST", Path: "/api/v1/policies/p/rollback", ContentType: "application/json", Body: `{"to":3}`}},
		{"policy rollback of a version", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.RollbackPolicy(ctx, "p", &three, &three))
		},
			sent{Method: "POST", Path: "/api/v1/policies/p/rollback", ContentType: "application/json", IfMatch: `"3"`, Body: `{"to":3}`}},
		{"policy rollback of a removed one", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.RollbackPolicy(ctx, "p", nil, new(int64)))
		},
			sent{Method: "POST", Path: "/api/v1/policies/p/rollback", ContentType: "application/json", IfNoneMatch: "*", Body: `{}`}},
		{"bundles", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.Bundles(ctx, 0, "x")) },
			sent{Method: "GET", Path: "/api/v1/bundles", Query: "cursor=x"}},
		{"bundle", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.Bundle(ctx, "b")) },
			sent{Method: "GET", Path: "/api/v1/bundles/b"}},
		{"bundle archive", `tar`, func(ctx context.Context, c *client.Client) error {
			b, err := c.BundleArchive(ctx, "b")
			return expect("tar", string(b), err)
		}, sent{Method: "GET", Path: "/api/v1/bundles/b/archive"}},
		{"put bundle, new", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.PutBundle(ctx, "b", "red", []byte("tar"), nil))
		}, sent{Method: "PUT", Path: "/api/v1/bundles/b", Query: "owner=red", IfNoneMatch: "*", ContentType: "application/gzip", Body: "tar"}},
		{"patch bundle", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.PatchBundle(ctx, "b", 3, json.RawMessage(`{"scope":"x"}`)))
		}, sent{Method: "PATCH", Path: "/api/v1/bundles/b", IfMatch: `"3"`, ContentType: merge, Body: `{"scope":"x"}`}},
		{"delete bundle", ``, func(ctx context.Context, c *client.Client) error { return c.DeleteBundle(ctx, "b", 3) },
			sent{Method: "DELETE", Path: "/api/v1/bundles/b", IfMatch: `"3"`}},
		{"bundle history", `{"items":[]}`, func(ctx context.Context, c *client.Client) error {
			for _, err := range c.AllBundleHistory(ctx, "b") {
				return err
			}
			return nil
		}, sent{Method: "GET", Path: "/api/v1/bundles/b/history", Query: "limit=500"}},
		{"bundle rollback", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.RollbackBundle(ctx, "b", nil)) },
			sent{Method: "POST", Path: "/api/v1/bundles/b/rollback", ContentType: "application/json", Body: `{}`}},
		{"fetch bundle", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.FetchBundle(ctx, "b")) },
			sent{Method: "POST", Path: "/api/v1/bundles/b/fetch"}},
		{"gateways", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.Gateways(ctx, 0, "")) },
			sent{Method: "GET", Path: "/api/v1/gateways"}},
		{"all gateways", `{"items":[]}`, func(ctx context.Context, c *client.Client) error {
			for _, err := range c.AllGateways(ctx) {
				return err
			}
			return nil
		}, sent{Method: "GET", Path: "/api/v1/gateways", Query: "limit=500"}},
		{"gateway", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.Gateway(ctx, "g")) },
			sent{Method: "GET", Path: "/api/v1/gateways/g"}},
		{"put gateway", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.PutGateway(ctx, "g", client.PutGateway{GatewayID: "1", Image: "a"}, nil))
		}, sent{Method: "PUT", Path: "/api/v1/gateways/g", IfNoneMatch: "*", ContentType: "application/json", Body: `{"gateway_id":"1","image":"a"}`}},
		{"delete gateway", ``, func(ctx context.Context, c *client.Client) error { return c.DeleteGateway(ctx, "g", 3) },
			sent{Method: "DELETE", Path: "/api/v1/gateways/g", IfMatch: `"3"`}},
		{"mcp", `{"x":1}`, func(ctx context.Context, c *client.Client) error {
			b, err := c.MCP(ctx, []byte(`{"jsonrpc":"2.0"}`))
			return expect(`{"x":1}`, string(b), err)
		}, sent{Method: "POST", Path: "/mcp", ContentType: "application/json", Body: `{"jsonrpc":"2.0"}`}},
		{"trust roots", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.TrustRoots(ctx, 0, "")) },
			sent{Method: "GET", Path: "/api/v1/trust-roots"}},
		{"trust root", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.TrustRoot(ctx, "r")) },
			sent{Method: "GET", Path: "/api/v1/trust-roots/r"}},
		{"put trust root", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.PutTrustRoot(ctx, "r", client.PutTrustRoot{TUFURL: "https://tuf"}, nil))
		}, sent{Method: "PUT", Path: "/api/v1/trust-roots/r", IfNoneMatch: "*", ContentType: "application/json", Body: `{"tuf_url":"https://tuf"}`}},
		{"patch trust root", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.PatchTrustRoot(ctx, "r", 3, json.RawMessage(`{"position":1}`)))
		}, sent{Method: "PATCH", Path: "/api/v1/trust-roots/r", IfMatch: `"3"`, ContentType: merge, Body: `{"position":1}`}},
		{"delete trust root", ``, func(ctx context.Context, c *client.Client) error { return c.DeleteTrustRoot(ctx, "r", 3) },
			sent{Method: "DELETE", Path: "/api/v1/trust-roots/r", IfMatch: `"3"`}},
		{"refresh trust root", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.RefreshTrustRoot(ctx, "r")) },
			sent{Method: "POST", Path: "/api/v1/trust-roots/r/refresh"}},
		{"export trust", `{"payload":""}`, func(ctx context.Context, c *client.Client) error {
			b, err := c.ExportTrust(ctx)
			return expect(`{"payload":""}`, string(b), err)
		}, sent{Method: "GET", Path: "/api/v1/trust/export"}},
		{"export key", `PEM`, func(ctx context.Context, c *client.Client) error {
			pem, err := c.ExportKey(ctx)
			return expect("PEM", pem, err)
		}, sent{Method: "GET", Path: "/api/v1/trust/export-key"}},
		{"import trust", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.ImportTrust(ctx, []byte(`{"payload":""}`), "PEM", true))
		}, sent{Method: "POST", Path: "/api/v1/trust/import", Query: "dry_run=true", ContentType: "application/json", Body: `{"archive":{"payload":""},"public_key":"PEM"}`}},
		{"audit", `{"items":[]}`, func(ctx context.Context, c *client.Client) error {
			return only(c.Audit(ctx, client.AuditFilter{Object: "signer/1", Name: "n", Actor: "jane", Action: "signer.", Since: at, Until: at, Before: 9, Limit: 2}))
		}, sent{Method: "GET", Path: "/api/v1/audit", Query: "action=signer.&actor=jane&before=9&limit=2&name=n&object=signer%2F1&since=2027-01-31T00%3A00%3A00.5Z&until=2027-01-31T00%3A00%3A00.5Z"}},
		{"audit head", `{}`, func(ctx context.Context, c *client.Client) error { return only(c.AuditHead(ctx)) },
			sent{Method: "GET", Path: "/api/v1/audit/head"}},
		{"verify audit", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.VerifyAudit(ctx, client.AuditHead{Seq: 2, Hash: "ab"}))
		}, sent{Method: "POST", Path: "/api/v1/audit/verify", ContentType: "application/json", Body: `{"known":{"seq":2,"hash":"ab"}}`}},
		{"verdicts", `{}`, func(ctx context.Context, c *client.Client) error {
			return only(c.Verdicts(ctx, client.VerdictFilter{
				Image: "i", Name: "n", Digest: "d", Decision: client.Deny, Signer: "s", Identity: "who", AssessmentID: "a", ReasonCode: "r", Since: at, Until: at, Limit: 1,
			}))
		}, sent{Method: "GET", Path: "/api/v1/verdicts", Query: "assessment_id=a&decision=deny&digest=d&identity=who&image=i&limit=1&name=n&reason_code=r&signer=s&since=2027-01-31T00%3A00%3A00.5Z&until=2027-01-31T00%3A00%3A00.5Z"}},
		{"verdict", `{"decision":"deny","allowed":false}`, func(ctx context.Context, c *client.Client) error { return only(c.Verdict(ctx, "1")) },
			sent{Method: "GET", Path: "/api/v1/verdicts/1"}},
		{"verdict's input", `{"schema":"x"}`, func(ctx context.Context, c *client.Client) error {
			in, err := c.VerdictInput(ctx, "1", "p")
			return expect(`{"schema":"x"}`, string(in), err)
		}, sent{Method: "GET", Path: "/api/v1/verdicts/1/input", Query: "policy=p"}},
		{"verdict's uses", `{"items":[{"principal":"ci","count":2}]}`, func(ctx context.Context, c *client.Client) error {
			uses, err := c.VerdictUses(ctx, "1")
			return expect("[{ci 0001-01-01 00:00:00 +0000 UTC 2}]", fmt.Sprint(uses), err)
		}, sent{Method: "GET", Path: "/api/v1/verdicts/1/uses"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []sent
			c, _ := start(t, func(w http.ResponseWriter, r *http.Request) {
				got = append(got, note(r))
				fmt.Fprint(w, tt.answer)
			})
			if err := tt.do(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if tt.want.Token == "" {
				tt.want.Token = secret
			}
			if diff := cmp.Diff([]sent{tt.want}, got); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
		if tt.answer == "" {
			continue
		}
		t.Run(tt.name+", refused", func(t *testing.T) {
			c, waits := start(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(http.StatusForbidden)
				fmt.Fprint(w, `{"status":200,"code":"not_yours","title":"This belongs to others","detail":"Ask the team red.","request_id":"r1"}`)
			})
			err := tt.do(t.Context(), c)
			var p *client.Problem
			if !errors.As(err, &p) || p.Code != "not_yours" || p.Status != 403 || !client.IsForbidden(err) || p.Error() != "Ask the team red." {
				t.Errorf("%#v", err)
			}
			if len(*waits) != 0 {
				t.Errorf("a refusal was asked again")
			}
		})
	}
}

func expect(want, got string, err error) error {
	if err == nil && got != want {
		err = fmt.Errorf("got %q, want %q", got, want)
	}
	return err
}

// What makes no request is not sent.
func TestNotSent(t *testing.T) {
	c, _ := start(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") })
	ctx := t.Context()
	for name, do := range map[string]func() error{
		"no id":               func() error { _, err := c.Signer(ctx, ""); return err },
		"a way up":            func() error { _, err := c.Policy(ctx, ".."); return err },
		"no JSON":             func() error { _, err := c.UpdateSigner(ctx, "1", 1, json.RawMessage(`{`)); return err },
		"an archive of noise": func() error { _, err := c.ImportTrust(ctx, []byte("noise"), "PEM", false); return err },
		"two lines why":       func() error { return c.WithWhy("a\nb").RotateSecret(ctx) },
		"a long why":          func() error { return c.WithWhy(strings.Repeat("a", 501)).RotateSecret(ctx) },
		"a token of two lines": func() error {
			_, err := c.Setup(ctx, "sgn_verysecret\nx", "first")
			return err
		},
	} {
		if err := do(); !errors.Is(err, client.ErrRequest) || strings.Contains(err.Error(), "verysecret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTokenSource(t *testing.T) {
	var got []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
		fmt.Fprint(w, `{}`)
	}))
	defer srv.Close()
	tokens := []string{"sgn_a", "sgn_b", ""}
	c, err := client.New(client.Config{BaseURL: srv.URL, TokenSource: func() (string, error) {
		if len(tokens) == 0 {
			return "", errors.New("the vault is closed")
		}
		next := tokens[0]
		tokens = tokens[1:]
		return next, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := c.Whoami(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"Bearer sgn_a", "Bearer sgn_b", ""}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := c.Whoami(t.Context()); !strings.Contains(fmt.Sprint(err), "the vault is closed") {
		t.Errorf("%v", err)
	}
}

// No redirect is followed, so that the token goes to no other host.
func TestRedirects(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the other host was asked") }))
	defer other.Close()
	for _, to := range []string{other.URL + "/api/v1/whoami", "/elsewhere", ""} {
		c, waits := start(t, func(w http.ResponseWriter, _ *http.Request) {
			if to != "" {
				w.Header().Set("Location", to)
			}
			w.WriteHeader(http.StatusTemporaryRedirect)
		})
		if _, err := c.Whoami(t.Context()); !errors.Is(err, client.ErrRedirect) || len(*waits) != 0 {
			t.Errorf("%q: %v after %v", to, err, *waits)
		}
	}
}

func TestProblems(t *testing.T) {
	for _, tt := range []struct {
		name, contentType, body string
		status                  int
		header                  http.Header
		want                    client.Problem
		text                    string
		is                      func(error) bool
	}{
		{
			name: "fields", contentType: "application/problem+json", status: 422,
			body: `{"code":"invalid_fields","title":"T","detail":"2 fields","field":"a","errors":[{"field":"a","detail":"Is bad."},{"field":"b","detail":"Is worse."}],"request_id":"r"}`,
			want: client.Problem{
				Status: 422, Code: "invalid_fields", Title: "T", Detail: "2 fields", Field: "a", RequestID: "r",
				Errors: []client.FieldError{{Field: "a", Detail: "Is bad."}, {Field: "b", Detail: "Is worse."}},
			},
			text: "a: Is bad.\nb: Is worse.", is: client.IsInvalid,
		},
		{
			name: "the server's failure names its request", contentType: "application/problem+json; charset=utf-8", status: 500,
			body: `{"code":"internal_error","title":"Something went wrong","request_id":"r"}`,
			want: client.Problem{Status: 500, Code: "internal_error", Title: "Something went wrong", RequestID: "r"},
			text: "Something went wrong (request r)", is: func(error) bool { return true },
		},
		{
			name: "a proxy's page", contentType: "text/html", status: 502, body: "<html>secret</html>",
			want: client.Problem{Status: 502, Detail: "the server answered 502 Bad Gateway, and not as Signet does; is the address right?"},
			text: "the server answered 502 Bad Gateway, and not as Signet does; is the address right?", is: func(error) bool { return true },
		},
		{
			name: "no words", contentType: "application/problem+json", status: 404, body: `{}`,
			want: client.Problem{Status: 404}, text: "the server answered 404 Not Found", is: client.IsNotFound,
		},
		{
			name: "roles", contentType: "application/problem+json", status: 403, body: `{"detail":"D","roles":["admin"]}`,
			want: client.Problem{Status: 403, Detail: "D", Roles: []string{"admin"}}, text: "D", is: client.IsForbidden,
		},
		{
			name: "stale", contentType: "application/problem+json", status: 412, body: `{"detail":"D"}`,
			want: client.Problem{Status: 412, Detail: "D"}, text: "D", is: client.IsStale,
		},
		{
			name: "conflict", contentType: "application/problem+json", status: 409, body: `{"detail":"D"}`,
			want: client.Problem{Status: 409, Detail: "D"}, text: "D", is: client.IsConflict,
		},
		{
			name: "token", contentType: "application/problem+json", status: 401, body: `{"detail":"D"}`,
			want: client.Problem{Status: 401, Detail: "D"}, text: "D", is: client.IsUnauthorized,
		},
		{
			name: "not now", contentType: "application/problem+json", status: 503, body: `{"detail":"D"}`, header: http.Header{"Retry-After": {"3600"}},
			want: client.Problem{Status: 503, Detail: "D", RetryAfter: time.Hour}, text: "D", is: client.IsUnavailable,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := start(t, func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range tt.header {
					w.Header()[k] = v
				}
				w.Header().Set("Content-Type", tt.contentType)
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.body)
			})
			_, err := c.Whoami(t.Context())
			var p *client.Problem
			if !errors.As(err, &p) {
				t.Fatalf("%v", err)
			}
			if diff := cmp.Diff(tt.want, *p); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if p.Error() != tt.text || !tt.is(fmt.Errorf("wrapped: %w", err)) {
				t.Errorf("%q", p.Error())
			}
			if client.IsNotFound(errors.New("x")) || tt.status != 404 && client.IsNotFound(err) {
				t.Error("it is taken for not found")
			}
		})
	}
}

// A body that is too large or no JSON is an error, not half an answer.
func TestAnswersNotUnderstood(t *testing.T) {
	for name, body := range map[string]io.Reader{
		"no JSON":   strings.NewReader(`<html>`),
		"cut short": strings.NewReader(`{"name":"a`),
		"endless":   io.LimitReader(spaces{}, 65<<20),
	} {
		c, waits := start(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, body) })
		if got, err := c.Whoami(t.Context()); !errors.Is(err, client.ErrAnswer) || len(*waits) != 0 || !cmp.Equal(got, client.Whoami{}) {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
}

type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestPages(t *testing.T) {
	pages := map[string]string{
		"":  `{"items":[{"name":"a"},{"name":"b"}],"next":"2"}`,
		"2": `{"items":[],"next":"3"}`,
		"3": `{"items":[{"name":"c"}]}`,
	}
	serve := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, pages[r.URL.Query().Get("cursor")]) }
	c, _ := start(t, serve)
	var names []string
	for s, err := range c.AllSigners(t.Context(), client.SignerFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, s.Name)
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for s, err := range c.AllSigners(t.Context(), client.SignerFilter{}) {
		if err != nil || s.Name != "a" {
			t.Errorf("%s %v", s.Name, err)
		}
		break // an iterator that is left asks no more
	}
	counted := 0
	for _, err := range c.AllTokens(t.Context()) {
		counted++
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range c.AllPolicies(t.Context()) {
		counted++
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range c.AllTrustRoots(t.Context()) {
		counted++
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range c.AllVerdicts(t.Context(), client.VerdictFilter{}) {
		counted++
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range c.AllSignerVerdicts(t.Context(), "1") {
		counted++
		if err != nil {
			t.Fatal(err)
		}
	}
	if counted != 15 {
		t.Errorf("%d items of 15", counted)
	}

	pages["3"] = `{"items":[{"name":"c"}],"next":"3"}`
	var last error
	n := 0
	for _, err := range c.AllSigners(t.Context(), client.SignerFilter{}) {
		last = err
		n++
	}
	if !errors.Is(last, client.ErrAnswer) || n != 3 { // "a", "b", and then the error
		t.Errorf("%d items, then %v", n, last)
	}
}

// The audit log is walked by its numbers.
func TestAllAudit(t *testing.T) {
	var asked []string
	c, _ := start(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query().Get("before"))
		switch r.URL.Query().Get("before") {
		case "":
			fmt.Fprint(w, `{"items":[{"seq":3},{"seq":2}],"next":"2"}`)
		case "2":
			fmt.Fprint(w, `{"items":[{"seq":1}]}`)
		}
	})
	var got []int64
	for e, err := range c.AllAudit(t.Context(), client.AuditFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Seq)
	}
	if diff := cmp.Diff([]int64{3, 2, 1}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"", "2"}, asked); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
