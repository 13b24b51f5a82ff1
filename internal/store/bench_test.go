package store

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/facts"
)

func aToken(t testing.TB) auth.Token {
	t.Helper()
	_, tok, err := auth.NewToken(auth.NewTokenRequest{Name: "n", Role: auth.Viewer, CreatedBy: "c"}, at)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// BenchmarkOpenReadOnly is what a command pays for looking into the store.
func BenchmarkOpenReadOnly(b *testing.B) {
	ctx := context.Background()
	dir := b.TempDir()
	if err := openTemp(b, Config{DataDir: dir}).Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := Open(ctx, Config{DataDir: dir, ReadOnly: true})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Snapshot(ctx, nil); err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkActive(b *testing.B) {
	ctx := context.Background()
	dir := b.TempDir()
	w := openTemp(b, Config{DataDir: dir})
	r := openTemp(b, Config{DataDir: dir, ReadOnly: true})
	for name, s := range map[string]*Store{"writer": w, "reader": r} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Active(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRecord(b *testing.B) {
	f := bigFacts(b)
	for _, parallel := range []int{1, 32} {
		b.Run(fmt.Sprint("parallel=", parallel), func(b *testing.B) {
			s := openTemp(b, Config{})
			var n atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(parallel)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r := aRecord(fmt.Sprintf("01JD%022d", n.Add(1)), f)
					r.Body = []byte(strings.Repeat(`{"decision":"deny","reasons":[]}`, 60))
					if err := s.Record(context.Background(), r); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkPackFacts(b *testing.B) {
	s := openTemp(b, Config{})
	f := bigFacts(b)
	b.ReportAllocs()
	for b.Loop() {
		p, err := s.packFacts(f)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(p.size), "raw-bytes")
		b.ReportMetric(float64(len(p.body)), "packed-bytes")
	}
}

// bigFacts are about as large as those of an image with two signatures.
func bigFacts(tb testing.TB) facts.Facts {
	tb.Helper()
	sig := func(i int) facts.Signature {
		return facts.Signature{
			ID: facts.Digest(fmt.Append(nil, i)), SubjectDigest: facts.Digest(nil), Format: "application/vnd.dev.sigstore.bundle.v0.3+json", TrustRoot: "public",
			Annotations: map[string]string{}, Principal: "https://token.actions.githubusercontent.com https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1",
			Signer: facts.Signer{
				Kind: "certificate", Issuer: "https://token.actions.githubusercontent.com", Subject: "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1",
				Claims: map[string]string{
					"source_repository_uri": "https://github.com/acme/app", "runner_environment": "github-hosted", "build_trigger": "push",
					"source_repository_ref": "refs/tags/v1", "build_signer_uri": "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1",
				},
				Fingerprint: strings.TrimPrefix(facts.Digest(fmt.Append(nil, "k", i)), "sha256:"), Algorithm: "ecdsa-p256",
			},
			Transparency: []facts.LogEntry{{Log: "https://rekor.sigstore.dev", LogID: strings.Repeat("c0", 32), Index: int64(123456 + i), Proof: "inclusion"}},
			Timestamps:   []facts.Timestamp{},
		}
	}
	p := facts.Proven{
		Subject:      facts.Subject{Digest: facts.Digest(nil), MediaType: "application/vnd.oci.image.index.v1+json", Platforms: []facts.Platform{}},
		Signatures:   []facts.Signature{sig(1), sig(2)},
		Attestations: []facts.Attestation{},
		Rejections:   []facts.Rejection{},
	}
	if p.Signatures[0].ID > p.Signatures[1].ID {
		p.Signatures[0], p.Signatures[1] = p.Signatures[1], p.Signatures[0]
	}
	body, err := facts.Canonical(p)
	if err != nil {
		tb.Fatal(err)
	}
	f, err := facts.Decode(body, facts.Digest(body))
	if err != nil {
		tb.Fatal(err)
	}
	return f
}
