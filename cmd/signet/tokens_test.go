package main

import (
	"net/http"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/testkit/eventually"
)

// Tokens through a real server: of a team, for some images, from some networks,
// revoked, and used.
func TestTokens(t *testing.T) {
	w := newWorld(t, "trusted_proxies: [127.0.0.1]")
	w.admin()
	d := w.serve()
	host := w.registry.Host()
	red, s := w.keyless("red/app")
	blue, _ := w.keyless("blue/app")
	made := func(args ...string) string {
		t.Helper()
		return lastLine(w.do(append([]string{"token", "create"}, args...)...))
	}
	refused := func(what, code string, err error) {
		t.Helper()
		if problem(err) != code {
			t.Errorf("%s: %v (%s), want %s", what, err, problem(err), code)
		}
	}

	// A team's administrator changes what is the team's, within its images.
	team := d.as(made("--role", "admin", "--name", "red-admin", "--team", "red", "--image", host+"/red/**"))
	s.Name, s.Images = "ours", []string{host + "/red/**"}
	ours, err := team.CreateSigner(t.Context(), s)
	if err != nil || ours.Owner != "red" {
		t.Fatalf("the team's signer is %+v (%v)", ours, err)
	}
	theirs := d.create(client.Signer{Name: "theirs", Type: "public_key", PublicKey: string(w.stack.Key("blue", 0).PublicPEM()), Owner: "blue", Images: []string{host + "/blue/**"}, Enabled: true})
	_, err = team.UpdateSigner(t.Context(), theirs.ID, theirs.Version, map[string]any{"enabled": false})
	refused("another team's signer", "not_yours", err)
	s.Name, s.Images = "wide", []string{host + "/**"}
	_, err = team.CreateSigner(t.Context(), s)
	refused("a signer of all images", "image_out_of_scope", err)
	_, err = team.CreateToken(t.Context(), client.NewToken{Name: "x", Role: "viewer", Team: "blue", Images: []string{host + "/red/**"}})
	refused("another team's token", "not_yours", err)
	_, err = team.CreateToken(t.Context(), client.NewToken{Name: "x", Role: "viewer", Images: []string{host + "/**"}})
	refused("a token for more images", "image_out_of_scope", err)
	refused("the secret", "not_yours", team.RotateSecret(t.Context()))
	refused("a trust root", "not_yours", func() error {
		_, err := team.PutTrustRoot(t.Context(), "x", client.PutTrustRoot{TrustedRoot: w.stack.TrustedRootJSON()}, nil)
		return err
	}())

	// It asks about its own images, and sees verdicts about them alone.
	if v := w.verdict(team, red); v.Decision != client.Allow {
		t.Errorf("the team's image: %s", v.Decision)
	}
	_, err = team.Verify(t.Context(), client.VerdictRequest{Image: blue})
	refused("another image", "image_out_of_scope", err)
	other := d.decides(blue, client.Deny)
	_, err = team.Verdict(t.Context(), other.ID)
	if err == nil {
		t.Error("it reads a verdict about another team's image")
	}
	page, err := team.Verdicts(t.Context(), client.VerdictFilter{})
	if err != nil || len(page.Items) != 1 || page.Items[0].ImageRef != red {
		t.Errorf("it sees the verdicts %+v (%v)", page.Items, err)
	}
	batch, err := team.VerifyBatch(t.Context(), []client.VerdictRequest{{Image: red}, {Image: blue}})
	if err == nil && (len(batch) != 2 || batch[0].Err != nil || problem(batch[1].Err) != "image_out_of_scope") {
		t.Errorf("a batch: %+v (%v)", batch, err)
	}

	// A token for a network is good from there alone; a proxy that is trusted says
	// where a request is from.
	bound := made("--role", "viewer", "--name", "office", "--source", "192.0.2.0/24")
	a, err := w.ask(http.DefaultClient, http.MethodGet, d.address+"/api/v1/whoami", bound, "", "X-Forwarded-For: 192.0.2.7")
	w.wants("from the office", a, err, http.StatusOK, `"name":"office"`)
	for _, from := range []string{"X-Forwarded-For: 198.51.100.7", "X-Forwarded-For: 192.0.2.7, 198.51.100.7", "X-Unrelated: 192.0.2.7"} {
		a, err = w.ask(http.DefaultClient, http.MethodGet, d.address+"/api/v1/whoami", bound, "", from)
		w.wants(from, a, err, http.StatusUnauthorized, "token_source")
	}

	// Last use is seen, within a minute's grain; never used is never.
	unused := made("--role", "viewer", "--name", "unused")
	last := func(name string) *time.Time {
		for tok, err := range d.AllTokens(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if tok.Name == name {
				return tok.LastUsedAt
			}
		}
		t.Fatalf("there is no token %s", name)
		return nil
	}
	eventually.Holds(t, "the last use is kept", func() bool { return last("red-admin") != nil && last("office") != nil })
	if at := last("red-admin"); time.Since(*at) > time.Hour || time.Since(*at) < -time.Minute {
		t.Errorf("last used at %s", at)
	}
	if at := last("unused"); at != nil {
		t.Errorf("a token that was never used was used at %s", at)
	}

	// Revoked, it is worth nothing with the next request.
	w.do("token", "revoke", "unused", "--why", "not needed")
	_, err = d.as(unused).Whoami(t.Context())
	refused("a revoked token", "token_revoked", err)
	short := made("--role", "viewer", "--name", "short", "--expires", "1s")
	eventually.Holds(t, "it expires", func() bool {
		_, err := d.as(short).Whoami(t.Context())
		return problem(err) == "token_expired"
	})
}

// One principal's rate is its own; who asks too often is told when to come again.
func TestRateLimit(t *testing.T) {
	w := newWorld(t, "rate_limit: {per_second: 0.01, burst: 3}")
	w.admin()
	other := lastLine(w.do("token", "create", "--role", "viewer", "--name", "other"))
	d := w.serve()
	var last answer
	for i := range 4 {
		a, err := w.ask(http.DefaultClient, http.MethodGet, d.address+"/api/v1/whoami", w.token, "")
		if want := http.StatusOK; i < 3 && (err != nil || a.status != want) {
			t.Fatalf("request %d: %d %v", i, a.status, err)
		}
		last = a
	}
	w.wants("one too many", last, nil, http.StatusTooManyRequests, "rate_limited")
	if s, err := strconv.Atoi(last.header.Get("Retry-After")); err != nil || s < 1 || s > 100 {
		t.Errorf("Retry-After is %q", last.header.Get("Retry-After"))
	}
	a, err := w.ask(http.DefaultClient, http.MethodGet, d.address+"/api/v1/whoami", other, "")
	w.wants("another principal", a, err, http.StatusOK, "other")
	a, err = w.ask(http.DefaultClient, http.MethodGet, d.address+"/healthz", "", "")
	w.wants("health", a, err, http.StatusOK, "ok")

	// Guessing is slow too: a hundred at once from one address, then one a second.
	var guess answer
	for range 2000 { // many more than are let through, however slow they are
		plain, _, err := auth.NewToken(auth.NewTokenRequest{Name: "guess", Role: auth.Admin, CreatedBy: "nobody", TTL: time.Hour}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if guess, err = w.ask(http.DefaultClient, http.MethodGet, d.address+"/api/v1/whoami", plain, ""); err != nil {
			t.Fatal(err)
		}
		if guess.status != http.StatusUnauthorized {
			break
		}
	}
	w.wants("guess after guess", guess, nil, http.StatusTooManyRequests, "rate_limited")
	d.stop(syscall.SIGKILL)

	// The burst need not be said.
	w.configure("rate_limit: {per_second: 0.01}")
	d = w.serve()
	a, err = w.ask(http.DefaultClient, http.MethodGet, d.address+"/api/v1/whoami", w.token, "")
	w.wants("the first", a, err, http.StatusOK, "first")
	a, err = w.ask(http.DefaultClient, http.MethodGet, d.address+"/api/v1/whoami", w.token, "")
	w.wants("the second", a, err, http.StatusTooManyRequests, "rate_limited")
}
