package kernel

import "math"

// activate returns act(x).
func activate[T Float](act Activation, x T) T {
	switch act {
	case SiLU:
		return silu(x)
	case GELU:
		return T(0.5 * float64(x) * (1 + math.Erf(float64(x)/math.Sqrt2)))
	case GELUTanh:
		v := float64(x)
		return T(0.5 * v * (1 + math.Tanh(geluScale*(v+geluCubic*v*v*v))))
	case ReLU:
		return max(x, 0)
	case Tanh:
		return T(math.Tanh(float64(x)))
	case Sigmoid:
		return sigmoid(x)
	}
	return x
}

// The tanh approximation's constants: √(2/π) and the cubic coefficient. Hendrycks & Gimpel 2016.
const (
	geluScale = 0.79788456080286535588
	geluCubic = 0.044715
)

// derivative returns act′(x); at ReLU's kink it is 0, as in torch.
func derivative[T Float](act Activation, x T) T {
	v := float64(x)
	switch act {
	case SiLU:
		return siluGrad(x)
	case GELU:
		return T(0.5*(1+math.Erf(v/math.Sqrt2)) + v*math.Exp(-v*v/2)/math.Sqrt(2*math.Pi))
	case GELUTanh:
		t := math.Tanh(geluScale * (v + geluCubic*v*v*v))
		return T(0.5*(1+t) + 0.5*v*(1-t*t)*geluScale*(1+3*geluCubic*v*v))
	case ReLU:
		if x > 0 {
			return 1
		}
		return 0
	case Tanh:
		t := math.Tanh(v)
		return T(1 - t*t)
	case Sigmoid:
		s := sigmoid(x)
		return s * (1 - s)
	}
	return 1
}
