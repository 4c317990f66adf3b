package trainer

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"unsafe"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

// castagnoli is the table of CRC-32C.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// weightsChecksum covers all parameters, including frozen ones: ranks with different base models must not train
// together.
func weightsChecksum(params []*ag.Param) string {
	h := crc32.New(castagnoli)
	var buf []float32
	for _, p := range params {
		h.Write([]byte(p.Name))
		rows, cols := p.Shape()[0], p.Size()/p.Shape()[0]
		block := max(1, checksumBlock/cols)
		if need := min(block, rows) * cols; len(buf) < need {
			buf = make([]float32, need)
		}
		for from := 0; from < rows; from += block {
			y := kernel.Dense(buf, min(block, rows-from), cols)
			p.ReadRows(y, from)
			h.Write(bytesOf(buf[:y.Rows*cols]))
		}
	}
	return fmt.Sprintf("%08x", h.Sum32())
}

// checksumBlock is how many elements of a weight are read at once, unless a row is longer.
const checksumBlock = 1 << 18

// bytesOf returns x as its bytes in memory, without copying.
func bytesOf(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), len(x)*int(unsafe.Sizeof(float32(0))))
}

// fingerprint returns a checksum of names and values. It detects a Load that does not restore what Save was given;
// damaged files are detected by the manifest.
func fingerprint(params []*ag.Param) string {
	h, buf := crc32.New(castagnoli), make([]byte, 0, 1<<14)
	for _, p := range params {
		h.Write([]byte(p.Name))
		for w := range slices.Chunk(p.Float32s(), 1<<12) {
			buf = buf[:0]
			for _, x := range w {
				buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(x))
			}
			h.Write(buf)
		}
	}
	return fmt.Sprintf("%08x", h.Sum32())
}
