package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/strictjson"
)

// bodyDepth is how deep a request body may nest; the deepest that we know has two.
const bodyDepth = 16

// readBody reads the whole body into buf, which grows as needed, and returns it
// or what is wrong with how it is sent. It never reads more than limit+1 bytes.
func readBody(r *http.Request, buf []byte, limit int64, rt *route) ([]byte, *problem) {
	buf = buf[:0]
	if p := checkMedia(r, rt); p != nil {
		return buf, p
	}
	if r.ContentLength > limit {
		return buf, bodyTooLarge(limit)
	}
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		room := min(int64(cap(buf)), limit+1)
		n, err := r.Body.Read(buf[len(buf):room])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > limit:
			return buf, bodyTooLarge(limit)
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return buf, &problem{code: codeBodyUnreadable, detail: "The body ended before all of it had come, or came too slowly. Send it again.", cause: err}
		}
	}
}

func bodyTooLarge(limit int64) *problem {
	return &problem{code: codeBodyTooLarge, detail: fmt.Sprintf("The body may have %d bytes at most.", limit)}
}

// The media types of request bodies.
const (
	mediaJSON  = "application/json"
	mediaMerge = "application/merge-patch+json" // RFC 7396
	mediaYAML  = "application/yaml"             // RFC 9512
	mediaGzip  = "application/gzip"             // RFC 6713: the archive of a policy bundle
	// mediaBundle is what OCI registries call such an archive.
	mediaBundle = "application/vnd.oci.image.layer.v1.tar+gzip"
	// mediaPolicy is a JSON object with a policy's document and its bundle's archive.
	mediaPolicy = "application/vnd.signet.policy+json"
	// mediaKeyedBundle is a JSON object with a bundle's archive and who must have signed it.
	mediaKeyedBundle = "application/vnd.signet.bundle+json"
)

// checkMedia wants one of the route's media types (nil: JSON) in UTF-8, not
// compressed.
func checkMedia(r *http.Request, rt *route) *problem {
	media := rt.media
	bad := func(field, detail string) *problem {
		return &problem{code: codeUnsupportedMedia, field: "header." + field, detail: detail}
	}
	if enc := r.Header["Content-Encoding"]; len(enc) > 1 || len(enc) == 1 && !strings.EqualFold(enc[0], "identity") {
		return bad("Content-Encoding", "Send the body without Content-Encoding: compressed bodies are not read.")
	}
	if rt.anyMedia {
		return nil
	}
	types := r.Header["Content-Type"]
	if media == nil {
		if len(types) == 1 && types[0] == mediaJSON {
			return nil
		}
		media = []string{mediaJSON}
	}
	want := "Send the header Content-Type: " + oneOf(media)
	switch len(types) {
	case 0:
		return bad("Content-Type", want+"; there is none.")
	case 1:
	default:
		return bad("Content-Type", want+", once; it is there several times.")
	}
	is, params, err := mime.ParseMediaType(types[0])
	if err != nil || !slices.Contains(media, is) {
		return bad("Content-Type", want+", not "+shown(types[0])+".")
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return bad("Content-Type", want+" with no parameter but charset=utf-8, which it has anyway.")
		}
	}
	return nil
}

// decode reads body strictly into v, a pointer to a struct. later names fields
// that a later version will know.
func decode(body []byte, v any, example string, later ...string) *problem {
	if len(bytes.TrimSpace(body)) == 0 {
		return &problem{code: codeInvalidJSON, detail: "The body is empty. Send a JSON object, for example " + example + "."}
	}
	err := strictjson.Decode(body, bodyDepth, v)
	if err == nil {
		return nil
	}
	var se *strictjson.Error
	if errors.As(err, &se) {
		return strictProblem(se, v, later)
	}
	var te *json.UnmarshalTypeError
	if errors.As(err, &te) {
		return typeProblem(te, v, example)
	}
	if p := timeProblem(body, v); p != nil {
		return p
	}
	return &problem{code: codeInvalidJSON, detail: "The body cannot be read: " + err.Error() + ".", cause: err}
}

// timeProblem finds the field whose time cannot be read: time.Time's errors do
// not name it.
func timeProblem(body []byte, v any) *problem {
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		return nil
	}
	for f := range reflect.TypeOf(v).Elem().Fields() {
		t := f.Type
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		name := jsonName(f)
		raw, there := members[name]
		if t != reflect.TypeFor[time.Time]() || !there {
			continue
		}
		if err := json.Unmarshal(raw, new(time.Time)); err != nil {
			return &problem{code: codeInvalidField, field: name, cause: err, detail: "The field " + shown(name) + " should be a time like \"2025-07-01T12:00:00Z\" (RFC 3339), not " + shown(string(raw)) + "."}
		}
	}
	return nil
}

// strictProblem names the field that a key stands for.
func strictProblem(e *strictjson.Error, v any, later []string) *problem {
	where := fmt.Sprintf(" (line %d, byte %d)", e.Line, e.Offset)
	field := e.Path
	key := ""
	if quoted, err := strconv.QuotedPrefix(e.Detail); err == nil {
		if key, err = strconv.Unquote(quoted); err == nil {
			field = join(e.Path, key)
		}
	}
	switch {
	case errors.Is(e, strictjson.ErrDuplicateKey):
		return &problem{code: codeDuplicateField, field: field, detail: "The field " + shown(field) + " is there twice" + where + ". Which one is meant? Send it once."}
	case errors.Is(e, strictjson.ErrKeyCase):
		return &problem{code: codeUnknownField, field: field, detail: e.Detail + where + ": names of fields are written in exactly this case."}
	case errors.Is(e, strictjson.ErrUnknownField):
		for _, name := range later {
			if e.Path == "" && key == name {
				return &problem{code: codeLaterVersion, field: field, detail: "The field " + shown(field) + " comes with a later version" + where + ". Leave it out: what is ignored could be mistaken for what is done."}
			}
		}
		return &problem{code: codeUnknownField, field: field, detail: "The field " + shown(field) + " is not known" + where + ". Known fields are " + strings.Join(fieldNames(v), ", ") + "."}
	}
	return &problem{code: codeInvalidJSON, field: e.Path, detail: "The body cannot be read: " + e.Error() + "."}
}

// typeProblem says what type a field should have.
func typeProblem(e *json.UnmarshalTypeError, v any, example string) *problem {
	is := e.Value
	if what, _, ok := strings.Cut(is, " "); ok { // "number 1.5" tells the value too
		is = what
	}
	if e.Field == "" {
		return &problem{code: codeInvalidJSON, detail: "The body should be a JSON object, not " + article(is) + ". For example " + example + "."}
	}
	p := &problem{code: codeInvalidField, field: e.Field}
	if k := fieldKind(v, e.Field); (k == reflect.Map || k == reflect.Slice) && e.Type.Kind() != k { // encoding/json does not tell which value
		p.detail = "Every value in the field " + shown(e.Field) + " should be " + wanted(e.Type) + "; one is " + article(is) + "."
		return p
	}
	p.detail = "The field " + shown(e.Field) + " should be " + wanted(e.Type) + ", not " + article(is) + "."
	return p
}

func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Map:
		return "an object of strings"
	case reflect.Slice:
		return "a list"
	case reflect.Struct:
		return "an object"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	}
	return "of another type"
}

func article(what string) string {
	switch what {
	case "bool":
		return "true or false"
	case "array", "object":
		return "an " + what
	}
	return "a " + what
}

// fieldNames are the JSON names of a struct's fields, in order.
func fieldNames(v any) []string {
	var names []string
	for f := range reflect.TypeOf(v).Elem().Fields() {
		names = append(names, jsonName(f))
	}
	return names
}

// fieldKind is the kind of one field, by its JSON name.
func fieldKind(v any, name string) reflect.Kind {
	for f := range reflect.TypeOf(v).Elem().Fields() {
		if jsonName(f) == name {
			return f.Type.Kind()
		}
	}
	return reflect.Invalid
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// shown quotes what a caller sent, and cuts what is long.
func shown(s string) string { return pep.Shown(s) }
