package kernel

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestCountCPUs(t *testing.T) {
	for list, want := range map[string]int{"": 0, "0": 1, "0-3": 4, "0-3,8": 5, "2,4,6": 3, "x": 0, "3-1": 0} {
		if got := countCPUs(list); got != want {
			t.Errorf("%q: got %d, want %d", list, got, want)
		}
	}
}

// sysfs writes one-line files in a new directory.
func sysfs(t *testing.T, lines map[string]string) string {
	dir := t.TempDir()
	for name, line := range lines {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(line+"\n"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestProcessor_capacities(t *testing.T) {
	lines := map[string]string{}
	for i, capacity := range []int{446, 446, 1024, 1024, 1024, 446} {
		cpu := fmt.Sprintf("system/cpu/cpu%d/", i)
		lines[cpu+"cpu_capacity"] = fmt.Sprint(capacity)
		for index, c := range [][4]string{{"Data", "1", "32K", fmt.Sprint(i)}, {"Instruction", "1", "48K", fmt.Sprint(i)}, {"Unified", "2", "1024K", "0-3"}} {
			if capacity == 1024 && index == 0 {
				c[2] = "64K"
			}
			for j, name := range []string{"type", "level", "size", "shared_cpu_list"} {
				lines[fmt.Sprintf("%scache/index%d/%s", cpu, index, name)] = c[j]
			}
		}
	}
	if got, want := processorIn(sysfs(t, lines)), (Processor{3, 3, 64 << 10, 256 << 10}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestProcessor_lists(t *testing.T) {
	dir := sysfs(t, map[string]string{"system/cpu/cpu0/topology/core_id": "0", "cpu_core/cpus": "0-11", "cpu_atom/cpus": "12-19"})
	if got, want := processorIn(dir), (Processor{Performance: 12, Efficiency: 8}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := processorIn(t.TempDir()); got != (Processor{}) {
		t.Errorf("no sysfs: got %+v", got)
	}
}
