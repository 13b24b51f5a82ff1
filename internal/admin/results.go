package admin

import (
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
)

// resultsPage is the history of verdicts.
type resultsPage struct {
	Query url.Values
	// Image, Since, Until and Zone are what stands in these fields.
	Image, Since, Until, Zone string
	Rows                      []client.Verification
	Next                      string
	First                     bool
	Filtered                  bool
	Problem                   string
}

// NextPage is where the list goes on.
func (p resultsPage) NextPage() string { return with(p.Query, "cursor", p.Next) }

// FirstPage is where the list begins.
func (p resultsPage) FirstPage() string { return with(p.Query, "cursor", "") }

// Export is where the same verdicts are as a file.
func (p resultsPage) Export(format string) string {
	return with(p.Query, "cursor", "", "format", format)
}

// Without is the list with one filter less.
func (p resultsPage) Without(name string) string { return with(p.Query, name, "", "cursor", "") }

// Kept are the filters that are no fields of the form, which it keeps all the same.
func (p resultsPage) Kept() []string {
	var kept []string
	for _, name := range []string{"name", "reason_code"} {
		if value := p.Query.Get(name); value != "" && (name != "name" || value != p.Image) {
			kept = append(kept, name)
		}
	}
	return kept
}

// Zones are those to choose from.
func (p resultsPage) Zones() []string { return zonesWith(p.Zone) }

// Decisions are those to choose from.
func (p resultsPage) Decisions() []string { return []string{"allow", "deny", "unknown"} }

// resultFilters are the parameters that choose verdicts.
func resultFilters() []string {
	return []string{"image", "name", "digest", "decision", "signer", "identity", "assessment_id", "reason_code", "since", "until"}
}

func (v *view) resultFilter() (client.VerdictFilter, string) {
	q := v.QueryParams()
	text := func(name string) string { return strings.TrimSpace(q.Get(name)) }
	f := client.VerdictFilter{
		Image: text("image"), Name: text("name"), Digest: text("digest"), Decision: client.Decision(text("decision")), Signer: text("signer"),
		Identity: text("identity"), AssessmentID: text("assessment_id"), ReasonCode: text("reason_code"),
	}
	// What people paste: a reference without a tag is a name, and one with a digest the
	// name and the digest, whatever tag it was asked for with.
	name, digest, pinned := strings.Cut(f.Image, "@")
	at := strings.LastIndex(name, "/") + 1
	last, _, tagged := strings.Cut(name[at:], ":")
	if f.Image != "" && f.Name == "" && (pinned && (f.Digest == "" || f.Digest == digest) || !pinned && !tagged) {
		f.Name, f.Image = name[:at]+last, ""
		if pinned {
			f.Digest = digest
		}
	}
	problem := filterTimes(q, &f.Since, &f.Until)
	return f, problem
}

// filterTimes reads the span of a filter, and says what is wrong with it.
func filterTimes(q url.Values, since, until *time.Time) string {
	for _, t := range []struct {
		name string
		to   *time.Time
	}{{"since", since}, {"until", until}} {
		text := strings.TrimSpace(q.Get(t.name))
		if text == "" {
			continue
		}
		at, problem := fieldTime(text, filterZone(q))
		if problem != "" {
			return problem
		}
		*t.to = *at
	}
	return ""
}

// filterZone is the zone that the times of a filter are in.
func filterZone(q url.Values) string { return cmp.Or(q.Get("zone"), "UTC") }

// fieldTime reads what a field has, or a link: a time in a zone, or a moment.
func fieldTime(text, zone string) (*time.Time, string) {
	if exact, err := time.Parse(time.RFC3339, text); err == nil {
		return &exact, ""
	}
	return formTime(text, zone)
}

// shownTime is what a field shows: a moment in its zone, so that it stays the same
// when the form is sent.
func shownTime(text, zone string) string {
	exact, err := time.Parse(time.RFC3339, text)
	where, problem := zoneOf(zone)
	if err != nil || problem != nil {
		return text
	}
	return exact.In(where).Format(exactLayout)
}

func listResults(v *view) error {
	q := v.QueryParams()
	zone := filterZone(q)
	p := resultsPage{
		Query: q, First: q.Get("cursor") == "", Image: cmp.Or(q.Get("image"), q.Get("name")), Zone: zone,
		Since: shownTime(q.Get("since"), zone), Until: shownTime(q.Get("until"), zone),
	}
	for _, name := range resultFilters() {
		p.Filtered = p.Filtered || q.Get(name) != ""
	}
	f, problem := v.resultFilter()
	status := http.StatusOK
	if problem == "" {
		f.Limit, f.Cursor = pageLength, q.Get("cursor")
		page, err := v.api.Verdicts(v.Request().Context(), f)
		if err != nil {
			if problem = mistake(err); problem == "" {
				return err
			}
		}
		p.Rows, p.Next = page.Items, page.Next
	}
	if p.Problem = problem; problem != "" {
		status = http.StatusUnprocessableEntity
	}
	return v.render(status, "results", "results", "Results", p)
}

// resultPage is one verdict of the past.
type resultPage struct {
	Shown *shownVerdict
	Uses  []client.Use
	Count int64
}

func showResult(v *view) error {
	ctx := v.Request().Context()
	verdict, err := v.api.Verdict(ctx, v.Param("id"))
	if err != nil {
		return err
	}
	p := resultPage{Shown: v.shown(ctx, verdict)}
	if p.Uses, err = v.api.VerdictUses(ctx, verdict.ID); err != nil {
		return err
	}
	for _, u := range p.Uses {
		p.Count += u.Count
	}
	if v.QueryParam("row") != "" && v.isPart() {
		return v.part(http.StatusOK, "result", "row", p)
	}
	return v.render(http.StatusOK, "result", "results", "Verdict on "+verdict.Image, p)
}

const (
	// chartDays are shown.
	chartDays = 30
	// recentRefusals are read for the reasons.
	recentRefusals = 500
)

// chart is the decisions of the last days, and why images were refused.
type chart struct {
	Days    []chartDay
	Most    int64
	Totals  map[string]int64
	Reasons []reasonCount
	// Of is how many refusals the reasons are counted in, the most recent.
	Of int64
	// Recent says that only recent verdicts were counted.
	Recent bool
	Width  int
}

// All is how many verdicts there were.
func (c chart) All() int64 { return c.Totals["allow"] + c.Totals["deny"] + c.Totals["unknown"] }

// Share is a part of all, in percent.
func (c chart) Share(decision string) int64 { return c.Totals[decision] * 100 / max(c.All(), 1) }

// Refused is how many were not allowed.
func (c chart) Refused() int64 { return c.Totals["deny"] + c.Totals["unknown"] }

// Reason is where verdicts with a first reason are listed.
func (c chart) Reason(code string) string {
	return with(url.Values{}, "reason_code", code, "since", c.Days[0].Day.Format(time.RFC3339))
}

// Busy are the days that had verdicts, the last first.
func (c chart) Busy() []chartDay {
	days := slices.DeleteFunc(slices.Clone(c.Days), func(d chartDay) bool { return len(d.Bars) == 0 })
	slices.Reverse(days)
	return days
}

type chartDay struct {
	Day  time.Time
	By   map[string]int64
	Bars []bar
	X    int
}

// Only is where the day's verdicts are listed; decision is "" for all.
func (d chartDay) Only(decision string) string {
	return with(url.Values{}, "decision", decision, "since", d.Day.Format(time.RFC3339), "until", d.Day.AddDate(0, 0, 1).Format(time.RFC3339))
}

// bar is a rectangle of the picture.
type bar struct {
	Class        string
	X, Y, Height float64
}

// reasonCount is how often a first reason was given, with its sentence where it came
// last. Varied says that it was not the same each time.
type reasonCount struct {
	Code, Reason string
	Varied       bool
	Count        int64
}

// The picture, in its own units.
const (
	chartHeight = 120
	dayWidth    = 20
)

func showChart(v *view) error {
	ctx := v.Request().Context()
	now := v.page.cfg.Now().UTC()
	today := now.Truncate(24 * time.Hour)
	since := today.AddDate(0, 0, 1-chartDays)
	c := chart{Totals: map[string]int64{}, Width: chartDays * dayWidth}
	for i := range chartDays {
		c.Days = append(c.Days, chartDay{Day: since.AddDate(0, 0, i), By: map[string]int64{}, X: i * dayWidth})
	}
	counts, recent, err := v.counts(ctx, since, now)
	if err != nil {
		return err
	}
	c.Recent = recent
	for _, n := range counts {
		if i := int(n.Day.Sub(since) / (24 * time.Hour)); i >= 0 && i < len(c.Days) {
			c.Days[i].By[n.Decision] += n.Count
			c.Totals[n.Decision] += n.Count
		}
	}
	for _, d := range c.Days {
		c.Most = max(c.Most, d.By["allow"]+d.By["deny"]+d.By["unknown"])
	}
	for i := range c.Days {
		y := float64(chartHeight)
		for _, decision := range []string{"allow", "unknown", "deny"} {
			if n := c.Days[i].By[decision]; n > 0 {
				height := max(float64(n)*(chartHeight-8)/float64(c.Most), 1.5)
				y -= height
				c.Days[i].Bars = append(c.Days[i].Bars, bar{decision, float64(c.Days[i].X) + 3, y, height})
			}
		}
	}
	if c.Reasons, c.Of, err = v.reasons(ctx, since); err != nil {
		return err
	}
	if !v.isPart() {
		return v.render(http.StatusOK, "chart", "results", "Decisions over time", c)
	}
	return v.part(http.StatusOK, "chart", "chart", c)
}

// counts are those of all images; for who sees only some they are counted among
// what the REST face shows them.
func (v *view) counts(ctx context.Context, since, until time.Time) (out []DayCount, recent bool, err error) {
	if len(v.who.Images) == 0 {
		out, err = v.page.cfg.Counts(ctx, since, until)
		return out, false, err
	}
	page, err := v.api.Verdicts(ctx, client.VerdictFilter{Since: since, Limit: recentVerdicts})
	for _, r := range page.Items {
		out = append(out, DayCount{r.CreatedAt.UTC().Truncate(24 * time.Hour), r.Decision, 1})
	}
	return out, page.Next != "", err
}

// reasons counts the first reasons of recent refusals, by their codes.
func (v *view) reasons(ctx context.Context, since time.Time) (out []reasonCount, of int64, err error) {
	place := map[string]int{}
	for _, decision := range []client.Decision{client.Deny, client.Unknown} {
		page, err := v.api.Verdicts(ctx, client.VerdictFilter{Decision: decision, Since: since, Limit: recentRefusals})
		if err != nil {
			return nil, 0, err
		}
		for _, r := range page.Items {
			if r.VerificationError == nil {
				continue
			}
			of++
			said := withoutImage(*r.VerificationError, r)
			i, known := place[r.ReasonCode]
			if !known {
				i = len(out)
				place[r.ReasonCode] = i
				out = append(out, reasonCount{Code: r.ReasonCode, Reason: said})
			}
			out[i].Count++
			out[i].Varied = out[i].Varied || said != out[i].Reason
		}
	}
	slices.SortFunc(out, func(a, b reasonCount) int {
		if a.Count != b.Count {
			return int(b.Count - a.Count)
		}
		return strings.Compare(a.Code, b.Code)
	})
	return out[:min(len(out), 6)], of, nil
}

// quoted are digests by themselves.
var quoted = regexp.MustCompile(`"?sha256:[0-9a-f]{64}"?`)

// withoutImage makes reasons of the same kind the same.
func withoutImage(reason string, r client.Verification) string {
	for _, name := range []string{r.ImageRef, r.ImageName + "@" + r.ImageDigest, r.ImageName, r.ImageDigest} {
		if name != "" && name != "@" {
			reason = strings.ReplaceAll(reason, name, "…")
		}
	}
	return quoted.ReplaceAllString(brief(reason), "…")
}

// exportResults writes the filtered verdicts as a file, page by page: CSV for
// spreadsheets, NDJSON for programs.
func exportResults(v *view) error {
	f, problem := v.resultFilter()
	if problem != "" {
		return &client.Problem{Status: http.StatusUnprocessableEntity, Detail: problem}
	}
	format := v.QueryParam("format")
	if format != "csv" && format != "ndjson" {
		return &client.Problem{Status: http.StatusUnprocessableEntity, Detail: "Verdicts are exported as csv or as ndjson."}
	}
	ctx := v.Request().Context()
	f.Limit = 1000
	page, err := v.api.Verdicts(ctx, f) // the first page shows mistakes while they can be told
	if err != nil {
		return err
	}
	v.attachment("verdicts", format)
	table, lines := csv.NewWriter(v.Response()), json.NewEncoder(v.Response())
	lines.SetEscapeHTML(false)
	if format == "csv" {
		_ = table.Write([]string{"id", "created_at", "image", "digest", "decision", "allowed", "reason", "signer_identity", "signer_issuer", "slsa_level", "assessment_id", "principal"})
	}
	return export(v, page, func(rows []client.Verification) error {
		for _, r := range rows {
			if format == "csv" {
				err = table.Write(csvRow(r))
			} else {
				err = lines.Encode(r)
			}
			if err != nil {
				return err
			}
		}
		table.Flush()
		return table.Error()
	}, func(next string) (client.Page[client.Verification], error) {
		f.Cursor = next
		return v.api.Verdicts(ctx, f)
	})
}

// attachment says that a file follows, in format "csv" or "ndjson".
func (v *view) attachment(name, format string) {
	h := v.Response().Header()
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s-%s.%s"`, name, v.page.cfg.Now().UTC().Format("20060102-1504"), format))
	h.Set("Content-Type", map[string]string{"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}[format])
}

// export writes a list as a file, page by page: its first, which was read while mistakes
// could be told, and those after it.
func export[T any](v *view, page client.Page[T], write func([]T) error, read func(next string) (client.Page[T], error)) error {
	ctx := v.Request().Context()
	rc := http.NewResponseController(v.Response())
	for {
		_ = rc.SetWriteDeadline(time.Now().Add(eventTime))
		if err := write(page.Items); err != nil || page.Next == "" {
			return nil //nolint:nilerr // the browser is gone: nobody to tell
		}
		err := v.still()
		if err == nil {
			page, err = patiently(ctx, func() (client.Page[T], error) { return read(page.Next) })
		}
		if err != nil {
			v.page.cfg.Log.ErrorContext(ctx, "an export broke off", "error", err.Error())
			panic(http.ErrAbortHandler) // a file that is cut short must not look whole
		}
	}
}

// patiently reads a page, and waits where the caller's rate limit says so:
// a file of many pages is one question to who asked for it.
func patiently[T any](ctx context.Context, read func() (client.Page[T], error)) (client.Page[T], error) {
	for {
		page, err := read()
		var p *client.Problem
		if !errors.As(err, &p) || p.Status != http.StatusTooManyRequests {
			return page, err
		}
		select {
		case <-time.After(max(p.RetryAfter, 100*time.Millisecond)):
		case <-ctx.Done():
			return page, ctx.Err()
		}
	}
}

func csvRow(r client.Verification) []string {
	row := []string{
		r.ID, r.CreatedAt.UTC().Format(time.RFC3339), r.ImageRef, r.ImageDigest, r.Decision, strconv.FormatBool(r.Allowed), "", r.SignerIdentity,
		r.SignerIssuer, strconv.Itoa(r.SLSALevel), "", r.Principal,
	}
	if r.VerificationError != nil {
		row[6] = *r.VerificationError
	}
	if r.AssessmentID != nil {
		row[10] = *r.AssessmentID
	}
	for i, cell := range row {
		row[i] = inert(cell)
	}
	return row
}

// inert keeps a spreadsheet from taking a cell for a formula.
func inert(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
