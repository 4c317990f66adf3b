//go:build unix

package devicetest

import (
	"math"
	"slices"

	"mambatrain/autograd/kernel"
	"mambatrain/internal/float16"
)

type mat = kernel.Mat[float32]

// widen converts a matrix of bfloat16 pairs to float32.
func widen(m mat) mat {
	w := kernel.Dense(make([]float32, m.Rows*m.Cols), m.Rows, m.Cols)
	for i := range m.Rows {
		for j := range m.Cols {
			at := i*m.Stride + j
			w.Data[i*m.Cols+j] = float16.FromBF16(uint16(math.Float32bits(m.Data[at/2]) >> (16 * (at % 2))))
		}
	}
	return w
}

// Multiply computes the products one after another.
func (d *Device) Multiply(p kernel.DeviceProduct) {
	p.C, p.A, p.B, p.A2, p.B2, p.Bias = d.mat(p.C), d.mat(p.A), d.mat(p.B), d.mat(p.A2), d.mat(p.B2), d.host(p.Bias)
	multiply := kernel.MatMulNN[float32]
	switch {
	case p.TransposeA && p.TransposeB:
		panic("devicetest: both operands are transposed")
	case p.TransposeA:
		multiply = kernel.MatMulTN
	case p.TransposeB:
		multiply = kernel.MatMulNT
	}
	d.do(func() {
		b := p.B
		if p.BF16 {
			b = widen(b)
		}
		multiply(p.Mode, p.C, p.Alpha, p.A, b)
		if !p.A2.Absent() {
			multiply(kernel.Add, p.C, p.Alpha2, p.A2, p.B2)
		}
		if p.Bias != nil {
			kernel.AddRow(p.C, p.Bias)
		}
	})
}

func (d *Device) RMSNorm(y, x mat, w []float32, eps float64) {
	y, x, w = d.mat(y), d.mat(x), d.host(w)
	d.do(func() {
		if w == nil {
			kernel.Normalize(y, x, eps)
		} else {
			kernel.RMSNorm(y, x, w, eps)
		}
	})
}

func (d *Device) RMSNormGrad(mode kernel.Mode, dx mat, dw []float32, dy, x mat, w []float32, eps float64) {
	dx, dw, dy, x, w = d.mat(dx), d.host(dw), d.mat(dy), d.mat(x), d.host(w)
	d.do(func() {
		if w == nil {
			kernel.NormalizeGrad(mode, dx, dy, x, eps)
			return
		}
		if mode == kernel.Set {
			kernel.ClearMat(dx)
		}
		kernel.RMSNormGrad(dx, dw, dy, x, w, eps)
	})
}

func (d *Device) gatedNorm(n *kernel.GatedNorm[float32]) *kernel.GatedNorm[float32] {
	c := *n
	c.Y, c.Z, c.W = d.mat(c.Y), d.mat(c.Z), d.host(c.W)
	return &c
}

func (d *Device) GatedNorm(n *kernel.GatedNorm[float32], o mat) {
	n, o = d.gatedNorm(n), d.mat(o)
	d.do(func() { n.Forward(o) })
}

func (d *Device) GatedNormGrad(n *kernel.GatedNorm[float32], g kernel.GatedNormGrad[float32], do mat) {
	n, do = d.gatedNorm(n), d.mat(do)
	g.Y, g.Z, g.W = d.mat(g.Y), d.mat(g.Z), d.host(g.W)
	d.do(func() { n.Backward(g, do) })
}

func (d *Device) conv(c kernel.Conv[float32]) kernel.Conv[float32] {
	c.W, c.Bias = d.host(c.W), d.host(c.Bias)
	return c
}

func (d *Device) Conv(c kernel.Conv[float32], y, x mat, first []int, carry []float32) {
	c, y, x, first, carry = d.conv(c), d.mat(y), d.mat(x), slices.Clone(first), d.host(carry)
	d.do(func() { c.Forward(y, x, first, carry) })
}

func (d *Device) ConvTail(c kernel.Conv[float32], carryOut []float32, x mat, first []int, carry []float32) {
	carryOut, x, first, carry = d.host(carryOut), d.mat(x), slices.Clone(first), d.host(carry)
	d.do(func() { c.Tail(carryOut, x, first, carry) })
}

func (d *Device) ConvGrad(c kernel.Conv[float32], g kernel.ConvGrad[float32], dy, x mat, first []int, carry, dTail []float32) {
	c, dy, x, first, carry, dTail = d.conv(c), d.mat(dy), d.mat(x), slices.Clone(first), d.host(carry), d.host(dTail)
	g.X, g.W, g.Bias, g.Carry = d.mat(g.X), d.host(g.W), d.host(g.Bias), d.host(g.Carry)
	d.do(func() { c.Backward(g, dy, x, first, carry, dTail) })
}

func (d *Device) scan(s *kernel.Scan[float32]) *kernel.Scan[float32] {
	return &kernel.Scan[float32]{
		U: d.mat(s.U), DT: d.mat(s.DT), B: d.mat(s.B), C: d.mat(s.C), Z: d.mat(s.Z),
		ALog: d.host(s.ALog), D: d.host(s.D), H0: d.host(s.H0), First: slices.Clone(s.First),
	}
}

func (d *Device) Scan(s *kernel.Scan[float32], y mat, saved, hOut []float32) {
	s, y, saved, hOut = d.scan(s), d.mat(y), d.host(saved), d.host(hOut)
	d.do(func() { s.Forward(y, saved, hOut) })
}

func (d *Device) ScanGrad(s *kernel.Scan[float32], g kernel.ScanGrad[float32], dy mat, saved, dhOut []float32) {
	s, dy, saved, dhOut = d.scan(s), d.mat(dy), d.host(saved), d.host(dhOut)
	g.U, g.DT, g.B, g.C, g.Z = d.mat(g.U), d.mat(g.DT), d.mat(g.B), d.mat(g.C), d.mat(g.Z)
	g.ALog, g.D, g.H0 = d.host(g.ALog), d.host(g.D), d.host(g.H0)
	d.do(func() { s.Backward(g, dy, saved, dhOut) })
}

func (d *Device) ssd(s *kernel.SSD[float32]) *kernel.SSD[float32] {
	c := *s
	c.X, c.B, c.C, c.DT = d.mat(c.X), d.mat(c.B), d.mat(c.C), d.mat(c.DT)
	c.DTBias, c.ALog, c.D, c.H0, c.First = d.host(c.DTBias), d.host(c.ALog), d.host(c.D), d.host(c.H0), slices.Clone(c.First)
	return &c
}

func (d *Device) SSD(s *kernel.SSD[float32], y mat, saved, hOut []float32) {
	s, y, saved, hOut = d.ssd(s), d.mat(y), d.host(saved), d.host(hOut)
	d.do(func() { s.Forward(y, saved, hOut) })
}

func (d *Device) SSDGrad(s *kernel.SSD[float32], g kernel.SSDGrad[float32], dy mat, saved, dhOut []float32) {
	s, dy, saved, dhOut = d.ssd(s), d.mat(dy), d.host(saved), d.host(dhOut)
	g.X, g.B, g.C, g.DT = d.mat(g.X), d.mat(g.B), d.mat(g.C), d.mat(g.DT)
	g.DTBias, g.ALog, g.D, g.H0 = d.host(g.DTBias), d.host(g.ALog), d.host(g.D), d.host(g.H0)
	d.do(func() { s.Backward(g, dy, saved, dhOut) })
}

func (d *Device) CrossEntropy(l kernel.DeviceLoss) {
	l.NLL, l.Hits, l.DLogits, l.Logits, l.Targets = d.host(l.NLL), d.host(l.Hits), d.mat(l.DLogits), d.mat(l.Logits), slices.Clone(l.Targets)
	d.do(func() {
		if l.Hits != nil {
			best := make([]int, len(l.Targets))
			kernel.ArgMax(best, l.Logits)
			for i, target := range l.Targets {
				l.Hits[i] = 0
				if best[i] == target {
					l.Hits[i] = 1
				}
			}
		}
		nll := make([]float64, len(l.Targets))
		kernel.CrossEntropy(nll, l.DLogits, l.Logits, l.Targets, l.Scale, l.Smoothing)
		for i, v := range nll {
			l.NLL[i] = float32(v)
		}
	})
}

func (d *Device) Copy(y, x mat) {
	y, x = d.mat(y), d.mat(x)
	d.do(func() { kernel.CopyMat(y, x) })
}

func (d *Device) Add(y, x mat) {
	y, x = d.mat(y), d.mat(x)
	d.do(func() { kernel.AddMat(y, x) })
}

func (d *Device) Fill(y mat, v float32) {
	y = d.mat(y)
	d.do(func() {
		for i := range y.Rows {
			for j := range y.Row(i) {
				y.Row(i)[j] = v
			}
		}
	})
}

func (d *Device) Scale(x []float32, k float32) {
	x = d.host(x)
	d.do(func() { kernel.Scale(x, k) })
}

func (d *Device) AddRow(y mat, b []float32) {
	y, b = d.mat(y), d.host(b)
	d.do(func() { kernel.AddRow(y, b) })
}

func (d *Device) SumRows(dst []float32, x mat) {
	dst, x = d.host(dst), d.mat(x)
	d.do(func() { kernel.SumRows(dst, x) })
}

func (d *Device) ScaleColumns(mode kernel.Mode, y, x mat, a, b []float32) {
	y, x, a, b = d.mat(y), d.mat(x), d.host(a), d.host(b)
	d.do(func() { kernel.ScaleColumns(mode, y, x, a, b) })
}

func (d *Device) DotColumns(dst []float32, x, y mat, factor []float32) {
	dst, x, y, factor = d.host(dst), d.mat(x), d.mat(y), d.host(factor)
	d.do(func() { kernel.DotColumns(dst, x, y, factor) })
}

func (d *Device) InverseRowNorms(dst []float32, x mat) {
	dst, x = d.host(dst), d.mat(x)
	d.do(func() { kernel.InverseRowNorms(dst, slices.Values([]mat{x})) })
}

func (d *Device) AddColumnSquares(dst []float32, x mat) {
	dst, x = d.host(dst), d.mat(x)
	d.do(func() {
		for i := range x.Rows {
			for j, v := range x.Row(i) {
				dst[j] += v * v
			}
		}
	})
}

func (d *Device) InverseRoots(x []float32) {
	x = d.host(x)
	d.do(func() {
		for i, v := range x {
			x[i] = float32(kernel.InverseNorm(math.Sqrt(float64(v))))
		}
	})
}

func (d *Device) Drop(y, x mat, o kernel.Dropout) {
	y, x, o.Rows = d.mat(y), d.mat(x), slices.Clone(o.Rows)
	d.do(func() { kernel.Drop(y, x, o) })
}

func (d *Device) Gather(y, table mat, ids []int) {
	y, table, ids = d.mat(y), d.mat(table), slices.Clone(ids)
	d.do(func() { kernel.Gather(y, table, ids) })
}

func (d *Device) GatherBF16(y, table mat, ids []int) {
	y, table, ids = d.mat(y), d.mat(table), slices.Clone(ids)
	d.do(func() { kernel.Gather(y, widen(table), ids) })
}

func (d *Device) GatherColumns(y, table mat, ids []int) {
	y, table, ids = d.mat(y), d.mat(table), slices.Clone(ids)
	d.do(func() { kernel.GatherColumns(y, table, ids) })
}

func (d *Device) ScatterAdd(dtable, dy mat, ids []int) {
	dtable, dy, ids = d.mat(dtable), d.mat(dy), slices.Clone(ids)
	d.do(func() { kernel.ScatterAdd(dtable, dy, ids) })
}

func (d *Device) ScatterAddColumns(dtable, dy mat, ids []int) {
	dtable, dy, ids = d.mat(dtable), d.mat(dy), slices.Clone(ids)
	d.do(func() { kernel.ScatterAddColumns(dtable, dy, ids) })
}

func (d *Device) AdamW(w, g, m, v []float32, h kernel.AdamWStep) {
	w, g, m, v = d.host(w), d.host(g), d.host(m), d.host(v)
	d.do(func() { kernel.AdamW(w, g, m, v, h) })
}

func (d *Device) SumSquares(sum, x []float32) {
	sum, x = d.host(sum), d.host(x)
	d.do(func() { sum[0] = float32(kernel.SumSquares(x)) })
}

func (d *Device) CountNotFinite(count, x []float32) {
	count, x = d.host(count), d.host(x)
	d.do(func() {
		count[0] = 0
		for _, v := range x {
			if !kernel.AllFinite([]float32{v}) {
				count[0]++
			}
		}
	})
}
