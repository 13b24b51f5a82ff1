package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/testkit"
	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/testkit/tuftest"
)

// grown is a Sigstore's trusted_root.json with the parts of another one added.
func grown(t *testing.T, stack, more *testkit.Stack) []byte {
	t.Helper()
	root, next := stack.TrustedRoot(), more.TrustedRoot()
	root.Rekor = append(root.Rekor, next.Rekor...)
	root.Authorities = append(root.Authorities, next.Authorities...)
	root.CT = append(root.CT, next.CT...)
	root.TSAs = append(root.TSAs, next.TSAs...)
	body, err := root.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// A private Sigstore whose trust root comes from a TUF repository: what it adds
// counts without a restart, what it takes back does not; and all of it is carried
// into an installation that can ask nobody.
func TestTrustFromTUF(t *testing.T) {
	w := newWorld(t, "offline: false")
	own := testkit.NewStack(t, sigstack.Options{Seed: "own"})
	later := testkit.NewStack(t, sigstack.Options{Seed: "later", From: own.From.Add(24 * time.Hour)})
	id := sigstack.Workflow{}.Identity()
	signed := func(stack *testkit.Stack, content string) string {
		return w.imageBy(stack, "acme/app", content, sigstack.SignRequest{Identity: id, Log: sigstack.RekorV1()})
	}
	first, second := signed(own, "first"), signed(later, "second")
	repo := tuftest.New(t, own.TrustedRootJSON())
	w.file("first-root.json", repo.Root(1))
	w.admin()
	d := w.serve()
	d.create(client.Signer{Name: "release", Type: "keyless", Issuer: id.Issuer, Subject: id.URIs[0], Enabled: true})
	d.decides(first, client.Deny)
	w.fails(exitUsage, "tuf_url: ", "trust", "add", "--tuf", repo.URL(), "--root", w.path("root.json"), "--name", "own") // no root.json of TUF
	w.do("trust", "add", "--tuf", repo.URL(), "--root", w.path("first-root.json"), "--name", "own", "--why", "our own Sigstore")
	d.decides(first, client.Allow)
	d.decides(second, client.Deny)

	digest := func() string {
		root, err := d.TrustRoot(t.Context(), "own")
		if err != nil {
			t.Fatal(err)
		}
		return root.Digest
	}
	before := digest()
	repo.RotateRoot()
	repo.Publish(grown(t, own, later))
	w.do("trust", "refresh", "own", "--why", "a new log")
	after := digest()
	if after == before {
		t.Error("the digest is that of before")
	}
	d.decides(second, client.Allow)
	d.decides(first, client.Allow)

	// What goes back is refused, and shown.
	shown := func(what string) {
		t.Helper()
		for _, args := range [][]string{{"trust", "list"}, {"trust", "show", "own"}} {
			if out := w.do(args...); !strings.Contains(out, what) {
				t.Errorf("signet %s does not say %q:\n%s", strings.Join(args, " "), what, out)
			}
		}
	}
	repo.Rollback(own.TrustedRootJSON())
	w.fails(exitUsage, "the root in use stays", "trust", "refresh", "own")
	shown("the root in use stays")
	repo.Bump()
	repo.Bump()
	w.fails(exitUsage, "older", "trust", "refresh", "own") // an older root, duly signed
	repo.Down(500)
	w.fails(exitUsage, "500", "trust", "refresh", "own")
	shown("500")
	if digest() != after {
		t.Error("another root is in force")
	}
	d.decides(second, client.Allow)

	// Carried into an installation that can ask nobody.
	w.do("policies", "put", w.file("carried.yaml", []byte("signing_policy: {name: carried, mode: audit, trusted_signers: [{type: registry}]}")))
	w.do("trust", "export", "--out", w.path("archive"))
	w.do("trust", "export-key", "--out", w.path("archive.pub"))
	inside := newWorldLike(w, "")
	inside.admin()
	there := inside.serve()
	there.decides(second, client.Deny)
	inside.fails(exitUsage, "public_key", "trust", "import", w.path("archive"), "--key", inside.file("other.pub", w.stack.Key("other", 0).PublicPEM()))
	there.decides(second, client.Deny)
	out := inside.do("trust", "import", w.path("archive"), "--key", w.path("archive.pub"), "--why", "the monthly disk")
	for _, line := range []string{"own", "carried", "release"} {
		if !strings.Contains(out, line) {
			t.Errorf("the import says nothing of %s:\n%s", line, out)
		}
	}
	there.decides(first, client.Allow)
	there.decides(second, client.Allow)
	inside.fails(exitUsage, "refreshed", "trust", "refresh", "own") // nobody can be asked there
	if out := inside.do("audit", "list"); !strings.Contains(out, "the monthly disk") {
		t.Errorf("the audit log inside:\n%s", out)
	}
	inside.do("audit", "verify")

	// An archive from before does not take it back.
	w.do("signers", "disable", "release")
	w.do("trust", "export", "--out", w.path("newer"))
	inside.do("trust", "import", w.path("newer"), "--key", w.path("archive.pub"))
	there.decides(first, client.Deny)
	inside.fails(exitUsage, "", "trust", "import", w.path("archive"), "--key", w.path("archive.pub"))
	there.decides(first, client.Deny)
}

// On a data directory signet verify decides as a server there would: with the
// policies, signers and trust roots that are managed through the API beside those
// of the configuration.
func TestVerifyAsTheServerWould(t *testing.T) {
	w := newWorld(t, "")
	own := testkit.NewStack(t, sigstack.Options{Seed: "own"})
	id := sigstack.Workflow{}.Identity()
	theirs, s := w.keyless("acme/app")
	ours := w.imageBy(own, "own/app", "ours", sigstack.SignRequest{Identity: id, Log: sigstack.RekorV1()})
	w.file("own.json", own.TrustedRootJSON())
	policy := func(name, rest string) string {
		return w.file(name+".yaml", []byte(fmt.Sprintf("signing_policy: {name: %s, %s}", name, rest)))
	}
	answers := func(when string, code int, args ...string) {
		t.Helper()
		if got, out, errs := w.run(append([]string{"verify"}, args...)...); got != code {
			t.Errorf("%s: signet verify %s: exit code %d, want %d\n%s%s", when, strings.Join(args, " "), got, code, out, errs)
		}
	}
	both := func(when string, code int, image string, decision client.Decision) {
		t.Helper()
		answers(when, code, image)
		w.token = lastLine(w.do("token", "create", "--role", "admin", "--name", "x"))
		d := w.serve()
		d.decides(image, decision)
		answers(when+", beside a server", code, image)
		d.stop(syscall.SIGTERM)
		answers(when+", after a server", code, image)
	}
	if _, err := os.Stat(w.path("data")); err == nil {
		t.Fatal("there is a store")
	}
	answers("without a store", exitDeny, theirs)
	w.do("signers", "add", "--name", "release", "--issuer", s.Issuer, "--subject", s.Subject)
	both("with a signer", exitAllow, theirs, client.Allow)
	both("with another root", exitDeny, ours, client.Deny)
	w.do("trust", "add", w.path("own.json"), "--name", "own")
	both("with its root", exitAllow, ours, client.Allow)
	answers("the configuration's root is there still", exitAllow, theirs)

	// A policy of the API beside the configuration's.
	w.configure("signing_policy: {name: house, trusted_signers: [{type: registry}]}")
	both("with the configuration's policy", exitAllow, theirs, client.Allow)
	w.do("policies", "put", policy("strict", `images: ["`+w.registry.Host()+`/acme/**"], trusted_signers: [{type: keyless, issuer: "https://accounts.google.com", subject: "nobody@example.com"}]`))
	both("with a policy of the API beside it", exitDeny, theirs, client.Deny)
	answers("what it is not about", exitAllow, ours)
	answers("with a policy of the command", exitAllow, theirs, "--policy", policy("mine", "trusted_signers: [{type: registry}]"))

	// And another configuration counts at once.
	w.configure("signing_policy: {name: house, trusted_signers: [{type: keyless, issuer: \"https://accounts.google.com\", subject: \"nobody@example.com\"}]}")
	both("with another policy in the configuration", exitDeny, ours, client.Deny)
	w.configure("trust_roots: [{name: test, path: own.json}]")
	w.do("policies", "remove", "strict")
	answers("with another root in the configuration", exitDeny, theirs)
	w.do("trust", "remove", "own")
	answers("the one that the configuration has now", exitAllow, ours)
	w.configure("signing_policy: {name: house, trusted_signers: [{type: registry}]}")
	w.do("policies", "put", policy("twice", "trusted_signers: [{type: registry}]"))
	w.configure("signing_policy: {name: twice, trusted_signers: [{type: registry}]}")
	w.fails(exitUsage, "policy twice is in the configuration, and was made through the API too", "verify", theirs)
	w.configure("trust_roots: [{name: again, path: root.json}]")
	w.do("trust", "add", w.path("own.json"), "--name", "again")
	w.fails(exitUsage, "trust root again is in the configuration, and was put through the API too", "verify", theirs)
	w.refuses("again")

	// What says all itself asks no store.
	w.file("data/signet.db", []byte("no database"))
	for _, suffix := range []string{"-wal", "-shm"} {
		_ = os.Remove(filepath.Join(w.path("data"), "signet.db"+suffix))
	}
	answers("without the store", exitAllow, theirs, "--trusted-root", w.path("root.json"), "--issuer", s.Issuer, "--subject", s.Subject)
	if code, _, errs := w.run("verify", theirs); code != exitFailure || !strings.Contains(errs, "store") {
		t.Errorf("a store that is damaged: exit code %d: %s", code, errs)
	}
}

// A root of the configuration that comes from a TUF repository: fetched at the
// first start, kept for the next one, refreshed by itself; when that fails for
// longer than max_staleness, what it vouched for is unknown.
func TestConfiguredTUF(t *testing.T) {
	w := newWorld(t, "")
	repo := tuftest.New(t, w.stack.TrustedRootJSON())
	w.file("first-root.json", repo.Root(1))
	configured := func(more string) string {
		return fmt.Sprintf("offline: false\ntrust_roots: [{name: own, tuf: %q, tuf_root: first-root.json}]\n%s", repo.URL(), more)
	}
	ref, s := w.keyless("acme/app")
	w.do("signers", "add", "--name", "release", "--issuer", s.Issuer, "--subject", s.Subject)
	w.admin()
	w.configure(configured(""))
	repo.Down(503)
	w.refuses("trust_roots[0] own: ") // nothing to go by yet
	w.fails(exitUsage, "trust_roots[0] own: ", "verify", ref)
	repo.Down(0)
	d := w.serve()
	d.decides(ref, client.Allow)
	d.stop(syscall.SIGTERM)
	repo.Down(503)
	w.do("verify", ref) // by what the store has
	d = w.serve()
	d.decides(ref, client.Allow)
	w.fails(exitUsage, "503", "trust", "refresh", "own")
	d.stop(syscall.SIGTERM)

	w.configure(configured("max_staleness: 3s\ncache: {decision_max_age: 1s}"))
	d = w.serve()
	says := func(want client.Decision) func() bool {
		return func() bool { return w.verdict(d.Client, ref).Decision == want }
	}
	eventually.Holds(t, "its root is stale", says(client.Unknown))
	if out := w.do("trust", "list"); !strings.Contains(out, "503") {
		t.Errorf("trust list does not say why:\n%s", out)
	}
	if c, status := d.check("state"); !c.OK || status != 200 {
		t.Errorf("/readyz: %d %+v", status, c)
	}
	repo.Down(0)
	eventually.Holds(t, "it is refreshed by itself", says(client.Allow))
}
