// Package storetest is what every database behind package store has to do. Call
// [Run] from a test with a function that opens an empty store.
package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing" //nolint:depguard // a suite for tests: the program does not import it
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/verdict"
)

// Opened is an empty store and a second view of it.
type Opened struct {
	Store *store.Store
	// Reader reads the same store as another process would.
	Reader *store.Store
}

// OpenFunc opens an empty store with the given clock. It closes what it opened
// when the test ends.
type OpenFunc func(t *testing.T, now func() time.Time) Opened

// Run runs the whole contract.
func Run(t *testing.T, open OpenFunc) {
	tests := []struct {
		name string
		run  func(*testing.T, *fixture)
	}{
		{"a new store is at revision 0", testNew},
		{"a change raises active", testChangeRaisesActive},
		{"a change that changes nothing does not raise active", testNoChange},
		{"a change that fails leaves nothing", testChangeFails},
		{"what was acknowledged is seen by every reader", testAcknowledgedIsSeen},
		{"a snapshot belongs to its revision", testSnapshotIsConsistent},
		{"a change names its actor", testChangeNeedsActor},
		{"a context that ends is nothing else", testContextEnds},
		{"a trial leaves nothing", testTry},
		{"objects", testObjects},
		{"verdicts: read to be decided again", testKeptVerdicts},
		{"signers: kept as they are", testSignerRoundTrip},
		{"signers: versions and names", testSignerConflicts},
		{"signers: at a revision", testSignersAt},
		{"signers: refused", testSignerRefused},
		{"tokens", testTokens},
		{"tokens: refused", testTokenRefused},
		{"tokens: last use", testTouchTokens},
		{"tokens: teams, images and networks", testTokenScope},
		{"setup", testSetup},
		{"policies", testPolicies},
		{"policies: refused", testPolicyRefused},
		{"trust roots", testRoots},
		{"trust roots: refused", testRootRefused},
		{"bundles", testBundles},
		{"bundles: refused", testBundleRefused},
		{"bundles: histories", testBundleHistory},
		{"policies and trust roots at a revision", testPoliciesAndRootsAt},
		{"gateways", testGateways},
		{"drafts of bundles", testDrafts},
		{"room for drafts", testDraftRoom},
		{"a snapshot leaves out what is known", testSnapshotUnchanged},
		{"a note", testNote},
		{"leases", testLeases},
		{"upkeep", testUpkeep},
		{"watched images", testWatched},
		{"watched images: due", testWatchedDue},
		{"watched images: forgotten", testWatchedForgotten},
		{"verdicts: what was asked", testAsked},
		{"events", testEvents},
		{"deliveries", testDeliveries},
		{"requests for verdicts", testVerdictRequests},
		{"secret: rotated", testRotateSecret},
		{"changes are serial", testSerialChanges},
		{"signers: many at once", testManySigners},
		{"secret", testSecret},
		{"audit", testAudit},
		{"verdicts: kept whole", testRecord},
		{"verdicts: the input can be rebuilt", testRebuild},
		{"verdicts: refused", testRecordRefused},
		{"verdicts: many at once", testRecordMany},
		{"verdicts: one that cannot be written spoils no other", testRecordOneBad},
		{"verdicts: filters", testFilters},
		{"verdicts: counted by day", testDayCounts},
		{"verdicts: pages", testPages},
		{"verdicts: repeated", testRepeat},
		{"verdicts: outside bytes", testOutsideBytes},
		{"outside bytes that are looked for", testLookedFor},
		{"verdicts: of a signer", testSignerVerdicts},
		{"verdicts: of a signer, by name", testSignerVerdictNames},
		{"verdicts: removed by age and number", testPrune},
		{"shadows", testShadows},
		{"facts", testFacts},
		{"uses", testUses},
		{"a reader does not write", testReaderDoesNotWrite},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			clk := &clock{now: start}
			o := open(t, clk.Now)
			tt.run(t, &fixture{Store: o.Store, reader: o.Reader, clock: clk})
		})
	}
}

var (
	start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	alice = store.Actor{Name: "alice", From: "192.0.2.7"}
)

type fixture struct {
	*store.Store
	reader *store.Store
	clock  *clock
}

// clock moves a second with every reading, so that nothing happens at one time.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Second)
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// change fails the test when the change fails.
func (f *fixture) change(t *testing.T, fn func(*store.Tx) error) verdict.Active {
	t.Helper()
	a, err := f.Change(t.Context(), alice, "because", fn)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (f *fixture) active(t *testing.T) verdict.Active {
	t.Helper()
	a, err := f.Active(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

func same(t *testing.T, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// setPolicy puts the policy default, new or not.
func setPolicy(ctx context.Context, tx *store.Tx, body string) error {
	old, err := tx.Policy(ctx, "default")
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	_, err = tx.PutPolicy(ctx, store.PolicyRow{Name: "default", Source: "api", Body: body, Version: old.Version})
	return err
}

func keyless(name string) store.SignerRow {
	return store.SignerRow{
		Name: name, Type: "keyless", Issuer: "https://accounts.google.com",
		SubjectKind: "exact", SubjectPattern: name + "@example.com", Enabled: true,
	}
}

func token(t *testing.T, name string, role auth.Role, now time.Time) (string, auth.Token) {
	t.Helper()
	plain, tok, err := auth.NewToken(auth.NewTokenRequest{Name: name, Role: role, CreatedBy: "alice"}, now)
	if err != nil {
		t.Fatal(err)
	}
	return plain, tok
}

// Facts makes facts about a digest with one signature and one attestation.
func Facts(t testing.TB, digest, subject string) facts.Facts {
	t.Helper()
	at := start.Add(-time.Hour)
	sig := facts.Signature{
		ID: "sha256:sig" + digest, SubjectDigest: digest, Format: "bundle", SignedAt: &at, TrustRoot: "public",
		Annotations: map[string]string{"a": "b"}, Principal: "https://accounts.google.com " + subject,
		Signer:       facts.Signer{Kind: facts.KindCertificate, Issuer: "https://accounts.google.com", Subject: subject, Claims: map[string]string{}},
		Transparency: []facts.LogEntry{}, Timestamps: []facts.Timestamp{},
	}
	att := facts.Attestation{
		Signature: sig, PredicateType: "https://slsa.dev/provenance/v1", StatementSubjects: []facts.StatementSubject{},
		PayloadDigest: "sha256:payload", Predicate: json.RawMessage(`{"z":1.50,"html":"<&>","a":[12345678901234567890]}`),
	}
	att.ID = "sha256:att" + digest
	p := facts.Proven{
		Subject:      facts.Subject{Digest: digest, MediaType: "application/vnd.oci.image.manifest.v1+json", Platforms: []facts.Platform{}},
		Signatures:   []facts.Signature{sig},
		Attestations: []facts.Attestation{att},
		Rejections:   []facts.Rejection{},
	}
	f, err := facts.New(p)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Record makes a record of a verdict that allows image for one signer. The id
// and time come from n, so that records sort by n.
func Record(t testing.TB, n int, f facts.Facts, image string) store.Record {
	t.Helper()
	at := start.Add(time.Duration(n) * time.Second)
	id := fmt.Sprintf("01JD%022d", n)
	signed := start.Add(-time.Hour)
	v := &verdict.Verdict{
		ID: id, Decision: verdict.Allow, Allowed: true, Image: image + ":v1", Digest: f.Subject().Digest,
		Pinned: image + "@" + f.Subject().Digest, FactsDigest: f.Digest(),
		Signature: verdict.SignatureInfo{Found: true, Valid: true, Signer: "a@example.com", Issuer: "https://accounts.google.com", SignedAt: &signed},
		Active:    verdict.Active{Revision: 7, Digest: "sha256:active"}, Build: "test-1", EvaluatedAt: at, ExpiresAt: at.Add(time.Minute),
	}
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	trusted := map[string][]string{}
	for _, a := range f.Attestations() {
		trusted[facts.FactKey(a.Signature)] = []string{"builder"}
	}
	return store.Record{
		Verdict: v, Body: append(body, '\n'), Facts: f, ImageName: image, Principal: "ci", Decided: at,
		Labels: map[string]string{"team": "a"},
		Basis:  []byte(`{"image":"` + image + `:v1"}`), Evidence: []byte("found for " + f.Digest()),
		Frames: map[string]facts.Frame{"default": {
			EvaluatedAt: at, ClockSkew: time.Minute,
			Request: facts.Request{Image: image + ":v1", Context: map[string]string{"env": "prod"}, Roles: []string{"verifier"}},
			Search:  facts.Search{Complete: true, Repositories: []string{image}, ReferrersAPI: "found", Items: 2},
			Matches: []facts.Match{{
				Requirement: "signature", Signers: []string{"builder"}, Principals: []string{"https://accounts.google.com a@example.com"}, Count: 1,
			}},
			TrustedSigners: trusted,
			Trust:          []facts.TrustInfo{{Name: "public", Digest: "sha256:root", Age: 60, TransparencyLog: true}},
		}},
	}
}
