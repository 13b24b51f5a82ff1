package administration

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/verdict"
)

func anException(ends time.Time) client.NewException {
	return client.NewException{Images: []string{"ghcr.io/org/old/**"}, Codes: []string{"unsigned"}, Reason: "soon", Owner: "web", ExpiresAt: ends}
}

// withException is a policy with one exception, on lines of its own.
func withException(ends time.Time) string {
	return anyone + "exceptions:\n  - {images: [ghcr.io/org/**], codes: [unsigned], reason: soon, owner: web,\n     expires_at: " + ends.Format(time.RFC3339) + "}\n"
}

const day = 24 * time.Hour

func TestExceptions(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		p := must[client.Policy](t)(f.PutPolicy(ctx, root, "prod", "web", []byte(anyone), nil))
		same(t, []client.Exception{}, p.Exceptions)
		ends := start.Add(30 * day)
		p = must[client.Policy](t)(f.AddException(ctx, web, "prod", anException(ends), 1))
		want := client.Exception{Name: "prod/exceptions/1", Images: []string{"ghcr.io/org/old/**"}, Codes: []string{"unsigned"}, Reason: "soon", Owner: "web", ExpiresAt: ends}
		same(t, []client.Exception{want}, p.Exceptions)
		if p.Version != 2 || p.Owner != "web" || !strings.Contains(p.SigningPolicy, "reason: soon") {
			t.Errorf("the policy is %+v", p)
		}
		same(t, []entry{{"web-admin", "192.0.2.2", "policy.update", "policy/prod", ""}}, f.audited(t, 1))

		f.untouched(t, func() {
			for _, tt := range []struct {
				name   string
				change func(*client.NewException)
				field  string
				says   string
			}{
				{"too long", func(e *client.NewException) { e.ExpiresAt = start.Add(91 * day) }, "expires_at", "the last that is allowed now"},
				{"ended", func(e *client.NewException) { e.ExpiresAt = start.Add(-day) }, "expires_at", "has passed"},
				{"no end", func(e *client.NewException) { e.ExpiresAt = time.Time{} }, "expires_at", "is missing"},
				{"no images", func(e *client.NewException) { e.Images = nil }, "images", "is an empty list"},
				{"every image", func(e *client.NewException) { e.Images = []string{"**"} }, "images[0]", "is for images of every registry"},
				{"no codes", func(e *client.NewException) { e.Codes = nil }, "codes", "is an empty list"},
				{"misspelt", func(e *client.NewException) { e.Codes = []string{"unsinged"} }, "codes[0]", `the nearest is "unsigned"`},
				{"never", func(e *client.NewException) { e.Codes = []string{"search_incomplete"} }, "codes[0]", "is never waived"},
				{"no reason", func(e *client.NewException) { e.Reason = "" }, "reason", "is empty"},
				{"no owner", func(e *client.NewException) { e.Owner = " " }, "owner", "is empty"},
			} {
				e := anException(ends)
				tt.change(&e)
				_, err := f.AddException(ctx, root, "prod", e, 2)
				var found FieldErrors
				if !errors.As(err, &found) || len(found) != 1 || found[0].Field != tt.field || !strings.Contains(found[0].Problem, tt.says) || strings.HasPrefix(found[0].Problem, "line") {
					t.Errorf("%s: %v", tt.name, err)
				}
			}
			_, err := f.AddException(ctx, root, "prod", anException(ends), 1)
			wants(t, err, ErrStale, "version 2")
			_, err = f.AddException(ctx, root, "absent", anException(ends), 1)
			wants(t, err, ErrNotFound, "absent")
			for _, place := range []int{-1, 0, 2} {
				_, err = f.RemoveException(ctx, root, "prod", place, 2)
				wants(t, err, ErrNotFound, "has 1 exceptions")
			}
		})

		// What stands there already is in order, whatever has come since.
		f.clock.move(200 * day)
		p = must[client.Policy](t)(f.PutPolicy(ctx, root, "prod", "", []byte(p.SigningPolicy+"  trusted_sources: [https://github.com/org]\n"), ptr(int64(2))))
		p = must[client.Policy](t)(f.RemoveException(ctx, root, "prod", 1, p.Version))
		same(t, []client.Exception{}, p.Exceptions)
	})
}

// The installation says how long exceptions last, and what is in force stays.
func TestLongestException(t *testing.T) {
	f := onSQLite(t)
	ctx := t.Context()
	body := withException(start.Add(60 * day))
	p := must[client.Policy](t)(f.PutPolicy(ctx, root, "prod", "", []byte(body), nil))
	f.Service.longest = 30 * day
	same(t, p, must[client.Policy](t)(f.PutPolicy(ctx, root, "prod", "", []byte(body), &p.Version)))
	_, err := f.PutPolicy(ctx, root, "other", "", []byte(body), nil)
	mistakes(t, err, "exceptions[0].expires_at: line 3: ")

	// So it is with the configuration's.
	seed := func(ends time.Time) error {
		sp := must[*signingpolicy.Policy](t)(signingpolicy.ParseAs("seeded", []byte(withException(ends))))
		return f.SeedPolicies(ctx, []*signingpolicy.Policy{sp}, nil)
	}
	if err := seed(start.Add(60 * day)); err == nil || !strings.Contains(err.Error(), "exceptions_max_days") {
		t.Errorf("a new one: %v", err)
	}
	f.Service.longest = 90 * day
	if err := seed(start.Add(60 * day)); err != nil {
		t.Fatal(err)
	}
	f.Service.longest = 30 * day
	if err := seed(start.Add(60 * day)); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if err := seed(start.Add(61 * day)); err == nil {
		t.Error("a longer one is taken")
	}
}

func TestShadow(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		shadow := anyone + "mode: shadow\nshadow_of: prod\n"
		_, err := f.PutPolicy(ctx, root, "next", "", []byte(shadow), nil)
		mistakes(t, err, `shadow_of: there is no policy "prod"`)
		prod := must[client.Policy](t)(f.PutPolicy(ctx, root, "prod", "", []byte(anyone), nil))
		next := must[client.Policy](t)(f.PutPolicy(ctx, root, "next", "", []byte(shadow), nil))
		if next.Mode != "shadow" || next.ShadowOf != "prod" {
			t.Errorf("the policy is %+v", next)
		}
		f.untouched(t, func() {
			must[client.Policy](t)(f.PutPolicy(ctx, root, "next", "", []byte(shadow), &next.Version))
		})
		_, err = f.Shadow(ctx, root, prod.Name, 0, "")
		wants(t, err, ErrConflict, "has the mode enforce")
		_, err = f.Shadow(ctx, root, "absent", 0, "")
		wants(t, err, ErrNotFound, "absent")
		_, err = f.Shadow(ctx, root, "next", 0, "nonsense")
		mistakes(t, err, "cursor: is not known")

		said := func(id, image string, d verdict.Decision, at time.Time) {
			t.Helper()
			err := f.store.RecordShadows(ctx, []store.ShadowRow{{
				VerificationID: id, ImageRef: image + ":v1", ImageName: image, Policy: "next", Decision: d, ShadowOf: "prod", ComparedWith: verdict.Allow, CreatedAt: at,
				Reasons: []verdict.Reason{{Code: "too_old", Message: "m", Remediation: "r", Rule: "x"}},
			}})
			if err != nil {
				t.Fatal(err)
			}
		}
		said("01A", "ghcr.io/org/app", verdict.Deny, start.Add(-time.Hour)) // by a policy before
		said("01B", "ghcr.io/org/app", verdict.Deny, start.Add(time.Hour))
		said("01C", "ghcr.io/other/app", verdict.Deny, start.Add(2*time.Hour))
		said("01D", "ghcr.io/org/app", verdict.Allow, start.Add(3*time.Hour))
		report := must[client.ShadowReport](t)(f.Shadow(ctx, root, "next", 0, ""))
		same(t, client.ShadowCounts{Agree: 1, WouldDeny: 2}, report.Counts)
		if len(report.Items) != 2 || report.Items[0].VerdictID != "01C" || report.Items[1].VerdictID != "01B" || report.Items[1].Reasons[0].Code != "too_old" || !report.Since.Equal(start) {
			t.Errorf("the report is %+v", report)
		}
		first := must[client.ShadowReport](t)(f.Shadow(ctx, root, "next", 1, ""))
		second := must[client.ShadowReport](t)(f.Shadow(ctx, root, "next", 1, first.Next))
		if first.Next == "" || second.Next != "" || len(second.Items) != 1 || second.Items[0].VerdictID != "01B" {
			t.Errorf("pages %+v, %+v", first, second)
		}
		bound := root
		bound.Principal.Images = []string{"ghcr.io/org/**"}
		if seen := must[client.ShadowReport](t)(f.Shadow(ctx, bound, "next", 0, "")); len(seen.Items) != 1 || seen.Items[0].VerdictID != "01B" {
			t.Errorf("who is bound to images sees %+v", seen.Items)
		}
	})
}
