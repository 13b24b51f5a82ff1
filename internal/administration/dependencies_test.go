package administration

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/testkit/tuftest"
)

// A key that could not be read again is told as failing, with when it last was.
func TestKeyDependencies(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	f.kms.set(vaultRef, newKey(t).PEM, nil)
	must[client.Signer](t)(f.CreateSigner(ctx, root, kmsSigner("release")))
	off := kmsSigner("off")
	off.Enabled = false
	must[client.Signer](t)(f.CreateSigner(ctx, root, off))
	want := []client.Dependency{{Kind: client.DependencyKMS, Name: "release", State: "ok", Optional: true, LastSuccess: ptr(start)}}
	if diff := cmp.Diff(want, must[[]client.Dependency](t)(f.Dependencies(ctx, root))); diff != "" {
		t.Error(diff)
	}
	f.kms.set(vaultRef, "", errors.New("out of reach"))
	f.clock.move(time.Hour)
	_ = f.RefreshKeys(ctx, f.clock.Now()) // fails, and notes that it does
	got := must[[]client.Dependency](t)(f.Dependencies(ctx, root))
	if len(got) != 1 || got[0].State != "failing" || got[0].Error == "" || got[0].LastSuccess == nil || !got[0].LastSuccess.Equal(start) {
		t.Errorf("out of reach: %+v", got)
	}
	if _, err := f.Dependencies(ctx, Caller{Principal: auth.Principal{Name: "v", Role: auth.Verifier}}); !errors.Is(err, ErrRole) {
		t.Errorf("a verifier: %v", err)
	}
}

func TestRootDependencies(t *testing.T) {
	s := newSite(t)
	repo := tuftest.New(t, instanceRoot(t, "own", 1))
	s.mustPut("own", client.PutTrustRoot{TUFURL: repo.URL(), TUFRoot: repo.Root(1)}, nil)
	s.mustPut("file", client.PutTrustRoot{TrustedRoot: instanceRoot(t, "file", 1)}, nil) // depends on nothing
	first := s.now
	want := []client.Dependency{{Kind: client.DependencyTUF, Name: "own", State: "ok", Optional: true, LastSuccess: &first}}
	if diff := cmp.Diff(want, must[[]client.Dependency](t)(s.Dependencies(t.Context(), root))); diff != "" {
		t.Error(diff)
	}
	repo.Down(http.StatusServiceUnavailable)
	s.now = s.now.Add(25 * time.Hour)
	if err := s.RefreshDue(t.Context(), s.now, 24*time.Hour); err == nil {
		t.Error("a repository that is out of reach is no error")
	}
	got := must[[]client.Dependency](t)(s.Dependencies(t.Context(), root))
	if len(got) != 1 || got[0].State != "failing" || got[0].Error == "" || got[0].LastFailure == nil || !got[0].LastFailure.Equal(s.now) || !got[0].LastSuccess.Equal(first) {
		t.Errorf("out of reach: %+v", got)
	}
}
