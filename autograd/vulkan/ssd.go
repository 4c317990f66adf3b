package vulkan

import (
	"errors"

	"mambatrain/autograd/kernel"
)

var errNoSSD = errors.New("there is no kernel for the state space duality yet")

// SSD implements [kernel.Device].
func (d *Device) SSD(s *kernel.SSD[float32], y kernel.Mat[float32], saved, hOut []float32) {
	d.fail("ssd", errNoSSD)
}

// SSDGrad implements [kernel.Device].
func (d *Device) SSDGrad(s *kernel.SSD[float32], g kernel.SSDGrad[float32], dy kernel.Mat[float32], saved, dhOut []float32) {
	d.fail("ssd", errNoSSD)
}
