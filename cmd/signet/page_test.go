package main

import (
	"net/http"
	"strings"
	"testing"
)

// The link that a verdict carries is a page on which it stands.
func TestLinkOfAVerdict(t *testing.T) {
	const external = "https://signet.example.com"
	w := newWorld(t, "")
	image, _ := w.keyless("org/app")
	w.admin()
	w.configure("external_url: " + external)
	d := w.serve()
	a, err := w.ask(http.DefaultClient, http.MethodPost, d.address+"/api/v1/verdicts", w.token, `{"image":"`+image+`"}`)
	w.wants("the verdict", a, err, http.StatusOK, `"link":"`+external+`/admin/security/signing/results/`)
	_, link, _ := strings.Cut(a.body, `"link":"`+external)
	link, _, _ = strings.Cut(link, `"`)
	a, err = w.ask(http.DefaultClient, http.MethodGet, d.address+link, w.token, "")
	w.wants("its page", a, err, http.StatusOK, image)
}
