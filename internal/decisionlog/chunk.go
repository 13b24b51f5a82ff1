package decisionlog

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
)

// chunk is a gzipped JSON array of events.
type chunk struct {
	body   []byte
	events int
}

// chunker gathers events into chunks of at most limit bytes, compressed. How much
// goes into one is guessed from what the last one came to; a guess that was too
// high is mended by cutting in halves.
type chunker struct {
	limit int
	guess int // of the bytes before compression
	buf   []byte
	ends  []int        // of the events in buf
	gz    *gzip.Writer // used again: a new one takes a megabyte
}

// mostGrowth bounds the guess: so many times the limit waits uncompressed at most.
const mostGrowth = 64

func newChunker(limit int) *chunker { return &chunker{limit: limit, guess: limit} }

// add takes one encoded event, and returns the chunks that are full, and how many
// events are too large for any.
func (c *chunker) add(encoded []byte) (full []chunk, tooLarge int, err error) {
	if len(c.ends) > 0 && len(c.buf)+len(encoded)+1 > c.guess {
		full, tooLarge, err = c.flush()
	}
	c.buf = append(c.buf, encoded...)
	c.ends = append(c.ends, len(c.buf))
	return full, tooLarge, err
}

// flush ends the chunk that was begun.
func (c *chunker) flush() (full []chunk, tooLarge int, err error) {
	if len(c.ends) == 0 {
		return nil, 0, nil
	}
	events := make([][]byte, len(c.ends))
	from := 0
	for i, end := range c.ends {
		events[i], from = c.buf[from:end], end
	}
	raw := len(c.buf)
	full, tooLarge, size, err := c.pack(events)
	if size > 0 && len(events) > 1 {
		c.guess = min(max(int(float64(raw)*0.9*float64(c.limit)/float64(size)), c.limit), c.limit*mostGrowth)
	}
	c.buf, c.ends = c.buf[:0], c.ends[:0]
	return full, tooLarge, err
}

// pack compresses events, in as many chunks as they need; size is what all of them
// came to in one.
func (c *chunker) pack(events [][]byte) (full []chunk, tooLarge, size int, err error) {
	body, err := c.compress(events)
	size = len(body)
	switch {
	case err != nil:
		return nil, len(events), 0, fmt.Errorf("compressing: %w", err)
	case size <= c.limit:
		return []chunk{{body: body, events: len(events)}}, 0, size, nil
	case len(events) == 1:
		return nil, 1, size, nil
	}
	half := len(events) / 2
	for _, part := range [][][]byte{events[:half], events[half:]} {
		more, lost, _, failed := c.pack(part)
		full, tooLarge, err = append(full, more...), tooLarge+lost, errors.Join(err, failed)
	}
	return full, tooLarge, size, err
}

func (c *chunker) compress(events [][]byte) ([]byte, error) {
	var buf bytes.Buffer
	if c.gz == nil {
		w, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
		if err != nil {
			return nil, err
		}
		c.gz = w
	}
	c.gz.Reset(&buf)
	sep := []byte{'['}
	for _, e := range events {
		for _, b := range [][]byte{sep, e} {
			if _, err := c.gz.Write(b); err != nil {
				return nil, err
			}
		}
		sep = []byte{','}
	}
	if _, err := c.gz.Write([]byte{']'}); err != nil {
		return nil, err
	}
	if err := c.gz.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
