package store_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/store/storetest"
	"github.com/signet-policy/signet/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContractSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T, now func() time.Time) storetest.Opened {
		cfg := store.Config{DataDir: storetest.Fresh(t), Now: now}
		return storetest.Opened{Store: open(t, cfg), Reader: reader(t, cfg)}
	})
}

func TestContractPostgreSQL(t *testing.T) {
	database := pgtest.Database(t)
	storetest.Run(t, func(t *testing.T, now func() time.Time) storetest.Opened {
		cfg := store.Config{URL: pgtest.Schema(t, database), Migrate: true, Now: now}
		return storetest.Opened{Store: open(t, cfg), Reader: reader(t, cfg)}
	})
}

func reader(t *testing.T, cfg store.Config) *store.Store {
	t.Helper()
	cfg.ReadOnly = true
	return open(t, cfg)
}

// open opens a store and closes it when the test ends.
func open(t *testing.T, cfg store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
