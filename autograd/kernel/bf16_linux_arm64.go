package kernel

import "golang.org/x/sys/unix"

// hasBF16 reports whether the processor has bfloat16 multiplication: bit 14 of AT_HWCAP2 in the auxiliary vector.
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
