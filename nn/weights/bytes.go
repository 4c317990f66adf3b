package weights

import (
	"encoding/binary"
	"math"
	"unsafe"
)

// littleEndian says whether numbers lie in memory as they do in a safetensors file.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// float32Bytes returns the memory of v as bytes, so that a tensor is read and written without a second copy.
func float32Bytes(v []float32) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), 4*len(v))
}

// fromLittleEndian32 turns freshly read bytes into numbers on machines that keep them the other way round.
func fromLittleEndian32(v []float32) {
	if littleEndian {
		return
	}
	b := float32Bytes(v)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
}
