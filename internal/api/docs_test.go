package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// The page has every operation, shape and problem that openapi.json has, and
// nothing that its content security policy would refuse.
func TestDocsPage(t *testing.T) {
	b := newBed(t, nil)
	w := b.do(t, b.request(t, "verifier", http.MethodGet, "/docs", ""))
	page := w.Body.String()
	if w.Code != 200 || w.Result().Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("status %d, %s", w.Code, w.Result().Header.Get("Content-Type"))
	}
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(`id="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if ids[m[1]] {
			t.Errorf("the id %s is there twice", m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`href="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if target, inside := strings.CutPrefix(m[1], "#"); inside && !ids[target] {
			t.Errorf("a link leads to %s, which is not there", m[1])
		}
	}
	doc := parseSpec(t)
	for path, operations := range doc.Paths {
		for method, raw := range operations {
			var op struct {
				ID string `json:"operationId"`
			}
			if method == "parameters" {
				continue
			}
			if err := json.Unmarshal(raw, &op); err != nil || !ids[op.ID] {
				t.Errorf("%s %s (%s) is not on the page: %v", method, path, op.ID, err)
			}
		}
	}
	for name := range doc.Components.Schemas {
		if !ids["shape-"+name] {
			t.Errorf("the schema %s is not on the page", name)
		}
	}
	for _, refused := range []string{"<script", "<style", " style=", "javascript:", "http://", " on", "<img", "<form", "ZgotmplZ", "%!"} {
		if refused == " on" {
			if m := regexp.MustCompile(`<[^>]* on\w+=`).FindString(page); m != "" {
				t.Errorf("the page has %s", m)
			}
			continue
		}
		if strings.Contains(page, refused) {
			t.Errorf("the page has %s", refused)
		}
	}
	for _, wanted := range []string{`<html lang="en">`, `name="viewport"`, "<code>allowed</code>", `<span class="method PATCH">PATCH</span>`, "&#34;image&#34;: &#34;ghcr.io/org/server:v1&#34;"} {
		if !strings.Contains(page, wanted) {
			t.Errorf("the page lacks %s", wanted)
		}
	}
}

func TestDocsStyle(t *testing.T) {
	b := newBed(t, nil)
	w := b.do(t, b.request(t, "viewer", http.MethodGet, "/docs/style.css", ""))
	if w.Code != 200 || w.Result().Header.Get("Content-Type") != "text/css; charset=utf-8" || !bytes.Equal(w.Body.Bytes(), docsStyle) {
		t.Errorf("status %d, %s", w.Code, w.Result().Header.Get("Content-Type"))
	}
	if bytes.Contains(docsStyle, []byte("url(")) || bytes.Contains(docsStyle, []byte("@import")) {
		t.Error("the style sheet loads something, which the content security policy refuses")
	}
	if !bytes.Contains(docsStyle, []byte("prefers-color-scheme: dark")) {
		t.Error("the style sheet has no dark colours")
	}
}

func TestOrdered(t *testing.T) {
	var o ordered[int]
	if err := json.Unmarshal([]byte(`{"b":1,"a":2}`), &o); err != nil || len(o) != 2 || o[0].Key != "b" || o[1].Value != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, bad := range []string{`[]`, `7`, `{"a":"x"}`} {
		if err := json.Unmarshal([]byte(bad), &o); err == nil {
			t.Errorf("%s is read", bad)
		}
	}
}
