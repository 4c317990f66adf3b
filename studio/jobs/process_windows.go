package jobs

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

// identity tells a process from others that have its number at another time or on another machine. ended is true for one
// that nobody has waited for yet.
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

// detached starts a process without a console, in a group that gets none of the server's signals.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP | windows.DETACHED_PROCESS}
}

// interrupt cannot be done: Windows interrupts processes of the same console only.
func interrupt(*os.Process) error {
	return errors.New("on Windows, a run cannot be told from here to save and stop: end it in the Task Manager, and resume it from its last checkpoint")
}
