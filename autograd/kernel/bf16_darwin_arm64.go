package kernel

// hasBF16 reports whether the processor has bfloat16 multiplication.
func hasBF16() bool { return sysctl("hw.optional.arm.FEAT_BF16") == 1 }
