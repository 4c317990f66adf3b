package autograd

import (
	"fmt"

	"mambatrain/autograd/kernel"
)

// Op is one differentiable operation in the arithmetic of T: its mathematics and nothing else. A type that implements it
// for float32 and float64 is recorded with [Apply].
//
// An Op's fields are its constants. It must not keep anything from one call to the next; what Backward needs beyond
// inputs and output belongs in the state that [Stateful] asks for.
type Op[T kernel.Float] interface {
	// Name appears in errors and drawings.
	Name() string
	// Shape checks the shapes of the inputs (nil for an absent one) and returns the shape of the output: (rows, width),
	// or nothing for a scalar.
	Shape(in [][]int) ([]int, error)
	// Forward reads c.In and fills c.Out.
	Forward(c *Call[T])
	// Backward reads c.DOut and those inputs that it saves, and adds to every c.DIn that is not absent.
	Backward(c *Call[T])
}

// Saver is implemented by an Op whose Backward does not read all of its inputs. It shortens the life of the others.
type Saver interface {
	// Saves reports for each input whether Backward reads it, given which inputs want a gradient.
	Saves(need []bool) []bool
}

// Stateful is implemented by an Op that keeps numbers from Forward to Backward.
type Stateful interface {
	// StateSize is the number of elements for the given input shapes.
	StateSize(in [][]int) int
}

// Recurrent is implemented by an Op that can continue where the last run ended: a run reads CarryIn and fills CarryOut. In a
// graph that runs in segments, Backward also reads DCarryOut and adds to DCarryIn.
type Recurrent interface {
	// CarrySize is the number of elements for the given input shapes.
	CarrySize(in [][]int) int
}

// Overwriter is implemented by an Op that can set a gradient instead of adding to it, where [Call.Mode] says so. It
// saves clearing the memory first.
type Overwriter interface {
	// Overwrites reports whether Backward follows Call.Mode for input i.
	Overwrites(i int) bool
}

// Scratcher is implemented by an Op that says beforehand how much scratch memory a call needs at most, so that estimates
// include it.
type Scratcher interface {
	// ScratchSize is the number of elements for the given input shapes at full capacity.
	ScratchSize(in [][]int) int
}

// Array is an input, output or gradient as an Op sees it: the live rows, in row-major order.
type Array[T kernel.Float] struct {
	Shape []int  // (rows, width), the shape of a parameter, or nil for a scalar
	Data  []T    // nil for integers, packed and bfloat16 weights, and whatever is absent
	Ints  []int  // token ids and document starts
	Param *Param // the parameter behind the array, if there is one

	onDevice bool // use the parameter's copy
}

// Absent reports that this input was not supplied, or that this gradient is not wanted.
func (a Array[T]) Absent() bool { return a.Shape == nil }

// Mat views the array as a matrix: its first dimension against all others.
func (a Array[T]) Mat() kernel.Mat[T] {
	if a.Absent() {
		return kernel.Mat[T]{}
	}
	return kernel.Dense(a.Data, a.Shape[0], width(a.Shape))
}

// Columns views the columns from inclusive to exclusive of a (rows, width) array.
func (a Array[T]) Columns(from, to int) kernel.Mat[T] {
	if a.Absent() {
		return kernel.Mat[T]{}
	}
	return kernel.Mat[T]{Data: a.Data[from:], Rows: a.Shape[0], Cols: to - from, Stride: width(a.Shape)}
}

// Call is one invocation of an Op.
type Call[T kernel.Float] struct {
	In    []Array[T] // in Backward only the saved ones have Data
	Out   Array[T]   // Forward only
	DOut  Array[T]   // gradient of the output; absent for a loss
	DIn   []Array[T] // gradients of the inputs, absent where unwanted
	State []T        // survives from Forward to Backward

	// CarryIn is what the last run left, CarryOut what this one leaves; nil unless the graph carries state.
	CarryIn, CarryOut []T
	// DCarryIn and DCarryOut are their gradients in Backward; nil unless the graph runs in segments.
	DCarryIn, DCarryOut []T

	// Training says that a backward pass follows: that is when dropout drops.
	Training bool
	// Rows is the number of rows in this run.
	Rows int
	// Seed belongs to this application of the op in this run. A replay sees the same seed.
	Seed uint64
	// FirstRow is added to a row's number where something random depends on it: see [Step].
	FirstRow int

	run    *run
	device *deviceGraph // nil on the host
	modes  []kernel.Mode
	tmp    *[]T
	err    error
}

// Mode reports whether Backward is to set or to add to the gradient of input i. It is Add unless the Op is an [Overwriter].
func (c *Call[T]) Mode(i int) kernel.Mode { return c.modes[i] }

// Scratch returns n elements of unspecified content, valid until the end of the call. A second call returns the same
// memory.
func (c *Call[T]) Scratch(n int) []T {
	if cap(*c.tmp) < n {
		*c.tmp = c.more(n)
	}
	return (*c.tmp)[:n]
}

// more returns new scratch memory.
func (c *Call[T]) more(n int) []T {
	if c.device == nil {
		return kernel.Make[T](n)
	}
	x, err := c.device.make(n)
	if err != nil {
		panic(err) // which ends the run with an error that names the op
	}
	return any(x).([]T)
}

// Fail reports that the inputs are unusable. The run ends with an error that names the operation.
func (c *Call[T]) Fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// width is the number of elements in a row.
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
