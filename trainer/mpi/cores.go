//go:build mpi && linux && (amd64 || arm64)

package mpi

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// tooFewCores returns a warning if this rank may use fewer cores than its share of the host. mpirun binds each rank to
// one core if there are at most two ranks, and Go treats the cores that a process is bound to as all there are. Slurm's
// binding is what the user asked for.
func (l launch) tooFewCores() string {
	if l.local == 0 {
		return ""
	}
	have, share := runtime.NumCPU(), onlineCores()/l.local
	if have >= share {
		return ""
	}
	return fmt.Sprintf("%s bound this rank to %d of %d cores: start it with --bind-to none", l.name, have, onlineCores())
}

// cores returns this rank's share of the host's cores, or 0 if the process may not use more than that anyway.
func (l launch) cores() int {
	if l.local < 2 {
		return 0
	}
	share := max(1, onlineCores()/l.local)
	if runtime.GOMAXPROCS(0) <= share {
		return 0
	}
	return share
}

// onlineCores returns the number of cores of the host or of the container's cpuset, or 0 if unknown.
func onlineCores() int {
	for _, file := range []string{"/sys/fs/cgroup/cpuset.cpus.effective", "/sys/devices/system/cpu/online"} {
		if b, err := os.ReadFile(file); err == nil {
			if n := countCores(string(b)); n > 0 {
				return n
			}
		}
	}
	return 0
}

// countCores returns the number of cores in a list such as 0-3,8,10-11, or 0 if the list is invalid.
func countCores(list string) int {
	n := 0
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		lo, hi, isRange := strings.Cut(part, "-")
		if !isRange {
			hi = lo
		}
		a, err1 := strconv.Atoi(lo)
		b, err2 := strconv.Atoi(hi)
		if err1 != nil || err2 != nil || b < a {
			return 0
		}
		n += b - a + 1
	}
	return n
}
