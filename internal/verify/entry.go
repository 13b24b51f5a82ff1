package verify

import (
	"bytes"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/rekor/pkg/util"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	merkle "github.com/transparency-dev/merkle/proof"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// logEntry is one transparency-log entry of an item. Entries of logs that no root
// knows are never verified; at most their key is tried.
type logEntry struct {
	pb *rekorpb.TransparencyLogEntry

	// The rest is set by parse. entry is nil for intoto 0.0.1, which sigstore-go
	// does not read.
	parsed        bool
	err           *rejection
	entry         *tlog.Entry
	kind, version string
	intoto        *intotoBody
}

// logID is the key id of the log that the entry says it is from.
func (e *logEntry) logID() []byte { return e.pb.GetLogId().GetKeyId() }

// entryKinds are the kinds of entries that can be verified.
var entryKinds = []string{"hashedrekord 0.0.1", "hashedrekord 0.0.2", "dsse 0.0.1", kindIntoto + " " + intoto001, kindIntoto + " " + intoto002}

// bodyHead is the part of an entry's body that every kind has. The kind that
// stands outside the body is signed by nobody.
type bodyHead struct {
	Kind    string `json:"kind"`
	Version string `json:"apiVersion"`
}

// parse reads the entry's body, once.
func (e *logEntry) parse(depth int) *rejection {
	if !e.parsed {
		e.parsed = true
		e.err = e.parseNow(depth)
	}
	return e.err
}

func (e *logEntry) parseNow(depth int) *rejection {
	var head bodyHead
	body := e.pb.GetCanonicalizedBody()
	if err := strictjson.DecodeKnown(body, depth, &head); err != nil {
		return reject(facts.CodeLogEntryInvalid, "the log entry's body cannot be read: %s", cause(err))
	}
	e.kind, e.version = head.Kind, head.Version
	if !slices.Contains(entryKinds, e.kind+" "+e.version) {
		return reject(facts.CodeUnsupported, "log entries of kind %s are not supported", short(e.kind+" "+e.version))
	}
	if e.kind == kindIntoto {
		var rej *rejection
		if e.intoto, rej = readIntoto(body, e.version, depth); rej != nil {
			return rej
		}
		if e.verifiedByUs() {
			return nil
		}
	}
	entry, err := tlog.ParseTransparencyLogEntry(e.pb)
	if err != nil {
		return reject(facts.CodeLogEntryInvalid, "the log entry (%s %s) cannot be read: %s", short(e.kind), short(e.version), cause(err))
	}
	if entry.HasInclusionProof() && entry.IsRekorV2() == e.hasV1Checkpoint() {
		// sigstore-go tells the version by the body in one place and by the
		// checkpoint in another, and proves another index for each: of a body in
		// the other version's tree nothing would be certain.
		return reject(facts.CodeLogEntryInvalid, "the log entry and its checkpoint are of different versions of Rekor")
	}
	e.entry = entry
	return nil
}

// verifiedByUs says whether sigstore-go refuses the entry's kind, so that
// intoto.go does the work.
func (e *logEntry) verifiedByUs() bool { return e.kind == kindIntoto && e.version == intoto001 }

// publicKey gives the key or certificate that the entry was made with, in DER;
// nil where there is none. It is for choosing what to try, never for belief.
func (e *logEntry) publicKey() any {
	switch {
	case e.verifiedByUs() && e.intoto != nil:
		return parseVerifier(e.intoto.key)
	case e.entry != nil:
		return e.entry.PublicKey()
	}
	return nil
}

// hasSET says whether the log promised the entry with a signed entry timestamp.
func (e *logEntry) hasSET() bool {
	return len(e.pb.GetInclusionPromise().GetSignedEntryTimestamp()) > 0
}

func (e *logEntry) hasProof() bool { return e.pb.GetInclusionProof() != nil }

// checkpointV1 is how a Rekor v1 checkpoint begins: "host - tree id".
var checkpointV1 = regexp.MustCompile(`^.* - [0-9]+$`)

func (e *logEntry) hasV1Checkpoint() bool {
	return checkpointV1.MatchString(firstLine(e.pb.GetInclusionProof().GetCheckpoint().GetEnvelope()))
}

func firstLine(s string) string {
	first, _, _ := strings.Cut(s, "\n")
	return first
}

// fact describes an entry that was verified with log, alone. The time is signed
// by the SET only; the index by the SET, else proved by the inclusion proof.
func (e *logEntry) fact(log *root.TransparencyLog) (facts.LogEntry, *rejection) {
	f := facts.LogEntry{Log: log.BaseURL, LogID: hex.EncodeToString(log.ID), Index: e.pb.GetLogIndex(), Proof: facts.ProofPromise}
	rekorV2 := e.entry != nil && e.entry.IsRekorV2() // sigstore-go proves LogIndex in the checkpoint's tree
	if e.hasProof() {
		f.Proof = facts.ProofInclusion
		if !rekorV2 {
			if rej := e.sameTree(); rej != nil {
				return f, rej
			}
		}
	}
	switch {
	case e.hasSET():
		at := time.Unix(e.pb.GetIntegratedTime(), 0).UTC()
		f.IntegratedAt = &at
	case !rekorV2:
		// In Rekor v1 the proof's index is the one in the shard.
		f.Index = e.pb.GetInclusionProof().GetLogIndex()
	}
	return f, nil
}

// sameTree refuses a Rekor v1 proof about a tree of another size than the
// checkpoint's. sigstore-go takes the size from the proof, and with another size
// the same path leads from another index to the same root. The checkpoint's
// origin is not compared: Rekor v1 calls itself by a name of its own, which need
// not be the host in the trust root, and its key says which log it is.
func (e *logEntry) sameTree() *rejection {
	proof := e.pb.GetInclusionProof()
	var checkpoint util.SignedCheckpoint
	if err := checkpoint.UnmarshalText([]byte(proof.GetCheckpoint().GetEnvelope())); err != nil {
		return reject(facts.CodeLogEntryInvalid, "the log entry's checkpoint cannot be read: %s", cause(err))
	}
	if !isSize(proof.GetTreeSize(), checkpoint.Size) {
		return reject(facts.CodeLogEntryInvalid, "the inclusion proof is about a tree of %d entries, the log's checkpoint about one of %d", proof.GetTreeSize(), checkpoint.Size)
	}
	return nil
}

func isSize(n int64, size uint64) bool { return n >= 0 && uint64(n) == size }

// within says whether t lies in the period in which the log's key is trusted.
func within(log *root.TransparencyLog, t time.Time) bool {
	return !t.Before(log.ValidityPeriodStart) && (log.ValidityPeriodEnd.IsZero() || !t.After(log.ValidityPeriodEnd))
}

// entryAlone verifies one entry on a view of the item that has no other.
func (a *attempt) entryAlone(e *logEntry) *rejection {
	if rej := e.parse(a.limits.JSONDepth); rej != nil {
		return rej.at(stepEntries)
	}
	if e.verifiedByUs() {
		return a.intotoAlone(e)
	}
	if a.item.payload.large != nil {
		return a.largeEntryAlone(e)
	}
	view := &entity{content: a.item.content, signer: a.signer, entries: []*tlog.Entry{e.entry}}
	if _, err := verify.VerifyTlogEntry(view, a.material, 1, true); err != nil {
		return reject(facts.CodeLogEntryInvalid, "the log entry at %s does not verify: %s", a.root.Log(e.logID()).BaseURL, proofCause(err)).at(stepEntries)
	}
	return nil
}

// proofCause says in words what sigstore-go says in lists of bytes.
func proofCause(err error) string {
	var mismatch merkle.RootMismatchError
	if errors.As(err, &mismatch) {
		return "the inclusion proof does not lead from this evidence to the log's checkpoint"
	}
	return cause(err)
}

// entryFacts describes the entries, which have all been verified, and checks
// what sigstore-go does not.
func (a *attempt) entryFacts(p *proof) *rejection {
	for _, e := range a.entries {
		if rej := a.boundToEnvelope(e); rej != nil {
			return rej.at(stepEntries)
		}
		log := a.root.Log(e.logID())
		f, rej := e.fact(log)
		if rej != nil {
			return rej.at(stepEntries)
		}
		if f.IntegratedAt != nil {
			p.seen(*f.IntegratedAt)
		}
		p.Transparency = append(p.Transparency, f)
	}
	return nil
}

// entryTimes refuses an entry without a time of its own if what was verified
// happened outside the period of the log's key. (A SET outside of it does not
// verify in the first place.)
func (a *attempt) entryTimes(p *proof) *rejection {
	if p.SignedAt == nil {
		return nil
	}
	for _, e := range a.entries {
		log := a.root.Log(e.logID())
		inForce := func(t time.Time) bool { return within(log, t) }
		if !e.hasSET() && !slices.ContainsFunc(p.times(), inForce) {
			return reject(facts.CodeLogEntryInvalid, "signed at %s, when the key of the log %s was not in force", p.SignedAt.Format(time.RFC3339), log.BaseURL).at(stepEntries)
		}
	}
	return nil
}

// duplicateEntry says whether two entries claim one place in one log.
func duplicateEntry(entries []*logEntry) bool {
	for i, e := range entries {
		for _, other := range entries[:i] {
			if bytes.Equal(e.logID(), other.logID()) && e.pb.GetLogIndex() == other.pb.GetLogIndex() {
				return true
			}
		}
	}
	return false
}

// onePEM gives the DER of the one PEM block in b.
func onePEM(b []byte) ([]byte, error) {
	block, rest := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("no PEM block")
	}
	if len(bytes.TrimSpace(rest)) != 0 {
		return nil, fmt.Errorf("more than one PEM block")
	}
	return block.Bytes, nil
}
