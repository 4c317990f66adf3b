package kernel

// Processor is what the system reports about the processor. What it does not report is 0.
type Processor struct {
	Performance, Efficiency int // cores of the two kinds, where there are two
	// L1 and L2 are a performance core's data caches in bytes. A cache that cores share counts in equal parts.
	L1, L2 int
}
