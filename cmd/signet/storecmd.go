package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/signet-policy/signet/internal/store"
)

type migrateCmd struct {
	Up     migrateUpCmd     `cmd:"" help:"Bring the store's schema up to date, making the store where there is none."`
	Status migrateStatusCmd `cmd:"" help:"Show the store's schema and what is pending; exit 1 where something is."`
}

type migrateUpCmd struct{ commonFlags }

// Run migrates; a server on the same SQLite file must be stopped first.
func (c migrateUpCmd) Run(ctx context.Context, std streams) error {
	cfg, err := c.store()
	if err != nil {
		return err
	}
	from, to, err := store.Migrate(ctx, cfg)
	if err != nil {
		return err
	}
	if from == to {
		fmt.Fprintf(std.out, "The schema is at %d, the newest.\n", to)
		return nil
	}
	fmt.Fprintf(std.out, "The schema went from %d to %d.\n", from, to)
	return nil
}

type migrateStatusCmd struct{ commonFlags }

// Run changes nothing.
func (c migrateStatusCmd) Run(ctx context.Context, std streams) error {
	cfg, err := c.store()
	if err != nil {
		return err
	}
	have, want, pending, err := store.SchemaStatus(ctx, cfg)
	if err != nil && !errors.Is(err, store.ErrNoStore) {
		return err
	}
	fmt.Fprintf(std.out, "schema  %d\nnewest  %d\n", have, want)
	for _, name := range pending {
		fmt.Fprintf(std.out, "pending %s\n", name)
	}
	switch {
	case have > want:
		return fmt.Errorf("the store was written by a newer version of signet: use that one")
	case have < want:
		return &exit{code: exitDeny}
	}
	return nil
}

// store is where the configuration says that the store is.
func (c commonFlags) store() (store.Config, error) {
	f, err := c.load(sourceFlags{})
	if err != nil {
		return store.Config{}, err
	}
	return storeConfig(f)
}

type backupCmd struct {
	commonFlags
	File string `arg:"" help:"File to write, which must not be there yet; - for stdout." type:"path"`
}

// Run writes everything that the store has, as of one moment, while a server
// may be running.
func (c backupCmd) Run(ctx context.Context, std streams) error {
	cfg, err := c.store()
	if err != nil {
		return err
	}
	cfg.ReadOnly = true
	st, err := store.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }()
	if filepath.Base(c.File) == "-" {
		return st.Backup(ctx, std.out)
	}
	if err := writeNew(c.File, func(w io.Writer) error { return st.Backup(ctx, w) }); err != nil {
		return err
	}
	fmt.Fprintf(std.err, "signet: the backup holds the installation's secret; keep it as you keep keys\n")
	return nil
}

// writeNew makes a file for its owner alone. What is half written goes.
func writeNew(path string, write func(io.Writer) error) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the caller names the file
	if errors.Is(err, os.ErrExist) {
		return usage("%s is there already; name a file that is not", path)
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(path)
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

type restoreCmd struct {
	commonFlags
	File string `arg:"" help:"Backup to read; - for stdin." type:"path"`
}

// Run reads a backup into a store that is empty, of either kind: all of it, or
// nothing.
func (c restoreCmd) Run(ctx context.Context, std streams) error {
	cfg, err := c.store()
	if err != nil {
		return err
	}
	in := io.Reader(os.Stdin)
	if filepath.Base(c.File) != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return usage("%w", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	err = store.Restore(ctx, cfg, in)
	switch {
	case errors.Is(err, store.ErrInvalid), errors.Is(err, store.ErrConflict):
		return &exit{code: exitUsage, err: err} // another file, or another place
	case err != nil:
		return err
	}
	where := cfg.DataDir
	if cfg.URL != "" {
		where = "the database"
	}
	fmt.Fprintf(std.err, "signet: %s holds what the backup held\n", strings.TrimSuffix(where, "/"))
	return nil
}
