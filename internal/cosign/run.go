package cosign

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// output is what a run said.
type output struct {
	ok bool
	// said is cut short and fit to be shown; all is everything, up to the bound.
	said, all string
}

// bounded keeps the beginning of what is written, and takes the rest.
type bounded struct {
	buf  bytes.Buffer
	most int
}

func (b *bounded) Write(p []byte) (int, error) {
	if room := b.most - b.buf.Len(); room > 0 {
		b.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// run runs the program once. An end by itself is an answer, whatever its code; an
// end by a signal or a time limit is an error.
func (c *CLI) run(ctx context.Context, home string, args ...string) (output, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return output{}, fmt.Errorf("cosign: too many questions at once; it was not this one's turn within %s", c.cfg.Timeout)
	}
	cmd := exec.CommandContext(ctx, c.cfg.Path, args...) //nolint:gosec // what the operator names, without a shell
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home}
	stdout, stderr := &bounded{most: 256 << 10}, &bounded{most: 64 << 10}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = time.Second
	confine(cmd)
	if err := cmd.Start(); err != nil {
		return output{}, fmt.Errorf("cosign: starting %s: %w", c.cfg.Path, err)
	}
	if err := limit(cmd.Process.Pid, c.cfg.Memory); err != nil {
		_ = cmd.Cancel()
		_ = cmd.Wait()
		return output{}, fmt.Errorf("cosign: bounding its memory: %w", err)
	}
	err := cmd.Wait()
	var ended *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return output{}, fmt.Errorf("cosign: did not end within %s", c.cfg.Timeout)
	case errors.As(err, &ended) && !ended.Exited():
		return output{}, fmt.Errorf("cosign: ended by %s: %s", ended.ProcessState, shown(stderr.buf.String()))
	case err != nil && ended == nil:
		return output{}, fmt.Errorf("cosign: %w", err)
	}
	all := stdout.buf.String() + stderr.buf.String()
	// Its errors are the last thing that it says, and its findings the first.
	said := shown(stdout.buf.String())
	if err != nil {
		said = shown(stderr.buf.String())
	}
	return output{ok: err == nil, said: said, all: all}, nil
}

// shown is text that can stand in a verdict: one line, cut short.
func shown(s string) string {
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))), " ")
	if len(s) > longestOutput {
		s = strings.ToValidUTF8(s[:longestOutput], "") + "…"
	}
	return s
}
