package cosign

import (
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// supported says that a program can be bounded here.
const supported = true

// confine gives the program a group of its own, which ends with it and with us.
func confine(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// limit bounds a process that has just begun: its data, its files and what it may
// leave behind.
func limit(pid int, memory uint64) error {
	for _, l := range []struct {
		what  int
		value uint64
	}{
		{unix.RLIMIT_DATA, memory}, {unix.RLIMIT_FSIZE, 16 << 20}, {unix.RLIMIT_CORE, 0}, {unix.RLIMIT_NOFILE, 256},
	} {
		if err := unix.Prlimit(pid, l.what, &unix.Rlimit{Cur: l.value, Max: l.value}, nil); err != nil && err != unix.ESRCH { // it has ended already
			return err
		}
	}
	return nil
}

// ours says whether a file belongs to root or to us.
func ours(st fs.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && (sys.Uid == 0 || int(sys.Uid) == os.Geteuid())
}
