package api

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
)

// fakeAdministration answers every call with the same things, notes what it was
// asked, and fails with err where there is one.
type fakeAdministration struct {
	asked []string
	by    administration.Caller
	err   error
	// there is the source of what a PUT without a version meets; "" is nothing,
	// so that getting it fails as all else does.
	there string
}

// note keeps a call with its arguments, and gives the error to answer with.
func (f *fakeAdministration) note(by administration.Caller, call string, args ...any) error {
	f.by = by
	for _, a := range args {
		switch a := a.(type) {
		case []byte:
			call += fmt.Sprintf(" %s", a)
		case *int64:
			if a == nil {
				call += " new"
				continue
			}
			call += fmt.Sprintf(" v%d", *a)
		default:
			call += fmt.Sprintf(" %+v", a)
		}
	}
	f.asked = append(f.asked, call)
	return f.err
}

func aSigner() client.Signer {
	at := testNow
	return client.Signer{
		ID: "01JZ5X3F8Q0000000000000009", Name: "ci", Type: "keyless", Issuer: "https://issuer.example", Subject: "ci@example.com",
		Claims: map[string]string{}, TrustRoots: []string{}, Images: []string{"ghcr.io/org/**"}, Enabled: true, State: "in_force",
		CreatedBy: "admin", CreatedAt: &at, UpdatedBy: "admin", UpdatedAt: &at, Version: 3,
	}
}

func aToken() client.Token {
	return client.Token{
		ID: "aaaaaaaaaaaaaaaa", Name: "gateway", Role: "verifier", Images: []string{}, Sources: []string{},
		CreatedBy: "admin", CreatedAt: testNow, ExpiresAt: testNow.Add(time.Hour), State: "valid",
	}
}

func aPolicy(name string) client.Policy {
	return client.Policy{
		Name: name, Source: "api", Mode: "enforce", Images: []string{}, Exceptions: []client.Exception{}, SigningPolicy: "signing_policy: {}\n", Digest: "sha256:x",
		CreatedBy: "admin", CreatedAt: testNow, UpdatedBy: "admin", UpdatedAt: testNow, Version: 4,
	}
}

func aRoot(name string) client.TrustRoot {
	return client.TrustRoot{Name: name, Source: "api", Kind: "file", Digest: "sha256:x", Images: []string{}, UpdatedBy: "admin", UpdatedAt: testNow, Version: 5,
		Contains: client.TrustRootContents{NextEnd: &testNow, Parts: []client.TrustRootPart{{Kind: "ct_log", Name: "https://log.example", Until: &testNow}}}}
}

func anEntry(seq int64) client.AuditEntry {
	return client.AuditEntry{Seq: seq, At: testNow, Actor: "admin", Action: "signer.create", Object: "signer/x", Revision: 7, Hash: "h", PrevHash: "p"}
}

func (f *fakeAdministration) Signers(_ context.Context, by administration.Caller, filter administration.SignerFilter) (client.Page[client.Signer], error) {
	return client.Page[client.Signer]{Items: []client.Signer{aSigner()}, Next: "n"}, f.note(by, "Signers", filter)
}

func (f *fakeAdministration) Signer(_ context.Context, by administration.Caller, id string) (client.Signer, error) {
	return aSigner(), f.note(by, "Signer", id)
}

func (f *fakeAdministration) CreateSigner(_ context.Context, by administration.Caller, s client.Signer) (client.Signer, error) {
	return aSigner(), f.note(by, "CreateSigner", s)
}

func (f *fakeAdministration) UpdateSigner(_ context.Context, by administration.Caller, id string, version int64, patch []byte) (client.Signer, error) {
	return aSigner(), f.note(by, "UpdateSigner", id, version, patch)
}

func (f *fakeAdministration) DeleteSigner(_ context.Context, by administration.Caller, id string, version int64) error {
	return f.note(by, "DeleteSigner", id, version)
}

func (f *fakeAdministration) CompromiseSigner(_ context.Context, by administration.Caller, id string, c client.Compromise) (client.Compromised, error) {
	return client.Compromised{Signer: aSigner(), Affected: []client.SignerVerdict{{Digest: "sha256:x", Image: testImage, VerdictID: testID, At: testNow, Verdicts: 1}}}, f.note(by, "CompromiseSigner", id, c)
}

func (f *fakeAdministration) AcceptKey(_ context.Context, by administration.Caller, id string, a client.AcceptKey) (client.Signer, error) {
	return aSigner(), f.note(by, "AcceptKey", id, a)
}

func (f *fakeAdministration) ReadKey(_ context.Context, by administration.Caller, in client.ReadKey) (client.KeyRead, error) {
	return client.KeyRead{KMSKeyRef: in.KMSKeyRef, PublicKey: "-----BEGIN PUBLIC KEY-----", Fingerprints: []string{"f"}}, f.note(by, "ReadKey", in)
}

func (f *fakeAdministration) RefreshKey(_ context.Context, by administration.Caller, id string) (client.Signer, error) {
	return aSigner(), f.note(by, "RefreshKey", id)
}

func (f *fakeAdministration) SignerVerdicts(_ context.Context, by administration.Caller, id string, limit int, after string) (client.Page[client.SignerVerdict], error) {
	return client.Page[client.SignerVerdict]{Items: []client.SignerVerdict{{Digest: "sha256:x", Image: testImage, VerdictID: testID, At: testNow, Verdicts: 1}}}, f.note(by, "SignerVerdicts", id, limit, after)
}

func (f *fakeAdministration) ImportSigners(_ context.Context, by administration.Caller, body []byte, opts administration.ImportOptions) (client.Imported, error) {
	return client.Imported{Created: []string{"ci"}, Updated: []string{}, Unchanged: []string{}}, f.note(by, "ImportSigners", body, opts)
}

func (f *fakeAdministration) ExportSigners(_ context.Context, by administration.Caller) ([]byte, error) {
	return []byte("signing_policy: {}\n"), f.note(by, "ExportSigners")
}

func (f *fakeAdministration) Tokens(_ context.Context, by administration.Caller, state string, limit int, after string) (client.Page[client.Token], error) {
	return client.Page[client.Token]{Items: []client.Token{aToken()}}, f.note(by, "Tokens", state, limit, after)
}

func (f *fakeAdministration) Token(_ context.Context, by administration.Caller, id string) (client.Token, error) {
	return aToken(), f.note(by, "Token", id)
}

func (f *fakeAdministration) CreateToken(_ context.Context, by administration.Caller, t client.NewToken) (client.Token, error) {
	return aToken(), f.note(by, "CreateToken", t)
}

func (f *fakeAdministration) RevokeToken(_ context.Context, by administration.Caller, id string) error {
	return f.note(by, "RevokeToken", id)
}

func (f *fakeAdministration) Setup(_ context.Context, from, setupToken, name string) (client.Token, error) {
	return aToken(), f.note(administration.Caller{From: from}, "Setup", setupToken, name)
}

func (f *fakeAdministration) Policies(_ context.Context, by administration.Caller, limit int, after string) (client.Page[client.Policy], error) {
	return client.Page[client.Policy]{Items: []client.Policy{aPolicy("a"), aPolicy("b")}}, f.note(by, "Policies", limit, after)
}

func (f *fakeAdministration) Policy(_ context.Context, by administration.Caller, name string) (client.Policy, error) {
	if got := aPolicy(name); f.there != "" {
		got.Source = f.there
		return got, nil
	}
	return aPolicy(name), f.note(by, "Policy", name)
}

func (f *fakeAdministration) PutPolicy(_ context.Context, by administration.Caller, name, owner string, body []byte, version *int64) (client.Policy, error) {
	return aPolicy(name), f.note(by, "PutPolicy", name, owner, body, version)
}

func (f *fakeAdministration) DeletePolicy(_ context.Context, by administration.Caller, name string, version int64) error {
	return f.note(by, "DeletePolicy", name, version)
}

func (f *fakeAdministration) AddException(_ context.Context, by administration.Caller, name string, e client.NewException, version int64) (client.Policy, error) {
	return aPolicy(name), f.note(by, "AddException", name, e, version)
}

func (f *fakeAdministration) RemoveException(_ context.Context, by administration.Caller, name string, place int, version int64) (client.Policy, error) {
	return aPolicy(name), f.note(by, "RemoveException", name, place, version)
}

func (f *fakeAdministration) Shadow(_ context.Context, by administration.Caller, name string, limit int, after string) (client.ShadowReport, error) {
	return client.ShadowReport{Policy: name, Since: testNow, Items: []client.ShadowVerdict{{
		VerdictID: "01JZ5X3F8Q0000000000000009", Image: "a", Decision: client.Deny, ComparedWith: client.Allow, Digest: "sha256:x", ParamsDigest: "sha256:y",
		Reasons: []client.Reason{}, At: testNow,
	}}}, f.note(by, "Shadow", name, limit, after)
}

func (f *fakeAdministration) PutPolicyWith(_ context.Context, by administration.Caller, name, owner string, body, archive []byte, version *int64) (client.Policy, error) {
	return aPolicy(name), f.note(by, "PutPolicyWith", name, owner, body, archive, version)
}

func (f *fakeAdministration) PublishPolicy(_ context.Context, by administration.Caller, name string, archive []byte, version *int64) (client.Policy, error) {
	return aPolicy(name), f.note(by, "PublishPolicy", name, archive, version)
}

func (f *fakeAdministration) PolicyHistory(_ context.Context, by administration.Caller, name string) ([]client.PolicyVersion, error) {
	return []client.PolicyVersion{
		{ActiveRevision: 9, At: testNow, By: "admin", Change: "bundle", Version: 2, Bundle: "acme", BundleSequence: 3},
		{ActiveRevision: 7, At: testNow, By: "admin", Change: "document", Version: 2},
	}, f.note(by, "PolicyHistory", name)
}

func (f *fakeAdministration) DiffPolicy(_ context.Context, by administration.Caller, name string, from, to *int64) (client.PolicyDiff, error) {
	return client.PolicyDiff{From: 7, To: 9, Document: "-a\n+b\n"}, f.note(by, "DiffPolicy", name, from, to)
}

func (f *fakeAdministration) RollbackPolicy(_ context.Context, by administration.Caller, name string, to, version *int64) (client.Policy, error) {
	return aPolicy(name), f.note(by, "RollbackPolicy", name, to, version)
}

func aBundle(name string) client.Bundle {
	return client.Bundle{
		Name: name, Source: "api", Scope: "signet", Digest: "sha256:x", Revision: "r", Sequence: 3, HighestSequence: 3, ActivatedAt: &testNow, Policies: []string{"web"},
		LastAttempt: &client.BundleAttempt{At: testNow, Outcome: "activated", Sequence: 3},
		CreatedBy:   "admin", CreatedAt: testNow, UpdatedBy: "admin", UpdatedAt: testNow, Version: 6,
	}
}

func (f *fakeAdministration) Bundles(_ context.Context, by administration.Caller, limit int, after string) (client.Page[client.Bundle], error) {
	return client.Page[client.Bundle]{Items: []client.Bundle{aBundle("a")}}, f.note(by, "Bundles", limit, after)
}

func (f *fakeAdministration) Bundle(_ context.Context, by administration.Caller, name string) (client.Bundle, error) {
	if got := aBundle(name); f.there != "" {
		got.Source = f.there
		return got, nil
	}
	return aBundle(name), f.note(by, "Bundle", name)
}

func aDraft(name string) client.Draft {
	return client.Draft{
		Name: name, Files: map[string]string{".manifest": "{}"}, Replaced: []string{}, Version: 2,
		CreatedBy: "admin", CreatedAt: &testNow, UpdatedBy: "admin", UpdatedAt: &testNow,
	}
}

func (f *fakeAdministration) Drafts(_ context.Context, by administration.Caller, limit int, after string) (client.Page[client.DraftSummary], error) {
	return client.Page[client.DraftSummary]{Items: []client.DraftSummary{{Name: "acme", Version: 2, UpdatedBy: "admin", UpdatedAt: testNow}}}, f.note(by, "Drafts", limit, after)
}

func (f *fakeAdministration) Draft(_ context.Context, by administration.Caller, name string) (client.Draft, error) {
	if f.there != "" {
		return aDraft(name), nil
	}
	return aDraft(name), f.note(by, "Draft", name)
}

func (f *fakeAdministration) MayDraft(_ context.Context, by administration.Caller, name string) (string, error) {
	return "web", f.note(by, "MayDraft", name)
}

func (f *fakeAdministration) PutDraft(_ context.Context, by administration.Caller, name string, in client.PutDraft, version *int64) (client.Draft, error) {
	return aDraft(name), f.note(by, "PutDraft", name, in, version)
}

func (f *fakeAdministration) DeleteDraft(_ context.Context, by administration.Caller, name string, version int64) error {
	return f.note(by, "DeleteDraft", name, version)
}

func (f *fakeAdministration) BundleArchive(_ context.Context, by administration.Caller, name string) ([]byte, error) {
	return []byte("archive"), f.note(by, "BundleArchive", name)
}

func (f *fakeAdministration) PutBundle(_ context.Context, by administration.Caller, name, owner string, archive []byte, version *int64) (client.Bundle, error) {
	return aBundle(name), f.note(by, "PutBundle", name, owner, archive, version)
}

func (f *fakeAdministration) PutBundleWith(_ context.Context, by administration.Caller, name, owner string, archive []byte, keys map[string]string, scope string, version *int64) (client.Bundle, error) {
	return aBundle(name), f.note(by, "PutBundleWith", name, owner, archive, keys, scope, version)
}

func (f *fakeAdministration) PatchBundle(_ context.Context, by administration.Caller, name string, version int64, patch []byte) (client.Bundle, error) {
	return aBundle(name), f.note(by, "PatchBundle", name, version, patch)
}

func (f *fakeAdministration) DeleteBundle(_ context.Context, by administration.Caller, name string, version int64) error {
	return f.note(by, "DeleteBundle", name, version)
}

func (f *fakeAdministration) BundleHistory(_ context.Context, by administration.Caller, name string) ([]client.BundleVersion, error) {
	return []client.BundleVersion{{ActiveRevision: 9, At: testNow, By: "admin", Change: "archive", Sequence: 3}}, f.note(by, "BundleHistory", name)
}

func (f *fakeAdministration) RollbackBundle(_ context.Context, by administration.Caller, name string, to *int64) (client.Bundle, error) {
	return aBundle(name), f.note(by, "RollbackBundle", name, to)
}

func (f *fakeAdministration) FetchBundle(_ context.Context, by administration.Caller, name string) (client.Bundle, error) {
	return aBundle(name), f.note(by, "FetchBundle", name)
}

func (f *fakeAdministration) TrustRoots(_ context.Context, by administration.Caller) ([]client.TrustRoot, error) {
	return []client.TrustRoot{aRoot("a"), aRoot("b"), aRoot("c")}, f.note(by, "TrustRoots")
}

func (f *fakeAdministration) TrustRoot(_ context.Context, by administration.Caller, name string) (client.TrustRoot, error) {
	if got := aRoot(name); f.there != "" {
		got.Source = f.there
		return got, nil
	}
	return aRoot(name), f.note(by, "TrustRoot", name)
}

func (f *fakeAdministration) PutTrustRoot(_ context.Context, by administration.Caller, name string, put client.PutTrustRoot, version *int64) (client.TrustRoot, error) {
	return aRoot(name), f.note(by, "PutTrustRoot", name, put, version)
}

func (f *fakeAdministration) PatchTrustRoot(_ context.Context, by administration.Caller, name string, version int64, patch []byte) (client.TrustRoot, error) {
	return aRoot(name), f.note(by, "PatchTrustRoot", name, version, patch)
}

func (f *fakeAdministration) DeleteTrustRoot(_ context.Context, by administration.Caller, name string, version int64) error {
	return f.note(by, "DeleteTrustRoot", name, version)
}

func (f *fakeAdministration) RefreshTrustRoot(_ context.Context, by administration.Caller, name string) (client.TrustRoot, error) {
	return aRoot(name), f.note(by, "RefreshTrustRoot", name)
}

func (f *fakeAdministration) ExportTrust(_ context.Context, by administration.Caller) ([]byte, error) {
	return []byte("{}"), f.note(by, "ExportTrust")
}

func (f *fakeAdministration) ExportKey(_ context.Context, by administration.Caller) (string, error) {
	return "-----BEGIN PUBLIC KEY-----\n", f.note(by, "ExportKey")
}

func (f *fakeAdministration) ImportTrust(_ context.Context, by administration.Caller, signed []byte, keyPEM string, dryRun bool) (client.TrustImport, error) {
	return client.TrustImport{TrustRoots: []string{}, Policies: []string{}, Bundles: []string{}, Signers: client.Imported{Created: []string{}, Updated: []string{}, Unchanged: []string{}}, Key: "k", MadeAt: testNow}, f.note(by, "ImportTrust", signed, keyPEM, dryRun)
}

func (f *fakeAdministration) Dependencies(_ context.Context, by administration.Caller) ([]client.Dependency, error) {
	return []client.Dependency{{Kind: client.DependencyTUF, Name: "own", State: "failing", Optional: true, LastFailure: &testNow, Error: "out of reach"}}, f.note(by, "Dependencies")
}

func aGateway() client.Gateway {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return client.Gateway{
		Name: "tools", GatewayID: "5f2c", Image: "ghcr.io/org/tools@sha256:" + strings.Repeat("a", 64), Source: "api",
		CreatedBy: "admin", CreatedAt: at, UpdatedBy: "admin", UpdatedAt: at, Version: 3,
		LastVerdict: &client.GatewayVerdict{ID: "01JZ0000000000000000000000", Decision: client.Deny, Reason: "it is not signed", At: at},
	}
}

func (f *fakeAdministration) Gateways(_ context.Context, by administration.Caller, query string, limit int, after string) (client.Page[client.Gateway], error) {
	return client.Page[client.Gateway]{Items: []client.Gateway{aGateway()}}, f.note(by, "Gateways", query, limit, after)
}

func (f *fakeAdministration) Gateway(_ context.Context, by administration.Caller, name string) (client.Gateway, error) {
	return aGateway(), f.note(by, "Gateway", name)
}

func (f *fakeAdministration) PutGateway(_ context.Context, by administration.Caller, name string, g client.PutGateway, version *int64) (client.Gateway, error) {
	return aGateway(), f.note(by, "PutGateway", name, g, version)
}

func (f *fakeAdministration) DeleteGateway(_ context.Context, by administration.Caller, name string, version int64) error {
	return f.note(by, "DeleteGateway", name, version)
}

func aWatched() client.WatchedImage {
	return client.WatchedImage{
		ID: "w", Image: testImage, ImageName: "registry.example/org/server", Context: map[string]string{}, Source: "asked", Reasons: []string{}, Signers: []string{},
		Principals: []string{}, DueAt: testNow,
	}
}

func (f *fakeAdministration) Watched(_ context.Context, by administration.Caller, filter administration.WatchFilter) (client.Page[client.WatchedImage], error) {
	return client.Page[client.WatchedImage]{Items: []client.WatchedImage{aWatched()}}, f.note(by, "Watched", filter)
}

func (f *fakeAdministration) Watch(_ context.Context, by administration.Caller, n client.NewWatch) (client.WatchedImage, error) {
	return aWatched(), f.note(by, "Watch", n)
}

func (f *fakeAdministration) Unwatch(_ context.Context, by administration.Caller, id string) error {
	return f.note(by, "Unwatch", id)
}

func (f *fakeAdministration) WebhookKey(_ context.Context, by administration.Caller, name string) (client.WebhookKey, error) {
	return client.WebhookKey{Name: name, Key: "00"}, f.note(by, "WebhookKey", name)
}

func (f *fakeAdministration) Audit(_ context.Context, by administration.Caller, filter administration.AuditFilter) (client.Page[client.AuditEntry], error) {
	return client.Page[client.AuditEntry]{Items: []client.AuditEntry{anEntry(9), anEntry(8)}, Next: "8"}, f.note(by, "Audit", filter)
}

func (f *fakeAdministration) AuditHead(_ context.Context, by administration.Caller) (client.AuditHead, error) {
	return client.AuditHead{Seq: 9, Hash: "h"}, f.note(by, "AuditHead")
}

func (f *fakeAdministration) VerifyAudit(_ context.Context, by administration.Caller, known client.AuditHead) (client.AuditHead, error) {
	return client.AuditHead{Seq: 9, Hash: "h"}, f.note(by, "VerifyAudit", known)
}

func (f *fakeAdministration) RotateSecret(_ context.Context, by administration.Caller) error {
	return f.note(by, "RotateSecret")
}
