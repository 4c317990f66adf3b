package kernel

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// hasBF16 reports whether the processor multiplies in bfloat16: bit 14 of the auxiliary vector's AT_HWCAP2.
func hasBF16() bool {
	const hwcap2, bf16 = 26, 1 << 14
	vector, err := unix.Auxv()
	if err != nil {
		return false
	}
	for _, entry := range vector {
		if entry[0] == hwcap2 {
			return entry[1]&bf16 != 0
		}
	}
	return false
}

// readCaches returns the caches of a core of the highest capacity.
func readCaches() caches {
	best, capacity := smallCaches, -1
	cpus, _ := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*")
	for _, cpu := range cpus {
		n, _ := strconv.Atoi(sysfsLine(cpu, "cpu_capacity")) // absent where all cores are alike
		if c, ok := cachesOf(cpu); ok && n > capacity {
			best, capacity = c, n
		}
	}
	return best
}

// cachesOf reads the caches of one core.
func cachesOf(cpu string) (c caches, ok bool) {
	indexes, _ := filepath.Glob(filepath.Join(cpu, "cache", "index*"))
	for _, index := range indexes {
		kind, level := sysfsLine(index, "type"), sysfsLine(index, "level")
		kib, err := strconv.Atoi(strings.TrimSuffix(sysfsLine(index, "size"), "K"))
		if err != nil || kind == "Instruction" {
			continue
		}
		switch bytes := kib << 10 / sharers(sysfsLine(index, "shared_cpu_list")); level {
		case "1":
			c.l1 = bytes
		case "2":
			c.l2 = bytes
		}
	}
	return c, c.l1 > 0 && c.l2 > 0
}

// sharers counts the cores in a list such as 0-3,8.
func sharers(list string) int {
	n := 0
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		lo, err := strconv.Atoi(from)
		if err != nil {
			continue
		}
		hi := lo
		if isRange {
			hi, _ = strconv.Atoi(to)
		}
		n += max(1, hi-lo+1)
	}
	return max(1, n)
}

func sysfsLine(dir, name string) string {
	b, _ := os.ReadFile(filepath.Join(dir, name))
	return strings.TrimSpace(string(b))
}
