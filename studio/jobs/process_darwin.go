package jobs

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// identity returns an ID that distinguishes a process from others with the same PID at another time or on another machine.
// ended reports whether the process has exited but has not been waited for.
func identity(pid int) (id string, ended bool, err error) {
	p, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return "", false, err
	}
	const zombie = 5 // SZOMB
	boot, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return "", false, err
	}
	return fmt.Sprintf("%s %d.%06d", boot, p.Proc.P_starttime.Sec, p.Proc.P_starttime.Usec), p.Proc.P_stat == zombie, nil
}
