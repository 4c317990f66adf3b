//go:build unix

// Package devicetest provides a device for testing code that runs on devices. It computes with the host's kernels, but
// only when Run is called, and accessing its arrays on the host causes a fault.
package devicetest

import (
	"errors"
	"math"
	"slices"
	"testing"

	"mambatrain/autograd/kernel"
)

// Device is a kernel.Device for tests.
type Device struct {
	memory
	queue   []func()
	temps   [][]float32
	scratch []float32
	// Refuses, if not nil, returns the result of Supports.
	Refuses func(kernel.DeviceSizes) error
	// Needs, if not nil, returns the result of Scratch.
	Needs func(kernel.DeviceSizes) int
	// Fails is the error that the next Run returns.
	Fails error
	// Dispatches counts the operations that have been computed, and Copied the elements copied from or to the host.
	Dispatches, Copied int
}

var _ kernel.Device = (*Device)(nil)

// Use installs a new device as the process's device until the test ends.
func Use(t testing.TB) *Device {
	d := &Device{}
	kernel.UseDevice(d)
	t.Cleanup(func() { kernel.UseDevice(nil) })
	return d
}

// SetLimit limits the device's memory to n elements.
func (d *Device) SetLimit(n int) { d.limit = n }

// Name returns the same name for every Device.
func (d *Device) Name() string { return "test device" }

// Supports returns the result of Refuses.
func (d *Device) Supports(s kernel.DeviceSizes) error {
	if d.Refuses == nil {
		return nil
	}
	return d.Refuses(s)
}

// Scratch returns the result of Needs.
func (d *Device) Scratch(s kernel.DeviceSizes) int {
	if d.Needs == nil {
		return 0
	}
	return d.Needs(s)
}

// Reserve allocates n elements.
func (d *Device) Reserve(n int) (err error) {
	if n > len(d.scratch) {
		d.scratch, err = d.Make(n)
	}
	return err
}

// do records f.
func (d *Device) do(f func()) { d.queue = append(d.queue, f) }

// Run executes what has been recorded.
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

// Temp returns an array filled with NaN.
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

// Upload records the copy, so that it happens in recording order.
func (d *Device) Upload(dst, src []float32) {
	to, from := d.host(dst), slices.Clone(src)
	d.Copied += len(src)
	d.do(func() { copy(to, from) })
}

// Download calls Run first.
func (d *Device) Download(dst, src []float32) error {
	from := d.host(src)
	if err := d.Run(); err != nil {
		return err
	}
	d.Copied += copy(dst, from)
	return nil
}
