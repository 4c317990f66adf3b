package kernel

import (
	"unsafe"

	"mambatrain/internal/float16"
)

// panel is the width of a packed block: this many outputs are contiguous for each input.
const panel = 32

// Packed is a frozen weight (out, in), packed once in the order in which both forward and backward products read it.
// It replaces the plain copy, which can be dropped: Gather reads rows back exactly.
//
// Outputs are divided into blocks of 32. A block stores one input after another, each with its 32 outputs: element (o,
// i) is at block(o/32) + i·32 + o%32. A last block of up to 16 outputs is 16 wide. Missing outputs are zero. In
// bfloat16 two inputs share a 32-bit word, the pair that the dot-product instruction multiplies at once: (o, i) is at
// block(o/32) + (i/2)·64 + (o%32)·2 + i%2.
//
// A quantized weight is not packed: it stays in the blocks of its file. See PackQuantized.
type Packed struct {
	Out, In int
	f32     []float32
	b16     []uint16
	blocks  *blocks
	device  *deviceWeight // the weight, unpacked, if it is on a device instead
}

// Pack packs w (out, in).
func Pack(w Mat[float32]) *Packed {
	p := &Packed{Out: w.Rows, In: w.Cols, f32: Make[float32](paddedWidth(w.Rows) * w.Cols)}
	for b := 0; b*panel < p.Out; b++ {
		rows := w.Slice(b*panel, min(p.Out, (b+1)*panel), 0, p.In)
		blk, width := p.block(b)
		For(p.In, packGrain, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				for r := range rows.Rows {
					blk[i*width+r] = rows.Data[r*rows.Stride+i]
				}
			}
		})
	}
	return p
}

// PackBF16 packs a weight (out, in) whose elements are bfloat16 bits, row by row without gaps.
func PackBF16(w []uint16, out, in int) *Packed {
	p := &Packed{Out: out, In: in, b16: Make[uint16](paddedWidth(out) * 2 * pairs(in))}
	For((out+panel-1)/panel, 1, func(lo, hi int) {
		for b := lo; b < hi; b++ {
			blk, width := p.block16(b)
			for o := b * panel; o < min(out, (b+1)*panel); o++ {
				for i, v := range w[o*in : (o+1)*in] {
					blk[i/2*2*width+(o-b*panel)*2+i%2] = v
				}
			}
		}
	})
	return p
}

// packGrain is the number of inputs of a block packed per task.
const packGrain = 512

// pairs returns the number of bfloat16 pairs that n elements fill.
func pairs(n int) int { return (n + 1) / 2 }

// paddedWidth returns the total number of outputs in the blocks for out outputs, padding included.
func paddedWidth(out int) int { return (out + 15) / 16 * 16 }

// blockWidth returns 32, or 16 if the last block needs no more.
func (p *Packed) blockWidth(b int) int { return min(panel, paddedWidth(p.Out)-b*panel) }

// block returns float32 block b and its width.
func (p *Packed) block(b int) ([]float32, int) {
	w := p.blockWidth(b)
	return p.f32[b*panel*p.In:][:w*p.In], w
}

// block16 returns bfloat16 block b and its width in outputs.
func (p *Packed) block16(b int) ([]uint16, int) {
	w := p.blockWidth(b)
	n := 2 * pairs(p.In)
	return p.b16[b*panel*n:][:w*n], w
}

// isBF16 reports whether the weight is stored in bfloat16.
func (p *Packed) isBF16() bool { return p.b16 != nil }

// Bytes returns the size of the weight in bytes.
func (p *Packed) Bytes() int {
	if p.blocks != nil {
		return len(p.blocks.data)
	}
	return len(p.f32)*int(unsafe.Sizeof(float32(0))) + len(p.b16)*2
}

// row writes row o of the weight to dst.
func (p *Packed) row(dst []float32, o int) {
	if p.blocks != nil {
		p.blocks.of.Dequantize(dst, p.blocks.row(o))
		return
	}
	if !p.isBF16() {
		blk, w := p.block(o / panel)
		at := o % panel
		for i := range dst {
			dst[i] = blk[at]
			at += w
		}
		return
	}
	blk, w := p.block16(o / panel)
	for i := range dst {
		dst[i] = float16.FromBF16(blk[i/2*2*w+o%panel*2+i%2])
	}
}

// Gather writes row ids[i] of the weight to row i of y (len(ids), in): the embedding of a model with tied weights.
func (p *Packed) Gather(y Mat[float32], ids []int) {
	y.check("gather y", len(ids), p.In)
	if p.device != nil {
		p.device.gather(y, ids)
		return
	}
	For(len(ids), rowGrain, func(lo, hi int) {
		for r := lo; r < hi; r++ {
			p.row(y.Row(r), ids[r])
		}
	})
}

// Forward computes y (rows, out) = x (rows, in)·Wᵀ, or adds it to y. With a bfloat16 weight, x is rounded to bfloat16
// if the processor multiplies in that format. Sums are float32.
func (p *Packed) Forward(mode Mode, y, x Mat[float32]) {
	if p.device != nil {
		p.device.multiply(DeviceProduct{Mode: mode, C: y, A: x, TransposeB: true})
		return
	}
	if p.fromBlocks(x.Rows) {
		p.multiplyBlocks(mode, y, x)
		return
	}
	q := p.forward(mode, y, x)
	q.run()
}

// ForwardBias computes y (rows, out) = x (rows, in)·Wᵀ + bias, with rounding as in Forward.
func (p *Packed) ForwardBias(y, x Mat[float32], bias []float32) {
	if p.device != nil {
		p.device.multiply(DeviceProduct{C: y, A: x, TransposeB: true, Bias: bias})
		return
	}
	if p.fromBlocks(x.Rows) {
		p.multiplyBlocks(Set, y, x)
		AddRow(y, bias)
		return
	}
	buf := borrow(paddedWidth(p.Out))
	defer giveBack(buf)
	clear(buf.data[copy(buf.data, bias[:p.Out]):])
	q := p.forward(Set, y, x)
	q.bias = buf.data
	q.run()
}

func (p *Packed) forward(mode Mode, y, x Mat[float32]) product {
	x.check("forward x", x.Rows, p.In)
	y.check("forward y", x.Rows, p.Out)
	if p.blocks != nil {
		return product{mode: mode, c: y, a: left{mat: x, alpha: 1}, b: quantizedForward{p}, m: x.Rows, n: p.Out, k: p.In}
	}
	half := p.multipliesBF16()
	q := product{mode: mode, c: y, a: left{mat: x, alpha: 1, bf16: half}, b: forwardRight{p, half}, m: x.Rows, n: p.Out, k: p.In}
	if half {
		q.k = pairs(p.In)
	}
	return q
}

// Backward computes dx (rows, in) = dy (rows, out)·W, or adds it to dx. Rounding is as in Forward.
func (p *Packed) Backward(mode Mode, dx, dy Mat[float32]) {
	if p.device != nil {
		p.device.multiply(DeviceProduct{Mode: mode, C: dx, A: dy})
		return
	}
	q := p.backward(mode, dx, dy)
	q.run()
}

func (p *Packed) backward(mode Mode, dx, dy Mat[float32]) product {
	dy.check("backward dy", dy.Rows, p.Out)
	dx.check("backward dx", dy.Rows, p.In)
	if p.blocks != nil {
		return product{mode: mode, c: dx, a: left{mat: dy, alpha: 1}, b: quantizedBackward{p}, m: dy.Rows, n: p.In, k: p.Out}
	}
	half := p.multipliesBF16()
	q := product{mode: mode, c: dx, a: left{mat: dy, alpha: 1, bf16: half}, b: backwardRight{p, half}, m: dy.Rows, n: p.In, k: p.Out}
	if half {
		q.k = pairs(p.Out)
	}
	return q
}

// multipliesBF16 reports whether products with p run in bfloat16.
func (p *Packed) multipliesBF16() bool { return p.isBF16() && active.tile16[1][1] != nil }

// words returns bfloat16 block b as 32-bit words, one pair each.
func (p *Packed) words(b int) ([]float32, int) {
	blk, w := p.block16(b)
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(blk))), len(blk)/2), w
}

// forwardRight is Wᵀ (in, out): the packed blocks unchanged, or widened.
type forwardRight struct {
	*Packed
	half bool // steps are pairs
}

func (f forwardRight) packs() bool { return f.isBF16() && !f.half }

func (f forwardRight) panel(scratch []float32, j, k0, kc int) (*float32, int) {
	if !f.isBF16() {
		blk, w := f.block(j)
		return &blk[k0*w], w
	}
	blk, w := f.words(j)
	if f.half {
		return &blk[k0*w], w
	}
	widenPairs(pairs(kc), &blk[k0/2*w], w, &scratch[0])
	return &scratch[0], w
}

func (f forwardRight) upcoming(j, k0, kc, i, n int) (*float32, int) {
	var blk []float32
	var w int
	switch {
	case !f.isBF16():
		blk, w = f.block(j)
	case f.half:
		blk, w = f.words(j)
	default:
		blk, w = f.words(j)
		k0, kc = k0/2, pairs(kc)
	}
	part := (kc*w + n - 1) / n
	return &blk[min(k0*w+i*part, len(blk)-1)], 4 * part
}

// backwardRight is W (out, in): its panels are transposed from the blocks, 32 × 32 elements at a time.
type backwardRight struct {
	*Packed
	half bool
}

func (b backwardRight) packs() bool { return true }

func (b backwardRight) panel(scratch []float32, j, k0, kc int) (*float32, int) {
	per := panel // steps in a block of outputs
	if b.half {
		per = panel / 2
	}
	for k := 0; k < kc; k += per {
		dst, blk, n := scratch[k*panel:], (k0+k)/per, min(per, kc-k)
		switch {
		case b.half:
			b.transposePairs(dst, blk, j, n)
		case b.isBF16():
			b.transposeWidened(dst, scratch[cornerAt:], blk, j, n)
		default:
			w, width := b.block(blk)
			transposeBlock(dst, w[j*panel*width:], width, min(panel, b.In-j*panel), n)
		}
	}
	return &scratch[0], panel
}

func (b backwardRight) upcoming(j, k0, kc, i, n int) (*float32, int) {
	per := panel
	if b.half {
		per = panel / 2
	}
	blocks := (kc + per - 1) / per
	blk := k0/per + min(i, blocks-1)
	if b.isBF16() {
		w, width := b.words(blk)
		return &w[min(j*panel/2*width, len(w)-1)], 2 * panel * width
	}
	w, width := b.block(blk)
	return &w[min(j*panel*width, len(w)-1)], 4 * panel * width
}

// transposeBlock writes n rows of dst (n, 32) from src (inputs, width).
func transposeBlock(dst, src []float32, width, inputs, n int) {
	m := Mat[float32]{src, inputs, width, width}
	for c := 0; c < inputs; c += 16 {
		if n%16 == 0 && inputs-c >= 16 {
			transposeSquares(n, &src[c*width], width, &dst[c], panel)
			continue
		}
		rows := rowPointers(m, c, min(16, inputs-c), 0)
		packTransposed(n, &rows, 16, 1, &dst[c], panel)
	}
}

// transposeWidened is transposeBlock for a bfloat16 weight, which it first widens into scratch, 32 × 32 elements.
func (b backwardRight) transposeWidened(dst, scratch []float32, blk, j, n int) {
	w, width := b.words(blk)
	inputs := min(panel, b.In-j*panel)
	widenPairs(pairs(inputs), &w[j*panel/2*width], width, &scratch[0])
	transposeBlock(dst, scratch, width, inputs, n)
}

// transposePairs writes n rows of words of dst: pairs along the outputs, from blocks of pairs along the inputs.
func (b backwardRight) transposePairs(dst []float32, blk, j, n int) {
	w, width := b.words(blk)
	src := w[j*panel/2*width:]
	if b.In-j*panel >= panel {
		packPairsTransposed(min(width, 2*((n+7)/8*8)), &src[0], width, &dst[0])
		return
	}
	words := unsafe.Slice((*uint32)(unsafe.Pointer(&dst[0])), n*panel)
	from := unsafe.Slice((*uint32)(unsafe.Pointer(&src[0])), pairs(b.In-j*panel)*width)
	for o := range n {
		for i := range b.In - j*panel {
			pair := from[i/2*width+2*o:][:2]
			shift := 16 * (i % 2)
			words[o*panel+i] = pair[0]>>shift&0xffff | pair[1]>>shift<<16
		}
	}
}
