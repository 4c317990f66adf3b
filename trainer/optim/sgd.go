package optim

import "mambatrain/autograd/kernel"

// sgd is gradient descent with momentum (Polyak 1964) or Nesterov momentum, without dampening. Weight decay is added to
// the gradient, as in torch.optim.SGD.
type sgd struct {
	momentum float32
	nesterov bool
}

func newSGD(c Config) rule { return sgd{float32(c.Momentum), c.Nesterov} }

func (o sgd) memory(shape []int) []memory {
	if o.momentum == 0 {
		return nil
	}
	return []memory{{name: "momentum_buffer", shape: shape}}
}

func (o sgd) update(c *cell, w, g []float32, h stepParams) {
	rate, decay := float32(h.rate), float32(h.decay)
	var m []float32 // zero before the first step, so that m = g in it
	if o.momentum != 0 {
		m = c.memory[0].data
	}
	kernel.For(len(w), grain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			d := h.scale*g[i] + decay*w[i]
			if m != nil {
				m[i] = o.momentum*m[i] + d
				if o.nesterov {
					d += o.momentum * m[i]
				} else {
					d = m[i]
				}
			}
			w[i] -= rate * d
		}
	})
}
