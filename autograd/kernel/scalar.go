package kernel

import (
	"math"
	"unsafe"
)

// The scalar functions below are the truth for the vector ones. float32 has its own polynomials, about twenty times as
// fast as going through math.Exp; float64 uses package math.

// is32 reports whether T is float32; the compiler folds it away.
func is32[T Float]() bool { var x T; return unsafe.Sizeof(x) == 4 }

const (
	ln2Hi = 0.693359375             // ln 2 in 9 bits, so that n·ln2Hi is exact
	ln2Lo = -2.12194440054690582e-4 // ln 2 − ln2Hi
)

// roundBias is 1.5·2²³: adding it to a small float32 leaves no bits for a fraction, so that taking it off again rounds.
const roundBias = 12582912

// reduce32 splits exp(x) = p·2^n with p in [√½, √2]: Cody and Waite's two-step reduction and a polynomial of degree six.
func reduce32(x float32) (p, n float32) {
	x = max(-150, min(x, 150))
	n = float32(x*math.Log2E+roundBias) - roundBias
	r := x - n*ln2Hi - n*ln2Lo
	p = 1.9875691500e-4
	p = p*r + 1.3981999507e-3
	p = p*r + 8.3334519073e-3
	p = p*r + 4.1665795894e-2
	p = p*r + 1.6666665459e-1
	p = p*r + 5.0000001201e-1
	return p*(r*r) + r + 1, n
}

// scale2 returns p·2^n, denormals and overflow included, for |n| ≤ 252.
func scale2(p, n float32) float32 {
	half := int32(n) >> 1
	rest := int32(n) - half
	return p * math.Float32frombits(uint32(half+127)<<23) * math.Float32frombits(uint32(rest+127)<<23)
}

func exp32(x float32) float32 {
	if x != x {
		return x
	}
	p, n := reduce32(x)
	return scale2(p, n)
}

// sigmoid32 returns 1/(1+exp(−x)). For x < 0 the power of two is applied last, so that the result keeps its relative
// precision where exp(x) alone is denormal.
func sigmoid32(x float32) float32 { return gated32(x, 1) }

// gated32 returns y·σ(x).
func gated32(x, y float32) float32 {
	if x != x {
		return x
	}
	p, n := reduce32(-max(x, -x))
	d := 1 + scale2(p, n)
	if x < 0 {
		return scale2(y*p/d, n)
	}
	return y / d
}

// softplus32 returns log(1+exp(x)) as max(x, 0) + log1p(e), e = exp(−|x|), log1p(e) = 2·atanh(e/(2+e)).
func softplus32(x float32) float32 {
	if x != x {
		return x
	}
	p, n := reduce32(-max(x, -x))
	e := scale2(p, n)
	s := e / (2 + e)
	q := s * s
	l := float32(atanh5)
	l = l*q + atanh4
	l = l*q + atanh3
	l = l*q + atanh2
	l = l*q + atanh1
	l = l*q + atanh0
	return max(x, 0) + l*s
}

// Coefficients of 2·atanh(s)/s in s² on [0, 1/9], by interpolation in Chebyshev nodes; relative error below 1e-9.
const (
	atanh0 = 1.99999999981
	atanh1 = 0.666666790264
	atanh2 = 0.399987112479
	atanh3 = 0.286202073789
	atanh4 = 0.213985608412
	atanh5 = 0.24393906786
)

func exp[T Float](x T) T {
	if is32[T]() {
		return T(exp32(float32(x)))
	}
	return T(math.Exp(float64(x)))
}

func sigmoid[T Float](x T) T {
	if is32[T]() {
		return T(sigmoid32(float32(x)))
	}
	return T(1 / (1 + math.Exp(-float64(x))))
}

func silu[T Float](x T) T {
	if is32[T]() {
		return T(gated32(float32(x), float32(x)))
	}
	return x * sigmoid(x)
}

// siluGrad is the derivative of x·σ(x).
func siluGrad[T Float](x T) T {
	s := sigmoid(x)
	return s * (1 + x*(1-s))
}

// softplus is log(1+exp(x)), and x itself above torch's threshold of 20.
func softplus[T Float](x T) T {
	if x > 20 {
		return x
	}
	if is32[T]() {
		return T(softplus32(float32(x)))
	}
	return T(max(float64(x), 0) + math.Log1p(math.Exp(-math.Abs(float64(x)))))
}

// Exp writes exp(x) to y, within 2 ulp in float32. y may be x, here and below.
func Exp[T Float](y, x []T) { mapElements(y, x, exp[T], active.vec.exp) }

// Softplus writes log(1+exp(x)) to y, within 4 ulp in float32, and x where x > 20 as torch does.
func Softplus[T Float](y, x []T) { mapElements(y, x, softplus[T], active.vec.softplus) }

// mapElements applies fast where T is float32 and there is a fast form, else plain. y may be x.
func mapElements[T Float](y, x []T, plain func(T) T, fast func(n int, y, x *float32)) {
	y = y[:len(x)]
	For(len(x), elementGrain, func(lo, hi int) {
		if fast != nil && is32[T]() {
			apply2(fast, f32s(y[lo:hi]), f32s(x[lo:hi]))
			return
		}
		for i := lo; i < hi; i++ {
			y[i] = plain(x[i])
		}
	})
}
