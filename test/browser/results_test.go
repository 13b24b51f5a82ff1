package browser

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/signet-policy/signet/client"
)

// From the page, at most two clicks lead to why an image was refused; from there an
// administrator trusts who signed it.
func TestWhyRefused(t *testing.T) {
	s := demo(t)
	found, err := s.api.Signers(t.Context(), client.SignerFilter{Query: "acme-release"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.api.DeleteSigner(t.Context(), found.Items[0].ID, found.Items[0].Version); err != nil {
		t.Fatal(err)
	}
	s.verify("keyless")
	p := s.visit()
	p.login(s.token)
	p.clicks("Results")
	p.sees("Decisions of the last 30 days")
	p.presses(`tbody .actions button`)
	p.sees("is signed, but by nobody whom this policy trusts")
	p.sees("signet signers add")
	p.clicks("Add this identity as a signer")
	p.until(`document.querySelector("#subject")?.value === "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"`)
	p.types("#name", "acme-release")
	p.clicks("Trust this signer")
	p.sees("The signer is trusted from now on.")
	p.open("/verify")
	p.types("#image", s.image("keyless"))
	p.clicks("Verify")
	p.sees("This image may run")
}

// Filters are in the address; files have what the list has.
func TestResults(t *testing.T) {
	s := demo(t)
	s.verify("keyless", "unsigned")
	p := s.visit()
	p.login(s.token)
	p.open("/results")
	p.changes("#f-decision", "deny")
	p.until(`location.search.includes("decision=deny") && document.querySelectorAll("tbody tr").length === 1`)
	// A row expands to its verdict, folds, and unfolds.
	open := `document.querySelector("[data-fold]").getAttribute("aria-expanded") === "true" && document.querySelector("tr[data-more]").checkVisibility()`
	p.presses(`[data-fold]`)
	p.until(open + ` && document.querySelector("tr[data-more]").textContent.includes("not signed")`)
	p.presses(`[data-fold]`)
	p.until(`document.querySelector("[data-fold]").textContent.startsWith("Expand") && !document.querySelector("tr[data-more]").checkVisibility()`)
	p.presses(`[data-fold]`)
	p.until(open + ` && document.querySelectorAll("tr[data-more]").length === 1`)
	res, body := s.get("/results/export?format=csv&decision=deny", "Authorization", "Bearer "+s.token)
	rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if err != nil || res.StatusCode != http.StatusOK || len(rows) != 2 || rows[1][4] != "deny" {
		t.Errorf("%d %v %v", res.StatusCode, err, rows)
	}
	if _, body := s.get("/results/export?format=ndjson", "Authorization", "Bearer "+s.token); strings.Count(body, "\n") != 2 {
		t.Errorf("NDJSON:\n%s", body)
	}
	p.open("/results?name=ghcr.io/none/such")
	p.sees("No verdict matches")
}

// Each filter finds what it names, stays while others are added, and holds for the file
// too; what is older is a page further.
func TestResultsFound(t *testing.T) {
	s := demo(t)
	s.verify("unsigned")
	const many = 55
	for i := range many { // given again, each for an assessment of its own
		if _, err := s.api.Verify(t.Context(), client.VerdictRequest{Image: s.image("keyless"), AssessmentID: fmt.Sprint("a", i)}); err != nil {
			t.Fatal(err)
		}
	}
	name, _, _ := strings.Cut(s.image("keyless"), ":v1")
	known, err := s.api.Verdicts(t.Context(), client.VerdictFilter{Decision: client.Deny})
	if err != nil || len(known.Items) != 1 {
		t.Fatalf("%+v, %v", known, err)
	}
	denied := known.Items[0]
	p := s.visit()
	p.login(s.token)
	rows := func(n int) string { return fmt.Sprintf(`document.querySelectorAll("tbody tr").length === %d`, n) }
	p.open("/results")
	p.until(rows(50))
	p.clicks("Older")
	p.sees("Newest")
	p.until(rows(many + 1 - 50))
	for _, tt := range []struct {
		field, value string
		rows         int
	}{
		{"#f-image", s.image("unsigned"), 1},
		{"#f-image", strings.TrimSuffix(s.image("unsigned"), ":v1"), 1},
		{"#f-image", s.image("unsigned") + "@" + denied.ImageDigest, 1},
		{"#f-digest", denied.ImageDigest, 1},
		{"#f-signer", "acme-release", 50},
		{"#f-assessment", "a7", 1},
		{"#f-until", "2001-01-01T00:00", 0},
		{"#f-since", "2001-01-01T00:00", 50},
	} {
		p.open("/results")
		p.until(rows(50))
		p.changes(tt.field, tt.value)
		p.clicks("Filter")
		quoted, _ := json.Marshal(tt.value)
		p.until(`new URLSearchParams(location.search).get(document.querySelector("` + tt.field + `").name) === ` + string(quoted) + ` && ` + rows(tt.rows))
	}
	// Two at once, which the file has too.
	p.open("/results")
	p.changes("#f-image", name)
	p.clicks("Filter")
	p.until(`location.search.includes("image=") && ` + rows(50))
	p.changes("#f-assessment", "a7")
	p.clicks("Filter")
	p.until(`location.search.includes("assessment_id=a7") && ` + rows(1))
	link := p.text(`[...document.querySelectorAll("main a")].find((a) => a.textContent === "CSV").getAttribute("href")`)
	_, file := s.get(strings.TrimPrefix(link, place), "Authorization", "Bearer "+s.token)
	if table, err := csv.NewReader(strings.NewReader(file)).ReadAll(); err != nil || len(table) != 2 || table[1][10] != "a7" {
		t.Errorf("%v %v", err, table)
	}
	// The table is in reach of the keyboard where it is wider than the window.
	p.until(`(() => { const e = document.querySelector(".wrap"); e.focus(); return document.activeElement === e && e.getAttribute("aria-label"); })()`)
}

// The chart leads to what it shows, and what led there can be taken away.
func TestChartLeadsOn(t *testing.T) {
	s := demo(t)
	s.verify("keyless", "unsigned")
	p := s.visit()
	p.login(s.token)
	p.clicks("Results")
	p.sees("First reasons of 1 refusal.")
	p.presses(".bars a")
	p.until(`location.search.includes("reason_code=") && document.querySelectorAll("tbody tr").length === 1`)
	p.sees("First reason:")
	p.changes("#f-decision", "allow") // the reason stays
	p.until(`location.search.includes("decision=allow") && location.search.includes("reason_code=")`)
	p.sees("No verdict matches")
	p.presses("form p a")
	p.until(`!location.search.includes("reason_code=") && document.querySelectorAll("tbody tr").length === 1`)
	p.open("/results/chart")
	p.clicks("Day by day (UTC)")
	p.presses("details li a + a")
	p.until(`location.search.includes("since=") && location.search.includes("decision=allow") && document.querySelector("#f-since").value !== "" && document.querySelectorAll("tbody tr").length === 1`)
}
