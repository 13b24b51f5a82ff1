package client

import (
	"context"
	"fmt"
	"iter"
	"net/url"
	"strconv"
	"time"
)

// pageOf is one page of a list: Limit items at most (0: as the server likes),
// after Cursor, which is the Next of the page before.
func pageOf(q url.Values, limit int, cursor string) url.Values {
	if limit != 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	set(q, "cursor", cursor)
	return q
}

func setNumber(q url.Values, name string, n int64) {
	if n != 0 {
		q.Set(name, strconv.FormatInt(n, 10))
	}
}

func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

func setTime(q url.Values, name string, t time.Time) {
	if !t.IsZero() {
		q.Set(name, t.UTC().Format(time.RFC3339Nano))
	}
}

// walkLimit is the size of pages that nobody looks at one by one.
const walkLimit = 500

// all walks the pages of a list. After an error nothing more comes.
func all[T any](ctx context.Context, cursor string, page func(ctx context.Context, cursor string) (Page[T], error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for at := cursor; ; {
			p, err := page(ctx, at)
			if err == nil && p.Next != "" && p.Next == at {
				err = fmt.Errorf("%w: a page names itself as the next", ErrAnswer)
			}
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range p.Items {
				if !yield(item, nil) {
					return
				}
			}
			if p.Next == "" {
				return
			}
			at = p.Next
		}
	}
}
