package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/strictjson"
	"github.com/signet-policy/signet/internal/verdict"
)

// The paths below /image-signing are those of the gateway's own plugin, in its shape,
// for pipelines that were written for it. They are other names for the real ones.
const imageSigning = v1 + "/image-signing"

const (
	imageSigningExample       = `{"image_ref": "ghcr.io/org/app:v1", "image_digest": "sha256:…", "assessment_id": "…"}`
	imageSigningSignerExample = `{"name": "ci", "signer_type": "keyless", "oidc_issuer": "https://accounts.google.com", "subject": "builder@example.com"}`
)

func (s *Server) imageSigningRoutes() []*route {
	list := []*route{
		{method: http.MethodPost, path: imageSigning + "/verify", need: auth.Verify, body: true, verdict: true, serve: withJSON(imageSigningExample, nil, s.postImageSigning)},
		{method: http.MethodGet, path: imageSigning + "/verifications", need: auth.Read, query: []string{"image_ref", "assessment_id", "limit", "offset"}, serve: s.listImageSigning},
	}
	if s.cfg.Administration == nil {
		return list
	}
	patch := []string{mediaMerge, mediaJSON}
	return append(list, []*route{
		{method: http.MethodGet, path: imageSigning + "/signers", need: auth.Read, query: []string{"limit", "offset"}, serve: s.by(s.listPluginSigners)},
		{method: http.MethodPost, path: imageSigning + "/signers", need: auth.Administer, body: true, serve: byJSONOver(s, newPluginSigner{Enabled: true}, imageSigningSignerExample, s.createPluginSigner)},
		{method: http.MethodGet, path: imageSigning + "/signers/:id", need: auth.Read, serve: s.by(s.getPluginSigner)},
		{method: http.MethodPatch, path: imageSigning + "/signers/:id", need: auth.Administer, body: true, media: patch, serve: s.by(s.patchPluginSigner)},
		{method: http.MethodDelete, path: imageSigning + "/signers/:id", need: auth.Administer, serve: s.by(s.deletePluginSigner)},
	}...)
}

// imageSigningRequest is the body of POST /api/v1/image-signing/verify.
type imageSigningRequest struct {
	ImageRef string `json:"image_ref"`
	// ImageDigest is the digest that image_ref should be asked at.
	ImageDigest  string            `json:"image_digest"`
	AssessmentID string            `json:"assessment_id"`
	Platform     string            `json:"platform"`
	Context      map[string]string `json:"context"`
	Labels       map[string]string `json:"labels"`
	Refresh      bool              `json:"refresh"`
}

// question is the request in Signet's words.
func (req *imageSigningRequest) question() (*verdictRequest, error) {
	if req.ImageRef == "" {
		return nil, &problem{code: codeMissingField, field: "image_ref", detail: `The field "image_ref" is missing. Name the image to decide on, for example ghcr.io/org/app:v1.`}
	}
	if req.ImageDigest != "" && !pep.IsDigest(req.ImageDigest) {
		return nil, invalidFields([]fieldProblem{{"image_digest", "It is " + shown(req.ImageDigest) + "; it should be sha256: and 64 characters of lower-case hexadecimal."}})
	}
	image, m := pep.At(req.ImageRef, req.ImageDigest, "image_ref", "image_digest")
	if m != nil {
		return nil, m
	}
	return &verdictRequest{Image: image, Platform: req.Platform, Context: req.Context, Refresh: req.Refresh, AssessmentID: req.AssessmentID, Labels: req.Labels}, nil
}

// imageSigningVerdict is a verdict as the plugin has it; more than it knew stands
// behind.
type imageSigningVerdict struct {
	ImageRef       string           `json:"image_ref"`
	ImageDigest    string           `json:"image_digest"`
	SignatureFound bool             `json:"signature_found"`
	SignatureValid bool             `json:"signature_valid"`
	SignerIdentity *string          `json:"signer_identity"`
	SignerIssuer   *string          `json:"signer_issuer"`
	SignedAt       *time.Time       `json:"signed_at"`
	RekorVerified  bool             `json:"rekor_verified"`
	SLSA           imageSigningSLSA `json:"slsa"`
	// Blocked is what a pipeline acts on.
	Blocked bool    `json:"blocked"`
	Reason  *string `json:"reason"`

	VerificationID string           `json:"verification_id"`
	Decision       verdict.Decision `json:"decision"`
	Reasons        []verdict.Reason `json:"reasons"`
	Pinned         string           `json:"pinned"`
	RetryAfter     int              `json:"retry_after,omitempty"`
	Link           string           `json:"link,omitempty"`
}

type imageSigningSLSA struct {
	// AttestationFound: provenance that counts proves a level, or a builder.
	AttestationFound bool    `json:"attestation_found"`
	Level            int     `json:"level"`
	Builder          *string `json:"builder"`
}

// postImageSigning answers with a verdict.
func (s *Server) postImageSigning(ctx context.Context, c *call, req *imageSigningRequest) (reply, error) {
	asked, err := req.question()
	if err != nil {
		return reply{}, err
	}
	out, decision, kept, err := s.asPreferred(ctx, c, s.question(c, asked), true, func(ctx context.Context) (reply, verdict.Decision, error) {
		return s.decide(ctx, c, asked)
	})
	if kept {
		return out, pluginFields(err)
	}
	if err != nil {
		return reply{}, pluginFields(err)
	}
	c.image, c.decision, c.cache = asked.Image, decision, out.cache
	var v struct {
		verdict.Verdict
		Link string `json:"link"`
	}
	if err := json.Unmarshal(out.body, &v); err != nil {
		return reply{}, fmt.Errorf("reading a verdict: %w", err)
	}
	body := imageSigningVerdict{
		ImageRef: req.ImageRef, ImageDigest: v.Digest, SignatureFound: v.Signature.Found, SignatureValid: v.Signature.Valid,
		SignerIdentity: orNull(v.Signature.Signer), SignerIssuer: orNull(v.Signature.Issuer), SignedAt: v.Signature.SignedAt, RekorVerified: v.TransparencyLog.Verified,
		SLSA:    imageSigningSLSA{AttestationFound: v.SLSA.Level > 0 || v.SLSA.Builder != nil, Level: v.SLSA.Level, Builder: v.SLSA.Builder},
		Blocked: !v.Allowed, VerificationID: v.ID, Decision: v.Decision, Reasons: v.Reasons, Pinned: v.Pinned, RetryAfter: v.RetryAfter, Link: v.Link,
	}
	if len(v.Reasons) > 0 {
		body.Reason = &v.Reasons[0].Message
	}
	if out.body, err = encode(body); err != nil {
		return reply{}, fmt.Errorf("encoding a verdict: %w", err)
	}
	return out, nil
}

// pluginFields calls a mistake's field as this request does.
func pluginFields(err error) error {
	var m *pep.Mistake
	if errors.As(err, &m) && m.Field == "image" {
		as := *m
		as.Field = "image_ref"
		return &as
	}
	return err
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// imageSigningVerification is a row of the plugin's signature_verifications.
type imageSigningVerification struct {
	ID                string     `json:"id"`
	AssessmentID      *string    `json:"assessment_id"`
	ImageRef          string     `json:"image_ref"`
	ImageDigest       string     `json:"image_digest"`
	SignatureFound    bool       `json:"signature_found"`
	SignatureValid    bool       `json:"signature_valid"`
	SignerIdentity    *string    `json:"signer_identity"`
	SignerIssuer      *string    `json:"signer_issuer"`
	SignedAt          *time.Time `json:"signed_at"`
	SLSALevel         int        `json:"slsa_level"`
	SLSABuilder       *string    `json:"slsa_builder"`
	Blocked           bool       `json:"blocked"`
	Reason            *string    `json:"reason"`
	VerificationError *string    `json:"verification_error"`
	CreatedAt         time.Time  `json:"created_at"`
	Decision          string     `json:"decision"`
}

// Bounds of the plugin's pages, which count from the beginning.
const (
	mostPluginPage = 200
	mostOffset     = 10_000
)

// listImageSigning gives verdicts, newest first.
func (s *Server) listImageSigning(ctx context.Context, c *call) (reply, error) {
	q := paramsOf(c)
	f := VerdictFilter{Image: q.text("image_ref", longestImage), AssessmentID: q.text("assessment_id", longestAssessment)}
	limit, offset := int(q.whole("limit", 1, mostPluginPage, defaultLimit)), int(q.whole("offset", 0, mostOffset, 0))
	if err := q.problem(); err != nil {
		return reply{}, err
	}
	rows, err := offsetPage(limit, offset, func(cursor string, n int) (client.Page[client.Verification], error) {
		return s.seenVerdicts(ctx, c, f, cursor, n)
	})
	if err != nil {
		return reply{}, err
	}
	list := make([]imageSigningVerification, 0, len(rows))
	for _, r := range rows {
		list = append(list, imageSigningVerification{
			ID: r.ID, AssessmentID: r.AssessmentID, ImageRef: r.ImageRef, ImageDigest: r.ImageDigest, SignatureFound: r.SignatureFound, SignatureValid: r.SignatureValid,
			SignerIdentity: orNull(r.SignerIdentity), SignerIssuer: orNull(r.SignerIssuer), SignedAt: r.SignedAt, SLSALevel: r.SLSALevel, SLSABuilder: r.SLSABuilder,
			Blocked: !r.Allowed, Reason: r.VerificationError, VerificationError: r.VerificationError, CreatedAt: r.CreatedAt, Decision: r.Decision,
		})
	}
	return jsonOf(http.StatusOK, list, nil)
}

// offsetPage reads a list of pages as one that is counted from its beginning.
func offsetPage[T any](limit, offset int, read func(cursor string, n int) (client.Page[T], error)) ([]T, error) {
	var list []T
	for cursor := ""; ; {
		page, err := read(cursor, min(limit+offset-len(list), mostLimit))
		if err != nil {
			return nil, err
		}
		list = append(list, page.Items...)
		if cursor = page.Next; cursor == "" || len(list) >= limit+offset {
			return list[min(offset, len(list)):min(limit+offset, len(list))], nil
		}
	}
}

// pluginSigner is a trusted signer as the plugin has it: without its key.
type pluginSigner struct {
	ID           string     `json:"id"`
	Name         string     `json:"name"`
	SignerType   string     `json:"signer_type"`
	OIDCIssuer   *string    `json:"oidc_issuer"`
	Subject      *string    `json:"subject"`
	SubjectRegex *string    `json:"subject_regex"`
	Enabled      bool       `json:"enabled"`
	ExpiresAt    *time.Time `json:"expires_at"`
	CreatedBy    string     `json:"created_by"`
	CreatedAt    *time.Time `json:"created_at"`
}

func pluginSignerOf(s client.Signer) pluginSigner {
	return pluginSigner{
		ID: s.ID, Name: s.Name, SignerType: s.Type, OIDCIssuer: orNull(s.Issuer), Subject: orNull(s.Subject), SubjectRegex: orNull(s.SubjectRegex),
		Enabled: s.Enabled, ExpiresAt: s.ExpiresAt, CreatedBy: s.CreatedBy, CreatedAt: s.CreatedAt,
	}
}

// newPluginSigner is what makes one.
type newPluginSigner struct {
	Name         string     `json:"name"`
	SignerType   string     `json:"signer_type"`
	OIDCIssuer   string     `json:"oidc_issuer"`
	Subject      string     `json:"subject"`
	SubjectRegex string     `json:"subject_regex"`
	PublicKey    string     `json:"public_key"`
	KMSKeyRef    string     `json:"kms_key_ref"`
	Enabled      bool       `json:"enabled"`
	ExpiresAt    *time.Time `json:"expires_at"`
}

// pluginNames are the plugin's names of fields, and Signet's.
func pluginNames() map[string]string {
	return map[string]string{
		"name": "name", "signer_type": "type", "oidc_issuer": "issuer", "subject": "subject", "subject_regex": "subject_regex",
		"public_key": "public_key", "kms_key_ref": "kms_key_ref", "enabled": "enabled", "expires_at": "expires_at",
	}
}

func (s *Server) listPluginSigners(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	q := paramsOf(c)
	limit, offset := int(q.whole("limit", 1, mostPluginPage, mostPluginPage)), int(q.whole("offset", 0, mostOffset, 0))
	if err := q.problem(); err != nil {
		return reply{}, err
	}
	rows, err := offsetPage(limit, offset, func(cursor string, n int) (client.Page[client.Signer], error) {
		return s.cfg.Administration.Signers(ctx, by, administration.SignerFilter{Limit: n, After: cursor})
	})
	list := make([]pluginSigner, 0, len(rows))
	for _, r := range rows {
		list = append(list, pluginSignerOf(r))
	}
	return jsonOf(http.StatusOK, list, err)
}

func (s *Server) createPluginSigner(ctx context.Context, c *call, by administration.Caller, req *newPluginSigner) (reply, error) {
	got, err := s.cfg.Administration.CreateSigner(ctx, by, client.Signer{
		Name: req.Name, Type: req.SignerType, Issuer: req.OIDCIssuer, Subject: req.Subject, SubjectRegex: req.SubjectRegex,
		PublicKey: req.PublicKey, KMSKeyRef: req.KMSKeyRef, Enabled: req.Enabled, ExpiresAt: req.ExpiresAt,
	})
	out, err := versioned(http.StatusCreated, pluginSignerOf(got), got.Version, pluginErrors(err))
	out.location = c.route.path + "/" + got.ID
	return out, err
}

func (s *Server) getPluginSigner(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	got, err := s.cfg.Administration.Signer(ctx, by, c.echo.Param("id"))
	return versioned(http.StatusOK, pluginSignerOf(got), got.Version, err)
}

// patchPluginSigner changes a signer. The plugin knows no versions: without If-Match
// it is the one that is there now.
func (s *Server) patchPluginSigner(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	var members map[string]json.RawMessage
	if err := strictjson.Decode(c.body, bodyDepth, &members); err != nil || members == nil {
		return reply{}, &problem{code: codeInvalidJSON, detail: `The body should be a JSON object of the fields to change, for example {"enabled": false}.`, cause: err}
	}
	patch := map[string]json.RawMessage{}
	for name, value := range members {
		own, known := pluginNames()[name]
		if !known {
			return reply{}, &problem{code: codeUnknownField, field: name, detail: "The field " + shown(name) + " is not known, or cannot be changed here."}
		}
		patch[own] = value
	}
	version, err := s.pluginVersion(ctx, c, by)
	if err != nil {
		return reply{}, err
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return reply{}, err
	}
	got, err := s.cfg.Administration.UpdateSigner(ctx, by, c.echo.Param("id"), version, body)
	return versioned(http.StatusOK, pluginSignerOf(got), got.Version, pluginErrors(err))
}

func (s *Server) deletePluginSigner(ctx context.Context, c *call, by administration.Caller) (reply, error) {
	version, err := s.pluginVersion(ctx, c, by)
	if err != nil {
		return reply{}, err
	}
	return noContent(s.cfg.Administration.DeleteSigner(ctx, by, c.echo.Param("id"), version))
}

// pluginVersion is the version that a change is meant for.
func (s *Server) pluginVersion(ctx context.Context, c *call, by administration.Caller) (int64, error) {
	version, there, err := ifMatch(c.echo.Request().Header)
	if there || err != nil {
		return version, err
	}
	got, err := s.cfg.Administration.Signer(ctx, by, c.echo.Param("id"))
	return got.Version, err
}

// pluginErrors calls fields as the plugin does.
func pluginErrors(err error) error {
	var all administration.FieldErrors
	if !errors.As(err, &all) {
		return err
	}
	names := map[string]string{}
	for plugin, own := range pluginNames() {
		names[own] = plugin
	}
	renamed := append(administration.FieldErrors{}, all...)
	for i, e := range renamed {
		if name, known := names[e.Field]; known {
			renamed[i].Field = name
		}
	}
	return renamed
}
