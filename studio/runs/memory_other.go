//go:build !linux

package runs

// resident is not implemented on this system.
func (*run) resident() int64 { return 0 }
