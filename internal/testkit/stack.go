package testkit

import (
	"testing"

	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

// Stack is a sigstack.Stack whose methods end the test instead of returning an
// error.
type Stack struct {
	*sigstack.Stack
	tb testing.TB
}

// NewStack makes a stack. Without a seed the test's name is the seed, so that a
// failure comes back.
func NewStack(tb testing.TB, opts sigstack.Options) *Stack {
	tb.Helper()
	if opts.Seed == "" {
		opts.Seed = tb.Name()
	}
	s, err := sigstack.New(opts)
	if err != nil {
		tb.Fatalf("making a stack: %v", err)
	}
	return &Stack{s, tb}
}

// For is the same stack for another test, which its errors then end: for subtests
// that share a stack.
func (s *Stack) For(tb testing.TB) *Stack { return &Stack{s.Stack, tb} }

// Sign makes evidence.
func (s *Stack) Sign(req sigstack.SignRequest) *sigstack.Evidence {
	s.tb.Helper()
	ev, err := s.Stack.Sign(req)
	if err != nil {
		s.tb.Fatalf("signing: %v", err)
	}
	return ev
}

// Bundle makes evidence and writes it as a v0.3 bundle.
func (s *Stack) Bundle(req sigstack.SignRequest) []byte {
	s.tb.Helper()
	raw, err := s.Sign(req).Bundle(sigstack.V03)
	if err != nil {
		s.tb.Fatalf("writing a bundle: %v", err)
	}
	return raw
}

// Key is the stack's key of that name.
func (s *Stack) Key(name string, alg sigstack.Algorithm) *sigstack.Key {
	s.tb.Helper()
	k, err := s.Stack.Key(name, alg)
	if err != nil {
		s.tb.Fatalf("making key %q: %v", name, err)
	}
	return k
}

// TrustedRootJSON is the stack's trusted_root.json.
func (s *Stack) TrustedRootJSON() []byte {
	s.tb.Helper()
	raw, err := s.Stack.TrustedRootJSON()
	if err != nil {
		s.tb.Fatalf("writing a trusted root: %v", err)
	}
	return raw
}
