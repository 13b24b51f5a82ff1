package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/verdict"
)

// Attester gives the verifier's own word about verdicts, see package attest.
type Attester interface {
	// Attest says the same of the same verdict, whenever it is asked.
	Attest(ctx context.Context, v *verdict.Verdict) *verdict.Attestation
	VerifierID() string
	// PublicKey is PEM, Fingerprint the hex SHA-256 of it, and Hash the name of the
	// hash that signatures are over, "" for Ed25519.
	PublicKey() string
	Fingerprint() string
	Hash() string
	// Pushes says whether attestations are put beside their images.
	Pushes() bool
}

// Media types of an attestation.
const (
	mediaSigstore = "application/vnd.dev.sigstore.bundle.v0.3+json"
	mediaDSSE     = "application/vnd.dsse.envelope.v1+json"
)

// Forms in which an attestation is given.
const (
	formatBundle = "bundle"
	formatDSSE   = "dsse"
)

func noAttester(field string) *problem {
	return &problem{code: codeNoAttester, field: field, detail: "This installation has no key to attest verdicts with. An administrator writes attest, with verifier_id and a key, into the configuration."}
}

// getAttester tells who attests here, and the key that others verify it with.
func (s *Server) getAttester(context.Context, *call) (reply, error) {
	a := s.cfg.Attester
	if a == nil {
		return reply{}, noAttester("")
	}
	return jsonOf(http.StatusOK, client.Attester{
		VerifierID: a.VerifierID(), PublicKey: a.PublicKey(), Key: a.Fingerprint(), Hash: a.Hash(), Push: a.Pushes(),
	}, nil)
}

// getAttestation signs what a verdict of the past says. It is nothing that was kept:
// the same verdict says the same again.
func (s *Server) getAttestation(ctx context.Context, c *call) (reply, error) {
	id := c.echo.Param("id")
	if !isID(id) {
		return reply{}, verdictNotFound(id)
	}
	format := c.echo.QueryParam("format")
	switch format {
	case "":
		format = formatBundle
	case formatBundle, formatDSSE:
	default:
		return reply{}, &problem{code: codeInvalidField, field: "query.format", detail: "The format " + shown(format) + " is not known. Send " + oneOf([]string{formatBundle, formatDSSE}) + "."}
	}
	if s.cfg.Attester == nil {
		return reply{}, noAttester("")
	}
	body, err := s.stored(ctx, c, id)
	if err != nil {
		return reply{}, err
	}
	var v verdict.Verdict
	if err := json.Unmarshal(body, &v); err != nil {
		return reply{}, fmt.Errorf("reading verdict %s: %w", id, err)
	}
	at := s.cfg.Attester.Attest(ctx, &v)
	if len(at.Bundle) == 0 {
		p := &problem{code: codeNotAttested, detail: "The verdict " + id + " is not attested."}
		if at.Reason != nil {
			p.detail = strings.TrimSuffix(at.Reason.Message, ".") + ". " + at.Reason.Remediation
		}
		return reply{}, p
	}
	if format == formatBundle {
		return reply{status: http.StatusOK, contentType: mediaSigstore, body: at.Bundle}, nil
	}
	var bundle struct {
		Envelope json.RawMessage `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(at.Bundle, &bundle); err != nil || len(bundle.Envelope) == 0 {
		return reply{}, fmt.Errorf("the attestation of verdict %s holds no envelope: %w", id, err)
	}
	return reply{status: http.StatusOK, contentType: mediaDSSE, body: bundle.Envelope}, nil
}
