package sigstack

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"
)

// What is here makes evidence that a verifier must not believe. Each forgery is
// as good as an attacker could make it: everything else about it is in order.

// ForeignEntry logs the evidence in a log that no trust root knows, at any time
// one likes, and returns the entry: a verifier may ignore it, and must not take
// its time or index for a fact.
func (s *Stack) ForeignEntry(ev *Evidence, spec LogSpec) (*Entry, error) {
	foreign, err := s.foreign()
	if err != nil {
		return nil, err
	}
	return foreign.LogEntry(ev, spec)
}

// ForeignTimestamp adds the token of an authority that no trust root knows.
func (s *Stack) ForeignTimestamp(ev *Evidence, spec TimestampSpec) error {
	foreign, err := s.foreign()
	if err != nil {
		return err
	}
	return foreign.AddTimestamp(ev, spec)
}

// foreign is another instance with the same names and other keys.
func (s *Stack) foreign() (*Stack, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stranger == nil {
		stranger, err := New(Options{Name: s.Name, Seed: "stranger to " + string(s.seed), From: s.From, Until: s.Until, At: s.At})
		if err != nil {
			return nil, err
		}
		s.stranger = stranger
	}
	return s.stranger, nil
}

// WithoutSET is a copy of an entry with its inclusion proof only and another
// integrated time: the proof holds, and nobody signed that time.
func (e *Entry) WithoutSET(at time.Time) *Entry {
	c := e.Clone()
	c.SET = nil
	c.IntegratedTime = at.Unix()
	return c
}

// At is a copy of an entry with another integrated time under the old signature.
func (e *Entry) At(at time.Time) *Entry {
	c := e.Clone()
	c.IntegratedTime = at.Unix()
	return c
}

// CorruptProof is a copy of an entry whose audit path does not lead to the
// checkpoint's root.
func (e *Entry) CorruptProof() *Entry {
	c := e.Clone()
	if c.Proof == nil {
		return c
	}
	if len(c.Proof.Hashes) == 0 {
		c.Proof.Hashes = [][]byte{make([]byte, sha256.Size)}
		return c
	}
	c.Proof.Hashes[0][0] ^= 1
	return c
}

// Flaw is something wrong with a checkpoint.
type Flaw int

// The flaws. All but FlawUnsigned, FlawEmpty and FlawKey are signed by the log.
const (
	FlawRoot     Flaw = iota // the root of another tree
	FlawSize                 // a size that the path does not fit
	FlawOrigin               // another log's origin
	FlawNoOrigin             // the first line is missing
	FlawNoRoot               // the third line is missing
	FlawKey                  // signed by a stranger under the log's name
	FlawUnsigned             // no signature line
	FlawEmpty                // no text at all
)

// Flaws lists every [Flaw].
func Flaws() []Flaw {
	return []Flaw{FlawRoot, FlawSize, FlawOrigin, FlawNoOrigin, FlawNoRoot, FlawKey, FlawUnsigned, FlawEmpty}
}

// String is a short name that is fit for a subtest.
func (f Flaw) String() string {
	names := []string{"other root", "other size", "other origin", "no origin", "no root", "stranger's key", "unsigned", "empty"}
	if f < 0 || int(f) >= len(names) {
		return fmt.Sprintf("Flaw(%d)", int(f))
	}
	return names[f]
}

// FlawCheckpoint is a copy of an entry of the stack's logs with a checkpoint
// that has one flaw.
func (s *Stack) FlawCheckpoint(e *Entry, flaw Flaw) (*Entry, error) {
	if e.Proof == nil {
		return nil, fmt.Errorf("flawing a checkpoint: the entry has no inclusion proof")
	}
	log := s.Rekor1
	if bytes.Equal(e.LogID, s.Rekor2.ID()) {
		log = s.Rekor2
	}
	c := e.Clone()
	right := Checkpoint{Origin: log.Origin(), Size: c.Proof.TreeSize, Root: c.Proof.RootHash}
	var err error
	switch flaw {
	case FlawRoot:
		right.Root = leafHash([]byte("another tree"))
		c.Proof.RootHash = right.Root
		c.Proof.Checkpoint, err = log.Checkpoint(right)
	case FlawSize:
		right.Size += 1 << 20
		c.Proof.Checkpoint, err = log.Checkpoint(right)
	case FlawOrigin:
		right.Origin = strings.Replace(right.Origin, "rekor", "other", 1)
		c.Proof.Checkpoint, err = log.Checkpoint(right)
	case FlawNoOrigin:
		c.Proof.Checkpoint, err = log.sign(strings.TrimPrefix(right.text(), right.Origin+"\n"))
	case FlawNoRoot:
		c.Proof.Checkpoint, err = log.sign(strings.Join(strings.SplitAfter(right.text(), "\n")[:2], ""))
	case FlawKey:
		var stranger *Stack
		if stranger, err = s.foreign(); err == nil {
			other := stranger.Rekor1
			if log.Version == 2 {
				other = stranger.Rekor2
			}
			// The key hash is the real log's: only the signature gives it away.
			c.Proof.Checkpoint, err = other.signAs(right.text(), log.noteKeyID())
		}
	case FlawUnsigned:
		c.Proof.Checkpoint = right.text() + "\n"
	case FlawEmpty:
		c.Proof.Checkpoint = ""
	}
	return c, err
}

// AddSignature signs the envelope once more, with another key.
func (e *Evidence) AddSignature(key *Key) error {
	sig, err := key.SignMessage(e.Envelope.PAE())
	if err != nil {
		return err
	}
	e.Envelope.Signatures = append(e.Envelope.Signatures, Signature{Sig: sig})
	return nil
}

// WithMember writes one more member into a JSON object, in front or at the end,
// whether or not there is one of that name: "PredicateType" beside
// "predicateType", or "predicateType" twice.
func WithMember(object []byte, front bool, name string, value any) ([]byte, error) {
	n, err := marshal(name)
	if err != nil {
		return nil, err
	}
	v, err := marshal(value)
	if err != nil {
		return nil, err
	}
	object = bytes.TrimSpace(object)
	if len(object) < 2 || object[0] != '{' || object[len(object)-1] != '}' {
		return nil, fmt.Errorf("adding member %s: not a JSON object", n)
	}
	member := string(n) + ":" + string(v)
	inner := string(bytes.TrimSpace(object[1 : len(object)-1]))
	switch {
	case inner == "":
		return []byte("{" + member + "}"), nil
	case front:
		return []byte("{" + member + "," + inner + "}"), nil
	default:
		return []byte("{" + inner + "," + member + "}"), nil
	}
}
