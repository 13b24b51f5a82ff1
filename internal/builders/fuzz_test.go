package builders

import (
	"strings"
	"testing"
)

// Whatever the text: no panic; what is trusted matches itself, and nothing that is
// longer within its last segment.
func FuzzTrusted(f *testing.F) {
	f.Add("https://github.com/acme/app", ">=2.0.0, <3.0.0")
	f.Add("git+https://GitHub.com/acme/app.git", "")
	f.Add("https://gitlab.com/acme/sub/app//.gitlab-ci.yml@refs/tags/v1", "")
	f.Add("https://tekton.dev/chains/v2", "=1.0.0")
	f.Add("github.com/acme/app/.github/workflows/x.yml@"+head, "")
	f.Fuzz(func(t *testing.T, text, version string) {
		b, err := NewTrustedBuilder(text, version, nil)
		if err == nil && version == "" {
			if kind, _ := refKind(b.address.ref); b.address.ref == "" || kind == refTag || kind == refCommit {
				if ok, why := b.Match(Result{Builder: text, Reusable: true}); !ok {
					t.Errorf("%q is not itself: %s", text, why)
				}
			}
			longer := b.address.String() + "-evil"
			if ok, _ := b.Match(Result{Builder: longer, Reusable: true}); ok && strings.Count(longer, "/") == strings.Count(b.address.String(), "/") {
				t.Errorf("%q is %q too", text, longer)
			}
		}
		s, err := NewTrustedSource(text, nil, nil, nil)
		if err != nil {
			return
		}
		if ok, why := s.Match(Result{Source: Source{Repository: text}}, text); !ok {
			t.Errorf("the source %q is not itself: %s", text, why)
		}
	})
}
