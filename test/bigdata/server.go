package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/store"
)

// place is below the server's address.
const place = "/admin/security/signing"

// patience is for what is not measured, such as a start.
const patience = 5 * time.Minute

// server is a real one on the database that was filled, and an administrator who is
// logged in.
type server struct {
	url, token string
	api        *client.Client
	browser    *http.Client
	cmd        *exec.Cmd
	// said are the last lines of its log, until ended.
	said  []string
	ended chan struct{}
}

// start builds the program, starts it on the database, and logs the administrator in
// whose token it is.
func (d *database) start(ctx context.Context, dir, token string) (_ *server, err error) {
	program := filepath.Join(dir, "signet")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/signet-policy/signet/cmd/signet")
	build.Env = append(os.Environ(), "GOFLAGS=") // without what the tests are built with
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building signet: %w\n%s", err, out)
	}
	config := filepath.Join(dir, "signet.yaml")
	if err := os.WriteFile(config, []byte("offline: true\nlisten: 127.0.0.1:0\n"+d.settings), 0o600); err != nil {
		return nil, err
	}
	s := &server{token: token, cmd: exec.CommandContext(ctx, program, "serve", "--config", config)}
	log, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(log)
	for s.url == "" && lines.Scan() {
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			s.url = line.Address
		}
		s.said = append(s.said, lines.Text())
	}
	s.ended = make(chan struct{})
	go func() { // it may say more than a pipe holds
		defer close(s.ended)
		for lines.Scan() {
			if s.said = append(s.said, lines.Text()); len(s.said) > 100 {
				s.said = s.said[1:]
			}
		}
	}()
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	if s.url == "" {
		return nil, errors.New("the server does not listen")
	}
	if s.api, err = client.New(client.Config{BaseURL: s.url, Token: token, MaxRetries: -1}); err != nil {
		return nil, err
	}
	if err := s.login(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// stop ends the server; the error is what it said where it did not end well.
func (s *server) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	<-s.ended
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("the server: %w\n%s", err, strings.Join(s.said, "\n"))
	}
	return nil
}

func (s *server) login(ctx context.Context) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	s.browser = &http.Client{Jar: jar, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	a, err := s.ask(ctx, question{path: "/login"})
	if err != nil {
		return err
	}
	_, rest, found := strings.Cut(a.body, `name="csrf" value="`)
	csrf, _, closed := strings.Cut(rest, `"`)
	if !found || !closed {
		return fmt.Errorf("the login has no form:\n%s", a.body)
	}
	a, err = s.ask(ctx, question{path: "/login", form: url.Values{"token": {s.token}, "csrf": {csrf}}})
	if err != nil {
		return err
	}
	if a.status != http.StatusSeeOther {
		return fmt.Errorf("the login answers %d:\n%s", a.status, a.body)
	}
	return nil
}

// question is one page, or part of one, that a person opens.
type question struct {
	name, path string
	// form is posted; nil: the page is got.
	form url.Values
	// contains is what must be in the answer, so that an empty one is not taken for a
	// quick one.
	contains string
	// begins says that only the beginning counts: the rest is not waited for.
	begins bool
}

type answer struct {
	status int
	body   string
	took   time.Duration
}

func (s *server) ask(ctx context.Context, q question) (answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // of a file of which only the beginning is read
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if q.form != nil {
		method, body = http.MethodPost, strings.NewReader(q.form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url+place+q.path, body)
	if err != nil {
		return answer{}, err
	}
	if q.form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", s.url)
	}
	begin := time.Now()
	res, err := s.browser.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	a := answer{status: res.StatusCode}
	if q.begins {
		first := make([]byte, 512)
		n, err := io.ReadFull(res.Body, first)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return a, err
		}
		a.took, a.body = time.Since(begin), string(first[:n])
		return a, nil
	}
	all, err := io.ReadAll(res.Body)
	a.took, a.body = time.Since(begin), string(all)
	return a, err
}

// served measures the pages of a server on the database.
func (d *database) served(ctx context.Context, out io.Writer, dir, token string, ids []string, n size, most time.Duration) (err error) {
	begin := time.Now()
	s, err := d.start(ctx, dir, token)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	fmt.Fprintf(out, "a server built, started on it and logged in to: %s\n", round(time.Since(begin)))
	questions, err := d.questions(ctx, s, ids, n)
	if err != nil {
		return err
	}
	slow := s.measure(ctx, out, questions, n.asks, most)
	return errors.Join(slow, s.inChromium(ctx, out, n, most))
}

// questions are all tabs, with their filters and orders, the first pages and the
// last, what belongs to them, and the pages of single things.
func (d *database) questions(ctx context.Context, s *server, ids []string, n size) (list []question, err error) {
	db, err := d.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var every []string
	add := func(name, path, contains string) {
		list = append(list, question{name: name, path: path, contains: contains})
	}
	const common, rare = "ghcr.io/acme/app0", "ghcr.io/acme/app4321"

	// Signers: filters, orders, and how far one pages. The list is by id, which is not
	// the order of those that were made in one moment.
	inOrder := slices.Sorted(slices.Values(ids))
	last := inOrder[len(ids)-pageRows-1]
	add("signers", "/signers", inOrder[pageRows-1])
	add("signers, as a fragment", "/partial/signers", inOrder[pageRows-1])
	add("signers, last page", "/signers?cursor="+last, inOrder[len(ids)-1])
	for _, f := range []string{"query=app" + fmt.Sprint(n.signers/2), "query=release.yml", "query=nobody", "type=keyless", "type=kms", "state=in_force", "state=disabled", "state=expired", "owner=team-9"} {
		add("signers, "+f, "/signers?"+f, "Trusted signers")
	}
	for _, by := range []string{"name", "-name", "type", "-type", "state", "-state", "owner", "-owner", "expires_at", "-expires_at", "updated_at", "-updated_at"} {
		add("signers, by "+by, "/signers?sort="+by, "signer-")
		add("signers, by "+by+", a later page", "/signers?sort="+by+"&cursor="+ids[len(ids)/2], "Trusted signers")
	}
	add("signers, filtered and by -expires_at", "/signers?owner=team-9&state=disabled&sort=-expires_at", "Trusted signers")
	add("a signer of many verdicts", "/signers/"+ids[0], signerName(0))
	add("a signer of few", "/signers/"+ids[1], signerName(1))
	add("a signer's form", "/signers/"+ids[0]+"/edit", signerName(0))
	add("a new signer's form", "/signers/new", "Add a signer")
	add("asking before a signer is disabled", "/signers/"+ids[0]+"/change?action=disable", "Disable")

	// Results: each filter, first page and last.
	add("results", "/results", "Newest first")
	add("results, the chart", "/results/chart", "Decisions of the last 30 days")
	add("results, since and until", "/results?since="+d.at(n.verdicts/10).Format("2006-01-02T15:04")+"&until="+d.at(n.verdicts/2).Format("2006-01-02T15:04"), "Results")
	identity := func(i string) string { return url.QueryEscape("https://github.com/acme/app" + i) }
	for _, f := range []string{
		"", "image=" + common, "image=" + rare, "image=" + common + ":v3", "digest=sha256:" + strings.Repeat("0", 64), "digest=sha256:" + strings.Repeat("f", 64),
		"decision=allow", "decision=deny", "decision=unknown", "signer=" + signerName(0), "signer=" + signerName(n.signers/2), "signer=nobody",
		"identity=" + identity("0"), "identity=" + identity("123"), "assessment_id=assessment-1001",
		"reason_code=signer_not_trusted", "reason_code=registry_timeout&image=" + rare, "reason_code=nothing",
		"image=" + common + "&decision=unknown", "signer=" + signerName(0) + "&decision=deny", "signer=" + signerName(0) + "&image=" + rare,
	} {
		if f != "" {
			add("results, "+f, "/results?"+f, "Results")
		}
		every = append(every, f)
	}
	// The far end is where the oldest verdicts are, of whatever the filter leaves.
	oldest := store.Cursor{CreatedAt: d.at(pageRows + 1), ID: fmt.Sprintf("01JD%022d", pageRows+1)}
	for _, f := range every {
		add("results, "+f+", last page", "/results?"+f+"&cursor="+oldest.String(), "Results")
	}
	for _, format := range []string{"csv", "ndjson"} {
		for _, f := range []string{"", "&decision=unknown", "&signer=" + signerName(0)} {
			list = append(list, question{name: "results, export's beginning, " + format + f, path: "/results/export?format=" + format + f, begins: true, contains: "created_at"})
		}
	}
	// A verdict that a server made: what cannot be found out is recorded as well.
	v, err := s.api.Verify(ctx, client.VerdictRequest{Image: "127.0.0.1:1/acme/app:v1"})
	if err != nil {
		return nil, fmt.Errorf("a verdict: %w", err)
	}
	add("a verdict", "/results/"+v.ID, "127.0.0.1:1/acme/app")
	add("a verdict, as a row", "/results/"+v.ID+"?row=1", "127.0.0.1:1/acme/app")

	// What is left of the tab bar, and its single things.
	add("verify", "/verify", "Verify")
	add("policy", "/policy", "default")
	add("a policy", "/policy/default", "default")
	add("a policy's form", "/policy/default/edit", "default")
	add("a policy's history", "/policy/default/history", "default")
	add("gateways", "/gateways", "Gateways")
	add("trust", "/trust", "Trust")
	add("tokens", "/tokens", "Tokens")
	add("audit", "/audit", "signer/")
	add("audit, last page", fmt.Sprintf("/audit?before=%d", pageRows+1), "signer/")
	add("audit, middle", fmt.Sprintf("/audit?before=%d", n.signers/2+pageRows), "signer/")
	add("audit, of one signer", "/audit?object=signer/"+ids[0], "signer/"+ids[0])
	add("audit, by an action's beginning", "/audit?action=signer.", "signer/")
	add("audit, by a name", "/audit?object="+signerName(n.signers-1), "Audit")
	add("audit, by who", "/audit?actor=nobody", "Audit")
	add("audit, of nothing", "/audit?object=signer/nobody", "Audit")
	return list, nil
}

// measure asks every question often, all of them in turn.
func (s *server) measure(ctx context.Context, out io.Writer, questions []question, asks int, most time.Duration) error {
	took := make([][]time.Duration, len(questions))
	for range asks {
		for i, q := range questions {
			a, err := s.ask(ctx, q)
			if err != nil {
				return fmt.Errorf("%s (%s): %w", q.name, q.path, err)
			}
			if a.status != http.StatusOK || !strings.Contains(a.body, q.contains) {
				return fmt.Errorf("%s (%s): the answer is %d, and has to contain %q:\n%s", q.name, q.path, a.status, q.contains, a.body[:min(len(a.body), 2000)])
			}
			took[i] = append(took[i], a.took)
		}
	}
	fmt.Fprintf(out, "%-72s %9s %9s %9s\n", "page of the server", "min", "p50", "max")
	slow := 0
	for i, q := range questions {
		slow += report(out, 72, q.name, took[i], most)
	}
	fmt.Fprintln(out)
	if slow > 0 {
		return fmt.Errorf("%d pages of the server took longer than %s", slow, most)
	}
	return nil
}

// report writes a line of a table, and is 1 where the median is more than it may be.
func report(out io.Writer, width int, name string, took []time.Duration, most time.Duration) (slow int) {
	slices.Sort(took)
	mark := ""
	if quantile(took, 0.5) > most {
		mark, slow = "  too slow", 1
	}
	fmt.Fprintf(out, "%-*s %9s %9s %9s%s\n", width, name, round(took[0]), round(quantile(took, 0.5)), round(took[len(took)-1]), mark)
	return slow
}
