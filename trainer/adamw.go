package trainer

import "mambatrain/autograd/kernel"

// adamW is Adam with decoupled weight decay, Loshchilov & Hutter 2019, as torch.optim.AdamW rounds it.
type adamW struct{ beta1, beta2, eps float64 }

func newAdamW(s Settings) rule { return adamW{s.AdamBeta1, s.AdamBeta2, s.AdamEpsilon} }

func (adamW) memory(shape []int) []Memory {
	return []Memory{{Name: "exp_avg", Shape: shape}, {Name: "exp_avg_sq", Shape: shape}}
}

func (a adamW) update(c *cell, w, g []float32, h hyper) {
	kernel.AdamW(w, g, c.memory[0].Data, c.memory[1].Data, kernel.AdamWStep{
		LR: h.rate, Beta1: a.beta1, Beta2: a.beta2, Eps: a.eps, WeightDecay: h.decay, Step: h.step, GradScale: float64(h.scale),
	})
}
