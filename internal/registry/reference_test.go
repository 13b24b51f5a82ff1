package registry

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/signet-policy/signet/internal/evidence"
)

var hex64 = strings.Repeat("ab", 32)

func TestParseReference(t *testing.T) {
	d := "sha256:" + hex64
	for _, tc := range []struct {
		image string
		want  Reference
		full  string
	}{
		{"nginx", Reference{"docker.io", "library/nginx", "latest", "", ""}, "docker.io/library/nginx:latest"},
		{"nginx:1.27", Reference{"docker.io", "library/nginx", "1.27", "", ""}, "docker.io/library/nginx:1.27"},
		{"org/app", Reference{"docker.io", "org/app", "latest", "", ""}, "docker.io/org/app:latest"},
		{"docker.io/nginx", Reference{"docker.io", "library/nginx", "latest", "", ""}, "docker.io/library/nginx:latest"},
		{"index.docker.io/nginx", Reference{"docker.io", "library/nginx", "latest", "", ""}, "docker.io/library/nginx:latest"},
		{"INDEX.docker.io:443/library/nginx", Reference{"docker.io", "library/nginx", "latest", "", ""}, "docker.io/library/nginx:latest"},
		{"registry-1.docker.io/library/nginx", Reference{"docker.io", "library/nginx", "latest", "", ""}, "docker.io/library/nginx:latest"},
		{"registry.hub.docker.com/library/nginx", Reference{"docker.io", "library/nginx", "latest", "", ""}, "docker.io/library/nginx:latest"},
		{"GHCR.io/org/app:v1", Reference{"ghcr.io", "org/app", "v1", "", ""}, "ghcr.io/org/app:v1"},
		{"ghcr.io:443/org/app:v1", Reference{"ghcr.io", "org/app", "v1", "", ""}, "ghcr.io/org/app:v1"},
		{"ghcr.io/org/app@" + d, Reference{"ghcr.io", "org/app", "", d, ""}, "ghcr.io/org/app@" + d},
		{"ghcr.io/org/app:v1@" + d, Reference{"ghcr.io", "org/app", "v1", d, ""}, "ghcr.io/org/app:v1@" + d},
		{"localhost:5000/app", Reference{"localhost:5000", "app", "latest", "", ""}, "localhost:5000/app:latest"},
		{"localhost/app", Reference{"localhost", "app", "latest", "", ""}, "localhost/app:latest"},
		{"LOCALHOST/app", Reference{"localhost", "app", "latest", "", ""}, "localhost/app:latest"},
		{"127.0.0.1:5000/a/b/c:x", Reference{"127.0.0.1:5000", "a/b/c", "x", "", ""}, "127.0.0.1:5000/a/b/c:x"},
		{"[::1]:5000/app", Reference{"[::1]:5000", "app", "latest", "", ""}, "[::1]:5000/app:latest"},
		{"[0:0:0:0:0:0:0:1]/app", Reference{"[::1]", "app", "latest", "", ""}, "[::1]/app:latest"},
		{"[::ffff:10.0.0.1]/app", Reference{"10.0.0.1", "app", "latest", "", ""}, "10.0.0.1/app:latest"},
		{"example.com/a__b-c.d/e--f", Reference{"example.com", "a__b-c.d/e--f", "latest", "", ""}, "example.com/a__b-c.d/e--f:latest"},
		{"oci-layout:/images/app", Reference{"", "", "", "", "/images/app"}, "oci-layout:/images/app"},
		{"oci-layout:./app:v1", Reference{"", "", "v1", "", "./app"}, "oci-layout:./app:v1"},
		{"oci-layout:app@" + d, Reference{"", "", "", d, "app"}, "oci-layout:app@" + d},
		{"oci-layout:app:v1@" + d, Reference{"", "", "v1", d, "app"}, "oci-layout:app:v1@" + d},
		{"oci-layout:a:b/c@d", Reference{"", "", "", "", "a:b/c@d"}, "oci-layout:a:b/c@d"},
	} {
		t.Run(tc.image, func(t *testing.T) {
			got, err := ParseReference(tc.image, true)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got.String() != tc.full {
				t.Errorf("String: %s, want %s", got, tc.full)
			}
			again, err := ParseReference(got.String(), true)
			if err != nil || again != got {
				t.Errorf("parsing %s again: %+v, %v", got, again, err)
			}
		})
	}
}

// Threat 33, and every spelling of a name that could slip past a glob.
func TestParseReferenceRefuses(t *testing.T) {
	for _, image := range []string{
		"", " ", "nginx ", " nginx", "ngi\nnx", "nginx\x00", "Nginx", "org/App", "ORG/app", "Foo.com:x/app",
		"ghcr.io./org/app", "ghcr.io../app", ".ghcr.io/app", "-ghcr.io/app", "ghcr.io-/app", "gh_cr.io/app", "ghcr。io/app",
		"ghcr.io:/app", "ghcr.io:0/app", "ghcr.io:00443/app", "ghcr.io:+443/app", "ghcr.io:65536/app", "ghcr.io:http/app",
		"127.1/app", "2130706433.0/app", "0x7f.0.0.1/app", "127.0.0.0x1/app", "1.2.3.4.5/app", "010.0.0.1/app", "256.1.1.1/app",
		"[::1/app", "::1/app", "[fe80::1%25eth0]/app", "[1.2.3.4]/app", "[]/app", "[::1]x/app", "user@ghcr.io/app", "ghcr.io%2f/app",
		"https://ghcr.io/org/app", "docker://nginx", "ghcr.io/", "/app", "ghcr.io//app", "ghcr.io/org/", "ghcr.io/org//app",
		"ghcr.io/org/../app", "ghcr.io/../app", "ghcr.io/./app", "ghcr.io/org/.app", "ghcr.io/org/app.", "ghcr.io/org/a..b", "ghcr.io/org/a___b",
		"ghcr.io/org/app?x=1", "ghcr.io/org/app#x", "ghcr.io/org/a%2fb", `ghcr.io/org\app`, "ghcr.io/org/app:", "ghcr.io/org/app:-x", "ghcr.io/org/app:a:b",
		"ghcr.io/org/app:" + strings.Repeat("x", 129), "ghcr.io/" + strings.Repeat("a", 250), "ghcr.io/app:v1/x",
		"app@", "app@sha256:", "app@sha256:" + hex64[:63], "app@sha256:" + hex64 + "0", "app@sha256:" + strings.ToUpper(hex64), "app@SHA256:" + hex64,
		"app@sha512:" + hex64 + hex64, "app@md5:" + hex64[:32], "app@sha256:../../../etc/passwd", "app@sha256:" + hex64[:61] + "/..", "app@sha256:" + hex64 + "@sha256:" + hex64,
		"app@sha256+b64:" + hex64, "app:v1@" + hex64,
		"oci-layout:", "oci-layout:@sha256:" + hex64, "oci-layout:x@sha256:../x", "oci-layout:x@sha512:" + hex64, "oci-layout:a\x00b",
	} {
		t.Run(image, func(t *testing.T) {
			got, err := ParseReference(image, true)
			if err == nil {
				t.Fatalf("accepted as %s", got)
			}
			wantProblem(t, err, evidence.CodeInvalidReference)
			if !errors.Is(err, ErrReference) {
				t.Errorf("%v does not wrap ErrReference", err)
			}
		})
	}
}

// Callers over HTTP can name no files, in whatever spelling.
func TestParseReferenceWithoutLayouts(t *testing.T) {
	for _, image := range []string{"oci-layout:/etc", "oci-layout:x:v1", "oci-layout:5000/x"} {
		_, err := ParseReference(image, false)
		wantProblem(t, err, evidence.CodeInvalidReference)
	}
	if _, err := ParseReference("OCI-LAYOUT:/etc", false); err == nil {
		t.Error("upper-case prefix accepted")
	}
}

func TestLongInputIsClipped(t *testing.T) {
	_, err := ParseReference(strings.Repeat("A", 1<<20), false)
	if err == nil || len(err.Error()) > 1000 {
		t.Errorf("error of %d bytes", len(err.Error()))
	}
}

// FuzzParseReference: what is accepted has one spelling, and means to
// go-containerregistry (and so to docker's tools) what it means to us.
func FuzzParseReference(f *testing.F) {
	for _, s := range []string{
		"nginx", "ghcr.io/org/app:v1@sha256:" + hex64, "localhost:5000/a/b", "[::1]:80/x", "docker.io/x", "a.b/c:d", "A/b", "1.2.3.4/x",
		"oci-layout:x:y@sha256:" + hex64, "x@sha256:..", "a/b/../c", "ghcr.io:443/x", "index.docker.io/x/y",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, image string) {
		r, err := ParseReference(image, true)
		if err != nil {
			var p *evidence.Problem
			if !errors.As(err, &p) || p.Code != evidence.CodeInvalidReference {
				t.Fatalf("%q: %v", image, err)
			}
			return
		}
		again, err := ParseReference(r.String(), true)
		if err != nil || again != r {
			t.Fatalf("%q became %q, which parses as %+v, %v", image, r, again, err)
		}
		if r.Layout != "" {
			return
		}
		if strings.Contains(r.Name(), "..") || strings.ToLower(r.Name()) != r.Name() || strings.ContainsAny(r.Name(), "@% \t\n\\") {
			t.Fatalf("%q became the name %q", image, r.Name())
		}
		theirs, err := name.ParseReference(r.String())
		if err != nil {
			t.Fatalf("%q: go-containerregistry refuses %s: %v", image, r, err)
		}
		host := r.Registry
		if host == dockerHub {
			host = name.DefaultRegistry
		}
		if theirs.Context().RegistryStr() != host || theirs.Context().RepositoryStr() != r.Repository {
			t.Fatalf("%q: %s to us, %s to go-containerregistry", image, r, theirs)
		}
	})
}
