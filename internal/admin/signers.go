package admin

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
)

// pageLength is how many rows a list shows at once.
const pageLength = 50

// signersPage is the list of signers.
type signersPage struct {
	Filter  client.SignerFilter
	Query   url.Values
	Signers []client.Signer
	Next    string
	// First says that this is the beginning of the list.
	First    bool
	Filtered bool
	Sort     string
	// Team is whose signers are shown because nothing else was asked for.
	Team string
}

// SortBy is where the heading of a column leads: the other way round where it is
// sorted by that column already.
func (p signersPage) SortBy(column string) string {
	to := column
	if p.Sort == column {
		to = "-" + column
	}
	return with(p.Query, "sort", to, "cursor", "")
}

// Sorted is for aria-sort.
func (p signersPage) Sorted(column string) string {
	switch p.Sort {
	case column:
		return "ascending"
	case "-" + column:
		return "descending"
	}
	return "none"
}

// Count says how many there are, or match.
func (p signersPage) Count() string {
	n, match := len(p.Signers), ""
	if p.Filtered {
		match = " match"
	}
	switch {
	case !p.First:
		return ""
	case p.Next != "":
		return fmt.Sprintf("More than %d signers%s; these are the first.", n, match)
	case n == 1 && p.Filtered:
		return "1 signer matches."
	case n == 1:
		return "1 signer."
	}
	return fmt.Sprintf("%d signers%s.", n, match)
}

// NextPage is where the next page is.
func (p signersPage) NextPage() string { return with(p.Query, "cursor", p.Next) }

// FirstPage is where the list begins.
func (p signersPage) FirstPage() string { return with(p.Query, "cursor", "") }

func listSigners(v *view) error {
	q := maps.Clone(v.QueryParams())
	if v.who.Team != "" && q.Has("owner") && q.Get("owner") == "" { // the field was cleared: no team is asked for
		q.Set("teams", "all")
	}
	f := client.SignerFilter{
		Query: q.Get("query"), Type: q.Get("type"), State: q.Get("state"), Owner: q.Get("owner"), Sort: q.Get("sort"),
		Cursor: q.Get("cursor"), Limit: pageLength,
	}
	team := ""
	if f.Owner == "" && q.Get("teams") != "all" { // a team begins with its own
		team = v.who.Team
		f.Owner = team
	}
	page, err := v.api.Signers(v.Request().Context(), f)
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, "signers", "signers", "Signers", signersPage{
		Filter: f, Query: q, Signers: page.Items, Next: page.Next, First: f.Cursor == "", Sort: f.Sort, Team: team,
		Filtered: f.Query != "" || f.Type != "" || f.State != "" || f.Owner != "",
	})
}

// signerPage is one signer with what is known of it.
type signerPage struct {
	Signer   client.Signer
	Audit    []client.AuditEntry
	Verdicts []client.SignerVerdict
	More     bool
	Policies []client.Policy
	Keys     []keyShown
	// Mine says whether this person may change it.
	Mine bool
}

func showSigner(v *view) error {
	ctx := v.Request().Context()
	s, err := v.api.Signer(ctx, v.Param("id"))
	if err != nil {
		return err
	}
	p := signerPage{Signer: s, Mine: v.who.MayOwn(s.Owner, s.Images)}
	p.Keys, _ = keysOf(s.PublicKey) // what is stored was checked
	audit, err := v.api.Audit(ctx, client.AuditFilter{Object: "signer/" + s.ID, Limit: 20})
	if err != nil && !client.IsForbidden(err) {
		return err
	}
	p.Audit = audit.Items
	verdicts, err := v.api.SignerVerdicts(ctx, s.ID, 10, "")
	if err != nil {
		return err
	}
	p.Verdicts, p.More = verdicts.Items, verdicts.Next != ""
	if p.Policies, err = v.relying(ctx, s); err != nil {
		return err
	}
	return v.render(http.StatusOK, "signer", "signers", s.Name, p)
}

// relying are the policies that count a signer: those that name it, and those that
// take every registered one.
func (v *view) relying(ctx context.Context, s client.Signer) ([]client.Policy, error) {
	var out []client.Policy
	for p, err := range v.api.AllPolicies(ctx) {
		if err != nil {
			return nil, err
		}
		if names, all := registered(p.SigningPolicy); all || slices.Contains(names, s.Name) {
			out = append(out, p)
		}
	}
	return out, nil
}

func confirmSigner(v *view) error {
	s, err := v.api.Signer(v.Request().Context(), v.Param("id"))
	if err != nil {
		return err
	}
	at, action := "/signers/"+url.PathEscape(s.ID), v.QueryParam("action")
	c := change{Tab: "signers", Of: s.Name, Path: at + "/change", Back: at, Sent: url.Values{"action": {action}, "version": {strconv.FormatInt(s.Version, 10)}}}
	op := client.Operation{Name: s.ID}
	switch action {
	case "disable":
		op.Op, c.Button = client.OpDisableSigner, "Disable "+s.Name
		c.Says = []string{"Its signatures count no more from the next verdict on, on every server. It can be enabled again."}
	case "enable":
		op.Op, c.Button, c.Harmless = client.OpEnableSigner, "Enable "+s.Name, true
		c.Says = []string{"Its signatures count from the next verdict on."}
	case "delete":
		op.Op, c.Button = client.OpDeleteSigner, "Remove "+s.Name
		c.Says = []string{"Its signatures count no more, and it is forgotten. The audit log and past verdicts keep it. To end trust for a while, disable it."}
	default:
		return &client.Problem{Status: http.StatusNotFound, Detail: "A signer can be disabled, enabled and deleted."}
	}
	c.Heading = c.Button + "?"
	return v.asks(c, &op)
}

func changeSigner(v *view) error {
	ctx := v.Request().Context()
	version, err := strconv.ParseInt(v.FormValue("version"), 10, 64)
	if err != nil {
		return errIncomplete
	}
	api := v.api.WithWhy(v.FormValue("why"))
	id, done, place := v.Param("id"), "", "/signers/"+url.PathEscape(v.Param("id"))
	switch v.FormValue("action") {
	case "disable":
		_, err = api.UpdateSigner(ctx, id, version, map[string]any{"enabled": false})
		done = "signer-disabled"
	case "enable":
		_, err = api.UpdateSigner(ctx, id, version, map[string]any{"enabled": true})
		done = "signer-enabled"
	case "delete":
		err = api.DeleteSigner(ctx, id, version)
		done, place = "signer-deleted", "/signers"
	default:
		return errIncomplete
	}
	if err != nil {
		return err
	}
	return v.to(place, done)
}

func acceptKey(v *view) error {
	id := v.Param("id")
	_, err := v.api.AcceptKey(v.Request().Context(), id, client.AcceptKey{Fingerprint: v.FormValue("fingerprint"), DropPrevious: v.FormValue("drop_previous") == "on"})
	if err != nil {
		return err
	}
	return v.to("/signers/"+url.PathEscape(id), "key-accepted")
}

func refreshKey(v *view) error {
	id := v.Param("id")
	if _, err := v.api.RefreshKey(v.Request().Context(), id); err != nil {
		return err
	}
	return v.to("/signers/"+url.PathEscape(id), "key-read")
}

// flips is what a change would do to recent verdicts, for a person.
type flips struct {
	client.Preview
	// Problem says why it cannot be told.
	Problem string
	// Again is where to ask again after it was refused for now. Part says that the answer
	// takes the place of this one, Form that the form is sent for it, with Do as its
	// button's value.
	Again, Do  string
	Part, Form bool
}

// notYet is said in place of a preview of what cannot be read as it was typed.
func (m mistakes) notYet() flips {
	return flips{Problem: "What is typed is not right yet: " + strings.Join(m.all(), " ")}
}

// Harm counts the images that would no longer be allowed.
func (f flips) Harm() int64 { return f.AllowToDeny.Questions + f.ToUnknown.Questions }

// Good counts those that would be allowed then.
func (f flips) Good() int64 { return f.DenyToAllow.Questions }

const (
	previewSince = "30d"
	// mostFlips are listed; all are counted.
	mostFlips = 20
)

func (v *view) flips(ops ...client.Operation) flips {
	if !v.who.MayPolicy() {
		return flips{Problem: "Your role may not look at what a change would do."}
	}
	rc := http.NewResponseController(v.Response())
	_ = rc.SetWriteDeadline(time.Now().Add(askTime + eventTime)) // a preview takes longer than other answers
	out, err := v.api.Preview(v.Request().Context(), client.PreviewRequest{Operations: ops, Since: previewSince, Limit: mostFlips})
	if err != nil {
		problem := mistake(err)
		if problem == "" {
			problem = "What the change would do could not be found out."
			v.page.cfg.Log.ErrorContext(v.Request().Context(), "a preview for the page failed", "error", err.Error())
		}
		f := flips{Problem: strings.ReplaceAll(problem, "operations[0].", "")} // of the request, which no person has written
		if r := v.Request(); client.IsUnavailable(err) && (r.Method == http.MethodGet || v.isPart()) {
			f.Again, f.Do, f.Part, f.Form = strings.TrimPrefix(r.URL.RequestURI(), Root), v.FormValue("do"), v.isPart(), r.Method != http.MethodGet
		}
		return f
	}
	return flips{Preview: out}
}
