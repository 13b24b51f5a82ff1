package api

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/auth"
)

var _ Administration = (*administration.Service)(nil)

// endpoint is one request of administration, as it should be, and what comes of it.
type endpoint struct {
	method, path, media, body string
	header                    http.Header
	// may lists the roles.
	may string
	// asked is the call that it becomes.
	asked    string
	status   int
	etag     string
	location string
}

const (
	reads, writes, administers = "viewer author admin", "author admin", "admin"

	v1signer = v1 + "/signers/01JZ5X3F8Q0000000000000009"
	v1token  = v1 + "/tokens/aaaaaaaaaaaaaaaa"
	newName  = `{"name":"ci","type":"keyless"}`
)

func match(version string) http.Header { return http.Header{"If-Match": {version}} }

func endpoints() []endpoint {
	return []endpoint{
		{"GET", v1 + "/signers", "", "", nil, reads, "Signers {Query: Type: State: Owner: Enabled:<nil> Sort: Limit:50 After:}", 200, "", ""},
		{"GET", v1 + "/signers?query=a%20b&type=kms&state=disabled&owner=web&sort=-name&limit=7&cursor=x", "", "", nil, reads, "Signers {Query:a b Type:kms State:disabled Owner:web Enabled:<nil> Sort:-name Limit:7 After:x}", 200, "", ""},
		{"POST", v1 + "/signers", mediaJSON, newName, nil, administers, "CreateSigner " + fmt.Sprintf("%+v", client.Signer{Name: "ci", Type: "keyless", Enabled: true}), 201, `"3"`, v1signer},
		{"POST", v1 + "/signers", mediaJSON, `{"name":"ci","type":"keyless","enabled":false}`, nil, administers, "CreateSigner " + fmt.Sprintf("%+v", client.Signer{Name: "ci", Type: "keyless"}), 201, `"3"`, v1signer},
		{"GET", v1 + "/signers/export", "", "", nil, reads, "ExportSigners", 200, "", ""},
		{"POST", v1 + "/signers/import", mediaYAML, "a: b", nil, administers, "ImportSigners a: b {DryRun:false Replace:false}", 200, "", ""},
		{"POST", v1 + "/signers/import?dry_run=true&replace=true", mediaJSON, "{}", nil, administers, "ImportSigners {} {DryRun:true Replace:true}", 200, "", ""},
		{"POST", v1 + "/signers/read-key", mediaJSON, `{"kms_key_ref":"hashivault://release"}`, nil, administers, "ReadKey {KMSKeyRef:hashivault://release}", 200, "", ""},
		{"GET", v1signer, "", "", nil, reads, "Signer 01JZ5X3F8Q0000000000000009", 200, `"3"`, ""},
		{"PATCH", v1signer, mediaMerge, `{"note":null}`, match(`"2"`), administers, `UpdateSigner 01JZ5X3F8Q0000000000000009 2 {"note":null}`, 200, `"3"`, ""},
		{"PATCH", v1signer, mediaJSON, `{"note":"x"}`, match(`"2"`), administers, `UpdateSigner 01JZ5X3F8Q0000000000000009 2 {"note":"x"}`, 200, `"3"`, ""},
		{"DELETE", v1signer, "", "", match(`"2"`), administers, "DeleteSigner 01JZ5X3F8Q0000000000000009 2", 204, "", ""},
		{"POST", v1signer + "/compromise", mediaJSON, `{"since":"2025-07-01T12:00:00Z","why":"lost"}`, nil, administers, "CompromiseSigner 01JZ5X3F8Q0000000000000009 {Since:2025-07-01 12:00:00 +0000 UTC Why:lost}", 200, `"3"`, ""},
		{"POST", v1signer + "/accept-key", mediaJSON, `{"fingerprint":"f","drop_previous":true}`, nil, administers, "AcceptKey 01JZ5X3F8Q0000000000000009 {Fingerprint:f DropPrevious:true}", 200, `"3"`, ""},
		{"POST", v1signer + "/refresh-key", "", "", nil, administers, "RefreshKey 01JZ5X3F8Q0000000000000009", 200, `"3"`, ""},
		{"GET", v1signer + "/verdicts?limit=3&cursor=x", "", "", nil, reads, "SignerVerdicts 01JZ5X3F8Q0000000000000009 3 x", 200, "", ""},

		{"GET", v1 + "/tokens", "", "", nil, reads, "Tokens  50 ", 200, "", ""},
		{"GET", v1 + "/tokens?state=valid&limit=2", "", "", nil, reads, "Tokens valid 2 ", 200, "", ""},
		{"POST", v1 + "/tokens", mediaJSON, `{"name":"gateway","role":"verifier"}`, nil, administers, "CreateToken {Name:gateway Role:verifier Team: Images:[] Sources:[] ExpiresIn: ExpiresAt:<nil>}", 201, "", v1token},
		{"GET", v1token, "", "", nil, reads, "Token aaaaaaaaaaaaaaaa", 200, "", ""},
		{"DELETE", v1token, "", "", nil, administers, "RevokeToken aaaaaaaaaaaaaaaa", 204, "", ""},

		{"GET", v1 + "/policies?limit=1", "", "", nil, reads, "Policies 1 ", 200, "", ""},
		{"GET", v1 + "/policies/web", "", "", nil, reads, "Policy web", 200, `"4"`, ""},
		{"PUT", v1 + "/policies/web", mediaYAML, "a: b", nil, writes, "PutPolicy web  a: b new", 201, `"4"`, v1 + "/policies/web"},
		{"PUT", v1 + "/policies/web?owner=team", mediaJSON, "{}", http.Header{"If-None-Match": {"*"}}, writes, "PutPolicy web team {} new", 201, `"4"`, v1 + "/policies/web"},
		{"PUT", v1 + "/policies/web", mediaYAML, "a: b", match(`"3"`), writes, "PutPolicy web  a: b v3", 200, `"4"`, ""},
		{"DELETE", v1 + "/policies/web", "", "", match(`"3"`), writes, "DeletePolicy web 3", 204, "", ""},
		{"POST", v1 + "/policies/web/exceptions", mediaJSON, `{"images":["**"],"codes":["unsigned"],"reason":"r","owner":"o","expires_at":"2027-01-31T00:00:00Z"}`, match(`"3"`), writes, "AddException web {Images:[**] Codes:[unsigned] Reason:r Owner:o ExpiresAt:2027-01-31 00:00:00 +0000 UTC} 3", 200, `"4"`, ""},
		{"DELETE", v1 + "/policies/web/exceptions/2", "", "", match(`"3"`), writes, "RemoveException web 2 3", 200, `"4"`, ""},
		{"DELETE", v1 + "/policies/web/exceptions/first", "", "", match(`"3"`), writes, "RemoveException web 0 3", 200, `"4"`, ""},
		{"GET", v1 + "/policies/web/shadow?limit=3&cursor=x", "", "", nil, reads, "Shadow web 3 x", 200, "", ""},
		{"PUT", v1 + "/policies/web", mediaGzip, "tar", match(`"3"`), writes, "PublishPolicy web tar v3", 200, `"4"`, ""},
		{"PUT", v1 + "/policies/web", mediaBundle, "tar", match(`"3"`), writes, "PublishPolicy web tar v3", 200, `"4"`, ""},
		{"PUT", v1 + "/policies/web?owner=team", mediaPolicy, `{"signing_policy": "a: b", "archive": "dGFy"}`, match(`"3"`), writes, "PutPolicyWith web team a: b tar v3", 200, `"4"`, ""},
		{"GET", v1 + "/policies/web/history", "", "", nil, reads, "PolicyHistory web", 200, "", ""},
		{"GET", v1 + "/policies/web/diff?from=7&to=9", "", "", nil, reads, "DiffPolicy web v7 v9", 200, "", ""},
		{"GET", v1 + "/policies/web/diff", "", "", nil, reads, "DiffPolicy web new new", 200, "", ""},
		{"POST", v1 + "/policies/web/rollback", mediaJSON, `{"to": 7}`, nil, writes, "RollbackPolicy web v7 new", 200, `"4"`, ""},
		{"POST", v1 + "/policies/web/rollback", mediaJSON, `{"to": 7}`, match(`"3"`), writes, "RollbackPolicy web v7 v3", 200, `"4"`, ""},
		{"POST", v1 + "/policies/web/rollback", mediaJSON, `{}`, http.Header{"If-None-Match": {"*"}}, writes, "RollbackPolicy web new v0", 200, `"4"`, ""},
		{"GET", v1 + "/bundles?limit=1", "", "", nil, reads, "Bundles 1 ", 200, "", ""},
		{"GET", v1 + "/bundles/acme", "", "", nil, reads, "Bundle acme", 200, `"6"`, ""},
		{"PUT", v1 + "/bundles/acme?owner=team", mediaGzip, "tar", nil, writes, "PutBundle acme team tar new", 201, `"6"`, v1 + "/bundles/acme"},
		{"PUT", v1 + "/bundles/acme", mediaBundle, "tar", match(`"3"`), writes, "PutBundle acme  tar v3", 200, `"6"`, ""},
		{"PUT", v1 + "/bundles/acme?owner=team", mediaKeyedBundle, `{"archive": "dGFy", "keys": {"release": "PEM"}, "scope": "acme"}`, match(`"3"`), writes, "PutBundleWith acme team tar map[release:PEM] acme v3", 200, `"6"`, ""},
		{"PATCH", v1 + "/bundles/acme", mediaMerge, `{"scope":"x"}`, match(`"3"`), administers, `PatchBundle acme 3 {"scope":"x"}`, 200, `"6"`, ""},
		{"DELETE", v1 + "/bundles/acme", "", "", match(`"3"`), writes, "DeleteBundle acme 3", 204, "", ""},
		{"GET", v1 + "/bundles/acme/archive", "", "", nil, reads, "BundleArchive acme", 200, "", ""},
		{"GET", v1 + "/bundles/acme/history?limit=5", "", "", nil, reads, "BundleHistory acme", 200, "", ""},
		{"POST", v1 + "/bundles/acme/rollback", mediaJSON, "{}", nil, writes, "RollbackBundle acme new", 200, `"6"`, ""},
		{"POST", v1 + "/bundles/acme/fetch", "", "", nil, writes, "FetchBundle acme", 200, `"6"`, ""},

		{"GET", v1 + "/drafts?limit=1", "", "", nil, writes, "Drafts 1 ", 200, "", ""},
		{"GET", v1 + "/drafts/acme", "", "", nil, writes, "Draft acme", 200, `"2"`, ""},
		{"PUT", v1 + "/drafts/acme", mediaJSON, `{"files":{"a":"b"},"base":"sha256:1","owner":"web"}`, nil, writes, "PutDraft acme {Owner:web Base:sha256:1 Files:map[a:b]} new", 201, `"2"`, v1 + "/drafts/acme"},
		{"PUT", v1 + "/drafts/acme", mediaJSON, `{"files":{"a":"b"}}`, match(`"1"`), writes, "PutDraft acme {Owner: Base: Files:map[a:b]} v1", 200, `"2"`, ""},
		{"DELETE", v1 + "/drafts/acme", "", "", match(`"2"`), writes, "DeleteDraft acme 2", 204, "", ""},

		{"GET", v1 + "/trust-roots", "", "", nil, reads, "TrustRoots", 200, "", ""},
		{"GET", v1 + "/trust-roots/own", "", "", nil, reads, "TrustRoot own", 200, `"5"`, ""},
		{"PUT", v1 + "/trust-roots/own", mediaJSON, `{"tuf_url":"https://tuf.example"}`, nil, administers, "PutTrustRoot own " + fmt.Sprintf("%+v", client.PutTrustRoot{TUFURL: "https://tuf.example"}) + " new", 201, `"5"`, v1 + "/trust-roots/own"},
		{"PUT", v1 + "/trust-roots/own", mediaJSON, `{"allow_older":true}`, match(`"5"`), administers, "PutTrustRoot own " + fmt.Sprintf("%+v", client.PutTrustRoot{AllowOlder: true}) + " v5", 200, `"5"`, ""},
		{"PATCH", v1 + "/trust-roots/own", mediaMerge, `{"position":1}`, match(`"5"`), administers, `PatchTrustRoot own 5 {"position":1}`, 200, `"5"`, ""},
		{"DELETE", v1 + "/trust-roots/own", "", "", match(`"5"`), administers, "DeleteTrustRoot own 5", 204, "", ""},
		{"POST", v1 + "/trust-roots/own/refresh", "", "", nil, administers, "RefreshTrustRoot own", 200, `"5"`, ""},
		{"GET", v1 + "/trust/export", "", "", nil, administers, "ExportTrust", 200, "", ""},
		{"GET", v1 + "/trust/export-key", "", "", nil, administers, "ExportKey", 200, "", ""},
		{"POST", v1 + "/trust/import?dry_run=true", mediaJSON, `{"archive":{"a":1},"public_key":"PEM"}`, nil, administers, `ImportTrust {"a":1} PEM true`, 200, "", ""},

		{"GET", v1 + "/watch?source=asked&limit=2&cursor=c", "", "", nil, reads, "Watched {Source:asked After:c Limit:2}", 200, "", ""},
		{"PUT", v1 + "/watch", mediaJSON, `{"image":"ghcr.io/org/app:v1","environment":"production"}`, nil, writes, "Watch {Image:ghcr.io/org/app:v1 Environment:production Platform:}", 200, "", ""},
		{"DELETE", v1 + "/watch/aa", "", "", nil, writes, "Unwatch aa", 204, "", ""},
		{"GET", v1 + "/webhooks/chat/key", "", "", nil, administers, "WebhookKey chat", 200, "", ""},

		{"GET", v1 + "/dependencies", "", "", nil, reads, "Dependencies", 200, "", ""},
		{"GET", v1 + "/gateways", "", "", nil, reads, "Gateways  50 ", 200, "", ""},
		{"GET", v1 + "/gateways?query=tools", "", "", nil, reads, "Gateways tools 50 ", 200, "", ""},
		{"GET", v1 + "/gateways/tools", "", "", nil, reads, "Gateway tools", 200, `"3"`, ""},
		{"PUT", v1 + "/gateways/tools", mediaJSON, `{"gateway_id":"5f2c","image":"ghcr.io/org/tools@sha256:aa"}`, nil, administers, "PutGateway tools " + fmt.Sprintf("%+v", client.PutGateway{GatewayID: "5f2c", Image: "ghcr.io/org/tools@sha256:aa"}) + " new", 201, `"3"`, v1 + "/gateways/tools"},
		{"PUT", v1 + "/gateways/tools", mediaJSON, `{"tag":"t","image":"ghcr.io/org/tools@sha256:aa"}`, match(`"3"`), administers, "PutGateway tools " + fmt.Sprintf("%+v", client.PutGateway{Tag: "t", Image: "ghcr.io/org/tools@sha256:aa"}) + " v3", 200, `"3"`, ""},
		{"DELETE", v1 + "/gateways/tools", "", "", match(`"3"`), administers, "DeleteGateway tools 3", 204, "", ""},

		{"GET", v1 + "/audit?object=signer/x&before=9&limit=2", "", "", nil, reads, "Audit {Object:signer/x Name: Actor: Action: Since:0001-01-01 00:00:00 +0000 UTC Until:0001-01-01 00:00:00 +0000 UTC Before:9 Limit:2}", 200, "", ""},
		{"GET", v1 + "/audit/head", "", "", nil, reads, "AuditHead", 200, "", ""},
		{"GET", v1 + "/audit?name=n&actor=jane&action=signer.&since=2025-07-01T12:00:00Z&until=2025-07-02T12:00:00Z", "", "", nil, reads, "Audit {Object: Name:n Actor:jane Action:signer. Since:2025-07-01 12:00:00 +0000 UTC Until:2025-07-02 12:00:00 +0000 UTC Before:0 Limit:50}", 200, "", ""},
		{"POST", v1 + "/audit/verify", mediaJSON, `{"known":{"seq":3,"hash":"h"}}`, nil, reads, "VerifyAudit {Seq:3 Hash:h}", 200, "", ""},
		{"POST", v1 + "/secret/rotate", "", "", nil, administers, "RotateSecret", 204, "", ""},
	}
}

// send makes the request of e with the token of as.
func (b *bed) send(t testing.TB, as string, e endpoint) *http.Request {
	t.Helper()
	r := b.request(t, as, e.method, e.path, e.body)
	r.RemoteAddr = "192.0.2.1:4711"
	if e.media != "" {
		r.Header.Set("Content-Type", e.media)
	}
	for name, values := range e.header {
		r.Header[name] = values
	}
	return r
}

// Every endpoint becomes its one call, with what the request says and who asks,
// for exactly the roles that it is for.
func TestEndpoints(t *testing.T) {
	for _, e := range endpoints() {
		t.Run(e.method+" "+e.path, func(t *testing.T) {
			b := newBed(t, nil)
			for _, role := range auth.Roles() {
				b.admin.asked = nil
				r := b.send(t, string(role), e)
				r.Header.Set("Signet-Why", "because of <ü>")
				w := b.do(t, r)
				if !strings.Contains(e.may, string(role)) {
					if p := problemOf(w); w.Code != 403 || p.Code != codeRoleMissing || fmt.Sprint(p.Roles) != "["+e.may+"]" || b.admin.asked != nil {
						t.Errorf("as %s: status %d, problem %+v, asked %q", role, w.Code, p, b.admin.asked)
					}
					continue
				}
				h := w.Result().Header
				got := []string{fmt.Sprint(w.Code), strings.Join(b.admin.asked, "; "), h.Get("Etag"), h.Get("Location")}
				if d := cmp.Diff([]string{fmt.Sprint(e.status), e.asked, e.etag, e.location}, got); d != "" {
					t.Errorf("as %s: status, call, ETag and Location (-want +got):\n%s\n%s", role, d, w.Body)
				}
				if by := b.admin.by; by.Principal.Name != string(role)+"-token" || by.From != "192.0.2.1" || by.Why != "because of <ü>" {
					t.Errorf("as %s: on behalf of %+v", role, by)
				}
			}
		})
	}
}

// The table above must not forget one.
func TestEndpointsAreAll(t *testing.T) {
	b := newBed(t, nil)
	for _, rt := range b.administrationRoutes() {
		if rt.path == v1+"/setup" || rt.path == v1+"/policies/preview" || rt.method == http.MethodPost && strings.HasPrefix(rt.path, v1+"/drafts/") {
			continue // not of package administration, so they have tests of their own
		}
		found := false
		for _, e := range endpoints() {
			path, _, _ := strings.Cut(e.path, "?")
			found = found || rt.method == e.method && pathOf(rt).MatchString(path)
		}
		if !found {
			t.Errorf("%s %s is in no test", rt.method, rt.path)
		}
	}
}

// What administration refuses becomes its problem at every endpoint, and never
// anything that looks done.
func TestAdministrationErrors(t *testing.T) {
	fields := administration.FieldErrors{{Field: "issuer", Problem: "is missing"}, {Field: "images[0]", Problem: "has a tag"}}
	for _, tt := range []struct {
		name   string
		err    error
		status int
		code   code
		detail string
	}{
		{"several mistakes", fields, 422, codeInvalidFields, `2 fields are not right: "issuer", "images[0]".`},
		{"wrapped mistakes", fmt.Errorf("x: %w", fields), 422, codeInvalidFields, `2 fields are not right: "issuer", "images[0]".`},
		{"one mistake", fields[:1], 422, codeInvalidFields, `The field "issuer" is not right: is missing.`},
		{"a mistake of the whole", administration.FieldErrors{{Problem: "is empty"}}, 422, codeInvalidFields, "Is empty."},
		{"not there", fmt.Errorf("no such signer: %w", administration.ErrNotFound), 404, codeNotFound, "No such signer: not found."},
		{"stale", administration.ErrStale, 412, codeStale, "Changed meanwhile."},
		{"conflict", administration.ErrConflict, 409, codeConflict, "Conflict."},
		{"role", administration.ErrRole, 403, codeRoleMissing, "Forbidden: role."},
		{"team", administration.ErrNotYours, 403, codeNotYours, "Forbidden: team."},
		{"images", administration.ErrOutOfScope, 403, codeOutOfScope, "Forbidden: images."},
		{"forbidden for a reason nobody knows", administration.ErrForbidden, 403, codeNotYours, "Forbidden."},
		{"store", fmt.Errorf("x: %w", administration.ErrUnavailable), 503, codeStoreUnavailable, "What is in force could not be read, so nothing was decided. Ask again in a moment; the operator finds the cause in the server's log and at /readyz."},
		{"no mistakes at all", administration.FieldErrors{}, 500, codeInternal, "Nothing was decided. The operator finds the cause in the server's log under this request id."},
		{"something else", errors.New("secret cause"), 500, codeInternal, "Nothing was decided. The operator finds the cause in the server's log under this request id."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, e := range endpoints() {
				b := newBed(t, nil)
				b.admin.err = tt.err
				want := tt
				if e.method == http.MethodGet && tt.code == codeInvalidFields {
					want.detail = strings.NewReplacer(`"issuer"`, `"query.issuer"`, `"images[0]"`, `"query.images[0]"`).Replace(want.detail)
				}
				w := recorded(b, b.send(t, "admin", e)) // openapi.json has those that the endpoint can really give
				checkProblem(t, w)
				p := problemOf(w)
				if d := cmp.Diff(told{want.status, want.code, p.Field, want.detail}, told{w.Code, p.Code, p.Field, p.Detail}); d != "" {
					t.Errorf("%s %s (-want +got):\n%s", e.method, e.path, d)
				}
				if tt.code == codeInvalidFields && len(p.Errors) == 0 {
					t.Errorf("%s %s: no errors", e.method, e.path)
				}
			}
		})
	}
}

func TestPreconditions(t *testing.T) {
	const needed = "Send the header If-Match with the ETag of what you read, so that nobody's change is lost."
	const form = `Send the header If-Match with the ETag that you read, like "3" with its quotes, and nothing else.`
	const stale = "It was changed since you read it. Read it again, and send its ETag as If-Match."
	for _, tt := range []struct {
		name  string
		match []string
		want  told
	}{
		{"none", nil, told{428, codeNoPrecondition, "header.If-Match", needed}},
		{"any", []string{"*"}, told{400, codeInvalidField, "header.If-Match", form}},
		{"weak", []string{`W/"3"`}, told{400, codeInvalidField, "header.If-Match", form}},
		{"no quotes", []string{"3"}, told{400, codeInvalidField, "header.If-Match", form}},
		{"a list", []string{`"3", "4"`}, told{400, codeInvalidField, "header.If-Match", form}},
		{"twice", []string{`"3"`, `"4"`}, told{400, codeInvalidField, "header.If-Match", form}},
		{"one quote", []string{`"`}, told{400, codeInvalidField, "header.If-Match", form}},
		{"of another kind", []string{`"abc"`}, told{412, codeStale, "header.If-Match", stale}},
		{"none that we give", []string{`"03"`}, told{412, codeStale, "header.If-Match", stale}},
		{"nothing's version", []string{`"0"`}, told{412, codeStale, "header.If-Match", stale}},
		{"too large", []string{`"99999999999999999999"`}, told{412, codeStale, "header.If-Match", stale}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, e := range endpoints() {
				if e.method != http.MethodPatch && e.method != http.MethodDelete && e.method != http.MethodPut || e.path == v1token || strings.HasPrefix(e.path, v1+"/watch") { // these have no versions
					continue
				}
				if e.method == http.MethodPut && tt.match == nil {
					continue
				}
				b := newBed(t, nil)
				e.header = nil
				r := b.send(t, "admin", e)
				if tt.match != nil {
					r.Header["If-Match"] = tt.match
				}
				if d := cmp.Diff(tt.want, toldBy(b, t, r)); d != "" || b.admin.asked != nil {
					t.Errorf("%s %s: asked %q (-want +got):\n%s", e.method, e.path, b.admin.asked, d)
				}
			}
		})
	}
}

// A PUT without a version makes what is not there, and nothing else.
func TestPutMeetsWhatIsThere(t *testing.T) {
	for _, e := range []endpoint{
		{method: "PUT", path: v1 + "/policies/web", media: mediaYAML, body: "a: b"},
		{method: "PUT", path: v1 + "/trust-roots/own", media: mediaJSON, body: "{}"},
	} {
		for _, tt := range []struct {
			name   string
			header http.Header
			source string
			status int
			code   code
			field  string
		}{
			{"without a header", nil, "api", 428, codeNoPrecondition, "header.If-Match"},
			{"only if new", http.Header{"If-None-Match": {"*"}}, "api", 412, codeStale, "header.If-None-Match"},
			{"of the configuration", nil, "configuration", 409, codeConflict, ""},
			{"another conflict", nil, "", 409, codeConflict, ""},
			{"with a version", match(`"4"`), "api", 409, codeConflict, ""},
			{"both", http.Header{"If-None-Match": {"*"}, "If-Match": {`"4"`}}, "api", 400, codeInvalidField, "header.If-None-Match"},
			{"another tag", http.Header{"If-None-Match": {`"4"`}}, "api", 400, codeInvalidField, "header.If-None-Match"},
		} {
			t.Run(e.path+" "+tt.name, func(t *testing.T) {
				b := newBed(t, nil)
				b.admin.err, b.admin.there = fmt.Errorf("the name is taken: %w", administration.ErrConflict), tt.source
				e.header = tt.header
				got := toldBy(b, t, b.send(t, "admin", e))
				if got.Detail = ""; got != (told{tt.status, tt.code, tt.field, ""}) {
					t.Errorf("got %+v", got)
				}
			})
		}
	}
}

// A policy that somebody has made again while it was being brought back is one that the
// caller did not know of; another conflict stays one.
func TestRollbackWhereMadeAgain(t *testing.T) {
	none := http.Header{"If-None-Match": {"*"}}
	for _, tt := range []struct {
		name   string
		header http.Header
		there  string
		status int
		code   code
	}{
		{"made again", none, "api", 412, codeStale},
		{"another conflict", none, "", 409, codeConflict},
		{"without a header", nil, "api", 409, codeConflict},
		{"of a version", match(`"3"`), "api", 409, codeConflict},
		{"both", http.Header{"If-None-Match": {"*"}, "If-Match": {`"3"`}}, "api", 400, codeInvalidField},
		{"an old tag", match(`"0"`), "api", 412, codeStale},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, nil)
			b.admin.err, b.admin.there = fmt.Errorf("it is there: %w", administration.ErrConflict), tt.there
			got := toldBy(b, t, b.send(t, "admin", endpoint{method: "POST", path: v1 + "/policies/web/rollback", media: mediaJSON, body: "{}", header: tt.header}))
			if got.Status != tt.status || got.Code != tt.code {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestWhy(t *testing.T) {
	for _, tt := range []struct {
		name   string
		why    []string
		detail string
	}{
		{"longest", []string{strings.Repeat("a", 500)}, ""},
		{"too long", []string{strings.Repeat("a", 501)}, "The header Signet-Why has 501 bytes; 500 are the most."},
		{"not UTF-8", []string{"a\xff"}, "The header Signet-Why has characters that cannot be printed. Write it in UTF-8."},
		{"tab", []string{"a\tb"}, "The header Signet-Why has characters that cannot be printed. Write it in UTF-8."},
		{"twice", []string{"a", "b"}, "The header Signet-Why is there several times. Send it once."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, nil)
			r := b.request(t, "admin", http.MethodPost, v1+"/signers", newName)
			r.Header["Signet-Why"] = tt.why
			want := told{Status: 201}
			if tt.detail != "" {
				want = told{400, codeInvalidField, "header.Signet-Why", tt.detail}
			}
			if d := cmp.Diff(want, toldBy(b, t, r)); d != "" || (tt.detail == "") != (b.admin.asked != nil) {
				t.Errorf("asked %q (-want +got):\n%s", b.admin.asked, d)
			}
		})
	}
}

// Parameters of lists are checked together.
func TestListParameters(t *testing.T) {
	for path, want := range map[string][]fieldProblem{
		v1 + "/signers?type=pgp&state=on&enabled=yes&limit=0&query=&owner=%00": {
			{"query.query", "It is empty. Leave it out, or give it a value."},
			{"query.type", `It is "pgp"; it should be keyless, public_key or kms.`},
			{"query.state", `It is "on"; it should be in_force, disabled, not_yet or expired.`},
			{"query.owner", "It has characters that cannot be printed."},
			{"query.enabled", `It is "yes"; it should be true or false.`},
			{"query.limit", `It is "0"; it should be a whole number from 1 to 1000.`},
		},
		v1 + "/tokens?limit=1001&cursor=" + strings.Repeat("a", 513): {
			{"query.limit", `It is "1001"; it should be a whole number from 1 to 1000.`},
			{"query.cursor", "It has more than 512 bytes."},
		},
		v1 + "/trust-roots?cursor=nowhere": {{"query.cursor", "It is none of this list, or what it stood at is gone. Begin without it."}},
		v1 + "/audit?before=-1":            {{"query.before", `It is "-1"; it should be a whole number from 1 to 9223372036854775807.`}},
		v1signer + "/verdicts?limit=many":  {{"query.limit", `It is "many"; it should be a whole number from 1 to 1000.`}},
		verdictsPath + "?decision=maybe&digest=sha256:AB&since=yesterday&until=2025-07-01&assessment_id=" + strings.Repeat("a", 201): {
			{"query.decision", `It is "maybe"; it should be allow, deny or unknown.`},
			{"query.assessment_id", "It has more than 200 bytes."},
			{"query.since", `It is "yesterday"; it should be a time like 2025-07-01T12:00:00Z (RFC 3339; a + in it is written %2B).`},
			{"query.until", `It is "2025-07-01"; it should be a time like 2025-07-01T12:00:00Z (RFC 3339; a + in it is written %2B).`},
			{"query.digest", `It is "sha256:AB"; it should be sha256: and 64 characters of lower-case hexadecimal.`},
		},
		verdictsPath + "?digest=sha256:" + strings.Repeat("g", 64): {{"query.digest", `It is "sha256:` + strings.Repeat("g", 64) + `"; it should be sha256: and 64 characters of lower-case hexadecimal.`}},
		verdictsPath + "?since=2025-07-01T12:00:00Z&until=2025-07-01T14:00:00%2B02:00": {
			{"query.until", "It is not after since, so nothing could be found."},
		},
	} {
		b := newBed(t, nil)
		w := b.do(t, b.request(t, "viewer", http.MethodGet, path, ""))
		p := problemOf(w)
		if d := cmp.Diff(want, p.Errors); d != "" || w.Code != 422 || p.Code != codeInvalidFields || p.Field != want[0].Field {
			t.Errorf("%s: status %d, code %s, field %s (-want +got):\n%s", path, w.Code, p.Code, p.Field, d)
		}
	}
}

func TestManyMistakesAreCounted(t *testing.T) {
	list := make([]fieldProblem, 12)
	for i := range list {
		list[i] = fieldProblem{fmt.Sprintf("f%d", i), "No."}
	}
	if got := invalidFields(list).detail; got != `12 fields are not right: "f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9" and others.` {
		t.Error(got)
	}
}

// Bodies of administration are read as strictly as those that ask for verdicts.
func TestAdministrationBodies(t *testing.T) {
	for _, tt := range []struct{ path, body, field, detail string }{
		{v1 + "/signers", `{"name":1}`, "name", `The field "name" should be a string, not a number.`},
		{v1 + "/signers", `{"images":[1]}`, "images", `Every value in the field "images" should be a string; one is a number.`},
		{v1 + "/signers", `{"images":"a"}`, "images", `The field "images" should be a list, not a string.`},
		{v1 + "/signers", `{"expires_at":"soon"}`, "expires_at", `The field "expires_at" should be a time like "2025-07-01T12:00:00Z" (RFC 3339), not "\"soon\"".`},
		{v1 + "/signers", `{"not_before":17}`, "not_before", `The field "not_before" should be a time like "2025-07-01T12:00:00Z" (RFC 3339), not "17".`},
		{v1 + "/signers", `{"kms":1}`, "kms", `The field "kms" should be an object, not a number.`},
		{v1 + "/signers", `{"kms":{"pending":{"seen_at":"x"}}}`, "", ""},
		{v1signer + "/compromise", `{"since":"x"}`, "since", `The field "since" should be a time like "2025-07-01T12:00:00Z" (RFC 3339), not "\"x\"".`},
		{v1 + "/audit/verify", `{"known":{"seq":1.5}}`, "known.seq", `The field "known.seq" should be a whole number, not a number.`},
		{v1 + "/setup", `{"name":"a","admin":true}`, "admin", `The field "admin" is not known (line 1, byte 12). Known fields are name.`},
	} {
		b := newBed(t, nil)
		got := toldBy(b, t, b.request(t, "admin", http.MethodPost, tt.path, tt.body))
		if got.Status != 400 || got.Field != tt.field || tt.detail != "" && got.Detail != tt.detail || b.admin.asked != nil {
			t.Errorf("%s %s: %+v, asked %q", tt.path, tt.body, got, b.admin.asked)
		}
	}
	b := newBed(t, nil)
	want := told{415, codeUnsupportedMedia, "header.Content-Type", `Send the header Content-Type: application/merge-patch+json or application/json, not "text/plain".`}
	if d := cmp.Diff(want, toldBy(b, t, b.send(t, "admin", endpoint{method: "PATCH", path: v1signer, media: "text/plain", body: "x"}))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	w := b.do(t, b.request(t, "admin", http.MethodPost, v1+"/trust/import", `{"archive":null}`))
	if d := cmp.Diff([]fieldProblem{
		{"archive", "It is missing. Send the file that `signet trust export` wrote."},
		{"public_key", "It is missing. Send the key that the archive must be signed with, as PEM; the exporting server gives it at /api/v1/trust/export-key."},
	}, problemOf(w).Errors); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// Large bodies are for who has authenticated; a stranger's is not read at all.
func TestLargeBodies(t *testing.T) {
	b := newBed(t, func(c *Config) { c.BodyLimit, c.LargeBodyLimit = 100, 1000 })
	for size, want := range map[int]int{999: 200, 1001: 413} {
		if w := b.do(t, b.send(t, "admin", endpoint{method: "POST", path: v1 + "/signers/import", media: mediaYAML, body: strings.Repeat("a", size)})); w.Code != want {
			t.Errorf("%d bytes: status %d, want %d", size, w.Code, want)
		}
	}
	if w := b.do(t, b.request(t, "admin", http.MethodPost, v1+"/signers", `{"name":"`+strings.Repeat("a", 200)+`"}`)); w.Code != 413 {
		t.Errorf("a small body that is too large: status %d", w.Code)
	}
	for _, as := range []string{"expired", "viewer"} {
		r := b.send(t, as, endpoint{method: "POST", path: v1 + "/signers/import", media: mediaYAML, body: "a"})
		r.Body, r.ContentLength = http.NoBody, 500
		r.Body = &endlessCloser{endless{t: t, left: 0}}
		if w := b.do(t, r); w.Code != 401 && w.Code != 403 {
			t.Errorf("%s: status %d", as, w.Code)
		}
	}
}

type endlessCloser struct{ endless }

func (*endlessCloser) Close() error { return nil }

func TestTrustRootPages(t *testing.T) {
	b := newBed(t, nil)
	for path, want := range map[string]string{"?limit=2": "ab b", "?limit=2&cursor=b": "c ", "?limit=3": "abc ", "?cursor=c": " "} {
		var page client.Page[client.TrustRoot]
		w := b.do(t, b.request(t, "viewer", http.MethodGet, v1+"/trust-roots"+path, ""))
		read(t, w, &page)
		names := ""
		for _, r := range page.Items {
			names += r.Name
		}
		if got := names + " " + page.Next; got != want || page.Items == nil {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestAuditDamaged(t *testing.T) {
	b := newBed(t, nil)
	b.admin.err = fmt.Errorf("checking the audit log: %w: entry 7 does not hash to what it says", administration.ErrCorrupt)
	got := toldBy(b, t, b.request(t, "viewer", http.MethodPost, v1+"/audit/verify", `{}`))
	want := told{409, codeAuditDamaged, "", "Checking the audit log: the store holds damaged data: entry 7 does not hash to what it says."}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestSetup(t *testing.T) {
	b := newBed(t, nil)
	post := func(token string) *http.Request {
		r := b.request(t, "", http.MethodPost, v1+"/setup", `{"name":"first"}`)
		r.RemoteAddr = "192.0.2.1:4711"
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		return r
	}
	if got := toldBy(b, t, post("")); got.Code != codeTokenMissing || b.admin.asked != nil {
		t.Errorf("without a token: %+v", got)
	}
	w := b.do(t, post("the-setup-token"))
	if d := cmp.Diff([]string{"Setup the-setup-token first"}, b.admin.asked); d != "" || w.Code != 201 || b.admin.by.From != "192.0.2.1" {
		t.Errorf("status %d, from %q (-want +got):\n%s", w.Code, b.admin.by.From, d)
	}
	b.admin.err = fmt.Errorf("setup: %w", auth.ErrUnknown)
	for range perGuess.Burst {
		if got := toldBy(b, t, post("guess")); got.Code != codeTokenUnknown {
			t.Fatalf("a wrong token: %+v", got)
		}
	}
	b.admin.err, b.admin.asked = nil, nil
	if got := toldBy(b, t, post("the-right-one")); got.Status != 429 || b.admin.asked != nil {
		t.Errorf("after too many guesses: %+v, asked %q", got, b.admin.asked)
	}
}

// A face without administration has none of its paths.
func TestWithoutAdministration(t *testing.T) {
	b := newBed(t, func(c *Config) { c.Administration = nil })
	for _, e := range endpoints() {
		if w := recorded(b, b.send(t, "admin", e)); w.Code != 404 {
			t.Errorf("%s %s: status %d", e.method, e.path, w.Code)
		}
	}
}

func TestSentence(t *testing.T) {
	for in, want := range map[string]string{"": "It is not right.", "ümlaut": "Ümlaut.", "is it so?": "Is it so?", "Done.": "Done."} {
		if got := sentence(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
