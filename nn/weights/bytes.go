package weights

import (
	"encoding/binary"
	"math"
	"unsafe"
)

// littleEndian reports whether this machine stores numbers in the byte order of safetensors files.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// float32Bytes returns the memory of v as bytes, so that tensors are read and written without another copy.
func float32Bytes(v []float32) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), 4*len(v))
}

// fromLittleEndian32 swaps the bytes of freshly read numbers on big-endian machines.
func fromLittleEndian32(v []float32) {
	if littleEndian {
		return
	}
	b := float32Bytes(v)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
}
