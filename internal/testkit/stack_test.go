package testkit_test

import (
	"bytes"
	"testing"

	"github.com/signet-policy/signet/internal/testkit"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

func TestStackIsSeededByTheTest(t *testing.T) {
	t.Parallel()
	a, b := testkit.NewStack(t, sigstack.Options{}), testkit.NewStack(t, sigstack.Options{})
	if !bytes.Equal(a.TrustedRootJSON(), b.TrustedRootJSON()) {
		t.Error("two stacks of one test differ")
	}
	t.Run("sub", func(t *testing.T) {
		if c := testkit.NewStack(t, sigstack.Options{}); bytes.Equal(a.TrustedRootJSON(), c.TrustedRootJSON()) {
			t.Error("stacks of two tests are the same")
		}
		req := sigstack.SignRequest{Artifact: []byte("x"), Key: a.For(t).Key("k", sigstack.Ed25519)}
		if !bytes.Equal(a.For(t).Bundle(req), b.Bundle(sigstack.SignRequest{Artifact: []byte("x"), Key: b.Key("k", sigstack.Ed25519)})) {
			t.Error("the same request gave two bundles")
		}
	})
}
