package api

import (
	"encoding/binary"
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
	binary.BigEndian.PutUint64(raw[:8], rand.Uint64()) //nolint:gosec // G404: names a request, protects nothing
	binary.BigEndian.PutUint64(raw[8:], rand.Uint64()) //nolint:gosec // G404: as above
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
