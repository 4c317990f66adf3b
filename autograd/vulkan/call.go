package vulkan

import (
	"encoding/binary"
	"math"

	"mambatrain/autograd/kernel"
)

// call is a dispatch under construction. Its methods add arguments in the order in which the shader declares them: the
// addresses of all operands, then the strides of the matrices, then numbers. An absent operand has address 0.
//
// An address can only be passed by declaring whether the shader reads it, writes it, or both, so no dependency is
// missed.
type call struct {
	d         *Device
	shader    shader
	addresses []uint64
	strides   []uint32
	numbers   []uint32
	reads     []span
	writes    []span
	work      float64 // arithmetic operations, for products only
	indirect  bool    // the shader expects its arguments in memory, because they exceed the push constants
}

// call begins a dispatch of a shader with the values of its specialization constants.
func (d *Device) call(name string, constants ...uint32) *call {
	c := &call{d: d, shader: shader{name: name, count: len(constants)}}
	copy(c.shader.constants[:], constants)
	return c
}

// read adds a matrix that the shader reads.
func (c *call) read(m kernel.Mat[float32]) { c.reads = append(c.reads, c.matrix(m)) }

// write adds a matrix that the shader overwrites.
func (c *call) write(m kernel.Mat[float32]) { c.writes = append(c.writes, c.matrix(m)) }

// update adds a matrix that the shader reads and writes.
func (c *call) update(m kernel.Mat[float32]) {
	s := c.matrix(m)
	c.reads, c.writes = append(c.reads, s), append(c.writes, s)
}

// store adds a matrix that the shader overwrites or adds to.
func (c *call) store(m kernel.Mat[float32], mode kernel.Mode) {
	if mode == kernel.Add {
		c.update(m)
	} else {
		c.write(m)
	}
}

func (c *call) matrix(m kernel.Mat[float32]) span {
	s := c.d.matrix(m)
	c.addresses, c.strides = append(c.addresses, s.from), append(c.strides, uint32(m.Stride))
	return s
}

// readVector, writeVector, and updateVector are the same for arrays without rows.
func (c *call) readVector(x ...[]float32) {
	for _, v := range x {
		c.reads = append(c.reads, c.vector(v))
	}
}

func (c *call) writeVector(x ...[]float32) {
	for _, v := range x {
		c.writes = append(c.writes, c.vector(v))
	}
}

func (c *call) updateVector(x ...[]float32) {
	for _, v := range x {
		s := c.vector(v)
		c.reads, c.writes = append(c.reads, s), append(c.writes, s)
	}
}

func (c *call) vector(x []float32) span {
	s := c.d.vector(x)
	c.addresses = append(c.addresses, s.from)
	return s
}

// address adds the address of data that the host wrote before anything runs.
func (c *call) address(a uint64) { c.addresses = append(c.addresses, a) }

// uints adds integers.
func (c *call) uints(v ...int) {
	for _, n := range v {
		c.numbers = append(c.numbers, uint32(n))
	}
}

// floats adds floating-point numbers.
func (c *call) floats(v ...float32) {
	for _, x := range v {
		c.numbers = append(c.numbers, math.Float32bits(x))
	}
}

// words returns the arguments as the shader reads them.
func (c *call) words() []uint32 {
	var words []uint32
	for _, a := range c.addresses {
		words = append(words, uint32(a), uint32(a>>32))
	}
	return append(append(words, c.strides...), c.numbers...)
}

// run records a dispatch of x·y·z groups. How many threads a group has, and what it computes, is defined in the shader.
func (c *call) run(x, y, z int) {
	d := c.d
	if x == 0 || y == 0 || z == 0 || d.failing() {
		return
	}
	if record := func() { c.record([3]int{x, y, z}) }; d.inspect != nil {
		d.inspect(c, record)
	} else {
		record()
	}
}

func (c *call) record(groups [3]int) {
	d, push := c.d, c.push()
	pipeline := d.pipeline(c.shader)
	p := d.commands()
	if pipeline == nil || p == nil {
		return
	}
	d.order(p, c.reads, c.writes)
	if p.bound != pipeline {
		p.Bind(pipeline)
		p.bound = pipeline
	}
	p.Push(pipeline, &push[0])
	d.dispatchAll(p, groups)
	d.timed(p, c.shader.name, c.work)
	d.dispatched(c.work)
}

// push returns the push constants: the arguments, or their address if the shader expects them in memory.
func (c *call) push() *[pushBytes]byte {
	words := c.words()
	if c.indirect {
		a := c.d.argument(words)
		words = []uint32{uint32(a), uint32(a >> 32)}
	}
	push := new([pushBytes]byte)
	for i, w := range words {
		binary.NativeEndian.PutUint32(push[4*i:], w)
	}
	return push
}

// dispatchAll runs all groups, in several dispatches if they exceed the device's limits.
func (d *Device) dispatchAll(p *piece, groups [3]int) {
	limits := d.maxGroups()
	for z := 0; z < groups[2]; z += limits[2] {
		for y := 0; y < groups[1]; y += limits[1] {
			for x := 0; x < groups[0]; x += limits[0] {
				base := [3]int{x, y, z}
				var n [3]int
				for i := range n {
					n[i] = min(limits[i], groups[i]-base[i])
				}
				p.Dispatch(base, n)
			}
		}
	}
}

// maxGroups returns the maximum number of groups of a dispatch in each dimension.
func (d *Device) maxGroups() (limits [3]int) {
	for i, n := range d.physical.Limits.Groups {
		limits[i] = int(min(n, math.MaxInt32))
	}
	return limits
}

// flags returns a number in which bit i is set if condition i is true.
func flags(conditions ...bool) int {
	n := 0
	for i, c := range conditions {
		if c {
			n |= 1 << i
		}
	}
	return n
}
