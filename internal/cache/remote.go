package cache

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/singleflight"
)

const (
	// queueLength and queueBytes bound what waits to be written to Redis.
	queueLength = 1024
	queueBytes  = 16 << 20
	// batchLength and batchBytes bound what one round trip writes.
	batchLength = 64
	batchBytes  = 1 << 20
	// drainTime bounds how long Close waits for what is still queued.
	drainTime = time.Second
)

// remote is the tier in Redis. Whatever goes wrong with it is a miss: no method
// that Get or Put uses returns an error.
type remote struct {
	client   redis.UniversalClient
	timeout  time.Duration
	prefix   string
	purposes []string // nil: every purpose
	build    string
	maxValue int
	// secret is the key of the MAC; the pointer tells one generation from the next.
	secret  atomic.Pointer[[32]byte]
	breaker breaker
	flights singleflight.Group

	jobs    chan job
	queued  atomic.Int64  // bytes in jobs
	stop    chan struct{} // closed by close: write what is left, for at most drain
	drain   time.Duration
	working context.Context
	abort   context.CancelFunc // ends working: leave what is left
	worker  sync.WaitGroup
	closing sync.RWMutex // guards closed, and running from growing after it
	closed  bool
	running sync.WaitGroup // calls under way

	hits, misses, errors, skipped, written, dropped atomic.Uint64
	rejected                                        [reasonCount]atomic.Uint64
}

// job is one value to write; without value, what is there is removed.
type job struct {
	purpose string
	sum     [32]byte
	value   []byte
	expiry  time.Time
	// secret is the one in force when the value was put: a value from before a
	// rotation must not come back under the new key.
	secret *[32]byte
}

func newRemote(cfg Config) (*remote, error) {
	rc, err := cfg.Redis.withDefaults()
	if err != nil {
		return nil, err
	}
	switch {
	case cfg.Key == [32]byte{}:
		return nil, errors.New("with Redis, Key is needed")
	case cfg.Build == "" || len(cfg.Build) > maxName:
		return nil, fmt.Errorf("with Redis, Build is needed, of at most %d bytes", maxName)
	}
	client, err := newClient(rc)
	if err != nil {
		return nil, err
	}
	r := &remote{
		client: client, timeout: rc.Timeout, prefix: fmt.Sprintf("%s%d:", rc.Prefix, formatVersion),
		purposes: cfg.Remote, build: cfg.Build, maxValue: cfg.MaxRemoteValue,
		breaker: breaker{log: cfg.Log, pause: breakerPause}, drain: drainTime,
		jobs: make(chan job, queueLength), stop: make(chan struct{}),
	}
	r.working, r.abort = context.WithCancel(context.Background())
	r.secret.Store(&cfg.Key)
	r.worker.Go(r.write)
	return r, nil
}

// wants says whether values of a purpose go to Redis.
func (r *remote) wants(purpose string) bool {
	return len(purpose) <= maxName && (r.purposes == nil || slices.Contains(r.purposes, purpose))
}

func (r *remote) name(purpose string, sum [32]byte) string {
	return r.prefix + purpose + ":" + hex.EncodeToString(sum[:])
}

// found is what one lookup gave.
type found struct {
	value  []byte
	expiry time.Time
	secret *[32]byte // under which it was checked
}

// get looks a value up. Callers who want the same value at the same time share
// one call, and one of them leaving does not hurt the rest.
func (r *remote) get(ctx context.Context, purpose string, sum [32]byte, now time.Time) (found, bool) {
	if !r.wants(purpose) {
		return found{}, false
	}
	flight := r.flights.DoChan(purpose+string(sum[:]), func() (any, error) {
		return r.fetch(context.WithoutCancel(ctx), purpose, sum, now), nil
	})
	select {
	case <-ctx.Done():
		return found{}, false
	case got := <-flight:
		f, ok := got.Val.(found)
		// Another's flight may have begun before this caller's now, or before the
		// secret was changed.
		return f, ok && f.value != nil && now.Before(f.expiry) && f.secret == r.secret.Load()
	}
}

func (r *remote) fetch(ctx context.Context, purpose string, sum [32]byte, now time.Time) found {
	if !r.enter() {
		return found{}
	}
	defer r.running.Done()
	if !r.breaker.allow() {
		r.skipped.Add(1)
		return found{}
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	// Never more than a value of ours can have, whatever somebody put there.
	limit := r.maxValue + maxOverhead
	var frame []byte
	err := guard(func() (err error) {
		frame, err = r.client.GetRange(ctx, r.name(purpose, sum), 0, int64(limit)).Bytes()
		return err
	})
	wrongType := redis.HasErrorPrefix(err, "WRONGTYPE")
	if wrongType {
		err = nil // of one key: the server works
	}
	r.breaker.report(err)
	if err != nil {
		r.errors.Add(1)
		return found{}
	}
	secret := r.secret.Load()
	var value []byte
	var expiry time.Time
	var why reason
	switch {
	case wrongType:
		why = rejectType
	case len(frame) == 0: // GETRANGE gives this for what is not there
		r.misses.Add(1)
		return found{}
	case len(frame) > limit:
		why = rejectOversize
	default:
		value, expiry, why = open(secret, label{purpose, sum, r.build}, now, frame)
	}
	if why != accepted {
		r.rejected[why].Add(1)
		return found{}
	}
	r.hits.Add(1)
	return found{value, expiry, secret}
}

// put queues a value. What finds the queue full is dropped and counted: a caller
// never waits for Redis to take something.
func (r *remote) put(purpose string, sum [32]byte, value []byte, expiry time.Time) {
	if !r.wants(purpose) {
		return
	}
	if value == nil {
		value = []byte{}
	}
	if len(value) > r.maxValue {
		value = nil // too large, and the one before must not come back
	}
	r.queue(job{purpose: purpose, sum: sum, value: value, expiry: expiry, secret: r.secret.Load()})
}

// remove queues the removal of a value.
func (r *remote) remove(purpose string, sum [32]byte) {
	if r.wants(purpose) {
		r.queue(job{purpose: purpose, sum: sum})
	}
}

func (r *remote) queue(j job) {
	r.closing.RLock()
	defer r.closing.RUnlock()
	size := int64(len(j.value))
	if r.closed || r.queued.Add(size) > queueBytes {
		if !r.closed {
			r.queued.Add(-size)
		}
		r.dropped.Add(1)
		return
	}
	select {
	case r.jobs <- j:
	default:
		r.queued.Add(-size)
		r.dropped.Add(1)
	}
}

// write is the one goroutine that writes, so that two values of one key arrive in
// the order in which they were put.
func (r *remote) write() {
	for {
		select {
		case j := <-r.jobs:
			r.flush(j)
		case <-r.stop:
			for {
				select {
				case j := <-r.jobs:
					r.flush(j)
				default:
					return
				}
			}
		}
	}
}

// flush writes a job, and those that wait behind it, in one round trip.
func (r *remote) flush(first job) {
	batch, size := []job{first}, len(first.value)
more:
	for len(batch) < batchLength && size < batchBytes {
		select {
		case j := <-r.jobs:
			batch, size = append(batch, j), size+len(j.value)
		default:
			break more
		}
	}
	r.queued.Add(-int64(size))
	if r.working.Err() != nil || !r.breaker.allow() {
		r.dropped.Add(uint64(len(batch)))
		return
	}
	ctx, cancel := context.WithTimeout(r.working, r.timeout)
	defer cancel()
	var done []redis.Cmder
	err := guard(func() (err error) {
		done, err = r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, j := range batch {
				name := r.name(j.purpose, j.sum)
				if j.value == nil {
					p.Del(ctx, name)
					continue
				}
				frame := seal(j.secret, label{j.purpose, j.sum, r.build}, j.value, j.expiry)
				p.Do(ctx, "set", name, frame, "pxat", j.expiry.UnixMilli()) // rounded down
			}
			return nil
		})
		return err
	})
	failed := uint64(0)
	for _, cmd := range done {
		if cmd.Err() != nil {
			failed++
		}
	}
	reply := redis.Error(nil)
	switch {
	case err != nil && failed == 0: // there was no connection for a command to fail on
		failed = uint64(len(batch))
	case failed < uint64(len(batch)):
		err = nil // the rest of the cluster works
	case errors.As(err, &reply) && !redis.IsAuthError(err):
		err = nil // a server that refuses to write (full, read-only) may well be read
	}
	r.errors.Add(failed)
	r.written.Add(uint64(len(batch)) - failed)
	r.breaker.report(err)
}

// ping asks Redis whether it is there, whatever the breaker says, and tells it.
func (r *remote) ping(ctx context.Context) error {
	if !r.enter() {
		return errors.New("redis: the cache is closed")
	}
	defer r.running.Done()
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	err := guard(func() error { return r.client.Ping(ctx).Err() })
	r.breaker.report(err)
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	return nil
}

// guard turns a panic into an error: the library takes sizes from what the server
// says, and a server that lies must not end the process.
func guard(call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the redis library panicked: %v", p)
		}
	}()
	return call()
}

// enter begins a call; false when the cache is closed. Who entered calls
// running.Done.
func (r *remote) enter() bool {
	r.closing.RLock()
	defer r.closing.RUnlock()
	if r.closed {
		return false
	}
	r.running.Add(1)
	return true
}

// close writes what is queued, for at most drain and the round trip that is then
// under way, and lets the server go.
func (r *remote) close() {
	r.closing.Lock()
	was := r.closed
	r.closed = true
	r.closing.Unlock()
	if was {
		return
	}
	close(r.stop)
	late := time.AfterFunc(r.drain, r.abort)
	r.worker.Wait()
	late.Stop()
	r.abort()
	r.running.Wait()
	if err := r.client.Close(); err != nil {
		r.breaker.log.Debug("closing the Redis client", "error", err.Error())
	}
}

func (r *remote) stats() RedisStats {
	s := RedisStats{
		Configured: true, Hits: r.hits.Load(), Misses: r.misses.Load(), Errors: r.errors.Load(), Skipped: r.skipped.Load(),
		Written: r.written.Load(), Dropped: r.dropped.Load(), Queued: len(r.jobs), Breaker: r.breaker.state(),
		Rejected: make(map[string]uint64, reasonCount-1),
	}
	for why := accepted + 1; why < reasonCount; why++ {
		s.Rejected[why.name()] = r.rejected[why].Load()
	}
	return s
}

// discard is the logger of a configuration without one.
func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
