package interop

import (
	"bytes"
	"crypto"
	"encoding/json"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/test/interop/cosigntest"
)

// What cosign writes for a key-signed image has the shape that the test kit
// writes, so that tests of the one speak for the other.
func TestCosignWritesWhatTheTestKitWrites(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]registrytest.Options{
		"referrers api": {},
		"fallback tag":  {NoReferrers: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cosign := cosigntest.New(t)
			registry := registrytest.New(t, opts)
			for _, s := range CosignSigns(t, cosign, registry) {
				t.Run(s.Name, func(t *testing.T) {
					theirs := evidenceManifest(t, registry.For(t), s, opts.NoReferrers)
					ours := testKitManifest(t, s)
					if len(theirs.Layers) != 1 || theirs.Layers[0].MediaType != ours.Layers[0].MediaType {
						t.Fatalf("layers %+v, ours %+v", theirs.Layers, ours.Layers)
					}
					if theirs.ArtifactType != ours.ArtifactType || theirs.Config.MediaType != ours.Config.MediaType {
						t.Errorf("artifact type %q and configuration %q, ours %q and %q",
							theirs.ArtifactType, theirs.Config.MediaType, ours.ArtifactType, ours.Config.MediaType)
					}
					sameKeys(t, "manifest annotations", theirs.Annotations, ours.Annotations)
					sameKeys(t, "layer annotations", theirs.Layers[0].Annotations, ours.Layers[0].Annotations)
					verifyPayload(t, s, fetch(t, registry, "/v2/"+s.Repo+"/blobs/"+theirs.Layers[0].Digest), theirs.Layers[0])
				})
			}
		})
	}
}

func sameKeys(t *testing.T, what string, theirs, ours map[string]string) {
	t.Helper()
	for k := range theirs {
		if _, ok := ours[k]; !ok {
			t.Errorf("%s: cosign writes %q, the test kit does not", what, k)
		}
	}
	for k := range ours {
		if _, ok := theirs[k]; !ok {
			t.Errorf("%s: the test kit writes %q, cosign does not", what, k)
		}
	}
}

// testKitManifest is what the test kit would have written instead.
func testKitManifest(t *testing.T, s Signed) ocitest.Manifest {
	t.Helper()
	key, err := sigstack.NewKey(sigstack.ECDSAP256SHA256)
	if err != nil {
		t.Fatal(err)
	}
	stack, err := sigstack.New(sigstack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	req := sigstack.SignRequest{Key: key, Legacy: s.Old, Annotations: s.Annotations}
	if s.Attest == "" {
		req.Image = s.Image.Digest()
	} else {
		req.Statement = &sigstack.Statement{Subjects: []sigstack.Subject{sigstack.SubjectOf("", s.Image.Digest())}, PredicateType: s.Attest}
	}
	ev, err := stack.Sign(req)
	if err != nil {
		t.Fatal(err)
	}
	var a *ocitest.Artifact
	if s.Old {
		l, err := ev.Layer()
		if err != nil {
			t.Fatal(err)
		}
		a = ocitest.Cosign(l)
	} else if a, err = ocitest.Evidence(s.Image.Subject(), ev, sigstack.V03); err != nil {
		t.Fatal(err)
	}
	return parse(t, a.Raw)
}

// evidenceManifest finds the one manifest that cosign wrote.
func evidenceManifest(t *testing.T, r *registrytest.Server, s Signed, fallback bool) ocitest.Manifest {
	t.Helper()
	base := "/v2/" + s.Repo
	digest := s.Image.Digest()
	switch {
	case s.Old && s.Attest != "":
		return parse(t, fetch(t, r, base+"/manifests/"+ocitest.Tag(digest, ".att")))
	case s.Old:
		return parse(t, fetch(t, r, base+"/manifests/"+ocitest.Tag(digest, ".sig")))
	}
	list := base + "/referrers/" + digest
	if fallback {
		list = base + "/manifests/" + ocitest.Tag(digest, "")
	}
	index := parse(t, fetch(t, r, list))
	if len(index.Manifests) != 1 {
		t.Fatalf("%d referrers", len(index.Manifests))
	}
	return parse(t, fetch(t, r, base+"/manifests/"+index.Manifests[0].Digest))
}

// verifyPayload checks the signature over what cosign wrote with sigstore's
// library and the public key alone.
func verifyPayload(t *testing.T, s Signed, content []byte, layer ocitest.Descriptor) {
	t.Helper()
	pub, err := cryptoutils.UnmarshalPEMToPublicKey(s.Key.PublicPEM)
	if err != nil {
		t.Fatal(err)
	}
	v, err := signature.LoadVerifier(pub, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	var sig, message []byte
	switch {
	case s.Old && s.Attest == "":
		sig, message = base64Bytes(t, layer.Annotations[sigstack.AnnotationSignature]), content
	default:
		var env struct {
			Payload     []byte
			PayloadType string
			Signatures  []struct{ Sig []byte }
		}
		if !s.Old {
			var b bundle.Bundle
			if err := b.UnmarshalJSON(content); err != nil {
				t.Fatal(err)
			}
			var wrapper struct {
				DSSE json.RawMessage `json:"dsseEnvelope"`
			}
			if err := json.Unmarshal(content, &wrapper); err != nil {
				t.Fatal(err)
			}
			content = wrapper.DSSE
		}
		if err := json.Unmarshal(content, &env); err != nil {
			t.Fatal(err)
		}
		e := sigstack.Envelope{PayloadType: env.PayloadType, Payload: env.Payload}
		sig, message = env.Signatures[0].Sig, e.PAE()
	}
	if err := v.VerifySignature(bytes.NewReader(sig), bytes.NewReader(message)); err != nil {
		t.Error(err)
	}
	if !bytes.Contains(message, []byte(s.Image.Digest()[len("sha256:"):])) {
		t.Error("the signed bytes do not name the image")
	}
}
