package nn

import (
	"math"
	"math/rand/v2"

	ag "mambatrain/autograd"
)

// Normal fills p with draws from N(0, std²).
func Normal(p *ag.Param, std float64, r *rand.Rand) {
	for i, v := 0, p.Float32s(); i < len(v); i++ {
		v[i] = float32(std * r.NormFloat64())
	}
	p.Invalidate()
}

// Uniform fills p with draws from U(−bound, bound).
func Uniform(p *ag.Param, bound float64, r *rand.Rand) {
	for i, v := 0, p.Float32s(); i < len(v); i++ {
		v[i] = float32(bound * (2*r.Float64() - 1))
	}
	p.Invalidate()
}

// FanIn fills p with draws from U(±1/√fan), torch's default for the weights and biases of Linear and Conv1d, where fan
// is the number of inputs of each output of the layer.
func FanIn(p *ag.Param, fan int, r *rand.Rand) { Uniform(p, 1/math.Sqrt(float64(fan)), r) }

// Constant fills p with x.
func Constant(p *ag.Param, x float64) {
	for i, v := 0, p.Float32s(); i < len(v); i++ {
		v[i] = float32(x)
	}
	p.Invalidate()
}
