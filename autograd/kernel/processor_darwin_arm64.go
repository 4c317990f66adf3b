package kernel

import "golang.org/x/sys/unix"

// hasBF16 reports whether the processor multiplies in bfloat16.
func hasBF16() bool { return sysctl("hw.optional.arm.FEAT_BF16") == 1 }

// readCaches returns the caches of a performance core, which are at level 0.
func readCaches() caches {
	c := caches{sysctl("hw.perflevel0.l1dcachesize"), sysctl("hw.perflevel0.l2cachesize") / max(1, sysctl("hw.perflevel0.cpusperl2"))}
	if c.l1 == 0 || c.l2 == 0 {
		return smallCaches
	}
	return c
}

// sysctl returns a number of the kernel's state, or 0 if it has none of the name.
func sysctl(name string) int {
	v, err := unix.SysctlUint32(name)
	if err != nil {
		return 0
	}
	return int(v)
}
