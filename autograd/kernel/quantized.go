package kernel

import (
	"fmt"
	"unsafe"

	"mambatrain/internal/quant"
)

// blocks contains the elements of a quantized weight as llama.cpp stores them: row after row, each in whole blocks of
// its type.
type blocks struct {
	of     quant.Type
	data   []byte
	stride int // bytes of a row
}

// strip is the number of neighboring elements of a row that are dequantized together. It divides every block of k.
const strip = 32

// fewRows is the largest number of rows for which a product reads the blocks directly. With more rows, dequantizing
// panels pays off.
const fewRows = 6

// PackQuantized returns a frozen weight (out, in) that stays in the blocks of a GGUF file. It refers to data, which
// must not change and may be mapped from a file. Products use float32 arithmetic on the dequantized elements.
func PackQuantized(of quant.Type, data []byte, out, in int) (*Packed, error) {
	if !of.Readable() {
		return nil, fmt.Errorf("kernel: quantized weight: elements of type %v cannot be read", of)
	}
	if out < 1 || in < 1 || in%of.Block() != 0 {
		return nil, fmt.Errorf("kernel: quantized weight: (%d, %d) in %v: rows must be multiples of %d elements", out, in, of, of.Block())
	}
	b := &blocks{of, data, of.Bytes(in)}
	if len(data)%b.stride != 0 || len(data)/b.stride != out {
		return nil, fmt.Errorf("kernel: quantized weight: (%d, %d) in %v: %d bytes, want %d rows of %d", out, in, of, len(data), out, b.stride)
	}
	return &Packed{Out: out, In: in, blocks: b}, nil
}

// Quantized returns the type and the blocks of a quantized weight.
func (p *Packed) Quantized() (of quant.Type, data []byte, ok bool) {
	if p.blocks == nil {
		return 0, nil, false
	}
	return p.blocks.of, p.blocks.data, true
}

// row returns the blocks of row o.
func (b *blocks) row(o int) []byte { return b.data[o*b.stride:][:b.stride] }

// address returns the address of the block that contains element i of row o, for prefetching.
func (b *blocks) address(o, i int) *float32 {
	return (*float32)(unsafe.Pointer(&b.row(o)[b.of.Bytes(i/b.of.Block()*b.of.Block())]))
}

// readStrip writes elements [i, i+y.Cols) of rows o, o+1, … to the rows of y: one strip, or less at the end of a row.
func (b *blocks) readStrip(y Mat[float32], o, i int) {
	if k := b.kernelsFor(y.Cols, b.stripWidth()); k != nil {
		k.readStrip(b, y, o, i)
		return
	}
	b.readStripRef(y, o, i)
}

// dotRows sets y[r] to the inner product of row o+r with row t of x.
func (b *blocks) dotRows(y []float32, x preparedX, t, o int) {
	if k := b.kernelsFor(x.plain.Cols, quantForms[b.of].values); k != nil {
		k.dotRows(b, y, x.rows.Row(t), o)
		return
	}
	b.dotRowsRef(y, x.plain.Row(t), o)
}

// preparedX is x with its rows laid out for dotRows.
type preparedX struct {
	plain, rows Mat[float32]
	buf         *buffer // backs rows, or nil
}

// prepare returns x in the layout that dotRows requires. The result must be closed.
func (b *blocks) prepare(x Mat[float32]) preparedX {
	form := quantForms[b.of]
	if !form.strips || b.kernelsFor(x.Cols, form.values) == nil {
		return preparedX{x, x, nil}
	}
	width := x.Cols / strip * len(xStrip{})
	buf := borrow(x.Rows * width)
	rows := Dense(buf.data, x.Rows, width)
	For(x.Rows, 1, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			form.prepareRow(rows.Row(t), x.Row(t))
		}
	})
	return preparedX{x, rows, buf}
}

func (x preparedX) close() {
	if x.buf != nil {
		giveBack(x.buf)
	}
}

// fromBlocks reports whether a product with this many rows reads the blocks directly.
func (p *Packed) fromBlocks(rows int) bool { return p.blocks != nil && rows <= fewRows }

// multiplyBlocks computes y = x·Wᵀ, or adds it to y, for few rows: each piece of the weight is read once, for all rows of x.
func (p *Packed) multiplyBlocks(mode Mode, y, x Mat[float32]) {
	x.check("forward x", x.Rows, p.In)
	y.check("forward y", x.Rows, p.Out)
	prepared := p.blocks.prepare(x)
	defer prepared.close()
	// The first blocks of a task are beyond the reach of the prefetches before it, so most tasks are long.
	groups := taper{(p.Out + maxDotRows - 1) / maxDotRows, 2 * Threads()}
	runTasks(groups.count(), func(task int) {
		lo, hi := groups.piece(task)
		lo, hi = lo*maxDotRows, min(hi*maxDotRows, p.Out)
		sums := borrow(hi - lo)
		defer giveBack(sums)
		for t := range x.Rows {
			to := y.Row(t)[lo:hi]
			if mode == Set {
				p.blocks.dotRows(to, prepared, t, lo)
				continue
			}
			p.blocks.dotRows(sums.data, prepared, t, lo)
			store(to, sums.data, 1)
		}
	})
}

// stripRoom is the number of elements of scratch that panel needs for strips: 16 rows of one strip.
const stripRoom = 16 * strip

// quantizedForward is Wᵀ (in, out) of a quantized weight. Its panels are dequantized strip by strip and transposed.
type quantizedForward struct{ *Packed }

func (quantizedForward) packs() bool { return true }

func (f quantizedForward) panel(scratch []float32, j, k0, kc int) (*float32, int) {
	rows := scratch[stripsAt:][:stripRoom]
	for o := j * panel; o < min(f.Out, (j+1)*panel); o += 16 {
		for k := 0; k < kc; k += strip {
			y := Mat[float32]{rows, min(16, f.Out-o), min(strip, kc-k), strip}
			f.blocks.readStrip(y, o, k0+k)
			transposeBlock(scratch[k*panel+o%panel:], rows, strip, y.Rows, y.Cols)
		}
	}
	return &scratch[0], panel
}

func (f quantizedForward) upcoming(j, k0, kc, i, n int) (*float32, int) {
	return f.blocks.address(min(j*panel+panel*i/n, f.Out-1), min(k0, f.In-1)), f.blocks.of.Bytes(kc)
}

// quantizedBackward is W (out, in) of a quantized weight. A panel is one strip of some rows.
type quantizedBackward struct{ *Packed }

func (quantizedBackward) packs() bool { return true }

func (b quantizedBackward) panel(scratch []float32, j, k0, kc int) (*float32, int) {
	b.blocks.readStrip(Mat[float32]{scratch, kc, min(panel, b.In-j*panel), panel}, k0, j*panel)
	return &scratch[0], panel
}

func (b quantizedBackward) upcoming(j, k0, kc, i, n int) (*float32, int) {
	return b.blocks.address(k0+kc*i/n, min(j*panel, b.In-1)), b.blocks.stride
}
