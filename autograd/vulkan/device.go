package vulkan

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"mambatrain/autograd/kernel"
	"mambatrain/autograd/vulkan/vk"
)

// Device is an open device.
type Device struct {
	instance *vk.Instance
	physical *vk.PhysicalDevice
	vk       *vk.Device
	memory
	recorder
	compiler
	profile
}

var _ kernel.Device = (*Device)(nil)

// Open opens the device selected by the options. The error says what to install if the machine has no Vulkan library or
// driver, and why each device was refused if none can be used.
func Open(o Options) (*Device, error) {
	instance, err := vk.Open(o.Library)
	if err != nil {
		return nil, explain(err)
	}
	d := &Device{instance: instance}
	if err := d.open(o); err != nil {
		instance.Close()
		return nil, err
	}
	return d, nil
}

func (d *Device) open(o Options) error {
	list, err := o.candidates(d.instance)
	if err != nil {
		return err
	}
	if d.physical, err = o.choose(list); err != nil {
		return err
	}
	if d.vk, err = d.physical.Open(); err != nil {
		return d.failed("open", err)
	}
	d.unified, d.blockSize = sharesMemory(d.physical) && !o.Staged, blockSize
	if err := d.startRecorder(); err != nil {
		return d.failed("open", err)
	}
	return d.startCompiler(o.Cache)
}

// Close waits for the device and releases all of its resources. Arrays returned by Make must not be used afterwards, but may
// be freed.
func (d *Device) Close() {
	d.vk.WaitIdle()
	d.saveCache()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range d.allBlocks() {
		d.vk.Free(b.Buffer)
		unreserve(b.reserved)
	}
	d.closed = true
	d.vk.Close()
	d.instance.Close()
}

// Name implements [kernel.Device].
func (d *Device) Name() string {
	if d.physical.Driver == "" {
		return d.physical.Name
	}
	return fmt.Sprintf("%s (%s)", d.physical.Name, d.physical.Driver)
}

// failed wraps a Vulkan error. Out-of-memory errors and devices that do not respond also match the errors of package
// kernel.
func (d *Device) failed(action string, err error) error {
	err = fmt.Errorf("vulkan: %s: %s: %w", d.physical.Name, action, err)
	var r vk.Result
	switch errors.As(err, &r); r {
	case vk.DeviceLost, vk.Timeout:
		return fmt.Errorf("%w: %w", err, kernel.ErrDeviceLost)
	case vk.OutOfDeviceMemory, vk.OutOfHostMemory:
		return fmt.Errorf("%w: %w", err, kernel.ErrDeviceMemory)
	}
	return err
}

// Supports implements [kernel.Device].
func (d *Device) Supports(s kernel.DeviceSizes) error {
	switch {
	case s.ScanStates > maxScanStates:
		return fmt.Errorf("vulkan: the scan has %d states, want at most %d", s.ScanStates, maxScanStates)
	case s.ConvTaps > maxTaps:
		return fmt.Errorf("vulkan: the convolution has %d taps, want at most %d", s.ConvTaps, maxTaps)
	}
	if n := slices.Max(append(scratchOf(s), s.Rows*s.Channels)); n > maxElements {
		return fmt.Errorf("vulkan: %d rows need an array of %d elements, want at most %d", s.Rows, n, maxElements)
	}
	return nil
}

// maxElements is the maximum number of elements of an array, which shaders index by 32-bit integers.
const maxElements = math.MaxUint32

// scratchOf returns the sizes of the arrays of the forward and the backward pass of a scan or an SSD.
func scratchOf(s kernel.DeviceSizes) []int {
	switch {
	case s.ScanStates > 0:
		z := sizesOfScan(s.Rows, s.Channels, s.ScanStates)
		return append(z.scratch(), z.gradScratch()...)
	case s.SSDStates > 0:
		z := sizesOfSSD(s.Rows, s.Channels/s.SSDHead, s.SSDHead, s.SSDStates, s.SSDGroups)
		return append(z.scratch(), z.gradScratch()...)
	}
	return nil
}

// Scratch implements [kernel.Device].
func (d *Device) Scratch(s kernel.DeviceSizes) int {
	switch {
	case s.ScanStates > 0:
		z := sizesOfScan(s.Rows, s.Channels, s.ScanStates)
		return max(scratchSize(z.scratch()), scratchSize(z.gradScratch()))
	case s.SSDStates > 0:
		return scratchSize(scratchOf(s))
	case s.ConvTaps > 0:
		return convScratch(s.Rows, s.Channels, s.ConvTaps)
	}
	return splitScratch
}
