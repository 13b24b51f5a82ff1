package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
)

// localAPI is the API on the store of f, without a server, for the owner of the
// store; done closes it. A store that a server holds is a *store.InUseError.
func localAPI(ctx context.Context, f config.File) (handler http.Handler, done func(), err error) {
	st, err := openStoreOnce(ctx, f)
	if err != nil {
		return nil, nil, err
	}
	done = func() { _ = st.Close() }
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	admin, err := newAdministration(f, st, log)
	if err != nil {
		done()
		return nil, nil, err
	}
	states := newInForce(inForceConfig{file: f, store: st, log: log})
	again, err := engine.New(engine.Config{
		Source: unasked{}, Current: states.current, Build: build(), Limits: f.Limits, MaxStaleness: durationOf(f.MaxStaleness), Log: log,
	})
	if err != nil {
		done()
		return nil, nil, err
	}
	previews := &previewer{inForce: states, admin: admin, engine: again}
	face, err := api.New(api.Config{
		Decider: undecided{}, Verdicts: history{st}, Past: pastVerdicts{st, states, again}, Administration: admin, Previews: previews, Build: build(), Log: log,
	})
	if err != nil {
		done()
		return nil, nil, err
	}
	return asOwner(face), done, nil
}

// undecided is the engine of an API that only administers: nothing is in force in
// this process.
type undecided struct{}

func (undecided) Current(context.Context) (*engine.State, error) { return &engine.State{}, nil }

func (undecided) Decide(context.Context, *engine.State, engine.Request) (engine.Answer, error) {
	return engine.Answer{}, fmt.Errorf("%w: verdicts are given by a server, and by signet verify", engine.ErrInvalid)
}

// unasked is the images of an engine that only decides again.
type unasked struct{}

var errUnasked = errors.New("no registry is asked here")

func (unasked) Parse(string) (engine.Asked, error) { return engine.Asked{}, errUnasked }

func (unasked) Resolve(context.Context, evidence.Query) (facts.Subject, error) {
	return facts.Subject{}, errUnasked
}

func (unasked) Collect(context.Context, facts.Subject, evidence.Query) (evidence.Found, error) {
	return evidence.Found{}, errUnasked
}

// asOwner answers every request as one of the store's owner. Who can open the
// control socket, or the store itself, could as well change the files.
func asOwner(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(api.WithPrincipal(r.Context(), commandLinePrincipal()))
		r.RemoteAddr = "cli" // where it comes from, in the audit log; a Unix socket has no address
		handler.ServeHTTP(w, r)
	})
}
