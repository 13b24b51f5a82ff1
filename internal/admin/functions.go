package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
)

// functions are what templates can do besides.
func functions() template.FuncMap {
	return template.FuncMap{
		"when": when, "whenever": func(t *time.Time, none string) template.HTML {
			if t == nil {
				return template.HTML(template.HTMLEscapeString(none)) //nolint:gosec // escaped
			}
			return when(*t)
		},
		"digestOf": func(image string) string {
			_, digest, _ := strings.Cut(image, "@")
			return digest
		},
		"brief": brief, "mend": mendOf,
		"pretty": func(raw json.RawMessage) string {
			var out bytes.Buffer
			if len(raw) == 0 || json.Indent(&out, raw, "", "  ") != nil {
				return "–"
			}
			return out.String()
		},
		"diffLines": diffLines, "short": short, "join": strings.Join, "typeName": typeName, "stateName": stateName,
		"stateClass": func(state string) string {
			return map[string]string{"in_force": "good", "disabled": "", "not_yet": "warn", "expired": "bad"}[state]
		},
		"lines":   func(s []string) string { return strings.Join(s, "\n") },
		"add":     func(a, b int) int { return a + b },
		"percent": func(n, of int64) int64 { return n * 100 / max(of, 1) },
		"deref": func(s *string) string {
			if s == nil {
				return ""
			}
			return *s
		},
		"partName": partName, "dependencyName": dependencyName, "path": url.PathEscape,
		"toldBy": func(g client.Gateway) []string {
			told, value := toldBy(g)
			return []string{told, value}
		},
		"identity": identity, "soon": soon,
		"args": func(pairs ...any) (map[string]any, error) {
			if len(pairs)%2 != 0 {
				return nil, errors.New("args: a name without a value")
			}
			out := map[string]any{}
			for i := 0; i < len(pairs); i += 2 {
				out[fmt.Sprint(pairs[i])] = pairs[i+1]
			}
			return out, nil
		},
	}
}

// when is a time that the script turns into the reader's own.
func when(t time.Time) template.HTML {
	if t.IsZero() {
		return "never"
	}
	t = t.UTC()
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339) + `">` + t.Format("2006-01-02 15:04") + ` UTC</time>`) //nolint:gosec // of our own making
}

// digests are those that stand behind a name in a sentence.
var digests = regexp.MustCompile(`@sha256:[0-9a-f]{64}\b`)

// brief leaves digests out of a sentence that has names besides.
func brief(text string) string { return digests.ReplaceAllString(text, "") }

// mend is what would mend a reason: a sentence, and the command that it ends with.
type mend struct{ Text, Command string }

// mendOf finds the command in a remediation; nil for "".
func mendOf(remediation string) *mend {
	if remediation == "" {
		return nil
	}
	for _, program := range []string{"signet ", "cosign "} {
		if text, command, ok := strings.Cut(remediation, ": "+program); ok && !strings.Contains(command, ". ") {
			return &mend{text + ":", program + strings.TrimSuffix(command, ".")}
		}
	}
	return &mend{Text: remediation}
}

// short is a digest that a person can compare.
func short(digest string) string {
	algorithm, hex, ok := strings.Cut(digest, ":")
	switch {
	case ok && len(hex) > 12:
		return algorithm + ":" + hex[:12] + "…"
	case !ok && len(digest) > 16:
		return digest[:16] + "…"
	}
	return digest
}

func typeName(t string) string {
	switch t {
	case "keyless":
		return "Keyless identity"
	case "public_key":
		return "Public key"
	case "kms":
		return "Key in a KMS"
	}
	return t
}

func stateName(s string) string {
	switch s {
	case "in_force":
		return "in force"
	case "not_yet":
		return "not yet"
	}
	return s
}

// identity is what a signer is recognised by.
func identity(s client.Signer) string {
	switch {
	case s.Subject != "":
		return s.Subject
	case s.SubjectRegex != "":
		return s.SubjectRegex
	case s.KMSKeyRef != "":
		return s.KMSKeyRef
	case len(s.Fingerprints) == 1:
		return "SHA256:" + s.Fingerprints[0]
	case len(s.Fingerprints) > 1:
		return fmt.Sprintf("%d keys, SHA256:%s …", len(s.Fingerprints), s.Fingerprints[0])
	}
	return ""
}

// localLayout is what <input type="datetime-local"> sends and shows, exactLayout with
// seconds.
const (
	localLayout = "2006-01-02T15:04"
	exactLayout = "2006-01-02T15:04:05"
)

// inputTime is a time as a field shows it, by the clock of a zone.
func inputTime(t time.Time, zone *time.Location) string {
	if t.Second() != 0 || t.Nanosecond() != 0 {
		return t.In(zone).Format(exactLayout)
	}
	return t.In(zone).Format(localLayout)
}

// shows says whether a field's text is a time as it was shown by the clock of a zone: a
// browser leaves out seconds that are zero.
func shows(text string, t time.Time, zone *time.Location) bool {
	if len(text) == len(localLayout) {
		text += ":00"
	}
	return text == t.In(zone).Format(exactLayout)
}

// zoneOf finds a zone by its name. The machine's own is none: a form must mean the same
// on every server.
func zoneOf(name string) (*time.Location, error) {
	if name == "Local" {
		return nil, errors.New("it is no zone of its own")
	}
	return time.LoadLocation(name)
}

// soonTime is from when on an end is shown as near.
const soonTime = 30 * 24 * time.Hour

func soon(t *time.Time) bool { return t != nil && time.Until(*t) < soonTime && time.Now().Before(*t) }

// formTime reads a local time in a zone; nil for "".
func formTime(text, zone string) (*time.Time, string) {
	if text == "" {
		return nil, ""
	}
	where, err := zoneOf(zone)
	if err != nil {
		return nil, fmt.Sprintf("The time zone %q is not known; use a name like Europe/Berlin, or UTC.", zone)
	}
	for _, layout := range []string{localLayout, exactLayout, "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, where); err == nil {
			t = t.UTC()
			return &t, ""
		}
	}
	return nil, fmt.Sprintf("%q is not a time; write it as 2026-12-31T18:00.", text)
}

// zonesWith are those, and one more where it is none of them.
func zonesWith(zone string) []string {
	all := zones()
	if !slices.Contains(all, zone) {
		all = append(all, zone)
	}
	return all
}

// zones are offered; the script adds the reader's own.
func zones() []string {
	return []string{"UTC", "Europe/London", "Europe/Berlin", "Europe/Istanbul", "America/New_York", "America/Chicago", "America/Los_Angeles", "America/Sao_Paulo", "Asia/Kolkata", "Asia/Shanghai", "Asia/Tokyo", "Australia/Sydney"}
}

// listOf reads one entry per line, or separated by commas.
func listOf(text string) []string {
	out := []string{}
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == ',' || r == '\r' }) {
		if part = strings.TrimSpace(part); part != "" && !slices.Contains(out, part) {
			out = append(out, part)
		}
	}
	return out
}

// with is the address of the same list with some parameters changed; "" takes one
// away.
func with(query url.Values, pairs ...string) string {
	out := url.Values{}
	for name, values := range query {
		if len(values) > 0 && values[0] != "" && name != "done" {
			out.Set(name, values[0])
		}
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		out.Del(pairs[i])
		if pairs[i+1] != "" {
			out.Set(pairs[i], pairs[i+1])
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "?" + out.Encode()
}

// mistakes are what is wrong with a form, by field.
type mistakes struct {
	By map[string]string
	// Other are those of no field that the form has.
	Other []string
}

// Any says whether there are some.
func (m mistakes) Any() bool { return len(m.By)+len(m.Other) > 0 }

// all are the sentences, by field.
func (m mistakes) all() []string {
	var out []string
	for _, field := range slices.Sorted(maps.Keys(m.By)) {
		out = append(out, m.By[field])
	}
	return append(out, m.Other...)
}

// Of is that of a field, "" for none.
func (m mistakes) Of(field string) string { return m.By[field] }

// wrongField is what is wrong with a field, and the id of the element that says so.
type wrongField struct{ ID, Problem string }

// At is what stands beside a field; nil for nothing.
func (m mistakes) At(field string) *wrongField {
	if m.By[field] == "" {
		return nil
	}
	return &wrongField{field + "-error", m.By[field]}
}

// Marks are the attributes that tie a field to what is said of it: to its help, by id,
// and to what is wrong with it. The first field that is wrong has the focus.
func (m mistakes) Marks(field string, help ...string) template.HTMLAttr {
	return marks(m.At(field), ` aria-invalid="true" autofocus`, help...)
}

// marks says besides what else a field has where it is wrong.
func marks(wrong *wrongField, besides string, help ...string) template.HTMLAttr {
	if wrong == nil {
		besides = ""
	} else {
		help = append([]string{wrong.ID}, help...)
	}
	if len(help) > 0 {
		besides += ` aria-describedby="` + strings.Join(help, " ") + `"`
	}
	return template.HTMLAttr(besides) //nolint:gosec // of names that stand in templates, and of fields of a policy
}

func (m *mistakes) add(field, problem string) {
	if m.By == nil {
		m.By = map[string]string{}
	}
	if old := m.By[field]; old != "" && old != problem {
		problem = old + " " + problem
	}
	m.By[field] = problem
}

// mistakesOf sorts a problem by the fields of a form. ok is false where the error
// is nothing that the form can mend. prefix stands before the names of its fields.
func mistakesOf(err error, prefix string, fields ...string) (m mistakes, ok bool) {
	if client.IsStale(err) {
		m.Other = append(m.Other, staleText+" What you wrote is below: copy it first.")
		return m, true
	}
	var p *client.Problem
	if !errors.As(err, &p) {
		if text := mistake(err); text != "" {
			m.Other = append(m.Other, text)
			return m, true
		}
		return m, false
	}
	if p.Status >= 500 && p.Status != 503 || p.Status == 404 {
		return m, false
	}
	list := p.Errors
	if len(list) == 0 {
		list = []client.FieldError{{Field: p.Field, Detail: p.Detail}}
	}
	for _, e := range list {
		field := strings.TrimPrefix(e.Field, prefix)
		name, _, _ := strings.Cut(field, "[")
		name, _, _ = strings.Cut(name, ".")
		if slices.Contains(fields, name) {
			m.add(name, e.Detail)
			continue
		}
		m.Other = append(m.Other, e.Detail)
	}
	return m, true
}
