package mcp

import (
	"github.com/signet-policy/signet/client"
)

// Codes of violations and errors.
const (
	// CodeViolation is a verdict that does not allow.
	CodeViolation = "IMAGE_SIGNING"
	// CodeUnavailable says that it could not be found out.
	CodeUnavailable = "IMAGE_SIGNING_UNAVAILABLE"
	// CodeImageMissing says that a hook about an image names none.
	CodeImageMissing = "IMAGE_MISSING"
	// CodeInvalid says that a call cannot be read.
	CodeInvalid = "IMAGE_SIGNING_INVALID"
	// CodeNotConfigured says that the operator has to say something first.
	CodeNotConfigured = "IMAGE_SIGNING_NOT_CONFIGURED"
	// CodeUnknownPlugin says that we are not known by that name.
	CodeUnknownPlugin = "PLUGIN_UNKNOWN"
)

// Numbers that callers of the gateway see.
const (
	statusForbidden = 403
	errorViolation  = -32602
	errorPlugin     = -32603
)

// Reply is what a hook is answered with: Result or Error. The gateway reads the
// absence of both as a failure.
type Reply struct {
	PluginName string       `json:"plugin_name"`
	Result     *Result      `json:"result,omitempty"`
	Error      *PluginError `json:"error,omitempty"`
}

// Result lets the gateway go on, or not.
type Result struct {
	Continue  bool       `json:"continue_processing"`
	Violation *Violation `json:"violation,omitempty"`
	Metadata  metadata   `json:"metadata"`
}

// Violation is why the gateway must not go on. Reason, Description and Code are
// needed there; without a status the gateway would answer 200.
type Violation struct {
	Reason         string  `json:"reason"`
	Description    string  `json:"description"`
	Code           string  `json:"code"`
	Details        details `json:"details"`
	HTTPStatusCode int     `json:"http_status_code"`
	MCPErrorCode   int     `json:"mcp_error_code"`
}

// PluginError says that nothing was decided; the gateway's on_error decides then.
type PluginError struct {
	Message      string   `json:"message"`
	PluginName   string   `json:"plugin_name"`
	Code         string   `json:"code"`
	Details      *details `json:"details,omitempty"`
	MCPErrorCode int      `json:"mcp_error_code"`
}

type metadata struct {
	ImageSigning *signing `json:"image_signing,omitempty"`
}

// signing is what a result says of the verdict.
type signing struct {
	VerificationID string          `json:"verification_id,omitempty"`
	Verdict        client.Decision `json:"verdict,omitempty"`
	// WouldRefuse is set in mode permissive.
	WouldRefuse   bool     `json:"would_refuse,omitempty"`
	Message       string   `json:"message,omitempty"`
	Reasons       []string `json:"reasons,omitempty"`
	Warnings      []string `json:"warnings,omitempty"`
	Pinned        string   `json:"pinned,omitempty"`
	Signer        string   `json:"signer,omitempty"`
	RekorVerified *bool    `json:"rekor_verified,omitempty"`
	SLSALevel     int      `json:"slsa_level,omitempty"`
	Link          string   `json:"link,omitempty"`
	// Skipped is why nothing was decided.
	Skipped string `json:"skipped,omitempty"`
}

// details stand beside a violation, and are shown to the gateway's caller.
type details struct {
	ImageRef       string          `json:"image_ref,omitempty"`
	ImageDigest    string          `json:"image_digest,omitempty"`
	Verdict        client.Decision `json:"verdict"`
	Reasons        []string        `json:"reasons"`
	Messages       []string        `json:"messages,omitempty"`
	Remediation    string          `json:"remediation,omitempty"`
	VerificationID string          `json:"verification_id,omitempty"`
	Link           string          `json:"link,omitempty"`
	RetryAfter     int             `json:"retry_after,omitempty"`
}

func trouble(plugin, code, message string, d *details) Reply {
	return Reply{PluginName: plugin, Error: &PluginError{Message: message, PluginName: plugin, Code: code, Details: d, MCPErrorCode: errorPlugin}}
}

func skipped(plugin, why string) Reply {
	return Reply{PluginName: plugin, Result: &Result{Continue: true, Metadata: metadata{&signing{Skipped: why}}}}
}

// passes says whether a verdict lets an image run. One that contradicts itself
// does not.
func passes(v *client.Verdict) bool {
	switch v.Decision {
	case client.Allow, client.Deny, client.Unknown:
		return v.Allowed
	}
	return false
}

// answer puts an outcome into the words of the gateway.
func (s *Server) answer(p Plugin, o outcome) Reply {
	v := o.verdict
	switch {
	case o.mistake != "":
		return trouble(p.Name, o.mistake, o.trouble, nil)
	case v == nil && p.Mode == Permissive:
		return Reply{PluginName: p.Name, Result: &Result{Continue: true, Metadata: metadata{&signing{Verdict: client.Unknown, WouldRefuse: true, Message: o.trouble}}}}
	case v == nil:
		return trouble(p.Name, CodeUnavailable, o.trouble, nil)
	case passes(v):
		return Reply{PluginName: p.Name, Result: &Result{Continue: true, Metadata: metadata{s.summary(v)}}}
	case p.Mode == Permissive:
		sum := s.summary(v)
		sum.WouldRefuse, sum.Message = true, firstMessage(v)
		return Reply{PluginName: p.Name, Result: &Result{Continue: true, Metadata: metadata{sum}}}
	case v.Decision == client.Deny:
		return Reply{PluginName: p.Name, Result: &Result{
			Violation: &Violation{
				Reason: "Image signature verification failed", Description: firstMessage(v), Code: CodeViolation,
				Details: *s.details(v), HTTPStatusCode: statusForbidden, MCPErrorCode: errorViolation,
			},
			Metadata: metadata{s.summary(v)},
		}}
	}
	return trouble(p.Name, CodeUnavailable, firstMessage(v), s.details(v))
}

// firstMessage is the first reason's, word for word.
func firstMessage(v *client.Verdict) string {
	if len(v.Reasons) > 0 && v.Reasons[0].Message != "" {
		return v.Reasons[0].Message
	}
	return "The image is not allowed to run."
}

// link is the page of a verdict. What was not kept has none.
func (s *Server) link(v *client.Verdict) string {
	if s.cfg.ExternalURL == "" || v.ID == "" {
		return ""
	}
	for _, r := range v.Reasons {
		switch r.Code {
		case "still_verifying", "store_unavailable", "internal_error": // see package engine
			return ""
		}
	}
	return s.cfg.ExternalURL + "/admin/security/signing/results/" + v.ID
}

func (s *Server) summary(v *client.Verdict) *signing {
	out := &signing{VerificationID: v.ID, Verdict: v.Decision, Reasons: codes(v.Reasons), Warnings: codes(v.Warnings), SLSALevel: v.SLSA.Level}
	if v.Decision == client.Allow {
		out.Pinned, out.Signer = v.Pinned, v.Signature.Signer
		out.RekorVerified = &v.TransparencyLog.Verified
		return out
	}
	out.Link = s.link(v)
	return out
}

func (s *Server) details(v *client.Verdict) *details {
	d := &details{
		ImageRef: v.Image, ImageDigest: v.Digest, Verdict: v.Decision, Reasons: codes(v.Reasons),
		VerificationID: v.ID, Link: s.link(v), RetryAfter: v.RetryAfter,
	}
	if d.Reasons == nil {
		d.Reasons = []string{}
	}
	for _, r := range v.Reasons {
		d.Messages = append(d.Messages, r.Message)
	}
	if len(v.Reasons) > 0 {
		d.Remediation = v.Reasons[0].Remediation
	}
	return d
}

func codes(reasons []client.Reason) []string {
	var list []string
	for _, r := range reasons {
		list = append(list, r.Code)
	}
	return list
}
