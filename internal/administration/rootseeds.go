package administration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/trust"
)

// RootSeed is a trust root that the server brings: from its configuration, or
// embedded.
type RootSeed struct {
	// Root has the name, the bytes and what is required.
	Root *trust.Root
	// Embedded: else it is the configuration's.
	Embedded bool
	// Images are globs of the images that it may vouch for; none: all.
	Images []string
	// TUFURL, Target and TUFRoot (the first root.json) say where it is refreshed
	// from; "" for a root that is not.
	TUFURL, Target string
	TUFRoot        []byte
	// Since is when it was known to be current; zero with no TUFURL.
	Since time.Time
	// AllowOlder lets it take the place of a newer root of its name.
	AllowOlder bool
}

// sameOrigin says whether a kept root is of the repository, and of the file in
// it, that the seed names. Which first root.json an embedded root comes with
// changes with the program; in a configuration another one is another repository.
func (s RootSeed) sameOrigin(row store.RootRow, metadata map[string][]byte) bool {
	return s.TUFURL != "" && row.TUFURL == s.TUFURL && cmp.Or(row.Target, trust.DefaultTarget) == cmp.Or(s.Target, trust.DefaultTarget) &&
		(s.Embedded || trust.BeginsWith(metadata, s.TUFRoot))
}

// KeptRoot is what the store has of the root that a seed names, and when that was
// refreshed; nil for a root of another origin, and for none. The seed needs no
// Root for it.
func KeptRoot(ctx context.Context, st *store.Store, name string, seed RootSeed) (*trust.Root, time.Time, error) {
	row, err := st.Root(ctx, name)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && row.RefreshedAt == nil:
		return nil, time.Time{}, nil
	case err != nil:
		return nil, time.Time{}, err
	}
	metadata, err := loadMetadata(ctx, st, row)
	if err != nil || !seed.sameOrigin(row, metadata) {
		return nil, time.Time{}, err
	}
	root, err := loadRoot(ctx, st, row)
	return root, *row.RefreshedAt, err
}

// keptRoot is a root of the server's with what its row names.
type keptRoot struct {
	row      store.RootRow
	root     *trust.Root
	metadata map[string][]byte
}

// SeedRoots makes the roots that the server brings exactly these, in this order,
// in one change; what the API has put stays. A root that was refreshed to
// something that is not older than its seed stays as it is. A server calls it
// when it starts. A name that the API has taken is [ErrConflict], and so is a root
// that is older than the one of its name in use: another server, whose files are
// newer, may have brought that.
func (s *Service) SeedRoots(ctx context.Context, seeds []RootSeed) error {
	const attempts = 5 // replicas that start together bring the same roots
	for attempt := 1; ; attempt++ {
		kept, err := s.keptRoots(ctx)
		if err != nil {
			return err
		}
		_, err = s.store.Change(ctx, store.Actor{Name: "server", From: "configuration"}, "start of the server", func(tx *store.Tx) error {
			return seedRoots(ctx, tx, seeds, kept)
		})
		if !errors.Is(err, ErrStale) || attempt == attempts {
			return err
		}
	}
}

// keptRoots reads all roots before a change: the bytes are not read within it.
func (s *Service) keptRoots(ctx context.Context) (map[string]keptRoot, error) {
	rows, err := s.store.Roots(ctx)
	if err != nil {
		return nil, err
	}
	kept := map[string]keptRoot{}
	for _, row := range rows {
		if kept[row.Name], err = readKept(ctx, s.store, row); err != nil {
			return nil, err
		}
	}
	return kept, nil
}

func readKept(ctx context.Context, st *store.Store, row store.RootRow) (keptRoot, error) {
	root, err := loadRoot(ctx, st, row)
	if err != nil {
		return keptRoot{}, err
	}
	metadata, err := loadMetadata(ctx, st, row)
	return keptRoot{row, root, metadata}, err
}

// unchangedRoots makes sure, within a change, that the roots are those that were
// read.
func unchangedRoots(ctx context.Context, tx *store.Tx, kept map[string]keptRoot) ([]store.RootRow, error) {
	all, err := tx.Roots(ctx)
	if err != nil {
		return nil, err
	}
	same := len(all) == len(kept)
	for _, row := range all {
		k, ok := kept[row.Name]
		same = same && ok && k.row.Version == row.Version && k.row.CreatedAt.Equal(row.CreatedAt)
	}
	if !same {
		return nil, refuse(ErrStale, "the trust roots were changed meanwhile; try again")
	}
	return all, nil
}

func seedRoots(ctx context.Context, tx *store.Tx, seeds []RootSeed, kept map[string]keptRoot) error {
	all, err := unchangedRoots(ctx, tx, kept)
	if err != nil {
		return err
	}
	brought := map[string]bool{}
	for i, seed := range seeds {
		name := seed.Root.Name()
		if brought[name] {
			return refuse(ErrConflict, "trust root %q is named twice in the configuration", name)
		}
		brought[name] = true
		if err := seedRoot(ctx, tx, i, seed, kept[name]); err != nil {
			return err
		}
	}
	for _, row := range all {
		if !brought[row.Name] && row.Source != sourceAPI {
			if err := tx.DeleteRoot(ctx, row.Name, row.Version); err != nil {
				return err
			}
		}
	}
	return nil
}

// seedRoot brings one root. old is the zero value for a new one.
func seedRoot(ctx context.Context, tx *store.Tx, position int, seed RootSeed, old keptRoot) error {
	name := seed.Root.Name()
	if old.row.Source == sourceAPI {
		return refuse(ErrConflict, "trust root %q of the configuration: an administrator has put one of this name; give it another name, or remove that one (signet trust remove %s)", name, name)
	}
	row := store.RootRow{
		Name: name, Source: sourceConfiguration, Position: position, Kind: kindFile,
		Images: orEmpty(seed.Images), Version: old.row.Version, CreatedAt: old.row.CreatedAt,
	}
	if seed.Embedded {
		row.Source = sourceEmbedded
	}
	seed, err := seed.over(old)
	if err != nil {
		return err
	}
	var metadata map[string][]byte
	if seed.TUFURL != "" {
		since := seed.Since.UTC()
		row.Kind, row.TUFURL, row.Target, row.RefreshedAt = kindTUF, seed.TUFURL, seed.Target, &since
		metadata = trust.FirstMetadata(seed.TUFRoot)
	}
	if seed.sameOrigin(old.row, old.metadata) {
		metadata = old.metadata
	}
	_, err = putRoot(ctx, tx, row, seed.Root, metadata)
	return err
}

// over is the seed as it is in force where old was: with what a root of the same
// origin was refreshed to, unless that is older. Where the seed's own is older
// than what it takes the place of, that is [ErrConflict].
func (s RootSeed) over(old keptRoot) (RootSeed, error) {
	if old.root == nil {
		return s, nil
	}
	name := s.Root.Name()
	if s.sameOrigin(old.row, old.metadata) {
		if older, _ := trust.Older(old.root, s.Root); !older {
			req := s.Root.Requires()
			var err error
			if s.Root, err = trust.Parse(name, old.root.Bytes(), &req); err != nil {
				return s, fmt.Errorf("trust root %q, as it was refreshed: %w", name, err)
			}
		}
		if at := old.row.RefreshedAt; at != nil && at.After(s.Since) {
			s.Since = *at
		}
	}
	if older, why := trust.Older(s.Root, old.root); older && !s.AllowOlder {
		return s, &refusal{kind: errors.Join(ErrConflict, trust.ErrOlder), text: fmt.Sprintf(
			"trust root %q of the configuration is older than the one in use, which an earlier start or another server brought: %s; "+
				"bring the newer one here too, or set allow_older: true for it if going back is meant", name, why)}
	}
	return s, nil
}

// SeedOver is a seed as a server on the store that starts with it has it in force.
func SeedOver(ctx context.Context, st *store.Store, seed RootSeed) (RootSeed, error) {
	row, err := st.Root(ctx, seed.Root.Name())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return seed, nil
	case err != nil:
		return seed, err
	}
	old, err := readKept(ctx, st, row)
	if err != nil {
		return seed, err
	}
	return seed.over(old)
}
