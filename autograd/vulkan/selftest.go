package vulkan

import (
	"math"
	"math/rand/v2"

	"mambatrain/autograd/kernel"
)

// Check compares one kernel on the device with package kernel's loop in float64.
type Check struct {
	Name       string
	OK         bool    // Difference is small enough to be rounding, and Err is nil
	Difference float64 // largest difference relative to the largest value; infinite if only one side is NaN or infinite
	Err        error   // error of the device
}

// SelfTest checks every kernel. During the test, d is the process's device.
func SelfTest(d *Device) []Check {
	before := kernel.CurrentDevice()
	defer kernel.UseDevice(before)
	kernel.UseDevice(d)
	var checks []Check
	for _, c := range selfTests() {
		checks = append(checks, c.run(d))
	}
	return checks
}

// A testCase runs kernels on operands in float32 on the device and in float64 on the host.
type testCase struct {
	name   string
	device func(*operands[float32])
	host   func(*operands[float64])
}

// differenceLimit is the largest difference, relative to the largest value, that rounding can explain in sums of a few
// thousand terms.
const differenceLimit = 1e-5

// run runs a case on both sides and compares all operands.
func (t testCase) run(d *Device) Check {
	host := onHost()
	t.host(host)
	c := Check{Name: t.name}
	var made uploads
	defer made.free(d)
	device := d.operands(&made)
	if t.device(device); made.err != nil {
		c.Err = made.err
		return c
	}
	for i, want := range host.arrays {
		got := make([]float32, len(want))
		if c.Err = d.Download(got, device.arrays[i]); c.Err != nil {
			return c
		}
		c.Difference = max(c.Difference, largestDifference(got, want))
	}
	c.OK = c.Difference <= differenceLimit
	return c
}

// The seeds of both sides' random numbers.
const seed1, seed2 = 7, 7

// onHost returns operands in float64 on the host.
func onHost() *operands[float64] {
	return &operands[float64]{
		r: rand.New(rand.NewPCG(seed1, seed2)), make: widened, multiply: multiplyOnHost, loss: lossOnHost,
		bits: func(x []uint32) []float64 {
			y := make([]float64, len(x))
			for i, v := range x {
				y[i] = float64(math.Float32frombits(v << 16))
			}
			return y
		},
		gatherBF16: kernel.Gather[float64],
		reduce: func(sum, count, x []float64) {
			sum[0], count[0] = 0, 0
			for _, v := range x {
				sum[0] += v * v
				if v-v != 0 {
					count[0]++
				}
			}
		},
	}
}

// uploads are arrays on the device, and the error of allocating one.
type uploads struct {
	arrays [][]float32
	err    error
}

func (u *uploads) free(d *Device) {
	for _, x := range u.arrays {
		d.Free(x)
	}
}

// add returns a copy of x on the device. After an error it returns x itself, and nothing is compared.
func (u *uploads) add(d *Device, x []float32) []float32 {
	y, err := d.Make(len(x))
	if err != nil {
		u.err = err
		return x
	}
	d.Upload(y, x)
	u.arrays = append(u.arrays, y)
	return y
}

// operands returns operands in float32 on the device.
func (d *Device) operands(made *uploads) *operands[float32] {
	upload := func(x []float32) []float32 { return made.add(d, x) }
	return &operands[float32]{
		r: rand.New(rand.NewPCG(seed1, seed2)), make: upload, multiply: multiplyOn(d), loss: lossOn(d),
		bits: func(x []uint32) []float32 {
			y := make([]float32, ceilDiv(len(x), 2))
			for i := range y {
				word := x[2*i]
				if 2*i+1 < len(x) {
					word |= x[2*i+1] << 16
				}
				y[i] = math.Float32frombits(word)
			}
			return upload(y)
		},
		gatherBF16: d.GatherBF16,
		reduce: func(sum, count, x []float32) {
			d.SumSquares(sum, x)
			d.CountNotFinite(count, x)
		},
	}
}

func widened(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// largestDifference returns the largest difference, relative to the largest value of want. It is infinite if an element
// is NaN or infinite on one side but not on the other.
func largestDifference(got []float32, want []float64) float64 {
	largest, difference := 0.0, 0.0
	for i, w := range want {
		g := float64(got[i])
		if math.IsNaN(w) != math.IsNaN(g) || math.IsInf(w, 0) && g != w {
			return math.Inf(1)
		}
		if !math.IsNaN(w) && !math.IsInf(w, 0) {
			largest, difference = max(largest, math.Abs(w)), max(difference, math.Abs(g-w))
		}
	}
	if difference == 0 {
		return 0
	}
	return difference / largest
}

// operands are the arrays of a case. Both sides have the same values.
type operands[T kernel.Float] struct {
	r      *rand.Rand
	make   func([]float32) []T
	arrays [][]T // arrays to compare

	// Functions that package kernel does not have in generic form.
	bits       func([]uint32) []T // an array of bfloat16
	multiply   func(productOperands[T])
	loss       func(lossOperands[T])
	gatherBF16 func(y, table kernel.Mat[T], ids []int)
	reduce     func(sum, count, x []T)
}

// draw returns n numbers from number.
func (o *operands[T]) draw(n int, number func() float64) []T {
	host := make([]float32, n)
	for i := range host {
		host[i] = float32(number())
	}
	x := o.make(host)
	o.arrays = append(o.arrays, x)
	return x
}

// normal returns n normally distributed numbers.
func (o *operands[T]) normal(n int) []T { return o.draw(n, o.r.NormFloat64) }

// stale returns n elements that the case must overwrite: they are NaN.
func (o *operands[T]) stale(n int) []T { return o.draw(n, math.NaN) }

// stateBefore returns a state of n elements from the previous batch. It is NaN if the first document does not continue.
func (o *operands[T]) stateBefore(first []int, n int) []T {
	if first[0] >= 0 {
		return o.stale(n)
	}
	return o.normal(n)
}

// scratch returns n elements that are not compared.
func (o *operands[T]) scratch(n int) []T { return o.make(make([]float32, n)) }

// bf16 returns a bfloat16 matrix, which is not compared.
func (o *operands[T]) bf16(rows, cols int) kernel.Mat[T] {
	x := make([]uint32, rows*(cols+gap))
	for i := range x {
		x[i] = math.Float32bits(float32(o.r.NormFloat64())) >> 16
	}
	return padded(o.bits(x), rows, cols)
}

// gap is the number of elements between the rows of a matrix.
const gap = 3

func padded[T kernel.Float](x []T, rows, cols int) kernel.Mat[T] {
	return kernel.Mat[T]{Data: x, Rows: rows, Cols: cols, Stride: cols + gap}
}

// matrix returns a normally distributed (rows, cols) matrix with gaps between rows.
func (o *operands[T]) matrix(rows, cols int) kernel.Mat[T] {
	return padded(o.normal(rows*(cols+gap)), rows, cols)
}

// destination returns a matrix for Set to overwrite or for Add to add to.
func (o *operands[T]) destination(mode kernel.Mode, rows, cols int) kernel.Mat[T] {
	if mode == kernel.Add {
		return o.matrix(rows, cols)
	}
	return padded(o.stale(rows*(cols+gap)), rows, cols)
}

// documents returns, for each row, the first row of its document in a batch with the given document lengths.
func documents(lengths ...int) (first []int) {
	for _, n := range lengths {
		start := len(first)
		for range n {
			first = append(first, start)
		}
	}
	return first
}

// continued is documents for a first document that began the given number of rows before the batch.
func continued(before int, lengths ...int) []int {
	first := documents(lengths...)
	for t := range lengths[0] {
		first[t] = -before
	}
	return first
}
