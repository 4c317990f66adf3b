package recipe

import (
	"testing"
	"testing/fstest"
)

// TestMemoryLimit checks that the tightest limit is used, whichever group above the process sets it.
func TestMemoryLimit(t *testing.T) {
	const gib = 1 << 30
	v2 := "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	v1 := "33 25 0:29 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n34 25 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
	for what, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no group":      {nil, 32 * gib},
		"no limit":      {map[string]string{"proc/self/cgroup": "0::/a\n", "proc/self/mountinfo": v2, "sys/fs/cgroup/a/memory.max": "max\n"}, 32 * gib},
		"its own group": {map[string]string{"proc/self/cgroup": "0::/a/b\n", "proc/self/mountinfo": v2, "sys/fs/cgroup/a/b/memory.max": "1073741824\n", "sys/fs/cgroup/a/memory.max": "max\n"}, gib},
		"a group above": {map[string]string{"proc/self/cgroup": "0::/a/b/c\n", "proc/self/mountinfo": v2, "sys/fs/cgroup/a/b/c/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "2147483648\n",
			"sys/fs/cgroup/a/b/memory.max": "4294967296\n"}, 2 * gib},
		"a container that sees its own group as the root": {map[string]string{"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": v2, "sys/fs/cgroup/memory.max": "1073741824\n"}, gib},
		"a container that sees a host path":               {map[string]string{"proc/self/cgroup": "0::/../../x\n", "proc/self/mountinfo": v2, "sys/fs/cgroup/memory.max": "1073741824\n"}, gib},
		"a part that is mounted": {map[string]string{"proc/self/cgroup": "0::/docker/x/y\n", "proc/self/mountinfo": "30 25 0:26 /docker/x /cgroup rw - cgroup2 none rw\n",
			"cgroup/memory.max": "3221225472\n", "cgroup/y/memory.max": "1073741824\n"}, gib},
		"version 1": {map[string]string{"proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/a/b\n0::/\n", "proc/self/mountinfo": v1,
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "2147483648\n", "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "9223372036854771712\n"}, 2 * gib},
		"version 1, a limit that cannot be seen": {map[string]string{"proc/self/cgroup": "4:memory:/a\n", "proc/self/mountinfo": v1,
			"sys/fs/cgroup/memory/a/memory.stat": "cache 0\nhierarchical_memory_limit 1073741824\n"}, gib},
		"both versions": {map[string]string{"proc/self/cgroup": "4:memory:/a\n0::/b\n", "proc/self/mountinfo": v1 + "31 25 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "4294967296\n", "sys/fs/cgroup/unified/b/memory.max": "2147483648\n"}, 2 * gib},
		"no list of mounts": {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "1073741824\n"}, gib},
	} {
		root := fstest.MapFS{"proc/meminfo": {Data: []byte("MemTotal:       33554432 kB\nMemFree: 1 kB\n")}}
		for name, text := range c.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := memoryLimit(root); got != c.want {
			t.Errorf("%s: %d, want %d", what, got, c.want)
		}
	}
}
