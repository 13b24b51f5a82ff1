package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/policy"
	"github.com/signet-policy/signet/internal/policy/starter"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/testkit/eventually"
)

// starterArchive is what signet policy init makes, packed.
func starterArchive(t *testing.T) []byte {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "rules")
	if _, err := starter.Init(dir); err != nil {
		t.Fatal(err)
	}
	archive, err := policy.Pack(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

func policyRow(t *testing.T, name, body string) store.PolicyRow {
	t.Helper()
	p, err := signingpolicy.ParseAs(name, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	canonical, err := p.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	return store.PolicyRow{Name: name, Body: string(canonical), Digest: facts.Digest(canonical)}
}

const onAcme = "trusted_signers: [{type: registry}]\nbundle: acme\nparameters: {registries: [ghcr.io]}\n"

// A policy whose bundle is not there has no rules. It costs no other policy.
func TestPolicyWithoutItsBundle(t *testing.T) {
	ctx := t.Context()
	archive := starterArchive(t)
	acme := store.BundleRow{Name: "acme", Digest: facts.Digest(archive)}
	rows := []store.PolicyRow{policyRow(t, "plain", "trusted_signers: [{type: registry}]\n"), policyRow(t, "strict", onAcme)}
	later := errors.New("the database is away")
	for name, tt := range map[string]struct {
		bundles []store.BundleRow
		archive []byte
		err     error
		want    string // of the evaluation; "" is an answer
		fails   error
	}{
		"as it should be":          {bundles: []store.BundleRow{acme}, archive: archive},
		"no bundle of that name":   {want: `there is no bundle "acme"`},
		"never fetched":            {bundles: []store.BundleRow{{Name: "acme"}}, want: `bundle "acme" has not been fetched yet`},
		"lost":                     {bundles: []store.BundleRow{acme}, err: store.ErrNotFound, want: "cannot be read"},
		"damaged":                  {bundles: []store.BundleRow{acme}, err: store.ErrCorrupt, want: "cannot be read"},
		"no archive":               {bundles: []store.BundleRow{acme}, archive: []byte("x"), want: "cannot be read"},
		"not for these parameters": {bundles: []store.BundleRow{acme}, archive: archive, want: "cannot be used by this version"},
		"the store is away":        {bundles: []store.BundleRow{acme}, err: later, fails: later},
	} {
		t.Run(name, func(t *testing.T) {
			list := rows
			if name == "not for these parameters" {
				list = []store.PolicyRow{rows[0], policyRow(t, "strict", strings.ReplaceAll(onAcme, "registries", "regions"))}
			}
			got, err := compilePolicies(ctx, list, compiling{bundles: tt.bundles, archive: func(context.Context, string) ([]byte, error) { return tt.archive, tt.err }})
			if tt.fails != nil || err != nil {
				if !errors.Is(err, tt.fails) {
					t.Fatalf("error %v, want %v", err, tt.fails)
				}
				return
			}
			in := facts.NewInput(facts.Facts{}, facts.Frame{Search: facts.Search{Complete: true}})
			if res, err := got[0].set.Evaluate(ctx, &in); err != nil || res.Allow {
				t.Errorf("the other policy: %+v %v", res, err)
			}
			res, err := got[1].set.Evaluate(ctx, &in)
			switch {
			case tt.want == "":
				if err != nil || res.Allow {
					t.Errorf("%+v %v", res, err)
				}
			case !errors.Is(err, engine.ErrNoRules) || !strings.Contains(err.Error(), tt.want):
				t.Errorf("error %v, want %s", err, tt.want)
			}
			if (got[1].made == "") != (tt.want != "") {
				t.Errorf("made of %q: what has no rules is tried again with the next state", got[1].made)
			}
		})
	}
}

// What was compiled to be tried is not compiled again when it is in force.
func TestPreparedPolicyIsTaken(t *testing.T) {
	ctx := t.Context()
	archive := starterArchive(t)
	row := policyRow(t, "strict", onAcme)
	p, err := signingpolicy.Parse([]byte(row.Body))
	if err != nil {
		t.Fatal(err)
	}
	prepared := &preparedPolicies{}
	if err := prepared.check(ctx, p, archive, evidenceLimits{}); err != nil {
		t.Fatal(err)
	}
	with := compiling{
		bundles: []store.BundleRow{{Name: "acme", Digest: facts.Digest(archive)}}, prepared: prepared,
		archive: func(context.Context, string) ([]byte, error) { return nil, errors.New("it is read again") },
	}
	got, err := compilePolicies(ctx, []store.PolicyRow{row}, with)
	if err != nil || got[0].set.Digest() == "" {
		t.Fatalf("%+v %v", got, err)
	}
	if with.before = got; len(prepared.list) != 0 {
		t.Error("it is kept when it is in force")
	}
	again, err := compilePolicies(ctx, []store.PolicyRow{row}, with)
	if err != nil || again[0].set != got[0].set {
		t.Errorf("what did not change is compiled again: %v", err)
	}
	// Another archive under the same policy is another policy.
	with.bundles = []store.BundleRow{{Name: "acme", Digest: facts.Digest([]byte("other"))}}
	if _, err := compilePolicies(ctx, []store.PolicyRow{row}, with); err == nil {
		t.Error("another archive is taken for the one before")
	}
	bad := *p
	bad.Parameters = nil
	if err := prepared.check(ctx, &bad, archive, evidenceLimits{}); !errors.Is(err, signingpolicy.ErrInvalid) || !errors.Is(err, policy.ErrLoad) || !strings.Contains(err.Error(), "registries is required") {
		t.Errorf("without its parameter: %v", err)
	}
}

func TestBackedOff(t *testing.T) {
	for _, tt := range []struct {
		every, slowest time.Duration
		failures       int
		want           time.Duration
	}{
		{time.Minute, 10 * time.Minute, 0, time.Minute},
		{time.Minute, 10 * time.Minute, 1, 2 * time.Minute},
		{time.Minute, 10 * time.Minute, 3, 8 * time.Minute},
		{time.Minute, 10 * time.Minute, 1000, 10 * time.Minute},
		{time.Hour, time.Hour, 5, time.Hour},
		{2 * time.Second, 10 * time.Second, 3, 10 * time.Second},
	} {
		if got := backedOff(tt.every, tt.slowest, tt.failures); got != tt.want {
			t.Errorf("%s after %d failures: %s, want %s", tt.every, tt.failures, got, tt.want)
		}
	}
	for range 1000 {
		if got := jittered(time.Minute); got < 54*time.Second || got > 66*time.Second {
			t.Fatalf("a minute more or less is %s", got)
		}
	}
	if every, slowest := pollEvery(config.Bundle{URL: "https://x", Poll: config.Duration(time.Hour)}); every != time.Hour || slowest != time.Hour {
		t.Errorf("%s %s", every, slowest)
	}
}

// Only the server that does the upkeep asks.
func TestPollerAsksWhereTheLeaseIs(t *testing.T) {
	asked := make(chan string, 100)
	mine := make(chan bool, 1)
	mine <- false
	p := &bundlePoller{
		bundles: map[string]config.Bundle{"acme": {Dir: "x", Poll: config.Duration(time.Millisecond)}},
		poll:    func(_ context.Context, name string) (bool, error) { asked <- name; return false, nil },
		mine:    func() bool { m := <-mine; mine <- m; return m },
		log:     newLogger(os.Stderr, config.Log{Level: "error"}, true),
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); p.run(ctx) }()
	select {
	case <-asked:
		t.Error("a server without the lease asks")
	case <-time.After(50 * time.Millisecond):
	}
	<-mine
	mine <- true
	select {
	case name := <-asked:
		if name != "acme" {
			t.Errorf("asked for %s", name)
		}
	case <-time.After(eventually.Patience):
		t.Error("the server with the lease does not ask")
	}
	stop()
	select {
	case <-ended:
	case <-time.After(eventually.Patience):
		t.Error("it does not end")
	}
}
