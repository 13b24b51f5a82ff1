package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/signet-policy/signet/client"
)

// pretend is a server that answers every request so.
func pretend(status int, contentType, body string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
}

// An enforcement point runs an image when there is no error and the verdict
// allows it, and by its digest, so that what runs is what was looked at.
func ExampleClient_Verify() {
	server := pretend(200, "application/json", `{"decision":"allow","allowed":true,
		"image":"ghcr.io/org/app:v1","pinned":"ghcr.io/org/app@sha256:bd4801c3"}`)
	defer server.Close()

	c, err := client.New(client.Config{BaseURL: server.URL, Token: "sgn_0_secret"})
	if err != nil {
		fmt.Println(err)
		return
	}
	v, err := c.Verify(context.Background(), client.VerdictRequest{Image: "ghcr.io/org/app:v1"})
	if err != nil || !v.Allowed {
		fmt.Println("not run:", err, v.Reasons)
		return
	}
	fmt.Println("run", v.Pinned)
	// Output: run ghcr.io/org/app@sha256:bd4801c3
}

// What the server refuses is a Problem.
func ExampleProblem() {
	server := pretend(422, "application/problem+json", `{"status":422,"code":"invalid_fields",
		"errors":[{"field":"issuer","detail":"It is missing; give the OIDC issuer's URL."}]}`)
	defer server.Close()

	c, err := client.New(client.Config{BaseURL: server.URL, Token: "sgn_0_secret"})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = c.CreateSigner(context.Background(), client.Signer{Name: "acme", Type: "keyless", Subject: "ci@acme.example", Enabled: true})
	var p *client.Problem
	if errors.As(err, &p) {
		for _, e := range p.Errors {
			fmt.Printf("%s: %s\n", e.Field, e.Detail)
		}
	}
	// Output: issuer: It is missing; give the OIDC issuer's URL.
}

// Lists are walked page by page.
func ExampleClient_AllSigners() {
	server := pretend(200, "application/json", `{"items":[{"name":"acme","type":"keyless"},{"name":"release","type":"kms"}]}`)
	defer server.Close()

	c, err := client.New(client.Config{BaseURL: server.URL, Token: "sgn_0_secret"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for s, err := range c.AllSigners(context.Background(), client.SignerFilter{}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(s.Name, s.Type)
	}
	// Output:
	// acme keyless
	// release kms
}

// A change is based on the version that was read, and says why it is made.
func ExampleClient_UpdateSigner() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.URL.Path, r.Header.Get("If-Match"), r.Header.Get("Signet-Why"))
		w.WriteHeader(http.StatusPreconditionFailed)
	}))
	defer server.Close()

	c, err := client.New(client.Config{BaseURL: server.URL, Token: "sgn_0_secret"})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = c.WithWhy("the team left").UpdateSigner(context.Background(), "01JZ", 3, map[string]any{"enabled": false})
	if client.IsStale(err) {
		fmt.Println("somebody else changed it: read it again")
	}
	// Output:
	// PATCH /api/v1/signers/01JZ "3" the team left
	// somebody else changed it: read it again
}
