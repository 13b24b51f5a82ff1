package auth

import (
	"errors"
	"hash/crc32"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)

func newToken(t *testing.T, role Role) (string, Token) {
	t.Helper()
	plain, tok, err := NewToken(NewTokenRequest{Name: "ci", Role: role, CreatedBy: "root"}, now)
	if err != nil {
		t.Fatal(err)
	}
	return plain, tok
}

func TestNewToken(t *testing.T) {
	plain, tok := newToken(t, Verifier)
	if !regexp.MustCompile(`\Asgn_[a-z2-7]{16}_[0-9A-Za-z]{49}\z`).MatchString(plain) {
		t.Errorf("token %q does not have the documented shape", plain)
	}
	id, hash, err := Parse(plain)
	if err != nil {
		t.Fatal(err)
	}
	created := now.Truncate(time.Microsecond)
	want := Token{
		ID: id, Name: "ci", Role: Verifier, Hash: hash, CreatedBy: "root",
		CreatedAt: created, ExpiresAt: created.Add(90 * 24 * time.Hour),
	}
	if d := cmp.Diff(want, tok); d != "" {
		t.Error(d)
	}
	other, _ := newToken(t, Verifier)
	if other == plain {
		t.Error("two tokens are the same")
	}
}

func TestNewTokenRefuses(t *testing.T) {
	good := NewTokenRequest{Name: "ci", Role: Admin, CreatedBy: "root"}
	tests := []struct {
		name string
		edit func(*NewTokenRequest)
		want string
	}{
		{"no name", func(r *NewTokenRequest) { r.Name = "" }, "token name: is empty"},
		{"long name", func(r *NewTokenRequest) { r.Name = strings.Repeat("x", 201) }, "at most 200"},
		{"line feed in name", func(r *NewTokenRequest) { r.Name = "a\nb" }, "cannot be printed"},
		{"name that is not UTF-8", func(r *NewTokenRequest) { r.Name = "a\xff" }, "cannot be printed"},
		{"no creator", func(r *NewTokenRequest) { r.CreatedBy = "" }, "token creator"},
		{"no role", func(r *NewTokenRequest) { r.Role = "" }, "want one of viewer, verifier, author, admin"},
		{"role in another case", func(r *NewTokenRequest) { r.Role = "Admin" }, "want one of"},
		{"team with white space", func(r *NewTokenRequest) { r.Team = " web" }, "token team: "},
		{"long team", func(r *NewTokenRequest) { r.Team = strings.Repeat("x", 101) }, "at most 100"},
		{"images that are none", func(r *NewTokenRequest) { r.Images = []string{"nginx"} }, "token images: image pattern"},
		{"many images", func(r *NewTokenRequest) { r.Images = slices.Repeat([]string{"ghcr.io/a/b"}, 101) }, "at most 100 of each"},
		{"source with bits behind the mask", func(r *NewTokenRequest) { r.Sources = []netip.Prefix{netip.MustParsePrefix("10.1.2.3/8")} }, "token sources: 10.1.2.3/8 is not a network"},
		{"IPv4 source written as IPv6", func(r *NewTokenRequest) { r.Sources = []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")} }, "is not a network"},
		{"negative lifetime", func(r *NewTokenRequest) { r.TTL = -time.Second }, "negative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := good
			tt.edit(&req)
			plain, tok, err := NewToken(req, now)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if plain != "" || tok.ID != "" || tok.Hash != (Hash{}) {
				t.Error("a refused request still made a token")
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	plain, _ := newToken(t, Viewer)
	flip := func(i int) string {
		b := []byte(plain)
		if b[i] == 'a' {
			b[i] = 'b'
		} else {
			b[i] = 'a'
		}
		return string(b)
	}
	tests := []struct {
		name, plain string
		want        error
	}{
		{"nothing", "", ErrMissing},
		{"another prefix", "ghp" + plain[3:], ErrMalformed},
		{"cut short", plain[:len(plain)-1], ErrMalformed},
		{"one too many", plain + "a", ErrMalformed},
		{"white space around", " " + plain[:len(plain)-1], ErrMalformed},
		{"typo in the id", flip(5), ErrMalformed},
		{"typo in the secret", flip(30), ErrMalformed},
		{"typo in the checksum", flip(len(plain) - 1), ErrMalformed},
		{"upper case in the id", plain[:4] + strings.ToUpper(plain[4:20]) + plain[20:], ErrMalformed},
		{"sign in the secret", plain[:30] + "-" + plain[31:], ErrMalformed},
		{"no separator", plain[:20] + "x" + plain[21:], ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, hash, err := Parse(tt.plain)
			if !errors.Is(err, tt.want) {
				t.Errorf("Parse: %v, want %v", err, tt.want)
			}
			if id != "" || hash != (Hash{}) {
				t.Error("a refused token still has an id or a hash")
			}
			if err != nil && tt.plain != "" && strings.Contains(err.Error(), tt.plain) {
				t.Error("the error quotes what was presented")
			}
		})
	}
}

func TestAuthenticate(t *testing.T) {
	plain, tok := newToken(t, Author)
	strangerPlain, stranger := newToken(t, Admin)
	revokedAt := now
	revoked := tok
	revoked.RevokedAt = &revokedAt

	// A secret of one token under the id of another, with a checksum that fits.
	body := strangerPlain[:len(tokenPrefix)+idLen+1] + plain[len(tokenPrefix)+idLen+1:hashedLen]
	sum := checksum(body)
	crossed := body + string(sum[:])

	bound := tok
	bound.Team, bound.Images = "web", []string{"ghcr.io/web/**"}
	bound.Sources = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8::/32")}
	boundPrincipal := Principal{Name: "ci", Role: Author, Team: "web", Images: []string{"ghcr.io/web/**"}, Sources: bound.Sources, TokenID: tok.ID, ExpiresAt: tok.ExpiresAt}
	spoiled := bound
	spoiled.RevokedAt = &revokedAt

	who := Principal{Name: "ci", Role: Author, TokenID: tok.ID, ExpiresAt: tok.ExpiresAt}
	tests := []struct {
		name  string
		set   []Token
		plain string
		from  string
		at    time.Time
		want  Principal
		err   error
	}{
		{"good", []Token{tok}, plain, "192.0.2.1", now, who, nil},
		{"good, from nowhere known", []Token{tok}, plain, "", now, who, nil},
		{"in its last microsecond", []Token{tok}, plain, "", tok.ExpiresAt.Add(-time.Microsecond), who, nil},
		{"expired to the instant", []Token{tok}, plain, "", tok.ExpiresAt, Principal{}, ErrExpired},
		{"revoked", []Token{revoked}, plain, "", now, Principal{}, ErrRevoked},
		{"unknown id", []Token{stranger}, plain, "", now, Principal{}, ErrUnknown},
		{"secret of another token", []Token{tok, stranger}, crossed, "", now, Principal{}, ErrUnknown},
		{"no tokens at all", nil, plain, "", now, Principal{}, ErrUnknown},
		{"nothing presented", []Token{tok}, "", "", now, Principal{}, ErrMissing},
		{"garbage", []Token{tok}, "Bearer " + plain, "", now, Principal{}, ErrMalformed},
		{"from its network", []Token{bound}, plain, "10.1.255.255", now, boundPrincipal, nil},
		{"from its other network", []Token{bound}, plain, "2001:db8:1::1", now, boundPrincipal, nil},
		{"from its network, written as IPv6", []Token{bound}, plain, "::ffff:10.1.0.1", now, boundPrincipal, nil},
		{"from its network, through an interface", []Token{bound}, plain, "2001:db8::1%eth0", now, boundPrincipal, nil},
		{"from beside its network", []Token{bound}, plain, "10.2.0.1", now, Principal{}, ErrSource},
		{"from nowhere known, and bound", []Token{bound}, plain, "", now, Principal{}, ErrSource},
		{"revoked, and from elsewhere", []Token{spoiled}, plain, "10.2.0.1", now, Principal{}, ErrRevoked},
		{"wrong secret, and from elsewhere", []Token{bound, stranger}, crossed, "10.2.0.1", now, Principal{}, ErrUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set, err := NewTokens(tt.set)
			if err != nil {
				t.Fatal(err)
			}
			var from netip.Addr
			if tt.from != "" {
				from = netip.MustParseAddr(tt.from)
			}
			got, err := set.Authenticate(tt.plain, from, tt.at)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if d := cmp.Diff(tt.want, got, cmpopts.IgnoreUnexported(Principal{}), cmpopts.EquateComparable(netip.Prefix{})); d != "" {
				t.Error(d)
			}
		})
	}
	t.Run("a nil set knows nobody", func(t *testing.T) {
		var set *Tokens
		if _, err := set.Authenticate(plain, netip.Addr{}, now); !errors.Is(err, ErrUnknown) || set.Len() != 0 {
			t.Errorf("error %v, want %v", err, ErrUnknown)
		}
	})
	t.Run("an expired or revoked token with a wrong secret is unknown", func(t *testing.T) {
		// Else a stranger could learn which ids exist.
		wrong := revoked
		wrong.Hash[0] ^= 1
		set, err := NewTokens([]Token{wrong})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := set.Authenticate(plain, netip.Addr{}, wrong.ExpiresAt.Add(time.Hour)); !errors.Is(err, ErrUnknown) {
			t.Errorf("error %v, want %v", err, ErrUnknown)
		}
	})
}

func TestNewTokensRefuses(t *testing.T) {
	_, good := newToken(t, Viewer)
	edit := func(f func(*Token)) []Token {
		bad := good
		f(&bad)
		return []Token{bad}
	}
	tests := []struct {
		name string
		list []Token
	}{
		{"twice", []Token{good, good}},
		{"no id", edit(func(x *Token) { x.ID = "" })},
		{"odd id", edit(func(x *Token) { x.ID = "AAAAAAAAAAAAAAAA" })},
		{"no hash", edit(func(x *Token) { x.Hash = Hash{} })},
		{"no name", edit(func(x *Token) { x.Name = "" })},
		{"no role", edit(func(x *Token) { x.Role = "" })},
		{"unknown role", edit(func(x *Token) { x.Role = "root" })},
		{"team with a line feed", edit(func(x *Token) { x.Team = "a\nb" })},
		{"images that are none", edit(func(x *Token) { x.Images = []string{"nginx"} })},
		{"a source that is none", edit(func(x *Token) { x.Sources = []netip.Prefix{{}} })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if set, err := NewTokens(tt.list); err == nil || set != nil {
				t.Errorf("NewTokens = %v, %v; want an error", set, err)
			}
		})
	}
	if set, err := NewTokens([]Token{good}); err != nil || set.Len() != 1 {
		t.Errorf("NewTokens(good) = %d tokens, %v", set.Len(), err)
	}
}

func TestChecksumIsCRC32(t *testing.T) {
	for _, s := range []string{"", "123456789", "sgn_abc"} {
		n := crc32.ChecksumIEEE([]byte(s))
		want := make([]byte, crcLen)
		for i := crcLen - 1; i >= 0; i-- {
			want[i], n = base62[n%62], n/62
		}
		if got := checksum(s); string(got[:]) != string(want) {
			t.Errorf("checksum(%q) = %s, want %s", s, got, want)
		}
	}
}

func TestTokenLogsNoHash(t *testing.T) {
	_, tok := newToken(t, Viewer)
	if got := tok.LogValue().String(); strings.Contains(got, "Hash") || !strings.Contains(got, tok.ID) {
		t.Errorf("LogValue = %s", got)
	}
}

func TestRandomStringUsesWholeAlphabet(t *testing.T) {
	s, err := randomString(base62, 20000)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range base62 {
		// 322 expected, standard deviation 18.
		if n := strings.Count(s, string(c)); n < 180 || n > 480 {
			t.Errorf("%q occurs %d times in 20000, which is no accident", c, n)
		}
	}
}

func FuzzParse(f *testing.F) {
	plain, _, err := NewToken(NewTokenRequest{Name: "n", Role: Viewer, CreatedBy: "c"}, now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Add("")
	f.Add("sgn_")
	f.Fuzz(func(t *testing.T, s string) {
		id, _, err := Parse(s)
		if err == nil && !strings.HasPrefix(s, "sgn_"+id+"_") {
			t.Errorf("Parse(%q) accepted, id %q", s, id)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	plain, tok, err := NewToken(NewTokenRequest{Name: "n", Role: Viewer, CreatedBy: "c"}, now)
	if err != nil {
		b.Fatal(err)
	}
	set, err := NewTokens([]Token{tok})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := set.Authenticate(plain, netip.Addr{}, now); err != nil {
			b.Fatal(err)
		}
	}
}

func TestAuthenticateDoesNotAllocate(t *testing.T) {
	plain, tok := newToken(t, Viewer)
	set, err := NewTokens([]Token{tok})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = set.Authenticate(plain, netip.Addr{}, now) }); n != 0 {
		t.Errorf("Authenticate allocates %v times; it runs for every request", n)
	}
}
