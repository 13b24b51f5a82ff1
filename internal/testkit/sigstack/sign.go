package sigstack

import (
	"crypto/x509"
	"fmt"
	"time"
)

// LogSpec asks for a log entry. The zero value asks for none.
type LogSpec struct {
	Log    int // 0: none, 1: Rekor v1, 2: Rekor v2
	Proofs Proofs
	// Kind and Version of the entry. Default in Rekor v1: dsse 0.0.1 for an
	// envelope, hashedrekord 0.0.1 for a message signature; in Rekor v2:
	// hashedrekord 0.0.2 for both.
	Kind, Version string
	At            time.Time // integrated time; default: the signing time
	NoPayloadHash bool      // intoto 0.0.1 as it was before it had one
}

// RekorV1 asks for a Rekor v1 entry with signed entry timestamp and proof.
func RekorV1() LogSpec { return LogSpec{Log: 1} }

// RekorV1SET asks for a Rekor v1 entry with a signed entry timestamp only.
func RekorV1SET() LogSpec { return LogSpec{Log: 1, Proofs: ProofSET} }

// RekorV2 asks for a Rekor v2 entry.
func RekorV2() LogSpec { return LogSpec{Log: 2} }

// As is the same request for another entry kind, such as "intoto", "0.0.2".
func (l LogSpec) As(kind, version string) LogSpec {
	l.Kind, l.Version = kind, version
	return l
}

// SignRequest says what to sign, who signs, and what proofs come along.
type SignRequest struct {
	// What: exactly one of Image, Statement, Payload, Artifact.
	//
	// Image is an image digest, "sha256:<hex>", to sign as cosign does: a
	// sign/v1 statement, or with Legacy a simplesigning payload.
	Image string
	// Statement is an in-toto statement.
	Statement *Statement
	// Payload are the exact bytes of a DSSE payload of type PayloadType
	// (default application/vnd.in-toto+json).
	Payload     []byte
	PayloadType string
	// Artifact is signed as such, in a message signature.
	Artifact []byte

	// Annotations of an image signature.
	Annotations map[string]string
	// Reference is the docker-reference of a simplesigning payload.
	Reference string
	// Legacy asks for cosign's old format; write it with [Evidence.Layer].
	Legacy bool

	// Who: an identity, a key, or both (that key in a certificate). An identity
	// alone gets a fresh P-256 key.
	Identity *Identity
	Key      *Key
	Cert     CertSpec

	// At is the signing time; default the stack's.
	At time.Time
	// Log asks for an entry; more with [Stack.AddEntry].
	Log LogSpec
	// Timestamps asks the first so many of the stack's authorities for a token.
	Timestamps int
}

// Sign makes evidence.
func (s *Stack) Sign(req SignRequest) (*Evidence, error) {
	if req.At.IsZero() {
		req.At = s.At
	}
	ev := &Evidence{Image: req.Image}
	if err := s.signer(ev, req); err != nil {
		return nil, fmt.Errorf("choosing the signer: %w", err)
	}
	if err := s.content(ev, req); err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	if req.Log.Log != 0 {
		if req.Log.At.IsZero() {
			req.Log.At = req.At
		}
		if req.Legacy && req.Log.Proofs == ProofBoth {
			req.Log.Proofs = ProofSET
		}
		if err := s.AddEntry(ev, req.Log); err != nil {
			return nil, err
		}
	}
	for i := range req.Timestamps {
		if err := s.AddTimestamp(ev, TimestampSpec{TSA: i, At: req.At, Envelope: req.Legacy && ev.Envelope != nil}); err != nil {
			return nil, err
		}
	}
	return ev, nil
}

func (s *Stack) signer(ev *Evidence, req SignRequest) error {
	ev.Key = req.Key
	if ev.Key == nil {
		if req.Identity == nil {
			return fmt.Errorf("neither Identity nor Key is set")
		}
		key, err := deriveKey(s.seed, s.next("leaf"), ECDSAP256SHA256)
		if err != nil {
			return err
		}
		ev.Key = key
	}
	ev.Hint = ev.Key.Hint()
	if req.Identity == nil {
		return nil
	}
	leaf, chain, err := s.Issue(req.Identity, ev.Key, req.At, req.Cert)
	if err != nil {
		return err
	}
	ev.Certificate = leaf.Raw
	ev.Chain = rawCertificates(chain)
	return nil
}

func rawCertificates(chain []*x509.Certificate) [][]byte {
	var out [][]byte
	for _, c := range chain {
		out = append(out, c.Raw)
	}
	return out
}

func (s *Stack) content(ev *Evidence, req SignRequest) error {
	set := 0
	for _, is := range []bool{req.Image != "", req.Statement != nil, req.Payload != nil, req.Artifact != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return fmt.Errorf("exactly one of Image, Statement, Payload and Artifact must be set, not %d", set)
	}
	var err error
	payload := req.Payload
	switch {
	case req.Image != "" && req.Legacy:
		reference := req.Reference
		if reference == "" {
			reference = defaultReference
		}
		if payload, err = SimpleSigning(req.Image, reference, req.Annotations); err != nil {
			return err
		}
		return ev.SignMessage(payload)
	case req.Artifact != nil:
		return ev.SignMessage(req.Artifact)
	case req.Image != "":
		ev.PredicateType = PredicateCosignSign
		payload, err = CosignStatement(req.Image, req.Annotations)
	case req.Statement != nil:
		ev.PredicateType = req.Statement.PredicateType
		if len(req.Statement.Subjects) > 0 {
			ev.Image = digestPrefix + req.Statement.Subjects[0].Digest["sha256"]
		}
		payload, err = req.Statement.JSON()
	}
	if err != nil {
		return err
	}
	if req.PayloadType == "" {
		req.PayloadType = PayloadInToto
	}
	return ev.SignEnvelope(req.PayloadType, payload)
}

// SignMessage makes the evidence a message signature over these bytes.
func (e *Evidence) SignMessage(message []byte) error {
	sig, err := e.Key.SignMessage(message)
	if err != nil {
		return err
	}
	e.Payload, e.Envelope = message, nil
	e.Message = &Message{Algorithm: e.Key.Algorithm.scheme().hashName, Digest: e.Key.Digest(message), Signature: sig}
	return nil
}

// SignEnvelope makes the evidence a DSSE envelope over this payload, with one
// signature.
func (e *Evidence) SignEnvelope(payloadType string, payload []byte) error {
	env := &Envelope{PayloadType: payloadType, Payload: payload}
	sig, err := e.Key.SignMessage(env.PAE())
	if err != nil {
		return err
	}
	env.Signatures = []Signature{{Sig: sig}}
	e.Envelope, e.Message, e.Payload = env, nil, nil
	return nil
}

// AddEntry logs the evidence and adds the entry to it.
func (s *Stack) AddEntry(ev *Evidence, spec LogSpec) error {
	e, err := s.LogEntry(ev, spec)
	if err != nil {
		return err
	}
	ev.Entries = append(ev.Entries, e)
	return nil
}

// LogEntry logs the evidence and returns the entry.
func (s *Stack) LogEntry(ev *Evidence, spec LogSpec) (*Entry, error) {
	log := s.Rekor1
	if spec.Log == 2 {
		log = s.Rekor2
	}
	if spec.Kind == "" {
		switch {
		case log.Version == 2:
			spec.Kind, spec.Version = KindHashedRekord, "0.0.2"
		case ev.Envelope != nil:
			spec.Kind, spec.Version = KindDSSE, "0.0.1"
		default:
			spec.Kind, spec.Version = KindHashedRekord, "0.0.1"
		}
	}
	if spec.At.IsZero() {
		spec.At = s.At
	}
	body, err := ev.LogBody(spec.Kind, spec.Version, spec.NoPayloadHash)
	if err != nil {
		return nil, err
	}
	return log.Append(body, spec.At, spec.Proofs)
}

// TimestampSpec asks for an RFC 3161 token.
type TimestampSpec struct {
	TSA int       // which of the stack's authorities, from 0
	At  time.Time // default: the stack's
	// Envelope stamps the JSON of the DSSE envelope and not its signature, as
	// cosign does in its old attestation format.
	Envelope bool
	// Over replaces what is stamped.
	Over []byte
	// Certificates to embed in the token; see [TokenSpec].
	Certificates []*x509.Certificate
}

// AddTimestamp adds a token to the evidence.
func (s *Stack) AddTimestamp(ev *Evidence, spec TimestampSpec) error {
	if spec.TSA < 0 || spec.TSA >= len(s.TSAs) {
		return fmt.Errorf("timestamping: the stack has %d authorities, not %d", len(s.TSAs), spec.TSA+1)
	}
	if spec.At.IsZero() {
		spec.At = s.At
	}
	if spec.Over == nil {
		spec.Over = ev.signature()
		if spec.Envelope {
			spec.Over = ev.Envelope.JSON()
		}
	}
	token, err := s.TSAs[spec.TSA].Token(spec.Over, TokenSpec{At: spec.At, Certificates: spec.Certificates})
	if err != nil {
		return err
	}
	ev.Timestamps = append(ev.Timestamps, token)
	return nil
}
