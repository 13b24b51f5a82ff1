package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/signet-policy/signet/client"
)

// auditPage is the audit log.
type auditPage struct {
	Query url.Values
	// Object is what was changed, or its name; Since, Until and Zone are what stands in
	// these fields.
	Object, Since, Until, Zone string
	Entries                    []auditEntry
	First, Filtered            bool
	Next                       string
	Problem                    string
}

// Older is where the list goes on, Latest where it begins.
func (p auditPage) Older() string { return with(p.Query, "before", p.Next) }

// Latest is where the list begins.
func (p auditPage) Latest() string { return with(p.Query, "before", "") }

// Zones are those to choose from.
func (p auditPage) Zones() []string { return zonesWith(p.Zone) }

// auditEntry is an entry with the name of what was changed.
type auditEntry struct {
	client.AuditEntry
	who visitor
}

// Name of what was changed: what it is called now, or was before it was removed.
func (e auditEntry) Name() string {
	for _, state := range []json.RawMessage{e.After, e.Before} {
		var of struct {
			Name string `json:"name"`
		}
		if json.Unmarshal(state, &of) == nil && of.Name != "" {
			return of.Name
		}
	}
	_, name, _ := strings.Cut(e.Object, "/")
	return name
}

// Place is the page of what was changed, below the base; "" where the change left none, or
// none that this person may open.
func (e auditEntry) Place() string {
	kind, name, _ := strings.Cut(e.Object, "/")
	if name == "" || len(e.After) == 0 || string(e.After) == "null" {
		return ""
	}
	switch kind {
	case "signer":
		return "/signers/" + url.PathEscape(name)
	case "policy":
		return "/policy/" + url.PathEscape(name)
	case "bundle":
		var is struct {
			Owner string `json:"owner"`
		}
		if json.Unmarshal(e.After, &is) != nil || !e.who.MayDraft(is.Owner) {
			return "/policy"
		}
		return "/bundle/" + url.PathEscape(name)
	case "gateway":
		return "/gateways"
	case "trust_root":
		return "/trust"
	case "token":
		return "/tokens"
	}
	return ""
}

// auditKinds are what stands before the slash in what an entry is about.
func auditKinds() []string {
	return []string{"signer", "policy", "bundle", "trust_root", "trust_archive", "gateway", "token", "watch"}
}

func (v *view) auditFilter() (client.AuditFilter, string) {
	q := v.QueryParams()
	text := func(name string) string { return strings.TrimSpace(q.Get(name)) }
	f := client.AuditFilter{Object: text("object"), Actor: text("actor"), Action: text("action")}
	if kind, _, _ := strings.Cut(f.Object, "/"); !slices.Contains(auditKinds(), kind) { // it is called so, whatever it is
		f.Object, f.Name = "", f.Object
	}
	if problem := filterTimes(q, &f.Since, &f.Until); problem != "" {
		return f, problem
	}
	if before := q.Get("before"); before != "" {
		n, err := strconv.ParseInt(before, 10, 64)
		if err != nil || n < 1 {
			return f, fmt.Sprintf("%q is not the number of an entry.", before)
		}
		f.Before = n
	}
	return f, ""
}

func listAudit(v *view) error {
	q := v.QueryParams()
	zone := filterZone(q)
	p := auditPage{
		Query: q, Object: q.Get("object"), First: q.Get("before") == "", Zone: zone,
		Since: shownTime(q.Get("since"), zone), Until: shownTime(q.Get("until"), zone),
	}
	for _, name := range []string{"object", "actor", "action", "since", "until"} {
		p.Filtered = p.Filtered || q.Get(name) != ""
	}
	f, problem := v.auditFilter()
	status := http.StatusOK
	if problem == "" {
		f.Limit = pageLength
		page, err := v.api.Audit(v.Request().Context(), f)
		if err != nil {
			if problem = mistake(err); problem == "" {
				return err
			}
		}
		for _, e := range page.Items {
			p.Entries = append(p.Entries, auditEntry{e, v.who})
		}
		p.Next = page.Next
	}
	if p.Problem = problem; problem != "" {
		status = http.StatusUnprocessableEntity
	}
	return v.render(status, "audit", "audit", "Audit", p)
}

// exportAudit writes the filtered entries as a file, a line of JSON each.
func exportAudit(v *view) error {
	f, problem := v.auditFilter()
	if problem != "" {
		return &client.Problem{Status: http.StatusUnprocessableEntity, Detail: problem}
	}
	ctx := v.Request().Context()
	f.Limit = 1000
	page, err := v.api.Audit(ctx, f) // the first page shows mistakes while they can be told
	if err != nil {
		return err
	}
	v.attachment("audit", "ndjson")
	lines := json.NewEncoder(v.Response())
	lines.SetEscapeHTML(false)
	return export(v, page, func(entries []client.AuditEntry) error {
		for _, e := range entries {
			if err := lines.Encode(e); err != nil {
				return err
			}
		}
		return nil
	}, func(next string) (client.Page[client.AuditEntry], error) {
		f.Before, _ = strconv.ParseInt(next, 10, 64) // a number, as the page before had it
		return v.api.Audit(ctx, f)
	})
}

// auditCheck is what came of checking the chain.
type auditCheck struct {
	Head    client.AuditHead
	Problem string
}

func checkAudit(v *view) error {
	head, err := v.api.VerifyAudit(v.Request().Context(), client.AuditHead{})
	c := auditCheck{Head: head}
	if err != nil {
		if c.Problem = mistake(err); c.Problem == "" {
			c.Problem = "The chain could not be checked, or it is broken: " + err.Error()
			v.page.cfg.Log.ErrorContext(v.Request().Context(), "checking the audit log for the page", "error", err.Error())
		}
	}
	if !v.isPart() {
		return v.render(http.StatusOK, "auditcheck", "audit", "Audit log checked", c)
	}
	return v.part(http.StatusOK, "auditcheck", "checked", c)
}
