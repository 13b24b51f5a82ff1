package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/verdict"
)

func TestReproduction(t *testing.T) {
	body := answer(t, verdict.Deny, false, engine.FromMiss).Body
	found := func(b *bed) {
		b.verdicts.verdict = func(context.Context, string) ([]byte, error) { return body, nil }
	}
	again := client.Reproduction{
		ID: testID, RecordedBuild: "old", Build: "test", Recorded: body, Reproduced: body,
		Differences: []client.Difference{{Path: "/build", Recorded: json.RawMessage(`"old"`), Reproduced: json.RawMessage(`"test"`)}, {Path: "/new", Reproduced: json.RawMessage(`1`)}},
	}
	path := verdictsPath + "/" + testID + "/reproduction"
	tests := []struct {
		name, path, by string
		setup          func(*bed)
		want           told
	}{
		{"no id", verdictsPath + "/nothing/reproduction", "viewer", found, told{404, codeVerdictNotFound, "id", `"nothing" is not the id of a verdict, which has 26 characters like 01JZ0000000000000000000000.`}},
		{"not kept", path, "viewer", func(*bed) {}, told{404, codeVerdictNotFound, "id", "No verdict with the id \"" + testID + "\" is kept here. It may be older than what is kept."}},
		{"not to be decided again", path, "viewer", func(b *bed) {
			found(b)
			b.past.reproduce = func(context.Context, string) (client.Reproduction, error) {
				return client.Reproduction{}, fmt.Errorf("%w: its basis is gone", ErrNotReproducible)
			}
		}, told{409, codeNotReproducible, "", "The verdict " + testID + " cannot be decided again: its basis is gone."}},
		{"the store is away", path, "viewer", func(b *bed) {
			found(b)
			b.past.reproduce = func(context.Context, string) (client.Reproduction, error) {
				return client.Reproduction{}, fmt.Errorf("%w: away", ErrUnavailable)
			}
		}, told{503, codeStoreUnavailable, "", ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, nil)
			tt.setup(b)
			got := toldBy(b, t, b.request(t, tt.by, http.MethodGet, tt.path, ""))
			if tt.want.Detail == "" {
				got.Detail = ""
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
	t.Run("it comes out otherwise", func(t *testing.T) {
		b := newBed(t, nil)
		found(b)
		b.past.reproduce = func(context.Context, string) (client.Reproduction, error) { return again, nil }
		r := b.do(t, b.request(t, "viewer", http.MethodGet, path, ""))
		if r.Code != http.StatusOK {
			t.Fatal(r.Code, r.Body)
		}
		var got client.Reproduction
		if err := json.Unmarshal(r.Body.Bytes(), &got); err != nil || len(got.Differences) != 2 || got.Differences[1].Recorded != nil {
			t.Errorf("%s: %v", r.Body, err)
		}
	})
}

func TestVerdictAt(t *testing.T) {
	at := time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)
	for query, want := range map[string]told{
		"at=2025-06-01T00:00:00Z":                              {422, codeInvalidFields, "query.image", ""},
		"at=yesterday&image=" + testImage:                      {422, codeInvalidFields, "query.at", ""},
		"at=2025-06-01T00:00:00Z&decision=allow&image=x/y:z":   {422, codeInvalidFields, "query.decision", ""},
		"at=2025-06-01T00:00:00Z&image=registry.example/other": {404, codeVerdictNotFound, "query.image", ""},
	} {
		b := newBed(t, nil)
		got := toldBy(b, t, b.request(t, "viewer", http.MethodGet, verdictsPath+"?"+query, ""))
		got.Detail = ""
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", query, d)
		}
	}
	b := newBed(t, nil)
	b.past.at = func(_ context.Context, image string, when time.Time) (client.PastVerdict, error) {
		if image != testImage || !when.Equal(at) {
			t.Errorf("asked about %s at %s", image, when)
		}
		return client.PastVerdict{Image: image, At: when, Would: json.RawMessage(`{"decision":"deny"}`)}, nil
	}
	if r := b.do(t, b.request(t, "viewer", http.MethodGet, verdictsPath+"?image="+testImage+"&at=2025-06-01T00:00:00Z", "")); r.Code != http.StatusOK {
		t.Error(r.Code, r.Body)
	}
}
