package administration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
)

// testArchive is what stands for an archive in these tests: what package policy
// reads of a real one is its own business, and cmd/signet's scenarios go through it.
type testArchive struct {
	Sequence int64  `json:"sequence"`
	Content  string `json:"content"`
	Key      string `json:"key"`
}

func archiveOf(sequence int64, content, key string) []byte {
	body, err := json.Marshal(testArchive{sequence, content, key})
	if err != nil {
		panic(err)
	}
	return body
}

type testArchives struct{}

func (testArchives) CheckKeys(keys map[string]string, _ string) error {
	for id, pem := range keys {
		if pem != "PEM "+id {
			return fmt.Errorf("%s: is no key", id)
		}
	}
	return nil
}

func (testArchives) Verify(archive []byte, keys map[string]string, scope string) (string, error) {
	var a testArchive
	if err := json.Unmarshal(archive, &a); err != nil {
		return "", err
	}
	if _, ok := keys[a.Key]; !ok || scope != "signet" {
		return "", fmt.Errorf("is signed with %q, which is none of the keys", a.Key)
	}
	return a.Key, nil
}

func (testArchives) Inspect(archive []byte) (BundleInfo, error) {
	var a testArchive
	if err := json.Unmarshal(archive, &a); err != nil {
		return BundleInfo{}, errors.New("is no archive")
	}
	return BundleInfo{Revision: "r-" + a.Content, Sequence: a.Sequence, PolicyDigest: facts.Digest([]byte(fmt.Sprint(a.Sequence, a.Content)))}, nil
}

func (testArchives) Diff(_, _ string, from, to []byte) ([]byte, error) {
	return fmt.Appendf(nil, "-%s\n+%s\n", from, to), nil
}

func (testArchives) DiffText(_, _ string, from, to []byte) []byte {
	if bytes.Equal(from, to) {
		return nil
	}
	return fmt.Appendf(nil, "-%s+%s", from, to)
}

// withBundles is f with archives: content "bad" does not compile.
func withBundles(t *testing.T, f *fixture, edit func(*Config)) *Service {
	t.Helper()
	cfg := Config{
		Store: f.store, Now: f.clock.Now, Archives: testArchives{},
		CheckPolicy: func(_ context.Context, p *signingpolicy.Policy, archive []byte) error {
			switch {
			case (p.Bundle == "") != (archive == nil):
				return errors.New("the bundle does not come with the policy that names it")
			case bytes.Contains(archive, []byte(`"bad"`)):
				return errors.New("the golden input no_evidence allows")
			case bytes.Contains(archive, []byte(`"strict"`)) && !strings.Contains(string(p.Parameters), "days"):
				return p.ParameterError([]signingpolicy.Mistake{{Problem: "days is required"}})
			}
			return nil
		},
	}
	if edit != nil {
		edit(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const naming = anyone + "bundle: acme\n"

func TestBundleLifecycle(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		s := withBundles(t, f, nil)
		made := must[client.Bundle](t)(s.PutBundle(ctx, root, "acme", "", archiveOf(1, "a", ""), nil))
		if made.Sequence != 1 || made.Revision != "r-a" || made.Version != 1 || made.LastAttempt == nil || made.LastAttempt.Outcome != "activated" || made.ActivatedAt == nil {
			t.Fatalf("made: %+v", made)
		}
		same(t, []entry{{"root", "192.0.2.1", "bundle.create", "bundle/acme", "because"}}, f.audited(t, 1))
		f.untouched(t, func() {
			got := must[client.Bundle](t)(s.PutBundle(ctx, root, "acme", "", archiveOf(1, "a", "other"), ptr(int64(1))))
			same(t, made.Digest, got.Digest)
			_, err := s.PutBundle(ctx, root, "acme", "", archiveOf(2, "a", ""), nil)
			wants(t, err, ErrConflict, "is there already")
			_, err = s.PutBundle(ctx, root, "acme", "", archiveOf(2, "a", ""), ptr(int64(9)))
			wants(t, err, ErrStale, "version 1")
			_, err = s.PutBundle(ctx, root, "acme", "", archiveOf(1, "b", ""), ptr(int64(1)))
			wants(t, err, ErrConflict, `sequence 1 (revision "r-b") is not above 1 (revision "r-a")`)
			_, err = s.PutBundle(ctx, root, "acme", "", archiveOf(0, "b", ""), ptr(int64(1)))
			mistakes(t, err, "archive")
			_, err = s.PutBundle(ctx, root, "Acme!", "", archiveOf(1, "b", ""), nil)
			mistakes(t, err, "name")
		})
		policy := must[client.Policy](t)(s.PutPolicy(ctx, root, "strict", "", []byte(naming), nil))
		same(t, "acme", policy.Bundle)
		same(t, []string{"strict"}, must[client.Bundle](t)(s.Bundle(ctx, root, "acme")).Policies)
		f.untouched(t, func() {
			wants(t, s.DeleteBundle(ctx, root, "acme", 1), ErrConflict, `policy "strict" names it`)
			_, err := s.PutBundle(ctx, root, "acme", "", archiveOf(2, "bad", ""), ptr(int64(1)))
			mistakes(t, err, "archive")
		})
		// What failed is kept, and what was in force stays.
		after := must[client.Bundle](t)(s.Bundle(ctx, root, "acme"))
		if after.Digest != made.Digest || after.LastAttempt.Outcome != "refused" || after.LastAttempt.Sequence != 2 || !strings.Contains(after.LastAttempt.Error, "golden") {
			t.Errorf("after a failure: %+v %+v", after, after.LastAttempt)
		}
		failed, waiting, err := s.BundleHealth(ctx)
		if err != nil || failed["acme"] == "" || len(waiting) != 0 {
			t.Errorf("health: %v %v %v", failed, waiting, err)
		}
		two := must[client.Bundle](t)(s.PutBundle(ctx, root, "acme", "", archiveOf(3, "c", ""), ptr(int64(1))))
		same(t, int64(3), two.Sequence)

		back := must[client.Bundle](t)(s.RollbackBundle(ctx, root, "acme", nil))
		if back.Sequence != 1 || back.HighestSequence != 3 || back.Digest != made.Digest {
			t.Errorf("rolled back: %+v", back)
		}
		f.untouched(t, func() {
			_, err := s.PutBundle(ctx, root, "acme", "", archiveOf(3, "c", ""), &back.Version)
			wants(t, err, ErrConflict, "was rolled back on purpose")
			_, err = s.RollbackBundle(ctx, root, "acme", ptr(int64(7)))
			wants(t, err, ErrNotFound, "sequence 7 was never in force")
		})
		same(t, int64(3), must[client.Bundle](t)(s.RollbackBundle(ctx, root, "acme", ptr(int64(3)))).Sequence)
		var history []string
		for _, v := range must[[]client.BundleVersion](t)(s.BundleHistory(ctx, root, "acme")) {
			history = append(history, fmt.Sprint(v.ActiveRevision, v.Change, v.Sequence, v.By))
		}
		same(t, []string{"5 archive 3 root", "4 archive 1 root", "3 archive 3 root", "1 archive 1 root"}, splitAll(history))

		if err := s.DeletePolicy(ctx, root, "strict", 1); err != nil {
			t.Fatal(err)
		}
		now := must[client.Bundle](t)(s.Bundle(ctx, root, "acme"))
		if err := s.DeleteBundle(ctx, root, "acme", now.Version); err != nil {
			t.Fatal(err)
		}
		_, err = s.PutBundle(ctx, root, "acme", "", archiveOf(2, "new", ""), nil)
		wants(t, err, ErrConflict, "sequence 2 is not above 3, the highest that was in force under this name")
	})
}

// splitAll undoes that Sprint puts spaces only between numbers.
func splitAll(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		for _, word := range []string{"archive", "settings", "removed", "document", "bundle", "root"} {
			s = strings.ReplaceAll(s, word, " "+word+" ")
		}
		out[i] = strings.Join(strings.Fields(s), " ")
	}
	return out
}

func TestBundleKeys(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	s := withBundles(t, f, nil)
	made := must[client.Bundle](t)(s.PutBundle(ctx, root, "acme", "web", archiveOf(1, "a", "k1"), nil))
	author := web
	author.Principal.Role = "author"
	_, err := s.PatchBundle(ctx, author, "acme", made.Version, []byte(`{"keys": {"k1": "PEM k1"}}`))
	wants(t, err, ErrRole, "admin")
	_, err = s.PatchBundle(ctx, root, "acme", made.Version, []byte(`{"keys": {"k1": "x"}}`))
	mistakes(t, err, "keys")
	_, err = s.PatchBundle(ctx, root, "acme", made.Version, []byte(`{"keys": {"k2": "PEM k2"}}`))
	wants(t, err, ErrConflict, "the archive in force would not count")
	_, err = s.PatchBundle(ctx, root, "acme", made.Version, []byte(`{"sequence": 9}`))
	mistakes(t, err, "sequence")
	signed := must[client.Bundle](t)(s.PatchBundle(ctx, root, "acme", made.Version, []byte(`{"keys": {"k1": "PEM k1"}}`)))
	if signed.SignedBy != "k1" || signed.Keys["k1"] != "PEM k1" || signed.Version != 2 {
		t.Errorf("signed: %+v", signed)
	}
	f.untouched(t, func() {
		for _, key := range []string{"", "k2"} {
			_, err := s.PutBundle(ctx, author, "acme", "", archiveOf(2, "b", key), &signed.Version)
			mistakes(t, err, "archive")
		}
	})
	next := must[client.Bundle](t)(s.PutBundle(ctx, author, "acme", "", archiveOf(2, "b", "k1"), &signed.Version))
	same(t, "k1", next.SignedBy)
	// The key of the first archive goes, and with it the way back.
	s2 := must[client.Bundle](t)(s.PutBundle(ctx, author, "acme", "", archiveOf(3, "c", "k1"), &next.Version))
	if _, err := s.PatchBundle(ctx, root, "acme", s2.Version, []byte(`{"keys": {"k1": null}, "owner": "web"}`)); err != nil {
		t.Fatal(err)
	}
	same(t, int64(2), must[client.Bundle](t)(s.RollbackBundle(ctx, author, "acme", nil)).Sequence)
}

func TestBundlePutWithKeys(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	s := withBundles(t, f, nil)
	author := web
	author.Principal.Role = "author"
	k1, k2 := map[string]string{"k1": "PEM k1"}, map[string]string{"k2": "PEM k2"}
	f.untouched(t, func() {
		_, err := s.PutBundleWith(ctx, author, "acme", "web", archiveOf(1, "a", "k1"), k1, "", nil)
		wants(t, err, ErrRole, "admin")
		for field, put := range map[string]struct {
			key  string
			keys map[string]string
		}{"archive": {"", k1}, "keys": {"k1", nil}} {
			_, err := s.PutBundleWith(ctx, root, "acme", "web", archiveOf(1, "a", put.key), put.keys, "", nil)
			mistakes(t, err, field)
		}
		_, err = s.PutBundleWith(ctx, root, "acme", "web", archiveOf(1, "a", "k1"), map[string]string{"k1": "x"}, "", nil)
		mistakes(t, err, "keys")
		_, err = s.PutBundleWith(ctx, root, "acme", "web", archiveOf(1, "a", "k1"), k1, "other", nil)
		mistakes(t, err, "archive")
	})
	made := must[client.Bundle](t)(s.PutBundleWith(ctx, root, "acme", "web", archiveOf(1, "a", "k1"), k1, "", nil))
	if made.SignedBy != "k1" || made.Keys["k1"] != "PEM k1" || made.Scope != "signet" || made.Version != 1 {
		t.Errorf("made: %+v", made)
	}
	// The key changes with the next archive, at once; the old one counts no more.
	next := must[client.Bundle](t)(s.PutBundleWith(ctx, root, "acme", "", archiveOf(2, "b", "k2"), k2, "", &made.Version))
	if next.SignedBy != "k2" || len(next.Keys) != 1 || next.Owner != "web" {
		t.Errorf("with another key: %+v", next)
	}
	_, err := s.PutBundle(ctx, author, "acme", "", archiveOf(3, "c", "k1"), &next.Version)
	mistakes(t, err, "archive")
	// The archive as it was, signed anew.
	again := must[client.Bundle](t)(s.PutBundleWith(ctx, root, "acme", "", archiveOf(2, "b", "k1"), k1, "", &next.Version))
	if again.SignedBy != "k1" || again.Keys["k1"] == "" || again.Sequence != 2 {
		t.Errorf("signed anew: %+v", again)
	}
	same(t, archiveOf(2, "b", "k1"), must[[]byte](t)(s.BundleArchive(ctx, root, "acme")))
}

func TestWhoMayPublish(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	s := withBundles(t, f, nil)
	must[client.Bundle](t)(s.PutBundle(ctx, root, "shared", "", archiveOf(1, "a", ""), nil))
	must[client.Bundle](t)(s.PutBundle(ctx, web, "webs", "", archiveOf(1, "a", ""), nil))
	must[client.Policy](t)(s.PutPolicy(ctx, web, "web", "", []byte(anyone+"bundle: webs\nimages: [ghcr.io/web/**]\n"), nil))
	must[client.Policy](t)(s.PutPolicy(ctx, root, "all", "", []byte(anyone+"bundle: shared\n"), nil))
	viewer := root
	viewer.Principal.Role = "viewer"
	f.untouched(t, func() {
		_, err := s.PutBundle(ctx, viewer, "x", "", archiveOf(1, "a", ""), nil)
		wants(t, err, ErrRole, "author")
		_, err = s.PutBundle(ctx, web, "shared", "", archiveOf(2, "b", ""), ptr(int64(1)))
		wants(t, err, ErrNotYours, "belongs to the whole installation")
		_, err = s.PutBundle(ctx, org, "shared", "", archiveOf(2, "b", ""), ptr(int64(1)))
		wants(t, err, ErrOutOfScope, `which policy "all" names`)
		_, err = s.RollbackBundle(ctx, web, "shared", nil)
		wants(t, err, ErrNotYours, "whole installation")
		wants(t, s.DeleteBundle(ctx, web, "shared", 1), ErrNotYours, "whole installation")
		// One team's rules are not for another's images.
		_, err = s.PutPolicy(ctx, root, "other", "ops", []byte(anyone+"bundle: webs\n"), nil)
		wants(t, err, ErrNotYours, `belongs to team "web"`)
		_, err = s.PutBundle(ctx, root, "shared", "web", archiveOf(2, "b", ""), ptr(int64(1)))
		wants(t, err, ErrNotYours, `belongs to team "web"`)
		_, err = s.PutPolicy(ctx, root, "other", "", []byte(anyone+"bundle: absent\n"), nil)
		mistakes(t, err, "bundle")
	})
	must[client.Bundle](t)(s.PutBundle(ctx, web, "webs", "", archiveOf(2, "b", ""), ptr(int64(1))))
	must[client.Policy](t)(s.PutPolicy(ctx, web, "web-2", "", []byte(anyone+"bundle: shared\nimages: [ghcr.io/web/**]\n"), nil))
}

func TestPolicyWithItsBundle(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		s := withBundles(t, f, nil)
		one := must[client.Policy](t)(s.PutPolicy(ctx, root, "strict", "", []byte(anyone), nil))
		f.untouched(t, func() {
			_, err := s.PublishPolicy(ctx, root, "strict", archiveOf(1, "a", ""), nil)
			wants(t, err, ErrConflict, "is there already")
			_, err = s.PublishPolicy(ctx, root, "strict", archiveOf(1, "a", ""), ptr(int64(7)))
			wants(t, err, ErrStale, "version 1")
			_, err = s.PublishPolicy(ctx, root, "absent", archiveOf(1, "a", ""), ptr(int64(1)))
			wants(t, err, ErrNotFound, "absent")
			_, err = s.PublishPolicy(ctx, root, "strict", archiveOf(1, "bad", ""), &one.Version)
			mistakes(t, err, "archive")
		})
		two := must[client.Policy](t)(s.PublishPolicy(ctx, root, "strict", archiveOf(1, "a", ""), &one.Version))
		if two.Bundle != "strict" || two.Version != 2 {
			t.Errorf("published: %+v", two)
		}
		active := f.revision(t)
		three := must[client.Policy](t)(s.PublishPolicy(ctx, root, "strict", archiveOf(2, "b", ""), &two.Version))
		same(t, two.Version, three.Version)
		// The next rules want a parameter: neither is right without the other.
		f.untouched(t, func() {
			_, err := s.PublishPolicy(ctx, root, "strict", archiveOf(3, "strict", ""), &three.Version)
			mistakes(t, err, "archive")
		})
		withDays := anyone + "bundle: strict\nparameters: {days: 3}\n"
		four := must[client.Policy](t)(s.PutPolicyWith(ctx, root, "strict", "", []byte(withDays), archiveOf(3, "strict", ""), &three.Version))
		if !strings.Contains(four.SigningPolicy, "days: 3") || must[client.Bundle](t)(s.Bundle(ctx, root, "strict")).Sequence != 3 {
			t.Errorf("with its bundle: %+v", four)
		}
		f.untouched(t, func() {
			_, err := s.PutPolicy(ctx, root, "strict", "", []byte(anyone+"bundle: strict\n"), &four.Version)
			mistakes(t, err, "parameters")
		})

		var history []string
		for _, v := range must[[]client.PolicyVersion](t)(s.PolicyHistory(ctx, root, "strict")) {
			history = append(history, fmt.Sprint(v.ActiveRevision, v.Change, v.Version, v.BundleSequence))
		}
		same(t, []string{"4 document 3 3", "3 bundle 2 2", "2 document 2 1", "1 document 1 0"}, splitAll(history))
		diff := must[client.PolicyDiff](t)(s.DiffPolicy(ctx, root, "strict", nil, nil))
		if diff.From != 3 || diff.To != 4 || !strings.Contains(diff.Document, "days: 3") || !strings.Contains(diff.Bundle, `"strict"`) {
			t.Errorf("diff: %+v", diff)
		}
		diff = must[client.PolicyDiff](t)(s.DiffPolicy(ctx, root, "strict", ptr(int64(1)), ptr(int64(1))))
		same(t, client.PolicyDiff{From: 1, To: 1}, diff)
		_, err := s.DiffPolicy(ctx, root, "strict", nil, ptr(int64(1)))
		wants(t, err, ErrNotFound, "has no state before revision 1")
		_, err = s.DiffPolicy(ctx, root, "absent", nil, nil)
		wants(t, err, ErrNotFound, "there was never a policy")

		f.untouched(t, func() { // it can be tried
			snap := must[store.Snapshot](t)(f.Try(ctx, root, []client.Operation{{Op: client.OpRollbackPolicy, Name: "strict", To: &active}}))
			if len(snap.Bundles) != 1 || snap.Bundles[0].Sequence != 1 || len(snap.Policies) != 1 || strings.Contains(snap.Policies[0].Body, "days") {
				t.Errorf("on trial: %+v", snap)
			}
			_, err := f.Try(ctx, web, []client.Operation{{Op: client.OpRollbackPolicy, Name: "strict", To: &active}})
			wants(t, err, ErrNotYours, "strict")
			_, err = f.Try(ctx, root, []client.Operation{{Op: client.OpRollbackPolicy, Name: "strict", SigningPolicy: anyone}})
			mistakes(t, err, "operations[0].signing_policy: does not go with")
		})
		back := must[client.Policy](t)(s.RollbackPolicy(ctx, root, "strict", &active, nil))
		if back.Bundle != "strict" || strings.Contains(back.SigningPolicy, "days") || must[client.Bundle](t)(s.Bundle(ctx, root, "strict")).Sequence != 1 {
			t.Errorf("rolled back: %+v", back)
		}
		last := must[client.Policy](t)(s.RollbackPolicy(ctx, root, "strict", nil, nil))
		if !strings.Contains(last.SigningPolicy, "days") {
			t.Errorf("and forth: %+v", last)
		}
	})
}

// What goes back is the policy that its caller knows, and over no other change; one that
// was removed comes back, to whom it belonged.
func TestRollbackOfAVersion(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		var meanwhile func() // while what goes back is compiled
		s := withBundles(t, f, func(cfg *Config) {
			check := cfg.CheckPolicy
			cfg.CheckPolicy = func(ctx context.Context, p *signingpolicy.Policy, archive []byte) error {
				if do := meanwhile; do != nil {
					meanwhile = nil
					do()
				}
				return check(ctx, p, archive)
			}
		})
		const of = "images: [ghcr.io/web/**]\n"
		put := func(mode string, version int64) client.Policy {
			t.Helper()
			return must[client.Policy](t)(s.PutPolicy(ctx, web, "webs", "", []byte(anyone+of+"mode: "+mode+"\n"), map[bool]*int64{true: &version}[version > 0]))
		}
		put("audit", 0)
		first := f.revision(t)
		put("enforce", 1)
		f.untouched(t, func() {
			for _, version := range []int64{0, 1, 3} {
				_, err := s.RollbackPolicy(ctx, web, "webs", &first, &version)
				wants(t, err, ErrStale, "webs")
			}
		})
		meanwhile = func() { put("disabled", 2) }
		_, err := s.RollbackPolicy(ctx, web, "webs", &first, ptr(int64(2)))
		wants(t, err, ErrStale, "changed meanwhile")
		same(t, "disabled", must[client.Policy](t)(s.Policy(ctx, web, "webs")).Mode)
		same(t, "audit", must[client.Policy](t)(s.RollbackPolicy(ctx, web, "webs", &first, ptr(int64(3)))).Mode)

		if err := s.DeletePolicy(ctx, web, "webs", 4); err != nil {
			t.Fatal(err)
		}
		gone := f.revision(t)
		diff := must[client.PolicyDiff](t)(s.DiffPolicy(ctx, web, "webs", &gone, &first))
		if !strings.HasPrefix(diff.Document, "-+signing_policy:\n") || !strings.Contains(diff.Document, "mode: audit") { // over nothing
			t.Errorf("what would come back: %+v", diff)
		}
		f.untouched(t, func() {
			_, err := s.RollbackPolicy(ctx, web, "webs", &first, ptr(int64(4)))
			wants(t, err, ErrNotFound, "webs")
			_, err = s.RollbackPolicy(ctx, web, "webs", &gone, nil)
			wants(t, err, ErrNotFound, "under revision")
			_, err = s.RollbackPolicy(ctx, web, "webs", ptr(first-1), nil)
			wants(t, err, ErrNotFound, "under revision")
			other := web
			other.Principal.Team = "data"
			_, err = s.RollbackPolicy(ctx, other, "webs", &first, nil)
			wants(t, err, ErrNotYours, "webs")
			snap := must[store.Snapshot](t)(f.Try(ctx, web, []client.Operation{{Op: client.OpRollbackPolicy, Name: "webs", To: &first}}))
			same(t, 1, len(snap.Policies))
		})
		meanwhile = func() { put("disabled", 0) }
		_, err = s.RollbackPolicy(ctx, web, "webs", nil, ptr(int64(0)))
		wants(t, err, ErrConflict, "is there already")
		if err := s.DeletePolicy(ctx, web, "webs", 1); err != nil {
			t.Fatal(err)
		}
		back := must[client.Policy](t)(s.RollbackPolicy(ctx, root, "webs", &first, ptr(int64(0))))
		if back.Mode != "audit" || back.Owner != "web" || back.Version != 1 || back.Source != "api" {
			t.Errorf("brought back: %+v", back)
		}
	})
}

func (f *fixture) revision(t *testing.T) int64 {
	t.Helper()
	a, err := f.store.Active(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return a.Revision
}

// source is where a bundle is fetched from.
type source struct {
	archive []byte
	etag    string
	err     error
	asked   []string
}

func (s *source) fetch(_ context.Context, validator string) ([]byte, string, error) {
	s.asked = append(s.asked, validator)
	switch {
	case s.err != nil:
		return nil, "", s.err
	case validator == s.etag:
		return nil, "", ErrNotModified
	}
	return s.archive, s.etag, nil
}

func TestFetchedBundles(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		from := &source{archive: archiveOf(1, "a", "k1"), etag: "e1"}
		var outcomes []string
		s := withBundles(t, f, func(cfg *Config) {
			cfg.Sources = map[string]BundleSource{"acme": {Fetch: from.fetch, Network: true}}
			cfg.Activated = func(bundle, outcome string) { outcomes = append(outcomes, bundle+" "+outcome) }
		})
		seed := []BundleSeed{{Name: "acme", Location: "https://bundles.example.com/acme.tar.gz", Keys: map[string]string{"k1": "PEM k1"}}}
		policy := must[*signingpolicy.Policy](t)(signingpolicy.ParseAs("strict", []byte(naming)))
		wants(t, s.SeedPolicies(ctx, []*signingpolicy.Policy{policy}, nil), ErrNotFound, `names the bundle "acme"`)
		if err := s.SeedBundles(ctx, seed); err != nil {
			t.Fatal(err)
		}
		f.untouched(t, func() {
			if err := s.SeedBundles(ctx, seed); err != nil {
				t.Error(err)
			}
		})
		// A server starts while the source is out of reach; the policy waits.
		from.err = errors.New("connection refused")
		wants(t, s.FetchFirst(ctx, "acme", []*signingpolicy.Policy{policy}), ErrConflict, "connection refused; what is in force stays")
		if err := errors.Join(s.TryPolicies(ctx, []*signingpolicy.Policy{policy}), s.SeedPolicies(ctx, []*signingpolicy.Policy{policy}, nil)); err != nil {
			t.Fatal(err)
		}
		if _, waiting, err := s.BundleHealth(ctx); err != nil || len(waiting) != 1 {
			t.Errorf("waiting: %v %v", waiting, err)
		}
		_, err := s.PutPolicy(ctx, root, "more", "", []byte(naming), nil)
		mistakes(t, err, "bundle")
		_, err = s.PutBundle(ctx, root, "acme", "", archiveOf(1, "a", "k1"), ptr(int64(1)))
		wants(t, err, ErrConflict, "is fetched from https://bundles.example.com/acme.tar.gz")

		from.err = nil
		if changed, err := s.Poll(ctx, "acme"); err != nil || !changed {
			t.Fatalf("the first archive: %t %v", changed, err)
		}
		if _, waiting, err := s.BundleHealth(ctx); err != nil || len(waiting) != 0 {
			t.Errorf("not waiting any more: %v %v", waiting, err)
		}
		f.untouched(t, func() {
			if changed, err := s.Poll(ctx, "acme"); err != nil || changed {
				t.Errorf("nothing new: %t %v", changed, err)
			}
			same(t, "e1", from.asked[len(from.asked)-1])

			// What is refused is not remembered, so it is looked at again.
			for _, bad := range []struct {
				archive []byte
				text    string
			}{
				{archiveOf(2, "b", "k2"), "none of the keys"},
				{archiveOf(2, "bad", "k1"), "golden"},
				{archiveOf(1, "other", "k1"), "is not above 1"},
				{[]byte("x"), ""},
			} {
				from.archive, from.etag = bad.archive, "e2"
				if _, err := s.Poll(ctx, "acme"); err == nil || !strings.Contains(err.Error(), bad.text) {
					t.Errorf("%s: %v", bad.archive, err)
				}
				if _, err := s.Poll(ctx, "acme"); err == nil {
					t.Errorf("%s: passed the second time", bad.archive)
				}
				same(t, "e1", from.asked[len(from.asked)-1])
			}
			// The same files under another tag: only the tag is remembered.
			from.archive, from.etag = archiveOf(1, "a", "k1"), "e3"
			if changed, err := s.Poll(ctx, "acme"); err != nil || changed {
				t.Errorf("the same files: %t %v", changed, err)
			}
		})
		if changed, err := s.Poll(ctx, "acme"); err != nil || changed {
			t.Errorf("%t %v", changed, err)
		}
		same(t, "e3", from.asked[len(from.asked)-1])

		from.archive, from.etag = archiveOf(2, "b", "k1"), "e4"
		same(t, int64(2), must[client.Bundle](t)(s.FetchBundle(ctx, root, "acme")).Sequence)
		same(t, int64(1), must[client.Bundle](t)(s.RollbackBundle(ctx, root, "acme", nil)).Sequence)
		_, err = s.Poll(ctx, "acme")
		wants(t, err, ErrConflict, "was rolled back on purpose")
		from.archive, from.etag = archiveOf(3, "c", "k1"), "e5"
		if changed, err := s.Poll(ctx, "acme"); err != nil || !changed {
			t.Errorf("a higher one after the rollback: %t %v", changed, err)
		}
		if got := strings.Join(outcomes, ","); !strings.HasPrefix(got, "acme unreachable,acme activated,acme unchanged,acme refused,") || !strings.HasSuffix(got, "acme refused,acme activated") {
			t.Errorf("outcomes: %s", got)
		}

		// The configuration changes: keys, then it has the bundle no more.
		seed[0].Keys = map[string]string{"k2": "PEM k2"}
		if err := s.SeedBundles(ctx, seed); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Poll(ctx, "acme"); err == nil || from.asked[len(from.asked)-1] != "" {
			t.Errorf("an archive by a key that does not count any more: %v", err)
		}
		wants(t, s.DropBundles(ctx, nil), ErrConflict, `policy "strict" names it`)
		if err := errors.Join(s.SeedPolicies(ctx, nil, signingpolicy.Default()), s.DropBundles(ctx, nil)); err != nil {
			t.Fatal(err)
		}
		same(t, 0, len(must[client.Page[client.Bundle]](t)(s.Bundles(ctx, root, 0, "")).Items))
	})
}

// The configuration's policy and its bundle changed while no server ran: each of
// them is wrong without the other.
func TestFetchFirstTakesBoth(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	from := &source{archive: archiveOf(1, "a", ""), etag: "e1"}
	s := withBundles(t, f, func(cfg *Config) { cfg.Sources = map[string]BundleSource{"acme": {Fetch: from.fetch}} })
	start := func(body string) {
		t.Helper()
		p := must[*signingpolicy.Policy](t)(signingpolicy.ParseAs("strict", []byte(body)))
		list := []*signingpolicy.Policy{p}
		err := s.SeedBundles(ctx, []BundleSeed{{Name: "acme", Location: "dir rules"}})
		if err == nil {
			err = s.FetchFirst(ctx, "acme", list)
		}
		if err = errors.Join(err, s.TryPolicies(ctx, list), s.SeedPolicies(ctx, list, nil)); err != nil {
			t.Fatal(err)
		}
	}
	start(naming)
	from.archive, from.etag = archiveOf(2, "strict", ""), "e2"
	if _, err := s.Poll(ctx, "acme"); err == nil {
		t.Error("rules that want a parameter came into force without it")
	}
	start(naming + "parameters: {days: 1}\n")
	same(t, int64(2), must[client.Bundle](t)(s.Bundle(ctx, root, "acme")).Sequence)
	f.untouched(t, func() { start(naming + "parameters: {days: 1}\n") })
}

func TestPreviewLimitsFlips(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	most := 1
	flips := 0
	from := &source{archive: archiveOf(1, "a", ""), etag: "e1"}
	var seen store.Snapshot
	s := withBundles(t, f, func(cfg *Config) {
		cfg.Sources = map[string]BundleSource{"acme": {Fetch: from.fetch, MaxFlips: &most}}
		cfg.Preview = func(ctx context.Context, proposed store.Snapshot) (int, []string, error) {
			seen = proposed
			for _, b := range proposed.Bundles { // what it names can be read
				if _, err := f.store.Object(ctx, store.ObjectBundle, b.Digest); err != nil && b.Digest != "" {
					t.Error(err)
				}
			}
			return flips, []string{"ghcr.io/org/app: allow to deny"}, nil
		}
	})
	if err := s.SeedBundles(ctx, []BundleSeed{{Name: "acme", Location: "dir rules"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Poll(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	flips, from.archive, from.etag = 2, archiveOf(2, "b", ""), "e2"
	_, err := s.Poll(ctx, "acme")
	wants(t, err, ErrConflict, "2 recent verdicts would flip, and max_flips allows 1 (ghcr.io/org/app: allow to deny)")
	same(t, int64(2), seen.Bundles[0].Sequence)
	got := must[client.Bundle](t)(s.Bundle(ctx, root, "acme"))
	if got.Sequence != 1 || got.LastAttempt.Flips == nil || *got.LastAttempt.Flips != 2 || len(got.LastAttempt.Examples) != 1 {
		t.Errorf("%+v %+v", got, got.LastAttempt)
	}
	flips = 1
	if changed, err := s.Poll(ctx, "acme"); err != nil || !changed {
		t.Errorf("within the limit: %t %v", changed, err)
	}
	f.clock.move(time.Minute)
}

// A policy that comes to name the bundle while it is tried was not compiled with
// it, so the bundle does not come into force over it.
func TestActivationSeesWhatItCompiled(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	var s *Service
	during := func() {}
	now := func() {
		run := during
		during = func() {}
		run()
	}
	s = withBundles(t, f, func(cfg *Config) {
		cfg.Preview = func(context.Context, store.Snapshot) (int, []string, error) {
			now()
			return 0, nil, nil
		}
		cfg.CheckPolicy = func(_ context.Context, p *signingpolicy.Policy, _ []byte) error {
			if p.Name == "later" {
				now()
			}
			return nil
		}
	})
	made := must[client.Bundle](t)(s.PutBundle(ctx, root, "acme", "", archiveOf(1, "a", ""), nil))
	during = func() { must[client.Policy](t)(s.PutPolicy(ctx, root, "late", "", []byte(naming), nil)) }
	_, err := s.PutBundle(ctx, root, "acme", "", archiveOf(2, "b", ""), &made.Version)
	wants(t, err, ErrStale, `policy "late" was changed while bundle "acme" was tried with it`)
	same(t, int64(1), must[client.Bundle](t)(s.Bundle(ctx, root, "acme")).Sequence)
	// And the other way round.
	during = func() {
		must[client.Bundle](t)(s.PutBundle(ctx, root, "acme", "", archiveOf(2, "b", ""), &made.Version))
	}
	_, err = s.PutPolicy(ctx, root, "later", "", []byte(naming), nil)
	wants(t, err, ErrStale, `bundle "acme" was changed while policy "later" was tried with it`)
}

// A trust archive carries the bundles that its policies name.
func TestTrustArchiveHasBundles(t *testing.T) {
	ctx := t.Context()
	from := withBundles(t, onSQLite(t), nil)
	made := must[client.Bundle](t)(from.PutBundle(ctx, root, "acme", "", archiveOf(1, "a", "k1"), nil))
	made = must[client.Bundle](t)(from.PutBundle(ctx, root, "acme", "", archiveOf(2, "b", "k1"), &made.Version))
	must[client.Bundle](t)(from.PatchBundle(ctx, root, "acme", made.Version, []byte(`{"keys": {"k1": "PEM k1"}}`)))
	must[client.Bundle](t)(from.RollbackBundle(ctx, root, "acme", nil))
	must[client.Policy](t)(from.PutPolicy(ctx, root, "strict", "", []byte(naming), nil))
	signed := must[[]byte](t)(from.ExportTrust(ctx, root))
	key := must[string](t)(from.ExportKey(ctx, root))

	f := onSQLite(t)
	to := withBundles(t, f, nil)
	f.untouched(t, func() { must[client.TrustImport](t)(to.ImportTrust(ctx, root, signed, key, true)) })
	got := must[client.TrustImport](t)(to.ImportTrust(ctx, root, signed, key, false))
	same(t, []string{"acme"}, got.Bundles)
	same(t, []string{"strict"}, got.Policies)
	here := must[client.Bundle](t)(to.Bundle(ctx, root, "acme"))
	if here.Sequence != 1 || here.HighestSequence != 2 || here.SignedBy != "k1" || here.Keys["k1"] != "PEM k1" || here.Policies[0] != "strict" {
		t.Errorf("imported: %+v", here)
	}
	same(t, []string{}, must[client.TrustImport](t)(to.ImportTrust(ctx, root, signed, key, false)).Bundles)

	// What is newer here is not replaced.
	must[client.Bundle](t)(to.PutBundle(ctx, root, "acme", "", archiveOf(3, "c", "k1"), &here.Version))
	f.untouched(t, func() {
		_, err := to.ImportTrust(ctx, root, signed, key, false)
		wants(t, err, ErrConflict, "sequence 1")
	})
	// A policy of here that does not go with the rules from there.
	other := onSQLite(t)
	strict := withBundles(t, other, func(cfg *Config) {
		check := cfg.CheckPolicy
		cfg.CheckPolicy = func(ctx context.Context, p *signingpolicy.Policy, archive []byte) error {
			if p.Name == "mine" && bytes.Contains(archive, []byte("k1")) {
				return errors.New("it wants a parameter")
			}
			return check(ctx, p, archive)
		}
	})
	must[client.Bundle](t)(strict.PutBundle(ctx, root, "acme", "", archiveOf(1, "z", ""), nil))
	must[client.Policy](t)(strict.PutPolicy(ctx, root, "mine", "", []byte(naming), nil))
	other.untouched(t, func() {
		_, err := strict.ImportTrust(ctx, root, signed, key, false)
		if err == nil {
			t.Error("rules came into force that a policy here does not go with")
		}
	})
}
