package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/store"
)

// pretend is a server that gives fixed answers: "METHOD path?query" to what is
// answered, the status first where it is not 200. It notes what changes
// something, and refuses what it has no answer to.
type pretend struct {
	t       *testing.T
	answers map[string]string
	asked   []string
}

func (p *pretend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		p.t.Error(err)
	}
	at := r.Method + " " + strings.TrimPrefix(r.URL.RequestURI(), "/api/v1")
	if at == "POST /policies/preview" { // it changes nothing
		w.Header().Set("Content-Type", "application/x-ndjson")
		fmt.Fprintln(w, `{"type":"summary","summary":{"complete":true,"exact":true}}`)
		return
	}
	if r.Method != http.MethodGet {
		line := at
		for _, h := range []string{"If-Match", "If-None-Match", "Signet-Why"} {
			if v := r.Header.Get(h); v != "" {
				line += " " + h + ": " + v
			}
		}
		if len(body) > 0 {
			line += " " + string(body)
		}
		p.asked = append(p.asked, line)
	}
	answer, ok := p.answers[at]
	status := http.StatusOK
	if !ok {
		p.t.Errorf("there is no answer to %s", at)
		status = http.StatusTeapot
	}
	if _, err := fmt.Sscanf(answer, "%d ", &status); err == nil {
		_, answer, _ = strings.Cut(answer, " ")
	}
	w.Header().Set("Content-Type", "application/json")
	if status >= 400 {
		w.Header().Set("Content-Type", "application/problem+json")
	}
	w.WriteHeader(status)
	fmt.Fprint(w, answer)
}

// command runs signet as main does.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(args, &out, &err)
	return code, out.String(), err.String()
}

const (
	signerID = "01JZ0000000000000000000001"
	acme     = `{"id":"` + signerID + `","name":"acme","type":"keyless","issuer":"https://issuer.example","subject":"ci@acme.example",
		"claims":{"b":"2","a":"1"},"trust_roots":[],"images":["ghcr.io/acme/**"],"enabled":true,"state":"in_force","owner":"red","note":"CI \u001b[31m",
		"created_by":"cli:root","created_at":"2027-01-01T00:00:00Z","updated_by":"token ci","updated_at":"2027-01-02T00:00:00Z","version":3}`
	rotated = `{"id":"01JZ0000000000000000000002","name":"release","type":"kms","kms_key_ref":"hashivault://release","fingerprints":["aa"],
		"images":[],"enabled":true,"state":"in_force","kms":{"checked_at":"2027-01-02T00:00:00Z","pending":{"public_key":"PEM","fingerprint":"bb","seen_at":"2027-01-02T00:00:00Z"}},"version":1}`
	tokens = `{"items":[
		{"id":"0T1","name":"ci","role":"verifier","team":"red","images":["ghcr.io/**"],"sources":["10.0.0.0/8"],"expires_at":"2027-03-01T00:00:00Z","state":"valid"},
		{"id":"0T2","name":"two","role":"viewer","expires_at":"2027-03-01T00:00:00Z","last_used_at":"2027-01-01T00:00:00Z","state":"valid"},
		{"id":"0T3","name":"two","role":"viewer","expires_at":"2027-03-01T00:00:00Z","state":"valid"},
		{"id":"0T4","name":"ci","role":"viewer","expires_at":"2026-03-01T00:00:00Z","state":"expired"}]}`
	exceptedJSON = `{"name":"prod","mode":"enforce","exceptions":[{"name":"prod/exceptions/1","images":["a/**"],"codes":["unsigned"],"reason":"soon","owner":"red","expires_at":"2026-01-01T00:00:00Z"}],"version":4}`
	shadowJSON   = `{"policy":"next","shadow_of":"prod","since":"2027-01-01T00:00:00Z","counts":{"agree":5,"would_deny":1},"items":[{"verdict_id":"01JV","image":"a","decision":"deny","compared_with":"allow","reasons":[{"code":"too_old"}],"at":"2027-01-02T00:00:00Z"}]}`
	policyJSON   = `{"name":"prod","source":"api","owner":"red","mode":"enforce","images":[],"signing_policy":"mode: enforce\n","updated_at":"2027-01-01T00:00:00Z","updated_by":"ann","version":4}`
	rootJSON     = `{"name":"own","source":"api","kind":"tuf","digest":"sha256:00","requires":{"log":true,"sct":false,"timestamp":true},"images":[],"tuf_url":"https://tuf.example",
		"target":"trusted_root.json","refreshed_at":"2027-01-01T00:00:00Z","error":"","contains":{"certificate_authorities":1},"updated_by":"ann","updated_at":"2027-01-01T00:00:00Z","version":2}`
	none     = `{"items":[]}`
	notThere = `404 {"code":"not_found","detail":"There is no such object."}`
	staleNow = `412 {"code":"precondition_failed","detail":"It was changed since you read it."}`
	past     = `{"id":"01JV","decision":"deny","allowed":true,"image":"ghcr.io/acme/app:v1","digest":"sha256:11","pinned":"ghcr.io/acme/app@sha256:11",
		"reasons":[{"message":"Not signed.","remediation":"cosign sign"}],"warnings":[{"message":"Old."}],"evaluated_at":"2027-01-01T00:00:00Z","active":{"revision":7}}`
)

// TestCommands runs the commands against fixed answers: what is asked, what is
// printed, and the exit code.
func TestCommands(t *testing.T) {
	dir := t.TempDir()
	file := func(name, body string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, policyFile, root := file("k.pem", "KEY"), file("prod.yaml", "mode: enforce\n"), file("own.json", `{"a":1}`)
	bad, empty, out := file("bad.json", "{"), file("empty", " \n"), filepath.Join(dir, "written")
	byName := "GET /signers?limit=500&query=acme"
	kms := "GET /signers?limit=500&query=release"
	patchAcme := "PATCH /signers/" + signerID
	for _, tt := range []struct {
		args    []string
		answers map[string]string
		code    int
		asked   []string
		stdout  string // each line of it is in what is printed, in order
		stderr  string
	}{
		{args: []string{"whoami"}, answers: map[string]string{"GET /whoami": `{"name":"ci","role":"viewer","images":[]}`}, stdout: "name     ci\nrole     viewer\nteam     all\nimages   all\nexpires  never\n"},
		{args: []string{"whoami", "--json"}, answers: map[string]string{"GET /whoami": `{"name":"ci"}`}, stdout: `"name": "ci"`},
		{
			args:    []string{"whoami"},
			answers: map[string]string{"GET /whoami": `401 {"code":"token_revoked","detail":"An administrator revoked this token."}`}, code: 64,
			stderr: "signet: An administrator revoked this token.\n",
		},
		{args: []string{"whoami"}, answers: map[string]string{"GET /whoami": `500 {"code":"internal_error","detail":"Oh.","request_id":"r1"}`}, code: 70, stderr: "signet: Oh. (request r1)\n"},
		{args: []string{"whoami"}, answers: map[string]string{"GET /whoami": `no JSON`}, code: 70, stderr: "signet: asking the server: GET whoami: the answer was not understood"},

		// Signers.
		{
			args:    []string{"signers", "add", "--issuer", "https://i.example", "--subject", "me", "--claim", "ref=refs/heads/a;b=c", "--trust-root-name", "own", "--image", "a/**", "--signed-until", "2027-01-31T00:00:00+01:00", "--disabled", "--owner", "red", "--why", "new team"},
			answers: map[string]string{"POST /signers": `201 {"name":"me-12345678"}`},
			asked:   []string{`POST /signers Signet-Why: new team {"name":"me-ac98842d","type":"keyless","issuer":"https://i.example","subject":"me","claims":{"ref":"refs/heads/a;b=c"},"trust_roots":["own"],"images":["a/**"],"enabled":false,"signed_until":"2027-01-30T23:00:00Z","owner":"red"}`},
			stdout:  "me-12345678\n",
		},
		{
			args:    []string{"signers", "add", "--key", key, "--name", "k", "--json"},
			answers: map[string]string{"POST /signers": `201 {"id":"1","name":"k"}`},
			asked:   []string{`POST /signers {"name":"k","type":"public_key","claims":{},"trust_roots":[],"public_key":"KEY\n","images":[],"enabled":true}`},
			stdout:  `"id": "1"`,
		},
		{
			args:    []string{"signers", "add", "--kms", "gcpkms://projects/p/k", "--auto-rotate"},
			answers: map[string]string{"POST /signers": `201 {"name":"k"}`},
			asked:   []string{`POST /signers {"name":"projects-p-k-6f2e465b","type":"kms","claims":{},"trust_roots":[],"kms_key_ref":"gcpkms://projects/p/k","auto_rotate":true,"images":[],"enabled":true}`},
			stdout:  "k\n",
		},
		{
			args:    []string{"signers", "add", "--issuer", "https://i.example", "--subject-regex", "(", "--name", "n"},
			answers: map[string]string{"POST /signers": `422 {"code":"invalid_fields","errors":[{"field":"subject_regex","detail":"It does not compile."},{"field":"name","detail":"It is taken."}]}`},
			asked:   []string{`POST /signers {"name":"n","type":"keyless","issuer":"https://i.example","subject_regex":"(","claims":{},"trust_roots":[],"images":[],"enabled":true}`},
			code:    64, stderr: "signet: subject_regex: It does not compile.\nname: It is taken.\n",
		},
		{args: []string{"signers", "add"}, code: 64, stderr: "signet: give --issuer with --subject (or --subject-regex), --key, or --kms\n"},
		{args: []string{"signers", "add", "--issuer", "https://i.example"}, code: 64, stderr: "signet: --issuer needs --subject"},
		{args: []string{"signers", "add", "--kms", "x", "--key", key}, code: 64, stderr: "a signer is one of them"},
		{args: []string{"signers", "add", "--key", dir + "/nothing"}, code: 64, stderr: "signet: --key: open"},
		{args: []string{"signers", "add", "--key", key, "--expires-at", "soon"}, code: 64, stderr: `signet: --expires-at: "soon" is not a time`},
		{args: []string{"signers", "add", "--key", key, "--why", "a\nb"}, code: 64, stderr: "signet: why: is kept in the audit log as one line"},
		{
			args: []string{"signers", "list", "--state", "in_force"}, answers: map[string]string{"GET /signers?limit=500&state=in_force": `{"items":[` + acme + `],"next":"n"}`, "GET /signers?cursor=n&limit=500&state=in_force": `{"items":[` + rotated + `]}`},
			stdout: "NAME     TYPE     WHO                                     IMAGES           STATE                      EXPIRES  OWNER\n" +
				"acme     keyless  https://issuer.example ci@acme.example  ghcr.io/acme/**  in force                   never    red\n" +
				"release  kms      hashivault://release                    all              in force, a new key waits  never    -\n",
		},
		{args: []string{"signers", "list"}, answers: map[string]string{"GET /signers?limit=500": none}, stderr: "no signers are registered"},
		{args: []string{"signers", "list", "--owner", "blue"}, answers: map[string]string{"GET /signers?limit=500&owner=blue": none}, stderr: "no signer is like that"},
		{args: []string{"signers", "list", "--json"}, answers: map[string]string{"GET /signers?limit=500": none}, stdout: "[]\n"},
		{
			args: []string{"signers", "show", "acme"}, answers: map[string]string{byName: `{"items":[` + acme + `]}`},
			stdout: "name         acme\nid           " + signerID + "\ntype         keyless\nstate        in force\nissuer       https://issuer.example\nsubject      ci@acme.example\nclaims       a=1 b=2\n" +
				"trust roots  any\nimages       ghcr.io/acme/**\nexpires      never\nowner        red\nnote         CI \\u001b[31m\ncreated      2027-01-01T00:00:00Z by cli:root\nupdated      2027-01-02T00:00:00Z by token ci\nversion      3\n",
		},
		{args: []string{"signers", "show", signerID, "--json"}, answers: map[string]string{"GET /signers/" + signerID: acme}, stdout: `"name": "acme"`},
		{
			args: []string{"signers", "show", "release"}, answers: map[string]string{kms: `{"items":[` + rotated + `]}`},
			stdout: "keys         aa\nimages       all\nexpires      never\nauto rotate  false\nkey read     2027-01-02T00:00:00Z\nkey waiting  bb, seen 2027-01-02T00:00:00Z\nversion      1\n",
		},
		{
			args: []string{"signers", "show", "01JZ00000000000000000000ZZ"}, answers: map[string]string{"GET /signers/01JZ00000000000000000000ZZ": notThere, "GET /signers?limit=500&query=01JZ00000000000000000000ZZ": none}, code: 64,
			stderr: `there is no signer "01JZ00000000000000000000ZZ"`,
		},
		{args: []string{"signers", "show", "acm"}, answers: map[string]string{"GET /signers?limit=500&query=acm": `{"items":[` + acme + `]}`}, code: 64, stderr: `there is no signer "acm"; signet signers list shows them`},
		{
			args:    []string{"signers", "update", "acme", "--subject-regex", "ci@.*", "--claim", "a=", "--claim", "c=3", "--trust-root-name", "own", "--image", "x/**", "--no-auto-rotate", "--expires-at", "2027-06-01T00:00:00Z", "--owner", "", "--rename", "acme2", "--clear", "note", "--clear", "signed-from", "--key", key},
			answers: map[string]string{byName: `{"items":[` + acme + `]}`, patchAcme: `{"name":"acme2","state":"in_force","version":4}`},
			asked:   []string{patchAcme + ` If-Match: "3" {"auto_rotate":false,"claims":{"a":null,"c":"3"},"expires_at":"2027-06-01T00:00:00Z","images":["x/**"],"name":"acme2","note":null,"owner":"","public_key":"KEY\n","signed_from":null,"subject":null,"subject_regex":"ci@.*","trust_roots":["own"]}`},
			stderr:  "signet: acme2 is changed, and in force\n",
		},
		{
			args:    []string{"signers", "update", "acme", "--subject", "me", "--json"},
			answers: map[string]string{byName: `{"items":[` + acme + `]}`, patchAcme: acme},
			asked:   []string{patchAcme + ` If-Match: "3" {"subject":"me","subject_regex":null}`}, stdout: `"name": "acme"`,
		},
		{args: []string{"signers", "update", "acme"}, code: 64, stderr: "there is nothing to change"},
		{args: []string{"signers", "update", "acme", "--not-before", "x"}, code: 64, stderr: "--not-before"},
		{args: []string{"signers", "update", "acme", "--key", dir + "/nothing"}, code: 64, stderr: "--key"},
		{args: []string{"signers", "update", "acme", "--clear", "issuer"}, code: 64, stderr: "--clear must be one of"},
		{args: []string{"signers", "update", "acme", "--note", "n"}, answers: map[string]string{byName: none}, code: 64, stderr: "there is no signer"},
		{
			args: []string{"signers", "enable", "acme"}, answers: map[string]string{byName: `{"items":[` + acme + `]}`, patchAcme: acme},
			asked: []string{patchAcme + ` If-Match: "3" {"enabled":true}`}, stderr: "signet: acme is as it was\n",
		},
		{
			args: []string{"signers", "disable", "acme", "--why", "left"}, answers: map[string]string{byName: `{"items":[` + acme + `]}`, patchAcme: staleNow}, code: 64,
			asked: []string{patchAcme + ` If-Match: "3" Signet-Why: left {"enabled":false}`}, stderr: "signer acme was changed by somebody else just now",
		},
		{
			args: []string{"signers", "disable", "acme"}, answers: map[string]string{byName: `{"items":[` + acme + `]}`, patchAcme: `403 {"code":"not_yours","detail":"It is the team red's."}`}, code: 64,
			asked: []string{patchAcme + ` If-Match: "3" {"enabled":false}`}, stderr: "signet: It is the team red's.\n",
		},
		{
			args: []string{"signers", "remove", "acme"}, answers: map[string]string{byName: `{"items":[` + acme + `]}`, "DELETE /signers/" + signerID: `204 `},
			asked: []string{"DELETE /signers/" + signerID + ` If-Match: "3"`}, stderr: "signet: acme is no longer trusted\n",
		},
		{
			args: []string{"signers", "remove", "acme"}, answers: map[string]string{byName: `{"items":[` + acme + `]}`, "DELETE /signers/" + signerID: `409 {"detail":"It is referenced."}`}, code: 64,
			asked: []string{"DELETE /signers/" + signerID + ` If-Match: "3"`}, stderr: "signet: It is referenced.\n",
		},
		{
			args: []string{"signers", "import", policyFile, "--dry-run", "--replace"}, answers: map[string]string{"POST /signers/import?dry_run=true&replace=true": `{"created":["a"],"updated":["b"],"unchanged":["c","d"],"dry_run":true}`},
			asked: []string{"POST /signers/import?dry_run=true&replace=true mode: enforce\n"}, stdout: "created    a\nupdated    b\nunchanged  c\nunchanged  d\n",
			stderr: "signet: 1 created, 1 updated, 2 unchanged; nothing was changed (--dry-run)\n",
		},
		{
			args: []string{"signers", "import", policyFile}, answers: map[string]string{"POST /signers/import": `422 {"errors":[{"field":"line 1","detail":"Bad."},{"field":"line 2","detail":"Worse."}]}`}, code: 64,
			asked: []string{"POST /signers/import mode: enforce\n"}, stderr: "prod.yaml: line 1: Bad.\n" + policyFile + ": line 2: Worse.\n",
		},
		{args: []string{"signers", "import", policyFile, "--json"}, answers: map[string]string{"POST /signers/import": `{"created":["a"]}`}, asked: []string{"POST /signers/import mode: enforce\n"}, stdout: `"created": [`},
		{args: []string{"signers", "import", dir + "/nothing"}, code: 64, stderr: "signet: signers import: open"},
		{args: []string{"signers", "export"}, answers: map[string]string{"GET /signers/export": "trusted_signers: []\n"}, stdout: "trusted_signers: []\n"},
		{args: []string{"signers", "export", "--out", out}, answers: map[string]string{"GET /signers/export": "trusted_signers: []\n"}, stderr: "written is written\n"},
		{args: []string{"signers", "export", "--out", dir}, answers: map[string]string{"GET /signers/export": ""}, code: 70, stderr: "--out"},
		{args: []string{"signers", "export", "--out", dir + "/no/where"}, answers: map[string]string{"GET /signers/export": ""}, code: 64, stderr: "--out"},
		{args: []string{"signers", "export"}, answers: map[string]string{"GET /signers/export": `403 {"detail":"No."}`}, code: 64, stderr: "No."},
		{
			args: []string{"signers", "compromise", "acme", "--since", "2027-01-31T00:00:00Z", "--why", "key lost"},
			answers: map[string]string{
				byName: `{"items":[` + acme + `]}`,
				"POST /signers/" + signerID + "/compromise": `{"signer":{"name":"acme","signed_until":"2027-01-31T00:00:00Z"},"more":true,"affected":[{"digest":"sha256:11","image":"a/b:v1","verdict_id":"01JV","at":"2027-02-01T00:00:00Z","verdicts":3}]}`,
			},
			asked:  []string{"POST /signers/" + signerID + `/compromise {"since":"2027-01-31T00:00:00Z","why":"key lost"}`},
			stdout: "LAST ALLOWED          IMAGE   DIGEST     SIGNED   VERDICTS  LAST VERDICT\n2027-02-01T00:00:00Z  a/b:v1  sha256:11  unknown  3         01JV\n",
			stderr: "signet: signatures by acme count until 2027-01-31T00:00:00Z; digests that were allowed because of later ones: 1, and more\n",
		},
		{
			args:    []string{"signers", "compromise", "acme", "--since", "2027-01-31T00:00:00Z", "--why", "x"},
			answers: map[string]string{byName: `{"items":[` + acme + `]}`, "POST /signers/" + signerID + "/compromise": `{"signer":{"name":"acme"},"affected":[]}`},
			asked:   []string{"POST /signers/" + signerID + `/compromise {"since":"2027-01-31T00:00:00Z","why":"x"}`}, stderr: "later ones: 0\n",
		},
		{args: []string{"signers", "compromise", "acme", "--since", "", "--why", "x"}, code: 64, stderr: "--since: give the last moment"},
		{args: []string{"signers", "compromise", "acme", "--since", "now", "--why", "x"}, code: 64, stderr: "--since"},
		{args: []string{"signers", "accept-key", "release"}, answers: map[string]string{kms: `{"items":[` + rotated + `]}`}, code: 64, stderr: "accept it: signet signers accept-key release --fingerprint bb\n"},
		{args: []string{"signers", "accept-key", "acme"}, answers: map[string]string{byName: `{"items":[` + acme + `]}`}, code: 64, stderr: "no key of acme waits"},
		{
			args:    []string{"signers", "accept-key", "release", "--fingerprint", "bb", "--drop-previous"},
			answers: map[string]string{kms: `{"items":[` + rotated + `]}`, "POST /signers/01JZ0000000000000000000002/accept-key": `{"name":"release","fingerprints":["bb"]}`},
			asked:   []string{`POST /signers/01JZ0000000000000000000002/accept-key {"fingerprint":"bb","drop_previous":true}`}, stderr: "signet: release is trusted by the key bb\n",
		},
		{
			args: []string{"signers", "refresh-key", "release"}, answers: map[string]string{kms: `{"items":[` + rotated + `]}`, "POST /signers/01JZ0000000000000000000002/refresh-key": rotated},
			asked: []string{`POST /signers/01JZ0000000000000000000002/refresh-key`}, stderr: "has a new key, which waits to be accepted: signet signers accept-key release --fingerprint bb",
		},
		{
			args: []string{"signers", "refresh-key", "release"}, answers: map[string]string{kms: `{"items":[` + rotated + `]}`, "POST /signers/01JZ0000000000000000000002/refresh-key": `{"name":"release","kms":{"error":"sealed"}}`}, code: 70,
			asked: []string{`POST /signers/01JZ0000000000000000000002/refresh-key`}, stderr: "the last key stays in use: sealed",
		},
		{
			args: []string{"signers", "refresh-key", "release"}, answers: map[string]string{kms: `{"items":[` + rotated + `]}`, "POST /signers/01JZ0000000000000000000002/refresh-key": `{"name":"release"}`},
			asked: []string{`POST /signers/01JZ0000000000000000000002/refresh-key`}, stderr: "the key of release is current",
		},
		{
			args: []string{"signers", "read-key", "hashivault://release"}, answers: map[string]string{"POST /signers/read-key": `{"public_key":"PEM\n","fingerprints":["bb"]}`},
			asked: []string{`POST /signers/read-key {"kms_key_ref":"hashivault://release"}`}, stdout: "PEM", stderr: "its fingerprint is bb",
		},
		{
			args: []string{"signers", "verdicts", "acme", "--limit", "1"}, answers: map[string]string{byName: `{"items":[` + acme + `]}`, "GET /signers/" + signerID + "/verdicts?limit=500": `{"items":[{"digest":"sha256:11"},{"digest":"sha256:22"}]}`},
			stdout: "sha256:11",
		},
		{args: []string{"signers", "verdicts", "acme"}, answers: map[string]string{byName: `{"items":[` + acme + `]}`, "GET /signers/" + signerID + "/verdicts?limit=500": none}, stderr: "nothing was allowed because of acme"},

		{args: []string{"signers", "add", "--kms", "://", "--name", ""}, answers: map[string]string{"POST /signers": `400 {"detail":"No."}`}, code: 64, asked: []string{`POST /signers {"name":"signer-8313d295","type":"kms","claims":{},"trust_roots":[],"kms_key_ref":"://","images":[],"enabled":true}`}, stderr: "No."},
		{args: []string{"signers", "import", policyFile}, answers: map[string]string{"POST /signers/import": `409 {"detail":"They are there."}`}, asked: []string{"POST /signers/import mode: enforce\n"}, code: 64, stderr: "signet: They are there.\n"},
		{args: []string{"signers", "list"}, answers: map[string]string{"GET /signers?limit=500": `403 {"detail":"No."}`}, code: 64, stderr: "No."},
		{
			args: []string{"signers", "list"}, answers: map[string]string{"GET /signers?limit=500": `{"items":[{"name":"z","type":"public_key","fingerprints":["aa","bb"]},{"name":"b","type":"keyless","issuer":"https://i","subject_regex":"a.*"}]}`},
			stdout: "b     keyless     https://i /a.*/  all     -      never    -\nz     public_key  aa bb            all     -      never    -\n",
		},
		{args: []string{"signers", "remove", "acme"}, answers: map[string]string{byName: none}, code: 64, stderr: "there is no signer"},
		{args: []string{"signers", "compromise", "acme", "--since", "2027-01-31T00:00:00Z", "--why", "x"}, answers: map[string]string{byName: none}, code: 64, stderr: "there is no signer"},
		{args: []string{"signers", "accept-key", "acme"}, answers: map[string]string{byName: none}, code: 64, stderr: "there is no signer"},
		{args: []string{"signers", "refresh-key", "acme"}, answers: map[string]string{byName: none}, code: 64, stderr: "there is no signer"},
		{args: []string{"signers", "verdicts", "acme"}, answers: map[string]string{byName: none}, code: 64, stderr: "there is no signer"},
		{
			args: []string{"signers", "compromise", "acme", "--since", "2027-01-31T00:00:00Z", "--why", "x", "--json"}, answers: map[string]string{byName: `{"items":[` + acme + `]}`, "POST /signers/" + signerID + "/compromise": `{"signer":{"name":"acme"}}`},
			asked: []string{"POST /signers/" + signerID + `/compromise {"since":"2027-01-31T00:00:00Z","why":"x"}`}, stdout: `"name": "acme"`,
		},
		{
			args: []string{"signers", "accept-key", "acme", "--fingerprint", "cc", "--json"}, answers: map[string]string{byName: `{"items":[` + acme + `]}`, "POST /signers/" + signerID + "/accept-key": acme},
			asked: []string{"POST /signers/" + signerID + `/accept-key {"fingerprint":"cc"}`}, stdout: `"name": "acme"`,
		},
		{
			args: []string{"signers", "accept-key", "acme", "--fingerprint", "cc"}, answers: map[string]string{byName: `{"items":[` + acme + `]}`, "POST /signers/" + signerID + "/accept-key": `409 {"detail":"It is another one."}`}, code: 64,
			asked: []string{"POST /signers/" + signerID + `/accept-key {"fingerprint":"cc"}`}, stderr: "It is another one.",
		},
		{args: []string{"signers", "verdicts", "acme", "--json"}, answers: map[string]string{byName: `{"items":[` + acme + `]}`, "GET /signers/" + signerID + "/verdicts?limit=500": none}, stdout: "[]\n"},

		// Tokens.
		{
			args:    []string{"token", "create", "--role", "verifier", "--name", "ci", "--expires", "30d", "--team", "red", "--image", "ghcr.io/**", "--source", "10.0.0.0/8"},
			answers: map[string]string{"POST /tokens": `201 {"role":"verifier","token":"sgn_x"}`},
			asked:   []string{`POST /tokens {"name":"ci","role":"verifier","team":"red","images":["ghcr.io/**"],"sources":["10.0.0.0/8"],"expires_in":"30d"}`},
			stdout:  "sgn_x\n", stderr: "signet: a token for verifier; it is shown this once\n",
		},
		{args: []string{"token", "create", "--role", "king", "--name", "ci"}, code: 64, stderr: `signet: --role: role "king" is not known`},
		{args: []string{"token", "create", "--role", "admin", "--name", "ci", "--expires", "soon"}, code: 64, stderr: `signet: --expires: "soon" is not a duration`},
		{
			args: []string{"token", "list"}, answers: map[string]string{"GET /tokens?limit=500": tokens},
			stdout: "ID   NAME  ROLE      TEAM  IMAGES      SOURCES     STATE    EXPIRES               LAST USED\n0T1  ci    verifier  red   ghcr.io/**  10.0.0.0/8  valid    2027-03-01T00:00:00Z  never\n",
		},
		{args: []string{"token", "list"}, answers: map[string]string{"GET /tokens?limit=500": none}, stderr: "there are no tokens; make one"},
		{args: []string{"token", "list", "--json"}, answers: map[string]string{"GET /tokens?limit=500": tokens}, stdout: `"id": "0T1"`},
		{args: []string{"token", "revoke", "ci"}, answers: map[string]string{"GET /tokens?limit=500": tokens, "DELETE /tokens/0T1": "204 "}, asked: []string{"DELETE /tokens/0T1"}, stderr: "signet: token 0T1 (ci) is revoked\n"},
		{args: []string{"token", "revoke", "0T4"}, answers: map[string]string{"GET /tokens?limit=500": tokens, "DELETE /tokens/0T4": "204 "}, asked: []string{"DELETE /tokens/0T4"}, stderr: "revoked"},
		{args: []string{"token", "revoke", "two"}, answers: map[string]string{"GET /tokens?limit=500": tokens}, code: 64, stderr: "2 tokens have the name two; give the id of one: 0T2 0T3"},
		{args: []string{"token", "revoke", "who"}, answers: map[string]string{"GET /tokens?limit=500": tokens}, code: 64, stderr: `there is no valid token "who"`},

		// Policies.
		{args: []string{"policies", "list"}, answers: map[string]string{"GET /policies?limit=500": `{"items":[` + policyJSON + `]}`}, stdout: "prod  enforce  all     api     red    2027-01-01T00:00:00Z  ann\n"},
		{args: []string{"policies", "list"}, answers: map[string]string{"GET /policies?limit=500": none}, stderr: "there are no signing policies"},
		{args: []string{"policies", "list", "--json"}, answers: map[string]string{"GET /policies?limit=500": none}, stdout: "[]\n"},
		{args: []string{"policies", "show", "prod"}, answers: map[string]string{"GET /policies/prod": policyJSON}, stdout: "mode: enforce\n"},
		{args: []string{"policies", "show", "prod", "--json"}, answers: map[string]string{"GET /policies/prod": policyJSON}, stdout: `"version": 4`},
		{args: []string{"policies", "show", "x"}, answers: map[string]string{"GET /policies/x": notThere}, code: 64, stderr: `there is no policy "x"`},
		{
			args: []string{"policies", "put", policyFile}, answers: map[string]string{"GET /policies/prod": notThere, "PUT /policies/prod": `201 {"name":"prod","mode":"enforce","version":1}`},
			asked: []string{"PUT /policies/prod If-None-Match: * mode: enforce\n"}, stderr: "signet: policy prod is new; mode enforce\n",
		},
		{
			args: []string{"policies", "put", policyFile, "--why", "stricter"}, answers: map[string]string{"GET /policies/prod": policyJSON, "PUT /policies/prod?owner=red": `{"name":"prod","mode":"enforce","version":5}`},
			asked: []string{`PUT /policies/prod?owner=red If-Match: "4" Signet-Why: stricter mode: enforce` + "\n"}, stderr: "signet: policy prod is replaced; mode enforce\n",
		},
		{
			args: []string{"policies", "put", policyFile}, answers: map[string]string{"GET /policies/prod": policyJSON, "PUT /policies/prod?owner=red": policyJSON},
			asked: []string{`PUT /policies/prod?owner=red If-Match: "4" mode: enforce` + "\n"}, stderr: "signet: policy prod is as it was; mode enforce\n",
		},
		{
			args: []string{"policies", "put", policyFile, "--json"}, answers: map[string]string{"GET /policies/prod": policyJSON, "PUT /policies/prod?owner=red": policyJSON},
			asked: []string{`PUT /policies/prod?owner=red If-Match: "4" mode: enforce` + "\n"}, stdout: `"version": 4`,
		},
		{
			args: []string{"policies", "put", policyFile}, answers: map[string]string{"GET /policies/prod": policyJSON, "PUT /policies/prod?owner=red": staleNow}, code: 64,
			asked: []string{`PUT /policies/prod?owner=red If-Match: "4" mode: enforce` + "\n"}, stderr: "policy prod was changed by somebody else just now",
		},
		{args: []string{"policies", "put", policyFile}, answers: map[string]string{"GET /policies/prod": `403 {"detail":"No."}`}, code: 64, stderr: "No."},
		{args: []string{"policies", "put", dir + "/nothing"}, code: 64, stderr: "policies put: open"},
		{args: []string{"policies", "except", "prod"}, answers: map[string]string{"GET /policies/prod": policyJSON}, stderr: "signet: policy prod has no exceptions\n"},
		{args: []string{"policies", "except", "prod"}, answers: map[string]string{"GET /policies/prod": exceptedJSON}, stdout: "prod/exceptions/1  a/**    unsigned  2026-01-01T00:00:00Z (ended)  red    soon\n"},
		{args: []string{"policies", "except", "prod", "--json"}, answers: map[string]string{"GET /policies/prod": exceptedJSON}, stdout: `"name": "prod/exceptions/1"`},
		{
			args:    []string{"policies", "except", "prod", "--image", "a/**", "--code", "unsigned", "--reason", "soon", "--owner", "red", "--expires", "2027-01-31T01:00:00+01:00", "--why", "7"},
			answers: map[string]string{"GET /policies/prod": policyJSON, "POST /policies/prod/exceptions": exceptedJSON},
			asked:   []string{`POST /policies/prod/exceptions If-Match: "4" Signet-Why: 7 {"images":["a/**"],"codes":["unsigned"],"reason":"soon","owner":"red","expires_at":"2027-01-31T00:00:00Z"}`},
			stdout:  "prod/exceptions/1", stderr: "signet: policy prod has a new exception\n",
		},
		{
			args: []string{"policies", "except", "prod", "--remove", "1"}, answers: map[string]string{"GET /policies/prod": exceptedJSON, "DELETE /policies/prod/exceptions/1": policyJSON},
			asked: []string{`DELETE /policies/prod/exceptions/1 If-Match: "4"`}, stderr: "signet: policy prod has an exception less\n",
		},
		{
			args: []string{"policies", "except", "prod", "--remove", "1"}, answers: map[string]string{"GET /policies/prod": exceptedJSON, "DELETE /policies/prod/exceptions/1": staleNow}, code: 64,
			asked: []string{`DELETE /policies/prod/exceptions/1 If-Match: "4"`}, stderr: "policy prod was changed by somebody else just now",
		},
		{args: []string{"policies", "except", "prod", "--remove", "1", "--code", "unsigned"}, code: 64, stderr: "--remove takes an exception out"},
		{args: []string{"policies", "except", "prod", "--code", "unsigned"}, code: 64, stderr: "--expires is missing"},
		{args: []string{"policies", "except", "prod", "--code", "unsigned", "--expires", "soon"}, code: 64, stderr: `--expires: "soon" is neither a time nor how long it lasts`},
		{args: []string{"policies", "except", "x"}, answers: map[string]string{"GET /policies/x": notThere}, code: 64, stderr: `there is no policy "x"`},
		{
			args: []string{"policies", "shadow", "next"}, answers: map[string]string{"GET /policies/next/shadow?limit=50": shadowJSON},
			stdout: "compared with prod since 2027-01-01T00:00:00Z: 5 agree, 0 would allow, 1 would deny, 0 would not know\nAT                    DECIDED  SHADOW  IMAGE  REASON   VERDICT\n2027-01-02T00:00:00Z  allow    deny    a      too_old  01JV\n",
		},
		{args: []string{"policies", "shadow", "next", "--json", "--limit", "1"}, answers: map[string]string{"GET /policies/next/shadow?limit=1": shadowJSON}, stdout: `"would_deny": 1`},
		{args: []string{"policies", "shadow", "x"}, answers: map[string]string{"GET /policies/x/shadow?limit=50": notThere}, code: 64, stderr: `there is no policy "x"`},
		{args: []string{"policies", "remove", "prod"}, answers: map[string]string{"GET /policies/prod": policyJSON, "DELETE /policies/prod": "204 "}, asked: []string{`DELETE /policies/prod If-Match: "4"`}, stderr: "policy prod is no longer in force"},
		{args: []string{"policies", "remove", "x"}, answers: map[string]string{"GET /policies/x": notThere}, code: 64, stderr: "there is no policy"},

		// Trust roots.
		{args: []string{"trust", "list"}, answers: map[string]string{"GET /trust-roots?limit=500": `{"items":[` + rootJSON + `]}`}, stdout: "own   tuf   api     log timestamp  all     2027-01-01T00:00:00Z\n"},
		{args: []string{"trust", "list"}, answers: map[string]string{"GET /trust-roots?limit=500": none}, stderr: "there are no trust roots"},
		{args: []string{"trust", "list", "--json"}, answers: map[string]string{"GET /trust-roots?limit=500": none}, stdout: "[]\n"},
		{args: []string{"trust", "show", "own"}, answers: map[string]string{"GET /trust-roots/own": rootJSON}, stdout: "requires   log timestamp\nimages     all\ncontains   1 certificate authorities, 0 transparency logs"},
		{args: []string{"trust", "show", "own", "--json"}, answers: map[string]string{"GET /trust-roots/own": rootJSON}, stdout: `"name": "own"`},
		{args: []string{"trust", "show", "x"}, answers: map[string]string{"GET /trust-roots/x": notThere}, code: 64, stderr: `there is no trust root "x"`},
		{
			args: []string{"trust", "add", root, "--requires", "log", "--requires", "sct", "--image", "a/**", "--position", "0"}, answers: map[string]string{"PUT /trust-roots/own": "201 " + rootJSON},
			asked: []string{`PUT /trust-roots/own If-None-Match: * {"trusted_root":{"a":1},"requires":{"log":true,"sct":true,"timestamp":false},"images":["a/**"],"position":0}`}, stdout: "name       own\n",
		},
		{
			args: []string{"trust", "add", "--tuf", "https://tuf.example/repo", "--root", root, "--requires", "none", "--target", "t.json"}, answers: map[string]string{"PUT /trust-roots/tuf.example": "201 " + rootJSON},
			asked: []string{`PUT /trust-roots/tuf.example If-None-Match: * {"tuf_url":"https://tuf.example/repo","tuf_root":{"a":1},"target":"t.json","requires":{"log":false,"sct":false,"timestamp":false}}`}, stdout: "own",
		},
		{
			args: []string{"trust", "add", root, "--replace", "--allow-older", "--json"}, answers: map[string]string{"GET /trust-roots/own": rootJSON, "PUT /trust-roots/own": rootJSON},
			asked: []string{`PUT /trust-roots/own If-Match: "2" {"trusted_root":{"a":1},"allow_older":true}`}, stdout: `"name": "own"`,
		},
		{args: []string{"trust", "add", root}, answers: map[string]string{"PUT /trust-roots/own": staleNow}, code: 64, asked: []string{`PUT /trust-roots/own If-None-Match: * {"trusted_root":{"a":1}}`}, stderr: "there is a trust root own; give another --name, or --replace it"},
		{args: []string{"trust", "add", root, "--replace"}, answers: map[string]string{"GET /trust-roots/own": notThere}, code: 64, stderr: "there is no trust root"},
		{args: []string{"trust", "add"}, code: 64, stderr: "give a trusted_root.json, or --tuf URL"},
		{args: []string{"trust", "add", root, "--tuf", "https://a"}, code: 64, stderr: "give a trusted_root.json, or --tuf URL"},
		{args: []string{"trust", "add", "--tuf", "https://a"}, code: 64, stderr: "--tuf needs --root"},
		{args: []string{"trust", "add", root, "--root", root}, code: 64, stderr: "--root and --target go with --tuf"},
		{args: []string{"trust", "add", "--tuf", "a", "--root", root}, code: 64, stderr: "is not a URL"},
		{args: []string{"trust", "add", "--tuf", "https://a", "--root", bad}, code: 64, stderr: "is not JSON"},
		{args: []string{"trust", "add", bad}, code: 64, stderr: "bad.json is not JSON"},
		{args: []string{"trust", "add", root, "--requires", "none", "--requires", "log"}, code: 64, stderr: "--requires none goes with no other"},
		{args: []string{"trust", "refresh", "own"}, answers: map[string]string{"POST /trust-roots/own/refresh": rootJSON}, asked: []string{"POST /trust-roots/own/refresh"}, stderr: "trust root own is current as of 2027-01-01T00:00:00Z"},
		{args: []string{"trust", "refresh", "own"}, answers: map[string]string{"POST /trust-roots/own/refresh": `{"name":"own","error":"no route"}`}, code: 70, asked: []string{"POST /trust-roots/own/refresh"}, stderr: "what is there stays in use: no route"},
		{args: []string{"trust", "refresh", "own", "--json"}, answers: map[string]string{"POST /trust-roots/own/refresh": rootJSON}, asked: []string{"POST /trust-roots/own/refresh"}, stdout: `"name": "own"`},
		{args: []string{"trust", "remove", "own"}, answers: map[string]string{"GET /trust-roots/own": rootJSON, "DELETE /trust-roots/own": "204 "}, asked: []string{`DELETE /trust-roots/own If-Match: "2"`}, stderr: "own is no longer trusted"},
		{args: []string{"trust", "export"}, answers: map[string]string{"GET /trust/export": `{"payload":""}`}, stdout: `{"payload":""}`},
		{args: []string{"trust", "export-key", "--out", out}, answers: map[string]string{"GET /trust/export-key": "PEM\n"}, stderr: "written is written"},
		{
			args: []string{"trust", "import", root, "--key", key, "--dry-run"}, answers: map[string]string{"POST /trust/import?dry_run=true": `{"trust_roots":["own"],"policies":["prod"],"signers":{"created":["a"]},"key":"ff","made_at":"2027-01-01T00:00:00Z","dry_run":true}`},
			asked:  []string{`POST /trust/import?dry_run=true {"archive":{"a":1},"public_key":"KEY\n"}`},
			stdout: "trust roots would be imported  own\npolicies would be imported     prod\nsigners would be created       a\n", stderr: "signet: an archive of 2027-01-01T00:00:00Z, signed by the key ff\n",
		},
		{args: []string{"trust", "import", root, "--key", key, "--json"}, answers: map[string]string{"POST /trust/import": `{"key":"ff"}`}, asked: []string{`POST /trust/import {"archive":{"a":1},"public_key":"KEY\n"}`}, stdout: `"key": "ff"`},
		{args: []string{"trust", "import", bad, "--key", key}, code: 64, stderr: "is not JSON"},
		{args: []string{"trust", "import", root, "--key", empty}, code: 64, stderr: "--key: " + empty + " is empty"},

		// The audit log.
		{
			args: []string{"audit", "list", "--object", "signer/1", "--limit", "1"}, answers: map[string]string{"GET /audit?limit=1&object=signer%2F1": `{"items":[{"seq":2,"at":"2027-01-01T00:00:00Z","actor":"ann","from":"10.0.0.1","action":"signer.create","object":"signer/1","why":"x"}]}`},
			stdout: "2    2027-01-01T00:00:00Z  ann  10.0.0.1  signer.create  signer/1  x\n",
		},
		{
			args:    []string{"audit", "list", "--json", "--name", "n", "--actor", "ann", "--action", "signer.", "--since", "2027-01-01T00:00:00Z", "--until", "2027-01-02T00:00:00Z"},
			answers: map[string]string{"GET /audit?action=signer.&actor=ann&limit=50&name=n&since=2027-01-01T00%3A00%3A00Z&until=2027-01-02T00%3A00%3A00Z": none}, stdout: "[]\n",
		},
		{args: []string{"verdicts", "list", "--json", "--reason-code", "unsigned"}, answers: map[string]string{"GET /verdicts?limit=50&reason_code=unsigned": none}, stdout: "[]\n"},
		{args: []string{"audit", "list", "--json"}, answers: map[string]string{"GET /audit?limit=50": none}, stdout: "[]\n"},
		{args: []string{"audit", "head"}, answers: map[string]string{"GET /audit/head": `{"seq":2,"hash":"ab"}`}, stdout: "2:ab\n"},
		{args: []string{"audit", "head", "--json"}, answers: map[string]string{"GET /audit/head": `{"seq":2,"hash":"ab"}`}, stdout: `"seq": 2`},
		{args: []string{"audit", "verify", "--known", "1:aa"}, answers: map[string]string{"POST /audit/verify": `{"seq":2,"hash":"ab"}`}, asked: []string{`POST /audit/verify {"known":{"seq":1,"hash":"aa"}}`}, stdout: "2:ab\n", stderr: "signet: the audit log is whole: 2 entries\n"},
		{args: []string{"audit", "verify", "--json"}, answers: map[string]string{"POST /audit/verify": `{"seq":2,"hash":"ab"}`}, asked: []string{`POST /audit/verify {"known":{"seq":0,"hash":""}}`}, stdout: `"seq": 2`},
		{args: []string{"audit", "verify"}, answers: map[string]string{"POST /audit/verify": `409 {"detail":"Entry 2 was changed."}`}, code: 70, asked: []string{`POST /audit/verify {"known":{"seq":0,"hash":""}}`}, stderr: "signet: Entry 2 was changed.\n"},
		{args: []string{"audit", "verify"}, answers: map[string]string{"POST /audit/verify": `403 {"detail":"No."}`}, code: 64, asked: []string{`POST /audit/verify {"known":{"seq":0,"hash":""}}`}, stderr: "No."},
		{args: []string{"audit", "verify", "--known", "x"}, code: 64, stderr: `--known: "x" is not a head`},

		// Verdicts.
		{
			args:    []string{"verdicts", "list", "--image", "a", "--name", "n", "--digest", "d", "--decision", "deny", "--signer", "acme", "--identity", "me", "--assessment-id", "as", "--since", "2027-01-01T00:00:00Z", "--until", "2027-01-02T00:00:00Z"},
			answers: map[string]string{"GET /verdicts?assessment_id=as&decision=deny&digest=d&identity=me&image=a&limit=50&name=n&signer=acme&since=2027-01-01T00%3A00%3A00Z&until=2027-01-02T00%3A00%3A00Z": `{"items":[{"id":"01JV","decision":"deny","image_ref":"a","principal":"ci","created_at":"2027-01-01T00:00:00Z"}]}`},
			stdout:  "2027-01-01T00:00:00Z  deny      a      -          ci        01JV\n",
		},
		{args: []string{"verdicts", "list", "--limit", "0"}, answers: map[string]string{"GET /verdicts?limit=500": none}, stderr: "there are no such verdicts"},
		{args: []string{"verdicts", "list", "--json"}, answers: map[string]string{"GET /verdicts?limit=50": none}, stdout: "[]\n"},
		{args: []string{"verdicts", "list", "--since", "x"}, code: 64, stderr: "--since"},
		{args: []string{"verdicts", "list", "--until", "x"}, code: 64, stderr: "--until"},
		{
			args: []string{"verdicts", "show", "01JV"}, answers: map[string]string{"GET /verdicts/01JV": past},
			stdout: "DENY  ghcr.io/acme/app:v1\n  (not blocked: no enforcing policy says so)\n\nReason: Not signed.\n  to mend   cosign sign\n\nWarning: Old.\n\nid        01JV\ndecided   2027-01-01T00:00:00Z\n",
		},
		{args: []string{"verdicts", "show", "01JV", "--json"}, answers: map[string]string{"GET /verdicts/01JV": past}, stdout: `"id": "01JV"`},
		{args: []string{"verdicts", "show", "01JV", "--input", "--policy", "p"}, answers: map[string]string{"GET /verdicts/01JV/input?policy=p": `{"schema":"s"}`}, stdout: `"schema": "s"`},
		{args: []string{"verdicts", "show", "01JV", "--uses"}, answers: map[string]string{"GET /verdicts/01JV/uses": `{"items":[{"principal":"ci","minute":"2027-01-01T00:00:00Z","count":5}]}`}, stdout: "2027-01-01T00:00:00Z  ci        5\n"},
		{args: []string{"verdicts", "show", "01JV", "--uses", "--json"}, answers: map[string]string{"GET /verdicts/01JV/uses": none}, stdout: "[]\n"},
		{args: []string{"verdicts", "show", "01JV"}, answers: map[string]string{"GET /verdicts/01JV": `404 {"detail":"No verdict with that id."}`}, code: 64, stderr: "No verdict with that id."},
		{args: []string{"secret", "rotate", "--why", "yearly"}, answers: map[string]string{"POST /secret/rotate": "204 "}, asked: []string{"POST /secret/rotate Signet-Why: yearly"}, stderr: "signet: the secret is replaced\n"},
		{args: []string{"secret", "rotate"}, answers: map[string]string{"POST /secret/rotate": `409 {"detail":"It is in a file."}`}, code: 64, asked: []string{"POST /secret/rotate"}, stderr: "It is in a file."},
	} {
		name := strings.Join(tt.args, " ")
		t.Run(name, func(t *testing.T) {
			p := &pretend{t: t, answers: tt.answers}
			srv := httptest.NewServer(p)
			defer srv.Close()
			t.Setenv("SIGNET_SERVER", srv.URL)
			t.Setenv("SIGNET_TOKEN", "sgn_x_y")
			code, stdout, stderr := command(t, tt.args...)
			if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) ||
				tt.stdout == "" && stdout != "" || tt.stderr == "" && stderr != "" {
				t.Errorf("exit code %d, want %d\nstdout:\n%s\nwant\n%s\nstderr:\n%s\nwant\n%s", code, tt.code, stdout, tt.stdout, stderr, tt.stderr)
			}
			if diff := cmp.Diff(tt.asked, p.asked); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
	if body, err := os.ReadFile(out); err != nil || string(body) != "PEM\n" {
		t.Errorf("%q %v", body, err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// What says where the server is, and who asks.
func TestServerFlags(t *testing.T) {
	var tokens []string
	who := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tokens = append(tokens, r.Header.Get("Authorization"))
		fmt.Fprint(w, `{"name":"ci"}`)
	})
	plain := httptest.NewServer(who)
	defer plain.Close()
	secure := httptest.NewUnstartedServer(who)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	dir := t.TempDir()
	file := func(name string, body []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, body, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := file("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	token, noToken := file("token", []byte("sgn_file_y\n")), file("empty", nil)
	for _, tt := range []struct {
		name   string
		env    string
		args   []string
		token  string // that was sent
		stderr string // "" works
		code   int
	}{
		{"the variable", "sgn_env_y", []string{"--server", plain.URL}, "Bearer sgn_env_y", "", 0},
		{"the file wins", "sgn_env_y", []string{"--server", plain.URL, "--token-file", token}, "Bearer sgn_file_y", "", 0},
		{"TLS", "sgn_env_y", []string{"--server", secure.URL, "--ca-file", ca}, "Bearer sgn_env_y", "", 0},
		{"an unknown certificate", "sgn_env_y", []string{"--server", secure.URL}, "", "certificate", exitFailure},
		{"no token", "", []string{"--server", plain.URL}, "", "--server wants a token: set SIGNET_TOKEN", exitUsage},
		{"an empty token file", "sgn_env_y", []string{"--server", plain.URL, "--token-file", noToken}, "", "is empty", exitUsage},
		{"no token file", "", []string{"--server", plain.URL, "--token-file", dir + "/nothing"}, "", "--token-file: open", exitUsage},
		{"no CA file", "sgn_env_y", []string{"--server", plain.URL, "--ca-file", dir + "/nothing"}, "", "--ca-file: open", exitUsage},
		{"a CA file without certificates", "sgn_env_y", []string{"--server", plain.URL, "--ca-file", token}, "", "there is no PEM certificate in it", exitUsage},
		{"clear text to elsewhere", "sgn_env_y", []string{"--server", "http://signet.example.com"}, "", "--server: signet.example.com is not a loopback host", exitUsage},
		{"no URL", "sgn_env_y", []string{"--server", "signet"}, "", "--server: is not an http or https URL", exitUsage},
		{"a token file without a server", "", []string{"--token-file", token}, "", "give --server URL too", exitUsage},
		{"nobody there", "sgn_env_y", []string{"--server", "http://127.0.0.1:1"}, "", "asking the server: ", exitFailure},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("SIGNET_TOKEN", tt.env)
			tokens = nil
			code, stdout, stderr := command(t, append([]string{"whoami"}, tt.args...)...)
			if code != tt.code || !strings.Contains(stderr, tt.stderr) || (tt.code == 0) != strings.Contains(stdout, "ci") {
				t.Errorf("exit code %d, want %d: %s%s", code, tt.code, stdout, stderr)
			}
			if strings.Contains(stderr, "sgn_") {
				t.Errorf("the token is printed: %s", stderr)
			}
			if got := strings.Join(tokens, " "); got != tt.token {
				t.Errorf("sent %q, want %q", got, tt.token)
			}
		})
	}
}

func TestSetup(t *testing.T) {
	var sent string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent = r.Method + " " + r.URL.Path + " " + r.Header.Get("Authorization") + " " + string(body)
		if strings.Contains(sent, "used") {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"detail":"This setup token was used."}`)
			return
		}
		fmt.Fprint(w, `{"role":"admin","token":"sgn_a_b"}`)
	}))
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("sgn_used_y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, env string
		args      []string
		code      int
		sent      string
		stdout    string
		stderr    string
	}{
		{"the variable", "sgn_setup_y", []string{"--server", srv.URL, "--name", "first"}, 0, `POST /api/v1/setup Bearer sgn_setup_y {"name":"first"}`, "sgn_a_b\n", "shown this once"},
		{"the file", "", []string{"--server", srv.URL, "--setup-token-file", file}, 64, `POST /api/v1/setup Bearer sgn_used_y {"name":"admin"}`, "", "This setup token was used."},
		{"no server", "sgn_setup_y", nil, 64, "", "", "give --server URL"},
		{"no token", "", []string{"--server", srv.URL}, 64, "", "", "set SIGNET_SETUP_TOKEN"},
		{"no file", "", []string{"--server", srv.URL, "--setup-token-file", file + "x"}, 64, "", "", "--setup-token-file"},
		{"a bad server", "sgn_setup_y", []string{"--server", "x"}, 64, "", "", "--server"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("SIGNET_SETUP_TOKEN", tt.env)
			sent = ""
			code, stdout, stderr := command(t, append([]string{"setup"}, tt.args...)...)
			if code != tt.code || stdout != tt.stdout || !strings.Contains(stderr, tt.stderr) || sent != tt.sent {
				t.Errorf("exit code %d, sent %q\n%s%s", code, sent, stdout, stderr)
			}
		})
	}
}

// A handler in this process answers as one behind a connection does.
func TestInProcess(t *testing.T) {
	c, err := newLocalClient(inProcess{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.RemoteAddr != "@" || r.Host != "localhost" || r.Header.Get("Authorization") != "" {
			t.Errorf("%v %q %q", err, r.RemoteAddr, r.Host)
		}
		switch r.RequestURI {
		case "/api/v1/whoami":
			fmt.Fprint(w, `{"name":"cli"}`)
			w.WriteHeader(http.StatusTeapot) // too late
			w.Header().Set("Content-Type", "too/late")
		case "/api/v1/tokens":
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusConflict)
			_ = json.NewEncoder(w).Encode(map[string]string{"detail": string(body)})
		}
	})})
	if err != nil {
		t.Fatal(err)
	}
	if who, err := c.Whoami(t.Context()); err != nil || who.Name != "cli" {
		t.Errorf("%v %v", who, err)
	}
	_, err = c.CreateToken(t.Context(), client.NewToken{Name: "n", Role: "admin"})
	if !client.IsConflict(err) || err.Error() != `{"name":"n","role":"admin"}` {
		t.Errorf("%v", err)
	}
	if err := c.RotateSecret(t.Context()); err != nil { // neither status nor body: 200
		t.Error(err)
	}
}

// Which way goes to the store: the store itself, or the server that holds it.
func TestLocalTransport(t *testing.T) {
	closed := false
	rt, done, err := localTransport(t.Context(), t.TempDir(), func() (http.Handler, func(), error) {
		return http.NotFoundHandler(), func() { closed = true }, nil
	})
	if _, direct := rt.(inProcess); err != nil || !direct {
		t.Fatalf("%T %v", rt, err)
	}
	if done(); !closed {
		t.Error("the store stays open")
	}

	broken := errors.New("broken")
	if _, _, err := localTransport(t.Context(), t.TempDir(), func() (http.Handler, func(), error) { return nil, nil, broken }); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}

	held := &store.InUseError{}
	isHeld := func() (http.Handler, func(), error) { return nil, nil, fmt.Errorf("opening: %w", held) }
	dir := t.TempDir()
	if _, _, err := localTransport(t.Context(), dir, isHeld); !errors.As(err, &held) || !strings.Contains(fmt.Sprint(err), "does not answer") {
		t.Errorf("%v", err)
	}
	stop, err := serveControl(t.Context(), dir, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"name":"owner"}`) }), newLogger(io.Discard, config.Default().Log, true))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	rt, done, err = localTransport(t.Context(), dir, isHeld)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	c, err := newLocalClient(rt)
	if err != nil {
		t.Fatal(err)
	}
	if who, err := c.Whoami(t.Context()); err != nil || who.Name != "owner" {
		t.Errorf("%v %v", who, err)
	}
}

// A command that is under way when the server stops gets its answer.
func TestControlSocketStopsInOrder(t *testing.T) {
	dir := t.TempDir()
	asked, answer := make(chan struct{}), make(chan struct{})
	stop, err := serveControl(t.Context(), dir, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-answer
		if r.Context().Err() != nil {
			w.WriteHeader(http.StatusServiceUnavailable) // cut off
		}
	}), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	transport, done, err := dialControl(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	got := make(chan string, 1)
	go func() {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/", http.NoBody)
		if err != nil {
			got <- err.Error()
			return
		}
		res, err := transport.RoundTrip(req)
		if err != nil {
			got <- err.Error()
			return
		}
		_ = res.Body.Close()
		got <- res.Status
	}()
	<-asked
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	for { // until nobody else is let in
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "unix", filepath.Join(dir, controlSocket))
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	close(answer)
	<-stopped
	if is := <-got; is != "200 OK" {
		t.Errorf("the answer is %s", is)
	}
}
