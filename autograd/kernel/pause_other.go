package kernel

// pause tells the processor that it runs a spin loop.
func pause() {}
