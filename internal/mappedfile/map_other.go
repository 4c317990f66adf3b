//go:build !unix

package mappedfile

import (
	"io"
	"os"
)

// mapFile reads the first size bytes of a file, which cannot be mapped on this system.
func mapFile(f *os.File, size int) ([]byte, error) {
	b := make([]byte, size)
	_, err := io.ReadFull(io.NewSectionReader(f, 0, int64(size)), b)
	return b, err
}

func unmap([]byte) error { return nil }
