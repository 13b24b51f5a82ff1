package sigstack

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// Proofs says what an entry brings along to show that it was logged.
type Proofs int

// What a log hands out. Rekor v2 has no signed entry timestamps; it gives an
// inclusion proof for all but ProofNone.
const (
	ProofBoth      Proofs = iota // signed entry timestamp and inclusion proof
	ProofSET                     // signed entry timestamp only (bundle v0.1, cosign's old format)
	ProofInclusion               // inclusion proof only: nobody signs the integrated time
	ProofNone                    // neither
)

// Log is a Rekor: version 1 signs entry timestamps, version 2 only checkpoints.
type Log struct {
	Version int
	Host    string
	TreeID  int64 // Rekor v1: the shard, part of the checkpoint's origin
	Offset  int64 // Rekor v1: entries of earlier shards; a log index is Offset + index in the tree

	key  *Key
	mu   sync.Mutex
	tree merkleTree
}

// URL is the log's base URL, as in a trusted root. Rekor v2 verifiers take the
// checkpoint's origin from its host name.
func (l *Log) URL() string { return "https://" + l.Host }

// Key is the log's key.
func (l *Log) Key() *Key { return l.key }

// ID is the log's identifier as entries and trusted roots have it.
func (l *Log) ID() []byte {
	id := l.noteKeyID()
	return id[:]
}

// Origin is the first line of the log's checkpoints.
func (l *Log) Origin() string {
	if l.Version == 1 {
		return l.Host + " - " + strconv.FormatInt(l.TreeID, 10)
	}
	return l.Host
}

// Size is the number of entries.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(l.tree.size())
}

// Entry is a transparency log entry with whatever shows that it was logged.
type Entry struct {
	Kind, Version  string
	LogID          []byte
	LogIndex       int64
	IntegratedTime int64 // Unix seconds; 0: absent, as in Rekor v2
	SET            []byte
	Proof          *InclusionProof
	Body           []byte // canonicalized body
}

// InclusionProof is an audit path and the checkpoint that it leads to.
type InclusionProof struct {
	LogIndex   int64
	TreeSize   int64
	RootHash   []byte
	Hashes     [][]byte
	Checkpoint string
}

// Clone copies an entry and everything in it.
func (e *Entry) Clone() *Entry {
	c := *e
	c.LogID = append([]byte(nil), e.LogID...)
	c.SET = append([]byte(nil), e.SET...)
	c.Body = append([]byte(nil), e.Body...)
	if e.Proof != nil {
		p := *e.Proof
		p.RootHash = append([]byte(nil), e.Proof.RootHash...)
		p.Hashes = nil
		for _, h := range e.Proof.Hashes {
			p.Hashes = append(p.Hashes, append([]byte(nil), h...))
		}
		c.Proof = &p
	}
	return &c
}

// Append logs a body. The proof is about the tree as it is right after.
func (l *Log) Append(body Body, at time.Time, proofs Proofs) (*Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	index := l.tree.append(body.JSON)
	e := &Entry{Kind: body.Kind, Version: body.Version, LogID: l.ID(), LogIndex: int64(index) + l.Offset, Body: body.JSON}
	if l.Version == 1 {
		e.IntegratedTime = at.Unix()
	}
	var err error
	if l.Version == 1 && (proofs == ProofBoth || proofs == ProofSET) {
		if e.SET, err = l.SignEntry(e); err != nil {
			return nil, err
		}
	}
	if proofs == ProofBoth || proofs == ProofInclusion || (l.Version == 2 && proofs == ProofSET) {
		if e.Proof, err = l.proof(index); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// SignEntry makes a signed entry timestamp over whatever the entry says, true or
// not: the ECDSA signature over the canonical JSON of these four members.
func (l *Log) SignEntry(e *Entry) ([]byte, error) {
	payload, err := json.Marshal(struct {
		Body           []byte `json:"body"`
		IntegratedTime int64  `json:"integratedTime"`
		LogID          string `json:"logID"`
		LogIndex       int64  `json:"logIndex"`
	}{e.Body, e.IntegratedTime, hex.EncodeToString(e.LogID), e.LogIndex})
	if err != nil {
		return nil, fmt.Errorf("encoding entry: %w", err)
	}
	set, err := l.key.SignMessage(payload)
	if err != nil {
		return nil, fmt.Errorf("signing entry: %w", err)
	}
	return set, nil
}

// Prove gives a new proof for an entry of this log, about the tree of now.
func (l *Log) Prove(e *Entry) (*InclusionProof, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	index := e.LogIndex - l.Offset
	if index < 0 || index >= int64(l.tree.size()) {
		return nil, fmt.Errorf("proving entry %d: the log has %d", index, l.tree.size())
	}
	return l.proof(int(index))
}

func (l *Log) proof(index int) (*InclusionProof, error) {
	size := l.tree.size()
	p := &InclusionProof{
		LogIndex: int64(index),
		TreeSize: int64(size),
		RootHash: l.tree.root(size),
		Hashes:   l.tree.path(index, size),
	}
	var err error
	p.Checkpoint, err = l.Checkpoint(Checkpoint{Origin: l.Origin(), Size: p.TreeSize, Root: p.RootHash})
	return p, err
}
