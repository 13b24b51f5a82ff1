package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/signet-policy/signet/internal/glob"
)

// A token reads sgn_<id>_<secret><checksum>: a prefix that secret scanners can
// look for, 16 characters of id (public), 43 of secret (256 bits), 6 of CRC-32
// over all that comes before, so that a scanner and we can tell a token from a
// look-alike without asking the store. As a regular expression:
// sgn_[a-z2-7]{16}_[0-9A-Za-z]{49}.
const (
	tokenPrefix = "sgn_"
	idLen       = 16
	secretLen   = 43
	crcLen      = 6
	hashedLen   = len(tokenPrefix) + idLen + 1 + secretLen
	tokenLen    = hashedLen + crcLen

	idAlphabet = "abcdefghijklmnopqrstuvwxyz234567"
	base62     = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

	// maxName bounds a token's name, in bytes.
	maxName = 200
	// maxTeam bounds a team's name, in bytes; maxBounds a token's images, and its
	// sources.
	maxTeam   = 100
	maxBounds = 100
)

// DefaultTTL is how long a token lives unless it is said otherwise.
const DefaultTTL = 90 * 24 * time.Hour

// Hash is the SHA-256 of a token without its checksum. The secret has 256 bits
// of entropy, so no slow hash is needed, and the id is hashed with it, so that
// one token's hash is of no use under another id.
type Hash [sha256.Size]byte

// Token is what is kept of an API token. It cannot be turned back into what the
// caller presents.
type Token struct {
	ID   string
	Name string
	Role Role
	Hash Hash
	// Team owns the token; what it may change is its team's alone. "" is nobody's
	// team: the whole installation.
	Team string
	// Images are globs (package glob) of the images that may be asked about and
	// read of; none: all.
	Images []string
	// Sources are the networks that the token may come from; none: any.
	Sources []netip.Prefix
	// CreatedBy is a principal's name, or who ran the command.
	CreatedBy string
	CreatedAt time.Time
	ExpiresAt time.Time
	// RevokedAt and LastUsedAt are nil while they did not happen. LastUsedAt is
	// written now and then, so it lags.
	RevokedAt  *time.Time
	LastUsedAt *time.Time
}

// LogValue leaves out the hash.
func (t Token) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", t.ID), slog.String("name", t.Name), slog.String("role", string(t.Role)))
}

// NewTokenRequest says what token to make.
type NewTokenRequest struct {
	// Name tells people what the token is for: 1 to 200 bytes, printable.
	Name    string
	Role    Role
	Team    string
	Images  []string
	Sources []netip.Prefix
	// CreatedBy is who asked for it.
	CreatedBy string
	// TTL is how long it lives; 0 means [DefaultTTL].
	TTL time.Duration
}

// NewToken makes a token. The plain form is returned once and kept nowhere.
func NewToken(req NewTokenRequest, now time.Time) (plain string, t Token, err error) {
	if err := req.validate(); err != nil {
		return "", Token{}, err
	}
	ttl := req.TTL
	if ttl == 0 {
		ttl = DefaultTTL
	}
	id, err := randomString(idAlphabet, idLen)
	if err != nil {
		return "", Token{}, err
	}
	secret, err := randomString(base62, secretLen)
	if err != nil {
		return "", Token{}, err
	}
	body := tokenPrefix + id + "_" + secret
	now = now.UTC().Truncate(time.Microsecond)
	sum := checksum(body)
	return body + string(sum[:]), Token{
		ID: id, Name: req.Name, Role: req.Role, Hash: sha256.Sum256([]byte(body)),
		Team: req.Team, Images: req.Images, Sources: req.Sources,
		CreatedBy: req.CreatedBy, CreatedAt: now, ExpiresAt: now.Add(ttl),
	}, nil
}

func (req NewTokenRequest) validate() error {
	if err := ValidTokenName(req.Name); err != nil {
		return fmt.Errorf("token name: %w", err)
	}
	switch {
	case req.CreatedBy == "":
		return errors.New("token creator: is empty; a token names who made it")
	case req.TTL < 0:
		return fmt.Errorf("token lifetime: %s is negative", req.TTL)
	}
	if _, err := ParseRole(string(req.Role)); err != nil {
		return fmt.Errorf("token %w", err)
	}
	if err := checkBounds(req.Team, req.Images, req.Sources); err != nil {
		return fmt.Errorf("token %w", err)
	}
	return nil
}

// ValidTokenName checks the name of a token: 1 to 200 bytes, printable.
func ValidTokenName(name string) error {
	switch {
	case name == "":
		return errors.New("is empty; say what the token is for")
	case len(name) > maxName:
		return fmt.Errorf("has %d bytes, at most %d are allowed", len(name), maxName)
	case !printable(name):
		return errors.New("has characters that cannot be printed")
	}
	return nil
}

// checkBounds checks what bounds a token. The message begins with the field.
func checkBounds(team string, images []string, sources []netip.Prefix) error {
	if err := ValidTeam(team); err != nil {
		return fmt.Errorf("team: %w", err)
	}
	if len(images) > maxBounds || len(sources) > maxBounds {
		return fmt.Errorf("images and sources: have %d and %d entries, at most %d of each are allowed", len(images), len(sources), maxBounds)
	}
	if _, err := glob.NewScope(images); err != nil {
		return fmt.Errorf("images: %w", err)
	}
	for _, n := range sources {
		// The mask says how much of the address counts; bits behind it, and IPv4
		// written as IPv6, would make two readers see two networks.
		if !n.IsValid() || n != n.Masked() || n.Addr().Is4In6() {
			return fmt.Errorf("sources: %s is not a network; write it as 10.0.0.0/8 or 2001:db8::/32, with no bits behind the mask", n)
		}
	}
	return nil
}

// ValidTeam checks the name of a team; "", the whole installation, is one.
func ValidTeam(team string) error {
	if len(team) > maxTeam || !printable(team) || team != strings.TrimSpace(team) {
		return fmt.Errorf("%q is not the name of a team; use at most %d printable bytes, without white space at the ends", team, maxTeam)
	}
	return nil
}

// Parse takes a presented token apart, without asking whether it is known. Its
// only error is [ErrMalformed], or [ErrMissing] for the empty string.
func Parse(plain string) (id string, hash Hash, err error) {
	if plain == "" {
		return "", Hash{}, ErrMissing
	}
	if len(plain) != tokenLen || plain[:len(tokenPrefix)] != tokenPrefix || plain[len(tokenPrefix)+idLen] != '_' {
		return "", Hash{}, ErrMalformed
	}
	id = plain[len(tokenPrefix) : len(tokenPrefix)+idLen]
	if !madeOf(id, idAlphabet) || !madeOf(plain[len(tokenPrefix)+idLen+1:], base62) {
		return "", Hash{}, ErrMalformed
	}
	if sum := checksum(plain[:hashedLen]); string(sum[:]) != plain[hashedLen:] {
		return "", Hash{}, ErrMalformed
	}
	var body [hashedLen]byte // on the stack: this runs for every request
	copy(body[:], plain)
	return id, sha256.Sum256(body[:]), nil
}

// checksum is the CRC-32 (IEEE) of body in base 62, most significant digit
// first; 62^6 is more than 2^32. The loop stands here because
// crc32.ChecksumIEEE wants a slice on the heap.
func checksum(body string) (sum [crcLen]byte) {
	n := ^uint32(0)
	for i := range len(body) {
		n = crc32.IEEETable[(n^uint32(body[i]))&0xff] ^ n>>8
	}
	n = ^n
	for i := crcLen - 1; i >= 0; i-- {
		sum[i] = base62[n%62]
		n /= 62
	}
	return sum
}

// randomString draws n characters of the alphabet, each equally likely: 43 of
// base 62 are 256 bits.
func randomString(alphabet string, n int) (string, error) {
	limit := 256 - 256%len(alphabet) // bytes from here on would favour the first characters
	out := make([]byte, 0, n)
	buf := make([]byte, 2*n)
	for len(out) < n {
		if _, err := rand.Read(buf); err != nil {
			return "", fmt.Errorf("reading randomness: %w", err)
		}
		for _, b := range buf {
			if int(b) < limit && len(out) < n {
				out = append(out, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(out), nil
}

func madeOf(s, alphabet string) bool {
	for i := range len(s) {
		if strings.IndexByte(alphabet, s[i]) < 0 {
			return false
		}
	}
	return true
}

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
