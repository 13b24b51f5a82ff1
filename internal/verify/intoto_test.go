package verify_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

// Entries of kind intoto, which older attestations have: verified alone, and each
// part of the binding taken away in turn.

func intotoRequest(version string, legacy bool) sigstack.SignRequest {
	req := attestationOf(sigstack.PredicateSLSA02, sigstack.SignRequest{Identity: dev, Log: sigstack.RekorV1().As("intoto", version)})
	req.Legacy = legacy
	return req
}

func TestIntotoVerifies(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	key := b.Key("mine", sigstack.ECDSAP256SHA256)
	noPayload := sigstack.LogSpec{Log: 1, Kind: "intoto", Version: "0.0.1", NoPayloadHash: true}
	for _, version := range []string{"0.0.1", "0.0.2"} {
		for _, legacy := range []bool{true, false} {
			req := intotoRequest(version, legacy)
			s := b.proves(b.Sign(req), legacy)
			if len(s.Transparency) != 1 || s.SignedAt == nil || !s.SignedAt.Equal(b.At) || s.Signer.Subject != "dev@example.test" {
				t.Errorf("%s %v: %+v", version, legacy, s)
			}
			req.Identity, req.Key = nil, key
			if s := b.proves(b.Sign(req), legacy); s.Principal != key.Fingerprint() || len(s.Transparency) != 1 {
				t.Errorf("%s %v by key: %+v", version, legacy, s)
			}
			req.Timestamps = 1
			if s := b.proves(b.Sign(req), legacy); len(s.Timestamps) != 1 {
				t.Errorf("%s %v with a timestamp: %+v", version, legacy, s)
			}
		}
	}
	req := intotoRequest("0.0.1", true)
	req.Log = noPayload
	b.proves(b.Sign(req), true)
	// The same evidence by a P-384 key that signs as old clients did.
	req.Key = b.Key("384", sigstack.ECDSAP384SHA256)
	b.proves(b.Sign(req), true)
}

// resign puts another body under the log's true signature.
func (b *bench) resign(e *sigstack.Entry, change func(spec map[string]any)) *sigstack.Entry {
	b.t.Helper()
	var doc map[string]any
	b.must(json.Unmarshal(e.Body, &doc))
	change(doc["spec"].(map[string]any))
	raw, err := json.Marshal(doc)
	b.must(err)
	again, err := b.Rekor1.Append(sigstack.Body{Kind: e.Kind, Version: e.Version, JSON: raw}, b.At, sigstack.ProofBoth)
	b.must(err)
	return again
}

func member(path ...string) func(map[string]any) map[string]any {
	return func(m map[string]any) map[string]any {
		for _, p := range path {
			m = m[p].(map[string]any)
		}
		return m
	}
}

func TestIntotoBinding(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	const zeros = "0000000000000000000000000000000000000000000000000000000000000000"
	set := func(value any, last string, path ...string) func(map[string]any) {
		return func(m map[string]any) { member(path...)(m)[last] = value }
	}
	other := b.Sign(keylessV1())
	otherPEM := func(m map[string]any) {
		body, err := other.LogBody("intoto", "0.0.1", false)
		b.must(err)
		var doc map[string]any
		b.must(json.Unmarshal(body.JSON, &doc))
		m["publicKey"] = doc["spec"].(map[string]any)["publicKey"]
	}
	for name, tt := range map[string]struct {
		version string
		layer   bool // only a stored envelope has this binding
		change  func(map[string]any)
	}{
		"another envelope":               {"0.0.1", false, set(zeros, "value", "content", "hash")},
		"another payload":                {"0.0.1", false, set(zeros, "value", "content", "payloadHash")},
		"another certificate":            {"0.0.1", false, otherPEM},
		"no certificate":                 {"0.0.1", false, set("", "publicKey")},
		"not PEM":                        {"0.0.1", false, set("AAAA", "publicKey")},
		"another hash algorithm":         {"0.0.1", false, set("sha1", "algorithm", "content", "hash")},
		"no envelope hash":               {"0.0.1", false, func(m map[string]any) { delete(member("content")(m), "hash") }},
		"an envelope that was not taken": {"0.0.1", false, set("{}", "envelope", "content")},
		"another stored envelope":        {"0.0.2", true, set(zeros, "value", "content", "hash")},
		"another signed payload":         {"0.0.2", false, set(zeros, "value", "content", "payloadHash")},
		"another payload type":           {"0.0.2", false, set("text/plain", "payloadType", "content", "envelope")},
		"no signature":                   {"0.0.2", false, set([]any{}, "signatures", "content", "envelope")},
	} {
		t.Run(name, func(t *testing.T) {
			for _, legacy := range []bool{true, false} {
				if tt.layer && !legacy {
					continue
				}
				b := &bench{Stack: b.Stack, t: t, v: b.v}
				ev := b.Sign(intotoRequest(tt.version, legacy))
				ev.Entries[0] = b.resign(ev.Entries[0], tt.change)
				r := b.rejected(facts.CodeLogEntryInvalid, b.item(ev, legacy))
				t.Log(r.Message)
			}
		})
	}
}

// The log's part of an intoto 0.0.1 entry, which is verified here and not by
// sigstore-go.
func TestIntotoLog(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	fresh := func() *sigstack.Evidence { return b.Sign(intotoRequest("0.0.1", false)) }
	for name, change := range map[string]func(*sigstack.Entry) *sigstack.Entry{
		"another time":    func(e *sigstack.Entry) *sigstack.Entry { return e.At(b.At.Add(time.Minute)) },
		"another index":   func(e *sigstack.Entry) *sigstack.Entry { e.LogIndex++; return e },
		"no SET":          func(e *sigstack.Entry) *sigstack.Entry { return e.WithoutSET(b.At) },
		"corrupt proof":   func(e *sigstack.Entry) *sigstack.Entry { return e.CorruptProof() },
		"negative index":  func(e *sigstack.Entry) *sigstack.Entry { e.Proof.LogIndex = -1; return e },
		"forged treesize": func(e *sigstack.Entry) *sigstack.Entry { e.Proof.TreeSize++; return e },
	} {
		ev := fresh()
		ev.Entries[0] = change(ev.Entries[0])
		b.rejected(facts.CodeLogEntryInvalid, b.bundle(ev))
		t.Log(name)
	}
	for _, flaw := range sigstack.Flaws() {
		ev := fresh()
		e, err := b.FlawCheckpoint(ev.Entries[0], flaw)
		b.must(err)
		ev.Entries[0] = e
		f := b.facts([]evidence.Item{b.bundle(ev)})
		if flaw == sigstack.FlawOrigin {
			continue // Rekor v1's origin is a shard of the same key
		}
		oneRejection(t, facts.CodeLogEntryInvalid, f)
	}
	// Logged after the certificate had ended, or before the log's key was in force.
	ev := fresh()
	ev.Entries = nil
	b.must(b.AddEntry(ev, sigstack.LogSpec{Log: 1, Kind: "intoto", Version: "0.0.1", At: b.At.Add(time.Hour)}))
	b.rejected(facts.CodeLogEntryInvalid, b.bundle(ev))
	late := b.editedRoot("late", nil, func(tr *sigstack.TrustedRoot) {
		for i := range tr.Rekor {
			tr.Rekor[i].PublicKey.ValidFor.Start = b.At.Add(time.Hour)
		}
	})
	oneRejection(t, facts.CodeLogEntryInvalid, imageFacts(t, newVerifier(t, late), []evidence.Item{b.bundle(fresh())}))
	// What stands beside the entry is verified as ever.
	noSCT := intotoRequest("0.0.1", false)
	noSCT.Cert.SCT = sigstack.SCTNone
	b.rejected(facts.CodeSCTMissing, b.bundle(b.Sign(noSCT)))
	stranger := newBench(t, sigstack.Options{Name: "stranger"})
	both := b.editedRoot("both", nil, func(tr *sigstack.TrustedRoot) { tr.Authorities = stranger.TrustedRoot().Authorities })
	r := oneRejection(t, facts.CodeCertificateUntrusted, imageFacts(t, newVerifier(t, both), []evidence.Item{b.bundle(fresh())}))
	t.Log(r.Message)
	ev = fresh()
	sig := ev.Envelope.Signatures[0].Sig
	sig[len(sig)-1] ^= 1
	ev.Entries = nil
	b.must(b.AddEntry(ev, sigstack.RekorV1().As("intoto", "0.0.1")))
	b.rejected(facts.CodeSignatureInvalid, b.bundle(ev))
}
