package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/signet-policy/signet/internal/testkit/require"
)

// seenTabs are tabs, each with what is true once a person can use it.
func seenTabs() []struct{ name, path, usable string } {
	const rows = `document.querySelectorAll("tbody tr.link").length >= 10`
	return []struct{ name, path, usable string }{
		{"signers", "/signers", rows},
		{"signers, by -expires_at", "/signers?sort=-expires_at", rows},
		{"results", "/results", rows},
		{"results, and the chart", "/results", rows + ` && !!document.querySelector("svg.chart rect")`},
		{"results, decision=deny", "/results?decision=deny", rows},
		{"audit", "/audit", `document.querySelectorAll("tbody tr").length >= 10`},
	}
}

// inChromium measures the time from the navigation until a tab can be used: its rows
// are painted, its scripts have run.
func (s *server) inChromium(ctx context.Context, out io.Writer, n size, most time.Duration) error {
	path, ok, err := require.Find("chromium")
	if err != nil {
		return err
	}
	if !ok {
		fmt.Fprintf(out, "skipped: %s\n\n", require.SkipReason("chromium"))
		return nil
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("headless", "new"), chromedp.WSURLReadTimeout(time.Minute))
	ctx, end := chromedp.NewExecAllocator(ctx, opts...)
	defer end()
	ctx, end = chromedp.NewContext(ctx)
	defer end()
	ctx, end = context.WithTimeout(ctx, patience)
	defer end()
	if err := chromedp.Run(ctx, chromedp.Navigate(s.url+place), chromedp.WaitVisible(`#token`), chromedp.SendKeys(`#token`, s.token), chromedp.Submit(`#token`),
		chromedp.WaitVisible(`.tabs a[aria-current]`)); err != nil {
		return fmt.Errorf("logging in with Chromium: %w", err)
	}
	tabs := seenTabs()
	took := make([][]time.Duration, len(tabs))
	for range n.asks {
		for i, t := range tabs {
			var ms float64
			// The page's own clock begins with the navigation; after two frames what was
			// there is painted.
			usable := `document.readyState === "complete" && (` + t.usable + `) && new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))`
			if err := chromedp.Run(ctx, chromedp.Navigate(s.url+place+t.path), chromedp.Poll(usable, &ms, chromedp.WithPollingInterval(5*time.Millisecond), chromedp.WithPollingTimeout(time.Minute))); err != nil {
				return fmt.Errorf("%s in Chromium: %w", t.name, err)
			}
			took[i] = append(took[i], time.Duration(ms*float64(time.Millisecond)))
		}
	}
	fmt.Fprintf(out, "%-72s %9s %9s %9s\n", "tab in Chromium, until it can be used", "min", "p50", "max")
	slow := 0
	for i, t := range tabs {
		slow += report(out, 72, t.name, took[i], most)
	}
	fmt.Fprintln(out)
	if slow > 0 {
		return fmt.Errorf("%d tabs took longer than %s in Chromium", slow, most)
	}
	return nil
}
