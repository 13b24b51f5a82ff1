package store_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContractSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T, now func() time.Time) storetest.Opened {
		dir := t.TempDir()
		open := func(readOnly bool) *store.Store {
			s, err := store.Open(t.Context(), store.Config{DataDir: dir, ReadOnly: readOnly, Now: now})
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
		return storetest.Opened{Store: open(false), Reader: open(true)}
	})
}
