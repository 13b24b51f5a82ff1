package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

func newBasis(t *testing.T) func(context.Context, string) (facts.Facts, map[string]facts.Frame, error) {
	f := someFacts(t)
	return func(context.Context, string) (facts.Facts, map[string]facts.Frame, error) {
		return f, map[string]facts.Frame{"default": someFrame()}, nil
	}
}

func aVerification(name string) client.Verification {
	return client.Verification{ID: testID, ImageRef: name + ":v1", ImageName: name, ImageDigest: "sha256:x", CreatedAt: testNow, Decision: "allow", Allowed: true, Principal: "p", Build: "test"}
}

func TestListVerdicts(t *testing.T) {
	b := newBed(t, nil)
	var filter VerdictFilter
	var asked string
	b.verdicts.list = func(_ context.Context, f VerdictFilter, cursor string, limit int) (client.Page[client.Verification], error) {
		filter, asked = f, fmt.Sprint(cursor, " ", limit)
		return client.Page[client.Verification]{Items: []client.Verification{aVerification("registry.example/a")}, Next: "next"}, nil
	}
	digest := "sha256:" + strings.Repeat("a", 64)
	query := "?image=i&name=n&digest=" + digest + "&decision=deny&signer=s&identity=who%20else&assessment_id=a&reason_code=r&since=2025-07-01T12:00:00Z&until=2025-07-01T15:00:00%2B02:00&limit=7&cursor=c"
	var page client.Page[client.Verification]
	read(t, b.do(t, b.request(t, "viewer", http.MethodGet, verdictsPath+query, "")), &page)
	want := VerdictFilter{
		Image: "i", Name: "n", Digest: digest, Decision: verdict.Deny, Signer: "s", Identity: "who else", AssessmentID: "a", ReasonCode: "r",
		Since: testNow, Until: testNow.Add(time.Hour),
	}
	if d := cmp.Diff(want, filter); d != "" || asked != "c 7" || page.Next != "next" || len(page.Items) != 1 {
		t.Errorf("asked %q, page %+v (-want +got):\n%s", asked, page, d)
	}
	read(t, b.do(t, b.request(t, "viewer", http.MethodGet, verdictsPath, "")), &page)
	if d := cmp.Diff(VerdictFilter{}, filter); d != "" || asked != " 50" {
		t.Errorf("without parameters: asked %q\n%s", asked, d)
	}
	for _, tt := range []struct {
		err  error
		want told
	}{
		{fmt.Errorf("%w: odd", ErrCursor), told{422, codeInvalidFields, "query.cursor", `The field "query.cursor" is not right: it is none of this list. Take it from the page before, unchanged, or begin without it.`}},
		{ErrUnavailable, told{503, codeStoreUnavailable, "", "What is in force could not be read, so nothing was decided. Ask again in a moment; the operator finds the cause in the server's log and at /readyz."}},
	} {
		b.verdicts.list = func(context.Context, VerdictFilter, string, int) (client.Page[client.Verification], error) {
			return client.Page[client.Verification]{}, tt.err
		}
		if d := cmp.Diff(tt.want, toldBy(b, t, b.request(t, "viewer", http.MethodGet, verdictsPath, ""))); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
}

// A page for a token that is bound to images is filled from as many of the
// store's pages as that takes, up to a bound, and loses nothing between.
func TestListIsFilteredByScope(t *testing.T) {
	b := boundBed(t, nil)
	reads := 0
	rows := func(n int) string { // one in three is the token's
		return map[bool]string{true: "registry.example/org/app", false: "registry.example/other/app"}[n%3 == 0]
	}
	most := 30
	b.verdicts.list = func(_ context.Context, _ VerdictFilter, cursor string, limit int) (client.Page[client.Verification], error) {
		reads++
		from := 0
		_, _ = fmt.Sscan(cursor, &from)
		var page client.Page[client.Verification]
		for n := from; n < min(from+limit, most); n++ {
			page.Items = append(page.Items, aVerification(rows(n)))
		}
		if from+limit < most {
			page.Next = fmt.Sprint(from + limit)
		}
		return page, nil
	}
	all, pages, cursor := 0, 0, ""
	for {
		var page client.Page[client.Verification]
		path := verdictsPath + "?limit=4"
		if cursor != "" {
			path += "&cursor=" + cursor
		}
		read(t, b.do(t, b.request(t, "bound", http.MethodGet, path, "")), &page)
		for _, v := range page.Items {
			if v.ImageName != "registry.example/org/app" {
				t.Fatalf("shows %s", v.ImageName)
			}
		}
		all, pages, cursor = all+len(page.Items), pages+1, page.Next
		if len(page.Items) > 4 {
			t.Fatalf("%d of 4", len(page.Items))
		}
		if cursor == "" {
			break
		}
	}
	if all != 10 || pages != 3 {
		t.Errorf("%d verdicts on %d pages, want 10 on 3", all, pages)
	}
	rows, most, reads = func(int) string { return "registry.example/other/app" }, 100_000, 0
	var page client.Page[client.Verification]
	read(t, b.do(t, b.request(t, "bound", http.MethodGet, verdictsPath, "")), &page)
	if reads != mostPages || page.Next == "" || len(page.Items) != 0 {
		t.Errorf("%d reads, %d items, next %q; want an end to it, and a cursor", reads, len(page.Items), page.Next)
	}
	reads = 0
	read(t, b.do(t, b.request(t, "free", http.MethodGet, verdictsPath, "")), &page)
	if reads != 1 {
		t.Errorf("bound to nothing: %d reads", reads)
	}
}

func TestUses(t *testing.T) {
	b := newBed(t, nil)
	b.verdicts.verdict = func(_ context.Context, id string) ([]byte, error) {
		if id != testID {
			return nil, ErrNotFound
		}
		return []byte("{}"), nil
	}
	b.verdicts.uses = func(context.Context, string) ([]client.Use, error) {
		return []client.Use{{Principal: "ci", Minute: testNow, Count: 3}}, nil
	}
	var page client.Page[client.Use]
	read(t, b.do(t, b.request(t, "viewer", http.MethodGet, verdictsPath+"/"+testID+"/uses", "")), &page)
	if d := cmp.Diff(client.Page[client.Use]{Items: []client.Use{{Principal: "ci", Minute: testNow, Count: 3}}}, page); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, id := range []string{"latest", "01JZ5X3F8Q0000000000000001"} {
		if got := toldBy(b, t, b.request(t, "viewer", http.MethodGet, verdictsPath+"/"+id+"/uses", "")); got.Code != codeVerdictNotFound {
			t.Errorf("%s: %+v", id, got)
		}
	}
}

// batchOf asks for a batch and reads the answer.
func (b *bed) batchOf(t *testing.T, as string, items ...string) []client.VerdictBatchItem {
	t.Helper()
	var out client.VerdictBatchAnswer
	read(t, b.do(t, b.request(t, as, http.MethodPost, verdictsPath+"/batch", `{"items":[`+strings.Join(items, ",")+`]}`)), &out)
	return out.Items
}

// Each item of a batch is what it would have been alone.
func TestBatchIsLikeEachAlone(t *testing.T) {
	b := boundBed(t, nil)
	reads := 0
	b.decider.current = func(context.Context) (*engine.State, error) {
		reads++
		return b.state, nil
	}
	b.decider.decide = func(_ context.Context, _ *engine.State, req engine.Request) (engine.Answer, error) {
		switch {
		case strings.Contains(req.Image, "deny"):
			return answer(t, verdict.Deny, false, engine.FromMiss), nil
		case strings.Contains(req.Image, "unknown"):
			return answer(t, verdict.Unknown, false, engine.FromMiss), nil
		case strings.Contains(req.Image, "panic"):
			panic("out of order")
		case strings.Contains(req.Image, "broken"):
			return engine.Answer{}, errors.New("secret cause")
		case strings.Contains(req.Image, "invalid"):
			return engine.Answer{}, fmt.Errorf("%w: image: is odd", engine.ErrInvalid)
		}
		return answer(t, verdict.Allow, true, engine.FromMemory), nil
	}
	const org = "registry.example/org/"
	items := []string{
		`{"image":"` + org + `app:v1","assessment_id":"a","labels":{"x":"y"}}`, `{"image":"` + org + `deny"}`, `{"image":"` + org + `unknown"}`, `{"image":"` + org + `panic"}`, `{"image":"` + org + `broken"}`,
		`{"image":"` + org + `invalid"}`, `{"image":"registry.example/other/app"}`, `{"image":""}`, `{}`, `null`, `7`, `"nginx"`, `{"imgae":"nginx"}`, `{"image":"nginx","attest":true}`,
		`{"image":"` + org + `app","platform":"linux"}`, `{"image":"` + org + `app","labels":{"":"x"}}`, `{"image":"/etc/passwd"}`, `{"image":"` + org + `\u0061pp"}`,
	}
	got := b.batchOf(t, "bound", items...)
	if len(got) != len(items) {
		t.Fatalf("%d answers for %d items", len(got), len(items))
	}
	for i, item := range items {
		alone := b.do(t, b.request(t, "bound", http.MethodPost, verdictsPath, item))
		if got[i].Status != alone.Code {
			t.Errorf("%s: status %d, alone %d", item, got[i].Status, alone.Code)
		}
		if want := alone.Result().Header.Get("Retry-After"); want != "" && want != fmt.Sprint(got[i].RetryAfter) {
			t.Errorf("%s: retry after %d, alone %s", item, got[i].RetryAfter, want)
		}
		if alone.Result().Header.Get("Content-Type") == mediaProblem {
			one, all := problemOf(alone), problemBody{}
			if err := json.Unmarshal(got[i].Problem, &all); err != nil || got[i].Verdict != nil {
				t.Errorf("%s: %v: %s", item, err, got[i].Verdict)
			}
			all.Request, all.Instance = one.Request, one.Instance
			if d := cmp.Diff(one, all); d != "" {
				t.Errorf("%s: alone (-) and in a batch (+):\n%s", item, d)
			}
			continue
		}
		if d := cmp.Diff(strings.TrimSpace(alone.Body.String()), string(got[i].Verdict)); d != "" || got[i].Problem != nil {
			t.Errorf("%s: alone (-) and in a batch (+):\n%s", item, d)
		}
	}
	reads = 0
	b.batchOf(t, "bound", items...)
	if reads != 2 {
		t.Errorf("%d barrier reads, want one before the body and one for all items", reads)
	}
}

func TestBatchProblems(t *testing.T) {
	b := neverAsked(t)
	hundred := strings.TrimSuffix(strings.Repeat(`{"image":"nginx"},`, 101), ",")
	for body, want := range map[string]told{
		`{}`:                           {400, codeMissingField, "items", `The field "items" is missing or empty. Send 1 to 100 requests in it, for example {"items": [{"image": "ghcr.io/org/app:v1"}]}.`},
		`{"items":[]}`:                 {400, codeMissingField, "items", `The field "items" is missing or empty. Send 1 to 100 requests in it, for example {"items": [{"image": "ghcr.io/org/app:v1"}]}.`},
		`{"items":[` + hundred + `]}`:  {400, codeInvalidField, "items", `The field "items" has 101 items; 100 are the most.`},
		`{"items":[{"a":1,"a":2}]}`:    {400, codeDuplicateField, "items[0].a", `The field "items[0].a" is there twice (line 1, byte 17). Which one is meant? Send it once.`},
		`{"items":[{"image":"nginx"}`:  {400, codeInvalidJSON, "", `The body cannot be read: not valid JSON: a comma or ] should follow the value in items (line 1, byte 27).`},
		`{"items":{"image":"nginx"}}`:  {400, codeInvalidField, "items", `The field "items" should be a list, not an object.`},
		`{"items":[],"refresh":true}`:  {400, codeUnknownField, "refresh", `The field "refresh" is not known (line 1, byte 12). Known fields are items.`},
		`{"Items":[{"image":"nginx"}]`: {400, codeUnknownField, "Items", `"Items" should be "items" (line 1, byte 1): names of fields are written in exactly this case.`},
	} {
		got := toldBy(b, t, b.request(t, "verifier", http.MethodPost, verdictsPath+"/batch", body))
		if want.Field == "" {
			got.Field = ""
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", body, d)
		}
	}
	w := b.do(t, b.request(t, "viewer", http.MethodPost, verdictsPath+"/batch", `{"items":[{"image":"nginx"}]}`))
	if problemOf(w).Code != codeRoleMissing {
		t.Errorf("as viewer: status %d", w.Code)
	}
}

// A batch works side by side, and no more than so wide.
func TestBatchIsBounded(t *testing.T) {
	b := newBed(t, nil)
	var now, widest atomic.Int64
	full := make(chan struct{})
	b.decider.decide = func(context.Context, *engine.State, engine.Request) (engine.Answer, error) {
		if n := now.Add(1); n > widest.Load() {
			if widest.Store(n); n == sideBySide {
				close(full)
			}
		}
		<-full // so many must come together, or this never ends
		now.Add(-1)
		return answer(t, verdict.Allow, true, engine.FromMemory), nil
	}
	items := make([]string, mostItems)
	for i := range items {
		items[i] = fmt.Sprintf(`{"image":"registry.example/app:%d"}`, i)
	}
	if got := b.batchOf(t, "verifier", items...); len(got) != mostItems || widest.Load() > sideBySide {
		t.Errorf("%d answers, %d at once", len(got), widest.Load())
	}
}

// The caller's leaving ends a batch; nobody reads an answer.
func TestBatchCallerLeaves(t *testing.T) {
	b := newBed(t, nil)
	ctx, leave := context.WithCancel(t.Context())
	b.decider.decide = func(ctx context.Context, _ *engine.State, _ engine.Request) (engine.Answer, error) {
		leave()
		<-ctx.Done()
		return engine.Answer{}, ctx.Err()
	}
	w := recorded(b, b.request(t, "verifier", http.MethodPost, verdictsPath+"/batch", `{"items":[{"image":"nginx"},{"image":"nginx"}]}`).WithContext(ctx))
	if w.Code != http.StatusServiceUnavailable || problemOf(w).Code != codeTimeout {
		t.Errorf("status %d, body %s", w.Code, w.Body)
	}
}
