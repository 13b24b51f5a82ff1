package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/pgtest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/webhook"
)

// faceListeners are where callers ask who cannot send a token.
const faceListeners = `
external_url: https://signet.example.com
deadlines: {opa: 2s, authzen: 2s, rest: 2s}
listeners:
  - {address: "unix:%s", protocols: [opa], authentication: socket, principal: {name: opa, role: verifier}}
  - {address: "unix:%s", protocols: [authzen], authentication: socket, principal: {name: authzen, role: verifier}}`

// registryFaces asks all faces about an image, and says which let it in, with the
// decisions that they name.
type registryFaces struct {
	*world
	d        *daemon
	opa, zen *http.Client
}

func (f *registryFaces) say(image string) (passes []string, answers map[string]string) {
	f.Helper()
	answers = map[string]string{}
	for name, ask := range map[string]struct {
		h            *http.Client
		url, token   string
		body, passes string
	}{
		"rest":        {http.DefaultClient, f.d.address + "/api/v1/verdicts", f.token, `{"image":%q}`, `"allowed":true`},
		"plugin":      {http.DefaultClient, f.d.address + "/api/v1/image-signing/verify", f.token, `{"image_ref":%q}`, `"blocked":false`},
		"opa":         {f.opa, "http://signet/v1/data/signing/verdict", "", `{"input":{"image":%q}}`, `"result":{"allow":true`},
		"opa allow":   {f.opa, "http://signet/v1/data/signing/verdict/allow", "", `{"input":{"image":%q}}`, `"result":true`},
		"mount":       {f.opa, "http://signet/v1/data/mcpgateway", "", `{"input":{"resource":{"type":"oci_image","id":%q}}}`, `"result":{"allow":true`},
		"evaluation":  {f.zen, "http://signet/access/v1/evaluation", "", `{"subject":{"type":"user","id":"a"},"action":{"name":"run"},"resource":{"type":"oci_image","id":%q}}`, `{"decision":true`},
		"evaluations": {f.zen, "http://signet/access/v1/evaluations", "", `{"subject":{"type":"user","id":"a"},"action":{"name":"run"},"evaluations":[{"resource":{"type":"oci_image","id":%q}}]}`, `{"decision":true`},
	} {
		a, err := f.ask(ask.h, http.MethodPost, ask.url, ask.token, fmt.Sprintf(ask.body, image))
		if err != nil {
			f.Fatal(err)
		}
		answers[name] = fmt.Sprintf("%d %s", a.status, a.body)
		if strings.Contains(a.body, ask.passes) {
			passes = append(passes, name)
		}
	}
	return passes, answers
}

// With a registry that is down, slow or hostile no face lets anything in; and what was
// not ready in time is, for who asks again.
func TestNoFacePassesInSilence(t *testing.T) {
	w := newWorld(t, fmt.Sprintf(faceListeners, "opa.sock", "zen.sock"))
	w.admin()
	image, trusted := w.keyless("acme/app")
	d := w.serve()
	d.create(trusted)
	f := &registryFaces{w, d, onSocket(w.path("opa.sock")), onSocket(w.path("zen.sock"))}

	for name, does := range map[string]registrytest.Action{
		"down": registrytest.Status(http.StatusServiceUnavailable), "closed": registrytest.Hangup(), "forbidden": registrytest.Status(http.StatusForbidden),
		"hostile": registrytest.Body("application/vnd.oci.image.manifest.v1+json", []byte(`{"schemaVersion":2}`)), "endless": registrytest.Endless("application/json"),
		"missing": registrytest.Status(http.StatusNotFound), "hanging": registrytest.Hang(),
	} {
		one, _ := w.keyless("acme/" + name) // a deny would be kept for the next
		w.registry.On(registrytest.Any(), does)
		passes, answers := f.say(one)
		if len(passes) > 0 {
			t.Errorf("the registry is %s, and %v let the image in: %v", name, passes, answers)
		}
		for face, a := range answers {
			if face != "opa allow" && !strings.Contains(a, `"decision":"unknown"`) && !strings.Contains(a, `"decision":"deny"`) {
				t.Errorf("the registry is %s: %s does not say that it is unknown: %s", name, face, a)
			}
		}
		w.registry.Behave()
	}

	// Slow: too late for the one who asks, in time for the next.
	w.registry.On(registrytest.Manifest(strings.SplitN(image, "@", 2)[1]), registrytest.Delay(5*time.Second))
	a, err := w.ask(f.opa, http.MethodPost, "http://signet/v1/data/signing/verdict", "", fmt.Sprintf(`{"input":{"image":%q}}`, image))
	w.wants("too late", a, err, http.StatusOK, `"allow":false`)
	if !strings.Contains(a.body, "still_verifying") {
		t.Errorf("too late: %s", a.body)
	}
	eventually.Holds(t, "the work that went on is of use", func() bool {
		passes, _ := f.say(image)
		return len(passes) == 7
	})
	w.registry.On(registrytest.Any(), registrytest.Hang()) // the answers are kept
	if passes, answers := f.say(image); len(passes) != 7 {
		t.Errorf("only %v let in what is kept: %v", passes, answers)
	}
}

// A verdict that is fetched later comes when the registry is back, after a restart too,
// and a webhook tells of it, signed.
func TestVerdictFetchedLater(t *testing.T) {
	hook := newReceiver(t)
	w := newWorld(t, fmt.Sprintf("watch: {recent: 0s}\nwebhooks: [{name: pipeline, url: %q, allow_private: true, events: [verdict]}]", hook.URL))
	w.admin()
	image, trusted := w.keyless("acme/app")
	d := w.serve()
	d.create(trusted)
	w.registry.On(registrytest.Any(), registrytest.Status(http.StatusServiceUnavailable))
	got, err := d.VerifyLater(t.Context(), client.VerdictRequest{Image: image, AssessmentID: "a-1"})
	if err != nil || got.State != client.RequestWaiting {
		t.Fatalf("%+v, %v", got, err)
	}
	eventually.Holds(t, "the first attempt", func() bool {
		s, err := d.VerdictRequest(t.Context(), got.ID)
		return err == nil && s.Attempts > 0
	})
	d.stop(syscall.SIGKILL)
	w.registry.Behave()
	d = w.serve()
	var s client.VerdictRequestStatus
	eventually.Holds(t, "the verdict", func() bool {
		var err error
		s, err = d.VerdictRequest(t.Context(), got.ID)
		return err == nil && s.State == client.RequestDone
	})
	v, err := s.Answer()
	if err != nil || !v.Allowed || v.ID != s.VerdictID {
		t.Errorf("%+v, %v", v, err)
	}
	a, err := d.Assessment(t.Context(), "a-1")
	if err != nil || !a.SignedImage || len(a.Images) != 1 || a.Images[0].VerdictID != v.ID {
		t.Errorf("%+v, %v", a, err)
	}
	eventually.Holds(t, "the webhook", func() bool { return len(hook.all()) > 0 })
	sent := hook.all()[0]
	var e client.Event
	if err := json.Unmarshal(sent.body, &e); err != nil || e.Kind != client.EventVerdict || e.Request == nil || e.Request.ID != got.ID || e.After != "allow" {
		t.Errorf("%v: %s", err, sent.body)
	}
	key, err := d.WebhookKey(t.Context(), "pipeline")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	if want := webhook.Sign(raw, sent.header.Get(webhook.HeaderTimestamp), sent.body); sent.header.Get(webhook.HeaderSignature) != want {
		t.Errorf("signature %q, want %q", sent.header.Get(webhook.HeaderSignature), want)
	}
}

// What waits is not decided for a token that was revoked meanwhile.
func TestVerdictLaterOfARevokedToken(t *testing.T) {
	w := newWorld(t, "")
	w.admin()
	image, trusted := w.keyless("acme/app")
	d := w.serve()
	d.create(trusted)
	stolen := lastLine(w.do("token", "create", "--role", "verifier", "--name", "stolen"))
	w.registry.On(registrytest.Any(), registrytest.Status(http.StatusServiceUnavailable))
	got, err := d.as(stolen).VerifyLater(t.Context(), client.VerdictRequest{Image: image, AssessmentID: "a-1"})
	if err != nil {
		t.Fatal(err)
	}
	eventually.Holds(t, "the first attempt", func() bool {
		s, err := d.VerdictRequest(t.Context(), got.ID)
		return err == nil && s.Attempts > 0
	})
	w.do("token", "revoke", "stolen")
	w.registry.Behave()
	var s client.VerdictRequestStatus
	eventually.Holds(t, "the end", func() bool {
		var err error
		s, err = d.VerdictRequest(t.Context(), got.ID)
		return err == nil && s.State == client.RequestDone
	})
	if s.Decision != client.Unknown || s.VerdictID != "" || s.Verdict != nil || !strings.Contains(s.Message, "the token was revoked") {
		t.Errorf("%+v", s)
	}
	// The attempts before, which found nothing out, are all that is recorded.
	if a, err := d.Assessment(t.Context(), "a-1"); err != nil || a.Allowed || a.Decision != client.Unknown {
		t.Errorf("its assessment: %+v, %v", a, err)
	}
}

// Any server on the store tells of a verdict that was asked for elsewhere, and takes up
// what the other one left.
func TestVerdictFetchedFromAnotherServer(t *testing.T) {
	url := pgtest.Database(t)
	w := newWorld(t, "database: {url_file: database}")
	w.file("database", []byte(url+"\n"))
	w.admin()
	image, trusted := w.keyless("acme/app")
	one, two := w.serve(), w.serve()
	one.create(trusted)
	w.registry.On(registrytest.Any(), registrytest.Status(http.StatusServiceUnavailable))
	got, err := one.VerifyLater(t.Context(), client.VerdictRequest{Image: image})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := two.VerdictRequest(t.Context(), got.ID); err != nil || s.Image != image {
		t.Errorf("%+v, %v", s, err)
	}
	one.stop(syscall.SIGTERM)
	w.registry.Behave()
	eventually.Holds(t, "the other server answers", func() bool {
		s, err := two.VerdictRequest(t.Context(), got.ID)
		v, verr := s.Answer()
		return err == nil && verr == nil && v.Allowed
	})
}

// An unsigned image does not make an assessment signed, and a stranger's signature
// neither.
func TestAssessmentIsNotSigned(t *testing.T) {
	w := newWorld(t, "")
	w.admin()
	image, _ := w.keyless("acme/app") // whose signer nobody trusts
	plain := ocitest.Image(ocitest.ImageOptions{Content: "plain"})
	w.registry.Push("acme/plain", "", plain)
	d := w.serve()
	for _, ref := range []string{image, w.registry.Host() + "/acme/plain@" + plain.Digest()} {
		if _, err := d.Verify(t.Context(), client.VerdictRequest{Image: ref, AssessmentID: "a-1"}); err != nil {
			t.Fatal(err)
		}
	}
	a, err := d.Assessment(t.Context(), "a-1")
	if err != nil || a.SignedImage || a.Allowed || a.Decision != client.Deny || len(a.Images) != 2 || len(a.Verdicts) != 2 {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := d.Assessment(t.Context(), "none"); problem(err) != "not_found" {
		t.Errorf("one that is not there: %v", err)
	}
}
