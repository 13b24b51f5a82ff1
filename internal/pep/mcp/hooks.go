package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/signet-policy/signet/client"
)

// Names that an image and its digest go by in payloads.
var (
	imageKeys  = []string{"image_ref", "image", "image_reference", "container_image"}
	digestKeys = []string{"image_digest", "digest"}
)

// wantsImage says whether a hook is about an image, so that one without is a
// mistake and not a question of no concern.
func wantsImage(hook string) bool {
	return strings.HasPrefix(hook, "assessment_") || strings.HasSuffix(hook, "_pre_deploy") || strings.HasSuffix(hook, "_pre_register")
}

// image answers a hook by the image that its payload names.
func (s *Server) image(ctx context.Context, ask Decider, p Plugin, hook string, payload map[string]json.RawMessage) Reply {
	image, err := imageOf(payload)
	switch {
	case err != nil:
		return trouble(p.Name, CodeImageMissing, "No image can be decided on: "+err.Error()+".", nil)
	case image == "" && wantsImage(hook):
		return trouble(p.Name, CodeImageMissing, "The payload names no image; send image_ref, for example ghcr.io/org/app:v1, and image_digest where it is known.", nil)
	case image == "":
		return skipped(p.Name, "this hook carries no image")
	}
	q := Question{Image: image, Context: p.Context}
	if raw, ok := present(payload, "assessment_id"); ok {
		if q.AssessmentID, ok = text(raw); !ok {
			return trouble(p.Name, CodeInvalid, "assessment_id is no string.", nil)
		}
	}
	if raw, ok := present(payload, "platform"); ok {
		if q.Platform, ok = text(raw); !ok {
			return trouble(p.Name, CodeInvalid, "platform is no string.", nil)
		}
	}
	return s.answer(p, s.decide(ctx, ask, q))
}

// present is a member that is there and not null.
func present(m map[string]json.RawMessage, key string) (json.RawMessage, bool) {
	raw, ok := m[key]
	return raw, ok && string(raw) != "null"
}

// imageOf is the image that a payload names, with its digest; "" where it names
// none. Two names that are not one are an error: somebody would be told about
// another image than the one that runs.
func imageOf(payload map[string]json.RawMessage) (string, error) {
	image, err := oneOf(payload, imageKeys, "")
	if err != nil {
		return "", err
	}
	if raw, ok := present(payload, "source"); ok && len(raw) > 0 && raw[0] == '{' { // of a deployment: {type: docker, image}
		source, err := object(raw)
		if err != nil {
			return "", fmt.Errorf("source %w", err)
		}
		if image, err = oneOf(source, []string{"image"}, image); err != nil {
			return "", err
		}
	}
	digest, err := oneOf(payload, digestKeys, "")
	if err != nil || digest == "" {
		return image, err
	}
	if image == "" {
		return "", errors.New("image_digest is there without image_ref, and names no registry")
	}
	if !strings.HasPrefix(digest, "sha256:") {
		return "", errors.New("image_digest is not sha256: and 64 hexadecimal digits")
	}
	name, has, ok := strings.Cut(image, "@")
	if ok && has != digest {
		return "", errors.New("image_ref names another digest than image_digest")
	}
	return name + "@" + digest, nil
}

// oneOf is the one value that some keys have together with what is known.
func oneOf(m map[string]json.RawMessage, keys []string, known string) (string, error) {
	for _, key := range keys {
		raw, ok := present(m, key)
		if !ok {
			continue
		}
		value, ok := text(raw)
		switch {
		case !ok:
			return "", fmt.Errorf("%s is no string", key)
		case value == "":
		case known != "" && known != value:
			return "", fmt.Errorf("%s and another field of the payload name different images", key)
		default:
			known = value
		}
	}
	return known, nil
}

// tool answers a tool call by the images that stand behind its gateway. What the
// call carries is not looked at.
func (s *Server) tool(ctx context.Context, ask Decider, p Plugin, rawContext json.RawMessage) Reply {
	if p.Unmapped == "" {
		return trouble(p.Name, CodeNotConfigured, "tool_pre_invoke is not served: the operator has not said what a gateway without an image gets (unmapped: deny, or allow).", nil)
	}
	g, err := gatewayOf(rawContext)
	if err != nil {
		return trouble(p.Name, CodeInvalid, "The gateway of this call cannot be read: "+err.Error()+".", nil)
	}
	var images []string
	if s.cfg.Gateways != nil && (g.ID != "" || g.URL != "" || len(g.Tags) > 0) {
		if images, err = s.cfg.Gateways.Images(ctx, g); err != nil {
			return s.answer(p, outcome{trouble: "Which image stands behind this gateway could not be found out."})
		}
	}
	if len(images) == 0 {
		return s.unmapped(p, g)
	}
	var worst outcome
	for _, image := range images {
		o := s.decide(ctx, ask, Question{Image: image, Context: p.Context})
		if worst.rank() < o.rank() {
			worst = o
		}
	}
	return s.answer(p, worst)
}

// gatewayOf reads context.global_context.metadata.gateway, which has credentials
// beside what is read of it; where there is none, the id that the tool names.
func gatewayOf(raw json.RawMessage) (g Gateway, err error) {
	at := "context"
	m := map[string]json.RawMessage{}
	descend := func(raw json.RawMessage) {
		if err == nil {
			if m, err = object(raw); err != nil {
				err = fmt.Errorf("%s %w", at, err)
			}
		}
	}
	descend(raw)
	for _, key := range []string{"global_context", "metadata"} {
		inner, ok := present(m, key)
		if err != nil || !ok {
			return g, err
		}
		at += "." + key
		descend(inner)
	}
	metadata := m
	if tool, ok := present(metadata, "tool"); err == nil && ok {
		at = "tool"
		descend(tool)
		g.ID, _ = text(m["gateway_id"])
	}
	gateway, ok := present(metadata, "gateway")
	if err != nil || !ok {
		return g, err
	}
	at = "gateway"
	descend(gateway)
	if err != nil {
		return g, err
	}
	if id, _ := text(m["id"]); id != "" {
		if g.ID != "" && g.ID != id {
			return g, errors.New("the tool names another gateway than the call")
		}
		g.ID = id
	}
	g.URL, _ = text(m["url"])
	g.Tags, err = tagsOf(m["tags"])
	return g, err
}

// mostTags bounds what one look-up asks for.
const mostTags = 64

// tagsOf reads tags, which are strings or objects with an id, a label or a name.
func tagsOf(raw json.RawMessage) ([]string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil, errors.New("its tags are no list")
	}
	if len(list) > mostTags {
		return nil, fmt.Errorf("it has more than %d tags", mostTags)
	}
	var tags []string
	add := func(s string) {
		if s != "" && !slices.Contains(tags, s) {
			tags = append(tags, s)
		}
	}
	for _, item := range list {
		if s, ok := text(item); ok {
			add(s)
			continue
		}
		tag, err := object(item)
		if err != nil {
			return nil, errors.New("one of its tags is neither a string nor an object")
		}
		for _, key := range []string{"id", "label", "name"} {
			s, _ := text(tag[key])
			add(s)
		}
	}
	return tags, nil
}

// unmapped answers for a gateway of which no image is known.
func (s *Server) unmapped(p Plugin, g Gateway) Reply {
	name := "The gateway of this tool"
	if g.ID != "" {
		name = fmt.Sprintf("The gateway %q", clipped(g.ID))
	}
	if p.Unmapped == UnmappedAllow {
		return skipped(p.Name, "no image is known for the gateway, and unmapped is allow")
	}
	return s.answer(p, outcome{verdict: &client.Verdict{Decision: client.Deny, Reasons: []client.Reason{{
		Code: "gateway_not_mapped", Rule: "gateways",
		Message:     name + " has no image in Signet, so nothing vouches for what answers there.",
		Remediation: "An administrator says which image it is: signet gateways put NAME --gateway-id ID --image IMAGE@DIGEST.",
	}}}})
}

// outcome is a verdict, or why there is none.
type outcome struct {
	verdict *client.Verdict
	trouble string
	// mistake is the code of a trouble that is the caller's, "" for others.
	mistake string
}

// rank orders outcomes from what passes to what says most clearly why not.
func (o outcome) rank() int {
	switch {
	case o.verdict == nil && o.trouble == "": // nothing was asked yet
		return 0
	case o.verdict != nil && passes(o.verdict):
		return 1
	case o.verdict != nil && o.verdict.Decision == client.Deny:
		return 2
	}
	return 3
}

func (s *Server) decide(ctx context.Context, ask Decider, q Question) outcome {
	a, err := ask.Decide(ctx, q)
	switch {
	case errors.Is(err, ErrImage):
		return outcome{trouble: strings.TrimPrefix(err.Error(), ErrImage.Error()+": "), mistake: CodeImageMissing}
	case errors.Is(err, ErrMistake):
		return outcome{trouble: strings.TrimPrefix(err.Error(), ErrMistake.Error()+": "), mistake: CodeInvalid}
	case err != nil:
		return outcome{trouble: "Signet could not decide now. Ask again; the operator finds the cause in its log."}
	}
	return outcome{verdict: &a.Verdict}
}
