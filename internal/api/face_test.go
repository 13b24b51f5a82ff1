package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/verdict"
)

// asking is a face that asks about the image in its body, and says how it went.
func asking(cfg *Config) {
	cfg.Faces = []Face{{Path: "/face", BodyLimit: 1 << 10, Serve: func(ctx context.Context, ask *Asker, body []byte) FaceReply {
		if len(body) == 2 { // {}
			return FaceReply{Status: http.StatusAccepted}
		}
		a, err := ask.Decide(ctx, Question{Image: strings.Trim(string(body), `"`)})
		var refused *AskError
		said := string(a.Decision)
		switch {
		case errors.As(err, &refused):
			said = "refused " + refused.Field
		case err != nil:
			said = "unavailable"
		}
		return FaceReply{Status: http.StatusOK, ContentType: mediaJSON, Body: []byte(`"` + said + `"`)}
	}}}
	cfg.ImageName = func(image string) (string, error) {
		name, _, _ := strings.Cut(image, ":")
		return name, nil
	}
}

// A face has the API's authentication, roles, scopes and limits. Where the
// connection says who asks, it answers without the store what asks for no verdict.
func TestFace(t *testing.T) {
	b := newBed(t, asking)
	away := func(context.Context) (*engine.State, error) { return nil, errors.New("the store is away") }
	there := b.decider.current
	verifier := auth.Principal{Name: "gateway", Role: auth.Verifier}
	bound := auth.Principal{Name: "bound", Role: auth.Verifier, Images: []string{"other.example/**"}}
	for _, tt := range []struct {
		name, as string // the role of a token
		vouched  auth.Principal
		body     string
		away     bool
		status   int
		says     string
	}{
		{"a token", "verifier", auth.Principal{}, `"` + testImage + `"`, false, 200, `"allow"`},
		{"no token", "", auth.Principal{}, `{}`, false, 401, "token_missing"},
		{"a role that is not enough", "viewer", auth.Principal{}, `{}`, false, 403, "role_missing"},
		{"a token while the store is away", "verifier", auth.Principal{}, `{}`, true, 503, ""},
		{"vouched for", "", verifier, `"` + testImage + `"`, false, 200, `"allow"`},
		{"vouched for while the store is away", "", verifier, `{}`, true, 202, ""},
		{"and then asking", "", verifier, `"` + testImage + `"`, true, 200, `"unavailable"`},
		{"vouched for as a viewer", "", auth.Principal{Name: "x", Role: auth.Viewer}, `{}`, false, 403, "role_missing"},
		{"out of scope", "", bound, `"` + testImage + `"`, false, 200, `"refused image"`},
		{"a file", "", verifier, `"oci-layout:/etc"`, false, 200, `"refused image"`},
		{"too large", "", verifier, `"` + strings.Repeat("a", 2<<10) + `"`, false, 413, "body_too_large"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.decider.current = there
			if tt.away {
				b.decider.current = away
			}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/face", strings.NewReader(tt.body))
			r.Header.Set("Content-Type", mediaJSON)
			if tt.as != "" {
				r.Header.Set("Authorization", "Bearer "+b.tokens[tt.as])
			}
			if tt.vouched.Name != "" {
				r = r.WithContext(WithPrincipal(r.Context(), tt.vouched))
			}
			w := httptest.NewRecorder()
			b.ServeHTTP(w, r)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) {
				t.Errorf("status %d, want %d and %q: %s", w.Code, tt.status, tt.says, w.Body)
			}
		})
	}
	b.decider.current = there
	b.decider.decide = func(context.Context, *engine.State, engine.Request) (engine.Answer, error) {
		return engine.Answer{Body: []byte("{}"), Decision: verdict.Allow}, nil // not allowed: no answer
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/face", strings.NewReader(`"`+testImage+`"`))
	r.Header.Set("Content-Type", mediaJSON)
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r.WithContext(WithPrincipal(r.Context(), verifier)))
	if w.Body.String() != `"unavailable"` {
		t.Errorf("an answer that contradicts itself: %s", w.Body)
	}
}
