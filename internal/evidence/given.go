package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
)

// GivenWhere is the place of evidence that came with the request.
const GivenWhere = "given with the request"

// Given is a Sigstore bundle that came with the request, as an item. It belongs to
// the one of some digests that it speaks of, else to the first: which it is really
// about is for whoever verifies it.
func Given(bundle []byte, digests []string) Item {
	it := Item{Kind: KindBundle, MediaType: MediaTypeBundlePrefix + "+json", Where: GivenWhere, Bytes: bundle}
	it.ID = Identify(it.Kind, bundle, nil)
	if len(digests) > 0 {
		it.SubjectDigest = digests[0]
	}
	var b struct {
		MediaType string `json:"mediaType"`
		Envelope  struct {
			Payload []byte `json:"payload"`
		} `json:"dsseEnvelope"`
		Message struct {
			Digest struct {
				Digest []byte `json:"digest"`
			} `json:"messageDigest"`
		} `json:"messageSignature"`
	}
	if json.Unmarshal(bundle, &b) != nil {
		return it
	}
	if strings.HasPrefix(b.MediaType, MediaTypeBundlePrefix) && len(b.MediaType) < 100 {
		it.MediaType = b.MediaType
	}
	about := func(d string) {
		if slices.Contains(digests, d) {
			it.SubjectDigest = d
		}
	}
	if len(b.Message.Digest.Digest) == sha256.Size {
		about("sha256:" + hex.EncodeToString(b.Message.Digest.Digest))
		return it
	}
	var statement struct {
		Subject []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if json.Unmarshal(b.Envelope.Payload, &statement) != nil {
		return it
	}
	// The first of the digests that it names, whatever the order in which it does.
	for _, d := range slices.Backward(digests) {
		for _, s := range statement.Subject {
			if "sha256:"+s.Digest["sha256"] == d {
				about(d)
			}
		}
	}
	return it
}
