package browser

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
)

// What is wrong with a question, and what could not be found out, is said.
func TestVerifyErrors(t *testing.T) {
	s := demo(t)
	p := s.visit()
	p.login(s.token)
	p.open("/verify")
	p.types("#image", "no image at all")
	p.clicks("Verify")
	p.until(`!!document.querySelector("#answer [role=alert]")`)
	p.types("#image", s.image("unreachable"))
	p.clicks("Verify")
	p.sees("It could not be found out whether this image may run")
}

// Of an index it is told for one platform, if it has that.
func TestVerifyPlatform(t *testing.T) {
	s := demo(t)
	p := s.visit()
	p.login(s.token)
	for platform, want := range map[string]string{"linux/arm64": "This image may run", "linux/s390x": "It could not be found out whether this image may run", "arm": "platform"} {
		p.open("/verify")
		p.types("#image", s.image("multi-arch"))
		p.types("#platform", platform)
		p.clicks("Verify")
		p.until(`document.querySelector("#answer").innerText.includes("` + want + `")`)
	}
}

// One watches the stages pass while the registry takes its time, and reads what vouches
// for the image and what the verdict is; whoever has the link reads the same.
func TestVerifyLive(t *testing.T) {
	registry := registrytest.New(t, registrytest.Options{})
	image := ocitest.Image(ocitest.ImageOptions{Content: t.Name()})
	registry.Push("acme/app", "v1", image)
	// The registry answers when the page has been looked at.
	gate := func(m registrytest.Match) (open func()) {
		wait := make(chan struct{})
		registry.On(m, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			select {
			case <-wait:
				next.ServeHTTP(w, r)
			case <-r.Context().Done():
			}
		})
		return sync.OnceFunc(func() { close(wait) })
	}
	resolve, collect := gate(registrytest.Manifest("v1")), gate(registrytest.Referrers(""))
	s := started(t, settings{more: "registries:\n  \"" + registry.Host() + "\": {insecure: true}\n"})
	p := s.visit()
	p.login(s.token)
	p.open("/verify")
	p.types("#image", registry.Image("acme/app", "v1"))
	p.clicks("Verify")
	stage := `document.querySelector("#answer .stages [aria-current=step] strong")?.innerText`
	p.until(stage + ` === "Resolve" && document.querySelector("#answer").getAttribute("aria-busy") === "true"`)
	resolve()
	p.until(stage + ` === "Collect"`)
	collect()
	p.sees("This image may not run")
	link := p.text(`[...document.querySelectorAll("#answer a")].find((a) => a.pathname.includes("/results/")).pathname`)
	if _, body := s.get(strings.TrimPrefix(link, place), "Authorization", "Bearer "+s.token); !strings.Contains(body, "This image may not run") || !strings.Contains(body, registry.Image("acme/app", "v1")) {
		t.Errorf("behind the link:\n%s", body)
	}

	// What is remembered is not asked for again, until one wants that.
	asked := registry.Count("GET", "/referrers/")
	again := func() {
		t.Helper()
		p.open("/verify")
		p.types("#image", registry.Image("acme/app", "v1"))
	}
	again()
	p.clicks("Verify")
	p.sees("This image may not run")
	if n := registry.Count("GET", "/referrers/"); n != asked {
		t.Errorf("the registry was asked for signatures %d times, and %d before", n, asked)
	}
	again()
	p.changes("input[name=refresh]", "")
	p.clicks("Verify")
	p.sees("This image may not run")
	if n := registry.Count("GET", "/referrers/"); n == asked {
		t.Error("the registry was not asked anew")
	}

	// The server ends in the middle: it is said that no verdict came, and one asks again.
	registry.On(registrytest.Any(), registrytest.Hang())
	p.types("#image", registry.Image("acme/app", "v2"))
	p.clicks("Verify")
	p.until(`document.querySelector("#answer .stages")`)
	p.mu.Lock()
	p.excused = "ERR_INCOMPLETE_CHUNKED_ENCODING"
	p.mu.Unlock()
	s.ends()
	p.sees("No verdict came")
	p.until(`!document.querySelector("form[data-stream] button[aria-busy]")`)
}

// A signature by somebody else says what was wanted and what is there, side by side,
// and what vouches for it.
func TestNearestMiss(t *testing.T) {
	s := demo(t)
	s.enable("acme-release", false)
	p := s.visit()
	p.login(s.token)
	p.open("/verify")
	p.types("#image", s.image("keyless"))
	p.clicks("Verify")
	p.sees("What came closest")
	const want = "The policy wants (signer acme-release): enabled\ntrue\nThe signer has\nfalse"
	if got := p.text(`document.querySelector(".versus").innerText`); got != want {
		t.Errorf("side by side:\n%s\nwant\n%s", got, want)
	}
	p.until(`(() => { const what = [...document.querySelectorAll(".chain .what")].map((e) => e.innerText.toLowerCase()).join(" "); return ["image", "certificate", "log"].every((w) => what.includes(w)); })()`)
	p.sees("To mend it:")
}
