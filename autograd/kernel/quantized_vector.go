package kernel

import (
	"unsafe"

	"mambatrain/internal/quant"
)

// quantKernels are the vector forms of a type's loops.
type quantKernels struct {
	// strip writes values of n rows to y, ldy elements apart: 32 values per row, or a whole block if blocks are
	// smaller. w points to the first row's block that contains them; they are the part-th group in it.
	strip func(n int, w *byte, stride, part int, y *float32, ldy int)
	// dot writes the inner products of n rows of blocks with x, which is stored as the type requires, to y.
	dot func(n int, w *byte, stride, blocks int, x, y *float32)
}

// quantTypes is one more than the largest of quant's types, which are numbered sparsely.
const quantTypes = quant.BF16 + 1

// quantForm describes what the kernels of a type process as one block, and the layout of x they require.
type quantForm struct {
	values  int     // per block
	strips  bool    // x consists of xStrips
	last    float32 // factor from the sum of an xStrip's other rows to its last row
	eight   bool    // the last row of every eighth strip contains the sums of eight strips
	nibbles bool    // odd strips are the upper four bits of the bytes of the even strips before them
}

var quantForms = [quantTypes]quantForm{
	quant.F32:  {values: 8},
	quant.F16:  {values: 8},
	quant.BF16: {values: 8},
	quant.Q8_0: {values: 32},
	quant.Q4_0: {values: 32, strips: true, last: -8},
	quant.Q4_1: {values: 32, strips: true, last: 1},
	quant.Q5_0: {values: 32, strips: true, last: -16},
	quant.Q5_1: {values: 32, strips: true, last: 1},
	quant.Q6_K: {values: 256, strips: true, last: -32},
	quant.Q4_K: {values: 256, strips: true, last: 1, eight: true, nibbles: true},
	quant.Q5_K: {values: 256, strips: true, last: 1, eight: true},
}

// xStrip is 32 elements of x in the order in which kernels read them along with the bytes of a strip, viewed as eight
// 32-bit words. Row b contains the elements that go with byte b of the words. The bytes are not shifted out of the
// words, and so are too large by a factor of 256 to the power of b; the elements are scaled to compensate. Upper four
// bits of bytes are too large by another 16, except that those of byte 3, where the sign of a word would be, are
// shifted. The last row is for minima and for integers stored with an offset, with which the sums begin.
type xStrip [5 * 8]float32

// byteScales are the factors of an xStrip's rows, and upperScales those for the upper four bits of the bytes.
var (
	byteScales  = [4]float32{1, 0x1p-8, 0x1p-16, 0x1p-24}
	upperScales = [4]float32{0x1p-4, 0x1p-12, 0x1p-20, 1}
)

// prepareStrip writes the first 32 elements of x to y, scaled.
func (f quantForm) prepareStrip(y *xStrip, x []float32, scales *[4]float32) {
	x = x[:strip]
	for i := range 8 {
		v := (*[4]float32)(x[4*i:])
		y[i], y[8+i], y[16+i], y[24+i] = v[0]*scales[0], v[1]*scales[1], v[2]*scales[2], v[3]*scales[3]
		y[32+i] = f.last * (v[0] + v[1] + v[2] + v[3])
	}
}

// prepareRow writes x as strips, for a type that requires them.
func (f quantForm) prepareRow(y, x []float32) {
	const size = len(xStrip{})
	for s := range len(x) / strip {
		to := (*xStrip)(y[s*size:])
		scales := &byteScales
		if f.nibbles && s%2 == 1 {
			scales = &upperScales
		}
		f.prepareStrip(to, x[s*strip:], scales)
		if f.eight {
			p := (*[8]float32)(to[32:])
			y[s&^7*size+32+s%8] = p[0] + p[1] + p[2] + p[3] + p[4] + p[5] + p[6] + p[7]
		}
	}
}

// kernelsFor returns the active set's kernels for n neighboring values, or nil.
func (b *blocks) kernelsFor(n, unit int) *quantKernels {
	if active.quant == nil || active.quant[b.of].dot == nil || n%unit != 0 {
		return nil
	}
	return &active.quant[b.of]
}

// stripWidth returns the number of values of a row that the kernel reads at once.
func (b *blocks) stripWidth() int { return min(strip, quantForms[b.of].values) }

// readStrip is the vector form of blocks.readStrip, for a y whose width the kernel supports.
func (k *quantKernels) readStrip(b *blocks, y Mat[float32], o, i int) {
	per := b.of.Block()
	width := b.stripWidth()
	for c := 0; c < y.Cols; c += width {
		from := i + c
		k.strip(y.Rows, &b.row(o)[b.of.Bytes(from/per*per)], b.stride, from%per/width, &y.Data[c], y.Stride)
	}
}

// maxDotRows is the largest number of rows multiplied in one call, because the scheduler cannot interrupt a call.
const maxDotRows = 16

func (k *quantKernels) dotRows(b *blocks, y, x []float32, o int) {
	blocks := b.stride / b.of.Bytes(quantForms[b.of].values)
	for r := 0; r < len(y); r += maxDotRows {
		n := min(maxDotRows, len(y)-r)
		k.dot(n, unsafe.SliceData(b.row(o+r)), b.stride, blocks, &x[0], &y[r])
	}
}
