package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// again gives an answer to one more caller. With an assessment it gets a row, and
// so an id, of its own, which is on disk before the answer is given; else it is
// counted. An error wraps [ErrForgotten] or is the end of ctx.
func (e *Engine) again(ctx context.Context, st *State, req Request, a Answer) (Answer, error) {
	original := verdictID(a.Body)
	if req.AssessmentID == "" {
		if e.cfg.Uses != nil && original != "" {
			e.cfg.Uses.Add(original, req.Principal, e.cfg.Now())
		}
		return a, nil
	}
	if e.cfg.Recorder == nil || original == "" {
		return a, ErrForgotten
	}
	now := e.now()
	r := Repeat{
		Original: original, ID: newID(now), Principal: req.Principal,
		AssessmentID: req.AssessmentID, Labels: req.Labels, At: now,
	}
	r.Body = renamed(a.Body, r.ID)
	err := e.cfg.Recorder.Repeat(ctx, r)
	switch {
	case err == nil:
		a.Body = r.Body
		return a, nil
	case errors.Is(err, ErrForgotten):
		return a, err
	case st.GraceNote != "" && ctx.Err() == nil: // one of its own can wait to be recorded
		return a, fmt.Errorf("%w: %w", ErrForgotten, err)
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		return Answer{}, ctx.Err()
	}
	e.cfg.Log.ErrorContext(ctx, "recording a verdict for an assessment", "image", req.Image, "error", err)
	return e.unknown(st, req, Asked{}, notRecorded(), retryNotRecorded), nil
}

// The encoding of a verdict begins with its id, of 26 characters.
const (
	idPrefix = `{"id":"`
	idLength = 26
)

// verdictID reads the id from the front of a verdict, "" where it is not there.
func verdictID(body []byte) string {
	end := len(idPrefix) + idLength
	if len(body) <= end || string(body[:len(idPrefix)]) != idPrefix || body[end] != '"' {
		return ""
	}
	return string(body[len(idPrefix):end])
}

// renamed is the same verdict under another id, every other byte the same.
func renamed(body []byte, id string) []byte {
	out := slices.Clone(body)
	copy(out[len(idPrefix):], id)
	return out
}
