package browser

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/testkit/require"
)

var signet string // the program, built once

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "signet-browser-")
	if err != nil {
		panic(err)
	}
	signet = filepath.Join(dir, "signet")
	build := exec.Command("go", "build", "-o", signet, "../../cmd/signet")
	build.Env = append(os.Environ(), "GOFLAGS=") // the server is a fast one, whatever the tests are
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building signet: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// place is below the server's address.
const place = "/admin/security/signing"

// server is a demo with its sample images.
type server struct {
	*testing.T
	url, token, registry string
	api                  *client.Client
}

// demo starts a server of its own, on ports of its own.
func demo(t *testing.T) *server {
	t.Helper()
	cmd := exec.Command(signet, "serve", "--demo", "--listen", "127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the server said:\n%s", said.String())
		}
	})
	s := &server{T: t}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "Ready." {
		for name, to := range map[string]*string{"address": &s.url, "admin token": &s.token, "registry": &s.registry} {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), name+" "); ok {
				*to = strings.Fields(rest)[0]
			}
		}
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	if s.url == "" || s.token == "" || s.registry == "" {
		t.Fatalf("the demo did not start: %s", said.String())
	}
	if s.api, err = client.New(client.Config{BaseURL: s.url, Token: s.token}); err != nil {
		t.Fatal(err)
	}
	return s
}

// first starts a server that has nothing yet, and gives its setup token. extra is
// more configuration, as YAML.
func first(t *testing.T, extra string) (s *server, setup string) {
	t.Helper()
	return firstAt(t, "127.0.0.1:0", extra)
}

// firstAt is first at an address.
func firstAt(t *testing.T, address, extra string) (s *server, setup string) {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "signet.yaml")
	if err := os.WriteFile(config, []byte("offline: true\nlisten: "+address+"\ndata_dir: "+filepath.Join(dir, "data")+"\n"+extra), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(signet, "serve", "--config", config)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the server said:\n%s", said.String())
		}
	})
	s = &server{T: t}
	lines := bufio.NewScanner(out)
	for s.url == "" && lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "Setup token, shown this once: "); ok {
			setup = rest
		}
		if rest, ok := strings.CutPrefix(lines.Text(), "signet setup --server "); ok {
			s.url = strings.Fields(rest)[0]
		}
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	if s.url == "" || setup == "" {
		t.Fatalf("the server did not start: %s", said.String())
	}
	return s, setup
}

// image is one of the samples.
func (s *server) image(name string) string { return s.registry + "/demo/" + name + ":v1" }

// verify asks for verdicts, so that there are some.
func (s *server) verify(images ...string) {
	s.Helper()
	for _, name := range images {
		if _, err := s.api.Verify(s.Context(), client.VerdictRequest{Image: s.image(name)}); err != nil {
			s.Fatal(err)
		}
	}
}

// chromium starts a browser, with cookies of its own.
func chromium(t *testing.T) context.Context {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(require.Chromium(t)), chromedp.NoSandbox, chromedp.Flag("headless", "new"),
		chromedp.Flag("force-color-profile", "srgb"), chromedp.Flag("hide-scrollbars", true), chromedp.WSURLReadTimeout(time.Minute))
	ctx, end := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), opts...)
	t.Cleanup(end)
	ctx, end = chromedp.NewContext(ctx)
	t.Cleanup(end)
	if err := chromedp.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// patience is how long a person waits for something to be on the page.
const patience = time.Minute

// person is somebody with a browser window.
type person struct {
	*testing.T
	ctx context.Context
	url string

	mu   sync.Mutex
	said []string // by the browser: errors of scripts, and what the CSP has blocked
}

// visit starts somebody's browser.
func (s *server) visit() *person {
	s.Helper()
	ctx := chromium(s.T)
	p := &person{T: s.T, ctx: ctx, url: s.url + place}
	chromedp.ListenTarget(ctx, func(event any) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			p.said = append(p.said, e.ExceptionDetails.Error())
		case *log.EventEntryAdded:
			if e.Entry.Level == log.LevelError && !expected.MatchString(e.Entry.Text) {
				p.said = append(p.said, e.Entry.Text)
			}
		}
	})
	p.do(log.Enable(), emulation.SetDeviceMetricsOverride(1280, 900, 1, false))
	s.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.said) > 0 {
			s.Errorf("the browser complained:\n%s", strings.Join(p.said, "\n"))
		}
	})
	return p
}

// expected are statuses that pages have on purpose.
var expected = regexp.MustCompile(`Failed to load resource: the server responded with a status of (4\d\d|503)`)

// do has the browser do something, and gives up after [patience].
func (p *person) do(actions ...chromedp.Action) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		var text string
		_ = chromedp.Run(p.ctx, chromedp.Evaluate(`document.body.innerText`, &text))
		p.Fatalf("%v; the page says:\n%s", err, text)
	}
}

// login is what everybody does first.
func (p *person) login(token string) {
	p.Helper()
	p.do(chromedp.Navigate(p.url), chromedp.WaitVisible(`#token`), chromedp.SendKeys(`#token`, token), chromedp.Submit(`#token`), chromedp.WaitVisible(`.tabs a[aria-current]`))
}

func (p *person) open(path string) {
	p.Helper()
	p.do(chromedp.Navigate(p.url+path), chromedp.WaitVisible(`#signet-main`))
}

// sees waits for a text.
func (p *person) sees(text string) {
	p.Helper()
	quoted, _ := json.Marshal(text)
	p.until(`document.body.innerText.includes(` + string(quoted) + `)`)
}

// clicks on the first visible link or button that is called so, what the tab shows
// before the bar.
func (p *person) clicks(name string) {
	p.Helper()
	quoted, _ := json.Marshal(name)
	p.until(`(() => {
		const e = [...document.querySelectorAll("main a, main button, main summary"), ...document.querySelectorAll(".tabs a, .who button")].find((e) => e.checkVisibility() && e.innerText.trim() === ` + string(quoted) + `);
		if (e) e.click();
		return !!e;
	})()`)
}

// until waits for an expression to be true. A page that is just being left cannot be
// asked: the next one is.
func (p *person) until(expression string) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	for {
		var yes bool
		err := chromedp.Run(ctx, chromedp.Evaluate(`Boolean(`+expression+`)`, &yes))
		if err == nil && yes {
			return
		}
		select {
		case <-ctx.Done():
			var text string
			_ = chromedp.Run(p.ctx, chromedp.Evaluate(`document.body.innerText`, &text))
			p.Fatalf("waiting for %s (%v); the page says:\n%s", expression, err, text)
		case <-time.After(30 * time.Millisecond):
		}
	}
}

// idle is true when nothing is on its way, and what came last has taken its place:
// htmx listens to new elements a moment after they are seen, which is no time for a
// person, and is some for a script.
const idle = `!document.querySelector(".htmx-request, .htmx-swapping, .htmx-settling, .htmx-added")`

// types into a field, as one does: what was there is replaced.
func (p *person) types(selector, text string) {
	p.Helper()
	quoted, _ := json.Marshal(selector)
	p.do(chromedp.WaitVisible(selector), chromedp.Evaluate(`document.querySelector(`+string(quoted)+`).value = ""`, nil), chromedp.SendKeys(selector, text))
}

// text is what an expression says.
func (p *person) text(expression string) (out string) {
	p.Helper()
	p.do(chromedp.Evaluate(expression, &out))
	return out
}

// get asks without a browser.
func (s *server) get(path string, header ...string) (*http.Response, string) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), http.MethodGet, s.url+place+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatal(err)
	}
	return res, string(body)
}
