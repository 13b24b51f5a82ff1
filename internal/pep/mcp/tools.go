package mcp

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

// toolList is what tools/list answers. There is no outputSchema: a client would
// hold structuredContent against it, and there is none.
var toolList = json.RawMessage(`{"tools":[` +
	`{"name":"get_plugin_configs","description":"The configurations of all plugins.","inputSchema":{"type":"object","properties":{}}},` +
	`{"name":"get_plugin_config","description":"The configuration of one plugin, {} for one that is not here.","inputSchema":{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}},` +
	`{"name":"invoke_hook","description":"May the image of this hook run?","inputSchema":{"type":"object","properties":{` +
	`"hook_type":{"type":"string"},"plugin_name":{"type":"string"},"payload":{"type":"object"},"context":{"type":"object"}},` +
	`"required":["hook_type","plugin_name","payload","context"]}}]}`)

// toolResult is how every tool answers: its JSON as text.
type toolResult struct {
	Content []content `json:"content"`
	IsError bool      `json:"isError"`
}

type content struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// call answers tools/call. What is wrong with the call itself is an error of the
// protocol; what goes wrong while deciding is in the result.
func (s *Server) call(ctx context.Context, ask Decider, id json.RawMessage, params map[string]json.RawMessage) *response {
	name, _ := text(params["name"])
	args := map[string]json.RawMessage{}
	if raw, ok := params["arguments"]; ok && string(raw) != "null" {
		var err error
		if args, err = object(raw); err != nil {
			return failed(id, codeInvalidParams, "arguments %s.", err)
		}
	}
	var out any
	switch name {
	case "get_plugin_configs":
		list := []pluginConfig{}
		for _, p := range s.cfg.Plugins {
			list = append(list, s.describe(p))
		}
		out = list
	case "get_plugin_config":
		out = struct{}{}
		plugin, ok := text(args["name"])
		if !ok {
			return failed(id, codeInvalidParams, "get_plugin_config wants a name.")
		}
		if p, ok := s.plugins[plugin]; ok {
			out = s.describe(p)
		}
	case "invoke_hook":
		out = s.invoke(ctx, ask, args)
	default:
		return failed(id, codeInvalidParams, "There is no tool %q.", clipped(name))
	}
	body, err := encode(out)
	if err != nil { // made of what was decoded, so it can be encoded
		return failed(id, codeInvalidParams, "The answer cannot be written.")
	}
	return done(id, toolResult{Content: []content{{"text", string(body)}}})
}

// pluginConfig is a plugin as the gateway's framework reads it. Its kind must not
// be "external": that is what the gateway calls us by itself.
type pluginConfig struct {
	Name        string         `json:"name"`
	Kind        string         `json:"kind"`
	Description string         `json:"description"`
	Version     string         `json:"version"`
	Author      string         `json:"author"`
	Hooks       []string       `json:"hooks"`
	Tags        []string       `json:"tags"`
	Mode        Mode           `json:"mode"`
	OnError     string         `json:"on_error"`
	Priority    int            `json:"priority"`
	Conditions  []any          `json:"conditions"`
	Config      map[string]any `json:"config"`
}

func (s *Server) describe(p Plugin) pluginConfig {
	description := p.Description
	if description == "" {
		description = "Verdicts on container images by their signatures"
	}
	tags := p.Tags
	if len(tags) == 0 {
		tags = []string{"security", "sigstore"}
	}
	return pluginConfig{
		Name: p.Name, Kind: "image-signing", Description: description, Version: s.cfg.Version, Author: "Signet",
		Hooks: append([]string{}, p.Hooks...), Tags: slices.Clone(tags), Mode: p.Mode, OnError: "fail", Priority: p.Priority,
		Conditions: []any{}, Config: map[string]any{},
	}
}

// invoke answers one hook. A panic is an error of the plugin: nothing passes by it.
func (s *Server) invoke(ctx context.Context, ask Decider, args map[string]json.RawMessage) (out Reply) {
	name, _ := text(args["plugin_name"])
	defer func() {
		if p := recover(); p != nil {
			s.cfg.Log.ErrorContext(ctx, "panic while answering a hook", "plugin", name, "panic", fmt.Sprint(p))
			out = trouble(name, CodeUnavailable, "Something went wrong inside Signet; nothing was decided.", nil)
		}
	}()
	hook, ok := text(args["hook_type"])
	if !ok || hook == "" {
		return trouble(name, CodeInvalid, "hook_type is missing.", nil)
	}
	p, ok := s.plugins[name]
	if !ok {
		return trouble(name, CodeUnknownPlugin, fmt.Sprintf("There is no plugin %q here; there are %s.", clipped(name), s.names()), nil)
	}
	if p.Mode == Disabled {
		return skipped(name, "the plugin is disabled")
	}
	payload, err := object(args["payload"])
	if err != nil {
		return trouble(name, CodeInvalid, fmt.Sprintf("payload %s.", err), nil)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Deadline)
	defer cancel()
	if hook == HookToolPreInvoke {
		return s.tool(ctx, ask, p, args["context"])
	}
	return s.image(ctx, ask, p, hook, payload)
}

func (s *Server) names() string {
	names := make([]string, len(s.cfg.Plugins))
	for i, p := range s.cfg.Plugins {
		names[i] = p.Name
	}
	return fmt.Sprintf("%q", names)
}
