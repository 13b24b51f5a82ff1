package verify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/rekor/pkg/util"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore/pkg/signature"
	merkle "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// Rekor v1 logged attestations as "intoto" before there was "dsse". Version
// 0.0.1 has the hash of the envelope and the signer's key; 0.0.2 has the
// signature, too. sigstore-go verifies 0.0.2 field by field and refuses 0.0.1,
// which most older attestations have.
const (
	kindIntoto = "intoto"
	intoto001  = "0.0.1"
	intoto002  = "0.0.2"
)

// intotoBody is what an intoto entry says about the evidence.
type intotoBody struct {
	envelopeHash string // hex SHA-256 over the envelope as it was uploaded
	payloadHash  string // hex SHA-256 over the payload; "" in the oldest entries
	key          []byte // PEM certificate or public key; nil in 0.0.2
	payloadType  string // "" in 0.0.1
}

// hashValue is a hash in a Rekor v1 body.
type hashValue struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"value"`
}

// sha256Hex gives the value if it is a SHA-256, "" for a nil hash.
func (h *hashValue) sha256Hex() (string, error) {
	if h == nil {
		return "", nil
	}
	raw, err := hex.DecodeString(h.Value)
	if h.Algorithm != "sha256" || err != nil || len(raw) != sha256.Size {
		return "", fmt.Errorf("%s %s is not a SHA-256", short(h.Algorithm), short(h.Value))
	}
	return hex.EncodeToString(raw), nil
}

// readIntoto decodes the canonical body of an intoto entry
// (https://github.com/sigstore/rekor/tree/main/pkg/types/intoto).
func readIntoto(body []byte, version string, depth int) (*intotoBody, *rejection) {
	var (
		b    *intotoBody
		err  error
		want = "version 0.0.1 or 0.0.2"
	)
	switch version {
	case intoto001:
		b, err = readIntoto001(body, depth)
	case intoto002:
		b, err = readIntoto002(body, depth)
	default:
		err = fmt.Errorf("version %s, not %s", short(version), want)
	}
	if err != nil {
		return nil, reject(facts.CodeLogEntryInvalid, "the intoto log entry cannot be read: %s", cause(err))
	}
	return b, nil
}

func readIntoto001(body []byte, depth int) (*intotoBody, error) {
	var doc struct {
		bodyHead
		Spec struct {
			Content struct {
				Hash        *hashValue `json:"hash"`
				PayloadHash *hashValue `json:"payloadHash"`
			} `json:"content"`
			PublicKey []byte `json:"publicKey"`
		} `json:"spec"`
	}
	// No unknown field: an entry that carries its envelope was not canonicalized
	// by a log.
	if err := strictjson.Decode(body, depth, &doc); err != nil {
		return nil, err
	}
	return newIntotoBody(doc.Spec.Content.Hash, doc.Spec.Content.PayloadHash, doc.Spec.PublicKey, "")
}

func readIntoto002(body []byte, depth int) (*intotoBody, error) {
	var doc struct {
		bodyHead
		Spec struct {
			Content struct {
				Envelope struct {
					PayloadType string `json:"payloadType"`
					Signatures  []struct {
						KeyID     string `json:"keyid"`
						PublicKey []byte `json:"publicKey"`
						// Sig is base64 of the envelope's base64; sigstore-go
						// compares it.
						Sig []byte `json:"sig"`
					} `json:"signatures"`
				} `json:"envelope"`
				Hash        *hashValue `json:"hash"`
				PayloadHash *hashValue `json:"payloadHash"`
			} `json:"content"`
		} `json:"spec"`
	}
	if err := strictjson.Decode(body, depth, &doc); err != nil {
		return nil, err
	}
	c := doc.Spec.Content
	if len(c.Envelope.Signatures) != 1 {
		return nil, fmt.Errorf("%d signatures, not one", len(c.Envelope.Signatures))
	}
	return newIntotoBody(c.Hash, c.PayloadHash, nil, c.Envelope.PayloadType)
}

func newIntotoBody(envelope, payload *hashValue, key []byte, payloadType string) (*intotoBody, error) {
	eh, err := envelope.sha256Hex()
	if err != nil {
		return nil, fmt.Errorf("the envelope's hash: %w", err)
	}
	if eh == "" {
		return nil, fmt.Errorf("no hash of the envelope")
	}
	ph, err := payload.sha256Hex()
	if err != nil {
		return nil, fmt.Errorf("the payload's hash: %w", err)
	}
	return &intotoBody{envelopeHash: eh, payloadHash: ph, key: key, payloadType: payloadType}, nil
}

// intotoAlone verifies an intoto 0.0.1 entry: the log's signature over the
// canonical body, the envelope as it is stored, the payload, and the signer.
func (a *attempt) intotoAlone(e *logEntry) *rejection {
	wrong := func(format string, args ...any) *rejection {
		return reject(facts.CodeLogEntryInvalid, "the log entry (intoto 0.0.1) "+format, args...).at(stepEntries)
	}
	if !e.hasSET() {
		return wrong("has no signed entry timestamp")
	}
	log := a.root.Log(e.logID())
	if err := verifySET(e.pb, log); err != nil {
		return wrong("has a signed entry timestamp that does not verify: %s", cause(err))
	}
	if e.hasProof() {
		if err := verifyInclusion(e.pb, log); err != nil {
			return wrong("has an inclusion proof that does not verify: %s", proofCause(err))
		}
	}
	if !a.item.wasStoredAs(e.intoto.envelopeHash) {
		return wrong("is about another envelope")
	}
	if e.intoto.payloadHash != "" && e.intoto.payloadHash != a.item.payload.sha256() {
		return wrong("is about another payload")
	}
	if key := e.publicKey(); key == nil || !a.signer.CompareKey(key, a.material) {
		return wrong("was made with another key or certificate")
	}
	if !a.signer.ValidAtTime(time.Unix(e.pb.GetIntegratedTime(), 0), a.material) {
		return wrong("was made when the certificate was not valid")
	}
	return nil
}

// verifySET verifies Rekor v1's promise: the log's signature over the canonical
// JSON (RFC 8785) of body, time, index and log id.
func verifySET(e *rekorpb.TransparencyLogEntry, log *root.TransparencyLog) error {
	key, ok := log.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return fmt.Errorf("the log's key is of type %T, and such logs sign with ECDSA", log.PublicKey)
	}
	if at := time.Unix(e.GetIntegratedTime(), 0); !within(log, at) {
		return fmt.Errorf("the log's key was not in force at %s", at.UTC().Format(time.RFC3339))
	}
	raw, err := json.Marshal(tlog.RekorPayload{
		Body:           base64.StdEncoding.EncodeToString(e.GetCanonicalizedBody()),
		IntegratedTime: e.GetIntegratedTime(),
		LogIndex:       e.GetLogIndex(),
		LogID:          hex.EncodeToString(log.ID),
	})
	if err != nil {
		return err
	}
	promised, err := jsoncanonicalizer.Transform(raw)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(promised)
	if !ecdsa.VerifyASN1(key, sum[:], e.GetInclusionPromise().GetSignedEntryTimestamp()) {
		return fmt.Errorf("it was not signed by the log %s", log.BaseURL)
	}
	return nil
}

// verifyInclusion verifies a Rekor v1 inclusion proof: the path leads to the root
// hash of a checkpoint that the log signed, about a tree of that size.
func verifyInclusion(e *rekorpb.TransparencyLogEntry, log *root.TransparencyLog) error {
	p := e.GetInclusionProof()
	if !checkpointV1.MatchString(firstLine(p.GetCheckpoint().GetEnvelope())) {
		return fmt.Errorf("its checkpoint is not one of Rekor v1")
	}
	var checkpoint util.SignedCheckpoint
	if err := checkpoint.UnmarshalText([]byte(p.GetCheckpoint().GetEnvelope())); err != nil {
		return err
	}
	v, err := signature.LoadVerifier(log.PublicKey, log.SignatureHashFunc)
	if err != nil {
		return err
	}
	switch {
	case !checkpoint.Verify(v):
		return fmt.Errorf("its checkpoint was not signed by the log %s", log.BaseURL)
	case !bytes.Equal(checkpoint.Hash, p.GetRootHash()) || !isSize(p.GetTreeSize(), checkpoint.Size):
		return fmt.Errorf("it is about another tree than its checkpoint")
	}
	index := p.GetLogIndex()
	if index < 0 {
		return fmt.Errorf("its index is negative")
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(e.GetCanonicalizedBody())
	return merkle.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), checkpoint.Size, leaf, p.GetHashes(), checkpoint.Hash)
}

// boundToEnvelope checks what sigstore-go leaves out of an intoto 0.0.2 entry: the
// payload type, and for a stored envelope its hash. (In a bundle the envelope is
// not stored as it was uploaded.)
func (a *attempt) boundToEnvelope(e *logEntry) *rejection {
	if e.intoto == nil || e.verifiedByUs() {
		return nil
	}
	if e.intoto.payloadType != statementPayload {
		return reject(facts.CodeLogEntryInvalid, "the log entry (intoto 0.0.2) is about a payload of type %s", short(e.intoto.payloadType))
	}
	if a.item.stored != "" && !a.item.wasStoredAs(e.intoto.envelopeHash) {
		return reject(facts.CodeLogEntryInvalid, "the log entry (intoto 0.0.2) is about another envelope")
	}
	return nil
}

// wasStoredAs says whether the envelope hashes to a hex SHA-256: the bytes of a
// layer as they are, or for a bundle the JSON that the clients of the time
// uploaded.
func (p *item) wasStoredAs(hash string) bool {
	if p.stored != "" {
		return p.stored == hash
	}
	if p.statement == nil {
		return false
	}
	for _, form := range uploads(statementPayload, p.over.sig, p.keyID) {
		h := sha256.New()
		io.WriteString(h, form.before) //nolint:errcheck // a hash takes everything
		enc := base64.NewEncoder(base64.StdEncoding, h)
		if _, err := io.Copy(enc, p.payload.open()); err != nil {
			return false
		}
		enc.Close()                   //nolint:errcheck // as above
		io.WriteString(h, form.after) //nolint:errcheck // as above
		if hex.EncodeToString(h.Sum(nil)) == hash {
			return true
		}
	}
	return false
}

// upload is a JSON form of an envelope, without its payload in base64.
type upload struct{ before, after string }

// uploads are the JSON forms in which clients uploaded an envelope: members in
// Go's order or sorted, the key id always there or left out where it is empty.
func uploads(payloadType string, signature []byte, keyID string) []upload {
	quote := func(s string) string {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(s) // a string always encodes
		return strings.TrimSuffix(b.String(), "\n")
	}
	kind := `"payloadType":` + quote(payloadType)
	sig := `"sig":` + quote(base64.StdEncoding.EncodeToString(signature))
	sigs := []string{`"keyid":` + quote(keyID) + "," + sig}
	if keyID == "" {
		sigs = append(sigs, sig)
	}
	var out []upload
	for _, s := range sigs {
		last := `"signatures":[{` + s + `}]}`
		out = append(out,
			upload{"{" + kind + `,"payload":"`, `",` + last},
			upload{`{"payload":"`, `",` + kind + "," + last})
	}
	return out
}

// parseVerifier gives the certificate or public key in a PEM block, nil if it is
// neither.
func parseVerifier(pemBytes []byte) any {
	der, err := onePEM(pemBytes)
	if err != nil {
		return nil
	}
	if cert, err := x509.ParseCertificate(der); err == nil {
		return cert
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil
	}
	return key
}
