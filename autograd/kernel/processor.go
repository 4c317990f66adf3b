package kernel

// Processor is what the system reports about the processor. Unreported values are 0.
type Processor struct {
	Performance, Efficiency int // cores of each kind, if there are two kinds
	// L1 and L2 are the sizes of a performance core's data caches in bytes. A shared cache is divided equally among
	// its cores.
	L1, L2 int
}
