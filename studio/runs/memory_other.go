//go:build !linux

package runs

// resident returns 0: only Linux reports the memory of another process in a file.
func (*run) resident() int64 { return 0 }
