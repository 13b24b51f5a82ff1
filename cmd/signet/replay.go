package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/policy"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/strictjson"
)

type policyReplayCmd struct {
	remoteFlags
	Candidate  string `help:"What would be put into force: a signing_policy as YAML or JSON, or a policy bundle (its folder, or a .tar.gz)." placeholder:"PATH" type:"path"`
	Params     string `help:"Parameters of a candidate that is a bundle, as JSON (default: those of the policy, where it names a bundle already, else params/params.json)." placeholder:"FILE" type:"path"`
	Policy     string `help:"Name of the policy that the candidate replaces, or whose rules (default: the candidate's own, or that of the only policy)." placeholder:"NAME"`
	Operations string `help:"Changes as a JSON list, as POST /api/v1/policies/preview takes them; - reads what is piped in." placeholder:"FILE" type:"path"`
	Since      string `help:"Look at verdicts from this time on (RFC 3339, or how long ago)." default:"30d" placeholder:"TIME"`
	Until      string `help:"Look at verdicts before this time." placeholder:"TIME"`
	Image      string `help:"Look at images that this glob matches." placeholder:"GLOB"`
	At         string `help:"Show what would be answered at this time to come; alone, what time alone will change (2027-01-31, or RFC 3339)." placeholder:"TIME"`
	MaxFlips   int64  `help:"Exit 1 when more questions than this would no longer be allowed." default:"0" placeholder:"N"`
	MaxOpened  int64  `help:"Exit 1 when more questions than this would be allowed that are not (default: any number)." default:"-1" placeholder:"N"`
	Limit      int    `help:"List this many flips at most; all are counted." default:"1000" placeholder:"N"`
	NDJSON     bool   `name:"ndjson" help:"Print what is found as lines of JSON, while it is found." xor:"out"`
	JSON       bool   `name:"json" help:"Print it as JSON." xor:"out"`
}

// Run exits 0 when no more than the thresholds would flip, 1 when more would, and 2
// when it cannot be told.
func (c policyReplayCmd) Run(ctx context.Context, std streams) error {
	req := client.PreviewRequest{Since: c.Since, Until: c.Until, Image: c.Image, Limit: c.Limit, MaxFlips: &c.MaxFlips}
	at, err := dateFlag("--at", c.At)
	if err != nil {
		return err
	}
	req.At = at
	if c.MaxFlips < 0 {
		return usage("--max-flips: is %d; give 0 or more", c.MaxFlips)
	}
	if c.Policy != "" && c.Candidate == "" {
		return usage("--policy goes with --candidate")
	}
	var body, bundle []byte
	if c.Candidate != "" {
		if isBundle(c.Candidate) {
			bundle, err = candidateArchive(c.Candidate)
		} else {
			body, err = readInput("--candidate", c.Candidate)
		}
		if err != nil {
			return err
		}
	}
	if c.Params != "" && bundle == nil {
		return usage("--params goes with a --candidate that is a bundle")
	}
	if c.Operations != "" {
		if req.Operations, err = readOperations(c.Operations); err != nil {
			return err
		}
	}
	if c.Candidate == "" && len(req.Operations) == 0 && at == nil {
		return usage("there is nothing to look at: give --candidate FILE, --operations FILE or --at TIME")
	}
	return c.ask(ctx, func(api *client.Client) error {
		if c.Candidate != "" {
			var op client.Operation
			var err error
			if bundle != nil {
				op, err = c.candidateRules(ctx, api, bundle)
			} else {
				op, err = c.candidate(ctx, std, api, body)
			}
			if err != nil {
				return err
			}
			req.Operations = append([]client.Operation{op}, req.Operations...)
		}
		p, err := c.preview(ctx, std, api, req)
		if err != nil {
			return c.explained(err)
		}
		if c.JSON {
			if err := printJSON(std.out, p); err != nil {
				return err
			}
		}
		return c.judge(std, p)
	})
}

// explained puts the candidate's name before the mistakes that were found in it.
func (c policyReplayCmd) explained(err error) error {
	if c.Candidate != "" {
		return prefixedProblem(c.Candidate, err)
	}
	return err
}

// candidate is the operation that puts the candidate into force.
func (c policyReplayCmd) candidate(ctx context.Context, std streams, api *client.Client, body []byte) (client.Operation, error) {
	op := client.Operation{Op: client.OpPutPolicy, Name: c.Policy, SigningPolicy: string(body)}
	if op.Name != "" {
		return op, nil
	}
	p, err := signingpolicy.Parse(body)
	if err != nil {
		return op, &exit{code: exitUsage, err: prefixed(c.Candidate, err)}
	}
	all, err := collect(api.AllPolicies(ctx))
	if err != nil {
		return op, err
	}
	switch {
	case slices.ContainsFunc(all, func(a client.Policy) bool { return a.Name == p.Name }):
		op.Name = p.Name
	case len(all) == 1 && !strings.Contains(string(body), "name:"): // it says no name of its own
		op.Name = all[0].Name
	default:
		op.Name = p.Name
		fmt.Fprintf(std.err, "signet: there is no policy %s, so the candidate would be a new one beside the others; --policy NAME says which it replaces\n", p.Name)
	}
	return op, nil
}

// candidateArchive is a bundle as an archive, as it is.
func candidateArchive(path string) ([]byte, error) {
	dir, err := policy.Open(path)
	if err == nil {
		var archive []byte
		if archive, err = policy.Pack(dir); err == nil {
			return archive, nil
		}
	}
	return nil, &exit{code: exitUsage, err: fmt.Errorf("--candidate %s: %w", path, err)}
}

// candidateRules is the operation that gives a policy in force the rules of a
// bundle, and other parameters where they are given or it has none of its own.
func (c policyReplayCmd) candidateRules(ctx context.Context, api *client.Client, archive []byte) (client.Operation, error) {
	now, err := c.judged(ctx, api)
	if err != nil {
		return client.Operation{}, err
	}
	op := client.Operation{Op: client.OpPutPolicy, Name: now.Name, SigningPolicy: now.SigningPolicy, Archive: archive}
	p, err := signingpolicy.Parse([]byte(now.SigningPolicy))
	if err != nil {
		return op, err
	}
	if c.Params == "" && p.Bundle != "" {
		return op, nil
	}
	src, err := bundleFlags{Bundle: c.Candidate, Params: c.Params}.source()
	if err != nil {
		return op, err
	}
	if p, err = p.WithParams(src.Params); err != nil {
		return op, &exit{code: exitUsage, err: err}
	}
	if p.Bundle == "" { // parameters go with a bundle
		p.Bundle = now.Name
	}
	body, err := p.Canonical()
	op.SigningPolicy = string(body)
	return op, err
}

// judged is the policy whose rules a candidate would be.
func (c policyReplayCmd) judged(ctx context.Context, api *client.Client) (client.Policy, error) {
	if c.Policy != "" {
		return policyNamed(ctx, api, c.Policy)
	}
	all, err := collect(api.AllPolicies(ctx))
	switch {
	case err != nil:
		return client.Policy{}, err
	case len(all) == 1:
		return all[0], nil
	}
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = p.Name
	}
	return client.Policy{}, usage("say with --policy NAME whose rules the candidate would be; there are %s", orWord(strings.Join(names, ", "), "no policies"))
}

func readOperations(path string) ([]client.Operation, error) {
	body, err := readInput("--operations", path)
	if err != nil {
		return nil, err
	}
	var ops []client.Operation
	if err := strictjson.Decode(body, 16, &ops); err != nil {
		return nil, usage("--operations %s: %w; write them as [{\"op\": \"disable_signer\", \"name\": \"release\"}]", path, err)
	}
	return ops, nil
}

// dateFlag is a time or a day, which begins at midnight UTC.
func dateFlag(name, value string) (*time.Time, error) {
	if t, err := time.Parse(time.DateOnly, value); err == nil {
		return &t, nil
	}
	return timeFlag(name, value)
}

// preview reads the lines, and prints what is to be printed while they come.
func (c policyReplayCmd) preview(ctx context.Context, std streams, api *client.Client, req client.PreviewRequest) (client.Preview, error) {
	bar := newProgressBar(std.err)
	defer bar.clear()
	lines := json.NewEncoder(std.out)
	lines.SetEscapeHTML(false)
	return gather(api.PreviewLines(ctx, req), func(l client.PreviewLine) error {
		if c.NDJSON {
			return lines.Encode(l)
		}
		if l.Progress != nil {
			bar.preview(*l.Progress)
		}
		return nil
	})
}

// judge says what the exit code says.
func (c policyReplayCmd) judge(std streams, p client.Preview) error {
	if !c.JSON && !c.NDJSON {
		if err := printPreview(std, p); err != nil {
			return err
		}
	}
	if !p.Complete || p.Total.Questions == p.NotReplayable.Questions {
		why := "nothing of what was asked could be decided again"
		switch {
		case !p.Complete:
			why = "it is not complete: " + p.Why
		case p.Total.Questions == 0:
			why = "no verdicts are kept of that time and these images"
		}
		return &exit{code: exitUnknown, err: errors.New("it cannot be told what would flip: " + why)}
	}
	closed := p.AllowToDeny.Questions + p.ToUnknown.Questions
	switch {
	case closed > c.MaxFlips:
		return &exit{code: exitDeny, err: fmt.Errorf("%d would no longer be allowed, and --max-flips is %d", closed, c.MaxFlips)}
	case c.MaxOpened >= 0 && p.DenyToAllow.Questions > c.MaxOpened:
		return &exit{code: exitDeny, err: fmt.Errorf("%d would be allowed that are not, and --max-opened is %d", p.DenyToAllow.Questions, c.MaxOpened)}
	}
	return nil
}

// gather makes a preview of its lines. What a stream has counted of a flip is what
// was seen by then.
func gather(lines func(func(client.PreviewLine, error) bool), each func(client.PreviewLine) error) (client.Preview, error) {
	out := client.Preview{Reasons: []client.NotReplayable{}, Groups: []client.PreviewGroup{}, Flips: []client.Flip{}}
	for l, err := range lines {
		if err != nil {
			return out, err
		}
		switch {
		case l.Flip != nil:
			out.Flips = append(out.Flips, *l.Flip)
		case l.Group != nil:
			out.Groups = append(out.Groups, *l.Group)
		case l.Skipped != nil:
			out.Reasons = append(out.Reasons, *l.Skipped)
		case l.Summary != nil:
			out.PreviewSummary = *l.Summary
		}
		if err := each(l); err != nil {
			return out, err
		}
	}
	flips := out.AllowToDeny.Questions + out.DenyToAllow.Questions + out.ToUnknown.Questions + out.FromUnknown.Questions
	out.MoreFlips = int64(len(out.Flips)) < flips
	return out, nil
}

// headings of the directions, in the order in which they are shown.
var previewWords = []struct{ direction, heading string }{
	{client.AllowToDeny, "Would be denied"},
	{client.ToUnknown, "Would become unknown"},
	{client.DenyToAllow, "Would be allowed"},
	{client.FromUnknown, "Would no longer be unknown"},
}

// printPreview shows groups with their images, then what cannot be told, then the
// numbers.
func printPreview(std streams, p client.Preview) error {
	out := newPrinter(std.out)
	for _, d := range previewWords {
		first := true
		for _, g := range p.Groups {
			if g.Direction != d.direction {
				continue
			}
			if first {
				out.line("%s", d.heading)
				first = false
			}
			out.line("  %s  %s: %s", counted(g.Questions, g.Verdicts), orWord(joined(g.Policy, g.Code), "no reason"), g.Message)
			printImages(out, g.Images, g.MoreImages)
			out.line("      last verdict %s", g.VerdictID)
		}
	}
	for i, n := range p.Reasons {
		if i == 0 {
			out.line("Not replayable")
		}
		out.line("  %s  %s: %s", counted(n.Questions, n.Verdicts), n.Reason, n.Message)
		printImages(out, n.Images, n.MoreImages)
	}
	exact := ""
	if !p.Exact {
		exact = "; there were too many to tell apart, and some are counted several times"
	}
	fmt.Fprintf(std.out, "%d questions (%d verdicts since %s)%s: %d unchanged, %d would be denied, %d allowed, %d become unknown, %d no longer unknown, %d not replayable\n",
		p.Total.Questions, p.Total.Verdicts, p.Since.UTC().Format(time.RFC3339), exact, p.Unchanged.Questions, p.AllowToDeny.Questions,
		p.DenyToAllow.Questions, p.ToUnknown.Questions, p.FromUnknown.Questions, p.NotReplayable.Questions)
	if p.ReachedTo != nil {
		fmt.Fprintf(std.out, "Only verdicts since %s were looked at: %s.\n", timeOr(p.ReachedTo, ""), p.Why)
	}
	return nil
}

func joined(policy, code string) string {
	if policy == "" || code == "" {
		return policy + code
	}
	return policy + " " + code
}

func counted(questions, verdicts int64) string {
	if questions == verdicts {
		return fmt.Sprint(questions)
	}
	return fmt.Sprintf("%d (%d verdicts)", questions, verdicts)
}

func printImages(out printer, images []string, more bool) {
	for _, i := range images {
		out.line("      %s", i)
	}
	if more {
		out.line("      and others")
	}
}

// progressBar shows on a terminal how far something is.
type progressBar struct {
	w     io.Writer // nil where there is no terminal
	shown bool
}

func newProgressBar(w io.Writer) *progressBar {
	if f, ok := w.(*os.File); ok && terminal(f) {
		return &progressBar{w: w}
	}
	return &progressBar{}
}

// terminal tells whether somebody sits there. What jobs without a terminal are given
// in its place, the null device, is a character device too.
func terminal(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// show draws the bar, with words about what is done.
func (b *progressBar) show(done, total int64, format string, args ...any) {
	if b.w == nil || total == 0 {
		return
	}
	const width = 30
	n := int(min(done, total) * width / total)
	fmt.Fprintf(b.w, "\r[%s%s] %s ", strings.Repeat("#", n), strings.Repeat(".", width-n), fmt.Sprintf(format, args...))
	b.shown = true
}

func (b *progressBar) preview(p client.PreviewProgress) {
	b.show(p.Done, p.Total, "%d of %d verdicts, %d flips", p.Done, p.Total, p.Flips)
}

func (b *progressBar) clear() {
	if b.shown {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}

// previewFlags are those of commands that show first what they would flip.
type previewFlags struct {
	Yes       bool   `help:"Do not ask, whatever it would flip." short:"y"`
	MaxFlips  *int64 `help:"Refuse, with exit code 1, when more recent images than this would no longer be allowed, and 2 when that cannot be told." placeholder:"N"`
	NoPreview bool   `help:"Do not look at what it would flip."`
}

// previewTime bounds how long a change waits for its preview.
const previewTime = 30 * time.Second

// before shows what a change would flip, and says whether it is to be made: nil.
// That it cannot be told keeps nobody from a change who has set no bound: it may be
// made in a hurry.
func (f previewFlags) before(ctx context.Context, std streams, api *client.Client, ops ...client.Operation) error {
	if f.NoPreview {
		return nil
	}
	looking, cancel := context.WithTimeout(ctx, previewTime)
	defer cancel()
	bar := newProgressBar(std.err)
	p, err := gather(api.PreviewLines(looking, client.PreviewRequest{Operations: ops, MaxFlips: f.MaxFlips, Limit: 100}), func(l client.PreviewLine) error {
		if l.Progress != nil {
			bar.preview(*l.Progress)
		}
		return nil
	})
	bar.clear()
	var refused *client.Problem
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &refused) && refused.Status < 500 && refused.Status != 404 && refused.Status != 429 && f.MaxFlips == nil:
		return nil // the change itself will be refused, and say why
	case err != nil && looking.Err() != nil:
		p.Why = fmt.Sprintf("it took more than %s", previewTime)
	case err != nil:
		p.Why = err.Error()
	}
	printFlips(std, p)
	closed := p.AllowToDeny.Questions + p.ToUnknown.Questions
	switch {
	case f.MaxFlips != nil && closed > *f.MaxFlips:
		return &exit{code: exitDeny, err: fmt.Errorf("nothing was changed: %d recent images would no longer be allowed, and --max-flips is %d", closed, *f.MaxFlips)}
	case f.MaxFlips != nil && !p.Complete:
		return &exit{code: exitUnknown, err: errors.New("nothing was changed: what it would flip cannot be told, and --max-flips wants to know")}
	case f.Yes || p.Complete && closed+p.DenyToAllow.Questions+p.FromUnknown.Questions == 0 || !terminal(os.Stdin):
		return nil
	}
	fmt.Fprint(std.err, "Make the change? [y/N] ")
	answer, _ := bufio.NewReader(os.Stdin).ReadString('\n') // the end of the input is a no
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return &exit{code: exitDeny, err: errors.New("nothing was changed")}
	}
	return nil
}

// printFlips sums a preview up, for who is about to make the change.
func printFlips(std streams, p client.Preview) {
	say := func(n int64, what, direction string) {
		if n == 0 {
			return
		}
		fmt.Fprintf(std.err, "signet: %s: %s\n", plural(n, what), printable(imagesOf(p, direction), false))
	}
	say(p.AllowToDeny.Questions, "would now be denied", client.AllowToDeny)
	say(p.ToUnknown.Questions, "would become unknown", client.ToUnknown)
	say(p.DenyToAllow.Questions, "would now be allowed", client.DenyToAllow)
	say(p.FromUnknown.Questions, "would no longer be unknown", client.FromUnknown)
	if n := p.NotReplayable.Questions; n > 0 {
		fmt.Fprintf(std.err, "signet: %s: what would be answered cannot be told from what is kept\n", plural(n, "not replayable"))
	}
	if !p.Complete {
		fmt.Fprintf(std.err, "signet: not all that it would flip can be told: %s\n", printable(p.Why, false))
	}
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 recent image " + what
	}
	return fmt.Sprintf("%d recent images %s", n, what)
}

// imagesOf names some images of a direction.
func imagesOf(p client.Preview, direction string) string {
	const shown = 5
	var images []string
	more := false
	for _, g := range p.Groups {
		if g.Direction != direction {
			continue
		}
		more = more || g.MoreImages
		for _, i := range g.Images {
			if len(images) == shown {
				more = true
			} else if !slices.Contains(images, i) {
				images = append(images, i)
			}
		}
	}
	text := strings.Join(images, ", ")
	if more {
		text += " and others"
	}
	return text
}
