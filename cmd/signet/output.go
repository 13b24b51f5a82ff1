package main

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// collect reads a list to its end.
func collect[T any](list iter.Seq2[T, error]) ([]T, error) {
	items := []T{}
	for item, err := range list {
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

// first reads a list until it has n items; 0 is all.
func first[T any](n int, list iter.Seq2[T, error]) ([]T, error) {
	if n == 0 {
		return collect(list)
	}
	return collect(func(yield func(T, error) bool) {
		left := n
		for item, err := range list {
			if left--; !yield(item, err) || left == 0 {
				return
			}
		}
	})
}

// printJSON prints v for machines, readable all the same.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printTable prints rows in columns under a header. Cells come from others, so
// they are made safe for a terminal; an empty one is "-".
func printTable(w io.Writer, header []string, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			if cells[i] = printable(cell, false); cell == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	return tw.Flush()
}

// printDetails prints labels and values, each pair on a line; what is "" is left out.
func printDetails(w io.Writer, pairs ...string) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(tw, "%s\t%s\n", pairs[i], printable(pairs[i+1], false))
		}
	}
	return tw.Flush()
}

func orWord(s, word string) string {
	if s == "" {
		return word
	}
	return s
}

// listOr joins a list, or says what an empty one means.
func listOr(list []string, word string) string { return orWord(strings.Join(list, " "), word) }

// timeOr writes a time, or says what none means.
func timeOr(t *time.Time, word string) string {
	if t == nil {
		return word
	}
	return t.UTC().Format(time.RFC3339)
}

// spoken is a state or a kind in words: "in_force" is "in force".
func spoken(s string) string { return strings.ReplaceAll(s, "_", " ") }

// maxPiped bounds what is read from a pipe, in bytes.
const maxPiped = 64 << 20

// readInput reads a file that a flag or an argument names; "-" is what is piped in.
func readInput(what, path string) ([]byte, error) {
	if path == "-" {
		body, err := io.ReadAll(io.LimitReader(os.Stdin, maxPiped+1))
		if err == nil && len(body) > maxPiped { // what was cut off might matter
			err = usage("%s: more than %d MB are piped in", what, maxPiped>>20)
		}
		return body, err
	}
	body, err := os.ReadFile(path) //nolint:gosec // the caller names the file
	if err != nil {
		return nil, usage("%s: %w", what, err)
	}
	return body, nil
}

// writeOutput writes to a file, whole or not at all, or to stdout where none is named.
func writeOutput(std streams, path string, body []byte) error {
	if path == "" {
		_, err := std.out.Write(body)
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return usage("--out: %w", err)
	}
	_, err = tmp.Write(body)
	if closed := tmp.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("--out: %w", err)
	}
	fmt.Fprintf(std.err, "signet: %s is written\n", path)
	return nil
}
