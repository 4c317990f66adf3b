//go:build unix

// Package devicetest has a device for tests of what runs on devices. It computes with the host's kernels, but not before Run is
// called, and whoever touches its arrays on the host faults.
package devicetest

import (
	"errors"
	"math"
	"slices"
	"testing"

	"mambatrain/autograd/kernel"
)

// Device is a kernel.Device.
type Device struct {
	memory
	queue []func()
	temps [][]float32
	// Refuses is what Supports returns.
	Refuses func(kernel.DeviceSizes) error
	// Fails is what the next Run returns.
	Fails error
	// Dispatches counts what has been computed.
	Dispatches int
}

var _ kernel.Device = (*Device)(nil)

// Use makes a new device the process's until the test ends.
func Use(t testing.TB) *Device {
	d := &Device{}
	kernel.UseDevice(d)
	t.Cleanup(func() { kernel.UseDevice(nil) })
	return d
}

// SetLimit limits the memory of the device to n elements.
func (d *Device) SetLimit(n int) { d.limit = n }

// Name is the same for all.
func (d *Device) Name() string { return "test device" }

// Supports asks Refuses.
func (d *Device) Supports(s kernel.DeviceSizes) error {
	if d.Refuses == nil {
		return nil
	}
	return d.Refuses(s)
}

// do notes f down.
func (d *Device) do(f func()) { d.queue = append(d.queue, f) }

// Run computes what has been recorded.
func (d *Device) Run() error {
	err := d.Fails
	for _, f := range d.queue {
		if err == nil {
			f()
			d.Dispatches++
		}
	}
	for _, x := range d.temps {
		d.Free(x)
	}
	d.queue, d.temps, d.Fails = nil, nil, nil
	return err
}

// Temp makes an array of NaN.
func (d *Device) Temp(n int) []float32 {
	x, err := d.Make(n)
	if err != nil {
		d.Fails = errors.Join(d.Fails, err)
		return nil
	}
	h := d.host(x)
	for i := range h {
		h[i] = float32(math.NaN())
	}
	d.temps = append(d.temps, x)
	return x
}

// Upload copies in the order of the recording.
func (d *Device) Upload(dst, src []float32) {
	to, from := d.host(dst), slices.Clone(src)
	d.do(func() { copy(to, from) })
}

// Download runs first.
func (d *Device) Download(dst, src []float32) error {
	from := d.host(src)
	if err := d.Run(); err != nil {
		return err
	}
	copy(dst, from)
	return nil
}
