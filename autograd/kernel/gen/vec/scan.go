package vec

// Offsets of the fields of a row's record, 64 channels each, see scanRecord in scan_args.go.
const (
	Delta = 256 * iota
	Input
	Out
	Slope
	Gy
	Gz
	SumB
	SumA
	RecordBytes = 256*iota + 64
)

// BlockBytes is the width of a block of channels.
const BlockBytes = 256

// Offsets of scanElementwise's fields, in their order. The eight after the record are columns of matrices, each an address and the distance
// between rows in bytes; those from FieldY on are written.
const (
	FieldRows = 8 * iota
	FieldRow
	FieldDT
	_
	FieldU
	_
	FieldZ
	_
	FieldGy
	_
	FieldY
	_
	FieldDU
	_
	FieldDDT
	_
	FieldDZ
	_
	FieldSkip
	FieldDSkip
	FieldAddU
	FieldAddDT
	FieldAddZ
)

// AddFlag maps a column to the field that specifies whether to add to it: all bits set means add.
var AddFlag = map[int]int{FieldDU: FieldAddU, FieldDDT: FieldAddDT, FieldDZ: FieldAddZ}

// Place is where a pass reads and writes a row of channels: a field of the record or a column.
type Place struct {
	Column bool
	Field  int
}

func record(f int) Place { return Place{false, f} }
func column(f int) Place { return Place{true, f} }

// Channels is a loop over the rows of a chunk and the channels of a block, under construction.
type Channels[R any] interface {
	ISA[R]
	LoadAt(p Place) Row[R]
	StoreAt(x Row[R], p Place)
	MulAt(p Place, x Row[R])         // x *= the value at p
	MulAddAt(p Place, x, acc Row[R]) // acc += x times the value at p
	Previous(column int) Row[R]      // the contents of a column, or zeros if it is to be overwritten
}

// Pass describes an elementwise pass of the scan over the columns of matrices, and over vectors as long as the block is wide,
// which are columns whose rows are all the same.
type Pass[R any] struct {
	Name             string
	Columns, Vectors []int
	Adds             bool // it adds to columns that have an AddFlag
	Long             bool // as in Kernel
	Body             func(e Channels[R])
}

// Passes returns all passes.
func Passes[R any]() []Pass[R] {
	return []Pass[R]{
		// delta = softplus(dt), input = delta·u
		{Name: "scanInputs", Columns: []int{FieldDT, FieldU}, Body: func(e Channels[R]) {
			d := Softplus(e, e.LoadAt(column(FieldDT)))
			e.StoreAt(d, record(Delta))
			e.MulAt(column(FieldU), d)
			e.StoreAt(d, record(Input))
		}},
		// the same, and slope = σ(dt)
		{Name: "scanSlopes", Columns: []int{FieldDT, FieldU}, Long: true, Body: func(e Channels[R]) {
			d, s := SoftplusSlope(e, e.LoadAt(column(FieldDT)))
			e.StoreAt(s, record(Slope))
			e.StoreAt(d, record(Delta))
			e.MulAt(column(FieldU), d)
			e.StoreAt(d, record(Input))
		}},
		// y = out + D·u
		{Name: "scanSkip", Columns: []int{FieldU, FieldY}, Vectors: []int{FieldSkip}, Body: func(e Channels[R]) {
			y := e.LoadAt(record(Out))
			e.MulAddAt(column(FieldSkip), e.LoadAt(column(FieldU)), y)
			e.StoreAt(y, column(FieldY))
		}},
		// y = (out + D·u)·silu(z)
		{Name: "scanGate", Columns: []int{FieldU, FieldZ, FieldY}, Vectors: []int{FieldSkip}, Long: true, Body: func(e Channels[R]) {
			y, z := e.LoadAt(record(Out)), e.LoadAt(column(FieldZ))
			e.MulAddAt(column(FieldSkip), e.LoadAt(column(FieldU)), y)
			y.Each(func(i int) { e.Mul(z[i], y[i], y[i]) })
			e.StoreAt(Gated(e, z, y), column(FieldY))
		}},
		// gy = dy·silu(z), gz = dy·silu′(z)
		{Name: "scanGateGrads", Columns: []int{FieldZ, FieldGy}, Long: true, Body: func(e Channels[R]) {
			z := e.LoadAt(column(FieldZ))
			s := Gated(e, z, nil)
			t := SplatRow(e, len(s), 1)
			s.Each(func(i int) {
				e.Sub(t[i], s[i], t[i])
				e.Mul(z[i], t[i], t[i])
				e.AddC(1, t[i], t[i])
				e.Mul(s[i], t[i], t[i])
				e.Mul(z[i], s[i], s[i])
			})
			e.MulAt(column(FieldGy), t)
			e.StoreAt(t, record(Gz))
			e.MulAt(column(FieldGy), s)
			e.StoreAt(s, record(Gy))
		}},
		storeGrads[R](),
	}
}

// storeGrads computes, adding to a matrix or overwriting it,
//
//	du (+)= gy·D + sumB·Δ, ddt (+)= (sumB·u + sumA)·slope, dz (+)= gz·(out + D·u), dD += gy·u
func storeGrads[R any]() Pass[R] {
	return Pass[R]{
		Name: "scanDeliver", Columns: []int{FieldU, FieldDU, FieldDDT, FieldDZ}, Vectors: []int{FieldSkip, FieldDSkip}, Adds: true,
		Body: func(e Channels[R]) {
			g, b := e.LoadAt(record(Gy)), e.LoadAt(record(SumB))
			r := e.Previous(FieldDU)
			e.MulAddAt(column(FieldSkip), g, r)
			e.MulAddAt(record(Delta), b, r)
			e.StoreAt(r, column(FieldDU))

			d := e.LoadAt(column(FieldDSkip))
			e.MulAddAt(column(FieldU), g, d)
			e.StoreAt(d, column(FieldDSkip))

			u, t := e.LoadAt(column(FieldU)), e.LoadAt(record(SumA))
			t.Each(func(i int) { e.MulAdd(u[i], b[i], t[i]) })
			r = e.Previous(FieldDDT)
			e.MulAddAt(record(Slope), t, r)
			e.StoreAt(r, column(FieldDDT))

			t = e.LoadAt(record(Out))
			e.MulAddAt(column(FieldSkip), u, t)
			r = e.Previous(FieldDZ)
			e.MulAddAt(record(Gz), t, r)
			e.StoreAt(r, column(FieldDZ))
		},
	}
}
