package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/signet-policy/signet/client"
)

// Where verifiers disagree the verdict is unknown, and what each of them found is kept
// with it.
func TestDisagreementIsKept(t *testing.T) {
	w := newWorld(t, "")
	image, signer := w.keyless("org/app")
	w.admin()
	path := scripted(t, `echo "Error: no matching signatures, says the other" >&2; exit 12`)
	w.file("plugins.yaml", []byte(strings.Replace(string(pluginFile(signer, "")), "      unmapped: deny\n", "      unmapped: deny\n      cosign: {path: \""+path+"\", timeout_seconds: 25}\n", 1)))
	d := w.serve("--plugins", w.path("plugins.yaml"))
	ask := client.VerdictRequest{Image: image, Context: map[string]string{"plugin": "ImageSigningPlugin"}, AssessmentID: "a-1"}
	var ids []string
	for range 2 { // unknown is not cached: each question is asked anew
		v, err := d.Verify(t.Context(), ask)
		if err != nil || v.Decision != client.Unknown || v.Allowed || len(v.Reasons) != 1 || v.Reasons[0].Code != "verifiers_disagree" {
			t.Fatalf("%+v, %v", v, err)
		}
		ids = append(ids, v.ID)
	}
	if ids[0] == ids[1] {
		t.Errorf("one verdict was given twice: %s", ids[0])
	}
	kept, err := d.Assessment(t.Context(), "a-1")
	if err != nil || len(kept.Verdicts) != 2 || kept.SignedImage || kept.Allowed {
		t.Fatalf("%+v, %v", kept, err)
	}
	a, err := w.ask(http.DefaultClient, http.MethodGet, d.address+"/api/v1/verdicts/"+ids[0], w.token, "")
	w.wants("what cosign found", a, err, http.StatusOK, "no matching signatures, says the other")
	w.wants("what Signet found", a, err, http.StatusOK, signer.Subject)
}

// Which program gives the second opinion is said in the plugin file alone: no policy
// and no request can name one.
func TestSecondOpinionIsNotSetFromOutside(t *testing.T) {
	w := newWorld(t, "")
	image, _ := w.keyless("org/app")
	ran := w.path("ran")
	path := scripted(t, "touch "+ran)
	w.admin()
	d := w.serve()
	policy := `{"signing_policy":{"name":"p","trusted_signers":[{"type":"registry"}],"cosign":{"path":"` + path + `"}}}`
	if _, err := d.PutPolicy(t.Context(), "p", "", []byte(policy), nil); err == nil || !strings.Contains(err.Error(), "cosign.path") {
		t.Errorf("a policy that names a program: %v", err)
	}
	for name, ask := range map[string][2]string{
		"a verdict":          {"/api/v1/verdicts", `{"image":"` + image + `","cosign":{"path":"` + path + `"}}`},
		"the plugin's paths": {"/api/v1/image-signing/verify", `{"image_ref":"` + image + `","cosign":{"path":"` + path + `"}}`},
	} {
		a, err := w.ask(http.DefaultClient, http.MethodPost, d.address+ask[0], w.token, ask[1])
		w.wants(name, a, err, http.StatusBadRequest, "unknown_field")
	}
	w.file("policy.yaml", []byte(policy))
	w.fails(exitUsage, "cosign.path", "verify", image, "--policy", w.path("policy.yaml"))
	w.configure("policy_file: policy.yaml")
	w.refuses("cosign.path")
	if code, _, _ := w.finish(w.process("config", "check")); code == exitAllow {
		t.Error("a configuration whose policy names a program is good")
	}
	if _, err := http.Dir(w.dir).Open("ran"); err == nil {
		t.Error("the program was run")
	}
}
