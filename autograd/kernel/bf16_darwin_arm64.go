package kernel

// hasBF16 reports whether the processor multiplies in bfloat16.
func hasBF16() bool { return sysctl("hw.optional.arm.FEAT_BF16") == 1 }
