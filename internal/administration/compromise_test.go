package administration

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/store/storetest"
	"github.com/signet-policy/signet/internal/verdict"
)

// allowed records that an image was allowed because of the signer "builder", whose
// signature was made at a time.
func (f *fixture) allowed(t *testing.T, n int, image string, signed *time.Time) string {
	t.Helper()
	r, digest := f.allow(t, n, image, signed)
	if err := f.store.Record(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return digest
}

// allow is what allowed records.
func (f *fixture) allow(t *testing.T, n int, image string, signed *time.Time) (r store.Record, digest string) {
	t.Helper()
	digest = fmt.Sprintf("sha256:%064d", n)
	r = storetest.Record(t, n, storetest.Facts(t, digest, "a@example.com"), image)
	r.Verdict.Active = must[verdict.Active](t)(f.store.Active(t.Context()))
	r.Verdict.Signature.SignedAt = signed
	return r, digest
}

func digests(list []client.SignerVerdict) string {
	var out []string
	for _, v := range list {
		out = append(out, strings.TrimLeft(strings.TrimPrefix(v.Digest, "sha256:"), "0"))
	}
	return strings.Join(out, " ")
}

func TestCompromise(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		w := must[client.Signer](t)(f.CreateSigner(ctx, root, keyless("builder")))
		since := start.Add(-time.Hour)
		f.allowed(t, 1, "ghcr.io/org/app", ptr(since.Add(-time.Second)))
		f.allowed(t, 3, "ghcr.io/org/app", ptr(since)) // the last moment that counts
		f.allowed(t, 4, "ghcr.io/org/app", ptr(since.Add(time.Second)))
		f.allowed(t, 5, "ghcr.io/web/app", nil)
		f.allowed(t, 7, "ghcr.io/org/app", ptr(since.Add(time.Minute)))

		got := must[client.Compromised](t)(f.CompromiseSigner(ctx, root, w.ID, client.Compromise{Since: since, Why: "the key was stolen"}))
		want := w
		want.SignedUntil, want.Version = &since, 2
		same(t, want, got.Signer)
		same(t, "7 5 4", digests(got.Affected))
		same(t, false, got.More)
		same(t, []entry{
			{"root", "192.0.2.1", "signer.update", "signer/" + w.ID, "the key was stolen; because"},
			{"root", "192.0.2.1", "signer.compromise", "signer/" + w.ID, "the key was stolen; because"},
		}, f.audited(t, 2))

		f.untouched(t, func() {
			same(t, got, must[client.Compromised](t)(f.CompromiseSigner(ctx, root, w.ID, client.Compromise{Since: since, Why: "again"})))
			// A later moment takes nothing back.
			later := must[client.Compromised](t)(f.CompromiseSigner(ctx, root, w.ID, client.Compromise{Since: since.Add(30 * time.Second), Why: "again"}))
			same(t, got, later)
		})
		earlier := must[client.Compromised](t)(f.CompromiseSigner(ctx, root, w.ID, client.Compromise{Since: since.Add(-time.Minute), Why: "earlier"}))
		same(t, "7 5 4 3 1", digests(earlier.Affected))
		same(t, ptr(since.Add(-time.Minute)), earlier.Signer.SignedUntil)
	})
}

func TestCompromiseRefuses(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	w := must[client.Signer](t)(f.CreateSigner(ctx, root, keyless("builder")))
	f.untouched(t, func() {
		_, err := f.CompromiseSigner(ctx, root, w.ID, client.Compromise{})
		mistakes(t, err, "since: is missing", "why: is missing")
		_, err = f.CompromiseSigner(ctx, root, w.ID, client.Compromise{Since: start.Add(time.Second), Why: "a\nb"})
		mistakes(t, err, "since: 2026-11-23T12:00:01Z is still to come", "why: is longer than")
		_, err = f.CompromiseSigner(ctx, root, w.ID, client.Compromise{Since: start, Why: strings.Repeat("x", 501)})
		mistakes(t, err, "why: is longer than 500 bytes")
		_, err = f.CompromiseSigner(ctx, root, "nobody", client.Compromise{Since: start, Why: "x"})
		wants(t, err, ErrNotFound, "nobody")
	})
}

// A signer whose signatures count from a later time on has none that counts.
func TestCompromiseBeforeItSigned(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	asked := keyless("builder")
	asked.SignedFrom = ptr(start.Add(-time.Hour))
	w := must[client.Signer](t)(f.CreateSigner(ctx, root, asked))
	f.allowed(t, 1, "ghcr.io/org/app", ptr(start.Add(-time.Minute)))
	got := must[client.Compromised](t)(f.CompromiseSigner(ctx, root, w.ID, client.Compromise{Since: start.Add(-2 * time.Hour), Why: "stolen"}))
	if got.Signer.Enabled || got.Signer.SignedUntil != nil {
		t.Errorf("the signer is %+v", got.Signer)
	}
	same(t, "1", digests(got.Affected))
}

func TestSignerVerdicts(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	w := must[client.Signer](t)(f.CreateSigner(ctx, root, keyless("builder")))
	unused := must[client.Signer](t)(f.CreateSigner(ctx, root, keyless("unused")))
	f.allowed(t, 1, "ghcr.io/org/app", nil)
	f.allowed(t, 2, "ghcr.io/web/app", nil)
	signed := start.Add(-time.Minute)
	digest := f.allowed(t, 3, "ghcr.io/org/app", &signed)
	pages := func(c Caller, limit int) string {
		t.Helper()
		var out []string
		for after := ""; ; {
			page := must[client.Page[client.SignerVerdict]](t)(f.SignerVerdicts(ctx, c, w.ID, limit, after))
			out = append(out, digests(page.Items))
			if after = page.Next; after == "" {
				return strings.Join(out, " | ")
			}
		}
	}
	same(t, "3 2 1", pages(root, 0))
	same(t, "3 2 | 1", pages(root, 2))
	same(t, "3 1", pages(org, 0)) // who is bound to images sees those alone
	same(t, "3 | 1", pages(org, 2))
	page := must[client.Page[client.SignerVerdict]](t)(f.SignerVerdicts(ctx, root, w.ID, 1, ""))
	same(t, client.SignerVerdict{
		Digest: digest, Image: "ghcr.io/org/app:v1", VerdictID: fmt.Sprintf("01JD%022d", 3), At: start.Add(3 * time.Second), Verdicts: 1, SignedAt: &signed,
	}, page.Items[0])

	same(t, []client.SignerVerdict{}, must[client.Page[client.SignerVerdict]](t)(f.SignerVerdicts(ctx, root, unused.ID, 0, "")).Items)
	_, err := f.SignerVerdicts(ctx, root, "nobody", 0, "")
	wants(t, err, ErrNotFound, "nobody")
	_, err = f.SignerVerdicts(ctx, root, w.ID, 0, "x")
	mistakes(t, err, "cursor: is not known")
	_, err = f.SignerVerdicts(ctx, root, w.ID, 1001, "")
	mistakes(t, err, "limit: ")

	// A signer that was removed has its verdicts still.
	if err := f.DeleteSigner(ctx, root, w.ID, 1); err != nil {
		t.Fatal(err)
	}
	same(t, "3 2 1", pages(root, 0))

	// What was allowed is shown to who is bound to images with a compromise, too.
	again := must[client.Signer](t)(f.CreateSigner(ctx, root, client.Signer{Name: "builder", Type: "keyless", Issuer: issuer, Subject: "x", Images: []string{"ghcr.io/org/**"}}))
	f.allowed(t, 4, "ghcr.io/org/app", nil)
	f.allowed(t, 5, "ghcr.io/web/app", nil)
	got := must[client.Compromised](t)(f.CompromiseSigner(ctx, org, again.ID, client.Compromise{Since: start, Why: "stolen"}))
	same(t, "4", digests(got.Affected))

	// However an image was named: short for Docker Hub's.
	f.allowed(t, 6, "nginx", nil)
	hub := Caller{Principal: auth.Principal{Name: "hub", Role: auth.Viewer, Images: []string{"docker.io/library/*"}}}
	same(t, []string{"nginx:v1"}, images(must[client.Page[client.SignerVerdict]](t)(f.SignerVerdicts(ctx, hub, again.ID, 0, "")).Items))
}

func images(list []client.SignerVerdict) []string {
	var out []string
	for _, v := range list {
		out = append(out, v.Image)
	}
	return out
}

func TestImageName(t *testing.T) {
	for ref, want := range map[string]string{
		"ghcr.io/org/app":                  "ghcr.io/org/app",
		"ghcr.io/org/app:v1":               "ghcr.io/org/app",
		"ghcr.io/org/app@sha256:00":        "ghcr.io/org/app",
		"ghcr.io/org/app:v1@sha256:00":     "ghcr.io/org/app",
		"localhost:5000/app":               "localhost:5000/app",
		"localhost:5000/app:v1":            "localhost:5000/app",
		"[::1]:5000/app:v1@sha256:00":      "[::1]:5000/app",
		"localhost/app:v1":                 "localhost/app",
		"nginx":                            "docker.io/nginx",
		"nginx:1.27":                       "docker.io/nginx",
		"acme/nginx:1.27@sha256:00":        "docker.io/acme/nginx",
		"":                                 "",
		"registry.example:5000/a/b/c:dirt": "registry.example:5000/a/b/c",
	} {
		if got := imageName(ref); got != want {
			t.Errorf("imageName(%q) = %q, want %q", ref, got, want)
		}
	}
}

// The list goes over the pages of the store's, and is bounded.
func TestAffectedIsBounded(t *testing.T) {
	f := onSQLite(t)
	w := must[client.Signer](t)(f.CreateSigner(t.Context(), root, keyless("builder")))
	const all = maxPage + 10
	var wg sync.WaitGroup
	for n := range all {
		r, _ := f.allow(t, n+1, "ghcr.io/org/app", nil)
		wg.Go(func() { // together they share transactions
			if err := f.store.Record(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, tt := range []struct {
		name             string
		most, look, want int
		more             bool
	}{
		{"all", maxAffected, maxLooked, all, false},
		{"exactly all", all, maxLooked, all, false},
		{"one less", all - 1, maxLooked, all - 1, true},
		{"one page is looked at", maxAffected, maxPage, maxPage, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list, more, err := f.affected(t.Context(), root, w.ID, start, tt.most, tt.look)
			if err != nil || more != tt.more || len(list) != tt.want {
				t.Errorf("%d are affected, more %v, %v", len(list), more, err)
			}
		})
	}
}
