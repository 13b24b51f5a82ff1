package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/store"
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
	admin, err := newAdministration(f, st, &preparedPolicies{}, nil, log)
	if err != nil {
		done()
		return nil, nil, err
	}
	again, err := localPreviews(f, st, admin, log)
	if err != nil {
		done()
		return nil, nil, err
	}
	face, err := api.New(api.Config{
		Decider: undecided{}, Verdicts: history{st}, Past: pastVerdicts{st, again.inForce, again.engine}, Previews: again, Workbench: newWorkbench(f), Events: happened{store: st},
		Administration: admin, ImageName: referenceName, Build: build(), Log: log,
	})
	if err != nil {
		done()
		return nil, nil, err
	}
	return asOwner(face), done, nil
}

// localPreviews decides under what the store has. Nothing is compiled before it is
// asked for.
func localPreviews(f config.File, st *store.Store, admin *administration.Service, log *slog.Logger) (*previewer, error) {
	in := newInForce(inForceConfig{file: f, store: st, log: slog.New(slog.DiscardHandler)})
	e, err := engine.New(engine.Config{
		Source: registrySource{}, Current: in.current, Limits: f.Limits, MaxStaleness: durationOf(f.MaxStaleness), Build: build(), Log: log,
	})
	return &previewer{inForce: in, admin: admin, engine: e}, err
}

// undecided is the engine of an API that only administers: nothing is in force in
// this process.
type undecided struct{}

func (undecided) Current(context.Context) (*engine.State, error) { return &engine.State{}, nil }

func (undecided) Decide(context.Context, *engine.State, engine.Request) (engine.Answer, error) {
	return engine.Answer{}, fmt.Errorf("%w: verdicts are given by a server, and by signet verify", engine.ErrInvalid)
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
