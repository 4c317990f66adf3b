package jobs

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// identity tells a process from others that have its number at another time, in another container or on another machine. ended
// is true for a process that nobody has waited for yet.
func identity(pid int) (id string, ended bool, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", false, err
	}
	const state, start = 0, 19 // places after the name, which may have blanks and parentheses
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
