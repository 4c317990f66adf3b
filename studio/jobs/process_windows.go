package jobs

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

// identity returns an ID that distinguishes a process from others with the same PID at another time or on another machine.
// ended reports whether the process has exited but has not been waited for.
func identity(pid int) (id string, ended bool, err error) {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return "", false, err
	}
	defer windows.CloseHandle(h)
	var code uint32
	const stillActive = 259
	if err := windows.GetExitCodeProcess(h, &code); err != nil {
		return "", false, err
	}
	var created, exited, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(h, &created, &exited, &kernel, &user); err != nil {
		return "", false, err
	}
	host, err := os.Hostname()
	return fmt.Sprintf("%s %d", host, created.Nanoseconds()), code != stillActive, err
}

// detached starts a process without a console, in a process group that receives none of the server's signals.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP | windows.DETACHED_PROCESS}
}

// interrupt always fails: Windows can interrupt only processes of the same console.
func interrupt(*os.Process) error {
	return errors.New("on Windows, the studio cannot ask a run to save and stop: end it in Task Manager, and resume it from its last checkpoint")
}
