package sigstack

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
)

// The entry kinds of Rekor.
const (
	KindHashedRekord = "hashedrekord"
	KindDSSE         = "dsse"
	KindInToto       = "intoto"
)

// Body is the canonicalized body of a log entry.
type Body struct {
	Kind, Version string
	JSON          []byte
}

// canonical encodes maps, strings and numbers: encoding/json sorts keys, and
// nothing here needs an escape, so this is RFC 8785 already.
func canonical(kind, version string, spec any) (Body, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(map[string]any{"apiVersion": version, "kind": kind, "spec": spec}); err != nil {
		return Body{}, fmt.Errorf("encoding %s %s: %w", kind, version, err)
	}
	return Body{kind, version, bytes.TrimSuffix(b.Bytes(), []byte("\n"))}, nil
}

type object = map[string]any

// LogBody makes the body that logs this evidence as the given kind and version.
// noPayloadHash leaves the payload hash out of an intoto 0.0.1 body, as early
// entries have it.
func (e *Evidence) LogBody(kind, version string, noPayloadHash bool) (Body, error) {
	switch kind + "/" + version {
	case "hashedrekord/0.0.1":
		digest, name := e.signedDigest()
		return canonical(kind, version, object{
			"data":      object{"hash": object{"algorithm": name, "value": hex.EncodeToString(digest)}},
			"signature": object{"content": e.signature(), "publicKey": object{"content": e.verifierPEM()}},
		})
	case "hashedrekord/0.0.2":
		digest, _ := e.signedDigest()
		hashName, _ := e.rekorV2Algorithm()
		return canonical(kind, version, object{"hashedRekordV002": object{
			"data":      object{"algorithm": hashName, "digest": digest},
			"signature": e.rekorV2Signature(),
		}})
	}
	if e.Envelope == nil {
		return Body{}, fmt.Errorf("logging as %s %s: the evidence has no DSSE envelope", kind, version)
	}
	envelope := sha256Object(e.Envelope.JSON())
	payload := sha256Object(e.Envelope.Payload)
	switch kind + "/" + version {
	case "dsse/0.0.1":
		return canonical(kind, version, object{
			"envelopeHash": envelope,
			"payloadHash":  payload,
			"signatures":   []object{{"signature": base64.StdEncoding.EncodeToString(e.signature()), "verifier": e.verifierPEM()}},
		})
	case "dsse/0.0.2":
		return canonical(kind, version, object{"dsseV002": object{
			"payloadHash": object{"algorithm": "SHA2_256", "digest": sum(crypto.SHA256, e.Envelope.Payload)},
			"signatures":  []object{e.rekorV2Signature()},
		}})
	case "intoto/0.0.1":
		content := object{"hash": envelope}
		if !noPayloadHash {
			content["payloadHash"] = payload
		}
		return canonical(kind, version, object{"content": content, "publicKey": e.verifierPEM()})
	case "intoto/0.0.2":
		// The signature is base64 of the envelope's base64.
		sig := []byte(base64.StdEncoding.EncodeToString(e.signature()))
		return canonical(kind, version, object{"content": object{
			"envelope": object{
				"payloadType": e.Envelope.PayloadType,
				"signatures":  []object{{"publicKey": e.verifierPEM(), "sig": sig}},
			},
			"hash":        envelope,
			"payloadHash": payload,
		}})
	default:
		return Body{}, fmt.Errorf("logging as %s %s: no such entry kind", kind, version)
	}
}

func sha256Object(b []byte) object {
	return object{"algorithm": "sha256", "value": hex.EncodeToString(sum(crypto.SHA256, b))}
}

// signature is the raw signature, of the envelope's first signer.
func (e *Evidence) signature() []byte {
	if e.Envelope != nil {
		if len(e.Envelope.Signatures) == 0 {
			return nil
		}
		return e.Envelope.Signatures[0].Sig
	}
	return e.Message.Signature
}

// signedDigest is the hash of the signed bytes with the key's hash, and its name
// in Rekor v1. A DSSE signature is over the pre-authentication encoding.
func (e *Evidence) signedDigest() (digest []byte, name string) {
	hashName, h := e.rekorV2Algorithm()
	message := e.Payload
	if e.Envelope != nil {
		message = e.Envelope.PAE()
	}
	names := map[string]string{"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}
	return sum(h, message), names[hashName]
}

// rekorV2Algorithm is the hash that a log uses for the signer's key. A hashedrekord
// needs a prehashing algorithm, so Ed25519 keys count as Ed25519ph.
func (e *Evidence) rekorV2Algorithm() (name string, hash crypto.Hash) {
	alg := e.Key.Algorithm
	if alg == Ed25519 && e.Envelope != nil {
		alg = Ed25519ph
	}
	s := alg.scheme()
	if s.hash == 0 {
		return s.hashName, crypto.SHA256
	}
	return s.hashName, s.hash
}

func (e *Evidence) rekorV2Signature() object {
	details := e.Key.Algorithm.scheme().details
	if e.Key.Algorithm == Ed25519 {
		details = Ed25519ph.scheme().details
	}
	verifier := object{"keyDetails": details}
	if e.Certificate != nil {
		verifier["x509Certificate"] = object{"rawBytes": e.Certificate}
	} else {
		verifier["publicKey"] = object{"rawBytes": e.Key.SPKI()}
	}
	return object{"content": e.signature(), "verifier": verifier}
}

// verifierPEM is the certificate or public key as Rekor v1 stores it.
func (e *Evidence) verifierPEM() []byte {
	if e.Certificate != nil {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.Certificate})
	}
	return e.Key.PublicPEM()
}
