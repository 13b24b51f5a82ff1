// Package workbench checks, tests, tries and builds the policy bundles that people
// write in the browser, or send: bundles that are files in memory and in force
// nowhere. It bounds what that may cost.
//
// Start with [Bench].
package workbench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"runtime/metrics"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/policy"
	"github.com/signet-policy/signet/internal/policy/starter"
	"github.com/signet-policy/signet/internal/signingpolicy"
)

// Errors that say what the author is to mend; others are Signet's own trouble.
var (
	// ErrFiles says that what was sent is no set of files of a bundle.
	ErrFiles = errors.New("not the files of a bundle")
	// ErrUnfit says that a bundle cannot be built: its message says why.
	ErrUnfit = errors.New("not fit to be published")
	// ErrInput says that what a policy is to be tried on is no input document.
	ErrInput = errors.New("not an input document")
	// ErrTooMuch says that it took more time or memory than one may have.
	ErrTooMuch = errors.New("took too much")
)

// Bounds of the author's files.
const (
	maxFiles = 300
	maxBytes = 2 << 20
	maxName  = 200
)

// paramsName is where an author keeps the parameters that tests and checks take.
const paramsName = "params/params.json"

// Bench is where bundles are worked on. The zero value has the bounds that a
// server has. It is safe for concurrent use; how many work on it at a time is for
// the caller to bound.
type Bench struct {
	// Limits bound one evaluation; the zero value means the defaults.
	Limits evidence.Limits
	// Time bounds one piece of work (20 s), and Memory by how many bytes the heap may
	// grow while it is done (512 MiB).
	Time   time.Duration
	Memory uint64
}

// Begin gives the author's files of a new bundle, as signet policy init makes it.
func (Bench) Begin() (map[string]string, error) {
	files, err := starter.Begin()
	return texts(files), err
}

// Unpack gives the author's files of an archive, and names the files of its library
// that are not this Signet's. A bundle has no parameters: those that it is tried with
// are the signing policy's, a document; where there is none, those of its first
// golden input, or those that every policy has. Errors wrap [ErrFiles].
func (Bench) Unpack(archive []byte, document string) (files map[string]string, replaced []string, err error) {
	all, err := policy.Files(archive)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrFiles, err)
	}
	delete(all, ".signatures.json") // is over what is about to change
	mine, replaced, err := starter.Mine(all)
	if err != nil {
		return nil, nil, err
	}
	for name, body := range mine {
		if !utf8.Valid(body) {
			return nil, nil, fmt.Errorf("%w: %s is no text", ErrFiles, name)
		}
	}
	if _, ok := mine[paramsName]; !ok {
		mine[paramsName] = paramsFor(all, document)
	}
	return texts(mine), replaced, nil
}

// paramsFor are parameters that a bundle can be tried with.
func paramsFor(files map[string][]byte, document string) []byte {
	indented := func(raw json.RawMessage) []byte {
		var v any
		if json.Unmarshal(raw, &v) != nil {
			return nil
		}
		body, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return nil
		}
		return append(body, '\n')
	}
	if document != "" {
		if p, err := signingpolicy.Parse([]byte(document)); err == nil {
			if raw, err := p.Params(); err == nil {
				return indented(raw)
			}
		}
	}
	var golden struct {
		Golden []struct {
			Params json.RawMessage `json:"params"`
		} `json:"golden"`
	}
	if json.Unmarshal(files["signing/golden.json"], &golden) == nil && len(golden.Golden) > 0 && len(golden.Golden[0].Params) > 0 {
		return indented(golden.Golden[0].Params)
	}
	raw, err := signingpolicy.Default().Params()
	if err != nil {
		return nil
	}
	return indented(raw)
}

func texts(files map[string][]byte) map[string]string {
	out := make(map[string]string, len(files))
	for name, body := range files {
		out[name] = string(body)
	}
	return out
}

// Valid says whether files can be a draft. Errors wrap [ErrFiles] and name the file.
func (Bench) Valid(files map[string]string) error {
	if len(files) > maxFiles {
		return fmt.Errorf("%w: there are %d files, and %d are the most", ErrFiles, len(files), maxFiles)
	}
	total := 0
	for _, name := range slices.Sorted(maps.Keys(files)) {
		total += len(name) + len(files[name])
		switch {
		case !fs.ValidPath(name) || name == "." || len(name) > maxName || strings.IndexFunc(name, odd) >= 0:
			return fmt.Errorf("%w: %q is no name of a file; use letters, digits, dots, dashes and underscores, with / between folders", ErrFiles, name)
		case !utf8.ValidString(files[name]) || strings.ContainsRune(files[name], 0):
			return fmt.Errorf("%w: %s is no text", ErrFiles, name)
		}
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, is := files[dir]; is {
				return fmt.Errorf("%w: %s is a file and a folder", ErrFiles, dir)
			}
		}
	}
	if total > maxBytes {
		return fmt.Errorf("%w: they have %d bytes, and %d are the most", ErrFiles, total, maxBytes)
	}
	return nil
}

func odd(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-/", r))
}

// Source gives all files of a bundle as its author would have them in a folder,
// as a .tar.gz: the library, the tests and the parameters too.
func (b Bench) Source(files map[string]string) ([]byte, error) {
	all, err := b.whole(files)
	if err != nil {
		return nil, err
	}
	return policy.PackFiles(all)
}

func (b Bench) whole(files map[string]string) (map[string][]byte, error) {
	if err := b.Valid(files); err != nil {
		return nil, err
	}
	mine := make(map[string][]byte, len(files))
	for name, text := range files {
		mine[name] = []byte(text)
	}
	all, err := starter.Whole(mine)
	if errors.Is(err, starter.ErrInvalid) {
		return nil, fmt.Errorf("%w: %s", ErrFiles, strings.TrimPrefix(err.Error(), starter.ErrInvalid.Error()+": "))
	}
	return all, err
}

func (b Bench) source(files map[string]string) (policy.Source, error) {
	all, err := b.whole(files)
	if err != nil {
		return policy.Source{}, err
	}
	src := policy.Source{Name: "draft", Params: all[paramsName], Limits: b.Limits}
	src.Bundle, err = policy.OpenFiles(all)
	return src, err
}

// Check looks for mistakes, as signet policy check does. Errors wrap [ErrFiles] or
// [ErrTooMuch].
func (b Bench) Check(ctx context.Context, files map[string]string) (out client.PolicyChecked, err error) {
	src, err := b.source(files)
	if err != nil {
		return out, err
	}
	var found []policy.Problem
	err = b.bounded(ctx, func(ctx context.Context) error {
		found, err = policy.Check(ctx, src)
		return err
	})
	if errors.Is(err, policy.ErrLoad) {
		found, err = []policy.Problem{unreadable(err)}, nil
	}
	out.Problems = make([]client.PolicyProblem, 0, len(found))
	for _, p := range found {
		out.Problems = append(out.Problems, client.PolicyProblem(p))
	}
	return out, err
}

// unreadable is what is wrong with a bundle that is none.
func unreadable(err error) policy.Problem {
	text := reason(err)
	p := policy.Problem{Code: "bundle", Severity: policy.SeverityError, Message: text, Instead: "Mend this first: without it there is no bundle to look at."}
	for _, name := range []string{".manifest", "schemas/params.json", "signing/golden.json"} {
		if strings.Contains(text, name) {
			p.File = name
		}
	}
	return p
}

func reason(err error) string {
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), policy.ErrLoad.Error()+": "), "bundle: ")
}

// Test runs the tests, as signet policy test does. Errors wrap [ErrFiles] or
// [ErrTooMuch].
func (b Bench) Test(ctx context.Context, files map[string]string) (client.PolicyTested, error) {
	out := client.PolicyTested{Tests: []client.PolicyTest{}, Uncovered: []client.PolicyUncovered{}}
	src, err := b.source(files)
	if err != nil {
		return out, err
	}
	var tested policy.Tested
	err = b.bounded(ctx, func(ctx context.Context) error {
		tested, err = policy.RunTests(ctx, src)
		return err
	})
	if errors.Is(err, policy.ErrLoad) {
		out.Error = reason(err)
		return out, nil
	}
	if err != nil {
		return out, err
	}
	for _, t := range tested.Tests {
		out.Tests = append(out.Tests, client.PolicyTest(t))
	}
	for _, u := range tested.Uncovered {
		out.Uncovered = append(out.Uncovered, client.PolicyUncovered(u))
	}
	out.OK, out.Coverage = tested.OK(), tested.Coverage
	return out, nil
}

// Evaluate asks a bundle about one input, with the parameters of a signing policy,
// a document; "": with those of params/params.json. Errors wrap [ErrFiles],
// [ErrInput] or [ErrTooMuch].
func (b Bench) Evaluate(ctx context.Context, files map[string]string, document string, input []byte) (client.PolicyEvaluated, error) {
	out := client.PolicyEvaluated{Decision: client.Deny, Rules: []client.PolicyFired{}}
	src, err := b.source(files)
	if err != nil {
		return out, err
	}
	if document != "" {
		p, err := signingpolicy.Parse([]byte(document))
		if err != nil {
			return out, fmt.Errorf("%w: %w", ErrInput, err)
		}
		if src.Params, err = p.Params(); err != nil {
			return out, err
		}
	}
	limits := b.Limits
	if limits == (evidence.Limits{}) {
		limits = evidence.DefaultLimits()
	}
	err = b.bounded(ctx, func(ctx context.Context) error {
		doc, err := policy.ParseDocument(ctx, input, limits.PolicyInputBytes)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrInput, err)
		}
		set, err := policy.Load(ctx, src)
		if err != nil {
			return err
		}
		result, rules, err := set.Explain(ctx, doc)
		for _, r := range rules {
			if r.Facts == nil {
				r.Facts = []string{}
			}
			out.Rules = append(out.Rules, client.PolicyFired(r))
		}
		switch {
		case errors.Is(err, policy.ErrTimeLimit) && ctx.Err() == nil, errors.Is(err, policy.ErrInputTooLarge):
			out.Decision, out.Error = client.Unknown, err.Error()
			return nil
		case errors.Is(err, policy.ErrPolicy): // a server denies, with the code policy_error
			out.Error = err.Error()
			return nil
		case err != nil:
			return err
		}
		if result.Allow {
			out.Decision = client.Allow
		}
		out.Result, err = json.Marshal(result)
		return err
	})
	if errors.Is(err, policy.ErrLoad) && !errors.Is(err, ErrTooMuch) {
		out.Error, err = reason(err), nil
	}
	return out, err
}

// Build checks, tests and packs a bundle, unsigned, under a sequence. Errors wrap
// [ErrFiles], [ErrUnfit] or [ErrTooMuch].
func (b Bench) Build(ctx context.Context, files map[string]string, sequence int64, revision string) (archive []byte, err error) {
	src, err := b.source(files)
	if err != nil {
		return nil, err
	}
	var wrong []string
	err = b.bounded(ctx, func(ctx context.Context) error {
		archive, _, err = policy.Build(ctx, policy.BuildOptions{
			Bundle: src.Bundle, Params: src.Params, Sequence: sequence, Revision: revision,
			Checked: func(problems []policy.Problem) {
				for _, p := range problems {
					if p.Severity == policy.SeverityError {
						wrong = append(wrong, fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message))
					}
				}
			},
			Ran: func(t policy.Tested) {
				for _, one := range t.Tests {
					if one.Outcome == policy.Failed || one.Outcome == policy.Errored {
						wrong = append(wrong, fmt.Sprintf("%s:%d: the test %s did not pass", one.File, one.Line, one.Name))
					}
				}
			},
		})
		return err
	})
	switch {
	case errors.Is(err, ErrTooMuch):
		return nil, err
	case errors.Is(err, policy.ErrUnfit), errors.Is(err, policy.ErrLoad):
		text := strings.TrimPrefix(reason(err), policy.ErrUnfit.Error()+": ")
		if len(wrong) > 0 {
			text += ": " + strings.Join(wrong[:min(len(wrong), 10)], "; ")
		}
		return nil, fmt.Errorf("%w: %s", ErrUnfit, text)
	}
	return archive, err
}

const (
	defaultTime   = 20 * time.Second
	defaultMemory = 512 << 20
	// look is how often the memory is looked at.
	look = 10 * time.Millisecond
)

// bounded does a piece of work and ends it when it takes too long, or the heap has
// grown too much meanwhile. OPA has no bound on memory of its own; that others grow
// the heap too errs on the side of ending.
func (b Bench) bounded(ctx context.Context, do func(context.Context) error) (err error) {
	most, grown := b.Time, b.Memory
	if most == 0 {
		most = defaultTime
	}
	if grown == 0 {
		grown = defaultMemory
	}
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: panic: %v", policy.ErrLoad, p)
		}
		switch cause := context.Cause(work); {
		case ctx.Err() != nil: // whatever the work made of it
			err = ctx.Err()
		case cause != nil && errors.Is(cause, ErrTooMuch):
			err = cause
		}
	}()
	timer := time.AfterFunc(most, func() { cancel(fmt.Errorf("%w time: more than %s", ErrTooMuch, most)) })
	defer timer.Stop()
	done := make(chan struct{})
	defer close(done)
	least := heap() // garbage of earlier work goes away meanwhile, and is no credit
	go func() {
		tick := time.NewTicker(look)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				now := heap()
				if least = min(least, now); now > least+grown {
					cancel(fmt.Errorf("%w memory: more than %d MiB", ErrTooMuch, grown>>20))
					return
				}
			}
		}
	}()
	return do(work)
}

// heap is how many bytes of it are in use, garbage included.
func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}
