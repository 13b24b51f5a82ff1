package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/verdict"
)

// kept puts verdicts into the bed, the newest first: "a" allows, "d" denies, "u" is
// unknown, "s" allows without a signature that counts; behind it the image, and behind
// a slash the platform.
func (b *bed) kept(t *testing.T, list ...string) {
	t.Helper()
	bodies, asked := map[string][]byte{}, map[string]Question{}
	var rows []client.Verification
	for i, one := range list {
		image, platform, _ := strings.Cut(one[1:], "/")
		d := map[byte]verdict.Decision{'a': verdict.Allow, 's': verdict.Allow, 'd': verdict.Deny, 'u': verdict.Unknown}[one[0]]
		var v verdict.Verdict
		if err := json.Unmarshal(answer(t, d, d == verdict.Allow, engine.FromMiss).Body, &v); err != nil {
			t.Fatal(err)
		}
		v.ID, v.Image = fmt.Sprintf("01JZ5X3F8Q%016d", i), "registry.example/org/"+image+":v1"
		v.Coverage[0].Signed = one[0] == 'a'
		body, err := encode(v)
		if err != nil {
			t.Fatal(err)
		}
		bodies[v.ID], asked[v.ID] = body, Question{Platform: platform}
		rows = append(rows, client.Verification{ID: v.ID, ImageRef: v.Image, ImageName: strings.TrimSuffix(v.Image, ":v1"), Allowed: v.Allowed, Decision: string(d), CreatedAt: testNow})
	}
	b.verdicts.verdict = func(_ context.Context, id string) ([]byte, error) { return bodies[id], nil }
	b.verdicts.question = func(_ context.Context, id string) (Question, error) { return asked[id], nil }
	b.verdicts.list = func(_ context.Context, f VerdictFilter, _ string, limit int) (client.Page[client.Verification], error) {
		if f.AssessmentID != "" && f.AssessmentID != "deploy/4711 é" {
			return client.Page[client.Verification]{}, nil
		}
		page := client.Page[client.Verification]{Items: rows[:min(limit, len(rows))]}
		if limit < len(rows) {
			page.Next = "more"
		}
		return page, nil
	}
}

func TestAssessment(t *testing.T) {
	path := v1 + "/assessments/" + url.PathEscape("deploy/4711 é")
	for _, tt := range []struct {
		name string
		kept []string
		// images that there are, and what is said of them all.
		images          int
		signed, allowed bool
		decision        client.Decision
	}{
		{"one that is signed", []string{"aapp"}, 1, true, true, "allow"},
		{"the newest counts", []string{"aapp", "dapp", "uapp"}, 1, true, true, "allow"},
		{"and only that", []string{"dapp", "aapp"}, 1, false, false, "deny"},
		{"one of two is not signed", []string{"aapp", "dother"}, 2, false, false, "deny"},
		{"one is not known", []string{"aapp", "uother", "dthird"}, 3, false, false, "unknown"},
		{"allowed without a signature", []string{"sapp"}, 1, false, true, "allow"},
		{"another platform", []string{"aapp/arm64", "dapp/amd64"}, 2, false, false, "deny"},
		{"the same platform again", []string{"aapp/amd64", "dapp/amd64"}, 1, true, true, "allow"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, nil)
			b.kept(t, tt.kept...)
			var a client.Assessment
			read(t, b.do(t, b.request(t, "viewer", http.MethodGet, path, "")), &a)
			if a.ID != "deploy/4711 é" || len(a.Images) != tt.images || len(a.Verdicts) != len(tt.kept) || a.SignedImage != tt.signed || a.Allowed != tt.allowed || a.Decision != tt.decision {
				t.Errorf("%+v", a)
			}
		})
	}
	b := newBed(t, nil)
	b.kept(t, "aapp", "dapp")
	b.verdicts.question = func(context.Context, string) (Question, error) { return Question{}, errors.New("away") }
	var a client.Assessment
	if read(t, b.do(t, b.request(t, "viewer", http.MethodGet, path, "")), &a); a.SignedImage || len(a.Images) != 2 {
		t.Errorf("how they were asked cannot be told: %+v", a)
	}
	b.kept(t, strings.Split(strings.TrimSpace(strings.Repeat("aapp ", mostAssessed+1)), " ")...)
	if read(t, b.do(t, b.request(t, "viewer", http.MethodGet, path, "")), &a); !a.Truncated || a.SignedImage || a.Allowed {
		t.Errorf("too many to show: truncated %t, signed %t", a.Truncated, a.SignedImage)
	}
	for as, want := range map[string]told{
		"viewer":   {404, codeNotFound, "id", `No verdict was asked for under the assessment "none". Send it as assessment_id with the request for a verdict.`},
		"verifier": {403, codeRoleMissing, "", `This needs a token with the role viewer, author or admin; the token "verifier-token" has the role verifier.`},
	} {
		if got := toldBy(b, t, b.request(t, as, http.MethodGet, v1+"/assessments/none", "")); got != want {
			t.Errorf("%s: %+v", as, got)
		}
	}
}

func TestVerdictLater(t *testing.T) {
	b := newBed(t, func(cfg *Config) { cfg.ExternalURL = externalURL })
	var asked pep.Question
	add := b.requests.add
	b.requests.add = func(ctx context.Context, q pep.Question) (client.VerdictRequestStatus, error) {
		asked = q
		return add(ctx, q)
	}
	ask := func(path, body, prefer string) (int, http.Header, problemBody) {
		r := b.request(t, "verifier", http.MethodPost, path, body)
		r.Header.Set("Prefer", prefer)
		w := b.do(t, r)
		return w.Code, w.Result().Header, problemOf(w)
	}
	const body = `{"image":"` + testImage + `","assessment_id":"a-1"}`
	for _, prefer := range []string{"respond-async", "Respond-Async, handling=lenient", "respond-async; x=1", "return=minimal,respond-async", "respond-async, wait=0", "wait=soon, respond-async"} {
		asked = pep.Question{}
		status, h, _ := ask(v1+"/verdicts", body, prefer)
		if status != http.StatusAccepted || h.Get("Preference-Applied") != "respond-async" || h.Get("Location") != v1+"/verdict-requests/"+testID || h.Get("Retry-After") == "" {
			t.Errorf("%q: %d %v", prefer, status, h)
		}
		if asked.Image != testImage || asked.AssessmentID != "a-1" || asked.Principal.Name != "verifier-token" {
			t.Errorf("%q: asked %+v", prefer, asked)
		}
	}
	if status, h, _ := ask(v1+"/verdicts", body, "return=minimal"); status != http.StatusOK || h.Get("Preference-Applied") != "" {
		t.Errorf("another preference: %d %v", status, h)
	}
	if status, _, _ := ask(imageSigning+"/verify", `{"image_ref":"`+testImage+`"}`, "respond-async"); status != http.StatusAccepted {
		t.Errorf("the plugin's path: %d", status)
	}
	for body, field := range map[string]string{`{"image":"/etc/passwd"}`: "image", `{"image":"bare"}`: "image", `{"image":"` + testImage + `","context":{"stage":"x"}}`: "context.stage", `{"image":"` + testImage + `","platform":"x"}`: "platform"} {
		if status, _, p := ask(v1+"/verdicts", body, "respond-async"); status != 400 || p.Field != field {
			t.Errorf("%s: %d %+v", body, status, p)
		}
	}
	b.requests.add = func(context.Context, pep.Question) (client.VerdictRequestStatus, error) {
		return client.VerdictRequestStatus{}, fmt.Errorf("full: %w", ErrBusy)
	}
	if status, h, p := ask(v1+"/verdicts", body, "respond-async"); status != 503 || p.Code != codeBusy || h.Get("Retry-After") == "" || p.Decision != "unknown" {
		t.Errorf("while too many wait: %d %+v", status, p)
	}
}

// A caller says how long it would wait (RFC 7240): past that the answer is unknown, or,
// where it would rather fetch it, it is kept. What is decided in time is answered.
func TestPreferWait(t *testing.T) {
	unknown := func(ctx context.Context, t *testing.T) (engine.Answer, error) { // as the engine does
		<-ctx.Done()
		return answer(t, verdict.Unknown, false, engine.FromMiss), nil
	}
	allow := func(_ context.Context, t *testing.T) (engine.Answer, error) {
		return answer(t, verdict.Allow, true, engine.FromMemory), nil
	}
	const most = 30 * time.Second // of the server
	for _, tt := range []struct {
		name, prefer string
		decide       func(context.Context, *testing.T) (engine.Answer, error)
		status       int
		applied      string
		within       time.Duration // that the engine was given
	}{
		{"decided in time", "wait=5", allow, 200, "wait=5", 5 * time.Second},
		{"not decided in time", "wait=1", unknown, 503, "wait=1", time.Second},
		{"decided in time, and could be fetched", "respond-async, wait=5", allow, 200, "wait=5", 5 * time.Second},
		{"not decided in time, and fetched", "wait=1, respond-async", unknown, 202, "respond-async, wait=1", time.Second},
		{"the engine gives up", "wait=1, respond-async", func(ctx context.Context, _ *testing.T) (engine.Answer, error) {
			<-ctx.Done()
			return engine.Answer{}, ctx.Err()
		}, 202, "respond-async, wait=1", time.Second},
		{"unknown at once, and fetched", "wait=5, respond-async", func(_ context.Context, t *testing.T) (engine.Answer, error) {
			return answer(t, verdict.Unknown, false, engine.FromMiss), nil
		}, 202, "respond-async, wait=5", 5 * time.Second},
		{"a denial is an answer", "wait=5, respond-async", func(_ context.Context, t *testing.T) (engine.Answer, error) {
			return answer(t, verdict.Deny, false, engine.FromMiss), nil
		}, 200, "wait=5", 5 * time.Second},
		{"longer than the server answers", "wait=31", allow, 200, "", most},
		{"longer than is left for keeping it", "wait=29, respond-async", allow, 200, "", most - most/10},
		{"more than can be counted", "wait=99999999999", allow, 200, "", most},
		{"the first counts", "wait=4, wait=7", allow, 200, "wait=4", 4 * time.Second},
		{"with parameters and in quotes", `Wait = "4"; x=1`, allow, 200, "wait=4", 4 * time.Second},
		{"no time", "wait=0", allow, 200, "", most},
		{"no number", "wait=soon", allow, 200, "", most},
		{"less than nothing", "wait=-1", allow, 200, "", most},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, path := range []string{v1 + "/verdicts", imageSigning + "/verify"} {
				b := newBed(t, func(cfg *Config) { cfg.VerdictTimeout = most })
				var begun, end time.Time
				var within time.Duration
				b.decider.decide = func(ctx context.Context, _ *engine.State, _ engine.Request) (engine.Answer, error) {
					end, _ = ctx.Deadline()
					within = time.Until(end)
					return tt.decide(ctx, t)
				}
				body := `{"image":"` + testImage + `"}`
				if path != v1+"/verdicts" {
					body = `{"image_ref":"` + testImage + `"}`
				}
				r := b.request(t, "verifier", http.MethodPost, path, body)
				r.Header.Set("Prefer", tt.prefer)
				begun = time.Now()
				w := b.do(t, r)
				h := w.Result().Header
				if w.Code != tt.status || h.Get("Preference-Applied") != tt.applied {
					t.Errorf("%s: %d, applied %q, want %d and %q: %s", path, w.Code, h.Get("Preference-Applied"), tt.status, tt.applied, w.Body)
				}
				if within > tt.within || end.Before(begun.Add(tt.within)) {
					t.Errorf("%s: the engine had %s, want %s", path, within, tt.within)
				}
				if (w.Code == http.StatusAccepted) != (h.Get("Location") == v1+"/verdict-requests/"+testID) {
					t.Errorf("%s: %d, at %q", path, w.Code, h.Get("Location"))
				}
			}
		})
	}
	// Neither evidence nor an attestation can be kept: the answer is what there is.
	b := newBed(t, nil)
	b.decider.decide = func(ctx context.Context, _ *engine.State, _ engine.Request) (engine.Answer, error) {
		return unknown(ctx, t)
	}
	r := b.request(t, "verifier", http.MethodPost, v1+"/verdicts", `{"image":"`+testImage+`","evidence":[{}]}`)
	r.Header.Set("Prefer", "wait=1, respond-async")
	if w := b.do(t, r); w.Code != http.StatusServiceUnavailable || w.Result().Header.Get("Preference-Applied") != "wait=1" {
		t.Errorf("with evidence: %d %v", w.Code, w.Result().Header)
	}
}

// A request tells how it stands to who asked and who may read, and to nobody else.
func TestVerdictRequest(t *testing.T) {
	b := newBed(t, func(cfg *Config) { cfg.ExternalURL = externalURL })
	path := v1 + "/verdict-requests/" + testID
	at := testNow.Add(time.Minute)
	s := client.VerdictRequestStatus{ID: testID, State: client.RequestDone, Image: testImage, AssessmentID: "a-1", CreatedAt: testNow, FinishedAt: &at, Decision: client.Deny, VerdictID: testID, Verdict: bytes.TrimSpace(answer(t, verdict.Deny, false, engine.FromMiss).Body)}
	by := "verifier-token"
	b.requests.get = func(context.Context, string) (client.VerdictRequestStatus, string, error) { return s, by, nil }
	for _, as := range []string{"verifier", "viewer", "admin"} {
		w := b.do(t, b.request(t, as, http.MethodGet, path, ""))
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"link":"`+externalURL) {
			t.Errorf("%s: %d %s", as, w.Code, w.Body)
		}
	}
	by = "somebody else"
	if w := b.do(t, b.request(t, "verifier", http.MethodGet, path, "")); w.Code != http.StatusNotFound {
		t.Errorf("another verifier's: %d", w.Code)
	}
	ctx := WithPrincipal(t.Context(), auth.Principal{Name: "web", Role: auth.Viewer, Images: []string{"registry.example/web/**"}})
	if w := b.do(t, b.request(t, "", http.MethodGet, path, "").WithContext(ctx)); w.Code != http.StatusNotFound {
		t.Errorf("another team's: %d", w.Code)
	}
	s.State, s.Decision, s.Verdict, s.VerdictID, s.FinishedAt = client.RequestWaiting, "", nil, "", nil
	if w := b.do(t, b.request(t, "viewer", http.MethodGet, path, "")); w.Code != http.StatusOK || w.Result().Header.Get("Retry-After") == "" {
		t.Errorf("while it waits: %d %v", w.Code, w.Result().Header)
	}
	for _, id := range []string{"x", testID} {
		b.requests.get = func(context.Context, string) (client.VerdictRequestStatus, string, error) {
			return client.VerdictRequestStatus{}, "", fmt.Errorf("%w: none", ErrNotFound)
		}
		if p := problemOf(b.do(t, b.request(t, "viewer", http.MethodGet, v1+"/verdict-requests/"+id, ""))); p.Code != codeNotFound || p.Field != "id" {
			t.Errorf("%s: %+v", id, p)
		}
	}
}

func TestImageSigningVerify(t *testing.T) {
	digest := "sha256:" + strings.Repeat("b", 64)
	for _, tt := range []struct {
		name, body string
		// image that is asked about, "" where the request is refused as want says.
		image string
		want  told
	}{
		{"a tag", `{"image_ref":"` + testImage + `","assessment_id":null}`, testImage, told{}},
		{"a tag at a digest", `{"image_ref":"` + testImage + `","image_digest":"` + digest + `"}`, testImage + "@" + digest, told{}},
		{"the same digest twice", `{"image_ref":"` + testImage + "@" + digest + `","image_digest":"` + digest + `"}`, testImage + "@" + digest, told{}},
		{"a digest that is none", `{"image_ref":"` + testImage + `","image_digest":"latest"}`, "", told{422, codeInvalidFields, "image_digest", `The field "image_digest" is not right: it is "latest"; it should be sha256: and 64 characters of lower-case hexadecimal.`}},
		{"another digest", `{"image_ref":"` + testImage + "@" + digest + `","image_digest":"sha256:` + strings.Repeat("a", 64) + `"}`, "", told{400, codeInvalidField, "image_digest", ""}},
		{"no image", `{"image_digest":"` + digest + `"}`, "", told{400, codeMissingField, "image_ref", ""}},
		{"a file", `{"image_ref":"/etc/passwd"}`, "", told{400, codeInvalidField, "image_ref", ""}},
		{"another field", `{"image_ref":"` + testImage + `","verified":true}`, "", told{400, codeUnknownField, "verified", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, nil)
			asked := ""
			b.decider.decide = func(_ context.Context, _ *engine.State, req engine.Request) (engine.Answer, error) {
				asked = req.Image
				return answer(t, verdict.Allow, true, engine.FromMemory), nil
			}
			r := b.request(t, "verifier", http.MethodPost, imageSigning+"/verify", tt.body)
			if tt.image == "" {
				got := toldBy(b, t, r)
				if tt.want.Detail == "" {
					got.Detail = ""
				}
				if got != tt.want || asked != "" {
					t.Errorf("%+v, asked %q", got, asked)
				}
				return
			}
			var v imageSigningVerdict
			if read(t, b.do(t, r), &v); asked != tt.image || v.Blocked || !v.SignatureValid || !v.RekorVerified || v.SLSA.Level != 2 || v.Reason != nil || v.VerificationID != testID || *v.SignerIssuer != "https://accounts.example.com" {
				t.Errorf("asked %q: %+v", asked, v)
			}
		})
	}
}

func TestImageSigningVerifications(t *testing.T) {
	b := newBed(t, nil)
	b.kept(t, "aone", "dtwo", "uthree")
	var rows []imageSigningVerification
	read(t, b.do(t, b.request(t, "viewer", http.MethodGet, imageSigning+"/verifications?limit=1&offset=1", "")), &rows)
	if len(rows) != 1 || rows[0].ImageRef != "registry.example/org/two:v1" || !rows[0].Blocked || rows[0].SignerIdentity != nil {
		t.Errorf("%+v", rows)
	}
	if read(t, b.do(t, b.request(t, "viewer", http.MethodGet, imageSigning+"/verifications?offset=7", "")), &rows); len(rows) != 0 {
		t.Errorf("behind the end: %+v", rows)
	}
	if p := problemOf(b.do(t, b.request(t, "viewer", http.MethodGet, imageSigning+"/verifications?limit=201", ""))); p.Code != codeInvalidFields || p.Field != "query.limit" {
		t.Errorf("%+v", p)
	}
}

// The plugin's signers are Signet's, over the real administration.
func TestImageSigningSigners(t *testing.T) {
	b := newRealBed(t)
	b.begin(t)
	const at = imageSigning + "/signers"
	var made pluginSigner
	w := b.ask(t, "root", "POST", at, nil, `{"name":"ci","signer_type":"keyless","oidc_issuer":"https://accounts.google.com","subject":"ci@example.com"}`, 201, &made)
	if made.ID == "" || !made.Enabled || *made.OIDCIssuer != "https://accounts.google.com" || made.SubjectRegex != nil || w.Result().Header.Get("Location") != at+"/"+made.ID {
		t.Errorf("%+v %v", made, w.Result().Header)
	}
	var own client.Signer
	if b.ask(t, "viewer", "GET", v1+"/signers/"+made.ID, nil, "", 200, &own); own.Type != "keyless" || own.Subject != "ci@example.com" {
		t.Errorf("as Signet has it: %+v", own)
	}
	if p := problemOf(b.ask(t, "root", "POST", at, nil, `{"name":"x","signer_type":"keyless","oidc_issuer":"http://x y","subject":"a"}`, 422, nil)); p.Field != "oidc_issuer" {
		t.Errorf("a mistake: %+v", p)
	}
	if w := b.ask(t, "root", "PATCH", at+"/"+made.ID, nil, `{"enabled":false,"subject":null,"subject_regex":".*@example\\.com"}`, 200, &made); made.Enabled || made.Subject != nil || made.SubjectRegex == nil || w.Result().Header.Get("ETag") != `"2"` {
		t.Errorf("changed: %+v", made)
	}
	if p := problemOf(b.ask(t, "root", "PATCH", at+"/"+made.ID, http.Header{"If-Match": {`"1"`}}, `{"enabled":true}`, 412, nil)); p.Code != codeStale {
		t.Errorf("an old version: %+v", p)
	}
	if p := problemOf(b.ask(t, "root", "PATCH", at+"/"+made.ID, nil, `{"owner":"x"}`, 400, nil)); p.Field != "owner" {
		t.Errorf("a field that the plugin has not: %+v", p)
	}
	var list []pluginSigner
	if b.ask(t, "viewer", "GET", at, nil, "", 200, &list); len(list) != 1 || list[0].ID != made.ID {
		t.Errorf("%+v", list)
	}
	b.ask(t, "viewer", "DELETE", at+"/"+made.ID, nil, "", 403, nil)
	b.ask(t, "root", "DELETE", at+"/"+made.ID, nil, "", 204, nil)
	b.ask(t, "viewer", "GET", at+"/"+made.ID, nil, "", 404, nil)
	if _, err := b.Server.cfg.Administration.Signer(t.Context(), administration.Caller{Principal: auth.Principal{Name: "x", Role: auth.Viewer}}, made.ID); !errors.Is(err, administration.ErrNotFound) {
		t.Errorf("it is there all the same: %v", err)
	}
}
