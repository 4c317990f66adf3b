package autograd

import (
	"fmt"
	"slices"

	"mambatrain/autograd/kernel"
)

// paramCopy is a parameter's copy on a device.
type paramCopy struct {
	*deviceMemory // owns data and grad
	data          []float32
	bf16          bool           // data contains pairs of bfloat16
	packed        *kernel.Packed // for a frozen matrix
	grad          []float32      // for a trainable parameter
	group         *trainedCopies
}

// trainedCopies are the device copies of a program's trainable parameters. Their gradients share one array.
type trainedCopies struct {
	*deviceMemory
	params []*Param
	copies []*paramCopy // of params
	grads  []float32
	host   []float32 // buffer for one fetch
	holder *Resident // because of which the parameters remain on the device, or nil
}

// fetchedAtOnce is the number of gradient elements fetched at once, unless a single parameter has more.
const fetchedAtOnce = 4 << 20

// copyParams makes sure that all parameters have copies on the graph's device. A frozen parameter is copied only once.
func (g *Graph) copyParams(params []*Param) error {
	var trained []*Param
	for _, p := range params {
		if p.Trainable() {
			trained = append(trained, p)
		} else if err := p.copyFrozen(g.device.Device); err != nil {
			return err
		}
	}
	return g.copyTrained(trained)
}

// isOn reports whether p has a copy on d.
func (p *Param) isOn(d kernel.Device) bool { return p.copied != nil && p.copied.arrays.device == d }

// copyFrozen copies p, whose value does not change, unless d already has a copy.
func (p *Param) copyFrozen(d kernel.Device) error {
	if p.isOn(d) {
		return nil
	}
	c := &paramCopy{deviceMemory: newDeviceMemory(d), bf16: p.IsBF16()}
	rows := p.Shape()[0]
	cols := p.Size() / rows
	n := p.Size()
	if c.bf16 {
		n = (n + 1) / 2
	}
	data, err := c.make(n)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	c.data = data
	const limit = 256 // an even number of rows, so that no pair of bfloat16 is split between pieces
	for from := 0; from < rows; from += limit {
		part := kernel.Dense(make([]float32, min(limit, rows-from)*cols), min(limit, rows-from), cols)
		p.ReadRows(part, from)
		at := from * cols
		if c.bf16 {
			bits := make([]uint16, len(part.Data))
			kernel.ToBF16(bits, part.Data)
			part.Data, at = kernel.BF16Words(bits), at/2
		}
		d.Upload(c.data[at:at+len(part.Data)], part.Data)
	}
	switch {
	case c.bf16:
		c.packed = kernel.PackBF16OnDevice(c.data, rows, cols)
	case len(p.Shape()) == 2:
		c.packed = kernel.PackOnDevice(c.data, rows, cols)
	}
	p.copied = c
	return nil
}

// copyTrained copies the trainable parameters of a program, unless another program has already copied the same ones.
func (g *Graph) copyTrained(params []*Param) error {
	d := g.device.Device
	current := func(p *Param) bool { return p.isOn(d) && p.copied.group == params[0].copied.group }
	if len(params) > 0 && !slices.ContainsFunc(params, func(p *Param) bool { return !p.isOn(d) || p.copied.group == nil }) &&
		!slices.ContainsFunc(params, func(p *Param) bool { return !current(p) }) && slices.Equal(params[0].copied.group.params, params) {
		g.device.trained = params[0].copied.group
		return nil
	}
	for _, p := range params {
		if p.holder() != nil {
			return fmt.Errorf("autograd: %s remains on the device for a program with other parameters", p.Name)
		}
	}
	t := &trainedCopies{deviceMemory: newDeviceMemory(d), params: params}
	n := 0
	for _, p := range params {
		n += p.Size()
	}
	values, err := t.make(n)
	if err != nil {
		return err
	}
	if t.grads, err = t.make(n); err != nil {
		return err
	}
	at := 0
	for _, p := range params {
		to := at + p.Size()
		p.copied = &paramCopy{deviceMemory: t.deviceMemory, data: values[at:to:to], grad: t.grads[at:to:to], group: t}
		t.copies = append(t.copies, p.copied)
		at = to
	}
	g.device.trained = t
	return nil
}

// fetchGrads fetches the gradients and adds them to the host's.
func (t *trainedCopies) fetchGrads() error {
	for rest, from := t.params, 0; len(rest) > 0; {
		n, k := rest[0].Size(), 1
		for k < len(rest) && n+rest[k].Size() <= fetchedAtOnce {
			n += rest[k].Size()
			k++
		}
		t.host = slices.Grow(t.host[:0], n)[:n]
		if err := t.arrays.device.Download(t.host, t.grads[from:from+n]); err != nil {
			return err
		}
		got := t.host
		for _, p := range rest[:k] {
			kernel.AddTo(p.GradFloat32s(), got[:p.Size()])
			got = got[p.Size():]
		}
		rest, from = rest[k:], from+n
	}
	return nil
}
