package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/pep/mcp"
	"github.com/signet-policy/signet/internal/store"
)

type pluginCmd struct {
	remoteFlags
	sourceFlags
	policyFlags
	Stdio   bool   `help:"Speak MCP on standard input and output, as a gateway starts a plugin."`
	Plugins string `help:"Plugin file of the gateway; not with --server, whose own counts." placeholder:"FILE" type:"path"`
}

// mostAtOnce is how many messages are answered side by side.
const mostAtOnce = 32

// Run answers the messages on standard input until it ends.
func (c pluginCmd) Run(ctx context.Context, std streams) error {
	if !c.Stdio {
		return usage("plugin: give --stdio; over HTTP a server answers at /mcp: signet serve --plugins FILE")
	}
	ask, done, err := c.reach(ctx, std)
	if err != nil {
		return err
	}
	defer done()
	defer context.AfterFunc(ctx, func() { _ = os.Stdin.Close() })()
	if err := relay(ctx, os.Stdin, std.out, ask); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// reach finds who answers: the server at --server, else the one that holds the data
// directory, else this process, on the store itself.
func (c pluginCmd) reach(ctx context.Context, std streams) (ask func(context.Context, []byte) ([]byte, error), done func(), err error) {
	if c.Server != "" {
		if c.Plugins != "" {
			return nil, nil, usage("--plugins: the server at --server has a plugin file of its own")
		}
		token, err := c.token()
		if err != nil {
			return nil, nil, err
		}
		api, err := c.dial(token)
		if err != nil {
			return nil, nil, err
		}
		return api.MCP, func() {}, nil
	}
	if err := c.policyFlags.check(); err != nil {
		return nil, nil, err
	}
	f, err := c.load(c.sourceFlags)
	if err != nil {
		return nil, nil, err
	}
	if c.Plugins != "" {
		f.MCP.Plugins = c.Plugins
	}
	keys, err := readKeys(c.Key)
	if err != nil {
		return nil, nil, err
	}
	var own *server
	transport, done, err := localTransport(ctx, f.DataDir, func() (http.Handler, func(), error) {
		sp, source, err := choosePolicy(f, c.policyFlags, keys)
		if err != nil {
			return nil, nil, err
		}
		own, err = newServer(ctx, std, serverParts{
			file: f, policy: sp, source: source, keys: keys, quiet: true,
			roots: func(ctx context.Context, st *store.Store) ([]administration.RootSeed, error) {
				return seedRoots(ctx, f, c.TrustedRoot, st)
			},
		})
		if err != nil {
			return nil, nil, err
		}
		return asOwner(own.api), own.close, nil
	})
	if err != nil {
		return nil, nil, err
	}
	if own == nil && c.Plugins != "" {
		done()
		return nil, nil, usage("--plugins: a server holds %s, and has a plugin file of its own; leave it out", f.DataDir)
	}
	api, err := newLocalClient(transport)
	if err != nil {
		done()
		return nil, nil, err
	}
	if own == nil {
		return api.MCP, done, nil
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	kept := make(chan struct{})
	go func() { defer close(kept); own.upkeep.run(background) }()
	release := done
	return api.MCP, func() { cancel(); <-kept; release() }, nil
}

// relay answers each line, side by side: a message that takes long holds up no
// other. An end of the input lets those under way finish.
func relay(ctx context.Context, in io.Reader, out io.Writer, ask func(context.Context, []byte) ([]byte, error)) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), mcpBody)
	var (
		mu   sync.Mutex
		work sync.WaitGroup
		room = make(chan struct{}, mostAtOnce)
	)
	for lines.Scan() {
		line := bytes.TrimSpace(bytes.Clone(lines.Bytes()))
		if len(line) == 0 {
			continue
		}
		room <- struct{}{}
		work.Go(func() {
			defer func() { <-room }()
			answer, err := ask(ctx, line)
			if err != nil {
				answer = mcp.Unreachable(line)
			}
			if len(answer) == 0 {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			_, _ = out.Write(append(bytes.TrimSpace(answer), '\n')) // the gateway is gone when this fails
		})
	}
	work.Wait()
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading standard input: %w", err)
	}
	return nil
}
