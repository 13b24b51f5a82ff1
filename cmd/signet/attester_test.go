package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/attest"
	"github.com/signet-policy/signet/internal/testkit/kmstest"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/verdict"
)

const attesterID = "https://signet.example.test/prod"

// attested asks for a verdict and its attestation.
func (d *daemon) attested(image string) client.Verdict {
	d.world.Helper()
	v, err := d.Verify(d.world.Context(), client.VerdictRequest{Image: image, Attest: true, Refresh: true})
	if err != nil {
		d.world.Fatal(err)
	}
	return v
}

// accepting is a policy that wants a summary by whoever has a public key.
func accepting(publicKey string) string {
	indented := strings.ReplaceAll(strings.TrimSpace(publicKey), "\n", "\n        ")
	return fmt.Sprintf(`signing_policy:
  require_signature: false
  verify_transparency_log: false
  trusted_signers:
    - type: public_key
      key: |
        %s
  verification_summaries: [{verifiers: [default/1], verifier_id: %q, max_age: 1d}]
`, indented, attesterID)
}

// Summaries that a key in a KMS signs: the server tells its public key, another Signet
// takes them for what they say, and without the service there is none, and a verdict
// all the same.
func TestAttestByKMS(t *testing.T) {
	type service struct {
		key   *kmstest.Key
		env   []string
		hosts string
		*kmstest.Faults
	}
	for _, tt := range []struct {
		name, hash string
		make       func(w *world) service
	}{
		{"Vault", "SHA-256", func(w *world) service {
			v := kmstest.NewVault(w)
			return service{v.Key("attester", kmstest.ECDSAP256), v.Environment(), "", v.Faults}
		}},
		{"Vault, P-384", "SHA-384", func(w *world) service {
			v := kmstest.NewVault(w)
			return service{v.Key("attester", kmstest.ECDSAP384), v.Environment(), "", v.Faults}
		}},
		{"AWS", "SHA-256", func(w *world) service {
			a := kmstest.NewAWS(w)
			return service{a.Key("attester", kmstest.ECDSAP256), a.Environment(), a.Host, a.Faults}
		}},
		{"Google", "SHA-256", func(w *world) service {
			g := kmstest.NewGCP(w)
			return service{g.Key("attester", kmstest.ECDSAP256), append(g.Environment(), w.google(g)...), "", g.Faults}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "offline: false")
			s := tt.make(w)
			w.env = append(w.env, s.env...)
			hosts := ""
			if s.hosts != "" {
				hosts = fmt.Sprintf("allowed_hosts: [%q], ", s.hosts)
			}
			conf := fmt.Sprintf("kms: {%stimeout: 10s}\nattest: {verifier_id: %q, key_ref: %q, push: true}", hosts, attesterID, s.key.Reference())
			w.configure("offline: true\n" + conf)
			w.refuses("attest.key_ref: a key in a KMS needs its service to be asked")
			w.configure("offline: false\n" + conf)
			w.admin()
			d := w.serve()
			image, signer := w.keyless("acme/app")
			d.create(signer)

			v := d.attested(image)
			if v.Attestation == nil || v.Attestation.Result != "PASSED" || v.Attestation.Push == nil || v.Attestation.Push.State != "pushed" {
				t.Fatalf("%s: %+v", v.Decision, v.Attestation)
			}
			a, err := d.Attester(t.Context())
			if err != nil || a.VerifierID != attesterID || a.Hash != tt.hash || a.Key != v.Attestation.Key {
				t.Errorf("%+v (%v), and the summary has the key %s", a, err, v.Attestation.Key)
			}

			other := newWorldLike(w, "")
			policy := other.file("accept.yaml", []byte(accepting(a.PublicKey)))
			if out := other.do("verify", "--policy", policy, "--json", image); !strings.Contains(out, `"requirement":"summary"`) {
				t.Errorf("another Signet says %s", out)
			}
			stranger := other.file("stranger.yaml", []byte(accepting(string(w.stack.Key("stranger", sigstack.ECDSAP256SHA256).PublicPEM()))))
			if code, out, errs := other.run("verify", "--policy", stranger, image); code != exitDeny || !strings.Contains(out, "summary_missing") {
				t.Errorf("with another key: exit code %d\n%s%s", code, out, errs)
			}

			// The service is away: the verdict is what it was, and says why it has no summary.
			s.Down()
			second := w.image("acme/app", "second", sigstack.SignRequest{Identity: sigstack.Workflow{}.Identity(), Log: sigstack.RekorV1()})
			v = d.attested(second)
			if v.Decision != client.Allow || v.Attestation == nil || v.Attestation.Result != "NONE" || v.Attestation.Reason == nil || len(v.Attestation.Bundle) > 0 {
				t.Errorf("without the service: %s %+v", v.Decision, v.Attestation)
			}
			d.stop(syscall.SIGTERM)
			w.refuses("attest.key_ref")
			s.Heal()
			d = w.serve()
			if v = d.attested(second); v.Attestation == nil || v.Attestation.Result != "PASSED" {
				t.Errorf("when it is back: %+v", v.Attestation)
			}
		})
	}
}

// privatePEM is a new key as attest.key_file has it.
func privatePEM(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// Summaries are put where writing wants credentials with attest.push_credentials; the
// verdict is the same without them, and says why there is none beside the image.
func TestPushCredentials(t *testing.T) {
	for _, tt := range []struct {
		name string
		auth registrytest.Auth
	}{
		{"password", registrytest.Auth{Username: "writer", Password: "right", Basic: true, OnlyWrites: true}},
		{"token from the realm", registrytest.Auth{Username: "writer", Password: "right", OnlyWrites: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "")
			_, signer := w.keyless("acme/app")
			guarded := registrytest.New(t, registrytest.Options{Auth: &tt.auth})
			// What is there already came before the registry wanted credentials.
			content := ocitest.Image(ocitest.ImageOptions{Content: "guarded"})
			guarded.Push("acme/app", "", content)
			guarded.Attach("acme/app", content, w.stack.Sign(sigstack.SignRequest{Image: content.Digest(), Identity: sigstack.Workflow{}.Identity(), Log: sigstack.RekorV1()}))
			image := guarded.Host() + "/acme/app@" + content.Digest()

			w.file("attester.pem", privatePEM(t))
			w.file("right", []byte("right\n"))
			w.file("wrong", []byte("wrong\n"))
			configure := func(credentials string) {
				w.configure("")
				w.file("signet.yaml", fmt.Appendf(nil, "listen: 127.0.0.1:0\noffline: true\ntrust_roots: [{name: test, path: root.json}]\nregistries: {%q: {insecure: true}}\nattest: {verifier_id: %q, key_file: attester.pem, push: true%s}\n",
					guarded.Host(), attesterID, credentials))
			}
			given := func(file string) string {
				return fmt.Sprintf(", push_credentials: {%q: {username: writer, password_file: %s}}", guarded.Host(), file)
			}
			pushed := func(credentials string) client.Push {
				configure(credentials)
				d := w.serve()
				defer d.stop(syscall.SIGTERM)
				v := d.attested(image)
				if v.Decision != client.Allow || v.Attestation == nil || v.Attestation.Push == nil {
					t.Fatalf("%s %+v", v.Decision, v.Attestation)
				}
				return *v.Attestation.Push
			}
			configure("")
			w.admin()
			d := w.serve()
			d.create(signer)
			d.stop(syscall.SIGTERM)

			for _, credentials := range []string{"", given("wrong")} {
				if p := pushed(credentials); p.State != "failed" || p.Problem == "" || strings.Contains(p.Problem, "wrong") {
					t.Errorf("with %q: %+v", credentials, p)
				}
			}
			if p := pushed(given("right")); p.State != "pushed" || !strings.HasPrefix(p.Where, guarded.Host()+"/acme/app@sha256:") {
				t.Errorf("with credentials: %+v", p)
			}
			configure(given("absent"))
			w.refuses("attest.push_credentials")
		})
	}
}

// What a policy wants attested and is none to be attested is no failure; for --attest it is.
func TestAttestMissing(t *testing.T) {
	unenforced := &verdict.Attestation{Result: verdict.AttestedNothing, Reason: &verdict.Reason{Code: attest.CodeNotEnforced, Message: "Audit."}}
	unsigned := &verdict.Attestation{Result: verdict.AttestedNothing, Reason: &verdict.Reason{Code: attest.CodeNotSigned, Message: "Key."}}
	unpushed := &verdict.Attestation{Result: verdict.AttestedPassed, Push: &verdict.Push{State: attest.StateFailed, Problem: "401"}}
	present := &verdict.Attestation{Result: verdict.AttestedPassed, Push: &verdict.Push{State: attest.StatePresent}}
	for _, tt := range []struct {
		name             string
		at               *verdict.Attestation
		byFlag, byPolicy string
	}{
		{"audit mode", unenforced, "not attested: Audit.", ""},
		{"a key that does not sign", unsigned, "not attested: Key.", "not attested: Key."},
		{"a push that fails", unpushed, "the attestation was not pushed: 401", "the attestation was not pushed: 401"},
		{"one that is there already", present, "", ""},
		{"none to be pushed", &verdict.Attestation{Result: verdict.AttestedFailed}, "", ""},
	} {
		if got := (attesting{flags: attestFlags{Attest: true}}).missing(tt.at); got != tt.byFlag {
			t.Errorf("%s, by a flag: %q, want %q", tt.name, got, tt.byFlag)
		}
		if got := (attesting{}).missing(tt.at); got != tt.byPolicy {
			t.Errorf("%s, by a policy: %q, want %q", tt.name, got, tt.byPolicy)
		}
	}
}
