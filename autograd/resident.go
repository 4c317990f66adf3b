package autograd

import (
	"errors"
	"fmt"
	"math"

	"mambatrain/autograd/kernel"
)

// Resident is the trainable parameters of a program on its device, together with their gradients. From Send to Release,
// they remain there between steps, so that an optimizer updates them there: runs of the program neither send values nor
// fetch gradients, and the host's values and gradients change only when they are fetched.
type Resident struct {
	t    *trainedCopies
	sums []float32 // of squares, one for each parameter, on the device
}

// Resident allocates memory for the trainable parameters of the program on its device. The program must run on one.
func (p *Program) Resident() (*Resident, error) {
	if p.g.device == nil {
		return nil, errors.New("autograd: the program runs on the host, so its parameters cannot remain on a device")
	}
	defer p.g.lock()()
	if err := p.g.copyParams(p.Params()); err != nil {
		return nil, err
	}
	r := &Resident{t: p.g.device.trained}
	var err error
	if r.sums, err = r.t.make(len(r.t.params)); err != nil {
		return nil, err
	}
	return r, nil
}

// Make returns an array of n zeros on the device, for the state of an optimizer. It is freed together with r's.
func (r *Resident) Make(n int) ([]float32, error) { return r.t.make(n) }

// Do calls f, which may call kernels on arrays of the device.
func (r *Resident) Do(f func()) {
	recording.Lock()
	defer recording.Unlock()
	f()
}

// Send copies the host's values to the device, where the parameters remain from now on. It is an error if they already
// remain there because of another Resident.
func (r *Resident) Send() error {
	for i, p := range r.t.params {
		if h := p.holder(); h != nil && h != r {
			return fmt.Errorf("autograd: %s already remains on %s; release it first", p.Name, r.t.arrays.device.Name())
		}
		p.copied = r.t.copies[i] // another program may have replaced it
	}
	r.t.holder = r
	r.Do(r.t.send)
	return nil
}

// Release fetches the values, and the parameters no longer remain on the device. This is so even if it returns an error, which
// means that the host's values are those of the last Fetch or Send.
func (r *Resident) Release() error {
	err := r.Fetch()
	if r.t.holder == r {
		r.t.holder = nil
	}
	return err
}

// Check returns an error unless p remains on the device because of r or, if r is nil, does not remain on any.
func (r *Resident) Check(p *Param) error {
	switch h := p.holder(); {
	case h == r:
		return nil
	case h != nil:
		return fmt.Errorf("autograd: the values of %s are on %s; release them before anything else changes them", p.Name, h.t.arrays.device.Name())
	}
	return fmt.Errorf("autograd: the values of %s are on the host; send them to %s before it changes them", p.Name, r.t.arrays.device.Name())
}

// Fetch copies the values to the host if they remain on the device.
func (r *Resident) Fetch() (err error) {
	if r.t.holder != r {
		return nil
	}
	r.Do(func() {
		for _, p := range r.t.params {
			if err = r.t.arrays.device.Download(p.Float32s(), p.copied.data); err != nil {
				return
			}
		}
	})
	return r.t.failed(err)
}

// ZeroGrads clears the gradients, on the device if the parameters remain there and on the host otherwise.
func (r *Resident) ZeroGrads() {
	if r.t.holder == r {
		r.Do(func() { kernel.Clear(r.t.grads) })
		return
	}
	for _, p := range r.t.params {
		p.ZeroGrad()
	}
}

// FetchGrads copies the gradients to the host.
func (r *Resident) FetchGrads() (err error) {
	for _, p := range r.t.params {
		p.ZeroGrad()
	}
	r.Do(func() { err = r.t.fetchGrads() })
	return r.t.failed(err)
}

// GradNorm returns the Euclidean norm of all gradients together. Squares are summed in float32 on the device. The
// result is infinite or NaN if a gradient is, or if a sum exceeds float32.
func (r *Resident) GradNorm() (float64, error) {
	var err error
	sums := make([]float32, len(r.sums))
	r.Do(func() {
		for i, p := range r.t.params {
			r.t.arrays.device.SumSquares(r.sums[i:i+1], p.copied.grad)
		}
		err = r.t.arrays.device.Download(sums, r.sums)
	})
	total := 0.0
	for _, x := range sums {
		total += float64(x)
	}
	return math.Sqrt(total), r.t.failed(err)
}

// send uploads the values.
func (t *trainedCopies) send() {
	for _, p := range t.params {
		t.arrays.device.Upload(p.copied.data, p.Float32s())
	}
}

func (t *trainedCopies) failed(err error) error {
	if err != nil {
		err = fmt.Errorf("autograd: %s: %w", t.arrays.device.Name(), err)
	}
	return err
}

// Trained returns the arrays with the value and the gradient that an optimizer works on: on a device if the parameter
// remains there, see [Resident], and on the host otherwise.
func (p *Param) Trained() (value, grad []float32) {
	if p.holder() != nil {
		return p.copied.data, p.copied.grad
	}
	return p.Float32s(), p.GradFloat32s()
}

// holder returns the Resident because of which p remains on a device, or nil if p does not.
func (p *Param) holder() *Resident {
	if p.copied == nil || p.copied.group == nil {
		return nil
	}
	return p.copied.group.holder
}
