package kernel

// LoRA is a low-rank addition to a frozen weight: W + Scale·B·A, A (r, in), B (out, r). Hu et al. 2021.
type LoRA struct {
	A, B  Mat[float32]
	Scale float32
}

// LoRAGrad contains the matrices to which BackwardLoRA adds the gradients of A and B. A zero Mat means that the
// gradient is not needed.
type LoRAGrad struct{ A, B Mat[float32] }

// ForwardLoRA computes y = x·Wᵀ + Scale·(x·Aᵀ)·Bᵀ, or adds it to y, and writes z = x·Aᵀ (rows, r), which BackwardLoRA
// reads. The adapter costs little: x is packed once for W and A, and the second product is added to each tile of y
// while it is in cache, as r more steps of k.
func (p *Packed) ForwardLoRA(mode Mode, y, x Mat[float32], ad LoRA, z Mat[float32]) {
	rank := ad.A.Rows
	ad.check(p)
	z.check("lora z", x.Rows, rank)
	if p.device != nil {
		p.device.forwardLoRA(mode, y, x, ad, z)
		return
	}
	if p.fromBlocks(x.Rows) {
		p.multiplyBlocks(mode, y, x)
		MatMulNT(Set, z, 1, x, ad.A)
		MatMulNT(Add, y, ad.Scale, z, ad.B)
		return
	}
	q := p.forward(mode, y, x)
	q.adapter = &adapterProduct{rank: rank, scale: ad.Scale, z: z}
	if q.a.bf16 { // the adapter stays in float32, so it cannot share the packed x
		MatMulNT(Set, z, 1, x, ad.A)
	} else {
		q.adapter.setFirst(transposedRight{ad.A}, p.In)
	}
	q.adapter.setSecond(transposedRight{ad.B}, p.Out)
	q.run()
	q.adapter.close()
}

// BackwardLoRA computes dx (rows, in) = dy·W + Scale·(dy·B)·A, or adds it to dx, and adds the adapter's gradients to g:
// with dz = Scale·dy·B, dA += dzᵀ·x and dB += Scale·dyᵀ·z. A zero dx is not computed. z comes from ForwardLoRA.
func (p *Packed) BackwardLoRA(mode Mode, dx Mat[float32], g LoRAGrad, dy, x, z Mat[float32], ad LoRA) {
	rank := ad.A.Rows
	ad.check(p)
	if p.device != nil {
		p.device.backwardLoRA(mode, dx, g, dy, x, z, ad)
		return
	}
	buf := borrow(dy.Rows * rank)
	defer giveBack(buf)
	dz := Dense(buf.data, dy.Rows, rank) // without Scale
	switch {
	case !dx.Absent():
		q := p.backward(mode, dx, dy)
		q.adapter = &adapterProduct{rank: rank, scale: ad.Scale, z: dz}
		if q.a.bf16 {
			MatMulNN(Set, dz, 1, dy, ad.B)
		} else {
			q.adapter.setFirst(plainRight{ad.B}, p.Out)
		}
		q.adapter.setSecond(plainRight{ad.A}, p.In)
		q.run()
		q.adapter.close()
	case !g.A.Absent():
		MatMulNN(Set, dz, 1, dy, ad.B)
	}
	if !g.A.Absent() {
		MatMulTN(Add, g.A, ad.Scale, dz, x)
	}
	if !g.B.Absent() {
		MatMulTN(Add, g.B, ad.Scale, dy, z)
	}
}

func (ad LoRA) check(p *Packed) {
	ad.A.check("lora A", ad.A.Rows, p.In)
	ad.B.check("lora B", p.Out, ad.A.Rows)
}

// adapterProduct is the adapter's share of a product c = a·b: c += scale·(a·first)·second. z = a·first (m, rank) is
// also a result.
type adapterProduct struct {
	rank   int
	scale  float32
	z      Mat[float32]
	first  *buffer // (k, rank) in panels of 32 columns, [k][32]; nil if z is already computed
	depth  int     // k
	second *buffer // (rank, n) in panels, [rank][32]
	zs     *buffer // scale·z in panels like a's, [rank][height]
}

func (l *adapterProduct) setFirst(b right, k int) { l.first, l.depth = prepack(b, k, l.rank), k }

func (l *adapterProduct) setSecond(b right, n int) {
	l.second = prepack(b, l.rank, n)
	l.zs = borrow(rowsPack * l.rank)
}

func (l *adapterProduct) close() {
	for _, b := range []*buffer{l.first, l.second, l.zs} {
		if b != nil {
			giveBack(b)
		}
	}
}

// project computes rows [from, to) of z over the slab's steps, from the packed panel of these rows. After the last
// steps it packs them.
func (l *adapterProduct) project(s *slab, from, to int) {
	if l.first != nil {
		corner := borrow(16 * panel)
		for j := 0; j*panel < l.rank; j++ {
			l.projectPanel(s, from, to, j, corner.data)
		}
		giveBack(corner)
	}
	if s.k0+s.kn == s.k {
		rows := rowPointers(l.z, s.r+from, to-from, 0)
		packTransposed(l.rank, &rows, to-from, l.scale, &l.zs.data[from*l.rank], to-from)
	}
}

// projectPanel is project for columns [32·j, 32·j+32).
func (l *adapterProduct) projectPanel(s *slab, from, to, j int, corner []float32) {
	width := min(panel, l.rank-j*panel)
	tile, _ := tileFor(&s.set.tile[to-from], width)
	for k := 0; k < s.kn; k += s.block {
		kc := min(s.block, s.kn-k)
		tile(kc, &s.packed[k*s.rows+from*kc], &l.first.data[(j*l.depth+s.k0+k)*panel], panel, &corner[0], panel, k, &corner[0], 0)
	}
	add := s.k0 // nothing to add to before the first slab
	for r := from; r < to; r++ {
		store(l.z.Row(s.r + r)[j*panel:], corner[(r-from)*panel:][:width], add)
	}
}

// extend adds the adapter's share to a tile of c that is width wide.
func (l *adapterProduct) extend(s *slab, from, to, j, width int, c *float32, ldc int) {
	tile, _ := tileFor(&s.set.tile[to-from], width)
	tile(l.rank, &l.zs.data[from*l.rank], &l.second.data[j*panel*l.rank], panel, c, ldc, 1, c, 0)
}
