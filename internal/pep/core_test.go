package pep

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/verdict"
)

// decider answers with functions; nil ones are the plain case.
type decider struct {
	current func(context.Context) (*engine.State, error)
	decide  func(context.Context, engine.Request) (engine.Answer, error)
}

func (d decider) Current(ctx context.Context) (*engine.State, error) {
	if d.current == nil {
		return &engine.State{}, nil
	}
	return d.current(ctx)
}

func (d decider) Decide(ctx context.Context, _ *engine.State, req engine.Request) (engine.Answer, error) {
	if d.decide == nil {
		return allowed(), nil
	}
	return d.decide(ctx, req)
}

const image = "ghcr.io/org/app:v1"

func allowed() engine.Answer {
	body, err := json.Marshal(verdict.Verdict{ID: "01JZ5X3F8Q0000000000000000", Decision: verdict.Allow, Allowed: true, Image: image})
	if err != nil {
		panic(err)
	}
	return engine.Answer{Body: body, From: engine.FromMemory, Decision: verdict.Allow, Allowed: true, Recorded: true}
}

func newCore(t *testing.T, d decider) *Core {
	t.Helper()
	c, err := New(Config{
		Decider: d, Build: "test", ExternalURL: "https://signet.example.com",
		ImageName: func(image string) (string, error) {
			name, _, ok := strings.Cut(image, ":")
			if !ok {
				return "", errors.New("no tag")
			}
			return name, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func hangs(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// At the deadline the answer is unknown, whoever is late.
func TestAskEndsInTime(t *testing.T) {
	for name, tt := range map[string]struct {
		d    decider
		code string
	}{
		"the store": {decider{current: func(ctx context.Context) (*engine.State, error) { return nil, hangs(ctx) }}, engine.ReasonStoreUnavailable},
		"the engine": {decider{decide: func(ctx context.Context, _ engine.Request) (engine.Answer, error) {
			return engine.Answer{}, hangs(ctx)
		}}, engine.ReasonStillVerifying},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				a, err := newCore(t, tt.d).Ask(t.Context(), Question{Image: image, Principal: auth.Principal{Name: "x", Role: auth.Verifier}}, 400*time.Millisecond)
				if err != nil || a.Allowed || a.Verdict.Decision != verdict.Unknown || a.Verdict.Reasons[0].Code != tt.code || a.RetryAfter < 1 || a.Link != "" {
					t.Errorf("%+v, %v", a, err)
				}
				if took := time.Since(begun); took != 400*time.Millisecond {
					t.Errorf("after %s", took)
				}
			})
		})
	}
}

// Who went away is told nothing, which is no answer.
func TestAskOfWhoLeft(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	leave()
	for name, d := range map[string]decider{
		"before": {current: func(ctx context.Context) (*engine.State, error) { return nil, hangs(ctx) }},
		"while it is decided": {decide: func(ctx context.Context, _ engine.Request) (engine.Answer, error) {
			return engine.Answer{}, hangs(ctx)
		}},
	} {
		if a, err := newCore(t, d).Ask(ctx, Question{Image: image}, time.Minute); !errors.Is(err, context.Canceled) || a.Allowed {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

// What a token asked for is not answered once it counts no more.
func TestAskOfAToken(t *testing.T) {
	now := time.Now()
	_, tok, err := auth.NewToken(auth.NewTokenRequest{Name: "ci", Role: auth.Verifier, CreatedBy: "alice"}, now)
	if err != nil {
		t.Fatal(err)
	}
	revoked, expired, bound := tok, tok, tok
	revoked.RevokedAt, expired.ExpiresAt = &now, now
	bound.Sources = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} // from where it came was seen when it asked
	for name, tt := range map[string]struct {
		list []auth.Token
		want error
	}{
		"good":               {[]auth.Token{tok}, nil},
		"bound to a network": {[]auth.Token{bound}, nil},
		"revoked":            {[]auth.Token{revoked}, auth.ErrRevoked},
		"past its end":       {[]auth.Token{expired}, auth.ErrExpired},
		"not there any more": {nil, auth.ErrUnknown},
	} {
		set, err := auth.NewTokens(tt.list)
		if err != nil {
			t.Fatal(err)
		}
		asked := false
		d := decider{
			current: func(context.Context) (*engine.State, error) { return &engine.State{Tokens: set}, nil },
			decide: func(context.Context, engine.Request) (engine.Answer, error) {
				asked = true
				return engine.Answer{}, errors.New("none")
			},
		}
		_, err = newCore(t, d).Ask(t.Context(), Question{Image: image, Principal: auth.Principal{Name: "ci", Role: auth.Verifier, TokenID: tok.ID}}, time.Minute)
		if !errors.Is(err, tt.want) || asked != (tt.want == nil) {
			t.Errorf("%s: %v, asked: %t", name, err, asked)
		}
	}
}

func TestAnswer(t *testing.T) {
	c := newCore(t, decider{})
	a, err := c.Answer(t.Context(), &engine.State{}, Question{Image: image})
	if err != nil || !a.Allowed || a.Verdict.Image != image || a.Link != "https://signet.example.com/admin/security/signing/results/01JZ5X3F8Q0000000000000000" || len(a.Messages()) != 0 {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := c.Answer(t.Context(), nil, Question{Image: image}); err != nil || a.Allowed || a.Verdict.Reasons[0].Code != engine.ReasonStoreUnavailable {
		t.Errorf("without a state: %+v, %v", a, err)
	}
	// A deny has something to say, whatever the policy left out.
	c = newCore(t, decider{decide: func(context.Context, engine.Request) (engine.Answer, error) {
		return engine.Answer{Body: []byte(`{"decision":"deny","allowed":false,"image":"` + image + `"}`), Decision: verdict.Deny}, nil
	}})
	if a, err := c.Answer(t.Context(), &engine.State{}, Question{Image: image}); err != nil || len(a.Messages()) != 1 || a.Link != "" {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestMistakes(t *testing.T) {
	c := newCore(t, decider{decide: func(_ context.Context, req engine.Request) (engine.Answer, error) {
		if req.Context["stage"] != "" {
			return engine.Answer{}, errors.Join(engine.ErrInvalid)
		}
		t.Errorf("the engine was asked about %q", req.Image)
		return allowed(), nil
	}})
	scoped := auth.Principal{Name: "web", Role: auth.Verifier, Images: []string{"ghcr.io/web/**"}}
	for name, tt := range map[string]struct {
		q           Question
		code, field string
	}{
		"no image":             {Question{}, MissingField, "image"},
		"a file":               {Question{Image: "/etc/passwd"}, InvalidField, "image"},
		"a layout":             {Question{Image: "OCI-Layout:x"}, InvalidField, "image"},
		"a platform":           {Question{Image: image, Platform: "linux"}, InvalidField, "platform"},
		"a long assessment":    {Question{Image: image, AssessmentID: strings.Repeat("a", LongestAssessment+1)}, InvalidField, "assessment_id"},
		"another team's image": {Question{Image: image, Principal: scoped}, OutOfScope, "image"},
		"what has no name":     {Question{Image: "nginx", Principal: scoped}, InvalidField, "image"},
		"a context":            {Question{Image: image, Context: map[string]string{"stage": "x"}}, InvalidField, ""},
	} {
		_, err := c.Answer(t.Context(), &engine.State{}, tt.q)
		var m *Mistake
		if !errors.As(err, &m) || m.Code != tt.code || m.Field != tt.field || !strings.HasSuffix(m.Detail, ".") {
			t.Errorf("%s: %+v", name, err)
		}
	}
}

func TestAt(t *testing.T) {
	digest, other := "sha256:"+strings.Repeat("a", 64), "sha256:"+strings.Repeat("b", 64)
	for _, tt := range []struct{ image, digest, want string }{
		{image, "", image}, {image, digest, image + "@" + digest}, {image + "@" + digest, digest, image + "@" + digest},
		{image + "@" + digest, other, ""}, {image, "sha256:A", ""}, {image, strings.ToUpper(digest), ""}, {"", digest, ""},
	} {
		got, m := At(tt.image, tt.digest, "image", "digest")
		if got != tt.want || (m == nil) != (tt.want != "") {
			t.Errorf("%q at %q: %q, %+v", tt.image, tt.digest, got, m)
		}
	}
}

// declaring is a policy that declares keys.
type declaring struct{ engine.PolicySet }

func (declaring) Context() map[string][]string {
	return map[string][]string{"action": {"deploy"}, "stage": {"production"}}
}

func TestContext(t *testing.T) {
	c := newCore(t, decider{})
	st := &engine.State{Policies: []engine.Policy{{Applies: func(name string) bool { return name == "ghcr.io/org/app" }, Set: declaring{}}}}
	members := map[string]json.RawMessage{"stage": []byte(`"production"`), "ip": []byte(`"10.0.0.7"`), "n": []byte(`7`)}
	declared, ignored, m := c.Context(st, image, "deploy", members)
	if d := cmp.Diff(map[string]string{"stage": "production", "action": "deploy"}, declared); d != "" || m != nil {
		t.Errorf("%v %s", m, d)
	}
	if d := cmp.Diff([]string{"context.ip", "context.n"}, ignored); d != "" {
		t.Error(d)
	}
	if declared, ignored, _ := c.Context(st, "ghcr.io/other:v1", "deploy", members); len(declared) != 0 || len(ignored) != 3 {
		t.Errorf("where no policy speaks of the image: %v, %v", declared, ignored)
	}
	for _, raw := range []string{`7`, `null`, `{}`} { // what is declared is never left out
		if _, _, m := c.Context(st, image, "", map[string]json.RawMessage{"stage": []byte(raw)}); m == nil || m.Field != "context.stage" {
			t.Errorf("%s: %+v", raw, m)
		}
	}
	if err := c.Check(st, Question{Image: image, Context: map[string]string{"stage": "test"}}); err == nil {
		t.Error("a value that is not declared is let through")
	}
	if err := c.Check(st, Question{Image: image, Context: map[string]string{"stage": "production"}}); err != nil {
		t.Error(err)
	}
}
