package runs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// resident returns the resident memory in bytes of the process whose PID is in the lock file, or 0 if it is unknown.
func (r *run) resident() int64 {
	const limit = 32
	b, err := r.text(lockFile, limit)
	if err != nil {
		return 0
	}
	process, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || process <= 0 {
		return 0
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(status, []byte("VmRSS:"))
	kib, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
	n, err := strconv.ParseInt(string(kib), 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}
