package registry

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNextLink(t *testing.T) {
	for _, tc := range []struct {
		name   string
		values []string
		want   string
	}{
		{"none", nil, ""},
		{"plain", []string{`</v2/x/referrers/d?n=2>; rel="next"`}, "/v2/x/referrers/d?n=2"},
		{"no quotes", []string{`</x>;rel=next`}, "/x"},
		{"upper case", []string{`</x>; REL="NEXT"`}, "/x"},
		{"second in a list", []string{`</a>; rel="prev", </b>; rel="next"`}, "/b"},
		{"second header", []string{`</a>; rel=prev`, `</b>; rel=next`}, "/b"},
		{"several relations", []string{`</b>; rel="last next"`}, "/b"},
		{"comma in the target", []string{`</a,b>; rel=next`}, "/a,b"},
		{"comma in a quoted parameter", []string{`</a>; title="x, <y>; rel=next"; rel=prev, </b>; rel=next`}, "/b"},
		{"escaped quote", []string{`</a>; title="\", "; rel=prev, </b>; rel=next`}, "/b"},
		{"the first rel counts", []string{`</a>; rel=prev; rel=next`}, ""},
		{"not a link", []string{`next`}, ""},
		{"no end", []string{`</a; rel=next`}, ""},
		{"no relation", []string{`</a>`}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := nextLink(tc.values); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func FuzzLinkHeader(f *testing.F) {
	for _, s := range []string{`</x>; rel="next"`, `</a>; rel=prev, </b>;rel=next`, `<>`, `<a>;rel="`, `,,,<x>;rel=next;`, `</a>; title="\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		if next := nextLink([]string{v}); next != "" && !strings.Contains(v, "<"+next+">") {
			t.Fatalf("%q gives %q", v, next)
		}
	})
}

func TestParseChallenges(t *testing.T) {
	type c = challenge
	for _, tc := range []struct {
		name   string
		values []string
		want   []challenge
	}{
		{"none", nil, nil},
		{"bearer", []string{`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"`}, []c{
			{"bearer", map[string]string{"realm": "https://auth.docker.io/token", "service": "registry.docker.io", "scope": "repository:a/b:pull,push"}},
		}},
		{"spaces around", []string{` bearer  realm = "x" , service = y `}, []c{{"bearer", map[string]string{"realm": "x", "service": "y"}}}},
		{"two in one value", []string{`Basic realm="a, b", Bearer realm="c"`}, []c{{"basic", map[string]string{"realm": "a, b"}}, {"bearer", map[string]string{"realm": "c"}}}},
		{"two values", []string{`Basic realm="a"`, `Bearer realm="c"`}, []c{{"basic", map[string]string{"realm": "a"}}, {"bearer", map[string]string{"realm": "c"}}}},
		{"no parameters", []string{`Negotiate, Basic realm="a"`}, []c{{"negotiate", map[string]string{}}, {"basic", map[string]string{"realm": "a"}}}},
		{"token68", []string{`Negotiate abc/def+, Basic realm="a"`}, []c{{"negotiate", map[string]string{}}, {"basic", map[string]string{"realm": "a"}}}},
		{"escapes", []string{`Basic realm="a\"b\\c"`}, []c{{"basic", map[string]string{"realm": `a"b\c`}}}},
		{"the first of two counts", []string{`Bearer realm="a",realm="b"`}, []c{{"bearer", map[string]string{"realm": "a"}}}},
		{"no closing quote", []string{`Bearer service="s",realm="a`}, []c{{"bearer", map[string]string{"service": "s"}}}},
		{"too long", []string{"Bearer realm=" + strings.Repeat("x", maxChallengeBytes)}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, parseChallenges(tc.values), cmp.AllowUnexported(challenge{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	many := parseChallenges([]string{strings.Repeat("a, ", 1000), "Bearer " + strings.Repeat("x=y,", 100)})
	if len(many) != maxChallenges {
		t.Errorf("%d challenges", len(many))
	}
}

func FuzzWWWAuthenticate(f *testing.F) {
	for _, s := range []string{
		`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull"`, `Basic realm="x", Bearer realm=y`,
		`Negotiate abc==`, `a b c d`, `x="`, `Bearer realm="\`, `,,, ,`, `Digest a=b c=d`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		for _, c := range parseChallenges([]string{v, v}) {
			if c.scheme == "" || c.params == nil || len(c.params) > maxChallengeParams {
				t.Fatalf("%q gives %+v", v, c)
			}
		}
	})
}

func TestPullScopes(t *testing.T) {
	for scope, want := range map[string][]string{
		"":                                nil,
		"registry:catalog:*":              nil,
		"repository:*:pull":               nil,
		"repository:a/../b:pull":          nil,
		"repository:a/b:push":             nil,
		"repository:a/b:pull":             {"repository:a/b:pull"},
		"repository:a/b:pull,push,delete": {"repository:a/b:pull"},
		"repository:a:metadata_read,pull repository:b:pull": {"repository:a:pull", "repository:b:pull"},
		strings.Repeat("repository:a:pull ", 9):             {"repository:a:pull", "repository:a:pull", "repository:a:pull", "repository:a:pull"},
	} {
		if diff := cmp.Diff(want, pullScopes(scope)); diff != "" {
			t.Errorf("%q: -want +got:\n%s", scope, diff)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "0": 0, "-1": 0, "soon": 0, "1e9": 0, "999999999": time.Hour,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute,
		"Fri, 02 Jan 2026 03:00:00 GMT": 0,
		"Fri, 02 Jan 2036 03:00:00 GMT": time.Hour,
	} {
		h := http.Header{}
		if value != "" {
			h.Set("Retry-After", value)
		}
		if got := retryAfter(h, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

func TestTransient(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: &addressError{why: "loopback"}}
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{io.ErrUnexpectedEOF, true},
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, true},
		{refused, false},
		{broken("x", "y"), false},
		{problem("x", "y", "z"), false},
		{errRequestTimeout, false},
		{&tls.CertificateVerificationError{Err: errors.New("x")}, false},
		{tls.RecordHeaderError{RecordHeader: [5]byte{'H', 'T', 'T', 'P', '/'}}, false},
	} {
		if got := transient(tc.err); got != tc.want {
			t.Errorf("%v: %t", tc.err, got)
		}
	}
}

func TestErrorCode(t *testing.T) {
	for body, want := range map[string]string{
		`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"<script>"}]}`: "MANIFEST_UNKNOWN",
		`{"errors":[{"code":"<script>"}]}`:                              "",
		`{"errors":[]}`:                                                 "",
		`not json`:                                                      "",
	} {
		if got := errorCode([]byte(body)); got != want {
			t.Errorf("%s: %q", body, got)
		}
	}
}

func TestReadToken(t *testing.T) {
	for _, tc := range []struct {
		body  string
		token string
		age   time.Duration
	}{
		{`{"token":"a"}`, "a", time.Minute},
		{`{"access_token":"b","expires_in":300}`, "b", 5 * time.Minute},
		{`{"token":"a","access_token":"b","expires_in":1e12}`, "a", time.Hour},
		{`{"token":"a","expires_in":-5}`, "a", time.Minute},
		{`{"token":""}`, "", 0},
		{`{"token":"a b"}`, "", 0},
		{`{"token":"a\r\nX-Evil: 1"}`, "", 0},
		{`{"token":"é"}`, "", 0},
		{`{"token":"` + strings.Repeat("x", maxToken+1) + `"}`, "", 0},
		{`<html>`, "", 0},
	} {
		token, age, ok := readToken([]byte(tc.body))
		if token != tc.token || ok && age != tc.age || ok != (tc.token != "") {
			t.Errorf("%.40s: %q %s %t", tc.body, token, age, ok)
		}
	}
}

func TestHosts(t *testing.T) {
	if got := withPort("ghcr.io", "https"); got != "ghcr.io:443" {
		t.Error(got)
	}
	if got := withPort("[::1]", "http"); got != "[::1]:80" {
		t.Error(got)
	}
	u := &url.URL{Scheme: "https", Host: "EXAMPLE.com"}
	if got := addressOf(u); got != "example.com:443" {
		t.Error(got)
	}
	for host, want := range map[string]bool{"localhost:1": true, "a.localhost:1": true, "127.0.0.9:1": true, "[::1]:1": true, "example.com:1": false, "x": false} {
		if got := isLoopback(host); got != want {
			t.Errorf("isLoopback(%s) = %t", host, got)
		}
	}
}
