package opadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/verdict"
)

// What a tool gets whose gateway has no image.
const (
	UnmappedAllow = "allow"
	UnmappedDeny  = "deny"
)

// Codes of what a tool is told without a verdict.
const (
	gatewayNotMapped = "gateway_not_mapped"
	notConfigured    = "unmapped_not_configured"
)

// Gateways are the images that stand behind the servers of an MCP gateway.
type Gateways interface {
	// GatewayImages gives the images that are kept for a server: by its id, else by
	// its URL, else by its tags; none is no error. It sees every change that was
	// acknowledged before.
	GatewayImages(ctx context.Context, id, url string, tags []string) ([]string, error)
}

// gateway is where a tool is.
type gateway struct {
	id, url string
	tags    []string
}

func (g gateway) named() bool { return g.id != "" || g.url != "" || len(g.tags) > 0 }

// The types and the action of the gateway's policy engine.
const (
	typeTool = "tool"
	// actionFetch is of resources, whose members the policy engine spreads into the
	// resource that it asks about: a caller could give it a type and an id.
	actionFetch = "resources.fetch"
)

// mostTags bounds what one look-up asks for.
const mostTags = 64

// parseGateway reads where a tool is: server is the id that the gateway's policy engine
// sends; callers who know more send gateway, as the gateway's hooks have it.
func parseGateway(res map[string]json.RawMessage) (gateway, *pep.Mistake) {
	const at = "input.resource."
	id, m := optional(res["server"], at+"server")
	if m != nil {
		return gateway{}, m
	}
	g := gateway{id: id}
	raw, there := res["gateway"]
	if !there || string(raw) == "null" {
		return g, nil
	}
	of := object(raw)
	if of == nil {
		return gateway{}, &pep.Mistake{Code: pep.InvalidField, Field: at + "gateway", Detail: "The field " + pep.Shown(at+"gateway") + ` should be an object with "id", "url" or "tags".`}
	}
	own, m := optional(of["id"], at+"gateway.id")
	if m != nil {
		return gateway{}, m
	}
	if own != "" {
		g.id = own // the gateway is behind the server, and nearer to the tool
	}
	if g.url, m = optional(of["url"], at+"gateway.url"); m != nil {
		return gateway{}, m
	}
	g.tags, m = parseTags(of["tags"], at+"gateway.tags")
	return g, m
}

// parseTags reads tags, which are strings or objects with an id, a label or a name.
func parseTags(raw json.RawMessage, at string) ([]string, *pep.Mistake) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	bad := func(detail string) *pep.Mistake {
		return &pep.Mistake{Code: pep.InvalidField, Field: at, Detail: "The field " + pep.Shown(at) + " " + detail}
	}
	var list []json.RawMessage
	switch err := json.Unmarshal(raw, &list); {
	case err != nil:
		return nil, bad("should be a list of strings.")
	case len(list) > mostTags:
		return nil, bad(fmt.Sprintf("has %d tags; %d are the most.", len(list), mostTags))
	}
	var tags []string
	add := func(s string) {
		if s != "" && !slices.Contains(tags, s) {
			tags = append(tags, s)
		}
	}
	for _, item := range list {
		var s string
		if json.Unmarshal(item, &s) == nil {
			add(s)
			continue
		}
		tag := object(item)
		if tag == nil {
			return nil, bad("has a tag that is neither a string nor an object.")
		}
		for _, key := range []string{"id", "label", "name"} {
			add(text(tag[key]))
		}
	}
	return tags, nil
}

// optional reads a string that may be absent or null, "" for both.
func optional(raw json.RawMessage, at string) (string, *pep.Mistake) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return "", pep.NotString(at)
	}
	return s, nil
}

// tool answers for a tool by the images behind its gateway, which must all be allowed.
// What else the input says is the tool's caller's, and no policy is given it.
func (f *face) tool(ctx context.Context, r *pep.Request, g gateway) answer {
	if f.cfg.Gateways == nil || f.cfg.Unmapped == "" {
		return answer{result: denied(notConfigured,
			"The input asks about a tool, and nobody has said what a tool gets whose gateway has no image in Signet.",
			"The operator writes mcp.unmapped: deny, or allow, into the configuration.", "gateways")}
	}
	var images []string
	if g.named() {
		var err error
		if images, err = f.cfg.Gateways.GatewayImages(ctx, g.id, g.url, g.tags); err != nil {
			return answer{result: resultOf(f.cfg.Core.Unknown("", pep.StoreUnavailable())), given: []pep.Given{unknown()}}
		}
	}
	if len(images) == 0 {
		return answer{result: f.unmapped(g)}
	}
	if why := r.Admit(len(images) - 1); why != nil { // the request itself was the first
		return answer{failure: why}
	}
	var out answer
	for _, image := range images {
		one := f.ask(ctx, r.State, pep.Question{Image: image, Principal: r.Principal, RequestID: r.ID})
		one.given = append(out.given, one.given...)
		if rank(one.result) < rank(out.result) {
			one.result, one.image = out.result, out.image
		}
		out = one
	}
	return out
}

// rank orders results from what passes to what says most clearly why not; an answer
// that is none yet comes before all.
func rank(res result) int {
	switch {
	case res.Decision == "":
		return 0
	case res.Allow:
		return 1
	case res.Decision == verdict.Deny:
		return 2
	}
	return 3
}

// unmapped is for a gateway of which no image is known.
func (f *face) unmapped(g gateway) result {
	message := "The input names no server of the gateway, so no image is known for the tool."
	if g.named() {
		message = "The server of this tool has no image in Signet, so nothing vouches for what answers there."
	}
	if g.id != "" {
		message = "The server " + pep.Shown(g.id) + " has no image in Signet, so nothing vouches for what answers there."
	}
	why := verdict.Reason{
		Code: gatewayNotMapped, Message: message, Rule: "gateways",
		Remediation: "An administrator says which image it is: signet gateways put NAME --gateway-id ID --image IMAGE@DIGEST.",
	}
	if f.cfg.Unmapped == UnmappedAllow {
		return result{Allow: true, Deny: []string{}, Decision: verdict.Allow, Reasons: []verdict.Reason{}, Warnings: []verdict.Reason{why}}
	}
	return denied(why.Code, why.Message, why.Remediation, why.Rule)
}

func checkUnmapped(cfg Config) error {
	switch cfg.Unmapped {
	case "", UnmappedAllow, UnmappedDeny:
		return nil
	}
	return errors.New("opadata: Config.Unmapped is " + cfg.Unmapped + ", and must be allow, deny or empty")
}
