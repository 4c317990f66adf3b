package vulkan

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"mambatrain/autograd/kernel"
)

// selfTests returns cases for every kernel and every shader. Sizes are odd, to cover incomplete rows and blocks.
func selfTests() []testCase {
	first := documents(3, 1, 96, 29)
	return []testCase{
		productCase(product{m: 65, n: 70, k: 129, transposeB: true}),
		productCase(product{m: 65, n: 70, k: 129, mode: kernel.Add}),
		productCase(product{m: 9, n: 70, k: 1100, transposeA: true, mode: kernel.Add}),
		productCase(product{m: 70, n: 9, k: 33, transposeB: true, rank: 5, bias: true}),
		productCase(product{m: 65, n: 70, k: 129, transposeB: true, bf16: true}),
		productCase(product{m: 65, n: 70, k: 129, rank: 8, bf16: true}),
		normCase(norm{rows: 130, m: 200}),
		normCase(norm{rows: 5, m: 3, weightless: true}),
		gatedNormCase(gatedNorm{rows: 130, d: 96, groups: 2}),
		convCase(conv{first: first, d: 70, k: 4, act: kernel.SiLU}),
		convCase(conv{first: continued(7, 2, 40, 60), d: 5, k: 4, act: kernel.SiLU, carried: true}),
		scanCase(scanShape{first: first, d: 35, n: 16, gate: true}),
		scanCase(scanShape{first: continued(9, 70, 30), d: 9, n: 5, carried: true}),
		ssdCase(ssdShape{first: first, heads: 6, p: 5, n: 7, groups: 2}),
		ssdCase(ssdShape{first: continued(9, 70, 30), heads: 5, p: 9, n: 70, groups: 1, carried: true, limit: true}),
		lossCase(loss{rows: 9, v: 1003, smoothing: 0.1}),
		elementwiseCase(), columnsCase(), gatherCase(), dropoutCase(), optimizerCase(), reduceCase(),
	}
}

// product describes a matrix product.
type product struct {
	m, n, k, rank          int
	mode                   kernel.Mode
	transposeA, transposeB bool
	bias, bf16             bool
}

func (p product) String() string {
	form := "NN"
	switch {
	case p.transposeA:
		form = "TN"
	case p.transposeB:
		form = "NT"
	}
	return fmt.Sprintf("product %s %d×%d×%d", form, p.m, p.n, p.k) +
		options(map[string]bool{"added": p.mode == kernel.Add, "adapter": p.rank > 0, "bias": p.bias, "bfloat16": p.bf16})
}

// options lists the enabled options.
func options(all map[string]bool) (s string) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name] {
			s += ", " + name
		}
	}
	return s
}

// both returns a case from the two instances of a generic function.
func both(name string, device func(*operands[float32]), host func(*operands[float64])) testCase {
	return testCase{name, device, host}
}

func productCase(p product) testCase {
	return both(p.String(),
		func(o *operands[float32]) { runProduct(o, p) },
		func(o *operands[float64]) { runProduct(o, p) })
}

// productOperands is kernel.DeviceProduct in any precision.
type productOperands[T kernel.Float] struct {
	product
	c, a, b, a2, b2 kernel.Mat[T]
	bias            []T
}

// The factors of the two terms.
const (
	productAlpha  = 0.5
	productAlpha2 = 2
)

func runProduct[T kernel.Float](o *operands[T], p product) {
	shape := func(rows, cols int, transposed bool) (int, int) {
		if transposed {
			return cols, rows
		}
		return rows, cols
	}
	x := productOperands[T]{product: p, c: o.destination(p.mode, p.m, p.n), a: o.matrix(shape(p.m, p.k, p.transposeA))}
	if p.bf16 {
		x.b = o.bf16(shape(p.k, p.n, p.transposeB))
	} else {
		x.b = o.matrix(shape(p.k, p.n, p.transposeB))
	}
	if p.rank > 0 {
		x.a2, x.b2 = o.matrix(shape(p.m, p.rank, p.transposeA)), o.matrix(shape(p.rank, p.n, p.transposeB))
	}
	if p.bias {
		x.bias = o.normal(p.n)
	}
	o.multiply(x)
}

// multiplyOn records the product on a device.
func multiplyOn(d kernel.Device) func(productOperands[float32]) {
	return func(x productOperands[float32]) {
		d.Multiply(kernel.DeviceProduct{
			Mode: x.mode, C: x.c, A: x.a, B: x.b, A2: x.a2, B2: x.b2, TransposeA: x.transposeA, TransposeB: x.transposeB,
			Alpha: productAlpha, Alpha2: productAlpha2, Bias: x.bias, BF16: x.bf16,
		})
	}
}

// multiplyOnHost computes the product in float64.
func multiplyOnHost(x productOperands[float64]) {
	form := kernel.MatMulNN[float64]
	switch {
	case x.transposeA:
		form = kernel.MatMulTN[float64]
	case x.transposeB:
		form = kernel.MatMulNT[float64]
	}
	form(x.mode, x.c, productAlpha, x.a, x.b)
	if x.rank > 0 {
		form(kernel.Add, x.c, productAlpha2, x.a2, x.b2)
	}
	if x.bias != nil {
		kernel.AddRow(x.c, x.bias)
	}
}

type norm struct {
	rows, m    int
	weightless bool
}

// testEps is the eps of the norms.
const testEps = 1e-5

func normCase(n norm) testCase {
	return both(fmt.Sprintf("norm %d×%d", n.rows, n.m)+options(map[string]bool{"weightless": n.weightless}),
		func(o *operands[float32]) { runNorm(o, n) },
		func(o *operands[float64]) { runNorm(o, n) })
}

func runNorm[T kernel.Float](o *operands[T], n norm) {
	x, y, dy, dx := o.matrix(n.rows, n.m), o.destination(kernel.Set, n.rows, n.m), o.matrix(n.rows, n.m), o.matrix(n.rows, n.m)
	if n.weightless {
		kernel.Normalize(y, x, testEps)
		kernel.NormalizeGrad(kernel.Add, dx, dy, x, testEps)
		kernel.NormalizeGrad(kernel.Set, dy, dy, x, testEps)
		return
	}
	w, dw := o.normal(n.m), o.normal(n.m)
	kernel.RMSNorm(y, x, w, testEps)
	kernel.RMSNormGrad(dx, dw, dy, x, w, testEps)
	kernel.RMSNormGrad(kernel.Mat[T]{}, dw, dy, x, w, testEps)
	kernel.RMSNormGrad(dx, nil, dy, x, w, testEps)
	kernel.RMSNorm(x, x, w, testEps)
}

type gatedNorm struct {
	rows, d, groups int
	fresh           bool
}

func gatedNormCase(n gatedNorm) testCase {
	return both(fmt.Sprintf("gated norm %d×%d, %d groups", n.rows, n.d, n.groups)+options(map[string]bool{"fresh": n.fresh}),
		func(o *operands[float32]) { runGatedNorm(o, n) },
		func(o *operands[float64]) { runGatedNorm(o, n) })
}

func runGatedNorm[T kernel.Float](o *operands[T], s gatedNorm) {
	n := &kernel.GatedNorm[T]{Y: o.matrix(s.rows, s.d), Z: o.matrix(s.rows, s.d), W: o.normal(s.d), Groups: s.groups, Eps: testEps}
	mode := kernel.Add
	if s.fresh {
		mode = kernel.Set
	}
	g := kernel.GatedNormGrad[T]{Y: o.destination(mode, s.rows, s.d), Z: o.destination(mode, s.rows, s.d), W: o.normal(s.d)}
	g.Fresh.Y, g.Fresh.Z = s.fresh, s.fresh
	n.Forward(o.destination(kernel.Set, s.rows, s.d))
	n.Backward(g, o.matrix(s.rows, s.d))
	n.Forward(n.Y)
}

type conv struct {
	first   []int
	d, k    int
	act     kernel.Activation
	carried bool // has state from the previous batch and for the next one
}

func convCase(c conv) testCase {
	return both(fmt.Sprintf("convolution %d×%d, %d taps, activation %d", len(c.first), c.d, c.k, c.act)+options(map[string]bool{"carried": c.carried}),
		func(o *operands[float32]) { runConv(o, c) },
		func(o *operands[float64]) { runConv(o, c) })
}

func runConv[T kernel.Float](o *operands[T], s conv) {
	rows, between := len(s.first), (s.k-1)*s.d
	x, dy := o.matrix(rows, s.d), o.matrix(rows, s.d)
	c := kernel.Conv[T]{W: o.normal(s.d * s.k), Bias: o.normal(s.d), K: s.k, Act: s.act}
	g := kernel.ConvGrad[T]{X: o.matrix(rows, s.d), W: o.normal(s.d * s.k), Bias: o.normal(s.d)}
	var carry, dTail []T
	if s.carried {
		carry, dTail, g.Carry = o.stateBefore(s.first, between), o.normal(between), o.normal(between)
	}
	c.Forward(o.destination(kernel.Set, rows, s.d), x, s.first, carry)
	c.Backward(g, dy, x, s.first, carry, dTail)
	c.Tail(o.stale(between), x, s.first, carry)
	if s.carried {
		c.Tail(carry, x, s.first, carry)
	}
}

type scanShape struct {
	first   []int
	d, n    int
	gate    bool
	carried bool // has state from the previous batch and for the next one
	fresh   bool
}

func scanCase(s scanShape) testCase {
	return both(fmt.Sprintf("scan %d×%d, %d states", len(s.first), s.d, s.n)+options(map[string]bool{"carried": s.carried, "fresh": s.fresh, "gate": s.gate}),
		func(o *operands[float32]) { runScan(o, s) },
		func(o *operands[float64]) { runScan(o, s) })
}

func runScan[T kernel.Float](o *operands[T], s scanShape) {
	rows, size := len(s.first), s.d*s.n
	timeStep := func() float64 { return -4 + 2*o.r.NormFloat64() }
	k := &kernel.Scan[T]{
		U: o.matrix(rows, s.d), DT: padded(o.draw(rows*(s.d+gap), timeStep), rows, s.d),
		ALog: o.draw(size, func() float64 { return math.Log(1 + 15*o.r.Float64()) }), D: o.normal(s.d), First: s.first,
	}
	mode := kernel.Add
	if s.fresh {
		mode = kernel.Set
	}
	g := kernel.ScanGrad[T]{U: o.destination(mode, rows, s.d), DT: o.destination(mode, rows, s.d), ALog: o.normal(size), D: o.normal(s.d)}
	g.Fresh.U, g.Fresh.DT, g.Fresh.Z = s.fresh, s.fresh, s.fresh
	// B and C are columns of one matrix.
	x, dx := o.matrix(rows, 2*s.n), o.matrix(rows, 2*s.n)
	k.B, k.C = x.Slice(0, rows, 0, s.n), x.Slice(0, rows, s.n, 2*s.n)
	g.B, g.C = dx.Slice(0, rows, 0, s.n), dx.Slice(0, rows, s.n, 2*s.n)
	if s.gate {
		k.Z, g.Z = o.matrix(rows, s.d), o.destination(mode, rows, s.d)
	}
	var hOut, dhOut []T
	if s.carried {
		k.H0, g.H0, hOut, dhOut = o.stateBefore(s.first, size), o.normal(size), o.stale(size), o.normal(size)
	}
	saved := o.scratch(kernel.ScanSaved(rows, s.d, s.n))
	k.Forward(o.destination(kernel.Set, rows, s.d), saved, hOut)
	k.Backward(g, o.matrix(rows, s.d), saved, dhOut)
	k.Forward(o.destination(kernel.Set, rows, s.d), nil, nil)
}

type ssdShape struct {
	first               []int
	heads, p, n, groups int
	carried             bool // has state from the previous batch and for the next one
	fresh               bool
	limit               bool // limits the time step
}

func ssdCase(s ssdShape) testCase {
	return both(fmt.Sprintf("state space duality %d rows, %d heads of %d, %d groups of %d", len(s.first), s.heads, s.p, s.groups, s.n)+options(map[string]bool{"carried": s.carried, "fresh": s.fresh, "limits": s.limit}),
		func(o *operands[float32]) { runSSD(o, s) },
		func(o *operands[float64]) { runSSD(o, s) })
}

func runSSD[T kernel.Float](o *operands[T], s ssdShape) {
	rows, width, states := len(s.first), s.heads*s.p, s.groups*s.n
	k := &kernel.SSD[T]{
		X: o.matrix(rows, width), B: o.matrix(rows, states), C: o.matrix(rows, states), DT: o.matrix(rows, s.heads),
		DTBias: o.draw(s.heads, func() float64 { return -3 + o.r.NormFloat64() }),
		ALog:   o.draw(s.heads, func() float64 { return math.Log(1 + 15*o.r.Float64()) }), D: o.normal(s.heads),
		Groups: s.groups, First: s.first, Limit: [2]float64{0, math.Inf(1)},
	}
	if s.limit {
		k.Limit = [2]float64{0.03, 0.2}
	}
	mode := kernel.Add
	if s.fresh {
		mode = kernel.Set
	}
	g := kernel.SSDGrad[T]{
		X: o.destination(mode, rows, width), B: o.destination(mode, rows, states), C: o.destination(mode, rows, states), DT: o.destination(mode, rows, s.heads),
		DTBias: o.normal(s.heads), ALog: o.normal(s.heads), D: o.normal(s.heads),
	}
	g.Fresh.X, g.Fresh.B, g.Fresh.C, g.Fresh.DT = s.fresh, s.fresh, s.fresh, s.fresh
	var hOut, dhOut []T
	if size := width * s.n; s.carried {
		k.H0, g.H0, hOut, dhOut = o.stateBefore(s.first, size), o.normal(size), o.stale(size), o.normal(size)
	}
	saved := o.scratch(max(1, kernel.SSDSaved(rows, width*s.n, 0)))
	k.Forward(o.destination(kernel.Set, rows, width), saved, hOut)
	k.Backward(g, o.matrix(rows, width), saved, dhOut)
}

type loss struct {
	rows, v   int
	smoothing float64
}

// lossScale is the factor of the gradient.
const lossScale = 0.5

func lossCase(l loss) testCase {
	return both(fmt.Sprintf("cross entropy %d×%d, smoothing %v", l.rows, l.v, l.smoothing),
		func(o *operands[float32]) { runLoss(o, l) },
		func(o *operands[float64]) { runLoss(o, l) })
}

// runLoss computes the loss without a gradient, with a separate gradient, and with the gradient written over the
// logits.
func runLoss[T kernel.Float](o *operands[T], l loss) {
	logits := padded(o.draw(l.rows*(l.v+gap), func() float64 { return 5 * o.r.NormFloat64() }), l.rows, l.v)
	targets := make([]int, l.rows)
	for i := range targets {
		targets[i] = o.r.IntN(l.v+1) - 1
	}
	for _, dlogits := range []kernel.Mat[T]{{}, o.destination(kernel.Set, l.rows, l.v), logits} {
		o.loss(lossOperands[T]{loss: l, nll: o.stale(l.rows), hits: o.stale(l.rows), logits: logits, dlogits: dlogits, targets: targets})
	}
}

// lossOperands is kernel.DeviceLoss in any precision.
type lossOperands[T kernel.Float] struct {
	loss
	nll, hits       []T
	logits, dlogits kernel.Mat[T]
	targets         []int
}

func lossOn(d kernel.Device) func(lossOperands[float32]) {
	return func(x lossOperands[float32]) {
		d.CrossEntropy(kernel.DeviceLoss{
			NLL: x.nll, Hits: x.hits, DLogits: x.dlogits, Logits: x.logits, Targets: x.targets, Scale: lossScale, Smoothing: x.smoothing,
		})
	}
}

func lossOnHost(x lossOperands[float64]) {
	best := make([]int, x.rows)
	kernel.ArgMax(best, x.logits)
	for i, target := range x.targets {
		x.hits[i] = 0
		if best[i] == target {
			x.hits[i] = 1
		}
	}
	kernel.CrossEntropy(x.nll, x.dlogits, x.logits, x.targets, lossScale, x.smoothing)
}

func elementwiseCase() testCase {
	return both("elementwise", runElementwise[float32], runElementwise[float64])
}

func runElementwise[T kernel.Float](o *operands[T]) {
	const rows, cols = 5, 130
	x, y, b := o.matrix(rows, cols), o.matrix(rows, cols), o.normal(cols)
	kernel.AddMat(y, x)
	kernel.AddRow(y, b)
	kernel.CopyMat(o.destination(kernel.Set, rows, cols), y)
	kernel.ClearMat(o.destination(kernel.Set, rows, cols))
	kernel.Scale(o.normal(1000), 3)
}

func columnsCase() testCase { return both("columns", runColumns[float32], runColumns[float64]) }

func runColumns[T kernel.Float](o *operands[T]) {
	const rows, cols = 150, 70
	x, y, a, b := o.matrix(rows, cols), o.matrix(rows, cols), o.normal(cols), o.normal(cols)
	kernel.SumRows(o.normal(cols), x)
	kernel.DotColumns(o.normal(cols), x, y, a)
	kernel.ScaleColumns(kernel.Set, o.destination(kernel.Set, rows, cols), x, a, b)
	kernel.ScaleColumns(kernel.Add, y, x, a, b)
	kernel.ScaleColumns(kernel.Set, y, y, a, b)
	kernel.ClearMat(x.Slice(2, 3, 0, cols))
	kernel.InverseRowNorms(o.stale(rows), blocksOf(x))
	kernel.ClearMat(x.Slice(0, rows, 2, 3))
	kernel.InverseColumnNorms(o.stale(cols), blocksOf(x))
}

// blocksOf splits x into blocks of rows.
func blocksOf[T kernel.Float](x kernel.Mat[T]) func(yield func(kernel.Mat[T]) bool) {
	const rows = 64
	return func(yield func(kernel.Mat[T]) bool) {
		for i := 0; i < x.Rows; i += rows {
			if !yield(x.Slice(i, min(x.Rows, i+rows), 0, x.Cols)) {
				return
			}
		}
	}
}

func gatherCase() testCase { return both("gather and scatter", runGather[float32], runGather[float64]) }

func runGather[T kernel.Float](o *operands[T]) {
	const v, m, rank, rows = 50, 70, 8, 200
	ids := make([]int, rows)
	for i := range ids {
		ids[i] = o.r.IntN(v)
	}
	table, columns := o.matrix(v, m), o.matrix(rank, v)
	y, z := o.destination(kernel.Set, rows, m), o.destination(kernel.Set, rows, rank)
	kernel.Gather(y, table, ids)
	kernel.ScatterAdd(table, y, ids)
	kernel.GatherColumns(z, columns, ids)
	kernel.ScatterAddColumns(columns, z, ids)
	half := o.destination(kernel.Set, rows, m)
	o.gatherBF16(half, o.bf16(v, m), ids)
}

func dropoutCase() testCase { return both("dropout", runDropout[float32], runDropout[float64]) }

func runDropout[T kernel.Float](o *operands[T]) {
	const rows, cols = 50, 100
	x, numbers := o.matrix(rows, cols), o.r.Perm(rows)
	kernel.Drop(o.destination(kernel.Set, rows, cols), x, kernel.Dropout{Seed: o.r.Uint64(), Share: 0.3, First: 1 << 27})
	kernel.Drop(x, x, kernel.Dropout{Seed: o.r.Uint64(), Share: 0.1, Rows: numbers})
}

func optimizerCase() testCase { return both("AdamW", runOptimizer[float32], runOptimizer[float64]) }

func runOptimizer[T kernel.Float](o *operands[T]) {
	const n = 10007
	w, g, m := o.normal(n), o.normal(n), o.normal(n)
	v := o.draw(n, func() float64 { return math.Abs(o.r.NormFloat64()) })
	kernel.AdamW(w, g, m, v, kernel.AdamWStep{LR: 1e-2, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1, Step: 3, GradScale: 0.7})
}

func reduceCase() testCase { return both("sums", runReduce[float32], runReduce[float64]) }

func runReduce[T kernel.Float](o *operands[T]) {
	for _, n := range []int{1, 1000, 3*reduceBlock + 5} {
		x := o.normal(n)
		o.reduce(o.stale(1), o.stale(1), x)
	}
	bad := []float64{1, math.Inf(1), math.NaN(), 4, math.Inf(-1)}
	i := -1
	next := func() float64 { i++; return bad[i] }
	o.reduce(o.stale(1), o.stale(1), o.draw(len(bad), next))
}
