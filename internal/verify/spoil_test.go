package verify_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/verify"
)

// Threat 23: an inclusion proof is about the tree of its checkpoint, whether the
// entry has a signed time beside it or not. sigstore-go looks at the root only.
func TestProofIsAboutTheCheckpointsTreeThreat23(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	for _, proofs := range []sigstack.Proofs{sigstack.ProofBoth, sigstack.ProofInclusion} {
		ev := b.Sign(sigstack.SignRequest{Image: image, Identity: dev, Log: sigstack.LogSpec{Log: 1, Proofs: proofs}, Timestamps: 1})
		b.signature(b.bundle(ev))
		e, err := b.FlawCheckpoint(ev.Entries[0], sigstack.FlawSize)
		if err != nil {
			t.Fatal(err)
		}
		ev.Entries[0] = e
		b.rejected(facts.CodeLogEntryInvalid, b.bundle(ev))
	}
}

// Threat 38: unsigned files are not fetched, so each keeps the name under which it
// was listed; they do not stand for one another.
func TestUnsignedKeepTheirNames(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	var items []evidence.Item
	var want []string
	for _, content := range []string{"a", "b", "c"} {
		id := facts.Digest([]byte(content))
		want = append(want, id)
		items = append(items, evidence.Item{Kind: evidence.KindUnsigned, MediaType: "application/spdx+json", SubjectDigest: image, ID: id})
	}
	have := map[string]bool{}
	for _, r := range b.facts(items).Rejections() {
		have[r.ID] = true
	}
	if diff := cmp.Diff(map[string]bool{want[0]: true, want[1]: true, want[2]: true}, have); diff != "" {
		t.Errorf("rejections (-want +have):\n%s", diff)
	}
}

// An Ed25519 signature over a manifest cannot be checked by the digest alone. That
// is no reason to ask for the manifest: anybody can attach one, and a denial would
// become an unknown.
func TestImageNeverNeedsArtifact(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	manifest := []byte(`{"schemaVersion":2}`)
	key := b.Key("ed", sigstack.Ed25519)
	for _, req := range []sigstack.SignRequest{
		{Artifact: manifest, Key: key},
		{Artifact: manifest, Key: key, Identity: dev, Timestamps: 1, Log: sigstack.RekorV2()},
	} {
		item := b.bundle(b.Sign(req))
		item.SubjectDigest = facts.Digest(manifest)
		f, err := b.v.Image(t.Context(), facts.Subject{Digest: item.SubjectDigest}, []evidence.Item{item}, verify.KeyList(key.Public()))
		if err != nil {
			t.Fatal(err)
		}
		if r := f.Rejections(); len(r) != 1 || r[0].Code == facts.CodeArtifactNeeded {
			t.Errorf("signatures %+v, rejections %+v", f.Signatures(), r)
		}
	}
}
