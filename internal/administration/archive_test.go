package administration

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/testkit/tuftest"
	"github.com/signet-policy/signet/internal/trust"
)

// sealed is the outside of an archive.
type sealed struct {
	PayloadType string      `json:"payloadType"`
	Payload     []byte      `json:"payload"`
	Signatures  []signature `json:"signatures"`
}

type signature struct {
	KeyID string `json:"keyid"`
	Sig   []byte `json:"sig"`
}

// stranger signs archives of any content, as somebody does whose key an
// administrator trusts.
type stranger struct {
	t   *testing.T
	key ed25519.PrivateKey
	id  string
	pem string
}

func newStranger(t *testing.T) *stranger {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(spki)
	return &stranger{t, key, hex.EncodeToString(sum[:]), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))}
}

func (s *stranger) sign(payload []byte, edit func(*sealed)) []byte {
	s.t.Helper()
	e := sealed{PayloadType: "application/vnd.signet.trust+json", Payload: payload}
	pae := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(e.PayloadType), e.PayloadType, len(e.Payload), e.Payload)
	e.Signatures = []signature{{s.id, ed25519.Sign(s.key, pae)}}
	if edit != nil {
		edit(&e)
	}
	out, err := json.Marshal(e)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// exported is the archive of a site, and the key for it.
func (s *site) exported() (signed []byte, key string) {
	s.t.Helper()
	signed, err := s.ExportTrust(s.t.Context(), s.admin)
	if err != nil {
		s.t.Fatal(err)
	}
	if key, err = s.ExportKey(s.t.Context(), s.admin); err != nil {
		s.t.Fatal(err)
	}
	return signed, key
}

func (s *site) importing(signed []byte, key string) (client.TrustImport, error) {
	return s.ImportTrust(s.t.Context(), s.admin, signed, key, false)
}

func (s *site) mustImport(signed []byte, key string) client.TrustImport {
	s.t.Helper()
	got, err := s.importing(signed, key)
	if err != nil {
		s.t.Fatal(err)
	}
	return got
}

func payloadOf(t *testing.T, signed []byte) []byte {
	t.Helper()
	var e sealed
	if err := json.Unmarshal(signed, &e); err != nil {
		t.Fatal(err)
	}
	return e.Payload
}

// edited is a payload after a change, in canonical form.
func edited(t *testing.T, payload []byte, change func(map[string]any)) []byte {
	t.Helper()
	var tree map[string]any
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.UseNumber()
	if err := dec.Decode(&tree); err != nil {
		t.Fatal(err)
	}
	change(tree)
	out, err := facts.Canonical(tree)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func nth(tree map[string]any, list string, i int) map[string]any {
	return tree[list].([]any)[i].(map[string]any)
}

const releasePolicy = `signing_policy:
  name: release
  images: ["ghcr.io/org/**"]
  trusted_signers:
    - type: keyless
      issuer: https://accounts.example.test
      subject: dev@example.test
`

// online is an installation with a root of each kind, a policy and signers.
func online(t *testing.T) (*site, *tuftest.Repo) {
	t.Helper()
	s := newSite(t)
	repo := tuftest.New(t, instanceRoot(t, "pg", 2))
	s.mustPut("pg", client.PutTrustRoot{TUFURL: repo.URL(), TUFRoot: repo.Root(1)}, nil)
	s.mustPut("own", client.PutTrustRoot{TrustedRoot: instanceRoot(t, "own", 2), Images: []string{"ghcr.io/org/**"}}, nil)
	if _, err := s.PutPolicy(t.Context(), s.admin, "release", "web", []byte(releasePolicy), nil); err != nil {
		t.Fatal(err)
	}
	for _, w := range []client.Signer{
		{Name: "dev", Type: "keyless", Issuer: "https://accounts.example.test", Subject: "dev@example.test", TrustRoots: []string{"own"}, Enabled: true, Owner: "web"},
		{Name: "key", Type: "public_key", PublicKey: publicKeyPEM(t), Images: []string{"ghcr.io/org/**"}, Note: "in the safe"},
	} {
		if _, err := s.CreateSigner(t.Context(), s.admin, w); err != nil {
			t.Fatal(err)
		}
	}
	return s, repo
}

func publicKeyPEM(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))
}

// everything is what an installation trusts, without who and when.
func (s *site) everything() map[string]any {
	s.t.Helper()
	snap, err := s.store.Snapshot(s.t.Context(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	out := map[string]any{}
	for _, r := range snap.Roots {
		r.CreatedBy, r.UpdatedBy, r.Version, r.CreatedAt, r.UpdatedAt = "", "", 0, time.Time{}, time.Time{}
		out["root "+r.Name] = r
	}
	for _, r := range snap.Policies {
		r.CreatedBy, r.UpdatedBy, r.Version, r.CreatedAt, r.UpdatedAt = "", "", 0, time.Time{}, time.Time{}
		out["policy "+r.Name] = r
	}
	for _, r := range snap.Signers {
		r.ID, r.CreatedBy, r.UpdatedBy, r.Version, r.CreatedAt, r.UpdatedAt = "", "", "", 0, time.Time{}, time.Time{}
		out["signer "+r.Name] = r
	}
	return out
}

func TestTrustArchive(t *testing.T) {
	for name, on := range map[string]func(*testing.T) *fixture{"to sqlite": onSQLite, "to postgres": onPostgres} {
		t.Run(name, func(t *testing.T) { carries(t, siteOn(t, on(t))) })
	}
}

func carries(t *testing.T, to *site) {
	from, repo := online(t)
	signed, key := from.exported()
	// A dry run says the same and changes nothing.
	var dry client.TrustImport
	before, err := to.store.Active(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if dry, err = to.ImportTrust(t.Context(), to.admin, signed, key, true); err != nil {
		t.Fatal(err)
	}
	if after, err := to.store.Active(t.Context()); err != nil || after != before {
		t.Errorf("a dry run changed %v to %v (%v)", before, after, err)
	}
	got := to.mustImport(signed, key)
	want := client.TrustImport{
		Bundles:    []string{},
		TrustRoots: []string{"pg", "own"}, Policies: []string{"release"},
		Signers: client.Imported{Created: []string{"dev", "key"}, Updated: []string{}, Unchanged: []string{}},
		Key:     keyIDOf(t, key), MadeAt: from.now,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	want.DryRun = true
	if diff := cmp.Diff(want, dry); diff != "" {
		t.Errorf("dry run: %s", diff)
	}
	if diff := cmp.Diff(from.everything(), to.everything(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the other side trusts something else: %s", diff)
	}
	if e := to.lastAudit(); e.Action != "trust.import" || e.Actor != "alice" || e.Object != "trust_archive/"+want.Key {
		t.Errorf("audited as %+v", e)
	}
	// The same once more leaves everything as it is, but for the note of it.
	got = to.mustImport(signed, key)
	if len(got.TrustRoots)+len(got.Policies)+len(got.Signers.Created)+len(got.Signers.Updated) > 0 || len(got.Signers.Unchanged) != 2 {
		t.Errorf("the same again: %+v", got)
	}
	// What the other side has seen of the repository counts here.
	repo.Rollback(instanceRoot(t, "pg", 2))
	to.unchanged(trust.ErrRollback, "", func() error { return second(to.RefreshTrustRoot(t.Context(), to.admin, "pg")) })
	repo.Publish(instanceRoot(t, "pg", 3))

	// Later, one root and one signer have changed.
	from.now = from.now.Add(time.Hour)
	repo.Publish(instanceRoot(t, "pg", 3))
	if _, err := from.RefreshTrustRoot(t.Context(), from.admin, "pg"); err != nil {
		t.Fatal(err)
	}
	page, err := from.Signers(t.Context(), from.admin, SignerFilter{Query: "key"})
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("%v, %v", page, err)
	}
	if _, err := from.UpdateSigner(t.Context(), from.admin, page.Items[0].ID, 1, []byte(`{"enabled": true}`)); err != nil {
		t.Fatal(err)
	}
	later, _ := from.exported()
	got = to.mustImport(later, key)
	if diff := cmp.Diff([]string{"pg"}, got.TrustRoots); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(client.Imported{Created: []string{}, Updated: []string{"key"}, Unchanged: []string{"dev"}}, got.Signers); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(from.everything(), to.everything(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the other side trusts something else: %s", diff)
	}
	// The older archive is no way back.
	to.unchanged(ErrConflict, "was imported already", func() error { return second(to.importing(signed, key)) })
}

func keyIDOf(t *testing.T, text string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatalf("no PEM in %q", text)
	}
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:])
}

// Whoever carries an archive must not be able to change what is trusted.
func TestTrustArchiveAttacks(t *testing.T) {
	from, _ := online(t)
	signed, key := from.exported()
	other, _ := online(t)
	otherSigned, otherKey := other.exported()
	mallory := newStranger(t)
	var envelope, otherEnvelope sealed
	for body, to := range map[*[]byte]*sealed{&signed: &envelope, &otherSigned: &otherEnvelope} {
		if err := json.Unmarshal(*body, to); err != nil {
			t.Fatal(err)
		}
	}
	with := func(edit func(*sealed)) []byte {
		e := envelope
		e.Signatures = append([]signature(nil), envelope.Signatures...)
		edit(&e)
		out, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	payload := payloadOf(t, signed)
	for name, tt := range map[string]struct {
		archive []byte
		key     string
		want    string
	}{
		"a payload of another archive": {with(func(e *sealed) { e.Payload = otherEnvelope.Payload }), key, "signature does not verify"},
		"one signer less": {with(func(e *sealed) {
			e.Payload = edited(t, e.Payload, func(m map[string]any) { m["signers"] = m["signers"].([]any)[:1] })
		}), key, "signature does not verify"},
		"another type":                    {with(func(e *sealed) { e.PayloadType = "application/vnd.in-toto+json" }), key, "type"},
		"signed by another installation":  {otherSigned, key, "another key"},
		"and under the name of our key":   {with(func(e *sealed) { e.Signatures[0].Sig = otherEnvelope.Signatures[0].Sig }), key, "signature does not verify"},
		"our archive, and the wrong key":  {signed, otherKey, "another key"},
		"two signatures":                  {with(func(e *sealed) { e.Signatures = append(e.Signatures, otherEnvelope.Signatures...) }), key, "2 signatures"},
		"the same signature twice":        {with(func(e *sealed) { e.Signatures = append(e.Signatures, e.Signatures...) }), key, "2 signatures"},
		"no signature":                    {with(func(e *sealed) { e.Signatures = nil }), key, "0 signatures"},
		"an empty signature":              {with(func(e *sealed) { e.Signatures[0].Sig = nil }), key, "does not verify"},
		"truncated":                       {signed[:len(signed)/2], key, "not all of one"},
		"with something behind it":        {append(bytes.Clone(signed), '{', '}'), key, "archive:"},
		"empty":                           {nil, key, "archive:"},
		"too large":                       {bytes.Repeat([]byte(" "), 64<<20+1), key, "more than"},
		"a key twice in the envelope":     {bytes.Replace(signed, []byte(`{"payloadType"`), []byte(`{"payload":"","payloadType"`), 1), key, "archive:"},
		"an unknown key in the envelope":  {bytes.Replace(signed, []byte(`{"payloadType"`), []byte(`{"x":1,"payloadType"`), 1), key, "archive:"},
		"a key in another case":           {bytes.Replace(signed, []byte(`"payload"`), []byte(`"Payload"`), 1), key, "archive:"},
		"signed, with a key twice inside": {mallory.sign(bytes.Replace(payload, []byte(`{"made_at"`), []byte(`{"schema":"x","made_at"`), 1), nil), mallory.pem, "cannot read"},
		"signed, and not canonical":       {mallory.sign(append([]byte(" "), payload...), nil), mallory.pem, "canonical"},
		"signed, of another schema":       {mallory.sign(edited(t, payload, func(m map[string]any) { m["schema"] = "signet/trust/v2" }), nil), mallory.pem, "schema"},
		"signed, with an unknown field":   {mallory.sign(edited(t, payload, func(m map[string]any) { m["threshold"] = 2 }), nil), mallory.pem, "cannot read"},
		"signed, from the future":         {mallory.sign(edited(t, payload, func(m map[string]any) { m["made_at"] = from.now.Add(48 * time.Hour) }), nil), mallory.pem, "future"},
		"a key that is no PEM":            {signed, "key", "public_key:"},
		"two keys":                        {signed, key + otherKey, "public_key:"},
		"a key of another kind":           {signed, publicKeyPEM(t), "public_key:"},
		"a key that is none":              {signed, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "public_key:"},
	} {
		t.Run(name, func(t *testing.T) {
			to := newSite(t)
			to.unchanged(nil, tt.want, func() error { return second(to.importing(tt.archive, tt.key)) })
		})
	}
}

// An archive that is duly signed is checked like everything else that is put, and
// one mistake in it leaves everything as it was.
func TestTrustArchiveIsChecked(t *testing.T) {
	from, _ := online(t)
	signed, _ := from.exported()
	payload := payloadOf(t, signed)
	mallory := newStranger(t)
	duplicate := func(list string) func(map[string]any) {
		return func(m map[string]any) { m[list] = append(m[list].([]any), nth(m, list, 0)) }
	}
	for name, tt := range map[string]struct {
		edit func(map[string]any)
		want string
	}{
		"a root under another digest":      {func(m map[string]any) { nth(m, "roots", 1)["digest"] = "sha256:" + strings.Repeat("0", 64) }, "roots[1]"},
		"a root with another root's bytes": {func(m map[string]any) { nth(m, "roots", 1)["trusted_root"] = nth(m, "roots", 0)["trusted_root"] }, "roots[1]"},
		"a root of another kind":           {func(m map[string]any) { nth(m, "roots", 1)["kind"] = "git" }, "kind"},
		"a TUF root without metadata":      {func(m map[string]any) { nth(m, "roots", 0)["tuf_metadata"] = nil }, "tuf_metadata"},
		"a file root with a TUF address":   {func(m map[string]any) { nth(m, "roots", 1)["tuf_url"] = "https://tuf.example.com" }, "tuf_url"},
		"a root refreshed in the future":   {func(m map[string]any) { nth(m, "roots", 0)["refreshed_at"] = from.now.Add(time.Hour) }, "refreshed_at"},
		"a repository with a password":     {func(m map[string]any) { nth(m, "roots", 0)["tuf_url"] = "https://u:p@tuf.example.com" }, "tuf_url"},
		"TUF metadata that are none":       {func(m map[string]any) { nth(m, "roots", 0)["tuf_metadata"] = map[string]any{"x": ""} }, "tuf_metadata"},
		"TUF metadata without a beginning": {func(m map[string]any) { delete(nth(m, "roots", 0)["tuf_metadata"].(map[string]any), "first-root.json") }, "tuf_metadata"},
		"a policy whose key is yet to be read": {func(m map[string]any) {
			nth(m, "policies", 0)["signing_policy"] = "signing_policy:\n  trusted_signers:\n    - {type: kms, key_ref: \"hashivault://x\"}\n"
		}, "no key"},
		"a root far behind":              {func(m map[string]any) { nth(m, "roots", 1)["position"] = 1 << 20 }, "position"},
		"a root with a bad name":         {func(m map[string]any) { nth(m, "roots", 1)["name"] = "../own" }, "roots[1]"},
		"a root with bad images":         {func(m map[string]any) { nth(m, "roots", 1)["images"] = []string{"nginx"} }, "images"},
		"a root twice":                   {duplicate("roots"), "another root"},
		"a policy twice":                 {duplicate("policies"), "another policy"},
		"a signer twice":                 {duplicate("signers"), "another signer"},
		"a policy that is none":          {func(m map[string]any) { nth(m, "policies", 0)["signing_policy"] = "signing_policy: 7\n" }, "policies[0]"},
		"a policy with a bad owner":      {func(m map[string]any) { nth(m, "policies", 0)["owner"] = " web" }, "owner"},
		"a policy that does not compile": {func(m map[string]any) { nth(m, "policies", 0)["owner"] = "nobody" }, "does not compile"},
		"a signer of another type":       {func(m map[string]any) { nth(m, "signers", 0)["type"] = "password" }, "signers[0]"},
		"a kms signer without its key": {func(m map[string]any) {
			signer := nth(m, "signers", 1)
			signer["type"], signer["kms_key_ref"] = "kms", "hashivault://release"
			delete(signer, "public_key")
		}, "signers[1].public_key"},
		"a signer with an id":            {func(m map[string]any) { nth(m, "signers", 0)["id"] = "01JXXXXXXXXXXXXXXXXXXXXXXX" }, "signers[0].id"},
		"a signer under an unknown root": {func(m map[string]any) { nth(m, "signers", 0)["trust_roots"] = []string{"elsewhere"} }, "trust_roots"},
	} {
		t.Run(name, func(t *testing.T) {
			to := newSite(t)
			body := mallory.sign(edited(t, payload, tt.edit), nil)
			if tt.want == "does not compile" {
				to.Service = to.service(errors.New("it does not compile"))
			}
			to.unchanged(nil, tt.want, func() error { return second(to.importing(body, mallory.pem)) })
		})
	}
}

// What is in use here is not replaced by something older, whoever signed it.
func TestTrustArchiveConflicts(t *testing.T) {
	from, repo := online(t)
	signed, key := from.exported()
	for name, tt := range map[string]struct {
		prepare func(*testing.T, *site)
		kind    error
		want    string
	}{
		"a newer root in use": {func(_ *testing.T, to *site) {
			to.mustPut("own", client.PutTrustRoot{TrustedRoot: instanceRoot(t, "own", 5)}, nil)
		}, trust.ErrOlder, `trust root "own"`},
		"newer TUF metadata in use": {func(_ *testing.T, to *site) {
			repo.Bump()
			to.mustPut("pg", client.PutTrustRoot{TUFURL: repo.URL(), TUFRoot: repo.Root(1)}, nil)
		}, trust.ErrRollback, `trust root "pg"`},
		"another repository of that name": {func(t *testing.T, to *site) {
			other := tuftest.New(t, instanceRoot(t, "pg", 1))
			to.mustPut("pg", client.PutTrustRoot{TUFURL: other.URL(), TUFRoot: other.Root(1)}, nil)
		}, ErrConflict, "remove it here first"},
		"another root in the configuration": {func(t *testing.T, to *site) {
			to.mustSeed(RootSeed{Root: parsedRoot(t, "own", instanceRoot(t, "own", 1))})
		}, ErrConflict, "configuration of this server"},
		"a policy in the configuration": {func(t *testing.T, to *site) {
			p, err := signingpolicy.ParseAs("release", []byte(releasePolicy))
			if err != nil {
				t.Fatal(err)
			}
			if err := to.SeedPolicies(t.Context(), []*signingpolicy.Policy{p}, nil); err != nil {
				t.Fatal(err)
			}
		}, ErrConflict, "configuration"},
		"too many roots": {func(t *testing.T, to *site) {
			var seeds []RootSeed
			for i := range 63 {
				seeds = append(seeds, RootSeed{Root: parsedRoot(t, fmt.Sprintf("r%d", i), instanceRoot(t, "many", 1))})
			}
			to.mustSeed(seeds...)
		}, ErrConflict, "65 trust roots"},
		"another import under way": {func(t *testing.T, to *site) {
			if held, err := to.store.Lease(t.Context(), "trust-import", "another", time.Hour); err != nil || !held {
				t.Fatal(held, err)
			}
		}, ErrConflict, "under way"},
	} {
		t.Run(name, func(t *testing.T) {
			to := newSite(t)
			tt.prepare(t, to)
			to.unchanged(tt.kind, tt.want, func() error { return second(to.importing(signed, key)) })
		})
	}
}

// An embedded root takes over what the archive knows of its repository, and stays
// the server's own in everything else.
func TestTrustArchiveForEmbeddedRoot(t *testing.T) {
	from, repo := online(t)
	signed, key := from.exported()
	to := newSite(t)
	to.mustSeed(RootSeed{
		Root: parsedRoot(t, "pg", instanceRoot(t, "pg", 1)), Embedded: true, TUFURL: repo.URL(), TUFRoot: repo.Root(1), Since: to.now.Add(-100 * time.Hour),
	})
	to.mustImport(signed, key)
	got := to.trustRoot("pg")
	if got.Source != "embedded" || got.Digest != parsedRoot(t, "pg", instanceRoot(t, "pg", 2)).Digest() || !got.RefreshedAt.Equal(from.now) {
		t.Errorf("the root is now %+v", got)
	}
	to.mustSeed(RootSeed{
		Root: parsedRoot(t, "pg", instanceRoot(t, "pg", 1)), Embedded: true, TUFURL: repo.URL(), TUFRoot: repo.Root(1), Since: to.now.Add(-100 * time.Hour),
	})
	if again := to.trustRoot("pg"); again.Digest != got.Digest {
		t.Errorf("a start went back to %s", again.Digest)
	}
}

// Programs of two versions come with two first root.json of one repository, and
// the archive of one is news for the other all the same.
func TestTrustArchiveForEmbeddedRootOfAnotherVersion(t *testing.T) {
	from, repo := online(t)
	repo.RotateRoot()
	signed, key := from.exported()
	to := newSite(t)
	to.mustSeed(RootSeed{
		Root: parsedRoot(t, "pg", instanceRoot(t, "pg", 1)), Embedded: true, TUFURL: repo.URL(), TUFRoot: repo.Root(2), Since: to.now.Add(-100 * time.Hour),
	})
	to.mustImport(signed, key)
	if got, want := to.trustRoot("pg").Digest, parsedRoot(t, "pg", instanceRoot(t, "pg", 2)).Digest(); got != want {
		t.Errorf("the root is %s, want %s", got, want)
	}
	repo.Publish(instanceRoot(t, "pg", 3))
	if _, err := to.RefreshTrustRoot(t.Context(), to.admin, "pg"); err != nil {
		t.Error(err)
	}
}

// An archive that knows nothing of a compromise does not undo it.
func TestTrustArchiveDoesNotRevive(t *testing.T) {
	for name, end := range map[string]string{
		"disabled":     `{"enabled": false}`,
		"signed_until": `{"signed_until": "2026-11-01T00:00:00Z"}`,
		"expires_at":   `{"expires_at": "2026-11-24T00:00:00Z"}`,
	} {
		t.Run(name, func(t *testing.T) {
			from, _ := online(t)
			signed, key := from.exported()
			f := onSQLite(t)
			to := siteOn(t, f)
			to.mustImport(signed, key)
			page, err := to.Signers(t.Context(), to.admin, SignerFilter{Query: "dev"})
			if err != nil || len(page.Items) != 1 {
				t.Fatal(page, err)
			}
			f.clock.move(to.now.Add(time.Hour).Sub(start)) // the archive is an hour old
			if _, err := to.UpdateSigner(t.Context(), to.admin, page.Items[0].ID, 1, []byte(end)); err != nil {
				t.Fatal(err)
			}
			to.unchanged(ErrConflict, "was ended here", func() error { return second(to.importing(signed, key)) })
			// One that was made later is the word of who made it.
			from.now = from.now.Add(2 * time.Hour)
			later, _ := from.exported()
			if got := to.mustImport(later, key); len(got.Signers.Updated) != 1 {
				t.Errorf("imported %+v", got)
			}
		})
	}
}

// What was planned is written only if nothing of it was changed meanwhile.
func TestTrustArchiveMeanwhile(t *testing.T) {
	from, _ := online(t)
	signed, key := from.exported()
	for name, change := range map[string]func(*testing.T, *site) error{
		"a root": func(t *testing.T, to *site) error {
			return second(to.put("new", client.PutTrustRoot{TrustedRoot: instanceRoot(t, "new", 1)}, nil))
		},
		"a policy": func(t *testing.T, to *site) error {
			return second(to.PutPolicy(t.Context(), to.admin, "release", "", []byte(releasePolicy), nil))
		},
		"a signer": func(t *testing.T, to *site) error {
			return second(to.CreateSigner(t.Context(), to.admin, client.Signer{Name: "dev", Type: "keyless", Issuer: "https://accounts.example.test", Subject: "x@example.test"}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			to := newSite(t)
			svc, err := New(Config{Store: to.store, Now: func() time.Time { return to.now }, CheckPolicy: func(context.Context, *signingpolicy.Policy, []byte) error {
				return change(t, to) // the policy is compiled between plan and change
			}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := svc.ImportTrust(t.Context(), to.admin, signed, key, false); !errors.Is(err, ErrStale) {
				t.Errorf("error %v", err)
			}
			if _, err := to.TrustRoot(t.Context(), to.admin, "own"); !errors.Is(err, ErrNotFound) {
				t.Errorf("half of the archive is in force: %v", err)
			}
			// The next attempt takes over all of it.
			to.mustImport(signed, key)
			if diff := cmp.Diff(from.everything(), to.everything(), cmpopts.EquateEmpty(), cmpopts.IgnoreMapEntries(func(k string, _ any) bool { return k == "root new" })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A root that the configuration of both sides has is nothing to import.
func TestTrustArchiveSameInConfiguration(t *testing.T) {
	from, _ := online(t)
	signed, key := from.exported()
	to := newSite(t)
	to.mustSeed(RootSeed{Root: parsedRoot(t, "own", instanceRoot(t, "own", 2))})
	got := to.mustImport(signed, key)
	if diff := cmp.Diff([]string{"pg"}, got.TrustRoots); diff != "" {
		t.Error(diff)
	}
	if own := to.trustRoot("own"); own.Source != "configuration" || len(own.Images) != 0 {
		t.Errorf("the root is now %+v", own)
	}
}

// A rotated secret is another key.
func TestExportKeyChangesWithTheSecret(t *testing.T) {
	s := newSite(t)
	_, before := s.exported()
	if err := s.RotateSecret(t.Context(), s.admin); err != nil {
		t.Fatal(err)
	}
	signed, after := s.exported()
	if before == after {
		t.Error("the key is the same")
	}
	to := newSite(t)
	to.unchanged(nil, "another key", func() error { return second(to.importing(signed, before)) })
	to.mustImport(signed, after)
}
