package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// getReproduction decides a verdict again.
func (s *Server) getReproduction(ctx context.Context, c *call) (reply, error) {
	id := c.echo.Param("id")
	if !isID(id) {
		return reply{}, verdictNotFound(id)
	}
	if _, err := s.stored(ctx, c, id); err != nil {
		return reply{}, err
	}
	r, err := s.cfg.Past.Reproduce(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return reply{}, verdictNotFound(id)
	case errors.Is(err, ErrNotReproducible):
		return reply{}, notReproducible("The verdict "+id, err)
	case err != nil:
		return reply{}, fmt.Errorf("deciding verdict %s again: %w", id, err)
	}
	return jsonOf(http.StatusOK, r, nil)
}

// getVerdictAt is the list of verdicts, asked about one image at one time.
func (s *Server) getVerdictAt(ctx context.Context, c *call) (reply, error) {
	q := paramsOf(c)
	image, at := q.text("image", longestImage), q.time("at")
	if image == "" {
		q.wrong("image", "It is missing. Beside at goes the image, as it was asked for.")
	}
	for name := range q.values {
		if !slices.Contains([]string{"image", "at"}, name) {
			q.wrong(name, "It does not go with at, which is about one image at one time.")
		}
	}
	if err := q.problem(); err != nil {
		return reply{}, err
	}
	missing := &problem{code: codeVerdictNotFound, field: "query.image", detail: "No verdict about " + shown(image) + " is kept here, so nothing is known of it at that time. Give the image as it was asked for, to the letter."}
	if scoped(c.principal) && !s.sees(c.principal, image) {
		return reply{}, missing
	}
	v, err := s.cfg.Past.At(ctx, image, at)
	switch {
	case errors.Is(err, ErrNotFound):
		return reply{}, missing
	case errors.Is(err, ErrNotReproducible):
		return reply{}, notReproducible("What would have been answered about "+shown(image), err)
	case err != nil:
		return reply{}, fmt.Errorf("deciding about %s at %s: %w", image, at, err)
	}
	return jsonOf(http.StatusOK, v, nil)
}

func notReproducible(what string, err error) *problem {
	why := strings.TrimPrefix(err.Error(), ErrNotReproducible.Error()+": ")
	return &problem{code: codeNotReproducible, cause: err, detail: what + " cannot be decided again: " + strings.TrimSuffix(why, ".") + "."}
}
