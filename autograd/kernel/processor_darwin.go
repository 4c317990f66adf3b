package kernel

import "golang.org/x/sys/unix"

// ReadProcessor asks the system about the processor. Performance cores are at level 0.
func ReadProcessor() Processor {
	p := Processor{
		L1: sysctl("hw.perflevel0.l1dcachesize"),
		L2: sysctl("hw.perflevel0.l2cachesize") / max(1, sysctl("hw.perflevel0.cpusperl2")),
	}
	if small := sysctl("hw.perflevel1.logicalcpu"); small > 0 {
		p.Performance, p.Efficiency = sysctl("hw.perflevel0.logicalcpu"), small
	}
	return p
}

// sysctl returns a number that the system reports, or 0 if it does not report the name.
func sysctl(name string) int {
	v, err := unix.SysctlUint32(name)
	if err != nil {
		return 0
	}
	return int(v)
}
