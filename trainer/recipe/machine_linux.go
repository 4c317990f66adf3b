package recipe

import (
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// MachineMemory returns the memory that this process may use, in bytes: that of the machine, or the tightest limit
// among its control group, the groups above that, and its resource limits. It returns 0 if unknown.
func MachineMemory() int64 {
	limit := memoryLimit(os.DirFS("/"))
	for _, resource := range []int{unix.RLIMIT_AS, unix.RLIMIT_DATA} {
		var r unix.Rlimit
		if unix.Getrlimit(resource, &r) == nil && r.Cur < math.MaxInt64 {
			limit = tighter(limit, int64(r.Cur))
		}
	}
	return limit
}

// tighter returns the smaller of two limits, where 0 means no limit.
func tighter(a, b int64) int64 {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// memoryLimit returns the smallest of the machine's memory and the limits of control groups, read from proc and sys in
// root.
func memoryLimit(root fs.FS) int64 {
	limit := int64(0)
	for line := range strings.Lines(text(root, "proc/meminfo")) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			limit = kib << 10
		}
	}
	mounts := controlGroupMounts(text(root, "proc/self/mountinfo"))
	for line := range strings.Lines(text(root, "proc/self/cgroup")) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3) // number:controllers:path
		if len(f) < 3 {
			continue
		}
		switch {
		case f[1] == "":
			limit = tighter(limit, mounts.unified.limit(root, f[2], "memory.max"))
		case strings.Contains(","+f[1]+",", ",memory,"):
			limit = tighter(limit, mounts.memory.limit(root, f[2], "memory.limit_in_bytes"))
			limit = tighter(limit, inherited(text(root, path.Join(mounts.memory.at(f[2]), "memory.stat"))))
		}
	}
	return limit
}

func text(root fs.FS, name string) string {
	b, _ := fs.ReadFile(root, strings.TrimPrefix(name, "/"))
	return string(b)
}

// hierarchy is where one kind of control group is mounted.
type hierarchy struct {
	mount string // directory
	group string // root group of the mount; / for all groups
}

// at returns the directory of a group.
func (h hierarchy) at(group string) string {
	below, ok := strings.CutPrefix(group, strings.TrimSuffix(h.group, "/"))
	if !ok || strings.Contains(group, "..") { // outside what this container sees
		below = ""
	}
	return path.Join(h.mount, below)
}

// limit returns the tightest limit of a group and those above it, or 0 for none.
func (h hierarchy) limit(root fs.FS, group, file string) int64 {
	if h.mount == "" {
		return 0
	}
	limit := int64(0)
	for dir := h.at(group); ; dir = path.Dir(dir) {
		n, err := strconv.ParseInt(strings.TrimSpace(text(root, path.Join(dir, file))), 10, 64)
		if err == nil && n > 0 {
			limit = tighter(limit, n)
		}
		if len(dir) <= len(h.mount) {
			return limit
		}
	}
}

// inherited returns the limit that cgroup version 1 computes over the groups above, including those outside a
// container.
func inherited(stat string) int64 {
	for line := range strings.Lines(stat) {
		if digits, ok := strings.CutPrefix(line, "hierarchical_memory_limit "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
			return n
		}
	}
	return 0
}

// groupMounts contains the hierarchies with memory limits: that of cgroup version 2 and the one of version 1.
type groupMounts struct{ unified, memory hierarchy }

// controlGroupMounts finds the hierarchies in /proc/self/mountinfo. If it does not list them, their usual mount points
// are assumed.
func controlGroupMounts(mountinfo string) groupMounts {
	m := groupMounts{hierarchy{"/sys/fs/cgroup", "/"}, hierarchy{"/sys/fs/cgroup/memory", "/"}}
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		f, kind := strings.Fields(before), strings.Fields(after) // id parent device root mount …; type source options
		if !ok || len(f) < 5 || len(kind) < 3 {
			continue
		}
		switch h := (hierarchy{f[4], f[3]}); {
		case kind[0] == "cgroup2":
			m.unified = h
		case kind[0] == "cgroup" && strings.Contains(","+kind[2]+",", ",memory,"):
			m.memory = h
		}
	}
	return m
}
