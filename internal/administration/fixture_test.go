package administration

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/store/storetest"
	"github.com/signet-policy/signet/internal/testkit/pgtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := pgtest.DropShared(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
		os.Exit(code)
	}))
}

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// clock stands still until a test moves it.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *clock) move(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

// service is a key management service of a map.
type service struct {
	mu   sync.Mutex
	keys map[string]string
	err  error
	read int
}

func (k *service) PublicKeys(_ context.Context, ref string) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.read++
	if k.err != nil {
		return "", k.err
	}
	pem, ok := k.keys[ref]
	if !ok {
		return "", errors.New("there is no such key")
	}
	return pem, nil
}

func (k *service) set(ref, pem string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[ref], k.err = pem, err
}

type fixture struct {
	*Service
	clock *clock
	kms   *service
	// checked is what CheckPolicy answers.
	checked error
}

// eachStore runs a test on SQLite, and on PostgreSQL where there is one.
func eachStore(t *testing.T, run func(*testing.T, *fixture)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { run(t, onSQLite(t)) })
	t.Run("postgres", func(t *testing.T) { run(t, onPostgres(t)) })
}

func onSQLite(t *testing.T) *fixture {
	t.Helper()
	return open(t, store.Config{DataDir: storetest.Fresh(t)})
}

// onPostgres is in a schema of the test's own.
func onPostgres(t *testing.T) *fixture {
	t.Helper()
	return open(t, store.Config{URL: pgtest.Shared(t), Migrate: true})
}

func open(t *testing.T, cfg store.Config) *fixture {
	t.Helper()
	f := &fixture{clock: &clock{now: start}, kms: &service{keys: map[string]string{}}}
	cfg.Now = f.clock.Now
	st, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	f.Service, err = New(Config{
		Store: st, KMS: f.kms, Now: f.clock.Now,
		CheckPolicy: func(context.Context, *signingpolicy.Policy, []byte) error { return f.checked },
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var (
	root = Caller{Principal: auth.Principal{Name: "root", Role: auth.Admin}, From: "192.0.2.1", Why: "because"}
	web  = Caller{Principal: auth.Principal{Name: "web-admin", Role: auth.Admin, Team: "web"}, From: "192.0.2.2"}
	org  = Caller{Principal: auth.Principal{Name: "org-admin", Role: auth.Admin, Images: []string{"ghcr.io/org/**"}}, From: "192.0.2.3"}
)

const issuer = "https://accounts.google.com"

func keyless(name string) client.Signer {
	return client.Signer{Name: name, Type: "keyless", Issuer: issuer, Subject: name + "@example.com", Enabled: true}
}

const vaultRef = "hashivault://release"

func kmsSigner(name string) client.Signer {
	return client.Signer{Name: name, Type: "kms", KMSKeyRef: vaultRef, Enabled: true}
}

// newKey makes a public key.
func newKey(t testing.TB) signers.Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := signers.NewKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// must is for what a test does not look at.
func must[T any](t testing.TB) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func same[T any](t testing.TB, want, got T) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// wants checks an error's kind and that its message has text.
func wants(t testing.TB, err, kind error, text string) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want %v with %q", err, kind, text)
	}
}

// mistakes checks that an error names these mistakes, each as "field: problem" of
// which the beginning is given, and no others.
func mistakes(t testing.TB, err error, want ...string) {
	t.Helper()
	var got FieldErrors
	if !errors.As(err, &got) {
		t.Fatalf("error %v, want field errors", err)
	}
	if len(got) != len(want) {
		t.Fatalf("mistakes:\n%v\nwant %q", err, want)
	}
	for i, w := range want {
		if !strings.HasPrefix(got[i].Error(), w) {
			t.Errorf("mistake %q, want %q", got[i].Error(), w)
		}
	}
}

// untouched runs fn and fails when anything in force, audited or noted differs
// afterwards.
func (f *fixture) untouched(t testing.TB, fn func()) {
	t.Helper()
	before := f.everything(t)
	fn()
	if d := cmp.Diff(before, f.everything(t)); d != "" {
		t.Errorf("something was written (-before +after):\n%s", d)
	}
}

func (f *fixture) everything(t testing.TB) string {
	t.Helper()
	ctx := t.Context()
	head := must[store.AuditHead](t)(f.store.AuditHead(ctx))
	active := must[any](t)(f.store.Active(ctx))
	rows := must[[]store.SignerRow](t)(f.store.Signers(ctx))
	policies := must[[]store.PolicyRow](t)(f.store.Policies(ctx))
	tokens := must[[]auth.Token](t)(f.store.Tokens(ctx))
	kept := must[[]store.Upkeep](t)(f.store.Upkeep(ctx, store.UpkeepKMS))
	return fmt.Sprintf("%+v\n%+v\n%d signers %+v\n%d policies %+v\n%d tokens\n%+v", head, active, len(rows), rows, len(policies), policies, len(tokens), kept)
}

// entry is what a test looks at of an audit entry.
type entry struct{ Actor, From, Action, Object, Why string }

// audited lists the newest n entries, the oldest of them first.
func (f *fixture) audited(t testing.TB, n int) []entry {
	t.Helper()
	list := must[[]store.AuditEntry](t)(f.store.Audit(t.Context(), store.AuditFilter{Limit: n}))
	out := make([]entry, len(list))
	for i, e := range list {
		out[len(list)-1-i] = entry{e.Actor, e.From, e.Action, e.Object, e.Why}
	}
	return out
}

func ptr[T any](v T) *T { return &v }
