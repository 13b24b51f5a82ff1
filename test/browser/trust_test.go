package browser

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/testkit"
	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/testkit/kmstest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/testkit/tuftest"
)

// A trust root is added, changed and removed; what ends soon is told, and what a
// change would flip is seen before it is made.
func TestTrustRoots(t *testing.T) {
	s := demo(t)
	s.verify("keyless")
	stack, err := sigstack.New(sigstack.Options{Name: "acme-test", Seed: "browser", From: time.Now().Add(-24 * time.Hour).UTC().Truncate(time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	root := stack.TrustedRoot()
	soon := time.Now().Add(9 * 24 * time.Hour).UTC().Truncate(time.Second)
	root.Rekor[0].PublicKey.ValidFor.End = &soon
	body, err := root.JSON()
	if err != nil {
		t.Fatal(err)
	}
	p := s.visit()
	p.login(s.token)
	p.clicks("Trust")
	p.clicks("Add a trust root")
	p.types("#name", "acme-test")
	p.changes("#trusted_root", "{ no JSON")
	p.clicks("Trust this root")
	p.sees("It is no JSON.")
	p.changes("#trusted_root", "{}")
	p.clicks("Trust this root")
	p.sees("not a usable trust root")
	p.changes("#trusted_root", string(body))
	p.types("#images", "ghcr.io/acme/**")
	p.clicks("What would change?")
	p.sees("No recent image would be denied that is allowed now.")
	p.types("#why", "our own instance")
	p.clicks("Trust this root")
	p.sees("The trust root is saved, and in force.")
	p.sees("ends soon")
	made, err := s.api.TrustRoot(t.Context(), "acme-test")
	if err != nil || made.Source != "api" || len(made.Images) != 1 || made.Contains.NextEnd == nil || !made.Contains.NextEnd.Equal(soon) {
		t.Fatalf("%+v, %v", made, err)
	}
	p.open("/trust/acme-test/edit")
	p.types("#images", "ghcr.io/acme/**, ghcr.io/other/**")
	p.types("#position", "first")
	p.clicks("Save")
	p.sees("It is no number")
	p.types("#position", "7")
	p.clicks("Save")
	p.sees("The trust root is saved, and in force.")
	p.sees("ghcr.io/other/**")
	changed, err := s.api.TrustRoot(t.Context(), "acme-test")
	if err != nil || changed.Position != 7 || changed.Digest != made.Digest || len(changed.Images) != 2 {
		t.Fatalf("%+v, %v", changed, err)
	}
	// An older one is refused, unless it is meant.
	older := stack.TrustedRoot()
	older.Rekor = older.Rekor[:1]
	body, err = older.JSON()
	if err != nil {
		t.Fatal(err)
	}
	p.open("/trust/acme-test/edit")
	p.clicks("Replace it by a file")
	p.changes("#trusted_root", string(body))
	p.clicks("Save")
	p.sees("is older than the one in use")
	p.presses("input[name=allow_older]")
	p.clicks("Save")
	p.sees("The trust root is saved, and in force.")
	p.open("/trust/acme-test/remove")
	p.sees("No recent image would be denied that is allowed now.")
	p.types("#why", "no longer used")
	p.clicks("Remove acme-test")
	p.sees("The trust root is removed.")
	if _, err := s.api.TrustRoot(t.Context(), "acme-test"); !client.IsNotFound(err) {
		t.Errorf("removed, and: %v", err)
	}
	// The registry that was asked is among what is told of.
	host, _, _ := strings.Cut(s.registry, "/")
	p.sees(host)
}

// Signatures of a signer that was compromised count up to a moment; what that denies
// is seen before, and what it denied after. The window is in the form, too.
func TestCompromise(t *testing.T) {
	s := demo(t)
	s.verify("keyless")
	found, err := s.api.Signers(t.Context(), client.SignerFilter{Query: "acme-release"})
	if err != nil || len(found.Items) != 1 {
		t.Fatalf("%d signers, %v", len(found.Items), err)
	}
	id := found.Items[0].ID
	p := s.visit()
	p.login(s.token)
	p.open("/signers/" + id)
	p.clicks("Compromised?")
	p.changes("#since", "2001-01-01T00:00")
	p.changes("#zone", "Europe/Berlin")
	p.clicks("What would change?")
	p.sees("1 recent image would now be denied")
	p.clicks("End trust in later signatures")
	p.sees("the audit log keeps it") // why is missing
	p.changes("#since", "2090-01-01T00:00")
	p.types("#why", "the key was copied")
	p.clicks("End trust in later signatures")
	p.sees("is still to come")
	p.changes("#since", "2001-01-01T00:00")
	p.clicks("End trust in later signatures")
	p.sees("1 digest")
	p.sees("/demo/keyless")
	p.clicks("To the signer")
	p.sees("Signed until")
	p.sees("signer.compromise")
	until := time.Date(2000, 12, 31, 23, 0, 0, 0, time.UTC)
	if got, err := s.api.Signer(t.Context(), id); err != nil || got.SignedUntil == nil || !got.SignedUntil.Equal(until) {
		t.Fatalf("%+v, %v", got, err)
	}
	p.clicks("Edit")
	p.until(`document.querySelector("#signed_until")?.value === "2000-12-31T23:00"`)
	p.changes("#signed_until", "")
	p.changes("#signed_from", "2020-06-01T12:00:30")
	p.changes("#zone", "Asia/Tokyo")
	p.clicks("Save")
	p.sees("The signer is saved, and in force.")
	got, err := s.api.Signer(t.Context(), id)
	if err != nil || got.SignedUntil != nil || got.SignedFrom == nil || !got.SignedFrom.Equal(time.Date(2020, 6, 1, 3, 0, 30, 0, time.UTC)) {
		t.Errorf("%+v, %v", got, err)
	}
	if verdict, err := s.api.Verify(t.Context(), client.VerdictRequest{Image: s.image("keyless")}); err != nil || verdict.Decision != client.Allow {
		t.Errorf("%s, %v", verdict.Decision, err)
	}
}

// What fails, and what is unsafe in the configuration, is said; a root is refreshed when
// somebody wants it now.
func TestTrustTells(t *testing.T) {
	stack := testkit.NewStack(t, sigstack.Options{Name: "other", Seed: "other"})
	repo := tuftest.New(t, stack.TrustedRootJSON())
	vault := kmstest.NewVault(t)
	s := started(t, settings{
		offline: "false", more: "cache: {redis: {url: \"redis://127.0.0.1:1\"}}\nmcp: {unmapped: allow}\nactive: {grace: 1m}\nkms: {refresh: 1s}\n",
		environment: vault.Environment(),
	})
	if _, err := s.api.CreateSigner(t.Context(), client.Signer{Name: "release", Type: "kms", Enabled: true, KMSKeyRef: vault.Key("release", kmstest.ECDSAP256).Reference()}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.api.PutTrustRoot(t.Context(), "other", client.PutTrustRoot{TUFURL: repo.URL(), TUFRoot: repo.Root(1)}, nil); err != nil {
		t.Fatal(err)
	}
	p := s.visit()
	p.login(s.token)
	p.clicks("Trust")
	p.until(`[...document.querySelectorAll("li")].some((e) => e.innerText.includes("Redis") && e.innerText.includes("failing") && e.innerText.includes("optional"))`)
	told := func(what, state string) {
		t.Helper()
		eventually.Holds(t, what+" is "+state, func() bool {
			p.open("/trust")
			return p.text(`String([...document.querySelectorAll("li")].some((e) => e.innerText.includes("`+what+`") && e.querySelector(".badge")?.innerText === "`+state+`"))`) == "true"
		})
	}
	told("Database", "ok")
	told("Key in a KMS", "ok")
	vault.Seal()
	told("Key in a KMS", "failing")
	vault.Heal()
	told("Key in a KMS", "ok")
	p.sees("mcp.unmapped: allow")
	p.sees("active.grace")
	repo.Bump()
	asked := repo.Asked()
	p.presses(`form[action$="/trust/other/refresh"] button`)
	p.sees("The trust root was refreshed.")
	if repo.Asked() == asked {
		t.Error("the repository was not asked")
	}
	repo.Down(http.StatusBadGateway)
	p.presses(`form[action$="/trust/other/refresh"] button`)
	p.until(`!!document.querySelector("[role=alert]")`)
	told("other", "failing")
}
