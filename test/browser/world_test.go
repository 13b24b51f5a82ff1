package browser

import (
	"bufio"
	"bytes"
	"cmp"
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
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
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

// server is one that the test has started: the demo has a registry with its sample
// images, others have a folder.
type server struct {
	*testing.T
	url, token, registry, dir string
	api                       *client.Client
	// ends kills it.
	ends func()
}

// demo starts a server with the sample images.
func demo(t *testing.T) *server {
	t.Helper()
	s := &server{T: t}
	lines, said := s.start(exec.Command(signet, "serve", "--demo", "--listen", "127.0.0.1:0"))
	for lines.Scan() && lines.Text() != "Ready." {
		for name, to := range map[string]*string{"address": &s.url, "admin token": &s.token, "registry": &s.registry} {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), name+" "); ok {
				*to = strings.Fields(rest)[0]
			}
		}
	}
	if s.url == "" || s.token == "" || s.registry == "" {
		t.Fatalf("the demo did not start: %s", said)
	}
	go rest(lines)
	s.knows(s.token)
	return s
}

// settings are how a server that is no demo is started.
type settings struct {
	// address is where it listens; a port of its own when empty.
	address string
	// offline is "false" for one that asks services.
	offline string
	// more is more of its configuration, as YAML.
	more string
	// environment is beside the test's.
	environment []string
}

// first starts a server that has nothing yet, and gives its setup token.
func first(t *testing.T, with settings) (s *server, setup string) {
	t.Helper()
	s = &server{T: t, dir: t.TempDir()}
	config := filepath.Join(s.dir, "signet.yaml")
	text := fmt.Sprintf("offline: %s\nlisten: %s\ndata_dir: %q\n%s", cmp.Or(with.offline, "true"), cmp.Or(with.address, "127.0.0.1:0"), filepath.Join(s.dir, "data"), with.more)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(signet, "serve", "--config", config)
	cmd.Env = append(os.Environ(), with.environment...)
	lines, said := s.start(cmd)
	for s.url == "" && lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "Setup token, shown this once: "); ok {
			setup = rest
		}
		if rest, ok := strings.CutPrefix(lines.Text(), "signet setup --server "); ok {
			s.url = strings.Fields(rest)[0]
		}
	}
	if s.url == "" || setup == "" {
		t.Fatalf("the server did not start: %s", said)
	}
	go rest(lines)
	return s, setup
}

// started is first, and has an administrator.
func started(t *testing.T, with settings) *server {
	t.Helper()
	s, setup := first(t, with)
	s.knows("")
	made, err := s.api.Setup(t.Context(), setup, "admin")
	if err != nil {
		t.Fatal(err)
	}
	s.token = made.Plain
	s.knows(s.token)
	return s
}

// start starts a server, which ends with the test, and gives the lines that it writes,
// and what it says beside them.
func (s *server) start(cmd *exec.Cmd) (lines *bufio.Scanner, said *bytes.Buffer) {
	s.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	said = &bytes.Buffer{}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.ends = func() { _ = cmd.Process.Kill() }
	s.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if s.Failed() {
			s.Logf("the server said:\n%s", said)
		}
	})
	return bufio.NewScanner(out), said
}

// rest reads what else the server writes, so that it is not kept waiting.
func rest(lines *bufio.Scanner) {
	for lines.Scan() { // nobody wants it
	}
}

// knows makes the client that asks as whom a token stands for.
func (s *server) knows(token string) {
	s.Helper()
	var err error
	if s.api, err = client.New(client.Config{BaseURL: s.url, Token: token}); err != nil {
		s.Fatal(err)
	}
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

	// stays says that they do not leave what they have not saved, when the browser asks;
	// asked is how often it did.
	stays atomic.Bool
	asked atomic.Int32

	mu      sync.Mutex
	said    []string // by the browser: errors of scripts, and what the CSP has blocked
	excused string   // what it may say too
}

// visit starts somebody's browser.
func (s *server) visit() *person {
	s.Helper()
	ctx := chromium(s.T)
	p := &person{T: s.T, ctx: ctx, url: s.url + place}
	chromedp.ListenTarget(ctx, func(event any) {
		if e, ok := event.(*page.EventJavascriptDialogOpening); ok && e.Type == page.DialogTypeBeforeunload {
			p.asked.Add(1)
			go func() { _ = chromedp.Run(ctx, page.HandleJavaScriptDialog(!p.stays.Load())) }()
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			p.said = append(p.said, e.ExceptionDetails.Error())
		case *log.EventEntryAdded:
			if e.Entry.Level == log.LevelError && !expected.MatchString(e.Entry.Text) && (p.excused == "" || !strings.Contains(e.Entry.Text, p.excused)) {
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

// leaving is the browser's refusal to do anything with a page that is just being left.
const leaving = "Not attached to an active page"

// do has the browser do something, and gives up after [patience]. What is refused
// because the page is just being left has not been done: the next page is asked.
func (p *person) do(actions ...chromedp.Action) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	for _, action := range actions {
		err := chromedp.Run(ctx, action)
		for err != nil && strings.Contains(err.Error(), leaving) && ctx.Err() == nil {
			time.Sleep(30 * time.Millisecond)
			err = chromedp.Run(ctx, action)
		}
		if err != nil {
			var text string
			_ = chromedp.Run(p.ctx, chromedp.Evaluate(`document.body.innerText`, &text))
			p.Fatalf("%v; the page says:\n%s", err, text)
		}
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
// before the bar, once the page is at rest.
func (p *person) clicks(name string) {
	p.Helper()
	quoted, _ := json.Marshal(name)
	p.until(idle + ` && (() => {
		const e = [...document.querySelectorAll("main a, main button, main summary"), ...document.querySelectorAll(".tabs a, .who button")].find((e) => e.checkVisibility() && e.innerText?.trim() === ` + string(quoted) + `);
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
// scripts run when the page is read, and htmx listens to new elements a moment after
// they are seen, which is no time for a person, and is some for a script.
const idle = `document.readyState === "complete" && !document.querySelector(".htmx-request, .htmx-swapping, .htmx-settling, .htmx-added")`

// types into a field, as one does: what was there is replaced, once the page is at rest.
func (p *person) types(selector, text string) {
	p.Helper()
	p.until(idle)
	quoted, _ := json.Marshal(selector)
	p.do(chromedp.WaitVisible(selector), chromedp.Evaluate(`document.querySelector(`+string(quoted)+`).value = ""`, nil), chromedp.SendKeys(selector, text))
}

// changes sets a field to a value, as one who chooses or pastes does; a box is checked.
func (p *person) changes(selector, value string) {
	p.Helper()
	quoted, _ := json.Marshal(value)
	p.finds(selector, `if (e.type === "checkbox") e.checked = true; else e.value = `+string(quoted)+`;
		for (const name of ["input", "change"]) e.dispatchEvent(new Event(name, {bubbles: true}));`)
}

// presses what is clicked on, and is not told by its name.
func (p *person) presses(selector string) {
	p.Helper()
	p.finds(selector, `e.click();`)
}

// finds does something to the first visible element, e, once the page is at rest.
func (p *person) finds(selector, do string) {
	p.Helper()
	quoted, _ := json.Marshal(selector)
	p.until(idle + ` && (() => {
		const e = [...document.querySelectorAll(` + string(quoted) + `)].find((e) => e.checkVisibility());
		if (e) { ` + do + ` }
		return !!e;
	})()`)
}

// trustsFirst adds builder@example.com, from the list that has nobody yet.
func (p *person) trustsFirst() {
	p.Helper()
	p.clicks("Add the first signer")
	p.types("#name", "ci")
	p.types("#issuer", "https://accounts.google.com")
	p.types("#subject", "builder@example.com")
	p.clicks("Trust this signer")
	p.sees("The signer is trusted from now on.")
}

// audited looks for an entry by somebody.
func (p *person) audited(action, by string) {
	p.Helper()
	p.open("/audit")
	p.until(`[...document.querySelectorAll("tbody tr")].some((row) => row.innerText.includes("` + action + `") && row.innerText.includes("` + by + `"))`)
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
