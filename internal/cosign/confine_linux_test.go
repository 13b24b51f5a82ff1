package cosign

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// owned is a file of somebody.
type owned struct {
	fs.FileInfo
	uid int
}

func (o owned) Sys() any { return &syscall.Stat_t{Uid: uint32(o.uid)} }

// A program of root or of the user that Signet runs as is ours, and nobody else's.
func TestOurs(t *testing.T) {
	for uid, want := range map[int]bool{0: true, os.Geteuid(): true, os.Geteuid() + 1: false, 65534: false} {
		if got := ours(owned{uid: uid}); got != want {
			t.Errorf("user %d: %t", uid, got)
		}
	}
	if ours(unowned{}) {
		t.Error("a file of which nobody says whose it is")
	}
}

type unowned struct{ fs.FileInfo }

func (unowned) Sys() any { return nil }

// The program has no more memory than it is given. The script waits for the bound,
// which is set when it has begun.
func TestMemoryIsBounded(t *testing.T) {
	const script = `while [ "$(ulimit -d)" = unlimited ]; do :; done
x=$(head -c 67108864 /dev/zero | tr '\0' a) && echo "has room for ${#x}" >&2
exit 1
`
	for memory, fits := range map[uint64]bool{32 << 20: false, 2 << 30: true} {
		cli, err := New(Config{Path: program(t, script), Timeout: 2 * time.Minute, Memory: memory, Manifest: fixed})
		if err != nil {
			t.Fatal(err)
		}
		got, err := cli.Verify(t.Context(), question(t))
		said := err == nil && strings.Contains(got[0].Output, "has room for 67108864")
		if said != fits || err == nil && got[0].Verified {
			t.Errorf("with %d bytes: %+v, %v", memory, got, err)
		}
	}
}

// Its home is its own, and gone when it has answered, whatever it left there; no
// question meets another's.
func TestHomeIsRemoved(t *testing.T) {
	cli, err := New(Config{Path: program(t, `test -z "$(find "$HOME" -name mine)" || echo "not alone" >&2; echo x >"$HOME/mine"; mkdir "$HOME/more" 2>/dev/null; echo "at $HOME" >&2; exit 1`), Timeout: time.Minute, Manifest: fixed})
	if err != nil {
		t.Fatal(err)
	}
	homes := map[string]bool{}
	for range 2 {
		got, err := cli.Verify(t.Context(), question(t))
		if err != nil {
			t.Fatal(err)
		}
		_, home, ok := strings.Cut(got[0].Output, "at ")
		if !ok || homes[home] {
			t.Fatalf("no home of its own: %q", got[0].Output)
		}
		homes[home] = true
		if _, err := os.Stat(home); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", home, err)
		}
	}
}
