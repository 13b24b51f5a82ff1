package api

import (
	"encoding/hex"
	"math/rand/v2"
	"net/http"
)

const (
	headerRequestID  = "X-Request-Id" // canonical form of X-Request-ID
	longestRequestID = 128
)

// requestID takes the caller's id if it is one line of visible ASCII, so that
// it can stand in headers, logs and URLs, and else makes one. It identifies; it
// authorises nothing, so chance is good enough.
func requestID(h http.Header) string {
	if v := h[headerRequestID]; len(v) == 1 && saneID(v[0]) {
		return v[0]
	}
	var raw [16]byte
	for i := 0; i < len(raw); i += 8 {
		n := rand.Uint64() //nolint:gosec // G404: names a request, protects nothing
		for j := range 8 {
			raw[i+j] = byte(n >> (8 * j))
		}
	}
	var text [32]byte
	hex.Encode(text[:], raw[:])
	return string(text[:])
}

func saneID(s string) bool {
	if s == "" || len(s) > longestRequestID {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
