package autograd

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"gorgonia.org/tensor"

	"mambatrain/autograd/kernel"
)

// Running on a device. The values, gradients, states, and scratch memory of such a graph are arrays on the device, and
// so are copies of the parameters. The tape runs as usual: ops call kernels, which record their work on the device
// because their destinations are there. Results that the host needs, such as losses and gradients, are fetched after
// the tape has ended.
//
// A run sends the values of trainable parameters to the device, fetches their gradients, and adds these to the host's,
// so code outside the program finds both in the usual place. While a Resident holds them, they remain on the device.

// deviceGraph is a graph's state on its device.
type deviceGraph struct {
	kernel.Device
	*deviceMemory
	trained *trainedCopies
	// carriedIn and carriedOut are the states of all recurrent ops; carried is the host's copy of carriedOut.
	carriedIn, carriedOut, carried []float32
	// nll is the loss of each counted row, chunk after chunk; hits is 1 where the target was the most probable token.
	nll, hits []float32
}

// deviceRun is what the host still has to process after the tape of a run has ended.
type deviceRun struct {
	counted  []int    // the rows whose losses are in nll, in that order
	complete []*Param // parameters whose gradients are complete, in tape order
}

// recording serializes runs, because a device records for one goroutine at a time.
var recording sync.Mutex

// lock waits until the device is no longer recording for another program and returns a function that unlocks it.
func (g *Graph) lock() (unlock func()) {
	if g.device == nil {
		return func() {}
	}
	recording.Lock()
	return recording.Unlock
}

// deviceMemory owns arrays on a device and frees them when it becomes unreachable.
type deviceMemory struct{ arrays *deviceArrays }

type deviceArrays struct {
	device kernel.Device
	list   [][]float32
}

func newDeviceMemory(d kernel.Device) *deviceMemory {
	m := &deviceMemory{&deviceArrays{device: d}}
	runtime.AddCleanup(m, (*deviceArrays).free, m.arrays)
	return m
}

func (a *deviceArrays) free() {
	for _, x := range a.list {
		a.device.Free(x)
	}
}

// make returns a new array of n elements, or nil if n is 0.
func (m *deviceMemory) make(n int) ([]float32, error) {
	if n == 0 {
		return nil, nil
	}
	x, err := m.arrays.device.Make(n)
	if err != nil {
		return nil, fmt.Errorf("autograd: %s: %w", m.arrays.device.Name(), err)
	}
	m.arrays.list = append(m.arrays.list, x)
	return x, nil
}

// newDeviceGraph returns a deviceGraph on the process's device, or nil if the graph runs on the host.
func newDeviceGraph(o Options) (*deviceGraph, error) {
	if !o.Device {
		return nil, nil
	}
	d := kernel.CurrentDevice()
	switch {
	case d == nil:
		return nil, errors.New("autograd: graph: the process has no device")
	case o.Float64:
		return nil, errors.New("autograd: graph: devices do not compute in float64")
	}
	return &deviceGraph{Device: d, deviceMemory: newDeviceMemory(d)}, nil
}

// DeviceSizer is implemented by an Op that some devices cannot run at all sizes.
type DeviceSizer interface {
	// DeviceSizes returns the sizes that a device must support, for the given input shapes.
	DeviceSizes(in [][]int) kernel.DeviceSizes
}

// DeviceFault returns an error that explains why d cannot run the graph recorded so far, or nil if it can.
func (g *Graph) DeviceFault(d kernel.Device) error {
	for _, r := range g.records {
		if err := d.Supports(r.exec.deviceSizes(r.shapes)); err != nil {
			return fmt.Errorf("%s: %s%s: %w", d.Name(), r.exec.name(), paramName(r.in), err)
		}
	}
	return nil
}

// kernelScratch returns the maximum number of elements that kernels on the graph's device need besides their operands.
func (g *Graph) kernelScratch() int {
	n := 0
	for _, r := range g.records {
		n = max(n, g.device.Scratch(r.exec.deviceSizes(r.shapes)))
	}
	return n
}

// deviceInputs returns the number of elements of the inputs and of the losses and hits, which a device has in its memory.
func (g *Graph) deviceInputs() int {
	n := 2 * g.opts.Rows
	for _, v := range g.inputs {
		if v.buf != nil {
			n += size(v.shape)
		}
	}
	return n
}

// reserve makes sure that the device has that memory before anything runs.
func (g *Graph) reserve() error {
	defer g.lock()()
	if err := g.device.Reserve(g.kernelScratch()); err != nil {
		return fmt.Errorf("autograd: %s: scratch memory of the kernels: %w", g.device.Name(), err)
	}
	return nil
}

// OnDevice reports whether the graph runs on a device.
func (g *Graph) OnDevice() bool { return g.device != nil }

// OnDevice reports whether the program runs on a device.
func (p *Program) OnDevice() bool { return p.g.OnDevice() }

// bindDevice allocates the graph's memory on its device.
func (g *Graph) bindDevice() error {
	d := g.device
	if err := g.DeviceFault(d); err != nil {
		return fmt.Errorf("autograd: %w", err)
	}
	slab, err := d.make(g.slab)
	if err != nil {
		return err
	}
	bindSlab(g.planned(), slab)
	for _, b := range g.planned() {
		if b.shape == nil { // Gorgonia reads scalars on the host
			b.dense = tensor.New(tensor.WithShape(1), tensor.Of(tensor.Float32))
		}
	}
	if g.tmp32, err = d.make(g.scratch()); err != nil {
		return err
	}
	for _, v := range g.inputs {
		if v.buf != nil {
			data, err := d.make(size(v.shape))
			if err != nil {
				return err
			}
			v.buf.dense = tensor.New(tensor.WithShape(v.shape...), tensor.WithBacking(data))
		}
	}
	if d.nll, err = d.make(g.opts.Rows); err != nil {
		return err
	}
	if d.hits, err = d.make(g.opts.Rows); err != nil {
		return err
	}
	if err := g.bindCarries(); err != nil {
		return err
	}
	return g.reserve()
}

// bindCarries allocates the states of all recurrent ops on the device, one after the other.
func (g *Graph) bindCarries() (err error) {
	d, n := g.device, 0
	for _, c := range g.carries() {
		n += c.in.Shape().TotalSize()
	}
	var dIn, dOut []float32
	for _, x := range []*[]float32{&d.carriedIn, &d.carriedOut, &dIn, &dOut} {
		if *x, err = d.make(n); err != nil {
			return err
		}
	}
	d.carried = make([]float32, n)
	at := 0
	for _, c := range g.carries() {
		to := at + c.in.Shape().TotalSize()
		view := func(x []float32) *tensor.Dense {
			return tensor.New(tensor.WithShape(to-at), tensor.WithBacking(x[at:to:to]))
		}
		c.in, c.out, c.fetched = view(d.carriedIn), view(d.carriedOut), d.carried[at:to:to]
		if c.dIn != nil {
			c.dIn, c.dOut = view(dIn), view(dOut)
		}
		at = to
	}
	return nil
}

// send uploads what has changed since the last run.
func (p *Program) send() error {
	d := p.g.device
	if err := p.g.copyParams(p.Params()); err != nil {
		return err
	}
	if d.trained.holder != nil {
		return nil
	}
	d.trained.send()
	if p.g.run.training {
		kernel.Clear(d.trained.grads)
	}
	return nil
}

// fetch runs the recorded work, waits for the device, and copies the results to the host. failed is the tape's error, if
// any: the work recorded before it must run anyway.
func (p *Program) fetch(failed error) error {
	d, run := p.g.device, &p.g.run
	if err := d.Run(); err != nil {
		return fmt.Errorf("autograd: %s: %w", d.Name(), err)
	}
	if failed != nil {
		return failed
	}
	if err := errors.Join(d.fetchLosses(run), p.fetchValues()); err != nil {
		return fmt.Errorf("autograd: %s: %w", d.Name(), err)
	}
	if run.ready != nil {
		for _, q := range run.onDevice.complete {
			run.ready(q)
		}
	}
	return nil
}

// losses returns the memory for the losses and hits of the next rows of the batch.
func (d *deviceGraph) losses(r *run, rows []int) (nll, hits []float32) {
	from := len(r.onDevice.counted)
	r.onDevice.counted = append(r.onDevice.counted, rows...)
	to := len(r.onDevice.counted)
	return d.nll[from:to], d.hits[from:to]
}

// fetchLosses fetches the losses and adds them to those of the run.
func (d *deviceGraph) fetchLosses(r *run) error {
	n := len(r.onDevice.counted)
	if n == 0 {
		return nil
	}
	nll, hits := make([]float32, n), make([]float32, n)
	if err := d.Download(nll, d.nll[:n]); err != nil {
		return err
	}
	if !r.training {
		if err := d.Download(hits, d.hits[:n]); err != nil {
			return err
		}
	}
	for i, t := range r.onDevice.counted {
		r.loss.Rows[t] = float64(nll[i])
		r.loss.Sum += float64(nll[i])
		r.loss.Correct += int(hits[i])
	}
	r.loss.Tokens += n
	return nil
}

// fetchValues copies gradients, states, and kept values to the host.
func (p *Program) fetchValues() error {
	d := p.g.device
	if p.g.run.training && d.trained.holder == nil {
		if err := d.trained.fetchGrads(); err != nil {
			return err
		}
	}
	if len(d.carried) > 0 {
		if err := d.Download(d.carried, d.carriedOut); err != nil {
			return err
		}
	}
	for _, v := range p.keep {
		if v.buf == nil || v.shape == nil {
			continue
		}
		v.fetched = slices.Grow(v.fetched[:0], size(v.live))[:size(v.live)]
		if err := d.Download(v.fetched, v.buf.dense.Float32s()[:size(v.live)]); err != nil {
			return err
		}
	}
	return nil
}
