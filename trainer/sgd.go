package trainer

import "mambatrain/autograd/kernel"

// sgd is gradient descent with momentum (Polyak 1964) or Nesterov's, without dampening. Weight decay is added to the
// gradient, as torch.optim.SGD does.
type sgd struct {
	momentum float32
	nesterov bool
}

func newSGD(s Settings) rule { return sgd{float32(s.Momentum), s.Nesterov} }

func (o sgd) memory(shape []int) []Memory {
	if o.momentum == 0 {
		return nil
	}
	return []Memory{{Name: "momentum_buffer", Shape: shape}}
}

func (o sgd) update(c *cell, w, g []float32, h hyper) {
	rate, decay := float32(h.rate), float32(h.decay)
	var m []float32 // of zeros before the first step, which makes m = g there
	if o.momentum != 0 {
		m = c.memory[0].Data
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
