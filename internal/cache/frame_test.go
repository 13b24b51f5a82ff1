package cache

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	testSecret = sum(1000)
	testLabel  = label{"answer", sum(1), "build-1"}
)

func TestFrame(t *testing.T) {
	for _, tt := range []struct {
		name    string
		label   label
		payload []byte
		expiry  time.Time
	}{
		{"plain", testLabel, []byte("allow"), start.Add(time.Minute + 7)},
		{"nothing in it", label{build: "b"}, []byte{}, start.Add(1)},
		{"far expiry", testLabel, []byte("x"), time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)},
		{"long names", label{strings.Repeat("p", maxName), sum(2), strings.Repeat("b", maxName)}, make([]byte, 1<<20), start.Add(time.Hour)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			frame := seal(&testSecret, tt.label, tt.payload, tt.expiry)
			if extra := len(frame) - len(tt.payload); extra > maxOverhead || extra < minFrame {
				t.Errorf("the frame adds %d bytes, not within %d and %d", extra, minFrame, maxOverhead)
			}
			payload, expiry, why := open(&testSecret, tt.label, start, frame)
			if why != accepted || payload == nil || !bytes.Equal(payload, tt.payload) || !expiry.Equal(tt.expiry) {
				t.Errorf("open gives %d bytes until %s, %q", len(payload), expiry, why.name())
			}
			if _, _, why := open(&testSecret, tt.label, tt.expiry, frame); why != rejectExpired {
				t.Errorf("at its expiry: %q", why.name())
			}
		})
	}
}

// Threat 54: whatever is not, byte for byte, what we wrote for this key is a miss.
func TestEveryBitOfAFrameCounts(t *testing.T) {
	frame := seal(&testSecret, testLabel, []byte("allow"), start.Add(time.Minute))
	for i := range frame {
		for bit := range 8 {
			forged := bytes.Clone(frame)
			forged[i] ^= 1 << bit
			if _, _, why := open(&testSecret, testLabel, start, forged); why == accepted {
				t.Errorf("bit %d of byte %d may be changed", bit, i)
			}
		}
	}
	for n := range frame {
		if _, _, why := open(&testSecret, testLabel, start, frame[:n]); why == accepted {
			t.Errorf("the first %d of %d bytes are accepted", n, len(frame))
		}
	}
	if _, _, why := open(&testSecret, testLabel, start, append(bytes.Clone(frame), 0)); why != rejectMAC {
		t.Errorf("a byte too many: %q", why.name())
	}
}

// A frame of a version that we do not know is not read as if we knew it, even under
// a good MAC.
func TestMalformedUnderAGoodMAC(t *testing.T) {
	resealed := func(change func([]byte) []byte) []byte {
		frame := change(seal(&testSecret, testLabel, nil, start.Add(time.Minute)))
		copy(frame[1:], macOf(&testSecret, frame))
		return frame
	}
	const purposeAt = bodyStart + expirySize
	for _, tt := range []struct {
		name  string
		frame []byte
		want  reason
	}{
		{"version", resealed(func(f []byte) []byte { f[0]++; return f }), rejectVersion},
		{"purpose runs over the key", resealed(func(f []byte) []byte { f[purposeAt] += 30; return f }), rejectShort},
		{"purpose runs over the end", resealed(func(f []byte) []byte { f[purposeAt] = 255; return f }), rejectShort},
		{"no build", resealed(func(f []byte) []byte { return f[:purposeAt+1+len("answer")+32] }), rejectShort},
		{"build runs over the end", resealed(func(f []byte) []byte { f[len(f)-1-len("build-1")]++; return f }), rejectShort},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, why := open(&testSecret, testLabel, start, tt.frame); why != tt.want {
				t.Errorf("%q, want %q", why.name(), tt.want.name())
			}
		})
	}
}

// FuzzFrame: no bytes make open panic, and what it accepts is what seal makes.
func FuzzFrame(f *testing.F) {
	good := seal(&testSecret, testLabel, []byte("allow"), start.Add(time.Minute))
	f.Add(good, false)
	f.Add(good, true)
	f.Add(good[:minFrame], true)
	f.Add([]byte{}, false)
	f.Add([]byte{formatVersion}, true)
	f.Add(slices.Concat(good[:bodyStart+expirySize], []byte{255}), true)
	f.Fuzz(func(t *testing.T, frame []byte, resealed bool) {
		frame = bytes.Clone(frame)
		if resealed && len(frame) >= bodyStart {
			copy(frame[1:], macOf(&testSecret, frame)) // so that the fuzzer gets behind the MAC
		}
		payload, expiry, why := open(&testSecret, testLabel, start, frame)
		if why != accepted {
			if payload != nil || !expiry.IsZero() {
				t.Errorf("rejected (%s), and yet %d bytes until %s", why.name(), len(payload), expiry)
			}
			return
		}
		if !start.Before(expiry) {
			t.Errorf("accepted, and expired at %s", expiry)
		}
		if _, _, why := open(&testSecret, testLabel, start, seal(&testSecret, testLabel, payload, expiry)); why != accepted {
			t.Errorf("what was accepted cannot be sealed again: %s", why.name())
		}
	})
}
