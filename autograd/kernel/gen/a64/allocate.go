package a64

import (
	"fmt"
	"sort"
)

// allocate assigns numbers: a register lives from its first to its last instruction, and to the end of any loop that it
// enters alive.
func (f *Func) allocate() (vectors, generals int) {
	labels := map[string]int{}
	seen := map[*reg]bool{}
	var all []*reg
	for i, in := range f.code {
		if in.label != "" {
			labels[in.label] = i
		}
		for _, o := range in.regs {
			r := o.reg
			if !seen[r] {
				if o.use {
					panic(fmt.Sprintf("%s: %q reads a register that nothing has written", f.name, in.gnu))
				}
				seen[r] = true
				r.start = i
				all = append(all, r)
			}
			r.end = i
		}
	}
	for changed := true; changed; {
		changed = false
		for i, in := range f.code {
			at, ok := labels[in.goal]
			if in.goal == "" || !ok || at > i {
				continue
			}
			for _, r := range all {
				if r.start < at && r.end >= at && r.end < i {
					r.end, changed = i, true
				}
			}
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].start < all[j].start })
	var free [2][]int
	for n := 31; n >= 0; n-- {
		free[1] = append(free[1], n)
	}
	for n := 26; n >= 0; n-- { // 16 to 18 belong to the linker and the system, from 27 on to Go
		if n < 16 || n > 18 {
			free[0] = append(free[0], n)
		}
	}
	var live []*reg
	peak := [2]int{}
	for _, r := range all {
		kept := live[:0]
		for _, l := range live {
			if l.end <= r.start { // read by the instruction that writes r, at the latest
				free[class(l)] = append(free[class(l)], l.num)
			} else {
				kept = append(kept, l)
			}
		}
		live = kept
		c := class(r)
		if len(free[c]) == 0 {
			panic(fmt.Sprintf("%s: out of registers (class %d) at %q", f.name, c, f.code[r.start].gnu))
		}
		r.num = free[c][len(free[c])-1]
		free[c] = free[c][:len(free[c])-1]
		if r.end == r.start {
			r.end++
		}
		live = append(live, r)
		n := [2]int{}
		for _, l := range live {
			n[class(l)]++
		}
		for i := range n {
			peak[i] = max(peak[i], n[i])
		}
	}
	return peak[1], peak[0]
}

func class(r *reg) int {
	if r.vector {
		return 1
	}
	return 0
}
