package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/testkit/pgtest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/verdict"
)

// tried is an installation in this process, on a store: what a server is made of,
// without the server.
type tried struct {
	testing.TB
	store    *store.Store
	admin    *administration.Service
	previews *previewer
	recorder *changedRecorder
	registry *registrytest.Server
}

// changedRecorder lets a test change what is recorded.
type changedRecorder struct {
	*recorder
	change func(*engine.Record)
}

func (r *changedRecorder) Record(ctx context.Context, rec engine.Record) error {
	if r.change != nil {
		r.change(&rec)
	}
	return r.recorder.Record(ctx, rec)
}

const (
	samplesDir   = "../../test/testdata/samples"
	sampleIssuer = "http://127.0.0.1:8088/gha"
	sampleWho    = "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"
)

// tryPolicy takes registered signers and wants no log entry.
const tryPolicy = "verify_transparency_log: false\ntrusted_signers: [{type: registry}]\n"

func newTried(tb testing.TB, cfg store.Config) *tried {
	tb.Helper()
	st, err := store.Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = st.Close() })
	w := &tried{TB: tb, store: st, registry: registrytest.New(tb, registrytest.Options{})}
	f := config.Default()
	f.Offline = true
	f.Registries = map[string]config.Registry{w.registry.Host(): {Insecure: true}}
	log := slog.New(slog.DiscardHandler)
	if w.admin, err = newAdministration(f, st, &preparedPolicies{}, nil, log); err != nil {
		tb.Fatal(err)
	}
	p, err := signingpolicy.Parse([]byte(tryPolicy))
	if err != nil {
		tb.Fatal(err)
	}
	if err := w.admin.SeedPolicies(tb.Context(), []*signingpolicy.Policy{p}, nil); err != nil {
		tb.Fatal(err)
	}
	seeds, err := seedRoots(tb.Context(), f, []string{filepath.Join(samplesDir, "trusted-root.json")}, st)
	if err != nil {
		tb.Fatal(err)
	}
	if err := w.admin.SeedRoots(tb.Context(), seeds); err != nil {
		tb.Fatal(err)
	}
	in := newInForce(inForceConfig{file: f, store: st, log: log})
	images, err := newRegistryClient(f, false)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(images.Close)
	w.recorder = &changedRecorder{recorder: newRecorder(st, log)}
	tb.Cleanup(w.recorder.close)
	e, err := engine.New(engine.Config{
		Source: registrySource{client: images}, Current: in.current, Recorder: w.recorder, Limits: f.Limits, MaxStaleness: durationOf(f.MaxStaleness), Build: build(),
	})
	if err != nil {
		tb.Fatal(err)
	}
	w.previews = &previewer{inForce: in, admin: w.admin, engine: e}
	return w
}

func (w *tried) as(role auth.Role, images ...string) administration.Caller {
	return administration.Caller{Principal: auth.Principal{Name: string(role), Role: role, Images: images}, From: "cli"}
}

func (w *tried) push(sample, repository string) string {
	w.registry.For(w.TB).PushLayout(filepath.Join(samplesDir, "layouts", sample), repository)
	return w.registry.Host() + "/" + repository + ":v1"
}

// ask asks for a verdict, which is recorded.
func (w *tried) ask(image string, want verdict.Decision) {
	w.Helper()
	e := w.previews.engine
	st, err := e.Current(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	a, err := e.Decide(w.Context(), st, engine.Request{Image: image, Principal: "ci"})
	if err != nil || a.Decision != want {
		w.Fatalf("%s: %s, want %s, error %v: %s", image, a.Decision, want, err, a.Body)
	}
}

func (w *tried) add(s client.Signer) client.Signer {
	w.Helper()
	s.Enabled = true
	got, err := w.admin.CreateSigner(w.Context(), w.as(auth.Admin), s)
	if err != nil {
		w.Fatal(err)
	}
	return got
}

func (w *tried) key(name string) client.Signer {
	w.Helper()
	pem, err := os.ReadFile(filepath.Join(samplesDir, "signer.pub"))
	if err != nil {
		w.Fatal(err)
	}
	return client.Signer{Name: name, Type: "public_key", PublicKey: string(pem), Enabled: true}
}

func keylessSigner() client.Signer {
	return client.Signer{Name: "builder", Type: "keyless", Issuer: sampleIssuer, Subject: sampleWho}
}

// preview makes one, and holds what a stream has against the whole.
func (w *tried) preview(req client.PreviewRequest) client.Preview {
	w.Helper()
	return w.previewAs(w.as(auth.Admin), req)
}

func (w *tried) previewAs(by administration.Caller, req client.PreviewRequest) client.Preview {
	w.Helper()
	run, err := w.previews.Prepare(w.Context(), by, req)
	if err != nil {
		w.Fatal(err)
	}
	flips := 0
	p, err := run(w.Context(), func(l client.PreviewLine) error {
		if l.Flip != nil {
			flips++
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	if flips != len(p.Flips) {
		w.Errorf("%d flips came as lines, %d are in the answer", flips, len(p.Flips))
	}
	return p
}

func (w *tried) newSigner(s client.Signer) client.Operation {
	w.Helper()
	body, err := json.Marshal(s)
	if err != nil {
		w.Fatal(err)
	}
	return client.Operation{Op: client.OpPutSigner, Signer: body}
}

// said is a preview in a line: how many of each kind, and why.
func said(p client.Preview) string {
	var parts []string
	for _, c := range []struct {
		name string
		n    client.PreviewCount
	}{{"unchanged", p.Unchanged}, {"denied", p.AllowToDeny}, {"allowed", p.DenyToAllow}, {"unknown", p.ToUnknown}, {"known", p.FromUnknown}, {"not replayable", p.NotReplayable}} {
		if c.n.Questions > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n.Questions, c.name))
		}
	}
	for _, g := range p.Groups {
		parts = append(parts, g.Policy+"/"+g.Code)
	}
	for _, r := range p.Reasons {
		parts = append(parts, r.Reason)
	}
	return strings.Join(parts, ", ")
}

// onBoth runs a test on SQLite and on PostgreSQL.
func onBoth(t *testing.T, test func(t *testing.T, w *tried)) {
	t.Helper()
	for name, cfg := range map[string]func(t *testing.T) store.Config{
		"sqlite":   func(t *testing.T) store.Config { return store.Config{DataDir: filepath.Join(t.TempDir(), "data")} },
		"postgres": func(t *testing.T) store.Config { return store.Config{URL: pgtest.Database(t), Migrate: true} },
	} {
		t.Run(name, func(t *testing.T) { test(t, newTried(t, cfg(t))) })
	}
}

// Every kind of change, over real verdicts.
func TestPreviewOfChanges(t *testing.T) {
	onBoth(t, func(t *testing.T, w *tried) {
		keyed, keyless, unsigned := w.push("key-none", "acme/keyed"), w.push("keyless-gha", "acme/keyless"), w.push("unsigned", "acme/unsigned")
		w.add(keylessSigner())
		w.ask(keyed, verdict.Deny)
		w.ask(keyless, verdict.Allow)
		w.ask(unsigned, verdict.Deny)
		active, err := w.store.Active(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		root, err := os.ReadFile(filepath.Join(samplesDir, "trusted-root.json"))
		if err != nil {
			t.Fatal(err)
		}
		put := func(images ...string) *client.PutTrustRoot {
			return &client.PutTrustRoot{TrustedRoot: root, Images: images}
		}
		past := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
		policy := func(name, body string) client.Operation {
			return client.Operation{Op: client.OpPutPolicy, Name: name, SigningPolicy: body}
		}
		signer := func(op string) client.Operation { return client.Operation{Op: op, Name: "builder"} }
		for _, tt := range []struct {
			name string
			ops  []client.Operation
			want string
		}{
			{"nothing", nil, "3 unchanged"},
			{"the same policy", []client.Operation{policy("default", tryPolicy)}, "3 unchanged"},
			{"a policy in audit", []client.Operation{policy("default", "mode: audit\n"+tryPolicy)}, "1 unchanged, 2 allowed, default/signature_rejected, default/unsigned"},
			{"a second policy", []client.Operation{policy("strict", "images: ['"+w.registry.Host()+"/acme/keyless']\ntrusted_signers: [{type: keyless, issuer: 'https://issuer.example', subject: nobody}]\n")}, "2 unchanged, 1 denied, strict/signer_not_trusted"},
			{"no policy", []client.Operation{{Op: client.OpDeletePolicy, Name: "default"}}, "3 unknown, /no_active_policy"},
			{"a signer disabled", []client.Operation{signer(client.OpDisableSigner)}, "2 unchanged, 1 denied, default/no_trusted_signer"},
			{"and enabled again", []client.Operation{signer(client.OpDisableSigner), signer(client.OpEnableSigner)}, "3 unchanged"},
			{"a signer removed", []client.Operation{signer(client.OpDeleteSigner)}, "2 unchanged, 1 denied, default/no_trusted_signer"},
			{"a signer compromised", []client.Operation{{Op: client.OpCompromiseSigner, Name: "builder", Since: &past}}, "2 unchanged, 1 denied, default/signer_not_trusted"},
			{"a signer narrowed", []client.Operation{{Op: client.OpPutSigner, Name: "builder", Signer: json.RawMessage(`{"images": ["ghcr.io/**"]}`)}}, "2 unchanged, 1 denied, default/no_trusted_signer"},
			{"a key added", []client.Operation{w.newSigner(w.key("release"))}, "2 unchanged, 1 allowed, default/signature_rejected"},
			{"a root under another name", []client.Operation{{Op: client.OpPutTrustRoot, Name: "again", TrustRoot: put()}, {Op: client.OpDeleteTrustRoot, Name: "trusted-root"}}, "3 unchanged"},
			{"a root that does not vouch", []client.Operation{{Op: client.OpPutTrustRoot, Name: "trusted-root", TrustRoot: put("ghcr.io/**")}}, "2 unchanged, 1 denied, default/signature_rejected"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				p := (&tried{TB: t, store: w.store, admin: w.admin, previews: w.previews, registry: w.registry}).preview(client.PreviewRequest{Operations: tt.ops})
				if d := cmp.Diff(tt.want, said(p)); d != "" || !p.Complete || !p.Exact || p.Total.Questions != 3 {
					t.Errorf("(-want +got)\n%s\n%+v", d, p)
				}
			})
		}
		after, err := w.store.Active(t.Context())
		if err != nil || after != active {
			t.Errorf("active is %+v, was %+v, error %v", after, active, err)
		}
	})
}

// What cannot be told is said so, by reason.
func TestPreviewNotReplayable(t *testing.T) {
	onBoth(t, func(t *testing.T, w *tried) {
		add := []client.Operation{w.newSigner(w.key("release"))}
		// Something that is larger than what is kept.
		w.recorder.change = func(r *engine.Record) {
			large := evidence.Item{Kind: evidence.KindBundle, MediaType: "application/json", SubjectDigest: r.Basis.Subject.Digest, Bytes: make([]byte, evidence.KeptBytes+1)}
			large.ID = evidence.Identify(large.Kind, large.Bytes, nil)
			r.Items = append(r.Items, large)
		}
		w.ask(w.push("key-none", "acme/large"), verdict.Deny)
		w.recorder.change = func(r *engine.Record) { r.Items = nil }
		w.ask(w.push("key-none", "acme/without"), verdict.Deny)
		w.recorder.change = nil
		w.ask(w.registry.Host()+"/acme/gone:v1", verdict.Unknown)
		p := w.preview(client.PreviewRequest{Operations: add})
		if got := said(p); got != "3 not replayable, evidence_left_out, evidence_missing, not_resolved" {
			t.Errorf("a key added: %s", got)
		}
		if p := w.preview(client.PreviewRequest{}); said(p) != "2 unchanged, 1 not replayable, not_resolved" {
			t.Errorf("nothing changed: %s", said(p))
		}

		// An older Signet, and a newer one.
		ask := func(n int, basis []byte) {
			t.Helper()
			kept, _, err := w.store.KeptVerdicts(t.Context(), time.Time{}, time.Time{}, store.Page{})
			if err != nil {
				t.Fatal(err)
			}
			f, _, err := kept[len(kept)-1].Facts(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			v := &verdict.Verdict{
				ID: fmt.Sprintf("01JZ0000000000000000000%03d", n), Image: fmt.Sprintf("ghcr.io/acme/%d", n), Decision: verdict.Deny,
				FactsDigest: f.Digest(), Active: kept[len(kept)-1].Active, Build: "old",
			}
			if err := w.store.Record(t.Context(), store.Record{Verdict: v, Body: []byte("{}"), Facts: f, Frames: map[string]facts.Frame{}, Basis: basis, Decided: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		ask(1, nil)
		ask(2, []byte(`{"image":"x","of_a_later_version":true}`))
		if p := w.preview(client.PreviewRequest{}); said(p) != "2 unchanged, 3 not replayable, basis_unreadable, no_basis, not_resolved" {
			t.Errorf("of other versions: %s", said(p))
		}
	})
}

// Dates, filters and bounds.
func TestPreviewWindow(t *testing.T) {
	onBoth(t, func(t *testing.T, w *tried) {
		ends := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
		s := keylessSigner()
		s.ExpiresAt = &ends
		w.add(s)
		w.add(w.key("release"))
		keyed, keyless := w.push("key-none", "acme/keyed"), w.push("keyless-gha", "acme/keyless")
		for range 2 {
			w.ask(keyed, verdict.Allow)
			w.ask(keyless, verdict.Allow)
		}
		before, after := ends.Add(-time.Hour), ends.Add(time.Hour)
		if p := w.preview(client.PreviewRequest{At: &before}); said(p) != "2 unchanged" || p.Total.Verdicts != 4 {
			t.Errorf("before the end: %s", said(p))
		}
		p := w.preview(client.PreviewRequest{At: &after})
		if said(p) != "1 unchanged, 1 denied, default/signer_not_trusted" {
			t.Errorf("after the end: %s", said(p))
		}
		if f := p.Flips[0]; f.Image != keyless || f.Before != client.Allow || f.After != client.Deny || f.Verdicts != 2 || f.Uses != 2 || len(f.Reasons) == 0 {
			t.Errorf("the flip: %+v", f)
		}
		disable := []client.Operation{{Op: client.OpDisableSigner, Name: "release"}, {Op: client.OpDisableSigner, Name: "builder"}}
		if p := w.preview(client.PreviewRequest{Operations: disable, Image: w.registry.Host() + "/acme/keyed"}); p.Total.Questions != 1 || p.AllowToDeny.Questions != 1 {
			t.Errorf("one image: %s", said(p))
		}
		none := int64(1)
		if p := w.preview(client.PreviewRequest{Operations: disable, Limit: 1, MaxFlips: &none}); len(p.Flips) != 1 || !p.MoreFlips || p.AllowToDeny.Questions != 2 || !p.Exceeded {
			t.Errorf("limited: %d flips, %+v", len(p.Flips), p.PreviewSummary)
		}
		if p := w.preview(client.PreviewRequest{Operations: disable, Until: "1h"}); p.Total.Questions != 0 || !p.Complete {
			t.Errorf("an hour ago: %s", said(p))
		}
		if p := w.preview(client.PreviewRequest{Operations: disable, OnlyCheck: true}); p.Total.Questions != 0 || !p.Complete {
			t.Errorf("only checked: %s", said(p))
		}
		// Who is bound to images sees these, and changes no others.
		policy := client.Operation{Op: client.OpPutPolicy, Name: "mine", SigningPolicy: "images: ['" + w.registry.Host() + "/acme/keyed']\ntrusted_signers: [{type: keyless, issuer: 'https://issuer.example', subject: nobody}]\n"}
		author := w.as(auth.Author, w.registry.Host()+"/acme/keyed")
		if p := w.previewAs(author, client.PreviewRequest{Operations: []client.Operation{policy}}); p.Total.Questions != 1 || p.AllowToDeny.Questions != 1 {
			t.Errorf("a team's author: %s", said(p))
		}
		longAgo := time.Now().Add(-time.Hour)
		for name, tt := range map[string]struct {
			by  administration.Caller
			req client.PreviewRequest
		}{
			"a viewer":              {w.as(auth.Viewer), client.PreviewRequest{}},
			"an author and signers": {w.as(auth.Author), client.PreviewRequest{Operations: disable}},
			"a policy of others":    {author, client.PreviewRequest{Operations: []client.Operation{{Op: client.OpDeletePolicy, Name: "default"}}}},
			"a time that is past":   {w.as(auth.Admin), client.PreviewRequest{At: &longAgo}},
		} {
			if _, err := w.previews.Prepare(t.Context(), tt.by, tt.req); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
	})
}

// What tries operations alone is asked for nothing of a preview, so that nobody takes
// it for one that found no flips.
func TestOnlyCheckIsAskedForNothingElse(t *testing.T) {
	at, most := time.Now().Add(time.Hour), int64(0)
	for field, req := range map[string]client.PreviewRequest{
		"since": {Since: "7d"}, "until": {Until: "1d"}, "image": {Image: "ghcr.io/acme/**"}, "at": {At: &at}, "max_flips": {MaxFlips: &most}, "limit": {Limit: 10},
	} {
		if _, err := new(previewer).read(administration.Caller{}, req); err != nil {
			t.Errorf("%s of a preview: %v", field, err)
		}
		req.OnlyCheck = true
		var mistakes administration.FieldErrors
		if _, err := new(previewer).read(administration.Caller{}, req); !errors.As(err, &mistakes) || len(mistakes) != 1 || mistakes[0].Field != field {
			t.Errorf("%s with only_check: %v", field, err)
		}
	}
}

// A preview whose time is up says how far it came.
func TestPreviewEndsEarly(t *testing.T) {
	onBoth(t, func(t *testing.T, w *tried) {
		w.add(w.key("release"))
		w.ask(w.push("key-none", "acme/keyed"), verdict.Allow)
		run, err := w.previews.Prepare(t.Context(), w.as(auth.Admin), client.PreviewRequest{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		p, err := run(ctx, func(client.PreviewLine) error { return nil })
		if err != nil || p.Complete || p.Why == "" {
			t.Errorf("%+v, error %v", p.PreviewSummary, err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		if _, err := run(ctx, func(client.PreviewLine) error { return nil }); err == nil {
			t.Error("a caller who left got an answer")
		}
	})
}
