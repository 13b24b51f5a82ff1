package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/pep"
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

// asFace puts an MCP server behind the API's authentication. It answers in its own
// words too when it could not be found out who asks, or what is in force.
func asFace(s *mcp.Server, core *pep.Core) pep.Face {
	return pep.Face{Protocol: "mcp", Routes: []pep.Route{{
		Method: http.MethodPost, Path: mcpPath, Body: true, Limit: mcpBody,
		Serve: func(ctx context.Context, r *pep.Request) pep.Reply {
			asker := &mcpAsker{core: core, request: r}
			status, body := s.Handle(ctx, asker, r.Body)
			out := mcpReply(status, body)
			out.Given = asker.given
			return out
		},
		Fail: func(r *pep.Request, f pep.Failure) pep.Reply {
			// Nobody who was only turned away for asking too often may take that for a pass: a
			// gateway passes over what HTTP says.
			if (f.Undecided() || f.Status == http.StatusTooManyRequests) && len(r.Body) > 0 {
				return mcpReply(s.Handle(r.HTTP.Context(), mcpUnavailable{f}, r.Body))
			}
			body, err := json.Marshal(map[string]string{"error": f.Code, "detail": f.Detail})
			if err != nil { // strings always encode
				body = nil
			}
			return pep.Reply{Status: f.Status, ContentType: "application/json", Body: body, RetryAfter: f.RetryAfter}
		},
	}}}
}

func mcpReply(status int, body []byte) pep.Reply {
	if body == nil {
		return pep.Reply{Status: status}
	}
	return pep.Reply{Status: status, ContentType: "application/json", Body: body}
}

// mcpAsker asks the core for an MCP gateway.
type mcpAsker struct {
	core    *pep.Core
	request *pep.Request
	given   []pep.Given
	asked   int
}

// mcpPatience is longer than the engine's own limit: the face has a deadline of its own.
const mcpPatience = time.Minute

func (a *mcpAsker) Decide(ctx context.Context, q mcp.Question) (mcp.Answer, error) {
	// The request itself was the first question; a batch of messages asks more.
	if a.asked++; a.asked > 1 {
		if refused := a.request.Admit(1); refused != nil {
			return mcp.Answer{}, errors.New(refused.Detail)
		}
	}
	ans, err := a.core.Ask(ctx, pep.Question{
		Image: q.Image, Platform: q.Platform, Context: q.Context, AssessmentID: q.AssessmentID,
		Principal: a.request.Principal, RequestID: a.request.ID,
	}, mcpPatience)
	var refused *pep.Mistake
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
	// The core says what it is, the bytes say why.
	if v.Decision != client.Decision(ans.Verdict.Decision) || v.Allowed != ans.Allowed {
		return mcp.Answer{}, errors.New("a verdict and its answer differ")
	}
	a.given = append(a.given, pep.Given{Decision: ans.Verdict.Decision, From: ans.From})
	return mcp.Answer{Verdict: v}, nil
}

// mcpUnavailable decides nothing.
type mcpUnavailable struct{ failure pep.Failure }

func (u mcpUnavailable) Decide(context.Context, mcp.Question) (mcp.Answer, error) {
	if !u.failure.Undecided() {
		return mcp.Answer{}, errors.New(u.failure.Detail)
	}
	return mcp.Answer{}, errors.New(u.failure.Reason().Message)
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
