package kernel

import (
	"fmt"
	"unsafe"
)

// panel is the width of a packed block: this many outputs lie side by side for every input.
const panel = 32

// Packed is a frozen weight (out, in) in the order in which matrix products read it, packed once and used in both
// directions. It replaces the plain copy, which can be dropped: Unpack and Gather read it back exactly.
//
// Outputs are cut into blocks of 32; inside a block the inputs follow each other, each with its 32 outputs side by side:
// element (o, i) is at block(o/32) + i·32 + o%32. A last block of up to 16 outputs is 16 wide. Missing outputs are zero.
// In bfloat16 two inputs share a 32-bit word, the pair that the dot-product instruction multiplies at once:
// (o, i) is at block(o/32) + (i/2)·64 + (o%32)·2 + i%2.
type Packed struct {
	Out, In int
	f32     []float32
	b16     []uint16
}

// Pack packs w (out, in).
func Pack(w Mat[float32]) *Packed {
	p, err := PackRows(w.Rows, w.Cols, func(o int, dst []float32) error {
		copy(dst, w.Row(o))
		return nil
	})
	if err != nil {
		panic(err) // the closure above has no error to give
	}
	return p
}

// PackRows packs a weight (out, in) that row delivers one row at a time, in ascending order, so that it never has to be
// in memory unpacked. An error of row ends it and is returned.
func PackRows(out, in int, row func(o int, dst []float32) error) (*Packed, error) {
	p := &Packed{Out: out, In: in, f32: make([]float32, paddedWidth(out)*in)}
	buf := make([]float32, panel*in)
	for o := 0; o < out; o += panel {
		n := min(panel, out-o)
		for r := range n {
			if err := row(o+r, buf[r*in:(r+1)*in]); err != nil {
				return nil, fmt.Errorf("kernel: pack row %d: %w", o+r, err)
			}
		}
		blk, width := p.block(o / panel)
		For(in, packGrain, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				for r := range n {
					blk[i*width+r] = buf[r*in+i]
				}
			}
		})
	}
	return p, nil
}

// PackBF16 packs a weight (out, in) whose elements are bfloat16 bits, row by row without gaps.
func PackBF16(w []uint16, out, in int) *Packed {
	p := &Packed{Out: out, In: in, b16: make([]uint16, paddedWidth(out)*2*pairs(in))}
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

// packGrain is how many inputs of a block one task packs.
const packGrain = 512

// pairs is how many bfloat16 pairs n elements fill.
func pairs(n int) int { return (n + 1) / 2 }

// paddedWidth is how many outputs the blocks of out hold together.
func paddedWidth(out int) int { return (out + 15) / 16 * 16 }

// blockWidth is 32, or 16 for a last block that needs no more.
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

// IsBF16 reports whether the weight is kept in bfloat16.
func (p *Packed) IsBF16() bool { return p.b16 != nil }

// Bytes returns the memory the weight takes.
func (p *Packed) Bytes() int { return len(p.f32)*int(unsafe.Sizeof(float32(0))) + len(p.b16)*2 }

// at returns weight (o, i).
func (p *Packed) at(o, i int) float32 {
	if p.IsBF16() {
		blk, w := p.block16(o / panel)
		return FromBF16(blk[i/2*2*w+o%panel*2+i%2])
	}
	blk, w := p.block(o / panel)
	return blk[i*w+o%panel]
}

// Gather writes row ids[i] of the weight to row i of y (len(ids), in): the embedding of a model whose head is tied to it.
func (p *Packed) Gather(y Mat[float32], ids []int) {
	y.check("gather y", len(ids), p.In)
	For(len(ids), rowGrain, func(lo, hi int) {
		for r := lo; r < hi; r++ {
			dst := y.Row(r)
			for i := range dst {
				dst[i] = p.at(ids[r], i)
			}
		}
	})
}

// Unpack writes the weight back to w (out, in). A bfloat16 weight is widened.
func (p *Packed) Unpack(w Mat[float32]) {
	w.check("unpack w", p.Out, p.In)
	For(p.Out, panel, func(lo, hi int) {
		for i := range p.In {
			for o := lo; o < hi; o++ {
				w.Data[o*w.Stride+i] = p.at(o, i)
			}
		}
	})
}

// Forward computes y (rows, out) = x (rows, in)·Wᵀ, or adds it to y.
func (p *Packed) Forward(mode Mode, y, x Mat[float32]) {
	x.check("forward x", x.Rows, p.In)
	y.check("forward y", x.Rows, p.Out)
	For(p.Out, panel, func(lo, hi int) {
		w := make([]float32, p.In)
		for o := lo; o < hi; o++ {
			for i := range w {
				w[i] = p.at(o, i)
			}
			for r := range x.Rows {
				var s float32
				for i, v := range x.Row(r) {
					s += v * w[i]
				}
				put(mode, &y.Data[r*y.Stride+o], s)
			}
		}
	})
}

// Backward computes dx (rows, in) = dy (rows, out)·W, or adds it to dx.
func (p *Packed) Backward(mode Mode, dx, dy Mat[float32]) {
	dy.check("backward dy", dy.Rows, p.Out)
	dx.check("backward dx", dy.Rows, p.In)
	For(p.In, panel, func(lo, hi int) {
		w := make([]float32, p.Out)
		for i := lo; i < hi; i++ {
			for o := range w {
				w[o] = p.at(o, i)
			}
			for r := range dy.Rows {
				var s float32
				for o, v := range dy.Row(r) {
					s += v * w[o]
				}
				put(mode, &dx.Data[r*dx.Stride+i], s)
			}
		}
	})
}
