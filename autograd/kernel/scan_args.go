package kernel

import "unsafe"

// scanRecord is one row of a block: Δ, Δ∘u, and C·h, and for the backward pass σ(dt), dy∘silu(z), dy∘silu′(z), Σ dh∘B,
// and the part of dΔ that comes through exp(Δ∘A). The kernels of gen/scan depend on the order of the fields.
type scanRecord struct {
	delta, input, out, slope, gy, gz, sumB, sumA [scanBlock]float32
	// Makes a record an odd number of cache lines, so that a field does not fall into the same few cache sets in every
	// row.
	_ [16]float32
}

const recordSize = int(unsafe.Sizeof(scanRecord{}) / 4)

// scanArgs contains what the kernels of the recurrence read, by offset. Strides are in bytes. The backward kernels
// start at the last row.
type scanArgs struct {
	rows     int
	row      *float32 // the group's columns of the first row's record
	b, c     *float32
	ldb, ldc int
	a, h     *float32 // (n, lanes): A·log₂e forward, A backward; the state forward, its gradient backward
	hs       *float32 // (2·n, lanes) per row, ldh apart: states and exp(Δ∘A), in the kernels' order; forward, the states before the first row
	ldh      int
	da       *float32 // (n, lanes)
	part     *float32 // (2·n) per row, ldpart apart: dB of as many states as a kernel joins, then dC of these, and so on
	ldpart   int
	addPart  int // all bits set to add to part, zero to overwrite it
	next     [5]prefetchStream
}

// shift advances the arguments to state j.
func (a scanArgs) shift(j, lanes int) scanArgs {
	a.b, a.c = offset(a.b, j), offset(a.c, j)
	for _, p := range [...]**float32{&a.a, &a.h, &a.da} {
		if *p != nil {
			*p = offset(*p, j*lanes)
		}
	}
	if a.hs != nil {
		a.hs = offset(a.hs, 2*j*lanes)
	}
	if a.part != nil {
		a.part = offset(a.part, 2*j)
	}
	return a
}

// recurrencePass is a pass of the recurrence: forward, forward storing every state, and backward without and with the
// gradient of A.
type recurrencePass uint8

const (
	forwardPass recurrencePass = iota
	statesPass
	backwardPass
	backwardAPass
)

// scanElementwise contains what the elementwise passes read, by offset.
type scanElementwise struct {
	rows                         int
	row                          *scanRecord
	dt, u, z, gy, y, du, ddt, dz scanColumn
	skip, dSkip                  *float32 // (64)
	addU, addDT, addZ            int      // all bits set to add to a gradient, zero to overwrite it
}

// scanColumn is the block's columns of a matrix: their address in the first row and the row stride in bytes.
type scanColumn struct {
	at     *float32
	stride int
}

// elementwisePass is one of the elementwise passes; see gen/scan/elementwise.go.
type elementwisePass uint8

const (
	inputsPass elementwisePass = iota
	slopesPass
	skipPass
	gatePass
	gateGradsPass
	gradsPass
)
