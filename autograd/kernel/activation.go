package kernel

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

// activateSlice writes act(x) to y, element by element; y may be x. SiLU and Sigmoid are within 4 ulp in float32 (absolute
// where the result is denormal).
func activateSlice[T Float](act Activation, y, x []T) {
	switch act {
	case SiLU:
		mapElements(y, x, silu[T], active.vec.silu)
	case Sigmoid:
		mapElements(y, x, sigmoid[T], active.vec.sigmoid)
	default:
		mapElements(y, x, func(v T) T { return activate(act, v) }, nil)
	}
}
