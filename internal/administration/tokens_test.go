package administration

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/store"
)

func TestTokenLifecycle(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		made := must[client.Token](t)(f.CreateToken(ctx, root, client.NewToken{
			Name: "ci", Role: "verifier", Team: "web", Images: []string{"ghcr.io/web/**"}, Sources: []string{"10.0.0.0/8", "2001:db8::7"}, ExpiresIn: "30d",
		}))
		want := client.Token{
			ID: made.ID, Name: "ci", Role: "verifier", Team: "web", Images: []string{"ghcr.io/web/**"}, Sources: []string{"10.0.0.0/8", "2001:db8::7/128"},
			CreatedBy: "root", CreatedAt: start, ExpiresAt: start.Add(30 * 24 * time.Hour), State: "valid", Plain: made.Plain,
		}
		same(t, want, made)
		same(t, []entry{{"root", "192.0.2.1", "token.create", "token/" + made.ID, "because"}}, f.audited(t, 1))

		set := must[*auth.Tokens](t)(auth.NewTokens(must[[]auth.Token](t)(f.store.Tokens(ctx))))
		who := must[auth.Principal](t)(set.Authenticate(made.Plain, netip.MustParseAddr("10.1.2.3"), start))
		if who.Team != "web" || !who.Sees("ghcr.io/web/app") || who.Sees("ghcr.io/org/app") {
			t.Errorf("the token makes %+v", who)
		}
		_, err := set.Authenticate(made.Plain, netip.MustParseAddr("192.0.2.1"), start)
		wants(t, err, auth.ErrSource, "")

		want.Plain = "" // it is shown once
		same(t, want, must[client.Token](t)(f.Token(ctx, root, made.ID)))
		if err := f.RevokeToken(ctx, root, made.ID); err != nil {
			t.Fatal(err)
		}
		same(t, []entry{{"root", "192.0.2.1", "token.revoke", "token/" + made.ID, "because"}}, f.audited(t, 1))
		want.State, want.RevokedAt = "revoked", ptr(start)
		same(t, want, must[client.Token](t)(f.Token(ctx, root, made.ID)))
		f.untouched(t, func() {
			if err := f.RevokeToken(ctx, root, made.ID); err != nil {
				t.Errorf("revoked again: %v", err)
			}
			wants(t, f.RevokeToken(ctx, root, "nobody"), ErrNotFound, `there is no token with the id "nobody"`)
		})

		short := must[client.Token](t)(f.CreateToken(ctx, root, client.NewToken{Name: "short", Role: "viewer", ExpiresAt: ptr(start.Add(time.Minute))}))
		same(t, start.Add(time.Minute), short.ExpiresAt)
		usual := must[client.Token](t)(f.CreateToken(ctx, root, client.NewToken{Name: "usual", Role: "viewer"}))
		same(t, start.Add(90*24*time.Hour), usual.ExpiresAt)
		f.clock.move(time.Minute)
		same(t, "expired", must[client.Token](t)(f.Token(ctx, root, short.ID)).State)
	})
}

// What a team trusts counts for every image that its signers and policies speak
// of, so a token that makes them says which those are.
func TestTeamsThatChangeAreBoundToImages(t *testing.T) {
	f := onSQLite(t)
	for role, free := range map[string]bool{"viewer": true, "verifier": true, "author": false, "admin": false} {
		for _, c := range []Caller{root, web} {
			req := client.NewToken{Name: "t", Role: role, Team: "web"}
			if free {
				must[client.Token](t)(f.CreateToken(t.Context(), c, req))
			} else {
				f.untouched(t, func() {
					_, err := f.CreateToken(t.Context(), c, req)
					mistakes(t, err, "images: are missing; a team's "+role+" makes what is trusted for these images alone, so name them, or ** for every image")
				})
			}
			req.Images = []string{"**"}
			must[client.Token](t)(f.CreateToken(t.Context(), c, req))
		}
		must[client.Token](t)(f.CreateToken(t.Context(), root, client.NewToken{Name: "t", Role: role}))
	}
}

// Who may come from some networks only makes no token that may come from others.
func TestTokensWithinNetworks(t *testing.T) {
	f := onSQLite(t)
	plain := must[client.Token](t)(f.CreateToken(t.Context(), root, client.NewToken{Name: "office", Role: "admin", Sources: []string{"10.1.0.0/16", "2001:db8::/32"}})).Plain
	set := must[*auth.Tokens](t)(auth.NewTokens(must[[]auth.Token](t)(f.store.Tokens(t.Context()))))
	office := Caller{Principal: must[auth.Principal](t)(set.Authenticate(plain, netip.MustParseAddr("10.1.2.3"), start))}
	for _, sources := range [][]string{nil, {"10.0.0.0/8"}, {"10.1.0.0/24", "192.0.2.1"}, {"0.0.0.0/0"}, {"2001:db9::/32"}} {
		f.untouched(t, func() {
			_, err := f.CreateToken(t.Context(), office, client.NewToken{Name: "t", Role: "viewer", Sources: sources})
			mistakes(t, err, `sources: go beyond 10.1.0.0/16, 2001:db8::/32, which is where "office" may come from`)
		})
	}
	for _, sources := range [][]string{{"10.1.0.0/16"}, {"10.1.2.3", "2001:db8:1::/48"}} {
		must[client.Token](t)(f.CreateToken(t.Context(), office, client.NewToken{Name: "t", Role: "viewer", Sources: sources}))
	}
}

// Of several who revoke one token at once each is told that it is revoked.
func TestRevokeAtOnce(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		for range 10 {
			made := must[client.Token](t)(f.CreateToken(t.Context(), root, client.NewToken{Name: "a", Role: "viewer"}))
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					if err := f.RevokeToken(t.Context(), root, made.ID); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
		}
	})
}

func TestCreateTokenRefuses(t *testing.T) {
	f := onSQLite(t)
	tests := []struct {
		name string
		edit func(*client.NewToken)
		want []string
	}{
		{"no name", func(r *client.NewToken) { r.Name = "" }, []string{"name: is empty"}},
		{"no role", func(r *client.NewToken) { r.Role = "" }, []string{`role: "" is none of viewer`}},
		{"no team", func(r *client.NewToken) { r.Team = " web" }, []string{`team: " web" is not the name of a team`}},
		{"no image", func(r *client.NewToken) { r.Images = []string{"nginx"} }, []string{"images: image pattern"}},
		{"no networks", func(r *client.NewToken) {
			r.Sources = []string{"home", "10.1.2.3/8", "::ffff:10.0.0.0/104", "fe80::1%eth0", "192.0.2.0/24"}
		}, []string{`sources[0]: "home" is not a network`, `sources[1]: "10.1.2.3/8" has bits behind its mask; is 10.0.0.0/8 meant?`, `sources[2]: "::ffff:10.0.0.0/104" is IPv4 written as IPv6`, "sources[3]: "}},
		{"two ends", func(r *client.NewToken) { r.ExpiresIn, r.ExpiresAt = "1h", ptr(start.Add(time.Hour)) }, []string{"expires_at: stands beside expires_in"}},
		{"no lifetime", func(r *client.NewToken) { r.ExpiresIn = "0d" }, []string{`expires_in: "0d" is not how long`}},
		{"a negative lifetime", func(r *client.NewToken) { r.ExpiresIn = "-1h" }, []string{"expires_in: "}},
		{"a lifetime of words", func(r *client.NewToken) { r.ExpiresIn = "a while" }, []string{"expires_in: "}},
		{"an end that has passed", func(r *client.NewToken) { r.ExpiresAt = &start }, []string{"expires_at: 2026-11-23T12:00:00Z has passed"}},
		{"too many images", func(r *client.NewToken) {
			for range 101 {
				r.Images = append(r.Images, "ghcr.io/a/b")
			}
		}, []string{"token images and sources: have 101"}},
		{"everything", func(r *client.NewToken) { *r = client.NewToken{Name: "a\n", Role: "root", ExpiresIn: "x"} }, []string{"name: ", "role: ", "expires_in: "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := client.NewToken{Name: "ci", Role: "viewer"}
			tt.edit(&req)
			f.untouched(t, func() {
				got, err := f.CreateToken(t.Context(), root, req)
				mistakes(t, err, tt.want...)
				same(t, client.Token{}, got)
			})
		})
	}
}

func TestTokensList(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	for _, team := range []string{"", "web", "ops", "web", "web"} {
		f.clock.move(time.Second)
		must[client.Token](t)(f.CreateToken(ctx, root, client.NewToken{Name: "of-" + team, Role: "viewer", Team: team}))
	}
	pages := func(c Caller, limit int) string {
		var out []string
		for after := ""; ; {
			page := must[client.Page[client.Token]](t)(f.Tokens(ctx, c, "", limit, after))
			var names []string
			for _, w := range page.Items {
				names = append(names, w.Name)
			}
			out = append(out, strings.Join(names, " "))
			if after = page.Next; after == "" {
				return strings.Join(out, " | ")
			}
		}
	}
	same(t, "of-web of-web of-ops of-web of-", pages(root, 0))
	same(t, "of-web of-web | of-ops of-web | of-", pages(root, 2))
	same(t, "of-web of-web | of-web", pages(web, 2))
	// Those in one state, page by page too.
	first := must[client.Page[client.Token]](t)(f.Tokens(ctx, root, "", 1, "")).Items[0]
	if err := f.RevokeToken(ctx, root, first.ID); err != nil {
		t.Fatal(err)
	}
	inState := func(state, after string, limit int) (n int, next string) {
		page := must[client.Page[client.Token]](t)(f.Tokens(ctx, root, state, limit, after))
		return len(page.Items), page.Next
	}
	for state, want := range map[string]int{"": 5, "valid": 4, "revoked": 1, "expired": 0} {
		if n, _ := inState(state, "", 0); n != want {
			t.Errorf("%d tokens are %q, want %d", n, state, want)
		}
	}
	n, next := inState("valid", "", 3)
	if rest, end := inState("valid", next, 3); n != 3 || rest != 1 || end != "" {
		t.Errorf("pages of %d and %d tokens in force, then %q", n, rest, end)
	}
	_, err := f.Tokens(ctx, root, "lost", 0, "")
	mistakes(t, err, `state: "lost" is none of valid, expired, revoked`)
	_, err = f.Tokens(ctx, root, "", 0, "made-up")
	mistakes(t, err, "cursor: is not known")
	_, err = f.Tokens(ctx, root, "", 1001, "")
	mistakes(t, err, "limit: is 1001")
}

func TestSetup(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		plain := must[string](t)(f.EnsureSetup(ctx))
		if !strings.HasPrefix(plain, "sgn_") {
			t.Fatalf("setup token %q", plain)
		}
		same(t, []entry{{"server", "start", "setup.create", "setup", "first start"}}, f.audited(t, 1))
		f.untouched(t, func() { same(t, "", must[string](t)(f.EnsureSetup(ctx))) }) // it is good still

		f.clock.move(25 * time.Hour)
		f.untouched(t, func() {
			_, err := f.Setup(ctx, "192.0.2.9", plain, "root")
			wants(t, err, auth.ErrExpired, "")
		})
		again := must[string](t)(f.EnsureSetup(ctx))
		for text, kind := range map[string]error{
			plain: auth.ErrUnknown, "": auth.ErrMissing, "x": auth.ErrMalformed,
			again[:len(again)-1] + "!": auth.ErrMalformed,
		} {
			f.untouched(t, func() {
				got, err := f.Setup(ctx, "192.0.2.9", text, "root")
				wants(t, err, kind, "")
				same(t, client.Token{}, got)
			})
		}
		f.untouched(t, func() {
			_, err := f.Setup(ctx, "192.0.2.9", again, "")
			mistakes(t, err, "name: is empty")
		})
		made := must[client.Token](t)(f.Setup(ctx, "192.0.2.9", again, "root"))
		same(t, "admin", made.Role)
		same(t, []entry{
			{"setup", "192.0.2.9", "setup.use", "setup", "first administrator"},
			{"setup", "192.0.2.9", "token.create", "token/" + made.ID, "first administrator"},
		}, f.audited(t, 2))
		set := must[*auth.Tokens](t)(auth.NewTokens(must[[]auth.Token](t)(f.store.Tokens(ctx))))
		who := must[auth.Principal](t)(set.Authenticate(made.Plain, netip.Addr{}, f.now()))
		if !who.May(auth.Administer) {
			t.Errorf("the first administrator is %+v", who)
		}
		f.untouched(t, func() {
			_, err := f.Setup(ctx, "192.0.2.9", again, "root")
			wants(t, err, auth.ErrRevoked, "")
			f.clock.move(48 * time.Hour)
			same(t, "", must[string](t)(f.EnsureSetup(ctx)))
		})
	})
}

// Of processes that start together one shows a token, and that one is good.
func TestSetupAtOnce(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		var mu sync.Mutex
		var shown []string
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				plain, err := f.EnsureSetup(t.Context())
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if plain != "" {
					shown = append(shown, plain)
				}
			})
		}
		all.Wait()
		if len(shown) != 1 {
			t.Fatalf("%d tokens were shown", len(shown))
		}
		must[client.Token](t)(f.Setup(t.Context(), "", shown[0], "root"))
	})
}

func TestNoSetupWhereThereAreTokens(t *testing.T) {
	f := onSQLite(t)
	made := must[client.Token](t)(f.CreateToken(t.Context(), root, client.NewToken{Name: "a", Role: "admin"}))
	if err := f.RevokeToken(t.Context(), root, made.ID); err != nil {
		t.Fatal(err)
	}
	f.untouched(t, func() { same(t, "", must[string](t)(f.EnsureSetup(t.Context()))) })
}

// Anybody may send what is no token. It waits for no change and keeps none waiting.
func TestSetupTakesNoLockForGarbage(t *testing.T) {
	f := onSQLite(t)
	_, err := f.store.Change(t.Context(), store.Actor{Name: "root"}, "", func(*store.Tx) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := f.Setup(ctx, "192.0.2.9", "sgn_x", "root")
		wants(t, err, auth.ErrMalformed, "")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A setup token makes the first administrator. Once there is a token by another
// way, who finds it in an old log makes none.
func TestSetupEndsWithTheFirstToken(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		plain := must[string](t)(f.EnsureSetup(t.Context()))
		must[client.Token](t)(f.CreateToken(t.Context(), root, client.NewToken{Name: "a", Role: "viewer"}))
		f.untouched(t, func() {
			wrong, _, err := auth.NewToken(auth.NewTokenRequest{Name: "x", Role: auth.Admin, CreatedBy: "x"}, start)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.Setup(t.Context(), "192.0.2.9", plain, "root")
			wants(t, err, auth.ErrRevoked, "")
			_, err = f.Setup(t.Context(), "192.0.2.9", wrong, "root")
			wants(t, err, auth.ErrUnknown, "") // only who holds the token is told
		})
	})
}

func TestNew(t *testing.T) {
	if s, err := New(Config{}); err == nil || s != nil {
		t.Errorf("New without a store = %v, %v", s, err)
	}
	f := onSQLite(t)
	s := must[*Service](t)(New(Config{Store: f.store}))
	must[client.Policy](t)(s.PutPolicy(t.Context(), root, "a", "", []byte(anyone), nil))
}

// Whatever is asked of a store that is closed: an error, and never a half answer.
func TestStoreIsGone(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	w := must[client.Signer](t)(f.CreateSigner(ctx, root, keyless("a")))
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}
	for name, act := range map[string]func(context.Context) error{
		"signers": func(ctx context.Context) error { _, err := f.Signers(ctx, root, SignerFilter{}); return err },
		"signer":  func(ctx context.Context) error { _, err := f.Signer(ctx, root, w.ID); return err },
		"create":  func(ctx context.Context) error { _, err := f.CreateSigner(ctx, root, keyless("b")); return err },
		"update": func(ctx context.Context) error {
			_, err := f.UpdateSigner(ctx, root, w.ID, 1, []byte(`{}`))
			return err
		},
		"delete": func(ctx context.Context) error { return f.DeleteSigner(ctx, root, w.ID, 1) },
		"compromise": func(ctx context.Context) error {
			_, err := f.CompromiseSigner(ctx, root, w.ID, client.Compromise{Since: start, Why: "x"})
			return err
		},
		"refresh":  func(ctx context.Context) error { return f.RefreshKeys(ctx, start) },
		"health":   func(ctx context.Context) error { _, err := f.KMSHealth(ctx); return err },
		"verdicts": func(ctx context.Context) error { _, err := f.SignerVerdicts(ctx, root, w.ID, 0, ""); return err },
		"import": func(ctx context.Context) error {
			_, err := f.ImportSigners(ctx, root, document(keyless("c")), ImportOptions{})
			return err
		},
		"export": func(ctx context.Context) error { _, err := f.ExportSigners(ctx, root); return err },
		"tokens": func(ctx context.Context) error { _, err := f.Tokens(ctx, root, "", 0, ""); return err },
		"token":  func(ctx context.Context) error { _, err := f.Token(ctx, root, "x"); return err },
		"make token": func(ctx context.Context) error {
			_, err := f.CreateToken(ctx, root, client.NewToken{Name: "a", Role: "viewer"})
			return err
		},
		"revoke":   func(ctx context.Context) error { return f.RevokeToken(ctx, root, "x") },
		"setup":    func(ctx context.Context) error { _, err := f.EnsureSetup(ctx); return err },
		"policies": func(ctx context.Context) error { _, err := f.Policies(ctx, root, 0, ""); return err },
		"policy":   func(ctx context.Context) error { _, err := f.Policy(ctx, root, "x"); return err },
		"put policy": func(ctx context.Context) error {
			_, err := f.PutPolicy(ctx, root, "a", "", []byte(anyone), nil)
			return err
		},
		"seed":   func(ctx context.Context) error { return f.SeedPolicies(ctx, nil, nil) },
		"audit":  func(ctx context.Context) error { _, err := f.Audit(ctx, root, AuditFilter{}); return err },
		"head":   func(ctx context.Context) error { _, err := f.AuditHead(ctx, root); return err },
		"verify": func(ctx context.Context) error { _, err := f.VerifyAudit(ctx, root, client.AuditHead{}); return err },
		"secret": func(ctx context.Context) error { return f.RotateSecret(ctx, root) },
	} {
		if err := act(ctx); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: error %v, want %v", name, err, store.ErrUnavailable)
		}
	}
}
