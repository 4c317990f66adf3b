package kernel

import "math"

// The scalar functions of the plain loops: float32 uses the polynomials of math32.go, float64 package math.

func exp[T Float](x T) T {
	if is32[T]() {
		return T(exp32(float32(x)))
	}
	return T(math.Exp(float64(x)))
}

// sigmoid returns σ(x) = 1/(1+exp(−x)).
func sigmoid[T Float](x T) T {
	if is32[T]() {
		return T(sigmoid32(float32(x)))
	}
	return T(1 / (1 + math.Exp(-float64(x))))
}

// silu returns x·σ(x).
func silu[T Float](x T) T {
	if is32[T]() {
		return T(gated32(float32(x), float32(x)))
	}
	return x * sigmoid(x)
}

// siluGrad returns the derivative of x·σ(x), σ(x)·(1 + x·(1−σ(x))).
func siluGrad[T Float](x T) T {
	s := sigmoid(x)
	return s * (1 + x*(1-s))
}

// softplus returns log(1+exp(x)), and x itself above torch's threshold of 20.
func softplus[T Float](x T) T {
	if x > 20 {
		return x
	}
	if is32[T]() {
		return T(softplus32(float32(x)))
	}
	return T(max(float64(x), 0) + math.Log1p(math.Exp(-math.Abs(float64(x)))))
}
