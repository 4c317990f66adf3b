//go:build !linux && !darwin

package kernel

// ReadProcessor returns the zero Processor: this system is not asked.
func ReadProcessor() Processor { return Processor{} }
