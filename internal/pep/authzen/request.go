package authzen

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/strictjson"
)

// bodyDepth is how deep a request may nest: properties are the caller's own.
const bodyDepth = 64

// mostItems is how many evaluations one request may have.
const mostItems = 100

// evaluation is a question as it came. Fields that it does not name are ignored.
type evaluation struct {
	Subject  json.RawMessage `json:"subject"`
	Action   json.RawMessage `json:"action"`
	Resource json.RawMessage `json:"resource"`
	Context  json.RawMessage `json:"context"`
}

// request is the body of both endpoints.
type request struct {
	evaluation
	Evaluations json.RawMessage `json:"evaluations"`
	Options     json.RawMessage `json:"options"`
}

// parse reads a body that is an object and means one thing only.
func parse(body []byte) (request, *pep.Mistake) {
	var req request
	if err := strictjson.DecodeKnown(body, bodyDepth, &req); err != nil {
		return req, &pep.Mistake{Code: pep.InvalidField, Detail: "The body should be a JSON object with subject, action and resource, and cannot be read: " + err.Error() + "."}
	}
	return req, nil
}

// over is e with what it lacks from defaults, each key as a whole (section 7.1.1).
func (e evaluation) over(defaults evaluation) evaluation {
	for _, f := range []struct{ to, from *json.RawMessage }{
		{&e.Subject, &defaults.Subject}, {&e.Action, &defaults.Action}, {&e.Resource, &defaults.Resource}, {&e.Context, &defaults.Context},
	} {
		if *f.to == nil {
			*f.to = *f.from
		}
	}
	return e
}

// asked is a question that has all that it needs.
type asked struct {
	action, resourceType        string
	image, platform, assessment string
	context                     map[string]json.RawMessage
}

// read looks for what the specification requires (section 5), and for the image.
func (e evaluation) read() (asked, *pep.Mistake) {
	var a asked
	subject, m := entity(e.Subject, "subject")
	if m == nil {
		_, m = need(subject, "subject.", "type")
	}
	if m == nil {
		_, m = need(subject, "subject.", "id")
	}
	if m != nil {
		return a, m
	}
	action, m := entity(e.Action, "action")
	if m == nil {
		a.action, m = need(action, "action.", "name")
	}
	if m != nil {
		return a, m
	}
	resource, m := entity(e.Resource, "resource")
	if m == nil {
		a.resourceType, m = need(resource, "resource.", "type")
	}
	if m == nil {
		a.image, m = need(resource, "resource.", "id")
	}
	if m != nil {
		return a, m
	}
	if e.Context != nil {
		if a.context, m = entity(e.Context, "context"); m != nil {
			return a, m
		}
	}
	if pep.IsImage(a.resourceType) {
		m = a.more(resource)
	}
	return a, m
}

// more reads what may be told of an image beside its name.
func (a *asked) more(resource map[string]json.RawMessage) *pep.Mistake {
	properties := map[string]json.RawMessage{}
	if raw, there := resource["properties"]; there {
		var m *pep.Mistake
		if properties, m = entity(raw, "resource.properties"); m != nil {
			return m
		}
	}
	const prefix = "resource.properties."
	var m *pep.Mistake
	if a.platform, m = optional(properties, prefix, "platform"); m != nil {
		return m
	}
	for _, name := range []string{"image_digest", "digest"} {
		digest, m := optional(properties, prefix, name)
		if m != nil {
			return m
		}
		if a.image, m = pep.At(a.image, digest, "resource.id", prefix+name); m != nil {
			return m
		}
	}
	if a.assessment, m = optional(a.context, "context.", "assessment_id"); m == nil {
		delete(a.context, "assessment_id")
	}
	return m
}

// entity reads an object.
func entity(raw json.RawMessage, field string) (map[string]json.RawMessage, *pep.Mistake) {
	var members map[string]json.RawMessage
	if raw == nil {
		return nil, &pep.Mistake{Code: pep.MissingField, Field: field, Detail: "The field " + pep.Shown(field) + " is missing."}
	}
	if json.Unmarshal(raw, &members) != nil || members == nil {
		return nil, &pep.Mistake{Code: pep.InvalidField, Field: field, Detail: "The field " + pep.Shown(field) + " should be an object."}
	}
	return members, nil
}

// need reads a string that must be there, and not empty.
func need(in map[string]json.RawMessage, prefix, name string) (string, *pep.Mistake) {
	s, m := optional(in, prefix, name)
	if m == nil && s == "" {
		m = &pep.Mistake{Code: pep.MissingField, Field: prefix + name, Detail: "The field " + pep.Shown(prefix+name) + " is missing or empty."}
	}
	return s, m
}

// optional reads a string, "" where there is none.
func optional(in map[string]json.RawMessage, prefix, name string) (string, *pep.Mistake) {
	raw, there := in[name]
	if !there {
		return "", nil
	}
	var s *string
	if json.Unmarshal(raw, &s) != nil || s == nil {
		return "", pep.NotString(prefix + name)
	}
	return *s, nil
}

// The semantics of a batch (section 7.1.2.1).
const (
	executeAll         = "execute_all"
	denyOnFirstDeny    = "deny_on_first_deny"
	permitOnFirstAllow = "permit_on_first_permit"
)

// semantic reads how a batch is to be evaluated. Options that are not known are ignored.
func (r request) semantic() (string, *pep.Mistake) {
	if r.Options == nil {
		return executeAll, nil
	}
	options, m := entity(r.Options, "options")
	if m != nil {
		return "", m
	}
	s, m := optional(options, "options.", "evaluations_semantic")
	switch {
	case m != nil:
		return "", m
	case s == "":
		return executeAll, nil
	case s == executeAll, s == denyOnFirstDeny, s == permitOnFirstAllow:
		return s, nil
	}
	return "", &pep.Mistake{Code: pep.InvalidField, Field: "options.evaluations_semantic", Detail: "The field \"options.evaluations_semantic\" is " + pep.Shown(s) + "; it should be " + executeAll + ", " + denyOnFirstDeny + " or " + permitOnFirstAllow + "."}
}

// items are the evaluations of a batch as they came, nil for none.
func (r request) items() ([]json.RawMessage, *pep.Mistake) {
	if r.Evaluations == nil {
		return nil, nil
	}
	var list []json.RawMessage
	if !bytes.HasPrefix(bytes.TrimLeft(r.Evaluations, " \t\r\n"), []byte("[")) || json.Unmarshal(r.Evaluations, &list) != nil {
		return nil, &pep.Mistake{Code: pep.InvalidField, Field: "evaluations", Detail: `The field "evaluations" should be a list.`}
	}
	if len(list) > mostItems {
		return nil, &pep.Mistake{Code: pep.InvalidField, Field: "evaluations", Detail: fmt.Sprintf(`The field "evaluations" has %d items; %d are the most.`, len(list), mostItems)}
	}
	return list, nil
}
