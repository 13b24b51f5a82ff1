package verify_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

const issuer = "https://accounts.example.test"

func (b *bench) signedBy(id *sigstack.Identity) evidence.Item {
	b.t.Helper()
	return b.bundle(b.Sign(sigstack.SignRequest{Image: image, Identity: id, Log: sigstack.RekorV1()}))
}

// Threat 15: a certificate with no SAN, or several, or one of a type that names
// no signer.
func TestOneSANThreat15(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	for name, id := range map[string]*sigstack.Identity{
		"none":            {Issuer: issuer},
		"two e-mails":     {Emails: []string{"a@example.test", "b@example.test"}, Issuer: issuer},
		"e-mail and URI":  {Emails: []string{"a@example.test"}, URIs: []string{"https://example.test"}, Issuer: issuer},
		"two URIs":        {URIs: []string{"https://a.test", "https://b.test"}, Issuer: issuer},
		"a DNS name":      {DNSNames: []string{"example.test"}, Issuer: issuer},
		"URI and DNS":     {URIs: []string{"https://a.test"}, DNSNames: []string{"example.test"}, Issuer: issuer},
		"two user names":  {OtherNames: []string{"a!x", "b!x"}, Issuer: issuer},
		"e-mail and user": {Emails: []string{"a@example.test"}, OtherNames: []string{"b!x"}, Issuer: issuer},
	} {
		r := b.rejected(facts.CodeCertificateIdentity, b.signedBy(id))
		t.Log(name, r.Message)
	}
	for subject, id := range map[string]*sigstack.Identity{
		"a@example.test":       sigstack.Email(issuer, "a@example.test"),
		"https://a.test/x@ref": sigstack.URI(issuer, "https://a.test/x@ref"),
		"me!example.test":      {OtherNames: []string{"me!example.test"}, Issuer: issuer},
	} {
		if s := b.signature(b.signedBy(id)); s.Signer.Subject != subject || s.Principal != issuer+" "+subject {
			t.Errorf("%s: %+v", subject, s.Signer)
		}
	}
}

// Threat 13: no issuer.
func TestIssuerIsNeededThreat13(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	b.rejected(facts.CodeCertificateIdentity, b.signedBy(&sigstack.Identity{Emails: []string{"a@example.test"}}))
	// Either extension alone is enough: old certificates have the first only.
	for _, left := range []sigstack.Claim{sigstack.ClaimIssuerV1, sigstack.ClaimIssuerV2} {
		id := sigstack.Email(issuer, "a@example.test")
		id.Raw = map[sigstack.Claim][]byte{left: nil}
		if s := b.signature(b.signedBy(id)); s.Signer.Issuer != issuer {
			t.Errorf("%+v", s.Signer)
		}
	}
}

// Threat 16: deprecated and current extensions disagree, or one is mis-encoded.
func TestExtensionsAgreeThreat16(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	str := sigstack.DERString
	for name, raw := range map[string]map[sigstack.Claim][]byte{
		"issuer":                   {sigstack.ClaimIssuerV1: []byte("https://other.test")},
		"trigger":                  {sigstack.ClaimWorkflowTrigger: []byte("pull_request")},
		"commit":                   {sigstack.ClaimWorkflowSHA: []byte("0000")},
		"ref":                      {sigstack.ClaimWorkflowRef: []byte("refs/heads/other")},
		"repository":               {sigstack.ClaimWorkflowRepository: []byte("acme/other")},
		"end of a repository name": {sigstack.ClaimWorkflowRepository: []byte("app")},
		"empty old issuer":         {sigstack.ClaimIssuerV1: {}},
		"not DER":                  {sigstack.ClaimIssuerV2: []byte(sigstack.GitHubIssuer)},
		"bytes after the string":   {sigstack.ClaimIssuerV2: append(str(sigstack.GitHubIssuer), 0)},
		"another string type":      {sigstack.ClaimIssuerV2: printable(sigstack.GitHubIssuer)},
		"not UTF-8":                {sigstack.ClaimBuildSignerURI: str("\xff")},
		"not UTF-8, raw":           {sigstack.ClaimWorkflowName: []byte("\xff")},
		"control characters":       {sigstack.ClaimBuildSignerURI: str("https://a\x00b")},
		"control characters, raw":  {sigstack.ClaimWorkflowName: []byte("a\nb")},
		"runner not DER":           {sigstack.ClaimRunnerEnvironment: []byte("github-hosted")},
	} {
		t.Run(name, func(t *testing.T) {
			b := &bench{Stack: b.Stack, t: t, v: b.v}
			id := sigstack.Workflow{}.Identity()
			if name == "end of a repository name" {
				raw[sigstack.ClaimSourceRepositoryURI] = str("https://github.com/acme/my-app")
			}
			id.Raw = raw
			r := b.rejected(facts.CodeCertificateIdentity, b.signedBy(id))
			t.Log(r.Message)
		})
	}
	// What is empty is left out, and extensions that nobody knows are ignored.
	id := sigstack.Workflow{}.Identity()
	id.Raw = map[sigstack.Claim][]byte{sigstack.ClaimSourceVisibility: str("")}
	id.Extra = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 99}, Value: []byte("?")}}
	s := b.signature(b.signedBy(id))
	if _, ok := s.Signer.Claims["source_repository_visibility_at_signing"]; ok {
		t.Error("an empty claim is a claim")
	}
}

func printable(s string) []byte {
	der, err := asn1.MarshalWithParams(s, "ia5")
	if err != nil {
		panic(err)
	}
	return der
}

// Threat 17: trigger, ref and runner are exposed, so that policies can deny.
func TestClaimsThreat17(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	s := b.signature(b.signedBy(sigstack.Workflow{Trigger: "pull_request", Ref: "refs/pull/7/merge", Runner: "self-hosted"}.Identity()))
	for claim, want := range map[string]string{"build_trigger": "pull_request", "source_repository_ref": "refs/pull/7/merge", "runner_environment": "self-hosted"} {
		if got := s.Signer.Claims[claim]; got != want {
			t.Errorf("%s: %s, want %s", claim, got, want)
		}
	}
}

// Threat 20: another Sigstore instance, with the same names and the same subject.
func TestOtherInstanceThreat20(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	other := newBench(t, sigstack.Options{Name: "other", Seed: "other"})
	b.rejected(facts.CodeCertificateUntrusted, other.bundle(other.Sign(keylessV2())))
	// The same names of authorities and logs, other keys.
	twin := newBench(t, sigstack.Options{Seed: "twin"})
	r := b.rejected(facts.CodeLogEntryMissing, twin.bundle(twin.Sign(keylessV2())))
	t.Log(r.Message)
	// And with a log entry and a timestamp of the true instance.
	ev := twin.Sign(sigstack.SignRequest{Image: image, Identity: dev})
	b.must(b.AddEntry(ev, sigstack.RekorV1()))
	b.must(b.AddTimestamp(ev, sigstack.TimestampSpec{}))
	b.rejected(facts.CodeCertificateUntrusted, b.bundle(ev))
}

// Roots are never merged: the log of one does not vouch for the certificate of
// the other, in either order.
func TestRootsAreNotMerged(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	other := newBench(t, sigstack.Options{Name: "other", Seed: "other"})
	otherRoot := parseRoot(t, "other", other.TrustedRootJSON())
	ev := b.Sign(sigstack.SignRequest{Image: image, Identity: dev})
	b.must(other.AddEntry(ev, sigstack.RekorV1()))
	b.must(other.AddTimestamp(ev, sigstack.TimestampSpec{}))
	for _, v := range []*bench{{t: t, v: newVerifier(t, b.root, otherRoot)}, {t: t, v: newVerifier(t, otherRoot, b.root)}} {
		v.rejected(facts.CodeLogEntryMissing, b.bundle(ev))
		if s := v.signature(other.bundle(other.Sign(keylessV2()))); s.TrustRoot != "other" {
			t.Errorf("%s", s.TrustRoot)
		}
		if s := v.signature(b.bundle(b.Sign(keylessV2()))); s.TrustRoot != "stack" {
			t.Errorf("%s", s.TrustRoot)
		}
	}
	// The first root that verifies is named, whichever else would.
	again := parseRoot(t, "again", b.TrustedRootJSON())
	both := &bench{t: t, v: newVerifier(t, again, b.root)}
	if s := both.signature(b.bundle(b.Sign(keylessV2()))); s.TrustRoot != "again" {
		t.Errorf("%s", s.TrustRoot)
	}
}

// Threat 27: a root certificate inside the evidence, an empty chain, a certificate
// that is its own authority.
func TestChainInEvidenceThreat27(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	stranger := newBench(t, sigstack.Options{Name: "stranger", Seed: "stranger"})
	ev := stranger.Sign(sigstack.SignRequest{Image: image, Identity: dev})
	b.must(b.AddEntry(ev, sigstack.RekorV1()))
	for _, m := range []sigstack.Material{sigstack.MaterialChain, sigstack.MaterialFullChain} {
		raw, err := ev.BundleWith(sigstack.V02, m)
		b.must(err)
		b.rejected(facts.CodeCertificateUntrusted, bundleItem(raw))
	}
	own := b.Sign(keylessV1())
	for _, m := range []sigstack.Material{sigstack.MaterialLeaf, sigstack.MaterialChain, sigstack.MaterialFullChain} {
		raw, err := own.BundleWith(sigstack.V02, m)
		b.must(err)
		b.signature(bundleItem(raw))
		raw, err = own.BundleWith(sigstack.V03, m)
		b.must(err)
		b.rejected(facts.CodeMalformed, bundleItem(raw))
	}
	raw, err := own.BundleWith(sigstack.V02, sigstack.MaterialEmpty)
	b.must(err)
	b.rejected(facts.CodeMalformed, bundleItem(raw))
	raw, err = own.BundleWith(sigstack.V03, sigstack.MaterialKeyHint)
	b.must(err)
	b.rejected(facts.CodeNoMatchingKey, bundleItem(raw))
	// An intermediate of the evidence's own is not used.
	extra := keylessV1()
	extra.Cert.ExtraIntermediates = 1
	b.rejected(facts.CodeCertificateUntrusted, b.bundleAs(b.Sign(extra), sigstack.V02))
	// A CA certificate is no signer's.
	ca := keylessV1()
	ca.Cert.Template = func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
	b.rejected(facts.CodeCertificateUntrusted, b.bundle(b.Sign(ca)))
}

func TestMessagesNameWhatIsWrong(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	r := b.rejected(facts.CodeCertificateIdentity, b.signedBy(&sigstack.Identity{Emails: []string{"a@example.test", "b@example.test"}, Issuer: issuer}))
	if !strings.Contains(r.Message, "2 subject alternative names") || r.Where != "a referrer" || r.ID == "" || r.MediaType == "" {
		t.Errorf("%+v", r)
	}
}
