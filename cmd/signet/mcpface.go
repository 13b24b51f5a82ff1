package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/pep/mcp"
	"github.com/signet-policy/signet/internal/pluginfile"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/trust"
)

// mcpPath is where MCP gateways ask, and mcpBody the largest message: the gateway
// bounds arguments at about a megabyte.
const (
	mcpPath = "/mcp"
	mcpBody = 4 << 20
)

// loadPlugins reads the gateway's plugin file, where the configuration names one.
func loadPlugins(f config.File) (pluginfile.File, error) {
	if f.MCP.Plugins == "" {
		return pluginfile.File{}, nil
	}
	path := f.Relative(f.MCP.Plugins)
	body, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return pluginfile.File{}, usage("plugins: %w", err)
	}
	list, err := pluginfile.Parse(body)
	if err != nil {
		return pluginfile.File{}, &exit{code: exitUsage, err: prefixed(path, err)}
	}
	return list, nil
}

// pluginPolicies are the policies that the plugin file brings.
func pluginPolicies(list pluginfile.File) []*signingpolicy.Policy {
	var out []*signingpolicy.Policy
	for _, p := range list.Plugins {
		if p.Policy != nil {
			out = append(out, p.Policy)
		}
	}
	return out
}

// checkPlugins makes sure that a server can serve the plugins of the configuration,
// and gives their policies.
func checkPlugins(f config.File, client *registry.Client) ([]*signingpolicy.Policy, error) {
	list, err := loadPlugins(f)
	if err != nil {
		return nil, err
	}
	if _, err := newMCP(f, list, nil, nil); err != nil {
		return nil, err
	}
	if _, err := newSecondOpinions(list, client); err != nil {
		return nil, err
	}
	return pluginPolicies(list), nil
}

// newMCP is the face of MCP gateways.
func newMCP(f config.File, list pluginfile.File, gateways mcp.Gateways, log *slog.Logger) (*mcp.Server, error) {
	cfg := mcp.Config{
		Version: version, Gateways: gateways, Deadline: durationOf(f.Deadlines.MCP), ExternalURL: f.ExternalURL, Log: log,
	}
	for _, p := range list.Plugins {
		cfg.Plugins = append(cfg.Plugins, facePlugin(p, f.MCP.Unmapped))
	}
	if len(list.Plugins) == 0 {
		cfg.Plugins = []mcp.Plugin{facePlugin(pluginfile.Plugin{Name: mcp.DefaultPlugin, Mode: string(mcp.Enforce), Priority: 12}, f.MCP.Unmapped)}
	}
	face, err := mcp.New(cfg)
	if err != nil {
		return nil, &exit{code: exitUsage, err: prefixed(f.MCP.Plugins, errors.New(strings.TrimPrefix(err.Error(), "mcp: ")))}
	}
	return face, nil
}

func facePlugin(p pluginfile.Plugin, unmapped string) mcp.Plugin {
	out := mcp.Plugin{
		Name: p.Name, Description: p.Description, Hooks: p.Hooks, Mode: mcp.Mode(p.Mode), Priority: p.Priority, Tags: p.Tags, Unmapped: p.Unmapped,
	}
	if out.Unmapped == "" {
		out.Unmapped = unmapped
	}
	if len(out.Hooks) == 0 {
		out.Hooks = mcp.DefaultHooks()
		if out.Unmapped != "" {
			out.Hooks = append(out.Hooks, mcp.HookToolPreInvoke)
		}
	}
	if p.Policy != nil {
		out.Context = p.Policy.Context
	}
	return out
}

// mappedGateways are the images behind gateways, as the store has them now.
type mappedGateways struct{ admin *administration.Service }

func (m mappedGateways) Images(ctx context.Context, g mcp.Gateway) ([]string, error) {
	return m.admin.GatewayImages(ctx, g.ID, g.URL, g.Tags)
}

// gatewaySeeds are those of the configuration.
func gatewaySeeds(f config.File) []administration.GatewaySeed {
	list := make([]administration.GatewaySeed, 0, len(f.MCP.Gateways))
	for _, g := range f.MCP.Gateways {
		list = append(list, administration.GatewaySeed{Name: g.Name, PutGateway: client.PutGateway{
			GatewayID: g.GatewayID, URL: g.URL, Tag: g.Tag, Image: g.Image, Note: g.Note,
		}})
	}
	return list
}

// asFace puts an MCP server behind the API's authentication.
func asFace(s *mcp.Server) api.Face {
	return api.Face{Path: mcpPath, BodyLimit: mcpBody, Serve: func(ctx context.Context, ask *api.Asker, body []byte) api.FaceReply {
		status, answer := s.Handle(ctx, mcpAsker{ask}, body)
		if answer == nil {
			return api.FaceReply{Status: status}
		}
		return api.FaceReply{Status: status, ContentType: "application/json", Body: answer}
	}}
}

// mcpAsker asks the engine for an MCP gateway.
type mcpAsker struct{ ask *api.Asker }

func (a mcpAsker) Decide(ctx context.Context, q mcp.Question) (mcp.Answer, error) {
	ans, err := a.ask.Decide(ctx, api.Question{Image: q.Image, Platform: q.Platform, Context: q.Context, AssessmentID: q.AssessmentID})
	var refused *api.AskError
	switch {
	case errors.As(err, &refused) && refused.Field == "image":
		return mcp.Answer{}, fmt.Errorf("%w: %w", mcp.ErrImage, refused)
	case errors.As(err, &refused):
		return mcp.Answer{}, fmt.Errorf("%w: %w", mcp.ErrMistake, refused)
	case err != nil:
		return mcp.Answer{}, err
	}
	var v client.Verdict
	if err := json.Unmarshal(ans.Body, &v); err != nil {
		return mcp.Answer{}, fmt.Errorf("reading a verdict: %w", err)
	}
	// The engine says what it is, the bytes say why.
	if v.Decision != client.Decision(ans.Decision) || v.Allowed != ans.Allowed {
		return mcp.Answer{}, errors.New("a verdict and its answer differ")
	}
	return mcp.Answer{Verdict: v}, nil
}

// onlyProtocols answers what belongs to some protocols, and whether this server is
// well; nil is all that there is.
func onlyProtocols(next http.Handler, protocols []string) http.Handler {
	if protocols == nil {
		return next
	}
	rest, plugin := slices.Contains(protocols, "rest"), slices.Contains(protocols, "mcp")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served := rest
		switch r.URL.Path {
		case mcpPath:
			served = plugin
		case "/health", "/healthz", "/readyz":
			served = true
		}
		if !served {
			http.Error(w, "This address does not speak the protocol of that path (listeners.protocols in the configuration).", http.StatusNotFound)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// onlyHealth answers whether this server is well, and nothing else.
func onlyHealth(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// rootFiles gives those of roots that may vouch for an image.
func rootFiles(roots []*trust.Root) func(name string) []engine.RootFile {
	return func(name string) []engine.RootFile {
		var files []engine.RootFile
		for _, r := range roots {
			if !r.Covers(name) {
				continue
			}
			req := r.Requires()
			files = append(files, engine.RootFile{Name: r.Name(), Body: r.Bytes(), SCT: req.SCT, Log: req.Log, Timestamp: req.Timestamp})
		}
		return files
	}
}
