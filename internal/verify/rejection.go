package verify

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
)

// rejection says why an item, or one attempt at it, proves nothing.
type rejection struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	// Step is how far an attempt came. Of several attempts the one that came
	// furthest explains best what is wrong.
	Step step `json:"step"`
}

// step is how far an attempt came before it failed.
type step int

const (
	stepStranger  step = iota // the root has nothing to do with the item
	stepIdentity              // the certificate says who signed
	stepRequired              // the proofs that the root requires are there
	stepEntries               // log entries verify
	stepTimes                 // there is a verified time
	stepChain                 // the certificate chains to the root
	stepSCT                   // and was logged
	stepSignature             // the signature verifies
)

func reject(code, format string, args ...any) *rejection {
	return &rejection{Code: code, Message: fmt.Sprintf(format, args...)}
}

func (r *rejection) at(s step) *rejection {
	r.Step = s
	return r
}

func (r *rejection) fact(item *evidence.Item) facts.Rejection {
	return facts.Rejection{ID: item.ID, MediaType: plain(item.MediaType), Where: item.Where, Code: r.Code, Message: plain(r.Message)}
}

// longestMessage bounds what strangers can put into a message.
const longestMessage = 500

// plain makes one line of printable text.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if len(s) <= longestMessage {
		return s
	}
	return strings.ToValidUTF8(s[:longestMessage], "") + "…"
}

// short quotes a stranger's words for use within a sentence.
func short(s string) string {
	const most = 120
	s = plain(s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return `"` + s + `"`
}

// cause is a library's error for the end of a sentence.
func cause(err error) string {
	return strings.TrimSuffix(plain(err.Error()), ".")
}
