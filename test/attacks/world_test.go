package attacks

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/cache"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/testkit"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verdict"
	"github.com/signet-policy/signet/test/wire"
)

// Who is trusted in every world, unless the policy is another one.
const (
	issuer  = sigstack.GitHubIssuer
	release = "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"
	repo    = "acme/app"
	tag     = "v1"
)

// world is a registry with an image, a Sigstore, and a Signet that asks them.
type world struct {
	*testing.T
	options  registrytest.Options
	stack    *testkit.Stack
	server   *registrytest.Server
	image    *ocitest.Artifact
	fallback []*ocitest.Artifact

	// What follows is for the attack to change before the first question.
	policy     string // a signing policy; "": trust the release workflow and the key "release"
	roots      [][]byte
	requires   *trust.Requires
	registered []signers.Signer
	limits     evidence.Limits
	registry   registry.Config
	ask        engine.Request
	now        time.Time
	stale      time.Duration               // since the last root was refreshed; 0: a file, which never is
	good       func(*sigstack.SignRequest) // what the good neighbour needs more

	signet *wire.Signet
	cache  *cache.Cache
	record *records
}

// records is the store of a world.
type records struct {
	mu  sync.Mutex
	all []engine.Record
}

func (r *records) Record(_ context.Context, rec engine.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, rec)
	return nil
}

func (*records) Repeat(context.Context, engine.Repeat) error { return engine.ErrForgotten }

func (*records) Defer(engine.Record, error) bool { return false }

func (r *records) last() engine.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return engine.Record{}
	}
	return r.all[len(r.all)-1]
}

func newWorld(t *testing.T, o registrytest.Options) *world {
	t.Helper()
	w := &world{
		T: t, options: o, stack: testkit.NewStack(t, sigstack.Options{}), server: registrytest.New(t, o),
		image: ocitest.Image(ocitest.ImageOptions{Content: t.Name()}), limits: evidence.DefaultLimits(),
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), record: &records{},
	}
	w.limits.RequestTimeout, w.limits.SearchTimeout, w.limits.PolicyTime = time.Minute, 2*time.Minute, time.Minute // on machines that may be busy
	w.server.Push(repo, tag, w.image)
	w.ask = engine.Request{Image: w.server.Image(repo, tag), Principal: "test"}
	w.registry.Registries = []registry.Settings{{Host: w.server.Host(), Insecure: !o.TLS}}
	return w
}

// memo keeps verifications as the server does.
type memo struct{ *cache.Cache }

func (m memo) Get(key [32]byte) ([]byte, bool) {
	value, _, _, ok := m.Cache.Get(context.Background(), "verified", key, time.Now())
	return value, ok
}

func (m memo) Put(key [32]byte, value []byte) {
	m.Cache.Put(context.Background(), "verified", key, value, time.Now().Add(time.Hour))
}

// digest of the image.
func (w *world) digest() string { return w.image.Digest() }

// identity is the trusted one.
func (w *world) identity() *sigstack.Identity { return sigstack.Workflow{}.Identity() }

// request is a good signature of the image by the trusted identity.
func (w *world) request() sigstack.SignRequest {
	return sigstack.SignRequest{Image: w.digest(), Identity: w.identity(), Log: sigstack.RekorV1()}
}

// sign makes a good signature, after edit had its way with the request.
func (w *world) sign(edit ...func(*sigstack.SignRequest)) *sigstack.Evidence {
	w.Helper()
	req := w.request()
	for _, e := range edit {
		e(&req)
	}
	return w.stack.Sign(req)
}

// attach publishes evidence as a referrer, by the API or the fallback tag.
func (w *world) attach(ev *sigstack.Evidence) *ocitest.Artifact {
	w.Helper()
	return w.listed(w.server.Attach(repo, w.image, ev))
}

// attachBytes publishes the bytes of a bundle.
func (w *world) attachBytes(bundle []byte) *ocitest.Artifact {
	w.Helper()
	return w.listed(w.server.AttachBundle(repo, w.image.Subject(), bundle, ocitest.BundleOptions{PredicateType: sigstack.PredicateCosignSign}))
}

// push publishes any manifest as a referrer.
func (w *world) push(a *ocitest.Artifact) *ocitest.Artifact {
	w.Helper()
	w.server.Push(repo, "", a)
	return w.listed(a)
}

// listed keeps the fallback tag as clients do where there is no referrers API.
func (w *world) listed(a *ocitest.Artifact) *ocitest.Artifact {
	if w.fallback != nil || w.options.NoReferrers {
		w.fallback = append(w.fallback, a)
		w.server.Fallback(repo, w.digest(), w.fallback...)
	}
	return a
}

// other is an image in the same repository.
func (w *world) other() *ocitest.Artifact {
	w.Helper()
	o := ocitest.Image(ocitest.ImageOptions{Content: "another image, " + w.Name()})
	w.server.Push(repo, "other", o)
	return o
}

// must ends the test for an error of the workshop.
func must[T any](v T, err error) func(tb testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

// ok is must for an error alone.
func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// defaultPolicy trusts the release workflow, and the key "release".
func (w *world) defaultPolicy() string {
	return policyOf(map[string]any{
		"trusted_signers": []any{
			map[string]any{"type": "keyless", "issuer": issuer, "subject": release},
			map[string]any{"type": "public_key", "key": string(w.stack.Key("release", sigstack.ECDSAP256SHA256).PublicPEM())},
		},
	})
}

// policyOf writes a signing policy that requires a signature.
func policyOf(more map[string]any) string {
	p := map[string]any{"mode": "enforce", "require_signature": true, "verify_transparency_log": true}
	for k, v := range more {
		p[k] = v
	}
	body, err := json.Marshal(map[string]any{"signing_policy": p})
	if err != nil {
		panic(err) // maps of strings always encode
	}
	return string(body)
}

// start connects Signet, at the first question.
func (w *world) start() {
	w.Helper()
	if w.signet != nil {
		return
	}
	if w.policy == "" {
		w.policy = w.defaultPolicy()
	}
	p := must(signingpolicy.Parse([]byte(w.policy)))(w)
	if w.roots == nil {
		w.roots = [][]byte{w.stack.TrustedRootJSON()}
	}
	var roots []*trust.Root
	for i, raw := range w.roots {
		r := must(trust.Parse([]string{"first", "second", "third"}[i], raw, w.requires))(w)
		if w.stale > 0 && i == len(w.roots)-1 {
			r = r.Refreshed(w.now.Add(-w.stale))
		}
		roots = append(roots, r)
	}
	w.cache = must(cache.New(cache.Config{MaxBytes: 64 << 20}))(w)
	w.Cleanup(w.cache.Close)
	w.signet = wire.New(w, wire.Config{
		Roots: roots, Policy: p, Registered: w.registered, Registry: w.registry, Limits: w.limits, Cache: w.cache, Memo: memo{w.cache}, Recorder: w.record,
		Now: func() time.Time { return w.now },
	})
}

// decide asks, and reads the verdict.
func (w *world) decide(req engine.Request) (engine.Answer, verdict.Verdict) {
	w.Helper()
	w.start()
	a, err := w.signet.Engine.Decide(w.Context(), w.signet.State, req)
	if err != nil {
		w.Fatal(err)
	}
	var v verdict.Verdict
	if err := json.Unmarshal(a.Body, &v); err != nil {
		w.Fatal(err)
	}
	if a.Decision != v.Decision || a.Allowed != v.Allowed {
		w.Errorf("the answer says %s, its body %s", a.Decision, v.Decision)
	}
	return a, v
}

// attack is one way to be deceived, and what must come of it.
type attack struct {
	threat  string // number, and a word where there are several
	options registrytest.Options
	do      func(w *world)
	// decision, the first reason's code, and the codes of all rejections.
	decision   verdict.Decision
	reason     string
	rejections []string
	// signatures and attestations that are facts all the same: a stranger's, or
	// those that prove too little for the policy.
	signatures, attestations int
	// beside is what a good signature makes of it; Allow unless set.
	beside verdict.Decision
	// check looks further.
	check func(w *world, v verdict.Verdict, f facts.Facts)
}

// cutOff is beside for a list that is cut short: whether the good signature is
// before the cut is up to digests. Never is the image called unsigned.
const cutOff verdict.Decision = "allow or unknown"

func play(t *testing.T, attacks []attack) {
	t.Helper()
	for _, a := range attacks {
		t.Run("threat "+a.threat, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, a.options)
			a.do(w)
			_, v := w.alone(a)
			if a.check != nil && !t.Failed() {
				a.check(w, v, w.record.last().Facts)
			}
			w.beside(a)
		})
	}
}

// alone plays the attack by itself.
func (w *world) alone(a attack) (engine.Answer, verdict.Verdict) {
	w.Helper()
	answer, v := w.decide(w.ask)
	if v.Decision != a.decision || v.Allowed != (a.decision == verdict.Allow) {
		w.Errorf("decision %s, want %s; reasons %+v", v.Decision, a.decision, v.Reasons)
	}
	reason := ""
	if len(v.Reasons) > 0 {
		reason = v.Reasons[0].Code
	}
	if reason != a.reason {
		w.Errorf("reason %q, want %q: %+v", reason, a.reason, v.Reasons)
	}
	rec := w.record.last()
	w.recordedAs(v, rec)
	if diff := cmp.Diff(sorted(a.rejections), rejectionCodes(rec.Facts)); diff != "" {
		w.Errorf("rejections (-want +have):\n%s%+v", diff, rec.Facts.Rejections())
	}
	if n := len(rec.Facts.Signatures()); n != a.signatures {
		w.Errorf("%d signatures are facts, want %d", n, a.signatures)
	}
	if n := len(rec.Facts.Attestations()); n != a.attestations {
		w.Errorf("%d attestations are facts, want %d", n, a.attestations)
	}
	if *w.signet.Panics != 0 {
		w.Errorf("%d panics", *w.signet.Panics)
	}
	w.notCached(a, answer)
	return answer, v
}

// recordedAs: what is kept is what was answered, and no more.
func (w *world) recordedAs(v verdict.Verdict, rec engine.Record) {
	w.Helper()
	if rec.Verdict == nil {
		w.Fatal("the verdict was not recorded")
	}
	if rec.Verdict.ID != v.ID || rec.Verdict.Decision != v.Decision || rec.Verdict.FactsDigest != rec.Facts.Digest() {
		w.Errorf("recorded is verdict %s, %s, on facts %s; answered was %s, %s", rec.Verdict.ID, rec.Verdict.Decision, rec.Facts.Digest(), v.ID, v.Decision)
	}
}

// notCached: an unknown is asked anew, whatever was found on the way.
func (w *world) notCached(a attack, first engine.Answer) {
	w.Helper()
	if first.From != engine.FromMiss {
		w.Errorf("the first answer came from %s", first.From)
	}
	if a.decision != verdict.Unknown {
		return
	}
	if first.RetryAfter <= 0 {
		w.Error("an unknown does not say when to ask again")
	}
	before := w.signet.Engine.Stats().Hits.Load()
	if again, _ := w.decide(w.ask); again.From != engine.FromMiss || w.signet.Engine.Stats().Hits.Load() != before {
		w.Errorf("an unknown was answered from %s", again.From)
	}
}

// beside plays the attack beside a good signature, and asks for it anew: nothing
// that the attack left in the cache or in the store may stand in the way.
func (w *world) beside(a attack) {
	w.Helper()
	want := a.beside
	if want == "" {
		want = verdict.Allow
	}
	w.attach(w.sign(func(r *sigstack.SignRequest) {
		r.Annotations = map[string]string{"who": "the good neighbour"}
		if w.good != nil {
			w.good(r)
		}
	}))
	req := w.ask
	req.Refresh = true
	_, v := w.decide(req)
	if want == cutOff && v.Decision != verdict.Deny {
		return
	}
	if v.Decision != want {
		w.Errorf("beside a good signature: %s, want %s; reasons %+v", v.Decision, want, v.Reasons)
	}
	if want != verdict.Allow {
		return
	}
	var bad []string
	for _, r := range w.record.last().Facts.Rejections() {
		bad = append(bad, r.Code)
	}
	if got := sorted(bad); !slices.Equal(got, sorted(a.rejections)) {
		w.Errorf("beside a good signature the rejections are %v, want %v", got, a.rejections)
	}
}

func rejectionCodes(f facts.Facts) []string {
	var out []string
	for _, r := range f.Rejections() {
		out = append(out, r.Code)
	}
	return sorted(out)
}

func sorted(in []string) []string {
	out := slices.Clone(in)
	if out == nil {
		out = []string{}
	}
	slices.Sort(out)
	return out
}
