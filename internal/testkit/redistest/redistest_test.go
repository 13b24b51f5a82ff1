package redistest

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/signet-policy/signet/internal/testkit/require"
)

func TestServerLosesWhatWasNotSaved(t *testing.T) {
	s := Start(t, Options{})
	s.Do("set", "a", "saved")
	snapshot := s.Snapshot()
	s.Do("set", "a", "not saved")
	s.Kill()
	s.Kill() // twice is once
	if out, err := s.cli("ping"); err == nil {
		t.Errorf("a killed server answers %q", out)
	}
	s.Restart()
	if got := s.Do("get", "a"); got != "saved" {
		t.Errorf("after the restart a is %q", got)
	}
	s.Do("set", "a", "newer")
	s.Snapshot()
	s.Restore(snapshot)
	if got := s.Do("get", "a"); got != "saved" {
		t.Errorf("with the old snapshot a is %q", got)
	}
}

func TestPausedServerAnswersLater(t *testing.T) {
	s := Start(t, Options{})
	s.Pause()
	answer := make(chan string)
	go func() {
		out, _ := s.cli("ping")
		answer <- strings.TrimSpace(out)
	}()
	select {
	case out := <-answer:
		t.Errorf("a paused server answers %q", out)
		return
	default:
	}
	s.Resume()
	if out := <-answer; out != "PONG" {
		t.Errorf("after it went on it answers %q", out)
	}
}

func TestTLSServerWantsACertificate(t *testing.T) {
	s := Start(t, Options{TLS: NewCertificates(t)})
	if got := s.Do("ping"); got != "PONG" || !strings.HasPrefix(s.URL(), "rediss://") {
		t.Errorf("%s answers %q", s.URL(), got)
	}
	other := *s
	other.options.TLS = NewCertificates(t)
	if out, err := other.cli("ping"); err == nil {
		t.Errorf("with certificates of another authority: %q", out)
	}
}

func TestSentinelKnowsItsMaster(t *testing.T) {
	r := StartSentinel(t)
	if len(r.Sentinels) != 1 || !strings.HasPrefix(r.Replica.Do("role"), "slave") || r.Master.URL() != "redis://"+r.Master.Addr {
		t.Errorf("%+v", r)
	}
}

func TestClusterHasAllSlots(t *testing.T) {
	nodes := StartCluster(t)
	if info := nodes[0].Do("cluster", "info"); !strings.Contains(info, "cluster_slots_ok:16384") || !strings.Contains(info, "cluster_size:3") {
		t.Error(info)
	}
}

// What a test wrote on the given server is gone when it ends, and nothing else is.
func TestDatabaseIsEmptied(t *testing.T) {
	var url, prefix string
	given := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), "redis-cli", append([]string{"-u", require.Redis(t)}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	t.Run("a test", func(t *testing.T) {
		url, prefix = Database(t)
		given("set", prefix+"a", "1", "ex", "60")
		given("set", "neighbour-of-"+prefix, "1", "ex", "60")
	})
	if n := given("exists", prefix+"a"); n != "0" {
		t.Errorf("%s still has the key", url)
	}
	if n := given("del", "neighbour-of-"+prefix); n != "1" {
		t.Error("a key of another was removed")
	}
}
