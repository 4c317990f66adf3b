package kernel

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ReadProcessor asks the system about the processor.
func ReadProcessor() Processor { return processorIn("/sys/devices") }

// processorIn reads the processor's description from sysfs. arm64 has a capacity for each core, amd64 two lists of
// cores.
func processorIn(devices string) Processor {
	var p Processor
	capacity, cores, best := -1, 0, 0
	cpus, _ := filepath.Glob(filepath.Join(devices, "system/cpu/cpu[0-9]*"))
	for _, cpu := range cpus {
		c, _ := strconv.Atoi(sysfsLine(cpu, "cpu_capacity")) // absent if all cores are alike
		cores++
		if c > capacity {
			capacity, best = c, 0
			p.L1, p.L2 = cachesOf(cpu)
		}
		if c == capacity {
			best++
		}
	}
	if best < cores {
		p.Performance, p.Efficiency = best, cores-best
	} else if small := countCPUs(sysfsLine(devices, "cpu_atom/cpus")); small > 0 {
		p.Performance, p.Efficiency = countCPUs(sysfsLine(devices, "cpu_core/cpus")), small
	}
	return p
}

// cachesOf reads the data caches of one core.
func cachesOf(cpu string) (l1, l2 int) {
	indexes, _ := filepath.Glob(filepath.Join(cpu, "cache/index*"))
	for _, index := range indexes {
		kib, err := strconv.Atoi(strings.TrimSuffix(sysfsLine(index, "size"), "K"))
		if err != nil || sysfsLine(index, "type") == "Instruction" {
			continue
		}
		switch bytes := kib << 10 / max(1, countCPUs(sysfsLine(index, "shared_cpu_list"))); sysfsLine(index, "level") {
		case "1":
			l1 = bytes
		case "2":
			l2 = bytes
		}
	}
	return l1, l2
}

// countCPUs counts the processors in a list such as 0-3,8.
func countCPUs(list string) (n int) {
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		lo, err := strconv.Atoi(from)
		hi, err2 := strconv.Atoi(to)
		if err == nil && err2 == nil && hi >= lo {
			n += hi - lo + 1
		}
	}
	return n
}

// sysfsLine returns the contents of a one-line file, or "" if it cannot be read.
func sysfsLine(dir, name string) string {
	b, _ := os.ReadFile(filepath.Join(dir, name))
	return strings.TrimSpace(string(b))
}
