package jobs

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// identity returns an ID that distinguishes a process from others with the same PID at another time, in another container,
// or on another machine. ended reports whether the process has exited but has not been waited for.
func identity(pid int) (id string, ended bool, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", false, err
	}
	const state, start = 0, 19 // field positions after the name, which may contain blanks and parentheses
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) <= start {
		return "", false, errors.New("/proc: the process has no start time")
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", false, err
	}
	space, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return "", false, err
	}
	return strings.Join([]string{strings.TrimSpace(string(boot)), space, fields[start]}, " "), fields[state] == "Z" || fields[state] == "X", nil
}
