package mpi

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unacknowledged returns the number of bytes written to conn that the peer's host has not acknowledged (tcp(7)), or 0
// if unknown.
func unacknowledged(conn net.Conn) int {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	n := 0
	raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n
}

// killLauncher kills the launcher if it runs on this host. Otherwise the launcher would wait for its daemon on a host
// that is cut off until TCP gives up, 15 minutes by default. It would wait just as long if asked to terminate.
func killLauncher() {
	if pid := launcherProcess(); pid != 0 {
		time.Sleep(messageTime)
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// launcherProcess returns the process ID of the nearest ancestor that is a launcher, or 0 if there is none: on other
// hosts, ranks are descendants of daemons.
func launcherProcess() int {
	for pid := os.Getppid(); pid > 1; {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0
		}
		name, rest, _ := strings.Cut(string(stat), ") ") // pid (name) state parent …
		_, name, _ = strings.Cut(name, "(")
		for _, launcher := range []string{"mpirun", "mpiexec", "orterun", "prterun"} {
			if strings.HasPrefix(name, launcher) {
				return pid
			}
		}
		var state string
		if _, err := fmt.Sscan(rest, &state, &pid); err != nil {
			return 0
		}
	}
	return 0
}
