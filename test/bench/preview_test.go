package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/policy"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verdict"
	"github.com/signet-policy/signet/test/wire"
)

const (
	previewVerdicts = 20_000
	previewRounds   = 5
	// fewVerdicts and manyVerdicts are previewed to see that memory does not grow
	// with their number.
	fewVerdicts, manyVerdicts = 2_000, 14_000
)

// BenchmarkPreview previews a policy over 20,000 verdicts on as many images, each
// with facts of its own, in a `signet serve` on SQLite, in turns with the floor: the
// prepared default policy evaluated in a loop on every core, over documents that are
// made already. The candidate differs in a signer, so that each verdict is
// evaluated, and nothing flips.
func BenchmarkPreview(b *testing.B) {
	p := newPreviewed(b, previewVerdicts)
	floor := newEvaluations(b, p.rec)
	p.preview(b)
	floor.run(previewVerdicts / 4)
	var ratios, ours, theirs []float64
	for b.Loop() {
		for range previewRounds {
			f1 := floor.run(previewVerdicts)
			took := p.preview(b)
			f2 := floor.run(previewVerdicts)
			rate, base := previewVerdicts/took.Seconds(), 2*previewVerdicts/(f1+f2).Seconds()
			ratios, ours, theirs = append(ratios, rate/base), append(ours, rate), append(theirs, base)
		}
	}
	measured(b, rowPreview, Median(ratios), "preview/eval", "%.0f of %.0f verdicts/s on %d cores; medians of %d turns",
		Median(ours), Median(theirs), runtime.GOMAXPROCS(0), len(ratios))
}

// BenchmarkPreviewMemory compares the most memory that servers ever had, after
// previews of 14,000 and of 2,000 verdicts.
func BenchmarkPreviewMemory(b *testing.B) {
	peak := func(n int) float64 {
		p := newPreviewed(b, n)
		for range 3 {
			p.preview(b)
		}
		mb, err := peakMB(p.server.pid)
		if err != nil {
			b.Skip("needs Linux: ", err)
		}
		p.server.stop()
		return mb
	}
	var ratios, much, little []float64
	for b.Loop() {
		m, l := peak(manyVerdicts), peak(fewVerdicts)
		ratios, much, little = append(ratios, m/l), append(much, m), append(little, l)
	}
	measured(b, rowPreviewMemory, Median(ratios), "14000/2000", "%.0f MB of %.0f MB", Median(much), Median(little))
}

// previewed is a server whose store has verdicts.
type previewed struct {
	server *server
	token  string
	n      int
	rec    *oneRecord
	body   string
}

const previewPolicy = `{"verify_transparency_log": true, "trusted_signers": [{"type": "keyless", "issuer": "%s", "subject": "%s"}%s]}`

func newPreviewed(b *testing.B, n int) *previewed {
	b.Helper()
	program := builtSignet(b)
	data := filepath.Join(b.TempDir(), "data")
	root, err := filepath.Abs(filepath.Join(samples, "trusted-root.json"))
	if err != nil {
		b.Fatal(err)
	}
	text := fmt.Sprintf(previewPolicy, workflowIssuer, workflow, "")
	file := filepath.Join(b.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	p := &previewed{n: n, token: createTokenOf(b, program, data, "author")}
	start := func() *server { return startServer(b, program, data, "--trusted-root", root, "--policy", file) }
	start().stop() // what the server brings is in the store now

	sp, err := signingpolicy.Parse([]byte(text))
	if err != nil {
		b.Fatal(err)
	}
	p.rec = fill(b, program, data, sp, n)
	other := `, {"type": "keyless", "issuer": "` + workflowIssuer + `", "subject": "somebody else"}`
	request, err := json.Marshal(client.PreviewRequest{Operations: []client.Operation{{
		Op: client.OpPutPolicy, Name: sp.Name, SigningPolicy: fmt.Sprintf(previewPolicy, workflowIssuer, workflow, other),
	}}})
	if err != nil {
		b.Fatal(err)
	}
	p.body, p.server = string(request), start()
	return p
}

// oneRecord takes the one record of an engine.
type oneRecord struct{ engine.Record }

// recorderOf makes it an engine's recorder.
type recorderOf struct{ one *oneRecord }

func (r recorderOf) Record(_ context.Context, rec engine.Record) error {
	r.one.Record = rec
	return nil
}

func (recorderOf) Repeat(context.Context, engine.Repeat) error { return engine.ErrForgotten }

func (recorderOf) Defer(engine.Record, error) bool { return false }

func newRecording(b *testing.B, host string, sp *signingpolicy.Policy, rec *oneRecord) *wire.Signet {
	b.Helper()
	roots, err := trust.ParseAll("trusted-root", read(b, "trusted-root.json"))
	if err != nil {
		b.Fatal(err)
	}
	limits := evidence.DefaultLimits()
	limits.PolicyTime = time.Minute // what else the machine does is not to end the filling
	return wire.New(b, wire.Config{
		Roots: roots, Policy: sp, Recorder: recorderOf{rec}, Limits: limits,
		Registry: registry.Config{Registries: []registry.Settings{{Host: host, Insecure: true}}},
	})
}

// fill writes n verdicts into the store of a data directory, all of them such as
// the server would have written: of one real image, under other names and digests.
func fill(b *testing.B, program, data string, sp *signingpolicy.Policy, n int) *oneRecord {
	b.Helper()
	const sample = "keyless-gha"
	host := registryOf(b, sample)
	rec := &oneRecord{}
	s := newRecording(b, host, sp, rec)
	if _, err := s.Engine.Decide(b.Context(), s.State, engine.Request{Image: host + "/bench/" + sample + ":v1", Roles: []string{"verifier"}}); err != nil || rec.Verdict == nil || !rec.Verdict.Allowed {
		b.Fatalf("no allow was recorded: %v", err)
	}
	out, err := exec.Command(program, "version").Output()
	if err != nil {
		b.Fatal(err)
	}
	build := strings.Fields(string(out))[1]
	st, err := store.Open(b.Context(), store.Config{DataDir: data, Migrate: true})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	active, err := st.Active(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	s.State.Active = active
	var left atomic.Int64
	left.Store(int64(n))
	var done sync.WaitGroup
	for range 64 {
		done.Go(func() {
			for i := left.Add(-1); i >= 0; i = left.Add(-1) {
				if err := fillOne(b.Context(), st, s, rec, build, int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
	if b.Failed() {
		b.FailNow()
	}
	return rec
}

func fillOne(ctx context.Context, st *store.Store, s *wire.Signet, rec *oneRecord, build string, i int) error {
	digest := fmt.Sprintf("sha256:%064x", i)
	proven := facts.Proven{Subject: rec.Facts.Subject(), Signatures: rec.Facts.Signatures(), Attestations: rec.Facts.Attestations(), Rejections: rec.Facts.Rejections()}
	proven.Subject.Digest = digest
	for j := range proven.Signatures {
		proven.Signatures[j].SubjectDigest = digest
	}
	f, err := facts.New(proven)
	if err != nil {
		return err
	}
	basis := rec.Basis
	basis.Asked.Repository = fmt.Sprintf("bench/app-%d", i)
	basis.Image = basis.Asked.Registry + "/" + basis.Asked.Repository + ":v1"
	basis.Subject.Repository, basis.Subject.Digest = basis.Asked.Repository, digest
	at := time.Now().Add(-time.Duration(i) * time.Millisecond).UTC().Truncate(time.Microsecond)
	again, err := s.Engine.Replay(ctx, s.State, engine.Kept{Basis: basis, Facts: f}, at)
	if err != nil {
		return err
	}
	v := again.Verdict
	if v.Decision != verdict.Allow {
		return fmt.Errorf("%s: %s", basis.Image, v.Decision)
	}
	v.Build = build
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	kept, err := basis.Encode()
	if err != nil {
		return err
	}
	return st.Record(ctx, store.Record{
		Verdict: v, Body: body, Facts: f, Frames: again.Frames, Basis: kept, ImageName: basis.Asked.Name(), Principal: "bench", Decided: at,
	})
}

// preview asks the server, and wants everything looked at and nothing flipped.
func (p *previewed) preview(b *testing.B) time.Duration {
	b.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+p.server.address+"/api/v1/policies/preview", strings.NewReader(p.body))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	req.Header.Set("Content-Type", "application/json")
	begun := time.Now()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	took := time.Since(begun)
	var got client.Preview
	if err != nil || res.StatusCode != http.StatusOK || json.Unmarshal(body, &got) != nil || got.Unchanged.Questions != int64(p.n) {
		b.Fatalf("status %d, error %v: %.500s", res.StatusCode, err, body)
	}
	return took
}

// evaluations are the floor: a prepared policy, and a document for each core.
type evaluations struct {
	set *policy.Set
	in  facts.Input
}

func newEvaluations(b *testing.B, rec *oneRecord) *evaluations {
	b.Helper()
	sp, err := signingpolicy.Parse(fmt.Appendf(nil, previewPolicy, workflowIssuer, workflow, ""))
	if err != nil {
		b.Fatal(err)
	}
	params, err := sp.Params()
	if err != nil {
		b.Fatal(err)
	}
	limits := evidence.DefaultLimits()
	limits.PolicyTime = time.Minute // what else the machine does is not to end the floor
	set, err := policy.Load(b.Context(), policy.Source{Name: sp.Name, Params: params, Limits: limits})
	if err != nil {
		b.Fatal(err)
	}
	in := facts.NewInput(rec.Facts, rec.Frames[sp.Name])
	e := &evaluations{set: set, in: in}
	if res, err := set.Evaluate(b.Context(), &in); err != nil || !res.Allow {
		b.Fatalf("the floor does not allow: %+v, %v", res, err)
	}
	return e
}

// run evaluates n times, on all cores.
func (e *evaluations) run(n int) time.Duration {
	var left atomic.Int64
	left.Store(int64(n))
	var done sync.WaitGroup
	begun := time.Now()
	for range runtime.GOMAXPROCS(0) {
		done.Go(func() {
			in := e.in
			for left.Add(-1) >= 0 {
				if _, err := e.set.Evaluate(context.Background(), &in); err != nil {
					panic(err)
				}
			}
		})
	}
	done.Wait()
	return time.Since(begun)
}
