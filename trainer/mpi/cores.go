//go:build mpi && linux && (amd64 || arm64)

package mpi

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// tooFewCores returns a warning if this rank may use fewer cores than its part of the host's: mpirun binds each rank to
// one core if there are up to two, and Go takes the cores that it is bound to for all that there are. Slurm's binding is
// what the user has asked for.
func (l launch) tooFewCores() string {
	if l.local == 0 {
		return ""
	}
	have, share := runtime.NumCPU(), onlineCores()/l.local
	if have >= share {
		return ""
	}
	return fmt.Sprintf("%s has bound this rank to %d of %d cores: start it with --bind-to none", l.name, have, onlineCores())
}

// cores is this rank's part of the host's cores, unless the process may not use more anyway.
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

// onlineCores is the number of cores of the host or of the container's set of them.
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

// countCores counts a list such as 0-3,8,10-11; 0 if it is none.
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
