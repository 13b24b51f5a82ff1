package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/store"
)

// pastVerdicts decides again what was decided before, from what the store keeps.
type pastVerdicts struct {
	store  *store.Store
	states *inForce
	engine *engine.Engine
}

// Reproduce decides a verdict again on what it was decided on, under what was in
// force then.
func (p pastVerdicts) Reproduce(ctx context.Context, id string) (client.Reproduction, error) {
	v, err := p.store.Verdict(ctx, id)
	if err != nil {
		return client.Reproduction{}, historyError(err)
	}
	kept, err := p.kept(ctx, v)
	if err != nil {
		return client.Reproduction{}, err
	}
	var as struct {
		ID          string    `json:"id"`
		EvaluatedAt time.Time `json:"evaluated_at"`
	}
	if err := json.Unmarshal(v.Body, &as); err != nil {
		return client.Reproduction{}, fmt.Errorf("verdict %s: %w: %w", id, store.ErrCorrupt, err)
	}
	st, err := p.state(ctx, v.Active.Revision, kept.Basis.Offline)
	if err != nil {
		return client.Reproduction{}, err
	}
	if st.Active != v.Active {
		return client.Reproduction{}, fmt.Errorf("%w: what was in force had the digest %s, and revision %d here has %s", api.ErrNotReproducible, v.Active.Digest, v.Active.Revision, st.Active.Digest)
	}
	body, err := p.engine.Reproduce(ctx, st, kept, as.ID, as.EvaluatedAt)
	if err != nil {
		return client.Reproduction{}, notReproducible(err)
	}
	r := client.Reproduction{
		ID: id, Same: string(body) == string(v.Body), RecordedBuild: v.Build, Build: build(),
		Recorded: json.RawMessage(v.Body), Reproduced: json.RawMessage(body), Differences: []client.Difference{},
	}
	if !r.Same {
		if r.Differences, err = differences(v.Body, body); err != nil {
			return client.Reproduction{}, fmt.Errorf("verdict %s: %w: %w", id, store.ErrCorrupt, err)
		}
	}
	return r, nil
}

// At tells what was answered about an image up to a time, and decides what would
// have been answered then: under what was in force, on the facts that were known,
// or, where none were yet, on the first that became known.
func (p pastVerdicts) At(ctx context.Context, image string, at time.Time) (client.PastVerdict, error) {
	out := client.PastVerdict{Image: image, At: at.UTC().Truncate(time.Microsecond)}
	before, after, err := p.store.Near(ctx, image, out.At)
	if err != nil {
		return out, historyError(err)
	}
	id := before
	if out.Facts.Later = before == ""; out.Facts.Later {
		id = after
	}
	if id == "" {
		return out, fmt.Errorf("%w: no verdict on facts about %s is kept", api.ErrNotFound, image)
	}
	v, err := p.store.Verdict(ctx, id)
	if err != nil {
		return out, historyError(err)
	}
	out.Facts.Verdict, out.Facts.KnownAt = v.ID, v.CreatedAt
	last, _, err := p.store.Verdicts(ctx, store.Filter{ImageRef: image, Until: out.At.Add(time.Microsecond)}, store.Page{Limit: 1})
	if err != nil {
		return out, historyError(err)
	}
	if len(last) > 0 {
		answered, err := p.store.Verdict(ctx, last[0].ID)
		if err != nil {
			return out, historyError(err)
		}
		out.Answered, out.AnsweredAt = answered.Body, &answered.CreatedAt
	}
	kept, err := p.kept(ctx, v)
	if err != nil {
		return out, err
	}
	revision, err := p.store.RevisionAt(ctx, out.At)
	if err != nil {
		return out, historyError(err)
	}
	st, err := p.state(ctx, revision.Active.Revision, kept.Basis.Offline)
	if err != nil {
		return out, err
	}
	out.Active = client.Active(st.Active)
	kept.Basis.GraceNote, kept.Basis.TagUntil, kept.Basis.SearchUntil = "", time.Time{}, time.Time{} // of that one answer
	would, err := p.engine.Replay(ctx, st, kept, out.At)
	if err != nil {
		return out, notReproducible(err)
	}
	would.Verdict.ID = "" // it was never given
	if out.Would, err = json.Marshal(would.Verdict); err != nil {
		return out, err
	}
	return out, nil
}

func (p pastVerdicts) kept(ctx context.Context, v store.Stored) (engine.Kept, error) {
	if v.Basis == nil {
		return engine.Kept{}, fmt.Errorf("%w: it was recorded by a version of Signet that did not keep all that it was decided on", api.ErrNotReproducible)
	}
	basis, err := engine.DecodeBasis(v.Basis)
	if err != nil {
		return engine.Kept{}, fmt.Errorf("%w: another version of Signet has recorded it: %w", api.ErrNotReproducible, err)
	}
	kept := engine.Kept{Basis: basis}
	if v.FactsDigest != nil {
		if kept.Facts, err = p.store.Facts(ctx, *v.FactsDigest); err != nil {
			return engine.Kept{}, historyError(err)
		}
	}
	return kept, nil
}

func (p pastVerdicts) state(ctx context.Context, revision int64, offline bool) (*engine.State, error) {
	st, err := p.states.past(ctx, revision, offline)
	switch {
	case err == nil:
		return st, nil
	case errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil:
		return nil, historyError(err)
	case errors.Is(err, store.ErrNotFound):
		return nil, fmt.Errorf("%w: what was in force under revision %d is not kept here", api.ErrNotReproducible, revision)
	}
	return nil, fmt.Errorf("%w: what was in force under revision %d cannot be put together by this build: %w", api.ErrNotReproducible, revision, err)
}

func notReproducible(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", api.ErrNotReproducible, err)
}

// differences lists where two JSON documents differ, by JSON pointer (RFC 6901),
// in the order of the pointers.
func differences(recorded, reproduced []byte) ([]client.Difference, error) {
	var a, b any
	if err := json.Unmarshal(recorded, &a); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(reproduced, &b); err != nil {
		return nil, err
	}
	list := differ("", a, b, []client.Difference{})
	slices.SortFunc(list, func(x, y client.Difference) int {
		if x.Path < y.Path {
			return -1
		}
		return 1
	})
	return list, nil
}

func differ(path string, a, b any, list []client.Difference) []client.Difference {
	if reflect.DeepEqual(a, b) {
		return list
	}
	x, both := a.(map[string]any)
	y, ok := b.(map[string]any)
	if both && ok {
		for k := range x {
			list = differ(path+"/"+pointerEscape(k), x[k], absentOr(y, k), list)
		}
		for k := range y {
			if _, in := x[k]; !in {
				list = differ(path+"/"+pointerEscape(k), absent{}, y[k], list)
			}
		}
		return list
	}
	u, both := a.([]any)
	v, ok := b.([]any)
	if both && ok && len(u) == len(v) {
		for i := range u {
			list = differ(fmt.Sprintf("%s/%d", path, i), u[i], v[i], list)
		}
		return list
	}
	return append(list, client.Difference{Path: path, Recorded: shownJSON(a), Reproduced: shownJSON(b)})
}

// absent stands for a member that one of the documents does not have.
type absent struct{}

func absentOr(m map[string]any, key string) any {
	if v, ok := m[key]; ok {
		return v
	}
	return absent{}
}

// shownJSON is nil for what is absent.
func shownJSON(v any) json.RawMessage {
	if v == (absent{}) {
		return nil
	}
	body, err := facts.Canonical(v)
	if err != nil { // what was decoded from JSON always encodes
		return nil
	}
	return body
}

// pointerEscape is RFC 6901, section 3.
func pointerEscape(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1")
}
