package administration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/testkit/tuftest"
	"github.com/signet-policy/signet/internal/trust"
)

// site is an installation with an administrator, and a clock that is set.
type site struct {
	*Service
	t     *testing.T
	store *store.Store
	now   time.Time
	admin Caller
}

func newSite(t *testing.T) *site {
	t.Helper()
	return siteOn(t, onSQLite(t))
}

// siteOn is an installation on the store of a fixture.
func siteOn(t *testing.T, f *fixture) *site {
	t.Helper()
	s := &site{t: t, store: f.store, now: time.Now().UTC().Truncate(time.Second)}
	s.admin = Caller{Principal: auth.Principal{Name: "alice", Role: auth.Admin}, From: "192.0.2.1", Why: "a test"}
	s.Service = s.service(nil)
	return s
}

// service is another service on the site's store: another replica.
func (s *site) service(checked error) *Service {
	s.t.Helper()
	transport := &http.Transport{}
	s.t.Cleanup(transport.CloseIdleConnections)
	svc, err := New(Config{
		Store: s.store, Now: func() time.Time { return s.now },
		TUF:         trust.Refresher{Client: &http.Client{Transport: transport, Timeout: 10 * time.Second}, UserAgent: "signet/test"},
		CheckPolicy: func(context.Context, *signingpolicy.Policy, []byte) error { return checked },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return svc
}

// instanceRoot is the trusted_root.json of an instance whose newest part begins
// so many hours after the others.
func instanceRoot(t *testing.T, name string, hours int) []byte {
	t.Helper()
	s, err := sigstack.New(sigstack.Options{Name: name, Seed: name})
	if err != nil {
		t.Fatal(err)
	}
	tr := s.TrustedRoot()
	tr.Rekor[1].PublicKey.ValidFor.Start = s.From.Add(time.Duration(hours) * time.Hour)
	body, err := tr.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func parsedRoot(t *testing.T, name string, body []byte) *trust.Root {
	t.Helper()
	r, err := trust.Parse(name, body, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (s *site) put(name string, in client.PutTrustRoot, version *int64) (client.TrustRoot, error) {
	return s.PutTrustRoot(s.t.Context(), s.admin, name, in, version)
}

func (s *site) mustPut(name string, in client.PutTrustRoot, version *int64) client.TrustRoot {
	s.t.Helper()
	r, err := s.put(name, in, version)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *site) trustRoot(name string) client.TrustRoot {
	s.t.Helper()
	r, err := s.TrustRoot(s.t.Context(), s.admin, name)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// rootNames are the roots in their order, with where they come from.
func (s *site) rootNames() []string {
	s.t.Helper()
	list, err := s.TrustRoots(s.t.Context(), s.admin)
	if err != nil {
		s.t.Fatal(err)
	}
	names := []string{}
	for _, r := range list {
		names = append(names, r.Source+" "+r.Name)
	}
	return names
}

// unchanged checks that f fails with want and leaves everything in force as it
// is.
func (s *site) unchanged(want error, text string, f func() error) {
	s.t.Helper()
	before, err := s.store.Active(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	err = f()
	var fields FieldErrors
	switch {
	case err == nil:
		s.t.Error("no error")
	case want == nil && !errors.As(err, &fields), want != nil && !errors.Is(err, want), !strings.Contains(err.Error(), text):
		s.t.Errorf("error %q, want %v with %q", err, want, text)
	}
	after, err := s.store.Active(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if before != after {
		s.t.Errorf("active was %v and is %v", before, after)
	}
}

// lastAudit is the newest entry of the audit log.
func (s *site) lastAudit() store.AuditEntry {
	s.t.Helper()
	list, err := s.store.Audit(s.t.Context(), store.AuditFilter{Limit: 1})
	if err != nil || len(list) != 1 {
		s.t.Fatalf("%v, %v", list, err)
	}
	return list[0]
}

func TestTrustRoots(t *testing.T) {
	s := newSite(t)
	body := instanceRoot(t, "own", 1)
	got := s.mustPut("own", client.PutTrustRoot{TrustedRoot: body, Images: []string{"ghcr.io/org/**"}}, nil)
	root := parsedRoot(t, "own", body)
	since, next := root.Contents().NewestSince, root.Contents().NextEnd(start)
	parts := []client.TrustRootPart{}
	for _, p := range root.Contents().Parts {
		parts = append(parts, client.TrustRootPart{Kind: p.Kind, Name: p.Name, Since: bound(p.Since), Until: bound(p.Until)})
	}
	if len(parts) < 4 {
		t.Errorf("%d parts", len(parts))
	}
	want := client.TrustRoot{
		Name: "own", Source: "api", Kind: "file", Digest: root.Digest(),
		Requires: client.Requires{Log: true, SCT: true}, Images: []string{"ghcr.io/org/**"},
		Contains:    client.TrustRootContents{CertificateAuthorities: 1, TransparencyLogs: 2, CTLogs: 1, TimestampAuthorities: root.Contents().TimestampAuthorities, NewestSince: &since, NextEnd: bound(next), Parts: parts},
		TrustedRoot: root.Bytes(), UpdatedBy: "alice", UpdatedAt: start, Version: 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, s.trustRoot("own")); diff != "" {
		t.Error(diff)
	}
	if e := s.lastAudit(); e.Action != "trust_root.create" || e.Object != "trust_root/own" || e.Actor != "alice" || e.Why != "a test" {
		t.Errorf("audited as %+v", e)
	}
	// Others come after it, or where they are told to.
	s.mustPut("second", client.PutTrustRoot{TrustedRoot: instanceRoot(t, "second", 1)}, nil)
	s.mustPut("first", client.PutTrustRoot{TrustedRoot: instanceRoot(t, "first", 1), Position: ptr(0)}, nil)
	if diff := cmp.Diff([]string{"api first", "api own", "api second"}, s.rootNames()); diff != "" {
		t.Error(diff)
	}
	// In force are what the rows name, checked against their digests.
	rows, err := s.store.Roots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	roots, err := LoadRoots(t.Context(), s.store, rows, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(roots) != 3 || roots[1].Digest() != root.Digest() || roots[1].Covers("docker.io/library/nginx") || !roots[1].Covers("ghcr.io/org/app") {
		t.Errorf("loaded %v", roots)
	}
	rows[1].Digest = rows[0].Digest
	if _, err := LoadRoots(t.Context(), s.store, rows, false); err != nil {
		t.Errorf("another root's bytes under this name are that other root: %v", err)
	}
	rows[1].Digest = "sha256:" + strings.Repeat("0", 64)
	if _, err := LoadRoots(t.Context(), s.store, rows, false); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("bytes that are not there: %v", err)
	}
	rows[1].Digest, rows[1].Requires = rows[0].Digest, json.RawMessage(`{"log":true,"quorum":3}`)
	if _, err := LoadRoots(t.Context(), s.store, rows, false); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("a demand that is not known: %v", err)
	}
}

// A root is replaced by one of the version that was looked at, and not by an
// older one.
func TestReplaceTrustRoot(t *testing.T) {
	s := newSite(t)
	s.mustPut("own", client.PutTrustRoot{TrustedRoot: instanceRoot(t, "own", 2)}, nil)
	older := client.PutTrustRoot{TrustedRoot: instanceRoot(t, "own", 1)}
	newer := client.PutTrustRoot{TrustedRoot: instanceRoot(t, "own", 3)}
	s.unchanged(ErrConflict, "If-Match", func() error { _, err := s.put("own", newer, nil); return err })
	s.unchanged(ErrStale, "version 1", func() error { _, err := s.put("own", newer, ptr(int64(7))); return err })
	s.unchanged(ErrNotFound, "no trust root", func() error { _, err := s.put("other", newer, ptr(int64(1))); return err })
	s.unchanged(ErrConflict, "older than the one in use", func() error { _, err := s.put("own", older, ptr(int64(1))); return err })
	s.unchanged(trust.ErrOlder, "allow_older", func() error { _, err := s.put("own", older, ptr(int64(1))); return err })
	if got := s.mustPut("own", newer, ptr(int64(1))); got.Version != 2 {
		t.Errorf("version %d", got.Version)
	}
	older.AllowOlder = true
	got := s.mustPut("own", older, ptr(int64(2)))
	if want := parsedRoot(t, "own", older.TrustedRoot).Digest(); got.Digest != want {
		t.Errorf("digest %s, want %s", got.Digest, want)
	}
	// The same again writes nothing.
	before := s.lastAudit()
	s.mustPut("own", older, ptr(int64(3)))
	if after := s.lastAudit(); after.Seq != before.Seq {
		t.Errorf("nothing changed, and entry %d was written", after.Seq)
	}
}

func TestPutTrustRootMistakes(t *testing.T) {
	s := newSite(t)
	body := instanceRoot(t, "own", 1)
	for name, tt := range map[string]struct {
		root string
		in   client.PutTrustRoot
		want string
	}{
		"a name with a slash":     {"a/b", client.PutTrustRoot{TrustedRoot: body}, "name:"},
		"nothing":                 {"own", client.PutTrustRoot{}, "trusted_root:"},
		"a file and a TUF":        {"own", client.PutTrustRoot{TrustedRoot: body, TUFURL: "https://tuf.example.com"}, "trusted_root:"},
		"no trusted root":         {"own", client.PutTrustRoot{TrustedRoot: []byte(`{"a":1}`)}, "trusted_root:"},
		"a root twice in JSON":    {"own", client.PutTrustRoot{TrustedRoot: []byte(`{"tlogs":[],"tlogs":[]}`)}, "trusted_root:"},
		"a demand it cannot meet": {"own", client.PutTrustRoot{TrustedRoot: withoutTSAs(t, body), Requires: &client.Requires{Timestamp: true}}, "requires:"},
		"images that are none":    {"own", client.PutTrustRoot{TrustedRoot: body, Images: []string{"nginx"}}, "images:"},
		"a position below zero":   {"own", client.PutTrustRoot{TrustedRoot: body, Position: ptr(-1)}, "position:"},
		"a first root for a file": {"own", client.PutTrustRoot{TrustedRoot: body, TUFRoot: []byte(`{}`)}, "tuf_root:"},
		"a target for a file":     {"own", client.PutTrustRoot{TrustedRoot: body, Target: "x.json"}, "target:"},
		"TUF at a file address":   {"own", client.PutTrustRoot{TUFURL: "file:///etc", TUFRoot: []byte(`{}`)}, "tuf_url:"},
		"TUF with a password":     {"own", client.PutTrustRoot{TUFURL: "https://u:p@tuf.example.com", TUFRoot: []byte(`{}`)}, "tuf_url:"},
		"TUF without first root":  {"own", client.PutTrustRoot{TUFURL: "https://tuf.example.com"}, "tuf_root:"},
		"TUF with a broken root":  {"own", client.PutTrustRoot{TUFURL: "https://tuf.example.com", TUFRoot: []byte(`{}`)}, "tuf_url:"},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			s.unchanged(nil, tt.want, func() error { _, err := s.put(tt.root, tt.in, nil); return err })
		})
	}
}

func withoutTSAs(t *testing.T, body []byte) []byte {
	t.Helper()
	var tree map[string]any
	if err := json.Unmarshal(body, &tree); err != nil {
		t.Fatal(err)
	}
	delete(tree, "timestampAuthorities")
	out, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPatchTrustRoot(t *testing.T) {
	s := newSite(t)
	s.mustPut("own", client.PutTrustRoot{TrustedRoot: instanceRoot(t, "own", 1), Images: []string{"ghcr.io/org/**"}}, nil)
	patch := func(version int64, body string) (client.TrustRoot, error) {
		return s.PatchTrustRoot(t.Context(), s.admin, "own", version, []byte(body))
	}
	got, err := patch(1, `{"position": 4, "images": null, "requires": {"timestamp": true}}`)
	if err != nil {
		t.Fatal(err)
	}
	if got.Version != 2 || got.Position != 4 || len(got.Images) != 0 || got.Requires != (client.Requires{Log: true, SCT: true, Timestamp: true}) {
		t.Errorf("got %+v", got)
	}
	for name, tt := range map[string]struct {
		version int64
		patch   string
		kind    error
		want    string
	}{
		"an old version":        {1, `{"position": 1}`, ErrStale, "version 2"},
		"a field that is none":  {2, `{"imagess": []}`, nil, "imagess"},
		"what is the server's":  {2, `{"digest": "sha256:0"}`, nil, "digest"},
		"another root":          {2, `{"trusted_root": {"tlogs": []}}`, nil, "trusted_root"},
		"images that are none":  {2, `{"images": ["nginx"]}`, nil, "images"},
		"a position below zero": {2, `{"position": -1}`, nil, "position"},
		"no JSON":               {2, `position`, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			s.unchanged(tt.kind, tt.want, func() error { _, err := patch(tt.version, tt.patch); return err })
		})
	}
	s.unchanged(ErrNotFound, "no trust root", func() error {
		_, err := s.PatchTrustRoot(t.Context(), s.admin, "other", 1, []byte(`{}`))
		return err
	})
}

func TestDeleteTrustRoot(t *testing.T) {
	s := newSite(t)
	s.mustPut("own", client.PutTrustRoot{TrustedRoot: instanceRoot(t, "own", 1)}, nil)
	remove := func(version int64) func() error {
		return func() error { return s.DeleteTrustRoot(t.Context(), s.admin, "own", version) }
	}
	s.unchanged(ErrConflict, "the last one", remove(1))
	s.mustPut("other", client.PutTrustRoot{TrustedRoot: instanceRoot(t, "other", 1)}, nil)
	s.unchanged(ErrStale, "version 1", remove(2))
	signer, err := s.CreateSigner(t.Context(), s.admin, client.Signer{
		Name: "release", Type: "keyless", Issuer: "https://accounts.example.test", Subject: "dev@example.test", TrustRoots: []string{"own"}, Enabled: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.unchanged(ErrConflict, "named by the signers release", remove(1))
	if err := s.DeleteSigner(t.Context(), s.admin, signer.ID, signer.Version); err != nil {
		t.Fatal(err)
	}
	policy, err := s.PutPolicy(t.Context(), s.admin, "own", "", []byte("trusted_signers: [{type: keyless, issuer: https://accounts.example.test, subject: dev, trust_roots: [own]}]\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.unchanged(ErrConflict, "signer own/1 of a policy", remove(1))
	if err := s.DeletePolicy(t.Context(), s.admin, "own", policy.Version); err != nil {
		t.Fatal(err)
	}
	if err := remove(1)(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"api other"}, s.rootNames()); diff != "" {
		t.Error(diff)
	}
	s.unchanged(ErrNotFound, "no trust root", remove(1))
}

// Trust roots are the whole installation's.
func TestWhoMayChangeTrustRoots(t *testing.T) {
	s := newSite(t)
	body := instanceRoot(t, "own", 1)
	s.mustPut("own", client.PutTrustRoot{TrustedRoot: body}, nil)
	key, err := s.ExportKey(t.Context(), s.admin)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]auth.Principal{
		"an author":              {Name: "bob", Role: auth.Author},
		"a team's administrator": {Name: "carol", Role: auth.Admin, Team: "web"},
		"bound to some images":   {Name: "dave", Role: auth.Admin, Images: []string{"ghcr.io/web/**"}},
		"nobody":                 {},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			c := Caller{Principal: p}
			for what, f := range map[string]func() error{
				"put": func() error {
					_, err := s.PutTrustRoot(t.Context(), c, "new", client.PutTrustRoot{TrustedRoot: body}, nil)
					return err
				},
				"patch": func() error {
					_, err := s.PatchTrustRoot(t.Context(), c, "own", 1, []byte(`{"position":3}`))
					return err
				},
				"delete":     func() error { return s.DeleteTrustRoot(t.Context(), c, "own", 1) },
				"refresh":    func() error { _, err := s.RefreshTrustRoot(t.Context(), c, "own"); return err },
				"export":     func() error { _, err := s.ExportTrust(t.Context(), c); return err },
				"export key": func() error { _, err := s.ExportKey(t.Context(), c); return err },
				"import":     func() error { _, err := s.ImportTrust(t.Context(), c, []byte(`{}`), key, true); return err },
			} {
				t.Run(what, func(t *testing.T) {
					s.t = t
					s.unchanged(ErrForbidden, "", f)
				})
			}
		})
	}
	if _, err := s.TrustRoots(t.Context(), Caller{Principal: auth.Principal{Name: "v", Role: auth.Viewer, Team: "web"}}); err != nil {
		t.Errorf("a viewer reads: %v", err)
	}
	for _, err := range []error{
		second(s.TrustRoots(t.Context(), Caller{})), second(s.TrustRoot(t.Context(), Caller{}, "own")),
	} {
		if !errors.Is(err, ErrForbidden) {
			t.Errorf("nobody reads: %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// There are never more roots than are tried.
func TestTooManyTrustRoots(t *testing.T) {
	s := newSite(t)
	var seeds []RootSeed
	body := instanceRoot(t, "many", 1)
	for i := range 64 {
		seeds = append(seeds, RootSeed{Root: parsedRoot(t, fmt.Sprintf("r%d", i), body)})
	}
	s.mustSeed(seeds...)
	s.unchanged(ErrConflict, "64 trust roots", func() error {
		return second(s.put("more", client.PutTrustRoot{TrustedRoot: body, Position: ptr(3)}, nil))
	})
	if n := len(s.rootNames()); n != 64 || !slices.Contains(s.rootNames(), "configuration r63") {
		t.Errorf("%d roots", n)
	}
}

// What is kept in another form than it was put in is not used.
func TestDamagedTrustRoot(t *testing.T) {
	s := newSite(t)
	repo := tuftest.New(t, instanceRoot(t, "own", 1))
	s.mustPut("own", client.PutTrustRoot{TUFURL: repo.URL(), TUFRoot: repo.Root(1)}, nil)
	row, err := s.store.Root(t.Context(), "own")
	if err != nil {
		t.Fatal(err)
	}
	damage := func(kind string, body []byte, edit func(*store.RootRow, string)) {
		t.Helper()
		_, err := s.store.Change(t.Context(), store.Actor{Name: "mallory"}, "", func(tx *store.Tx) (err error) {
			digest := facts.Digest(body)
			if err := tx.PutObject(t.Context(), kind, digest, body); err != nil {
				return err
			}
			edit(&row, digest)
			row, err = tx.PutRoot(t.Context(), row)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	damage(store.ObjectTUFMetadata, []byte(`[]`), func(r *store.RootRow, d string) { r.TUFMetadata = d })
	s.unchanged(store.ErrCorrupt, "TUF metadata", func() error { return second(s.RefreshTrustRoot(t.Context(), s.admin, "own")) })
	s.unchanged(store.ErrCorrupt, "TUF metadata", func() error { return second(s.ExportTrust(t.Context(), s.admin)) })
	// Bytes that are not in the one form which a root's digest is of.
	damage(store.ObjectTrustRoot, append([]byte(" "), instanceRoot(t, "own", 9)...), func(r *store.RootRow, d string) { r.Digest = d })
	for what, f := range map[string]func() error{
		"list":   func() error { return second(s.TrustRoots(t.Context(), s.admin)) },
		"show":   func() error { return second(s.TrustRoot(t.Context(), s.admin, "own")) },
		"export": func() error { return second(s.ExportTrust(t.Context(), s.admin)) },
		"load":   func() error { return second(LoadRoots(t.Context(), s.store, []store.RootRow{row}, false)) },
		"seed": func() error {
			return s.seed(RootSeed{Root: parsedRoot(t, "b", instanceRoot(t, "b", 1))})
		},
	} {
		if err := f(); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
