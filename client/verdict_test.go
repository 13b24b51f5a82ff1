package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/verdict"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

const image = "ghcr.io/org/app:v1"

// TestVerdictsFailClosed: nothing but a verdict that was understood whole allows.
func TestVerdictsFailClosed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		body   string
		want   client.Decision // "" is an error
		allows bool
	}{
		{"allow", 200, `{"image":"%s","decision":"allow","allowed":true}`, client.Allow, true},
		{"deny", 200, `{"image":"%s","decision":"deny","allowed":false}`, client.Deny, false},
		{"deny that an audit policy lets pass", 200, `{"image":"%s","decision":"deny","allowed":true}`, client.Deny, true},
		{"unknown", 503, `{"image":"%s","decision":"unknown","allowed":false,"retry_after":7}`, client.Unknown, false},
		{"unknown that an audit policy lets pass", 200, `{"image":"%s","decision":"unknown","allowed":true}`, client.Unknown, true},
		{"empty", 200, ``, "", false},
		{"no JSON", 200, `allow`, "", false},
		{"a list", 200, `[true]`, "", false},
		{"null", 200, `null`, "", false},
		{"allowed is missing", 200, `{"image":"%s","decision":"allow"}`, "", false},
		{"allowed is null", 200, `{"image":"%s","decision":"allow","allowed":null}`, "", false},
		{"allowed is a string", 200, `{"image":"%s","decision":"allow","allowed":"true"}`, "", false},
		{"allowed is a number", 200, `{"image":"%s","decision":"allow","allowed":1}`, "", false},
		{"another spelling of allowed", 200, `{"image":"%s","decision":"allow","Allowed":true}`, "", false},
		{"two spellings of allowed", 200, `{"image":"%s","decision":"deny","allowed":false,"ALLOWED":true}`, "", false},
		{"the decision is missing", 200, `{"image":"%s","allowed":true}`, "", false},
		{"the decision is none", 200, `{"image":"%s","decision":"maybe","allowed":true}`, "", false},
		{"two spellings of the decision", 200, `{"image":"%s","decision":"deny","Decision":"allow","allowed":true}`, "", false},
		{"allow that does not allow", 200, `{"image":"%s","decision":"allow","allowed":false}`, "", false},
		{"another image", 200, `{"image":"ghcr.io/org/other:v1","decision":"allow","allowed":true}`, "", false},
		{"no image", 200, `{"decision":"allow","allowed":true}`, "", false},
		{"cut short", 200, `{"image":"%s","decision":"allow","allowed":true`, "", false},
		{"allow with 503", 503, `{"image":"%s","decision":"allow","allowed":true}`, "", false},
		{"unknown that allows, with 503", 503, `{"image":"%s","decision":"unknown","allowed":true}`, "", false},
		{"allow with 202", 202, `{"image":"%s","decision":"allow","allowed":true}`, "", false},
		{"allow with 400", 400, `{"image":"%s","decision":"allow","allowed":true}`, "", false},
		{"allow with 500", 500, `{"image":"%s","decision":"allow","allowed":true}`, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := strings.Replace(tt.body, "%s", image, 1)
			check := func(v client.Verdict, err error) {
				t.Helper()
				if v.Allowed != tt.allows || v.Decision != tt.want || (err == nil) != (tt.want != "") {
					t.Errorf("%s, allowed %t, error %v", v.Decision, v.Allowed, err)
				}
				if err == nil && string(v.Raw) != body {
					t.Errorf("raw is %s", v.Raw)
				}
			}
			c, _ := start(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if strings.HasSuffix(r.URL.Path, "/batch") {
					item := client.VerdictBatchItem{Status: tt.status, Verdict: json.RawMessage(body)}
					if !json.Valid(item.Verdict) {
						item.Verdict = nil
					}
					_ = json.NewEncoder(w).Encode(client.VerdictBatchAnswer{Items: []client.VerdictBatchItem{item}})
					return
				}
				w.WriteHeader(tt.status)
				fmt.Fprint(w, body)
			})
			check(c.Verify(t.Context(), client.VerdictRequest{Image: image}))
			batch, err := c.VerifyBatch(t.Context(), []client.VerdictRequest{{Image: image}})
			if err != nil {
				t.Fatal(err)
			}
			check(batch[0].Verdict, batch[0].Err)
		})
	}
}

// A 503 may be a verdict or a problem. A verdict is returned when asking again is over.
func TestUnknown(t *testing.T) {
	n := 0
	contentType, body := "application/json", `{"image":"`+image+`","decision":"unknown","allowed":false}`
	c, waits := start(t, func(w http.ResponseWriter, _ *http.Request) {
		n++
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Retry-After", "2")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, body)
	})
	v, err := c.Verify(t.Context(), client.VerdictRequest{Image: image})
	if err != nil || v.Decision != client.Unknown || v.Allowed || n != 5 || len(*waits) != 4 {
		t.Errorf("%s %t %v after %d attempts", v.Decision, v.Allowed, err, n)
	}
	contentType, body = "application/problem+json", `{"code":"store_unavailable","decision":"unknown","allowed":false}`
	v, err = c.Verify(t.Context(), client.VerdictRequest{Image: image})
	var p *client.Problem
	if !errors.As(err, &p) || p.Code != "store_unavailable" || p.RetryAfter != 2*time.Second || v.Allowed {
		t.Errorf("%v", err)
	}
}

func TestVerifyBatch(t *testing.T) {
	var got sent
	answer := ""
	c, _ := start(t, func(w http.ResponseWriter, r *http.Request) {
		got = note(r)
		fmt.Fprint(w, answer)
	})
	reqs := []client.VerdictRequest{{Image: "a/b"}, {Image: "c/d", Platform: "linux/arm64", AssessmentID: "as-1", Labels: map[string]string{"k": "v"}}}
	answer = `{"items":[{"status":200,"verdict":{"image":"a/b","decision":"allow","allowed":true}},
		{"status":503,"problem":{"code":"timeout","detail":"Ask again."},"retry_after":2}]}`
	out, err := c.VerifyBatch(t.Context(), reqs)
	if err != nil {
		t.Fatal(err)
	}
	want := sent{Method: "POST", Path: "/api/v1/verdicts/batch", ContentType: "application/json", Token: secret,
		Body: `{"items":[{"image":"a/b"},{"image":"c/d","platform":"linux/arm64","assessment_id":"as-1","labels":{"k":"v"}}]}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var p *client.Problem
	if !out[0].Verdict.Allowed || out[0].Err != nil || out[1].Verdict.Allowed || !errors.As(out[1].Err, &p) ||
		p.Code != "timeout" || p.Status != 503 || p.RetryAfter != 2*time.Second {
		t.Errorf("%+v", out)
	}
	answer = `{"items":[{"status":200,"verdict":{"image":"a/b","decision":"allow","allowed":true}}]}`
	if _, err := c.VerifyBatch(t.Context(), reqs); !errors.Is(err, client.ErrAnswer) {
		t.Errorf("one answer to two requests: %v", err)
	}
	// The answers of two items changed over allow neither.
	answer = `{"items":[{"status":200,"verdict":{"image":"c/d","decision":"allow","allowed":true}},
		{"status":200,"verdict":{"image":"a/b","decision":"allow","allowed":true}}]}`
	out, err = c.VerifyBatch(t.Context(), reqs)
	if err != nil || out[0].Verdict.Allowed || out[1].Verdict.Allowed || out[0].Err == nil || out[1].Err == nil {
		t.Errorf("%+v %v", out, err)
	}
}

// The client's verdict has every field of the server's, under the same names.
func TestVerdictHasAllFields(t *testing.T) {
	builder, at := "https://builder", now
	reason := verdict.Reason{Code: "c", Message: "m", Remediation: "r", Rule: "u", Fact: "f", Nearest: &verdict.Nearest{
		Fact: "f", Principal: "p", Signer: "s", Field: "d", Want: "w", Have: "h", Why: "y",
	}}
	reasons := []verdict.Reason{reason}
	want, err := json.Marshal(verdict.Verdict{
		ID: "1", Decision: verdict.Unknown, Allowed: true, Image: image, Digest: "d", Pinned: "p",
		Policies: []verdict.PolicyVerdict{{
			Name: "n", Revision: "r", Digest: "d", ParamsDigest: "p", Mode: verdict.Audit, Decision: verdict.Deny, Reasons: reasons, Warnings: reasons,
			SatisfiedBy: []verdict.Satisfied{{Requirement: "r", Facts: []string{"f"}, Exception: "e"}},
		}},
		Reasons: reasons, Warnings: reasons,
		Signature:       verdict.SignatureInfo{Found: true, Valid: true, Signer: "s", Issuer: "i", SignedAt: &at},
		TransparencyLog: verdict.LogInfo{Verified: true, Reason: "r"}, SLSA: verdict.SLSA{Level: 2, Builder: &builder, Missing: map[string][]string{"3": {"m"}}},
		Coverage: []verdict.Coverage{{Digest: "d", Platform: "p", Signed: true}}, FactsDigest: "f",
		Active: verdict.Active{Revision: 5, Digest: "d"}, Build: "b", EvaluatedAt: now, ExpiresAt: now, RetryAfter: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	c, _ := start(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(want) })
	v, err := c.Verdict(t.Context(), "1")
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("(-server +client):\n%s", diff)
	}
}
