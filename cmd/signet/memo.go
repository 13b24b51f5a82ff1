package main

import (
	"context"
	"time"

	"github.com/signet-policy/signet/internal/cache"
)

// memo keeps the outcome of verifying one item until it is evicted: it is keyed
// by everything that went in.
type memo struct{ cache *cache.Cache }

const (
	purposeVerified = "verified"
	memoAge         = 30 * 24 * time.Hour
	// memoTime bounds waiting for the shared cache; it has a bound of its own too.
	memoTime = time.Second
)

func (m memo) Get(key [32]byte) ([]byte, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), memoTime)
	defer cancel()
	value, _, _, ok := m.cache.Get(ctx, purposeVerified, key, time.Now())
	return value, ok
}

func (m memo) Put(key [32]byte, value []byte) {
	m.cache.Put(context.Background(), purposeVerified, key, value, time.Now().Add(memoAge))
}
