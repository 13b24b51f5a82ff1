package api

import (
	"net/url"
	"slices"
	"strconv"
	"time"
)

// params reads the parameters of a query, and collects what is wrong with them.
type params struct {
	values url.Values
	bad    []fieldProblem
}

func paramsOf(c *call) *params { return &params{values: c.echo.QueryParams()} }

func (p *params) wrong(name, detail string) {
	p.bad = append(p.bad, fieldProblem{"query." + name, detail})
}

// problem tells all mistakes; nil for none.
func (p *params) problem() error {
	if len(p.bad) == 0 {
		return nil
	}
	return invalidFields(p.bad)
}

// text is a parameter as it is, "" when it is not there. One that is there and
// empty is a mistake: it would look like a filter and be none.
func (p *params) text(name string, longest int) string {
	if !p.values.Has(name) {
		return ""
	}
	v := p.values.Get(name)
	switch {
	case v == "":
		p.wrong(name, "It is empty. Leave it out, or give it a value.")
	case len(v) > longest:
		p.wrong(name, "It has more than "+strconv.Itoa(longest)+" bytes.")
	case !printable(v):
		p.wrong(name, "It has characters that cannot be printed.")
	}
	return v
}

// oneOf is a parameter with few values, "" when it is not there.
func (p *params) oneOf(name string, values ...string) string {
	if !p.values.Has(name) {
		return ""
	}
	v := p.values.Get(name)
	if !slices.Contains(values, v) {
		p.wrong(name, "It is "+shown(v)+"; it should be "+oneOf(values)+".")
	}
	return v
}

// flag is true or false, and nil when it is not there.
func (p *params) flag(name string) *bool {
	if !p.values.Has(name) {
		return nil
	}
	v := p.oneOf(name, "true", "false") == "true"
	return &v
}

// whole is a number within bounds, or without it unset.
func (p *params) whole(name string, least, most, unset int64) int64 {
	if !p.values.Has(name) {
		return unset
	}
	n, err := strconv.ParseInt(p.values.Get(name), 10, 64)
	if err != nil || n < least || n > most {
		p.wrong(name, "It is "+shown(p.values.Get(name))+"; it should be a whole number from "+strconv.FormatInt(least, 10)+" to "+strconv.FormatInt(most, 10)+".")
	}
	return n
}

// Pages.
const (
	defaultLimit = 50
	mostLimit    = 1000
	// longestCursor is more than any cursor has.
	longestCursor = 512
	longestFilter = 1024
)

func (p *params) limit() int { return int(p.whole("limit", 1, mostLimit, defaultLimit)) }

func (p *params) cursor() string { return p.text("cursor", longestCursor) }

// time reads RFC 3339; the zero time when it is not there.
func (p *params) time(name string) time.Time {
	if !p.values.Has(name) {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, p.values.Get(name))
	if err != nil {
		p.wrong(name, "It is "+shown(p.values.Get(name))+`; it should be a time like 2025-07-01T12:00:00Z (RFC 3339; a + in it is written %2B).`)
	}
	return t.UTC()
}
