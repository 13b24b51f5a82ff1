package sigstack

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// Options choose a Stack. The zero value is a stack with random keys, valid from
// 2024 to 2044, that signs on 2 June 2025 at 10:00 UTC.
type Options struct {
	// Name is the organisation in the certificates and part of the logs' host
	// names: rekor1.<Name>.test. Default "sigstack".
	Name string
	// Seed fixes the keys and, with one goroutine, everything else; equal seeds
	// and names make equal stacks.
	Seed string
	// From and Until bound all CA certificates and the trusted root's periods.
	From, Until time.Time
	// At is the signing time of requests that name none.
	At time.Time
	// Fulcio is the algorithm of the CA keys: ECDSAP256SHA256 (default) or
	// ECDSAP384SHA384.
	Fulcio Algorithm
	// Rekor2 is the algorithm of Rekor v2's checkpoint key: Ed25519 unless
	// Rekor2ECDSA is set.
	Rekor2ECDSA bool
	// TSAs is the number of timestamp authorities; default 1.
	TSAs int
	// IntermediateUntil and TSAUntil end the Fulcio intermediate and the TSA
	// leaves earlier than Until.
	IntermediateUntil, TSAUntil time.Time
}

// Stack is one Sigstore instance. It may be used by several goroutines.
type Stack struct {
	Name        string
	At          time.Time
	Fulcio      *CA
	CT          *CTLog
	TSAs        []*TSA
	Rekor1      *Log
	Rekor2      *Log
	From, Until time.Time

	foreignCT *CTLog
	seed      []byte
	mu        sync.Mutex
	count     int
	keys      map[string]*Key
	stranger  *Stack // see forge.go
}

// New makes a stack.
func New(opts Options) (*Stack, error) {
	if opts.Name == "" {
		opts.Name = "sigstack"
	}
	if opts.From.IsZero() {
		opts.From = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if opts.Until.IsZero() {
		opts.Until = time.Date(2044, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if opts.At.IsZero() {
		opts.At = time.Date(2025, 6, 2, 10, 0, 0, 0, time.UTC)
	}
	if opts.TSAs == 0 {
		opts.TSAs = 1
	}
	seed := []byte(opts.Seed)
	if opts.Seed == "" {
		seed = make([]byte, 32)
		if _, err := rand.Read(seed); err != nil {
			return nil, fmt.Errorf("reading randomness: %w", err)
		}
	}
	s := &Stack{Name: opts.Name, At: opts.At, From: opts.From, Until: opts.Until, seed: seed, keys: map[string]*Key{}}
	for _, build := range []func(Options) error{s.buildFulcio, s.buildLogs, s.buildTSAs} {
		if err := build(opts); err != nil {
			return nil, fmt.Errorf("making stack %q: %w", s.Name, err)
		}
	}
	return s, nil
}

func (s *Stack) buildFulcio(opts Options) error {
	root, err := s.newCA("fulcio-root", opts.Fulcio, window{s.From, s.Until}, nil)
	if err != nil {
		return err
	}
	until := s.Until
	if !opts.IntermediateUntil.IsZero() {
		until = opts.IntermediateUntil
	}
	s.Fulcio, err = s.newCA("fulcio-intermediate", opts.Fulcio, window{s.From, until}, root, x509.ExtKeyUsageCodeSigning)
	return err
}

func (s *Stack) buildLogs(opts Options) error {
	key := func(label string, alg Algorithm) (*Key, error) { return deriveKey(s.seed, s.Name+"/"+label, alg) }
	ct, err := key("ct", ECDSAP256SHA256)
	if err != nil {
		return err
	}
	foreign, err := key("foreign-ct", ECDSAP256SHA256)
	if err != nil {
		return err
	}
	s.CT, s.foreignCT = &CTLog{ct}, &CTLog{foreign}
	r1, err := key("rekor1", ECDSAP256SHA256)
	if err != nil {
		return err
	}
	alg := Ed25519
	if opts.Rekor2ECDSA {
		alg = ECDSAP256SHA256
	}
	r2, err := key("rekor2", alg)
	if err != nil {
		return err
	}
	s.Rekor1 = &Log{Version: 1, Host: "rekor1." + s.Name + ".test", TreeID: 1193050959916656506, Offset: 4163431, key: r1}
	s.Rekor2 = &Log{Version: 2, Host: "rekor2." + s.Name + ".test", key: r2}
	return nil
}

func (s *Stack) buildTSAs(opts Options) error {
	for i := range opts.TSAs {
		n := strconv.Itoa(i + 1)
		root, err := s.newCA("tsa-root-"+n, ECDSAP256SHA256, window{s.From, s.Until}, nil)
		if err != nil {
			return err
		}
		ca, err := s.newCA("tsa-intermediate-"+n, ECDSAP256SHA256, window{s.From, s.Until}, root, x509.ExtKeyUsageTimeStamping)
		if err != nil {
			return err
		}
		key, err := deriveKey(s.seed, s.Name+"/tsa-"+n, ECDSAP256SHA256)
		if err != nil {
			return err
		}
		until := s.Until
		if !opts.TSAUntil.IsZero() {
			until = opts.TSAUntil
		}
		leaf, err := s.newTSACertificate("tsa-"+n, key, window{s.From, until}, ca)
		if err != nil {
			return err
		}
		s.TSAs = append(s.TSAs, &TSA{URL: "https://tsa" + n + "." + s.Name + ".test/api/v1/timestamp", Leaf: leaf, CA: ca, key: key})
	}
	return nil
}

// next is a label that is used once, in the order of calls.
func (s *Stack) next(what string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	return fmt.Sprintf("%x/%s/%s/%d", s.seed, s.Name, what, s.count)
}

// Key is the stack's key of that name, made when first asked for.
func (s *Stack) Key(name string, alg Algorithm) (*Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := alg.String() + "/" + name
	if k, ok := s.keys[id]; ok {
		return k, nil
	}
	k, err := deriveKey(s.seed, s.Name+"/signer/"+id, alg)
	if err != nil {
		return nil, err
	}
	s.keys[id] = k
	return k, nil
}
