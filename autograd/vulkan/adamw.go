package vulkan

import (
	"math"

	"mambatrain/autograd/kernel"
)

// AdamW implements [kernel.Device].
func (d *Device) AdamW(w, g, m, v []float32, h kernel.AdamWStep) {
	c := d.call("adamw")
	c.updateVector(w, m, v)
	c.readVector(g)
	c.uints(len(w))
	for _, x := range []float64{
		h.GradScale, h.Beta1, 1 - h.Beta1, h.Beta2, 1 - h.Beta2, 1 - h.LR*h.WeightDecay,
		h.LR / (1 - math.Pow(h.Beta1, float64(h.Step))), 1 / math.Sqrt(1-math.Pow(h.Beta2, float64(h.Step))), h.Eps,
	} {
		c.floats(float32(x))
	}
	c.run(ceilDiv(len(w), 256), 1, 1)
}
