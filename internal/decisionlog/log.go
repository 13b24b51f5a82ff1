package decisionlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of [Config].
const (
	DefaultBufferBytes = 32 << 20
	DefaultMaskTime    = time.Second
)

// Config of a [Log]. File or HTTP is needed.
type Config struct {
	// Labels stand in every event: OPA's id and version, and one's own.
	Labels map[string]string
	// File and HTTP are where events go; nil: not there.
	File *FileConfig
	HTTP *HTTPConfig
	// Mask decides what of an event is left out. Nil: nothing.
	Mask MaskFunc
	// MaskTime bounds one call of Mask (1 s).
	MaskTime time.Duration
	// BufferBytes bounds what waits to be written, as held in memory (32 MiB).
	BufferBytes int64
	// Log is told when writing begins to fail, and when it works again.
	Log *slog.Logger
}

// Reasons why events are not in the log; those of [Log.Dropped].
const (
	// DroppedBuffer: they came faster than they could be masked and written.
	DroppedBuffer = "buffer_size_limit_bytes_exceeded"
	// DroppedFile: the file could not be written.
	DroppedFile = "file"
	// DroppedRate: reporting.max_decisions_per_second.
	DroppedRate = "rate_limit_exceeded"
	// DroppedUpload: the endpoint did not take them in time, and the chunks that
	// wait had no more room.
	DroppedUpload = "upload_buffer_size_limit_bytes_exceeded"
	// DroppedSize: one event alone is larger than a chunk may be.
	DroppedSize = "upload_size_limit_bytes_exceeded"
)

// DropReasons lists them all.
func DropReasons() []string {
	return []string{DroppedBuffer, DroppedFile, DroppedRate, DroppedUpload, DroppedSize}
}

// Log is a decision log. It is safe for concurrent use.
type Log struct {
	cfg    Config
	labels json.RawMessage

	mu     sync.Mutex
	queue  []item
	head   int // of queue; what is before was taken
	bytes  int64
	asleep bool
	closed bool
	wake   chan struct{}
	done   chan struct{}

	counts   *counts
	requests uint64 // of the worker
	bundles  map[string]json.RawMessage
	buf      []byte // lines for the file
	parts    []byte // of the event at hand
	encoded  []byte // the event at hand, for the endpoint

	file   *file
	upload *uploader
}

// item is one event that waits.
type item struct {
	decision Decision
	other    *Event
	size     int64
}

// counts tells what became of events.
type counts struct {
	written, maskFailures atomic.Int64
	dropped               map[string]*atomic.Int64 // by reason; the map is never changed

	mu   sync.Mutex
	at   time.Time // of the last drop
	why  string
	last error // the mask's last failure
}

func newCounts() *counts {
	c := &counts{dropped: map[string]*atomic.Int64{}}
	for _, reason := range DropReasons() {
		c.dropped[reason] = &atomic.Int64{}
	}
	return c
}

func (c *counts) drop(reason string, n int) {
	if n == 0 {
		return
	}
	c.dropped[reason].Add(int64(n))
	c.mu.Lock()
	c.at, c.why = time.Now(), reason
	c.mu.Unlock()
}

const (
	// itemOverhead is what an event takes in memory beside its bytes.
	itemOverhead = 512
	// mostTaken is how many events are taken out of the queue at once.
	mostTaken = 512
	// pause lets events gather, so that many are written with one call: they are in
	// the file that much later.
	pause = 50 * time.Millisecond
	// mostBundles bounds the verdicts whose bundles are remembered.
	mostBundles = 1024
)

// New opens the file, and begins. The caller closes the log.
func New(cfg Config) (*Log, error) {
	if cfg.File == nil && cfg.HTTP == nil {
		return nil, errors.New("decision log: there is neither a file nor an endpoint to write to")
	}
	if cfg.BufferBytes <= 0 {
		cfg.BufferBytes = DefaultBufferBytes
	}
	if cfg.MaskTime <= 0 {
		cfg.MaskTime = DefaultMaskTime
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	labels, err := json.Marshal(cfg.Labels)
	if err != nil {
		return nil, fmt.Errorf("decision log: labels: %w", err)
	}
	l := &Log{
		cfg: cfg, labels: labels, asleep: true, wake: make(chan struct{}, 1), done: make(chan struct{}),
		counts: newCounts(), bundles: map[string]json.RawMessage{},
	}
	if cfg.HTTP != nil {
		if l.upload, err = newUploader(*cfg.HTTP, l.counts, cfg.Log); err != nil {
			return nil, fmt.Errorf("decision log: %w", err)
		}
	}
	if cfg.File != nil {
		if l.file, err = openFile(*cfg.File, cfg.Log); err != nil {
			return nil, fmt.Errorf("decision log: %w", err)
		}
	}
	if l.upload != nil {
		l.upload.start()
	}
	go l.run()
	return l, nil
}

// Decided takes one verdict. It never waits, and nothing is copied.
func (l *Log) Decided(d Decision) {
	size := int64(itemOverhead + len(d.Body) + len(d.Image))
	for k, v := range d.Context {
		size += int64(len(k) + len(v))
	}
	l.add(item{decision: d, size: size})
}

// Event takes something else; see [Event]. It never waits.
func (l *Log) Event(e Event) {
	l.add(item{other: &e, size: int64(itemOverhead + len(e.Input) + len(e.Result))})
}

func (l *Log) add(it item) {
	l.mu.Lock()
	dropped := 0
	for l.bytes+it.size > l.cfg.BufferBytes && l.head < len(l.queue) { // the oldest, as OPA does
		l.bytes -= l.queue[l.head].size
		l.queue[l.head] = item{}
		l.head++
		dropped++
	}
	wake := false
	if l.closed || l.bytes+it.size > l.cfg.BufferBytes {
		dropped++
	} else {
		if l.head > 0 && len(l.queue) == cap(l.queue) { // make room before growing
			n := copy(l.queue, l.queue[l.head:])
			clear(l.queue[n:])
			l.queue, l.head = l.queue[:n], 0
		}
		l.queue = append(l.queue, it)
		l.bytes += it.size
		wake, l.asleep = l.asleep, false
	}
	l.mu.Unlock()
	l.counts.drop(DroppedBuffer, dropped)
	if wake {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// take moves events into batch, and says what they weigh. With none it notes that
// the worker sleeps.
func (l *Log) take(batch []item) (out []item, size int64, end bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(mostTaken, len(l.queue)-l.head)
	for i := l.head; i < l.head+n; i++ {
		batch = append(batch, l.queue[i])
		size += l.queue[i].size
		l.queue[i] = item{}
	}
	l.head += n
	if l.head == len(l.queue) {
		l.queue, l.head = l.queue[:0], 0
	}
	l.asleep = n == 0
	return batch, size, n == 0 && l.closed
}

func (l *Log) run() {
	defer close(l.done)
	batch := make([]item, 0, mostTaken)
	var size int64
	var end bool
	for {
		if batch, size, end = l.take(batch[:0]); end {
			return
		}
		if len(batch) == 0 {
			l.idle()
			continue
		}
		l.write(batch)
		clear(batch)
		l.mu.Lock()
		l.bytes -= size
		l.mu.Unlock()
	}
}

// idle waits for something to do, and then a little longer.
func (l *Log) idle() {
	var old <-chan time.Time
	if l.file != nil {
		if at, ok := l.file.due(); ok { // it grows too old while nothing comes
			timer := time.NewTimer(time.Until(at))
			defer timer.Stop()
			old = timer.C
		}
	}
	select {
	case <-l.wake:
	case <-old:
		l.file.age()
		return
	}
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if !closed {
		time.Sleep(pause)
	}
}

// write encodes a batch, and hands it on.
func (l *Log) write(batch []item) {
	l.buf = l.buf[:0]
	lines := 0
	for i := range batch {
		ev := l.event(&batch[i])
		if l.cfg.Mask != nil && l.masked(&ev) {
			continue
		}
		if l.upload != nil {
			l.encoded = ev.append(l.encoded[:0])
			l.upload.push(l.encoded)
		}
		if l.file != nil {
			l.buf = ev.appendLine(l.buf)
			if lines++; len(l.buf) >= writeBytes {
				l.toFile(lines)
				lines = 0
			}
		}
		l.counts.written.Add(1)
	}
	if l.file != nil && lines > 0 {
		l.toFile(lines)
	}
}

// writeBytes is the size of one write to the file, or a little more.
const writeBytes = 64 << 10

func (l *Log) toFile(lines int) {
	if err := l.file.write(l.buf); err != nil {
		l.counts.drop(DroppedFile, lines)
	}
	l.buf = l.buf[:0]
	if cap(l.buf) > 16*writeBytes { // after one very large event
		l.buf = nil
	}
}

// masked says whether the event is to be left out.
func (l *Log) masked(ev *event) (drop bool) {
	ctx, cancel := context.WithTimeout(context.Background(), l.cfg.MaskTime)
	defer cancel()
	drop, err := ev.mask(ctx, l.cfg.Mask)
	if err != nil {
		l.counts.maskFailures.Add(1)
		l.counts.mu.Lock()
		first := l.counts.last == nil
		l.counts.last = err
		l.counts.mu.Unlock()
		if first {
			l.cfg.Log.Error("the decision log's mask failed, so events are written without input and result", "error", err.Error())
		}
	}
	return drop
}

// event is what it says, good until the next one.
func (l *Log) event(it *item) event {
	l.requests++
	if e := it.other; e != nil {
		custom, err := json.Marshal(map[string]string{"event": e.Type})
		if err != nil { // a string always encodes
			custom = nil
		}
		return event{
			labels: l.labels, decisionID: e.ID, path: pathEvents + e.Type, input: oneLine(e.Input), result: oneLine(e.Result),
			requestedBy: e.By, at: e.At, requestID: l.requests, custom: custom,
		}
	}
	d := &it.decision
	id := verdictID(d.Body)
	// The parts lie one behind the other in a buffer that is used again.
	b := d.appendInput(l.parts[:0])
	input := len(b)
	b = d.appendMetrics(b)
	metrics := len(b)
	b = d.appendCustom(b)
	l.parts = b
	return event{
		labels: l.labels, decisionID: id, batchID: d.BatchID, bundles: l.bundlesOf(id, d.Body), path: pathVerdict,
		input: b[:input], result: oneLine(d.Body), requestedBy: d.Principal, at: d.At, metrics: b[input:metrics],
		requestID: l.requests, custom: b[metrics:],
	}
}

// bundlesOf remembers: a verdict that is given again has the same.
func (l *Log) bundlesOf(id string, body []byte) json.RawMessage {
	if id == "" {
		return bundlesOf(body)
	}
	b, ok := l.bundles[id]
	if !ok {
		if len(l.bundles) >= mostBundles {
			clear(l.bundles)
		}
		b = bundlesOf(body)
		l.bundles[id] = b
	}
	return b
}

// Written is how many events were handed to the file or the endpoint.
func (l *Log) Written() int64 { return l.counts.written.Load() }

// MaskFailures is how many events were written without input and result, because
// the mask failed.
func (l *Log) MaskFailures() int64 { return l.counts.maskFailures.Load() }

// Dropped is how many events are lost, for one of [DropReasons].
func (l *Log) Dropped(reason string) int64 {
	if n := l.counts.dropped[reason]; n != nil {
		return n.Load()
	}
	return 0
}

// recently is how long a loss is shown.
const recently = 10 * time.Minute

// Healthy says what is wrong now: the file or the endpoint that does not take
// events, a mask that failed, or events that were lost within the last ten minutes.
func (l *Log) Healthy() error {
	var errs []error
	if l.file != nil {
		errs = append(errs, l.file.problem())
	}
	if l.upload != nil {
		errs = append(errs, l.upload.problem())
	}
	l.counts.mu.Lock()
	at, why, last := l.counts.at, l.counts.why, l.counts.last
	l.counts.mu.Unlock()
	if last != nil {
		errs = append(errs, fmt.Errorf("%d events were written without input and result, because the mask failed: %w", l.MaskFailures(), last))
	}
	if !at.IsZero() && time.Since(at) < recently {
		var n int64
		for _, reason := range DropReasons() {
			n += l.Dropped(reason)
		}
		errs = append(errs, fmt.Errorf("%d events were dropped since the start, the last at %s (%s)", n, at.UTC().Format(time.RFC3339), why))
	}
	return errors.Join(errs...)
}

// Reopen opens the file anew under its name, as after a program that rotates logs
// has moved it.
func (l *Log) Reopen() error {
	if l.file == nil {
		return nil
	}
	return l.file.reopen()
}

// Close writes and sends what waits, until ctx ends. What is left then is lost,
// and the error says how many events that are.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.mu.Unlock()
	if !first {
		return nil
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
	var errs []error
	written := true
	select {
	case <-l.done:
	case <-ctx.Done():
		written = false
		l.mu.Lock()
		n := len(l.queue) - l.head
		l.mu.Unlock()
		errs = append(errs, fmt.Errorf("decision log: %d events were not written before the end", n))
	}
	if l.upload != nil {
		if n := l.upload.close(ctx); n > 0 {
			errs = append(errs, fmt.Errorf("decision log: %d events were not sent before the end", n))
		}
	}
	if l.file != nil && written { // else the writer hangs in it
		if err := l.file.close(); err != nil {
			errs = append(errs, fmt.Errorf("decision log: %w", err))
		}
	}
	return errors.Join(errs...)
}
