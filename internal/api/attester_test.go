package api

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/verdict"
)

// fakeAttester says what it is told to.
type fakeAttester struct {
	says verdict.Attestation
	of   *verdict.Verdict
}

func (a *fakeAttester) Attest(_ context.Context, v *verdict.Verdict) *verdict.Attestation {
	a.of = v
	says := a.says
	return &says
}
func (*fakeAttester) VerifierID() string  { return "https://signet.example/prod" }
func (*fakeAttester) PublicKey() string   { return "-----BEGIN PUBLIC KEY-----\n" }
func (*fakeAttester) Fingerprint() string { return "ab" }
func (*fakeAttester) Hash() string        { return "SHA-256" }
func (*fakeAttester) Pushes() bool        { return true }

const attestationPath = "/api/v1/verdicts/" + testID + "/attestation"

func attesting(t *testing.T) (*bed, *fakeAttester) {
	t.Helper()
	a := &fakeAttester{says: verdict.Attestation{
		Result: verdict.AttestedPassed, VerifierID: "v", Policy: &verdict.AttestedPolicy{URI: "u", Digest: "d"},
		Bundle: []byte(`{"mediaType":"m","dsseEnvelope":{"payload":"cA==","signatures":[{"sig":"c2ln"}]}}`),
	}}
	b := newBed(t, func(cfg *Config) { cfg.Attester = a })
	b.verdicts.verdict = func(context.Context, string) ([]byte, error) {
		return answer(t, verdict.Allow, true, engine.FromMiss).Body, nil
	}
	return b, a
}

func TestAttestation(t *testing.T) {
	b, a := attesting(t)
	for _, tt := range []struct{ query, media, body string }{
		{"", mediaSigstore, string(a.says.Bundle)},
		{"?format=bundle", mediaSigstore, string(a.says.Bundle)},
		{"?format=dsse", mediaDSSE, `{"payload":"cA==","signatures":[{"sig":"c2ln"}]}`},
	} {
		w := b.do(t, b.request(t, string(auth.Verifier), http.MethodGet, attestationPath+tt.query, ""))
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != tt.media || w.Body.String() != tt.body {
			t.Errorf("%q: %d %s %s", tt.query, w.Code, w.Header().Get("Content-Type"), w.Body)
		}
	}
	if a.of == nil || a.of.ID != testID || len(a.of.Policies) == 0 {
		t.Errorf("attested was %+v", a.of)
	}
}

func TestAttestationThatIsNone(t *testing.T) {
	b, a := attesting(t)
	for _, tt := range []struct {
		name, as, path string
		status         int
		code           code
	}{
		{"another format", "verifier", attestationPath + "?format=cbor", 400, codeInvalidField},
		{"who only reads", "viewer", attestationPath, 403, codeRoleMissing},
		{"no id", "verifier", "/api/v1/verdicts/7/attestation", 404, codeVerdictNotFound},
	} {
		w := b.do(t, b.request(t, tt.as, http.MethodGet, tt.path, ""))
		if p := problemOf(w); w.Code != tt.status || p.Code != tt.code {
			t.Errorf("%s: %d %s", tt.name, w.Code, w.Body)
		}
	}
	a.says = verdict.Attestation{Result: verdict.AttestedNothing, Reason: &verdict.Reason{Message: "An exception let it pass.", Remediation: "Sign it."}}
	w := b.do(t, b.request(t, "verifier", http.MethodGet, attestationPath, ""))
	if p := problemOf(w); p.Code != codeNotAttested || p.Detail != "An exception let it pass. Sign it." {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	without := newBed(t, nil)
	for _, path := range []string{attestationPath, "/api/v1/attester"} {
		w := without.do(t, without.request(t, "verifier", http.MethodGet, path, ""))
		if p := problemOf(w); w.Code != http.StatusConflict || p.Code != codeNoAttester {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestAttester(t *testing.T) {
	b, _ := attesting(t)
	var got client.Attester
	read(t, b.do(t, b.request(t, "viewer", http.MethodGet, "/api/v1/attester", "")), &got)
	want := client.Attester{VerifierID: "https://signet.example/prod", PublicKey: "-----BEGIN PUBLIC KEY-----\n", Key: "ab", Hash: "SHA-256", Push: true}
	if got != want {
		t.Errorf("%+v", got)
	}
}

// What was asked reaches the engine, by the quick reader of bodies and the strict one.
func TestAttestIsAskedFor(t *testing.T) {
	b, _ := attesting(t)
	var asked []bool
	decide := b.decider.decide
	b.decider.decide = func(ctx context.Context, st *engine.State, req engine.Request) (engine.Answer, error) {
		asked = append(asked, req.Attest)
		return decide(ctx, st, req)
	}
	for _, body := range []string{`{"image":"` + testImage + `","attest":true}`, `{"image":"` + strings.Replace(testImage, "/", `\/`, 1) + `","attest":true}`, `{"image":"` + testImage + `"}`} {
		if w := b.do(t, b.request(t, "verifier", http.MethodPost, "/api/v1/verdicts", body)); w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	if len(asked) != 3 || !asked[0] || !asked[1] || asked[2] {
		t.Errorf("attest %v", asked)
	}
}
