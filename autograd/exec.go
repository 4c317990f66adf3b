package autograd

import (
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"mambatrain/autograd/kernel"
	"mambatrain/internal/splitmix"
)

// executor implements runner in the arithmetic of T. It reuses a single Call for forward and backward, so a run
// allocates nothing.
type executor[T kernel.Float] struct {
	op   Op[T]
	call Call[T]
	tmp  *[]T
}

func (e *executor[T]) name() string { return e.op.Name() }

func (e *executor[T]) stateSize(in [][]int) int {
	if s, ok := e.op.(Stateful); ok {
		return s.StateSize(in)
	}
	return 0
}

func (e *executor[T]) carrySize(in [][]int) int {
	if s, ok := e.op.(Recurrent); ok {
		return s.CarrySize(in)
	}
	return 0
}

func (e *executor[T]) scratchSize(in [][]int) int {
	if s, ok := e.op.(Scratcher); ok {
		return s.ScratchSize(in)
	}
	return 0
}

func (e *executor[T]) deviceSizes(in [][]int) kernel.DeviceSizes {
	if p, ok := e.op.(DeviceSizer); ok {
		return p.DeviceSizes(in)
	}
	return kernel.DeviceSizes{}
}

func (e *executor[T]) work(in [][]int, need []bool) Work {
	if w, ok := e.op.(Worker); ok {
		return w.Work(in, need)
	}
	return Work{}
}

func (e *executor[T]) saves(need []bool) []bool {
	if s, ok := e.op.(Saver); ok {
		return s.Saves(need)
	}
	all := make([]bool, len(need))
	for i := range all {
		all[i] = true
	}
	return all
}

func (e *executor[T]) overwrites(i int) bool {
	o, ok := e.op.(Overwriter)
	return ok && o.Overwrites(i)
}

func (e *executor[T]) forward(r *record, in []G.Value) error {
	c := e.prepare(r)
	k := 0
	for i, v := range r.in {
		if v == nil {
			continue
		}
		c.In[i] = arrayOf[T](v, in[k])
		k++
	}
	c.Out = arrayIn[T](r.out, r.out.buf)
	e.op.Forward(c)
	return c.err
}

func (e *executor[T]) backward(b *backward, in []G.Value) error {
	c := e.prepare(b.source)
	for i, v := range b.source.in {
		switch {
		case v == nil:
		case b.saved[i] >= 0:
			c.In[i] = arrayOf[T](v, in[b.saved[i]])
		default:
			c.In[i] = Array[T]{Shape: v.live, Param: v.param, onDevice: v.g.device != nil && v.param != nil}
		}
	}
	if b.out.shape != nil {
		c.DOut = arrayOf[T](b.out, in[0])
	}
	for i, v := range b.in {
		c.DIn[i], c.modes[i] = Array[T]{}, kernel.Add
		if b.din[i] == nil {
			continue
		}
		c.DIn[i] = arrayIn[T](v, b.din[i])
		if b.fresh[i] {
			if b.sets[i] {
				c.modes[i] = kernel.Set
			} else {
				kernel.Clear(c.DIn[i].Data)
			}
		}
	}
	e.op.Backward(c)
	return c.err
}

// arrayOf returns a view of a value received from the tape machine.
func arrayOf[T kernel.Float](v *value, got G.Value) Array[T] {
	a := Array[T]{Shape: v.live, Param: v.param}
	switch {
	case v.ints != nil:
		a.Ints = v.ints[:v.live[0]]
	case v.g.device != nil && v.param != nil:
		a.onDevice = true
		if !v.param.copied.bf16 {
			a.Data = any(v.param.copied.data).([]T)
		}
	case v.g.device != nil && v.by == nil:
		a.Data = backing[T](v.buf.dense)[:size(v.live)]
	case v.param != nil && (v.param.Value == nil || v.param.IsBF16()): // read through the Param
	default:
		a.Data = backing[T](got.(*tensor.Dense))[:size(v.live)]
	}
	return a
}

// arrayIn returns a view of b with the shape of v.
func arrayIn[T kernel.Float](v *value, b *buffer) Array[T] {
	a := Array[T]{Shape: v.live, Param: v.param}
	if v.g.device != nil && v.param != nil {
		a.Data = any(v.param.copied.grad).([]T)
	} else {
		a.Data = backing[T](b.dense)[:size(v.live)]
	}
	return a
}

// backing returns the memory of d without the allocations of its Data method.
func backing[T kernel.Float](d *tensor.Dense) []T {
	var z T
	if _, ok := any(z).(float32); ok {
		return any(d.Float32s()).([]T)
	}
	return any(d.Float64s()).([]T)
}

// prepare sets the fields that forward and backward calls share.
func (e *executor[T]) prepare(r *record) *Call[T] {
	c := &e.call
	if c.In == nil {
		c.In, c.DIn, c.modes = make([]Array[T], len(r.in)), make([]Array[T], len(r.in)), make([]kernel.Mode, len(r.in))
	}
	c.tmp, c.err, c.run, c.device = e.tmp, nil, &r.g.run, r.g.device
	run := &r.g.run
	c.Training, c.Rows, c.Seed, c.FirstRow = run.training, run.rows, splitmix.Derive(run.seed, uint64(r.id)), run.first
	c.State, c.CarryIn, c.CarryOut, c.DCarryIn, c.DCarryOut = nil, nil, nil, nil, nil
	if r.state != nil {
		c.State = backing[T](r.state.dense)
	}
	if r.carry != nil {
		c.CarryIn, c.CarryOut = backing[T](r.carry.in), backing[T](r.carry.out)
		if r.carry.dIn != nil {
			c.DCarryIn, c.DCarryOut = backing[T](r.carry.dIn), backing[T](r.carry.dOut)
		}
	}
	return c
}
