package main

import (
	"fmt"
	"strings"
	"unicode"
)

// printable makes s safe for a terminal: identities, annotations and messages
// come from strangers, and may hold escape sequences or characters that turn
// the reading direction. Line breaks and tabs stay where lines says so.
func printable(s string, lines bool) string {
	clean := true
	for _, r := range s {
		if !unicode.IsPrint(r) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case unicode.IsPrint(r), lines && (r == '\n' || r == '\t'):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
