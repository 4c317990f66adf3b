package recipe

import (
	"errors"
	"fmt"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

// Values of Config.Device. Any other value is part of a device's name.
const (
	DeviceCPU    = "cpu"    // no device, even if one is available
	DeviceAuto   = "auto"   // a device if a usable one is available
	DeviceVulkan = "vulkan" // any device
)

// device returns the device that the configuration selects, or nil for none. Programs open a device and set it with
// [kernel.UseDevice].
func (c *Config) device() (kernel.Device, error) {
	d := kernel.CurrentDevice()
	switch {
	case c.Device == DeviceCPU:
		return nil, nil
	case d == nil && c.Device != DeviceAuto:
		return nil, fmt.Errorf("device: %q was requested, but this program has not opened a device", c.Device)
	}
	return d, nil
}

// record records the loss of a model in a graph on device d, or on the CPU if d is nil or cannot run it.
func record(loss func(*ag.Graph) ag.Var, o ag.Options, d kernel.Device, warn func(error)) (g *ag.Graph, of ag.Var) {
	o.Device = d != nil
	g = ag.NewGraph(o)
	of = loss(g)
	if d == nil {
		return g, of
	}
	if err := g.DeviceFault(d); err != nil {
		warn(fmt.Errorf("using the CPU: %w", err))
		return record(loss, o, nil, warn)
	}
	return g, of
}

// Compile compiles the program for the loss of a model on the process's device, if there is one that can run it. It
// returns the name of the device, or "" for the CPU. If the device cannot run the model, warn is called with the
// reason.
func Compile(loss func(*ag.Graph) ag.Var, o ag.Options, warn func(error)) (p *ag.Program, device string, err error) {
	return compileOn(loss, o, kernel.CurrentDevice(), warn)
}

func compileOn(loss func(*ag.Graph) ag.Var, o ag.Options, d kernel.Device, warn func(error)) (p *ag.Program, device string, err error) {
	g, of := record(loss, o, d, warn)
	if g.OnDevice() {
		device = d.Name()
	}
	p, err = g.Compile(of)
	return p, device, deviceAdvice(err)
}

// deviceAdvice adds to an error what to do if the device has not enough memory.
func deviceAdvice(err error) error {
	if errors.Is(err, kernel.ErrDeviceMemory) {
		return fmt.Errorf("%w; try a smaller max_tokens, gradient_checkpointing: true, or device: cpu", err)
	}
	return err
}
