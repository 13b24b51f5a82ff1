package opadata

import (
	"encoding/json"
	"strings"

	"github.com/signet-policy/signet/internal/pep"
)

// ImageMissing is the code of an input that names no image.
const ImageMissing = "image_missing"

// Names that callers have for the image and for its digest.
var (
	imageNames  = []string{"image", "image_ref", "image_reference", "container_image"}
	digestNames = []string{"image_digest", "digest"}
)

// input is what an input document asks.
type input struct {
	image, platform, assessment string
	// action is "" where there is none.
	action string
	// context has the values as they are.
	context map[string]json.RawMessage
	// tool is where the tool is that the input is about in place of an image, nil for
	// none.
	tool *gateway
}

// parseInput finds the image in an input document. There are four spellings: our own
// and the names in circulation at the top, a resource as the gateway and AuthZEN have
// it, and the payload of one of the gateway's hooks. Two that differ are a mistake:
// which one would run is not for us to guess. An input that names none may be about a
// tool, as those of the gateway's policy engine are.
func parseInput(raw json.RawMessage) (input, *pep.Mistake) {
	var in input
	top := object(raw)
	if top == nil {
		return in, noImage()
	}
	var mistake *pep.Mistake
	var loose [][2]string // digests that stand apart from the image
	take := func(at, image, digest, digestAt string) {
		if mistake != nil || image == "" && digest == "" {
			return
		}
		ref, m := pep.At(image, digest, at, digestAt)
		switch {
		case m != nil:
			mistake = m
		case in.image != "" && in.image != ref:
			mistake = &pep.Mistake{Code: pep.InvalidField, Field: at, Detail: "The input names two images, " + pep.Shown(in.image) + " and " + pep.Shown(ref) + ". Ask about one."}
		default:
			in.image = ref
		}
	}
	read := func(in map[string]json.RawMessage, prefix string) {
		image, at, m := oneName(in, prefix, imageNames)
		digest, digestAt, m2 := oneName(in, prefix, digestNames)
		switch mistake = first(mistake, m, m2); {
		case mistake != nil:
		case image != "":
			take(at, image, digest, digestAt)
		case digest != "":
			loose = append(loose, [2]string{digest, digestAt})
		}
	}
	read(top, "input.")
	read(object(top["payload"]), "input.payload.")
	res := object(top["resource"])
	if text(top["action"]) == actionFetch {
		res = nil // its members can be what its caller likes
	}
	if pep.IsImage(text(res["type"])) {
		properties := object(res["properties"])
		digest, digestAt, m := oneName(properties, "input.resource.properties.", digestNames)
		mistake = first(mistake, m)
		take("input.resource.id", text(res["id"]), digest, digestAt)
		in.platform = text(properties["platform"])
	}
	for _, d := range loose {
		if mistake == nil && in.image != "" {
			in.image, mistake = pep.At(in.image, d[0], "input.image", d[1])
		}
	}
	if mistake == nil {
		mistake = in.rest(top)
	}
	switch {
	case mistake != nil || in.image != "":
	case len(loose) == 0 && text(res["type"]) == typeTool:
		var g gateway
		g, mistake = parseGateway(res)
		in.tool = &g
	default:
		mistake = noImage()
	}
	return in, mistake
}

// rest reads what goes with an image.
func (in *input) rest(top map[string]json.RawMessage) *pep.Mistake {
	for _, f := range []struct {
		name string
		to   *string
	}{{"platform", &in.platform}, {"assessment_id", &in.assessment}} {
		if raw, there := top[f.name]; there && string(raw) != "null" {
			if json.Unmarshal(raw, f.to) != nil {
				return pep.NotString("input." + f.name)
			}
		}
	}
	in.action = text(top["action"])
	in.context = object(top["context"])
	return nil
}

// oneName reads the member that has one of the names; several must agree.
func oneName(in map[string]json.RawMessage, prefix string, names []string) (value, at string, m *pep.Mistake) {
	for _, name := range names {
		raw, there := in[name]
		if !there || string(raw) == "null" {
			continue
		}
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return "", "", pep.NotString(prefix + name)
		}
		if at != "" && s != value {
			return "", "", &pep.Mistake{Code: pep.InvalidField, Field: prefix + name, Detail: "The fields " + pep.Shown(at) + " and " + pep.Shown(prefix+name) + " differ. Send one of them."}
		}
		value, at = s, prefix+name
	}
	return value, at, nil
}

func noImage() *pep.Mistake {
	return &pep.Mistake{Code: ImageMissing, Field: "input.image", Detail: "The input names no image, so there is nothing to allow. Send it as input.image, for example ghcr.io/org/app:v1."}
}

// object reads an object, nil for anything else.
func object(raw json.RawMessage) map[string]json.RawMessage {
	if !strings.HasPrefix(strings.TrimLeft(string(raw), " \t\r\n"), "{") {
		return nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return nil
	}
	return members
}

// text reads a string, "" for anything else.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

func first(list ...*pep.Mistake) *pep.Mistake {
	for _, m := range list {
		if m != nil {
			return m
		}
	}
	return nil
}
