package kernel

import "math"

// Activation names an elementwise function, as config.json's hidden_act does.
type Activation uint8

const (
	Identity Activation = iota
	SiLU                // x·σ(x)
	GELU                // x·Φ(x), by erf
	GELUTanh            // GELU by tanh, as in GPT-2
	ReLU                // max(x, 0)
	Tanh                // tanh(x)
	Sigmoid             // σ(x) = 1/(1+exp(−x))
)

// Activate writes act(x) to y, element by element; y may be x. SiLU and Sigmoid are within 4 ulp in float32 (absolute
// where the result is denormal).
func Activate[T Float](act Activation, y, x []T) {
	switch act {
	case SiLU:
		mapElements(y, x, silu[T], active.vec.silu)
	case Sigmoid:
		mapElements(y, x, sigmoid[T], active.vec.sigmoid)
	default:
		mapElements(y, x, func(v T) T { return activate(act, v) }, nil)
	}
}

// ActivateGrad adds dy·act′(x) to dx, element by element.
func ActivateGrad[T Float](act Activation, dx, dy, x []T) {
	dx, dy = dx[:len(x)], dy[:len(x)]
	For(len(x), elementGrain, func(lo, hi int) {
		if active.vec.siluGrad != nil && is32[T]() && act == SiLU {
			buf := borrow(hi - lo)
			apply3(active.vec.siluGrad, buf.data, f32s(dy[lo:hi]), f32s(x[lo:hi]))
			add(f32s(dx[lo:hi]), buf.data)
			giveBack(buf)
			return
		}
		for i := lo; i < hi; i++ {
			dx[i] += dy[i] * derivative(act, x[i])
		}
	})
}

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

// √(2/π) and the cubic coefficient of the tanh approximation, Hendrycks & Gimpel 2016.
const (
	geluScale = 0.79788456080286535588
	geluCubic = 0.044715
)

// derivative is act′ at x; at ReLU's kink it is 0, as in torch.
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
