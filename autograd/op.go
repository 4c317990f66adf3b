package autograd

import (
	"fmt"

	"mambatrain/autograd/kernel"
)

// Op is one differentiable operation in the arithmetic of T. It contains only the mathematics. A type that implements
// it for float32 and float64 is recorded with [Apply].
//
// An Op's fields are its constants. It must not store anything between calls; what Backward needs in addition to inputs
// and output belongs in the state requested through [Stateful].
type Op[T kernel.Float] interface {
	// Name appears in errors and drawings.
	Name() string
	// Shape checks the shapes of the inputs (nil for an absent one) and returns the shape of the output: (rows, width),
	// or nil for a scalar.
	Shape(in [][]int) ([]int, error)
	// Forward reads c.In and fills c.Out.
	Forward(c *Call[T])
	// Backward reads c.DOut and the inputs that it saves, and adds to every c.DIn that is not absent.
	Backward(c *Call[T])
}

// Saver is implemented by an Op whose Backward does not read all of its inputs. The others can then be released
// earlier.
type Saver interface {
	// Saves reports for each input whether Backward reads it, given which inputs need a gradient.
	Saves(need []bool) []bool
}

// Stateful is implemented by an Op that passes numbers from Forward to Backward.
type Stateful interface {
	// StateSize returns the number of elements for the given input shapes.
	StateSize(in [][]int) int
}

// Recurrent is implemented by an Op that can continue where the last run ended: a run reads CarryIn and fills CarryOut.
// In a graph that runs in segments, Backward also reads DCarryOut and adds to DCarryIn.
type Recurrent interface {
	// CarrySize returns the number of elements for the given input shapes.
	CarrySize(in [][]int) int
}

// Overwriter is implemented by an Op that can set a gradient instead of adding to it when [Call.Mode] returns
// kernel.Set. The memory then does not have to be cleared first.
type Overwriter interface {
	// Overwrites reports whether Backward follows Call.Mode for input i.
	Overwrites(i int) bool
}

// Scratcher is implemented by an Op that declares the maximum scratch memory of a call in advance, so that estimates
// include it.
type Scratcher interface {
	// ScratchSize returns the number of elements for the given input shapes at full capacity.
	ScratchSize(in [][]int) int
}

// Array is an input, output, or gradient as an Op sees it: the live rows, in row-major order.
type Array[T kernel.Float] struct {
	Shape []int  // (rows, width), the shape of a parameter, or nil for a scalar
	Data  []T    // nil for integers, for packed and bfloat16 weights, and if absent
	Ints  []int  // token ids and document starts
	Param *Param // the parameter behind the array, or nil

	onDevice bool // use the parameter's copy on the device
}

// Absent reports whether the input was not supplied or the gradient is not needed.
func (a Array[T]) Absent() bool { return a.Shape == nil }

// Mat returns the array as a matrix whose rows are its first dimension and whose columns are all others.
func (a Array[T]) Mat() kernel.Mat[T] {
	if a.Absent() {
		return kernel.Mat[T]{}
	}
	return kernel.Dense(a.Data, a.Shape[0], width(a.Shape))
}

// Columns returns columns [from, to) of a (rows, width) array.
func (a Array[T]) Columns(from, to int) kernel.Mat[T] {
	if a.Absent() {
		return kernel.Mat[T]{}
	}
	return kernel.Mat[T]{Data: a.Data[from:], Rows: a.Shape[0], Cols: to - from, Stride: width(a.Shape)}
}

// Call is one invocation of an Op.
type Call[T kernel.Float] struct {
	In    []Array[T] // in Backward, only saved inputs have Data
	Out   Array[T]   // Forward only
	DOut  Array[T]   // gradient of the output; absent for a loss
	DIn   []Array[T] // gradients of the inputs, absent if not needed
	State []T        // passed from Forward to Backward

	// CarryIn is the state that the last run left, CarryOut the state after this one; nil unless the graph carries
	// state.
	CarryIn, CarryOut []T
	// DCarryIn and DCarryOut are their gradients in Backward; nil unless the graph runs in segments.
	DCarryIn, DCarryOut []T

	// Training is set if a backward pass follows. Dropout applies only then.
	Training bool
	// Rows is the number of rows in this run.
	Rows int
	// Seed is specific to this application of the op in this run. A replay gets the same seed.
	Seed uint64
	// FirstRow is added to the row number wherever random numbers depend on it; see [Step].
	FirstRow int

	run    *run
	device *deviceGraph // nil on the host
	modes  []kernel.Mode
	tmp    *[]T
	err    error
}

// Mode returns whether Backward must set or add to the gradient of input i. It is Add unless the Op is an [Overwriter].
func (c *Call[T]) Mode(i int) kernel.Mode { return c.modes[i] }

// Scratch returns n elements with unspecified contents, valid until the end of the call. Every call of Scratch returns
// the same memory.
func (c *Call[T]) Scratch(n int) []T {
	if cap(*c.tmp) < n {
		*c.tmp = c.more(n)
	}
	return (*c.tmp)[:n]
}

// more returns additional scratch memory.
func (c *Call[T]) more(n int) []T {
	if c.device == nil {
		return kernel.Make[T](n)
	}
	x, err := c.device.make(n)
	if err != nil {
		panic(err) // ends the run with an error that names the op
	}
	return any(x).([]T)
}

// Fail reports that the inputs are invalid. The run ends with an error that names the operation.
func (c *Call[T]) Fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// width returns the number of elements in a row.
func width(shape []int) int {
	n := 1
	for _, d := range shape[1:] {
		n *= d
	}
	return n
}

func size(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
