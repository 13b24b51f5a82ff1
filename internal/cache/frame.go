package cache

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// A value in Redis is a frame. Anybody who can write to Redis can write anything
// there, so a frame says what it is the value of, and all of it is under an
// HMAC-SHA256 whose key Redis never sees:
//
//	version   1 byte, formatVersion
//	mac      32 bytes, HMAC-SHA256 over version and everything below
//	expiry   12 bytes: seconds since 1970 (int64) and nanoseconds (uint32)
//	purpose   1 byte of length, and the purpose
//	key      32 bytes
//	build     1 byte of length, and the build that computed the payload
//	payload  the rest
//
// Numbers are big-endian. Another layout takes another version, which also stands
// in the name under which Redis keeps the frame.
const (
	formatVersion = 1

	macSize    = sha256.Size
	expirySize = 12
	bodyStart  = 1 + macSize
	// minFrame is a frame with nothing in it.
	minFrame = bodyStart + expirySize + 1 + len([32]byte{}) + 1
	// maxName bounds a purpose and a build: their length is one byte.
	maxName = 255
	// maxOverhead is what a frame takes beside its payload, at most.
	maxOverhead = minFrame + 2*maxName
)

// label is what a frame is the value of.
type label struct {
	purpose string
	sum     [32]byte
	build   string
}

// reason says why what Redis gave is not used.
type reason int

const (
	accepted reason = iota
	rejectShort
	rejectVersion
	rejectMAC
	rejectPurpose
	rejectKey
	rejectBuild
	rejectExpired
	rejectOversize
	rejectType
	reasonCount
)

// name is the reason in [RedisStats].
func (r reason) name() string {
	return [reasonCount]string{"", "short", "version", "mac", "purpose", "key", "build", "expired", "oversize", "type"}[r]
}

// seal makes the frame of a payload. Purpose and build are at most maxName long.
func seal(secret *[32]byte, l label, payload []byte, expiry time.Time) []byte {
	frame := make([]byte, bodyStart, minFrame+len(l.purpose)+len(l.build)+len(payload))
	frame[0] = formatVersion
	frame = binary.BigEndian.AppendUint64(frame, uint64(expiry.Unix()))       //nolint:gosec // open turns it back into the same int64
	frame = binary.BigEndian.AppendUint32(frame, uint32(expiry.Nanosecond())) //nolint:gosec // less than 1e9
	frame = appendName(frame, l.purpose)
	frame = append(frame, l.sum[:]...)
	frame = appendName(frame, l.build)
	frame = append(frame, payload...)
	copy(frame[1:], macOf(secret, frame))
	return frame
}

// open gives the payload of a frame that seal made under the same secret for the
// same label, and until when it may be used, provided that now lies before that.
// The payload shares the frame's memory. Nothing in the frame but its version is
// looked at before the MAC has been checked.
func open(secret *[32]byte, want label, now time.Time, frame []byte) (payload []byte, expiry time.Time, why reason) {
	switch {
	case len(frame) == 0:
		return nil, time.Time{}, rejectShort
	case frame[0] != formatVersion:
		return nil, time.Time{}, rejectVersion
	case len(frame) < minFrame:
		return nil, time.Time{}, rejectShort
	case !hmac.Equal(frame[1:bodyStart], macOf(secret, frame)):
		return nil, time.Time{}, rejectMAC
	}
	seconds := int64(binary.BigEndian.Uint64(frame[bodyStart:])) //nolint:gosec // what seal made of an int64
	nanos := int64(binary.BigEndian.Uint32(frame[bodyStart+8:]))
	rest := frame[bodyStart+expirySize:]
	purpose, rest, ok := cutName(rest)
	if !ok || len(rest) < len(want.sum) {
		return nil, time.Time{}, rejectShort
	}
	sum, rest := rest[:len(want.sum)], rest[len(want.sum):]
	build, payload, ok := cutName(rest)
	if !ok {
		return nil, time.Time{}, rejectShort
	}
	expiry = time.Unix(seconds, nanos)
	switch {
	case string(purpose) != want.purpose:
		why = rejectPurpose
	case !bytes.Equal(sum, want.sum[:]):
		why = rejectKey
	case string(build) != want.build:
		why = rejectBuild
	case !now.Before(expiry):
		why = rejectExpired
	default:
		return payload, expiry, accepted
	}
	return nil, time.Time{}, why
}

// macOf is over the version and the body.
func macOf(secret *[32]byte, frame []byte) []byte {
	h := hmac.New(sha256.New, secret[:])
	h.Write(frame[:1])
	h.Write(frame[bodyStart:])
	return h.Sum(nil)
}

func appendName(b []byte, name string) []byte {
	return append(append(b, byte(len(name))), name...) //nolint:gosec // at most maxName
}

func cutName(b []byte) (name, rest []byte, ok bool) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return nil, nil, false
	}
	return b[1 : 1+int(b[0])], b[1+int(b[0]):], true
}
