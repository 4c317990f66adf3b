package optim

import "mambatrain/autograd/kernel"

// adamW is Adam with decoupled weight decay, Loshchilov & Hutter 2019, with the rounding of torch.optim.AdamW.
type adamW struct{ beta1, beta2, eps float64 }

func newAdamW(c Config) rule { return adamW{c.AdamBeta1, c.AdamBeta2, c.AdamEpsilon} }

func (adamW) memory(shape []int) []memory {
	return []memory{{name: "exp_avg", shape: shape}, {name: "exp_avg_sq", shape: shape}}
}

func (a adamW) update(c *cell, w, g []float32, h stepParams) {
	kernel.AdamW(w, g, c.memory[0].data, c.memory[1].data, kernel.AdamWStep{
		LR: h.rate, Beta1: a.beta1, Beta2: a.beta2, Eps: a.eps, WeightDecay: h.decay, Step: h.step, GradScale: float64(h.scale),
	})
}
