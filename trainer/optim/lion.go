package optim

import "mambatrain/autograd/kernel"

// lion updates by the sign of an interpolated momentum. Chen et al. 2023, algorithm 2, with decoupled weight decay.
type lion struct{ beta1, beta2 float32 }

func newLion(c Config) rule { return lion{float32(c.AdamBeta1), float32(c.AdamBeta2)} }

func (lion) memory(shape []int) []memory { return []memory{{name: "exp_avg", shape: shape}} }

func (o lion) update(c *cell, w, g []float32, h stepParams) {
	rate, decay, m := float32(h.rate), float32(h.decay), c.memory[0].data
	kernel.For(len(w), grain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			d := h.scale * g[i]
			w[i] -= rate * (sign(o.beta1*m[i]+(1-o.beta1)*d) + decay*w[i])
			m[i] = o.beta2*m[i] + (1-o.beta2)*d
		}
	})
}

func sign(x float32) float32 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return 0
}
