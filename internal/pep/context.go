package pep

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/signet-policy/signet/internal/engine"
)

// ActionKey is the key of the context that an action is, for policies which declare it.
const ActionKey = "action"

// IsImage says whether a resource's type means a container image.
func IsImage(resourceType string) bool {
	return resourceType == "container_image" || resourceType == "oci_image"
}

// Context gives the members of a context that policies in force declare for the image,
// and names those that none does: protocols whose callers send what they have cannot
// have it refused, as REST does. An action is one of them where a policy declares it.
func (c *Core) Context(st *engine.State, image, action string, members map[string]json.RawMessage) (declared map[string]string, ignored []string, m *Mistake) {
	known := c.declared(st, image)
	declared = map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(members)) {
		if _, ok := known[key]; !ok {
			ignored = append(ignored, "context."+key)
			continue
		}
		var value *string
		if json.Unmarshal(members[key], &value) != nil || value == nil {
			return nil, nil, NotString("context." + key)
		}
		declared[key] = *value
	}
	_, there := declared[ActionKey]
	if _, ok := known[ActionKey]; ok && action != "" && !there {
		declared[ActionKey] = action
	}
	return declared, ignored, nil
}

// declared are the keys that policies in force declare for the image; none where it
// has no name.
func (c *Core) declared(st *engine.State, image string) map[string][]string {
	if st == nil || c.cfg.ImageName == nil {
		return nil
	}
	name, err := c.cfg.ImageName(image)
	if err != nil {
		return nil
	}
	return st.Declared(name)
}

// NotString is the mistake of a field that is something else.
func NotString(field string) *Mistake {
	return &Mistake{Code: InvalidField, Field: field, Detail: "The field " + Shown(field) + " should be a string."}
}
