package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/store"
)

// realBed is the face over a real store on SQLite and its real administration.
type realBed struct {
	*bed
	store *store.Store
	setup string
}

func newRealBed(t *testing.T) *realBed {
	t.Helper()
	b := &realBed{}
	now := func() time.Time { return b.now }
	b.bed = &bed{now: testNow, tokens: map[string]string{}}
	st, err := store.Open(t.Context(), store.Config{DataDir: t.TempDir(), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	b.store = st
	service, err := administration.New(administration.Config{Store: st, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if b.setup, err = service.EnsureSetup(t.Context()); err != nil || b.setup == "" {
		t.Fatalf("setup token %q, %v", b.setup, err)
	}
	decider := &fakeDecider{current: func(ctx context.Context) (*engine.State, error) {
		snap, err := st.Snapshot(ctx, nil)
		if err != nil {
			return nil, err
		}
		tokens, err := auth.NewTokens(snap.Tokens)
		return &engine.State{Active: snap.Active, Tokens: tokens}, err
	}}
	b.Server, err = New(Config{Decider: decider, Verdicts: &fakeVerdicts{}, Administration: service, ImageName: imageName, Build: "test", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ask sends one request as the holder of a token, wants its status, and reads
// the answer into v unless it is nil.
func (b *realBed) ask(t *testing.T, as, method, path string, header http.Header, body string, status int, v any) *httptest.ResponseRecorder {
	t.Helper()
	media := mediaJSON
	if method == http.MethodPut && strings.Contains(path, "/policies/") || strings.Contains(path, "/signers/import") {
		media = mediaYAML
	}
	w := b.do(t, b.send(t, as, endpoint{method: method, path: path, media: media, body: body, header: header}))
	if w.Code != status {
		t.Fatalf("%s %s as %s: status %d, want %d: %s", method, path, as, w.Code, status, w.Body)
	}
	if v != nil {
		if err := json.Unmarshal(w.Body.Bytes(), v); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// begin sets the installation up: an administrator, one of a team, and a viewer.
func (b *realBed) begin(t *testing.T) {
	t.Helper()
	b.tokens["setup"] = b.setup
	var admin client.Token
	b.ask(t, "setup", "POST", v1+"/setup", nil, `{"name":"root"}`, 201, &admin)
	b.tokens["root"] = admin.Plain
	for as, body := range map[string]string{"web": `{"name":"web","role":"admin","team":"web","images":["ghcr.io/web/**"]}`, "viewer": `{"name":"viewer","role":"viewer"}`, "org": `{"name":"org","role":"admin","images":["ghcr.io/org/**"]}`} {
		var made client.Token
		w := b.ask(t, "root", "POST", v1+"/tokens", nil, body, 201, &made)
		if got := w.Result().Header.Get("Location"); got != v1+"/tokens/"+made.ID || made.Plain == "" {
			t.Fatalf("Location %q, token %+v", got, made)
		}
		b.tokens[as] = made.Plain
	}
}

func TestRealSetup(t *testing.T) {
	b := newRealBed(t)
	if got := problemOf(b.ask(t, "", "GET", v1+"/signers", nil, "", 401, nil)); got.Code != codeTokenMissing {
		t.Errorf("before setup: %+v", got)
	}
	b.tokens["setup"] = b.setup
	if p := problemOf(b.ask(t, "setup", "GET", v1+"/whoami", nil, "", 401, nil)); p.Code != codeTokenUnknown {
		t.Errorf("the setup token as an API token: %+v", p)
	}
	if p := problemOf(b.ask(t, "setup", "POST", v1+"/setup", nil, `{"name":""}`, 422, nil)); p.Field != "name" {
		t.Errorf("without a name: %+v", p)
	}
	var admin client.Token
	b.ask(t, "setup", "POST", v1+"/setup", nil, `{"name":"root"}`, 201, &admin)
	b.tokens["root"] = admin.Plain
	var who client.Whoami
	b.ask(t, "root", "GET", v1+"/whoami", nil, "", 200, &who)
	if who.Name != "root" || who.Role != "admin" {
		t.Errorf("%+v", who)
	}
	if p := problemOf(b.ask(t, "setup", "POST", v1+"/setup", nil, `{"name":"again"}`, 401, nil)); p.Code == "" {
		t.Errorf("a second time: %+v", p)
	}
}

func TestRealSigners(t *testing.T) {
	b := newRealBed(t)
	b.begin(t)
	why := func(h http.Header, text string) http.Header {
		if h == nil {
			h = http.Header{}
		}
		h["Signet-Why"] = []string{text}
		return h
	}
	const body = `{"name":"ci","type":"keyless","issuer":"https://accounts.google.com","subject":"ci@example.com","images":["ghcr.io/org/**"],"enabled":true}`
	var made client.Signer
	w := b.ask(t, "root", "POST", v1+"/signers", why(nil, "new builder"), body, 201, &made)
	if h := w.Result().Header; h.Get("Location") != v1+"/signers/"+made.ID || h.Get("Etag") != etag(made.Version) || made.State != "in_force" {
		t.Fatalf("%+v, %v", made, h)
	}
	path := v1 + "/signers/" + made.ID
	if p := problemOf(b.ask(t, "root", "POST", v1+"/signers", nil, body, 409, nil)); p.Code != codeConflict || !strings.Contains(p.Detail, `"ci"`) {
		t.Errorf("a name that is taken: %+v", p)
	}
	p := problemOf(b.ask(t, "root", "POST", v1+"/signers", nil, `{"name":"","type":"keyless","issuer":"http://x","version":3}`, 422, nil))
	if p.Code != codeInvalidFields || len(p.Errors) < 3 {
		t.Errorf("many mistakes: %+v", p)
	}
	var got client.Signer
	b.ask(t, "viewer", "GET", path, nil, "", 200, &got)
	if d := cmp.Diff(made, got); d != "" {
		t.Errorf("made (-) and read (+):\n%s", d)
	}
	b.ask(t, "root", "PATCH", path, nil, `{"enabled":false}`, 428, nil)
	b.ask(t, "root", "PATCH", path, match(`"7"`), `{"enabled":false}`, 412, nil)
	if p := problemOf(b.ask(t, "root", "PATCH", path, match(etag(made.Version)), `{"enbled":false}`, 422, nil)); p.Field != "enbled" {
		t.Errorf("an unknown field: %+v", p)
	}
	if p := problemOf(b.ask(t, "web", "PATCH", path, match(etag(made.Version)), `{"enabled":false}`, 403, nil)); p.Code != codeNotYours {
		t.Errorf("another team: %+v", p)
	}
	if p := problemOf(b.ask(t, "org", "PATCH", path, match(etag(made.Version)), `{"images":[]}`, 403, nil)); p.Code != codeOutOfScope {
		t.Errorf("beyond its images: %+v", p)
	}
	w = b.ask(t, "root", "PATCH", path, why(match(etag(made.Version)), "left us"), `{"enabled":false,"note":"x"}`, 200, &got)
	if got.Enabled || got.State != "disabled" || got.Version != made.Version+1 || w.Result().Header.Get("Etag") != etag(got.Version) {
		t.Errorf("changed: %+v", got)
	}
	var page client.Page[client.Signer]
	b.ask(t, "viewer", "GET", v1+"/signers?enabled=false&query=CI&type=keyless", nil, "", 200, &page)
	if len(page.Items) != 1 || page.Items[0].ID != made.ID {
		t.Errorf("found %+v", page)
	}
	exported := b.ask(t, "viewer", "GET", v1+"/signers/export", nil, "", 200, nil).Body.String()
	var imported client.Imported
	b.ask(t, "root", "POST", v1+"/signers/import?replace=true", nil, exported, 200, &imported)
	if d := cmp.Diff(client.Imported{Created: []string{}, Updated: []string{}, Unchanged: []string{"ci"}}, imported); d != "" {
		t.Errorf("import of the export:\n%s", d)
	}
	b.ask(t, "root", "POST", v1+"/signers/import", nil, exported, 409, nil)
	b.ask(t, "root", "POST", v1+"/signers/import?dry_run=true", nil, strings.ReplaceAll(exported, "ci", "cd"), 200, &imported)
	if !imported.DryRun || len(imported.Created) != 1 {
		t.Errorf("dry run: %+v", imported)
	}
	b.ask(t, "root", "POST", path+"/compromise", nil, `{"since":"2025-06-01T00:00:00Z","why":"stolen"}`, 200, nil)
	b.ask(t, "root", "POST", path+"/refresh-key", nil, "", 409, nil)
	b.ask(t, "root", "POST", path+"/accept-key", nil, `{"fingerprint":"x"}`, 409, nil)
	var verdicts client.Page[client.SignerVerdict]
	b.ask(t, "viewer", "GET", path+"/verdicts", nil, "", 200, &verdicts)
	if p := problemOf(b.ask(t, "viewer", "GET", path+"/verdicts?cursor=odd", nil, "", 422, nil)); p.Field != "query.cursor" {
		t.Errorf("an odd cursor: %+v", p)
	}
	w = b.ask(t, "root", "GET", path, nil, "", 200, nil)
	b.ask(t, "root", "DELETE", path, match(w.Result().Header.Get("Etag")), "", 204, nil)
	b.ask(t, "root", "GET", path, nil, "", 404, nil)

	var log client.Page[client.AuditEntry]
	b.ask(t, "viewer", "GET", v1+"/audit?object=signer/"+made.ID, nil, "", 200, &log)
	said := ""
	for _, e := range log.Items {
		said += fmt.Sprintln(e.Actor, e.From, e.Action, e.Why)
	}
	want := "root 192.0.2.1 signer.delete \nroot 192.0.2.1 signer.compromise stolen\nroot 192.0.2.1 signer.update stolen\nroot 192.0.2.1 signer.update left us\nroot 192.0.2.1 signer.create new builder\n"
	if d := cmp.Diff(want, said); d != "" {
		t.Errorf("the audit log (-want +got):\n%s", d)
	}
	var head, verified client.AuditHead
	b.ask(t, "viewer", "GET", v1+"/audit/head", nil, "", 200, &head)
	known, err := json.Marshal(map[string]any{"known": head})
	if err != nil {
		t.Fatal(err)
	}
	b.ask(t, "viewer", "POST", v1+"/audit/verify", nil, string(known), 200, &verified)
	if verified != head || head.Seq == 0 {
		t.Errorf("head %+v, verified %+v", head, verified)
	}
	if p := problemOf(b.ask(t, "viewer", "POST", v1+"/audit/verify", nil, `{"known":{"seq":1,"hash":"`+strings.Repeat("a", 64)+`"}}`, 409, nil)); p.Code != codeAuditDamaged {
		t.Errorf("an end that was never one: %+v", p)
	}
}

// What is acknowledged counts from the next request on.
func TestRealTokens(t *testing.T) {
	b := newRealBed(t)
	b.begin(t)
	var page client.Page[client.Token]
	b.ask(t, "root", "GET", v1+"/tokens?limit=2", nil, "", 200, &page)
	if len(page.Items) != 2 || page.Next == "" || page.Items[0].Plain != "" {
		t.Errorf("%+v", page)
	}
	var who client.Whoami
	b.ask(t, "viewer", "GET", v1+"/whoami", nil, "", 200, &who)
	b.ask(t, "web", "DELETE", v1+"/tokens/"+who.TokenID, nil, "", 404, nil)
	b.ask(t, "root", "DELETE", v1+"/tokens/"+who.TokenID, nil, "", 204, nil)
	if p := problemOf(b.ask(t, "viewer", "GET", v1+"/whoami", nil, "", 401, nil)); p.Code != codeTokenRevoked {
		t.Errorf("after it was revoked: %+v", p)
	}
	var kept client.Token
	b.ask(t, "root", "GET", v1+"/tokens/"+who.TokenID, nil, "", 200, &kept)
	if kept.State != "revoked" || kept.RevokedAt == nil {
		t.Errorf("%+v", kept)
	}
	if p := problemOf(b.ask(t, "web", "POST", v1+"/tokens", nil, `{"name":"x","role":"viewer","team":"other"}`, 403, nil)); p.Code != codeNotYours {
		t.Errorf("for another team: %+v", p)
	}
	if p := problemOf(b.ask(t, "root", "POST", v1+"/tokens", nil, `{"name":"x","role":"king","expires_in":"soon"}`, 422, nil)); len(p.Errors) != 2 {
		t.Errorf("mistakes: %+v", p)
	}
	b.ask(t, "web", "POST", v1+"/secret/rotate", nil, "", 403, nil)
	b.ask(t, "root", "POST", v1+"/secret/rotate", nil, "", 204, nil)
}

func TestRealPolicies(t *testing.T) {
	b := newRealBed(t)
	b.begin(t)
	const body = "signing_policy:\n  mode: enforce\n  require_signature: true\n  images: [\"ghcr.io/web/**\"]\n  trusted_signers:\n    - {type: keyless, issuer: \"https://accounts.google.com\", subject: \"ci@example.com\"}\n"
	const path = v1 + "/policies/web"
	var made client.Policy
	w := b.ask(t, "web", "PUT", path, http.Header{"If-None-Match": {"*"}}, body, 201, &made)
	if h := w.Result().Header; made.Owner != "web" || h.Get("Location") != path || h.Get("Etag") != etag(made.Version) {
		t.Errorf("%+v, %v", made, h)
	}
	b.ask(t, "web", "PUT", path, nil, body, 428, nil)
	b.ask(t, "web", "PUT", path, http.Header{"If-None-Match": {"*"}}, body, 412, nil)
	b.ask(t, "web", "PUT", path, match(`"9"`), body, 412, nil)
	if p := problemOf(b.ask(t, "web", "PUT", path, match(etag(made.Version)), body+"  colour: red\n", 422, nil)); p.Code != codeInvalidFields || len(p.Errors) == 0 {
		t.Errorf("an unknown field: %+v", p)
	}
	var next client.Policy
	b.ask(t, "web", "PUT", path, match(etag(made.Version)), strings.Replace(body, "enforce", "audit", 1), 200, &next)
	if next.Mode != "audit" || next.Version != made.Version+1 {
		t.Errorf("%+v", next)
	}
	var page client.Page[client.Policy]
	b.ask(t, "viewer", "GET", v1+"/policies", nil, "", 200, &page)
	found := false
	for _, p := range page.Items {
		found = found || p.Name == "web"
	}
	if !found {
		t.Errorf("%+v", page)
	}
	none := http.Header{"If-None-Match": {"*"}}
	for _, stale := range []http.Header{match(etag(made.Version)), none} {
		if p := problemOf(b.ask(t, "web", "POST", path+"/rollback", stale, "{}", 412, nil)); p.Code != codeStale {
			t.Errorf("rolled back with %v: %+v", stale, p)
		}
	}
	b.ask(t, "web", "POST", path+"/rollback", match(etag(next.Version)), "{}", 200, &next)
	if next.Mode != "enforce" || next.Version != made.Version+2 {
		t.Errorf("rolled back: %+v", next)
	}
	b.ask(t, "web", "DELETE", path, match(etag(made.Version)), "", 412, nil)
	b.ask(t, "web", "DELETE", path, match(etag(next.Version)), "", 204, nil)
	b.ask(t, "web", "GET", path, nil, "", 404, nil)
	b.ask(t, "web", "PUT", path, match(etag(next.Version)), body, 404, nil)
	b.ask(t, "web", "POST", path+"/rollback", match(etag(next.Version)), "{}", 404, nil)
	b.ask(t, "web", "POST", path+"/rollback", none, "{}", 200, &next)
	if next.Mode != "enforce" || next.Version != 1 || next.Owner != "web" {
		t.Errorf("brought back: %+v", next)
	}
}

func TestRealTrust(t *testing.T) {
	b := newRealBed(t)
	b.begin(t)
	const path = v1 + "/trust-roots/own"
	root := embeddedRoot(t)
	put, err := json.Marshal(client.PutTrustRoot{TrustedRoot: root, Images: []string{"ghcr.io/org/**"}})
	if err != nil {
		t.Fatal(err)
	}
	var made client.TrustRoot
	b.ask(t, "web", "PUT", path, nil, string(put), 403, nil)
	b.ask(t, "root", "PUT", path, nil, string(put), 201, &made)
	b.ask(t, "root", "PUT", path, nil, string(put), 428, nil)
	if p := problemOf(b.ask(t, "root", "PUT", path, match(etag(made.Version)), `{"trusted_root":{}}`, 422, nil)); p.Field != "trusted_root" {
		t.Errorf("an empty root: %+v", p)
	}
	b.ask(t, "root", "PATCH", path, match(etag(made.Version)), `{"images":[]}`, 200, &made)
	if len(made.Images) != 0 {
		t.Errorf("%+v", made)
	}
	b.ask(t, "root", "POST", path+"/refresh", nil, "", 409, nil)
	var page client.Page[client.TrustRoot]
	b.ask(t, "viewer", "GET", v1+"/trust-roots", nil, "", 200, &page)
	if len(page.Items) != 1 || page.Items[0].TrustedRoot != nil {
		t.Errorf("%+v", page)
	}
	archive := b.ask(t, "root", "GET", v1+"/trust/export", nil, "", 200, nil).Body.Bytes()
	key := b.ask(t, "root", "GET", v1+"/trust/export-key", nil, "", 200, nil).Body.String()

	other := newRealBed(t)
	other.begin(t)
	body, err := json.Marshal(trustImportRequest{Archive: archive, PublicKey: key})
	if err != nil {
		t.Fatal(err)
	}
	var imported client.TrustImport
	other.ask(t, "root", "POST", v1+"/trust/import?dry_run=true", nil, string(body), 200, &imported)
	other.ask(t, "root", "GET", path, nil, "", 404, nil)
	other.ask(t, "root", "POST", v1+"/trust/import", nil, string(body), 200, &imported)
	if d := cmp.Diff([]string{"own"}, imported.TrustRoots); d != "" {
		t.Errorf("%+v", imported)
	}
	other.ask(t, "root", "GET", path, nil, "", 200, &made)
	own := other.ask(t, "root", "GET", v1+"/trust/export-key", nil, "", 200, nil).Body.String()
	if body, err = json.Marshal(trustImportRequest{Archive: archive, PublicKey: own}); err != nil {
		t.Fatal(err)
	}
	other.ask(t, "root", "POST", v1+"/trust/import", nil, string(body), 422, nil)
	if !bytes.Contains(made.TrustedRoot, []byte("certificateAuthorities")) {
		t.Errorf("the whole root is not there: %.100s", made.TrustedRoot)
	}
}

// embeddedRoot is the trust root that comes with Signet.
func embeddedRoot(t *testing.T) json.RawMessage {
	t.Helper()
	body, err := os.ReadFile("../trust/embedded/trusted_root.json")
	if err != nil {
		t.Fatal(err)
	}
	return body
}
