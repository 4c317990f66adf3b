//go:build !linux && !darwin

package kernel

// ReadProcessor returns the zero Processor: the processor's properties are not read on this system.
func ReadProcessor() Processor { return Processor{} }
